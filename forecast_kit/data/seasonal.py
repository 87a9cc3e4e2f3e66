"""The season of each series: what repeating it would have cost, and what it looks like."""

from __future__ import annotations

import numpy as np

from forecast_kit.data.filling import fill_by_season
from forecast_kit.data.panel import Panel
from forecast_kit.typing import Bools, Floats, Ints


def seasonal_error(panel: Panel, season_length: int, *, power: int = 1) -> Floats:
    """`[N]` the mean of `|y_t - y_(t-m)| ** power` of each series, over steps where both are observed.

    NaN where a series has no such pair of steps.

    Args:
        panel: the series.
        season_length: m, in steps.
        power: 1 for the scale of MASE, 2 for the variance of a seasonal random walk.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(4), "y": [1.0, 2, 4, 7]}), freq=1)
    >>> seasonal_error(panel, 1), seasonal_error(panel, 2)
    (array([2.]), array([4.]))
    """
    m = season_length
    total: np.ndarray = np.zeros(len(panel))
    count: np.ndarray = np.zeros(len(panel))
    if len(panel.y) > m:
        owner = np.repeat(np.arange(len(panel)), panel.lengths)
        pair = (owner[m:] == owner[:-m]) & panel.observed[m:] & panel.observed[:-m]
        size = np.abs(panel.y[m:] - panel.y[:-m]) ** power
        total = np.bincount(owner[m:][pair], size[pair], len(panel))
        count = np.bincount(owner[m:][pair], minlength=len(panel)).astype(np.float64)
    return np.divide(total, count, out=np.full(len(panel), np.nan), where=count > 0)


def classical_season(panel: Panel, season_length: int, place: Ints, times: Bools) -> Floats:
    """`[N, m]` the seasonal pattern of each series by the classical decomposition, the neutral one where none is seen.

    The trend is the centred moving average over a season; the pattern is the mean of `y - trend` at each
    place in the season, less its mean over the places; or of `y / trend`, divided by its mean. Where a
    step is not observed, the trend is taken through `fill_by_season`.

    Args:
        panel: the series.
        season_length: m, in steps.
        place: `[R]` each row's place in the season, from 0 to m - 1.
        times: `[N]` where the pattern multiplies; values must be positive there.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 3.4.
    """
    m, half, lengths = season_length, season_length // 2, panel.lengths
    weights = np.full(2 * half + 1, 1.0 / m)
    weights[[0, -1]] = 1.0 / m if m % 2 else 0.5 / m
    trend = np.convolve(fill_by_season(panel, m), weights, "same")
    rows = np.arange(len(panel.y))
    first = np.minimum.reduceat(np.where(panel.observed, rows, len(rows)), panel.indptr[:-1])
    whole = (rows - half >= np.repeat(first, lengths)) & (rows + half < np.repeat(panel.indptr[1:], lengths))
    used = np.flatnonzero(whole & panel.observed)
    divide = np.repeat(times, lengths)[used]
    y, trend = panel.y[used], trend[used]
    detrended = np.where(divide, y / np.where(divide, trend, 1.0), y - trend)
    cell = (np.repeat(np.arange(len(panel)), lengths) * m + place)[used]
    count = np.bincount(cell, minlength=len(panel) * m).reshape(-1, m)
    pattern = np.bincount(cell, detrended, len(panel) * m).reshape(-1, m) / np.maximum(count, 1)
    level = pattern.sum(axis=1, keepdims=True) / np.maximum((count > 0).sum(axis=1, keepdims=True), 1)
    multiplied = np.where(count > 0, pattern / np.where(level > 0, level, 1.0), 1.0)
    return np.where(times[:, None], multiplied, np.where(count > 0, pattern - level, 0.0))
