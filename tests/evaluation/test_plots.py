"""Pictures have what they should, and no side effects."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot, rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from scipy import stats

from forecast_kit import Forecast, Naive, Panel, RollingOrigin, SeasonalNaive, backtest, plot_forecast
from forecast_kit.core.forecast import level_column
from forecast_kit.errors import ArgumentError, TooShortError
from forecast_kit.evaluation import plots
from forecast_kit.evaluation.plots.errors import autocorrelation


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
    figure = plot_forecast(SeasonalNaive(3).fit(panel).predict(5), panel, series=[7])
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


# What follows draws a backtest's frame, made here so that every number in it is known.

THEMES = ("light", "dark")
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


def made(
    *, models: int = 2, series: int = 3, folds: int = 3, horizon: int = 12, step: int = 12, stamps: bool = True
) -> pd.DataFrame:
    """A backtest's frame of random walks; every seventh actual is not observed."""
    rng = np.random.default_rng(3)
    parts = []
    for s in range(series):
        y = 10.0 * (s + 1) + rng.normal(size=200).cumsum()
        y[::7] = np.nan
        for fold in range(folds):
            cutoff = 99 + fold * step
            at = cutoff + np.arange(1, horizon + 1)
            for m in range(models):
                mean = 10.0 * (s + 1) + rng.normal(size=horizon) + m
                quantiles = {level_column(q): mean + 4.0 * (q - 0.5) for q in LEVELS}
                parts.append(
                    pd.DataFrame(
                        {"unique_id": f"s{s}", "ds": at, "cutoff": cutoff, "fold": fold + 1, "y": y[at], "mean": mean,
                         "step": np.arange(1, horizon + 1), "model": f"model_{m}", **quantiles}
                    )
                )  # fmt: skip
    frame = pd.concat(parts, ignore_index=True)
    if stamps:
        start = pd.Timestamp("2024-02-25")
        for name in ("ds", "cutoff"):
            frame[name] = start + pd.to_timedelta(frame[name], unit="h")
    return frame


def scores_of(frame: pd.DataFrame) -> pd.DataFrame:
    error = (frame["y"] - frame["mean"]).abs().rename("mae")
    table = error.groupby([frame["model"], frame["fold"], frame["unique_id"]]).mean().reset_index()
    return table.assign(bias=np.where(table["model"] == "model_0", -0.1, 0.5), coverage=0.8)


def every_text(figure: Figure) -> list[tuple[Text, Bbox]]:
    """The texts that can be seen, with their boxes in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    outside = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for place, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False):  # or no labels at all
                if not low - 1e-9 <= place <= high + 1e-9:
                    outside.add(label)
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in outside]
    return [(t, t.get_window_extent(canvas.get_renderer())) for t in texts]


def check_looks(figure: Figure, theme: str, *, legend: bool = True) -> None:
    """Labelled, with a legend that covers no axes, no text upon another or cut off, in the theme's colours."""
    assert isinstance(figure, Figure)
    assert pyplot.get_fignums() == []
    boxes = every_text(figure)
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        turned = one.get_rotation() % 90 and other.get_rotation() % 90  # parallel: their boxes tell nothing
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert turned or wide < 0.5 or high < 0.5, f"{one.get_text()!r} lies upon {other.get_text()!r}"
    page = figure.bbox
    for text, box in boxes:
        assert min(box.x0, box.y0, page.width - box.x1, page.height - box.y1) > -1, f"{text.get_text()!r} is cut off"
        assert contrast(to_rgb(text.get_color()), to_rgb(behind(text, figure))) > 4.5, text.get_text()
    assert (sum(to_rgb(figure.get_facecolor())) > 1.5) == (theme == "light")
    assert len(figure.legends) == legend
    for shown in figure.legends:
        box = shown.get_window_extent()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
        assert all(handle is not None for handle in shown.legend_handles)


