"""Backtests: every forecaster fitted and judged on the same folds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.core.forecast import check_levels, level_column
from forecast_kit.core.forecaster import FitProgress, Forecaster
from forecast_kit.core.splits import Fold, RollingOrigin
from forecast_kit.data.panel import Panel
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.errors import ArgumentError, name_some, nearest
from forecast_kit.evaluation import metrics


@dataclass(frozen=True)
class BacktestProgress:
    """What a backtest is doing: this model, in this fold, so far in its fit."""

    model: str
    fold: int
    folds: int
    fit: FitProgress | None
    finished: bool = False


@dataclass(frozen=True, eq=False)
class Backtest:
    """Every forecast of a backtest beside what came true. Data, not behaviour.

    Attributes:
        frame: long: `unique_id, ds, cutoff, fold, step, y, model, mean, q10, ...`; `y` is NaN where
            nothing was observed.
        scores: `model, fold, unique_id, mase, smape, mae`, and with levels `pinball` and `coverage`
            (of the widest interval); NaN where undefined.
        timings: `model, fold, fit_s, predict_s`.
        levels: the quantile probabilities that were asked for.
    """

    frame: pd.DataFrame
    scores: pd.DataFrame
    timings: pd.DataFrame
    levels: tuple[float, ...]

    @property
    def models(self) -> list[str]:
        """The forecasters' names, in the order given."""
        return list(dict.fromkeys(self.timings["model"]))

    @property
    def undefined(self) -> pd.DataFrame:
        """How many scores of each model are undefined (a constant training part, nothing observed)."""
        columns = [name for name in self.scores.columns if name not in ("model", "fold", "unique_id")]
        return self.scores[columns].isna().groupby(self.scores["model"], sort=False).sum()

    def leaderboard(self, baseline: str | None = None, *, metric: str = "mase") -> pd.DataFrame:
        """One row a model, best first.

        Scores are means over series and folds, undefined ones left out.

        Args:
            baseline: the model against which skill is told; none by default.
            metric: the score that ranks and from which skill is computed: `skill = 1 - s / s_baseline`,
                positive where the model is better than the baseline.

        Raises:
            ArgumentError: the baseline or the metric is not there.
        """
        measures = [name for name in self.scores.columns if name not in ("model", "fold", "unique_id")]
        if metric not in measures:
            raise ArgumentError(f"unknown metric {metric!r}; the backtest has {', '.join(measures)}."
                                f"{nearest(metric, measures)}")  # fmt: skip
        table = self.scores.groupby("model", sort=False)[measures].mean()
        if baseline is not None:
            if baseline not in table.index:
                raise ArgumentError(f"unknown baseline {baseline!r}; the backtest has {name_some(self.models)}")
            reference = float(table[metric].to_dict()[baseline])
            table.insert(measures.index(metric) + 1, "skill", 1.0 - table[metric] / reference)
        table = table.join(self.timings.groupby("model")[["fit_s", "predict_s"]].sum())
        table = table.sort_values(metric, kind="stable").reset_index()
        table.insert(0, "rank", np.arange(1, len(table) + 1))
        return table


def backtest(
    forecasters: Mapping[str, Forecaster],
    panel: Panel,
    splitter: RollingOrigin,
    *,
    levels: Sequence[float] = (),
    progress: Callable[[BacktestProgress], None] | None = None,
) -> Backtest:
    """Fits every forecaster anew in every fold and scores its forecasts: no side effects.

    The forecasters themselves stay as they are: clones are fitted. Scalers and everything else that
    learns sees the fold's training part alone.

    Args:
        forecasters: by the name they shall have in the tables.
        panel: the data.
        splitter: the folds.
        levels: quantile probabilities to forecast and score.
        progress: called as the work goes on.

    Raises:
        ArgumentError: no forecaster was given.
        TooShortError: a series is too short for the folds.

    >>> from forecast_kit.models.naive import Naive, SeasonalNaive
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(12), "y": [1.0, 2, 3] * 4})
    >>> panel = Panel.from_frame(frame, freq=1, season_length=3)
    >>> result = backtest({"naive": Naive(), "snaive": SeasonalNaive()}, panel, RollingOrigin(3, folds=2))
    >>> result.leaderboard()[["model", "mae"]]
        model  mae
    0   naive  1.0
    1  snaive  0.0
    """
    if not forecasters:
        raise ArgumentError("backtest needs at least one forecaster, got none")
    checked = check_levels(levels)
    frames: list[pd.DataFrame] = []
    scores: list[pd.DataFrame] = []
    timings: list[dict[str, Any]] = []
    for fold in splitter.split(panel):
        scale = seasonal_error(fold.train, panel.season_length)
        for name, forecaster in forecasters.items():

            def report(fit: FitProgress, name: str = name, fold: Fold = fold) -> None:
                if progress is not None:
                    progress(BacktestProgress(name, fold.number, splitter.folds, fit))

            report(FitProgress(0, 1, {}))
            started = time.perf_counter()
            fitted = forecaster.clone().fit(fold.train, callbacks=(report,))
            fitted_at = time.perf_counter()
            forecast = fitted.predict(splitter.horizon, levels=checked, future=fold.future)
            done = time.perf_counter()
            timings.append(
                {
                    "model": name,
                    "fold": fold.number,
                    "fit_s": fitted_at - started,
                    "predict_s": done - fitted_at,
                }
            )
            frame = forecast.to_frame().assign(model=name)
            frame.insert(3, "fold", fold.number)
            frame.insert(4, "step", np.tile(np.arange(1, splitter.horizon + 1), len(forecast)))
            frame.insert(5, "y", np.where(fold.observed, fold.y, np.nan).ravel())
            frames.append(frame)
            scores.append(_scores(name, fold, forecast.mean, forecast.quantiles, checked, scale))
            if progress is not None:
                progress(BacktestProgress(name, fold.number, splitter.folds, None, finished=True))
    return Backtest(
        pd.concat(frames, ignore_index=True),
        pd.concat(scores, ignore_index=True),
        pd.DataFrame(timings),
        checked,
    )


def _scores(
    name: str,
    fold: Fold,
    mean: np.ndarray,
    quantiles: np.ndarray,
    levels: tuple[float, ...],
    scale: np.ndarray,
) -> pd.DataFrame:
    y, observed = fold.y, fold.observed
    columns: dict[str, Any] = {
        "model": name,
        "fold": fold.number,
        "unique_id": fold.train.ids,
        "mase": metrics.mase(y, mean, observed, scale),
        "smape": metrics.smape(y, mean, observed),
        "mae": metrics.mae(y, mean, observed),
    }
    if levels:
        columns["pinball"] = metrics.pinball(y, quantiles, observed, np.array(levels))
    if len(levels) > 1:
        columns["coverage"] = metrics.coverage(y, quantiles[:, :, 0], quantiles[:, :, -1], observed)
    return pd.DataFrame(columns)


__all__ = ["Backtest", "BacktestProgress", "backtest", "level_column"]
