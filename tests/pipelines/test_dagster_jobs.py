"""The Dagster definitions, materialised in process on a real job and a real store."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow
import pandas as pd
import pytest

from forecast_kit.errors import ConfigError

dg = pytest.importorskip("dagster", reason="dagster is not installed: pip install 'forecast_kit[dagster]'")

# Dagster says so of the policy that makes a backfill one run.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`.* is currently in beta")

PIPELINES = Path(__file__).parents[2] / "pipelines"
JOB = """
name: the shop
data: {path: sales.csv, schema: {freq: h}}
baselines: {naive: {forecaster: Naive}}
candidates: {snaive: {forecaster: SeasonalNaive}}
backtest: {horizon: 6, folds: 2, levels: [0.5]}
register: {name: shop}
sink: {path: out}
schedule: {every: day, at: "00:30", timezone: Europe/Berlin}
store: store
"""
KEY = ["the_shop", "forecasts"]


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dagster_definitions", PIPELINES / "dagster_definitions.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def shop(tmp_path: Path, seasonal_frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a job and its data, being the current one."""
    seasonal_frame.to_csv(tmp_path / "sales.csv", index=False)
    (tmp_path / "job.yaml").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield tmp_path
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def run(definitions: Any, first: str, last: str | None = None) -> Any:
    """The asset of that partition, or of that range, materialised in this process."""
    chosen = {"partition_key": first} if last is None else {
        "tags": {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    }  # fmt: skip
    with dg.DagsterInstance.ephemeral() as instance:
        job = definitions.resolve_job_def("the_shop_batch")
        return job.execute_in_process(instance=instance, raise_on_error=False, **chosen)


def metadata(result: Any) -> dict[str, dict[str, Any]]:
    """By partition."""
    made = result.asset_materializations_for_node("the_shop__forecasts")
    return {one.partition: {key: value.value for key, value in one.metadata.items()} for one in made}


def rows(shop: Path, as_of: str) -> pd.DataFrame:
    return pd.read_parquet(shop / "out" / "forecasts" / f"as_of={as_of}")


def test_partitions_are_forecast_once_each_and_dagster_shows_what_came_out(module: ModuleType, shop: Path) -> None:
    defs = module.definitions(shop / "job.yaml", start="2024-01-01")
    done = run(defs, "2024-01-08")
    assert done.success
    shown = metadata(done)["2024-01-08"]
    assert (shown["rows"], shown["series"], shown["fallbacks"], shown["model"]) == (36, 6, 0, "shop/1")
    assert shown["training"].startswith("promoted: ")
    summary = json.loads(Path(shown["summary"]).read_text())
    assert (summary["as_of"], summary["exit_code"]) == ("2024-01-08", 0)
    (check,) = done.get_asset_check_evaluations()
    assert check.passed
    first = rows(shop, "2024-01-08")
    assert first["ds"].min() == pd.Timestamp("2024-01-08")  # the partition's key is the as-of

    done = run(defs, "2024-01-08", "2024-01-09")  # a backfill is one run; the first day is done again
    assert done.success
    shown = metadata(done)
    assert [(key, one["rows"]) for key, one in shown.items()] == [("2024-01-08", 36), ("2024-01-09", 36)]
    assert shown["2024-01-09"]["monitor_scored_runs"] == 1
    pd.testing.assert_frame_equal(rows(shop, "2024-01-08"), first)
    assert len(rows(shop, "2024-01-09")) == 36


def test_too_many_fallbacks_are_a_warning_and_bad_data_are_not_tried_again(module: ModuleType, shop: Path) -> None:
    (shop / "job.yaml").write_text(JOB + "forecast: {max_delay: 0}\n")
    defs = module.definitions(shop / "job.yaml", start="2024-01-01")
    assert run(defs, "2024-01-08").success
    # s0, the shortest, ends with the eighth day: on the tenth its data are a day late.
    done = run(defs, "2024-01-10")
    assert done.success
    (check,) = done.get_asset_check_evaluations()
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.metadata["share"].value == pytest.approx(1 / 6)

    (shop / "sales.csv").write_text("unique_id,ds\na,2024-01-01\n")
    done = run(defs, "2024-01-11")
    assert not done.success
    assert not [event for event in done.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    (failure,) = (event for event in done.all_events if event.event_type_value == "STEP_FAILURE")
    assert "'y'" in failure.step_failure_data.user_failure_data.description


@pytest.mark.parametrize(
    ("schedule", "moment", "key"),
    [
        ("{every: day, at: '00:30', timezone: Europe/Berlin}", "2024-06-30T22:30", "2024-06-30"),  # data are in UTC
        ("{every: day, at: '05:00'}", "2024-07-01T05:00", "2024-07-01"),
        ("{every: hour, at: '00:10'}", "2024-07-01T00:10", "2024-07-01T0000"),
        ("{every: week, on: Wed}", "2024-07-03T05:00", "2024-07-01"),
        ("{every: month, on: 2}", "2024-07-02T05:00", "2024-07-01"),
    ],
)
def test_the_schedule_asks_for_the_partition_that_the_shell_would_run(
    schedule: str, moment: str, key: str, module: ModuleType, shop: Path
) -> None:
    (shop / "job.yaml").write_text(JOB.replace('{every: day, at: "00:30", timezone: Europe/Berlin}', schedule))
    defs = module.definitions(shop / "job.yaml", start="2024-06-01" if "hour" not in schedule else "2024-06-01T0000")
    clock = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    due = defs.resolve_schedule_def("the_shop_schedule")
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=clock, repository_def=defs.get_repository_def()
        )
        (request,) = due.evaluate_tick(context).run_requests
    assert request.partition_key == key
    asset = defs.resolve_asset_graph().get(dg.AssetKey(KEY))
    assert key == asset.partitions_def.get_partition_keys(current_time=clock)[-1]


def test_the_definitions_of_the_pipelines_folder_load_and_numbered_time_is_refused(
    module: ModuleType, shop: Path
) -> None:
    dg.Definitions.validate_loadable(module.defs)
    assert module.defs.resolve_schedule_def("nightly_schedule").cron_schedule == "30 0 * * *"
    (shop / "job.yaml").write_text(JOB.replace("freq: h", "freq: 1"))
    with pytest.raises(ConfigError, match="time is numbered"):
        module.definitions(shop / "job.yaml")
