"""Coverage, width and MSIS of 80 % and 95 % intervals before and after conformal calibration, on held-out folds.

Four origins, a quarter of a horizon apart; nothing after an origin is seen by fit or calibration.

    python tests/benchmarks/bench_calibration.py [--data hospital m4_hourly] [--models naive ets]
"""

from __future__ import annotations

import argparse

import numpy as np

from forecast_kit import ETS, Conformal, Forecaster, NeuralForecaster, Panel, RollingOrigin, SeasonalNaive, load
from forecast_kit.data.seasonal import seasonal_error
from forecast_kit.evaluation import metrics

HORIZONS = {"hospital": 12, "m4_hourly": 48}
LEARNED = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
INTERVALS = ((0.1, 0.9), (0.025, 0.975))


def build(kind: str, data: str) -> Forecaster:
    horizon = HORIZONS[data]
    if kind == "naive":
        return SeasonalNaive(horizon=horizon)
    if kind == "ets":
        return ETS(max_history=7 * horizon, horizon=horizon)
    return NeuralForecaster(
        {"cell": "gru", "units": 32, "segment": 12 if data == "hospital" else 24}, horizon=horizon, levels=LEARNED,
        input_length=2 * horizon, training={"steps": 400, "batch_size": 128},
    )  # fmt: skip


def judged(model: Forecaster, panel: Panel, data: str) -> np.ndarray:
    """`[F, 2, 3]` coverage in per cent, mean width and MSIS of both intervals, in units of a seasonal step."""
    horizon, rows = HORIZONS[data], []
    for fold in RollingOrigin(horizon, folds=4, step=horizon // 4).split(panel):
        scale = seasonal_error(fold.train, panel.season_length)
        levels = sorted(q for pair in INTERVALS for q in pair)
        done = model.clone().fit(fold.train).predict(horizon, levels=levels)
        at = {q: done.quantiles[:, :, levels.index(q)] for q in levels}
        row = []
        for low, high in INTERVALS:
            inside = metrics.coverage(fold.y.ravel(), at[low].ravel(), at[high].ravel(), fold.observed.ravel())
            width = metrics.ratio(metrics.interval_width(at[low], at[high], fold.observed), scale)
            msis = metrics.msis(fold.y, at[low], at[high], fold.observed, scale, alpha=2 * low)
            row.append([100 * float(inside), float(np.nanmean(width)), float(np.nanmean(msis))])
        rows.append(row)
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", choices=HORIZONS, default=list(HORIZONS))
    parser.add_argument("--models", nargs="+", choices=["naive", "ets", "gru"], default=["naive", "ets"])
    chosen = parser.parse_args()
    for data in chosen.data:
        panel = Panel.from_frame(*load(data))
        for kind in chosen.models:
            print(f"{data}, {kind}: {len(panel)} series, horizon {HORIZONS[data]}, 4 origins")
            methods = {method: Conformal(build(kind, data), method=method) for method in ("split", "cqr", "adaptive")}
            for name, model in {"before": build(kind, data), **methods}.items():
                found = judged(model, panel, data)
                mean, low, high = found.mean(axis=0), found.min(axis=0), found.max(axis=0)
                told = [
                    f"{share} %: {mean[k, 0]:.1f} [{low[k, 0]:.1f}, {high[k, 0]:.1f}], width {mean[k, 1]:.2f}, "
                    f"MSIS {mean[k, 2]:.2f}"
                    for k, share in enumerate((80, 95))
                ]
                print(f"  {name:<9} " + " | ".join(told))


if __name__ == "__main__":
    main()
