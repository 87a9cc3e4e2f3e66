"""The ways of running a cell over a sequence, and which is quickest where."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

import keras
from keras import ops

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.cells.base import Cell, States
from forecast_kit.nn.cells.gru import GRUCell
from forecast_kit.nn.cells.lstm import LSTMCell
from forecast_kit.nn.cells.minimal import MinGRUCell, MinLSTMCell
from forecast_kit.nn.loops import scan

Name = Literal["auto", "scan", "kernel", "associative", "native"]
NAMES = ("auto", "scan", "kernel", "associative", "native")


class Wanted(NamedTuple):
    """What a route is to compute.

    Attributes:
        training: whether noise is drawn.
        every: whether all outputs are wanted, `[B, T, U]`, or the last alone, `[B, U]`.
    """

    training: bool
    every: bool


Route = Callable[[Cell, Any, States, Wanted], tuple[Any, States]]


def route_of(name: Name, cell: Cell, x: Any) -> Route:
    """The function `(cell, x [B, T, F], states, wanted) -> (output, final states)` of that name.

    Raises:
        ArgumentError: it cannot run this cell on this sequence here.
    """
    if name == "auto":
        name = quickest(cell, x)
    reason = _WHY_NOT[name](cell, x)
    if reason:
        raise ArgumentError(f"route {name!r} {reason}; route 'auto' takes the quickest that can")
    return _ROUTES[name]


def quickest(cell: Cell, x: Any) -> Name:
    """The quickest route for a cell, a sequence, a backend and a device.

    On a CPU under TensorFlow the compiled kernels win, once they are compiled, which takes seconds: that pays in
    a graph, not in a call or two from Python. On a GPU a linear recurrence is scanned in parallel, and cuDNN has
    LSTM and GRU; it would carry states in half precision where inputs are, so mixed precision takes the scan.
    """
    if not _WHY_NOT["native"](cell, x):
        return "native"
    if on_gpu():
        return "scan" if _WHY_NOT["associative"](cell, x) else "associative"
    return "scan" if _WHY_NOT["kernel"](cell, x) or _is_eager() else "kernel"


def compiles(name: Name, cell: Cell) -> bool:
    """Whether XLA can compile a model with that layer as a whole, which TensorFlow does on a GPU unless told."""
    if keras.backend.backend() != "tensorflow" or not on_gpu():
        return True
    linear, native = isinstance(cell, MinGRUCell | MinLSTMCell), type(cell) in (LSTMCell, GRUCell)
    return name == "scan" or not (linear or native)


# ---- by the backend's own loop


def _scan(cell: Cell, x: Any, states: States, wanted: Wanted) -> tuple[Any, States]:
    w = cell.tensors()
    p = cell.prepare(x, w, training=wanted.training)
    outputs, states = scan(lambda p_t, before: cell.step(p_t, before, w), p, states)
    return outputs if wanted.every else outputs[:, -1], states


# ---- by kernels with gradients of their own


def _kernel(cell: Cell, x: Any, states: States, wanted: Wanted) -> tuple[Any, States]:
    from forecast_kit.nn.kernels.cells import run

    return run(cell, x, states, training=wanted.training, every=wanted.every)


def _why_no_kernel(cell: Cell, x: Any) -> str:
    if keras.backend.backend() != "tensorflow":
        return f"is written for TensorFlow, the backend is {keras.backend.backend()}"
    if cell.compute_dtype not in ("float32", "float64"):
        return f"computes in full precision, the cell in {cell.compute_dtype}"
    if x.shape[1] is None:
        return "compiles for a number of steps, which is not known here: state it, e.g. keras.Input((24, 3))"
    return ""


# ---- all steps of a linear recurrence in parallel


def _associative(cell: Cell, x: Any, states: States, wanted: Wanted) -> tuple[Any, States]:
    a, b = cell.linear(cell.prepare(x, cell.tensors(), training=wanted.training))
    # h_t = a_t h_(t-1) + b_t; two steps in one are (a2 a1, a2 b1 + b2).
    b = ops.concatenate([b[:, :1] + a[:, :1] * states[0][:, None], b[:, 1:]], axis=1)
    _, outputs = ops.associative_scan(
        lambda first, second: (second[0] * first[0], second[0] * first[1] + second[1]), (a, b), axis=1
    )
    last = outputs[:, -1]
    return outputs if wanted.every else last, (last,)


def _why_not_associative(cell: Cell, x: Any) -> str:
    if type(cell) not in (MinGRUCell, MinLSTMCell):
        return f"runs cells whose recurrence is linear, MinGRUCell and MinLSTMCell, not {type(cell).__name__}"
    return "" if x.shape[1] is not None else "needs a number of steps that is known: state it"


# ---- by what the backend itself has for LSTM and GRU: cuDNN, on a GPU


def _native(cell: Cell, x: Any, states: States, wanted: Wanted) -> tuple[Any, States]:
    # Keras's own layers call this; there is no public name, and the layers cannot be lent the weights of a cell.
    from keras.src import backend

    w = cell.tensors()
    weights = {name: w[name] for name in ("kernel", "recurrent_kernel", "bias")}
    how = {"activation": keras.activations.tanh, "recurrent_activation": keras.activations.sigmoid,
           "return_sequences": wanted.every}  # fmt: skip
    if type(cell) is LSTMCell:
        last, outputs, after = backend.lstm(x, *states, None, **weights, **how)
    else:
        last, outputs, after = backend.gru(x, *states, None, **weights, **how)
    return outputs if wanted.every else last, tuple(after)


def _why_not_native(cell: Cell, x: Any) -> str:
    if type(cell) not in (LSTMCell, GRUCell):
        return f"runs LSTMCell and GRUCell, not {type(cell).__name__}"
    if keras.backend.backend() != "torch" and not on_gpu():
        return f"runs on a GPU, and {keras.backend.backend()} has none"
    if cell.compute_dtype != "float32":
        return f"carries states in the compute dtype, which is {cell.compute_dtype} and must be float32"
    return ""


_ROUTES: dict[str, Route] = {"scan": _scan, "kernel": _kernel, "associative": _associative, "native": _native}
_WHY_NOT: dict[str, Callable[[Cell, Any], str]] = {
    "scan": lambda cell, x: "",
    "kernel": _why_no_kernel,
    "associative": _why_not_associative,
    "native": _why_not_native,
}


def _is_eager() -> bool:
    import tensorflow as tf

    return bool(tf.executing_eagerly())


@cache
def on_gpu() -> bool:
    """Whether the backend computes on a GPU."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    if backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    import torch

    return bool(torch.cuda.is_available())
