"""Each stage against a loop that spells out what it is, scikit-learn, SciPy and statsmodels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import preprocessing as sk
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from statsmodels.tsa.seasonal import seasonal_decompose

from forecast_kit import Panel
from forecast_kit.data.filling import carry, fill_by_season
from forecast_kit.data.stages import Stage
from forecast_kit.data.transforms import (
    BoxCox,
    Deseasonalize,
    Difference,
    Log1p,
    MeanAbs,
    MinMax,
    Pipeline,
    Robust,
    Sklearn,
    Standard,
)
from forecast_kit.errors import ArgumentError, DataError, NotFittedError, TooShortError

NAN = float("nan")
Rows = list[list[float]]
ORACLES: dict[type, Any] = {Standard: sk.StandardScaler, MinMax: sk.MinMaxScaler, Robust: sk.RobustScaler}
STAGES = [
    Standard(), Standard(scope="global"), MinMax(), MinMax(scope="global"), Robust(), Robust(scope="global"), MeanAbs(),
    MeanAbs(scope="global"), Log1p(), BoxCox(), BoxCox(0.5), Difference(), Difference("season"), Difference(5),
    Deseasonalize(), Deseasonalize(4, model="multiplicative"), Sklearn(sk.PowerTransformer()),
    Pipeline([Log1p(), Difference("season"), Standard()]), Pipeline([]),
]  # fmt: skip
every_stage = pytest.mark.parametrize("stage", STAGES, ids=str)
scopes = pytest.mark.parametrize("scope", ["series", "global"])


def panel_of(rows: Rows, *, season: int = 3, starts: list[int] | None = None) -> Panel:
    """Series `s0`, `s1`, ... of the given values; NaN is not observed."""
    starts = starts or [0] * len(rows)
    frames = [
        pd.DataFrame({"unique_id": f"s{k}", "ds": np.arange(len(y)) + start, "y": y})
        for k, (y, start) in enumerate(zip(rows, starts, strict=True))
    ]
    return Panel.from_frame(pd.concat(frames), freq=1, season_length=season, gaps="mask")


def rows_of(panel: Panel) -> Rows:
    """The series' values; NaN where not observed."""
    y = np.where(panel.observed, panel.y, NAN)
    return [part.tolist() for part in np.split(y, panel.indptr[1:-1])]


def carried(rows: Rows) -> np.ndarray:
    """All rows in one array; NaN is the last value before it, or before the first the first."""
    out = []
    for y in rows:
        last = next((v for v in y if v == v), 0.0)
        for v in y:
            last = v if v == v else last
            out.append(last)
    return np.array(out)


def seen(y: list[float]) -> np.ndarray:
    return np.array([v for v in y if v == v])


def lists(low: float, high: float, least: int = 1, most: int = 14) -> st.SearchStrategy[Rows]:
    """One to four series whose first value is observed and about a fifth of the others not."""
    value = st.floats(low, high).map(lambda v: round(v, 3))
    gappy = st.one_of(*[value] * 4, st.just(NAN))
    series = st.tuples(value, st.lists(gappy, min_size=least - 1, max_size=most - 1)).map(lambda p: [p[0], *p[1]])
    return st.lists(series, min_size=1, max_size=4)


def wavy(seed: int = 0, lengths: tuple[int, ...] = (21, 17, 30)) -> Panel:
    """Positive series of several lengths and beginnings, about a tenth of them not observed."""
    rng = np.random.default_rng(seed)
    rows = [(k + 1) * rng.gamma(4.0, 2.0, n) * (1.5 + np.sin(np.arange(n) * 2.1)) for k, n in enumerate(lengths)]
    for y in rows:
        y[1:-6][rng.random(len(y) - 7) < 0.1] = NAN
    return panel_of([y.tolist() for y in rows], starts=[4 * k for k in range(len(lengths))])


# ---- scalings


@scopes
@pytest.mark.parametrize("kind", ORACLES)
@given(rows=lists(-1e4, 1e4))
@settings(deadline=None, max_examples=25)
def test_values_are_scaled_as_scikit_learn_scales_the_observed_ones(kind: type, scope: str, rows: Rows) -> None:
    panel = panel_of(rows)
    stage = kind(scope=scope).fit(panel)
    scaled = []
    for y in rows:
        scaler = ORACLES[kind]().fit(
            (seen(y) if scope == "series" else np.concatenate([seen(y) for y in rows]))[:, None]
        )
        scaled.append(scaler.transform(np.array(y)[:, None])[:, 0].tolist())
    np.testing.assert_allclose(stage.transform(panel).y, carried(scaled), atol=1e-6)


