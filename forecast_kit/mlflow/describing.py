"""Forecasters, panels and tables in the words that MLflow has for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.core.forecaster import Forecaster
from forecast_kit.data.frequency import show_stamps
from forecast_kit.data.panel import Panel


def parameters(forecaster: Forecaster) -> dict[str, str]:
    """Every argument of a forecaster, nested ones with dots, as MLflow wants them.

    >>> from forecast_kit.models.naive import SeasonalNaive
    >>> parameters(SeasonalNaive(7))
    {'forecaster': 'SeasonalNaive', 'season_length': '7', 'horizon': 'None'}
    """
    flat: dict[str, str] = {"forecaster": type(forecaster).__name__}

    def walk(prefix: str, value: Any) -> None:
        if is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        if isinstance(value, Mapping):
            for key, part in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), part)
        else:
            flat[prefix] = str(value)

    walk("", forecaster.get_params())
    return flat


def dataset(panel: Panel, name: str, source: str) -> dict[str, str]:
    """The panel as the fields of MLflow's `Dataset`."""
    schema = panel.schema
    stamps = panel.axis.stamps(np.array([panel.start.min(), panel.last.max()]))
    first, last = show_stamps(stamps, schema.zone)
    profile = {"series": len(panel), "rows": len(panel.y), "first": first, "last": last, "freq": schema.freq}
    columns = [
        {"name": column, "type": "string" if column in panel.categories else "double"}
        for column in (schema.target_col, *schema.past, *schema.future)
    ]
    return {
        "name": name, "digest": panel.digest, "source_type": "code",
        "source": json.dumps({"tags": {"source": source}}), "schema": json.dumps({"mlflow_colspec": columns}),
        "profile": json.dumps(profile),
    }  # fmt: skip


_SHOWN = ("rank", "model", "mase", "skill", "smape", "mae", "coverage", "p_baseline", "fit_s", "predict_s")


def brief(board: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The columns of a leaderboard that fit on a page, with the metric that ranks, as people write them."""
    table = board[[name for name in board.columns if name in (*_SHOWN, metric)]].rename(columns={"p_baseline": "p"})
    written = {"skill": percent, "coverage": share, "p": p_value}
    return table.assign(**{name: table[name].map(how) for name, how in written.items() if name in table})


def percent(value: float) -> str:
    """A change in percent, with its sign; nothing where it is undefined."""
    return "" if np.isnan(value) else f"{100 * value:+.1f} %"


def share(value: float) -> str:
    """A share in percent; nothing where it is undefined."""
    return "" if np.isnan(value) else f"{100 * value:.1f} %"


def p_value(value: float) -> str:
    """A p-value to three places; nothing where it is undefined."""
    return "" if np.isnan(value) else "<0.001" if value < 0.0005 else f"{value:.3f}"


def markdown(table: pd.DataFrame) -> str:
    """The table in Markdown: numbers to four digits, nothing for what is undefined.

    MLflow's pages draw tables without any room between columns, so each cell but the last brings its own.

    >>> print(markdown(pd.DataFrame({"model": ["naive", "ets"], "mase": [1.0, 0.98765]})))
    | model&emsp; | mase |
    | --- | --- |
    | naive&emsp; | 1 |
    | ets&emsp; | 0.9877 |
    """
    rows = [list(table.columns), *table.to_numpy(object).tolist()]
    lines = ["| " + "&emsp; | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * table.shape[1], *lines[1:]])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value).replace("|", "/").replace("\n", " ")
