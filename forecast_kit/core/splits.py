"""Rolling origins: where history ends and what is forecast, fold by fold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, TooShortError, name_some
from forecast_kit.typing import Bools, Floats


@dataclass(frozen=True, eq=False)
class Fold:
    """One origin.

    Attributes:
        number: 1 for the earliest.
        train: each series up to its cutoff.
        y, observed: `[N, H]` what came after it.
        future: `[N, H, K]` the known-future covariates of those steps.
    """

    number: int
    train: Panel
    y: Floats
    observed: Bools
    future: Floats


@dataclass(frozen=True)
class RollingOrigin:
    """The last `folds` cutoffs of every series, `step` apart; the training part expands from fold to fold.

    Cutoffs count from the end of each series, so ragged panels have the same number of folds
    everywhere, and the last fold's actuals are each series' last `horizon` rows.

    Args:
        horizon: steps to forecast at each cutoff.
        folds: number of cutoffs.
        step: steps from one cutoff to the next; by default the horizon.

    Raises:
        ArgumentError: a number is below 1.

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

    def __post_init__(self) -> None:
        for name in ("horizon", "folds", "step"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ArgumentError(f"{name} must be at least 1, got {value}")

    @property
    def needed(self) -> int:
        """Rows that lie after the first cutoff."""
        return self.horizon + (self.folds - 1) * (self.step or self.horizon)

    def check(self, panel: Panel) -> None:
        """Refuses a panel that is too short for the folds.

        Raises:
            TooShortError: a series has no row before its first cutoff.
        """
        short = panel.lengths <= self.needed
        if short.any():
            raise TooShortError(
                f"{int(short.sum())} series are too short for {self.folds} folds with horizon {self.horizon}, which "
                f"take more than {self.needed} observations: {name_some(panel.ids[short].tolist())} (shortest: "
                f"{int(panel.lengths.min())}); drop them, or lower folds or horizon"
            )

    def split(self, panel: Panel) -> Iterator[Fold]:
        """The folds, earliest first.

        Raises:
            TooShortError: see `check`.
        """
        self.check(panel)
        for k in range(self.folds):
            after = self.needed - k * (self.step or self.horizon)
            rows = (panel.indptr[1:] - after)[:, None] + np.arange(self.horizon)
            train = panel.before(panel.last - after)
            yield Fold(k + 1, train, panel.y[rows], panel.observed[rows], panel.future[rows])


def check_min_length(panel: Panel, least: int, why: str, *, carried: bool = False) -> None:
    """Refuses series with fewer than `least` observed values; with `carried`, unobserved steps count too.

    Raises:
        TooShortError: names up to five of them.
    """
    seen = panel.lengths if carried else np.add.reduceat(panel.observed, panel.indptr[:-1], dtype=np.int64)
    short = seen < least
    if short.any():
        raise TooShortError(
            f"{why} needs at least {least} observations in every series; too short are "
            f"{name_some(panel.ids[short].tolist())} (shortest: {int(seen.min())}); drop them or bring longer history"
        )
