"""Forecasts across the steps that are missing between a series' last value and the first step to forecast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from forecast_kit.core.forecast import Forecast
from forecast_kit.core.forecaster import Forecaster
from forecast_kit.data.frequency import show_stamps
from forecast_kit.data.future import known_ahead
from forecast_kit.data.panel import Panel
from forecast_kit.errors import DataError
from forecast_kit.jobs.isolating import isolate
from forecast_kit.typing import Bools, Floats, Ints


def append_rows(panel: Panel, rows: Ints, y: Floats, future: Floats) -> Panel:
    """The panel with further rows of each series, observed, in which past covariates keep their last values.

    Args:
        panel: the series.
        rows: `[N]` how many.
        y: `[N, L]` the target in them, of which the first `rows` count.
        future: `[N, L, K]` the known-future covariates in them.

    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": list("aab"), "ds": [1, 2, 1], "y": [5.0, 6, 7]}), freq=1)
    >>> append_rows(panel, np.array([1, 2]), np.array([[1.0, 9.0], [2.0, 3.0]]), np.empty((2, 2, 0))).y
    array([5., 6., 1., 7., 2., 3.])
    """
    inside = np.arange(y.shape[1]) < rows[:, None]  # [N, L]
    owner = np.repeat(np.arange(len(panel)), rows)
    at = panel.indptr[1:][owner]  # where they go, before the next series' first row
    changes = {
        "indptr": panel.indptr + np.concatenate([[0], np.cumsum(rows)]),
        "y": np.insert(panel.y, at, y[inside]),
        "observed": np.insert(panel.observed, at, True),
        "past": np.insert(panel.past, at, panel.past[at - 1], axis=0),
        "future": np.insert(panel.future, at, future[inside], axis=0),
    }
    if panel.interpolated is not None:
        changes["interpolated"] = np.insert(panel.interpolated, at, False)
    return replace(panel, **changes)


def known_steps(panel: Panel, frame: pd.DataFrame | None, steps: int) -> tuple[Floats, dict[int, Exception]]:
    """`[N, S, K]` the known-future covariates of the steps after each series, NaN where unknown; whose are no use.

    Of two rows of the same series and stamp the last one counts.

    Args:
        panel: the series.
        frame: raw rows that tell of them; None where there is none.
        steps: S.
    """
    schema = panel.schema
    values = np.full((len(panel), steps, len(schema.future)), np.nan)
    if not schema.future or frame is None or frame.empty:
        return values, {}
    if schema.zone is None:  # else the same hour on the clock may be two
        frame = frame.drop_duplicates([schema.id_col, schema.time_col], keep="last")

    def of_some(at: Ints) -> Floats:
        part = panel.take(panel.ids[at])
        mine = frame[frame[schema.id_col].isin(part.ids)]
        return known_ahead(part, mine, steps) if len(mine) else values[at]

    try:
        return known_ahead(panel, frame, steps), {}
    except DataError:
        done, errors = isolate(len(panel), of_some)
    for at, found in done:
        values[at] = found
    return values, errors


def carry_over(panel: Panel, values: Floats, rows: Ints) -> Floats:
    """The values `[N, S, K]`, their first `rows` steps filled where the schema has a policy for missing covariates."""
    policy = panel.schema.covariate_gaps
    lacking = np.isnan(values) & (np.arange(values.shape[1]) < rows[:, None])[:, :, None]
    if policy == "error" or not lacking.any():
        return values
    if policy == "ffill":
        filled, last = values.copy(), panel.future[panel.indptr[1:] - 1]
        for step in range(int(rows.max())):
            filled[:, step] = np.where(lacking[:, step], last, values[:, step])
            last = filled[:, step]
        return filled
    # -1 is what a category has that the panel never had
    instead = np.array([-1.0 if name in panel.categories else 0.0 for name in panel.schema.future])
    return np.where(lacking, instead, values)


def unknown_covariates(panel: Panel, values: Floats, steps: Ints) -> dict[int, str]:
    """Of each series that lacks a value within its first so many steps, which is the first one, in words.

    Args:
        panel: the series.
        values: `[N, S, K]` known-future covariates, NaN where unknown.
        steps: `[N]` how many of them are needed.
    """
    lacking = ~np.isfinite(values) & (np.arange(values.shape[1]) < steps[:, None])[:, :, None]
    found = {}
    for k in np.flatnonzero(lacking.any(axis=(1, 2))).tolist():
        step, column = np.argwhere(lacking[k])[0].tolist()
        (stamp,) = show_stamps(panel.axis.stamps(panel.last[[k]] + 1 + step), panel.schema.zone)
        found[k] = f"the known-future covariate {panel.schema.future[column]!r} is missing at {stamp}"
    return found


def forecast_after(
    forecaster: Forecaster, panel: Panel, late: Ints, *, horizon: int, levels: tuple[float, ...], future: Floats
) -> Forecast:
    """The forecast of the steps that follow the missing ones after each series' last row.

    A forecaster that reaches far enough is asked for all of them at once. Otherwise its means of the missing steps
    are taken for their values, in pieces of what it reaches.

    Args:
        forecaster: fitted.
        panel: the series.
        late: `[N]` the missing steps of each.
        horizon: H, the steps after them.
        levels: quantile levels.
        future: `[N, S, K]` the known-future covariates, of `late + H` steps at least, NaN where they are not known.
    """
    steps, future = int(late.max()) + horizon, _filled(future)
    if forecaster.reach is None or forecaster.reach >= steps:
        done = forecaster.predict(steps, levels=levels, history=panel, future=future)
        at = late[:, None] + np.arange(horizon)
        return replace(
            done, ds=np.take_along_axis(done.ds, at, axis=1), mean=np.take_along_axis(done.mean, at, axis=1),
            quantiles=np.take_along_axis(done.quantiles, at[:, :, None], axis=1),
        )  # fmt: skip
    left = late.copy()
    while left.any():
        who = np.flatnonzero(left)
        piece = min(forecaster.reach, int(left.max()))
        ahead = steps_from(future, late - left, forecaster.reach)[who]
        y = np.zeros((len(panel), piece))
        y[who] = forecaster.predict(piece, history=panel.take(panel.ids[who]), future=ahead).mean
        rows = np.minimum(left, piece)
        panel = append_rows(panel, rows, y, steps_from(future, late - left, piece))
        left -= rows
    ahead = steps_from(future, late, max(horizon, forecaster.reach))
    return forecaster.predict(horizon, levels=levels, history=panel, future=ahead)


def steps_from(values: Floats, first: Ints, steps: int) -> Floats:
    """`[N, steps, K]` those of `values [N, S, K]` from a step of each series on; beyond the last one, that one."""
    at = np.minimum(first[:, None] + np.arange(steps), values.shape[1] - 1)
    return np.take_along_axis(values, at[:, :, None], axis=1)


def _filled(values: Floats) -> Floats:
    """The values `[N, S, K]`, from the first step that is not known on like the last one that is."""
    unknown: Bools = ~np.asarray(np.isfinite(values).all(axis=2), bool)
    known = np.where(unknown.any(axis=1), unknown.argmax(axis=1), values.shape[1])
    at = np.minimum(np.arange(values.shape[1]), np.maximum(known, 1)[:, None] - 1)
    return np.take_along_axis(values, at[:, :, None], axis=1)
