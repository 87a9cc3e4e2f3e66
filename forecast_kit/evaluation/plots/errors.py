"""Errors over the horizon, and residuals. Error is actual minus forecast; unobserved actuals do not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from forecast_kit.errors import ArgumentError, name_some, nearest
from forecast_kit.evaluation.plots.frames import broken, choose, clock, freshest, need, time_label
from forecast_kit.evaluation.plots.style import (
    Theme,
    ThemeName,
    dress,
    headline,
    legend_below,
    sheet,
    short,
    theme_of,
    time_axis,
)
from forecast_kit.typing import Floats

_METRICS = {"mae": "mean absolute error", "me": "mean error (actual - forecast)", "rmse": "root mean squared error"}
_BANDS = 4  # models, at most, whose bands can be told apart
_POINTS = 4000  # drawn, at most


def plot_error_by_step(
    frame: pd.DataFrame,
    metric: Literal["mae", "me", "rmse"] = "mae",
    *,
    models: Sequence[str] | None = None,
    scale: Mapping[Any, float] | None = None,
    theme: ThemeName = "light",
) -> Figure:
    """The error at each step of the horizon, a line a model, over all series and folds.

    With `e = y - mean` the line is `mean |e|`, `mean e` or `sqrt(mean e^2)` over all observed actuals of a step. Up
    to four models have a band from the lower to the upper quartile of the series, each with its own error over the
    folds. Where series differ in size the large ones make the line, which may then leave the band: give `scale`.

    Args:
        frame: a backtest's: `unique_id, step, y, model, mean`.
        metric: `"mae"`, `"me"` or `"rmse"`.
        models: whose; by default all.
        scale: for each series what its errors are divided by, such as its seasonal error or its mean.
        theme: `"light"` or `"dark"`.

    Raises:
        ArgumentError: there is no such metric, model or theme, the frame lacks a column, or a series has no
            positive scale.

    >>> frame = pd.DataFrame({"unique_id": "a", "step": [1, 2], "y": [1.0, 5.0], "model": "naive", "mean": [2.0, 2.0]})
    >>> plot_error_by_step(frame).axes[0].lines[0].get_ydata()
    array([1., 3.])
    """
    look = theme_of(theme)
    if metric not in _METRICS:
        raise ArgumentError(f"unknown metric {metric!r}; there are {', '.join(_METRICS)}.{nearest(metric, _METRICS)}")
    need(frame, ("unique_id", "step", "y", "model", "mean"))
    known = frame["model"].unique().tolist()
    names = choose(frame, "model", models, "model")
    error = frame["y"] - frame["mean"]
    if scale is not None:
        each = frame["unique_id"].map(pd.Series(dict(scale), dtype=float))
        bad = frame["unique_id"][~(np.isfinite(each) & (each > 0))].unique().tolist()
        if bad:
            raise ArgumentError(f"scale must have a positive number for every series; it has none for {name_some(bad)}")
        error = error / each
    powered = error.abs() if metric == "mae" else error**2 if metric == "rmse" else error
    several = len(frame["unique_id"].unique()) > 1
    figure = sheet(look, (7.4, 4.0 + 0.1 * len(names)))
    axis = figure.subplots()
    handles: list[Artist] = []
    if metric == "me":
        axis.axhline(0.0, color=look.faint, lw=1.0)
    for name in names:
        rows = frame["model"] == name
        step, pen = frame["step"][rows], look.pen(known.index(name))
        line = _root(powered[rows].groupby(step).mean(), metric)
        every = max(1, len(line) // 12)
        handles += axis.plot(line.index, line, lw=1.6, ms=4.5, markevery=every, label=short(name), **pen)
        if several and len(names) <= _BANDS:
            own = _root(powered[rows].groupby([step, frame["unique_id"][rows]]).mean(), metric)
            quartiles = own.groupby(level=0)
            low, high = quartiles.quantile(0.25), quartiles.quantile(0.75)
            axis.fill_between(line.index, low, high, color=pen["color"], alpha=0.16, lw=0)
    unit = "in units of the series' scale" if scale is not None else "in the unit of y"
    dress(axis, look, title="Error by step of the horizon", x="step of the horizon", y=f"{_METRICS[metric]},\n{unit}")
    axis.margins(x=0.02)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    if metric != "me":
        axis.set_ylim(bottom=0.0)
    labels = [short(name) for name in names]  # matplotlib itself leaves out those that begin with an underscore
    if several and len(names) <= _BANDS:
        handles.append(Patch(color=look.faint, alpha=0.3, lw=0))
        labels.append("quartiles over series")
    legend_below(figure, look, handles, labels)
    return figure


def _root(values: pd.Series, metric: str) -> pd.Series:
    return values**0.5 if metric == "rmse" else values


def plot_residuals(frame: pd.DataFrame, model: str, *, series: Any = None, theme: ThemeName = "light") -> Figure:
    """The residuals of a model four times: over time, their autocorrelation, their histogram, their quantiles.

    A residual is actual minus forecast; of folds that overlap the latest cutoff's counts. With more than one series
    each is divided by the standard deviation of its own residuals. The histogram has the normal density of the
    same mean and standard deviation over it, the quantiles stand against those of a standard normal.

    Autocorrelation: `r_k = sum (e_t - m)(e_(t+k) - m) / sum (e_t - m)^2`, where `m` is the mean of a series and pairs
    are of the same series without a hole between folds; limits `+- 1.96 / sqrt(n)`. Within one fold the errors of
    neighbouring steps are correlated even where the forecast cannot be improved; only folds of horizon 1 are to lie
    within the limits.

    Args:
        frame: a backtest's: `unique_id, ds, cutoff, step, y, model, mean`.
        model: whose residuals.
        series: an id, or several; by default all.
        theme: `"light"` or `"dark"`.

    Raises:
        ArgumentError: there is no such model, series or theme, the frame lacks a column, or fewer than two
            actuals are observed.

    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(4), "cutoff": -1, "step": range(1, 5), "model": "naive"})
    >>> figure = plot_residuals(frame.assign(y=[1.0, 2, 3, 5], mean=2.0), "naive")
    >>> figure.axes[0].lines[0].get_ydata()
    array([-1.,  0.,  1.,  3.])
    """
    look = theme_of(theme)
    need(frame, ("unique_id", "ds", "cutoff", "step", "y", "model", "mean"))
    (model,) = choose(frame, "model", [model], "model")
    rows = frame[frame["model"] == model]
    names = choose(rows, "unique_id", series, "series")
    rows = freshest(rows[rows["unique_id"].isin(names)])
    error = (rows["y"] - rows["mean"]).to_numpy(float)
    if np.isfinite(error).sum() < 2:
        raise ArgumentError(f"residuals need at least two observed actuals; {model!r} has {np.isfinite(error).sum()}")
    own = pd.Series(error).groupby(rows["unique_id"].to_numpy())
    centre, spread = own.transform("mean").to_numpy(), own.transform("std", ddof=0).to_numpy()
    flat = ~(spread > 1e-12 * np.abs(error[np.isfinite(error)]).max())  # no variation but rounding
    if len(names) > 1:
        error = np.where(flat, np.nan, error / np.where(flat, 1.0, spread))
        centre = np.where(flat, np.nan, centre / np.where(flat, 1.0, spread))
        if not np.isfinite(error).any():
            raise ArgumentError(f"the residuals of {model!r} do not vary in any of these series; draw one at a time")
    unit = "residual / its series' std. dev." if len(names) > 1 else "residual (unit of y)"
    figure = sheet(look, (9.6, 6.6))
    over_time, correlation, histogram, quantiles = figure.subplots(2, 2).ravel()
    _over_time(over_time, look, rows, error, unit)
    _correlogram(correlation, look, error - centre, rows["stretch"].to_numpy())
    seen = error[np.isfinite(error)]
    _histogram(histogram, look, seen, unit)
    _normal_quantiles(quantiles, look, seen, unit)
    who = f"series {short(names[0])}" if len(names) == 1 else f"{len(names)} series"
    headline(figure, look, f"Residuals of {short(model)}, {who}")
    found = [axis.get_legend_handles_labels() for axis in figure.axes]
    legend_below(figure, look, [h for handles, _ in found for h in handles], [t for _, texts in found for t in texts])
    return figure


def _over_time(axis: Axes, look: Theme, rows: pd.DataFrame, error: Floats, unit: str) -> None:
    stamps = clock(rows["ds"])
    if len(rows["unique_id"].unique()) == 1:
        holes = np.flatnonzero(np.diff(rows["stretch"])) + 1
        axis.plot(*broken(stamps, error, holes), color=look.forecast, lw=0.9, marker=".", ms=4)
    else:
        thin = np.unique(np.linspace(0, len(error) - 1, _POINTS).astype(int))
        axis.plot(stamps[thin], error[thin], ls="", marker=".", ms=3, alpha=0.35, color=look.forecast)
        middle = pd.Series(error).groupby(stamps).median()
        line = middle.index.to_numpy(), middle.to_numpy(float)
        apart = np.diff(line[0])
        holes = np.flatnonzero(apart > 4 * apart.min()) + 1 if len(apart) else np.empty(0, int)
        axis.plot(*broken(*line, holes), color=look.actual, lw=1.4, label="median of the series")
    axis.axhline(0.0, color=look.faint, lw=1.0, zorder=1)
    dress(axis, look, title="Over time", x=time_label(rows["ds"]), y=unit)
    time_axis(axis, stamps)


def autocorrelation(centred: Floats, stretch: np.ndarray, lags: int) -> Floats:
    """`[lags + 1]` the autocorrelation of centred values `[R]`; NaN is unobserved, stretches are apart.

    >>> autocorrelation(np.array([1.0, -1, 1, -1]), np.zeros(4), 2)
    array([ 1.  , -0.75,  0.5 ])
    """
    values = np.where(np.isfinite(centred), centred, 0.0)
    total = (values**2).sum()
    sums = [(values[k:] * values[: len(values) - k])[stretch[k:] == stretch[: len(values) - k]].sum()
            for k in range(lags + 1)]  # fmt: skip
    return np.array(sums) / total


def _correlogram(axis: Axes, look: Theme, centred: Floats, stretch: np.ndarray) -> None:
    count = int(np.isfinite(centred).sum())
    longest = int(np.unique(stretch, return_counts=True)[1].max())
    dress(axis, look, title="Autocorrelation", x="lag (steps)", y="correlation")
    axis.axhline(0.0, color=look.faint, lw=1.0)
    lags = min(40, longest - 1)
    if lags < 1 or not np.nansum(centred**2) > 0:
        axis.text(0.5, 0.6, "not defined: no two neighbours,\nor no variation", transform=axis.transAxes, ha="center",
                  color=look.ink, fontsize=9)  # fmt: skip
        return
    r = autocorrelation(centred, stretch, lags)[1:]
    at = np.arange(1, lags + 1)
    limit = 1.96 / np.sqrt(count)
    axis.axhspan(-limit, limit, color=look.actual, alpha=0.2, lw=0, label="95% limits of white noise")
    axis.vlines(at, 0.0, r, color=look.forecast, lw=1.4)
    axis.plot(at, r, ls="", marker="o", ms=3.5, color=look.forecast)
    axis.set_ylim(min(-0.3, 1.15 * r.min(), -1.3 * limit), max(0.3, 1.15 * r.max(), 1.3 * limit))
    axis.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))


def _histogram(axis: Axes, look: Theme, seen: Floats, unit: str) -> None:
    count = len(np.histogram_bin_edges(seen, "fd")) - 1 if len(seen) < 1_000_000 else 60
    axis.hist(seen, bins=int(np.clip(count, 5, 60)), density=True, color=look.forecast, alpha=0.55,
              edgecolor=look.paper, lw=0.5)  # fmt: skip
    mean, spread = float(seen.mean()), float(seen.std())
    if spread > 0:
        x = np.linspace(min(seen.min(), mean - 3 * spread), max(seen.max(), mean + 3 * spread), 200)
        density = np.exp(-0.5 * ((x - mean) / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
        axis.plot(x, density, color=look.actual, lw=1.5, ls="--", label="normal, same mean and std. dev.")
    dress(axis, look, title="Histogram", x=unit, y="density", grid="y")


def _normal_quantiles(axis: Axes, look: Theme, seen: Floats, unit: str) -> None:
    count = min(len(seen), 400)
    share = (np.arange(count) + 0.5) / count
    z = np.array([NormalDist().inv_cdf(p) for p in share])
    found = np.sort(seen) if count == len(seen) else np.quantile(seen, share)
    axis.plot(z, seen.mean() + seen.std() * z, color=look.actual, lw=1.5, ls="--",
              label="normal, same mean and std. dev.")  # fmt: skip
    axis.plot(z, found, ls="", marker="o", ms=3, alpha=0.7, color=look.forecast)
    dress(axis, look, title="Quantiles against the normal distribution", x="standard normal quantile", y=unit)
