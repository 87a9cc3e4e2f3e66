"""Sample paths against processes whose joint distribution is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import ndtr, ndtri

from forecast_kit.errors import ArgumentError
from forecast_kit.models import paths as module
from forecast_kit.models.paths import learn_dependence, pit, sample_paths

MANY = tuple(np.arange(1, 200) / 200)
USUAL = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
H = 8


def lags(steps: int = H) -> np.ndarray:
    return np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))


def scores(R: np.ndarray, windows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal(np.zeros(len(R)), R, windows, method="cholesky")


def ar1(phi: float, windows: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`[W, H]` what an AR(1) process of unit noise does from 0 on, step by step, and `[H]` its deviations."""
    y = np.zeros((windows, H))
    for h in range(H):
        y[:, h] = phi * (y[:, h - 1] if h else 0.0) + rng.normal(size=windows)
    return y, np.sqrt(np.cumsum(phi ** (2.0 * np.arange(H))))


def naive_cdf(y: float, quantiles: np.ndarray, levels: tuple[float, ...]) -> float:
    """The distribution function where quantiles are apart from one another, by hand."""
    z = ndtri(levels)
    for near, far in ((0, 1), (-1, -2)):
        if (y - quantiles[near]) * (quantiles[near] - quantiles[far]) > 0:
            slope = (quantiles[near] - quantiles[far]) / (z[near] - z[far])
            return float(ndtr(z[near] + (y - quantiles[near]) / slope))
    return float(np.interp(y, quantiles, levels))


def test_pit_is_the_distribution_function() -> None:
    rng = np.random.default_rng(0)
    quantiles = np.cumsum(rng.uniform(0.1, 2.0, (50, 3, 7)), axis=2)
    y = rng.uniform(-2.0, 14.0, (50, 3))
    y[0, 0], y[0, 1], y[0, 2] = quantiles[0, 0, 0], quantiles[0, 1, 6], quantiles[0, 2, 3]
    expected = [[naive_cdf(y[w, h], quantiles[w, h], USUAL) for h in range(3)] for w in range(50)]
    np.testing.assert_allclose(pit(y, quantiles, USUAL), np.clip(expected, 1e-4, 1 - 1e-4), atol=1e-12)


def test_pit_of_right_forecasts_is_uniform() -> None:
    rng = np.random.default_rng(1)
    mu, sigma = rng.normal(0, 5, (4000, 3)), rng.uniform(0.5, 4.0, (4000, 3))
    y = rng.normal(mu, sigma)
    u = pit(y, mu[..., None] + sigma[..., None] * ndtri(MANY), MANY)
    np.testing.assert_allclose(u, np.clip(ndtr((y - mu) / sigma), 1e-4, 1 - 1e-4), atol=5e-4)
    assert stats.kstest(u.ravel(), "uniform").pvalue > 0.01
    assert (
        stats.kstest(pit(y, mu[..., None] + 2 * sigma[..., None] * ndtri(MANY), MANY).ravel(), "uniform").pvalue < 1e-9
    )


def test_pit_in_a_jump_is_its_middle_and_nothing_is_made_of_gaps() -> None:
    quantiles = np.tile(np.array([0.0, 0.0, 3.0, 3.0, 5.0, 5.0, 5.0]), (1, 7, 1))
    y = np.array([[-1.0, 0.0, 1.5, 3.0, 5.0, 9.0, np.nan]])
    # 0 and 5 hold their tails too, so that the jump at 0 is from 0 to 0.1, and that at 5 from 0.75 to 1.
    expected = [1e-4, 0.05, 0.175, (0.25 + 0.5) / 2, (0.75 + 1) / 2, 1 - 1e-4, np.nan]
    np.testing.assert_allclose(pit(y, quantiles, USUAL)[0], expected)


