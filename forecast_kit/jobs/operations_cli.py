"""The commands about running a job for good: init, schedule, serve. `forecast_kit.jobs.cli` adds them to its own."""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast_kit.errors import ArgumentError

if TYPE_CHECKING:
    from forecast_kit.jobs.scheduling import ScheduledJob
    from forecast_kit.jobs.serving import Service

# Set where the command is called, these decide where models and runs are; a scheduler does not pass them on.
_TRACKING = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")

operations_app = typer.Typer()


@operations_app.command(rich_help_panel="Jobs")
def init(
    job: Annotated[Path, typer.Argument(help="The file to write.")] = Path("job.yaml"),
    data: Annotated[
        str | None, typer.Option(help="Your data, .csv or .parquet; by default a set that comes with the package.")
    ] = None,
    freq: Annotated[str | None, typer.Option(help="Their frequency: h, 15min, D, B, W-SUN, MS, or 1.")] = None,
    id_col: Annotated[str | None, typer.Option("--id", help="The column that names the series.")] = None,
    time_col: Annotated[str | None, typer.Option("--time", help="The column of time stamps.")] = None,
    target_col: Annotated[str | None, typer.Option("--target", help="The column to forecast.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a job file to begin with, a word on every key."""
    from forecast_kit.jobs.starter import Stated, write_starter

    stated = Stated(freq=freq, id_col=id_col, time_col=time_col, target_col=target_col)
    left = write_starter(job, data=data, stated=stated, force=force)
    typer.echo(f"{job} is written")
    for line in left:
        typer.echo(f"  state {line}")
    typer.echo(f"then: forecast-kit validate {job}" if left else f"next: forecast-kit validate {job}")


@operations_app.command(rich_help_panel="Service")
def schedule(
    job: Annotated[Path, typer.Argument(help="The job file; its section 'schedule' says when.")],
    systemd: Annotated[bool, typer.Option("--systemd", help="A service and a timer.")] = False,
    cron: Annotated[bool, typer.Option("--cron", help="A line for a crontab.")] = False,
    out: Annotated[Path | None, typer.Option(help="A folder to write them to, as files.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where the job runs, and relative paths begin; by default the current folder.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="With --systemd: units of the system, run by this user, not your own.")
    ] = None,
    secrets: Annotated[
        Path | None, typer.Option(help="The file that sets the variables that the job mentions as ${NAME}.")
    ] = None,
) -> None:
    """Print units of systemd, or a line for cron, that run a job unattended."""
    from forecast_kit.jobs.forecasting import replace_file
    from forecast_kit.jobs.scheduling import cron_line, plan_job, systemd_units

    if systemd == cron:
        raise ArgumentError("say either --systemd or --cron")
    if user is not None and cron:
        raise ArgumentError("--user goes with --systemd; a line for cron belongs to whoever's crontab it is put into")
    surroundings = tuple(name for name in _TRACKING if os.environ.get(name))
    planned = plan_job(job, folder=folder, secrets=secrets, surroundings=surroundings, given=dict(os.environ))
    files = systemd_units(planned, user=user) if systemd else {f"{planned.name}.cron": cron_line(planned) + "\n"}
    for name, text in files.items():
        if out is not None:
            replace_file(out / name, partial(Path.write_text, data=text, encoding="utf-8"))
        else:  # a line for cron is all there is, so that it can be piped; two units need to be told apart
            typer.echo(f"# {name}\n{text}" if systemd else text, nl=False)
    for line in _installation(planned, out, user) if systemd else _crontab(planned, job, out):
        typer.echo(line, err=True)
    if planned.variables and not planned.secrets.exists():
        lines = ", ".join(name + "='...'" for name in planned.variables)  # the quotes mean the same to both readers
        typer.echo(f"still missing: {planned.secrets} with {lines}, a line each, for you alone (chmod 600)", err=True)


def _installation(planned: ScheduledJob, out: Path | None, user: str | None) -> list[str]:
    """How units are installed."""
    units = shlex.quote(str(out / planned.name)) if out else f"FOLDER/{planned.name}"
    home, manage = "/etc/systemd/system", "systemctl"
    if user is None:
        home, manage = "~/.config/systemd/user", "systemctl --user"
    lines = [] if out else ["to install: once more with --out FOLDER, then"]
    lines += [
        f"    mkdir -p {home} && cp {units}.service {units}.timer {home}/",
        f"    {manage} daemon-reload && {manage} enable --now {planned.name}.timer",
    ]
    if user is None:
        lines.append("    loginctl enable-linger    # so that it runs while you are logged out")
    return lines


def _crontab(planned: ScheduledJob, job: Path, out: Path | None) -> list[str]:
    """How a line is added to one's crontab."""
    source = f"cat {shlex.quote(str(out / planned.name))}.cron" if out else (
        f"forecast-kit schedule {shlex.quote(str(job))} --cron"
    )  # fmt: skip
    return ["to install:", f"    (crontab -l; {source}) | crontab -"]


@operations_app.command(rich_help_panel="Service")
def serve(
    job: Annotated[Path | None, typer.Argument(help="The job file whose champion to serve.")] = None,
    model: Annotated[str | None, typer.Option(help="Or a model's URI, such as models:/demand@champion.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 for other machines too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port.")] = 5001,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one a core, of a network one for two cores.")
    ] = None,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds for a request.")] = 60,
    store: Annotated[Path | None, typer.Option(help="Folder of the embedded store; by default the job's.")] = None,
) -> None:
    """Serve the champion over HTTP, with MLflow's own server."""
    import forecast_kit.mlflow as fk_mlflow
    from forecast_kit.jobs.config import read_job
    from forecast_kit.jobs.serving import example
    from forecast_kit.jobs.serving import serve as serve_model

    if (job is None) == (model is None):
        raise ArgumentError("say either a job file or --model")
    if job is not None:
        config = read_job(job)
        store, model = store or config.store, f"models:/{config.register_.name}@champion"
    assert model is not None  # one of the two was given
    asked = model

    def tell(service: Service) -> None:
        alias = f", {asked} at the moment" if service.model != asked else ""
        typer.echo(f"model      {service.model}{alias}: {service.forecaster}")
        typer.echo(f"workers    {service.workers}")
        typer.echo(f"address    {service.address}")
        shown = example(service)
        if shown is not None:
            typer.echo(f"example    {shown}")
        typer.echo("           Ctrl-C ends it; start it again to serve a new champion")

    fk_mlflow.connect(store)
    code = serve_model(model, tell=tell, host=host, port=port, workers=workers, timeout=timeout)
    if code:
        raise typer.Exit(1)
