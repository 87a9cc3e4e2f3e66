"""The commands about who is champion: promote, rollback, history. `forecast_kit.jobs.cli` adds them to its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from forecast_kit.evaluation.gate import Verdict
    from forecast_kit.jobs.asof import AsOf
    from forecast_kit.jobs.config import JobConfig
    from forecast_kit.mlflow import Decision, Store

REFUSED = 4  # the exit code of a promotion that the gate refused

registry_app = typer.Typer()

_StoreOption = Annotated[
    Path | None, typer.Option("--store", help="Folder of the embedded store; by default .forecast_kit.")
]


AsOfText = Annotated[
    str | None,
    typer.Option("--as-of", help="What is stamped before it is known; by default all data are, and :as_of in a query "
                                 "is now, rounded down to schedule.every."),
]  # fmt: skip


def moment_asked(config: JobConfig, text: str | None) -> AsOf | None:
    """The moment of which a command that runs by hand takes the data; None for all of them.

    Args:
        config: the job.
        text: of `--as-of`, if there is one.

    Raises:
        ArgumentError: the text is no moment; the query asks for one that no clock can tell.
    """
    from forecast_kit.jobs.asof import AsOf, now
    from forecast_kit.jobs.reading import asked_by

    schema = config.data.panel_schema
    if text is not None:
        return AsOf.read(text, freq=schema.freq)
    asks = config.data.sql is not None and "as_of" in asked_by(config.data.sql.query)
    return now(config.schedule, schema) if asks else None


@registry_app.command(rich_help_panel="Registry")
def promote(
    job: Annotated[Path, typer.Argument(help="The job file: its data, baselines, folds, gate and registered model.")],
    model_version: Annotated[
        str, typer.Option(help="The version to judge: a number; by default the last that was registered.")
    ] = "challenger",
    as_of: AsOfText = None,
) -> None:
    """Judge a registered version against champion and baselines on the newest data; promote it if it earned it.

    Ends with 0 if the version is champion now, and with 4 if the gate refused it.
    """
    from forecast_kit.jobs.config import read_job
    from forecast_kit.jobs.console import console

    config = read_job(job)
    verdict, decision, store = judge_and_promote(config, model_version, console, as_of=moment_asked(config, as_of))
    console.print(checks_table(verdict))
    console.print(f"registry   {config.register_.name} version {decision.version}. {decision.reason}", markup=False)
    console.print(f"model      {store.link(f'/models/{config.register_.name}/versions/{decision.version}')}")
    if not decision.promoted:
        raise typer.Exit(REFUSED)


@registry_app.command(rich_help_panel="Registry")
def rollback(
    name: Annotated[str, typer.Argument(help="The registered model.")],
    to: Annotated[str | None, typer.Option(help="A version; by default the champion before the present one.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for those who read it later.")] = "",
    store: _StoreOption = None,
) -> None:
    """Make the version champion that the present one replaced; once more for the one before that."""
    import forecast_kit.mlflow as fk_mlflow

    place = fk_mlflow.connect(store)
    decision = fk_mlflow.rollback(place.client, name, to=to, reason=reason)
    typer.echo(f"{name}: {decision.reason}\n{place.link(f'/models/{name}/versions/{decision.version}')}")


@registry_app.command(rich_help_panel="Registry")
def history(
    name: Annotated[str, typer.Argument(help="The registered model.")], store: _StoreOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")] = False,
) -> None:  # fmt: skip
    """Tell who was champion when, and why."""
    import forecast_kit.mlflow as fk_mlflow
    from forecast_kit.jobs.console import console
    from forecast_kit.mlflow.registry import history as history_of

    table = history_of(fk_mlflow.connect(store).client, name)
    if as_json:
        typer.echo(json.dumps({"model": name, "champions": history_rows(table)}))
    elif table.empty:
        console.print(f"{name} has had no champion yet", markup=False)
    else:
        console.print(history_table(table, f"{name}: champions, times in UTC"))


def judge_and_promote(
    config: JobConfig, version: str, out: Console, *, as_of: AsOf | None = None
) -> tuple[Verdict, Decision, Store]:
    """The verdict on a version of a job's registered model, the decision that followed, and the store.

    Args:
        config: the job.
        version: a version's number, or `challenger`.
        out: where progress goes.
        as_of: leaves out what was not known then; by default all is known.

    Raises: as `forecast_kit.mlflow.contenders.challenge`.
    """
    import forecast_kit.mlflow as fk_mlflow
    from forecast_kit.jobs.console import FitBars
    from forecast_kit.jobs.sources import read_source
    from forecast_kit.mlflow.contenders import challenge

    store = fk_mlflow.connect(config.store)
    source, forecasters = read_source(config.data, as_of=as_of), config.forecasters()
    out.print(f"data       {source.name}: {source.panel!r}", markup=False)
    bars = FitBars(out)
    with bars.running():
        verdict, decision = challenge(
            store.client, config.register_.name, version, source.panel, config.backtest.splitter,
            baselines={name: forecasters[name] for name in config.baselines}, gate=config.gate.gate,
            levels=config.backtest.levels, refit=config.backtest.refit, progress=bars.backtest,
        )  # fmt: skip
    return verdict, decision, store


def checks_table(verdict: Verdict) -> Table:
    """The gate's checks for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "needed", "found", "passed", title="gate", title_justify="left")
    for row in verdict.checks.to_dict("records"):
        cells = [escape(str(row[key])) for key in ("check", "needed", "found")]
        table.add_row(*cells, "yes" if row["passed"] else "[bold red]no[/]")
    return table


def history_rows(history: pd.DataFrame) -> list[dict[str, str | None]]:
    """Who was champion when, for machines: times of UTC as ISO 8601 has them, and null for what there is not.

    A row without a version tells of a time without a champion; one without `until` is how it is now.
    """
    shown = history.assign(**{key: history[key].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for key in ("from", "until")})
    return [{str(key): value if isinstance(value, str) else None for key, value in row.items()}
            for row in shown.to_dict("records")]  # fmt: skip


def history_table(history: pd.DataFrame, title: str) -> Table:
    """Who was champion when, for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("from", "until", "champion", "replaced", "by", "why", title=escape(title), title_justify="left")
    shown = history.assign(**{key: history[key].dt.strftime("%Y-%m-%d %H:%M:%S") for key in ("from", "until")})
    for row in shown.fillna("").to_dict("records"):
        who = f"{row['version']} ({row['forecaster']})" if row["version"] else "none"
        table.add_row(*(escape(str(cell)) for cell in (
            row["from"], row["until"], who, row["replaced"], row["by"], row["reason"]
        )))  # fmt: skip
    return table
