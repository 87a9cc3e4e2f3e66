# %% [markdown]
# # Pre-train on many series, fine-tune on a few new ones
#
# A hospital opens a ward and has two years of monthly counts. That is little for a network: it needs windows to learn
# from, and there is hardly one in each series. But there are hundreds of other wards with long histories. This
# notebook trains on those, moves the weights to the new ones, and asks what was gained: against training from
# scratch, and against methods that need no training.
#
# ## The old wards and the new
#
# 767 products of a hospital, counted month by month from 2000 to 2006. 617 of them play the old wards. The other 150
# are new: of those only the last months before 2006 are known, and 2006 is to be forecast. The old wards, too, are
# cut before 2006, so that nobody learns from a year that is not over.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import forecast_kit as fk

pd.options.display.precision = 3
frame, schema = fk.load("hospital")
ids = frame["unique_id"].unique()
new_ids = np.random.default_rng(1).choice(ids, 150, replace=False)
is_new = frame["unique_id"].isin(new_ids)
everything = fk.Panel.from_frame(frame[is_new], schema)
old, _ = fk.Panel.from_frame(frame[~is_new], schema).split(horizon=12)
print("old:", old)


def new(months):
    """The new wards, of which so many months before 2006 are known."""
    begin = pd.Timestamp("2006-01-01") - pd.DateOffset(months=months)
    known = frame[is_new & (frame["ds"] >= begin) & (frame["ds"] < "2006-01-01")]
    return fk.Panel.from_frame(known, schema)


print("new:", new(24))

# %% [markdown]
# ## Three ways to a forecast
#
# - **from scratch**: the network is trained on the new wards alone;
# - **pre-trained**: it is trained on the old wards and forecasts the new ones, which it has never seen, from their
#   history;
# - **fine-tuned**: it is trained on the old wards and then, briefly and with a small learning rate, on the new ones.
#
# The network is the same each time. `fine_tune` fits the transform on the new series and goes on from the weights;
# `freeze` names layers that keep theirs, here all that read the window.

# %%
network = fk.Recurrent("gru", units=32, hidden=32)


def forecaster(steps):
    return fk.NeuralForecaster(
        network, horizon=12, input_length=24,
        training={"steps": steps, "learning_rate": 0.005, "relative_loss": True, "progress": "none"},
    )  # fmt: skip


pretrained = forecaster(400).fit(old)
weights = pretrained.parameter_count
print(
    f"{weights} weights, learned from {len(old)} wards; "
    f"24 months of {len(new_ids)} new ones are {24 * len(new_ids)} numbers"
)

# %% [markdown]
# `fine_tune` changes the forecaster that it is called on, so each time it starts from a copy. A saved folder is the
# copy that a job would use, too.

# %%
import tempfile
from pathlib import Path

store = Path(tempfile.mkdtemp())
pretrained.save(store / "old wards")


def tuned(panel, *, steps=60, learning_rate=5e-4, freeze=()):
    again = fk.Forecaster.load(store / "old wards")
    return again.fine_tune(panel, freeze=freeze, training={"steps": steps, "learning_rate": learning_rate})


forecasts = []
MONTHS = (24, 36, 60)
for months in MONTHS:
    known = new(months)
    ways = {
        "seasonal naive": fk.SeasonalNaive().fit(known),
        "theta": fk.Theta().fit(known),
        "from scratch": forecaster(150).fit(known),
        "pre-trained": pretrained,
        "fine-tuned": tuned(known),
        "fine-tuned, frozen": tuned(known, freeze="encoder"),
    }
    for name, model in ways.items():
        done = model.predict(12, history=known).to_frame()
        forecasts.append(done.assign(model=name, months=months))

# %% [markdown]
# ## What was gained
#
# All forecasts are judged on 2006, with the same scale: `everything` holds the whole history of the new wards, so
# MASE's unit does not change with what was known.

