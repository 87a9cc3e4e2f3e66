"""Categories as numbers: a vocabulary learned from the training part, and one code for all that is not in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from forecast_kit.errors import ArgumentError, ArtifactError, NotFittedError, SchemaError, name_some
from forecast_kit.typing import Floats, Ints

Kind = Literal["text", "integer", "boolean"]
Value: TypeAlias = str | int | bool | None

Categories: TypeAlias = dict[str, tuple[Value, ...]]  # by column: what its codes 0, 1, 2 ... stand for

_TYPES: dict[str, type] = {"text": str, "integer": int, "boolean": bool}
_KINDS: dict[str, Kind] = {"string": "text", "integer": "integer", "boolean": "boolean"}
_OF_TYPE: dict[type, Kind] = {str: "text", int: "integer", bool: "boolean"}
_MANY = {"text": "text", "integer": "whole numbers", "boolean": "booleans"}
_CURES: dict[Kind, str] = {
    "text": "convert it with .astype(str)", "integer": "convert it with .astype('Int64')",
    "boolean": "bring True and False",
}  # fmt: skip
_EXACT = 2**53  # above it not every whole number is a float, and two of them may have become one


class CategoryEncoder:
    """The code of each value of a column: 0 for what was never seen, 1 .. V for the vocabulary, in its order.

    Takes columns of text, whole numbers or booleans, in any of pandas' dtypes for them
    (categorical ones too); whole numbers also as floats, which pandas makes of them where one is
    missing. A missing value (None, NaN, NA) is a category of its own, the last one,
    if there was one at fit; otherwise it was never seen. The order of the rows does not matter.

    Args:
        max_categories: keep this many values at most, the most frequent, of equally frequent ones
            the smallest; the others get code 0. The category of missing values is not counted.
            By default all are kept.

    Attributes:
        kind_: `"text"`, `"integer"` or `"boolean"`, what the values of the training column are.
        vocabulary_: the V values, sorted; None, for missing values, comes last.

    Raises:
        ArgumentError: `max_categories` is not a positive whole number.

    >>> encoder = CategoryEncoder().fit(pd.Series(["rain", "sun", "rain"]))
    >>> encoder.vocabulary_
    ('rain', 'sun')
    >>> encoder.codes(pd.Series(["sun", "snow", None]))
    array([2, 0, 0])
    >>> encoder.unseen(pd.Series(["sun", "snow", None]))
    {'snow': 1, None: 1}
    """

    def __init__(self, *, max_categories: int | None = None) -> None:
        if max_categories is not None and (type(max_categories) is not int or max_categories < 1):
            raise ArgumentError(f"max_categories must be a whole number of at least 1, or None for no limit, "
                                f"got {max_categories!r}")  # fmt: skip
        self.max_categories = max_categories
        self.kind_: Kind | None = None
        self.vocabulary_: tuple[Value, ...] = ()

    def fit(self, column: pd.Series) -> Self:
        """Learns the vocabulary of the training column.

        Args:
            column: `[R]` text, whole numbers or booleans.

        Raises:
            SchemaError: the column holds other values, values of several kinds, or none.
        """
        kind, codes, values = _read(column)
        if kind is None:
            raise SchemaError(
                f"column {column.name!r} has no values among its {len(column)} rows, so there is nothing to learn; "
                f"leave it out of the covariates"
            )
        counts = np.bincount(codes[codes >= 0], minlength=len(values)).tolist()
        order = sorted(range(len(values)), key=lambda k: (-counts[k], values[k]))[: self.max_categories]
        kept = sorted(values[k] for k in order)
        self.kind_ = kind
        self.vocabulary_ = (*kept, None) if (codes < 0).any() else tuple(kept)
        return self

    def codes(self, column: pd.Series) -> Ints:
        """`[R]` the code of each value: 1 + its place in the vocabulary, or 0.

        Args:
            column: `[R]` values of the kind that was seen at fit.

        Raises:
            NotFittedError: `fit` has not been called.
            SchemaError: the column holds values of another kind.
        """
        return self._lookup(column)[0]

    def one_hot(self, column: pd.Series) -> Floats:
        """`[R, 1 + V]` 1 in the column of each value's code, else 0. Raises what `codes` raises.

        >>> CategoryEncoder().fit(pd.Series([True, False])).one_hot(pd.Series([True, None]))
        array([[0., 0., 1.],
               [1., 0., 0.]])
        """
        codes = self.codes(column)
        table = np.zeros((len(codes), 1 + len(self.vocabulary_)))
        table[np.arange(len(codes)), codes] = 1.0
        return table

    def unseen(self, column: pd.Series) -> dict[Value, int]:
        """The values with code 0, each with the number of its rows, the most frequent first.

        Raises what `codes` raises.
        """
        _, at, codes, values = self._lookup(column)
        counts = np.bincount(codes + 1, minlength=len(values) + 1).tolist()  # missing values come first
        found = [(values[k], counts[k + 1]) for k in range(len(values)) if at[k + 1] == 0]
        ordered: dict[Value, int] = dict(sorted(found, key=lambda pair: (-pair[1], pair[0])))
        if counts[0] and at[0] == 0:
            ordered[None] = counts[0]
        return ordered

    @property
    def labels(self) -> tuple[str, ...]:
        """`[1 + V]` the codes as people read them, such as in the name of a column of `one_hot`.

        >>> CategoryEncoder().fit(pd.Series(["a", None])).labels
        ('(unseen)', 'a', '(missing)')
        """
        self._check_fitted()
        return ("(unseen)", *("(missing)" if value is None else str(value) for value in self.vocabulary_))

    def to_dict(self) -> dict[str, Any]:
        """The encoder as JSON can hold it.

        Raises:
            NotFittedError: `fit` has not been called.
        """
        self._check_fitted()
        return {"kind": self.kind_, "vocabulary": list(self.vocabulary_), "max_categories": self.max_categories}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The encoder that `to_dict` wrote.

        Raises:
            ArtifactError: keys or values are not those of an encoder.
        """
        expected = ("kind", "vocabulary", "max_categories")
        if set(values) != set(expected):
            raise ArtifactError(f"an encoder has the keys {name_some(expected)}, got {name_some(values)}; the artefact "
                                f"is damaged or of another version")  # fmt: skip
        kind, vocabulary = values["kind"], values["vocabulary"]
        if kind not in ("text", "integer", "boolean"):
            raise ArtifactError(f"an encoder's kind is one of {name_some(_TYPES)}, got {kind!r}; the artefact "
                                f"is damaged")  # fmt: skip
        known = vocabulary[:-1] if isinstance(vocabulary, list) and vocabulary[-1:] == [None] else vocabulary
        if not isinstance(known, list) or any(type(value) is not _TYPES[kind] for value in known):
            raise ArtifactError(f"the vocabulary of a {kind} encoder is a list of {_TYPES[kind].__name__}, got "
                                f"{str(vocabulary)[:200]}; the artefact is damaged")  # fmt: skip
        if not known or known != sorted(set(known)):
            raise ArtifactError("the vocabulary of an encoder is sorted and has each value once; the artefact is "
                                "damaged")  # fmt: skip
        try:
            encoder = cls(max_categories=values["max_categories"])
        except ArgumentError as error:
            raise ArtifactError(f"{error}; the artefact is damaged") from error
        encoder.kind_, encoder.vocabulary_ = kind, tuple(vocabulary)
        return encoder

    def _lookup(self, column: pd.Series) -> tuple[Ints, Ints, Ints, list[Any]]:
        """The code of each row; of a missing and of each distinct value; and what `_read` returns."""
        self._check_fitted()
        kind, rows, values = _read(column)
        if kind not in (None, self.kind_):
            raise SchemaError(
                f"column {column.name!r} holds {kind} values, such as {name_some(values)}, but its vocabulary was "
                f"learned from {self.kind_} values, such as {name_some(self.vocabulary_)}; convert the column"
            )
        code = {value: k + 1 for k, value in enumerate(self.vocabulary_)}
        at = np.array([code.get(value, 0) for value in (None, *values)], np.int64)
        return at[rows + 1], at, rows, values

    def _check_fitted(self) -> None:
        if self.kind_ is None:
            raise NotFittedError("the encoder is not fitted; call fit first")


