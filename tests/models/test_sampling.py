"""Sample paths of neural forecasters."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

from forecast_kit import Forecaster, NeuralForecaster, Panel
from forecast_kit.errors import ArgumentError, ForecastError, NotFittedError

H, PHI = 6, 0.95
NETWORK = {"cell": "gru", "units": 8, "hidden": 16, "lookback": False}


def autoregressive(series: int, length: int = 80, seed: int = 0) -> pd.DataFrame:
    """AR(1) processes of unit noise, after a start that is long over."""
    rng = np.random.default_rng(seed)
    y = np.zeros((series, length + 100))
    for t in range(1, length + 100):
        y[:, t] = PHI * y[:, t - 1] + rng.normal(size=series)
    ids = [f"s{k:03d}" for k in range(series)]
    return pd.DataFrame({
        "unique_id": np.repeat(ids, length), "ds": np.tile(np.arange(length), series), "y": y[:, 100:].ravel()
    })  # fmt: skip


def errors_of_steps() -> np.ndarray:
    """`[H, H]` the covariance of what an AR(1) process does against its best forecasts, from its definition."""
    power = np.subtract.outer(np.arange(H), np.arange(H))
    response = np.where(power >= 0, PHI ** np.maximum(power, 0.0), 0.0)
    return response @ response.T


@cache
def learned() -> NeuralForecaster:
    panel = Panel.from_frame(autoregressive(40), freq=1)
    training = {"steps": 300, "batch_size": 64, "learning_rate": 1e-2, "validation": 1, "patience": 8}
    return NeuralForecaster(NETWORK, horizon=H, input_length=12, training=training).fit(panel)


def test_paths_of_an_autoregressive_process_hang_together_as_its_errors_do() -> None:
    covariance = errors_of_steps()
    deviation = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(learned().dependence_, covariance / np.outer(deviation, deviation), atol=0.25)
    assert (np.diag(learned().dependence_, 1) > 0.5).all()


def test_a_sums_interval_holds_as_often_as_it_says_and_that_of_independent_steps_does_not() -> None:
    frame = autoregressive(300, length=40, seed=5)
    past, ahead = frame[frame["ds"] < 40 - H], frame[frame["ds"] >= 40 - H]
    total = ahead.groupby("unique_id")["y"].sum().to_numpy()

    def coverage(values: np.ndarray) -> float:
        low, high = np.quantile(values.sum(axis=2), (0.1, 0.9), axis=1)
        return float(((low <= total) & (total <= high)).mean())

    values = learned().sample(400, history=past).values
    apart = np.random.default_rng(0).permuted(values, axis=1)  # the same steps, each path's from many
    assert 0.7 < coverage(values) < 0.9
    assert coverage(apart) < 0.62


def test_every_step_of_the_paths_is_distributed_as_forecast() -> None:
    model, levels = learned(), (0.1, 0.25, 0.5, 0.75, 0.9)
    values = model.sample(4000, seed=3).values
    said = model.predict(levels=levels).quantiles
    drawn = np.moveaxis(np.quantile(values, levels, axis=1), 0, -1)
    spread = said[:, :, -1:] - said[:, :, :1]
    assert (np.abs(drawn - said) / spread).max() < 0.06


def test_what_paths_are_made_of_is_known(tmp_path: Path) -> None:
    model = learned()
    paths = model.sample(3, horizon=2, seed=1)
    forecast = model.predict(2)
    frame = paths.to_frame()
    assert len(paths) == 40
    assert repr(paths) == "SamplePaths('GRU', 40 series, 3 paths, horizon=2)"
    assert frame.columns.tolist() == ["unique_id", "ds", "cutoff", "model", "path", "y"]
    for series, path, step in ((0, 0, 0), (7, 2, 1), (39, 1, 0)):
        row = frame.iloc[series * 6 + path * 2 + step]
        assert row["unique_id"] == forecast.ids[series]
        assert (row["ds"], row["cutoff"]) == (forecast.ds[series, step], forecast.cutoff[series])
        assert (row["path"], row["y"]) == (path, paths.values[series, path, step])
    np.testing.assert_array_equal(paths.values, model.sample(3, horizon=2, seed=1).values)
    assert not np.array_equal(paths.values, model.sample(3, horizon=2, seed=2).values)
    model.save(tmp_path / "m", history=True)
    loaded = Forecaster.load(tmp_path / "m")
    assert isinstance(loaded, NeuralForecaster)
    np.testing.assert_allclose(loaded.sample(3, horizon=2, seed=1).values, paths.values, rtol=1e-6)


def test_paths_go_back_through_the_transform_as_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """After differences a path is the sum of its own steps."""
    panel = Panel.from_frame(autoregressive(6), freq=1)
    model = NeuralForecaster(NETWORK, horizon=H, input_length=12, transform="difference", training={"steps": 32})
    model.fit(panel)
    values = model.sample(5, seed=4).values
    monkeypatch.setattr(model.transform_, "inverse", lambda steps, history: steps)
    steps = model.sample(5, seed=4).values
    last = panel.tail(1).y[:, None, None]
    np.testing.assert_allclose(values, last + np.cumsum(steps, axis=2), rtol=1e-4, atol=1e-4)


def test_counts_are_whole_and_none_is_below_nought() -> None:
    rng = np.random.default_rng(1)
    frame = autoregressive(8, length=60).assign(y=rng.poisson(0.7, 480))
    model = NeuralForecaster(
        NETWORK, horizon=H, input_length=12, head="negative_binomial", training={"steps": 64, "learning_rate": 1e-2}
    ).fit(Panel.from_frame(frame, freq=1))
    values = model.sample(500).values
    assert (values >= 0).all()
    np.testing.assert_array_equal(values, values.round())
    assert values.mean() == pytest.approx(model.predict().mean.mean(), rel=0.2)


def test_a_distributions_paths_reach_as_far_as_it_does() -> None:
    model = NeuralForecaster(NETWORK, horizon=H, input_length=12, head="normal", training={"steps": 64})
    model.fit(Panel.from_frame(autoregressive(8), freq=1))
    values = model.sample(4000).values
    z = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    np.testing.assert_allclose(np.quantile(z, (0.01, 0.25, 0.9, 0.999)), ndtri((0.01, 0.25, 0.9, 0.999)), atol=0.12)


@pytest.mark.parametrize(("head", "levels"), [("point", (0.5,)), ("quantile", (0.5,))])
def test_a_head_that_does_not_know_how_sure_it_is_draws_nothing(head: str, levels: tuple[float, ...]) -> None:
    model = NeuralForecaster(NETWORK, horizon=H, input_length=12, head=head, levels=levels, training={"steps": 4})
    model.fit(Panel.from_frame(autoregressive(2), freq=1))
    with pytest.raises(ArgumentError, match=r"sample needs a head that says how sure it is.*head='student_t'"):
        model.sample()


def test_paths_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = learned()
    monkeypatch.setattr(model.transform_, "inverse", lambda steps, history: np.where(steps > 0, np.inf, steps))
    with pytest.raises(ForecastError, match="GRU returned values that are not finite for 40 series: 's000', "):
        model.sample(200)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="paths must be a whole number, at least 1; got 0"):
        learned().sample(0)
    with pytest.raises(ArgumentError, match="was fitted for 6 steps ahead, 7 were asked for"):
        learned().sample(horizon=7)
    with pytest.raises(NotFittedError):
        NeuralForecaster(NETWORK, horizon=H).sample()