# %%
verdicts = {
    months: fk.judge(pd.concat([one for one in forecasts if one["months"].iloc[0] == months]), everything)
    for months in MONTHS
}
table = pd.DataFrame({months: verdict.summary(["mase"])["mase"] for months, verdict in verdicts.items()})
table.rename_axis(index="MASE", columns="months known")

# %%
PENS = {
    "seasonal naive": ("0.5", ":", "s"), "theta": ("#E69F00", "-.", "^"), "from scratch": ("#D55E00", "--", "D"),
    "pre-trained": ("#56B4E9", "-", "v"), "fine-tuned": ("#0072B2", "-", "o"),
}  # fmt: skip
figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
for name, (color, line, marker) in PENS.items():
    axis.plot(list(MONTHS), table.loc[name], color=color, ls=line, marker=marker, label=name)
axis.set(
    title="What other wards taught is worth most where the own history is short", xlabel="months known of a new ward",
    ylabel="MASE of 2006, mean of 150 wards", xticks=MONTHS,
)  # fmt: skip
axis.legend(frameon=False, bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# Is it luck? The new wards are 150 pairs of errors.

# %%
board = verdicts[24].leaderboard(baseline="from scratch")
board[["rank", "model", "mase", "skill", "p_best", "p_baseline"]]

# %%
short = table[24]
best = short[["pre-trained", "fine-tuned", "fine-tuned, frozen"]].min()
print(f"with 24 months: {1 - best / short['from scratch']:.0%} less error than from scratch, "
      f"{1 - best / short['seasonal naive']:.0%} less than the seasonal naive forecast, "
      f"{1 - best / short['theta']:.0%} less than Theta")  # fmt: skip
tuning = short["fine-tuned"] / short["pre-trained"] - 1
print(f"fine-tuning changed the error of the pre-trained network by {tuning:+.1%}")
assert best < short["from scratch"]
assert best < short["seasonal naive"]

# %% [markdown]
# The gain was there before the fine-tuning: a global network that has seen many wards forecasts a new one from its
# history alone, without another step of training. The new wards are of the same kind as the old, so fine-tuning has
# little to add, and every step of it forgets a little of what hundreds of wards had taught. And Theta, which learns
# nothing from anybody, overtakes all networks once a ward has a few years of its own.
#
# ## A series of another kind
#
# So where is fine-tuning worth its name? Where the new series differ from the old. Airline passengers grow and swing
# as no ward does, so the tuning is longer here, and its steps are larger. At each of six cutoffs three years are
# known:

# %%
passengers = fk.Panel.from_frame(*fk.load("air_passengers"))
origins = fk.RollingOrigin(horizon=12, folds=6, window=36)
forecasts = []
for fold in origins.split(passengers):
    ways = {
        "seasonal naive": fk.SeasonalNaive().fit(fold.train),
        "theta": fk.Theta().fit(fold.train),
        "from scratch": forecaster(150).fit(fold.train),
        "pre-trained": pretrained,
        "fine-tuned": tuned(fold.train, steps=150, learning_rate=2e-3),
    }
    forecasts += [one.predict(12, history=fold.train).to_frame().assign(model=name) for name, one in ways.items()]
other = fk.judge(pd.concat(forecasts), passengers).leaderboard(baseline="seasonal naive")
other[["rank", "model", "mase", "smape", "skill"]]

# %%
other = other.set_index("model")["mase"]
print(f"fine-tuned: {1 - other['fine-tuned'] / other['pre-trained']:.0%} less error than pre-trained alone, "
      f"{1 - other['fine-tuned'] / other['from scratch']:.0%} less than from scratch")  # fmt: skip
assert other["fine-tuned"] < other["pre-trained"]

# %% [markdown]
# ## What you saw, and where next
#
# - `predict(history=...)` forecasts series that were not there in training.
# - `fine_tune` goes on from the weights; `freeze` keeps part of them. It is for series of another kind; for more of
#   the same it has little to add.
# - Compare with training from scratch *and* with a method that needs no training. The second is the harder rival.
# - Which series are worth a global network at all: **06_m4**. How a tuned model gets into a nightly job:
#   **08_nightly_job**.
