"""Every forecaster, small and quick: the ones that the contract suites are held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import forecast_kit
from forecast_kit import (
    ARIMA,
    ETS,
    SES,
    STL,
    TSB,
    AutoARIMA,
    AutoETS,
    Conformal,
    Croston,
    CrostonSBA,
    Drift,
    Ensemble,
    Forecaster,
    HistoricAverage,
    HoltWinters,
    Naive,
    Naive2,
    SeasonallyAdjusted,
    SeasonalNaive,
    Theta,
    UnobservedComponents,
    WindowAverage,
)

H, LEVELS = 24, (0.1, 0.25, 0.5, 0.9)


def neural(network: dict[str, Any], **arguments: Any) -> Forecaster:
    return forecast_kit.NeuralForecaster(
        {"units": 4, **network}, horizon=H, input_length=48, training={"steps": 4, "batch_size": 8}, **arguments
    )


NEURAL: dict[str, Callable[[], Forecaster]] = {
    "lstm": lambda: neural({"cell": "lstm", "hidden": 8, "segment": 24}),
    "encoder and decoder": lambda: neural({"network": "encoder_decoder", "hidden": 8, "segment": 24}, head="student_t"),
    "segrnn": lambda: neural({"network": "segrnn", "segment": 12, "series_embedding": 2}, head="normal"),
    "es-rnn": lambda: neural({"network": "es_rnn", "hidden": 8, "dilations": ((1, 2),)}, transform="mean_abs"),
}

FORECASTERS: dict[str, Callable[[], Forecaster]] = {
    "naive": lambda: Naive(horizon=H),
    "seasonal naive": lambda: SeasonalNaive(horizon=H),
    "historic average": lambda: HistoricAverage(horizon=H),
    "drift": lambda: Drift(horizon=H),
    "window average": lambda: WindowAverage(5, horizon=H),
    "seasonal window average": lambda: WindowAverage(2, season_length=None, horizon=H),
    "ets": lambda: ETS(horizon=H, jobs=1),
    "ets damped": lambda: ETS(trend="damped", horizon=H, jobs=1),
    "ets without season": lambda: ETS(trend="add", seasonal=None, max_history=60, horizon=H, jobs=1),
    "auto ets": lambda: AutoETS(max_history=60, horizon=H, jobs=1),
    "arima": lambda: ARIMA((1, 1, 1), (1, 0, 0), season_length=12, max_history=80, horizon=H, jobs=1),
    "auto arima": lambda: AutoARIMA(season_length=12, max_history=72, horizon=H, jobs=1),
    "holt winters": lambda: HoltWinters("mul", damped=True, initial="heuristic", horizon=H, jobs=1),
    "ses": lambda: SES(horizon=H),
    "theta": lambda: Theta(horizon=H),
    "stl theta": lambda: STL("ThetaLine", horizon=H, jobs=1),
    "two seasons": lambda: STL(
        {"forecaster": "ETS", "trend": "damped", "jobs": 1}, season_length=(12, 24), model="auto", horizon=H, jobs=1
    ),
    "unobserved components": lambda: UnobservedComponents(
        trend="level", season_length=6, max_history=60, horizon=H, jobs=1
    ),
    "mean of three": lambda: Ensemble(["SeasonalNaive", "Theta", "Drift"], horizon=H),
    "weighed": lambda: Ensemble(["SeasonalNaive", "Theta"], combine="inverse_error", folds=1, horizon=H),
    "conformal": lambda: Conformal("SeasonalNaive", folds=2, horizon=H),
    "conformal quantiles": lambda: Conformal(Ensemble(["SES", "Naive2"], combine="median"), method="cqr", horizon=H),
    "conformal adaptive": lambda: Conformal("Theta", method="adaptive", folds=3, step=H, horizon=H),
    "naive2": lambda: Naive2(horizon=H),
    "adjusted": lambda: SeasonallyAdjusted(SES(0.2), model="additive", test=False, horizon=H),
    "croston": lambda: Croston(horizon=H),
    "croston sba": lambda: CrostonSBA(horizon=H),
    "tsb": lambda: TSB(horizon=H),
    **NEURAL,
}
