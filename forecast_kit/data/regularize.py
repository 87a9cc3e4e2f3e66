"""From a user's long frame to sorted, gap-free rows: nothing is repaired without being asked.

Sorting alone is done silently. Every other flaw is refused with the series, the column and the
stamps that have it, unless the schema states a policy; what a policy repairs is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.data.columns import check_columns, check_ids, check_times, covariates, numbers, plain_frame
from forecast_kit.data.encoding import Categories
from forecast_kit.data.frequency import TimeAxis, show_stamps, time_axis
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import DataError, TimeIndexError, name_some
from forecast_kit.typing import Bools, Floats, Ints

__all__ = ["Audit"]


@dataclass(frozen=True, eq=False)
class Audit:
    """What was repaired, where and why. Prints as a summary; empty where nothing had to be.

    A panel has its own as `Panel.audit`; its length is the number of repaired rows.

    Attributes:
        frame: columns `unique_id`, `why`, `rows`: one row for each series and kind of repair.

    >>> from forecast_kit import Panel
    >>> frame = pd.DataFrame({"unique_id": "berlin", "ds": [1, 2, 5], "y": [7.0, 8.0, 9.0]})
    >>> audit = Panel.from_frame(frame, freq=1, gaps="mask").audit
    >>> print(audit)
    missing targets masked: 2 rows in 1 series ('berlin' 2)
    >>> len(audit), audit.frame.columns.tolist()
    (2, ['unique_id', 'why', 'rows'])
    """

    frame: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame({"unique_id": [], "why": [], "rows": np.empty(0, np.int64)})
    )

    @classmethod
    def of(cls, repairs: dict[str, tuple[np.ndarray, Ints]]) -> Audit:
        """The audit of repairs: for each kind the ids `[N]`, and the series' code of every repaired row."""
        frames = []
        for why, (ids, codes) in repairs.items():
            counts = np.bincount(codes, minlength=len(ids))
            hit = counts > 0
            frames.append(pd.DataFrame({"unique_id": ids[hit], "why": why, "rows": counts[hit]}))
        frames = [frame for frame in frames if len(frame)]
        return cls(pd.concat(frames, ignore_index=True)) if frames else cls()

    def __len__(self) -> int:
        return int(self.frame["rows"].sum())

    def __str__(self) -> str:
        if self.frame.empty:
            return "nothing was repaired"
        lines = []
        for why, part in self.frame.groupby("why", sort=False):
            most = part.sort_values("rows", ascending=False, kind="stable").head(5)
            named = ", ".join(f"{name!r} {n}" for name, n in zip(most["unique_id"], most["rows"].tolist(), strict=True))
            rest = f" and {len(part) - 5} more" if len(part) > 5 else ""
            lines.append(f"{why}: {part['rows'].sum()} rows in {len(part)} series ({named}{rest})")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a panel, sorted by series and time, one for every step.

    ids `[N]`, start `[N]` (step of each first row), indptr `[N+1]`, y `[R]`, observed `[R]`,
    past `[R, P]`, future `[R, K]`, what categorical columns hold, and where y was interpolated `[R]`
    (None where nowhere).
    """

    axis: TimeAxis
    ids: np.ndarray
    start: Ints
    indptr: Ints
    y: Floats
    observed: Bools
    past: Floats
    future: Floats
    categories: Categories
    interpolated: Bools | None
    audit: Audit


@dataclass(frozen=True, eq=False)
class _Long:
    """Rows on their way: series codes into ids, steps, target, covariates side by side, and what was repaired."""

    schema: PanelSchema
    axis: TimeAxis
    ids: np.ndarray
    codes: Ints
    steps: Ints
    y: Floats
    x: Floats
    categories: Categories
    repairs: dict[str, tuple[np.ndarray, Ints]]

    @property
    def covariates(self) -> tuple[str, ...]:
        """The names of `x`'s columns."""
        return (*self.schema.past, *self.schema.future)

    def keep(self, rows: Any) -> _Long:
        """The chosen rows alone."""
        return replace(self, codes=self.codes[rows], steps=self.steps[rows], y=self.y[rows], x=self.x[rows])

    def count(self, why: str, rows: Bools | Ints) -> None:
        """Writes down that these rows were repaired."""
        codes = self.codes[rows]
        if len(codes):
            self.repairs[why] = (self.ids, codes)


