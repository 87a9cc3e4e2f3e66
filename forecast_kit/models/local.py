"""One model for each series: what such forecasters share.

States are arrays by name, of which the first axis is the series, so that thousands of series take a
step, or are forecast, at once, however they were estimated.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from forecast_kit.core.forecast import Prediction
from forecast_kit.core.forecaster import FitCallback, Forecaster
from forecast_kit.data.columns import positions
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, TimeIndexError, name_some
from forecast_kit.models.naive import (
    check_positive,
    normal_quantiles,
    repeat_season,
    season_growth,
    seasonal_deviation,
    short_of_season,
)
from forecast_kit.typing import Bools, Floats, Ints

logger = logging.getLogger(__name__)

States: TypeAlias = dict[str, np.ndarray]


class LocalForecaster(Forecaster):
    """One model for each series, carried on by later observations without being learned again.

    A subclass writes `_learn`, `_step` and `_ahead`. A series that it cannot learn gets the seasonal
    naive forecast, or of less than a season the naive one, and the forecast says so, and why.

    Args:
        season_length: steps in a season, m; by default the schema's.
        horizon: steps ahead where `predict` is not told.
    """

    def __init__(self, season_length: int | None = None, *, horizon: int | None = None) -> None:
        check_positive(season_length=season_length, horizon=horizon)
        self.season_length, self.horizon = season_length, horizon
        self.season_length_ = season_length or 0
        self.ids_: np.ndarray = np.empty(0, np.str_)
        self.cutoff_: np.ndarray = np.empty(0)
        self.states_: States = {}
        self.deviation_: Floats = np.empty(0)
        self.reasons_: np.ndarray = np.empty(0, np.str_)

    @abstractmethod
    def _learn(self, panel: Panel, callbacks: Sequence[FitCallback]) -> tuple[States, np.ndarray]:
        """What was learned of each series, with its state after the last row, and `[N]` why it could not be, or ''."""

    @abstractmethod
    def _step(self, states: States, y: Floats, future: Floats) -> States:
        """The states after one more step.

        Args:
            states: of N series.
            y: `[N]` what was observed, NaN where nothing was.
            future: `[N, K]` the known-future covariates of that step.
        """

    @abstractmethod
    def _ahead(self, states: States, horizon: int, levels: tuple[float, ...], future: Floats) -> tuple[Floats, Floats]:
        """Means `[N, H]` and quantiles `[N, H, Q]` of the steps ahead, `future` is `[N, H, K]`."""

    @property
    def uses_future(self) -> bool:
        """False: the history is all, but for those with a regression in them."""
        return False

    @property
    def context_length(self) -> int:
        """A season: the states hold the rest of the past; the rows serve series that fell back."""
        return self.season_length_

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        self.season_length_ = self.season_length or panel.season_length
        with np.errstate(all="ignore"):  # hostile series overflow: what is not finite falls back
            states, reasons = self._learn(panel, callbacks)
        broken = ~finite(states) & (reasons == "")
        self.reasons_ = np.where(broken, "the estimate is not finite", reasons)
        failed = self.reasons_ != ""
        self.states_ = {key: blank(values, failed) for key, values in states.items()}
        self.ids_, self.cutoff_ = panel.ids, panel.axis.stamps(panel.last)
        self.deviation_ = seasonal_deviation(panel, self.season_length_)
        instead, _ = short_of_season(panel, self.season_length_, "SeasonalNaive")
        for reason, fallback in sorted({*zip(self.reasons_[failed].tolist(), instead[failed].tolist(), strict=True)}):
            names = self.ids_[(self.reasons_ == reason) & (instead == fallback)].tolist()
            logger.warning("%s: %d series get the forecast of %s (%s): %s",
                           self.name, len(names), fallback, reason, name_some(names))  # fmt: skip

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        at = self._places(history)
        with np.errstate(all="ignore"):
            mean, quantiles = self._ahead(self._states_after(history, at), horizon, levels, future)
        reasons = self.reasons_[at]
        overflow = ~finite({"mean": mean, "quantiles": quantiles}) & (reasons == "")
        reasons = np.where(overflow, "the forecast is not finite", reasons)
        return stand_in(history, Prediction(mean, quantiles), reasons, self.season_length_, self.deviation_[at], levels)

    def _take_in(self, panel: Panel) -> Panel:
        at = self._places(panel)
        later = self._states_after(panel, at)
        self.states_ = {key: put(values, at, later[key]) for key, values in self.states_.items()}
        self.cutoff_ = put(self.cutoff_, at, panel.axis.stamps(panel.last))
        return super()._take_in(panel)

    def _places(self, history: Panel) -> np.ndarray:
        """`[N]` where the history's series stand in what was learned."""
        return places(self.name, self.ids_, history)

    def _states_after(self, history: Panel, at: np.ndarray) -> States:
        """The states at the end of the history: the fitted ones, with every later observation taken in."""
        cutoff = history.axis.steps(self.cutoff_[at])
        early, late = history.last < cutoff, history.start > cutoff + 1
        if early.any() or late.any():
            raise TimeIndexError(
                f"{self.name} was fitted up to the cutoff of each series, and goes on from there; the history must "
                f"reach it without a hole, but does not in series {name_some(history.ids[early | late].tolist())}"
            )
        states = {name: values[at] for name, values in self.states_.items()}
        new = history.last - cutoff
        for k in range(int(new.max(initial=0))):
            given = k < new
            rows = history.indptr[:-1] + np.minimum(cutoff + 1 + k, history.last) - history.start
            y = np.where(history.observed[rows], history.y[rows], np.nan)
            after = self._step(states, y, history.future[rows])
            states = {name: choose(given, after[name], values) for name, values in states.items()}
        return states

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        calendar = self.cutoff_.dtype.kind != "i"
        cutoff = self.cutoff_.astype("datetime64[us]").astype(np.int64) if calendar else self.cutoff_
        own = {"ids": self.ids_, "cutoff": cutoff, "fallback_deviation": self.deviation_, "reasons": self.reasons_}
        return {"calendar": calendar, "season_length": self.season_length_}, {**own, **self.states_}

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.season_length_ = values["season_length"]
        self.ids_, cutoff = arrays.pop("ids"), arrays.pop("cutoff")
        self.cutoff_ = cutoff.astype("datetime64[us]") if values["calendar"] else cutoff
        self.deviation_, self.reasons_ = arrays.pop("fallback_deviation"), arrays.pop("reasons")
        self.states_ = arrays


