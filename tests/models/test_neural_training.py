"""Trainings of neural forecasters: how they end, what they leave, what reaches them."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_neural import rising_waves, tiny

from forecast_kit import (
    Conformal,
    Ensemble,
    Forecaster,
    NeuralForecaster,
    Panel,
    SeasonallyAdjusted,
    SeasonalNaive,
    TrainingSpec,
    variations,
)
from forecast_kit.core.forecaster import FitProgress
from forecast_kit.data.windows import WindowIndex, WindowSpec
from forecast_kit.errors import ArgumentError, NotFittedError, TrainingError
from forecast_kit.models.loader import WindowLoader

# ---- training that ends otherwise than it should


@pytest.mark.parametrize("judged", [False, True])
def test_an_interrupt_leaves_a_forecaster_that_forecasts(judged: bool, tmp_path: Path) -> None:
    def stop(event: FitProgress) -> None:
        if event.done >= 32:
            raise KeyboardInterrupt

    panel = Panel.from_frame(rising_waves(4), freq=1, season_length=24)
    training = {"steps": 64, "batch_size": 8, "evaluations": 4, "validation": int(judged)}
    model = tiny(training=training)
    with pytest.raises(KeyboardInterrupt):
        model.fit(panel, callbacks=(stop,))
    assert np.isfinite(model.predict(levels=(0.1, 0.9)).quantiles).all()
    model.save(tmp_path / "m", history=True)
    np.testing.assert_allclose(Forecaster.load(tmp_path / "m").predict().mean, model.predict().mean, rtol=1e-6)
    assert model.curve_[-1, 0] == 32
    assert ("judged by" in model.fit_report) == judged
    assert "ended after 32 of 64 steps" in model.fit_report


def test_an_interrupt_before_training_leaves_nothing_half_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = Panel.from_frame(rising_waves(3), freq=1, season_length=24)
    model = tiny().fit(panel)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("forecast_kit.models.neural.prepare", stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(panel)
    with pytest.raises(NotFittedError):
        model.predict()


def test_an_interrupt_of_a_refit_leaves_what_was_judged() -> None:
    def stop(event: FitProgress) -> None:
        if event.done > 32:  # the second training
            raise KeyboardInterrupt

    panel = Panel.from_frame(rising_waves(3), freq=1, season_length=24)
    training = {"steps": 32, "batch_size": 8, "evaluations": 2, "validation": 1}
    model = tiny(training={**training, "refit": True})
    with pytest.raises(KeyboardInterrupt):
        model.fit(panel, callbacks=(stop,))
    judged = tiny(training=training).fit(panel)
    np.testing.assert_array_equal(model.predict().mean, judged.predict().mean)


def test_a_loss_that_is_no_number_names_series_and_stamps() -> None:
    """A spike of 1e30, squared, is infinite in 32 bits; six steps of a window's input hold it or its target does."""
    frame = rising_waves(6)
    frame["ds"] = pd.Timestamp("2024-05-01") + pd.to_timedelta(frame["ds"], unit="h")
    spike = (frame["unique_id"] == "s03") & (frame["ds"] == pd.Timestamp("2024-05-08 07:00"))
    frame.loc[spike, "y"] = 1e30
    panel = Panel.from_frame(frame, freq="h")
    model = tiny(64, transform=(), head={"head": "point", "loss": "mse"}, training={"steps": 64, "batch_size": 4})
    with pytest.raises(TrainingError) as caught:
        model.fit(panel)
    found = re.fullmatch(
        r"the loss became (inf|nan) at step \d+ of 64: (.*); look for extreme values there, lower learning_rate or "
        r"clip_norm",
        str(caught.value),
    )
    assert found, str(caught.value)
    for window in found[2].split("; "):
        named = re.fullmatch(r"series 's03', window ending at (2024-05-\d\d \d\d:00:00|2024-05-\d\d)", window)
        assert named, window
        cutoff = pd.Timestamp(named[1])
        assert pd.Timestamp("2024-05-08 07:00") - pd.Timedelta("24h") <= cutoff <= pd.Timestamp("2024-05-10 07:00")
    with pytest.raises(NotFittedError):
        model.predict()


def test_the_loader_says_which_window_a_row_is() -> None:
    panel = Panel.from_frame(rising_waves(3), freq=1, season_length=24)
    loader = WindowLoader(panel, panel.y.astype(np.float32), WindowIndex(panel, WindowSpec(8, 4)), 16, seed=2)
    inputs, target, _ = loader(5)
    for row in range(16):
        name, stamp = re.fullmatch(r"series '(\w+)', window ending at (\d+)", loader.where(5, row)).groups()
        y = panel.take(name).y
        np.testing.assert_allclose(target[row, :, 0], y[int(stamp) + 1 : int(stamp) + 5], rtol=1e-6)
        np.testing.assert_allclose(inputs["past_y"][row, -1], y[int(stamp)], rtol=1e-6)


