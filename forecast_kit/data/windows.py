"""Windows by arithmetic: which windows there are is a count a series, what is in them is a gather."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from forecast_kit import typing as fk
from forecast_kit.data.covariates import StepTable
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, DataError, TooShortError, check_whole, name_some
from forecast_kit.typing import Batch, Bools, Floats, Ints

__all__ = ["WindowSpec", "WindowIndex", "WindowReport", "Dropped", "gather"]

_CHUNK = 1 << 18  # windows looked at together where values are missing


@dataclass(frozen=True)
class WindowSpec:
    """The shape of a window, and which windows are used.

    Args:
        input_length: steps before the cutoff that a network sees, T.
        horizon: steps after the cutoff that it is trained on, H.
        min_history: a window whose cutoff has fewer rows before it is dropped; shorter windows than
            `input_length` are padded on the left with unobserved steps.
        stride: steps between two cutoffs of a series, counted back from its end, so that the newest
            window is always one of them.
        min_observed: least share of the T input steps that is observed; padding is not.
        max_gap: a window with more unobserved steps in a row than this, before or after its cutoff,
            is dropped; padding is no gap, nor is a longer run of which the window holds no more
            than this. By default the panel's season length: a network, as we feed it, sees what is
            missing and is not trained on it, and a run no longer than a season leaves the same
            phase of the next season to learn from (a market's holidays on a business-day calendar
            stay usable), while over a longer one nothing ties what comes after to what came
            before. 0 wants windows without a missing step; `input_length + horizon` takes all.
        sampling: `"windows"` draws each window with equal chance, `"series"` each series, and
            then one of its windows.

    Raises:
        ArgumentError: an argument is out of range.

    >>> WindowSpec(input_length=8, horizon=2, min_observed=0.3).least_observed
    3
    """

    input_length: int
    horizon: int
    min_history: int = 1
    stride: int = 1
    min_observed: float = 0.0
    max_gap: int | None = None
    sampling: Literal["windows", "series"] = "windows"

    def __post_init__(self) -> None:
        for name in ("input_length", "horizon", "min_history", "stride"):
            check_whole(name, getattr(self, name))
        if not 0 <= self.min_observed <= 1:
            raise ArgumentError(f"min_observed is a share, from 0 to 1; got {self.min_observed}")
        if self.max_gap is not None:
            check_whole("max_gap", self.max_gap, 0, ", or None for a season")
        if self.sampling not in ("windows", "series"):
            raise ArgumentError(f"sampling must be 'windows' or 'series', got {self.sampling!r}")

    @property
    def least_observed(self) -> int:
        """The observed steps that an input must have."""
        return math.ceil(self.min_observed * self.input_length - 1e-9)


@dataclass(frozen=True)
class Dropped:
    """Windows that are not used: the reason in words, how many, and the ids of their series.

    >>> import pandas as pd
    >>> from forecast_kit import Panel
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": [0, 1, 2, 3, 7, 8, 9], "y": 1.0})
    >>> panel = Panel.from_frame(frame, freq=1, gaps="mask")
    >>> (dropped,) = WindowIndex(panel, WindowSpec(input_length=3, horizon=1, max_gap=2)).report().dropped
    >>> dropped.reason, dropped.windows, dropped.ids
    ('more than 2 steps in a row not observed', 2, ('a',))
    """

    reason: str
    windows: int
    ids: tuple


@dataclass(frozen=True)
class WindowReport:
    """What became of a panel's windows; printed, it names at most five series a line.

    `WindowIndex.report` gives it; a fitted `NeuralForecaster` keeps that of its training as `windows_`.

    Attributes:
        windows: windows in use.
        padded: of these, those that are padded on the left.
        series: series that have one.
        dropped: what was left out, a reason each. A window counts under the first that applies; a
            series too short for a single one is named under the first, with none.
        without: ids of the series that have no window.

    >>> import pandas as pd
    >>> from forecast_kit import Panel
    >>> frame = pd.DataFrame({"unique_id": ["new"] + ["old"] * 6, "ds": [5, *range(6)], "y": 1.0})
    >>> report = WindowIndex(Panel.from_frame(frame, freq=1), WindowSpec(input_length=3, horizon=2)).report()
    >>> report.windows, report.padded, report.without
    (4, 2, ('new',))
    >>> print(report)
    4 windows of 1 series, 2 padded on the left
      0 dropped, fewer than 1 steps before the cutoff or 2 after it: 'new'
      1 series without a window: 'new'
    """

    windows: int
    padded: int
    series: int
    dropped: tuple[Dropped, ...]
    without: tuple

    def __str__(self) -> str:
        lines = [f"{self.windows:,} windows of {self.series:,} series, {self.padded:,} padded on the left"]
        lines += [f"  {d.windows:,} dropped, {d.reason}: {name_some(d.ids)}" for d in self.dropped]
        if self.without:
            lines.append(f"  {len(self.without):,} series without a window: {name_some(self.without)}")
        return "\n".join(lines)


class WindowIndex:
    """The windows of a panel, numbered, in memory that grows with the series and not the windows.

    A window is a pair (series, origin): the origin is the number of rows of that series that lie
    before the cutoff, so the input is rows `origin - T .. origin` and the target the `H` rows after.
    Windows are numbered by series, then by origin.

    The origins of a series are one arithmetic progression, and where windows are dropped, several.
    Which these are is arithmetic too as long as everything is observed. Where something is not, the
    windows of the series concerned are looked at once, when the index is built, and what is kept is
    a progression for each stretch of usable origins: memory grows with the series and their gaps.

    Args:
        panel: the series.
        spec: the windows' shape.
        weights: `[N]` how much more often, relative to `spec.sampling`, the windows of each series
            are drawn; 0 for never.

    Raises:
        TooShortError: not one series is long enough for a window.
        DataError: every window is dropped because of what is not observed.
        ArgumentError: the weights are not N finite numbers of at least 0, or leave no window.

    Attributes:
        dropped: `[n]` ids of the series that have no window.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(5), "y": range(5)}), freq=1)
    >>> index = WindowIndex(panel, WindowSpec(input_length=2, horizon=1))
    >>> len(index), index.locate(np.arange(4))
    (4, (array([0, 0, 0, 0]), array([1, 2, 3, 4])))
    >>> print(index.report())
    4 windows of 1 series, 1 padded on the left
    """

    def __init__(self, panel: Panel, spec: WindowSpec, *, weights: Floats | None = None) -> None:
        self.spec = spec
        self._ids, self._max_gap = panel.ids, panel.season_length if spec.max_gap is None else spec.max_gap
        newest = panel.lengths - spec.horizon

        def origins(least: int) -> Ints:
            """How many origins each series has that are at least so large."""
            return np.maximum((newest - least) // spec.stride + 1, 0)

        long_enough, counts = origins(spec.min_history), origins(max(spec.min_history, spec.least_observed))
        self._short = origins(1) - long_enough  # [N] windows dropped, by reason
        self._scarce, self._gap = long_enough - counts, np.zeros(len(panel), np.int64)
        self._too_short = long_enough == 0
        if not long_enough.any():
            raise TooShortError(
                f"no series is long enough: a window needs {spec.min_history} steps and a horizon of {spec.horizon}, "
                f"the longest series has {int(panel.lengths.max())} steps. Shorten the horizon, or bring longer series "
                f"({name_some(panel.ids.tolist())})"
            )
        # A progression: its series, its first origin, how many origins it has.
        pieces = np.arange(len(panel)), newest - (counts - 1) * spec.stride, counts
        if not panel.observed.all():
            pieces = self._look(panel, *pieces)
        used = pieces[2] > 0
        self._series, self._first, counts = (piece[used] for piece in pieces)
        self.ends = np.cumsum(counts)
        self._begins = self.ends - counts
        per_series = np.zeros(len(panel), np.int64)
        np.add.at(per_series, self._series, counts)
        self.dropped = panel.ids[per_series == 0]
        if not len(self):
            raise DataError(
                f"every window of the panel is dropped; {self._lost()}. Lower min_observed, raise max_gap "
                f"(input_length + horizon takes every window), or fill the gaps"
            )
        self._counts, self._chances = per_series, self._cumulated(weights, per_series)
        self._of_series = np.cumsum(per_series) - per_series  # number of the first window of each series

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def locate(self, k: Ints) -> tuple[Ints, Ints]:
        """The series `[B]` and origin `[B]` of the windows numbered `k` `[B]`, from 0 to `len(index) - 1`."""
        piece = np.searchsorted(self.ends, k, side="right")
        return self._series[piece], (k - self._begins[piece]) * self.spec.stride + self._first[piece]

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Series and origins of `size` windows, drawn by the spec's sampling and the weights, with replacement."""
        if self._chances is None:
            return self.locate(rng.integers(0, len(self), size))
        series = np.searchsorted(self._chances, rng.random(size) * self._chances[-1], side="right")
        series = np.minimum(series, np.searchsorted(self._chances, self._chances[-1]))  # a product may round up
        return self.locate(self._of_series[series] + rng.integers(0, self._counts[series]))

    def report(self) -> WindowReport:
        """How many windows there are, how many are padded, and how many were dropped and why."""
        padded = np.clip(-((self._first - self.spec.input_length) // self.spec.stride), 0, self.ends - self._begins)
        return WindowReport(
            len(self), int(padded.sum()), len(self._ids) - len(self.dropped), self._lost_by_reason(),
            tuple(self.dropped.tolist()),
        )  # fmt: skip

    def _lost_by_reason(self) -> tuple[Dropped, ...]:
        spec = self.spec
        short = f"fewer than {spec.min_history} steps before the cutoff or {spec.horizon} after it"
        reasons = (
            (short, self._short, (self._short > 0) | self._too_short),
            (f"fewer than {spec.least_observed} of {spec.input_length} input steps observed", self._scarce, None),
            (f"more than {self._max_gap} steps in a row not observed", self._gap, None),
        )
        named = [(why, lost, lost > 0 if series is None else series) for why, lost, series in reasons]
        return tuple(
            Dropped(why, int(lost.sum()), tuple(self._ids[series].tolist()))
            for why, lost, series in named
            if series.any()
        )

    def _lost(self) -> str:
        return "; ".join(f"{d.windows:,} have {d.reason} ({name_some(d.ids)})" for d in self._lost_by_reason())

    def _look(self, panel: Panel, series: Ints, first: Ints, counts: Ints) -> tuple[Ints, Ints, Ints]:
        """The progressions without the windows that lack observations; these are counted."""
        spec, gap, rows = self.spec, self._max_gap, len(panel.y)
        missing = _counted(~panel.observed)  # [R + 1] unobserved rows before each row
        # [R - gap + 1] runs of gap + 1 unobserved rows that begin before each row; one inside the window is a gap.
        wide = _counted(missing[gap + 1 :] - missing[: -gap - 1] == gap + 1) if gap < rows else np.zeros(1, np.int32)
        lacking = np.diff(missing[panel.indptr]) > 0
        whole = ~lacking & (counts > 0)
        found = [(series[whole], first[whole], counts[whole])]
        series, first, counts = (piece[lacking & (counts > 0)] for piece in (series, first, counts))
        ends = np.cumsum(counts)
        for begin in range(0, int(ends[-1]) if len(ends) else 0, _CHUNK):
            k = np.arange(begin, min(begin + _CHUNK, ends[-1]))
            piece = np.searchsorted(ends, k, side="right")
            owner, origin = series[piece], first[piece] + (k - ends[piece] + counts[piece]) * spec.stride
            cutoff = panel.indptr[owner] + origin
            oldest = cutoff - np.minimum(origin, spec.input_length)
            seen = cutoff - oldest - (missing[cutoff] - missing[oldest])
            scarce = seen < spec.least_observed
            low = np.minimum(oldest, len(wide) - 1)
            torn = wide[np.clip(cutoff + spec.horizon - gap, low, len(wide) - 1)] > wide[low]
            np.add.at(self._scarce, owner[scarce], 1)
            np.add.at(self._gap, owner[torn & ~scarce], 1)
            found.append(_progressions(owner, origin, ~(scarce | torn), spec.stride))
        joined = [np.concatenate(column) for column in zip(*found, strict=True)]
        order = np.argsort(joined[0], kind="stable")
        return joined[0][order], joined[1][order], joined[2][order]

    def _cumulated(self, weights: Floats | None, per_series: Ints) -> Floats | None:
        """`[N]` the chances of the series, summed up; None where every window has the same chance."""
        if weights is None and self.spec.sampling == "windows":
            return None
        each = np.ones(len(per_series)) if weights is None else np.asarray(weights, np.float64)
        if each.shape != per_series.shape:
            raise ArgumentError(f"weights must be one number for each of {len(per_series)} series, got {each.shape}")
        bad = ~(np.isfinite(each) & (each >= 0))
        if bad.any():
            raise ArgumentError(
                f"weights must be finite and at least 0; they are not for {name_some(self._ids[bad].tolist())}"
            )
        chances = each * (per_series if self.spec.sampling == "windows" else per_series > 0)
        if not chances.any():
            raise ArgumentError(
                f"every series with a positive weight is without a window; without one are "
                f"{name_some(self.dropped.tolist())}"
            )
        return np.cumsum(chances / chances.max())


def gather(
    panel: Panel,
    y: Floats,
    series: Ints,
    origin: Ints,
    spec: WindowSpec,
    *,
    calendar: StepTable | None = None,
    future: np.ndarray | None = None,
) -> Batch:
    """The arrays of the chosen windows, under the names of `forecast_kit.typing`.

    Args:
        panel: where the rows lie.
        y: `[R]` the target as the network is to see it (scaled); quickest in `float32`.
        series, origin: `[B]` the windows.
        spec: their shape.
        calendar: features by time step, which reaches to the last step of every window.
        future: `[B, H, K]` the known-future covariates, where the windows end at the cutoff and what
            comes after it is not in the panel: a forecast.

    Returns:
        past_y, past_observed `[B, T]`, past_x `[B, T, P + K + C]`, future_x `[B, H, K + C]`, static_x
        `[B, S]`; without `future` also future_y and future_observed `[B, H]`. Floats are `float32`.
        Padding is 0 everywhere.

    >>> import pandas as pd
    >>> from forecast_kit import Panel
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(5), "y": range(1, 6)}), freq=1)
    >>> index = WindowIndex(panel, WindowSpec(input_length=3, horizon=1))
    >>> batch = gather(panel, panel.y, *index.locate(np.array([1, 3])), index.spec)
    >>> batch["past_y"].tolist(), batch["future_y"].tolist()
    ([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]], [[3.0], [5.0]])
    >>> batch["past_observed"].tolist()  # the first window begins before its series
    [[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    length, horizon, cutoff = spec.input_length, spec.horizon, panel.indptr[series] + origin
    start = cutoff - length  # a padded window begins before its series: what is gathered there is wiped out
    seen, past_y = _stretches(panel.observed, start, length), _stretches(y, start, length)
    past_x = [_stretches(x, start, length) for x in (panel.past, panel.future)]
    ahead = [_stretches(panel.future, cutoff, horizon) if future is None else future]
    if calendar is not None:
        step = panel.start[series] + origin - calendar.first
        past_x.append(_stretches(calendar.values, step - length, length))
        ahead.append(_stretches(calendar.values, step, horizon))
    padded = np.flatnonzero(origin < length)
    if padded.size:
        padding = np.arange(length) < (length - origin[padded])[:, None]
        seen[padded] &= ~padding
        for x in past_x:
            if x.size:
                x[padded] = np.where(padding[:, :, None], 0.0, x[padded])
    if not seen.all():
        past_y[~seen] = 0.0
    batch: Batch = {
        fk.PAST_Y: _float32(past_y),
        fk.PAST_OBSERVED: _float32(seen),
        fk.PAST_X: _float32(np.concatenate(past_x, axis=2)),
        fk.STATIC_X: _float32(panel.static[series]),
        fk.FUTURE_X: _float32(np.concatenate(ahead, axis=2)),
    }
    if future is None:
        batch[fk.FUTURE_Y] = _float32(_stretches(y, cutoff, horizon))
        batch[fk.FUTURE_OBSERVED] = _float32(_stretches(panel.observed, cutoff, horizon))
    return batch


def _stretches(rows: np.ndarray, start: Ints, length: int) -> np.ndarray:
    """`[B, length, ...]` a copy of the rows from each start on; what lies before the first row is arbitrary.

    Whole stretches are copied out of a view whose row `k` is rows `k .. k + length`: indexing row by
    row takes several times as long, most of it for an index as large as the batch.
    """
    shape = (length, *rows.shape[1:])
    if 0 in shape:
        return np.empty((len(start), *shape), rows.dtype)
    if len(rows) < length:
        rows = np.concatenate([rows[:1].repeat(length, axis=0), rows])
        start = start + length
    # NumPy's sliding_window_view takes four times as long to make the same view, which is as long as the copy.
    view = np.lib.stride_tricks.as_strided(
        rows, (len(rows) - length + 1, *shape), (rows.strides[0], *rows.strides), writeable=False
    )
    stretches = view[np.maximum(start, 0)]
    for k in np.flatnonzero(start < 0):  # at most `length` of a panel's windows
        stretches[k, -start[k] :] = rows[: length + start[k]]
    return stretches


def _float32(array: np.ndarray) -> np.ndarray:
    """The array in `float32`, itself if it is."""
    return array.astype(np.float32, copy=False)


def _counted(flags: Bools) -> np.ndarray:
    """`[n + 1]` how many flags are set before each, in the fewest bytes that hold it."""
    counts = np.zeros(len(flags) + 1, np.int32 if len(flags) < 2**31 else np.int64)
    np.cumsum(flags, out=counts[1:])
    return counts


def _progressions(series: Ints, origin: Ints, keep: Bools, stride: int) -> tuple[Ints, Ints, Ints]:
    """Series, first origin and length of each unbroken stretch of the windows to keep."""
    series, origin = series[keep], origin[keep]
    breaks = (np.diff(series) != 0) | (np.diff(origin) != stride)
    first = np.flatnonzero(np.concatenate([[len(series) > 0], breaks]))
    return series[first], origin[first], np.diff(first, append=len(series))
