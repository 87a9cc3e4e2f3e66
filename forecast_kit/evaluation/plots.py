"""Pictures, returned as matplotlib figures; nothing is shown or saved by side effect."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from forecast_kit.core.forecast import Forecast
from forecast_kit.data.frequency import wall_clock
from forecast_kit.data.panel import Panel, positions
from forecast_kit.errors import ArgumentError, name_some

# Okabe and Ito's colours, told apart by colour-blind readers too.
HISTORY, FORECAST, ACTUAL = "#4d4d4d", "#0072B2", "#D55E00"


def plot_forecast(
    forecast: Forecast,
    history: Panel,
    *,
    series: list[str] | None = None,
    actuals: Panel | None = None,
    tail: int = 0,
) -> Figure:
    """History, point forecast and quantile fan of a few series, one panel each.

    Args:
        forecast: what to draw.
        history: the data before it.
        series: ids to draw; by default the first four.
        actuals: what came true, if known.
        tail: steps of history to show; by default three horizons.

    Raises:
        ArgumentError: a series is not in the forecast.
    """
    names = np.asarray(series if series is not None else forecast.ids[:4])
    for place, ids in (("forecast", forecast.ids), ("history", history.ids), ("actuals", (actuals or history).ids)):
        missing = names[positions(ids, names) < 0]
        if len(missing):
            raise ArgumentError(f"series not in the {place}: {name_some(missing.tolist())}")
    at = positions(forecast.ids, names)
    recent = history.tail(tail or 3 * forecast.horizon)
    rows = len(names) if len(names) < 3 else -(-len(names) // 2)
    columns = 1 if len(names) < 3 else 2
    figure = Figure(figsize=(6.4 * columns, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[len(names) :]:
        unused.remove()
    fans = [(k, len(forecast.levels) - 1 - k) for k in range(len(forecast.levels) // 2)]
    for axis, name, k in zip(axes, names.tolist(), at, strict=False):
        (row,) = positions(recent.ids, np.asarray([name]))
        span = slice(recent.indptr[row], recent.indptr[row + 1])
        ahead, zone = wall_clock(forecast.ds[k], forecast.zone), forecast.zone
        past = np.where(recent.observed[span], recent.y[span], np.nan)
        axis.plot(
            wall_clock(recent.axis.stamps(recent.row_steps[span]), zone), past, color=HISTORY, lw=1.2, label="history"
        )
        for low, high in fans:
            share = forecast.levels[high] - forecast.levels[low]
            axis.fill_between(
                ahead, forecast.quantiles[k, :, low], forecast.quantiles[k, :, high],
                color=FORECAST, alpha=0.22, lw=0, label=f"{share:.0%} interval",
            )  # fmt: skip
        axis.plot(ahead, forecast.mean[k], color=FORECAST, lw=1.6, label=f"forecast ({forecast.model})")
        if actuals is not None:
            (row,) = positions(actuals.ids, np.asarray([name]))
            span = slice(actuals.indptr[row], actuals.indptr[row + 1])
            stamps = wall_clock(actuals.axis.stamps(actuals.row_steps[span]), zone)
            real = np.where(actuals.observed[span], actuals.y[span], np.nan)
            axis.plot(stamps, real, color=ACTUAL, lw=1.2, ls="--", label="actual")
        axis.set_title(str(name), loc="left", fontsize=10)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if not history.axis.is_integer:
            for label in axis.get_xticklabels():
                label.set_rotation(30)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    return figure