def read_categories(column: pd.Series) -> tuple[Floats, tuple[Value, ...]]:
    """The place `[R]` of each value among the column's distinct values, sorted; NaN where it is missing.

    Raises:
        SchemaError: the column holds other values than text, whole numbers or booleans, or several kinds.

    >>> read_categories(pd.Series(["sun", None, "rain"]))
    (array([ 1., nan,  0.]), ('rain', 'sun'))
    """
    _, codes, values = _read(column)
    order = sorted(range(len(values)), key=values.__getitem__)
    place = np.full(len(values) + 1, np.nan)
    place[order] = np.arange(len(values))
    return place[codes], tuple(values[k] for k in order)


def check_kind(name: str, known: tuple[Value, ...], found: tuple[Value, ...], where: str, before: str) -> None:
    """Refuses categories of another kind than the known ones, which would all be taken for never seen.

    Booleans and the numbers 0 and 1 may stand for each other.

    Args:
        name: of the column.
        known: what it held before; None is of every kind.
        found: what it holds now.
        where, before: the frames of both, for the error.

    Raises:
        SchemaError: they are of two kinds.

    >>> check_kind("promo", (0, 1), (True, None), "the future frame", "the history")
    """
    (known_kind, old), (kind, new) = (
        next(((_OF_TYPE[type(value)], value) for value in values if value is not None), (None, None))
        for values in (known, found)
    )
    if known_kind is None or kind is None or kind == known_kind:
        return
    if "text" in (kind, known_kind) or not {*known, *found} <= {0, 1, None}:
        raise SchemaError(f"column {name!r} of {where} holds {_MANY[kind]}, such as {new!r}, but that of {before} "
                          f"{_MANY[known_kind]}, such as {old!r}: {_CURES[known_kind]}")  # fmt: skip