def regularize(data: Any, schema: PanelSchema) -> Rows:
    """The frame's rows, checked, sorted, and repaired where the schema asks for it.

    Args:
        data: long frame with the schema's columns, in any order of rows; pandas, or any with the
            Arrow C stream.
        schema: the columns' roles, the frequency, and the policies.

    Raises:
        SchemaError: columns are missing or hold the wrong kind of values.
        TimeIndexError: duplicates, gaps, stamps off the grid.
        DataError: no rows, infinite values, missing values, series without a value.
    """
    rows = _sort(_read(plain_frame(data), schema))
    rows = _infinite(_duplicates(rows))
    rows = _empty_series(rows)
    sizes = np.bincount(rows.codes, minlength=len(rows.ids))
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    start = rows.steps[first]
    full = rows.steps[first + sizes - 1] - start + 1
    absent = bool((full != sizes).any())
    if schema.gaps == "error":
        _refuse_gaps(rows)
        _refuse_missing(rows, {schema.target_col: rows.y}, "gaps='mask' accepts them as unobserved")
    if schema.covariate_gaps == "error":
        if absent and rows.covariates:
            _refuse_gaps(rows)
        columns = dict(zip(rows.covariates, rows.x.T, strict=True))
        _refuse_missing(rows, columns, "fill them in a way that is known at that time, or state covariate_gaps")

    indptr = np.concatenate([[0], np.cumsum(full)]).astype(np.int64)
    y, x, observed = rows.y, rows.x, np.ones(len(rows.y), bool)
    if absent:
        at = indptr[rows.codes] + rows.steps - start[rows.codes]
        y, x = _spread(y, at, indptr[-1]), _spread(x, at, indptr[-1])
    owner = np.repeat(np.arange(len(full)), full) if schema.gaps != "error" or x.size else rows.codes
    interpolated = None
    if schema.gaps != "error":
        if schema.gaps != "zero":
            start, indptr, owner, y, x = _cut_leading(rows, start, indptr, owner, y, x)
        missing = np.isnan(y)
        y, observed = _fill_target(rows, indptr, owner, y, missing)
        interpolated = missing if schema.gaps == "interpolate" and missing.any() else None
    if schema.covariate_gaps != "error" and x.size:
        x = _fill_covariates(rows, indptr, owner, x)
    p = len(schema.past)
    return Rows(
        rows.axis, rows.ids, start, indptr, y, observed, x[:, :p], x[:, p:], rows.categories, interpolated,
        Audit.of(rows.repairs),
    )  # fmt: skip


def _read(df: pd.DataFrame, schema: PanelSchema) -> _Long:
    check_columns(df, schema)
    stamps = check_times(df, schema)
    codes, ids = check_ids(df, schema)
    axis = time_axis(schema.freq, stamps)
    x, categories = covariates(df, (*schema.past, *schema.future), schema)
    return _Long(schema, axis, ids, codes, axis.steps(stamps), numbers(df, schema.target_col), x, categories, {})


def _sort(rows: _Long) -> _Long:
    codes, steps = rows.codes, rows.steps
    same = codes[1:] == codes[:-1]
    if bool(np.all((codes[1:] > codes[:-1]) | (same & (steps[1:] >= steps[:-1])))):
        return rows
    span = int(steps.max()) + 1  # steps count from the earliest stamp, so one number orders series and time
    return rows.keep(np.argsort(codes * span + steps, kind="stable"))


def _duplicates(rows: _Long) -> _Long:
    """One row for each series and step."""
    again = np.concatenate([[False], (rows.codes[1:] == rows.codes[:-1]) & (rows.steps[1:] == rows.steps[:-1])])
    if not again.any():
        return rows
    policy = rows.schema.duplicates
    if policy == "error":
        raise TimeIndexError(
            f"{int(again.sum())} duplicate time stamps: {_places(rows, np.flatnonzero(again))}. Keep one row for each "
            f"series and stamp, or state what they mean: duplicates='first', 'last', 'mean' or 'sum'"
        )
    rows.count(f"duplicates combined by {policy}", again)
    first = np.flatnonzero(~again)
    if policy == "first":
        return rows.keep(first)
    if policy == "last":
        return rows.keep(np.concatenate([first[1:], [len(again)]]) - 1)
    y, count = _sum_known(rows.y, first)
    y = y / count if policy == "mean" else y
    x = np.divide(*_sum_known(rows.x, first))
    ends = np.concatenate([first[1:], [len(again)]])
    for k, name in enumerate(rows.covariates):
        if name in rows.categories:  # they have no mean: the first one counts
            known = _first_known(np.isnan(rows.x[:, k]), np.concatenate([first, ends[-1:]]))
            x[:, k] = rows.x[np.where(known < ends, known, first), k]
    return replace(rows.keep(first), y=y, x=x)


