"""The seasonal error against a loop over pairs of steps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import Panel
from forecast_kit.data.seasonal import seasonal_error

values = st.lists(st.one_of(st.none(), st.integers(-50, 50)), max_size=12)


@given(st.lists(values, min_size=1, max_size=4), st.integers(1, 5), st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=40)
def test_only_pairs_of_observed_steps_of_one_series_count(series: list[list[int | None]], m: int, power: int) -> None:
    rows = [(f"s{k}", t, v) for k, y in enumerate(series) for t, v in enumerate([7, *y])]
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y"]).astype({"y": float})
    panel = Panel.from_frame(frame, freq=1, gaps="mask")
    for k, y in enumerate(series):
        full = [7, *y]
        pairs = [(full[t], full[t - m]) for t in range(m, len(full))]
        sizes = [abs(a - b) ** power for a, b in pairs if a is not None and b is not None]
        expected = np.mean(sizes) if sizes else np.nan
        assert seasonal_error(panel, m, power=power)[k] == pytest.approx(expected, nan_ok=True)
