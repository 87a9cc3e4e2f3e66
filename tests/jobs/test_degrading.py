"""Chunks of which some series break: the others must not notice."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import Conformal, Drift, Forecaster, HistoricAverage, Naive, Panel, SeasonalNaive, Theta
from forecast_kit.core.forecast import Prediction
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, SchemaError
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.degrading import ChunkForecast, Rules, forecast_frame
from forecast_kit.jobs.isolating import isolate
from forecast_kit.jobs.sections import ForecastSection
from forecast_kit.mlflow import ServedModel

H, M = 4, 3
RULES = Rules(H, (0.1, 0.9), max_delay=6)
COLUMNS = ["unique_id", "ds", "cutoff", "model", "mean", "q10", "q90", "fallback", "reason"]


def long(values: dict[Any, list[float]], last: dict[Any, int] | None = None) -> pd.DataFrame:
    """Rows numbered so that series end at step 20, or where it is said."""
    frames = [
        pd.DataFrame({"unique_id": name, "ds": np.arange(len(y)) + (last or {}).get(name, 20) - len(y) + 1, "y": y})
        for name, y in values.items()
    ]
    return pd.concat(frames, ignore_index=True)


def wave(level: float, steps: int = 12) -> list[float]:
    return [level + 2.0 * (k % M) + 0.1 * k for k in range(steps)]


def numbered(**fields: Any) -> PanelSchema:
    return PanelSchema(freq=1, season_length=M, **fields)


def served(model: Forecaster, frame: pd.DataFrame, schema: PanelSchema) -> ServedModel:
    return ServedModel(model.fit(Panel.from_frame(frame, schema)), H, ())


def forecast(
    model: ServedModel, frame: pd.DataFrame, schema: PanelSchema, *, as_of: int = 21, rules: Rules = RULES, **more: Any
) -> ChunkForecast:
    return forecast_frame(model, frame, schema=schema, as_of=AsOf(as_of), rules=rules, **more)


def of(done: ChunkForecast, name: Any) -> pd.DataFrame:
    return done.frame[done.frame["unique_id"] == name].reset_index(drop=True)


class Brittle(Forecaster):
    """Fails, or runs wild, on series whose last value says so; else repeats the last value."""

    def __init__(self, horizon: int | None = None) -> None:
        self.horizon = horizon
        self.calls: list[list[Any]] = []

    @property
    def context_length(self) -> int:
        return 1

    def _fit(self, panel: Panel, callbacks: Any) -> None:
        """There is nothing to learn."""

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: np.ndarray) -> Prediction:
        self.calls.append(history.ids.tolist())
        last = history.y[history.indptr[1:] - 1]
        if (last == 666.0).any():
            raise RuntimeError("a plain\nmishap")
        if (last == 667.0).any():
            raise MemoryError("too much")
        mean = np.repeat(last[:, None], horizon, axis=1)
        mean[last == 668.0] = np.nan
        mean[last == 669.0] = 1e9
        mean[last == 670.0] *= 11.5
        return Prediction(mean, np.repeat(mean[:, :, None], len(levels), axis=2))

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {}

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """There is nothing to restore."""


def by_hand(y: list[float], lag: int = 0) -> list[float]:
    """The seasonal naive forecast, one step after another."""
    known = list(y)
    for _ in range(lag + H):
        known.append(known[-M] if len(y) >= M else known[-1])
    return known[-H:]


def test_every_series_has_the_same_stamps_once() -> None:
    frame = long({"a": wave(5), "b": wave(7), "c": wave(9)}, last={"b": 18, "c": 3})
    done = forecast(served(SeasonalNaive(horizon=H), frame, numbered()), frame, numbered())
    assert list(done.frame.columns) == COLUMNS
    assert done.frame["ds"].tolist() == [21, 22, 23, 24] * 3
    assert done.frame["unique_id"].tolist() == ["a"] * H + ["b"] * H + ["c"] * H
    assert done.frame["cutoff"].tolist() == [20] * H + [18] * H + [3] * H
    assert not done.missing
    assert len(done.audit) == 0


def test_rows_from_the_as_of_moment_on_are_not_seen() -> None:
    frame = long({"a": wave(5), "b": wave(7)})
    later = pd.concat([frame, frame.assign(ds=frame["ds"] + 12, y=1e6)])
    model = served(SeasonalNaive(horizon=H), frame, numbered())
    pd.testing.assert_frame_equal(forecast(model, later, numbered()).frame, forecast(model, frame, numbered()).frame)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ([5.0, 6.0, 7.0, 666.0], "RuntimeError: a plain mishap"),
        ([5.0, 6.0, 7.0, 668.0], "Brittle returned values that are not finite for 1 series: 'm'"),
        ([5.0, 6.0, 7.0, 669.0], "the forecast goes from 1e+09 to 1e+09, and its history from 5 to 669: more than 10"),
        ([669.0], "the forecast goes from 1e+09"),
        ([1.0, np.inf, 3.0, 4.0], "column 'y' has 1 infinite values: m at 18"),
    ],
)
def test_a_series_that_breaks_gets_the_seasonal_naive_forecast_and_no_other_does(
    broken: list[float], reason: str
) -> None:
    sound = {name: wave(level) for name, level in zip("abxyz", (5.0, 7.0, 9.0, 1.0, 0.0), strict=True)}
    model = served(Brittle(), long(sound), numbered())
    alone = {name: of(forecast(model, long({name: y}), numbered()), name) for name, y in sound.items()}
    done = forecast(model, long({**sound, "m": broken}), numbered())
    for name, expected in alone.items():
        pd.testing.assert_frame_equal(of(done, name), expected)
        assert (expected["fallback"] == "").all()
    rows = of(done, "m")
    finite = [y for y in broken if np.isfinite(y)]
    filled = broken if len(finite) == len(broken) else [1.0, 1.0, 3.0, 4.0]  # what is not observed is carried on
    np.testing.assert_allclose(rows["mean"], by_hand(filled))
    assert rows["fallback"].tolist() == ["SeasonalNaive" if len(broken) >= M else "Naive"] * H
    assert rows["reason"].str.startswith(reason).all(), rows["reason"][0]
    assert not rows["reason"].str.contains("\n").any()
    assert (rows["q10"] <= rows["mean"]).all()


def test_the_stand_in_is_the_forecast_of_a_seasonal_naive_forecaster_of_that_series_alone() -> None:
    broken = [*wave(40.0)[:-1], 666.0]
    model = served(Brittle(), long({"a": wave(5)}), numbered())
    for lag in (0, 2, 9):
        frame = long({"a": wave(5), "m": broken}, last={"m": 20 - lag})
        rows = of(forecast(model, frame, numbered()), "m")
        own = SeasonalNaive().fit(Panel.from_frame(frame[frame["unique_id"] == "m"], numbered()))
        expected = own.predict(lag + H, levels=RULES.levels)
        np.testing.assert_allclose(rows["mean"], expected.mean[0, lag:])
        np.testing.assert_allclose(rows[["q10", "q90"]], expected.quantiles[0, lag:])


def test_nothing_is_tried_alone_where_everything_is_well() -> None:
    brittle = Brittle()
    frame = long({f"s{k:03}": wave(float(k)) for k in range(100)})
    forecast(served(brittle, frame, numbered()), frame, numbered())
    assert [len(ids) for ids in brittle.calls] == [100]


def test_where_all_fail_alike_not_every_series_is_tried() -> None:
    brittle = Brittle()
    frame = long({f"s{k:04}": [1.0, 2.0, 666.0] for k in range(1000)})
    done = forecast(served(brittle, frame, numbered()), frame, numbered())
    assert len(brittle.calls) == 65
    assert (done.frame["fallback"] == "SeasonalNaive").all()
    assert len(done.frame) == 1000 * H


def test_a_sound_series_among_hundreds_of_broken_ones_is_found() -> None:
    values = {f"s{k:03}": [1.0, 2.0, 666.0] for k in range(100)}
    values["s057"] = wave(5.0)
    done = forecast(served(Brittle(), long(values), numbered()), long(values), numbered())
    assert done.frame.loc[done.frame["fallback"] == "", "unique_id"].unique().tolist() == ["s057"]


def test_what_no_series_is_to_blame_for_goes_on() -> None:
    frame = long({"a": wave(5), "m": [1.0, 667.0]})
    with pytest.raises(MemoryError, match="too much"):
        forecast(served(Brittle(), frame, numbered()), frame, numbered())


# ---- explosions


@pytest.mark.parametrize(
    ("history", "forecast_is", "falls"),
    [
        ([10.0, 11.0, 12.0], 31.9, False),  # 12 + 10 * 2
        ([10.0, 11.0, 12.0], 32.1, True),
        ([10.0, 11.0, 12.0], -10.1, True),
        ([5.0, 5.0, 5.0], 54.9, False),  # one that never moved: 5 + 10 * 5
        ([5.0, 5.0, 5.0], 55.1, True),
        ([0.0, 0.0, 0.0], 9.9, False),
        ([0.0, 0.0, 0.0], 10.1, True),
        ([5.0, 5.0, 5.0 + 1e-7], 5.1, False),  # it hardly moved
        ([-7.0], -76.9, False),
        ([-7.0], -77.1, True),
        ([1e308, -1e308, 1e308], 0.0, False),  # whose range is beyond all numbers
    ],
)
def test_what_counts_as_an_explosion(history: list[float], forecast_is: float, falls: bool) -> None:
    class Fixed(Brittle):
        def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: np.ndarray) -> Prediction:
            mean = np.full((len(history), horizon), forecast_is)
            return Prediction(mean, np.repeat(mean[:, :, None], len(levels), axis=2))

    frame = long({"a": history})
    rows = of(forecast(served(Fixed(), frame, numbered()), frame, numbered()), "a")
    assert (rows["fallback"] != "").tolist() == [falls] * H
    assert np.isfinite(rows[["mean", "q10", "q90"]]).all().all()


def test_quantiles_explode_too() -> None:
    class Wide(Brittle):
        def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: np.ndarray) -> Prediction:
            mean = np.repeat(history.y[history.indptr[1:] - 1][:, None], horizon, axis=1)
            return Prediction(mean, mean[:, :, None] + np.array([-1.0, 1e6]))

    frame = long({"a": wave(5)})
    assert (
        of(forecast(served(Wide(), frame, numbered()), frame, numbered()), "a")["fallback"] == "SeasonalNaive"
    ).all()


def test_numbers_near_the_largest_there_are_still_give_a_forecast() -> None:
    frame = long({"a": wave(5), "m": [1.5e308, -1.5e308, 1.5e308, 1.0, 666.0]})
    rows = of(forecast(served(Brittle(), long({"a": wave(5)}), numbered()), frame, numbered()), "m")
    assert np.isfinite(rows[["mean", "q10", "q90"]]).all().all()
    assert rows["mean"].tolist() == [1.5e308, 1.0, 666.0, 1.5e308]


# ---- late data


@settings(max_examples=40, deadline=None)
@given(
    lags=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    lengths=st.lists(st.integers(1, 15), min_size=6, max_size=6),
    kind=st.sampled_from([Naive, SeasonalNaive, Drift, HistoricAverage]),
    seed=st.integers(0, 99),
)
def test_whatever_the_lags_and_lengths_a_series_is_forecast_as_it_would_be_alone(
    lags: list[int], lengths: list[int], kind: Callable[..., Forecaster], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = {f"s{k}": rng.normal(50.0, 5.0, n).tolist() for k, n in enumerate(lengths[: len(lags)])}
    frame = long(values, last={f"s{k}": 20 - lag for k, lag in enumerate(lags)})
    schema = numbered()
    model = served(kind(horizon=H), frame, schema)
    done = forecast(model, frame, schema, rules=Rules(H, (0.1, 0.9), max_delay=6, max_range=1e6))
    assert done.frame["ds"].tolist() == [21, 22, 23, 24] * len(lags)
    for k, lag in enumerate(lags):
        rows = of(done, f"s{k}")
        own = Panel.from_frame(frame[frame["unique_id"] == f"s{k}"], schema)
        if lag > 6:
            model_alone: Forecaster = SeasonalNaive().fit(own)
            assert rows["reason"].str.startswith(f"its last value lies {lag} steps before 21").all()
            assert (rows["fallback"] == ("SeasonalNaive" if lengths[k] >= M else "Naive")).all()
        else:
            model_alone = model.forecaster
        expected = model_alone.predict(lag + H, levels=(0.1, 0.9), history=own)
        np.testing.assert_allclose(rows["mean"], expected.mean[0, lag:], rtol=1e-12)
        np.testing.assert_allclose(rows[["q10", "q90"]], expected.quantiles[0, lag:], rtol=1e-12)


@pytest.mark.parametrize("lag", [1, 3, 4, 6])
def test_a_forecaster_of_a_fixed_horizon_goes_on_from_its_own_forecast(lag: int) -> None:
    fitted_on = long({"a": wave(5, 40), "b": wave(8, 40)}, last={"a": 10, "b": 10})
    model = served(Conformal("Theta", folds=2, horizon=H), fitted_on, numbered())
    assert model.forecaster.reach == H
    frame = long({"a": wave(5, 40), "b": wave(8, 40)}, last={"a": 20 - lag})
    rows = of(forecast(model, frame, numbered()), "a")
    history = frame[frame["unique_id"] == "a"]
    left = lag
    while left:  # two calls of what the model itself offers: a forecast, and one from a history that ends with it
        piece = model.forecaster.predict(min(left, H), history=history).to_frame()
        history = pd.concat([history, piece[["unique_id", "ds", "mean"]].rename(columns={"mean": "y"})])
        left -= min(left, H)
    expected = model.forecaster.predict(H, levels=RULES.levels, history=history)
    np.testing.assert_allclose(rows["mean"], expected.mean[0])
    np.testing.assert_allclose(rows[["q10", "q90"]], expected.quantiles[0])
    assert rows["cutoff"].tolist() == [20 - lag] * H
    assert rows["ds"].tolist() == [21, 22, 23, 24]
    assert (rows["fallback"] == "").all()


def test_how_late_the_others_are_makes_no_difference() -> None:
    long_before = long({"a": wave(5, 40), "b": wave(8, 40)}, last={"a": 10, "b": 10})
    model = served(Conformal("Theta", folds=2, horizon=H + 2), long_before, numbered())
    frame = long({"a": wave(5, 40), "b": wave(8, 40)}, last={"a": 18, "b": 14})  # one within reach, one beyond it
    both = forecast(model, frame, numbered())
    for name in "ab":
        alone = forecast(model, frame[frame["unique_id"] == name], numbered())
        pd.testing.assert_frame_equal(of(both, name), alone.frame)
    direct = model.forecaster.predict(H + 2, history=frame[frame["unique_id"] == "a"])
    np.testing.assert_allclose(of(both, "a")["mean"], direct.mean[0, 2:])


def test_where_no_row_means_zero_the_gap_is_zeros_and_nothing_is_stale() -> None:
    schema = numbered(gaps="zero")
    frame = long({"a": wave(5), "b": wave(7)}, last={"b": 10})
    model = served(HistoricAverage(horizon=H), frame, schema)
    filled = pd.concat([frame, pd.DataFrame({"unique_id": "b", "ds": range(11, 21), "y": 0.0})])
    done = forecast(model, frame, schema)
    expected = forecast(model, filled, schema).frame
    pd.testing.assert_frame_equal(done.frame.drop(columns="cutoff"), expected.drop(columns="cutoff"))
    assert of(done, "b")["cutoff"].tolist() == [10] * H
    naive = forecast(served(Naive(horizon=H), frame, schema), frame, schema)
    assert of(naive, "b")["mean"].tolist() == [0.0] * H
    assert (naive.frame["fallback"] == "").all()


def test_series_whose_last_value_is_too_old_may_be_left_out() -> None:
    frame = long({"a": wave(5), "b": wave(7)}, last={"b": 13})
    model = served(SeasonalNaive(horizon=H), frame, numbered())
    kept = forecast(model, frame, numbered())
    assert of(kept, "b")["fallback"].tolist() == ["SeasonalNaive"] * H
    dropped = forecast(model, frame, numbered(), rules=Rules(H, (0.1, 0.9), max_delay=6, stale="drop"))
    assert dropped.frame["unique_id"].unique().tolist() == ["a"]
    assert dict(dropped.missing) == {"b": "its last value lies 7 steps before 21, and no more than 6 are bridged"}
    pd.testing.assert_frame_equal(of(dropped, "a"), of(kept, "a"))


def test_a_series_that_is_stale_by_years_costs_no_memory() -> None:
    frame = long({"a": wave(5), **{f"s{k}": wave(7) for k in range(20)}}, last={f"s{k}": -2_000_000 for k in range(20)})
    done = forecast(served(SeasonalNaive(horizon=H), frame, numbered()), frame, numbered())
    np.testing.assert_allclose(of(done, "s3")["mean"], by_hand(wave(7), lag=2_000_020 % M))


# ---- covariates


def with_price(frame: pd.DataFrame, until: int = 24) -> pd.DataFrame:
    """Known-future prices of all steps up to one, as rows without a value."""
    ahead = [
        pd.DataFrame({"unique_id": name, "ds": range(int(last) + 1, until + 1)})
        for name, last in frame.groupby("unique_id")["ds"].max().items()
    ]
    rows = pd.concat([frame, *ahead], ignore_index=True)
    return rows.assign(price=10.0 + rows["ds"] % 5, load=rows["ds"] * 1.0)


class Priced(Brittle):
    """The price of each step, and the last value of the past covariate."""

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: np.ndarray) -> Prediction:
        self.calls.append(history.ids.tolist())
        assert np.isfinite(history.future).all()
        past = history.past[history.indptr[1:] - 1, 0] if history.past.shape[1] else np.zeros(len(history))
        mean = future[:, :horizon, 0] + 0.001 * past[:, None]
        return Prediction(mean, np.repeat(mean[:, :, None], len(levels), axis=2))


class Short(Priced):
    """The same, of at most two steps at a time."""

    @property
    def reach(self) -> int:
        return H


@pytest.mark.parametrize("kind", [Priced, Short])
def test_known_covariates_reach_over_the_gap_and_past_ones_are_carried_on(kind: type[Brittle]) -> None:
    schema = numbered(future=["price"], past=["load"])
    frame = with_price(long({"a": wave(5), "b": wave(7)}, last={"b": 17}))
    model = served(kind(), frame[frame["y"].notna()], schema)
    done = forecast(model, frame, schema)
    prices = np.array([10.0 + step % 5 for step in range(21, 25)])
    np.testing.assert_allclose(of(done, "a")["mean"], prices + 0.001 * 20)
    np.testing.assert_allclose(of(done, "b")["mean"], prices + 0.001 * 17)
    assert (done.frame["fallback"] == "").all()


def test_known_covariates_of_later_rows_count_though_their_target_must_not() -> None:
    schema = numbered(future=["price"])
    frame = with_price(long({"a": wave(5)}))
    future_known = frame.assign(y=frame["y"].fillna(1e6))
    model = served(Priced(), frame[frame["y"].notna()], schema)
    np.testing.assert_allclose(of(forecast(model, future_known, schema), "a")["mean"], [11.0, 12.0, 13.0, 14.0])


def test_series_without_known_covariates_fall_back_and_rows_given_twice_do_no_harm() -> None:
    schema = numbered(future=["price"])
    frame = with_price(long({name: wave(5) for name in "abcd"}))
    model = served(Priced(), frame[frame["y"].notna()], schema)
    whole = forecast(model, frame, schema)
    cut = frame[(frame["unique_id"] != "b") | (frame["ds"] < 23)]
    cut = cut.assign(price=cut["price"].mask((cut["unique_id"] == "c") & (cut["ds"] == 22)))
    done = forecast(model, pd.concat([cut, cut[cut["ds"] > 20]]), schema)
    for name in "ad":
        pd.testing.assert_frame_equal(of(done, name), of(whole, name))
    assert of(done, "b")["reason"][0] == "the known-future covariate 'price' is missing at 23"
    assert of(done, "c")["reason"][0] == "the known-future covariate 'price' is missing at 22"
    assert (of(done, "b")["fallback"] == "SeasonalNaive").all()
    none = forecast(model, frame[frame["ds"] < 21], schema)
    assert (none.frame["fallback"] == "SeasonalNaive").all()


@pytest.mark.parametrize(("policy", "price"), [("zero", 0.0), ("ffill", 12.0)])
def test_covariates_that_are_missing_in_the_gap_follow_the_policy(policy: str, price: float) -> None:
    class Last(Short):
        def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: np.ndarray) -> Prediction:
            done = super()._predict(history, horizon, levels, future)
            seen = history.future[history.indptr[1:] - 1]
            return Prediction(done.mean + 1000.0 * seen, done.quantiles)

    schema = numbered(future=["price"], covariate_gaps=policy)
    frame = with_price(long({"a": wave(5)}, last={"a": 17}))
    frame = frame[(frame["ds"] < 18) | (frame["ds"] > 20)]
    model = served(Last(), frame[frame["y"].notna()], schema)
    rules = Rules(H, (), max_delay=6, max_range=1e9)
    done = forecast(model, frame, schema, rules=rules)
    np.testing.assert_allclose(done.frame["mean"], 1000.0 * price + np.array([11.0, 12.0, 13.0, 14.0]))
    strict = numbered(future=["price"])
    model = served(Last(), frame[frame["y"].notna()], strict)
    assert "'price' is missing at 18" in forecast(model, frame, strict, rules=rules).frame["reason"][0]


# ---- data that are refused


def test_series_whose_data_are_refused_fall_back_on_what_can_be_read_of_them() -> None:
    sound = long({name: wave(5) for name in "aez"})
    twice = long({"b": wave(7)})
    hole = long({"c": wave(7)}).drop(index=4)
    empty = long({"d": [*wave(7)[:-1], np.nan]})
    model = served(SeasonalNaive(horizon=H), sound, numbered())
    done = forecast(model, pd.concat([sound, twice, twice.tail(1).assign(y=99.0), hole, empty]), numbered())
    for name in "aez":
        assert (of(done, name)["fallback"] == "").all()
    assert re.match("1 duplicate time stamps: b at 20", of(done, "b")["reason"][0])
    assert of(done, "b")["mean"].tolist() == by_hand([*wave(7)[:-1], 99.0])
    assert re.match(
        "1 steps of freq=1 are missing in 1 gaps; the first missing steps: c at 13", of(done, "c")["reason"][0]
    )
    np.testing.assert_allclose(of(done, "d")["mean"], by_hand(wave(7)[:-1], lag=1))
    assert of(done, "d")["cutoff"].tolist() == [19] * H
    assert done.frame["ds"].tolist() == [21, 22, 23, 24] * 6


def test_stamps_off_the_grid_fall_back_at_the_stamps_of_the_others() -> None:
    stamps = pd.date_range("2024-07-01", periods=48, freq="h")
    frames = [pd.DataFrame({"unique_id": name, "ds": stamps, "y": np.arange(48.0)}) for name in "abc"]
    frames[1]["ds"] += pd.Timedelta(minutes=17)
    frames[2].loc[5, "ds"] += pd.Timedelta(minutes=3)
    schema = PanelSchema(freq="h")
    model = served(SeasonalNaive(horizon=H), frames[0], schema)
    done = forecast_frame(model, pd.concat(frames), schema=schema, as_of=AsOf.read("2024-07-03"), rules=RULES)
    for name in "abc":
        rows = of(done, name)
        assert rows["ds"].tolist() == list(pd.date_range("2024-07-03", periods=H, freq="h"))
        np.testing.assert_allclose(rows["mean"], [24.0, 25.0, 26.0, 27.0])
        assert rows["fallback"][0] == ("" if name == "a" else "SeasonalNaive")


def test_a_zone_counts_steps_on_the_clock_of_the_wall() -> None:
    schema = PanelSchema(freq="h", timezone="Europe/Berlin")
    wall = pd.date_range("2024-10-26", periods=49, freq="h", tz="Europe/Berlin")  # with the hour that comes twice
    frame = pd.DataFrame({"unique_id": "a", "ds": wall, "y": np.arange(49.0)})
    twice = pd.concat([frame, frame.tail(1)]).assign(unique_id="b")
    model = served(SeasonalNaive(horizon=H), frame, schema)
    naive = pd.concat([frame, twice]).assign(ds=lambda rows: rows["ds"].dt.tz_localize(None))
    done = forecast_frame(model, naive, schema=schema, as_of=AsOf.read("2024-10-28"), rules=RULES)
    for name in "ab":
        rows = of(done, name)
        assert rows["ds"].tolist() == list(pd.date_range("2024-10-28", periods=H, freq="h", tz="Europe/Berlin"))
        assert (rows["cutoff"] == wall[-1]).all()
    assert of(done, "a")["mean"].tolist() == [25.0, 26.0, 27.0, 28.0]
    assert of(done, "b")["fallback"][0] == "SeasonalNaive"


def test_series_without_a_value_are_missing_and_told() -> None:
    frame = long({"a": wave(5), "b": [np.nan] * 5, "c": wave(7)}, last={"c": 40})
    frame = pd.concat([frame, pd.DataFrame({"unique_id": "d", "ds": [20], "y": [np.inf]})])
    model = served(SeasonalNaive(horizon=H), long({"a": wave(5)}), numbered())
    done = forecast(model, frame, numbered())
    assert done.frame["unique_id"].unique().tolist() == ["a"]
    assert done.missing["b"] == done.missing["c"] == "it has no value before 21"
    assert done.missing["d"].startswith("column 'y' has 1 infinite values")
    nothing = forecast(model, frame[frame["unique_id"] == "b"], numbered())
    assert list(nothing.frame.columns) == COLUMNS
    assert (nothing.frame.dtypes == done.frame.dtypes).all()
    assert set(nothing.missing) == {"b"}


def test_the_audit_tells_what_the_policies_repaired() -> None:
    schema = numbered(duplicates="last")
    frame = long({"a": wave(5), "b": wave(7)})
    done = forecast(served(SeasonalNaive(horizon=H), frame, schema), pd.concat([frame, frame.tail(2)]), schema)
    assert done.audit.frame.to_dict("records") == [{"unique_id": "b", "why": "duplicates combined by last", "rows": 2}]


# ---- what the forecaster says itself


def test_what_the_forecaster_replaced_itself_counts() -> None:
    frame = long({"a": wave(5), "b": [1.0, 2.0]})
    rows = of(forecast(served(SeasonalNaive(horizon=H), frame, numbered()), frame, numbered()), "b")
    assert rows["fallback"].tolist() == ["Naive"] * H
    assert rows["reason"].tolist() == ["2 of the 3 steps of a season"] * H


def test_series_that_a_forecaster_of_single_series_never_saw_fall_back() -> None:
    frame = long({"a": wave(5), "b": wave(7)})
    model = served(Theta(horizon=H), frame, numbered())
    done = forecast(model, long({"a": wave(5), "b": wave(7), "new": wave(9)}), numbered())
    assert of(done, "new")["reason"][0].startswith("Theta knows nothing of series 'new'")
    np.testing.assert_allclose(of(done, "new")["mean"], by_hand(wave(9)))
    expected = model.forecaster.predict(H, levels=RULES.levels)
    np.testing.assert_array_equal(of(done, "b")["mean"], expected.mean[1])
    only_new = forecast(model, long({"new": wave(9)}), numbered())
    assert of(only_new, "new")["fallback"][0] == "SeasonalNaive"


@pytest.mark.parametrize(
    ("schema", "rules", "message"),
    [
        (PanelSchema(freq=2), RULES, "the data have freq=2, but Conformal"),
        (numbered(calendar=["3:1"]), RULES, "the data have calendar="),
        (numbered(), Rules(H + 1, (), max_delay=2), "forecasts 4 steps ahead, 5 are asked for"),
    ],
)
def test_a_model_that_cannot_forecast_such_data_is_one_error(schema: PanelSchema, rules: Rules, message: str) -> None:
    frame = long({"a": wave(5, 40), "b": wave(7, 40)})
    model = served(Conformal("SeasonalNaive", folds=2, horizon=H), frame, numbered())
    with pytest.raises(ArgumentError, match=message):
        forecast(model, frame.assign(ds=2 * frame["ds"]), schema, rules=rules, as_of=42)


@pytest.mark.parametrize("names", ["a", "ab"])
def test_levels_that_the_model_does_not_have_are_one_error(names: str) -> None:
    class Levelled(Brittle):
        def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: np.ndarray) -> Prediction:
            raise ArgumentError("the network learned the levels 0.1 to 0.9, [0.99] lie outside")

    frame = long({name: wave(5) for name in names})
    with pytest.raises(ArgumentError, match="lie outside"):
        forecast(served(Levelled(), frame, numbered()), frame, numbered())


def test_a_frame_with_other_columns_is_one_error() -> None:
    frame = long({"a": wave(5)})
    model = served(SeasonalNaive(horizon=H), frame, numbered())
    with pytest.raises(SchemaError, match="'y' is missing"):
        forecast(model, frame.rename(columns={"y": "sales"}), numbered())
    with pytest.raises(SchemaError, match="must be numeric"):
        forecast(model, frame.assign(y="many"), numbered())
    with pytest.raises(SchemaError, match="send text"):
        forecast(model, frame.assign(unique_id=7), numbered())


def test_series_that_the_static_frame_lacks_fall_back() -> None:
    schema = numbered(static=["size"])
    frame, static = long({name: wave(5) for name in "abc"}), pd.DataFrame({"unique_id": list("ac"), "size": 1.0})
    known = frame[frame["unique_id"] != "b"]
    model = ServedModel(SeasonalNaive(horizon=H).fit(Panel.from_frame(known, schema, static=static)), H, ())
    done = forecast(model, frame, schema, static=static)
    assert of(done, "b")["reason"][0] == "the static frame lacks series 'b'"
    assert (done.frame["fallback"] != "").sum() == H


def test_series_named_by_numbers() -> None:
    frame = long({7: wave(5), 11: wave(7), 8: [1.0, np.inf]})
    model = served(SeasonalNaive(horizon=H), frame[frame["unique_id"] != 8], numbered())
    done = forecast(model, frame, numbered())
    assert done.frame["unique_id"].tolist() == [7] * H + [8] * H + [11] * H


def test_rules_are_those_of_the_section_or_of_the_backtest() -> None:
    assert Rules.of(ForecastSection(), horizon=24, levels=(0.5,)) == Rules(24, (0.5,), 24)
    section = ForecastSection(horizon=3, levels=(0.9, 0.1), max_delay=0, stale="drop", max_range=2.0)
    assert Rules.of(section, horizon=24, levels=(0.5,)) == Rules(3, (0.1, 0.9), 0, "drop", 2.0)


# ---- the search for offenders


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.sets(st.integers(0, 199), max_size=30))
def test_exactly_the_offenders_are_found(size: int, bad: set[int]) -> None:
    def attempt(at: np.ndarray) -> list[int]:
        for k in at.tolist():
            if k in bad:
                raise ValueError(k)
        return at.tolist()

    done, errors = isolate(size, attempt)
    expected = sorted(set(range(size)) & bad)
    assert sorted(errors) == expected
    assert [k for at, found in done for k in found] == [k for k in range(size) if k not in bad]
    assert len(done) <= 1


def test_what_fails_together_and_not_alone_is_done_in_parts() -> None:
    def attempt(at: np.ndarray) -> int:
        if len(at) > 3:
            raise ValueError
        return len(at)

    done, errors = isolate(10, attempt)
    assert not errors
    assert sorted(np.concatenate([at for at, _ in done]).tolist()) == list(range(10))
