"""The head of a point forecast."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from forecast_kit.errors import ArgumentError, nearest
from forecast_kit.nn.heads.base import Head, affine

_SMALLEST = 1e-6  # what |y| + |f| counts as where both are nought


def mae(y: Any, f: Any) -> Any:
    """`|y - f|`."""
    return ops.abs(y - f)


def mse(y: Any, f: Any) -> Any:
    """`(y - f)^2`."""
    return ops.square(y - f)


def huber(y: Any, f: Any, delta: float) -> Any:
    """`e^2 / 2` where `|e| <= delta`, and beyond it the line that goes on from there; `e = y - f`.

    Source: Huber, Robust Estimation of a Location Parameter, 1964.
    """
    size = ops.abs(y - f)
    inner = ops.minimum(size, delta)
    return inner * (size - 0.5 * inner)


def log_cosh(y: Any, f: Any) -> Any:
    """`log cosh(y - f)`: about `e^2 / 2` for small errors, `|e| - log 2` for large ones."""
    size = ops.abs(y - f)
    return size + ops.softplus(-2.0 * size) - math.log(2.0)  # the cosine itself overflows at 89


def smape(y: Any, f: Any) -> Any:
    """`2 |y - f| / (|y| + |f|)`, from 0 to 2; 0 where both are nought."""
    return 2.0 * ops.abs(y - f) / ops.maximum(ops.abs(y) + ops.abs(f), _SMALLEST)


LOSSES: dict[str, Callable[..., Any]] = {
    "mae": mae, "mse": mse, "huber": huber, "log_cosh": log_cosh, "smape": smape,
}  # fmt: skip


@keras.saving.register_keras_serializable("forecast_kit")
class PointHead(Head):
    """One number a step, `f`, and nothing of how sure it is.

    What the number is depends on the loss: the median under `"mae"`, the mean under `"mse"`, something in
    between under `"huber"` and `"log_cosh"`. `"smape"` judges by the size of the target, so it makes sense
    only in units where nought is nought, after no transform or one that only scales; and where the target
    is 0 it is 2 whatever was forecast, so that nothing is learned there.

    A base is added to the number.

    Args:
        loss: `"mae"`, `"mse"`, `"huber"`, `"log_cosh"` or `"smape"`.
        delta: the error at which `"huber"` goes over from a square to a line, in the unit of the
            (transformed) target; other losses have no use for it.

    Raises:
        ArgumentError: the loss is unknown, or delta is not a positive number.

    Source: of `"huber"`, Huber, Robust Estimation of a Location Parameter, 1964.

    >>> head = PointHead("huber", delta=2.0)
    >>> params = head(np.array([[[1.0], [1.0]]], "float32"))
    >>> ops.convert_to_numpy(head.loss(np.array([[2.0, 6.0]], "float32"), params))
    array([[0.5, 8. ]], dtype=float32)
    """

    spread = False

    def __init__(self, loss: str = "mae", delta: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if loss not in LOSSES:
            raise ArgumentError(
                f"loss must be one of {', '.join(LOSSES)}; got {loss!r}.{nearest(str(loss), list(LOSSES))}"
            )
        if isinstance(delta, bool) or not isinstance(delta, int | float) or not 0.0 < delta < math.inf:
            raise ArgumentError(f"delta must be a positive number, in the target's unit; got {delta!r}")
        self.loss_name, self.delta = loss, float(delta)

    @property
    def width(self) -> int:
        """One raw output."""
        return 1

    def call(self, raw: Any, base: Any = None) -> Any:
        """See `Head`."""
        return raw if base is None else raw + ops.expand_dims(base, -1)

    def rescale(self, params: Any, shift: Any, scale: Any) -> Any:
        """See `Head`."""
        return affine(params, shift, scale)

    def loss(self, y: Any, params: Any) -> Any:
        """`[B, H]` the loss that was asked for."""
        options = {"delta": self.delta} if self.loss_name == "huber" else {}
        return LOSSES[self.loss_name](y, params[:, :, 0], **options)

    def center(self, params: np.ndarray) -> np.ndarray:
        """The number."""
        return params[:, :, 0]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "loss": self.loss_name, "delta": self.delta}
