# %% [markdown]
# # From notebook to nightly job
#
# A forecast that is made once in a notebook helps once. This notebook takes a model the whole way: from a backtest
# into MLflow, from there through a gate that asks whether it has earned its place, and into a job that forecasts
# every night, scores its own past, and trains anew when a rule says so. Three nights are run at the end, with the
# command that a scheduler would call.
#
# ## A backtest, logged
#
# Rentals of bicycles by the hour, in 2012. Everything lives in a temporary folder here; `connect()` without a folder
# is `.forecast_kit/` where you stand, and `MLFLOW_TRACKING_URI` names a server.

# %%
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

import forecast_kit as fk
from forecast_kit.mlflow import Gate, challenge, champion, connect, history, log_backtest, start_run

pd.options.display.precision = 3
pd.options.display.max_colwidth = 120
here = Path(tempfile.mkdtemp())
store = connect(here / "store")

frame, _ = fk.load("bike_sharing_hourly")
columns = ["unique_id", "ds", "y", "temp", "hum", "windspeed", "workingday"]
frame = frame.loc[frame["ds"] >= "2012-01-01", columns]
schema = fk.PanelSchema(
    freq="h", season_length=168, future=("temp", "hum", "windspeed", "workingday"), calendar=("hour", "weekday")
)
panel = fk.Panel.from_frame(frame[frame["ds"] < "2012-09-01"], schema)
panel

# %%
LEVELS = (0.1, 0.5, 0.9)
week = fk.RollingOrigin(horizon=24, folds=7)  # the last week of August, a day each


def gru(steps):
    return fk.NeuralForecaster(
        {"cell": "gru", "units": 24, "segment": 24}, horizon=24, input_length=336,
        training={"steps": steps, "batch_size": 64, "learning_rate": 0.01, "seed": 1, "progress": "none"},
    )  # fmt: skip


baselines = {"last_week": fk.SeasonalNaive()}


def attempt(name, forecaster):
    """A backtest, a fit on everything, and both in the store; the version that was registered."""
    result = fk.backtest({**baselines, name: forecaster}, panel, week, levels=LEVELS, refit=None)
    with start_run(store, "bikes", name) as run:
        run.log_dataset(panel, "bike_sharing_hourly", "bundled")
        board = log_backtest(run, result, baseline="last_week", panel=panel)
        model = run.log_model(forecaster.clone().fit(panel), horizon=24, levels=LEVELS, history=True)
        run.register(model, "bikes", tags={"forecaster": name})
    return board, result, run.version(model)


board, result, first = attempt("gru", gru(200))
print("registered as version", first, "of 'bikes'")
board[["rank", "model", "mase", "skill", "coverage", "p_baseline"]]

# %% [markdown]
# The run is in MLflow with its parameters, scores, every single forecast and the model; `forecast-kit ui` shows the
# pages.
#
# ## Champion and challenger
#
# A new version is a **challenger**. It becomes **champion**, the one that forecasts, only if it passes a gate: on the
# same folds as its rivals it must beat the best baseline by a margin, and be no worse than the champion, if there is
# one. Nobody is champion yet.

# %%
gate = Gate(metric="mase", min_skill=0.05)
verdict, decision = challenge(
    store.client, "bikes", first, panel, week, baselines=baselines, gate=gate, levels=LEVELS, challenger="gru",
    result=result, refit=None,
)  # fmt: skip
print("promoted" if decision.promoted else "refused", "-", decision.reason)
assert decision.promoted

# %% [markdown]
# A colleague has found that a fiftieth of the training saves money, and registers the result. The gate has an
# opinion:

# %%
board, result, second = attempt("gru, cheap", gru(4))
verdict, refused = challenge(
    store.client, "bikes", second, panel, week, baselines=baselines, gate=gate, levels=LEVELS, challenger="gru, cheap",
    result=result, refit=None,
)  # fmt: skip
print("promoted" if refused.promoted else "refused", "-", refused.reason)
assert not refused.promoted
assert str(champion(store.client, "bikes").version) == first

# %% [markdown]
# The champion stays, and the reason stands on the refused version's page. Any process forecasts with the champion,
# through plain MLflow and without this package's API: a frame in, a frame out.

# %%
import mlflow

mlflow.set_tracking_uri(store.uri)
served = mlflow.pyfunc.load_model("models:/bikes@champion")
known = frame[frame["ds"] < "2012-09-01"].tail(400)
weather = frame[(frame["ds"] >= "2012-09-01") & (frame["ds"] < "2012-09-02")].assign(y=float("nan"))
served.predict(pd.concat([known, weather]), params={"horizon": 24, "levels": [0.1, 0.9]}).head(3)

