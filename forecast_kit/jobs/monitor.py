"""What a job watches from run to run: scores of past forecasts, and the rules that ask for a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.data.panel import Panel
from forecast_kit.jobs.asof import AsOf, first_step, known_at
from forecast_kit.jobs.drift import input_drift
from forecast_kit.jobs.isolating import read_panels
from forecast_kit.jobs.scoring import score_run
from forecast_kit.jobs.sections import MonitorSection
from forecast_kit.jobs.sinks import Sink
from forecast_kit.jobs.sources import OpenSource

RETRAIN = "retrain"  # the check that holds the decision
HELD_ROWS = 2_000_000  # of forecasts to be scored, a few hundred megabytes
DRIFT_SERIES = 500  # the inputs of so many tell of them all


@dataclass(frozen=True)
class Check:
    """What one rule found.

    Attributes:
        check: its name.
        value: what was measured, NaN where it cannot be told yet.
        threshold: from where on the rule fires; NaN where no rule was given.
        fired: whether it fired.
        reason: a sentence.
    """

    check: str
    value: float
    threshold: float
    fired: bool
    reason: str


@dataclass(frozen=True)
class Watched:
    """What the rules are told of the champion.

    Attributes:
        version: its number, None where there is none.
        trained_until: the last stamp that it learned from.
        mase: what its backtest found when it was judged, NaN where that was not told.
        last_training: the as-of of the job's last training, whoever became champion by it.
        rolled_back: when a rollback made it champion, on the clock of the as-ofs; None where none did.
    """

    version: str | None
    trained_until: str | int | None
    mase: float
    last_training: AsOf | None
    rolled_back: AsOf | None = None


def score_past(
    sink: Sink, source: OpenSource, as_of: AsOf, *, look_back: int, chunk: int, held: int = HELD_ROWS
) -> list[AsOf]:
    """The runs that were scored: those before this as-of, as far as their steps have come true by now.

    A run is scored again, as data come late, until all of its steps have come true, or it is no longer among the last
    `look_back`. The table `scores` has one row for each series and run. Memory does not grow with the number of runs:
    the source is read once for so many of them as have few rows enough together.

    Args:
        sink: holds the forecasts.
        source: what is known.
        as_of: now.
        look_back: runs.
        chunk: series at a time.
        held: rows of forecasts at a time; a run is held whole, however many it has.
    """
    runs = [run for run in sink.as_ofs("forecasts") if run < as_of][-look_back:]
    if not runs:
        return []
    known = sink.read("scores", since=runs[0], until=as_of)
    if len(known):
        complete = (known["observed"] == known["steps"]).groupby(known["as_of"]).all()
        runs = [run for run in runs if not complete.get(run.value, False)]
    forecasts: dict[AsOf, pd.DataFrame] = {}
    for run in runs:
        rows = sink.read("forecasts", since=run, until=after(run))
        forecasts[run] = rows.drop(columns=["cutoff", "reason"], errors="ignore")  # of which scores tell nothing
        if run == runs[-1] or sum(map(len, forecasts.values())) >= held:
            _score(sink, source, as_of, forecasts, chunk)
            forecasts = {}
    return runs


def _score(sink: Sink, source: OpenSource, as_of: AsOf, forecasts: Mapping[AsOf, pd.DataFrame], chunk: int) -> None:
    """Writes the scores of those runs."""
    scores: dict[AsOf, list[pd.DataFrame]] = {run: [] for run in forecasts}
    for panel in known_panels(source, as_of, chunk):
        for run, rows in forecasts.items():
            found = score_run(rows, panel, run)
            if len(found):
                scores[run].append(found)
    for run, rows in forecasts.items():
        parts = [*scores[run], unseen(rows, scores[run])]
        whole = pd.concat([part for part in parts if len(part)], ignore_index=True).sort_values("unique_id")
        sink.write("scores", run, [whole])


def last_scores(sink: Sink, as_of: AsOf, *, runs: int) -> pd.DataFrame:
    """The scores of so many of the last runs: a job of years has more than anybody looks at."""
    last = [run for run in sink.as_ofs("scores") if run < as_of][-runs:]
    return sink.read("scores", since=last[0] if last else as_of, until=as_of)


def unseen(forecasts: pd.DataFrame, scored: list[pd.DataFrame]) -> pd.DataFrame:
    """Rows for the series of a run that the source has no more: nothing of theirs has come true."""
    seen = {name for part in scored for name in part["unique_id"].tolist()}
    rest = forecasts[~forecasts["unique_id"].isin(seen)]
    about = rest.groupby("unique_id", sort=True)[["model", "model_version", "fallback"]].first().reset_index()
    about["steps"] = rest.groupby("unique_id", sort=True).size().to_numpy()
    return about.assign(observed=0)


def known_panels(source: OpenSource, as_of: AsOf, chunk: int) -> Iterator[Panel]:
    """What is known of the series at that moment, so many at a time."""
    for frame in source.chunks(chunk):
        yield from panels_of(frame, source, as_of)


def panels_of(frame: pd.DataFrame, source: OpenSource, as_of: AsOf) -> Iterator[Panel]:
    """What is known of a chunk's series; those whose data are refused in a panel of their own, of values alone."""
    history, _ = known_at(frame, source.schema, as_of)
    ids = history[source.schema.id_col]
    history = history[ids.isin(ids[history[source.schema.target_col].notna()])]
    if len(history):
        read = read_panels(history, source.schema, source.static)
        yield from (panel for panel in (read.sound, read.repaired) if panel is not None)


