"""The commands `forecast-kit batch ...`: a job for one moment, or for a range of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecast_kit.errors import ArgumentError, ForecastKitError

if TYPE_CHECKING:
    from forecast_kit.jobs.asof import AsOf
    from forecast_kit.jobs.config import JobConfig
    from forecast_kit.jobs.summary import Summary

batch_app = typer.Typer(
    name="batch",
    help="Run a job for a moment, unattended: monitor, train, forecast. The same run twice leaves the same behind.",
    no_args_is_help=True,
)

Job = Annotated[Path, typer.Argument(help="The job file; it must have a sink.")]
AsOfText = Annotated[
    str | None,
    typer.Option("--as-of", help="What is stamped before it is known; by default now, rounded down to schedule.every."),
]
Force = Annotated[bool, typer.Option("--force", help="Decide and train anew, where that was done for this as-of.")]
Hindsight = Annotated[
    bool, typer.Option("--hindsight", help="Forecast with a champion that has learned from later data, too.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Ask no tracking store; forecast-kit sync sends the rest.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for another run of the same job to end.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for each as-of, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors alone.")]


@batch_app.command("run")
def run_all(
    job: Job, as_of: AsOfText = None, force: Force = False, hindsight: Hindsight = False, offline: Offline = False,
    wait: Wait = 0.0, as_json: AsJson = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Score past forecasts, train if a rule fires or nobody is champion, forecast."""
    tasks = ("monitor", "train", "forecast")
    _run(
        job, tasks, [as_of], force=force, hindsight=hindsight, offline=offline, wait=wait, as_json=as_json, quiet=quiet
    )


@batch_app.command("train")
def train_only(
    job: Job, as_of: AsOfText = None, force: Force = False, wait: Wait = 0.0, as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Train on what is known, register the best candidate, promote it if it earned it."""
    _run(job, ("train",), [as_of], force=force, wait=wait, as_json=as_json, quiet=quiet)


@batch_app.command("forecast")
def forecast_only(
    job: Job, as_of: AsOfText = None, hindsight: Hindsight = False, offline: Offline = False, wait: Wait = 0.0,
    as_json: AsJson = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Forecast with the champion of that moment, and write to the sink."""
    _run(job, ("forecast",), [as_of], hindsight=hindsight, offline=offline, wait=wait, as_json=as_json, quiet=quiet)


@batch_app.command("monitor")
def monitor_only(
    job: Job, as_of: AsOfText = None, force: Force = False, wait: Wait = 0.0, as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Score past forecasts against what has come true since, and write down whether a training is due."""
    _run(job, ("monitor",), [as_of], force=force, wait=wait, as_json=as_json, quiet=quiet)


@batch_app.command("backfill")
def backfill(
    job: Job,
    first: Annotated[str, typer.Option("--from", help="The first as-of.")],
    last: Annotated[str, typer.Option("--to", help="The last as-of, itself included.")],
    task: Annotated[list[str] | None, typer.Option(help="monitor, train or forecast; may be repeated.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Leave out what the sink has forecasts for.")] = False,
    force: Force = False, hindsight: Hindsight = False, offline: Offline = False, wait: Wait = 0.0,
    as_json: AsJson = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Run the job for each as-of of a range, in the steps of schedule.every; the first failure ends it."""
    _run(job, tuple(task or ("monitor", "train", "forecast")), [], span=(first, last), missing=missing, force=force,
         hindsight=hindsight, offline=offline, wait=wait, as_json=as_json, quiet=quiet)  # fmt: skip


def _run(
    job: Path, tasks: Sequence[str], moments: Sequence[str | None], *, span: tuple[str, str] | None = None,
    missing: bool = False, force: bool = False, hindsight: bool = False, offline: bool = False, wait: float = 0.0,
    as_json: bool = False, quiet: bool = False,
) -> None:  # fmt: skip
    """Runs the tasks for each moment, tells, and ends with the worst exit code."""
    from forecast_kit.jobs.ending import told_to_end, whoever_listens

    with whoever_listens(), told_to_end():
        code = _exit_code(
            job, tasks, moments, span=span, missing=missing, force=force, hindsight=hindsight, offline=offline,
            wait=wait, as_json=as_json, quiet=quiet,
        )  # fmt: skip
    raise typer.Exit(code)


def _exit_code(
    job: Path, tasks: Sequence[str], moments: Sequence[str | None], *, span: tuple[str, str] | None, missing: bool,
    force: bool, hindsight: bool, offline: bool, wait: float, as_json: bool, quiet: bool,
) -> int:  # fmt: skip
    """The worst exit code of all moments; errors are raised, with `as_json` they are told as a document."""
    from rich.console import Console

    from forecast_kit.jobs.batch import run_batch
    from forecast_kit.jobs.config import read_job
    from forecast_kit.jobs.console import console
    from forecast_kit.jobs.reporting import Reporter
    from forecast_kit.jobs.summary import exit_code_of

    # With --json the document is all that standard output gets; the log goes to the other one.
    out = Reporter(Console(stderr=True, highlight=False, soft_wrap=True) if as_json else console, quiet=quiet)
    codes = [0]
    try:
        config = read_job(job)
        chosen = _moments(config, moments, span, missing=missing)
        for as_of in chosen:
            summary = run_batch(
                config, as_of, out=out, tasks=tasks, force=force, hindsight=hindsight, offline=offline, wait_s=wait
            )
            codes.append(summary.exit_code)
            if as_json:
                typer.echo(json.dumps(summary.to_dict()))
            elif not quiet:
                _show(summary, out)
    except (ForecastKitError, OSError, KeyboardInterrupt) as error:
        if not as_json:
            raise
        failed = out.summary.to_dict() if out.summary and out.summary.error else {"error": str(error)}
        typer.echo(json.dumps({**failed, "exit_code": exit_code_of(error)}))
        if isinstance(error, KeyboardInterrupt):
            raise
        return exit_code_of(error)
    if not chosen:
        typer.echo("nothing to do: the sink has forecasts for all of these", err=as_json)
    return max(codes)


def _moments(
    config: JobConfig, moments: Sequence[str | None], span: tuple[str, str] | None, *, missing: bool
) -> list[AsOf]:
    """The as-ofs that were asked for."""
    from forecast_kit.jobs.asof import AsOf, now, span_of
    from forecast_kit.jobs.sinks import open_sink

    schema = config.data.panel_schema
    if span is None:
        return [now(config.schedule, schema) if text is None else AsOf.read(text, freq=schema.freq) for text in moments]
    first, last = (AsOf.read(text, freq=schema.freq) for text in span)
    if last < first:
        raise ArgumentError(f"--from {first} lies after --to {last}; exchange them")
    chosen = span_of(first, last, config.schedule, schema)
    if missing and config.sink is not None:
        there = set(open_sink(config.sink, schema).as_ofs("forecasts"))
        chosen = [as_of for as_of in chosen if as_of not in there]
    return chosen


def _show(summary: Summary, out: object) -> None:
    """What people want to know at the end."""
    from forecast_kit.jobs.reporting import Reporter

    assert isinstance(out, Reporter)
    if summary.forecast is not None and out.console.is_terminal:
        out.console.print(f"forecasts  {summary.forecast['sink']}", markup=False)
    if summary.link is not None and out.console.is_terminal:
        out.console.print(f"run        {summary.link}", markup=False)
    out.console.print(
        f"summary    {summary.file}" if out.console.is_terminal else f"summary={summary.file}", markup=False
    )
