"""Covariates on their way into a network: categories, numbers, calendar features."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import Naive, Panel, PanelSchema
from forecast_kit import typing as fk
from forecast_kit.data.calendar import calendar_features
from forecast_kit.data.covariates import CovariateEncoder, Sizes
from forecast_kit.data.future import future_values
from forecast_kit.data.joining import join
from forecast_kit.data.windows import WindowSpec, gather
from forecast_kit.errors import DataError, NotFittedError, SchemaError

SCHEMA = PanelSchema(
    freq="D", past=("temp", "sky"), future=("promo", "day_type"), static=("size", "town"),
    categorical=("sky", "day_type", "town"), calendar=("weekday", "week:1"),
)  # fmt: skip
TOWNS = pd.DataFrame({"unique_id": ["b", "a"], "size": [20.0, 10.0], "town": ["York", "Bath"]})


def weather(days: int = 12, start: str = "2024-02-25") -> pd.DataFrame:
    rng = np.random.default_rng(5)
    frames = []
    for name, n in (("a", days), ("b", days - 3)):
        stamps = pd.date_range(start, periods=n, freq="D")
        frames.append(pd.DataFrame({
            "unique_id": name, "ds": stamps, "y": rng.normal(size=n), "temp": rng.normal(12, 5, n),
            "sky": rng.choice(["sun", "rain", "fog"], n), "promo": rng.integers(0, 2, n),
            "day_type": np.where(stamps.day_of_week < 5, 1, 2),
        }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def panel_of(frame: pd.DataFrame, **changes) -> Panel:
    return Panel.from_frame(frame, replace(SCHEMA, **changes), static=TOWNS)


def test_a_panel_gives_back_categories_as_they_were_written() -> None:
    frame = weather()
    panel = panel_of(frame.sample(frac=1.0, random_state=1))
    pd.testing.assert_frame_equal(panel.to_frame(), frame, check_dtype=False)
    pd.testing.assert_frame_equal(
        panel.static_frame(), TOWNS.sort_values("unique_id", ignore_index=True), check_dtype=False
    )
    assert panel.categories == {"sky": ("fog", "rain", "sun"), "day_type": (1, 2), "town": ("Bath", "York")}
    again = Panel.from_frame(panel.to_frame(), panel.schema, static=panel.static_frame())
    assert again.digest == panel.digest


def test_categories_survive_saving_and_change_the_digest(tmp_path) -> None:
    panel = panel_of(weather())
    panel.save(tmp_path / "panel.npz")
    loaded = Panel.load(tmp_path / "panel.npz")
    assert (loaded.digest, loaded.categories) == (panel.digest, panel.categories)
    assert panel_of(weather().replace({"sky": {"fog": "fig"}})).digest != panel.digest


def naive_encoding(train: pd.DataFrame, column: str, values: list) -> list[float]:
    """Mean and deviation, or place in the sorted vocabulary, by plain Python."""
    if column in SCHEMA.categorical:
        vocabulary = sorted(set(train[column]))
        return [1 + vocabulary.index(v) if v in vocabulary else 0 for v in values]
    mean, deviation = train[column].mean(), train[column].std(ddof=0)
    return [(v - mean) / deviation for v in values]


def test_what_was_learned_from_the_training_part_holds_for_other_panels() -> None:
    train = weather()
    encoder = CovariateEncoder().fit(panel_of(train))
    later = weather(9, "2024-04-01")
    later.loc[2:5, "sky"] = "hail"
    later["day_type"] = [2, 7, 1] * 5
    encoded = encoder.transform(panel_of(later))
    assert encoded.past.dtype == np.float32
    for block, names in ((encoded.past, SCHEMA.past), (encoded.future, SCHEMA.future)):
        for k, name in enumerate(names):
            np.testing.assert_allclose(block[:, k], naive_encoding(train, name, later[name].tolist()), rtol=1e-5)
    np.testing.assert_allclose(encoded.static, [[-1.0, 1.0], [1.0, 2.0]])
    assert encoder.sizes(encoded) == Sizes(past=(0, 4, 0, 3, 0, 0, 0), future=(0, 3, 0, 0, 0), static=(0, 3))


def test_the_order_in_which_a_panel_met_its_categories_does_not_matter() -> None:
    frame = weather()
    encoder = CovariateEncoder().fit(panel_of(frame))
    part = frame[frame["sky"] != "fog"].groupby("unique_id").tail(1)
    whole, alone = panel_of(frame), panel_of(part)
    last = whole.indptr[1:] - 1
    rows = [k for k in last if frame["sky"][k] != "fog"]
    if len(rows) == 2:
        np.testing.assert_array_equal(encoder.transform(alone).past, encoder.transform(whole).past[rows])
    assert alone.categories["sky"] != whole.categories["sky"]


def test_future_categories_that_the_panel_never_had_are_never_seen_or_known_to_the_model() -> None:
    train = panel_of(weather())
    encoder = CovariateEncoder().fit(train)
    history = panel_of(weather().assign(day_type=1))  # 2 is in the model's vocabulary and not in this panel
    ahead = history.future_frame(2).assign(promo=1.0)
    assert ahead["day_type"].isna().all()
    ahead["day_type"] = [1, 2, 9, 1]
    values = future_values(history, ahead, 2)
    assert values[:, :, 1].tolist() == [[0.0, -1.0], [-1.0, 0.0]]
    encoded = encoder.transform_future(values, history)
    assert encoded[:, :, 1].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_future_category_of_another_kind_is_refused_and_not_taken_for_never_seen() -> None:
    panel = panel_of(weather())
    ahead = panel.future_frame(2).assign(promo=1.0)
    with pytest.raises(
        SchemaError, match="column 'day_type' of the future frame holds text, such as '1', but that of the history "
        r"whole numbers, such as 1: convert it with .astype\('Int64'\)",
    ):  # fmt: skip
        future_values(panel, ahead.assign(day_type=["1", "2", "1", "1"]), 2)
    floats = future_values(panel, ahead.assign(day_type=[1.0, 2.0, 9.0, 1.0]), 2)
    assert floats[:, :, 1].tolist() == [[0.0, 1.0], [-1.0, 0.0]]
    yes_or_no = panel_of(weather().assign(day_type=[0, 1, 1] * 7))
    booleans = future_values(yes_or_no, ahead.assign(day_type=[True, False, False, True]), 2)
    assert booleans[:, :, 1].tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(("column", "value"), [("sky", 3), ("day_type", "1"), ("town", 7)])
def test_a_history_of_another_kind_of_categories_is_refused_by_every_forecaster(column: str, value: object) -> None:
    model = Naive(horizon=2).fit(panel_of(weather()))
    static = TOWNS.assign(town=value) if column == "town" else TOWNS
    frame = weather() if column == "town" else weather().assign(**{column: value})
    history = Panel.from_frame(frame, SCHEMA, static=static)
    ahead = panel_of(weather()).future_frame(2).assign(promo=1.0, day_type=1)
    for use in (lambda: model.predict(history=history, future=ahead), lambda: model.update(history)):
        with pytest.raises(SchemaError, match=f"column '{column}' of the history holds .*but that of the training"):
            use()
    with pytest.raises(SchemaError, match=f"column '{column}' of the new rows holds .*but that of the known ones"):
        join(panel_of(weather()), history)


def test_whole_numbers_with_gaps_are_left_to_the_policy() -> None:
    frame = weather()
    day_type = frame["day_type"].astype(float)
    day_type[[3, 14]] = np.nan
    with pytest.raises(DataError, match="column 'day_type' has 2 missing values: a at 2024-02-28, b at 2024-02-27"):
        panel_of(frame.assign(day_type=day_type))
    carried = panel_of(frame.assign(day_type=day_type), covariate_gaps="ffill")
    assert carried.categories["day_type"] == (1, 2)
    assert carried.to_frame()["day_type"].tolist() == day_type.ffill().tolist()
    named = panel_of(frame.assign(day_type=day_type), covariate_gaps="zero")
    assert named.categories["day_type"] == (1, 2, None)
    assert CovariateEncoder().fit(named).encoders_["day_type"].vocabulary_ == (1, 2, None)
    again = Panel.from_frame(named.to_frame(), named.schema, static=named.static_frame())
    assert again.digest == named.digest


def test_a_missing_future_category_is_named() -> None:
    panel = panel_of(weather())
    ahead = panel.future_frame(3).assign(promo=0.0, day_type=pd.array([1, 2, None, 1, 1, 2], "Int64"))
    with pytest.raises(DataError, match="lacks 1 values of 'day_type': a from 2024-03-10 to 2024-03-10"):
        future_values(panel, ahead, 3)


def test_missing_categories_follow_the_policy() -> None:
    frame = weather()
    frame.loc[[3, 4, 14], "sky"] = None
    with pytest.raises(DataError, match="column 'sky' has 3 missing values: a at 2024-02-28, a at 2024-02-29, b at"):
        panel_of(frame)
    carried = panel_of(frame, covariate_gaps="ffill")
    assert carried.to_frame()["sky"].tolist() == frame["sky"].ffill().tolist()
    named = panel_of(frame, covariate_gaps="zero")
    assert named.categories["sky"] == ("fog", "rain", "sun", None)
    assert named.to_frame()["sky"].isna().tolist() == frame["sky"].isna().tolist()
    assert named.audit.frame["rows"].tolist() == [2, 1]
    encoder = CovariateEncoder().fit(named)
    assert encoder.encoders_["sky"].labels == ("(unseen)", "fog", "rain", "sun", "(missing)")
    assert encoder.transform(named).past[[3, 4, 14], 1].tolist() == [4, 4, 4]


def test_of_duplicate_rows_the_first_category_counts() -> None:
    frame = weather()
    doubled = pd.concat([frame, frame.iloc[[0]].assign(sky="hail", temp=0.0)])
    panel = panel_of(doubled, duplicates="mean")
    assert panel.to_frame()["sky"].tolist() == frame["sky"].tolist()
    assert panel.past[0, 0] == pytest.approx(frame["temp"][0] / 2)


def test_the_vocabulary_is_that_of_the_training_part() -> None:
    frame = weather()
    frame["sky"] = "sun"
    frame.loc[frame.groupby("unique_id").tail(2).index, "sky"] = "hail"
    panel = panel_of(frame)
    train, test = panel.split(2)
    encoder = CovariateEncoder().fit(train)
    assert encoder.encoders_["sky"].vocabulary_ == ("sun",)
    assert encoder.transform(test).past[:, 1].tolist() == [0, 0, 0, 0]


def test_constant_numbers_become_zero() -> None:
    panel = panel_of(weather().assign(temp=1e6 + 0.1))
    np.testing.assert_allclose(CovariateEncoder().fit(panel).transform(panel).past[:, 0], 0.0, atol=1e-6)


def test_the_encoder_travels_as_json() -> None:
    panel = panel_of(weather())
    encoder = CovariateEncoder().fit(panel)
    loaded = CovariateEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    np.testing.assert_array_equal(loaded.transform(panel).past, encoder.transform(panel).past)
    assert loaded.sizes(panel) == encoder.sizes(panel)
    with pytest.raises(NotFittedError):
        CovariateEncoder().to_dict()


@given(st.integers(0, 1000), st.integers(1, 9), st.integers(1, 4))
@settings(deadline=None, max_examples=30)
def test_windows_hold_the_calendar_of_their_own_steps(seed: int, length: int, horizon: int) -> None:
    rng = np.random.default_rng(seed)
    frames = [
        pd.DataFrame({"ds": pd.date_range(f"2024-01-{rng.integers(1, 20):02d}", periods=n, freq="D"), "y": 1.0})
        for n in rng.integers(horizon + 1, 15, 3)
    ]
    frame = pd.concat([f.assign(unique_id=f"s{k}") for k, f in enumerate(frames)])
    panel = Panel.from_frame(frame, freq="D", calendar=["weekday", "month:2"])
    encoder = CovariateEncoder().fit(panel)
    series = rng.integers(0, 3, 6)
    origin = np.array([rng.integers(1, panel.lengths[s] - horizon + 1) for s in series])
    spec = WindowSpec(length, horizon)
    batch = gather(panel, panel.y, series, origin, spec, calendar=encoder.calendar(panel, 0))
    for b, (s, o) in enumerate(zip(series, origin, strict=True)):
        days = frames[s]["ds"].to_numpy()
        expected = calendar_features(days, panel.schema.calendar)
        padded = np.concatenate([np.zeros((length, expected.shape[1])), expected])[o : o + length]
        np.testing.assert_allclose(batch[fk.PAST_X][b], padded, atol=1e-6)
        np.testing.assert_allclose(batch[fk.FUTURE_X][b], expected[o : o + horizon], atol=1e-6)
    ahead = gather(
        panel, panel.y, np.arange(3), panel.lengths, spec, calendar=encoder.calendar(panel, horizon),
        future=np.empty((3, horizon, 0)),
    )  # fmt: skip
    expected = calendar_features(panel.horizon_stamps(horizon), panel.schema.calendar)
    np.testing.assert_allclose(ahead[fk.FUTURE_X], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"categorical": ("sky_type",)},
            "categorical names 'sky_type', which is no covariate; .*Did you mean 'day_type'",
        ),
        ({"calendar": ("weekdy",)}, "calendar: unknown feature 'weekdy'.*Did you mean 'weekday'"),
        ({"calendar": ("hour",)}, "calendar: the feature 'hour' makes no sense at freq='D'"),
        ({"calendar": "weekday"}, "calendar takes a list of column names, got the text 'weekday'"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(changes: dict, complaint: str) -> None:
    with pytest.raises(SchemaError, match=complaint):
        replace(SCHEMA, **changes)


def test_a_categorical_column_of_another_kind_is_refused_by_name() -> None:
    encoder = CovariateEncoder().fit(panel_of(weather()))
    with pytest.raises(SchemaError, match="column 'sky' holds integer values.*learned from text"):
        encoder.transform(panel_of(weather().assign(sky=3)))
    with pytest.raises(SchemaError, match="column 'sky' is numeric already"):
        panel_of(weather().assign(sky=0.5))
    with pytest.raises(SchemaError, match="column 'sky' must be numeric.*name it in the schema's categorical"):
        panel_of(weather(), categorical=("day_type", "town"))