def places(name: str, known: np.ndarray, history: Panel) -> Ints:
    """`[N]` where the history's series stand among those that a forecaster of that name was fitted on.

    Raises:
        ArgumentError: it was not fitted on one of them.
    """
    at = positions(known, history.ids)
    if (at < 0).any():
        raise ArgumentError(
            f"{name} knows nothing of series {name_some(history.ids[at < 0].tolist())}; it was fitted on "
            f"{len(known)} others. Fit it on a panel that has them"
        )
    return at


def stand_in(
    history: Panel,
    done: Prediction,
    reasons: np.ndarray,
    season_length: int,
    deviation: Floats,
    levels: tuple[float, ...],
) -> Prediction:
    """The prediction, with the seasonal naive one, or the naive, for every series `[N]` that has a reason.

    Args:
        history: the rows to repeat.
        done: what was predicted.
        reasons: `[N]` empty where nothing is wrong.
        season_length: m.
        deviation: `[N]` of a seasonal step.
        levels: of the quantiles.
    """
    failed = reasons != ""
    if not failed.any():
        return done
    repeated = repeat_season(history, season_length, len(done.mean[0]))
    spread = deviation[:, None] * season_growth(history, season_length, len(done.mean[0]))
    names, _ = short_of_season(history, season_length, "SeasonalNaive")
    return Prediction(
        choose(failed, repeated, done.mean),
        choose(failed, normal_quantiles(repeated, spread, levels), done.quantiles),
        np.where(failed, names, ""),
        reasons,
    )


def choose(given: Bools, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """`np.where` over the first axis of arrays with any number of axes."""
    return np.where(given.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def put(values: np.ndarray, at: np.ndarray, new: np.ndarray) -> np.ndarray:
    """A copy of the values with new ones at these places of the first axis."""
    values = values.copy()
    values[at] = new
    return values


def finite(arrays: States) -> Bools:
    """`[N]` whether every number of a series is finite."""
    numbers = [a.reshape(len(a), -1) for a in arrays.values() if a.dtype.kind == "f"]
    return np.logical_and.reduce([np.isfinite(a).all(axis=1) for a in numbers])


def blank(values: np.ndarray, failed: Bools) -> np.ndarray:
    """The values, 0 for series that failed."""
    return choose(~failed, values, np.zeros_like(values))


def by_length(panel: Panel, width: int = 4096) -> Iterator[tuple[np.ndarray, Floats]]:
    """Series of like length side by side: which, `[n]`, and their targets `[T, n]`, ending in the last row.

    NaN where a step was not observed, and before the first row of the shorter ones.

    Args:
        panel: the series.
        width: most series at a time, so that a step over all of them stays in the cache.
    """
    lengths = panel.lengths
    order = np.argsort(lengths, kind="stable")
    ranked = lengths[order]
    y = np.where(panel.observed, panel.y, np.nan)
    first = 0
    while first < len(order):
        last = min(first + width, int(np.searchsorted(ranked, 1.25 * ranked[first], side="right")))
        at = order[first:last]
        steps = int(ranked[last - 1])
        rows = panel.indptr[at + 1] - steps + np.arange(steps)[:, None]  # [T, n]
        yield at, np.where(rows >= panel.indptr[at], y[np.maximum(rows, 0)], np.nan)
        first = last
