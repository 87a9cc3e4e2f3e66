"""What the README shows runs as it stands, and so does what its pages show in other processes or other languages."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

README = Path(__file__).parents[1] / "README.md"
DOCS = README.parent / "docs"


def blocks(language: str, page: Path) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_the_python_example_runs_and_is_short(tmp_path: Path) -> None:
    (code,) = blocks("python", README)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "gru" in done.stdout
    assert (tmp_path / "forecast.png").stat().st_size > 10_000


def test_the_network_of_the_page_about_networks_learns() -> None:
    (code,) = (block for block in blocks("python", DOCS / "howto" / "networks.md") if "bidirectional(" in block)
    names: dict = {}
    exec(code, names)
    model, rng = names["model"], np.random.default_rng(0)
    x = rng.normal(size=(64, 48, 8)).astype(np.float32)
    model.compile("adam", "mse")
    losses = model.fit(x, x[:, -24:, 0], epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_the_run_of_the_page_about_mlflow_arrives_in_the_store(tmp_path: Path, empty_store: Path) -> None:
    (code,) = blocks("python", DOCS / "mlflow.md")
    shutil.copytree(empty_store, tmp_path / ".forecast_kit")
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"#/experiments/1/runs/[0-9a-f]{32}", done.stdout)
    with closing(sqlite3.connect(tmp_path / ".forecast_kit" / "mlflow.db")) as store:
        assert store.execute("select name, version from model_versions").fetchall() == [("passengers", 1)]
        assert store.execute("select count(*) from metrics where key = 'mase/ets'").fetchone() == (1,)


def test_every_forecaster_is_in_the_table_of_the_page_about_baselines() -> None:
    import forecast_kit
    from forecast_kit import Forecaster

    table = (
        (DOCS / "howto" / "baselines.md").read_text(encoding="utf-8").split("| repeat and average")[1].split("\n\n")[0]
    )
    for name in forecast_kit.__all__:
        thing = getattr(forecast_kit, name)
        if isinstance(thing, type) and issubclass(thing, Forecaster) and thing is not Forecaster:
            assert f"`fk.{name}`" in table, name


def test_every_cell_is_named_on_the_page_about_networks() -> None:
    from forecast_kit.nn.cells import CELLS

    text = (DOCS / "howto" / "networks.md").read_text(encoding="utf-8").split("Any cell goes into")[1].split("\n\n")[0]
    assert {name for name in re.findall(r"`(\w+)`", text) if name in CELLS} == set(CELLS)


def test_the_csv_and_schema_of_the_page_about_data_fit_each_other(tmp_path: Path) -> None:
    from forecast_kit.data.panel import Panel
    from forecast_kit.data.schema import PanelSchema
    from forecast_kit.data.sources import read_frame

    page = DOCS / "howto" / "data.md"
    (tmp_path / "sales.csv").write_text(blocks("csv", page)[0])
    schema = PanelSchema.from_dict(YAML(typ="safe", pure=True).load(blocks("yaml", page)[0])["data"]["schema"])
    panel = Panel.from_frame(read_frame(tmp_path / "sales.csv", schema), schema)
    assert panel.ids.tolist() == ["berlin"]
    assert panel.y.tolist() == [12.0, 9.0]


def test_every_file_and_command_that_the_readme_names_exists() -> None:
    text = README.read_text()
    for page in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (README.parent / page).read_text()):
            assert (README.parent / target).exists(), f"{page}: {target}"
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)`?", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_citation_is_of_this_version() -> None:
    from forecast_kit import __version__

    cited = YAML(typ="safe", pure=True).load((README.parent / "CITATION.cff").read_text())
    assert cited["version"] == __version__
    assert cited["license"] == "Apache-2.0"
