"""Scores of many past runs at once: those of each run by itself, with no more rows held than allowed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_kit import Panel
from forecast_kit.jobs.asof import AsOf, known_at
from forecast_kit.jobs.monitor import score_past, unseen
from forecast_kit.jobs.scoring import score_run
from forecast_kit.jobs.sections import DataSection, SinkSection
from forecast_kit.jobs.sinks import Sink, open_sink
from forecast_kit.jobs.sources import OpenSource, open_source

HORIZON = 6


def past(folder: Path, seed: int) -> tuple[Sink, OpenSource, dict[int, pd.DataFrame]]:
    """A sink with runs of several days, of series that come and go, and their source; the rows by run."""
    rng = np.random.default_rng(seed)
    names = [f"s{k}" for k in range(7)]
    history = pd.concat([
        pd.DataFrame({"unique_id": name, "ds": np.arange(first, 40), "y": rng.normal(size=40 - first)})
        for name in names[:-1] for first in [int(rng.integers(0, 20))]
    ])  # fmt: skip
    history.loc[rng.random(len(history)) < 0.1, "y"] = np.nan
    history.to_parquet(folder / "data.parquet")
    schema = {"freq": 1, "season_length": 3, "gaps": "mask"}
    source = open_source(DataSection(path=str(folder / "data.parquet"), schema=schema))
    sink = open_sink(SinkSection(path=str(folder / "out")), source.schema)
    runs = {}
    for run in (22, 25, 28, 31, 36):
        own = [name for name in names if rng.random() < 0.8] or names[:1]
        stamps = np.tile(np.arange(run, run + HORIZON), len(own))
        rows = pd.DataFrame({"unique_id": np.repeat(own, HORIZON), "ds": stamps, "cutoff": run - 1,
                             "mean": rng.normal(size=len(own) * HORIZON)})  # fmt: skip
        rows = rows.assign(q10=rows["mean"] - 1, q90=rows["mean"] + 1, model="m", model_version="1", fallback="",
                           reason="")  # fmt: skip
        sink.write("forecasts", AsOf(run), [rows])
        runs[run] = rows
    return sink, source, runs


def by_itself(rows: pd.DataFrame, source: OpenSource, run: int, now: int) -> pd.DataFrame:
    """The scores of one run, with all of its rows and all series at once."""
    history, _ = known_at(source.frame(), source.schema, AsOf(now))
    found = score_run(rows, Panel.from_frame(history, source.schema), AsOf(run))
    whole = pd.concat([part for part in (found, unseen(rows, [found])) if len(part)])
    return whole.sort_values("unique_id", ignore_index=True)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("held", [1, 60, 10**9])
def test_many_runs_are_scored_as_each_by_itself(seed: int, held: int, tmp_path: Path) -> None:
    sink, source, runs = past(tmp_path, seed)
    # The last run has not come true whole; the first one is no longer looked back to.
    done = score_past(sink, source, AsOf(38), look_back=4, chunk=2, held=held)
    assert [run.value for run in done] == [25, 28, 31, 36]
    assert [run.value for run in sink.as_ofs("scores")] == [25, 28, 31, 36]
    table = sink.read("scores")
    for run in (25, 28, 31, 36):
        mine = table[table["as_of"] == run].drop(columns="as_of").reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, by_itself(runs[run], source, run, 38), check_dtype=False)
    again = score_past(sink, source, AsOf(38), look_back=4, chunk=3, held=held)
    assert AsOf(36) in again
    pd.testing.assert_frame_equal(sink.read("scores"), table)


def test_no_more_is_held_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forecast_kit.jobs import monitor

    sink, source, runs = past(tmp_path, 0)
    seen: list[list[int]] = []
    usual = monitor._score

    def watched(sink: Sink, source: OpenSource, as_of: AsOf, forecasts: dict[AsOf, pd.DataFrame], chunk: int) -> None:
        seen.append([len(rows) for rows in forecasts.values()])
        usual(sink, source, as_of, forecasts, chunk)

    monkeypatch.setattr(monitor, "_score", watched)
    longest = max(map(len, runs.values()))
    score_past(sink, source, AsOf(38), look_back=5, chunk=9, held=1)
    assert seen == [[len(rows)] for rows in runs.values()]
    seen.clear()
    score_past(sink, source, AsOf(38), look_back=5, chunk=9, held=longest)
    assert all(sum(group[:-1]) < longest for group in seen)
