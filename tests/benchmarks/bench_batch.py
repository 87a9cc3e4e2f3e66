"""A nightly job's forecast of very many series by a GRU, from Parquet to Parquet, against the network alone.

Series have 100 hourly steps, daily waves of their own, some are late by a few steps and a few break. The GRU reads 72
steps one by one and forecasts 24, with five quantiles. Each figure comes from a process of its own; variants take
turns, and medians are printed. Seconds count from a loaded model, compiled networks and started workers on, as a
compiler's seconds do not grow with the series; `start_s` tells what comes before: it ends with the first chunk.

- `predict`: `keras.Model.predict` on arrays that lie ready in memory, at the batch size that suits it best: the limit.
- `plain predict`: the same at Keras's own batch size of 32.
- `serial`, `processes`: source, chunks, forecast, fallbacks, sink.
- `stepwise`: the same with nothing done at the same time, for the share of the time outside the network.

    python tests/benchmarks/bench_batch.py [--series 100000] [--rounds 3] [--network '{"cell": "gru", "hidden": 64}']
"""

from __future__ import annotations

import os

os.environ.setdefault("FORECAST_KIT_QUIET_START", "1")

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from _measure import in_turn

STEPS, HORIZON, LENGTH, LEVELS = 100, 24, 72, (0.1, 0.25, 0.5, 0.75, 0.9)
START = pd.Timestamp("2024-01-01")
AS_OF = START + pd.Timedelta(hours=STEPS)
CHUNK = 2000
BATCHES = (512, 1024, 2048, 4096, 8192)
FIGURES = {"outside": ".0%", "cpu_s": ".1f", "peak_mb": ",.0f", "start_s": ".1f", "total_s": ".1f", "fallbacks": ".0f"}


def frame_of(first: int, series: int) -> pd.DataFrame:
    """Series of very different size, with a daily wave and noise; one of fifty ends up to six steps early."""
    rng = np.random.default_rng(first)
    steps = np.arange(STEPS)
    phase, depth = rng.uniform(0, 24, (series, 1)), rng.uniform(0.1, 0.6, (series, 1))
    y = rng.lognormal(3.0, 1.0, (series, 1)) * (
        1.0 + depth * np.sin(2 * np.pi * (steps + phase) / 24) + 0.1 * rng.normal(size=(series, STEPS))
    )
    ids = pd.array([f"store-{(first + k) // 50:04}/item-{first + k:06}" for k in range(series)], dtype="str")
    frame = pd.DataFrame({
        "unique_id": ids.take(np.repeat(np.arange(series), STEPS)),
        "ds": np.tile(pd.date_range(START, periods=STEPS, freq="h", unit="us").to_numpy(), series),
        "y": y.ravel(),
    })  # fmt: skip
    late = np.where(rng.random(series) < 0.02, rng.integers(1, 7, series), 0)
    return frame[np.tile(steps, series) < STEPS - np.repeat(late, STEPS)].reset_index(drop=True)


