"""Shared fixtures, and the switch for slow tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("FORECAST_KIT_QUIET_START", "1")
sys.path.insert(0, str(Path(__file__).parent / "support"))  # servers that tests of several folders start

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from postgres import Postgres, programs

from forecast_kit import Panel

# A gate says the same of the same commit; elsewhere every run looks at other examples.
settings.register_profile("gate", derandomize=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--runslow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Weights that a test draws without a seed are the same ones in every run, whatever ran before it."""
    keras = sys.modules.get("keras")  # not imported for tests that do without it
    if keras is not None:
        keras.utils.set_random_seed(7)


@pytest.fixture
def seasonal_frame() -> pd.DataFrame:
    """Six hourly series of 8 to 13 days, a daily wave of 24 steps around a level of their own, and noise."""
    rng = np.random.default_rng(7)
    frames = []
    for k in range(6):
        steps = np.arange(24 * (8 + k))
        y = 100.0 * (k + 1) + 20.0 * (k + 1) * np.sin(2 * np.pi * steps / 24) + rng.normal(0.0, 1.0 + k, len(steps))
        stamps = pd.Timestamp("2024-01-01") + pd.to_timedelta(steps, unit="h")
        frames.append(pd.DataFrame({"unique_id": f"s{k}", "ds": stamps, "y": y}))
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def seasonal_panel(seasonal_frame: pd.DataFrame) -> Panel:
    return Panel.from_frame(seasonal_frame, freq="h")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets that are not bundled; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the public data sets are not here ({folder.name} folder beside the checkout)")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL of the tests' own, which starts when the first one asks for it."""
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    server = Postgres(folder)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_base(postgres: Postgres) -> str:
    """The address of a database for many tests, each of which has tables of its own in it."""
    return postgres.database("jobs")
