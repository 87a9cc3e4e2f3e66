"""Category codes against a dictionary filled in a loop."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit.data.encoding import CategoryEncoder, check_kind, read_categories
from forecast_kit.errors import ArgumentError, ArtifactError, NotFittedError, SchemaError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT, "integer": st.integers(-(2**62), 2**62) | st.integers(0, 5), "boolean": st.booleans(),
}  # fmt: skip


@st.composite
def columns(draw: st.DrawFn, present: bool = True) -> tuple[str, list[Any], list[Any]]:
    """A kind, the values of a training column (one at least is not missing), and those of another column."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    values = st.lists(KINDS[kind] | st.none(), max_size=30)
    trained = draw(values.filter(lambda found: any(value is not None for value in found)))
    return kind, trained, draw(values) + draw(st.lists(st.sampled_from(trained), max_size=10))


def naive_vocabulary(values: list[Any], limit: int | None) -> list[Any]:
    counts = Counter(value for value in values if value is not None)
    kept: list[Any] = []
    while counts and (limit is None or len(kept) < limit):
        most = max(counts.values())
        kept.append(min(value for value, count in counts.items() if count == most))
        del counts[kept[-1]]
    return sorted(kept) + ([None] if None in values else [])


def as_object(values: list[Any]) -> pd.Series:
    return pd.Series(values, dtype=object, name="x")


@given(columns(), st.none() | st.integers(1, 4))
@settings(deadline=None, max_examples=150)
def test_codes_are_places_in_the_vocabulary(case: tuple[str, list[Any], list[Any]], limit: int | None) -> None:
    kind, trained, other = case
    encoder = CategoryEncoder(max_categories=limit).fit(as_object(trained))
    vocabulary = naive_vocabulary(trained, limit)
    assert (encoder.kind_, list(encoder.vocabulary_)) == (kind, vocabulary)
    for values in (trained, other):
        codes = encoder.codes(as_object(values))
        assert codes.dtype == np.int64
        assert codes.tolist() == [vocabulary.index(value) + 1 if value in vocabulary else 0 for value in values]
        back = [encoder.vocabulary_[code - 1] for code in codes if code]
        assert back == [value for value in values if value in vocabulary]
        assert encoder.unseen(as_object(values)) == Counter(value for value in values if value not in vocabulary)
        hot = encoder.one_hot(as_object(values))
        assert hot.shape == (len(values), 1 + len(vocabulary)) == (len(values), len(encoder.labels))
        np.testing.assert_array_equal(hot, np.eye(1 + len(vocabulary))[codes])


@given(columns(), st.randoms(use_true_random=False), st.none() | st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_the_order_of_rows_does_not_matter(
    case: tuple[str, list[Any], list[Any]], random: Any, limit: int | None
) -> None:
    _, trained, other = case
    shuffled = random.sample(trained, len(trained))
    first = CategoryEncoder(max_categories=limit).fit(as_object(trained))
    second = CategoryEncoder(max_categories=limit).fit(as_object(shuffled))
    assert first.to_dict() == second.to_dict()
    order = random.sample(range(len(other)), len(other))
    permuted = as_object([other[k] for k in order])
    np.testing.assert_array_equal(first.codes(permuted), first.codes(as_object(other))[order])
    assert list(first.unseen(permuted).items()) == list(first.unseen(as_object(other)).items())


@given(columns(), st.none() | st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_json_brings_the_same_encoder_back(case: tuple[str, list[Any], list[Any]], limit: int | None) -> None:
    _, trained, other = case
    encoder = CategoryEncoder(max_categories=limit).fit(as_object(trained))
    again = CategoryEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again.to_dict() == encoder.to_dict()
    assert [type(value) for value in again.vocabulary_] == [type(value) for value in encoder.vocabulary_]
    np.testing.assert_array_equal(again.codes(as_object(other)), encoder.codes(as_object(other)))


DTYPES = {
    "text": ["str", "object", "category", "string", "string[pyarrow]", "string[python]", pd.ArrowDtype(pa.string()),
             pd.ArrowDtype(pa.large_string()), pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))],
    "integer": ["Int64", "Int8", "UInt16", "object", "category", pd.ArrowDtype(pa.int32())],
    "boolean": ["boolean", "object", "category", pd.ArrowDtype(pa.bool_())],
}  # fmt: skip
TRAINED: dict[str, list[Any]] = {"text": ["b", "a", None, "b"], "integer": [7, 1, None, 7],
                                 "boolean": [True, False, None, True]}  # fmt: skip


