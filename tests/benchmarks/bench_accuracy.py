"""Networks on public series with a published test part, beside the scores that others reached on them.

Wants the folder of public data sets beside the checkout (`m4_hourly.parquet`, `etth1.parquet`, ...). Every
figure of the table comes from the run; the networks see the training parts alone.

    python tests/benchmarks/bench_accuracy.py [--only hourly etth1] [--data ../shared/data] [--out build/accuracy]

Writes `accuracy.md` and `accuracy.parquet`, and prints each row as it is there.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from _public import M4, MONASH, PublicSet, bike_sharing, etth1, published_owa
from _tutorial import tutorial_lstm

from forecast_kit import NeuralForecaster, SeasonalNaive, recommended
from forecast_kit.evaluation import metrics
from forecast_kit.nn.networks import PRESETS

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Row:
    """A line of the table: a score, what it is held against, and what it cost in seconds."""

    data: str
    model: str
    metric: str
    value: float
    goal: float | None = None
    whose: str = ""
    fit_s: float = float("nan")
    predict_s: float = float("nan")

    def __str__(self) -> str:
        cells = [self.data, self.model, self.metric, f"{self.value:.3f}"]
        cells += ["", "", ""] if self.goal is None else [f"{self.goal:.3f}", self.whose, self.met]
        return "| " + " | ".join([*cells, *(f"{s:.1f}" for s in (self.fit_s, self.predict_s))]) + " |"

    @property
    def met(self) -> str:
        """Whether the score is below the goal."""
        return "" if self.goal is None else "yes" if self.value < self.goal else "no"


HEADER = (
    "| data | model | metric | value | goal | whose | met | fit s | predict s |\n|---|---|---|---|---|---|---|---|---|"
)


def on_panel(name: str, about: PublicSet, folder: Path) -> Iterator[Row]:
    """The recommended forecaster on one data set; on M4 Hourly also its first network alone, and how sure both are."""
    public = about.load(folder)
    models = {"recommended": recommended(public.panel, about.horizon, levels=LEVELS)}
    if name == "hourly":
        models["its GRU alone"] = recommended(public.panel, about.horizon, levels=LEVELS, members=1)
    for title, model in models.items():
        started = time.perf_counter()
        model.fit(public.panel)
        fitted = time.perf_counter()
        forecast = model.predict(about.horizon, levels=LEVELS)
        seconds = {"fit_s": fitted - started, "predict_s": time.perf_counter() - fitted}
        at = np.searchsorted(forecast.ids, public.ids)
        found = public.scores(forecast.mean[at])
        goals = [(about.goal, about.whose)] if about.whose else []
        if about.measure == "owa":
            goals += [(published_owa(name, public.ids, folder, whose), whose) for whose in ("Theta", "Com", "RNN")]
        for goal, whose in goals:
            yield Row(about.title, title, about.measure.upper(), found[about.measure], goal, whose, **seconds)
        others = [key for key in found if key != about.measure]
        yield from (Row(about.title, title, key, found[key], **seconds) for key in others)
        if name == "hourly":
            for metric, value, goal in intervals(public.actual, forecast.quantiles[at]):
                yield Row(about.title, title, metric, value, goal, "nominal" if goal else "", **seconds)


def intervals(actual: np.ndarray, quantiles: np.ndarray) -> Iterator[tuple[str, float, float | None]]:
    """How right the quantiles are: a measure, its value, and where there is one what it should be below."""
    observed = np.ones(actual.shape, bool)
    inside = float(metrics.coverage(actual, quantiles[:, :, 0], quantiles[:, :, -1], observed).mean())
    yield "coverage of the 80 % interval", inside, None
    yield "its distance from 0.8", abs(inside - 0.8), 0.03
    yield "weighted quantile loss", float(metrics.wql(actual, quantiles, observed, np.array(LEVELS)).mean()), None


def long_horizons(folder: Path) -> Iterator[Row]:
    """MSE on ETTh1, 7 channels, z-scored by the training part, over all windows of the test part."""
    segrnn = {96: 0.351, 192: 0.392, 336: 0.423, 720: 0.466}
    repeated = {96: 0.512, 192: 0.581, 336: 0.650, 720: 0.655}
    data = etth1(folder)
    for horizon in segrnn:
        model = NeuralForecaster(
            {"network": "segrnn", "units": 128, "segment": 24, "dropout": 0.1}, horizon=horizon, input_length=720,
            head={"head": "point", "loss": "mae"}, transform=(),
            training={"steps": 1000, "batch_size": 256, "learning_rate": 1e-3},
        )  # fmt: skip
        started = time.perf_counter()
        model.fit(data.train)
        fitted = time.perf_counter()
        error = data.mse(model, horizon)
        seconds = {"fit_s": fitted - started, "predict_s": time.perf_counter() - fitted}
        for goal, whose in ((repeated[horizon], "seasonal naive"), (segrnn[horizon], "SegRNN, published")):
            yield Row(f"ETTh1, {horizon} steps", model.name, "MSE", error, goal, whose, **seconds)


def bikes(folder: Path) -> Iterator[Row]:
    """MAE of each recurrent preset on bike sharing with known-future weather, against the tutorial's LSTM."""
    data = bike_sharing(folder)
    started = time.perf_counter()
    recipe = tutorial_lstm(data)
    spent = time.perf_counter() - started
    about = "Bike sharing, 24 h"
    goal = float(np.abs(data.actual - recipe).mean())
    yield Row(about, "keras.layers.LSTM, tutorial", "MAE", goal, fit_s=spent)
    naive = data.forecasts(SeasonalNaive(168, horizon=24))
    yield Row(about, "last week again", "MAE", float(np.abs(data.actual - naive).mean()))
    for name in PRESETS:
        model = NeuralForecaster(
            name, horizon=24, input_length=168, levels=LEVELS, training={"steps": 600, "validation": 14, "patience": 5}
        )
        started = time.perf_counter()
        model.fit(data.train)
        fitted = time.perf_counter()
        error = float(np.abs(data.actual - data.forecasts(model)).mean())
        seconds = {"fit_s": fitted - started, "predict_s": time.perf_counter() - fitted}
        yield Row(about, name, "MAE", error, goal, "keras.layers.LSTM, tutorial", **seconds)


SECTIONS: dict[str, Callable[[Path], Iterator[Row]]] = {
    **{name: partial(on_panel, name, about) for name, about in {**M4, **MONASH}.items()},
    "etth1": long_horizons,
    "bikes": bikes,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2].parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("build/accuracy"))
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    print(HEADER, flush=True)
    rows: list[Row] = []
    started = time.perf_counter()
    for name in chosen.only:
        for row in SECTIONS[name](chosen.data):
            print(row, flush=True)
            rows.append(row)
    chosen.out.mkdir(parents=True, exist_ok=True)
    table = "\n".join([HEADER, *map(str, rows)])
    (chosen.out / "accuracy.md").write_text(f"{table}\n\n{time.perf_counter() - started:.0f} s in all.\n")
    pd.DataFrame([{**asdict(row), "met": row.met} for row in rows]).to_parquet(chosen.out / "accuracy.parquet")


if __name__ == "__main__":
    main()
