"""Layers that keep their weights while the others are trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import keras

from forecast_kit.errors import ArgumentError, nearest


@contextmanager
def frozen(model: keras.Model, names: str | Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Within the block, these layers are not trained; the names of all that are frozen.

    Args:
        model: from `build_network`.
        names: of layers, or how they begin: `"encoder"` is `"encoder_0"`, `"encoder_1"` and so on.

    Raises:
        ArgumentError: no layer with weights is called so, or nothing is left to train.

    >>> from forecast_kit.nn.heads import PointHead
    >>> from forecast_kit.nn.networks import Recurrent, Shapes, build_network
    >>> head, shapes = PointHead("mae"), Shapes(input_length=12, horizon=2, season_length=4)
    >>> model = build_network(Recurrent(units=4), shapes, head, seed=1)
    >>> with frozen(model, "encoder") as names:
    ...     names, model.get_layer("encoder_0").trainable
    (('encoder_0',), False)
    """
    wanted = (names,) if isinstance(names, str) else tuple(names)
    layers = {layer.name: layer for layer in model.layers if layer.trainable_variables}
    for name in wanted:
        if not isinstance(name, str) or not name or not any(one.startswith(name) for one in layers):
            raise ArgumentError(f"there is no layer {name!r} to freeze; those with weights are {', '.join(layers)}."
                                f"{nearest(str(name), layers)}")  # fmt: skip
    chosen = tuple(one for one in layers if one.startswith(wanted))
    if len(chosen) == len(layers):
        raise ArgumentError(f"freeze={', '.join(wanted)} leaves nothing to train; layers with weights are "
                            f"{', '.join(layers)}")  # fmt: skip
    for one in chosen:
        layers[one].trainable = False
    try:
        yield chosen
    finally:
        for one in chosen:
            layers[one].trainable = True
