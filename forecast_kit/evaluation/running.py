"""Backtests: every forecaster fitted and judged on the same folds."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecast_kit._version import __version__
from forecast_kit.core.forecast import Forecast, check_levels
from forecast_kit.core.forecaster import FitProgress, Forecaster
from forecast_kit.core.splits import Fold, RollingOrigin
from forecast_kit.data.panel import Panel
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, check_whole, name_some
from forecast_kit.evaluation.backtest import Backtest

__all__ = ["backtest", "BacktestProgress"]

_PER_PROCESS = 1 << 30  # bytes that a process with its libraries takes, beside the data


@dataclass(frozen=True)
class BacktestProgress:
    """What a backtest is doing, as it tells its `progress`.

    Attributes:
        model: the forecaster's name.
        fold: from 1 on.
        folds: how many there are.
        fit: how far the fit is; None where none goes on.
        finished: whether the fold is done.
        kept: whether an earlier run with the same `store` had done it.

    >>> from forecast_kit import Naive, Panel, RollingOrigin, load
    >>> panel, told = Panel.from_frame(*load("air_passengers")), []
    >>> result = backtest({"naive": Naive()}, panel, RollingOrigin(12, folds=2), progress=told.append)
    >>> [(event.model, event.fold, event.folds) for event in told if event.finished]
    [('naive', 1, 2), ('naive', 2, 2)]
    """

    model: str
    fold: int
    folds: int
    fit: FitProgress | None
    finished: bool = False
    kept: bool = False


OnProgress = Callable[[BacktestProgress], None]


def backtest(
    forecasters: Mapping[str, Forecaster],
    panel: Panel,
    splitter: RollingOrigin,
    *,
    levels: Sequence[float] = (),
    refit: int | None = 1,
    jobs: int = 1,
    budget_s: float | None = None,
    store: str | Path | None = None,
    progress: OnProgress | None = None,
) -> Backtest:
    """The forecasts of every forecaster, fitted anew in each fold, beside what came true.

    The forecasters themselves stay as they are: clones are fitted. Scalers and everything else that
    learns sees the fold's training part alone.

    Args:
        forecasters: by the name they shall have in the tables.
        panel: the data.
        splitter: the folds.
        levels: quantile probabilities to forecast and score.
        refit: after how many folds a forecaster is fitted again; None for never, so that the first fold's
            forecaster sees the later ones as history alone.
        jobs: processes that work side by side, -1 for as many as there are cores; fewer where memory does not
            allow them. Networks use all cores by themselves: for them 1 is right.
        budget_s: seconds after which nothing new is begun. What is missing stands in `Backtest.unfinished`.
        store: a folder in which each finished fold of each forecaster is kept. A second run with the same
            folder does not repeat what is there for the same data, folds, levels and forecaster.
        progress: called with a `BacktestProgress` as the work goes on: which model, in which fold, how far its fit is,
            and whether it is finished. With several `jobs`, only of what is finished.

    Raises:
        ArgumentError: no forecaster was given, an argument is out of range, or the budget was too small for a
            single fold of all forecasters.
        TooShortError: a series is too short for the folds.
        DataError: nothing was observed in the steps that the last fold judges. An earlier fold without anything
            observed counts in no score.
        ForecastKitError: whatever a forecaster refuses; it ends the backtest.

    Source: Tashman, Out-of-sample tests of forecasting accuracy: an analysis and review, International Journal of
    Forecasting 16, 2000.

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
    for name, value in (("refit", refit), ("jobs", jobs)):
        if value is not None and (name, value) != ("jobs", -1):
            check_whole(name, value)
    checked = check_levels(levels)
    splitter.check(panel)
    check_observed(panel, splitter)
    deadline = None if budget_s is None else time.time() + budget_s
    keeper = None if store is None else _Store(Path(store), panel.digest, splitter, checked, refit)
    every = refit or splitter.folds
    units = [
        _Unit(name, forecaster, tuple(range(first, min(first + every, splitter.folds + 1))), checked, keeper, deadline)
        for first in range(1, splitter.folds + 1, every)
        for name, forecaster in forecasters.items()
    ]
    report = progress or (lambda event: None)
    found: list[_Found] = []
    workers = _workers(jobs, panel, len(units))
    for done in (
        _side_by_side(units, panel, splitter, workers) if workers > 1 else _in_turn(units, panel, splitter, report)
    ):
        for one in done:
            report(BacktestProgress(one.model, one.fold, splitter.folds, None, finished=True, kept=one.kept))
        found += done
    return _collect(found, units, panel, splitter, checked)


