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

__all__ = [
    "ForecastKitError", "DataError", "SchemaError", "TimeIndexError", "TooShortError", "ArgumentError", "ConfigError",
    "NotFittedError", "TrainingError", "ForecastError", "ArtifactError", "StoreError", "BusyError",
]  # fmt: skip


class ForecastKitError(Exception):
    """The root of everything that forecast_kit raises on purpose.

    >>> import forecast_kit as fk
    >>> try:
    ...     fk.RollingOrigin(horizon=12, folds=0)
    ... except ForecastKitError as error:
    ...     print(f"{type(error).__name__}: {error}")
    ArgumentError: folds must be a whole number, at least 1; got 0
    """


class DataError(ForecastKitError, ValueError):
    """The data cannot be used as they are.

    >>> import pandas as pd
    >>> from forecast_kit import Panel
    >>> frame = pd.DataFrame({"unique_id": "berlin", "ds": [1, 2, 3], "y": [7.0, None, 9.0]})
    >>> Panel.from_frame(frame, freq=1)
    Traceback (most recent call last):
    forecast_kit.errors.DataError: column 'y' has 1 missing values: berlin at 2; gaps='mask' accepts them as unobserved
    """


class SchemaError(DataError):
    """A column is missing, or holds the wrong kind of values.

    >>> import pandas as pd
    >>> from forecast_kit import Panel
    >>> frame = pd.DataFrame({"unique_id": "berlin", "day": [1, 2, 3], "y": [7.0, 8.0, 9.0]})
    >>> Panel.from_frame(frame, freq=1)
    Traceback (most recent call last):
    forecast_kit.errors.SchemaError: column 'ds' is missing; the frame has unique_id, day, y. Rename it, or name your \
column in the schema (id_col, time_col, target_col, past, future)
    >>> Panel.from_frame(frame, freq=1, time_col="day")
    Panel(1 series, 3 rows, freq=1, 1 .. 3)
    """


class TimeIndexError(DataError):
    """Time stamps are duplicated, have gaps, or lie off the grid of the stated frequency.

    >>> import pandas as pd
    >>> from forecast_kit import Panel
    >>> frame = pd.DataFrame({"unique_id": "berlin", "ds": [1, 2, 4], "y": [7.0, 8.0, 9.0]})
    >>> Panel.from_frame(frame, freq=1)
    Traceback (most recent call last):
    forecast_kit.errors.TimeIndexError: 1 steps of freq=1 are missing in 1 gaps; the first missing steps: berlin at 3. \
Add the rows, or pass gaps='mask' to accept them as unobserved
    """


class TooShortError(DataError):
    """A series has fewer observations than were asked of it.

    >>> import pandas as pd
    >>> from forecast_kit import Panel
    >>> frame = pd.DataFrame({"unique_id": "berlin", "ds": [1, 2, 3], "y": [7.0, 8.0, 9.0]})
    >>> train, test = Panel.from_frame(frame, freq=1).split(horizon=3)
    Traceback (most recent call last):
    forecast_kit.errors.TooShortError: 1 series have 3 observations or fewer, nothing is left before a horizon of 3: \
'berlin'; drop them or shorten the horizon
    """


class ArgumentError(ForecastKitError, ValueError):
    """An argument is out of range, or does not fit the other arguments.

    >>> from forecast_kit import RollingOrigin
    >>> RollingOrigin(horizon=0)
    Traceback (most recent call last):
    forecast_kit.errors.ArgumentError: horizon must be a whole number, at least 1; got 0
    """


class ConfigError(ForecastKitError, ValueError):
    """A job file is wrong.

    >>> from pathlib import Path
    >>> from forecast_kit.jobs.config import read_job
    >>> written = Path("job.yaml").write_text("{name: demand, backtest: {horizon: 12, fold: 2}}")
    >>> read_job("job.yaml")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    forecast_kit.errors.ConfigError: ...unknown key 'backtest.fold'; known are ... Did you mean 'folds'?...
    """


class NotFittedError(ForecastKitError, ValueError):
    """A fitted forecaster was needed, and this one is not.

    >>> from forecast_kit import SeasonalNaive
    >>> SeasonalNaive().predict(12)
    Traceback (most recent call last):
    forecast_kit.errors.NotFittedError: SeasonalNaive is not fitted; call fit(panel) first
    """


class TrainingError(ForecastKitError):
    """Training broke down.

    >>> from forecast_kit import SequenceClassifier
    >>> wild = SequenceClassifier("cnn", units=2, epochs=2, learning_rate=1e38)
    >>> wild.fit([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]] * 4, ["up", "down"] * 4)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    forecast_kit.errors.TrainingError: the ... became ... in epoch ...; lower learning_rate or clip_norm, and look for \
extreme values in the data
    """


class ForecastError(ForecastKitError):
    """A forecaster returned something that is not a finite number.

    Those of this package do so only where numbers leave the range of floats; one of your own is stopped here before a
    NaN reaches a sink.

    >>> import numpy as np
    >>> import pandas as pd
    >>> from forecast_kit import HistoricAverage, Panel
    >>> frame = pd.DataFrame({"unique_id": "berlin", "ds": [1, 2], "y": [1e308, 1e308]})  # their sum is no float
    >>> with np.errstate(over="ignore"):
    ...     HistoricAverage().fit(Panel.from_frame(frame, freq=1)).predict(1)
    Traceback (most recent call last):
    forecast_kit.errors.ForecastError: HistoricAverage returned values that are not finite for 1 series: 'berlin'
    """


class ArtifactError(ForecastKitError):
    """A saved forecaster is damaged, foreign, or of a newer version.

    >>> from forecast_kit import Forecaster
    >>> Forecaster.load("no_such_folder")
    Traceback (most recent call last):
    forecast_kit.errors.ArtifactError: no_such_folder holds no saved forecaster: forecaster.json is missing
    """


class StoreError(ForecastKitError):
    """The tracking store, the model registry or a sink refused.

    >>> from forecast_kit.mlflow import connect
    >>> connect("/dev/null")  # which is no folder
    Traceback (most recent call last):
    forecast_kit.errors.StoreError: cannot create the store's folder /dev/null: [Errno 17] File exists: '/dev/null'
    """


class BusyError(ForecastKitError):
    """Another process is at the same work.

    >>> from pathlib import Path
    >>> from forecast_kit.jobs.batch import only_one
    >>> store = Path(".forecast_kit")
    >>> with only_one(store, "demand"), only_one(store, "demand"):  # doctest: +ELLIPSIS
    ...     print("both run")
    Traceback (most recent call last):
    forecast_kit.errors.BusyError: the job demand is running already (process ...); wait for it, or say --wait SECONDS
    """


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
