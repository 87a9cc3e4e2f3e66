"""Estimation of one series after the other, in processes of one thread each, within a time budget."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from joblib import Parallel, delayed

from forecast_kit.core.forecaster import FitCallback, FitProgress
from forecast_kit.errors import ArgumentError, name_some
from forecast_kit.typing import Floats

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Estimate:
    """Of one series the state after its last step, or why there is none; and whether the optimiser was cut short."""

    state: dict[str, Any]
    reason: str = ""
    note: bool = False


def tell_stopped(name: str, ids: np.ndarray, estimates: Sequence[Estimate]) -> None:
    """Logs for which series the optimiser stopped early."""
    stopped = [series for series, e in zip(ids.tolist(), estimates, strict=True) if e.note]
    if stopped:
        logger.info("%s: the optimiser stopped before it converged, or ran out of time, in %d series: %s",
                    name, len(stopped), name_some(stopped))  # fmt: skip


def check_budget(budget_s: float | None) -> None:
    """Raises an `ArgumentError` where it is no number of seconds above 0, nor None."""
    if budget_s is not None and not (isinstance(budget_s, int | float) and budget_s > 0):
        raise ArgumentError(f"budget_s must be a number of seconds above 0, or None for no limit; got {budget_s!r}")


class OutOfTime(Exception):
    """The estimation of a series has used up its time."""


class Deadline:
    """A point in time after which `check` raises `OutOfTime`.

    >>> Deadline(None).check()
    """

    def __init__(self, seconds: float | None) -> None:
        self.end = None if seconds is None else time.perf_counter() + seconds

    def check(self, *_: object) -> None:
        """Raises where the time is up. Takes and ignores what an optimiser tells its callback."""
        if self.end is not None and time.perf_counter() > self.end:
            raise OutOfTime


def estimate_each(
    estimate: Callable[[Floats], T], series: Sequence[Floats], jobs: int | None, callbacks: Sequence[FitCallback]
) -> list[T]:
    """What `estimate` gives for each of the series, in order.

    Args:
        estimate: of one series; can be pickled.
        series: the argument of each call.
        jobs: processes; None for one for each processor. Where there is little to do, none is started.
        callbacks: told how many are done.
    """
    done: list[T] = []
    for part in _chunks(estimate, series, min(jobs or os.cpu_count() or 1, len(series))):
        done += part
        for callback in callbacks:
            callback(FitProgress(len(done), len(series), {}))
    return done


def _chunks(estimate: Callable[[Floats], T], series: Sequence[Floats], jobs: int) -> Iterator[list[T]]:
    # Small enough that all processes end at about the same time, large enough that handing over costs nothing.
    size = max(1, min(16, len(series) // (4 * jobs)))
    chunks = [series[k : k + size] for k in range(0, len(series), size)]
    if jobs == 1 or len(series) < 8:
        yield from ([estimate(values) for values in chunk] for chunk in chunks)
        return
    parallel = Parallel(n_jobs=jobs, return_as="generator", inner_max_num_threads=1, backend="loky")
    yield from parallel(delayed(_run)(estimate, chunk) for chunk in chunks)


def _run(estimate: Callable[[Floats], T], chunk: Sequence[Floats]) -> list[T]:
    return [estimate(values) for values in chunk]
