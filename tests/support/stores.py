"""Embedded stores for tests: making one takes a second or more, copying one that was made takes none."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import mlflow

from forecast_kit.mlflow import connect


def prepared(folder: Path) -> Path:
    """The folder, which holds an empty store."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_made(), folder / "mlflow.db")
    return folder


@lru_cache(maxsize=1)
def _made() -> Path:
    """The database of a store in which nothing happened, made once in each process."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    scratch = Path(tempfile.mkdtemp(prefix="forecast_kit-store-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    connect(scratch)
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])
    return scratch / "mlflow.db"
