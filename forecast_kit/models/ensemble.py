"""Combinations of forecasters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from forecast_kit.core.forecast import Prediction
from forecast_kit.core.forecaster import FitCallback, Forecaster
from forecast_kit.core.splits import RollingOrigin
from forecast_kit.data.columns import positions
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, name_some, nearest
from forecast_kit.models.naive import check_positive
from forecast_kit.models.nested import (
    Progress,
    common_horizon,
    forecast_fold,
    learned_levels,
    load_all,
    long_enough,
    moved_on,
    named,
    packages_of,
    save_all,
    say_who,
    total_costs,
    within,
)
from forecast_kit.typing import Floats, Ints

Combine = Literal["mean", "median", "inverse_error"]


class Ensemble(Forecaster):
    """Several forecasters combined: each number is the mean, or the median, of what the members say.

    `y_(T+h|T) = sum_m w_m y_(T+h|T)(m)`, and the same for every quantile: quantiles of one level are averaged, not
    probabilities (Vincentization), which keeps the shape and the width of the members' distributions and never
    crosses. With `"mean"` the weights are `1 / M`; with `"median"` the middle of the members is taken, step by step
    and level by level; with `"inverse_error"` weights are learned for each series on folds inside the training part,
    proportional to `1 / MAE` (see `inverse_weights`), and members are then fitted again on all of it.

    Members fail by name, and none is left out silently. Where one fell back on a series, `fallback` names it and what
    stood in, `"ETS: SeasonalNaive"`. Series that were not there at fit are for the members to forecast or to
    refuse; their weights are the panel's.

    A fit costs that of all members, with `"inverse_error"` `folds + 1` times.

    Args:
        members: the forecasters by name, or in a sequence; each one that was built, its class's name, or a mapping
            that describes it, such as `{"forecaster": "ETS", "trend": "damped"}`. Where a member may stand, or in
            place of all, `{"base": forecaster, "vary": {"training__seed": [0, 1, 2], "input_length": [96, 168]}}`
            stands for every combination, see `forecast_kit.models.variations`.
        combine: `"mean"`, `"median"` or `"inverse_error"`.
        folds: origins from which to learn weights.
        step: steps from one origin to the next; by default the horizon.
        horizon: steps ahead where `predict` is not told, and those that weights are learned for; by default the
            one that members have.

    Attributes:
        members_: the fitted members by name.
        weights_: `[N, M]` how much each member counts in each series; equal for mean and median.

    Raises:
        ArgumentError: there is no member, an argument is out of range, or no horizon is known to learn weights for.
        TooShortError: no series is long enough to learn weights.

    Source: Bates and Granger, The Combination of Forecasts, 1969; of quantiles, Lichtendahl, Grushka-Cockayne and
    Winkler, Is It Better to Average Probabilities or Quantiles?, Management Science 59, 2013; of how well plain
    combinations do, Makridakis, Spiliotis and Assimakopoulos, The M4 Competition, 2020.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> model = Ensemble(["SeasonalNaive", "Drift"], combine="inverse_error", horizon=12).fit(panel)
    >>> model.weights_.round(2)
    array([[0.6, 0.4]])
    >>> model.predict(levels=(0.1, 0.9)).quantiles.shape
    (1, 12, 2)
    """

    def __init__(
        self,
        members: Mapping[str, Any] | Sequence[Any],
        *,
        combine: Combine = "mean",
        folds: int = 2,
        step: int | None = None,
        horizon: int | None = None,
    ) -> None:
        if combine not in get_args(Combine):
            raise ArgumentError(f"combine must be one of {name_some(get_args(Combine))}; got {combine!r}."
                                f"{nearest(str(combine), get_args(Combine))}")  # fmt: skip
        check_positive(step=step, horizon=horizon)
        RollingOrigin(1, folds=folds)  # refuses a number of folds that is none
        self.members, self.combine, self.folds, self.step = members, combine, folds, step
        self._members = named(members)
        self.horizon = common_horizon(self._members, horizon)
        self.packages = packages_of(type(self).packages, self._members.values())
        self.members_: dict[str, Forecaster] = {}
        self.ids_: np.ndarray = np.empty(0, np.str_)
        self.weights_: Floats = np.empty((0, len(self._members)))
        self.panel_weights_: Floats = np.empty(len(self._members))

    @property
    def context_length(self) -> int:
        """The longest of the members'."""
        return max(member.context_length for member in (self.members_ or self._members).values())

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels within the reach of every member that learned certain ones; empty where none did."""
        learned = [levels for member in self._members.values() if (levels := learned_levels(member))]
        low, high = max((q[0] for q in learned), default=0.0), min((q[-1] for q in learned), default=1.0)
        return tuple(sorted({q for levels in learned for q in levels if low <= q <= high}))

    @property
    def reach(self) -> int | None:
        """The shortest of the members'."""
        return min((steps for member in self.members_.values() if (steps := member.reach) is not None), default=None)

    @property
    def uses_future(self) -> bool:
        """Whether they change those of any member."""
        return any(member.uses_future for member in self.members_.values())

    @property
    def fit_report(self) -> str:
        """The members' reports, each after its name."""
        reports = {name: member.fit_report for name, member in self.members_.items()}
        return "\n".join(f"{name}: {report}" for name, report in reports.items() if report)

    @property
    def costs(self) -> dict[str, float]:
        """Those of the members together."""
        return total_costs(self.members_.values())

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        count = len(self._members)
        rounds = self.folds + 1 if self.combine == "inverse_error" else 1
        progress = Progress(callbacks, rounds * count)
        self.ids_, self.panel_weights_ = panel.ids, np.full(count, 1.0 / count)
        self.weights_ = np.tile(self.panel_weights_, (len(panel), 1))
        if self.combine == "inverse_error":
            self._learn_weights(panel, progress)
        self.members_ = {}
        for name, member in self._members.items():
            with within(name):
                self.members_[name] = member.clone().fit(panel)
            progress.one_more()

    def _learn_weights(self, panel: Panel, progress: Progress) -> None:
        if self.horizon is None:
            raise ArgumentError("weights are learned for a number of steps ahead, and no member has a horizon; "
                                "give horizon=")  # fmt: skip
        splitter = RollingOrigin(self.horizon, folds=self.folds, step=self.step)
        part = long_enough(panel, splitter, "combine='inverse_error'")
        total, count = np.zeros((len(part), len(self._members))), np.zeros((len(part), 1))
        for fold in splitter.split(part):
            count += fold.observed.sum(axis=1, keepdims=True)
            for k, (name, member) in enumerate(self._members.items()):
                with within(f"{name}, fold {fold.number}"):
                    mean = forecast_fold(member, fold).mean
                total[:, k] += np.where(fold.observed, np.abs(fold.y - mean), 0.0).sum(axis=1)
                progress.one_more()
        errors = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        own, self.panel_weights_ = inverse_weights(errors)
        at = panel.locate(part.ids)
        self.weights_ = np.tile(self.panel_weights_, (len(panel), 1))
        self.weights_[at] = own

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        done = []
        for name, member in self.members_.items():
            with within(name):
                done.append(member.predict(horizon, levels=levels, history=history, future=future))
        means = np.stack([forecast.mean for forecast in done])  # [M, N, H]
        quantiles = np.stack([forecast.quantiles for forecast in done])  # [M, N, H, Q]
        names = list(self.members_)
        fallback = say_who(names, [forecast.fallback for forecast in done])
        reason = say_who(names, [forecast.reason for forecast in done])
        if self.combine == "median":
            return Prediction(np.median(means, axis=0), np.median(quantiles, axis=0), fallback, reason)
        weights = self._weights(history)
        mean = np.einsum("nm,mnh->nh", weights, means)
        # Sums are rounded: equal quantiles of two levels must not cross by the last digit.
        combined = np.maximum.accumulate(np.einsum("nm,mnhq->nhq", weights, quantiles), axis=2)
        return Prediction(mean, combined, fallback, reason)

    def _weights(self, history: Panel) -> Floats:
        at: Ints = positions(self.ids_, history.ids)
        return np.where((at >= 0)[:, None], self.weights_[at], self.panel_weights_)

    def _take_in(self, panel: Panel) -> Panel:
        moved = {}
        for name, member in self.members_.items():
            with within(name):
                moved[name] = moved_on(member, panel)
        self.members_ = moved
        return super()._take_in(panel)

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        save_all(self.members_.values(), folder)
        arrays = {"ids": self.ids_, "weights": self.weights_, "panel_weights": self.panel_weights_}
        return {"members": list(self.members_)}, arrays

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        names = values["members"]
        self.members_ = dict(zip(names, load_all(folder, len(names)), strict=True))
        self.ids_, self.weights_, self.panel_weights_ = arrays["ids"], arrays["weights"], arrays["panel_weights"]