@given(
    arrays(np.float64, (2, 3, 4), elements=st.floats(0, 10)),
    arrays(np.float64, (2, 2, 3), elements=st.floats(-5, 60)),
)
@settings(deadline=None, max_examples=60)
def test_pit_rises_with_the_actual_and_stays_inside(steps: np.ndarray, y: np.ndarray) -> None:
    quantiles = np.cumsum(steps, axis=2)
    one, other = (pit(a, quantiles, (0.1, 0.4, 0.6, 0.8)) for a in (y.min(axis=0), y.max(axis=0)))
    assert (one <= other + 1e-12).all()
    assert ((one > 0) & (other < 1)).all()


def test_each_step_of_the_paths_has_the_quantiles_of_its_forecast() -> None:
    rng = np.random.default_rng(2)
    quantiles = np.cumsum(rng.uniform(0.1, 2.0, (3, H, 7)), axis=2)
    got = sample_paths(quantiles, USUAL, 0.7 ** lags(), 40_000, rng)
    assert got.shape == (3, 40_000, H)
    below = (got[:, :, :, None] <= quantiles[:, None]).mean(axis=1)  # [3, H, 7]
    np.testing.assert_allclose(below, np.broadcast_to(USUAL, below.shape), atol=0.01)


def test_paths_go_through_the_distribution_that_pit_reads() -> None:
    rng = np.random.default_rng(3)
    quantiles = np.cumsum(rng.uniform(0.1, 2.0, (2, H, 7)), axis=2)
    drawn = sample_paths(quantiles, USUAL, np.eye(H), 500, rng)
    u = pit(drawn.reshape(1000, H), np.repeat(quantiles, 500, axis=0), USUAL)
    z = np.random.default_rng(3)
    z.uniform(size=(2, H, 7))  # as above
    expected = ndtr(z.standard_normal((2, H, 500))).transpose(0, 2, 1).reshape(1000, H)
    np.testing.assert_allclose(u, np.clip(expected, 1e-4, 1 - 1e-4), atol=1e-9)


def test_normal_tails_go_on_as_normal_ones() -> None:
    levels = (0.25, 0.5, 0.75)
    drawn = sample_paths(5.0 + 2.0 * ndtri(levels)[None, None], levels, np.eye(1), 200_000, np.random.default_rng(4))
    for q in (0.001, 0.05, 0.95, 0.999):
        assert np.quantile(drawn, q) == pytest.approx(5.0 + 2.0 * ndtri(q), abs=0.1)


def test_steps_of_paths_correlate_as_asked() -> None:
    R = 0.3 + 0.7 * (-0.6) ** lags()
    drawn = sample_paths(np.tile(ndtri(MANY), (1, H, 1)), MANY, R, 60_000, np.random.default_rng(5))
    np.testing.assert_allclose(np.corrcoef(drawn[0].T), R, atol=0.02)


