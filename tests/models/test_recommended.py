"""The forecaster to begin with: its rules, and that it runs on what is thrown at it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from forecast_kit import Ensemble, NeuralForecaster, Panel, recommended
from forecast_kit.core.arguments import with_arguments
from forecast_kit.errors import ArgumentError


def panel(rows: int, season: int, *, series: int = 3, low: float = 10.0) -> Panel:
    steps = np.arange(rows)
    frames = [
        pd.DataFrame({"unique_id": f"s{k}", "ds": steps, "y": low + k + np.sin(2 * np.pi * steps / max(season, 2))})
        for k in range(series)
    ]
    return Panel.from_frame(pd.concat(frames), freq=1, season_length=season)


def single(rows: int, season: int, horizon: int = 4, **fields: float) -> NeuralForecaster:
    model = recommended(panel(rows, season, **fields), horizon, members=1)
    assert isinstance(model, NeuralForecaster)
    return model


@pytest.mark.parametrize(
    ("rows", "season", "horizon", "expected"),
    [
        (30, 1, 6, 12),  # a third of the series is less than two horizons
        (90, 1, 6, 30),
        (900, 1, 13, 52),
        (88, 4, 8, 20),
        (700, 24, 48, 168),
        (72, 12, 12, 36),
        (148, 52, 8, 104),  # three seasons and the horizon are more than there is
    ],
)
def test_the_input_is_as_long_as_the_series_allow(rows: int, season: int, horizon: int, expected: int) -> None:
    assert single(rows, season, horizon).input_length == expected


def test_targets_below_zero_are_not_taken_in_logarithms() -> None:
    assert single(60, 4).transform == ("log1p", "standard")
    assert single(60, 4, low=0.0).transform == ("standard",)


def test_a_horizon_is_held_out_where_most_series_can_spare_it() -> None:
    assert (single(60, 4).training.validation, single(60, 4).training.refit) == (1, True)
    assert (single(11, 4).training.validation, single(11, 4).training.refit) == (0, False)


def test_members_are_of_different_kinds_and_then_of_different_seeds() -> None:
    model = recommended(panel(60, 4), 4, members=6, seed=7)
    assert isinstance(model, Ensemble)
    assert model.combine == "median"
    assert list(model._members) == [
        "gru log1p", "encoder_decoder log1p", "gru mean_abs", "segrnn mean_abs", "gru log1p 2",
        "encoder_decoder log1p 2", "theta",
    ]  # fmt: skip
    networks = [member for member in model._members.values() if isinstance(member, NeuralForecaster)]
    assert [member.training.seed for member in networks] == [7, 8, 9, 10, 11, 12]
    one, other = ({**model._members[name].describe(), "training": None} for name in ("gru log1p", "gru log1p 2"))
    assert one == other


@pytest.mark.parametrize(
    ("season", "horizon", "last"), [(4, 7, "segrnn mean_abs"), (4, 8, "gru log1p 2"), (1, 1, "gru log1p 2")]
)
def test_a_segrnn_is_among_them_where_the_horizon_is_within_two_seasons(season: int, horizon: int, last: str) -> None:
    assert list(recommended(panel(60, season), horizon).members)[3] == last


@pytest.mark.parametrize(("rows", "season"), [(60, 4), (11, 4), (9, 1), (40, 24)])
def test_it_fits_and_forecasts(rows: int, season: int) -> None:
    data = panel(rows, season)
    model = with_arguments(recommended(data, 4, members=1), {"training__steps": 4, "training__batch_size": 8})
    assert np.isfinite(model.fit(data).predict(levels=(0.1, 0.9)).quantiles).all()


@pytest.mark.parametrize("members", [0, 1.5])
def test_members_are_counted(members: float) -> None:
    with pytest.raises(ArgumentError, match="members must be a whole number, at least 1"):
        recommended(panel(60, 4), 4, members=members)
