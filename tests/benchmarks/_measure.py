"""Time and memory of a piece of work, each in a process of its own, variants in turn."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np


def resident() -> float:
    """The process's resident size now, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def extra_peak(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds that the work takes, and MB that it needs at its height beyond what was there before (Linux)."""
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    started = time.perf_counter()
    kept = work()
    seconds = time.perf_counter() - started
    status = Path("/proc/self/status").read_text().splitlines()
    highest = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    del kept
    return seconds, highest - before


def in_turn(script: str, variants: Sequence[str], rounds: int, *arguments: str) -> dict[str, dict[str, float]]:
    """The medians of what `script --one variant arguments` prints as JSON, for each variant."""
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            command = [sys.executable, script, "--one", variant, *arguments]
            out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            found[variant].append(json.loads(out.splitlines()[-1]))
    return {v: {key: float(np.median([run[key] for run in runs])) for key in runs[0]} for v, runs in found.items()}
