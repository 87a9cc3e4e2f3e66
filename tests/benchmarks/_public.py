"""Public data sets with a published test part, as panels, and the scores that published tables use."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast_kit import Forecaster, Naive2, Panel
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.evaluation import metrics


@dataclass(frozen=True)
class PublicSet:
    """A panel with a test part, and what others reached on it.

    Attributes:
        title: its name in tables.
        file: in the folder of data sets.
        horizon: steps of the test part.
        season_length: of the published MASE.
        measure: `"owa"` or `"mase"`.
        goal: the score to be below.
        whose: who reached it.
        fields: of the schema, besides the season.
    """

    title: str
    file: str
    horizon: int
    season_length: int
    measure: str
    goal: float
    whose: str
    fields: dict[str, Any] = field(default_factory=lambda: {"freq": 1})

    def load(self, folder: Path) -> Public:
        """The series before their test part, and the test part of those that have one."""
        rows = pd.read_parquet(folder / self.file).sort_values(["unique_id", "ds"])
        rows["unique_id"] = rows["unique_id"].astype(str)
        test = rows[rows["split"] == "test"]
        panel = Panel.from_frame(
            rows.loc[rows["split"] != "test", ["unique_id", "ds", "y"]], season_length=self.season_length, **self.fields
        )
        ids = np.unique(test["unique_id"])
        return Public(self, panel, ids, test["y"].to_numpy().reshape(len(ids), self.horizon))


@dataclass(frozen=True)
class Public:
    """A data set as it was loaded: what may be learned from, and what is to be forecast.

    Attributes:
        about: what it is.
        panel: the training part; series without a test part are in it too.
        ids: `[N]` the series with a test part.
        actual: `[N, H]` their test part.
    """

    about: PublicSet
    panel: Panel
    ids: np.ndarray
    actual: np.ndarray

    def scores(self, mean: np.ndarray) -> dict[str, float]:
        """Mean sMAPE in per cent and MASE of forecasts `[N, H]`, and their OWA against Naive2 on the same series."""
        smape, mase = self._parts(mean)
        found = {"smape": smape, "mase": mase}
        if self.about.measure == "owa":
            yardstick = self._parts(Naive2().fit(self.panel.take(self.ids)).predict(self.about.horizon).mean)
            found["owa"] = float(np.mean(np.divide((smape, mase), yardstick)))
        return found

    def _parts(self, mean: np.ndarray) -> tuple[float, float]:
        observed = np.ones(self.actual.shape, bool)
        scale = seasonal_error(self.panel.take(self.ids), self.about.season_length)
        smape, mase = metrics.smape(self.actual, mean, observed), metrics.mase(self.actual, mean, observed, scale)
        return float(smape.mean()), float(mase.mean())


M4 = {
    "hourly": PublicSet("M4 Hourly", "m4_hourly.parquet", 48, 24, "owa", 0.440, "ES-RNN"),
    "weekly": PublicSet("M4 Weekly", "m4_weekly.parquet", 13, 1, "owa", 0.851, "ES-RNN"),
    "yearly": PublicSet("M4 Yearly, 500 series", "m4_yearly.parquet", 6, 1, "owa", 0.0, ""),
    "quarterly": PublicSet("M4 Quarterly, 500 series", "m4_quarterly.parquet", 8, 4, "owa", 0.0, ""),
    "monthly": PublicSet("M4 Monthly, 100 series", "m4_monthly.parquet", 18, 12, "owa", 0.0, ""),
}
MONASH = {
    "tourism": PublicSet("Tourism Monthly", "tourism_monthly.parquet", 24, 12, "mase", 1.409, "DeepAR", {"freq": "MS"}),
    "hospital": PublicSet("Hospital", "hospital.parquet", 12, 12, "mase", 0.761, "Theta", {"freq": "MS"}),
    "births": PublicSet(
        "US Births", "us_births.parquet", 30, 7, "mase", 1.453, "TBATS",
        {"freq": "D", "calendar": ["week:3", "year:6", "holiday:US:2"]},
    ),
    "electricity": PublicSet(
        "Electricity Weekly", "electricity_weekly.parquet", 8, 52, "mase", 0.769, "FFNN", {"freq": "W-SUN"}
    ),
}  # fmt: skip


def published_owa(name: str, ids: np.ndarray, folder: Path, method: str) -> float:
    """A published method's OWA against Naive2 on these series of an M4 set."""
    scores = pd.read_parquet(folder / f"m4_scores_{name}.parquet")
    scores = scores[scores["unique_id"].astype(str).isin(ids)].groupby("method")[["smape", "mase"]].mean()
    return float((scores.loc[method] / scores.loc["Naive2"]).mean())


