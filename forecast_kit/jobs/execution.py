"""Chunks of series, forecast one after another, by processes of this machine, or by a Ray cluster.

The three give the same forecasts in the same order, with a bounded number of chunks under way, so that memory does not
grow with the number of series. A worker that dies is replaced, and its chunk tried again.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Full, Queue, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pandas as pd

from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, ForecastKitError
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.degrading import ChunkForecast, Rules
from forecast_kit.jobs.sections import ExecutionSection
from forecast_kit.jobs.workers import RETRIES, THREADS, Outcome, Task, Worker, attempt, load

if TYPE_CHECKING:
    from forecast_kit.mlflow import ServedModel

T = TypeVar("T")


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
    task = Task(schema, as_of, rules, static)
    if plan.mode == "serial":
        return _serially(chunks, model, task)
    workers = plan.workers or available()
    if plan.mode == "processes":
        return _by_processes(chunks, model, task, workers)
    return _by_ray(chunks, model, task, workers, plan.address)


def available() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serially(chunks: Iterable[pd.DataFrame], model: Path, task: Task) -> Iterator[ChunkForecast]:
    """In one process, of which threads read the next chunk and forecast this one while the caller writes the last."""
    served = load(model)
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


def _result(outcome: Outcome) -> ChunkForecast:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


# ---- processes


def _by_processes(chunks: Iterable[pd.DataFrame], model: Path, task: Task, workers: int) -> Iterator[ChunkForecast]:
    """A thread for each process hands it chunks, so that it has its next one while the caller is busy."""
    threads = max(1, available() // workers)
    team = [Worker(model, task, threads) for _ in range(workers)]
    idle: SimpleQueue[Worker] = SimpleQueue()
    for worker in team:
        idle.put(worker)

    def work(number: int, chunk: pd.DataFrame) -> Outcome:
        worker = idle.get()
        try:
            return worker.ask(number, chunk)
        finally:
            idle.put(worker)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="forecast-chunks")
    try:
        under_way: deque[Future[Outcome]] = deque()
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


# ---- Ray


def _by_ray(
    chunks: Iterable[pd.DataFrame], model: Path, task: Task, workers: int, address: str | None
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
        environment = dict.fromkeys(THREADS, "1") | {
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


def _on_ray(key: str, artefact: list[Any], environment: dict[str, str], task: Task, chunk: pd.DataFrame) -> Outcome:
    """What a Ray worker does with a chunk."""
    if key not in _LOADED:
        import ray

        os.environ.update(environment)
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(fileobj=io.BytesIO(ray.get(artefact[0]))) as archive:
                archive.extractall(folder, filter="data")
            _LOADED.clear()
            _LOADED[key] = attempt(lambda: load(Path(folder)))
    served = _LOADED[key]
    return served if isinstance(served, Exception) else attempt(lambda: task(served, chunk))
