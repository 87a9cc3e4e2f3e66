"""MLflow, spoken natively: a flavour, a store, runs, and promotions that must be earned.

The only package that imports mlflow. It is itself the flavour's loader module:
`mlflow.pyfunc.load_model("models:/name@champion")` finds `_load_pyfunc` here.
"""

from forecast_kit.evaluation.gate import Gate
from forecast_kit.mlflow.card import card
from forecast_kit.mlflow.contenders import challenge
from forecast_kit.mlflow.flavor import ServedModel, _load_pyfunc, load_model, load_served, log_model, save_model
from forecast_kit.mlflow.registry import Decision, champion, history, promote, register, rollback
from forecast_kit.mlflow.results import log_backtest
from forecast_kit.mlflow.runs import Run, start_run
from forecast_kit.mlflow.sending import Synced, sync
from forecast_kit.mlflow.store import Store, connect

__all__ = [
    "Decision",
    "Gate",
    "Run",
    "ServedModel",
    "Store",
    "Synced",
    "_load_pyfunc",
    "card",
    "challenge",
    "champion",
    "connect",
    "history",
    "load_model",
    "load_served",
    "log_backtest",
    "log_model",
    "promote",
    "register",
    "rollback",
    "save_model",
    "start_run",
    "sync",
]
