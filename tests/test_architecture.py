"""The layer table of the house, held by the imports themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "forecast_kit"

# What each package may import from the others; `errors`, `typing` and `_version` are free for all.
MAY_IMPORT = {
    "data": set(),
    "nn": set(),
    "core": {"data"},
    "models": {"core", "data", "nn"},
    "evaluation": {"core", "data"},
    "mlflow": {"models", "core", "evaluation", "data"},
    "jobs": {"mlflow", "evaluation", "models", "core", "data"},
}
FREE = {"errors", "typing", "_version", ""}

# Where a heavy library may be imported at all.
ONLY_IN = {
    "mlflow": {"mlflow"},
    "keras": {"nn"},
    "tensorflow": {"nn"},
    "statsmodels": {"models/statistical"},
    "optuna": {"evaluation/search.py", "evaluation/studies.py"},
    "ray": {"jobs/execution.py"},
    "typer": {"jobs"},
    "sqlalchemy": {"jobs", "mlflow/store.py", "evaluation/studies.py"},
    "fsspec": {"jobs"},
    "rich": {"jobs", "progress.py"},
    "pydantic": {"jobs"},
    "matplotlib": {"evaluation/plots", "mlflow/runs.py"},
    "pandas": {"data", "core", "models", "evaluation", "mlflow", "jobs", "__init__.py"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            assert node.module is not None
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downwards_only(path: Path) -> None:
    layer = path.relative_to(PACKAGE).parts[0]
    if layer not in MAY_IMPORT:
        return  # the package's own __init__ resolves public names lazily; errors and typing import nothing
    for name in imported(path):
        if not name.startswith("forecast_kit."):
            continue
        other = name.split(".")[1]
        if not (PACKAGE / other).is_dir():
            other = ""
        assert other in MAY_IMPORT[layer] | FREE | {layer}, f"{path.name} ({layer}) must not import {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    place = path.relative_to(PACKAGE)
    for name in imported(path):
        root = name.split(".")[0]
        if root in ONLY_IN:
            allowed = ONLY_IN[root]
            rooms = {room.as_posix() for room in (place, *place.parents)}
            assert rooms & allowed, f"{place} must not import {root}"


def test_there_is_something_to_check() -> None:
    assert {path.relative_to(PACKAGE).parts[0] for path in modules()} >= set(MAY_IMPORT)


def test_no_module_outgrows_one_room() -> None:
    long = {str(p.relative_to(PACKAGE)): n for p in modules() if (n := len(p.read_text().splitlines())) > 450}
    assert not long, f"these modules probably hold two rooms: {long}"
