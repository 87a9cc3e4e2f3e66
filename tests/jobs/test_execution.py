"""The same forecasts whoever makes them, and whoever dies meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_kit import Forecaster, NeuralForecaster, Panel, SeasonalNaive
from forecast_kit.core.bulk import in_bulk
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, ForecastKitError, SchemaError, StoreError
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.degrading import ChunkForecast, Rules, forecast_frame
from forecast_kit.jobs.execution import ahead, forecast_chunks
from forecast_kit.jobs.sections import ExecutionSection
from forecast_kit.mlflow import load_served, save_model

H = 4
SCHEMA = PanelSchema(freq=1, season_length=4)
AS_OF = AsOf(40)
RULES = Rules(H, (0.1, 0.9), max_delay=4)
SERIAL, PROCESSES = ExecutionSection(), ExecutionSection(mode="processes", workers=2)


def chunk(number: int, series: int = 3, steps: int = 40) -> pd.DataFrame:
    """Complete series; one of each chunk is late and one too short."""
    rng = np.random.default_rng(number)
    frames = []
    for k in range(series):
        ds = np.arange(0 if k != 1 else 36, steps - (k == 2))
        y = 50.0 + 9.0 * np.sin(np.pi * ds / 2 + k) + rng.normal(size=len(ds))
        frames.append(pd.DataFrame({"unique_id": f"c{number:02}-{k}", "ds": ds, "y": y}))
    return pd.concat(frames, ignore_index=True)


CHUNKS = [chunk(number) for number in range(7)]


def saved(model: Forecaster, folder: Path) -> Path:
    save_model(model.fit(Panel.from_frame(pd.concat(CHUNKS), SCHEMA)), folder, horizon=H)
    return folder


@pytest.fixture(scope="module")
def naive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(SeasonalNaive(horizon=H), tmp_path_factory.mktemp("models") / "naive")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gru = NeuralForecaster(
        {"cell": "gru", "hidden": 8}, horizon=H, input_length=8, training={"steps": 3, "batch_size": 8}
    )
    return saved(gru, tmp_path_factory.mktemp("models") / "network")


def forecasts(model: Path, plan: ExecutionSection, chunks: Any = CHUNKS) -> Iterator[ChunkForecast]:
    return forecast_chunks(iter(chunks), model, plan, schema=SCHEMA, as_of=AS_OF, rules=RULES)


def whole(done: Iterator[ChunkForecast]) -> pd.DataFrame:
    return pd.concat([part.frame for part in done], ignore_index=True)


def children() -> set[int]:
    """Processes that this one has started and that are alive."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return {int(pid) for pid, state, what in rows if "forecast_kit" in what and not state.startswith("Z")}


def test_one_after_another_is_the_forecast_of_each_chunk(naive: Path) -> None:
    served = load_served(str(naive))
    done = list(forecasts(naive, SERIAL))
    assert len(done) == len(CHUNKS)
    for part, frame in zip(done, CHUNKS, strict=True):
        expected = forecast_frame(served, frame, schema=SCHEMA, as_of=AS_OF, rules=RULES)
        pd.testing.assert_frame_equal(part.frame, expected.frame)


def under_fire(victims: list[int]) -> Iterator[pd.DataFrame]:
    """The chunks; after some of them a worker is killed."""
    for number, frame in enumerate(CHUNKS):
        if number == 5:  # the workers have chunks, and the next ones wait
            victims.extend(children())
            os.kill(victims[0], signal.SIGKILL)
        yield frame


def test_processes_give_the_same_bytes_in_the_same_order_and_a_killed_one_is_replaced(naive: Path) -> None:
    victims: list[int] = []
    done = whole(forecasts(naive, PROCESSES, under_fire(victims)))
    pd.testing.assert_frame_equal(done, whole(forecasts(naive, SERIAL)), check_exact=True)
    assert 1 <= len(victims) <= 2
    assert not children()


@pytest.mark.parametrize("series", [1, 40, 1100])
def test_a_network_in_bulk_forecasts_what_it_forecasts_by_itself(series: int, network: Path) -> None:
    model = load_served(str(network)).forecaster
    frame = chunk(3, series=series)
    plain = model.predict(H, levels=RULES.levels, history=frame)
    with in_bulk():
        bulk = model.predict(H, levels=RULES.levels, history=frame)
    np.testing.assert_allclose(bulk.mean, plain.mean, rtol=1e-5)
    np.testing.assert_allclose(bulk.quantiles, plain.quantiles, rtol=1e-5)


@pytest.mark.slow
def test_a_network_gives_the_same_bytes_in_processes(network: Path) -> None:
    expected = whole(forecasts(network, SERIAL))
    assert (expected["fallback"] == "").all()
    done = whole(forecasts(network, PROCESSES, under_fire([])))
    pd.testing.assert_frame_equal(done, expected, check_exact=True)


