"""Modules that bring cells, heads, metrics or forecasters of one's own, where nobody can write `import`.

A job names them under `imports`; elsewhere, as in `mlflow models serve`, the environment variable
`FORECAST_KIT_IMPORTS` does, separated by commas. A saved forecaster never names a module itself: whoever loads it
decides what code is run.
"""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from threading import RLock
from typing import TextIO

from forecast_kit.errors import ConfigError
from forecast_kit.startup import quieten_backend

IMPORTS = "FORECAST_KIT_IMPORTS"

_ASIDE = RLock()  # one thread at a time turns standard output away, and turns it back


def import_modules(names: Iterable[str]) -> None:
    """Imports the modules, here and in every process that this one starts.

    They are looked for in the working directory too, as `python -m` does, after the places where Python looks. What
    they print while they are imported goes to standard error, as a command's own output may be a document.

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
            # A job's own processes are told by the variable what stands in its file under `imports`.
            _import(name, f"imports ({IMPORTS}): ")


def _named() -> list[str]:
    return [name.strip() for name in os.environ.get(IMPORTS, "").split(",") if name.strip()]


def _import(name: str, where: str = "") -> None:
    if not name.strip() or name.startswith(".") or "/" in name or name.endswith(".py"):
        raise ConfigError(f"{where}{name!r} is no name of a module; write it as after the word import, such as "
                          f"my_cells for my_cells.py")  # fmt: skip
    quieten_backend()  # the module may be the first that imports Keras
    try:
        with _printing_aside():
            importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit, with whose code the job would end without a word
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"{where}there is no module {error.name!r}; install it, or put the folder in which it lies into "
                "PYTHONPATH"
            ) from error
        raise ConfigError(
            f"{where}the module {name!r} cannot be imported: {type(error).__name__}: {error}{_place(error, name)}"
        ) from error


@contextmanager
def _printing_aside() -> Iterator[None]:
    """What is printed meanwhile, by Python or by what lies below it, goes to standard error."""
    with _ASIDE, redirect_stdout(sys.stderr), ExitStack() as stack:
        _flush(sys.__stdout__)
        with suppress(OSError):  # one of the two was closed by whoever started this, and nothing gets there anyhow
            kept = os.dup(1)
            stack.callback(os.close, kept)
            os.dup2(2, 1)
            stack.callback(os.dup2, kept, 1)
        stack.callback(_flush, sys.__stdout__)  # what was written by those who held on to it
        yield


def _flush(stream: TextIO | None) -> None:
    if stream is not None and not stream.closed:
        stream.flush()


def _place(error: BaseException, name: str) -> str:
    """The last line of the module's own code that led there, as far as there is one: a syntax error tells its own."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen")
    ]
    own = [frame for frame in frames if _is_own(Path(frame.filename), Path(frames[0].filename), name)] if frames else []
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _is_own(file: Path, first: Path, name: str) -> bool:
    """Whether a file is of the same package as the one in which the import began, or a module beside it."""
    if "." in name or first.name == "__init__.py":
        package = next((place for place in first.parents if place.name == name.partition(".")[0]), first)
        return file.is_relative_to(package)
    libraries = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return file == first or (file.parent == first.parent and first.parent not in libraries)
