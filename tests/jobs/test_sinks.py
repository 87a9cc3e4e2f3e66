"""Sinks of files and of databases: what goes in comes back, and a reader sees whole sets and nothing else."""

from __future__ import annotations

import multiprocessing
import os
import random
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sink_writers import HORIZON, SERIES, whole_set, write_at_once, write_on

from forecast_kit import PanelSchema
from forecast_kit.errors import ArgumentError, ConfigError, SchemaError, StoreError
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.sections import SinkSection
from forecast_kit.jobs.sinks import Sink, open_sink

HOURLY = PanelSchema(freq="h")
BERLIN = PanelSchema(freq="h", timezone="Europe/Berlin")
NUMBERED = PanelSchema(freq=1)
JULY = AsOf.read("2024-07-01")

# Children that have imported everything already begin within milliseconds.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["pytest", "forecast_kit.jobs.sinks"])


KINDS = ["parquet", "csv", "sqlite", "postgresql"]


@pytest.fixture(params=KINDS)
def section(request: pytest.FixtureRequest, tmp_path: Path) -> SinkSection:
    return section_of(request.param, tmp_path, request)


def section_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> SinkSection:
    if kind in ("parquet", "csv"):
        return SinkSection.model_validate({"path": str(folder / "out"), "format": kind})
    if kind == "sqlite":
        return SinkSection.model_validate({"sql": {"url": f"sqlite:///{folder / 'out.db'}"}})
    sql = {"url": request.getfixturevalue("postgres_base"), "table": f"public.Order{time.time_ns()}"}
    return SinkSection.model_validate({"sql": sql})  # with a capital letter, which must be quoted


def forecasts(as_of: AsOf = JULY, *, series: int = 3, mean: float = 1.0, name: str = "00") -> pd.DataFrame:
    stamps = pd.date_range(as_of.value, periods=2, freq="h", unit="us")
    rows = series * len(stamps)
    return pd.DataFrame(
        {
            "unique_id": np.repeat([f"{name}{k}" for k in range(series)], len(stamps)),
            "ds": np.tile(stamps, series),
            "cutoff": stamps[0],
            "model": "GRU",
            "model_version": "7",
            "mean": mean,
            "q10": np.where(np.arange(rows) == 0, np.nan, 0.5),
            "fallback": "",
            "reason": "",
        }
    )


