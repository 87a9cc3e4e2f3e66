"""The sections of a job file. Each refuses unknown keys, and values that do not fit each other, before anything runs.

`forecast_kit.jobs.config.read_job` makes them of a file, and turns pydantic's `ValidationError` into a `ConfigError`
that names the place in it. A key of the file is an argument here: `backtest: {horizon: 24}` in a job file is
`BacktestSection(horizon=24)`.
"""

from __future__ import annotations

from forecast_kit.jobs.sections.batch import (
    ExecutionSection,
    ForecastSection,
    MonitorSection,
    RetrainSection,
    ScheduleSection,
    SinkSection,
    SqlSink,
)
from forecast_kit.jobs.sections.training import (
    BacktestSection,
    DataSection,
    GateSection,
    RegisterSection,
    SearchSection,
    SqlSource,
)

# As they stand in a job file, each before what stands in it.
__all__ = [
    "DataSection", "SqlSource", "BacktestSection", "SearchSection", "GateSection", "RegisterSection",
    "ForecastSection", "SinkSection", "SqlSink", "MonitorSection", "RetrainSection", "ScheduleSection",
    "ExecutionSection",
]  # fmt: skip
