"""Variations of a forecaster: the same one with every combination of other arguments, as members for an ensemble."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import product
from typing import Any

import numpy as np

from forecast_kit.core.arguments import with_arguments
from forecast_kit.core.forecaster import Forecaster, as_forecaster
from forecast_kit.errors import ArgumentError, ForecastKitError, name_some

_NAMES = ("forecaster", "network", "head", "stage")  # where a mapping says what it describes
_BASE, _VARY = "base", "vary"


def variations(forecaster: Any, **alternatives: Iterable[Any]) -> dict[str, Forecaster]:
    """The forecaster with every combination of these arguments, by names that tell them apart, none of them fitted.

    With alternatives for k arguments, `n_1 * ... * n_k` forecasters; the last argument changes first.

    Args:
        forecaster: one that was built, its class's name, or a mapping that describes it.
        alternatives: by argument the values to take in turn. Double underscores reach inwards, see
            `forecast_kit.core.arguments.with_arguments`: `training__seed=range(5)`, `network__units=(32, 64)`.

    Raises:
        ArgumentError: nothing is varied, an argument is unknown or has no values, one twice, or values that are
            refused.

    >>> from forecast_kit import Ensemble, WindowAverage
    >>> members = variations(WindowAverage(1), window=(7, 28), season_length=(1, None))
    >>> list(members)[:2]
    ['WindowAverage window=7, season_length=1', 'WindowAverage window=7, season_length=None']
    >>> Ensemble(members, combine="median").name
    'Ensemble'
    """
    return {f"{each.name} {label}": each for label, each in _combinations(as_forecaster(forecaster), alternatives)}


def is_varied(value: Any) -> bool:
    """Whether it stands for variations in a configuration: `{"base": ..., "vary": {"training__seed": [0, 1]}}`."""
    if not isinstance(value, Mapping) or set(value) != {_BASE, _VARY}:
        return False
    vary = value[_VARY]  # otherwise two forecasters that are called so
    return not isinstance(vary, str | Forecaster) and not (isinstance(vary, Mapping) and "forecaster" in vary)


def expand(value: Mapping[str, Any], name: str | None = None) -> dict[str, Forecaster]:
    """The variations that such a mapping stands for.

    Args:
        value: the forecaster under `"base"`, and under `"vary"` by argument a list of values: what JSON and YAML
            can hold.
        name: what they are called in place of the forecasters' own names.

    Raises:
        ArgumentError: see `variations`.

    >>> list(expand({"base": "WindowAverage", "vary": {"window": [2, 3]}}, "short"))
    ['short window=2', 'short window=3']
    """
    vary = value[_VARY]
    if not isinstance(vary, Mapping) or not all(isinstance(some, list | tuple) for some in vary.values()):
        raise ArgumentError(f"vary must hold a list of values for each argument, such as {{'training__seed': [0, 1]}};"
                            f" got {vary!r}")  # fmt: skip
    found = _combinations(as_forecaster(value[_BASE]), vary)
    return {f"{each.name if name is None else name} {label}": each for label, each in found}


def _combinations(base: Forecaster, alternatives: Mapping[str, Iterable[Any]]) -> list[tuple[str, Forecaster]]:
    """What tells each combination from the others, and the forecaster."""
    if not alternatives:
        raise ArgumentError("nothing is varied; name at least one argument, such as training__seed=range(5)")
    values = {name: _listed(name, some) for name, some in alternatives.items()}
    short = _short(list(values))
    found: list[tuple[str, Forecaster]] = []
    for chosen in product(*values.values()):
        arguments = dict(zip(values, chosen, strict=True))
        label = ", ".join(f"{short[name]}={_shown(value)}" for name, value in arguments.items())
        try:
            found.append((label, with_arguments(base, arguments)))
        except ForecastKitError as error:
            raise type(error)(f"{base.name} {label}: {error}") from error
    labels = [label for label, _ in found]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise ArgumentError(f"every variation must differ from the others; more than once there is {name_some(twice)}")
    return found


def _listed(name: str, values: Any) -> list[Any]:
    """The values to take in turn, numbers as Python's own."""
    if isinstance(values, str | Mapping | set | frozenset | Forecaster) or not isinstance(values, Iterable):
        raise ArgumentError(f"{name} needs its values in a list, got {values!r}; for a single one write {name}=[...]")
    listed = [value.item() if isinstance(value, np.generic) else value for value in values]
    if not listed:
        raise ArgumentError(f"{name} needs at least one value, got none")
    return listed


def _short(names: list[str]) -> dict[str, str]:
    """The last part of each name where that tells it from the others, else all of it, with dots."""
    last = [name.rpartition("__")[2] for name in names]
    return {
        name: end if last.count(end) == 1 else name.replace("__", ".") for name, end in zip(names, last, strict=True)
    }


def _shown(value: Any) -> str:
    """A value as a name shows it: what it describes, and its arguments in brackets."""
    if isinstance(value, Forecaster):
        value = {"forecaster": type(value).__name__, **value.describe()}
    elif is_dataclass(value) and not isinstance(value, type):  # of what has many arguments, those that were given
        its = {one.name: getattr(value, one.name) for one in fields(value)}
        given = {one.name: its[one.name] for one in fields(value) if its[one.name] != _default(one)}
        value = {"forecaster": type(value).__name__, **given}
    if isinstance(value, Mapping):
        title = next((str(value[key]) for key in _NAMES if key in value), "")
        rest = ", ".join(f"{key}={_shown(item)}" for key, item in value.items() if key not in _NAMES)
        return f"{title}({rest})" if rest else title
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)


def _default(one: Field[Any]) -> Any:
    """What a field of a value object is where it is not given."""
    return one.default if one.default_factory is MISSING else one.default_factory()
