"""Exponential smoothing as a recurrent cell."""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
from keras import ops

from forecast_kit.errors import ArgumentError, nearest
from forecast_kit.nn.cells.base import Cell, States, Weights

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
        trend: Literal["additive", "damped"] | None = "additive",
        seasonal: Literal["additive", "multiplicative"] = "additive",
        **kwargs: Any,
    ) -> None:
        if isinstance(season_length, bool) or not isinstance(season_length, int) or season_length < 1:
            raise ArgumentError(
                f"season_length must be a whole number of time steps, at least 1 (no season); got {season_length!r}"
            )
        _one_of("trend", trend, TRENDS)
        _one_of("seasonal", seasonal, SEASONALS)
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
        used = {
            "alpha": True,
            "beta": self.trend is not None,
            "gamma": self.season_length > 1,
            "phi": self.trend == "damped",
        }
        for name in (name for name, here in used.items() if here):
            start = math.log(STARTS[name] / (1.0 - STARTS[name]))
            setattr(self, name, self.add_weight(name=name, shape=(), initializer=keras.initializers.Constant(start)))

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """Level and trend `[B, 1]` and factors `[B, m]` of a series without features: zeros, or ones."""
        level, trend, ring = super().get_initial_state(batch_size)
        if self.seasonal == "additive":
            return [level, trend, ring]
        return [ops.ones_like(level), trend, ops.ones_like(ring)]

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
        level, trend, ring = states
        rate = {name: ops.sigmoid(weight) for name, weight in w.items()}
        damping = self._damping(w)
        slope, season = damping * trend, ring[:, :1]
        base = level + slope
        error = p[:, :1] - self._with_season(base, season)
        if p.shape[-1] == 2:
            error = ops.where(p[:, 1:] > 0, error, ops.zeros_like(error))
        additive = self.seasonal == "additive"
        news = error if additive else error / _off_zero(season)
        level = base + rate["alpha"] * news
        if self.trend is not None:
            trend = slope + rate["alpha"] * rate["beta"] * news
        if self.season_length > 1:
            season = season + rate["gamma"] * (error if additive else error / _off_zero(base))
            ring = ops.concatenate([ring[:, 1:], season], axis=-1)
        output = self._with_season(level + damping * trend, ring[:, :1])
        return output, (level, trend, ring)

    def ahead(self, states: Any, w: Weights, *, horizon: int) -> Any:
        """`[B, H]` the forecasts 1 to H steps after these states, nothing more being observed.

            y_(t+h) = l + (p + p^2 + ... + p^h) b + s_h,    or the sum times s_h; the ring goes round

        The first of them is the output of the step that led to `states`.

        Args:
            states: level `[B, 1]`, trend `[B, 1]`, factors `[B, m]`.
            w: the weights by name, `cell.tensors()`.
            horizon: H, at least 1.
        """
        if horizon < 1:
            raise ArgumentError(f"horizon must be at least 1; got {horizon!r}")
        level, trend, ring = states
        steps = ops.arange(1, horizon + 1, dtype=level.dtype)
        reach = ops.cumsum(ops.power(ops.cast(self._damping(w), level.dtype), steps))  # [H]
        season = ops.take(ring, [h % self.season_length for h in range(horizon)], axis=-1)
        return self._with_season(level + reach * trend, season)

    def _damping(self, w: Weights) -> Any:
        if self.trend == "damped":
            return ops.sigmoid(w["phi"])
        return 0.0 if self.trend is None else 1.0

    def _with_season(self, base: Any, season: Any) -> Any:
        return base + season if self.seasonal == "additive" else base * season

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        for name in ("units", "kernel_initializer", "recurrent_initializer", "bias_initializer"):
            del config[name]  # a smoother has one output and no matrices
        return {**config, "season_length": self.season_length, "trend": self.trend, "seasonal": self.seasonal}


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
