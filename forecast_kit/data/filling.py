"""What stands where nothing was observed."""

from __future__ import annotations

import numpy as np

from forecast_kit.data.panel import Panel
from forecast_kit.typing import Bools, Floats, Ints


def carry(y: Floats, observed: Bools, indptr: Ints) -> Floats:
    """`[R]` with the last observed value carried over what is not observed, the first one carried back.

    A series without a single observed value stays as it is.

    >>> carry(np.array([9.0, 1.0, 9.0, 2.0]), np.array([False, True, False, True]), np.array([0, 4]))
    array([1., 1., 1., 2.])
    """
    if observed.all():
        return y
    rows, lengths = np.arange(len(y)), np.diff(indptr)
    last = np.maximum.accumulate(np.where(observed, rows, -1))
    first = np.repeat(np.minimum.reduceat(np.where(observed, rows, len(y)), indptr[:-1]), lengths)
    some = first < np.repeat(indptr[1:], lengths)
    return y[np.where(some, np.maximum(last, first), rows)]


def fill_by_season(panel: Panel, season_length: int) -> Floats:
    """`[R]` the target; what is not observed, by the last observed value whole seasons before it.

    Where there is none, by the last observed one, or before that the first. A series without a single
    observed value has the panel's own, which in the tail of a longer series is the last observed one.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(5), "y": [1.0, 5.0, 2.0, np.nan, np.nan]})
    >>> fill_by_season(Panel.from_frame(frame, freq=1, gaps="mask"), 2)
    array([1., 5., 2., 5., 2.])
    """
    if panel.observed.all():
        return panel.y
    y = carry(panel.y, panel.observed, panel.indptr)
    own = np.repeat(np.arange(len(panel)), panel.lengths)
    place = own * season_length + (np.arange(len(panel.y)) - panel.indptr[own]) % season_length
    order = np.argsort(place, kind="stable")
    ranked = np.arange(len(order))
    begins = np.maximum.accumulate(np.where(np.diff(place[order], prepend=-1) != 0, ranked, 0))
    last = np.maximum.accumulate(np.where(panel.observed[order], ranked, -1))
    filled = np.empty_like(y)
    filled[order] = y[order[np.where(last >= begins, last, ranked)]]
    return filled
