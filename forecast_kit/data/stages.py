"""What every transform of a panel's target is: learned on the training part, undone exactly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator

from forecast_kit.data.columns import positions
from forecast_kit.data.filling import carry
from forecast_kit.data.frequency import show_stamps
from forecast_kit.data.panel import Panel
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, NotFittedError, name_some
from forecast_kit.typing import Bools, Floats, Ints


class Stage(BaseEstimator, ABC):
    """A transform of a panel's target that is learned on the training part and can be undone.

    Only observed values are learned from. What was learned of a series is found by its id; a series
    that was not there at fit gets its parameters from the history that it brings. A step that is
    not observed carries the last observed transformed value, as in every `Panel`.

    A quantile goes back through an increasing stage as the same quantile, exactly; every stage but
    `Difference` is increasing. A mean goes back exactly through a linear stage only: through
    `Log1p`, `BoxCox` or a curved `Sklearn` it becomes what the median would (see there).

    The unit of work is the whole panel: no stage loops over series.

    A subclass stores its arguments verbatim, and writes `_forward` and `_backward`. What it learns of
    each series are the arrays that it names in `_arrays` and that `_learn` returns; what it learns of
    the panel as a whole, `_prepare` keeps. It clones as scikit-learn's estimators do.

    Attributes:
        name: what a configuration calls the stage.
        ids_: `[N]` the series that were there at fit.

    >>> from forecast_kit import load
    >>> from forecast_kit.data.transforms import make_stage
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> stage = make_stage("standard").fit(panel)
    >>> scaled = stage.transform(panel)
    >>> stage.inverse(scaled.y[None, -2:, None], panel)[0, :, 0].round(6)
    array([390., 432.])
    """

    name: ClassVar[str] = ""
    _arrays: ClassVar[tuple[str, ...]] = ()  # without their final `_`; the first axis is the series
    ids_: np.ndarray | None = None

    # ---- to be written by each stage

    def _prepare(self, panel: Panel) -> None:
        """Keeps what is learned of the training part as a whole."""

    def _learn(self, panel: Panel) -> tuple[np.ndarray, ...]:
        """The arrays that `_arrays` names, for the panel's series, `[N, *width]`; also of series new at transform."""
        return ()

    @property
    def _width(self) -> tuple[int, ...]:
        """The shape of what is learned of one series."""
        return ()

    @abstractmethod
    def _forward(self, panel: Panel) -> tuple[Floats, Bools]:
        """`[R]` the target transformed, and where it is real; elsewhere it may be anything."""

    @abstractmethod
    def _backward(self, values: Floats, history: Panel) -> Floats:
        """`[N, H, Q]` in the units of the history, from `[N, H, Q]` transformed."""

    def check(self) -> None:
        """Refuses arguments that are out of range, before any data are seen.

        Raises:
            ArgumentError: an argument is out of range.
        """

    # ---- what users call

    @property
    def context_length(self) -> int:
        """The rows of history that `inverse` needs of a series that was there at fit."""
        return 1

    def fit(self, panel: Panel) -> Self:
        """This stage, fitted on the panel's observed values.

        Args:
            panel: the training part.

        Raises:
            ArgumentError: an argument is out of range.
            DataError: values lie outside the stage's domain, or are too large to compute with.
            TooShortError: a series is too short for the stage.
        """
        self.check()
        _check_panel(panel, "fit")
        self.ids_ = None  # a fit that fails leaves no half of an earlier one
        with np.errstate(over="ignore", invalid="ignore"):
            self._prepare(panel)
        for key, learned in zip(self._arrays, self._learn_finite(panel), strict=True):
            setattr(self, f"{key}_", learned)
        self.ids_ = panel.ids
        return self

    def transform(self, panel: Panel) -> Panel:
        """The panel with its target transformed: the same series, the same steps.

        Args:
            panel: any panel of the frequency of the training part.

        Raises:
            NotFittedError: before `fit`.
            DataError, TooShortError: see `fit`.
        """
        self._check_fitted()
        _check_panel(panel, "transform")
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            y, observed = self._forward(panel)
        y = carry(y, observed, panel.indptr)
        _refuse_infinite(y, panel, self)
        return replace(panel, y=y, observed=observed)

    def inverse(self, values: Floats, history: Panel) -> Floats:
        """Forecasts in the units that the history has, from forecasts in transformed units.

        Args:
            values: `[N, H]` or `[N, H, Q]`, transformed, for the H steps after each series' last row.
            history: the panel before this stage, with the series in the order of the values. Of a
                series that was there at fit, the last `context_length` rows are enough where they
                are observed.

        Returns:
            An array of the shape of the values. Where a value has no finite original, infinite.

        Raises:
            NotFittedError: before `fit`.
            ArgumentError: the shape does not fit the history.
            DataError, TooShortError: see `fit`.
        """
        self._check_fitted()
        _check_panel(history, "inverse")
        values = np.asarray(values)
        if values.dtype.kind not in "fiu" or values.ndim not in (2, 3) or len(values) != len(history):
            raise ArgumentError(f"values must be numbers [N, H] or [N, H, Q] for the N = {len(history)} series of the "
                                f"history, got {values.dtype} {list(values.shape)}")  # fmt: skip
        wide = values.astype(np.float64)
        if not wide.size:
            return wide
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return self._backward(wide.reshape(*wide.shape[:2], -1), history).reshape(wide.shape)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What was learned, without pickle: values that JSON can hold, and arrays for an `.npz` file.

        Raises:
            NotFittedError: before `fit`.
        """
        ids = self._check_fitted()
        values = {"stage": self.name, "arguments": self._arguments()}
        return values, {"ids": ids} | {key: getattr(self, f"{key}_") for key in self._arrays}

    def restore(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """This stage, constructed with the same arguments, with what `state` gave.

        Raises:
            ArtifactError: the state is incomplete or damaged, or of a stage of another kind or with
                other arguments.
        """
        self.ids_ = None  # a restore that fails leaves no half of an earlier one
        with _damage_named(self):
            if values["stage"] != self.name:
                raise ArtifactError(f"the state is of stage {values['stage']!r}, but this is {self.name!r}; "
                                    f"construct the pipeline as it was when it was saved")  # fmt: skip
            if values["arguments"] != self._arguments():
                raise ArtifactError(f"the state is of a stage {self.name!r} with {values['arguments']}, but this one "
                                    f"has {self._arguments()}; construct it as it was when it was saved")  # fmt: skip
            missing = [key for key in ("ids", *self._arrays) if key not in arrays]
            if missing:
                raise ArtifactError(f"the state of stage {self.name!r} lacks {name_some(missing)}; it is damaged")
            ids = arrays["ids"]
            if ids.ndim != 1 or ids.dtype.kind not in "iuU" or len(np.unique(ids)) < len(ids):
                raise ArtifactError(f"the state of stage {self.name!r} must have ids of its own for every series, text "
                                    f"or integers; it is damaged")  # fmt: skip
            self._restore(values, arrays)
            shape = (1 if getattr(self, "scope", "") == "global" else len(ids), *self._width)
            wrong = [key for key in self._arrays if not _is_finite(arrays[key], shape)]
            if wrong:
                raise ArtifactError(f"the state of stage {self.name!r} must have finite numbers {list(shape)} in "
                                    f"{name_some(wrong)}; it is damaged")  # fmt: skip
            for key in self._arrays:
                setattr(self, f"{key}_", arrays[key])
        self.ids_ = ids
        return self

    def describe(self) -> dict[str, Any]:
        """The mapping that a configuration would name this stage by, as JSON can hold it; see `make_stage`."""
        return {"stage": self.name} | self._arguments()

    # ---- shared by the above

    def __sklearn_is_fitted__(self) -> bool:
        return self.ids_ is not None

    def _arguments(self) -> dict[str, Any]:
        """The arguments, as JSON can hold them."""
        return plain(self.get_params(deep=False))

    def _restore(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Takes back what `_prepare` kept. Whatever is missing or cannot be used there may raise as it does."""

    def _check_fitted(self) -> np.ndarray:
        if self.ids_ is None:
            raise NotFittedError(f"{type(self).__name__} is not fitted; call fit(panel) first")
        return self.ids_

    def _learn_finite(self, panel: Panel) -> tuple[np.ndarray, ...]:
        with np.errstate(over="ignore", invalid="ignore"):
            learned = self._learn(panel)
        for array in learned:
            bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            if bad.any():
                who = panel.ids[bad] if len(bad) == len(panel) else panel.ids
                raise DataError(f"{type(self).__name__} cannot compute with values as large as those of series "
                                f"{name_some(who.tolist())}; use smaller units")  # fmt: skip
        return learned

    def _parameters(self, panel: Panel) -> tuple[np.ndarray, ...]:
        """The learned arrays `[N, ...]` for the panel's series: by id, or for new series their own."""
        ids = self._check_fitted()
        known = [getattr(self, f"{key}_") for key in self._arrays]
        if known and getattr(self, "scope", "") == "global":
            return tuple(np.broadcast_to(array, (len(panel), *array.shape[1:])) for array in known)
        at = positions(ids, panel.ids)
        new = at < 0
        found = tuple(array[at] for array in known)
        if known and new.any():
            own = self._learn_finite(panel.take(panel.ids[new]))
            for array, theirs in zip(found, own, strict=True):
                array[new] = theirs
        return found


