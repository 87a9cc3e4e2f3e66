"""Fine-tuning: on other series, from the weights that were learned, with some of them frozen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_kit import Forecaster, NeuralForecaster, Panel
from forecast_kit.core.forecaster import FitProgress
from forecast_kit.errors import ArgumentError, NotFittedError, TrainingError

H = 12


def saws(count: int, seed: int, unit: float = 1.0) -> pd.DataFrame:
    """Saw teeth of twelve steps with a phase, a level and a height of their own."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(count):
        t = np.arange(96) + rng.integers(12)
        y = unit * (rng.uniform(5, 10) + rng.uniform(1, 3) * (t % 12) / 12 + rng.normal(0, 0.05, len(t)))
        frames.append(pd.DataFrame({"unique_id": f"{seed}-{k:02}", "ds": np.arange(96), "y": y}))
    return pd.concat(frames, ignore_index=True)


def panel_of(rows: pd.DataFrame, **fields: Any) -> Panel:
    return Panel.from_frame(rows, freq=1, season_length=12, **fields)


def forecaster(steps: int = 8, **changes: Any) -> NeuralForecaster:
    # Without the look back a network has to learn what a season is.
    network = {"cell": "gru", "units": 8, "hidden": 16, "segment": 12, "lookback": False}
    training = {"steps": steps, "batch_size": 16, "learning_rate": 0.01}
    return NeuralForecaster(**{"network": network, "horizon": H, "input_length": 36, "training": training, **changes})


def error(model: NeuralForecaster, rows: pd.DataFrame) -> float:
    early, late = panel_of(rows).split(H)
    return float(np.abs(model.predict(history=early).mean - late.y.reshape(-1, H)).mean())


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], NeuralForecaster]:
    """A network that has learned from twenty series, as often as it is wanted, from an artefact."""
    folder = tmp_path_factory.mktemp("learned") / "m"
    forecaster(400).fit(panel_of(saws(20, 1))).save(folder, history=True)

    def load() -> NeuralForecaster:
        model = Forecaster.load(folder)
        assert isinstance(model, NeuralForecaster)
        return model

    return load


def weights(model: NeuralForecaster) -> dict[str, np.ndarray]:
    return {
        layer.name: np.concatenate([w.ravel() for w in layer.get_weights()])
        for layer in model.model_.layers
        if layer.get_weights()
    }


def test_a_network_that_has_learned_before_needs_fewer_steps(learned: Callable[[], NeuralForecaster]) -> None:
    rows = saws(2, 2, unit=50.0)
    early = panel_of(rows).split(H)[0]
    steps = {"steps": 30, "learning_rate": 0.002}
    tuned = learned().fine_tune(early, training=steps)
    fresh = forecaster(30).fit(early)
    assert error(tuned, rows) < 0.6 * error(fresh, rows)
    assert error(tuned, rows) < error(learned(), rows)


def test_it_goes_on_from_the_weights_that_were_there(learned: Callable[[], NeuralForecaster]) -> None:
    """With a rate of next to nothing they stay; the transform is the new panel's."""
    model, panel = learned(), panel_of(saws(2, 2, unit=50.0))
    before = weights(model)
    tuned = model.fine_tune(panel, training={"steps": 1, "learning_rate": 1e-30})
    assert tuned is model
    for name, after in weights(model).items():
        np.testing.assert_array_equal(after, before[name])
    assert model.transform_.stages_[0].ids_.tolist() == panel.ids.tolist()
    assert model.history_ is not None
    assert model.history_.ids.tolist() == panel.ids.tolist()
    assert model.predict().mean.shape == (2, H)


@pytest.mark.parametrize(
    ("freeze", "still"),
    [
        ("encoder", {"encoder_0"}), (("encoder_0", "decoder_steps"), {"encoder_0", "decoder_steps"}),
        ("decoder", {"decoder_hidden", "decoder_steps"}), ((), set()),
    ],
)  # fmt: skip
def test_frozen_layers_keep_their_weights_and_the_others_do_not(
    learned: Callable[[], NeuralForecaster], freeze: Any, still: set[str]
) -> None:
    model = learned()
    before = weights(model)
    model.fine_tune(panel_of(saws(2, 3)), freeze=freeze, training={"steps": 4, "weight_decay": 0.1})
    after = weights(model)
    assert {name for name in after if np.array_equal(after[name], before[name])} == still
    assert all(layer.trainable for layer in model.model_.layers)
    assert ("not trained" in model.fit_report) == bool(still)


def test_unknown_layers_are_refused_with_those_that_there_are(learned: Callable[[], NeuralForecaster]) -> None:
    panel = panel_of(saws(2, 3))
    with pytest.raises(ArgumentError, match=(
        r"there is no layer 'encodr' to freeze; those with weights are encoder_0, decoder_hidden, decoder_steps\. Did"
    )):  # fmt: skip
        learned().fine_tune(panel, freeze="encodr")
    with pytest.raises(ArgumentError, match="there is no layer '' to freeze"):
        learned().fine_tune(panel, freeze=["encoder", ""])
    with pytest.raises(ArgumentError, match="freeze=encoder, decoder leaves nothing to train"):
        learned().fine_tune(panel, freeze=("encoder", "decoder"))


