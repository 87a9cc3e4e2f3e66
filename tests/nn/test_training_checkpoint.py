"""Checkpoints: a training that goes on from one ends as if it had never been broken off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lines import Fitted, draw, fitted

from forecast_kit.errors import ArgumentError, ArtifactError
from forecast_kit.nn.training import Checkpoint
from forecast_kit.nn.training.state import Best, State

SPEC: dict[str, Any] = {
    "steps": 96, "evaluations": 6, "learning_rate": 0.02, "average": 0.9, "dropout": 0.3, "optimizer": "nadam",
}  # fmt: skip


class Killed(BaseException):
    """What a training cannot handle."""


def train(path: Path, *, killed_at: int | None = None, **changes: Any) -> Fitted:
    def watch(step: int, logs: dict[str, float]) -> None:
        if killed_at is not None and step >= killed_at:
            raise Killed

    checkpoint = Checkpoint(path, {"data": "lines", "spec": changes})
    return fitted(**{**SPEC, **changes}, held=[draw(777)], checkpoint=checkpoint, on_step=watch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A training that was not broken off; nobody trains it further."""
    return train(tmp_path_factory.mktemp("whole") / "whole.npz")


@pytest.mark.parametrize("killed_at", [[16], [40], [48, 80], [96]])
def test_a_resumed_training_ends_with_the_weights_of_one_that_was_not_broken_off(
    killed_at: list[int], whole: Fitted, tmp_path: Path
) -> None:
    for step in killed_at:
        with pytest.raises(Killed):
            train(tmp_path / "part.npz", killed_at=step)
    resumed = train(tmp_path / "part.npz")
    np.testing.assert_array_equal(resumed.weights, whole.weights)
    np.testing.assert_array_equal(resumed.training.curve, whole.training.curve)
    assert (resumed.training.best, resumed.training.step) == (whole.training.best, whole.training.step)


def test_checkpoints_change_nothing(whole: Fitted) -> None:
    np.testing.assert_array_equal(whole.weights, fitted(**SPEC, held=[draw(777)]).weights)


def test_a_training_that_was_through_is_not_done_again(tmp_path: Path) -> None:
    first = train(tmp_path / "a.npz")
    steps: list[int] = []
    again = fitted(
        **SPEC, held=[draw(777)], on_step=lambda step, logs: steps.append(step),
        checkpoint=Checkpoint(tmp_path / "a.npz", {"data": "lines", "spec": {}}),
    )  # fmt: skip
    assert steps == []
    np.testing.assert_array_equal(again.weights, first.weights)


def test_patience_counts_on_where_it_was(tmp_path: Path) -> None:
    changes = {"patience": 1, "learning_rate": 1.0, "schedule": "constant", "average": 0.0}
    whole = train(tmp_path / "whole.npz", **changes)
    assert whole.training.step < 96
    with pytest.raises(Killed):
        train(tmp_path / "part.npz", killed_at=whole.training.step, **changes)
    assert train(tmp_path / "part.npz", **changes).training.step == whole.training.step


def test_long_rounds_are_left_in_between(tmp_path: Path) -> None:
    """With one evaluation in 600 steps there are still points to go back to."""
    with pytest.raises(Killed):
        train(tmp_path / "a.npz", killed_at=300, steps=600, evaluations=1, steps_per_execution=50)
    state = Checkpoint(tmp_path / "a.npz", {"data": "lines", "spec": {
        "steps": 600, "evaluations": 1, "steps_per_execution": 50}}).read()  # fmt: skip
    assert state is not None
    assert 250 <= state.step <= 300


def test_another_training_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "a.npz")
    with pytest.raises(ArgumentError, match=r"holds the checkpoint of another training, which differs in 'spec'; give"):
        train(tmp_path / "a.npz", seed=3)


@pytest.mark.parametrize("damage", ["half", "empty", "text", "lacking"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "a.npz"
    Checkpoint(file, {}).write(State(1, [np.zeros(3)], [np.ones(2)]))
    content = file.read_bytes()
    if damage == "lacking":
        with file.open("wb") as out:
            np.savez(out, w0=np.zeros(3))
    else:
        file.write_bytes({"half": content[: len(content) // 2], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(ArtifactError, match=r"cannot read the checkpoint .*a.npz.*Remove it to train from the start"):
        Checkpoint(file, {}).read()


def test_a_state_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    state = State(
        7, [rng.normal(size=(2, 3)).astype(np.float32), np.array(5, np.uint32)], [np.array(7)] * 11,
        Best(3, 0.25, [rng.normal(size=4)]), ((3, 0.5, 0.25), (7, 0.4, float("nan"))), True,
    )  # fmt: skip
    checkpoint = Checkpoint(tmp_path / "folder" / "a.npz", {"n": [1, 2], "m": {"k": None}})
    assert checkpoint.read() is None
    checkpoint.write(state)
    found = checkpoint.read()
    assert found is not None
    assert found.best is not None
    assert (found.step, found.done, found.best.step, found.best.loss) == (7, True, 3, 0.25)
    np.testing.assert_array_equal(found.curve, state.curve)
    for mine, theirs in (
        (found.weights, state.weights), (found.optimizer, state.optimizer), (found.best.weights, state.best.weights),
    ):  # fmt: skip
        assert [(a.dtype, a.tolist()) for a in mine] == [(a.dtype, a.tolist()) for a in theirs]
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["a.npz"]


def test_removing_takes_the_folder_along_where_nothing_else_is_in_it(tmp_path: Path) -> None:
    one, other = (Checkpoint(tmp_path / "folder" / name, {}) for name in ("a.npz", "b.npz"))
    for checkpoint in (one, other):
        checkpoint.write(State(1, [], []))
    one.remove()
    assert [file.name for file in (tmp_path / "folder").iterdir()] == ["b.npz"]
    one.remove()
    other.remove()
    assert not (tmp_path / "folder").exists()
