"""Does a forecaster know what it should not? The future is changed, and the forecasts must not change with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from forecast_kit.core.forecaster import Forecaster
from forecast_kit.core.splits import Fold, RollingOrigin
from forecast_kit.data.panel import Panel


def find_leaks(
    build: Callable[[Panel], Forecaster], panel: Panel, splitter: RollingOrigin, *, seed: int = 0
) -> pd.DataFrame:
    """The series whose forecasts depend on values that were not known at the cutoff of the first fold.

    A backtest gives forecasters the past alone. What leaks, leaks before: a scaler fitted on all data, a
    feature computed over the whole frame, a table looked up by date. So `build` gets the panel and does all
    of that, once with the data as they are, once with the target after the cutoff replaced by noise.

    Args:
        build: from the whole panel to a forecaster that is not fitted, with all that is prepared for it.
        panel: the data.
        splitter: its first fold's cutoff counts, and with an embargo what is fitted must not know those rows.
        seed: of the noise.

    Returns:
        `unique_id, kind, change`: the largest change of a forecast, where there is one. `kind` is `"future"`
        for values after the cutoff, `"embargo"` for those that fitting must not see. No rows: no leak.

    Raises:
        TooShortError: a series is too short for the folds.

    >>> from forecast_kit import Naive
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(12), "y": [1.0, 2, 3] * 4})
    >>> len(find_leaks(lambda panel: Naive(), Panel.from_frame(frame, freq=1), RollingOrigin(3)))
    0
    """
    splitter.check(panel)
    fold = splitter.fold(panel, 1)
    found = [_changes(build, panel, fold, "future", _tampered(panel, fold.history, seed), splitter)]
    if splitter.embargo:
        found.append(_changes(build, panel, fold, "embargo", _tampered(panel, fold.train, seed), splitter))
    return pd.concat(found, ignore_index=True)


def _tampered(panel: Panel, known: Panel, seed: int) -> Panel:
    """The panel with noise in place of every value that is not in `known`."""
    last = np.full(len(panel), np.iinfo(np.int64).min)
    last[panel.locate(known.ids)] = known.last
    unknown = panel.row_steps > np.repeat(last, panel.lengths)
    spread = float(np.nanstd(panel.y)) or 1.0
    noise = np.random.default_rng(seed).normal(10.0 * spread, spread, len(panel.y))
    return replace(panel, y=np.where(unknown, panel.y + noise, panel.y))


def _changes(
    build: Callable[[Panel], Forecaster], panel: Panel, fold: Fold, kind: str, other: Panel, splitter: RollingOrigin
) -> pd.DataFrame:
    """Series whose forecasts from the same history differ, when everything before saw `other` instead of `panel`."""
    changed = splitter.fold(other, 1)
    ahead = fold.gap + fold.y.shape[1]
    one, two = (
        build(whole).clone().fit(part.train).predict(ahead, history=fold.history, future=fold.future).mean
        for whole, part in ((panel, fold), (other, changed))
    )
    change = np.abs(one - two).max(axis=1)
    at = change > 1e-9 * np.maximum(1.0, np.abs(one).max(axis=1))
    return pd.DataFrame({"unique_id": fold.history.ids[at], "kind": kind, "change": change[at]})
