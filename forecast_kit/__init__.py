"""forecast_kit: recurrent networks and statistical baselines for panels of time series, tracked in MLflow.

The public names below are imported on first use, so that `import forecast_kit` itself is quick and
needs neither Keras nor MLflow.

>>> import forecast_kit as fk
>>> frame, schema = fk.load("air_passengers")
>>> panel = fk.Panel.from_frame(frame, schema)
>>> forecast = fk.SeasonalNaive().fit(panel).predict(12, levels=(0.1, 0.9))
>>> forecast.to_frame().columns.tolist()
['unique_id', 'ds', 'cutoff', 'model', 'mean', 'q10', 'q90']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from forecast_kit._version import __version__

if TYPE_CHECKING:
    from forecast_kit.core.forecast import Forecast as Forecast
    from forecast_kit.core.forecaster import Forecaster as Forecaster
    from forecast_kit.core.splits import RollingOrigin as RollingOrigin
    from forecast_kit.data.datasets import load as load
    from forecast_kit.data.panel import Panel as Panel
    from forecast_kit.data.schema import PanelSchema as PanelSchema
    from forecast_kit.evaluation.backtest import Backtest as Backtest
    from forecast_kit.evaluation.judging import judge as judge
    from forecast_kit.evaluation.leaks import find_leaks as find_leaks
    from forecast_kit.evaluation.plots import plot_backtest as plot_backtest
    from forecast_kit.evaluation.plots import plot_critical_difference as plot_critical_difference
    from forecast_kit.evaluation.plots import plot_error_by_step as plot_error_by_step
    from forecast_kit.evaluation.plots import plot_folds as plot_folds
    from forecast_kit.evaluation.plots import plot_forecast as plot_forecast
    from forecast_kit.evaluation.plots import plot_heatmap as plot_heatmap
    from forecast_kit.evaluation.plots import plot_reliability as plot_reliability
    from forecast_kit.evaluation.plots import plot_residuals as plot_residuals
    from forecast_kit.evaluation.plots import plot_windows as plot_windows
    from forecast_kit.evaluation.report import write_report as write_report
    from forecast_kit.evaluation.running import backtest as backtest
    from forecast_kit.evaluation.search import search as search
    from forecast_kit.models.adjusted import Naive2 as Naive2
    from forecast_kit.models.adjusted import SeasonallyAdjusted as SeasonallyAdjusted
    from forecast_kit.models.adjusted import Theta as Theta
    from forecast_kit.models.averages import Drift as Drift
    from forecast_kit.models.averages import HistoricAverage as HistoricAverage
    from forecast_kit.models.averages import WindowAverage as WindowAverage
    from forecast_kit.models.classifier import SequenceClassifier as SequenceClassifier
    from forecast_kit.models.conformal import Conformal as Conformal
    from forecast_kit.models.ensemble import Ensemble as Ensemble
    from forecast_kit.models.intermittent import TSB as TSB
    from forecast_kit.models.intermittent import Croston as Croston
    from forecast_kit.models.intermittent import CrostonSBA as CrostonSBA
    from forecast_kit.models.naive import Naive as Naive
    from forecast_kit.models.naive import SeasonalNaive as SeasonalNaive
    from forecast_kit.models.neural import NeuralForecaster as NeuralForecaster
    from forecast_kit.models.recommended import recommended as recommended
    from forecast_kit.models.smoothing import SES as SES
    from forecast_kit.models.statistical.arima import ARIMA as ARIMA
    from forecast_kit.models.statistical.arima import AutoARIMA as AutoARIMA
    from forecast_kit.models.statistical.ets import ETS as ETS
    from forecast_kit.models.statistical.ets import AutoETS as AutoETS
    from forecast_kit.models.statistical.ets import HoltWinters as HoltWinters
    from forecast_kit.models.statistical.stl import STL as STL
    from forecast_kit.models.statistical.structural import UnobservedComponents as UnobservedComponents
    from forecast_kit.models.variations import variations as variations
    from forecast_kit.nn.networks.recurrent import Recurrent as Recurrent
    from forecast_kit.nn.training import TrainingSpec as TrainingSpec

_HOMES = {
    "ARIMA": "models.statistical.arima",
    "AutoARIMA": "models.statistical.arima",
    "AutoETS": "models.statistical.ets",
    "Backtest": "evaluation.backtest",
    "Conformal": "models.conformal",
    "Croston": "models.intermittent",
    "CrostonSBA": "models.intermittent",
    "Drift": "models.averages",
    "ETS": "models.statistical.ets",
    "Ensemble": "models.ensemble",
    "Forecast": "core.forecast",
    "Forecaster": "core.forecaster",
    "HistoricAverage": "models.averages",
    "HoltWinters": "models.statistical.ets",
    "Naive": "models.naive",
    "Naive2": "models.adjusted",
    "NeuralForecaster": "models.neural",
    "Panel": "data.panel",
    "PanelSchema": "data.schema",
    "Recurrent": "nn.networks.recurrent",
    "RollingOrigin": "core.splits",
    "SES": "models.smoothing",
    "STL": "models.statistical.stl",
    "SeasonalNaive": "models.naive",
    "SeasonallyAdjusted": "models.adjusted",
    "SequenceClassifier": "models.classifier",
    "TSB": "models.intermittent",
    "Theta": "models.adjusted",
    "TrainingSpec": "nn.training",
    "UnobservedComponents": "models.statistical.structural",
    "WindowAverage": "models.averages",
    "backtest": "evaluation.running",
    "find_leaks": "evaluation.leaks",
    "judge": "evaluation.judging",
    "load": "data.datasets",
    "plot_backtest": "evaluation.plots",
    "plot_critical_difference": "evaluation.plots",
    "plot_error_by_step": "evaluation.plots",
    "plot_folds": "evaluation.plots",
    "plot_forecast": "evaluation.plots",
    "plot_heatmap": "evaluation.plots",
    "plot_reliability": "evaluation.plots",
    "plot_residuals": "evaluation.plots",
    "plot_windows": "evaluation.plots",
    "recommended": "models.recommended",
    "search": "evaluation.search",
    "variations": "models.variations",
    "write_report": "evaluation.report",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forecast_kit' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"forecast_kit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
