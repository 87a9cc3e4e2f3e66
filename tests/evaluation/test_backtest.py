"""Backtests against doing the folds by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from forecast_kit import ETS, Backtest, Forecaster, Naive, Panel, RollingOrigin, SeasonalNaive, backtest, judge
from forecast_kit.core.forecast import Prediction
from forecast_kit.core.forecaster import FitCallback
from forecast_kit.errors import ArgumentError, DataError, TooShortError
from forecast_kit.evaluation.running import BacktestProgress
from forecast_kit.typing import Floats

SPLITTER = RollingOrigin(horizon=12, folds=3, step=6)
LEVELS = (0.1, 0.5, 0.9)
KEYS = ["model", "fold", "unique_id"]


class Recorder(Forecaster):
    """Forecasts zero, and writes down what it is given."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    @property
    def context_length(self) -> int:
        return 1

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        self.log.append(panel)

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        self.log.append(future)
        return Prediction(np.zeros((len(history), horizon)), np.zeros((len(history), horizon, len(levels))))

    def describe(self) -> dict[str, Any]:
        return {}

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {}

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """There was nothing to keep."""


def mae_by_hand(frame: pd.DataFrame) -> pd.Series:
    return (frame["y"] - frame["mean"]).abs().groupby([frame["model"], frame["fold"], frame["unique_id"]]).mean()


def test_a_backtest_is_its_folds_done_by_hand(seasonal_frame: pd.DataFrame, seasonal_panel: Panel) -> None:
    models = {"naive": Naive(), "seasonal": SeasonalNaive(), "ets": ETS(jobs=1)}
    result = backtest(models, seasonal_panel, SPLITTER, levels=LEVELS)
    for fold in range(1, 4):
        after = 12 + (3 - fold) * 6
        left = seasonal_frame.groupby("unique_id").cumcount(ascending=False)
        train = Panel.from_frame(seasonal_frame[left >= after], freq="h")
        actual = seasonal_frame[(left < after) & (left >= after - 12)]
        for name, model in models.items():
            expected = model.clone().fit(train).predict(12, levels=LEVELS).to_frame().assign(model=name)
            ours = result.frame[(result.frame["model"] == name) & (result.frame["fold"] == fold)]
            np.testing.assert_array_equal(ours["y"], actual["y"])
            np.testing.assert_array_equal(ours["ds"], actual["ds"])
            np.testing.assert_array_equal(ours["step"], np.tile(np.arange(1, 13), 6))
            columns = ["unique_id", "ds", "cutoff", "model", "mean", "q10", "q50", "q90"]
            pd.testing.assert_frame_equal(ours[columns].reset_index(drop=True), expected[columns])


def test_scores_are_those_of_the_frame(seasonal_panel: Panel) -> None:
    result = backtest({"b": Naive(), "a": SeasonalNaive()}, seasonal_panel, SPLITTER, levels=LEVELS)
    scores = result.scores.set_index(["model", "fold", "unique_id"])
    frame = result.frame
    keys = [frame["model"], frame["fold"], frame["unique_id"]]
    error = (frame["y"] - frame["mean"]).abs()
    smape = 200 * error / (frame["y"].abs() + frame["mean"].abs())
    inside = frame["y"].between(frame["q10"], frame["q90"]).astype(float)
    losses = [np.maximum(q * (frame["y"] - frame[c]), (q - 1) * (frame["y"] - frame[c]))
              for q, c in zip(LEVELS, ["q10", "q50", "q90"], strict=True)]  # fmt: skip
    expected = pd.DataFrame({"mae": error, "smape": smape, "coverage": inside, "pinball": sum(losses) / 3})
    expected = expected.groupby(keys).mean()
    pd.testing.assert_frame_equal(
        scores[expected.columns.tolist()].sort_index(), expected.sort_index(), check_dtype=False
    )
    for (model, fold, name), row in scores.iterrows():
        train = dict(seasonal_panel.series)[name][: -(12 + (3 - fold) * 6)]
        assert row["mase"] == pytest.approx(row["mae"] / np.mean(np.abs(train[24:] - train[:-24]))), (model, fold, name)


def test_every_forecaster_sees_the_same_folds_and_none_sees_the_future(seasonal_panel: Panel) -> None:
    logs: tuple[list[Any], list[Any]] = ([], [])
    result = backtest({"one": Recorder(logs[0]), "two": Recorder(logs[1])}, seasonal_panel, SPLITTER)
    ours, theirs = (log[::2] for log in logs)
    assert [panel.digest for panel in ours] == [panel.digest for panel in theirs]
    for fold, panel in enumerate(ours, start=1):
        assert (panel.last == seasonal_panel.last - 12 - (3 - fold) * 6).all()
    one, two = (result.frame[result.frame["model"] == name].drop(columns="model") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), two.reset_index(drop=True))


