"""Which of many series spoil a piece of work that is done for all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from forecast_kit.data.columns import check_ids
from forecast_kit.data.frequency import TimeAxis, time_axis
from forecast_kit.data.panel import Panel
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import DataError, ForecastKitError, SchemaError
from forecast_kit.typing import Ints

PROBES = 64  # items that are tried alone before all are taken to fail alike
_FEW = 256  # of which each is tried, where it must be
_REACH = 10_000  # steps of a history that the repair of stamps looks back, and no fewer than 50 seasons

T = TypeVar("T")


def isolate(size: int, attempt: Callable[[Ints], T]) -> tuple[list[tuple[Ints, T]], dict[int, Exception]]:
    """What was done, for as many items at once as will go, and the errors of the items that fail.

    Halves of what fails are tried again, down to single items; what succeeds is done once more together, so that
    what came out does not depend on where the offenders stood. Of more than 256 items, 64 that are spread over all of
    them are tried alone first: where these all fail with the same kind of error, the rest are taken to do so as well.

    Args:
        size: items, numbered from 0.
        attempt: does the work for some of them, ascending, or raises.

    Raises:
        MemoryError, ImportError: no item is to blame for those.

    >>> def inverse(at):
    ...     return [1 / k for k in at.tolist()]
    >>> isolate(3, inverse)
    ([(array([1, 2]), [1.0, 0.5])], {0: ZeroDivisionError('division by zero')})
    """
    done, errors = _halves(np.arange(size), attempt, first=True)
    if len(done) > 1:
        together = np.concatenate([at for at, _ in done])
        found = _tried(together, attempt)
        if not isinstance(found, Exception):
            done = [(together, found)]
    return done, errors


def _tried(at: Ints, attempt: Callable[[Ints], T]) -> T | Exception:
    """What came out, or the error that is about the items."""
    try:
        return attempt(at)
    except (MemoryError, ImportError):
        raise
    except Exception as error:
        return error


def _halves(
    at: Ints, attempt: Callable[[Ints], T], *, first: bool = False
) -> tuple[list[tuple[Ints, T]], dict[int, Exception]]:
    found = _tried(at, attempt)
    if not isinstance(found, Exception):
        return [(at, found)], {}
    if len(at) == 1:
        return [], {int(at[0]): found}
    if first and len(at) > _FEW:
        errors: dict[int, Exception] = {}
        for k in at[np.linspace(0, len(at) - 1, PROBES).astype(np.int64)].tolist():
            alone = _tried(np.array([k]), attempt)
            if not isinstance(alone, Exception) or type(alone) is not type(found):
                break
            errors[k] = alone
        else:
            return [], {int(k): errors.get(int(k), found) for k in at}
    left, right = (_halves(half, attempt) for half in np.array_split(at, 2))
    return left[0] + right[0], left[1] | right[1]


def one_line(error: Exception) -> str:
    """What went wrong, in one line of at most 300 characters.

    >>> one_line(ZeroDivisionError("division by zero")), one_line(DataError("no" + chr(10) + "rows"))
    ('ZeroDivisionError: division by zero', 'no rows')
    """
    text = " ".join(str(error).split())
    if not isinstance(error, ForecastKitError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


@dataclass(frozen=True, eq=False)
class Read:
    """The panels of a chunk's history.

    Attributes:
        sound: the series that are as the schema wants them; None where none is.
        repaired: the others, bent into shape for a forecast that asks for no more than values in their order; None
            where there is none.
        refused: of each of these why it was refused.
        empty: the series that have no finite value, and why they were refused.
    """

    sound: Panel | None
    repaired: Panel | None
    refused: dict[Any, str]
    empty: dict[Any, str]


def read_panels(history: pd.DataFrame, schema: PanelSchema, static: pd.DataFrame | None) -> Read:
    """The panel of the series whose data are as they should be, and one of those whose data are not.

    Args:
        history: raw rows, of series with a value each.
        schema, static: see `Panel.from_frame`.

    Raises:
        SchemaError: no series can be read, for a column is missing or of the wrong kind.
    """
    found = _whole(history, schema, static)
    if isinstance(found, Panel):
        return Read(found, None, {}, {})
    codes, ids = check_ids(history, schema)
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(len(ids) + 1))

    def rows(at: Ints) -> pd.DataFrame:
        return history.iloc[np.concatenate([order[ends[k] : ends[k + 1]] for k in at.tolist()])]

    done, errors = isolate(len(ids), lambda at: Panel.from_frame(rows(at), schema, static=static))
    if not done and isinstance(found, SchemaError):
        raise found
    sound = None
    if done:
        _, sound = max(done, key=lambda part: len(part[0]))
        for at, panel in done:
            if panel is not sound:  # each can be read by itself, but not beside the others
                errors |= dict.fromkeys(at.tolist(), found)
    refused = {ids[k].item(): one_line(error) for k, error in sorted(errors.items())}
    repaired = _repaired(rows(np.array(sorted(errors))), schema, None if sound is None else sound.axis)
    kept = set() if repaired is None else set(repaired.ids.tolist())
    empty = {name: why for name, why in refused.items() if name not in kept}
    return Read(sound, repaired, {name: why for name, why in refused.items() if name in kept}, empty)


def _whole(history: pd.DataFrame, schema: PanelSchema, static: pd.DataFrame | None) -> Panel | DataError:
    try:
        return Panel.from_frame(history, schema, static=static)
    except DataError as error:
        return error


def _repaired(rows: pd.DataFrame, schema: PanelSchema, axis: TimeAxis | None) -> Panel | None:
    """The values alone, each at the step of the grid that its stamp falls into; None where there is none at all."""
    y = pd.to_numeric(rows[schema.target_col], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    stamps = _plain_stamps(rows[schema.time_col], schema)
    there = np.isfinite(y) & ~np.isnat(stamps) if stamps.dtype.kind == "M" else np.isfinite(y)
    ids, stamps, y = rows[schema.id_col].to_numpy()[there], stamps[there], y[there]
    if not len(y):
        return None
    order = np.argsort(stamps, kind="stable")
    ids, stamps, y = ids[order], stamps[order], y[order]
    axis = time_axis(schema.freq, stamps[-1:]) if axis is None else axis
    grid = _grid(axis, stamps[-1], max(_REACH, 50 * schema.season_length))
    at = np.searchsorted(grid, stamps, side="right") - 1
    shown = pd.Series(grid[np.maximum(at, 0)])
    frame = pd.DataFrame({
        schema.id_col: ids, schema.target_col: y,
        schema.time_col: shown if schema.zone is None else shown.dt.tz_localize("UTC"),
    })[at >= 0]  # fmt: skip
    if schema.duplicates == "error":
        frame = frame.drop_duplicates([schema.id_col, schema.time_col], keep="last")
    bare = replace(schema, static=(), past=(), future=(), categorical=(), calendar=(),
                   gaps="mask" if schema.gaps == "error" else schema.gaps)  # fmt: skip
    return Panel.from_frame(frame, bare)


def _plain_stamps(column: pd.Series, schema: PanelSchema) -> np.ndarray:
    """Stamps as a panel counts them, UTC or the wall's; of an hour that the clock shows twice the first."""
    if isinstance(schema.freq, int):
        return column.to_numpy(np.int64)
    aware = isinstance(column.dtype, pd.DatetimeTZDtype)
    if schema.zone is not None and not aware:
        column = column.dt.tz_localize(schema.zone, ambiguous=np.ones(len(column), bool), nonexistent="shift_forward")
        aware = True
    if aware:
        column = column.dt.tz_convert("UTC") if schema.zone is not None else column
        column = column.dt.tz_localize(None)
    return column.to_numpy("datetime64[us]")


def _grid(axis: TimeAxis, latest: Any, back: int) -> np.ndarray:
    """The grid's stamps up to the latest, so many steps back."""
    last = 1
    while axis.stamps(np.array([last]))[0] <= latest:
        last *= 2
    grid = axis.stamps(np.arange(-last, last + 1))
    end = int(np.searchsorted(grid, latest, side="right")) - 1 - last
    return axis.stamps(np.arange(end - back, end + 1))
