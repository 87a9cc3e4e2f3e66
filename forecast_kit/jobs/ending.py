"""How an unattended command ends: when it is told to, and not because nobody reads what it says."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TextIO


class Terminated(KeyboardInterrupt):
    """The process was told to end by SIGTERM, as systemd, Kubernetes and `kill` do it."""


@contextmanager
def told_to_end() -> Iterator[None]:
    """SIGTERM within the block is as Ctrl-C: what is half done is cleared away, and what was done is written down.

    The process then ends by that signal all the same, so that a shell sees 143 and systemd no failure. A second
    SIGTERM ends it at once.
    """
    if threading.current_thread() is not threading.main_thread():  # Python lets no other thread take signals
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except Terminated:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by whoever started this
                stream.flush()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated


@contextmanager
def whoever_listens() -> Iterator[None]:
    """Standard output and error that never fail within the block: a log that nobody reads any more stops no forecast.

    What cannot be written, as the pipe is closed (`| head -1`) or the disk full, is lost.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _patient(sys.stdout), _patient(sys.stderr)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def _patient(stream: TextIO) -> TextIO:
    """A stream to the same place that never fails; what is no file, as in a test or a notebook, stays as it is."""
    if not isinstance(stream, io.TextIOWrapper) or stream not in (sys.__stdout__, sys.__stderr__):
        return stream
    stream.flush()
    raw = io.BufferedWriter(_Patient(stream.fileno()))
    return io.TextIOWrapper(raw, encoding=stream.encoding, errors=stream.errors, line_buffering=True)


class _Patient(io.RawIOBase):
    """A file that takes everything, and writes what it can."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._handle)

    def fileno(self) -> int:
        return self._handle

    def write(self, content: Any) -> int:
        whole = bytes(content)
        rest = memoryview(whole)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError:
            pass  # the log is lost, and there is no place left to say so
        return len(whole)
