"""Transforms along time: differences, and the seasonal pattern taken out."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from forecast_kit.data.filling import fill_by_season
from forecast_kit.data.frequency import normalize_frequency
from forecast_kit.data.panel import Panel
from forecast_kit.data.seasonal import classical_season
from forecast_kit.data.stages import Stage, name_short, refuse_values
from forecast_kit.errors import ArgumentError, TooShortError
from forecast_kit.typing import Bools, Floats, Ints


class Difference(Stage):
    """The change over `lag` steps: `z_t = y_t - y_(t - m)`, `m` the lag.

    Real where both values are observed, so the first `m` steps of each series are not.

    Back: `y_(T+h) = y_(T+h-m) + z_(T+h)`, summed on from the last `m` rows of the history; a row that
    is not observed there stands in with the last observed one a whole number of lags before.
    Means go back exactly. Quantiles are summed level by level, as if the changes were comonotone
    (all high or all low together): ordered, but wider than the truth where changes are not.

    Args:
        lag: steps, m; or `"season"` for the season length of the panel's schema.

    Raises:
        ArgumentError: the lag is below 1.
        TooShortError: a series has no more than `lag` rows.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(3), "y": [1.0, 4.0, 9.0]}), freq=1)
    >>> stage = Difference().fit(panel)
    >>> stage.transform(panel).y, stage.inverse(np.array([[7.0, 9.0]]), panel)
    (array([3., 3., 5.]), array([[16., 25.]]))
    """

    name = "difference"
    lag_: int = 0

    def __init__(self, lag: int | Literal["season"] = 1) -> None:
        self.lag = lag

    def check(self) -> None:
        """See `Stage`."""
        if self.lag != "season":
            _check_count(self.lag, "lag", 1, "or 'season'")

    @property
    def context_length(self) -> int:
        """One row more than the lag."""
        self._check_fitted()
        return self.lag_ + 1

    def _prepare(self, panel: Panel) -> None:
        self.lag_ = panel.season_length if self.lag == "season" else int(self.lag)
        self._check_length(panel)

    def _check_length(self, panel: Panel) -> None:
        short = panel.lengths <= self.lag_
        if short.any():
            raise TooShortError(f"Difference needs more rows than its lag of {self.lag_} in every series; too short "
                                f"are {name_short(panel, short)}; drop them, or shorten the lag")  # fmt: skip

    def _forward(self, panel: Panel) -> tuple[Floats, Bools]:
        self._check_length(panel)
        m = self.lag_
        first = np.repeat(panel.indptr[:-1], panel.lengths)
        before = np.arange(len(panel.y)) - m
        inside = before >= first
        before = np.where(inside, before, 0)
        real = inside & panel.observed & panel.observed[before]
        # A series without a single observed change has changes of zero.
        return np.where(real, panel.y - panel.y[before], 0.0), real

    def _backward(self, values: Floats, history: Panel) -> Floats:
        self._check_length(history)
        m, (series, horizon, levels) = self.lag_, values.shape
        base = fill_by_season(history, m)[history.indptr[1:, None] + np.arange(-m, 0)]  # [N, m]
        laps = -(-horizon // m)
        padded = np.zeros((series, laps * m, levels))
        padded[:, :horizon] = values
        sums = padded.reshape(series, laps, m, levels).cumsum(axis=1) + base[:, None, :, None]
        return sums.reshape(padded.shape)[:, :horizon]

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `Stage`."""
        values, arrays = super().state()
        return values | {"lag": self.lag_}, arrays

    def _restore(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        _check_count(values["lag"], "lag", 1, "as learned")
        self.lag_ = values["lag"]


class Deseasonalize(Stage):
    """Without its seasonal pattern: `z_t = y_t - s_p` or `z_t = y_t / s_p`, `p` the step's place in the season.

    The classical decomposition: the trend is the centred moving average over a season; `s_p` is the
    mean over the season's `p`-th steps of `y - trend` (or `y / trend`), less its mean over `p` (or
    divided by it). Where a step is not observed, the trend is taken through the last observed
    value a whole number of seasons before. A place never seen has the neutral `s_p`, 0 (or 1).

    Back: `y = z + s_p` (or `z s_p`), exact for means and quantiles. Places are counted on the time
    axis of the training part, so they go on into the future and hold for panels that begin elsewhere.

    Args:
        season_length: steps in a season, m; by default the schema's.
        model: `"additive"`, or `"multiplicative"` for positive values.

    Raises:
        ArgumentError: the season is shorter than two steps, or the model unknown.
        TooShortError: a series to learn from has less than two seasons.
        DataError: multiplicative, and a value to learn from is not positive.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 3.4.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(6), "y": [1.0, 3.0, 2.0, 4.0, 3.0, 5.0]})
    >>> panel = Panel.from_frame(frame, freq=1)
    >>> stage = Deseasonalize(2).fit(panel)
    >>> stage.transform(panel).y, stage.inverse(np.array([[4.0, 5.0]]), panel)
    (array([1.75, 2.25, 2.75, 3.25, 3.75, 4.25]), array([[3.25, 5.75]]))
    """

    name = "deseasonalize"
    _arrays = ("seasonal",)
    season_length_: int = 0
    freq_: int | str = 0
    origin_: int | str = 0

    def __init__(
        self, season_length: int | None = None, *, model: Literal["additive", "multiplicative"] = "additive"
    ) -> None:
        self.season_length = season_length
        self.model = model

    def check(self) -> None:
        """See `Stage`."""
        if self.season_length is not None:
            _check_count(self.season_length, "season_length", 2, "or None for the schema's")
        if self.model not in ("additive", "multiplicative"):
            raise ArgumentError(f"model must be 'additive' or 'multiplicative', got {self.model!r}")

    @property
    def _width(self) -> tuple[int, ...]:
        return (self.season_length_,)

    def _prepare(self, panel: Panel) -> None:
        self.season_length_ = panel.season_length if self.season_length is None else int(self.season_length)
        if self.season_length_ == 1:
            raise ArgumentError("the panel's season has a single step, which leaves nothing to remove; "
                                "give Deseasonalize a season_length, or state it in the schema")  # fmt: skip
        origin = panel.axis.origin
        self.origin_ = origin if isinstance(origin, int) else str(origin)
        self.freq_ = panel.schema.freq

    def _learn(self, panel: Panel) -> tuple[Floats]:
        m = self.season_length_
        first_seen = np.minimum.reduceat(np.where(panel.observed, np.arange(len(panel.y)), len(panel.y)),
                                         panel.indptr[:-1])  # fmt: skip
        short = panel.indptr[1:] - first_seen < 2 * m
        if short.any():
            raise TooShortError(f"Deseasonalize needs two seasons of {m} steps from the first observed one on; too "
                                f"short are {name_short(panel, short)}; drop them, or shorten the season")  # fmt: skip
        if self.model == "multiplicative":
            refuse_values(panel, panel.y <= 0, "a multiplicative Deseasonalize takes values above 0")
        times = np.full(len(panel), self.model == "multiplicative")
        return (classical_season(panel, m, self._place(panel, panel.row_steps), times),)

    def _place(self, panel: Panel, steps: Ints) -> Ints:
        """The place in the season of steps of the panel's own axis."""
        if panel.schema.freq != self.freq_:
            raise ArgumentError(f"the panel has freq={panel.schema.freq!r}, but Deseasonalize was fitted with "
                                f"freq={self.freq_!r}")  # fmt: skip
        return (steps - panel.axis.steps(self._origin)[0]) % self.season_length_

    @property
    def _origin(self) -> np.ndarray:
        """`[1]` the stamp of the first place."""
        return np.array([self.origin_], np.int64 if isinstance(self.freq_, int) else "datetime64[us]")

    def _forward(self, panel: Panel) -> tuple[Floats, Bools]:
        (seasonal,) = self._parameters(panel)
        s = seasonal[np.repeat(np.arange(len(panel)), panel.lengths), self._place(panel, panel.row_steps)]
        return (panel.y / s if self.model == "multiplicative" else panel.y - s), panel.observed

    def _backward(self, values: Floats, history: Panel) -> Floats:
        (seasonal,) = self._parameters(history)
        place = self._place(history, history.horizon_steps(values.shape[1]))  # [N, H]
        s = np.take_along_axis(seasonal, place, axis=1)[:, :, None]
        return values * s if self.model == "multiplicative" else values + s

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `Stage`."""
        values, arrays = super().state()
        return values | {"season_length": self.season_length_, "freq": self.freq_, "origin": self.origin_}, arrays

    def _restore(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        _check_count(values["season_length"], "season_length", 2, "as learned")
        self.season_length_ = values["season_length"]
        self.freq_, self.origin_ = normalize_frequency(values["freq"]), values["origin"]
        if type(self.origin_) is not type(self.freq_) or (isinstance(self.freq_, str) and np.isnat(self._origin[0])):
            raise ValueError(f"{self.origin_!r} is no stamp of freq={self.freq_!r}")


def _check_count(value: object, key: str, least: int, hint: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ArgumentError(f"{key} must be a whole number of steps, at least {least}, {hint}; got {value!r}")
