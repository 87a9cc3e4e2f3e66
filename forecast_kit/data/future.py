"""Known-future covariates of the steps to come: from a user's frame to arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.data import columns as cols
from forecast_kit.data.encoding import Value, check_kind
from forecast_kit.data.frequency import show_stamps
from forecast_kit.data.panel import Panel
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import DataError, SchemaError, TimeIndexError, name_some
from forecast_kit.typing import Bools, Floats

__all__ = ["split_future"]


def split_future(df: Any, schema: PanelSchema) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The rows up to each series' last target, and the rows after it that carry known-future covariates.

    One frame may hold both: history with `y`, then rows whose `y` is empty and whose covariates are
    known. The first is for `Panel.from_frame`, the second for `predict(future=...)`; it is None where the
    schema has no future covariates or no such rows.

    Args:
        df: long frame, as `Panel.from_frame` takes it.
        schema: its columns, known-future covariates among them.

    Raises:
        SchemaError: columns are missing.
        DataError: the frame has no rows.

    >>> shop = pd.DataFrame({"unique_id": "a", "ds": [1, 2, 3, 4], "y": [5.0, 9.0, None, None], "promo": [0, 1, 0, 1]})
    >>> schema = PanelSchema(freq=1, future=["promo"])
    >>> history, ahead = split_future(shop, schema)
    >>> history["ds"].tolist(), ahead["ds"].tolist()
    ([1, 2], [3, 4])
    >>> Panel.from_frame(history, schema)
    Panel(1 series, 2 rows, freq=1, 1 .. 2)
    """
    df = cols.plain_frame(df)
    cols.check_columns(df, schema)
    if not schema.future:
        return df, None
    known = df[schema.target_col].notna()
    last = df[schema.time_col].where(known).groupby(df[schema.id_col]).transform("max")
    ahead = df[schema.time_col] > last
    return df[~ahead], (df[ahead] if ahead.any() else None)


def future_values(panel: Panel, future: Any, horizon: int, *, reach: int | None = None) -> Floats:
    """`[N, R, K]` the known-future covariates of the steps to come, R the larger of horizon and reach.

    What is known after the horizon is told too: a network that looks at several steps at once forecasts the first ones
    alike, however many are asked for. From where a series' covariates are no longer known, the last ones are repeated.

    Args:
        panel: the history.
        future: a frame as `panel.future_frame` gives it, filled (more rows do no harm), or the values
            themselves `[N, H or more, K]`, categories as codes; None where the schema has no future covariates.
        horizon: steps to come, H, that must be known.
        reach: steps that are of use; by default the horizon.

    Raises:
        SchemaError, DataError: the frame is missing, or lacks columns, rows or values.
    """
    names, steps = panel.schema.future, max(horizon, reach or 0)
    if not names:
        return np.empty((len(panel), steps, 0))
    if future is None:
        raise SchemaError(
            f"the known-future covariates {name_some(names)} are needed for the next {horizon} steps; "
            f"fill the frame that panel.future_frame({horizon}) gives, and pass it as future="
        )
    if isinstance(future, np.ndarray):
        if future.ndim != 3 or future.shape[::2] != (len(panel), len(names)) or future.shape[1] < horizon:
            raise SchemaError(f"future values must have shape {(len(panel), horizon, len(names))} (series, horizon, "
                              f"covariate), got {future.shape}")  # fmt: skip
        return _repeat_last(future[:, :steps], horizon, steps)
    values = known_ahead(panel, future, steps)
    for k, name in enumerate(names):
        bad = ~np.isfinite(values[:, :horizon, k])
        if bad.any():
            raise DataError(
                f"the future frame lacks {int(bad.sum())} values of {name!r}: {_first_places(panel, bad, horizon)}"
            )
    return _repeat_last(values, horizon, steps)


def _repeat_last(values: Floats, least: int, steps: int) -> Floats:
    """`[N, steps, K]` the values `[N, S, K]` as far as all of a row are known, and at least so far; then that row."""
    if values.shape[1] == steps == least:
        return values
    unknown: Bools = ~np.asarray(np.isfinite(values[:, least:]).all(axis=2), bool)
    known = least + np.where(unknown.any(axis=1), unknown.argmax(axis=1), unknown.shape[1])
    at = np.minimum(np.arange(steps), known[:, None] - 1)
    return np.take_along_axis(values, at[:, :, None], axis=1)


def known_ahead(panel: Panel, future: Any, horizon: int) -> Floats:
    """`[N, H, K]` what a frame tells of the known-future covariates of the steps to come, NaN where it does not.

    Args:
        panel, future, horizon: see `future_values`.

    Raises:
        SchemaError, TimeIndexError: the frame lacks columns, or has two rows of one series and stamp.
    """
    names = panel.schema.future
    shape = (len(panel), horizon, len(names))
    future = cols.plain_frame(future)
    cols.check_columns(future, panel.schema, target=False)
    stamps = cols.check_times(future, panel.schema)
    at = panel.locate(future[panel.schema.id_col].to_numpy())
    mine = np.flatnonzero(at >= 0)
    lead = panel.axis.steps(stamps[mine]) - panel.last[at[mine]] - 1 if mine.size else np.empty(0, np.int64)
    inside = (lead >= 0) & (lead < horizon)
    series, lead, rows = at[mine][inside], lead[inside], mine[inside]
    seen = np.zeros(shape[:2], np.int64)
    np.add.at(seen, (series, lead), 1)
    if (seen > 1).any():
        twice = _first_places(panel, seen > 1, horizon)
        raise TimeIndexError(f"the future frame has duplicate rows: {twice}; keep one for each series and stamp")
    values = np.full(shape, np.nan)
    values[series, lead], found = cols.covariates(future.iloc[rows], names, panel.schema)
    for k, name in enumerate(names):
        if name in found:
            check_kind(name, panel.categories[name], found[name], "the future frame", "the history")
            values[:, :, k] = _recode(values[:, :, k], found[name], panel.categories[name])
    return values


def _first_places(panel: Panel, bad: Bools, horizon: int) -> str:
    """The ranges in which `bad [N, H]` is set, for the first five series."""
    stamps = panel.horizon_stamps(horizon)
    series = np.flatnonzero(bad.any(axis=1))
    ranges = [(panel.ids[k], show_stamps(stamps[k][bad[k]], panel.schema.zone)) for k in series[:5]]
    shown = ", ".join(f"{name} from {when[0]} to {when[-1]}" for name, when in ranges)
    return f"{shown} and {len(series) - 5} more series" if len(series) > 5 else shown


def _recode(codes: Floats, found: tuple[Value, ...], known: tuple[Value, ...]) -> Floats:
    """Codes into `found` as codes into `known`: -1 for what is not there, NaN as it is."""
    place = {value: float(k) for k, value in enumerate(known)}
    to = np.array([place.get(value, -1.0) for value in found] + [np.nan])
    return to[np.where(np.isnan(codes), len(found), codes).astype(np.int64)]
