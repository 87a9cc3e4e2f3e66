"""Job files: strict, with every error at its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from forecast_kit import ETS, STL, NeuralForecaster, SeasonalNaive
from forecast_kit.errors import ConfigError
from forecast_kit.jobs.config import read_job

JOB = """
name: nightly
data: {path: sales.csv, schema: {freq: h}}
baselines:
  naive: {forecaster: SeasonalNaive}
candidates:
  ets: {forecaster: ETS, trend: damped}
backtest: {horizon: 24, folds: 2}
register: {name: sales}
"""


@pytest.fixture
def write(tmp_path: Path):
    def to_file(text: str) -> Path:
        (tmp_path / "job.yaml").write_text(text)
        return tmp_path / "job.yaml"

    return to_file


def test_a_job_becomes_forecasters_with_the_horizon_of_the_backtest(write) -> None:
    config = read_job(write(JOB))
    models = config.forecasters()
    assert list(models) == ["naive", "ets"]
    assert isinstance(models["naive"], SeasonalNaive)
    assert isinstance(models["ets"], ETS)
    assert models["ets"].trend == "damped"
    assert [model.horizon for model in models.values()] == [24, 24]
    assert config.backtest.splitter.folds == 2


def test_networks_learn_the_levels_that_the_backtest_scores(write) -> None:
    network = (
        "  lstm: {forecaster: NeuralForecaster, input_length: 48}\nbacktest: {horizon: 24, levels: [0.005, 0.5]}\n"
    )
    text = JOB.replace("backtest: {horizon: 24, folds: 2}\n", network).replace(
        "input_length", "network: {}, input_length"
    )
    assert read_job(write(text)).forecasters()["lstm"].levels[:2] == (0.005, 0.025)


def test_a_forecaster_inside_another_has_the_horizon_and_the_levels_too(write) -> None:
    inner = "{forecaster: NeuralForecaster, network: {}, input_length: 48}"
    outer = "{forecaster: STL, season_length: [24, 168], base: " + inner + "}"
    text = JOB.replace("{forecaster: ETS, trend: damped}", outer)
    model = read_job(write(text.replace("folds: 2}", "levels: [0.005, 0.5]}"))).forecasters()["ets"]
    assert isinstance(model, STL)
    assert isinstance(model.base, NeuralForecaster)
    assert (model.horizon, model.base.horizon, model.base.levels[0]) == (24, 24, 0.005)
    with pytest.raises(ConfigError, match=r"candidates.ets.base: unknown key 'input_lenght'"):
        read_job(write(text.replace("input_length", "input_lenght")))


@pytest.mark.parametrize("file", sorted(Path(__file__).parents[2].glob("pipelines/*.yaml")), ids=lambda p: p.name)
def test_every_job_that_comes_along_is_valid(file: Path) -> None:
    models = read_job(file).forecasters()
    assert any(isinstance(model, NeuralForecaster) for model in models.values())


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("folds: 2", "fold: 2", r"unknown key 'backtest.fold'; known are horizon, folds.*Did you mean 'folds'"),
        ("name: nightly", "nmae: nightly", r"unknown key 'nmae'.*Did you mean 'name'"),
        ("name: nightly\n", "", "'name' is missing"),
        ("horizon: 24", "horizon: day", "backtest.horizon: .*valid integer.*got 'day'"),
        ("horizon: 24", "horizon: 0", "backtest.horizon: .*greater than or equal to 1, got 0"),
        ("folds: 2", "folds: 2, window: 3, embargo: 3", "backtest: window must be longer than the embargo"),
        ("folds: 2", "folds: 2, align: left", "backtest.align: .*'series' or 'calendar'"),
        ("folds: 2}", "folds: 2}\ngate: {metric: mae}\nmonitor: {retrain: {error_ratio: 2}}", "gate.metric is 'mae'"),
        ("folds: 2}", "folds: 2}\nmonitor: {retrain: {max_aeg: 3D}}", "'monitor.retrain.max_aeg'.*mean 'max_age'"),
        ("folds: 2}", "folds: 2}\nforecast: {horizon: 48}", "forecast.horizon is 48, but champions are trained"),
        ("folds: 2}", "folds: 2}\nsink: {sql: {url: 'pg://a:b@c/d'}}", "holds a password in plain text"),
        ("path: sales.csv,", "path: sales.csv, dataset: hospital,", "data: name one of 'dataset'"),
        (", schema: {freq: h}", "", "a file or query needs a 'schema' that states at least freq"),
        ("{freq: h}", "{freq: hourly}", "unknown freq 'hourly'"),
        ("{freq: h}", "{freq: h, target: y}", "unknown schema key 'target'.*Did you mean 'target_col'"),
        ("SeasonalNaive", "SeasonalNave", "baselines.naive: unknown forecaster 'SeasonalNave'.*mean 'SeasonalNaive'"),
        ("trend: damped", "tred: damped", r"candidates.ets: unknown key 'tred'; ETS takes .*Did you mean 'trend'"),
        ("trend: damped", "trend: no", "candidates.ets: trend must be one of None, 'add', 'damped', 'auto'; got 'no'"),
        ("forecaster: ETS, ", "", "candidates.ets: the key 'forecaster' must name a class"),
        ("  ets: {", "  naive: {", "'naive'.* stand in both 'baselines' and 'candidates'"),
        ("name: sales", "name: a/b", "register.name: a registered model's name takes none of .*got 'a/b'"),
        ("horizon: 24", "horizon: '24'", "backtest.horizon: input should be a valid integer, got '24'"),
        ("horizon: 24", "horizon: yes", "backtest.horizon: input should be a valid integer, got '?(yes|True)"),
        ("name: sales", "name: sales, history: 'yes'", "register.history: input should be a valid boolean, got 'yes'"),
        ("folds: 2}", "folds: 2, levels: 0.5}", "backtest.levels: input should be a list, got 0.5"),
        ("folds: 2}", "folds: 2}\noutput: 3", "output: input should be a path, got 3"),
        ("folds: 2}", "folds: 2}\nmonitor: {retrain: {max_age: true}}", "max_age: .*string or .*integer, got True"),
        ("folds: 2}", "folds: 2}\nmonitor: {retrain: {max_age: NaT}}", "longer than nothing.*got 'NaT'"),
        ("folds: 2}", "folds: 2}\nmonitor: {retrain: {cooldown: 7}}", "cooldown: with freq='h' time is told by stamps"),
        ("{freq: h}", "{freq: 1}}\nmonitor: {retrain: {max_age: 7D}", "max_age: with freq=1 time is numbered.*'7D'"),
        ("name: nightly", "name: nightly\nimports: [nowhere]", "imports: there is no module 'nowhere'"),
        ("name: nightly", "name: nightly\nimports: nowhere", "imports: input should be a list, got 'nowhere'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_and_the_nearest_name(write, old: str, new: str, complaint: str) -> None:
    assert old in JOB
    with pytest.raises(ConfigError, match=complaint):
        read_job(write(JOB.replace(old, new)))


def test_repeated_keys_are_refused(write) -> None:
    with pytest.raises(ConfigError, match=r'says a key twice, at line \d+: found duplicate key "name".*leave one'):
        read_job(write(JOB + "name: again\n"))


def test_a_misspelt_key_is_told_however_many_are_missing(write) -> None:
    with pytest.raises(ConfigError, match="unknown key 'nmae'.*mean 'name'.*; 'name' is missing; 'data' is missing"):
        read_job(write("nmae: nightly\n"))


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b"])
def test_a_file_that_holds_no_mapping_is_refused(write, text: str) -> None:
    with pytest.raises(ConfigError, match="must hold a mapping with the keys name, data"):
        read_job(write(text))


def test_broken_yaml_and_missing_files_are_refused(write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not valid YAML"):
        read_job(write("name: [unclosed"))
    with pytest.raises(ConfigError, match="cannot read the job file"):
        read_job(tmp_path / "absent.yaml")
