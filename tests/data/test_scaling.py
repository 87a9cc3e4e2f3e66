"""Scalers against scikit-learn's, series by series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from forecast_kit import Panel
from forecast_kit.data.scaling import SeriesScaler
from forecast_kit.errors import ArgumentError, NotFittedError

ORACLES = {"standard": StandardScaler, "minmax": MinMaxScaler}
values = st.lists(st.floats(-1e4, 1e4).map(lambda v: round(v, 3)), min_size=1, max_size=12)


def panel_of(series: dict[str, list[float]]) -> Panel:
    frames = [pd.DataFrame({"unique_id": name, "ds": range(len(y)), "y": y}) for name, y in series.items()]
    return Panel.from_frame(pd.concat(frames), freq=1, gaps="mask")


@pytest.mark.parametrize("method", ["standard", "minmax"])
@given(st.lists(values, min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_each_series_is_scaled_as_scikit_learn_scales_it(method: str, series: list[list[float]]) -> None:
    panel = panel_of({f"s{k}": y for k, y in enumerate(series)})
    scaled = SeriesScaler(method).fit(panel).transform(panel)  # type: ignore[arg-type]
    oracle = [ORACLES[method]().fit_transform(np.array(y)[:, None])[:, 0] for y in series]
    np.testing.assert_allclose(scaled, np.concatenate(oracle), atol=1e-6)


@pytest.mark.parametrize("method", ["standard", "minmax"])
def test_unobserved_values_do_not_count(method: str) -> None:
    panel = panel_of({"a": [1.0, np.nan, np.nan, 4.0, 9.0], "b": [np.nan, 5.0, np.nan, -2.0]})
    shift, scale = SeriesScaler(method).fit(panel).parameters(panel)  # type: ignore[arg-type]
    for k, observed in enumerate(([1.0, 4.0, 9.0], [5.0, -2.0])):
        y = np.array(observed)[:, None]
        np.testing.assert_allclose((y - shift[k]) / scale[k], ORACLES[method]().fit_transform(y), atol=1e-12)


@pytest.mark.parametrize("method", ["standard", "minmax"])
@pytest.mark.parametrize("level", [0.0, 0.1, -7.3e9, 1e-12])
def test_a_constant_series_becomes_zero_and_comes_back(method: str, level: float) -> None:
    panel = panel_of({"a": [level] * 7})
    scaler = SeriesScaler(method).fit(panel)  # type: ignore[arg-type]
    shift, scale = scaler.parameters(panel)
    assert scale.tolist() == [1.0]
    np.testing.assert_allclose(scaler.transform(panel), 0.0, atol=1e-5)
    np.testing.assert_allclose(shift, level, rtol=1e-12)


def test_none_leaves_values_as_they_are() -> None:
    panel = panel_of({"a": [1.0, 5.0], "b": [-3.0, 2.0]})
    np.testing.assert_array_equal(SeriesScaler("none").fit(panel).transform(panel), panel.y)


@pytest.mark.parametrize("method", ["standard", "minmax"])
def test_what_was_learned_goes_by_id_and_new_series_use_their_own_history(method: str) -> None:
    scaler = SeriesScaler(method).fit(panel_of({"a": [0.0, 2.0, 7.0], "c": [10.0, 30.0, 20.0]}))  # type: ignore[arg-type]
    later = panel_of({"b": [5.0, 8.0, 6.0], "c": [-1.0, 1.0]})
    expected = [
        ORACLES[method]().fit_transform(np.array([[5.0], [8.0], [6.0]])),
        ORACLES[method]().fit(np.array([[10.0], [30.0], [20.0]])).transform(np.array([[-1.0], [1.0]])),
    ]
    np.testing.assert_allclose(scaler.transform(later), np.concatenate(expected)[:, 0], atol=1e-12)


@pytest.mark.parametrize("method", ["standard", "minmax"])
def test_values_after_the_cutoff_change_nothing(method: str) -> None:
    one = panel_of({"a": [0.0, 2.0, 7.0, 1.0], "b": [4.0, 3.0, 9.0]})
    two = panel_of({"a": [0.0, 2.0, 7.0, 1e9], "b": [4.0, 3.0, -1e9]})
    cutoff = np.array([2, 1])
    learned = [SeriesScaler(method).fit(panel.before(cutoff)).parameters(one) for panel in (one, two)]  # type: ignore[arg-type]
    np.testing.assert_array_equal(learned[0], learned[1])


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'standard', 'minmax' or 'none', got 'robust'"):
        SeriesScaler("robust")  # type: ignore[arg-type]
    with pytest.raises(NotFittedError, match="call fit first"):
        SeriesScaler().transform(panel_of({"a": [1.0]}))
