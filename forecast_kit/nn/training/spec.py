"""How a network is trained, as a value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecast_kit.errors import ArgumentError, check_whole, nearest
from forecast_kit.typing import Floats

OPTIMIZERS = ("adam", "adamw", "nadam", "rmsprop", "sgd", "lion")
SCHEDULES = ("cosine", "constant", "linear", "exponential", "step")
STEP_WEIGHTS = ("linear", "inverse")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
PROGRESS = ("auto", "bar", "log", "none")


@dataclass(frozen=True)
class TrainingSpec:
    """How a network is trained.

    Args:
        steps: optimiser steps in all, 1500.
        epochs: in place of `steps`, how often as many windows are drawn as there are, such as `10` or `0.5`.
        batch_size: windows in a step, 128; with several `devices` over all of them.
        optimizer: `"adam"`, `"adamw"` (Adam by the name that goes with `weight_decay`), `"nadam"`,
            `"rmsprop"`, `"sgd"` (with Nesterov's momentum of 0.9) or `"lion"`.
        learning_rate: the highest, 0.004. SGD wants more, Lion a tenth.
        schedule: how it falls after the warm-up: `"cosine"` and `"linear"` to 0, `"exponential"` to a
            hundredth, `"step"` to a tenth half way and to a hundredth after three quarters, `"constant"` not at all.
        warmup: share of the steps in which it rises in a line from 0, 0.05.
        weight_decay: share of every weight, times the learning rate, taken off in each step; decoupled from
            the gradient, and not from biases, gains and other vectors.
        clip_norm: gradients whose norm over all weights is larger are shortened to it; 1, or None for never.
        clip_value: each number in a gradient is cut to lie within it, before the norm is; None for not at all.
        average: decay of a moving average of the weights, such as 0.999, 0 for none. The averages are what is
            judged and kept. Early steps do not linger: after k steps the decay is at most `(k - 1) / (k + 9)`.
        relative_loss: whether the loss is taken in units of each window, as the network shifts and scales
            it, so that a loud series counts no more than a quiet one (absolute errors become much like a MASE).
        step_weights: weight of the steps ahead in the loss: `"linear"`, in a line from H for the first to 1 for
            the last; `"inverse"`, 1 / h; or H numbers. Only their ratios matter. None for all alike.
        seed: of initial weights, dropout and draws.
        precision: `"float32"`, or `"mixed_bfloat16"`, `"mixed_float16"`: computed in 16 bits, weights and
            loss in 32. For GPUs; a CPU gains nothing.
        device: where it is trained: `"auto"` (Keras's choice), `"cpu"`, `"gpu"`, `"gpu:1"`.
        devices: devices that share each batch, a number or `"all"`; 1 for no sharing. TensorFlow alone.
        validation: how many horizons at the end of each series are held out to judge by; 0 for none. The
            weights kept are the ones that were best there.
        patience: evaluations without improvement after which training stops; None for never. It needs
            something to judge by.
        evaluations: how often in a training the held-out windows are judged, 20.
        refit: whether, with `validation`, it is trained again from the start on everything, for as many steps as
            were best.
        steps_per_execution: steps between two returns to Python, 16. Speed alone depends on it; with PyTorch and
            with several devices it is 1.
        progress: `"bar"`, `"log"` (a line for each evaluation), `"none"`; `"auto"` is a bar in a terminal or
            notebook, else lines where logging is at INFO, and nothing where a callback is told.

    Raises:
        ArgumentError: an argument is out of range, or does not fit the others.

    >>> from forecast_kit import NeuralForecaster
    >>> spec = TrainingSpec(epochs=2, batch_size=100, validation=1, patience=5)
    >>> model = NeuralForecaster("gru", horizon=12, training=spec)
    >>> spec.total_steps(windows=1234)
    25
    """

    steps: int = 1500
    epochs: float | None = None
    batch_size: int = 128
    optimizer: str = "adam"
    learning_rate: float = 4e-3
    schedule: str = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    clip_value: float | None = None
    average: float = 0.0
    relative_loss: bool = False
    step_weights: str | tuple[float, ...] | None = None
    seed: int = 0
    precision: str = "float32"
    device: str = "auto"
    devices: int | str = 1
    validation: int = 0
    patience: int | None = None
    evaluations: int = 20
    refit: bool = False
    steps_per_execution: int = 16
    progress: str = "auto"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "evaluations", "steps_per_execution"):
            check_whole(name, getattr(self, name), 1)
        for name in ("seed", "validation"):
            check_whole(name, getattr(self, name), 0)
        if self.patience is not None:
            check_whole("patience", self.patience, 1, ", or None")
        self._positive("learning_rate")
        for name in ("epochs", "clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                self._positive(name, " or None")
        for name, high in (("warmup", 1.0), ("weight_decay", math.inf), ("average", 1.0)):
            self._below(name, high)
        for name, known in (
            ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS), ("progress", PROGRESS),
        ):  # fmt: skip
            self._one_of(name, known)
        for name in ("relative_loss", "refit"):
            if not isinstance(getattr(self, name), bool):
                raise ArgumentError(f"{name} must be True or False, got {getattr(self, name)!r}")
        self._check_devices()
        self._check_step_weights()
        if self.refit and not self.validation:
            raise ArgumentError("refit=True trains again on what validation holds out; set validation=1 or more")

    def total_steps(self, windows: int) -> int:
        """The optimiser steps, where there are so many windows to train on: `steps`, or as many as the epochs take."""
        return self.steps if self.epochs is None else max(1, math.ceil(self.epochs * windows / self.batch_size))

    def weights_ahead(self, horizon: int) -> Floats | None:
        """`[H]` the weights of the steps ahead, 1 in the mean; None where all are alike.

        Raises:
            ArgumentError: they are numbers, and not H of them.

        >>> TrainingSpec(step_weights="linear").weights_ahead(3)
        array([1.5, 1. , 0.5])
        """
        if self.step_weights is None:
            return None
        if self.step_weights == "linear":
            weights = np.arange(horizon, 0.0, -1.0)
        elif self.step_weights == "inverse":
            weights = 1.0 / np.arange(1.0, horizon + 1.0)
        else:
            weights = np.array(self.step_weights, np.float64)
        if len(weights) != horizon:
            raise ArgumentError(f"step_weights must be a number for each of {horizon} steps ahead, got {len(weights)}")
        return weights / weights.mean()

    def _check_devices(self) -> None:
        name = self.device
        kind, _, number = name.partition(":") if isinstance(name, str) else ("", "", "")
        if kind not in ("auto", "cpu", "gpu") or (":" in str(name) and (kind == "auto" or not number.isdecimal())):
            raise ArgumentError(f"device must be 'auto', 'cpu', 'gpu' or one by its number, such as 'gpu:0'; "
                                f"got {name!r}.{nearest(kind, ('auto', 'cpu', 'gpu'))}")  # fmt: skip
        if self.devices != "all":
            check_whole("devices", self.devices, 1, ", or 'all'")
        if self.devices != 1 and number:
            raise ArgumentError(
                f"device={name!r} is a single one; with devices={self.devices!r} name the kind, {kind!r}"
            )
        if isinstance(self.devices, int) and self.batch_size % self.devices:
            raise ArgumentError(f"batch_size must be a multiple of devices, which share each batch; "
                                f"got {self.batch_size} and {self.devices}")  # fmt: skip

    def _check_step_weights(self) -> None:
        weights = self.step_weights
        if isinstance(weights, str):
            self._one_of("step_weights", STEP_WEIGHTS)
        elif weights is not None:
            numbers = tuple(weights) if isinstance(weights, Iterable) else ()
            if not numbers or not all(_is_number(w) and 0 <= w < math.inf for w in numbers) or not any(numbers):
                raise ArgumentError(f"step_weights must be 'linear', 'inverse' or numbers of at least 0, "
                                    f"not all of them 0; got {weights!r}")  # fmt: skip
            object.__setattr__(self, "step_weights", tuple(map(float, numbers)))  # from JSON it comes as a list

    def _positive(self, name: str, other: str = "") -> None:
        value = getattr(self, name)
        if not (_is_number(value) and 0 < value < math.inf):
            raise ArgumentError(f"{name} must be a positive number{other}, got {value!r}")

    def _below(self, name: str, high: float) -> None:
        value = getattr(self, name)
        if not (_is_number(value) and 0 <= value < high):
            limit = "" if math.isinf(high) else f" and below {high:g}"
            raise ArgumentError(f"{name} must be a number of at least 0{limit}, got {value!r}")

    def _one_of(self, name: str, known: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in known:
            raise ArgumentError(f"{name} must be one of {', '.join(known)}; got {value!r}.{nearest(str(value), known)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
