"""Cells that keep their own magnitudes in bounds: layer normalisation, and exponential gates with a normaliser."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from forecast_kit.errors import ArgumentError, nearest
from forecast_kit.nn.cells.base import Cell, States, Weights, matmul, open_forget_gate

FORGET_GATES = ("sigmoid", "exponential")


def layer_norm(x: Any, gain: Any, epsilon: float) -> Any:
    """`(x - mean) / sqrt(variance + epsilon) * gain`, mean and variance over the last axis of `[..., K]`."""
    centred = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    return centred * ops.rsqrt(variance + epsilon) * gain


@keras.saving.register_keras_serializable("forecast_kit")
class LayerNormLSTMCell(Cell):
    """LSTM whose input, recurrent contribution and cell state are each layer-normalised.

        i, f, g, o = N(x W) * a + N(h U) * d + b       N over all 4U columns together
        c' = s(f) * c + s(i) * tanh(g)
        h' = s(o) * tanh(N(c') * e + k)

    with `N(v) = (v - mean(v)) / sqrt(variance(v) + epsilon)`. The paper adds three biases to the gates;
    they add up to one vector here, `b`.

    Weights, columns in the order i, f, g, o: `kernel [F, 4U]`, `recurrent_kernel [U, 4U]`,
    `input_gain [4U]` a, `recurrent_gain [4U]` d, `bias [4U]` b, `cell_gain [U]` e, `cell_bias [U]` k.
    Gains begin at 1. States: `h [B, U]`, `c [B, U]`, the latter before its normalisation.

    What N removes is gone: of a single input channel (F = 1) only the sign is left. Give the cell two
    channels at least, or a dense layer with a bias before it.

    Args:
        units: width of the state, U.
        unit_forget_bias: whether the bias of `f` begins at 1.
        epsilon: what is added to the variance, above 0.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `epsilon` is not above 0, or `units` is no whole number of at least 1.

    Source: Ba, Kiros and Hinton (2016), Layer Normalization, arXiv 1607.06450, section 3.1 and the
    supplementary material on LSTM.

    >>> cell = LayerNormLSTMCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    carries = ("hidden", "cell")

    def __init__(self, units: int, *, unit_forget_bias: bool = True, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.unit_forget_bias = unit_forget_bias
        self.epsilon = _positive(epsilon)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        u = self.units
        self._matrix("kernel", (int(input_shape[-1] or 0), 4 * u))
        self._matrix("recurrent_kernel", (u, 4 * u), recurrent=True)
        self._bias("input_gain", 4 * u, "ones")
        self._bias("recurrent_gain", 4 * u, "ones")
        self._bias("bias", 4 * u, open_forget_gate(self) if self.unit_forget_bias else None)
        self._bias("cell_gain", u, "ones")
        self._bias("cell_bias", u)

    def project(self, x: Any, w: Weights) -> Any:
        """See `Cell`."""
        return layer_norm(matmul(x, w["kernel"]), w["input_gain"], self.epsilon) + w["bias"]

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        h, c = states
        q = layer_norm(matmul(h, w["recurrent_kernel"]), w["recurrent_gain"], self.epsilon)
        i, f, g, o = ops.split(p + q, 4, axis=-1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        h = ops.sigmoid(o) * ops.tanh(layer_norm(c, w["cell_gain"], self.epsilon) + w["cell_bias"])
        return h, (h, c)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "unit_forget_bias": self.unit_forget_bias, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("forecast_kit")
class LayerNormGRUCell(Cell):
    """GRU whose input and recurrent contribution are each layer-normalised.

        z, r = s(N(x Wzr) * azr + bzr + N(h Uzr) * dzr + kzr)       N over these 2U columns together
        g = tanh(N(x Wg) * ag + bg + r * (N(h Ug) * dg + kg))       N over these U columns
        h' = z * h + (1 - z) * g

    with `N(v) = (v - mean(v)) / sqrt(variance(v) + epsilon)`. The paper's `z` weighs the candidate; here,
    as in `GRUCell`, it weighs the state.

    Weights, columns in the order z, r, g: `kernel [F, 3U]`, `recurrent_kernel [U, 3U]`, `input_gain [3U]` a,
    `recurrent_gain [3U]` d, `bias [2, 3U]`, the input's b and the state's k. Gains begin at 1. State:
    `h [B, U]`.

    What N removes is gone: see `LayerNormLSTMCell` on a single input channel.

    Args:
        units: width of the state, U.
        epsilon: what is added to the variance, above 0.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `epsilon` is not above 0, or `units` is no whole number of at least 1.

    Source: Ba, Kiros and Hinton (2016), Layer Normalization, arXiv 1607.06450, section 3.1 and the
    supplementary material on GRU.

    >>> cell = LayerNormGRUCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    def __init__(self, units: int, *, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        self.epsilon = _positive(epsilon)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        u = self.units
        self._matrix("kernel", (int(input_shape[-1] or 0), 3 * u))
        self._matrix("recurrent_kernel", (u, 3 * u), recurrent=True)
        self._bias("input_gain", 3 * u, "ones")
        self._bias("recurrent_gain", 3 * u, "ones")
        self.bias = self.add_weight(name="bias", shape=(2, 3 * u), initializer=self.bias_initializer)

    def project(self, x: Any, w: Weights) -> Any:
        """See `Cell`."""
        return self._normalised(matmul(x, w["kernel"]), w["input_gain"]) + w["bias"][0]

    def _normalised(self, v: Any, gain: Any) -> Any:
        cut = 2 * self.units  # the gates are normalised together, the candidate by itself
        gates = layer_norm(v[..., :cut], gain[:cut], self.epsilon)
        return ops.concatenate([gates, layer_norm(v[..., cut:], gain[cut:], self.epsilon)], axis=-1)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        (h,) = states
        u = self.units
        q = self._normalised(matmul(h, w["recurrent_kernel"]), w["recurrent_gain"]) + w["bias"][1]
        z, r = ops.split(ops.sigmoid(p[:, : 2 * u] + q[:, : 2 * u]), 2, axis=-1)
        g = ops.tanh(p[:, 2 * u :] + r * q[:, 2 * u :])
        h = z * h + (1.0 - z) * g
        return h, (h,)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("forecast_kit")
class SLSTMCell(Cell):
    """LSTM with exponential gates, a normaliser that counts what was written, and a stabiliser.

        i~, f~, z~, o~ = x W + h R + b
        i = exp(i~)        f = s(f~) or exp(f~)        z = tanh(z~)        o = s(o~)
        c' = f * c + i * z                  the cell state
        n' = f * n + i                      the normaliser
        h' = o * c' / n'

    computed without overflow from states divided by `exp(m')`, which leaves `h'` as it is:

        m' = max(log f + m, i~)
        c' = exp(log f + m - m') * c + exp(i~ - m') * z,      n' likewise

    While `n` is 0 nothing has been written and `m' = i~`. From the first step on `n` is at least 1, so
    that `c' / n'` stands for whatever gates, and lies between -1 and 1.

    Weights, columns in the order i, f, z, o: `kernel [F, 4U]`, `recurrent_kernel [U, 4U]`, `bias [4U]`.
    States: `h`, `c`, `n`, `m`, each `[B, U]`; `c` and `n` are the stabilised ones. The recurrent matrix
    is dense: heads, and the block around the cell, are left to the network.

    Args:
        units: width of the state, U.
        forget_gate: `"sigmoid"` or `"exponential"`.
        kwargs: initialisers, see `Cell`.

    Raises:
        ArgumentError: `forget_gate` is neither, or `units` is no whole number of at least 1.

    Source: Beck et al. (2024), xLSTM: Extended Long Short-Term Memory, arXiv 2405.04517, section 2.2,
    equations (8) to (17).

    >>> cell = SLSTMCell(3)
    >>> tuple(keras.layers.RNN(cell)(ops.ones((2, 5, 4))).shape)
    (2, 3)
    """

    carries = ("hidden", "cell", "normaliser", "stabiliser")

    def __init__(
        self, units: int, *, forget_gate: Literal["sigmoid", "exponential"] = "sigmoid", **kwargs: Any
    ) -> None:
        super().__init__(units, **kwargs)
        if forget_gate not in FORGET_GATES:
            hint = nearest(str(forget_gate), FORGET_GATES)
            raise ArgumentError(f"forget_gate must be one of {FORGET_GATES}; got {forget_gate!r}.{hint}")
        self.forget_gate = forget_gate

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights."""
        u = self.units
        self._matrix("kernel", (int(input_shape[-1] or 0), 4 * u))
        self._matrix("recurrent_kernel", (u, 4 * u), recurrent=True)
        self._bias("bias", 4 * u)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        h, c, n, m = states
        i, f, z, o = ops.split(p + matmul(h, w["recurrent_kernel"]), 4, axis=-1)
        log_f = ops.log_sigmoid(f) if self.forget_gate == "sigmoid" else f
        # Before anything was written m means nothing, and a zero could drown the first, smaller exp(i).
        kept = ops.where(n > 0, log_f + m, i)
        m = ops.maximum(kept, i)
        keep, write = ops.exp(kept - m), ops.exp(i - m)  # one of them is 1
        c = keep * c + write * ops.tanh(z)
        n = keep * n + write
        h = ops.sigmoid(o) * c / n
        return h, (h, c, n, m)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "forget_gate": self.forget_gate}


def _positive(epsilon: float) -> float:
    if not epsilon > 0:
        raise ArgumentError(f"epsilon must be above 0, since a state of zeros has no variance; got {epsilon!r}")
    return float(epsilon)
