"""Champions as jobs deploy them: copied to this machine once, so that a registry that is away stops no forecast."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.tracking import MlflowClient

from forecast_kit.errors import ArtifactError, StoreError
from forecast_kit.mlflow import ledger
from forecast_kit.mlflow.flavor import DIGEST_TAG, FLAVOR_NAME, artifact_digest
from forecast_kit.mlflow.naming import CHAMPION, MISSING, check_name
from forecast_kit.mlflow.store import DEFAULT_FOLDER, NO_ANSWER, Store

_KEPT = 3  # copies of champions, the present one among them
_LINE = "line.json"
_DATABASE = "/mlflow.db"  # of an embedded store, in the folder that copies lie below
_LOG = logging.getLogger("forecast_kit.mlflow")


@dataclass(frozen=True)
class Deployment:
    """A version that is, or was, champion, in a folder of this machine.

    Attributes:
        name: of the registered model.
        version: its number.
        folder: holds the MLflow model; `load_served` reads it.
        forecaster: the class.
        trained_until: the latest stamp that it learned from, see `Forecaster.trained_until_`.
        fetched: when this copy was made, UTC.
        asked: when the registry last told who is champion, UTC.
    """

    name: str
    version: str
    folder: Path
    forecaster: str
    trained_until: str | int | None
    fetched: datetime
    asked: datetime


def champions(store: Store, name: str) -> Iterator[Deployment]:
    """The present champion, then those before it that a rollback would go back through.

    Each is fetched when its turn comes; where the store is offline, only those are given that were fetched before.

    Args:
        store: from `connect`; copies lie under its `home`.
        name: of the registered model.

    Raises:
        ArgumentError: no registered model can have that name.
        StoreError: the store gives no answer, or an artefact cannot be fetched.
        ArtifactError: what was fetched is not what was registered.
    """
    check_name(name)
    home = _copies(store, name)
    line = _remembered(home) if store.offline else _line(store, name)
    if not store.offline:
        _remember(home, line)
    for version, digest in line:
        folder = home / version
        if store.offline and not folder.exists():
            continue
        yield _deployment(name, version, _fetched(store, name, version, digest, folder))


def follow(client: MlflowClient, name: str) -> None:
    """Takes away this machine's copies that a change of champion made wrong, and fetches the new champion's.

    Else a version that was rolled back would forecast on when the registry is away. It is called after the change, and
    does nothing where no job of this machine and folder has forecast with the model. What goes wrong is a warning: the
    change is made, and a copy that cannot be renewed is not used.

    Args:
        client: of the registry.
        name: of the registered model.
    """
    stores = (Store(client.tracking_uri, None, home) for home in _homes(client.tracking_uri))
    store = next((one for one in stores if _copies(one, name).exists()), None)
    if store is None:
        return
    home = _copies(store, name)
    try:
        _remember(home, _line(store, name))
    except (StoreError, OSError) as error:
        (home / _LINE).unlink(missing_ok=True)
        _LOG.warning("this machine's copies of %s are out of use until a job can ask the registry: %s", name, error)
        return
    try:
        next(champions(store, name), None)
    except (StoreError, ArtifactError, MlflowException, OSError) as error:
        _LOG.warning("this machine has no copy of the new champion of %s, to forecast with while the registry is away: "
                     "%s", name, error)  # fmt: skip


def _homes(uri: str) -> Iterator[Path]:
    """The folders that `connect` may have given a store of that address as `home`, the likelier first."""
    if uri.startswith("sqlite:///") and uri.endswith(_DATABASE):
        yield Path(uri.removeprefix("sqlite:///")).parent
    if uri == os.environ.get("MLFLOW_TRACKING_URI"):
        yield Path(DEFAULT_FOLDER).absolute()


def _copies(store: Store, name: str) -> Path:
    return store.home / "champions" / _folder_name(name)


def _folder_name(name: str) -> str:
    """A folder's name that no other model has.

    >>> _folder_name("demand"), _folder_name("demand (de)")
    ('demand', 'demand_de_-6e30dd1a')
    """
    plain = re.sub(r"[^\w.-]+", "_", name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _line(store: Store, name: str) -> list[tuple[str, str]]:
    """Version and digest of each champion, the present one first; of those that still exist."""
    try:
        model = store.client.get_registered_model(name)
        line = [*reversed(ledger.line_of_succession(ledger.changes(model.tags)))]
        alias = model.aliases.get(CHAMPION)
        # The alias is the truth: it may have been moved by hand, or a record of it may still be missing.
        line = [] if alias is None else list(dict.fromkeys([str(alias), *line]))
        found = [ledger.existing(store.client, name, version) for version in line]
    except NO_ANSWER as error:
        if isinstance(error, MlflowException) and error.error_code in MISSING:
            return []
        raise StoreError(f"cannot ask for the champions of {name!r}: {str(error).splitlines()[0]}") from error
    return [(str(one.version), one.tags.get(DIGEST_TAG, "")) for one in found if one is not None]


def _remember(home: Path, line: list[tuple[str, str]]) -> None:
    """Writes down whose turn it is, and removes the copies that are nobody's any more."""
    if not line and not home.exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    staging = home / f".{uuid.uuid4().hex}"
    staging.write_text(json.dumps(line))
    staging.replace(home / _LINE)
    kept = {_LINE, *(version for version, _ in line[:_KEPT])}
    for entry in home.iterdir():
        if entry.is_dir() and entry.name.isdecimal() and entry.name not in kept:
            shutil.rmtree(entry, ignore_errors=True)  # another job may just read it; the next one tries again


