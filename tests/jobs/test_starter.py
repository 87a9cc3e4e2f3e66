"""`forecast-kit init`: a starter that is valid, mentions every key there is, and guesses nothing silently."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML
from typer.testing import CliRunner

from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, ConfigError, DataError, SchemaError
from forecast_kit.jobs.config import JobConfig, read_job
from forecast_kit.jobs.operations_cli import operations_app
from forecast_kit.jobs.sections.base import keys_of
from forecast_kit.jobs.sources import read_source
from forecast_kit.jobs.starter import template


def init(*words: str | Path) -> str:
    result = CliRunner().invoke(operations_app, ["init", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def sections(kind: type[BaseModel], place: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], list[str]]]:
    """The keys of a section and of those in it, by their places."""
    found = [(place, keys_of(kind))]
    for name, field in kind.model_fields.items():
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found += sections(inner, (*place, field.alias or name))
    return found


def uncommented(text: str) -> dict[tuple[str, ...], str]:
    """What is written behind every key, in a comment or not, by the key's place: indentation tells what is in what."""
    found: dict[tuple[str, ...], str] = {}
    place: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = re.match(r"( *)(?:# )?( *)([a-z_]+):(?: +(.*?))?(?:  +#.*)?$", line)
        if match is not None:
            depth = len(match[1] + match[2])
            place = [(at, key) for at, key in place if at < depth] + [(depth, match[3])]
            found[tuple(key for _, key in place)] = match[4] or ""
    return found


def test_every_key_of_every_section_is_mentioned_where_it_belongs() -> None:
    written = uncommented(template())
    for place, keys in [*sections(JobConfig), (("data", "schema"), [field.name for field in fields(PanelSchema)])]:
        missing = [key for key in keys if (*place, key) not in written]
        assert not missing, f"the starter lacks {missing} of {'.'.join(place) or 'the job'}"


def test_what_it_mentions_exists_and_what_it_says_of_defaults_is_true() -> None:
    """A key that stands in a comment may be taken out of it; those left out here exclude, or need, others."""
    known = dict(sections(JobConfig))
    schema = {field.name: field.default for field in fields(PanelSchema)}
    for (*place, key), value in uncommented(template()).items():
        where = tuple(place)
        if where in known:
            assert key in known[where], f"{'.'.join(place)}.{key}"
        elif where == ("data", "schema"):
            assert key in schema
            if key in ("gaps", "duplicates", "infinite", "covariate_gaps", "empty_series", "id_col", "target_col"):
                assert value == schema[key]
    text = template()
    for line in re.findall(
        r"^  # (?!path|sql|schema|static|address|workers|group_by|max_group_loss)[a-z_]+: .*$", text, re.MULTILINE
    ):
        one = line.replace("  # ", "  ", 1)
        JobConfig.model_validate(YAML(typ="safe", pure=True).load(text.replace(line, one)))


def test_it_is_valid_as_it_stands_and_its_data_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "next: forecast-kit validate job.yaml" in init()
    config = read_job("job.yaml")
    assert config.sink is not None
    assert len(read_source(config.data).panel) == 767
    assert f"{config.schedule.every} {config.schedule.on}" == "month 2"


