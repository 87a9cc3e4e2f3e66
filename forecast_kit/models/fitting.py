"""From a panel to what a network is trained on, and from there to the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np

from forecast_kit.core.forecaster import FitCallback, FitProgress
from forecast_kit.data.covariates import CovariateEncoder
from forecast_kit.data.panel import Panel, positions
from forecast_kit.data.transforms import Pipeline
from forecast_kit.data.windows import WindowIndex, WindowReport, WindowSpec
from forecast_kit.errors import ArgumentError, DataError, nearest
from forecast_kit.models.loader import WindowLoader, cut_windows
from forecast_kit.models.validation import Parts
from forecast_kit.nn.feeding import Example
from forecast_kit.nn.heads import Head
from forecast_kit.nn.networks import Shapes
from forecast_kit.nn.training import Checkpoint, Training, TrainingSpec, frozen, on_devices


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a network is built for, trained on and judged by, and what goes with it from then on.

    Attributes:
        transform: of the target, fitted on the training part.
        covariates: their encoder.
        ids: of the series that the network knows by number; empty where it does not ask.
        shapes: the network's sizes.
        loader: of the windows to train on.
        held: windows to judge by.
        report: which windows there are.
        held_report: which are held out; empty where none are.
    """

    transform: Pipeline
    covariates: CovariateEncoder
    ids: np.ndarray
    shapes: Shapes
    loader: WindowLoader
    held: tuple[Example, ...]
    report: WindowReport
    held_report: str


def prepare(
    parts: Parts,
    windows: WindowSpec,
    transform: Pipeline,
    training: TrainingSpec,
    *,
    covariates: CovariateEncoder | None = None,
    ids: np.ndarray | None = None,
) -> Prepared:
    """All of it; what is learned here is learned from the training part alone.

    Args:
        parts: the panel, and what of it is held out.
        windows: the shape of the windows to train on.
        transform: not fitted.
        training: batch size and seed.
        covariates: an encoder from an earlier training; by default a new one is fitted.
        ids: of the series that the network knows by number; None for a network that does not ask.

    Raises:
        TooShortError, DataError: there is no window to train on, or none to judge by.
    """
    train, spec = parts.train, windows
    transformed = transform.fit(train).transform(train)
    index = WindowIndex(transformed, spec)
    encoder = CovariateEncoder().fit(train) if covariates is None else covariates
    loader = WindowLoader(
        encoder.transform(transformed), transformed.y.astype(np.float32), index, batch_size=training.batch_size,
        seed=training.seed, calendar=encoder.calendar(train, 0), numbers=_numbers(ids, train),
    )  # fmt: skip
    known = np.empty(0, np.int64) if ids is None else ids
    shapes = Shapes(
        spec.input_length, spec.horizon, train.season_length, **asdict(encoder.sizes(train)), series=len(known)
    )
    held = _held_windows(parts, spec, transform, encoder, ids)
    return Prepared(
        transform, encoder, known, shapes, loader, held, index.report(), parts.report(spec.horizon, spec.stride)
    )


def _held_windows(
    parts: Parts, spec: WindowSpec, transform: Pipeline, encoder: CovariateEncoder, ids: np.ndarray | None
) -> tuple[Example, ...]:
    """The windows to judge by, in one batch; none where nothing is held out."""
    series, origin = parts.windows(spec.horizon, spec.stride)
    if not len(series):
        return ()
    whole = transform.transform(parts.whole)
    inputs, target, weight = cut_windows(
        encoder.transform(whole), whole.y.astype(np.float32), series, origin, spec,
        calendar=encoder.calendar(parts.whole, 0), numbers=_numbers(ids, parts.whole),
    )  # fmt: skip
    if not weight.any():
        raise DataError("no target was observed in what is held out for validation; hold out more, or nothing")
    return ((inputs, target, weight),)