def behind(text: Text, figure: Figure) -> str | tuple[float, ...]:
    """The colour that a text stands on: of its cell in a heatmap, else the paper."""
    axes = text.axes
    if axes is not None and axes.images and text in axes.texts:
        column, row = (int(k) for k in text.get_position())
        image = axes.images[0]
        if not np.ma.is_masked(image.get_array()[row, column]) and np.isfinite(image.get_array()[row, column]):
            return image.cmap(image.norm(image.get_array()[row, column]))
    return figure.get_facecolor()


def contrast(ink: tuple[float, ...], paper: tuple[float, ...]) -> float:
    """WCAG 2.1's contrast of two colours."""
    light = [
        sum(w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
            for w, c in zip((0.2126, 0.7152, 0.0722), color, strict=True))
        for color in (ink, paper)
    ]  # fmt: skip
    return (max(light) + 0.05) / (min(light) + 0.05)


def legend_texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


MANY = made(models=12, series=50, folds=2)
FEW = made()
ONE = made(models=1, series=1, step=6, stamps=False)
NAMES = [f"model_{k}" for k in range(12)]

PICTURES: dict[str, Callable[[Any], Figure]] = {
    "backtest, one series": lambda t: plots.plot_backtest(ONE, "s0", model="model_0", theme=t),
    "backtest, three series": lambda t: plots.plot_backtest(FEW, ["s2", "s0", "s1"], model="model_1", theme=t),
    "steps, two models": lambda t: plots.plot_error_by_step(FEW, theme=t),
    "steps, twelve models": lambda t: plots.plot_error_by_step(MANY, "me", theme=t),
    "residuals, one series": lambda t: plots.plot_residuals(ONE, "model_0", theme=t),
    "residuals, 50 series": lambda t: plots.plot_residuals(MANY, "model_3", theme=t),
    "reliability, one model": lambda t: plots.plot_reliability(ONE, theme=t),
    "reliability, two models": lambda t: plots.plot_reliability(FEW, theme=t),
    "reliability, twelve models": lambda t: plots.plot_reliability(MANY, theme=t),
    "windows": lambda t: plots.plot_windows(14, 4, stride=2, theme=t),
    "long windows": lambda t: plots.plot_windows(168, 48, theme=t),
}
UNLEGENDED: dict[str, Callable[[Any], Figure]] = {
    "ranks, two models": lambda t: plots.plot_critical_difference({"a": 1.2, "b": 1.8}, 0.3, theme=t),
    "ranks, twelve models": lambda t: plots.plot_critical_difference(
        {f"{name}_of_a_family_with_a_long_name": k + 1.0 for k, name in enumerate(NAMES)}, 2.5, theme=t),
    "heatmap, few": lambda t: plots.plot_heatmap(scores_of(FEW), "mae", theme=t),
    "heatmap, many": lambda t: plots.plot_heatmap(scores_of(MANY), "mae", theme=t),
    "heatmap, groups": lambda t: plots.plot_heatmap(
        scores_of(MANY), "bias", by={f"s{k}": f"group {k % 3}" for k in range(50)}, theme=t),
}  # fmt: skip


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", [*PICTURES, *UNLEGENDED])
def test_pictures_are_labelled_and_nothing_overlaps(name: str, theme: str) -> None:
    figure = (PICTURES | UNLEGENDED)[name](theme)
    check_looks(figure, theme, legend=name in PICTURES)
    for axes in figure.axes:
        assert any((axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()))


@pytest.mark.parametrize("theme", THEMES)
def test_pictures_of_panels_are_labelled_and_nothing_overlaps(
    forecast: Forecast, seasonal_panel: Panel, theme: Any
) -> None:
    train, test = seasonal_panel.split(12)
    check_looks(plots.plot_forecast(forecast, train, actuals=test, theme=theme), theme)
    check_looks(plots.plot_folds(seasonal_panel, RollingOrigin(24, folds=3), theme=theme), theme)
    check_looks(plots.plot_folds(seasonal_panel, RollingOrigin(6, folds=12), series=["s4"], theme=theme), theme)


