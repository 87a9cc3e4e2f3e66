# %% [markdown]
# # Classes instead of numbers: is this a working day?
#
# Not every question about a sequence asks what comes next. *What kind of day was that, which machine made this noise,
# does this customer leave?* are questions for a classifier of sequences. Here is one with a label that nobody had to
# invent: from the 24 hourly counts of rented bicycles, tell whether the day was a working day.
#
# ## Windows and labels
#
# `SequenceClassifier` follows scikit-learn: `X` is `[N, T]` or `[N, T, F]`, `y` the labels. A day is a window of 24
# steps.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import forecast_kit as fk

frame, _ = fk.load("bike_sharing_hourly")
X = frame["y"].to_numpy().reshape(-1, 24)
dates = frame["ds"].dt.normalize().to_numpy().reshape(-1, 24)[:, 0]
y = np.where(frame["workingday"].to_numpy().reshape(-1, 24)[:, 0] == 1, "working", "free")
print(X.shape, pd.Series(y).value_counts().to_dict())

# %%
hours = np.arange(24)
figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
for label, color, line in (("working", "#0072B2", "-"), ("free", "#D55E00", "--")):
    days = X[y == label]
    axis.plot(hours, np.median(days, axis=0), color=color, ls=line, lw=2, label=f"{label}: median of {len(days)} days")
    axis.fill_between(hours, *np.quantile(days, [0.25, 0.75], axis=0), color=color, alpha=0.15)
axis.set(title="Working days have two peaks, free days one hill", xlabel="hour of the day", ylabel="rentals an hour")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Split by time
#
# Neighbouring days are alike, and the city rented more bicycles in the second year. A random split would put Tuesday
# into training and Wednesday of the same week into the test. So the first 500 days are for learning, the rest for
# judging.

# %%
past, later = slice(None, 500), slice(500, None)

# %% [markdown]
# The baselines: always the more frequent class, which nobody should fail to beat, and a logistic regression on the 24
# numbers, which is the serious one. Then two networks, a GRU that reads the day hour by hour and a small convolution.
# `class_weight` is balanced, because a third of the days are free.

# %%
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forecast_kit.evaluation.metrics import classification

models = {
    "most frequent": DummyClassifier(),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)),
    "GRU": fk.SequenceClassifier("gru", units=32, layers=1, epochs=40, learning_rate=0.005, class_weight="balanced"),
    "CNN": fk.SequenceClassifier("cnn", units=32, epochs=40, learning_rate=0.002, class_weight="balanced"),
}
scores = {}
for name, model in models.items():
    model.fit(X[past], y[past])
    found = classification(y[later], model.predict_proba(X[later]), model.classes_)
    scores[name] = {**found, "balanced_accuracy": balanced_accuracy_score(y[later], model.predict(X[later]))}
table = pd.DataFrame(scores).T
table.round(3)

# %%
best = table.loc[["GRU", "CNN"], "balanced_accuracy"].idxmax()
print(f"the better network is the {best}; logistic regression stands at "
      f"{table.loc['logistic regression', 'balanced_accuracy']:.1%}, "
      f"it at {table.loc[best, 'balanced_accuracy']:.1%}")  # fmt: skip
assert table.loc[best, "balanced_accuracy"] > 0.9
assert table.loc["most frequent", "balanced_accuracy"] == 0.5

# %% [markdown]
# Accuracy of the most frequent class looks like something until the classes are weighed equally: then it is a coin.
# The confusion matrix tells which mistakes are made.

# %%
figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
for axis, name in zip(axes, ("logistic regression", best), strict=True):
    ConfusionMatrixDisplay.from_predictions(
        y[later], models[name].predict(X[later]), ax=axis, cmap="Blues", colorbar=False
    )
    axis.set(title=name, xlabel="said, days", ylabel="was, days")
figure.suptitle("Most days are told right; the mistakes have names")
plt.show()

# %% [markdown]
# ## Look at the mistakes
#
# A table of errors is worth more than another per cent. Here are the days on which the network was surest and wrong.
# Many of them you will find on a calendar: they are working days by the book on which the city behaved otherwise, or
# days of a storm.

# %%
probability = models[best].predict_proba(X[later])[:, models[best].classes_.tolist().index("working")]
days = pd.DataFrame(
    {"date": dates[later], "label": y[later], "p(working)": probability.round(3), "rentals": X[later].sum(1)}
)
days["weekday"] = days["date"].dt.day_name()
wrong = days[(days["p(working)"] > 0.5) != (days["label"] == "working")]
surest = (wrong["p(working)"] - 0.5).abs().sort_values(ascending=False).index[:8]
wrong.loc[surest]

# %% [markdown]
# ## Is it luck?
#
# Several cuts in time instead of one, with scikit-learn's own tools. `TimeSeriesSplit` always judges days after those
# that were learned from.

# %%
from sklearn.base import clone
from sklearn.model_selection import TimeSeriesSplit, cross_val_score

folds = TimeSeriesSplit(n_splits=3, test_size=100)
validated = {
    name: cross_val_score(clone(models[name]), X, y, cv=folds, scoring="balanced_accuracy")
    for name in ("logistic regression", best)
}
pd.DataFrame(validated, index=[f"fold {k}" for k in (1, 2, 3)]).round(3)

# %% [markdown]
# ## Keep it
#
# As with forecasters: a folder of JSON and arrays, no pickle.

# %%
with tempfile.TemporaryDirectory() as folder:
    models[best].save(Path(folder) / "days")
    again = fk.SequenceClassifier.load(Path(folder) / "days")
assert (again.predict(X[later]) == models[best].predict(X[later])).all()
print(again.predict(X[-3:]), "were the last three days of 2012")

# %% [markdown]
# ## What you saw, and where next
#
# - A window and its label; a split by time; a baseline that deserves the name.
# - On a plain shape like this a linear model comes close to a network, or passes it. The leaderboard says which, not
#   the fashion.
# - Read the mistakes: some of them are in the labels.
# - The cells inside: **04_cells**. The same data as a forecast: **03_panel_with_covariates**.
