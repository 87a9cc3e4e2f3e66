"""Heads of distributions against scipy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from head_gradients import descend, gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops
from scipy import stats
from scipy.special import gammaln

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.heads import (
    Head,
    LogNormalHead,
    NegativeBinomialHead,
    NormalHead,
    StudentTHead,
    make_head,
)
from forecast_kit.nn.heads.distributions import stirling_error
from forecast_kit.nn.networks import Recurrent, Shapes, build_network
from forecast_kit.nn.training import apply

LEVELS = (0.001, 0.1, 0.37, 0.5, 0.9, 0.999)

# What scipy calls the distribution of some parameters, each `[...]`.
ORACLES: dict[str, Callable[..., Any]] = {
    "normal": lambda mu, sigma: stats.norm(mu, sigma),
    "student_t": lambda mu, sigma, nu: stats.t(nu, mu, sigma),
    "log_normal": lambda mu, sigma: stats.lognorm(s=sigma, scale=np.exp(mu)),
    "negative_binomial": lambda mu, alpha: stats.nbinom(1 / alpha, 1 / (1 + alpha * mu)),
}
REAL = ("normal", "student_t")


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def naive(name: str, raw: np.ndarray, base: np.ndarray | None) -> list[np.ndarray]:
    """The parameters in units of the window, in float64."""
    a = [raw[..., k].astype(np.float64) for k in range(raw.shape[-1])]
    one, half = np.log(np.e - 1.0), np.log(np.exp(0.5) - 1.0)  # softplus of these is 1 and 0.5
    if name in REAL:
        located = a[0] + (0.0 if base is None else base)
        return [located, softplus(a[1] + one) + 1e-3, *[2.0 + softplus(b) for b in a[2:]]]
    factor = 1.0 if base is None else (np.maximum(base, 0.0) + 0.1) / 1.1
    if name == "log_normal":
        spread = softplus(a[1] + half)
        return [a[0] + np.log(factor), np.where(spread < 2.0, spread, 4.0 - 4.0 / spread) + 1e-3]
    return [(softplus(a[0] + one) + 1e-6) * factor, softplus(a[1]) + 1e-6]


def oracle(name: str, params: np.ndarray) -> Any:
    """The distribution of parameters `[..., K]`."""
    return ORACLES[name](*np.moveaxis(params.astype(np.float64), -1, 0))


def log_density(distribution: Any, y: np.ndarray) -> np.ndarray:
    return (distribution.logpdf if hasattr(distribution.dist, "logpdf") else distribution.logpmf)(y.astype(np.float64))


def random_params(name: str, *, rescaled: bool, rows: int = 400) -> tuple[Head, np.ndarray]:
    """Parameters `[rows, 3, K]` of random raw outputs."""
    rng = np.random.default_rng(5)
    head = make_head(name)
    raw = rng.normal(0.0, 2.0, (rows, 3, head.width)).astype(np.float32)
    base = rng.normal(1.0, 1.0, (rows, 3)).astype(np.float32)
    params = head(raw, base)
    if rescaled:
        shift = rng.normal(0.0, 30.0, (rows, 1)) if name in REAL else np.zeros((rows, 1))
        scale = 10.0 ** rng.uniform(-1.0, 4.0, (rows, 1))
        params = head.rescale(params, shift.astype(np.float32), scale.astype(np.float32))
    return head, ops.convert_to_numpy(params)


@pytest.mark.parametrize("with_base", [False, True])
@pytest.mark.parametrize("name", ORACLES)
def test_parameters_are_their_equations(name: str, with_base: bool) -> None:
    rng = np.random.default_rng(0)
    head = make_head(name)
    raw = rng.normal(0.0, 3.0, (5, 4, head.width)).astype(np.float32)
    base = rng.normal(1.0, 2.0, (5, 4)).astype(np.float32) if with_base else None
    expected = np.stack(naive(name, raw, base), axis=-1)
    np.testing.assert_allclose(ops.convert_to_numpy(head(raw, base)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ORACLES)
def test_it_begins_where_the_window_stands(name: str) -> None:
    head = make_head(name)
    params = ops.convert_to_numpy(head(np.zeros((1, 1, head.width), np.float32)))
    begins = oracle(name, params[0, 0])
    assert begins.mean() == pytest.approx(0.0 if name in REAL else 1.0, abs=0.15)
    if name in REAL:
        assert params[0, 0, 1] == pytest.approx(1.0, abs=0.01)
    with_base = head(np.zeros((1, 1, head.width), np.float32), np.ones((1, 1), np.float32))
    shift = np.array([1.0] + [0.0] * (head.width - 1)) if name in REAL else 0.0
    np.testing.assert_allclose(ops.convert_to_numpy(with_base), params + shift, atol=1e-6)


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("name", ORACLES)
def test_the_loss_is_the_negative_log_likelihood(name: str, rescaled: bool) -> None:
    head, params = random_params(name, rescaled=rescaled)
    distribution = oracle(name, params)
    y = distribution.rvs(random_state=np.random.default_rng(2)).astype(np.float32)
    got = ops.convert_to_numpy(head.loss(y, params))
    np.testing.assert_allclose(got, -log_density(distribution, y), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", ORACLES)
def test_gradients_are_those_of_the_likelihood(name: str) -> None:
    head, params = random_params(name, rescaled=False, rows=20)
    y = oracle(name, params).rvs(random_state=np.random.default_rng(3)).astype(np.float32)
    got = gradient(lambda p: head.loss(y, p), params)
    for k in range(head.width):
        step = np.zeros(head.width)
        step[k] = 1e-6
        above, below = (oracle(name, params + sign * step) for sign in (1.0, -1.0))
        expected = (log_density(below, y) - log_density(above, y)) / 2e-6
        np.testing.assert_allclose(got[..., k], expected, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("name", ORACLES)
def test_losses_and_gradients_are_finite_at_extremes(name: str) -> None:
    head = make_head(name)
    corners = np.stack(np.meshgrid(*[np.array([-50.0, 0.0, 50.0])] * head.width), -1)
    raw = np.tile(corners.reshape(-1, 1, head.width), (1, 5, 1)).astype(np.float32)  # [3^K, 5, K]
    y = np.tile(np.array([0.0, 1.0, 1e8, -1e8, 1e-30], np.float32), (len(raw), 1))
    for base in (None, 0.0, 50.0, -50.0):
        for window in (1.0, 1e4):
            height = None if base is None else np.full(y.shape, base, np.float32)
            shift, scale = np.zeros((len(raw), 1), np.float32), np.full((len(raw), 1), window, np.float32)

            def judged(a: Any, height: Any = height, shift: Any = shift, scale: Any = scale) -> Any:
                return head.loss(y, head.rescale(head(a, height), shift, scale))

            assert np.isfinite(ops.convert_to_numpy(judged(raw))).all()
            assert np.isfinite(gradient(judged, raw)).all()


def test_counts_large_and_small_have_the_likelihood_of_scipy() -> None:
    rng = np.random.default_rng(0)
    mu, alpha = 10 ** rng.uniform(-6, 8, 20_000), 10 ** rng.uniform(-7, 3, 20_000)
    params = np.stack([mu, alpha], axis=-1).astype(np.float32)[None]
    distribution = oracle("negative_binomial", params)
    likely = distribution.rvs(random_state=rng).astype(np.float32)
    for y in (
        likely,
        np.floor(10 ** rng.uniform(-1, 8, (1, 20_000))).astype(np.float32),
        np.zeros((1, 20_000), np.float32),
    ):
        got = ops.convert_to_numpy(NegativeBinomialHead().loss(y, params))
        np.testing.assert_allclose(got, -log_density(distribution, y), rtol=2e-4, atol=2e-4)


def test_many_degrees_of_freedom_are_a_normal_distribution() -> None:
    y = np.linspace(-5.0, 5.0, 11, dtype=np.float32)[None]
    params = np.tile(np.array([1.0, 2.0, 1e6], np.float32), (1, 11, 1))
    got = ops.convert_to_numpy(StudentTHead().loss(y, params))
    np.testing.assert_allclose(got, ops.convert_to_numpy(NormalHead().loss(y, params[..., :2])), rtol=1e-4)


def test_probabilities_of_counts_add_up_to_one() -> None:
    y = np.arange(4000, dtype=np.float32)[None]
    for mu, alpha in ((0.01, 3.0), (5.0, 0.2), (40.0, 1e-5), (200.0, 0.5)):
        params = np.tile(np.array([mu, alpha], np.float32), (1, 4000, 1))
        pmf = np.exp(-ops.convert_to_numpy(NegativeBinomialHead().loss(y, params)).astype(np.float64))
        assert pmf.sum() == pytest.approx(1.0, abs=1e-4)
        assert (pmf * y).sum() == pytest.approx(mu, rel=1e-3)
        assert (pmf * (y - mu) ** 2).sum() == pytest.approx(mu + alpha * mu**2, rel=1e-3)


def test_what_stirling_leaves_out() -> None:
    x = np.concatenate([10 ** np.linspace(-6, 2, 500), [1e4, 1e8]])
    expected = gammaln(x) - (x - 0.5) * np.log(x) + x - 0.5 * np.log(2 * np.pi)
    expected[-2:] = 1 / (12 * x[-2:])  # all of it cancels there, in float64 too
    got = ops.convert_to_numpy(stirling_error(ops.convert_to_tensor(x, "float32")))
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("name", ORACLES)
def test_quantiles_and_centre_are_those_of_scipy(name: str, rescaled: bool) -> None:
    head, params = random_params(name, rescaled=rescaled, rows=40)
    distribution = oracle(name, params)
    expected = np.stack([distribution.ppf(q) for q in LEVELS], axis=-1)
    got = head.quantile(params, LEVELS)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(head.center(params), distribution.mean(), rtol=1e-5)
    assert head.quantile(params, ()).shape == (40, 3, 0)
    assert head.levels == ()


@given(data=st.data(), name=st.sampled_from([*ORACLES]))
@settings(deadline=None, max_examples=60)
def test_quantiles_ascend(data: st.DataObject, name: str) -> None:
    head = make_head(name)
    raw = data.draw(arrays(np.float32, (2, 2, head.width), elements=st.floats(-10, 10, width=32)))
    levels = tuple(sorted(data.draw(st.sets(st.floats(1e-4, 1 - 1e-4), min_size=1, max_size=5))))
    quantiles = head.quantile(ops.convert_to_numpy(head(raw)), levels)
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert name in REAL or (quantiles >= 0).all()


@pytest.mark.parametrize("name", [n for n in ORACLES if n != "negative_binomial"])
def test_a_shifted_and_stretched_distribution_has_shifted_and_stretched_quantiles(name: str) -> None:
    head, params = random_params(name, rescaled=False, rows=30)
    rng = np.random.default_rng(4)
    shift = rng.normal(0.0, 5.0, (30, 1)) * (name in REAL)
    scale = rng.uniform(0.1, 20.0, (30, 1))
    rescaled = ops.convert_to_numpy(head.rescale(params, shift.astype(np.float32), scale.astype(np.float32)))
    expected = shift[..., None] + scale[..., None] * head.quantile(params, LEVELS)
    np.testing.assert_allclose(head.quantile(rescaled, LEVELS), expected, rtol=2e-5, atol=2e-4)


def test_counts_take_mean_and_dispersion_with_the_scale_as_deepar_does() -> None:
    params, scale = np.array([[[2.0, 0.5]]], np.float32), np.array([[16.0]], np.float32)
    got = NegativeBinomialHead().rescale(params, np.zeros((1, 1), np.float32), scale)
    np.testing.assert_allclose(ops.convert_to_numpy(got), [[[32.0, 0.125]]])


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("normal", (5.0, 2.0)),
        ("student_t", (5.0, 2.0, 5.0)),
        ("log_normal", (1.0, 0.6)),
        ("negative_binomial", (6.0, 0.4)),
    ],
)
def test_training_finds_the_parameters_of_simulated_data(name: str, truth: tuple[float, ...]) -> None:
    # One of each thousandth: a sample whose own best parameters are near the true ones.
    y = ORACLES[name](*truth).ppf((np.arange(1000) + 0.5) / 1000)
    got = descend(make_head(name), y)
    np.testing.assert_allclose(got, truth, rtol=0.04)


def test_an_impossible_nought_is_taken_for_the_floor() -> None:
    head = LogNormalHead(floor=0.5)
    params = np.zeros((1, 3, 2), np.float32) + 1.0
    got = ops.convert_to_numpy(head.loss(np.array([[0.0, -3.0, 0.5]], np.float32), params))
    np.testing.assert_array_equal(got, np.full((1, 3), got[0, 2]))


@pytest.mark.parametrize("name", ORACLES)
def test_a_network_ends_in_it(name: str) -> None:
    head = make_head(name)
    shapes = Shapes(8, 3, 4)
    if name not in REAL:
        with pytest.raises(ArgumentError, match="which a window may scale but not shift"):
            build_network(Recurrent("gru", units=4, hidden=4), shapes, head, seed=0)
    model = build_network(Recurrent("gru", units=4, hidden=4, normalize="mean"), shapes, head, seed=0)
    rng = np.random.default_rng(0)
    y = rng.poisson(20.0, (5, 8)).astype(np.float32)
    y[1] = 0.0
    observed = np.ones_like(y)
    observed[2, :4] = observed[3] = 0.0
    params = apply(model, {"past_y": y * observed, "past_observed": observed})
    quantiles, center = head.quantile(params, LEVELS), head.center(params)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    np.testing.assert_allclose(center[0], y[0].mean(), rtol=0.5)  # untrained, near the seasons before


@pytest.mark.parametrize("name", ORACLES)
def test_a_head_is_what_its_configuration_says(name: str) -> None:
    options = {"log_normal": {"min_scale": 0.5, "floor": 2.0}, "negative_binomial": {}}.get(name, {"min_scale": 0.5})
    head = make_head(name, **options)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert type(again) is type(head)
    assert again.get_config() == head.get_config()
    raw = np.random.default_rng(1).normal(size=(2, 3, head.width)).astype(np.float32)
    np.testing.assert_array_equal(ops.convert_to_numpy(again(raw)), ops.convert_to_numpy(head(raw)))
    assert options == {key: head.get_config()[key] for key in options}


@pytest.mark.parametrize("name", ["normal", "student_t", "log_normal"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan"), True, "1"])
def test_bad_options_are_refused(name: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=f"min_scale must be a positive number, got {value!r}"):
        make_head(name, min_scale=value)


def test_a_bad_floor_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"floor must be a positive number, got 0\.0"):
        LogNormalHead(floor=0.0)


@pytest.mark.parametrize("levels", [(0.0,), (0.5, 1.0), (0.9, 0.1), (float("nan"),), (0.5, 0.5)])
@pytest.mark.parametrize("name", ORACLES)
def test_bad_levels_are_refused(name: str, levels: tuple[float, ...]) -> None:
    head = make_head(name)
    with pytest.raises(ArgumentError, match="levels must ascend and lie strictly between 0 and 1"):
        head.quantile(np.ones((1, 1, head.width)), levels)
