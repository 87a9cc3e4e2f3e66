"""Scikit-learn's transformers as stages, in a configuration and in an artefact without pickle."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from forecast_kit.data.panel import Panel
from forecast_kit.data.stages import Stage, plain
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, name_some, nearest
from forecast_kit.typing import Bools, Floats


class Sklearn(Stage):
    """A scikit-learn transformer as a stage: `z = transform(y)`, fitted on all observed values in one column.

    Back: `y = inverse_transform(z)`, as exact as the transformer's own (a `QuantileTransformer`, for
    one, has no values outside those it saw). It must be increasing on the training values, so that
    a quantile goes back as the same quantile; a mean is exact through a linear transformer only.

    Args:
        transformer: has `fit`, `transform` and `inverse_transform`, one column in and one out; stays
            unfitted, a clone is fitted.

    Raises:
        ArgumentError: the transformer has no inverse, or is not increasing, or makes more columns.
        DataError: the transformer refuses the values, or there are none.

    >>> import pandas as pd
    >>> from sklearn.preprocessing import MinMaxScaler
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(3), "y": [1.0, 4.0, 9.0]}), freq=1)
    >>> Sklearn(MinMaxScaler()).fit(panel).transform(panel).y
    array([0.   , 0.375, 1.   ])
    """

    name = "sklearn"
    transformer_: Any = None

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def check(self) -> None:
        """See `Stage`."""
        lacks = [verb for verb in ("fit", "transform", "inverse_transform") if not hasattr(self.transformer, verb)]
        if lacks or isinstance(self.transformer, type):
            why = f"lacks {name_some(lacks)}" if lacks else "is a class, not an instance"
            raise ArgumentError(f"transformer must be a scikit-learn transformer with an inverse, "
                                f"but {self._title} {why}")  # fmt: skip

    @property
    def _title(self) -> str:
        kind = self.transformer if isinstance(self.transformer, type) else type(self.transformer)
        return kind.__name__

    def _prepare(self, panel: Panel) -> None:
        seen = panel.y[panel.observed]
        if not seen.size:
            raise DataError(f"there is no observed value to fit {self._title} on")
        known = np.unique(seen)
        self.transformer_ = clone(self.transformer)
        self._apply(self.transformer_.fit, seen)
        z = self._apply(self.transformer_.transform, known)
        if (np.diff(z) < -1e-9 * np.abs(z).max()).any():
            raise ArgumentError(f"{self._title} is not increasing on the training values, so quantiles would not go "
                                f"back as quantiles; use an increasing transformer")  # fmt: skip

    def _apply(self, method: Any, values: Floats) -> Floats:
        """The transformer's method on a column, its answer a flat array again."""
        try:
            answer = method(values[:, None])
        except ValueError as error:
            raise DataError(f"{self._title} refuses the values: {error}") from error
        if method.__name__ == "fit":
            return values
        if getattr(answer, "shape", None) != (len(values), 1):
            raise ArgumentError(f"{self._title}.{method.__name__} must make one column of one, "
                                f"got shape {getattr(answer, 'shape', None)}")  # fmt: skip
        return np.asarray(answer, np.float64)[:, 0]

    def _forward(self, panel: Panel) -> tuple[Floats, Bools]:
        z = np.zeros(len(panel.y))
        if panel.observed.any():
            z[panel.observed] = self._apply(self.transformer_.transform, panel.y[panel.observed])
        return z, panel.observed

    def _backward(self, values: Floats, history: Panel) -> Floats:
        y, finite = values.copy(), np.isfinite(values)  # what is infinite already stays so
        if finite.any():
            y[finite] = self._apply(self.transformer_.inverse_transform, values[finite])
        return y

    def _arguments(self) -> dict[str, Any]:
        params = _changed_params(self.transformer)
        return {"transformer": self._title, "params": {k: v for k, v in params.items() if _is_json(v)}}

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `Stage`; possible where all that the transformer learned are numbers, texts and arrays of them.

        Raises:
            ArtifactError: it learned something else, which only pickle would hold.
        """
        values, arrays = super().state()
        learned, own = _pack(self.transformer_, "learned.")
        return values | {"learned": learned, "arrays": sorted(own)}, arrays | own

    def _restore(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        own = {key: arrays[key] for key in values["arrays"]}
        self.transformer_ = clone(self.transformer)
        _unpack(self.transformer_, values["learned"], own, "learned.")

    def describe(self) -> dict[str, Any]:
        """See `Stage`: the transformer by its name in `sklearn.preprocessing`, and what it has other than by default.

        Raises:
            ArtifactError: the transformer is none of `sklearn.preprocessing`, or has arguments, such as
                functions, that a configuration cannot hold.

        >>> from sklearn.preprocessing import MinMaxScaler
        >>> Sklearn(MinMaxScaler(clip=True)).describe()
        {'stage': 'sklearn', 'transformer': 'MinMaxScaler', 'params': {'clip': True}}
        """
        why = _why_unnamed(self.transformer)
        if why:
            raise ArtifactError(f"the stage Sklearn({self._title}) has no form in a configuration, because {why}; use "
                                f"one of forecast_kit's own stages, or construct it in Python")  # fmt: skip
        return super().describe()


def sklearn_stage(transformer: str, params: Mapping[str, Any] | None = None) -> Sklearn:
    """The stage `Sklearn` that a configuration names.

    Args:
        transformer: the name of a class of `sklearn.preprocessing` that has an inverse.
        params: its arguments; a list stands for a tuple where the class has one.

    Raises:
        ArgumentError: there is no such class, or it has no such argument.

    >>> sklearn_stage("MinMaxScaler", {"feature_range": [-1, 1]})
    Sklearn(transformer=MinMaxScaler(feature_range=(-1, 1)))
    """
    return Sklearn(_named_transformer(transformer, params or {}))


def _named_transformer(name: Any, params: Any) -> Any:
    from sklearn import preprocessing  # takes longer to import than all the rest of this package

    known = {
        key: getattr(preprocessing, key)
        for key in preprocessing.__all__
        if inspect.isclass(getattr(preprocessing, key)) and hasattr(getattr(preprocessing, key), "inverse_transform")
    }
    if not isinstance(name, str) or name not in known:
        raise ArgumentError(f"unknown transformer {name!r}; a configuration can name those of sklearn.preprocessing "
                            f"that have an inverse: {', '.join(known)}.{nearest(str(name), known)}")  # fmt: skip
    if not isinstance(params, Mapping):
        raise ArgumentError(f"params of {name} must be a mapping of its arguments, got {params!r}")
    takes = inspect.signature(known[name]).parameters
    for key in params:
        if key not in takes:
            raise ArgumentError(f"{name} has no argument {key!r}; it takes {name_some(takes, len(takes))}."
                                f"{nearest(str(key), takes)}")  # fmt: skip
    pairs = {key: isinstance(one.default, tuple) for key, one in takes.items()}  # JSON and YAML know no tuples
    return known[name](**{k: tuple(v) if pairs[k] and isinstance(v, list) else v for k, v in params.items()})


def _changed_params(transformer: Any) -> dict[str, Any]:
    """The transformer's arguments that are not its defaults, as JSON can hold them where it can."""
    takes = inspect.signature(type(transformer)).parameters
    return {
        key: plain(value)
        for key, value in transformer.get_params(deep=False).items()
        if key not in takes or repr(value) != repr(takes[key].default)  # as scikit-learn's own repr decides it
    }


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _why_unnamed(transformer: Any) -> str:
    """Why a configuration cannot name the transformer; empty where it can."""
    from sklearn import preprocessing

    if getattr(preprocessing, type(transformer).__name__, None) is not type(transformer):
        return "it is not a transformer of sklearn.preprocessing"
    odd = [key for key, value in _changed_params(transformer).items() if not _is_json(value)]
    return f"JSON cannot hold its {name_some(odd)}" if odd else ""


