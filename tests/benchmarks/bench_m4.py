"""OWA of the statistical forecasters on M4 series beside the published methods on the same series.

Wants the folder of public data sets beside the checkout (`m4_yearly.parquet`, `m4_scores_yearly.parquet`, ...).

    python tests/benchmarks/bench_m4.py [--sets yearly quarterly monthly hourly] [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from forecast_kit import ETS, SES, AutoARIMA, AutoETS, Ensemble, Forecaster, Naive2, Panel, SeasonallyAdjusted, Theta
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.evaluation import metrics

SETS = {"yearly": (1, 6), "quarterly": (4, 8), "monthly": (12, 18), "weekly": (1, 13), "hourly": (24, 48)}


def methods() -> dict[str, Forecaster]:
    """Ours, and behind the bar the published method that it is the same as."""
    holt, damped = (ETS(trend=trend, seasonal=None, initial="estimated") for trend in ("add", "damped"))
    return {
        "SeasonallyAdjusted(SES) | SES": SeasonallyAdjusted(SES()),
        "SeasonallyAdjusted(Holt) | Holt": SeasonallyAdjusted(holt),
        "SeasonallyAdjusted(Damped) | Damped": SeasonallyAdjusted(damped),
        "Theta | Theta": Theta(),
        "AutoETS": AutoETS(max_history=336),
        "AutoARIMA | ARIMA": AutoARIMA(max_history=336),
        "median of Theta, AutoETS, AutoARIMA | Com": Ensemble(
            {"theta": Theta(), "ets": AutoETS(max_history=336), "arima": AutoARIMA(max_history=336)}, combine="median"
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["yearly", "quarterly", "monthly", "hourly"])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2].parent / "shared" / "data")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in chosen.sets:
        m, horizon = SETS[name]
        rows = pd.read_parquet(chosen.data / f"m4_{name}.parquet").sort_values(["unique_id", "ds"])
        ids = np.unique(rows.loc[rows["split"] == "test", "unique_id"].astype(str))
        rows = rows[rows["unique_id"].isin(ids)]
        panel = Panel.from_frame(rows.loc[rows["split"] != "test", ["unique_id", "ds", "y"]], freq=1, season_length=m)
        actual = rows.loc[rows["split"] == "test", "y"].to_numpy().reshape(len(panel), horizon)
        observed, scale = np.ones(actual.shape, bool), seasonal_error(panel, m)

        def scores(mean: np.ndarray, actual=actual, observed=observed, scale=scale) -> np.ndarray:
            parts = metrics.smape(actual, mean, observed), metrics.mase(actual, mean, observed, scale)
            return np.array([part.mean() for part in parts])

        published = pd.read_parquet(chosen.data / f"m4_scores_{name}.parquet")
        published = published[published["unique_id"].isin(ids)].groupby("method")[["smape", "mase"]].mean()
        yardstick = scores(Naive2().fit(panel).predict(horizon).mean)
        print(f"M4 {name}, {len(panel)} series:")
        for title, model in methods().items():
            start = time.perf_counter()
            found = scores(model.fit(panel).predict(horizon).mean)
            seconds = time.perf_counter() - start
            own, _, theirs = title.partition(" | ")
            line = f"  {own:<38} OWA {(found / yardstick).mean():.4f}  sMAPE {found[0]:.3f}  MASE {found[1]:.3f}"
            if theirs in published.index:
                line += f"  published {theirs} {(published.loc[theirs].to_numpy() / yardstick).mean():.4f}"
            print(f"{line}  {seconds:.1f} s")


if __name__ == "__main__":
    main()
