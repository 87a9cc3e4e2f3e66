"""Verdicts without a backtest behind them, for what the registry does with them."""

from __future__ import annotations

import pandas as pd

from forecast_kit.evaluation.gate import Verdict


def verdict(score: float, *, promoted: bool = True, challenger: str = "gru") -> Verdict:
    """A verdict of that outcome."""
    word = "Promoted" if promoted else "Refused"
    checks = pd.DataFrame([{"check": "skill", "needed": "more than 0 %", "found": "+10 %", "passed": promoted}])
    board = pd.DataFrame([
        {"model": challenger, "role": "challenger", "mase": score, "skill": float("nan"), "p_value": float("nan"),
         "predict_s": 0.1},
        {"model": "naive", "role": "baseline", "mase": 1.0, "skill": 1.0 - score, "p_value": 0.01, "predict_s": 0.1},
    ])  # fmt: skip
    return Verdict(promoted, f"{word}: {challenger} has MASE {score}.", checks, board, "mase", challenger, None, score)
