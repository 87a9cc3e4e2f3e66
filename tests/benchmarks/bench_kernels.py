"""LSTM and GRU: a training step and inference, against keras.layers and, where it can be imported, torch.

A training step is forward, backward and Adam on all weights, the loss on all outputs; inference gives all outputs
(`--last`: the last output alone, in both). TensorFlow and torch run in processes of their own that take turns, variants
interleaved; medians are printed, and their ratios. torch is not needed: `PYTHONPATH=/where/torch/is` brings it in.

On a machine that others use too, OpenMP's threads wait for one another and torch's figures with two threads say
nothing: then compare `--variants factored:one,torch:one`, one stream against one thread. Other choices after a colon:
hoist and inside (the input product), jit (the whole step of keras).

    python tests/benchmarks/bench_kernels.py [--rounds 9] [--shapes ABCDE] [--last] [--variants factored,generic]
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

SHAPES = {"A": (32, 48, 1, 64), "B": (256, 48, 8, 64), "C": (256, 168, 8, 128), "D": (1024, 24, 1, 32),
          "E": (64, 336, 8, 256)}  # fmt: skip
OURS = ("factored", "generic")
VARIANTS = (*OURS, "keras", "torch")
THREADS = 2


def of_torch(kind: str, shape: str, mode: str, last: bool) -> Callable[[], object]:
    import torch

    b, t, f, u = SHAPES[shape]
    x = torch.randn(b, t, f)
    layer = (torch.nn.LSTM if kind == "LSTM" else torch.nn.GRU)(f, u, batch_first=True)
    adam = torch.optim.Adam(layer.parameters())

    def outputs():
        found = layer(x)[0]
        return found[:, -1] if last else found

    def train():
        adam.zero_grad()
        outputs().square().mean().backward()
        adam.step()

    def infer():
        with torch.inference_mode():
            return outputs()

    return train if mode == "training" else infer


def of_tensorflow(variant: str, kind: str, shape: str, mode: str, last: bool) -> Callable[[], object]:
    import keras
    import tensorflow as tf

    from forecast_kit.nn.cells.gru import GRUCell
    from forecast_kit.nn.cells.lstm import LSTMCell
    from forecast_kit.nn.kernels.factored import gru, lstm
    from forecast_kit.nn.kernels.generic import GenericCore

    b, t, f, u = SHAPES[shape]
    x = tf.random.normal((b, t, f))
    name, _, choice = variant.partition(":")
    extra = {"hoist": {"hoist": True}, "inside": {"hoist": False}, "one": {"streams": 1}}.get(choice, {})
    extra = dict(extra, return_sequences=not last)
    if name == "keras":
        layer = (keras.layers.LSTM if kind == "LSTM" else keras.layers.GRU)(u, return_sequences=not last)
        layer.build((b, t, f))
        weights, outputs = [w.value for w in layer.trainable_weights], lambda: layer(x)
    else:
        cell = (LSTMCell if kind == "LSTM" else GRUCell)(u)
        cell.build((b, f))
        weights = [w.value for w in cell.trainable_weights]
        carried = 2 if kind == "LSTM" else 1
        core = GenericCore(cell.project, cell.step)

        def outputs():
            states = [tf.zeros((b, u))] * carried
            if name == "generic":
                return core(x, states, cell.tensors(), **extra)[0]
            return (lstm if kind == "LSTM" else gru)(x, *states, *cell.tensors().values(), **extra)[0]

    adam = keras.optimizers.Adam()
    adam.build(weights_of := (layer if name == "keras" else cell).trainable_weights)

    @tf.function(jit_compile=choice == "jit")
    def train():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(outputs()))
        adam.apply(tape.gradient(loss, weights), weights_of)
        return loss

    @tf.function(jit_compile=choice == "jit")
    def infer():
        return outputs()

    return (lambda: train().numpy()) if mode == "training" else (lambda: infer().numpy())


def serve() -> None:
    """Answers requests of one line with the milliseconds of a call each."""
    ready: dict[tuple[str, ...], Callable[[], object]] = {}
    for line in sys.stdin:
        variant, kind, shape, mode, last, seconds = json.loads(line)
        key, first = (variant, kind, shape, mode), 0.0
        if variant.startswith("torch"):
            import torch as library

            library.set_num_threads(1 if variant.endswith(":one") else THREADS)
        if key not in ready:
            torch = variant.startswith("torch")
            make = of_torch if torch else of_tensorflow
            arguments = key[1:] if torch else key
            ready[key] = make(*arguments, last)
            started = time.perf_counter()
            ready[key]()
            first = time.perf_counter() - started
        work, found, until = ready[key], [], time.perf_counter() + seconds
        work()
        while time.perf_counter() < until or len(found) < 3:
            started = time.perf_counter()
            work()
            found.append(1000 * (time.perf_counter() - started))
        print(json.dumps([float(np.median(found)), first]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each variant in each round")
    parser.add_argument("--shapes", default="ABCDE")
    parser.add_argument("--kinds", default="LSTM,GRU")
    parser.add_argument("--modes", default="training,inference")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--last", action="store_true", help="the last output alone")
    chosen = parser.parse_args()
    if chosen.serve:
        serve()
        return
    variants = [v for v in chosen.variants.split(",") if not v.startswith("torch") or importlib.util.find_spec("torch")]
    children = {
        library: subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for library in {"torch" if v.startswith("torch") else "tensorflow" for v in variants}
    }

    def ask(variant: str, *rest: object) -> list[float]:
        child = children["torch" if variant.startswith("torch") else "tensorflow"]
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps([variant, *rest]) + "\n")
        child.stdin.flush()
        return json.loads(child.stdout.readline())

    for mode in chosen.modes.split(","):
        for kind in chosen.kinds.split(","):
            medians, first = {}, {}
            for shape in chosen.shapes:
                found = [[ask(v, kind, shape, mode, chosen.last, chosen.seconds) for v in variants]
                         for _ in range(chosen.rounds)]  # fmt: skip
                for k, variant in enumerate(variants):
                    medians[variant, shape] = float(np.median([row[k][0] for row in found]))
                    first[variant, shape] = found[0][k][1]
            report(f"{kind} {mode}", variants, chosen.shapes, medians, first)
    for child in children.values():
        assert child.stdin is not None
        child.stdin.close()
        child.wait()


def report(title: str, variants: list[str], shapes: str, medians: dict, first: dict) -> None:
    print(f"\n{title}, medians")
    for variant in variants:
        print(f"  {variant:16} ms   " + " ".join(f"{medians[variant, s]:8.2f}" for s in shapes)
              + "   first call, s " + " ".join(f"{first[variant, s]:5.2f}" for s in shapes))  # fmt: skip
    for base in ("torch", "torch:one", "keras"):
        for variant in variants if base in variants else ():
            ratios = [medians[variant, s] / medians[base, s] for s in shapes]
            print(f"  {variant:16} of {base:6}" + " ".join(f"{r:6.2f}" for r in ratios)
                  + f"   geometric mean {np.exp(np.mean(np.log(ratios))):.2f}")  # fmt: skip
    sys.stdout.flush()


if __name__ == "__main__":
    main()
