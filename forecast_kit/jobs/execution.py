"""Chunks of series, forecast one after another, by processes of this machine, or by a Ray cluster.

The three give the same forecasts in the same order, with a bounded number of chunks under way, so that memory does not
grow with the number of series. A worker that dies is replaced, and its chunk tried again.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Full, Queue, SimpleQueue
from threading import Event, Lock, Thread
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar

import pandas as pd

from forecast_kit.core.bulk import in_bulk
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, ForecastKitError
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.degrading import ChunkForecast, Rules, forecast_frame
from forecast_kit.jobs.sections import ExecutionSection

if TYPE_CHECKING:
    from forecast_kit.mlflow import ServedModel

T = TypeVar("T")

RETRIES = 2  # of a chunk whose worker died
_PIPE = 1 << 20  # bytes: a chunk has millions, and after each filling of a pipe a thread waits for its turn again
# Read by TensorFlow, OpenMP, OpenBLAS and MKL when they are loaded; without them each worker would take every core.
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS")  # fmt: skip


@dataclass(frozen=True)
class _Task:
    """What is done with every chunk."""

    schema: PanelSchema
    as_of: AsOf
    rules: Rules
    static: pd.DataFrame | None

    def __call__(self, served: ServedModel, chunk: pd.DataFrame) -> ChunkForecast:
        with in_bulk():
            return forecast_frame(
                served, chunk, schema=self.schema, as_of=self.as_of, rules=self.rules, static=self.static
            )


# What a worker sends back: the forecast, or the error that it met.
_Outcome = ChunkForecast | Exception


def forecast_chunks(
    chunks: Iterable[pd.DataFrame],
    model: Path,
    plan: ExecutionSection,
    *,
    schema: PanelSchema,
    as_of: AsOf,
    rules: Rules,
    static: pd.DataFrame | None = None,
) -> Iterator[ChunkForecast]:
    """The forecast of each chunk, in their order, as soon as it and those before it are there.

    No more than two chunks a worker are under way, read or done, at a time. Closing the iterator, an error and Ctrl-C
    end the workers.

    Args:
        chunks: raw rows of complete series, see `forecast_frame`.
        model: a local folder with the saved MLflow model, which each worker loads once.
        plan: who does the work. Each of the processes has its share of the processors, and at least one thread.
        schema, as_of, rules, static: see `forecast_frame`.

    Raises:
        ArgumentError: Ray is asked for and not installed; and as `forecast_frame`.
        StoreError, ArtifactError: the model cannot be loaded.
        ForecastKitError: a worker died over the same chunk three times.
    """
    task = _Task(schema, as_of, rules, static)
    if plan.mode == "serial":
        return _serially(chunks, model, task)
    workers = plan.workers or available()
    if plan.mode == "processes":
        return _by_processes(chunks, model, task, workers)
    return _by_ray(chunks, model, task, workers, plan.address)


def available() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serially(chunks: Iterable[pd.DataFrame], model: Path, task: _Task) -> Iterator[ChunkForecast]:
    """In one process, of which threads read the next chunk and forecast this one while the caller writes the last."""
    served = _load(model)
    return ahead(task(served, chunk) for chunk in ahead(chunks))


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, of which a thread works out the next one while the caller is busy with the one before.

    It works on one more than the caller has asked for. An error comes where its item would have come; closing the
    iterator ends the thread with the item that it is at.

    >>> list(ahead(k * k for k in range(4)))
    [0, 1, 4, 9]
    """
    ready: Queue[Callable[[], T]] = Queue(1)
    over = Event()

    def put(what: Callable[[], T]) -> None:
        while not over.is_set():
            with suppress(Full):
                return ready.put(what, timeout=0.1)

    def work() -> None:
        source = iter(items)
        try:
            while not over.is_set():
                put(partial(_same, next(source)))
        except BaseException as error:  # also the end of the items; it is raised where they are asked for
            put(partial(_raise, error))
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    worker = Thread(target=work, name="forecast-ahead", daemon=True)
    worker.start()
    try:
        while True:
            try:
                item = ready.get()()
            except StopIteration:
                return
            yield item
    finally:
        over.set()
        worker.join()


def _same(item: T) -> T:
    return item


def _raise(error: BaseException) -> NoReturn:
    raise error


def _load(model: Path) -> ServedModel:
    """Imported here, as a worker has to set the number of its threads before."""
    from forecast_kit.mlflow import load_served

    return load_served(str(model))


def _result(outcome: _Outcome) -> ChunkForecast:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


# ---- processes


