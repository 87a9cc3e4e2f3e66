"""Contenders: registered models in a backtest, each judged as fairly as its training allows.

A model whose training ended before the folds begin is judged as it is deployed, weights unchanged, each fold forecast
from its own history. One that was trained later has seen the answers: its recipe is judged, fitted anew in each fold.

A champion that cannot take part does not stop a promotion, where that is safe; see `contender` and `challenge`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info
from mlflow.tracking import MlflowClient
from yaml import YAMLError

from forecast_kit.core.forecaster import Forecaster
from forecast_kit.core.known import find_forecaster
from forecast_kit.core.saving import FORMAT_VERSION
from forecast_kit.core.splits import RollingOrigin
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, ArtifactError, ForecastKitError, StoreError
from forecast_kit.evaluation.backtest import Backtest
from forecast_kit.evaluation.comparable import groups_of, trial_of
from forecast_kit.evaluation.gate import Gate, Verdict, judge
from forecast_kit.evaluation.running import OnProgress, backtest
from forecast_kit.mlflow.flavor import FLAVOR_NAME, load_served
from forecast_kit.mlflow.registry import Decision, champion, find_version, promote
from forecast_kit.models.deployed import Deployed


@dataclass(frozen=True, eq=False)
class Contender:
    """A registered model as it takes part in a backtest.

    Attributes:
        version: its number.
        forecaster: what to pass to `backtest`; None where it cannot take part.
        how: a sentence: how it is judged, or why it cannot be.
        recipe: the forecaster as it was loaded, None where it could not be.
    """

    version: str
    forecaster: Forecaster | None
    how: str
    recipe: Forecaster | None = None


def contender(
    client: MlflowClient,
    name: str,
    which: str,
    panel: Panel,
    splitter: RollingOrigin,
    *,
    levels: Sequence[float] = (),
) -> Contender:
    """The registered model as the backtest is to judge it.

    It cannot take part (`forecaster` is None) if its artefact is damaged, missing or no forecaster of this package, or
    if it cannot forecast the panel: other columns, another frequency, a shorter horizon. It was of no use any more as
    it is, so a challenger may replace it without having beaten it. What may be the fault of this process is an error
    instead: a store that does not answer, an artefact of a newer format, a library that is not installed.

    Args:
        client: of the store.
        name: the registered model.
        which: a version's number, `champion` or `challenger`.
        panel: the newest data.
        splitter: the folds.
        levels: the quantile levels that it will be asked for.

    Raises:
        ArgumentError, StoreError: as `find_version`.
        ArtifactError: it needs a newer forecast_kit, or a library that is missing here.
        TooShortError: the panel is too short for the folds.
    """
    version = str(find_version(client, name, which).version)
    splitter.check(panel)
    uri = f"models:/{name}/{version}"
    try:
        loaded = load_served(uri).forecaster
    except ArtifactError as error:
        _check_readable(uri, error)
        return Contender(version, None, f"Version {version} was not judged, its artefact cannot be used: {error}.")
    except ImportError as error:
        raise ArtifactError(f"{uri} cannot be judged here, {error.name or error} is not installed; install what its "
                            f"requirements.txt lists") from error  # fmt: skip
    trouble = _misfit(loaded, panel, splitter, levels)
    if trouble:
        return Contender(
            version, None, f"Version {version} was not judged, it cannot forecast the newest data: {trouble}.", loaded
        )
    until = loaded.trained_until_
    if _ended_by(until, earliest_cutoff(panel, splitter)):
        how = f"Version {version} was judged as deployed: its training ended at {until}, before the folds."
        return Contender(version, Deployed(loaded, f"{name} version {version}"), how, loaded)
    why = "its training data reach into the folds" if until is not None else "it does not tell when its training ended"
    how = f"Version {version} was judged by its recipe, fitted anew in each fold, for {why}."
    return Contender(version, loaded.clone(), how, loaded)


def challenge(
    client: MlflowClient,
    name: str,
    version: str,
    panel: Panel,
    splitter: RollingOrigin,
    *,
    baselines: Mapping[str, Forecaster],
    gate: Gate,
    levels: Sequence[float] = (),
    challenger: str | None = None,
    result: Backtest | None = None,
    refit: int | None = 1,
    progress: OnProgress | None = None,
) -> tuple[Verdict, Decision]:
    """The verdict on a registered version, judged against champion and baselines, and the decision that followed.

    The challenger's artefact is read first, so that an artefact storage that is down cannot be mistaken for a champion
    that is broken.

    Args:
        client: of the store.
        name, version: the registered model; the version's number, or `challenger`.
        panel, splitter: the newest data, and the folds.
        baselines: forecasters by name.
        gate: what is asked.
        levels: the quantile levels to forecast and score.
        challenger: what to call it; by default what the version's tag `forecaster` says, or its class.
        result: a backtest of the challenger's recipe and the baselines on the same folds with the same levels, so
            that they are not fitted once more; `challenger` is the name it has there.
        refit: see `backtest`.
        progress: see `backtest`.

    Raises:
        ArgumentError: the version is the champion already, or what `judge` raises.
        ArtifactError, StoreError, DataError: the challenger cannot be loaded, or cannot forecast this panel.

    >>> from forecast_kit import ETS, SeasonalNaive, load
    >>> from forecast_kit.mlflow import connect, log_model
    >>> client, panel = connect().client, Panel.from_frame(*load("air_passengers"))
    >>> info = log_model(ETS(trend="add", horizon=12).fit(panel), registered_model_name="passengers")
    >>> verdict, decision = challenge(
    ...     client, "passengers", "challenger", panel, RollingOrigin(12, folds=2),
    ...     baselines={"naive": SeasonalNaive()}, gate=Gate(min_skill=0.05),
    ... )
    >>> decision.promoted, str(champion(client, "passengers").version)
    (True, '1')
    """
    known, before = find_version(client, name, version), champion(client, name)
    number, against = str(known.version), None if before is None else str(before.version)
    if number == against:
        raise ArgumentError(f"version {number} of {name!r} is the champion already; name another version")
    mine = contender(client, name, number, panel, splitter, levels=levels)
    if mine.forecaster is None or mine.recipe is None:
        raise ArtifactError(f"the challenger cannot be judged. {mine.how}")
    called = challenger or known.tags.get("forecaster") or mine.recipe.name
    rerun = partial(backtest, panel=panel, splitter=splitter, levels=levels, refit=refit, progress=progress)
    how, anew = mine.how, not isinstance(mine.forecaster, Deployed)
    if result is None:
        result = rerun({called: mine.forecaster, **baselines})
    else:
        how, anew = f"Version {number} was judged by its recipe, fitted anew in each fold.", True
    rival = None if against is None else _champion(client, name, against, panel, splitter, levels)
    label, same, found = f"version {against}", False, _Judged(None, "", "")
    if rival is not None:
        same = rival.recipe is not None and _recipe(rival.recipe) == _recipe(mine.recipe)
        twin = _copied(result, called, label) if same and anew else None
        found = _judged(rival, label, rerun, twin)
    verdict = judge(
        result if found.result is None else result.join(found.result), challenger=called,
        champion=None if found.result is None else label, baselines=[*baselines], gate=gate, same_recipe=same,
        notes=_notes(how, found, anew and rival is not None and not isinstance(rival.forecaster, Deployed)),
        groups=None if gate.group_by is None else groups_of(panel, gate.group_by),
    )  # fmt: skip
    if found.obstacle:
        verdict = verdict.refused(found.obstacle)
    trial = trial_of(panel, splitter, gate.metric)
    return verdict, promote(client, name, number, verdict, against=against, trial=trial)


def _notes(how: str, found: _Judged, alike: bool) -> list[str]:
    """How challenger and champion were judged, in as few words as will do."""
    if alike and found.result is not None:
        return ["Both were judged by their recipes, fitted anew in each fold."]
    return [note for note in (how, found.note) if note]


def earliest_cutoff(panel: Panel, splitter: RollingOrigin) -> np.datetime64 | int:
    """The earliest stamp at which any series of the first fold is cut: what was known until then is no answer.

    On a panel whose series end at different times this is strict: one that ended a year ago decides for all.
    """
    history = splitter.fold(panel, 1).history
    return history.axis.stamps(history.last.min(keepdims=True))[0]


def _champion(
    client: MlflowClient, name: str, version: str, panel: Panel, splitter: RollingOrigin, levels: Sequence[float]
) -> Contender:
    """The champion as a contender. An artefact that twice cannot be fetched is gone: the challenger's is there."""
    for _ in range(2):
        try:
            return contender(client, name, version, panel, splitter, levels=levels)
        except StoreError as error:
            trouble = error
    return Contender(version, None, f"Version {version} was not judged, its artefact cannot be fetched, though the "
                                    f"challenger's can: {trouble}.")  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Judged:
    """The champion's backtest if there is one, what is to be told of it, and why it may not be replaced without one."""

    result: Backtest | None
    note: str
    obstacle: str


