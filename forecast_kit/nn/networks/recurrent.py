"""Recurrent networks whose state after the window gives all steps of the horizon at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import keras
from keras import layers

from forecast_kit.errors import ArgumentError, check_fraction, check_whole
from forecast_kit.nn.blocks import NextStepLoss, TimePooling
from forecast_kit.nn.cells import Cell, RecurrentDropout, Residual, Zoneout, check_cell, make_cell
from forecast_kit.nn.networks.base import Network, Seeds, Shapes, Window
from forecast_kit.nn.recurrent import recurrent

POOLINGS = ("last", "mean", "max", "attention")


@dataclass(frozen=True)
class Recurrent(Network):
    """A recurrent network: its state after the input window gives all steps of the horizon at once.

    Its layers are named `encoder_...` and `decoder_...`, by which a fine-tuning can freeze them.

    Args:
        cell: what `forecast_kit.nn.cells.make_cell` knows: `"lstm"`, `"gru"`, `"rnn"`, `"peephole_lstm"`,
            `"min_gru"` and others.
        units: width of the state, U.
        layers: recurrent layers, one on the other.
        segment: steps that the cell reads at once. 1 reads step by step; a whole season (24 for hourly
            data) makes the recurrence short: more accurate on seasonal data and many times faster.
            The input length must be a multiple of it. `"season"` takes the season where the input holds
            at least two whole ones and a season is at most 96 steps, else 1.
        hidden: width of the dense layer between state and output; 0 for none.
        dropout: share of the state dropped in training, between layers and before the output.
        recurrent_dropout: share of the state dropped between steps, see `RecurrentDropout`.
        zoneout: chance that a unit's state stays as it was for a step, in training, see `Zoneout`.
        residual: whether layers from the second on add to their input.
        dilations: for each layer the steps between a state and the one that it comes from; 1 for all if
            empty. The number of (segmented) steps must be a multiple of each.
        bidirectional: whether each layer reads the window in both directions.
        pooling: how the outputs over the window become one state: `"last"`, `"mean"`, `"max"`, `"attention"`.
        filters: width of a causal convolution in front of the first layer; 0 for none.
        kernel_size: steps that it sees.
        auxiliary: weight of an auxiliary loss in training, in which every step is to forecast the next one, see
            `NextStepLoss`; 0 for none.
        cell_options: what the cell takes besides, such as `{"activation": "relu"}` for `"rnn"`.
        normalize, lookback, initializer: see `forecast_kit.nn.networks.Network`.

    Raises:
        ArgumentError: an argument is out of range.

    Source: of segments, Lin et al. (2023), SegRNN; of dilations, Chang et al. (2017), Dilated Recurrent Neural
    Networks; of reading both ways, Schuster and Paliwal (1997), Bidirectional Recurrent Neural Networks.

    >>> from forecast_kit import NeuralForecaster
    >>> NeuralForecaster(Recurrent("gru", units=32, segment="season"), horizon=12).name
    'GRU'
    """

    kind: ClassVar[str] = "recurrent"
    cell: str = "lstm"
    units: int = 64
    layers: int = 1
    segment: int | Literal["season"] = 1
    hidden: int = 128
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    residual: bool = False
    dilations: tuple[int, ...] = ()
    bidirectional: bool = False
    pooling: str = "last"
    filters: int = 0
    kernel_size: int = 3
    auxiliary: float = 0.0
    cell_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_cell(self.cell)
        object.__setattr__(self, "dilations", tuple(self.dilations))  # from JSON it comes as a list
        for name, least in (("units", 1), ("layers", 1), ("kernel_size", 1), ("hidden", 0), ("filters", 0)):
            check_whole(name, getattr(self, name), least)
        if self.segment != "season":
            check_whole("segment", self.segment, 1, ", or 'season'")
        for name in ("dropout", "recurrent_dropout", "zoneout"):
            check_fraction(name, getattr(self, name))
        weight = self.auxiliary
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0.0 <= weight < math.inf:
            raise ArgumentError(f"auxiliary must be a number of at least 0, got {weight!r}")
        if self.auxiliary and self.bidirectional:
            raise ArgumentError("auxiliary asks each step for the next one, which a bidirectional layer has seen; "
                                "drop one of them")  # fmt: skip
        if self.pooling not in POOLINGS:
            raise ArgumentError(f"pooling must be one of {', '.join(POOLINGS)}; got {self.pooling!r}")
        if self.dilations and len(self.dilations) != self.layers:
            raise ArgumentError(
                f"dilations must have one number for each of {self.layers} layers, got {self.dilations}"
            )
        if self.bidirectional and self.dilations:
            raise ArgumentError("dilations and bidirectional do not go together; drop one of them")
        self._cell(1, Seeds(0))  # refuses options that the cell does not take

    @property
    def title(self) -> str:
        """The cell's name."""
        kind = self.cell.upper().replace("_", "-")
        kind = f"Bi{kind}" if self.bidirectional else kind
        return f"CNN-{kind}" if self.filters else kind

    def steps_at_once(self, shapes: Shapes) -> int:
        """The segment in steps."""
        if self.segment != "season":
            return self.segment
        m = shapes.season_length
        return m if m <= 96 and shapes.input_length >= 2 * m and not shapes.input_length % m else 1

    def check(self, shapes: Shapes) -> None:
        """See `Network`."""
        super().check(shapes)
        segment = self.steps_at_once(shapes)
        if self.auxiliary and segment >= shapes.input_length:
            raise ArgumentError(f"auxiliary asks for the next of several steps, and the cell reads all "
                                f"{shapes.input_length} at once; take a shorter segment, or no auxiliary")  # fmt: skip
        if shapes.input_length % segment:
            raise ArgumentError(
                f"input_length must be a multiple of segment, got {shapes.input_length} and {self.segment}"
            )
        for dilation in self.dilations:
            if shapes.input_length // segment % dilation:
                raise ArgumentError(f"the {shapes.input_length // segment} steps that the cell reads must be a "
                                    f"multiple of every dilation, got {self.dilations}")  # fmt: skip

    def connect(self, window: Window, width: int, seeds: Seeds) -> tuple[Any, Any]:
        """See `Network`."""
        state = self.encode(window, seeds)
        if window.static is not None:
            state = layers.Concatenate()([state, window.static])
        if self.hidden:
            state = layers.Dense(
                self.hidden, activation="relu", kernel_initializer=seeds.next(), name="decoder_hidden"
            )(state)
        return read_out(state, window, width, seeds), state

    def encode(self, window: Window, seeds: Seeds) -> Any:
        """`[B, U]` the state after the window."""
        x = window.channels  # [B, T, C]
        if self.filters:
            x = layers.Conv1D(
                self.filters, self.kernel_size, padding="causal", activation="relu", kernel_initializer=seeds.next(),
                data_format="channels_last", name="encoder_convolution",
            )(x)  # fmt: skip
        steps = window.shapes.input_length // self.steps_at_once(window.shapes)
        x = layers.Reshape((steps, -1))(x)  # [B, T / segment, segment * channels]
        for k in range(self.layers):
            every = k < self.layers - 1 or self.pooling != "last" or self.auxiliary > 0
            x = self._layer(k, seeds, every=every)(x)
            if self.dropout:
                x = layers.Dropout(self.dropout, seed=seeds.number())(x)
        if self.auxiliary:
            loss = NextStepLoss(self.auxiliary, seed=seeds.number(), name="encoder_auxiliary")
            x = loss(x, window.y, window.observed)
        elif self.pooling == "last":
            return x
        return TimePooling(self.pooling, seed=seeds.number(), name="encoder_pooling")(x)

    def _layer(self, k: int, seeds: Seeds, *, every: bool) -> keras.layers.Layer:
        cell, name = self._cell(k, seeds), f"encoder_{k}"
        if self.bidirectional:
            return layers.Bidirectional(recurrent(cell, return_sequences=every), name=name)
        return recurrent(cell, return_sequences=every, dilation=self.dilations[k] if self.dilations else 1, name=name)

    def _cell(self, k: int, seeds: Seeds) -> Cell:
        cell = make_cell(
            self.cell, self.units, kernel_initializer=seeds.next(), recurrent_initializer=seeds.next("recurrent"),
            **self.cell_options,
        )  # fmt: skip
        if self.zoneout:
            cell = Zoneout(cell, self.zoneout, seed=seeds.number())
        if self.recurrent_dropout:
            cell = RecurrentDropout(cell, self.recurrent_dropout, seed=seeds.number())
        return Residual(cell) if self.residual and k and not self.bidirectional else cell


def read_out(state: Any, window: Window, width: int, seeds: Seeds) -> Any:
    """`[B, H, width]` all steps of the horizon from one state `[B, U]` and the known-future covariates."""
    horizon = window.shapes.horizon
    raw = layers.Dense(horizon * width, kernel_initializer=seeds.next("small"), name="decoder_steps")(state)
    raw = layers.Reshape((horizon, width))(raw)
    if window.future is None:
        return raw
    context = layers.Dense(horizon * 8, kernel_initializer=seeds.next(), name="decoder_context")(state)
    each = layers.Concatenate()([layers.Reshape((horizon, 8))(context), window.future])
    each = layers.Dense(64, activation="relu", kernel_initializer=seeds.next(), name="decoder_future")(each)
    return raw + layers.Dense(width, kernel_initializer=seeds.next("small"), name="decoder_correction")(each)
