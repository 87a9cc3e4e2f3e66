"""Pictures have what they should, and no side effects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from forecast_kit import Forecast, Panel, SeasonalNaive, plot_forecast
from forecast_kit.errors import ArgumentError


@pytest.fixture
def forecast(seasonal_panel: Panel) -> Forecast:
    return SeasonalNaive().fit(seasonal_panel.split(12)[0]).predict(12, levels=(0.05, 0.25, 0.5, 0.75, 0.95))


def lines(axis: Axes) -> dict[str, np.ndarray]:
    return {str(line.get_label()): np.asarray(line.get_ydata(), float) for line in axis.lines}


@pytest.mark.parametrize("series", [None, ["s4"], ["s5", "s1"], ["s3", "s0", "s2"]])
def test_every_series_has_a_panel_of_its_own(
    forecast: Forecast, seasonal_panel: Panel, series: list[str] | None
) -> None:
    figure = plot_forecast(forecast, seasonal_panel, series=series)
    assert isinstance(figure, Figure)
    assert [axis.get_title(loc="left") for axis in figure.axes] == (series or ["s0", "s1", "s2", "s3"])


def test_a_panel_shows_history_forecast_fan_and_actuals(forecast: Forecast, seasonal_panel: Panel) -> None:
    train, test = seasonal_panel.split(12)
    (axis,) = plot_forecast(forecast, train, series=["s2"], actuals=test, tail=30).axes
    drawn = lines(axis)
    np.testing.assert_array_equal(drawn["history"], dict(train.series)["s2"][-30:])
    np.testing.assert_array_equal(drawn["forecast (SeasonalNaive)"], forecast.mean[2])
    np.testing.assert_array_equal(drawn["actual"], dict(test.series)["s2"])
    assert [str(fan.get_label()) for fan in axis.collections] == ["90% interval", "50% interval"]
    edges = axis.collections[0].get_paths()[0].vertices[:, 1]
    assert edges.min() == pytest.approx(forecast.quantiles[2, :, 0].min())
    assert edges.max() == pytest.approx(forecast.quantiles[2, :, -1].max())
    stamps = next(line for line in axis.lines if str(line.get_label()).startswith("forecast")).get_xdata(orig=False)
    np.testing.assert_allclose(stamps, date2num(forecast.ds[2]))


def test_three_horizons_of_history_are_shown_by_default(forecast: Forecast, seasonal_panel: Panel) -> None:
    (axis,) = plot_forecast(forecast, seasonal_panel, series=["s0"]).axes
    assert len(lines(axis)["history"]) == 36
    assert "actual" not in lines(axis)


def test_unobserved_values_are_not_drawn(seasonal_frame: pd.DataFrame) -> None:
    left = seasonal_frame.groupby("unique_id").cumcount(ascending=False)
    frame = seasonal_frame.assign(y=seasonal_frame["y"].mask(left.isin([3, 15])))
    train, test = Panel.from_frame(frame, freq="h", gaps="mask").split(12)
    forecast = SeasonalNaive().fit(train).predict(12)
    drawn = lines(plot_forecast(forecast, train, series=["s1"], actuals=test).axes[0])
    assert np.flatnonzero(np.isnan(drawn["history"])).tolist() == [32]
    assert np.flatnonzero(np.isnan(drawn["actual"])).tolist() == [8]


def test_numbered_series_and_numbered_time_can_be_drawn() -> None:
    frame = pd.DataFrame({"unique_id": 7, "ds": range(30), "y": np.arange(30.0)})
    panel = Panel.from_frame(frame, freq=1)
    figure = plot_forecast(SeasonalNaive(3).fit(panel).predict(5), panel, series=[7])  # type: ignore[list-item]
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["7"]


def test_an_unknown_series_is_refused(forecast: Forecast, seasonal_panel: Panel) -> None:
    with pytest.raises(ArgumentError, match="series not in the forecast: 'nobody'"):
        plot_forecast(forecast, seasonal_panel, series=["s0", "nobody"])


def test_nothing_is_shown_or_saved(
    forecast: Forecast, seasonal_panel: Panel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    figure = plot_forecast(forecast, seasonal_panel)
    assert pyplot.get_fignums() == []
    assert list(tmp_path.iterdir()) == []
    figure.savefig(tmp_path / "picture.png", dpi=40)
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_a_series_without_history_is_refused(seasonal_panel: Panel) -> None:
    forecast = SeasonalNaive().fit(seasonal_panel).predict(24)
    with pytest.raises(ArgumentError, match="series not in the history: 's1'"):
        plot_forecast(forecast, seasonal_panel.take(["s0"]), series=["s0", "s1"])
