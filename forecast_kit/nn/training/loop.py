"""The training itself: rounds of steps, and between them judging, keeping and stopping."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from forecast_kit.errors import ArgumentError, TrainingError
from forecast_kit.nn.feeding import Draw, Example, Stretches
from forecast_kit.nn.heads import Head
from forecast_kit.nn.tracing import traced_once
from forecast_kit.nn.training.faults import describe_fault, find_fault
from forecast_kit.nn.training.objective import Objective
from forecast_kit.nn.training.optimizers import averages_of, make_optimizer
from forecast_kit.nn.training.spec import TrainingSpec
from forecast_kit.nn.training.state import Best, Checkpoint, State, are_finite, put, take
from forecast_kit.typing import Batch, Floats

OnStep = Callable[[int, dict[str, float]], None]
"""Told of a training: the steps done, and by name the `loss`, at the end of a round the `val_loss` too."""

_LEAST_COMPILED = 64  # windows of a batch: fewer take no less time
LONGEST = 256  # steps at most between two points to which a training can go back


class Training:
    """A network in training: `run` trains it, in place, and it stays usable wherever that ends.

    After every round of steps the weights are judged on held-out windows, where there are any, and the
    state of the training is left in the checkpoint. At the end, also where Ctrl-C ends it, the network
    has the weights that were best on the held-out windows, or the last ones; with `average` the averages
    stand for the weights in all this. What a round does depends on the state before it and on the
    numbers of its steps alone, so a training that is resumed ends as one that was never broken off.

    Args:
        model: from `build_network`.
        head: whose loss to take.
        draw: gives batch `k`: inputs by name, targets `[B, H, 1]`, weights `[B, H]`. Where it has a method
            `where(k, row)` that says in words which window that is, errors do.
        spec: how.
        steps: over which the learning rate runs its course; by default `spec.steps`.
        until: stops after so many of them; by default after all.
        held: windows to judge by, in batches.
        on_step: called every few steps with their number and the mean loss of the round so far (`loss`), and
            at the end of a round with the loss on held-out windows (`val_loss`).
        checkpoint: where the state is left and looked for.

    Attributes:
        curve: `[n, 3]` of each evaluation the step, the mean loss of the round of steps that ended there, and
            the loss on held-out windows (NaN without).
        best: the step whose weights were best on held-out windows; None without.
        step: steps done.
        planned: steps over which the learning rate runs its course.
        total: steps that it takes in all, as far as is known; less than it set out for once it has stopped early.

    Raises:
        ArgumentError: the spec does not fit the network, or there is nothing to be patient with.

    >>> from forecast_kit.nn.heads import PointHead
    >>> from forecast_kit.nn.networks import Recurrent, Shapes, build_network
    >>> head, shapes = PointHead("mae"), Shapes(input_length=12, horizon=2, season_length=4)
    >>> model = build_network(Recurrent(units=4), shapes, head, seed=1)
    >>> def draw(k):
    ...     y = np.random.default_rng(k).normal(size=(16, 14)).astype("float32").cumsum(axis=1)
    ...     inputs = {"past_y": y[:, :12], "past_observed": np.ones((16, 12), "float32")}
    ...     return inputs, y[:, 12:, None], np.ones((16, 2), "float32")
    >>> training = Training(model, head, draw, TrainingSpec(steps=32, batch_size=16, evaluations=2), held=[draw(99)])
    >>> training.run()
    >>> training.step, training.curve[:, 0].tolist(), training.best in (16, 32)
    (32, [16.0, 32.0], True)
    """

    def __init__(
        self,
        model: keras.Model,
        head: Head,
        draw: Draw,
        spec: TrainingSpec,
        *,
        steps: int | None = None,
        until: int | None = None,
        held: Sequence[Example] = (),
        on_step: OnStep | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        if spec.patience is not None and not held:
            raise ArgumentError("patience needs held-out windows to judge by; set validation=1 or more, or give "
                                "fit a panel of later rows as validation=")  # fmt: skip
        if not model.trainable_variables:
            raise ArgumentError("there is nothing to train: every layer with weights is frozen")
        self._spec, self._draw, self._held, self._on_step = spec, draw, held, on_step or (lambda step, logs: None)
        self._steps = spec.steps if steps is None else steps
        self._last = self._steps if until is None else until
        self._objective = Objective(model, head, spec)
        self._optimizer = make_optimizer(spec, self._steps, model.trainable_variables)
        self._sources, self._checkpoint = Stretches(draw), checkpoint
        # PyTorch knows no loop in a graph, and several devices fail in one: TensorFlow 2.21 loses tensors there.
        single = keras.backend.backend() == "torch" or spec.devices != 1
        self._execution = 1 if single else min(spec.steps_per_execution, self._last)
        # A round is as long as to have the spec's number of evaluations, in whole executions.
        self._every = self._execution * math.ceil(self._steps / spec.evaluations / self._execution)
        self._state = State(0, *self._taken())

    @property
    def curve(self) -> Floats:
        """See the class."""
        return np.array(self._state.curve, np.float64).reshape(-1, 3)

    @property
    def best(self) -> int | None:
        """See the class."""
        return None if self._state.best is None else self._state.best.step

    @property
    def step(self) -> int:
        """See the class."""
        return self._state.step

    @property
    def planned(self) -> int:
        """See the class."""
        return self._steps

    @property
    def total(self) -> int:
        """See the class."""
        return self._state.step if self._state.done else self._last

    def run(self) -> None:
        """Trains to the end, or to where it stops early.

        Raises:
            TrainingError: the loss is no longer a number; the network has the weights from before.
            KeyboardInterrupt: came from outside; the network has the best weights so far.
            ArgumentError, ArtifactError: the checkpoint is of another training, or damaged.
        """
        state = None if self._checkpoint is None else self._checkpoint.read()
        if state is not None:
            self._put(state)
            self._state = state
        self._objective.compile(
            optimizer=self._optimizer,
            steps_per_execution=self._execution,
            # On TensorFlow a step of a small network, compiled whole, gains nothing and starts 2 s later; JAX without
            # compilation was twenty times slower.
            jit_compile=keras.backend.backend() == "jax",
        )
        try:
            if not self._state.done:
                watch = _Watch(self._state.step, self._last, self._reach)
                self._fit(self._state.step, self._last, watch)
                if not watch.is_sound:
                    raise self._fault(watch.step)
        except KeyboardInterrupt:
            self._keep()
            raise
        self._keep()

    def _fit(self, begin: int, end: int, *callbacks: keras.callbacks.Callback) -> float:
        """Does these steps; their mean loss."""
        with traced_once():
            history = self._objective.fit(
                self._sources(begin, end), shuffle=False, verbose=0, callbacks=list(callbacks)
            )
        return float(history.history["loss"][0])

    def _reach(self, step: int, loss: float, watch: _Watch) -> None:
        """What is to be done after a step: nothing much, or what ends a round."""
        if step < self._next_stop(self._state.step):
            self._on_step(step, {"loss": loss})
            return
        watch.bring_back()
        weights, optimizer = self._taken()
        if not are_finite(weights):
            watch.end(sound=False)
            return
        best, curve, logs = self._state.best, self._state.curve, {"loss": loss}
        if step % self._every == 0 or step == self._last:
            held = self._judge() if self._held else math.nan
            curve = (*curve, (step, loss, held))
            if self._held:
                logs["val_loss"] = held
            if held < (math.inf if best is None else best.loss):
                best = Best(step, held, self._finished())
        done = step == self._last or self._is_stale(best, curve)
        self._state = State(step, weights, optimizer, best, curve, done)
        if self._checkpoint is not None:
            self._checkpoint.write(self._state)
        if done:
            watch.end()
        self._on_step(step, logs)

    def _next_stop(self, begin: int) -> int:
        """The step at which the round from there on ends."""
        piece = self._execution * math.ceil(min(self._every, LONGEST) / self._execution)
        evaluation = begin - begin % self._every + self._every
        return min(begin + piece, evaluation, self._last)

    def _judge(self) -> float:
        """The loss on the held-out windows, of the averages where there are any."""
        trained, averages = self._optimized()
        kept = take(trained) if averages else []
        put(trained[: len(averages)], take(averages))
        try:
            return self._objective.score(self._held)
        finally:
            put(trained[: len(kept)], kept)

    def _is_stale(self, best: Best | None, curve: Sequence[tuple[int, float, float]]) -> bool:
        since = sum(step > (0 if best is None else best.step) for step, _, _ in curve)
        return self._spec.patience is not None and since >= self._spec.patience

    def _keep(self) -> None:
        """Gives the network the weights to be kept."""
        best = self._state.best
        try:
            put(self._objective.variables, self._finished() if best is None else best.weights)
        except RuntimeError:  # JAX was interrupted in a step and has given the weights away
            self._put(self._state)
            put(self._objective.variables, self._finished())

    def _finished(self) -> list[np.ndarray]:
        """The network's weights as they would be kept now: averages in the place of what is averaged."""
        trained, averages = self._optimized()
        places = {id(variable): average for variable, average in zip(trained, averages, strict=False)}
        return take(places.get(id(variable), variable) for variable in self._objective.variables)

    def _optimized(self) -> tuple[list[keras.Variable], list[keras.Variable]]:
        return self._objective.trainable_variables, averages_of(self._optimizer)

    def _taken(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        return take(self._objective.variables), take(self._optimizer.variables)

    def _put(self, state: State) -> None:
        put(self._objective.variables, state.weights)
        put(self._optimizer.variables, state.optimizer)

    def _fault(self, end: int) -> TrainingError:
        """What to say where some step since the last round, up to `end`, gave what is no number."""
        self._put(self._state)
        begin = self._state.step

        def replay() -> Iterator[tuple[int, float]]:
            for step in range(begin, end):
                yield step, self._fit(step, step + 1)

        fault = find_fault(replay(), self._objective)
        if fault is None:
            return TrainingError(f"the loss was no number between step {begin + 1} and {end} of {self._steps}, and was "
                                 f"one when they were done again; lower learning_rate or clip_norm")  # fmt: skip
        return describe_fault(fault, self._objective, self._draw, self._steps)


def train(
    model: keras.Model, head: Head, draw: Draw, spec: TrainingSpec, *, on_step: OnStep | None = None, **options: Any
) -> Training:
    """Trains the model in place, and returns what there is to tell of it; see `Training` for arguments and errors.

    >>> from forecast_kit.nn.heads import PointHead
    >>> from forecast_kit.nn.networks import Recurrent, Shapes, build_network
    >>> head, shapes = PointHead("mae"), Shapes(input_length=12, horizon=2, season_length=4)
    >>> model = build_network(Recurrent(units=4), shapes, head, seed=1)
    >>> def draw(k):
    ...     y = np.random.default_rng(k).normal(size=(16, 14)).astype("float32").cumsum(axis=1)
    ...     inputs = {"past_y": y[:, :12], "past_observed": np.ones((16, 12), "float32")}
    ...     return inputs, y[:, 12:, None], np.ones((16, 2), "float32")
    >>> before = model.get_weights()[0]
    >>> train(model, head, draw, TrainingSpec(steps=2, batch_size=16)).step
    2
    >>> bool((model.get_weights()[0] != before).any())
    True
    """
    training = Training(model, head, draw, spec, on_step=on_step, **options)
    training.run()
    return training


def apply(model: keras.Model, batch: Batch, size: int = 1024, *, compiled: bool = False) -> Floats:
    """`[N, H, K]` the network's output, `size` windows at a time.

    Called directly, unless it is to be compiled: that would be done anew for every model, to be used once.

    Args:
        model: from `build_network`.
        batch: its inputs by name, `[N, ...]` each.
        size: windows at a time.
        compiled: whether the network is going to be used many times. It is compiled for batches of a few sizes then,
            up to four times `size`, and batches are filled up to the next one.

    >>> from forecast_kit.nn.heads import PointHead
    >>> from forecast_kit.nn.networks import Recurrent, Shapes, build_network
    >>> head, shapes = PointHead("mae"), Shapes(input_length=12, horizon=2, season_length=4)
    >>> model = build_network(Recurrent(units=4), shapes, head, seed=1)
    >>> batch = {"past_y": np.ones((3, 12), "float32"), "past_observed": np.ones((3, 12), "float32")}
    >>> apply(model, batch).shape
    (3, 2, 1)
    """
    count = len(next(iter(batch.values())))
    if compiled:
        return _apply_compiled(model, batch, 4 * size, count)
    parts = [
        model({name: array[k : k + size] for name, array in batch.items()}, training=False)
        for k in range(0, count, size)
    ]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in parts]).astype(np.float64)


