"""The recurrences of the source articles as the articles write them: columns, one series, one step at a time.

An oracle is `(w, x, state) -> (output, new state)`, plain arrays: `w` the article's weights by the article's
names, matrices `[U, F]` and `[U, U]` that multiply columns, `x [F]`, states `[U]`. The functions called
`as_...` turn the weights of our cells, in Keras's layout, into that notation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

Array = np.ndarray
Named = dict[str, Array]
State = tuple[Array, ...]
Oracle = Callable[[Mapping[str, Array], Array, State], tuple[Array, State]]


def sigmoid(a: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-a))


def run(oracle: Oracle, w: Mapping[str, Array], x: Array, sizes: Sequence[int]) -> tuple[Array, list[Array]]:
    """Outputs `[B, T, U]` and final states `[B, S]`, from states of zeros; `x [B, T, F]`."""
    outputs, finals = [], []
    for series in x:
        state: State = tuple(np.zeros(size) for size in sizes)
        steps = []
        for x_t in series:
            output, state = oracle(w, x_t, state)
            steps.append(output)
        outputs.append(steps)
        finals.append(state)
    return np.array(outputs), [np.array(final) for final in zip(*finals, strict=True)]


def columns(matrix: Array, names: str) -> Named:
    """The blocks side by side in a matrix `[S, n U]`, or in a bias, transposed to `[U, S]`, by name."""
    parts = names.split()
    return {name: block.T for name, block in zip(parts, np.split(matrix, len(parts), axis=-1), strict=True)}


# ---- Elman


def elman_004(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 004, 3.2.1."""
    (h,) = state
    h = np.tanh(w["W_hh"] @ h + w["W_xh"] @ x + w["b_h"])
    return h, (h,)


def as_elman_004(weights: list[Array]) -> Named:
    kernel, recurrent_kernel, bias = weights
    return {"W_xh": kernel.T, "W_hh": recurrent_kernel.T, "b_h": bias}


