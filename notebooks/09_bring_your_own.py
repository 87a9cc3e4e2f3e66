# %% [markdown]
# # Bring your own cell, network or metric
#
# A library's list of models ends where your idea begins. This notebook adds three things that forecast_kit does not
# have, a recurrent cell, a network and a metric, each in well under forty lines, and puts them where the built-in
# ones are: into a backtest, onto the leaderboard, and into a saved folder that loads again.
#
# The data: 60 hourly series of the M4 competition, a day to forecast.

# %%
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

import forecast_kit as fk
from forecast_kit.evaluation.scoring import METRICS, Metric
from forecast_kit.nn.cells import CELLS, Cell
from forecast_kit.nn.networks import NETWORKS, Network

pd.options.display.precision = 3
frame, schema = fk.load("m4_hourly")
chosen = np.random.default_rng(2).choice(frame["unique_id"].unique(), 60, replace=False)
panel = fk.Panel.from_frame(frame[frame["unique_id"].isin(chosen)], schema)
panel

# %% [markdown]
# ## A cell
#
# A leaky integrator: each unit has a pace of its own, learned, at which it gives up its old state.
#
# $$a = \sigma(\lambda), \qquad h_t = (1 - a) \odot h_{t-1} + a \odot \tanh(x_t W + h_{t-1} U + b)$$
#
# A cell says which weights it has (`build`) and what one step is (`step`), a pure function of tensors. The projection
# $x_t W + b$ of all steps at once is done before, and arrives as `p`. That is all: the fast path, stacking, dropout
# between steps and saving come from the base class.

# %%
import keras
from keras import ops


@keras.saving.register_keras_serializable("notebook")
class LeakyCell(Cell):
    """h' = (1 - a) h + a tanh(x W + h U + b), with a = sigmoid(leak), one for each unit."""

    def build(self, input_shape):
        u = self.units
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], u), initializer=self.kernel_initializer)
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel", shape=(u, u), initializer=self.recurrent_initializer
        )
        self.bias = self.add_weight(name="bias", shape=(u,), initializer="zeros")
        self.leak = self.add_weight(name="leak", shape=(u,), initializer="zeros")

    def step(self, p, states, w):
        (h,) = states
        a = ops.sigmoid(w["leak"])
        h = (1.0 - a) * h + a * ops.tanh(p + ops.matmul(h, w["recurrent_kernel"]))
        return h, (h,)


CELLS["leaky"] = LeakyCell

# %% [markdown]
# From now on `cell: leaky` is a name like any other. Before trusting it: does the layer do what the formula says?
# NumPy tells.

# %%
from forecast_kit.nn.recurrent import recurrent

x = np.random.default_rng(0).normal(size=(2, 12, 3)).astype("float32")
layer = recurrent(LeakyCell(4))
found = np.asarray(layer(x))
W, U, b, leak = layer.get_weights()
a, h = 1 / (1 + np.exp(-leak)), np.zeros((2, 4))
for t in range(x.shape[1]):
    h = (1 - a) * h + a * np.tanh(x[:, t] @ W + h @ U + b)
print(f"largest difference to the formula: {np.abs(found - h).max():.1e}")
assert np.allclose(found, h, atol=1e-6)

# %% [markdown]
# ## A network
#
# Not everything is recurrent. DLinear (Zeng et al. 2023) splits the window into a moving average and the rest and
# forecasts each with one linear map. A network is a frozen dataclass: its fields are its arguments, and `connect`
# goes from the window, already shifted and scaled, to `width` raw numbers for each step ahead. What these mean is the
# head's business: quantiles, a Student's t, a point. The second thing it returns is a state, from which the look back
# at past seasons takes its weights.

# %%
from keras import layers


@dataclass(frozen=True, kw_only=True)
class DLinear(Network):
    """Two linear maps: one of the window's moving average, one of what is left."""

    kind: ClassVar[str] = "dlinear"
    smooth: int = 25  # steps of the moving average

    @property
    def title(self):
        return "DLinear"

    def connect(self, window, width, seeds):
        horizon = window.shapes.horizon
        y = ops.expand_dims(window.y, -1)  # [B, T, 1]
        trend = layers.AveragePooling1D(self.smooth, strides=1, padding="same", data_format="channels_last")(y)
        parts = [layers.Flatten()(trend), layers.Flatten()(y - trend)]
        maps = [layers.Dense(horizon * width, kernel_initializer=seeds.next("small"))(part) for part in parts]
        return layers.Reshape((horizon, width))(maps[0] + maps[1]), layers.Concatenate()(parts)


