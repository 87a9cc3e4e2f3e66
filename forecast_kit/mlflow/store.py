"""The tracking store: an embedded SQLite one by default, created once however many processes start."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient

from forecast_kit.errors import StoreError

DEFAULT_FOLDER = ".forecast_kit"


@dataclass(frozen=True)
class Store:
    """Where runs and models are kept.

    Attributes:
        uri: MLflow's tracking and registry URI.
        folder: the embedded store's folder, None for a server that somebody else runs.
    """

    uri: str
    folder: Path | None

    @property
    def client(self) -> MlflowClient:
        """MLflow's client for this store."""
        return MlflowClient(self.uri, self.uri)

    def experiment(self, name: str) -> str:
        """The id of the experiment of that name, created if need be."""
        with _lock(self.folder):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                location = None
                if self.folder is not None:
                    # MLflow freezes the location at creation, and its own default depends on the folder one is in.
                    location = (self.folder / "artifacts" / re.sub(r"[^\w.-]+", "_", name)).as_uri()
                return self.client.create_experiment(name, artifact_location=location)
        if found.lifecycle_stage != "active":
            raise StoreError(f"experiment {name!r} was deleted; restore it (mlflow experiments restore "
                             f"--experiment-id {found.experiment_id}), or choose another name")  # fmt: skip
        return found.experiment_id

    def link(self, page: str = "/experiments", base: str = "http://127.0.0.1:5000") -> str:
        """The address of a page of the MLflow UI, in the view that shows models and not traces.

        Args:
            page: such as `/experiments/1/runs/ab12`, `/models/demand`.
            base: where the UI answers; `make ui` serves the embedded store there.
        """
        root = self.uri if self.uri.startswith("http") else base
        return f"{root.rstrip('/')}/#{page}?workflowType=machine_learning"


def connect(folder: str | Path | None = None) -> Store:
    """The store that MLflow calls of this process go to from now on.

    `MLFLOW_TRACKING_URI`, where it is set and no folder is given, names the store. Otherwise it is
    `<folder>/mlflow.db` with artefacts beside it, created on first use under a file lock: MLflow's
    own first use of SQLite ruins the store when two processes race.

    Args:
        folder: the embedded store's folder; by default `.forecast_kit` in the current one.

    Raises:
        StoreError: the store cannot be opened.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri and folder is None:
        store = Store(uri, None)
    else:
        home = Path(folder or DEFAULT_FOLDER).absolute()
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot create the store's folder {home}: {error}") from error
        store = Store(f"sqlite:///{home / 'mlflow.db'}", home)
    for chatty in ("alembic", "mlflow.store.db.utils"):  # a hundred lines of table creation otherwise
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        with _lock(store.folder):
            if store.folder is not None and not (store.folder / "mlflow.db").exists():
                # The default experiment's artefacts would otherwise lie in whatever folder this process is in.
                SqlAlchemyStore(store.uri, (store.folder / "artifacts" / "Default").as_uri())
            store.client.search_experiments(max_results=1)
    except MlflowException as error:
        raise StoreError(f"cannot open the tracking store {store.uri}: {error.message}") from error
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    return store


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
