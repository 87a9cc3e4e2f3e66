"""MLflow's pages in a real browser: every link that a job prints opens the page that it names."""

from __future__ import annotations

import html
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import requests
from servers import free_port

pytestmark = pytest.mark.slow

JOB = """
name: shop
data: {path: sales.csv, schema: {freq: h}}
baselines: {naive: {forecaster: Naive}}
candidates: {seasonal: {forecaster: SeasonalNaive}}
backtest: {horizon: 24, folds: 2, levels: [0.1, 0.5, 0.9]}
register: {name: shop-sales, history: true}
"""
COMMAND = [sys.executable, "-m", "forecast_kit.jobs.cli"]


@pytest.fixture
def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return name
    pytest.skip("no Chromium is installed (apt-get install chromium)")


@pytest.fixture
def shop(tmp_path: Path, seasonal_frame: pd.DataFrame) -> Iterator[tuple[dict[str, str], int]]:
    """The links that a job printed, with the port on which `forecast-kit ui` serves them, and its process."""
    seasonal_frame.to_csv(tmp_path / "sales.csv", index=False)
    (tmp_path / "job.yaml").write_text(JOB)
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    ran = subprocess.run(
        [*COMMAND, "run", "job.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    port = free_port()
    links = dict(re.findall(r"^(run|model) +(http\S+)", ran.stdout, re.MULTILINE))
    with (tmp_path / "ui.log").open("wb") as log:
        ui = subprocess.Popen(
            [*COMMAND, "ui", "--port", str(port)], cwd=tmp_path, stdout=log, stderr=log, env=environment,
            start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                if requests.get(f"http://127.0.0.1:{port}/health", timeout=1).ok:
                    break
            except requests.RequestException:
                assert ui.poll() is None, (tmp_path / "ui.log").read_text()
                time.sleep(0.2)
        yield {name: link.replace(":5000/", f":{port}/") for name, link in links.items()}, ui.pid
    finally:
        os.killpg(ui.pid, signal.SIGTERM)
        ui.wait()


def shown(browser: str, address: str, folder: Path) -> str:
    """The text of a page, after its scripts have drawn it."""
    done = subprocess.run(
        [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         f"--user-data-dir={folder}", "--window-size=1400,3000", "--virtual-time-budget=30000", "--dump-dom", address],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", done.stdout, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def test_links_open_their_pages_and_the_decision_can_be_read(
    browser: str, shop: tuple[dict[str, str], int], tmp_path: Path
) -> None:
    links, server = shop
    assert set(links) == {"run", "model"}
    page = shown(browser, links["run"], tmp_path / "profile")
    for text in ("Promoted: seasonal has MASE", "mase/seasonal", "backtest.horizon", "sales", "Finished"):
        assert text in page, text
    page = shown(browser, links["model"], tmp_path / "profile")
    for text in ("Version 1", "@ champion", "Checks", "skill over the best baseline, naive", "How to call it"):
        assert text in page, text
    page = shown(browser, re.sub(r"/versions/1", "", links["model"]), tmp_path / "profile")
    for text in ("shop-sales", "Champion: version 1 (seasonal) since", "Version 1"):
        assert text in page, text
    page = shown(browser, re.sub(r"/runs/\w+", "/runs", links["run"]), tmp_path / "profile")
    assert "shop" in page
    # MLflow's own command takes fifteen processes and three gigabytes for these pages.
    family = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _group(path) == server]
    assert len(family) <= 3
    assert sum(_resident(pid) for pid in family) < 1.2e9


def _group(process: Path) -> int | None:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2])
    except (OSError, ValueError):
        return None  # it has ended meanwhile


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