def test_future_covariates_reach_the_forecaster(seasonal_frame: pd.DataFrame) -> None:
    frame = seasonal_frame.assign(temp=np.arange(len(seasonal_frame)) * 1.0)
    log: list[Any] = []
    result = backtest({"m": Recorder(log)}, Panel.from_frame(frame, freq="h", future=["temp"]), SPLITTER)
    known = frame.set_index(["unique_id", "ds"])["temp"]
    for fold, future in enumerate(log[1::2], start=1):
        rows = result.frame[result.frame["fold"] == fold]
        np.testing.assert_array_equal(future.ravel(), known.loc[list(zip(rows["unique_id"], rows["ds"], strict=True))])


def test_the_forecasters_and_the_panel_stay_as_they_are(seasonal_panel: Panel) -> None:
    digest, models = seasonal_panel.digest, {"fresh": Naive(), "fitted": SeasonalNaive().fit(seasonal_panel)}
    before = models["fitted"].predict(4)
    backtest(models, seasonal_panel, SPLITTER)
    assert models["fresh"].schema_ is None
    np.testing.assert_array_equal(models["fitted"].predict(4).cutoff, before.cutoff)
    assert seasonal_panel.digest == digest


def test_the_leaderboard_ranks_by_the_metric_and_tells_the_skill(seasonal_panel: Panel) -> None:
    result = backtest({"naive": Naive(), "seasonal": SeasonalNaive()}, seasonal_panel, SPLITTER)
    assert result.models == ["naive", "seasonal"]
    for metric in ("mase", "smape", "mae"):
        board = result.leaderboard("naive", metric=metric).set_index("model")
        means = result.scores.groupby("model")[metric].mean()
        assert board.index.tolist() == means.sort_values().index.tolist() == ["seasonal", "naive"]
        assert board["rank"].tolist() == [1, 2]
        np.testing.assert_allclose(board[metric], means[board.index])
        np.testing.assert_allclose(board["skill"], 1 - means[board.index] / means["naive"])
        assert board.columns.tolist().index("skill") == board.columns.tolist().index(metric) + 1
    assert (result.leaderboard()[["fit_s", "predict_s"]] > 0).all(axis=None)
    assert "skill" not in result.leaderboard()


def test_the_last_model_of_a_tie_stays_last(seasonal_panel: Panel) -> None:
    result = backtest({"z": Naive(), "a": Naive()}, seasonal_panel, SPLITTER)
    assert result.leaderboard("a")["model"].tolist() == ["z", "a"]
    assert result.leaderboard("a")["skill"].tolist() == [0.0, 0.0]


def test_the_leaderboard_tells_how_sure_it_is() -> None:
    rng = np.random.default_rng(1)
    wave = np.sin(np.arange(60) * np.pi / 3)
    frames = [pd.DataFrame({"unique_id": f"s{k:02d}", "ds": range(60), "y": wave + 0.3 * rng.normal(size=60)})
              for k in range(12)]  # fmt: skip
    panel = Panel.from_frame(pd.concat(frames), freq=1, season_length=6)
    models = {"naive": Naive(), "seasonal": SeasonalNaive(), "again": SeasonalNaive()}
    result = backtest(models, panel, RollingOrigin(6, folds=2))
    losses = result.losses("mae")
    assert losses.shape == (12, 3)
    np.testing.assert_allclose(
        losses["naive"], result.scores.query("model == 'naive'").groupby("unique_id")["mae"].mean()
    )
    board = result.leaderboard("naive", metric="mae").set_index("model")
    raw = stats.wilcoxon(losses["seasonal"] - losses["naive"]).pvalue
    assert board.loc["seasonal", "p_baseline"] == pytest.approx(min(1.0, 2 * raw))
    assert np.isnan(board.loc["naive", "p_baseline"])
    assert np.isnan(board.loc["seasonal", "p_best"])
    assert board.loc["again", "p_best"] == 1.0
    assert board.loc["naive", "p_best"] == pytest.approx(min(1.0, 2 * raw))
    assert backtest({"a": Naive()}, panel, RollingOrigin(6)).leaderboard()["p_best"].isna().all()
    few = backtest(models, panel.take(["s00", "s01"]), RollingOrigin(6, folds=3))
    assert few.losses("mae").shape == (6, 3)


