"""The one interface of neural networks and statistical baselines."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pandas as pd

from forecast_kit.core.extensions import import_named
from forecast_kit.core.forecast import Forecast, Prediction, check_levels
from forecast_kit.core.known import KNOWN, find_forecaster
from forecast_kit.core.saving import ARRAYS, HISTORY, damage_told, new_folder, read_document, write_document
from forecast_kit.data.encoding import check_kind
from forecast_kit.data.future import future_values
from forecast_kit.data.joining import join
from forecast_kit.data.panel import Panel
from forecast_kit.data.schema import PanelSchema
from forecast_kit.data.sources import read_arrays
from forecast_kit.errors import ArgumentError, ForecastError, NotFittedError, check_whole, name_some, nearest
from forecast_kit.typing import Floats

__all__ = ["Forecaster", "FitProgress", "FitCallback", "as_forecaster"]


@dataclass(frozen=True)
class FitProgress:
    """How far a fit has come, as `fit` tells its callbacks: `done` of `total` units, and the latest measures of it.

    A unit is an optimiser step of a network, a series of a statistical model, or a fit of what is inside another
    forecaster. Measures are such as `loss` and `val_loss`.

    >>> from forecast_kit import Ensemble, Panel, load
    >>> told = []
    >>> model = Ensemble(["Naive", "Drift"]).fit(Panel.from_frame(*load("air_passengers")), callbacks=[told.append])
    >>> [(progress.done, progress.total) for progress in told]
    [(1, 2), (2, 2)]
    """

    done: int
    total: int
    logs: dict[str, float]


FitCallback = Callable[[FitProgress], None]


class Forecaster(ABC):
    """Learns from a panel and forecasts its series.

    A subclass stores its constructor's arguments verbatim under their own names, keeps what it
    learns in attributes that end in `_`, and writes `_fit`, `_predict`, `_state` and `_restore`.

    Attributes:
        packages: what must be installed, besides this package, where it is loaded.
        horizon: the steps ahead that `predict` takes when none are given; None where it must be told.
        schema_: the fitted panel's schema.
        integer_ids_: whether the fitted panel's series are named by numbers.
        categories_: for each categorical covariate a value that it had, which tells its kind.
        trained_until_: the latest stamp of the panel that parameters were learned from, as text (UTC where steps are
            shorter than a day) or number; None after a load from an artefact of format 1, which did not tell.
        trained_on_: the digest of that panel, see `Panel.digest`.
        history_: the rows that a forecast needs, the last `context_length` of each series; None
            after a load from an artefact that holds no rows.

    >>> from forecast_kit import Naive, load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> model = Naive(horizon=3)
    >>> model.fit(panel).predict().mean, model.context_length, model.get_params()
    (array([[432., 432., 432.]]), 1, {'horizon': 3})
    """

    packages: tuple[str, ...] = ("numpy", "pandas")
    horizon: int | None = None
    schema_: PanelSchema | None = None
    integer_ids_: bool = False
    categories_: Mapping[str, str | int | bool | None] = MappingProxyType({})
    trained_until_: str | int | None = None
    trained_on_: str | None = None
    history_: Panel | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        KNOWN[cls.__name__] = cls

    # ---- to be written by each forecaster

    @property
    @abstractmethod
    def context_length(self) -> int:
        """The rows of each series that a forecast needs."""

    @abstractmethod
    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        """Learns from the panel."""

    @abstractmethod
    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        """The history's series over the steps ahead; `future` is `[N, R, K]`, R the larger of H and `reach`."""

    @abstractmethod
    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What was learned: JSON values and arrays; other files may go into the folder."""

    @abstractmethod
    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Takes back what `_state` gave."""

    # ---- what users call

    @property
    def name(self) -> str:
        """The name that forecast frames carry."""
        return type(self).__name__

    @property
    def reach(self) -> int | None:
        """The most steps ahead that `predict` takes; None where any number goes."""
        return None

    @property
    def uses_future(self) -> bool:
        """Whether known-future covariates change its forecasts; one that does without need not be told them."""
        return True

    @property
    def fit_report(self) -> str:
        """What the fit has to tell of the data that it used and left out; empty where nothing, and after a load."""
        return ""

    @property
    def costs(self) -> dict[str, float]:
        """What the fit cost, by the names under which a run logs it; empty where that is not kept.

        `parameters`, learned numbers; `fit_s`, seconds; `weights_mb`, what these numbers take; `peak_memory_mb`,
        the most memory that the process had held by the end of the fit.
        """
        return {}

    def fit(self, panel: Panel, *, callbacks: Sequence[FitCallback] = ()) -> Self:
        """This forecaster, fitted.

        Args:
            panel: the training part; nothing after its last row is ever seen.
            callbacks: called with a `FitProgress` as the fit goes on.

        Raises:
            ArgumentError: it is no panel.
            DataError: the panel does not suit this forecaster, such as one with too short a series.
        """
        check_panel(panel, "fit")
        self._fit(panel, callbacks)
        return self._fitted_on(panel)

    def predict(
        self,
        horizon: int | None = None,
        *,
        levels: Iterable[float] = (),
        history: Any = None,
        future: Any = None,
    ) -> Forecast:
        """The forecast after each series' last row.

        Args:
            horizon: steps ahead; by default the forecaster's own.
            levels: quantile probabilities, such as `(0.1, 0.9)`.
            history: new data to forecast from, without training, a panel or a frame with the
                training columns; by default the end of the training data.
            future: known-future covariates of the steps ahead, see `Panel.future_frame`; of more steps, if they
                are known, up to `reach`. Not needed where `uses_future` is False.

        Raises:
            NotFittedError: before `fit`, or without history.
            ArgumentError: the horizon or a level is out of range.
            ForecastError: the model returned something that is no finite number.

        >>> from forecast_kit import SeasonalNaive, load
        >>> panel = Panel.from_frame(*load("air_passengers"))
        >>> forecast = SeasonalNaive().fit(panel).predict(24, levels=(0.1, 0.9))
        >>> forecast.mean.shape, forecast.quantiles.shape
        ((1, 24), (1, 24, 2))
        """
        panel = self._history(history)
        steps = self._horizon(horizon)
        wanted = check_levels(levels)
        if future is None and not self.uses_future:
            ahead: Floats = np.full((len(panel), steps, len(panel.schema.future)), np.nan)
        else:
            ahead = future_values(panel, future, steps, reach=self.reach)
        done = self._predict(panel, steps, wanted, ahead)
        self._check_finite(panel, done.mean, done.quantiles)
        nothing = np.full(len(panel), "", dtype=np.str_)
        return Forecast(
            self.name, panel.ids, panel.axis.stamps(panel.last), panel.horizon_stamps(steps), done.mean, wanted,
            done.quantiles, nothing if done.fallback is None else done.fallback,
            nothing if done.reason is None else done.reason, panel.schema.zone,
        )  # fmt: skip

    def update(self, history: Any) -> Self:
        """This forecaster, gone on to the end of later data: states move, no parameter is learned again.

        After it, `predict` without `history` forecasts from the new end.

        Args:
            history: a panel or a frame with the training columns; for each series rows that follow the ones
                known, or also earlier ones, which replace what was known of them. Series that are not in
                it stay as they are.

        Raises:
            NotFittedError: before `fit`.
            TimeIndexError: there is a hole between the known rows and the new ones, or they end earlier.

        >>> import pandas as pd
        >>> from forecast_kit import Naive, Panel
        >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(4), "y": [1.0, 2, 3, 4]})
        >>> model = Naive().fit(Panel.from_frame(frame[:3], freq=1))
        >>> model.update(frame[3:]).predict(1).mean
        array([[4.]])
        """
        panel = self._history(history)
        if self.history_ is not None:
            panel = join(self.history_, panel)
        self.history_ = self._take_in(panel)
        return self

    def get_params(self) -> dict[str, Any]:
        """The constructor's arguments, as they were given."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def describe(self) -> dict[str, Any]:
        """The constructor's arguments as JSON can hold them; constructing from them gives the same forecaster.

        Raises:
            ArtifactError: an argument has no such form.
        """
        return {name: _plain(value) for name, value in self.get_params().items()}

    def clone(self) -> Self:
        """The same forecaster, not fitted."""
        return type(self)(**self.get_params())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_params().items())})"

    def save(self, path: str | Path, *, history: bool | Panel = False) -> None:
        """Writes the fitted forecaster into a folder: JSON, `.npz` and `.h5`, no pickle, and digests of them all.

        Args:
            path: a folder that does not exist yet. It appears whole or not at all.
            history: whether to keep the rows that a forecast needs, so that `predict` works without
                `history=`; or the panel whose last rows to keep. By default no data row is written.

        Raises:
            NotFittedError: before `fit`.
            ArtifactError: the path exists, or a part of it is of a class that could not be found again.

        >>> from forecast_kit import Naive, load
        >>> Naive(horizon=2).fit(Panel.from_frame(*load("air_passengers"))).save("naive", history=True)
        >>> Forecaster.load("naive").predict().mean
        array([[432., 432.]])
        """
        self._check_fitted()
        assert self.schema_ is not None  # just checked
        rows = self.history_ if history is True else history
        with new_folder(path) as folder:
            values, arrays = self._state(folder)
            document = {
                "forecaster": type(self).__name__, "params": self.describe(), "schema": self.schema_.to_dict(),
                "integer_ids": self.integer_ids_, "categories": dict(self.categories_),
                "trained_until": self.trained_until_, "trained_on": self.trained_on_, "state": values,
            }  # fmt: skip
            write_document(folder, document, arrays)
            if isinstance(rows, Panel):
                rows.tail(self.context_length).save(folder / HISTORY)

    @staticmethod
    def load(path: str | Path) -> Forecaster:
        """The forecaster that `save` wrote, of whichever class it was.

        Raises:
            ArtifactError: the folder is no saved forecaster, was damaged or changed since, or is of a newer version.
            ConfigError: a module that `FORECAST_KIT_IMPORTS` names cannot be imported.
        """
        folder = Path(path)
        import_named()
        with damage_told(folder):
            document = read_document(folder)
            # A class is looked up among forecasters alone: no name in a document is ever imported.
            forecaster = find_forecaster(document["forecaster"])(**document["params"])
            forecaster.schema_ = PanelSchema.from_dict(document["schema"])
            forecaster.integer_ids_, forecaster.categories_ = document["integer_ids"], document["categories"]
            forecaster.trained_until_, forecaster.trained_on_ = document["trained_until"], document["trained_on"]
            forecaster._restore(folder, document["state"], read_arrays(folder / ARRAYS))
        if (folder / HISTORY).exists():
            forecaster.history_ = Panel.load(folder / HISTORY)
        return forecaster

    # ---- shared by the above

    def _fitted_on(self, panel: Panel) -> Self:
        """This forecaster, which knows from now on the panel that it was fitted on."""
        self.schema_ = panel.schema
        self.integer_ids_ = panel.ids.dtype.kind == "i"
        self.categories_ = {name: values[0] for name, values in panel.categories.items()}
        self.history_ = panel.tail(self.context_length)
        latest = panel.axis.stamps(panel.last.max(keepdims=True))[0]
        self.trained_until_ = int(latest) if isinstance(latest, np.integer) else str(pd.Timestamp(latest))
        self.trained_on_ = panel.digest
        return self

    def _take_in(self, panel: Panel) -> Panel:
        """Moves what was learned on to the end of later rows, and returns the rows that a forecast needs from there."""
        return panel.tail(self.context_length)

    def _check_fitted(self) -> None:
        if self.schema_ is None:
            raise NotFittedError(f"{self.name} is not fitted; call fit(panel) first")

    def _check_finite(self, panel: Panel, *values: Floats) -> None:
        """Refuses forecasts `[N, ...]` of the panel's series that are no numbers."""
        bad = ~np.logical_and.reduce([np.isfinite(array.reshape(len(panel), -1)).all(axis=1) for array in values])
        if bad.any():
            raise ForecastError(f"{self.name} returned values that are not finite for {int(bad.sum())} series: "
                                f"{name_some(panel.ids[bad].tolist())}")  # fmt: skip

    def _history(self, history: Any) -> Panel:
        self._check_fitted()
        if history is None:
            if self.history_ is None:
                raise NotFittedError(
                    f"{self.name} was saved without data rows; pass history= the recent past of the series to forecast "
                    f"(the last {self.context_length} steps at least), or save it with history=True"
                )
            return self.history_
        if not isinstance(history, Panel):
            history = Panel.from_frame(history, self.schema_)
        assert self.schema_ is not None
        for role in ("freq", "past", "future", "static", "categorical", "calendar"):
            ours, theirs = getattr(self.schema_, role), getattr(history.schema, role)
            if ours != theirs:
                raise ArgumentError(f"history has {role}={theirs!r}, but {self.name} was fitted with {role}={ours!r}")
        for name, value in self.categories_.items():
            check_kind(name, (value,), history.categories[name], "the history", "the training data")
        return history

    def _horizon(self, horizon: int | None) -> int:
        steps = self.horizon if horizon is None else horizon
        if steps is None:
            raise ArgumentError(f"{self.name} has no horizon of its own; call predict(horizon) with a number of steps")
        check_whole("horizon", steps)
        if self.reach is not None and steps > self.reach:
            raise ArgumentError(f"{self.name} was fitted for {self.reach} steps ahead, {steps} were asked for; fit it "
                                f"with horizon={steps}, or ask for fewer")  # fmt: skip
        return int(steps)