def ordered(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(["unique_id", "ds"], kind="stable", ignore_index=True)


def test_what_was_written_comes_back_and_is_replaced_as_of_by_as_of(section: SinkSection) -> None:
    sink = open_sink(section, HOURLY)
    august = AsOf.read("2024-08-01T06:00")
    assert sink.as_ofs("forecasts") == []
    empty = sink.read("forecasts", columns=["mean"])
    assert (len(empty), list(empty.columns), str(empty["as_of"].dtype)) == (0, ["as_of"], "datetime64[us]")
    assert sink.write("forecasts", august, [forecasts(august)]) == 6
    assert sink.write("forecasts", JULY, [forecasts(name="b"), forecasts(name="a")]) == 12
    assert open_sink(section, HOURLY).as_ofs("forecasts") == [JULY, august]
    july = pd.concat([forecasts(name="a"), forecasts(name="b")], ignore_index=True)
    july.insert(0, "as_of", pd.Series(JULY.value, index=july.index, dtype="datetime64[us]"))
    pd.testing.assert_frame_equal(sink.read("forecasts", until=august), july)
    assert set(sink.read("forecasts")["as_of"]) == {JULY.value, august.value}
    pd.testing.assert_frame_equal(sink.read("forecasts", columns=["mean"], since=august),
                                  pd.DataFrame({"as_of": [august.value] * 6, "mean": 1.0}))  # fmt: skip
    assert sink.write("forecasts", JULY, [forecasts(mean=2.0, series=1)]) == 2
    assert sink.read("forecasts", until=august)["mean"].tolist() == [2.0, 2.0]
    assert len(sink.read("forecasts", since=august)) == 6
    assert sink.write("forecasts", JULY, []) == 0
    assert sink.as_ofs("forecasts") == [august]
    assert sink.write("forecasts", JULY, [forecasts().iloc[:0]]) == 0


def test_other_tables_have_their_own_keys(section: SinkSection) -> None:
    sink = open_sink(section, HOURLY)
    scores = pd.DataFrame({"unique_id": ["a", "b"], "model": "m", "mae": [1.5, np.nan]})
    checks = pd.DataFrame({"check": ["drift", "age"], "fired": [True, False], "value": [0.3, 2.0]})
    sink.write("scores", JULY, [scores])
    sink.write("checks", JULY, [checks])
    pd.testing.assert_frame_equal(sink.read("scores").drop(columns="as_of"), scores)
    read = sink.read("checks").drop(columns="as_of")
    pd.testing.assert_frame_equal(read, checks.sort_values("check", ignore_index=True))
    assert sink.as_ofs("forecasts") == []
    with pytest.raises(ArgumentError, match="not 'forecast'. Did you mean 'forecasts'"):
        sink.write("forecast", JULY, [])


@pytest.mark.parametrize("as_of", ["2024-10-27", "2024-03-31"])
def test_zones_come_back_through_both_changes_of_the_clock(section: SinkSection, as_of: str) -> None:
    moment = AsOf.read(as_of)
    stamps = pd.date_range(as_of, periods=5, freq="h", tz="Europe/Berlin", unit="us")
    frame = pd.DataFrame({"unique_id": "a", "ds": stamps, "cutoff": stamps[0], "mean": 1.0})
    sink = open_sink(section, BERLIN)
    sink.write("forecasts", moment, [frame])
    read = sink.read("forecasts")
    assert str(read["ds"].dtype) == "datetime64[us, Europe/Berlin]"
    assert read["ds"].tolist() == stamps.tolist()
    assert read["as_of"].tolist() == [moment.value] * 5


def test_numbered_time_and_numbered_series_stay_whole(section: SinkSection) -> None:
    sink = open_sink(section, NUMBERED)
    frame = pd.DataFrame({"unique_id": [7, 8], "ds": [100, 100], "cutoff": 99, "mean": [1.0, 2.5]})
    for as_of in (AsOf(100), AsOf(-5), AsOf(20)):
        sink.write("forecasts", as_of, [frame])
    assert sink.as_ofs("forecasts") == [AsOf(-5), AsOf(20), AsOf(100)]
    read = sink.read("forecasts", since=AsOf(20), until=AsOf(100))
    assert read.dtypes.astype(str).tolist() == ["int64", "int64", "int64", "int64", "float64"]
    assert read["as_of"].tolist() == [20, 20]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
values = st.lists(st.floats(width=64), min_size=4, max_size=4)


@pytest.mark.parametrize("kind", KINDS)
@given(
    ids=st.lists(texts, min_size=2, max_size=2, unique=True), y=values, words=st.lists(texts, min_size=4, max_size=4)
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_and_any_number_comes_back(
    kind: str, request: pytest.FixtureRequest, ids: list[str], y: list[float], words: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        section = (
            request.getfixturevalue("any_base") if kind == "postgresql" else section_of(kind, Path(folder), request)
        )
        sink = open_sink(section, NUMBERED)
        frame = pd.DataFrame({"unique_id": np.repeat(ids, 2), "ds": [1, 2, 1, 2], "mean": y, "reason": words})
        sink.write("forecasts", AsOf(1), [frame])
        read = sink.read("forecasts").drop(columns="as_of")
        expected = ordered(frame)
        if kind == "sqlite":  # which has but one zero
            read["mean"], expected["mean"] = read["mean"] + 0.0, expected["mean"] + 0.0
        pd.testing.assert_frame_equal(read, expected, check_exact=True)


@pytest.fixture(scope="module")
def any_base(postgres_base: str) -> SinkSection:
    return SinkSection.model_validate({"sql": {"url": postgres_base, "table": "any"}})


def test_levels_may_change_from_run_to_run_in_files(tmp_path: Path) -> None:
    sink = open_sink(section_of("parquet", tmp_path, None), HOURLY)
    august = AsOf.read("2024-08-01")
    sink.write("forecasts", JULY, [forecasts(series=1)])
    sink.write("forecasts", august, [forecasts(august, series=1).assign(q05=0.1)])
    assert sink.read("forecasts", columns=["q05"])["q05"].isna().tolist() == [True, True, False, False]
    with pytest.raises(SchemaError, match="no row of forecasts has a column 'q95'"):
        sink.read("forecasts", columns=["q95"])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([forecasts(), forecasts().drop(columns="q10")], "different columns"),
        ([forecasts(), forecasts().assign(mean="many")], "different kinds of values"),
        ([forecasts().drop(columns="ds")], "lack 'ds' of the key"),
        ([forecasts().assign(unique_id=None)], "'unique_id' of the rows to write is empty in 6 rows"),
        ([forecasts().assign(as_of=pd.Timestamp("2024-08-01"))], "column 'as_of' holds 2024-08-01"),
        ([forecasts().assign(model=[[1]] * 6)], "column 'model' of the rows to write is object"),
    ],
)
def test_rows_that_do_not_fit_change_nothing(section: SinkSection, frames: list[pd.DataFrame], message: str) -> None:
    sink = open_sink(section, HOURLY)
    with pytest.raises(SchemaError, match=message):
        sink.write("forecasts", JULY, frames)
    assert sink.as_ofs("forecasts") == []
    sink.write("forecasts", JULY, [forecasts()])
    with pytest.raises(SchemaError, match=message):
        sink.write("forecasts", JULY, frames)
    assert len(sink.read("forecasts")) == 6


class Sudden(OSError):
    """Of a kind that a sink might take for its own."""


def test_a_source_that_breaks_off_changes_nothing_and_leaves_nothing(section: SinkSection, tmp_path: Path) -> None:
    def breaking() -> Iterator[pd.DataFrame]:
        yield forecasts(mean=2.0)
        raise Sudden("the source")

    sink = open_sink(section, HOURLY)
    with pytest.raises(Sudden, match=r"^the source$"):
        sink.write("forecasts", JULY, breaking())
    assert sink.as_ofs("forecasts") == []
    assert list((tmp_path / "out").glob("*")) == []
    sink.write("forecasts", JULY, [forecasts()])
    before = everything(tmp_path)
    with pytest.raises(Sudden):
        sink.write("forecasts", JULY, breaking())
    assert everything(tmp_path) == before
    assert sink.read("forecasts")["mean"].tolist() == [1.0] * 6


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_rows_are_the_same_bytes_in_whatever_portions_they_come(tmp_path: Path) -> None:
    frame = pd.DataFrame({"unique_id": np.arange(300_000), "ds": 1, "mean": 0.5})
    for form in ("parquet", "csv"):
        written = []
        for name, size in (("one", 300_000), ("many", 70_001)):
            section = SinkSection.model_validate({"path": str(tmp_path / form / name), "format": form})
            sink = open_sink(section, NUMBERED)
            assert (
                sink.write("forecasts", AsOf(1), (frame[k : k + size] for k in range(0, len(frame), size))) == 300_000
            )
            written.append((tmp_path / form / name / "forecasts" / "as_of=1" / f"forecasts.{form}").read_bytes())
        assert written[0] == written[1]
    assert pq.ParquetFile(tmp_path / "parquet/one/forecasts/as_of=1/forecasts.parquet").num_row_groups == 2


def test_other_tools_discover_the_files(tmp_path: Path) -> None:
    sink = open_sink(SinkSection(path=str(tmp_path)), HOURLY)
    for day in ("2024-07-01", "2024-07-02"):
        sink.write("forecasts", AsOf.read(day), [forecasts(AsOf.read(day))])
    (tmp_path / "forecasts" / "as_of=2024-07-02" / ".forecasts-0.tmp").write_bytes(b"half a file")
    table = ds.dataset(tmp_path / "forecasts", partitioning="hive").to_table()
    assert table.num_rows == 12
    assert sorted(set(table["as_of"].to_pylist())) == ["2024-07-01", "2024-07-02"]
    assert len(pd.read_parquet(tmp_path / "forecasts")) == 12


def test_urls_are_written_through_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    url = f"memory://sinks{time.time_ns()}"
    for form in ("parquet", "csv"):
        sink = open_sink(SinkSection.model_validate({"path": f"{url}/{form}", "format": form}), HOURLY)
        sink.write("forecasts", JULY, [forecasts(mean=2.0)])
        sink.write("forecasts", JULY, [forecasts()])
        pd.testing.assert_frame_equal(sink.read("forecasts").drop(columns="as_of"), forecasts())
        assert sink.as_ofs("forecasts") == [JULY]
        key = f"{url}/{form}/forecasts/as_of=2024-07-01/forecasts.{form}".removeprefix("memory:/")
        assert fsspec.filesystem("memory").find(f"{url}/{form}") == [key]
        with pytest.raises(Sudden):
            sink.write("forecasts", JULY, breaking_off())
        assert len(sink.read("forecasts")) == 6
        sink.write("forecasts", JULY, [])
        assert sink.as_ofs("forecasts") == []
    with pytest.raises(ConfigError, match="FK_TEST_KEY, which is not set"):
        open_sink(SinkSection(path=url, storage={"key": "${FK_TEST_KEY}"}), HOURLY)


def breaking_off() -> Iterator[pd.DataFrame]:
    yield forecasts(mean=2.0)
    raise Sudden


def test_what_is_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sink = open_sink(SinkSection(path=str(tmp_path / "file")), HOURLY)
    with pytest.raises(StoreError, match="cannot write forecasts of as-of 2024-07-01 to .*file"):
        sink.write("forecasts", JULY, [forecasts()])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "forecasts").write_text("")
    sink = open_sink(SinkSection(path=str(tmp_path / "out")), HOURLY)
    for ask in (lambda: sink.as_ofs("forecasts"), lambda: sink.write("forecasts", JULY, [forecasts()])):
        with pytest.raises(StoreError, match="Not a directory"):
            ask()
    sink = open_sink(SinkSection(path=str(tmp_path / "other")), HOURLY)
    sink.write("forecasts", JULY, [forecasts()])
    file = tmp_path / "other" / "forecasts" / "as_of=2024-07-01" / "forecasts.parquet"
    file.write_text("no Parquet")
    with pytest.raises(StoreError, match="cannot read forecasts of as-of 2024-07-01"):
        sink.read("forecasts")
    file.parent.rename(file.parent.with_name("as_of=someday"))
    with pytest.raises(StoreError, match="'someday'"):
        sink.as_ofs("forecasts")