def test_fifty_series_are_drawn_side_by_side() -> None:
    wide = pd.DataFrame({f"s{k:02d}": np.arange(40.0) + k for k in range(50)}, index=range(40))
    panel = Panel.from_wide(wide, freq=1)
    forecast = SeasonalNaive(4).fit(panel).predict(6, levels=(0.1, 0.9))
    figure = plots.plot_forecast(forecast, panel, series=panel.ids.tolist())
    assert len(figure.axes) == 50
    check_looks(figure, "light")
    check_looks(plots.plot_folds(panel, RollingOrigin(4, folds=5)), "light")


def test_themes_touch_no_global_setting(forecast: Forecast, seasonal_panel: Panel) -> None:
    before = dict(rcParams)
    plots.plot_forecast(forecast, seasonal_panel, theme="dark")
    plots.plot_heatmap(scores_of(FEW), "mae", theme="dark")
    assert dict(rcParams) == before


def test_no_two_models_differ_by_colour_alone() -> None:
    drawn = plots.plot_error_by_step(MANY).axes[0].lines
    assert len({line.get_color() for line in drawn}) == 7  # Okabe and Ito's eight, without yellow on white
    assert len({line.get_marker() for line in drawn}) == 12


# Folds


def test_folds_show_training_and_forecast_up_to_their_ends(seasonal_panel: Panel) -> None:
    (axis,) = plots.plot_folds(seasonal_panel, RollingOrigin(12, folds=2, step=6), series=["s1", "s3"]).axes
    bars = {}
    for drawn in axis.collections:
        corners = np.stack([path.vertices[:4] for path in drawn.get_paths()])  # [N, 4, 2]
        bars.setdefault(to_hex(drawn.get_facecolor()[0]), []).append(corners[:, [0, 1], 0])
    start = pd.Timestamp("2024-01-01")
    lengths = np.array([24 * 9, 24 * 11])
    shown = 24 * 11 - 1 - 6 * 18  # as much as six times what lies after the first cutoff
    for fold, (training, ahead) in enumerate(zip(bars["#b4b4b4"], bars["#0072b2"], strict=True)):
        cutoff = lengths - 1 - 18 + 6 * fold
        hours = [date2num(start + pd.to_timedelta(k, unit="h")) for k in (np.full(2, shown), cutoff, cutoff + 12)]
        np.testing.assert_allclose(training, np.stack([hours[0], hours[1]], axis=1))
        np.testing.assert_allclose(ahead, np.stack([hours[1], hours[2]], axis=1))
    assert [label.get_text() for label in axis.get_yticklabels()] == ["fold 1", "fold 2"]  # each series has its own


def test_cutoffs_are_told_where_all_series_share_them(seasonal_panel: Panel) -> None:
    (axis,) = plots.plot_folds(seasonal_panel, RollingOrigin(12, folds=2), series=["s0"]).axes
    told = [label.get_text() for label in axis.get_yticklabels()]
    assert told == ["fold 1\ncutoff 2024-01-07 23:00", "fold 2\ncutoff 2024-01-08 11:00"]


def test_gap_embargo_and_window_are_drawn_and_series_left_out_are_not(seasonal_panel: Panel) -> None:
    splitter = RollingOrigin(12, folds=2, gap=3, embargo=2, window=24, align="calendar")
    (axis,) = plots.plot_folds(seasonal_panel, splitter).axes
    spans = [[path.vertices[:2, 0] for path in bars.get_paths()] for bars in axis.collections]
    last = 24 * 13 - 1
    start = date2num(pd.Timestamp("2024-01-01"))
    for fold, cutoff in enumerate((last - 27, last - 15)):
        taking_part = 1 + (fold == 0)  # the next shorter series ends a day before the longest
        drawn = spans[6 * fold : 6 * fold + 6]
        assert [len(bars) for bars in drawn] == [6, *[taking_part] * 5]
        steps = [(np.asarray(bars[-1]) - start) * 24 for bars in drawn[2:]]
        ends = (cutoff - 23, cutoff - 2, cutoff, cutoff + 3, cutoff + 15)
        for found, wanted in zip(steps, itertools.pairwise(ends), strict=True):
            np.testing.assert_allclose(found, wanted)
    assert legend_texts(axis.figure) == ["training", "embargo", "gap", "forecast", "not looked at"]
    check_looks(axis.figure, "light")


