"""Exponential smoothing as a recurrent cell, its parameters weights or inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import keras
from keras import ops

from forecast_kit.errors import ArgumentError, nearest
from forecast_kit.nn.cells.base import Cell, States, Weights

Trend = Literal["additive", "damped"] | None
Seasonal = Literal["additive", "multiplicative"]
TRENDS = ("additive", "damped", None)
SEASONALS = ("additive", "multiplicative")
STARTS = {"alpha": 0.3, "beta": 0.1, "gamma": 0.1, "phi": 0.9}  # the smoothing parameters before training
SMALLEST = 1e-6  # a denominator nearer to 0 is moved there


@keras.saving.register_keras_serializable("forecast_kit")
class HoltWintersCell(Cell):
    """Level, trend and seasonal factors by the method of Holt and Winters; the output is the next step's forecast.

        e = y_t - (l + p b + s1)            the error of the forecast made before y_t was seen
        l' = l + p b + A e
        b' = p b + A B e
        s1' = s1 + G e                      goes to the end of the ring: s' = (s2, ..., sm, s1')
        output = l' + p b' + s2             the forecast of y_(t+1)

    for an additive season; for a multiplicative one

        e = y_t - (l + p b) s1
        l' = l + p b + A e / s1,    b' = p b + A B e / s1,    s1' = s1 + G e / (l + p b)
        output = (l' + p b') s2

    This is the error-correction form of the textbook's recursion, with its alpha = A, beta* = B, gamma = G,
    phi = p: `p = 1` for an additive trend, a parameter for a damped one, and 0 without a trend, whose
    state then stays as it is. Where `y_t` was not observed `e = 0`: no news, but the season turns. A
    multiplicative season is meant for series above 0.

    With `season_length=1` there is no season: the ring holds its neutral factor, and the cell is Holt's
    linear method, or without a trend simple exponential smoothing.

    Input: `y_t [B, 1]`, or `[B, 2]` with a second channel that is above 0 where `y_t` was observed.
    Output `[B, 1]`. States: level `[B, 1]`, trend `[B, 1]`, and the ring `[B, m]` of seasonal factors,
    that of the coming step first. `get_initial_state` is neutral: level 0, trend 0, factors 0, or for a
    multiplicative season level 1, trend 0, factors 1; better ones come from the data, `initial_states`.

    Weights, scalars, without bounds, of which A, B, G and p are the sigmoid: `alpha []`, then `beta []` where there
    is a trend, `gamma []` where there is a season, `phi []` where the trend is damped. They begin where
    A = 0.3, B = 0.1, G = 0.1, p = 0.9.

    Nothing in it is a matrix product, so that a mixed policy gains nothing and costs digits: unless told
    otherwise the cell computes in the variables' dtype.

    Args:
        season_length: time steps in a season, m, at least 1.
        trend: `"additive"`, `"damped"` or None.
        seasonal: `"additive"` or `"multiplicative"`.
        kwargs: name, dtype and trainable, see `keras.layers.Layer`.

    Raises:
        ArgumentError: an argument is none of these, or the input has more than two channels.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), sections 8.2, 8.3
    and 8.5; as a layer of a network Smyl (2020), A hybrid method of exponential smoothing and recurrent
    neural networks.

    >>> cell = HoltWintersCell(4)
    >>> y = ops.reshape(ops.arange(12.0), (1, 12, 1))  # a line goes on as a line
    >>> last, *states = keras.layers.RNN(cell, return_state=True)(y, initial_state=cell.initial_states(y[..., 0]))
    >>> ops.convert_to_numpy(cell.ahead(states, cell.tensors(), horizon=3)).round(3).tolist()
    [[12.0, 13.0, 14.0]]
    """

    carries = ("level", "trend", "season")

    def __init__(
        self,
        season_length: int,
        *,
        trend: Trend = "additive",
        seasonal: Seasonal = "additive",
        **kwargs: Any,
    ) -> None:
        _check(season_length, trend, seasonal)
        kwargs.setdefault("dtype", keras.config.dtype_policy().variable_dtype)
        super().__init__(1, **kwargs)
        self.season_length = season_length
        self.trend = trend
        self.seasonal = seasonal

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of each state."""
        return (1, 1, self.season_length)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        if input_shape[-1] not in (1, 2):
            raise ArgumentError(
                f"HoltWintersCell takes one channel, y, or two, y and observed; got {input_shape[-1]} channels"
            )
        for name in rate_names(self.season_length, self.trend):
            start = math.log(STARTS[name] / (1.0 - STARTS[name]))
            setattr(self, name, self.add_weight(name=name, shape=(), initializer=keras.initializers.Constant(start)))

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """Level and trend `[B, 1]` and factors `[B, m]` of a series without features: zeros, or ones."""
        return neutral(super().get_initial_state(batch_size), self.seasonal)

    def initial_states(self, y: Any, observed: Any = None) -> list[Any]:
        """The states before the first step of `y [B, T]`, read from its first two seasons.

            b = mean over i of (y_(m+i) - y_i) / m,    0 without a second season or without a trend
            l = mean over i of (y_i - i b)
            s_i = y_i - (l + i b),    or y_i / (l + i b)

        with i = 1..m, each mean over what was observed. A step of the season that was not observed has
        the neutral factor; where nothing of the first season was, `l` is the mean of all that was, and
        where nothing was at all, the neutral level.

        Args:
            y: `[B, T]`, T at least one season.
            observed: `[B, T]`, above 0 where `y` is real; None for everywhere.

        Raises:
            ArgumentError: `y` is shorter than a season.
        """
        y = ops.cast(ops.convert_to_tensor(y), self.carry_dtype)
        m = self.season_length
        if len(y.shape) != 2 or (y.shape[1] or 0) < m:
            raise ArgumentError(f"y must be [B, T] with at least one season, T >= {m}; got the shape {tuple(y.shape)}")
        seen = ops.ones_like(y) if observed is None else ops.cast(observed, y.dtype)
        seen = ops.cast(seen > 0, y.dtype)
        y = ops.where(seen > 0, y, ops.zeros_like(y))

        first, seen_first = y[:, :m], seen[:, :m]
        pairs = min(m, y.shape[1] - m)  # how much there is of a second season
        both = seen[:, :pairs] * seen[:, m : m + pairs]
        trend = _mean(y[:, m : m + pairs] - y[:, :pairs], both) / m  # [B, 1]
        if self.trend is None:
            trend = ops.zeros_like(trend)
        rise = ops.arange(1, m + 1, dtype=y.dtype) * trend  # [B, m]
        neutral = 0.0 if self.seasonal == "additive" else 1.0
        level = ops.where(_some(seen), _mean(y, seen), ops.full_like(trend, neutral))
        level = ops.where(_some(seen_first), _mean(first - rise, seen_first), level)
        line = level + rise
        if self.seasonal == "additive":
            return [level, trend, ops.where(seen_first > 0, first - line, ops.full_like(first, neutral))]
        usable = ops.logical_and(seen_first > 0, ops.abs(line) >= SMALLEST)
        return [level, trend, ops.where(usable, first / _off_zero(line), ops.full_like(first, neutral))]

    def project(self, x: Any, w: Weights) -> Any:
        """The input itself: nothing depends on it alone."""
        return ops.cast(x, self.carry_dtype)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        rate = {name: ops.sigmoid(weight) for name, weight in w.items()}
        seen = p[:, 1:] if p.shape[-1] == 2 else None
        damping = self._damping(w)
        after = smooth(p[:, :1], seen, states, rate, damping, trend=self.trend, seasonal=self.seasonal)
        level, trend, ring = after
        return with_season(level + damping * trend, ring[:, :1], self.seasonal), after

    def ahead(self, states: Any, w: Weights, *, horizon: int) -> Any:
        """`[B, H]` the forecasts 1 to H steps after these states, nothing more being observed.

            y_(t+h) = l + (p + p^2 + ... + p^h) b + s_h,    or the sum times s_h; the ring goes round

        The first of them is the output of the step that led to `states`.

        Args:
            states: level `[B, 1]`, trend `[B, 1]`, factors `[B, m]`.
            w: the weights by name, `cell.tensors()`.
            horizon: H, at least 1.
        """
        return ahead(states, self._damping(w), horizon=horizon, seasonal=self.seasonal)

    def _damping(self, w: Weights) -> Any:
        if self.trend == "damped":
            return ops.sigmoid(w["phi"])
        return 0.0 if self.trend is None else 1.0

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"season_length": self.season_length, "trend": self.trend, "seasonal": self.seasonal}
        return {**_without_matrices(super().get_config()), **own}


