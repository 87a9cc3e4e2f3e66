"""What every network is: a description of how a window becomes raw outputs for every step ahead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import keras
from keras import layers, ops

from forecast_kit import typing as fk
from forecast_kit.errors import ArgumentError
from forecast_kit.nn.blocks import OneHot, SeasonalLookback
from forecast_kit.nn.heads import Head
from forecast_kit.nn.heads.base import Support
from forecast_kit.nn.scaling import NORMALIZATIONS, Normalization, WindowScale


@dataclass(frozen=True)
class Shapes:
    """The sizes that a network is built for.

    Args:
        input_length: steps of the window, T.
        horizon: steps ahead, H.
        season_length: steps in a season, m.
        past, future, static: for each covariate of that kind 0, or of a category how many codes it has.
        series: how many series were there in training, for networks that learn something of each.

    >>> Shapes(input_length=36, horizon=12, season_length=12, future=(0, 7)).future
    (0, 7)
    """

    input_length: int
    horizon: int
    season_length: int
    past: tuple[int, ...] = ()
    future: tuple[int, ...] = ()
    static: tuple[int, ...] = ()
    series: int = 0


@dataclass(frozen=True, eq=False)
class Window:
    """What a network reads, as Keras's tensors.

    Attributes:
        y: `[B, T]` the target, shifted and scaled; 0 where it was not observed.
        observed: `[B, T]` 1 where it was.
        channels: `[B, T, C]` the above, the second one negated, and the past covariates.
        future: `[B, H, K]` known-future covariates; None without.
        static: `[B, S]` static covariates; None without.
        raw_y: `[B, T]` the target before shift and scale.
        series: `[B]` the number of the series, from 1; 0 for one that was not there in training. None
            unless the network asked for it and there were any.
        shapes: the sizes.

    >>> y, seen = keras.ops.ones((2, 36)), keras.ops.ones((2, 36))
    >>> channels = keras.ops.stack([y, 1 - seen], axis=-1)
    >>> window = Window(y, seen, channels, None, None, y, None, Shapes(input_length=36, horizon=12, season_length=12))
    >>> tuple(window.channels.shape), window.shapes.horizon
    ((2, 36, 2), 12)
    """

    y: Any
    observed: Any
    channels: Any
    future: Any
    static: Any
    raw_y: Any
    series: Any
    shapes: Shapes


@dataclass(frozen=True, kw_only=True)
class Network(ABC):
    """How a window becomes raw outputs for every step of the horizon; a value, which holds no weights.

    A subclass is a frozen dataclass with its own arguments, writes `connect`, and is added to `NETWORKS`.

    Args:
        normalize: how each window is shifted and scaled before the network and after it, see `WindowScale`.
        lookback: whether the network forecasts the difference to a weighted mean of past seasons,
            see `SeasonalLookback`, or the value itself.
        initializer: of the input matrices, by Keras's name, such as `"he_normal"`.

    Attributes:
        kind: what a configuration calls the network.
        wants_series: whether it asks for the number of the series.

    Raises:
        ArgumentError: an argument is none of these.

    >>> @dataclass(frozen=True, kw_only=True)
    ... class Linear(Network):
    ...
    ...     kind: ClassVar[str] = "linear"
    ...
    ...     def connect(self, window, width, seeds):
    ...         flat = layers.Flatten()(window.channels)
    ...         dense = layers.Dense(window.shapes.horizon * width, kernel_initializer=seeds.next("small"))
    ...         return layers.Reshape((window.shapes.horizon, width))(dense(flat)), flat
    >>> Linear(lookback=False).describe()
    {'network': 'linear', 'normalize': 'season', 'lookback': False, 'initializer': 'glorot_uniform'}
    """

    normalize: Normalization = "season"
    lookback: bool = True
    initializer: str = "glorot_uniform"

    kind: ClassVar[str]
    wants_series: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.normalize not in NORMALIZATIONS:
            raise ArgumentError(f"normalize must be one of {', '.join(NORMALIZATIONS)}; got {self.normalize!r}")
        check_initializer(self.initializer)

    @property
    def title(self) -> str:
        """The name that forecasts carry."""
        return type(self).__name__

    @abstractmethod
    def connect(self, window: Window, width: int, seeds: Seeds) -> tuple[Any, Any]:
        """The raw outputs `[B, H, width]`, and a state `[B, U]` from which the look back takes its weights.

        Raises:
            ArgumentError: the sizes do not fit the network.
        """

    def base(self, window: Window, state: Any, *, support: Support) -> tuple[Any, Any]:
        """The forecast `[B, H]` that the head corrects, and the unit `[B, H]` of both; None for none and for 1.

        The unit is in units of the window. A network with another forecast than the look back's overrides it.

        Args:
            window: what the network read.
            state: from `connect`.
            support: the head's; one of `"real"` adds its correction, others multiply.
        """
        if not self.lookback:
            return None, None
        shapes = window.shapes
        return SeasonalLookback(shapes.season_length, shapes.horizon)(window.y, window.observed, state), None

    def describe(self) -> dict[str, Any]:
        """The mapping that `make_network` makes the network of, as JSON can hold it."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {"network": self.kind} | {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    def check(self, shapes: Shapes) -> None:
        """Refuses sizes that do not fit the network, before anything is built.

        Raises:
            ArgumentError: they do not fit.
        """
        if (self.lookback or self.normalize == "season") and shapes.input_length < shapes.season_length:
            raise ArgumentError(
                f"input_length must hold at least a season of {shapes.season_length} steps, got {shapes.input_length}; "
                f"or take lookback=False and another normalize than 'season'"
            )


