"""Registered models in a backtest: each judged as its training allows, and a broken champion is no dead end."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from verdicts import verdict

from forecast_kit import ETS, Forecaster, Naive, Panel, RollingOrigin, SeasonalNaive, WindowAverage, backtest
from forecast_kit.core.known import KNOWN
from forecast_kit.errors import ArgumentError, ArtifactError, StoreError, TrainingError
from forecast_kit.evaluation.gate import Gate
from forecast_kit.mlflow import Store, log_model
from forecast_kit.mlflow.contenders import challenge, contender, earliest_cutoff
from forecast_kit.mlflow.registry import champion, promote, register
from forecast_kit.models.deployed import Deployed

FOLDS = RollingOrigin(horizon=6, folds=2)
BASELINES = {"naive": Naive(horizon=6)}


def enter(store: Store, forecaster: Forecaster, called: str = "new") -> str:
    """The number of the version that a fitted forecaster becomes."""
    run_id = store.client.create_run(store.experiment("e")).info.run_id
    return register(
        store.client, log_model(forecaster, run_id=run_id, horizon=6), "demand", tags={"forecaster": called}
    )


def crown(store: Store, forecaster: Forecaster) -> str:
    number = enter(store, forecaster, "old")
    promote(store.client, "demand", number, verdict(0.5), against=None)
    return number


def artefact(store: Store, version: str) -> Path:
    """Where the version's forecaster lies."""
    uri = store.client.get_model_version_download_uri("demand", version)
    return Path(uri.removeprefix("file://")) / "forecaster"


def test_one_that_was_trained_before_the_folds_is_judged_as_deployed(store: Store, seasonal_panel: Panel) -> None:
    series = seasonal_panel.take(["s0"])  # in a ragged panel the shortest series decides
    old = ETS(horizon=6, jobs=1).fit(series.split(12)[0])
    number = enter(store, old)
    found = contender(store.client, "demand", number, series, FOLDS, levels=(0.1, 0.9))
    assert isinstance(found.forecaster, Deployed)
    assert found.how == (
        f"Version 1 was judged as deployed: its training ended at {old.trained_until_}, before the folds."
    )
    result = backtest({"it": found.forecaster}, series, FOLDS, levels=(0.1, 0.9))
    for fold in FOLDS.split(series):
        expected = old.predict(6, levels=(0.1, 0.9), history=fold.history)
        rows = result.frame[result.frame["fold"] == fold.number]
        np.testing.assert_allclose(rows["mean"], expected.mean.ravel())
        np.testing.assert_allclose(rows["q90"], expected.quantiles[:, :, 1].ravel())


def test_one_that_has_seen_the_answers_is_judged_by_its_recipe(store: Store, seasonal_panel: Panel) -> None:
    series = seasonal_panel.take(["s0"])
    for left_out in (11, 0):
        number = enter(store, ETS(horizon=6, jobs=1).fit(series.split(left_out)[0] if left_out else series))
        found = contender(store.client, "demand", number, series, FOLDS)
        assert isinstance(found.forecaster, ETS)
        assert "judged by its recipe, fitted anew in each fold, for its training data reach into the folds" in found.how
        ours = backtest({"it": found.forecaster}, series, FOLDS).frame["mean"]
        np.testing.assert_allclose(ours, backtest({"it": ETS(horizon=6, jobs=1)}, series, FOLDS).frame["mean"])


def test_in_a_ragged_panel_the_earliest_cutoff_counts(seasonal_panel: Panel) -> None:
    cutoffs = [fold.history.axis.stamps(fold.history.last).min() for fold in FOLDS.split(seasonal_panel)]
    assert earliest_cutoff(seasonal_panel, FOLDS) == min(cutoffs)
    # s0 is the shortest: 8 days from 2024-01-01, of which 12 hours are forecast.
    assert str(pd.Timestamp(earliest_cutoff(seasonal_panel, FOLDS))) == "2024-01-08 11:00:00"


def test_what_is_deployed_takes_part_and_learns_nothing(seasonal_panel: Panel, tmp_path: Path) -> None:
    before, _ = seasonal_panel.split(24)
    fitted = SeasonalNaive(horizon=6).fit(before)
    deployed = Deployed(fitted, "demand version 3")
    assert (deployed.name, deployed.horizon, deployed.context_length) == ("SeasonalNaive", 6, 24)
    assert json.dumps(deployed.describe()) != json.dumps(Deployed(fitted, "demand version 4").describe())
    again = deployed.clone().fit(seasonal_panel)
    assert again.forecaster is fitted
    np.testing.assert_array_equal(again.predict(6, history=before).mean, fitted.predict(6).mean)
    again.save(tmp_path / "saved")
    assert type(Forecaster.load(tmp_path / "saved")) is SeasonalNaive


