"""What repeating the last season would have cost: the yardstick of MASE and of naive intervals."""

from __future__ import annotations

import numpy as np

from forecast_kit.data.panel import Panel
from forecast_kit.typing import Floats


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
