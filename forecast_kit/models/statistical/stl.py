"""Forecasts of what STL leaves of a series, for one season or several."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from statsmodels.tsa.seasonal import MSTL as _MSTL
from statsmodels.tsa.seasonal import STL as _STL

from forecast_kit.data.filling import fill_by_season
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError
from forecast_kit.models.adjusted import Adjusted, Decomposition, Model, check_model
from forecast_kit.models.naive import check_positive
from forecast_kit.models.statistical.workers import estimate_each
from forecast_kit.typing import Floats


class STL(Adjusted):
    """Another forecaster on the series without its seasons, which STL (of several seasons MSTL) takes out by loess.

    `y_t = T_t + S_t + R_t`; the forecaster gets `T_t + R_t`, and the last pattern of `S` goes on. So a method without
    season, or with a single one, forecasts hours with a day and a week in them. A season of which a series has
    not two, is not taken out of it.

    Args:
        base: any forecaster, or its name, or a mapping that describes it.
        season_length: steps in a season, or of several, such as `(24, 168)`; by default the schema's.
        model: `"additive"`, `"multiplicative"` (of the logarithm: the pattern multiplies), or `"auto"`:
            multiplicative for series with positive values alone. A series that has others is decomposed
            additively in any case.
        robust: whether outliers count less; takes several times as long.
        jobs: processes; by default one for each processor.
        horizon: steps ahead where `predict` is not told; by default that of the base.

    Raises:
        ArgumentError: an argument is out of range.

    Source: Cleveland, Cleveland, McRae and Terpenning, STL: A seasonal-trend decomposition procedure based on loess,
    Journal of Official Statistics 6, 1990; Bandara, Hyndman and Bergmeir, MSTL, arXiv 2107.13462.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> STL("Theta").fit(panel).predict(3).mean.shape
    (1, 3)
    """

    packages = ("numpy", "pandas", "joblib", "statsmodels")

    def __init__(
        self,
        base: Any,
        *,
        season_length: int | Sequence[int] | None = None,
        model: Model = "additive",
        robust: bool = False,
        jobs: int | None = None,
        horizon: int | None = None,
    ) -> None:
        check_positive(jobs=jobs)
        check_model(model)
        lengths = as_tuple(season_length)
        for m in lengths:
            check_positive(season_length=m)
        if not lengths and season_length is not None:
            raise ArgumentError(
                "season_length is an empty list; give the steps in a season, such as (24, 168), or None"
            )
        super().__init__(base, horizon=horizon)
        self.season_length, self.model, self.robust, self.jobs = season_length, model, robust, jobs

    def _decompose(self, panel: Panel) -> Decomposition:
        lengths = sorted({*as_tuple(self.season_length)}) or [panel.season_length]
        filled = fill_by_season(panel, lengths[0])
        times = (self.model != "additive") & (np.minimum.reduceat(filled, panel.indptr[:-1]) > 0)
        ends = zip(panel.indptr[:-1], panel.indptr[1:], times, strict=True)
        series = [np.log(filled[a:b]) if multiply else filled[a:b] for a, b, multiply in ends]
        patterns = estimate_each(partial(seasons_of, lengths=lengths, robust=self.robust), series, self.jobs, ())
        season = np.concatenate([total for total, _ in patterns])
        ahead = [np.stack([last[k] for _, last in patterns]) for k in range(len(lengths))]
        owner = np.repeat(times, panel.lengths)
        factor = np.where(owner, np.exp(np.where(owner, season, 0.0)), 1.0)
        adjusted = np.where(owner, panel.y / factor, panel.y - season)
        patterns_ahead = tuple(np.where(times[:, None], np.exp(np.where(times[:, None], p, 0.0)), p) for p in ahead)
        return Decomposition(adjusted, patterns_ahead, times)


def as_tuple(season_length: int | Sequence[int] | None) -> tuple[int, ...]:
    """The lengths of all seasons that were named."""
    if season_length is None:
        return ()
    return (season_length,) if isinstance(season_length, int) else tuple(season_length)


def seasons_of(y: Floats, *, lengths: Sequence[int], robust: bool) -> tuple[Floats, list[Floats]]:
    """All seasons of one series `[T]` together, and of each the pattern of the next m steps; 0 where it is too short.

    Args:
        y: the series, without gaps.
        lengths: of the seasons, ascending.
        robust: see `STL`.
    """
    total: Floats = np.zeros(len(y))
    last: list[Floats] = [np.zeros(m) for m in lengths]
    fits = [m for m in lengths if m > 1 and 2 * m < len(y)]
    spread = float(np.ptp(y))
    if not fits or spread == 0:
        return total, last
    unit = spread  # so that sums of squares neither overflow nor vanish
    if len(fits) == 1:
        found = [np.asarray(_STL(y / unit, period=fits[0], robust=robust).fit().seasonal)]
    else:
        parts = _MSTL(y / unit, periods=fits, stl_kwargs={"robust": robust}).fit().seasonal
        found = list(np.asarray(parts).reshape(len(y), -1).T)
    for m, values in zip(fits, found, strict=True):
        total += values * unit
        last[lengths.index(m)] = values[-m:] * unit
    return total, last
