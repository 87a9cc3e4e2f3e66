"""Nothing after the cutoff is ever seen: not by a repair, a transform, an encoder, or a forecast.

Two frames that differ in everything after the cutoff of a fold, targets and past covariates alike, must give the
same training part, the same learned state and the same forecast, to the last bit.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forecast_kit import ETS, Forecaster, Naive, NeuralForecaster, Panel, PanelSchema, RollingOrigin, SeasonalNaive
from forecast_kit.data.covariates import CovariateEncoder
from forecast_kit.data.transforms import Pipeline
from forecast_kit.errors import TooShortError

M, H = 4, 3

stages = st.sampled_from(
    ["standard", "minmax", "robust", "mean_abs", "difference", "log1p", "boxcox"]
    + [{"stage": "difference", "lag": "season"}, {"stage": "standard", "scope": "global"}]
    + ["deseasonalize", {"stage": "deseasonalize", "model": "multiplicative"}]
)
# A curve or a ratio needs positive values, so these come first and once.
POSITIVE = ("log1p", "boxcox", {"stage": "deseasonalize", "model": "multiplicative"})
pipelines = st.builds(
    lambda first, rest: [*first, *(s for s in rest if s not in POSITIVE)],
    st.lists(st.sampled_from(POSITIVE), max_size=1), st.lists(stages, max_size=3),
)  # fmt: skip
policies = st.fixed_dictionaries(
    {
        "gaps": st.sampled_from(["mask", "zero", "ffill", "interpolate"]),
        "covariate_gaps": st.sampled_from(["ffill", "zero"]),
        "duplicates": st.sampled_from(["first", "mean"]),
    }
)


def schema_of(policy: dict[str, str]) -> PanelSchema:
    return PanelSchema(
        freq="D", season_length=M, past=("temp", "sky"), categorical=("sky",), calendar=("weekday",), **policy
    )


def frames(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A frame with ragged series, gaps and missing values, and one that is another after the cutoff of each series.

    Both have the same rows at both ends of every series and at its cutoff: where a series begins and ends is known.
    """
    rng = np.random.default_rng(seed)
    one, other = [], []
    for k in range(3):
        rows = int(rng.integers(5 * M, 8 * M))
        late = np.arange(rows) >= rows - H

        def draw(rows: int = rows, k: int = k) -> dict[str, Any]:
            y = rng.gamma(2.0, 10.0 ** rng.integers(-1, 3), rows) + 0.01
            y[rng.random(rows) < 0.2] = np.nan
            temp = rng.normal(size=rows)
            temp[rng.random(rows) < 0.2] = np.nan
            return {"y": y, "temp": temp, "sky": rng.choice(["sun", "rain"], rows)}

        first, second = draw(), draw()
        second["sky"] = np.where(rng.random(rows) < 0.5, "hail", second["sky"])  # never seen before the cutoff
        kept = rng.random(rows) < 0.85
        second_kept = np.where(late, rng.random(rows) < 0.85, kept)
        for keep in (kept, second_kept):
            keep[[0, 1, -H - 1, -1]] = True
        for values in (first, second):
            values["y"][[0, -1]], values["temp"][[0, -1]] = rng.gamma(2.0, 5.0, 2) + 0.01, 0.5
        second = {name: np.where(late, second[name], first[name]) for name in first}
        stamps = pd.date_range("2024-01-01", periods=rows, freq="D") + pd.Timedelta(days=k)
        one.append(pd.DataFrame({"unique_id": f"s{k}", "ds": stamps, **first})[kept])
        other.append(pd.DataFrame({"unique_id": f"s{k}", "ds": stamps, **second})[second_kept])
    return pd.concat(one, ignore_index=True), pd.concat(other, ignore_index=True)


def assert_same_state(ours: tuple[dict, dict], theirs: tuple[dict, dict]) -> None:
    assert json.dumps(ours[0], sort_keys=True) == json.dumps(theirs[0], sort_keys=True)
    assert ours[1].keys() == theirs[1].keys()
    for key, array in ours[1].items():
        np.testing.assert_array_equal(array, theirs[1][key], err_msg=key)


def training_parts(seed: int, policy: dict[str, str]) -> tuple[Panel, Panel]:
    parts = [next(RollingOrigin(H).split(Panel.from_frame(f, schema_of(policy)))).train for f in frames(seed)]
    return parts[0], parts[1]


