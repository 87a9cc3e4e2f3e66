"""What all forecasters share: refusals, parameters, and folders that are whole or absent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_kit import ETS, Forecaster, Naive, Panel, PanelSchema, SeasonalNaive
from forecast_kit.core.forecast import Prediction
from forecast_kit.core.forecaster import FitCallback, as_forecaster
from forecast_kit.core.known import find_forecaster
from forecast_kit.errors import ArgumentError, ArtifactError, ForecastError, NotFittedError, TimeIndexError
from forecast_kit.typing import Floats


class Probe(Forecaster):
    """Forecasts a number that it is told, and breaks where it is told."""

    def __init__(self, value: float = 1.0, *, fail: bool = False, horizon: int | None = None) -> None:
        self.value, self.fail, self.horizon = value, fail, horizon

    @property
    def context_length(self) -> int:
        return 2

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        pass

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        mean = np.full((len(history), horizon), 0.0)
        mean[-1, -1] = self.value
        return Prediction(mean, np.repeat(mean[:, :, None], len(levels), axis=2))

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        (folder / "weights.bin").write_bytes(b"half of them")
        if self.fail:
            raise OSError("the disk is full")
        return {}, {}

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        pass


@pytest.fixture
def fitted(seasonal_panel: Panel) -> SeasonalNaive:
    return SeasonalNaive(horizon=12).fit(seasonal_panel)


# ---- fit and predict


def test_before_fit_there_is_nothing_to_predict_or_save(tmp_path: Path) -> None:
    for use in (lambda: Naive().predict(3), lambda: Naive().save(tmp_path / "m")):
        with pytest.raises(NotFittedError, match=r"Naive is not fitted; call fit\(panel\) first"):
            use()
    assert list(tmp_path.iterdir()) == []


def test_fit_takes_a_panel_and_no_frame(seasonal_frame: pd.DataFrame) -> None:
    with pytest.raises(ArgumentError, match=r"fit takes a Panel, got DataFrame; .*Panel\.from_frame"):
        Naive().fit(seasonal_frame)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "3"])
def test_a_horizon_that_is_no_positive_whole_number_is_refused(fitted: SeasonalNaive, bad: Any) -> None:
    with pytest.raises(ArgumentError, match=f"horizon must be a whole number.*got {bad!r}"):
        fitted.predict(bad)


def test_without_a_horizon_of_its_own_a_forecaster_must_be_told(seasonal_panel: Panel, fitted: SeasonalNaive) -> None:
    assert fitted.predict().horizon == 12
    assert fitted.predict(np.int64(5)).horizon == 5
    with pytest.raises(ArgumentError, match="Naive has no horizon of its own"):
        Naive().fit(seasonal_panel).predict()


@pytest.mark.parametrize("bad", [[0.0], [1.2], "0.5", 0.5])
def test_a_bad_level_is_refused(fitted: SeasonalNaive, bad: Any) -> None:
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        fitted.predict(levels=bad)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_forecast_that_is_no_number_is_refused_by_series(seasonal_panel: Panel, value: float) -> None:
    with pytest.raises(ForecastError, match="Probe returned values that are not finite for 1 series: 's5'"):
        Probe(value).fit(seasonal_panel).predict(3)


def test_history_may_be_a_frame(seasonal_frame: pd.DataFrame, fitted: SeasonalNaive) -> None:
    recent = seasonal_frame.groupby("unique_id").tail(30)
    np.testing.assert_array_equal(fitted.predict(history=recent).mean, fitted.predict().mean)


def test_history_moves_the_cutoff_without_another_fit(seasonal_panel: Panel) -> None:
    train, test = seasonal_panel.split(24)
    forecast = SeasonalNaive().fit(train).predict(24, history=seasonal_panel)
    np.testing.assert_array_equal(forecast.mean, test.y.reshape(-1, 24))
    np.testing.assert_array_equal(forecast.cutoff, seasonal_panel.axis.stamps(seasonal_panel.last))


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"freq": "D"}, "freq='D'.*fitted with freq='h'"), ({"future": ("x",)}, r"future=\('x',\)"),
     ({"past": ("x",)}, r"past=\('x',\)"), ({"static": ("x",)}, r"static=\('x',\)")],
)  # fmt: skip
def test_history_of_another_schema_is_refused(
    seasonal_frame: pd.DataFrame, fitted: SeasonalNaive, fields: dict[str, Any], message: str
) -> None:
    schema = replace(PanelSchema(freq="h"), **fields)
    frame = seasonal_frame.assign(x=1.0)
    if schema.freq == "D":
        frame = frame[frame["ds"].dt.hour == 0]
    with pytest.raises(ArgumentError, match=f"history has {message}"):
        fitted.predict(history=Panel.from_frame(frame, schema))


# ---- parameters


def test_parameters_are_those_of_the_constructor() -> None:
    model = ETS(trend="damped", season_length=7, jobs=1)
    expected = {
        "error": None,
        "trend": "damped",
        "seasonal": "add",
        "season_length": 7,
        "initial": "heuristic",
        "max_history": None,
        "budget_s": 30.0,
        "jobs": 1,
        "horizon": None,
    }
    assert model.get_params() == expected
    assert model.clone().get_params() == expected
    assert repr(SeasonalNaive(7)) == "SeasonalNaive(season_length=7, horizon=None)"


def test_a_clone_has_learned_nothing(fitted: SeasonalNaive) -> None:
    clone = fitted.clone()
    assert clone is not fitted
    assert clone.schema_ is None
    with pytest.raises(NotFittedError):
        clone.predict(1)
    assert fitted.predict().horizon == 12


def test_a_forecaster_is_found_by_name_or_refused_with_a_near_one() -> None:
    assert find_forecaster("ETS") is ETS
    assert find_forecaster("Probe") is Probe
    with pytest.raises(ArgumentError, match="unknown forecaster 'SeasonalNaiv'.*mean 'SeasonalNaive'"):
        find_forecaster("SeasonalNaiv")


# ---- save and load


def test_without_rows_a_loaded_forecaster_asks_for_history(
    fitted: SeasonalNaive, seasonal_panel: Panel, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "m")
    loaded = Forecaster.load(tmp_path / "m")
    with pytest.raises(NotFittedError, match=r"saved without data rows; pass history=.*last 24 steps"):
        loaded.predict()
    np.testing.assert_array_equal(loaded.predict(history=seasonal_panel).mean, fitted.predict().mean)


def test_only_the_rows_that_a_forecast_needs_are_saved(
    fitted: SeasonalNaive, seasonal_panel: Panel, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "own", history=True)
    fitted.save(tmp_path / "given", history=seasonal_panel.split(24)[0])
    own, given = Forecaster.load(tmp_path / "own"), Forecaster.load(tmp_path / "given")
    for loaded in (own, given):
        assert loaded.history_ is not None
        assert loaded.history_.lengths.tolist() == [24] * 6
    np.testing.assert_array_equal(own.predict().mean, fitted.predict().mean)
    np.testing.assert_array_equal(given.predict().cutoff, fitted.predict().cutoff - np.timedelta64(24, "h"))


def test_an_existing_path_is_not_overwritten(fitted: SeasonalNaive, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "precious").write_text("data")
    with pytest.raises(ArtifactError, match="m exists; choose another path"):
        fitted.save(tmp_path / "m")
    assert (tmp_path / "m" / "precious").read_text() == "data"


def test_a_save_that_fails_half_way_leaves_nothing_behind(seasonal_panel: Panel, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk is full"):
        Probe(fail=True).fit(seasonal_panel).save(tmp_path / "m", history=True)
    with pytest.raises(TypeError, match="JSON"):
        Probe(object()).fit(seasonal_panel).save(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_forecaster_of_ones_own_is_loaded_too(seasonal_panel: Panel, tmp_path: Path) -> None:
    Probe(5.0, horizon=2).fit(seasonal_panel).save(tmp_path / "m", history=True)
    loaded = Forecaster.load(tmp_path / "m")
    assert isinstance(loaded, Probe)
    assert loaded.predict().mean[-1].tolist() == [0.0, 5.0]


# ---- forecasters as arguments


def test_a_forecaster_is_read_from_its_name_its_description_or_itself() -> None:
    built = SeasonalNaive(7, horizon=3)
    assert as_forecaster(built) is built
    assert repr(as_forecaster("Naive")) == repr(Naive())
    description = {"forecaster": "SeasonalNaive", **built.describe()}
    assert repr(as_forecaster(description)) == repr(built)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Naiv", "unknown forecaster 'Naiv'; known are .* Did you mean 'Naive'"),
        (
            {"forecaster": "Naive", "horizn": 3},
            "Naive has no argument 'horizn'; it has horizon. Did you mean 'horizon'",
        ),
        ({"season_length": 3}, "a forecaster is one that was built, or its name, or a mapping such as"),
        ({"forecaster": 3}, "a forecaster is one that was built"),
        (None, "got None"),
    ],
)
def test_what_describes_no_forecaster_is_refused(value: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        as_forecaster(value)


# ---- update


def test_series_that_an_update_leaves_out_stay_and_new_ones_come_in(seasonal_frame: pd.DataFrame) -> None:
    """Naive forecasts: s0 goes on, s1 is not told of, s5 was not there before."""
    known = seasonal_frame[seasonal_frame["unique_id"].isin(["s0", "s1"])]
    first = known.groupby("unique_id").head(100)
    later = seasonal_frame[seasonal_frame["unique_id"].isin(["s0", "s5"])]
    forecast = Naive().fit(Panel.from_frame(first, freq="h")).update(later).predict(1)
    last = [later, first, later]
    expected = [
        rows[rows["unique_id"] == name]["y"].iloc[-1] for rows, name in zip(last, ["s0", "s1", "s5"], strict=True)
    ]
    assert forecast.ids.tolist() == ["s0", "s1", "s5"]
    np.testing.assert_array_equal(forecast.mean[:, 0], expected)


def test_an_update_before_fit_and_one_with_a_hole_are_refused(seasonal_frame: pd.DataFrame) -> None:
    with pytest.raises(NotFittedError):
        Naive().update(seasonal_frame)
    some = seasonal_frame[seasonal_frame["unique_id"] == "s0"]
    model = Naive().fit(Panel.from_frame(some[:50], freq="h"))
    with pytest.raises(TimeIndexError, match="steps missing"):
        model.update(some[60:])
    np.testing.assert_array_equal(model.predict(1).mean[0], some["y"].iloc[49])
