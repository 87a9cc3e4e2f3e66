"""The forecast of a batch job: made by the champion of that moment, and put into the sink whole."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import forecast_kit.mlflow as fk_mlflow
from forecast_kit.core.forecast import column_levels, level_column
from forecast_kit.data.schema import PanelSchema
from forecast_kit.errors import ArgumentError, DataError, StoreError
from forecast_kit.jobs import monitor
from forecast_kit.jobs.asof import AsOf
from forecast_kit.jobs.degrading import ChunkForecast, Rules
from forecast_kit.jobs.execution import forecast_chunks
from forecast_kit.mlflow.deploying import Deployment, champions
from forecast_kit.mlflow.flavor import save_model
from forecast_kit.models.naive import SeasonalNaive

if TYPE_CHECKING:
    from forecast_kit.jobs.batch import Batch


def deliver(batch: Batch) -> None:
    """Writes the forecast of all series, and what became of them into the summary.

    Args:
        batch: the run.

    Raises:
        ArgumentError: every champion has learned from data after the as-of.
        DataError: no series has a value before it.
        StoreError, ArtifactError: the sink failed, or the champion's artefact is not what was registered.
    """
    config, summary = batch.config, batch.summary
    rules = Rules.of(config.forecast, horizon=config.backtest.horizon, levels=config.backtest.levels)
    with batch.out.stage("forecast") as stage, tempfile.TemporaryDirectory(prefix="forecast_kit-") as scratch:
        deployment, nobody = _deployed(batch)
        if deployment is not None:
            name, version, folder, tally = batch.name, deployment.version, deployment.folder, _Tally()
        else:
            name, version, folder = "SeasonalNaive", "", _stand_in(batch, Path(scratch) / "model", rules.horizon)
            tally = _Tally(nobody)
        parts = forecast_chunks(
            batch.source.chunks(config.execution.chunk), folder, config.execution, schema=batch.source.schema,
            as_of=batch.as_of, rules=rules, static=batch.source.static,
        )  # fmt: skip
        with batch.out.progress(stage) as tell:
            frames = tally.counted(parts, name, version, tell)
            rows = batch.sink.write("forecasts", batch.as_of, _some(frames, batch))
        summary.model = {"name": name, "version": version}
        summary.forecast = {
            "sink": batch.sink.describe(), "series": tally.series, "rows": rows, "fallbacks": len(tally.fallbacks),
            "missing": len(tally.missing), "allowed_share": config.forecast.max_fallback,
            "examples": {str(key): why for key, why in [*tally.fallbacks.items(), *tally.missing.items()][:20]},
        }  # fmt: skip
        stage.note(model=f"{name}/{version}", series=tally.series, rows=rows, fallbacks=len(tally.fallbacks),
                   missing=len(tally.missing))  # fmt: skip
        share = (len(tally.fallbacks) + len(tally.missing)) / tally.series
        if share > config.forecast.max_fallback:
            summary.exit_code = 3
            batch.out.warn(f"{share:.1%} of the series fell back or are missing, more than the allowed "
                           f"{config.forecast.max_fallback:.1%}")  # fmt: skip


def _deployed(batch: Batch) -> tuple[Deployment | None, str]:
    """The champion of that moment, the last that had not learned from later data; or None, and why there is none."""
    schema, asked = batch.source.schema, not batch.store.offline
    try:
        fit, present = honest(champions(batch.store, batch.name), batch.as_of, schema, hindsight=batch.hindsight)
    except StoreError as error:
        batch.unanswered(error, "going on with the copy of the last champion")
        asked = False
        away = fk_mlflow.Store(batch.store.uri, batch.store.folder, batch.store.home, offline=True)
        fit, present = honest(champions(away, batch.name), batch.as_of, schema, hindsight=batch.hindsight)
    if present is None:
        nobody = f"no version of {batch.name} is champion" if asked else (
            f"the registry was not asked, and no copy of a champion of {batch.name} is on this machine"
        )  # fmt: skip
        batch.out.warn(f"{nobody}: every series gets the seasonal naive forecast")
        return None, nobody
    if fit is None:
        raise ArgumentError(
            f"the champion of {batch.name}, version {present.version}, learned from data until "
            f"{present.trained_until}, which as of {batch.as_of} was still to come, and so did those before it; its "
            f"forecasts would look better than they are. Train as of an earlier date, or pass --hindsight"
        )
    if not asked:
        batch.out.warn(
            f"the forecast is made by this machine's copy of {batch.name} version {fit.version}, fetched "
            f"{fit.fetched:%Y-%m-%d %H:%M} UTC; the registry last told who is champion {fit.asked:%Y-%m-%d %H:%M} UTC, "
            f"and a promotion or rollback on another machine since then is not known here"
        )
    return fit, ""


def honest(
    line: Iterator[Deployment], as_of: AsOf, schema: PanelSchema, *, hindsight: bool = False
) -> tuple[Deployment | None, Deployment | None]:
    """The first champion of the line that may forecast for that as-of, and the present one; None where there is none.

    One that does not tell until when it learned, as those of format 1, may.

    Args:
        line: see `champions`.
        as_of: after which nothing may have been learned from.
        schema: of the data, whose stamps those of the champions are.
        hindsight: all may.
    """
    present = None
    for deployment in line:
        present = present or deployment
        until = deployment.trained_until
        if hindsight or until is None or as_of.knows(until, schema):
            return deployment, present
    return None, present


def _stand_in(batch: Batch, folder: Path, horizon: int) -> Path:
    """The seasonal naive method as a model, for a job without a champion."""
    for frame in batch.source.chunks(batch.config.execution.chunk):
        for panel in monitor.panels_of(frame, batch.source, batch.as_of):
            save_model(SeasonalNaive(horizon=horizon).fit(panel), folder)
            return folder
    raise DataError(f"{batch.source.name} holds no series that is known before {batch.as_of}")


def _some(rows: Iterator[pd.DataFrame], batch: Batch) -> Iterator[pd.DataFrame]:
    """The rows, of which there must be some: an empty source must not take away what an earlier run wrote."""
    empty = True
    for frame in rows:
        empty = empty and frame.empty
        yield frame
    if empty:
        raise DataError(
            f"{batch.source.name} holds no series to forecast as of {batch.as_of}: none has a value before it"
        )


class _Tally:
    """What became of the series, counted while their rows go by."""

    def __init__(self, unfit: str = "") -> None:
        self.series = 0
        self.fallbacks: dict[Any, str] = {}
        self.missing: dict[Any, str] = {}
        self._unfit = unfit

    def counted(
        self, parts: Iterator[ChunkForecast], name: str, version: str, tell: Callable[..., None]
    ) -> Iterator[pd.DataFrame]:
        """The rows of the table `forecasts`."""
        for part in parts:
            rows = part.frame.assign(model=name, model_version=version)
            if self._unfit:
                plain = rows["fallback"] == ""
                rows["fallback"], rows["reason"] = (rows["fallback"].mask(plain, "SeasonalNaive"),
                                                    rows["reason"].mask(plain, self._unfit))  # fmt: skip
            whose = rows[rows["fallback"] != ""].drop_duplicates("unique_id")
            self.fallbacks |= dict(zip(whose["unique_id"].tolist(), whose["reason"].tolist(), strict=True))
            self.missing |= part.missing
            self.series += rows["unique_id"].nunique() + len(part.missing)
            tell(series=self.series, fallbacks=len(self.fallbacks))
            quantiles = [level_column(q) for q in column_levels(rows.columns)]
            yield rows[
                ["unique_id", "ds", "cutoff", "model", "model_version", "mean", *quantiles, "fallback", "reason"]
            ]