def _judged(
    rival: Contender, label: str, rerun: Callable[[Mapping[str, Forecaster]], Backtest], twin: Backtest | None
) -> _Judged:
    """The champion in a backtest of its own; `twin` is that of the same recipe on the same folds, if there is one."""
    if rival.forecaster is None:
        return _Judged(None, rival.how, "")
    deployed = isinstance(rival.forecaster, Deployed)
    if twin is not None and not deployed:
        return _Judged(twin, rival.how, "")
    try:
        return _Judged(rerun({label: rival.forecaster}), rival.how, "")
    except ForecastKitError as error:
        if deployed:
            note = f"Version {rival.version} was not judged, it cannot forecast the newest data: {error}."
            return _Judged(None, note, "")
        # What is deployed works, and it may well be the better one: here somebody has to look.
        return _Judged(None, f"Version {rival.version} was not judged.", (
            f"the champion, version {rival.version}, works as it is deployed, but its recipe cannot be fitted on the "
            f"newest data, so nothing can be compared with it ({error}); a rollback to another version asks no gate"
        ))  # fmt: skip


def _copied(result: Backtest, model: str, label: str) -> Backtest:
    """The backtest of one model, under another name."""
    frame, timings = (
        part[part["model"] == model].assign(model=label).reset_index(drop=True)
        for part in (result.frame, result.timings)
    )
    unfinished = tuple((label, fold) for name, fold in result.unfinished if name == model)
    return replace(result, frame=frame, timings=timings, unfinished=unfinished)