# %% [markdown]
# ## The job
#
# The same in a file. `data` says where the rows come from, `candidates` what is trained, `gate` what must be shown,
# `sink` where forecasts go, and `monitor` when to train again: here when the champion is older than two days, which
# is far too often, but three nights are short. `forecast-kit init` writes a file with a word on every key,
# `forecast-kit validate` checks one.

# %%
(here / "feed").mkdir()
frame.to_parquet(here / "feed" / "rentals.parquet", index=False)
job = here / "bikes.yaml"
job.write_text(f"""
name: bikes
data:
  path: {here}/feed/*.parquet
  schema:
    freq: h
    season_length: 168
    future: [temp, hum, windspeed, workingday]
    calendar: [hour, weekday]
baselines:
  last_week: {{forecaster: SeasonalNaive}}
candidates:
  gru:
    forecaster: NeuralForecaster
    network: {{cell: gru, units: 24, segment: 24}}
    input_length: 336
    training: {{steps: 200, batch_size: 64, learning_rate: 0.01, seed: 1, progress: none}}
backtest: {{horizon: 24, folds: 7, refit: null, levels: [0.1, 0.5, 0.9]}}
gate: {{metric: mase, min_skill: 0.05}}
register: {{name: bikes}}
sink: {{path: {here}/out}}
monitor:
  window: 3
  retrain: {{max_age: 2D, error_ratio: 2.0}}
output: {here}/reports
store: {here}/store
""")


def forecast_kit(*arguments):
    """What the command of that name prints with --json, a document for each night; it must end well."""
    command = [str(Path(sys.executable).with_name("forecast-kit")), *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# %% [markdown]
# A scheduler would call `forecast-kit batch run bikes.yaml` at half past midnight (`forecast-kit schedule` writes the
# units for systemd or the line for cron). `--as-of` plays a night of the past: what is stamped before it is known,
# nothing after. Three nights at once are a backfill. `--json` prints a summary for machines, and this notebook is
# one.

# %%
summaries = forecast_kit("batch", "backfill", job, "--from", "2012-09-01", "--to", "2012-09-03")
pd.DataFrame(
    {
        "as of": one["as_of"],
        "exit code": one["exit_code"],
        "forecast by version": one["model"]["version"],
        "series": one["forecast"]["series"],
        "past runs scored": one["monitor"]["scored_runs"],
        "training": one["training"]["decision"] if one["training"] else "not due",
        "warnings": len(one["warnings"]),
    }
    for one in summaries
)

# %% [markdown]
# ## What the nights left behind
#
# One forecast for each step and night. Run twice, a night leaves the same rows once; killed and run again, it ends
# where it would have ended.

# %%
forecasts = pd.read_parquet(here / "out" / "forecasts")
nights = forecasts.astype({"as_of": str}).groupby("as_of")
nights.agg(
    rows=("mean", "size"), first=("ds", "min"), last=("ds", "max"), fallbacks=("fallback", lambda f: (f != "").sum())
)

# %% [markdown]
# Each night first scores the nights before, as far as their hours have come true, and writes the scores into the
# sink:

# %%
scores = pd.read_parquet(here / "out" / "scores").astype({"as_of": str})
scores[[name for name in ("as_of", "unique_id", "steps", "mae", "mase", "coverage") if name in scores]]

# %% [markdown]
# Then it asks the rules. The last of the checks is the decision.

# %%
checks = pd.read_parquet(here / "out" / "checks").astype({"as_of": str})
checks[["as_of", "check", "value", "threshold", "fired", "reason"]]

# %% [markdown]
# On the third night the champion was old enough for a training. Its result is a new version, a challenger like any
# other: it had to pass the gate, against the champion and the baseline, on the newest days.

# %%
fired = checks[(checks["check"] == "retrain") & checks["fired"].astype(bool)]
assert len(fired) >= 1, "the rule of age should have asked for a training"
versions = store.client.search_model_versions("name = 'bikes'")
pd.DataFrame(
    [{"version": int(v.version), "decision": v.tags.get("decision"), "reason": v.tags.get("reason")} for v in versions]
).sort_values("version", ignore_index=True)

# %% [markdown]
# Who was champion when, and why: `forecast-kit history bikes` prints it in a shell. If a champion turns out to be
# bad, `forecast-kit rollback bikes --reason "..."` brings the one before back.

# %%
history(store.client, "bikes")

# %% [markdown]
# ## What you saw, and where next
#
# - A backtest, its forecasts and the model go into MLflow with three calls; a version is a challenger until it has
#   earned more.
# - The gate compares on the same folds, refuses with a reason, and a refusal costs nothing.
# - The job is the same thing as a file and a command. It may be repeated; it scores itself; rules ask for a training.
# - Schedules, exit codes and what to do when the pager rings are in `docs/scheduling.md`; servers and gates in
#   `docs/mlflow.md`.
