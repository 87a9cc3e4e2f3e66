"""Ensembles against plain averages, and weights against a loop over the folds."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import (
    ETS,
    Drift,
    Forecast,
    Forecaster,
    HistoricAverage,
    Naive,
    NeuralForecaster,
    Panel,
    SeasonalNaive,
    WindowAverage,
)
from forecast_kit.core.forecaster import as_forecaster
from forecast_kit.errors import ArgumentError, ArtifactError, ForecastError, TimeIndexError, TooShortError
from forecast_kit.models.ensemble import Ensemble, inverse_weights

M, H, LEVELS = 4, 3, (0.05, 0.5, 0.9)
EVERY = ("mean", "median", "inverse_error")
every = pytest.mark.parametrize("combine", EVERY)


def frame(lengths: tuple[int, ...] = (24, 31, 40), seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frames = []
    for k, length in enumerate(lengths):
        t = np.arange(length)
        y = 10.0 * (k + 1) + k * t + 3.0 * np.sin(2 * np.pi * t / M) + rng.normal(0.0, 1.0, length)
        frames.append(pd.DataFrame({"unique_id": f"s{k}", "ds": t + k, "y": y}))
    return pd.concat(frames, ignore_index=True)


def panel(*lengths: int) -> Panel:
    return Panel.from_frame(frame(lengths or (24, 31, 40)), freq=1, season_length=M)


MEMBERS: dict[str, Forecaster] = {"naive": SeasonalNaive(), "drift": Drift(), "average": WindowAverage(3)}


def ensemble(combine: Any = "mean", **fields: Any) -> Ensemble:
    return Ensemble(MEMBERS, combine=combine, **{"horizon": H, **fields})


def assert_same(ours: Forecast, theirs: Forecast, tolerance: float = 1e-8) -> None:
    np.testing.assert_array_equal(ours.ids, theirs.ids)
    np.testing.assert_array_equal(ours.ds, theirs.ds)
    np.testing.assert_array_equal(ours.fallback, theirs.fallback)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.quantiles, theirs.quantiles, rtol=0, atol=tolerance)


# ---- combining


def alone() -> list[Forecast]:
    return [member.clone().fit(panel()).predict(H, levels=LEVELS) for member in MEMBERS.values()]


def test_the_mean_is_the_plain_average_of_means_and_of_quantiles() -> None:
    ours, theirs = ensemble().fit(panel()).predict(levels=LEVELS), alone()
    for i in range(3):
        for h in range(H):
            assert ours.mean[i, h] == pytest.approx(sum(f.mean[i, h] for f in theirs) / 3)
            for k in range(len(LEVELS)):
                assert ours.quantiles[i, h, k] == pytest.approx(sum(f.quantiles[i, h, k] for f in theirs) / 3)


def test_the_median_is_the_middle_one_step_by_step() -> None:
    ours, theirs = ensemble("median").fit(panel()).predict(levels=LEVELS), alone()
    for i in range(3):
        for h in range(H):
            assert ours.mean[i, h] == statistics.median(f.mean[i, h] for f in theirs)
            for k in range(len(LEVELS)):
                assert ours.quantiles[i, h, k] == statistics.median(f.quantiles[i, h, k] for f in theirs)


@every
def test_an_ensemble_of_one_is_its_member(combine: Any) -> None:
    one = Ensemble([Drift()], combine=combine, horizon=H).fit(panel()).predict(levels=LEVELS)
    assert_same(one, Drift().fit(panel()).predict(H, levels=LEVELS))


@every
def test_the_order_of_the_members_does_not_matter(combine: Any) -> None:
    turned = Ensemble(dict(reversed(MEMBERS.items())), combine=combine, horizon=H)
    assert_same(turned.fit(panel()).predict(levels=LEVELS), ensemble(combine).fit(panel()).predict(levels=LEVELS), 1e-9)


@every
def test_quantiles_never_cross(combine: Any) -> None:
    levels = np.linspace(0.01, 0.99, 41)
    forecast = ensemble(combine).fit(panel()).predict(levels=levels)
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()


@every
def test_members_are_cloned(combine: Any) -> None:
    members = [SeasonalNaive(), Drift()]
    Ensemble(members, combine=combine, horizon=H).fit(panel())
    assert all(member.schema_ is None for member in members)


# ---- weights


def test_weights_are_those_of_a_loop_over_the_folds() -> None:
    """Two folds of three steps, a step of two apart, member by member and series by series."""
    rows = panel()
    expected = np.zeros((3, 3))
    for i, (name, y) in enumerate(rows.series):
        for m, member in enumerate(MEMBERS.values()):
            misses = []
            for cut in (len(y) - 5, len(y) - 3):
                train = Panel.from_frame(pd.DataFrame({"unique_id": name, "ds": range(cut), "y": y[:cut]}), freq=1,
                                         season_length=M)  # fmt: skip
                mean = member.clone().fit(train).predict(H).mean[0]
                misses += [abs(y[cut + h] - mean[h]) for h in range(H)]
            expected[i, m] = 1.0 / (sum(misses) / len(misses))
    expected /= expected.sum(axis=1, keepdims=True)
    fitted = ensemble("inverse_error", folds=2, step=2).fit(rows)
    np.testing.assert_allclose(fitted.weights_, expected, rtol=1e-10)
    forecast = fitted.predict(levels=LEVELS)
    means = np.stack([f.mean for f in alone()], axis=2)
    np.testing.assert_allclose(forecast.mean, (means * expected[:, None]).sum(axis=2))


def test_what_was_not_observed_counts_for_no_error() -> None:
    rows = frame((24,))
    rows.loc[[19, 22], "y"] = np.nan
    masked = Panel.from_frame(rows, freq=1, season_length=M, gaps="mask")
    errors = []
    for member in (Naive(), Drift()):
        misses = []
        for cut in (18, 21):
            mean = member.clone().fit(masked.before(np.array([cut - 1]))).predict(H).mean[0]
            misses += [abs(rows["y"][cut + h] - mean[h]) for h in range(H) if rows["y"].notna()[cut + h]]
        errors.append(sum(misses) / len(misses))
    fitted = Ensemble([Naive(), Drift()], combine="inverse_error", horizon=H).fit(masked)
    assert fitted.weights_[0, 0] / fitted.weights_[0, 1] == pytest.approx(errors[1] / errors[0])


@given(st.lists(st.lists(st.floats(0.0, 1e6), min_size=3, max_size=3), min_size=1, max_size=6))
@settings(deadline=None, max_examples=100)
def test_weights_add_up_to_one_and_the_better_member_weighs_no_less(errors: list[list[float]]) -> None:
    found = np.array(errors)
    own, all_series = inverse_weights(found)
    np.testing.assert_allclose(own.sum(axis=1), 1.0)
    np.testing.assert_allclose(all_series.sum(), 1.0)
    assert (own > 0).all()
    for i in range(len(found)):
        if found[i].max() > 0:
            order = np.argsort(found[i])
            assert (np.diff(own[i][order]) <= 1e-12).all()


def test_weights_by_hand() -> None:
    own, all_series = inverse_weights(np.array([[1.0, 3.0], [200.0, 200.0], [0.0, 5.0], [np.nan, 1.0], [0.0, 0.0]]))
    # Relative errors of the three series that have any: 0.5 1.5, 1 1, and 5 / 100 of 5 over their mean 2.525.
    relative = (0.5 + 1.0 + 0.05 / 2.525) / 3.0, (1.5 + 1.0 + 5.0 / 2.525) / 3.0
    first = (1 / relative[0]) / (1 / relative[0] + 1 / relative[1])
    np.testing.assert_allclose(all_series, [first, 1 - first])
    np.testing.assert_allclose(own, [[0.75, 0.25], [0.5, 0.5], [100 / 101, 1 / 101], all_series, all_series])


def test_series_too_short_for_the_folds_have_the_panels_weights() -> None:
    rows = panel(24, 31, 9)  # the folds take 6 rows, and a season of 4 before them
    fitted = ensemble("inverse_error").fit(rows)
    np.testing.assert_array_equal(fitted.weights_[2], fitted.panel_weights_)
    assert (fitted.weights_[:2] != fitted.panel_weights_).all()
    np.testing.assert_allclose(fitted.weights_.sum(axis=1), 1.0)


def test_series_never_seen_have_the_panels_weights() -> None:
    fitted = ensemble("inverse_error").fit(panel())
    rows = frame((20,)).assign(unique_id="new")
    forecast = fitted.predict(history=rows)
    means = [member.predict(H, history=rows).mean for member in fitted.members_.values()]
    np.testing.assert_allclose(forecast.mean, np.tensordot(fitted.panel_weights_, np.stack(means), 1))


def test_no_series_long_enough_is_told_with_what_to_do() -> None:
    with pytest.raises(TooShortError, match=r"needs series of at least 10 observations.*longest has 9. Lower folds"):
        ensemble("inverse_error").fit(panel(9, 8))


# ---- failing and falling back


def test_a_member_that_fell_back_is_named() -> None:
    rows = panel(24, 6)  # six rows are less than two seasons
    forecast = Ensemble([ETS(jobs=1), Drift()]).fit(rows).predict(H)
    assert forecast.fallback.tolist() == ["", "ETS: SeasonalNaive"]
    assert forecast.reason.tolist() == ["", "ETS: 6 observations are less than two seasons of 4 steps"]
    short = Ensemble({"a": SeasonalNaive(), "b": SeasonalNaive(7)}, combine="median").fit(panel(3)).predict(H)
    assert short.fallback.tolist() == ["a: Naive; b: Naive"]
    assert short.reason.tolist() == ["a: 3 of the 4 steps of a season; b: 3 of the 7 steps of a season"]


class Broken(Naive):
    """Returns no number."""

    def _predict(self, *args: Any) -> Any:
        done = super()._predict(*args)
        return type(done)(done.mean * np.nan, done.quantiles)


@every
def test_a_member_that_breaks_is_not_left_out(combine: Any) -> None:
    model = Ensemble({"good": Drift(), "bad": Broken()}, combine=combine, horizon=H)
    with pytest.raises(ForecastError, match=r"^bad.*: Broken returned values that are not finite for"):
        model.fit(panel()).predict()


def test_what_a_member_cannot_do_is_told_with_its_name() -> None:
    model = Ensemble({"s": ETS(seasonal=None, jobs=1), "d": Drift()}).fit(panel())
    with pytest.raises(ArgumentError, match="^s: ETS knows nothing of series 'new'"):
        model.predict(1, history=frame((20,)).assign(unique_id="new"))


# ---- the life of an artefact


@every
def test_a_loaded_ensemble_forecasts_the_same(combine: Any, tmp_path: Path) -> None:
    fitted = ensemble(combine).fit(panel())
    expected = fitted.predict(levels=LEVELS)
    fitted.save(tmp_path / "with", history=True)
    fitted.save(tmp_path / "without")
    alone = Forecaster.load(tmp_path / "with")
    assert isinstance(alone, Ensemble)
    assert_same(alone.predict(levels=LEVELS), expected)
    assert_same(Forecaster.load(tmp_path / "without").predict(levels=LEVELS, history=panel()), expected)
    np.testing.assert_array_equal(alone.weights_, fitted.weights_)
    alone.save(tmp_path / "again", history=True)
    assert_same(Forecaster.load(tmp_path / "again").predict(levels=LEVELS), expected)


def test_an_artefact_holds_rows_once_and_only_if_asked(tmp_path: Path) -> None:
    fitted = ensemble().fit(panel())
    fitted.save(tmp_path / "with", history=True)
    fitted.save(tmp_path / "without")
    assert [f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("history.npz")] == ["with/history.npz"]
    (tmp_path / "without" / "forecaster_1" / "forecaster.json").unlink()
    with pytest.raises(ArtifactError, match=r"it lacks 'forecaster_1/forecaster\.json'"):
        Forecaster.load(tmp_path / "without")


@every
def test_update_is_the_forecast_from_later_history(combine: Any, tmp_path: Path) -> None:
    cutoff = panel().last - np.array([5, 0, 2])
    members = {**MEMBERS, "ets": ETS(seasonal=None, jobs=1)}  # its states move
    early = Ensemble(members, combine=combine, horizon=H).fit(panel().before(cutoff))
    expected = early.predict(levels=LEVELS, history=panel())
    early.save(tmp_path / "with", history=True)
    early.save(tmp_path / "without")
    for loaded in ("with", "without"):
        later = Forecaster.load(tmp_path / loaded).update(panel())
        assert_same(later.predict(levels=LEVELS), expected)
        later.update(panel())  # nothing new
        assert_same(later.predict(levels=LEVELS), expected)
    steps = frame().assign(new=panel().row_steps > np.repeat(cutoff, panel().lengths))
    assert_same(early.update(steps[steps.pop("new")]).predict(levels=LEVELS), expected)
    for member in early.members_.values():
        np.testing.assert_array_equal(member.predict(1).cutoff, expected.cutoff)


def test_an_update_that_a_member_refuses_moves_none(tmp_path: Path) -> None:
    Ensemble([Drift(), ETS(seasonal=None, jobs=1)]).fit(panel(30)).save(tmp_path / "m")
    model = Forecaster.load(tmp_path / "m")
    assert isinstance(model, Ensemble)
    with pytest.raises(TimeIndexError, match="^ETS: ETS was fitted up to the cutoff"):
        model.update(frame((40,))[34:])  # Drift forecasts from any rows
    assert model.history_ is None
    assert model.members_["Drift"].history_ is None


@every
def test_values_after_the_cutoff_change_nothing(combine: Any) -> None:
    cutoff = panel().last - 4
    poisoned = frame()
    late = panel().row_steps > np.repeat(cutoff, panel().lengths)
    poisoned.loc[late, "y"] = 1e6
    ours, theirs = (
        ensemble(combine).fit(Panel.from_frame(rows, freq=1, season_length=M).before(cutoff)).predict(levels=LEVELS)
        for rows in (frame(), poisoned)
    )
    assert_same(ours, theirs, 0.0)


def test_a_description_builds_the_same_ensemble() -> None:
    given_members = [{"forecaster": "WindowAverage", "window": 2}, "Naive", Drift()]
    model = Ensemble(given_members, combine="median", folds=3, horizon=2)
    assert model.get_params() == {"members": given_members, "combine": "median", "folds": 3, "step": None, "horizon": 2}
    described = json.loads(json.dumps(model.describe()))
    again = Ensemble(**described)
    assert again.describe() == described
    assert_same(again.fit(panel()).predict(levels=LEVELS), model.fit(panel()).predict(levels=LEVELS), 0.0)
    nested = as_forecaster({"forecaster": "Ensemble", "members": {"both": model, "naive": "Naive"}})
    assert Ensemble(**json.loads(json.dumps(nested.describe()))).describe() == nested.describe()


def test_progress_counts_every_fit() -> None:
    seen: list[tuple[int, int]] = []
    ensemble("inverse_error", folds=2).fit(panel(), callbacks=[lambda p: seen.append((p.done, p.total))])
    assert seen == [(k, 9) for k in range(1, 10)]


# ---- arguments


def test_members_without_names_are_called_as_they_call_themselves() -> None:
    model = Ensemble([Naive(), "Drift", {"forecaster": "Naive"}, "Naive"], horizon=1).fit(panel())
    assert list(model.members_) == ["Naive", "Drift", "Naive 2", "Naive 3"]


def test_the_horizon_is_the_one_that_members_have() -> None:
    assert Ensemble([Naive(horizon=5), Drift()]).horizon == 5
    assert Ensemble([Naive(horizon=5), Drift()], horizon=2).horizon == 2
    assert Ensemble([Naive(), Drift()]).horizon is None
    with pytest.raises(ArgumentError, match=r"different horizons \(Naive: 5, Drift: 6\); say which"):
        Ensemble([Naive(horizon=5), Drift(horizon=6)])


def test_packages_and_context_are_those_of_all_members() -> None:
    model = Ensemble([HistoricAverage(), WindowAverage(9), ETS(jobs=1)]).fit(panel())
    assert set(model.packages) == {"numpy", "pandas", "joblib", "statsmodels"}
    assert model.context_length == 9


@pytest.mark.parametrize(
    ("members", "fields", "message"),
    [
        ([], {}, "at least one forecaster"), ({}, {}, "at least one forecaster"), (3, {}, "at least one forecaster"),
        ("ETS", {}, "put it into a list"), ({"forecaster": "ETS"}, {}, "put it into a list"),
        (["Naiv"], {}, "unknown forecaster 'Naiv'"), ({1: "Naive"}, {}, "named by text, got 1"),
        (["Naive"], {"combine": "medan"}, r"combine must be one of .*; got 'medan'. Did you mean 'median'"),
        (["Naive"], {"folds": 0}, "folds must be a whole number, at least 1"),
        (["Naive"], {"step": 0}, "step must be a whole number"), (["Naive"], {"horizon": 1.5}, "horizon must be"),
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(members: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Ensemble(members, **fields)


def test_weights_need_a_horizon() -> None:
    with pytest.raises(ArgumentError, match="no member has a horizon; give horizon="):
        Ensemble(["Naive"], combine="inverse_error").fit(panel())


def test_a_network_tells_of_levels_and_steps_that_it_did_not_learn(tmp_path: Path) -> None:
    network = NeuralForecaster(
        {"cell": "gru", "units": 2, "hidden": 2, "segment": 4}, horizon=H, input_length=8, levels=(0.1, 0.9),
        training={"steps": 2, "batch_size": 4},
    )  # fmt: skip
    model = Ensemble({"net": network, "naive": SeasonalNaive()}, combine="inverse_error", folds=1).fit(panel())
    assert model.horizon == H
    assert model.levels == (0.1, 0.5, 0.9)
    assert "net: " in model.fit_report
    with pytest.raises(ArgumentError, match=r"^net: the network learned the levels 0.1 to 0.9, \[0.01\] lie outside"):
        model.predict(levels=(0.01,))
    with pytest.raises(ArgumentError, match="^Ensemble was fitted for 3 steps ahead, 4 were asked for"):
        model.predict(4)
    model.save(tmp_path / "m")
    assert_same(Forecaster.load(tmp_path / "m").predict(levels=(0.1,), history=panel()), model.predict(levels=(0.1,)))