def test_a_folder_without_the_right_to_write_is_told(tmp_path: Path) -> None:
    """As a user who is not root, whom no right is denied."""
    section = SinkSection(path=str(tmp_path / "out"))
    open_sink(section, HOURLY).write("forecasts", JULY, [forecasts()])
    folder = tmp_path / "out" / "forecasts" / "as_of=2024-07-01"
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        if os.geteuid():
            with pytest.raises(StoreError, match="Permission denied"):
                open_sink(section, HOURLY).write("forecasts", JULY, [forecasts(mean=2.0)])
        else:
            immutable = subprocess.run(["chattr", "+i", str(folder)], capture_output=True, check=False)
            if immutable.returncode:
                pytest.skip("root may write everywhere, and this file system knows no immutable folders")
            try:
                with pytest.raises(StoreError, match="not permitted"):
                    open_sink(section, HOURLY).write("forecasts", JULY, [forecasts(mean=2.0)])
            finally:
                subprocess.run(["chattr", "-i", str(folder)], check=True)
    finally:
        folder.chmod(stat.S_IRWXU)
    assert everything(folder).keys() == {str(folder / "forecasts.parquet")}


# From here on: processes.

# CSV is written the way Parquet is.
in_processes = pytest.mark.parametrize(
    "section", ["parquet", pytest.param("csv", marks=pytest.mark.slow), "sqlite", "postgresql"], indirect=True
)


