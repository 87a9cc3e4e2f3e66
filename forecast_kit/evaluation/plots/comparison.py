"""Models against each other: ranks, and scores by groups of series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from forecast_kit.errors import ArgumentError, name_some, nearest
from forecast_kit.evaluation.plots.frames import need
from forecast_kit.evaluation.plots.style import Theme, ThemeName, brief, dress, sheet, short, theme_of
from forecast_kit.evaluation.scoring import METRICS

_ROWS = 80  # of a heatmap, at most


def plot_critical_difference(
    mean_ranks: Mapping[str, float],
    critical_difference: float,
    *,
    groups: Sequence[Sequence[str]] = (),
    theme: ThemeName = "light",
) -> Figure:
    """Demsar's diagram: models on the line of their mean ranks, bars over those that do not differ significantly.

    The best model is on the left. The ruler at the top is as long as the critical difference.

    Args:
        mean_ranks: of each model, 1 for the best.
        critical_difference: mean ranks that lie further apart differ significantly.
        groups: models that do not differ among themselves; a bar for each group of two or more.
        theme: `"light"` or `"dark"`.

    Raises:
        ArgumentError: fewer than two models, a rank or the difference is not a number of the kind, or a group names a
            model that has no rank.

    Source: Demsar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006, 3.2.2.

    >>> figure = plot_critical_difference({"lstm": 1.2, "ets": 1.9, "naive": 2.9}, 0.8, groups=[("lstm", "ets")])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['lstm  1.20', 'ets  1.90', 'naive  2.90', 'critical difference 0.80']
    """
    look = theme_of(theme)
    bars = _check_ranks(mean_ranks, critical_difference, groups)
    ordered = sorted(mean_ranks.items(), key=lambda item: item[1])
    low, high = 1, len(ordered)
    lanes = _lanes(bars)
    deep = 0.5 + 0.45 * (max(lanes) + 1 if lanes else 0)  # where the first name may stand
    half = (len(ordered) + 1) // 2
    figure = sheet(look, (9.0, 1.5 + 0.3 * (half + deep)))
    axis = figure.subplots()
    margin = 0.04 * (high - low)
    for k, (name, rank) in enumerate(ordered):
        left = k < half
        row = deep + (k if left else len(ordered) - 1 - k)
        edge = low - margin if left else high + margin
        axis.plot([rank, rank, edge], [0, row, row], color=look.palette[0], lw=1.1, solid_joinstyle="miter")
        axis.plot(rank, 0, marker="o", ms=5, color=look.palette[0], zorder=4)
        axis.text(edge - margin / 2 if left else edge + margin / 2, row, f"{short(name)}  {rank:.2f}",
                  ha="right" if left else "left", va="center", fontsize=9, color=look.ink)  # fmt: skip
    for (begin, end), lane in zip(bars, lanes, strict=True):
        axis.plot([begin - margin / 3, end + margin / 3], [0.4 + 0.45 * lane] * 2, color=look.palette[1], lw=4.5,
                  solid_capstyle="butt", zorder=3)  # fmt: skip
    ruler = -1.35
    axis.plot([low, low + critical_difference], [ruler] * 2, color=look.ink, lw=1.4, marker="|", ms=9)
    axis.text(low + critical_difference + margin / 2, ruler, f"critical difference {critical_difference:.2f}",
              ha="left", va="center", fontsize=9, color=look.ink)  # fmt: skip
    _rank_axis(axis, look, low, high, deep + half - 0.5)
    return figure


def _check_ranks(
    ranks: Mapping[str, float], difference: float, groups: Sequence[Sequence[str]]
) -> list[tuple[float, float]]:
    """The bars: best and worst rank of each group of two or more models."""
    if len(ranks) < 2:
        raise ArgumentError(f"ranks compare at least two models, got {len(ranks)}")
    bad = [name for name, rank in ranks.items() if not 1 <= rank <= len(ranks)]
    if bad:
        raise ArgumentError(f"mean ranks lie between 1 and the number of models; they do not for {name_some(bad)}")
    if not (math.isfinite(difference) and difference > 0):
        raise ArgumentError(f"critical_difference must be a positive number, got {difference}")
    for group in groups:
        unknown = [name for name in ([group] if isinstance(group, str) else group) if name not in ranks]
        if unknown:
            raise ArgumentError(f"a group names models without a rank: {name_some(unknown)}."
                                f"{nearest(str(unknown[0]), ranks)}")  # fmt: skip
    spans = {tuple(sorted(ranks[name] for name in group)) for group in groups if len(set(group)) > 1}
    return sorted({(span[0], span[-1]) for span in spans})


def _lanes(bars: Sequence[tuple[float, float]]) -> list[int]:
    """For each bar the first lane in which it touches none."""
    ends: list[float] = []
    lanes = []
    for begin, end in bars:
        lane = next((k for k, taken in enumerate(ends) if taken < begin), len(ends))
        ends[lane:lane + 1] = [end]  # fmt: skip
        lanes.append(lane)
    return lanes


def _rank_axis(axis: Axes, look: Theme, low: int, high: int, depth: float) -> None:
    title = "Mean ranks; a bar joins models that do not differ significantly"
    dress(axis, look, title=title, x="mean rank (1 is best)", grid="none")
    axis.xaxis.set_label_position("top")
    axis.xaxis.tick_top()
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.spines["top"].set(visible=True, position=("data", 0), color=look.ink, bounds=(low, high))
    axis.set_xticks(range(low, high + 1, 1 + (high - low) // 15))
    axis.set_yticks([])
    axis.set_ylim(depth, -1.7)


def plot_heatmap(
    scores: pd.DataFrame,
    metric: str = "mase",
    *,
    by: Mapping[Any, Any] | None = None,
    theme: ThemeName = "light",
) -> Figure:
    """The mean score of each model, a column, for each group of series, a row, with its number in the cell.

    The best of a row is bold: the smallest, of `me` and `bias` the nearest to zero, of coverage none. Colours are on
    a logarithmic scale where scores span more than a factor of eight. A dash stands where no score is defined.

    Args:
        scores: a backtest's `scores`: `model, unique_id` and the metric.
        metric: its column.
        by: the group of each series; by default each series is its own.
        theme: `"light"` or `"dark"`.

    Raises:
        ArgumentError: there is no such metric or theme, a series has no group, there are more than 80 rows, or
            not one score is defined.

    >>> scores = pd.DataFrame({"model": ["a", "b"] * 2, "unique_id": ["s", "s", "t", "t"], "mase": [1.0, 2, 3, 6]})
    >>> figure = plot_heatmap(scores, by={"s": "shops", "t": "shops"})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['2.00', '4.00']
    """
    look = theme_of(theme)
    need(scores, ("model", "unique_id"))
    known = [name for name in scores.columns if name not in ("model", "fold", "unique_id")]
    if metric not in known:
        raise ArgumentError(f"unknown metric {metric!r}; the scores have {name_some(known)}.{nearest(metric, known)}")
    groups = scores["unique_id"]
    if by is not None:
        lost = [name for name in groups.unique().tolist() if name not in by]
        if lost:
            raise ArgumentError(f"by must name the group of every series; it has none for {name_some(lost)}")
        groups = groups.map(dict(by))
    means = scores[metric].groupby([groups, scores["model"]], sort=False).mean()
    table = means.unstack()  # noqa: PD010 - pivot_table drops what is NaN throughout
    table = table[scores["model"].unique()]
    if len(table) > _ROWS:
        raise ArgumentError(f"{len(table)} rows cannot be read, {_ROWS} can; give the group of each series as by=")
    values = np.where(np.isfinite(table), table, np.nan)
    if np.isnan(values).all():
        raise ArgumentError(f"no score is defined for metric {metric!r}, there is nothing to draw")
    measure = METRICS.get(metric)
    better = measure.better if measure is not None else "smaller"
    unit = {"y": " (unit of y)", "y2": " (unit of y, squared)", "%": " (%)"}.get(measure.unit if measure else "", "")
    rows = [short(name) for name in table.index]
    columns = [short(name, 20) for name in table.columns]
    width = 1.9 + 0.075 * max(map(len, rows)) + 0.72 * len(columns)
    figure = sheet(look, (max(4.8, width), 1.6 + 0.075 * max(map(len, columns)) + 0.26 * len(rows)))
    axis = figure.subplots()
    size = np.abs(values) if better == "zero" else values  # what is coloured, and small where it is good
    low, high = np.nanmin(size), np.nanmax(size)
    norm = LogNorm(low, high) if low > 0 and high > 8 * low else Normalize(low, high if high > low else low + 1)
    image = axis.imshow(size, cmap=matplotlib.colormaps[look.colormap], norm=norm, aspect="auto")
    bold = len(columns) > 1 and better != "nominal"
    best = size == np.where(np.isnan(size), np.inf, size).min(axis=1, keepdims=True)
    for i, j in np.ndindex(*values.shape):
        ink = look.ink if np.isnan(values[i, j]) else _readable(image.cmap(norm(size[i, j])))
        axis.text(j, i, brief(float(values[i, j])), ha="center", va="center", fontsize=8, color=ink,
                  fontweight="bold" if bold and best[i, j] else "normal")  # fmt: skip
    title = f"Mean {metric} by model and {'series' if by is None else 'group'}"
    title += "\n(bold: the best of a row)" if bold else ""
    dress(axis, look, title=title, grid="none", y="series" if by is None else "group of series")
    axis.spines[["left", "bottom"]].set_visible(False)
    upright = max(map(len, columns)) < 8
    turned: dict[str, Any] = {} if upright else {"rotation": 40, "ha": "left", "rotation_mode": "anchor"}
    axis.set_xticks(range(len(columns)), columns, **turned)
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    bar = figure.colorbar(image, ax=axis, fraction=0.05, pad=0.02, aspect=30, shrink=min(1.0, 16 / len(rows)))
    _scale(bar, look, norm, f"mean {'|' + metric + '|' if better == 'zero' else metric}{unit}")
    return figure


def _scale(bar: Colorbar, look: Theme, norm: Normalize, label: str) -> None:
    """Five numbers along a colour bar, and what they are."""
    between = np.geomspace if isinstance(norm, LogNorm) else np.linspace
    ticks = between(norm.vmin or 0.0, norm.vmax or 0.0, 5)
    bar.set_ticks(list(ticks), labels=[brief(float(tick)) for tick in ticks])
    bar.minorticks_off()
    bar.set_label(label, color=look.ink, fontsize=9)
    bar.ax.tick_params(colors=look.ink, labelsize=8)
    bar.outline.set_visible(False)


def _readable(color: tuple[float, ...]) -> str:
    """Black or white, whichever stands out more from a colour (WCAG's relative luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#ffffff"
