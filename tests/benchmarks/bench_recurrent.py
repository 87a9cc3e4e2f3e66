"""Recurrent layers through the door, `forecast_kit.nn.recurrent`, against keras.layers and, where it is there, torch.

A training step is forward, backward and Adam on all weights. The loss is on all outputs, and inference gives all
outputs, or with `_last` behind the mode the last output alone, which is what a forecaster's last layer returns.
TensorFlow and torch run in processes of their own that take turns, variants interleaved; medians are printed, and
their ratios. torch is for this benchmark alone: `PYTHONPATH=/where/torch/is` brings it in.

    python tests/benchmarks/bench_recurrent.py [--rounds 9] [--tables main,cells,linear] [--shapes ABCDE]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

# batch, time, features, units
SHAPES = {"A": (32, 48, 1, 64), "B": (256, 48, 8, 64), "C": (256, 168, 8, 128), "D": (1024, 24, 1, 32),
          "E": (64, 336, 8, 256), "L": (32, 4096, 8, 64)}  # fmt: skip
THREADS = 2
GATES = {"lstm": 4, "gru": 3}


# ---- what is measured: a function of no arguments, made in the process of its library


def of_torch(what: str, shape: str, mode: str) -> Callable[[], object]:
    import torch

    torch.set_num_threads(THREADS)
    b, t, f, u = SHAPES[shape]
    x = torch.randn(b, t, f)
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[what](f, u, batch_first=True)
    adam = torch.optim.Adam(layer.parameters())
    mode, _, last = mode.partition("_")

    def outputs() -> object:
        return layer(x)[0][:, -1] if last else layer(x)[0]

    def train() -> object:
        adam.zero_grad()
        outputs().square().mean().backward()
        return adam.step()

    def infer() -> object:
        with torch.inference_mode():
            return outputs()

    return train if mode == "training" else infer


def of_tensorflow(library: str, what: str, shape: str, mode: str) -> Callable[[], object]:
    import keras
    import tensorflow as tf

    from forecast_kit.nn.cells import make_cell
    from forecast_kit.nn.recurrent import recurrent

    b, t, f, u = SHAPES[shape]
    x = tf.random.normal((b, t, f))
    mode, _, last = mode.partition("_")
    if library == "product":
        return bare_products(b // THREADS, t, f + u, GATES[what] * u)
    if library.startswith("keras"):
        layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[what](u, return_sequences=not last)
    else:
        layer = recurrent(make_cell(what, u), return_sequences=not last, route="auto" if library == "ours" else library)
    layer.build((b, t, f))
    variables = layer.trainable_weights
    adam = keras.optimizers.Adam()
    adam.build(variables)

    @tf.function(jit_compile=library == "keras_jit")
    def train() -> object:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(layer(x)))
        adam.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    infer = tf.function(lambda: layer(x), jit_compile=library == "keras_jit")
    return train if mode == "training" else infer


def bare_products(rows: int, steps: int, width: int, columns: int) -> Callable[[], object]:
    """The products of the forward pass and nothing else, one compiled loop for each core: what there is to reach."""
    import tensorflow as tf

    left, right = tf.random.normal((rows, width)), tf.random.normal((width, columns))

    @tf.function(jit_compile=True, autograph=False)
    def stream(left: object) -> object:
        def body(k: object, left: object) -> tuple[object, object]:
            return k + 1, left + 1e-9 * tf.matmul(left, right)[0, 0]  # so that no step can be left out

        return tf.while_loop(lambda k, _: k < steps, body, (tf.constant(0), left), maximum_iterations=steps)[1]

    return tf.function(lambda: [stream(left) for _ in range(THREADS)], autograph=False)


def serve() -> None:
    """Answers requests of one line with the median milliseconds of a call, and the seconds of the first."""
    ready: dict[tuple[str, ...], Callable[[], object]] = {}
    for line in sys.stdin:
        *key, seconds = json.loads(line)
        library, *rest = key
        first = 0.0
        if tuple(key) not in ready:
            work = of_torch(*rest) if library == "torch" else of_tensorflow(library, *rest)
            started = time.perf_counter()
            work()
            first = time.perf_counter() - started
            ready[tuple(key)] = work
        work, found = ready[tuple(key)], []
        work()
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or len(found) < 3:
            started = time.perf_counter()
            work()
            found.append(1000 * (time.perf_counter() - started))
        print(json.dumps([float(np.median(found)), first]), flush=True)


class Bench:
    """The processes, and what they measured: median milliseconds and first call by (library, what, shape, mode)."""

    def __init__(self, rounds: int, seconds: float, modes: list[str], kinds: list[str]) -> None:
        self.rounds, self.seconds, self.modes, self.kinds = rounds, seconds, modes, kinds
        self.has_torch = importlib.util.find_spec("torch") is not None
        self.children: dict[bool, subprocess.Popen] = {}

    def ask(self, key: tuple[str, ...]) -> list[float]:
        child = self.children.get(key[0] == "torch")
        if child is None:
            child = subprocess.Popen(
                [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self.children[key[0] == "torch"] = child
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps([*key, self.seconds]) + "\n")
        child.stdin.flush()
        return json.loads(child.stdout.readline())

    def measure(self, keys: list[tuple[str, ...]]) -> dict[tuple[str, ...], tuple[float, float]]:
        """Interleaved: every key once in each round."""
        rounds = [[self.ask(key) for key in keys] for _ in range(self.rounds)]
        return {key: (float(np.median([row[k][0] for row in rounds])), rounds[0][k][1]) for k, key in enumerate(keys)}

    def close(self) -> None:
        for child in self.children.values():
            assert child.stdin is not None
            child.stdin.close()
            child.wait()


# ---- the tables


def geometric(ratios: list[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


def main_table(bench: Bench, shapes: str) -> None:
    """LSTM and GRU against Keras's and torch's, and the arithmetic against bare products of the same sizes."""
    libraries = ["ours", "keras"] + ["torch"] * bench.has_torch
    for mode in bench.modes:
        for what in bench.kinds:
            found = {}
            for shape in shapes:
                keys = [(library, what, shape, mode) for library in libraries]
                found.update(bench.measure([*keys, ("product", what, shape, mode)]))
            print(f"\n{what}, {mode}: " + ", ".join(f"{s} {'x'.join(map(str, SHAPES[s]))}" for s in shapes))
            for library in libraries:
                rows = [found[library, what, s, mode] for s in shapes]
                print(f"  {library:8} ms      " + " ".join(f"{ms:8.2f}" for ms, _ in rows)
                      + "   first call, s " + " ".join(f"{first:5.2f}" for _, first in rows))  # fmt: skip
            for other in libraries[1:]:
                ratios = [found["ours", what, s, mode][0] / found[other, what, s, mode][0] for s in shapes]
                print(f"  ours / {other:8}   " + " ".join(f"{r:8.2f}" for r in ratios)
                      + f"   geometric mean {geometric(ratios):.2f}")  # fmt: skip
            for library in libraries:
                speeds = [flops(what, s, mode) / found[library, what, s, mode][0] / 1e6 for s in shapes]
                print(f"  {library:8} GFLOP/s " + " ".join(f"{speed:8.0f}" for speed in speeds))
            peaks = [flops(what, s, "inference") / found["product", what, s, mode][0] / 1e6 for s in shapes]
            print("  products GFLOP/s " + " ".join(f"{peak:8.0f}" for peak in peaks) + "   alone")
            sys.stdout.flush()


def flops(what: str, shape: str, mode: str) -> float:
    """Of the products: forward one, backward two of the same size."""
    b, t, f, u = SHAPES[shape]
    return 2 * b * t * (f + u) * GATES[what] * u * (3 if mode.startswith("training") else 1)


def cells_table(bench: Bench, shapes: str) -> None:
    """A training step of every other cell, on the generic core, as a share of keras.layers.LSTM's with equal units."""
    from forecast_kit.nn.cells import CELLS

    names = [name for name in CELLS if name not in ("lstm", "gru")]
    print(f"\nother cells, training, time / keras.layers.LSTM: {' '.join(shapes)}, geometric mean, first call in s")
    ratios: dict[str, list[float]] = {name: [] for name in names}
    first: dict[str, list[float]] = {name: [] for name in names}
    for shape in shapes:
        found = bench.measure(
            [("keras", "lstm", shape, "training")] + [("ours", name, shape, "training") for name in names]
        )
        for name in names:
            ratios[name].append(
                found["ours", name, shape, "training"][0] / found["keras", "lstm", shape, "training"][0]
            )
            first[name].append(found["ours", name, shape, "training"][1])
    for name in names:
        print(f"  {name:18} " + " ".join(f"{r:6.2f}" for r in ratios[name])
              + f"   {geometric(ratios[name]):.2f}   {np.median(first[name]):.1f}")  # fmt: skip
    sys.stdout.flush()


