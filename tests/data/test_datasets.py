"""Bundled data sets are what they say, and frames come out of files as they went in."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from forecast_kit import Panel, PanelSchema, load
from forecast_kit.data import datasets
from forecast_kit.data.sources import read_frame
from forecast_kit.errors import ArgumentError, DataError, TimeIndexError

DAILY = PanelSchema(freq="D")


@pytest.mark.parametrize("name", datasets.names)
def test_a_bundled_set_is_a_panel_of_the_size_and_licence_that_it_states(name: str) -> None:
    doc = " ".join((getattr(datasets, name).__doc__ or "").split())
    frame, schema = load(name)
    panel = Panel.from_frame(frame, schema)
    assert f"{len(frame):,} rows" in doc
    assert {1: "One series", 5: "five"}.get(len(panel), str(len(panel))).lower() in doc.lower()
    assert "Source: " in doc
    assert "Licence: " in doc


def test_spans_are_those_of_the_sources() -> None:
    m4 = Panel.from_frame(*load("m4_hourly"))
    assert set(m4.lengths.tolist()) == {748, 1008}
    assert set(m4.start.tolist()) == {0}
    for name, first, last in [("hospital", "2000-01-01", "2006-12-01"), ("air_passengers", "1949-01-01", "1960-12-01"),
                              ("bike_sharing_hourly", "2011-01-01", "2012-12-31 23:00")]:  # fmt: skip
        panel = Panel.from_frame(*load(name))
        assert panel.axis.stamps(panel.start)[0] == pd.Timestamp(first)
        assert panel.axis.stamps(panel.last)[0] == pd.Timestamp(last)


def test_air_passengers_are_those_of_box_and_jenkins() -> None:
    frame, _ = load("air_passengers")
    assert frame["y"].iloc[:12].tolist() == [112, 118, 132, 129, 121, 135, 148, 148, 136, 119, 104, 118]
    assert frame["y"].iloc[-12:].tolist() == [417, 391, 419, 461, 472, 535, 622, 606, 508, 461, 390, 432]


def test_an_unknown_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ArgumentError, match=r"'hospitals'; there are m4_hourly, .*mean 'hospital'"):
        load("hospitals")


@pytest.fixture
def sales() -> pd.DataFrame:
    stamps = pd.to_datetime(["2024-02-28", "2024-02-29", "2024-03-01"])
    return pd.DataFrame({"unique_id": ["007", "007", "007"], "ds": stamps, "y": [1.5, 2.5, 3.5]})


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_file_gives_the_frame_that_was_written(sales: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"sales{suffix}"
    if suffix == ".parquet":
        sales.to_parquet(file)
    else:
        sales.to_csv(file, index=False)
    pd.testing.assert_frame_equal(read_frame(file, DAILY), sales, check_dtype=False)
    assert Panel.from_frame(read_frame(str(file), DAILY), DAILY).ids.tolist() == ["007"]


def test_a_folder_of_parquet_files_is_one_frame(sales: pd.DataFrame, tmp_path: Path) -> None:
    sales.iloc[:2].to_parquet(tmp_path / "part-0.parquet")
    sales.iloc[2:].to_parquet(tmp_path / "part-1.parquet")
    assert Panel.from_frame(read_frame(tmp_path, DAILY), DAILY).y.tolist() == [1.5, 2.5, 3.5]


def test_text_dates_in_parquet_are_parsed_too(sales: pd.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "sales.parquet"
    sales.assign(ds=sales["ds"].astype(str)).to_parquet(file)
    pd.testing.assert_frame_equal(read_frame(file, DAILY), sales, check_dtype=False)


def test_numbered_steps_stay_numbers(tmp_path: Path) -> None:
    file = tmp_path / "numbered.csv"
    file.write_text("unique_id,ds,y\na,1,2.0\na,2,3.0\n")
    schema = PanelSchema(freq=1)
    assert Panel.from_frame(read_frame(file, schema), schema).axis.is_integer


def test_other_column_names_are_followed(tmp_path: Path) -> None:
    file = tmp_path / "shop.csv"
    file.write_text("store,day,sold\n01,2024-01-01 00:00,2\n01,2024-01-02,3\n")
    schema = PanelSchema(freq="D", id_col="store", time_col="day", target_col="sold")
    assert Panel.from_frame(read_frame(file, schema), schema).ids.tolist() == ["01"]


@pytest.mark.parametrize("bad", ["31/12/2024", "yesterday", "2024-13-01", "2024-02-30"])
def test_text_that_is_no_date_is_shown(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(f"unique_id,ds,y\na,2024-01-01,1\na,{bad},2\n")
    with pytest.raises(TimeIndexError, match=f"'ds' of .*1 values that are no ISO 8601 dates, such as '{bad}'"):
        read_frame(file, DAILY)


def test_changing_offsets_from_utc_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "local.csv"
    file.write_text("unique_id,ds,y\na,2024-03-31T01:00+01:00,1\na,2024-03-31T03:00+02:00,2\n")
    with pytest.raises(TimeIndexError, match="cannot read the dates in column 'ds'.*in UTC"):
        read_frame(file, PanelSchema(freq="h"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("sales.xlsx", b"", r"must end in \.csv"), ("empty.csv", b"", "cannot read"),
     ("broken.parquet", b"PAR1 but not really", "cannot read"), ("bytes.csv", b"unique_id\n\xff\xfe\n", "cannot read")],
)  # fmt: skip
def test_a_file_that_is_no_table_is_refused_by_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_frame(tmp_path / name, DAILY)
    assert name in str(caught.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataError, match=r"there is no file nowhere\.csv"):
        read_frame("nowhere.csv", DAILY)
