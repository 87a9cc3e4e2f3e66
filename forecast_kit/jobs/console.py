"""What a job says while it works: bars and tables in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from forecast_kit.core.forecaster import FitCallback, FitProgress
from forecast_kit.evaluation.running import BacktestProgress

# FORCE_COLOR, which notebooks set for what they start, makes a terminal of any file, and bars fill it frame by frame.
console = Console(highlight=False, soft_wrap=True, force_terminal=None if sys.stdout.isatty() else False)
if not console.is_terminal:
    console.width = 120  # a log file has no width of its own; 80 would cut the leaderboard's names


class FitBars:
    """One bar for each fit that goes on; a line when it ends, where no terminal shows bars.

    Args:
        out: the console to write to.
    """

    def __init__(self, out: Console) -> None:
        self._out = out
        self._bars = Progress(
            TextColumn("{task.description:<28}"), BarColumn(bar_width=30), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(), TextColumn("{task.fields[note]}"), console=out, disable=not out.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    @contextmanager
    def running(self) -> Iterator[FitBars]:
        """Shows the bars for as long as the block runs."""
        with self._bars:
            yield self

    def backtest(self, event: BacktestProgress) -> None:
        """Takes a backtest's progress."""
        label = f"{event.model}, fold {event.fold} of {event.folds}"
        if event.fit is not None:
            self._advance(label, event.fit)
        if event.finished:
            self._finish(label)

    def fit(self, label: str) -> FitCallback:
        """A callback for one fit outside a backtest."""

        def advance(event: FitProgress) -> None:
            self._advance(label, event)
            if event.done >= event.total:
                self._finish(label)

        return advance

    def _advance(self, label: str, event: FitProgress) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=event.total, note="")
        note = "  ".join(f"{key} {value:.4f}" for key, value in event.logs.items())
        self._bars.update(self._tasks[label], completed=event.done, total=event.total, note=note)

    def _finish(self, label: str) -> None:
        if label not in self._tasks:  # a fold that goes on with the fit of an earlier one has none to show
            return
        task = self._bars.tasks[self._bars.task_ids.index(self._tasks[label])]
        self._bars.update(task.id, completed=task.total)
        if not self._out.is_terminal:
            self._out.print(f"  {label}: done in {task.elapsed or 0.0:.1f} s  {task.fields['note']}".rstrip())


def leaderboard_table(board: pd.DataFrame, title: str) -> Table:
    """The leaderboard as a table for the terminal."""
    table = Table(title=title, title_justify="left")
    shown = {
        "rank": ("rank", "{:d}"), "model": ("model", "{}"), "mase": ("MASE", "{:.3f}"), "smape": ("sMAPE %", "{:.2f}"),
        "skill": ("skill", "{:+.1%}"), "p_baseline": ("p", "{:.3f}"), "coverage": ("coverage", "{:.1%}"),
        "fit_s": ("fit s", "{:.1f}"), "predict_s": ("predict s", "{:.2f}"),
    }  # fmt: skip
    columns = {key: value for key, value in shown.items() if key in board.columns}
    for key, (head, _) in columns.items():
        table.add_column(head, justify="left" if key == "model" else "right", no_wrap=True)
    for row in board.to_dict("records"):
        table.add_row(*(_cell(key, row[key], form) for key, (_, form) in columns.items()))
    return table


def _cell(key: str, value: Any, form: str) -> str:
    """The value as it is shown; nothing where it is undefined, and no p-value of 0."""
    if value != value:
        return ""
    return "<0.001" if key == "p_baseline" and value < 0.0005 else form.format(value)