def check_panel(panel: Any, what: str) -> None:
    """Refuses, as an argument of `what`, everything but a panel."""
    if not isinstance(panel, Panel):
        raise ArgumentError(
            f"{what} takes a Panel, got {type(panel).__name__}; build one with Panel.from_frame(df, ...)"
        )


def _plain(value: Any) -> Any:
    """A value object as a mapping of its fields, a forecaster as `as_forecaster` reads it, and so on inwards."""
    if isinstance(value, Forecaster):
        return {"forecaster": type(value).__name__, **value.describe()}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "describe"):
        return _plain(value.describe())
    return _plain(asdict(value)) if is_dataclass(value) and not isinstance(value, type) else value


def as_forecaster(value: Any) -> Forecaster:
    """A forecaster that is an argument of another: itself, its class's name, or a mapping that describes it.

    Raises:
        ArgumentError: it is none of these, there is no such class, or an argument of it is unknown.

    >>> as_forecaster("Naive"), as_forecaster({"forecaster": "SeasonalNaive", "season_length": 7})
    (Naive(horizon=None), SeasonalNaive(season_length=7, horizon=None))
    """
    if isinstance(value, Forecaster):
        return value
    if isinstance(value, str):
        value = {"forecaster": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("forecaster"), str):
        raise ArgumentError(
            f"a forecaster is one that was built, or its name, or a mapping such as "
            f"{{'forecaster': 'SeasonalNaive', 'season_length': 7}}; got {value!r}"
        )
    kind = find_forecaster(value["forecaster"])
    fields = {key: item for key, item in value.items() if key != "forecaster"}
    known = list(inspect.signature(kind).parameters)
    for key in fields:
        if key not in known:
            raise ArgumentError(f"{kind.__name__} has no argument {key!r}; it has {', '.join(known)}."
                                f"{nearest(key, known)}")  # fmt: skip
    return kind(**fields)
