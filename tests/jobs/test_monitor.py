"""The rules that ask for a training, on scores written by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast_kit import Panel
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.monitor import Check, Watched, as_table, checks, decision_in, recent_figures, unseen
from forecast_kit.jobs.sections import MonitorSection

NOW = AsOf.read("2024-07-08")


def scores(mae: list[float], version: str = "2", naive: float = 2.0) -> pd.DataFrame:
    """A run for each day before now, of two series."""
    days = pd.date_range(end="2024-07-07", periods=len(mae))
    rows = [(name, day, version, 24, error, naive, error / 4.0) for day, error in zip(days, mae, strict=True)
            for name in "ab"]  # fmt: skip
    columns = ["unique_id", "as_of", "model_version", "observed", "mae", "naive_mae", "mase"]
    return pd.DataFrame(rows, columns=columns).assign(bias=0.0, coverage=0.8)


def watched(**changes: object) -> Watched:
    usual = {
        "version": "2",
        "trained_until": "2024-06-30 23:00:00",
        "mase": 0.25,
        "last_training": AsOf.read("2024-07-01"),
    }
    return Watched(**{**usual, **changes})


def found(rules: dict, table: pd.DataFrame, champion: Watched | None = None) -> dict[str, Check]:
    section = MonitorSection(window=3, retrain=rules)
    return {one.check: one for one in checks(section, champion or watched(), table, NOW, panel=None)}


def test_without_rules_nothing_fires_and_figures_are_told() -> None:
    done = found({}, scores([1.0, 1.0, 3.0]))
    assert done["skill"].value == pytest.approx(1 - 5 / 6)
    assert done["error_ratio"].value == pytest.approx((0.25 + 0.25 + 0.75) / 3 / 0.25)
    assert [one.fired for one in done.values()] == [False] * 3
    assert done["retrain"].reason == "no rule fired"


@pytest.mark.parametrize(
    ("rules", "errors", "fires"),
    [
        ({"min_skill": 0.1}, [1.0, 1.9, 1.9, 1.9], True),
        ({"min_skill": 0.1}, [1.9, 1.0, 1.0, 1.0], False),  # the first run is out of the window
        ({"min_skill": 0.1}, [1.9, 1.9], False),  # two runs are no window of three
        ({"error_ratio": 1.5}, [1.6, 1.6, 1.6], True),
        ({"error_ratio": 1.7}, [1.6, 1.6, 1.6], False),
        ({"max_age": "7D"}, [1.0], True),
        ({"max_age": "8D"}, [1.0], False),
        ({"max_age": "7D", "cooldown": "8D"}, [1.0], False),
        ({"max_age": "7D", "cooldown": "7D"}, [1.0], True),
    ],
)
def test_a_rule_fires_beyond_its_threshold(rules: dict, errors: list[float], fires: bool) -> None:
    done = found(rules, scores(errors))
    assert done["retrain"].fired is fires
    if "cooldown" in rules and not fires:
        assert "the last training was as of 2024-07-01, less than 8D ago" in done["retrain"].reason


def test_a_rollback_counts_as_a_training_for_the_cooldown() -> None:
    """Else the version that somebody brought back, old by nature, would be trained away the next night."""
    rules = {"max_age": "7D", "cooldown": "5D"}
    assert found(rules, scores([1.0]))["retrain"].fired  # the last training is seven days ago
    for at in ("2024-07-05 09:30", "2024-07-08 09:30"):  # a moment after the as-of, too: the run was asked for again
        done = found(rules, scores([1.0]), watched(rolled_back=AsOf.read(at)))["retrain"]
        assert not done.fired
        assert f"a rollback made the champion what it is on {at[:10]}T0930, less than 5D ago" in done.reason
    assert found(rules, scores([1.0]), watched(rolled_back=AsOf.read("2024-07-02")))["retrain"].fired


def daily(shift: float, *, late: int = 0) -> Panel:
    """Two hundred days of forty shops with a week's pattern; from day 150 on all are shifted, and some send nothing."""
    rng = np.random.default_rng(1)
    days = pd.date_range("2024-01-01", periods=200)
    y = 20 + 5 * np.sin(2 * np.pi * np.arange(200) / 7) + rng.normal(0, 1, (40, 200))
    y[:, 150:] += shift
    frame = pd.DataFrame({"unique_id": np.repeat(np.arange(40), 200), "ds": np.tile(days, 40), "y": y.ravel()})
    return Panel.from_frame(frame[(frame["unique_id"] >= late) | (frame["ds"] < days[150])], freq="D")


def drift(panel: Panel, days: int, window: int = 7) -> Check:
    """What the rule finds so many days after the training."""
    section = MonitorSection(window=window, retrain={"drift": 1.5})
    last = pd.Timestamp("2024-01-01") + pd.Timedelta(days=149)
    mine = watched(trained_until=str(last), last_training=None)
    as_of = AsOf(last + pd.Timedelta(days=1 + days))
    return {one.check: one for one in checks(section, mine, scores([]), as_of, panel=panel)}["drift y"]


def test_drift_is_judged_a_week_of_steps_after_the_training_and_not_seasons_later() -> None:
    moved, same = daily(8.0), daily(0.0)
    assert drift(moved, 3).reason == "not judged yet: 3 of 7 steps since the training"
    assert not drift(moved, 3).fired
    seen = drift(moved, 7)
    assert seen.fired
    assert seen.reason == f"y moved {seen.value:.2f} times as far as ever in training"
    assert not any(drift(same, days).fired for days in range(7, 50))


def test_a_few_series_that_are_not_late_do_not_speak_for_all() -> None:
    assert drift(daily(0.0, late=36), 10).reason == "not judged yet: 40 of 200 values in the last 10 steps"
    assert np.isfinite(drift(daily(0.0, late=10), 10).value)


def test_scores_of_another_champion_do_not_count() -> None:
    assert np.isnan(found({"min_skill": 0.9}, scores([9.0] * 5, version="1"))["skill"].value)


def test_nobody_is_champion_asks_for_a_training_that_a_cooldown_puts_off() -> None:
    nobody = watched(version=None, trained_until=None, mase=float("nan"))
    assert found({}, scores([]), nobody)["retrain"].fired
    assert not found({"cooldown": "14D"}, scores([]), nobody)["retrain"].fired
    first = watched(version=None, trained_until=None, mase=float("nan"), last_training=None)
    assert found({"cooldown": "14D"}, scores([]), first)["retrain"].fired


def test_the_decision_is_read_back_from_its_table() -> None:
    table = as_table([*found({"max_age": "7D"}, scores([1.0])).values()])
    decision = decision_in(table)
    assert decision is not None
    assert decision["fired"]
    assert decision["reason"].startswith("the champion learned from data until 2024-06-30")
    assert decision_in(table.iloc[:0]) is None


def test_figures_are_those_of_the_last_runs() -> None:
    assert recent_figures(scores([9.0, 1.0, 2.0]), 2)["mae"] == pytest.approx(1.5)
    assert recent_figures(scores([]), 2) == {}


def test_series_that_the_source_has_no_more_keep_a_row() -> None:
    told = pd.DataFrame({"unique_id": list("aabb"), "model": "m", "model_version": "1", "fallback": ""})
    assert unseen(told, [pd.DataFrame({"unique_id": ["a"]})]).to_dict("records") == [
        {"unique_id": "b", "model": "m", "model_version": "1", "fallback": "", "steps": 2, "observed": 0}
    ]
