# %% [markdown]
# # Recurrent cells: RNN, LSTM, GRU and their relatives
#
# A recurrent network reads a sequence step by step and carries a state along. Its **cell** is the formula for one
# step. This notebook writes the formulas down, shows them in code, and then makes visible why gates were invented:
# how much of the loss at the end can still be felt at the beginning. At last all cells forecast the same data,
# several times each, because with one seed the winner is luck.
#
# ## The equations
#
# $x_t$ is the input of a step, $h_t$ the state, $\sigma$ the logistic function, $\odot$ the product element by
# element.
#
# **RNN** (Elman 1990): the state is a squashed sum of the input and of the state before.
#
# $$h_t = \tanh(x_t W + h_{t-1} U + b)$$
#
# **LSTM** (Hochreiter and Schmidhuber 1997; with forget gate Gers et al. 2000): a second state, the cell $c_t$, is
# changed only by addition; gates say what is let in ($i$), kept ($f$) and shown ($o$).
#
# $$\begin{aligned}
# i_t, f_t, o_t &= \sigma(x_t W_{i,f,o} + h_{t-1} U_{i,f,o} + b_{i,f,o}) \\
# c_t &= f_t \odot c_{t-1} + i_t \odot \tanh(x_t W_c + h_{t-1} U_c + b_c) \\
# h_t &= o_t \odot \tanh(c_t)
# \end{aligned}$$
#
# **GRU** (Cho et al. 2014): one state, and a gate $z$ that mixes old and new; $r$ says how much of the old state the
# new one may look at.
#
# $$\begin{aligned}
# z_t, r_t &= \sigma(x_t W_{z,r} + h_{t-1} U_{z,r} + b_{z,r}) \\
# n_t &= \tanh(x_t W_n + r_t \odot (h_{t-1} U_n + d_n) + b_n) \\
# h_t &= z_t \odot h_{t-1} + (1 - z_t) \odot n_t
# \end{aligned}$$
#
# Their relatives change one thing each:
#
# | cell | what is different |
# |---|---|
# | `peephole_lstm` | the gates also look at $c$ |
# | `gru_reset_before` | $r$ is applied to $h_{t-1}$ before the product with $U_n$ (the paper's form) |
# | `mgu` | one gate takes the place of $z$ and $r$ |
# | `min_gru`, `min_lstm` | gates look at the input alone, so all steps can be computed at once |
# | `layer_norm_lstm`, `layer_norm_gru` | sums are normalised before they are squashed |
# | `slstm` | exponential gates, normalised by a state of their own |
#
# ## The cells in code
#
# A cell is a layer of Keras with two pure functions: `project`, what depends on the input alone, and `step`. This is
# all of the step of three of them:

# %%
import inspect

import forecast_kit as fk
from forecast_kit.nn.cells import CELLS, GRUCell, LSTMCell, make_cell
from forecast_kit.nn.recurrent import recurrent

for name in ("rnn", "lstm", "gru"):
    print(inspect.getsource(CELLS[name].step))

# %% [markdown]
# Is that the equation above? Twelve lines of NumPy, written from the formulas and nothing else, must give the same
# numbers.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import tensorflow as tf

pd.options.display.precision = 3


def sigmoid(a):
    return 1.0 / (1.0 + np.exp(-a))


def lstm_by_hand(x, W, U, b):
    """The state after the last step, from x [B, T, F]; columns of W, U, b are i, f, c, o."""
    h = c = np.zeros((len(x), len(U)))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    return h


def gru_by_hand(x, W, U, b, d):
    """The state after the last step, from x [B, T, F]; columns of W, U, b, d are z, r, n."""
    h = np.zeros((len(x), len(U)))
    for t in range(x.shape[1]):
        (xz, xr, xn), (hz, hr, hn) = np.split(x[:, t] @ W + b, 3, axis=1), np.split(h @ U + d, 3, axis=1)
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        h = z * h + (1 - z) * np.tanh(xn + r * hn)
    return h


