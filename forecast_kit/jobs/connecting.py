"""Databases and file systems of job files: secrets come from the environment, and stay out of every message."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Engine, make_url

from forecast_kit.errors import ConfigError, ForecastKitError
from forecast_kit.jobs.sections.base import VARIABLE

_SECRET_KEY = re.compile(r"pass|secret|token", re.IGNORECASE)
_WAIT_S = 60  # for others who hold a SQLite file


def filled(value: Any, secrets: set[str] | None = None) -> Any:
    """The value with `${NAME}` in its texts replaced by environment variables.

    Args:
        value: text, or lists and mappings that hold some; other values stay as they are.
        secrets: takes up what was filled in.

    Raises:
        ConfigError: a variable is not set.

    >>> os.environ["FK_EXAMPLE"] = "seven"
    >>> filled({"token": "${FK_EXAMPLE}", "anon": False})
    {'token': 'seven', 'anon': False}
    """
    found = set[str]() if secrets is None else secrets
    if isinstance(value, Mapping):
        return {key: filled(one, found) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, found) for one in value]
    return VARIABLE.sub(lambda match: _taken(match, found), value) if isinstance(value, str) else value


def _taken(match: re.Match[str], secrets: set[str]) -> str:
    name = match.group(1)
    if name not in os.environ:
        raise ConfigError(f"the job file names the environment variable {name}, which is not set; set it where the job "
                          f"runs")  # fmt: skip
    secrets.add(os.environ[name])
    return os.environ[name]


@dataclass(frozen=True)
class Secrets:
    """What must not be seen; `hide` strikes it out."""

    values: frozenset[str] = field(default=frozenset(), repr=False)

    def hide(self, text: str) -> str:
        """The text with `***` in place of every secret.

        >>> Secrets(frozenset({"seven"})).hide("no entry with seven")
        'no entry with ***'
        """
        for value in sorted(self.values - {""}, key=len, reverse=True):
            text = text.replace(value, "***")
        return text

    @contextmanager
    def guarding(self, error: type[ForecastKitError], doing: str, *kinds: type[Exception]) -> Iterator[None]:
        """Turns exceptions of those kinds into one of ours, without secrets in the message or in a traceback.

        Args:
            error: to raise.
            doing: what is going on, for the message: `cannot <doing>: ...`.
            kinds: to catch.
        """
        try:
            yield
        except kinds as caught:
            told = " ".join(str(caught).split("(Background on this error")[0].split()) or type(caught).__name__
            # Not `from caught`: a traceback would show the driver's own words.
            raise error(self.hide(f"cannot {doing}: {told}")) from None


@dataclass(frozen=True, eq=False)
class Database:
    """A database to connect to.

    Attributes:
        engine: gives connections; of SQLite they begin transactions themselves, `BEGIN IMMEDIATE` where the
            execution option `immediate` is set.
        place: where it is, without secrets.
        secrets: to be struck out of errors.
    """

    engine: Engine
    place: str
    secrets: Secrets

    @property
    def dialect(self) -> str:
        """`sqlite`, `postgresql` or another name of SQLAlchemy's."""
        return self.engine.dialect.name

    def guarding(self, error: type[ForecastKitError], doing: str) -> AbstractContextManager[None]:
        """See `Secrets.guarding`; of what SQLAlchemy and the drivers raise."""
        driver: Any = self.engine.dialect.dbapi
        return self.secrets.guarding(error, f"{doing} ({self.place})", exc.SQLAlchemyError, driver.Error, OSError)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that sees what others committed while it waited for them."""
        # PostgreSQL's other levels keep to the state at their first statement, which is the one that waits.
        own = {"isolation_level": "READ COMMITTED"} if self.dialect == "postgresql" else {}
        with self.engine.connect().execution_options(immediate=True, **own) as connection, connection.begin():
            yield connection


def database(url: str, *, must_exist: bool = False) -> Database:
    """The database at a URL of SQLAlchemy's in which `${NAME}` is an environment variable.

    In the part `user:password@` a variable stands for the plain text, whatever signs it holds; elsewhere it is put
    in as it is.

    Args:
        url: as the job file states it.
        must_exist: whether a SQLite file that is not there is an error, and not made.

    Raises:
        ConfigError: a variable is not set, the URL is none, or the driver is not installed.

    >>> os.environ["FK_EXAMPLE"] = "p@ss/word"
    >>> database("postgresql+psycopg://ann:${FK_EXAMPLE}@db.example/sales").place
    'postgresql+psycopg://ann:***@db.example/sales'
    """
    found = set[str]()
    target = _url(url, found)
    secrets = Secrets(frozenset(found))
    place = secrets.hide(target.set(query={}).render_as_string(hide_password=True))
    file = target.database
    local = target.get_backend_name() == "sqlite" and file and file != ":memory:" and not file.startswith("file:")
    if must_exist and local and not Path(str(file)).is_file():
        raise ConfigError(f"there is no SQLite file {file} (looked in {Path.cwd()})")
    options: dict[str, Any] = {"connect_args": {"timeout": _WAIT_S}} if target.get_backend_name() == "sqlite" else {}
    try:
        # Jobs connect a few times a night: connections that are kept would be dead by then.
        engine = sa.create_engine(target, poolclass=None if not local and options else sa.NullPool,
                                  hide_parameters=True, **options)  # fmt: skip
    except (ModuleNotFoundError, exc.NoSuchModuleError, exc.ArgumentError) as error:
        told = f"there is no driver for {place}: {error}; install it (of PostgreSQL: pip install 'psycopg[binary]')"
        raise ConfigError(secrets.hide(told)) from None
    if options:
        sa.event.listen(engine, "connect", _own_transactions)
        sa.event.listen(engine, "begin", _begin)
    return Database(engine, place, secrets)


def _url(url: str, secrets: set[str]) -> URL:
    """The URL with variables filled in; what is secret in it is added."""
    whole = VARIABLE.fullmatch(url.strip())
    if whole:
        text = filled(url.strip(), secrets)
    else:
        address, mark, query = url.partition("?")
        user, at, rest = address.rpartition("@")
        text = _quoted(user, secrets) + at + filled(rest) + mark + _quoted(query, secrets)
    try:
        target = make_url(text)
    except (exc.ArgumentError, ValueError):  # whose words repeat the whole URL
        named = f"what the environment variable {whole.group(1)} holds" if whole else repr(url)
        raise ConfigError(f"{named} is no URL of SQLAlchemy's; write such as "
                          f"postgresql+psycopg://user:${{DB_PASSWORD}}@host/base") from None  # fmt: skip
    hidden = [target.password, *(value for key, value in target.query.items() if _SECRET_KEY.search(key))]
    secrets.update(form for one in hidden if isinstance(one, str) for form in (one, quote(one, safe="")))
    return target


def _quoted(text: str, secrets: set[str]) -> str:
    """The text with variables filled in so that a URL takes them as they are; both forms are secret."""
    values = set[str]()
    text = VARIABLE.sub(lambda match: quote(_taken(match, values), safe=""), text)
    secrets.update(form for value in values for form in (value, quote(value, safe="")))
    return text


def _own_transactions(connection: Any, _: Any) -> None:
    """Python's sqlite3 begins transactions when it sees fit; here SQLAlchemy does."""
    connection.isolation_level = None