def check_initializer(name: Any) -> None:
    """Refuses what is no initialiser of Keras by name; a mapping would let it construct any object of Keras's.

    Raises:
        ArgumentError: it is something else.
    """
    try:
        known = isinstance(name, str) and keras.initializers.get(name) is not None
    except ValueError:
        known = False
    if not known:
        raise ArgumentError(f"initializer must be one that Keras knows by name, such as 'glorot_uniform' or "
                            f"'he_normal'; got {name!r}")  # fmt: skip


def build_network(spec: Network, shapes: Shapes, head: Head, *, seed: int) -> keras.Model:
    """The untrained network, initialised from the seed.

    Inputs, by the names in `forecast_kit.typing`: past_y, past_observed `[B, T]`, and where there are
    covariates past_x `[B, T, P]`, future_x `[B, H, K]`, static_x `[B, S]`, categories as codes; series
    `[B]` where the network wants it and `shapes.series` is above 0. Output: `[B, H, K]` the head's
    parameters in the unit of past_y.

    Args:
        spec: the network.
        shapes: the sizes.
        head: what its raw outputs are made into.
        seed: of all initial weights and of dropout.

    Raises:
        ArgumentError: the sizes do not fit the network, or its normalisation not the head.

    >>> from forecast_kit.nn.heads import PointHead
    >>> from forecast_kit.nn.networks import Recurrent
    >>> shapes = Shapes(input_length=36, horizon=12, season_length=12)
    >>> model = build_network(Recurrent(units=8), shapes, PointHead("mae"), seed=1)
    >>> sorted(model.input), model.output_shape
    (['past_observed', 'past_y'], (None, 12, 1))
    """
    spec.check(shapes)
    if head.support != "real" and spec.normalize not in ("mean", "none"):
        raise ArgumentError(
            f"{type(head).__name__} is for {head.support} targets, which a window may scale but not shift: it needs a "
            f"network with normalize='mean' or 'none', got {spec.normalize!r}"
        )
    length, horizon = shapes.input_length, shapes.horizon
    inputs = {
        fk.PAST_Y: keras.Input((length,), name=fk.PAST_Y),
        fk.PAST_OBSERVED: keras.Input((length,), name=fk.PAST_OBSERVED),
    }
    known = {}  # covariates by name, categories as indicators
    for name, axes, sizes in (
        (fk.PAST_X, (length,), shapes.past), (fk.FUTURE_X, (horizon,), shapes.future), (fk.STATIC_X, (), shapes.static),
    ):  # fmt: skip
        if sizes:
            inputs[name] = keras.Input((*axes, len(sizes)), name=name)
            known[name] = OneHot(sizes)(inputs[name])
    if spec.wants_series and shapes.series:
        inputs[fk.SERIES] = keras.Input((), dtype="int32", name=fk.SERIES)
    raw_y, observed = inputs[fk.PAST_Y], inputs[fk.PAST_OBSERVED]
    shift, scale = WindowScale(shapes.season_length, spec.normalize)(raw_y, observed)
    y = (raw_y - shift) / scale * observed  # [B, T], 0 where nothing was observed
    channels = [ops.expand_dims(y, -1), ops.expand_dims(1.0 - observed, -1)]
    if shapes.past:
        channels.append(known[fk.PAST_X])
    window = Window(
        y, observed, layers.Concatenate()(channels), known.get(fk.FUTURE_X), known.get(fk.STATIC_X), raw_y,
        inputs.get(fk.SERIES), shapes,
    )  # fmt: skip
    raw, state = spec.connect(window, head.width, Seeds(seed, spec.initializer))
    base, unit = spec.base(window, state, support=head.support)
    params = head.rescale(head(ops.cast(raw, "float32"), base), shift, scale if unit is None else scale * unit)
    return keras.Model(inputs, params, name=type(spec).__name__.lower())


class Seeds:
    """A seed of its own for every initialiser and every dropout, all from one.

    Args:
        seed: the one.
        kernel: the initialiser of input matrices, by Keras's name.

    >>> seeds = Seeds(1)
    >>> seeds.number(), seeds.next("recurrent").seed, Seeds(1).number()
    (1001, 1002, 1001)
    """

    def __init__(self, seed: int, kernel: str = "glorot_uniform") -> None:
        self._seed, self._kernel = seed * 1000, kernel

    def number(self) -> int:
        """The next seed."""
        self._seed += 1
        return self._seed

    def next(self, kind: Literal["kernel", "recurrent", "small"] = "kernel") -> keras.initializers.Initializer:
        """The next initialiser: of an input matrix, of one between states, or of a last layer, which begins near 0."""
        if kind == "recurrent":
            return keras.initializers.Orthogonal(seed=self.number())
        if kind == "small":
            return keras.initializers.RandomNormal(stddev=0.01, seed=self.number())
        initializer = keras.initializers.get(self._kernel)
        config = initializer.get_config()
        return type(initializer)(**({**config, "seed": self.number()} if "seed" in config else config))