def test_a_long_training_part_is_cut_and_the_title_says_so() -> None:
    panel = Panel.from_wide(pd.DataFrame({"a": np.arange(5000.0)}, index=range(5000)), freq=1)
    (axis,) = plots.plot_folds(panel, RollingOrigin(10, folds=3)).axes
    assert axis.get_title(loc="left").endswith("training goes on to the left, to 0")
    assert axis.get_xlim()[0] == 4999 - 6 * 30


# Backtests


def test_a_backtest_shows_each_folds_forecast_over_the_actuals() -> None:
    (axis,) = plots.plot_backtest(FEW, "s1", model="model_1").axes
    own = FEW[(FEW["unique_id"] == "s1") & (FEW["model"] == "model_1")]
    np.testing.assert_array_equal(lines(axis)["actual"], own["y"])
    folds = [line for line in axis.lines if len(line.get_xdata()) == 12]
    for line, (_, fold) in zip(folds, own.groupby("fold"), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), fold["mean"])
        np.testing.assert_allclose(line.get_xdata(orig=False), date2num(fold["ds"]))
    cutoffs = [line.get_xdata(orig=False)[0] for line in axis.lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(cutoffs, date2num(own["cutoff"].unique()))
    assert legend_texts(plots.plot_backtest(FEW, "s1", model="model_1")) == [
        "actual", "cutoff", "forecast", "80% interval", "50% interval"]  # fmt: skip


def test_overlapping_folds_have_lines_of_their_own() -> None:
    figure = plots.plot_backtest(made(step=4, folds=5), "s0", model="model_0")
    assert [t for t in legend_texts(figure) if t.startswith("fold")] == ["folds 1, 4", "folds 2, 5", "fold 3"]
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 12]
    assert len({line.get_color() for line in drawn}) == 3
    assert [line.is_dashed() for line in drawn] == [False, True, True, False, True]
    np.testing.assert_array_equal(  # an actual is drawn once, though three folds have it
        lines(figure.axes[0])["actual"], made(step=28, folds=1, horizon=28)[lambda d: d["model"] == "model_0"]["y"][:28]
    )


def test_actuals_are_interrupted_between_folds_that_lie_apart() -> None:
    (axis,) = plots.plot_backtest(made(step=15, folds=2, stamps=False), "s0", model="model_0").axes
    drawn = lines(axis)["actual"]
    assert len(drawn) == 25
    assert np.isnan(drawn[12])