def test_the_frames_differ_after_the_cutoff_and_nowhere_else() -> None:
    one, other = (Panel.from_frame(f, schema_of({"gaps": "mask", "covariate_gaps": "zero"})) for f in frames(0))
    (_, late_one), (_, late_other) = one.split(H), other.split(H)
    assert (late_one.y != late_other.y).all()
    assert (late_one.past != late_other.past).any()
    assert one.categories != other.categories


@given(st.integers(0, 10_000), policies)
@settings(deadline=None, max_examples=150)
def test_no_repair_knows_what_comes_after_the_cutoff(seed: int, policy: dict[str, str]) -> None:
    one, other = training_parts(seed, policy)
    for name in ("ids", "start", "indptr", "y", "observed"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    pd.testing.assert_frame_equal(one.to_frame(), other.to_frame())


def fitted_or_refused(spec: list, panel: Panel) -> Pipeline | str:
    """The pipeline, or what it says of series that are too short for it."""
    try:
        return Pipeline(spec).fit(panel)
    except TooShortError as error:
        return str(error)


@given(st.integers(0, 10_000), policies, pipelines)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_no_transform_and_no_encoder_knows_what_comes_after_the_cutoff(
    seed: int, policy: dict[str, str], spec: list
) -> None:
    one, other = training_parts(seed, policy if not spec or spec[0] not in POSITIVE else policy | {"gaps": "mask"})
    ours, theirs = fitted_or_refused(spec, one), fitted_or_refused(spec, other)
    if isinstance(ours, str) or isinstance(theirs, str):  # differences of many gaps leave less than two seasons
        assert ours == theirs
        return
    assert_same_state(ours.state(), theirs.state())
    np.testing.assert_array_equal(ours.transform(one).y, theirs.transform(other).y)
    back = np.random.default_rng(seed).normal(size=(3, H, 2))
    np.testing.assert_array_equal(ours.inverse(back, one), theirs.inverse(back, other))
    encoders = CovariateEncoder().fit(one), CovariateEncoder().fit(other)
    assert encoders[0].to_dict() == encoders[1].to_dict()
    np.testing.assert_array_equal(encoders[0].transform(one).past, encoders[1].transform(other).past)


@cache
def forecasters() -> dict[str, Forecaster]:
    return {
        "naive": Naive(),
        "seasonal_naive": SeasonalNaive(),
        "ets": ETS(),
        "gru": NeuralForecaster(
            {"cell": "gru", "units": 3, "hidden": 4}, horizon=H, input_length=2 * M, levels=(0.1, 0.5, 0.9),
            transform=["standard"], training={"steps": 3, "batch_size": 4},
        ),
        "lstm": NeuralForecaster(
            {"cell": "lstm", "units": 3, "hidden": 4, "segment": M}, horizon=H, input_length=2 * M,
            transform=["boxcox", "difference", {"stage": "robust", "scope": "global"}],
            training={"steps": 3, "batch_size": 4},
        ),
    }  # fmt: skip


def assert_same_forecast(name: str, seed: int, policy: dict[str, str]) -> None:
    ours, theirs = (
        forecasters()[name].clone().fit(part).predict(H, levels=(0.1, 0.9)) for part in training_parts(seed, policy)
    )
    np.testing.assert_array_equal(ours.mean, theirs.mean)
    np.testing.assert_array_equal(ours.quantiles, theirs.quantiles)


@pytest.mark.parametrize("name", ["naive", "seasonal_naive", "ets"])
@given(seed=st.integers(0, 10_000), policy=policies)
@settings(deadline=None, max_examples=15)
def test_no_statistical_forecast_knows_what_comes_after_the_cutoff(
    name: str, seed: int, policy: dict[str, str]
) -> None:
    assert_same_forecast(name, seed, policy)


# How gaps are repaired is all the same to a network: every policy is held above, without one.
@pytest.mark.parametrize(
    ("name", "seed", "gaps"), [("lstm", 0, "mask"), ("gru", 1, "interpolate"), ("lstm", 52, "ffill")]
)
def test_no_neural_forecast_knows_what_comes_after_the_cutoff(name: str, seed: int, gaps: str) -> None:
    assert_same_forecast(name, seed, {"gaps": gaps, "covariate_gaps": "zero", "duplicates": "mean"})
