"""The registry: registered once however often it is asked, found by names that MLflow can find again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.exceptions import BAD_REQUEST, MlflowException
from mlflow.tracking import MlflowClient
from verdicts import verdict

from forecast_kit import Panel, SeasonalNaive
from forecast_kit.errors import ArgumentError, ArtifactError, StoreError
from forecast_kit.mlflow import Store, log_model, save_model
from forecast_kit.mlflow.registry import challenger, champion, find_version, promote, register, rollback


@pytest.fixture
def fitted(seasonal_panel: Panel) -> SeasonalNaive:
    return SeasonalNaive(horizon=6).fit(seasonal_panel)


@pytest.fixture
def run_id(store: Store) -> str:
    return str(store.client.create_run(store.experiment("e")).info.run_id)


def test_a_new_version_is_the_challenger_and_carries_text_tags_and_digest(
    store: Store, fitted: SeasonalNaive, run_id: str
) -> None:
    info = log_model(fitted, run_id=run_id)
    text = "A seasonal naive forecast of six series.\n\n| rows |\n|---|\n| 9 |"
    number = register(store.client, info, "demand", tags={"forecaster": "snaive"}, description=text)
    version = store.client.get_model_version("demand", number)
    assert (number, version.description, version.run_id) == ("1", text, run_id)
    assert version.tags == {
        "forecaster": "snaive", "forecast_kit.model_id": info.model_id,
        "forecast_kit.digest": info.flavors["forecast_kit"]["digest"],
    }  # fmt: skip
    assert len(version.tags["forecast_kit.digest"]) == 64
    found = challenger(store.client, "demand")
    assert found is not None
    assert str(found.version) == "1"
    assert champion(store.client, "demand") is None


def test_registering_again_gives_the_same_version(store: Store, fitted: SeasonalNaive, run_id: str) -> None:
    first, second = (log_model(fitted, run_id=run_id) for _ in range(2))
    assert [register(store.client, info, "demand") for info in (first, second, first, second)] == ["1", "2", "1", "2"]
    assert register(store.client, first, "another name") == "1"
    # MLflow itself could not have told: it keeps the id of the logged model nowhere.
    assert store.client.get_model_version("demand", "1").model_id is None


def test_a_version_that_was_decided_upon_does_not_become_challenger_again(
    store: Store, fitted: SeasonalNaive, run_id: str
) -> None:
    info = log_model(fitted, run_id=run_id)
    register(store.client, info, "demand")
    promote(store.client, "demand", "1", verdict(0.5), against=None)
    assert register(store.client, info, "demand") == "1"
    assert challenger(store.client, "demand") is None


def test_a_model_that_was_not_logged_cannot_be_registered(store: Store, fitted: SeasonalNaive, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds no MLflow model"):
        register(store.client, tmp_path / "nothing", "demand")
    save_model(fitted, tmp_path / "model")
    with pytest.raises(ArtifactError, match="is not logged yet"):
        register(store.client, tmp_path / "model", "demand")


@pytest.mark.parametrize("name", ["a/b", "a:b", "a@champion", "a?b", "a'b", 'a"b', "", " a", "..", "x" * 257])
def test_a_name_that_could_not_be_found_again_is_refused_before_anything_is_written(
    store: Store, fitted: SeasonalNaive, run_id: str, name: str
) -> None:
    info = log_model(fitted, run_id=run_id)
    for call in (
        lambda: register(store.client, info, name),
        lambda: champion(store.client, name),
        lambda: find_version(store.client, name, "1"),
        lambda: promote(store.client, name, "1", verdict(0.5), against=None),
        lambda: rollback(store.client, name),
    ):
        with pytest.raises(ArgumentError, match="a registered model's name"):
            call()
    assert not store.client.search_registered_models()


def test_versions_are_found_by_number_and_by_the_two_aliases_alone(
    store: Store, fitted: SeasonalNaive, run_id: str
) -> None:
    register(store.client, log_model(fitted, run_id=run_id), "demand")
    for which in ("1", "challenger"):
        assert str(find_version(store.client, "demand", which).version) == "1"
    with pytest.raises(StoreError, match="'demand' has no champion"):
        find_version(store.client, "demand", "champion")
    with pytest.raises(StoreError, match="cannot find version 9 of 'demand'"):
        find_version(store.client, "demand", "9")
    for reserved in ("latest", "v1", "production", "", "-1", "²"):
        with pytest.raises(ArgumentError, match="a version is a number, or one of champion and challenger"):
            find_version(store.client, "demand", reserved)


JOB = """
import json, sys
import pandas as pd
from forecast_kit import Panel, SeasonalNaive
from forecast_kit.mlflow import connect, log_model
from forecast_kit.mlflow.registry import register
store = connect(sys.argv[1])
panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(9), "y": 1.0}), freq=1, season_length=3)
fitted = SeasonalNaive(horizon=3).fit(panel)
run = store.client.create_run(store.experiment("e")).info.run_id
print(json.dumps([register(store.client, log_model(fitted, run_id=run), "demand") for _ in range(3)]))
"""


def test_an_alias_that_another_job_inserts_at_the_same_moment_is_set_again(
    store: Store, fitted: SeasonalNaive, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = register(store.client, log_model(fitted, run_id=run_id), "demand")
    store.client.delete_registered_model_alias("demand", "challenger")
    honest, calls = MlflowClient.set_registered_model_alias, []

    def beaten_once(client: MlflowClient, name: str, alias: str, version: str) -> None:
        calls.append(version)
        if len(calls) == 1:
            honest(client, name, alias, first)
            raise MlflowException("UNIQUE constraint failed: registered_model_aliases", error_code=BAD_REQUEST)
        honest(client, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", beaten_once)
    second = register(store.client, log_model(fitted, run_id=run_id), "demand")
    assert calls == [second, second]
    found = challenger(store.client, "demand")
    assert found is not None
    assert str(found.version) == second


def test_six_jobs_at_once_on_an_empty_store_make_eighteen_versions(tmp_path: Path) -> None:
    jobs = [
        subprocess.Popen([sys.executable, "-c", JOB, str(tmp_path / "s")], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]  # fmt: skip
    said = [job.communicate(timeout=240) for job in jobs]  # all of them, before one that failed ends the test
    assert [job.returncode for job in jobs] == [0] * 6, [errors for _, errors in said]
    numbers = [number for out, _ in said for number in json.loads(out.splitlines()[-1])]
    assert sorted(map(int, numbers)) == list(range(1, 19))
