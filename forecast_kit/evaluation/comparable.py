"""What makes scores comparable: the same data and folds, and series in groups."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from forecast_kit.core.splits import RollingOrigin
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, nearest

__all__ = ["groups_of", "trial_of"]


def groups_of(panel: Panel, by: str) -> dict[Any, Any]:
    """Of each series its group: the value of a static covariate, or the series itself.

    Raises:
        ArgumentError: there is no such covariate.

    >>> import pandas as pd
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


def trial_of(panel: Panel, splitter: RollingOrigin, metric: str) -> str:
    """16 hexadecimal digits: what two scores must have in common to be comparable, data, folds and metric.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(9), "y": range(9)}), freq=1)
    >>> trial_of(panel, RollingOrigin(2), "mase") == trial_of(panel, RollingOrigin(2, folds=2), "mase")
    False
    """
    return hashlib.sha256(json.dumps([panel.digest, asdict(splitter), metric]).encode()).hexdigest()[:16]
