"""What is done with a chunk of series, and a process of this machine that does it."""

from __future__ import annotations

import fcntl
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, TypeVar

import pandas as pd

from forecast_kit.core.bulk import in_bulk
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ForecastKitError
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.degrading import ChunkForecast, Rules, forecast_frame

if TYPE_CHECKING:
    from forecast_kit.mlflow import ServedModel

T = TypeVar("T")

RETRIES = 2  # of a chunk whose worker died
_PIPE = 1 << 20  # bytes: a chunk has millions, and after each filling of a pipe a thread waits for its turn again
# Read by TensorFlow, OpenMP, OpenBLAS and MKL when they are loaded; without them each worker would take every core.
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS")  # fmt: skip


@dataclass(frozen=True)
class Task:
    """What is done with every chunk."""

    schema: PanelSchema
    as_of: AsOf
    rules: Rules
    static: pd.DataFrame | None

    def __call__(self, served: ServedModel, chunk: pd.DataFrame) -> ChunkForecast:
        """The forecast of a chunk."""
        with in_bulk():
            return forecast_frame(
                served, chunk, schema=self.schema, as_of=self.as_of, rules=self.rules, static=self.static
            )


# What a worker sends back: the forecast, or the error that it met.
Outcome = ChunkForecast | Exception


def load(model: Path) -> ServedModel:
    """The model of a local folder."""
    # Imported here, as a worker has to set the number of its threads before.
    from forecast_kit.mlflow import load_served

    return load_served(str(model))


class Worker:
    """A process that forecasts chunks, and is replaced when it dies.

    It is started as a plain command, so that it neither runs the caller's main module again nor gets its Ctrl-C; it
    ends when its pipe is closed, which is also what happens when this process is killed.

    Args:
        model, task: which it gets at its start.
        threads: that its libraries may use.
    """

    def __init__(self, model: Path, task: Task, threads: int) -> None:
        self._setup = model, task
        own = {name: str(threads) for name in THREADS if name not in os.environ}
        self._environment = {**os.environ, **own, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()  # between starting a process and killing it
        self._is_over = False

    def ask(self, number: int, chunk: pd.DataFrame) -> Outcome:
        """What became of the chunk.

        Raises:
            ForecastKitError: three processes died over it.
        """
        status = ""
        for _ in range(1 + RETRIES):
            try:
                process = self._started()
                _send(process.stdin, chunk)
                return _received(process.stdout)
            except (OSError, EOFError, pickle.UnpicklingError):  # it died, before or while it answered
                status = self.clear()
        raise ForecastKitError(
            f"the worker processes of chunk {number} ({_told(chunk, self._setup[1].schema)}) died {1 + RETRIES} times, "
            f"the last one with {status}; where that is for lack of memory, lower execution.chunk or execution.workers"
        )

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_over:
                raise ForecastKitError("the forecast was broken off")
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", "from forecast_kit.jobs.workers import serve; serve()"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment, start_new_session=True,
                )  # fmt: skip
                for pipe in (self._process.stdin, self._process.stdout):
                    _widen(pipe)
                _send(self._process.stdin, self._setup)
            return self._process

    def kill(self) -> None:
        """Ends the process, whatever it is doing, and starts no other."""
        with self._lock:
            self._is_over = True
            if self._process is not None:
                self._process.kill()

    def clear(self) -> str:
        """Puts away what is left of the process; how it ended."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return ""
        process.kill()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None  # they are pipes
            with suppress(OSError):  # what was not sent yet cannot be sent any more
                pipe.close()
        status = process.wait()
        return f"signal {-status}" if status < 0 else f"exit status {status}"


def _widen(pipe: IO[bytes] | None) -> None:
    """Lets a pipe hold more, where the system can and this user may."""
    assert pipe is not None  # it is one
    with suppress(OSError, AttributeError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def _send(pipe: IO[bytes] | None, what: Any) -> None:
    assert pipe is not None  # it is one
    pickle.dump(what, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def _received(pipe: IO[bytes] | None) -> Any:
    assert pipe is not None  # it is one
    return pickle.load(pipe)


def _told(chunk: pd.DataFrame, schema: PanelSchema) -> str:
    """A chunk in words."""
    ids = chunk[schema.id_col]
    return f"{ids.nunique()} series, {ids.iloc[0]!r} to {ids.iloc[-1]!r}"


def serve() -> None:
    """What a worker process does until its pipe is closed."""
    # Answers have the pipe to themselves: what libraries print goes to the errors.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        model, task = pickle.load(sys.stdin.buffer)
        served = attempt(lambda: load(model))
        while True:
            try:
                chunk = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            _send(answers, served if isinstance(served, Exception) else attempt(partial(task, served, chunk)))


def attempt(work: Callable[[], T]) -> T | Exception:
    """What came out, or the error, as another process can read it."""
    try:
        return work()
    except Exception as error:
        error.add_note("".join(traceback.format_tb(error.__traceback__)).rstrip())
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # whatever a foreign class does when it is pickled
            return ForecastKitError(f"{type(error).__name__}: {error}")
        return error
