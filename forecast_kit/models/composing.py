"""The parts of a neural forecaster from its arguments, and whether they go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from sklearn.base import BaseEstimator

from forecast_kit.data.transforms import STAGES, Pipeline, make_stage
from forecast_kit.errors import ArgumentError, ArtifactError, name_some
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
        ArgumentError: there is none, or an argument of it is out of range.
    """
    made = make_network(network)
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
        ArgumentError: the stages do not fit one another, or would leave positive targets or counts none any more.
    """
    if stages is None:
        stages = "standard" if head.support == "real" else ()
    pipeline = Pipeline([stages] if isinstance(stages, BaseEstimator | str | Mapping) else stages)
    pipeline.check()
    named = [] if head.support == "real" else [stage["stage"] for stage in pipeline.describe()["stages"]]
    shifting = [name for name in named if name != "mean_abs"]
    if shifting:
        raise ArgumentError(
            f"{type(head).__name__} is for {head.support} targets, whose zero a transform must leave where it is: take "
            f"transform=() or 'mean_abs', not {name_some(shifting)}"
        )
    return pipeline


def check_named(network: Network, pipeline: Pipeline) -> None:
    """Refuses to save what could not be loaded: of a class that no registry names, nothing tells which it was.

    Raises:
        ArtifactError: the network is not in `NETWORKS`, or a stage not in `STAGES`.
    """
    kind = type(network).__name__
    if NETWORKS.get(network.kind) is not type(network):
        raise ArtifactError(f"with the network {kind} it could not be loaded again; put the class into forecast_kit.nn."
                            f"networks.NETWORKS, NETWORKS[{network.kind!r}] = {kind}, and save it then")  # fmt: skip
    unknown = [stage["stage"] for stage in pipeline.describe()["stages"] if stage["stage"] not in STAGES]
    if unknown:
        raise ArtifactError(f"with the stages {name_some(unknown)} it could not be loaded again; put each by its "
                            f"name into forecast_kit.data.transforms.STAGES, and save it then")  # fmt: skip
