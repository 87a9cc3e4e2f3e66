"""What runs inside Spark's workers, without Spark: complete series out of batches that know nothing of series.

The traps: batches of Arrow cut series wherever they like, and pandas' own text reaches Spark as nothing that it knows.
"""

from __future__ import annotations

import pickle
import shutil
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import forecast_kit.mlflow as flavor
from forecast_kit import Panel, PanelSchema, SeasonalNaive
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, StoreError
from forecast_kit.mlflow import Store, spark
from forecast_kit.mlflow.spark import for_spark, forecaster_udf, whole_series

SCHEMA = PanelSchema(freq=1)


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 60), max_size=12),
    rows=st.integers(1, 40),
)
def test_chunks_hold_complete_series_in_order_and_no_more_than_they_must(
    lengths: list[int], cuts: list[int], rows: int
) -> None:
    frame = pd.DataFrame({"unique_id": np.repeat([f"s{k}" for k in range(len(lengths))], lengths)})
    frame["ds"] = np.arange(len(frame))
    edges = [0, *sorted(min(cut, len(frame)) for cut in cuts), len(frame)]
    batches = [frame.iloc[a:b] for a, b in pairwise(edges)]
    chunks = list(whole_series(batches, SCHEMA, rows=rows))
    pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), frame)
    seen = [name for chunk in chunks for name in chunk["unique_id"].unique()]
    assert len(seen) == len(set(seen)) == len(lengths)
    assert all(len(chunk) >= rows for chunk in chunks[:-1])
    longest = max(len(batch) for batch in batches) + max(lengths)
    assert all(len(chunk) < rows + longest for chunk in chunks)


def test_a_chunk_is_given_before_the_next_batch_is_asked_for() -> None:
    asked: list[int] = []

    def batches() -> Iterator[pd.DataFrame]:
        for k in range(4):
            asked.append(k)
            yield pd.DataFrame({"unique_id": np.repeat([f"{k}a", f"{k}b"], 5), "ds": np.tile(np.arange(5), 2)})

    chunks = whole_series(batches(), SCHEMA, rows=5)
    assert next(chunks)["unique_id"].tolist() == ["0a"] * 5
    assert asked == [0]


def test_memory_does_not_grow_with_the_number_of_series() -> None:
    def batches(count: int) -> Iterator[pd.DataFrame]:
        for k in range(count):
            yield pd.DataFrame({"unique_id": np.full(1000, k), "ds": np.arange(1000), "y": np.zeros(1000)})

    peaks = []
    for count in (20, 200):
        tracemalloc.start()
        assert sum(len(chunk) for chunk in whole_series(batches(count), SCHEMA, rows=4000)) == 1000 * count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_series_that_come_in_pieces_and_frames_without_series_are_refused() -> None:
    parts = [pd.DataFrame({"unique_id": list(text)}) for text in ("aab", "ba")]
    with pytest.raises(DataError, match=r"series 'a' do not follow one another; sort the partitions, frame.repart"):
        list(whole_series(parts, SCHEMA, rows=2))
    with pytest.raises(DataError, match="column 'unique_id' is missing; the frame has store"):
        list(whole_series([pd.DataFrame({"store": [1]})], SCHEMA, rows=2))
    with pytest.raises(DataError, match="'unique_id' is empty in 1 rows"):
        list(whole_series([pd.DataFrame({"unique_id": ["a", None]})], SCHEMA, rows=2))
    assert list(whole_series([], SCHEMA, rows=2)) == []


def test_text_leaves_as_objects_and_every_promised_column_is_there(seasonal_panel: Panel) -> None:
    frame = SeasonalNaive().fit(seasonal_panel).predict(2, levels=(0.1,)).to_frame()
    got = for_spark(frame, ["mean", "q10"])
    assert got.columns.tolist() == ["unique_id", "ds", "cutoff", "model", "mean", "q10", "fallback", "reason"]
    assert {str(got[name].dtype) for name in ("unique_id", "model", "fallback", "reason")} == {"object"}
    zoned = frame.assign(ds=frame["ds"].dt.tz_localize("Europe/Berlin"))
    assert str(for_spark(zoned, ["mean"])["ds"].dtype) == "datetime64[us]"


# ---- the function that goes to the workers


@pytest.fixture
def registered(store: Store, seasonal_panel: Panel) -> str:
    run_id = store.client.create_run(store.experiment("e")).info.run_id
    fitted = SeasonalNaive(horizon=6).fit(seasonal_panel)
    for _ in range(2):
        flavor.log_model(fitted, run_id=run_id, registered_model_name="demand", levels=(0.5,))
    store.client.set_registered_model_alias("demand", "champion", "1")
    spark.worker_model.cache_clear()
    return "models:/demand@champion"


def test_the_function_forecasts_batches_as_the_model_does(
    registered: str, seasonal_panel: Panel, seasonal_frame: pd.DataFrame
) -> None:
    function, returned = forecaster_udf(registered, horizon=3, levels=[0.9, 0.1], rows=100)
    assert returned == (
        "unique_id string, ds timestamp, cutoff timestamp, model string, mean double, q10 double, q90 double, "
        "fallback string, reason string"
    )
    batches = (seasonal_frame.iloc[k : k + 70].convert_dtypes(dtype_backend="pyarrow") for k in range(0, 1500, 70))
    got = pd.concat(function(batches), ignore_index=True)
    expected = SeasonalNaive(horizon=6).fit(seasonal_panel).predict(3, levels=(0.1, 0.9)).to_frame()
    for column in expected.columns:
        assert got[column].tolist() == expected[column].tolist(), column
    assert forecaster_udf(registered)[1].count("q50 double") == 1  # as logged, where it is not told


def test_a_worker_loads_the_version_that_the_driver_saw_and_loads_it_once(
    registered: str, store: Store, seasonal_frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, _ = forecaster_udf(registered)
    store.client.set_registered_model_alias("demand", "champion", "2")  # promoted while the job runs
    loaded: list[str] = []
    load = spark.load_served
    monkeypatch.setattr(spark, "load_served", lambda uri: (loaded.append(uri), load(uri))[1])
    for _ in range(3):  # partitions
        assert len(pd.concat(function(iter([seasonal_frame])))) == 6 * 6
    assert loaded == ["models:/demand/1"]


def test_a_model_that_changed_since_the_driver_saw_it_is_refused(seasonal_panel: Panel, tmp_path: Path) -> None:
    flavor.save_model(SeasonalNaive(horizon=6).fit(seasonal_panel), tmp_path / "m")
    function, _ = forecaster_udf(str(tmp_path / "m"))
    shutil.rmtree(tmp_path / "m")
    flavor.save_model(SeasonalNaive(horizon=7).fit(seasonal_panel), tmp_path / "m")
    with pytest.raises(ArtifactError, match="changed while the job ran"):
        next(function(iter([])), None)


def test_what_goes_to_the_workers_holds_no_model(registered: str) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")  # what Spark sends functions with
    sent = cloudpickle.dumps(forecaster_udf(registered)[0])
    assert len(sent) < 4000
    assert callable(pickle.loads(sent))


def test_bad_arguments_are_refused_on_the_driver(registered: str) -> None:
    with pytest.raises(ArgumentError, match="rows must be a whole number, at least 1; got 0"):
        forecaster_udf(registered, rows=0)
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        forecaster_udf(registered, levels=[1.0])
    with pytest.raises(StoreError, match="cannot load models:/demand@nobody"):
        forecaster_udf("models:/demand@nobody")