@scopes
@given(rows=lists(-1e4, 1e4))
@settings(deadline=None, max_examples=25)
def test_mean_abs_divides_by_the_mean_absolute_value(scope: str, rows: Rows) -> None:
    panel = panel_of(rows)
    scales = [sum(abs(v) for v in y if v == v) / sum(v == v for v in y) for y in rows]
    if scope == "global":
        every = np.concatenate([seen(y) for y in rows])
        scales = [np.abs(every).sum() / len(every)] * len(rows)
    scaled = [[v / (scale or 1.0) for v in y] for y, scale in zip(rows, scales, strict=True)]
    np.testing.assert_allclose(MeanAbs(scope=scope).fit(panel).transform(panel).y, carried(scaled), rtol=1e-9)


@scopes
@pytest.mark.parametrize("kind", [Standard, MinMax, Robust])
@pytest.mark.parametrize("level", [0.0, 0.1, -7.3e9, 1e-12, 1e150])
def test_a_constant_series_becomes_zero_and_comes_back(kind: type, scope: str, level: float) -> None:
    panel = panel_of([[level] * 7])
    stage = kind(scope=scope).fit(panel)
    assert stage.scale_.tolist() == [1.0]
    np.testing.assert_allclose(stage.transform(panel).y, 0.0, atol=1e-15 * max(1.0, abs(level)))
    np.testing.assert_allclose(stage.inverse(np.zeros((1, 2)), panel), level, rtol=1e-12)


def test_a_series_of_zeros_stays_zero_under_mean_abs() -> None:
    panel = panel_of([[0.0] * 4])
    np.testing.assert_array_equal(MeanAbs().fit(panel).transform(panel).y, 0.0)


@pytest.mark.parametrize("kind", [Standard, MinMax, Robust, MeanAbs])
@pytest.mark.parametrize("unit", [1e-200, 1e-12, 1e12, 1e140])
def test_tiny_and_huge_values_come_back(kind: type, unit: float) -> None:
    panel = panel_of([[unit * v for v in (3.0, 1.0, 4.0, 1.5, 9.0)]])
    stage = kind().fit(panel)
    back = stage.inverse(stage.transform(panel).y[None], panel)
    np.testing.assert_allclose(back[0], panel.y, rtol=1e-9)


def test_values_too_large_to_square_are_refused_by_name() -> None:
    panel = panel_of([[1.0, 2.0], [1e200, -1e200]])
    with pytest.raises(DataError, match=r"Standard cannot compute with values as large as those of series 's1'; use"):
        Standard().fit(panel)
    with pytest.raises(DataError, match="of series 's0', 's1'"):
        Standard(scope="global").fit(panel)


def test_values_far_larger_than_in_training_are_refused_where_they_overflow() -> None:
    stage = Standard().fit(panel_of([[1e-200, 2e-200], [0.0, 1e-150]]))
    stage.scale_ = np.array([1e-200, 1.0])
    with pytest.raises(DataError, match="Standard makes values that are not finite in series 's0'; are they far"):
        stage.transform(panel_of([[1e200, 1.0], [1.0, 2.0]]))


# ---- powers and logarithms


@given(lists(0.0, 1e6))
@settings(deadline=None, max_examples=25)
def test_log1p_is_the_logarithm_of_one_more(rows: Rows) -> None:
    panel = panel_of(rows)
    stage = Log1p().fit(panel)
    z = stage.transform(panel)
    np.testing.assert_allclose(z.y, np.log(carried(rows) + 1.0), atol=1e-12)
    np.testing.assert_allclose(stage.inverse(z.y[: len(rows[0])][None], panel.take("s0")), carried(rows[:1])[None],
                               rtol=1e-9, atol=1e-9)  # fmt: skip


