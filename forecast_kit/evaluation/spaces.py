"""What a search draws arguments from, in words that JSON and YAML can hold."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from forecast_kit.errors import ArgumentError, name_some

_WORDS = ("int", "float", "log", "log_int", "choice")


@dataclass(frozen=True)
class Axis:
    """What one argument is drawn from.

    Attributes:
        kind: `"int"`, `"float"`, `"log"`, `"log_int"` or `"choice"`.
        values: the lowest and the highest, and the step if there is one; or the choices.
    """

    kind: str
    values: tuple[Any, ...]

    def describe(self) -> list[Any]:
        """The list that `read_space` makes it of."""
        return [self.kind, *self.values]

    def distribution(self, optuna: Any) -> Any:
        """The same in Optuna's words; choices that are more than a number or a word as their JSON text."""
        if self.kind == "choice":
            return optuna.distributions.CategoricalDistribution([_label(value) for value in self.values])
        low, high, step = (*self.values, None)[:3]
        log = self.kind in ("log", "log_int")
        if self.kind in ("int", "log_int"):
            return optuna.distributions.IntDistribution(low, high, log=log, step=step or 1)
        return optuna.distributions.FloatDistribution(low, high, log=log, step=step)

    def value(self, drawn: Any) -> Any:
        """The value that Optuna's stands for."""
        return next(value for value in self.values if _label(value) == drawn) if self.kind == "choice" else drawn


def read_space(space: Mapping[str, Any]) -> dict[str, Axis]:
    """What each argument is drawn from.

    Args:
        space: see `forecast_kit.evaluation.search.search`.

    Raises:
        ArgumentError: it is empty, or something in it cannot be drawn from.

    >>> read_space({"window": ["int", 7, 28, 7], "season_length": [1, None]})["window"]
    Axis(kind='int', values=(7, 28, 7))
    """
    if not isinstance(space, Mapping) or not space:
        raise ArgumentError(f"space must name at least one argument and what to draw it from, such as "
                            f"{{'input_length': ('int', 24, 168, 24)}}; got {space!r}")  # fmt: skip
    return {name: _axis(name, drawn_from) for name, drawn_from in space.items()}


def _axis(name: str, given: Any) -> Axis:
    if not isinstance(name, str) or not isinstance(given, list | tuple):
        raise ArgumentError(f"an argument is drawn from a list of choices, or from a range such as ('int', 24, 168); "
                            f"got {name!r}: {given!r}")  # fmt: skip
    items = tuple(value.item() if isinstance(value, np.generic) else value for value in given)
    if not items or not isinstance(items[0], str) or items[0] not in _WORDS:
        return _choices(name, items)
    kind, *values = items
    return _choices(name, tuple(values)) if kind == "choice" else _range(name, kind, tuple(values))


def _choices(name: str, values: tuple[Any, ...]) -> Axis:
    if not values:
        raise ArgumentError(f"{name} has no choices; name at least one")
    try:
        for value in values:
            json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"the choices of {name} must be numbers, words, lists or mappings, as JSON holds them; "
                            f"got {value!r}; describe it by a mapping") from error  # fmt: skip
    labels = [_label(value) for value in values]
    twice = [value for k, value in enumerate(values) if labels[k] in labels[:k]]
    if twice:
        raise ArgumentError(f"the choices of {name} must differ; more than once there is {name_some(twice)}")
    return Axis("choice", values)


def _range(name: str, kind: str, values: tuple[Any, ...]) -> Axis:
    log, whole = kind in ("log", "log_int"), kind in ("int", "log_int")
    lengths = (2,) if log else (2, 3)
    number = int if whole else (int, float)
    form = f"({kind!r}, lowest, highest{'' if log else '[, step]'})"
    hint = f"; for a choice of such words write ('choice', {kind!r}, ...)" if any(map(_is_word, values)) else ""
    if len(values) not in lengths or not all(isinstance(v, number) and not isinstance(v, bool) for v in values):
        what = "whole numbers" if whole else "numbers"
        raise ArgumentError(f"{name} must be {form} with {what}, got {(kind, *values)!r}{hint}")
    low, high, step = (*values, None)[:3]
    if not (math.isfinite(low) and math.isfinite(high) and low <= high) or (log and low <= 0):
        above = ", and both above 0" if log else ""
        raise ArgumentError(f"{name} must be {form}, the lowest not above the highest{above}; got {(kind, *values)!r}")
    if step is not None:
        count = (high - low) / step if step > 0 else math.nan
        if not math.isclose(count, round(count) if math.isfinite(count) else 0, abs_tol=1e-9):
            raise ArgumentError(f"{name} must be {form} with whole steps, above 0, from the lowest to the highest; got "
                                f"{(kind, *values)!r}")  # fmt: skip
    return Axis(kind, values)


def _is_word(value: Any) -> bool:
    return isinstance(value, str)


def _label(value: Any) -> Any:
    """A choice as Optuna takes it: plain values as they are, others as JSON text."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value, sort_keys=True)