rng = np.random.default_rng(0)
x = rng.normal(size=(4, 20, 3)).astype("float32")
for cell, by_hand in ((LSTMCell(8), lstm_by_hand), (GRUCell(8), gru_by_hand)):
    layer = recurrent(cell)
    result = np.asarray(layer(x))
    weights = [
        w for array in layer.get_weights() for w in (array if by_hand is gru_by_hand and len(array) == 2 else [array])
    ]
    error = np.abs(result - by_hand(x, *weights)).max()
    print(f"{type(cell).__name__}: largest difference to the equations {error:.1e}")
    assert error < 1e-5

# %% [markdown]
# `recurrent(cell)` makes a layer of any cell, on the fastest path that the device has. Weights lie as Keras has them,
# so `keras.layers.LSTM(8).set_weights(layer.get_weights())` would give the same numbers once more.
#
# ## Why gates help
#
# To learn that something early matters, a network must feel it in the gradient: the output at the end, differentiated
# by the state (or input) many steps before. For the RNN that derivative is a product of one matrix for each step,
#
# $$\frac{\partial h_T}{\partial h_{T-k}} = \prod_{j=0}^{k-1} U^\top \operatorname{diag}(1 - h_{T-j}^2),$$
#
# and such a product goes to nought, or grows, exponentially with $k$. The LSTM has a way around the product: along
# $c$ it is $\prod_j f_{T-j}$, and a gate that stays open is a factor near one. The same holds for $z$ of the GRU.
#
# But is a gate open? A new one is not: with biases of zero it passes on about one half, and $0.5^{50}$ is nought too.
# What to begin with is known (Tallec and Ollivier 2018): for memories of up to $T$ steps, forget gates with biases
# $\log u,\ u \sim U(1, T - 1)$.
#
# A task that needs memory: fifty steps of two numbers, noise and a mark. One of the first ten steps is marked, and
# its number is to be told after the last one. Everything later is to be ignored, which needs a gate: an RNN treats
# all inputs alike.

# %%
T, UNITS = 50, 24


def sequences(count, seed):
    draws = np.random.default_rng(seed)
    x = np.zeros((count, T, 2), "float32")
    x[:, :, 0] = draws.uniform(-1, 1, (count, T))
    each, marked = np.arange(count), draws.integers(0, 10, count)
    x[each, marked, 1] = 1.0
    return x, x[each, marked, 0]


def open_gates(layer, cell):
    """Forget gates that begin open, for memories of up to T steps."""
    weights = layer.get_weights()
    keep = np.log(np.random.default_rng(0).uniform(1, T - 1, UNITS))
    if cell == "lstm":  # i, f, c, o: what is kept is not overwritten
        weights[2][:UNITS], weights[2][UNITS : 2 * UNITS] = -keep, keep
    else:  # z, r, n
        weights[2][0, :UNITS] = keep
    layer.set_weights(weights)


def regressor(cell, *, opened):
    keras.utils.set_random_seed(3)
    inputs, layer = keras.Input((T, 2)), recurrent(make_cell(cell, UNITS))
    model = keras.Model(inputs, keras.layers.Dense(1)(layer(inputs)))
    if opened:
        open_gates(layer, cell)
    model.compile(keras.optimizers.Adam(0.01, clipnorm=1.0), "mse")
    return model


def gradient_by_lag(model, x):
    """[T] the mean norm of the output's gradient by each input, the last step first, its own being 1."""
    inputs = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = model(inputs)
    norm = np.linalg.norm(tape.gradient(output, inputs).numpy(), axis=-1).mean(axis=0)[::-1]
    return norm / norm[0]


x_train, y_train = sequences(4096, 1)
x_test, y_test = sequences(512, 2)
cells = {
    "RNN": ("rnn", False), "LSTM": ("lstm", False), "GRU": ("gru", False), "LSTM, opened": ("lstm", True),
    "GRU, opened": ("gru", True),
}  # fmt: skip
before, after, error = {}, {}, {"(always the mean)": float(np.mean((y_test - y_train.mean()) ** 2))}
for name, (cell, opened) in cells.items():
    model = regressor(cell, opened=opened)
    before[name] = gradient_by_lag(model, x_test)
    model.fit(x_train, y_train, batch_size=64, epochs=8, verbose=0)
    after[name] = gradient_by_lag(model, x_test)
    error[name] = model.evaluate(x_test, y_test, verbose=0)
pd.Series(error, name="mean squared error on new sequences").to_frame()

