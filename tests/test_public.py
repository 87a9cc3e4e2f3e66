"""The public surface, and what it costs to import."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import forecast_kit

PUBLIC = [
    "ARIMA", "AutoARIMA", "AutoETS", "Backtest", "Conformal", "Croston", "CrostonSBA", "Drift", "ETS", "Ensemble",
    "Forecast", "Forecaster", "HistoricAverage", "HoltWinters", "Naive", "Naive2", "NeuralForecaster", "Panel",
    "PanelSchema", "Recurrent", "RollingOrigin", "SES", "STL", "SeasonalNaive", "SeasonallyAdjusted",
    "SequenceClassifier", "TSB", "Theta", "TrainingSpec", "UnobservedComponents", "WindowAverage", "__version__",
    "backtest", "find_leaks", "judge", "load", "plot_backtest", "plot_critical_difference", "plot_error_by_step",
    "plot_folds", "plot_forecast", "plot_heatmap", "plot_reliability", "plot_residuals", "plot_windows",
    "recommended", "search", "variations", "write_report",
]  # fmt: skip


def modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh process has loaded after the code."""
    code += "; import sys, json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_public_names_are_these() -> None:
    assert sorted(forecast_kit.__all__) == sorted(PUBLIC)
    assert dir(forecast_kit) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(forecast_kit, name) is getattr(forecast_kit, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LSTM'"):
        _ = forecast_kit.LSTM


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = modules_after("import forecast_kit")
    assert not loaded & {"pandas", "numpy", "keras", "tensorflow", "mlflow", "statsmodels", "matplotlib"}


def test_baselines_and_data_need_neither_keras_nor_mlflow_nor_statsmodels() -> None:
    loaded = modules_after("from forecast_kit import Panel, SeasonalNaive, backtest, load; load('hospital')")
    assert not loaded & {"keras", "tensorflow", "mlflow", "statsmodels", "matplotlib"}


def test_a_statistical_model_needs_no_tensorflow() -> None:
    assert not modules_after("from forecast_kit import ETS") & {"keras", "tensorflow", "mlflow"}
