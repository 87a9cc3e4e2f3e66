"""Forecasters by the names of their classes, as saved ones and job files call them."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING

from forecast_kit.core.extensions import IMPORTS, import_named
from forecast_kit.errors import ArgumentError, nearest

if TYPE_CHECKING:
    from forecast_kit.core.forecaster import Forecaster

# Where the forecasters of this package live, so that a saved one is found without importing them all.
HOMES = {
    "ARIMA": "forecast_kit.models.statistical.arima",
    "AutoARIMA": "forecast_kit.models.statistical.arima",
    "AutoETS": "forecast_kit.models.statistical.ets",
    "Conformal": "forecast_kit.models.conformal",
    "Croston": "forecast_kit.models.intermittent",
    "CrostonSBA": "forecast_kit.models.intermittent",
    "Drift": "forecast_kit.models.averages",
    "ETS": "forecast_kit.models.statistical.ets",
    "Ensemble": "forecast_kit.models.ensemble",
    "HistoricAverage": "forecast_kit.models.averages",
    "HoltWinters": "forecast_kit.models.statistical.ets",
    "Naive": "forecast_kit.models.naive",
    "Naive2": "forecast_kit.models.adjusted",
    "NeuralForecaster": "forecast_kit.models.neural",
    "SES": "forecast_kit.models.smoothing",
    "STL": "forecast_kit.models.statistical.stl",
    "SeasonalNaive": "forecast_kit.models.naive",
    "SeasonallyAdjusted": "forecast_kit.models.adjusted",
    "TSB": "forecast_kit.models.intermittent",
    "Theta": "forecast_kit.models.adjusted",
    "ThetaLine": "forecast_kit.models.smoothing",
    "UnobservedComponents": "forecast_kit.models.statistical.structural",
    "WindowAverage": "forecast_kit.models.averages",
}

KNOWN: dict[str, type[Forecaster]] = {}  # every class of a forecaster that was imported, abstract ones too


def find_forecaster(name: str) -> type[Forecaster]:
    """The forecaster class of that name: one of the package's, or one that was imported before.

    Raises:
        ArgumentError: there is none.
        ConfigError: a module that `FORECAST_KIT_IMPORTS` names cannot be imported.
    """
    import_named()
    if name not in KNOWN and name in HOMES:
        importlib.import_module(HOMES[name])
    if name not in KNOWN:
        known = sorted({*HOMES, *(key for key, kind in KNOWN.items() if not inspect.isabstract(kind))})
        raise ArgumentError(f"unknown forecaster {name!r}; known are {', '.join(known)}.{nearest(name, known)} "
                            f"A class of your own must be imported first, see {IMPORTS}")  # fmt: skip
    return KNOWN[name]
