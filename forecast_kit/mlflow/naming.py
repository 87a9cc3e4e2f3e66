"""The words of the registry: which names it takes, which aliases there are, how long a text may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException

from forecast_kit.errors import ArgumentError, StoreError

CHAMPION, CHALLENGER = "champion", "challenger"

# How the stores say that there is no such model, version or alias.
MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")

_BELOW = "\n\n---\n\n"
_DESCRIPTION = 5000  # characters: what MLflow's tables hold; SQLite alone would take more


def check_name(name: str) -> None:
    r"""Refuses names of registered models that MLflow refuses, or takes and then cannot find again.

    Raises:
        ArgumentError: it has one of the characters `/ \ : @ ? ' "`, or one that cannot be printed (a line break is
            registered, and lost when the model is loaded); is blank, or has more than 256 characters.

    >>> check_name("demand/de")
    Traceback (most recent call last):
    forecast_kit.errors.ArgumentError: a registered model's name takes none of / \ : @ ? ' ", got 'demand/de'
    """
    if any(letter in name for letter in "/\\:@?'\""):
        raise ArgumentError(f"a registered model's name takes none of / \\ : @ ? ' \", got {name!r}")
    if not name.isprintable() or name.strip() != name or name in ("", ".", "..") or len(name) > 256:
        raise ArgumentError(f"a registered model's name has 1 to 256 printable characters, without blanks around, got "
                            f"{name!r}")  # fmt: skip


def fitting(text: str, most: int) -> str:
    """The text, cut to a number of characters.

    >>> fitting("abcdefgh", 5)
    'ab...'
    """
    return text if len(text) <= most else text[: most - 3] + "..."


def kept_text(ours: str, before: str | None, marks: tuple[str, ...], *, least: int = 1500) -> str:
    r"""Our text, and below a line what somebody else had written, as long as a description may be.

    Args:
        ours: the new text.
        before: the description that stands there now.
        marks: how a text of ours begins.
        least: how many characters ours may take, however long theirs is.

    >>> kept_text("Champion: 2", "Champion: 1\n\n---\n\nAsk Ada.", ("Champion",))
    'Champion: 2\n\n---\n\nAsk Ada.'
    """
    theirs = before or ""
    if theirs.startswith(marks):
        theirs = theirs.partition(_BELOW)[2]
    room = _DESCRIPTION - len(theirs) - len(_BELOW) if theirs else _DESCRIPTION
    shown = _cut_lines(ours, max(room, least))
    return fitting(f"{shown}{_BELOW}{theirs}" if theirs else shown, _DESCRIPTION)


def _cut_lines(text: str, most: int) -> str:
    """Whole lines only: half a row would spoil a table."""
    if len(text) <= most:
        return text
    whole = text[:most].rpartition("\n")[0]
    return whole or fitting(text, most)


@contextmanager
def told(what: str) -> Iterator[None]:
    """MLflow's errors inside the block become a `StoreError` that begins with what was tried."""
    try:
        yield
    except MlflowException as error:
        raise StoreError(f"{what}: {error.message}") from error