def the_one_set(sink: Sink) -> float:
    """The mean of the set that is there, which must be whole."""
    read = sink.read("forecasts")
    assert len(read) == SERIES * HORIZON
    assert read["mean"].min() == read["mean"].max()
    assert not read.duplicated(["unique_id", "ds"]).any()
    return float(read["mean"].iloc[0])


def child(target: Callable[..., None], section: SinkSection, *arguments: Any) -> Any:
    process = processes.Process(target=target, args=(section.model_dump(), *arguments), daemon=True)
    process.start()
    return process


@in_processes
def test_whoever_reads_during_a_rewriting_sees_whole_sets(section: SinkSection) -> None:
    sink, started, stop = open_sink(section, NUMBERED), processes.Event(), processes.Event()
    writer = child(write_on, section, started, 0.0, 1000, stop)
    assert started.wait(60)
    seen = set()
    while writer.is_alive() and len(seen) < 5:  # five sets seen: it did read while it was written
        seen.add(the_one_set(sink))
        assert sink.as_ofs("forecasts") == [AsOf(1)]
    stop.set()
    writer.join()
    assert writer.exitcode == 0
    assert len(seen) == 5
    assert the_one_set(sink) >= max(seen)


@in_processes
def test_a_writer_that_is_killed_leaves_a_whole_set(section: SinkSection, tmp_path: Path) -> None:
    sink, last, rng = open_sink(section, NUMBERED), 0.0, random.Random(7)
    for k in range(4):
        started = processes.Event()
        writer = child(write_on, section, started, 1000.0 * k, 1000)
        assert started.wait(60)
        time.sleep(rng.uniform(0.0, 0.2))
        writer.kill()
        writer.join()
        assert writer.exitcode == -9
        now = the_one_set(sink)
        assert 1000.0 * k <= now < 1000.0 * (k + 1)
        last = max(last, now)
    sink.write("forecasts", AsOf(1), whole_set(-1.0))
    assert the_one_set(sink) == -1.0
    if section.path is not None:  # what the killed ones left is gone
        assert [Path(path).name for path in everything(tmp_path)] == [f"forecasts.{section.format}"]


