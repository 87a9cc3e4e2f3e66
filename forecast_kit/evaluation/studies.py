"""Studies: where Optuna keeps trials, so that a search can go on from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from forecast_kit.errors import ArgumentError, StoreError, name_some

if TYPE_CHECKING:
    import optuna

INTERRUPTED = "interrupted"  # marks a trial that has no result because the search broke off
_META = "forecast_kit"  # under which a study keeps what its scores depend on


def optuna_package() -> ModuleType:
    """Optuna, which is an extra and imported when a search begins.

    Raises:
        ArgumentError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ArgumentError(
            "a search needs the package optuna, which is not installed: pip install 'forecast_kit[search]'"
        ) from error
    return optuna


@contextmanager
def open_study(study: str | Path | None, name: str, pruner: Any) -> Iterator[optuna.Study]:
    """The study, in memory or where its trials are kept, open for as long as the block runs."""
    package = optuna_package()
    if pruner is None or pruner == "median":
        pruner = package.pruners.NopPruner() if pruner is None else package.pruners.MedianPruner()
    if not isinstance(pruner, package.pruners.BasePruner):
        raise ArgumentError(f"pruner must be 'median', None, or one of optuna.pruners; got {pruner!r}")
    verbosity = package.logging.get_verbosity()
    package.logging.set_verbosity(package.logging.WARNING)  # a line for each new study otherwise
    storage = None if study is None else _storage(study)
    try:
        yield package.create_study(storage=storage, study_name=name, pruner=pruner, load_if_exists=True)
    finally:
        package.logging.set_verbosity(verbosity)
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _storage(study: str | Path) -> optuna.storages.RDBStorage:
    """Where trials are kept: a database by its URL, or a SQLite file, whose folder is made.

    Raises:
        StoreError: it cannot be opened.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        if isinstance(study, str) and "://" in study:
            url = study
        else:
            file = Path(study).absolute()
            file.parent.mkdir(parents=True, exist_ok=True)
            url = f"sqlite:///{file}"
        storage: optuna.storages.RDBStorage = optuna_package().storages.RDBStorage(url)
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise StoreError(f"cannot keep trials in {study}: {error}") from error
    return storage


def same_study(study: optuna.Study, identity: dict[str, Any], where: str) -> None:
    """Refuses to go on from trials whose scores cannot be compared with new ones."""
    kept = study.user_attrs.get(_META)
    if kept is None:
        if study.get_trials(deepcopy=False):
            raise ArgumentError(f"the study {where} was not made by a search of forecast_kit; take another name")
        study.set_user_attr(_META, identity)
        return
    other = [key for key, value in identity.items() if kept.get(key) != value]
    if other:
        raise ArgumentError(f"the study {where} was made with another {name_some(other)}, and its scores cannot be "
                            f"compared; take another name or another study")  # fmt: skip


def done_trials(study: optuna.Study) -> int:
    """How many trials have a result, were it that they failed."""
    trials = study.get_trials(deepcopy=False)
    return sum(trial.state.is_finished() and INTERRUPTED not in trial.user_attrs for trial in trials)
