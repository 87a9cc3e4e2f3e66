"""TensorFlow without its start-up chatter, whoever imports it first: this package, or a module of one's own.

It stands above the layers because both `core` and `nn` ask for it, of which neither may import the other.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# What TensorFlow 2.21 writes to the process's standard error on every start on a machine without a
# GPU, and no environment variable silences. Anything else it says is passed on.
_CHATTER = (
    "All log messages before absl::InitializeLog() is called are written to STDERR",
    "port.cc:",  # "oneDNN custom operations are on", "cpu_feature_guard"
    "cpu_feature_guard.cc:",
    "To enable the following instructions:",
    "cudart_stub.cc:",  # "Could not find cuda drivers"
    "cuda_platform.cc:",  # "failed call to cuInit"
)


def quieten_backend() -> None:
    """Lets TensorFlow start quietly when it is imported, if `FORECAST_KIT_QUIET_START` is 1, or in a notebook.

    Quietly means: TensorFlow's information, such as that XLA compiles, is not written (unless
    `TF_CPP_MIN_LOG_LEVEL` says so), and of what it writes before it knows that, the known lines are
    dropped. Warnings and errors are passed on. The command
    `forecast-kit` asks for it. A notebook writes the process's standard error below the cell, where the
    chatter stays for good, so there it is quiet unless `FORECAST_KIT_QUIET_START` is 0. In other programs
    TensorFlow starts as it always does, because catching its output holds back the whole process's standard
    error meanwhile.
    """
    if "tensorflow" in sys.modules or any(isinstance(finder, _Quietly) for finder in sys.meta_path):
        return
    if os.environ.get("FORECAST_KIT_QUIET_START", "1" if "ipykernel" in sys.modules else "0") == "1":
        # Variables of the environment are read when the library is loaded, so it is too late once somebody has.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
        sys.meta_path.insert(0, _Quietly())


class _Quietly(MetaPathFinder):
    """Finds TensorFlow where it is, and has its code run with the chatter caught, until that was done."""

    def __init__(self) -> None:
        self._looking = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "tensorflow" or self._looking:
            return None
        self._looking = True  # it is for the other finders to say where it is
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking = False
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def quietly(module: ModuleType) -> None:
            sys.meta_path.remove(self)  # not before: many libraries look whether it is there, and leave it at that
            with _chatter_caught():
                run(module)
                module.config.list_physical_devices()  # looks for GPUs now, while its complaints are caught

        spec.loader.exec_module = quietly  # type: ignore[method-assign]  # of this one loader, which loads nothing else
        return spec


@contextmanager
def _chatter_caught() -> Iterator[None]:
    """What the process writes to its standard error within the block comes after it, without the known lines."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as spool:
        os.dup2(spool.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            spool.seek(0)
            for line in spool.read().decode(errors="replace").splitlines():
                if not any(phrase in line for phrase in _CHATTER):
                    print(line, file=sys.stderr)