def check_observed(panel: Panel, splitter: RollingOrigin) -> None:
    """Refuses a panel of which no series was observed in the last fold: it goes on after what is known.

    The last folds, or all, would have no scores, and a leaderboard ranks of nothing. An earlier fold may be one in
    which all sensors were down.

    Raises:
        DataError: it is so; it names all folds without an observed value.
    """
    if splitter.align == "series":
        known = panel.tail(splitter.horizon).observed
    else:
        known = panel.observed[panel.row_steps > panel.last.max() - splitter.horizon]
    if known.any():
        return
    empty = [fold.number for fold in splitter.split(panel) if not fold.observed.any()]
    raise DataError(
        f"no actual value was observed in fold {name_some(empty)} of {splitter.folds}, so there is nothing to judge "
        f"forecasts by. Often the frame still had the rows of known-future covariates after the last target: divide it "
        f"with forecast_kit.data.future.split_future(frame, schema) and build the panel of the first part"
    )


@dataclass(frozen=True)
class _Found:
    """What a forecaster forecast in a fold, and how long it took."""

    model: str
    fold: int
    frame: pd.DataFrame
    timing: dict[str, float]
    kept: bool = False


@dataclass(frozen=True)
class _Unit:
    """Folds of one forecaster that share a fit: what can be done apart from everything else."""

    name: str
    forecaster: Forecaster
    folds: tuple[int, ...]
    levels: tuple[float, ...]
    store: _Store | None
    deadline: float | None

    def run(self, fold: Callable[[int], Fold], report: OnProgress, of: int) -> list[_Found]:
        """The folds that are kept, and the others one after another; none where time is up."""
        done: list[_Found] = []
        fitted: Forecaster | None = None
        for number in self.folds:
            kept = self.store.get(self.name, self.forecaster, number) if self.store else None
            if kept is not None:
                done.append(kept)
                continue
            if self.deadline is not None and time.time() > self.deadline:
                break
            fit_s = 0.0
            if fitted is None:
                # After a kill the fit is repeated on the data that it was made on.
                fitted, fit_s = self._fit(fold(self.folds[0]).train, number, report, of)
            one = self._forecast(fitted, fold(number), fit_s)
            if self.store:
                self.store.put(self.forecaster, one)
            done.append(one)
        return done

    def _fit(self, train: Panel, number: int, report: OnProgress, of: int) -> tuple[Forecaster, float]:
        def tell(fit: FitProgress) -> None:
            report(BacktestProgress(self.name, number, of, fit))

        tell(FitProgress(0, 1, {}))
        started = time.perf_counter()
        fitted = self.forecaster.clone().fit(train, callbacks=(tell,))
        return fitted, time.perf_counter() - started

    def _forecast(self, fitted: Forecaster, fold: Fold, fit_s: float) -> _Found:
        started = time.perf_counter()
        ahead = fold.gap + fold.y.shape[1]
        forecast = fitted.predict(ahead, levels=self.levels, history=fold.history, future=fold.future)
        timing = {"fit_s": fit_s, "predict_s": time.perf_counter() - started, "size_mb": _size(fitted)}
        return _Found(self.name, fold.number, _frame(forecast, fold, self.name), timing)


def _frame(forecast: Forecast, fold: Fold, name: str) -> pd.DataFrame:
    """The rows that are judged, with what came true."""
    ahead, horizon = forecast.horizon, fold.y.shape[1]
    frame = forecast.to_frame().assign(model=name)
    if fold.gap:
        frame = frame[np.tile(np.arange(ahead) >= fold.gap, len(forecast))].reset_index(drop=True)
    frame.insert(3, "fold", fold.number)
    frame.insert(4, "step", np.tile(np.arange(1, horizon + 1), len(forecast)))
    frame.insert(5, "y", np.where(fold.observed, fold.y, np.nan).ravel())
    return frame


