"""Past forecasts against what has come true since: one row of scores for each series and run."""

from __future__ import annotations

import numpy as np
import pandas as pd

from forecast_kit.core.forecast import column_levels, level_column
from forecast_kit.data.panel import Panel
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.jobs.asof import AsOf, first_step
from forecast_kit.typing import Floats, Ints

SCORES = ("steps", "observed", "mae", "rmse", "bias", "mase", "naive_mae", "pinball", "coverage")


def score_run(forecasts: pd.DataFrame, panel: Panel, as_of: AsOf) -> pd.DataFrame:
    """One row for each series of a past run that the panel has, on the steps that are observed by now.

    `unique_id, model, model_version, fallback, steps, observed, mae, rmse, bias, mase, naive_mae, pinball, coverage`:
    `steps` were forecast and `observed` of them have come true; errors are actual - forecast, in the target's unit;
    `mase` divides `mae` by that of the seasonal naive method within the history before the run; `naive_mae` is the
    error of its forecast at that time on the same steps; `pinball` is the mean over steps and levels, `coverage` the
    share of values between the lowest level and the highest. What cannot be told yet is NaN.

    Args:
        forecasts: the rows of one as-of, of the table `forecasts`.
        panel: what is known now, of some or all of the series.
        as_of: of the run.

    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(8), "y": [1.0, 2, 1, 2, 1, 2, 3, 2]})
    >>> panel = Panel.from_frame(frame, freq=1, season_length=2)
    >>> said = pd.DataFrame({"unique_id": "a", "ds": [6, 7, 8], "mean": 2.0, "model": "demand",
    ...                      "model_version": "1", "fallback": ""})
    >>> row = score_run(said, panel, AsOf(6)).iloc[0]
    >>> int(row["steps"]), int(row["observed"]), float(row["mae"]), float(row["bias"]), float(row["naive_mae"])
    (3, 2, 0.5, 0.5, 1.0)
    """
    at = panel.locate(forecasts["unique_id"].to_numpy())
    rows, at = forecasts[at >= 0], at[at >= 0]
    steps = panel.axis.steps(_stamps(rows["ds"]))
    place = steps - panel.start[at]
    known = (place >= 0) & (place < panel.lengths[at])
    row = np.where(known, panel.indptr[at] + place, 0)
    known &= panel.observed[row]
    actual = np.where(known, panel.y[row], np.nan)  # [R] of the forecast's rows
    error = actual - rows["mean"].to_numpy(np.float64)
    scale, naive = _before(panel, as_of, at, steps)
    levels = column_levels(rows.columns)
    quantiles = rows[[level_column(q) for q in levels]].to_numpy(np.float64)  # [R, Q]

    def mean(values: Floats) -> Floats:
        """`[N]` over the observed steps of each series."""
        total = np.bincount(at[known], values[known], len(panel))
        return np.divide(total, observed, out=np.full(len(panel), np.nan), where=observed > 0)

    observed = np.bincount(at[known], minlength=len(panel))
    mae = mean(np.abs(error))
    scores = pd.DataFrame({
        "steps": np.bincount(at, minlength=len(panel)), "observed": observed, "mae": mae,
        "rmse": np.sqrt(mean(error**2)), "bias": mean(error),
        "mase": np.divide(mae, scale, out=np.full(len(panel), np.nan), where=scale > 0),
        "naive_mae": mean(np.abs(actual - naive)),
    })  # fmt: skip
    scores["pinball"] = mean(_pinball(actual, quantiles, levels)) if levels else np.nan
    inside = (actual >= quantiles[:, 0]) & (actual <= quantiles[:, -1]) if len(levels) > 1 else None
    scores["coverage"] = np.nan if inside is None else mean(inside.astype(np.float64))
    first = np.unique(at, return_index=True)[1]
    about = rows.iloc[first][["unique_id", "model", "model_version", "fallback"]].reset_index(drop=True)
    return pd.concat([about, scores.iloc[at[first]].reset_index(drop=True)], axis=1)


def _before(panel: Panel, as_of: AsOf, at: Ints, steps: Ints) -> tuple[Floats, Floats]:
    """`[N]` the scale of MASE before the run, and `[R]` the seasonal naive forecast that could be made then."""
    m, end = panel.season_length, first_step(panel, as_of)
    scale, naive = np.full(len(panel), np.nan), np.full(len(at), np.nan)
    has = np.flatnonzero(panel.start < end)
    if not has.size:
        return scale, naive
    history = panel.take(panel.ids[has]).before(np.full(len(has), end - 1))
    scale[has] = seasonal_error(history, m)
    where = np.full(len(panel), -1)
    where[has] = np.arange(len(has))
    mine = np.flatnonzero(where[at] >= 0)
    series, last = where[at[mine]], history.indptr[1:][where[at[mine]]] - 1
    ahead = steps[mine] - history.last[series] - 1  # 0 is the first step after the history
    back = np.where(history.lengths[series] < m, 0, m - 1 - ahead % m)
    naive[mine] = history.y[last - back]
    return scale, naive


def _pinball(actual: Floats, quantiles: Floats, levels: tuple[float, ...]) -> Floats:
    """`[R]` the quantile loss, the mean over the levels."""
    apart, q = actual[:, None] - quantiles, np.array(levels)
    return np.maximum(q * apart, (q - 1.0) * apart).mean(axis=1)


def _stamps(column: pd.Series) -> np.ndarray:
    """The stamps of a sink's rows as a panel counts them: whole numbers, or UTC where they have a zone."""
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(np.int64)
    if getattr(column.dtype, "tz", None) is not None:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return column.to_numpy("datetime64[us]")
