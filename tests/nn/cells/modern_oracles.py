"""The cells beyond the articles, each as a plain loop over time in NumPy float64.

Every oracle takes `x [B, T, F]`, the weights by name and, where given, the initial states, and returns the
outputs `[B, T, O]` and the final states. Gates are written out one by one, as the papers write them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Array = np.ndarray
Weights = Mapping[str, Array]
Answer = tuple[Array, list[Array]]


def s(v: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-v))


def columns(w: Array, gates: int) -> list[Array]:
    """The parts of a matrix or vector whose columns belong to each gate."""
    return np.split(w, gates, axis=-1)


def min_gru(x: Array, w: Weights) -> Answer:
    (wz, wg), (bz, bg) = columns(w["kernel"], 2), columns(w["bias"], 2)
    h = np.zeros((len(x), wz.shape[1]))
    outputs = []
    for t in range(x.shape[1]):
        z = s(x[:, t] @ wz + bz)
        h = (1 - z) * h + z * (x[:, t] @ wg + bg)
        outputs.append(h)
    return np.stack(outputs, 1), [h]


def min_lstm(x: Array, w: Weights) -> Answer:
    (wi, wf, wg), (bi, bf, bg) = columns(w["kernel"], 3), columns(w["bias"], 3)
    h = np.zeros((len(x), wi.shape[1]))
    outputs = []
    for t in range(x.shape[1]):
        i, f = s(x[:, t] @ wi + bi), s(x[:, t] @ wf + bf)
        h = f / (f + i) * h + i / (f + i) * (x[:, t] @ wg + bg)
        outputs.append(h)
    return np.stack(outputs, 1), [h]


def mgu(x: Array, w: Weights) -> Answer:
    (wf, wg), (bf, bg) = columns(w["kernel"], 2), columns(w["bias"], 2)
    uf, ug = columns(w["recurrent_kernel"], 2)
    h = np.zeros((len(x), wf.shape[1]))
    outputs = []
    for t in range(x.shape[1]):
        f = s(x[:, t] @ wf + h @ uf + bf)
        h = (1 - f) * h + f * np.tanh(x[:, t] @ wg + (f * h) @ ug + bg)
        outputs.append(h)
    return np.stack(outputs, 1), [h]


def normal(v: Array, epsilon: float = 1e-5) -> Array:
    out = np.empty_like(v)
    for b, row in enumerate(v):
        out[b] = (row - np.mean(row)) / np.sqrt(np.var(row) + epsilon)
    return out


def layer_norm_lstm(x: Array, w: Weights) -> Answer:
    h = np.zeros((len(x), len(w["cell_gain"])))
    c = np.zeros_like(h)
    outputs = []
    for t in range(x.shape[1]):
        gates = normal(x[:, t] @ w["kernel"]) * w["input_gain"]
        gates = gates + normal(h @ w["recurrent_kernel"]) * w["recurrent_gain"] + w["bias"]
        i, f, g, o = columns(gates, 4)
        c = s(f) * c + s(i) * np.tanh(g)
        h = s(o) * np.tanh(normal(c) * w["cell_gain"] + w["cell_bias"])
        outputs.append(h)
    return np.stack(outputs, 1), [h, c]


def layer_norm_gru(x: Array, w: Weights) -> Answer:
    wz, wr, wg = columns(w["kernel"], 3)
    uz, ur, ug = columns(w["recurrent_kernel"], 3)
    az, ar, ag = columns(w["input_gain"], 3)
    dz, dr, dg = columns(w["recurrent_gain"], 3)
    bz, br, bg = columns(w["bias"][0], 3)
    kz, kr, kg = columns(w["bias"][1], 3)
    h = np.zeros((len(x), wz.shape[1]))
    outputs = []
    for t in range(x.shape[1]):
        xz, xr = columns(normal(np.concatenate([x[:, t] @ wz, x[:, t] @ wr], -1)), 2)
        hz, hr = columns(normal(np.concatenate([h @ uz, h @ ur], -1)), 2)
        z = s(xz * az + bz + hz * dz + kz)
        r = s(xr * ar + br + hr * dr + kr)
        g = np.tanh(normal(x[:, t] @ wg) * ag + bg + r * (normal(h @ ug) * dg + kg))
        h = z * h + (1 - z) * g
        outputs.append(h)
    return np.stack(outputs, 1), [h]


def slstm(x: Array, w: Weights, forget_gate: str) -> Answer:
    """Equations (8) to (17): nothing is written before the first step, so that the stabiliser begins at log 0."""
    kernels, recurrents, biases = (columns(w[k], 4) for k in ("kernel", "recurrent_kernel", "bias"))
    h, c, n = (np.zeros((len(x), biases[0].size)) for _ in range(3))
    m = np.full_like(h, -np.inf)
    outputs = []
    for t in range(x.shape[1]):
        i, f, z, o = (x[:, t] @ k + h @ r + b for k, r, b in zip(kernels, recurrents, biases, strict=True))
        log_f = -np.log1p(np.exp(-f)) if forget_gate == "sigmoid" else f
        before, m = m, np.maximum(log_f + m, i)
        stable_f, stable_i = np.exp(log_f + before - m), np.exp(i - m)
        c = stable_f * c + stable_i * np.tanh(z)
        n = stable_f * n + stable_i
        h = s(o) * (c / n)
        outputs.append(h)
    return np.stack(outputs, 1), [h, c, n, m]


def slstm_unstabilised(x: Array, w: Weights, forget_gate: str) -> Answer:
    """Equations (8) to (14) alone; overflows for large gates."""
    kernels, recurrents, biases = (columns(w[k], 4) for k in ("kernel", "recurrent_kernel", "bias"))
    h, c, n = (np.zeros((len(x), biases[0].size)) for _ in range(3))
    outputs = []
    for t in range(x.shape[1]):
        i, f, z, o = (x[:, t] @ k + h @ r + b for k, r, b in zip(kernels, recurrents, biases, strict=True))
        f = s(f) if forget_gate == "sigmoid" else np.exp(f)
        c = f * c + np.exp(i) * np.tanh(z)
        n = f * n + np.exp(i)
        h = s(o) * c / n
        outputs.append(h)
    return np.stack(outputs, 1), [h, c, n]


def holt_winters(
    x: Array,
    w: Weights,
    *,
    season_length: int,
    trend: str | None,
    seasonal: str,
    initial: Sequence[Array] | None = None,
) -> Answer:
    """The recursion of FPP3, 8.3, series by series and in its component form, not in that of error correction.

    Seasonal factors are kept in one growing list with index `t - m`, not in a ring. A step without an
    observation is one whose observation is its forecast.
    """
    m, multiplicative = season_length, seasonal == "multiplicative"
    neutral = 1.0 if multiplicative else 0.0
    alpha = s(w["alpha"])
    beta = s(w["beta"]) if trend else 0.0
    gamma = s(w["gamma"]) if m > 1 else 0.0
    phi = {"additive": 1.0, "damped": s(w["phi"]) if trend == "damped" else None, None: 0.0}[trend]
    batch, steps, channels = x.shape
    outputs = np.empty((batch, steps, 1))
    finals: list[tuple[float, float, list[float]]] = []
    for k in range(batch):
        level, slope, season = neutral, 0.0, [neutral] * m
        if initial is not None:
            level, slope, season = float(initial[0][k, 0]), float(initial[1][k, 0]), [float(v) for v in initial[2][k]]
        for t in range(steps):
            old = season[t]  # s_(t-m)
            drift = phi * slope
            y = x[k, t, 0]
            if channels == 2 and not x[k, t, 1]:
                y = (level + drift) * old if multiplicative else level + drift + old
            if multiplicative:
                new = alpha * y / old + (1 - alpha) * (level + drift)
                season.append(gamma * y / (level + drift) + (1 - gamma) * old)
            else:
                new = alpha * (y - old) + (1 - alpha) * (level + drift)
                season.append(gamma * (y - level - drift) + (1 - gamma) * old)
            if trend:
                slope = beta * (new - level) + (1 - beta) * drift
            level = new
            ahead = season[t + 1]
            line = level + phi * slope
            outputs[k, t, 0] = line * ahead if multiplicative else line + ahead
        finals.append((level, slope, season[-m:]))
    columns_of = [[[level] for level, _, _ in finals], [[slope] for _, slope, _ in finals], [r for _, _, r in finals]]
    return outputs, [np.array(column, dtype=float) for column in columns_of]
