"""Rows of files, folders, patterns, URLs and queries: all of them, in order, and in chunks of complete series."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import Panel
from forecast_kit.data.chunks import bring_together, cut_series, follow_one_another
from forecast_kit.errors import ConfigError, DataError, SchemaError, TimeIndexError
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.sections import DataSection
from forecast_kit.jobs.sources import OpenSource, open_source, read_source

HOURLY = {"freq": "h"}


def long_frame(series: int = 5, steps: int = 24) -> pd.DataFrame:
    """Series 000, 001, ... one after another, each value told by its place."""
    return pd.DataFrame(
        {
            "unique_id": np.repeat([f"{k:03d}" for k in range(series)], steps),
            "ds": np.tile(pd.date_range("2024-06-01", periods=steps, freq="h", unit="us"), series),
            "y": np.arange(series * steps, dtype=float),
        }
    )


def section(path: Path | str, **fields: object) -> DataSection:
    return DataSection.model_validate({"path": str(path), "schema": HOURLY, **fields})


def by_day(folder: Path, frame: pd.DataFrame, form: str = "parquet") -> None:
    """A file for each 8 hours with the rows of all series: what lies together in time."""
    folder.mkdir(exist_ok=True)
    for start, rows in frame.groupby(frame["ds"].dt.floor("8h")):
        path = folder / f"{start:%Y%m%d%H}.{form}"
        if form == "parquet":
            rows.to_parquet(path, index=False)
        else:
            rows.to_csv(path, index=False)


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(["unique_id", "ds"], kind="stable", ignore_index=True)


def check_chunks(source: OpenSource, size: int) -> None:
    """The chunks hold all rows, each series once and whole, in the order in which `frame` has its rows."""
    whole, seen = source.frame(), set[object]()
    chunks = list(source.chunks(size))
    for one in chunks:
        assert one["unique_id"].cat.categories.tolist() == one["unique_id"].unique().tolist()
        chunk = one.astype({"unique_id": whole["unique_id"].dtype})
        ids = set(chunk["unique_id"])
        assert not ids & seen
        seen |= ids
        for name, rows in chunk.groupby("unique_id"):
            expected = whole[whole["unique_id"] == name].reset_index(drop=True)
            pd.testing.assert_frame_equal(rows.reset_index(drop=True), expected)
    assert seen == set(whole["unique_id"])
    assert [chunk["unique_id"].nunique() for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    for one, other in zip(chunks, source.chunks(size), strict=True):
        pd.testing.assert_frame_equal(one, other)


def parquet_file(folder: Path, frame: pd.DataFrame) -> str:
    frame.to_parquet(folder / "sales.parquet", index=False, row_group_size=7)
    return str(folder / "sales.parquet")


def csv_file(folder: Path, frame: pd.DataFrame) -> str:
    frame.to_csv(folder / "sales.csv.gz", index=False)
    return str(folder / "sales.csv.gz")


def daily_parquet(folder: Path, frame: pd.DataFrame) -> str:
    by_day(folder / "feed", frame)
    return str(folder / "feed")


def daily_csv(folder: Path, frame: pd.DataFrame) -> str:
    by_day(folder / "feed", frame, "csv")
    return str(folder / "feed" / "*.csv")


@pytest.mark.parametrize("write", [parquet_file, csv_file, daily_parquet, daily_csv])
def test_every_kind_of_file_gives_all_rows_whole_and_in_chunks(
    tmp_path: Path, write: Callable[[Path, pd.DataFrame], str]
) -> None:
    frame = long_frame()
    source = open_source(section(write(tmp_path, frame)))
    pd.testing.assert_frame_equal(ordered(source.frame()), frame)
    check_chunks(source, 2)
    check_chunks(source, 100)


def test_rows_of_a_file_that_is_there_twice_are_there_twice(tmp_path: Path) -> None:
    by_day(tmp_path, long_frame(2))
    first = sorted(tmp_path.iterdir())[0]
    (tmp_path / "copy.parquet").write_bytes(first.read_bytes())
    source = open_source(section(tmp_path / "*.parquet"))
    assert len(source.frame()) == 2 * 24 + 2 * 8
    check_chunks(source, 1)
    with pytest.raises(TimeIndexError):
        read_source(section(tmp_path / "*.parquet"))
    kept = read_source(section(tmp_path / "*.parquet", schema={**HOURLY, "duplicates": "last"}))
    assert kept.panel.y.tolist() == long_frame(2)["y"].tolist()


def test_a_folder_is_read_to_its_depths_without_what_is_hidden_or_of_another_kind(tmp_path: Path) -> None:
    frame = long_frame(2)
    (tmp_path / "store=007" / ".spark").mkdir(parents=True)
    rows = frame[frame["unique_id"] == "000"]
    rows[["ds", "y"]].to_parquet(tmp_path / "store=007" / "part.parquet", index=False)
    for name in ("_SUCCESS", "_old.parquet", "README.txt", "store=007/.spark/x.parquet"):
        (tmp_path / name).write_text("not data")
    source = open_source(section(tmp_path, schema={**HOURLY, "id_col": "store"}))
    assert source.frame()["store"].unique().tolist() == ["007"]
    assert next(source.chunks(1))["y"].tolist() == rows["y"].tolist()


def test_a_name_with_brackets_is_no_pattern_where_such_a_file_exists(tmp_path: Path) -> None:
    long_frame().to_csv(tmp_path / "sales[1].csv", index=False)
    assert len(open_source(section(tmp_path / "sales[1].csv")).frame()) == len(long_frame())


def test_urls_are_read_through_fsspec_as_files_are(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    frame = long_frame()
    by_day(tmp_path / "feed", frame)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "feed"), "/bucket/sources", recursive=True)
    memory.pipe("/bucket/sources/_hidden.parquet", b"no Parquet")
    for url in ("memory://bucket/sources", "memory://bucket/sources/2*.parquet"):
        source = open_source(section(url))
        assert (source.name, source.origin) == ("sources", url)
        pd.testing.assert_frame_equal(ordered(source.frame()), frame)
        check_chunks(source, 2)
    memory.pipe("/bucket/one.csv.gz", Path(csv_file(tmp_path, frame)).read_bytes())
    pd.testing.assert_frame_equal(open_source(section("memory://bucket/one.csv.gz")).frame(), frame)
    with pytest.raises(DataError, match="no file memory://bucket/two.csv"):
        open_source(section("memory://bucket/two.csv"))
    with pytest.raises(DataError, match=r"no file matches '\*.csv' in the folder memory://bucket/sources"):
        open_source(section("memory://bucket/sources/*.csv"))
    memory.pipe("/bucket/bad.parquet", b"no Parquet")
    with pytest.raises(DataError, match="cannot read memory://bucket/bad.parquet"):
        open_source(section("memory://bucket/bad.parquet")).frame()


def test_a_url_of_an_unknown_file_system_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match="fsspec"):
        open_source(section("nosuch://bucket/sales.parquet"))


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (["007", "008"], "str"),
        (np.array([7, 8], np.int32), "int64"),
        (pd.Categorical(["b", "a"]), "str"),
        ([Decimal(7), Decimal(8)], "int64"),
    ],
    ids=["text", "int32", "category", "decimal"],
)
def test_ids_stay_what_they_are(tmp_path: Path, ids: object, kind: str) -> None:
    frame = pd.DataFrame({"unique_id": ids, "ds": pd.Timestamp("2024-06-01"), "y": 1.0})
    frame.to_parquet(tmp_path / "sales.parquet")
    read = open_source(section(tmp_path / "sales.parquet")).frame()
    assert str(read["unique_id"].dtype) == kind
    assert read["unique_id"].tolist() == [int(one) if kind == "int64" else one for one in list(ids)]


@pytest.mark.parametrize(
    "ds",
    [
        ["2024-06-01", "2024-06-01T01:00"],
        pd.to_datetime(["2024-06-01 00:00", "2024-06-01 01:00"]).as_unit("ns"),
        pd.to_datetime(["2024-06-01 00:00", "2024-06-01 01:00"]).as_unit("s"),
        pd.to_datetime(["2024-06-01 02:00+02:00", "2024-06-01 03:00+02:00"]),
        [pd.Timestamp("2024-06-01").to_pydatetime(), pd.Timestamp("2024-06-01 01:00").to_pydatetime()],
    ],
    ids=["text", "ns", "s", "zone", "objects"],
)
def test_stamps_of_every_kind_become_the_same_panel(tmp_path: Path, ds: object) -> None:
    pd.DataFrame({"unique_id": "a", "ds": ds, "y": [1, 2]}).to_parquet(tmp_path / "sales.parquet")
    panel = read_source(section(tmp_path / "sales.parquet")).panel
    assert panel.to_frame()["ds"].tolist() == [pd.Timestamp("2024-06-01"), pd.Timestamp("2024-06-01 01:00")]


def test_offsets_that_change_from_file_to_file_with_daylight_saving_are_the_same_clock(tmp_path: Path) -> None:
    stamps = pd.date_range("2024-03-30 12:00", periods=36, freq="h", tz="Europe/Berlin")
    for k, part in enumerate((stamps[:12], stamps[12:])):  # the clock changes after the fourteenth
        text = [one.isoformat() for one in part]
        pd.DataFrame({"unique_id": "a", "ds": text, "y": 1.0}).to_csv(tmp_path / f"{k}.csv", index=False)
    with pytest.raises(TimeIndexError, match="1.csv"):  # the offsets differ inside of the second file
        open_source(section(tmp_path / "*.csv")).frame()
    text = [one.isoformat() for one in stamps[14:]]
    pd.DataFrame({"unique_id": "a", "ds": text, "y": 1.0}).to_csv(tmp_path / "1.csv", index=False)
    frame = pd.concat(open_source(section(tmp_path / "*.csv")).chunks(1))
    assert frame["ds"].tolist() == stamps.delete([12, 13]).tz_convert("UTC").tolist()


def test_days_that_are_stored_in_utc_are_those_of_the_stated_zone(tmp_path: Path) -> None:
    days = pd.date_range("2024-10-20", periods=12, freq="D", tz="Europe/Berlin")  # the clock changes on the 27th
    frame = pd.DataFrame({"unique_id": "a", "ds": days.tz_convert("UTC"), "y": 1.0})
    frame.to_parquet(tmp_path / "sales.parquet")
    stated = section(tmp_path / "sales.parquet", schema={"freq": "D", "timezone": "Europe/Berlin"})
    told = read_source(stated, as_of=AsOf.read("2024-10-30")).panel.to_frame()
    assert told["ds"].tolist() == days[:10].tz_localize(None).tolist()  # that day's own value is not known
    with pytest.raises(TimeIndexError, match="sales.parquet: column 'ds' carries the zone UTC, but is not at midnight"):
        open_source(section(tmp_path / "sales.parquet", schema={"freq": "D"})).frame()


def test_categories_of_csv_are_the_same_kind_in_every_file(tmp_path: Path) -> None:
    frame = long_frame(1, 3)
    for k, (grade, open_, note) in enumerate([("1", "True", "1"), ("", "", ""), ("3", "false", "x")]):
        frame.iloc[k : k + 1].assign(grade=grade, open=open_, note=note).to_csv(tmp_path / f"{k}.csv", index=False)
    schema = {**HOURLY, "past": ["grade", "open", "note"], "categorical": ["grade", "open", "note"]}
    schema["covariate_gaps"] = "zero"
    source = open_source(section(tmp_path, schema=schema))
    assert source.frame()[["grade", "open", "note"]].dtypes.astype(str).tolist() == ["Int64", "boolean", "str"]
    check_chunks(source, 1)
    assert Panel.from_frame(source.frame(), source.schema).categories["grade"] == (1, 3, None)


def test_whole_numbered_categories_with_gaps_in_parquet_stay_whole(tmp_path: Path) -> None:
    frame = long_frame(1, 3).assign(grade=pd.array([1, None, 3], "Int64"))
    frame.iloc[:1].to_parquet(tmp_path / "0.parquet", index=False)
    frame.iloc[1:].to_parquet(tmp_path / "1.parquet", index=False)
    schema = {**HOURLY, "past": ["grade"], "categorical": ["grade"]}
    read = open_source(section(tmp_path, schema=schema)).frame()
    assert read["grade"].tolist() == [1, pd.NA, 3]


def test_evenly_spread_series_are_the_same_whole_and_in_chunks(tmp_path: Path) -> None:
    for write in (parquet_file, daily_csv):
        asked = section(write(tmp_path, long_frame(10)), series=3)
        source = open_source(asked)
        assert source.frame()["unique_id"].unique().tolist() == ["000", "003", "006"]
        assert sorted(pd.concat(source.chunks(2))["unique_id"].unique()) == ["000", "003", "006"]
        assert read_source(asked).panel.ids.tolist() == ["000", "003", "006"]
    with pytest.raises(DataError, match="asks for 11 series, but sales has 10"):
        list(open_source(section(parquet_file(tmp_path, long_frame(10)), series=11)).chunks(2))


def test_static_covariates_come_from_their_own_file(tmp_path: Path) -> None:
    schema = {**HOURLY, "static": ["size"]}
    pd.DataFrame({"unique_id": ["000", "001"], "size": [1, 2], "note": "x"}).to_csv(tmp_path / "static.csv")
    path = parquet_file(tmp_path, long_frame(2))
    source = open_source(section(path, schema=schema, static=str(tmp_path / "static.csv")))
    assert source.static is not None
    assert source.static.to_dict("list") == {"unique_id": ["000", "001"], "size": [1.0, 2.0]}
    read = read_source(section(path, schema=schema, static=str(tmp_path / "static.csv")))
    assert read.panel.static.ravel().tolist() == [1, 2]
    with pytest.raises(SchemaError, match="'size' is missing"):
        open_source(section(path, schema=schema)).frame()


def test_an_as_of_leaves_out_what_was_not_known_then(tmp_path: Path) -> None:
    asked = section(parquet_file(tmp_path, long_frame(2)))
    assert read_source(asked, as_of=AsOf.read("2024-06-01T05:00")).panel.lengths.tolist() == [5, 5]


def sales_base(folder: Path, frame: pd.DataFrame) -> str:
    with sqlite3.connect(folder / "demand.db") as base:
        base.execute("CREATE TABLE sales (shop TEXT, at TEXT, amount NUMERIC)")
        rows = [(name, f"{ds:%Y-%m-%d %H:%M:%S}", y) for name, ds, y in frame.itertuples(index=False)]
        base.executemany("INSERT INTO sales VALUES (?, ?, ?)", rows)
    base.close()
    return f"sqlite:///{folder / 'demand.db'}"


def query(url: str, where: str = "", **fields: object) -> DataSection:
    text = f"SELECT shop AS unique_id, at AS ds, amount AS y FROM sales {where} ORDER BY at"
    return DataSection.model_validate({"sql": {"url": url, "query": text}, "schema": HOURLY, **fields})


def test_a_query_gives_its_rows_whole_and_in_chunks(tmp_path: Path) -> None:
    frame = long_frame()
    source = open_source(query(sales_base(tmp_path, frame)))
    assert source.name == "demand"
    pd.testing.assert_frame_equal(ordered(source.frame()), frame)
    check_chunks(source, 2)


@pytest.mark.parametrize(("as_of", "rows"), [("2024-06-01T05:00", 5), ("2024-06-02", 24), ("2024-06-01", 0)])
def test_a_query_may_ask_for_the_as_of(tmp_path: Path, as_of: str, rows: int) -> None:
    asked = query(sales_base(tmp_path, long_frame(1)), "WHERE at < :as_of")
    source = open_source(asked, as_of=AsOf.read(as_of))
    if rows:
        assert len(source.frame()) == rows
        return
    for read in (source.frame, lambda: list(source.chunks(2))):
        with pytest.raises(DataError, match="has no rows"):
            read()


def test_a_query_that_asks_for_what_there_is_not_is_told_so(tmp_path: Path) -> None:
    url = sales_base(tmp_path, long_frame(1))
    with pytest.raises(ConfigError, match="--as-of"):
        open_source(query(url, "WHERE at < :as_of")).frame()
    with pytest.raises(ConfigError, match="'day'"):
        open_source(query(url, "WHERE at < :day")).frame()
    sql = {"url": url, "query": "SELECT shop AS unique_id, at AS ds FROM sales"}
    with pytest.raises(SchemaError, match="'y' is missing; the frame has unique_id, ds"):
        open_source(DataSection.model_validate({"sql": sql, "schema": HOURLY})).frame()
    with pytest.raises(DataError, match="no such column: nowhere"):
        open_source(query(url, "WHERE nowhere = 1")).frame()
    sql = {"url": url, "query": "CREATE TABLE x (y INT)"}
    with pytest.raises(ConfigError, match="gives no rows"):
        open_source(DataSection.model_validate({"sql": sql, "schema": HOURLY})).frame()
    with pytest.raises(ConfigError, match="no SQLite file"):
        open_source(query(f"sqlite:///{tmp_path}/other.db"))
    assert not (tmp_path / "other.db").exists()


def test_variables_are_filled_in_and_never_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = sales_base(tmp_path, long_frame(1))
    with pytest.raises(ConfigError, match="FK_TEST_BASE, which is not set"):
        open_source(query("${FK_TEST_BASE}"))
    monkeypatch.setenv("FK_TEST_BASE", url)
    assert len(open_source(query("${FK_TEST_BASE}")).frame()) == 24
    monkeypatch.setenv("FK_TEST_BASE", "postgresql:password=sesame")
    with pytest.raises(ConfigError, match="FK_TEST_BASE") as caught:
        open_source(query("${FK_TEST_BASE}"))
    assert "sesame" not in told(caught.value)
    monkeypatch.setenv("FK_TEST_WORD", "ses@me/1")
    source = open_source(query("postgresql+psycopg://ann:${FK_TEST_WORD}@127.0.0.1:1/base?connect_timeout=1"))
    assert source.origin == "postgresql+psycopg://ann:***@127.0.0.1:1/base"
    with pytest.raises(DataError, match="127.0.0.1") as refused:
        source.frame()
    assert "ses" not in told(refused.value).replace("session", "")


def told(error: BaseException) -> str:
    """All that a traceback would say."""
    import traceback

    lines = traceback.format_exception_only(error)
    if error.__cause__ is not None:
        lines.append(told(error.__cause__))
    elif error.__context__ is not None and not error.__suppress_context__:
        lines.append(told(error.__context__))
    return "".join(lines)


@pytest.mark.parametrize(
    ("begin", "wrong", "message"),
    [
        (lambda d: d / "none.parquet", DataError, "no file .*none.parquet"),
        (lambda d: d / "x*.csv", DataError, r"no file matches 'x\*.csv' in the folder"),
        (lambda d: d / "away" / "*.csv", DataError, "away, which does not exist"),
        (lambda d: d / "empty", DataError, "no Parquet or CSV file in the folder"),
        (lambda d: d / "text.txt", DataError, "must end in .csv, .csv.gz or .parquet"),
        (lambda d: d / "broken.parquet", DataError, "cannot read .*broken.parquet"),
        (lambda d: d / "broken.csv.gz", DataError, "cannot read .*broken.csv.gz"),
        (lambda d: d / "cut.csv.gz", DataError, "cannot read .*cut.csv.gz"),
        (lambda d: d / "header.csv", DataError, "has no rows"),
        (lambda d: d / "mixed", DataError, "both Parquet and CSV"),
        (lambda d: d / "lacking", SchemaError, "the files differ: .*1.csv lacks 'y', which .*0.csv has"),
        (lambda d: d / "kinds", SchemaError, "'unique_id' holds str in .*1.parquet, but int64 in .*0.parquet"),
        (lambda d: d / "noid.csv", SchemaError, "'unique_id' is empty in 1 rows of .*noid.csv"),
        (lambda d: d / "nods.csv", TimeIndexError, "'ds' has 1 empty stamps in .*nods.csv"),
        (lambda d: d / "words.csv", SchemaError, "words.csv: column 'y' must be numeric"),
        (lambda d: d / "dates.csv", TimeIndexError, "dates.csv holds 1 values that are no ISO 8601 dates"),
    ],
)
def test_what_cannot_be_read_is_told_by_name(
    tmp_path: Path, begin: Callable[[Path], Path], wrong: type[Exception], message: str
) -> None:
    for name in ("empty", "mixed", "lacking", "kinds"):
        (tmp_path / name).mkdir()
    for name in ("text.txt", "broken.parquet", "broken.csv.gz"):
        (tmp_path / name).write_text("neither of them")
    (tmp_path / "cut.csv.gz").write_bytes(Path(csv_file(tmp_path, long_frame())).read_bytes()[:200])
    texts = {
        "header": "", "noid": "a,2024-06-01,1\n,2024-06-01,1\n", "nods": "a,,1\n", "words": "a,2024-06-01,many\n",
        "dates": "a,01/06/2024,1\n",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text("unique_id,ds,y\n" + text)
    long_frame().to_csv(tmp_path / "mixed" / "0.csv")
    long_frame().to_parquet(tmp_path / "mixed" / "1.parquet")
    long_frame().to_csv(tmp_path / "lacking" / "0.csv")
    long_frame().drop(columns="y").to_csv(tmp_path / "lacking" / "1.csv")
    long_frame().assign(unique_id=7).to_parquet(tmp_path / "kinds" / "0.parquet")
    long_frame().to_parquet(tmp_path / "kinds" / "1.parquet")
    for read in (lambda one: one.frame(), lambda one: list(one.chunks(2))):
        with pytest.raises(wrong, match=message):
            read(open_source(section(begin(tmp_path))))


def test_columns_that_no_schema_names_may_differ_from_file_to_file(tmp_path: Path) -> None:
    long_frame(1).assign(note="x").to_parquet(tmp_path / "0.parquet")
    long_frame(1).to_parquet(tmp_path / "1.parquet")
    assert list(open_source(section(tmp_path)).frame().columns) == ["unique_id", "ds", "y"]


runs = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4)), min_size=1, max_size=12)


@given(runs=runs, size=st.integers(1, 4), portion=st.integers(1, 5))
@settings(deadline=None)
def test_chunks_of_any_rows_are_what_a_dictionary_would_gather(
    runs: list[tuple[int, int]], size: int, portion: int
) -> None:
    ids = np.repeat([one for one, _ in runs], [length for _, length in runs])
    frame = pd.DataFrame({"id": ids, "y": np.arange(len(ids))})
    batches = [frame.iloc[k : k + portion] for k in range(0, len(frame), portion)]
    expected: dict[int, list[int]] = {}
    for one, y in zip(ids.tolist(), frame["y"].tolist(), strict=True):
        expected.setdefault(one, []).append(y)
    order = [one for k, one in enumerate(ids.tolist()) if k == 0 or ids[k - 1] != one]
    together = follow_one_another(batch["id"] for batch in batches)
    assert together == (len(order) == len(set(order)))
    for rows in (None, len(frame)):
        chunks = list(cut_series(batches if together else bring_together(batches, "id", rows=rows), "id", series=size))
        found: dict[int, list[int]] = {}
        for chunk in chunks:
            for one, part in chunk.groupby("id"):
                assert one not in found
                found[int(one)] = part["y"].tolist()
        assert found == expected
        assert [chunk["id"].nunique() for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)


def test_memory_does_not_grow_with_the_number_of_series(tmp_path: Path) -> None:
    """Arrow's own books: what is held while chunks are drawn is a fraction of the whole."""
    rows, path = 1_500_000, tmp_path / "sales.parquet"
    ids = pa.array(np.arange(rows) % 1000)
    table = pa.table({"unique_id": ids, "ds": pa.array(np.arange(rows) // 1000), "y": pa.array(np.zeros(rows))})
    pq.write_table(table, path, row_group_size=100_000)
    whole = table.nbytes
    del table, ids
    source = open_source(DataSection.model_validate({"path": str(path), "schema": {"freq": 1}}))
    before, most, count = pa.total_allocated_bytes(), 0, 0
    for chunk in source.chunks(50):
        most = max(most, pa.total_allocated_bytes() - before + int(chunk.memory_usage(index=False).sum()))
        count += len(chunk)
    assert count == rows
    assert most < whole / 2