@pytest.mark.parametrize(("kind", "dtype"), [(kind, dtype) for kind, some in DTYPES.items() for dtype in some], ids=str)
def test_a_column_has_the_same_codes_in_every_dtype(kind: str, dtype: Any) -> None:
    column = pd.Series(TRAINED[kind], dtype=object).astype(dtype)
    encoder = CategoryEncoder().fit(column)
    assert encoder.kind_ == kind
    assert list(encoder.vocabulary_) == naive_vocabulary(TRAINED[kind], None)
    for other in DTYPES[kind]:
        codes = encoder.codes(pd.Series(TRAINED[kind], dtype=object).astype(other))
        assert codes.tolist() == [2, 1, 3, 2]


def test_whole_numpy_columns_and_unused_categories() -> None:
    assert CategoryEncoder().fit(pd.Series(np.array([3, 1, 3], np.uint8))).vocabulary_ == (1, 3)
    assert CategoryEncoder().fit(pd.Series([True, True])).vocabulary_ == (True,)
    assert CategoryEncoder().fit(pd.Series([2**63 + 1, 5], dtype="uint64")).vocabulary_ == (5, 2**63 + 1)
    declared = pd.Series(pd.Categorical(["b"], categories=["c", "b", "a"], ordered=True))
    assert CategoryEncoder().fit(declared).vocabulary_ == ("b",)


def test_missing_is_a_category_only_if_it_was_at_fit() -> None:
    without = CategoryEncoder().fit(pd.Series(["a", "b"]))
    with_it = CategoryEncoder().fit(pd.Series(["a", None, "b"]))
    for missing in (None, np.nan, pd.NA, pd.NaT):
        column = pd.Series(["b", missing], dtype=object)
        assert without.codes(column).tolist() == [2, 0]
        assert with_it.codes(column).tolist() == [2, 3]
    assert without.unseen(pd.Series(["b", None, None])) == {None: 2}
    assert with_it.unseen(pd.Series(["b", None, None])) == {}
    assert with_it.labels == ("(unseen)", "a", "b", "(missing)")
    # Texts that look like something missing are not, and empty is a value.
    assert CategoryEncoder().fit(pd.Series(["", "None", "nan"])).vocabulary_ == ("", "None", "nan")


def test_a_column_that_is_all_missing_can_be_encoded_but_not_learned() -> None:
    encoder = CategoryEncoder().fit(pd.Series([1, None], dtype="Int64"))
    for nothing in (pd.Series([None, None]), pd.Series([np.nan, np.nan]), pd.Series([pd.NA] * 2, dtype="string")):
        assert encoder.codes(nothing).tolist() == [2, 2]
        with pytest.raises(SchemaError, match="column 'x' has no values among its 2 rows"):
            CategoryEncoder().fit(nothing.rename("x"))
    assert encoder.codes(pd.Series([], dtype=object)).shape == (0,)
    assert encoder.one_hot(pd.Series([], dtype=float)).shape == (0, 3)


def test_the_most_frequent_are_kept_and_ties_go_to_the_smallest() -> None:
    column = pd.Series(["d", "d", "c", "b", "a", "c", "e", None, None, None])
    encoder = CategoryEncoder(max_categories=3).fit(column)
    assert encoder.vocabulary_ == ("a", "c", "d", None)
    assert list(encoder.unseen(column).items()) == [("b", 1), ("e", 1)]
    assert list(encoder.unseen(pd.Series(["z", "y", "z", "x", None])).items()) == [("z", 2), ("x", 1), ("y", 1)]


@pytest.mark.parametrize(
    "column",
    [pd.Series([1.5, 2.0]), pd.Series([1.0, np.inf]), pd.Series([1.0, 2.0**53 + 2]), pd.Series([1.5, np.nan]),
     pd.Series([0.5], dtype="Float64"), pd.Series([1, 2.5], dtype=object), pd.Series([0.5, 1.5], dtype="category"),
     pd.Series([0.5], dtype=pd.ArrowDtype(pa.float64())), pd.Series([1 + 2j])],
)  # fmt: skip
def test_numbers_are_numeric_already(column: pd.Series) -> None:
    encoder = CategoryEncoder().fit(pd.Series([1, 2]))
    for refuses in (CategoryEncoder().fit, encoder.codes, encoder.one_hot, encoder.unseen):
        with pytest.raises(SchemaError, match=r"column 'x' is numeric already.*use it as it is.*\.astype\('Int64'\)"):
            refuses(column.rename("x"))


@pytest.mark.parametrize(
    "column",
    [pd.Series([7.0, np.nan, -1.0, 7.0]), pd.Series([7, None, -1.0, 7.0], dtype=object),
     pd.Series([7, None, -1, 7], dtype="Float64"), pd.Series([7.0, None, -1.0, 7.0], dtype="category"),
     pd.Series([7, None, -1, 7], dtype=pd.ArrowDtype(pa.float32())), pd.Series([7, None, -1, 7], dtype="float16")],
)  # fmt: skip
def test_whole_numbers_that_a_gap_made_floats_are_whole_numbers(column: pd.Series) -> None:
    encoder = CategoryEncoder().fit(column)
    assert (encoder.kind_, encoder.vocabulary_) == ("integer", (-1, 7, None))
    assert [type(value) for value in encoder.vocabulary_[:2]] == [int, int]
    assert encoder.codes(column).tolist() == [2, 3, 1, 2]
    assert encoder.codes(pd.Series([7, -1, 8])).tolist() == [2, 1, 0]
    codes, values = read_categories(column)
    assert values == (-1, 7)
    np.testing.assert_array_equal(codes, [1, np.nan, 0, 1])


