"""Promotion on real data: M4 Hourly, a champion, a weaker challenger that is refused, a stronger one that is promoted.

All of it goes through a registry, in a folder of its own, which the MLflow UI then shows:

    python tests/benchmarks/bench_promotion.py STORE [--series 414] [--scale 1.0]
    forecast-kit ui --store STORE
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from rich.console import Console

from forecast_kit import ETS, Forecaster, NeuralForecaster, Panel, RollingOrigin, SeasonalNaive, load
from forecast_kit.evaluation.gate import Gate
from forecast_kit.jobs.registry_cli import checks_table, history_table
from forecast_kit.mlflow import Store, connect, log_model, rollback
from forecast_kit.mlflow.contenders import challenge
from forecast_kit.mlflow.registry import history, register

NAME, LEVELS = "m4-hourly", (0.1, 0.5, 0.9)
FOLDS = RollingOrigin(horizon=48, folds=2)
GATE = Gate(metric="mase", min_skill=0.05, significance=0.05)
BASELINES: Mapping[str, Forecaster] = {
    "seasonal_naive": SeasonalNaive(horizon=48), "ets": ETS(trend="damped", max_history=336, horizon=48),
}  # fmt: skip


def gru(steps: int, *, units: int = 64, seed: int = 1) -> Forecaster:
    """The network of pipelines/demo.yaml, trained for so many steps."""
    return NeuralForecaster(
        {"cell": "gru", "units": units, "segment": 24}, horizon=48, input_length=168, levels=LEVELS,
        training={"steps": steps, "batch_size": 128, "learning_rate": 0.004, "seed": seed},
    )  # fmt: skip


def enter(store: Store, forecaster: Forecaster, called: str, panel: Panel, text: str) -> str:
    """The number of the version that the forecaster, fitted on the panel, becomes."""
    run = store.client.create_run(store.experiment("promotion"), run_name=called).info.run_id
    fitted = forecaster.clone().fit(panel)
    info = log_model(fitted, run_id=run, horizon=48, levels=LEVELS)
    store.client.set_terminated(run)
    return register(store.client, info, NAME, tags={"forecaster": called}, description=text)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("--series", type=int, default=414)
    parser.add_argument("--scale", type=float, default=1.0, help="of the training steps")
    chosen = parser.parse_args()
    out, store = Console(width=160, highlight=False), connect(chosen.store)
    frame, schema = load("m4_hourly")
    panel = Panel.from_frame(frame, schema)
    panel = panel.take(panel.ids[: chosen.series])
    out.print(f"{panel!r}, {FOLDS.folds} folds, horizon {FOLDS.horizon}", markup=False)

    def attempt(called: str, steps: int, data: Panel, **network: int) -> None:
        steps = max(1, int(steps * chosen.scale))
        started = time.perf_counter()
        text = f"A GRU over all series, trained for {steps} steps until {len(data.y)} rows were seen."
        version = enter(store, gru(steps, **network), called, data, text)
        verdict, decision = challenge(
            store.client, NAME, version, panel, FOLDS, baselines=BASELINES, gate=GATE, levels=LEVELS
        )
        out.rule(f"version {version}: {called}, {time.perf_counter() - started:.0f} s", align="left")
        out.print(decision.reason, markup=False)
        out.print(checks_table(verdict))
        with pd.option_context("display.width", 160):
            out.print(verdict.board.round(4).to_string(), markup=False)

    # The champion was trained before the folds, as one that has served for a while. On all series it is judged by its
    # recipe nonetheless: they end at different steps, and the longer ones go beyond the first cutoff of the shortest.
    attempt("gru", 600, panel.split(FOLDS.needed)[0])
    attempt("gru_weaker", 60, panel)
    attempt("gru_stronger", 1500, panel)
    started = time.perf_counter()
    decision = rollback(store.client, NAME, reason="shown for once: the stronger one goes, and comes back")
    out.rule(f"rollback, {time.perf_counter() - started:.2f} s", align="left")
    out.print(decision.reason, markup=False)
    rollback(store.client, NAME, to="3", reason="the stronger one comes back")
    out.print(history_table(history(store.client, NAME), f"{NAME}: champions"))
    out.print(store.link(f"/models/{NAME}"), markup=False)


if __name__ == "__main__":
    main()
