"""What makes scores comparable: the same data and folds, backtests side by side, series in groups."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import pandas as pd

from forecast_kit.core.splits import RollingOrigin
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, name_some, nearest
from forecast_kit.evaluation.backtest import Backtest


def groups_of(panel: Panel, by: str) -> dict[Any, Any]:
    """Of each series its group: the value of a static covariate, or the series itself.

    Raises:
        ArgumentError: there is no such covariate.

    >>> frame = pd.DataFrame({"unique_id": ["a", "b"], "ds": 1, "y": 1.0, "region": ["north", "south"]})
    >>> groups_of(Panel.from_frame(frame, freq=1, static=("region",), categorical=("region",)), "region")
    {'a': 'north', 'b': 'south'}
    """
    table = panel.static_frame()
    id_col = panel.schema.id_col
    if by in ("unique_id", id_col):
        by = id_col
    if by not in table:
        known = ["unique_id", *panel.schema.static]
        raise ArgumentError(f"group_by names a static covariate or unique_id, and there is no {by!r}; there are "
                            f"{', '.join(known)}.{nearest(by, known)}")  # fmt: skip
    return dict(zip(panel.ids.tolist(), table[by].tolist(), strict=True))


def beside(result: Backtest, other: Backtest) -> Backtest:
    """Both backtests as one, where they are of the same folds of the same data.

    Raises:
        ArgumentError: data, folds or levels differ, or a model is in both.
    """
    twice = sorted({*result.models} & {*other.models})
    if twice:
        raise ArgumentError(f"{name_some(twice)} stand in both backtests; give each model a name of its own")
    keys, order = ["unique_id", "fold", "step"], ["unique_id", "fold"]
    actuals = [
        part.frame.drop_duplicates(keys)[[*keys, "ds", "y"]].sort_values(keys, ignore_index=True)
        for part in (result, other)
    ]
    scales = [part.scales.sort_values(order, ignore_index=True) for part in (result, other)]
    if result.levels != other.levels or not (actuals[0].equals(actuals[1]) and scales[0].equals(scales[1])):
        raise ArgumentError("the backtests are of different data, folds or levels, so their scores cannot be compared; "
                            "run both with the same panel, splitter and levels")  # fmt: skip
    return Backtest(
        pd.concat([result.frame, other.frame], ignore_index=True), result.scales,
        pd.concat([result.timings, other.timings], ignore_index=True), result.levels,
        (*result.unfinished, *other.unfinished),
    )  # fmt: skip


def trial_of(panel: Panel, splitter: RollingOrigin, metric: str) -> str:
    """16 hexadecimal digits: what two scores must have in common to be comparable, data, folds and metric."""
    return hashlib.sha256(json.dumps([panel.digest, asdict(splitter), metric]).encode()).hexdigest()[:16]
