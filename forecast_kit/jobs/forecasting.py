"""Forecasts from the registry, and files that appear whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import forecast_kit.mlflow as fk_mlflow
from forecast_kit.core.forecast import Forecast
from forecast_kit.data.future import split_future
from forecast_kit.data.panel import Panel
from forecast_kit.data.sources import read_frame
from forecast_kit.errors import ArgumentError, StoreError


def forecast_champion(
    model: str,
    out_path: Path,
    *,
    store: Path | None = None,
    data: Path | None = None,
    horizon: int | None = None,
    levels: Sequence[float] | None = None,
) -> Forecast:
    """The forecast of a registered model, written to a file; without data, from the history that the model keeps.

    Args:
        model: an MLflow model URI.
        out_path: `.parquet` or `.csv`; it appears whole or not at all.
        store: the embedded store's folder.
        data: CSV or Parquet with the history to forecast from, in the columns that the model was trained on.
        horizon: steps ahead; by default the model's.
        levels: quantile levels; by default those that the model was logged with.

    Raises:
        ArgumentError, DataError, ArtifactError, StoreError, NotFittedError.
    """
    if out_path.suffix not in (".parquet", ".csv"):
        raise ArgumentError(f"--out must end in .parquet or .csv, got {out_path}")
    fk_mlflow.connect(store)
    served = fk_mlflow.load_served(model)
    forecaster = served.forecaster
    history, future = None, None
    if data is not None:
        assert forecaster.schema_ is not None
        past, future = split_future(read_frame(data, forecaster.schema_), forecaster.schema_)
        history = Panel.from_frame(past, forecaster.schema_)
    asked = served.levels if levels is None else levels
    forecast = forecaster.predict(horizon or served.horizon, levels=asked, history=history, future=future)
    write_forecast(forecast, out_path)
    return forecast


def write_forecast(forecast: Forecast, path: Path) -> None:
    """Writes the forecast frame as Parquet or CSV, so that a reader sees the old file or the new one."""
    frame = forecast.to_frame()
    if path.suffix == ".csv":
        replace_file(path, lambda target: frame.to_csv(target, index=False))
    else:
        replace_file(path, lambda target: frame.to_parquet(target, index=False))


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file beside the path and moves it there, so that a reader sees the old one or the new one.

    Raises:
        StoreError: the system refuses: no right to write, a full disk, a file where a folder should be.
    """
    staging = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(staging)
            staging.replace(path)
        finally:
            with suppress(OSError):  # which would hide what went wrong before
                staging.unlink()
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}; name a place that can be written to") from (
            error
        )
