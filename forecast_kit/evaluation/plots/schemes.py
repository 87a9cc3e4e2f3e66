"""Diagrams of what is cut where: the folds of a splitter, the windows of a spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from forecast_kit.core.splits import Fold, RollingOrigin
from forecast_kit.data.columns import positions
from forecast_kit.data.frequency import show_stamps, wall_clock
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, name_some
from forecast_kit.evaluation.plots.style import (
    Theme,
    ThemeName,
    as_numbers,
    dress,
    legend_below,
    sheet,
    short,
    theme_of,
    time_axis,
)
from forecast_kit.typing import Floats, Ints

_SERIES = 60  # bars in a row, at most
_WINDOWS = 5  # drawn, at most
_CELLS = 60  # steps that are drawn one by one, at most


def plot_folds(
    panel: Panel,
    splitter: RollingOrigin,
    *,
    series: Sequence[Any] | None = None,
    theme: ThemeName = "light",
) -> Figure:
    r"""What each fold trains on and what it forecasts, over time: a row a fold, in it a thin bar a series.

    Training reaches up to the cutoff, the forecast from there over the horizon; later rows are not looked at. Where
    the forecasts would be too small to see, the training part is cut on the left, and the title says so.

    Args:
        panel: the data.
        splitter: the folds.
        series: ids to draw; by default all, or sixty of more, evenly chosen.
        theme: `"light"` or `"dark"`.

    Raises:
        ArgumentError: there is no such series or theme.
        TooShortError: a series is too short for the folds.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(10), "y": range(10)})
    >>> axis = plot_folds(Panel.from_frame(frame, freq=1), RollingOrigin(2, folds=2)).axes[0]
    >>> [label.get_text() for label in axis.get_yticklabels()]
    ['fold 1\ncutoff 5', 'fold 2\ncutoff 7']
    """
    look = theme_of(theme)
    total = len(panel)
    if series is None:
        series = panel.ids[np.unique(np.linspace(0, total - 1, min(total, _SERIES)).astype(int))].tolist()
    wanted = np.asarray([series] if isinstance(series, str) else list(series))
    if not len(wanted):
        raise ArgumentError("no series was chosen; name at least one")
    if (lost := positions(panel.ids, wanted) < 0).any():
        raise ArgumentError(f"series not in the panel: {name_some(wanted[lost].tolist())}")
    panel = panel.take(wanted)
    folds = list(splitter.split(panel))
    figure = sheet(look, (8.4, 1.3 + splitter.folds * (0.55 if len(panel) < 10 else 0.8)))
    axis = figure.subplots()
    last = int(panel.last.max())
    first = min(int(fold.train.start.min()) for fold in folds)
    cutoff = min(int(fold.history.last.min()) for fold in folds)
    shown = max(first, min(cutoff - 1, last - 6 * splitter.needed))
    shown = first if last - shown > 0.75 * (last - first) else shown
    for row, fold in enumerate(folds):
        _draw_fold(axis, look, panel, fold, row=row, shown=shown)
    axis.set_yticks(range(len(folds)), [_fold_label(panel, fold) for fold in folds])
    who = f"series {short(panel.ids[0])}" if len(panel) == 1 else f"{len(panel)} series"
    if 1 < len(panel) < total:
        who = f"{len(panel)} of {total} series"
    title = f"Folds of {who}: horizon {splitter.horizon}, step {splitter.step or splitter.horizon}"
    title += f", window {splitter.window}" if splitter.window else ""
    title += f", gap {splitter.gap}" if splitter.gap else ""
    title += f", embargo {splitter.embargo}" if splitter.embargo else ""
    if shown > first:
        title += f"; training goes on to the left, to {_stamp(panel, first)}"
    zone, count = panel.schema.zone, panel.axis.is_integer
    dress(axis, look, title=title, x="time (steps)" if count else f"time ({zone})" if zone else "time", grid="x")
    ends = wall_clock(panel.axis.stamps(np.array([shown, last])), zone)
    time_axis(axis, ends)
    low, high = as_numbers(ends)
    axis.set_xlim(low, high + 0.01 * (high - low))
    axis.set_ylim(len(folds) - 0.5, -0.5)
    kinds = _kinds(look, splitter)
    legend_below(figure, look, [Patch(**kinds[name]) for name in kinds], kinds)
    return figure


def _kinds(look: Theme, splitter: RollingOrigin) -> dict[str, dict[str, Any]]:
    """How each kind of steps is filled; of embargo and gap those that the splitter has."""
    kinds: dict[str, dict[str, Any]] = {"training": {"facecolor": look.seen, "lw": 0}}
    if splitter.embargo:
        kinds["embargo"] = {"facecolor": look.unseen, "edgecolor": look.seen, "hatch": "////", "lw": 0}
    if splitter.gap:
        kinds["gap"] = {"facecolor": look.unseen, "edgecolor": look.forecast, "hatch": "....", "lw": 0}
    kinds["forecast"] = {"facecolor": look.forecast, "lw": 0}
    kinds["not looked at"] = {"facecolor": look.unseen, "edgecolor": look.faint, "lw": 0.5}
    return kinds


def _draw_fold(axis: Axes, look: Theme, panel: Panel, fold: Fold, *, row: int, shown: int) -> None:
    """The bars of one fold, a series under the other, those that end first on top."""
    rank = np.empty(len(panel))
    rank[np.lexsort((panel.start, panel.last))] = np.arange(len(panel))
    height = 0.7 / len(panel)
    top = row - 0.35 + height * rank  # [N]
    thick = height * (0.85 if len(panel) < 15 else 1.0)
    _fill(axis, panel, top, thick, panel.start, panel.last, shown, facecolor=look.unseen)
    top = top[positions(panel.ids, fold.history.ids)]
    cutoff, trained = fold.history.last, fold.train.last
    judged = cutoff + fold.gap
    _fill(axis, panel, top, thick, fold.history.start, cutoff, shown, facecolor=look.unseen)
    _fill(axis, panel, top, thick, fold.train.start, trained, shown, facecolor=look.seen)
    if (trained < cutoff).any():
        _fill(axis, panel, top, thick, trained, cutoff, shown, facecolor=look.unseen, edgecolor=look.seen, hatch="////")
    if fold.gap:
        _fill(axis, panel, top, thick, cutoff, judged, shown, facecolor=look.unseen, edgecolor=look.forecast,
              hatch="....")  # fmt: skip
    _fill(axis, panel, top, thick, judged, judged + fold.y.shape[1], shown, facecolor=look.forecast)


def _fill(
    axis: Axes, panel: Panel, top: Floats, height: float, begin: Ints, end: Ints, shown: int, **fill: Any
) -> None:
    """Bars `[N]` from one step to another."""
    left, right = (as_numbers(wall_clock(panel.axis.stamps(np.maximum(edge, shown)), panel.schema.zone))
                   for edge in (begin, end))  # fmt: skip
    low = top + height
    corners = np.stack([np.stack(xy, axis=1) for xy in ((left, top), (right, top), (right, low), (left, low))], axis=1)
    bars = PolyCollection(list(corners), lw=0, antialiaseds=False, **fill)
    axis.add_collection(bars, autolim=False)


def _fold_label(panel: Panel, fold: Fold) -> str:
    cutoffs = np.unique(fold.history.last)
    return f"fold {fold.number}" + (f"\ncutoff {_stamp(panel, cutoffs[0])}" if len(cutoffs) == 1 else "")


def _stamp(panel: Panel, step: int) -> str:
    (text,) = show_stamps(panel.axis.stamps(np.array([step])), panel.schema.zone)
    return text[:16] if text.endswith(":00") and len(text) == 19 else text


def plot_windows(input_length: int, horizon: int, *, stride: int = 1, theme: ThemeName = "light") -> Figure:
    """A diagram of sliding windows: what a network sees, what it forecasts, and how a window follows another.

    The newest window is at the bottom; it ends with the series. Steps are drawn as cells where they are few.

    Args:
        input_length: steps before the cutoff, T.
        horizon: steps after it, H.
        stride: steps from one cutoff to the next.
        theme: `"light"` or `"dark"`.

    Raises:
        ArgumentError: a number is below 1, or there is no such theme.

    >>> axis = plot_windows(4, 2, stride=2).axes[0]
    >>> [label.get_text() for label in axis.get_yticklabels()][-1]
    'newest window'
    """
    look = theme_of(theme)
    for name, value in (("input_length", input_length), ("horizon", horizon), ("stride", stride)):
        if value < 1:
            raise ArgumentError(f"{name} must be at least 1, got {value}")
    figure = sheet(look, (8.4, 3.3))
    axis = figure.subplots()
    first = -(input_length + horizon + (_WINDOWS - 1) * stride) - max(1, stride // 2)
    cells = -first <= _CELLS
    _bar(axis, 0, first, 0, look.unseen, look, cells=cells)
    for row in range(1, _WINDOWS + 1):
        cutoff = -horizon - (_WINDOWS - row) * stride
        _bar(axis, row, cutoff - input_length, cutoff, look.seen, look, cells=cells)
        _bar(axis, row, cutoff, cutoff + horizon, look.forecast, look, cells=cells, hatch="///")
        axis.plot([cutoff, cutoff], [row - 0.42, row + 0.42], color=look.ink, lw=2.0)
    steps = f"{stride} steps" if stride > 1 else "1 step"
    dress(axis, look, title=f"Windows of a series, a new one every {steps}", x="steps, counted back from the end",
          grid="none")  # fmt: skip
    older = [f"{k} earlier" for k in range(_WINDOWS - 1, 0, -1)]
    axis.set_yticks(range(_WINDOWS + 1), ["series", *older, "newest window"])
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.set_xlim(first, 0.01 * -first)
    axis.set_ylim(_WINDOWS + 0.6, -0.6)
    time_axis(axis, np.array([first, 0]))
    handles = [
        Patch(facecolor=look.unseen, edgecolor=look.faint, lw=0.5), Patch(facecolor=look.seen),
        Patch(facecolor=look.forecast, hatch="///", edgecolor=look.paper), Line2D([], [], color=look.ink, lw=2.0),
    ]  # fmt: skip
    legend_below(figure, look, handles, [
        "series", f"input, {input_length} steps", f"horizon, {horizon} steps", "cutoff"])  # fmt: skip
    return figure


def _bar(axis: Axes, row: int, begin: float, end: float, color: str, look: Theme, *, cells: bool,
         hatch: str | None = None) -> None:  # fmt: skip
    """A stretch of steps, as cells or in one piece."""
    edges = np.arange(begin, end) if cells else np.array([begin])
    axis.barh([row] * len(edges), 1 if cells else end - begin, left=edges, height=0.62, align="center", color=color,
              edgecolor=look.paper, lw=0.7, hatch=hatch)  # fmt: skip
