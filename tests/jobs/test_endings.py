"""How runs end where the machine refuses, where they are told to, and where nobody reads their log."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from batches import SERIES, trained_job, write_job
from mlflow.tracking import MlflowClient
from stores import prepared

from forecast_kit.errors import StoreError
from forecast_kit.jobs.batch import only_one
from forecast_kit.jobs.cli import main
from forecast_kit.jobs.forecasting import replace_file

DAY = "2024-06-20"
ROWS = 24 * len(SERIES)


pytestmark = pytest.mark.usefixtures("same_store_afterwards")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that has trained and forecast one day."""
    return trained_job(tmp_path_factory)


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    for name in ("feed", "out"):
        shutil.copytree(trained / name, tmp_path / name)
    return tmp_path


def command(*arguments: object) -> int:
    """What the command line ends with, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["forecast-kit", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
    return int(end.value.code or 0)


def blocked(place: Path) -> None:
    """A file where a folder should be: nobody can write below it, not even root."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("no folder")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("job=")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("store/jobs", "cannot lock the job nightly in .*store/jobs: File exists; name a folder that can be written"),
        ("store", "cannot lock the job nightly in .*store/jobs: Not a directory"),
        ("out2", "cannot write forecasts of as-of 2024-06-20 to .*out2"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line_and_exit_code_1(
    place: str, complaint: str, root: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked(root / place)
    store = root / "store" if place.startswith("store") else trained / "store"
    job = write_job(root, store=str(store), sink=f"{{path: {root / 'out2'}}}")
    assert command("batch", "forecast", job, "--as-of", DAY, "--quiet") == 1
    assert pd.Series([one_line(capsys)]).str.contains(complaint).all()


def test_a_summary_that_cannot_be_written_costs_no_forecast_and_hides_no_error(
    root: Path, trained: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    blocked(root / "reports")
    shutil.rmtree(root / "out")
    job = write_job(root, store=str(trained / "store"))
    assert command("batch", "forecast", job, "--as-of", DAY, "--json") == 1
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert told["forecast"]["rows"] == ROWS
    assert told["file"] is None
    assert "cannot write" in told["error"]
    assert "stage=forecast" in err
    assert len(pd.read_parquet(root / "out" / "forecasts")) == ROWS
    assert command("batch", "forecast", job, "--as-of", "2024-06-10", "--quiet") == 2
    assert "error: the champion of nightly, version 1, learned from data until" in one_line(capsys)
    assert "Not a directory" in caplog.text


def test_a_report_that_cannot_be_written_costs_no_training(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked(root / "reports")
    prepared(root / "store")
    job = write_job(root)
    assert command("batch", "train", job, "--as-of", DAY) == 1
    out = capsys.readouterr().out
    assert "report     none in" in out
    assert "registry   nightly version 1. Promoted" in out
    client = MlflowClient(f"sqlite:///{root / 'store' / 'mlflow.db'}")
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    parent = next(one for one in runs if "mlflow.parentRunId" not in one.data.tags)
    assert [one.path for one in client.list_artifacts(parent.info.run_id, "backtest") if "html" in one.path]


def test_what_else_the_system_refuses_has_no_traceback(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_job(root)
    (root / "gone").mkdir()
    monkeypatch.chdir(root / "gone")
    (root / "gone").rmdir()  # `Path.cwd` fails from now on
    assert command("batch", "run", "job.yaml") == 2
    assert "cannot read the job file job.yaml" in one_line(capsys)
    assert command("forecast", "--model", "models:/nightly@champion", "--out", "x.csv") == 1
    assert "error: the system refuses: [Errno 2] No such file or directory" in one_line(capsys)
    monkeypatch.chdir(root)
    assert job.exists()


def test_a_disk_that_is_full_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full, which is a disk that is full")

    def write(staging: Path) -> None:
        staging.write_text("half of the new ")
        with Path("/dev/full").open("w") as full:
            full.write("one")

    (tmp_path / "file").write_text("old")
    with pytest.raises(StoreError, match="cannot write .*file: No space left on device; name a place"):
        replace_file(tmp_path / "file", write)
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {"file": "old"}


def test_sigterm_ends_a_run_as_it_should(root: Path, trained: Path) -> None:
    """It reads from a pipe that nobody writes to, and would read for ever."""
    os.mkfifo(root / "feed.csv")
    data = f"{{path: {root / 'feed.csv'}, schema: {{freq: h}}}}"
    job = write_job(root, data=data, store=str(trained / "store"))
    process = subprocess.Popen(
        [sys.executable, "-m", "forecast_kit.jobs.cli", "batch", "monitor", job, "--as-of", "2024-06-25"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    writer = opened(root / "feed.csv")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    os.close(writer)
    assert process.returncode == -signal.SIGTERM  # which a shell tells as 143
    assert "stage=monitor" in out
    assert err == ""
    told = json.loads((root / "reports" / "summaries" / "nightly-2024-06-25.json").read_text())
    assert told["exit_code"] == 143
    assert told["error"] == "Terminated: the run was told to end before it was over"
    with only_one(trained / "store", "nightly"):  # nobody has it
        pass
    client = MlflowClient(f"sqlite:///{trained / 'store' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("nightly")
    assert experiment is not None
    (ended,) = client.search_runs([experiment.experiment_id], "tags.as_of = '2024-06-25'")
    assert ended.info.status == "KILLED"


# A statistical champion needs no TensorFlow, whose import takes longer than the forecast.
WITHOUT_KERAS = """
import sys
from forecast_kit.jobs.cli import main
try: main()
finally: assert "keras" not in sys.modules
"""


def test_a_process_of_its_own_needs_no_keras_and_nobody_who_reads_its_log(root: Path, trained: Path) -> None:
    shutil.rmtree(root / "out")
    job = write_job(root, store=str(trained / "store"))
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_KERAS, "batch", "forecast", job, "--as-of", DAY], cwd=root,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert "stage=connect" in process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert len(pd.read_parquet(root / "out" / "forecasts")) == ROWS


def opened(pipe: Path) -> int:
    """The writing end of a pipe, as soon as somebody reads from it."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads yet
            time.sleep(0.05)
    raise AssertionError("nobody reads")


ECHO = """
import sys, typer
from rich.console import Console
from forecast_kit.jobs.ending import whoever_listens
with whoever_listens():
    for k in range(3):
        Console().print(f"rich {k} é")
        typer.echo(f"echo {k}")
        print("plain", k)
raise SystemExit(7)
"""


def test_what_is_said_comes_in_order_and_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "out"
    words = [sys.executable, "-X", "utf8", "-c", ECHO]
    with file.open("w") as out:
        assert subprocess.run(words, stdout=out, check=False).returncode == 7
    assert file.read_text(encoding="utf-8").split("\n") == [
        line for k in range(3) for line in (f"rich {k} é", f"echo {k}", f"plain {k}")
    ] + [""]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (7, b"")
