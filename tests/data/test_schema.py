"""Schemas: defaults, refusals, and the way to JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from forecast_kit import PanelSchema
from forecast_kit.errors import SchemaError


def test_frequency_is_normalised_and_suggests_the_season() -> None:
    schema = PanelSchema(freq="30T")
    assert (schema.freq, schema.season_length) == ("30min", 48)
    assert PanelSchema(freq="h", season_length=168).season_length == 168


def test_a_season_that_the_frequency_suggested_changes_with_it() -> None:
    assert PanelSchema(freq="h").changed(freq="D") == PanelSchema(freq="D")
    assert PanelSchema(freq="h").changed(freq="D", season_length=5).season_length == 5
    assert PanelSchema(freq="h", season_length=168).changed(freq="D").season_length == 168  # someone's own word


def test_a_schema_comes_back_from_json() -> None:
    schema = PanelSchema(freq="D", past=["a"], future=["b", "c"], static=["d"], gaps="mask", id_col="shop")
    assert PanelSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    assert schema.columns == ("shop", "ds", "y", "a", "b", "c")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"freq": "D", "season_length": -1}, "season_length must be a whole number of steps, got -1"),
        ({"freq": "D", "season_length": 2.5}, "got 2.5"),
        ({"freq": "D", "gaps": "fill"}, "gaps must be one of 'error', 'mask', .*got 'fill'"),
        ({"freq": "D", "future": "temp"}, "future takes a list of column names, got the text 'temp'"),
        ({"freq": "D", "past": ["y"]}, "have two: 'y'"),
        ({"freq": "D", "past": ["a"], "future": ["a"]}, "have two: 'a'"),
        ({"freq": "D", "futur": ["a"]}, "unknown schema key 'futur'.*mean 'future'"),
        ({"past": ["a"]}, "lacks freq"),
    ],
)
def test_a_bad_schema_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        PanelSchema.from_dict(fields)
