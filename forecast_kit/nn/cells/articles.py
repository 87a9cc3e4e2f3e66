"""Weights in the notations of the articles, as the weights of our cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from forecast_kit.errors import ArgumentError, name_some

# For each article the names of the matrices of x, the matrices of h and the biases, gates in our order: i, f, g, o.
# Article 000 writes one matrix over [h; x].
_NOTATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "000": (("Wi", "Wf", "Wg", "Wo"), (), ("bi", "bf", "bg", "bo")),
    "001": (("W_ix", "W_fx", "W_gx", "W_ox"), ("W_im", "W_fm", "W_gm", "W_om"), ("b_i", "b_f", "b_g", "b_o")),
    "003": (("W_ix", "W_fx", "W_cx", "W_ox"), ("W_ih", "W_fh", "W_ch", "W_oh"), ("b_i", "b_f", "b_c", "b_o")),
    "004": (("W_xi", "W_xf", "W_xc", "W_xo"), ("W_ii", "W_ff", "W_ci", "W_fo"), ("b_i", "b_f", "b_c", "b_o")),
}


def lstm_weights(named: Mapping[str, Any], *, article: str) -> list[np.ndarray]:
    """The weights of an `LSTMCell`, `[kernel, recurrent_kernel, bias]`, from those of an article by their names there.

    The articles multiply columns, `W x` with `W [U, F]`: matrices are transposed, and put side by side in
    the order i, f, g, o. Article 000 has one matrix a gate, `[U, U + F]`, of which the first U columns
    multiply the state. Article 001 names the cell state M and the output C, and yet lets the gates see
    `M_(i-1)`. Here that is read as the output, which `m` stands for in Sak, Senior and Beaufays (2014),
    whose names of weights it uses; read to the letter it is another cell.

    Args:
        named: matrices `[U, F]` and `[U, U]`, in article 000 `[U, U + F]`, and biases `[U]`, by name.
        article: `"000"` (3.1: Wi, bi, ...), `"001"` (2.2: W_ix, W_im, b_i, ...), `"003"` (4.2: W_ix, W_ih,
            b_i, ...) or `"004"` (3.3.1: W_xi, W_ii, b_i, ...).

    Raises:
        ArgumentError: there is no such article, or a weight of it is missing.

    >>> ones = {f"W{gate}": np.ones((3, 3 + 2)) for gate in "ifgo"} | {f"b{gate}": np.zeros(3) for gate in "ifgo"}
    >>> [weight.shape for weight in lstm_weights(ones, article="000")]
    [(2, 12), (3, 12), (12,)]
    """
    if article not in _NOTATIONS:
        raise ArgumentError(f"article must be one of {', '.join(_NOTATIONS)}, got {article!r}")
    of_x, of_h, biases = _NOTATIONS[article]
    bias = side_by_side(named, biases)
    if of_h:
        return [side_by_side(named, of_x), side_by_side(named, of_h), bias]
    both = side_by_side(named, of_x)  # [U + F, 4U]
    units = bias.size // 4
    return [both[units:], both[:units], bias]


def gru_weights(named: Mapping[str, Any]) -> list[np.ndarray]:
    """The weights of a `GRUCell`, `[kernel, recurrent_kernel, bias]`, from those of article 002 by their names there.

        z = s(W_xz x + W_hz h + b_z)
        r = s(W_xr x + W_hr h + b_r)
        h' = (1 - z) * h + z * tanh(W_xh x + r * (W_hh h) + b_h)

    The article's `z` weighs the candidate, ours the old state: as `1 - s(a) = s(-a)`, the signs of the
    weights and the bias of `z` are flipped. Matrices are transposed, for the article multiplies columns.
    The bias of the state, which the article does not have, is 0.

    Args:
        named: matrices W_xz, W_xr, W_xh `[U, F]` and W_hz, W_hr, W_hh `[U, U]`, biases b_z, b_r, b_h `[U]`.

    Raises:
        ArgumentError: a weight is missing.

    >>> ones = {f"W_x{k}": np.ones((3, 2)) for k in "zrh"} | {f"W_h{k}": np.ones((3, 3)) for k in "zrh"}
    >>> [weight.shape for weight in gru_weights(ones | {f"b_{k}": np.zeros(3) for k in "zrh"})]
    [(2, 9), (3, 9), (2, 9)]
    """
    kernel = side_by_side(named, ("W_xz", "W_xr", "W_xh"))
    recurrent_kernel = side_by_side(named, ("W_hz", "W_hr", "W_hh"))
    bias = side_by_side(named, ("b_z", "b_r", "b_h"))
    sign = np.repeat([-1.0, 1.0, 1.0], bias.size // 3).astype(bias.dtype)
    return [sign * kernel, sign * recurrent_kernel, np.stack([sign * bias, np.zeros_like(bias)])]


def side_by_side(named: Mapping[str, Any], names: Sequence[str]) -> np.ndarray:
    """`[S, gates * U]` matrices that multiply columns, `[U, S]`, transposed; or biases, `[gates * U]`.

    Raises:
        ArgumentError: a name is missing.
    """
    missing = [name for name in names if name not in named]
    if missing:
        raise ArgumentError(f"weights {name_some(missing)} are missing; got {name_some(named) or 'none'}")
    return np.concatenate([np.transpose(named[name]) for name in names], axis=-1)
