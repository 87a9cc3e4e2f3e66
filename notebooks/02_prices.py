# %% [markdown]
# # Prices: the plot that looks superb
#
# There is a recipe for share prices that has been copied a thousand times: scale the closing prices to 0..1, cut
# windows of ten days, train an LSTM of 50 units to name the next day, draw prediction over truth. The two lines lie
# upon each other and the reader concludes that the network can forecast the market. This notebook follows the recipe
# to its plot, then asks two questions that it leaves out: what did the network know, and what would a child have
# forecast? At the end stands what can be forecast of a price, and what cannot.
#
# ## The recipe
#
# Daily closing prices of four shares from 2000 to March 2013, adjusted for splits. A holiday is no gap in a price, so
# trading days are numbered, backwards from the last one, instead of dated. There is no season either: an error of 1
# in MASE is the mean step from one day to the next.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import forecast_kit as fk

pd.options.display.precision = 4
frame, _ = fk.load("stocks_daily")
frame = frame[frame["unique_id"] != "FB"].sort_values(["unique_id", "ds"], ignore_index=True)  # FB had just begun
frame["day"] = -frame.groupby("unique_id").cumcount(ascending=False)
dates = frame[frame["unique_id"] == "AAPL"].set_index("day")["ds"]
shares = fk.Panel.from_frame(frame, freq=1, time_col="day", target_col="adj_close")
apple = shares.take(["AAPL"])
apple

# %% [markdown]
# In Keras the network is two lines, `LSTM(50)` and `Dense(1)`, trained on the squared error. Here it is the same
# network as a forecaster, so that it can be put beside others on the same days. Min-max scaling comes in two kinds.
# The tutorials call `fit_transform` on the whole column, test part and all, before anything is split: that is
# `MinMaxOfEverything`, a transform of our own that is simply told the extremes. `"minmax"` is the library's, which
# sees what lies before a cutoff.

# %%
from forecast_kit.data.stages import Stage


class MinMaxOfEverything(Stage):
    """Prices between 0 and 1, by a minimum and a maximum that somebody looked up beforehand."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def _forward(self, panel):
        return (panel.y - self.low) / (self.high - self.low), panel.observed

    def _backward(self, values, history):
        return self.low + values * (self.high - self.low)


def recipe(scaling, steps=1500):
    """The tutorials' network: ten days in, an LSTM of 50 units, one day out."""
    network = fk.Recurrent("lstm", units=50, hidden=0, lookback=False, normalize="none")
    return fk.NeuralForecaster(
        network, horizon=1, input_length=10, head={"head": "point", "loss": "mse"}, transform=scaling,
        training={"steps": steps, "batch_size": 32, "learning_rate": 0.01, "progress": "none"},
    )  # fmt: skip


def peeking(panel, steps=1500):
    return recipe(MinMaxOfEverything(panel.y.min(), panel.y.max()), steps)


# %% [markdown]
# Two hundred days are forecast, every third one of the last two years and a bit, each from the days right before it.
# `refit=None` trains once, on what lies before the first of them, as the recipe does.

# %%
days = fk.RollingOrigin(horizon=1, folds=200, step=3)
models = {"recipe": peeking(apple), "minmax of the past": recipe("minmax"), "naive": fk.Naive()}
classic = fk.backtest(models, apple, days, refit=None)

wide = classic.frame.pivot_table(index="ds", columns="model", values="mean").assign(
    actual=classic.frame.groupby("ds")["y"].first()
)
wide.index = wide.index.map(dates)
figure, axis = plt.subplots(figsize=(9, 3.4), layout="constrained")
axis.plot(wide.index, wide["actual"], color="0.3", label="actual")
axis.plot(wide.index, wide["recipe"], color="#0072B2", ls="--", label="the recipe's LSTM, one day ahead")
axis.set(title="The recipe follows Apple's price through every turn", ylabel="adjusted close, USD", xlabel="day")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# Superb, perhaps a little low at the top. A correlation between prediction and truth is usually printed next:

# %%
r = wide["actual"].corr(wide["recipe"])
print(f"correlation of forecast and price: {r:.3f}")
assert r > 0.9

# %% [markdown]
# ## What would a child have forecast?
#
# "Tomorrow costs what today costs." That is `fk.Naive`, it has no parameter, and it was in the same backtest.

# %%
board = classic.leaderboard(baseline="naive")
board[["rank", "model", "mase", "mae", "rmse", "skill", "p_baseline"]]

