"""Names with signs that mean something to MLflow, to SQL, or to file systems: they work, or are refused at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from batches import feed, run, write_feed, write_job
from hypothesis import given
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient
from pydantic import ValidationError
from stores import prepared

from forecast_kit import Panel, SeasonalNaive
from forecast_kit.errors import ArgumentError, ConfigError
from forecast_kit.jobs.config import read_job
from forecast_kit.jobs.sections import RegisterSection
from forecast_kit.mlflow import Store, connect, load_model, log_model
from forecast_kit.mlflow.deploying import champions
from forecast_kit.mlflow.naming import check_name
from forecast_kit.mlflow.registry import register
from forecast_kit.mlflow.tagging import tagged

ODD = "it's 100% \"Bob's\" `x` -- [y]; é日"
MODEL = "the 100% `x` -- [y]; é日 & # $ {z} ="


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield connect(prepared(tmp_path_factory.mktemp("store")))
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def version_of(store: Store, name: str, level: float = 1.0, **tags: str) -> str:
    """A new version of a model that forecasts the level, and is champion."""
    connect(store.folder)  # a job of another test went to a store of its own
    frame = pd.DataFrame({"unique_id": "a", "ds": range(6), "y": level})
    model = SeasonalNaive(horizon=2).fit(Panel.from_frame(frame, freq=1, season_length=2))
    info = log_model(model, run_id=store.client.create_run(store.experiment("e")).info.run_id)
    version = register(store.client, info, name, tags=tags)
    store.client.set_registered_model_alias(name, "champion", version)
    return version


def test_a_job_of_an_odd_name_trains_once_and_forecasts(tmp_path: Path, store: Store) -> None:
    data = feed()
    write_feed(tmp_path, data[data["unique_id"].isin(["H1", "H2"])])
    prepared(tmp_path / "store")
    quoted = "'" + ODD.replace("'", "''") + "'"
    job = write_job(tmp_path, name=quoted, register=f"{{name: '{MODEL}'}}")
    first, second = run(job, "2024-06-20"), run(job, "2024-06-20")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert (first.warnings, second.warnings) == ([], [])
    assert first.training is not None
    assert second.training is not None
    assert (first.training["decision"], second.training["version"]) == ("promoted", "1")
    assert first.model == {"name": MODEL, "version": "1"}
    rows = pd.read_parquet(tmp_path / "out" / "forecasts")
    assert set(rows["model"]) == {MODEL}
    assert (tmp_path / "reports" / "summaries" / f"{ODD}-2024-06-20.json").exists()
    third = run(job, "2024-06-21", offline=True)
    assert (third.exit_code, third.model) == (0, first.model)


@pytest.mark.parametrize("sign", ["'", '"', "'\"", "`", "\\", "%", "_", ";", "' or name != '", "\n", "é"])
def test_a_tag_is_found_by_its_value_and_by_no_other(sign: str, store: Store) -> None:
    name = f"tags {sign.encode().hex()}"
    mine, other = f"a{sign}", "ax"
    version_of(store, name, job=other)
    found = version_of(store, name, job=mine, as_of="1")
    assert [one.version for one in tagged(store.client, name, {"job": mine})] == [int(found)]
    assert [one.version for one in tagged(store.client, name, {"job": mine, "as_of": "1"})] == [int(found)]
    assert tagged(store.client, name, {"job": mine, "as_of": "2"}) == []


def test_versions_on_later_pages_are_found_too(store: Store) -> None:
    class Small(MlflowClient):
        def search_model_versions(self, *words: object, **options: object) -> object:
            return super().search_model_versions(*words, **{**options, "max_results": 2})

    numbers = [version_of(store, "paged", job="it's") for _ in range(5)]
    small = Small(store.uri, store.uri)
    assert [str(one.version) for one in tagged(small, "paged", {"job": "it's"})] == numbers


def test_models_whose_names_differ_in_a_sign_do_not_share_their_copies(store: Store) -> None:
    connect(store.folder)
    away = Store(store.uri, store.folder, store.home, offline=True)
    for name, level in (("a b", 1.0), ("a_b", 2.0), ("a+b", 3.0)):
        version_of(store, name, level)
        next(champions(store, name))  # a copy is made
    for name, level in (("a b", 1.0), ("a_b", 2.0), ("a+b", 3.0)):
        (copy,) = champions(away, name)
        frame = pd.DataFrame({"unique_id": "a", "ds": range(6), "y": level})
        history = Panel.from_frame(frame, freq=1, season_length=2)
        assert load_model(str(copy.folder)).predict(1, history=history).mean.tolist() == [[level]]
        assert copy.folder.is_relative_to(store.home / "champions")
    assert len({next(champions(away, name)).folder for name in ("a b", "a_b", "a+b")}) == 3


@given(st.text(max_size=12) | st.sampled_from([".", "..", " a", "a/b", "a\\", "a\nb", "a" * 257]))
def test_job_files_take_the_model_names_that_the_registry_takes(name: str) -> None:
    def refused(check: Callable[[], object], kind: type[Exception]) -> bool:
        try:
            check()
        except kind:
            return True
        return False

    by_job = refused(lambda: RegisterSection(name=name), ValidationError)
    assert by_job == refused(lambda: check_name(name), ArgumentError)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": "a/b"}, "name: summaries and reports are files of that name, which takes no slash"),
        ({"name": "'a\\b'"}, "takes no slash or backslash"),
        ({"name": ".hidden"}, "begins with no dot"),
        ({"name": "' a'"}, "name: a name is printable text without blanks around.*got ' a'"),
        ({"name": '"a\\nb"'}, r"name: a name is printable text"),
        ({"name": "é" * 91}, "which may have 180 bytes; it has 182"),
        ({"register": '{name: "a\\tb"}'}, r"register.name: a name is printable text"),
        ({"register": "{name: it's}"}, 'register.name: .*got "it\'s"'),
        ({"candidates": "{'..': {forecaster: Naive}}"}, "candidates.*a name is printable text.*got '..'"),
        ({"baselines": '{"a\\nb": {forecaster: Naive}}'}, "(?s)baselines.*a name is printable text"),
    ],
)
def test_what_cannot_be_a_name_is_refused_with_the_file(
    changes: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_job(write_job(tmp_path, **changes))
