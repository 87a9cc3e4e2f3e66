"""Neural forecasters beyond the contract that all forecasters share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from forecast_kit import Forecaster, NeuralForecaster, Panel, RollingOrigin, SeasonalNaive, backtest
from forecast_kit.core.forecaster import FitProgress
from forecast_kit.data.transforms import STAGES, Standard
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, SchemaError
from forecast_kit.nn.networks import NETWORKS, Recurrent

TINY = {"cell": "gru", "units": 4, "hidden": 8, "segment": 24}


def tiny(steps: int = 4, **changes) -> NeuralForecaster:
    arguments = {"horizon": 24, "input_length": 48, "training": {"steps": steps, "batch_size": 8}, **changes}
    return NeuralForecaster(arguments.pop("network", TINY), **arguments)


def rising_waves(series: int = 12, days: int = 14) -> pd.DataFrame:
    """Daily waves on slopes of their own: repeating yesterday is always a day's rise too low or too high."""
    rng = np.random.default_rng(11)
    steps = np.arange(24 * days)
    frames = []
    for k in range(series):
        y = 50 + rng.normal(0, 0.3) * steps + 8 * np.sin(2 * np.pi * (steps + 24 * rng.random()) / 24)
        frames.append(pd.DataFrame({"unique_id": f"s{k:02d}", "ds": steps, "y": y + rng.normal(0, 0.2, len(steps))}))
    return pd.concat(frames, ignore_index=True)


def test_a_short_training_beats_the_seasonal_naive_forecast_on_rising_waves() -> None:
    panel = Panel.from_frame(rising_waves(), freq=1, season_length=24)
    network = {"cell": "lstm", "units": 16, "hidden": 32, "segment": 24}
    candidate = tiny(network=network, input_length=72, training={"steps": 250, "batch_size": 32, "learning_rate": 1e-2})
    result = backtest({"lstm": candidate, "naive": SeasonalNaive()}, panel, RollingOrigin(24))
    board = result.leaderboard("naive").set_index("model")
    assert board.loc["lstm", "skill"] > 0.3


def test_known_future_covariates_are_put_to_use() -> None:
    """The target jumps wherever the covariate does: nobody can know that from the past."""
    rng = np.random.default_rng(12)
    frame = rising_waves(8)
    frame["promotion"] = (rng.random(len(frame)) < 0.3).astype(float)
    frame["y"] += 30 * frame["promotion"]
    arguments = {"input_length": 48, "training": {"steps": 400, "batch_size": 32, "learning_rate": 1e-2}}
    scores = {}
    for columns in ((), ("promotion",)):
        panel = Panel.from_frame(frame, freq=1, season_length=24, future=columns)
        network = {"cell": "gru", "units": 16, "hidden": 32, "segment": 24}
        scores[columns] = (
            backtest({"m": tiny(network=network, **arguments)}, panel, RollingOrigin(24)).scores["mae"].mean()
        )
    assert scores[("promotion",)] < 0.5 * scores[()]


def test_future_covariates_must_be_given_and_complete() -> None:
    frame = rising_waves(3).assign(holiday=0.0)
    panel = Panel.from_frame(frame, freq=1, season_length=24, future=("holiday",))
    model = tiny().fit(panel)
    with pytest.raises(SchemaError, match="'holiday' are needed for the next 24 steps"):
        model.predict()
    ahead = panel.future_frame(24).fillna(0.0)
    with pytest.raises(DataError, match="lacks 1 values of 'holiday': s02 from 359 to 359"):
        model.predict(future=ahead.iloc[:-1])
    assert model.predict(future=ahead).mean.shape == (3, 24)
    short = model.predict(5, future=panel.future_frame(5).fillna(0.0))
    np.testing.assert_allclose(short.mean, model.predict(future=ahead).mean[:, :5], rtol=1e-6)


