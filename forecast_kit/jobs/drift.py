"""Whether inputs have moved: the population stability index of the last rows, beside what training saw of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from forecast_kit.data.panel import Panel
from forecast_kit.typing import Floats, Ints

_BINS = 10
_LEAST = 1e-4  # a share of zero would make the index infinite


def input_drift(panel: Panel, *, split: int, end: int, length: int) -> Mapping[str, float]:
    """How far each input has moved, as a multiple of the farthest that it ever moved in training.

    The index of a window of rows is `sum over bins (p - q) ln(p / q)`: p the window's shares of ten bins which training
    fills evenly, q those of training. A season moves inputs without any drift; therefore the last window's index is
    divided by the largest that a window of the same length had within training. Numbers are standardised by each
    series' training part; categories are bins themselves. NaN where there are too few rows to tell, such
    as less than a window since the training.

    Args:
        panel: what is known now.
        split: the first step after the training.
        end: the first step that is not known.
        length: of a window, in steps.

    Source: Siddiqi, Credit Risk Scorecards (2006), chapter 10, for the index.
    """
    steps, owner = panel.row_steps, np.repeat(np.arange(len(panel)), panel.lengths)
    recent = (steps >= end - length) & (steps < end) & (end - length >= split)
    trained = steps < split
    columns: dict[str, tuple[Floats, bool]] = {"y": (np.where(panel.observed, panel.y, np.nan), False)}
    for names, values in ((panel.schema.past, panel.past), (panel.schema.future, panel.future)):
        columns |= {name: (values[:, k], name in panel.categories) for k, name in enumerate(names)}
    window = (split - 1 - steps) // length  # of the rows of training, backwards from its end
    found = {}
    for name, (values, categorical) in columns.items():
        binned = values if categorical else _standard(values, owner, trained, len(panel))
        found[name] = _ratio(binned, window, trained, recent, categorical)
    return found


def _standard(values: Floats, owner: Ints, trained: np.ndarray, series: int) -> Floats:
    """`[R]` values less their series' mean in training, over its deviation there; as they are where it has none."""
    use = trained & np.isfinite(values)
    count = np.maximum(np.bincount(owner[use], minlength=series), 1)
    mean = np.bincount(owner[use], values[use], series) / count
    apart = values - mean[owner]
    deviation = np.sqrt(np.bincount(owner[use], apart[use] ** 2, series) / count)
    return apart / np.where(deviation > 0, deviation, 1.0)[owner]


def _ratio(values: Floats, window: Ints, trained: np.ndarray, recent: np.ndarray, categorical: bool) -> float:
    known = np.isfinite(values)
    trained, recent = trained & known, recent & known
    windows = int(window[trained].max()) + 1 if trained.any() else 0
    if windows < 2 or recent.sum() < _BINS:
        return float("nan")
    if categorical:
        edges = np.unique(values[trained])[1:]  # bins begin at each category
    else:
        edges = np.unique(np.quantile(values[trained], np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, values, side="right")
    size = len(edges) + 1
    shares = _shares(np.bincount(bins[trained], minlength=size)[None])[0]
    counts = np.zeros((windows, size))
    np.add.at(counts, (window[trained], bins[trained]), 1)
    full = counts.sum(axis=1) >= _BINS
    if not full.any():
        return float("nan")
    usual = _index(_shares(counts[full]), shares).max()
    now = _index(_shares(np.bincount(bins[recent], minlength=size)[None]), shares)[0]
    return float(now / usual) if usual > 0 else float("nan")


def _shares(counts: Floats | Ints) -> Floats:
    return np.maximum(counts / counts.sum(axis=1, keepdims=True), _LEAST)


def _index(shares: Floats, usual: Floats) -> Floats:
    """`[W]` the population stability index of each row of shares `[W, B]`."""
    return np.asarray(((shares - usual) * np.log(shares / usual)).sum(axis=1))
