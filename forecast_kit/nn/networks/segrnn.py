"""SegRNN: a recurrent network that reads and writes whole segments, and writes them side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import keras
from keras import layers, ops

from forecast_kit.errors import ArgumentError, check_fraction, check_whole
from forecast_kit.nn.cells import Cell, Stacked, check_cell, make_cell
from forecast_kit.nn.networks.base import Network, Seeds, Shapes, Window
from forecast_kit.nn.recurrent import recurrent
from forecast_kit.nn.scaling import Normalization


@dataclass(frozen=True)
class SegRNN(Network):
    """A recurrent network over segments of the window, whose last state gives all future segments side by side.

        x_i = relu(segment_i We + be)           i = 1 .. n, every channel of the segment
        h_i = cell(x_i, h_(i-1))                the window
        p_j = [position_j ; series]             j = 1 .. S, learned
        g_j = cell(p_j, h_n)                    the future: one step of the same cell for each segment
        y_j = dropout(g_j) Wy + by              W steps of the horizon

    No future segment waits for another, and none is fed with a forecast. The S = ceil(H / W) segments cover
    the horizon; what lies beyond it is cut off. Known-future covariates of the segment, through a dense layer
    with ReLU, and static covariates, through a linear one, are added to `p_j`.

    Args:
        cell: what `forecast_kit.nn.cells.make_cell` knows: `"gru"`, `"lstm"`, `"rnn"` and others.
        units: width of embeddings and state, U.
        layers: cells, one on the other; a step is a step of all.
        segment: steps of a segment, W, of which the input length must be a multiple; a shorter horizon makes
            future segments that short. `"season"` takes the season where the input holds at least two whole
            ones and a season is 2 to 96 steps, else the divisor of the input length nearest to its square
            root.
        dropout: share of the state dropped in training before the output.
        series_embedding: numbers, of the U that tell where a future segment lies, that tell the series
            instead; the paper takes half. 0 for none. A series that was not there in training has the mean
            of those that were.
        normalize, lookback, initializer: see `Network`; the paper subtracts the last value and looks back at
            nothing.

    Raises:
        ArgumentError: an argument is out of range.

    Source: Lin et al. (2023), SegRNN: Segment Recurrent Neural Network for Long-Term Time Series
    Forecasting, arXiv 2308.11200, section 3, with parallel multi-step forecasting (3.3).

    >>> from forecast_kit import NeuralForecaster
    >>> NeuralForecaster(SegRNN(units=64, segment=24), horizon=48, input_length=168).name
    'SegRNN'
    >>> SegRNN().steps_at_once(Shapes(168, 48, 24)), SegRNN().steps_at_once(Shapes(36, 6, 1))
    (24, 6)
    """

    kind: ClassVar[str] = "segrnn"
    cell: str = "gru"
    units: int = 128
    layers: int = 1
    segment: int | Literal["season"] = "season"
    dropout: float = 0.1
    series_embedding: int = 0
    normalize: Normalization = field(default="last", kw_only=True)
    lookback: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_cell(self.cell)
        for name in ("units", "layers"):
            check_whole(name, getattr(self, name))
        if self.segment != "season":
            check_whole("segment", self.segment, 1, ", or 'season'")
        check_fraction("dropout", self.dropout)
        check_whole("series_embedding", self.series_embedding, 0)
        if self.series_embedding >= self.units:
            raise ArgumentError(
                f"series_embedding must be below units, which it is a part of; got {self.series_embedding} and "
                f"{self.units}"
            )

    @property
    def title(self) -> str:
        """The paper's name for it, and the cell's where it is none of the paper's default."""
        return "SegRNN" if self.cell == "gru" else f"SegRNN-{self.cell.upper().replace('_', '-')}"

    @property
    def wants_series(self) -> bool:  # type: ignore[override]  # for other networks it is one for the whole class
        """Whether there is an embedding of the series."""
        return self.series_embedding > 0

    def steps_at_once(self, shapes: Shapes) -> int:
        """The segment in steps."""
        if self.segment != "season":
            return self.segment
        m, length = shapes.season_length, shapes.input_length
        if 2 <= m <= 96 and length >= 2 * m and not length % m:
            return m
        divisors = [size for size in range(1, length + 1) if not length % size]
        return min(divisors, key=lambda size: abs(size - math.sqrt(length)))

    def check(self, shapes: Shapes) -> None:
        """See `Network`."""
        super().check(shapes)
        segment = self.steps_at_once(shapes)
        if shapes.input_length % segment:
            raise ArgumentError(f"input_length must be a multiple of segment, got {shapes.input_length} and {segment}")

    def connect(self, window: Window, width: int, seeds: Seeds) -> tuple[Any, Any]:
        """See `Network`."""
        shapes = window.shapes
        segment = self.steps_at_once(shapes)
        x = layers.Reshape((shapes.input_length // segment, -1))(window.channels)  # [B, n, W C]
        x = layers.Dense(self.units, activation="relu", kernel_initializer=seeds.next(), name="segments")(x)
        ahead = min(segment, shapes.horizon)  # steps of a future segment
        count = -(-shapes.horizon // ahead)  # S
        queries = self._queries(window, (count, ahead), seeds)  # [B, S, U]
        g, state = ParallelDecoder(self._cell(seeds), name="decoder")(x, queries)
        if self.dropout:
            g = layers.Dropout(self.dropout, seed=seeds.number())(g)
        raw = layers.Dense(ahead * width, kernel_initializer=seeds.next("small"), name="steps")(g)  # [B, S, W width]
        return layers.Reshape((count * ahead, width))(raw)[:, : shapes.horizon], state

    def _queries(self, window: Window, split: tuple[int, int], seeds: Seeds) -> Any:
        """`[B, S, U]` what the cell reads in place of each future segment."""
        count, ahead = split
        # Without series there is nothing to tell apart, and the positions have the whole width.
        told = self.series_embedding if window.series is not None else 0
        queries = Positions(count, self.units - told, seed=seeds.number(), name="positions")(window.channels)
        if told:
            series = SeriesEmbedding(window.shapes.series, told, seed=seeds.number(), name="series_vectors")
            queries = layers.Concatenate()([queries, layers.RepeatVector(count)(series(window.series))])
        if window.future is not None:
            beyond = count * ahead - window.shapes.horizon
            known = layers.ZeroPadding1D((0, beyond))(window.future)
            known = layers.Reshape((count, -1))(known)  # [B, S, W K]
            queries += layers.Dense(self.units, activation="relu", kernel_initializer=seeds.next(), name="known")(known)
        if window.static is not None:
            static = layers.Dense(self.units, kernel_initializer=seeds.next(), name="static")(window.static)
            # In this order: Keras under TensorFlow takes a second summand [B, 1, 1] for a bias where B is S.
            queries = ops.expand_dims(static, 1) + queries
        return queries

    def _cell(self, seeds: Seeds) -> Cell:
        cells = [
            make_cell(
                self.cell, self.units, kernel_initializer=seeds.next(), recurrent_initializer=seeds.next("recurrent")
            )
            for _ in range(self.layers)
        ]
        return cells[0] if self.layers == 1 else Stacked(cells)


@keras.saving.register_keras_serializable("forecast_kit")
class ParallelDecoder(keras.layers.Layer):
    """A cell that reads a sequence, and then takes one step from its last state for each of several inputs.

    Args:
        cell: any `Cell` that draws no noise.

    Call: sequence `[B, n, F]`, queries `[B, S, F]` -> outputs `[B, S, U]`, and the output after the sequence
    `[B, U]`.
    """

    def __init__(self, cell: Cell, **kwargs: Any) -> None:
        super().__init__(**{"dtype": cell.dtype_policy, **kwargs})
        self.reader = recurrent(cell, return_state=True)
        self.supports_jit = self.reader.supports_jit

    def build(self, sequence_shape: tuple[int | None, ...], queries_shape: tuple[int | None, ...]) -> None:
        """Creates the cell's weights."""
        self.reader.build(sequence_shape)

    def call(self, sequence: Any, queries: Any, training: bool = False) -> tuple[Any, Any]:
        """Outputs of the steps side by side, and the one before them."""
        last, *states = self.reader(sequence, training=training)
        # One step of a batch S times as large.
        count, features = queries.shape[1:]
        repeated = [ops.repeat(state, count, axis=0) for state in states]
        outputs, _ = self.reader.cell(ops.reshape(queries, (-1, features)), repeated, training=training)
        return ops.reshape(outputs, (-1, count, self.reader.cell.units)), last

    def compute_output_shape(
        self, sequence_shape: tuple[int | None, ...], queries_shape: tuple[int | None, ...]
    ) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
        """`[B, S, U]` and `[B, U]`."""
        units = self.reader.cell.units
        return (*queries_shape[:-1], units), (sequence_shape[0], units)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.reader.cell)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ParallelDecoder:
        """The layer that `get_config` describes."""
        return cls(keras.saving.deserialize_keras_object(config.pop("cell")), **config)


@keras.saving.register_keras_serializable("forecast_kit")
class Positions(keras.layers.Layer):
    """A learned vector for each of some places, the same for every window.

    Args:
        places: how many, S.
        units: width of the vectors, P.
        seed: of the initial values, normal with variance 1.

    Call: `[B, ...]`, for the number of windows alone -> `[B, S, P]`.
    """

    def __init__(self, places: int, units: int, *, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.places, self.units, self.seed = places, units, seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the vectors."""
        initializer = keras.initializers.RandomNormal(stddev=1.0, seed=self.seed)
        self.vectors = self.add_weight(name="vectors", shape=(self.places, self.units), initializer=initializer)

    def call(self, x: Any) -> Any:
        """The vectors, once for each window."""
        return ops.broadcast_to(self.vectors[None], (ops.shape(x)[0], self.places, self.units))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """`[B, S, P]`."""
        return (input_shape[0], self.places, self.units)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "places": self.places, "units": self.units, "seed": self.seed}


@keras.saving.register_keras_serializable("forecast_kit")
class SeriesEmbedding(keras.layers.Layer):
    """A learned vector for each series that was there in training; the mean of all for one that was not.

    Args:
        series: how many there were, N.
        units: width of the vectors, E.
        seed: of the initial values, normal with variance 1.

    Call: `[B]` numbers of series, from 1, 0 for one that was not there -> `[B, E]`.

    >>> one, two, new = SeriesEmbedding(2, 3)(ops.convert_to_tensor([1, 2, 0]))
    >>> bool(ops.max(ops.abs((one + two) / 2 - new)) < 1e-6)
    True
    """

    def __init__(self, series: int, units: int, *, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.series, self.units, self.seed = series, units, seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the vectors."""
        initializer = keras.initializers.RandomNormal(stddev=1.0, seed=self.seed)
        self.vectors = self.add_weight(name="vectors", shape=(self.series, self.units), initializer=initializer)

    def call(self, number: Any) -> Any:
        """The vector of each window's series."""
        own = ops.take(self.vectors, ops.maximum(number - 1, 0), axis=0)
        return ops.where(number[:, None] > 0, own, ops.mean(self.vectors, axis=0, keepdims=True))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """`[B, E]`."""
        return (input_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "series": self.series, "units": self.units, "seed": self.seed}