NETWORKS["dlinear"] = DLinear

# %% [markdown]
# ## A metric
#
# A grid operator pays for the peak of the day, not for the mean error. How far is the highest value of the forecast
# from the highest that came? A metric is a function of rows, `[N, H]` actuals and forecasts, to `[N]` scores, and a
# line on how to read it. Steps that were not observed must not count: here they are as low as can be.

# %%


def peak_error(rows):
    """[N] the error of the highest value of the horizon, in per cent of it; NaN where nothing was observed."""
    actual = np.where(rows.observed, rows.y, -np.inf).max(axis=1)
    forecast = np.where(rows.observed, rows.mean, -np.inf).max(axis=1)
    usable = np.isfinite(actual) & (actual > 0)
    error = np.full(len(actual), np.nan)
    error[usable] = 100 * np.abs(forecast[usable] - actual[usable]) / actual[usable]
    return error


METRICS["peak_error"] = Metric(peak_error, title="error of the day's peak", unit="%")

# %% [markdown]
# ## All three beside the built-in ones

# %%
training = {"steps": 250, "relative_loss": True, "progress": "none"}
common = {"horizon": 24, "input_length": 168, "training": training}
models = {
    "seasonal naive": fk.SeasonalNaive(),
    "gru": fk.NeuralForecaster({"cell": "gru", "units": 32, "segment": 24}, **common),
    "leaky (ours)": fk.NeuralForecaster({"cell": "leaky", "units": 32, "segment": 24}, **common),
    "dlinear (ours)": fk.NeuralForecaster({"network": "dlinear"}, **common),
    "dlinear, student_t": fk.NeuralForecaster({"network": "dlinear", "smooth": 49}, head="student_t", **common),
}
result = fk.backtest(models, panel, fk.RollingOrigin(horizon=24, folds=2), levels=(0.1, 0.9), refit=None)
board = result.leaderboard(baseline="seasonal naive", metric="peak_error")
board[["rank", "model", "peak_error", "skill", "p_baseline", "mase", "coverage"]]

# %% [markdown]
# The metric ranks, has a skill and a significance test, as any other. It also draws:

# %%
sizes = pd.Series({name: y.mean() for name, y in panel.series})
groups = pd.qcut(sizes, 3, labels=["small series", "middle", "large series"]).astype(str).to_dict()
fk.plot_heatmap(result.scores, "peak_error", by=groups)

# %%
assert set(board["model"]) == set(models)
assert board["peak_error"].notna().all()
ours = board.set_index("model")
print(
    "beats the seasonal naive forecast in MASE:",
    [
        name
        for name in ("leaky (ours)", "dlinear (ours)")
        if ours.loc[name, "mase"] < ours.loc["seasonal naive", "mase"]
    ],
)

# %% [markdown]
# ## Saved and loaded
#
# The folder names the cell and the network and holds arrays; it holds no code. So a process that loads it must know
# the names: put the class into a module of your own and import it first, in a service or a job as well.

# %%
train, test = panel.split(horizon=24)
with tempfile.TemporaryDirectory() as folder:
    for name in ("leaky (ours)", "dlinear (ours)"):
        model = models[name].fit(train)
        model.save(Path(folder) / name, history=True)
        again = fk.Forecaster.load(Path(folder) / name)
        difference = np.abs(again.predict().mean - model.predict().mean).max()
        print(f"{name}: {type(again).__name__} of {again.parameter_count} weights, largest difference {difference:.1e}")
        assert difference < 1e-3 * np.abs(model.predict().mean).max()

# %% [markdown]
# ## What you saw, and where next
#
# - A cell is `build` and `step`; a network is a dataclass with `connect`; a metric is a function and a line.
# - Registered in `CELLS`, `NETWORKS` and `METRICS` they work by name, as the built-in ones do. A process that loads a
#   model of yours imports the module that holds them first; a job's file names it under `imports`.
# - Check a new cell against its formula before believing its score.
# - The formulas of the built-in cells: **04_cells**. The job: **08_nightly_job**.
