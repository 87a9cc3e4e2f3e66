"""A store of its own for each test that asks, and the forecasters to log."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from forecast_kit.mlflow import Store, connect


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(empty_store, tmp_path / "store")
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield connect(tmp_path / "store")
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])