def _remembered(home: Path) -> list[tuple[str, str]]:
    if not (home / _LINE).exists():
        return []
    return [(str(version), str(digest)) for version, digest in json.loads((home / _LINE).read_text())]


def _fetched(store: Store, name: str, version: str, digest: str, folder: Path) -> Path:
    """The folder, which holds the version's artefact from then on: whole, or not at all."""
    if folder.exists() and (not digest or _digest(folder) == digest):
        return folder
    if store.offline:
        raise ArtifactError(f"the copy of {name} version {version} in {folder} is damaged, and the registry cannot be "
                            f"asked for another; run the job again when it can")  # fmt: skip
    staging = folder.with_name(f".{version}-{uuid.uuid4().hex}")
    try:
        local = mlflow.artifacts.download_artifacts(
            artifact_uri=f"models:/{name}/{version}", dst_path=str(staging), tracking_uri=store.uri,
            registry_uri=store.uri,
        )  # fmt: skip
        if digest and _digest(Path(local)) != digest:
            raise ArtifactError(
                f"models:/{name}/{version} is not what was registered: its tag {DIGEST_TAG} is {digest}, and its "
                f"artefact has another digest; restore the artefact, or roll back to another version"
            )
        shutil.rmtree(folder, ignore_errors=True)  # a damaged copy
        os.utime(local)  # files keep the times of the training; the folder tells when the copy was made
        Path(local).replace(folder)
    except (*NO_ANSWER, OSError) as error:
        raise StoreError(f"cannot fetch models:/{name}/{version}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def _digest(folder: Path) -> str:
    try:
        return artifact_digest(folder)
    except (ArtifactError, OSError):  # damaged in whichever way: it is fetched anew
        return "damaged"


def _deployment(name: str, version: str, folder: Path) -> Deployment:
    about = Model.load(str(folder)).flavors.get(FLAVOR_NAME)
    if about is None:
        raise ArtifactError(f"models:/{name}/{version} is no forecast_kit model; roll back to a version that is one")
    fetched, asked = (datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in (folder, folder.parent / _LINE))
    return Deployment(
        name, version, folder, str(about.get("forecaster", "")), about.get("trained_until"), fetched, asked
    )