@dataclass(frozen=True)
class LongHorizon:
    """ETTh1 as the literature uses it: each channel a series, z-scored by the training part.

    Attributes:
        train: the first 12 months.
        values: `[7, T]` all steps.
        test: the first step of the test part, and the one after its last.
    """

    train: Panel
    values: np.ndarray
    test: tuple[int, int]

    def mse(self, model: Forecaster, horizon: int) -> float:
        """Over all windows of the test part, one step apart, none dropped."""
        length = model.context_length
        begin, end = self.test
        origins = np.arange(begin, end - horizon + 1)
        squares, names = 0.0, [f"w{k:04d}" for k in range(len(origins))]
        for channel in self.values:
            past = np.stack([channel[origin - length : origin] for origin in origins])
            ahead = np.stack([channel[origin : origin + horizon] for origin in origins])
            windows = pd.DataFrame({
                "unique_id": np.repeat(names, length), "ds": np.tile(np.arange(length), len(names)), "y": past.ravel()
            })  # fmt: skip
            forecast = model.predict(horizon, history=Panel.from_frame(windows, self.train.schema))
            squares += float(np.square(forecast.mean - ahead).mean())
        return squares / len(self.values)


def etth1(folder: Path) -> LongHorizon:
    """ETTh1, 12/4/4 months of 30 days."""
    rows = pd.read_parquet(folder / "etth1.parquet").sort_values("ds")
    channels = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    values = rows[channels].to_numpy(np.float64).T
    parts = {name: int((rows["split"] == name).sum()) for name in ("train", "val", "test")}
    first, second = parts["train"], parts["train"] + parts["val"]
    values = (values - values[:, :first].mean(1, keepdims=True)) / values[:, :first].std(1, keepdims=True)

    wide = pd.DataFrame(values[:, :first].T, columns=channels).assign(ds=np.arange(first))
    train = Panel.from_frame(wide.melt("ds", var_name="unique_id", value_name="y"), freq=1, season_length=24)
    return LongHorizon(train, values, (second, second + parts["test"]))


@dataclass(frozen=True)
class Bikes:
    """Hourly bike rentals with weather that is known ahead; the last 31 days are forecast, a day at a time.

    Attributes:
        frame: all rows, with the covariates as numbers.
        train: the rows before the test part.
        days: the first rows of the days of the test part.
        actual: `[D, 24]` what came true.
    """

    frame: pd.DataFrame
    train: Panel
    days: np.ndarray
    actual: np.ndarray

    def forecasts(self, model: Forecaster) -> np.ndarray:
        """`[D, 24]` the forecasts of every day from what lies before it; the model is not fitted anew."""
        if model.schema_ is None:
            model.fit(self.train)
        found = []
        for day in self.days:
            before = self.frame.iloc[day - model.context_length : day]
            ahead = self.frame.iloc[day : day + 24].drop(columns="y")
            found.append(model.predict(24, history=before, future=ahead).mean[0])
        return np.stack(found)


WEATHER = ["temp", "atemp", "hum", "windspeed"]


def bike_sharing(folder: Path) -> Bikes:
    """The rentals of two years in Washington."""
    rows = pd.read_parquet(folder / "bike_sharing_hourly.parquet").sort_values("ds").reset_index(drop=True)
    frame = rows[["unique_id", "ds", "y", *WEATHER, "holiday", "workingday"]]
    split = int((rows["split"] != "test").sum())
    days = np.arange(split, len(rows) - 23, 24)
    train = Panel.from_frame(
        frame.iloc[:split], freq="h", future=[*WEATHER, "holiday", "workingday"], calendar=["day:3", "week:2", "year:2"]
    )
    return Bikes(frame, train, days, np.stack([rows["y"].to_numpy()[day : day + 24] for day in days]))
