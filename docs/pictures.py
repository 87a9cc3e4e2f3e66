"""Draws the pictures of the site into `docs/assets/`, each light and dark: `python docs/pictures.py [FOLDER]`.

They show what the library does, not what somebody thinks it does: folds come from `RollingOrigin`, windows from
`WindowIndex`, what is known on a day from the jobs' own `known_at`, a promotion from the gate. None of the methods that
are fitted draws random numbers, so the pictures change only when what they show does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import forecast_kit as fk
from forecast_kit.data.windows import WindowIndex, WindowSpec
from forecast_kit.evaluation.gate import Gate
from forecast_kit.evaluation.gate import judge as pass_gate
from forecast_kit.evaluation.plots.style import ThemeName, as_numbers, dress, legend_below, sheet, theme_of, time_axis
from forecast_kit.jobs.asof import AsOf, first_step, known_at

ASSETS = Path(__file__).parent / "assets"


def start(theme: ThemeName) -> Figure:
    """A forecast with its intervals, and what came true."""
    panel = fk.Panel.from_frame(*fk.load("air_passengers"))
    train, test = panel.split(24)
    forecast = fk.HoltWinters("mul").fit(train).predict(24, levels=(0.025, 0.1, 0.25, 0.75, 0.9, 0.975))
    return fk.plot_forecast(forecast, train, actuals=test, tail=72, theme=theme)


def ragged() -> fk.Panel:
    """Four daily series that begin and end at different times."""
    days = {"berlin": (0, 120), "hamburg": (20, 120), "munich": (45, 120), "cologne": (10, 105)}
    rows = [pd.DataFrame({"unique_id": name, "ds": pd.date_range("2024-01-01", periods=120)[first:last], "y": 1.0})
            for name, (first, last) in days.items()]  # fmt: skip
    return fk.Panel.from_frame(pd.concat(rows), freq="D")


def folds(theme: ThemeName) -> Figure:
    """Three folds of a ragged panel."""
    return fk.plot_folds(ragged(), fk.RollingOrigin(horizon=14, folds=3), theme=theme)


def folds_calendar(theme: ThemeName) -> Figure:
    """Folds at the same dates for all series, with a sliding window, a gap and an embargo."""
    splitter = fk.RollingOrigin(horizon=14, folds=3, window=60, gap=3, embargo=7, align="calendar")
    return fk.plot_folds(ragged(), splitter, theme=theme)


def windows(theme: ThemeName) -> Figure:
    """The windows of two series, one of them short, one with a gap: used, padded and dropped."""
    look = theme_of(theme)
    values = {"long": np.ones(26), "short": np.ones(9)}
    values["long"][9:13] = np.nan
    frame = pd.concat([pd.DataFrame({"unique_id": name, "ds": range(len(y)), "y": y}) for name, y in values.items()])
    panel = fk.Panel.from_frame(frame, freq=1, gaps="mask")
    spec = WindowSpec(input_length=8, horizon=3, stride=3, min_history=3, max_gap=2)
    index = WindowIndex(panel, spec)
    series, origins = index.locate(np.arange(len(index)))
    figure = sheet(look, (8.4, 4.4))
    axis = figure.subplots()
    labels: list[str] = []
    for row in range(len(panel)):
        span = slice(panel.indptr[row], panel.indptr[row + 1])
        for step, there in enumerate(panel.observed[span]):
            _cell(axis, len(labels), step, look.history if there else look.paper, look.history, there)
        labels.append(f"series {panel.ids[row]}")
        for origin in origins[series == row].tolist():
            for step in range(origin - spec.input_length, origin):
                _cell(axis, len(labels), step, look.seen if step >= 0 else look.paper, look.seen, step >= 0)
            for step in range(origin, origin + spec.horizon):
                _cell(axis, len(labels), step, look.forecast, look.forecast, True)
            axis.plot([origin] * 2, [len(labels) - 0.45, len(labels) + 0.45], color=look.ink, lw=2.0)
            labels.append("window")
    report = index.report()
    lost = sum(one.windows for one in report.dropped)
    title = (
        f"{report.windows} windows, {report.padded} of them padded, {lost} dropped for the gap or too little history"
    )
    dress(axis, look, title=title, x="step", grid="none")
    axis.set_yticks(range(len(labels)), labels)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.set(xlim=(-5.6, 26.4), ylim=(len(labels) - 0.4, -0.7))
    kinds = [
        ("observed", {"facecolor": look.history}),
        ("missing", {"facecolor": look.paper, "edgecolor": look.history, "ls": ":"}),
        (f"input, {spec.input_length} steps", {"facecolor": look.seen}),
        ("padding", {"facecolor": look.paper, "edgecolor": look.seen, "ls": ":"}),
        (f"horizon, {spec.horizon} steps", {"facecolor": look.forecast}),
    ]
    legend_below(figure, look, [Patch(**kind) for _, kind in kinds], [name for name, _ in kinds])
    return figure


def _cell(axis: object, row: int, step: int, face: str, edge: str, solid: bool) -> None:
    axis.barh(row, 0.86, left=step + 0.07, height=0.6, color=face, edgecolor=edge, lw=0.8, ls="-" if solid else ":")


def covariates(theme: ThemeName) -> Figure:
    """Target, a past-only and two known-future covariates around a cutoff, as a forecaster sees them."""
    look = theme_of(theme)
    frame, _ = fk.load("bike_sharing_hourly")
    panel = fk.Panel.from_frame(frame, freq="h", past=("hum",), future=("temp", "holiday")).tail(24 * 12)
    (fold,) = fk.RollingOrigin(horizon=48).split(panel)
    known, ahead = fold.history.tail(24 * 7), fold.future[0]
    past = as_numbers(known.axis.stamps(known.row_steps))
    later = as_numbers(fold.history.horizon_stamps(48)[0])
    figure = sheet(look, (8.4, 5.0))
    axes = figure.subplots(4, 1, sharex=True)
    rows = [("target: rentals", known.y, None), ("past: humidity", known.past[:, 0], None),
            ("future: temperature", known.future[:, 0], ahead[:, 0]),
            ("future: holiday", known.future[:, 1], ahead[:, 1])]  # fmt: skip
    for axis, (name, before, after) in zip(axes, rows, strict=True):
        dress(axis, look, title=name, grid="x")
        axis.plot(past, before, color=look.history, lw=1.2)
        if after is None:
            axis.axvspan(past[-1], later[-1], color=look.unseen, lw=0)
        else:
            axis.plot(np.r_[past[-1], later], np.r_[before[-1], after], color=look.forecast, lw=1.4, ls="--")
        axis.axvline(past[-1], color=look.ink, lw=1.6)
        axis.set_yticks([])
        axis.set_xlim(past[0], later[-1])
    time_axis(axes[-1], known.axis.stamps(known.row_steps))
    axes[0].annotate("cutoff", (past[-1], 1.0), xycoords=("data", "axes fraction"), xytext=(4, 3),
                     textcoords="offset points", color=look.ink, fontsize=8)  # fmt: skip
    kinds = {"known": {"facecolor": look.history}, "known ahead": {"facecolor": look.forecast},
             "unknown at the cutoff": {"facecolor": look.unseen}}  # fmt: skip
    legend_below(figure, look, [Patch(**kind) for kind in kinds.values()], list(kinds))
    return figure


def champion(theme: ThemeName) -> Figure:
    """Scores of champion, challenger and baseline on the same folds, and what the gate says."""
    look = theme_of(theme)
    panel = fk.Panel.from_frame(*fk.load("hospital")).take(fk.load("hospital").frame["unique_id"].unique()[:150])
    models = {"baseline: SeasonalNaive": fk.SeasonalNaive(), "champion: HistoricAverage": fk.HistoricAverage(),
              "challenger: Theta": fk.Theta()}  # fmt: skip
    result = fk.backtest(models, panel, fk.RollingOrigin(12, folds=3))
    baseline, old, new = models
    verdict = pass_gate(result, challenger=new, champion=old, baselines=[baseline],
                        gate=Gate(min_skill=0.05, min_gain=0.02, significance=0.05))  # fmt: skip
    scores = result.summary(["mase"], by="fold").reset_index()
    table = scores.pivot_table(index="fold", columns="model", values="mase")[list(models)]
    figure = sheet(look, (8.4, 3.4))
    axis = figure.subplots()
    for number, name in enumerate(models):
        at = np.arange(len(table)) + 0.26 * (number - 1)
        color = (look.seen, look.palette[1], look.forecast)[number]
        axis.bar(at, table[name], width=0.24, color=color, label=name, hatch=("", "//", "")[number],
                 edgecolor=look.paper)  # fmt: skip
        for x, y in zip(at, table[name], strict=True):
            axis.annotate(f"{y:.2f}", (x, y), ha="center", va="bottom", color=look.ink, fontsize=8)
    decision = "promoted" if verdict.promoted else "refused"
    dress(axis, look, title=f"150 hospital series, 3 folds of 12 months: the challenger is {decision}", y="MASE",
          grid="y")  # fmt: skip
    axis.set_xticks(range(len(table)), [f"fold {fold}" for fold in table.index])
    handles, labels = axis.get_legend_handles_labels()
    legend_below(figure, look, handles, labels)
    return figure


def as_of(theme: ThemeName) -> Figure:
    """What a nightly job knows on 1 July: series are late by different numbers of hours, forecasts begin together."""
    look = theme_of(theme)
    stamps = pd.date_range("2024-06-29", "2024-07-02 23:00", freq="h")
    late = {"in time": 0, "5 hours late": 5, "a day late": 24}
    rows = []
    for name, hours in late.items():
        known = stamps < pd.Timestamp("2024-07-01") - pd.Timedelta(hours=hours)
        arrived = known | (stamps >= pd.Timestamp("2024-07-01"))  # what came later; the job must not look at it
        rows.append(pd.DataFrame({"unique_id": name, "ds": stamps[arrived], "y": 1.0}))
    frame = pd.concat(rows, ignore_index=True)
    moment = AsOf.read("2024-07-01")
    schema = fk.PanelSchema(freq="h")
    history, _ = known_at(frame, schema, moment)
    panel = fk.Panel.from_frame(history, schema)
    begin = first_step(panel, moment)
    edge = as_numbers(panel.axis.stamps(np.array([begin, begin + 24])))
    figure = sheet(look, (8.4, 2.6))
    axis = figure.subplots()
    for row, name in enumerate(late):
        place = panel.ids.tolist().index(name)
        ends = as_numbers(panel.axis.stamps(np.array([panel.start[place], panel.last[place] + 1])))
        axis.barh(row, ends[1] - ends[0], left=ends[0], height=0.55, color=look.seen)
        axis.barh(row, edge[0] - ends[1], left=ends[1], height=0.55, color=look.unseen, edgecolor=look.forecast,
                  hatch="//", lw=0)  # fmt: skip
        axis.barh(row, edge[1] - edge[0], left=edge[0], height=0.55, color=look.forecast)
        axis.plot([ends[1]] * 2, [row - 0.38, row + 0.38], color=look.ink, lw=2.0)
    axis.axvline(edge[0], color=look.actual, lw=1.6, ls="--")
    axis.annotate("as-of", (edge[0], 1.0), xycoords=("data", "axes fraction"), xytext=(4, 2),
                  textcoords="offset points", color=look.actual, fontsize=9)  # fmt: skip
    dress(axis, look, title="--as-of 2024-07-01", grid="x")
    axis.set_yticks(range(len(late)), list(late))
    axis.set(ylim=(len(late) - 0.4, -0.6), xlim=(as_numbers(stamps.to_numpy()[:1])[0], edge[1]))
    time_axis(axis, stamps.to_numpy())
    bridged = {"facecolor": look.unseen, "edgecolor": look.forecast, "hatch": "//", "lw": 0}
    kinds = {"known": {"facecolor": look.seen}, "forecast over, not delivered": bridged,
             "delivered": {"facecolor": look.forecast}}  # fmt: skip
    legend_below(figure, look, [Patch(**kind) for kind in kinds.values()], list(kinds))
    return figure


PICTURES: dict[str, Callable[[ThemeName], Figure]] = {
    "start": start, "windows": windows, "folds": folds, "folds-calendar": folds_calendar, "covariates": covariates,
    "champion": champion, "as-of": as_of,
}  # fmt: skip


def draw(folder: Path) -> list[Path]:
    """The files of all pictures, drawn into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    themes: tuple[ThemeName, ...] = ("light", "dark")
    with mpl.rc_context({"svg.hashsalt": "forecast_kit", "svg.fonttype": "path"}):
        for name, picture in PICTURES.items():
            for theme in themes:
                files.append(folder / f"{name}-{theme}.svg")
                picture(theme).savefig(files[-1], metadata={"Date": None})
    return files


if __name__ == "__main__":
    for file in draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ASSETS):
        print(file.name, f"{file.stat().st_size // 1024} KB")