def _whole(values: list[Any]) -> bool:
    """Whether numbers are whole ones, such as pandas makes floats where one of them is missing."""
    return all(abs(value) <= _EXACT and value == int(value) for value in values)


def _read(column: pd.Series) -> tuple[Kind | None, Ints, list[Any]]:
    """A column's kind, each row's place among its distinct values (-1 where missing), and these values.

    The kind is None where all is missing.
    """
    rows, unique = pd.factorize(column)
    plain = pd.Index(unique).astype(object)
    # True and 1 are one to a hash table, so mixed columns must be looked at whole.
    found = infer_dtype(column[rows >= 0] if column.dtype == object else plain)
    if not len(plain):
        return None, rows.astype(np.int64), []
    if found in ("floating", "mixed-integer-float") and _whole(plain.tolist()):
        found = "integer"
    if found not in _KINDS:
        shown = name_some(plain[:5].tolist())
        if found in ("floating", "mixed-integer-float", "decimal", "complex"):
            raise SchemaError(
                f"column {column.name!r} is numeric already ({column.dtype}, such as {shown}): use it as it is, "
                f"without encoding, and leave it out of the schema's categorical. Numbers that are codes are whole "
                f"ones: convert them with .astype('Int64')"
            )
        if found in ("datetime64", "datetime", "date"):
            raise SchemaError(f"column {column.name!r} holds times, such as {shown}; categories are text, whole "
                              f"numbers or booleans, and calendar features are made from the time column")  # fmt: skip
        raise SchemaError(
            f"column {column.name!r} must hold text, whole numbers or booleans, and only one of these, got {found} "
            f"values ({column.dtype}), such as {shown}; convert them with .astype(str)"
        )
    kind = _KINDS[found]
    return kind, rows.astype(np.int64), [_TYPES[kind](value) for value in plain]
