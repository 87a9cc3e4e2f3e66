"""Forecasters inside forecasters: naming them, trying them on folds, keeping them in sub-folders, moving them on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from forecast_kit.core.forecast import Forecast
from forecast_kit.core.forecaster import FitCallback, FitProgress, Forecaster, as_forecaster
from forecast_kit.core.splits import Fold, RollingOrigin
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, ForecastKitError, TooShortError
from forecast_kit.models.variations import expand, is_varied


class Progress:
    """Counts fits, and tells callbacks how far they are."""

    def __init__(self, callbacks: Sequence[FitCallback], total: int) -> None:
        self.callbacks, self.done, self.total = callbacks, 0, total

    def one_more(self) -> None:
        """Another fit is done."""
        self.done += 1
        for callback in self.callbacks:
            callback(FitProgress(self.done, self.total, {}))


def named(members: Any) -> dict[str, Forecaster]:
    """The forecasters by name; those of a sequence are called as they call themselves, numbered from the second on.

    Args:
        members: a mapping of names, or a sequence; each a forecaster, its class's name, or a mapping that
            describes it or its variations (`{"base": ..., "vary": ...}`, see `forecast_kit.models.variations`); or
            such variations alone.

    Raises:
        ArgumentError: there is none, one cannot be built, or it is a single forecaster.

    >>> list(named(["Naive", "Naive", "Drift"]))
    ['Naive', 'Naive 2', 'Drift']
    """
    if isinstance(members, str | Forecaster) or (isinstance(members, Mapping) and "forecaster" in members):
        raise ArgumentError(f"members are several forecasters, in a list or by name, got the single one {members!r}; "
                            f"put it into a list")  # fmt: skip
    if not isinstance(members, Mapping | Sequence) or not members:
        raise ArgumentError(f"members must name at least one forecaster, such as ['ETS', 'SeasonalNaive'] or "
                            f"{{'smoothing': 'ETS'}}; got {members!r}")  # fmt: skip
    if is_varied(members):
        members = [members]
    entries = members.items() if isinstance(members, Mapping) else ((None, value) for value in members)
    found: dict[str, Forecaster] = {}
    for name, value in entries:
        if isinstance(members, Mapping) and (not isinstance(name, str) or not name):
            raise ArgumentError(f"members are named by text, got {name!r}")
        for own, forecaster in _one_or_more(name, value):
            found[_free(own, found)] = forecaster
    return found


def _one_or_more(name: str | None, value: Any) -> list[tuple[str, Forecaster]]:
    """The forecaster that a member is, or all of its variations, and what they are called."""
    if is_varied(value):
        return list(expand(value, name).items())
    forecaster = as_forecaster(value)
    return [(forecaster.name if name is None else name, forecaster)]


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, or where it is taken the name with the first free number after it."""
    names = (name if k == 1 else f"{name} {k}" for k in count(1))
    return next(free for free in names if free not in taken)


def common_horizon(forecasters: Mapping[str, Forecaster], horizon: int | None) -> int | None:
    """The horizon, or where it is None the one that the forecasters have; None where none has one.

    Raises:
        ArgumentError: they have different ones.
    """
    theirs = {name: f.horizon for name, f in forecasters.items() if f.horizon is not None}
    if horizon is not None or not theirs:
        return horizon
    if len(set(theirs.values())) > 1:
        shown = ", ".join(f"{name}: {steps}" for name, steps in theirs.items())
        raise ArgumentError(f"the forecasters have different horizons ({shown}); say which one with horizon=")
    return next(iter(theirs.values()))


def packages_of(own: Iterable[str], forecasters: Iterable[Forecaster]) -> tuple[str, ...]:
    """What must be installed for all of them, each once."""
    return tuple(dict.fromkeys([*own, *(package for f in forecasters for package in f.packages)]))


def learned_levels(forecaster: Forecaster) -> tuple[float, ...]:
    """The levels that it learned, and beyond which it has none; empty where any level goes."""
    return tuple(getattr(forecaster, "learned_levels", getattr(forecaster, "levels", ())))


def total_costs(forecasters: Iterable[Forecaster]) -> dict[str, float]:
    """The `costs` of several together: sums, and of memory the most."""
    total: dict[str, float] = {}
    for forecaster in forecasters:
        for key, value in forecaster.costs.items():
            total[key] = max(total.get(key, 0.0), value) if key.startswith("peak") else total.get(key, 0.0) + value
    return total


@contextmanager
def within(what: str) -> Iterator[None]:
    """What goes wrong inside is told with the name of the forecaster inside in which it did."""
    try:
        yield
    except ForecastKitError as error:
        raise type(error)(f"{what}: {error}") from error


def long_enough(panel: Panel, splitter: RollingOrigin, why: str) -> Panel:
    """The series with a season of history before the first fold.

    Raises:
        TooShortError: there is none.
    """
    least = splitter.needed + panel.season_length
    part = panel.lengths >= least
    if not part.any():
        raise TooShortError(
            f"{why} needs series of at least {least} observations: a season of {panel.season_length}, and "
            f"{splitter.folds} folds with horizon {splitter.horizon}, {splitter.step or splitter.horizon} steps apart; "
            f"the longest has {int(panel.lengths.max())}. Lower folds, step or horizon, or bring longer history"
        )
    return panel if part.all() else panel.take(panel.ids[part])


def forecast_fold(forecaster: Forecaster, fold: Fold, levels: Sequence[float] = ()) -> Forecast:
    """What a clone that was fitted before the fold's cutoff says of the steps after it."""
    fitted = forecaster.clone().fit(fold.train)
    return fitted.predict(fold.y.shape[1], levels=levels, history=fold.history, future=fold.future)


def moved_on(forecaster: Forecaster, panel: Panel) -> Forecaster:
    """The forecaster at the end of the panel; the one given stays where it is, should another one fail."""
    return copy(forecaster).update(panel)


def save_all(forecasters: Iterable[Forecaster], folder: Path) -> None:
    """Writes each into a sub-folder, without data rows: those of the forecaster around them serve all."""
    for k, forecaster in enumerate(forecasters):
        forecaster.save(folder / f"forecaster_{k}")


def load_all(folder: Path, count: int) -> list[Forecaster]:
    """What `save_all` wrote."""
    return [Forecaster.load(folder / f"forecaster_{k}") for k in range(count)]


def say_who(names: Sequence[str], texts: Sequence[np.ndarray]) -> np.ndarray:
    """`[N]` for each series the texts of those that have one, each after its name: `ETS: SeasonalNaive`.

    Args:
        names: `[M]`.
        texts: M arrays `[N]`, empty where there is nothing to say.
    """
    said = [
        "; ".join(f"{name}: {text}" for name, text in zip(names, row, strict=True) if text)
        for row in zip(*(text.tolist() for text in texts), strict=True)
    ]
    return np.array(said, np.str_)
