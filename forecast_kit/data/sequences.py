"""Sequences and their labels, as a classifier takes them; windows of returns and the direction that followed."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d

from forecast_kit.errors import ArgumentError, DataError, name_some
from forecast_kit.typing import Floats

__all__ = ["up_or_down"]


def as_sequences(X: Any) -> Floats:
    """`[N, T, F]` the sequences, in double precision; `[N, T]` gains an axis of one feature.

    Raises:
        DataError: they have another number of axes, an axis is empty, or a value is missing, infinite or no number.

    >>> as_sequences([[1, 2, 3], [4, 5, 6]]).shape
    (2, 3, 1)
    """
    try:
        x = check_array(X, dtype="numeric", ensure_2d=False, allow_nd=True, ensure_all_finite=False, input_name="X")
        x = x.astype(np.float64) if x.dtype == object else x
    except (TypeError, ValueError) as error:
        raise DataError(f"X must be an array of sequences [N, T, F] or [N, T], all of one length: {error}") from error
    if x.dtype.kind not in "biuf":
        raise DataError(f"X must hold numbers, got {x.dtype}")
    if x.ndim not in (2, 3):
        raise DataError(f"X must be sequences [N, T, F] or [N, T], got an array of shape {x.shape}. Reshape your data, "
                        f"a single sequence to X[np.newaxis]")  # fmt: skip
    if not x.size:
        raise DataError(f"X has shape {x.shape}; at least one step and one feature are needed")
    x = x.astype(np.float64).reshape(*x.shape[:2], -1)
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        at = ", ".join(f"{name} {k}" for name, k in zip(("sequence", "step", "feature"), bad[0], strict=True))
        raise DataError(f"X must be finite, but {len(bad)} values are NaN or infinite, the first is {x[tuple(bad[0])]} "
                        f"at {at} (counted from 0); fill them, or drop these sequences")  # fmt: skip
    return x


def as_labels(y: Any, count: int) -> np.ndarray:
    """`[N]` the labels, in an array of one kind: text, whole numbers or bools.

    Args:
        y: the labels, an array, a column of a frame or a list.
        count: how many there must be.

    Raises:
        DataError: kinds are mixed, a label is missing, numbers are not whole, or there are more or fewer.

    >>> as_labels(["up", "down"], 2)
    array(['up', 'down'], dtype='<U4')
    """
    if y is None:
        raise DataError("a classifier requires y to be passed, but the target y is None")
    try:
        # NumPy would make text of a missing label in a list of texts, scikit-learn floats of pandas's nullable bools.
        labels = column_or_1d(np.array(y, dtype=object) if isinstance(y, list | tuple) else np.asarray(y), warn=True)
        if labels.dtype.kind in "OT":
            labels = _of_one_kind(labels.tolist())
        if labels.dtype.kind not in "biufU":
            raise ValueError(f"they are {labels.dtype}")
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise ValueError("some are NaN or infinite")
        check_classification_targets(labels)
    except ValueError as error:
        raise DataError(f"y must hold labels, all text, whole numbers or bools: {error}") from error
    if len(labels) != count:
        raise DataError(f"X holds {count} sequences, y {len(labels)} labels; there must be one for each")
    return labels


def _of_one_kind(labels: list[Any]) -> np.ndarray:
    for kind, types in ((np.bool_, bool | np.bool_), (np.int64, int | np.integer), (np.str_, str), (float, float)):
        if all(isinstance(label, types) for label in labels):
            return np.array(labels, dtype=kind)
    raise ValueError(f"there are the kinds {name_some(sorted({type(label).__name__ for label in labels}))}")


def as_weights(sample_weight: Any, count: int) -> Floats:
    """`[N]` the weights, 1 where none are given.

    Raises:
        DataError: there are more or fewer than `count`, or one is negative or not finite.
    """
    if sample_weight is None:
        return np.ones(count)
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (count,):
        raise DataError(f"sample_weight must be one number for each of {count} sequences, got shape {weights.shape}")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise DataError("sample_weight must be finite and at least 0")
    return weights


def up_or_down(y: Any, window: int, *, horizon: int = 1) -> tuple[Floats, np.ndarray]:
    """`[N, window, 1]` windows of returns of a series, oldest first, and `[N]` whether it then rose: "up" or "down".

    `r_t = log(y_t / y_(t-1))`; the label of the window that ends at t is "up" where `y_(t+horizon) > y_t`, else
    "down", also where nothing changed. Windows overlap, so split them in their order, never at random.

    Args:
        y: `[R]` the series, positive, its steps in order, such as adjusted closing prices.
        window: returns in each window.
        horizon: steps between the window's end and the value that decides.

    Raises:
        ArgumentError: window or horizon is no whole number, at least 1.
        DataError: a value is missing or not positive, or the series is too short.

    >>> X, labels = up_or_down([1.0, 2.0, 4.0, 2.0, 2.0], 2)
    >>> X[:, :, 0].round(2).tolist(), labels.tolist()
    ([[0.69, 0.69], [0.69, -0.69]], ['down', 'down'])
    """
    for name, value in (("window", window), ("horizon", horizon)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ArgumentError(f"{name} must be a whole number of steps, at least 1; got {value!r}")
    series = np.asarray(y, np.float64)
    if series.ndim != 1:
        raise DataError(f"y must be one series [R], got an array of shape {series.shape}")
    bad = np.flatnonzero(~(np.isfinite(series) & (series > 0)))
    if len(bad):
        raise DataError(f"a return needs positive values, but y is {series[bad[0]]} at step {bad[0]} (counted from 0) "
                        f"and {len(bad) - 1} more are missing or not positive")  # fmt: skip
    count = len(series) - window - horizon
    if count < 1:
        raise DataError(f"a window of {window} returns and {horizon} steps ahead take {window + horizon + 1} values, "
                        f"y has {len(series)}")  # fmt: skip
    windows = np.lib.stride_tricks.sliding_window_view(np.diff(np.log(series)), window)[:count]
    rose = series[window + horizon :] > series[window : window + count]
    return windows[:, :, np.newaxis].copy(), np.where(rose, "up", "down")
