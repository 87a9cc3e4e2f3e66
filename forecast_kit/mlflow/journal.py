"""The journal: what a run has to say, written to a local file first and sent from there.

A training must neither wait for a tracking server nor lose a point because the server was away. So each logging call
appends one line to `entries.jsonl`, in a folder of the run's own, and returns; a thread (`forecast_kit.mlflow.sending`)
sends the lines in order and writes into `state.json` how far it has come. What is left when a process ends, or is
killed, `forecast-kit sync` sends.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from forecast_kit.errors import StoreError

_ENTRIES, _STATE, _REFUSED, _LOCK = "entries.jsonl", "state.json", "refused.jsonl", "in-use.lock"


@dataclass
class State:
    """How far a journal was sent, and under which names the store knows what it tells of.

    Attributes:
        offset: bytes of the entries that are done.
        uri: the store that they went to; None while nothing has been sent.
        experiment: the store's id of the experiment.
        runs, models, versions: the store's ids, by the journal's own keys.
        refused: how many entries the store will never take, such as a parameter that has changed.
    """

    offset: int = 0
    uri: str | None = None
    experiment: str | None = None
    runs: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    refused: int = 0


class Journal:
    """The entries of one run and its children, in a folder that one process at a time has open.

    Args:
        folder: of this journal alone; `create` makes a new one.

    Raises:
        StoreError: another process has it open, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / _LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise StoreError(f"the journal {folder} is in use by a process that is still running") from error
        try:
            self.state = State(**json.loads((folder / _STATE).read_text())) if (folder / _STATE).exists() else State()
            self._drop_torn_line()
            self._entries = (folder / _ENTRIES).open("ab")
        except (OSError, ValueError, TypeError) as error:
            self._lock.release()
            raise StoreError(f"cannot read the journal {folder}: {error!r}") from error
        self._guard = threading.Lock()

    @classmethod
    def create(cls, home: Path, name: str) -> Self:
        """A new journal under `home`, in a folder named by time and run, so that journals sort by age.

        Raises:
            StoreError: the folder cannot be made.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        folder = home / f"{stamp}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)[:60]}-{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"cannot write a journal under {home}: {error}") from error
        return cls(folder)

    @staticmethod
    def find(home: Path) -> list[Path]:
        """The folders of the journals under `home`, oldest first."""
        return sorted(path.parent for path in home.glob(f"*/{_ENTRIES}"))

    @staticmethod
    def in_use(folder: Path) -> bool:
        """Whether a process has the journal open."""
        try:
            with FileLock(folder / _LOCK).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def append(self, entry: Mapping[str, Any]) -> None:
        """Adds an entry; once this returns, the end of the process does not lose it."""
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        with self._guard:
            self._entries.write(line)
            self._entries.flush()

    def waiting(self) -> Iterator[tuple[dict[str, Any], int]]:
        """The entries that are not done, each with the offset that is reached when it is."""
        offset = self.state.offset
        with (self.folder / _ENTRIES).open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # being written at this moment
                offset += len(line)
                yield json.loads(line), offset

    def end_open_runs(self) -> None:
        """Adds the end of every run that has none, as killed: this process has the journal, so theirs is gone."""
        open_runs: dict[str, int] = {}
        with (self.folder / _ENTRIES).open("rb") as file:
            for line in file:
                entry = json.loads(line)
                times = [entry["time"]] if "time" in entry else [point[2] for point in entry.get("metrics", ())]
                if entry["do"] == "run":
                    open_runs[entry["run"]] = times[0]
                elif entry["do"] == "end":
                    del open_runs[entry["run"]]
                elif times and entry["run"] in open_runs:
                    open_runs[entry["run"]] = max(open_runs[entry["run"]], *times)
        for key in reversed(open_runs):  # children before their parents
            self.append({"do": "end", "run": key, "status": "KILLED", "time": open_runs[key]})

    @property
    def done(self) -> bool:
        """Whether every entry was sent or refused."""
        return self.state.offset >= (self.folder / _ENTRIES).stat().st_size

    def advance(self, offset: int) -> None:
        """Notes that all entries up to the offset are done, and everything else in `state`."""
        self.state.offset = offset
        staging = self.folder / f"{_STATE}.part"
        staging.write_text(json.dumps(asdict(self.state)))
        staging.replace(self.folder / _STATE)

    def refuse(self, entry: Mapping[str, Any], reason: str) -> None:
        """Sets an entry aside that the store will never take, with the reason, for people to read."""
        with (self.folder / _REFUSED).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"reason": reason, "entry": entry}) + "\n")
        self.state.refused += 1

    def new_folder(self) -> Path:
        """An empty folder beside the entries, for files that an entry names."""
        path = self.folder / "files" / uuid.uuid4().hex[:12]
        path.mkdir(parents=True)
        return path

    def close(self) -> None:
        """Leaves the journal to other processes; one that is done and had nothing refused is removed."""
        self._entries.close()
        finished = self.done and not self.state.refused
        self._lock.release()
        if finished:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _drop_torn_line(self) -> None:
        """A process that was killed while it wrote leaves a line without an end, which the next one must not go on."""
        path = self.folder / _ENTRIES
        if path.exists():
            whole = path.read_bytes()
            if not whole.endswith(b"\n"):
                path.write_bytes(whole[: whole.rfind(b"\n") + 1])
