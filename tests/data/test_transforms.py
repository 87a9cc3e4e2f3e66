"""Transforms there and back, without a look ahead; saved, named in a configuration, and cloned by scikit-learn."""

from __future__ import annotations

import copy
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import preprocessing as sk
from sklearn.base import clone
from sklearn.exceptions import NotFittedError as SklearnNotFitted
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks as checks
from sklearn.utils.validation import check_is_fitted

from forecast_kit import Panel
from forecast_kit.data.stages import Stage
from forecast_kit.data.transforms import (
    BoxCox,
    Deseasonalize,
    Difference,
    Log1p,
    MeanAbs,
    MinMax,
    Pipeline,
    Robust,
    Sklearn,
    Standard,
    make_stage,
)
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, NotFittedError, TooShortError

FREQS: list[int | str] = [1, 3, "h", "MS", "B"]
CHAIN = Pipeline([
    "log1p", {"stage": "difference", "lag": "season"}, Deseasonalize(2), Sklearn(sk.PowerTransformer()), "standard",
])  # fmt: skip
STAGES = [
    Standard(), Standard(scope="global"), MinMax(), Robust(), MeanAbs(scope="global"), Log1p(), BoxCox(), BoxCox(0.5),
    Difference(), Difference("season"), Difference(2), Deseasonalize(), Deseasonalize(4, model="multiplicative"),
    Sklearn(sk.StandardScaler(with_mean=False)), Sklearn(sk.PowerTransformer()), Sklearn(sk.MinMaxScaler()),
    Sklearn(sk.QuantileTransformer(n_quantiles=5)), Sklearn(sk.RobustScaler(quantile_range=(10.0, 90.0))),
    Sklearn(sk.MaxAbsScaler()), Sklearn(sk.FunctionTransformer()), Pipeline([]), CHAIN, Pipeline([CHAIN, MinMax()]),
]  # fmt: skip


def title(stage: object) -> str:
    """A stage in a test's name."""
    return " ".join(str(stage).split())[:60]


every_stage = pytest.mark.parametrize("stage", STAGES, ids=title)

positive_specs = st.sampled_from(["mean_abs", {"stage": "deseasonalize", "model": "multiplicative"}, "log1p"])
curves = st.sampled_from(["log1p", "boxcox", {"stage": "boxcox", "lam": 0.0}, {"stage": "boxcox", "lam": 0.5}])
linear_specs = st.sampled_from([
    "standard", {"stage": "standard", "scope": "global"}, "minmax", "robust", {"stage": "robust", "scope": "global"},
    "mean_abs", "difference", {"stage": "difference", "lag": 2}, {"stage": "difference", "lag": "season"},
    "deseasonalize", {"stage": "deseasonalize", "season_length": 2}, {"stage": "pipeline", "stages": ["difference"]},
    {"stage": "sklearn", "transformer": "StandardScaler"},
])  # fmt: skip
compositions = st.tuples(
    st.lists(positive_specs, max_size=2), st.lists(curves, max_size=1), st.lists(linear_specs, max_size=3)
).map(lambda parts: [spec for part in parts for spec in part])


def panel_of(rows: list[np.ndarray], freq: int | str = 1, starts: tuple[int, ...] = (0, 5, 2)) -> Panel:
    """Series `s0`, `s1`, ... that begin at different steps; a season has three; NaN is not observed."""
    frames = []
    for k, (y, start) in enumerate(zip(rows, starts, strict=False)):
        steps = np.arange(start, start + len(y))
        calendar = None if isinstance(freq, int) else pd.date_range("2024-01-01", periods=steps[-1] + 1, freq=freq)
        stamps = 7 + steps * freq if calendar is None else calendar[steps]
        frames.append(pd.DataFrame({"unique_id": f"s{k}", "ds": stamps, "y": y}))
    return Panel.from_frame(pd.concat(frames), freq=freq, season_length=3, gaps="mask")


