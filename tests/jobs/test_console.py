"""The bars of fits, in a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from forecast_kit import Naive, Panel, RollingOrigin, backtest
from forecast_kit.jobs.console import FitBars


@pytest.mark.parametrize("terminal", [True, False])
def test_folds_that_keep_an_earlier_fit_have_no_bar_and_no_line(terminal: bool, seasonal_panel: Panel) -> None:
    text = io.StringIO()
    bars = FitBars(Console(file=text, force_terminal=terminal, width=100))
    with bars.running():
        backtest({"naive": Naive()}, seasonal_panel, RollingOrigin(6, folds=3), refit=2, progress=bars.backtest)
    assert "naive, fold 1 of 3" in text.getvalue()
    assert "naive, fold 2 of 3" not in text.getvalue()
    assert "naive, fold 3 of 3" in text.getvalue()