def test_it_writes_over_nothing_unless_forced(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("mine")
    with pytest.raises(ArgumentError, match="is there already"):
        init(file)
    assert file.read_text() == "mine"
    init(file, "--force")
    assert read_job(file).name == "demand"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    frame = pd.DataFrame({
        "Store": ["a", "a"], "Hour": ["2024-01-01 00:00", "2024-01-01 01:00"], "sales": [3, 4],
        'odd: "name" #1': [0, 1],
    })  # fmt: skip
    frame.to_csv(tmp_path / "the sales.csv", index=False)
    frame.to_parquet(tmp_path / "sales.parquet")
    frame.rename(columns={"Store": "unique_id", "Hour": "ds", "sales": "y"}).to_csv(tmp_path / "usual.csv")
    return tmp_path


@pytest.mark.parametrize("name", ["the sales.csv", "sales.parquet"])
def test_of_one_s_own_data_nothing_is_guessed_silently(name: str, shop: Path) -> None:
    told = init(shop / "job.yaml", "--data", shop / name)
    text = (shop / "job.yaml").read_text()
    for role, column in (("id_col", "Store"), ("time_col", "Hour"), ("target_col", "sales")):
        assert f"    # {role}: {column}  # STATE IT" in text  # a proposal, in a comment
        assert f"data.schema.{role}" in told
    assert "2024-01-01 01:00" in text  # which tells what freq is
    with pytest.raises(ConfigError, match="needs a 'schema' that states at least freq"):
        read_job(shop / "job.yaml")
    taken = re.sub(r"^    # (freq|id_col|time_col|target_col):", r"    \1:", text, flags=re.MULTILINE)
    (shop / "job.yaml").write_text(taken)
    config = read_job(shop / "job.yaml")
    assert config.data.columns == {"freq": "h", "id_col": "Store", "time_col": "Hour", "target_col": "sales"}
    assert read_source(config.data).panel.y.tolist() == [3.0, 4.0]


def test_a_frequency_alone_does_not_make_the_file_valid(shop: Path) -> None:
    """Its columns would be taken for unique_id, ds and y, which are not there."""
    init(shop / "job.yaml", "--data", shop / "the sales.csv", "--freq", "h", "--id", "Store")
    with pytest.raises(ConfigError, match="the schema lacks freq"):
        read_job(shop / "job.yaml")


def test_what_is_stated_stands_in_the_file_and_is_checked(shop: Path) -> None:
    known = ["--freq", "h", "--id", "Store", "--time", "Hour", "--target", 'odd: "name" #1']
    init(shop / "job.yaml", "--data", shop / "the sales.csv", *known)
    assert read_source(read_job(shop / "job.yaml").data).panel.y.tolist() == [0.0, 1.0]
    with pytest.raises(ArgumentError, match="has no column 'store'; it has Store, Hour, .*Did you mean 'Store'"):
        init(shop / "other.yaml", "--data", shop / "the sales.csv", "--id", "store")
    with pytest.raises(SchemaError, match="fortnight"):
        init(shop / "other.yaml", "--data", shop / "the sales.csv", "--freq", "fortnight")
    with pytest.raises(ArgumentError, match="say --data as well"):
        init(shop / "other.yaml", "--freq", "h")
    with pytest.raises(DataError, match="there is no file"):
        init(shop / "other.yaml", "--data", shop / "absent.csv")
    assert not (shop / "other.yaml").exists()


@pytest.mark.parametrize(
    ("freq", "season", "horizon", "every", "max_age"),
    [("h", 24, 24, "day", "28D"), ("D", 7, 14, "day", "56D"), ("W-SUN", 52, 13, "week", "182D"),
     ("MS", 12, 6, "month", "365D"), ("QS", 4, 4, "month", "730D"), ("1", 1, 6, "day", 100)],
)  # fmt: skip
def test_what_follows_from_a_stated_frequency_is_filled_in(
    shop: Path, freq: str, season: int, horizon: int, every: str, max_age: str | int
) -> None:
    told = init(shop / "job.yaml", "--data", shop / "usual.csv", "--freq", freq)
    assert "next: forecast-kit validate" in told  # nothing is left to be stated
    config = read_job(shop / "job.yaml")
    assert (config.backtest.horizon, config.schedule.every) == (horizon, every)
    assert config.candidates["gru"]["input_length"] == max(2 * season, 2 * horizon if season == 1 else 0)
    assert config.monitor.retrain.max_age == max_age
    text = (shop / "job.yaml").read_text()
    assert f"# season_length: {season} " in text
    assert f"  # max_delay: {horizon} " in text


def test_columns_of_the_usual_names_need_no_word(shop: Path) -> None:
    init(shop / "job.yaml", "--data", shop / "usual.csv", "--freq", "h")
    assert read_source(read_job(shop / "job.yaml").data).panel.y.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("data", ["s3://bucket/sales/*.parquet", "sales/*.parquet", "."])
def test_what_cannot_be_looked_at_is_left_to_be_stated(data: str, tmp_path: Path) -> None:
    told = init(tmp_path / "job.yaml", "--data", data)
    assert told.count("state data.schema") == 4
    assert YAML(typ="safe", pure=True).load((tmp_path / "job.yaml").read_text())["data"]["path"] == data


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("not Parquet")
    with pytest.raises(DataError, match=r"cannot read .*x\.parquet"):
        init(tmp_path / "job.yaml", "--data", tmp_path / "x.parquet")
