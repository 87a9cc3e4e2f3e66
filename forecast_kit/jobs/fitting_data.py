"""Whether a job's folds and frequency fit its data, told before anything is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from forecast_kit.data.frequency import time_axis
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import TimeIndexError, TooShortError
from forecast_kit.jobs.config import JobConfig
from forecast_kit.jobs.sources import OpenSource

_HOUR = np.timedelta64(1, "h")  # by which a clock on the wall is put forward or back


def checked(config: JobConfig, source: OpenSource, told: dict[str, Any]) -> list[str]:
    """What is odd about the data, a sentence each.

    Args:
        config: of the job.
        source: its data.
        told: their `rows`, `series`, how many are `taken`, `first` and `last` stamp.

    Raises:
        TimeIndexError: stamps do not lie on the frequency's grid, or a series has gaps that nothing is to fill.
        TooShortError: the data are too short for the folds.
    """
    schema, whole = source.schema, told["taken"] == told["series"]
    ends = np.array([told["first"], told["last"]], None if isinstance(schema.freq, int) else "datetime64[us]")
    try:
        steps = int(_steps(schema, ends[:1], ends[1:])[0])
        _check_folds(config, told, steps + _slack(schema), even=whole)
        return [] if told["rows"] * 2 >= steps * told["series"] else _look_closely(source, even=whole)
    except TimeIndexError as error:
        if whole:
            raise
        return [str(error)]  # it may be that of a series which is not taken


def _steps(schema: PanelSchema, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """`[N]` steps from each first stamp to the last one, both included; see `_slack`."""
    if schema.zone is not None:
        return np.asarray((last - first) // _width(schema) + 1)
    axis = time_axis(schema.freq, first)
    return np.asarray(axis.steps(last) - axis.steps(first) + 1)


def _slack(schema: PanelSchema) -> int:
    """By how many steps those may be wrong: stamps of a clock that is put forward and back are not told in UTC yet."""
    return 0 if schema.zone is None else int(-(-_HOUR // _width(schema))) + 1


def _width(schema: PanelSchema) -> np.timedelta64:
    offset = to_offset(str(schema.freq))
    assert isinstance(offset, pd.offsets.Tick)  # a schema with a zone has steps of hours or less
    return pd.Timedelta(offset).to_timedelta64()


def _check_folds(config: JobConfig, told: dict[str, Any], steps: int, *, even: bool) -> None:
    """Refuses data that are too short for the folds, whichever series are how long.

    `steps` is the most that a series can have, `even` whether all of them are taken.
    """
    split, schema = config.backtest.splitter, config.data.panel_schema
    needed = split.needed + split.embargo
    asked = f"{split.folds} folds with horizon {split.horizon} take more than {needed} steps of every series"
    if steps <= needed:
        raise TooShortError(f"backtest: {asked}, and from {told['first']} to {told['last']} there are {steps} of "
                            f"freq={schema.freq!r}; lower folds or horizon")  # fmt: skip
    unfilled = schema.gaps == "error" and schema.empty_series == "error"
    if even and unfilled and split.align == "series" and told["rows"] <= needed * told["series"]:
        raise TooShortError(f"backtest: {asked}, and {told['rows']} rows of {told['series']} series are "
                            f"{told['rows'] // told['series']} each; lower folds or horizon")  # fmt: skip


def _look_closely(source: OpenSource, *, even: bool) -> list[str]:
    """What is odd about data that have less than half as many rows as the frequency would have, by each series' own."""
    schema, found = source.schema, []
    for frame in source._portions([schema.id_col, schema.time_col]):
        found.append(frame.groupby(schema.id_col, observed=True)[schema.time_col].agg(["min", "max", "count"]))
    series = pd.concat(found).groupby(level=0).agg({"min": "min", "max": "max", "count": "sum"})
    wanted = _steps(schema, series["min"].to_numpy(), series["max"].to_numpy())
    lacking = wanted - _slack(schema) - series["count"].to_numpy()
    k = int(lacking.argmax())
    text = (f"freq={schema.freq!r} has {wanted[k]} steps from {series['min'].iloc[k]} to {series['max'].iloc[k]}, and "
            f"the series {series.index[k]!r} has {series['count'].iloc[k]} rows there; state the frequency that the "
            f"data have, or what gaps mean (gaps: mask, zero, ...)")  # fmt: skip
    if even and lacking[k] > 0 and schema.gaps == "error" and not schema.future:
        raise TimeIndexError(f"data.schema: {text}")
    return [text] if (series["count"].to_numpy() * 2 < wanted).all() else []
