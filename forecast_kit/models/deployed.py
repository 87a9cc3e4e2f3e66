"""A fitted forecaster that a backtest leaves as it is: what is deployed, judged with the weights that it has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from forecast_kit.core.forecast import Prediction
from forecast_kit.core.forecaster import FitCallback, Forecaster
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArtifactError
from forecast_kit.typing import Floats


class Deployed(Forecaster):
    """A fitted forecaster whose `fit` learns nothing: it forecasts each fold from the fold's history.

    That is fair where its training ended before the first fold's cutoff; else it has seen the answers.

    Args:
        forecaster: fitted.
        label: tells it from others of the same recipe, such as `"demand version 3"`; backtests that keep their folds
            know it by this.

    >>> import pandas as pd
    >>> from forecast_kit import RollingOrigin, SeasonalNaive, backtest
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(9), "y": [1.0, 2, 3] * 3}), freq=1,
    ...                          season_length=3)
    >>> old = SeasonalNaive().fit(panel.split(3)[0])
    >>> backtest({"old": Deployed(old, "version 1")}, panel, RollingOrigin(3)).leaderboard()["mae"].tolist()
    [0.0]
    """

    def __init__(self, forecaster: Forecaster, label: str) -> None:
        self.forecaster = forecaster
        self.label = label
        self.horizon = forecaster.horizon
        self.packages = forecaster.packages

    @property
    def name(self) -> str:
        """The inner forecaster's."""
        return self.forecaster.name

    @property
    def context_length(self) -> int:
        """The inner forecaster's."""
        return self.forecaster.context_length

    @property
    def reach(self) -> int | None:
        """The inner forecaster's."""
        return self.forecaster.reach

    @property
    def uses_future(self) -> bool:
        """The inner forecaster's."""
        return self.forecaster.uses_future

    def describe(self) -> dict[str, Any]:
        """The recipe and the label: what was learned cannot be told in JSON."""
        return {"recipe": self.forecaster.describe(), "label": self.label}

    def save(self, path: str | Path, *, history: bool | Panel = False) -> None:
        """Writes the inner forecaster."""
        self.forecaster.save(path, history=history)

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        """Learns nothing: the point of it."""

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        done = self.forecaster.predict(horizon, levels=levels, history=history, future=future)
        return Prediction(done.mean, done.quantiles, done.fallback, done.reason)

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        raise ArtifactError(f"{self.name} is saved by its own save, not as a part of another; save the forecaster that "
                            f"it holds")  # fmt: skip

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        raise ArtifactError("what is deployed is loaded as the forecaster that it is, never as Deployed")