def _pack(transformer: Any, prefix: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a transformer learned: plain values, and arrays whose names begin with the prefix.

    A transformer that it fitted in turn, as a `PowerTransformer` does its scaler, is packed likewise.
    """
    values: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    if any(hasattr(value, "get_params") for value in transformer.get_params().values()):
        raise ArtifactError(f"{type(transformer).__name__} cannot be saved without pickle, because it has transformers "
                            f"for arguments; use a Pipeline of stages instead")  # fmt: skip
    for key, learned in vars(transformer).items():
        if key in transformer.get_params(deep=False) or key == "_sklearn_output_config":
            continue
        if isinstance(learned, np.ndarray | np.generic) and learned.dtype.kind in "biufUS":
            arrays[prefix + key] = np.asarray(learned)
        elif learned is None or isinstance(learned, bool | int | float | str):
            values[key] = learned
        elif isinstance(learned, BaseEstimator) and not _why_unnamed(learned):
            inner, own = _pack(learned, f"{prefix}{key}.")
            values[key] = {
                "transformer": type(learned).__name__, "params": _changed_params(learned), "learned": inner,
            }  # fmt: skip
            arrays |= own
        else:
            raise ArtifactError(
                f"{type(transformer).__name__} cannot be saved without pickle: its {key} is a "
                f"{type(learned).__name__}; use one of forecast_kit's own stages, or a transformer that learns plain "
                f"arrays"
            )
    return values, arrays


def _unpack(transformer: Any, values: dict[str, Any], arrays: dict[str, np.ndarray], prefix: str) -> None:
    """Gives a transformer back what `_pack` took."""
    learned = dict(values)
    for key, value in values.items():
        if isinstance(value, dict):
            learned[key] = _named_transformer(value["transformer"], value["params"])
            _unpack(learned[key], value["learned"], arrays, f"{prefix}{key}.")
    for key, array in arrays.items():
        if key.startswith(prefix) and "." not in key.removeprefix(prefix):
            learned[key.removeprefix(prefix)] = array if array.ndim else array[()]
    for key, value in learned.items():
        if callable(getattr(type(transformer), key, None)):  # a file must not put data in place of code
            raise ValueError(f"{key!r} is nothing that a {type(transformer).__name__} learns")
        setattr(transformer, key, value)
