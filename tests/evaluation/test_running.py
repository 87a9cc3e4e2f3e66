"""Running a backtest: which rows are seen when, what is repeated, what is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import forecast_kit
from forecast_kit import (
    ETS,
    Backtest,
    Forecaster,
    Naive,
    Panel,
    RollingOrigin,
    SeasonalNaive,
    WindowAverage,
    backtest,
    search,
)
from forecast_kit.core.forecast import Prediction
from forecast_kit.core.forecaster import FitCallback
from forecast_kit.data.future import split_future
from forecast_kit.errors import ArgumentError, DataError
from forecast_kit.evaluation.running import BacktestProgress
from forecast_kit.typing import Floats

SPLITTER = RollingOrigin(horizon=6, folds=4)


class Watcher(Forecaster):
    """Forecasts the last value, and writes down where the data that it fits and forecasts from end."""

    fits: list[np.ndarray]
    starts: list[np.ndarray]

    def __init__(self, log: list[tuple[str, np.ndarray, np.ndarray]] | None = None) -> None:
        self.log = log if log is not None else []

    @property
    def context_length(self) -> int:
        return 1

    def describe(self) -> dict[str, Any]:
        return {}

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        self.log.append(("fit", panel.last.copy(), panel.lengths.copy()))

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        self.log.append(("predict", history.last.copy(), history.lengths.copy()))
        mean = np.repeat(history.y[history.indptr[1:] - 1][:, None], horizon, axis=1)
        return Prediction(mean, np.repeat(mean[..., None], len(levels), axis=2))

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {}

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """There was nothing to keep."""


def events(log: list[tuple[str, np.ndarray, np.ndarray]], panel: Panel) -> list[tuple[str, int, int]]:
    """What happened, how many rows before the end of the data, and with how many rows, for the first series."""
    return [(what, int(panel.last[0] - last[0]), int(lengths[0])) for what, last, lengths in log]


def test_an_embargo_keeps_the_last_rows_from_fitting_and_not_from_forecasting(seasonal_panel: Panel) -> None:
    watcher, rows = Watcher(), int(seasonal_panel.lengths[0])
    backtest({"w": watcher}, seasonal_panel, RollingOrigin(6, folds=2, embargo=5, gap=2))
    assert events(watcher.log, seasonal_panel) == [
        ("fit", 19, rows - 19), ("predict", 14, rows - 14), ("fit", 13, rows - 13), ("predict", 8, rows - 8),
    ]  # fmt: skip


def test_a_window_slides(seasonal_panel: Panel) -> None:
    watcher = Watcher()
    backtest({"w": watcher}, seasonal_panel, RollingOrigin(6, folds=2, window=30, embargo=4))
    seen = events(watcher.log, seasonal_panel)
    assert seen == [("fit", 16, 26), ("predict", 12, 30), ("fit", 10, 26), ("predict", 6, 30)]


@pytest.mark.parametrize(("refit", "fits"), [(1, [24, 18, 12, 6]), (2, [24, 12]), (3, [24, 6]), (None, [24])])
def test_a_forecaster_is_fitted_again_after_so_many_folds_and_always_sees_all_history(
    seasonal_panel: Panel, refit: int | None, fits: list[int]
) -> None:
    watcher = Watcher()
    result = backtest({"w": watcher}, seasonal_panel, SPLITTER, refit=refit)
    seen = events(watcher.log, seasonal_panel)
    assert [after for what, after, _ in seen if what == "fit"] == fits
    assert [after for what, after, _ in seen if what == "predict"] == [24, 18, 12, 6]
    assert (result.timings["fit_s"] > 0).sum() == len(fits)


def test_the_steps_of_the_gap_are_forecast_and_not_judged(seasonal_panel: Panel) -> None:
    near = backtest({"s": SeasonalNaive()}, seasonal_panel, RollingOrigin(8, folds=1))
    far = backtest({"s": SeasonalNaive()}, seasonal_panel, RollingOrigin(6, folds=1, gap=2))
    last = near.frame[near.frame["step"] > 2]
    pd.testing.assert_frame_equal(
        far.frame.drop(columns="step"), last.drop(columns="step").reset_index(drop=True), check_like=True
    )
    assert far.frame["step"].tolist() == [*range(1, 7)] * 6


def test_calendar_folds_cut_all_series_at_one_stamp_and_leave_out_those_without_history() -> None:
    frame = pd.concat([
        pd.DataFrame({"unique_id": "whole", "ds": np.arange(20), "y": np.arange(20.0)}),
        pd.DataFrame({"unique_id": "late", "ds": np.arange(15, 20), "y": np.arange(5.0)}),
        pd.DataFrame({"unique_id": "ended", "ds": np.arange(0, 13), "y": np.arange(13.0)}),
        pd.DataFrame({"unique_id": "ending", "ds": np.arange(0, 18), "y": np.arange(18.0)}),
    ])  # fmt: skip
    panel = Panel.from_frame(frame, freq=1)
    first, second = RollingOrigin(4, folds=2, align="calendar").split(panel)
    assert first.train.ids.tolist() == ["ended", "ending", "whole"]
    assert first.left_out == ("late",)
    assert second.train.ids.tolist() == ["ending", "late", "whole"]
    assert second.left_out == ("ended",)
    assert set(first.train.last.tolist()) == {11}
    assert set(second.train.last.tolist()) == {15}
    np.testing.assert_array_equal(first.y, [[12, np.nan, np.nan, np.nan], [12, 13, 14, 15], [12, 13, 14, 15]])
    np.testing.assert_array_equal(first.observed, ~np.isnan(first.y))
    np.testing.assert_array_equal(second.y, [[16, 17, np.nan, np.nan], [1, 2, 3, 4], [16, 17, 18, 19]])
    result = backtest({"n": Naive()}, panel, RollingOrigin(4, folds=2, align="calendar"))
    assert result.frame.groupby("fold")["unique_id"].nunique().tolist() == [3, 3]
    np.testing.assert_allclose(result.scores.loc[result.scores["unique_id"] == "late", "mae"], 2.5)


@pytest.mark.parametrize("align", ["series", "calendar"])
@pytest.mark.parametrize(("folds", "named"), [(1, "fold 1 of 1"), (4, "fold 2, 3, 4 of 4")])
def test_folds_without_an_observed_actual_are_refused_by_number(align: Any, folds: int, named: str) -> None:
    """A frame that still has the rows of known-future covariates after its last target."""
    frame = pd.DataFrame({"unique_id": np.repeat(["a", "b"], 30), "ds": [*range(30)] * 2, "price": 1.0})
    frame["y"] = np.where(frame["ds"] < 21, frame["ds"] % 3 + 1.0, np.nan)
    panel = Panel.from_frame(frame, freq=1, season_length=3, future=["price"], gaps="mask")
    fitted: list[int] = []

    class Told(Naive):
        def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
            fitted.append(len(panel))
            super()._fit(panel, callbacks)

    splitter = RollingOrigin(3, folds=folds, align=align, embargo=1, gap=0)
    with pytest.raises(DataError, match=f"observed in {named}, .* forecast_kit.data.future.split_future"):
        backtest({"naive": Told()}, panel, splitter)
    assert fitted == []
    with pytest.raises(DataError, match=f"observed in {named}, "):
        search(WindowAverage(1), {"window": [1, 2]}, panel, splitter, trials=2)

    whole, _ = split_future(frame, panel.schema)
    result = backtest({"naive": Naive()}, Panel.from_frame(whole, panel.schema), splitter)
    assert result.leaderboard()["mae"].notna().all()
    # One observed value at the end is enough, and an earlier fold may have none.
    frame.loc[29, "y"] = 2.0
    backtest({"naive": Naive()}, Panel.from_frame(frame, panel.schema), splitter)


def test_side_by_side_gives_what_one_after_the_other_gives(seasonal_panel: Panel) -> None:
    models = {"naive": Naive(), "seasonal": SeasonalNaive(), "ets": ETS(jobs=1)}
    finished: list[tuple[int, str]] = []
    one = backtest(models, seasonal_panel, SPLITTER, levels=(0.1, 0.9))
    two = backtest(
        models, seasonal_panel, SPLITTER, levels=(0.1, 0.9), jobs=2,
        progress=lambda e: finished.append((e.fold, e.model)) if e.finished else None,
    )  # fmt: skip
    pd.testing.assert_frame_equal(one.frame, two.frame)
    pd.testing.assert_frame_equal(one.scores, two.scores)
    assert sorted(finished) == sorted((fold, model) for fold in range(1, 5) for model in models)


def test_a_backtest_comes_back_from_its_folder_as_it_was(seasonal_panel: Panel, tmp_path: Path) -> None:
    result = backtest({"naive": Naive(), "ets": ETS(jobs=1)}, seasonal_panel, SPLITTER, levels=(0.1, 0.975))
    result.save(tmp_path / "kept")
    again = Backtest.load(tmp_path / "kept")
    pd.testing.assert_frame_equal(again.frame, result.frame)
    pd.testing.assert_frame_equal(again.leaderboard("naive"), result.leaderboard("naive"))
    assert again.levels == result.levels
    with pytest.raises(DataError, match="backtest.json is missing"):
        Backtest.load(tmp_path)


def test_what_a_store_holds_is_not_done_again_unless_what_it_depends_on_changed(
    seasonal_panel: Panel, tmp_path: Path
) -> None:
    def run(**choices: Any) -> tuple[list[bool], Backtest]:
        kept: list[bool] = []

        def note(event: BacktestProgress) -> None:
            if event.finished:
                kept.append(event.kept)

        chosen = {"models": {"ets": ETS(jobs=1)}, "panel": seasonal_panel, "splitter": SPLITTER, "levels": (0.1, 0.9)}
        chosen |= choices
        return kept, backtest(
            chosen["models"], chosen["panel"], chosen["splitter"], levels=chosen["levels"], store=tmp_path,
            progress=note, refit=choices.get("refit", 1),
        )  # fmt: skip

    kept, first = run()
    assert kept == [False] * 4
    kept, second = run()
    assert kept == [True] * 4
    pd.testing.assert_frame_equal(first.frame, second.frame)
    pd.testing.assert_frame_equal(first.timings, second.timings)
    y = seasonal_panel.to_frame()
    y.loc[0, "y"] += 1e-6
    for change in (
        {"levels": (0.2, 0.8)}, {"models": {"ets": ETS(jobs=1, trend="add")}},
        {"splitter": RollingOrigin(6, folds=4, gap=1)}, {"panel": Panel.from_frame(y, freq="h")}, {"refit": 2},
    ):  # fmt: skip
        assert run(**change)[0] == [False] * 4, change
    assert not list(tmp_path.glob("*.part"))


JOB = """
import sys, time
import numpy as np, pandas as pd
from forecast_kit import Panel, RollingOrigin, SeasonalNaive, backtest