def positive(seed: int, freq: int | str = 1, low: float = 0.5, high: float = 90.0, gaps: int = 3) -> Panel:
    """Three ragged series between two values; a few of their first eight steps are not observed."""
    rng = np.random.default_rng(seed)
    rows = [rng.uniform(low, high, n).round(3) for n in rng.integers(28, 36, 3)]
    for y in rows:
        y[rng.integers(1, 8, gaps)] = np.nan
    return panel_of(rows, freq)


def last_rows(panel: Panel, rows: int) -> np.ndarray:
    """`[N, rows]`."""
    return np.stack([y[-rows:] for _, y in panel.series])


# ---- there and back


@given(compositions, st.integers(0, 2**16), st.integers(1, 5), st.sampled_from(FREQS))
@settings(deadline=None, max_examples=120)
def test_what_comes_back_of_the_transformed_future_is_the_future(
    specs: list[Any], seed: int, horizon: int, freq: int | str
) -> None:
    panel = positive(seed, freq)
    train, future = panel.split(horizon)
    pipeline = Pipeline(specs).fit(train)
    z = last_rows(pipeline.transform(panel), horizon)
    actual = last_rows(future, horizon)
    np.testing.assert_allclose(pipeline.inverse(z, train), actual, rtol=1e-6)
    tail = train.tail(pipeline.context_length)
    np.testing.assert_allclose(pipeline.inverse(z, tail), actual, rtol=1e-6)
    np.testing.assert_allclose(pipeline.inverse(z[:, :, None], tail.take(["s2", "s1", "s0"])), actual[:, :, None],
                               rtol=1e-6)  # fmt: skip


@given(st.lists(linear_specs, max_size=4), st.integers(0, 2**16), st.integers(1, 5), st.sampled_from([1e-9, 1.0, 1e9]))
@settings(deadline=None, max_examples=60)
def test_linear_stages_bring_values_of_any_sign_and_unit_back(
    specs: list[Any], seed: int, horizon: int, unit: float
) -> None:
    panel = positive(seed, low=-50.0, high=50.0)
    panel = replace(panel, y=panel.y * unit)
    train, future = panel.split(horizon)
    pipeline = Pipeline(specs).fit(train)
    back = pipeline.inverse(last_rows(pipeline.transform(panel), horizon), train.tail(pipeline.context_length))
    np.testing.assert_allclose(back, last_rows(future, horizon), atol=1e-6 * unit)


@every_stage
@pytest.mark.parametrize("freq", FREQS)
def test_each_stage_alone_brings_the_future_back(stage: Stage, freq: int | str) -> None:
    panel = positive(11, freq)
    if "PowerTransformer" in str(stage) or "QuantileTransformer" in str(stage):
        panel = replace(panel, y=1.0 + np.arange(len(panel.y)) % 4)  # no value lies outside those of the training part
    train, future = panel.split(4)
    fitted = clone(stage).fit(train)
    z = last_rows(fitted.transform(panel), 4)
    for history in (train, train.tail(fitted.context_length)):
        np.testing.assert_allclose(fitted.inverse(z, history), last_rows(future, 4), rtol=1e-6)


@given(compositions, st.integers(0, 2**16))
@settings(deadline=None, max_examples=60)
def test_ordered_quantiles_stay_ordered(specs: list[Any], seed: int) -> None:
    train = positive(seed)
    pipeline = Pipeline(specs).fit(train)
    levels = np.sort(np.random.default_rng(seed).normal(0.0, 2.0, (3, 6, 5)), axis=2)
    back = pipeline.inverse(levels, train)
    assert not np.isnan(back).any()
    assert (back[:, :, 1:] >= back[:, :, :-1]).all()


@pytest.mark.parametrize("stage", [s for s in STAGES if "Difference" not in str(s) and "difference" not in str(s)],
                         ids=title)  # fmt: skip
