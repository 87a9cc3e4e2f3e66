"""Cells around cells: residual connections, dropout between steps, stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from forecast_kit.errors import ArgumentError, check_fraction
from forecast_kit.nn.cells.base import Cell, States, Weights, with_dtype_of


class _Wrapper(Cell):
    """A cell that changes what another one does, without weights of its own."""

    def __init__(self, cell: Cell, **kwargs: Any) -> None:
        if not isinstance(cell, Cell):
            raise ArgumentError(f"{type(self).__name__} wraps a Cell of forecast_kit, got {type(cell).__name__}")
        super().__init__(cell.units, **with_dtype_of(cell, type(self).__name__, kwargs))
        self.cell = cell

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The inner cell's."""
        return self.cell.state_sizes

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds the inner cell, unless somebody has."""
        if not self.cell.built:
            self.cell.build(input_shape)
            self.cell.built = True

    def project(self, x: Any, w: Weights) -> Any:
        """See `Cell`."""
        return self.cell.project(x, w)

    def tensors(self) -> dict[str, Any]:
        """The inner cell's weights."""
        return self.cell.tensors()

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """The inner cell's."""
        return self.cell.get_initial_state(batch_size)

    def begin(self, batch_size: Any, *, training: bool) -> States:
        """See `Cell`."""
        return self.cell.begin(batch_size, training=training)

    def settle(self, states: States) -> States:
        """See `Cell`."""
        return self.cell.settle(states)

    @property
    def drawn(self) -> tuple[bool, ...]:
        """See `Cell`."""
        return self.cell.drawn

    @property
    def noise_size(self) -> int:
        """The inner cell's."""
        return self.cell.noise_size

    def noise(self, shape: tuple[Any, ...], *, training: bool) -> Any:
        """See `Cell`."""
        return self.cell.noise(shape, training=training)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        kept = ("name", "trainable", "dtype")
        config = {key: value for key, value in super().get_config().items() if key in kept}
        return {**config, "cell": keras.saving.serialize_keras_object(self.cell)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> _Wrapper:
        """The wrapper that `get_config` describes."""
        return cls(keras.saving.deserialize_keras_object(config.pop("cell")), **config)


@keras.saving.register_keras_serializable("forecast_kit")
class Residual(_Wrapper):
    """A cell that learns the difference to its input: `y_t = x_t + cell(x_t)`.

    Args:
        cell: whose `units` are as many as the input's features.

    Raises:
        ArgumentError: there is no cell, or at build, they are not.

    Source: Kim, El-Khamy and Lee (2017), Residual LSTM; as used by Smyl (2020).

    >>> from forecast_kit.nn.cells import ElmanCell
    >>> tuple(keras.layers.RNN(Residual(ElmanCell(4)))(ops.ones((2, 5, 4))).shape)
    (2, 4)
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """See `Cell`."""
        if input_shape[-1] != self.units:
            raise ArgumentError(f"Residual adds the output to the input: the cell has {self.units} units, the input "
                                f"{input_shape[-1]} features; make them equal")  # fmt: skip
        super().build(input_shape)

    def project(self, x: Any, w: Weights) -> Any:
        """See `Cell`."""
        p = self.cell.project(x, w)
        return ops.concatenate([ops.cast(x, p.dtype), p], axis=-1)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        output, states = self.cell.step(p[:, self.units :], states, w)
        return p[:, : self.units] + output, states


@keras.saving.register_keras_serializable("forecast_kit")
class RecurrentDropout(_Wrapper):
    """A cell whose first state is dropped, in training, before each step: the same units in all steps of a sequence.

    The mask is a state of its own, the last one, drawn when a sequence begins: `h~ = h * mask`, the mask 0
    with probability `rate`, else `1 / (1 - rate)`. Outside training it is 1, whatever is given; where it is
    left out of the states that `recurrent` is given to begin with, a new one is drawn.

    Args:
        cell: the cell.
        rate: share of units dropped.
        seed: of the masks.

    Raises:
        ArgumentError: there is no cell, or the rate is not at least 0 and below 1.

    Source: Gal and Ghahramani (2016), A Theoretically Grounded Application of Dropout in RNNs.

    >>> from forecast_kit.nn.cells import ElmanCell
    >>> from forecast_kit.nn.recurrent import recurrent
    >>> layer = recurrent(RecurrentDropout(ElmanCell(4), 0.5))
    >>> x = ops.ones((2, 5, 3))
    >>> bool(ops.all(layer(x) == layer(x)))  # outside of training nothing is dropped
    True
    """

    def __init__(self, cell: Cell, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(cell, **kwargs)
        check_fraction("rate", rate)
        self.rate, self.seed = float(rate), seed
        self.generator = keras.random.SeedGenerator(seed)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The inner cell's, and the mask's."""
        return (*super().state_sizes, self.cell.state_sizes[0])

    @property
    def drawn(self) -> tuple[bool, ...]:
        """The inner cell's, and yes for the mask."""
        return (*super().drawn, True)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        *own, mask = states
        output, after = self.cell.step(p, (own[0] * mask, *own[1:]), w)
        return output, (*after, mask)

    def settle(self, states: States) -> States:
        """The inner cell's, and a mask that drops nothing."""
        return (*self.cell.settle(states[:-1]), ops.ones_like(states[-1]))

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """The inner cell's, and a mask for this sequence."""
        return [*self.cell.get_initial_state(batch_size), self._mask(batch_size)]

    def begin(self, batch_size: Any, *, training: bool) -> States:
        """See `Cell`."""
        size = self.cell.state_sizes[0]
        mask = self._mask(batch_size) if training else ops.ones((batch_size, size), dtype=self.carry_dtype)
        return (*self.cell.begin(batch_size, training=training), mask)

    def _mask(self, batch_size: Any) -> Any:
        ones = ops.ones((batch_size, self.cell.state_sizes[0]), dtype=self.carry_dtype)
        return keras.random.dropout(ones, self.rate, seed=self.generator)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("forecast_kit")
class Zoneout(_Wrapper):
    """A cell some of whose states, in training, stay as they are: others in each step.

    In training `s' = old` with probability `rate`, else the cell's; elsewhere the mean of that,
    `rate * old + (1 - rate) * new`. The output is the cell's.

    Args:
        cell: the cell.
        rate: probability that a unit keeps its state.
        seed: of the draws.

    Raises:
        ArgumentError: there is no cell, or the rate is not at least 0 and below 1.

    Source: Krueger et al. (2017), Zoneout, section 3.

    >>> from forecast_kit.nn.cells import ElmanCell
    >>> from forecast_kit.nn.recurrent import recurrent
    >>> tuple(recurrent(Zoneout(ElmanCell(4), 0.1))(ops.ones((2, 5, 3)), training=True).shape)
    (2, 4)
    """

    def __init__(self, cell: Cell, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(cell, **kwargs)
        check_fraction("rate", rate)
        self.rate, self.seed = float(rate), seed
        self.generator = keras.random.SeedGenerator(seed)

    @property
    def noise_size(self) -> int:
        """A number for each unit of each state, and what the inner cell needs."""
        return self.cell.noise_size + sum(self.state_sizes)

    def noise(self, shape: tuple[Any, ...], *, training: bool) -> Any:
        """See `Cell`; -1 outside training, where the mean is taken."""
        size = (*shape, sum(self.state_sizes))
        dtype = self.carry_dtype
        own = keras.random.uniform(size, dtype=dtype, seed=self.generator) if training else -ops.ones(size, dtype=dtype)
        inner = [self.cell.noise(shape, training=training)] if self.cell.noise_size else []
        return ops.concatenate([*inner, own], axis=-1)

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        own = sum(self.state_sizes)
        drawn = p[:, -own:]
        output, after = self.cell.step(p[:, :-own], states, w)
        kept, at = [], 0
        for old, new, size in zip(states, after, self.state_sizes, strict=True):
            u, at = drawn[:, at : at + size], at + size
            mean = self.rate * old + (1.0 - self.rate) * new
            kept.append(ops.where(u < 0, mean, ops.where(u < self.rate, old, new)))
        return output, tuple(kept)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable("forecast_kit")
class Stacked(Cell):
    """Cells one on the other, as one cell: each takes the output of the one before in the same step.

    Args:
        cells: from the input's on.

    Raises:
        ArgumentError: there is none, or one is no `Cell`, or draws noise in every step.

    >>> from forecast_kit.nn.cells.gru import GRUCell
    >>> tuple(keras.layers.RNN(Stacked([GRUCell(4), Residual(GRUCell(4))]))(ops.ones((2, 5, 3))).shape)
    (2, 4)
    """

    def __init__(self, cells: Sequence[Cell], **kwargs: Any) -> None:
        if isinstance(cells, Cell):
            raise ArgumentError(f"Stacked takes a list of cells of forecast_kit, got one {type(cells).__name__}; put "
                                f"it into a list")  # fmt: skip
        if not isinstance(cells, Sequence) or not cells or not all(isinstance(cell, Cell) for cell in cells):
            raise ArgumentError(f"Stacked takes a list of cells of forecast_kit, got {cells!r}")
        if any(cell.noise_size for cell in cells):
            raise ArgumentError("a cell that draws noise in every step cannot be stacked; wrap the stack instead")
        super().__init__(cells[-1].units, **with_dtype_of(cells[0], "Stacked", kwargs))
        self.cells = list(cells)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Those of all cells, in order."""
        return tuple(size for cell in self.cells for size in cell.state_sizes)

    @property
    def drawn(self) -> tuple[bool, ...]:
        """Those of all cells, in order."""
        return tuple(one for cell in self.cells for one in cell.drawn)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Builds each cell on the one before."""
        for cell in self.cells:
            if not cell.built:
                cell.build(input_shape)
                cell.built = True
            input_shape = (*input_shape[:-1], cell.units)

    def tensors(self) -> dict[str, Any]:
        """The weights of all cells, each name with the number of its cell in front."""
        return {f"{k}.{name}": tensor for k, cell in enumerate(self.cells) for name, tensor in cell.tensors().items()}

    def project(self, x: Any, w: Weights) -> Any:
        """See `Cell`: of the first one."""
        return self.cells[0].project(x, _part(w, 0))

    def step(self, p: Any, states: States, w: Weights) -> tuple[Any, States]:
        """See `Cell`."""
        after: list[Any] = []
        output = None
        for k, (cell, own) in enumerate(zip(self.cells, self._split(states), strict=True)):
            p = p if k == 0 else cell.project(ops.cast(output, cell.compute_dtype), _part(w, k))
            output, new = cell.step(p, own, _part(w, k))
            after += new
        return output, tuple(after)

    def _split(self, states: States) -> list[States]:
        """The states of each cell."""
        parts = []
        for cell in self.cells:
            own, states = states[: len(cell.state_sizes)], states[len(cell.state_sizes) :]
            parts.append(own)
        return parts

    def settle(self, states: States) -> States:
        """See `Cell`."""
        parts = zip(self.cells, self._split(states), strict=True)
        return tuple(state for cell, own in parts for state in cell.settle(own))

    def get_initial_state(self, batch_size: Any) -> list[Any]:
        """Those of all cells, in order."""
        return [state for cell in self.cells for state in cell.get_initial_state(batch_size)]

    def begin(self, batch_size: Any, *, training: bool) -> States:
        """See `Cell`."""
        return tuple(state for cell in self.cells for state in cell.begin(batch_size, training=training))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        kept = ("name", "trainable", "dtype")
        config = {key: value for key, value in super().get_config().items() if key in kept}
        return {**config, "cells": [keras.saving.serialize_keras_object(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Stacked:
        """The stack that `get_config` describes."""
        return cls([keras.saving.deserialize_keras_object(cell) for cell in config.pop("cells")], **config)


def _part(w: Weights, k: int) -> Weights:
    """The weights of the k-th cell, by their own names."""
    prefix = f"{k}."
    return {name.removeprefix(prefix): tensor for name, tensor in w.items() if name.startswith(prefix)}