def make(folder: Path, series: int) -> None:
    """A Parquet file of so many series."""
    writer = None
    for first in range(0, series, 5000):
        table = pa.Table.from_pandas(frame_of(first, min(5000, series - first)), preserve_index=False)
        writer = writer or pq.ParquetWriter(folder / f"{series}.parquet", table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def train(folder: Path, series: int, network: dict[str, Any]) -> None:
    """The champion: briefly trained on all of them, saved as an MLflow model."""
    from forecast_kit import NeuralForecaster, Panel
    from forecast_kit.mlflow import save_model

    frame = pd.read_parquet(folder / f"{series}.parquet")
    gru = NeuralForecaster(
        network, horizon=HORIZON, input_length=LENGTH, levels=LEVELS, training={"steps": 200, "batch_size": 256}
    )
    save_model(gru.fit(Panel.from_frame(frame, freq="h")), folder / "model", levels=LEVELS)


class Timed:
    """A network that counts the seconds it is at work."""

    def __init__(self, model: Any) -> None:
        self._model, self.seconds = model, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict_on_batch(self, batch: Any) -> Any:
        began = time.perf_counter()
        out = self._model.predict_on_batch(batch)
        self.seconds += time.perf_counter() - began
        return out

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        out = self._model(*arguments, **options)
        self.seconds += time.perf_counter() - began
        return out


def limit(folder: Path, series: int, sizes: tuple[int, ...]) -> dict[str, float]:
    """`predict` on arrays as the forecaster feeds them, at the best of the batch sizes."""
    from forecast_kit.mlflow import load_served

    model = load_served(str(folder / "model")).forecaster.model_
    rng = np.random.default_rng(0)
    inputs = {one.name: rng.normal(size=(series, *one.shape[1:])).astype(np.float32) for one in model.inputs}
    few = {name: array[: min(series, 16_384)] for name, array in inputs.items()}

    def seconds(arrays: dict[str, np.ndarray], size: int) -> float:
        began = time.perf_counter()
        model.predict(arrays, batch_size=size, verbose=0)
        return time.perf_counter() - began

    for size in sizes:  # compiles
        seconds(few, size)
    best = min(sizes, key=lambda size: seconds(few, size))
    seconds(inputs, best)  # compiles for what is left over
    began = time.process_time()
    taken = seconds(inputs, best)
    return {"seconds": taken, "cpu_s": time.process_time() - began, "batch": best}


def job(folder: Path, series: int, mode: str) -> dict[str, float]:
    """The forecast of a batch job."""
    from forecast_kit.core.bulk import in_bulk
    from forecast_kit.jobs.asof import AsOf
    from forecast_kit.jobs.degrading import ChunkForecast, Rules, forecast_frame
    from forecast_kit.jobs.execution import forecast_chunks
    from forecast_kit.jobs.sections import DataSection, ExecutionSection, SinkSection
    from forecast_kit.jobs.sinks import open_sink
    from forecast_kit.jobs.sources import open_source
    from forecast_kit.mlflow import load_served

    data = DataSection(path=str(folder / f"{series}.parquet"), columns={"freq": "h"})
    source, as_of = open_source(data), AsOf(AS_OF)
    about: dict[str, Any] = {"schema": source.schema, "as_of": as_of, "rules": Rules(HORIZON, LEVELS, HORIZON)}
    began = time.perf_counter()
    clock: Timed | None = None
    if mode == "stepwise":
        served = load_served(str(folder / "model"))
        served.forecaster.model_ = clock = Timed(served.forecaster.model_)

        def one_by_one(chunks: Iterable[pd.DataFrame]) -> Iterator[ChunkForecast]:
            for chunk in chunks:
                with in_bulk():
                    yield forecast_frame(served, chunk, **about)

        parts = one_by_one(source.chunks(CHUNK))
    else:
        plan = ExecutionSection(mode=mode, chunk=CHUNK)
        parts = forecast_chunks(source.chunks(CHUNK), folder / "model", plan, **about)
    first, worked, fallbacks = 0.0, 0.0, 0

    def frames() -> Iterator[pd.DataFrame]:
        nonlocal first, worked, fallbacks
        for part in parts:
            if not first:
                first, worked = time.perf_counter(), time.process_time()
                if clock:
                    clock.seconds = 0.0
            fallbacks += int((part.frame["fallback"] != "").sum()) // HORIZON
            yield part.frame

    with tempfile.TemporaryDirectory(dir=folder) as out:
        sink = open_sink(SinkSection(path=out), source.schema)
        rows = sink.write("forecasts", as_of, frames())
    ended = time.perf_counter()
    assert rows == series * HORIZON, rows
    # Chunks that may have been done by the time the first one was given do not count.
    ready = {"stepwise": 1, "serial": 3, "processes": 2 * len(os.sched_getaffinity(0))}
    done = CHUNK * ready[mode]
    found = {
        "seconds": (ended - first) / (series - done) * series, "start_s": first - began, "total_s": ended - began,
        "fallbacks": fallbacks, "peak_mb": own_peak(),
    }  # fmt: skip
    if clock:
        found["outside"] = 1.0 - clock.seconds / (ended - first)
    if mode != "processes":
        found["cpu_s"] = (time.process_time() - worked) / (series - done) * series
    return found


def own_peak() -> float:
    """MB that this process held at most, and the largest of its children together with it."""
    import resource

    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", type=json.loads, default={"cell": "gru", "hidden": 64})
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = sorted({min(10_000, chosen.series), chosen.series})
        for series in sizes:
            make(folder, series)
        train(folder, chosen.series, chosen.network)
        variants = ["predict", "plain predict", "stepwise", "serial", "processes"]
        found = {size: in_turn(__file__, variants, chosen.rounds, name, str(size)) for size in sizes}
    print(f"{chosen.network}, {STEPS} steps of history, {LENGTH} read, {HORIZON} forecast; medians of {chosen.rounds}")
    titles = ("series/s", "of limit", "outside", "cpu s", "peak MB", "start s", "total s", "fallbacks")
    print(f"{'series':>8} {'variant':14}" + "".join(f"{title:>10}" for title in titles))
    for size, by_variant in found.items():
        best = by_variant["predict"]["seconds"]
        for variant, one in by_variant.items():
            shown = [f"{size / one['seconds']:,.0f}", f"{best / one['seconds']:.0%}"]
            shown += [f"{one[key]:{form}}" if key in one else "" for key, form in FIGURES.items()]
            print(f"{size:8,} {variant:14}" + "".join(f"{figure:>10}" for figure in shown))


if __name__ == "__main__":
    import sys

    if sys.argv[1:2] == ["--one"]:
        variant, place, count = sys.argv[2:5]
        if "predict" in variant:
            run = limit(Path(place), int(count), BATCHES if variant == "predict" else (32,))
        else:
            run = job(Path(place), int(count), variant)
        print(json.dumps(run))
    else:
        main()
