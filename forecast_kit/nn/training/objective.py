"""What training minimises: the head's loss over the windows of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError
from forecast_kit.nn.feeding import Example
from forecast_kit.nn.heads import Head
from forecast_kit.nn.scaling import Normalization, WindowScale
from forecast_kit.nn.training.spec import TrainingSpec
from forecast_kit.typing import Floats


class Objective(keras.Model):
    """A network with its loss, the weighted mean over the windows B and the steps ahead H, and what its layers add.

    `L = sum_bh w_bh s_h l_bh / sum_bh w_bh s_h`, where `l` is the head's loss, `w` 1 where a target was
    observed, and `s` the spec's weights of the steps ahead. With `relative_loss`, `l` is the head's
    loss of `(y - shift) / scale` and of the parameters in that unit, with shift and scale of each window.

    Args:
        network: from `build_network`; its weights are shared, not copied.
        head: the one that it was built with.
        spec: which loss.

    Raises:
        ArgumentError: `step_weights` do not fit the horizon, or `relative_loss` the head.
    """

    def __init__(self, network: keras.Model, head: Head, spec: TrainingSpec) -> None:
        super().__init__(name="objective", dtype="float32")  # a lower precision would round the targets
        self.network, self.head = network, head
        ahead = spec.weights_ahead(network.output_shape[1])
        self._ahead = None if ahead is None else ahead.astype(np.float32)
        self.window_scale = _window_scale(network, head) if spec.relative_loss else None
        self.built = True  # the network is; Keras would trace it once more to find out

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The network's output."""
        return self.network(inputs, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The loss of a batch; on several devices each one's share of it, so that their sum is the loss."""
        each, weight = self.losses_of(x, y, y_pred, sample_weight)
        replicas, total = _over_devices(ops.sum(weight))
        loss = ops.sum(each * weight) / ops.maximum(total, 1e-6)
        for extra in self.losses:
            loss += ops.sum(ops.cast(extra, loss.dtype)) / replicas
        return loss

    def losses_of(self, x: Any, y: Any, params: Any, weight: Any) -> tuple[Any, Any]:
        """`[B, H]` the loss of each step ahead, and its weight `[B, H]`.

        Args:
            x: the inputs by name.
            y: `[B, H, 1]` targets.
            params: `[B, H, K]` the network's output.
            weight: `[B, H]` 1 where a target was observed.

        Raises:
            ArgumentError: the head gives another loss than one for each step ahead.
        """
        y, params, weight = (ops.convert_to_tensor(one, "float32") for one in (y, params, weight))
        y = y[:, :, 0]
        if self.window_scale is not None:
            shift, scale = self.window_scale(x[fk.PAST_Y], x[fk.PAST_OBSERVED])  # [B, 1] each
            y, params = (y - shift) / scale, self.head.rescale(params, -shift / scale, 1.0 / scale)
        each = self.head.loss(y, params)
        _check_loss(self.head, each, y)
        return each, weight if self._ahead is None else weight * ops.convert_to_tensor(self._ahead)

    def score(self, examples: Sequence[Example]) -> float:
        """The loss over all these windows, without what layers add, the network being out of training."""
        sums = np.zeros(2)
        for x, y, w in examples:
            each, weight = self.apart(x, y, w)
            sums += (each * weight).sum(), weight.sum()
        return float(sums[0] / max(sums[1], 1e-6))

    def apart(self, x: Any, y: Any, w: Any) -> tuple[Floats, Floats]:
        """Loss and weight of every step ahead of every window, `[B, H]`, the network being out of training."""
        each, weight = self.losses_of(x, y, self.network(x, training=False), w)
        return np.asarray(ops.convert_to_numpy(each), np.float64), np.asarray(ops.convert_to_numpy(weight), np.float64)


def _check_loss(head: Head, each: Any, y: Any) -> None:
    """Refuses a loss of another shape than the targets', as far as is known: the weights would go unheeded.

    Raises:
        ArgumentError: it is of another one.
    """
    shape, expected = getattr(each, "shape", ()), tuple(y.shape)
    if getattr(shape, "rank", 0) is None:  # TensorFlow does not know
        return
    known = [(one, two) for one, two in zip(shape, expected, strict=False) if one is not None and two is not None]
    if len(shape) != 2 or any(one != two for one, two in known):
        raise ArgumentError(f"{type(head).__name__}.loss must return the loss of each step ahead, [B, H], here "
                            f"{expected}, got shape {tuple(shape)}; leave the mean to the training, which weights the "
                            f"steps and leaves out those that were not observed")  # fmt: skip


def _window_scale(network: keras.Model, head: Head) -> WindowScale:
    """The layer whose unit a relative loss has: the network's, or where that has no scale one that has.

    Raises:
        ArgumentError: targets of this head cannot be scaled, or the network scales no windows.
    """
    if head.support == "counts":
        raise ArgumentError(f"relative_loss takes targets in units of each window, but {type(head).__name__} is for "
                            f"counts, which have a unit of their own; leave relative_loss off")  # fmt: skip
    found = [layer for layer in network.layers if isinstance(layer, WindowScale)]
    if not found:
        raise ArgumentError("relative_loss needs a network with a WindowScale, as build_network makes them")
    own = found[0]
    if own.mode not in ("last", "none"):
        return own
    mode: Normalization = "season" if head.support == "real" else "mean"  # what must stay above 0 cannot be shifted
    return WindowScale(own.season_length, mode)


def _over_devices(total: Any) -> tuple[int, Any]:
    """How many devices share the batch, and the sum over them."""
    if keras.backend.backend() != "tensorflow":
        return 1, total
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync if context else 1
    return replicas, total if replicas == 1 else context.all_reduce(tf.distribute.ReduceOp.SUM, total)
