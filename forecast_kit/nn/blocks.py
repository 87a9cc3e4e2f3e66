"""Parts of networks: looking back over seasons, categories as indicators, pooling over time, an auxiliary loss."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from forecast_kit.errors import ArgumentError, check_whole


@keras.saving.register_keras_serializable("forecast_kit")
class SeasonalLookback(keras.layers.Layer):
    """A weighted mean of the past seasons in the window: a seasonal naive forecast that learns which seasons to repeat.

    `f_h = sum_d w_(g,d) y_(d, h mod m)`, where `d` counts the D whole seasons of the window, `g = h // m`
    the season ahead, and `w = softmax(W state + b)` is drawn from the network's state for each window.
    Steps that were not observed have no weight. Untrained, all seasons weigh the same.

    Args:
        season_length: m, in steps.
        horizon: H, in steps.

    Call: y `[B, T]`, observed `[B, T]` (1 where it was, else 0), state `[B, U]` -> `[B, H]`, in the unit of y. T must
    hold a season; steps before the oldest whole one are not looked at.

    Raises:
        ArgumentError: a number is out of range, or the window holds no season.

    >>> y = ops.array([[1.0, 2.0, 3.0, 4.0]])  # two seasons of two steps
    >>> forecast = SeasonalLookback(season_length=2, horizon=3)(y, ops.ones_like(y), ops.ones((1, 8)))
    >>> ops.convert_to_numpy(forecast).round(3).tolist()
    [[2.0, 3.0, 2.0]]
    """

    def __init__(self, season_length: int, horizon: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_whole("season_length", season_length)
        check_whole("horizon", horizon)
        self.season_length, self.horizon = season_length, horizon

    def build(self, y_shape: tuple[int, ...], observed_shape: tuple[int, ...], state_shape: tuple[int, ...]) -> None:
        """Creates the weights."""
        if y_shape[1] < self.season_length:
            raise ArgumentError(f"a window of {y_shape[1]} steps holds no season of {self.season_length}; make the "
                                "input longer or the season shorter")  # fmt: skip
        self.seasons = y_shape[1] // self.season_length
        self.ahead = -(-self.horizon // self.season_length)
        shape = (state_shape[-1], self.ahead * self.seasons)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="zeros")
        self.bias = self.add_weight(name="bias", shape=(self.ahead * self.seasons,), initializer="zeros")

    def call(self, y: Any, observed: Any, state: Any) -> Any:
        """The weighted mean of past seasons."""
        m, seasons = self.season_length, self.seasons
        logits = ops.reshape(ops.matmul(state, self.kernel) + self.bias, (-1, self.ahead, seasons))
        # Keras warns of a softmax over a single season; its weight is 1, and the gradient of that is 0.
        weights = ops.softmax(logits, axis=-1) if seasons > 1 else ops.exp(logits - logits)  # [B, G, D]
        seen = ops.reshape(observed[:, -m * seasons :], (-1, seasons, m))
        values = ops.reshape(y[:, -m * seasons :], (-1, seasons, m)) * seen
        total = ops.matmul(weights, values) / (ops.matmul(weights, seen) + 1e-6)  # [B, G, m]
        return ops.reshape(total, (-1, self.ahead * m))[:, : self.horizon]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "season_length": self.season_length, "horizon": self.horizon}


@keras.saving.register_keras_serializable("forecast_kit")
class OneHot(keras.layers.Layer):
    """Categories as indicators: a column of codes becomes a column for each code, numbers stay as they are.

    Args:
        sizes: `[C]` for each column of the input, 0 for a number, else how many codes there are.

    Raises:
        ArgumentError: the input has another number of columns.

    Call: `[..., C]` -> `[..., sum(max(size, 1))]`. A code that is not among 0 ... size - 1 has no indicator: all are 0.

    >>> columns = ops.array([[20.5, 2.0], [18.0, -1.0]])  # a temperature; a shop, one of 3, in the second row none
    >>> ops.convert_to_numpy(OneHot((0, 3))(columns)).tolist()
    [[20.5, 0.0, 0.0, 1.0], [18.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, sizes: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes = tuple(sizes)
        self.built = True

    def call(self, x: Any) -> Any:
        """The columns, expanded."""
        if x.shape[-1] != len(self.sizes):
            raise ArgumentError(f"sizes are given for {len(self.sizes)} columns, and the input has {x.shape[-1]}")
        if not any(self.sizes):
            return x
        columns = [
            ops.one_hot(ops.cast(x[..., k], "int32"), size, dtype=self.compute_dtype) if size else x[..., k : k + 1]
            for k, size in enumerate(self.sizes)
        ]
        return ops.concatenate(columns, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "sizes": list(self.sizes)}


@keras.saving.register_keras_serializable("forecast_kit")
class TimePooling(keras.layers.Layer):
    """One vector for a whole sequence.

    `"last"`: the last step. `"mean"` and `"max"`: over all steps. `"attention"`: a mean whose weights
    are learned, `a_t = softmax_t(v . tanh(x_t W))`, `sum_t a_t x_t`.

    Args:
        mode: `"last"`, `"mean"`, `"max"` or `"attention"`.
        units: width of `W`; by default that of the input.
        seed: of the initial weights of the attention.

    Raises:
        ArgumentError: the mode is unknown.

    Call: `[B, T, D]` -> `[B, D]`.

    Source of the attention: Bahdanau, Cho and Bengio (2015), section 3.1, without a query.

    >>> tuple(TimePooling("max")(ops.ones((2, 5, 3))).shape)
    (2, 3)
    """

    def __init__(self, mode: str = "last", *, units: int | None = None, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in ("last", "mean", "max", "attention"):
            raise ArgumentError(f"mode must be 'last', 'mean', 'max' or 'attention', got {mode!r}")
        self.mode, self.units, self.seed = mode, units, seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights of the attention."""
        if self.mode == "attention":
            width = self.units or input_shape[-1]
            glorot, normal = (
                keras.initializers.GlorotUniform(self.seed),
                keras.initializers.RandomNormal(seed=self.seed),
            )
            self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], width), initializer=glorot)
            self.context = self.add_weight(name="context", shape=(width,), initializer=normal)

    def call(self, x: Any) -> Any:
        """The vector of each sequence."""
        if self.mode == "last":
            return x[:, -1]
        if self.mode == "mean":
            return ops.mean(x, axis=1)
        if self.mode == "max":
            return ops.max(x, axis=1)
        scores = ops.sum(ops.tanh(ops.matmul(x, self.kernel)) * self.context, axis=-1, keepdims=True)
        return ops.sum(ops.softmax(scores, axis=1) * x, axis=1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "mode": self.mode, "units": self.units, "seed": self.seed}


@keras.saving.register_keras_serializable("forecast_kit")
class NextStepLoss(keras.layers.Layer):
    """An auxiliary loss: in training every output of a recurrent layer is asked for the step after it.

    Adds `weight * sum_t o_(t+1) |W h_t + b - y_(t+1)| / sum_t o_(t+1)` to the loss, where `o` is 1 where a step was
    observed, so that gradients reach every step and not the last one alone. What comes in goes out unchanged.
    Where the layer reads several steps at once, all those of the next segment are asked for.

    Args:
        weight: of this loss beside that of the forecast.
        seed: of the initial weights.

    Call: outputs `[B, T / s, U]`, y `[B, T]`, observed `[B, T]` -> the outputs.

    Source: Trinh, Dai, Luong and Le, Learning Longer-term Dependencies in RNNs with Auxiliary Losses, 2018.

    >>> y, outputs = ops.array([[1.0, 2.0, 3.0]]), ops.zeros((1, 3, 4))
    >>> layer = NextStepLoss(weight=0.5)
    >>> tuple(layer(outputs, y, ops.ones_like(y), training=True).shape)
    (1, 3, 4)
    >>> float(layer.losses[0])  # the outputs say 0: half of the mean of |0 - 2| and |0 - 3|
    1.25
    """

    def __init__(self, weight: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight, self.seed = weight, seed

    def build(self, outputs_shape: tuple[int, ...], y_shape: tuple[int, ...], observed_shape: tuple[int, ...]) -> None:
        """Creates the weights."""
        self.segments = outputs_shape[1]
        self.segment = y_shape[1] // self.segments
        shape = (outputs_shape[2], self.segment)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=keras.initializers.GlorotUniform(self.seed)
        )
        self.bias = self.add_weight(name="bias", shape=(self.segment,), initializer="zeros")

    def call(self, outputs: Any, y: Any, observed: Any, training: bool = False) -> Any:
        """The outputs."""
        if training:
            said = ops.cast(ops.matmul(outputs[:, :-1], self.kernel) + self.bias, "float32")
            shape = (-1, self.segments, self.segment)
            y, observed = (ops.cast(ops.reshape(one, shape)[:, 1:], "float32") for one in (y, observed))
            missed = ops.sum(ops.abs(said - y) * observed) / ops.maximum(ops.sum(observed), 1.0)
            self.add_loss(self.weight * missed)
        return outputs

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "weight": self.weight, "seed": self.seed}
