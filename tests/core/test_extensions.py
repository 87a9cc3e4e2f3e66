"""Modules of one's own: imported where nobody can write `import`, in this process and in those that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forecast_kit import Naive, Panel
from forecast_kit.core.extensions import IMPORTS, import_modules, import_named
from forecast_kit.core.known import KNOWN, find_forecaster
from forecast_kit.core.saving import damage_told
from forecast_kit.data.transforms import make_stage
from forecast_kit.errors import ArtifactError, ConfigError
from forecast_kit.nn.cells import make_cell
from forecast_kit.nn.heads import make_head
from forecast_kit.nn.networks import make_network

OWN = '''
from forecast_kit import Naive


class NaiveOfMine(Naive):
    """Forecasts the last value, as `Naive` does."""
'''


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What a test imports, and where it is looked for, is forgotten after it."""
    monkeypatch.setenv(IMPORTS, "")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    modules, forecasters = {*sys.modules}, {*KNOWN}
    yield
    for name in {*sys.modules} - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    for name in {*KNOWN} - forecasters:
        del KNOWN[name]


def test_a_module_of_the_working_directory_is_found_here_and_in_other_processes(
    tmp_path: Path, seasonal_panel: Panel
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    import_modules(["mine"])
    find_forecaster("NaiveOfMine")().fit(seasonal_panel).save(tmp_path / "saved", history=True)
    assert os.environ[IMPORTS] == "mine"
    elsewhere = tmp_path / "elsewhere"  # another process, which works in another folder
    elsewhere.mkdir()
    code = (
        f"from forecast_kit import Forecaster; print(Forecaster.load({str(tmp_path / 'saved')!r}).predict(2).mean[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(Naive().fit(seasonal_panel).predict(2).mean[0])
    alone = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, IMPORTS: ""}, capture_output=True, text=True, check=False
    )
    assert "unknown forecaster 'NaiveOfMine'" in alone.stderr
    assert IMPORTS in alone.stderr


def test_names_add_up_and_are_imported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(f"print('{name}')")
    import_modules(["one"])
    import_modules(["two", "one"])
    assert os.environ[IMPORTS] == "one,two"
    monkeypatch.setenv(IMPORTS, " one, two ,")
    import_named()
    assert {"one", "two"} <= {*sys.modules}


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        (None, "absent", "there is no module 'absent'; install it"),
        ("", "own.absent", "there is no module 'own.absent'|own' is not a package"),
        ("import nowhere_to_be_found", "own", r"'own' cannot be imported: .*nowhere_to_be_found.*\(own.py, line 1\)"),
        ("\n\n1 / 0", "own", r"cannot be imported: ZeroDivisionError: division by zero \(own.py, line 3\)"),
        ("a b", "own", r"cannot be imported: SyntaxError: .*own.py, line 1"),
        ("raise SystemExit(0)", "own", r"'own' cannot be imported: SystemExit: 0 \(own.py, line 1\)"),
        ("raise GeneratorExit", "own", "'own' cannot be imported: GeneratorExit: "),
        ("import json\n\njson.loads('{')", "own", r"JSONDecodeError: .* \(own.py, line 3\)$"),
        ("\n\n\nimport helper", "own", r"NameError: .* \(helper.py, line 2\)$"),
        ("import keras_of_nobody", "pack.cells", r"JSONDecodeError: .* \(reading.py, line 2\)$"),
        ("", "own.py", "'own.py' is no name of a module; write it as after the word import, such as my_cells"),
        ("", "", "'' is no name of a module"),
    ],
)
def test_what_cannot_be_imported_is_told_in_one_sentence(
    code: str | None, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code is not None:
        (tmp_path / "own.py").write_text(code)
    (tmp_path / "helper.py").write_text("\nundefined\n")  # beside it, and no library
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    (tmp_path / "pack" / "cells.py").write_text("from pack import reading")
    (tmp_path / "pack" / "reading.py").write_text("import json\njson.loads('{')")
    with pytest.raises(ConfigError, match=message):
        import_modules([name])
    assert os.environ[IMPORTS] == ""  # nothing is handed on that cannot be imported
    if name:
        monkeypatch.setenv(IMPORTS, name)
        with pytest.raises(ConfigError, match=rf"^imports \({IMPORTS}\): "):
            find_forecaster("Naive")


def test_ctrl_c_is_no_fault_of_the_module(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        import_modules(["own"])


def test_what_a_module_prints_leaves_standard_output_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = "import os, sys\nprint('by Python')\nprint('to the first', file=sys.__stdout__)\nos.write(1, b'below it')\n"
    (tmp_path / "own.py").write_text(code)
    (tmp_path / "bad.py").write_text(code + "1 / 0")
    print("before")
    import_modules(["own"])
    with pytest.raises(ConfigError):
        import_modules(["bad"])
    print("after")
    os.write(1, b"all\n")
    told = capfd.readouterr()
    assert told.out.split() == ["before", "after", "all"]
    assert [told.err.count(text) for text in ("by Python", "to the first", "below it")] == [2, 2, 2]


@pytest.mark.parametrize(
    "ask", [lambda name: make_cell(name, 4), make_head, make_network, make_stage, find_forecaster]
)  # fmt: skip
def test_a_saved_forecaster_that_wants_an_import_is_not_called_damaged(
    ask: Callable[[str], object], tmp_path: Path
) -> None:
    with (
        pytest.raises(ArtifactError, match=rf"'of_mine'.*must be imported first, see {IMPORTS}$") as told,
        damage_told(tmp_path),
    ):
        ask("of_mine")
    assert "damaged" not in str(told.value)
    assert str(told.value).count(IMPORTS) == 1
    with pytest.raises(ArtifactError, match="damaged or foreign"), damage_told(tmp_path):
        make_cell("gru", 4, unheard_of=1)


NOISY = """
import os
os.write(2, b"I0000 port.cc:153] oneDNN custom operations are on.\\nW0000 something else\\n")
class config:
    list_physical_devices = staticmethod(lambda: os.write(2, b"E0000 cuda_platform.cc:52] failed call to cuInit\\n"))
"""


@pytest.mark.parametrize("quiet", ["1", "0"])
def test_a_module_that_is_the_first_to_import_tensorflow_starts_it_as_quietly_as_asked(
    quiet: str, tmp_path: Path
) -> None:
    (tmp_path / "tensorflow.py").write_text(NOISY)
    (tmp_path / "own.py").write_text("import importlib.util\nimportlib.util.find_spec('tensorflow')\nimport tensorflow")
    code = "from forecast_kit.core.extensions import import_modules; import_modules(['own'])"
    place = {"FORECAST_KIT_QUIET_START": quiet, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **place}, capture_output=True, text=True, check=True
    )
    assert "something else" in done.stderr
    assert ("port.cc" in done.stderr) == (quiet == "0")
    assert "cuInit" not in done.stderr
