# %% [markdown]
# # Covariates and honest intervals: bicycles by the hour
#
# How many bicycles will be rented in each hour of tomorrow? The answer hangs on the hour, the day of the week, the
# holiday and the rain. This notebook gives a network one kind of knowledge after the other and measures what each is
# worth, then looks at the other half of a forecast: how sure it is, and whether it is as sure as it says.
#
# ## The data
#
# Hourly rentals in Washington, D.C., over two years, with the weather and the calendar. A schema tells the roles of
# columns. `future` are covariates that are known ahead of time: a calendar is, and the weather is to the extent that
# its forecast can be trusted. Here the weather that came is used in the forecast's place. That flatters a little, and
# it should be said.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd

import forecast_kit as fk

pd.options.display.precision = 3
frame, schema = fk.load("bike_sharing_hourly")
frame[["ds", "y", "temp", "hum", "windspeed", "weather", "holiday", "workingday"]].head(3)

# %% [markdown]
# Four schemas over the same frame, each knowing more than the one before. `calendar` features are computed from the
# time stamps; `weather` is text (clear, mist, rain) and named as categorical.

# %%
HOURS = ("hour", "weekday")
DAYS = ("holiday", "workingday")
WEATHER = ("temp", "hum", "windspeed", "weather")
known = {
    "rentals alone": replace(schema, future=()),
    "+ hour, weekday": replace(schema, future=(), calendar=HOURS),
    "+ holidays": replace(schema, future=DAYS, calendar=HOURS),
    "+ weather": replace(schema, future=(*DAYS, *WEATHER), calendar=HOURS, categorical=("weather",)),
}
panels = {name: fk.Panel.from_frame(frame, one) for name, one in known.items()}
panels["+ weather"]

# %% [markdown]
# ## What each covariate brings
#
# The same GRU each time: it reads two weeks, a day at a step, and gives seven quantiles of each hour of tomorrow. It
# is trained once, on what lies before November 2012, and then forecasts sixty days, each at midnight. Two naive
# forecasts stand beside it: yesterday again, and last week again.

# %%
network = {"network": "gru", "units": 48, "segment": 24}
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def gru():
    return fk.NeuralForecaster(
        network, horizon=24, input_length=336, levels=LEVELS,
        training={"steps": 350, "batch_size": 64, "step_weights": None, "progress": "none"},
    )  # fmt: skip


days = fk.RollingOrigin(horizon=24, folds=60)
naive = {"yesterday": fk.SeasonalNaive(), "last week": fk.SeasonalNaive(season_length=168)}
parts = [fk.backtest(naive, panels["rentals alone"], days, levels=LEVELS, refit=None)]
parts += [fk.backtest({name: gru()}, panel, days, levels=LEVELS, refit=None) for name, panel in panels.items()]

# %% [markdown]
# The four networks saw different panels, so there are several backtests. `join` makes one of them, with one
# leaderboard and one test: every day is a pair of errors.

# %%
together = parts[0].join(*parts[1:])
board = together.leaderboard(baseline="last week")
board[["rank", "model", "mase", "mae", "wql", "skill", "p_best", "p_baseline"]]

# %%
score = board.set_index("model")["mase"]
order = [*naive, *known]
figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
bars = axis.barh(order, score[order], color=["#b4b4b4"] * 2 + ["#0072B2"] * 4)
axis.bar_label(bars, fmt="%.2f", padding=3)
axis.invert_yaxis()
axis.margins(x=0.1)
axis.set(title="Every kind of knowledge lowers the error; the weather most visibly", xlabel="MASE, 60 days of 24 hours")
plt.show()
assert score["+ weather"] == score.min()
assert score["+ weather"] < score["rentals alone"]

# %% [markdown]
# An average over sixty days hides where a covariate works. Below are the mean absolute errors by kind of day. What
# the weather brings, it brings above all in the rain. Holidays are the hardest days for everybody: these sixty days
# have three, and the two years of training some twenty. To be told of them helps, but nobody learns much from twenty
# examples.

