"""Held-out windows: what a network is trained on, and the later windows that it is judged by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from forecast_kit.core.forecaster import check_panel
from forecast_kit.data.joining import join
from forecast_kit.data.panel import Panel
from forecast_kit.data.schema import PanelSchema
from forecast_kit.data.windows import WindowSpec
from forecast_kit.errors import ArgumentError, TooShortError, name_some
from forecast_kit.nn.training import TrainingSpec
from forecast_kit.typing import Ints

MOST = 1024  # windows that are judged at most: judging them takes about as long as some training steps


@dataclass(frozen=True, eq=False)
class Parts:
    """A panel in two parts, the second held out.

    Attributes:
        train: the rows to train on.
        whole: these and the rows held out, of the same series, without whole series that are missing in one.
        seen: `[N]` of the first, how many rows of each series of `whole` lie before all held-out targets.
        why: why some series have nothing held out, as the end of a sentence.
    """

    train: Panel
    whole: Panel
    seen: Ints
    why: str = ""

    def windows(self, horizon: int, stride: int = 1, *, most: int = MOST) -> tuple[Ints, Ints]:
        """Series and origins in `whole` of the held-out windows, `[n]` each.

        All their targets were held out. There are at most so many, spread evenly over all that there are.

        Args:
            horizon: steps ahead, H.
            stride: steps between two windows of a series, counted back from its end.
            most: how many.
        """
        counts = np.maximum((self.whole.lengths - horizon - self.seen) // stride + 1, 0)
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        k = np.arange(total) if total <= most else np.linspace(0, total - 1, most).astype(np.int64)
        series = np.searchsorted(ends, k, side="right")
        back = ends[series] - 1 - k  # windows of the series that are later
        return series, self.whole.lengths[series] - horizon - back * stride

    def report(self, horizon: int, stride: int = 1) -> str:
        """What was held out, in a line or two; empty where nothing was."""
        series, _ = self.windows(horizon, stride)
        if not len(series):
            return ""
        judged = np.unique(series)
        lines = [f"judged by {len(series):,} later windows of {len(judged):,} series"]
        without = np.delete(self.whole.ids, judged).tolist()
        if without:
            lines.append(f"  {len(without):,} series have none, {self.why}: {name_some(without)}")
        return "\n".join(lines)


def divide(panel: Panel, later: Panel | None, windows: WindowSpec, training: TrainingSpec) -> Parts:
    """What to train on and what to judge by.

    Args:
        panel: for a fit.
        later: later rows to judge by; None for the end of each series, where the training asks for that.
        windows: their shape.
        training: how many horizons it holds out.

    Raises:
        ArgumentError, TimeIndexError, TooShortError: see `hold_out_later`, `hold_out_tail`.
    """
    if later is not None and training.refit:
        raise ArgumentError("refit=True trains again on what the end of the panel held out; with validation= nothing "
                            "was: leave one of them out")  # fmt: skip
    if later is not None:
        return hold_out_later(panel, later, windows.horizon)
    if training.validation:
        least = windows.min_history + windows.horizon
        return hold_out_tail(panel, training.validation, windows.horizon, least)
    return Parts(panel, panel, panel.lengths)


def hold_out_tail(panel: Panel, horizons: int, horizon: int, least: int) -> Parts:
    """The panel without so many horizons at the end of each series, and these; series too short for it stay whole.

    Args:
        panel: everything.
        horizons: how many are held out.
        horizon: H, in steps.
        least: rows of a series that must be left, for a window to train on.

    Raises:
        TooShortError: every series is too short.
    """
    left = panel.lengths - horizons * horizon
    enough = left >= least
    if not enough.any():
        raise TooShortError(
            f"validation={horizons} holds out {horizons * horizon} steps of each series, and {least} must be left to "
            f"train on; the longest has {int(panel.lengths.max())}. Hold out less, or bring longer series"
        )
    keep = np.where(enough, left, panel.lengths)
    return Parts(panel.before(panel.start + keep - 1), panel, keep, "being too short, and are in training whole")


def hold_out_later(panel: Panel, later: Panel, horizon: int) -> Parts:
    """The panel to train on, and what comes after it in another to judge by.

    Args:
        panel: to train on.
        later: a panel of later rows of the same series, or some of them; it may begin with rows of the first.
        horizon: H, in steps.

    Raises:
        ArgumentError: it is no such panel, or has series that the first one has not.
        TimeIndexError: rows are missing between the two.
        TooShortError: no series has H later rows.
    """
    check_panel(later, "validation")
    check_roles(later.schema, panel.schema, "validation")
    unknown = later.ids[panel.locate(later.ids) < 0]
    if len(unknown):
        raise ArgumentError(f"validation has series that are not in training: {name_some(unknown.tolist())}; "
                            f"leave them out")  # fmt: skip
    whole = join(panel, later)
    parts = Parts(panel, whole, panel.last - whole.start + 1, f"with fewer than {horizon} later rows")
    if not len(parts.windows(horizon)[0]):
        raise TooShortError(f"validation needs at least {horizon} rows of a series after its last training row; "
                            f"no series has them")  # fmt: skip
    return parts


def check_roles(schema: PanelSchema, fitted: PanelSchema, what: str) -> None:
    """Refuses a panel whose columns are not those of the panel that was trained on.

    Raises:
        ArgumentError: they are others, or of another frequency or season.
    """
    for role in ("freq", "season_length", "past", "future", "static", "categorical", "calendar"):
        ours, theirs = getattr(fitted, role), getattr(schema, role)
        if ours != theirs:
            raise ArgumentError(f"{what} has {role}={theirs!r}, but the network was trained with {role}={ours!r}")
