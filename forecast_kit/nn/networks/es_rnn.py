"""Exponential smoothing and a recurrent network, trained as one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras
from keras import layers, ops

from forecast_kit.errors import ArgumentError, check_fraction, check_whole
from forecast_kit.nn.cells import check_cell, make_cell
from forecast_kit.nn.cells.smoothing import SEASONALS, STARTS, TRENDS, Seasonal, SmoothingCell, Trend, ahead
from forecast_kit.nn.heads.base import Support
from forecast_kit.nn.networks.base import Network, Seeds, Shapes, Window
from forecast_kit.nn.networks.recurrent import read_out
from forecast_kit.nn.recurrent import recurrent
from forecast_kit.nn.scaling import WindowScale

CHANGE = 0.01  # added to the usual relative change of a window, which may be 0
LEAST = 1e-3  # share of a window's mean at which a target that should be above 0 and is not is taken
# The paper's, by the season of its data: yearly, quarterly, daily, monthly, hourly.
PUBLISHED = {1: ((1, 6),), 4: ((1, 2), (4, 8)), 7: ((1, 7), (14, 28)), 12: ((1, 3), (6, 12)), 24: ((1, 4), (24, 168))}


@dataclass(frozen=True, kw_only=True)
class ESRNN(Network):
    """ES-RNN: each window is smoothed exponentially, a recurrent network forecasts what the smoothing leaves.

    The smoothing gives level `l_t` and seasonal factor `s_t` of every step (`SmoothingCell`), with
    coefficients that are learned together with the network: `logit(alpha_i) = a + a_i`, and likewise
    gamma and the others, `a` for all series and `a_i` for the i-th, 0 for one that was not there in
    training. The network reads each window without level and season,

        x_t = y_t - l_T - s_t,    or log(y_t / (l_T s_t)) / c for a multiplicative season

    with `c` the window's usual change, its mean |log y_t - log y_(t-m)| + 0.01 (of one step, where it is
    shorter than two seasons). From what the network makes of them, r, the forecast is

        y_(T+h) = l_T + s_(T+h) + r_h,    or l_T s_(T+h) (1 + c r_h)

    the last factors repeated season after season. Untrained, r is near 0 and the forecast that of the
    smoothing. The network is a stack of dilated recurrent layers in groups; each group but the first
    adds to what it reads. Its layers are named `smoothing`, `encoder_...` and `decoder_...`, by which a
    fine-tuning can freeze them.

    Where it departs from the paper: windows are drawn at random, and a smoothing that began with the
    series would have to run through all that lies before each; so it begins anew with each window, level
    and factors being read from it (`first_states`), where the paper learns the first factors of every
    series. A window is a training example with one target, not every step of it. And since a head
    stands behind the network, it corrects a multiplicative season by `1 + c r` and not by `exp(r)`; a head
    for positive targets takes its own factor in place of that. For the paper's logarithms keep the additive
    season and transform the target, by `{"stage": "boxcox", "lam": 0.0}`: sums of logarithms are its products.

    Args:
        cell: what `forecast_kit.nn.cells.make_cell` knows.
        units: width of the states, U.
        dilations: the layers in groups, for each the steps between a state and the one that it comes from:
            `((1, 3), (6, 12))` are two groups of two. `"season"` takes the paper's for the season, without
            those above half the window.
        span: how many x each step of the stack reads, its own the last, the paper's input window. `"season"`
            takes those of a season, at least 4.
        hidden: width of the tanh layer between state and output; 0 for none.
        dropout: share of the outputs dropped in training behind each group.
        seasonal: `"additive"` for targets of any sign, such as standardised ones; `"multiplicative"` for
            targets above 0, which needs `normalize="mean"` or `"none"` and a transform that keeps them so.
        alpha: the level's smoothing coefficient before training. Training moves it little where it has few
            steps, and near 0 a level lags behind its series.
        trend: of the smoothing: None, as in the paper, where the network sees to it; `"additive"` or
            `"damped"` with an additive season.
        level_penalty: weight of the mean squared second difference of the (logarithm of the) level, in
            units of the window, which is added to the loss.
        lookback: not for this network; the smoothing stands in its place.
        normalize, initializer: see `forecast_kit.nn.networks.Network`.

    Raises:
        ArgumentError: an argument is out of range, or two do not go together.

    Source: Smyl (2020), A hybrid method of exponential smoothing and recurrent neural networks for time
    series forecasting, International Journal of Forecasting 36(1).

    >>> from forecast_kit import NeuralForecaster
    >>> NeuralForecaster(ESRNN(units=32, dilations=((1, 2), (4, 8))), horizon=24).name
    'ES-RNN'
    """

    kind: ClassVar[str] = "es_rnn"
    wants_series: ClassVar[bool] = True
    cell: str = "lstm"
    units: int = 40
    dilations: tuple[tuple[int, ...], ...] | Literal["season"] = "season"
    span: int | Literal["season"] = "season"
    hidden: int = 40
    dropout: float = 0.0
    seasonal: Seasonal = "additive"
    trend: Trend = None
    alpha: float = 0.6
    level_penalty: float = 0.0
    lookback: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_cell(self.cell)
        check_whole("units", self.units)
        if self.span != "season":
            check_whole("span", self.span, 1, ", or 'season'")
        check_whole("hidden", self.hidden, 0)
        check_fraction("dropout", self.dropout)
        if not 0.0 < self.alpha < 1.0:
            raise ArgumentError(f"alpha must lie strictly between 0 and 1, got {self.alpha}")
        if not 0.0 <= self.level_penalty < math.inf:
            raise ArgumentError(f"level_penalty must be at least 0, got {self.level_penalty}")
        if self.lookback:
            raise ArgumentError("ES-RNN corrects the forecast of its smoothing and no other; take lookback=False")
        if self.seasonal not in SEASONALS:
            raise ArgumentError(f"seasonal must be one of {', '.join(SEASONALS)}; got {self.seasonal!r}")
        if self.trend not in TRENDS:
            raise ArgumentError(f"trend must be one of {TRENDS}; got {self.trend!r}")
        if self.seasonal == "multiplicative" and self.trend is not None:
            raise ArgumentError(f"a multiplicative season goes with trend=None, for a line may cross 0; "
                                f"got {self.trend!r}")  # fmt: skip
        if self.seasonal == "multiplicative" and self.normalize not in ("mean", "none"):
            raise ArgumentError(f"a multiplicative season needs targets above 0, which normalize='mean' or 'none' "
                                f"leaves where they are; got {self.normalize!r}")  # fmt: skip
        if self.dilations != "season":
            object.__setattr__(self, "dilations", _groups(self.dilations))

    @property
    def title(self) -> str:
        """ES-RNN."""
        return "ES-RNN"

    def groups(self, shapes: Shapes) -> tuple[tuple[int, ...], ...]:
        """The dilations."""
        if self.dilations != "season":
            return self.dilations
        m = shapes.season_length
        quarter, half = (max(d for d in range(1, m + 1) if m % d == 0 and d <= max(m // k, 1)) for k in (4, 2))
        groups = PUBLISHED.get(m, ((1, quarter), (half, m)))
        fitting = (tuple(d for d in group if d == 1 or 2 * d <= shapes.input_length) for group in groups)
        return tuple(group for group in fitting if group)

    def check(self, shapes: Shapes) -> None:
        """See `Network`."""
        super().check(shapes)
        if shapes.input_length < shapes.season_length:
            raise ArgumentError(f"input_length must hold at least a season of {shapes.season_length} steps, "
                                f"got {shapes.input_length}")  # fmt: skip
        if self.span != "season" and self.span > shapes.input_length:
            raise ArgumentError(f"span must be at most input_length, {shapes.input_length}; got {self.span}")
        longest = max(d for group in self.groups(shapes) for d in group)
        if longest > shapes.input_length:
            raise ArgumentError(f"dilations must be at most input_length, {shapes.input_length}; got {longest}")

    def connect(self, window: Window, width: int, seeds: Seeds) -> tuple[Any, Any]:
        """See `Network`; the state is the forecast of the smoothing `[B, H]` and its usual change `[B, 1]`."""
        shapes = window.shapes
        smoothing = Smoothing(
            shapes.season_length, shapes.horizon, seasonal=self.seasonal, trend=self.trend, series=shapes.series,
            alpha=self.alpha, level_penalty=self.level_penalty, name="smoothing",
        )  # fmt: skip
        rest, forecast, change = smoothing(window.y, window.observed, window.series)
        # Zeros are what is padded below: with `observed`, and not its negation, they are steps without a value.
        span = min(max(shapes.season_length, 4), shapes.input_length) if self.span == "season" else self.span
        own = [_latest(rest, span), ops.expand_dims(window.observed, -1)]
        x = layers.Concatenate()([*own, window.channels[:, :, 2:]] if shapes.past else own)
        state = self._encode(x, self.groups(shapes), seeds)
        if window.static is not None:
            state = layers.Concatenate()([state, window.static])
        if self.hidden:
            state = layers.Dense(
                self.hidden, activation="tanh", kernel_initializer=seeds.next(), name="decoder_hidden"
            )(state)
        return read_out(state, window, width, seeds), (forecast, change)

    def base(self, window: Window, state: Any, *, support: Support) -> tuple[Any, Any]:
        """See `Network`: the forecast of the smoothing; where factors make it, in units of its usual change."""
        forecast, change = state
        if self.seasonal == "additive":
            return forecast, None
        if support != "real":  # a head that multiplies takes a logarithm by itself, or the like
            return ops.ones_like(forecast), forecast
        return ops.ones_like(forecast) / change, forecast * change

    def _encode(self, x: Any, groups: tuple[tuple[int, ...], ...], seeds: Seeds) -> Any:
        """`[B, U]` the state of the stack after the last step of `x [B, T, C]`."""
        for g, group in enumerate(groups):
            read = x
            for k, dilation in enumerate(group):
                every = (g, k) != (len(groups) - 1, len(group) - 1)
                x = self._layer(x, dilation, seeds, every=every, name=f"encoder_{g}_{k}")
            if g:
                x = x + (read if g < len(groups) - 1 else read[:, -1])
            if self.dropout:
                x = layers.Dropout(self.dropout, seed=seeds.number())(x)
        return x

    def _layer(self, x: Any, dilation: int, seeds: Seeds, *, every: bool, name: str) -> Any:
        """`[B, T, U]` or the last `[B, U]`; T need not be a multiple of the dilation."""
        padding = -x.shape[1] % dilation
        if padding:
            x = ops.pad(x, ((0, 0), (padding, 0), (0, 0)))
        cell = make_cell(
            self.cell, self.units, kernel_initializer=seeds.next(), recurrent_initializer=seeds.next("recurrent")
        )
        x = recurrent(cell, return_sequences=every, dilation=dilation, name=name)(x)
        return x[:, padding:] if padding and every else x


def _latest(x: Any, span: int) -> Any:
    """`[B, T, span]` for each step the latest of `x [B, T]`, its own the last; zeros before the first."""
    length = x.shape[1]
    x = ops.pad(x, ((0, 0), (span - 1, 0)))
    return ops.stack([x[:, k : k + length] for k in range(span)], axis=-1)


def _groups(dilations: Any) -> tuple[tuple[int, ...], ...]:
    """The groups as tuples; from JSON they come as lists."""
    wanted = "dilations must be 'season' or groups of whole numbers, at least 1, such as ((1, 2), (4, 8))"
    if isinstance(dilations, str) or not all(isinstance(group, list | tuple) for group in dilations):
        raise ArgumentError(f"{wanted}; got {dilations!r}")
    groups = tuple(tuple(group) for group in dilations)
    if not groups or not all(groups) or not all(isinstance(d, int) and d >= 1 for group in groups for d in group):
        raise ArgumentError(f"{wanted}; got {dilations!r}")
    return groups


@keras.saving.register_keras_serializable("forecast_kit")
class Smoothing(keras.layers.Layer):
    """A window without level and season, and the forecast of its exponential smoothing.

    See `ESRNN` for the equations. Its weights are the logits of the smoothing coefficients: `shared [R]`,
    of all series, and `own [N, R]`, what is added for each; R are those that
    `forecast_kit.nn.cells.smoothing.rate_names` lists. But for alpha they begin where `HoltWintersCell` does.

    Args:
        season_length: m, in steps.
        horizon: H, in steps.
        seasonal: `"additive"` or `"multiplicative"`.
        trend: `"additive"`, `"damped"` or None.
        series: how many series have coefficients of their own, N.
        alpha: that of the level before training.
        level_penalty: see `ESRNN`.

    Call: y `[B, T]`, observed `[B, T]`, series `[B]` from 1, 0 for none of them, or None for none at all
    -> `[B, T]` the rest, 0 where nothing was observed; `[B, H]` the forecast; `[B, 1]` the usual change c, 1
    for an additive season.
    """

    def __init__(
        self,
        season_length: int,
        horizon: int,
        *,
        seasonal: Seasonal = "additive",
        trend: Trend = None,
        series: int = 0,
        alpha: float = 0.6,
        level_penalty: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.season_length, self.horizon, self.seasonal, self.trend = season_length, horizon, seasonal, trend
        self.series, self.alpha, self.level_penalty = series, alpha, level_penalty
        self.change = WindowScale(season_length, "season", epsilon=CHANGE)
        cell = SmoothingCell(season_length, trend=trend, seasonal=seasonal, dtype="float32")
        self.names = cell.rates
        self.recurrence = recurrent(cell, return_sequences=True, return_state=True)

    def build(self, y_shape: tuple[int, ...], observed_shape: Any = None, series_shape: Any = None) -> None:
        """Creates the weights."""
        rates = {**STARTS, "alpha": self.alpha}
        starts = [math.log(rates[name] / (1.0 - rates[name])) for name in self.names]
        size = len(starts)
        self.shared = self.add_weight(name="shared", shape=(size,), initializer=lambda *_, **__: ops.array(starts))
        if self.series:
            self.own = self.add_weight(name="own", shape=(self.series, size), initializer="zeros")
        self.recurrence.build((*y_shape, 2 + size))

    def rates(self, y: Any, series: Any) -> Any:
        """`[B, R]` the coefficients of each window, between 0 and 1."""
        logits = ops.zeros_like(y[:, :1]) + self.shared
        if self.series and series is not None:
            known = ops.expand_dims(ops.cast(series > 0, logits.dtype), -1)
            logits = logits + known * ops.take(self.own, ops.maximum(series - 1, 0), axis=0)
        return ops.sigmoid(logits)

    def call(self, y: Any, observed: Any, series: Any = None, training: bool = False) -> tuple[Any, Any, Any]:
        """The rest, the forecast and the usual change."""
        multiplicative = self.seasonal == "multiplicative"
        if multiplicative:
            y = _above_zero(y, observed)
        states = first_states(y, observed, season_length=self.season_length, seasonal=self.seasonal, trend=self.trend)
        rates = self.rates(y, series)
        damping = rates[:, -1:] if self.trend == "damped" else 1.0 if self.trend else 0.0
        every = self._every_step(rates, observed)
        parts, *states = self.recurrence(
            ops.concatenate([ops.stack([y, observed], -1), every], -1), initial_state=states
        )
        levels, seasons, last = parts[:, :, 0], parts[:, :, 1], states[0]
        if self.level_penalty and training and y.shape[1] > 2:
            self.add_loss(self.level_penalty * _roughness(ops.log(levels) if multiplicative else levels))
        forecast = ahead(states, damping, horizon=self.horizon, seasonal=self.seasonal)
        if not multiplicative:
            return (y - last - seasons) * observed, forecast, ops.ones_like(last)
        _, change = self.change(ops.log(y), observed)  # [B, 1]
        return ops.log(y / (last * seasons)) / change * observed, forecast, change

    def _every_step(self, rates: Any, observed: Any) -> Any:
        """`[B, T, R]` the coefficients of every step; before the first observation the trend is not damped."""
        every = ops.repeat(ops.expand_dims(rates, 1), observed.shape[1], axis=1)
        if self.trend != "damped":
            return every
        begun = ops.expand_dims(ops.cumsum(observed, axis=1) > 0, -1)
        return ops.concatenate([every[:, :, :-1], ops.where(begun, every[:, :, -1:], 1.0)], -1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("season_length", "horizon", "seasonal", "trend", "series", "alpha", "level_penalty")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def first_states(y: Any, observed: Any, *, season_length: int, seasonal: Seasonal, trend: Trend) -> list[Any]:
    """Level, trend `[B, 1]` and factors `[B, m]` before the first step of `y [B, T]`, by decomposing the whole window.

    For an additive season, over what was observed,

        b = mean of (y_(t+m) - y_t) / m                       the slope, which would look like a season
        g_d = mean over season d of (y_t - b t - s_i)         twice in turn, from s = 0,
        s_i = mean over the seasons of (y_t - b t - g_d)      where t is step i of season d
        l = mean over the first season with observations of (y_t - s_i), or with a trend (y_t - s_i - b t)

    with s then shifted to mean 0, and 0 for a step of the season that was never observed; `b` is the trend
    where there is one. A multiplicative season is the same in logarithms. Where nothing was observed the
    states are neutral. Unlike `HoltWintersCell.initial_states` it takes windows that are padded
    on the left, and factors from more than one season.
    """
    m, length = season_length, y.shape[1]
    if seasonal == "multiplicative":
        level, slope, ring = first_states(
            ops.log(ops.where(observed > 0, y, 1.0)), observed, season_length=m, seasonal="additive", trend=trend
        )
        return [ops.exp(level), slope, ops.exp(ring)]
    slope = ops.zeros_like(y[:, :1])
    if length > m:
        both = observed[:, m:] * observed[:, :-m]
        slope = _mean(y[:, m:] - y[:, :-m], both, axis=1) / m  # [B, 1]
    line = slope * ops.arange(1, length + 1, dtype=y.dtype)  # [B, T]
    flat, seen, kept = (
        ops.reshape(ops.pad(part, ((0, 0), (0, -length % m))), (-1, -(-length // m), m))
        for part in (y - line, observed, y - line if trend else y)
    )  # [B, D, m]
    ring = ops.zeros_like(flat[:, :1])
    for _ in range(2):
        ring = _mean(flat - _mean(flat - ring, seen, axis=2), seen, axis=1)  # [B, 1, m]
    ever = ops.max(seen, axis=1, keepdims=True)
    ring = (ring - _mean(ring, ever, axis=2)) * ever
    begun = ops.max(seen, axis=2)  # [B, D]
    first = ops.expand_dims(begun * ops.cast(ops.cumsum(begun, axis=1) == 1, y.dtype), -1)  # 1 in one season
    level = _mean(kept - ring, first * seen, axis=(1, 2))[:, 0]
    return [level, slope if trend else ops.zeros_like(slope), ring[:, 0]]


def _mean(values: Any, weights: Any, *, axis: int | tuple[int, int]) -> Any:
    """The mean over an axis or two, which are kept, of what has weight; 0 where nothing has."""
    count = ops.sum(weights, axis=axis, keepdims=True)
    return ops.sum(values * weights, axis=axis, keepdims=True) / ops.maximum(count, 1.0)


def _above_zero(y: Any, observed: Any) -> Any:
    """`[B, T]` the target, at least a thousandth of the window's mean."""
    mean = _mean(ops.abs(y), observed, axis=1)
    return ops.maximum(y, LEAST * ops.where(mean > 0, mean, 1.0))


def _roughness(levels: Any) -> Any:
    """The mean squared second difference along `[B, T]`."""
    return ops.mean(ops.square(levels[:, 2:] - 2.0 * levels[:, 1:-1] + levels[:, :-2]))
