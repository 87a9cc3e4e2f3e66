"""The command `forecast-kit`."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from forecast_kit._version import __version__
from forecast_kit.errors import ArgumentError, ConfigError, DataError, ForecastKitError
from forecast_kit.jobs.batch_cli import batch_app
from forecast_kit.jobs.operations_cli import operations_app
from forecast_kit.jobs.registry_cli import AsOfText, moment_asked, registry_app

if TYPE_CHECKING:
    from forecast_kit.mlflow import Run

app = typer.Typer(
    name="forecast-kit",
    help="Forecast panels of time series: train and judge side by side, register in MLflow, forecast in batch.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


app.add_typer(batch_app, rich_help_panel="Jobs")
app.add_typer(registry_app)
app.add_typer(operations_app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command(rich_help_panel="Jobs")
def run(
    job: Annotated[Path, typer.Argument(help="The job file, such as pipelines/demo.yaml.")],
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no tracking store; forecast-kit sync sends what was logged.")
    ] = False,
    as_of: AsOfText = None,
) -> None:
    """Run a job: backtest all forecasters, log and register the best, promote it if it earned it, forecast."""
    import forecast_kit.mlflow as fk_mlflow
    from forecast_kit.jobs.config import read_job
    from forecast_kit.jobs.console import console
    from forecast_kit.jobs.tasks import run_job

    config = read_job(job)
    result = run_job(config, console, offline=offline, as_of=moment_asked(config, as_of))
    if result.trained.report is not None:
        console.print(f"report     {result.trained.report.absolute()}")
    if result.forecast is None:
        why = (
            "no version of the model has become champion yet"
            if result.trained.decision
            else "the registry was not asked"
        )
        console.print(f"forecast   none: {why}")
    else:
        console.print(f"forecast   {result.forecast.absolute()}")
        console.print(f"picture    {result.plot.absolute() if result.plot else ''}")
    store = result.store
    console.print(f"store      {store.folder or store.uri}")
    if result.run.link is not None:
        console.print(f"run        {result.run.link}")
        if result.trained.version is not None:
            console.print(
                f"model      {store.link(f'/models/{config.register_.name}/versions/{result.trained.version}')}"
            )
        if store.folder is not None:
            console.print("           (forecast-kit ui, or make ui, serves these pages)")
    if result.run.waiting is not None:
        console.print(f"waiting    {result.run.waiting}")
        console.print(f"           {_what_waits(result.run, offline)}", markup=False)
    others = len(fk_mlflow.waiting(store)) - (result.run.waiting is not None)
    if others:
        console.print(f"waiting    of {others} earlier runs something was never sent; forecast-kit sync sends it")
    if not offline and (result.run.waiting is not None or result.trained.decision is None):
        raise typer.Exit(1)


def _what_waits(run: Run, offline: bool) -> str:
    if run.refused:
        return f"the store refused {run.refused} entries; refused.jsonl in that folder tells which and why"
    why = "nothing was sent" if offline else f"the tracking server went away ({run.trouble})"
    return f"{why}; forecast-kit sync sends what is there"


@app.command(rich_help_panel="Registry")
def sync(
    store: Annotated[Path | None, typer.Option(help="Folder of the embedded store; by default .forecast_kit.")] = None,
) -> None:
    """Send what a tracking server has not heard yet: of runs that were offline, cut off or killed."""
    import forecast_kit.mlflow as fk_mlflow

    place = fk_mlflow.connect(store)
    found = fk_mlflow.sync(place)
    if not found:
        typer.echo(f"nothing waits in {place.journal}")
    for one in found:
        typer.echo(f"{one.folder.name}: {one.sent} entries sent, {one.left} wait, {one.refused} refused"
                   + (f"; {one.trouble}" if one.trouble else ""))  # fmt: skip
    if any(one.left or one.refused or one.trouble for one in found):
        raise typer.Exit(1)


@app.command(rich_help_panel="Registry")
def forecast(
    model: Annotated[str, typer.Option(help="An MLflow model URI, such as models:/demand@champion.")],
    out: Annotated[Path, typer.Option(help="The file to write, .parquet or .csv.")],
    data: Annotated[
        Path | None,
        typer.Option(help="History to forecast from, CSV or Parquet; by default what the model keeps."),
    ] = None,
    horizon: Annotated[int | None, typer.Option(help="Steps ahead; by default the model's.")] = None,
    level: Annotated[list[float] | None, typer.Option(help="A quantile level; may be repeated.")] = None,
    store: Annotated[Path | None, typer.Option(help="Folder of the embedded store; by default .forecast_kit.")] = None,
) -> None:
    """Forecast with a registered model, with nothing but the registry."""
    from forecast_kit.jobs.forecasting import forecast_champion

    result = forecast_champion(model, out, store=store, data=data, horizon=horizon, levels=level)
    typer.echo(f"{len(result)} series, {result.horizon} steps, model {result.model}: {out.absolute()}")


@app.command(rich_help_panel="Jobs")
def validate(
    job: Annotated[Path, typer.Argument(help="The job file.")],
    no_data: Annotated[bool, typer.Option("--no-data", help="Check the file alone, and look at no data.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")] = False,
) -> None:
    """Check a job file without running it, and tell what it would read, train and write."""
    from forecast_kit.jobs.config import read_job
    from forecast_kit.jobs.inspecting import lines_of, plan_of

    try:
        config = read_job(job)
        plan = plan_of(config, data=not no_data)
    except ForecastKitError as error:
        if as_json:
            typer.echo(json.dumps({"file": str(job), "valid": False, "error": str(error)}))
            raise typer.Exit(2) from None
        raise
    if as_json:
        typer.echo(json.dumps({"file": str(job), "valid": True, **plan}))
        return
    typer.echo(f"{job} is valid: {len(config.baselines)} baselines, {len(config.candidates)} candidates")
    for line in lines_of(plan):
        typer.echo(line)


@app.command(rich_help_panel="Service")
def ui(
    port: Annotated[int, typer.Option(help="Where to listen on this machine.")] = 5000,
    store: Annotated[Path | None, typer.Option(help="Folder of the embedded store; by default .forecast_kit.")] = None,
) -> None:
    """Serve the MLflow UI on the embedded store, on this machine alone."""
    from forecast_kit.mlflow.store import connect

    place = connect(store)
    if place.folder is None:
        raise ArgumentError(
            f"MLFLOW_TRACKING_URI names {place.uri}, which has a UI of its own; pass --store for another"
        )
    base = f"http://127.0.0.1:{port}"
    typer.echo(f"{place.link('/experiments', base)}\nCtrl-C ends it.")
    # Without job execution and with one worker the server takes half a gigabyte instead of three.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [
        sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", place.uri, "--default-artifact-root", (place.folder / "artifacts").as_uri(),
    ]  # fmt: skip
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


def main() -> None:
    """Runs the command; bad input ends with one line and exit code 2, every other known failure with 1."""
    os.environ.setdefault("FORECAST_KIT_QUIET_START", "1")  # see forecast_kit.nn.startup; worker processes inherit it
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        app()
    except ForecastKitError as error:
        _complain(str(error))
        raise SystemExit(2 if isinstance(error, DataError | ConfigError | ArgumentError) else 1) from None
    except OSError as error:  # a full disk, a folder that is gone: the machine's affair, which no traceback explains
        _complain(f"the system refuses: {error}")
        raise SystemExit(1) from None


def _complain(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {_escape(text)}")


def _escape(text: str) -> str:
    """Square brackets in a message are text, not rich's markup."""
    from rich.markup import escape

    return escape(text)


if __name__ == "__main__":
    main()
