"""The search for leaks finds planted ones, and none where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forecast_kit import ETS, Forecaster, Naive, Panel, RollingOrigin, SeasonalNaive
from forecast_kit.core.forecast import Prediction
from forecast_kit.evaluation.leaks import find_leaks
from forecast_kit.typing import Floats


class Peeking(SeasonalNaive):
    """Seasonal naive, moved by a number that was prepared beforehand."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift = shift

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        done = super()._predict(history, horizon, levels, future)
        return Prediction(done.mean + self.shift, done.quantiles + self.shift)


def peeks_at_the_next_value(panel: Panel) -> Forecaster:
    """Prepared with the first value after the cutoff of the first series, which it should not have."""
    return Peeking(1e-3 * float(panel.y[panel.indptr[1] - 12]))


def scales_by_everything(panel: Panel) -> Forecaster:
    return Peeking(float(np.mean(panel.y)))


class Remembering(SeasonalNaive):
    """Learns the mean of the last rows that it is fitted on."""

    def _fit(self, panel: Panel, callbacks: Any) -> None:
        super()._fit(panel, callbacks)
        self.level_ = float(panel.y[-3:].mean())

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        done = super()._predict(history, horizon, levels, future)
        return Prediction(done.mean + self.level_, done.quantiles)


@pytest.mark.parametrize("build", [peeks_at_the_next_value, scales_by_everything])
def test_planted_leaks_are_found_in_every_series_they_touch(build: Any, seasonal_panel: Panel) -> None:
    found = find_leaks(build, seasonal_panel, RollingOrigin(6, folds=2))
    assert found["unique_id"].tolist() == seasonal_panel.ids.tolist()
    assert set(found["kind"]) == {"future"}
    assert (found["change"] > 0).all()


@pytest.mark.parametrize("forecaster", [Naive(), SeasonalNaive(), ETS(jobs=1), Remembering()])
def test_honest_forecasters_are_not_accused(forecaster: Forecaster, seasonal_panel: Panel) -> None:
    assert find_leaks(lambda panel: forecaster, seasonal_panel, RollingOrigin(6, folds=2, embargo=4)).empty


def test_a_forecaster_fitted_on_embargoed_rows_is_found(seasonal_panel: Panel) -> None:
    def build(panel: Panel) -> Forecaster:
        embargoed = panel.y[panel.indptr[1] - 14]  # before the cutoff, twelve rows from the end, and in the embargo
        return Peeking(float(embargoed))

    found = find_leaks(build, seasonal_panel, RollingOrigin(6, folds=2, embargo=4))
    assert set(found["kind"]) == {"embargo"}
