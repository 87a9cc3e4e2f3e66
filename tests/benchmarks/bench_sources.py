"""Chunks of complete series: seconds and memory at the height, by the number of series and how their rows lie.

100 hourly rows a series, in Parquet. Contiguous: files that hold one series after another. Scattered: a file for each
step, with all series in it. Each figure comes from a process of its own; medians are printed.

    python tests/benchmarks/bench_sources.py [rounds]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from _measure import extra_peak, in_turn

STEPS, CHUNK = 100, 2_000
SIZES = (10_000, 100_000)
LAYOUTS = ("contiguous", "scattered")


def write(folder: Path, series: int, layout: str) -> None:
    ids = pa.array([f"shop-{k:06d}" for k in range(series)])
    stamps = pd.date_range("2024-01-01", periods=STEPS, freq="h", unit="us")
    rng = np.random.default_rng(0)
    for k in range(STEPS):
        if layout == "scattered":
            rows = {"unique_id": ids, "ds": pa.array(np.full(series, stamps[k].to_datetime64()))}
        else:
            part = np.arange(k * series // STEPS, (k + 1) * series // STEPS)
            rows = {
                "unique_id": ids.take(np.repeat(part, STEPS)),
                "ds": pa.array(np.tile(stamps.to_numpy(), len(part))),
            }
        pq.write_table(pa.table(rows | {"y": rng.normal(size=series)}), folder / f"{k:03d}.parquet")


def measure(folder: str) -> dict[str, float]:
    from forecast_kit.jobs.sections import DataSection
    from forecast_kit.jobs.sources import open_source

    source = open_source(DataSection.model_validate({"path": folder, "schema": {"freq": "h"}}))
    counts: list[int] = []

    def work() -> None:
        counts.extend(len(chunk) for chunk in source.chunks(CHUNK))

    seconds, peak = extra_peak(work)
    return {"seconds": seconds, "peak_mb": peak, "rows": float(sum(counts)), "chunks": float(len(counts))}


def main(rounds: int = 3) -> None:
    print(f"{'series':>9} {'layout':12} {'seconds':>8} {'rows/s':>12} {'peak MB':>8}")
    for series in SIZES:
        with tempfile.TemporaryDirectory() as root:
            for layout in LAYOUTS:
                folder = Path(root) / layout
                folder.mkdir()
                write(folder, series, layout)
                found = in_turn(__file__, [str(folder)], rounds)[str(folder)]
                assert found["rows"] == series * STEPS
                rate = found["rows"] / found["seconds"]
                print(f"{series:9,d} {layout:12} {found['seconds']:8.1f} {rate:12,.0f} {found['peak_mb']:8.0f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main(*(int(argument) for argument in sys.argv[1:2]))
