"""Batches of windows for training, drawn anew for every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast_kit import typing as fk
from forecast_kit.data.covariates import StepTable
from forecast_kit.data.panel import Panel
from forecast_kit.data.windows import WindowIndex, gather
from forecast_kit.typing import Batch, Floats


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
    """

    panel: Panel
    y: Floats
    index: WindowIndex
    batch_size: int
    seed: int
    calendar: StepTable | None = None

    def __call__(self, k: int) -> tuple[Batch, np.ndarray, np.ndarray]:
        """Inputs by name, targets `[B, H, 1]`, and their weights `[B, H]`: 0 where nothing was observed.

        Keras's own losses take these with a network whose output is `[B, H, 1]`.
        """
        rng = np.random.default_rng([self.seed, k])
        series, origin = self.index.draw(self.batch_size, rng)
        batch = gather(self.panel, self.y, series, origin, self.index.spec, calendar=self.calendar)
        target, weight = batch.pop(fk.FUTURE_Y), batch.pop(fk.FUTURE_OBSERVED)
        return drop_empty(batch), target[:, :, None], weight


def drop_empty(batch: Batch) -> Batch:
    """The batch without covariate arrays that have no column: networks have no input for them."""
    return {name: array for name, array in batch.items() if array.shape[-1] > 0}
