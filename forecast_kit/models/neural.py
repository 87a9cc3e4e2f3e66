"""Recurrent networks as forecasters: one global network for all series of a panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from forecast_kit.core.forecast import Prediction
from forecast_kit.core.forecaster import FitCallback, FitProgress, Forecaster
from forecast_kit.data.covariates import CovariateEncoder
from forecast_kit.data.panel import Panel
from forecast_kit.data.stages import Stage
from forecast_kit.data.transforms import Pipeline
from forecast_kit.data.windows import WindowIndex, WindowReport, WindowSpec, gather
from forecast_kit.errors import ArgumentError, NotFittedError, nearest
from forecast_kit.models.loader import WindowLoader, drop_empty
from forecast_kit.nn.heads import QuantileHead, interpolate_levels
from forecast_kit.nn.networks import Recurrent, Shapes, build_network
from forecast_kit.nn.training import TrainingSpec, apply, train
from forecast_kit.typing import Floats

_WEIGHTS = "network.weights.h5"


class NeuralForecaster(Forecaster):
    """One recurrent network for all series, which forecasts all steps of the horizon at once.

    The target is transformed by a pipeline that is fitted on the training part, windows are drawn at
    random from all series, and the network learns quantiles by the pinball loss; the point forecast is
    the median. Forecasts go back through the pipeline. Shorter histories than the input are padded
    with unobserved steps. Series that were not there at fit can be forecast from their history.
    Covariates, categories and calendar features of the panel's schema are all used.

    Args:
        network: what to train, a `Recurrent` or a mapping of its arguments (`{"cell": "gru"}`).
        horizon: steps ahead, H; `predict` takes up to as many.
        input_length: steps that the network sees, T.
        levels: quantile probabilities to learn. 0.5 is added if it is missing.
        transform: the stages of a `forecast_kit.data.transforms.Pipeline`, or a single one, such as
            `["log1p", "standard"]` or `{"stage": "boxcox", "lam": 0.5}`; `()` for none.
        training: a `TrainingSpec` or a mapping of its arguments.
        windows: which windows to train on: further arguments of `WindowSpec`, such as
            `{"stride": 24, "max_gap": 48}`. `min_history` is a season unless it is given here.

    Raises:
        ArgumentError: an argument is out of range or does not fit the others.

    >>> from forecast_kit.data.datasets import load
    >>> panel = Panel.from_frame(*load("air_passengers"))
    >>> network = {"cell": "gru", "units": 8, "segment": 12}
    >>> model = NeuralForecaster(network, horizon=12, input_length=36, training={"steps": 20})
    >>> model.fit(panel).predict(levels=(0.1, 0.9)).quantiles.shape
    (1, 12, 2)
    """

    packages = ("numpy", "pandas", "scikit-learn", "keras", "tensorflow")

    def __init__(
        self,
        network: Recurrent | Mapping[str, Any],
        *,
        horizon: int,
        input_length: int,
        levels: Sequence[float] = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975),
        transform: Stage | str | Mapping[str, Any] | Sequence[Stage | str | Mapping[str, Any]] = "standard",
        training: TrainingSpec | Mapping[str, Any] | None = None,
        windows: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = _spec(Recurrent, network)
        self.horizon = horizon
        self.input_length = input_length
        self.levels = tuple(sorted({*map(float, levels), 0.5}))
        if not all(0.0 < q < 1.0 for q in self.levels):
            raise ArgumentError(f"levels must lie strictly between 0 and 1, got {levels}")
        self.transform = transform
        self.training = _spec(TrainingSpec, training or {})
        self.windows = dict(windows or {})
        for key in ("input_length", "horizon"):
            if key in self.windows:
                raise ArgumentError(f"{key} is an argument of its own, give it there and not in windows")
        self._windows = _spec(WindowSpec, {"input_length": input_length, "horizon": horizon, **self.windows})
        single = isinstance(transform, Stage | str | Mapping)
        self.transform_ = Pipeline([transform] if single else transform)  # type: ignore[list-item, arg-type]
        self.transform_.check()
        self.covariates_ = CovariateEncoder()
        self.model_: Any = None  # a keras.Model
        self.shapes_: Shapes | None = None
        self.windows_: WindowReport | None = None

    @property
    def name(self) -> str:
        """The cell's name."""
        return self.network.cell.upper()

    @property
    def context_length(self) -> int:
        """The input window, and what transforms need before it."""
        return self.input_length + self.transform_.context_length - 1

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
        transformed = self.transform_.fit(panel).transform(panel)
        index = WindowIndex(transformed, self._windows_for(panel))
        self.windows_ = index.report()
        encoder = self.covariates_ = CovariateEncoder().fit(panel)
        self.shapes_ = Shapes(
            self.input_length, self._windows.horizon, panel.season_length, **asdict(encoder.sizes(panel))
        )
        loader = WindowLoader(
            encoder.transform(transformed), transformed.y.astype(np.float32), index, batch_size=spec.batch_size,
            seed=spec.seed, calendar=encoder.calendar(panel, 0),
        )  # fmt: skip

        def report(step: int, loss: float) -> None:
            for callback in callbacks:
                callback(FitProgress(step, spec.steps, {"loss": loss}))

        model = self._build()
        train(model, QuantileHead(self.levels), loader, spec, on_step=report)
        self.model_ = model

    def _build(self) -> Any:
        assert self.shapes_ is not None  # set by the caller
        return build_network(self.network, self.shapes_, QuantileHead(self.levels), seed=self.training.seed)

    def _windows_for(self, panel: Panel) -> WindowSpec:
        """Windows with at least a season of history, where the series are long enough to ask for it."""
        if "min_history" in self.windows:
            return self._windows
        longest = int(panel.lengths.max()) - self._windows.horizon
        least = max(1, min(panel.season_length, longest))
        return replace(self._windows, min_history=least)

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        if horizon > self._windows.horizon:
            raise ArgumentError(
                f"{self.name} was trained for a horizon of {self._windows.horizon} steps, {horizon} were asked for; "
                f"train it with horizon={horizon}, or ask for fewer"
            )
        outside = [q for q in levels if not self.levels[0] <= q <= self.levels[-1]]
        if outside:
            raise ArgumentError(
                f"{self.name} learned the levels {self.levels[0]} to {self.levels[-1]}, {outside} lie outside; "
                f"train it with levels= that hold them"
            )
        assert self.model_ is not None  # predict has checked that we are fitted
        transformed = self.transform_.transform(history)
        batch = gather(
            self.covariates_.transform(transformed), transformed.y, np.arange(len(history)), history.lengths,
            self._windows, calendar=self.covariates_.calendar(history, self._windows.horizon),
            future=self._encode_future(future, history),
        )  # fmt: skip
        output = apply(self.model_, drop_empty(batch))[:, :horizon]
        learned = self.transform_.inverse(output, history)
        return Prediction(learned[:, :, self.levels.index(0.5)], interpolate_levels(learned, self.levels, levels))

    def _encode_future(self, future: Floats, panel: Panel) -> np.ndarray:
        """`[N, H, K]` future covariates as the network saw them; steps not asked for repeat the last one."""
        missing = self._windows.horizon - future.shape[1]
        padded = np.pad(future, ((0, 0), (0, missing), (0, 0)), mode="edge") if missing and future.size else future
        if not future.size:
            padded = np.empty((len(panel), self._windows.horizon, future.shape[2]))
        return self.covariates_.transform_future(padded, panel)

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        assert self.shapes_ is not None  # save has checked that we are fitted
        self.model_.save_weights(folder / _WEIGHTS)
        transform, arrays = self.transform_.state()
        values = {"shapes": asdict(self.shapes_), "transform": transform, "covariates": self.covariates_.to_dict()}
        return values, arrays

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        shapes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values["shapes"].items()}
        self.shapes_ = Shapes(**shapes)
        self.transform_.restore(values["transform"], arrays)
        self.covariates_ = CovariateEncoder.from_dict(values["covariates"])
        model = self._build()
        model.load_weights(folder / _WEIGHTS)
        self.model_ = model


T = TypeVar("T", Recurrent, TrainingSpec, WindowSpec)


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