class Slow(SeasonalNaive):
    def _fit(self, panel, callbacks):
        with open("fits.txt", "a") as log:
            log.write("fit\\n")
        time.sleep(float(sys.argv[1]))
        super()._fit(panel, callbacks)

frame = pd.DataFrame({"unique_id": "a", "ds": range(60), "y": np.sin(np.arange(60.0))})
panel = Panel.from_frame(frame, freq=1, season_length=6)
result = backtest({"slow": Slow()}, panel, RollingOrigin(5, folds=6), store="store")
result.save("result")
"""


def test_after_a_kill_the_finished_folds_are_not_fitted_again(tmp_path: Path) -> None:
    source = str(Path(forecast_kit.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source}
    fits = tmp_path / "fits.txt"
    child = subprocess.Popen([sys.executable, "-c", JOB, "0.5"], cwd=tmp_path, env=environment)
    until = time.monotonic() + 60
    while not (fits.exists() and fits.read_text().count("fit") == 3):
        assert time.monotonic() < until
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len(list((tmp_path / "store").glob("fold-*.parquet"))) == 2
    subprocess.run([sys.executable, "-c", JOB, "0"], cwd=tmp_path, env=environment, check=True)
    assert fits.read_text().count("fit") == 3 + 4  # the third fold was under way
    (tmp_path / "whole").mkdir()
    subprocess.run([sys.executable, "-c", JOB, "0"], cwd=tmp_path / "whole", env=environment, check=True)
    one, two = (Backtest.load(folder / "result") for folder in (tmp_path, tmp_path / "whole"))
    pd.testing.assert_frame_equal(one.frame, two.frame)


class Napping(SeasonalNaive):
    """Takes its time."""

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        time.sleep(0.2)
        super()._fit(panel, callbacks)


def test_a_time_budget_leaves_out_what_it_has_no_time_for_and_compares_whole_folds_only(seasonal_panel: Panel) -> None:
    models = {"quick": Naive(), "slow": Napping()}
    result = backtest(models, seasonal_panel, SPLITTER, budget_s=0.3)
    assert result.unfinished
    assert 1 <= len(result.folds) < 4
    assert {fold for _, fold in result.unfinished} == set(range(1, 5)) - set(result.folds)
    expected = result.scores[result.scores["fold"].isin(result.folds)].groupby("model")["mae"].mean()
    board = result.leaderboard().set_index("model")["mae"]
    np.testing.assert_allclose(board[expected.index], expected)
    with pytest.raises(ArgumentError, match="budget_s was over before a single fold"):
        backtest(models, seasonal_panel, SPLITTER, budget_s=0)


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [({"refit": 0}, "refit must be a whole number, at least 1; got 0"),
     ({"jobs": -2}, "jobs must be a whole number, at least 1; got -2")],
)  # fmt: skip
def test_bad_choices_are_refused(seasonal_panel: Panel, choices: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        backtest({"n": Naive()}, seasonal_panel, SPLITTER, **choices)
