"""The command in a shell: its help, and what the Tab key gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from forecast_kit.jobs.cli import app


def test_help_groups_the_commands_and_says_a_sentence_on_each() -> None:
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"})
    assert done.exit_code == 0
    panels: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("╭─ "):
            panels[line.split()[1]] = []
        elif line.startswith("│ ") and line[2] != " ":
            panels[[*panels][-1]].append(line[2:].split()[0])
            assert len(line.strip("│ ").split()) > 3, line
    assert {"run", "validate", "init", "batch"} <= {*panels["Jobs"]}
    assert {"promote", "rollback", "history", "forecast", "sync"} <= {*panels["Registry"]}
    assert {"serve", "schedule", "ui"} <= {*panels["Service"]}
    assert "Commands" not in panels  # all are in a group


def test_every_command_has_help_with_a_word_on_each_option() -> None:
    for name in ("init", "schedule", "serve"):
        done = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "120"})
        assert done.exit_code == 0
        for line in done.stdout.splitlines():
            if line.startswith("│ --"):
                assert len(line.strip("│ ").split()) > 3, line


TAB = """
script=$(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION=1 forecast-kit --show-completion bash) || exit
eval "$script"
complete -p forecast-kit
for typed in ba sch; do
    COMP_WORDS=(forecast-kit "$typed"); COMP_CWORD=1
    _forecast_kit_completion forecast-kit "$typed" forecast-kit
    echo "${COMPREPLY[@]}"
done
"""


def test_the_script_that_is_printed_makes_bash_complete_commands() -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "--norc", "-c", TAB], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stderr
    assert "_forecast_kit_completion forecast-kit" in done.stdout
    assert done.stdout.splitlines()[1:] == ["batch", "schedule"]