def linear_table(bench: Bench) -> None:
    """A long sequence: minGRU, by its own kernel, in parallel and by the plain loop, and the GRU."""
    for mode in ("training", "training_last"):
        keys = [(route, cell, "L", mode) for route, cell in
                (("ours", "min_gru"), ("associative", "min_gru"), ("ours", "gru"), ("keras", "gru"))]  # fmt: skip
        found = bench.measure(keys)
        print(f"\nlong sequences, {mode}, {'x'.join(map(str, SHAPES['L']))}")
        for key in keys:
            ms, first = found[key]
            print(f"  {key[0]:12} {key[1]:8} {ms:9.1f} ms, {found[keys[2]][0] / ms:5.2f} times as fast as our GRU,"
                  f" first call {first:.1f} s")  # fmt: skip
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each variant in each round")
    parser.add_argument("--shapes", default="ABCDE")
    parser.add_argument("--tables", default="main,cells,linear")
    parser.add_argument("--modes", default="training,inference,inference_last")
    parser.add_argument("--kinds", default="lstm,gru")
    chosen = parser.parse_args()
    if chosen.serve:
        serve()
        return
    bench = Bench(chosen.rounds, chosen.seconds, chosen.modes.split(","), chosen.kinds.split(","))
    for table in chosen.tables.split(","):
        if table == "linear":
            linear_table(bench)
        else:
            {"main": main_table, "cells": cells_table}[table](bench, chosen.shapes)
    bench.close()


if __name__ == "__main__":
    main()