def usual_input_length(season_length: int, horizon: int) -> int:
    """The input length where none is given: three seasons or two horizons, in whole seasons; a week of daily seasons.

    >>> usual_input_length(12, 18), usual_input_length(24, 48), usual_input_length(1, 6)
    (36, 168, 12)
    """
    m = season_length
    seasons = max(-(-2 * horizon // m), 3)
    return m * max(seasons, 7 if 24 <= m <= 96 else 1)


def _numbers(ids: np.ndarray | None, panel: Panel) -> np.ndarray | None:
    """`[N]` the number that the network has for each series, from 1; 0 for one that it does not know."""
    return None if ids is None else (positions(ids, panel.ids) + 1).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Learned:
    """A trained network.

    Attributes:
        model: a `keras.Model`.
        ready: what it was trained on.
        training: what became of the training, of the one that was judged where there were two.
        report: that in words; empty where there is nothing to tell.
    """

    model: Any
    ready: Prepared
    training: Training
    report: str


def learn(
    build: Callable[[Shapes], Any],
    head: Head,
    ready: Prepared,
    spec: TrainingSpec,
    *,
    told: FitCallback,
    keep: Callable[[Learned], None],
    after: Learned | None = None,
    weights: Sequence[np.ndarray] | None = None,
    freeze: str | Sequence[str] = (),
    checkpoint: Checkpoint | None = None,
) -> Learned:
    """A trained network.

    Args:
        build: makes the network.
        head: that it is built with.
        ready: what it is trained on.
        spec: how.
        told: how far it has come.
        keep: takes the result, also where the training is interrupted.
        after: what a training has learned that found out how many steps are best; this one takes as many,
            and is only kept when it is through.
        weights: to begin with; by default those that the network is built with.
        freeze: layers that keep theirs.
        checkpoint: see `Training`.

    Raises:
        ArgumentError, TrainingError, KeyboardInterrupt: see `Training`.
    """
    first = None if after is None else after.training
    before, interrupt = 0 if first is None else first.step, None

    def on_step(step: int, logs: dict[str, float]) -> None:
        again = (training.best or training.total) if spec.refit else 0
        told(FitProgress(before + step, before + training.total + again, logs))

    with on_devices(spec):
        model = build(ready.shapes)
        if weights is not None:
            model.set_weights(weights)
        with frozen(model, freeze) as names:
            training = Training(
                model, head, ready.loader, spec, held=ready.held, on_step=on_step, checkpoint=checkpoint,
                steps=spec.total_steps(len(ready.loader.index)) if first is None else first.planned,
                until=None if first is None else first.best or first.step,
            )  # fmt: skip
            try:
                training.run()
            except KeyboardInterrupt as error:
                interrupt = error
    if spec.devices != 1:  # the copies on other devices have done their service
        shared, model = model, build(ready.shapes)
        model.set_weights(shared.get_weights())
    if after is None:
        learned = Learned(model, ready, training, _told_of(training, ready, names))
    else:
        again = f"trained again on everything for {training.step:,} steps"
        learned = Learned(model, ready, after.training, f"{after.report}\n{again}")
    if interrupt is None or after is None:
        keep(learned)
    if interrupt is not None:
        raise interrupt
    return learned


def _told_of(training: Training, ready: Prepared, names: Sequence[str]) -> str:
    """What became of a training, in lines."""
    lines = [ready.held_report] if ready.held_report else []
    if training.best is not None:
        lines.append(f"best after {training.best:,} steps, val_loss {training.curve[:, 2].min():.4g}")
    if training.step < training.planned:
        lines.append(f"ended after {training.step:,} of {training.planned:,} steps")
    if names:
        lines.append(f"not trained: {', '.join(names)}")
    return "\n".join(lines)


def peak_memory() -> float | None:
    """The most memory that this process has ever held, in MiB; None where the system does not say."""
    with suppress(ImportError):  # not on Windows
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
    return None


T = TypeVar("T", TrainingSpec, WindowSpec)


def as_spec(kind: type[T], value: T | Mapping[str, Any], base: T | None = None) -> T:
    """The spec, or the one that a mapping of its arguments describes; what it leaves out is as in the base.

    Raises:
        ArgumentError: it is neither, or an argument is unknown or refused.
    """
    if isinstance(value, kind):
        return value
    known = [field.name for field in fields(kind)]
    if not isinstance(value, Mapping):
        raise ArgumentError(
            f"expected {kind.__name__} or a mapping of its arguments ({', '.join(known)}), got {value!r}"
        )
    for key in value:
        if key not in known:
            raise ArgumentError(
                f"unknown key {key!r}; {kind.__name__} takes {', '.join(known)}.{nearest(str(key), known)}"
            )
    return kind(**value) if base is None else replace(base, **value)
