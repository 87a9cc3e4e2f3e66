"""Neural networks as forecasters: one global network for all series of a panel."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from forecast_kit import typing as fk
from forecast_kit.core.bulk import is_in_bulk
from forecast_kit.core.forecast import Prediction
from forecast_kit.core.forecaster import FitCallback, Forecaster, check_panel
from forecast_kit.core.memory import peak_memory
from forecast_kit.data.columns import positions
from forecast_kit.data.covariates import CovariateEncoder
from forecast_kit.data.future import future_values
from forecast_kit.data.panel import Panel
from forecast_kit.data.windows import WindowReport, WindowSpec, gather
from forecast_kit.errors import ArgumentError, NotFittedError
from forecast_kit.models.composing import Stages, as_stages, check_named, choose_head, choose_network, choose_transform
from forecast_kit.models.fitting import (
    Learned,
    Prepared,
    as_spec,
    checkpoints,
    learn,
    prepare,
    season_before,
    spread_levels,
    usual_input_length,
)
from forecast_kit.models.loader import drop_empty
from forecast_kit.models.paths import SamplePaths, from_upper_triangle, sample_paths, upper_triangle
from forecast_kit.models.validation import check_roles, divide
from forecast_kit.nn.networks import Network, Shapes, build_network
from forecast_kit.nn.training import TrainingSpec, apply, in_precision
from forecast_kit.progress import shown
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
            `["log1p", "standard"]`, `{"stage": "boxcox", "lam": 0.5}` or an increasing transformer of
            scikit-learn, such as `MinMaxScaler()`; `()` for none. By default
            `"standard"`, and none for a head of positive targets or counts, for which zero must stay zero:
            it takes `"mean_abs"` alone, and a preset's windows are divided by their mean.
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
        transform: Stages | None = None,
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
        self.transform = as_stages(transform)
        self.training = as_spec(TrainingSpec, training or {})
        self.windows = dict(windows or {})
        for key in ("input_length", "horizon"):
            if key in self.windows:
                raise ArgumentError(f"{key} is an argument of its own, give it there and not in windows")
        self._head = choose_head(head, self.levels)
        self._network = choose_network(network, self._head)
        self._windows = self._windows_of(1 if input_length is None else input_length)
        self.transform_ = choose_transform(transform, self._head)
        self.training.weights_ahead(horizon)  # refuses others than H
        self.covariates_ = CovariateEncoder()
        self.model_: Any = None  # a keras.Model
        self.shapes_: Shapes | None = None
        self.ids_ = np.empty(0, np.int64)  # of the series, for a network that learns something of each
        self.windows_: WindowReport | None = None
        self._report = ""
        self.curve_: Floats = np.empty((0, 3))
        self.dependence_: Floats = np.empty((0, 0))  # [H, H] how the steps of a window go together
        self.fit_seconds_ = 0.0
        self.peak_memory_: float | None = None

    def _windows_of(self, input_length: int) -> WindowSpec:
        return as_spec(WindowSpec, {"input_length": input_length, "horizon": self.horizon, **self.windows})

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
    def reach(self) -> int:
        """The horizon that it is trained for."""
        return self.horizon

    @property
    def fit_report(self) -> str:
        """The windows that were trained on, padded and dropped, and why; what judged them, and when it stopped."""
        return "" if self.windows_ is None else f"{self.windows_}\n{self._report}".rstrip()

    @property
    def parameter_count(self) -> int:
        """Trained weights of the network."""
        if self.model_ is None:
            raise NotFittedError(f"{self.name} is not fitted; call fit(panel) first")
        return int(self.model_.count_params())

    @property
    def costs(self) -> dict[str, float]:
        """See `Forecaster`; the peak is there after a fit in this process, where the system tells it."""
        own = {"parameters": self.parameter_count, "fit_s": self.fit_seconds_}
        own["weights_mb"] = sum(weight.nbytes for weight in self.model_.get_weights()) / 2**20
        return own | ({} if self.peak_memory_ is None else {"peak_memory_mb": self.peak_memory_})

    def fit(
        self,
        panel: Panel,
        *,
        validation: Panel | None = None,
        checkpoint: str | Path | None = None,
        callbacks: Sequence[FitCallback] = (),
    ) -> Self:
        """This forecaster, fitted.

        Where Ctrl-C, or a callback that raises `KeyboardInterrupt`, ends the training, it is fitted all
        the same, with the weights that were best on held-out windows, or without any with the last ones;
        the interrupt goes on to the caller.

        Args:
            panel: the training part; nothing after its last row is trained on.
            validation: later rows of the same series, to judge by in place of the tail that
                `TrainingSpec.validation` holds out.
            checkpoint: a folder in which the state of the training is left every so often, and from
                which the same fit on the same panel goes on after it was killed, to the same weights. It
                is removed at the end.
            callbacks: called with a `FitProgress` as the fit goes on, with `loss`, and where there is
                something to judge by with `val_loss`.

        Raises:
            ArgumentError: an argument does not fit the others, or the checkpoint is of another fit.
            TooShortError, DataError: there is no window to train on, or none to judge by.
            DataError: a target is none that the head can have: 0 for `"log_normal"`, or a negative one.
            TrainingError: the loss is no longer a number.
        """
        check_panel(panel, "fit")
        self.model_ = self.schema_ = self.history_ = None  # a fit that fails leaves no half of an earlier one
        with self._keeping(panel):
            self._fit(panel, callbacks, validation, checkpoint)
        return self

    def _fit(
        self,
        panel: Panel,
        callbacks: Sequence[FitCallback],
        validation: Panel | None = None,
        checkpoint: str | Path | None = None,
    ) -> None:
        spec, length = self.training, self.input_length or usual_input_length(panel.season_length, self.horizon)
        files = {} if checkpoint is None else checkpoints(Path(checkpoint), panel, validation, self.describe())
        with shown(spec.progress, self.name, callbacks=callbacks, lines=spec.evaluations) as told:
            ready = self._ready(panel, validation, spec, length, ids=panel.ids)
            training = learn(
                self._build, self._head, ready, spec, told=told, keep=self._take_over, checkpoint=files.get("first")
            )
            if spec.refit:
                spec = replace(spec, validation=0, patience=None, refit=False)
                ready = self._ready(panel, None, spec, length, ids=panel.ids)
                learn(
                    self._build, self._head, ready, spec, told=told, keep=self._take_over, after=training,
                    checkpoint=files.get("again"),
                )  # fmt: skip
        for file in files.values():
            file.remove()

    def fine_tune(
        self,
        panel: Panel,
        *,
        freeze: str | Sequence[str] = (),
        training: TrainingSpec | Mapping[str, Any] | None = None,
        validation: Panel | None = None,
        callbacks: Sequence[FitCallback] = (),
    ) -> Self:
        """This forecaster, trained further, on other series, from the weights that it has.

        The transform is fitted on the new panel; vocabularies and scales of covariates, and the numbers by
        which a network knows series, stay as they were. Where it fails the forecaster is as it was before;
        an interrupt keeps what was learned, see `fit`.

        Args:
            panel: the new series, in the columns of those that it was fitted on.
            freeze: layers that keep their weights, by name or by how their names begin, such as
                `"encoder"`.
            training: a `TrainingSpec`, or a mapping of what is to be other than in the forecaster's own.
            validation, callbacks: see `fit`.

        Raises:
            NotFittedError: before `fit` or a load.
            ArgumentError: a layer is unknown, the columns are others, or an argument does not fit.
            TooShortError, DataError, TrainingError: see `fit`.
        """
        self._check_fitted()
        check_panel(panel, "fine_tune")
        assert self.schema_ is not None  # just checked
        assert self.shapes_ is not None
        check_roles(panel.schema, self.schema_, "the panel")
        own = replace(self.training, refit=False)
        spec = training if isinstance(training, TrainingSpec) else as_spec(TrainingSpec, training or {}, own)
        if spec.precision != self.training.precision or spec.refit:
            raise ArgumentError("fine_tune goes on in the precision that the network was built in, and does not refit; "
                                "leave precision and refit out of training")  # fmt: skip
        length = self.shapes_.input_length
        ready = self._ready(panel, validation, spec, length, ids=self.ids_, covariates=self.covariates_)
        show = shown(spec.progress, self.name, callbacks=callbacks, lines=spec.evaluations)
        with self._keeping(panel), show as told:
            weights = self.model_.get_weights()
            learn(self._build, self._head, ready, spec, told=told, keep=self._take_over, weights=weights, freeze=freeze)
        return self

    def sample(
        self, paths: int = 100, *, horizon: int | None = None, history: Any = None, future: Any = None, seed: int = 0
    ) -> SamplePaths:
        """Whole futures, in which every step is distributed as forecast and the steps go together as errors did.

        How errors go together was learned at fit, from the windows held out for validation, or without any
        from windows of the training part, see `forecast_kit.models.paths`.

        Args:
            paths: of each series, S.
            horizon, history, future: see `predict`.
            seed: of the draws.

        Raises:
            NotFittedError: before `fit`, or without history.
            ArgumentError: the head says nothing of how sure it is, or an argument is out of range.
            ForecastError: a path is no finite number, in the tails of a steep transform.

        >>> from forecast_kit.data.datasets import load
        >>> panel = Panel.from_frame(*load("air_passengers"))
        >>> model = NeuralForecaster("gru", horizon=12, training={"steps": 20}).fit(panel)
        >>> model.sample(50).values.shape
        (1, 50, 12)
        """
        panel, steps, head = self._history(history), self._horizon(horizon), self._head
        levels = spread_levels(head)
        if not levels:
            raise ArgumentError(
                f"sample needs a head that says how sure it is, and {type(head).__name__} with levels={head.levels} "
                f"does not; take head='quantile' with several levels, or a distribution such as head='student_t'"
            )
        ahead = future_values(panel, future, steps, reach=self.reach)
        known = head.quantile(self._parameters(panel, steps, ahead), levels)
        drawn = sample_paths(known, levels, self.dependence_, paths, np.random.default_rng(seed))
        if head.support != "real":
            drawn = np.maximum(drawn, 0.0)
        values = np.moveaxis(self.transform_.inverse(np.moveaxis(drawn, 1, 2), panel), 2, 1)
        self._check_finite(panel, values)
        return SamplePaths(
            self.name, panel.ids, panel.axis.stamps(panel.last), panel.horizon_stamps(steps),
            np.rint(values) if head.support == "counts" else values, panel.schema.zone,
        )  # fmt: skip

    def _ready(
        self,
        panel: Panel,
        later: Panel | None,
        spec: TrainingSpec,
        length: int,
        *,
        ids: np.ndarray,
        covariates: CovariateEncoder | None = None,
    ) -> Prepared:
        """What to train on and to judge by, for a network that reads so many steps and knows these series."""
        windows = self._windows_of(length)
        if "min_history" not in self.windows:
            windows = season_before(windows, panel, spec.validation if later is None else 0)
        return prepare(
            divide(panel, later, windows, spec), windows, choose_transform(self.transform, self._head), spec,
            covariates=covariates,
            ids=ids if self._network.wants_series else None, head=self._head,
        )  # fmt: skip

    @contextmanager
    def _keeping(self, panel: Panel) -> Iterator[None]:
        """Learns from the panel within the block; where that is interrupted, what was kept by then counts."""
        started, before = time.perf_counter(), self.model_
        try:
            yield
        finally:
            if self.model_ is not before:
                self._fitted_on(panel)
                self.fit_seconds_, self.peak_memory_ = time.perf_counter() - started, peak_memory()

    def _take_over(self, learned: Learned) -> None:
        """Makes the network this forecaster's own, with all that goes with it."""
        ready = learned.ready
        self.transform_, self.covariates_, self.ids_ = ready.transform, ready.covariates, ready.ids
        self.shapes_, self._windows = ready.shapes, ready.loader.index.spec
        self.model_, self.curve_, self.dependence_ = learned.model, learned.training.curve, learned.dependence
        self.windows_, self._report = ready.report, learned.report

    def _build(self, shapes: Shapes) -> Any:
        with in_precision(self.training):
            return build_network(self._network, shapes, self._head, seed=self.training.seed)

    def _predict(self, history: Panel, horizon: int, levels: tuple[float, ...], future: Floats) -> Prediction:
        params = self._parameters(history, horizon, future)
        center, quantiles = self._head.center(params), self._head.quantile(params, levels)
        values = self.transform_.inverse(np.concatenate([center[:, :, None], quantiles], axis=2), history)
        return Prediction(values[:, :, 0], values[:, :, 1:])

    def _parameters(self, history: Panel, horizon: int, future: Floats) -> Floats:
        """`[N, H, K]` the head's, in transformed units."""
        assert self.model_ is not None  # predict has checked that we are fitted
        transformed = self.transform_.transform(history)
        batch = gather(
            self.covariates_.transform(transformed), transformed.y, np.arange(len(history)), history.lengths,
            self._windows, calendar=self.covariates_.calendar(history, self.horizon),
            future=self.covariates_.transform_future(future, history),
        )  # fmt: skip
        inputs = self._with_series(drop_empty(batch), history.ids)
        return apply(self.model_, inputs, compiled=is_in_bulk())[:, :horizon]

    def _with_series(self, batch: Batch, ids: np.ndarray) -> Batch:
        """The batch, and where the network wants it the number of each window's series."""
        if self._network.wants_series:
            batch[fk.SERIES] = (positions(self.ids_, ids) + 1).astype(np.int32)
        return batch

    def _state(self, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        assert self.shapes_ is not None  # save has checked that we are fitted
        check_named(self._network, self.transform_)
        self.model_.save_weights(folder / _WEIGHTS)
        transform, arrays = self.transform_.state()
        values = {
            "shapes": asdict(self.shapes_), "transform": transform, "covariates": self.covariates_.to_dict(),
            "fit_seconds": self.fit_seconds_,
        }  # fmt: skip
        return values, {
            **arrays,
            "series": self.ids_,
            "curve": self.curve_,
            "dependence": upper_triangle(self.dependence_),
        }

    def _restore(self, folder: Path, values: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        shapes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values["shapes"].items()}
        self.shapes_ = Shapes(**shapes)
        self._windows = self._windows_of(self.shapes_.input_length)
        self.ids_, self.curve_ = arrays.pop("series"), arrays.pop("curve", self.curve_)
        self.dependence_ = from_upper_triangle(arrays.pop("dependence"), self.horizon)
        self.fit_seconds_ = values.get("fit_seconds", 0.0)
        self.transform_.restore(values["transform"], arrays)
        self.covariates_ = CovariateEncoder.from_dict(values["covariates"])
        model = self._build(self.shapes_)
        model.load_weights(folder / _WEIGHTS)
        self.model_ = model