def test_a_quantile_goes_back_through_an_increasing_stage_as_the_same_quantile(stage: Stage) -> None:
    # The quantile of a sample at (k - 1) / (n - 1) is its k-th smallest value, so no interpolation blurs it.
    train = positive(3)
    fitted = clone(stage).fit(train)
    sample = np.random.default_rng(0).uniform(0.05, 0.95, (3, 4, 11))
    levels = np.linspace(0.0, 1.0, 11)
    of_z = np.moveaxis(np.quantile(sample, levels, axis=2), 0, 2)
    of_y = np.moveaxis(np.quantile(fitted.inverse(sample, train), levels, axis=2), 0, 2)
    np.testing.assert_allclose(fitted.inverse(of_z, train), of_y, rtol=1e-9)


def test_quantiles_of_changes_are_summed_level_by_level() -> None:
    panel = panel_of([np.array([1.0, 2.0, 4.0])])
    changes = np.array([[[-1.0, 0.0, 1.0], [-2.0, 0.5, 2.0]]])
    found = Difference().fit(panel).inverse(changes, panel)
    np.testing.assert_array_equal(found, [[[3.0, 4.0, 5.0], [1.0, 4.5, 7.0]]])


def test_a_pipeline_is_its_stages_one_after_another() -> None:
    panel, values = positive(2), np.random.default_rng(2).normal(size=(3, 4))
    one = Log1p().fit(panel)
    two = Difference(2).fit(one.transform(panel))
    three = Standard().fit(two.transform(one.transform(panel)))
    pipeline = Pipeline([Log1p(), Difference(2), Standard()]).fit(panel)
    expected = three.transform(two.transform(one.transform(panel)))
    np.testing.assert_array_equal(pipeline.transform(panel).y, expected.y)
    np.testing.assert_array_equal(pipeline.transform(panel).observed, expected.observed)
    by_hand = three.inverse(values, two.transform(one.transform(panel)))
    by_hand = one.inverse(two.inverse(by_hand, one.transform(panel)), panel)
    np.testing.assert_array_equal(pipeline.inverse(values, panel), by_hand)
    assert pipeline.context_length == 1 + 2
    assert Pipeline([Difference(2), Pipeline(["difference"]), Difference("season")]).fit(panel).context_length == 7


# ---- nothing is known of the future


