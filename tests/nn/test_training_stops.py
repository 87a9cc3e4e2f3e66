"""Where trainings end: early, by an interrupt, at a loss that is no number; and which weights are left."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from lines import B, Example, draw, fitted, median, network

from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError, TrainingError
from forecast_kit.nn.training import Training, TrainingSpec, apply


def noise(seed: int) -> Example:
    """Windows whose targets have nothing to do with them: to learn them is to learn them by heart."""
    rng = np.random.default_rng(seed)
    x, y, w = draw(seed)
    x = {**x, fk.PAST_Y: rng.normal(size=x[fk.PAST_Y].shape).astype(np.float32)}
    return x, rng.normal(size=y.shape).astype(np.float32), w


def error_on(model: keras.Model, held: Example) -> float:
    return float(np.abs(apply(model, held[0]) - held[1]).mean())


def test_the_curve_holds_the_loss_on_held_out_windows() -> None:
    held = draw(777)
    ends: list[tuple[int, float]] = []
    model = network(median())
    spec = TrainingSpec(steps=48, evaluations=3, learning_rate=0.02)

    def watch(step: int, logs: dict[str, float]) -> None:
        if "val_loss" in logs:
            ends.append((step, error_on(model, held)))

    training = Training(model, median(), draw, spec, held=[held], on_step=watch)
    training.run()
    assert [step for step, _ in ends] == [16, 32, 48]
    np.testing.assert_allclose(training.curve[:, 2], [error for _, error in ends], rtol=1e-5)
    assert training.best == 48


def memorising(model: keras.Model | None = None, **arguments: Any) -> Any:
    """A network that learns 16 noisy windows by heart, and is judged by others."""
    return fitted(
        lambda k: noise(1), model=model or network(median(), normalize="none"), held=[noise(2)], learning_rate=0.05,
        schedule="constant", warmup=0.0, **arguments,
    )  # fmt: skip


def test_the_weights_that_were_best_on_held_out_windows_are_kept() -> None:
    one = memorising(steps=160, evaluations=20, steps_per_execution=8)
    curve = one.training.curve
    assert curve[-1, 2] > curve[:, 2].min()  # otherwise the test says nothing
    assert one.training.best == curve[curve[:, 2].argmin(), 0] < 160
    assert error_on(one.model, noise(2)) == pytest.approx(curve[:, 2].min(), rel=1e-5)


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_after_so_many_evaluations_without_improvement(patience: int) -> None:
    whole = memorising(steps=160, evaluations=20, steps_per_execution=8).training.curve[:, 2]
    best = np.array([whole[: k + 1].argmin() for k in range(20)])
    expected = next(k for k in range(20) if k - best[k] >= patience)
    early = memorising(steps=160, evaluations=20, steps_per_execution=8, patience=patience)
    assert early.training.step == early.training.total == 8 * (expected + 1) < 160
    assert early.training.best == 8 * (best[expected] + 1)
    assert error_on(early.model, noise(2)) == pytest.approx(whole[best[expected]], rel=1e-5)


def test_patience_needs_something_to_judge_by() -> None:
    with pytest.raises(ArgumentError, match=r"patience needs held-out windows to judge by; set validation=1"):
        fitted(steps=4, patience=1)


def test_averages_are_what_is_judged_and_kept() -> None:
    def noisy(k: int) -> Example:
        x, y, w = draw(k)
        return x, y + 5 * np.random.default_rng([k, 1]).normal(size=y.shape).astype(np.float32), w

    arguments = {"steps": 320, "evaluations": 10, "learning_rate": 0.3, "schedule": "constant", "held": [draw(777)]}
    plain, averaged = fitted(noisy, **arguments), fitted(noisy, **arguments, average=0.95)
    np.testing.assert_allclose(plain.training.curve[:, 1], averaged.training.curve[:, 1], rtol=1e-5)  # same steps
    assert averaged.training.curve[5:, 2].mean() < 0.7 * plain.training.curve[5:, 2].mean()
    assert error_on(averaged.model, draw(777)) == pytest.approx(averaged.training.curve[:, 2].min(), rel=1e-5)


def test_averages_are_kept_without_anything_to_judge_by() -> None:
    arguments = {"steps": 30, "learning_rate": 0.2, "schedule": "constant"}
    last, averaged = fitted(**arguments), fitted(**arguments, average=0.9)
    assert not np.allclose(last.weights, averaged.weights, rtol=1e-3)
    assert averaged.error < last.error


def test_a_training_ends_early_where_it_is_told_to() -> None:
    """The rates are those of the whole: the weights are the ones that a watcher sees on the way."""
    model, seen = network(median()), []
    spec = TrainingSpec(steps=64, evaluations=4, learning_rate=0.02)

    def watch(step: int, logs: dict[str, float]) -> None:
        if step == 32:
            seen.append([weight.copy() for weight in model.get_weights()])

    Training(model, median(), draw, spec, on_step=watch).run()
    other = network(median())
    Training(other, median(), draw, spec, until=32).run()
    for mine, theirs in zip(other.get_weights(), seen[0], strict=True):
        np.testing.assert_array_equal(mine, theirs)


# ---- interrupts


class Stop:
    """Raises the interrupt when a step has been reached."""

    def __init__(self, at: int) -> None:
        self.at, self.step = at, 0

    def __call__(self, step: int, logs: dict[str, float]) -> None:
        self.step = step
        if step >= self.at:
            raise KeyboardInterrupt


def test_an_interrupt_leaves_the_weights_of_the_step_that_was_reached() -> None:
    model = network(median())
    with pytest.raises(KeyboardInterrupt):
        fitted(model=model, steps=64, evaluations=1, learning_rate=0.02, on_step=Stop(32))
    reached = fitted(steps=64, evaluations=1, learning_rate=0.02, until=32)
    np.testing.assert_array_equal(np.concatenate([w.ravel() for w in model.get_weights()]), reached.weights)


def test_an_interrupt_leaves_the_best_weights_where_windows_were_judged() -> None:
    whole = memorising(steps=160, evaluations=20, steps_per_execution=8)
    model = network(median(), normalize="none")
    with pytest.raises(KeyboardInterrupt):
        memorising(model=model, steps=160, evaluations=20, steps_per_execution=8, on_step=Stop(152))
    assert whole.training.best < 152
    np.testing.assert_array_equal(np.concatenate([w.ravel() for w in model.get_weights()]), whole.weights)


def test_an_interrupt_leaves_averages() -> None:
    model = network(median())
    arguments = {"steps": 64, "evaluations": 1, "learning_rate": 0.02, "average": 0.9}
    with pytest.raises(KeyboardInterrupt):
        fitted(model=model, **arguments, on_step=Stop(32))
    reached = fitted(**arguments, until=32)
    np.testing.assert_array_equal(np.concatenate([w.ravel() for w in model.get_weights()]), reached.weights)


# ---- losses that are no number


def spoiled(at: int, rows: list[int], value: float) -> Any:
    def batches(k: int) -> Example:
        x, y, w = draw(k)
        if k == at:
            x, y = {name: array.copy() for name, array in x.items()}, y.copy()
            y[rows] = value
        return x, y, w

    return batches


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf")])
@pytest.mark.parametrize("steps_per_execution", [1, 16])
def test_a_loss_that_is_no_number_names_step_and_windows(value: float, word: str, steps_per_execution: int) -> None:
    with pytest.raises(TrainingError) as caught:
        fitted(spoiled(21, [3, 5], value), steps=64, steps_per_execution=steps_per_execution)
    assert str(caught.value) == (
        f"the loss became {word} at step 22 of 64: window 3 of batch 21; window 5 of batch 21; look for extreme values "
        f"there, lower learning_rate or clip_norm"
    )


def test_windows_are_named_by_the_source_that_knows_them() -> None:
    class Named:
        def __call__(self, k: int) -> Example:
            return spoiled(40, list(range(2, 9)), np.nan)(k)

        def where(self, k: int, row: int) -> str:
            return f"series 's{row}', window ending at {k}"

    with pytest.raises(TrainingError, match=(
        r"at step 41 of 64: series 's2', window ending at 40; series 's3', window ending at 40; series 's4', window "
        r"ending at 40 and 4 more windows; look for"
    )):  # fmt: skip
        fitted(Named(), steps=64)


def test_after_a_loss_that_is_no_number_the_weights_are_those_before_it() -> None:
    model = network(median(), dropout=0.3)
    with pytest.raises(TrainingError):
        fitted(spoiled(21, [3], np.nan), model=model, steps=64, learning_rate=0.02, evaluations=2)
    before = fitted(model=network(median(), dropout=0.3), steps=64, learning_rate=0.02, evaluations=2, until=21)
    found = np.concatenate([weight.ravel() for weight in model.get_weights()])
    np.testing.assert_allclose(found, before.weights, rtol=1e-5, atol=1e-7)


def test_a_training_that_runs_away_says_so() -> None:
    model = network(median(), activation="linear")
    with pytest.raises(TrainingError, match=(
        r"at step \d of 32, in every window of its batch \(window 0 of batch .*: the weights have run away, or the "
        r"data are extreme everywhere; lower learning_rate or clip_norm"
    )):  # fmt: skip
        fitted(model=model, steps=32, learning_rate=1e10, clip_norm=None, warmup=0.0, optimizer="sgd")


@keras.saving.register_keras_serializable("tests")
class Steep(keras.layers.Layer):
    """A function that is 0 where x is 1, and has no gradient there."""

    def call(self, x: Any) -> Any:
        return keras.ops.sqrt(keras.ops.abs(x - 1.0))


def test_a_gradient_that_is_no_number_is_found_though_the_loss_is_one() -> None:
    plain = network(median(), normalize="none")
    start = keras.layers.Dense(8, kernel_initializer="zeros", bias_initializer="ones", name="ones")
    x = plain.input[fk.PAST_Y]
    model = keras.Model(plain.input, plain.output + 1e-3 * keras.ops.mean(Steep()(start(x)), axis=-1)[:, None, None])
    with pytest.raises(TrainingError, match=r"the gradient became no number at step 1 of 8: window \d+ of batch 0;"):
        fitted(model=model, steps=8)


def test_lines_are_what_the_tests_think_they_are() -> None:
    x, y, _ = draw(3)
    assert len(y) == B
    np.testing.assert_allclose(y[:, 0, 0], x[fk.PAST_Y][:, 1] * 8, rtol=1e-5)
