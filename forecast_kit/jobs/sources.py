"""Where a job's data come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from forecast_kit.data.datasets import load as load_dataset
from forecast_kit.data.future import split_future
from forecast_kit.data.panel import Panel
from forecast_kit.data.schema import PanelSchema
from forecast_kit.data.sources import read_frame
from forecast_kit.errors import DataError
from forecast_kit.jobs.sections import DataSection


@dataclass(frozen=True, eq=False)
class Source:
    """A job's data: the panel, the rows after it that carry known-future covariates, and its name."""

    panel: Panel
    future: pd.DataFrame | None
    name: str
    origin: str


def read_source(section: DataSection) -> Source:
    """The data that a job names.

    Raises:
        DataError: see `read_frame` and `Panel.from_frame`.
    """
    if section.dataset is not None:
        frame, schema = load_dataset(section.dataset)
        if section.columns is not None:
            schema = PanelSchema.from_dict({**schema.to_dict(), **section.columns})
        name = origin = section.dataset
    else:
        assert section.path is not None  # the config has checked that one of the two is there
        schema = PanelSchema.from_dict(section.columns or {})
        frame, name, origin = read_frame(section.path, schema), Path(section.path).stem, section.path
    static = read_frame(section.static, schema) if section.static is not None else None
    past, future = split_future(frame, schema)
    panel = Panel.from_frame(past, schema, static=static)
    if section.series is not None:
        if section.series > len(panel):
            raise DataError(f"data.series asks for {section.series} series, but {name} has {len(panel)}")
        step = len(panel) / section.series
        panel = panel.take(panel.ids[[int(k * step) for k in range(section.series)]])
    return Source(panel, future, name, origin)
