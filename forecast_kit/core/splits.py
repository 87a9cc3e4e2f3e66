"""Rolling origins: where history ends and what is forecast, fold by fold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, TooShortError, name_some
from forecast_kit.typing import Bools, Floats, Ints

__all__ = ["RollingOrigin", "Fold"]


@dataclass(frozen=True, eq=False)
class Fold:
    """One cutoff: what lies before it, and what came true after it. `RollingOrigin.split` makes them.

    Attributes:
        number: 1 for the earliest.
        train: what a forecaster may be fitted on.
        history: each series up to its cutoff, from which it is forecast; the same as `train`, but for an
            embargo.
        gap: steps between the cutoff and the first that is judged.
        y, observed: `[N, H]` what came true of the steps that are judged, in the target's unit, and where it is known.
        future: `[N, gap + H, K]` the known-future covariates of all steps after the cutoff.
        left_out: the ids of the series without history at this cutoff, which have no rows above.

    >>> from forecast_kit import Panel, RollingOrigin, SeasonalNaive, load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> earlier, later = RollingOrigin(horizon=12, folds=2).split(panel)
    >>> later.train
    Panel(1 series, 132 rows, freq='MS', 1949-01-01 .. 1959-12-01)
    >>> forecast = SeasonalNaive().fit(later.train).predict(12)
    >>> float(np.abs(later.y - forecast.mean).mean().round(1))
    47.8
    """

    number: int
    train: Panel
    history: Panel
    gap: int
    y: Floats
    observed: Bools
    future: Floats
    left_out: tuple[Any, ...] = ()


@dataclass(frozen=True)
class RollingOrigin:
    """The last `folds` cutoffs, `step` apart, and what comes after each.

    By default cutoffs count from the end of each series, so that ragged panels have the same number of
    folds everywhere and the last fold's actuals are each series' last `horizon` rows. With
    `align="calendar"` all series are cut at the same stamps, counted from the end of the panel, as a
    nightly job would have: series without history then, or that had ended before the cutoff, are left
    out of that fold, and actuals that are not there count as not observed.

    Args:
        horizon: steps that are judged at each cutoff.
        folds: number of cutoffs.
        step: steps from one cutoff to the next; by default the horizon.
        gap: steps between the cutoff and the first that is judged; the forecast made on Monday for
            Wednesday and after has a gap of one day.
        window: most rows of history (a sliding window), or all of them (an expanding one).
        embargo: the last steps before the cutoff that fitting may not see, because their values are not
            final when models are trained. They are forecast from all the same.
        align: `"series"` or `"calendar"`.

    Raises:
        ArgumentError: a number is out of range, or the window does not outlast the embargo.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(10), "y": range(10)}), freq=1)
    >>> for fold in RollingOrigin(horizon=2, folds=2).split(panel):
    ...     print(fold.number, len(fold.train.y), fold.y)
    1 6 [[6. 7.]]
    2 8 [[8. 9.]]
    """

    horizon: int
    folds: int = 1
    step: int | None = None
    gap: int = 0
    window: int | None = None
    embargo: int = 0
    align: Literal["series", "calendar"] = "series"

    def __post_init__(self) -> None:
        for name, least in (("horizon", 1), ("folds", 1), ("step", 1), ("gap", 0), ("window", 1), ("embargo", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise ArgumentError(f"{name} must be a whole number, at least {least}; got {value!r}")
        if self.window is not None and self.window <= self.embargo:
            raise ArgumentError(f"window must be longer than the embargo, got {self.window} and {self.embargo}")
        if self.align not in ("series", "calendar"):
            raise ArgumentError(f"align must be 'series' or 'calendar', got {self.align!r}")

    @property
    def steps_ahead(self) -> int:
        """Steps to forecast at each cutoff: the gap and the horizon."""
        return self.gap + self.horizon

    @property
    def needed(self) -> int:
        """Rows that lie after the first cutoff."""
        return self.steps_ahead + (self.folds - 1) * (self.step or self.horizon)

    def check(self, panel: Panel) -> None:
        """Refuses a panel that is too short for the folds.

        Raises:
            TooShortError: a series has no row before its first cutoff and embargo; with `align="calendar"`: no
                series has.
        """
        if self.align == "calendar":
            if not self._taking_part(panel, self._cutoffs(panel, 0)).any():
                raise TooShortError(
                    f"no series has more than {self.embargo} observations before the first of {self.folds} cutoffs, "
                    f"{self.needed} steps before the end of the panel; lower folds or horizon"
                )
            return
        needed = self.needed + self.embargo
        short = panel.lengths <= needed
        if short.any():
            raise TooShortError(
                f"{int(short.sum())} series are too short for {self.folds} folds with horizon {self.horizon}, which "
                f"take more than {needed} observations: {name_some(panel.ids[short].tolist())} (shortest: "
                f"{int(panel.lengths.min())}); drop them, or lower folds or horizon"
            )

    def split(self, panel: Panel) -> Iterator[Fold]:
        """The folds, earliest first.

        Raises:
            TooShortError: see `check`.

        >>> from forecast_kit import Panel, load
        >>> panel = Panel.from_frame(*load("air_passengers"))
        >>> [len(fold.train.y) for fold in RollingOrigin(12, folds=3).split(panel)]
        [108, 120, 132]
        """
        self.check(panel)
        for number in range(1, self.folds + 1):
            yield self.fold(panel, number)

    def fold(self, panel: Panel, number: int) -> Fold:
        """One of the folds, counted from 1.

        Raises:
            TooShortError: a series has no row before its cutoff; `check` says so for all folds at once.
        """
        cutoffs = self._cutoffs(panel, number - 1)
        part = self._taking_part(panel, cutoffs)
        left_out = tuple(panel.ids[~part].tolist())
        if left_out:
            panel, cutoffs = panel.take(panel.ids[part]), cutoffs[part]
        ahead = cutoffs[:, None] + np.arange(1, self.steps_ahead + 1)
        there = (ahead <= panel.last[:, None]).astype(bool)
        rows = np.minimum(panel.indptr[:-1, None] + ahead - panel.start[:, None], len(panel.y) - 1)
        future = np.where(there[:, :, None], panel.future[rows], np.nan)
        judged = rows[:, self.gap :], there[:, self.gap :]
        observed = panel.observed[judged[0]] & judged[1]
        y = np.where(judged[1], panel.y[judged[0]], np.nan)
        history = panel.before(cutoffs)
        train = panel.before(cutoffs - self.embargo) if self.embargo else history
        if self.window is not None:
            history, train = history.tail(self.window), train.tail(self.window - self.embargo)
        return Fold(number, train, history, self.gap, y, observed, future, left_out)

    def _cutoffs(self, panel: Panel, k: int) -> Ints:
        """`[N]` the last step before fold `k`, counted from 0."""
        ends = panel.last if self.align == "series" else np.full(len(panel), panel.last.max())
        return ends - self.needed + k * (self.step or self.horizon)

    def _taking_part(self, panel: Panel, cutoffs: Ints) -> Bools:
        """`[N]` which series can be fitted before, and forecast from, their cutoffs."""
        return (panel.start <= cutoffs - self.embargo) & (panel.last >= cutoffs)
