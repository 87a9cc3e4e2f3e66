"""Attention over the steps of a sequence."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import keras
import numpy as np
from keras import ops

from forecast_kit.errors import ArgumentError

Attention = Literal["dot", "additive"]
ATTENTIONS: tuple[str, ...] = get_args(Attention)


@keras.saving.register_keras_serializable("forecast_kit")
class TemporalAttention(keras.layers.Layer):
    """For every query a mean of the memory over time, weighted by how well each step answers the query.

        a_(s,t) = softmax_t(e_(s,t)),   c_s = sum_t a_(s,t) k_t

    with queries `q_s`, memory `k_t`, and scores

    - `"dot"`: `e_(s,t) = q_s . k_t / sqrt(D)`, without weights;
    - `"additive"`: `e_(s,t) = v . tanh(q_s Wq + k_t Wk)`. It holds `S N units` numbers a window.

    All steps of the memory can be attended to, those where nothing was observed too: what they hold says so.

    Args:
        score: `"dot"` or `"additive"`.
        units: width of `Wq` and `Wk`; by default that of the memory. For `"additive"` alone.
        seed: of the initial weights.

    Raises:
        ArgumentError: the score is unknown, `units` is out of range, or at build, queries and memory of different
            width are to be multiplied.

    Call: queries `[B, S, Q]`, memory `[B, N, D]` -> `[B, S, D]`. For `"dot"` Q is D.

    Source: Luong, Pham and Manning (2015), section 3.1, dot, scaled as in Vaswani et al. (2017); Bahdanau,
    Cho and Bengio (2015), section 3.1 and appendix A.1.2.

    >>> memory = ops.convert_to_tensor([[[8.0, 0.0], [0.0, 8.0]]])
    >>> ops.convert_to_numpy(TemporalAttention("dot")(memory[:, :1], memory)).round(3)
    array([[[8., 0.]]], dtype=float32)
    """

    def __init__(
        self, score: Attention = "dot", *, units: int | None = None, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if score not in ATTENTIONS:
            raise ArgumentError(f"score must be one of {', '.join(ATTENTIONS)}; got {score!r}")
        if units is not None and (score == "dot" or not isinstance(units, int) or units < 1):
            raise ArgumentError(f"units must be at least 1, and goes with score='additive'; got {units!r}, {score!r}")
        self.score, self.units, self.seed = score, units, seed

    def build(self, queries_shape: tuple[int | None, ...], memory_shape: tuple[int | None, ...]) -> None:
        """Creates the weights of additive attention."""
        of_query, of_memory = int(queries_shape[-1] or 0), int(memory_shape[-1] or 0)
        if self.score == "dot":
            if of_query != of_memory:
                raise ArgumentError(
                    f"score='dot' multiplies queries and memory, which must be of one width; got {of_query} and "
                    f"{of_memory}: take score='additive'"
                )
            return
        width = self.units or of_memory
        # A seed for each, or two matrices of one shape would begin as the same.
        seeds = [None] * 3 if self.seed is None else np.random.SeedSequence(self.seed).generate_state(3).tolist()
        glorot = keras.initializers.GlorotUniform
        self.query_kernel = self.add_weight(name="query_kernel", shape=(of_query, width), initializer=glorot(seeds[0]))
        self.memory_kernel = self.add_weight(
            name="memory_kernel", shape=(of_memory, width), initializer=glorot(seeds[1])
        )
        normal = keras.initializers.RandomNormal(stddev=1.0 / math.sqrt(width), seed=seeds[2])
        self.context = self.add_weight(name="context", shape=(width,), initializer=normal)

    def call(self, queries: Any, memory: Any) -> Any:
        """The weighted mean for every query."""
        return ops.matmul(ops.cast(self.attend(queries, memory), memory.dtype), memory)

    def attend(self, queries: Any, memory: Any) -> Any:
        """`[B, S, N]` the weights, in `float32` or wider; they sum to 1 over the steps of the memory."""
        if self.score == "dot":
            scores = ops.matmul(queries, ops.swapaxes(memory, 1, 2)) / math.sqrt(memory.shape[-1])
        else:
            query = ops.expand_dims(ops.matmul(queries, self.query_kernel), 2)  # [B, S, 1, W]
            key = ops.expand_dims(ops.matmul(memory, self.memory_kernel), 1)  # [B, 1, N, W]
            scores = ops.sum(ops.tanh(query + key) * self.context, axis=-1)
        # The shape is stated for TensorFlow's cost model, which loses it in compiled loops and says so on stderr.
        scores = ops.reshape(scores, (-1, ops.shape(queries)[1], ops.shape(memory)[1]))
        return ops.softmax(ops.cast(scores, keras.backend.result_type(scores.dtype, "float32")), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "score": self.score, "units": self.units, "seed": self.seed}
