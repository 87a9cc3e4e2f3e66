"""What every forecaster promises. A new one joins by a line in `zoo.FORECASTERS`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from zoo import FORECASTERS, LEVELS, H

import forecast_kit
from forecast_kit import Forecast, Forecaster, Panel
from forecast_kit.errors import ArtifactError, NotFittedError, SchemaError

every = pytest.mark.parametrize("name", FORECASTERS)


def frame() -> pd.DataFrame:
    """Three hourly series of 6 to 8 days: a daily wave, a level of their own, and noise."""
    rng = np.random.default_rng(11)
    frames = []
    for k in range(3):
        steps = np.arange(24 * (6 + k))
        y = 50.0 * (k + 1) + 10.0 * np.sin(2 * np.pi * steps / 24 + k) + rng.normal(0.0, 1.0, len(steps))
        frames.append(pd.DataFrame({"unique_id": f"s{k}", "ds": pd.Timestamp("2024-01-01"), "step": steps, "y": y}))
    long = pd.concat(frames, ignore_index=True)
    long["ds"] += pd.to_timedelta(long.pop("step"), unit="h")
    return long


@cache
def panel() -> Panel:
    return Panel.from_frame(frame(), freq="h")


@cache
def fitted(name: str) -> Forecaster:
    return FORECASTERS[name]().fit(panel())


def assert_same(ours: Forecast, theirs: Forecast, tolerance: float = 0.0) -> None:
    for field in ("ids", "cutoff", "ds", "levels", "fallback"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field), err_msg=field)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=0, atol=tolerance)
    np.testing.assert_allclose(ours.quantiles, theirs.quantiles, rtol=0, atol=tolerance)


@every
def test_a_forecast_has_a_number_for_every_series_step_and_level(name: str) -> None:
    forecast = fitted(name).predict(levels=LEVELS)
    assert forecast.mean.shape == (3, H)
    assert forecast.quantiles.shape == (3, H, len(LEVELS))
    assert np.isfinite(forecast.mean).all()
    assert np.isfinite(forecast.quantiles).all()
    assert forecast.model == fitted(name).name
    assert (forecast.fallback == "").all()


@every
def test_step_one_is_the_first_after_the_last_row_of_each_series(name: str) -> None:
    forecast = fitted(name).predict()
    last = frame().groupby("unique_id")["ds"].max()
    assert forecast.ids.tolist() == last.index.tolist()
    np.testing.assert_array_equal(forecast.cutoff, last)
    for k, cutoff in enumerate(last):
        np.testing.assert_array_equal(forecast.ds[k], pd.date_range(cutoff, periods=H + 1, freq="h")[1:])


@every
def test_quantiles_rise_with_the_level_and_do_not_depend_on_the_others(name: str) -> None:
    forecast = fitted(name).predict(levels=LEVELS[::-1])
    assert forecast.levels == LEVELS
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    assert (forecast.quantiles[:, :, 0] < forecast.quantiles[:, :, -1]).all()
    for k, level in enumerate(LEVELS):
        alone = fitted(name).predict(levels=[level])
        np.testing.assert_allclose(alone.quantiles[:, :, 0], forecast.quantiles[:, :, k], rtol=0, atol=1e-9)


@every
def test_predicting_changes_nothing(name: str) -> None:
    before = fitted(name).predict(levels=LEVELS)
    fitted(name).predict(3, levels=(0.5,))
    fitted(name).predict(history=panel())
    assert_same(fitted(name).predict(levels=LEVELS), before)


@every
def test_a_shorter_horizon_is_the_start_of_the_longer_one(name: str) -> None:
    long, short = fitted(name).predict(levels=LEVELS), fitted(name).predict(5, levels=LEVELS)
    np.testing.assert_allclose(short.mean, long.mean[:, :5], rtol=0, atol=1e-9)
    np.testing.assert_allclose(short.quantiles, long.quantiles[:, :5], rtol=0, atol=1e-9)


@every
def test_the_training_data_as_history_give_the_same_forecast(name: str) -> None:
    assert_same(fitted(name).predict(levels=LEVELS, history=panel()), fitted(name).predict(levels=LEVELS), 1e-8)


@every
def test_part_of_the_series_may_be_forecast_alone(name: str) -> None:
    every_one, two = (
        fitted(name).predict(levels=LEVELS),
        fitted(name).predict(levels=LEVELS, history=panel().take(["s2", "s0"])),
    )
    assert two.ids.tolist() == ["s0", "s2"]
    np.testing.assert_allclose(two.mean, every_one.mean[[0, 2]], rtol=1e-6)
    np.testing.assert_allclose(two.quantiles, every_one.quantiles[[0, 2]], rtol=1e-6)


@every
def test_a_loaded_forecaster_forecasts_the_same(name: str, tmp_path: Path) -> None:
    expected = fitted(name).predict(levels=LEVELS)
    fitted(name).save(tmp_path / "with", history=True)
    fitted(name).save(tmp_path / "without")
    assert_same(Forecaster.load(tmp_path / "with").predict(levels=LEVELS), expected, 1e-8)
    without = Forecaster.load(tmp_path / "without")
    assert type(without) is type(fitted(name))
    assert_same(without.predict(levels=LEVELS, history=panel()), expected, 1e-8)


@every
def test_values_after_the_cutoff_change_nothing_until_they_are_taken_in_as_history_is(
    name: str, tmp_path: Path
) -> None:
    """`update` moves on for good, with new rows alone or with all, before a save and after."""
    cutoff = panel().last - np.array([30, 7, 0])
    late = panel().row_steps > np.repeat(cutoff, panel().lengths)
    poisoned = frame()
    poisoned.loc[late, "y"] = np.random.default_rng(0).normal(1e5, 1e4, int(late.sum()))
    other = FORECASTERS[name]().fit(Panel.from_frame(poisoned, freq="h").before(cutoff))
    early = FORECASTERS[name]().fit(panel().before(cutoff))
    assert_same(early.predict(levels=LEVELS), other.predict(levels=LEVELS))

    early.save(tmp_path / "m", history=True)
    expected = early.predict(levels=LEVELS, history=panel())
    new = frame()[late]
    assert_same(Forecaster.load(tmp_path / "m").update(panel()).predict(levels=LEVELS), expected, 1e-8)
    assert_same(early.update(new).predict(levels=LEVELS), expected, 1e-8)
    early.save(tmp_path / "later", history=True)
    assert_same(Forecaster.load(tmp_path / "later").predict(levels=LEVELS), expected, 1e-8)


@every
def test_a_loaded_forecaster_can_be_saved_again(name: str, tmp_path: Path) -> None:
    fitted(name).save(tmp_path / "first", history=True)
    Forecaster.load(tmp_path / "first").save(tmp_path / "second", history=True)
    again = Forecaster.load(tmp_path / "second")
    assert again.describe() == fitted(name).describe()
    assert_same(again.predict(levels=LEVELS), fitted(name).predict(levels=LEVELS), 1e-8)


@every
def test_an_artefact_has_no_pickle_and_no_data_unless_asked(name: str, tmp_path: Path) -> None:
    fitted(name).save(tmp_path / "m")
    files = [file for file in (tmp_path / "m").rglob("*") if file.is_file()]
    assert {file.suffix for file in files} <= {".json", ".npz", ".h5"}
    assert "history.npz" not in {file.name for file in files}
    with np.load(tmp_path / "m" / "arrays.npz", allow_pickle=False) as arrays:
        assert all(arrays[key].size < len(panel().y) for key in arrays.files)


@every
@pytest.mark.parametrize("damage", ["absent", "cut in half", "empty"])
def test_every_file_of_an_artefact_is_missed_where_it_is_damaged(name: str, tmp_path: Path, damage: str) -> None:
    fitted(name).save(tmp_path / "m", history=True)
    whole = tmp_path / "m"
    for file in sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file()):
        if damage == "absent" and file.name == "history.npz":
            continue  # rows are optional
        copy = tmp_path / f"without {file.as_posix().replace('/', ' ')}"
        shutil.copytree(whole, copy)
        content = (copy / file).read_bytes()
        (copy / file).unlink()
        if damage != "absent":
            (copy / file).write_bytes(content[: len(content) // 2] if damage == "cut in half" else b"")
        with pytest.raises(ArtifactError, match=r"damaged|missing"):
            Forecaster.load(copy)


IN_A_FRESH_PROCESS = """
import sys, pathlib, numpy as np
from forecast_kit import Forecaster
for folder in sorted(pathlib.Path("saved").iterdir()):
    forecast = Forecaster.load(folder).predict(levels=(0.1, 0.25, 0.5, 0.9))
    np.savez(folder.name + ".npz", mean=forecast.mean, quantiles=forecast.quantiles)
