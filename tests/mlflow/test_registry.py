"""Promotion: who becomes champion, and what is written down about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from forecast_kit import Panel, SeasonalNaive
from forecast_kit.errors import ArgumentError, StoreError
from forecast_kit.mlflow import Decision, Gate, Store, log_model, promote
from forecast_kit.mlflow.registry import champion, register


@pytest.fixture
def versions(store: Store, seasonal_panel: Panel) -> list[str]:
    """Two versions of the registered model `demand`."""
    fitted = SeasonalNaive(horizon=6).fit(seasonal_panel)
    run = store.client.create_run(store.experiment("e")).info.run_id
    return [register(store.client, log_model(fitted, run_id=run), "demand") for _ in range(2)]


def decide(store: Store, version: str, own: float, *, baseline: float = 1.0, trial: str = "t", **gate) -> Decision:
    return promote(
        store.client, "demand", version, scores={"gru": own, "naive": 1.5, "ets": baseline}, challenger="gru",
        gate=Gate(**gate), trial=trial,
    )  # fmt: skip


def champion_version(store: Store) -> str:
    found = champion(store.client, "demand")
    assert found is not None
    return str(found.version)


def test_the_first_version_that_beats_all_baselines_is_champion(store: Store, versions: list[str]) -> None:
    assert champion(store.client, "demand") is None
    decision = decide(store, "1", 0.8)
    assert decision == Decision(
        True, "Promoted: gru has MASE 0.8000, the best baseline ets 1.0000: skill +20.0%.", "1", None
    )
    assert champion_version(store) == "1"
    stored = store.client.get_model_version("demand", "1")
    assert stored.description == decision.reason
    assert stored.tags == {
        "forecaster": "gru", "trial": "t", "mase": "0.8", "decision": "promoted", "replaced_version": "none",
    }  # fmt: skip


@pytest.mark.parametrize(("own", "gate"), [(1.0, {}), (1.2, {}), (0.97, {"min_skill": 0.05})])
def test_a_version_that_does_not_beat_the_best_baseline_is_refused(
    store: Store, versions: list[str], own: float, gate: dict
) -> None:
    decision = decide(store, "1", own, **gate)
    assert not decision.promoted
    assert "best baseline ets 1.0000" in decision.reason
    assert champion(store.client, "demand") is None
    assert str(store.client.get_model_version_by_alias("demand", "challenger").version) == "1"
    assert store.client.get_model_version("demand", "1").tags["decision"] == "refused"


def test_a_weaker_challenger_of_the_same_trial_is_refused_and_a_stronger_one_replaces(
    store: Store, versions: list[str]
) -> None:
    decide(store, "1", 0.8)
    weaker = decide(store, "2", 0.85)
    assert not weaker.promoted
    assert "champion version 1 has 0.8000 on the same data and folds" in weaker.reason
    assert champion_version(store) == "1"
    stronger = decide(store, "2", 0.75)
    assert stronger.promoted
    assert stronger.replaced == "1"
    assert champion_version(store) == "2"
    assert store.client.get_model_version("demand", "2").tags["replaced_version"] == "1"


def test_a_champion_of_another_trial_is_no_yardstick(store: Store, versions: list[str]) -> None:
    decide(store, "1", 0.5, trial="old data")
    decision = decide(store, "2", 0.9, trial="new data")
    assert decision.promoted
    assert "version 1 was judged on other data or folds" in decision.reason


def test_an_impossible_gate_is_refused() -> None:
    with pytest.raises(ArgumentError, match="must be below 1"):
        Gate(min_skill=1.0)


def test_a_model_that_is_not_there_is_a_store_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="refused the decision on 'nothing' version 1"):
        promote(store.client, "nothing", "1", scores={"gru": 1.0}, challenger="gru", gate=Gate(), trial="t")
