"""A backtest as one HTML file that needs nothing else: no network, no server, no other file."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecast_kit.errors import ArgumentError
from forecast_kit.evaluation import plots
from forecast_kit.evaluation.backtest import Backtest
from forecast_kit.evaluation.comparison import compare, nemenyi
from forecast_kit.evaluation.scoring import METRICS

_STYLE = """
:root { color-scheme: light dark; --line: #d8d8d8; --soft: #f5f5f5; --best: #e3f1fb }
@media (prefers-color-scheme: dark) { :root { --line: #3a3f4a; --soft: #1d212b; --best: #12344d } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left }
tbody tr:first-child { background: var(--best) }
.wide { overflow-x: auto } img { max-width: 100%; height: auto } p.note { opacity: .75; font-size: .9rem }
"""
_SHARES = ("skill", "coverage", "win_share", "relative", "relative_low", "relative_high")
_FEWEST = 5  # rows below which ranks say nothing


def write_report(
    result: Backtest,
    path: str | Path,
    *,
    baseline: str | None = None,
    metric: str = "mase",
    title: str = "Backtest",
    worst: int = 4,
) -> Path:
    """Writes the backtest's leaderboard, comparisons and pictures into one self-contained HTML file.

    Args:
        result: the backtest.
        path: the file, replaced as a whole if it is there.
        baseline: the model to compare with; none by default.
        metric: the score that ranks.
        title: the heading.
        worst: how many of the series with the highest score of the best model are drawn.

    Returns:
        The path.

    Raises:
        ArgumentError: the baseline or the metric is not there, or the file's name does not end in .html.

    >>> from forecast_kit import Naive, Panel, RollingOrigin, SeasonalNaive, backtest
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(24), "y": [1.0, 2, 4] * 8})
    >>> panel = Panel.from_frame(frame, freq=1, season_length=3)
    >>> result = backtest({"naive": Naive(), "seasonal": SeasonalNaive()}, panel, RollingOrigin(3, folds=2))
    >>> write_report(result, "report.html", baseline="naive", metric="mae").name
    'report.html'
    """
    path = Path(path)
    if path.suffix != ".html":
        raise ArgumentError(f"a report is an .html file, got {path.name!r}")
    board = result.leaderboard(baseline, metric=metric)
    best = str(board["model"].iloc[0])
    losses = result.losses(metric)
    sections = [
        _leaderboard(result, board, baseline, metric),
        _comparison(losses, baseline or best, metric),
        _pictures(result, losses, board["model"].tolist(), metric),
        _series(result, best, metric, worst),
    ]
    body = f"<h1>{html.escape(title)}</h1>\n" + "\n".join(sections)
    page = f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}</title>" \
           f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = path.with_name(f"{path.name}.{os.getpid()}.part")
    waiting.write_text(page, encoding="utf-8")
    waiting.replace(path)
    return path


def _leaderboard(result: Backtest, board: pd.DataFrame, baseline: str | None, metric: str) -> str:
    best = board.iloc[0]
    series, horizon = result.frame["unique_id"].nunique(), int(result.frame["step"].max())
    words = f"{len(board)} models, {series:,} series, {len(result.folds)} folds, {horizon} steps ahead. " \
            f"Best by {METRICS[metric].title}: {best['model']} with {best[metric]:.4g}"  # fmt: skip
    if baseline is not None:
        words += f", skill over {baseline} {best['skill']:+.1%}"
    notes = (
        "Means over series and folds. p_best and p_baseline: how likely such differences to the best model and to the"
        " baseline are if there is none (Wilcoxon's signed rank test, Holm's correction)."
    )
    if result.unfinished:
        notes += f" Not finished in time: {', '.join(f'{name} in fold {fold}' for name, fold in result.unfinished)}."
    undefined = result.undefined
    undefined = undefined.loc[:, (undefined > 0).any()]
    more = "" if undefined.empty else _table(undefined.reset_index(), "Undefined scores, left out of the means")
    return f"<p>{html.escape(words)}.</p>\n{_table(board, 'Leaderboard')}\n{_note(notes)}{more}"


def _comparison(losses: pd.DataFrame, against: str, metric: str) -> str:
    if len(losses.columns) < 2 or len(losses.dropna()) < 2:
        return ""
    table = compare(losses, against)
    note = (
        f"Difference of {metric} to {against}, below 0 where the model is better, with 95 % bootstrap intervals over"
        f" {int(table['count'].iloc[0])} rows; effect: the mean difference over its standard deviation."
    )
    return _table(table.drop(columns=["count", "left_out"]), f"Compared with {against}") + _note(note)


def _pictures(result: Backtest, losses: pd.DataFrame, models: list[str], metric: str) -> str:
    frame = result.frame[result.frame["fold"].isin(result.folds)]
    scale = result.scales.groupby("unique_id")["absolute"].mean()
    usable = bool(((scale > 0) & np.isfinite(scale)).all())
    parts = [_picture("Error by step of the horizon", lambda theme: plots.plot_error_by_step(
        frame, models=models[:6], scale=scale.to_dict() if usable else None, theme=theme))]  # fmt: skip
    complete = losses.dropna()
    if len(models) > 2 and len(complete) >= _FEWEST:
        found, names = nemenyi(complete.to_numpy()), complete.columns.tolist()
        ranks = dict(zip(names, found.mean_ranks.tolist(), strict=True))
        groups = [[names[k] for k in group] for group in found.groups]
        parts.append(_picture("Ranks", lambda theme: plots.plot_critical_difference(
            ranks, found.critical_difference, groups=groups, theme=theme)))  # fmt: skip
    if len(result.levels) > 1:
        parts.append(
            _picture("Calibration", lambda theme: plots.plot_reliability(frame, models=models[:6], theme=theme))
        )
    return "\n".join(parts)


def _series(result: Backtest, best: str, metric: str, worst: int) -> str:
    """The series that the best model forecasts worst."""
    scores = result.scores[(result.scores["model"] == best) & result.scores["fold"].isin(result.folds)]
    highest = scores.groupby("unique_id", sort=False)[metric].mean().dropna().nlargest(worst).index.tolist()
    if not highest:
        return ""
    return _picture(f"Series with the highest {metric} of {best}",
                    lambda theme: plots.plot_backtest(result.frame, highest, model=best, theme=theme))  # fmt: skip


def _picture(heading: str, draw: Callable[[Any], Any]) -> str:
    """The figure in both themes, of which the reader's system chooses."""
    found: Mapping[str, str] = {theme: _png(draw(theme)) for theme in ("light", "dark")}
    name = html.escape(heading)
    return (f"<h2>{name}</h2><picture><source media='(prefers-color-scheme: dark)' srcset='{found['dark']}'>"
            f"<img alt='{name}' src='{found['light']}'></picture>")  # fmt: skip


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _note(text: str) -> str:
    return f"<p class='note'>{html.escape(text)}</p>"


def _table(table: pd.DataFrame, heading: str) -> str:
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(name, value))}</td>" for name, value in row.items()) + "</tr>\n"
        for row in table.to_dict("records")
    )
    return (f"<h2>{html.escape(heading)}</h2><div class='wide'><table><thead><tr>{head}</tr></thead>"
            f"<tbody>\n{rows}</tbody></table></div>")  # fmt: skip


def _cell(name: Any, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if np.isnan(value):
        return ""
    if name in _SHARES:
        return f"{value:.1%}"
    if str(name).startswith("p_"):
        return "<0.001" if value < 0.0005 else f"{value:.3f}"
    return f"{value:.4g}"