def test_what_does_not_fit_is_refused_and_changes_nothing(learned: Callable[[], NeuralForecaster]) -> None:
    model, rows = learned(), saws(2, 3)
    before, forecast = weights(model), model.predict()
    with pytest.raises(ArgumentError, match="the panel has season_length=6, but the network was trained with season"):
        model.fine_tune(Panel.from_frame(rows, freq=1, season_length=6))
    with pytest.raises(ArgumentError, match=r"the panel has past=\('x',\), but the network was trained with past=\(\)"):
        model.fine_tune(panel_of(rows.assign(x=0.0), past=("x",)))
    with pytest.raises(ArgumentError, match="fine_tune takes a Panel, got DataFrame"):
        model.fine_tune(rows)
    with pytest.raises(ArgumentError, match="unknown key 'step'; TrainingSpec takes .* Did you mean 'steps'"):
        model.fine_tune(panel_of(rows), training={"step": 3})
    with pytest.raises(ArgumentError, match="goes on in the precision that the network was built in"):
        model.fine_tune(panel_of(rows), training={"precision": "mixed_bfloat16"})
    with pytest.raises(TrainingError):
        model.fine_tune(panel_of(rows), training={"optimizer": "sgd", "learning_rate": 1e20, "clip_norm": None})
    for name, after in weights(model).items():
        np.testing.assert_array_equal(after, before[name])
    np.testing.assert_array_equal(model.predict().mean, forecast.mean)
    with pytest.raises(NotFittedError):
        forecaster().fine_tune(panel_of(rows))


def test_its_training_is_the_forecasters_own_but_for_what_is_given(learned: Callable[[], NeuralForecaster]) -> None:
    model, events = learned(), list[FitProgress]()
    model.fine_tune(panel_of(saws(2, 3)), training={"steps": 20}, callbacks=(events.append,))
    assert [event.done for event in events] == [16, 20]
    assert model.describe() == learned().describe()


def test_a_refit_is_not_part_of_what_is_taken_over() -> None:
    spec = {"steps": 8, "batch_size": 16, "validation": 1, "refit": True}
    model = forecaster(training=spec).fit(panel_of(saws(2, 1)))
    assert "trained again" not in model.fine_tune(panel_of(saws(2, 3))).fit_report


def test_it_is_judged_by_held_out_windows_too(learned: Callable[[], NeuralForecaster]) -> None:
    model = learned()
    training = {"steps": 64, "validation": 1, "patience": 1, "evaluations": 4, "learning_rate": 1.0}
    model.fine_tune(panel_of(saws(4, 3)), training=training)
    held = model.curve_[:, 2]
    assert np.isfinite(held).all()
    assert "judged by 4 later windows of 4 series" in model.fit_report
    early, late = panel_of(saws(4, 4)).split(H)
    model.fine_tune(early, validation=late, training={"steps": 4, "evaluations": 1})
    assert np.isfinite(model.curve_[:, 2]).all()


def test_an_interrupt_keeps_what_was_learned(learned: Callable[[], NeuralForecaster]) -> None:
    def stop(event: FitProgress) -> None:
        raise KeyboardInterrupt

    model, panel = learned(), panel_of(saws(2, 3))
    before = weights(model)
    with pytest.raises(KeyboardInterrupt):
        model.fine_tune(panel, training={"steps": 64}, callbacks=(stop,))
    assert all(not np.array_equal(after, before[name]) for name, after in weights(model).items())
    assert model.predict().ids.tolist() == panel.ids.tolist()


def test_vocabularies_and_scales_of_covariates_stay_as_they_were() -> None:
    def rows(seed: int, kinds: list[str], level: float) -> pd.DataFrame:
        found = saws(2, seed)
        return found.assign(kind=np.resize(kinds, len(found)), x=level + np.sin(found["ds"]))

    fields = {"future": ("kind", "x"), "categorical": ("kind",)}
    model = forecaster().fit(panel_of(rows(1, ["u", "v"], 0.0), **fields))
    before = model.covariates_.to_dict()
    model.fine_tune(panel_of(rows(2, ["v", "w"], 100.0), **fields), training={"steps": 4})
    assert model.covariates_.to_dict() == before


def test_a_tuned_forecaster_goes_through_an_artefact(learned: Callable[[], NeuralForecaster], tmp_path: Path) -> None:
    model = learned().fine_tune(panel_of(saws(2, 3)), freeze="encoder", training={"steps": 8})
    model.save(tmp_path / "tuned", history=True)
    np.testing.assert_allclose(Forecaster.load(tmp_path / "tuned").predict().mean, model.predict().mean, rtol=1e-6)


def test_every_layer_with_weights_can_be_named() -> None:
    fields = {"future": ("x",), "static": ("size",)}
    panel = panel_of(saws(2, 1).assign(x=0.5, size=1.0), **fields)
    network = {"cell": "lstm", "units": 4, "hidden": 8, "layers": 2, "filters": 4, "bidirectional": True,
               "pooling": "attention", "segment": 12}  # fmt: skip
    model = forecaster(1, network=network).fit(panel)
    assert set(weights(model)) >= {
        "encoder_convolution", "encoder_0", "encoder_1", "encoder_pooling", "decoder_hidden", "decoder_steps",
        "decoder_context", "decoder_future", "decoder_correction",
    }  # fmt: skip
    assert all(name.startswith(("encoder_", "decoder_", "seasonal_lookback")) for name in weights(model))
