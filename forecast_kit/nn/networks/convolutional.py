"""Temporal convolutional networks: stacks of dilated causal convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import keras
from keras import layers, ops

from forecast_kit.errors import ArgumentError, check_fraction, check_whole
from forecast_kit.nn.blocks import TimePooling
from forecast_kit.nn.networks.base import Network, Seeds, Shapes, Window
from forecast_kit.nn.networks.recurrent import POOLINGS, read_out

CONV_NORMALIZATIONS = ("none", "layer", "weight")


@dataclass(frozen=True)
class Convolutional(Network):
    """A temporal convolutional network: causal convolutions, twice as far apart in each block.

        a_t = drop(relu(conv_d(x)_t)),  b_t = drop(relu(conv_d(a)_t)),  block(x)_t = relu(b_t + x_t)

    where `conv_d(x)_t = b + sum_i x_(t - d i) W_i`, i = 0 .. kernel_size - 1, looks back only, zero before
    the window, and d doubles from block to block, from 1. Where widths differ, `x_t` goes through a 1x1
    convolution. Outputs of the top block become one state, which gives all steps of the horizon at once.

    Args:
        filters: width of the convolutions, and of the state, U.
        kernel_size: steps that each of them sees.
        layers: blocks; None takes as many as the receptive field needs to hold the window,
            `1 + 2 (kernel_size - 1) (2^layers - 1)` steps.
        dropout: share dropped in training after each convolution.
        hidden: width of the dense layer between state and output; 0 for none.
        pooling: how the outputs over the window become one state: `"last"`, `"mean"`, `"max"`, `"attention"`.
            With `"last"` no step is computed that the last one does not need, several times as quick.
        normalization: of each convolution: `"none"`; `"layer"`, of its outputs in each step; `"weight"`, of
            each filter, as the paper has it.
        normalize, lookback, initializer: see `forecast_kit.nn.networks.Network`.

    Raises:
        ArgumentError: an argument is out of range.

    Source: Bai, Kolter and Koltun (2018), An Empirical Evaluation of Generic Convolutional and Recurrent
    Networks for Sequence Modeling, arXiv 1803.01271, section 3.

    >>> from forecast_kit import NeuralForecaster
    >>> network = Convolutional(filters=16)
    >>> NeuralForecaster(network, horizon=24).name
    'TCN'
    >>> network.blocks(Shapes(168, 24, 24)), network.receptive_field(6)
    (6, 253)
    """

    kind: ClassVar[str] = "tcn"
    filters: int = 32
    kernel_size: int = 3
    layers: int | None = None
    dropout: float = 0.0
    hidden: int = 128
    pooling: str = "last"
    normalization: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("filters", 1), ("kernel_size", 2), ("hidden", 0)):
            check_whole(name, getattr(self, name), least)
        if self.layers is not None:
            check_whole("layers", self.layers, 1, ", or None for as many as it takes")
        check_fraction("dropout", self.dropout)
        for name, known in (("pooling", POOLINGS), ("normalization", CONV_NORMALIZATIONS)):
            if getattr(self, name) not in known:
                raise ArgumentError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")

    @property
    def title(self) -> str:
        """The usual name."""
        return "TCN"

    def receptive_field(self, count: int) -> int:
        """Steps that the last output of that many blocks sees: itself and those before it."""
        return 1 + 2 * (self.kernel_size - 1) * (2**count - 1)

    def blocks(self, shapes: Shapes) -> int:
        """How many blocks there are."""
        if self.layers is not None:
            return self.layers
        count = 1
        while self.receptive_field(count) < shapes.input_length:
            count += 1
        return count

    def connect(self, window: Window, width: int, seeds: Seeds) -> tuple[Any, Any]:
        """See `Network`."""
        state = self.encode(window, seeds)
        if window.static is not None:
            state = layers.Concatenate()([state, window.static])
        if self.hidden:
            state = layers.Dense(self.hidden, activation="relu", kernel_initializer=seeds.next())(state)
        return read_out(state, window, width, seeds), state

    def encode(self, window: Window, seeds: Seeds) -> Any:
        """`[B, U]` the state after the window."""
        x = window.channels  # [B, T, C]
        for k in range(self.blocks(window.shapes)):
            if self.pooling != "last":
                x = self._block(x, 2**k, seeds)
                continue
            # The last output of a block sees every second step of the block below, counted from the end, and with
            # these alone in the sequence, a convolution of dilation d is one of d / 2.
            x = x[:, (x.shape[1] - 1) % 2 :: 2] if k else x  # [B, ceil(T / 2^k), U]
            x = self._block(x, 1, seeds)
        return TimePooling(self.pooling, seed=seeds.number())(x)

    def _block(self, x: Any, dilation: int, seeds: Seeds) -> Any:
        """`[B, T, U]` two convolutions, and what they read added to their outputs."""
        inner = x
        for _ in range(2):
            inner = CausalConvolution(
                self.filters, self.kernel_size, dilation=dilation, weight_norm=self.normalization == "weight",
                kernel_initializer=seeds.next(),
            )(inner)  # fmt: skip
            if self.normalization == "layer":
                inner = layers.LayerNormalization()(inner)
            inner = layers.ReLU()(inner)
            if self.dropout:
                inner = layers.Dropout(self.dropout, seed=seeds.number())(inner)
        if x.shape[-1] != self.filters:
            x = layers.Dense(self.filters, kernel_initializer=seeds.next())(x)  # a 1x1 convolution
        return layers.ReLU()(x + inner)


@keras.saving.register_keras_serializable("forecast_kit")
class CausalConvolution(keras.layers.Layer):
    """A convolution that looks back only: `y_t = b + sum_i x_(t - d i) W_i`, i = 0 .. k - 1, zero before the sequence.

    `kernel [k, C, U]` has the furthest step first: `kernel[j] = W_(k - 1 - j)`. With weight normalisation
    a filter is `W = g v / |v|`: its length g `[U]`, 1 in the beginning, is learned apart from its direction v.

    Args:
        filters: width of the output, U.
        kernel_size: steps seen, k.
        dilation: steps from each to the next, d.
        weight_norm: whether filters are normalised.
        kernel_initializer: of the kernel, by Keras's name or as an initialiser.

    Call: `[B, T, C]` -> `[B, T, U]`.

    Source of the normalisation: Salimans and Kingma (2016), Weight Normalization, section 2.

    >>> layer = CausalConvolution(1, 2, dilation=2, kernel_initializer="ones")
    >>> ops.convert_to_numpy(layer(ops.reshape(ops.arange(1.0, 6.0), (1, 5, 1))))[0, :, 0]
    array([1., 2., 4., 6., 8.], dtype=float32)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        weight_norm: bool = False,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.dilation = filters, kernel_size, dilation
        self.weight_norm = weight_norm
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        shape = (self.kernel_size, int(input_shape[-1] or 0), self.filters)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=self.kernel_initializer)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        if self.weight_norm:
            self.gain = self.add_weight(name="gain", shape=(self.filters,), initializer="ones")

    def call(self, x: Any) -> Any:
        """The outputs of all steps."""
        kernel = ops.convert_to_tensor(self.kernel)
        if self.weight_norm:
            kernel = kernel * (self.gain / ops.sqrt(ops.sum(ops.square(kernel), axis=(0, 1)) + 1e-12))
        x = ops.pad(x, ((0, 0), ((self.kernel_size - 1) * self.dilation, 0), (0, 0)))
        return (
            ops.conv(x, kernel, padding="valid", dilation_rate=self.dilation, data_format="channels_last") + self.bias
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """`[B, T, U]`."""
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {name: getattr(self, name) for name in ("filters", "kernel_size", "dilation", "weight_norm")}
        return {
            **super().get_config(),
            **own,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
