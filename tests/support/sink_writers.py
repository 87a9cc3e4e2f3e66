"""What processes of their own write to sinks: sets of SERIES x HORIZON rows that all hold the same mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.data.schema import PanelSchema
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.sections import SinkSection
from forecast_kit.jobs.sinks import open_sink

SERIES, HORIZON, PARTS = 400, 24, 5


def whole_set(mean: float) -> Iterator[pd.DataFrame]:
    size = SERIES // PARTS
    for part in range(PARTS):
        yield pd.DataFrame(
            {
                "unique_id": np.repeat(np.arange(part * size, (part + 1) * size), HORIZON),
                "ds": np.tile(np.arange(HORIZON), size),
                "mean": mean,
                "model": "GRU",
            }
        )


def write_on(section: dict[str, Any], started: Any, first: float, sets: int, stop: Any = None) -> None:
    """One set after another, each in the place of the one before, until all are written or an event is set."""
    sink = open_sink(SinkSection.model_validate(section), PanelSchema(freq=1))
    for k in range(sets):
        sink.write("forecasts", AsOf(1), whole_set(first + k))
        started.set()
        if stop is not None and stop.is_set():
            return


def write_at_once(section: dict[str, Any], together: Any, mean: float, as_of: int = 1) -> None:
    """One set, when the others are ready too."""
    sink = open_sink(SinkSection.model_validate(section), PanelSchema(freq=1))
    together.wait(60)
    sink.write("forecasts", AsOf(as_of), whole_set(mean))
