"""Metrics against loops over series, steps and levels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forecast_kit.errors import ArgumentError
from forecast_kit.evaluation import metrics
from forecast_kit.evaluation.scoring import Rows, score
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
    check(metrics.mase(y, f, seen, np.full((len(y), 1), scale)), expected)


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


def test_a_scale_is_for_a_series_or_for_a_value() -> None:
    y, f, seen = np.array([[1.0, 2.0], [3.0, 9.0]]), np.zeros((2, 2)), np.ones((2, 2), bool)
    expected = [1.5 / 2.0, 6.0 / 4.0]
    for scale in (np.array([2.0, 4.0]), np.array([[2.0], [4.0]]), np.array([[2.0, 2.0], [4.0, 4.0]])):
        np.testing.assert_allclose(metrics.mase(y, f, seen, scale), expected)
    assert metrics.mase(y[0], f[0], seen[0], np.array(2.0)) == 0.75


def test_unobserved_actuals_count_in_no_metric() -> None:
    y, f, seen = np.array([[1.0, 1e9, np.nan]]), np.array([[2.0, 0.0, 0.0]]), np.array([[True, False, False]])
    for value in (
        metrics.mae(y, f, seen),
        metrics.mase(y, f, seen, np.array([[1.0]])),
        2 * metrics.pinball(y, f[..., None], seen, np.array([0.5])),
        metrics.smape(y, f, seen) / (200 / 3),
        metrics.coverage(y, f - 1, f, seen),
    ):
        assert value == pytest.approx([1.0])


def test_with_nothing_observed_every_metric_is_undefined() -> None:
    y, seen = np.ones((2, 3)), np.array([[False] * 3, [True] * 3])
    for value in (
        metrics.mae(y, y, seen),
        metrics.mase(y, y, seen, np.ones((2, 1))),
        metrics.smape(y, y, seen),
        metrics.pinball(y, y[..., None], seen, np.array([0.5])),
        metrics.coverage(y, y, y, seen),
    ):
        assert np.isnan(value).tolist() == [True, False]


# ---- all metrics of the table, against loops

LOOPS = {
    "me": lambda y, f, s, s2: average([a - b for a, b in zip(y, f, strict=True)]),
    "mae": lambda y, f, s, s2: average([abs(a - b) for a, b in zip(y, f, strict=True)]),
    "mse": lambda y, f, s, s2: average([(a - b) ** 2 for a, b in zip(y, f, strict=True)]),
    "rmse": lambda y, f, s, s2: math.sqrt(average([(a - b) ** 2 for a, b in zip(y, f, strict=True)])),
    "mape": lambda y, f, s, s2: average([100 * abs(a - b) / abs(a) for a, b in zip(y, f, strict=True) if a != 0]),
    "wape": lambda y, f, s, s2: share(sum(abs(a - b) for a, b in zip(y, f, strict=True)), sum(map(abs, y))),
    "bias": lambda y, f, s, s2: share(sum(b - a for a, b in zip(y, f, strict=True)), sum(map(abs, y))),
    "mase": lambda y, f, s, s2: share(average([abs(a - b) for a, b in zip(y, f, strict=True)]), s),
    "rmsse": lambda y, f, s, s2: math.sqrt(share(average([(a - b) ** 2 for a, b in zip(y, f, strict=True)]), s2)),
}


def share(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan


def rows_of(y: Floats, f: Floats, seen: Bools, scale: Floats, quantiles: Floats, levels: list[float]) -> Rows:
    return Rows(y, seen, f, scale[:, None], 2 * scale[:, None], quantiles, np.array(levels))


@given(cases(), st.sampled_from([0.0, 0.5, math.nan]))
@settings(deadline=None, max_examples=60)
@pytest.mark.parametrize("name", LOOPS)
def test_point_metrics_are_their_loops_by_series_and_by_step(
    name: str, case: tuple[Floats, Floats, Bools], first: float
) -> None:
    y, f, seen = case
    scale = np.array([first, *[0.25 * (k + 1) for k in range(len(y) - 1)]])
    rows = rows_of(y, f, seen, scale, np.zeros((*y.shape, 0)), [])
    series = [
        LOOPS[name](y[i][seen[i]].tolist(), f[i][seen[i]].tolist(), scale[i], 2 * scale[i]) for i in range(len(y))
    ]
    check(score(rows, [name])[name], series)
    turned = score(rows.by_step(), [name])[name]
    for h in range(y.shape[1]):
        at = seen[:, h]
        if name in ("mase", "rmsse"):
            at = at & (scale > 0)
            power = 1 if name == "mase" else 2
            mean = average([abs(y[i, h] - f[i, h]) ** power / (scale[i] * power) for i in np.flatnonzero(at)])
            check(turned[h : h + 1], [mean if name == "mase" else math.sqrt(mean)])
        else:
            check(turned[h : h + 1], [LOOPS[name](y[at, h].tolist(), f[at, h].tolist(), 1.0, 1.0)])


@given(cases(), st.lists(st.floats(0.01, 0.99), min_size=2, max_size=5, unique=True).map(sorted))
@settings(deadline=None, max_examples=60)
def test_quantile_metrics_are_their_loops(case: tuple[Floats, Floats, Bools], levels: list[float]) -> None:
    y, f, seen = case
    scale = np.arange(1.0, len(y) + 1)
    quantiles = np.sort(f[:, :, None] + 3.0 * np.arange(len(levels)), axis=2)
    found = score(
        rows_of(y, f, seen, scale, quantiles, levels), ["pinball", "wql", "crps", "coverage", "width", "msis"]
    )

    def loss(a: float, b: float, q: float) -> float:
        return max(q * (a - b), (q - 1) * (a - b))

    edges = [0.0, *[(a + b) / 2 for a, b in itertools.pairwise(levels)], 1.0]
    alpha = 1 - (levels[-1] - levels[0])
    for i in range(len(y)):
        at = np.flatnonzero(seen[i]).tolist()
        size = sum(abs(y[i, h]) for h in at)
        each = [[loss(y[i, h], quantiles[i, h, k], q) for k, q in enumerate(levels)] for h in at]
        spans = [(quantiles[i, h, 0], quantiles[i, h, -1]) for h in at]
        points = [
            high - low + 2 / alpha * (max(low - y[i, h], 0) + max(y[i, h] - high, 0))
            for h, (low, high) in zip(at, spans, strict=True)
        ]
        expected = {
            "pinball": average([average(row) for row in each]),
            "wql": share(2 * sum(average(row) for row in each), size),
            "crps": average([sum(2 * v * (b - a) for v, (a, b) in zip(row, itertools.pairwise(edges), strict=True))
                             for row in each]),
            "coverage": average([float(low <= y[i, h] <= high) for h, (low, high) in zip(at, spans, strict=True)]),
            "width": average([high - low for low, high in spans]),
            "msis": share(average(points), scale[i]),
        }  # fmt: skip
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][i], value, rtol=1e-9, atol=1e-9, err_msg=name)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=7), st.floats(-50, 50))
@settings(deadline=None, max_examples=60)
def test_the_crps_of_samples_is_the_mean_over_all_pairs(samples: list[float], actual: float) -> None:
    away = average([abs(x - actual) for x in samples])
    spread = average([abs(a - b) for a in samples for b in samples])
    ours = metrics.crps_samples(np.array([actual]), np.array([samples]), np.array([True]))
    assert float(ours) == pytest.approx(away - spread / 2, abs=1e-9)


def test_the_crps_of_many_quantiles_and_of_many_samples_is_the_normals() -> None:
    """Gneiting and Raftery 2007, equation 5: s (z (2 F(z) - 1) + 2 f(z) - 1 / sqrt(pi))."""
    from scipy.stats import norm

    y, seen = np.array([0.7]), np.array([True])
    expected = 0.7 * (2 * norm.cdf(0.7) - 1) + 2 * norm.pdf(0.7) - 1 / math.sqrt(math.pi)
    levels = (np.arange(2000) + 0.5) / 2000
    assert metrics.crps(y, norm.ppf(levels)[None], seen, levels) == pytest.approx(expected, rel=1e-4)
    draws = np.random.default_rng(0).normal(size=(1, 200_000))
    assert metrics.crps_samples(y, draws, seen) == pytest.approx(expected, rel=1e-2)


def test_the_metrics_of_classes_are_counted() -> None:
    labels, classes = np.array(["b", "a", "b", "c"]), np.array(["a", "b", "c"])
    probabilities = np.array([[0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.2, 0.6]])
    found = metrics.classification(labels, probabilities, classes)
    assert found["accuracy"] == 0.75
    # a: one of two right, none missed; b: all right, one of two missed; c: all right.
    assert found["f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["log_loss"] == pytest.approx(-average([math.log(p) for p in (0.8, 0.6, 0.4, 0.6)]))
    with pytest.raises(ArgumentError, match="labels hold \\['d'\\]"):
        metrics.classification(np.array(["d"]), probabilities[:1], classes)
    with pytest.raises(ArgumentError, match="got \\(4, 3\\)"):
        metrics.classification(labels[:3], probabilities, classes)


def test_what_there_is_no_metric_for_is_refused() -> None:
    rows = rows_of(np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 2), bool), np.ones(1), np.ones((1, 2, 1)), [0.5])
    with pytest.raises(ArgumentError, match="unknown metric 'maes'.* mean 'mase'|unknown metric 'maes'.* mean 'mae'"):
        score(rows, ["maes"])
    with pytest.raises(ArgumentError, match="metric 'msis' needs forecasts with at least 2 levels, these have 1"):
        score(rows, ["msis"])