@keras.saving.register_keras_serializable("forecast_kit")
class SmoothingCell(Cell):
    """Level, trend and season of many series at once, each with smoothing parameters of its own.

    The recursion of `HoltWintersCell`, without weights: A, B, G and p come with the input, so that they
    may differ from series to series, and from step to step. What it puts out are the parts that
    a series is taken apart into, not a forecast; that is made of the final states by `ahead`.

    Input `[B, 2 + R]`: `y_t`; whether it was observed, above 0 for yes; then the R rates that
    `rate_names` lists, each between 0 and 1. Output `[B, 2]`: the level `l'` after `y_t`, and the
    seasonal factor `s1` that met `y_t`, before it was corrected. States as in `HoltWintersCell`.

    Args:
        season_length: time steps in a season, m, at least 1.
        trend: `"additive"`, `"damped"` or None.
        seasonal: `"additive"` or `"multiplicative"`.
        kwargs: name, dtype and trainable, see `keras.layers.Layer`.

    Raises:
        ArgumentError: an argument is none of these, or the input has another number of channels.

    Source: Smyl (2020), A hybrid method of exponential smoothing and recurrent neural networks for time
    series forecasting, section 3.2.

    >>> cell = SmoothingCell(1, trend=None)  # simple exponential smoothing, of two series
    >>> y, seen, alpha = [[8.0], [8.0]], [[1.0], [1.0]], [[0.5], [0.25]]
    >>> parts, _ = cell(ops.concatenate([ops.array(y), ops.array(seen), ops.array(alpha)], -1),
    ...                 [ops.zeros((2, 1))] * 3)
    >>> ops.convert_to_numpy(parts)[:, 0].tolist()
    [4.0, 2.0]
    """

    carries = ("level", "trend", "season")

    def __init__(
        self,
        season_length: int,
        *,
        trend: Trend = "additive",
        seasonal: Seasonal = "additive",
        **kwargs: Any,
    ) -> None:
        _check(season_length, trend, seasonal)
        kwargs.setdefault("dtype", keras.config.dtype_policy().variable_dtype)  # see HoltWintersCell
        super().__init__(2, **kwargs)
        self.season_length = season_length
        self.trend = trend
        self.seasonal = seasonal
        self.rates = rate_names(season_length, trend)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of each state."""
        return (1, 1, self.season_length)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Refuses an input with another number of channels; there are no weights."""
        if input_shape[-1] != 2 + len(self.rates):
            raise ArgumentError(
                f"SmoothingCell takes {2 + len(self.rates)} channels, y, observed and the rates "
                f"{', '.join(self.rates)}; got {input_shape[-1]}"
            )

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """The neutral states: level and trend `[B, 1]`, factors `[B, m]`."""
        return neutral(super().get_initial_state(batch_size), self.seasonal)

    def project(self, x: Any, w: Weights) -> Any:
        """The input itself."""
        return ops.cast(x, self.carry_dtype)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        rate = {name: p[:, 2 + k : 3 + k] for k, name in enumerate(self.rates)}
        damping = rate["phi"] if self.trend == "damped" else 1.0 if self.trend else 0.0
        after = smooth(p[:, :1], p[:, 1:2], states, rate, damping, trend=self.trend, seasonal=self.seasonal)
        return ops.concatenate([after[0], states[2][:, :1]], axis=-1), after

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"season_length": self.season_length, "trend": self.trend, "seasonal": self.seasonal}
        return {**_without_matrices(super().get_config()), **own}


