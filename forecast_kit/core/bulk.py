"""Whether a fitted forecaster is about to forecast many times, so that preparing it for that is worth its while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_IN_BULK = ContextVar("forecast_kit_in_bulk", default=False)


@contextmanager
def in_bulk() -> Iterator[None]:
    """Within the block, networks are compiled when they first forecast hundreds of series at a time.

    That takes seconds, once for a loaded forecaster, and makes each such call several times as fast; what they
    forecast differs in the last digits of float32.

    >>> with in_bulk():
    ...     is_in_bulk()
    True
    """
    token = _IN_BULK.set(True)
    try:
        yield
    finally:
        _IN_BULK.reset(token)


def is_in_bulk() -> bool:
    """Whether this is called within a block of `in_bulk`."""
    return _IN_BULK.get()