def _begin(connection: sa.Connection) -> None:
    how = "BEGIN IMMEDIATE" if connection.get_execution_options().get("immediate") else "BEGIN"
    connection.exec_driver_sql(how)


def is_url(path: str) -> bool:
    """Whether a path is that of a file system of fsspec's, such as `s3://bucket/sales`."""
    return "://" in path


def file_system(url: str, storage: Mapping[str, Any]) -> tuple[Any, str, Secrets]:
    """The file system of a URL, the path on it, and what must not be seen.

    Args:
        url: such as `s3://bucket/sales/*.parquet`.
        storage: options of the file system, see fsspec; `${NAME}` in them is an environment variable.

    Raises:
        ConfigError: a variable is not set, the package of the file system is not installed, or refuses the options.
    """
    found = set[str]()
    options = filled(dict(storage), found)
    secrets = Secrets(frozenset(found))
    doing = f"reach {shown(url)}, for which fsspec and the package of its file system (such as s3fs) must be installed"
    with secrets.guarding(ConfigError, doing, ImportError, ValueError, TypeError, OSError):
        from fsspec.core import url_to_fs

        system, path = url_to_fs(url, **options)
    return system, path, secrets


def shown(path: str) -> str:
    """A path or URL as it may be seen: without user and password.

    >>> shown("ftp://ann:seven@files.example/sales"), shown("sales/*.csv")
    ('ftp://***@files.example/sales', 'sales/*.csv')
    """
    return re.sub(r"://[^/@]*@", "://***@", path)
