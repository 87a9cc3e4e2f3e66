"""What is shown of a training: bars, lines in a log, nothing; and which of them where."""

from __future__ import annotations

import io
import logging
import sys
import types
from typing import Any

import pytest
from rich.console import Console

from forecast_kit import progress
from forecast_kit.core.forecaster import FitProgress
from forecast_kit.progress import shown


def tell(how: str, events: list[FitProgress], console: Console | None = None, **options: Any) -> None:
    with shown(how, "GRU", console=console, **options) as callback:
        for event in events:
            callback(event)


def terminal() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=100, force_jupyter=False), out


EVENTS = [FitProgress(k, 100, {"loss": 1.0 / k}) for k in range(10, 101, 10)]


def test_a_bar_counts_to_the_end_and_shows_the_latest_loss() -> None:
    console, out = terminal()
    tell("bar", EVENTS, console)
    last = out.getvalue().rsplit("\r", 1)[-1]
    assert "GRU" in last
    assert "100/100" in last
    assert "loss 0.0100" in last


def test_auto_is_a_bar_in_a_terminal_unless_somebody_else_is_told() -> None:
    console, out = terminal()
    seen: list[FitProgress] = []
    tell("auto", EVENTS, console, callbacks=(seen.append,))
    assert out.getvalue() == ""
    assert seen == EVENTS
    tell("auto", EVENTS, console)
    assert "100/100" in out.getvalue()


def test_callbacks_are_told_whatever_is_shown() -> None:
    for how in ("none", "log", "bar"):
        seen: list[FitProgress] = []
        tell(how, EVENTS, terminal()[0], callbacks=(seen.append,))
        assert seen == EVENTS


def test_a_log_has_a_line_for_each_share_of_the_training(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "forecast_kit"):
        tell("log", EVENTS, lines=5)
    assert caplog.messages == [f"GRU: step {k} of 100, loss {1 / k:.4f}" for k in (20, 40, 60, 80, 100)]


def test_every_evaluation_has_its_line(caplog: pytest.LogCaptureFixture) -> None:
    events = [FitProgress(1, 100, {"loss": 2.0, "val_loss": 1.0}), FitProgress(2, 100, {"loss": 2.0})]
    with caplog.at_level(logging.INFO, "forecast_kit"):
        tell("log", events, lines=2)
    assert caplog.messages == ["GRU: step 1 of 100, loss 2.0000, val_loss 1.0000"]


def test_auto_logs_where_logging_is_at_info_and_there_is_no_terminal(caplog: pytest.LogCaptureFixture) -> None:
    console = Console(file=io.StringIO(), force_terminal=False, force_jupyter=False)
    tell("auto", EVENTS, console)
    assert caplog.messages == []
    with caplog.at_level(logging.INFO, "forecast_kit"):
        tell("auto", EVENTS, console, lines=1)
    assert caplog.messages == ["GRU: step 100 of 100, loss 0.0100"]


def test_nothing_is_shown_where_that_is_asked_for(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    console, out = terminal()
    with caplog.at_level(logging.INFO, "forecast_kit"):
        tell("none", EVENTS, console)
    assert caplog.messages == []
    assert out.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_a_notebook_without_widgets_redraws_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def text(picture: Any) -> str:
        plain, _ = terminal()
        with plain.capture() as capture:
            plain.print(picture)
        return capture.get()

    class Handle:
        def update(self, picture: Any) -> None:
            drawn.append(text(picture))

    fake = types.ModuleType("IPython.display")
    fake.display = lambda picture, display_id: Handle()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: None)
    console = Console(file=io.StringIO(), force_jupyter=True)
    tell("auto", EVENTS, console)
    assert len(drawn) == len(EVENTS)
    assert "100/100" in drawn[-1]
    assert "loss 0.0100" in drawn[-1]


def test_an_error_in_the_training_ends_the_bar() -> None:
    console, out = terminal()

    def broken(event: FitProgress) -> None:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        tell("bar", EVENTS, console, callbacks=(broken,))
    assert out.getvalue().endswith("\x1b[?25h")  # the cursor is back