def _sum_known(values: Floats, first: Ints) -> tuple[Floats, Floats]:
    """The sums from each first row to the next, and of how many values; empty ones are left out, NaN where all are."""
    empty = np.isnan(values)
    count = np.add.reduceat(np.where(empty, 0.0, 1.0), first)
    count[count == 0] = np.nan
    return np.where(np.isnan(count), np.nan, np.add.reduceat(np.where(empty, 0.0, values), first)), count


def _infinite(rows: _Long) -> _Long:
    """No infinite values."""
    y, x = np.isinf(rows.y), np.isinf(rows.x)
    if not (y.any() or x.any()):
        return rows
    if rows.schema.infinite == "error":
        names = (rows.schema.target_col, *rows.covariates)
        column, bad = next((c, b) for c, b in zip(names, (y, *x.T), strict=True) if b.any())
        raise DataError(
            f"column {column!r} has {int(bad.sum())} infinite values: {_places(rows, np.flatnonzero(bad))}; replace "
            f"them, or take them for missing with infinite='missing'"
        )
    rows.count("infinite values taken for missing", y | x.any(axis=1))
    return replace(rows, y=np.where(y, np.nan, rows.y), x=np.where(x, np.nan, rows.x))


def _empty_series(rows: _Long) -> _Long:
    """Only series that have at least one target value."""
    missing = np.isnan(rows.y)
    if not missing.any():
        return rows
    known = np.bincount(rows.codes[~missing], minlength=len(rows.ids)) > 0
    if known.all():
        return rows
    if rows.schema.empty_series == "error" and (rows.schema.gaps != "error"):
        raise DataError(
            f"series without a single observed value: {name_some(rows.ids[~known].tolist())}; drop them, or let "
            f"empty_series='drop' do it"
        )
    if rows.schema.empty_series == "error":
        return rows  # the first of their missing values is refused by name
    if not known.any():
        raise DataError("no series has a single observed value")
    rows.count("rows of series without a value dropped", ~known[rows.codes])
    kept = rows.keep(known[rows.codes])
    return replace(kept, ids=rows.ids[known], codes=(np.cumsum(known) - 1)[kept.codes])


def _cut_leading(
    rows: _Long, start: Ints, indptr: Ints, owner: Ints, y: Floats, x: Floats
) -> tuple[Ints, Ints, Ints, Floats, Floats]:
    """Start, indptr, owner, target and covariates from each series' first target value on.

    Before it there is nothing to fill in but what only the future knows.
    """
    first = _first_known(np.isnan(y), indptr)
    cut = first - indptr[:-1]
    if not cut.any():
        return start, indptr, owner, y, x
    leading = np.arange(len(y)) < first[owner]
    rows.repairs["missing targets before the first one cut off"] = (rows.ids, owner[leading])
    keep = ~leading
    return start + cut, indptr - np.concatenate([[0], np.cumsum(cut)]), owner[keep], y[keep], x[keep]


def _fill_target(rows: _Long, indptr: Ints, owner: Ints, y: Floats, missing: Bools) -> tuple[Floats, Bools]:
    """The target with its gaps treated, and where it counts as observed."""
    policy = rows.schema.gaps
    if not missing.any():
        return y, ~missing
    verb = {"mask": "masked", "zero": "set to 0", "ffill": "filled forward", "interpolate": "interpolated"}[policy]
    # After the last value there may be rows that were meant for the future: they are not among the gaps.
    late = np.arange(len(y)) > _last_known(missing, indptr)[owner]
    late_verb = "carried forward" if policy == "interpolate" else verb
    for why, at in (
        (f"missing targets {verb}", missing & ~late),
        (f"missing targets after the last one {late_verb}", late),
    ):
        if at.any():
            rows.repairs[why] = (rows.ids, owner[at])
    if policy == "zero":
        return np.where(missing, 0.0, y), np.ones(len(y), bool)
    index = np.arange(len(y))
    filled = y[np.maximum.accumulate(np.where(missing, -1, index))]
    if policy == "interpolate":
        after = np.minimum.accumulate(np.where(missing, len(y), index)[::-1])[::-1]
        inside = missing & (after < indptr[1:][owner])
        filled[inside] = np.interp(index[inside], index[~missing], y[~missing])
    return filled, ~missing if policy == "mask" else np.ones(len(y), bool)


