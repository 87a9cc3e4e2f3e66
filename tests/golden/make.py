"""Writes what this version saves, for later versions to read: `python tests/golden/make.py`, once for each format.

A folder `format<N>/<forecaster>` holds a saved forecaster of every kind with its history, and `<forecaster>.csv` beside
it what it forecast in the process that fitted it. What is there is never written again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from contract.zoo import FORECASTERS, LEVELS

from forecast_kit import Panel
from forecast_kit.core.saving import FORMAT_VERSION


def golden_panel() -> Panel:
    """Two series of nine and ten days with a daily wave."""
    rng = np.random.default_rng(11)
    frames = []
    for k, days in enumerate((9, 10)):
        steps = np.arange(24 * days)
        y = 50.0 + 30.0 * k + 10.0 * np.sin(2 * np.pi * steps / 24) + rng.gamma(2.0, 1.0, len(steps))
        stamps = pd.Timestamp("2024-03-01") + pd.to_timedelta(steps, unit="h")
        frames.append(pd.DataFrame({"unique_id": f"s{k}", "ds": stamps, "y": y}))
    return Panel.from_frame(pd.concat(frames, ignore_index=True), freq="h")


def main() -> None:
    root = Path(__file__).parent / f"format{FORMAT_VERSION}"
    for name, build in FORECASTERS.items():
        folder = root / name.replace(" ", "_")  # save refuses a folder that is there
        fitted = build().fit(golden_panel())
        fitted.save(folder, history=True)
        fitted.predict(levels=LEVELS).to_frame().to_csv(folder.with_suffix(".csv"), index=False)


if __name__ == "__main__":
    main()