def test_a_chunk_that_kills_its_workers_ends_with_an_error_that_names_it(tmp_path: Path) -> None:
    done = forecasts(tmp_path / "none", PROCESSES)

    def killer() -> None:
        while not stop.is_set():
            for process in children():
                os.kill(process, signal.SIGKILL)
            time.sleep(0.01)

    stop = threading.Event()
    thread = threading.Thread(target=killer)
    thread.start()
    try:
        with pytest.raises(
            ForecastKitError, match=r"of chunk 1 \(3 series, 'c00-0' to 'c00-2'\) died 3 times, .*signal 9"
        ):
            next(done)
    finally:
        stop.set()
        thread.join()
    assert not children()


@pytest.mark.parametrize("plan", [SERIAL, PROCESSES], ids=lambda plan: plan.mode)
def test_errors_are_those_of_the_chunk_whoever_met_them(plan: ExecutionSection, naive: Path, tmp_path: Path) -> None:
    done = forecasts(naive, plan, [CHUNKS[0], CHUNKS[1].rename(columns={"y": "sales"}), CHUNKS[2]])
    assert next(done).frame["unique_id"].iloc[0] == "c00-0"
    with pytest.raises(SchemaError, match="column 'y' is missing"):
        next(done)
    assert not children()


def test_a_model_that_is_not_there_is_an_error_of_the_worker(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot load"):
        next(forecasts(tmp_path / "none", ExecutionSection(mode="processes", workers=1)))
    assert not children()


def test_no_more_than_two_chunks_a_worker_are_under_way(naive: Path) -> None:
    read: list[int] = []

    def counted() -> Iterator[pd.DataFrame]:
        for number, frame in enumerate(CHUNKS):
            read.append(number)
            yield frame

    done = forecasts(naive, PROCESSES, counted())
    assert not read
    for taken, _ in enumerate(done, 1):
        assert len(read) <= min(taken + 3, len(CHUNKS))
    assert len(read) == len(CHUNKS)


def test_an_iterator_that_is_closed_ends_the_workers(naive: Path) -> None:
    done = forecasts(naive, PROCESSES)
    next(done)
    assert children()
    done.close()
    assert not children()


SCRIPT = """
from pathlib import Path
import pandas as pd
from forecast_kit.data.schema import PanelSchema
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.degrading import Rules
from forecast_kit.jobs.execution import ahead, forecast_chunks
from forecast_kit.jobs.sections import ExecutionSection
frame = pd.DataFrame({{"unique_id": "a", "ds": range(40), "y": 1.0}})
for part in forecast_chunks(
    (frame for _ in range(10**6)), Path({model!r}), ExecutionSection(mode="processes", workers=2),
    schema=PanelSchema(freq=1, season_length=4), as_of=AsOf(40), rules=Rules(4, (), 4),
):
    print(len(part.frame), flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_workers_end_with_the_process_that_started_them(how: signal.Signals, naive: Path) -> None:
    script = SCRIPT.format(model=str(naive))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as main:
        assert main.stdout is not None
        assert main.stdout.readline() == "4\n"
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(main.pid)], capture_output=True, text=True, check=True
        )
        workers = [int(pid) for pid in listed.stdout.split()]
        assert workers
        main.send_signal(how)
        _, said = main.communicate(timeout=30)
        assert main.returncode == -how or "KeyboardInterrupt" in said
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, "a worker goes on without anybody to work for"
        time.sleep(0.05)


def test_ray_is_asked_for_and_not_there(naive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    with pytest.raises(ArgumentError, match=r"pip install 'forecast_kit\[ray\]'"):
        next(forecasts(naive, ExecutionSection(mode="ray")))


@pytest.mark.slow
def test_ray_gives_the_same_bytes_though_a_worker_is_killed(network: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed (pip install 'forecast_kit[ray]')")
    expected = whole(forecasts(network, SERIAL))
    killed: list[int] = []

    def ray_workers() -> list[int]:
        listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True)
        rows = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
        return [int(pid) for pid, what in rows if what.startswith("ray::_on_ray")]

    def with_a_loss() -> Iterator[pd.DataFrame]:
        for number, frame in enumerate(CHUNKS):
            if number == 3:
                deadline = time.monotonic() + 60
                while not killed and time.monotonic() < deadline:
                    killed.extend(ray_workers()[:1])
                os.kill(killed[0], signal.SIGKILL)
            yield frame

    done = whole(forecasts(network, ExecutionSection(mode="ray", workers=2), with_a_loss()))
    pd.testing.assert_frame_equal(done, expected, check_exact=True)
    assert killed


def test_what_is_done_ahead_comes_in_order_with_its_error_at_its_place() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise ValueError("the fourth")

    given = ahead(items())
    assert [next(given) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(given)


def test_closing_early_ends_the_thread_and_its_source() -> None:
    closed, made, before = [], [], set(threading.enumerate())

    def items() -> Iterator[int]:
        try:
            for k in range(1000):
                made.append(k)
                yield k
        finally:
            closed.append(True)

    given = ahead(items())
    assert next(given) == 0
    given.close()
    assert closed == [True]
    assert len(made) < 5  # no more than a few are made ahead
    assert set(threading.enumerate()) <= before
