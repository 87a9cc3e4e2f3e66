"""Quantile heads against naive loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.heads import make_head
from forecast_kit.nn.heads.quantile import QuantileHead, interpolate_levels

LEVELS = (0.1, 0.25, 0.5, 0.9, 0.975)
raws = arrays(np.float32, (2, 3, 5), elements=st.floats(-50, 50, width=32))


@given(raws)
@settings(deadline=None, max_examples=50)
def test_quantiles_never_cross_and_the_median_is_the_raw_centre(raw: np.ndarray) -> None:
    quantiles = ops.convert_to_numpy(QuantileHead(LEVELS)(raw))
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    np.testing.assert_allclose(quantiles[..., 2], raw[..., 2], atol=1e-5)


def test_distances_are_softplus_of_the_raw_values() -> None:
    raw = np.array([[[0.3, -1.0, 2.0, 0.5, -0.2]]], np.float32)
    up = np.log1p(np.exp(raw[0, 0]))
    expected = [2 - up[1] - up[0], 2 - up[1], 2, 2 + up[3], 2 + up[3] + up[4]]
    np.testing.assert_allclose(ops.convert_to_numpy(QuantileHead(LEVELS)(raw))[0, 0], expected, rtol=1e-5)


def test_loss_is_twice_the_pinball_loss_averaged_over_levels() -> None:
    rng = np.random.default_rng(0)
    y, quantiles = rng.normal(size=(4, 3)), rng.normal(size=(4, 3, 5))
    expected = np.zeros((4, 3))
    for b in range(4):
        for h in range(3):
            for k, q in enumerate(LEVELS):
                error = y[b, h] - quantiles[b, h, k]
                expected[b, h] += 2 * (q * error if error > 0 else (q - 1) * error) / len(LEVELS)
    got = QuantileHead(LEVELS).loss(y.astype(np.float32), quantiles.astype(np.float32))
    np.testing.assert_allclose(ops.convert_to_numpy(got), expected, rtol=1e-5)


def test_the_median_alone_is_trained_on_the_absolute_error() -> None:
    got = QuantileHead((0.5,)).loss(np.array([[3.0]], np.float32), np.array([[[1.0]]], np.float32))
    assert float(got[0, 0]) == 2.0


def test_asked_levels_are_interpolated_between_trained_ones() -> None:
    quantiles = np.array([[[10.0, 20.0, 40.0]]])
    got = interpolate_levels(quantiles, (0.1, 0.5, 0.9), (0.1, 0.3, 0.5, 0.6, 0.9))
    np.testing.assert_allclose(got[0, 0], [10, 15, 20, 25, 40])
    assert interpolate_levels(quantiles, (0.1, 0.5, 0.9), ()).shape == (1, 1, 0)


def test_heads_are_made_by_name_and_refuse_what_they_do_not_take() -> None:
    assert make_head("point", loss="huber", delta=2.0).delta == 2.0
    with pytest.raises(ArgumentError, match="head must be one of quantile, .* Did you mean 'normal'"):
        make_head("norml")
    with pytest.raises(ArgumentError, match="head 'normal' has no option 'min_scal'; it has min_scale. Did you mean"):
        make_head("normal", min_scal=1.0)
    with pytest.raises(ArgumentError, match="head 'negative_binomial' has no option 'name'; it has none"):
        make_head("negative_binomial", name="counts")
