"""Adaptive conformal inference: what became of the forecasts that were made, and the levels that follow from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from forecast_kit.data.columns import positions
from forecast_kit.data.panel import Panel
from forecast_kit.models.conformal_scores import (
    adaptive_moves,
    interpolate,
    levels_in_use,
    offsets_by_step,
    step_profile,
)
from forecast_kit.models.local import put
from forecast_kit.typing import Bools, Floats, Ints

Thresholds = Callable[[Panel, Floats, Floats], Floats]  # series, means [N, H], drift [N, J] -> [N, H, J]
MakeForecast = Callable[[Panel, Floats], Floats]  # history, future [N, H, K] -> means [N, H]


@dataclass(frozen=True, eq=False)
class Tracking:
    """For each series the levels in use, and the forecast that is under judgement.

    A forecast stays under judgement until all its steps have been seen; then the next one is made from there. So
    every step ahead is judged as often as any other, however few rows come at a time.

    Attributes:
        ids: `[N]`.
        levels: `[J]` the nominal levels.
        drift: `[N, J]` how far the levels in use are from them.
        origin, judged: `[N]` the stamps of the last row before the forecast, and of the last that was judged.
        mean: `[N, H]` the forecast, NaN where none is remembered.
        issued: `[N, J]` the drift when it was made.
    """

    ids: np.ndarray
    levels: Floats
    drift: Floats
    origin: np.ndarray
    judged: np.ndarray
    mean: Floats
    issued: Floats

    def drift_of(self, ids: np.ndarray) -> Floats:
        """`[n, J]` the drift of these series; none of those never seen."""
        at = positions(self.ids, ids)
        return np.where((at >= 0)[:, None], self.drift[at], 0.0)

    def arrays(self) -> dict[str, np.ndarray]:
        """What an artefact keeps; the ids and levels are kept already."""
        stamps = {"tracked_origin": self.origin, "tracked_judged": self.judged}
        calendar = self.origin.dtype.kind != "i"
        whole = {k: v.astype("datetime64[us]").astype(np.int64) if calendar else v for k, v in stamps.items()}
        return {"tracked_drift": self.drift, "tracked_mean": self.mean, "tracked_issued": self.issued,
                "tracked_calendar": np.array(calendar), **whole}  # fmt: skip

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], ids: np.ndarray) -> Tracking:
        """What `arrays` gave."""
        kind = "datetime64[us]" if arrays["tracked_calendar"] else "int64"
        return cls(
            ids, arrays["levels"], arrays["tracked_drift"], arrays["tracked_origin"].astype(kind),
            arrays["tracked_judged"].astype(kind), arrays["tracked_mean"], arrays["tracked_issued"],
        )  # fmt: skip


def start(panel: Panel, horizon: int, levels: Floats, at: Ints, drift: Floats) -> Tracking:
    """The end of the panel, where no forecast is remembered yet; the series at these places have drifted."""
    cutoff, none = panel.axis.stamps(panel.last), np.zeros((len(panel), len(levels)))
    nothing = np.full((len(panel), horizon), np.nan)
    return Tracking(panel.ids, levels, put(none, at, drift), cutoff, cutoff, nothing, none)


def judge_folds(scores: Floats, apart: Bools, levels: Floats, gamma: float) -> Floats:
    """`[N, J]` the drift that the folds call for, in time order.

    Each is judged as it would have been then: by offsets from, and at the levels moved by, the folds whose actuals
    all lay before it.

    Args:
        scores: `[F, N, H]`, earliest fold first.
        apart: `[F, F]` which folds share no actual.
        levels: `[J]`.
        gamma: by how much an actual moves a level.
    """
    moves = np.zeros((len(scores), scores.shape[1], len(levels)))
    for k in range(len(scores)):
        before = np.flatnonzero(apart[k, :k])
        if not len(before):
            continue
        past = scores[before]
        offsets = offsets_by_step(past.reshape(-1, past.shape[2]), levels, step_profile(past))
        in_use = levels_in_use(levels, moves[before].sum(axis=0))
        thresholds = interpolate(offsets[None], levels, in_use)
        moves[k] = gamma * adaptive_moves(scores[k], thresholds, np.isfinite(scores[k]), levels)
    return moves.sum(axis=0)


def judge_history(
    tracking: Tracking,
    history: Panel,
    gamma: float,
    thresholds: Thresholds,
    forecast: MakeForecast,
    *,
    remember: bool,
) -> Tracking:
    """The tracking at the end of the history: its rows after the last that was judged are judged, in time order.

    A forecast that ends within the rows is followed by one from its end. A series whose history leaves a hole after
    what was judged, or has no row from which to make the next forecast, is not judged.

    Args:
        tracking: up to now.
        history: series; those that are not tracked are left alone.
        gamma: by how much an actual moves a level.
        thresholds: what the quantiles of these means were, for every level, after this drift.
        forecast: the means of the steps after a history.
        remember: whether to make the forecast from the last row too, and to go on from there.
    """
    at = positions(tracking.ids, history.ids)
    if not (at >= 0).any():
        return tracking
    known, at = (history, at) if (at >= 0).all() else (history.take(history.ids[at >= 0]), at[at >= 0])
    ahead = np.arange(1, tracking.mean.shape[1] + 1)
    origin, judged = known.axis.steps(tracking.origin[at]), known.axis.steps(tracking.judged[at])
    drift, mean, issued = tracking.drift[at], tracking.mean[at], tracking.issued[at]
    # Known-future covariates end with the rows: nothing can be forecast from the last one.
    furthest = known.last if remember and not known.schema.future else known.last - 1
    hole = known.start > judged + 1
    while True:
        used_up = np.isnan(mean).all(axis=1) | (judged >= origin + len(ahead))
        due = used_up & (judged <= furthest) & (known.start <= judged)
        if due.any():
            mean[due] = _made(known, due, judged, ahead, forecast)
            origin, issued = np.where(due, judged, origin), np.where(due[:, None], drift, issued)
        steps = origin[:, None] + ahead  # [N, H]
        new = (steps > judged[:, None]) & (steps <= known.last[:, None]) & np.isfinite(mean) & ~hole[:, None]
        if not new.any():
            break
        rows = _rows(known, steps)
        moves = adaptive_moves(
            known.y[rows], thresholds(known, mean, issued), new & known.observed[rows], tracking.levels
        )
        drift = drift + gamma * moves
        judged = np.where(new.any(axis=1), np.minimum(known.last, origin + len(ahead)), judged)
    if remember:
        lost: Bools = np.logical_or(judged < known.last, bool(known.schema.future))
        judged = np.maximum(judged, known.last)
        origin, issued = np.where(lost, judged, origin), np.where(lost[:, None], drift, issued)
        mean[lost] = np.nan
        if lost.any() and not known.schema.future:
            mean[lost] = _made(known, lost, judged, ahead, forecast)
    return replace(
        tracking, drift=put(tracking.drift, at, drift), mean=put(tracking.mean, at, mean),
        issued=put(tracking.issued, at, issued), origin=put(tracking.origin, at, known.axis.stamps(origin)),
        judged=put(tracking.judged, at, known.axis.stamps(judged)),
    )  # fmt: skip


def _made(known: Panel, due: Bools, origin: Ints, ahead: Ints, forecast: MakeForecast) -> Floats:
    """The forecasts of the series that are due, `[n, H]`, from what was known then; covariates beyond the rows stay."""
    future = known.future[_rows(known, origin[:, None] + ahead)]
    return forecast(known.take(known.ids[due]).before(origin[due]), future[due])


def _rows(known: Panel, steps: Ints) -> Ints:
    """`[N, H]` the rows of these steps, the first or last one for steps that lie outside."""
    inside = np.clip(steps - known.start[:, None], 0, known.lengths[:, None] - 1)
    return known.indptr[:-1, None] + inside
