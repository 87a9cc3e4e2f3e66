"""Batches of windows for training, drawn anew for every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast_kit import typing as fk
from forecast_kit.data.covariates import StepTable
from forecast_kit.data.frequency import show_stamps
from forecast_kit.data.panel import Panel
from forecast_kit.data.windows import WindowIndex, WindowSpec, gather
from forecast_kit.nn.feeding import Example
from forecast_kit.typing import Batch, Floats, Ints


@dataclass(frozen=True, eq=False)
class WindowLoader:
    """Random windows of a panel: what step `k` draws depends on the seed and `k` alone.

    It holds no more than the panel and the index do. `nn.feeding.Batches(loader, steps)` is the
    same as a `keras.utils.PyDataset`, `nn.feeding.dataset(loader, steps)` as a `tf.data.Dataset`.

    Args:
        panel: the training part.
        y: `[R]` its target, scaled; quickest in `float32`.
        index: the windows to draw from, and how often each.
        batch_size: windows in a batch, B.
        seed: of the draws.
        calendar: features by time step.
        numbers: `[N]` of each series the number by which the network knows it, 0 for none; None for a network
            that does not ask.
    """

    panel: Panel
    y: Floats
    index: WindowIndex
    batch_size: int
    seed: int
    calendar: StepTable | None = None
    numbers: np.ndarray | None = None

    def __call__(self, k: int) -> Example:
        """Batch `k`, see `cut_windows`."""
        return cut_windows(
            self.panel, self.y, *self._drawn(k), self.index.spec, calendar=self.calendar, numbers=self.numbers
        )

    def where(self, k: int, row: int) -> str:
        """Which window that row of batch `k` is, in words: its series, and the last step that the network sees."""
        series, origin = (int(drawn[row]) for drawn in self._drawn(k))
        stamp = self.panel.axis.stamps(self.panel.start[[series]] + origin - 1)
        (shown,) = show_stamps(stamp, self.panel.schema.zone)
        return f"series {self.panel.ids[series].item()!r}, window ending at {shown}"

    def _drawn(self, k: int) -> tuple[Ints, Ints]:
        return self.index.draw(self.batch_size, np.random.default_rng([self.seed, k]))


def cut_windows(
    panel: Panel,
    y: Floats,
    series: Ints,
    origin: Ints,
    spec: WindowSpec,
    *,
    calendar: StepTable | None = None,
    numbers: np.ndarray | None = None,
) -> Example:
    """Inputs by name, targets `[B, H, 1]`, and their weights `[B, H]`: 0 where nothing was observed.

    Keras's own losses take these with a network whose output is `[B, H, 1]`.

    Args:
        panel, y, calendar, numbers: see `WindowLoader`.
        series, origin: `[B]` the windows, see `WindowIndex`.
        spec: their shape.
    """
    batch = gather(panel, y, series, origin, spec, calendar=calendar)
    target, weight = batch.pop(fk.FUTURE_Y), batch.pop(fk.FUTURE_OBSERVED)
    batch = drop_empty(batch)
    if numbers is not None:
        batch[fk.SERIES] = numbers[series].astype(np.int32)
    return batch, target[:, :, None], weight


def drop_empty(batch: Batch) -> Batch:
    """The batch without covariate arrays that have no column: networks have no input for them."""
    return {name: array for name, array in batch.items() if array.shape[-1] > 0}