def _recipe(forecaster: Forecaster) -> str:
    """What tells whether two forecasters are built alike."""
    return json.dumps([type(forecaster).__name__, forecaster.describe()], sort_keys=True, default=str)


def _misfit(loaded: Forecaster, panel: Panel, splitter: RollingOrigin, levels: Sequence[float]) -> str:
    """Why a loaded forecaster cannot forecast the panel; empty where it can. It is tried."""
    if loaded.integer_ids_ != (panel.ids.dtype.kind == "i"):
        return f"it was fitted on series named by {'numbers' if loaded.integer_ids_ else 'text'}, and these are not"
    # From the end of the panel: models of single series go forward from where they were fitted, never back.
    last = panel.future[panel.indptr[1:] - 1]  # [N, K], in place of what will be known of the steps ahead
    future = np.repeat(last[:, None, :], splitter.steps_ahead, axis=1)
    try:
        loaded.predict(splitter.steps_ahead, levels=levels, history=panel, future=future)
    except ForecastKitError as error:
        return str(error)
    return ""


def _check_readable(uri: str, error: ArtifactError) -> None:
    """Raises the error again where it is this process that cannot read a sound artefact."""
    try:
        about = get_model_info(uri).flavors.get(FLAVOR_NAME, {})
    except (MlflowException, OSError, ValueError, TypeError, YAMLError):  # the artefact's own description is damaged
        return
    if int(about.get("format_version", 0)) > FORMAT_VERSION:
        raise error
    try:
        if "forecaster" in about:
            find_forecaster(str(about["forecaster"]))
    except ArgumentError as unknown:
        raise ArtifactError(f"{uri} cannot be judged here: {unknown}") from error


def _ended_by(until: str | int | None, cutoff: np.datetime64 | int) -> bool:
    """Whether what was known at the first stamp is no later than the second; not where that was not told."""
    if until is None:
        return False
    return until <= int(cutoff) if isinstance(until, int) else pd.Timestamp(until) <= pd.Timestamp(cutoff)
