"""Sending a journal to the store: in order, each entry once, however often the server goes away in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from forecast_kit.errors import ForecastKitError, StoreError
from forecast_kit.mlflow import registry
from forecast_kit.mlflow.journal import Journal
from forecast_kit.mlflow.store import Store
from forecast_kit.mlflow.uploading import upload_model

# By which a run is found again whose creation was not heard of; the UI shows no tag that begins like this.
KEY_TAG = "mlflow.forecast_kit.key"
# What the store will say again however often it is asked; everything else may be otherwise tomorrow.
_NEVER = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE"}
_METRICS, _OTHERS = 1000, 100  # how many of them MLflow takes in one call
_PAUSE = 1.0  # seconds in which entries gather to one call
_LONGEST_WAIT = 15.0  # seconds between two looks for a server that is away

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Synced:
    """What became of a journal.

    Attributes:
        folder: of the journal.
        sent: entries that have arrived now.
        left: entries that still wait.
        refused: entries that the store will never take; `refused.jsonl` in the folder tells which and why.
        trouble: why entries wait, empty where none do.

    >>> from forecast_kit.mlflow import connect, start_run
    >>> with start_run(connect(offline=True), "demand", "on the train") as run:
    ...     run.log_metrics({"mase": 0.9})
    >>> done = sync(connect())[0]
    >>> done.sent > 0, done.left, done.refused
    (True, 0, 0)
    """

    folder: Path
    sent: int
    left: int
    refused: int
    trouble: str


def waiting(store: Store) -> list[Path]:
    """The folders of the store's journals that are left and that no running process has open, oldest first.

    Args:
        store: from `connect`.

    >>> from forecast_kit.mlflow import connect, start_run
    >>> with start_run(connect(offline=True), "demand", "on the train") as run:
    ...     run.log_metrics({"mase": 0.9})
    >>> len(waiting(connect(offline=True)))
    1
    """
    return [folder for folder in Journal.find(store.journal) if not Journal.in_use(folder)]


def sync(store: Store) -> list[Synced]:
    """Sends every journal of the store that no running process has open, oldest first, and tells of each.

    Runs whose process was killed before they ended are ended as killed, at the time of their last word. A store that
    is away, or a journal that cannot be read, is no error: `Synced.trouble` tells.

    Args:
        store: from `connect`.

    >>> from forecast_kit.mlflow import connect, start_run
    >>> with start_run(connect(offline=True), "demand", "on the train") as run:
    ...     run.log_metrics({"mase": 0.9})
    >>> [(one.left, one.trouble) for one in sync(connect())], waiting(connect())
    ([(0, '')], [])
    """
    told = []
    for folder in Journal.find(store.journal):
        try:
            journal = Journal(folder)
        except StoreError as error:
            told.append(Synced(folder, 0, 0, 0, str(error)))
            continue
        trouble = ""
        try:
            journal.end_open_runs()
            before = sum(1 for _ in journal.waiting())
            try:
                Replay(journal, store, resumed=True).some()
            except (Away, StoreError) as error:
                trouble = str(error)
            left = sum(1 for _ in journal.waiting())
            told.append(Synced(folder, before - left, left, journal.state.refused, trouble))
        finally:
            journal.close()
    return told


class Away(Exception):
    """The store does not answer, or fails at what it should be able to do."""


class Refused(Exception):
    """The store will never take this entry."""


class Sender:
    """Sends what is added to a journal from a thread of its own, so that nobody waits for the store.

    Args:
        journal: open.
        store: where to.
    """

    def __init__(self, journal: Journal, store: Store) -> None:
        self.trouble = ""  # why the store was away when it last was
        self._replay = Replay(journal, store, resumed=False)
        self._journal, self._store = journal, store
        self._wake = threading.Event()
        self._hurry, self._stop = False, False
        self._away_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="forecast_kit-sender", daemon=True)
        self._thread.start()

    def flush(self, patience_s: float = 5.0) -> bool:
        """Whether everything has been sent; waits for it, but no longer than this for a store that is away."""
        began = time.monotonic()
        self._hurry = True
        try:
            while not self._journal.done and self._thread.is_alive():
                self._wake.set()
                away = self._away_since
                if away is not None and time.monotonic() - max(away, began) > patience_s:
                    return False
                time.sleep(0.02)
        finally:
            self._hurry = False
        return self._journal.done

    def close(self) -> None:
        """Ends the thread; what it has not sent stays in the journal."""
        self._stop = True
        self._wake.set()
        # A call that hangs ends by its own time limit, and the process need not wait for it.
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        wait = _PAUSE
        while not self._stop:
            try:
                if self._away_since is not None and not self._store.answers():
                    raise Away(f"{self._store.uri} does not answer")
                self._replay.some(lambda: self._stop)
                self._away_since, wait = None, _PAUSE
            except Away as error:
                self.trouble = str(error)
                self._away_since = self._away_since or time.monotonic()
                wait = min(wait * 2, _LONGEST_WAIT)
            if self._hurry:
                wait = _PAUSE
                time.sleep(0.02 if self._away_since is None else 0.5)
            else:
                self._wake.wait(wait)
            self._wake.clear()


class Replay:
    """Applies the entries of a journal to a store, from where the last one left off.

    Args:
        journal: open.
        store: where to.
        resumed: whether another process has sent from this journal, or may have.

    Raises:
        StoreError: a part of the journal has already gone to another store.
    """

    def __init__(self, journal: Journal, store: Store, *, resumed: bool) -> None:
        state = journal.state
        if state.uri is not None and state.uri != store.uri:
            raise StoreError(f"a part of the journal {journal.folder} is in {state.uri}, the rest cannot go to "
                             f"{store.uri}; set MLFLOW_TRACKING_URI to the former")  # fmt: skip
        self._journal, self._state, self._store = journal, state, store
        self._client = store.client
        # After a failure nobody knows whether the last entry arrived: then creations are looked for before they are
        # repeated. Everything else may be said twice.
        self._in_doubt = resumed
        self._apply: dict[str, Callable[[Entry], None]] = {
            "run": self._run, "log": self._log, "input": self._input, "file": self._file, "model": self._model,
            "register": self._register, "end": self._end,
        }  # fmt: skip

    def some(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Sends what is there now.

        Raises:
            Away: the store did not take it; the entry will be the first of the next call.
        """
        for entries, offset in _merged(self._journal.waiting()):
            if stopped():
                return
            try:
                self._apply_one(_together(entries))
            except Refused as error:
                if len(entries) == 1:
                    self._journal.refuse(entries[0], str(error))
                else:
                    self._one_by_one(entries)  # one of them is at fault
            if stopped():
                return  # the journal may be another process's by now, which sends this once more and does no harm
            self._state.uri = self._store.uri
            self._journal.advance(offset)
            self._in_doubt = False

    def _one_by_one(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            try:
                self._apply_one(entry)
            except Refused as error:
                self._journal.refuse(entry, str(error))

    def _apply_one(self, entry: Entry) -> None:
        try:
            self._apply[entry["do"]](entry)
        except MlflowException as error:
            if error.error_code in _NEVER:
                raise Refused(error.message) from error
            self._in_doubt = True
            raise Away(str(error.message).splitlines()[0]) from error
        except ForecastKitError as error:
            cause = error.__cause__
            if not isinstance(error, StoreError) or (isinstance(cause, MlflowException) and cause.error_code in _NEVER):
                raise Refused(str(error)) from error
            self._in_doubt = True
            raise Away(str(error)) from error
        except Exception as error:
            # Whatever a store throws besides, the thread must live and the entry stay; `trouble` tells of it.
            self._in_doubt = True
            raise Away(repr(error)) from error

    def _id(self, key: str) -> str:
        if key not in self._state.runs:
            raise Refused(f"its run {key} was refused")
        return self._state.runs[key]

    def _run(self, entry: Entry) -> None:
        experiment = self._store.experiment(entry["experiment"])
        known = None
        if self._in_doubt:
            found = self._client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{entry['run']}'", max_results=1)
            known = found[0].info.run_id if found else None
        if known is None:
            tags = {**entry["tags"], KEY_TAG: entry["run"]}
            if entry["parent"] is not None:
                tags["mlflow.parentRunId"] = self._id(entry["parent"])
            known = self._client.create_run(experiment, entry["time"], tags, entry["name"]).info.run_id
        self._state.experiment = experiment
        self._state.runs[entry["run"]] = known

    def _log(self, entry: Entry) -> None:
        model = self._state.models.get(entry.get("model", ""))
        name, digest = entry.get("dataset", (None, None))
        run_id = self._id(entry["run"])
        metrics = [
            Metric(key, value, at, step, model_id=model, dataset_name=name, dataset_digest=digest, run_id=run_id)
            for key, value, at, step in entry.get("metrics", ())
        ]
        params = [Param(key, value) for key, value in entry.get("params", {}).items()]
        tags = [RunTag(key, value) for key, value in entry.get("tags", {}).items()]
        for part in _slices(metrics, _METRICS):
            self._client.log_batch(run_id, metrics=part)
        for some in _slices(params, _OTHERS):
            self._client.log_batch(run_id, params=some)
        for few in _slices(tags, _OTHERS):
            self._client.log_batch(run_id, tags=few)

    def _input(self, entry: Entry) -> None:
        dataset = Dataset(**entry["dataset"])
        self._client.log_inputs(
            self._id(entry["run"]), [DatasetInput(dataset, [InputTag("mlflow.data.context", entry["context"])])]
        )

    def _file(self, entry: Entry) -> None:
        self._client.log_artifact(self._id(entry["run"]), str(self._path(entry)), entry["folder"] or None)

    def _model(self, entry: Entry) -> None:
        info = upload_model(
            self._client, self._path(entry), self._id(entry["run"]), name=entry["name"], tags=entry["tags"]
        )
        self._state.models[entry["model"]] = info.model_id

    def _register(self, entry: Entry) -> None:
        version = registry.register(
            self._client, self._path(entry), entry["name"], tags=entry["tags"], description=entry["description"]
        )
        self._state.versions[entry["model"]] = version

    def _end(self, entry: Entry) -> None:
        self._client.set_terminated(self._id(entry["run"]), entry["status"], entry["time"])

    def _path(self, entry: Entry) -> Path:
        path = self._journal.folder / entry["path"]
        if not path.exists():
            raise Refused(f"somebody has removed {path}")
        return path


def _merged(waiting: Iterable[tuple[Entry, int]]) -> Iterator[tuple[list[Entry], int]]:
    """The entries, those together that one call can carry, and the offset that is reached with them."""
    group: list[Entry] = []
    reached = 0
    for entry, offset in waiting:
        if group and not (_plain_log(entry) and _plain_log(group[0]) and entry["run"] == group[0]["run"]
                          and sum(len(one.get("metrics", ())) for one in group) < _METRICS):  # fmt: skip
            yield group, reached
            group = []
        group.append(entry)
        reached = offset
    if group:
        yield group, reached


def _plain_log(entry: Entry) -> bool:
    return entry["do"] == "log" and "model" not in entry and "dataset" not in entry


def _together(entries: Sequence[Entry]) -> Entry:
    """Several logs of a run as one."""
    if len(entries) == 1:
        return entries[0]
    return {
        "do": "log", "run": entries[0]["run"],
        "metrics": [metric for entry in entries for metric in entry.get("metrics", ())],
        "params": {key: value for entry in entries for key, value in entry.get("params", {}).items()},
        "tags": {key: value for entry in entries for key, value in entry.get("tags", {}).items()},
    }  # fmt: skip


def _slices(values: list[Any], size: int) -> Iterator[list[Any]]:
    for first in range(0, len(values), size):
        yield values[first : first + size]
