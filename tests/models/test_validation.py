"""Held-out windows: which they are, that nothing of them is learned, and what they decide."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_kit import NeuralForecaster, Panel
from forecast_kit.core.forecaster import FitProgress
from forecast_kit.data.windows import WindowSpec
from forecast_kit.errors import ArgumentError, DataError, TimeIndexError, TooShortError
from forecast_kit.models.validation import Parts, divide, hold_out_later, hold_out_tail
from forecast_kit.nn.training import TrainingSpec

H = 4
NETWORK = {"cell": "gru", "units": 4, "hidden": 8, "segment": 4}


def frame(lengths: dict[str, int], seed: int = 0) -> pd.DataFrame:
    """Waves of four steps on levels of their own."""
    rng = np.random.default_rng(seed)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "unique_id": name, "ds": np.arange(n) + 10 * k,
                    "y": 5 * k + np.sin(np.pi / 2 * np.arange(n)) + rng.normal(0, 0.1, n),
                }
            )
            for k, (name, n) in enumerate(lengths.items())
        ],
        ignore_index=True,
    )  # fmt: skip


def panel_of(rows: pd.DataFrame, **fields: Any) -> Panel:
    return Panel.from_frame(rows, freq=1, season_length=4, **fields)


def forecaster(**training: Any) -> NeuralForecaster:
    full = {"steps": 32, "batch_size": 8, "learning_rate": 0.02, "evaluations": 4, "steps_per_execution": 8}
    return NeuralForecaster(NETWORK, horizon=H, input_length=8, training={**full, **training})


def listed(parts: Parts, **options: Any) -> list[tuple[str, int]]:
    """Id and origin of every held-out window."""
    series, origin = parts.windows(H, **options)
    return [(str(parts.whole.ids[k]), int(o)) for k, o in zip(series, origin, strict=True)]


# ---- which windows are held out


def test_windows_held_out_have_all_their_targets_in_the_tail() -> None:
    panel = panel_of(frame({"a": 30, "b": 20, "c": 12}))
    parts = hold_out_tail(panel, 2, H, least=8)
    assert parts.train.lengths.tolist() == [22, 12, 12]
    assert listed(parts) == [("a", o) for o in range(22, 27)] + [("b", o) for o in range(12, 17)]
    assert listed(parts, stride=3) == [("a", 23), ("a", 26), ("b", 13), ("b", 16)]
    assert parts.report(H) == (
        "judged by 10 later windows of 2 series\n"
        "  1 series have none, being too short, and are in training whole: 'c'"
    )  # fmt: skip


def test_of_many_windows_some_are_judged_from_all_series() -> None:
    parts = hold_out_tail(panel_of(frame({f"s{k:02}": 40 for k in range(30)})), 3, H, least=8)
    every, some = listed(parts), listed(parts, most=60)
    assert len(every) == 30 * 9
    assert len(some) == 60 == len(set(some))
    assert set(some) <= set(every)
    assert {name for name, _ in some} == {name for name, _ in every}
    assert len({origin for _, origin in some}) > 4


def test_too_much_cannot_be_held_out() -> None:
    with pytest.raises(TooShortError, match=(
        "validation=5 holds out 20 steps of each series, and 11 must be left to train on; the longest has 30"
    )):  # fmt: skip
        hold_out_tail(panel_of(frame({"a": 30})), 5, H, least=11)


def test_later_rows_are_judged_from_the_last_training_row_on() -> None:
    rows = frame({"a": 30, "b": 30, "c": 30})
    ends = {"a": 20, "b": 29, "c": 26}
    position = rows.groupby("unique_id").cumcount()
    early = panel_of(rows[position < rows["unique_id"].map(ends)])
    for overlap in (0, 5):
        late = panel_of(rows[(position >= rows["unique_id"].map(ends) - overlap) & (rows["unique_id"] != "c")])
        parts = hold_out_later(early, late, H)
        assert listed(parts) == [("a", o) for o in range(20, 27)]
        np.testing.assert_array_equal(parts.whole.take("a").y, panel_of(rows).take("a").y)
        assert parts.report(H).endswith("2 series have none, with fewer than 4 later rows: 'b', 'c'")


def test_later_rows_must_fit_the_training_panel() -> None:
    rows = frame({"a": 30, "b": 30})
    position = rows.groupby("unique_id").cumcount()
    early = panel_of(rows[position < 20])
    with pytest.raises(ArgumentError, match=r"validation takes a Panel, got DataFrame"):
        hold_out_later(early, rows, H)
    with pytest.raises(
        ArgumentError, match=r"validation has past=\('x',\), but the network was trained with past=\(\)"
    ):
        hold_out_later(early, panel_of(rows[position >= 20].assign(x=1.0), past=("x",)), H)
    with pytest.raises(ArgumentError, match=r"validation has series that are not in training: 'z'"):
        hold_out_later(early, panel_of(rows[position >= 20].replace({"b": "z"})), H)
    with pytest.raises(TimeIndexError, match="steps missing between the known rows and the new ones"):
        hold_out_later(early, panel_of(rows[position >= 22]), H)
    with pytest.raises(TooShortError, match="validation needs at least 4 rows of a series after its last training row"):
        hold_out_later(early, panel_of(rows[(position >= 20) & (position < 23)]), H)


def test_later_rows_and_a_refit_do_not_go_together() -> None:
    rows = frame({"a": 30})
    spec = TrainingSpec(validation=1, refit=True)
    with pytest.raises(ArgumentError, match="refit=True trains again on what the end of the panel held out"):
        divide(panel_of(rows[:20]), panel_of(rows[20:]), WindowSpec(8, H), spec)


# ---- what they do in a fit


def test_nothing_of_what_is_held_out_is_learned() -> None:
    """Other values there change what it is judged by, and nothing that it learns."""
    rows = frame({"a": 60, "b": 60})
    late = rows.groupby("unique_id").cumcount() >= 60 - 2 * H
    noise = np.random.default_rng(1).normal(0, 50, int(late.sum()))
    spoiled = rows.assign(y=rows["y"].where(~late, rows["y"] + 0.0))
    spoiled.loc[late, "y"] += noise
    fitted = [forecaster(validation=2, steps=8).fit(panel_of(part)) for part in (rows, spoiled)]
    for mine, theirs in zip(*(model.model_.get_weights() for model in fitted), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert fitted[1].curve_[-1, 2] > 3 * fitted[0].curve_[-1, 2]
    early = panel_of(rows[~late])
    forecasts = [model.predict(history=early).mean for model in fitted]
    np.testing.assert_array_equal(*forecasts)


def test_the_tail_held_out_judges_as_the_same_rows_given_later_do() -> None:
    rows = frame({"a": 60, "b": 60})
    late = rows.groupby("unique_id").cumcount() >= 60 - 2 * H
    held = forecaster(validation=2).fit(panel_of(rows))
    given = forecaster().fit(panel_of(rows[~late]), validation=panel_of(rows[late]))
    np.testing.assert_allclose(given.curve_, held.curve_, rtol=1e-6)
    assert held.curve_.shape == (4, 3)
    assert np.isfinite(held.curve_).all()
    for mine, theirs in zip(held.model_.get_weights(), given.model_.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_loss_there_is_that_of_forecasts_made_there() -> None:
    """By hand, for the median alone and without a transform: the absolute error."""
    rows = frame({"a": 60, "b": 60})
    model = NeuralForecaster(
        NETWORK, horizon=H, input_length=8, levels=(), transform=(),
        training={"steps": 16, "batch_size": 8, "validation": 1, "evaluations": 1},
    ).fit(panel_of(rows))  # fmt: skip
    early, late = panel_of(rows).split(H)
    error = np.abs(model.predict(history=early).mean - late.y.reshape(2, H)).mean()
    assert model.curve_[-1, 2] == pytest.approx(error, rel=1e-5)


def test_the_curve_reaches_callbacks_the_report_and_the_artefact(tmp_path: Any) -> None:
    events: list[FitProgress] = []
    model = forecaster(validation=1).fit(panel_of(frame({"a": 60, "b": 7})), callbacks=(events.append,))
    told = [(e.done, e.logs["loss"], e.logs["val_loss"]) for e in events if "val_loss" in e.logs]
    np.testing.assert_allclose(model.curve_, told)
    assert "judged by 1 later windows of 1 series" in model.fit_report
    assert "1 series have none, being too short, and are in training whole: 'b'" in model.fit_report
    assert f"best after {int(model.curve_[model.curve_[:, 2].argmin(), 0])} steps, val_loss" in model.fit_report
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(NeuralForecaster.load(tmp_path / "m").curve_, model.curve_)


def test_a_training_that_gets_no_better_stops_and_keeps_the_best() -> None:
    """What is held out is noise about nothing that was there before, so that judging it gets no better for long."""
    rows = frame({f"s{k}": 40 for k in range(4)})
    late = rows.groupby("unique_id").cumcount() >= 40 - H
    rows.loc[late, "y"] += np.random.default_rng(0).normal(0, 3, int(late.sum()))
    events: list[FitProgress] = []
    long = {"steps": 800, "evaluations": 50, "steps_per_execution": 16, "validation": 1, "learning_rate": 0.02}
    model = forecaster(**long, patience=3).fit(panel_of(rows), callbacks=(events.append,))
    steps, held = model.curve_[:, 0], model.curve_[:, 2]
    assert steps[-1] < 800
    assert held.argmin() == len(held) - 4
    assert (events[-1].done, events[-1].total) == (steps[-1], steps[-1])
    assert f"ended after {int(steps[-1])} of 800 steps" in model.fit_report


def test_a_refit_takes_as_many_steps_as_were_best_on_everything() -> None:
    """By hand: the same number of steps of the same course, on the whole panel."""
    rows = frame({"a": 60, "b": 60})
    events: list[FitProgress] = []
    flat = {"learning_rate": 0.2, "schedule": "constant", "warmup": 0.0}
    spec = {"validation": 1, "steps": 64, "evaluations": 8, **flat}
    again = forecaster(**spec, refit=True).fit(panel_of(rows), callbacks=(events.append,))
    judged = forecaster(**spec).fit(panel_of(rows))
    best = int(judged.curve_[judged.curve_[:, 2].argmin(), 0])
    assert best < 64  # else the test says little
    np.testing.assert_array_equal(again.curve_, judged.curve_)
    by_hand = forecaster(**{**spec, "validation": 0, "steps": best}).fit(panel_of(rows))
    for mine, theirs in zip(again.model_.get_weights(), by_hand.model_.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    assert (events[-1].done, events[-1].total) == (64 + best, 64 + best)
    assert all(event.done < event.total for event in events[:-1])
    assert f"trained again on everything for {best} steps" in again.fit_report


def test_patience_without_anything_to_judge_by_is_refused() -> None:
    with pytest.raises(ArgumentError, match="patience needs held-out windows"):
        forecaster(patience=2).fit(panel_of(frame({"a": 60})))


def test_a_tail_without_a_single_value_judges_nothing() -> None:
    rows = frame({"a": 60})
    rows.loc[52:, "y"] = np.nan
    with pytest.raises(DataError, match="no target was observed in what is held out for validation"):
        forecaster(validation=1).fit(panel_of(rows, gaps="mask"))


def test_series_that_are_numbered_and_covariates_reach_the_held_out_windows() -> None:
    rows = frame({"a": 60, "b": 60}).assign(x=lambda d: np.sin(d["ds"]), kind="u", size=3.0)
    rows.loc[rows["unique_id"] == "b", "kind"] = "v"
    panel = panel_of(rows, past=("x",), static=("kind", "size"), categorical=("kind",), calendar=("4:1",))
    model = NeuralForecaster(
        {"network": "es_rnn", "units": 4, "dilations": ((1, 2),), "hidden": 4}, horizon=H, input_length=8,
        training={"steps": 16, "batch_size": 8, "validation": 1, "evaluations": 2},
    ).fit(panel)  # fmt: skip
    assert np.isfinite(model.curve_).all()
    assert np.isfinite(model.predict().mean).all()


def test_a_line_is_logged_for_each_evaluation(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "forecast_kit"):
        forecaster(validation=1, progress="log").fit(panel_of(frame({"a": 60})))
    lines = [message for message in caplog.messages if message.startswith("GRU: step")]
    assert len(lines) == 4
    assert lines[-1].startswith("GRU: step 32 of 32, loss 0.")
    assert "val_loss" in lines[-1]
