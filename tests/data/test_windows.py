"""Windows against loops that spell out what they are."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forecast_kit import Panel, PanelSchema
from forecast_kit import typing as fk
from forecast_kit.data.windows import WindowIndex, WindowSpec, gather
from forecast_kit.errors import ArgumentError, TooShortError

SCHEMA = PanelSchema(freq=1, past=("p",), future=("k", "l"), static=("size",), gaps="mask")
specs = st.builds(WindowSpec, st.integers(1, 8), st.integers(1, 4), st.integers(1, 5))
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
    index = WindowIndex(ragged([3, 9, 2]), WindowSpec(2, 1))
    series, origin = index.draw(20_000, np.random.default_rng(0))
    _, counts = np.unique(series * 100 + origin, return_counts=True)
    assert len(counts) == len(index) == 2 + 8 + 1
    np.testing.assert_allclose(counts, 20_000 / 11, rtol=0.1)


def test_without_a_single_window_the_lengths_are_told() -> None:
    with pytest.raises(TooShortError, match=r"needs 3 steps and a horizon of 4, the longest series has 6 steps.*0, 1"):
        WindowIndex(ragged([6, 5]), WindowSpec(2, 4, 3))


@pytest.mark.parametrize("name", ["input_length", "horizon", "min_history"])
def test_a_window_without_steps_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name} must be at least 1, got 0"):
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
    batch = gather(panel, panel.y, np.array([0, 1]), panel.lengths, WindowSpec(4, 2), target=False)
    assert set(batch) == {fk.PAST_Y, fk.PAST_OBSERVED, fk.PAST_X, fk.STATIC_X}
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