def test_zones_are_shown_as_their_clocks_do() -> None:
    frame = FEW.assign(
        **{name: FEW[name].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo") for name in ("ds", "cutoff")}
    )
    (axis,) = plots.plot_backtest(frame, "s0", model="model_0").axes
    assert axis.get_xlabel() == "time (Asia/Tokyo)"
    first = axis.lines[0].get_xdata(orig=False)[0]
    assert first == pytest.approx(date2num(FEW["ds"].min() + pd.Timedelta(hours=9)))


# Errors


@pytest.mark.parametrize("metric", ["mae", "me", "rmse"])
@pytest.mark.parametrize("scaled", [False, True])
def test_errors_by_step_are_means_over_what_was_observed(metric: Any, scaled: bool) -> None:
    scale = {"s0": 1.0, "s1": 2.0, "s2": 5.0} if scaled else None
    (axis,) = plots.plot_error_by_step(FEW, metric, scale=scale).axes
    for model in ("model_0", "model_1"):
        wanted = []
        for step in range(1, 13):
            errors = [
                (row.y - row.mean_) / (scale[row.unique_id] if scale else 1.0)
                for row in FEW.rename(columns={"mean": "mean_"}).itertuples()
                if row.model == model and row.step == step and row.y == row.y
            ]
            wanted.append({"mae": sum(map(abs, errors)) / len(errors), "me": sum(errors) / len(errors),
                           "rmse": (sum(e * e for e in errors) / len(errors)) ** 0.5}[metric])  # fmt: skip
        np.testing.assert_allclose(lines(axis)[model], wanted)


def test_bands_are_quartiles_over_series_and_only_of_few_models() -> None:
    (axis,) = plots.plot_error_by_step(FEW).axes
    edges = axis.collections[0].get_paths()[0].vertices
    rows = FEW[(FEW["model"] == "model_0") & (FEW["step"] == 5)]
    own = [np.nanmean((row["y"] - row["mean"]).abs()) for _, row in rows.groupby("unique_id")]
    at = edges[edges[:, 0] == 5.0][:, 1]
    assert sorted({round(v, 9) for v in at}) == [round(float(v), 9) for v in np.quantile(own, [0.25, 0.75])]
    assert "quartiles over series" in legend_texts(plots.plot_error_by_step(FEW))
    assert not plots.plot_error_by_step(MANY).axes[0].collections
    assert not plots.plot_error_by_step(ONE).axes[0].collections
    assert len(plots.plot_error_by_step(MANY, models=["model_7", "model_2"]).axes[0].collections) == 2


def test_models_keep_their_lines_where_others_are_left_out() -> None:
    every = {line.get_label(): line.get_color() for line in plots.plot_error_by_step(MANY).axes[0].lines}
    (alone,) = plots.plot_error_by_step(MANY, models=["model_4"]).axes[0].lines
    assert alone.get_color() == every["model_4"]


def test_residuals_are_four_pictures_of_the_same_numbers() -> None:
    figure = plots.plot_residuals(FEW, "model_0", series="s2")
    over_time, correlation, histogram, quantiles = figure.axes
    own = FEW[(FEW["unique_id"] == "s2") & (FEW["model"] == "model_0")]
    error = (own["y"] - own["mean"]).to_numpy()
    np.testing.assert_allclose(over_time.lines[0].get_ydata(), error)
    seen = error[~np.isnan(error)]
    centred = error - seen.mean()
    for lag, drawn in zip(range(1, 36), correlation.lines[1].get_ydata(), strict=True):
        pairs = sum(
            centred[t] * centred[t + lag] for t in range(36 - lag) if not np.isnan(centred[t] * centred[t + lag])
        )
        assert drawn == pytest.approx(pairs / np.nansum(centred**2))
    band = correlation.patches[0].get_window_extent().transformed(correlation.transData.inverted())
    assert band.y1 == pytest.approx(1.96 / len(seen) ** 0.5)
    bars = histogram.patches
    assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1.0)
    curve = histogram.lines[0]
    assert curve.get_ydata().max() == pytest.approx(stats.norm.pdf(0) / seen.std(), rel=1e-3)
    np.testing.assert_allclose(curve.get_ydata(), stats.norm.pdf(curve.get_xdata(), seen.mean(), seen.std()))
    (z, ordered) = quantiles.lines[1].get_data()
    np.testing.assert_allclose(ordered, np.sort(seen))
    np.testing.assert_allclose(z, stats.norm.ppf((np.arange(len(seen)) + 0.5) / len(seen)))


def test_autocorrelation_is_that_of_statsmodels() -> None:
    acf = pytest.importorskip("statsmodels.tsa.stattools").acf
    x = np.random.default_rng(0).normal(size=200).cumsum()
    ours = autocorrelation(x - x.mean(), np.zeros(200), 20)
    np.testing.assert_allclose(ours, acf(x, nlags=20, fft=False))


def test_pairs_across_a_hole_are_no_pairs() -> None:
    x = np.array([1.0, -1.0, 2.0, 0.5])
    assert autocorrelation(x, np.array([1, 1, 2, 2]), 1)[1] == pytest.approx((1 * -1 + 2 * 0.5) / (x**2).sum())


def test_residuals_of_several_series_are_in_their_own_units() -> None:
    figure = plots.plot_residuals(FEW, "model_0")
    own = FEW[FEW["model"] == "model_0"]
    error = own["y"] - own["mean"]
    wanted = (error / error.groupby(own["unique_id"]).transform(lambda e: e.std(ddof=0))).dropna()
    np.testing.assert_allclose(figure.axes[3].lines[1].get_ydata(), np.sort(wanted))
    assert "std. dev." in figure.axes[0].get_ylabel()