def test_summaries_take_medians_weights_and_folds(seasonal_panel: Panel) -> None:
    result = backtest({"a": Naive(), "b": SeasonalNaive()}, seasonal_panel, SPLITTER)
    groups = result.scores.groupby("model", sort=False)["mae"]
    np.testing.assert_allclose(result.summary(["mae"], how="median")["mae"], groups.median())
    weights = {f"s{k}": k + 1.0 for k in range(6)}
    weighted = result.summary(["mae"], weights=weights)["mae"]
    for model, part in result.scores.groupby("model"):
        by_hand = np.average(part["mae"], weights=part["unique_id"].map(weights))
        assert weighted[model] == pytest.approx(by_hand)
    by_fold = result.summary(["mae", "rmse"], by="fold")
    expected = result.scores.groupby(["model", "fold"], sort=False)[["mae", "rmse"]].mean()
    pd.testing.assert_frame_equal(by_fold, expected)
    with pytest.raises(ArgumentError, match="no weight is given for series 's5'"):
        result.summary(weights={f"s{k}": 1.0 for k in range(5)})
    with pytest.raises(ArgumentError, match="how is 'mean' or 'median'"):
        result.summary(how="mode")


def test_joined_backtests_are_as_if_they_had_been_one(seasonal_frame: pd.DataFrame, seasonal_panel: Panel) -> None:
    models = {"a": Naive(), "b": SeasonalNaive(), "c": Naive()}
    whole = backtest(models, seasonal_panel, SPLITTER, levels=LEVELS)
    frame = seasonal_frame.assign(price=1.0)
    wider = Panel.from_frame(frame, seasonal_panel.schema, future=("price",))
    ran = [backtest({name: models[name]}, panel, SPLITTER, levels=LEVELS)
           for name, panel in {"a": seasonal_panel, "b": wider}.items()]  # fmt: skip
    judged = judge(whole.frame[whole.frame["model"] == "c"], seasonal_panel)
    joined = ran[0].join(ran[1], judged)
    assert (joined.models, joined.folds, joined.levels) == (whole.models, whole.folds, LEVELS)
    in_order = [result.scores.sort_values(KEYS, ignore_index=True) for result in (joined, whole)]
    pd.testing.assert_frame_equal(*in_order)
    for of in (Backtest.losses, Backtest.by_step):
        pd.testing.assert_frame_equal(of(joined), of(whole))
    assert joined.timings["fit_s"].notna().groupby(joined.timings["model"]).all().to_dict() == {
        "a": True, "b": True, "c": False,
    }  # fmt: skip
    assert ran[0].models == ["a"]
    pd.testing.assert_frame_equal(ran[0].join().frame, ran[0].frame)


def test_backtests_of_other_data_folds_levels_or_scales_cannot_be_joined(seasonal_panel: Panel) -> None:
    splitter = RollingOrigin(12, folds=2)
    one = backtest({"a": Naive()}, seasonal_panel, splitter)
    for panel, other, levels in (
        (seasonal_panel, RollingOrigin(12, folds=2, step=6), ()), (seasonal_panel, splitter, (0.5,)),
        (seasonal_panel, RollingOrigin(12, folds=3), ()), (seasonal_panel.split(1)[0], splitter, ()),
        (Panel.from_frame(seasonal_panel.to_frame(), seasonal_panel.schema, season_length=5), splitter, ()),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match="of 'a' and of 'b' are of different data, folds or levels"):
            one.join(backtest({"b": Naive()}, panel, other, levels=levels))
    with pytest.raises(ArgumentError, match="'a' stand in more than one backtest"):
        one.join(one)


def test_errors_by_step_are_those_of_the_frame(seasonal_panel: Panel) -> None:
    result = backtest({"a": Naive(), "b": SeasonalNaive()}, seasonal_panel, SPLITTER, levels=LEVELS)
    found = result.by_step(["mae", "rmse", "wape", "pinball"]).set_index(["model", "step"])
    frame = result.frame.assign(e=result.frame["y"] - result.frame["mean"])
    for (model, step), part in frame.groupby(["model", "step"]):
        row = found.loc[(model, step)]
        assert row["mae"] == pytest.approx(part["e"].abs().mean())
        assert row["rmse"] == pytest.approx(np.sqrt((part["e"] ** 2).mean()))
        assert row["wape"] == pytest.approx(part["e"].abs().sum() / part["y"].abs().sum())


