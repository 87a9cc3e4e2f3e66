"""Batches from a function to `keras.Model.fit`, on the quickest way that the backend has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from forecast_kit.typing import Batch

Example = tuple[Batch, np.ndarray, np.ndarray]  # inputs by name, targets, weights
Draw = Callable[[int], Example]


class Batches(keras.utils.PyDataset):
    """`steps` batches, batch `k` being `draw(k)`, for any backend of Keras.

    Args:
        draw: inputs by name, targets and weights of a batch.
        steps: number of batches.
    """

    def __init__(self, draw: Draw, steps: int) -> None:
        super().__init__()
        self._draw, self._steps = draw, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, k: int) -> Example:
        return self._draw(k)


def dataset(draw: Draw, steps: int) -> Any:
    """The same batches as a `tf.data.Dataset`, up to four of them drawn ahead of training.

    It is without autotuning: tf.data's tuning thread sleeps for 10 ms, 20 ms, 40 ms and so on, and
    the end of a `fit` waits until it next wakes, which was seen to double the time of a training of
    some seconds.

    Args:
        draw: inputs by name, targets and weights of a batch; shapes and dtypes are the same in all.
        steps: number of batches.
    """
    import tensorflow as tf

    inputs, target, weight = draw(0)
    names = list(inputs)
    arrays = [*inputs.values(), target, weight]

    def flat(k: Any) -> list[np.ndarray]:
        batch, y, w = draw(int(k))
        return [*(batch[name] for name in names), y, w]

    def batch(k: Any) -> tuple[dict[str, Any], Any, Any]:
        tensors = tf.numpy_function(flat, [k], [tf.as_dtype(a.dtype) for a in arrays])
        for tensor, array in zip(tensors, arrays, strict=True):
            tensor.set_shape(array.shape)
        return dict(zip(names, tensors, strict=False)), tensors[-2], tensors[-1]

    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.range(steps).map(batch, num_parallel_calls=1).prefetch(4).with_options(options)


def feed(draw: Draw, steps: int) -> Any:
    """What `fit` takes on this backend: `dataset` on TensorFlow, which draws ahead, elsewhere `Batches`.

    Args:
        draw: inputs by name, targets and weights of a batch; shapes and dtypes are the same in all.
        steps: number of batches.
    """
    return dataset(draw, steps) if keras.backend.backend() == "tensorflow" else Batches(draw, steps)


class Stretches:
    """Any stretch of the batches of one function, `draw(begin)` to `draw(end - 1)`, for `fit` after `fit`.

    Making a `tf.data.Dataset` takes longer than a step of a small network; stretches of the same length
    share one.

    Args:
        draw: see `feed`.
    """

    def __init__(self, draw: Draw) -> None:
        self._draw, self._begin = draw, 0
        self._sources: dict[int, Any] = {}

    def __call__(self, begin: int, end: int) -> Any:
        """What `fit` takes; the stretch that was asked for last is the one that can be read."""
        self._begin = begin
        if end - begin not in self._sources:
            self._sources[end - begin] = feed(self._at, end - begin)
        return self._sources[end - begin]

    def _at(self, k: int) -> Example:
        return self._draw(self._begin + k)
