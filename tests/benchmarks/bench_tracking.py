"""What tracking costs: the same 20 rounds of training with and without a run in an embedded SQLite store.

    python tests/benchmarks/bench_tracking.py
    python tests/benchmarks/bench_tracking.py --outage

The two are interleaved; the table gives medians and their ratio. `logged` has what a job logs while it trains: the
arguments, the data set, the losses of every report, the costs at the end; `written` also waits until all of it has
reached the store. With `--outage` a real server is killed when round 3 ends and started again when round 8 does: how
long the slowest logging call took, and what arrived.
"""

from __future__ import annotations

import os

os.environ.setdefault("FORECAST_KIT_QUIET_START", "1")

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from servers import TrackingServer

from forecast_kit import NeuralForecaster, Panel, load
from forecast_kit.mlflow import connect, start_run
from forecast_kit.mlflow.describing import parameters
from forecast_kit.mlflow.store import Store

ROUNDS = 20


def model(steps: int) -> NeuralForecaster:
    """A GRU whose validation ends every round, as an epoch does."""
    return NeuralForecaster(
        {"cell": "gru", "units": 64, "segment": 24}, horizon=48, input_length=168,
        training={"steps": steps * ROUNDS, "batch_size": 128, "validation": 1, "evaluations": ROUNDS, "seed": 1},
    )  # fmt: skip


def plain(panel: Panel, steps: int) -> float:
    began = time.perf_counter()
    model(steps).fit(panel)
    return time.perf_counter() - began


def tracked(panel: Panel, steps: int, store: Store) -> tuple[float, float, int]:
    began = time.perf_counter()
    points = 0

    with start_run(store, "overhead", "gru") as run:
        forecaster, curve = model(steps), run.curve()
        run.log_parameters(parameters(forecaster))
        run.log_dataset(panel, "m4_hourly", "bundled")

        def count(event) -> None:
            nonlocal points
            points += len(event.logs)
            curve(event)

        forecaster.fit(panel, callbacks=[count])
        run.log_metrics(forecaster.costs)
        logged = time.perf_counter() - began
    return logged, time.perf_counter() - began, points


def outage(panel: Panel, steps: int) -> None:
    server = TrackingServer(Path(tempfile.mkdtemp()))
    server.start()
    os.environ["MLFLOW_TRACKING_URI"] = server.uri
    os.chdir(tempfile.mkdtemp())
    said, slowest, rounds = [], 0.0, 0
    try:
        with start_run(connect(), "outage", "gru", patience_s=60) as run:
            run.flush()
            curve = run.curve()

            def log(event) -> None:
                nonlocal slowest, rounds
                began = time.time()
                curve(event)
                slowest = max(slowest, time.time() - began)
                said.extend((name, event.done, value, began) for name, value in event.logs.items())
                rounds += "val_loss" in event.logs
                if "val_loss" in event.logs and rounds == 3:
                    server.kill()
                if "val_loss" in event.logs and rounds == 8:
                    server.begin()

            model(steps).fit(panel, callbacks=[log])
            server.wait()
        got = {
            (name, point.step): point
            for name in ("loss", "val_loss") for point in connect().client.get_metric_history(run.id, name)
        }  # fmt: skip
    finally:
        server.kill()
    arrived = [(got.get((name, step)), value, at) for name, step, value, at in said]
    whole = [(point, at) for point, value, at in arrived if point is not None and point.value == value]
    late = max(abs(point.timestamp / 1000 - at) for point, at in whole)
    print(f"{rounds} rounds, {len(said)} points logged, {len(whole)} arrived, at most {1000 * late:.0f} ms from their "
          f"times; the slowest logging call took {1000 * slowest:.2f} ms; waiting: {run.waiting}")  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=30, help="training steps a round")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--outage", action="store_true", help="kill the server in the middle of a training")
    chosen = options.parse_args(argv)
    panel = Panel.from_frame(*load("m4_hourly"))
    if chosen.outage:
        outage(panel, chosen.steps)
        return
    store = connect(tempfile.mkdtemp())
    model(2).fit(panel)  # what is paid once a process: imports and the first compilation
    tracked(panel, 2, store)
    without, logged, written = [], [], []
    for _ in range(chosen.repeats):
        without.append(plain(panel, chosen.steps))
        one, other, points = tracked(panel, chosen.steps, store)
        logged.append(one)
        written.append(other)
    base = statistics.median(without)
    print(f"{ROUNDS} rounds of {chosen.steps} steps, {points} points, medians of {chosen.repeats}")
    for name, times in (("untracked", without), ("logged", logged), ("written", written)):
        ratios = [a / b for a, b in zip(times, without, strict=True)]
        print(f"{name:<10} {statistics.median(times):7.2f} s   ratio {statistics.median(ratios):.3f}"
              f"   of medians {statistics.median(times) / base:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
