"""Tables of scores: which metrics a set of forecasts has, for each series, step or fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from forecast_kit.errors import ArgumentError, nearest
from forecast_kit.evaluation import metrics
from forecast_kit.typing import Bools, Floats

__all__ = ["METRICS", "Metric", "Rows", "score"]

_CHUNK = 1 << 16  # values judged at once: so many that NumPy's intermediate arrays stay in the cache


class Rows(NamedTuple):
    """Forecasts of N series over H steps beside what came true: what a metric is computed from.

    Attributes:
        y: `[N, H]` actuals, NaN where there are none.
        observed: `[N, H]` whether there are any.
        mean: `[N, H]` point forecasts.
        absolute: `[N, 1]` the mean absolute seasonal difference of the training parts, MASE's scale.
        squared: `[N, 1]` the mean squared seasonal difference, RMSSE's scale.
        quantiles: `[N, H, Q]` quantile forecasts; `Q = 0` where none were asked for.
        levels: `[Q]` their probabilities, ascending.

    >>> from forecast_kit import Panel, RollingOrigin, SeasonalNaive, backtest, load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> result = backtest({"seasonal": SeasonalNaive()}, panel, RollingOrigin(3))
    >>> for model, fold, ids, rows in result.blocks():
    ...     print(model, fold, ids, rows.y, rows.mean)
    seasonal 1 ['air_passengers'] [[461. 390. 432.]] [[407. 362. 405.]]
    """

    y: Floats
    observed: Bools
    mean: Floats
    absolute: Floats
    squared: Floats
    quantiles: Floats
    levels: Floats

    def part(self, rows: slice) -> Rows:
        """Some of the series."""
        y, observed, mean, absolute, squared, quantiles, levels = self
        return Rows(y[rows], observed[rows], mean[rows], absolute[rows], squared[rows], quantiles[rows], levels)

    def by_step(self) -> Rows:
        """Turned round: steps are what is scored, series what is averaged over."""
        steps, series = self.y.shape[1], self.y.shape[0]
        absolute, squared = (np.broadcast_to(scale[:, 0], (steps, series)) for scale in (self.absolute, self.squared))
        quantiles = self.quantiles.swapaxes(0, 1)
        return Rows(self.y.T, self.observed.T, self.mean.T, absolute, squared, quantiles, self.levels)


@dataclass(frozen=True)
class Metric:
    """A score: how it is computed from `Rows`, and how it is read. In `METRICS` it goes by a name.

    Attributes:
        of: from rows `[N, H]` to `[N]`, NaN where the score is not defined.
        title: the name in full.
        unit: `""` for a ratio, `"%"`, `"y"` for the target's, or `"y2"` for that squared.
        better: whether smaller is better, or nearer to zero, or nearer to the interval's probability.
        needs: how many levels it takes.

    >>> from forecast_kit import Naive, Panel, RollingOrigin, SeasonalNaive, backtest, load
    >>> def worst(rows):
    ...     return np.where(rows.observed, np.abs(rows.y - rows.mean), 0.0).max(axis=1)
    >>> METRICS["worst"] = Metric(worst, "largest absolute error", "y")
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> result = backtest({"naive": Naive(), "seasonal": SeasonalNaive()}, panel, RollingOrigin(12))
    >>> result.leaderboard(metric="worst")[["model", "worst"]].values.tolist()
    [['seasonal', 74.0], ['naive', 217.0]]
    >>> del METRICS["worst"]  # where it shall not stay
    """

    of: Callable[[Rows], Floats]
    title: str
    unit: Literal["", "%", "y", "y2"] = ""
    better: Literal["smaller", "zero", "nominal"] = "smaller"
    needs: int = 0


def _interval(rows: Rows) -> tuple[Floats, Floats]:
    """The widest interval."""
    return rows.quantiles[:, :, 0], rows.quantiles[:, :, -1]


def _msis(rows: Rows) -> Floats:
    alpha = float(1.0 - rows.levels[-1] + rows.levels[0])
    return metrics.msis(rows.y, *_interval(rows), rows.observed, rows.absolute, alpha=alpha)


def _point(function: Callable[[Floats, Floats, Bools], Floats]) -> Callable[[Rows], Floats]:
    return lambda rows: function(rows.y, rows.mean, rows.observed)


def _quantile(function: Callable[[Floats, Floats, Bools, Floats], Floats]) -> Callable[[Rows], Floats]:
    return lambda rows: function(rows.y, rows.quantiles, rows.observed, rows.levels)


METRICS: dict[str, Metric] = {
    "mase": Metric(lambda r: metrics.mase(r.y, r.mean, r.observed, r.absolute), "mean absolute scaled error"),
    "smape": Metric(_point(metrics.smape), "symmetric mean absolute percentage error", "%"),
    "mae": Metric(_point(metrics.mae), "mean absolute error", "y"),
    "rmse": Metric(_point(metrics.rmse), "root mean squared error", "y"),
    "mse": Metric(_point(metrics.mse), "mean squared error", "y2"),
    "rmsse": Metric(lambda r: metrics.rmsse(r.y, r.mean, r.observed, r.squared), "root mean squared scaled error"),
    "wape": Metric(_point(metrics.wape), "weighted absolute percentage error (ND)"),
    "mape": Metric(_point(metrics.mape), "mean absolute percentage error", "%"),
    "me": Metric(_point(metrics.me), "mean error", "y", "zero"),
    "bias": Metric(_point(metrics.bias), "relative bias", better="zero"),
    "pinball": Metric(_quantile(metrics.pinball), "pinball loss", "y", needs=1),
    "wql": Metric(_quantile(metrics.wql), "weighted quantile loss", needs=1),
    "crps": Metric(_quantile(metrics.crps), "continuous ranked probability score", "y", needs=1),
    "coverage": Metric(lambda r: metrics.coverage(r.y, *_interval(r), r.observed), "coverage of the widest interval",
                       better="nominal", needs=2),
    "width": Metric(lambda r: metrics.interval_width(*_interval(r), r.observed), "width of the widest interval", "y",
                    needs=2),
    "msis": Metric(_msis, "mean scaled interval score of the widest interval", needs=2),
}  # fmt: skip
"""The metrics by name, in the order of tables; add one of your own and backtests have it."""


def join(blocks: Sequence[Rows]) -> Rows:
    """The rows of several blocks, one under the other; all have the same levels."""
    arrays = zip(*(block[:-1] for block in blocks), strict=True)
    y, observed, mean, absolute, squared, quantiles = (np.concatenate(parts) for parts in arrays)
    return Rows(y, observed, mean, absolute, squared, quantiles, blocks[0].levels)


def check_metrics(names: Iterable[str], levels: int) -> tuple[str, ...]:
    """The names, if there are such metrics and forecasts have the levels that they need.

    Raises:
        ArgumentError: there are not.
    """
    names = tuple(names)
    for name in names:
        if name not in METRICS:
            raise ArgumentError(
                f"unknown metric {name!r}; there are {', '.join(METRICS)}.{nearest(name, list(METRICS))}"
            )
        if METRICS[name].needs > levels:
            raise ArgumentError(
                f"metric {name!r} needs forecasts with at least {METRICS[name].needs} levels, these have {levels};"
                " ask for them with levels=(0.1, 0.5, 0.9)"
            )
    return names


def available(levels: int) -> tuple[str, ...]:
    """The metrics that forecasts with so many levels have."""
    return tuple(name for name, metric in METRICS.items() if metric.needs <= levels)


def score(rows: Rows, names: Iterable[str]) -> dict[str, Floats]:
    """`[N]` for each metric: the score of each row.

    Args:
        rows: forecasts of N series beside what came true.
        names: of `METRICS`.

    Raises:
        ArgumentError: there is no such metric, or it needs more levels.

    >>> y = np.array([[1.0, 2.0], [3.0, 5.0]])
    >>> one, none = np.ones((2, 1)), np.zeros((2, 2, 0))
    >>> score(Rows(y, y > 0, np.ones((2, 2)), one, one, none, np.array([])), ["mae"])
    {'mae': array([0.5, 3. ])}
    """
    names = check_metrics(names, len(rows.levels))
    count, width = rows.y.shape
    size = max(1, _CHUNK // max(1, width * max(1, len(rows.levels))))
    scores: dict[str, Floats] = {name: np.empty(count) for name in names}
    for start in range(0, count, size):
        at = slice(start, start + size)
        part = rows.part(at)
        for name in names:
            scores[name][at] = METRICS[name].of(part)
    return scores
