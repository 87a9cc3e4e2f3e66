"""The registry: versions, the aliases champion and challenger, and who may become champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models.model import ModelInfo
from mlflow.tracking import MlflowClient

from forecast_kit.errors import ArgumentError, StoreError

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Gate:
    """What a challenger must show to become champion.

    Args:
        metric: the score that counts, lower is better.
        min_skill: the least `1 - score / best baseline score`; 0 means "better than every baseline".

    Raises:
        ArgumentError: the skill is not below 1.
    """

    metric: str = "mase"
    min_skill: float = 0.0

    def __post_init__(self) -> None:
        if not self.min_skill < 1.0:
            raise ArgumentError(f"min_skill is 1 - score / baseline score, so it must be below 1; got {self.min_skill}")


@dataclass(frozen=True)
class Decision:
    """Whether the challenger became champion, and why.

    Attributes:
        promoted: whether it did.
        reason: one sentence.
        version: the challenger's version.
        replaced: the version that was champion before, None if there was none.
    """

    promoted: bool
    reason: str
    version: str
    replaced: str | None


def register(client: MlflowClient, info: ModelInfo, name: str) -> str:
    """The number of the new version that the logged model becomes under the name.

    Raises:
        StoreError: the registry refused.
    """
    try:
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return str(client.create_model_version(name, info.model_uri, info.run_id, model_id=info.model_id).version)
    except MlflowException as error:
        raise StoreError(f"the registry refused a new version of {name!r}: {error.message}") from error


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """The champion's version, None where the model has none yet."""
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise StoreError(f"cannot ask for the champion of {name!r}: {error.message}") from error


def promote(
    client: MlflowClient,
    name: str,
    version: str,
    *,
    scores: Mapping[str, float],
    challenger: str,
    gate: Gate,
    trial: str,
) -> Decision:
    """Moves the alias `champion` to a version if its scores earn it, and writes why.

    The challenger must beat every baseline by the gate's skill. A champion that was judged in the
    same trial (same data, same folds) must be beaten or equalled too; scores of other trials are
    not comparable and do not count.

    Args:
        client: of the store.
        name, version: the registered model and the challenger's version.
        scores: the metric of the challenger and of every baseline, by name, over the same folds.
        challenger: which of the scores is the challenger's.
        gate: what it must show.
        trial: the digest of data and folds.

    Raises:
        StoreError: the registry refused.
    """
    before = champion(client, name)
    decision = _decide(scores, challenger, gate, version, before, trial)
    tags = {
        "forecaster": challenger,
        "trial": trial,
        gate.metric: f"{scores[challenger]:.6g}",
        "decision": "promoted" if decision.promoted else "refused",
        "replaced_version": decision.replaced or "none",
    }
    try:
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
        client.update_model_version(name, version, description=decision.reason)
        client.set_registered_model_alias(name, CHALLENGER, version)
        if decision.promoted:
            client.set_registered_model_alias(name, CHAMPION, version)
    except MlflowException as error:
        raise StoreError(f"the registry refused the decision on {name!r} version {version}: {error.message}") from error
    return decision


def _decide(
    scores: Mapping[str, float],
    challenger: str,
    gate: Gate,
    version: str,
    before: ModelVersion | None,
    trial: str,
) -> Decision:
    own = scores[challenger]
    rivals = {model: score for model, score in scores.items() if model != challenger}
    replaced = str(before.version) if before else None  # an int from SQL stores, a text from servers
    metric = gate.metric.upper() if gate.metric in ("mase", "mae") else gate.metric
    told = f"{challenger} has {metric} {own:.4f}"
    if rivals:
        best = min(rivals, key=lambda model: rivals[model])
        skill = 1.0 - own / rivals[best] if rivals[best] > 0 else 0.0
        told += f", the best baseline {best} {rivals[best]:.4f}: skill {skill:+.1%}"
        if not (own < rivals[best] and skill >= gate.min_skill):
            needed = f" of at least {gate.min_skill:.1%}" if gate.min_skill > 0 else ""
            return Decision(False, f"Refused: {told}, but a better score{needed} was needed.", version, replaced)
    if before is not None and before.tags.get("trial") == trial:
        theirs = float(before.tags.get(gate.metric, "nan"))
        if own > theirs:
            return Decision(False, f"Refused: {told}; champion version {before.version} has {theirs:.4f} on the same "
                                   f"data and folds.", version, replaced)  # fmt: skip
        told += f"; champion version {before.version} has {theirs:.4f} on the same data and folds"
    elif before is not None:
        told += f"; champion version {before.version} was judged on other data or folds"
    return Decision(True, f"Promoted: {told}.", version, replaced)