def _size(fitted: Forecaster) -> float:
    """Megabytes that the saved forecaster takes, without data; NaN of one that cannot be saved, but can be judged."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            fitted.save(Path(folder) / "model")
        except ArtifactError:
            return float("nan")
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6


def _in_turn(units: list[_Unit], panel: Panel, splitter: RollingOrigin, report: OnProgress) -> Iterator[list[_Found]]:
    """Unit after unit; the folds of the last few are kept, for the next forecaster takes the same."""
    folds: dict[int, Fold] = {}

    def fold(number: int) -> Fold:
        if number not in folds:
            for old in [other for other in folds if other < first]:
                del folds[old]
            folds[number] = splitter.fold(panel, number)
        return folds[number]

    for unit in units:
        first = unit.folds[0]
        yield unit.run(fold, report, splitter.folds)


def _side_by_side(units: list[_Unit], panel: Panel, splitter: RollingOrigin, workers: int) -> Iterable[list[_Found]]:
    """Units in processes of their own, as they are done."""
    from joblib import Parallel, delayed

    work = (delayed(_remote)(unit, panel, splitter) for unit in units)
    return Parallel(n_jobs=workers, return_as="generator_unordered")(work)


def _remote(unit: _Unit, panel: Panel, splitter: RollingOrigin) -> list[_Found]:
    return unit.run(lambda number: splitter.fold(panel, number), lambda event: None, splitter.folds)


def _workers(jobs: int, panel: Panel, units: int) -> int:
    """How many processes: those asked for, as far as there is work and memory for them."""
    wanted = min(units, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    wanted = min(units, jobs) if jobs > 0 else wanted
    meminfo = Path("/proc/meminfo")
    if wanted == 1 or not meminfo.exists():
        return wanted
    free = next(int(line.split()[1]) << 10 for line in meminfo.read_text().splitlines() if "MemAvailable" in line)
    data = sum(array.nbytes for array in (panel.y, panel.observed, panel.past, panel.future))
    return max(1, min(wanted, free // (_PER_PROCESS + 4 * data)))


def _collect(
    found: list[_Found], units: list[_Unit], panel: Panel, splitter: RollingOrigin, levels: tuple[float, ...]
) -> Backtest:
    """The backtest, in the order of folds and forecasters, whatever order it was done in."""
    order = list(dict.fromkeys(unit.name for unit in units))
    by_key = {(one.fold, order.index(one.model)): one for one in found}
    wanted = [(number, k) for number in range(1, splitter.folds + 1) for k in range(len(order))]
    unfinished = tuple((order[k], number) for number, k in wanted if (number, k) not in by_key)
    if {number for _, number in unfinished} == set(range(1, splitter.folds + 1)):
        raise ArgumentError("budget_s was over before a single fold was finished by all forecasters; raise it, or name "
                            "a store, so that the next run goes on from here")  # fmt: skip
    done = [by_key[key] for key in wanted if key in by_key]
    scales = []
    for number in sorted({one.fold for one in done}):
        history = splitter.fold(panel, number).history
        absolute, squared = (seasonal_error(history, panel.season_length, power=power) for power in (1, 2))
        scales.append(
            pd.DataFrame({"fold": number, "unique_id": history.ids, "absolute": absolute, "squared": squared})
        )
    timings = pd.DataFrame([{"model": one.model, "fold": one.fold, **one.timing} for one in done])
    frame = pd.concat([one.frame for one in done], ignore_index=True)
    return Backtest(frame, pd.concat(scales, ignore_index=True), timings, levels, unfinished)


@dataclass(frozen=True)
class _Store:
    """A folder of finished folds. A file's name tells all that its content depends on."""

    folder: Path
    digest: str  # of the panel
    splitter: RollingOrigin
    levels: tuple[float, ...]
    refit: int | None

    def _path(self, name: str, forecaster: Forecaster, fold: int) -> Path:
        depends = [__version__, self.digest, asdict(self.splitter), self.levels, self.refit,
                   type(forecaster).__qualname__, forecaster.describe(), name, fold]  # fmt: skip
        key = hashlib.sha256(json.dumps(depends, sort_keys=True, default=str).encode()).hexdigest()[:20]
        return self.folder / f"fold-{fold}-{key}.parquet"

    def get(self, name: str, forecaster: Forecaster, fold: int) -> _Found | None:
        """What was kept, if it was."""
        path = self._path(name, forecaster, fold)
        if not path.exists():
            return None
        frame = pd.read_parquet(path)
        return _Found(name, fold, frame, json.loads(frame.attrs["timing"]), kept=True)

    def put(self, forecaster: Forecaster, one: _Found) -> None:
        """Keeps it: whole, or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(one.model, forecaster, one.fold)
        waiting = path.with_name(f"{path.name}.{os.getpid()}.part")
        frame = one.frame.copy(deep=False)
        frame.attrs = {"timing": json.dumps(one.timing)}
        frame.to_parquet(waiting, index=False)
        waiting.replace(path)
