"""Modules of one's own: imported where nobody can write `import`, in this process and in those that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from forecast_kit import Naive, Panel
from forecast_kit.core.extensions import IMPORTS, import_modules, import_named
from forecast_kit.core.known import KNOWN, find_forecaster
from forecast_kit.errors import ConfigError

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
        ("", "", "module"),
    ],
)
def test_what_cannot_be_imported_is_told_in_one_sentence(
    code: str | None, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code is not None:
        (tmp_path / "own.py").write_text(code)
    with pytest.raises(ConfigError, match=message):
        import_modules([name])
    assert os.environ[IMPORTS] == ""  # nothing is handed on that cannot be imported
    if name:
        monkeypatch.setenv(IMPORTS, name)
        with pytest.raises(ConfigError, match=f"^{IMPORTS}: "):
            find_forecaster("Naive")
