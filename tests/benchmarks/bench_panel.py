"""Building a panel of 10 million rows, against pandas' own sort and group-by on the same frame.

Each figure comes from a process of its own; variants take turns, medians and ratios are printed.

    python tests/benchmarks/bench_panel.py [series] [steps] [rounds]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from _measure import extra_peak, in_turn

VARIANTS = ("pandas sort + groupby", "panel", "pandas sort + groupby, shuffled", "panel, shuffled")


def frame_of(series: int, steps: int, *, shuffled: bool) -> pd.DataFrame:
    """A long frame with text ids and hourly stamps."""
    rng = np.random.default_rng(0)
    ids = pd.Series([f"series-{k:06d}" for k in range(series)], dtype="str")
    frame = pd.DataFrame(
        {
            "unique_id": ids.repeat(steps).reset_index(drop=True),
            "ds": np.tile(pd.date_range("2024-01-01", periods=steps, freq="h").to_numpy(), series),
            "y": rng.normal(size=series * steps),
        }
    )
    return frame.iloc[rng.permutation(len(frame))].reset_index(drop=True) if shuffled else frame


def measure(variant: str, folder: str) -> dict[str, float]:
    from forecast_kit import Panel

    frame = pd.read_parquet(Path(folder) / f"{'shuffled' in variant}.parquet")
    work = {
        True: lambda: Panel.from_frame(frame, freq="h"),
        False: lambda: frame.sort_values(["unique_id", "ds"]).groupby("unique_id")["y"].agg(["size", "first", "last"]),
    }[variant.startswith("panel")]
    size = frame.memory_usage(deep=True).sum() / 2**20
    seconds, extra = extra_peak(work)
    return {"seconds": seconds, "frame_mb": size, "extra_mb": extra}


def main(series: int = 100_000, steps: int = 100, rounds: int = 3) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for shuffled in (False, True):
            frame_of(series, steps, shuffled=shuffled).to_parquet(Path(folder) / f"{shuffled}.parquet")
        found = in_turn(__file__, VARIANTS, rounds, folder)
    print(f"{series:,} series x {steps} steps, medians of {rounds} rounds")
    print(f"{'variant':34} {'seconds':>8} {'ratio':>6} {'extra MB':>9} {'of frame':>9}")
    for variant, figures in found.items():
        base = found["pandas sort + groupby" + (", shuffled" if "shuffled" in variant else "")]["seconds"]
        print(
            f"{variant:34} {figures['seconds']:8.2f} {figures['seconds'] / base:6.2f} {figures['extra_mb']:9.0f} "
            f"{figures['extra_mb'] / figures['frame_mb']:9.2f}"
        )
    print(f"the frame itself: {found['panel']['frame_mb']:.0f} MB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(*sys.argv[2:4])))
    else:
        main(*(int(argument) for argument in sys.argv[1:4]))
