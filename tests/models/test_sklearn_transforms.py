"""Transformers of scikit-learn, given to a network as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import preprocessing as sk

from forecast_kit import Forecaster, NeuralForecaster, Panel
from forecast_kit.data.transforms import Pipeline, Sklearn
from forecast_kit.errors import ArgumentError
from forecast_kit.models.variations import with_arguments


@pytest.fixture(scope="module")
def panel() -> Panel:
    t = np.arange(60)
    waves = [pd.DataFrame({"unique_id": f"s{k}", "ds": t, "y": 20 + k + 5 * np.sin(t / 2)}) for k in range(3)]
    return Panel.from_frame(pd.concat(waves), freq=1, season_length=6)


def tiny(transform: Any) -> NeuralForecaster:
    network = {"network": "gru", "units": 4, "hidden": 4}
    training = {"steps": 2, "batch_size": 8}
    return NeuralForecaster(network, horizon=4, input_length=12, transform=transform, training=training)


@pytest.mark.parametrize("alone", [True, False])
def test_an_instance_is_what_its_stage_is(panel: Panel, tmp_path: Path, alone: bool) -> None:
    scaler = sk.MinMaxScaler(feature_range=(-1, 1))
    given, stages = (scaler, Sklearn(scaler)) if alone else (["log1p", scaler], ["log1p", Sklearn(scaler)])
    model, expected = tiny(given), tiny(stages)
    assert model.describe() == expected.describe()
    forecast = model.fit(panel).predict(levels=(0.1, 0.9))
    np.testing.assert_array_equal(forecast.quantiles, expected.fit(panel).predict(levels=(0.1, 0.9)).quantiles)
    model.save(tmp_path / "model", history=True)
    np.testing.assert_array_equal(Forecaster.load(tmp_path / "model").predict().mean, forecast.mean)
    assert model.clone().describe() == model.describe()
    assert not hasattr(scaler, "scale_")  # what was given is not fitted


def test_a_pipeline_takes_instances_and_describes_them() -> None:
    described = Pipeline([sk.StandardScaler()]).describe()
    assert described == {
        "stage": "pipeline",
        "stages": [{"stage": "sklearn", "transformer": "StandardScaler", "params": {}}],
    }


def test_an_argument_of_a_transformer_can_be_another() -> None:
    model = with_arguments(tiny([sk.MinMaxScaler()]), {"transform__0__transformer__clip": True})
    assert model.describe()["transform"] == [
        {"stage": "sklearn", "transformer": "MinMaxScaler", "params": {"clip": True}}
    ]


@pytest.mark.parametrize(
    ("transform", "complaint"),
    [
        (
            sk.Normalizer(),
            "must be a scikit-learn transformer with an inverse, but Normalizer lacks 'inverse_transform'",
        ),
        ([sk.StandardScaler], "and instances of scikit-learn's transformers"),
    ],
)
def test_what_is_no_transformer_is_refused_at_construction(transform: Any, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        tiny(transform)
