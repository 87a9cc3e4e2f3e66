"""The model card: what a registered model is, was judged by, and is for, as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from forecast_kit.core.forecast import level_column
from forecast_kit.core.forecaster import Forecaster
from forecast_kit.core.splits import RollingOrigin
from forecast_kit.data.frequency import show_stamps
from forecast_kit.data.panel import Panel
from forecast_kit.errors import NotFittedError
from forecast_kit.mlflow.describing import markdown

LIMITS = (
    "Forecasts hold as long as the series go on as they did up to the last training stamp; they know nothing of events "
    "that no covariate tells. Quantiles tell how often to expect worse, not how bad it can get. Judge it anew, on its "
    "own forecasts, before decisions lean on it that it was not judged for."
)


def model_card(
    forecaster: Forecaster,
    *,
    horizon: int,
    levels: Sequence[float] = (),
    panel: Panel | None = None,
    folds: RollingOrigin | None = None,
    leaderboard: pd.DataFrame | None = None,
    intended_use: str = "",
) -> str:
    """The model card in Markdown; its first line is a plain sentence, for lists that show no more.

    Args:
        forecaster: fitted.
        horizon: steps ahead that it gives when it is not told.
        levels: quantile levels that it gives when it is not told.
        panel: what it was fitted on; without it the card tells what the forecaster knows of that.
        folds: of the backtest that judged it.
        leaderboard: the backtest's table.
        intended_use: what it is for; by default the forecast of series like those it learned from.

    Raises:
        NotFittedError: before `fit`.

    >>> from forecast_kit.data.datasets import load
    >>> from forecast_kit.models.naive import SeasonalNaive
    >>> data = Panel.from_frame(*load("air_passengers"))
    >>> text = model_card(SeasonalNaive().fit(data), horizon=12, panel=data)
    >>> print(text.splitlines()[0])
    SeasonalNaive forecasts 'y' of 1 series 12 steps ahead (freq 'MS'), learned from data until 1960-12-01.
    """
    schema = forecaster.schema_
    if schema is None:
        raise NotFittedError(f"{forecaster.name} is not fitted; call fit(panel) first")
    known = panel if panel is not None else forecaster.history_
    series = f"of {len(known)} series " if known is not None else ""
    until = forecaster.trained_until_ if panel is None else _period(panel)[1]
    first = (
        f"{forecaster.name} forecasts {schema.target_col!r} {series}{horizon} steps ahead (freq {schema.freq!r})"
        + (f", learned from data until {until}." if until is not None else ".")
    )  # fmt: skip
    sections = {
        "Data": _data(forecaster, panel),
        "Backtest": _backtest(folds, leaderboard),
        "Intended use and limits": [
            intended_use or "Forecasts of series like those it learned from, at the same frequency.", "", LIMITS,
        ],
        "How to call it": _call(forecaster, horizon, levels),
    }  # fmt: skip
    parts = ["\n".join([f"## {title}", "", *lines]) for title, lines in sections.items()]
    return "\n\n".join([first, *parts]) + "\n"


def _data(forecaster: Forecaster, panel: Panel | None) -> list[str]:
    schema = forecaster.schema_
    assert schema is not None  # it is fitted
    known = panel if panel is not None else forecaster.history_
    facts: dict[str, object] = {"series": len(known) if known is not None else "not known"}
    if panel is not None:
        first, last = _period(panel)
        facts |= {"rows": len(panel.y), "period": f"{first} to {last}", "digest": f"`{panel.digest}`"}
    else:
        facts |= {
            "until": forecaster.trained_until_ or "not known",
            "digest": f"`{forecaster.trained_on_ or 'not known'}`",
        }
    facts |= {"frequency": f"`{schema.freq}`", "season": f"{schema.season_length} steps"}
    for role in ("static", "past", "future", "categorical", "calendar"):
        if getattr(schema, role):
            facts[role] = ", ".join(f"`{name}`" for name in getattr(schema, role))
    if schema.timezone is not None:
        facts["time zone"] = schema.timezone
    return [f"- {name}: {value}" for name, value in facts.items()]


def _period(panel: Panel) -> tuple[str, str]:
    ends = panel.axis.stamps(pd.Series([panel.start.min(), panel.last.max()]).to_numpy())
    first, last = show_stamps(ends, panel.schema.zone)
    return str(first), str(last)


def _backtest(folds: RollingOrigin | None, leaderboard: pd.DataFrame | None) -> list[str]:
    if folds is None and leaderboard is None:
        return ["None is known."]
    lines = []
    if folds is not None:
        apart = folds.step or folds.horizon
        lines.append(f"{folds.folds} folds of {folds.horizon} steps, {apart} steps apart"
                     f"{f', {folds.gap} steps after the cutoff' if folds.gap else ''}.")  # fmt: skip
    if leaderboard is not None:
        lines += ["", markdown(leaderboard)]
    return lines


def _call(forecaster: Forecaster, horizon: int, levels: Sequence[float]) -> list[str]:
    schema = forecaster.schema_
    assert schema is not None  # it is fitted
    shown = [float(q) for q in levels] or [0.1, 0.9]
    columns = [*schema.columns, *schema.static]
    asked = ", ".join(["mean", *(level_column(q) for q in shown)])
    rows = f"at least the last {forecaster.context_length} steps of each series"
    lines = [
        "```python", "import mlflow", "", 'model = mlflow.pyfunc.load_model("models:/NAME@champion")',
        f"history = ...  # {', '.join(columns)}: {rows}",
        f'forecast = model.predict(history, params={{"horizon": {horizon}, "levels": {shown}}})',
        "```", "", f"The answer has the columns `unique_id`, `ds`, `cutoff`, `model`, {asked}.",
        "A frame without rows asks for the forecast from the history that the model keeps, if it keeps one.",
        f"`{schema.target_col}` must be `float64`"
        + ("." if isinstance(schema.freq, int) else f", `{schema.time_col}` `datetime64` without a time zone."),
    ]  # fmt: skip
    if schema.future:
        lines.append(f"Rows after the last `{schema.target_col}`, where it is empty, carry "
                     f"{', '.join(f'`{name}`' for name in schema.future)} of the steps ahead.")  # fmt: skip
    return lines
