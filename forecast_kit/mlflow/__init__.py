"""MLflow, spoken natively: a flavour, a store, runs, and promotions that must be earned.

The only package that imports mlflow. It is itself the flavour's loader module:
`mlflow.pyfunc.load_model("models:/name@champion")` finds `_load_pyfunc` here.
"""

from forecast_kit.mlflow.flavor import ServedModel, _load_pyfunc, load_model, load_served, log_model, save_model
from forecast_kit.mlflow.registry import Decision, Gate, promote
from forecast_kit.mlflow.store import Store, connect

__all__ = [
    "Decision",
    "Gate",
    "ServedModel",
    "Store",
    "_load_pyfunc",
    "connect",
    "load_model",
    "load_served",
    "log_model",
    "promote",
    "save_model",
]
