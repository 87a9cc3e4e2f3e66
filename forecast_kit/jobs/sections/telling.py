"""What pydantic finds wrong in a job file, as sentences that begin with the place."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from forecast_kit.errors import nearest
from forecast_kit.jobs.sections.base import keys_of

_MOST = 5  # problems that are told at once
_OURS = {"tuple_type": "input should be a list", "path_type": "input should be a path"}  # pydantic names Python's types


def told(error: ValidationError, section: type[BaseModel]) -> str:
    """The first few problems, unknown keys before those that are missing: one is often the other, misspelt.

    Args:
        error: of a section.
        section: which one; places begin in it.
    """
    problems: dict[tuple[str, ...], list[Any]] = {}
    for problem in sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden"):
        problems.setdefault(_place(problem, section), []).append(problem)
    return "; ".join(_sentence(place, found, section) for place, found in list(problems.items())[:_MOST])


def _place(problem: Any, section: type[BaseModel]) -> tuple[str, ...]:
    """The keys that lead to what is wrong, without the types that pydantic tried of a field that takes several."""
    place = tuple(str(part) for part in problem["loc"])
    if place[1:] and place[-1] in ("str", "int") and place[-1] not in keys_of(_section_at(place, section)):
        return place[:-1]
    return place


def _section_at(place: tuple[str, ...], section: type[BaseModel]) -> type[BaseModel]:
    """The section that a place, without its last key, lies in."""
    for key in place[:-1]:
        field = next((one for name, one in section.model_fields.items() if (one.alias or name) == key), None)
        kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
        found = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not found:
            break
        section = found[0]
    return section


def _sentence(place: tuple[str, ...], problems: list[Any], section: type[BaseModel]) -> str:
    """What is wrong at one place: of a field that takes several types, what each of them asks for."""
    where, kind = ".".join(place) or "job", problems[0]["type"]
    if kind == "extra_forbidden":
        known = keys_of(_section_at(place, section))
        return f"unknown key {where!r}; known are {', '.join(known)}.{nearest(place[-1], known)}"
    if kind == "missing":
        return f"{where!r} is missing"
    messages = [_OURS.get(one["type"], one["msg"].removeprefix("Value error, ")) for one in problems]
    came = "" if kind == "value_error" else f", got {problems[0]['input']!r}"
    return f"{where}: {' or '.join(message[0].lower() + message[1:] for message in messages)}{came}"