@pytest.mark.parametrize(
    ("values", "named"),
    [([True, 1], "mixed"), (["a", 1], "mixed"), (["a", 1.5], "mixed"), ([True, "a"], "mixed"), ([b"a"], "bytes"),
     ([pd.Timestamp("2024-01-01")], "holds times"), ([("a", "b")], "mixed")],
)  # fmt: skip
def test_mixed_and_foreign_values_are_refused(values: list[Any], named: str) -> None:
    with pytest.raises(SchemaError, match=f"column 'x' .*{named}"):
        CategoryEncoder().fit(pd.Series(values, dtype=object, name="x"))


def test_stamps_are_pointed_to_calendar_features() -> None:
    with pytest.raises(SchemaError, match="column 'x' holds times.*calendar features"):
        CategoryEncoder().fit(pd.Series(pd.date_range("2024", periods=2), name="x"))


@pytest.mark.parametrize(("learned", "came"), [(["1"], [1]), ([1, 0], [True]), ([True], [1]), ([1], ["1"])])
def test_another_kind_than_at_fit_is_refused(learned: list[Any], came: list[Any]) -> None:
    encoder = CategoryEncoder().fit(pd.Series(learned))
    with pytest.raises(
        SchemaError, match=rf"column 'x' holds .*, such as {came[0]!r}, but .*learned from {encoder.kind_}"
    ):
        encoder.codes(pd.Series(came, name="x"))


@pytest.mark.parametrize(
    ("known", "found", "told"),
    [
        ((0, 1), ("0", "1"), r"holds text, such as '0', but that of B whole numbers, such as 0: .*astype\('Int64'\)"),
        (("0",), (None, 1), r"holds whole numbers, such as 1, but that of B text, such as '0': .*astype\(str\)"),
        ((False, True), (1, 2), "holds whole numbers, such as 1, but that of B booleans, such as False: bring True"),
        ((1, 2), (True,), "holds booleans, such as True, but that of B whole numbers, such as 1"),
        ((True,), ("True",), "holds text, such as 'True', but that of B booleans"),
    ],
)
def test_categories_of_another_kind_are_told_apart(known: tuple, found: tuple, told: str) -> None:
    with pytest.raises(SchemaError, match=f"column 'x' of A {told}"):
        check_kind("x", known, found, "A", "B")


@pytest.mark.parametrize(
    ("known", "found"),
    [((0, 1), (False, True)), ((False, True), (0, None)), ((0,), (True,)), (("a",), ("b",)), ((1,), (7,)),
     ((None,), ("a",)), ((1,), (None,)), ((1,), ()), ((), ("a",))],
)  # fmt: skip
def test_categories_of_the_same_kind_may_be_any(known: tuple, found: tuple) -> None:
    check_kind("x", known, found, "A", "B")


def test_nothing_comes_before_fit() -> None:
    encoder, column = CategoryEncoder(), pd.Series(["a"])
    for early in (lambda: encoder.codes(column), lambda: encoder.one_hot(column), lambda: encoder.unseen(column),
                  encoder.to_dict, lambda: encoder.labels):  # fmt: skip
        with pytest.raises(NotFittedError, match="call fit first"):
            early()


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "3"])
def test_a_limit_that_is_no_count_is_refused(limit: Any) -> None:
    with pytest.raises(ArgumentError, match="max_categories"):
        CategoryEncoder(max_categories=limit)


@pytest.mark.parametrize(
    "change",
    [{"kind": "float"}, {"kind": None}, {"kind": ["text"]}, {"vocabulary": ["b", "a"]}, {"vocabulary": ["a", "a"]},
     {"vocabulary": [None, "a"]}, {"vocabulary": [1]}, {"vocabulary": "ab"}, {"vocabulary": []}, {"vocabulary": [None]},
     {"kind": "integer", "vocabulary": [True]}, {"max_categories": 0}, {"more": 1}],
)  # fmt: skip
def test_a_damaged_encoder_is_refused(change: dict[str, Any]) -> None:
    whole = {"kind": "text", "vocabulary": ["a", "b", None], "max_categories": None}
    assert CategoryEncoder.from_dict(whole).codes(pd.Series(["b"])).tolist() == [2]
    with pytest.raises(ArtifactError):
        CategoryEncoder.from_dict(whole | change)
    with pytest.raises(ArtifactError, match="keys"):
        CategoryEncoder.from_dict({"kind": "text"})
