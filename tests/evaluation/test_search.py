"""Searches: every score against a plain backtest, pruning against a loop, and resumption against no interruption."""

from __future__ import annotations

import logging
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from forecast_kit import (
    SES,
    Ensemble,
    NeuralForecaster,
    Panel,
    RollingOrigin,
    SeasonalNaive,
    WindowAverage,
    backtest,
    search,
)
from forecast_kit.core.forecaster import FitCallback
from forecast_kit.errors import ArgumentError, StoreError, TooShortError, TrainingError
from forecast_kit.evaluation.search import Search, Trial

H = 6
SPLITTER = RollingOrigin(H, folds=3)
ALPHA = {"alpha": ("float", 0.01, 1.0)}


def panel(*lengths: int, seed: int = 2) -> Panel:
    """Levels that jump, so that how many rows are averaged matters in every fold."""
    rng = np.random.default_rng(seed)
    frames = []
    for k, length in enumerate(lengths or (60, 48, 75)):
        level = np.repeat(rng.normal(50.0, 15.0, length // 10 + 1), 10)[:length]
        y = level + rng.normal(0.0, 3.0, length)
        frames.append(pd.DataFrame({"unique_id": f"s{k}", "ds": np.arange(length), "y": y}))
    return Panel.from_frame(pd.concat(frames), freq=1, season_length=4)


class Counted(WindowAverage):
    """Counts its fits; cannot be fitted with a window of 99, and breaks off once at any that is told."""

    fits: list[int] = []  # noqa: RUF012 - shared by the clones on purpose
    breaks_at: int | None = None

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        Counted.fits.append(self.window)
        if len(Counted.fits) == Counted.breaks_at:
            raise KeyboardInterrupt
        if self.window == 99:
            raise TrainingError("99 is refused")
        super()._fit(panel, callbacks)


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    Counted.fits, Counted.breaks_at = [], None


def same(one: Search, two: Search) -> None:
    """The same trials, whatever time they took."""
    pd.testing.assert_frame_equal(one.trials.drop(columns="seconds"), two.trials.drop(columns="seconds"))
    assert (one.arguments, one.score, repr(one.best)) == (two.arguments, two.score, repr(two.best))


# ---- scores


@pytest.mark.parametrize("refit", [1, 2, None])
@pytest.mark.parametrize(
    "splitter",
    [SPLITTER, RollingOrigin(4, folds=3, step=5, gap=2, embargo=1, window=30),
     RollingOrigin(H, folds=4, align="calendar")],
)  # fmt: skip
def test_every_score_is_the_backtests(splitter: RollingOrigin, refit: int | None) -> None:
    data = panel(60, 48, 75, 59)
    seen: list[Trial] = []
    found = search(
        SES(), ALPHA, data, splitter, trials=4, pruner=None, refit=refit, metric="pinball", levels=(0.2, 0.9),
        on_trial=[seen.append],
    )  # fmt: skip
    for trial in seen:
        whole = backtest({"m": SES(trial.arguments["alpha"])}, data, splitter, levels=(0.2, 0.9), refit=refit)
        assert trial.score == pytest.approx(whole.summary(["pinball"]).loc["m", "pinball"], rel=1e-12)
        by_fold = whole.summary(["pinball"], by="fold").loc["m", "pinball"].to_dict()
        assert trial.folds == pytest.approx(by_fold, rel=1e-12)
    assert found.score == min(trial.score for trial in seen)


def test_a_fold_in_which_nothing_was_observed_counts_for_nothing() -> None:
    rows = panel().to_frame()
    ahead = rows.groupby("unique_id")["ds"].transform("max") - rows["ds"]
    rows.loc[(ahead >= 2 * H) & (ahead < 3 * H), "y"] = np.nan  # the first of three folds
    masked = Panel.from_frame(rows, freq=1, season_length=4, gaps="mask")
    seen: list[Trial] = []
    search(SES(), {"alpha": [0.4]}, masked, SPLITTER, trials=1, on_trial=[seen.append])
    whole = backtest({"m": SES(0.4)}, masked, SPLITTER).summary(["mase"]).loc["m", "mase"]
    assert seen[0].state == "finished"
    assert list(seen[0].folds) == [2, 3]
    assert seen[0].score == pytest.approx(whole, rel=1e-12)


def test_the_best_of_all_is_found_where_all_are_drawn() -> None:
    windows = [1, 2, 3, 5, 8, 20]
    forecaster = Counted(4)
    found = search(forecaster, {"window": windows}, panel(), SPLITTER, trials=40, pruner=None)
    scores = {
        window: float(backtest({"m": WindowAverage(window)}, panel(), SPLITTER).summary(["mase"]).loc["m", "mase"])
        for window in windows
    }
    assert set(found.trials["window"]) == set(windows)
    assert found.arguments == {"window": min(scores, key=lambda window: scores[window])}
    assert found.score == pytest.approx(min(scores.values()))
    assert isinstance(found.best, Counted)
    assert found.best.window == found.arguments["window"]
    assert found.best.schema_ is None
    assert forecaster.window == 4
    assert forecaster.schema_ is None


def test_arguments_that_were_drawn_before_are_not_judged_again() -> None:
    found = search(Counted(1), {"window": [2, 9]}, panel(), SPLITTER, trials=12)
    assert sorted(Counted.fits) == [2] * 3 + [9] * 3
    again = found.trials[found.trials["reason"] != ""]
    assert len(again) == 10
    for _, row in again.iterrows():
        first = found.trials[found.trials["window"] == row["window"]].iloc[0]
        assert row["reason"] == f"the arguments of trial {first['trial']}"
        assert (row["score"], row["folds_done"]) == (first["score"], 3)


def test_the_table_says_what_happened() -> None:
    found = search(SES(), {"alpha": [0.2, 0.8], "horizon": ("int", 6, 9)}, panel(), SPLITTER, trials=5)
    columns = ["trial", "state", "score", "folds_done", "seconds", "reason", "alpha", "horizon"]
    assert found.trials.columns.tolist() == columns
    assert found.trials["trial"].tolist() == [0, 1, 2, 3, 4]
    assert (found.trials["seconds"] > 0).all()
    assert found.metric == "mase"
    best = found.trials.loc[found.trials["score"].idxmin()]
    assert {name: best[name] for name in ("alpha", "horizon")} == found.arguments


def test_nested_arguments_and_choices_that_are_more_than_words() -> None:
    model = Ensemble({"a": SES(), "b": SeasonalNaive()})
    members = [{"forecaster": "SES", "alpha": 0.7}, "Naive"]
    found = search(model, {"members__a": members, "members__b__season_length": [2, 4]}, panel(), SPLITTER, trials=8)
    assert found.arguments["members__a"] in members
    assert isinstance(found.best, Ensemble)
    assert found.best._members["b"].season_length == found.arguments["members__b__season_length"]  # type: ignore[attr-defined]


def test_an_argument_may_be_called_like_a_column() -> None:
    class Oddly(WindowAverage):
        def __init__(self, state: int, reason: str = "") -> None:
            super().__init__(state)
            self.state, self.reason = state, reason

    found = search(Oddly(1), {"state": ("int", 2, 9)}, panel(), SPLITTER, trials=3)
    assert found.trials.columns.tolist().count("state") == 2
    assert 2 <= found.arguments["state"] <= 9


def test_values_that_were_not_observed_count_in_no_score() -> None:
    frame = panel().to_frame()
    frame.loc[[57, 100], "y"] = np.nan  # of a fold of the first series, and of the history of the second
    masked = Panel.from_frame(frame, freq=1, season_length=4, gaps="mask")
    found = search(WindowAverage(1), {"window": [5]}, masked, SPLITTER, trials=1)
    expected = backtest({"m": WindowAverage(5)}, masked, SPLITTER).summary(["mase"])
    assert found.score == pytest.approx(expected["mase"].iloc[0])


# ---- seeds and studies


def test_the_same_seed_gives_the_same_table_and_another_another() -> None:
    one, two, other = (search(SES(), ALPHA, panel(), RollingOrigin(H), trials=12, seed=seed) for seed in (3, 3, 4))
    same(one, two)
    assert one.trials["alpha"].nunique() == 12
    assert not set(one.trials["alpha"]) & set(other.trials["alpha"])


def test_a_search_goes_on_where_it_stopped_as_if_it_had_not(tmp_path: Path) -> None:
    space, splitter = {"window": ("int", 1, 40)}, RollingOrigin(H, folds=2)
    whole = search(Counted(1), space, panel(), splitter, trials=13, seed=5)
    assert {"pruned", "finished"} == set(whole.trials["state"])
    fits = Counted.fits
    Counted.fits = []
    file = tmp_path / "deep" / "study.db"
    numbers: list[int] = []
    for trials in (4, 4, 13):
        part = search(
            Counted(1), space, panel(), splitter, trials=trials, seed=5, study=file,
            on_trial=[lambda trial: numbers.append(trial.number)],
        )  # fmt: skip
        assert len(part.trials) == trials
    assert numbers == list(range(13))
    assert Counted.fits == fits
    same(part, whole)


def test_what_was_interrupted_is_drawn_again(tmp_path: Path) -> None:
    space = {"window": ("int", 100, 9000)}
    whole = search(Counted(1), space, panel(), SPLITTER, trials=6, pruner=None)
    Counted.fits, Counted.breaks_at = [], 8  # in the second fold of the third trial
    with pytest.raises(KeyboardInterrupt):
        search(Counted(1), space, panel(), SPLITTER, trials=6, pruner=None, study=tmp_path / "s.db")
    Counted.breaks_at = None
    found = search(Counted(1), space, panel(), SPLITTER, trials=6, pruner=None, study=tmp_path / "s.db")
    assert found.trials["state"].tolist() == ["finished"] * 2 + ["failed"] + ["finished"] * 4
    assert found.trials.loc[2, ["folds_done", "reason"]].tolist() == [1, "interrupted: KeyboardInterrupt()"]
    assert found.trials["trial"].tolist() == list(range(7))
    rest = found.trials.drop(index=2)
    assert rest["window"].tolist() == whole.trials["window"].tolist()
    assert rest["score"].tolist() == whole.trials["score"].tolist()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"panel": panel(seed=9)}, "'data'"), ({"splitter": RollingOrigin(H, folds=2)}, "'splitter'"),
        ({"metric": "mae"}, "'metric'"), ({"space": {"alpha": ("float", 0.01, 0.9)}}, "'space'"),
        ({"forecaster": SES(horizon=9)}, "'forecaster'"), ({"refit": None, "levels": (0.1,)}, "'levels', 'refit'"),
    ],
)  # fmt: skip
def test_scores_of_other_data_folds_or_arguments_are_not_mixed(change: Any, what: str, tmp_path: Path) -> None:
    def run(**choices: Any) -> Search:
        chosen = {"forecaster": SES(), "space": ALPHA, "panel": panel(), "splitter": SPLITTER} | choices
        return search(**chosen, trials=2, study=f"sqlite:///{tmp_path / 's.db'}", name=choices.get("name", "search"))

    assert len(run(seed=8).trials) == 2  # another seed is no other question
    with pytest.raises(
        ArgumentError, match=rf"study 'search' in sqlite:.* was made with another {what}, and its scores"
    ):
        run(**change)
    assert len(run().trials) == 2


