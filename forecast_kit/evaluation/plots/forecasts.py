"""Forecasts over their series: of one cutoff, and of all folds of a backtest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from forecast_kit.core.forecast import Forecast, level_column
from forecast_kit.data.columns import positions
from forecast_kit.data.frequency import wall_clock
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, name_some
from forecast_kit.evaluation.plots.frames import broken, choose, clock, freshest, levels_of, need, time_label
from forecast_kit.evaluation.plots.style import (
    Theme,
    ThemeName,
    dress,
    headline,
    legend_below,
    panels,
    short,
    theme_of,
    time_axis,
)
from forecast_kit.typing import Floats

_ALPHA = 0.22
_LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1.2)))


def plot_forecast(
    forecast: Forecast,
    history: Panel,
    *,
    series: list[str] | None = None,
    actuals: Panel | None = None,
    tail: int = 0,
    theme: ThemeName = "light",
) -> Figure:
    """History, point forecast and quantile fan of a few series, one panel each.

    Args:
        forecast: what to draw.
        history: the data before it.
        series: ids to draw; by default the first four.
        actuals: what came true, if known.
        tail: steps of history to show; by default three horizons.
        theme: `"light"` or `"dark"`.

    Raises:
        ArgumentError: a series is not in the forecast, or there is no such theme.

    >>> from forecast_kit.models.naive import Naive
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(9), "y": range(9)}), freq=1)
    >>> [axis.get_title(loc="left") for axis in plot_forecast(Naive().fit(panel).predict(2), panel).axes]
    ['a']
    """
    look = theme_of(theme)
    names = np.asarray(series if series is not None else forecast.ids[:4])
    for place, ids in (("forecast", forecast.ids), ("history", history.ids), ("actuals", (actuals or history).ids)):
        missing = names[positions(ids, names) < 0]
        if len(missing):
            raise ArgumentError(f"series not in the {place}: {name_some(missing.tolist())}")
    if not len(names):
        raise ArgumentError("no series was chosen; name at least one")
    at, zone = positions(forecast.ids, names), forecast.zone
    recent = history.tail(tail or 3 * forecast.horizon)
    figure, axes = panels(look, len(names))
    label = "time (steps)" if history.axis.is_integer else f"time ({zone})" if zone else "time"
    for axis, name, k in zip(axes, names.tolist(), at, strict=True):
        stamps, past = _rows(recent, name, zone)
        ahead = wall_clock(forecast.ds[k], zone)
        axis.plot(stamps, past, color=look.history, lw=1.2, label="history")
        fan(axis, ahead, forecast.quantiles[k], forecast.levels, color=look.forecast)
        axis.plot(ahead, forecast.mean[k], color=look.forecast, lw=1.6, label=f"forecast ({short(forecast.model)})")
        if actuals is not None:
            axis.plot(*_rows(actuals, name, zone), color=look.actual, lw=1.2, ls="--", label="actual")
        dress(axis, look, title=short(name), x=label, y=short(history.schema.target_col, 20))
        time_axis(axis, ahead, narrow=len(names) > 8)
    _legend(figure, look, *axes[0].get_legend_handles_labels())
    return figure


def _rows(panel: Panel, name: Any, zone: str | None) -> tuple[np.ndarray, Floats]:
    """The stamps of a series, and its values, NaN where unobserved."""
    (row,) = positions(panel.ids, np.asarray([name]))
    span = slice(panel.indptr[row], panel.indptr[row + 1])
    steps = panel.start[row] + np.arange(panel.lengths[row])
    return wall_clock(panel.axis.stamps(steps), zone), np.where(panel.observed[span], panel.y[span], np.nan)


def fan(axis: Axes, stamps: np.ndarray, quantiles: Floats, levels: Sequence[float], *, color: str) -> None:
    """Draws an interval for each pair of levels, the first with the last, and so on inwards.

    Args:
        axis: where to.
        stamps: `[H]`.
        quantiles: `[H, Q]`.
        levels: `[Q]` ascending.
        color: of all of them; they darken towards the middle because they lie upon each other.
    """
    for low in range(len(levels) // 2):
        high = len(levels) - 1 - low
        axis.fill_between(
            stamps, quantiles[:, low], quantiles[:, high],
            color=color, alpha=_ALPHA, lw=0, label=f"{levels[high] - levels[low]:.0%} interval",
        )  # fmt: skip


def _legend(figure: Figure, look: Theme, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """A legend in which inner intervals are as dark as they look upon the outer ones."""
    order = sorted(range(len(labels)), key=lambda k: labels[k].endswith("interval"))
    legend = legend_below(figure, look, [handles[k] for k in order], [labels[k] for k in order])
    swatches = [h for h in legend.legend_handles if isinstance(h, Patch)]
    for depth, swatch in enumerate(swatches, start=1):
        swatch.set_alpha(1 - (1 - _ALPHA) ** depth)


def plot_backtest(frame: pd.DataFrame, series: Any, *, model: str, theme: ThemeName = "light") -> Figure:
    """What came true, and over it the forecasts of all folds with their fans: one panel a series.

    Folds that overlap in time are told apart by colour and dashes. A dotted line marks each cutoff.

    Args:
        frame: a backtest's: `unique_id, ds, cutoff, step, y, model, mean` and quantiles, if any.
        series: an id, or several.
        model: whose forecasts.
        theme: `"light"` or `"dark"`.

    Raises:
        ArgumentError: there is no such series, model or theme, or the frame lacks a column.

    >>> frame = pd.DataFrame({"unique_id": "a", "ds": [3, 4, 5, 6], "cutoff": [2, 2, 4, 4], "step": [1, 2, 1, 2]})
    >>> figure = plot_backtest(frame.assign(y=1.0, model="naive", mean=1.0), "a", model="naive")
    >>> [line.get_label() for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    ['actual', 'cutoff', 'forecast']
    """
    look = theme_of(theme)
    need(frame, ("unique_id", "ds", "cutoff", "step", "y", "model", "mean"))
    (model,) = choose(frame, "model", [model], "model")
    rows = frame[frame["model"] == model]
    names = choose(rows, "unique_id", series, "series")
    levels = levels_of(frame)
    figure, axes = panels(look, len(names))
    handles: dict[str, Any] = {}
    for axis, name in zip(axes, names, strict=True):
        _draw_folds(axis, look, rows[rows["unique_id"] == name], levels)
        dress(axis, look, title=short(name), x=time_label(frame["ds"]), y="y")
        time_axis(axis, clock(frame["ds"].iloc[:1]), narrow=len(names) > 8)
        found, labels = axis.get_legend_handles_labels()
        handles = dict(zip(labels, found, strict=True)) | handles
    headline(figure, look, f"Backtest of {short(model)}")
    _legend(figure, look, list(handles.values()), list(handles))
    return figure


def _draw_folds(axis: Axes, look: Theme, rows: pd.DataFrame, levels: tuple[float, ...]) -> None:
    """The folds of one series."""
    folds = [fold.sort_values("step") for _, fold in rows.groupby("cutoff", sort=True)]
    path = freshest(rows)
    holes = np.flatnonzero(np.diff(path["stretch"])) + 1
    axis.plot(*broken(clock(path["ds"]), path["y"].to_numpy(float), holes), color=look.history, lw=1.3,
              marker="o" if len(path) < 3 else None, label="actual")  # fmt: skip
    for k, cutoff in enumerate(clock(rows["cutoff"].drop_duplicates())):
        axis.axvline(cutoff, color=look.faint, lw=0.8, ls=":", label="cutoff" if k == 0 else None)
    pens = _pens(folds, look)
    for k, fold in enumerate(folds):
        label, pen = pens[k % len(pens)]
        stamps = clock(fold["ds"])
        marker = "o" if len(stamps) == 1 else None
        axis.plot(stamps, fold["mean"], lw=1.5, marker=marker, ms=3, label=label if k < len(pens) else None, **pen)
        if len(levels) > 1:
            fan(axis, stamps, fold[[level_column(q) for q in levels]].to_numpy(float), levels, color=pen["color"])


def _pens(folds: list[pd.DataFrame], look: Theme) -> list[tuple[str, dict[str, Any]]]:
    """As many lines as folds lie upon each other, at most four, with their labels."""
    deepest = max(sum((a["cutoff"].iloc[0] >= b["cutoff"].iloc[0]) and (a["cutoff"].iloc[0] < b["ds"].iloc[-1])
                      for b in folds) for a in folds)  # fmt: skip
    count = min(deepest, len(_LINES))
    colors: Iterable[str] = (look.forecast, *(c for c in look.palette if c != look.forecast))
    lines = [{"color": color, "ls": ls} for color, ls, _ in zip(colors, _LINES, range(count), strict=False)]
    if count == 1:
        return [("forecast", lines[0])]
    return [(_told(k, count, len(folds)), line) for k, line in enumerate(lines)]


def _told(first: int, every: int, total: int) -> str:
    numbers = list(range(first + 1, total + 1, every))
    return (f"fold {numbers[0]}" if len(numbers) == 1
            else f"folds {', '.join(map(str, numbers[:3]))}{', …' if len(numbers) > 3 else ''}")  # fmt: skip