def after(as_of: AsOf) -> AsOf:
    """The next moment that could be: what lies before it and not before `as_of` is `as_of` itself."""
    if isinstance(as_of.stamp, int):
        return AsOf(as_of.stamp + 1)
    return AsOf(as_of.stamp + pd.Timedelta(1, "us"))


def checks(
    section: MonitorSection, watched: Watched, scores: pd.DataFrame, as_of: AsOf, *, panel: Panel | None
) -> list[Check]:
    """What each rule found; the last of them is the decision.

    Args:
        section: the rules.
        watched: of the champion.
        scores: of past runs.
        as_of: now.
        panel: what is known of some series, where a rule looks at inputs.
    """
    rules, found = section.retrain, []
    recent = recent_scores(scores, section.window, watched.version)
    if watched.version is None:
        found.append(Check("champion", 0.0, 1.0, True, "no version is champion yet"))
    found.append(_skill(recent, rules.min_skill, section.window))
    found.append(_error_ratio(recent, rules.error_ratio, watched, section.window))
    if rules.max_age is not None and watched.trained_until is not None:
        found.append(_age(as_of, watched.trained_until, rules.max_age))
    if rules.drift is not None and panel is not None and watched.trained_until is not None:
        found += _drift(panel, watched.trained_until, as_of, rules.drift, section.window)
    fired = [one for one in found if one.fired]
    reason = "; ".join(one.reason for one in fired) or "no rule fired"
    rests = _rest(rules.cooldown, watched, as_of) if fired else ""
    wanted = bool(fired) and not rests
    return [*found, Check(RETRAIN, float(wanted), 1.0, wanted, reason + rests)]


def recent_scores(scores: pd.DataFrame, window: int, version: str | None) -> pd.DataFrame:
    """The scores of the champion's last runs of which anything has come true."""
    if not len(scores) or version is None:
        return scores.iloc[:0]
    mine = scores[(scores["model_version"] == version) & (scores["observed"] > 0)]
    return mine[mine["as_of"].isin(np.sort(mine["as_of"].unique())[-window:])]


def recent_figures(scores: pd.DataFrame, window: int) -> dict[str, float]:
    """Figures of the last scored runs, whoever forecast: mean errors over series and runs, and the share inside."""
    seen = scores[scores["observed"] > 0] if len(scores) else scores
    if not len(seen):
        return {}
    last = seen[seen["as_of"].isin(np.sort(seen["as_of"].unique())[-window:])]
    return {name: float(last[name].mean()) for name in ("mase", "mae", "bias", "coverage") if last[name].notna().any()}