def _fill_covariates(rows: _Long, indptr: Ints, owner: Ints, x: Floats) -> Floats:
    """The covariates `[R, P + K]` with their gaps filled."""
    missing = np.isnan(x)
    if not missing.any():
        return x
    ffill = rows.schema.covariate_gaps == "ffill"
    why = "missing covariates filled forward" if ffill else "missing covariates set to 0"
    rows.repairs[why] = (rows.ids, owner[missing.any(axis=1)])
    filled = x.copy()
    for k, name in enumerate(rows.covariates):
        bad = missing[:, k]
        if not ffill and name in rows.categories and bad.any():
            filled[bad, k] = len(rows.categories[name])
            rows.categories[name] = (*rows.categories[name], None)
        elif not ffill:
            filled[bad, k] = 0.0
        else:
            late = _first_known(bad, indptr) > indptr[:-1]
            if late.any():
                raise DataError(
                    f"covariate {name!r} has no value to carry forward at the beginning of series "
                    f"{name_some(rows.ids[late].tolist())}; begin them later, fill the column, or state "
                    f"covariate_gaps='zero'"
                )
            filled[:, k] = x[np.maximum.accumulate(np.where(bad, -1, np.arange(len(x)))), k]
    return filled


def _first_known(missing: Bools, indptr: Ints) -> Ints:
    """`[N]` the row of each series' first value; its end where it has none."""
    first = np.minimum.reduceat(np.where(missing, len(missing), np.arange(len(missing))), indptr[:-1])
    return np.minimum(first, indptr[1:])


def _last_known(missing: Bools, indptr: Ints) -> Ints:
    """`[N]` the row of each series' last value."""
    return np.maximum.reduceat(np.where(missing, -1, np.arange(len(missing))), indptr[:-1])


def _spread(values: Floats, at: Ints, size: int) -> Floats:
    """The rows at their places on the full grid, NaN where there is none."""
    full = np.full((size, *values.shape[1:]), np.nan)
    full[at] = values
    return full


def _refuse_gaps(rows: _Long) -> None:
    codes, steps, schema = rows.codes, rows.steps, rows.schema
    after = np.flatnonzero((codes[1:] == codes[:-1]) & (steps[1:] - steps[:-1] > 1)) + 1
    if not after.size:
        return
    missing = int((steps[after] - steps[after - 1] - 1).sum())
    first = replace(rows, codes=codes[after], steps=steps[after - 1] + 1)
    hint = (
        "Add the rows, or pass gaps='mask' to accept them as unobserved"
        if schema.gaps == "error"
        else "covariates must be known in every step: add the rows, or state covariate_gaps"
    )
    raise TimeIndexError(
        f"{missing} steps of freq={schema.freq!r} are missing in {after.size} gaps; the first missing steps: "
        f"{_places(first, np.arange(len(after)))}. {hint}"
    )


def _refuse_missing(rows: _Long, columns: dict[str, Floats], hint: str) -> None:
    for column, values in columns.items():
        bad = np.flatnonzero(np.isnan(values))
        if bad.size:
            raise DataError(f"column {column!r} has {bad.size} missing values: {_places(rows, bad)}; {hint}")


def _places(rows: _Long, at: Ints) -> str:
    """Where something is wrong, as `id at stamp`, at most five places."""
    names = rows.ids[rows.codes[at[:5]]].tolist()
    stamps = show_stamps(rows.axis.stamps(rows.steps[at[:5]]), rows.schema.zone)
    shown = ", ".join(f"{name} at {stamp}" for name, stamp in zip(names, stamps, strict=True))
    return f"{shown} and {len(at) - 5} more" if len(at) > 5 else shown
