"""One change of a registered model at a time: a file lock beside an embedded store, a lease on a server.

MLflow has no compare-and-set. On a server the lease is a tag of the registered model, taken by Fischer's algorithm:
read that it is free, write one's own id, wait longer than anybody takes between these two, read it back; who still
finds itself there has it. Its limits: it holds among those who use it (an alias that is moved in the UI asks
nobody), and as long as nobody takes longer than the wait between reading and writing; whoever notices that it did
starts anew. A lease whose value has not changed for a while, by the clock of the one who waits, is taken over: its
holder has crashed. Clocks of different machines are never compared.

Source: Lamport, A fast mutual exclusion algorithm, 1987, algorithm 1 (due to Fischer).
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from forecast_kit.errors import StoreError

LEASE = "forecast_kit.lease"
_SQLITE = "sqlite:///"


@contextmanager
def exclusive(client: MlflowClient, name: str, *, timeout_s: float = 180.0) -> Iterator[Callable[[], None]]:
    """The right to change the champion of a registered model, for as long as the block runs.

    What is given is to be called just before the change: it makes sure that the right was not lost meanwhile.

    Args:
        client: of the store.
        name: the registered model, which exists.
        timeout_s: how long to wait for others.

    Raises:
        StoreError: others did not let go in time, or the right was lost.
    """
    if client.tracking_uri.startswith(_SQLITE):
        file = Path(client.tracking_uri.removeprefix(_SQLITE)).with_name("registry.lock")
        try:
            with FileLock(file, timeout=timeout_s):
                yield _still_there
        except Timeout as error:
            raise StoreError(
                f"another process has held {file} for {timeout_s:.0f} seconds; is a promotion stuck?"
            ) from error
        return
    with lease(client, name, timeout_s=timeout_s) as check:
        yield check


def _still_there() -> None:
    """A file lock is not lost."""


@contextmanager
def lease(
    client: MlflowClient, name: str, *, wait_s: float = 1.5, dead_s: float = 60.0, timeout_s: float = 180.0
) -> Iterator[Callable[[], None]]:
    """The same right on any store, by a tag of the registered model.

    Args:
        client, name: as in `exclusive`.
        wait_s: longer than reading and writing a tag takes anybody.
        dead_s: after how long a lease that does not change is taken over; longer than any change takes.
        timeout_s: how long to wait for others.

    Raises:
        StoreError: as `exclusive`.
    """
    mine = uuid.uuid4().hex
    _take(client, name, mine, wait_s, dead_s, time.monotonic() + timeout_s)

    def check() -> None:
        if _holder(client, name) != mine:
            raise StoreError(f"another process took over the right to change {name!r}, for this one was too slow; "
                             f"nothing was changed, run it again")  # fmt: skip

    try:
        yield check
    finally:
        if _holder(client, name) == mine:
            client.delete_registered_model_tag(name, LEASE)


def _take(client: MlflowClient, name: str, mine: str, wait_s: float, dead_s: float, deadline: float) -> None:
    """Returns when the lease is this process's."""
    seen, since = "", time.monotonic()
    while True:
        asked = time.monotonic()
        holder = _holder(client, name)
        if holder != seen:
            seen, since = holder, asked
        if not holder or asked - since > dead_s:
            written = _write(client, name, mine)
            slow = time.monotonic() - asked > wait_s
            time.sleep(wait_s)
            if written and _holder(client, name) == mine:
                if not slow:
                    return
                client.delete_registered_model_tag(name, LEASE)  # somebody may rely on having read it back before
        if asked > deadline:
            raise StoreError(f"another process has been changing the registered model {name!r} for too long; if none "
                             f"is at work, delete its tag {LEASE}")  # fmt: skip
        time.sleep(wait_s * random.uniform(0.2, 1.0))


def _write(client: MlflowClient, name: str, mine: str) -> bool:
    """Whether the tag was written: two that create it at once violate a constraint of MLflow's table, and one fails."""
    try:
        client.set_registered_model_tag(name, LEASE, mine)
    except MlflowException:  # whatever else it was, reading the tag fails as well, and tells
        return False
    return True


def _holder(client: MlflowClient, name: str) -> str:
    return client.get_registered_model(name).tags.get(LEASE, "")
