"""Every way in: wide frames, single series, files, and frames of other libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from forecast_kit import Panel, SeasonalNaive
from forecast_kit.errors import DataError, SchemaError


def same(one: Panel, other: Panel) -> None:
    pd.testing.assert_frame_equal(one.to_frame(), other.to_frame())


@pytest.mark.parametrize(
    "convert",
    [
        pl.from_pandas,
        pa.Table.from_pandas,
        lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
        lambda f: f.convert_dtypes(),
        lambda f: f.astype({"unique_id": "category"}),
        lambda f: pl.from_pandas(f).with_columns(pl.col("unique_id").cast(pl.Categorical)),
        lambda f: f.astype({"ds": "datetime64[ns]"}),
        lambda f: f.astype({"ds": "datetime64[s]"}),
    ],
    ids=["polars", "pyarrow", "arrow dtypes", "nullable dtypes", "category", "polars category", "ns", "s"],
)
def test_frames_of_other_libraries_and_dtypes_give_the_same_panel(convert, seasonal_frame: pd.DataFrame) -> None:
    same(Panel.from_frame(convert(seasonal_frame), freq="h"), Panel.from_frame(seasonal_frame, freq="h"))


def test_histories_and_futures_may_be_of_other_libraries_too(seasonal_frame: pd.DataFrame) -> None:
    panel = Panel.from_frame(seasonal_frame.assign(x=1.0), freq="h", future=("x",))
    model = SeasonalNaive().fit(panel)
    future = pl.from_pandas(panel.future_frame(3).fillna(1.0))
    given = model.predict(3, history=pl.from_pandas(seasonal_frame.assign(x=1.0)), future=future)
    np.testing.assert_array_equal(given.mean, model.predict(3, future=future).mean)


def test_a_wide_frame_is_the_long_one(seasonal_frame: pd.DataFrame) -> None:
    """The columns are ragged at their ends: no value there is no row."""
    wide = seasonal_frame.pivot_table(index="ds", columns="unique_id", values="y")
    assert wide.isna().any().any()
    same(Panel.from_wide(wide, freq="h"), Panel.from_frame(seasonal_frame, freq="h"))


def test_a_hole_inside_a_wide_column_is_a_gap() -> None:
    wide = pd.DataFrame({"a": [np.nan, 1.0, np.nan, 3.0], "b": [1.0, 2, 3, np.nan]}, index=[1, 2, 3, 4])
    with pytest.raises(DataError, match="missing values: a at 3"):
        Panel.from_wide(wide, freq=1)
    panel = Panel.from_wide(wide, freq=1, gaps="interpolate")
    assert panel.y.tolist() == [1, 2, 3, 1, 2, 3]


def test_wide_frames_with_covariates_or_repeated_names_are_refused() -> None:
    with pytest.raises(SchemaError, match="no place for covariates"):
        Panel.from_wide(pd.DataFrame({"a": [1.0]}), freq=1, past=("x",))
    with pytest.raises(SchemaError, match="column names repeat: 'a'"):
        Panel.from_wide(pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), freq=1)


def test_a_single_series_brings_name_and_frequency() -> None:
    index = pd.date_range("2024-01-31", periods=5, freq="ME")
    panel = Panel.from_series(pd.Series(range(5), index, name="sales"))
    assert (panel.ids.tolist(), panel.schema.freq) == (["sales"], "ME")
    unnamed = Panel.from_series(pd.Series(range(5), index[::1].to_numpy()), freq="ME")
    assert unnamed.ids.tolist() == ["series"]
    with pytest.raises(SchemaError, match="lacks freq"):
        Panel.from_series(pd.Series([1.0, 2.0]))
    with pytest.raises(SchemaError, match="expected a pandas Series whose index holds time, got list"):
        Panel.from_series([1.0, 2.0], freq=1)


def test_files_are_read_into_panels(seasonal_frame: pd.DataFrame, tmp_path: Path) -> None:
    expected = Panel.from_frame(seasonal_frame, freq="h")
    seasonal_frame.to_parquet(tmp_path / "a.parquet")
    seasonal_frame.to_csv(tmp_path / "a.csv.gz", index=False)
    (tmp_path / "parts").mkdir()
    for name, part in seasonal_frame.groupby("unique_id"):
        part.to_parquet(tmp_path / "parts" / f"{name}.parquet", index=False)
    for file in ("a.parquet", "a.csv.gz", "parts"):
        got = Panel.from_file(tmp_path / file, freq="h")
        np.testing.assert_array_equal(got.ids, expected.ids)
        np.testing.assert_allclose(got.y, expected.y, rtol=1e-15)
        np.testing.assert_array_equal(got.start, expected.start)
