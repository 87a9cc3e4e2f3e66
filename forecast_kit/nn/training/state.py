"""Everything that a training goes on from, as arrays: taken, put back, written to disk and read again."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np

from forecast_kit.errors import ArgumentError, ArtifactError, name_some

Arrays = list[np.ndarray]
_FORMAT = 1


def take(variables: Iterable[keras.Variable]) -> Arrays:
    """A copy of what the variables hold."""
    # Without a copy PyTorch gives a view of the weights, which training goes on to change. A variable's own way to
    # NumPy, because `keras.ops.convert_to_numpy` uses one that NumPy deprecates, under TensorFlow.
    return [np.array(variable.numpy()) for variable in variables]


def put(variables: Sequence[keras.Variable], arrays: Sequence[np.ndarray]) -> None:
    """Gives the variables these values."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def are_finite(arrays: Iterable[np.ndarray]) -> bool:
    """Whether there is no number among them that is none."""
    return all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays)


@dataclass(frozen=True, eq=False)
class Best:
    """The weights that were best on held-out windows: after which step, at what loss, and what they are."""

    step: int
    loss: float
    weights: Arrays


@dataclass(frozen=True, eq=False)
class State:
    """Where a training stands after a step.

    Attributes:
        step: steps done.
        weights: of the network, with the states of its random generators.
        optimizer: its momenta, averages of the weights and counters.
        best: None where nothing was judged yet.
        curve: rows of step, loss and loss on held-out windows, one an evaluation.
        done: whether the training is over.
    """

    step: int
    weights: Arrays
    optimizer: Arrays
    best: Best | None = None
    curve: tuple[tuple[int, float, float], ...] = ()
    done: bool = False


class Checkpoint:
    """A file in which a training leaves its state, so that it can go on from there after it was killed.

    The file is replaced as a whole: whenever the process dies, the last state or the one before it is there.
    It is NumPy's `.npz`, without pickle.

    Args:
        path: of the file; its folder is made.
        identity: what the training is of, by aspect, as JSON can hold it. A file with another is refused.

    >>> checkpoint = Checkpoint(Path("gru.npz"), {"units": 8})
    >>> print(checkpoint.read())
    None
    >>> checkpoint.write(State(4, [np.zeros(2)], []))
    >>> checkpoint.read().step
    4
    >>> checkpoint.remove()
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        software = {"backend": keras.backend.backend(), "keras": keras.__version__, "format": _FORMAT}
        self._identity = json.loads(json.dumps({**identity, "software": software}))

    def write(self, state: State) -> None:
        """Replaces what was there."""
        best = state.best
        meta = {
            "identity": self._identity, "step": state.step, "done": state.done, "curve": state.curve,
            "best": None if best is None else [best.step, best.loss],
        }  # fmt: skip
        groups = {"w": state.weights, "o": state.optimizer, "b": [] if best is None else best.weights}
        arrays = {f"{group}{k}": array for group, some in groups.items() for k, array in enumerate(some)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        staging = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with staging.open("wb") as file:
                np.savez(file, meta=np.array(json.dumps(meta)), **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            staging.replace(self.path)
        finally:
            staging.unlink(missing_ok=True)

    def read(self) -> State | None:
        """The state that was left; None where there is none.

        Raises:
            ArgumentError: it is of another training.
            ArtifactError: the file is damaged.
        """
        if not self.path.exists():
            return None
        try:
            # Given the path, NumPy would leave a damaged file open.
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            meta = json.loads(str(arrays.pop("meta")))
            theirs, step, done, best = meta["identity"], int(meta["step"]), bool(meta["done"]), meta["best"]
            curve = tuple((int(k), float(loss), float(held)) for k, loss, held in meta["curve"])
            groups = {group: _numbered(arrays, group) for group in "wob"}
        except (OSError, EOFError, BadZipFile, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"cannot read the checkpoint {self.path}: {error!r}; it is damaged or foreign. Remove "
                                f"it to train from the start") from error  # fmt: skip
        other = [name for name in {**self._identity, **theirs} if self._identity.get(name) != theirs.get(name)]
        if other:
            raise ArgumentError(f"{self.path.parent} holds the checkpoint of another training, which differs in "
                                f"{name_some(sorted(other))}; give another folder, or remove that one")  # fmt: skip
        kept = None if best is None else Best(int(best[0]), float(best[1]), groups["b"])
        return State(step, groups["w"], groups["o"], kept, curve, done)

    def remove(self) -> None:
        """Removes the file, and its folder where nothing else is in it, but never the working directory."""
        self.path.unlink(missing_ok=True)
        folder = self.path.parent.resolve()
        if folder != Path.cwd() and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _numbered(arrays: Mapping[str, np.ndarray], group: str) -> Arrays:
    """The arrays of a group in their order."""
    count = sum(name[0] == group for name in arrays)
    return [arrays[f"{group}{k}"] for k in range(count)]
