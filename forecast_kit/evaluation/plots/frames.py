"""What pictures need of a backtest's frame: models, series, levels, and which rows follow each other in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.core.forecast import check_levels, column_levels, level_column
from forecast_kit.errors import ArgumentError, name_some, nearest
from forecast_kit.typing import Floats


def need(frame: pd.DataFrame, columns: Iterable[str]) -> None:
    """Refuses a frame without those columns.

    Raises:
        ArgumentError: one is missing.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ArgumentError(
            f"the frame lacks the columns {name_some(missing)}; pass the frame of a backtest, or one like it"
        )
    if not len(frame):
        raise ArgumentError("the frame has no rows; pass the frame of a backtest")


def choose(frame: pd.DataFrame, column: str, wanted: Any, what: str) -> list[Any]:
    """The wanted values of a column; None for all, in the order in which they appear.

    Raises:
        ArgumentError: one is not there, or none is wanted.
    """
    known = frame[column].unique().tolist()
    if wanted is None:
        return known
    names = [wanted] if isinstance(wanted, str) or not isinstance(wanted, Iterable) else list(dict.fromkeys(wanted))
    if not names:
        raise ArgumentError(f"no {what} was chosen; name at least one, such as {name_some(known, 1)}")
    unknown = [name for name in names if name not in known]
    if unknown:
        hint = nearest(unknown[0], map(str, known)) if isinstance(unknown[0], str) else ""
        raise ArgumentError(f"unknown {what} {name_some(unknown)}; the frame has {name_some(known)}.{hint}")
    return names


def levels_of(frame: pd.DataFrame, levels: Sequence[float] | None = None) -> tuple[float, ...]:
    """The levels whose quantiles the frame holds, ascending; those asked for, if any are.

    Raises:
        ArgumentError: one that is asked for is not there.

    >>> levels_of(pd.DataFrame(columns=["mean", "q97_5", "q10", "quality"]))
    (0.1, 0.975)
    """
    known = column_levels(frame.columns)
    if levels is None:
        return known
    wanted = check_levels(levels)
    missing = [q for q in wanted if level_column(q) not in frame.columns]
    if missing:
        has = name_some(known) if known else "none"
        raise ArgumentError(f"the frame has no quantiles of level {name_some(missing)}; its levels are {has}")
    return wanted


def clock(stamps: pd.Series) -> np.ndarray:
    """Stamps without their zone, as that zone's clocks show them; numbered steps as they are."""
    return (stamps.dt.tz_localize(None) if isinstance(stamps.dtype, pd.DatetimeTZDtype) else stamps).to_numpy()


def broken(stamps: np.ndarray, values: Floats, holes: np.ndarray) -> tuple[np.ndarray, Floats]:
    """Stamps and values of a line that is interrupted before each of the places `holes`.

    >>> broken(np.array([1, 2, 7]), np.array([5.0, 6, 7]), np.array([2]))
    (array([1, 2, 7, 7]), array([ 5.,  6., nan,  7.]))
    """
    return np.insert(stamps, holes, stamps[holes]), np.insert(values, holes, np.nan)


def time_label(stamps: pd.Series) -> str:
    """What a time axis is called."""
    if isinstance(stamps.dtype, pd.DatetimeTZDtype):
        return f"time ({stamps.dtype.tz})"
    return "time" if pd.api.types.is_datetime64_any_dtype(stamps) else "time (steps)"


def freshest(rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each series and stamp of a model, sorted: of overlapping folds the latest cutoff's.

    A column `stretch` numbers runs of steps without a hole between folds, over all series.

    >>> rows = pd.DataFrame({"unique_id": "a", "ds": [2, 3, 3, 4, 6, 7], "cutoff": [1, 1, 2, 2, 5, 5]})
    >>> freshest(rows.assign(step=[1, 2] * 3))[["ds", "cutoff", "stretch"]].to_numpy().tolist()
    [[2, 1, 1], [3, 2, 1], [4, 2, 1], [6, 5, 2], [7, 5, 2]]
    """
    folds = rows.groupby(["unique_id", "cutoff"], sort=True)["ds"].agg(["min", "max"]).reset_index()
    before = folds.groupby("unique_id")["max"].shift()  # cutoffs rise, so does the end of a fold
    hole = before.isna() | (folds["cutoff"] > before)
    # Where folds begin a gap after their cutoff: further apart than neighbours are, months of 28 and 31 days allowed.
    spacing = rows.groupby(["unique_id", "cutoff"])["ds"].diff().max()
    if not pd.isna(spacing):
        hole |= folds["min"] - before > 1.5 * spacing
    folds["stretch"] = hole.cumsum()
    rows = rows.sort_values(["unique_id", "ds", "step"], kind="stable").drop_duplicates(["unique_id", "ds"])
    return rows.merge(folds[["unique_id", "cutoff", "stretch"]], on=["unique_id", "cutoff"], how="left")
