"""The store that a team has: MLflow's server with passwords, on PostgreSQL, artefacts through the server."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import requests
from postgres import Postgres, programs
from servers import TrackingServer

pytestmark = pytest.mark.slow

JOB = """
name: shop
data: {path: sales.csv, schema: {freq: h}}
baselines: {naive: {forecaster: Naive}}
candidates: {seasonal: {forecaster: SeasonalNaive}}
backtest: {horizon: 24, folds: 2}
register: {name: shop-sales, history: true}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TrackingServer]:
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    for name, extra in (("psycopg", "psycopg[binary]"), ("flask_wtf", "mlflow[auth]")):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{extra} is not installed (pip install 'forecast_kit[server]')")
    postgres = Postgres(folder)
    passwords = tmp_path / "auth.ini"
    passwords.write_text(
        "[mlflow]\ndefault_permission = READ\nadmin_username = admin\nauth_cache_ttl_seconds = 60\n"
        f"database_uri = {postgres.database('passwords')}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    tracking = TrackingServer(
        tmp_path / "server", backend=postgres.database("tracking"), options=("--app-name", "basic-auth"),
        environment={
            "MLFLOW_AUTH_CONFIG_PATH": str(passwords), "MLFLOW_AUTH_ADMIN_PASSWORD": "a long password",
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "any text that stays secret",
        },
    )  # fmt: skip
    try:
        tracking.start()
        yield tracking
    finally:
        tracking.kill()
        postgres.stop()


def command(server: TrackingServer, folder: Path, *arguments: str, password: str = "a long password"):
    environment = {
        **os.environ, "MLFLOW_TRACKING_URI": server.uri, "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": password,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "forecast_kit.jobs.cli", *arguments], cwd=folder, capture_output=True, text=True,
        check=False, env=environment,
    )  # fmt: skip


def test_a_job_on_a_server_with_passwords_and_postgresql(
    server: TrackingServer, tmp_path: Path, seasonal_frame: pd.DataFrame
) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    seasonal_frame.to_csv(shop / "sales.csv", index=False)
    (shop / "job.yaml").write_text(JOB)

    wrong = command(server, shop, "run", "job.yaml", password="guessed")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1), wrong.stderr
    assert "cannot open the tracking store" in wrong.stderr

    done = command(server, shop, "run", "job.yaml")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "Promoted: seasonal has MASE" in done.stdout
    forecast = pd.read_parquet(shop / "forecasts" / "shop.parquet")
    assert len(forecast) == 6 * 24
    assert not list(shop.glob(".forecast_kit/journal/*"))  # all of it has arrived

    again = command(server, shop, "forecast", "--model", "models:/shop-sales@champion", "--out", "again.parquet")
    assert again.returncode == 0, again.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(shop / "again.parquet")[["mean"]], forecast[["mean"]])

    history = command(server, shop, "history", "shop-sales")
    assert history.returncode == 0, history.stderr
    assert "Promoted: seasonal" in history.stdout
    link = next(line.split()[-1] for line in done.stdout.splitlines() if line.startswith("run "))
    run_id = link.split("/runs/")[1].split("?")[0]
    address = f"{server.uri}/api/2.0/mlflow/runs/get"
    assert requests.get(address, params={"run_id": run_id}, timeout=10).status_code == 401
    told = requests.get(address, params={"run_id": run_id}, auth=("admin", "a long password"), timeout=10).json()
    assert told["run"]["info"]["status"] == "FINISHED"