def test_a_study_may_hold_several_searches_by_name_and_none_that_is_not_ours(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    search(SES(), ALPHA, panel(), SPLITTER, trials=2, study=url, name="a")
    found = search(SES(), ALPHA, panel(), RollingOrigin(H), trials=3, study=tmp_path / "s.db", name="b")
    assert found.trials["trial"].tolist() == [0, 1, 2]
    storage = optuna.storages.RDBStorage(url)
    foreign = optuna.create_study(storage=storage, study_name="c")
    foreign.tell(foreign.ask(), 1.0)
    storage.remove_session()
    storage.engine.dispose()
    with pytest.raises(ArgumentError, match="'c' in .* was not made by a search of forecast_kit; take another name"):
        search(SES(), ALPHA, panel(), SPLITTER, trials=2, study=url, name="c")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_text("no database" * 200)
    for study in (tmp_path / "s.db", tmp_path / "s.db" / "inside.db", "nothing://here"):
        with pytest.raises(StoreError, match=f"cannot keep trials in {study}"):
            search(SES(), ALPHA, panel(), SPLITTER, trials=1, study=study)


# ---- pruning


def running_means(trial: Trial) -> list[float]:
    """After each fold; all series are in all folds, so that the mean of means is the mean."""
    folds = list(trial.folds.values())
    return [statistics.mean(folds[: k + 1]) for k in range(len(folds))]


def test_a_bad_fold_ends_a_trial_as_a_loop_says() -> None:
    seen: list[Trial] = []
    splitter = RollingOrigin(4, folds=5)
    search(Counted(1), {"window": ("int", 1, 40)}, panel(), splitter, trials=25, on_trial=[seen.append])
    finished: list[list[float]] = []
    fits: list[int] = []
    for trial in seen:
        means = running_means(trial)
        pruned_after = None
        if "the arguments of" in trial.reason:
            assert trial.state == "finished"
            finished.append(means)
            continue
        for k in range(4):
            if len(finished) >= 5 and min(means[: k + 1]) > statistics.median(other[k] for other in finished):
                pruned_after = k + 1
                break
        assert len(trial.folds) == (pruned_after or 5)
        assert trial.state == ("pruned" if pruned_after else "finished")
        assert trial.reason == (f"after fold {pruned_after} of 5" if pruned_after else "")
        assert np.isnan(trial.score) == (trial.state == "pruned")
        fits += [trial.arguments["window"]] * len(trial.folds)
        if trial.state == "finished":
            finished.append(means)
    assert Counted.fits == fits
    ends = {len(trial.folds) for trial in seen if trial.state == "pruned"}
    assert 1 in ends
    assert len(ends) > 1


def test_folds_that_share_a_fit_are_pruned_together() -> None:
    seen: list[Trial] = []
    splitter = RollingOrigin(4, folds=5)
    search(Counted(1), {"window": ("int", 1, 40)}, panel(), splitter, trials=25, refit=2, on_trial=[seen.append])
    assert {len(trial.folds) for trial in seen if trial.state == "pruned"} <= {2, 4}
    assert any(trial.state == "pruned" for trial in seen)
    assert len(Counted.fits) == sum(-(-len(t.folds) // 2) for t in seen if "arguments" not in t.reason)


def test_without_pruning_all_folds_are_done_and_other_pruners_go() -> None:
    space, splitter = {"window": ("int", 1, 40)}, RollingOrigin(4, folds=5)
    found = search(Counted(1), space, panel(), splitter, trials=12, pruner=None)
    assert set(found.trials["folds_done"]) == {5}
    strict = optuna.pruners.ThresholdPruner(upper=1e-9)
    with pytest.raises(ArgumentError, match="no trial was finished: 4 were pruned"):
        search(Counted(1), space, panel(), splitter, trials=4, pruner=strict)
    with pytest.raises(ArgumentError, match="pruner must be 'median', None, or one of optuna.pruners; got 'hyperband'"):
        search(Counted(1), space, panel(), splitter, trials=4, pruner="hyperband")


# ---- failing


def test_a_trial_that_fails_is_kept_with_its_reason_and_the_search_goes_on() -> None:
    found = search(Counted(1), {"window": [99, 5]}, panel(), SPLITTER, trials=8)
    failed = found.trials[found.trials["window"] == 99]
    assert len(failed) >= 1
    assert set(failed["state"]) == {"failed"}
    assert set(failed["reason"]) == {"99 is refused"}
    assert failed["score"].isna().all()
    assert found.arguments == {"window": 5}


def test_arguments_that_do_not_go_together_fail_alone() -> None:
    space = {"window": ("int", -3, 6)}  # a constructor refuses those below 1
    found = search(WindowAverage(1), space, panel(), SPLITTER, trials=10)
    low = found.trials["window"] < 1
    assert low.any()
    assert (found.trials.loc[low, "state"] == "failed").all()
    assert found.trials.loc[low, "reason"].str.startswith("window must be a whole number").all()
    assert found.arguments["window"] >= 1


def test_where_all_fail_it_is_said_why(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no trial was finished: 3 failed, because: '99 is refused'; change"):
        search(Counted(1), {"window": [99]}, panel(), SPLITTER, trials=3)
    flat = panel().to_frame().assign(y=1.0)
    with pytest.raises(ArgumentError, match="because: .mase is nan; take a metric that is defined for these data"):
        search(SES(), ALPHA, Panel.from_frame(flat, freq=1, season_length=4), SPLITTER, trials=2)


def test_a_bug_is_not_taken_for_a_bad_draw() -> None:
    class Buggy(WindowAverage):
        def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(Buggy(1), {"window": [2]}, panel(), SPLITTER, trials=3)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"space": {"windw": [1]}}, r"no draw from the space makes .*no argument 'windw'.*Did you mean 'window'"),
        ({"space": {"window": ["a"]}}, "no draw from the space makes a forecaster: window must be a whole number"),
        ({"space": {}}, "space must name at least one argument"),
        ({"metric": "mas"}, "unknown metric 'mas'.*Did you mean 'mase'"), ({"metric": "pinball"}, "at least 1 levels"),
        ({"metric": "coverage", "levels": (0.1, 0.9)}, "does not make sense for 'coverage'; take one of mase"),
        ({"trials": 0}, "trials must be a whole number, at least 1; got 0"), ({"trials": 2.0}, "trials must be"),
        ({"seed": -1}, "seed must be a whole number, at least 0; got -1"), ({"refit": 0}, "refit must be a whole"),
        ({"timeout": 0}, "timeout must be a positive number of seconds, or None; got 0"),
    ],
)  # fmt: skip
def test_arguments_are_checked_before_anything_is_fitted(choices: dict[str, Any], message: str) -> None:
    chosen = {"space": {"window": [1, 2]}, **choices}
    with pytest.raises(ArgumentError, match=message):
        search(Counted(1), chosen.pop("space"), panel(), SPLITTER, **chosen)
    assert not Counted.fits


