"""From a panel to what a network is trained on, and from there to the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from forecast_kit.core.forecaster import FitCallback, FitProgress
from forecast_kit.data.columns import positions
from forecast_kit.data.covariates import CovariateEncoder
from forecast_kit.data.panel import Panel
from forecast_kit.data.transforms import Pipeline
from forecast_kit.data.windows import WindowIndex, WindowReport, WindowSpec
from forecast_kit.errors import ArgumentError, DataError, nearest
from forecast_kit.models.loader import WindowLoader, cut_windows
from forecast_kit.models.paths import learn_dependence, pit
from forecast_kit.models.validation import Parts
from forecast_kit.nn.feeding import Example
from forecast_kit.nn.heads import Head
from forecast_kit.nn.networks import Shapes
from forecast_kit.nn.training import Checkpoint, Training, TrainingSpec, apply, frozen, on_devices
from forecast_kit.typing import Floats

_FEW = 32  # windows whose quantiles are held at a time: a distribution has a hundred of every step
_TOGETHER = 256  # held-out windows that are judged together: what a long window takes on its way is many times itself


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
    head: Head,
    covariates: CovariateEncoder | None = None,
    ids: np.ndarray | None = None,
) -> Prepared:
    """All of it; what is learned here is learned from the training part alone.

    Args:
        parts: the panel, and what of it is held out.
        windows: the shape of the windows to train on.
        transform: not fitted.
        training: batch size and seed.
        head: of the network; it says which targets there may be.
        covariates: an encoder from an earlier training; by default a new one is fitted.
        ids: of the series that the network knows by number; None for a network that does not ask.

    Raises:
        TooShortError, DataError: there is no window to train on, or none to judge by.
        DataError: a target, transformed, is none that the head can have.
    """
    train, spec = parts.train, windows
    transformed = transform.fit(train).transform(train)
    whole = transformed if parts.whole is train else transform.transform(parts.whole)
    check_targets(whole, head)  # first, for it names every series where the end of each is held out
    check_targets(transformed, head)
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
    held = _held_windows(parts, spec, whole, encoder, ids)
    return Prepared(
        transform, encoder, known, shapes, loader, held, index.report(), parts.report(spec.horizon, spec.stride)
    )


def _held_windows(
    parts: Parts, spec: WindowSpec, whole: Panel, encoder: CovariateEncoder, ids: np.ndarray | None
) -> tuple[Example, ...]:
    """The windows to judge by, in batches; none where nothing is held out. `whole` is the parts' own, transformed."""
    series, origin = parts.windows(spec.horizon, spec.stride)
    if not len(series):
        return ()
    encoded, y, calendar = encoder.transform(whole), whole.y.astype(np.float32), encoder.calendar(parts.whole, 0)
    numbers = _numbers(ids, parts.whole)
    batches = tuple(
        cut_windows(encoded, y, series[k : k + _TOGETHER], origin[k : k + _TOGETHER], spec, calendar=calendar,
                    numbers=numbers)
        for k in range(0, len(series), _TOGETHER)
    )  # fmt: skip
    if not any(weight.any() for _, _, weight in batches):
        raise DataError("no target was observed in what is held out for validation; hold out more, or nothing")
    return batches


def check_targets(panel: Panel, head: Head) -> None:
    """Refuses observed targets that the head cannot have: its loss would be that of others, and spoil all series.

    Args:
        panel: transformed.
        head: see `Head.admits`.

    Raises:
        DataError: there are some; it names the series.
    """
    bad = panel.observed & ~head.admits(panel.y)
    if not bad.any():
        return
    counts, rows = (np.add.reduceat(x, panel.indptr[:-1], dtype=np.int64) for x in (bad, panel.observed))
    at = np.flatnonzero(counts)
    some = ", ".join(f"{panel.ids[k : k + 1].tolist()[0]!r} ({counts[k]:,} of {rows[k]:,})" for k in at[:5])
    more = f" and {len(at) - 5:,} more" if len(at) > 5 else ""
    negative = bool((panel.y[bad] < 0.0).any())
    cure = ("head='quantile' or 'student_t'" if negative else
            "head='negative_binomial' for counts, or head='quantile' with transform=['log1p', 'standard']")  # fmt: skip
    raise DataError(
        f"{type(head).__name__} needs targets {'above 0' if head.support == 'positive' else 'of 0 and above'}; "
        f"{len(at):,} of {len(panel):,} series have {'some below 0' if negative else 'zeros'}: {some}{more}. "
        f"Take {cure}; or drop these series"
    )


