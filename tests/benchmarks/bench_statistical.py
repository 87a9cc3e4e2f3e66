"""Seconds of the vectorised baselines on a large panel, and series per second of the automatic ones beside statsmodels.

The automatic ones against the same search with statsmodels alone, in a plain loop in one process, as its
documentation has it: `ETSModel(...).fit()` for all 15 forms with the least AICc, and for ARIMA the stepwise search
of Hyndman and Khandakar with `ARIMA(...).fit()` for each order. The loops take some of the series, for they take long.

    python tests/benchmarks/bench_statistical.py [--series 767] [--loop 40] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the plain loop; the processes of ours have one each anyway

import numpy as np
import pandas as pd
from statsmodels.tsa.arima.model import ARIMA
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

from forecast_kit import (
    SES,
    AutoARIMA,
    AutoETS,
    Croston,
    Drift,
    Forecaster,
    HistoricAverage,
    Naive,
    Naive2,
    Panel,
    SeasonalNaive,
    Theta,
    WindowAverage,
    load,
)
from forecast_kit.models.statistical import arima_search

FAMILY: dict[str, Forecaster] = {
    "naive": Naive(), "seasonal naive": SeasonalNaive(), "drift": Drift(), "mean": HistoricAverage(),
    "window average of 7": WindowAverage(7), "seasonal window average of 3": WindowAverage(3, season_length=None),
}  # fmt: skip
OTHERS: dict[str, Forecaster] = {"naive 2": Naive2(), "SES": SES(), "theta": Theta(), "Croston": Croston()}


def walk(series: int, steps: int) -> Panel:
    rng = np.random.default_rng(0)
    y = 100.0 + rng.normal(0.0, 1.0, (series, steps)).cumsum(axis=1)
    ids = np.repeat(np.arange(series), steps)
    frame = pd.DataFrame({"unique_id": ids, "ds": np.tile(np.arange(steps), series), "y": y.ravel()})
    return Panel.from_frame(frame, freq=1, season_length=12)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def vectorised(series: int, steps: int, rounds: int) -> None:
    panel = walk(series, steps)
    print(
        f"{series:,} series of {steps} steps, fit and a forecast of 12 steps with two quantiles (median of {rounds}):"
    )
    for title, models in (("naive family", FAMILY), ("others", OTHERS)):
        times = {
            name: np.median([seconds(lambda m=m: m.fit(panel).predict(12, levels=(0.1, 0.9))) for _ in range(rounds)])
            for name, m in models.items()
        }
        each = ", ".join(f"{name} {value:.2f} s" for name, value in times.items())
        print(f"  {title}: {each}; together {sum(times.values()):.2f} s")


FORMS = [
    (error, trend, damped, seasonal)
    for error in ("add", "mul") for trend, damped in ((None, False), ("add", False), ("add", True))
    for seasonal in (None, "add", "mul") if not (error == "add" and seasonal == "mul")
]  # fmt: skip


def plain_ets(y: np.ndarray, season: int, horizon: int, initial: str) -> np.ndarray:
    """The forecast of the form of least AICc, as a user of statsmodels writes it."""
    best = None
    for error, trend, damped, seasonal in FORMS:
        if (error == "mul" or seasonal == "mul") and not (y > 0).all():
            continue
        model = ETSModel(
            y, error=error, trend=trend, damped_trend=damped, seasonal=seasonal,
            seasonal_periods=season if seasonal else None, initialization_method=initial,
        )  # fmt: skip
        found = model.fit(disp=False)
        if best is None or found.aicc < best.aicc:
            best = found
    assert best is not None
    return np.asarray(best.forecast(horizon))


def plain_arima(y: np.ndarray, season: int) -> None:
    """The same stepwise search of the same limits, each order estimated by statsmodels as it comes."""
    limits = arima_search.Limits().within(len(y), season)
    base = arima_search.choose_differences(y[:, None], limits, season)

    def score(order: arima_search.Order) -> float:
        seasonal = (order.P, order.D, order.Q, season if order.P + order.D + order.Q else 0)
        trend = "n" if not order.constant else "t" if order.d + order.D else "c"
        try:
            found = ARIMA(y, order=(order.p, order.d, order.q), seasonal_order=seasonal, trend=trend).fit()
        except (ValueError, np.linalg.LinAlgError):
            return np.inf
        roots = np.abs(np.concatenate([found.arroots, found.maroots]))
        return np.inf if len(roots) and roots.min() < 1.01 else float(found.aicc)

    arima_search.stepwise(score, base, limits, len(y))


def side_by_side(
    name: str, ours: Forecaster, panel: Panel, loops: dict[str, Callable[[np.ndarray], object]], few: int, rounds: int
) -> None:
    """Series per second, ours over the whole panel and each loop over its first series, interleaved."""
    some = [y for _, y in panel.take(panel.ids[:few]).series]
    ours.fit(panel.take(panel.ids[:16]))  # the processes start once
    own, theirs = [], {title: [] for title in loops}
    for _ in range(rounds):
        own.append(len(panel) / seconds(lambda: ours.fit(panel).predict(12)))
        for title, loop in loops.items():
            theirs[title].append(len(some) / seconds(lambda loop=loop: [loop(y) for y in some]))
    print(f"{name}, {len(panel)} series of hospital (monthly), series per second (median of {rounds}):")
    print(f"  ours {np.median(own):.1f}")
    for title, rates in theirs.items():
        ratio = np.median(np.array(own) / np.array(rates))
        print(f"  {title}: {np.median(rates):.2f} (on {few} series); ours is {ratio:.1f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--series", type=int, default=767)
    parser.add_argument("--loop", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")  # statsmodels tells of every fit that stopped early
    vectorised(chosen.large, 100, chosen.rounds)
    panel = Panel.from_frame(*load("hospital"))
    panel = panel.take(panel.ids[: chosen.series])
    side_by_side(
        "automatic ETS", AutoETS(), panel,
        {
            "statsmodels in a loop, the same forms and starting states": lambda y: plain_ets(y, 12, 12, "heuristic"),
            "the same with starting states estimated, as it comes": lambda y: plain_ets(y, 12, 12, "estimated"),
        },
        chosen.loop, chosen.rounds,
    )  # fmt: skip
    side_by_side(
        "automatic ARIMA", AutoARIMA(), panel,
        {"statsmodels in a loop, the same search": lambda y: plain_arima(y, 12)},
        max(chosen.loop // 4, 1), chosen.rounds,
    )  # fmt: skip


if __name__ == "__main__":
    main()