@pytest.mark.parametrize("lam", [-1.0, -0.3, 0.0, 0.5, 1.0, 2.0, np.float32(0.5), np.int64(2)])
def test_a_stated_power_is_scipys_of_the_value_over_the_geometric_mean(lam: float) -> None:
    panel = wavy()
    expected = []
    for y in rows_of(panel):
        geometric = np.exp(np.mean([np.log(v) for v in seen(y)]))
        expected.append([stats.boxcox([v / geometric], lmbda=float(lam))[0] if v == v else NAN for v in y])
    np.testing.assert_allclose(BoxCox(lam).fit(panel).transform(panel).y, carried(expected), atol=1e-12)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e9])
def test_the_estimated_power_is_the_likeliest_by_scipys_likelihood(unit: float) -> None:
    rng = np.random.default_rng(5)
    draws = [
        rng.lognormal(1.0, 0.7, 60),
        rng.gamma(2.0, 3.0, 25),
        rng.normal(50.0, 2.0, 40),
        rng.uniform(1, 2, 12) ** 6,
    ]
    panel = panel_of([(unit * y).tolist() for y in draws])
    stage = BoxCox().fit(panel)
    for y, lam in zip(draws, stage.lam_, strict=True):
        best = max(stats.boxcox_llf(trial, y) for trial in np.linspace(0.0, 2.0, 401))
        assert stats.boxcox_llf(lam, y) > best - 1e-5
        free = stats.boxcox_normmax(y, method="mle")
        assert lam == pytest.approx(np.clip(free, 0.0, 2.0), abs=2e-3)


def test_a_power_is_not_estimated_where_nothing_varies() -> None:
    panel = panel_of([[5.0] * 6, [2.0]])
    stage = BoxCox().fit(panel)
    np.testing.assert_array_equal(stage.lam_, 1.0)
    np.testing.assert_allclose(stage.transform(panel).y, 0.0, atol=1e-15)
    np.testing.assert_allclose(stage.inverse(np.zeros((2, 1)), panel), [[5.0], [2.0]])


def test_forecasts_outside_a_curves_range_come_back_as_its_edge() -> None:
    panel = panel_of([[1.0, 4.0, 2.0]])
    assert Log1p().fit(panel).inverse(np.array([[-0.5, -np.inf, np.inf]]), panel).tolist() == [[0.0, 0.0, np.inf]]
    assert BoxCox(0.5).fit(panel).inverse(np.array([[-2.0, -9.0]]), panel).tolist() == [[0.0, 0.0]]
    assert BoxCox(-0.5).fit(panel).inverse(np.array([[2.0, 9.0]]), panel).tolist() == [[np.inf, np.inf]]


