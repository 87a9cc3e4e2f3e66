"""Who was champion when, and why: one tag of the registered model for each change, written so that none is lost.

The alias `champion` is the truth: it is what gets served. Every change is recorded as a tag
`champion.2026-11-22T05:12:33.123456Z` with a text such as `version 4 (gru) replaced version 3 by promotion: Promoted:
gru has MASE ...`. The order of writes, all of them under `exclusive`:

1. the tag `forecast_kit.unfinished`: what is about to happen;
2. the alias `champion`;
3. the record, the tags of both versions, the description;
4. the tag of 1 is removed.

A crash between 1 and 2 leaves a change that did not happen: the next one drops it. A crash after 2 leaves one that did,
with its record late: the next one completes it from 1, and `history` reads it from there until then. An alias that was
moved by hand is found by comparing it with the last record, and recorded as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import pandas as pd
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from forecast_kit.mlflow.describing import markdown
from forecast_kit.mlflow.naming import CHALLENGER, CHAMPION, MISSING, fitting, kept_text

RECORD, UNFINISHED = "champion.", "forecast_kit.unfinished"
By = Literal["promotion", "rollback", "hand"]
_TEXT = re.compile(
    r"(?:version (?P<version>\d+) \((?P<forecaster>[^()]*)\)|no version) (?:became champion|replaced version "
    r"(?P<replaced>\d+)) by (?P<by>promotion|rollback|hand): (?P<reason>.*)",
    re.DOTALL,
)
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"
_SHOWN = 10  # changes in the registered model's description


@dataclass(frozen=True)
class Change:
    """One change of the champion.

    Attributes:
        at: when, UTC, to the microsecond, as text that sorts.
        version: the champion from then on; None where the alias was removed.
        forecaster: what it was called when it was judged.
        replaced: the champion until then, None where there was none.
        by: promotion, rollback, or hand: outside of these commands.
        reason: why.
    """

    at: str
    version: str | None
    forecaster: str
    replaced: str | None
    by: By
    reason: str

    @property
    def text(self) -> str:
        """The record, as `read_change` reads it."""
        who = "no version" if self.version is None else f"version {self.version} ({_word(self.forecaster)})"
        did = "became champion" if self.replaced is None else f"replaced version {self.replaced}"
        return fitting(f"{who} {did} by {self.by}: {self.reason}", 2000)


def read_change(at: str, text: str) -> Change | None:
    """The change that a record tells of; None where somebody else wrote it."""
    found = _TEXT.fullmatch(text)
    if found is None or _AT.fullmatch(at) is None:
        return None
    by: By = "promotion" if found["by"] == "promotion" else "rollback" if found["by"] == "rollback" else "hand"
    return Change(at, found["version"], found["forecaster"] or "", found["replaced"], by, found["reason"])


def changes(tags: Mapping[str, str]) -> list[Change]:
    """All recorded changes of a registered model, the oldest first, from its tags alone."""
    found = [read_change(key.removeprefix(RECORD), tags[key]) for key in sorted(tags) if key.startswith(RECORD)]
    return [change for change in found if change is not None]


def history(client: MlflowClient, name: str) -> pd.DataFrame:
    """`version, forecaster, from, until, replaced, by, reason`: who was champion when (UTC), and why, oldest first.

    It reads the tags of the registered model alone, and needs no version or run to be there still. Rows without a
    version tell of times without a champion.

    Raises:
        MlflowException: there is no such model.
    """
    model = client.get_registered_model(name)
    known = changes(model.tags)
    pending = _pending(model)
    if pending is not None and pending.version == _alias(model) and pending.at not in [one.at for one in known]:
        known.append(pending)
    if (known[-1].version if known else None) != _alias(model):
        known.append(_by_hand(model, known, ""))
    starts = pd.to_datetime(
        np.array([change.at or "NaT" for change in known], dtype=str), utc=True, format=_STAMP
    ).as_unit("us")
    return pd.DataFrame({
        "version": pd.Series([change.version for change in known], dtype="str"),
        "forecaster": pd.Series([change.forecaster for change in known], dtype="str"),
        "from": starts,
        "until": starts[1:].append(pd.DatetimeIndex([pd.NaT], tz="UTC")) if known else starts,
        "replaced": pd.Series([change.replaced for change in known], dtype="str"),
        "by": pd.Series([change.by for change in known], dtype="str"),
        "reason": pd.Series([change.reason for change in known], dtype="str"),
    })  # fmt: skip


def line_of_succession(known: list[Change]) -> list[str]:
    """The versions that a rollback goes back through, the present champion last.

    Going back takes off what came after; a version that had not been in the line is put on top.

    >>> steps = [("1", "promotion"), ("2", "promotion"), ("3", "promotion"), ("2", "rollback")]
    >>> line_of_succession([Change(str(k), version, "", None, by, "") for k, (version, by) in enumerate(steps)])
    ['1', '2']
    """
    line: list[str] = []
    for change in known:
        if change.version is None:
            continue
        if change.by != "promotion" and change.version in line:
            while line[-1] != change.version:
                line.pop()
        else:
            line.append(change.version)
    return line


def next_stamp(tags: Mapping[str, str]) -> str:
    """Now, UTC; later than the last record, whatever the clock of the machine that wrote it showed."""
    now = datetime.now(UTC)
    for change in changes(tags)[-1:]:
        now = max(now, datetime.strptime(change.at, _STAMP).replace(tzinfo=UTC) + timedelta(microseconds=1))
    return now.strftime(_STAMP)


def apply(client: MlflowClient, name: str, change: Change, *, check: Callable[[], None]) -> None:
    """Makes the change, in the order told above.

    Args:
        client: of the store.
        name: the registered model; the caller is inside `exclusive`.
        change: to a version that exists.
        check: what `exclusive` gave.
    """
    assert change.version is not None  # nobody is made champion only by hand
    client.set_registered_model_tag(name, UNFINISHED, f"{change.at} {change.text}")
    check()
    client.set_registered_model_alias(name, CHAMPION, change.version)
    _record(client, name, change)


def settle(client: MlflowClient, name: str) -> RegisteredModel:
    """The registered model, once its records agree with its alias: what broke off is completed or dropped.

    The caller is inside `exclusive`.
    """
    model = client.get_registered_model(name)
    pending = _pending(model)
    if pending is not None and pending.version == _alias(model):
        _record(client, name, pending)
        model = client.get_registered_model(name)
    elif UNFINISHED in model.tags:
        client.delete_registered_model_tag(name, UNFINISHED)
    known = changes(model.tags)
    if (known[-1].version if known else None) != _alias(model):
        _record(client, name, _by_hand(model, known, next_stamp(model.tags)))
        model = client.get_registered_model(name)
    return model


def _pending(model: RegisteredModel) -> Change | None:
    at, _, text = model.tags.get(UNFINISHED, "").partition(" ")
    return read_change(at, text)


def _alias(model: RegisteredModel) -> str | None:
    found = model.aliases.get(CHAMPION)
    return None if found is None else str(found)


def _by_hand(model: RegisteredModel, known: list[Change], at: str) -> Change:
    version, before = _alias(model), known[-1].version if known else None
    what = "the alias champion was found on it" if version else "the alias champion was found removed"
    return Change(at, version, "not told", before, "hand", f"{what}; it was moved outside of forecast_kit's commands")


def _record(client: MlflowClient, name: str, change: Change) -> None:
    """Everything that is written about a change once the alias tells it; doing it twice does no harm."""
    client.set_registered_model_tag(name, RECORD + change.at, change.text)
    if change.version is not None:
        new = {"champion_from": change.at, "champion_by": change.by, "replaced_version": change.replaced or "none"}
        _tag(client, name, change.version, new, without=("champion_until", "replaced_by", "rolled_back"))
    if change.replaced is not None:
        old = {"champion_until": change.at, "replaced_by": change.version or "none"}
        if change.by == "rollback":
            old["rolled_back"] = fitting(change.reason, 2000)
        _tag(client, name, change.replaced, old)
    model = client.get_registered_model(name)
    if change.version is not None and str(model.aliases.get(CHALLENGER)) == change.version:
        client.delete_registered_model_alias(name, CHALLENGER)
    client.update_registered_model(name, _description(model))
    client.delete_registered_model_tag(name, UNFINISHED)


def _tag(client: MlflowClient, name: str, version: str, tags: Mapping[str, str], without: tuple[str, ...] = ()) -> None:
    """Tags a version, if it was not deleted since."""
    found = existing(client, name, version)
    if found is None:
        return
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)
    for key in without:
        if key in found.tags:
            client.delete_model_version_tag(name, version, key)


def existing(client: MlflowClient, name: str, version: str) -> ModelVersion | None:
    """The version, None where there is none of that number (any more)."""
    try:
        return client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code in MISSING:
            return None
        raise


def _description(model: RegisteredModel) -> str:
    """The present champion and the last changes; below, what somebody else had written."""
    known = changes(model.tags)
    last = known[-1]
    rows = []
    for change in reversed(known[-_SHOWN:]):
        who = "none" if change.version is None else f"version {change.version} ({_word(change.forecaster)})"
        why = fitting(change.reason.replace("|", "/").replace("\n", " "), 300)
        rows.append((_shown(change.at), who, change.replaced or "none", change.by, why))
    table = markdown(pd.DataFrame(rows, columns=["from (UTC)", "champion", "replaced", "by", "why"]))
    if last.version is None:
        first = f"No champion since {_shown(last.at)} UTC."
    else:
        first = f"Champion: version {last.version} ({_word(last.forecaster)}) since {_shown(last.at)} UTC."
    return kept_text(f"{first}\n\n{table}", model.description, ("Champion: ", "No champion"))


def _shown(at: str) -> str:
    return at[:19].replace("T", " ")


def _word(text: str) -> str:
    """A name that cannot be mistaken for the words around it."""
    return re.sub(r"[()|\n]", " ", text)[:100]