# ---- helpers


def refuse_values(panel: Panel, bad: Bools, expected: str) -> None:
    """Refuses observed values where `bad` `[R]` is set; names the first of each of five series."""
    rows = np.flatnonzero(bad & panel.observed)
    if rows.size:
        series, first = np.unique(np.searchsorted(panel.indptr, rows, side="right") - 1, return_index=True)
        rows = rows[first]
        stamps = show_stamps(panel.axis.stamps(panel.row_steps[rows[:5]]), panel.schema.zone)
        places = [f"{panel.y[row]:.6g} in series {panel.ids[k : k + 1].tolist()[0]!r} at {stamp}"
                  for row, k, stamp in zip(rows, series, stamps, strict=False)]  # fmt: skip
        more = f" and in {len(rows) - 5} more series" if len(rows) > 5 else ""
        raise DataError(f"{expected}, and was given {', '.join(places)}{more}; shift the data, or leave the stage out")


def _refuse_infinite(y: Floats, panel: Panel, stage: Stage) -> None:
    bad = np.logical_or.reduceat(~np.isfinite(y), panel.indptr[:-1])
    if bad.any():
        raise DataError(f"{type(stage).__name__} makes values that are not finite in series "
                        f"{name_some(panel.ids[bad].tolist())}; are they far larger than in training?")  # fmt: skip