# %%
scores = board.set_index("model")["mase"]
assert scores["naive"] == scores.min(), "on this stretch of prices the naive forecast should lead"
print(f"the recipe errs {scores['recipe'] / scores['naive'] - 1:.0%} more than the naive forecast")

# %% [markdown]
# Nothing beats the naive forecast, and the plot could not show it, because the naive forecast makes the very same
# plot. What the network has learned is to repeat, roughly, the days before. This can be seen: correlate its forecasts
# not only with the price of the day that they are for, but also with the prices some days earlier and later.

# %%
daily = pd.Series(apple.y, dates)
shifts = range(-4, 5)
missed = {
    name: [100 * (1 - wide[name].corr(daily.shift(-k).reindex(wide.index)) ** 2) for k in shifts]
    for name in ("recipe", "naive")
}
figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
axis.plot(shifts, missed["recipe"], color="#0072B2", marker="o", label="the recipe's LSTM")
axis.plot(shifts, missed["naive"], color="#D55E00", marker="s", ls="--", label="naive")
axis.set(
    title="Both forecasts go best with a price of the past: they are copies of it, too late",
    xlabel="compared with the price so many days after the day forecast (-1: the day before it)",
    ylabel="variance not explained, %", ylim=(0, None), xticks=list(shifts),
)  # fmt: skip
axis.legend(frameon=False)
plt.show()
assert shifts[int(np.argmin(missed["recipe"]))] < 0

# %% [markdown]
# ## What did the network know?
#
# The scaler had seen the highest price of all years, also the ones to come. `fk.find_leaks` finds such a thing
# without reading code: it replaces everything after the cutoff by noise, builds the forecaster again, and looks
# whether the forecast changes. It must not.

# %%
for name, build in {"recipe": lambda p: peeking(p, 50), "minmax of the past": lambda p: recipe("minmax", 50)}.items():
    leaks = fk.find_leaks(build, apple, days)
    print(f"{name:<20}", "no leak" if leaks.empty else f"LEAK: forecasts move by up to {leaks['change'].max():.2f} USD")

# %% [markdown]
# And what did it gain? Apple went on to prices that it had never had. Scaled by the past they lie far above 1, where
# the network has seen nothing: `tanh` and the gates flatten out, and its forecasts stay too low on exactly these
# days. The peeking scaler squeezes those prices into 0..1, where less of them is missed, and so hides how badly the
# network leaves the range that it knows. A job that runs tomorrow has no such scaler: what the tutorials report is
# not what they would get.

# %%
top = apple.before(days.fold(apple, 1).history.last).y.max()
errors = wide[["recipe", "minmax of the past", "naive"]].sub(wide["actual"], axis=0)
high = errors[wide["actual"] > top].mean()
high.to_frame("mean error (forecast - price) above all past prices, USD")

# %%
figure, axis = plt.subplots(figsize=(9, 3.4), layout="constrained")
axis.axhline(top, color="0.6", lw=1, ls=":", label="highest price when it was trained")
axis.plot(wide.index, errors["recipe"] + wide["actual"], color="#0072B2", lw=1, label="scaled by everything")
axis.plot(
    wide.index, errors["minmax of the past"] + wide["actual"], color="#D55E00", ls="--", label="scaled by the past"
)
axis.plot(wide.index, wide["actual"], color="0.3", lw=1, label="actual")
axis.set(title="Without the leak the same network stays further below the new prices", ylabel="USD", xlabel="day")
axis.legend(frameon=False, ncols=2)
plt.show()
assert high["minmax of the past"] < high["recipe"] < high["naive"]

# %% [markdown]
# ## The right question, asked rightly
#
# Prices wander, so a level that was learned is worth nothing. Changes in per cent do not wander: take the logarithm,
# then the difference of one day. In forecast_kit that is a pipeline which is undone on the way back, quantiles and
# all, so the scores below are still in dollars. One network learns from four shares, and the significance test is
# over all their days.

# %%
returns = fk.NeuralForecaster(
    fk.Recurrent("lstm", units=16, hidden=0, lookback=False, normalize="none"), horizon=1, input_length=20,
    transform=[{"stage": "boxcox", "lam": 0.0}, "difference", "standard"],
    training={"steps": 200, "progress": "none"},
)  # fmt: skip
right = fk.backtest({"naive": fk.Naive(), "drift": fk.Drift(), "lstm": returns}, shares, days, refit=None)
board = right.leaderboard(baseline="naive", metric="mase")
board[["rank", "model", "mase", "mae", "skill", "p_best", "p_baseline"]]

