"""Batches: the same whichever way Keras takes them."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest

from forecast_kit import Panel
from forecast_kit import typing as fk
from forecast_kit.data.covariates import CovariateEncoder
from forecast_kit.data.windows import WindowIndex, WindowSpec
from forecast_kit.models.loader import WindowLoader
from forecast_kit.nn.feeding import Batches, dataset, feed

STEPS = 5


@pytest.fixture
def loader() -> WindowLoader:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(["a", "b"], 40), "ds": np.tile(np.arange(40), 2), "y": rng.normal(size=80),
            "x": rng.normal(size=80), "kind": rng.choice(["u", "v"], 80),
        }
    )  # fmt: skip
    frame.loc[10:14, "y"] = np.nan
    panel = Panel.from_frame(
        frame, freq=1, gaps="mask", future=("x", "kind"), categorical=("kind",), calendar=("7:2",), season_length=7
    )
    encoder = CovariateEncoder().fit(panel)
    index = WindowIndex(panel, WindowSpec(14, 3))
    y = panel.y.astype(np.float32)
    return WindowLoader(encoder.transform(panel), y, index, batch_size=4, seed=1, calendar=encoder.calendar(panel, 0))


def assert_same(ours: tuple, theirs: tuple) -> None:
    assert list(ours[0]) == list(theirs[0])
    for name, array in ours[0].items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(theirs[0][name]), err_msg=name)
        assert np.asarray(array).dtype == np.float32
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))


def test_both_sources_give_the_batches_that_the_loader_draws(loader: WindowLoader) -> None:
    expected = [loader(k) for k in range(STEPS)]
    for source in (Batches(loader, STEPS), dataset(loader, STEPS)):
        assert len(source) == STEPS
        got = [source[k] for k in range(STEPS)] if isinstance(source, Batches) else list(source)
        for ours, theirs in zip(got, expected, strict=True):
            assert_same(ours, theirs)
    assert set(expected[0][0]) == {fk.PAST_Y, fk.PAST_OBSERVED, fk.PAST_X, fk.FUTURE_X}
    assert isinstance(Batches(loader, STEPS), keras.utils.PyDataset)


def test_a_network_trains_on_either_alike(loader: WindowLoader) -> None:
    losses = []
    for source in (Batches(loader, STEPS), feed(loader, STEPS)):
        inputs = {name: keras.Input(array.shape[1:], name=name) for name, array in loader(0)[0].items()}
        flat = keras.layers.Concatenate()([keras.layers.Flatten()(x) for x in inputs.values()])
        output = keras.layers.Reshape((3, 1))(keras.layers.Dense(3, kernel_initializer="zeros")(flat))
        model = keras.Model(inputs, output)
        model.compile("sgd", "mse")
        losses.append(model.fit(source, verbose=0, shuffle=False).history["loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0] > 0


def test_every_draw_of_a_step_is_the_same_and_steps_differ(loader: WindowLoader) -> None:
    assert_same(loader(3), loader(3))
    assert (loader(3)[0][fk.PAST_Y] != loader(4)[0][fk.PAST_Y]).any()
