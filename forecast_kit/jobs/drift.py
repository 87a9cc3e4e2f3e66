"""Whether inputs have moved: the population stability index of the last rows, beside what training saw of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forecast_kit.data.panel import Panel
from forecast_kit.typing import Floats, Ints

_BINS = 10
_LEAST = 1e-4  # a share of zero would make the index infinite
LEAST_STEPS = 7  # since the training; a season where that is shorter
_STRETCHES = 4  # of the same length that training has room for: the farthest of fewer says little of what is usual


@dataclass(frozen=True)
class Moved:
    """How far an input has moved, as a multiple of the farthest that it ever moved in training.

    Attributes:
        value: NaN where it cannot be told.
        unjudged: why it cannot; empty where it was told.
    """

    value: float
    unjudged: str = ""


def input_drift(panel: Panel, *, split: int, end: int, length: int) -> Mapping[str, Moved]:
    """How far each input has moved since the training, as a multiple of the farthest that it ever moved in training.

    The index of a stretch of rows is `sum over bins (p - q) ln(p / q)`: p the stretch's shares of ten bins which
    training fills evenly, q those of training. A season moves inputs without any drift; therefore the index of the last
    stretch is divided by the largest that a stretch of the same length had within training. Numbers are standardised by
    each series' training part; categories are bins themselves.

    The last stretch is what has come since the training: at least `LEAST_STEPS` steps or a season, whichever is
    shorter, and at most `length` or a quarter of the training. It must hold ten values, and half as many as the end of
    the training: where most series are late, the others tell nothing of all. As long as it is shorter than `length` it
    is compared with the stretches of training wherever they begin, as it need not hold whole seasons, and is looked at
    often; then with those that follow each other.

    Args:
        panel: what is known now.
        split: the first step after the training.
        end: the first step that is not known.
        length: the most steps to look at.

    Source: Siddiqi, Credit Risk Scorecards (2006), chapter 10, for the index.
    """
    base, season = int(panel.start.min()), panel.season_length
    columns: dict[str, tuple[Floats, bool]] = {"y": (np.where(panel.observed, panel.y, np.nan), False)}
    for names, values in ((panel.schema.past, panel.past), (panel.schema.future, panel.future)):
        columns |= {name: (values[:, k], name in panel.categories) for k, name in enumerate(names)}
    span, since, least = split - base, max(end - split, 0), min(season, LEAST_STEPS, length)
    needed = max(_STRETCHES * least, season + least - 1)  # so that a stretch began at every step of a season
    if since < least:
        return dict.fromkeys(columns, _untold(f"not judged yet: {since} of {least} steps since the training"))
    if span < needed:
        return dict.fromkeys(columns, _untold(f"cannot be judged: the training saw {span} of {needed} steps needed"))
    asked, length = length, min(length, since, span // _STRETCHES, span - season + 1)
    starts = np.arange(span % length, span - length + 1, length) if length == asked else np.arange(span - length + 1)
    steps, owner = panel.row_steps, np.repeat(np.arange(len(panel)), panel.lengths)
    recent, trained = (steps >= end - length) & (steps < end), steps < split
    found = {}
    for name, (values, categorical) in columns.items():
        binned = values if categorical else _standard(values, owner, trained, len(panel))
        known = np.isfinite(binned)
        found[name] = _moved(
            binned, steps - base, trained & known, recent & known, starts=starts, length=length, categorical=categorical
        )
    return found


def _untold(why: str) -> Moved:
    return Moved(float("nan"), why)


def _standard(values: Floats, owner: Ints, trained: np.ndarray, series: int) -> Floats:
    """`[R]` values less their series' mean in training, over its deviation there; as they are where it has none."""
    use = trained & np.isfinite(values)
    count = np.maximum(np.bincount(owner[use], minlength=series), 1)
    mean = np.bincount(owner[use], values[use], series) / count
    apart = values - mean[owner]
    deviation = np.sqrt(np.bincount(owner[use], apart[use] ** 2, series) / count)
    return apart / np.where(deviation > 0, deviation, 1.0)[owner]


def _moved(
    values: Floats, at: Ints, trained: np.ndarray, recent: np.ndarray, *, starts: Ints, length: int, categorical: bool
) -> Moved:
    """How far the recent rows are from training, beside stretches of training that have about as many rows.

    Args:
        values, at: `[R]`, the second in steps from the first of training.
        trained, recent: `[R]` which rows are known and belong to training, or to the last stretch.
        starts: of the stretches of training, the last of which ends with it.
        length: of a stretch, in steps.
        categorical: whether values are categories.
    """
    span = int(starts[-1]) + length
    here, usual_rows = int(recent.sum()), int((trained & (at >= starts[-1])).sum())
    enough = max(_BINS, (usual_rows + 1) // 2)
    if here < enough:
        return _untold(f"not judged yet: {here} of {enough} values in the last {length} steps")
    if not trained.any():
        return _untold("cannot be judged: the training saw no value")
    if categorical:
        edges = np.unique(values[trained])[1:]  # bins begin at each category
    else:
        edges = np.unique(np.quantile(values[trained], np.linspace(0, 1, _BINS + 1)[1:-1]))
    size = len(edges) + 1
    bins = np.searchsorted(edges, values, side="right")
    counts = np.bincount(at[trained] * size + bins[trained], minlength=span * size).reshape(span, size)
    until = np.concatenate([np.zeros((1, size), counts.dtype), counts.cumsum(axis=0)])  # [span + 1, size]
    stretches = until[starts + length] - until[starts]
    stretches = stretches[stretches.sum(axis=1) >= max(_BINS, here / 2)]  # of fewer rows chance alone moves the shares
    if not len(stretches):
        return _untold(f"cannot be judged: no {length} steps of the training have half as many values")
    shares = _shares(counts.sum(axis=0)[None])[0]
    usual = _index(_shares(stretches), shares).max()
    now = _index(_shares(np.bincount(bins[recent], minlength=size)[None]), shares)[0]
    return (
        Moved(float(now / usual))
        if usual > 0
        else _untold("cannot be judged: more than nine in ten values of the training are the same")
    )


def _shares(counts: Floats | Ints) -> Floats:
    return np.maximum(counts / counts.sum(axis=1, keepdims=True), _LEAST)


def _index(shares: Floats, usual: Floats) -> Floats:
    """`[W]` the population stability index of each row of shares `[W, B]`."""
    return np.asarray(((shares - usual) * np.log(shares / usual)).sum(axis=1))
