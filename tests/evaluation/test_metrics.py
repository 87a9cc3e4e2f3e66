"""Metrics against loops over series, steps and levels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forecast_kit.evaluation import metrics
from forecast_kit.typing import Bools, Floats

shapes = st.tuples(st.integers(1, 4), st.integers(1, 5))
numbers = st.floats(-1e3, 1e3).map(lambda v: round(v, 2))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Floats, Floats, Bools]:
    shape = draw(shapes)
    return (
        draw(hnp.arrays(float, shape, elements=numbers)),
        draw(hnp.arrays(float, shape, elements=numbers)),
        draw(hnp.arrays(bool, shape)),
    )


def average(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def check(ours: Floats, theirs: list[float]) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12, equal_nan=True)


@given(cases())
@settings(deadline=None, max_examples=40)
def test_mae_is_the_mean_absolute_error_of_observed_steps(case: tuple[Floats, Floats, Bools]) -> None:
    y, f, seen = case
    check(metrics.mae(y, f, seen), [average([abs(a - b) for a, b, s in zip(*rows, strict=True) if s])
                                    for rows in zip(y, f, seen, strict=True)])  # fmt: skip


@given(cases(), st.sampled_from([0.0, 0.5, 3.0, math.nan]))
@settings(deadline=None, max_examples=40)
def test_mase_divides_by_the_scale_where_there_is_one(case: tuple[Floats, Floats, Bools], scale: float) -> None:
    y, f, seen = case
    expected = [
        average([abs(a - b) / scale for a, b, s in zip(*rows, strict=True) if s]) if scale > 0 else math.nan
        for rows in zip(y, f, seen, strict=True)
    ]
    check(metrics.mase(y, f, seen, np.full(len(y), scale)), expected)


@given(cases())
@settings(deadline=None, max_examples=40)
def test_smape_is_the_competitions(case: tuple[Floats, Floats, Bools]) -> None:
    y, f, seen = case

    def share(a: float, b: float) -> float:
        return 0.0 if a == b == 0.0 else 200.0 * abs(a - b) / (abs(a) + abs(b))

    ours = metrics.smape(y, f, seen)
    check(ours, [average([share(a, b) for a, b, s in zip(*rows, strict=True) if s])
                 for rows in zip(y, f, seen, strict=True)])  # fmt: skip
    assert np.all(np.isnan(ours) | ((ours >= 0.0) & (ours <= 200.0 + 1e-9)))


@given(cases(), st.lists(st.floats(0.01, 0.99), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_pinball_weighs_errors_by_the_level(case: tuple[Floats, Floats, Bools], levels: list[float]) -> None:
    y, f, seen = case
    quantiles = f[:, :, None] + np.arange(len(levels))

    def loss(a: float, b: float, q: float) -> float:
        return q * (a - b) if a >= b else (1.0 - q) * (b - a)

    expected = [
        average([loss(y[i, h], quantiles[i, h, k], q) for h in range(y.shape[1]) if seen[i, h]
                 for k, q in enumerate(levels)])
        for i in range(len(y))
    ]  # fmt: skip
    check(metrics.pinball(y, quantiles, seen, np.array(levels)), expected)


def test_the_pinball_loss_of_the_median_is_half_the_absolute_error() -> None:
    y, f, seen = np.array([[1.0, 5.0]]), np.array([[4.0, 3.0]]), np.ones((1, 2), bool)
    check(metrics.pinball(y, f[:, :, None], seen, np.array([0.5])), (metrics.mae(y, f, seen) / 2).tolist())


@given(cases(), st.floats(0.0, 100.0))
@settings(deadline=None, max_examples=40)
def test_coverage_counts_observed_actuals_inside_with_the_bounds(
    case: tuple[Floats, Floats, Bools], width: float
) -> None:
    y, f, seen = case
    expected = [average([float(b - width <= a <= b + width) for a, b, s in zip(*rows, strict=True) if s])
                for rows in zip(y, f, seen, strict=True)]  # fmt: skip
    check(metrics.coverage(y, f - width, f + width, seen), expected)


def test_unobserved_actuals_count_in_no_metric() -> None:
    y, f, seen = np.array([[1.0, 1e9, np.nan]]), np.array([[2.0, 0.0, 0.0]]), np.array([[True, False, False]])
    for value in (
        metrics.mae(y, f, seen),
        metrics.mase(y, f, seen, np.array([1.0])),
        2 * metrics.pinball(y, f[..., None], seen, np.array([0.5])),
        metrics.smape(y, f, seen) / (200 / 3),
        metrics.coverage(y, f - 1, f, seen),
    ):
        assert value == pytest.approx([1.0])


def test_with_nothing_observed_every_metric_is_undefined() -> None:
    y, seen = np.ones((2, 3)), np.array([[False] * 3, [True] * 3])
    for value in (
        metrics.mae(y, y, seen),
        metrics.mase(y, y, seen, np.ones(2)),
        metrics.smape(y, y, seen),
        metrics.pinball(y, y[..., None], seen, np.array([0.5])),
        metrics.coverage(y, y, y, seen),
    ):
        assert np.isnan(value).tolist() == [True, False]
