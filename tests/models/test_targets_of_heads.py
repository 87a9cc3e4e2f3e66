"""Heads that are for positive targets or counts are refused others at fit, and stay in bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_kit import NeuralForecaster, Panel
from forecast_kit.errors import DataError
from forecast_kit.nn.heads import make_head

H, STEPS = 4, 48


def sales(series: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    y = rng.lognormal(2.0, 0.4, (series, STEPS))
    ids = np.repeat([f"s{k:02d}" for k in range(series)], STEPS)
    return pd.DataFrame({"unique_id": ids, "ds": np.tile(np.arange(STEPS), series), "y": y.ravel()})


def panel_of(frame: pd.DataFrame) -> Panel:
    return Panel.from_frame(frame, freq=1, season_length=4, gaps="mask")


def tiny(head: Any, **changes: Any) -> NeuralForecaster:
    training = {"steps": 2, "batch_size": 8, **changes.pop("training", {})}
    network = {"network": "gru", "units": 4, "hidden": 4}
    return NeuralForecaster(network, horizon=H, input_length=8, head=head, training=training, **changes)


def with_value(value: float, *, ids: int, steps: slice) -> pd.DataFrame:
    """The sales, where the first series have that value in some steps."""
    frame = sales()
    first = frame["unique_id"] < f"s{ids:02d}"
    frame.loc[first & frame["ds"].isin(range(STEPS)[steps]), "y"] = value
    return frame


def test_zeros_are_refused_by_log_normal_with_series_counts_and_a_cure() -> None:
    panel = panel_of(with_value(0.0, ids=7, steps=slice(10, 13)))
    with pytest.raises(DataError) as refused:
        tiny("log_normal").fit(panel)
    named = ", ".join(f"'s{k:02d}' (3 of 48)" for k in range(5))
    assert str(refused.value) == (
        f"LogNormalHead needs targets above 0; 7 of 12 series have zeros: {named} and 2 more. Take "
        "head='negative_binomial' for counts, or head='quantile' with transform=['log1p', 'standard']; or drop these "
        "series"
    )


@pytest.mark.parametrize("head", ["log_normal", "negative_binomial"])
@pytest.mark.parametrize("transform", [None, "mean_abs"])
def test_negative_targets_are_refused_whatever_scales_them(head: str, transform: Any) -> None:
    panel = panel_of(with_value(-3.0, ids=2, steps=slice(5, 6)))
    complaint = r"2 of 12 series have some below 0: 's00' \(1 of 48\), 's01' .* Take head='quantile' or 'student_t'; or"
    with pytest.raises(DataError, match=complaint):
        tiny(head, transform=transform).fit(panel)


def test_what_is_held_out_is_looked_at_too() -> None:
    end = with_value(0.0, ids=3, steps=slice(STEPS - H, None))
    complaint = r"LogNormalHead needs targets above 0; 3 of 12 series have zeros: 's00' \(4 of 48\)"
    with pytest.raises(DataError, match=complaint):
        tiny("log_normal", training={"validation": 1}).fit(panel_of(end))
    before = panel_of(end[end["ds"] < STEPS - H])
    with pytest.raises(DataError, match=complaint):
        tiny("log_normal").fit(before, validation=panel_of(end))
    with pytest.raises(DataError, match=complaint):
        tiny("log_normal").fit(before).fine_tune(panel_of(end))


def test_what_a_head_can_have_is_taken_and_what_was_not_observed_does_not_count() -> None:
    zeros = with_value(0.0, ids=3, steps=slice(10, 13))
    tiny("negative_binomial").fit(panel_of(zeros))
    tiny("quantile").fit(panel_of(with_value(-3.0, ids=3, steps=slice(10, 13))))
    masked = zeros.assign(y=zeros["y"].where(zeros["y"] > 0))
    fitted = tiny("log_normal").fit(panel_of(masked))
    # A history is forecast from all the same: a night's job must not lose its series.
    assert np.isfinite(fitted.predict(history=panel_of(zeros), levels=(0.1, 0.9)).mean).all()


def test_the_mean_of_a_log_normal_distribution_stays_near_its_median() -> None:
    head = make_head("log_normal")
    raw = np.zeros((1, 200, 2), np.float32)
    raw[0, :, 1] = np.linspace(-5.0, 60.0, 200)
    params = np.asarray(head(raw))
    sigma = params[0, :, 1]
    assert (np.diff(sigma) > 0).all()
    assert sigma.max() < 4.001
    assert (head.center(params) / head.quantile(params, (0.5,))[:, :, 0]).max() < np.exp(8.01)