@pytest.mark.parametrize(
    ("stage", "rows", "complaint"),
    [
        (Log1p(), [[0.0, 1.0], [3.0, -2.5, -1.0], [-0.125]],
         r"Log1p takes values of 0 and above, and was given -2.5 in series 's1' at 1, -0.125 in series 's2' at 0; "),
        (BoxCox(), [[2.0, 0.0]], r"BoxCox takes values above 0, and was given 0 in series 's0' at 1; shift the data"),
        (Deseasonalize(2, model="multiplicative"), [[2.0, 1.0, 0.0, 4.0]],
         r"a multiplicative Deseasonalize takes values above 0, and was given 0 in series 's0' at 2;"),
        (Log1p(), [[-1.0]] * 7, r"in series 's4' at 0 and in 2 more series;"),
    ],
)  # fmt: skip
def test_values_outside_the_domain_are_named_with_series_and_stamp(stage: Stage, rows: Rows, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        clone(stage).fit(panel_of(rows))


@pytest.mark.parametrize("stage", [Log1p(), BoxCox(), BoxCox(0.0)], ids=str)
def test_later_values_outside_the_domain_are_refused_too_and_stamps_shown(stage: Stage) -> None:
    days = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-02-28", periods=3), "y": [1.0, 2.0, 5.0]})
    stage = clone(stage).fit(Panel.from_frame(days, freq="D"))
    with pytest.raises(DataError, match="-3 in series 'a' at 2024-03-01;"):
        stage.transform(Panel.from_frame(days.assign(y=[1.0, 2.0, -3.0]), freq="D"))


# ---- differences


@pytest.mark.parametrize("lag", [1, 2, 3, 5, "season", np.int64(2)])
@given(rows=lists(-1e4, 1e4, least=6))
@settings(deadline=None, max_examples=20)
def test_a_difference_is_the_change_over_the_lag(lag: Any, rows: Rows) -> None:
    panel, m = panel_of(rows, season=4), 4 if lag == "season" else int(lag)
    z = Difference(lag).fit(panel).transform(panel)
    expected = [[y[t] - y[t - m] if t >= m else NAN for t in range(len(y))] for y in rows]
    np.testing.assert_array_equal(z.observed, ~np.isnan(np.concatenate(expected)))
    np.testing.assert_array_equal(z.y, carried(expected))


@pytest.mark.parametrize("lag", [1, 2, 3])
@given(rows=lists(-1e4, 1e4, least=4))
@settings(deadline=None, max_examples=20)
def test_changes_are_summed_on_from_the_last_observed_values(lag: int, rows: Rows) -> None:
    panel = panel_of(rows)
    changes = np.random.default_rng(0).normal(size=(len(rows), 7))
    found = Difference(lag).fit(panel).inverse(changes, panel)
    filled = fill_by_season(panel, lag)
    for k, y in enumerate(rows):
        path = filled[panel.indptr[k] : panel.indptr[k + 1]].tolist()
        for change in changes[k]:
            path.append(path[-lag] + change)
        np.testing.assert_allclose(found[k], path[len(y) :], atol=1e-9)


@given(lists(-1e4, 1e4), st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_what_is_missing_is_filled_from_whole_seasons_before(rows: Rows, season: int) -> None:
    expected = []
    for y in rows:
        plain_carry = carried([y])
        for t in range(len(y)):
            before = [y[s] for s in range(t, -1, -season) if y[s] == y[s]]
            expected.append(before[0] if before else plain_carry[t])
    np.testing.assert_array_equal(fill_by_season(panel_of(rows), season), expected)


@pytest.mark.parametrize("season", [2, 3, 5])
def test_what_fills_a_place_never_seen_was_observed_elsewhere(season: int) -> None:
    panel = panel_of([[4.0, NAN, 5.0, NAN, 6.0, NAN, NAN, 7.0]])
    noise = replace(panel, y=np.where(panel.observed, panel.y, -1e9))
    np.testing.assert_array_equal(fill_by_season(noise, season), fill_by_season(panel, season))


def test_a_series_no_longer_than_the_lag_is_named() -> None:
    panel = panel_of([[1.0, 2.0, 3.0], [1.0, 2.0], [1.0]])
    with pytest.raises(
        TooShortError, match=r"lag of 2 in every series; too short are 's1' \(2 rows\), 's2' \(1 rows\)"
    ):
        Difference(2).fit(panel)
    stage = Difference(2).fit(panel.take("s0"))
    with pytest.raises(TooShortError, match="'s1'"):
        stage.transform(panel)
    with pytest.raises(TooShortError, match="'s1'"):
        stage.inverse(np.zeros((3, 1)), panel)
    with pytest.raises(TooShortError, match=r"'s4' \(1 rows\) and 2 more;"):
        Difference().fit(panel_of([[1.0]] * 7))


def test_a_series_without_an_observed_change_has_changes_of_zero() -> None:
    panel = panel_of([[1.0, NAN, 4.0, NAN, 9.0]])
    z = Difference().fit(panel).transform(panel)
    assert not z.observed.any()
    np.testing.assert_array_equal(z.y, 0.0)


# ---- seasons


@pytest.mark.parametrize("model", ["additive", "multiplicative"])
@pytest.mark.parametrize("season", [2, 3, 4, 7])
def test_the_pattern_is_that_of_statsmodels(model: str, season: int) -> None:
    rng = np.random.default_rng(season)
    rows = [(10.0 + rng.gamma(2.0, 2.0, n)).tolist() for n in (2 * season, 2 * season + 1, 5 * season + 2)]
    panel = panel_of(rows, starts=[0, 3, 1])
    z = Deseasonalize(season, model=model).fit(panel).transform(panel)
    for k, y in enumerate(rows):
        pattern = seasonal_decompose(np.array(y), model=model, period=season).seasonal
        expected = np.array(y) - pattern if model == "additive" else np.array(y) / pattern
        np.testing.assert_allclose(z.y[panel.indptr[k] : panel.indptr[k + 1]], expected, rtol=1e-9)


def naive_pattern(y: list[float], m: int, multiplicative: bool) -> list[float]:
    """The classical decomposition of one series in loops; place 0 is its first row."""
    begin = next(t for t, v in enumerate(y) if v == v)
    filled, fallback = [], carried([y])
    for t in range(len(y)):
        past = [y[s] for s in range(t, -1, -m) if y[s] == y[s]]
        filled.append(past[0] if past else fallback[t])
    places: list[list[float]] = [[] for _ in range(m)]
    half = m // 2
    for t in range(begin + half, len(y) - half):
        window = filled[t - half : t + half + 1]
        ends = 0.5 * (window[0] + window[-1]) if m % 2 == 0 else window[0] + window[-1]
        trend = (ends + sum(window[1:-1])) / m
        if y[t] == y[t]:
            places[t % m].append(y[t] / trend if multiplicative else y[t] - trend)
    means = [sum(p) / len(p) for p in places if p]
    level = sum(means) / len(means) if means else float(multiplicative)
    neutral = 1.0 if multiplicative else 0.0
    return [(sum(p) / len(p) / level if multiplicative else sum(p) / len(p) - level) if p else neutral for p in places]


@pytest.mark.parametrize("model", ["additive", "multiplicative"])
@given(rows=lists(1.0, 1e3, least=8), season=st.integers(2, 4))
@settings(deadline=None, max_examples=30)
def test_with_gaps_the_pattern_is_that_of_a_loop(model: str, rows: Rows, season: int) -> None:
    panel = panel_of(rows)
    stage = Deseasonalize(season, model=model).fit(panel)
    for y, pattern in zip(rows, stage.seasonal_, strict=True):
        np.testing.assert_allclose(pattern, naive_pattern(y, season, model == "multiplicative"), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("season", [2, 3, 4])
@pytest.mark.parametrize("lag", [1, 3])
def test_the_trend_begins_where_something_was_observed(season: int, lag: int) -> None:
    changes = Difference(lag).fit(wavy()).transform(wavy())  # its first steps are not observed
    stage = Deseasonalize(season).fit(changes)
    for y, start, pattern in zip(rows_of(changes), changes.start, stage.seasonal_, strict=True):
        # Places are counted from step 0, the loop's from the first row.
        np.testing.assert_allclose(np.roll(pattern, -start), naive_pattern(y, season, False), atol=1e-9)


@pytest.mark.parametrize("freq", [1, 3, "h", "MS", "B", "W-SUN", "2h"])
def test_places_hold_for_panels_that_begin_elsewhere(freq: int | str) -> None:
    size = 34
    stamps = (
        5 + np.arange(size) * freq if isinstance(freq, int) else pd.date_range("2024-01-01", periods=size, freq=freq)
    )
    y = 10.0 + np.arange(size) % 4 + np.random.default_rng(1).normal(size=size)
    frame = pd.DataFrame({"unique_id": "b", "ds": stamps, "y": y})
    stage = Deseasonalize(4).fit(Panel.from_frame(frame[8:26], freq=freq))
    expected = stage.transform(Panel.from_frame(frame[8:26], freq=freq)).y
    values = np.zeros((1, 6))
    ahead = stage.inverse(values, Panel.from_frame(frame[8:26], freq=freq))
    for first in (0, 3, 8, 11, 25):  # the panel's own axis begins before, at or after that of the training part
        later = Panel.from_frame(frame[first:26], freq=freq)
        np.testing.assert_allclose(stage.transform(later).y[-len(expected) :], expected[-len(later.y) :])
        np.testing.assert_allclose(stage.inverse(values, later), ahead)
    company = pd.concat([frame[:2].assign(unique_id="a"), frame[20:26]])  # an earlier series moves the axis
    both = Panel.from_frame(company, freq=freq).take("b")
    np.testing.assert_allclose(stage.transform(both).y, expected[-6:])
    np.testing.assert_allclose(stage.inverse(values, both), ahead)


def test_a_place_never_seen_is_left_alone() -> None:
    panel = panel_of([[5.0, 1.0, NAN, 6.0, 2.0, NAN, 7.0, 3.0, NAN]], season=3)
    for model, neutral in (("additive", 0.0), ("multiplicative", 1.0)):
        assert Deseasonalize(model=model).fit(panel).seasonal_[0, 2] == neutral


def test_deseasonalize_says_what_it_lacks() -> None:
    with pytest.raises(TooShortError, match=r"two seasons of 3 steps .* too short are 's1' \(5 rows\); drop them"):
        Deseasonalize().fit(panel_of([[1.0] * 6, [1.0] * 5]))
    with pytest.raises(ArgumentError, match="season has a single step"):
        Deseasonalize().fit(panel_of([[1.0] * 6], season=1))
    stage = Deseasonalize().fit(panel_of([[1.0] * 6]))
    even = Panel.from_frame(pd.DataFrame({"unique_id": "s0", "ds": [0, 2], "y": [1.0, 2.0]}), freq=2)
    with pytest.raises(ArgumentError, match=r"freq=2, but Deseasonalize was fitted with freq=1"):
        stage.transform(even)


# ---- scikit-learn's transformers

TRANSFORMERS = [
    sk.StandardScaler(), sk.PowerTransformer(), sk.PowerTransformer(method="box-cox", standardize=False),
    sk.QuantileTransformer(n_quantiles=5, output_distribution="normal"), sk.MinMaxScaler(feature_range=(-1, 1)),
    sk.RobustScaler(), sk.MaxAbsScaler(), sk.FunctionTransformer(np.log1p, np.expm1), sk.StandardScaler(copy=False),
    make_pipeline(sk.RobustScaler(), sk.MinMaxScaler()),
]  # fmt: skip


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=str)
def test_a_transformer_of_scikit_learn_is_applied_to_all_observed_values_in_one_column(transformer: Any) -> None:
    panel = wavy()
    before = panel.digest
    stage = Sklearn(transformer).fit(panel)
    column = panel.y[panel.observed][:, None]
    oracle = clone(transformer).fit(column.copy())
    expected = [
        [oracle.transform(np.array([[v]]))[0, 0] if v == v else NAN for v in y] for y in rows_of(panel)
    ]  # fmt: skip
    z = stage.transform(panel)
    np.testing.assert_allclose(z.y, carried(expected), rtol=1e-12)
    assert panel.digest == before
    ends = z.y[panel.indptr[1:] - 1]
    np.testing.assert_allclose(stage.inverse(ends[:, None], panel)[:, 0], panel.y[panel.indptr[1:] - 1], rtol=1e-9)


class TwoColumns(sk.StandardScaler):
    def transform(self, X: np.ndarray) -> np.ndarray:
        return np.hstack([X, X])


@pytest.mark.parametrize(
    ("transformer", "error", "complaint"),
    [
        (sk.Normalizer(), ArgumentError, "an inverse, but Normalizer lacks 'inverse_transform'"),
        (sk.StandardScaler, ArgumentError, "but StandardScaler is a class, not an instance"),
        (None, ArgumentError, "NoneType lacks 'fit', 'transform', 'inverse_transform'"),
        (sk.FunctionTransformer(np.negative, np.negative), ArgumentError, "FunctionTransformer is not increasing on"),
        (TwoColumns(), ArgumentError, r"TwoColumns.transform must make one column of one, got shape \(\d+, 2\)"),
        (sk.PowerTransformer(method="box-cox"), DataError, "PowerTransformer refuses the values: .*strictly positive"),
    ],
    ids=str,
)
def test_a_transformer_that_cannot_be_a_stage_is_refused(transformer: Any, error: type, complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        Sklearn(transformer).fit(panel_of([[-1.0, 3.0, 2.0]]))


def test_a_transformer_needs_an_observed_value_and_passes_infinite_forecasts_on() -> None:
    empty = panel_of([[1.0, NAN, NAN]]).tail(2)
    with pytest.raises(DataError, match="no observed value to fit StandardScaler on"):
        Sklearn(sk.StandardScaler()).fit(empty)
    panel = panel_of([[1.0, 3.0]])
    stage = Sklearn(sk.StandardScaler()).fit(panel)
    assert stage.inverse(np.array([[np.inf, 0.0, -np.inf]]), panel).tolist() == [[np.inf, 2.0, -np.inf]]
    assert stage.inverse(np.array([[np.inf]]), panel).tolist() == [[np.inf]]
    assert not stage.transform(empty).observed.any()


# ---- what holds for all of them


@every_stage
def test_what_is_not_observed_has_no_influence(stage: Stage) -> None:
    panel = wavy(1)
    assert not panel.observed.all()
    noise = np.random.default_rng(2).choice([-1e9, 0.0, 1e300, 7.0], len(panel.y))
    other = replace(panel, y=np.where(panel.observed, panel.y, noise))
    values = np.random.default_rng(3).normal(size=(len(panel), 5, 2))
    answers = []
    for one in (panel, other):
        fitted = clone(stage).fit(one)
        _, arrays = fitted.state()
        z = fitted.transform(one)
        answers.append([*arrays.values(), z.y, z.observed, fitted.inverse(values, one)])
    for mine, theirs in zip(*answers, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@every_stage
def test_series_are_learned_each_by_itself_unless_the_scope_is_global(stage: Stage) -> None:
    if getattr(stage, "scope", "") == "global" or isinstance(stage, Sklearn):
        return
    panel = wavy(4)
    together = clone(stage).fit(panel).transform(panel)
    values = np.random.default_rng(3).normal(size=(len(panel), 5))
    back = clone(stage).fit(panel).inverse(values, panel)
    for k, name in enumerate(panel.ids):
        alone = panel.take(name)
        fitted = clone(stage).fit(alone)
        np.testing.assert_allclose(fitted.transform(alone).y, together.take(name).y, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(fitted.inverse(values[k : k + 1], alone), back[k : k + 1], rtol=1e-9, atol=1e-9)


@every_stage
def test_steps_series_and_covariates_stay_and_nothing_given_is_changed(stage: Stage) -> None:
    panel = wavy(5)
    before, values = panel.digest, np.full((3, 4, 2), 0.25)
    fitted = clone(stage).fit(panel)
    z = fitted.transform(panel)
    fitted.inverse(values, panel)
    assert panel.digest == before
    assert (values == 0.25).all()
    np.testing.assert_array_equal(z.indptr, panel.indptr)
    np.testing.assert_array_equal(z.row_steps, panel.row_steps)
    assert (z.ids.tolist(), z.schema) == (panel.ids.tolist(), panel.schema)
    assert not (z.observed & ~panel.observed).any()
    np.testing.assert_array_equal(carry(z.y, z.observed, z.indptr), z.y)


@pytest.mark.parametrize(
    "stage", [Standard(), MinMax(), Robust(), MeanAbs(), Log1p(), BoxCox(), BoxCox(0.0), Sklearn(sk.StandardScaler())],
    ids=str,
)  # fmt: skip
def test_a_single_observation_is_enough_for_a_transform_of_one_value(stage: Stage) -> None:
    panel = panel_of([[4.0], [7.0, NAN]])
    fitted = clone(stage).fit(panel)
    z = fitted.transform(panel)
    np.testing.assert_allclose(fitted.inverse(z.y[[0, 1]][:, None], panel)[:, 0], [4.0, 7.0], rtol=1e-12)


@scopes
@pytest.mark.parametrize("kind", [Standard, MinMax, Robust, MeanAbs])
def test_a_series_without_an_observed_value_is_left_as_it_is(kind: type, scope: str) -> None:
    # Such series are tails of longer ones: what they carry was observed before them.
    tail = panel_of([[6.0, NAN, NAN]]).tail(2)
    stage = kind(scope=scope).fit(tail)
    assert (stage.shift_.tolist(), stage.scale_.tolist()) == ([0.0], [1.0])
    np.testing.assert_array_equal(stage.transform(tail).y, 6.0)


def test_a_tail_that_is_not_observed_stands_for_the_last_observed_value() -> None:
    panel = panel_of([[6.0, NAN, NAN, NAN]])
    stage = Difference().fit(panel)
    np.testing.assert_array_equal(stage.inverse(np.array([[1.0, 2.0]]), panel.tail(2)), [[7.0, 9.0]])
    power = BoxCox().fit(panel.tail(2))
    assert (power.lam_.tolist(), power.log_mean_.tolist()) == ([1.0], [0.0])
    assert not Log1p().fit(panel.tail(2)).transform(panel.tail(2)).observed.any()
    with pytest.raises(TooShortError, match="'s0'"):
        Deseasonalize(2).fit(panel.tail(3))


@every_stage
def test_forecasts_of_no_steps_and_of_no_levels_are_given_back_empty(stage: Stage) -> None:
    panel = wavy()
    fitted = clone(stage).fit(panel)
    for shape in ((3, 0), (3, 0, 2), (3, 4, 0)):
        assert fitted.inverse(np.empty(shape), panel).shape == shape


@every_stage
def test_every_level_goes_back_as_it_would_alone(stage: Stage) -> None:
    panel = wavy()
    fitted = clone(stage).fit(panel)
    values = np.random.default_rng(0).uniform(0.1, 0.9, (3, 4, 2))
    both = fitted.inverse(values, panel)
    assert both.dtype == np.float64
    for level in range(2):
        np.testing.assert_array_equal(both[:, :, level], fitted.inverse(values[:, :, level], panel))
    np.testing.assert_allclose(fitted.inverse(values.astype(np.float32), panel), both, rtol=1e-4)
    assert fitted.inverse(np.zeros((3, 2), np.int64), panel).shape == (3, 2)


@every_stage
@pytest.mark.parametrize(
    "values", [np.zeros(3), np.zeros((2, 4)), np.zeros((3, 1, 1, 1)), np.zeros((3, 2), bool), np.full((3, 2), "a")]
)
def test_values_of_another_shape_or_kind_are_refused(stage: Stage, values: np.ndarray) -> None:
    panel = wavy()
    with pytest.raises(ArgumentError, match=r"must be numbers \[N, H\] or \[N, H, Q\] for the N = 3 series of"):
        clone(stage).fit(panel).inverse(values, panel)


@every_stage
def test_nothing_works_before_fit_and_only_panels_are_taken(stage: Stage) -> None:
    fresh, panel = clone(stage), wavy()
    for use in (lambda: fresh.transform(panel), lambda: fresh.inverse(np.zeros((3, 1)), panel), fresh.state):
        with pytest.raises(NotFittedError, match=rf"{type(stage).__name__} is not fitted; call fit\(panel\) first"):
            use()
    with pytest.raises(ArgumentError, match=r"fit takes a Panel, got ndarray; build one with Panel.from_frame"):
        fresh.fit(np.zeros((4, 1)))
    with pytest.raises(ArgumentError, match="transform takes a Panel, got DataFrame"):
        fresh.fit(panel).transform(panel.to_frame())
    with pytest.raises(ArgumentError, match="inverse takes a Panel, got NoneType"):
        fresh.inverse(np.zeros((3, 1)), None)


@pytest.mark.parametrize(
    ("stage", "complaint"),
    [
        (Standard(scope="all"), "scope must be 'series' or 'global', got 'all'"),
        (BoxCox("mle"), "lam must be a finite number, or None to estimate it, got 'mle'"),
        (BoxCox(np.inf), "lam must be a finite number"),
        (BoxCox(True), "lam must be a finite number"),
        (BoxCox(1j), "lam must be a finite number"),
        (Difference(0), "lag must be a whole number of steps, at least 1, or 'season'; got 0"),
        (Difference(1.5), "lag must be a whole number"),
        (Difference("week"), "lag must be a whole number"),
        (Difference(True), "lag must be a whole number"),
        (
            Deseasonalize(1),
            "season_length must be a whole number of steps, at least 2, or None for the schema's; got 1",
        ),
        (Deseasonalize(model="stl"), "model must be 'additive' or 'multiplicative', got 'stl'"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused_before_data_are_seen(stage: Stage, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        stage.check()
    with pytest.raises(ArgumentError, match=complaint):
        Pipeline([stage]).check()
    with pytest.raises(ArgumentError, match=complaint):
        stage.fit(wavy())


@pytest.mark.parametrize(
    ("stage", "bad"),
    [
        (Difference(3), panel_of([[1.0]])),
        (Deseasonalize(3), panel_of([[1.0]])),
        (Log1p(), panel_of([[-1.0]])),
        (BoxCox(), panel_of([[-1.0]])),
        (Standard(), panel_of([[1e300, -1e300]])),
        (Pipeline([Standard(), Difference(3)]), panel_of([[1.0]])),
    ],
    ids=str,
)
def test_a_fit_that_fails_leaves_the_stage_unfitted(stage: Stage, bad: Panel) -> None:
    fitted = clone(stage).fit(wavy())
    with pytest.raises(DataError):
        fitted.fit(bad)
    with pytest.raises(NotFittedError):
        fitted.transform(wavy())