def _skill(recent: pd.DataFrame, least: float | None, window: int) -> Check:
    value, threshold = float("nan"), float("nan") if least is None else least
    if len(recent):
        seen = recent["observed"].to_numpy()
        naive = float((recent["naive_mae"] * seen).sum())
        value = 1.0 - float((recent["mae"] * seen).sum()) / naive if naive > 0 else float("nan")
    runs = recent["as_of"].nunique() if len(recent) else 0
    fired = bool(least is not None and runs >= window and value < least)
    return Check("skill", value, threshold, fired, _told(
        value, runs, f"skill over the seasonal naive forecast was {value:+.1%} in the champion's last scored runs"
    ))  # fmt: skip


def _error_ratio(recent: pd.DataFrame, most: float | None, watched: Watched, window: int) -> Check:
    value, threshold = float("nan"), float("nan") if most is None else most
    if len(recent) and watched.mase > 0:
        value = float(recent.groupby("as_of")["mase"].mean().mean()) / watched.mase
    runs = recent["as_of"].nunique() if len(recent) else 0
    fired = bool(most is not None and runs >= window and value > most)
    return Check("error_ratio", value, threshold, fired, _told(
        value, runs, f"MASE of the champion's last scored runs was {value:.2f} times that of its backtest"
    ))  # fmt: skip


def _told(value: float, runs: int, sentence: str) -> str:
    """The sentence with the number of runs, if there is anything to tell."""
    return f"{sentence} ({runs})" if np.isfinite(value) else "nothing can be told of the champion's runs yet"


def _age(as_of: AsOf, trained_until: str | int, most: str | int) -> Check:
    age, limit = lapse(as_of, trained_until), _amount(most)
    return Check("age", age, limit, age > limit, f"the champion learned from data until {trained_until}")


def _drift(panel: Panel, trained_until: str | int, as_of: AsOf, most: float, window: int) -> list[Check]:
    stamp = np.array([trained_until if isinstance(trained_until, int) else np.datetime64(trained_until, "us")])
    split, end = int(panel.axis.steps(stamp)[0]) + 1, first_step(panel, as_of)
    found = input_drift(panel, split=split, end=end, length=window * panel.season_length)
    return [
        Check(
            f"drift {name}", moved.value, most, moved.value > most,
            moved.unjudged or f"{name} moved {moved.value:.2f} times as far as ever in training",
        )
        for name, moved in found.items()
    ]  # fmt: skip


def _rest(cooldown: str | int | None, watched: Watched, as_of: AsOf) -> str:
    """What puts a training off, empty where nothing does: the last one, or a rollback, is not long enough ago.

    A version that somebody brought back is old by nature. Without a rest the same recipe would be trained, and perhaps
    promoted, the next night.
    """
    for since, what in (
        (watched.last_training, "the last training was as of"),
        (watched.rolled_back, "a rollback made the champion what it is on"),
    ):
        if cooldown is not None and since is not None and lapse(as_of, since.stamp) < _amount(cooldown):
            return f"; {what} {since}, less than {cooldown} ago"
    return ""


def lapse(as_of: AsOf, since: pd.Timestamp | str | int) -> float:
    """What has passed since a stamp: in days, or in the units of numbered time."""
    if isinstance(as_of.stamp, int):
        assert isinstance(since, int)
        return float(as_of.stamp - since)
    return (as_of.stamp - pd.Timestamp(since)) / pd.Timedelta(days=1)


def _amount(lapse_of_time: str | int) -> float:
    return float(lapse_of_time) if isinstance(lapse_of_time, int) else pd.Timedelta(lapse_of_time) / pd.Timedelta("1D")


def as_table(found: list[Check]) -> pd.DataFrame:
    """The rows of the table `checks`."""
    return pd.DataFrame([vars(one) for one in found])


def decision_in(rows: pd.DataFrame) -> Mapping[Any, Any] | None:
    """The decision that was written down for a run, None where none was."""
    mine = rows[rows["check"] == RETRAIN] if len(rows) else rows
    return mine.iloc[0].to_dict() if len(mine) else None