def _check_panel(panel: Panel, verb: str) -> None:
    if not isinstance(panel, Panel):
        raise ArgumentError(f"{verb} takes a Panel, got {type(panel).__name__}; build one with Panel.from_frame(...)")


def count_of(observed: Bools, indptr: Ints) -> Ints:
    """`[N]` how many values are observed."""
    return np.add.reduceat(observed, indptr[:-1], dtype=np.int64)


def mean_of(values: Floats, observed: Bools, indptr: Ints) -> Floats:
    """`[N]` the mean of what is observed, 0 where nothing is."""
    total = np.add.reduceat(np.where(observed, values, 0.0), indptr[:-1])
    return total / np.maximum(count_of(observed, indptr), 1)


def name_short(panel: Panel, short: Iterable[bool]) -> str:
    """The series that are too short, each with its number of rows; the first five."""
    at = np.flatnonzero(np.asarray(short))
    named = zip(panel.ids[at[:5]].tolist(), panel.lengths[at[:5]].tolist(), strict=True)
    more = f" and {len(at) - 5} more" if len(at) > 5 else ""
    return ", ".join(f"{name!r} ({rows} rows)" for name, rows in named) + more


def plain(value: Any) -> Any:
    """The value with NumPy's numbers as Python's, and tuples as lists: as JSON can hold it.

    >>> plain({"lag": np.int64(24), "range": (0.0, np.float32(0.5))})
    {'lag': 24, 'range': [0.0, 0.5]}
    """
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def _is_finite(array: np.ndarray, shape: tuple[int, ...]) -> bool:
    return array.shape == shape and array.dtype.kind == "f" and bool(np.isfinite(array).all())


@contextmanager
def _damage_named(stage: Stage) -> Iterator[None]:
    """Says of which stage the state is damaged."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"the state of stage {stage.name!r} is damaged or foreign: {error!r}") from error
