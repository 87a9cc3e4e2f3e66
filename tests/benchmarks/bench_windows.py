"""Windows: how many can be addressed in how much memory, and how many come a second.

Speed: one series, batches in random order; against windows that lie ready in memory, the upper limit, and against
`keras.utils.timeseries_dataset_from_array`. Ours come with the observed channel and the loss weights, the others
without. Each figure comes from a process of its own; variants take turns, medians and ratios are printed.

    python tests/benchmarks/bench_windows.py [rounds]
"""

from __future__ import annotations

import json
import os
import sys
import time
import tracemalloc

import numpy as np
import pandas as pd
from _measure import in_turn

T, H, B = 168, 48, 256
STEPS, BATCHES = 200_000, 400
VARIANTS = ("materialised NumPy", "WindowLoader", "WindowLoader as tf.data", "keras.timeseries_dataset_from_array")


def panel_of(series: int, steps: int):
    """Series side by side, without the detour over a frame of a hundred million rows."""
    from dataclasses import replace

    from forecast_kit import Panel

    small = Panel.from_frame(pd.DataFrame({"unique_id": np.arange(series), "ds": 0, "y": 0.0}), freq=1)
    rows = series * steps
    y = np.random.default_rng(0).normal(size=rows)
    return replace(
        small, indptr=np.arange(series + 1) * steps, y=y, observed=np.ones(rows, bool), past=np.empty((rows, 0)),
        future=np.empty((rows, 0)),
    )  # fmt: skip


def loader_of(panel, y):
    from forecast_kit.data.windows import WindowIndex, WindowSpec
    from forecast_kit.models.loader import WindowLoader

    return WindowLoader(panel, y, WindowIndex(panel, WindowSpec(T, H)), batch_size=B, seed=0)


def measure_memory() -> dict[str, float]:
    panel = panel_of(1_000, 101_000)
    y = panel.y.astype(np.float32)
    tracemalloc.start()
    started = time.perf_counter()
    loader = loader_of(panel, y)
    held, _ = tracemalloc.get_traced_memory()
    for k in range(50):
        loader(k)
    seconds = time.perf_counter() - started
    _, peak = tracemalloc.get_traced_memory()
    return {"windows": len(loader.index), "held_mb": held / 2**20, "peak_mb": peak / 2**20, "seconds": seconds}


def measure(variant: str) -> dict[str, float]:
    rng = np.random.default_rng(0)
    if variant.startswith("keras"):
        import keras

        y = rng.normal(size=STEPS).astype(np.float32)
        batches = iter(
            keras.utils.timeseries_dataset_from_array(y, None, T + H, batch_size=B, shuffle=True, seed=0)
        )  # fmt: skip
    elif variant.startswith("materialised"):
        y = rng.normal(size=STEPS).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(y, T + H)
        inputs, targets = windows[:, :T].copy(), windows[:, T:].copy()

        def draw(k: int):
            at = rng.integers(0, len(inputs), B)
            return inputs[at], targets[at]

        batches = (draw(k) for k in range(BATCHES + 50))
    else:
        panel = panel_of(1, STEPS)
        loader = loader_of(panel, panel.y.astype(np.float32))
        if variant.endswith("tf.data"):
            from forecast_kit.nn.feeding import dataset

            batches = iter(dataset(loader, BATCHES + 50))
        else:
            batches = (loader(k) for k in range(BATCHES + 50))
    for _ in range(20):
        next(batches)
    started = time.perf_counter()
    for _ in range(BATCHES):
        next(batches)
    return {"windows_per_second": BATCHES * B / (time.perf_counter() - started)}


def main(rounds: int = 5) -> None:
    memory = in_turn(__file__, ["memory"], 1)["memory"]
    print(f"{memory['windows']:,.0f} windows: the loader holds {memory['held_mb']:.2f} MB, "
          f"at its height while drawing {memory['peak_mb']:.2f} MB")  # fmt: skip
    found = in_turn(__file__, VARIANTS, rounds)
    speed = {variant: figures["windows_per_second"] for variant, figures in found.items()}
    print(f"windows of {T} + {H} steps in batches of {B}, medians of {rounds} rounds")
    print(f"{'variant':38} {'windows/s':>10} {'of materialised':>16} {'of keras':>9}")
    for variant, figure in speed.items():
        ready, keras = figure / speed["materialised NumPy"], figure / speed["keras.timeseries_dataset_from_array"]
        print(f"{variant:38} {figure:10,.0f} {ready:16.2f} {keras:9.2f}")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure_memory() if sys.argv[2] == "memory" else measure(sys.argv[2])))
    else:
        main(*(int(argument) for argument in sys.argv[1:2]))
