"""The forecasts of a chunk of series, of which each stands or falls by itself.

A series that the model cannot forecast, or forecasts badly, gets the seasonal naive forecast, and the frame says so;
the others keep the forecasts that they would have had without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from forecast_kit.core.forecast import Forecast, check_levels, level_column
from forecast_kit.core.forecaster import Forecaster
from forecast_kit.data.columns import plain_frame
from forecast_kit.data.frequency import show_zone
from forecast_kit.data.panel import Panel
from forecast_kit.data.regularize import Audit
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, NotFittedError, check_whole
from forecast_kit.jobs.asof import AsOf, first_step, known_at
from forecast_kit.jobs.bridging import (
    append_rows,
    carry_over,
    forecast_after,
    known_steps,
    steps_from,
    unknown_covariates,
)
from forecast_kit.jobs.isolating import isolate, one_line, read_panels
from forecast_kit.jobs.sections import ForecastSection
from forecast_kit.mlflow.served import normalized
from forecast_kit.models.naive import (
    normal_quantiles,
    repeat_season,
    season_growth,
    seasonal_deviation,
    short_of_season,
)
from forecast_kit.typing import Bools, Floats, Ints

if TYPE_CHECKING:
    from forecast_kit.mlflow.served import ServedModel

_CELLS = 1 << 21  # numbers of a stand-in that are held at a time: a series may be stale by years
_SOLID = 0.01  # the share of its size that a history must range over for its range to tell anything


@dataclass(frozen=True)
class Rules:
    """What is forecast, and when a series falls back; see `ForecastSection`, whose defaults are resolved here.

    Attributes:
        horizon: steps from the as-of moment on, H.
        levels: quantile levels.
        max_delay: steps that a series' last value may lie before the as-of moment.
        stale: what becomes of series whose last value is older.
        max_range: how many times its history's range a forecast may leave it by.
    """

    horizon: int
    levels: tuple[float, ...]
    max_delay: int
    stale: Literal["fallback", "drop"] = "fallback"
    max_range: float = 10.0

    def __post_init__(self) -> None:
        check_whole("horizon", self.horizon)
        check_whole("max_delay", self.max_delay, 0)
        object.__setattr__(self, "levels", check_levels(self.levels))

    @classmethod
    def of(cls, section: ForecastSection, *, horizon: int, levels: tuple[float, ...]) -> Rules:
        """The rules that a job file's section states.

        Args:
            section: of the job file.
            horizon, levels: where it states none: those of the backtest.

        >>> Rules.of(ForecastSection(), horizon=24, levels=(0.9, 0.1))
        Rules(horizon=24, levels=(0.1, 0.9), max_delay=24, stale='fallback', max_range=10.0)
        """
        steps = section.horizon or horizon
        return cls(
            steps, levels if section.levels is None else section.levels,
            steps if section.max_delay is None else section.max_delay, section.stale, section.max_range,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class ChunkForecast:
    """What became of a chunk of series.

    Attributes:
        frame: `unique_id, ds, cutoff, model, mean, q10, ..., fallback, reason`, sorted by series and time, `horizon`
            rows of each series.
        audit: what the schema's policies repaired in its history.
        missing: the series that have no forecast, and why.
    """

    frame: pd.DataFrame
    audit: Audit
    missing: Mapping[Any, str]


def forecast_frame(
    served: ServedModel,
    frame: pd.DataFrame,
    *,
    schema: PanelSchema,
    as_of: AsOf,
    rules: Rules,
    static: pd.DataFrame | None = None,
) -> ChunkForecast:
    """The forecast of every series of the frame that has a value, of the same stamps, from the as-of moment on.

    A series whose last value lies before the last step, by up to `max_delay` steps, is forecast across the gap. Under
    the policy `gaps: zero` no row means zero, and nothing is late. Otherwise the model is asked for the missing steps
    too; where it has a fixed horizon, its own forecasts of the missing steps serve as history, and its quantiles do
    not know how unsure these were. Known-future covariates of these steps are those of the frame, or what
    `covariate_gaps` says; past ones are carried forward. `cutoff` stays the last observed stamp.

    A series that breaks is forecast by `SeasonalNaive`, fitted on its own history (by `Naive` where that is shorter
    than a season): the data of it are refused, the model fails on it or gives what is no finite number, it leaves the
    history's range by more than `max_range` times that range, its last value is too old, or known-future covariates
    are missing. The range of a history that moves by less than a hundredth of its size is taken to be that size, 1
    where all is zero. Where a chunk of more than 256 series fails, and so do 64 of its series, spread over it,
    each by itself and alike, the rest is taken to fail in the same way.

    Args:
        served: the model.
        frame: raw rows of complete series in long form; of known-future covariates also what is to come.
        schema: its columns and policies.
        as_of: everything stamped before is known.
        rules: what to forecast.
        static: a row for each series, where the schema has static covariates.

    Raises:
        SchemaError: a column is missing or of the wrong kind.
        ArgumentError: the model cannot forecast these data at all: it was fitted on other columns or another
            frequency, or has no such horizon or levels.
        MemoryError, ImportError: what no series is to blame for goes on.

    >>> from forecast_kit.mlflow import ServedModel
    >>> from forecast_kit.models.naive import Naive
    >>> data = pd.DataFrame({"unique_id": list("aab"), "ds": [1, 2, 1], "y": [5.0, 6.0, 7.0]})
    >>> model = Naive(horizon=2).fit(Panel.from_frame(data, freq=1))
    >>> served, rules = ServedModel(model, 2, ()), Rules(2, (), 1)
    >>> done = forecast_frame(served, data, schema=model.schema_, as_of=AsOf(3), rules=rules)
    >>> done.frame[["unique_id", "ds", "cutoff", "mean"]].to_numpy().tolist()
    [['a', 3, 2, 6.0], ['a', 4, 2, 6.0], ['b', 3, 1, 7.0], ['b', 4, 1, 7.0]]
    """
    forecaster = served.forecaster
    _check_fit(forecaster, schema, rules)
    frame = normalized(plain_frame(frame), schema, integer_ids=forecaster.integer_ids_,
                       categories=forecaster.categories_)  # fmt: skip
    if schema.id_col in frame.columns and not isinstance(frame[schema.id_col].dtype, pd.CategoricalDtype):
        # Text is compared once; all that follows counts series by number.
        frame[schema.id_col] = frame[schema.id_col].astype("category")
    history, future = known_at(frame, schema, as_of)
    known = history.loc[history[schema.target_col].notna(), schema.id_col].unique()
    every = frame[schema.id_col].unique()
    missing: dict[Any, str] = {}
    if len(known) < len(every):
        valued = set(known.tolist())
        missing = {name: f"it has no value before {as_of}" for name in every.tolist() if name not in valued}
        history = history[history[schema.id_col].isin(known)]
    parts: list[_Part] = []
    panels: list[Panel] = []
    if len(known):
        read = read_panels(history, schema, static)
        missing |= read.empty
        if read.sound is not None:
            panels.append(read.sound)
            parts.append(_forecast(forecaster, read.sound, future, as_of, rules))
        if read.repaired is not None:
            panels.append(read.repaired)
            parts.append(_of_refused(read.repaired, read.refused, as_of, rules))
    if rules.stale == "drop":
        for part in parts:
            missing |= dict(zip(part.ids[part.stale].tolist(), part.reason[part.stale].tolist(), strict=True))
        parts = [part.take(~part.stale) for part in parts]
    audits = [panel.audit.frame for panel in panels if len(panel.audit)]
    audit = Audit(pd.concat(audits, ignore_index=True)) if audits else Audit()
    return ChunkForecast(_frame(parts, forecaster, schema, rules), audit, missing)


def _check_fit(forecaster: Forecaster, schema: PanelSchema, rules: Rules) -> None:
    """Refuses a model that cannot forecast such data at all."""
    theirs = forecaster.schema_
    if theirs is None:
        raise NotFittedError(f"{forecaster.name} is not fitted; call fit(panel) first")
    for role in ("freq", "static", "past", "future", "categorical", "calendar"):
        if getattr(schema, role) != getattr(theirs, role):
            raise ArgumentError(
                f"the data have {role}={getattr(schema, role)!r}, but {forecaster.name} was fitted with "
                f"{role}={getattr(theirs, role)!r}; train a model on data of this schema, or correct the schema"
            )
    if forecaster.reach is not None and rules.horizon > forecaster.reach:
        raise ArgumentError(
            f"{forecaster.name} forecasts {forecaster.reach} steps ahead, {rules.horizon} are asked for; train it "
            f"with horizon={rules.horizon}, or ask for fewer"
        )


@dataclass(frozen=True, eq=False)
class _Part:
    """The forecasts of some series.

    ids, cutoff (the last observed stamp), fallback, reason and stale (whether the last value is too old) are `[N]`,
    ds and mean `[N, H]`, quantiles `[N, H, Q]`.
    """

    ids: np.ndarray
    cutoff: np.ndarray
    ds: np.ndarray
    mean: Floats
    quantiles: Floats
    fallback: np.ndarray
    reason: np.ndarray
    stale: Bools

    def take(self, rows: Bools | Ints) -> _Part:
        """Some of them."""
        return _Part(*(getattr(self, field.name)[rows] for field in fields(self)))


def _forecast(forecaster: Forecaster, panel: Panel, future: pd.DataFrame | None, as_of: AsOf, rules: Rules) -> _Part:
    """The forecasts of series whose data are as the schema wants them."""
    first = first_step(panel, as_of)
    late = first - 1 - panel.last  # [N] steps that are missing
    # Where no row means zero, nothing is ever late.
    stale: Bools = late > rules.max_delay if panel.schema.gaps != "zero" else np.zeros(len(panel), bool)
    whole = _empty(panel, first, rules, stale)
    whole.reason[:] = np.where(stale, _too_old(late, as_of, rules), "")
    fresh = np.flatnonzero(~stale)
    broken = stale.copy()
    if fresh.size:
        broken[fresh] = _by_model(forecaster, panel.take(panel.ids[fresh]), late[fresh], future, rules, whole, fresh)
    if broken.any():
        _stand_in(panel, late, np.flatnonzero(broken), rules, whole)
    return whole


def _of_refused(panel: Panel, refused: Mapping[Any, str], as_of: AsOf, rules: Rules) -> _Part:
    """The forecasts of series whose data had to be repaired."""
    first = first_step(panel, as_of)
    late = first - 1 - panel.last
    stale = late > rules.max_delay
    whole = _empty(panel, first, rules, stale)
    whole.reason[:] = np.where(stale, _too_old(late, as_of, rules), [refused[name] for name in panel.ids.tolist()])
    _stand_in(panel, late, np.arange(len(panel)), rules, whole)
    return whole


def _empty(panel: Panel, first: int, rules: Rules, stale: Bools) -> _Part:
    """A part whose forecasts are still to be written into it."""
    shape = (len(panel), rules.horizon)
    return _Part(
        panel.ids, panel.axis.stamps(panel.last),
        np.broadcast_to(panel.axis.stamps(first + np.arange(rules.horizon)), shape), np.empty(shape),
        np.empty((*shape, len(rules.levels))), np.full(len(panel), "", object), np.full(len(panel), "", object), stale,
    )  # fmt: skip


def _too_old(late: Ints, as_of: AsOf, rules: Rules) -> np.ndarray:
    """`[N]` what is to be told of series that are late by so many steps, if that is too many."""
    return np.array(
        [f"its last value lies {n} steps before {as_of}, and no more than {rules.max_delay} are bridged"
         if n > rules.max_delay else "" for n in late.tolist()], object,
    )  # fmt: skip


def _by_model(
    forecaster: Forecaster, panel: Panel, late: Ints, future: pd.DataFrame | None, rules: Rules, whole: _Part, at: Ints
) -> Bools:
    """Writes what the model forecasts, and of series that break why; `[N]` which these are.

    Args:
        forecaster: fitted.
        panel: its series.
        late: `[N]` steps that are missing.
        future: raw rows of known-future covariates.
        rules: what to forecast.
        whole: to write into.
        at: `[N]` where in it the series stand.
    """
    observed, horizon, reach = panel, rules.horizon, forecaster.reach
    of_use = max(horizon, reach or 0)
    values, errors = known_steps(panel, future, int(late.max()) + of_use)
    values = carry_over(panel, values, late)
    why = unknown_covariates(panel, values, late + horizon) | {k: one_line(error) for k, error in errors.items()}
    if panel.schema.gaps == "zero" and late.any():
        panel = append_rows(panel, late, np.zeros(values.shape[:2]), values)
        values, late = steps_from(values, late, of_use), np.zeros_like(late)
    ready = np.array([k not in why for k in range(len(panel))], bool)
    # A series is treated alike whatever the others are: on time, within reach, or to be bridged.
    far = late + horizon > reach if reach is not None else np.zeros(len(panel), bool)
    for group in map(np.flatnonzero, (ready & (late == 0), ready & (late > 0) & ~far, ready & (late > 0) & far)):

        def attempt(some: Ints, group: Ints = group) -> Forecast:
            mine = group[some]
            return forecast_after(
                forecaster, panel.take(panel.ids[mine]), late[mine], horizon=horizon, levels=rules.levels,
                future=values[mine],
            )  # fmt: skip

        done, failed = isolate(len(group), attempt) if len(group) else ([], {})
        if failed and not done:
            _refuse_call(failed, panel.ids[group])
        why |= {int(group[k]): one_line(error) for k, error in failed.items()}
        for some, forecast in done:
            mine = at[group[some]]
            whole.mean[mine], whole.quantiles[mine] = forecast.mean, forecast.quantiles
            whole.fallback[mine], whole.reason[mine] = forecast.fallback, forecast.reason
    why |= _exploded(observed, whole.take(at), np.array([k not in why for k in range(len(at))], bool), rules)
    broken = np.zeros(len(at), bool)
    for k, reason in why.items():
        broken[k] = True
        whole.reason[at[k]] = reason
    return broken


def _refuse_call(failed: Mapping[int, Exception], ids: np.ndarray) -> None:
    """Raises the error that is word for word the same for each series, and names none: it is about the call."""
    error = next(iter(failed.values()))
    same = {str(other) for other in failed.values()} == {str(error)}
    if same and isinstance(error, ArgumentError) and repr(ids[next(iter(failed))].item()) not in str(error):
        raise error


def _exploded(panel: Panel, part: _Part, made: Bools, rules: Rules) -> dict[int, str]:
    """Of each series whose forecast was made and leaves its history's range too far, what is to be told of it."""
    low = np.minimum.reduceat(np.where(panel.observed, panel.y, np.inf), panel.indptr[:-1])
    high = np.maximum.reduceat(np.where(panel.observed, panel.y, -np.inf), panel.indptr[:-1])
    size = np.maximum(np.abs(low), np.abs(high))
    size = np.where(size > 0, size, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers near the largest there are
        spread = np.where(high - low > _SOLID * size, high - low, size)
        numbers = np.concatenate([part.mean[:, :, None], part.quantiles], axis=2).reshape(len(panel), -1)
        least, most = numbers.min(axis=1), numbers.max(axis=1)
        far = made & (part.fallback == "")
        far &= (least < low - rules.max_range * spread) | (most > high + rules.max_range * spread)
    return {
        k: f"the forecast goes from {least[k]:.6g} to {most[k]:.6g}, and its history from {low[k]:.6g} to "
           f"{high[k]:.6g}: more than {rules.max_range:g} times its range beyond it"
        for k in np.flatnonzero(far).tolist()
    }  # fmt: skip


def _stand_in(panel: Panel, late: Ints, rows: Ints, rules: Rules, whole: _Part) -> None:
    """Writes the seasonal naive forecasts of some series, each from its own history, after its missing steps."""
    season, width = panel.season_length, len(rules.levels) + 2
    panel, late = panel.take(panel.ids[rows]), late[rows]
    whole.fallback[rows], _ = short_of_season(panel, season, "SeasonalNaive")
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers near the largest there are
        deviation = seasonal_deviation(panel, season)
    for lag in np.unique(late).tolist():
        steps = lag + rules.horizon
        group = np.flatnonzero(late == lag)
        for some in np.array_split(group, min(len(group), -(-len(group) * steps * width // _CELLS))):
            part = panel.take(panel.ids[some])
            mean = repeat_season(part, season, steps)[:, lag:]
            with np.errstate(over="ignore", invalid="ignore"):
                growth = deviation[some, None] * season_growth(part, season, steps)[:, lag:]
                quantiles = normal_quantiles(mean, growth, rules.levels)
            finite = np.asarray(np.isfinite(quantiles).all(axis=(1, 2)))
            whole.mean[rows[some]] = mean
            whole.quantiles[rows[some]] = np.where(finite[:, None, None], quantiles, mean[:, :, None])


def _frame(parts: list[_Part], forecaster: Forecaster, schema: PanelSchema, rules: Rules) -> pd.DataFrame:
    """The forecasts in long form, sorted by series and time."""
    time = np.empty((0, rules.horizon), np.int64 if isinstance(schema.freq, int) else "datetime64[us]")
    if not parts:
        ids = np.empty(0, np.int64 if forecaster.integer_ids_ else np.str_)
        nothing = np.empty(0, object)
        parts = [_Part(ids, time[:, 0], time, np.empty(time.shape), np.empty((*time.shape, len(rules.levels))),
                       nothing, nothing, np.empty(0, bool))]  # fmt: skip
    whole = _Part(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(_Part)))
    if len(parts) > 1:
        whole = whole.take(np.argsort(whole.ids))
    rows = np.repeat(np.arange(len(whole.ids)), rules.horizon)

    def repeated(values: np.ndarray) -> Any:
        # Text is made once a series: pandas would make it anew for every row.
        return values[rows] if values.dtype.kind in "iM" else pd.array(values, dtype="str").take(rows)

    columns: dict[str, Any] = {
        "unique_id": repeated(whole.ids),
        "ds": show_zone(whole.ds.ravel(), schema.zone),
        "cutoff": show_zone(repeated(whole.cutoff), schema.zone),
        "model": pd.array([forecaster.name], dtype="str").take(np.zeros(len(rows), np.int64)),
        "mean": whole.mean.ravel(),
    }
    columns |= {level_column(q): whole.quantiles[:, :, k].ravel() for k, q in enumerate(rules.levels)}
    return pd.DataFrame(columns | {"fallback": repeated(whole.fallback), "reason": repeated(whole.reason)})
