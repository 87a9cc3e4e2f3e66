"""What the sections of a job file have in common, and the kinds of values that several of them take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}")  # of the environment, as a job file mentions it
_SECRET_KEYS = re.compile(r"secret|password|token|(^|_)key$", re.IGNORECASE)
_LONGEST_NAME = 180  # bytes: file systems take 255, of which an as-of and endings need some


def _without_password(url: str) -> str:
    """The URL, which must not hold a password that everybody who reads the file would read."""
    if "://" not in url and not VARIABLE.fullmatch(url.strip()):
        raise ValueError("this is no URL of SQLAlchemy's; write such as sqlite:///demand.db, "
                         "postgresql+psycopg://user:${DB_PASSWORD}@host/base, or ${DEMAND_DB}")  # fmt: skip
    # A variable in place of the password is what is asked for; its braces would confuse the parser of URLs.
    password = urlsplit(VARIABLE.sub("", url)).password
    if password:
        raise ValueError("the URL holds a password in plain text; write ${NAME} in its place and set that "
                         "environment variable where the job runs")  # fmt: skip
    return url


def _without_secrets(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a file system, whose keys and tokens must come from the environment."""
    for key, value in options.items():
        if _SECRET_KEYS.search(key) and isinstance(value, str) and not VARIABLE.fullmatch(value):
            raise ValueError(f"{key!r} holds a secret in plain text; write ${{NAME}} in its place and set that "
                             f"environment variable where the job runs")  # fmt: skip
    return options


def whole_lapse(value: str | int) -> str | int:
    """A lapse of time: text that pandas takes, such as `30D`, or a whole number in the units of numbered time."""
    if isinstance(value, str):
        try:
            lapse = pd.Timedelta(value)
        except ValueError as error:
            raise ValueError(f"write a lapse of time such as 30D or 36h: {error}") from error
        if pd.isna(lapse) or lapse <= pd.Timedelta(0):
            raise ValueError(f"a lapse of time is longer than nothing, such as 30D or 36h; got {value!r}")
    elif value < 1:
        raise ValueError(f"a lapse of numbered time is at least 1 unit; got {value!r}")
    return value


def _plain_name(name: str) -> str:
    """A name that MLflow, file systems and logs take as it is."""
    if not name.isprintable() or name.strip() != name or name in ("", ".", ".."):
        raise ValueError(f"a name is printable text without blanks around, and no '.' or '..'; got {name!r}")
    return name


def _name_of_files(name: str) -> str:
    """The name, which files are called by."""
    if "/" in name or "\\" in name or name.startswith("."):
        raise ValueError(f"summaries and reports are files of that name, which takes no slash or backslash and begins "
                         f"with no dot; got {name!r}")  # fmt: skip
    if len(name.encode()) > _LONGEST_NAME:
        raise ValueError(f"summaries and reports are files of that name, which may have {_LONGEST_NAME} bytes; it has "
                         f"{len(name.encode())}")  # fmt: skip
    return name


def _name_in_registry(name: str) -> str:
    r"""As `forecast_kit.mlflow.naming.check_name`, which cannot be asked here: a job file is checked without MLflow."""
    if any(letter in name for letter in "/\\:@?'\""):
        raise ValueError(f"a registered model's name takes none of / \\ : @ ? ' \"; got {name!r}")
    return name


JobName = Annotated[str, AfterValidator(_plain_name), AfterValidator(_name_of_files)]
ForecasterName = Annotated[str, AfterValidator(_plain_name), Field(max_length=100)]
ModelName = Annotated[str, Field(max_length=256), AfterValidator(_plain_name), AfterValidator(_name_in_registry)]
SecretUrl = Annotated[str, AfterValidator(_without_password)]
Storage = Annotated[dict[str, Any], AfterValidator(_without_secrets)]
File = Annotated[Path, Field(strict=False)]
Lapse = Annotated[str | int, AfterValidator(whole_lapse)]
Levels = Annotated[tuple[float, ...], Field(strict=False)]  # YAML has lists


class Section(BaseModel):
    """What all sections have in common: unknown keys are refused, and values of another type than is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, strict=True)


def keys_of(section: type[BaseModel]) -> list[str]:
    """The keys of a section as a job file writes them."""
    return [field.alias or name for name, field in section.model_fields.items()]
