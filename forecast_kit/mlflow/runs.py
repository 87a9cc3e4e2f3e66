"""Runs: what an experiment writes down, in a form that the MLflow UI shows well."""

from __future__ import annotations

import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from mlflow.utils.autologging_utils import disable_autologging

from forecast_kit.core.forecaster import FitCallback, FitProgress, Forecaster
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError
from forecast_kit.mlflow.describing import dataset, markdown
from forecast_kit.mlflow.environment import environment
from forecast_kit.mlflow.flavor import save_model
from forecast_kit.mlflow.journal import Journal
from forecast_kit.mlflow.sending import Sender
from forecast_kit.mlflow.store import Store

_LONGEST_PARAM, _LONGEST_TAG = 6000, 5000  # what MLflow stores take
_METRIC_NAME = re.compile(r"[\w.\- /:]{1,250}")


@contextmanager
def start_run(store: Store, experiment: str, name: str, *, patience_s: float = 5.0) -> Iterator[Run]:
    """A run that is open for as long as the block runs: finished at its end, failed on an error.

    What is logged goes to a local journal and from there, by a thread, to the store; no call waits for a server. If the
    store is away when the block ends, the journal is kept, `Run.waiting` says where, and `forecast-kit sync` sends it.
    MLflow's autologging is off inside: it breaks Keras's `fit` where TensorBoard is not installed.

    Args:
        store: from `connect`.
        experiment: its name; it is created if need be.
        name: of the run.
        patience_s: seconds to wait, at the end of the block, for a store that is away.

    >>> from forecast_kit.mlflow import connect, start_run
    >>> store = connect()
    >>> with start_run(store, "demand", "first try") as run:
    ...     run.log_parameters({"lag": 24})
    ...     run.log_metrics({"mase": 0.9})
    >>> store.client.get_run(run.id).data.metrics
    {'mase': 0.9}
    """
    journal = Journal.create(store.journal, name)
    sender = None if store.offline else Sender(journal, store)
    try:
        with Run(_Shared(store, journal, sender, experiment), name)._open() as run, disable_autologging():
            yield run
    finally:
        if sender is not None:
            sender.flush(patience_s)
            sender.close()
        journal.close()


@dataclass
class _Shared:
    """What a run and its children have in common."""

    store: Store
    journal: Journal
    sender: Sender | None
    experiment: str
    datasets: dict[str, str] = field(default_factory=dict)  # names by digest


@dataclass(frozen=True)
class Model:
    """A model that was logged with a run.

    Attributes:
        folder: where it lies until it is sent, as MLflow's model; `forecast_kit.mlflow.load_model` reads it.
        key: its name in the journal.

    >>> from forecast_kit import Naive, Panel, load
    >>> from forecast_kit.mlflow import connect, load_model, start_run
    >>> with start_run(connect(), "passengers", "naive") as run:
    ...     model = run.log_model(Naive(horizon=2).fit(Panel.from_frame(*load("air_passengers"))))
    ...     print(load_model(str(model.folder)))  # at once, whether the store has it yet or not
    Naive(horizon=2)
    """

    folder: Path
    key: str


