"""Runs: what an experiment writes down, in a form that the MLflow UI shows well."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.tracking import MlflowClient
from mlflow.utils.autologging_utils import disable_autologging

from forecast_kit.core.forecaster import FitProgress, Forecaster
from forecast_kit.data.frequency import show_stamps
from forecast_kit.data.panel import Panel


@contextmanager
def run(client: MlflowClient, experiment_id: str, name: str, *, parent: str | None = None) -> Iterator[str]:
    """The id of a run that is open for as long as the block runs: finished at its end, failed on an error.

    MLflow's autologging is off inside: it breaks Keras's `fit` where TensorBoard is not installed.
    """
    tags = {"mlflow.runName": name, "mlflow.source.name": "forecast_kit", "mlflow.source.type": "JOB"}
    if parent is not None:
        tags["mlflow.parentRunId"] = parent
    run_id = client.create_run(experiment_id, tags=tags, run_name=name).info.run_id
    status = "FAILED"
    try:
        with disable_autologging():
            yield run_id
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        client.set_terminated(run_id, status)


class Curve:
    """Collects what a fit reports, and writes it in one call at the end: no logging call slows a step.

    Pass it to `Forecaster.fit` as a callback.
    """

    def __init__(self) -> None:
        self._points: list[Metric] = []

    def __call__(self, event: FitProgress) -> None:
        """Takes one report."""
        now = int(time.time() * 1000)
        self._points += [Metric(key, value, now, event.done) for key, value in event.logs.items()]

    def write(self, client: MlflowClient, run_id: str) -> None:
        """Logs the points with the time at which they came."""
        for first in range(0, len(self._points), 1000):
            client.log_batch(run_id, metrics=self._points[first : first + 1000])


def parameters(forecaster: Forecaster) -> dict[str, str]:
    """Every argument of a forecaster, nested ones with dots, as MLflow wants them."""
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


def log_parameters(client: MlflowClient, run_id: str, values: Mapping[str, str]) -> None:
    """All parameters of a run in one call."""
    client.log_batch(run_id, params=[Param(key, value[:6000]) for key, value in values.items()])


def log_metrics(client: MlflowClient, run_id: str, values: Mapping[str, float]) -> None:
    """Metrics of a run in one call; undefined ones are left out, for MLflow's charts cannot show them."""
    now = int(time.time() * 1000)
    points = [Metric(key, float(value), now, 0) for key, value in values.items() if pd.notna(value)]
    client.log_batch(run_id, metrics=points)


def log_steps(client: MlflowClient, run_id: str, key: str, values: Mapping[int, float]) -> None:
    """A metric over forecast steps: the UI draws it as a curve."""
    now = int(time.time() * 1000)
    points = [Metric(key, float(value), now, int(step)) for step, value in values.items() if pd.notna(value)]
    client.log_batch(run_id, metrics=points)


def log_dataset(client: MlflowClient, run_id: str, panel: Panel, name: str, source: str) -> None:
    """Writes the panel down as the run's data set: its name, digest, columns, size and span.

    Written directly: `mlflow.data.from_pandas` hashes a sample of the rows and warns about every
    integer column.
    """
    schema, (first, last) = (
        panel.schema,
        show_stamps(panel.axis.stamps(np.array([panel.start.min(), panel.last.max()])), panel.schema.zone),
    )
    profile = {"series": len(panel), "rows": len(panel.y), "first": first, "last": last, "freq": schema.freq}
    columns = [
        {"name": column, "type": "string" if column in panel.categories else "double"}
        for column in (schema.target_col, *schema.past, *schema.future)
    ]
    dataset = Dataset(
        name, panel.digest, "code", json.dumps({"tags": {"source": source}}),
        schema=json.dumps({"mlflow_colspec": columns}), profile=json.dumps(profile),
    )  # fmt: skip
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def log_table(client: MlflowClient, run_id: str, frame: pd.DataFrame, file: str) -> None:
    """A small table as JSON that the UI shows (`.json`), or a large one as Parquet (`.parquet`)."""
    if file.endswith(".json"):
        client.log_table(
            run_id, data=frame.astype(dict.fromkeys(frame.select_dtypes("str"), object)), artifact_file=file
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(file).name
        frame.to_parquet(path, index=False)
        client.log_artifact(run_id, str(path), str(Path(file).parent) if "/" in file else None)


def log_figure(client: MlflowClient, run_id: str, figure: Figure, file: str) -> None:
    """A picture of the run."""
    client.log_figure(run_id, figure, file)


def describe(client: MlflowClient, run_id: str, sentence: str, table: pd.DataFrame) -> None:
    """The text at the top of the run's page: a sentence, then a table."""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.round(4).to_numpy().tolist()]
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    client.set_tag(run_id, "mlflow.note.content", sentence + "\n\n" + "\n".join(lines))


def log_json(client: MlflowClient, run_id: str, values: Any, file: str) -> None:
    """Anything that JSON can hold."""
    client.log_text(run_id, json.dumps(values, indent=1, default=str), file)
