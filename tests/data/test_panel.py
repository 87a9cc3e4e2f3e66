"""Panels: what goes in comes out, what is wrong is refused by name, and pandas says what is right."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import Panel, PanelSchema
from forecast_kit.data.columns import positions
from forecast_kit.data.future import future_values, split_future
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, SchemaError, TimeIndexError, TooShortError

Frame = pd.DataFrame
COVARIATES = PanelSchema(freq="D", past=("load",), future=("temp", "holiday"))


def long(*lengths: int, freq: str = "D", seed: int = 0) -> Frame:
    """Series a, b, c, ... of the given lengths, each starting a day later than the one before."""
    rng = np.random.default_rng(seed)
    frames = []
    for k, length in enumerate(lengths):
        stamps = pd.date_range(pd.Timestamp("2024-01-01") + pd.Timedelta(days=k), periods=length, freq=freq)
        values = {name: rng.normal(10.0, 3.0, length) for name in ("y", "load", "temp", "holiday")}
        frames.append(Frame({"unique_id": "abcdefghij"[k], "ds": stamps, **values}))
    return pd.concat(frames, ignore_index=True)


def assert_same_rows(ours: Frame, theirs: Frame) -> None:
    columns = [*ours.columns]
    pd.testing.assert_frame_equal(ours, theirs[columns].reset_index(drop=True), check_dtype=False)


def assert_same_panel(ours: Panel, theirs: Panel) -> None:
    assert ours.schema == theirs.schema
    assert ours.axis == theirs.axis
    for name in ("ids", "start", "indptr", "y", "observed", "past", "future", "static"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


lengths = st.lists(st.integers(1, 12), min_size=1, max_size=5)
seeds = st.integers(0, 2**16)


# ---- frames that are accepted


@given(lengths, seeds)
@settings(deadline=None, max_examples=25)
def test_a_frame_comes_back_whatever_the_order_of_its_rows(sizes: list[int], seed: int) -> None:
    frame = long(*sizes)
    shuffled = frame.sample(frac=1.0, random_state=seed)
    panel = Panel.from_frame(shuffled, COVARIATES)
    assert_same_rows(panel.to_frame(), frame)
    assert_same_panel(panel, Panel.from_frame(frame, COVARIATES))
    assert panel.lengths.tolist() == sizes


def test_columns_may_have_other_names() -> None:
    frame = long(3, 4)[["unique_id", "ds", "y"]]
    renamed = frame.rename(columns={"unique_id": "store", "ds": "day", "y": "sales"})
    panel = Panel.from_frame(renamed, freq="D", id_col="store", time_col="day", target_col="sales")
    assert_same_rows(panel.to_frame(), renamed)
    np.testing.assert_array_equal(panel.y, Panel.from_frame(frame, freq="D").y)


@pytest.mark.parametrize("dtype", ["int64", "int32", "Int64", "category"])
def test_integer_ids_sort_as_numbers(dtype: str) -> None:
    frame = Frame({"unique_id": pd.Series([10, 9, 10, 9], dtype=dtype), "ds": [1, 1, 2, 2], "y": [1.0, 2, 3, 4]})
    panel = Panel.from_frame(frame, freq=1)
    assert panel.ids.dtype.kind == "i"
    assert panel.ids.tolist() == [9, 10]
    assert panel.y.tolist() == [2.0, 4.0, 1.0, 3.0]


def test_categorical_ids_are_the_text_that_they_name_without_unused_categories() -> None:
    frame = long(2, 3)
    as_category = frame.assign(unique_id=pd.Categorical(frame["unique_id"], categories=["z", "b", "a"]))
    assert_same_panel(Panel.from_frame(as_category, COVARIATES), Panel.from_frame(frame, COVARIATES))


@pytest.mark.parametrize("dtype", ["int64", "float32", "Float64", "Int64", "bool"])
def test_any_numeric_target_becomes_float64(dtype: str) -> None:
    frame = Frame({"unique_id": "a", "ds": [1, 2], "y": pd.Series([1, 0], dtype=dtype)})
    panel = Panel.from_frame(frame, freq=1)
    assert panel.y.dtype == np.float64
    assert panel.y.tolist() == [1.0, 0.0]


def test_row_steps_count_from_the_earliest_stamp_of_all_series() -> None:
    panel = Panel.from_frame(long(3, 2), freq="D")
    assert panel.row_steps.tolist() == [0, 1, 2, 1, 2]
    assert panel.last.tolist() == [2, 2]


def test_the_summary_shows_size_frequency_and_span() -> None:
    assert repr(Panel.from_frame(long(3, 4), freq="D")) == "Panel(2 series, 7 rows, freq='D', 2024-01-01 .. 2024-01-05)"


# ---- frames that are refused, by name


def edited(edit: Callable[[Frame], Frame]) -> Frame:
    return edit(long(3, 4))


def put(column: str, row: int, value: object) -> Callable[[Frame], Frame]:
    def edit(frame: Frame) -> Frame:
        values = frame[column].tolist()
        values[row] = value
        return frame.assign(**{column: values})

    return edit


BAD = {
    "missing column": (lambda f: f.rename(columns={"y": "yy"}), SchemaError, "column 'y' is missing.*load"),
    "near name": (lambda f: f.rename(columns={"temp": "tempo"}), SchemaError, "'temp' is missing.*mean 'tempo'"),
    "column twice": (lambda f: pd.concat([f, f[["y"]]], axis=1), SchemaError, "column 'y' occurs 2 times"),
    "duplicate": (lambda f: pd.concat([f, f.iloc[[4]]]), TimeIndexError, "1 duplicate time stamps: b at 2024-01-03"),
    "text target": (put("y", 1, "many"), SchemaError, "'y' must be numeric.*'many'"),
    "numbers as text": (lambda f: f.assign(y=f["y"].astype(str)), SchemaError,
                        "'y' must be numeric, but is str; its numbers are stored as text, such as '"),
    "numbers and text": (lambda f: f.assign(y=[1, *["2.5"] * (len(f) - 1)]), SchemaError,
                         "'y' must be numeric.*its numbers are stored as text, such as '2.5'"),
    "complex target": (lambda f: f.assign(y=f["y"] + 2j), SchemaError, "'y' holds complex numbers .complex128., such"),
    "complex covariate": (lambda f: f.assign(temp=f["temp"] + 0j), SchemaError, "'temp' holds complex numbers"),
    "stamps as target": (lambda f: f.assign(y=f["ds"]), SchemaError, "'y' must be numeric, but is datetime64"),
    "gap": (lambda f: f.drop(index=[4, 5]), TimeIndexError, "2 steps of freq='D' are missing.*: b at 2024-01-03"),
    "no rows": (lambda f: f.iloc[:0], DataError, "no rows; columns: unique_id, ds, y"),
    "infinite target": (put("y", 5, np.inf), DataError, "'y' has 1 infinite values: b at 2024-01-04"),
    "infinite covariate": (put("load", 1, -np.inf), DataError, "'load' has 1 infinite values: a at 2024-01-02"),
    "missing target": (put("y", 3, np.nan), DataError, "'y' has 1 missing values: b at 2024-01-02.*gaps='mask'"),
    "missing covariate": (put("holiday", 6, np.nan), DataError, "'holiday' has 1 missing values: b at 2024-01-05"),
    "text covariate": (put("temp", 2, "mild"), SchemaError, "'temp' must be numeric.*'mild'"),
    "text dates": (lambda f: f.assign(ds=f["ds"].astype(str)), SchemaError, "'ds' is str.*'2024-01-01'.*to_datetime"),
    "numbered time": (lambda f: f.assign(ds=range(len(f))), SchemaError, "freq='D' needs time stamps.*state freq=1"),
    "empty stamp": (put("ds", 4, pd.NaT), TimeIndexError, "'ds' has 1 empty stamps, in series 'b'"),
    "off the grid": (put("ds", 6, pd.Timestamp("2024-01-05 06:00")), TimeIndexError, "such as 2024-01-05 06:00:00"),
    "empty id": (put("unique_id", 4, None), SchemaError, "'unique_id' is empty in 1 rows, first at index 4"),
    "ids that are no names": (lambda f: f.assign(unique_id=1.5), SchemaError, "whole numbers, got float64 such as 1.5"),
}  # fmt: skip


@pytest.mark.parametrize("flaw", BAD)
def test_a_flaw_is_refused_and_named(flaw: str) -> None:
    edit, kind, message = BAD[flaw]
    with pytest.raises(kind, match=message):
        Panel.from_frame(edited(edit), COVARIATES)


@pytest.mark.parametrize("thing", [None, [1, 2], {"y": [1]}, np.ones(3)])
def test_what_is_no_frame_is_refused_by_its_type(thing: object) -> None:
    with pytest.raises(SchemaError, match=f"Arrow C stream.*, got {type(thing).__name__}"):
        Panel.from_frame(thing, freq="D")


def test_calendar_stamps_are_refused_where_steps_are_numbered() -> None:
    with pytest.raises(SchemaError, match="freq=1 means whole-number time, but column 'ds' is datetime64"):
        Panel.from_frame(long(3), freq=1)


def test_no_more_than_five_offenders_are_named() -> None:
    frame = long(9)
    frame.loc[1:7, "y"] = np.nan
    with pytest.raises(DataError, match="7 missing values: a at 2024-01-02, .*a at 2024-01-06 and 2 more;"):
        Panel.from_frame(frame, freq="D")


def test_fields_beside_a_schema_change_it_for_this_panel_alone() -> None:
    panel = Panel.from_frame(long(3), COVARIATES, season_length=3, future=())
    assert panel.schema == replace(COVARIATES, season_length=3, future=())
    assert (panel.season_length, COVARIATES.season_length) == (3, 7)
    assert Panel.from_frame(long(3), COVARIATES.to_dict(), season_length=3, future=()).schema == panel.schema
    with pytest.raises(SchemaError, match="unknown schema key 'seasonlength'.*mean 'season_length'"):
        Panel.from_frame(long(3), COVARIATES, seasonlength=3)


def test_the_frame_is_not_touched() -> None:
    frame = long(3, 4).sample(frac=1.0, random_state=1)
    copy = frame.copy(deep=True)
    Panel.from_frame(frame, COVARIATES).split(1)
    pd.testing.assert_frame_equal(frame, copy)


# ---- gaps="mask"

cells = st.sampled_from(["value", "value", "empty", "absent"])


@given(st.lists(st.lists(cells, min_size=1, max_size=10), min_size=1, max_size=4), st.sampled_from(["D", "MS", "B"]))
@settings(deadline=None, max_examples=50)
def test_masked_steps_carry_the_last_observed_value(kinds: list[list[str]], freq: str) -> None:
    grid = pd.date_range("2024-01-01", periods=10, freq=freq)
    rows = [
        (f"s{k}", grid[t], 100.0 * k + t if cell == "value" else np.nan)
        for k, series in enumerate(kinds)
        for t, cell in enumerate(["value", *series][:10])
        if cell != "absent"
    ]
    frame = Frame(rows, columns=["unique_id", "ds", "y"])
    panel = Panel.from_frame(frame.sample(frac=1.0, random_state=0), freq=freq, gaps="mask")
    expected = [
        part.set_index("ds")["y"].reindex(grid[: grid.get_loc(part["ds"].max()) + 1])
        for _, part in frame.groupby("unique_id")
    ]
    np.testing.assert_array_equal(panel.y, np.concatenate([part.ffill() for part in expected]))
    np.testing.assert_array_equal(panel.observed, np.concatenate([part.notna() for part in expected]))
    np.testing.assert_array_equal(panel.to_frame()["y"], np.concatenate(expected))
    assert panel.past.shape == panel.future.shape == (len(panel.y), 0)
    np.testing.assert_array_equal(panel.tail(3).observed, np.concatenate([part.notna()[-3:] for part in expected]))


def test_empty_values_before_the_first_observation_are_cut_off() -> None:
    frame = Frame(
        {"unique_id": ["a"] * 4 + ["b"] * 2, "ds": [1, 2, 3, 4, 1, 2], "y": [np.nan, np.nan, 3, 4, np.nan, 6]}
    )
    panel = Panel.from_frame(frame, freq=1, gaps="mask")
    assert panel.y.tolist() == [3, 4, 6]
    assert panel.axis.stamps(panel.start).tolist() == [3, 2]
    assert str(panel.audit) == "missing targets before the first one cut off: 3 rows in 2 series ('a' 2, 'b' 1)"


def test_a_series_without_any_observation_is_named() -> None:
    frame = Frame({"unique_id": ["a", "b", "b"], "ds": [1, 1, 2], "y": [1.0, np.nan, np.nan]})
    with pytest.raises(DataError, match="without a single observed value: 'b'"):
        Panel.from_frame(frame, freq=1, gaps="mask")


def test_masking_does_not_invent_covariates() -> None:
    with pytest.raises(TimeIndexError, match=r"b at 2024-01-03.*covariates must be known in every step"):
        Panel.from_frame(edited(lambda f: f.drop(index=4)), replace(COVARIATES, gaps="mask"))


def test_an_empty_target_with_covariates_is_only_unobserved() -> None:
    panel = Panel.from_frame(edited(put("y", 4, np.nan)), replace(COVARIATES, gaps="mask"))
    assert np.flatnonzero(~panel.observed).tolist() == [4]


# ---- parts of a panel


@given(lengths, seeds)
@settings(deadline=None, max_examples=25)
def test_take_keeps_the_named_series(sizes: list[int], seed: int) -> None:
    frame = long(*sizes)
    panel = Panel.from_frame(frame, COVARIATES)
    wanted = np.random.default_rng(seed).choice(panel.ids, size=3)
    part = panel.take(wanted)
    assert_same_rows(part.to_frame(), frame[frame["unique_id"].isin(wanted)])
    assert part.ids.tolist() == sorted(set(wanted.tolist()))


def test_take_names_series_that_are_not_there() -> None:
    with pytest.raises(DataError, match="not in the panel: 'x', 'y'"):
        Panel.from_frame(long(3, 4), freq="D").take(["a", "x", "y"])


@given(lengths, st.lists(st.integers(0, 20), min_size=5, max_size=5))
@settings(deadline=None, max_examples=25)
def test_before_keeps_rows_up_to_each_cutoff(sizes: list[int], extra: list[int]) -> None:
    frame = long(*sizes)
    panel = Panel.from_frame(frame, COVARIATES)
    cutoff = panel.start + np.array(extra[: len(sizes)])
    limit = dict(zip(panel.ids.tolist(), panel.axis.stamps(cutoff), strict=True))
    expected = frame[frame["ds"] <= frame["unique_id"].map(limit)]
    assert_same_rows(panel.before(cutoff).to_frame(), expected)


def test_a_cutoff_before_the_first_row_is_refused() -> None:
    with pytest.raises(TooShortError, match="up to the cutoff in series 'b'"):
        Panel.from_frame(long(3, 4), freq="D").before(np.array([0, 0]))


@given(lengths, st.integers(1, 15))
@settings(deadline=None, max_examples=25)
def test_tail_keeps_the_last_rows(sizes: list[int], rows: int) -> None:
    frame = long(*sizes)
    assert_same_rows(Panel.from_frame(frame, COVARIATES).tail(rows).to_frame(), frame.groupby("unique_id").tail(rows))


@given(st.lists(st.integers(5, 12), min_size=1, max_size=4), st.integers(1, 4))
@settings(deadline=None, max_examples=25)
def test_split_cuts_off_the_last_steps(sizes: list[int], horizon: int) -> None:
    frame = long(*sizes)
    train, test = Panel.from_frame(frame, COVARIATES).split(horizon)
    late = frame.groupby("unique_id").cumcount(ascending=False) < horizon
    assert_same_rows(train.to_frame(), frame[~late])
    assert_same_rows(test.to_frame(), frame[late])


def test_split_names_series_that_would_be_left_empty() -> None:
    panel = Panel.from_frame(long(9, 3, 2), freq="D")
    with pytest.raises(TooShortError, match=r"2 series have 3 observations or fewer.*'b', 'c'"):
        panel.split(3)
    with pytest.raises(ArgumentError, match="at least 1; got 0"):
        panel.split(0)


def test_series_and_locate_go_by_id() -> None:
    frame = long(2, 3)
    panel = Panel.from_frame(frame, freq="D")
    for name, values in panel.series:
        np.testing.assert_array_equal(values, frame.loc[frame["unique_id"] == name, "y"])
    assert panel.locate(np.array(["b", "nobody", "a"])).tolist() == [1, -1, 0]
    assert panel.locate(np.array([0, 1])).tolist() == [-1, -1]


# ---- known-future covariates


def filled(panel: Panel, horizon: int) -> Frame:
    frame = panel.future_frame(horizon)
    return frame.assign(temp=np.arange(len(frame)) * 1.0, holiday=-np.arange(len(frame)) * 1.0)


@pytest.fixture
def weather() -> Panel:
    return Panel.from_frame(long(3, 4), COVARIATES)


def test_the_future_frame_asks_for_the_steps_after_each_series(weather: Panel) -> None:
    frame = weather.future_frame(2)
    assert frame["unique_id"].tolist() == ["a", "a", "b", "b"]
    assert frame["ds"].astype(str).tolist() == ["2024-01-04", "2024-01-05", "2024-01-06", "2024-01-07"]
    assert frame[["temp", "holiday"]].isna().all(axis=None)


@pytest.mark.parametrize("seed", range(4))
def test_future_values_go_by_series_and_stamp(weather: Panel, seed: int) -> None:
    frame = filled(weather, 2)
    extra = pd.concat([frame.assign(unique_id="z"), long(3, 4).assign(temp=99.0, holiday=np.nan), filled(weather, 5)])
    extra = extra[~extra.set_index(["unique_id", "ds"]).index.isin(frame.set_index(["unique_id", "ds"]).index)]
    messy = pd.concat([frame, extra[["holiday", "unique_id", "temp", "ds"]]]).sample(frac=1.0, random_state=seed)
    values = future_values(weather, messy, 2)
    np.testing.assert_array_equal(values[..., 0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(values[..., 1], [[0, -1], [-2, -3]])
    np.testing.assert_array_equal(values, future_values(weather, values, 2))


def test_incomplete_future_values_are_named(weather: Panel) -> None:
    frame = filled(weather, 3)
    with pytest.raises(DataError, match="lacks 2 values of 'temp': b from 2024-01-07 to 2024-01-08"):
        future_values(weather, frame.iloc[:-2], 3)
    with pytest.raises(DataError, match="lacks 1 values of 'holiday': a from 2024-01-05 to 2024-01-05"):
        future_values(weather, put("holiday", 1, np.nan)(frame), 3)
    with pytest.raises(DataError, match="lacks 3 values of 'temp': a from 2024-01-04 to 2024-01-06"):
        future_values(weather, frame[frame["unique_id"] == "b"], 3)


def test_future_values_are_refused_with_the_reason(weather: Panel) -> None:
    frame = filled(weather, 2)
    with pytest.raises(TimeIndexError, match="duplicate rows: b from 2024-01-06 to 2024-01-06"):
        future_values(weather, pd.concat([frame, frame.iloc[[2]]]), 2)
    with pytest.raises(SchemaError, match=r"'temp', 'holiday' are needed.*panel.future_frame\(2\)"):
        future_values(weather, None, 2)
    with pytest.raises(SchemaError, match="column 'temp' is missing"):
        future_values(weather, frame.drop(columns="temp"), 2)
    with pytest.raises(SchemaError, match=r"shape \(2, 2, 2\).*got \(2, 1, 2\)"):
        future_values(weather, np.zeros((2, 1, 2)), 2)


def test_what_is_known_after_the_horizon_is_told_as_far_as_it_is_of_use(weather: Panel) -> None:
    frame = filled(weather, 4)
    lacking = frame.copy()
    lacking.loc[lacking.index[2], "temp"] = np.nan  # of the first series, the third step
    told, whole = future_values(weather, lacking, 2, reach=4), future_values(weather, frame, 4)
    np.testing.assert_array_equal(told[1], whole[1])
    np.testing.assert_array_equal(told[0], whole[0][[0, 1, 1, 1]])  # from there on, the last row that is known
    np.testing.assert_array_equal(future_values(weather, whole[:, :3], 2, reach=4)[:, 3], whole[:, 2])
    with pytest.raises(DataError, match="lacks 1 values of 'temp'"):
        future_values(weather, lacking, 3, reach=4)


def test_without_future_covariates_none_are_needed() -> None:
    assert future_values(Panel.from_frame(long(3), freq="D"), None, 4).shape == (1, 4, 0)


def test_split_future_parts_history_from_rows_that_only_have_covariates() -> None:
    frame = long(5, 6)
    late = frame.groupby("unique_id").cumcount(ascending=False) < 2
    mixed = frame.assign(y=frame["y"].mask(late)).sample(frac=1.0, random_state=3)
    past, ahead = split_future(mixed, COVARIATES)
    assert ahead is not None
    assert_same_rows(Panel.from_frame(past, COVARIATES).to_frame(), frame[~late])
    assert ahead["y"].isna().all()
    assert_same_rows(ahead.drop(columns="y").sort_index().reset_index(drop=True), frame[late])
    assert future_values(Panel.from_frame(past, COVARIATES), ahead, 2).shape == (2, 2, 2)


def test_split_future_leaves_holes_in_the_history_where_they_are() -> None:
    hole = edited(put("y", 1, np.nan))
    past, ahead = split_future(hole, COVARIATES)
    assert ahead is None
    pd.testing.assert_frame_equal(past, hole)


# ---- static covariates

STATIC = PanelSchema(freq="D", static=("size", "floor"))


def test_static_covariates_come_from_their_own_frame_or_from_the_long_one() -> None:
    frame, static = long(3, 4), Frame({"floor": [2, 1, 9], "unique_id": ["b", "a", "z"], "size": [20.5, 10.5, 0.0]})
    own = Panel.from_frame(frame, STATIC, static=static)
    assert own.static.tolist() == [[10.5, 1.0], [20.5, 2.0]]
    assert_same_panel(own, Panel.from_frame(frame.merge(static, on="unique_id"), STATIC))
    assert own.take("b").static.tolist() == [[20.5, 2.0]]


@pytest.mark.parametrize(
    ("static", "kind", "message"),
    [
        (Frame({"unique_id": ["a", "b"], "size": [1, 2]}), SchemaError, "static columns are missing: 'floor'"),
        (Frame({"unique_id": ["a"], "size": [1], "floor": [1]}), SchemaError, "lacks series 'b'"),
        (Frame({"unique_id": ["a", "b", "b"], "size": 1, "floor": 1}), SchemaError, "have several: 'b'"),
        (Frame({"unique_id": ["a", "b"], "size": [1, np.nan], "floor": 1}), DataError, "infinite for series 'b'"),
        (Frame({"unique_id": ["a", "b"], "size": ["S", "L"], "floor": 1}), SchemaError, "'size' must be numeric.*'S'"),
    ],
)
def test_a_bad_static_frame_is_refused(static: Frame, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Panel.from_frame(long(3, 4), STATIC, static=static)


def test_static_values_that_change_in_time_are_refused() -> None:
    frame = long(3, 4).assign(size=1.0, floor=[1, 1, 1, 1, 1, 1, 2])
    with pytest.raises(SchemaError, match="have several: 'b'"):
        Panel.from_frame(frame, STATIC)


def test_a_static_frame_that_the_schema_does_not_want_is_refused() -> None:
    with pytest.raises(SchemaError, match="names no static columns"):
        Panel.from_frame(long(3), freq="D", static=Frame({"unique_id": ["a"], "size": [1]}))


# ---- files and digests


@pytest.fixture
def rich_panel() -> Panel:
    schema = replace(COVARIATES, static=("size",), gaps="mask")
    return Panel.from_frame(edited(put("y", 4, np.nan)).assign(size=1.5), schema)


def test_a_saved_panel_comes_back_exactly(rich_panel: Panel, tmp_path: Path) -> None:
    numbered = Panel.from_frame(Frame({"unique_id": [3, 3], "ds": [7, 9], "y": [0.1, 0.2]}), freq=2)
    for k, panel in enumerate([rich_panel, rich_panel.tail(2), numbered]):
        panel.save(tmp_path / f"{k}.npz")
        back = Panel.load(tmp_path / f"{k}.npz")
        assert_same_panel(back, panel)
        assert back.digest == panel.digest


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.98])
def test_a_damaged_panel_file_is_called_damaged(rich_panel: Panel, tmp_path: Path, share: float) -> None:
    file = tmp_path / "panel.npz"
    rich_panel.save(file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ArtifactError, match=r"panel\.npz.*damaged"):
        Panel.load(file)


def test_a_file_with_flipped_bytes_or_foreign_content_is_called_damaged(rich_panel: Panel, tmp_path: Path) -> None:
    file = tmp_path / "panel.npz"
    rich_panel.save(file)
    with zipfile.ZipFile(file) as archive:  # in the middle of what is stored, not in a header that nobody reads
        largest = max(archive.infolist(), key=lambda info: info.compress_size)
    content = bytearray(file.read_bytes())
    content[largest.header_offset + 30 + len(largest.filename) + 20 + largest.compress_size // 2] ^= 0xFF
    file.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match="damaged"):
        Panel.load(file)
    np.savez(tmp_path / "foreign.npz", a=np.ones(3))
    with pytest.raises(ArtifactError, match="foreign"):
        Panel.load(tmp_path / "foreign.npz")


CHANGES: dict[str, Callable[[Frame], Frame]] = {
    "nothing but the order": lambda f: f.sample(frac=1.0, random_state=0),
    "a value": lambda f: f.assign(y=f["y"].where(f.index != 3, 0.0)),
    "a covariate": lambda f: f.assign(load=f["load"].where(f.index != 3, 0.0)),
    "a future covariate": lambda f: f.assign(temp=f["temp"].where(f.index != 3, 0.0)),
    "an id": lambda f: f.assign(unique_id=f["unique_id"].replace("b", "c")),
    "the calendar": lambda f: f.assign(ds=f["ds"] + pd.Timedelta(days=1)),
    "one series' calendar": lambda f: f.assign(ds=f["ds"] + pd.to_timedelta((f["unique_id"] == "b") * 1, unit="D")),
    "a row less": lambda f: f.iloc[:-1],
}


def test_the_digest_changes_with_the_data_and_not_with_the_order_of_rows() -> None:
    digests = {name: Panel.from_frame(change(long(3, 4)), COVARIATES).digest for name, change in CHANGES.items()}
    assert digests.pop("nothing but the order") == Panel.from_frame(long(3, 4), COVARIATES).digest
    every = {*digests.values(), Panel.from_frame(long(3, 4), COVARIATES).digest}
    every.add(Panel.from_frame(long(3, 4), replace(COVARIATES, season_length=3)).digest)
    assert len(every) == len(digests) + 2
    assert all(len(digest) == 16 for digest in every)


def test_the_digest_tells_a_real_value_from_a_carried_one() -> None:
    real = Frame({"unique_id": "a", "ds": [1, 2], "y": [5.0, 5.0]})
    carried = real.assign(y=[5.0, np.nan])
    panels = [Panel.from_frame(frame, freq=1, gaps="mask") for frame in (real, carried)]
    assert panels[0].y.tolist() == panels[1].y.tolist()
    assert panels[0].digest != panels[1].digest


def test_a_schema_may_be_a_mapping_and_no_series_is_no_panel() -> None:
    panel = Panel.from_frame(long(3), {"freq": "D"})
    assert panel.schema.freq == "D"
    with pytest.raises(DataError, match="no series was chosen"):
        panel.take([])


@pytest.mark.parametrize("ids", [["b", "é", "a", "b"], [11, 7, 30, 11]])
def test_categories_name_series_as_what_they_stand_for_does(ids: list) -> None:
    frame = pd.DataFrame({"unique_id": ids, "ds": [1, 1, 1, 2], "y": [1.0, 2, 3, 4]})
    kinds = pd.CategoricalDtype([ids[2], "zz" if isinstance(ids[0], str) else 99, ids[0], ids[1]])
    ours = Panel.from_frame(frame.astype({"unique_id": kinds}), freq=1)
    theirs = Panel.from_frame(frame, freq=1)
    assert ours.ids.dtype.kind == theirs.ids.dtype.kind
    assert ours.ids.tolist() == theirs.ids.tolist()
    np.testing.assert_array_equal(ours.y, theirs.y)


@pytest.mark.parametrize("known", [["a", "b", "é", "𝕏"], ["b", "a", "𝕏", "é"], [3, 5, 9, 11], [9, 3, 11, 5], ["a"]])
def test_positions_are_those_of_a_search_one_by_one(known: list) -> None:
    sought = [*known[::-1], *(["", "zz", "a "] if isinstance(known[0], str) else [-1, 4, 99])]
    expected = [known.index(one) if one in known else -1 for one in sought]
    assert positions(np.array(known), np.array(sought)).tolist() == expected
    other = np.array([1, 2]) if isinstance(known[0], str) else np.array(["3"])
    assert positions(np.array(known), other).tolist() == [-1] * len(other)