def inverse_weights(errors: Floats) -> tuple[Floats, Floats]:
    """`[N, M]` the weights of each series, `w_m = (1 / e_m) / sum_k (1 / e_k)`, and `[M]` those of the panel.

    The panel's are made of relative errors, `e_m / mean_k(e_k)` averaged over series, so that large series do not
    count more. A series gets them where nothing of it was observed or all errors are 0. An error counts as at least a
    hundredth of the largest one of its series, so that a member that was exactly right for a while does not stand
    alone.

    Args:
        errors: `[N, M]` mean absolute errors, NaN where there is none.

    >>> own, panel = inverse_weights(np.array([[1.0, 3.0], [0.0, 0.0]]))
    >>> own.tolist(), panel.tolist()
    ([[0.75, 0.25], [0.75, 0.25]], [0.75, 0.25])
    """
    some = np.isfinite(errors).all(axis=1) & (errors > 0).any(axis=1)
    if not some.any():
        equal = np.full(errors.shape[1], 1.0 / errors.shape[1])
        return np.tile(equal, (len(errors), 1)), equal
    largest = errors[some].max(axis=1, keepdims=True)
    known = np.maximum(errors[some] / largest, 0.01)  # in units of the largest, errors of any size have an inverse
    relative = (known / known.mean(axis=1, keepdims=True)).mean(axis=0)
    panel = (1.0 / relative) / (1.0 / relative).sum()
    own = np.tile(panel, (len(errors), 1))
    own[some] = (1.0 / known) / (1.0 / known).sum(axis=1, keepdims=True)
    return own, panel
