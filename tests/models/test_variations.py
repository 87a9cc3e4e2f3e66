"""Variations: against loops that build the same forecasters by hand."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_kit import (
    SES,
    Ensemble,
    Forecaster,
    Naive,
    NeuralForecaster,
    Panel,
    Recurrent,
    SeasonalNaive,
    TrainingSpec,
    WindowAverage,
    variations,
)
from forecast_kit.errors import ArgumentError, ConfigError
from forecast_kit.jobs.config import read_job

M, H, LEVELS = 4, 3, (0.1, 0.5, 0.9)


def panel(*lengths: int) -> Panel:
    rng = np.random.default_rng(5)
    frames = []
    for k, length in enumerate(lengths or (24, 31, 40)):
        t = np.arange(length)
        y = 10.0 * (k + 1) + 3.0 * np.sin(2 * np.pi * t / M) + rng.normal(0.0, 1.0, length)
        frames.append(pd.DataFrame({"unique_id": f"s{k}", "ds": t, "y": y}))
    return Panel.from_frame(pd.concat(frames), freq=1, season_length=M)


def tiny(network: Any = "gru", **fields: Any) -> NeuralForecaster:
    return NeuralForecaster(network, **{"horizon": H, "input_length": 8, "training": {"steps": 2}, **fields})


# ---- every combination


def test_every_combination_is_there_once_and_in_order() -> None:
    found = variations(WindowAverage(1), window=(2, 3, 5), season_length=(1, None), horizon=[7])
    expected = {}
    for window in (2, 3, 5):
        for season in (1, None):
            name = f"WindowAverage window={window}, season_length={season}, horizon=7"
            expected[name] = WindowAverage(window, season_length=season, horizon=7)
    assert list(found) == list(expected)
    assert [one.get_params() for one in found.values()] == [one.get_params() for one in expected.values()]
    assert len({id(one) for one in found.values()}) == 6


def test_arguments_of_a_network_are_reached() -> None:
    found = variations(tiny(), training__seed=range(2), network__units=np.array([3, 4]), input_length=(8, 12))
    assert list(found)[:3] == [
        "GRU seed=0, units=3, input_length=8", "GRU seed=0, units=3, input_length=12",
        "GRU seed=0, units=4, input_length=8",
    ]  # fmt: skip
    for k, one in enumerate(found.values()):
        assert isinstance(one, NeuralForecaster)
        seed, units, length = k // 4, (3, 4)[k // 2 % 2], (8, 12)[k % 2]
        assert (one.training.seed, one.training.steps, one.input_length) == (seed, 2, length)
        assert one.network == {"network": "gru", "units": units}
        assert type(one.network["units"]) is int
        assert one._network.units == units  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("forecaster", "alternatives", "names"),
    [
        (tiny(), {"network": ("gru", "lstm")}, ["GRU network=gru", "LSTM network=lstm"]),
        (tiny(), {"network": [Recurrent("gru", units=2), Recurrent("gru", units=3)]},
         ["GRU network=Recurrent(cell=gru, units=2)", "GRU network=Recurrent(cell=gru, units=3)"]),
        (tiny(), {"training": [TrainingSpec(), {"steps": 3}]}, ["GRU training=TrainingSpec", "GRU training=(steps=3)"]),
        (tiny(), {"head": ["quantile", {"head": "point", "loss": "huber"}]},
         ["GRU head=quantile", "GRU head=point(loss=huber)"]),
        (tiny(), {"levels": [(0.1, 0.9), [0.5]]}, ["GRU levels=[0.1, 0.9]", "GRU levels=[0.5]"]),
        (tiny(), {"training__learning_rate": (0.001, 1e-5)}, ["GRU learning_rate=0.001", "GRU learning_rate=1e-05"]),
        (Ensemble({"a": SES(), "b": SES(0.1)}), {"members__a__alpha": [0.3], "members__b__alpha": [0.2, 0.4]},
         [f"Ensemble members.a.alpha=0.3, members.b.alpha={alpha}" for alpha in (0.2, 0.4)]),
        (Ensemble(["Naive"]), {"members": [[Naive()], [WindowAverage(2)]]},
         ["Ensemble members=[Naive(horizon=None)]",
          "Ensemble members=[WindowAverage(window=2, season_length=1, horizon=None)]"]),
        ({"forecaster": "WindowAverage", "window": 1}, {"window": [2]}, ["WindowAverage window=2"]),
        ("Naive", {"horizon": [2]}, ["Naive horizon=2"]),
    ],
)  # fmt: skip
def test_names_tell_what_differs(forecaster: Any, alternatives: dict[str, Any], names: list[str]) -> None:
    assert list(variations(forecaster, **alternatives)) == names


@pytest.mark.parametrize(
    ("alternatives", "message"),
    [
        ({}, "nothing is varied; name at least one argument"),
        ({"windw": (2, 3)}, r"WindowAverage windw=2: WindowAverage has no argument 'windw'.*Did you mean 'window'"),
        ({"window": ()}, "window needs at least one value, got none"),
        ({"window": 3}, r"window needs its values in a list, got 3; for a single one write window=\[...\]"),
        ({"window": "23"}, "window needs its values in a list, got '23'"),
        ({"window": {2, 3}}, "window needs its values in a list"),
        ({"window": {"a": 3}}, "window needs its values in a list"),
        ({"window": (2, 3, 2)}, "more than once there is 'window=2'"),
        ({"window": (2, 0)}, "^WindowAverage window=0: window must be a whole number"),
    ],
)
def test_what_cannot_be_varied_is_refused(alternatives: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        variations(WindowAverage(1), **alternatives)


# ---- as members


def by_hand() -> list[Forecaster]:
    return [WindowAverage(window, season_length=season) for window in (1, 2, 4) for season in (1, None)]


@pytest.mark.parametrize("combine", ["mean", "median"])
def test_an_ensemble_of_variations_is_the_middle_of_them(combine: Any) -> None:
    members = variations(WindowAverage(1), window=(1, 2, 4), season_length=(1, None))
    ours = Ensemble(members, combine=combine).fit(panel()).predict(H, levels=LEVELS)
    theirs = [one.fit(panel()).predict(H, levels=LEVELS) for one in by_hand()]
    middle = getattr(statistics, combine)
    for i in range(3):
        for h in range(H):
            assert ours.mean[i, h] == pytest.approx(middle(f.mean[i, h] for f in theirs))
            for k in range(len(LEVELS)):
                assert ours.quantiles[i, h, k] == pytest.approx(middle(f.quantiles[i, h, k] for f in theirs))


VARY = {"window": [1, 2, 4], "season_length": [1, None]}
VARIED = {"base": {"forecaster": "WindowAverage", "window": 9}, "vary": VARY}


@pytest.mark.parametrize("combine", ["mean", "median", "inverse_error"])
def test_a_described_ensemble_of_variations_lives_like_one_of_forecasters(combine: Any, tmp_path: Path) -> None:
    described = Ensemble(VARIED, combine=combine, horizon=H)
    built = Ensemble(variations(WindowAverage(9), **VARY), combine=combine, horizon=H)
    ours, theirs = (one.fit(panel()).predict(levels=LEVELS) for one in (described, built))
    assert list(described.members_) == list(built.members_)
    np.testing.assert_array_equal(described.weights_, built.weights_)
    np.testing.assert_array_equal(ours.mean, theirs.mean)
    np.testing.assert_array_equal(ours.quantiles, theirs.quantiles)
    again = Ensemble(**json.loads(json.dumps(described.describe())))
    assert again.describe() == described.describe()
    described.save(tmp_path / "m", history=True)
    loaded = Forecaster.load(tmp_path / "m")
    assert loaded.describe() == described.describe()
    np.testing.assert_allclose(loaded.predict(levels=LEVELS).quantiles, ours.quantiles)


def test_variations_stand_where_a_member_may() -> None:
    some = {"base": SES(), "vary": {"alpha": (0.1, 0.3)}}
    listed = Ensemble(["Naive", some, SES(0.2), some])
    assert list(listed.fit(panel()).members_) == [
        "Naive", "SES alpha=0.1", "SES alpha=0.3", "SES", "SES alpha=0.1 2", "SES alpha=0.3 2",
    ]  # fmt: skip
    called = Ensemble({"slow": some, "naive": "Naive"}).fit(panel())
    assert list(called.members_) == ["slow alpha=0.1", "slow alpha=0.3", "naive"]
    assert [m.alpha for m in called.members_.values() if isinstance(m, SES)] == [0.1, 0.3]


def test_two_forecasters_may_be_called_base_and_vary() -> None:
    for vary in ("Naive", Naive(), {"forecaster": "Naive"}):
        assert list(Ensemble({"base": "SES", "vary": vary}).fit(panel()).members_) == ["base", "vary"]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"base": "SES", "vary": ["alpha"]}, "vary must hold a list of values for each argument"),
        ({"base": "SES", "vary": {"alpha": 0.1}}, "vary must hold a list of values for each argument"),
        ({"base": "SES", "vary": {"alpha": range(3)}}, "vary must hold a list of values for each argument"),
        ({"base": "SES", "vary": {}}, "nothing is varied"),
        ({"base": "SES", "vary": {"alhpa": [0.1]}}, "SES has no argument 'alhpa'.*Did you mean 'alpha'"),
        ([{"base": "SSE", "vary": {"alpha": [0.1]}}], "unknown forecaster 'SSE'"),
        ([{"base": "SES"}], "a forecaster is one that was built"),
    ],
)
def test_variations_that_are_none_are_refused(members: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Ensemble(members)


def test_members_with_other_seeds_learn_other_things() -> None:
    base = tiny({"cell": "gru", "units": 2, "hidden": 2, "segment": 4}, levels=(0.1, 0.9))
    model = Ensemble({"base": base, "vary": {"training__seed": [0, 1]}}, combine="median")
    fitted = model.fit(panel())
    means = np.stack([one.predict(H).mean for one in fitted.members_.values()])
    assert np.abs(means[0] - means[1]).max() > 0
    np.testing.assert_allclose(fitted.predict().mean, np.median(means, axis=0))


# ---- in a job

JOB = """
name: nightly
data: {path: sales.csv, schema: {freq: h}}
baselines: {naive: {forecaster: SeasonalNaive}}
candidates:
  many:
    forecaster: Ensemble
    combine: median
    members:
      base: {forecaster: NeuralForecaster, network: gru}
      vary:
        training__seed: [0, 1]
        network__units: [4, 8]
        head: [quantile, {head: point, loss: huber}]
backtest: {horizon: 24, levels: [0.005, 0.5]}
register: {name: sales}
"""


def test_a_job_says_it_in_yaml(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    model = read_job(tmp_path / "job.yaml").forecasters()["many"]
    assert isinstance(model, Ensemble)
    members = list(model._members.values())
    assert len(members) == 8
    assert all(isinstance(one, NeuralForecaster) and one.horizon == 24 and one.levels[0] == 0.005 for one in members)
    assert list(model._members)[-1] == "GRU seed=1, units=8, head=point(loss=huber)"
    (tmp_path / "job.yaml").write_text(JOB.replace("network__units", "network__untis"))
    with pytest.raises(ConfigError, match=r"candidates.many: GRU seed=0, untis=4, .*unknown key 'untis'.*mean 'units'"):
        read_job(tmp_path / "job.yaml")


def test_variations_are_compared_by_a_backtest() -> None:
    from forecast_kit import RollingOrigin, backtest

    models = {"naive": SeasonalNaive(), **variations(WindowAverage(1), window=(1, 4))}
    board = backtest(models, panel(), RollingOrigin(H, folds=2)).leaderboard("naive")
    assert set(board["model"]) == {"naive", "WindowAverage window=1", "WindowAverage window=4"}
