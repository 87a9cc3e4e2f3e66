"""The tracking store: an embedded SQLite one by default, created once however many processes start."""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import requests
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from forecast_kit.errors import StoreError

DEFAULT_FOLDER = ".forecast_kit"

# What a store raises that gives no answer; MLflow lets the second through while it opens a database that is broken.
NO_ANSWER = (MlflowException, SQLAlchemyError)


@dataclass(frozen=True)
class Store:
    """Where runs and models are kept.

    Attributes:
        uri: MLflow's tracking and registry URI.
        folder: the embedded store's folder, None for a server that somebody else runs.
        home: a local folder; what could not be sent yet waits under it in `journal`.
        offline: whether nothing is to be sent now.

    >>> from forecast_kit.mlflow import connect
    >>> store = connect()
    >>> store.folder.name, store.link("/models/demand")
    ('.forecast_kit', 'http://127.0.0.1:5000/#/models/demand?workflowType=machine_learning')
    """

    uri: str
    folder: Path | None
    home: Path
    offline: bool = False

    @property
    def client(self) -> MlflowClient:
        """MLflow's client for this store."""
        return MlflowClient(self.uri, self.uri)

    def experiment(self, name: str) -> str:
        """The id of the experiment of that name, created if need be.

        Raises:
            StoreError: it cannot be created, or was deleted.
        """
        with _lock(self.folder):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                location = None
                if self.folder is not None:
                    # MLflow freezes the location at creation, and its own default depends on the folder one is in.
                    location = (self.folder / "artifacts" / re.sub(r"[^\w.-]+", "_", name)).as_uri()
                try:
                    return self.client.create_experiment(name, artifact_location=location)
                except MlflowException as error:
                    # Another process was quicker, or the name is that of an experiment that was deleted.
                    found = self.client.get_experiment_by_name(name)
                    if found is None:
                        raise StoreError(f"cannot create the experiment {name!r}: {error.message}") from error
        if found.lifecycle_stage != "active":
            raise StoreError(f"experiment {name!r} was deleted; restore it (mlflow experiments restore "
                             f"--experiment-id {found.experiment_id}), or choose another name")  # fmt: skip
        return found.experiment_id

    @property
    def journal(self) -> Path:
        """The folder of what could not be sent yet."""
        return self.home / "journal"

    def answers(self, seconds: float = 3.0) -> bool:
        """Whether the server can be reached at all; a store without one always can."""
        if not self.uri.startswith(("http://", "https://")):
            return True
        try:
            # Any answer will do: behind a proxy or an authentication it need not be a friendly one.
            requests.get(f"{self.uri.rstrip('/')}/health", timeout=seconds)
        except requests.RequestException:
            return False
        return True

    def link(self, page: str = "/experiments", base: str = "http://127.0.0.1:5000") -> str:
        """The address of a page of the MLflow UI, in the view that shows models and not traces.

        Args:
            page: such as `/experiments/1/runs/ab12`, `/models/demand`.
            base: where the UI answers; `make ui` serves the embedded store there.
        """
        root = self.uri if self.uri.startswith("http") else base
        return f"{root.rstrip('/')}/#{page}?workflowType=machine_learning"


def connect(folder: str | Path | None = None, *, offline: bool = False) -> Store:
    """The store that MLflow calls of this process go to from now on.

    `MLFLOW_TRACKING_URI`, where it is set and no folder is given, names the store. Otherwise it is
    `<folder>/mlflow.db` with artefacts beside it, created on first use under a file lock: MLflow's
    own first use of SQLite ruins the store when two processes race.

    Calls to a server give up after 15 seconds and one repetition, in place of MLflow's four minutes, where
    `MLFLOW_HTTP_REQUEST_TIMEOUT` and `MLFLOW_HTTP_REQUEST_MAX_RETRIES` do not say otherwise.

    Args:
        folder: the embedded store's folder; by default `.forecast_kit` in the current one.
        offline: asks the store for nothing: runs go to the journal alone, and `forecast-kit sync` sends them.

    Raises:
        StoreError: the store cannot be opened, or the server does not answer within three seconds.

    >>> store = connect()
    >>> store.folder.name, store.answers(), store.experiment("demand")
    ('.forecast_kit', True, '1')
    """
    # MLflow draws bars for every download wherever tqdm is installed, also into logs.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    home = Path(folder or DEFAULT_FOLDER).absolute()
    if uri and folder is None:
        store = Store(uri, None, home, offline)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        # It prints a link at the end of each run, to the view that shows traces and not models.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    else:
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot create the store's folder {home}: {error}") from error
        store = Store(f"sqlite:///{home / 'mlflow.db'}", home, home, offline)
    if not offline:
        _open(store)
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    return store


def _open(store: Store) -> None:
    """Makes the embedded store, and asks any store a question.

    Raises:
        StoreError: it gives no answer.
    """
    if not store.answers():
        raise StoreError(
            f"the tracking server {store.uri} does not answer; start it, correct MLFLOW_TRACKING_URI, or work without "
            f"it (--offline, connect(offline=True)) and run forecast-kit sync later"
        )
    for chatty in ("alembic", "mlflow.store.db.utils"):  # a hundred lines of table creation otherwise
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        with _lock(store.folder):
            if store.folder is not None and not (store.folder / "mlflow.db").exists():
                _create(store.folder)
            store.client.search_experiments(max_results=1)
    except MlflowException as error:
        raise StoreError(f"cannot open the tracking store {store.uri}: {error.message}") from error
    except SQLAlchemyError as error:
        what = str(error).splitlines()[0]
        raise StoreError(f"cannot open the tracking store {_shown(store.uri)}: {what}") from error


def _create(folder: Path) -> None:
    """Makes the embedded store's database: whole, or not at all, as one whose making was cut short is of no use."""
    for left in folder.glob(".mlflow-*"):
        left.unlink()
    staging = folder / f".mlflow-{uuid.uuid4().hex}.db"
    # The default experiment's artefacts would otherwise lie in whatever folder this process is in.
    made = SqlAlchemyStore(f"sqlite:///{staging}", (folder / "artifacts" / "Default").as_uri())
    made.engine.dispose()
    staging.replace(folder / "mlflow.db")


def _shown(uri: str) -> str:
    """The URI without a password."""
    scheme, mark, rest = uri.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


@contextmanager
def _lock(folder: Path | None) -> Iterator[None]:
    """One process at a time in an embedded store's set-up; servers look after themselves."""
    if folder is None:
        yield
        return
    try:
        with FileLock(folder / "store.lock", timeout=120):
            yield
    except Timeout as error:
        raise StoreError(f"another process has held {folder / 'store.lock'} for two minutes; is it stuck?") from error
