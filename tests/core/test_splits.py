"""Rolling origins against slices of each series' own list of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forecast_kit import Panel, RollingOrigin
from forecast_kit.errors import ArgumentError, TooShortError


def ragged(lengths: list[int]) -> pd.DataFrame:
    rng = np.random.default_rng(sum(lengths))
    frames = [
        pd.DataFrame(
            {"unique_id": f"s{k}", "ds": np.arange(n) + k, "y": rng.normal(size=n), "temp": rng.normal(size=n)}
        )
        for k, n in enumerate(lengths)
    ]
    return pd.concat(frames, ignore_index=True)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 5), st.integers(1, 4),
    st.one_of(st.none(), st.integers(1, 7)),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_folds_are_the_last_cutoffs_of_every_series(
    lengths: list[int], horizon: int, folds: int, step: int | None
) -> None:
    needed = horizon + (folds - 1) * (step or horizon)
    assume(min(lengths) > needed)
    frame = ragged(lengths)
    groups = [part for _, part in frame.groupby("unique_id")]
    splitter = RollingOrigin(horizon, folds, step)
    result = list(splitter.split(Panel.from_frame(frame, freq=1, future=["temp"])))
    assert [fold.number for fold in result] == list(range(1, folds + 1))
    assert splitter.needed == needed
    for fold in result:
        ends = [len(part) - horizon - (folds - fold.number) * (step or horizon) for part in groups]
        train = pd.concat([part.iloc[:end] for part, end in zip(groups, ends, strict=True)])
        after = [part.iloc[end : end + horizon] for part, end in zip(groups, ends, strict=True)]
        pd.testing.assert_frame_equal(fold.train.to_frame(), train.reset_index(drop=True), check_dtype=False)
        np.testing.assert_array_equal(fold.y, [part["y"] for part in after])
        np.testing.assert_array_equal(fold.future[..., 0], [part["temp"] for part in after])
        np.testing.assert_array_equal(fold.train.horizon_stamps(horizon), [part["ds"] for part in after])
        assert fold.observed.all()


def test_the_last_fold_ends_with_the_data() -> None:
    panel = Panel.from_frame(ragged([9, 12]), freq=1)
    *_, last = RollingOrigin(3, folds=2, step=1).split(panel)
    np.testing.assert_array_equal(last.y, [y[-3:] for _, y in panel.series])


def test_unobserved_actuals_are_marked() -> None:
    frame = ragged([9])
    frame.loc[7, "y"] = np.nan
    (fold,) = RollingOrigin(3).split(Panel.from_frame(frame, freq=1, gaps="mask"))
    assert fold.observed.tolist() == [[True, False, True]]


def test_too_short_series_are_named() -> None:
    panel = Panel.from_frame(ragged([20, 7, 3, 8]), freq=1)
    with pytest.raises(TooShortError, match=r"2 series are too short for 3 folds with horizon 3.*7 obs") as caught:
        list(RollingOrigin(3, folds=3, step=2).split(panel))
    assert "'s1', 's2' (shortest: 3)" in str(caught.value)


@pytest.mark.parametrize("fields", [{"horizon": 0}, {"horizon": 2, "folds": 0}, {"horizon": 2, "step": 0}])
def test_numbers_below_one_are_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ArgumentError, match=f"{list(fields)[-1]} must be a whole number, at least 1; got 0"):
        RollingOrigin(**fields)
