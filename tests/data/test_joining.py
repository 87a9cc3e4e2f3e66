"""Panels that follow each other, against the panel of both frames."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import Panel
from forecast_kit.data.joining import join
from forecast_kit.errors import TimeIndexError

FIELDS = {
    "static": ["kind", "size"],
    "past": ["w"],
    "future": ["promo"],
    "categorical": ["kind", "promo"],
    "gaps": "mask",
}


def rows(name: str, first: int, last: int, seed: int = 0, promo: str = "none") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    steps = np.arange(first, last)
    return pd.DataFrame(
        {
            "unique_id": name,
            "ds": pd.Timestamp("2024-01-30") + pd.to_timedelta(steps, unit="D"),
            "y": rng.normal(size=len(steps)),
            "w": rng.normal(size=len(steps)),
            "promo": promo,
            "kind": f"kind of {name}",
            "size": float(len(name)),
        }
    )


def panel_of(*frames: pd.DataFrame) -> Panel:
    return Panel.from_frame(pd.concat(frames), freq="D", **FIELDS)


def assert_same(ours: Panel, theirs: Panel) -> None:
    pd.testing.assert_frame_equal(ours.to_frame(), theirs.to_frame())
    pd.testing.assert_frame_equal(ours.static_frame(), theirs.static_frame())
    for key in ("ids", "indptr", "y", "observed", "past"):
        np.testing.assert_array_equal(getattr(ours, key), getattr(theirs, key), err_msg=key)
    np.testing.assert_array_equal(ours.axis.stamps(ours.last), theirs.axis.stamps(theirs.last))


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 9), st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_rows_that_follow_or_overlap_give_the_panel_of_both(length: int, back: int, more: int, skip: int) -> None:
    """Series a is in both, b in the first alone, c in the second alone and with values never seen before."""
    a, b, c = rows("a", skip, skip + length), rows("b", 0, 7, 1), rows("c", 3, 9, 2, promo="sale")
    newer = rows("a", max(skip + length - back, 0), skip + length + more, 3, promo="sale")
    joined = join(panel_of(a, b), panel_of(newer, c))
    kept = a[a["ds"] < newer["ds"].min()]
    assert_same(joined, panel_of(kept, newer, b, c))


def test_a_hole_is_refused_and_named() -> None:
    with pytest.raises(
        TimeIndexError, match=r"steps missing .* series 'a' \(known up to 2024-02-03.*new from 2024-02-05"
    ):
        join(panel_of(rows("a", 0, 5)), panel_of(rows("a", 6, 9)))


def test_rows_that_end_too_early_are_refused() -> None:
    with pytest.raises(TimeIndexError, match="end before the known ones do in series 'a'"):
        join(panel_of(rows("a", 0, 5), rows("b", 0, 5)), panel_of(rows("a", 0, 4), rows("b", 0, 5)))


def test_what_was_not_observed_stays_so_and_what_was_interpolated_is_known_to_be() -> None:
    early, late = rows("a", 0, 5), rows("a", 5, 9)
    early.loc[[1, 2], "y"] = np.nan
    late.loc[2, "y"] = np.nan
    fields = {**FIELDS, "gaps": "interpolate"}
    ours = join(Panel.from_frame(early, freq="D", **fields), Panel.from_frame(late, freq="D", **fields))
    theirs = Panel.from_frame(pd.concat([early, late]), freq="D", **fields)
    np.testing.assert_array_equal(ours.interpolated, theirs.interpolated)
    np.testing.assert_array_equal(ours.observed, theirs.observed)
    np.testing.assert_allclose(ours.y, theirs.y)
    masked = join(panel_of(early), panel_of(late))
    assert masked.interpolated is None
    np.testing.assert_array_equal(masked.observed, panel_of(early, late).observed)