def elman_003(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 003, 4.1."""
    (h,) = state
    h = sigmoid(w["W_ih"] @ x + w["W_hh"] @ h + w["b_h"])
    return h, (h,)


def as_elman_003(weights: list[Array]) -> Named:
    kernel, recurrent_kernel, bias = weights
    return {"W_ih": kernel.T, "W_hh": recurrent_kernel.T, "b_h": bias}


# ---- LSTM


def lstm_000(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 000, 3.1."""
    h, C = state
    hx = np.concatenate([h, x])
    f = sigmoid(w["Wf"] @ hx + w["bf"])
    i = sigmoid(w["Wi"] @ hx + w["bi"])
    C = f * C + i * np.tanh(w["Wg"] @ hx + w["bg"])
    o = sigmoid(w["Wo"] @ hx + w["bo"])
    h = o * np.tanh(C)
    return h, (h, C)


def as_lstm_000(weights: list[Array]) -> Named:
    kernel, recurrent_kernel, bias = weights
    return columns(np.concatenate([recurrent_kernel, kernel]), "Wi Wf Wg Wo") | columns(bias, "bi bf bg bo")


def lstm_001(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 001, 2.2, where the gates' `M_(i-1)` is read as the output, as in the paper whose names these are."""
    C, M = state  # the output and the cell state
    I = sigmoid(w["W_ix"] @ x + w["W_im"] @ C + w["b_i"])  # noqa: E741
    F = sigmoid(w["W_fx"] @ x + w["W_fm"] @ C + w["b_f"])
    O = sigmoid(w["W_ox"] @ x + w["W_om"] @ C + w["b_o"])  # noqa: E741
    G = np.tanh(w["W_gx"] @ x + w["W_gm"] @ C + w["b_g"])
    M = F * M + I * G
    C = O * np.tanh(M)
    return C, (C, M)


def lstm_001_to_the_letter(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 001, 2.2, where the gates' `M_(i-1)` is the cell state, as it is two lines further down."""
    _, M = state
    C, (_, M) = lstm_001(w, x, (M, M))
    return C, (C, M)


def as_lstm_001(weights: list[Array]) -> Named:
    kernel, recurrent_kernel, bias = weights
    of_x, of_m = columns(kernel, "W_ix W_fx W_gx W_ox"), columns(recurrent_kernel, "W_im W_fm W_gm W_om")
    return of_x | of_m | columns(bias, "b_i b_f b_g b_o")


def lstm_003(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 003, 4.2, which has one name, C, for the candidate and the cell state."""
    h, C = state
    i = sigmoid(w["W_ix"] @ x + w["W_ih"] @ h + w["b_i"])
    f = sigmoid(w["W_fx"] @ x + w["W_fh"] @ h + w["b_f"])
    o = sigmoid(w["W_ox"] @ x + w["W_oh"] @ h + w["b_o"])
    candidate = np.tanh(w["W_cx"] @ x + w["W_ch"] @ h + w["b_c"])
    C = i * candidate + f * C
    h = o * np.tanh(C)
    return h, (h, C)


def as_lstm_003(weights: list[Array]) -> Named:
    kernel, recurrent_kernel, bias = weights
    of_x, of_h = columns(kernel, "W_ix W_fx W_cx W_ox"), columns(recurrent_kernel, "W_ih W_fh W_ch W_oh")
    return of_x | of_h | columns(bias, "b_i b_f b_c b_o")


def lstm_004(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 004, 3.3.1."""
    h, c = state
    f = sigmoid(w["W_ff"] @ h + w["W_xf"] @ x + w["b_f"])
    i = sigmoid(w["W_ii"] @ h + w["W_xi"] @ x + w["b_i"])
    candidate = np.tanh(w["W_ci"] @ h + w["W_xc"] @ x + w["b_c"])
    c = f * c + i * candidate
    o = sigmoid(w["W_fo"] @ h + w["W_xo"] @ x + w["b_o"])
    h = o * np.tanh(c)
    return h, (h, c)


def as_lstm_004(weights: list[Array]) -> Named:
    kernel, recurrent_kernel, bias = weights
    of_x, of_h = columns(kernel, "W_xi W_xf W_xc W_xo"), columns(recurrent_kernel, "W_ii W_ff W_ci W_fo")
    return of_x | of_h | columns(bias, "b_i b_f b_c b_o")


def peephole_002(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 002, 3.1: full matrices, the candidate's recurrent term gated by f."""
    return _peephole(w, x, state, gated=True)


def peephole_ungated(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Gers and Schmidhuber (2000): the candidate is that of an LSTM."""
    return _peephole(w, x, state, gated=False)


def _peephole(w: Mapping[str, Array], x: Array, state: State, *, gated: bool) -> tuple[Array, State]:
    h, c = state
    i = sigmoid(w["W_xi"] @ x + w["W_hi"] @ h + w["W_ci"] @ c + w["b_i"])
    f = sigmoid(w["W_xf"] @ x + w["W_hf"] @ h + w["W_cf"] @ c + w["b_f"])
    recalled = w["W_hc"] @ h
    candidate = np.tanh(w["W_xc"] @ x + (recalled * f if gated else recalled) + w["b_c"])
    c = f * c + i * candidate
    o = sigmoid(w["W_xo"] @ x + w["W_ho"] @ h + w["W_co"] @ c + w["b_o"])
    h = o * np.tanh(c)
    return h, (h, c)


def as_peephole_002(weights: list[Array]) -> Named:
    """Peepholes as full matrices; a diagonal one becomes a diagonal matrix."""
    kernel, recurrent_kernel, bias, peephole = weights
    of_x, of_h = columns(kernel, "W_xi W_xf W_xc W_xo"), columns(recurrent_kernel, "W_hi W_hf W_hc W_ho")
    of_c = columns(peephole, "W_ci W_cf W_co")
    if peephole.ndim == 1:
        of_c = {name: np.diag(vector) for name, vector in of_c.items()}
    return of_x | of_h | of_c | columns(bias, "b_i b_f b_c b_o")


# ---- GRU


def gru_002(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 002, 3.2: z weighs the candidate."""
    (h,) = state
    z = sigmoid(w["W_xz"] @ x + w["W_hz"] @ h + w["b_z"])
    r = sigmoid(w["W_xr"] @ x + w["W_hr"] @ h + w["b_r"])
    h = (1 - z) * h + z * np.tanh(w["W_xh"] @ x + r * (w["W_hh"] @ h) + w["b_h"])
    return h, (h,)


def gru_reset_after(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """The equations of cuDNN and of `keras.layers.GRUCell(reset_after=True)`: biases of their own for the state."""
    (h,) = state
    z = sigmoid(w["W_z"] @ x + w["b_z"] + w["U_z"] @ h + w["d_z"])
    r = sigmoid(w["W_r"] @ x + w["b_r"] + w["U_r"] @ h + w["d_r"])
    g = np.tanh(w["W_g"] @ x + w["b_g"] + r * (w["U_g"] @ h + w["d_g"]))
    h = z * h + (1 - z) * g
    return h, (h,)


def as_gru_reset_after(weights: list[Array]) -> Named:
    kernel, recurrent_kernel, bias = weights
    matrices = columns(kernel, "W_z W_r W_g") | columns(recurrent_kernel, "U_z U_r U_g")
    return matrices | columns(bias[0], "b_z b_r b_g") | columns(bias[1], "d_z d_r d_g")


def gru_000_state(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 000, 3.2, up to `ht`; the candidate, which it leaves out, is that of Cho et al. (2014)."""
    (h,) = state
    hx = np.concatenate([h, x])
    z = sigmoid(w["Wz"] @ hx + w["bz"])
    r = sigmoid(w["Wr"] @ hx + w["br"])
    n = np.tanh(w["Wn"] @ np.concatenate([r * h, x]) + w["bn"])
    h = (1 - z) * n + z * h
    return h, (h,)


def as_gru_000_state(weights: list[Array]) -> Named:
    kernel, recurrent_kernel, bias = weights
    return columns(np.concatenate([recurrent_kernel, kernel]), "Wz Wr Wn") | columns(bias, "bz br bn")


def gru_000(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 000, 3.2, with its output gate, which sees `[h;x]` as the other gates do: the state before."""
    new, _ = gru_000_state(w, x, state)
    o = sigmoid(w["Wo"] @ np.concatenate([state[0], x]) + w["bo"])
    return o * np.tanh(new), (new,)


def as_gru_000(weights: list[Array]) -> Named:
    kernel, recurrent_kernel, bias = weights
    return columns(np.concatenate([recurrent_kernel, kernel]), "Wz Wr Wo Wn") | columns(bias, "bz br bo bn")


def gru_001(w: Mapping[str, Array], x: Array, state: State) -> tuple[Array, State]:
    """Article 001, 2.3."""
    (M,) = state
    r = sigmoid(w["W_xr"] @ x + w["b_r"])
    u = sigmoid(w["W_xu"] @ x + w["b_u"])
    candidate = sigmoid(w["W_xc"] @ x + w["R_h"] @ (r * M) + w["b_c"])
    M = (1 - u) * M + u * candidate
    return np.tanh(M), (M,)


def as_gru_001(weights: list[Array]) -> Named:
    kernel, recurrent_kernel, bias = weights
    return columns(kernel, "W_xu W_xr W_xc") | {"R_h": recurrent_kernel.T} | columns(bias, "b_u b_r b_c")


# ---- backpropagation through time, one series


def elman_bptt(w: Mapping[str, Array], x: Array, y: Array) -> tuple[Named, list[Named]]:
    """Gradients of `E = 1/2 sum_t |o_t - y_t|^2`, `o = W_ho h + b_o`, by the weights of article 004 and x; the deltas.

    delta_o_t = o_t - y_t
    delta_h_t = (W_ho^T delta_o_t + W_hh^T delta_h_(t+1)) * (1 - h_t^2)
    """
    h = [np.zeros(w["b_h"].size)]
    for x_t in x:
        h.append(elman_004(w, x_t, (h[-1],))[0])
    gradient = {name: np.zeros_like(array) for name, array in w.items()} | {"x": np.zeros_like(x)}
    deltas: list[Named] = []
    after = np.zeros_like(h[0])  # delta_h_(t+1)
    for t in reversed(range(len(x))):
        now, before = h[t + 1], h[t]
        o = w["W_ho"] @ now + w["b_o"] - y[t]
        after = (w["W_ho"].T @ o + w["W_hh"].T @ after) * (1 - now**2)
        gradient["W_ho"] += np.outer(o, now)
        gradient["b_o"] += o
        gradient["W_hh"] += np.outer(after, before)
        gradient["W_xh"] += np.outer(after, x[t])
        gradient["b_h"] += after
        gradient["x"][t] = w["W_xh"].T @ after
        deltas.insert(0, {"o": o, "h": after, "h_t": now, "o_t": o + y[t]})
    return gradient, deltas


def lstm_bptt(w: Mapping[str, Array], x: Array, y: Array) -> tuple[Named, list[Named]]:
    """Gradients of `E = 1/2 sum_t |h_t - y_t|^2` by the weights of article 004 and x; the deltas too.

    dh_t = h_t - y_t + W_ff^T delta_f_(t+1) + W_ii^T delta_i_(t+1) + W_ci^T delta_g_(t+1) + W_fo^T delta_o_(t+1)
    dc_t = dh_t * o_t * (1 - tanh(c_t)^2) + dc_(t+1) * f_(t+1)
    delta_o_t = dh_t * tanh(c_t) * o_t * (1 - o_t)
    delta_i_t = dc_t * g_t * i_t * (1 - i_t)
    delta_f_t = dc_t * c_(t-1) * f_t * (1 - f_t)
    delta_g_t = dc_t * i_t * (1 - g_t^2)
    """
    gates = {
        "f": ("W_ff", "W_xf", "b_f"), "i": ("W_ii", "W_xi", "b_i"),
        "g": ("W_ci", "W_xc", "b_c"), "o": ("W_fo", "W_xo", "b_o"),
    }  # fmt: skip
    h, c, values = [np.zeros(w["b_f"].size)], [np.zeros(w["b_f"].size)], []
    for x_t in x:
        values.append({
            gate: (np.tanh if gate == "g" else sigmoid)(w[of_h] @ h[-1] + w[of_x] @ x_t + w[b])
            for gate, (of_h, of_x, b) in gates.items()
        })  # fmt: skip
        state = lstm_004(w, x_t, (h[-1], c[-1]))[1]
        h.append(state[0])
        c.append(state[1])
    gradient = {name: np.zeros_like(array) for name, array in w.items()} | {"x": np.zeros_like(x)}
    deltas: list[Named] = []
    dh_after, dc_after = np.zeros_like(h[0]), np.zeros_like(h[0])  # what comes from the step after
    for t in reversed(range(len(x))):
        v, now, before = values[t], np.tanh(c[t + 1]), c[t]
        dh = h[t + 1] - y[t] + dh_after
        dc = dh * v["o"] * (1 - now**2) + dc_after
        delta = {
            "o": dh * now * v["o"] * (1 - v["o"]), "i": dc * v["g"] * v["i"] * (1 - v["i"]),
            "f": dc * before * v["f"] * (1 - v["f"]), "g": dc * v["i"] * (1 - v["g"] ** 2),
        }  # fmt: skip
        for gate, (of_h, of_x, b) in gates.items():
            gradient[of_h] += np.outer(delta[gate], h[t])
            gradient[of_x] += np.outer(delta[gate], x[t])
            gradient[b] += delta[gate]
        gradient["x"][t] = sum(w[of_x].T @ delta[gate] for gate, (_, of_x, _) in gates.items())
        dh_after = sum(w[of_h].T @ delta[gate] for gate, (of_h, _, _) in gates.items())
        dc_after = dc * v["f"]
        known = {f"{gate}_t": value for gate, value in v.items()}
        deltas.insert(0, delta | {"c": dc} | known | {"h_t": h[t + 1], "c_t": c[t + 1], "c_before": c[t]})
    return gradient, deltas