def test_series_that_are_too_short_are_refused_before_anything_is_fitted() -> None:
    with pytest.raises(TooShortError, match="1 series are too short for 3 folds"):
        search(Counted(1), {"window": [1]}, panel(60, 18), SPLITTER)
    assert not Counted.fits


def test_a_timeout_begins_no_trial_after_it() -> None:
    class Slow(WindowAverage):
        def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
            import time

            time.sleep(0.1)
            super()._fit(panel, callbacks)

    found = search(Slow(1), {"window": ("int", 1, 40)}, panel(), SPLITTER, trials=50, timeout=0.7)
    assert 1 <= len(found.trials) <= 3  # a trial takes 0.3 s at least
    with pytest.raises(ArgumentError, match="within a timeout of 1e-09 seconds; raise it"):
        search(Slow(1), {"window": [1]}, panel(), SPLITTER, timeout=1e-9)


# ---- Optuna


def test_optuna_is_imported_when_a_search_begins_and_its_absence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; from forecast_kit import search; assert 'optuna' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ArgumentError, match=r"not installed: pip install 'forecast_kit\[search\]'"):
        search(SES(), ALPHA, panel(), SPLITTER)


def test_a_search_says_nothing_and_leaves_the_log_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    optuna.logging.set_verbosity(optuna.logging.INFO)
    optuna.logging.enable_propagation()
    try:
        with caplog.at_level(logging.INFO):
            search(SES(), ALPHA, panel(), SPLITTER, trials=2)
        assert not [record for record in caplog.records if record.name.startswith("optuna")]
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.disable_propagation()


def test_a_network_is_searched(seasonal_panel: Panel) -> None:
    network = NeuralForecaster(
        {"cell": "gru", "units": 2, "hidden": 2, "segment": 24}, horizon=24, input_length=48,
        training={"steps": 2, "batch_size": 4},
    )  # fmt: skip
    space = {
        "training__learning_rate": ("log", 1e-3, 1e-1),
        "network__units": [2, 3],
        "input_length": ("int", 48, 72, 24),
    }
    found = search(network, space, seasonal_panel, RollingOrigin(24), trials=2)
    assert isinstance(found.best, NeuralForecaster)
    assert found.best.training.learning_rate == found.arguments["training__learning_rate"]
    assert found.best._network.units == found.arguments["network__units"]  # type: ignore[attr-defined]
    assert found.score > 0
