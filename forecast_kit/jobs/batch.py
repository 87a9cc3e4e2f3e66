"""A batch job: watch, train if it must, forecast; for one moment, and the same however often it is run.

What a run leaves behind depends on data, job file and as-of alone. A run that was killed is completed by running it
again: every table is replaced whole, a training is known by the tags of the version that it registered, and what was
decided is written down before it is acted upon.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

import forecast_kit.mlflow as fk_mlflow
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, BusyError, ConfigError, StoreError
from forecast_kit.jobs import monitor
from forecast_kit.jobs.asof import AsOf, overtaken
from forecast_kit.jobs.config import JobConfig
from forecast_kit.jobs.delivery import deliver
from forecast_kit.jobs.isolating import one_line
from forecast_kit.jobs.reporting import Reporter
from forecast_kit.jobs.sinks import Sink, open_sink
from forecast_kit.jobs.sinks.owner import claim
from forecast_kit.jobs.sources import OpenSource, open_source, read_source
from forecast_kit.jobs.summary import Summary
from forecast_kit.jobs.training import check_training, train
from forecast_kit.mlflow.deploying import Deployment, champions
from forecast_kit.mlflow.registry import find_version, history
from forecast_kit.mlflow.runs import Run
from forecast_kit.mlflow.store import DEFAULT_FOLDER, NO_ANSWER, Store
from forecast_kit.mlflow.tagging import decided, tagged

__all__ = ["run_batch", "only_one"]

TASKS = ("monitor", "train", "forecast")


@dataclass(frozen=True, eq=False)
class Batch:
    """What the tasks of a run share.

    Attributes:
        config, as_of, force, hindsight: what was asked, see `run_batch`.
        source, sink, store, run: open.
        out: where to tell.
        summary: of the run, which the tasks fill in.
        failures: with the first of which the run ends, once the forecast is written.
    """

    config: JobConfig
    as_of: AsOf
    source: OpenSource
    sink: Sink
    store: Store
    run: Run
    out: Reporter
    summary: Summary
    force: bool
    hindsight: bool
    failures: list[Exception]

    @property
    def name(self) -> str:
        """Of the registered model."""
        return self.config.register_.name

    def unanswered(self, error: StoreError, so: str) -> None:
        """Goes on although the store gave no answer, see `_unanswered`."""
        _unanswered(error, so, self.store, self.out, self.failures)


def run_batch(
    config: JobConfig,
    as_of: AsOf,
    *,
    out: Reporter,
    tasks: Sequence[str] = TASKS,
    force: bool = False,
    hindsight: bool = False,
    offline: bool = False,
    wait_s: float = 0.0,
) -> Summary:
    """What the job did for one moment; it is also written to `<output>/summaries/<name>-<as-of>.json`.

    With `monitor` among the tasks, `train` trains only where a rule fires or nobody is champion; without it, always.
    A store that does not answer stops no forecast: the copy of the last champion on this machine makes it, and what is
    tracked waits for `forecast-kit sync`. A server may be away for a night; where an embedded store is broken (a full
    disk, a damaged file), which nobody else would notice, the run fails once the forecast is written.

    Args:
        config: from `read_job`; it must have a `sink`.
        as_of: what is stamped before it is known, and the forecast begins there.
        out: where to tell.
        tasks: some of `monitor`, `train`, `forecast`.
        force: decide anew whether to train, and train anew, for an as-of for which that was done.
        hindsight: forecast with a champion that learned from data after the as-of, too.
        offline: ask the store for nothing.
        wait_s: seconds to wait for another run of the same job to end.

    Raises:
        ConfigError: the job has no sink, or that of another job.
        BusyError: the same job is running.
        DataError, ArgumentError: the data cannot be used, or the champion must not forecast for that as-of.
        StoreError, ArtifactError: the sink failed, or the champion's artefact is not what was registered.
        ForecastKitError, ...: monitor, training or an embedded store failed; where a forecast was asked for it has been
            written before.

    >>> from pathlib import Path
    >>> from rich.console import Console
    >>> from forecast_kit.jobs.asof import AsOf
    >>> from forecast_kit.jobs.config import read_job
    >>> from forecast_kit.jobs.reporting import Reporter
    >>> written = Path("job.yaml").write_text('''
    ... name: passengers
    ... data: {dataset: air_passengers}
    ... baselines: {seasonal_naive: {forecaster: SeasonalNaive}}
    ... candidates: {theta: {forecaster: Theta}}
    ... backtest: {horizon: 12}
    ... register: {name: passengers}
    ... sink: {path: out}
    ... ''')
    >>> summary = run_batch(read_job("job.yaml"), AsOf.read("1961-01-01"), out=Reporter(Console(), quiet=True))
    >>> summary.training["decision"], summary.forecast["rows"], summary.exit_code
    ('promoted', 12, 0)
    """
    if config.sink is None:
        raise ConfigError(f"the job {config.name} has no 'sink' to write forecasts to; add one, such as "
                          f"sink: {{path: {config.output}}}")  # fmt: skip
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        raise ArgumentError(f"tasks are {', '.join(TASKS)}; got {', '.join(unknown) or 'none'}")
    summary = out.summary = Summary(config.name, as_of.label, [task for task in TASKS if task in tasks])
    home = Path(config.store or DEFAULT_FOLDER).absolute()
    with out.job(job=config.name, as_of=as_of.label), only_one(home, config.name, wait_s), summary.kept(config, out):
        source = open_source(config.data, as_of=as_of)
        sink = open_sink(config.sink, source.schema)
        unguarded = claim(config.sink, config.name) if {"monitor", "forecast"} & set(tasks) else None
        if unguarded is not None:
            out.warn(unguarded)
        present = overtaken(as_of, config.schedule, source.schema)
        if present is not None:
            out.warn(f"the as-of {as_of} lies in the future, a run now would be as of {present}: the forecast begins "
                     f"there, and what is missing before it counts as late")  # fmt: skip
        failures: list[Exception] = []
        store = _connected(config, offline, out, failures)
        if failures and "forecast" not in tasks:
            raise failures[0]
        with fk_mlflow.start_run(store, config.name, f"{config.name} {as_of}") as run:
            run.set_tags({"job": config.name, "as_of": as_of.label, "tasks": ", ".join(summary.tasks)})
            batch = Batch(config, as_of, source, sink, store, run, out, summary, force, hindsight, failures)
            wanted = "monitor" not in tasks
            if "monitor" in tasks:
                with _postponing(batch, "the monitor"):
                    wanted = _monitor(batch)
            if "train" in tasks and wanted:
                with _postponing(batch, "the training"):
                    _train(batch)
            if "forecast" in tasks:
                deliver(batch)
            if "report" not in (summary.training or {}):  # a training describes its run itself
                run.describe(summary.sentence)
            run.log_metrics(summary.metrics())
            run.log_json(summary.to_dict(), "summary.json")
            if failures:
                raise failures[0]
        summary.link = run.link
        if run.waiting is not None and not store.offline:
            why = run.trouble or f"{run.refused} entries refused"
            told = f"the tracking store has not taken everything ({why}); the rest waits in {run.waiting}"
            if run.trouble and _embedded(store):
                raise StoreError(told)
            out.warn(told)
    return summary


@contextmanager
def _postponing(batch: Batch, what: str) -> Iterator[None]:
    """What goes wrong in the block is kept for later where a forecast is still to be made: a champion can make it."""
    try:
        yield
    except Exception as error:
        if "forecast" not in batch.summary.tasks:
            raise
        batch.failures.append(error)
        batch.out.warn(f"{what} failed, and the forecast is made without it: {one_line(error)}")


@contextmanager
def only_one(home: Path, name: str, wait_s: float = 0.0) -> Iterator[None]:
    """One run of a job at a time on this machine: the block holds what `run_batch` holds while it runs.

    Args:
        home: the folder of the embedded store; locks lie in `jobs` below it.
        name: of the job.
        wait_s: seconds to wait for another run to end.

    Raises:
        BusyError: another process runs it.
        StoreError: the lock's folder cannot be made or written to.

    >>> from pathlib import Path
    >>> with only_one(Path(".forecast_kit"), "demand"):
    ...     with only_one(Path(".forecast_kit"), "demand"):
    ...         print("both run")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    forecast_kit.errors.BusyError: the job demand is running already (process ...); wait for it, or say --wait SECONDS
    """
    folder = home / "jobs"
    file = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
    who = file.with_suffix(".pid")
    lock = FileLock(file, timeout=wait_s)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        pid = who.read_text() if who.exists() else "unknown"
        raise BusyError(
            f"the job {name} is running already (process {pid}); wait for it, or say --wait SECONDS"
        ) from error
    except OSError as error:
        raise StoreError(f"cannot lock the job {name} in {folder}: {error.strerror or error}; name a folder that can "
                         f"be written to as 'store' in the job file") from error  # fmt: skip
    try:
        with suppress(OSError):  # it is for the message above alone
            who.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _embedded(store: Store) -> bool:
    """Whether the store is a file of this machine, and no server that may be away."""
    return store.uri.startswith(("sqlite:", "file:")) or "://" not in store.uri


def _unanswered(error: Exception, so: str, store: Store, out: Reporter, failures: list[Exception]) -> None:
    """A warning that the store gave no answer, and of an embedded one a failure, with which the run ends."""
    if _embedded(store):
        failures.append(error)
    out.warn(f"{error}; {so}")


def _connected(config: JobConfig, offline: bool, out: Reporter, failures: list[Exception]) -> Store:
    """The store, and what earlier runs could not tell it is told first; without an answer, the journal alone."""
    with out.stage("connect") as stage:
        try:
            store = fk_mlflow.connect(config.store, offline=offline)
        except (StoreError, OSError) as error:  # the latter of the lock beside an embedded store
            store = fk_mlflow.connect(config.store, offline=True)
            _unanswered(error, "going on with the copy of the last champion", store, out, failures)
        stage.note(store=store.uri.rpartition("@")[2], offline=store.offline)
        # A training that was killed may have registered a version that the store has not heard of yet.
        left = [] if store.offline else [one for one in fk_mlflow.sync(store) if one.left or one.refused or one.trouble]
        for one in left:
            out.warn(f"of an earlier run {one.left} entries wait and {one.refused} were refused ({one.folder})")
    return store


# ---- monitor


def _monitor(batch: Batch) -> bool:
    """Whether to train: past runs are scored, and the rules asked, unless that was done for this as-of."""
    section, sink, as_of = batch.config.monitor, batch.sink, batch.as_of
    with batch.out.stage("monitor") as stage:
        runs = monitor.score_past(
            sink, batch.source, as_of, look_back=section.look_back, chunk=batch.config.execution.chunk
        )
        scores = monitor.last_scores(sink, as_of, runs=max(section.window, section.look_back))
        stage.note(scored_runs=len(runs), scored_until=str(runs[-1]) if runs else "")
        known = (
            None if batch.force else monitor.decision_in(sink.read("checks", since=as_of, until=monitor.after(as_of)))
        )
        if known is not None:
            wanted, reason = bool(known["fired"]), str(known["reason"])
        else:
            watched = _watched(batch)
            if watched is None:
                wanted, reason = False, "the registry could not be asked"
            else:
                panel = _some_series(batch) if section.retrain.drift is not None else None
                found = monitor.checks(section, watched, scores, as_of, panel=panel)
                sink.write("checks", as_of, [monitor.as_table(found)])
                wanted, reason = found[-1].fired, found[-1].reason
                batch.run.log_metrics({f"check/{one.check}": one.value for one in found})
        batch.summary.monitor = {"scored_runs": len(runs), "retrain": wanted, "reason": reason,
                                 **monitor.recent_figures(scores, section.window)}  # fmt: skip
        stage.note(retrain=wanted, reason=reason)
    return wanted


def _watched(batch: Batch) -> monitor.Watched | None:
    """What the rules are told of the champion; None where the registry cannot be asked."""
    if batch.store.offline:
        return None
    try:
        deployment = next(champions(batch.store, batch.name), None)
        trainings = tagged(batch.store.client, batch.name, {"job": batch.config.name})
        freq = batch.source.schema.freq
        last = max((AsOf.read(one.tags["as_of"], freq=freq) for one in trainings if "as_of" in one.tags), default=None)
        if deployment is None:
            return monitor.Watched(None, None, float("nan"), last)
        tags = find_version(batch.store.client, batch.name, deployment.version).tags
        back = _rolled_back(batch, deployment.version)
    except (StoreError, *NO_ANSWER) as error:
        batch.unanswered(StoreError(f"cannot ask the registry: {one_line(error)}"), "no rule was asked")
        return None
    return monitor.Watched(deployment.version, deployment.trained_until, float(tags.get("mase", "nan")), last, back)


def _rolled_back(batch: Batch, version: str) -> AsOf | None:
    """When a rollback made the version champion, on the clock of the as-ofs; None where none did, or time is numbered.

    Raises:
        StoreError: the registry gave no answer.
    """
    if isinstance(batch.as_of.stamp, int):
        return None
    last = history(batch.store.client, batch.name).iloc[-1]  # a champion has at least the change that made it one
    if (last["by"], last["version"]) != ("rollback", version):
        return None
    at = last["from"].tz_convert(batch.source.schema.timezone or "UTC").tz_localize(None)
    return AsOf(at.floor("min").as_unit("us"))


def _some_series(batch: Batch) -> Panel | None:
    """The first series, enough of them to tell of the inputs of all."""
    chunk = next(batch.source.chunks(monitor.DRIFT_SERIES))
    return next(monitor.panels_of(chunk, batch.source, batch.as_of), None)


# ---- train


def _train(batch: Batch) -> None:
    """The training for this as-of, unless it was done."""
    config, store = batch.config, batch.store
    if store.offline:
        batch.out.warn("no training: the registry cannot be asked, so nothing could be promoted")
        return
    tags = {"job": config.name, "as_of": batch.as_of.label, "recipe": recipe_of(config)}
    with batch.out.stage("train") as stage:
        known = [] if batch.force else tagged(store.client, batch.name, tags)
        if known and decided(store.client, batch.name, known[0]):
            version, decision = str(known[0].version), known[0].tags["decision"]
            stage.note(version=version, decision=decision, done="before")
            batch.summary.training = {
                "version": version,
                "decision": decision,
                "reason": known[0].tags.get("reason", ""),
            }
            return
        ahead = None if known else _champion_from_later(batch)
        if ahead is not None:
            batch.out.warn(f"no training as of {batch.as_of}: the champion, version {ahead.version}, learned from data "
                           f"until {ahead.trained_until}")  # fmt: skip
            stage.note(done="not needed")
            return
        source = read_source(config.data, as_of=batch.as_of)
        check_training(config, source)
        trained = train(config, source, batch.run, store, out=batch.out.console, tags=tags,
                        known=str(known[0].version) if known else None)  # fmt: skip
        decision = "none" if trained.decision is None else "promoted" if trained.decision.promoted else "refused"
        reason = "" if trained.decision is None else trained.decision.reason
        stage.note(best=trained.best, version=trained.version, decision=decision)
        batch.summary.training = {"best": trained.best, "version": trained.version, "decision": decision,
                                  "reason": reason, "report": trained.report and str(trained.report)}  # fmt: skip
        if trained.decision is None:
            batch.out.warn(f"the training as of {batch.as_of} was not judged; run the job again for that as-of")


def _champion_from_later(batch: Batch) -> Deployment | None:
    """The champion, if it learned from what lies after the as-of: a training of the past must not take its place."""
    for deployment in champions(batch.store, batch.name):
        until = deployment.trained_until
        return None if until is None or batch.as_of.knows(until, batch.source.schema) else deployment
    return None


def recipe_of(config: JobConfig) -> str:
    """16 hexadecimal digits that change with whatever a training of the job depends on, but the data."""
    parts = config.model_dump(mode="json", by_alias=True, include={
        "data", "baselines", "candidates", "backtest", "gate", "register_",
    })  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