# ---- what a fit leaves to be logged


def test_costs_are_numbers_to_log(tmp_path: Path) -> None:
    model = tiny().fit(Panel.from_frame(rising_waves(3), freq=1, season_length=24))
    counted = sum(weight.size for weight in model.model_.get_weights())
    assert model.costs["parameters"] == model.parameter_count == counted
    assert model.costs["weights_mb"] == pytest.approx(4 * counted / 2**20)
    assert 0 < model.costs["fit_s"] < 300
    assert 50 < model.costs["peak_memory_mb"] < 10**6
    model.save(tmp_path / "m")
    loaded = NeuralForecaster.load(tmp_path / "m")
    assert loaded.costs == {key: value for key, value in model.costs.items() if key != "peak_memory_mb"}
    with pytest.raises(NotFittedError):
        _ = tiny().costs


def test_costs_of_several_are_theirs_together() -> None:
    panel = Panel.from_frame(rising_waves(3), freq=1, season_length=24)
    members = variations(tiny(), training__seed=[0, 1])
    ensemble = Ensemble({**members, "naive": SeasonalNaive()}).fit(panel)
    each = [ensemble.members_[name].costs for name in members]
    assert ensemble.costs["parameters"] == 2 * each[0]["parameters"]
    assert ensemble.costs["fit_s"] == pytest.approx(sum(one["fit_s"] for one in each))
    assert ensemble.costs["peak_memory_mb"] == max(one["peak_memory_mb"] for one in each)
    assert Conformal(tiny(), folds=1, horizon=24).fit(panel).costs["parameters"] == each[0]["parameters"]
    assert SeasonallyAdjusted(tiny(), test=False, horizon=24).fit(panel).costs["parameters"] > 0
    assert SeasonalNaive().fit(panel).costs == {}


def test_every_knob_of_the_training_is_described() -> None:
    spec = tiny(training={"step_weights": list(range(1, 25)), "validation": 2, "patience": 3}).describe()["training"]
    assert set(spec) == {field.name for field in fields(TrainingSpec)}
    assert json.loads(json.dumps(spec)) == spec | {"step_weights": [float(k) for k in range(1, 25)]}
    assert tiny(training=spec).describe()["training"] == spec


def test_epochs_are_passes_over_the_windows() -> None:
    events: list[FitProgress] = []
    panel = Panel.from_frame(rising_waves(2), freq=1, season_length=24)
    model = tiny(training={"epochs": 0.5, "batch_size": 16}).fit(panel, callbacks=(events.append,))
    assert model.windows_ is not None
    assert events[-1].total == events[-1].done == -(-model.windows_.windows // 32)


def test_batch_size_reaches_the_network() -> None:
    panel = Panel.from_frame(rising_waves(2), freq=1, season_length=24)
    spec = {"steps": 8, "learning_rate": 0.05}
    one, other = (tiny(training={**spec, "batch_size": n}).fit(panel).predict().mean for n in (8, 9))
    assert not np.allclose(one, other, rtol=1e-4)


def test_the_precision_goes_along_into_the_artefact(tmp_path: Path) -> None:
    panel = Panel.from_frame(rising_waves(2), freq=1, season_length=24)
    model = tiny(training={"steps": 4, "batch_size": 8, "precision": "mixed_bfloat16"}).fit(panel)
    assert model.model_.get_layer("encoder_0").compute_dtype == "bfloat16"
    model.save(tmp_path / "m", history=True)
    loaded = NeuralForecaster.load(tmp_path / "m")
    assert isinstance(loaded, NeuralForecaster)
    assert loaded.model_.get_layer("encoder_0").compute_dtype == "bfloat16"
    np.testing.assert_array_equal(loaded.predict().mean, model.predict().mean)


def test_a_network_that_numbers_series_learns_something_of_each() -> None:
    """After a fit on both series their own coefficients differ; a series that was not there has none of its own."""
    panel = Panel.from_frame(rising_waves(2), freq=1, season_length=24)
    network = {"network": "es_rnn", "units": 4, "dilations": ((1, 2),), "hidden": 4}
    model = tiny(network=network, training={"steps": 16, "batch_size": 8, "learning_rate": 0.1}).fit(panel)
    assert model.ids_.tolist() == ["s00", "s01"]
    (own,) = [w.numpy() for w in model.model_.weights if w.name == "own"]
    assert own.shape[0] == 2
    assert not np.allclose(own[0], own[1], atol=1e-4)
    unknown = Panel.from_frame(rising_waves(1).replace({"s00": "new"}), freq=1, season_length=24)
    assert not np.allclose(model.predict(history=unknown).mean, model.predict().mean[:1], rtol=1e-4)


def test_step_weights_must_be_as_many_as_the_horizon() -> None:
    with pytest.raises(ArgumentError, match="step_weights must be a number for each of 24 steps ahead, got 2"):
        tiny(training={"step_weights": (1, 2)})
