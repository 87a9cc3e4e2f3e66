"""Whether quantiles are what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from forecast_kit.core.forecast import level_column
from forecast_kit.errors import ArgumentError
from forecast_kit.evaluation.plots.frames import choose, levels_of, need
from forecast_kit.evaluation.plots.style import ThemeName, dress, headline, legend_below, sheet, short, theme_of
from forecast_kit.typing import Floats


def plot_reliability(
    frame: pd.DataFrame,
    *,
    levels: Sequence[float] | None = None,
    models: Sequence[str] | None = None,
    theme: ThemeName = "light",
) -> Figure:
    """How often actuals lie below each quantile, against how often they should; and a PIT histogram a model.

    On the left the share of observed actuals `y <= q_p` over the level `p`: below the diagonal the quantile is too
    low. On the right, for every two neighbouring levels, the share of actuals between them over what it should be:
    1 where the forecast is calibrated, above 1 at both ends where intervals are too narrow, in the middle where they
    are too wide.

    Args:
        frame: a backtest's: `y, model` and quantiles.
        levels: which; by default all that the frame has.
        models: whose; by default all.
        theme: `"light"` or `"dark"`.

    Raises:
        ArgumentError: the frame has no quantiles, not those of a level or model that was asked for, or a model has
            no observed actual.

    Source: Gneiting, Balabdaoui and Raftery, Probabilistic forecasts, calibration and sharpness, 2007.

    >>> frame = pd.DataFrame({"model": "naive", "y": [1.0, 2, 3, 4], "q25": 2.0, "q50": 2.5, "q75": 5.0})
    >>> figure = plot_reliability(frame)
    >>> figure.axes[0].lines[1].get_ydata()
    array([0.5, 0.5, 1. ])
    >>> [float(bar.get_height()) for bar in figure.axes[1].patches]
    [2.0, 0.0, 2.0, 0.0]
    """
    look = theme_of(theme)
    need(frame, ("y", "model"))
    asked = levels_of(frame, levels)
    if not asked:
        raise ArgumentError("the frame has no quantiles; run the backtest with levels, such as (0.1, 0.5, 0.9)")
    known = frame["model"].unique().tolist()
    names = choose(frame, "model", models, "model")
    columns = 1 if len(names) < 4 else 2 if len(names) < 9 else 3
    rows = -(-len(names) // columns)
    figure = sheet(look, (5.2 + 2.5 * columns, max(4.8, 1.4 * rows + 1.2)))
    grid = figure.add_gridspec(1, 2, width_ratios=(4.6, 2.5 * columns))
    axis = figure.add_subplot(grid[0])
    handles = axis.plot([0, 1], [0, 1], color=look.faint, lw=1.0, label="calibrated")
    cells = grid[1].subgridspec(rows, columns)
    edges = np.array([0.0, *asked, 1.0])
    for k, name in enumerate(names):
        below = _below(frame[frame["model"] == name], asked, name)
        pen = look.pen(known.index(name))
        handles += axis.plot(asked, below, lw=1.5, ms=5, label=short(name), **pen)
        pit = figure.add_subplot(cells[k // columns, k % columns])
        ratio = np.diff(np.array([0.0, *below, 1.0])) / np.diff(edges)
        pit.bar(edges[:-1], ratio, np.diff(edges), align="edge", color=pen["color"], alpha=0.75,
                edgecolor=look.paper, lw=0.6)  # fmt: skip
        pit.axhline(1.0, color=look.ink, lw=1.0, ls=":")
        last = k + columns >= len(names)
        dress(pit, look, title=short(name, 24), x="level" if last else "", grid="none",
              y="actual / nominal" if rows < 4 and k % columns == 0 else "")  # fmt: skip
        pit.set_xlim(0, 1)
        pit.set_ylim(0, max(1.25, 1.1 * ratio.max()))
        pit.set_xticks([0, 0.5, 1])
        pit.tick_params(labelbottom=last)
        if rows >= 4:
            pit.title.set_fontsize(9)
    dress(axis, look, title="Share of actuals below each quantile", x="level (nominal share)", y="empirical share")
    axis.set(xlim=(0, 1), ylim=(0, 1))
    headline(
        figure,
        look,
        "Calibration; right: share of actuals between neighbouring quantiles over nominal",
    )
    legend_below(figure, look, handles, ["calibrated", *(short(name) for name in names)])
    return figure


def _below(rows: pd.DataFrame, levels: Sequence[float], name: str) -> Floats:
    """`[Q]` the share of observed actuals at or below each quantile."""
    seen = rows["y"].notna().to_numpy()
    if not seen.any():
        raise ArgumentError(f"model {name!r} has no observed actual; calibration needs some")
    quantiles = rows[[level_column(q) for q in levels]].to_numpy(float)[seen]
    return np.asarray((rows["y"].to_numpy(float)[seen, None] <= quantiles).mean(axis=0))