# ---- challenges


def test_a_stronger_challenger_replaces_the_champion_and_a_weaker_one_does_not(
    store: Store, seasonal_panel: Panel
) -> None:
    crown(store, WindowAverage(5, horizon=6).fit(seasonal_panel))
    enter(store, SeasonalNaive(horizon=6).fit(seasonal_panel), "snaive")
    found, decision = challenge(
        store.client, "demand", "challenger", seasonal_panel, FOLDS, baselines=BASELINES, gate=Gate()
    )
    names = {"snaive": SeasonalNaive(), "version 1": WindowAverage(5), "naive": Naive()}
    expected = backtest(names, seasonal_panel, FOLDS).summary(["mase"])["mase"]
    assert found.board.set_index("model")["mase"].to_dict() == pytest.approx(expected.to_dict())
    assert (decision.promoted, decision.version, decision.replaced) == (True, "2", "1")
    assert decision.reason.startswith(f"Promoted: snaive has MASE {expected['snaive']:.4g}, the best baseline naive ")
    assert f"champion version 1 has {expected['version 1']:.4g} on the same 2 folds" in decision.reason
    assert "Both were judged by their recipes, fitted anew in each fold." in decision.reason
    tags = store.client.get_model_version("demand", "2").tags
    assert (tags["judged_against"], len(tags["trial"])) == ("1", 16)

    enter(store, WindowAverage(5, horizon=6).fit(seasonal_panel), "average")
    found, decision = challenge(store.client, "demand", "3", seasonal_panel, FOLDS, baselines={}, gate=Gate())
    assert not decision.promoted
    assert "gain over champion version 2" in decision.reason
    current = champion(store.client, "demand")
    assert current is not None
    assert str(current.version) == "2"


def test_a_refresh_of_the_same_recipe_is_promoted_and_fitted_once(
    store: Store, seasonal_panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    crown(store, SeasonalNaive(horizon=6).fit(seasonal_panel.split(2)[0]))
    enter(store, SeasonalNaive(horizon=6).fit(seasonal_panel))
    fits = []
    original = SeasonalNaive._fit
    monkeypatch.setattr(SeasonalNaive, "_fit", lambda self, *rest: (fits.append(self), original(self, *rest))[1])
    gate = Gate(min_gain=0.1, significance=0.5)
    _, decision = challenge(store.client, "demand", "challenger", seasonal_panel, FOLDS, baselines=BASELINES, gate=gate)
    assert decision.promoted, decision.reason
    assert "(gain +0.0 %)" in decision.reason
    assert len([one for one in fits if type(one) is SeasonalNaive]) == FOLDS.folds  # Naive is one too


def test_a_backtest_that_was_made_already_is_not_made_again(store: Store, seasonal_panel: Panel) -> None:
    crown(store, WindowAverage(5, horizon=6).fit(seasonal_panel))
    enter(store, SeasonalNaive(horizon=6).fit(seasonal_panel))
    result = backtest({"mine": SeasonalNaive(horizon=6), **BASELINES}, seasonal_panel, FOLDS)
    done: list[str] = []
    found, decision = challenge(
        store.client, "demand", "challenger", seasonal_panel, FOLDS, baselines=BASELINES, gate=Gate(), result=result,
        challenger="mine", progress=lambda event: done.append(event.model),
    )  # fmt: skip
    assert decision.promoted
    assert set(done) == {"version 1"}
    assert found.board["model"].tolist()[0] == "mine"


def test_groups_of_the_gate_come_from_the_panel(store: Store, seasonal_frame: pd.DataFrame) -> None:
    frame = seasonal_frame.assign(region=lambda f: np.where(f["unique_id"] < "s3", "north", "south"))
    panel = Panel.from_frame(frame, freq="h", static=("region",), categorical=("region",))
    enter(store, SeasonalNaive(horizon=6).fit(panel))
    gate = Gate(group_by="region", max_group_loss=0.0)
    found, _ = challenge(store.client, "demand", "1", panel, FOLDS, baselines=BASELINES, gate=gate)
    assert "of 2 groups, against naive" in found.checks["found"].iloc[-1]


# ---- champions that cannot take part


def test_a_damaged_champion_is_told_of_and_can_be_replaced(store: Store, seasonal_panel: Panel) -> None:
    crown(store, SeasonalNaive(horizon=6).fit(seasonal_panel))
    file = artefact(store, "1") / "arrays.npz"
    file.write_bytes(file.read_bytes()[:-20])
    enter(store, SeasonalNaive(horizon=6).fit(seasonal_panel))
    _, decision = challenge(store.client, "demand", "2", seasonal_panel, FOLDS, baselines=BASELINES, gate=Gate())
    assert decision.promoted
    assert decision.replaced == "1"
    assert "Version 1 was not judged, its artefact cannot be used" in decision.reason


def test_a_champion_whose_artefact_is_gone_can_be_replaced_by_what_beats_the_baselines(
    store: Store, seasonal_panel: Panel
) -> None:
    crown(store, SeasonalNaive(horizon=6).fit(seasonal_panel))
    folder = artefact(store, "1").parent
    folder.rename(folder.with_name("elsewhere"))
    enter(store, Naive(horizon=6).fit(seasonal_panel))
    better = {"snaive": SeasonalNaive(horizon=6)}
    _, refused = challenge(store.client, "demand", "2", seasonal_panel, FOLDS, baselines=better, gate=Gate())
    assert not refused.promoted
    assert "Version 1 was not judged" in refused.reason
    enter(store, SeasonalNaive(horizon=6).fit(seasonal_panel))
    _, decision = challenge(store.client, "demand", "3", seasonal_panel, FOLDS, baselines=BASELINES, gate=Gate())
    assert decision.promoted
    assert "Version 1 was not judged" in decision.reason


def test_a_challenger_whose_artefact_is_gone_is_an_error_and_no_decision(store: Store, seasonal_panel: Panel) -> None:
    enter(store, SeasonalNaive(horizon=6).fit(seasonal_panel))
    folder = artefact(store, "1").parent
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises((ArtifactError, StoreError)):
        challenge(store.client, "demand", "1", seasonal_panel, FOLDS, baselines=BASELINES, gate=Gate())
    assert "decision" not in store.client.get_model_version("demand", "1").tags


def test_a_champion_of_other_data_is_told_of(store: Store, seasonal_panel: Panel) -> None:
    daily = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=60, freq="D"), "y": range(60)})
    crown(store, SeasonalNaive(horizon=6).fit(Panel.from_frame(daily, freq="D")))
    enter(store, SeasonalNaive(horizon=6).fit(seasonal_panel))
    _, decision = challenge(store.client, "demand", "2", seasonal_panel, FOLDS, baselines=BASELINES, gate=Gate())
    assert decision.promoted
    assert "Version 1 was not judged, it cannot forecast the newest data: history has freq='h'" in decision.reason


