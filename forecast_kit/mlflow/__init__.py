"""MLflow, spoken natively: a flavour, a store, runs, and promotions that must be earned.

The only package that imports mlflow. It is itself the flavour's loader module:
`mlflow.pyfunc.load_model("models:/name@champion")` finds `_load_pyfunc` here. Names are imported when they are used, so
that a process that serves a model loads neither plots nor the registry.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecast_kit.evaluation.gate import Gate as Gate
    from forecast_kit.mlflow.cards import model_card as model_card
    from forecast_kit.mlflow.contenders import challenge as challenge
    from forecast_kit.mlflow.flavor import _load_pyfunc as _load_pyfunc
    from forecast_kit.mlflow.flavor import artifact_digest as artifact_digest
    from forecast_kit.mlflow.flavor import load_model as load_model
    from forecast_kit.mlflow.flavor import load_served as load_served
    from forecast_kit.mlflow.flavor import log_model as log_model
    from forecast_kit.mlflow.flavor import save_model as save_model
    from forecast_kit.mlflow.registry import Decision as Decision
    from forecast_kit.mlflow.registry import champion as champion
    from forecast_kit.mlflow.registry import history as history
    from forecast_kit.mlflow.registry import promote as promote
    from forecast_kit.mlflow.registry import register as register
    from forecast_kit.mlflow.registry import rollback as rollback
    from forecast_kit.mlflow.results import log_backtest as log_backtest
    from forecast_kit.mlflow.runs import Model as Model
    from forecast_kit.mlflow.runs import Run as Run
    from forecast_kit.mlflow.runs import start_run as start_run
    from forecast_kit.mlflow.sending import Synced as Synced
    from forecast_kit.mlflow.sending import sync as sync
    from forecast_kit.mlflow.sending import waiting as waiting
    from forecast_kit.mlflow.served import ServedModel as ServedModel
    from forecast_kit.mlflow.store import Store as Store
    from forecast_kit.mlflow.store import connect as connect
    from forecast_kit.mlflow.trials import log_search as log_search
    from forecast_kit.mlflow.trials import log_trials as log_trials
    from forecast_kit.mlflow.uploading import upload_model as upload_model

_HOMES = {
    "Decision": "mlflow.registry",
    "Gate": "evaluation.gate",
    "Model": "mlflow.runs",
    "Run": "mlflow.runs",
    "ServedModel": "mlflow.served",
    "Store": "mlflow.store",
    "Synced": "mlflow.sending",
    "_load_pyfunc": "mlflow.flavor",
    "artifact_digest": "mlflow.flavor",
    "challenge": "mlflow.contenders",
    "champion": "mlflow.registry",
    "connect": "mlflow.store",
    "history": "mlflow.registry",
    "load_model": "mlflow.flavor",
    "load_served": "mlflow.flavor",
    "log_backtest": "mlflow.results",
    "log_model": "mlflow.flavor",
    "log_search": "mlflow.trials",
    "log_trials": "mlflow.trials",
    "model_card": "mlflow.cards",
    "promote": "mlflow.registry",
    "register": "mlflow.registry",
    "rollback": "mlflow.registry",
    "save_model": "mlflow.flavor",
    "start_run": "mlflow.runs",
    "sync": "mlflow.sending",
    "upload_model": "mlflow.uploading",
    "waiting": "mlflow.sending",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forecast_kit.mlflow' has no attribute {name!r}")
    with warnings.catch_warnings():
        # MLflow imports tqdm, which complains in a notebook without ipywidgets, below the user's first cell.
        warnings.filterwarnings("ignore", "IProgress not found")
        value = getattr(importlib.import_module(f"forecast_kit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