# %%
pens = [("#D55E00", "-"), ("#56B4E9", ":"), ("#009E73", ":"), ("#0072B2", "--"), ("#009E73", "-.")]
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharey=True)
for axis, norms, title in ((axes[0], before, "before training"), (axes[1], after, "after training")):
    for name, (color, line) in zip(cells, pens, strict=True):
        axis.semilogy(np.maximum(norms[name], 1e-14), color=color, ls=line, lw=2, label=name)
    axis.axvspan(T - 10, T - 1, color="0.93", zorder=0)
    axis.set(title=title, xlabel="lag: steps before the end (grey: where the marked step is)")
axes[0].set_ylabel("norm of the gradient by the input,\nin units of the last step's")
axes[1].legend(frameon=False)
figure.suptitle("Gates that begin open keep the marked step in reach, and training turns to it")
plt.show()

# %% [markdown]
# Before training the gated cells as they are made have it worst: their lines fall straight on a logarithmic scale,
# and after fifty steps next to nothing is left to learn from. The RNN does better than its reputation, because its
# matrix begins orthogonal and turns the state without shrinking it. But it cannot do what the task asks: hold one
# number while others come in. Open gates hold the line up too, and they can close the door: after training the
# gradient is largest where the marked number is.

# %%
solved = {name for name in cells if error[name] < 0.1 * error["(always the mean)"]}
print("solved by:", ", ".join(sorted(solved)))
assert solved == {"LSTM, opened", "GRU, opened"}

# %% [markdown]
# ## The same task for all: a leaderboard with seeds
#
# Now a forecast: patients of 150 products of a hospital, month by month, a year ahead. Each cell reads three years, a
# month at a step. Everything else is the same, and each cell is trained from three seeds; `fk.variations` makes them.

# %%
frame, schema = fk.load("hospital")
chosen = np.random.default_rng(5).choice(frame["unique_id"].unique(), 150, replace=False)
panel = fk.Panel.from_frame(frame[frame["unique_id"].isin(chosen)], schema)


def forecaster(cell):
    return fk.NeuralForecaster(
        fk.Recurrent(cell, units=24, hidden=32), horizon=12, input_length=36,
        training={"steps": 120, "learning_rate": 0.01, "relative_loss": True, "progress": "none"},
    )  # fmt: skip


models = {"naive": fk.SeasonalNaive(), "theta": fk.Theta()}
for cell in ("rnn", "lstm", "gru", "mgu", "min_gru"):
    models |= {
        f"{cell}/{k}": one for k, one in enumerate(fk.variations(forecaster(cell), training__seed=range(3)).values())
    }
result = fk.backtest(models, panel, fk.RollingOrigin(horizon=12))
board = result.leaderboard(baseline="naive")
board["cell"] = board["model"].str.split("/").str[0]
table = board.groupby("cell")[["mase", "skill", "fit_s"]].agg(
    {"mase": ["min", "mean", "max"], "skill": "mean", "fit_s": "mean"}
)
table.sort_values(("mase", "mean"))

# %%
spread = table["mase"]
networks = spread.drop(index=["naive", "theta"])
seeds, cells = (networks["max"] - networks["min"]).mean(), networks["mean"].max() - networks["mean"].min()
print(f"MASE differs by {seeds:.3f} from seed to seed of a cell, and by {cells:.3f} from the best cell to the worst")

# %% [markdown]
# How far the seeds of one cell lie apart is the yardstick for the distance between cells. Where the ranges from `min`
# to `max` overlap the order is luck, and a table with one seed each would have crowned somebody all the same. And
# look where Theta stands, a statistical method without a single weight to train: on short series of counts a small
# network has little to find that it does not. The cell is rarely what makes a forecast good. What it sees, and what
# it is compared with, matter more; gates earn their keep where the memory has to be long, as above.
#
# ## What you saw, and where next
#
# - The cells are their equations: NumPy, written down from the formulas, gives the same numbers.
# - Gradients through time vanish in a cell as it is made. Gates help when they are open, and that can be chosen at
#   the start.
# - Differences between cells must be held against the differences between seeds.
# - A cell of your own in forty lines: **09_bring_your_own**. Cells that name classes: **05_classification**.
