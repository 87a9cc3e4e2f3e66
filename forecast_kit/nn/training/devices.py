"""Where, and in how many bits, a network is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import keras

from forecast_kit.errors import ArgumentError, name_some
from forecast_kit.nn.training.spec import TrainingSpec


@contextmanager
def in_precision(spec: TrainingSpec) -> Iterator[None]:
    """Within the block, layers that are built compute in the spec's precision.

    Args:
        spec: its `precision` counts.

    >>> with in_precision(TrainingSpec(precision="mixed_bfloat16")):
    ...     keras.layers.Dense(2).compute_dtype
    'bfloat16'
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(spec.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def on_devices(spec: TrainingSpec) -> Iterator[None]:
    """Within the block, networks are built and trained on the spec's device, or on all that share its batches.

    Args:
        spec: its `device`, `devices` and `batch_size` count.

    Raises:
        ArgumentError: there are not so many, or the backend cannot share a batch.

    >>> with on_devices(TrainingSpec(device="cpu")):
    ...     float(keras.ops.sum(keras.ops.ones((2, 2))))
    4.0
    """
    if spec.devices == 1:
        if spec.device == "auto":
            yield
            return
        with keras.device(_single(spec.device)):
            yield
        return
    if keras.backend.backend() != "tensorflow":
        raise ArgumentError(f"devices={spec.devices!r} shares batches by TensorFlow, the backend is "
                            f"{keras.backend.backend()}; take devices=1, or KERAS_BACKEND=tensorflow")  # fmt: skip
    chosen = _several(spec)
    if spec.batch_size % len(chosen):
        raise ArgumentError(f"batch_size must be a multiple of the {len(chosen)} devices that share each batch; "
                            f"got {spec.batch_size}")  # fmt: skip
    with _strategy(tuple(chosen)).scope():
        yield


@cache
def _strategy(devices: tuple[str, ...]) -> Any:
    """What shares batches between these devices: one for a process, for a second one numbers its messages anew."""
    import tensorflow as tf

    reduce = tf.distribute.ReductionToOneDevice() if devices[0].startswith("cpu") else None
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduce)


def _single(name: str) -> str:
    """The device as Keras names it."""
    kind, _, number = name.partition(":")
    there = _there(kind)
    if int(number or 0) >= len(there):
        raise ArgumentError(f"device={name!r} is not there; there are {name_some(there + _there('cpu'))}")
    return f"{kind}:{number or 0}"


def _several(spec: TrainingSpec) -> list[str]:
    """The devices that share each batch."""
    there = _there("cpu" if spec.device == "cpu" else "gpu") or (_there("cpu") if spec.device == "auto" else [])
    wanted = len(there) if spec.devices == "all" else int(spec.devices)
    if not 0 < wanted <= len(there):
        raise ArgumentError(f"devices={spec.devices!r} with device={spec.device!r} finds {len(there)} "
                            f"({name_some(there)}); ask for fewer, or device='cpu'")  # fmt: skip
    return there[:wanted]


def _there(kind: str) -> list[str]:
    """The devices of a kind."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return [f"{kind}:{k}" for k, _ in enumerate(tf.config.list_logical_devices(kind.upper()))]
    if backend == "torch":
        import torch

        return [f"{kind}:{k}" for k in range(1 if kind == "cpu" else torch.cuda.device_count())]
    return [name for name in keras.distribution.list_devices() if name.startswith(kind)] or (
        ["cpu:0"] if kind == "cpu" else []
    )
