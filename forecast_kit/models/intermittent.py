"""Forecasts of intermittent demand, where most steps have none, over the whole panel at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from forecast_kit.core.forecaster import FitCallback
from forecast_kit.data.panel import Panel
from forecast_kit.models.local import LocalForecaster, States, by_length
from forecast_kit.models.naive import normal_quantiles
from forecast_kit.models.smoothing import check_share
from forecast_kit.typing import Bools, Floats


class Intermittent(LocalForecaster):
    """A method that learns only where there is demand: the sizes of demands, and how often they come.

    A subclass writes `_begin`, `_pass` and `_rate`. Both start at the first demand: its size, and the
    number of steps up to it. What was not observed is passed over. The forecast is the same for every step
    ahead, with the deviation of the one-step errors after the first demand. Lower quantiles of a
    forecast that is not negative are not negative either. Without a single demand, the forecast is 0.

    Args:
        alpha: the share of the newest demand in the smoothed ones.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: alpha is out of range.
    """

    def __init__(self, alpha: float = 0.1, *, horizon: int | None = None) -> None:
        check_share(alpha=alpha)
        super().__init__(1, horizon=horizon)
        self.alpha = alpha

    @abstractmethod
    def _begin(self, steps: Floats) -> States:
        """What is smoothed besides the size, after the first demand, `steps` `[n]` after the start."""

    @abstractmethod
    def _pass(self, states: States, demand: Bools) -> States:
        """The same after one more observed step, with or without demand."""

    @abstractmethod
    def _rate(self, states: States) -> Floats:
        """`[n]` the demand of a step to come."""

    def _learn(self, panel: Panel, callbacks: Sequence[FitCallback]) -> tuple[States, np.ndarray]:
        learned: States = {}
        for at, y in by_length(panel):
            states = self._start(y)
            for key, values in states.items():
                learned.setdefault(key, np.zeros(len(panel), values.dtype))[at] = values
        return learned, np.full(len(panel), "", np.str_)

    def _start(self, y: Floats) -> States:
        """The states at the end of the series `[T, n]`, and the `deviation` of one-step errors."""
        blank = np.zeros(y.shape[1])
        states: States = {"size": blank, "begun": blank > 0, "steps": blank, **self._begin(blank + 1.0)}
        squares, count = blank, blank
        for row in y:
            known = states["begun"] & ~np.isnan(row)
            error = np.where(known, row - self._rate(states), 0.0)
            squares, count = squares + error * error, count + known
            states = self._step(states, row, np.empty((len(blank), 0)))
        return {**states, "deviation": np.sqrt(squares / np.maximum(count, 1))}

    def _step(self, states: States, y: Floats, future: Floats) -> States:
        seen = ~np.isnan(y)
        demand = seen & (y != 0)
        steps = states["steps"] + seen
        first = demand & ~states["begun"]
        size = np.where(first, y, np.where(demand, states["size"] + self.alpha * (y - states["size"]), states["size"]))
        after = self._pass({**states, "steps": steps}, demand)
        begun = self._begin(np.maximum(steps, 1.0))
        going = seen & states["begun"]
        smoothed = {key: np.where(first, begun[key], np.where(going, after[key], states[key])) for key in begun}
        return {**states, **smoothed, "size": size, "begun": states["begun"] | demand,
                "steps": np.where(demand, 0.0, steps)}  # fmt: skip

    def _ahead(self, states: States, horizon: int, levels: tuple[float, ...], future: Floats) -> tuple[Floats, Floats]:
        mean = np.repeat(self._rate(states)[:, None], horizon, axis=1)
        quantiles = normal_quantiles(mean, np.broadcast_to(states["deviation"][:, None], mean.shape), levels)
        return mean, np.where(mean[:, :, None] >= 0, np.maximum(quantiles, 0.0), quantiles)


class Croston(Intermittent):
    """Croston's method: the smoothed size of demands over the smoothed number of steps between them, `z / p`.

    At a demand `y_t`, q steps after the one before, `z' = z + alpha (y_t - z)` and `p' = p + alpha (q - p)`;
    in between nothing changes. Both start at the first demand: its size, and the number of steps up to it. The
    forecast is the same for every step ahead, 0 where there never was a demand. Quantiles are normal, with the
    deviation of the one-step errors, and not below 0 where the forecast is not.

    Args:
        alpha: the share of the newest demand in the smoothed ones.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: alpha is out of range.

    Source: Croston, Forecasting and stock control for intermittent demands, Operational Research Quarterly 23,
    1972.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(6), "y": [0.0, 4, 0, 0, 6, 0]})
    >>> Croston(0.5).fit(Panel.from_frame(frame, freq=1)).predict(2).mean
    array([[2., 2.]])
    """

    def _begin(self, steps: Floats) -> States:
        return {"interval": steps}

    def _pass(self, states: States, demand: Bools) -> States:
        interval = states["interval"]
        return {"interval": np.where(demand, interval + self.alpha * (states["steps"] - interval), interval)}

    def _rate(self, states: States) -> Floats:
        return states["size"] / states["interval"]


class CrostonSBA(Croston):
    """Croston's method less its bias, by Syntetos and Boylan's approximation: `(1 - alpha / 2) z / p`, see `Croston`.

    Args:
        alpha: the share of the newest demand in the smoothed ones.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: alpha is out of range.

    Source: Syntetos and Boylan, The accuracy of intermittent demand estimates, International Journal of Forecasting
    21, 2005.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(6), "y": [0.0, 4, 0, 0, 6, 0]})
    >>> CrostonSBA(0.5).fit(Panel.from_frame(frame, freq=1)).predict(2).mean
    array([[1.5, 1.5]])
    """

    def _rate(self, states: States) -> Floats:
        return (1.0 - self.alpha / 2.0) * super()._rate(states)


class TSB(Intermittent):
    """The method of Teunter, Syntetos and Babai: the smoothed size of demands times their smoothed probability, `z d`.

    `z' = z + alpha (y_t - z)` at a demand, and at every step `d' = d + beta (1 - d)` with demand,
    `d' = d - beta d` without: the forecast sinks while none comes, and tells of products that run out. The start
    and the quantiles are as in `Croston`.

    Args:
        alpha: the share of the newest demand in the smoothed size.
        beta: the share of the newest step in the smoothed probability.
        horizon: steps ahead where `predict` is not told.

    Raises:
        ArgumentError: an argument is out of range.

    Source: Teunter, Syntetos and Babai, Intermittent demand: linking forecasting to inventory obsolescence,
    European Journal of Operational Research 214, 2011.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(3), "y": [4.0, 0, 0]})
    >>> TSB(0.5, beta=0.5).fit(Panel.from_frame(frame, freq=1)).predict(2).mean
    array([[1., 1.]])
    """

    def __init__(self, alpha: float = 0.1, *, beta: float = 0.1, horizon: int | None = None) -> None:
        check_share(beta=beta)
        super().__init__(alpha, horizon=horizon)
        self.beta = beta

    def _begin(self, steps: Floats) -> States:
        return {"chance": 1.0 / steps}

    def _pass(self, states: States, demand: Bools) -> States:
        return {"chance": states["chance"] + self.beta * (demand - states["chance"])}

    def _rate(self, states: States) -> Floats:
        return states["size"] * states["chance"]