# ---- the recursion as functions


def rate_names(season_length: int, trend: Trend) -> tuple[str, ...]:
    """The smoothing parameters that there are: alpha, then beta with a trend, gamma with a season, phi if damped.

    >>> rate_names(12, None)
    ('alpha', 'gamma')
    """
    used = {"alpha": True, "beta": trend is not None, "gamma": season_length > 1, "phi": trend == "damped"}
    return tuple(name for name, here in used.items() if here)


def smooth(
    y: Any, seen: Any, states: States, rate: Mapping[str, Any], damping: Any, *, trend: Trend, seasonal: Seasonal
) -> States:
    """The states after `y`, by the equations of `HoltWintersCell`.

    Args:
        y: `[B, 1]` the value of the step.
        seen: `[B, 1]` above 0 where it was observed; None for everywhere.
        states: level and trend `[B, 1]`, factors `[B, m]`.
        rate: A, B and G by the names of `rate_names`, `[]` or `[B, 1]`.
        damping: p; 1 for an undamped trend, 0 for none.
        trend, seasonal: see `HoltWintersCell`.
    """
    level, slope, ring = states
    slope, season = damping * slope, ring[:, :1]
    base = level + slope
    error = y - with_season(base, season, seasonal)
    if seen is not None:
        error = ops.where(seen > 0, error, ops.zeros_like(error))
    additive = seasonal == "additive"
    news = error if additive else error / _off_zero(season)
    level = base + rate["alpha"] * news
    after = states[1] if trend is None else slope + rate["alpha"] * rate["beta"] * news
    if ring.shape[-1] > 1:
        season = season + rate["gamma"] * (error if additive else error / _off_zero(base))
        ring = ops.concatenate([ring[:, 1:], season], axis=-1)
    return level, after, ring