def test_of_overlapping_folds_the_latest_cutoff_counts() -> None:
    frame = made(models=1, series=1, step=6, folds=2)
    drawn = plots.plot_residuals(frame, "model_0").axes[0].lines[0].get_ydata()
    kept = frame[(frame["fold"] == 2) | (frame["step"] <= 6)].sort_values("ds")
    np.testing.assert_allclose(drawn, kept["y"] - kept["mean"])


def test_residuals_without_variation_can_be_drawn() -> None:
    frame = ONE.assign(y=ONE["mean"] + 1.0)
    figure = plots.plot_residuals(frame, "model_0")
    assert "not defined" in figure.axes[1].texts[0].get_text()
    check_looks(figure, "light")


# Calibration


def test_reliability_counts_actuals_below_each_quantile() -> None:
    figure = plots.plot_reliability(FEW)
    main, *pits = figure.axes
    assert [axis.get_title(loc="left") for axis in pits] == ["model_0", "model_1"]
    for model, pit in zip(("model_0", "model_1"), pits, strict=True):
        own = FEW[(FEW["model"] == model) & FEW["y"].notna()]
        below = [sum(y <= q for y, q in zip(own["y"], own[level_column(p)], strict=True)) / len(own) for p in LEVELS]
        np.testing.assert_allclose(lines(main)[model], below)
        edges = [0.0, *below, 1.0]
        nominal = [0.0, *LEVELS, 1.0]
        for k, bar in enumerate(pit.patches):
            ratio = (edges[k + 1] - edges[k]) / (nominal[k + 1] - nominal[k])
            assert bar.get_height() == pytest.approx(ratio)
            assert (bar.get_x(), bar.get_width()) == pytest.approx((nominal[k], nominal[k + 1] - nominal[k]))
    np.testing.assert_array_equal(main.lines[0].get_xydata(), [[0, 0], [1, 1]])


def test_a_calibrated_forecast_lies_on_the_diagonal() -> None:
    y = np.random.default_rng(1).normal(size=20_000)
    frame = pd.DataFrame({"model": "right", "y": y, **{level_column(q): stats.norm.ppf(q) for q in LEVELS}})
    main, pit = plots.plot_reliability(frame).axes
    np.testing.assert_allclose(lines(main)["right"], LEVELS, atol=0.02)
    np.testing.assert_allclose([bar.get_height() for bar in pit.patches], 1.0, atol=0.05)


def test_chosen_levels_alone_are_drawn() -> None:
    main = plots.plot_reliability(FEW, levels=(0.9, 0.1)).axes[0]
    np.testing.assert_array_equal(main.lines[1].get_xdata(), [0.1, 0.9])


# Comparison


def test_ranks_stand_where_they_belong_and_bars_span_their_groups() -> None:
    ranks = {"c": 2.9, "a": 1.1, "b": 2.0}
    groups = [("a", "b"), ("b", "c"), ("c",)]
    (axis,) = plots.plot_critical_difference(ranks, 1.0, groups=groups).axes
    dots = [float(line.get_xdata()[0]) for line in axis.lines if line.get_marker() == "o"]
    assert dots == [1.1, 2.0, 2.9]
    bars = [line for line in axis.lines if line.get_linewidth() == 4.5]
    assert [np.mean(line.get_xdata()) for line in bars] == pytest.approx([1.55, 2.45])
    assert all(0.9 <= np.ptp(line.get_xdata()) <= 1.0 for line in bars)
    assert bars[0].get_ydata()[0] != bars[1].get_ydata()[0]  # they share b, and do not touch
    ruler = next(line for line in axis.lines if line.get_marker() == "|")
    assert np.ptp(ruler.get_xdata()) == pytest.approx(1.0)
    assert [text.get_text() for text in axis.texts] == ["a  1.10", "b  2.00", "c  2.90", "critical difference 1.00"]


