"""Loss arrays, checked: what every comparison of models begins with."""

from __future__ import annotations

from typing import Any

import numpy as np

from forecast_kit.errors import ArgumentError
from forecast_kit.typing import Floats


def ratio_of(value: Any, spread: Any, noise: float = 0.0) -> Floats:
    """`value / spread`; where there is no spread, 0 for a value of 0 and an infinity for any other."""
    value, spread = np.broadcast_arrays(value, spread)
    none = np.where(np.isnan(value), np.nan, np.where(np.abs(value) > noise, np.copysign(np.inf, value), 0.0))
    return np.divide(value, spread, out=none, where=spread > noise)


def finite(losses: Floats) -> Floats:
    """As floats; infinite ones are refused."""
    losses = np.asarray(losses, dtype=float)
    if np.isinf(losses).any():
        raise ArgumentError(f"losses must be numbers, or NaN where nothing was observed, got {np.isinf(losses).sum()} "
                            f"infinite ones; set them to NaN or score with another metric")  # fmt: skip
    return losses


def paired(a: Floats, b: Floats, axes: tuple[int, ...] = ()) -> tuple[Floats, Floats]:
    """Both as floats, NaN wherever one of them is."""
    a, b = finite(a), finite(b)
    if a.shape != b.shape or a.ndim == 0 or (axes and a.ndim not in axes):
        expected = " or ".join(map(str, axes)) if axes else "1 or more"
        raise ArgumentError(f"the losses of both models must have the same shape, of {expected} axes, got "
                            f"{list(a.shape)} and {list(b.shape)}; align them by series and time stamp")  # fmt: skip
    return np.where(np.isnan(b), np.nan, a), np.where(np.isnan(a), np.nan, b)


def complete(losses: Floats) -> tuple[Floats, int]:
    """The rows without NaN, and how many had one."""
    losses = finite(losses)
    if losses.ndim != 2 or losses.shape[1] < 2:
        raise ArgumentError(f"losses must be [rows, models] with at least 2 models, got shape {list(losses.shape)}; "
                            "put each model's losses into a column")  # fmt: skip
    rows = losses[~np.isnan(losses).any(axis=1)]
    if len(rows) < 2:
        raise ArgumentError(f"at least 2 rows must have a loss of every model, got {len(rows)} of {len(losses)}; leave "
                            "out models that failed")  # fmt: skip
    return rows, len(losses) - len(rows)


def check(**values: float) -> None:
    """Shares lie between 0 and 1, everything else is a whole number from 1 on."""
    for name, value in values.items():
        if name in ("alpha", "level"):
            fine, expected = 0.0 < value < 1.0, "lie between 0 and 1, both excluded"
        else:
            fine, expected = isinstance(value, (int, np.integer)) and value >= 1, "be a whole number of at least 1"
        if not fine:
            raise ArgumentError(f"{name} must {expected}, got {value!r}; choose such a number")
