"""What every head is: from raw outputs of a network to parameters of a forecast, and their loss."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import keras
import numpy as np
from keras import ops

from forecast_kit.errors import ArgumentError

Support = Literal["real", "nonnegative", "positive", "counts"]


class Head(keras.layers.Layer):
    """Parameters of what a network says of every step ahead, in `float32` whatever the network's compute dtype.

    A network gives K raw outputs a step, without bounds, in units of the window (shifted and scaled);
    `call` makes parameters of them, `rescale` takes these back to the unit of the target, and `loss`
    judges them there. These three are functions of tensors. `center` and `quantile` are for forecasts, on
    NumPy's arrays, in `float64`.

    A subclass writes all of them that it has; a head without quantiles leaves `quantile` as it is.

    Attributes:
        support: which targets it is for; for other than `"real"` a window may be scaled, not shifted.
        levels: the quantile levels that were learned, ascending; empty where any can be asked for.
        spread: whether it says how sure it is; without, it has no quantiles at all.

    >>> from forecast_kit.nn.heads import NormalHead
    >>> head = NormalHead()
    >>> head.width, head.support
    (2, 'real')
    >>> head.quantile(np.array([[[3.0, 1.0]]]), (0.5,))
    array([[[3.]]])
    """

    support: ClassVar[Support] = "real"
    levels: tuple[float, ...] = ()
    spread: ClassVar[bool] = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.built = True

    @property
    @abstractmethod
    def width(self) -> int:
        """Raw outputs a step, K."""

    def admits(self, y: np.ndarray) -> np.ndarray:
        """`[R]` whether each target `[R]` is one that the head can have, by its `support`.

        The loss of a target that is not would be that of another one, and training would chase it.

        >>> from forecast_kit.nn.heads import LogNormalHead, NegativeBinomialHead
        >>> y = np.array([-1.0, 0.0, 2.5])
        >>> LogNormalHead().admits(y), NegativeBinomialHead().admits(y)
        (array([False, False,  True]), array([False,  True,  True]))
        """
        if self.support == "real":
            return np.ones(len(y), np.bool_)
        return y > 0.0 if self.support == "positive" else y >= 0.0

    @abstractmethod
    def call(self, raw: Any, base: Any = None) -> Any:
        """`[B, H, K]` the parameters, in units of the window.

        Args:
            raw: `[B, H, K]` what the network says, without bounds.
            base: `[B, H]` a forecast that it corrects, in units of the window; None for none. A head of
                positive targets takes its correction as a factor, others as a difference.
        """

    @abstractmethod
    def rescale(self, params: Any, shift: Any, scale: Any) -> Any:
        """The parameters `[B, H, K]` of `shift + scale * y`, from those of `y`; both are `[B, 1]` or `[B, H]`."""

    @abstractmethod
    def loss(self, y: Any, params: Any) -> Any:
        """`[B, H]` the loss of each step, from targets `[B, H]` and parameters `[B, H, K]`."""

    @abstractmethod
    def center(self, params: np.ndarray) -> np.ndarray:
        """`[N, H]` the point forecast, from parameters `[N, H, K]`."""

    def quantile(self, params: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
        """`[N, H, Q]` the quantiles at these levels, ascending along the last axis.

        Raises:
            ArgumentError: the head has learned no quantiles, or not that far out.
        """
        if levels:
            raise ArgumentError(
                f"{type(self).__name__} learned a point forecast and no quantiles; take head='quantile' or a "
                f"distribution such as head='student_t', or put the forecaster into Conformal"
            )
        return np.empty((*params.shape[:2], 0))


def affine(params: Any, shift: Any, scale: Any) -> Any:
    """`[B, H, K]` `shift + scale * params`, with shift and scale `[B, 1]` or `[B, H]`."""
    # In this order: Keras under TensorFlow takes a second summand [B, 1, 1] for a bias along the steps where B is H.
    return ops.expand_dims(shift, -1) + params * ops.expand_dims(scale, -1)
