"""The exceptions of forecast_kit, one tree.

    ForecastKitError
    ├── DataError (ValueError)        the data cannot be used as they are
    │   ├── SchemaError               a column is missing, or holds the wrong kind of values
    │   ├── TimeIndexError            duplicates, gaps, stamps off the frequency's grid, time zones
    │   └── TooShortError             a series has fewer observations than were asked of it
    ├── ArgumentError (ValueError)    an argument is out of range, or does not fit the others
    ├── ConfigError (ValueError)      a job file is wrong: unknown key, wrong type, impossible combination
    ├── NotFittedError (ValueError)   predict or save came before fit
    ├── TrainingError                 training broke down: the loss is no longer a number
    ├── ForecastError                 a forecaster returned something that is not a number
    ├── ArtifactError                 a saved forecaster is damaged, foreign, or of a newer version
    ├── StoreError                    the tracking store, the model registry or a sink refused
    └── BusyError                     another process is at the same work

Every message says what was wrong, what was expected, what came, and what to do; it names at most
five offenders.
"""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any


class ForecastKitError(Exception):
    """The root of everything that forecast_kit raises on purpose."""


class DataError(ForecastKitError, ValueError):
    """The data cannot be used as they are."""


class SchemaError(DataError):
    """A column is missing, or holds the wrong kind of values."""


class TimeIndexError(DataError):
    """Time stamps are duplicated, have gaps, or lie off the grid of the stated frequency."""


class TooShortError(DataError):
    """A series has fewer observations than were asked of it."""


class ArgumentError(ForecastKitError, ValueError):
    """An argument is out of range, or does not fit the other arguments."""


class ConfigError(ForecastKitError, ValueError):
    """A job file is wrong."""


class NotFittedError(ForecastKitError, ValueError):
    """A fitted forecaster was needed, and this one is not."""


class TrainingError(ForecastKitError):
    """Training broke down."""


class ForecastError(ForecastKitError):
    """A forecaster returned something that is not a finite number."""


class ArtifactError(ForecastKitError):
    """A saved forecaster is damaged, foreign, or of a newer version."""


class StoreError(ForecastKitError):
    """The tracking store, the model registry or a sink refused."""


class BusyError(ForecastKitError):
    """Another process is at the same work."""


def check_whole(name: str, value: Any, least: int = 1, other: str = "") -> None:
    """Refuses what is no whole number from `least` on.

    Args:
        name: of the argument, for the error.
        value: its value.
        least: the smallest that is taken.
        other: what else would have been taken, such as `", or None"`; it is up to the caller to let it pass.

    Raises:
        ArgumentError: it is something else.

    >>> check_whole("units", "8")
    Traceback (most recent call last):
    forecast_kit.errors.ArgumentError: units must be a whole number, at least 1; got '8'
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ArgumentError(f"{name} must be a whole number, at least {least}{other}; got {value!r}")


def check_fraction(name: str, value: Any) -> None:
    """Refuses what is no number of at least 0 and below 1.

    Raises:
        ArgumentError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= float(value) < 1.0:
        raise ArgumentError(f"{name} must be a number of at least 0 and below 1, got {value!r}")


def name_some(offenders: Iterable[object], limit: int = 5) -> str:
    """The first offenders, comma separated, and how many more there are.

    >>> name_some(["H1", "H2"])
    "'H1', 'H2'"
    >>> name_some(range(8))
    '0, 1, 2, 3, 4 and 3 more'
    """
    items = list(offenders)
    shown = ", ".join(repr(item) if isinstance(item, str) else str(item) for item in items[:limit])
    more = len(items) - limit
    return f"{shown} and {more} more" if more > 0 else shown


def nearest(name: str, known: Iterable[str]) -> str:
    """A "did you mean" clause for a misspelt name, or the empty string.

    >>> nearest("horizn", ["horizon", "folds"])
    " Did you mean 'horizon'?"
    """
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
