"""The sources of the notebooks are what they should be, and the command that builds them fails when it should.

Executing them takes minutes: `make notebooks` does, and CI calls it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jupytext
import nbformat
import pytest

import forecast_kit

FOLDER = Path(__file__).parents[1] / "notebooks"
SOURCES = sorted(FOLDER.glob("[0-9]*.py"))


def load_builder() -> ModuleType:
    """`notebooks/build.py`, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("notebooks_build", FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = load_builder()


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_has_a_title_an_introduction_and_an_end(source: Path) -> None:
    cells = jupytext.read(source).cells
    first, last = cells[0], cells[-1]
    assert (first.cell_type, last.cell_type) == ("markdown", "markdown")
    title, introduction, *_ = first.source.split("\n\n")
    assert re.fullmatch(r"# \S.*", title)
    assert not introduction.startswith("#")
    assert len(introduction) > 200
    assert "## What you saw, and where next\n" in last.source
    assert sum(cell.cell_type == "code" for cell in cells) >= 7
    compile("\n".join(cell.source for cell in cells if cell.cell_type == "code"), str(source), "exec")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_uses_public_names_alone(source: Path) -> None:
    used = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("forecast_kit"):
            assert node.module is not None
            module = importlib.import_module(node.module)
            used += [node.module, *(name.name for name in node.names)]
            missing = [name.name for name in node.names if not hasattr(module, name.name)]
            assert not missing, f"{node.module} has no {missing}"
        elif isinstance(node, ast.Import):
            used += [name.name for name in node.names if name.name.startswith("forecast_kit")]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "fk":
            assert node.attr in forecast_kit.__all__, f"fk.{node.attr} is not public"
            used.append(node.attr)
    assert len(used) > 3
    private = [name for name in used if any(part.startswith("_") for part in name.split("."))]
    assert not private


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_points_to_notebooks_that_exist(source: Path) -> None:
    pointed = set(re.findall(r"\b(\d\d_[a-z0-9_]+)\b", source.read_text(encoding="utf-8")))
    assert pointed <= {path.stem for path in SOURCES}
    assert source.stem not in pointed


def test_there_are_nine_notebooks_numbered_in_order() -> None:
    assert [path.stem[:2] for path in SOURCES] == [f"{k:02}" for k in range(1, 10)]


def write(folder: Path, *cells: str) -> Path:
    source = folder / "01_tiny.py"
    source.write_text("# %% [markdown]\n# # Tiny\n\n" + "\n\n".join(f"# %%\n{cell}" for cell in cells) + "\n")
    return source


def test_a_notebook_is_written_with_its_outputs_and_its_kernel_works_elsewhere(tmp_path: Path) -> None:
    source = write(tmp_path, "from pathlib import Path\nPath('left').write_text('x')\nsum(range(5))")
    assert build.build(source, tmp_path / "out") > 0
    notebook = nbformat.read(tmp_path / "out" / "01_tiny.ipynb", as_version=4)
    assert notebook.cells[1].outputs[0].data["text/plain"] == "10"
    assert not (tmp_path / "left").exists()
    assert not (Path.cwd() / "left").exists()


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1 / 0", r"01_tiny: cell 3 \('1 / 0'\) raised ZeroDivisionError: division by zero"),
        ("import warnings\nwarnings.warn('old')", r"01_tiny: cell 3 .* wrote to standard error: .*UserWarning: old"),
        ("import sys\nprint('hm', file=sys.stderr)", "01_tiny: cell 3 .* wrote to standard error: hm"),
        ("import os\nos.write(2, b'from C');", "01_tiny: .* wrote to standard error: from C"),
        ("print('FutureWarning: soon')", "01_tiny: cell 3 .* shows a warning: FutureWarning: soon"),
    ],
)
def test_what_no_reader_should_see_fails_the_build(tmp_path: Path, cell: str, message: str) -> None:
    with pytest.raises(build.BuildError, match=f"(?s){message}"):
        build.build(write(tmp_path, "x = 1", cell), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_kernel_that_dies_is_told_with_its_cell(tmp_path: Path) -> None:
    source = write(tmp_path, "x = 1", "import os\nos._exit(3)")
    with pytest.raises(build.BuildError, match=r"01_tiny: cell 3 \('import os'\).*died"):
        build.build(source, tmp_path / "out")


def test_one_failure_hides_no_other_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.mkdir()
    bad.mkdir()
    failed = build.build_all([write(bad, "1 / 0"), write(good, "1")], tmp_path / "out", jobs=2)
    assert len(failed) == 1
    assert "ZeroDivisionError" in failed[0]
    told = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"01_tiny +failed", told[0])
    assert re.fullmatch(r"01_tiny +\d+\.\d s", told[1])
    assert (tmp_path / "out" / "01_tiny.ipynb").exists()


def test_a_name_that_is_none_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["06_m5"]) == 1
    error = capsys.readouterr().err
    assert "no notebook 06_m5" in error
    assert "06_m4" in error
    assert [path.stem for path in build.find_sources(["06_m4.py"])] == ["06_m4"]


def test_without_the_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    script = str(FOLDER / "build.py")
    hidden = "import runpy, sys; sys.modules['jupytext'] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", hidden, script],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip() == "jupytext is not installed; run: pip install 'forecast_kit[notebooks]'"


def test_a_notebook_of_a_user_is_quiet_and_shows_pictures(tmp_path: Path) -> None:
    # TensorFlow's start, MLflow's imports, a picture made without pyplot: none is in a kernel as it is elsewhere.
    source = write(
        tmp_path,
        "import forecast_kit as fk\nfrom forecast_kit.mlflow import connect",
        "cell = fk.Recurrent('gru', units=4)\nimport keras\nkeras.ops.ones(2).shape",
        "fk.plot_windows(4, 2)",
    )
    build.build(source, tmp_path / "out")
    cells = nbformat.read(tmp_path / "out" / "01_tiny.ipynb", as_version=4).cells
    assert [len(cell.get("outputs", ())) for cell in cells] == [0, 0, 1, 1]
    assert "image/png" in cells[3].outputs[0].data