def _apply_compiled(model: keras.Model, batch: Batch, most: int, count: int) -> Floats:
    """See `apply`; of `count` windows, at most so many at a time."""
    parts, k = [], 0
    while k < count:
        width = _width(count - k, most)
        part = {name: array[k : k + width] for name, array in batch.items()}
        given = min(width, count - k)
        if given < width:
            part = {name: np.pad(a, [(0, width - given), *[(0, 0)] * (a.ndim - 1)], "edge") for name, a in part.items()}
        with traced_once():
            parts.append(model.predict_on_batch(part)[:given])
        k += given
    return np.concatenate(parts).astype(np.float64)


def _width(left: int, most: int) -> int:
    """The size of the next batch: a power of two, so that few are compiled, of which at most a quarter is filling.

    >>> [_width(left, 4096) for left in (9000, 4000, 2500, 600, 40)]
    [4096, 4096, 2048, 512, 64]
    """
    above = max(_LEAST_COMPILED, 1 << (left - 1).bit_length())
    return min(most, above if above == _LEAST_COMPILED or left > 0.75 * above else above // 2)


class _Watch(keras.callbacks.Callback):
    """Looks at the loss every few steps, and ends the training where it is no longer a number.

    Args:
        begin, end: the steps that are done.
        reach: called with the step, the mean loss of the round so far, and this.
    """

    def __init__(self, begin: int, end: int, reach: Callable[[int, float, _Watch], None]) -> None:
        super().__init__()
        self._begin, self._end, self._reach = begin, end, reach
        self.step, self.is_sound = begin, True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.step = min(self._begin + batch + 1, self._end)  # Keras counts the last, shorter execution as a whole one
        loss = float((logs or {})["loss"])
        if math.isfinite(loss):
            self._reach(self.step, loss, self)
        else:
            self.end(sound=False)

    def bring_back(self) -> None:
        """Has JAX give the weights back, and begins a new round of losses."""
        self.model.reset_metrics()  # it is asking for the model that does it

    def end(self, *, sound: bool = True) -> None:
        """No step after this one."""
        self.is_sound = sound
        self._model.stop_training = True