"""


def test_a_fresh_process_gives_the_same_numbers(tmp_path: Path) -> None:
    for name in FORECASTERS:
        fitted(name).save(tmp_path / "saved" / name, history=True)
    source = str(Path(forecast_kit.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": source},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in FORECASTERS:
        expected = fitted(name).predict(levels=LEVELS)
        with np.load(tmp_path / f"{name}.npz") as numbers:
            np.testing.assert_allclose(numbers["mean"], expected.mean, rtol=0, atol=1e-8)
            np.testing.assert_allclose(numbers["quantiles"], expected.quantiles, rtol=0, atol=1e-8)


@every
def test_a_clone_is_not_fitted_and_has_the_same_parameters(name: str) -> None:
    clone = fitted(name).clone()
    assert clone.get_params() == fitted(name).get_params()
    with pytest.raises(NotFittedError):
        clone.predict(1)


@every
def test_gaps_that_are_masked_still_give_forecasts(name: str) -> None:
    rows = frame()
    inner = rows.groupby("unique_id").cumcount(ascending=False) > 0
    rows = rows[~inner | (np.random.default_rng(2).random(len(rows)) > 0.1)]
    rows.loc[[*rows.index[5:9], rows.index[-1]], "y"] = np.nan
    masked = Panel.from_frame(rows, freq="h", gaps="mask")
    assert not masked.observed.all()
    forecast = FORECASTERS[name]().fit(masked).predict(levels=LEVELS)
    np.testing.assert_array_equal(forecast.cutoff, panel().axis.stamps(panel().last))
    assert np.isfinite(forecast.quantiles).all()


@every
def test_a_clone_fitted_on_the_same_rows_in_another_order_and_numbered_forecasts_the_same(name: str) -> None:
    rows = frame().sample(frac=1.0, random_state=5)
    rows["ds"] = 7 + (rows["ds"] - rows["ds"].min()) // pd.Timedelta(hours=1)
    numbered = Panel.from_frame(rows, freq=1, season_length=24)
    forecast, expected = fitted(name).clone().fit(numbered).predict(levels=LEVELS), fitted(name).predict(levels=LEVELS)
    assert forecast.ds[0].tolist() == list(range(7 + 144, 7 + 144 + H))
    assert forecast.cutoff.tolist() == [7 + 143, 7 + 167, 7 + 191]
    for field in ("ids", "levels", "fallback", "mean", "quantiles"):
        np.testing.assert_array_equal(getattr(forecast, field), getattr(expected, field), err_msg=field)


@every
def test_known_future_covariates_are_asked_of_whoever_uses_them_and_of_nobody_else(name: str) -> None:
    rows = frame().assign(promo=lambda long: (np.arange(len(long)) % 7 < 2).astype(float))
    promoted = Panel.from_frame(rows, freq="h", future=("promo",))
    model = FORECASTERS[name]().fit(promoted)
    ahead = promoted.future_frame(H).assign(promo=1.0)
    if model.uses_future:
        with pytest.raises(SchemaError, match="'promo' are needed for the next 24 steps"):
            model.predict(levels=LEVELS)
        assert np.isfinite(model.predict(levels=LEVELS, future=ahead).quantiles).all()
    else:
        assert_same(model.predict(levels=LEVELS), model.predict(levels=LEVELS, future=ahead))
        assert_same(model.predict(levels=LEVELS), fitted(name).predict(levels=LEVELS))
