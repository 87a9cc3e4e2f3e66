"""What the process takes of its machine."""

from __future__ import annotations

from contextlib import suppress


def peak_memory() -> float | None:
    """The most memory that this process has ever held, in MiB; None where the system does not say."""
    with suppress(ImportError):  # not on Windows
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
    return None
