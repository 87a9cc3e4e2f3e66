"""Modules that bring cells, heads, metrics or forecasters of one's own, where nobody can write `import`.

A job names them under `imports`; elsewhere, as in `mlflow models serve`, the environment variable
`FORECAST_KIT_IMPORTS` does, separated by commas. A saved forecaster never names a module itself: whoever loads it
decides what code is run.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from forecast_kit.errors import ConfigError

IMPORTS = "FORECAST_KIT_IMPORTS"


def import_modules(names: Iterable[str]) -> None:
    """Imports the modules, here and in every process that this one starts.

    They are looked for in the working directory too, as `python -m` does, after the places where Python looks.

    Args:
        names: as one would import them, `my_package.cells`.

    Raises:
        ConfigError: there is no such module, or it cannot be imported.
    """
    names, here = list(names), str(Path.cwd())
    if names and here not in sys.path:
        sys.path.append(here)
    for name in names:
        _import(name)
    if names:
        os.environ[IMPORTS] = ",".join(dict.fromkeys([*_named(), *names]))
        searched = [place for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*searched, here]))


def import_named() -> None:
    """Imports the modules that `FORECAST_KIT_IMPORTS` names.

    Raises:
        ConfigError: there is no such module, or it cannot be imported.
    """
    for name in _named():
        if name not in sys.modules:
            _import(name, f"{IMPORTS}: ")


def _named() -> list[str]:
    return [name.strip() for name in os.environ.get(IMPORTS, "").split(",") if name.strip()]


def _import(name: str, where: str = "") -> None:
    try:
        importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"{where}there is no module {error.name!r}; install it, or put the folder in which it lies into "
                "PYTHONPATH"
            ) from error
        raise ConfigError(
            f"{where}the module {name!r} cannot be imported: {type(error).__name__}: {error}{_place(error)}"
        ) from error


def _place(error: Exception) -> str:
    """Where in the imported code it happened, as far as there is a line: a syntax error tells its own."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen")
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
