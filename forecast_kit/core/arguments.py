"""Other arguments for a forecaster, and for what is inside it: the names that variations and a search use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple, TypeVar

from forecast_kit.core.forecaster import Forecaster, as_forecaster
from forecast_kit.core.known import find_forecaster
from forecast_kit.errors import ArgumentError, nearest

F = TypeVar("F", bound=Forecaster)
_INWARDS = "__"
# Where a mapping says by another key than the argument's own name what it describes.
_NAMED_BY = {"transform": "stage"}


def with_arguments(forecaster: F, values: Mapping[str, Any]) -> F:
    """The same forecaster with other arguments, not fitted; the one given stays as it is.

    Double underscores reach inwards, as in scikit-learn: `training__seed` is the seed in the argument `training`.
    What is reached into may be a forecaster, a value object such as `TrainingSpec` or `Recurrent`, a mapping, a list
    (`members__0__window`), or the name of something that has arguments of its own: in `"gru"` the argument
    `network__units=32` makes `{"network": "gru", "units": 32}`. An argument that is replaced as a whole is replaced
    before anything in it.

    Args:
        forecaster: whose arguments to change.
        values: by name.

    Raises:
        ArgumentError: there is no such argument, it has nothing inside, or a value is refused.

    >>> from forecast_kit import Conformal, WindowAverage
    >>> with_arguments(WindowAverage(7), {"window": 28}).window
    28
    >>> with_arguments(Conformal(WindowAverage(7)), {"folds": 2, "base__window": 14}).base
    WindowAverage(window=14, season_length=1, horizon=None)
    """
    changed: F = _changed(forecaster, type(forecaster).__name__, values)
    return changed


class _Opened(NamedTuple):
    """Something with arguments: what they are, whether it can have others, and how it is put together again."""

    parts: dict[str, Any]
    closed: bool
    close: Callable[[dict[str, Any]], Any]


def _changed(value: Any, name: str, changes: Mapping[str, Any]) -> Any:
    """The value with other arguments inside; `name` is the argument that it is."""
    opened = _open(value, name)
    parts, inside = dict(opened.parts), dict[str, dict[str, Any]]()
    for path, new in changes.items():
        first, _, rest = path.partition(_INWARDS)
        if not first or path.endswith(_INWARDS):
            raise ArgumentError(f"an argument is named as in 'window' or 'training__seed', got {path!r}")
        if opened.closed and first not in parts:
            raise ArgumentError(f"{_called(value, name)} has no argument {first!r}; it has {', '.join(parts)}."
                                f"{nearest(first, parts)}")  # fmt: skip
        if rest:
            inside.setdefault(first, {})[rest] = new
        else:
            parts[first] = new
    for first, its in inside.items():
        parts[first] = _changed(parts.get(first), first, its)
    return opened.close(parts)


def _open(value: Any, name: str) -> _Opened:
    """The arguments inside a value.

    Raises:
        ArgumentError: it has none.
    """
    if _describes_forecaster(value):
        value = as_forecaster(value)
    if hasattr(value, "get_params"):  # a forecaster, or a stage of a pipeline; both keep their arguments as given
        names = inspect.signature(type(value)).parameters
        return _Opened({key: getattr(value, key) for key in names}, True, lambda parts: type(value)(**parts))
    if is_dataclass(value) and not isinstance(value, type):
        its = {one.name: getattr(value, one.name) for one in fields(value) if one.init}
        return _Opened(its, True, lambda parts: replace(value, **parts))
    if isinstance(value, list | tuple):
        kind = type(value)
        return _Opened({str(k): item for k, item in enumerate(value)}, True, lambda parts: kind(parts.values()))
    if isinstance(value, Mapping):
        # Forecasters by name are those that there are; what else a mapping may hold, the constructor knows.
        members = bool(value) and all(map(_describes_forecaster, value.values()))
        return _Opened(dict(value), members, dict)
    if isinstance(value, str):
        return _Opened({_NAMED_BY.get(name, name): value}, False, dict)
    if value is None:
        return _Opened({}, False, dict)
    raise ArgumentError(f"{name} is {value!r}, which has no arguments inside; leave out what follows {name!r}")


def _describes_forecaster(value: Any) -> bool:
    """Whether it is what `as_forecaster` takes, and not the name of something else."""
    if not isinstance(value, str):
        return isinstance(value, Forecaster) or (isinstance(value, Mapping) and "forecaster" in value)
    try:
        return bool(find_forecaster(value))
    except ArgumentError:
        return False


def _called(value: Any, name: str) -> str:
    """What an error calls it: its class, or the argument that it is."""
    if _describes_forecaster(value):
        return type(as_forecaster(value)).__name__
    return name if isinstance(value, Mapping | list | tuple) else type(value).__name__
