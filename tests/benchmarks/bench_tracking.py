"""What tracking costs: the same 20 rounds of training with and without a run in an embedded SQLite store.

    python tests/benchmarks/bench_tracking.py

The two are interleaved; the table gives medians and their ratio. `logged` has what a job logs while it trains: the
arguments, the data set, the losses of every report, the costs at the end; `written` also waits until all of it has
reached the store.
"""

from __future__ import annotations

import os

os.environ.setdefault("FORECAST_KIT_QUIET_START", "1")

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence

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


def main(argv: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--steps", type=int, default=30, help="training steps a round")
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args(argv)
    panel = Panel.from_frame(*load("m4_hourly"))
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
