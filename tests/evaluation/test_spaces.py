"""The words of a space: what they draw, and which are none."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit.errors import ArgumentError
from forecast_kit.evaluation.spaces import Axis, read_space

# What may come of each, told by a plain test of a value.
SPACES: dict[str, tuple[Any, Any]] = {
    "choices": ([16, 32, 64], lambda v: v in (16, 32, 64)),
    "choices of one": (["gru"], lambda v: v == "gru"),
    "mixed choices": (
        (None, 1.5, "a", [1, 2], {"head": "point"}), lambda v: v in (None, 1.5, "a", [1, 2], {"head": "point"}),
    ),
    "words": (("choice", "int", "log"), lambda v: v in ("int", "log")),
    "int": (("int", 3, 9), lambda v: type(v) is int and 3 <= v <= 9),
    "int in steps": (["int", 24, 168, 24], lambda v: type(v) is int and v in range(24, 169, 24)),
    "int of one": (("int", 4, 4), lambda v: v == 4),
    "float": (("float", 0, 0.5), lambda v: 0 <= v <= 0.5),
    "float in steps": (("float", 0.0, 0.3, 0.1), lambda v: min(abs(v - k / 10) for k in range(4)) < 1e-9),
    "log": (("log", 1e-4, 1e-2), lambda v: 1e-4 * (1 - 1e-9) <= v <= 1e-2 * (1 + 1e-9)),
    "log_int": (("log_int", 2, 300), lambda v: type(v) is int and 2 <= v <= 300),
    "numbers of NumPy": ((np.int64(2), np.float64(2.5)), lambda v: type(v) in (int, float) and v in (2, 2.5)),
}  # fmt: skip


def drawn(axis: Axis, count: int) -> list[Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [axis.value(study.ask({"a": axis.distribution(optuna)}).params["a"]) for _ in range(count)]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


@pytest.mark.parametrize("name", SPACES)
def test_only_what_is_in_a_space_is_drawn(name: str) -> None:
    given_as, inside = SPACES[name]
    axis = read_space({"a": given_as})["a"]
    values = drawn(axis, 40)
    assert all(inside(value) for value in values), values


def test_both_ends_are_drawn_and_the_logarithm_is_even() -> None:
    for words in (("int", 1, 3), ("int", 1, 5, 2), ("log_int", 1, 4)):
        ends = set(drawn(read_space({"a": words})["a"], 200))
        assert {words[1], words[2]} <= ends
    values = np.array(drawn(read_space({"a": ("log", 1e-4, 1.0)})["a"], 300))
    shares = np.histogram(np.log10(values), bins=4, range=(-4, 0))[0] / 300
    np.testing.assert_allclose(shares, 0.25, atol=0.08)


@pytest.mark.parametrize("name", [name for name in SPACES if "NumPy" not in name])
def test_json_holds_a_space(name: str) -> None:
    axis = read_space({"a": SPACES[name][0]})["a"]
    again = read_space(json.loads(json.dumps({"a": axis.describe()})))["a"]
    assert again == axis


@given(st.integers(-50, 50), st.integers(1, 12), st.integers(0, 20))
@settings(deadline=None, max_examples=60)
def test_whole_steps_are_accepted_and_others_are_not(low: int, step: int, count: int) -> None:
    read_space({"a": ("int", low, low + count * step, step)})
    read_space({"a": ("float", low / 7, low / 7 + count * (step / 7), step / 7)})
    if step > 1:
        with pytest.raises(ArgumentError, match="whole steps"):
            read_space({"a": ("int", low, low + count * step + 1, step)})


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "space must name at least one argument"), (None, "space must name at least one argument"),
        ({"a": 3}, r"an argument is drawn from a list of choices, or from a range such as .*; got 'a': 3"),
        ({"a": "log"}, "an argument is drawn from a list"), ({3: [1]}, "got 3: "), ({"a": {1, 2}}, "drawn from a list"),
        ({"a": []}, "a has no choices"), ({"a": ["choice"]}, "a has no choices"),
        ({"a": [1, 2, 1]}, "must differ; more than once there is 1"), ({"a": [1, True]}, "must differ"),
        ({"a": [[1], "[1]"]}, "must differ"), ({"a": [object()]}, "must be numbers, words, lists or mappings, as JSON"),
        ({"a": [math.nan]}, "as JSON holds them; got nan"),
        ({"a": ("int", 1)}, r"a must be \('int', lowest, highest\[, step\]\) with whole numbers, got \('int', 1\)"),
        ({"a": ("int", 1, 2.5)}, "with whole numbers"), ({"a": ("int", 1, True)}, "with whole numbers"),
        ({"a": ("int", "log")}, r"for a choice of such words write \('choice', 'int', ...\)"),
        ({"a": ("log", 1, 2, 3)}, r"a must be \('log', lowest, highest\) with numbers"),
        ({"a": ("int", 3, 2)}, "the lowest not above the highest; got"),
        ({"a": ("log", 0, 2)}, "and both above 0; got"), ({"a": ("float", 0, math.inf)}, "the lowest not above"),
        ({"a": ("int", 0, 4, 0)}, "whole steps, above 0"), ({"a": ("float", 0, 1, 0.3)}, "whole steps"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_from_is_refused(space: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read_space(space)