def test_series_are_independent_and_the_generator_decides() -> None:
    quantiles = np.tile(ndtri(USUAL), (2, H, 1))
    one, same, other = (sample_paths(quantiles, USUAL, np.eye(H), 4000, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    for a, b in ((one, other), (one[0], one[1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.03


def test_working_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    quantiles = np.cumsum(np.random.default_rng(6).uniform(size=(7, 3, 7)), axis=2)
    whole = sample_paths(quantiles, USUAL, 0.5 ** lags(3), 10, np.random.default_rng(0))
    monkeypatch.setattr(module, "_CHUNK", 60)  # two series at once
    parts = sample_paths(quantiles, USUAL, 0.5 ** lags(3), 10, np.random.default_rng(0))
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


def test_fewer_steps_take_the_first_ones_of_the_correlation() -> None:
    R = 0.9 ** lags() * np.where(np.add.outer(np.arange(H), np.arange(H)) % 2, 0.5, 1.0)
    drawn = sample_paths(np.tile(ndtri(MANY), (1, 3, 1)), MANY, R, 60_000, np.random.default_rng(7))
    np.testing.assert_allclose(np.corrcoef(drawn[0].T), R[:3, :3], atol=0.02)


@pytest.mark.parametrize("phi", [0.9, -0.6])
def test_the_sum_over_the_horizon_varies_as_that_of_the_process(phi: float) -> None:
    y, sigma = ar1(phi, 3000, np.random.default_rng(8))
    forecast = sigma[:, None] * ndtri(MANY)  # [H, Q] the right one of every step
    R = learn_dependence(pit(y, np.tile(forecast, (3000, 1, 1)), MANY))
    # sum_h y_h = sum_k e_k (1 + phi + ... + phi^(H - k))
    expected = sum(sum(phi**j for j in range(H - k)) ** 2 for k in range(H))
    rng = np.random.default_rng(9)
    together, apart = (
        sample_paths(forecast[None], MANY, correlation, 40_000, rng)[0].sum(axis=1).var()
        for correlation in (R, np.eye(H))
    )
    assert together == pytest.approx(expected, rel=0.06)
    assert apart == pytest.approx((sigma**2).sum(), rel=0.03)
    assert abs(np.log(apart / expected)) > 0.5


@pytest.mark.parametrize(
    "R",
    [
        np.eye(H),
        0.8 ** lags(),
        np.sqrt((np.minimum.outer(range(H), range(H)) + 1.0) / (np.maximum.outer(range(H), range(H)) + 1.0)),
        np.where(lags() % 4 == 0, 0.7, 0.1) + 0.3 * np.eye(H),
    ],
    ids=["independent", "fading", "random walk", "seasonal"],
)
def test_many_windows_give_their_correlation(R: np.ndarray) -> None:
    np.testing.assert_allclose(learn_dependence(ndtr(scores(R, 5000))), R, atol=0.06)


@pytest.mark.parametrize("R", [np.eye(H), 0.6 ** lags(), 0.3 + 0.7 * np.eye(H)], ids=["none", "fading", "shared"])
def test_few_windows_are_shrunk_to_what_they_can_tell(R: np.ndarray) -> None:
    off = ~np.eye(H, dtype=bool)
    errors = []
    for seed in range(40):
        z = scores(R, 6, seed)
        errors.append([np.sqrt(np.mean(np.square(C - R)[off])) for C in (learn_dependence(ndtr(z)), np.corrcoef(z.T))])
    shrunk, raw = np.mean(errors, axis=0)
    assert shrunk < 0.5 * raw


def test_single_windows_tell_how_their_errors_fade() -> None:
    z = scores(0.8 ** lags(60), 40)
    got = np.mean([learn_dependence(ndtr(window[None])) for window in z], axis=0)
    np.testing.assert_allclose(got[0, 1:4], 0.8 ** np.arange(1, 4), atol=0.1)


def test_a_bias_that_all_windows_share_is_no_dependence() -> None:
    got = learn_dependence(ndtr(scores(np.eye(H), 2000) * 0.5 + 1.5))
    np.testing.assert_allclose(got, np.eye(H), atol=0.06)


def test_gaps_leave_the_correlation_of_what_is_there() -> None:
    R = 0.7 ** lags()
    u = ndtr(scores(R, 6000))
    u[np.random.default_rng(1).uniform(size=u.shape) < 0.3] = np.nan
    np.testing.assert_allclose(learn_dependence(u), R, atol=0.07)


def test_steps_that_no_window_saw_take_the_target() -> None:
    u = ndtr(scores(0.8 ** lags(), 3000))
    u[:1500, 4:] = np.nan
    u[1500:, :4] = np.nan  # no window saw both halves
    np.testing.assert_allclose(learn_dependence(u), 0.8 ** lags(), atol=0.12)


@given(
    st.integers(1, 6).flatmap(
        lambda h: arrays(np.float64, st.tuples(st.integers(1, 8), st.just(h)), elements=st.floats(1e-4, 1 - 1e-4))
    ),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=80)
def test_it_is_always_a_correlation_matrix(u: np.ndarray, seed: int) -> None:
    gaps = np.random.default_rng(seed).uniform(size=u.shape) < 0.4
    gaps[0, 0] = False
    R = learn_dependence(np.where(gaps, np.nan, u))
    np.testing.assert_array_equal(R, R.T)
    np.testing.assert_array_equal(np.diag(R), 1.0)
    assert np.linalg.eigvalsh(R).min() > 0
    assert np.isfinite(sample_paths(np.tile(ndtri(USUAL), (1, len(R), 1)), USUAL, R, 3, np.random.default_rng(0))).all()


def test_windows_that_repeat_one_another_still_give_one() -> None:
    R = learn_dependence(np.tile(np.array([[0.1], [0.5], [0.9]]), (10, H)))
    assert np.linalg.eigvalsh(R).min() > 0
    assert R.min() > 0.98
    np.testing.assert_allclose(learn_dependence(np.full((5, 3), 0.5)), np.eye(3))


def test_gaps_that_contradict_one_another_still_give_one() -> None:
    z = np.random.default_rng(0).normal(size=(900, 1)) * np.ones((900, 3))
    z[:300, 2] = z[300:600, 0] = z[600:, 1] = np.nan
    z[600:, 2] *= -1.0  # steps 1 and 2 go together, 2 and 3 too, and 1 and 3 against one another
    R = learn_dependence(ndtr(z))
    assert np.linalg.eigvalsh(R).min() > 1e-7
    np.testing.assert_allclose(np.abs(R[~np.eye(3, dtype=bool)]), 0.5, atol=0.01)  # as near as there is one
    assert R[0, 1] > 0 > R[0, 2]


QUANTILES = np.tile(ndtri(USUAL), (2, 3, 1))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"levels": (0.5,)}, "levels must be two at least, ascend"),
        ({"levels": (0.0, *USUAL[1:])}, "levels must be two at least, ascend, and lie strictly between 0 and 1"),
        ({"levels": USUAL[::-1]}, "levels must be two at least, ascend"),
        ({"levels": (0.1, 0.9)}, r"quantiles must be of shape \[series, steps, 2 levels\], got \(2, 3, 7\)"),
        ({"quantiles": QUANTILES[..., ::-1]}, "quantiles must be finite and ascend with the levels"),
        ({"quantiles": np.full((2, 3, 7), np.nan)}, "quantiles must be finite"),
        ({"quantiles": np.full((2, 3, 7), np.inf)}, "quantiles must be finite"),
        ({"R": np.eye(2)}, r"R must be square, with a row for each of 3 steps; got \(2, 2\)"),
        ({"R": np.ones((3, 4))}, "R must be square"),
        ({"R": 2.0 * np.eye(3)}, "symmetric, with ones on its diagonal"),
        ({"R": np.eye(3) + np.triu(np.ones((3, 3)), 1)}, "symmetric, with ones on its diagonal"),
        ({"R": np.eye(3) - 0.9 * (1 - np.eye(3))}, r"one of its eigenvalues is -0\.8, below 0"),
        ({"R": np.full((3, 3), np.nan)}, "symmetric, with ones on its diagonal"),
        ({"paths": 0}, "paths must be a whole number, at least 1; got 0"),
        ({"paths": 2.5}, "paths must be a whole number"),
    ],
)
def test_bad_paths_are_refused(change: dict, complaint: str) -> None:
    arguments = {"quantiles": QUANTILES, "levels": USUAL, "R": np.eye(3), "paths": 5, **change}
    with pytest.raises(ArgumentError, match=complaint):
        sample_paths(**arguments, rng=np.random.default_rng(0))


def test_bad_actuals_and_shares_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"y must have the shape \(2, 3\) of the quantiles, got \(3, 2\)"):
        pit(np.zeros((3, 2)), QUANTILES, USUAL)
    with pytest.raises(ArgumentError, match=r"with an observation at least; got \(2, 3\)"):
        learn_dependence(np.full((2, 3), np.nan))
    with pytest.raises(ArgumentError, match=r"u must be windows by steps, \[W, H\]"):
        learn_dependence(np.full(3, 0.5))
    with pytest.raises(ArgumentError, match="u must lie strictly between 0 and 1"):
        learn_dependence(np.array([[0.5, 1.0]]))