class Run:
    """An open run. `start_run` and `Run.child` give one.

    Attributes:
        name: of the run.

    >>> from forecast_kit import Naive, Panel, load
    >>> from forecast_kit.mlflow import connect, load_model, start_run
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> store = connect()
    >>> with start_run(store, "passengers", "naive") as run:
    ...     run.log_dataset(panel, "air_passengers", "bundled")
    ...     model = run.log_model(Naive(horizon=2).fit(panel), history=True)
    ...     run.register(model, "passengers")
    >>> run.version(model), load_model("models:/passengers/1").predict().mean.tolist()
    ('1', [[432.0, 432.0]])
    """

    def __init__(self, shared: _Shared, name: str, parent: str | None = None) -> None:
        self.name = name
        self._shared, self._parent, self._key = shared, parent, uuid.uuid4().hex
        self._tables: list[dict[str, str]] = []

    # ---- what it is

    @property
    def id(self) -> str | None:
        """The store's id of the run; None as long as the store has not been told of it."""
        return self._shared.journal.state.runs.get(self._key)

    @property
    def link(self) -> str | None:
        """The address of the run's page; None as long as the store has not been told of it."""
        if self.id is None:
            return None
        return self._shared.store.link(f"/experiments/{self._shared.journal.state.experiment}/runs/{self.id}")

    @property
    def waiting(self) -> Path | None:
        """The journal's folder, if anything in it has not been sent or was refused; else None."""
        journal = self._shared.journal
        return journal.folder if journal.folder.exists() and not (journal.done and not journal.state.refused) else None

    @property
    def trouble(self) -> str:
        """Why the store did not take what is waiting; empty where nothing was wrong, or nothing was tried."""
        return "" if self._shared.sender is None else self._shared.sender.trouble

    @property
    def refused(self) -> int:
        """How many entries the store refused; `refused.jsonl` in the journal's folder tells which and why."""
        return self._shared.journal.state.refused

    def version(self, model: Model) -> str | None:
        """The version that a model has become; None as long as the registry has not been told of it."""
        return self._shared.journal.state.versions.get(model.key)

    def model_id(self, model: Model) -> str | None:
        """The store's id of a logged model; None as long as the store has not been told of it."""
        return self._shared.journal.state.models.get(model.key)

    def flush(self, patience_s: float = 5.0) -> bool:
        """Whether everything has reached the store; waits no longer than this for one that is away."""
        return self._shared.sender is not None and self._shared.sender.flush(patience_s)

    @contextmanager
    def child(self, name: str) -> Iterator[Run]:
        """A run below this one, such as one candidate of several, open for as long as the block runs."""
        with Run(self._shared, name, self._key)._open() as run:
            yield run

    def record_child(
        self, name: str, *, started: float, ended: float, status: str, tags: Mapping[str, str],
        parameters: Mapping[str, Any], points: Iterable[tuple[str, float, int]],
    ) -> None:  # fmt: skip
        """A run below this one that is already over.

        Args:
            name: of the run.
            started, ended: seconds since 1970.
            status: `FINISHED`, `FAILED` or `KILLED`.
            tags, parameters: of the run.
            points: its metrics as name, value and step.
        """
        child = Run(self._shared, name, self._key)
        child._begin(tags, int(1000 * started))
        child.log_parameters(parameters)
        child._log_points(list(points), None, None, int(1000 * ended))
        child._say("end", status=status, time=int(1000 * ended))

    # ---- what it says

    def log_parameters(self, values: Mapping[str, Any]) -> None:
        """Parameters, each once in the life of a run; long ones are cut to what MLflow takes."""
        self._say("log", params={key: str(value)[:_LONGEST_PARAM] for key, value in values.items()})

    def log_metrics(
        self, values: Mapping[str, float], *, step: int = 0, model: Model | None = None, panel: Panel | None = None
    ) -> None:
        """Metrics; undefined ones are left out, for MLflow's charts cannot show them.

        Args:
            values: by name, of letters, digits and `_ - . / :`; a slash groups charts.
            step: of a curve.
            model: that they are a quality of, logged with this run.
            panel: that they were found on, logged as a data set before.

        Raises:
            ArgumentError: MLflow would refuse a name, or the panel was not logged.
        """
        self._log_points([(key, value, step) for key, value in values.items()], model, panel)

    def log_steps(self, key: str, values: Mapping[int, float], *, model: Model | None = None) -> None:
        """A metric over forecast steps or folds, or whatever is counted: the UI draws it as a curve.

        Args:
            key: its name.
            values: by what is counted.
            model: that it is a quality of, logged with this run.

        Raises:
            ArgumentError: MLflow would refuse the name.
        """
        self._log_points([(key, value, step) for step, value in values.items()], model, None)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Tags; long ones are cut to what MLflow takes."""
        self._say("log", tags={key: str(value)[:_LONGEST_TAG] for key, value in tags.items()})

    def describe(self, sentence: str, table: pd.DataFrame | None = None) -> None:
        """The text at the top of the run's page: a sentence, then a table."""
        self.set_tags({"mlflow.note.content": sentence if table is None else f"{sentence}\n\n{markdown(table)}"})

    def log_environment(self) -> None:
        """Versions, machine, devices and git commit, as a file and as tags to search by."""
        found = environment()
        git = found["git"]
        tags = {"mlflow.user": found["user"], "device": ", ".join(found["devices"])}
        if git:
            tags |= {"mlflow.source.git.commit": git["commit"], "mlflow.source.git.branch": git["branch"],
                     "git.changed": git["changed"]}  # fmt: skip
        self.set_tags(tags)
        self.log_json(found, "environment.json")

    def log_dataset(self, panel: Panel, name: str, source: str, *, context: str = "training") -> None:
        """The panel as the run's data set: its name, digest, columns, size and span.

        Written directly: `mlflow.data.from_pandas` hashes a sample of the rows and warns about every integer column.

        Args:
            panel: the data.
            name: of the data set.
            source: where it came from.
            context: what it was used for.
        """
        self._shared.datasets[panel.digest] = name
        self._say("input", context=context, dataset=dataset(panel, name, source))

    def log_table(self, frame: pd.DataFrame, file: str) -> None:
        """A small table as JSON that the UI shows (`.json`), or a large one as Parquet (`.parquet`).

        Raises:
            ArgumentError: the file's name ends otherwise.
        """
        if file.endswith(".json"):
            self._file(file, lambda path: frame.to_json(path, orient="split", index=False, date_format="iso"))
            self._tables.append({"path": file, "type": "table"})
            self.set_tags({"mlflow.loggedArtifacts": json.dumps(self._tables)})
        elif not file.endswith(".parquet"):
            raise ArgumentError(f"a table is logged as .json, which the UI shows, or as .parquet; got {file!r}")
        else:
            self._file(file, lambda path: frame.to_parquet(path, index=False))

    def log_figure(self, figure: Figure, file: str) -> None:
        """A picture, in the format that the file's ending names."""
        self._file(file, lambda path: figure.savefig(path, dpi=110))

    def log_text(self, text: str, file: str) -> None:
        """A text, Markdown or HTML as the file's ending says."""
        self._file(file, lambda path: path.write_text(text, encoding="utf-8"))

    def log_json(self, values: Any, file: str) -> None:
        """Anything that JSON can hold."""
        self.log_text(json.dumps(values, indent=1, default=str), file)

    def log_file(self, path: str | Path, folder: str = "") -> None:
        """A copy of a file, as it is now, into a folder of the run's artefacts."""
        self._file(f"{folder}/{Path(path).name}" if folder else Path(path).name, lambda to: shutil.copyfile(path, to))

    def log_model(self, forecaster: Forecaster, name: str = "model", *, tags: Mapping[str, str] | None = None,
                  **save_arguments: Any) -> Model:  # fmt: skip
        """Saves a fitted forecaster beside the journal, whole, before the store is told of it.

        Args:
            forecaster: fitted.
            name: of the logged model.
            tags: of the logged model.
            save_arguments: see `forecast_kit.mlflow.save_model`.

        Returns:
            What `register`, `version`, `model_id` and `log_metrics` take; its `folder` can be loaded from at once.

        Raises:
            NotFittedError, ArgumentError: see `forecast_kit.mlflow.save_model`.
        """
        folder = self._shared.journal.new_folder() / "model"
        save_model(forecaster, folder, **save_arguments)
        model = Model(folder, folder.parent.name)
        self._say("model", model=model.key, path=self._relative(folder), name=name, tags=dict(tags or {}))
        return model

    def register(
        self, model: Model, name: str, *, tags: Mapping[str, str] | None = None, description: str = ""
    ) -> None:
        """Makes a logged model the next version of a registered model, and its challenger.

        It is done when the store is told: a name that MLflow cannot take is then among the `refused`.

        Args:
            model: logged with this run.
            name: of the registered model.
            tags, description: of the version.
        """
        self._say("register", model=model.key, path=self._relative(model.folder), name=name, tags=dict(tags or {}),
                  description=description)  # fmt: skip

    def curve(self, prefix: str = "") -> FitCallback:
        """What to pass to `Forecaster.fit` as a callback, so that losses are drawn while the training goes on.

        Args:
            prefix: before each metric's name, such as `fold_1/`.
        """

        def log(event: FitProgress) -> None:
            if event.logs:
                self.log_metrics({f"{prefix}{key}": value for key, value in event.logs.items()}, step=event.done)

        return log

    # ---- shared by the above

    @contextmanager
    def _open(self) -> Iterator[Run]:
        self._begin({}, _now())
        status = "FAILED"
        try:
            yield self
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            self._say("end", status=status, time=_now())

    def _begin(self, tags: Mapping[str, str], at: int) -> None:
        base = {"mlflow.source.name": "forecast_kit", "mlflow.source.type": "JOB"}
        self._say("run", parent=self._parent, experiment=self._shared.experiment, name=self.name, time=at,
                  tags={**base, **tags})  # fmt: skip

    def _say(self, do: str, **entry: Any) -> None:
        self._shared.journal.append({"do": do, "run": self._key, **entry})

    def _log_points(
        self, points: list[tuple[str, float, int]], model: Model | None, panel: Panel | None, at: int | None = None
    ) -> None:
        moment = _now() if at is None else at
        for key, _, _ in points:
            if not _METRIC_NAME.fullmatch(key):
                raise ArgumentError(f"MLflow takes metric names of letters, digits, spaces and _ - . / : alone; got "
                                    f"{key!r}")  # fmt: skip
        entry: dict[str, Any] = {
            "metrics": [[key, float(value), moment, int(step)] for key, value, step in points if pd.notna(value)]
        }
        if model is not None:
            entry["model"] = model.key
        if panel is not None:
            if panel.digest not in self._shared.datasets:
                raise ArgumentError("metrics name a panel that was not logged; call log_dataset(panel, ...) before")
            entry["dataset"] = [self._shared.datasets[panel.digest], panel.digest]
        self._say("log", **entry)

    def _file(self, file: str, write: Callable[[Path], object]) -> None:
        path = self._shared.journal.new_folder() / Path(file).name
        write(path)
        parent = str(Path(file).parent)
        self._say("file", path=self._relative(path), folder="" if parent == "." else parent)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._shared.journal.folder).as_posix()


def _now() -> int:
    return int(time.time() * 1000)
