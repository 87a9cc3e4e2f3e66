"""Covariates as a network takes them: standardised numbers, categories as codes, calendar features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from forecast_kit.data.calendar import calendar_features, feature_names
from forecast_kit.data.encoding import Categories, CategoryEncoder
from forecast_kit.data.frequency import wall_clock
from forecast_kit.data.panel import Panel
from forecast_kit.errors import NotFittedError
from forecast_kit.typing import Floats


@dataclass(frozen=True, eq=False)
class StepTable:
    """Values that depend on the time step alone, for all series at once.

    Attributes:
        first: the step of the first row.
        values: `[S, C]` `float32`, one row a step.
    """

    first: int
    values: np.ndarray


@dataclass(frozen=True)
class Sizes:
    """What the columns of a batch's covariates are: 0 for a number, else how many codes a category has.

    Attributes:
        past: of `past_x [B, T, P]`: past covariates, future ones, calendar features.
        future: of `future_x [B, H, K]`: future covariates, calendar features.
        static: of `static_x [B, S]`.
    """

    past: tuple[int, ...] = ()
    future: tuple[int, ...] = ()
    static: tuple[int, ...] = ()


@dataclass(eq=False)
class CovariateEncoder:
    """Makes covariates of any panel what they were in training.

    A number becomes `(x - mean) / deviation`, by the mean and standard deviation over the training
    part (a constant column has deviation 1); a category becomes its code in the vocabulary of the
    training part, 0 where it was not in it. Calendar features come from a table with one row a step,
    so that they take no memory in the rows.

    Attributes:
        moments_: of each numeric column its mean and deviation.
        encoders_: of each categorical column its vocabulary.

    >>> frame = pd.DataFrame({"unique_id": "a", "ds": [1, 2, 3], "y": [1.0, 2, 3], "sky": ["sun", "rain", "sun"]})
    >>> panel = Panel.from_frame(frame, freq=1, past=["sky"], categorical=["sky"], calendar=["2:1"])
    >>> encoder = CovariateEncoder().fit(panel)
    >>> encoder.transform(panel).past.ravel(), encoder.sizes(panel)
    (array([2., 1., 2.], dtype=float32), Sizes(past=(3, 0, 0), future=(0, 0), static=()))
    """

    moments_: dict[str, tuple[float, float]] = field(default_factory=dict)
    encoders_: dict[str, CategoryEncoder] = field(default_factory=dict)
    fitted_: bool = False

    def fit(self, panel: Panel) -> Self:
        """Learns moments and vocabularies from the panel, the training part."""
        self.moments_, self.encoders_ = {}, {}
        for names, values in _blocks(panel):
            for k, name in enumerate(names):
                if name in panel.categories:
                    self.encoders_[name] = CategoryEncoder().fit(panel.category(name, values[:, k]).rename(name))
                    continue
                mean, deviation = float(values[:, k].mean()), float(values[:, k].std())
                flat = deviation <= 1e-9 * max(abs(mean), 1e-300)
                self.moments_[name] = mean, 1.0 if flat else deviation
        self.fitted_ = True
        return self

    def sizes(self, panel: Panel) -> Sizes:
        """What the columns of the batches are."""
        self._check_fitted()
        schema, calendar = panel.schema, (0,) * len(feature_names(panel.schema.calendar))

        def of(names: tuple[str, ...]) -> tuple[int, ...]:
            return tuple(len(self.encoders_[n].labels) if n in self.encoders_ else 0 for n in names)

        return Sizes(of((*schema.past, *schema.future)) + calendar, of(schema.future) + calendar, of(schema.static))

    def transform(self, panel: Panel) -> Panel:
        """The panel with covariates in `float32` as a network takes them.

        Raises:
            SchemaError: a categorical column holds other kinds of values than in training.
        """
        self._check_fitted()
        past, future, static = (self._encode(names, values, panel.categories) for names, values in _blocks(panel))
        return replace(panel, past=past, future=future, static=static)

    def transform_future(self, values: Floats, panel: Panel) -> np.ndarray:
        """`[N, H, K]` known-future covariates, as `future_values` gives them, as a network takes them."""
        return self._encode(panel.schema.future, values, panel.categories)

    def calendar(self, panel: Panel, ahead: int) -> StepTable | None:
        """The calendar features of every step of the panel and the `ahead` steps after it; None without features."""
        schema = panel.schema
        if not schema.calendar:
            return None
        first, last = int(panel.start.min()), int(panel.last.max()) + ahead
        stamps = wall_clock(panel.axis.stamps(np.arange(first, last + 1)), schema.zone)
        return StepTable(first, calendar_features(stamps, schema.calendar).astype(np.float32))

    def _encode(self, names: tuple[str, ...], values: Floats, categories: Categories) -> np.ndarray:
        """`[..., C]` the columns encoded."""
        encoded = np.empty(values.shape, np.float32)
        for k, name in enumerate(names):
            if name in self.encoders_:
                known = pd.Series(list(categories[name]), dtype=object, name=name)
                to = np.append(self.encoders_[name].codes(known), 0)  # the last one is for -1, what the panel never had
                encoded[..., k] = to[values[..., k].astype(np.int64)]
            else:
                mean, deviation = self.moments_[name]
                encoded[..., k] = (values[..., k] - mean) / deviation
        return encoded

    def _check_fitted(self) -> None:
        if not self.fitted_:
            raise NotFittedError("the covariate encoder is not fitted; call fit(panel) first")

    def to_dict(self) -> dict[str, Any]:
        """The encoder as JSON can hold it."""
        self._check_fitted()
        vocabularies = {name: encoder.to_dict() for name, encoder in self.encoders_.items()}
        return {"moments": {k: list(v) for k, v in self.moments_.items()}, "vocabularies": vocabularies}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The encoder that `to_dict` wrote.

        Raises:
            ArtifactError: a vocabulary is damaged.
            KeyError, TypeError, ValueError: the values are not those of an encoder.
        """
        moments = {name: (float(mean), float(deviation)) for name, (mean, deviation) in values["moments"].items()}
        encoders = {name: CategoryEncoder.from_dict(one) for name, one in values["vocabularies"].items()}
        return cls(moments, encoders, True)


def _blocks(panel: Panel) -> list[tuple[tuple[str, ...], Floats]]:
    """Names and values of past, future and static covariates."""
    schema = panel.schema
    return [(schema.past, panel.past), (schema.future, panel.future), (schema.static, panel.static)]
