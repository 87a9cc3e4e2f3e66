"""Networks: from the arrays of a batch to quantiles of every step ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import layers, ops

from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError
from forecast_kit.nn.blocks import OneHot, SeasonalLookback, WindowScale
from forecast_kit.nn.cells import check_cell, make_cell
from forecast_kit.nn.heads import QuantileHead
from forecast_kit.nn.recurrent import recurrent


@dataclass(frozen=True)
class Recurrent:
    """A recurrent network: its state after the input window gives all steps of the horizon at once.

    Args:
        cell: what `forecast_kit.nn.cells.make_cell` knows: `"lstm"`, `"gru"`, `"rnn"`, `"peephole_lstm"`,
            `"min_gru"` and others.
        units: width of the state, U.
        layers: recurrent layers, one on the other.
        segment: steps that the cell reads at once. 1 reads step by step; a whole season (24 for hourly
            data) makes the recurrence short: more accurate on seasonal data and many times faster.
            The input length must be a multiple of it.
        hidden: width of the dense layer between state and output.
        lookback: whether the network forecasts the difference to a weighted mean of past seasons,
            see `SeasonalLookback`, or the value itself.
        dropout: share of the state dropped in training, between layers and before the output.

    Raises:
        ArgumentError: an argument is out of range.
    """

    cell: str = "lstm"
    units: int = 64
    layers: int = 1
    segment: int = 1
    hidden: int = 128
    lookback: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_cell(self.cell)
        for name in ("units", "layers", "segment", "hidden"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.0 <= self.dropout < 1.0:
            raise ArgumentError(f"dropout must be at least 0 and below 1, got {self.dropout}")


@dataclass(frozen=True)
class Shapes:
    """The sizes that a network is built for: T, H, m, and for each covariate 0, or how many codes a category has.

    The covariates are those of past_x, future_x and static_x.
    """

    input_length: int
    horizon: int
    season_length: int
    past: tuple[int, ...] = ()
    future: tuple[int, ...] = ()
    static: tuple[int, ...] = ()


def build_network(spec: Recurrent, shapes: Shapes, head: QuantileHead, *, seed: int) -> keras.Model:
    """The untrained network, initialised from the seed.

    Inputs, by the names in `forecast_kit.typing`: past_y, past_observed `[B, T]`, and where there are
    covariates past_x `[B, T, P]`, future_x `[B, H, K]`, static_x `[B, S]`, categories as codes. Output:
    `[B, H, Q]` quantiles in the unit of past_y.

    Raises:
        ArgumentError: the input length does not fit the segment or the season.
    """
    length, horizon, season = shapes.input_length, shapes.horizon, shapes.season_length
    if length % spec.segment:
        raise ArgumentError(f"input_length must be a multiple of segment, got {length} and {spec.segment}")
    if length < season:
        raise ArgumentError(f"input_length must hold at least a season of {season} steps, got {length}")
    seeds = _Seeds(seed)
    inputs = {
        fk.PAST_Y: keras.Input((length,), name=fk.PAST_Y),
        fk.PAST_OBSERVED: keras.Input((length,), name=fk.PAST_OBSERVED),
    }
    known = {}  # covariates by name, categories as indicators
    for name, axes, sizes in (
        (fk.PAST_X, (length,), shapes.past), (fk.FUTURE_X, (horizon,), shapes.future), (fk.STATIC_X, (), shapes.static),
    ):  # fmt: skip
        if sizes:
            inputs[name] = keras.Input((*axes, len(sizes)), name=name)
            known[name] = OneHot(sizes)(inputs[name])
    observed = inputs[fk.PAST_OBSERVED]
    shift, scale = WindowScale(season)(inputs[fk.PAST_Y], observed)
    y = (inputs[fk.PAST_Y] - shift) / scale * observed  # [B, T], 0 where nothing was observed

    channels = [ops.expand_dims(y, -1), ops.expand_dims(1.0 - observed, -1)]
    if shapes.past:
        channels.append(known[fk.PAST_X])
    steps = length // spec.segment
    x = layers.Reshape((steps, -1))(layers.Concatenate()(channels))  # [B, T / segment, segment * channels]
    for k in range(spec.layers):
        last = k == spec.layers - 1
        cell = make_cell(
            spec.cell, spec.units, kernel_initializer=seeds.next("glorot"),
            recurrent_initializer=seeds.next("orthogonal"),
        )  # fmt: skip
        x = recurrent(cell, return_sequences=not last)(x)
        if spec.dropout:
            x = layers.Dropout(spec.dropout, seed=seeds.number())(x)
    if shapes.static:
        x = layers.Concatenate()([x, known[fk.STATIC_X]])
    state = layers.Dense(spec.hidden, activation="relu", kernel_initializer=seeds.next("glorot"))(x)

    count = len(head.levels)
    raw = layers.Reshape((horizon, count))(layers.Dense(horizon * count, kernel_initializer=seeds.next("small"))(state))
    if shapes.future:
        raw = raw + _future_branch(known[fk.FUTURE_X], state, shapes, count, seeds)
    ordered = head(raw)
    if spec.lookback:
        repeated = SeasonalLookback(season, horizon)(y, observed, state)
        ordered = ordered + ops.expand_dims(repeated, -1)
    quantiles = ordered * ops.expand_dims(scale, -1) + ops.expand_dims(shift, -1)
    return keras.Model(inputs, quantiles, name=spec.cell)


def _future_branch(future: Any, state: Any, shapes: Shapes, count: int, seeds: _Seeds) -> Any:
    """`[B, H, Q]` what known-future covariates add at each step, given the state."""
    context = layers.Dense(shapes.horizon * 8, kernel_initializer=seeds.next("glorot"))(state)
    each = layers.Concatenate()([layers.Reshape((shapes.horizon, 8))(context), future])
    each = layers.Dense(64, activation="relu", kernel_initializer=seeds.next("glorot"))(each)
    return layers.Dense(count, kernel_initializer=seeds.next("small"))(each)


class _Seeds:
    """A seed of its own for every initialiser, all from one."""

    def __init__(self, seed: int) -> None:
        self._seed = seed * 1000

    def number(self) -> int:
        self._seed += 1
        return self._seed

    def next(self, kind: Literal["glorot", "orthogonal", "small"]) -> keras.initializers.Initializer:
        if kind == "glorot":
            return keras.initializers.GlorotUniform(seed=self.number())
        if kind == "orthogonal":
            return keras.initializers.Orthogonal(seed=self.number())
        return keras.initializers.RandomNormal(stddev=0.01, seed=self.number())