@pytest.mark.parametrize("network", ["gru", "segrnn", "encoder_decoder", "recursive"])
def test_what_is_known_after_the_horizon_that_is_asked_for_counts(network: str) -> None:
    """A network that looks at several steps at once must forecast the first ones alike, however many are asked for."""
    rng = np.random.default_rng(5)
    frame = rising_waves(3).assign(promo=lambda f: (rng.random(len(f)) < 0.3).astype(float))
    panel = Panel.from_frame(frame, freq=1, season_length=12, future=("promo",))
    model = NeuralForecaster(
        {"network": network, "units": 4}, horizon=24, input_length=48, training={"steps": 3, "batch_size": 8}
    ).fit(panel)
    ahead = panel.future_frame(24)
    ahead["promo"] = np.arange(len(ahead)) % 24 >= 2  # it begins after the steps that are asked for below
    whole = model.predict(future=ahead.astype({"promo": float})).mean
    few = model.predict(2, future=ahead.astype({"promo": float})).mean
    np.testing.assert_allclose(few, whole[:, :2], rtol=1e-5)
    # Where nobody knows more, the last known step goes on; and each series by itself.
    known = ahead.groupby("unique_id").head(2).astype({"promo": float})
    going_on = model.predict(future=ahead.assign(promo=0.0)).mean[:, :2]
    np.testing.assert_allclose(model.predict(2, future=known).mean, going_on, rtol=1e-5)
    mixed = pd.concat([known, ahead[ahead["unique_id"] == "s01"].astype({"promo": float})]).drop_duplicates(
        ["unique_id", "ds"]
    )
    found = model.predict(2, future=mixed).mean
    np.testing.assert_allclose(found, np.stack([going_on[0], whole[1, :2], going_on[2]]), rtol=1e-5)


def test_series_never_seen_are_forecast_from_their_history() -> None:
    frame = rising_waves(5)
    known = Panel.from_frame(frame[frame["unique_id"] < "s04"], freq=1, season_length=24)
    unknown = Panel.from_frame(
        frame[frame["unique_id"] == "s04"].assign(y=lambda d: 1e4 + d["y"]), freq=1, season_length=24
    )
    forecast = tiny().fit(known).predict(history=unknown)
    assert forecast.ids.tolist() == ["s04"]
    assert (np.abs(forecast.mean - unknown.y[-24:].mean()) < 500).all()


def test_a_history_shorter_than_the_input_is_padded() -> None:
    panel = Panel.from_frame(rising_waves(4), freq=1, season_length=24)
    model = tiny().fit(panel)
    assert np.isfinite(model.predict(history=panel.tail(7)).mean).all()


class Shifted(Standard):
    """A stage that no registry knows."""

    name = "shifted"


@dataclass(frozen=True, kw_only=True)
class Mine(Recurrent):
    """A network that no registry knows."""

    kind: ClassVar[str] = "mine"


