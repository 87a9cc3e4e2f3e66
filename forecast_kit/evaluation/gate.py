"""The gate: what a challenger must show on the same folds before it may become champion. Pure, without a registry.

What is asked and cannot be shown (too few series for a test, a latency that was not measured) counts as not met.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from forecast_kit.errors import ArgumentError, name_some, nearest
from forecast_kit.evaluation.backtest import Backtest
from forecast_kit.evaluation.comparison import signed_rank
from forecast_kit.evaluation.scoring import METRICS, check_metrics

__all__ = ["Gate", "judge", "Verdict"]

_ROUNDING = 1e-9  # shares that differ by less are equal
_LABELS = {"smape": "sMAPE", "pinball": "pinball loss", "width": "interval width"}


@dataclass(frozen=True)
class Gate:
    """What a challenger must show to become champion, on the same series and folds as its rivals.

    Start with `min_skill` alone: a network that does not beat a seasonal naive forecast is not worth its upkeep. Add
    `significance=0.05` where a wrong change costs more than a late one, a group check where some series must not pay
    for the others, and a latency where the forecast has to be there at a certain time.

    Args:
        metric: the score that counts; one of which less is better, such as mase, wape or pinball.
        min_skill: the least `1 - score / best baseline's score`. 0 means strictly better than every baseline; 0.05
            means 5 % better; below 0 the challenger may be worse by so much.
        min_gain: the least `1 - score / champion's score`. 0 means no worse than the champion. It is not asked of
            the first champion, and of a refresh (the champion's recipe, on newer data) never more than 0.
        significance: the largest p-value that the difference to the best baseline, and to a champion of another
            recipe, may have: Wilcoxon's signed rank test over `Backtest.losses`, two-sided, corrected by Holm for
            the two tests. By default none is asked.
        group_by: a static covariate by which series are grouped, or `unique_id`: each series is its own group.
        max_group_loss: the share by which the challenger's mean score may be worse than the champion's (the best
            baseline's where there is no champion) in any group: 0.1 is 10 %. It goes with `group_by`.
        max_latency_s: the most seconds that one forecast of the whole panel may take: the median over folds.

    Raises:
        ArgumentError: a value is out of range, or one of `group_by` and `max_group_loss` is there without the other.

    >>> Gate(min_skill=0.05, significance=0.05).metric
    'mase'
    """

    metric: str = "mase"
    min_skill: float = 0.0
    min_gain: float = 0.0
    significance: float | None = None
    group_by: str | None = None
    max_group_loss: float | None = None
    max_latency_s: float | None = None

    def __post_init__(self) -> None:
        ranking = [name for name, metric in METRICS.items() if metric.better == "smaller"]
        if self.metric not in ranking:
            raise ArgumentError(f"metric must be one of which less is better: {', '.join(ranking)}; got "
                                f"{self.metric!r}.{nearest(str(self.metric), ranking)}")  # fmt: skip
        for name, of in (("min_skill", "baseline"), ("min_gain", "champion")):
            value = getattr(self, name)
            if not (_is_number(value) and value < 1.0):
                raise ArgumentError(f"{name} is 1 - score / {of} score, so it must be a number below 1; got {value!r}")
        if self.significance is not None and not (_is_number(self.significance) and 0.0 < self.significance < 1.0):
            raise ArgumentError(f"significance is the largest p-value, a number between 0 and 1 such as 0.05; got "
                                f"{self.significance!r}")  # fmt: skip
        if (self.group_by is None) != (self.max_group_loss is None):
            raise ArgumentError(f"group_by and max_group_loss go together: by what, and how much worse a group may be; "
                                f"got {self.group_by!r} and {self.max_group_loss!r}")  # fmt: skip
        if self.max_group_loss is not None and not (_is_number(self.max_group_loss) and self.max_group_loss >= 0.0):
            raise ArgumentError(
                f"max_group_loss is a share of at least 0, such as 0.1 for 10 %; got {self.max_group_loss!r}"
            )
        if self.max_latency_s is not None and not (_is_number(self.max_latency_s) and self.max_latency_s > 0.0):
            raise ArgumentError(f"max_latency_s must be a number of seconds above 0, got {self.max_latency_s!r}")


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the gate found.

    Attributes:
        promoted: whether every check was passed.
        reason: one line that tells the numbers, and of a refusal what was not met.
        checks: `check, needed, found, passed`, a row each.
        board: `model, role, skill, p_value, predict_s` and, under its name, the metric, best first: the mean over the
            series and folds that all of them have; the skill of the challenger against each, and its p-value.
        metric: the score's name.
        challenger, champion: their names in the backtest; the champion is None where none was judged.
        score: the challenger's.

    >>> from forecast_kit import Naive, Panel, RollingOrigin, SeasonalNaive, backtest, load
    >>> models = {"naive": Naive(), "seasonal": SeasonalNaive()}
    >>> result = backtest(models, Panel.from_frame(*load("air_passengers")), RollingOrigin(12, folds=2))
    >>> verdict = judge(result, challenger="naive", champion=None, baselines=["seasonal"], gate=Gate())
    >>> verdict.promoted, verdict.checks.loc[~verdict.checks["passed"], ["needed", "found"]].values.tolist()
    (False, [['more than 0 %', '-76.4 %']])
    """

    promoted: bool
    reason: str
    checks: pd.DataFrame
    board: pd.DataFrame
    metric: str
    challenger: str
    champion: str | None
    score: float

    def refused(self, why: str) -> Verdict:
        """The same findings, refused for a reason that lies outside of them."""
        row = pd.DataFrame([_check("still comparable", "the champion that it was judged against", why, False)])
        return replace(self, promoted=False, reason=f"Refused: {why}.", checks=pd.concat([self.checks, row]))


def judge(
    result: Backtest,
    *,
    challenger: str,
    champion: str | None,
    baselines: Sequence[str],
    gate: Gate,
    groups: Mapping[Any, Any] | None = None,
    same_recipe: bool = False,
    notes: Sequence[str] = (),
) -> Verdict:
    """Whether the challenger may become champion, and why.

    Scores are means over the series and folds for which all that are compared have one. A challenger without a score
    where a rival has one is refused, and so is one whose champion has no score at all. Without baselines it is the
    champion alone that must be equalled; without both, any score will do, but for what the gate asks beside.

    Args:
        result: a backtest that holds them all.
        challenger, champion, baselines: names in it; `champion` is None where there is none to be judged.
        gate: what is asked.
        groups: of each series its group, such as `forecast_kit.evaluation.comparable.groups_of` gives; wanted where
            the gate has `group_by`.
        same_recipe: whether the challenger is the champion's recipe, fitted on newer data. An equal score is enough
            then, and the difference need not be significant.
        notes: sentences to append to the reason, such as how the champion was judged.

    Raises:
        ArgumentError: a name is not in the backtest or has two roles, the metric needs levels that are not there, or
            series have no group.

    >>> from forecast_kit import Naive, Panel, RollingOrigin, SeasonalNaive, backtest
    >>> frame = pd.DataFrame({"unique_id": "a", "ds": range(12), "y": [1.0, 2, 3] * 3 + [1.0, 2, 4]})
    >>> panel = Panel.from_frame(frame, freq=1, season_length=3)
    >>> found = backtest({"naive": Naive(), "snaive": SeasonalNaive()}, panel, RollingOrigin(3))
    >>> verdict = judge(found, challenger="snaive", champion=None, baselines=["naive"], gate=Gate("mae"))
    >>> verdict.reason
    'Promoted: snaive has MAE 0.3333, the best baseline naive 1.333 (skill +75.0 %).'
    """
    _check_names(result, challenger, champion, baselines)
    check_metrics([gate.metric], len(result.levels))
    names = [challenger, *([champion] if champion is not None else []), *baselines]
    scores = _scores(result, gate.metric, names)
    rivals = [name for name in baselines if scores[name].notna().any()]
    compared = [challenger, *([champion] if champion is not None else []), *rivals]
    common = scores[compared].dropna()
    first = _scored(scores, common, challenger, champion, baselines, gate.metric)
    means = common.mean()  # NaN where nothing is common
    best = str(means[rivals].idxmin()) if rivals and len(common) else None
    tested = [name for name in (best, None if same_recipe else champion) if name is not None]
    p_values = _p_values(result, gate.metric, challenger, tested if first["passed"] else [])
    board = _board(result, means, p_values, challenger, champion, gate.metric)
    checks = [first]
    if first["passed"]:
        checks += _compared(gate, means, challenger, champion, best, same_recipe)
        checks += _significant(gate, p_values, best, None if same_recipe else champion)
        checks += _by_group(gate, common, challenger, champion or best, groups)
        checks += _latency(gate, result, challenger)
    table = pd.DataFrame(checks)
    facts = _facts(gate.metric, means, p_values, challenger, champion, best, len(result.folds))
    promoted = bool(table["passed"].all())
    reason = f"Promoted: {facts}." if promoted else f"Refused: {facts}. Not met: {_failed(table)}."
    told, score = " ".join([reason, *notes]), float(means[challenger])
    return Verdict(promoted, told, table, board, gate.metric, challenger, champion, score)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _check_names(result: Backtest, challenger: str, champion: str | None, baselines: Sequence[str]) -> None:
    names = [challenger, *([] if champion is None else [champion]), *baselines]
    unknown = [name for name in names if name not in result.models]
    if unknown:
        raise ArgumentError(f"the backtest has no {name_some(unknown)}; it has {name_some(result.models)}")
    if len(set(names)) < len(names):
        raise ArgumentError(f"challenger, champion and baselines must be different models, got {name_some(names)}")


def _scores(result: Backtest, metric: str, names: list[str]) -> pd.DataFrame:
    """`[fold and series, model]` over the folds that all have finished; NaN where undefined or infinite."""
    rows = result.score([metric])
    rows = rows[rows["fold"].isin(result.folds)].replace([np.inf, -np.inf], np.nan)
    table = rows.set_index(["fold", "unique_id", "model"])[metric].unstack()  # noqa: PD010 - the other drops what is NaN
    return table[names]


def _check(name: str, needed: str, found: str, passed: bool) -> dict[str, Any]:
    return {"check": name, "needed": needed, "found": found, "passed": bool(passed)}


def _scored(
    scores: pd.DataFrame, common: pd.DataFrame, challenger: str, champion: str | None, baselines: Sequence[str],
    metric: str,
) -> dict[str, Any]:  # fmt: skip
    """Whether there is anything to compare."""
    label, defined = _label(metric), scores.notna()
    needed = f"a {label} of the challenger wherever its rivals have one"
    missing = int((~defined[challenger] & defined.any(axis=1)).sum())
    if not defined[challenger].any():
        found = f"{challenger} has no defined {label}"
    elif missing:
        found = f"{challenger} has none for {missing} of {int(defined.any(axis=1).sum())} series and folds"
    elif champion is not None and not defined[champion].any():
        found = f"champion {champion} has no defined {label}, so nothing can be compared with it"
    elif baselines and not defined[list(baselines)].any(axis=None):
        found = f"none of the baselines has a defined {label}"
    elif common.empty:
        found = "there is no series and fold for which all of them have one"
    else:
        series, folds = (common.index.get_level_values(name).nunique() for name in ("unique_id", "fold"))
        return _check(
            "score", needed, f"{_number(common[challenger].mean())} over {series} series, {folds} folds", True
        )
    return _check("score", needed, found, False)


def _compared(
    gate: Gate, means: pd.Series, challenger: str, champion: str | None, best: str | None, same_recipe: bool
) -> list[dict[str, Any]]:
    """Skill over the best baseline, and gain over the champion."""
    own, checks = float(means[challenger]), []
    if best is not None:
        skill = _relative(own, means[best])
        needed = f"at least {_percent(gate.min_skill)}" if gate.min_skill else "more than 0 %"
        passed = skill >= gate.min_skill - _ROUNDING if gate.min_skill else skill > _ROUNDING
        checks.append(_check(f"skill over the best baseline, {best}", needed, _percent(skill), passed))
    elif gate.min_skill > 0:
        needed = f"at least {_percent(gate.min_skill)}"
        checks.append(_check("skill over the best baseline", needed, "no baseline to compare with", False))
    if champion is not None:
        gain, least = _relative(own, means[champion]), min(gate.min_gain, 0.0) if same_recipe else gate.min_gain
        needed = f"at least {_percent(least)}" if least else "at least 0 %"
        passed = gain >= least - _ROUNDING
        checks.append(_check(f"gain over champion {champion}", needed, _percent(gain), passed))
    return checks


def _significant(
    gate: Gate, p_values: Mapping[str, tuple[float, bool]], best: str | None, champion: str | None
) -> list[dict[str, Any]]:
    if gate.significance is None:
        return []
    needed, checks = f"p of at most {gate.significance:g}", []
    if best is None and champion is None:
        return [_check("significance", needed, "nothing to compare with", False)]
    for name, title in ((best, f"the best baseline, {best}"), (champion, f"champion {champion}")):
        if name is None:
            continue
        p_value, better = p_values[name]
        found = "undefined, too few series" if math.isnan(p_value) else _p(p_value)
        found += "" if better or math.isnan(p_value) else ", and not in the challenger's favour"
        checks.append(_check(f"difference to {title}", needed, found, p_value <= gate.significance and better))
    return checks


def _by_group(
    gate: Gate, common: pd.DataFrame, challenger: str, reference: str | None, groups: Mapping[Any, Any] | None
) -> list[dict[str, Any]]:
    """The group in which the challenger does worst, compared with the reference."""
    if gate.group_by is None or gate.max_group_loss is None:
        return []
    name, needed = f"worst group by {gate.group_by}", f"at most {_percent(gate.max_group_loss)} worse"
    if reference is None:
        return [_check(name, needed, "nothing to compare with", False)]
    series = common.index.get_level_values("unique_id")
    if groups is None and gate.group_by == "unique_id":
        groups = {one: one for one in series}
    without = [one for one in dict.fromkeys(series) if groups is None or one not in groups]
    if groups is None or without:
        raise ArgumentError(f"the gate groups series by {gate.group_by}, and no group is given for {name_some(without)}"
                            f"; pass groups=groups_of(panel, {gate.group_by!r})")  # fmt: skip
    means = common.groupby([groups[one] for one in series], dropna=False)[[challenger, reference]].mean()
    losses = {label: -_relative(own, theirs) for label, own, theirs in means.itertuples()}
    worst = max(losses, key=lambda label: losses[label])
    found = f"{_percent(losses[worst])} in {worst!r} of {len(losses)} groups, against {reference}"
    return [_check(name, needed, found, losses[worst] <= gate.max_group_loss + _ROUNDING)]


def _latency(gate: Gate, result: Backtest, challenger: str) -> list[dict[str, Any]]:
    if gate.max_latency_s is None:
        return []
    seconds = _predict_s(result, challenger)
    found = "not measured" if math.isnan(seconds) else f"{seconds:.3g} s"
    passed = seconds <= gate.max_latency_s
    return [_check("seconds to forecast all series once", f"at most {gate.max_latency_s:g} s", found, passed)]


def _predict_s(result: Backtest, model: str) -> float:
    timings = result.timings
    return float(timings.loc[(timings["model"] == model) & timings["fold"].isin(result.folds), "predict_s"].median())


def _p_values(result: Backtest, metric: str, challenger: str, references: list[str]) -> dict[str, tuple[float, bool]]:
    """Of each reference the corrected p-value of the challenger's difference to it, and whether that is for the better.

    The test is two-sided: a few large series can turn the mean against what most of them say.
    """
    if not references:
        return {}
    losses = result.losses(metric)[[challenger, *references]].replace([np.inf, -np.inf], np.nan).dropna()
    if len(losses) < 2:
        return dict.fromkeys(references, (math.nan, False))
    p_holm = signed_rank(losses, challenger).set_index("model")["p_holm"]
    found = {}
    for name in references:
        d = (losses[challenger] - losses[name]).to_numpy()
        signed = float((np.sign(d) * stats.rankdata(np.abs(d))).sum())
        found[name] = (float(p_holm[name]), signed < 0.0)
    return found


def _board(
    result: Backtest, means: pd.Series, p_values: Mapping[str, tuple[float, bool]], challenger: str,
    champion: str | None, metric: str,
) -> pd.DataFrame:  # fmt: skip
    rows = [
        {
            "model": name,
            "role": {challenger: "challenger", champion: "champion"}.get(name, "baseline"),
            metric: score,
            "skill": math.nan if name == challenger else _relative(float(means[challenger]), score),
            "p_value": p_values.get(name, (math.nan, False))[0],
            "predict_s": _predict_s(result, name),
        }
        for name, score in zip(means.index.astype(str), means, strict=True)
    ]
    return pd.DataFrame(rows).sort_values(metric, kind="stable", ignore_index=True)


def _relative(own: float, reference: float) -> float:
    """`1 - own / reference`; of a reference without error 0 where it is equalled and minus infinity elsewhere."""
    if reference > 0:
        return 1.0 - own / reference
    return 0.0 if own == reference else math.nan if math.isnan(own + reference) else -math.inf


def _facts(
    metric: str, means: pd.Series, p_values: Mapping[str, tuple[float, bool]], challenger: str, champion: str | None,
    best: str | None, folds: int,
) -> str:  # fmt: skip
    own = float(means[challenger])

    def tested(name: str) -> str:
        p_value = p_values.get(name, (math.nan, False))[0]
        return "" if math.isnan(p_value) else f", {_p(p_value)}"

    told = f"{challenger} has {_label(metric)} {_number(own)}"
    if best is not None:
        skill = _percent(_relative(own, means[best]))
        told += f", the best baseline {best} {_number(means[best])} (skill {skill}{tested(best)})"
    if champion is not None:
        gain, same = _percent(_relative(own, means[champion])), "fold" if folds == 1 else f"{folds} folds"
        told += (
            f"; champion {champion} has {_number(means[champion])} on the same {same} (gain {gain}{tested(champion)})"
        )
    return told


def _failed(checks: pd.DataFrame) -> str:
    return "; ".join(
        f"{row['check']} (needed {row['needed']}, found {row['found']})"
        for row in checks[~checks["passed"]].to_dict("records")
    )


def _label(metric: str) -> str:
    return _LABELS.get(metric, metric.upper())


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4g}"


def _percent(share: float) -> str:
    """With a sign, one decimal, and more where it would read as nothing."""
    percent = 100.0 * share + 0.0  # no minus before a zero
    if not math.isfinite(percent):
        return "undefined" if math.isnan(percent) else f"{percent:+} %"
    return f"{percent:+.1f} %" if abs(percent) >= 0.05 or percent == 0 else f"{percent:+.1g} %"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
