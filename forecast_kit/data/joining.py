"""Two panels of the same kind, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from forecast_kit.data.columns import positions
from forecast_kit.data.encoding import Categories, check_kind
from forecast_kit.data.panel import Panel
from forecast_kit.errors import TimeIndexError, name_some
from forecast_kit.typing import Bools, Floats


def join(panel: Panel, later: Panel) -> Panel:
    """The series of both; where both have a row of a series, that of the later panel counts.

    Args:
        panel: what is known.
        later: of each series rows that follow, and as many earlier ones as there are.

    Raises:
        TimeIndexError: a series would have a hole between the two, or end before its known rows do.
        SchemaError: categories are of another kind than the known ones.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(4), "y": [1.0, 2, 3, 4]})
    >>> join(Panel.from_frame(frame[:2], freq=1), Panel.from_frame(frame[2:], freq=1)).y
    array([1., 2., 3., 4.])
    """
    ids = np.union1d(panel.ids, later.ids)
    ours, theirs = positions(panel.ids, ids), positions(later.ids, ids)
    has, gets = ours >= 0, theirs >= 0
    begins = panel.axis.steps(later.axis.stamps(later.start))[theirs]  # [N], on the axis of the panel
    _refuse_holes(panel, later, ids, has & gets, begins, panel.last[ours])

    length = panel.lengths[ours]
    keep = np.where(has, np.where(gets, np.clip(begins - panel.start[ours], 0, length), length), 0)
    add = np.where(gets, later.lengths[theirs], 0)
    counts = np.stack([keep, add], axis=1).ravel()  # of each series first our rows, then theirs
    firsts = np.stack([panel.indptr[ours], len(panel.y) + later.indptr[theirs]], axis=1).ravel()
    rows = np.arange(counts.sum()) + np.repeat(firsts - np.cumsum(counts) + counts, counts)

    later, categories = _recoded(panel, later)
    either = np.where(gets, theirs + len(panel), ours)  # static values: the later ones, where there are any

    def joined(of: Callable[[Panel], np.ndarray]) -> np.ndarray:
        return np.concatenate([of(panel), of(later)])[rows]

    marked = panel.interpolated is not None or later.interpolated is not None
    return replace(
        panel,
        ids=ids,
        start=np.where(keep > 0, panel.start[ours], begins),
        indptr=np.concatenate([[0], np.cumsum(keep + add)]).astype(np.int64),
        y=joined(lambda p: p.y),
        observed=joined(lambda p: p.observed),
        past=joined(lambda p: p.past),
        future=joined(lambda p: p.future),
        static=np.concatenate([panel.static, later.static])[either],
        categories=categories,
        interpolated=joined(_marks) if marked else None,
    )


def _marks(panel: Panel) -> Bools:
    return np.zeros(len(panel.y), bool) if panel.interpolated is None else panel.interpolated


def _refuse_holes(
    panel: Panel, later: Panel, ids: np.ndarray, both: Bools, begins: np.ndarray, last: np.ndarray
) -> None:
    ends = begins + later.lengths[positions(later.ids, ids)] - 1
    hole, back = both & (begins > last + 1), both & (ends < last)
    if hole.any():
        first = int(np.flatnonzero(hole)[0])
        known, new = panel.axis.stamps(np.array([last[first], begins[first]])).astype(str)
        raise TimeIndexError(
            f"there are steps missing between the known rows and the new ones in series "
            f"{name_some(ids[hole].tolist())} (known up to {known}, new from {new} in the first); send every row from "
            f"the known ones on"
        )
    if back.any():
        raise TimeIndexError(
            f"the new rows end before the known ones do in series {name_some(ids[back].tolist())}; send rows that "
            f"reach further, or leave those series out"
        )


def _recoded(panel: Panel, later: Panel) -> tuple[Panel, Categories]:
    """The later panel in the codes of the first, and what those codes stand for, new values at the end."""
    categories: Categories = {}
    past, future, static = later.past.copy(), later.future.copy(), later.static.copy()
    roles = ((panel.schema.past, past), (panel.schema.future, future), (panel.schema.static, static))
    for name, values in panel.categories.items():
        theirs = later.categories[name]
        check_kind(name, values, theirs, "the new rows", "the known ones")
        known = list(dict.fromkeys([*values, *theirs]))
        categories[name] = tuple(known)
        code: Floats = np.array([known.index(value) for value in theirs], np.float64)
        for columns, array in roles:
            if name in columns:
                k = columns.index(name)
                array[:, k] = code[array[:, k].astype(np.int64)]
    return replace(later, past=past, future=future, static=static), categories
