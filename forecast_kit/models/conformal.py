"""Intervals that are calibrated on what a forecaster missed before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from forecast_kit.core.forecast import Prediction, check_levels
from forecast_kit.core.forecaster import FitCallback, Forecaster, as_forecaster
from forecast_kit.core.splits import RollingOrigin
from forecast_kit.data.columns import positions
from forecast_kit.data.panel import Panel
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.errors import ArgumentError, NotFittedError, TooShortError, name_some, nearest
from forecast_kit.models.conformal_scores import (
    USUAL_LEVELS,
    group_offsets,
    has_rank,
    interpolate,
    levels_in_use,
    offsets_by_step,
    outwards,
    own_scale,
    step_profile,
)
from forecast_kit.models.conformal_tracking import Tracking, judge_folds, judge_history, start
from forecast_kit.models.naive import check_positive
from forecast_kit.models.nested import (
    Progress,
    forecast_fold,
    learned_levels,
    load_all,
    long_enough,
    moved_on,
    packages_of,
    save_all,
    within,
)
from forecast_kit.typing import Bools, Floats, Ints

Method = Literal["split", "cqr", "adaptive"]


class Conformal(Forecaster):
    """Another forecaster, with intervals that are calibrated on its errors in a backtest.

    The forecaster is fitted at `folds` origins inside the training part and judged by what came after each, then
    fitted again on all of it: `folds + 1` fits. Its point forecasts stay as they are.

    - `"split"`: `Q_q = mean + s_i c_hq`, where `c_hq` is the conformal quantile (see `conformal_quantiles`) of
      the scores `(y - mean) / s_i` at step h. Takes point forecasts alone. The scale of a series `s_i` is its mean
      absolute seasonal step, times how much larger than elsewhere its errors were in other folds (`own_scale`): on
      the M4 hourly series that took the interval score (MSIS) of ETS from 22 to 12.
    - `"cqr"`: conformalised quantile regression: `Q_q = B_q + w c_hq`, where `B_q` is the forecaster's own quantile,
      w its own interval from 10 to 90 %, and `c_hq` the conformal quantile of `(y - B_q) / w`: each quantile is moved
      by itself, to keep the shape that a good forecaster gives its intervals.
    - `"adaptive"`: as `"split"`, and for each series the level in use moves with every actual that fell outside or
      inside (`adaptive_moves`), in the folds and then with `update`, or with the later rows of a `history`. Each
      forecast is remembered until all its steps have been judged; with known-future covariates, which lie ahead of
      an update, the forecast from its first row on is made again with those that came. For series that drift.

    Coverage is that of exchangeable scores: no less than promised, over all series together, as far as the past folds
    are like the time to come. Regimes that all series go through together, and a forecaster that was much worse with
    the shorter history of early folds, break that: folds near the end are better than many.

    Levels that are not calibrated lie between those that are as in a normal distribution; beyond the outermost they
    go to the outermost score, with `"cqr"` on with the forecaster's own quantiles. A level for which there are too few
    scores at a step (19 take 0.05) is calibrated on those of all steps, then takes the outermost.

    Args:
        base: any forecaster, or its name, or a mapping that describes it.
        method: `"split"`, `"cqr"` or `"adaptive"`.
        folds: origins to calibrate on.
        step: steps from one origin to the next; by default half the horizon.
        group: which series share their scores: `"panel"`, all; `"series"`, none; or a static column. Of a group the
            steps are taken together, each divided by the panel's mean absolute score; a level for which a group has
            too few forecasts, such as fewer than nine for 0.1, is the panel's.
        levels: quantile probabilities to calibrate, besides the usual ones or those that the forecaster learned.
        gamma: by how much a forecast moves the level in use; of `"adaptive"`. 0.05 brought the coverage of single
            series nearer to the promise at almost the same width; with more, intervals widen.
        horizon: steps ahead, to calibrate and where `predict` is not told; by default the forecaster's own.

    Attributes:
        base_: the fitted forecaster.
        levels_: `[J]` the levels that are calibrated.
        offsets_: `[H, J]` how much is added for each, in units of a series' scale, or with `"cqr"` of its interval.

    Raises:
        ArgumentError: an argument is out of range, no horizon is known, or the panel has no such static column.
        TooShortError: no series has a season of history before the first origin.

    Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; Lei et al., Distribution-Free
    Predictive Inference for Regression, 2018; Stankeviciute, Alaa and van der Schaar, Conformal Time-Series
    Forecasting, NeurIPS 2021 (steps); Romano, Patterson and Candès, Conformalized Quantile Regression, NeurIPS 2019,
    theorem 2 (each tail by itself), scaled as in Sesia and Candès 2020; Gibbs and Candès, Adaptive Conformal Inference
    Under Distribution Shift, 2021.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> model = Conformal("SeasonalNaive", folds=4, horizon=12).fit(panel)
    >>> model.predict(levels=(0.1, 0.9)).quantiles[0, 0].round(0)
    array([429., 482.])
    """

    def __init__(
        self,
        base: Any,
        *,
        method: Method = "split",
        folds: int = 3,
        step: int | None = None,
        group: str = "panel",
        levels: Sequence[float] = (),
        gamma: float = 0.05,
        horizon: int | None = None,
    ) -> None:
        if method not in get_args(Method):
            raise ArgumentError(f"method must be one of {name_some(get_args(Method))}; got {method!r}."
                                f"{nearest(str(method), get_args(Method))}")  # fmt: skip
        if not isinstance(group, str) or not group:
            raise ArgumentError(f"group must be 'panel', 'series' or a static column, got {group!r}")
        if isinstance(gamma, bool) or not isinstance(gamma, int | float) or not 0.0 < gamma < 1.0:
            raise ArgumentError(f"gamma must be a number between 0 and 1, got {gamma!r}")
        check_positive(step=step, horizon=horizon)
        RollingOrigin(1, folds=folds)  # refuses a number of folds that is none
        self.base = as_forecaster(base)
        self.method, self.folds, self.step, self.group = method, folds, step, group
        self.levels, self.gamma = check_levels(levels), gamma
        self.horizon = self.base.horizon if horizon is None else horizon
        self.packages = packages_of((*type(self).packages, "scipy"), [self.base])
        self.base_: Forecaster | None = None
        self.levels_: Floats = np.empty(0)
        self.offsets_: Floats = np.empty((0, 0))
        self.profile_: Floats = np.empty(0)
        self.ids_: np.ndarray = np.empty(0, np.str_)
        self.scale_: Floats = np.empty(0)
        self.relative_scale_ = 0.0
        self.groups_: list[Any] = []
        self.group_offsets_: Floats = np.empty((0, 0))
        self.tracking_: Tracking | None = None
        self._report = ""

    @property
    def name(self) -> str:
        """The forecaster's, and that it is calibrated."""
        return f"Conformal({self.base.name})"

    @property
    def context_length(self) -> int:
        """The forecaster's."""
        return (self.base_ or self.base).context_length

    @property
    def reach(self) -> int:
        """The steps that it is calibrated for."""
        return len(self.offsets_)

    @property
    def uses_future(self) -> bool:
        """Whether they change those of the forecaster."""
        return (self.base_ or self.base).uses_future

    @property
    def fit_report(self) -> str:
        """What was calibrated on what, then the forecaster's report."""
        theirs = self.base_.fit_report if self.base_ is not None else ""
        return "\n".join(text for text in (self._report, theirs) if text)

    @property
    def costs(self) -> dict[str, float]:
        """Those of the forecaster inside, of its last fit."""
        return {} if self.base_ is None else self.base_.costs

    # ---- calibration

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        splitter = self._splitter()
        part = long_enough(panel, splitter, "conformal calibration")
        labels = self._labels(panel)  # an unknown column is refused before the folds
        progress = Progress(callbacks, self.folds + 1)
        self.levels_ = self._calibrated_levels()
        self.ids_, self.scale_ = panel.ids, self._plain_scale(panel, learn=True)
        scores, apart = self._scores(part, panel.locate(part.ids), splitter, progress)
        self._calibrate(scores, [labels[k] for k in panel.locate(part.ids)])
        with within(self.base.name):
            self.base_ = self.base.clone().fit(panel)
        progress.one_more()
        self._report = self._tell(scores, len(panel) - len(part))
        if self.method == "adaptive":
            drift = judge_folds(scores, apart, self.levels_, self.gamma)
            self.tracking_ = start(panel, splitter.horizon, self.levels_, panel.locate(part.ids), drift)
            self.tracking_ = self._judged(panel, remember=True)

    def _splitter(self) -> RollingOrigin:
        if self.horizon is None:
            raise ArgumentError(f"{self.name} is calibrated for a number of steps ahead, and its forecaster has no "
                                f"horizon; give horizon=")  # fmt: skip
        return RollingOrigin(self.horizon, folds=self.folds, step=self.step or max(1, self.horizon // 2))

    def _calibrated_levels(self) -> Floats:
        theirs = learned_levels(self.base) if self.method == "cqr" else ()
        levels = check_levels([*(theirs or USUAL_LEVELS), *self.levels])
        if self.method != "cqr":
            return np.array([0.0, *levels, 1.0])
        if len(levels) < 2:
            raise ArgumentError(f"method='cqr' takes a forecaster of at least two levels, {self.base.name} "
                                f"learned {levels}; take method='split'")  # fmt: skip
        return np.array(levels)

    def _scores(self, part: Panel, at: Ints, splitter: RollingOrigin, progress: Progress) -> tuple[Floats, Bools]:
        """The scores `[F, N, H]`, of `"cqr"` `[F, N, H, J]`, NaN where there is none; and which folds are apart."""
        found, observed = [], False
        for fold in splitter.split(part):
            with within(f"{self.base.name}, fold {fold.number}"):
                forecast = forecast_fold(self.base, fold, self.levels_.tolist() if self.method == "cqr" else ())
            if self.method == "cqr":
                width = self._width(forecast.quantiles)[:, :, None]
                error, unit = fold.y[:, :, None] - forecast.quantiles, width
                seen = fold.observed[:, :, None]
            else:
                error, unit = fold.y - forecast.mean, self._plain_scale(fold.train)[:, None]
                seen = fold.observed
            found.append(np.divide(error, unit, out=np.full(error.shape, np.nan), where=seen & (unit > 0)))
            observed = observed or bool(fold.observed.any())
            progress.one_more()
        scores = np.stack(found)
        order = np.arange(self.folds)
        assert splitter.step is not None  # _splitter sets it
        apart = np.abs(order[:, None] - order) * splitter.step >= splitter.horizon
        if self.method != "cqr":
            by_fold, own = own_scale(scores, apart)
            scores = scores / by_fold[:, :, None]
            self.scale_[at] *= own
        # Series that never moved have no scale, and need none; any other must be calibrated on something.
        if not observed or (not np.isfinite(scores).any() and self.method != "cqr" and self.scale_.any()):
            raise TooShortError(f"{self.name} found nothing to calibrate on: in {self.folds} folds no actual was seen "
                                f"of a series that had moved; bring longer history, or take more folds")  # fmt: skip
        return scores, apart

    def _calibrate(self, scores: Floats, labels: list[Any]) -> None:
        """Offsets for every step from all scores, and for every group from its own."""
        steps, levels = scores.shape[2], self.levels_
        # The score of "cqr" is another for every level, and its unit grows with the steps already.
        each = [(slice(k, k + 1), scores[..., k]) for k in range(len(levels))] if self.method == "cqr" else [
            (slice(None), scores)]  # fmt: skip
        self.profile_ = np.ones(steps) if self.method == "cqr" else step_profile(scores)
        self.offsets_ = np.concatenate(
            [offsets_by_step(s.reshape(-1, steps), levels[at], self.profile_) for at, s in each], axis=1
        )
        self.groups_ = [] if self.group == "panel" else sorted(set(labels))
        place = {label: k for k, label in enumerate(self.groups_)}
        owner = np.array([place.get(label, 0) for label in labels])
        self.group_offsets_ = np.concatenate(
            [group_offsets(s / self.profile_, owner, len(place), levels[at]) for at, s in each], axis=1
        )

    def _plain_scale(self, panel: Panel, *, learn: bool = False) -> Floats:
        """`[N]` the mean absolute seasonal step, or the plain one where that is 0 or there is no season.

        A series of one value has the share of its size that others have.
        """
        scale = seasonal_error(panel, panel.season_length)
        scale = np.where(scale > 0, scale, seasonal_error(panel, 1))
        size = np.add.reduceat(np.abs(panel.y), panel.indptr[:-1]) / panel.lengths
        if learn:
            known = np.isfinite(scale) & (size > 0)
            self.relative_scale_ = float(np.median(scale[known] / size[known])) if known.any() else 0.0
        return np.where(np.isnan(scale), self.relative_scale_ * size, scale)

    def _width(self, quantiles: Floats) -> Floats:
        """`[N, H]` the forecaster's own interval between the calibrated levels that are nearest to 10 and 90 %."""
        low, high = (int(np.abs(self.levels_ - q).argmin()) for q in (0.1, 0.9))
        return quantiles[:, :, high] - quantiles[:, :, low]

    def _labels(self, panel: Panel) -> list[Any]:
        """The group of each series."""
        if self.group == "panel":
            return [0] * len(panel)
        if self.group == "series":
            return panel.ids.tolist()
        if self.group not in panel.schema.static:
            raise ArgumentError(
                f"group must be 'panel', 'series' or a static column of the panel, got {self.group!r}; it has "
                f"{name_some(panel.schema.static) or 'none'}.{nearest(self.group, panel.schema.static)}"
            )
        values = panel.static[:, panel.schema.static.index(self.group)]
        return panel.category(self.group, values).tolist() if self.group in panel.categories else values.tolist()

    def _tell(self, scores: Floats, short: int) -> str:
        first = scores if self.method != "cqr" else scores[..., 0]
        most, forecasts = int(np.isfinite(first).sum()), int(np.isfinite(first).any(axis=2).sum())
        inner = self.levels_[(self.levels_ > 0.0) & (self.levels_ < 1.0)]
        few, beyond = inner[~has_rank(forecasts, inner)].tolist(), inner[~has_rank(most, inner)].tolist()
        text = [f"calibrated on {most} errors: {self.folds} folds of {scores.shape[1]} series, {scores.shape[2]} steps"]
        if short:
            text.append(f"{short} series are too short for the folds and take the panel's scores")
        if few:
            text.append(f"{forecasts} forecasts tell little of the levels {name_some(few)}: those rest on all steps as "
                        f"one sample, but steps err together")  # fmt: skip
        if beyond:
            text.append(f"so few errors tell nothing of the levels {name_some(beyond)}, which get the outermost")
        return "; ".join(text)

    # ---- forecasts

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        assert self.base_ is not None  # predict has checked that we are fitted
        low, high = self.levels_[0], self.levels_[-1]
        outside = [q for q in levels if not low <= q <= high]
        asked = sorted({*self.levels_.tolist(), *outside}) if self.method == "cqr" and levels else []
        with within(self.base.name):
            done = self.base_.predict(horizon, levels=asked, history=history, future=future)
        wanted: Floats = np.array(levels)
        offsets = self._offsets(history)[:, :horizon]
        if not levels:
            quantiles = np.empty((*done.mean.shape, 0))
        elif self.method == "cqr":
            theirs = {q: done.quantiles[:, :, k] for k, q in enumerate(done.levels)}
            base = np.stack([theirs[q] for q in self.levels_.tolist()], axis=2)  # [N, H, J]
            width = self._width(base)[:, :, None]
            curve = outwards(base + width * offsets, self.levels_)
            quantiles = interpolate(curve, self.levels_, wanted[None])
            for k, q in enumerate(levels):  # beyond what is calibrated: as far out as the forecaster goes there
                if q < low:
                    quantiles[:, :, k] = curve[:, :, 0] - np.maximum(theirs[low] - theirs[q], 0.0)
                elif q > high:
                    quantiles[:, :, k] = curve[:, :, -1] + np.maximum(theirs[q] - theirs[high], 0.0)
        else:
            moved = self._in_use(history, wanted)
            scale = self._scale(history)[:, None, None]
            quantiles = done.mean[:, :, None] + scale * interpolate(offsets, self.levels_, moved)
        return Prediction(done.mean, quantiles, done.fallback, done.reason)

    def _offsets(self, history: Panel) -> Floats:
        """`[N, H, J]` the offsets of each series, or `[1, H, J]` of all alike."""
        if not self.groups_:
            return self.offsets_[None]
        place = {label: k for k, label in enumerate(self.groups_)}
        at = np.array([place.get(label, -1) for label in self._labels(history)])
        own = np.where((at >= 0)[:, None], self.group_offsets_[at], np.nan)[:, None]  # [N, 1, J]
        offsets = np.where(np.isnan(own), self.offsets_, own * self.profile_[:, None])
        # Those of "cqr" are in order with the forecaster's quantiles, not by themselves.
        return offsets if self.method == "cqr" else outwards(offsets, self.levels_)

    def _scale(self, history: Panel) -> Floats:
        """`[N]` that of the training part; of series never seen that of their history."""
        at = positions(self.ids_, history.ids)
        return self.scale_[at] if (at >= 0).all() else np.where(at >= 0, self.scale_[at], self._plain_scale(history))

    # ---- adaptive

    def _in_use(self, history: Panel, wanted: Floats) -> Floats:
        """`[N, Q]` the levels that stand for the wanted ones now, `[1, Q]` where they do not move."""
        if self.tracking_ is None:
            return wanted[None]
        drift = self._judged(history, remember=False).drift_of(history.ids)
        return self._moved(drift, wanted)

    def _moved(self, drift: Floats, wanted: Floats) -> Floats:
        """`[N, Q]` the wanted levels after a drift `[N, J]`, ascending with them."""
        in_use = levels_in_use(self.levels_, drift)
        return interpolate(in_use[:, None], self.levels_, wanted[None])[:, 0]

    def _judged(self, history: Panel, *, remember: bool) -> Tracking:
        """The tracking at the end of the history, with the forecast from there where it is to be remembered."""
        tracking, forecaster = self.tracking_, self.base_
        assert tracking is not None  # the callers
        assert forecaster is not None  # have checked

        def thresholds(known: Panel, mean: Floats, drift: Floats) -> Floats:
            levels = self._moved(drift, self.levels_)
            return mean[:, :, None] + self._scale(known)[:, None, None] * interpolate(
                self._offsets(known), self.levels_, levels
            )

        def forecast(known: Panel, future: Floats) -> Floats:
            return forecaster.predict(future.shape[1], history=known, future=future).mean

        return judge_history(tracking, history, self.gamma, thresholds, forecast, remember=remember)

    def _take_in(self, panel: Panel) -> Panel:
        if self.base_ is None:
            raise NotFittedError(f"{self.name} is not fitted; call fit(panel) first")
        with within(self.base.name):
            tracking = self._judged(panel, remember=True) if self.tracking_ is not None else None
            self.base_ = moved_on(self.base_, panel)
        self.tracking_ = tracking
        return super()._take_in(panel)

    # ---- artefact

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        assert self.base_ is not None  # save has checked that we are fitted
        save_all([self.base_], folder)
        arrays = {
            "levels": self.levels_, "offsets": self.offsets_, "profile": self.profile_, "ids": self.ids_,
            "scale": self.scale_, "group_offsets": self.group_offsets_,
        }  # fmt: skip
        values = {"groups": self.groups_, "relative_scale": self.relative_scale_}
        return values, arrays | (self.tracking_.arrays() if self.tracking_ is not None else {})

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        (self.base_,) = load_all(folder, 1)
        self.levels_, self.offsets_, self.profile_ = arrays["levels"], arrays["offsets"], arrays["profile"]
        self.ids_, self.scale_, self.group_offsets_ = arrays["ids"], arrays["scale"], arrays["group_offsets"]
        self.groups_, self.relative_scale_ = values["groups"], values["relative_scale"]
        if self.method == "adaptive":
            self.tracking_ = Tracking.from_arrays(arrays, self.ids_)
