"""A forecast: a number, and if asked quantiles, for every series and step after its cutoff."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.data.frequency import show_zone
from forecast_kit.errors import ArgumentError
from forecast_kit.typing import Floats

__all__ = ["Forecast", "Prediction", "level_column", "column_levels"]

_LEVEL = re.compile(r"q(\d+(?:_\d+)?)")


def check_levels(levels: Iterable[float]) -> tuple[float, ...]:
    """The levels, sorted and each once.

    Raises:
        ArgumentError: a level is not strictly between 0 and 1.

    >>> check_levels([0.9, 0.1])
    (0.1, 0.9)
    """
    given = list(levels) if isinstance(levels, Iterable) and not isinstance(levels, str) else [None]
    if not all(isinstance(q, int | float | np.floating) for q in given):
        raise ArgumentError(f"levels are numbers between 0 and 1, such as (0.1, 0.9); got {levels!r}")
    checked = tuple(sorted({float(q) for q in given if q is not None}))
    bad = [q for q in checked if not 0.0 < q < 1.0]
    if bad:
        raise ArgumentError(
            f"levels are quantile probabilities strictly between 0 and 1, such as (0.1, 0.9); got {bad}"
        )
    return checked


def level_column(level: float) -> str:
    """The column that holds a level: `q10` for 0.1, `q2_5` for 0.025 (no dots: the MLflow UI cannot show them).

    >>> level_column(0.1), level_column(0.975)
    ('q10', 'q97_5')
    """
    return "q" + f"{100 * level:.6f}".rstrip("0").rstrip(".").replace(".", "_")


def column_levels(columns: Iterable[Any]) -> tuple[float, ...]:
    """The levels that some of the columns hold, ascending: the way back from `level_column`.

    >>> column_levels(["mean", "q97_5", "q10", "quality"])
    (0.1, 0.975)
    """
    found = (_LEVEL.fullmatch(str(column)) for column in columns)
    return tuple(sorted(round(float(match[1].replace("_", ".")) / 100.0, 8) for match in found if match))


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the `_predict` of a forecaster of your own returns; `Forecaster.predict` makes a `Forecast` of it.

    Attributes:
        mean: `[N, H]` the point forecast, in the target's unit.
        quantiles: `[N, H, Q]` in the target's unit, ascending with the levels; `[N, H, 0]` where none are asked for.
        fallback: `[N]` the simpler method that stepped in for a series, empty where none did; None: nowhere.
        reason: `[N]` why it did.

    >>> mean = np.array([[5.0, 5.0, 5.0], [7.0, 7.0, 7.0]])  # two series, three steps
    >>> spread = np.sqrt([1, 2, 3])[:, None] * [-1.28, 1.28]  # [H, Q] for the levels 0.1 and 0.9
    >>> prediction = Prediction(mean, mean[:, :, None] + spread)
    >>> prediction.mean.shape, prediction.quantiles.shape
    ((2, 3), (2, 3, 2))
    """

    mean: Floats
    quantiles: Floats
    fallback: np.ndarray | None = None
    reason: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Forecast:
    """Point and quantile forecasts of N series over H steps.

    Attributes:
        model: the forecaster's name.
        ids: `[N]` series.
        cutoff: `[N]` the last observed stamp of each.
        ds: `[N, H]` the stamps that are forecast; step 1 is the first after the cutoff.
        mean: `[N, H]` the point forecast, in the target's unit.
        levels: `[Q]` quantile probabilities, ascending.
        quantiles: `[N, H, Q]`, never crossing.
        fallback: `[N]` the simpler method that had to step in for a series, empty text where none had to.
        reason: `[N]` why it had to, empty text where none had to.
        zone: the time zone that frames show `ds` and `cutoff` in, which are UTC here; None for stamps as
            they are.

    >>> from forecast_kit import Naive, Panel
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(4), "y": [1.0, 2, 3, 4]}), freq=1)
    >>> forecast = Naive().fit(panel).predict(2, levels=(0.5,))
    >>> forecast.horizon, forecast.quantiles.shape, forecast.to_frame()["q50"].tolist()
    (2, (1, 2, 1), [4.0, 4.0])
    """

    model: str
    ids: np.ndarray
    cutoff: np.ndarray
    ds: np.ndarray
    mean: Floats
    levels: tuple[float, ...]
    quantiles: Floats
    fallback: np.ndarray
    reason: np.ndarray
    zone: str | None = None

    @property
    def horizon(self) -> int:
        """Steps ahead."""
        return self.mean.shape[1]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Forecast({self.model!r}, {len(self)} series, horizon={self.horizon}, levels={self.levels})"

    def to_frame(self) -> pd.DataFrame:
        """The long frame `unique_id, ds, cutoff, model, mean, q10, ...`, one row for each series and step.

        Columns `fallback` and `reason` follow where a simpler method had to step in for a series.

        >>> from forecast_kit import Naive, Panel, load
        >>> forecast = Naive().fit(Panel.from_frame(*load("air_passengers"))).predict(2, levels=(0.1, 0.9))
        >>> forecast.to_frame().columns.tolist()
        ['unique_id', 'ds', 'cutoff', 'model', 'mean', 'q10', 'q90']
        """
        columns: dict[str, Any] = {
            "unique_id": np.repeat(self.ids, self.horizon),
            "ds": show_zone(self.ds.ravel(), self.zone),
            "cutoff": show_zone(np.repeat(self.cutoff, self.horizon), self.zone),
            "model": self.model,
            "mean": self.mean.ravel(),
        }
        columns |= {level_column(q): self.quantiles[:, :, k].ravel() for k, q in enumerate(self.levels)}
        if (self.fallback != "").any():
            columns["fallback"] = np.repeat(self.fallback, self.horizon)
            columns["reason"] = np.repeat(self.reason, self.horizon)
        return pd.DataFrame(columns)
