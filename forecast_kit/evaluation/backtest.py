"""What a backtest found: every forecast beside what came true, and the scores that follow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from forecast_kit.core.forecast import check_levels, level_column
from forecast_kit.errors import ArgumentError, DataError, name_some, nearest
from forecast_kit.evaluation.comparison import signed_rank
from forecast_kit.evaluation.scoring import METRICS, Rows, available, check_metrics, join, score

KEYS = ("model", "fold", "unique_id")
_FORMAT = 1
_PARTS = ("frame", "scales", "timings")
_SERIES_ENOUGH = 10  # to compare models by series alone, folds averaged


@dataclass(frozen=True, eq=False)
class Backtest:
    """Every forecast of a backtest beside what came true. Data, not behaviour.

    Attributes:
        frame: long: `unique_id, ds, cutoff, fold, step, y, model, mean, q10, ...`; `y` is NaN where
            nothing was observed. Rows of a model and fold stand together, series by series, step by step.
        scales: `fold, unique_id, absolute, squared`: the mean absolute and the mean squared seasonal
            difference of each series before the cutoff.
        timings: `model, fold, fit_s, predict_s, size_mb`; fit_s is 0 where a model was not fitted anew.
        levels: the quantile probabilities that were asked for.
        unfinished: `(model, fold)` that the time budget left no time for.

    >>> from forecast_kit import Naive, Panel, RollingOrigin, backtest
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(6), "y": [1.0, 2, 3, 4, 5, 6]}), freq=1)
    >>> result = backtest({"naive": Naive()}, panel, RollingOrigin(2))
    >>> result.frame[["cutoff", "step", "y", "mean"]].values.tolist()
    [[3.0, 1.0, 5.0, 4.0], [3.0, 2.0, 6.0, 4.0]]
    """

    frame: pd.DataFrame
    scales: pd.DataFrame
    timings: pd.DataFrame
    levels: tuple[float, ...]
    unfinished: tuple[tuple[str, int], ...] = ()

    @cached_property
    def models(self) -> list[str]:
        """The forecasters' names, in the order given."""
        return list(dict.fromkeys(self.timings["model"]))

    @cached_property
    def folds(self) -> list[int]:
        """The folds that every forecaster has finished: those that they are compared on."""
        missing = {fold for _, fold in self.unfinished}
        return [fold for fold in sorted(set(self.timings["fold"].tolist())) if fold not in missing]

    @cached_property
    def scores(self) -> pd.DataFrame:
        """`model, fold, unique_id` and every metric that the levels allow; NaN where undefined."""
        return self.score(available(len(self.levels)))

    def score(self, metrics: Iterable[str]) -> pd.DataFrame:
        """`model, fold, unique_id` and the metrics, see `forecast_kit.evaluation.scoring.METRICS`.

        Raises:
            ArgumentError: there is no such metric, or it needs more levels.
        """
        names = check_metrics(metrics, len(self.levels))
        tables = []
        for model, fold, ids, rows in self.blocks():
            tables.append(pd.DataFrame({"model": model, "fold": fold, "unique_id": ids, **score(rows, names)}))
        return pd.concat(tables, ignore_index=True)

    def by_step(self, metrics: Iterable[str] = ("mae",)) -> pd.DataFrame:
        """`model, step` and the metrics over all series and folds at that step of the horizon.

        Raises:
            ArgumentError: see `score`.

        >>> from forecast_kit import Drift, Panel, RollingOrigin, backtest, load
        >>> panel = Panel.from_frame(*load("air_passengers"))
        >>> result = backtest({"drift": Drift()}, panel, RollingOrigin(3, folds=4))
        >>> result.by_step(["mae", "bias"]).columns.tolist()
        ['model', 'step', 'mae', 'bias']
        """
        names = check_metrics(metrics, len(self.levels))
        parts: dict[str, list[Rows]] = {}
        for model, _, _, rows in self.blocks():
            parts.setdefault(model, []).append(rows)
        tables = []
        for model, blocks in parts.items():
            joined = join(blocks)
            found = score(joined.by_step(), names)
            tables.append(pd.DataFrame({"model": model, "step": np.arange(1, joined.y.shape[1] + 1), **found}))
        return pd.concat(tables, ignore_index=True)

    def summary(
        self,
        metrics: Iterable[str] | None = None,
        *,
        by: Literal["model", "fold"] = "model",
        how: Literal["mean", "median"] = "mean",
        weights: Mapping[Any, float] | None = None,
    ) -> pd.DataFrame:
        """The scores of all series as one number for each model, or each model and fold. Undefined ones are left out.

        Args:
            metrics: by default all.
            by: `"model"`, over the folds that all have finished, or `"fold"`.
            how: the mean or the median over series and folds.
            weights: of each series, for the mean, such as its turnover; all alike by default.

        Raises:
            ArgumentError: an argument is none of these, or a series has no weight.
        """
        chosen = available(len(self.levels)) if metrics is None else check_metrics(metrics, len(self.levels))
        if how not in ("mean", "median") or by not in ("model", "fold"):
            raise ArgumentError(f"how is 'mean' or 'median' and by is 'model' or 'fold'; got {how!r} and {by!r}")
        scores = self.scores
        if by == "model":
            scores = scores[scores["fold"].isin(self.folds)]
        keys = ["model"] if by == "model" else ["model", "fold"]
        values = scores[list(chosen)]
        if weights is None:
            return values.groupby([scores[key] for key in keys], sort=False).agg(how)
        if how != "mean":
            raise ArgumentError("weights are for how='mean'; leave one of them out")
        weight = scores["unique_id"].map(weights)
        if weight.isna().any():
            without = scores.loc[weight.isna(), "unique_id"].unique().tolist()
            raise ArgumentError(f"no weight is given for series {name_some(without)}")
        by_key = [scores[key] for key in keys]
        total = values.mul(weight, axis=0).groupby(by_key, sort=False).sum()
        return total / values.notna().mul(weight, axis=0).groupby(by_key, sort=False).sum()

    @property
    def undefined(self) -> pd.DataFrame:
        """How many scores of each model are undefined (a constant training part, nothing observed)."""
        names = [name for name in self.scores.columns if name not in KEYS]
        return self.scores[names].isna().groupby(self.scores["model"], sort=False).sum()

    def leaderboard(self, baseline: str | None = None, *, metric: str = "mase") -> pd.DataFrame:
        """One row a model, best first.

        Scores are means over series and over the folds that all models have finished, undefined ones left out.
        `p_best` tells how likely differences like those to the best model are if there is none: Wilcoxon's signed
        rank test over `losses(metric)`, corrected by Holm for the number of models; `p_baseline` likewise. NaN
        where fewer than two series can be compared. `owa` is the overall weighted average of the M4 competition,
        with the baseline in Naive2's place.

        Args:
            baseline: the model against which skill, `p_baseline` and `owa` are told; none by default.
            metric: the score that ranks and from which skill is computed: `skill = 1 - s / s_baseline`,
                positive where the model is better than the baseline.

        Raises:
            ArgumentError: the baseline or the metric is not there, or the metric does not rank.

        >>> from forecast_kit import Naive, Panel, RollingOrigin, SeasonalNaive, backtest, load
        >>> models = {"naive": Naive(), "seasonal": SeasonalNaive()}
        >>> result = backtest(models, Panel.from_frame(*load("air_passengers")), RollingOrigin(12, folds=3))
        >>> result.leaderboard(baseline="naive")[["rank", "model", "mase", "skill"]].round(2).values.tolist()
        [[1, 'seasonal', 1.21, 0.51], [2, 'naive', 2.47, 0.0]]
        """
        measures = list(available(len(self.levels)))
        if metric not in measures:
            raise ArgumentError(f"unknown metric {metric!r}; the backtest has {', '.join(measures)}."
                                f"{nearest(metric, measures)}")  # fmt: skip
        if METRICS[metric].better != "smaller":
            ranking = [name for name in measures if METRICS[name].better == "smaller"]
            raise ArgumentError(f"models cannot be ranked by {metric!r}; take one of {', '.join(ranking)}")
        table = self.summary()
        if baseline is not None:
            if baseline not in table.index:
                raise ArgumentError(f"unknown baseline {baseline!r}; the backtest has {name_some(self.models)}")
            reference = float(table[metric].to_dict()[baseline])
            table.insert(measures.index(metric) + 1, "skill", 1.0 - table[metric] / reference)
            relative = table[["smape", "mase"]] / table.loc[baseline, ["smape", "mase"]]
            table["owa"] = relative.mean(axis=1, skipna=False)
        losses = self.losses(metric)
        table["p_best"] = _p_values(losses, str(table[metric].idxmin())) if table[metric].notna().any() else np.nan
        if baseline is not None:
            table["p_baseline"] = _p_values(losses, baseline)
        timings = self.timings[self.timings["fold"].isin(self.folds)].groupby("model")
        table = table.join(timings[["fit_s", "predict_s"]].sum(min_count=1)).join(timings[["size_mb"]].last())
        table = table.sort_values(metric, kind="stable").reset_index()
        table.insert(0, "rank", np.arange(1, len(table) + 1))
        return table

    def losses(self, metric: str = "mase") -> pd.DataFrame:
        """A column for each model, a row for each series: what `forecast_kit.evaluation.comparison` takes.

        The mean over the folds that all have finished; with fewer than ten series a row for each series and fold.

        Raises:
            ArgumentError: there is no such metric.

        >>> from forecast_kit import Naive, Panel, RollingOrigin, SeasonalNaive, backtest, load
        >>> models = {"naive": Naive(), "seasonal": SeasonalNaive()}
        >>> result = backtest(models, Panel.from_frame(*load("hospital")).take(["T1", "T2"]), RollingOrigin(12))
        >>> result.losses("mase").shape
        (2, 2)
        """
        check_metrics([metric], len(self.levels))
        scores = self.scores[self.scores["fold"].isin(self.folds)]
        keys = ["unique_id"] if scores["unique_id"].nunique() >= _SERIES_ENOUGH else ["unique_id", "fold"]
        means = scores.groupby([*keys, "model"], sort=False)[metric].mean()
        return means.unstack("model")[self.models]  # noqa: PD010 - pivot_table drops what is NaN throughout

    def blocks(self) -> Iterator[tuple[str, int, np.ndarray, Rows]]:
        """Model, fold, `[N]` series and their rows, in the order of the frame.

        Raises:
            DataError: the frame is not in the order that it was made in.
        """
        if not len(self.frame):
            return
        step = self.frame["step"].to_numpy()
        horizon = int(step.max())
        # The first and the last row of each series are looked at: text of millions of rows takes seconds.
        heads, tails = (self.frame[list(KEYS)].iloc[at::horizon].reset_index(drop=True) for at in (0, horizon - 1))
        whole = len(step) % horizon == 0 and (step.reshape(-1, horizon) == np.arange(1, horizon + 1)).all()
        if not whole or not heads.equals(tails):
            raise DataError("the frame of a backtest must hold the rows of each model and fold together, series by "
                            "series and step by step; sort it by model, fold, unique_id and step")  # fmt: skip
        model, fold, ids = (heads[name].to_numpy() for name in KEYS)
        y, mean = (self.frame[name].to_numpy(np.float64).reshape(-1, horizon) for name in ("y", "mean"))
        columns = [level_column(q) for q in self.levels]
        quantiles = self.frame[columns].to_numpy(np.float64).reshape(len(heads), horizon, len(columns))
        scales = {number: part.set_index("unique_id") for number, part in self.scales.groupby("fold")}
        starts = np.flatnonzero((fold[1:] != fold[:-1]) | (model[1:] != model[:-1])) + 1
        for first, last in pairwise([0, *starts.tolist(), len(heads)]):
            at = slice(first, last)
            scale = scales[int(fold[first])].loc[ids[at]]
            yield str(model[first]), int(fold[first]), ids[at], Rows(
                y[at], ~np.isnan(y[at]), mean[at], scale["absolute"].to_numpy()[:, None],
                scale["squared"].to_numpy()[:, None], quantiles[at], np.asarray(self.levels),
            )  # fmt: skip

    def join(self, *others: Backtest) -> Backtest:
        """The models of several backtests in one: over panels with other covariates, of another day, from `judge`.

        Raises:
            ArgumentError: data, folds or levels differ, or two backtests have a model of the same name.

        >>> from forecast_kit import Naive, Panel, RollingOrigin, WindowAverage, backtest
        >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(6), "y": [1.0, 3, 1, 3, 1, 3]})
        >>> panel, cut = Panel.from_frame(frame, freq=1), RollingOrigin(horizon=2)
        >>> first, second = (backtest(models, panel, cut) for models in ({"naive": Naive()}, {"two": WindowAverage(2)}))
        >>> first.join(second).summary(["mae"]).round(2).to_dict()
        {'mae': {'naive': 1.0, 'two': 1.0}}
        """
        parts = [self, *others]
        names = [name for part in parts for name in part.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ArgumentError(f"{name_some(twice)} stand in more than one backtest; give each model its own name")
        asked, scales = _asked(self), self.scales.sort_values(["unique_id", "fold"], ignore_index=True)
        for other in others:
            theirs = other.scales.sort_values(["unique_id", "fold"], ignore_index=True)
            if self.levels != other.levels or not (asked.equals(_asked(other)) and scales.equals(theirs)):
                raise ArgumentError(
                    f"the backtests of {name_some(self.models)} and of {name_some(other.models)} are of different "
                    "data, folds or levels, so their scores cannot be compared; run both with the same series, "
                    "splitter and levels"
                )
        frames, timings = (pd.concat([getattr(p, n) for p in parts], ignore_index=True) for n in ("frame", "timings"))
        return Backtest(frames, self.scales, timings, self.levels, tuple(one for p in parts for one in p.unfinished))

    def save(self, folder: str | Path) -> None:
        """Writes the backtest into a folder: three Parquet files and `backtest.json`, which is written last.

        >>> from forecast_kit import Naive, Panel, RollingOrigin, backtest, load
        >>> panel = Panel.from_frame(*load("air_passengers"))
        >>> backtest({"naive": Naive()}, panel, RollingOrigin(12)).save("judged")
        >>> Backtest.load("judged").models
        ['naive']
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in _PARTS:
            getattr(self, name).to_parquet(folder / f"{name}.parquet", index=False)
        meta = {"format": _FORMAT, "levels": self.levels, "unfinished": self.unfinished}
        waiting = folder / "backtest.json.part"
        waiting.write_text(json.dumps(meta))
        waiting.replace(folder / "backtest.json")

    @classmethod
    def load(cls, folder: str | Path) -> Backtest:
        """The backtest that `save` wrote.

        Raises:
            DataError: the folder holds none, or one of a later version.
        """
        folder = Path(folder)
        try:
            meta = json.loads((folder / "backtest.json").read_text())
        except FileNotFoundError as error:
            raise DataError(f"no backtest in {folder}: backtest.json is missing; name the folder that save() was given"
                            ) from error  # fmt: skip
        if meta["format"] > _FORMAT:
            raise DataError(f"the backtest in {folder} has format {meta['format']}, this version reads {_FORMAT}; "
                            "update forecast_kit")  # fmt: skip
        frame, scales, timings = (
            pd.read_parquet(folder / f"{name}.parquet") for name in ("frame", "scales", "timings")
        )
        unfinished = tuple((str(model), int(fold)) for model, fold in meta["unfinished"])
        return cls(frame, scales, timings, check_levels(meta["levels"]), unfinished)


def _asked(result: Backtest) -> pd.DataFrame:
    """What was to be forecast, and what came true: one row for each series, fold and step."""
    keys = ["unique_id", "fold", "step"]
    rows = result.frame.drop_duplicates(keys)[[*keys, "ds", "cutoff", "y"]]
    return rows.sort_values(keys, ignore_index=True)


def _p_values(losses: pd.DataFrame, against: str) -> pd.Series:
    """By model, the corrected p-value of its difference to one of them; none where too little can be compared."""
    if against not in losses or len(losses.dropna()) < 2 or len(losses.columns) < 2:
        return pd.Series(np.nan, losses.columns)
    return signed_rank(losses, against).set_index("model")["p_holm"]
