"""Networks: from the arrays of a batch to parameters of a forecast for every step ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from forecast_kit.errors import ArgumentError, nearest
from forecast_kit.nn.networks.base import Network, Seeds, Shapes, Window, build_network
from forecast_kit.nn.networks.convolutional import Convolutional
from forecast_kit.nn.networks.encoder_decoder import EncoderDecoder
from forecast_kit.nn.networks.es_rnn import ESRNN
from forecast_kit.nn.networks.recurrent import Recurrent
from forecast_kit.nn.networks.segrnn import SegRNN

NETWORKS: dict[str, type[Network]] = {
    kind.kind: kind for kind in (Recurrent, ESRNN, SegRNN, Convolutional, EncoderDecoder)
}
"""Networks by their kind, as configurations and `make_network` know them; one of your own may be added."""

_SEASON = {"segment": "season"}
PRESETS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "rnn": ("recurrent", {"cell": "rnn", **_SEASON}),
    "lstm": ("recurrent", {"cell": "lstm", **_SEASON}),
    "gru": ("recurrent", {"cell": "gru", **_SEASON}),
    "peephole_lstm": ("recurrent", {"cell": "peephole_lstm", **_SEASON}),
    "min_gru": ("recurrent", {"cell": "min_gru", **_SEASON}),
    "min_lstm": ("recurrent", {"cell": "min_lstm", **_SEASON}),
    "bidirectional": ("recurrent", {"cell": "lstm", "bidirectional": True, **_SEASON}),
    "cnn_rnn": ("recurrent", {"cell": "gru", "filters": 32, "kernel_size": 5, **_SEASON}),
    "es_rnn": ("es_rnn", {}),
    "segrnn": ("segrnn", {}),
    "tcn": ("tcn", {}),
    "encoder_decoder": ("encoder_decoder", {}),
    "recursive": ("encoder_decoder", {"decoding": "recursive"}),
}
"""What a user calls by name: the kind of network, and the arguments that make it that one."""


def make_network(spec: Network | str | Mapping[str, Any]) -> Network:
    """The network that a preset's name or a mapping describes; a network as it is.

    Args:
        spec: a key of `PRESETS`, such as `"gru"`; or a mapping of arguments, with the preset or the kind
            (a key of `NETWORKS`) under `"network"`, such as `{"network": "gru", "units": 128}`. Without
            it the kind is `"recurrent"`.

    Raises:
        ArgumentError: a name is unknown, or an argument is unknown or out of range.

    >>> make_network({"network": "lstm", "units": 32}).units
    32
    """
    if isinstance(spec, Network):
        return spec
    if not isinstance(spec, str | Mapping):
        raise ArgumentError(f"a network is named by a preset ({', '.join(PRESETS)}), or described by a mapping such as "
                            f"{{'network': 'gru', 'units': 128}}; got {spec!r}")  # fmt: skip
    arguments = {} if isinstance(spec, str) else dict(spec)
    name = spec if isinstance(spec, str) else arguments.pop("network", "recurrent")
    known = list(dict.fromkeys([*PRESETS, *NETWORKS]))
    if name not in known:
        raise ArgumentError(f"unknown network {name!r}; known are {', '.join(known)}.{nearest(str(name), known)}")
    kind, preset = PRESETS.get(name, (name, {}))
    takes = [field.name for field in fields(NETWORKS[kind])]
    for key in arguments:
        if key not in takes:
            raise ArgumentError(f"unknown key {key!r}; {NETWORKS[kind].__name__} takes network, {', '.join(takes)}."
                                f"{nearest(str(key), takes)}")  # fmt: skip
    return NETWORKS[kind](**{**preset, **arguments})


__all__ = [
    "NETWORKS", "PRESETS", "Network", "Convolutional", "EncoderDecoder", "ESRNN", "Recurrent",
    "SegRNN", "Seeds", "Shapes", "Window", "build_network", "make_network",
]  # fmt: skip