def test_a_frame_in_another_order_is_refused(seasonal_panel: Panel) -> None:
    result = backtest({"a": Naive()}, seasonal_panel, SPLITTER)
    mixed = Backtest(result.frame.sample(frac=1.0, random_state=0), result.scales, result.timings, ())
    with pytest.raises(DataError, match="sort it by model, fold, unique_id and step"):
        _ = mixed.scores


def test_what_does_not_rank_cannot_rank(seasonal_panel: Panel) -> None:
    result = backtest({"a": Naive()}, seasonal_panel, SPLITTER)
    with pytest.raises(ArgumentError, match="cannot be ranked by 'me'; take one of mase"):
        result.leaderboard(metric="me")


def test_undefined_scores_are_counted_and_left_out_of_the_means() -> None:
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame({"unique_id": name, "ds": range(20), "y": y})
              for name, y in [("flat", [3.0] * 18 + [4.0] * 2), ("wild", rng.normal(9.0, 1.0, 20)),
                              ("unseen", [*rng.normal(9.0, 1.0, 16), *[np.nan] * 4])]]  # fmt: skip
    panel = Panel.from_frame(pd.concat(frames), freq=1, gaps="mask")
    result = backtest({"naive": Naive()}, panel, RollingOrigin(2, folds=2), levels=LEVELS)
    undefined = result.undefined.loc["naive"].to_dict()
    assert {name for name, count in undefined.items() if count == 4} == {"mase", "rmsse", "msis"}
    assert {count for name, count in undefined.items() if name not in ("mase", "rmsse", "msis")} == {2}
    board = result.leaderboard().iloc[0]
    assert board["mase"] == pytest.approx(result.scores.loc[result.scores["unique_id"] == "wild", "mase"].mean())
    assert board["mae"] == pytest.approx(mae_by_hand(result.frame).mean())
    assert result.frame["y"].isna().sum() == 4


def test_score_columns_follow_from_the_levels(seasonal_panel: Panel) -> None:
    base = ["model", "fold", "unique_id", "mase", "smape", "mae", "rmse", "mse", "rmsse", "wape", "mape", "me", "bias"]
    one = [*base, "pinball", "wql", "crps"]
    for levels, columns in [((), base), ((0.5,), one), ((0.9, 0.1), [*one, "coverage", "width", "msis"])]:
        result = backtest({"m": Naive()}, seasonal_panel, RollingOrigin(2), levels=levels)
        assert result.scores.columns.tolist() == columns
        assert result.levels == tuple(sorted(levels))


def test_unknown_names_are_refused_with_the_known_ones(seasonal_panel: Panel) -> None:
    result = backtest({"naive": Naive()}, seasonal_panel, RollingOrigin(2))
    with pytest.raises(ArgumentError, match="unknown metric 'smap'; the backtest has mase, smape, mae, .*mean 'smape'"):
        result.leaderboard(metric="smap")
    with pytest.raises(ArgumentError, match="unknown baseline 'snaive'; the backtest has 'naive'"):
        result.leaderboard("snaive")


def test_nothing_to_do_and_too_little_to_do_it_with_are_refused(seasonal_panel: Panel) -> None:
    with pytest.raises(ArgumentError, match="at least one forecaster"):
        backtest({}, seasonal_panel, SPLITTER)
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        backtest({"m": Naive()}, seasonal_panel, SPLITTER, levels=(80,))
    with pytest.raises(TooShortError, match="'s0'"):
        backtest({"m": Naive()}, seasonal_panel, RollingOrigin(48, folds=4))


def test_progress_names_model_and_fold_from_start_to_finish(seasonal_panel: Panel) -> None:
    events: list[BacktestProgress] = []
    backtest({"naive": Naive(), "ets": ETS(jobs=1)}, seasonal_panel, SPLITTER, progress=events.append)
    assert {event.folds for event in events} == {3}
    for fold in (1, 2, 3):
        for model, last in [("naive", 0), ("ets", 6)]:
            mine = [event for event in events if (event.model, event.fold) == (model, fold)]
            assert [event.finished for event in mine] == [False] * (len(mine) - 1) + [True]
            fits = [event.fit for event in mine if event.fit is not None]
            assert fits[0].done == 0
            assert fits[-1].done == last
    finished = [(event.fold, event.model) for event in events if event.finished]
    assert finished == [(fold, model) for fold in (1, 2, 3) for model in ("naive", "ets")]