def test_what_could_not_be_loaded_again_is_not_saved_until_it_can(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    panel = Panel.from_frame(rising_waves(3), freq=1, season_length=24)
    model = tiny(network=Mine(units=4), transform=["mean_abs", Shifted()]).fit(panel)
    judged = backtest({"mine": model}, panel, RollingOrigin(24))  # which measures how large it is
    assert judged.timings["size_mb"].isna().all()
    assert judged.scores["mae"].notna().all()
    with pytest.raises(ArtifactError, match=r"network Mine it could not be loaded.*NETWORKS\['mine'\] = Mine"):
        model.save(tmp_path / "kept")
    monkeypatch.setitem(NETWORKS, "mine", Mine)
    with pytest.raises(ArtifactError, match="stages 'shifted' it could not be loaded again"):
        model.save(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    monkeypatch.setitem(STAGES, "shifted", Shifted)
    model.save(tmp_path / "kept", history=True)
    np.testing.assert_array_equal(Forecaster.load(tmp_path / "kept").predict().mean, model.predict().mean)


def test_horizons_and_levels_beyond_the_trained_ones_are_refused() -> None:
    model = tiny(levels=(0.1, 0.9)).fit(Panel.from_frame(rising_waves(3), freq=1, season_length=24))
    assert model.levels == (0.1, 0.5, 0.9)
    with pytest.raises(ArgumentError, match="was fitted for 24 steps ahead, 25 were asked for"):
        model.predict(25)
    with pytest.raises(ArgumentError, match=r"learned the levels 0.1 to 0.9, \[0.95\] lie outside"):
        model.predict(levels=(0.5, 0.95))


def test_progress_reaches_the_callbacks() -> None:
    events: list[FitProgress] = []
    tiny(steps=20).fit(Panel.from_frame(rising_waves(3), freq=1, season_length=24), callbacks=(events.append,))
    assert [event.done for event in events] == [16, 20]
    assert all(event.total == 20 and event.logs["loss"] > 0 for event in events)


@pytest.mark.parametrize("transform", ["standard", "minmax", (), ["log1p", {"stage": "difference", "lag": 1}]])
def test_every_transform_gives_forecasts_in_the_unit_of_the_data(transform: Any) -> None:
    frame = rising_waves(4)
    panel = Panel.from_frame(frame.assign(y=frame["y"] + 500), freq=1, season_length=24)
    mean = tiny(transform=transform).fit(panel).predict().mean
    last = np.stack([y[-48:] for _, y in panel.series])
    spread = last.max(axis=1) - last.min(axis=1)
    assert (np.abs(mean - last.mean(axis=1, keepdims=True)) < 2 * spread[:, None]).all()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"network": {"cel": "gru"}}, "unknown key 'cel'; Recurrent takes .*Did you mean 'cell'"),
        ({"network": "grx"}, "unknown network 'grx'; known are rnn, lstm, .* Did you mean 'gru'"),
        ({"network": 3}, "a network is named by a preset .* or described by a mapping"),
        ({"head": "quantiles"}, "head must be one of .* Did you mean 'quantile'"),
        ({"training": {"step": 3}}, "unknown key 'step'; TrainingSpec takes .*Did you mean 'steps'"),
        ({"horizon": 0}, "horizon must be a whole number, at least 1"),
        ({"input_length": 0}, "input_length must be a whole number, at least 1"),
        ({"levels": (0.0, 0.5)}, "strictly between 0 and 1"),
        ({"transform": "robst"}, "unknown stage .robst.; known are .* Did you mean .robust."),
    ],
)
def test_bad_arguments_are_refused_at_construction(changes: dict, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        tiny(**changes)


@pytest.mark.parametrize("head", ["point", "normal", "student_t", "log_normal", "negative_binomial"])
def test_every_head_forecasts_in_the_unit_of_the_data(head: str, tmp_path: Path) -> None:
    frame = rising_waves(4)
    panel = Panel.from_frame(frame.assign(y=(frame["y"] + 500).round()), freq=1, season_length=24)
    model = tiny(head=head, levels=(0.5,)).fit(panel)
    levels = () if head == "point" else (0.001, 0.2, 0.5)
    forecast = model.predict(levels=levels)
    assert (np.abs(forecast.mean - panel.y.mean()) < 300).all()
    assert (np.diff(forecast.quantiles, axis=-1) >= 0).all()
    model.save(tmp_path / "model", history=True)
    np.testing.assert_array_equal(Forecaster.load(tmp_path / "model").predict(levels=levels).mean, forecast.mean)


def test_counts_are_forecast_as_counts() -> None:
    rng = np.random.default_rng(3)
    frame = rising_waves(4).assign(y=lambda d: rng.poisson(2.0, len(d)))
    quantiles = tiny(head="negative_binomial").fit(Panel.from_frame(frame, freq=1, season_length=24)).predict(
        levels=(0.1, 0.9)
    ).quantiles  # fmt: skip
    assert (quantiles >= 0).all()
    np.testing.assert_array_equal(quantiles, quantiles.round())


def test_a_point_forecast_has_no_quantiles() -> None:
    model = tiny(head="point").fit(Panel.from_frame(rising_waves(2), freq=1, season_length=24))
    with pytest.raises(ArgumentError, match="learned a point forecast and no quantiles; take head='quantile'"):
        model.predict(levels=(0.1,))


def test_targets_with_a_zero_are_not_shifted() -> None:
    assert tiny(head="log_normal")._network.normalize == "mean"
    with pytest.raises(ArgumentError, match=r"NegativeBinomialHead is for counts targets, .* not 'standard'"):
        tiny(head="negative_binomial", transform="standard")
    tiny(head="negative_binomial", transform="mean_abs")
    shifted = tiny(head="negative_binomial", network={**TINY, "normalize": "season"})
    with pytest.raises(ArgumentError, match="needs a network with normalize='mean' or 'none', got 'season'"):
        shifted.fit(Panel.from_frame(rising_waves(2), freq=1, season_length=24))
