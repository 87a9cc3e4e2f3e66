"""How far a training has come, as its user sees it: a bar in a terminal or notebook, lines in a log, or nothing."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from forecast_kit.core.forecaster import FitCallback, FitProgress

log = logging.getLogger("forecast_kit.training")


@contextmanager
def shown(
    how: str, title: str, *, callbacks: Sequence[FitCallback] = (), lines: int = 20, console: Console | None = None
) -> Iterator[FitCallback]:
    """Within the block, a callback that shows what it is told, and tells the others.

    Args:
        how: `"bar"`, `"log"`, `"none"`; `"auto"` is a bar in a terminal or notebook, lines where logging
            is at INFO, nothing elsewhere, and nothing where there are callbacks.
        title: of what is being trained.
        callbacks: the others.
        lines: how many a whole training takes in a log.
        console: where a bar is drawn; by default the standard error.
    """
    console = console or Console(stderr=True)
    if how == "auto":
        how = _fitting(console, told=bool(callbacks))
    with ExitStack() as stack:
        everyone = list(callbacks)
        if how == "log":
            everyone.append(_Lines(title, lines))
        elif how == "bar":
            everyone.append(stack.enter_context(_bar(console, title)))

        def tell(event: FitProgress) -> None:
            for callback in everyone:
                callback(event)

        yield tell


def _fitting(console: Console, *, told: bool) -> str:
    """What suits the place where the process runs."""
    if told:
        return "none"
    if console.is_terminal or console.is_jupyter:
        return "bar"
    return "log" if log.isEnabledFor(logging.INFO) and log.hasHandlers() else "none"


def note_of(event: FitProgress) -> str:
    """The latest measures in a few words.

    >>> note_of(FitProgress(80, 1500, {"loss": 0.25, "val_loss": 0.3}))
    'loss 0.2500, val_loss 0.3000'
    """
    return ", ".join(f"{name} {value:.4f}" for name, value in event.logs.items())


class _Lines:
    """Logs a line whenever another share of the training is done."""

    def __init__(self, title: str, lines: int) -> None:
        self._title, self._lines, self._written = title, lines, 0

    def __call__(self, event: FitProgress) -> None:
        due = event.done * self._lines // max(event.total, 1)
        if due > self._written or "val_loss" in event.logs or event.done >= event.total:
            self._written = due
            log.info("%s: step %d of %d, %s", self._title, event.done, event.total, note_of(event))


@contextmanager
def _bar(console: Console, title: str) -> Iterator[FitCallback]:
    """A bar that stays when the block ends."""
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console,
    )  # fmt: skip
    task = progress.add_task(title, total=1, note="")

    def advance(event: FitProgress) -> None:
        progress.update(task, completed=event.done, total=event.total, note=note_of(event))

    # Without its widgets a notebook shows a live display once, at its end, and a warning; it can redraw a picture.
    if console.is_jupyter and importlib.util.find_spec("ipywidgets") is None:
        handle = importlib.import_module("IPython.display").display(progress, display_id=True)

        def redraw(event: FitProgress) -> None:
            advance(event)
            handle.update(progress)

        yield redraw
    else:
        with progress:
            yield advance