@every_stage
def test_values_after_the_cutoff_change_nothing(stage: Stage) -> None:
    one = positive(5)
    late = np.concatenate([np.arange(n) >= n - 4 for n in one.lengths])
    two = replace(one, y=np.where(late, 1e6, one.y))
    answers = []
    for panel in (one, two):
        train = panel.split(4)[0]
        fitted = clone(stage).fit(train)
        arrays, z = fitted.state()[1], fitted.transform(train)
        answers.append([*arrays.values(), z.y, z.observed, fitted.inverse(np.full((3, 5, 2), 0.5), train)])
    for mine, theirs in zip(*answers, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@every_stage
def test_the_training_part_is_transformed_as_it_was_when_more_is_known(stage: Stage) -> None:
    panel = positive(6)
    train = panel.split(4)[0]
    fitted = clone(stage).fit(train)
    np.testing.assert_array_equal(fitted.transform(panel).split(4)[0].y, fitted.transform(train).y)
    np.testing.assert_array_equal(fitted.transform(panel).split(4)[0].observed, fitted.transform(train).observed)


# ---- series that were not there at fit


@every_stage
def test_a_new_series_gets_its_parameters_from_its_own_history(stage: Stage) -> None:
    panel = positive(7)
    fitted = clone(stage).fit(panel.take(["s0", "s2"]))
    learned = fitted.state()[1]
    values = np.full((3, 4), 0.5)
    both, back = fitted.transform(panel), fitted.inverse(values, panel)
    alone = panel.take("s1")
    shared = getattr(stage, "scope", "") == "global" or "Sklearn" in str(stage)  # what is learned of all serves all
    if not shared:
        own = clone(stage).fit(alone)
        np.testing.assert_array_equal(both.take("s1").y, own.transform(alone).y)
        np.testing.assert_array_equal(back[1:2], own.inverse(values[:1], alone))
    np.testing.assert_array_equal(both.take("s1").y, fitted.transform(alone).y)
    np.testing.assert_array_equal(fitted.inverse(values[:1], alone), back[1:2])
    for name, k in (("s0", 0), ("s2", 2)):  # and the known ones keep theirs, whatever else is there
        np.testing.assert_array_equal(both.take(name).y, fitted.transform(panel.take(name)).y)
        np.testing.assert_array_equal(fitted.inverse(values[:1], panel.take(name).tail(20)), back[k : k + 1])
    for key, array in fitted.state()[1].items():
        np.testing.assert_array_equal(array, learned[key])


def test_a_new_series_must_satisfy_what_fit_asks_for() -> None:
    panel = panel_of([np.arange(1.0, 9.0), np.arange(1.0, 4.0)])
    with pytest.raises(TooShortError, match=r"two seasons of 3 steps .* 's1' \(3 rows\)"):
        Deseasonalize().fit(panel.take("s0")).transform(panel)
    with pytest.raises(DataError, match="as large as those of series 's1'"):
        Standard().fit(panel.take("s0")).transform(replace(panel, y=panel.y * 10.0 ** np.repeat([0, 200], [8, 3])))


def test_ids_that_are_numbers_are_found_too() -> None:
    frame = positive(8).to_frame().assign(unique_id=lambda f: f["unique_id"].str[1:].astype(int) * 10)
    panel = Panel.from_frame(frame, freq=1, season_length=3, gaps="mask")
    fitted = Standard().fit(panel)
    np.testing.assert_array_equal(fitted.transform(panel.take(20)).y, fitted.transform(panel).take(20).y)


# ---- saved and restored


def stored(stage: Stage) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The state as it comes back from JSON text and from an `.npz` file that holds no pickle."""
    values, arrays = stage.state()
    file = io.BytesIO()
    np.savez(file, **arrays, allow_pickle=False)
    file.seek(0)
    with np.load(file, allow_pickle=False) as found:
        return json.loads(json.dumps(values, allow_nan=False)), {key: found[key] for key in arrays}


@every_stage
@pytest.mark.parametrize("freq", [3, "MS"])
def test_a_restored_stage_is_the_stage(stage: Stage, freq: int | str) -> None:
    panel, values = positive(9, freq), np.random.default_rng(9).uniform(0.1, 0.9, (3, 5, 2))
    fitted = clone(stage).fit(panel.take(["s0", "s1"]))
    restored = clone(stage).restore(*stored(fitted))
    np.testing.assert_array_equal(restored.transform(panel).y, fitted.transform(panel).y)
    np.testing.assert_array_equal(restored.inverse(values, panel), fitted.inverse(values, panel))
    assert restored.context_length == fitted.context_length
    assert restored.state()[0] == fitted.state()[0]


@every_stage
def test_a_stage_is_restored_from_its_description_and_its_state_alone(stage: Stage) -> None:
    panel = positive(9)
    fitted = clone(stage).fit(panel)
    told = json.loads(json.dumps(fitted.describe(), allow_nan=False))
    rebuilt = make_stage(told)
    assert rebuilt.describe() == told
    assert type(rebuilt) is type(stage)
    np.testing.assert_array_equal(rebuilt.restore(*stored(fitted)).transform(panel).y, fitted.transform(panel).y)


def test_numbers_of_numpy_are_described_and_saved_as_plain_ones() -> None:
    panel = positive(9)
    scaler = sk.MinMaxScaler(feature_range=(np.float64(0), np.int64(2)))
    for stage in (Difference(np.int64(2)), BoxCox(np.float64(0.5)), BoxCox(np.float32(0.5)), Deseasonalize(np.int32(3)),
                  Standard(scope=np.str_("global")), Sklearn(scaler), Pipeline([Difference(np.int64(2))])):  # fmt: skip
        told = json.loads(json.dumps(stage.describe()))
        fitted = clone(stage).fit(panel)
        again = make_stage(told).restore(*stored(fitted))
        np.testing.assert_array_equal(again.transform(panel).y, fitted.transform(panel).y)


@every_stage
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda stage: pickle.loads(pickle.dumps(stage))])
def test_a_fitted_stage_travels_to_other_processes(stage: Stage, copied: Callable[[Stage], Stage]) -> None:
    panel = positive(9)
    fitted = clone(stage).fit(panel)
    np.testing.assert_array_equal(copied(fitted).transform(panel).y, fitted.transform(panel).y)


def refuses(stage: Stage, values: Any, arrays: Any, match: str = "") -> None:
    """Holds that the state is refused, and that nothing of it stays."""
    fitted = clone(stage).fit(positive(9))
    with pytest.raises(ArtifactError, match=match):
        fitted.restore(values, arrays)
    with pytest.raises(NotFittedError):
        fitted.transform(positive(9))


@every_stage
def test_a_state_that_lacks_anything_is_refused(stage: Stage) -> None:
    values, arrays = stored(clone(stage).fit(positive(9)))
    assert {"stage", "arguments"} <= set(values)
    for key in values:
        refuses(stage, {k: v for k, v in values.items() if k != key}, arrays, "is damaged or foreign: KeyError")
    for key in arrays:
        refuses(stage, values, {k: v for k, v in arrays.items() if k != key}, "lacks '[a-z_]+'; it is damaged|KeyError")
    for nothing in (None, [], 3, "state"):
        refuses(stage, nothing, arrays, "damaged or foreign")
        refuses(stage, values, nothing, "damaged|lacks 'ids'")
    refuses(stage, values | {"stage": "other"}, arrays, "the state is of stage 'other', but this is '[a-z_0-9]+'; ")


@pytest.mark.parametrize(
    ("stage", "key", "array"),
    [
        (Standard(), "shift", np.zeros(2)),
        (Standard(), "scale", np.array([1.0, np.nan, 1.0])),
        (Standard(), "scale", np.ones((3, 1))),
        (Standard(), "scale", np.array(["a", "b", "c"])),
        (Standard(), "scale", [1.0, 1.0, 1.0]),
        (Standard(scope="global"), "shift", np.zeros(3)),
        (Log1p(), "ids", np.array("s0")),
        (Log1p(), "ids", np.array([0.5, 1.5])),
        (Log1p(), "ids", np.array(["s0", "s0"])),
        (Log1p(), "ids", None),
        (BoxCox(), "log_mean", np.array([np.inf, 0.0, 0.0])),
        (Deseasonalize(), "seasonal", np.zeros((3, 4))),
        (Deseasonalize(), "seasonal", np.zeros(3)),
    ],
)
def test_a_damaged_array_is_refused(stage: Stage, key: str, array: Any) -> None:
    values, arrays = stored(clone(stage).fit(positive(9)))
    refuses(stage, values, arrays | {key: array}, "damaged")


@pytest.mark.parametrize(
    ("stage", "wrong"),
    [
        (Difference("season"), {"lag": 0}),
        (Difference("season"), {"lag": "3"}),
        (Difference("season"), {"lag": 2.5}),
        (Difference("season"), {"lag": None}),
        (Deseasonalize(), {"season_length": 4}),
        (Deseasonalize(), {"season_length": "3"}),
        (Deseasonalize(), {"freq": "fortnight"}),
        (Deseasonalize(), {"freq": "D"}),
        (Deseasonalize(), {"origin": "long ago"}),
        (Deseasonalize(), {"origin": None}),
        (Deseasonalize(), {"freq": True, "origin": True}),
        (Deseasonalize(), {"freq": "D", "origin": "NaT"}),
        (Pipeline(["log1p", "standard"]), {"stages": []}),
        (Pipeline(["log1p", "standard"]), {"stages": [{"stage": "log1p"}]}),
        (Pipeline(["log1p", "standard"]), {"stages": "ab"}),
        (Sklearn(sk.StandardScaler()), {"learned": None}),
        (Sklearn(sk.StandardScaler()), {"learned": {"transform": 1}}),
        (Sklearn(sk.StandardScaler()), {"learned": {"__class__": 1}}),
        (Sklearn(sk.PowerTransformer()), {"learned": {"_scaler": {"transformer": "Pickle"}}}),
        (Sklearn(sk.PowerTransformer()), {"learned": {"_scaler": {"transformer": "os", "params": {}, "learned": {}}}}),
    ],
)
def test_a_damaged_value_is_refused(stage: Stage, wrong: dict[str, Any]) -> None:
    values, arrays = stored(clone(stage).fit(positive(9)))
    refuses(stage, values | wrong, arrays, "damaged|the state has [01] stages, this pipeline 2")


@pytest.mark.parametrize(
    ("saved", "other"),
    [
        (Standard(), Standard(scope="global")),
        (BoxCox(), BoxCox(0.5)),
        (Difference(2), Difference(3)),
        (Difference("season"), Difference(3)),
        (Deseasonalize(), Deseasonalize(4)),
        (Deseasonalize(), Deseasonalize(model="multiplicative")),
        (Sklearn(sk.StandardScaler()), Sklearn(sk.MinMaxScaler())),
        (Sklearn(sk.PowerTransformer()), Sklearn(sk.PowerTransformer(method="box-cox"))),
        (Pipeline(["standard"]), Pipeline([{"stage": "standard", "scope": "global"}])),
    ],
    ids=title,
)
def test_a_state_of_a_stage_with_other_arguments_is_refused(saved: Stage, other: Stage) -> None:
    refuses(other, *stored(clone(saved).fit(positive(9))), match="but this one has .* construct it as it was")


class Median(sk.StandardScaler):
    """Learns what JSON and arrays cannot hold."""

    def fit(self, X: np.ndarray, y: None = None) -> Median:
        self.seen_ = {"values": set(X[:, 0])}
        return super().fit(X, y)


@pytest.mark.parametrize(
    ("transformer", "complaint"),
    [
        (Median(), "Median cannot be saved without pickle: its seen_ is a dict"),
        (
            make_pipeline(sk.StandardScaler()),
            "Pipeline cannot be saved without pickle, because it has transformers for",
        ),
        (sk.KBinsDiscretizer(4, encode="ordinal", quantile_method="linear"), "pickle: its bin_edges_ is a ndarray"),
    ],
    ids=title,
)
def test_what_only_pickle_would_hold_is_not_saved(transformer: Any, complaint: str) -> None:
    with pytest.raises(ArtifactError, match=complaint):
        Sklearn(transformer).fit(positive(9)).state()


def test_a_transformer_from_elsewhere_is_saved_where_it_learns_plain_arrays() -> None:
    stage = Sklearn(sk.FunctionTransformer(np.log1p, np.expm1)).fit(positive(9))
    restored = clone(stage).restore(*stored(stage))
    np.testing.assert_array_equal(restored.transform(positive(9)).y, stage.transform(positive(9)).y)


def test_output_set_to_frames_makes_no_difference() -> None:
    panel = positive(9)
    for transformer in (sk.PowerTransformer(), sk.StandardScaler()):
        expected = Sklearn(transformer).fit(panel).transform(panel).y
        own = Sklearn(clone(transformer).set_output(transform="pandas")).fit(panel)
        np.testing.assert_array_equal(own.transform(panel).y, expected)
        with sklearn.config_context(transform_output="pandas"):
            fitted = Sklearn(transformer).fit(panel)
            np.testing.assert_array_equal(fitted.transform(panel).y, expected)
            restored = Sklearn(transformer).restore(*stored(fitted))
            np.testing.assert_array_equal(restored.transform(panel).y, expected)


# ---- named in a configuration


@pytest.mark.parametrize(
    ("transformer", "params"),
    [
        (sk.PowerTransformer(method="box-cox", standardize=False), {"method": "box-cox", "standardize": False}),
        (sk.QuantileTransformer(n_quantiles=10, random_state=3), {"n_quantiles": 10, "random_state": 3}),
        (sk.MinMaxScaler(feature_range=(-1, 1), clip=True), {"feature_range": [-1, 1], "clip": True}),
        (sk.RobustScaler(quantile_range=(5.0, 95.0)), {"quantile_range": [5.0, 95.0]}),
        (sk.StandardScaler(), {}),
    ],
    ids=title,
)
def test_a_transformer_is_named_by_its_class_and_what_is_not_default(transformer: Any, params: dict[str, Any]) -> None:
    stage = Sklearn(transformer)
    told = {"stage": "sklearn", "transformer": type(transformer).__name__, "params": params}
    assert stage.describe() == told
    rebuilt = make_stage(json.loads(json.dumps(told)))
    assert repr(rebuilt) == repr(stage)
    assert rebuilt.get_params()["transformer"].get_params() == transformer.get_params()
    np.testing.assert_array_equal(rebuilt.fit(positive(1)).transform(positive(1)).y,
                                  clone(stage).fit(positive(1)).transform(positive(1)).y)  # fmt: skip
    if not params:
        assert repr(make_stage({"stage": "sklearn", "transformer": told["transformer"]})) == repr(stage)


@pytest.mark.parametrize(
    ("transformer", "complaint"),
    [
        (
            Median(),
            r"Sklearn\(Median\) has no form in a configuration, because it is not a transformer of sklearn.prep",
        ),
        (make_pipeline(sk.StandardScaler()), "because it is not a transformer of sklearn.preprocessing; use one of"),
        (
            type("StandardScaler", (sk.StandardScaler,), {})(),
            "because it is not a transformer of sklearn.preprocessing",
        ),
        (sk.FunctionTransformer(np.log1p, np.expm1), "because JSON cannot hold its 'func', 'inverse_func'; use one of"),
        (sk.QuantileTransformer(random_state=np.random.RandomState(0)), "JSON cannot hold its 'random_state'"),
        (None, r"Sklearn\(NoneType\) has no form"),
    ],
)
def test_another_transformer_has_no_form_in_a_configuration(transformer: Any, complaint: str) -> None:
    with pytest.raises(ArtifactError, match=complaint):
        Sklearn(transformer).describe()
    with pytest.raises(ArtifactError, match=complaint):
        Pipeline([Log1p(), Sklearn(transformer)]).describe()


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("standart", "unknown stage 'standart'; known are standard, .* Did you mean 'standard'?"),
        ({"stage": "diference"}, "Did you mean 'difference'?"),
        ({"stage": ["log1p"]}, "unknown stage"),
        ({"lag": 2}, "named by text or by a mapping with the key 'stage', got {'lag': 2}; known are"),
        (Standard, "named by text or by a mapping"),
        (None, "named by text or by a mapping"),
        ({"stage": "difference", "lags": 2}, "has no argument 'lags'; it takes 'lag'. Did you mean 'lag'?"),
        ({"stage": "log1p", "base": 2}, "stage 'log1p' has no argument 'base'; it takes none."),
        ("pipeline", "stage 'pipeline' needs 'stages'"),
        ("sklearn", "stage 'sklearn' needs 'transformer'"),
        ({"stage": "sklearn", "transformer": "PowerTransform"}, "unknown .* Did you mean 'PowerTransformer'?"),
        ({"stage": "sklearn", "transformer": "Normalizer"}, "those of sklearn.preprocessing that have an inverse: "),
        ({"stage": "sklearn", "transformer": "scale"}, "unknown transformer 'scale'"),
        ({"stage": "sklearn", "transformer": "BaseEstimator"}, "unknown transformer 'BaseEstimator'"),
        ({"stage": "sklearn", "transformer": "sklearn.svm.SVC"}, "unknown transformer"),
        ({"stage": "sklearn", "transformer": sk.MinMaxScaler()}, "unknown transformer MinMaxScaler"),
        ({"stage": "sklearn", "transformer": "MinMaxScaler", "params": {"clp": True}},
         "MinMaxScaler has no argument 'clp'; it takes 'feature_range', 'copy', 'clip'. Did you mean 'clip'?"),
        ({"stage": "sklearn", "transformer": "MinMaxScaler", "params": [1]}, "params of MinMaxScaler must be a map"),
        ({"stage": "sklearn", "transformer": "MinMaxScaler", "clip": True}, "stage 'sklearn' has no argument 'clip'"),
    ],
)  # fmt: skip
def test_what_a_configuration_cannot_name_is_refused(spec: Any, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint.replace("?", r"\?").replace("{", r"\{")):
        make_stage(spec)
    with pytest.raises(ArgumentError, match=complaint.replace("?", r"\?").replace("{", r"\{")):
        Pipeline([spec]).check()


def test_stages_are_given_in_a_list_and_stay_as_they_are() -> None:
    with pytest.raises(ArgumentError, match="stages must be a list of stages, got str"):
        Pipeline("standard").check()
    stage = Standard()
    assert make_stage(stage) is stage
    pipeline = Pipeline([stage, "log1p"])
    assert pipeline.stages[0] is stage
    assert pipeline.fit(panel_of([np.array([3.0, 3.0])])).stages_[0] is not stage
    with pytest.raises(NotFittedError):
        stage.state()


# ---- scikit-learn's conventions

# Of scikit-learn's own checks these need no data. The others fit on an array [samples, features] and ask for shapes,
# dtypes, sparse input, sample weights, feature names, `set_output` or a `y` in `fit`; a stage takes a Panel, so they
# cannot be called. Those of them that mean something for panels are written out here and in test_stages.py: fit
# returns the stage, leaves its parameters and what it is given alone, and repeats itself; pickling; a stage that is not
# fitted; wrong input.
CONVENTIONS = [
    checks.check_no_attributes_set_in_init, checks.check_parameters_default_constructible,
    checks.check_get_params_invariance, checks.check_set_params, checks.check_estimator_cloneable,
    checks.check_estimator_repr, checks.check_mixin_order, checks.check_estimator_tags_renamed,
    checks.check_valid_tag_types, checks.check_do_not_raise_errors_in_init_or_set_params,
    checks.check_transformers_unfitted,
]  # fmt: skip


@every_stage
@pytest.mark.parametrize("check", CONVENTIONS, ids=lambda check: check.__name__)
def test_a_stage_keeps_the_conventions_of_scikit_learn(stage: Stage, check: Callable[[str, Stage], None]) -> None:
    check(type(stage).__name__, stage)


@every_stage
def test_fit_returns_the_stage_leaves_its_arguments_alone_and_repeats_itself(stage: Stage) -> None:
    panel, fresh = positive(4), clone(stage)
    before = repr(fresh.get_params())
    with pytest.raises(SklearnNotFitted):
        check_is_fitted(fresh)
    assert fresh.fit(panel) is fresh
    check_is_fitted(fresh)
    assert repr(fresh.get_params()) == before
    first, arrays = fresh.transform(panel).y, fresh.state()[1]
    again = fresh.fit(positive(3)).fit(panel)
    np.testing.assert_array_equal(again.transform(panel).y, first)
    for key, array in again.state()[1].items():
        np.testing.assert_array_equal(array, arrays[key])
    with pytest.raises(SklearnNotFitted):
        check_is_fitted(clone(fresh))


def test_parameters_are_shown_set_and_cloned() -> None:
    assert repr(Pipeline([BoxCox(0.0), "standard"])) == "Pipeline(stages=[BoxCox(lam=0.0), 'standard'])"
    assert repr(Standard()) == "Standard()"
    assert Deseasonalize().set_params(season_length=4, model="multiplicative").get_params() == {
        "season_length": 4, "model": "multiplicative",
    }  # fmt: skip
    with pytest.raises(ValueError, match="Invalid parameter 'span' for estimator Difference"):
        Difference().set_params(span=2)
    nested = Sklearn(sk.StandardScaler())
    assert nested.set_params(transformer__with_mean=False).transformer.with_mean is False
    copied = clone(nested)
    assert copied.transformer is not nested.transformer
    assert copied.transformer.with_mean is False
