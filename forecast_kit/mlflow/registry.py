"""The registry: versions, the aliases champion and challenger, and who takes whose place.

A version is registered as challenger. `promote` makes it champion if its verdict says so, `rollback` brings back the
champion before it, `history` tells who was champion when, and why. Stages are never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.models.model import ModelInfo
from mlflow.tracking import MlflowClient

from forecast_kit.errors import ArgumentError, ArtifactError, StoreError
from forecast_kit.evaluation.gate import Verdict
from forecast_kit.mlflow import deploying, ledger
from forecast_kit.mlflow.describing import markdown, p_value, percent
from forecast_kit.mlflow.flavor import DIGEST_TAG, FLAVOR_NAME
from forecast_kit.mlflow.ledger import Change, existing
from forecast_kit.mlflow.locking import exclusive
from forecast_kit.mlflow.naming import CHALLENGER, CHAMPION, MISSING, check_name, fitting, kept_text, told

MODEL_ID = "forecast_kit.model_id"
_MARKS = ("Promoted: ", "Refused: ")


@dataclass(frozen=True)
class Decision:
    """Who is champion now, and why.

    Attributes:
        promoted: whether the version is champion now.
        reason: one line.
        version: the version that was decided upon.
        replaced: the champion before, which after a refusal still is; None if there was none.

    >>> from forecast_kit import Naive, Panel, load
    >>> from forecast_kit.mlflow import connect, log_model
    >>> client = connect().client
    >>> model = Naive(horizon=2).fit(Panel.from_frame(*load("air_passengers")))
    >>> info = log_model(model, registered_model_name="passengers")
    >>> rollback(client, "passengers", to="1", reason="somebody has to begin")  # doctest: +NORMALIZE_WHITESPACE
    Decision(promoted=True, reason='Rolled back: version 1 replaces no version: somebody has to begin.', version='1',
             replaced=None)
    """

    promoted: bool
    reason: str
    version: str
    replaced: str | None


def register(
    client: MlflowClient,
    info: ModelInfo | str | Path,
    name: str,
    *,
    tags: Mapping[str, str] | None = None,
    description: str | None = None,
) -> str:
    """The number of the version that the logged model is under the name; it has the alias `challenger` then.

    A model that was registered under the name before keeps its version, so that a job may repeat the call.

    Args:
        client: of the store.
        info: what `log_model` or `upload_model` returned, or the folder that the latter uploaded.
        name: the registered model's; it is created if need be.
        tags: of the version.
        description: of the version; its first line, a plain sentence, is what lists show.

    Raises:
        ArgumentError: MLflow cannot take, or find, such a name.
        ArtifactError: the folder holds no uploaded model.
        StoreError: the registry refused.

    >>> from forecast_kit import Naive, Panel, load
    >>> from forecast_kit.mlflow import connect, log_model
    >>> client = connect().client
    >>> model = Naive(horizon=2).fit(Panel.from_frame(*load("air_passengers")))
    >>> register(client, log_model(model), "passengers")
    '1'
    """
    check_name(name)
    model_id, run_id, digest = _logged(info)
    with told(f"the registry refused a new version of {name!r}"):
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        known = _version_of(client, name, model_id)
        if known is None:
            own = {MODEL_ID: model_id, **({DIGEST_TAG: digest} if digest else {})}
            # In one call: a version is there with its tags and its text, or not at all.
            known = client.create_model_version(
                name, f"models:/{model_id}", run_id, tags={**(tags or {}), **own}, model_id=model_id,
                description=fitting(description, 5000) if description else None,
            )  # fmt: skip
        if "decision" not in known.tags:
            _name_challenger(client, name, str(known.version))
    return str(known.version)


def _name_challenger(client: MlflowClient, name: str, version: str) -> None:
    """MLflow looks for the alias and then inserts it: of two that do so at once the database refuses one, which finds
    the alias there when it comes again.
    """
    try:
        client.set_registered_model_alias(name, CHALLENGER, version)
    except MlflowException:
        if CHALLENGER not in client.get_registered_model(name).aliases:
            raise
        client.set_registered_model_alias(name, CHALLENGER, version)


def _logged(info: ModelInfo | str | Path) -> tuple[str, str | None, str]:
    """The id, the run and the digest of a logged model."""
    try:
        model = info if isinstance(info, ModelInfo) else Model.load(str(info))
    except (MlflowException, OSError) as error:
        raise ArtifactError(f"{info} holds no MLflow model: {error}") from error
    if not model.model_id:
        raise ArtifactError("the model is not logged yet; register what log_model or upload_model returned")
    return str(model.model_id), model.run_id, str(model.flavors.get(FLAVOR_NAME, {}).get("digest") or "")


def _version_of(client: MlflowClient, name: str, model_id: str) -> ModelVersion | None:
    """The version that this logged model already is; MLflow itself keeps the id nowhere that could be asked."""
    found = client.search_model_versions(f"name='{name}' and tag.`{MODEL_ID}`='{model_id}'")
    return min(found, key=lambda one: int(one.version), default=None)


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """The champion's version, None where the model has none yet.

    Raises:
        ArgumentError: no registered model can have that name.
        StoreError: the store gave no answer.

    >>> from forecast_kit import Naive, Panel, load
    >>> from forecast_kit.mlflow import connect, log_model
    >>> client = connect().client
    >>> model = Naive(horizon=2).fit(Panel.from_frame(*load("air_passengers")))
    >>> info = log_model(model, registered_model_name="passengers")
    >>> print(champion(client, "passengers"))  # a version is challenger first
    None
    >>> decision = rollback(client, "passengers", to="1", reason="somebody has to begin")
    >>> print(champion(client, "passengers").version)
    1
    """
    return _by_alias(client, name, CHAMPION)


def challenger(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version that was registered last and has not become champion, None where there is none.

    Raises: as `champion`.
    """
    return _by_alias(client, name, CHALLENGER)


