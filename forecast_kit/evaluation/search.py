"""Searching arguments: draws of a forecaster's arguments by Optuna, each judged by a rolling-origin backtest."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from forecast_kit.core.arguments import with_arguments
from forecast_kit.core.forecast import check_levels
from forecast_kit.core.forecaster import Forecaster
from forecast_kit.core.splits import Fold, RollingOrigin
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, ForecastKitError, check_whole, name_some
from forecast_kit.evaluation.running import backtest, check_observed
from forecast_kit.evaluation.scoring import METRICS, check_metrics
from forecast_kit.evaluation.spaces import Axis, read_space
from forecast_kit.evaluation.studies import INTERRUPTED, done_trials, open_study, optuna_package, same_study

if TYPE_CHECKING:
    import optuna

__all__ = ["search", "Search", "Trial"]

_TRIES = 32  # draws of which one at least must make a forecaster, before any is fitted

State = Literal["finished", "pruned", "failed", "running"]


@dataclass(frozen=True)
class Trial:
    """One draw of arguments, and what came of it.

    Attributes:
        number: counted from 0, as in Optuna's own tables.
        arguments: by name, see `with_arguments`.
        state: `"finished"`, `"pruned"` after a bad fold, `"failed"`, or `"running"`: in another process, or in one
            that was killed.
        metric, score: the metric, and its mean over the series and folds; NaN unless finished.
        folds: the score by fold, as far as they were done.
        started, seconds: when, in seconds since 1970, and how long.
        reason: why it failed, after which fold it was pruned, or which earlier trial had the same arguments.

    >>> from forecast_kit import WindowAverage, load
    >>> panel, told = Panel.from_frame(*load("air_passengers")), []
    >>> folds = RollingOrigin(12, folds=2)
    >>> _ = search(WindowAverage(1), {"window": [12]}, panel, folds, trials=2, on_trial=[told.append])
    >>> [(trial.arguments, trial.state, round(trial.score, 2), trial.reason) for trial in told]
    [({'window': 12}, 'finished', 2.11, ''), ({'window': 12}, 'finished', 2.11, 'the arguments of trial 0')]
    """

    number: int
    arguments: dict[str, Any]
    state: State
    metric: str
    score: float
    folds: dict[int, float] = field(default_factory=dict)
    started: float = math.nan
    seconds: float = math.nan
    reason: str = ""


OnTrial = Callable[[Trial], None]


@dataclass(frozen=True, eq=False)
class Search:
    """What a search found.

    Attributes:
        best: the forecaster with the best arguments, not fitted.
        arguments: those that were searched, by name.
        metric, score: the metric, and what the best has.
        trials: one row a trial: `trial, state, score, folds_done, seconds, reason`, then the arguments.

    >>> from forecast_kit import WindowAverage, load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> found = search(WindowAverage(1), {"window": [1, 12]}, panel, RollingOrigin(12), trials=6)
    >>> forecast = found.best.fit(panel).predict(12)
    >>> found.arguments, found.trials.columns.tolist()
    ({'window': 12}, ['trial', 'state', 'score', 'folds_done', 'seconds', 'reason', 'window'])
    """

    best: Forecaster
    arguments: dict[str, Any]
    metric: str
    score: float
    trials: pd.DataFrame


def search(
    forecaster: Forecaster,
    space: Mapping[str, Any],
    panel: Panel,
    splitter: RollingOrigin,
    *,
    metric: str = "mase",
    levels: Sequence[float] = (),
    refit: int | None = 1,
    trials: int = 30,
    timeout: float | None = None,
    seed: int = 0,
    pruner: Any = "median",
    study: str | Path | None = None,
    name: str = "search",
    on_trial: Sequence[OnTrial] = (),
) -> Search:
    """The arguments with which a forecaster has the best score in a backtest, drawn by Optuna (extra `search`).

    Each trial draws from the space by the tree-structured Parzen estimator (TPE) and backtests the forecaster fold by
    fold. After each of them, where even the lowest of its mean scores so far is above the median of the finished
    trials after the same fold, the trial is pruned: later folds are not fitted. Arguments that were drawn before are
    not judged again. A trial that cannot be built, fitted or scored is kept as failed, with its reason, and the
    search goes on.

    Draws depend on the seed and the earlier trials alone, so that a search that is resumed finds what one that was
    never interrupted finds, as long as what it fits is deterministic.

    Args:
        forecaster: stays as it is.
        space: by argument's name (`training__learning_rate`, see `with_arguments`) what to draw it from:
            `[16, 32, 64]` one of these; `("int", 24, 168)` a whole number, both ends included, `("int", 24, 168, 24)`
            in steps; `("float", 0.0, 0.5)`, also in steps; `("log", 1e-4, 1e-2)` and `("log_int", 8, 512)` evenly
            in the logarithm. Lists do for tuples; `("choice", "int", "log")` is one of words like these.
        panel: the data.
        splitter: the folds.
        metric: the score to make small, see `forecast_kit.evaluation.scoring.METRICS`.
        levels: quantile probabilities that the metric needs.
        refit: after how many folds a forecaster is fitted again, see `backtest`; a trial can be pruned before
            each fit.
        trials: how many in all, those that the study has from earlier included, but for interrupted ones.
        timeout: seconds after which no trial is begun.
        seed: of the draws.
        pruner: `"median"`, once five trials were finished; None to finish all; or one of `optuna.pruners`.
        study: a SQLite file, made if need be, or the URL of a database, to keep trials in and to go on from.
        name: of the study in there.
        on_trial: called with each `Trial` as it is done.

    Raises:
        ArgumentError: Optuna is not installed, an argument or the space is wrong, the study is one of other data,
            folds or arguments, or no trial was finished.
        TooShortError: a series is too short for the folds.
        DataError: nothing was observed in the last fold.
        StoreError: the study cannot be opened.

    Source: Bergstra, Bardenet, Bengio and Kégl, Algorithms for Hyper-Parameter Optimization, NeurIPS 2011; Akiba,
    Sano, Yanase, Ohta and Koyama, Optuna, KDD 2019.

    >>> from forecast_kit import WindowAverage, load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> found = search(WindowAverage(1), {"window": [1, 12]}, panel, RollingOrigin(12, folds=2), trials=4)
    >>> found.best, round(found.score, 2)
    (WindowAverage(window=12, season_length=1, horizon=None), 2.11)
    """
    _check(metric, levels, timeout)
    for what, value, least in (("trials", trials, 1), ("seed", seed, 0), ("refit", 1 if refit is None else refit, 1)):
        check_whole(what, value, least)
    splitter.check(panel)
    check_observed(panel, splitter)
    job = _Job(forecaster, read_space(space), panel, splitter, metric, check_levels(levels), refit)
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    with open_study(study, name, pruner) as opened:
        job.check()
        if study is not None:
            same_study(opened, job.identity(), f"{name!r} in {study}")
        while done_trials(opened) < trials and time.monotonic() < deadline:
            trial = job.run(opened, seed)
            for tell in on_trial:
                tell(trial)
        found = [job.read(trial) for trial in opened.get_trials(deepcopy=False)]
    finished = [trial for trial in found if trial.state == "finished"]
    if not finished:
        raise ArgumentError(_why_none(found, timeout))
    best = min(finished, key=lambda trial: trial.score)
    return Search(with_arguments(forecaster, best.arguments), best.arguments, metric, best.score, _table(found))


@dataclass(frozen=True, kw_only=True)
class _Part(RollingOrigin):
    """Some consecutive folds of a splitter, from its fold `first` on."""

    whole: RollingOrigin
    first: int

    def check(self, panel: Panel) -> None:
        """See `RollingOrigin`."""
        self.whole.check(panel)

    def fold(self, panel: Panel, number: int) -> Fold:
        """See `RollingOrigin`."""
        return replace(self.whole.fold(panel, self.first - 1 + number), number=number)


@dataclass(frozen=True, eq=False)
class _Job:
    """What all trials of a search share."""

    forecaster: Forecaster
    space: dict[str, Axis]
    panel: Panel
    splitter: RollingOrigin
    metric: str
    levels: tuple[float, ...]
    refit: int | None

    def identity(self) -> dict[str, Any]:
        """What a score depends on, besides the arguments that were drawn, as JSON holds it."""
        known = {
            "forecaster": {"forecaster": type(self.forecaster).__name__, **self.forecaster.describe()},
            "space": {name: axis.describe() for name, axis in self.space.items()}, "data": self.panel.digest,
            "splitter": asdict(self.splitter), "metric": self.metric, "levels": self.levels, "refit": self.refit,
        }  # fmt: skip
        return dict(json.loads(json.dumps(known, default=str)))

    def check(self) -> None:
        """Refuses a space of which no draw makes a forecaster: a name is unknown, most of the time.

        Raises:
            ArgumentError: it is so.
        """
        package = optuna_package()
        study = package.create_study(sampler=package.samplers.RandomSampler(seed=0))
        for _ in range(_TRIES):
            try:
                with_arguments(self.forecaster, self._arguments(study.ask(self._distributions()).params))
            except ForecastKitError as error:
                problem = error
            else:
                return
        raise ArgumentError(f"no draw from the space makes a forecaster: {problem}") from problem

    def run(self, study: optuna.Study, seed: int) -> Trial:
        """Another trial, drawn, judged and kept."""
        states = optuna_package().trial.TrialState
        asked = self._ask(study, seed)
        try:
            state, score = self._judge(study, asked)
            study.tell(asked, score, states.COMPLETE if state == "finished" else states.PRUNED)
        except ForecastKitError as error:
            asked.set_user_attr("reason", str(error))
            study.tell(asked, state=states.FAIL)
        except BaseException as error:
            asked.set_user_attr("reason", f"interrupted: {error!r}")
            asked.set_user_attr(INTERRUPTED, True)
            study.tell(asked, state=states.FAIL)
            raise
        return self.read(study.get_trials(deepcopy=False)[asked.number])

    def _ask(self, study: optuna.Study, seed: int) -> optuna.Trial:
        """A draw. The sampler is new each time, so that nothing but the trials there are and the seed counts.

        What was interrupted is drawn again.
        """
        package = optuna_package()
        count = sum(INTERRUPTED not in one.user_attrs for one in study.get_trials(deepcopy=False))
        own = np.random.SeedSequence([seed, count]).generate_state(1)
        study.sampler = package.samplers.TPESampler(seed=int(own[0]))
        return study.ask(self._distributions())

    def _distributions(self) -> dict[str, Any]:
        return {name: axis.distribution(optuna_package()) for name, axis in self.space.items()}

    def _judge(self, study: optuna.Study, asked: optuna.Trial) -> tuple[State, float | None]:
        """How the trial ended, and its score; None where it was pruned.

        Raises:
            ForecastKitError: it cannot be built, fitted or scored.
        """
        twin = next((one for one in study.get_trials(deepcopy=False)
                     if one.state.name == "COMPLETE" and one.params == asked.params), None)  # fmt: skip
        if twin is not None:
            asked.set_user_attr("reason", f"the arguments of trial {twin.number}")
            asked.set_user_attr("folds", twin.user_attrs["folds"])
            for step, value in twin.intermediate_values.items():
                asked.report(value, step)
            return "finished", float(twin.values[0])
        forecaster = with_arguments(self.forecaster, self._arguments(asked.params))
        scores: list[pd.DataFrame] = []
        so_far = math.nan
        for part in self._parts():
            scores.append(self._scores(forecaster, part))
            every = pd.concat(scores)
            by_fold = every.groupby("fold")[self.metric].mean().dropna().to_dict()
            asked.set_user_attr("folds", {str(number): float(value) for number, value in by_fold.items()})
            so_far, last = float(every[self.metric].mean()), part.first + part.folds - 1
            if math.isnan(so_far):
                continue  # nothing was observed in these folds, or every training part is constant
            asked.report(so_far, last)
            if last < self.splitter.folds and asked.should_prune():
                asked.set_user_attr("reason", f"after fold {last} of {self.splitter.folds}")
                return "pruned", None
        if not math.isfinite(so_far):
            raise ArgumentError(
                f"{self.metric} is {so_far}; take a metric that is defined for these data, such as 'mae'"
            )
        return "finished", so_far

    def _parts(self) -> Iterator[_Part]:
        """The folds that share a fit, as splitters."""
        whole = self.splitter
        every = self.refit or whole.folds
        for first in range(1, whole.folds + 1, every):
            yield _Part(whole.horizon, folds=min(every, whole.folds + 1 - first), whole=whole, first=first)

    def _scores(self, forecaster: Forecaster, part: _Part) -> pd.DataFrame:
        """`fold, unique_id` and the metric."""
        done = backtest({"trial": forecaster}, self.panel, part, levels=self.levels, refit=None)
        scores = done.score([self.metric])
        return scores.assign(fold=scores["fold"] + part.first - 1)

    def _arguments(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {name: axis.value(params[name]) for name, axis in self.space.items() if name in params}

    def read(self, one: optuna.trial.FrozenTrial) -> Trial:
        """The trial that a study keeps."""
        state = _STATES[one.state.name]
        score = float(one.values[0]) if state == "finished" else math.nan
        folds = {int(number): float(value) for number, value in one.user_attrs.get("folds", {}).items()}
        return Trial(
            one.number, self._arguments(one.params), state, self.metric, score, folds,
            one.datetime_start.timestamp() if one.datetime_start else math.nan,
            one.duration.total_seconds() if one.duration else math.nan, one.user_attrs.get("reason", ""),
        )  # fmt: skip


_STATES: dict[str, State] = {
    "COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "running",
}  # fmt: skip


def _check(metric: str, levels: Sequence[float], timeout: float | None) -> None:
    check_metrics([metric], len(levels))
    if METRICS[metric].better != "smaller":
        small = [name for name, one in METRICS.items() if one.better == "smaller"]
        raise ArgumentError(f"a search makes a score small, which does not make sense for {metric!r}; take one of "
                            f"{', '.join(small)}")  # fmt: skip
    if timeout is not None and not timeout > 0:
        raise ArgumentError(f"timeout must be a positive number of seconds, or None; got {timeout!r}")


def _why_none(trials: list[Trial], timeout: float | None) -> str:
    """What became of the trials, where none was finished."""
    failed = [trial.reason for trial in trials if trial.state == "failed"]
    pruned = sum(trial.state == "pruned" for trial in trials)
    if failed:
        reasons = name_some(dict.fromkeys(failed), 3)
        return f"no trial was finished: {len(failed)} failed, because: {reasons}; change the space or the forecaster"
    if pruned:
        return f"no trial was finished: {pruned} were pruned; take another pruner"
    return f"no trial was finished within a timeout of {timeout} seconds; raise it"


def _table(trials: Sequence[Trial]) -> pd.DataFrame:
    """One row a trial. Argument columns stand beside the others, whatever they are called."""
    facts = pd.DataFrame([
        {"trial": one.number, "state": one.state, "score": one.score, "folds_done": len(one.folds),
         "seconds": one.seconds, "reason": one.reason} for one in trials
    ])  # fmt: skip
    return pd.concat([facts, pd.DataFrame([one.arguments for one in trials])], axis=1)
