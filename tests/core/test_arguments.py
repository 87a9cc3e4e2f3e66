"""Other arguments inside forecasters: against the same forecasters built by hand."""

from __future__ import annotations

from typing import Any

import pytest

from forecast_kit import (
    STL,
    Conformal,
    Ensemble,
    Forecaster,
    Naive,
    NeuralForecaster,
    Panel,
    Recurrent,
    TrainingSpec,
    WindowAverage,
)
from forecast_kit.core.arguments import with_arguments
from forecast_kit.core.known import KNOWN
from forecast_kit.data.transforms import BoxCox
from forecast_kit.errors import ArgumentError


def net(network: Any = "gru", **fields: Any) -> NeuralForecaster:
    return NeuralForecaster(network, **{"horizon": 3, "input_length": 8, **fields})


MIXED = Conformal(Ensemble({"a": WindowAverage(3), "b": "Drift"}), folds=2)

CASES: dict[str, tuple[Forecaster, dict[str, Any], Forecaster]] = {
    "its own": (WindowAverage(3), {"window": 5, "horizon": 2}, WindowAverage(5, horizon=2)),
    "of a value object": (
        net(training={"steps": 7}), {"training__seed": 4, "training__batch_size": 2},
        net(training=TrainingSpec(steps=7, seed=4, batch_size=2)),
    ),
    "of a preset": (net("gru"), {"network__units": 32}, net({"network": "gru", "units": 32})),
    "of a mapping": (
        net({"cell": "lstm", "units": 4}), {"network__units": 8, "network__hidden": 2},
        net({"cell": "lstm", "units": 8, "hidden": 2}),
    ),
    "of a network": (net(Recurrent("gru", units=4)), {"network__units": 8}, net(Recurrent("gru", units=8))),
    "of a mapping that is not there yet": (
        net({"cell": "rnn"}), {"network__cell_options__activation": "relu"},
        net({"cell": "rnn", "cell_options": {"activation": "relu"}}),
    ),
    "of a stage by name": (
        net(transform="boxcox"), {"transform__lam": 0.5}, net(transform={"stage": "boxcox", "lam": 0.5}),
    ),
    "of a stage in a list": (
        net(transform=("log1p", {"stage": "boxcox", "lam": 0.5})), {"transform__1__lam": 0.25},
        net(transform=("log1p", {"stage": "boxcox", "lam": 0.25})),
    ),
    "of a stage that was built": (
        net(transform=[BoxCox(0.5)]), {"transform__0__lam": 0.1}, net(transform=[BoxCox(0.1)]),
    ),
    "of a forecaster": (Conformal(WindowAverage(3)), {"base__window": 9}, Conformal(WindowAverage(9))),
    "of a described forecaster": (
        Conformal({"forecaster": "WindowAverage", "window": 3}), {"base__window": 9}, Conformal(WindowAverage(9)),
    ),
    "of a named forecaster": (STL("ThetaLine"), {"base__horizon": 6}, STL({"forecaster": "ThetaLine", "horizon": 6})),
    "of a member by name, two deep": (
        MIXED, {"folds": 4, "base__members__a__window": 9, "base__combine": "median"},
        Conformal(Ensemble({"a": WindowAverage(9), "b": "Drift"}, combine="median"), folds=4),
    ),
    "of a member by number": (
        Ensemble(["Naive", {"forecaster": "WindowAverage", "window": 3}]), {"members__1__window": 9},
        Ensemble([Naive(), WindowAverage(9)]),
    ),
    "of what is replaced": (
        net("lstm"), {"network__units": 8, "network": "gru"}, net({"network": "gru", "units": 8}),
    ),
}  # fmt: skip


def described(forecaster: Forecaster) -> dict[str, Any]:
    """Its description, with members by name or number as built forecasters describe themselves."""
    found = forecaster.describe()
    for key in ("members", "base"):
        if key in found:
            found[key] = resolved(found[key])
    if "transform" in found:
        found["transform"] = [str(stage) for stage in forecaster.transform_._build()]  # type: ignore[attr-defined]
    return found


def resolved(value: Any) -> Any:
    if isinstance(value, str):
        return resolved({"forecaster": value})
    if isinstance(value, list):
        return [resolved(item) for item in value]
    if "forecaster" not in value:
        return {name: resolved(item) for name, item in value.items()}
    fields = {key: item for key, item in value.items() if key != "forecaster"}
    return {"forecaster": value["forecaster"], **described(KNOWN[value["forecaster"]](**fields))}


@pytest.mark.parametrize("case", CASES)
def test_what_comes_out_is_what_is_built_by_hand_and_what_went_in_stays(case: str) -> None:
    given, values, expected = CASES[case]
    before = repr(given)
    found = with_arguments(given, values)
    assert type(found) is type(expected)
    assert described(found) == described(expected)
    assert described(found) != described(given)
    assert repr(given) == before
    assert described(with_arguments(given, dict(reversed(values.items())))) == described(expected)


def test_the_new_one_is_not_fitted_and_shares_nothing(seasonal_panel: Panel) -> None:
    fitted = Conformal(WindowAverage(3), folds=1, horizon=2).fit(seasonal_panel)
    other = with_arguments(fitted, {"base__window": 4})
    assert other.schema_ is None
    assert fitted.base.window == 3
    assert fitted.schema_ is not None
    same = with_arguments(fitted, {})
    assert same is not fitted
    assert same.schema_ is None


@pytest.mark.parametrize(
    ("forecaster", "name", "message"),
    [
        (WindowAverage(3), "windw", r"^WindowAverage has no argument 'windw'; it has window, .*Did you mean 'window'"),
        (net(), "training__sede", r"^TrainingSpec has no argument 'sede'; .*Did you mean 'seed'"),
        (net(), "network__untis", r"unknown key 'untis'.*Did you mean 'units'"),
        (net(Recurrent()), "network__untis", r"^Recurrent has no argument 'untis'.*Did you mean 'units'"),
        (Conformal("WindowAverage"), "base__windw", r"^WindowAverage has no argument 'windw'.*mean 'window'"),
        (MIXED, "base__members__c__window", r"^members has no argument 'c'; it has a, b\."),
        (MIXED, "base__members__c", r"^members has no argument 'c'; it has a, b\."),
        (Ensemble(["Naive"]), "members__1__horizon", r"^members has no argument '1'; it has 0\."),
        (WindowAverage(3), "window__x", "^window is 3, which has no arguments inside; leave out what follows"),
        (WindowAverage(3), "window__", "an argument is named as in 'window' or 'training__seed', got 'window__'"),
        (WindowAverage(3), "__window", "an argument is named as in"),
        (WindowAverage(3), "", "an argument is named as in"),
    ],
)  # fmt: skip
def test_names_that_are_not_there_are_refused_with_the_nearest(forecaster: Any, name: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        with_arguments(forecaster, {name: 3})


def test_a_refused_value_is_the_constructors_word() -> None:
    with pytest.raises(ArgumentError, match="seed must be a whole number, at least 0; got -1"):
        with_arguments(net(), {"training__seed": -1})
