"""The gate, check by check, against numbers worked out by hand; and what no challenger may ever get through."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import Backtest, Panel, RollingOrigin
from forecast_kit.errors import ArgumentError
from forecast_kit.evaluation.comparable import groups_of, trial_of
from forecast_kit.evaluation.gate import Gate, Verdict, judge


def made(errors: dict[str, Any], *, predict_s: dict[str, list[float]] | None = None) -> Backtest:
    """A backtest of one step in which each model's absolute error is given: `[folds, series]`; NaN: not observed.

    The scale is 1 everywhere, so MASE is the absolute error.
    """
    frames, timings, scales = [], [], []
    for model, given_errors in errors.items():
        for fold, row in enumerate(np.atleast_2d(np.asarray(given_errors, dtype=float)), start=1):
            ids = [f"s{k}" for k in range(len(row))]
            y = np.where(np.isnan(row), np.nan, 100.0)
            frames.append(pd.DataFrame({
                "unique_id": ids, "ds": fold, "cutoff": fold - 1, "fold": fold, "step": 1, "y": y,
                "mean": np.where(np.isnan(row), 100.0, 100.0 + row), "model": model,
            }))  # fmt: skip
            seconds = (predict_s or {}).get(model, [1.0] * 99)[fold - 1]
            timings.append({"model": model, "fold": fold, "fit_s": 1.0, "predict_s": seconds, "size_mb": 1.0})
            if model == next(iter(errors)):
                scales.append(pd.DataFrame({"fold": fold, "unique_id": ids, "absolute": 1.0, "squared": 1.0}))
    return Backtest(pd.concat(frames, ignore_index=True), pd.concat(scales), pd.DataFrame(timings), ())


def verdict(errors: dict[str, Any], *, same_recipe: bool = False, groups: Any = None, **gate: Any) -> Verdict:
    """Of the challenger `new` against the champion `old`, where there is one, and all others."""
    baselines = [name for name in errors if name not in ("new", "old")]
    return judge(
        made(errors), challenger="new", champion="old" if "old" in errors else None, baselines=baselines,
        gate=Gate(**gate), same_recipe=same_recipe, groups=groups,
    )  # fmt: skip


def check_of(found: Verdict, begins: str) -> dict[str, Any]:
    (row,) = found.checks[found.checks["check"].str.startswith(begins)].to_dict("records")
    return row


def test_the_reason_tells_the_numbers() -> None:
    # 12 series, all better than both rivals: 2 * 0.5**12 = 0.00049 for each test, doubled by Holm.
    found = verdict(
        {"new": [[0.5] * 12, [1.0] * 12], "old": [[1.0] * 12] * 2, "ets": [[2.0] * 12] * 2, "naive": [[3] * 12] * 2}
    )
    assert found.promoted
    assert found.reason == (
        "Promoted: new has MASE 0.75, the best baseline ets 2 (skill +62.5 %, p < 0.001); champion old has 1 on the "
        "same 2 folds (gain +25.0 %, p < 0.001)."
    )
    assert found.board["model"].tolist() == ["new", "old", "ets", "naive"]
    assert found.board["mase"].tolist() == [0.75, 1.0, 2.0, 3.0]
    assert found.board["role"].tolist() == ["challenger", "champion", "baseline", "baseline"]
    assert found.board["skill"].tolist()[1:] == [0.25, 0.625, 0.75]
    assert (found.score, found.metric, found.champion) == (0.75, "mase", "old")


def test_a_refusal_names_everything_that_was_not_met() -> None:
    found = verdict({"new": [[1.0] * 12], "old": [[0.5] * 12], "ets": [[0.8] * 12]}, max_latency_s=0.5)
    assert not found.promoted
    assert found.reason.startswith("Refused: new has MASE 1, the best baseline ets 0.8 (skill -25.0 %")
    assert found.reason.endswith(
        "Not met: skill over the best baseline, ets (needed more than 0 %, found -25.0 %); gain over champion old "
        "(needed at least 0 %, found -100.0 %); seconds to forecast all series once (needed "
        "at most 0.5 s, found 1 s)."
    )


@pytest.mark.parametrize(
    ("own", "min_skill", "promoted"),
    [(0.9, 0.0, True), (1.0, 0.0, False), (0.95, 0.05, True), (0.96, 0.05, False), (1.04, -0.05, True),
     (1.06, -0.05, False)],
)  # fmt: skip
def test_skill_is_over_the_best_of_the_baselines(own: float, min_skill: float, promoted: bool) -> None:
    found = verdict({"new": [[own] * 3], "a": [[1.0] * 3], "b": [[2.0] * 3]}, min_skill=min_skill)
    assert found.promoted is promoted
    assert check_of(found, "skill")["check"].endswith("a")


@pytest.mark.parametrize(
    ("own", "min_gain", "same", "promoted"),
    [(1.0, 0.0, False, True), (1.001, 0.0, False, False), (0.98, 0.02, False, True), (0.99, 0.02, False, False),
     (1.0, 0.02, True, True), (1.001, 0.02, True, False), (1.04, -0.05, True, True)],
)  # fmt: skip
def test_gain_is_over_the_champion_and_a_refresh_need_only_equal_it(
    own: float, min_gain: float, same: bool, promoted: bool
) -> None:
    found = verdict({"new": [[own] * 3], "old": [[1.0] * 3], "naive": [[2.0] * 3]}, min_gain=min_gain, same_recipe=same)
    assert found.promoted is promoted


def test_significance_is_wilcoxons_with_holms_correction() -> None:
    # Six series, all differences of one sign: the exact two-sided p is 2 / 2**6 = 0.03125; Holm doubles it for two.
    steps = np.arange(1, 7) / 10
    errors = {"new": [np.ones(6)], "old": [1.0 + steps], "naive": [2.0 + steps]}
    alone = verdict({key: errors[key] for key in ("new", "naive")}, significance=0.05)
    assert alone.promoted
    assert check_of(alone, "difference")["found"] == "p = 0.031"
    both = verdict(errors, significance=0.05)
    assert not both.promoted
    assert both.checks[both.checks["check"].str.startswith("difference")]["found"].tolist() == ["p = 0.062"] * 2
    refresh = verdict(errors, significance=0.05, same_recipe=True)  # the champion's recipe needs no such proof
    assert refresh.promoted


def test_a_significant_difference_must_be_in_the_challengers_favour() -> None:
    # Worse on eleven series of twelve, and better in the mean through a single large one.
    new, naive = np.full(12, 1.1), np.ones(12)
    new[0], naive[0] = 1.0, 50.0
    new[1:] += np.arange(11) / 1000
    found = verdict({"new": [new], "naive": [naive]}, significance=0.05)
    assert check_of(found, "skill")["passed"]
    row = check_of(found, "difference")
    assert not row["passed"]
    assert row["found"] == "p = 0.034, and not in the challenger's favour"


@pytest.mark.parametrize("errors", [{"new": [[1.0]], "naive": [[2.0]]}, {"new": [[1.0]]}])
def test_one_series_in_one_fold_allows_a_score_but_no_test(errors: dict[str, Any]) -> None:
    assert verdict(errors).promoted
    found = verdict(errors, significance=0.05)
    assert not found.promoted
    assert "undefined, too few series" in found.reason or "nothing to compare with" in found.reason


GROUPS = {"s0": "north", "s1": "north", "s2": "south"}


@pytest.mark.parametrize(("most", "promoted"), [(0.2, True), (0.19, False)])
def test_no_group_may_lose_more_than_the_share(most: float, promoted: bool) -> None:
    # North: 2.4 against 2.0 in the mean, 20 % worse; south carries the mean of all.
    errors = {"new": [[1.4, 3.4, 1.0]], "old": [[1.0, 3.0, 9.0]], "naive": [[9.0, 9.0, 9.0]]}
    found = verdict(errors, groups=GROUPS, group_by="region", max_group_loss=most)
    assert found.promoted is promoted
    assert check_of(found, "worst group by region")["found"] == "+20.0 % in 'north' of 2 groups, against old"


def test_groups_are_compared_with_the_best_baseline_where_there_is_no_champion() -> None:
    found = verdict({"new": [[2.0, 1.0]], "naive": [[1.0, 9.0]]}, group_by="unique_id", max_group_loss=0.5)
    assert not found.promoted
    assert check_of(found, "worst group")["found"] == "+100.0 % in 's0' of 2 groups, against naive"


def test_a_series_without_a_group_is_named() -> None:
    errors = {"new": [[1.0, 1.0]], "naive": [[2.0, 2.0]]}
    for groups in (None, {"s0": "north"}):
        with pytest.raises(ArgumentError, match=r"no group is given for .*'s1'.*groups_of\(panel, 'region'\)"):
            verdict(errors, groups=groups, group_by="region", max_group_loss=0.1)


@pytest.mark.parametrize(("seconds", "promoted"), [([9.0, 2.0, 1.0], True), ([9.0, 2.1, 1.0], False)])
def test_latency_is_the_median_over_folds(seconds: list[float], promoted: bool) -> None:
    result = made({"new": [[1.0]] * 3, "naive": [[2.0]] * 3}, predict_s={"new": seconds})
    found = judge(result, challenger="new", champion=None, baselines=["naive"], gate=Gate(max_latency_s=2.0))
    assert found.promoted is promoted


def test_a_latency_that_was_not_measured_is_not_met() -> None:
    result = made({"new": [[1.0]], "naive": [[2.0]]}, predict_s={"new": [math.nan]})
    found = judge(result, challenger="new", champion=None, baselines=["naive"], gate=Gate(max_latency_s=2.0))
    assert not found.promoted
    assert check_of(found, "seconds")["found"] == "not measured"


NAN = math.nan


@pytest.mark.parametrize(
    ("errors", "why"),
    [
        ({"new": [[NAN, NAN]], "naive": [[1.0, 1.0]]}, "new has no defined MASE"),
        ({"new": [[NAN, 0.1]], "naive": [[1.0, 1.0]]}, "new has none for 1 of 2 series and folds"),
        ({"new": [[math.inf, 0.1]], "naive": [[1.0, 1.0]]}, "new has none for 1 of 2 series and folds"),
        ({"new": [[0.1, 0.1]], "old": [[NAN, NAN]], "naive": [[1.0, 1.0]]}, "champion old has no defined MASE"),
        ({"new": [[0.1, 0.1]], "naive": [[NAN, NAN]]}, "none of the baselines has a defined MASE"),
        ({"new": [[0.1, 0.1]], "old": [[NAN, 1.0]], "naive": [[1.0, NAN]]}, "no series and fold for which all"),
        ({"new": [[NAN]], "old": [[NAN]], "naive": [[NAN]]}, "new has no defined MASE"),
    ],
)
def test_scores_that_are_no_numbers_never_promote(errors: dict[str, Any], why: str) -> None:
    found = verdict(errors)
    assert not found.promoted
    assert why in found.reason


def test_a_baseline_without_any_score_is_left_out() -> None:
    found = verdict({"new": [[1.0, 1.0]], "odd": [[NAN, NAN]], "naive": [[2.0, 2.0]]})
    assert found.promoted
    assert found.board["model"].tolist() == ["new", "naive"]


def test_scores_are_compared_over_the_series_that_all_have() -> None:
    # Over its own two series the baseline would be better.
    found = verdict({"new": [[1.0, 9.0, 1.0]], "naive": [[2.0, NAN, 2.0]]})
    assert found.board.set_index("model")["mase"].to_dict() == {"new": 1.0, "naive": 2.0}
    assert found.promoted


@pytest.mark.parametrize(
    ("own", "naive", "skill", "promoted"),
    [(0.0, 0.0, "+0.0 %", False), (1.0, 0.0, "-inf %", False), (0.0, 1.0, "+100.0 %", True)],
)
def test_scores_of_zero(own: float, naive: float, skill: str, promoted: bool) -> None:
    found = verdict({"new": [[own, own]], "naive": [[naive, naive]]})
    assert (found.promoted, check_of(found, "skill")["found"]) == (promoted, skill)


def test_without_baselines_the_champion_is_the_yardstick() -> None:
    assert verdict({"new": [[1.0]], "old": [[1.0]]}).promoted
    assert not verdict({"new": [[1.1]], "old": [[1.0]]}).promoted
    assert verdict({"new": [[1.0]]}).reason == "Promoted: new has MASE 1."
    assert "no baseline to compare with" in verdict({"new": [[1.0]]}, min_skill=0.1).reason


def test_small_differences_are_not_told_as_none() -> None:
    found = verdict({"new": [[1.0001, 1.0001]], "old": [[1.0, 1.0]], "naive": [[2.0, 2.0]]})
    assert check_of(found, "gain")["found"] == "-0.01 %"


def test_folds_that_not_all_have_finished_do_not_count() -> None:
    whole = made({"new": [[1.0], [9.0]], "naive": [[2.0], [2.0]]})
    part = Backtest(whole.frame, whole.scales, whole.timings, (), (("naive", 2),))
    found = judge(part, challenger="new", champion=None, baselines=["naive"], gate=Gate())
    assert found.score == 1.0


def test_a_refusal_from_outside_keeps_the_findings() -> None:
    found = verdict({"new": [[1.0]], "naive": [[2.0]]}).refused("the champion changed")
    assert (found.promoted, found.reason) == (False, "Refused: the champion changed.")
    assert found.checks["passed"].tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"metric": "coverage"}, "of which less is better"), ({"metric": "msae"}, "Did you mean"),
        ({"min_skill": 1.0}, "must be a number below 1"), ({"min_gain": NAN}, "must be a number below 1"),
        ({"min_gain": True}, "must be a number below 1"), ({"significance": 5}, "between 0 and 1 such as 0.05"),
        ({"group_by": "region"}, "go together"), ({"max_group_loss": 0.1}, "go together"),
        ({"group_by": "region", "max_group_loss": -0.1}, "a share of at least 0"),
        ({"max_latency_s": 0}, "seconds above 0"), ({"max_latency_s": "2"}, "seconds above 0"),
    ],
)  # fmt: skip
def test_an_impossible_gate_is_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentError, match=told):
        Gate(**wrong)


def test_names_must_be_there_and_differ() -> None:
    result = made({"new": [[1.0]], "naive": [[2.0]]})
    with pytest.raises(ArgumentError, match="the backtest has no 'gru'; it has 'new', 'naive'"):
        judge(result, challenger="gru", champion=None, baselines=["naive"], gate=Gate())
    with pytest.raises(ArgumentError, match="must be different models"):
        judge(result, challenger="new", champion="naive", baselines=["naive"], gate=Gate())
    with pytest.raises(ArgumentError, match="needs forecasts with at least 1 levels"):
        judge(result, challenger="new", champion=None, baselines=["naive"], gate=Gate("pinball"))


# ---- properties

SCORES = st.floats(0.0, 10.0).map(lambda x: round(x, 2))


@st.composite
def fields(draw: st.DrawFn) -> dict[str, np.ndarray]:
    shape = draw(st.integers(1, 2)), draw(st.integers(1, 12))
    names = ["new", "naive", *(["old"] if draw(st.booleans()) else []), *(["ets"] if draw(st.booleans()) else [])]
    cells = st.lists(SCORES, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    return {name: np.array(draw(cells)).reshape(shape) for name in names}


GATES = st.fixed_dictionaries({
    "min_skill": st.sampled_from([0.0, 0.1]), "min_gain": st.sampled_from([0.0, 0.1]),
    "significance": st.sampled_from([None, 0.05, 0.5]),
})  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(fields(), GATES, st.booleans())
def test_nothing_worse_than_its_rivals_is_ever_promoted(
    errors: dict[str, np.ndarray], gate: dict[str, Any], same: bool
) -> None:
    found = verdict(errors, same_recipe=same, **gate)
    if found.promoted:
        means = {name: float(values.mean()) for name, values in errors.items()}
        assert all(means["new"] < means[name] for name in ("naive", "ets") if name in means)
        assert means["new"] <= means.get("old", math.inf) * (1 + 1e-12)
    assert found.promoted == found.checks["passed"].all() == found.reason.startswith("Promoted")


@settings(max_examples=20, deadline=None)
@given(fields(), st.sampled_from([None, 0.05]), st.floats(0.0, 1.0))
def test_a_better_score_never_loses_what_a_worse_one_has(
    errors: dict[str, np.ndarray], significance: float | None, share: float
) -> None:
    if verdict(errors, significance=significance).promoted:
        assert verdict({**errors, "new": errors["new"] * share}, significance=significance).promoted


# ---- what makes scores comparable


def test_groups_come_from_static_covariates() -> None:
    frame = pd.DataFrame({"store": ["a", "b"], "ds": 1, "y": 1.0, "size": [2.0, 3.0]})
    panel = Panel.from_frame(frame, freq=1, id_col="store", static=("size",))
    assert groups_of(panel, "size") == {"a": 2.0, "b": 3.0}
    assert groups_of(panel, "unique_id") == groups_of(panel, "store") == {"a": "a", "b": "b"}
    with pytest.raises(ArgumentError, match="there is no 'sise'; there are unique_id, size"):
        groups_of(panel, "sise")


def test_a_trial_is_the_data_the_folds_and_the_metric(seasonal_panel: Panel) -> None:
    def trial(panel: Panel = seasonal_panel, folds: int = 2, metric: str = "mase") -> str:
        return trial_of(panel, RollingOrigin(12, folds=folds), metric)

    others = {trial(seasonal_panel.split(1)[0]), trial(folds=1), trial(metric="mae")}
    assert trial() == trial()
    assert len(others | {trial()}) == 4
