"""TensorFlow, imported without its start-up chatter."""

from __future__ import annotations

import importlib
import os

from forecast_kit.startup import quieten_backend


def load_backend() -> None:
    """Imports TensorFlow where it is Keras's backend; quietly where that is asked for, see `quieten_backend`."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        quieten_backend()
        importlib.import_module("tensorflow")
