# %% [markdown]
# # M4: a recurrent network against the statistical methods
#
# In 2018 the M4 competition compared 61 ways to forecast 100,000 series. Its hourly part, 414 series with 48 hours to
# forecast, was won by a recurrent network inside exponential smoothing. Here a plain LSTM and the statistical methods
# forecast the competition's own test part, all 414 series, and the question is asked that a leaderboard leaves open:
# could the differences be luck?
#
# ## The data, and a check of the ruler
#
# Before measuring anything, measure something known. The organisers published what their benchmarks scored. If our
# sMAPE and MASE are theirs, then *Naive2*, *seasonal naive* and *naive* must come out at the published numbers, to
# the last digit.

# %%
import numpy as np
import pandas as pd

import forecast_kit as fk

pd.options.display.precision = 3
panel = fk.Panel.from_frame(*fk.load("m4_hourly"))
test_part = fk.RollingOrigin(horizon=48)  # the last 48 hours of each series, as in the competition
print(panel)

# %%
LEVELS = (0.1, 0.5, 0.9)
methods = {
    "naive": fk.Naive(),
    "seasonal naive": fk.SeasonalNaive(),
    "naive2": fk.Naive2(),
    "ses": fk.SES(),
    "theta": fk.Theta(),
    "ets": fk.ETS(trend="damped", max_history=336),
}
statistical = fk.backtest(methods, panel, test_part, levels=LEVELS)
ours = statistical.summary(["smape", "mase"])
published = pd.DataFrame(
    {"smape": [18.383, 13.912, 43.003], "mase": [2.395, 1.193, 11.608]}, index=["naive2", "seasonal naive", "naive"]
)
pd.concat({"published": published, "here": ours.loc[published.index]}, axis=1)

# %%
assert np.allclose(ours.loc[published.index], published, atol=5e-4)

# %% [markdown]
# Published: Makridakis, Spiliotis and Assimakopoulos, *The M4 Competition: 100,000 time series and 61 forecasting
# methods*, International Journal of Forecasting 36, 2020, and the organisers' repository of benchmarks. The ruler is
# right.
#
# ## One network for all series
#
# A *global* network learns from all series at once. This one reads a week, a day at each step of its LSTM, and gives
# quantiles of all 48 hours. The loss is taken in units of each series, so that loud ones count no more than quiet
# ones. Two networks from different seeds, and their median, which costs nothing more to have.

# %%
lstm = fk.NeuralForecaster(
    {"network": "lstm", "units": 64, "segment": 24}, horizon=48, input_length=168, levels=LEVELS,
    training={"steps": 1000, "relative_loss": True, "progress": "none"},
)  # fmt: skip
seeds = dict(zip(("lstm, seed 0", "lstm, seed 1"), fk.variations(lstm, training__seed=(0, 1)).values(), strict=True))
neural = fk.backtest(seeds, panel, test_part, levels=LEVELS)

# %%
values = ["mean", "q10", "q50", "q90"]
both = neural.frame.groupby(["unique_id", "ds", "cutoff"], sort=False)[values].median().reset_index()
result = statistical.join(neural, fk.judge(both.assign(model="lstm, median"), panel))
board = result.leaderboard(baseline="naive2")
board[["rank", "model", "smape", "mase", "owa", "skill", "coverage", "p_best"]]

# %% [markdown]
# `owa` is the competition's own measure: the mean of sMAPE and MASE, each in units of Naive2. `p_best` is Wilcoxon's
# signed rank test against the best over the 414 series, corrected by Holm for the number of models. Where it is
# small, the difference is not luck.

# %%
best = board.iloc[0]
print(
    f"best: {best['model']}, sMAPE {best['smape']:.3f}, MASE {best['mase']:.3f}, OWA {best['owa']:.3f}; "
    f"M4's winner on the hourly series, ES-RNN: sMAPE 9.328, MASE 0.893, OWA 0.440"
)
assert best["model"].startswith("lstm")
assert best["owa"] < 0.7

# %% [markdown]
# The winner's line is from the same paper: Smyl's ES-RNN, hourly. Two honest remarks to the comparison. The
# competitors did not know the test part; everybody since then does, and a choice such as "a day at each step" was
# made by people who had seen which choices work on it. And on a hundred thousand series of other frequencies the
# picture was closer: statistical methods that do poorly here, where two seasons lie upon each other, do well on years
# and quarters.
#
# ## Which differences are real?
#
# Ranks instead of means: no single wild series can decide. Friedman's test asks whether all models could be equally
# good, and Nemenyi's how far apart two mean ranks must be.

# %%
from forecast_kit.evaluation.comparison import compare, friedman, nemenyi

losses = result.losses("mase")
everybody = friedman(losses.to_numpy())
ranks = nemenyi(losses.to_numpy())
print(f"Friedman over {everybody.count} series: chi2 = {everybody.statistic:.0f}, "
      f"p {'below 1e-100' if everybody.p_value < 1e-100 else f'= {everybody.p_value:.1e}'}; "
      f"Kendall's W = {everybody.kendall_w:.2f}")  # fmt: skip
assert everybody.p_value < 1e-6
names = losses.columns.tolist()
fk.plot_critical_difference(
    dict(zip(names, ranks.mean_ranks.tolist(), strict=True)), ranks.critical_difference,
    groups=[[names[k] for k in group] for group in ranks.groups],
)  # fmt: skip

# %% [markdown]
# A bar joins models that 414 series cannot tell apart. And how large are the differences? An interval says more than
# a p-value: `win_share` is the share of series on which a model is better than the seasonal naive forecast.

# %%
compare(losses, "seasonal naive")[["model", "mean", "difference", "low", "high", "win_share", "p_holm"]].sort_values(
    "mean"
)

# %% [markdown]
# ## Where is it better?
#
# Over the horizon, each series' errors in units of its own seasonal difference:

# %%
scale = result.scales.set_index("unique_id")["absolute"].to_dict()
shown = ["lstm, median", "ets", "seasonal naive"]
figure = fk.plot_error_by_step(result.frame[result.frame["model"].isin(shown)], scale=scale)
figure.axes[0].set_title("The LSTM's lead holds over all 48 hours", loc="left")
figure.axes[0].set(xlabel="hours ahead", ylabel="mean absolute scaled error")
figure

# %%
steps = result.by_step(["mase"]).pivot_table(index="step", columns="model", values="mase")
ahead = (steps["lstm, median"] < steps["seasonal naive"]).mean()
print(f"the LSTM errs less than the seasonal naive forecast at {ahead:.0%} of the 48 steps")
assert ahead > 0.9

# %% [markdown]
# ## What you saw, and where next
#
# - Check the ruler on published numbers before measuring with it.
# - One global network, trained in seconds, against methods that are estimated for each series: on these series it
#   wins, and by more than luck.
# - Ask for a test and for an interval. With hundreds of series both are cheap.
# - What such a network is worth to series that it has never seen: **07_fine_tuning**.
