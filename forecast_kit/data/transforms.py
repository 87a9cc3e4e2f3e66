"""Pipelines of transforms: fitted on the training part, undone exactly. The door to every stage.

pipeline = Pipeline([Log1p(), Difference("season"), Standard()]).fit(train)
forecaster.fit(pipeline.transform(train))
pipeline.inverse(forecaster.predict(24).mean, train)        # in the units of `train`
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from forecast_kit.data.panel import Panel
from forecast_kit.data.pointwise import BoxCox, Log1p, MeanAbs, MinMax, Robust, Standard
from forecast_kit.data.sklearn_stage import Sklearn, sklearn_stage
from forecast_kit.data.stages import Stage
from forecast_kit.data.temporal import Deseasonalize, Difference
from forecast_kit.errors import ArgumentError, ArtifactError, name_some, nearest
from forecast_kit.typing import Bools, Floats

__all__ = [
    "Stage", "Pipeline", "make_stage", "Standard", "MinMax", "Robust", "MeanAbs", "Log1p", "BoxCox", "Difference",
    "Deseasonalize", "Sklearn", "STAGES",
]  # fmt: skip


class Pipeline(Stage):
    """Stages one after another, each fitted on what the one before makes of the training part.

    `z = f_k(... f_2(f_1(y)))`, and back `y = f_1^-1(f_2^-1(... f_k^-1(z)))`, where each inverse has the
    history as its stage saw it. Quantiles and means go back as each stage's docstring says; a
    `Difference` after a curve still gives ordered quantiles, and the mean's bias of a curve stays.

    Args:
        stages: stages, or what `make_stage` takes: `["log1p", {"stage": "difference", "lag": 24}]`, and
            transformers of scikit-learn such as `MinMaxScaler()`. They stay unfitted, clones are fitted.

    Raises:
        ArgumentError: a stage is unknown or its arguments are wrong.

    >>> import pandas as pd
    >>> panel = Panel.from_frame(pd.DataFrame({"unique_id": "a", "ds": range(4), "y": [1.0, 2, 4, 8]}), freq=1)
    >>> pipeline = Pipeline([BoxCox(0.0), Difference(), {"stage": "standard"}]).fit(panel)
    >>> pipeline.inverse(np.zeros((1, 3)), panel).round(9)
    array([[16., 32., 64.]])
    """

    name = "pipeline"
    stages_: tuple[Stage, ...] = ()

    def __init__(self, stages: Sequence[BaseEstimator | Mapping[str, Any] | str]) -> None:
        self.stages = stages

    def check(self) -> None:
        """See `Stage`."""
        for stage in self._build():
            stage.check()

    def _build(self) -> tuple[Stage, ...]:
        if not isinstance(self.stages, list | tuple):
            raise ArgumentError(f"stages must be a list of stages, got {type(self.stages).__name__}")
        return tuple(clone(make_stage(stage)) for stage in self.stages)

    @property
    def context_length(self) -> int:
        """What each stage's inverse needs of the rows that the stages before it leave real."""
        self._check_fitted()
        return 1 + sum(stage.context_length - 1 for stage in self.stages_)

    def _prepare(self, panel: Panel) -> None:
        stages = self._build()
        for k, stage in enumerate(stages):
            stage.fit(panel)
            if k < len(stages) - 1:
                panel = stage.transform(panel)
        self.stages_ = stages

    def _forward(self, panel: Panel) -> tuple[Floats, Bools]:
        for stage in self.stages_:
            panel = stage.transform(panel)
        return panel.y, panel.observed

    def _backward(self, values: Floats, history: Panel) -> Floats:
        seen = [history]
        for stage in self.stages_[:-1]:
            seen.append(stage.transform(seen[-1]))
        for stage, before in zip(reversed(self.stages_), reversed(seen), strict=False):
            values = stage.inverse(values, before)
        return values

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See `Stage`."""
        values, arrays = super().state()
        states = [stage.state() for stage in self.stages_]
        arrays |= {f"{k}.{key}": array for k, (_, own) in enumerate(states) for key, array in own.items()}
        return values | {"stages": [own for own, _ in states]}, arrays

    def _restore(self, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        stages = self._build()
        if len(values["stages"]) != len(stages):
            raise ArtifactError(f"the state has {len(values['stages'])} stages, this pipeline {len(stages)}; "
                                f"construct it as it was when it was saved")  # fmt: skip
        for k, (stage, own) in enumerate(zip(stages, values["stages"], strict=True)):
            mine = {key.removeprefix(f"{k}."): a for key, a in arrays.items() if key.startswith(f"{k}.")}
            stage.restore(own, mine)
        self.stages_ = stages

    def _arguments(self) -> dict[str, Any]:
        return {}  # each stage has its own in the state

    def describe(self) -> dict[str, Any]:
        """See `Stage`."""
        return {"stage": self.name, "stages": [stage.describe() for stage in self._build()]}


STAGES: dict[str, Callable[..., Stage]] = {
    stage.name: stage
    for stage in (Standard, MinMax, Robust, MeanAbs, Log1p, BoxCox, Difference, Deseasonalize, Pipeline)
} | {Sklearn.name: sklearn_stage}
"""Stages by the names that configurations and saved forecasters call them by; one of your own may be added."""


def make_stage(spec: BaseEstimator | Mapping[str, Any] | str) -> Stage:
    """The stage that a configuration names, not fitted; a stage as it is, a transformer of scikit-learn as a stage.

    Args:
        spec: `"log1p"`, or `{"stage": "difference", "lag": 24}`: the name, and the arguments. A
            transformer of `sklearn.preprocessing` is named by its class:
            `{"stage": "sklearn", "transformer": "PowerTransformer", "params": {"standardize": false}}`;
            in Python its instance will do, see `Sklearn`.

    Raises:
        ArgumentError: the name or an argument is unknown, or a transformer has no inverse.

    >>> make_stage({"stage": "difference", "lag": 24})
    Difference(lag=24)
    """
    if isinstance(spec, Stage):
        return spec
    if hasattr(spec, "fit") and not isinstance(spec, type):
        stage = Sklearn(spec)
        stage.check()
        return stage
    known = ", ".join(STAGES)
    if not isinstance(spec, str | Mapping) or (isinstance(spec, Mapping) and "stage" not in spec):
        raise ArgumentError(f"a stage is named by text or by a mapping with the key 'stage', got {spec!r}; known are "
                            f"{known}, and instances of scikit-learn's transformers")  # fmt: skip
    arguments = {} if isinstance(spec, str) else {key: value for key, value in spec.items() if key != "stage"}
    name = spec if isinstance(spec, str) else spec["stage"]
    if not isinstance(name, str) or name not in STAGES:
        raise ArgumentError(f"unknown stage {name!r}; known are {known}.{nearest(str(name), STAGES)}")
    parameters = inspect.signature(STAGES[name]).parameters
    for key in arguments:
        if key not in parameters:
            raise ArgumentError(f"stage {name!r} has no argument {key!r}; it takes {name_some(parameters) or 'none'}."
                                f"{nearest(str(key), parameters)}")  # fmt: skip
    lacking = [key for key, one in parameters.items() if one.default is one.empty and key not in arguments]
    if lacking:
        raise ArgumentError(f"stage {name!r} needs {name_some(lacking)}")
    return STAGES[name](**arguments)
