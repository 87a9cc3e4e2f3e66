"""Classification of sequences: encoders, the network around them, its training and its probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import keras
import numpy as np
from keras import layers, ops

from forecast_kit.errors import ArgumentError, TrainingError, check_fraction, check_whole, nearest
from forecast_kit.nn.blocks import TimePooling
from forecast_kit.nn.cells import CELLS
from forecast_kit.nn.feeding import Draw, feed
from forecast_kit.nn.networks import Recurrent, Seeds, Shapes, Window
from forecast_kit.nn.networks.base import check_initializer
from forecast_kit.nn.tracing import traced_once
from forecast_kit.typing import Batch, Floats, Ints

__all__ = ["WindowCNN"]

SEQUENCE = "sequence"  # [B, T, F], the one input
MAP_POOLINGS = ("flatten", "mean", "max", "attention")
_SIZE = 1024  # sequences at once where nothing is trained
_EXECUTION = 16  # optimiser steps, at most, between two returns to Python


@dataclass(frozen=True, kw_only=True)
class WindowCNN:
    """Convolutions over the sequence, each followed by pooling, and a dense layer; a value, which holds no weights.

    `y[t] = relu(b + sum_m x[t + m] @ w[m])`, `m` from 0 to `kernel_size - 1`, over the steps where all of the kernel
    lies inside; then the largest or the mean value of every `pool_size` steps, at the end of as many as are left.
    With `image` the sequence `[T, F]` is a picture of one channel, and kernel and pooling are squares: for features
    that have an order among themselves, as frequencies or depths have.

    Args:
        filters: maps that each convolution makes.
        kernel_size: steps (and with `image` features) that it sees.
        layers: convolutions, each with its pooling.
        pool: `"max"` or `"average"`.
        pool_size: steps that are pooled into one; 1 for none.
        pooling: how the maps become one vector: `"flatten"` keeps the place of everything, `"max"`, `"mean"` and
            `"attention"` (see `TimePooling`) ask what was seen, wherever it was.
        units: width of the dense layer, U; 0 for none.
        dropout: share dropped in training, after each pooling and before the output.
        image: whether the sequence is a picture.
        initializer: of all kernels, by Keras's name.

    Raises:
        ArgumentError: an argument is out of range.

    Source: article 004 of the project's sources, sections 3.1 and 4.2: 32 filters of 3 x 3, ReLU, maximum over
    2 x 2, flatten, dense 64 on windows of 10 x 10, which is `WindowCNN(image=True)`.

    >>> WindowCNN(kernel_size=5, pool="average", units=0).filters
    32
    >>> from forecast_kit import SequenceClassifier  # which takes its fields as options
    >>> model = SequenceClassifier("cnn", options={"kernel_size": 5, "pool": "average"})
    """

    kind: ClassVar[str] = "window_cnn"
    filters: int = 32
    kernel_size: int = 3
    layers: int = 1
    pool: str = "max"
    pool_size: int = 2
    pooling: str = "flatten"
    units: int = 64
    dropout: float = 0.0
    image: bool = False
    initializer: str = "glorot_uniform"

    def __post_init__(self) -> None:
        for name, least in (("filters", 1), ("kernel_size", 1), ("layers", 1), ("pool_size", 1), ("units", 0)):
            check_whole(name, getattr(self, name), least)
        if self.pool not in ("max", "average"):
            raise ArgumentError(f"pool must be 'max' or 'average', got {self.pool!r}; pool_size=1 for none")
        if self.pooling not in MAP_POOLINGS:
            raise ArgumentError(f"pooling of a convolutional network must be one of {', '.join(MAP_POOLINGS)}; got "
                                f"{self.pooling!r}")  # fmt: skip
        check_fraction("dropout", self.dropout)
        check_initializer(self.initializer)

    def encode(self, window: Window, seeds: Seeds) -> Any:
        """`[B, U]` what was seen in the window, from its channels `[B, T, F]`.

        Raises:
            ArgumentError: the sequence is too short for the convolutions.
        """
        x = window.channels
        self._check(x.shape[1:])
        if self.image:
            x = layers.Reshape((*x.shape[1:], 1))(x)
        convolution, largest, mean = (
            (layers.Conv2D, layers.MaxPooling2D, layers.AveragePooling2D)
            if self.image
            else (layers.Conv1D, layers.MaxPooling1D, layers.AveragePooling1D)
        )
        last = {"data_format": "channels_last"}  # whatever Keras is configured to take images as
        for _ in range(self.layers):
            kernel = seeds.next()
            x = convolution(self.filters, self.kernel_size, activation="relu", kernel_initializer=kernel, **last)(x)
            if self.pool_size > 1:
                x = (largest if self.pool == "max" else mean)(self.pool_size, padding="same", **last)(x)
            x = self._drop(x, seeds)
        if self.pooling == "flatten":
            x = layers.Flatten()(x)
        else:
            x = TimePooling(self.pooling, seed=seeds.number())(layers.Reshape((-1, self.filters))(x))
        if not self.units:
            return x
        x = layers.Dense(self.units, activation="relu", kernel_initializer=seeds.next())(x)
        return self._drop(x, seeds)

    def _drop(self, x: Any, seeds: Seeds) -> Any:
        return layers.Dropout(self.dropout, seed=seeds.number())(x) if self.dropout else x

    def _check(self, shape: tuple[int, ...]) -> None:
        """Refuses sequences of which the convolutions leave nothing."""
        for size, what in zip(shape if self.image else shape[:1], ("steps", "features"), strict=False):
            left = size
            for _ in range(self.layers):
                left = -(-(left - self.kernel_size + 1) // self.pool_size)
                if left < 1:
                    raise ArgumentError(
                        f"{size} {what} are too few for {self.layers} layers of convolution over {self.kernel_size} "
                        f"and pooling by {self.pool_size}; take longer sequences, fewer layers, a smaller kernel_size "
                        f"or pool_size"
                    )

    def describe(self) -> dict[str, Any]:
        """What `read_encoder` makes it of, as JSON can hold it."""
        return {"network": self.kind, **asdict(self)}


Encoder: TypeAlias = Recurrent | WindowCNN

# What a user calls by name: the kind of encoder, and what makes it that one.
ENCODERS: dict[str, tuple[type[Encoder], Mapping[str, Any]]] = {
    **{cell: (Recurrent, {"cell": cell}) for cell in CELLS},
    "bidirectional": (Recurrent, {"cell": "lstm", "bidirectional": True}),
    "cnn_rnn": (Recurrent, {"cell": "gru", "filters": 32, "kernel_size": 5}),
    "cnn": (WindowCNN, {}),
    "cnn2d": (WindowCNN, {"image": True}),
}
# Of these a forecaster's network has arguments, and its encoder makes no use.
_FORECASTING = ("hidden", "lookback", "normalize")


def make_encoder(network: str, options: Mapping[str, Any]) -> Encoder:
    """The encoder of that name, with these of its arguments changed.

    Args:
        network: a key of `ENCODERS`: a cell, of which two layers are stacked unless told otherwise, `"bidirectional"`,
            `"cnn_rnn"`, `"cnn"` or `"cnn2d"`.
        options: what `forecast_kit.Recurrent` takes, less what is for forecasting alone, or `WindowCNN`.

    Raises:
        ArgumentError: the name or an option is unknown, or an option is out of range.

    >>> make_encoder("gru", {"units": 8}).layers
    2
    """
    if not isinstance(network, str) or network not in ENCODERS:
        raise ArgumentError(f"network must be one of {', '.join(ENCODERS)}; got {network!r}."
                            f"{nearest(str(network), ENCODERS)}")  # fmt: skip
    kind, preset = ENCODERS[network]
    fixed = {"normalize": "none", "lookback": False, "hidden": 0, "layers": 2} if kind is Recurrent else {}
    takes = [field.name for field in fields(kind) if field.name not in _FORECASTING]
    for key in options:
        if key not in takes:
            raise ArgumentError(f"unknown option {key!r} of the network {network!r}; it takes {', '.join(takes)}."
                                f"{nearest(str(key), takes)}")  # fmt: skip
    try:
        return kind(**{**fixed, **preset, **options})
    except TypeError as error:
        raise ArgumentError(f"the network {network!r} cannot be built with {dict(options)}: {error}") from error


def read_encoder(description: Mapping[str, Any]) -> Encoder:
    """The encoder whose `describe` gave the mapping."""
    arguments = dict(description)
    return {kind.kind: kind for kind in (Recurrent, WindowCNN)}[arguments.pop("network")](**arguments)


def build_classifier(encoder: Encoder, *, length: int, features: int, classes: int, seed: int) -> keras.Model:
    """The untrained network, initialised from the seed: `[B, T, F]` -> logits `[B, C]`, `y = encode(x) @ W + b`.

    `softmax(y)` are the probabilities. For two classes it is the same family of functions as one logistic output.

    Args:
        encoder: how a sequence becomes a vector.
        length: steps of a sequence, T.
        features: numbers in each step, F.
        classes: how many there are, C.
        seed: of all initial weights and dropout.

    Raises:
        ArgumentError: the sequences are too short for the encoder, or no multiple of what it reads at once.

    Source: article 000 of the project's sources, section 4 (two layers, the last step, dense); article 001, 2.2
    (softmax of the LSTM's output, pooling).
    """
    inputs = keras.Input((length, features), name=SEQUENCE)
    shapes = Shapes(input_length=length, horizon=1, season_length=1)
    if isinstance(encoder, Recurrent):
        encoder.check(shapes)
    window = Window(
        y=None, observed=None, channels=inputs, future=None, static=None, raw_y=None, series=None, shapes=shapes
    )
    seeds = Seeds(seed, encoder.initializer)
    state = encoder.encode(window, seeds)
    logits = layers.Dense(classes, kernel_initializer=seeds.next(), dtype="float32", name="logits")(state)
    return keras.Model({SEQUENCE: inputs}, logits, name="classifier")


@dataclass(frozen=True, kw_only=True)
class Epochs:
    """How a classifier is trained.

    Args:
        epochs: how often each sequence is seen, at most.
        batch_size: sequences in a step.
        learning_rate: of Adam.
        clip_norm: gradients whose norm over all weights is larger are shortened to it.
        patience: with validation, epochs without a lower loss on it after which training stops.
        seed: of initial weights, dropout and the order of the sequences.

    Raises:
        ArgumentError: an argument is out of range.
    """

    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-3
    clip_norm: float = 1.0
    patience: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("seed", 0)):
            check_whole(name, getattr(self, name), least)
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
                raise ArgumentError(f"{name} must be a positive number, got {value!r}")


@dataclass(frozen=True, eq=False)
class Examples:
    """Sequences `[N, T, F]`, the numbers of their classes `[N]`, and their weights `[N]`."""

    x: Floats
    y: Ints
    weights: Floats

    def __len__(self) -> int:
        return len(self.x)

    def between(self, first: int, end: int) -> Examples:
        """Those from one place to before another."""
        return Examples(self.x[first:end], self.y[first:end], self.weights[first:end])

    def rows(self, at: Ints) -> tuple[Batch, Ints, Floats]:
        """The examples at these places, as Keras takes them."""
        return {SEQUENCE: self.x[at]}, self.y[at], self.weights[at]


def train_classifier(
    model: keras.Model, examples: Examples, *, spec: Epochs, validation: Examples | None = None
) -> dict[str, list[float]]:
    """Trains the network in place, by Adam on the weighted cross-entropy; the loss and accuracy of each epoch.

    `loss = sum_i w_i * -log softmax(y_i)[class_i] / B` over the B examples of a batch. With validation the weights of
    its best epoch are kept, and training stops when that was `patience` epochs ago.

    Args:
        model: from `build_classifier`.
        examples: to train on; with weights that average to 1 the learning rate means the same whatever they are.
        spec: how.
        validation: examples that are never trained on.

    Returns:
        loss and accuracy, and with validation val_loss and val_accuracy, a list over epochs each.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    size = min(spec.batch_size, len(examples))
    steps = -(-len(examples) // size)
    once = max(k for k in range(1, _EXECUTION + 1) if not steps % k)  # returns to Python at the end of each epoch
    model.compile(
        optimizer=keras.optimizers.Adam(spec.learning_rate, global_clipnorm=spec.clip_norm),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy("accuracy")],
        steps_per_execution=1 if keras.backend.backend() == "torch" else once,
        jit_compile=keras.backend.backend() == "jax",  # for what it gains elsewhere see `forecast_kit.nn.training`
    )
    watch = _Watch(validation, spec.patience)
    with traced_once():
        history = model.fit(
            feed(shuffled(examples, size=size, seed=spec.seed), steps * spec.epochs),
            epochs=spec.epochs, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=[watch],
        ).history  # fmt: skip
    done = {name: [float(value) for value in history[name]] for name in ("loss", "accuracy")}
    return done if validation is None else done | {"val_loss": watch.losses, "val_accuracy": watch.accuracies}


def shuffled(examples: Examples, *, size: int, seed: int) -> Draw:
    """Gives batch `k` of `size` examples out of one permutation after another, drawn from the seed.

    A batch may hold the end of one permutation and the beginning of the next: all are of one size, which compiled
    code needs, and every example comes equally often.
    """
    count = len(examples)

    @lru_cache(maxsize=2)
    def permutation(number: int) -> Ints:
        return np.random.default_rng([seed, number]).permutation(count)

    def draw(k: int) -> tuple[Batch, Ints, Floats]:
        at = np.arange(k * size, (k + 1) * size)
        first = permutation(int(at[0]) // count)
        last = permutation(int(at[-1]) // count)
        return examples.rows(np.where(at // count == at[0] // count, first[at % count], last[at % count]))

    return draw


def probabilities(model: keras.Model, x: Floats) -> Floats:
    """`[N, C]` the probability of each class, from sequences `[N, T, F]`, 1,024 of them at a time."""
    return np.exp(_log_probabilities(model, x))


def evaluate(model: keras.Model, examples: Examples) -> tuple[float, float]:
    """The weighted cross-entropy, and the share of the examples whose class is the most probable one."""
    logs = _log_probabilities(model, examples.x)
    own = logs[np.arange(len(examples)), examples.y]
    return -float(np.average(own, weights=examples.weights)), float((logs.argmax(axis=1) == examples.y).mean())


def _log_probabilities(model: keras.Model, x: Floats) -> Floats:
    # Called directly: a compiled `predict` would be traced anew for every model, which takes longer than it saves.
    parts = [ops.convert_to_numpy(model({SEQUENCE: x[k : k + _SIZE]}, training=False)) for k in range(0, len(x), _SIZE)]
    logits = np.concatenate(parts).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


class _Watch(keras.callbacks.Callback):
    """Ends training when the loss is no longer a number; with validation, keeps the best epoch and stops after it."""

    def __init__(self, validation: Examples | None, patience: int) -> None:
        super().__init__()
        self._validation, self._patience = validation, patience
        self._weights: list[np.ndarray] = []
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        _check_finite(float((logs or {})["loss"]), "loss", epoch)
        if self._validation is None:
            return
        loss, accuracy = evaluate(self.model, self._validation)
        _check_finite(loss, "loss on the validation part", epoch)
        if loss < min(self.losses, default=math.inf):
            self._weights = self.model.get_weights()
        self.losses.append(loss)
        self.accuracies.append(accuracy)
        if epoch - int(np.argmin(self.losses)) >= self._patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self._weights:
            self.model.set_weights(self._weights)


def _check_finite(loss: float, what: str, epoch: int) -> None:
    if not math.isfinite(loss):
        raise TrainingError(f"the {what} became {loss} in epoch {epoch + 1}; lower learning_rate or clip_norm, and "
                            f"look for extreme values in the data")  # fmt: skip