def test_a_champion_on_numbered_series_does_not_fit_named_ones(store: Store, seasonal_panel: Panel) -> None:
    numbered = pd.DataFrame({"unique_id": 1, "ds": pd.date_range("2024-01-01", periods=60, freq="h"), "y": range(60)})
    enter(store, SeasonalNaive(horizon=6).fit(Panel.from_frame(numbered, freq="h")))
    found = contender(store.client, "demand", "1", seasonal_panel, FOLDS)
    assert found.forecaster is None
    assert "it was fitted on series named by numbers, and these are not" in found.how


class Stubborn(SeasonalNaive):
    """Can be fitted on whole panels alone."""

    broken = False

    def _fit(self, panel, callbacks):
        if Stubborn.broken:
            raise TrainingError("the loss is no number")
        super()._fit(panel, callbacks)


def test_a_champion_that_works_but_cannot_be_fitted_anew_is_not_replaced_unseen(
    store: Store, seasonal_panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    crown(store, Stubborn(horizon=6).fit(seasonal_panel))
    enter(store, SeasonalNaive(horizon=6).fit(seasonal_panel))
    monkeypatch.setattr(Stubborn, "broken", True)
    _, decision = challenge(store.client, "demand", "2", seasonal_panel, FOLDS, baselines=BASELINES, gate=Gate())
    assert not decision.promoted
    assert "version 1, works as it is deployed, but its recipe cannot be fitted" in decision.reason


def test_an_artefact_that_only_this_process_cannot_read_is_no_broken_champion(
    store: Store, seasonal_panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    crown(store, Stubborn(horizon=6).fit(seasonal_panel))
    enter(store, SeasonalNaive(horizon=6).fit(seasonal_panel))
    monkeypatch.delitem(KNOWN, "Stubborn")
    with pytest.raises(ArtifactError, match="models:/demand/1 cannot be judged here: unknown forecaster 'Stubborn'"):
        challenge(store.client, "demand", "2", seasonal_panel, FOLDS, baselines=BASELINES, gate=Gate())


def test_the_champion_cannot_challenge_itself(store: Store, seasonal_panel: Panel) -> None:
    crown(store, SeasonalNaive(horizon=6).fit(seasonal_panel))
    with pytest.raises(ArgumentError, match="version 1 of 'demand' is the champion already"):
        challenge(store.client, "demand", "1", seasonal_panel, FOLDS, baselines=BASELINES, gate=Gate())
    assert mlflow.get_tracking_uri() == store.uri
