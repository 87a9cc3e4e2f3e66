"""What a job tells: bars in a terminal, a line for each stage in a log, one JSON document for machines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console

from forecast_kit.core.memory import peak_memory

if TYPE_CHECKING:
    from forecast_kit.jobs.summary import Summary

__all__ = ["Reporter", "Stage"]

_PATIENCE_S = 30.0  # between two lines of a log about a stage that goes on
_LOG = logging.getLogger("forecast_kit.jobs")


@dataclass
class Stage:
    """A stage of a job: what it took and what came out.

    Attributes:
        name: of the stage.
        seconds: it took.
        peak_memory_mb: the most memory that the process had held by its end, in MiB, if the system says.
        facts: what came out, by name.

    >>> stage = Stage("read", seconds=0.5)
    >>> stage.note(series=40)
    >>> stage.to_dict()
    {'stage': 'read', 'seconds': 0.5, 'peak_memory_mb': None, 'series': 40}
    """

    name: str
    seconds: float = 0.0
    peak_memory_mb: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def note(self, **facts: Any) -> None:
        """Adds to what came out."""
        self.facts.update(facts)

    def to_dict(self) -> dict[str, Any]:
        """As the summary holds it."""
        memory = None if self.peak_memory_mb is None else round(self.peak_memory_mb, 1)
        return {"stage": self.name, "seconds": round(self.seconds, 3), "peak_memory_mb": memory, **self.facts}


class Reporter:
    """Where a job tells what it does.

    In a terminal stages are lines for people. Elsewhere each is one line of `key=value` with the time in UTC, as log
    collectors read them. Warnings go to the log in both.

    Args:
        console: to write to.
        quiet: tells warnings alone.

    Attributes:
        stages, warnings: what was told so far.
        summary: of the batch job that runs, or ran last.

    >>> out = Reporter(Console(quiet=True))
    >>> with out.job(job="demand", as_of="2024-07-01"), out.stage("read") as stage:
    ...     stage.note(series=40)
    >>> [(stage.name, stage.facts) for stage in out.stages]
    [('read', {'series': 40})]
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        # What fits and backtests draw goes to a console of their own, which is silent where nobody looks.
        self.console = Console(quiet=True) if quiet else console
        self.stages: list[Stage] = []
        self.warnings: list[str] = []
        self.summary: Summary | None = None
        self._context: dict[str, Any] = {}
        self._quiet = quiet

    @contextmanager
    def job(self, **context: Any) -> Iterator[None]:
        """Lines within the block begin with these, such as the job's name and its as-of."""
        before, self._context = self._context, context
        self.stages, self.warnings = [], []
        try:
            yield
        finally:
            self._context = before

    @contextmanager
    def progress(self, stage: Stage) -> Iterator[Callable[..., None]]:
        """A function that takes how far a long stage has come, by name: a line that changes, or one now and then.

        Args:
            stage: which goes on.
        """
        last = time.monotonic()
        with self.console.status(f"{stage.name:<10}") if self.console.is_terminal else nullcontext() as status:

            def tell(**facts: Any) -> None:
                nonlocal last
                if status is not None:
                    told = ", ".join(f"{key} {_plain(value)}" for key, value in facts.items())
                    status.update(f"{stage.name:<10} {told}")
                elif not self._quiet and time.monotonic() - last >= _PATIENCE_S:
                    last = time.monotonic()
                    line = {"at": _now(), **self._context, "stage": stage.name, "going_on": True, **facts}
                    self.console.print(_line(line), markup=False)

            yield tell

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """A stage, told when it ends, also when it fails."""
        stage, started = Stage(name), time.perf_counter()
        self.stages.append(stage)
        try:
            yield stage
        except BaseException as error:
            stage.note(error=f"{type(error).__name__}: {error}")
            raise
        finally:
            stage.seconds, stage.peak_memory_mb = time.perf_counter() - started, peak_memory()
            self._tell(stage)

    def warn(self, text: str) -> None:
        """Something that the job went on in spite of, and that somebody should know."""
        self.warnings.append(text)
        _LOG.warning("%s", text if self.console.is_terminal else _line({**self._context, "warning": text}))

    def _tell(self, stage: Stage) -> None:
        if self._quiet:
            return
        if self.console.is_terminal:
            facts = ", ".join(f"{key} {_plain(value)}" for key, value in stage.facts.items())
            self.console.print(f"{stage.name:<10} {stage.seconds:6.1f} s  {facts}", markup=False)
        else:
            self.console.print(_line({"at": _now(), **self._context, **stage.to_dict()}), markup=False)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _line(values: dict[str, Any]) -> str:
    r"""Values as `key=value`, with quotes around what has spaces.

    >>> _line({"stage": "forecast", "rows": 24, "reason": 'two "words"'})
    'stage=forecast rows=24 reason="two \\"words\\""'
    """
    return " ".join(f"{key}={_quoted(_plain(value))}" for key, value in values.items())


def _quoted(text: str) -> str:
    if text and not any(letter in text for letter in ' "=\n'):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