@in_processes
def test_two_that_write_the_same_as_of_at_once_leave_one_of_the_sets(section: SinkSection, tmp_path: Path) -> None:
    sink = open_sink(section, NUMBERED)
    for _ in range(3):  # the first time they make the table as well
        together = processes.Barrier(2)
        writers = [child(write_at_once, section, together, mean) for mean in (1.0, 2.0)]
        for writer in writers:
            writer.join(60)
        assert [writer.exitcode for writer in writers] == [0, 0]
        assert the_one_set(sink) in (1.0, 2.0)
    if section.path is not None:
        assert len(everything(tmp_path)) == 1


@in_processes
def test_two_that_write_the_first_rows_of_a_table_at_once_both_do(section: SinkSection) -> None:
    together = processes.Barrier(2)
    writers = [child(write_at_once, section, together, 1.0, as_of) for as_of in (1, 2)]
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert open_sink(section, NUMBERED).read("forecasts").groupby("as_of").size().to_dict() == dict.fromkeys(
        (1, 2), SERIES * HORIZON
    )


def test_a_hidden_file_of_a_live_writer_is_left_to_it(tmp_path: Path) -> None:
    """Two jobs may share a folder: what another one is just writing is no leftover."""
    section = SinkSection(path=str(tmp_path))
    sink, other = open_sink(section, HOURLY), open_sink(section, HOURLY)
    august = AsOf.read("2024-08-01")

    def slowly() -> Iterator[pd.DataFrame]:
        yield forecasts(name="a")
        assert other.write("forecasts", august, [forecasts(august)]) == 6
        assert list(tmp_path.glob("forecasts/as_of=2024-07-01/.forecasts-*.tmp"))
        yield forecasts(name="b")

    assert sink.write("forecasts", JULY, slowly()) == 12
    assert sink.as_ofs("forecasts") == [JULY, august]


