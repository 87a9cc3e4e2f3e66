# %% [markdown]
# # Quick start: one series
#
# Five minutes from a table of numbers to a forecast that you can defend. The series is a classic: international
# airline passengers, month by month. You will make a panel of it, ask two simple methods how hard it is, let a
# recurrent network compete with them on the same months, and end with a forecast that says how sure it is, on disk,
# ready to be loaded elsewhere.
#
# ## The data
#
# A **frame** has one row for each series and time stamp. A **schema** says what the columns mean; here there is
# little to say, because the columns have the usual names.

# %%
import tempfile
from pathlib import Path

import pandas as pd

import forecast_kit as fk

pd.options.display.precision = 3

frame, schema = fk.load("air_passengers")
frame.tail(3)

# %% [markdown]
# A **panel** is a frame that has been checked: no month is missing or there twice, every number is finite, and the
# frequency is stated. With a frame of your own you would write `fk.Panel.from_frame(frame, freq="MS")`, where `MS` is
# pandas' word for "month start". A flaw in the data is refused here, with the series and the dates that have it, and
# not somewhere in the middle of a training.

# %%
panel = fk.Panel.from_frame(frame, schema)
panel

# %% [markdown]
# The last year is put aside. Nothing below learns from it; it is there for the last picture.

# %%
train, test = panel.split(horizon=12)
print("to learn from:", train)
print("to look at once:", test)

# %% [markdown]
# ## What must be beaten
#
# A forecast is good or bad only beside another one. The first is free: *next July is like last July*
# (`SeasonalNaive`). The second is a page of arithmetic from the sixties, exponential smoothing (`ETS`), which is hard
# to beat on a series like this. The third is a recurrent network, a GRU.
#
# `fk.backtest` fits each of them anew at several **cutoffs** and forecasts the twelve months after each. Nobody sees
# beyond a cutoff: scalers, seasons and weights are learned from what lies before it.

# %%
models = {
    "naive": fk.SeasonalNaive(),
    "ets": fk.ETS(error="mul", trend="add", seasonal="mul"),
    "gru": fk.NeuralForecaster(
        "gru", horizon=12, transform=["log1p", "standard"], training={"steps": 400, "progress": "none"}
    ),
}
folds = fk.RollingOrigin(horizon=12, folds=3)
fk.plot_folds(train, folds)

# %%
result = fk.backtest(models, train, folds, levels=(0.1, 0.9))
board = result.leaderboard(baseline="naive")
board[["rank", "model", "mase", "smape", "skill", "coverage", "p_baseline", "fit_s"]]

# %% [markdown]
# How to read a row:
#
# - **mase** is the mean absolute error in units of what repeating last year cost on the training part. Below 1 is
#   better than that.
# - **skill** is the share of the naive forecast's error that is gone. The naive forecast itself has none.
# - **coverage** is the share of months that came to lie between the lowest and the highest level, here 10 % and 90 %:
#   0.8 is what was promised.
# - **p_baseline** is how likely such a difference to the naive forecast is by luck alone. One series and three folds
#   can prove little, and the number says so; with hundreds of series (notebook 06) it gets teeth.

# %%
best = board["model"].iloc[0]
print(f"best in this backtest: {best}, with {board['skill'].iloc[0]:.0%} less error than the naive forecast")
assert best == "gru"

# %% [markdown]
# Where the errors are: month by month ahead, and fold by fold.

# %%
fk.plot_error_by_step(result.frame)

# %%
fk.plot_backtest(result.frame, "air_passengers", model=best)

# %% [markdown]
# ## The forecast
#
# Look at `coverage` in the table once more. The network was promised to be outside its interval one month in five,
# and is outside much more often: it has seen a single short series so often that it knows it by heart, and takes its
# own errors for smaller than they are. That is common, and it is why coverage stands in the table.
#
# `fk.Conformal` mends it. It lets the forecaster forecast a few past years inside the training part, measures how
# wrong it was, and makes intervals of that. The point forecast stays as it is.

# %%
winner = fk.Conformal(models[best], folds=4, horizon=12).fit(train)
forecast = winner.predict(levels=(0.1, 0.5, 0.9))
forecast.to_frame().head(3)

# %%
figure = fk.plot_forecast(forecast, train, actuals=test)
figure.axes[0].set_title("The year that was put aside lies in the calibrated interval, mostly", loc="left")
figure.axes[0].set_ylabel("passengers, thousands")
figure

# %% [markdown]
# Now the year that was put aside may be looked at. `fk.judge` scores any frame of forecasts as a backtest does, also
# ones that another program made. Beside each other: the forecaster's own interval, and the calibrated one.

# %%
own = winner.base_.predict(12, levels=(0.1, 0.5, 0.9)).to_frame().assign(model=f"{best} alone")
verdict = fk.judge(pd.concat([own, forecast.to_frame()]), panel)
verdict.summary(["mase", "smape", "coverage", "width"])

# %%
coverage = verdict.summary(["coverage"])["coverage"]
assert coverage.iloc[1] > coverage.iloc[0], "calibration should have widened the interval"

# %% [markdown]
# ## Keep it
#
# A saved forecaster is a folder of JSON and arrays, no pickle. With `history=True` it holds the months that a
# forecast needs, so that whoever loads it can forecast at once. When new months come in, `update` moves it on to
# their end without learning anything again.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "passengers"
    winner.save(path, history=True)
    print(sorted(file.name for file in path.iterdir()))
    again = fk.Forecaster.load(path)

same = again.predict().to_frame()["mean"]
assert (same - forecast.to_frame()["mean"]).abs().max() < 1e-3
again.update(panel).predict(levels=(0.1, 0.9)).to_frame().head(3)

# %% [markdown]
# ## What you saw, and where next
#
# Frame, panel, backtest, forecast, folder: these five steps are the same for one series and for ten thousand, for a
# naive forecast and for a network.
#
# - A series of prices, and the mistake that nearly everybody makes with it: **02_prices**.
# - Weather, holidays and intervals that hold what they promise: **03_panel_with_covariates**.
# - Hundreds of series and the question whether a difference is luck: **06_m4**.
# - A job that does all this every night: **08_nightly_job**.