def ahead(states: Any, damping: Any, *, horizon: int, seasonal: Seasonal) -> Any:
    """`[B, H]` the forecasts 1 to H steps after these states, see `HoltWintersCell.ahead`.

    Args:
        states: level `[B, 1]`, trend `[B, 1]`, factors `[B, m]`.
        damping: p, `[]` or `[B, 1]`; 1 for an undamped trend, 0 for none.
        horizon: H, at least 1.
        seasonal: `"additive"` or `"multiplicative"`.

    Raises:
        ArgumentError: the horizon is below 1.
    """
    if horizon < 1:
        raise ArgumentError(f"horizon must be at least 1; got {horizon!r}")
    level, trend, ring = states
    steps = ops.arange(1, horizon + 1, dtype=level.dtype)
    reach = ops.cumsum(ops.power(ops.cast(damping, level.dtype), steps), axis=-1)  # [H] or [B, H]
    season = ops.take(ring, [h % ring.shape[-1] for h in range(horizon)], axis=-1)
    return with_season(level + reach * trend, season, seasonal)


def with_season(base: Any, season: Any, seasonal: Seasonal) -> Any:
    """The line with its season."""
    return base + season if seasonal == "additive" else base * season


def neutral(zeros: list[Any], seasonal: Seasonal) -> list[Any]:
    """The states of a series without features, from zeros: level 0, or 1, trend 0, factors 0, or 1."""
    level, trend, ring = zeros
    return zeros if seasonal == "additive" else [ops.ones_like(level), trend, ops.ones_like(ring)]


def _check(season_length: Any, trend: Any, seasonal: Any) -> None:
    if isinstance(season_length, bool) or not isinstance(season_length, int) or season_length < 1:
        raise ArgumentError(
            f"season_length must be a whole number of time steps, at least 1 (no season); got {season_length!r}"
        )
    _one_of("trend", trend, TRENDS)
    _one_of("seasonal", seasonal, SEASONALS)


def _without_matrices(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a cell that has neither a width of its own nor matrices."""
    dropped = ("units", "kernel_initializer", "recurrent_initializer", "bias_initializer")
    return {name: value for name, value in config.items() if name not in dropped}


def _one_of(name: str, value: Any, known: tuple[str | None, ...]) -> None:
    if value not in known:
        hint = nearest(str(value), [text for text in known if text is not None])
        raise ArgumentError(f"{name} must be one of {known}; got {value!r}.{hint}")


def _mean(x: Any, weight: Any) -> Any:
    """`[B, 1]` the mean of `x [B, K]` where `weight [B, K]` is 1; 0 where it is nowhere."""
    total = ops.sum(weight, axis=1, keepdims=True)
    return ops.sum(x * weight, axis=1, keepdims=True) / ops.maximum(total, ops.ones_like(total))


def _some(seen: Any) -> Any:
    return ops.max(seen, axis=1, keepdims=True) > 0


def _off_zero(x: Any) -> Any:
    return ops.where(ops.abs(x) < SMALLEST, ops.full_like(x, SMALLEST), x)
