"""The report stands alone, says what the tables say, and is whole or not there."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecast_kit import ETS, Naive, Panel, RollingOrigin, SeasonalNaive, backtest
from forecast_kit.errors import ArgumentError
from forecast_kit.evaluation.backtest import Backtest
from forecast_kit.evaluation.report import write_report


class Outline(HTMLParser):
    """Headings, cells and the addresses that a page asks for; complains about tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {"h1": [], "h2": [], "td": [], "p": []}
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.text:
            self.text[self.open[-1]].append(data)


def read(path: Path) -> Outline:
    outline = Outline()
    outline.feed(path.read_text(encoding="utf-8"))
    assert not outline.open
    return outline


@pytest.fixture(scope="module")
def result() -> Backtest:
    rng = np.random.default_rng(0)
    wave = 5 + np.sin(np.arange(72) * np.pi / 6)
    frames = [pd.DataFrame({"unique_id": f"<s{k:02d}>&", "ds": range(72), "y": wave + 0.3 * rng.normal(size=72)})
              for k in range(12)]  # fmt: skip
    panel = Panel.from_frame(pd.concat(frames), freq=1, season_length=12)
    models = {"naive": Naive(), "seasonal": SeasonalNaive(), "ets": ETS(jobs=1)}
    return backtest(models, panel, RollingOrigin(12, folds=2), levels=(0.1, 0.5, 0.9))


def test_a_report_is_one_file_with_every_table_and_picture(result: Backtest, tmp_path: Path) -> None:
    path = write_report(result, tmp_path / "new" / "report.html", baseline="naive", title="Sales <2024>")
    outline = read(path)
    assert outline.text["h1"] == ["Sales <2024>"]
    assert outline.text["h2"] == [
        "Leaderboard", "Compared with naive", "Error by step of the horizon", "Ranks", "Calibration",
        "Series with the highest mase of " + result.leaderboard()["model"].iloc[0],
    ]  # fmt: skip
    board = result.leaderboard("naive")
    for model, value in zip(board["model"], board["mase"], strict=True):
        assert model in outline.text["td"]
        assert f"{value:.4g}" in outline.text["td"]
    assert len(outline.links) == 2 * 4
    assert all(link.startswith("data:image/png;base64,") for link in outline.links)
    assert not re.search(r"https?://", path.read_text())
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    assert path.stat().st_size < 3_000_000


def test_a_single_model_of_a_single_series_has_a_report_too(tmp_path: Path) -> None:
    frame = pd.DataFrame({"unique_id": "a", "ds": range(30), "y": np.arange(30.0) % 7})
    panel = Panel.from_frame(frame, freq=1, season_length=5)
    outline = read(write_report(backtest({"naive": Naive()}, panel, RollingOrigin(5)), tmp_path / "r.html"))
    assert outline.text["h2"] == [
        "Leaderboard",
        "Error by step of the horizon",
        "Series with the highest mase of naive",
    ]


def test_where_no_model_has_the_score_nothing_is_best(tmp_path: Path) -> None:
    frame = pd.DataFrame({"unique_id": "a", "ds": range(30), "y": np.arange(30.0) % 5})  # the season is exact: no scale
    panel = Panel.from_frame(frame, freq=1, season_length=5)
    result = backtest({"naive": Naive(), "other": Naive()}, panel, RollingOrigin(5))
    assert result.leaderboard("naive")[["mase", "skill", "p_best", "p_baseline"]].isna().all(axis=None)
    assert read(write_report(result, tmp_path / "r.html")).text["h2"][0] == "Leaderboard"


def test_what_is_undefined_is_counted(tmp_path: Path) -> None:
    flat = pd.DataFrame({"unique_id": "flat", "ds": range(30), "y": 3.0})
    wild = pd.DataFrame({"unique_id": "wild", "ds": range(30), "y": np.arange(30.0) % 7})
    panel = Panel.from_frame(pd.concat([flat, wild]), freq=1)
    result = backtest({"naive": Naive(), "seasonal": SeasonalNaive(2)}, panel, RollingOrigin(5))
    outline = read(write_report(result, tmp_path / "r.html"))
    assert "Undefined scores, left out of the means" in outline.text["h2"]


def test_a_report_of_something_else_is_refused(result: Backtest, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"an .html file, got 'report.pdf'"):
        write_report(result, tmp_path / "report.pdf")
    with pytest.raises(ArgumentError, match="unknown baseline"):
        write_report(result, tmp_path / "report.html", baseline="theta")
    assert not list(tmp_path.iterdir())
