"""Scores of past forecasts, against loops over rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast_kit import Panel
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.drift import input_drift
from forecast_kit.jobs.scoring import score_run

SEASON = 3


def naive_scores(forecasts: pd.DataFrame, frame: pd.DataFrame, name: str, as_of: int) -> dict[str, float]:
    """What the docstring promises, for one series, value by value."""
    mine = frame[frame["unique_id"] == name]
    y = {int(k): float(v) for k, v in zip(mine["ds"], mine["y"], strict=True) if not np.isnan(v)}
    rows = forecasts[forecasts["unique_id"] == name]
    seen = [row for row in rows.to_dict("records") if row["ds"] in y]
    before = range(int(mine["ds"].min()), as_of)
    carried, last = {}, float("nan")
    for k in before:
        last = y.get(k, last)
        carried[k] = last
    pairs = [abs(y[k] - y[k - SEASON]) for k in before if k in y and k - SEASON in y]
    out = {"steps": len(rows), "observed": len(seen)}
    if not seen:
        return out
    errors = [y[row["ds"]] - row["mean"] for row in seen]
    out["mae"] = sum(map(abs, errors)) / len(errors)
    out["bias"] = sum(errors) / len(errors)
    out["rmse"] = (sum(e * e for e in errors) / len(errors)) ** 0.5
    out["coverage"] = sum(row["q10"] <= y[row["ds"]] <= row["q90"] for row in seen) / len(seen)
    losses = []
    for row in seen:
        for q, column in ((0.1, "q10"), (0.9, "q90")):
            apart = y[row["ds"]] - row[column]
            losses.append(q * apart if apart >= 0 else (q - 1) * apart)
    out["pinball"] = sum(losses) / len(losses)
    if pairs and sum(pairs) > 0:
        out["mase"] = out["mae"] / (sum(pairs) / len(pairs))
    naive = []
    for row in seen:
        step = row["ds"]
        if len(before) < SEASON:
            naive.append(carried[as_of - 1])
            continue
        while step >= as_of:
            step -= SEASON
        naive.append(carried[step])
    out["naive_mae"] = sum(abs(y[row["ds"]] - n) for row, n in zip(seen, naive, strict=True)) / len(seen)
    return out


@given(st.data())
def test_scores_are_those_of_a_loop(data: st.DataObject) -> None:
    as_of = data.draw(st.integers(2, 8))
    rows, told = [], []
    for name in "ab":
        length = data.draw(st.integers(as_of, 13))
        values = data.draw(st.lists(st.floats(-5, 5), min_size=length, max_size=length))
        hidden = data.draw(st.sets(st.integers(1, length - 1), max_size=4))
        rows += [(name, k, np.nan if k in hidden else y) for k, y in enumerate(values)]
        for k in range(as_of, as_of + 4):
            mean = data.draw(st.floats(-5, 5))
            told.append((name, k, mean, mean - 1, mean + 1))
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y"])
    forecasts = pd.DataFrame(told, columns=["unique_id", "ds", "mean", "q10", "q90"])
    forecasts = forecasts.assign(model="m", model_version="1", fallback="")
    panel = Panel.from_frame(frame, freq=1, gaps="mask", season_length=SEASON)
    found = score_run(forecasts, panel, AsOf(as_of)).set_index("unique_id")
    for name in "ab":
        expected = naive_scores(forecasts, frame, name, as_of)
        for key in ("steps", "observed", "mae", "bias", "rmse", "coverage", "pinball", "mase", "naive_mae"):
            assert found.loc[name, key] == pytest.approx(expected.get(key, np.nan), nan_ok=True, rel=1e-9, abs=1e-9), (
                key
            )


def test_series_that_began_after_the_run_or_are_not_in_the_panel_do_no_harm() -> None:
    frame = pd.DataFrame({"unique_id": list("aabb"), "ds": [1, 2, 5, 6], "y": 1.0})
    panel = Panel.from_frame(frame, freq=1)
    forecasts = pd.DataFrame({"unique_id": ["a", "b", "z"], "ds": 5, "mean": 2.0}).assign(
        model="m", model_version="1", fallback=""
    )
    found = score_run(forecasts, panel, AsOf(3)).set_index("unique_id")
    assert found["observed"].to_dict() == {"a": 0, "b": 1}
    assert np.isnan(found.loc["b", "naive_mae"])


def drifting(shift: float) -> Panel:
    rng = np.random.default_rng(0)
    steps = np.arange(24 * 60)
    y = 10 + np.sin(2 * np.pi * steps / 24) + rng.normal(0, 0.1, len(steps))
    temperature = 15 + 10 * np.sin(2 * np.pi * steps / (24 * 30)) + rng.normal(0, 1, len(steps))
    temperature[24 * 53 :] += shift
    stamps = pd.date_range("2024-01-01", periods=len(steps), freq="h")
    frame = pd.DataFrame({"unique_id": "a", "ds": stamps, "y": y, "temperature": temperature})
    return Panel.from_frame(frame, freq="h", past=["temperature"])


def test_a_season_is_no_drift_and_a_shift_is() -> None:
    bounds = {"split": 24 * 53, "end": 24 * 60, "length": 24 * 7}
    usual, moved = input_drift(drifting(0.0), **bounds), input_drift(drifting(25.0), **bounds)
    assert usual["temperature"].value < 1.2
    assert usual["y"].value < 1.5
    assert moved["temperature"].value > 1.5
    assert moved["y"] == usual["y"]


def test_too_few_rows_tell_nothing() -> None:
    for split, why in (
        (24 * 60 - 5, "not judged yet: 5 of 7 steps since the training"),
        (20, "cannot be judged: the training saw 20 of 30 steps needed"),
    ):
        for moved in input_drift(drifting(0.0), split=split, end=24 * 60, length=24).values():
            assert np.isnan(moved.value)
            assert moved.unjudged == why
