"""Repairs: only what the schema asks for, exactly as a plain pandas loop would do it, and all of it counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast_kit import Panel
from forecast_kit.data.regularize import Audit
from forecast_kit.errors import DataError, SchemaError, TimeIndexError


def frame_of(values: dict[str, list[float | None]]) -> pd.DataFrame:
    """A long frame with steps from 0; None is an absent row, NaN an empty value."""
    rows = [(name, k, v) for name, ys in values.items() for k, v in enumerate(ys) if v is not None]
    return pd.DataFrame(rows, columns=["unique_id", "ds", "y"])


def naive(ys: list[float | None], policy: str) -> tuple[int, list[float], list[bool]] | None:
    """First step, values and observed flags of one series by the policy, a step at a time; None where it is empty."""
    rows = [k for k, v in enumerate(ys) if v is not None]
    steps = range(rows[0], rows[-1] + 1)
    known = {k: ys[k] for k in steps if ys[k] is not None and not np.isnan(ys[k])}
    if not known:
        return None
    start = rows[0]
    if policy != "zero":
        start = min(known)
    values, observed = [], []
    for k in range(start, rows[-1] + 1):
        if k in known:
            values.append(known[k])
        elif policy == "zero":
            values.append(0.0)
        else:
            before, after = [j for j in known if j < k], [j for j in known if j > k]
            if policy == "interpolate" and before and after:
                a, b = max(before), min(after)
                values.append(known[a] + (known[b] - known[a]) * (k - a) / (b - a))
            else:
                values.append(known[max(before)])
        observed.append(k in known or policy != "mask")
    return start, values, observed


cells = st.one_of(st.none(), st.just(float("nan")), st.floats(-100, 100))
series = st.lists(cells, min_size=1, max_size=9).filter(lambda ys: any(v is not None for v in ys))


@given(st.lists(series, min_size=1, max_size=4), st.sampled_from(["mask", "zero", "ffill", "interpolate"]))
@settings(deadline=None, max_examples=150)
def test_gaps_are_treated_as_a_plain_loop_would(all_series: list, policy: str) -> None:
    values = {f"s{k}": ys for k, ys in enumerate(all_series)}
    expected = {name: naive(ys, policy) for name, ys in values.items()}
    alive = {name: e for name, e in expected.items() if e is not None}
    frame = frame_of(values).sample(frac=1.0, random_state=0)
    if not alive:
        with pytest.raises(DataError, match="no series has a single observed value"):
            Panel.from_frame(frame, freq=1, gaps=policy, empty_series="drop")
        return
    panel = Panel.from_frame(frame, freq=1, gaps=policy, empty_series="drop")
    assert panel.ids.tolist() == sorted(alive)
    for k, name in enumerate(panel.ids):
        start, ys, observed = alive[name]
        span = slice(panel.indptr[k], panel.indptr[k + 1])
        assert panel.axis.stamps(panel.start)[k] == start
        np.testing.assert_allclose(panel.y[span], ys, rtol=1e-12, atol=1e-12)
        assert panel.observed[span].tolist() == observed


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.floats(-9, 9)), min_size=1, max_size=14))
@settings(deadline=None, max_examples=80)
def test_duplicates_are_combined_as_groupby_would(rows: list) -> None:
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y"]).assign(x=lambda d: d["y"] * 2 + 1)
    for policy in ("first", "last", "mean", "sum"):
        panel = Panel.from_frame(frame, freq=1, duplicates=policy, gaps="mask", covariate_gaps="ffill", past=("x",))
        grouped = frame.groupby(["unique_id", "ds"])
        expected = getattr(grouped["y"], policy)()
        got = panel.to_frame().dropna().set_index(["unique_id", "ds"])
        pd.testing.assert_series_equal(got["y"], expected, check_dtype=False, check_index_type=False)
        covariate = getattr(grouped["x"], "mean" if policy == "sum" else policy)()
        pd.testing.assert_series_equal(got["x"], covariate, check_dtype=False, check_index_type=False)
        extra = len(frame) - len(expected)
        assert panel.audit.frame.query(f"why == 'duplicates combined by {policy}'")["rows"].sum() == extra


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.integers(0, 2), st.none() | st.integers(-9, 9), st.none() | st.integers(-9, 9),
            st.sampled_from(["x", "y", None]),
        ),
        min_size=1, max_size=14,
    ),
)  # fmt: skip
@settings(deadline=None, max_examples=80)
def test_of_duplicates_the_values_that_are_not_empty_are_combined(rows: list) -> None:
    rows.append(("a", 9, 1, 1, "x"))
    rows.append(("b", 9, 1, 1, "x"))
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y", "x", "c"]).astype({"y": float, "x": float})
    cells: dict[tuple, list] = {}
    for name, step, *values in rows:
        cells.setdefault((name, step), []).append(values)

    def combined(at: int, how: str, values: list) -> object:
        known = [one[at] for one in values if one[at] is not None]
        if not known:
            return None
        return known[0] if at == 2 else sum(known) / (len(known) if how == "mean" else 1)

    for policy in ("mean", "sum"):
        panel = Panel.from_frame(frame, freq=1, duplicates=policy, gaps="zero", covariate_gaps="zero", past=("x", "c"),
                                 categorical=("c",))  # fmt: skip
        got = panel.to_frame().set_index(["unique_id", "ds"])
        for key, values in cells.items():
            row = got.loc[key]
            assert row["y"] == pytest.approx(combined(0, policy, values) or 0.0)
            assert row["x"] == pytest.approx(combined(1, "mean", values) or 0.0)
            assert (None if pd.isna(row["c"]) else row["c"]) == combined(2, policy, values)
        repaired = panel.audit.frame.set_index("why")["rows"].groupby(level=0).sum()
        assert repaired.get(f"duplicates combined by {policy}", 0) == len(rows) - len(cells)
        lasting = [k for k in cells if combined(0, policy, cells[k]) is None]
        absent = sum(9 - min(k[1] for k in cells if k[0] == name) + 1 - sum(k[0] == name for k in cells)
                     for name in "ab")  # fmt: skip
        assert repaired.get("missing targets set to 0", 0) == len(lasting) + absent


def test_an_empty_duplicate_does_not_empty_the_others_and_first_and_last_keep_their_row() -> None:
    frame = pd.DataFrame({"unique_id": "a", "ds": [0, 1, 1, 2, 2, 3], "y": [1.0, 5, np.nan, np.nan, np.nan, 7]})
    expected = {"sum": [1, 5, None, 7], "mean": [1, 5, None, 7], "first": [1, 5, None, 7], "last": [1, None, None, 7]}
    for policy, values in expected.items():
        panel = Panel.from_frame(frame, freq=1, duplicates=policy, gaps="mask")
        assert panel.to_frame()["y"].astype(object).where(panel.observed, None).tolist() == values
        assert panel.audit.frame["rows"].tolist() == [2, values.count(None)]
    with pytest.raises(DataError, match="column 'y' has 1 missing values: a at 2"):
        Panel.from_frame(frame, freq=1, duplicates="sum")


@pytest.mark.parametrize(
    ("policy", "verb"),
    [("mask", "masked"), ("zero", "set to 0"), ("ffill", "filled forward"), ("interpolate", "interpolated")],
)
def test_missing_targets_after_the_last_one_are_told_apart(policy: str, verb: str) -> None:
    nan = np.nan
    frame = frame_of({"a": [1.0, nan, None, 2.0, nan, None, nan], "b": [1.0, nan], "c": [1.0, nan, 3.0]})
    audit = Panel.from_frame(frame, freq=1, gaps=policy).audit
    late = "carried forward" if policy == "interpolate" else verb
    assert str(audit) == (
        f"missing targets {verb}: 3 rows in 2 series ('a' 2, 'c' 1)\n"
        f"missing targets after the last one {late}: 4 rows in 2 series ('a' 3, 'b' 1)"
    )


def test_infinite_values_are_taken_for_missing_only_where_asked() -> None:
    frame = frame_of({"a": [1.0, np.inf, 3.0]})
    with pytest.raises(DataError, match="column 'y' has 1 infinite values: a at 1; .*infinite='missing'"):
        Panel.from_frame(frame, freq=1, gaps="interpolate")
    with pytest.raises(DataError, match="column 'y' has 1 missing values: a at 1"):
        Panel.from_frame(frame, freq=1, infinite="missing")
    panel = Panel.from_frame(frame, freq=1, infinite="missing", gaps="interpolate")
    assert panel.y.tolist() == [1, 2, 3]
    assert set(panel.audit.frame["why"]) == {"infinite values taken for missing", "missing targets interpolated"}


def test_covariates_are_filled_only_where_asked() -> None:
    frame = pd.DataFrame(
        {"unique_id": list("aaab"), "ds": [0, 1, 3, 0], "y": 1.0, "x": [4.0, 5.0, np.nan, 2.0], "z": [1.0, 2, 3, 4]}
    )
    fields = {"freq": 1, "past": ("x",), "future": ("z",)}
    with pytest.raises(TimeIndexError, match="1 steps .* are missing.*a at 2.*covariates must be known"):
        Panel.from_frame(frame, **fields, gaps="zero")
    carried = Panel.from_frame(frame, **fields, gaps="zero", covariate_gaps="ffill")
    assert carried.past[:, 0].tolist() == [4, 5, 5, 5, 2]
    assert carried.future[:, 0].tolist() == [1, 2, 2, 3, 4]
    zero = Panel.from_frame(frame, **fields, gaps="zero", covariate_gaps="zero")
    assert zero.past[:, 0].tolist() == [4, 5, 0, 0, 2]
    for x, series in (([1.0, 2, 3, np.nan], "b"), ([np.nan, 2, 3, 4], "a")):
        with pytest.raises(DataError, match=f"'x' has no value to carry forward at the beginning of series '{series}'"):
            Panel.from_frame(frame.assign(x=x), **fields, gaps="zero", covariate_gaps="ffill")


def test_series_without_a_value_are_refused_or_dropped() -> None:
    frame = frame_of({"a": [1.0, 2.0], "b": [np.nan, np.nan], "c": [3.0]})
    with pytest.raises(DataError, match="without a single observed value: 'b'; .*empty_series='drop'"):
        Panel.from_frame(frame, freq=1, gaps="mask")
    panel = Panel.from_frame(frame, freq=1, empty_series="drop")
    assert panel.ids.tolist() == ["a", "c"]
    assert panel.y.tolist() == [1, 2, 3]
    assert str(panel.audit) == "rows of series without a value dropped: 2 rows in 1 series ('b' 2)"


def test_nothing_repaired_is_an_empty_audit_and_repairs_do_not_change_good_data(seasonal_frame: pd.DataFrame) -> None:
    plain = Panel.from_frame(seasonal_frame, freq="h")
    lenient = Panel.from_frame(
        seasonal_frame, freq="h", duplicates="sum", gaps="interpolate", infinite="missing", empty_series="drop"
    )
    np.testing.assert_array_equal(plain.y, lenient.y)
    assert len(lenient.audit) == 0
    assert str(lenient.audit) == "nothing was repaired"
    assert plain.audit.frame.columns.tolist() == ["unique_id", "why", "rows"]


def test_an_audit_names_at_most_five_series_and_counts_all() -> None:
    frame = frame_of({f"s{k}": [1.0, *[np.nan] * (k + 1), 2.0] for k in range(7)})
    audit = Panel.from_frame(frame, freq=1, gaps="ffill").audit
    assert isinstance(audit, Audit)
    assert len(audit) == sum(range(1, 8))
    assert str(audit) == (
        "missing targets filled forward: 28 rows in 7 series ('s6' 7, 's5' 6, 's4' 5, 's3' 4, 's2' 3 and 2 more)"
    )


def test_the_policies_travel_with_the_schema_to_new_history() -> None:
    from forecast_kit import SeasonalNaive

    frame = frame_of({"a": [1.0, None, 3.0, 4.0]})
    model = SeasonalNaive(2).fit(Panel.from_frame(frame, freq=1, gaps="interpolate"))
    later = frame_of({"a": [1.0, 5.0, None, 7.0]})
    assert model.predict(2, history=later).mean.tolist() == [[6.0, 7.0]]


@pytest.mark.parametrize("policy", ["duplicates", "gaps", "infinite", "covariate_gaps", "empty_series"])
def test_an_unknown_policy_is_refused_with_the_known_ones(policy: str) -> None:
    with pytest.raises(SchemaError, match=f"{policy} must be one of 'error', .*got 'guess'"):
        Panel.from_frame(frame_of({"a": [1.0]}), freq=1, **{policy: "guess"})
