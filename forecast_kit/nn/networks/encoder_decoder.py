"""Recurrent networks that read the window step by step and write the horizon step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

import keras
from keras import layers, ops

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.attention import ATTENTIONS, Attention, TemporalAttention
from forecast_kit.nn.cells import Cell, Feedback, Stacked, make_cell
from forecast_kit.nn.networks.base import Network, Seeds, Shapes, Window
from forecast_kit.nn.networks.recurrent import Recurrent
from forecast_kit.nn.recurrent import recurrent

Decoding = Literal["direct", "recursive"]
DECODINGS: tuple[str, ...] = get_args(Decoding)


@dataclass(frozen=True)
class EncoderDecoder(Network):
    """A recurrent network that reads the window, and another that writes the horizon from where the first one ended.

        s = encoder(window)                            its final states, of every layer
        h_j, s = cell(x_j, s)                          "direct"
        h_j, s = cell([y_(j-1); x_j], s)               "recursive", y_j = h_j W + d
        raw_j = read([h_j; c_j])  or  y_j + read([h_j; c_j])

    A step j of the decoder is a segment of the horizon. `x_j` are the known-future covariates of its steps,
    the static ones, and a learned vector of j, see `DecoderInputs`. `c_j` is what attention finds in the
    encoder's outputs for `h_j`. `read` is dense, with the same weights at every step j. A covariate moves the
    forecasts of its own segment and of those after it, never of those before.

    Recursive decoding feeds what it says of a step into the next, in training as in forecasting, see
    `Feedback`: `y_j` is as wide as the raw outputs of a segment. With `hidden=0` and without attention it is
    these outputs and `read` is left out; else `read`, computed after the loop for all steps at once, corrects it.
    The first step is fed a learned reading of the window's last segment.

    Args:
        cell: what `forecast_kit.nn.cells.make_cell` knows, of encoder and decoder.
        units: width of the state, U.
        layers: recurrent layers, one on the other, in encoder and decoder.
        segment: steps that the encoder reads at once and the decoder writes at once, see `Recurrent`. Where the
            horizon is shorter, the decoder writes it in one step.
        hidden: width of a dense layer in `read`; there each step of a segment meets its own covariates once
            more. 0 for none: `read` is linear.
        dropout: share of the outputs dropped in training, between layers and before `read`. A recursive decoder
            is one cell, and has none between its layers.
        decoding: `"direct"` or `"recursive"`.
        attention: `"dot"`, `"additive"` or None, see `TemporalAttention`.
        cell_options: what the cell takes besides.
        normalize, lookback, initializer: see `forecast_kit.nn.networks.Network`.

    Raises:
        ArgumentError: an argument is out of range.

    Source: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder; Sutskever, Vinyals and Le
    (2014), Sequence to Sequence Learning; by segments, Lin et al. (2023), SegRNN; the dense read-out at every
    step, article 002 (2 and 4).

    >>> from forecast_kit import NeuralForecaster
    >>> NeuralForecaster(EncoderDecoder("lstm", units=32, decoding="recursive"), horizon=24).name
    'Recursive-LSTM'
    """

    kind: ClassVar[str] = "encoder_decoder"
    cell: str = "gru"
    units: int = 64
    layers: int = 1
    segment: int | Literal["season"] = "season"
    hidden: int = 128
    dropout: float = 0.0
    decoding: Decoding = "direct"
    attention: Attention | None = "dot"
    cell_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._reader()  # refuses what a recurrent network refuses
        if self.decoding not in DECODINGS:
            raise ArgumentError(f"decoding must be one of {', '.join(DECODINGS)}; got {self.decoding!r}")
        if self.attention is not None and self.attention not in ATTENTIONS:
            raise ArgumentError(f"attention must be one of {', '.join(ATTENTIONS)}, or None; got {self.attention!r}")

    @property
    def title(self) -> str:
        """The way of decoding, and the cell's name."""
        way = "Recursive" if self.decoding == "recursive" else "EncoderDecoder"
        return f"{way}-{self._reader().title}"

    def check(self, shapes: Shapes) -> None:
        """See `Network`."""
        self._reader().check(shapes)

    def connect(self, window: Window, width: int, seeds: Seeds) -> tuple[Any, Any]:
        """See `Network`."""
        shapes = window.shapes
        segment = self._reader().steps_at_once(shapes)
        x = layers.Reshape((shapes.input_length // segment, -1))(window.channels)
        memory, states = self._run(x, seeds, every=self.attention is not None)
        state = memory if self.attention is None else memory[:, -1]
        segment = min(segment, shapes.horizon)
        ahead = DecoderInputs(shapes.horizon, segment, seed=seeds.number())(state, window.future, window.static)
        parts = []
        if self.decoding == "recursive":
            said, h = self._recursive(ahead, states, _last(window, segment, width, seeds), seeds)
            parts.append(_by_step(said, window, width))
        else:
            h, _ = self._run(ahead, seeds, states=states)
        if self.attention is not None:
            h = layers.Concatenate()([h, TemporalAttention(self.attention, seed=seeds.number())(h, memory)])
        if self._reads:
            parts += self._read(h, window, segment, width, seeds)
        return parts[0] if len(parts) == 1 else layers.Add()(parts), state

    @property
    def _reads(self) -> bool:
        """Whether there is a read-out after the decoder, and not the one within it alone."""
        return self.decoding == "direct" or self.hidden > 0 or self.attention is not None

    def _run(self, x: Any, seeds: Seeds, *, states: Any = None, every: bool = True) -> tuple[Any, list[list[Any]]]:
        """The last layer's outputs, of every step `[B, N, U]` or the last `[B, U]`, and each layer's final states."""
        final = []
        for k in range(self.layers):
            layer = recurrent(self._cell(seeds), return_sequences=every or k < self.layers - 1, return_state=True)
            x, *after = layer(x) if states is None else layer(x, initial_state=states[k])
            final.append(after)
            if self.dropout:
                x = layers.Dropout(self.dropout, seed=seeds.number())(x)
        return x, final

    def _recursive(self, ahead: Any, states: list[list[Any]], start: Any, seeds: Seeds) -> tuple[Any, Any]:
        """What a recursive decoder says at each step, as wide as `start`, and its own outputs, `[B, N, U]`."""
        cells = [self._cell(seeds) for _ in range(self.layers)]
        inner = cells[0] if len(cells) == 1 else Stacked(cells)
        said = start.shape[-1]
        cell = Feedback(inner, said, return_hidden=self._reads, kernel_initializer=seeds.next("small"))
        begin = [state for own in states for state in own]
        both = recurrent(cell, return_sequences=True)(ahead, initial_state=[*begin, start])
        h = both[:, :, said:]
        return both[:, :, :said], layers.Dropout(self.dropout, seed=seeds.number())(h) if self.dropout else h

    def _read(self, h: Any, window: Window, segment: int, width: int, seeds: Seeds) -> list[Any]:
        """Raw outputs `[B, H, width]`, in parts to be added up, from what is known at each step, `[B, N, D]`."""
        if self.hidden:
            h = layers.Dense(self.hidden, activation="relu", kernel_initializer=seeds.next())(h)
        raw = layers.Dense(segment * width, kernel_initializer=seeds.next("small"))(h)
        parts = [_by_step(raw, window, width)]
        if self.hidden and window.future is not None:
            context = layers.Dense(segment * 8, kernel_initializer=seeds.next())(h)
            each = layers.Concatenate()([_by_step(context, window, 8), window.future])
            each = layers.Dense(-(-self.hidden // 2), activation="relu", kernel_initializer=seeds.next())(each)
            parts.append(layers.Dense(width, kernel_initializer=seeds.next("small"))(each))
        return parts

    def _reader(self) -> Recurrent:
        """A network of the encoder's arguments, which knows what fits them."""
        return Recurrent(
            self.cell, units=self.units, layers=self.layers, segment=self.segment, hidden=self.hidden,
            dropout=self.dropout, cell_options=self.cell_options, normalize=self.normalize, lookback=self.lookback,
            initializer=self.initializer,
        )  # fmt: skip

    def _cell(self, seeds: Seeds) -> Cell:
        return make_cell(
            self.cell, self.units, kernel_initializer=seeds.next(), recurrent_initializer=seeds.next("recurrent"),
            **self.cell_options,
        )  # fmt: skip


def _by_step(x: Any, window: Window, width: int) -> Any:
    """`[B, H, width]` of the steps of the horizon, from segments `[B, N, segment * width]`."""
    return layers.Reshape((-1, width))(x)[:, : window.shapes.horizon]


def _last(window: Window, segment: int, width: int, seeds: Seeds) -> Any:
    """`[B, segment * width]` a learned reading of the window's last segment."""
    seen = layers.Concatenate()([window.y[:, -segment:], window.observed[:, -segment:]])
    return layers.Dense(segment * width, kernel_initializer=seeds.next("small"))(seen)


@keras.saving.register_keras_serializable("forecast_kit")
class DecoderInputs(keras.layers.Layer):
    """What a decoder reads at each of its steps: what is known of that segment of the horizon, and which one it is.

    `x_j = [future of each of the segment's steps; static; e_j]`, `e_j` a learned vector. Where the last segment goes
    beyond the horizon, its covariates are 0.

    Args:
        horizon: H, in steps.
        segment: steps that the decoder writes at once.
        size: width of `e`.
        seed: of its initial values.

    Call: state `[B, U]`, which tells how many windows there are, future `[B, H, K]` or None, static `[B, S]` or None
    -> `[B, N, segment K + S + size]`, N the segments.

    >>> ahead = DecoderInputs(5, 2, size=4)
    >>> tuple(ahead(ops.ones((3, 8)), ops.ones((3, 5, 2)), ops.ones((3, 1))).shape)
    (3, 3, 9)
    """

    def __init__(
        self, horizon: int, segment: int = 1, *, size: int = 8, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.horizon, self.segment, self.size, self.seed = horizon, segment, size, seed
        self.steps = -(-horizon // segment)

    def build(self, state_shape: Any, future_shape: Any = None, static_shape: Any = None) -> None:
        """Creates the vectors of the steps."""
        normal = keras.initializers.RandomNormal(stddev=0.3, seed=self.seed)
        self.position = self.add_weight(name="position", shape=(self.steps, self.size), initializer=normal)

    def call(self, state: Any, future: Any = None, static: Any = None) -> Any:
        """The inputs of all steps."""
        batch = ops.shape(state)[0]
        parts = []
        if future is not None:
            beyond = self.steps * self.segment - self.horizon
            padded = ops.pad(future, [[0, 0], [0, beyond], [0, 0]])
            parts.append(ops.reshape(padded, (-1, self.steps, self.segment * future.shape[-1])))
        if static is not None:
            parts.append(ops.repeat(ops.expand_dims(static, 1), self.steps, axis=1))
        each = ops.cast(self.position, self.compute_dtype)
        parts.append(ops.zeros((batch, self.steps, self.size), dtype=self.compute_dtype) + each)
        return ops.concatenate(parts, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"horizon": self.horizon, "segment": self.segment, "size": self.size, "seed": self.seed}
        return {**super().get_config(), **own}
