"""All point metrics of a large backtest, for each series: seconds, and memory beside the frame's.

100,000 series, 48 steps, 5 models: 24 million forecasts.

    python tests/benchmarks/bench_metrics.py [--series 100000]
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from _measure import extra_peak

from forecast_kit.evaluation.backtest import Backtest
from forecast_kit.evaluation.scoring import METRICS

HORIZON, MODELS = 48, 5


def made_up(series: int) -> Backtest:
    rng = np.random.default_rng(0)
    ids = np.repeat(np.array([f"s{k:06d}" for k in range(series)]), HORIZON)
    y = rng.normal(10.0, 3.0, series * HORIZON)
    start = np.datetime64("2024-01-01T00", "us")
    ds = np.tile(start + np.arange(HORIZON) * np.timedelta64(3600, "s"), series)
    one = pd.DataFrame({
        "unique_id": ids, "ds": ds, "cutoff": start, "fold": 1, "step": np.tile(np.arange(1, HORIZON + 1), series),
        "y": y,
    })  # fmt: skip
    frames = [one.assign(model=f"m{k}", mean=y + rng.normal(0.0, 1.0, len(y))) for k in range(MODELS)]
    scales = pd.DataFrame({"fold": 1, "unique_id": ids[::HORIZON], "absolute": 2.0, "squared": 6.0})
    timings = pd.DataFrame({"model": [f"m{k}" for k in range(MODELS)], "fold": 1, "fit_s": 0.0, "predict_s": 0.0,
                            "size_mb": 0.0})  # fmt: skip
    return Backtest(pd.concat(frames, ignore_index=True), scales, timings, ())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=100_000)
    result = made_up(parser.parse_args().series)
    names = [name for name, metric in METRICS.items() if metric.needs == 0]
    frame = float(result.frame.memory_usage(deep=True).sum()) / 2**20
    measured = [extra_peak(lambda: result.score(names)) for _ in range(3)]
    seconds, extra = (float(np.median(column)) for column in zip(*measured, strict=True))
    print(f"{len(result.frame):,} forecasts, {len(names)} metrics of each series and model: {seconds:.2f} s, "
          f"{extra:.0f} MB beside the frame's {frame:.0f} MB ({extra / frame:.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
