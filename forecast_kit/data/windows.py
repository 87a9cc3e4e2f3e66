"""Windows by arithmetic: which windows there are is a count a series, what is in them is a gather."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast_kit import typing as fk
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, TooShortError, name_some
from forecast_kit.typing import Batch, Floats, Ints


@dataclass(frozen=True)
class WindowSpec:
    """The shape of a window.

    Args:
        input_length: steps before the cutoff that a network sees, T.
        horizon: steps after the cutoff that it is trained on, H.
        min_history: a window whose cutoff has fewer rows before it is dropped; shorter windows than
            `input_length` are padded on the left with unobserved steps.
    """

    input_length: int
    horizon: int
    min_history: int = 1

    def __post_init__(self) -> None:
        for name in ("input_length", "horizon", "min_history"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name} must be at least 1, got {getattr(self, name)}")


class WindowIndex:
    """The windows of a panel, numbered, in memory that grows with the series and not the windows.

    Window `k` is a pair (series, origin): the origin is the number of rows of that series that lie
    before the cutoff, so the input is rows `origin - T .. origin` and the target the `H` rows after.

    Args:
        panel: the series.
        spec: the windows' shape.

    Raises:
        TooShortError: not one series is long enough for a window.

    Attributes:
        dropped: `[n]` ids of the series that are too short for a window.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(5), "y": range(5)}), freq=1)
    >>> index = WindowIndex(panel, WindowSpec(input_length=2, horizon=1))
    >>> len(index), index.locate(np.arange(4))
    (4, (array([0, 0, 0, 0]), array([1, 2, 3, 4])))
    """

    def __init__(self, panel: Panel, spec: WindowSpec) -> None:
        self.spec = spec
        counts = np.maximum(panel.lengths - spec.horizon - spec.min_history + 1, 0)
        self.ends = np.cumsum(counts)
        self.dropped = panel.ids[counts == 0]
        if len(self) == 0:
            longest = int(panel.lengths.max())
            raise TooShortError(
                f"no series is long enough: a window needs {spec.min_history} steps and a horizon of {spec.horizon}, "
                f"the longest series has {longest} steps. Shorten the horizon, or bring longer series "
                f"({name_some(self.dropped.tolist())})"
            )

    def __len__(self) -> int:
        return int(self.ends[-1])

    def locate(self, k: Ints) -> tuple[Ints, Ints]:
        """The series `[B]` and origin `[B]` of the windows numbered `k` `[B]`."""
        series = np.searchsorted(self.ends, k, side="right")
        before = np.where(series > 0, self.ends[series - 1], 0)
        return series, k - before + self.spec.min_history

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Series and origins of `size` windows, each drawn with equal chance, with replacement."""
        return self.locate(rng.integers(0, len(self), size))


def gather(panel: Panel, y: Floats, series: Ints, origin: Ints, spec: WindowSpec, *, target: bool = True) -> Batch:
    """The arrays of the chosen windows, under the names of `forecast_kit.typing`.

    Args:
        panel: where the rows lie.
        y: `[R]` the target as the network is to see it (scaled).
        series, origin: `[B]` the windows.
        spec: their shape.
        target: whether to gather the steps after the cutoff too.

    Returns:
        past_y, past_observed `[B, T]`, past_x `[B, T, P + K]`, static_x `[B, S]`; with `target` also
        future_x `[B, H, K]`, future_y and future_observed `[B, H]`. Floats are `float32`.
    """
    first = panel.indptr[series]
    at = origin[:, None] + np.arange(-spec.input_length, 0)  # [B, T], negative where the window is padded
    real = at >= 0
    rows = first[:, None] + np.maximum(at, 0)
    seen = real & panel.observed[rows]
    batch: Batch = {
        fk.PAST_Y: np.where(seen, y[rows], 0.0).astype(np.float32),
        fk.PAST_OBSERVED: seen.astype(np.float32),
        fk.PAST_X: np.where(
            real[:, :, None], np.concatenate([panel.past[rows], panel.future[rows]], axis=2), 0.0
        ).astype(np.float32),
        fk.STATIC_X: panel.static[series].astype(np.float32),
    }
    if target:
        ahead = (first + origin)[:, None] + np.arange(spec.horizon)  # [B, H]
        batch[fk.FUTURE_X] = panel.future[ahead].astype(np.float32)
        batch[fk.FUTURE_Y] = y[ahead].astype(np.float32)
        batch[fk.FUTURE_OBSERVED] = panel.observed[ahead].astype(np.float32)
    return batch