def _by_processes(chunks: Iterable[pd.DataFrame], model: Path, task: _Task, workers: int) -> Iterator[ChunkForecast]:
    """A thread for each process hands it chunks, so that it has its next one while the caller is busy."""
    threads = max(1, available() // workers)
    team = [_Worker(model, task, threads) for _ in range(workers)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in team:
        idle.put(worker)

    def work(number: int, chunk: pd.DataFrame) -> _Outcome:
        worker = idle.get()
        try:
            return worker.ask(number, chunk)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="forecast-chunks")
    try:
        under_way: deque[Future[_Outcome]] = deque()
        for number, chunk in enumerate(chunks, 1):
            under_way.append(pool.submit(work, number, chunk))
            if len(under_way) >= 2 * workers:
                yield _result(under_way.popleft().result())
        while under_way:
            yield _result(under_way.popleft().result())
    finally:
        for worker in team:
            worker.kill()
        pool.shutdown(cancel_futures=True)
        for worker in team:
            worker.clear()


class _Worker:
    """A process that forecasts chunks, and is replaced when it dies.

    It is started as a plain command, so that it neither runs the caller's main module again nor gets its Ctrl-C; it
    ends when its pipe is closed, which is also what happens when this process is killed.

    Args:
        model, task: which it gets at its start.
        threads: that its libraries may use.
    """

    def __init__(self, model: Path, task: _Task, threads: int) -> None:
        self._setup = model, task
        own = {name: str(threads) for name in _THREADS if name not in os.environ}
        self._environment = {**os.environ, **own, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()  # between starting a process and killing it
        self._is_over = False

    def ask(self, number: int, chunk: pd.DataFrame) -> _Outcome:
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
                    [sys.executable, "-c", "from forecast_kit.jobs.execution import _serve; _serve()"],
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


def _serve() -> None:
    """What a worker process does until its pipe is closed."""
    # Answers have the pipe to themselves: what libraries print goes to the errors.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        model, task = pickle.load(sys.stdin.buffer)
        served = _attempt(lambda: _load(model))
        while True:
            try:
                chunk = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            _send(answers, served if isinstance(served, Exception) else _attempt(partial(task, served, chunk)))


def _attempt(work: Callable[[], T]) -> T | Exception:
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


# ---- Ray


def _by_ray(
    chunks: Iterable[pd.DataFrame], model: Path, task: _Task, workers: int, address: str | None
) -> Iterator[ChunkForecast]:
    """Each chunk is a task, which Ray runs again where its worker was lost; the artefact is in the object store."""
    try:
        import ray
    except ImportError as error:
        raise ArgumentError("execution.mode is 'ray', and Ray is not installed; pip install 'forecast_kit[ray]', or "
                            "say mode: processes") from error  # fmt: skip
    is_mine, under_way = not ray.is_initialized(), deque[tuple[int, Any]]()
    if is_mine:
        local = {} if address else {"num_cpus": workers, "include_dashboard": False}
        ray.init(address=address, log_to_driver=False, logging_level="error", **local)
    try:
        packed = _packed(model)
        artefact, shared = ray.put(packed), ray.put(task)
        # On a cluster workers are not started by this process.
        environment = dict.fromkeys(_THREADS, "1") | {
            name: value for name, value in os.environ.items() if name.startswith("FORECAST_KIT_")
        }
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_on_ray)
        key = hashlib.sha256(packed).hexdigest()
        for number, chunk in enumerate(chunks, 1):
            # A reference within a list is fetched by a worker that needs it, and only then.
            under_way.append((number, remote.remote(key, [artefact], environment, shared, chunk)))
            if len(under_way) >= 2 * workers:
                yield _from_ray(*under_way.popleft())
        while under_way:
            yield _from_ray(*under_way.popleft())
    finally:
        for _, waiting in under_way:
            ray.cancel(waiting, force=True)
        if is_mine:
            ray.shutdown()


def _from_ray(number: int, waiting: Any) -> ChunkForecast:
    import ray

    try:
        return _result(ray.get(waiting))
    except ray.exceptions.RayError as error:
        raise ForecastKitError(f"Ray could not forecast chunk {number}: {error}") from error


def _packed(model: Path) -> bytes:
    """The files of a folder as an archive."""
    with io.BytesIO() as memory:
        with tarfile.open(fileobj=memory, mode="w") as archive:
            archive.add(model, arcname=".")
        return memory.getvalue()


_LOADED: dict[str, ServedModel | Exception] = {}  # the model of a Ray worker, by the digest of its archive


def _on_ray(key: str, artefact: list[Any], environment: dict[str, str], task: _Task, chunk: pd.DataFrame) -> _Outcome:
    """What a Ray worker does with a chunk."""
    if key not in _LOADED:
        import ray

        os.environ.update(environment)
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(fileobj=io.BytesIO(ray.get(artefact[0]))) as archive:
                archive.extractall(folder, filter="data")
            _LOADED.clear()
            _LOADED[key] = _attempt(lambda: _load(Path(folder)))
    served = _LOADED[key]
    return served if isinstance(served, Exception) else _attempt(lambda: task(served, chunk))
