"""TensorFlow, imported without its start-up chatter."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile

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


def load_backend() -> None:
    """Imports TensorFlow where it is Keras's backend; quietly if `FORECAST_KIT_QUIET_START` is 1, or in a notebook.

    Quietly means: TensorFlow's information, such as that XLA compiles, is not written (unless
    `TF_CPP_MIN_LOG_LEVEL` says so), and of what it writes before it knows that, the known lines are
    dropped. Warnings and errors are passed on. The command
    `forecast-kit` asks for it. A notebook writes the process's standard error below the cell, where the
    chatter stays for good, so there it is quiet unless `FORECAST_KIT_QUIET_START` is 0. In other programs
    TensorFlow starts as it always does, because catching its output holds back the whole process's standard
    error meanwhile.
    """
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow" or "tensorflow" in sys.modules:
        return
    if os.environ.get("FORECAST_KIT_QUIET_START", "1" if "ipykernel" in sys.modules else "0") != "1":
        importlib.import_module("tensorflow")
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as spool:
        os.dup2(spool.fileno(), 2)
        try:
            tensorflow = importlib.import_module("tensorflow")
            tensorflow.config.list_physical_devices()  # looks for GPUs now, while its complaints are caught
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            spool.seek(0)
            for line in spool.read().decode(errors="replace").splitlines():
                if not any(phrase in line for phrase in _CHATTER):
                    print(line, file=sys.stderr)
