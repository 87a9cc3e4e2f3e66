"""Batches of windows for training, drawn anew for every step."""

from __future__ import annotations

import keras
import numpy as np

from forecast_kit import typing as fk
from forecast_kit.data.panel import Panel
from forecast_kit.data.windows import WindowIndex, gather
from forecast_kit.typing import Batch, Floats


class WindowLoader(keras.utils.PyDataset):
    """Random windows of a panel: batch `k` of epoch `e` depends on the seed, `e` and `k` alone.

    Args:
        panel: the training part.
        y: `[R]` its target, scaled.
        index: the windows to draw from.
        batch_size: windows in a batch, B.
        steps: batches in an epoch.
        seed: of the draws.
    """

    def __init__(
        self, panel: Panel, y: Floats, index: WindowIndex, *, batch_size: int, steps: int, seed: int
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.panel, self.y, self.index = panel, y, index
        self.batch_size, self.steps, self.seed = batch_size, steps, seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, k: int) -> tuple[Batch, np.ndarray, np.ndarray]:
        """Inputs by name, targets `[B, H]`, and their weights `[B, H]`: 0 where nothing was observed."""
        rng = np.random.default_rng([self.seed, self.epoch, k])
        series, origin = self.index.draw(self.batch_size, rng)
        batch = gather(self.panel, self.y, series, origin, self.index.spec)
        target, weight = batch.pop(fk.FUTURE_Y), batch.pop(fk.FUTURE_OBSERVED)
        return drop_empty(batch), target, weight

    def on_epoch_end(self) -> None:
        """Moves on to the next epoch's draws."""
        self.epoch += 1


def drop_empty(batch: Batch) -> Batch:
    """The batch without covariate arrays that have no column: networks have no input for them."""
    return {name: array for name, array in batch.items() if array.shape[-1] > 0}
