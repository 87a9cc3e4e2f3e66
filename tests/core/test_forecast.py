"""Forecasts as frames, and the levels that they have."""

from __future__ import annotations

import numpy as np
import pytest

from forecast_kit import Forecast
from forecast_kit.core.forecast import check_levels, level_column
from forecast_kit.errors import ArgumentError


def make(fallback: tuple[str, str] = ("", "")) -> Forecast:
    mean = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    quantiles = np.stack([mean - 1, mean + 1], axis=2)
    stamps = np.array([[11, 12, 13], [21, 22, 23]])
    return Forecast("M", np.array(["a", "b"]), np.array([10, 20]), stamps, mean, (0.1, 0.975), quantiles,
                    np.array(fallback), np.array(["too short" if name else "" for name in fallback]))  # fmt: skip


def test_the_frame_has_a_row_for_every_series_and_step() -> None:
    frame = make().to_frame()
    expected = [
        (name, cutoff + step, cutoff, "M", mean, mean - 1, mean + 1)
        for name, cutoff, means in [("a", 10, [1.0, 2.0, 3.0]), ("b", 20, [4.0, 5.0, 6.0])]
        for step, mean in enumerate(means, start=1)
    ]
    assert frame.columns.tolist() == ["unique_id", "ds", "cutoff", "model", "mean", "q10", "q97_5"]
    assert list(frame.itertuples(index=False, name=None)) == expected


def test_a_fallback_is_told_where_there_is_one() -> None:
    frame = make(("", "SeasonalNaive")).to_frame()
    assert frame["fallback"].tolist() == [""] * 3 + ["SeasonalNaive"] * 3
    assert frame["reason"].tolist() == [""] * 3 + ["too short"] * 3


def test_size_and_summary() -> None:
    forecast = make()
    assert (len(forecast), forecast.horizon) == (2, 3)
    assert repr(forecast) == "Forecast('M', 2 series, horizon=3, levels=(0.1, 0.975))"


def test_levels_are_sorted_and_each_there_once() -> None:
    assert check_levels([0.9, 0.1, 0.9, np.float64(0.5)]) == (0.1, 0.5, 0.9)
    assert check_levels(q / 10 for q in (9, 1)) == (0.1, 0.9)
    assert check_levels(()) == ()


@pytest.mark.parametrize("bad", [[0.0], [1.0], [0.5, 1.5], [-0.1], [float("nan")], "0.5", ["0.1"], [None], 0.5])
def test_what_is_no_level_is_refused(bad: object) -> None:
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        check_levels(bad)


@pytest.mark.parametrize(
    ("level", "column"),
    [(0.1, "q10"), (0.5, "q50"), (0.025, "q2_5"), (0.001, "q0_1"), (1 / 3, "q33_333333"), (0.29, "q29")],
)  # fmt: skip
def test_column_names_are_per_cent_without_dots(level: float, column: str) -> None:
    assert level_column(level) == column
