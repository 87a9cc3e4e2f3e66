"""Notebooks with their outputs, from the sources beside this file.

    python notebooks/build.py                      # all of them, to build/notebooks
    python notebooks/build.py 01_quick_start 06_m4
    python notebooks/build.py --out elsewhere --jobs 1

Each source is executed in a kernel of its own, in a folder of its own that is removed afterwards. The command fails
where a cell raises, and where the output of a cell holds a warning or anything that was written to standard error: a
reader would take it for a fault of theirs. Needs `pip install 'forecast_kit[notebooks]'`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_WARNING = re.compile(r"\b\w*Warning: |\bWARNING\b")
# How the kernel's own messages begin; the last two are asyncio's, of a kernel that is told to end while it listens.
_KERNEL = ("[IPKernelApp]", "Task was destroyed but it is pending!", "task: <Task pending name=")
_ENOUGH = 2000  # characters of what went wrong


class BuildError(Exception):
    """A notebook cannot be built; the message says which one, where and why."""


def find_sources(names: Sequence[str], folder: Path = HERE) -> list[Path]:
    """The sources of these notebooks, with or without `.py`; all of them where none is named.

    Raises:
        BuildError: there is none of that name.
    """
    known = {path.stem: path for path in sorted(folder.glob("[0-9]*.py"))}
    wanted = [Path(name).stem for name in names] or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise BuildError(f"there is no notebook {', '.join(unknown)} in {folder}; there are {', '.join(known)}")
    return [known[name] for name in wanted]


def build(source: Path, out: Path) -> float:
    """The seconds it took to execute the source and to write `<out>/<name>.ipynb`.

    Args:
        source: a jupytext percent script.
        out: a folder, made where it is not there.

    Raises:
        BuildError: a cell raised, or an output holds a warning or standard error. Nothing is written then.
    """
    import jupytext
    import nbformat

    notebook = jupytext.read(source)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{number}"  # jupytext draws them at random: every build would differ from the last
    started = time.perf_counter()
    late = _execute(notebook, source.stem)
    seconds = time.perf_counter() - started
    faults = find_faults(notebook) or ([f"a library wrote to standard error: {late[:_ENOUGH]}"] if late else [])
    if faults:
        raise BuildError(f"{source.stem}: {'; '.join(faults)}")
    out.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, out / f"{source.stem}.ipynb")
    return seconds


def _execute(notebook: Any, name: str) -> str:
    """Runs all cells, in order, and keeps their outputs; what else the kernel's process wrote to standard error."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    begun = [0]  # the cells, the last one at the end; one in which the kernel dies has no output to tell it by
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as spool:
        client = NotebookClient(
            notebook, kernel_name="python3", timeout=600, record_timing=False,
            on_cell_execute=lambda cell, cell_index: begun.append(cell_index),
            resources={"metadata": {"path": folder}},
        )  # fmt: skip
        try:
            # A loop of its own, which is closed: the client's own `execute` leaves one open in each thread.
            # What C code writes gets below a cell a little later, or after the last one nowhere: the spool has it all.
            asyncio.run(client.async_execute(stderr=spool))
        except CellExecutionError as error:
            raise BuildError(
                f"{name}: {_called(notebook, begun[-1] + 1)} raised {error.ename}: {error.evalue[:_ENOUGH]}"
            ) from error
        except (CellTimeoutError, DeadKernelError) as error:
            spool.seek(0)
            raise BuildError(f"{name}: {_called(notebook, begun[-1] + 1)}: {error}; the kernel's last words: "
                             f"{spool.read()[-_ENOUGH:]}") from error  # fmt: skip
        spool.seek(0)
        return "".join(line for line in spool if not line.startswith(_KERNEL)).strip()


def _called(notebook: Any, number: int) -> str:
    """A cell, counted from 1, by its first line."""
    lines = [line for line in notebook.cells[number - 1].source.splitlines() if line.strip()]
    return f"cell {number} ({lines[0][:60]!r})" if lines else f"cell {number}"


def find_faults(notebook: Any) -> list[str]:
    """What the outputs hold that no reader should see: a warning, or anything on standard error."""
    faults = []
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", ()):
            text = output.text if output.output_type == "stream" else output.get("data", {}).get("text/plain", "")
            if output.output_type == "stream" and output.name == "stderr":
                faults.append(f"{_called(notebook, number)} wrote to standard error: {text[:_ENOUGH].strip()}")
            elif _WARNING.search(text):
                faults.append(f"{_called(notebook, number)} shows a warning: {text[:_ENOUGH].strip()}")
    return faults


def build_all(sources: Sequence[Path], out: Path, jobs: int) -> list[str]:
    """What went wrong, a message for each notebook that failed. Tells how long each of the others took."""
    failed = []

    def one(source: Path) -> str | float:
        try:
            return build(source, out)
        except BuildError as error:
            return str(error)

    with ThreadPoolExecutor(jobs) as pool:
        for source, done in zip(sources, pool.map(one, sources), strict=True):
            if isinstance(done, str):
                failed.append(done)
                print(f"{source.stem:<28} failed", flush=True)
            else:
                print(f"{source.stem:<28} {done:6.1f} s", flush=True)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 where a notebook failed."""
    parser = argparse.ArgumentParser(description="Executes the notebooks and writes them with their outputs.")
    parser.add_argument("names", nargs="*", help="such as 01_quick_start; all by default")
    parser.add_argument("--out", type=Path, default=HERE.parent / "build" / "notebooks", help="folder of the .ipynb")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks side by side")
    given = parser.parse_args(arguments)
    if given.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {given.jobs}")
    try:
        for package in ("jupytext", "nbclient", "ipykernel"):  # the kernel's process needs the last one
            importlib.import_module(package)
    except ImportError as error:
        print(f"{error.name} is not installed; run: pip install 'forecast_kit[notebooks]'", file=sys.stderr)
        return 1
    try:
        failed = build_all(find_sources(given.names), given.out, given.jobs)
    except BuildError as error:
        failed = [str(error)]
    for message in failed:
        print(message, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
