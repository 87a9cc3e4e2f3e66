"""The parts of a neural forecaster from its arguments, and whether they go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from sklearn.base import BaseEstimator

from forecast_kit.data.transforms import STAGES, Pipeline, make_stage
from forecast_kit.errors import ArgumentError, name_some
from forecast_kit.nn.heads import Head, make_head
from forecast_kit.nn.networks import NETWORKS, Network, make_network

# Stages, and transformers of scikit-learn, which are estimators likewise.
Stages: TypeAlias = BaseEstimator | str | Mapping[str, Any] | Sequence[BaseEstimator | str | Mapping[str, Any]]


def choose_head(head: str | Mapping[str, Any], levels: Sequence[float]) -> Head:
    """The head of that name or description; a quantile head learns the levels.

    Raises:
        ArgumentError: there is none, or an argument of it is out of range or belongs elsewhere.
    """
    options = {"head": head} if isinstance(head, str) else dict(head)
    if "levels" in options:
        raise ArgumentError("levels is an argument of its own, give it there and not in head")
    name = options.pop("head", "quantile")
    return make_head(name, **({"levels": levels, **options} if name == "quantile" else options))


def choose_network(network: Network | str | Mapping[str, Any], head: Head) -> Network:
    """The network of that name or description; unless told how to, it normalises windows as the head can bear.

    Raises:
        ArgumentError: there is none, an argument of it is out of range, or its class is not in `NETWORKS`.
    """
    made = make_network(network)
    if NETWORKS.get(made.kind) is not type(made):
        name = type(made).__name__
        raise ArgumentError(
            f"a saved forecaster with the network {name} could not be loaded, as nothing tells its class; put it into "
            f"forecast_kit.nn.networks.NETWORKS, NETWORKS[{made.kind!r}] = {name}"
        )
    told = isinstance(network, Network) or (isinstance(network, Mapping) and "normalize" in network)
    return made if told or head.support == "real" else replace(made, normalize="mean")


def as_stages(stages: Stages | None) -> Stages | None:
    """The stages as given, but a transformer of scikit-learn as a stage, which can be described and saved.

    Raises:
        ArgumentError: it has no inverse, or is a class.

    >>> from sklearn.preprocessing import MinMaxScaler
    >>> as_stages(["log1p", MinMaxScaler()])
    ['log1p', Sklearn(transformer=MinMaxScaler())]
    """
    if isinstance(stages, list | tuple):
        return type(stages)(make_stage(one) if hasattr(one, "fit") else one for one in stages)
    return make_stage(stages) if hasattr(stages, "fit") else stages


def choose_transform(stages: Stages | None, head: Head) -> Pipeline:
    """The pipeline of these stages; of None, what suits the head.

    Raises:
        ArgumentError: the stages do not fit one another, are not in `STAGES`, or would leave positive targets or counts
            none any more.
    """
    if stages is None:
        stages = "standard" if head.support == "real" else ()
    pipeline = Pipeline([stages] if isinstance(stages, BaseEstimator | str | Mapping) else stages)
    pipeline.check()
    named = [stage["stage"] for stage in pipeline.describe()["stages"]]
    unknown = [name for name in named if name not in STAGES]
    if unknown:
        raise ArgumentError(f"a saved forecaster with the stages {name_some(unknown)} could not be loaded, as nothing "
                            f"tells their classes; put them into forecast_kit.data.transforms.STAGES, STAGES["
                            f"{unknown[0]!r}] = ...")  # fmt: skip
    shifting = [] if head.support == "real" else [name for name in named if name != "mean_abs"]
    if shifting:
        raise ArgumentError(
            f"{type(head).__name__} is for {head.support} targets, whose zero a transform must leave where it is: take "
            f"transform=() or 'mean_abs', not {name_some(shifting)}"
        )
    return pipeline
