"""Heads: from a network's output at every step of the horizon to parameters of a forecast, and their loss."""

from __future__ import annotations

import inspect
from typing import Any

from forecast_kit.errors import ArgumentError, nearest
from forecast_kit.nn.heads.base import Head
from forecast_kit.nn.heads.distributions import NormalHead, StudentTHead
from forecast_kit.nn.heads.point import PointHead
from forecast_kit.nn.heads.positive import LogNormalHead, NegativeBinomialHead
from forecast_kit.nn.heads.quantile import QuantileHead

HEADS: dict[str, type[Head]] = {
    "quantile": QuantileHead, "point": PointHead, "normal": NormalHead, "student_t": StudentTHead,
    "log_normal": LogNormalHead, "negative_binomial": NegativeBinomialHead,
}  # fmt: skip
"""Heads by the names that configurations and `make_head` know them by; one of your own may be added."""


def make_head(name: str, /, **options: Any) -> Head:
    """The head of that name.

    Args:
        name: a key of `HEADS`.
        options: what the class takes, see there.

    Raises:
        ArgumentError: there is no such head, or an option is unknown or out of range.

    >>> make_head("quantile", levels=(0.25, 0.5, 0.75)).width
    3
    """
    if name not in HEADS:
        raise ArgumentError(f"head must be one of {', '.join(HEADS)}; got {name!r}.{nearest(str(name), list(HEADS))}")
    takes = [key for key in inspect.signature(HEADS[name]).parameters if key != "kwargs"]
    for key in options:
        if key not in takes:
            raise ArgumentError(f"head {name!r} has no option {key!r}; it has {', '.join(takes) or 'none'}."
                                f"{nearest(key, takes)}")  # fmt: skip
    return HEADS[name](**options)


__all__ = [
    "HEADS", "Head", "QuantileHead", "PointHead", "NormalHead", "StudentTHead", "LogNormalHead",
    "NegativeBinomialHead", "make_head",
]  # fmt: skip
