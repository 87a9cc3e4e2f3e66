"""Which step, which windows: what a training that broke down has to say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from forecast_kit.errors import TrainingError
from forecast_kit.nn.feeding import Draw
from forecast_kit.nn.training.objective import Objective
from forecast_kit.nn.training.state import Arrays, are_finite, put, take

_NAMED = 3  # windows that an error names


@dataclass(frozen=True, eq=False)
class Fault:
    """The first step of a training after which something is no number.

    Attributes:
        step: counted from 0; its batch is `draw(step)`.
        loss: of that batch; finite where a gradient alone is not.
        weights: of the network before that step.
    """

    step: int
    loss: float
    weights: Arrays


def find_fault(replay: Iterator[tuple[int, float]], objective: Objective) -> Fault | None:
    """The first step at fault of those that are done again; None where none is, this time.

    Args:
        replay: does one step after another and yields its number and its loss.
        objective: what is trained, as it was before the first of them.
    """
    before = take(objective.variables)
    for step, loss in replay:
        after = take(objective.variables)
        if not (np.isfinite(loss) and are_finite(after)):
            return Fault(step, loss, before)
        before = after
    return None


def describe_fault(fault: Fault, objective: Objective, draw: Draw, steps: int) -> TrainingError:
    """The error to raise, which names the windows of the batch whose loss is no number.

    The network keeps the weights that it had before the step.

    Args:
        fault: what was found.
        objective: what is trained.
        draw: gives batches; where it has a method `where(k, row)` that describes a window, windows are named.
        steps: in all.
    """
    put(objective.variables, fault.weights)
    x, y, w = draw(fault.step)
    each, weight = objective.apart(x, y, w)
    counted = np.where(weight > 0, each, 0.0)
    rows = np.flatnonzero(~np.isfinite(counted).all(axis=1))
    what = f"the loss became {fault.loss}" if not np.isfinite(fault.loss) else "the gradient became no number"
    at = f"{what} at step {fault.step + 1} of {steps}"
    if not len(rows):  # noise alone did it, or the gradient: the window with the largest loss is the likeliest
        rows = np.array([int(counted.sum(axis=1).argmax())])
    where: Callable[[int, int], str] = getattr(draw, "where", lambda k, row: f"window {row} of batch {k}")
    named = "; ".join(where(fault.step, int(row)) for row in rows[:_NAMED])
    if len(rows) == len(counted):
        return TrainingError(f"{at}, in every window of its batch ({named} ...): the weights have run away, or the "
                             f"data are extreme everywhere; lower learning_rate or clip_norm")  # fmt: skip
    more = f" and {len(rows) - _NAMED} more windows" if len(rows) > _NAMED else ""
    return TrainingError(f"{at}: {named}{more}; look for extreme values there, lower learning_rate or clip_norm")
