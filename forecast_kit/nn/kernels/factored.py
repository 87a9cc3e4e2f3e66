"""LSTM and GRU over whole sequences, with gradients written by hand.

Three things make them fast on a processor (`forecast_kit.nn.kernels.streams` adds the cores):

- s(a) = 0.5 tanh(0.5 a) + 0.5, so with the columns of the sigmoid gates halved beforehand all gates are
  one tanh, y, and the slope of each with respect to its unscaled pre-activation is k - k y^2, with
  k = 0.25 for a sigmoid gate and 1 for tanh;
- forward saves the factors by which the backward loop multiplies, not the activations they come from;
- backward the loop computes only the deltas D, the gradients of the pre-activations. Those of the
  weights and of `x` are products over all steps after it.

Weights are laid out as in Keras, so are the results: `tests/nn/test_factored.py` compares both.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from forecast_kit.errors import ArgumentError
from forecast_kit.nn.kernels.streams import Options, Streamed, buffer, put, rows_of, time_major


def lstm(
    x: Any,
    h0: Any,
    c0: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any,
    *,
    streams: int | None = None,
    hoist: bool | None = None,
    return_sequences: bool = True,
) -> tuple[Any, Any, Any]:
    """The outputs `[B, T, U]` of an LSTM, and the final `h [B, U]` and `c [B, U]`.

        i, f, o = s(x_t W + h_(t-1) U + b),  g = tanh(likewise)       each its own columns
        c_t = f c_(t-1) + i g
        h_t = o tanh(c_t)

    Backward, with a' the slope of a gate, dc and dh carried from step t + 1 and dy_t coming in:

        dh = dh + dy_t
        dc = dc + dh o (1 - tanh(c_t)^2)                              the factor saved as pc
        D_t = [dc, dc, dc, dh] * P,  P = [g i', c_(t-1) f', i g', tanh(c_t) o']
        dh = D_t U^T,  dc = dc f
        [dW; dU; db] = sum_t [x_t, h_(t-1), 1]^T D_t,  dx_t = D_t W^T

    Args:
        x: `[B, T, F]`, T known when the graph is traced.
        h0, c0: the states before the first step, each `[B, U]`.
        kernel: W `[F, 4U]`, columns in the order i, f, g, o.
        recurrent_kernel: U `[U, 4U]`.
        bias: b `[4U]`.
        streams: how many parts of the batch run side by side; as many as cores if None.
        hoist: whether x W of all steps is computed in front of the loop; by the shape if None.
        return_sequences: whether all outputs come back, or the last one, `[B, U]`.

    Raises:
        ArgumentError: T is not known, the dtypes or the widths do not fit, or `streams` is below 1.
    """
    _check_widths(4, x, kernel, recurrent_kernel)
    options = Options(sequences=return_sequences, hoist=_hoists(hoist, kernel))
    weights = (kernel, recurrent_kernel, bias)
    outputs, (h, c) = LSTM(x, (h0, c0), weights, options, streams=streams)
    return outputs, h, c


def gru(
    x: Any,
    h0: Any,
    kernel: Any,
    recurrent_kernel: Any,
    bias: Any,
    *,
    streams: int | None = None,
    hoist: bool | None = None,
    return_sequences: bool = True,
) -> tuple[Any, Any]:
    """The outputs `[B, T, U]` of a GRU, the reset gate after the product, and the final `h [B, U]`.

        z, r = s(x_t W + b + h_(t-1) U + d)                           each its own columns
        v = h_(t-1) Ug + dg
        g = tanh(x_t Wg + bg + r v)
        h_t = z h_(t-1) + (1 - z) g

    Backward, with a' the slope of a gate, dh carried from step t + 1 and dy_t coming in:

        dh = dh + dy_t
        D_t = [dh, dh, dh, dh] * P,  P = [r q, (h_(t-1) - g) z', v q r', q],  q = (1 - z) g'
        dh = dh z + D_t[v, z, r] U^T                                  the first three blocks
        dU, dd = sum_t [h_(t-1), 1]^T D_t[v, z, r]
        dW, db = sum_t [x_t, 1]^T D_t[z, r, g],  dx_t = D_t[z, r, g] W^T    the last three

    Args:
        x: `[B, T, F]`, T known when the graph is traced.
        h0: the state before the first step, `[B, U]`.
        kernel: W `[F, 3U]`, columns in the order z, r, g.
        recurrent_kernel: U `[U, 3U]`.
        bias: b and d, `[2, 3U]`.
        streams, hoist, return_sequences: see `lstm`.

    Raises:
        ArgumentError: T is not known, the dtypes or the widths do not fit, or `streams` is below 1.
    """
    _check_widths(3, x, kernel, recurrent_kernel)
    options = Options(sequences=return_sequences, hoist=_hoists(hoist, kernel))
    weights = (kernel, recurrent_kernel, bias)
    outputs, (h,) = GRU(x, (h0,), weights, options, streams=streams)
    return outputs, h


def _hoists(hoist: bool | None, kernel: Any) -> bool:
    """Whether the inputs are projected in front of the loop.

    Measured: up to 8 features it costs more to write and read x W `[B, T, 4U]` than to compute it in the loop.
    """
    return int(kernel.shape[0]) > int(kernel.shape[1]) if hoist is None else hoist


def _check_widths(gates: int, x: Any, kernel: Any, recurrent_kernel: Any) -> None:
    f, u = x.shape[-1], recurrent_kernel.shape[0]
    if tuple(kernel.shape) != (f, gates * u) or tuple(recurrent_kernel.shape) != (u, gates * u):
        raise ArgumentError(
            f"with x of {f} features and {u} units, kernel must be {(f, gates * u)} and recurrent_kernel"
            f" {(u, gates * u)}; got {tuple(kernel.shape)} and {tuple(recurrent_kernel.shape)}"
        )


def _loop(body: Any, steps: int, *carried: Any, backwards: bool = False) -> Any:
    """What `body(t, *carried)` leaves after all steps."""
    going, by = (lambda t: t >= 0, -1) if backwards else (lambda t: t < steps, 1)
    start = tf.constant(steps - 1 if backwards else 0)
    return tf.while_loop(
        lambda t, *_: going(t), lambda t, *rest: (t + by, *body(t, *rest)), (start, *carried), maximum_iterations=steps
    )[1:]


def _project(xs: Any, w: Any, b: Any) -> Any:
    """`[T, B, K]` of `[T, B, F]`: x W + b."""
    return tf.reshape(tf.matmul(rows_of(xs), w) + b, tf.stack([xs.shape[0], tf.shape(xs)[1], w.shape[1]]))


def _buffers(widths: tuple[int, ...], x: Any) -> tuple[Any, ...]:
    return tuple(buffer(x.shape[1], tf.shape(x)[0], width, x.dtype) for width in widths)


def _before(h0: Any, hs: Any) -> Any:
    """`[T, B, U]`: h_(t-1) of all steps."""
    return tf.concat([h0[None], hs[:-1]], 0)


def _of_weights(x: Any, saved: Any, deltas: Any) -> Any:
    """`[F + U + 1, K]`: the sum over all steps of [x_t, h_(t-1), 1]^T D_t.

    One product, though the GRU does not need all of it: to cut the deltas into blocks costs more.
    """
    xs, before = time_major(x), _before(*saved[:2])
    left = tf.concat([xs, before, tf.ones_like(xs[:, :, :1])], 2)
    return tf.matmul(rows_of(left), rows_of(deltas), transpose_a=True)


def _through_inputs(deltas: Any, w: Any) -> Any:
    """`[B, T, F]`: D W^T, from the deltas `[T, B, K]`."""
    dx = tf.matmul(rows_of(deltas), w, transpose_b=True)
    return time_major(tf.reshape(dx, tf.stack([deltas.shape[0], tf.shape(deltas)[1], w.shape[0]])))


# ---- LSTM, one stream


def _lstm_forward(x: Any, states: Any, weights: Any, options: Options) -> Any:
    (h0, c0), (w, u, b) = states, weights
    units, steps, half = u.shape[0], x.shape[1], tf.cast(0.5, x.dtype)
    sigmoids = tf.fill([units], half)
    scale = tf.concat([sigmoids, sigmoids, tf.ones_like(sigmoids), sigmoids], 0)
    k = scale * scale
    w, u, b = w * scale, u * scale, b * scale
    xs = time_major(x)
    if options.hoist:
        xs = _project(xs, w, b)
    elif x.shape[2] > 1:
        u = tf.concat([w, u], 0)  # one product a step, of [x_t, h]

    def body(t: Any, h: Any, c: Any, *buffers: Any) -> Any:
        if options.hoist:
            y = tf.tanh(xs[t] + tf.matmul(h, u))
        elif x.shape[2] == 1:
            y = tf.tanh(xs[t] * w + b + tf.matmul(h, u))  # an outer product, merged into the tanh
        else:
            y = tf.tanh(tf.matmul(tf.concat([xs[t], h], 1), u) + b)
        yi, yf, g, yo = tf.split(y, 4, axis=1)
        i, f, o = half * yi + half, half * yf + half, half * yo + half
        after = f * c + i * g
        read = tf.tanh(after)
        h = o * read
        if options.save:
            p = tf.concat([g, c, i, read], 1) * (k - k * y * y)
            pc = o * (1.0 - read * read)
            buffers = tuple(put(kept, t, new) for kept, new in zip(buffers, (h, p, pc, f), strict=True))
        elif options.sequences:
            buffers = (put(buffers[0], t, h),)
        return h, after, *buffers

    widths = (units, 4 * units, units, units) if options.save else (units,) if options.sequences else ()
    h, c, *saved = _loop(body, steps, h0, c0, *_buffers(widths, x))
    return time_major(saved[0]) if options.sequences else h, (h, c), (h0, *saved) if options.save else ()


def _lstm_backward(d_outputs: Any, d_states: Any, x: Any, saved: Any, weights: Any, options: Options) -> Any:
    _, _, p, pc, f = saved
    back = tf.transpose(weights[1])
    dh, dc = d_states
    if options.sequences:
        dys = time_major(d_outputs)
    else:
        dh = dh + d_outputs  # the last output is the last state

    def body(t: Any, dh: Any, dc: Any, deltas: Any) -> Any:
        if options.sequences:
            dh = dh + dys[t]
        dc = dc + dh * pc[t]
        d = tf.concat([dc, dc, dc, dh], 1) * p[t]
        return tf.matmul(d, back), dc * f[t], put(deltas, t, d)

    dh, dc, deltas = _loop(body, x.shape[1], dh, dc, *_buffers((weights[1].shape[1],), x), backwards=True)
    return deltas, (dh, dc)


def _lstm_weight_gradients(x: Any, saved: Any, deltas: Any, weights: Any, options: Options) -> Any:
    found, f, u = _of_weights(x, saved, deltas), x.shape[2], saved[0].shape[1]
    return found[:f], found[f : f + u], found[f + u]


def _lstm_input_gradients(upstream: Any, x: Any, saved: Any, deltas: Any, weights: Any, options: Options) -> Any:
    return _through_inputs(deltas, weights[0])


# ---- GRU, one stream


def _gru_forward(x: Any, states: Any, weights: Any, options: Options) -> Any:
    (h0,), (w, u, bias) = states, weights
    units, steps, half = u.shape[0], x.shape[1], tf.cast(0.5, x.dtype)
    two = 2 * units  # columns of z and r
    scale = tf.concat([tf.fill([two], half), tf.ones([units], x.dtype)], 0)
    w, u = w * scale, u * scale
    # The state's bias of z and r joins the input's; that of the candidate stays with v, for r weighs it.
    b = bias[0] * scale + tf.concat([half * bias[1, :two], tf.zeros([units], x.dtype)], 0)
    bv = bias[1, two:]
    xs = time_major(x)
    if options.hoist:
        xs = _project(xs, w, b)

    # The loop carries y, and returns it, for XLA's sake: a value that leaves the loop is computed on its
    # own and not inside the one long expression of h_t, which is not vectorised. Inference without it
    # took twice (64 units) to three times (32 units) as long.
    def body(t: Any, h: Any, _: Any, *buffers: Any) -> Any:
        p = xs[t] if options.hoist else (xs[t] * w if x.shape[2] == 1 else tf.matmul(xs[t], w)) + b
        q = tf.matmul(h, u)
        y = tf.tanh(p[:, :two] + q[:, :two])
        z, r = half * y[:, :units] + half, half * y[:, units:] + half
        v = q[:, two:] + bv
        g = tf.tanh(p[:, two:] + r * v)
        after = g + z * (h - g)
        if options.save:
            slope = (1.0 - z) * (1.0 - g * g)
            factors = tf.concat([slope * r, (h - g) * (z - z * z), slope * v * (r - r * r), slope], 1)
            buffers = tuple(put(kept, t, new) for kept, new in zip(buffers, (after, factors, z), strict=True))
        elif options.sequences:
            buffers = (put(buffers[0], t, after),)
        return after, y, *buffers

    widths = (units, 4 * units, units) if options.save else (units,) if options.sequences else ()
    h, y, *saved = _loop(body, steps, h0, tf.concat([h0, h0], 1), *_buffers(widths, x))
    return time_major(saved[0]) if options.sequences else h, (h,), (h0, *saved) if options.save else (y,)


def _gru_backward(d_outputs: Any, d_states: Any, x: Any, saved: Any, weights: Any, options: Options) -> Any:
    _, _, factors, z = saved
    (dh,) = d_states
    units = dh.shape[1]
    back = tf.transpose(tf.roll(weights[1], units, axis=1))  # columns v, z, r
    if options.sequences:
        dys = time_major(d_outputs)
    else:
        dh = dh + d_outputs

    def body(t: Any, dh: Any, deltas: Any) -> Any:
        if options.sequences:
            dh = dh + dys[t]
        d = tf.concat([dh, dh, dh, dh], 1) * factors[t]
        return dh * z[t] + tf.matmul(d[:, : 3 * units], back), put(deltas, t, d)

    dh, deltas = _loop(body, x.shape[1], dh, *_buffers((4 * units,), x), backwards=True)
    return deltas, (dh,)


def _gru_weight_gradients(x: Any, saved: Any, deltas: Any, weights: Any, options: Options) -> Any:
    found, f, u = _of_weights(x, saved, deltas), x.shape[2], saved[0].shape[1]
    of_state = tf.roll(found[f:, : 3 * u], -u, axis=1)  # v, z, r -> z, r, v
    return found[:f, u:], of_state[:u], tf.stack([found[f + u, u:], of_state[u]])


def _gru_input_gradients(upstream: Any, x: Any, saved: Any, deltas: Any, weights: Any, options: Options) -> Any:
    return _through_inputs(deltas[:, :, saved[0].shape[1] :], weights[0])


# The compiled functions, one set for the process: each traced once for each shape and choice.
LSTM = Streamed(_lstm_forward, _lstm_backward, _lstm_weight_gradients, _lstm_input_gradients)
GRU = Streamed(_gru_forward, _gru_backward, _gru_weight_gradients, _gru_input_gradients)
