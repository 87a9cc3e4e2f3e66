"""docs/scheduling.md says what is so: its YAML is valid, its commands and options exist, its files are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML

from forecast_kit.jobs.cli import app
from forecast_kit.jobs.config import JobConfig, read_job
from forecast_kit.jobs.scheduling import plan_job
from forecast_kit.jobs.starter import template

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scheduling.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_its_sections_are_valid_in_a_job() -> None:
    job = YAML(typ="safe", pure=True).load(template())
    found = [YAML(typ="safe", pure=True).load(block) for block in blocks("yaml")]
    assert found
    for section in found:
        JobConfig.model_validate({**job, **section})


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines() if "forecast-kit " in line]
    inline = re.findall(r"`(forecast-kit [^`]+)`", PAGE.read_text(encoding="utf-8"))
    found = []
    for line in (*lines, *inline):
        match = re.search(r"(?<![\w'/-])forecast-kit [a-z].*", line.split("  #")[0])
        if match is not None:
            found.append(shlex.split(match[0].split(")")[0])[1:])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_its_commands_and_their_options_exist(words: list[str]) -> None:
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        assert not word.startswith("--") or word in known, word


def test_its_links_and_files_are_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (PAGE.parent / target).exists(), target
    for target in re.findall(r"pipelines/\w+\.(?:py|yaml)", text):
        assert (ROOT / target).exists(), target


def test_the_nightly_job_of_the_pipelines_folder_can_be_run_and_scheduled() -> None:
    config = read_job(ROOT / "pipelines" / "nightly.yaml")
    assert config.sink is not None
    assert config.data.dataset == "bike_sharing_hourly"
    assert plan_job(ROOT / "pipelines" / "nightly.yaml").name == "forecast-kit-nightly"
