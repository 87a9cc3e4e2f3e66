"""Scalers that learn one shift and one scale for every series, from the training part alone."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np

from forecast_kit.data.panel import Panel, positions
from forecast_kit.errors import ArgumentError, NotFittedError
from forecast_kit.typing import Floats

Method = Literal["standard", "minmax", "none"]


class SeriesScaler:
    """Per series, `z = (y - shift) / scale`.

    `standard`: shift is the mean, scale the standard deviation (population). `minmax`: shift is the
    minimum, scale the range, so training values lie in [0, 1]. `none`: 0 and 1. A constant series
    has scale 1. Unobserved values do not count.

    A series that was not there at fit gets its shift and scale from the history that it brings.

    Args:
        method: `"standard"`, `"minmax"` or `"none"`.

    Raises:
        ArgumentError: the method is unknown.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": [0, 1], "y": [2.0, 6.0]}), freq=1)
    >>> scaler = SeriesScaler("minmax").fit(panel)
    >>> shift, scale = scaler.parameters(panel)
    >>> scaler.transform(panel)
    array([0., 1.])
    """

    def __init__(self, method: Method = "standard") -> None:
        if method not in ("standard", "minmax", "none"):
            raise ArgumentError(f"scaler must be 'standard', 'minmax' or 'none', got {method!r}")
        self.method = method
        self.ids_: np.ndarray | None = None
        self.shift_: Floats = np.empty(0)
        self.scale_: Floats = np.empty(0)

    def fit(self, panel: Panel) -> Self:
        """Learns shift and scale of each series of the panel."""
        self.ids_ = panel.ids
        self.shift_, self.scale_ = self._learn(panel)
        return self

    def parameters(self, panel: Panel) -> tuple[Floats, Floats]:
        """Shift `[N]` and scale `[N]` for the panel's series: learned ones, or for new series its own."""
        if self.ids_ is None:
            raise NotFittedError("the scaler is not fitted; call fit first")
        at = positions(self.ids_, panel.ids)
        shift, scale = self.shift_[at], self.scale_[at]
        if (at < 0).any():
            own_shift, own_scale = self._learn(panel)
            shift, scale = np.where(at < 0, own_shift, shift), np.where(at < 0, own_scale, scale)
        return shift, scale

    def transform(self, panel: Panel) -> Floats:
        """`[R]` the panel's target, scaled."""
        shift, scale = self.parameters(panel)
        return (panel.y - np.repeat(shift, panel.lengths)) / np.repeat(scale, panel.lengths)

    def _learn(self, panel: Panel) -> tuple[Floats, Floats]:
        first, count = panel.indptr[:-1], np.maximum(np.add.reduceat(panel.observed, panel.indptr[:-1]), 1)
        if self.method == "none":
            return np.zeros(len(panel)), np.ones(len(panel))
        if self.method == "minmax":
            low = np.minimum.reduceat(np.where(panel.observed, panel.y, np.inf), first)
            high = np.maximum.reduceat(np.where(panel.observed, panel.y, -np.inf), first)
            low, high = np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)
            shift, scale = low, high - low
        else:
            shift = np.add.reduceat(np.where(panel.observed, panel.y, 0.0), first) / count
            off = np.where(panel.observed, panel.y - np.repeat(shift, panel.lengths), 0.0)
            scale = np.sqrt(np.add.reduceat(off * off, first) / count)
        # A spread that is only rounding noise of the level counts as none.
        return shift, np.where(scale > 1e-9 * np.maximum(np.abs(shift), 1e-300), scale, 1.0)
