"""Two jobs that name one sink: the second one is refused before it writes anything, wherever the sink is."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from batches import feed, run, write_feed, write_job
from stores import prepared

from forecast_kit.errors import ConfigError, StoreError
from forecast_kit.jobs.sections import SinkSection
from forecast_kit.jobs.sinks.owner import MARK, claim


@pytest.fixture(params=["folder", "url", "sqlite", "postgresql"])
def section(request: pytest.FixtureRequest, tmp_path: Path) -> SinkSection:
    if request.param == "folder":
        return SinkSection(path=str(tmp_path / "out"))
    if request.param == "url":
        return SinkSection(path=f"memory://{uuid.uuid4().hex}/out")
    if request.param == "sqlite":
        return SinkSection(sql={"url": f"sqlite:///{tmp_path / 'base.db'}"})
    base = request.getfixturevalue("postgres_base")
    return SinkSection(sql={"url": base, "table": f"owned_{uuid.uuid4().hex[:8]}"})


def test_the_first_job_has_it_and_another_one_is_refused(section: SinkSection) -> None:
    for _ in range(2):
        assert claim(section, "it's mine") is None
    cure = "DELETE FROM .*_job" if section.sql else f"remove .*{MARK}"
    with pytest.raises(ConfigError, match=f"is that of the job \"it's mine\", and 'other' would overwrite.*{cure}"):
        claim(section, "other")
    assert claim(section, "it's mine") is None


def test_of_many_at_once_one_gets_it(section: SinkSection) -> None:
    if section.path is not None and "://" in section.path:
        pytest.skip("no store at a URL promises that")
    together, got = threading.Barrier(6), []

    def try_it(name: str) -> None:
        together.wait(30)
        try:
            claim(section, name)
        except ConfigError:
            return
        got.append(name)

    threads = [threading.Thread(target=try_it, args=(f"job {k}",)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1
    assert claim(section, got[0]) is None


def test_what_a_killed_claim_left_is_tidied_up(tmp_path: Path) -> None:
    (tmp_path / f".{MARK}.12345678").write_text('{"job": "na')
    claim(SinkSection(path=str(tmp_path)), "a")
    assert [file.name for file in tmp_path.iterdir()] == [MARK]


def test_the_cure_is_one(tmp_path: Path) -> None:
    section = SinkSection(path=str(tmp_path / "out"))
    claim(section, "old")
    (tmp_path / "out" / MARK).unlink()
    assert claim(section, "new") is None
    base = tmp_path / "base.db"
    section = SinkSection(sql={"url": f"sqlite:///{base}"})
    claim(section, "old")
    with pytest.raises(ConfigError) as told:
        claim(section, "new")
    command = str(told.value).partition("run ")[2].partition(", and run")[0]
    with sa.create_engine(f"sqlite:///{base}").begin() as connection:
        connection.execute(sa.text(command))
    assert claim(section, "new") is None


def test_tables_of_one_database_have_owners_of_their_own(tmp_path: Path) -> None:
    for table in ("demand", "load"):
        section = SinkSection(sql={"url": f"sqlite:///{tmp_path / 'base.db'}", "table": table})
        assert claim(section, f"the job of {table}") is None


def test_where_nothing_can_be_written_down_the_job_goes_on_and_says_so(tmp_path: Path) -> None:
    base = tmp_path / "base.db"
    with sa.create_engine(f"sqlite:///{base}").begin() as connection:
        connection.execute(sa.text("CREATE TABLE forecasts (a INTEGER)"))
    told = claim(SinkSection(sql={"url": f"sqlite:///file:{base}?mode=ro&uri=true"}), "a")
    assert told is not None
    assert "write down whose sink it is" in told
    (tmp_path / "file").write_text("no folder")
    assert "it cannot be written down" in str(claim(SinkSection(path=str(tmp_path / "file" / "out")), "a"))


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\xff\xfe"])
def test_a_mark_that_says_nothing_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / MARK).write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match="does not tell whose sink it is.*remove it"):
        claim(SinkSection(path=str(tmp_path)), "a")
    assert [file.name for file in tmp_path.iterdir()] == [MARK]


@pytest.mark.parametrize("where", [lambda root: f"{{path: {root}/out}}",
                                   lambda root: f"{{sql: {{url: 'sqlite:///{root}/base.db'}}}}"])  # fmt: skip
def test_a_second_job_changes_nothing_in_the_sink(where: Callable[[Path], str], tmp_path: Path) -> None:
    data = feed()
    write_feed(tmp_path, data[data["unique_id"] == "H1"])
    prepared(tmp_path / "store")
    job = write_job(tmp_path, sink=where(tmp_path), name="first")
    assert run(job, "2024-06-20", tasks=["forecast"]).exit_code == 3  # nobody is champion
    before = {file: file.read_bytes() for file in sorted(tmp_path.glob("out/**/*")) if file.is_file()}
    rows = _rows(tmp_path)
    second = write_job(tmp_path, sink=where(tmp_path), name="second")
    for tasks in (["forecast"], ["monitor"]):
        with pytest.raises(ConfigError, match="is that of the job 'first', and 'second' would overwrite"):
            run(second, "2024-06-20", tasks=tasks)
    told = json.loads((tmp_path / "reports" / "summaries" / "second-2024-06-20.json").read_text())
    assert told["exit_code"] == 2
    assert {file: file.read_bytes() for file in before} == before
    pd.testing.assert_frame_equal(_rows(tmp_path), rows)


def _rows(root: Path) -> pd.DataFrame:
    if (root / "base.db").exists():
        with sa.create_engine(f"sqlite:///{root / 'base.db'}").connect() as connection:
            return pd.read_sql("SELECT * FROM forecasts", connection)
    return pd.read_parquet(root / "out" / "forecasts")
