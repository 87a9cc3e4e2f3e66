"""Conformal intervals: against loops, and against the coverage that they promise."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import forecast_kit
from forecast_kit import (
    ETS,
    Drift,
    Forecast,
    Forecaster,
    HistoricAverage,
    Naive,
    NeuralForecaster,
    Panel,
    SeasonalNaive,
    WindowAverage,
)
from forecast_kit.errors import ArgumentError, ForecastError, TooShortError
from forecast_kit.models.conformal import Conformal
from forecast_kit.models.conformal_scores import (
    USUAL_LEVELS,
    adaptive_moves,
    conformal_quantiles,
    interpolate,
    outwards,
    own_scale,
)
from forecast_kit.models.ensemble import Ensemble
from forecast_kit.typing import Floats

M, H, LEVELS = 4, 3, (0.1, 0.3, 0.5, 0.9)
METHODS = ("split", "cqr", "adaptive")
every = pytest.mark.parametrize("method", METHODS)


def frame(lengths: tuple[int, ...] = (40, 47, 44), seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for k, length in enumerate(lengths):
        t = np.arange(length)
        y = 10.0 * (k + 1) + 3.0 * np.sin(2 * np.pi * t / M) + (k + 1) * rng.gamma(2.0, 1.0, length)
        frames.append(pd.DataFrame({"unique_id": f"s{k}", "ds": t + k, "y": y}))
    return pd.concat(frames, ignore_index=True)


def panel(*lengths: int) -> Panel:
    return Panel.from_frame(frame(lengths or (40, 47, 44)), freq=1, season_length=M)


def noise(series: int, rows: int, seed: int = 0) -> Panel:
    """Independent exponential values: skewed, and as exchangeable as can be."""
    y = np.random.default_rng(seed).exponential(1.0, (series, rows)) * np.arange(1, series + 1)[:, None]
    ids = np.repeat(np.arange(series), rows)
    return Panel.from_frame(
        pd.DataFrame({"unique_id": ids, "ds": np.tile(np.arange(rows), series), "y": y.ravel()}), freq=1
    )


def conformal(method: Any = "split", base: Any = "SeasonalNaive", **fields: Any) -> Conformal:
    return Conformal(base, method=method, **{"horizon": H, **fields})


def assert_same(ours: Forecast, theirs: Forecast, tolerance: float = 1e-8) -> None:
    np.testing.assert_array_equal(ours.ids, theirs.ids)
    np.testing.assert_array_equal(ours.ds, theirs.ds)
    np.testing.assert_array_equal(ours.fallback, theirs.fallback)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.quantiles, theirs.quantiles, rtol=0, atol=tolerance)


# ---- arithmetic


def ranked(scores: list[float], level: float) -> float:
    """The conformal quantile of a sorted list, NaN where there is no such rank."""
    place = round((len(scores) + 1) * level, 9)
    ranks = {math.floor(place)} if level < 0.5 else {math.ceil(place)} if level > 0.5 else set()
    ranks |= {math.floor(place), math.ceil(place)} if level == 0.5 else set()
    if min(ranks) < 1 or max(ranks) > len(scores):
        return math.nan
    return (scores[min(ranks) - 1] + scores[max(ranks) - 1]) / 2


@given(st.lists(st.one_of(st.floats(-1e3, 1e3), st.just(math.nan)), max_size=40), st.floats(0.001, 0.999))
@settings(deadline=None, max_examples=200)
def test_conformal_quantiles_are_ranks_of_the_sorted_scores(scores: list[float], level: float) -> None:
    seen = sorted(s for s in scores if not math.isnan(s))
    found = conformal_quantiles(np.array(scores, float), np.array([level, 0.5]))
    np.testing.assert_allclose(found, [ranked(seen, level), ranked(seen, 0.5)])


@given(st.integers(0, 2**32 - 1), st.integers(19, 60), st.sampled_from([0.1, 0.2, 0.8, 0.9, 0.95]))
@settings(deadline=None, max_examples=25)
def test_the_next_exchangeable_score_is_covered(seed: int, count: int, level: float) -> None:
    scores = np.random.default_rng(seed).standard_exponential((count + 1, 4000))
    limit = conformal_quantiles(scores[:-1], np.array([level]))[:, 0]
    below = (scores[-1] <= limit).mean()
    noise_of_the_mean = 4.5 * math.sqrt(level * (1 - level) / 4000)
    if level > 0.5:
        assert level - noise_of_the_mean <= below <= level + 1 / (count + 1) + noise_of_the_mean
    else:
        assert level - 1 / (count + 1) - noise_of_the_mean <= below <= level + noise_of_the_mean


@given(st.floats(0.0051, 0.9949))
@settings(deadline=None, max_examples=50)
def test_between_levels_a_normal_distribution_is_met(level: float) -> None:
    known = np.array(USUAL_LEVELS)
    values = np.array([3.0 + 2.0 * NormalDist().inv_cdf(q) for q in USUAL_LEVELS])[None, None]
    found = interpolate(values, known, np.array([[level, 0.001]]))[0, 0]
    np.testing.assert_allclose(found, [3.0 + 2.0 * NormalDist().inv_cdf(level), values[0, 0, 0]], rtol=1e-9)


@given(st.lists(st.integers(-9, 9), min_size=5, max_size=5))
@settings(deadline=None, max_examples=60)
def test_what_crosses_is_moved_outwards(values: list[int]) -> None:
    found = outwards(np.array(values, float), np.array([0.1, 0.3, 0.5, 0.7, 0.9])).tolist()
    low, middle, high = values[:2], values[2], values[3:]
    assert found == [min(low[0], low[1], middle), min(low[1], middle), middle, max(middle, high[0]), max(middle, *high)]


def factors(sizes: dict[tuple[int, int], float], folds: int, series: int, apart: Any) -> Any:
    """Of a fold and series, or with None of a series from now on: by what its errors exceed those of others."""
    average = {f: np.mean([m for (g, _), m in sizes.items() if g == f]) for f in range(folds)}
    variance = sum((m - average[f]) ** 2 for (f, _), m in sizes.items()) / len(sizes)
    products = [
        (m - average[f]) * (sizes[g, j] - average[g])
        for (f, j), m in sizes.items() for g in range(folds) if apart(f, g) and (g, j) in sizes
    ]  # fmt: skip
    shared = sum(products) / len(products) if products else 0.0
    prior = max(variance / shared - 1, 2.0) if shared > 0 else math.inf

    def factor(f: int | None, i: int) -> float:
        own = [sizes[g, i] for g in range(folds) if (f is None or apart(f, g)) and (g, i) in sizes]
        return 1.0 if prior == math.inf else (prior + sum(own)) / (prior + len(own))

    return factor


@pytest.mark.parametrize("between", [0.0, 1.0])
def test_the_scale_of_a_fold_knows_nothing_of_errors_that_it_shares(between: float) -> None:
    rng = np.random.default_rng(1)
    errors = rng.normal(size=(4, 9, 3)) * np.exp(between * rng.normal(size=(1, 9, 1)))
    profile = np.abs(errors).mean(axis=(0, 1))
    sizes = {(f, i): np.mean(np.abs(errors[f, i]) / profile) for f in range(4) for i in range(9)}
    order = np.arange(4)
    by_fold, last = own_scale(errors, np.abs(order[:, None] - order) >= 2)
    factor = factors(sizes, 4, 9, lambda f, g: abs(f - g) >= 2)
    np.testing.assert_allclose(by_fold, [[factor(f, i) for i in range(9)] for f in range(4)])
    np.testing.assert_allclose(last, [factor(None, i) for i in range(9)])
    assert (np.ptp(last) > 0.5) == (between > 0)


def test_errors_that_tell_nothing_of_the_next_ones_scale_nothing() -> None:
    errors = np.random.default_rng(0).normal(size=(2, 50, 3))
    together, alone = own_scale(errors, np.zeros((2, 2), bool)), own_scale(errors[:1], np.zeros((1, 1), bool))
    assert all((factor == 1.0).all() for factor in (*together, *alone))


# ---- the methods against loops


def masked() -> Panel:
    rows = frame()
    rows.loc[[30, 37, 80, 84, 126, 129], "y"] = np.nan
    return Panel.from_frame(rows, freq=1, season_length=M, gaps="mask")


def mean_step(y: list[float], lag: int) -> float:
    steps = [abs(y[t] - y[t - lag]) for t in range(lag, len(y)) if not math.isnan(y[t] + y[t - lag])]
    return sum(steps) / len(steps)


def fold_errors(rows: Panel, base: Forecaster, folds: int, step: int, levels: tuple[float, ...] = ()) -> Any:
    """Of each fold and series: actuals, means, quantiles, and the mean seasonal step before."""
    found = {}
    for f in range(folds):
        back = H + (folds - 1 - f) * step
        train = rows.before(rows.last - back)
        forecast = base.clone().fit(train).predict(H, levels=levels)
        for i in range(len(rows)):
            a, b = rows.indptr[i], rows.indptr[i + 1]
            y = np.where(rows.observed[a:b], rows.y[a:b], np.nan).tolist()
            cut = len(y) - back
            found[f, i] = y[cut : cut + H], forecast.mean[i], forecast.quantiles[i], mean_step(y[:cut], M)
    return found


def test_split_is_the_mean_and_ranks_of_scaled_errors() -> None:
    """Ten folds, two steps apart, of three series with holes: 30 scores a step, less the holes."""
    rows, folds, step = masked(), 10, 2
    found = fold_errors(rows, SeasonalNaive(), folds, step)
    scaled = {
        (f, i, h): (y[h] - mean[h]) / unit
        for (f, i), (y, mean, _, unit) in found.items() for h in range(H) if not math.isnan(y[h])
    }  # fmt: skip
    profile = [np.mean([abs(s) for (_, _, k), s in scaled.items() if k == h]) for h in range(H)]

    sizes = {
        (f, i): np.mean([abs(scaled[f, i, h]) / profile[h] for h in range(H) if (f, i, h) in scaled])
        for f in range(folds) for i in range(3) if any((f, i, h) in scaled for h in range(H))
    }  # fmt: skip
    factor = factors(sizes, folds, 3, lambda f, g: abs(f - g) * step >= H)

    scores: dict[int, list[float]] = {h: [] for h in range(H)}
    for (f, i, h), s in scaled.items():
        scores[h].append(s / factor(f, i))
    forecast = conformal(folds=folds, step=step).fit(rows).predict(levels=LEVELS)
    np.testing.assert_array_equal(forecast.mean, SeasonalNaive().fit(rows).predict(H).mean)
    for i in range(3):
        a, b = rows.indptr[i], rows.indptr[i + 1]
        unit = mean_step(np.where(rows.observed[a:b], rows.y[a:b], np.nan).tolist(), M)
        for h in range(H):
            for k, level in enumerate(LEVELS):
                offset = ranked(sorted(scores[h]), level) * unit * factor(None, i)
                assert forecast.quantiles[i, h, k] == pytest.approx(forecast.mean[i, h] + offset, rel=1e-9)


def test_cqr_moves_each_quantile_by_ranks_of_what_it_missed() -> None:
    rows, folds, step = masked(), 10, 2
    found = fold_errors(rows, SeasonalNaive(), folds, step, (*LEVELS, 0.05, 0.95))  # 0.05 0.1 0.3 0.5 0.9 0.95
    forecast = conformal("cqr", folds=folds, step=step).fit(rows).predict(levels=LEVELS)
    own = SeasonalNaive().fit(rows).predict(H, levels=LEVELS).quantiles
    for h in range(H):
        for k, level in enumerate(LEVELS):
            scores = sorted(
                (y[h] - q[h, 1 + k]) / (q[h, 4] - q[h, 1])
                for y, _, q, _ in found.values() if not math.isnan(y[h])
            )  # fmt: skip
            for i in range(3):
                width = own[i, h, 3] - own[i, h, 0]
                expected = own[i, h, k] + ranked(scores, level) * width
                assert forecast.quantiles[i, h, k] == pytest.approx(expected, rel=1e-9)


def test_a_hand_computed_example() -> None:
    """A walk of steps 1, -1, 2 ... from which Naive is wrong by the steps themselves; the mean one is the scale."""
    steps = [1.0, -1.0, 2.0, -2.0, 1.0, -1.0, 2.0, -4.0, 3.0, 6.0]
    y = np.concatenate([[0.0], np.cumsum(steps)])
    rows = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(11), "y": y}), freq=1)
    fitted = Conformal(Naive(), folds=4, step=1, horizon=1).fit(rows)
    # Before the folds lie 6 to 9 steps, of 8, 10, 14 and 17 together; then come 2, -4, 3 and 6.
    scaled = np.array([2 / (8 / 6), -4 / (10 / 7), 3 / (14 / 8), 6 / (17 / 9)])
    ordered = np.sort(scaled) * 23 / 10  # of all ten steps; with one series there is none to differ from
    forecast = fitted.predict(levels=(0.2, 0.5, 0.8))
    assert forecast.mean.tolist() == [[7.0]]
    np.testing.assert_allclose(forecast.quantiles[0, 0] - 7.0, [ordered[0], (ordered[1] + ordered[2]) / 2, ordered[3]])


# ---- coverage


@pytest.mark.parametrize("method", METHODS)
def test_exchangeable_actuals_are_covered_as_promised(method: Any) -> None:
    """Of skewed noise, the normal intervals of the base are off; the calibrated ones are not."""
    rows = noise(300, 60)
    train, test = rows.split(4)
    y = test.y.reshape(300, 4)
    base = HistoricAverage(horizon=4)
    levels = (0.025, 0.05, 0.1, 0.25, 0.75, 0.9, 0.95, 0.975)
    before = base.fit(train).predict(levels=levels).quantiles
    after = Conformal(base, method=method, folds=5).fit(train).predict(levels=levels).quantiles
    for k, level in enumerate(levels):
        below = (y <= after[:, :, k]).mean()
        assert abs(below - level) < 4.5 * math.sqrt(level * (1 - level) / 1200), level
    assert ((y < before[:, :, 2]).mean()) < 0.02  # a normal distribution has no such tail


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=8)
def test_coverage_does_not_depend_on_the_draw(seed: int) -> None:
    rows = noise(200, 40, seed)
    train, test = rows.split(5)
    q = Conformal(HistoricAverage(), horizon=5, folds=4).fit(train).predict(levels=(0.1, 0.9)).quantiles
    y = test.y.reshape(200, 5)
    assert ((y >= q[:, :, 0]) & (y <= q[:, :, 1])).mean() > 0.8 - 0.08  # nearly five standard deviations


def test_adaptive_levels_follow_series_that_drift() -> None:
    """The noise is four times as large from the end of the training part on: split intervals do not learn it."""
    rng = np.random.default_rng(4)
    y = rng.normal(0.0, 1.0, (60, 400))
    y[:, 100:] *= 4.0
    table = pd.DataFrame(
        {"unique_id": np.repeat(np.arange(60), 400), "ds": np.tile(np.arange(400), 60), "y": y.ravel()}
    )
    rows = Panel.from_frame(table, freq=1)
    covered: dict[str, list[float]] = {}
    for method in ("split", "adaptive"):
        model = Conformal("HistoricAverage", method=method, horizon=5, folds=5, gamma=0.1)
        model.fit(rows.before(np.full(60, 99)))
        for cut in range(99, 394, 5):
            model.update(rows.before(np.full(60, cut)))
            q = model.predict(levels=(0.1, 0.9)).quantiles
            actual = y[:, cut + 1 : cut + 6]
            covered.setdefault(method, []).append(float(((actual >= q[:, :, 0]) & (actual <= q[:, :, 1])).mean()))
    assert np.mean(covered["split"][-20:]) < 0.35
    assert np.mean(covered["adaptive"][-20:]) > 0.45  # as wide as the outermost scores of the calm years allow
    assert np.mean(covered["adaptive"][-20:]) > np.mean(covered["adaptive"][:5]) + 0.1


# ---- what is promised of every method


@every
def test_the_point_forecast_stays_and_quantiles_rise(method: Any) -> None:
    levels = (0.001, *np.linspace(0.01, 0.99, 33).tolist(), 0.999)
    forecast = conformal(method).fit(panel()).predict(levels=levels)
    np.testing.assert_array_equal(forecast.mean, SeasonalNaive().fit(panel()).predict(H).mean)
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    alone = conformal(method).fit(panel()).predict(levels=(0.001, 0.505)).quantiles
    np.testing.assert_array_equal(alone[:, :, 0], forecast.quantiles[:, :, 0])


@every
def test_a_shorter_horizon_is_the_start_of_the_longer_one_and_a_longer_is_refused(method: Any) -> None:
    fitted = conformal(method).fit(panel())
    short, long = fitted.predict(1, levels=LEVELS), fitted.predict(levels=LEVELS)
    np.testing.assert_allclose(short.quantiles, long.quantiles[:, :1])
    with pytest.raises(ArgumentError, match="was fitted for 3 steps ahead, 4 were asked for"):
        fitted.predict(4)


@every
def test_series_too_short_for_the_folds_take_the_panels_scores(method: Any) -> None:
    rows = panel(40, 47, 8)
    fitted = conformal(method).fit(rows)
    assert "1 series are too short for the folds" in fitted.fit_report
    alone = conformal(method).fit(panel(40, 47)).predict(levels=LEVELS)
    forecast = fitted.predict(levels=LEVELS)
    np.testing.assert_allclose(forecast.quantiles[:2], alone.quantiles)
    assert (np.diff(forecast.quantiles[2], axis=1) > 0).all()


@every
def test_series_never_seen_take_the_panels_scores(method: Any) -> None:
    rows = frame((30,)).assign(unique_id="new")
    forecast = conformal(method).fit(panel()).predict(levels=LEVELS, history=rows)
    assert (np.diff(forecast.quantiles, axis=2) > 0).all()
    assert forecast.quantiles[0, 0, 0] < forecast.mean[0, 0] < forecast.quantiles[0, 0, 3]


@every
def test_what_never_moves_has_intervals_of_no_width(method: Any) -> None:
    still = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(40), "y": 5.0}), freq=1, season_length=M)
    assert (conformal(method).fit(still).predict(levels=LEVELS).quantiles == 5.0).all()


@every
def test_values_after_the_cutoff_change_nothing(method: Any) -> None:
    cutoff = panel().last - 4
    poisoned = frame()
    poisoned.loc[panel().row_steps > np.repeat(cutoff, panel().lengths), "y"] = 1e6
    ours, theirs = (
        conformal(method).fit(Panel.from_frame(rows, freq=1, season_length=M).before(cutoff)).predict(levels=LEVELS)
        for rows in (frame(), poisoned)
    )
    assert_same(ours, theirs, 0.0)


@every
@pytest.mark.parametrize("group", ["panel", "series"])
def test_a_loaded_one_forecasts_the_same(method: Any, group: str, tmp_path: Path) -> None:
    fitted = conformal(method, group=group, folds=10, step=1).fit(panel())
    expected = fitted.predict(levels=LEVELS)
    fitted.save(tmp_path / "with", history=True)
    fitted.save(tmp_path / "without")
    loaded = Forecaster.load(tmp_path / "with")
    assert isinstance(loaded, Conformal)
    assert_same(loaded.predict(levels=LEVELS), expected)
    assert_same(Forecaster.load(tmp_path / "without").predict(levels=LEVELS, history=panel()), expected)
    assert [f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("history.npz")] == ["with/history.npz"]
    with np.load(tmp_path / "without" / "arrays.npz", allow_pickle=False) as arrays:
        assert all(arrays[key].size < len(panel().y) for key in arrays.files)


@every
def test_update_is_the_forecast_from_later_history(method: Any, tmp_path: Path) -> None:
    cutoff = panel().last - np.array([7, 0, 2])
    early = conformal(method, ETS(jobs=1)).fit(panel().before(cutoff))
    expected = early.predict(levels=LEVELS, history=panel())
    early.save(tmp_path / "with", history=True)
    early.save(tmp_path / "without")
    for kept in ("with", "without"):
        later = Forecaster.load(tmp_path / kept).update(panel())
        assert_same(later.predict(levels=LEVELS), expected)
        later.save(tmp_path / f"later {kept}", history=True)
        assert_same(Forecaster.load(tmp_path / f"later {kept}").predict(levels=LEVELS), expected)
    new = frame()[panel().row_steps > np.repeat(cutoff, panel().lengths)]
    assert_same(early.update(new).predict(levels=LEVELS), expected)


@every
def test_a_description_builds_the_same_one(method: Any) -> None:
    model = conformal(method, {"forecaster": "WindowAverage", "window": 2}, folds=4, levels=(0.33,), gamma=0.01)
    described = json.loads(json.dumps(model.describe()))
    again = Conformal(**described)
    assert again.describe() == described
    assert_same(again.fit(panel()).predict(levels=LEVELS), model.fit(panel()).predict(levels=LEVELS), 0.0)
    assert model.name == "Conformal(WindowAverage)"


def test_one_inside_the_other(tmp_path: Path) -> None:
    members = ["SeasonalNaive", {"forecaster": "Drift"}]
    around = Conformal({"forecaster": "Ensemble", "members": members, "combine": "inverse_error", "horizon": H})
    inside = Ensemble({"calm": conformal(), "moving": conformal("adaptive", Drift())})
    for k, model in enumerate((around, inside)):
        expected = model.fit(panel()).predict(levels=LEVELS)
        model.save(tmp_path / str(k), history=True)
        assert_same(Forecaster.load(tmp_path / str(k)).predict(levels=LEVELS), expected)
    each = [m.clone().fit(panel()).predict(levels=LEVELS).quantiles for m in inside.members_.values()]
    np.testing.assert_allclose(inside.predict(levels=LEVELS).quantiles, (each[0] + each[1]) / 2)


IN_A_FRESH_PROCESS = """
import numpy as np
import forecast_kit.models.conformal, forecast_kit.models.ensemble
from forecast_kit import Forecaster
forecast = Forecaster.load("m").predict(levels=(0.1, 0.9))
np.savez("numbers.npz", mean=forecast.mean, quantiles=forecast.quantiles)
"""


def test_a_fresh_process_gives_the_same_numbers(tmp_path: Path) -> None:
    fitted = conformal("adaptive", Ensemble(["SeasonalNaive", "Drift"])).fit(panel())
    fitted.save(tmp_path / "m", history=True)
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(forecast_kit.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = fitted.predict(levels=(0.1, 0.9))
    with np.load(tmp_path / "numbers.npz") as numbers:
        np.testing.assert_allclose(numbers["mean"], expected.mean, rtol=0, atol=1e-8)
        np.testing.assert_allclose(numbers["quantiles"], expected.quantiles, rtol=0, atol=1e-8)


# ---- groups, levels, few scores


def test_groups_have_scores_of_their_own() -> None:
    rng = np.random.default_rng(8)
    frames = []
    for k in range(24):
        steps = rng.normal(0.0, 1.0, 80) if k < 12 else rng.choice([0.0] * 4 + [5.0, -5.0], 80)
        kind = "calm" if k < 12 else "wild"
        frames.append(pd.DataFrame({"unique_id": f"s{k:02}", "ds": range(80), "y": steps.cumsum(), "kind": kind}))
    schema = {"freq": 1, "static": ("kind",), "categorical": ("kind",)}
    rows = Panel.from_frame(pd.concat(frames), **schema)
    fitted = Conformal(Naive(), group="kind", folds=5, step=1, horizon=1).fit(rows)
    widths = np.diff(fitted.predict(levels=(0.3, 0.7)).quantiles[:, 0], axis=1)[:, 0] / fitted.scale_
    assert np.ptp(widths[:12]) < 1e-9
    assert (widths[12:] < 0.2 * widths[:12]).all()  # four of six steps of a wild series are none
    stranger = pd.concat(frames[:1]).assign(unique_id="new", kind="odd")
    pooled = Conformal(Naive(), folds=5, step=1, horizon=1).fit(rows)
    history = Panel.from_frame(stranger, **schema)
    assert_same(fitted.predict(levels=(0.3, 0.7), history=history), pooled.predict(levels=(0.3, 0.7), history=history))


def test_a_series_with_too_few_forecasts_of_its_own_takes_the_panels_level() -> None:
    few = conformal(group="series", folds=4, step=1).fit(panel())  # four forecasts tell of 0.2 to 0.8
    pooled = conformal(folds=4, step=1).fit(panel())
    inner = (few.levels_ >= 0.2) & (few.levels_ <= 0.8)
    assert np.isfinite(few.group_offsets_[:, inner]).all()
    assert np.isnan(few.group_offsets_[:, ~inner]).all()
    np.testing.assert_allclose(
        few.predict(levels=(0.05, 0.95)).quantiles, pooled.predict(levels=(0.05, 0.95)).quantiles
    )


def test_intervals_of_a_group_grow_with_the_steps_as_errors_do() -> None:
    rows = noise(3, 80)
    walk = Panel.from_frame(rows.to_frame().assign(y=rows.y.cumsum()), freq=1)
    fitted = Conformal(Naive(), group="series", folds=12, step=1, horizon=4).fit(walk)
    widths = np.diff(fitted.predict(levels=(0.1, 0.9)).quantiles, axis=2)[:, :, 0]
    assert (np.diff(fitted.profile_) > 0).all()
    np.testing.assert_allclose(widths / widths[:, :1], np.tile(fitted.profile_ / fitted.profile_[0], (3, 1)))


def test_levels_for_which_there_are_too_few_scores_get_the_outermost() -> None:
    rows = panel(40)
    fitted = Conformal(Naive(), folds=4, step=1, horizon=2).fit(rows)
    report = fitted.fit_report
    assert "calibrated on 8 errors: 4 folds of 1 series, 2 steps" in report
    assert "4 forecasts tell little of the levels 0.005, 0.01, 0.025, 0.05, 0.1 and 5 more" in report
    assert "so few errors tell nothing of the levels 0.005, 0.01, 0.025, 0.05, 0.1 and 5 more" in report
    q = fitted.predict(levels=(0.001, 0.01, 0.1, 0.9, 0.99, 0.999)).quantiles
    np.testing.assert_allclose(q[:, :, [0, 1]], q[:, :, [2, 2]])
    np.testing.assert_allclose(q[:, :, [4, 5]], q[:, :, [3, 3]])


def test_levels_that_are_asked_for_are_calibrated_exactly() -> None:
    fitted = conformal(levels=(0.33,)).fit(panel())
    assert 0.33 in fitted.levels_
    assert set(USUAL_LEVELS) < set(fitted.levels_.tolist())


# ---- adaptive


def test_moves_are_those_of_adaptive_conformal_inference() -> None:
    rng = np.random.default_rng(0)
    y, limits, levels = rng.normal(size=(3, 4)), rng.normal(size=(3, 4, 2)), np.array([0.1, 0.9])
    judged = rng.random((3, 4)) < 0.7
    found = adaptive_moves(y, limits, judged, levels)
    for i in range(3):
        for k, level in enumerate(levels):
            alpha = 1.0 - level
            moves = [alpha - (y[i, h] > limits[i, h, k]) for h in range(4) if judged[i, h]]
            assert -sum(moves) / 4 == pytest.approx(found[i, k])  # of 1 - alpha


def test_it_does_not_matter_in_how_many_pieces_later_rows_come() -> None:
    rows = panel(60, 60)
    start = rows.last - 20
    whole = conformal("adaptive", Drift(), gamma=0.1).fit(rows.before(start)).update(rows)
    pieces = conformal("adaptive", Drift(), gamma=0.1).fit(rows.before(start))
    for back in (19, 17, 16, 12, 5, 4, 0):
        pieces.update(rows.before(rows.last - back))
    assert whole.tracking_ is not None
    assert pieces.tracking_ is not None
    for name in ("drift", "issued", "mean", "origin", "judged"):
        np.testing.assert_allclose(
            getattr(pieces.tracking_, name), getattr(whole.tracking_, name), atol=1e-12, err_msg=name
        )
    assert (whole.tracking_.drift != 0).any(axis=1).all()


def test_the_forecast_after_a_used_up_one_is_kept_where_rows_are_not(tmp_path: Path) -> None:
    rows = panel(60, 60)
    start = rows.last - 2 * H
    model = conformal("adaptive", Drift(), gamma=0.1).fit(rows.before(start)).update(rows.before(start + H))
    model.save(tmp_path / "m")
    new = frame((60, 60)).groupby("unique_id").tail(H)
    loaded = Forecaster.load(tmp_path / "m").update(new)
    model.update(rows)
    assert isinstance(loaded, Conformal)
    assert loaded.tracking_ is not None
    assert model.tracking_ is not None
    np.testing.assert_array_equal(loaded.tracking_.drift, model.tracking_.drift)


def test_the_drift_after_an_update_is_that_of_a_loop() -> None:
    rows = panel(60)
    start, gamma = rows.last - 7, 0.1  # two forecasts of three steps, and one that is judged by its first
    model = conformal("adaptive", Naive(), gamma=gamma).fit(rows.before(start))
    assert model.tracking_ is not None
    y, levels, scale = rows.y, model.levels_, model.scale_[0]
    drift = model.tracking_.drift[0].copy()
    for origin in range(52, 60, H):
        in_use = np.clip(levels + drift, 0.005, 0.995)[1:-1].tolist()
        for k in range(9, 17):  # from 0.5 outwards none comes nearer again
            in_use[k], in_use[16 - k] = max(in_use[k], in_use[k - 1]), min(in_use[16 - k], in_use[17 - k])
        issued = drift.copy()
        for h in range(H):
            if origin + 1 + h > 59:
                break
            limits = [np.interp(NormalDist().inv_cdf(q), [NormalDist().inv_cdf(p) for p in levels[1:-1]],
                                model.offsets_[h, 1:-1]) for q in in_use]  # fmt: skip
            for k, limit in enumerate(limits):
                drift[1 + k] += gamma / H * (levels[1 + k] - (y[origin + 1 + h] <= y[origin] + scale * limit))
        assert (issued != drift).any()
    model.update(rows)
    np.testing.assert_allclose(model.tracking_.drift[0, 1:-1], drift[1:-1], atol=1e-12)


def test_a_history_with_a_hole_is_not_judged(tmp_path: Path) -> None:
    rows = panel(60)
    model = conformal("adaptive", Naive(), gamma=0.1).fit(rows.before(rows.last - 20))
    far = Panel.from_frame(frame((60,))[50:], freq=1, season_length=M)
    plain = conformal(base=Naive()).fit(rows.before(rows.last - 20))
    assert model.tracking_ is not None
    model.tracking_.drift[:] = 0.0
    assert_same(model.predict(levels=LEVELS, history=far), plain.predict(levels=LEVELS, history=far))
    model.save(tmp_path / "m")
    loaded = Forecaster.load(tmp_path / "m").update(far)
    assert isinstance(loaded, Conformal)
    assert loaded.tracking_ is not None
    assert (loaded.tracking_.drift == 0).all()
    assert loaded.tracking_.origin.tolist() == [59]  # and it goes on from there
    np.testing.assert_array_equal(loaded.tracking_.mean, np.repeat(far.y[-1:, None], H, axis=1))


def test_known_future_covariates_are_not_needed_ahead_of_an_update() -> None:
    rows = frame((60, 60)).assign(price=1.0)
    all_rows = Panel.from_frame(rows, freq=1, season_length=M, future=("price",))
    early = all_rows.before(all_rows.last - 11)
    model = conformal("adaptive", Drift(), gamma=0.1).fit(early)
    plain = conformal("adaptive", Drift(), gamma=0.1).fit(panel(60, 60).before(all_rows.last - 11))
    future = pd.DataFrame({"unique_id": np.repeat(["s0", "s1"], H), "ds": [60, 61, 62, 61, 62, 63], "price": 1.0})
    ahead = model.predict(levels=LEVELS, history=all_rows, future=future)
    model.update(all_rows)
    assert_same(model.predict(levels=LEVELS, future=future), ahead)
    plain.update(panel(60, 60))  # 11 rows: three forecasts from the same origins, and two steps of a fourth
    assert model.tracking_ is not None
    assert plain.tracking_ is not None
    np.testing.assert_allclose(model.tracking_.drift, plain.tracking_.drift)


# ---- arguments and errors


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "spilt"}, r"method must be one of .*; got 'spilt'. Did you mean 'split'"),
        ({"folds": 0}, "folds must be a whole number, at least 1"), ({"step": 0}, "step must be a whole number"),
        ({"group": None}, "group must be 'panel', 'series' or a static column"),
        ({"gamma": 0}, "gamma must be a number"), ({"gamma": True}, "gamma"),
        ({"levels": (1.0,)}, "levels are quantile probabilities"),
        ({"horizon": 0}, "horizon must be"), ({"base": 3}, "a forecaster is one that was built"),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Conformal(**{"base": "Naive", **fields})


def test_what_cannot_be_calibrated_is_told_with_what_to_do() -> None:
    with pytest.raises(ArgumentError, match="its forecaster has no horizon; give horizon="):
        Conformal(Naive()).fit(panel())
    with pytest.raises(TooShortError, match=r"needs series of at least 9 observations: a season of 4, and 3 folds with "
                                            r"horizon 3, 1 steps apart; the longest has 8. Lower folds"):  # fmt: skip
        conformal().fit(panel(8))
    with pytest.raises(ArgumentError, match="a static column of the panel, got 'kind'; it has none"):
        conformal(group="kind").fit(panel())
    unseen = frame((40,))
    unseen.loc[33:38, "y"] = np.nan
    unseen.loc[39, "y"] = np.nan
    rows = Panel.from_frame(unseen, freq=1, season_length=M, gaps="mask")
    with pytest.raises(TooShortError, match="found nothing to calibrate on: in 3 folds no actual was seen"):
        conformal().fit(rows)


class Broken(Naive):
    """Returns no number."""

    def _predict(self, *args: Any) -> Any:
        done = super()._predict(*args)
        return type(done)(done.mean * np.nan, done.quantiles)


def test_a_forecaster_that_breaks_is_told_with_the_fold() -> None:
    with pytest.raises(ForecastError, match="^Broken, fold 1: Broken returned values that are not finite"):
        conformal(base=Broken()).fit(panel())


def test_what_stood_in_for_a_series_is_still_told() -> None:
    forecast = conformal(base=ETS(jobs=1)).fit(panel(40, 7)).predict(levels=LEVELS)
    assert forecast.fallback.tolist() == ["", "SeasonalNaive"]
    assert forecast.reason.tolist()[1] == "7 observations are less than two seasons of 4 steps"


def test_the_horizon_packages_and_progress_are_those_of_the_forecaster() -> None:
    model = Conformal(ETS(horizon=5, jobs=1))
    assert model.horizon == 5
    assert set(model.packages) == {"numpy", "pandas", "scipy", "joblib", "statsmodels"}
    seen: list[tuple[int, int]] = []
    conformal().fit(panel(), callbacks=[lambda p: seen.append((p.done, p.total))])
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_network_is_calibrated_at_the_levels_that_it_learned(tmp_path: Path) -> None:
    network = NeuralForecaster(
        {"cell": "gru", "units": 2, "hidden": 2, "segment": 4}, horizon=H, input_length=8,
        levels=(0.1, 0.25, 0.75, 0.9), training={"steps": 2, "batch_size": 4},
    )  # fmt: skip
    model = Conformal(network, method="cqr", folds=1).fit(panel())
    assert model.levels_.tolist() == [0.1, 0.25, 0.5, 0.75, 0.9]
    expected = model.predict(levels=(0.1, 0.5, 0.8))
    assert (np.diff(expected.quantiles, axis=2) >= 0).all()
    model.save(tmp_path / "m")
    assert_same(Forecaster.load(tmp_path / "m").predict(levels=(0.1, 0.5, 0.8), history=panel()), expected)
    with pytest.raises(ArgumentError, match=r"learned the levels 0.1 to 0.9, \[0.05\] lie outside"):
        model.predict(levels=(0.05,))
    single = NeuralForecaster({"cell": "gru", "units": 2}, horizon=H, input_length=8, levels=())
    with pytest.raises(ArgumentError, match="takes a forecaster of at least two levels"):
        Conformal(single, method="cqr").fit(panel())


def test_any_level_works_where_the_forecaster_has_it() -> None:
    """Beyond the calibrated levels `"cqr"` goes on with the forecaster's own steps between levels."""
    fitted = conformal("cqr").fit(panel())
    own = SeasonalNaive().fit(panel()).predict(H, levels=(0.001, 0.005)).quantiles
    ours = fitted.predict(levels=(0.001, 0.005)).quantiles
    np.testing.assert_allclose(np.diff(ours, axis=2), np.diff(own, axis=2))


def test_scales_of_series_that_are_one_value_are_like_the_others() -> None:
    fitted: Floats = conformal(base=WindowAverage(2)).fit(panel(40, 47, 1)).scale_
    assert fitted[2] > 0