def _by_alias(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    check_name(name)
    try:
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in MISSING:
            return None
        raise StoreError(f"cannot ask for the {alias} of {name!r}: {error.message}") from error


def find_version(client: MlflowClient, name: str, version: str) -> ModelVersion:
    """The version that a number, or one of the words `champion` and `challenger`, names.

    Raises:
        ArgumentError: it is neither; other aliases are not used here, and `latest` and `v1` are MLflow's own.
        StoreError: there is none.
    """
    if version in (CHAMPION, CHALLENGER):
        found = _by_alias(client, name, version)
        if found is None:
            raise StoreError(f"{name!r} has no {version}; register a model, or name a version")
        return found
    check_name(name)
    if not (version.isascii() and version.isdigit()):
        raise ArgumentError(f"a version is a number, or one of {CHAMPION} and {CHALLENGER}; got {version!r}")
    with told(f"cannot find version {version} of {name!r}"):
        return client.get_model_version(name, version)


def promote(
    client: MlflowClient, name: str, version: str, verdict: Verdict, *, against: str | None, trial: str = ""
) -> Decision:
    """Makes a version champion if the gate says so, and writes down why; a refusal is written down too.

    It is refused, too, where another version became champion while this one was judged: it has not been compared with
    that one. First the version's tags and text tell the verdict, then the alias moves as `ledger` tells: a crash in
    between leaves a version with `decision: promoted` that has no `champion_from`, and calling again completes it.
    Copies of champions on this machine follow, see `forecast_kit.mlflow.deploying.follow`.

    Args:
        client: of the store.
        name, version: the registered model and the challenger's version.
        verdict: of `forecast_kit.evaluation.gate.judge`.
        against: the version that was champion when it was judged, None where there was none.
        trial: the digest of data and folds, see `forecast_kit.evaluation.comparable.trial_of`.

    Raises:
        ArgumentError: no registered model can have that name.
        StoreError: the registry refused, or others kept changing it.

    >>> from forecast_kit import ETS, Panel, RollingOrigin, SeasonalNaive, backtest, load
    >>> from forecast_kit.evaluation.gate import Gate, judge
    >>> from forecast_kit.mlflow import connect, log_model
    >>> client, panel = connect().client, Panel.from_frame(*load("air_passengers"))
    >>> models = {"naive": SeasonalNaive(), "ets": ETS(trend="add", horizon=12)}
    >>> found = backtest(models, panel, RollingOrigin(12, folds=2))
    >>> verdict = judge(found, challenger="ets", champion=None, baselines=["naive"], gate=Gate(min_skill=0.05))
    >>> info = log_model(models["ets"].fit(panel), registered_model_name="passengers")
    >>> promote(client, "passengers", "1", verdict, against=None).promoted
    True
    """
    check_name(name)
    with told(f"the registry refused the decision on {name!r} version {version}"):
        client.get_model_version(name, version)
        with exclusive(client, name) as check:
            model = ledger.settle(client, name)
            before = model.aliases.get(CHAMPION)
            before = None if before is None else str(before)
            if before == version:
                reason = f"Version {version} of {name} is the champion already."
                return Decision(True, reason, version, _replaced(model.tags))
            if verdict.promoted and before != against:
                verdict = verdict.refused(
                    f"the champion was {_version(against)} when {verdict.challenger} was judged and is "
                    f"{_version(before)} now; judge it again"
                )
            at = ledger.next_stamp(model.tags)
            _write_verdict(client, name, version, verdict, against=against, trial=trial, at=at)
            if verdict.promoted:
                change = Change(at, version, verdict.challenger, before, "promotion", verdict.reason)
                ledger.apply(client, name, change, check=check)
    if verdict.promoted:
        deploying.follow(client, name)
    return Decision(verdict.promoted, verdict.reason, version, before)


def rollback(client: MlflowClient, name: str, *, to: str | None = None, reason: str = "") -> Decision:
    """Makes the version champion that the present one replaced, or another one, without asking a gate.

    A second call goes one further back. What was taken back is not deleted: it can be promoted again. Copies of
    champions on this machine follow, see `forecast_kit.mlflow.deploying.follow`; other machines hear of it when a job
    of theirs next asks the registry. For a job's `cooldown` a rollback counts as a training.

    Args:
        client: of the store.
        name: the registered model.
        to: the version; by default the champion before the present one.
        reason: why, for those who read it later.

    Raises:
        ArgumentError: `to` is no version, or is the champion already.
        StoreError: there is no champion before, or its version was deleted.

    >>> from forecast_kit import Naive, Panel, load
    >>> from forecast_kit.mlflow import connect, log_model
    >>> client = connect().client
    >>> model = Naive(horizon=2).fit(Panel.from_frame(*load("air_passengers")))
    >>> first, second = (log_model(model, registered_model_name="passengers") for _ in range(2))
    >>> for version in ("1", "2"):
    ...     decision = rollback(client, "passengers", to=version)
    >>> print(rollback(client, "passengers", reason="forecasts of the south exploded").reason)
    Rolled back: version 1 replaces version 2: forecasts of the south exploded.
    """
    check_name(name)
    with told(f"the registry refused the rollback of {name!r}"):
        client.get_registered_model(name)
        with exclusive(client, name) as check:
            model = ledger.settle(client, name)
            known = ledger.changes(model.tags)
            line = ledger.line_of_succession(known)
            target = to if to is not None else _predecessor(name, known, line)
            found = _returning(client, name, target, [one for one in line[:-1] if one != target])
            before = known[-1].version if known else None
            if before == target:
                raise ArgumentError(f"version {target} of {name!r} is the champion already; there is nothing to do")
            why = reason.strip() or "no reason was given"
            forecaster = next((one.forecaster for one in reversed(known) if one.version == target), "")
            named = forecaster or found.tags.get("forecaster", "not told")
            change = Change(ledger.next_stamp(model.tags), target, named, before, "rollback", why)
            ledger.apply(client, name, change, check=check)
    deploying.follow(client, name)
    return Decision(
        True, f"Rolled back: version {target} replaces {_version(before)}: {why.rstrip('.')}.", target, before
    )


def history(client: MlflowClient, name: str) -> pd.DataFrame:
    """`version, forecaster, from, until, replaced, by, reason`: who was champion when (UTC), and why, oldest first.

    See `forecast_kit.mlflow.ledger.history`.

    Raises:
        ArgumentError: no registered model can have that name.
        StoreError: there is no such model.

    >>> from forecast_kit import Naive, Panel, load
    >>> from forecast_kit.mlflow import connect, log_model
    >>> client = connect().client
    >>> model = Naive(horizon=2).fit(Panel.from_frame(*load("air_passengers")))
    >>> info = log_model(model, registered_model_name="passengers")
    >>> decision = rollback(client, "passengers", to="1", reason="somebody has to begin")
    >>> history(client, "passengers")[["version", "forecaster", "by", "reason"]].iloc[0].tolist()
    ['1', 'not told', 'rollback', 'somebody has to begin']
    """
    check_name(name)
    with told(f"cannot read the history of {name!r}"):
        return ledger.history(client, name)


def _predecessor(name: str, known: list[Change], line: list[str]) -> str:
    """Who was champion before the present one."""
    if not known or known[-1].version is None:
        raise StoreError(
            f"{name!r} has no champion that could be rolled back; name the version to return to (to=, --to)"
        )
    if len(line) < 2:
        raise StoreError(f"version {known[-1].version} is the first champion of {name!r}, there is none before it; "
                         f"name the version to go to (to=, --to)")  # fmt: skip
    return line[-2]


def _returning(client: MlflowClient, name: str, target: str, earlier: list[str]) -> ModelVersion:
    """The version to go back to, if it is still there."""
    if not (target.isascii() and target.isdigit()):
        raise ArgumentError(f"to is the number of a version, got {target!r}")
    found = existing(client, name, target)
    if found is None:
        others = [one for one in dict.fromkeys(reversed(earlier)) if existing(client, name, one) is not None]
        cure = f"earlier champions are version {', '.join(others)}: name one (to=, --to)" if others else "none is left"
        raise StoreError(f"{name!r} has no version {target} (any more), so it cannot become champion again; {cure}")
    return found


def _replaced(tags: Mapping[str, str]) -> str | None:
    known = ledger.changes(tags)
    return known[-1].replaced if known else None


def _version(number: str | None) -> str:
    return "no version" if number is None else f"version {number}"


def _write_verdict(
    client: MlflowClient, name: str, version: str, verdict: Verdict, *, against: str | None, trial: str, at: str
) -> None:
    """The verdict as tags and text of the version; `decision` comes last, and tells that the others are there."""
    tags = {
        "forecaster": verdict.challenger, verdict.metric: f"{verdict.score:.6g}", "trial": trial, "judged_at": at,
        "judged_against": against or "none", "reason": fitting(verdict.reason, 5000),
        "decision": "promoted" if verdict.promoted else "refused",
    }  # fmt: skip
    before = client.get_model_version(name, version).description
    client.update_model_version(name, version, kept_text(_text(verdict), before, _MARKS, least=3000))
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)


def _text(verdict: Verdict) -> str:
    """The reason, the checks and the scores in Markdown."""
    checks = verdict.checks.assign(passed=verdict.checks["passed"].map({True: "yes", False: "**no**"}))
    board = verdict.board.rename(columns={"skill": "challenger's skill", "p_value": "p", "predict_s": "predict s"})
    board = board.assign(
        **{"challenger's skill": board["challenger's skill"].map(percent), "p": board["p"].map(p_value)}
    )
    parts = ["**Checks**", markdown(checks), "**Scores**", markdown(board)]
    return "\n\n".join([fitting(verdict.reason.replace("\n", " "), 1500), *parts])
