"""Versions of a registered model by their tags: which training registered them, and whether the gate has decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from forecast_kit.mlflow import ledger
from forecast_kit.mlflow.naming import check_name, told


def tagged(client: MlflowClient, name: str, tags: Mapping[str, str]) -> list[ModelVersion]:
    """The versions that have all of the tags, the oldest first; none where there is no such model.

    Raises:
        ArgumentError: no registered model can have that name.
        StoreError: the store gave no answer.
    """
    check_name(name)
    # MLflow's filters have no way to write a quote or a backslash: values with one are compared here alone.
    asked = [f"tag.`{key}` = '{value}'" for key, value in tags.items() if not set(value) & {"'", '"', "\\"}]
    with told(f"cannot search the versions of {name!r}"):
        found = _all_versions(client, " and ".join([f"name = '{name}'", *asked]))
    mine = [one for one in found if all(one.tags.get(key) == value for key, value in tags.items())]
    return sorted(mine, key=lambda one: int(one.version))


def _all_versions(client: MlflowClient, wanted: str) -> Iterator[ModelVersion]:
    """The versions that a filter finds, of however many pages."""
    token: str | None = None
    while True:
        page = client.search_model_versions(wanted, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def decided(client: MlflowClient, name: str, version: ModelVersion) -> bool:
    """Whether the gate's decision on a version is complete; a promotion is when the registry tells of the change.

    Raises:
        StoreError: the store gave no answer.
    """
    decision = version.tags.get("decision")
    if decision != "promoted":
        return decision == "refused"
    with told(f"cannot read the history of {name!r}"):
        known = ledger.changes(client.get_registered_model(name).tags)
    return str(version.version) in [change.version for change in known]
