"""What a run of a batch job did, for machines: one JSON document, the same whether it went well or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast_kit.errors import ArgumentError, ConfigError, DataError, StoreError
from forecast_kit.jobs.ending import Terminated
from forecast_kit.jobs.forecasting import replace_file

if TYPE_CHECKING:
    from forecast_kit.jobs.config import JobConfig
    from forecast_kit.jobs.reporting import Reporter

__all__ = ["Summary", "exit_code_of"]


def exit_code_of(error: BaseException) -> int:
    """2 for bad config or data, which running again does not cure; 1 for every other failure.

    What was told to end has the code that a shell gives it: 143 by SIGTERM, 130 by Ctrl-C.

    >>> exit_code_of(ConfigError("an unknown key")), exit_code_of(OSError("the disk is full"))
    (2, 1)
    """
    if isinstance(error, KeyboardInterrupt):
        return 143 if isinstance(error, Terminated) else 130
    return 2 if isinstance(error, DataError | ConfigError | ArgumentError) else 1


@dataclass
class Summary:
    """What a run of a batch job did.

    Attributes:
        job, as_of: what ran.
        tasks: what it was asked for.
        exit_code: 0 all well, 3 more series fell back than allowed, 2 bad config or data, 1 failure; 143 and 130 where
            it was told to end.
        model: name and version that forecast.
        monitor, training, forecast: what came of each task; None for what was not done.
        stages: each with seconds, memory and what came out.
        warnings: what it went on in spite of.
        error: why it failed, None where it did not.
        link: of the run's page in the MLflow UI; None where the store has not been told.
        file: where this is written; None where it could not be.

    >>> summary = Summary("demand", "2024-07-01", ["forecast"], model={"name": "demand", "version": "3"})
    >>> summary.forecast = {"series": 40, "fallbacks": 1}
    >>> summary.sentence
    'As of 2024-07-01: 40 series forecast by demand version 3, 1 fell back.'
    """

    job: str
    as_of: str
    tasks: list[str]
    exit_code: int = 0
    model: dict[str, str] | None = None
    monitor: dict[str, Any] | None = None
    training: dict[str, Any] | None = None
    forecast: dict[str, Any] | None = None
    stages: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    link: str | None = None
    file: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; what is undefined is null."""
        return {key: None if value is None else str(value) if key == "file" else _plain(value)
                for key, value in vars(self).items()}  # fmt: skip

    @property
    def sentence(self) -> str:
        """What was done, for people."""
        told = []
        if self.forecast is not None and self.model is not None:
            who = " version ".join(part for part in self.model.values() if part)
            told.append(f"{self.forecast['series']} series forecast by {who}, {self.forecast['fallbacks']} fell back")
        if self.training is not None:
            told.append(f"version {self.training['version']} was trained and {self.training['decision']}")
        if self.monitor is not None:
            told.append(f"{self.monitor['scored_runs']} runs scored, {self.monitor['reason']}")
        return f"As of {self.as_of}: {'; '.join(told) or 'nothing was done'}."

    def metrics(self) -> dict[str, float]:
        """The numbers that a tracked run shows."""
        parts = {"forecast": self.forecast, "monitor": self.monitor}
        return {
            f"{part}/{key}": float(value)
            for part, values in parts.items()
            for key, value in (values or {}).items()
            if isinstance(value, int | float) and value == value
        }

    @contextmanager
    def kept(self, config: JobConfig, out: Reporter) -> Iterator[None]:
        """Writes the summary when the block ends, also when it fails.

        Raises:
            StoreError: all went well, but the summary cannot be written.
        """
        try:
            yield
        except BaseException as error:
            told = "the run was told to end before it was over" if isinstance(error, KeyboardInterrupt) else error
            self.exit_code, self.error = exit_code_of(error), f"{type(error).__name__}: {told}"
            try:
                self._write(config, out)
            except StoreError as trouble:  # what went wrong first is what has to be told
                out.warn(str(trouble))
            raise
        try:
            self._write(config, out)
        except StoreError as error:
            self.exit_code, self.error = exit_code_of(error), f"{type(error).__name__}: {error}"
            raise

    def _write(self, config: JobConfig, out: Reporter) -> None:
        self.stages, self.warnings = [stage.to_dict() for stage in out.stages], list(out.warnings)
        self.file = config.output / "summaries" / f"{config.name}-{self.as_of}.json"
        text = json.dumps(self.to_dict(), indent=1)
        try:
            replace_file(self.file, lambda path: path.write_text(text, encoding="utf-8"))
        except StoreError:
            self.file = None
            raise


def _plain(value: Any) -> Any:
    """The value with None for what JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
