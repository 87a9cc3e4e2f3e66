"""Forecasts from elsewhere - another program, an older model, a planner - judged as a backtest's are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.core.forecast import column_levels, level_column
from forecast_kit.data import columns as cols
from forecast_kit.data.frequency import show_zone
from forecast_kit.data.panel import Panel
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.errors import DataError, SchemaError, name_some, nearest
from forecast_kit.evaluation.backtest import Backtest
from forecast_kit.typing import Floats, Ints


def judge(forecasts: Any, panel: Panel) -> Backtest:
    """The forecasts beside what came true, as a `Backtest`: scores, leaderboard, tests and pictures follow.

    Args:
        forecasts: a frame with the panel's id and time columns, or `unique_id` and `ds` as in
            `Forecast.to_frame()`, `mean`, and where there are any `model`,
            `cutoff` (the last stamp that was known) and quantiles `q10, q90, ...`. Without `model` all are one
            forecaster's. Without `cutoff` each model forecast once, after the stamp before its first. A series'
            cutoffs are numbered from the earliest: they are its folds.
        panel: history and what came true. Steps that are not in it, or not observed, count in no score.

    Raises:
        SchemaError: a column is missing or of the wrong type.
        DataError: a series is unknown, a step is missing or there twice, or models forecast different series.

    >>> history = pd.DataFrame({"unique_id": "a", "ds": range(5), "y": [1.0, 3, 1, 3, 1]})
    >>> mine = pd.DataFrame({"unique_id": "a", "ds": [3, 4], "mean": [3.0, 2.0]})
    >>> judge(mine, Panel.from_frame(history, freq=1)).leaderboard()[["model", "mase", "mae"]]
          model  mase  mae
    0  forecast  0.25  0.5
    """
    frame = _read(forecasts, panel)
    schema = panel.schema
    at = panel.locate(frame[schema.id_col].to_numpy())
    if (at < 0).any():
        unknown = frame.loc[at < 0, schema.id_col].unique().tolist()
        raise DataError(f"the panel has no series {name_some(unknown)}, which are forecast; judge the others alone, or "
                        "bring their history")  # fmt: skip
    steps = panel.axis.steps(cols.check_times(frame, schema))
    model, models = pd.factorize(frame["model"])
    if "cutoff" in frame:
        cut = panel.axis.steps(cols.check_times(frame.assign(**{schema.time_col: frame["cutoff"]}), schema))
    else:
        cut = pd.Series(steps).groupby([model, at]).transform("min").to_numpy() - 1
    fold = pd.Series(cut).groupby(at).rank("dense").to_numpy().astype(np.int64)
    order = np.lexsort((steps, at, model, fold))
    frame = frame.iloc[order]
    at, steps, cut, fold, model = at[order], steps[order], cut[order], fold[order], model[order]
    _check_complete(frame, panel, at, steps - cut, fold, model)
    table = _table(frame, panel, at, steps, cut, fold)
    timings = table[["model", "fold"]].drop_duplicates().assign(fit_s=np.nan, predict_s=np.nan, size_mb=np.nan)
    pairs = set(zip(timings["model"], timings["fold"], strict=True))
    unfinished = tuple(
        (str(name), k) for k in range(1, int(fold.max()) + 1) for name in models if (name, k) not in pairs
    )
    levels = column_levels(frame.columns)
    return Backtest(table, _scales(panel, at, cut, fold), timings.reset_index(drop=True), levels, unfinished)


def _read(forecasts: Any, panel: Panel) -> pd.DataFrame:
    """The frame, with the panel's names of series and stamps, and with a model in each row."""
    frame = cols.plain_frame(forecasts)
    have = [str(name) for name in frame.columns]
    schema = panel.schema
    for column, usual in ((schema.id_col, "unique_id"), (schema.time_col, "ds"), ("mean", "mean")):
        if column in have:
            continue
        if usual not in have:  # what forecasts of this package say, whatever the panel does
            either = repr(column) if usual == column else f"{column!r} or {usual!r}"
            raise SchemaError(f"forecasts have no column {either}; they have {', '.join(have)}."
                              f"{nearest(column, have)}")  # fmt: skip
        frame = frame.rename(columns={usual: column})
    if frame.empty:
        raise DataError("there are no forecasts: the frame has no rows")
    bad = ~np.isfinite(cols.numbers(frame, "mean"))
    if bad.any():
        named = frame.loc[bad, panel.schema.id_col].unique().tolist()
        raise DataError(f"{int(bad.sum())} forecasts are empty or infinite, in series {name_some(named)}")
    return frame if "model" in frame.columns else frame.assign(model="forecast")


def _check_complete(frame: pd.DataFrame, panel: Panel, at: Ints, lead: Ints, fold: Ints, model: Ints) -> None:
    """Every model forecasts steps 1 .. H of the same series in each fold, each once."""
    horizon = int(lead.max())
    if (lead < 1).any():
        named = np.unique(panel.ids[at[lead < 1]]).tolist()
        raise DataError(f"forecasts of series {name_some(named)} lie at or before their cutoff")
    if len(lead) % horizon or (lead.reshape(-1, horizon) != np.arange(1, horizon + 1)).any():
        counts = pd.Series(lead).groupby([model, fold, at]).agg(["nunique", "size"])
        odd = counts[(counts["nunique"] != horizon) | (counts["size"] != horizon)].index.get_level_values(2).unique()
        raise DataError(
            f"forecasts must have each of the steps 1 to {horizon} after the cutoff once; series "
            f"{name_some(panel.ids[odd].tolist())} have gaps or duplicates; complete or drop them"
        )
    first = np.arange(0, len(lead), horizon)
    sets = pd.Series(at[first]).groupby([fold[first], model[first]]).agg(frozenset)
    for number in sorted(set(fold.tolist())):
        of_models = sets.loc[number].tolist()
        apart = frozenset.union(*of_models) - frozenset.intersection(*of_models)
        if apart:
            raise DataError(
                f"models forecast different series in fold {number}, such as "
                f"{name_some(panel.ids[sorted(apart)].tolist())}; judge what they have in common"
            )


def _table(frame: pd.DataFrame, panel: Panel, at: Ints, steps: Ints, cut: Ints, fold: Ints) -> pd.DataFrame:
    """The long frame of a `Backtest`."""
    place = steps - panel.start[at]
    there = (place >= 0) & (steps <= panel.last[at])
    rows = np.where(there, panel.indptr[at] + place, 0)
    y: Floats = np.where(there & panel.observed[rows], panel.y[rows], np.nan)
    names = ["mean", *(level_column(q) for q in column_levels(frame.columns))]
    zone = panel.schema.zone
    columns: dict[str, Any] = {
        "unique_id": panel.ids[at], "ds": show_zone(panel.axis.stamps(steps), zone),
        "cutoff": show_zone(panel.axis.stamps(cut), zone), "fold": fold, "step": steps - cut, "y": y,
        "model": frame["model"].astype(str).to_numpy(),
    }  # fmt: skip
    return pd.DataFrame({**columns, **{name: cols.numbers(frame, name) for name in names}})


def _scales(panel: Panel, at: Ints, cut: Ints, fold: Ints) -> pd.DataFrame:
    """The seasonal differences of each series up to each of its cutoffs."""
    parts = []
    for number in np.unique(fold):
        series, first = np.unique(at[fold == number], return_index=True)
        history = panel.take(panel.ids[series]).before(cut[fold == number][first])
        absolute, squared = (seasonal_error(history, panel.season_length, power=power) for power in (1, 2))
        parts.append({"fold": number, "unique_id": history.ids, "absolute": absolute, "squared": squared})
    return pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
