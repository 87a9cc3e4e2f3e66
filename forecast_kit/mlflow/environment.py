"""Where a run took place: what somebody needs to know who wants the same figures again."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from typing import Any

PACKAGES = (
    "forecast_kit", "tensorflow", "keras", "numpy", "pandas", "scikit-learn", "scipy", "statsmodels", "mlflow",
)  # fmt: skip


def environment() -> dict[str, Any]:
    """Versions, machine and source of this process, as JSON can hold them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "user": _user(),
        "command": sys.argv,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "devices": devices(),
        "git": source(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "settings": {
            name: value for name, value in sorted(os.environ.items())
            if name.startswith(("TF_", "KERAS_", "XLA_", "OMP_", "CUDA_VISIBLE", "FORECAST_KIT_"))
        },
    }  # fmt: skip


def source() -> dict[str, str]:
    """Commit, branch and whether there are changes, of the folder that the process is in; empty without git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "branch": git("rev-parse", "--abbrev-ref", "HEAD"),
            "changed": str(bool(git("status", "--porcelain", "--untracked-files=no"))).lower(),
        }
    except (OSError, subprocess.SubprocessError):
        return {}  # no git, or no repository: a scheduled job is often neither


def devices() -> list[str]:
    """The devices that TensorFlow has, where it was loaded; otherwise none but the processor is used."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return ["CPU"]
    named = []
    for device in tensorflow.config.list_physical_devices():
        details = tensorflow.config.experimental.get_device_details(device)
        named.append(str(details.get("device_name", device.device_type)))
    return named


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user that no file names
        return str(os.getuid())
