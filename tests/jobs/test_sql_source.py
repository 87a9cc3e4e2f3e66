"""Rows of a real PostgreSQL: its types, its time zones, its cursors, and its refusals."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from forecast_kit.errors import DataError
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.sections import DataSection
from forecast_kit.jobs.sources import OpenSource, open_source, read_source

# As a table of accounts would have it: decimals, dates, stamps with and without a zone, identifiers of all kinds.
TABLE = """
DROP TABLE IF EXISTS sales;
CREATE TABLE sales (
    shop uuid, number numeric(10, 0), code text, day date, wall timestamp, moment timestamptz, amount numeric(12, 2)
);
INSERT INTO sales
SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, n, lpad(n::text, 3, '0'), (d at time zone
    'Europe/Berlin')::date, d at time zone 'Europe/Berlin', d, CASE WHEN n = 1 THEN NULL ELSE n + 0.25 END
FROM generate_series(0, 2) n, generate_series(timestamptz '2024-03-30 00:00+01', '2024-04-01 23:00+02', '1 hour') d
"""


@pytest.fixture(scope="module")
def base(postgres_base: str) -> str:
    with sa.create_engine(postgres_base, poolclass=sa.NullPool).begin() as connection:
        for command in TABLE.split(";"):
            connection.execute(sa.text(command))
    return postgres_base


def source_of(base: str, columns: str, *, as_of: AsOf | None = None, rest: str = "", **schema: Any) -> OpenSource:
    sql = {"url": base, "query": f"SELECT {columns}, amount AS y FROM sales {rest}"}
    section = {"sql": sql, "schema": {"freq": "h", "gaps": "mask", "empty_series": "drop", **schema}}
    return open_source(DataSection.model_validate(section), as_of=as_of)


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        ("shop", ["00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000002"]),
        ("number", [0, 2]),
        ("code", ["000", "002"]),
    ],
)
def test_identifiers_of_every_kind(base: str, column: str, ids: list[Any]) -> None:
    source = source_of(base, f"{column} AS unique_id, moment AS ds")
    chunks = list(source.chunks(2))
    assert [chunk["unique_id"].nunique() for chunk in chunks] == [2, 1]
    assert read_source(source.section).panel.ids.tolist() == ids


def test_a_night_without_the_hour_that_the_clock_skips_has_71_hours(base: str) -> None:
    """With a zone in the column or in the schema: the same panel."""
    aware = source_of(base, "code AS unique_id, moment AS ds", timezone="Europe/Berlin")
    wall = source_of(base, "code AS unique_id, wall AS ds", timezone="Europe/Berlin")
    panels = [read_source(one.section).panel for one in (aware, wall)]
    assert [panel.lengths.tolist() for panel in panels] == [[71, 71]] * 2
    pd.testing.assert_frame_equal(panels[0].to_frame(), panels[1].to_frame())


def test_days_are_those_on_the_wall(base: str) -> None:
    sql = {"url": base, "query": "SELECT code AS unique_id, date_trunc('day', moment) AS ds, sum(amount) AS y "
                                 "FROM sales WHERE number <> 1 GROUP BY 1, 2"}  # fmt: skip
    schema = {"freq": "D", "timezone": "Europe/Berlin"}
    panel = read_source(DataSection.model_validate({"sql": sql, "schema": schema})).panel
    assert panel.to_frame()["ds"].dt.strftime("%Y-%m-%d").unique().tolist() == [
        "2024-03-30",
        "2024-03-31",
        "2024-04-01",
    ]
    assert panel.y[1] == 23 * 0.25
    dates = source_of(base, "code AS unique_id, day AS ds", rest="WHERE number = 0", freq="D", duplicates="sum")
    assert read_source(dates.section).panel.y.tolist() == [24 * 0.25, 23 * 0.25, 24 * 0.25]


@pytest.mark.parametrize("column", ["moment", "wall"])
def test_the_as_of_is_on_the_clock_of_the_schema(base: str, column: str) -> None:
    """31 March at 04:00 in Berlin is 27 hours after the first midnight, whatever zone the server keeps."""
    source = source_of(
        base, f"code AS unique_id, {column} AS ds", rest=f"WHERE {column} < :as_of AND number = 0",
        as_of=AsOf.read("2024-03-31T04:00"), timezone="Europe/Berlin",
    )  # fmt: skip
    assert len(source.frame()) == 27


def test_a_result_of_many_portions_comes_through_a_cursor(base: str) -> None:
    text = ("SELECT n % 500 AS unique_id, timestamp '2024-01-01' + n / 500 * interval '1 hour' AS ds, n AS y "
            "FROM generate_series(0, 149999) n")  # fmt: skip
    source = open_source(DataSection.model_validate({"sql": {"url": base, "query": text}, "schema": {"freq": "h"}}))
    chunks = list(source.chunks(200))
    assert [chunk["unique_id"].nunique() for chunk in chunks] == [200, 200, 100]
    whole = pd.concat(chunks)
    assert (len(whole), whole["y"].sum()) == (150_000, 149_999 * 75_000)
    assert whole.groupby("unique_id")["ds"].is_monotonic_increasing.all()


def test_what_the_database_refuses_is_told_without_its_password(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FK_TEST_WORD", "ses@me")
    url = base.replace("owner@", "nobody:${FK_TEST_WORD}@")
    with pytest.raises(DataError, match='role "nobody" does not exist') as caught:
        source_of(url, "code AS unique_id, moment AS ds").frame()
    assert "ses" not in str(caught.value).replace("***", "")
    with pytest.raises(DataError, match='column "nowhere" does not exist'):
        source_of(base, "code AS unique_id, moment AS ds", rest="WHERE nowhere").frame()