# %% [markdown]
# The disaster is gone: no forecast is stuck in the past, and the error is the naive forecast's to about a per cent.
# But no more than that. Diebold and Mariano's test asks it day by day, for each share:

# %%
from forecast_kit.evaluation.comparison import diebold_mariano

loss = right.frame.assign(loss=(right.frame["y"] - right.frame["mean"]).abs())
by_model = {
    name: rows.pivot_table(index="unique_id", columns="ds", values="loss") for name, rows in loss.groupby("model")
}
test = diebold_mariano(by_model["lstm"].to_numpy(), by_model["naive"].to_numpy())
pd.DataFrame({"LSTM - naive, USD": test.difference, "p": test.p_value, "days": test.count}, by_model["lstm"].index)

# %%
gain = board.set_index("model").loc["lstm", "skill"]
better = (test.p_value < 0.05 / len(test.p_value)) & (test.difference < 0)
print(f"skill of the LSTM over the naive forecast: {gain:+.1%}; shares where it is better beyond luck: {better.sum()}")
assert gain < 0.02
assert not better.any()

# %% [markdown]
# That is the honest end of the story for tomorrow's price: **the naive forecast is not beaten**, neither by the
# recipe nor by a better one. If yesterday's prices told where tomorrow's go, somebody would have bought already.
#
# ## What can be forecast
#
# How far a price will move is another matter. Calm days follow calm days. The autocorrelation of returns is nearly
# nought; that of their size is not, for months.

# %%
change = 100 * np.log(frame["adj_close"]).groupby(frame["unique_id"]).diff()
moves = frame.assign(change=change, size=change.abs())[["unique_id", "day", "change", "size"]].dropna()
lags = range(1, 41)
figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
for column, color, marker, label in (
    ("change", "#D55E00", "s", "daily change"), ("size", "#0072B2", "o", "size of the daily change"),
):  # fmt: skip
    memory = [np.mean([part[column].autocorr(k) for _, part in moves.groupby("unique_id")]) for k in lags]
    axis.plot(lags, memory, color=color, marker=marker, ms=4, label=label)
axis.axhline(0, color="0.6", lw=1)
axis.set(
    title="Changes forget at once, their size remembers for months", xlabel="lag, trading days",
    ylabel="autocorrelation,\nmean of four shares",
)  # fmt: skip
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# So let the size be the target, in per cent. The baseline is the average of all days before.

# %%
sizes = fk.Panel.from_frame(moves, freq=1, time_col="day", target_col="size")
contenders = {
    "average of all days": fk.HistoricAverage(),
    "yesterday": fk.Naive(),
    "last 20 days": fk.WindowAverage(20),
    "exponential smoothing": fk.SES(),
    "gru": fk.NeuralForecaster(
        fk.Recurrent("gru", units=16, hidden=0, lookback=False, normalize="mean"), horizon=1, input_length=40,
        head={"head": "point", "loss": "mse"}, training={"steps": 200, "relative_loss": True, "progress": "none"},
    ),
}  # fmt: skip
volatility = fk.backtest(contenders, sizes, fk.RollingOrigin(horizon=1, folds=120, step=5), refit=None)
board = volatility.leaderboard(baseline="average of all days", metric="rmse")
board[["rank", "model", "rmse", "mae", "skill", "p_baseline"]]

# %%
skill = board.set_index("model")["skill"]
print(f"best: {skill.idxmax()}, {skill.max():.0%} below the error of the long average")
assert skill.max() > 0.05
assert board["p_baseline"].iloc[0] < 0.01

# %% [markdown]
# Here there is something to be had, beyond all doubt of a test, and the simple methods take most of it. It is worth
# money, too: an interval around tomorrow's price is as wide as the size of the moves to come.
#
# ## What you saw, and where next
#
# - A plot of one-step forecasts over prices proves nothing: the naive forecast makes the same one. Ask for MASE
#   beside `Naive`, and for a test.
# - A scaler fitted on everything leaks, and hides that a network cannot leave the range it was trained in. Transforms
#   that belong to the forecaster are fitted before each cutoff; `fk.find_leaks` finds the ones that are not.
# - On daily prices the naive forecast is not beaten. Volatility can be forecast.
# - Where covariates really help, and intervals are checked: **03_panel_with_covariates**. What the cells do inside:
#   **04_cells**.
