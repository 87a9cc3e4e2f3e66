"""Neural networks as forecasters: one global network for all series of a panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from forecast_kit import typing as fk
from forecast_kit.core.forecast import Prediction
from forecast_kit.core.forecaster import FitCallback, FitProgress, Forecaster
from forecast_kit.data.covariates import CovariateEncoder
from forecast_kit.data.panel import Panel, positions
from forecast_kit.data.stages import Stage
from forecast_kit.data.transforms import Pipeline
from forecast_kit.data.windows import WindowIndex, WindowReport, WindowSpec, gather
from forecast_kit.errors import ArgumentError, NotFittedError, nearest
from forecast_kit.models.loader import WindowLoader, drop_empty
from forecast_kit.nn.heads import Head, make_head
from forecast_kit.nn.networks import Network, Shapes, build_network, make_network
from forecast_kit.nn.training import TrainingSpec, apply, train
from forecast_kit.typing import Batch, Floats

_WEIGHTS = "network.weights.h5"
LEVELS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)


class NeuralForecaster(Forecaster):
    """One network for all series, which forecasts all steps of the horizon at once.

    The target is transformed by a pipeline that is fitted on the training part, windows are drawn at
    random from all series, and the network learns what its head asks for, quantiles unless told
    otherwise. Forecasts go back through the pipeline. Shorter histories than the input are padded
    with unobserved steps. Series that were not there at fit can be forecast from their history.
    Covariates, categories and calendar features of the panel's schema are all used.

    Args:
        network: a preset by name (`"gru"`, `"segrnn"`, see `forecast_kit.nn.networks.PRESETS`), a mapping
            of arguments (`{"network": "gru", "units": 128}`), or a network such as `Recurrent(...)`.
        horizon: steps ahead, H; `predict` takes up to as many.
        input_length: steps that the network sees, T; by default three seasons or two horizons, whichever
            is more, in whole seasons; of seasons of 24 to 96 steps a week.
        head: what is learned of each step, by name (`"quantile"`, `"point"`, `"normal"`, `"student_t"`,
            see `forecast_kit.nn.heads.HEADS`) or with arguments (`{"head": "point", "loss": "huber"}`).
        levels: quantile probabilities for the quantile head to learn. 0.5 is added if it is missing.
            Other heads have no use for them.
        transform: the stages of a `forecast_kit.data.transforms.Pipeline`, or a single one, such as
            `["log1p", "standard"]` or `{"stage": "boxcox", "lam": 0.5}`; `()` for none.
        training: a `TrainingSpec` or a mapping of its arguments.
        windows: which windows to train on: further arguments of `WindowSpec`, such as
            `{"stride": 24, "max_gap": 48}`. `min_history` is a season unless it is given here.

    Raises:
        ArgumentError: an argument is out of range or does not fit the others.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> model = NeuralForecaster("gru", horizon=12, training={"steps": 20})
    >>> model.fit(panel).predict(levels=(0.1, 0.9)).quantiles.shape
    (1, 12, 2)
    """

    packages = ("numpy", "pandas", "scikit-learn", "keras", "tensorflow")
    horizon: int

    def __init__(
        self,
        network: Network | str | Mapping[str, Any],
        *,
        horizon: int,
        input_length: int | None = None,
        head: str | Mapping[str, Any] = "quantile",
        levels: Sequence[float] = LEVELS,
        transform: Stage | str | Mapping[str, Any] | Sequence[Stage | str | Mapping[str, Any]] = "standard",
        training: TrainingSpec | Mapping[str, Any] | None = None,
        windows: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.horizon = horizon
        self.input_length = input_length
        self.head = head
        self.levels = tuple(sorted({*map(float, levels), 0.5}))
        if not all(0.0 < q < 1.0 for q in self.levels):
            raise ArgumentError(f"levels must lie strictly between 0 and 1, got {levels}")
        self.transform = transform
        self.training = _spec(TrainingSpec, training or {})
        self.windows = dict(windows or {})
        for key in ("input_length", "horizon"):
            if key in self.windows:
                raise ArgumentError(f"{key} is an argument of its own, give it there and not in windows")
        self._network = make_network(network)
        self._head = self._make_head()
        self._windows = self._windows_of(1 if input_length is None else input_length)
        single = isinstance(transform, Stage | str | Mapping)
        self.transform_ = Pipeline([transform] if single else transform)  # type: ignore[list-item, arg-type]
        self.transform_.check()
        self.covariates_ = CovariateEncoder()
        self.model_: Any = None  # a keras.Model
        self.shapes_: Shapes | None = None
        self.ids_ = np.empty(0, np.int64)  # of the series, for a network that learns something of each
        self.windows_: WindowReport | None = None

    def _make_head(self) -> Head:
        options = {"head": self.head} if isinstance(self.head, str) else dict(self.head)
        if "levels" in options:
            raise ArgumentError("levels is an argument of its own, give it there and not in head")
        name = options.pop("head", "quantile")
        return make_head(name, **({"levels": self.levels, **options} if name == "quantile" else options))

    def _windows_of(self, input_length: int) -> WindowSpec:
        return _spec(WindowSpec, {"input_length": input_length, "horizon": self.horizon, **self.windows})

    @property
    def name(self) -> str:
        """The network's name."""
        return self._network.title

    @property
    def learned_levels(self) -> tuple[float, ...]:
        """The levels beyond which it has no quantiles; empty where any level goes."""
        return self._head.levels

    @property
    def context_length(self) -> int:
        """The input window, and what transforms need before it."""
        length = self.input_length if self.shapes_ is None else self.shapes_.input_length
        if length is None:
            raise NotFittedError(f"{self.name} takes its input_length from the data; call fit(panel) first")
        return length + self.transform_.context_length - 1

    @property
    def fit_report(self) -> str:
        """The windows that were trained on, padded and dropped, and why."""
        return "" if self.windows_ is None else str(self.windows_)

    @property
    def parameter_count(self) -> int:
        """Trained weights of the network."""
        if self.model_ is None:
            raise NotFittedError(f"{self.name} is not fitted; call fit(panel) first")
        return int(self.model_.count_params())

    def _fit(self, panel: Panel, callbacks: Sequence[FitCallback]) -> None:
        spec = self.training
        length = self.input_length or usual_input_length(panel.season_length, self.horizon)
        transformed = self.transform_.fit(panel).transform(panel)
        index = WindowIndex(transformed, self._windows_for(panel, length))
        self.windows_ = index.report()
        encoder = self.covariates_ = CovariateEncoder().fit(panel)
        self.ids_ = panel.ids if self._network.wants_series else panel.ids[:0]
        self.shapes_ = Shapes(
            length, self.horizon, panel.season_length, **asdict(encoder.sizes(panel)), series=len(self.ids_)
        )
        loader = WindowLoader(
            encoder.transform(transformed), transformed.y.astype(np.float32), index, batch_size=spec.batch_size,
            seed=spec.seed, calendar=encoder.calendar(panel, 0),
        )  # fmt: skip

        def report(step: int, loss: float) -> None:
            for callback in callbacks:
                callback(FitProgress(step, spec.steps, {"loss": loss}))

        model = self._build()
        train(model, self._head, loader, spec, on_step=report)
        self.model_ = model

    def _build(self) -> Any:
        assert self.shapes_ is not None  # set by the caller
        return build_network(self._network, self.shapes_, self._head, seed=self.training.seed)

    def _windows_for(self, panel: Panel, input_length: int) -> WindowSpec:
        """Windows with at least a season of history, where the series are long enough to ask for it."""
        self._windows = self._windows_of(input_length)
        if "min_history" in self.windows:
            return self._windows
        longest = int(panel.lengths.max()) - self.horizon
        least = max(1, min(panel.season_length, longest))
        return replace(self._windows, min_history=least)

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        if horizon > self.horizon:
            raise ArgumentError(
                f"{self.name} was trained for a horizon of {self.horizon} steps, {horizon} were asked for; "
                f"train it with horizon={horizon}, or ask for fewer"
            )
        params = self._apply(history, future)[:, :horizon]
        center = self.transform_.inverse(self._head.center(params), history)
        return Prediction(center, self.transform_.inverse(self._head.quantile(params, levels), history))

    def _apply(self, history: Panel, future: Floats) -> Floats:
        """`[N, H, K]` the head's parameters, in transformed units."""
        assert self.model_ is not None  # predict has checked that we are fitted
        transformed = self.transform_.transform(history)
        batch = gather(
            self.covariates_.transform(transformed), transformed.y, np.arange(len(history)), history.lengths,
            self._windows, calendar=self.covariates_.calendar(history, self.horizon),
            future=self._encode_future(future, history),
        )  # fmt: skip
        return apply(self.model_, self._with_series(drop_empty(batch), history.ids))

    def _with_series(self, batch: Batch, ids: np.ndarray) -> Batch:
        """The batch, and where the network wants it the number of each window's series."""
        if self._network.wants_series:
            batch[fk.SERIES] = (positions(self.ids_, ids) + 1).astype(np.int32)
        return batch

    def _encode_future(self, future: Floats, panel: Panel) -> np.ndarray:
        """`[N, H, K]` future covariates as the network saw them; steps not asked for repeat the last one."""
        missing = self.horizon - future.shape[1]
        padded = np.pad(future, ((0, 0), (0, missing), (0, 0)), mode="edge") if missing and future.size else future
        if not future.size:
            padded = np.empty((len(panel), self.horizon, future.shape[2]))
        return self.covariates_.transform_future(padded, panel)

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        assert self.shapes_ is not None  # save has checked that we are fitted
        self.model_.save_weights(folder / _WEIGHTS)
        transform, arrays = self.transform_.state()
        values = {"shapes": asdict(self.shapes_), "transform": transform, "covariates": self.covariates_.to_dict()}
        return values, {**arrays, "series": self.ids_}

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        shapes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values["shapes"].items()}
        self.shapes_ = Shapes(**shapes)
        self._windows = self._windows_of(self.shapes_.input_length)
        self.ids_ = arrays.pop("series")
        self.transform_.restore(values["transform"], arrays)
        self.covariates_ = CovariateEncoder.from_dict(values["covariates"])
        model = self._build()
        model.load_weights(folder / _WEIGHTS)
        self.model_ = model


def usual_input_length(season_length: int, horizon: int) -> int:
    """The input length where none is given: three seasons or two horizons, in whole seasons; a week of daily seasons.

    >>> usual_input_length(12, 18), usual_input_length(24, 48), usual_input_length(1, 6)
    (36, 168, 12)
    """
    m = season_length
    seasons = max(-(-2 * horizon // m), 3)
    return m * max(seasons, 7 if 24 <= m <= 96 else 1)


T = TypeVar("T", TrainingSpec, WindowSpec)


def _spec(kind: type[T], value: T | Mapping[str, Any]) -> T:
    """The spec, or the one that a mapping of its arguments describes."""
    if isinstance(value, kind):
        return value
    known = [field.name for field in fields(kind)]
    if not isinstance(value, Mapping):
        raise ArgumentError(
            f"expected {kind.__name__} or a mapping of its arguments ({', '.join(known)}), got {value!r}"
        )
    for key in value:
        if key not in known:
            raise ArgumentError(
                f"unknown key {key!r}; {kind.__name__} takes {', '.join(known)}.{nearest(str(key), known)}"
            )
    return kind(**value)