# %%
calendar = frame.set_index("ds")[["holiday", "workingday", "weather"]]
rows = together.frame.join(calendar, on="ds").assign(error=lambda f: (f["y"] - f["mean"]).abs())
rows["kind of hour"] = "working day"
rows.loc[rows["workingday"] == 0, "kind of hour"] = "weekend"
rows.loc[rows["holiday"] == 1, "kind of hour"] = "holiday"
by_day = rows.pivot_table(index="model", columns="kind of hour", values="error").loc[order]
by_day["rain"] = rows[rows["weather"] == "rain"].groupby("model")["error"].mean()
assert by_day.loc["+ weather", "rain"] < 0.8 * by_day.loc["+ holidays", "rain"]
by_day

# %% [markdown]
# ## Is it as sure as it says?
#
# `levels` asked for quantiles. Between `q10` and `q90` eight hours in ten should come to lie. The reliability diagram
# asks this for every level: a point on the diagonal keeps its promise.

# %%
fk.plot_reliability(together.frame, models=["last week", "+ weather"])

# %% [markdown]
# Networks are often too sure: what they have not seen in training does not widen their intervals. `fk.Conformal`
# measures the errors on folds at the end of the training part, and moves each quantile until it holds there (`"cqr"`,
# conformalised quantile regression). The point forecast stays the network's.

# %%
calibrated = fk.Conformal(gru(), method="cqr", folds=4, step=168)
kept = fk.backtest({"calibrated": calibrated}, panels["+ weather"], days, levels=LEVELS, refit=None)

inside = pd.concat([parts[-1].frame, kept.frame]).assign(
    inside=lambda f: f["y"].between(f["q10"], f["q90"]), width=lambda f: f["q90"] - f["q10"]
)
coverage = inside.groupby("model", sort=False)[["inside", "width"]].mean()
coverage.rename(columns={"inside": "share inside q10..q90 (0.80 is right)", "width": "mean width, rentals an hour"})

# %% [markdown]
# Nearer to the promise, and not all the way. A conformal interval holds as far as the past folds, here four days of
# October, are like the time to come, here November and December. What it cannot do is know of a change that has not
# been seen yet; a job that calibrates anew with every training follows at some distance.
#
# Coverage may also be right on average and wrong every night. So by time of day:

# %%
inside["hours"] = pd.cut(inside["ds"].dt.hour, [-1, 5, 11, 17, 23], labels=["0-5", "6-11", "12-17", "18-23"])
inside.pivot_table(index="model", columns="hours", values="inside", observed=True)

# %%
miss = (coverage["inside"] - 0.8).abs()
print(f"off the promise by: network alone {miss['+ weather']:.0%}, calibrated {miss['calibrated']:.0%}")
assert miss["calibrated"] < miss["+ weather"]

# %% [markdown]
# ## Tomorrow
#
# For a forecast beyond the data somebody must say what tomorrow's weather is. `future_frame` gives the rows to fill
# in, and `predict` takes them as `future=`. Here the last day of the data plays tomorrow; a rainy version of it shows
# what the network believes rain to cost.

# %%
past, tomorrow = panels["+ weather"].split(horizon=24)
model = gru().fit(past)
weather = tomorrow.to_frame().drop(columns="y")
dry = model.predict(levels=(0.1, 0.9), future=weather)
wet = model.predict(future=weather.assign(weather="rain", hum=0.95 * weather["hum"].max()))
figure = fk.plot_forecast(dry, past, actuals=tomorrow, tail=72)
axis = figure.axes[0]
axis.plot(dry.ds[0], wet.mean[0], color="#CC79A7", ls=":", lw=2, label="forecast, had it rained")
axis.legend(handles=axis.lines[-1:], loc="upper left", frameon=False)
axis.set_title("New Year's Eve as forecast, as it came, and as it would be in rain", loc="left")
axis.set_ylabel("rentals an hour")
figure

# %%
print(f"rain would take away {1 - wet.mean.sum() / dry.mean.sum():.0%} of the day's rentals, says the network")

# %% [markdown]
# ## What you saw, and where next
#
# - Roles of columns live in the schema; a covariate is added by naming it, and the network need not change.
# - What a covariate is worth is measured: the same network, the same days, a paired test, and the kinds of day it is
#   for.
# - An interval is a promise. Count how often it holds, by time of day too, and calibrate it where it does not.
# - Classes instead of numbers from the same data: **05_classification**. The nightly job on the same data:
#   **08_nightly_job**.
