"""The arguments of candidates, found before they are judged, on what lies before the folds that judge them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from forecast_kit.core.forecaster import Forecaster
from forecast_kit.core.splits import RollingOrigin
from forecast_kit.data.panel import Panel
from forecast_kit.errors import TooShortError
from forecast_kit.evaluation.search import Trial, search
from forecast_kit.evaluation.studies import optuna_package
from forecast_kit.jobs.config import JobConfig
from forecast_kit.mlflow.runs import Run
from forecast_kit.mlflow.trials import log_search, log_trials


def check_searches(config: JobConfig, panel: Panel) -> None:
    """Refuses searches that could not begin.

    Raises:
        ArgumentError: Optuna is not installed.
        TooShortError: what lies before the folds is too short for those of a search.
    """
    searches = config.searches()
    if not searches:
        return
    optuna_package()
    before = _before(config, panel)
    for name, section in searches.items():
        try:
            RollingOrigin(config.backtest.horizon, folds=section.folds).check(before)
        except TooShortError as error:
            raise TooShortError(f"candidates.{name}.search has what lies before the backtest's folds: {error}") from (
                error
            )


def searched(
    config: JobConfig, forecasters: Mapping[str, Forecaster], panel: Panel, *, runs: Mapping[str, Run], home: Path,
    out: Console,
) -> dict[str, Forecaster]:  # fmt: skip
    """The candidates that have a `search`, with the arguments that it found.

    Trials are kept in a file until `forget` is called, so that a training that was killed goes on where it was.

    Args:
        config: of the job.
        forecasters: all of them, by name.
        panel: what the backtest will see.
        runs: of the forecasters; trials become runs below theirs.
        home: the folder for the trials.
        out: where to tell.

    Raises:
        ArgumentError: no trial of a search was finished.
    """
    found = {}
    for name, section in config.searches().items():

        def tell(trial: Trial, name: str = name, trials: int = section.trials) -> None:
            out.print(f"  {name}, trial {trial.number + 1} of {trials}: {trial.state} {trial.score:.4f}", markup=False)

        study = _study(home, config, name, panel)
        study.parent.mkdir(parents=True, exist_ok=True)
        result = search(
            forecasters[name], section.space, _before(config, panel),
            RollingOrigin(config.backtest.horizon, folds=section.folds), metric=config.gate.metric,
            levels=config.backtest.levels, trials=section.trials, timeout=section.timeout_s, seed=section.seed,
            study=study, name=name, on_trial=(log_trials(runs[name]), tell),
        )  # fmt: skip
        log_search(runs[name], result)
        told = ", ".join(f"{key} {value}" for key, value in result.arguments.items())
        out.print(f"search     {name}: {told} ({result.metric} {result.score:.4f})", markup=False)
        found[name] = result.best
    return found


def forget(config: JobConfig, panel: Panel, home: Path) -> None:
    """Removes the trials of a training that is over."""
    for name in config.searches():
        with suppress(OSError):  # another process may have it open; it is small
            _study(home, config, name, panel).unlink(missing_ok=True)


def _before(config: JobConfig, panel: Panel) -> Panel:
    """What the first fold of the backtest is trained on."""
    return next(iter(config.backtest.splitter.split(panel))).train


def _study(home: Path, config: JobConfig, name: str, panel: Panel) -> Path:
    digest = hashlib.sha256(json.dumps([config.name, config.candidates[name], panel.digest], default=str).encode())
    return home / "searches" / f"{digest.hexdigest()[:16]}.db"