def engine_of(section: SinkSection) -> sa.Engine:
    assert section.sql is not None
    return sa.create_engine(section.sql.url, poolclass=sa.NullPool)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_table_without_a_column_says_how_to_add_it(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    section = section_of(kind, tmp_path, request)
    sink = open_sink(section, HOURLY)
    sink.write("forecasts", JULY, [forecasts()])
    more = forecasts().assign(q05=0.1, user="x")

    def never() -> Iterator[pd.DataFrame]:
        yield more
        raise AssertionError("it must be told before the second frame is asked for")

    with pytest.raises(StoreError, match="lacks the columns 'q05', 'user' of the rows to write; run ALTER") as caught:
        sink.write("forecasts", JULY, never())
    commands = str(caught.value).split("run ")[1].split(", or name")[0]
    with engine_of(section).begin() as connection:
        for command in commands.split("; "):
            connection.execute(sa.text(command))
    sink.write("forecasts", JULY, [more])
    pd.testing.assert_frame_equal(sink.read("forecasts").drop(columns="as_of"), more)
    with pytest.raises(StoreError, match="'unique_id' .* holds text, but the rows to write hold whole numbers"):
        sink.write("forecasts", JULY, [forecasts().assign(unique_id=7)])
    sink.write("forecasts", JULY, [forecasts()])
    assert sink.read("forecasts")["q05"].isna().all()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_tables_are_typed_and_keyed(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    section = section_of(kind, tmp_path, request)
    stamps = forecasts()["ds"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")
    open_sink(section, BERLIN).write("forecasts", JULY, [forecasts().assign(ds=stamps)])
    open_sink(section, BERLIN).write("scores", JULY, [pd.DataFrame({"unique_id": ["a"], "mae": [1.0]})])
    inspector = sa.inspect(engine_of(section))
    where, _, name = section.sql.table.rpartition(".") if section.sql else ("", "", "")
    names = inspector.get_table_names(schema=where or None)
    assert {name, f"{name}_scores"} <= set(names)
    assert inspector.get_pk_constraint(name, schema=where or None)["constrained_columns"] == [
        "as_of",
        "unique_id",
        "ds",
    ]
    types = {column["name"]: column["type"] for column in inspector.get_columns(name, schema=where or None)}
    assert isinstance(types["mean"], sa.Float)
    assert isinstance(types["as_of"], sa.DateTime)
    if kind == "postgresql":
        assert [types[one].timezone for one in ("as_of", "ds", "cutoff")] == [False, True, False]
        assert section.sql is not None
        with engine_of(section).begin() as connection:
            nulls = connection.scalar(sa.text(f'SELECT count(*) FROM public."{name}" WHERE q10 IS NULL'))
        assert nulls == 1


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    section = section_of("sqlite", tmp_path, None)
    with engine_of(section).begin() as connection:
        connection.execute(sa.text("CREATE TABLE forecasts (id INTEGER)"))
    with pytest.raises(StoreError, match="lacks the columns 'as_of', 'unique_id', 'ds', 'cutoff', 'model' and 5 more"):
        open_sink(section, HOURLY).write("forecasts", JULY, [forecasts()])


def test_a_database_that_does_not_answer_is_told_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FK_TEST_WORD", "ses@me")
    url = "postgresql+psycopg://ann:${FK_TEST_WORD}@127.0.0.1:1/base?connect_timeout=1"
    sink = open_sink(SinkSection.model_validate({"sql": {"url": url}}), HOURLY)
    assert sink.describe() == "postgresql+psycopg://ann:***@127.0.0.1:1/base (forecasts)"
    asked: list[Callable[[], object]] = [
        lambda: sink.as_ofs("forecasts"),
        lambda: sink.read("forecasts"),
        lambda: sink.write("forecasts", JULY, [forecasts()]),
    ]
    for ask in asked:
        with pytest.raises(StoreError, match="127.0.0.1") as caught:
            ask()
        assert "ses@me" not in str(caught.value)
        assert "ses%40me" not in str(caught.value)
        assert caught.value.__suppress_context__
    missing = tmp_path / "missing" / "out.db"
    sink = open_sink(SinkSection.model_validate({"sql": {"url": f"sqlite:///{missing}"}}), HOURLY)
    with pytest.raises(StoreError, match="unable to open database file"):
        sink.write("forecasts", JULY, [forecasts()])