def usual_input_length(season_length: int, horizon: int) -> int:
    """The input length where none is given: three seasons or two horizons, in whole seasons; a week of daily seasons.

    >>> usual_input_length(12, 18), usual_input_length(24, 48), usual_input_length(1, 6)
    (36, 168, 12)
    """
    m = season_length
    seasons = max(-(-2 * horizon // m), 3)
    return m * max(seasons, 7 if 24 <= m <= 96 else 1)


def season_before(windows: WindowSpec, panel: Panel, held_out: int) -> WindowSpec:
    """Windows with at least a season of history, where the series are long enough to ask for it.

    Args:
        windows: with any `min_history`.
        panel: to train on.
        held_out: horizons at the end of its series that are not trained on.
    """
    longest = int(panel.lengths.max()) - (1 + held_out) * windows.horizon
    return replace(windows, min_history=max(1, min(panel.season_length, longest)))


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
        dependence: `[H, H]` how the steps of a window went together, see `step_dependence`.
    """

    model: Any
    ready: Prepared
    training: Training
    report: str
    dependence: Floats


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
        told_of = _told_of(training, ready, names)
        learned = Learned(model, ready, training, told_of, step_dependence(model, head, ready))
    else:
        again = f"trained again on everything for {training.step:,} steps"
        learned = Learned(model, ready, after.training, f"{after.report}\n{again}", after.dependence)
    if interrupt is None or after is None:
        keep(learned)
    if interrupt is not None:
        raise interrupt
    return learned


def spread_levels(head: Head) -> tuple[float, ...]:
    """The levels between which the distribution of a step is known; empty where the head says nothing of it."""
    if not head.spread or len(head.levels) == 1:
        return ()
    return head.levels or (0.001, 0.005, *(k / 100 for k in range(1, 100)), 0.995, 0.999)


def step_dependence(model: Any, head: Head, ready: Prepared) -> Floats:
    """`[H, H]` the correlation of the steps of a window, as `learn_dependence` has it.

    Learned from up to 512 windows that are held out, and where there are none from drawn ones that were trained
    on. Where nothing is known of how sure the forecasts are, or was observed, the steps are taken as independent.
    """
    levels = spread_levels(head)
    if not levels:
        return np.eye(ready.shapes.horizon)
    spread_out = ready.held[:: max(1, -(-len(ready.held) // 2))]  # two batches, not both of the first series
    found: list[Floats] = []
    # Many windows at once: what a network costs outside training, it costs a call and hardly a window.
    for inputs, target, weight in spread_out or (replace(ready.loader, batch_size=2 * _TOGETHER)(0),):
        y, params = np.where(weight > 0, target[:, :, 0], np.nan).astype(np.float64), apply(model, inputs)
        for k in range(0, len(y), _FEW):
            quantiles = head.quantile(params[k : k + _FEW], levels)
            sound = np.isfinite(quantiles).all(axis=(1, 2))  # a wild series may have a forecast beyond all numbers
            found.append(pit(y[k : k + _FEW][sound], quantiles[sound], levels))
    scores = np.concatenate(found)
    return learn_dependence(scores) if np.isfinite(scores).any() else np.eye(ready.shapes.horizon)


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


def checkpoints(
    folder: Path, panel: Panel, validation: Panel | None, forecaster: Mapping[str, Any]
) -> dict[str, Checkpoint]:
    """The files in which a first training (`first`) and one after it (`again`) leave their state.

    Args:
        folder: where.
        panel, validation: what is trained on and judged by.
        forecaster: its description. What it shows of its progress makes no difference.
    """
    training = {key: value for key, value in forecaster["training"].items() if key != "progress"}
    identity = {
        "panel": panel.digest, "validation": None if validation is None else validation.digest,
        "forecaster": {**forecaster, "training": training},
    }  # fmt: skip
    return {name: Checkpoint(folder / f"{name}.npz", identity) for name in ("first", "again")}


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