def test_bars_that_do_not_meet_share_a_lane() -> None:
    ranks = {name: float(k + 1) for k, name in enumerate("abcde")}
    (axis,) = plots.plot_critical_difference(ranks, 1.5, groups=[("a", "b"), ("d", "e"), ("b", "c", "d")]).axes
    lanes = [line.get_ydata()[0] for line in axis.lines if line.get_linewidth() == 4.5]
    assert lanes[0] == lanes[2] != lanes[1]


def test_a_heatmap_holds_means_and_marks_the_best() -> None:
    scores = scores_of(FEW)
    axis = plots.plot_heatmap(scores, "mae").axes[0]
    image = np.asarray(axis.images[0].get_array())
    for i, name in enumerate(["s0", "s1", "s2"]):
        for j, model in enumerate(["model_0", "model_1"]):
            one = scores[(scores["unique_id"] == name) & (scores["model"] == model)]["mae"]
            assert image[i, j] == pytest.approx(sum(one) / 3)
            text = axis.texts[2 * i + j]
            assert float(text.get_text()) == pytest.approx(image[i, j], rel=0.005)
            assert (text.get_fontweight() == "bold") == (image[i, j] == image[i].min())
    bias = plots.plot_heatmap(scores, "bias").axes[0]
    assert [text.get_fontweight() for text in bias.texts[:2]] == ["bold", "normal"]  # -0.1 is nearer to zero than 0.5
    assert {text.get_fontweight() for text in plots.plot_heatmap(scores, "coverage").axes[0].texts} == {"normal"}


def test_scores_that_are_not_defined_are_dashes() -> None:
    scores = scores_of(FEW)
    scores.loc[scores["unique_id"] == "s1", "mae"] = np.nan
    figure = plots.plot_heatmap(scores, "mae")
    assert [text.get_text() for text in figure.axes[0].texts][2:4] == ["–", "–"]
    check_looks(figure, "light", legend=False)


# Windows


def test_windows_are_drawn_to_scale_and_end_with_the_series() -> None:
    (axis,) = plots.plot_windows(100, 24, stride=12).axes
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axis.patches]
    assert spans[-2:] == [(-124, -24), (-24, 0)]
    assert spans[-4:-2] == [(-136, -36), (-36, -12)]
    cutoffs = [line.get_xdata()[0] for line in axis.lines]
    assert cutoffs == [-72, -60, -48, -36, -24]
    assert legend_texts(plots.plot_windows(100, 24)) == ["series", "input, 100 steps", "horizon, 24 steps", "cutoff"]


# Names and errors


