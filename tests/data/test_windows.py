"""Windows against loops that spell out what they are."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import groupby
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forecast_kit import Panel, PanelSchema
from forecast_kit import typing as fk
from forecast_kit.data import windows
from forecast_kit.data.windows import WindowIndex, WindowSpec, gather
from forecast_kit.errors import ArgumentError, DataError, TooShortError

SCHEMA = PanelSchema(freq=1, past=("p",), future=("k", "l"), static=("size",), gaps="mask")
specs = st.builds(WindowSpec, st.integers(1, 8), st.integers(1, 4), st.integers(1, 5), max_gap=st.just(99))
strict_specs = st.builds(
    WindowSpec, st.integers(1, 8), st.integers(1, 4), st.integers(1, 5), stride=st.integers(1, 4),
    min_observed=st.sampled_from([0.0, 0.25, 0.5, 0.6, 1.0]), max_gap=st.sampled_from([None, 0, 1, 3, 99]),
)  # fmt: skip
sizes = st.lists(st.integers(1, 15), min_size=1, max_size=6)
seeds = st.integers(0, 2**16)


def ragged(lengths: list[int], seed: int = 0) -> Panel:
    """A panel with covariates of all three kinds; about a third of its steps are unobserved."""
    rng = np.random.default_rng(seed)
    owner, step = np.repeat(np.arange(len(lengths)), lengths), np.concatenate([np.arange(n) for n in lengths])
    values = {name: rng.normal(size=len(owner)) for name in ("y", "p", "k", "l")}
    frame = pd.DataFrame({"unique_id": owner, "ds": step, "size": 0.5 * owner, **values})
    frame["y"] = frame["y"].mask((rng.random(len(owner)) < 0.3) & (step > 0))
    return Panel.from_frame(frame, SCHEMA)


def masked(*observed: str, season_length: int = 1) -> Panel:
    """A series for each text, with a step for each letter: `x` is observed, `.` is not."""
    frames = [
        pd.DataFrame({"unique_id": f"s{k}", "ds": range(len(text)), "y": [1.0 if c == "x" else np.nan for c in text]})
        for k, text in enumerate(observed)
    ]
    return Panel.from_frame(pd.concat(frames), freq=1, season_length=season_length, gaps="mask")


def verdict(panel: Panel, spec: WindowSpec, series: int, origin: int) -> str:
    """Why a window that lies inside its series is dropped, or "used"."""
    seen = panel.observed[panel.indptr[series] : panel.indptr[series + 1]].tolist()
    begin = max(origin - spec.input_length, 0)
    longest = max((len(list(run)) for real, run in groupby(seen[begin : origin + spec.horizon]) if not real), default=0)
    if origin < spec.min_history:
        return "short"
    if sum(seen[begin:origin]) < spec.min_observed * spec.input_length - 1e-6:
        return "scarce"
    return "gap" if longest > (panel.season_length if spec.max_gap is None else spec.max_gap) else "used"


def verdicts(panel: Panel, spec: WindowSpec) -> dict[tuple[int, int], str]:
    """The verdict on every window, by series and origin."""
    return {
        (series, origin): verdict(panel, spec, series, origin)
        for series, length in enumerate(panel.lengths.tolist())
        for origin in sorted(range(length - spec.horizon, 0, -spec.stride))
    }


def windows_of(index: WindowIndex) -> list[tuple[int, int]]:
    series, origin = index.locate(np.arange(len(index)))
    return list(zip(series.tolist(), origin.tolist(), strict=True))


def all_windows(lengths: list[int], spec: WindowSpec) -> list[tuple[int, int]]:
    return [
        (series, origin)
        for series, length in enumerate(lengths)
        for origin in range(length + 1)
        if origin >= spec.min_history and origin + spec.horizon <= length
    ]


@given(sizes, specs)
@settings(deadline=None, max_examples=60)
def test_the_index_counts_every_window_once(lengths: list[int], spec: WindowSpec) -> None:
    expected = all_windows(lengths, spec)
    assume(expected)
    index = WindowIndex(ragged(lengths), spec)
    series, origin = index.locate(np.arange(len(index)))
    assert list(zip(series.tolist(), origin.tolist(), strict=True)) == expected
    assert set(index.dropped.tolist()) == set(range(len(lengths))) - {series for series, _ in expected}


@given(sizes, specs, seeds)
@settings(deadline=None, max_examples=25)
def test_draws_are_windows_of_the_index_and_repeat_with_the_seed(
    lengths: list[int], spec: WindowSpec, seed: int
) -> None:
    assume(all_windows(lengths, spec))
    index = WindowIndex(ragged(lengths), spec)
    series, origin = index.draw(40, np.random.default_rng(seed))
    assert set(zip(series.tolist(), origin.tolist(), strict=True)) <= set(all_windows(lengths, spec))
    again = index.draw(40, np.random.default_rng(seed))
    np.testing.assert_array_equal((series, origin), again)


def test_every_window_is_drawn_as_often_as_any_other() -> None:
    index = WindowIndex(ragged([3, 9, 2]), WindowSpec(2, 1, max_gap=99))
    series, origin = index.draw(20_000, np.random.default_rng(0))
    _, counts = np.unique(series * 100 + origin, return_counts=True)
    assert len(counts) == len(index) == 2 + 8 + 1
    np.testing.assert_allclose(counts, 20_000 / 11, rtol=0.1)


def test_without_a_single_window_the_lengths_are_told() -> None:
    with pytest.raises(TooShortError, match=r"needs 3 steps and a horizon of 4, the longest series has 6 steps.*0, 1"):
        WindowIndex(ragged([6, 5]), WindowSpec(2, 4, 3))


@given(sizes, strict_specs, seeds, st.sampled_from([1, 3, 1000]))
@settings(deadline=None, max_examples=200)
def test_the_index_holds_exactly_the_windows_that_pass_and_reports_the_others(
    lengths: list[int], spec: WindowSpec, seed: int, chunk: int
) -> None:
    panel = ragged(lengths, seed)
    said = verdicts(panel, spec)
    used = [window for window, reason in said.items() if reason == "used"]
    with mock.patch.object(windows, "_CHUNK", chunk):
        if not used:
            with pytest.raises(DataError):
                WindowIndex(panel, spec)
            return
        index = WindowIndex(panel, spec)
    assert windows_of(index) == used
    report = index.report()
    assert (report.windows, report.series) == (len(used), len({series for series, _ in used}))
    assert report.padded == sum(origin < spec.input_length for _, origin in used)
    assert set(report.without) == set(index.dropped.tolist()) == set(range(len(lengths))) - {s for s, _ in used}
    names = {"short": "before the cutoff", "scarce": "input steps observed", "gap": "in a row not observed"}
    told = {reason: drop for reason, text in names.items() for drop in report.dropped if text in drop.reason}
    assert len(told) == len(report.dropped)
    for reason in names:
        lost = [series for (series, _), why in said.items() if why == reason]
        found = told.get(reason)
        assert (found.windows if found else 0) == len(lost)
        too_short = {k for k, n in enumerate(lengths) if n < spec.min_history + spec.horizon}
        assert set(found.ids if found else ()) == set(lost) | (too_short if reason == "short" else set())


@given(sizes, strict_specs, seeds)
@settings(deadline=None, max_examples=60)
def test_what_is_drawn_has_passed(lengths: list[int], spec: WindowSpec, seed: int) -> None:
    panel = ragged(lengths, seed)
    used = {window for window, reason in verdicts(panel, spec).items() if reason == "used"}
    assume(used)
    weights = np.random.default_rng(seed).integers(0, 3, len(lengths)).astype(float)
    possible = {window for window in used if weights[window[0]]}
    assume(possible)
    for sampling in ("windows", "series"):
        index = WindowIndex(panel, replace(spec, sampling=sampling), weights=weights)
        series, origin = index.draw(60, np.random.default_rng(seed))
        assert set(zip(series.tolist(), origin.tolist(), strict=True)) <= possible


@pytest.mark.parametrize("sampling", ["windows", "series"])
@pytest.mark.parametrize("weights", [None, [1.0, 3.0, 0.0, 2.0, 5.0]])
def test_series_are_drawn_in_proportion_to_their_weights(sampling: str, weights: list[float] | None) -> None:
    panel = masked("x" * 9, "xxx..xxxxxxx", "x" * 6, "xx.xxxx", "xx")  # the last is too short for a window
    spec = WindowSpec(2, 2, sampling=sampling)
    index = WindowIndex(panel, spec, weights=None if weights is None else np.array(weights))
    used = windows_of(index)
    of_series = [sum(series == k for series, _ in used) for k in range(5)]
    assert of_series[4] == 0
    each = np.array(weights or [1.0] * 5)
    chance = np.array([each[s] / (1 if sampling == "windows" else of_series[s]) for s, _ in used])
    series, origin = index.draw(40_000, np.random.default_rng(3))
    counts = [int(((series == s) & (origin == o)).sum()) for s, o in used]
    assert sum(counts) == 40_000
    np.testing.assert_allclose(np.array(counts) / 40_000, chance / chance.sum(), atol=0.006)  # four deviations


def test_the_largest_random_number_still_draws_a_series_that_may_be_drawn() -> None:
    index = WindowIndex(masked("xxx", "xxx", "xxx"), WindowSpec(1, 1), weights=np.array([0.0, 0.1, 0.0]))
    rng = mock.Mock(random=lambda size: np.full(size, 1.0), integers=lambda low, high: np.zeros(len(high), np.int64))
    assert index.draw(2, rng)[0].tolist() == [1, 1]
    rng.random = np.zeros
    assert index.draw(2, rng)[0].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ([1.0], r"one number for each of 3 series, got \(1,\)"),
        ([1.0, -1.0, np.nan], "finite and at least 0; they are not for 's1', 's2'"),
        ([0.0, 0.0, 1.0], "every series with a positive weight is without a window; without one are 's2'"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights: list[float], complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        WindowIndex(masked("xxxx", "xxxx", "xx"), WindowSpec(2, 2), weights=np.array(weights))


def test_the_newest_window_is_in_whatever_the_stride() -> None:
    panel = masked("x" * 10, "x" * 13)
    assert windows_of(WindowIndex(panel, WindowSpec(4, 2, stride=4))) == [(0, 4), (0, 8), (1, 3), (1, 7), (1, 11)]
    assert windows_of(WindowIndex(panel, WindowSpec(4, 2, stride=50))) == [(0, 8), (1, 11)]


def test_a_gap_is_by_default_a_run_longer_than_a_season() -> None:
    texts = "xxxxxx..xxxxxx", "xxxxxx...xxxxx"
    index = WindowIndex(masked(*texts, season_length=2), WindowSpec(3, 2))
    assert [origin for series, origin in windows_of(index) if series == 0] == list(range(1, 13))
    # Of the second, those whose five steps hold all three missing ones are out: cutoffs 7 to 9.
    assert [origin for series, origin in windows_of(index) if series == 1] == [1, 2, 3, 4, 5, 6, 10, 11, 12]
    assert len(WindowIndex(masked(*texts, season_length=3), WindowSpec(3, 2))) == 24
    assert len(WindowIndex(masked(*texts), WindowSpec(3, 2, max_gap=5))) == 24


def test_a_run_over_the_border_of_two_series_is_two_runs() -> None:
    panel = masked("xxxxx", "xxxxx")
    panel = replace(panel, observed=np.array([1, 1, 1, 1, 0, 0, 1, 1, 1, 1], bool))
    assert len(WindowIndex(panel, WindowSpec(4, 1))) == 8
    assert len(WindowIndex(panel, WindowSpec(4, 1, max_gap=0))) == 3


def test_the_report_names_what_was_dropped_and_why() -> None:
    panel = masked("x" * 12, "xxxxxx....xxxxxxx", "xx", *["xxx"] * 7, season_length=2)
    index = WindowIndex(panel, WindowSpec(4, 2, 2, min_observed=0.5))
    assert str(index.report()) == (
        "18 windows of 2 series, 4 padded on the left\n"
        "  9 dropped, fewer than 2 steps before the cutoff or 2 after it: 's0', 's1', 's2', 's3', 's4' and 5 more\n"
        "  3 dropped, fewer than 2 of 4 input steps observed: 's1'\n"
        "  2 dropped, more than 2 steps in a row not observed: 's1'\n"
        "  8 series without a window: 's2', 's3', 's4', 's5', 's6' and 3 more"
    )


def test_where_every_window_is_dropped_the_reasons_are_told() -> None:
    complaint = r"every window .* is dropped; 7 have more than 1 steps in a row .*'s0'.*max_gap"
    with pytest.raises(DataError, match=complaint):
        WindowIndex(masked("x..x..x..x"), WindowSpec(4, 3))
    with pytest.raises(DataError, match=r"3 have fewer than 5 of 5 input steps observed"):
        WindowIndex(masked("xxxx"), WindowSpec(5, 1, min_observed=1.0))


def test_a_fully_observed_panel_is_not_looked_at_row_by_row() -> None:
    with mock.patch.object(WindowIndex, "_look", side_effect=AssertionError):
        assert len(WindowIndex(masked("x" * 20), WindowSpec(4, 2, stride=3, min_observed=0.5, max_gap=0))) == 6


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"stride": 0}, "stride must be a whole number, at least 1; got 0"),
        ({"stride": "2"}, "stride must be a whole number, at least 1; got '2'"),
        ({"input_length": 8.5}, "input_length must be a whole number, at least 1; got 8.5"),
        ({"horizon": True}, "horizon must be a whole number, at least 1; got True"),
        ({"min_observed": 1.1}, "min_observed is a share, from 0 to 1; got 1.1"),
        ({"max_gap": -1}, "max_gap must be a whole number, at least 0, or None for a season; got -1"),
        ({"sampling": "rows"}, "sampling must be 'windows' or 'series', got 'rows'"),
    ],
)
def test_a_choice_of_windows_that_is_none_is_refused(changes: dict, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        replace(WindowSpec(2, 2), **changes)


@pytest.mark.parametrize("name", ["input_length", "horizon", "min_history"])
def test_a_window_without_steps_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name} must be a whole number, at least 1; got 0"):
        replace(WindowSpec(2, 2), **{name: 0})


@given(sizes, specs, seeds)
@settings(deadline=None, max_examples=40)
def test_gather_copies_what_a_loop_copies(lengths: list[int], spec: WindowSpec, seed: int) -> None:
    windows = all_windows(lengths, spec)
    assume(windows)
    panel = ragged(lengths, seed)
    y = 3.0 * panel.y + 1.0
    series, origin = WindowIndex(panel, spec).locate(np.arange(len(windows)))
    batch = gather(panel, y, series, origin, spec)
    for b, (i, cutoff) in enumerate(windows):
        first = int(panel.indptr[i])
        assert batch[fk.STATIC_X][b].tolist() == [0.5 * i]
        for t in range(spec.input_length):
            step = cutoff - spec.input_length + t
            if step < 0:
                expected = (0.0, 0.0, [0.0, 0.0, 0.0])
            else:
                row = first + step
                seen = bool(panel.observed[row])
                expected = (y[row] if seen else 0.0, float(seen), [*panel.past[row], *panel.future[row]])
            assert batch[fk.PAST_Y][b, t] == np.float32(expected[0])
            assert batch[fk.PAST_OBSERVED][b, t] == expected[1]
            np.testing.assert_array_equal(batch[fk.PAST_X][b, t], np.float32(expected[2]))
        for h in range(spec.horizon):
            row = first + cutoff + h
            assert batch[fk.FUTURE_Y][b, h] == np.float32(y[row])
            assert batch[fk.FUTURE_OBSERVED][b, h] == float(panel.observed[row])
            np.testing.assert_array_equal(batch[fk.FUTURE_X][b, h], np.float32(panel.future[row]))
    assert {array.dtype for array in batch.values()} == {np.dtype(np.float32)}


@given(sizes, specs, seeds)
@settings(deadline=None, max_examples=40)
def test_nothing_after_the_origin_enters_the_inputs(lengths: list[int], spec: WindowSpec, seed: int) -> None:
    windows = all_windows(lengths, spec)
    assume(windows)
    panel = ragged(lengths, seed)
    rng = np.random.default_rng(seed)
    i, cutoff = windows[int(rng.integers(len(windows)))]
    changed = np.ones(len(panel.y), bool)  # everything but this series up to the origin
    changed[panel.indptr[i] : panel.indptr[i] + cutoff] = False
    noise = np.where(changed, 1e6 * rng.normal(size=len(panel.y)), 0.0)
    other = replace(
        panel, y=panel.y + noise, observed=panel.observed ^ changed, past=panel.past + noise[:, None],
        future=panel.future + noise[:, None],
    )  # fmt: skip
    window = (np.array([i]), np.array([cutoff]), spec)
    before, after = gather(panel, panel.y, *window), gather(other, other.y, *window)
    for name in (fk.PAST_Y, fk.PAST_OBSERVED, fk.PAST_X, fk.STATIC_X):
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    assert (before[fk.FUTURE_Y] != after[fk.FUTURE_Y]).all()


def test_at_the_end_of_a_series_only_the_inputs_are_gathered() -> None:
    panel = ragged([5, 3])
    ahead = np.arange(2 * 2 * panel.future.shape[1], dtype=np.float32).reshape(2, 2, -1)
    batch = gather(panel, panel.y, np.array([0, 1]), panel.lengths, WindowSpec(4, 2), future=ahead)
    assert set(batch) == {fk.PAST_Y, fk.PAST_OBSERVED, fk.PAST_X, fk.STATIC_X, fk.FUTURE_X}
    np.testing.assert_array_equal(batch[fk.FUTURE_X], ahead)
    np.testing.assert_array_equal(batch[fk.PAST_OBSERVED][1], [0.0, *panel.observed[5:]])


def test_memory_grows_with_the_series_and_not_with_the_windows() -> None:
    count, length = 10, 100_000
    frame = pd.DataFrame({"unique_id": np.repeat(np.arange(count), length), "ds": np.tile(np.arange(length), count)})
    panel = Panel.from_frame(frame.assign(y=1.0), freq=1)
    tracemalloc.start()
    index = WindowIndex(panel, WindowSpec(168, 48))
    batch = index.draw(256, np.random.default_rng(0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == count * (length - 48)
    assert len(batch[0]) == 256
    assert peak < 100_000  # bytes; one byte a window would be ten times as much


def test_after_gaps_were_looked_for_nothing_is_kept_but_where_they_are() -> None:
    rows = 1_000_000
    panel = masked("xxx")
    observed = np.ones(rows, bool)
    for k in range(1000, rows, 10_000):
        observed[k : k + 30] = False
    panel = replace(panel, indptr=np.array([0, rows]), y=np.ones(rows), observed=observed,
                    past=np.empty((rows, 0)), future=np.empty((rows, 0)))  # fmt: skip
    tracemalloc.start()
    index = WindowIndex(panel, WindowSpec(168, 48, max_gap=24))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == rows - 48 - 100 * (168 + 48 - 49 + 30)  # each gap tears as many windows
    assert kept < 100_000
    assert peak < 50_000_000  # two counts of 4 bytes a row, and the windows of one chunk