def test_odd_names_are_written_as_they_are_and_long_ones_shortened() -> None:
    names = {"s0": "_net $ gross $", "s1": "a" * 40 + "1", "s2": "line\nbreak"}
    frame = FEW.assign(
        unique_id=FEW["unique_id"].map(names), model=FEW["model"].map({"model_0": "_m$1$", "model_1": "x" * 60})
    )
    figure = plots.plot_backtest(frame, list(names.values()), model="_m$1$")
    assert figure.axes[1].get_title(loc="left") == "a" * 14 + "…" + "a" * 12 + "1"
    check_looks(figure, "light")
    figure = plots.plot_error_by_step(frame)
    assert legend_texts(figure)[0] == r"_m\$1\$"
    check_looks(figure, "light")
    check_looks(plots.plot_reliability(frame), "light")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.plot_backtest(FEW, "s9", model="model_0"), "unknown series 's9'; the frame has 's0', 's1'"),
        (lambda: plots.plot_backtest(FEW, [], model="model_0"), "no series was chosen"),
        (lambda: plots.plot_backtest(FEW, "s0", model="modl_0"), "unknown model 'modl_0'.*Did you mean 'model_0'"),
        (lambda: plots.plot_error_by_step(FEW, "maee"), "unknown metric 'maee'.*Did you mean 'mae'"),
        (lambda: plots.plot_error_by_step(FEW, models=["no"]), "unknown model 'no'"),
        (lambda: plots.plot_error_by_step(FEW, scale={"s0": 1.0, "s1": 0.0}), "none for 's1', 's2'"),
        (lambda: plots.plot_error_by_step(FEW[["y", "mean"]]), "lacks the columns 'unique_id', 'step', 'model'"),
        (lambda: plots.plot_error_by_step(FEW.head(0)), "no rows"),
        (lambda: plots.plot_residuals(FEW, "ets"), "unknown model 'ets'"),
        (lambda: plots.plot_residuals(FEW, "model_0", series=["x"]), "unknown series 'x'"),
        (lambda: plots.plot_residuals(FEW.assign(y=np.nan), "model_0"), "at least two observed actuals"),
        (lambda: plots.plot_residuals(FEW.assign(y=FEW["mean"]), "model_0"), "do not vary"),
        (lambda: plots.plot_reliability(FEW[["model", "y"]]), "has no quantiles"),
        (lambda: plots.plot_reliability(FEW, levels=(0.1, 0.3)), "no quantiles of level 0.3; its levels are 0.1, 0.25"),
        (lambda: plots.plot_reliability(FEW.assign(y=np.nan)), "'model_0' has no observed actual"),
        (lambda: plots.plot_critical_difference({"a": 1.0}, 1.0), "at least two models"),
        (lambda: plots.plot_critical_difference({"a": 1.0, "b": np.nan}, 1.0), "between 1 and .* 'b'"),
        (lambda: plots.plot_critical_difference({"a": 1.0, "b": 2.0}, 0.0), "positive number"),
        (lambda: plots.plot_critical_difference({"lstm": 1.0, "b": 2.0}, 1.0, groups=[("lstn", "b")]), "mean 'lstm'"),
        (lambda: plots.plot_heatmap(scores_of(FEW), "mea"), "unknown metric 'mea'.*Did you mean 'mae'"),
        (lambda: plots.plot_heatmap(scores_of(FEW), "mae", by={"s0": "x"}), "none for 's1', 's2'"),
        (lambda: plots.plot_heatmap(scores_of(FEW).assign(mae=np.nan), "mae"), "no score is defined"),
        (lambda: plots.plot_heatmap(scores_of(made(series=81, folds=1)), "mae"), "81 rows cannot be read"),
        (lambda: plots.plot_windows(0, 4), "input_length must be at least 1, got 0"),
        (lambda: plots.plot_windows(4, 4, theme="drak"), "unknown theme 'drak'.*Did you mean 'dark'"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(draw: Callable[[], Figure], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        draw()


def test_folds_of_series_that_are_not_there_or_too_short_are_refused(seasonal_panel: Panel) -> None:
    with pytest.raises(ArgumentError, match="series not in the panel: 'nobody'"):
        plots.plot_folds(seasonal_panel, RollingOrigin(12), series=["nobody"])
    with pytest.raises(ArgumentError, match="no series was chosen"):
        plots.plot_folds(seasonal_panel, RollingOrigin(12), series=[])
    with pytest.raises(TooShortError, match="too short"):
        plots.plot_folds(seasonal_panel, RollingOrigin(24, folds=9))


def test_the_frame_of_a_backtest_can_be_drawn(seasonal_panel: Panel) -> None:
    models = {"naive": Naive(), "seasonal": SeasonalNaive()}
    result = backtest(models, seasonal_panel, RollingOrigin(12, folds=2), levels=LEVELS)
    (axis,) = plots.plot_error_by_step(result.frame).axes
    error = (result.frame["y"] - result.frame["mean"]).abs()
    for name in models:
        wanted = error[result.frame["model"] == name].groupby(result.frame["step"]).mean()
        np.testing.assert_allclose(lines(axis)[name], wanted)
    check_looks(plots.plot_heatmap(result.scores), "light", legend=False)
    check_looks(plots.plot_residuals(result.frame, "naive"), "light")
    check_looks(plots.plot_reliability(result.frame), "light")
    check_looks(plots.plot_backtest(result.frame, seasonal_panel.ids.tolist(), model="seasonal"), "light")
