"""The classifier of sequences: what it learns, scikit-learn's conventions, and what it refuses."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from forecast_kit import SequenceClassifier
from forecast_kit.data.sequences import up_or_down
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, NotFittedError, TrainingError
from forecast_kit.nn.classification import Epochs, Examples

Array = np.ndarray


def tiny(**changes: Any) -> SequenceClassifier:
    """A classifier that is trained in no time, and learns which of three levels a sequence has."""
    arguments = {"network": "cnn", "units": 4, "options": {"filters": 4}, "epochs": 30, "learning_rate": 0.03}
    return SequenceClassifier(**{**arguments, **changes})


def levels(count: int = 45, *, features: int = 2, seed: int = 0) -> tuple[Array, Array]:
    """Sequences `[N, 6, F]` at one of three levels, and the names of these."""
    rng = np.random.default_rng(seed)
    level = np.arange(count) % 3
    x = 10.0 + 4.0 * level[:, np.newaxis, np.newaxis] + rng.normal(size=(count, 6, features))
    return x, np.array(["middle", "high", "low"])[(level + 2) % 3]


@pytest.fixture(scope="module")
def fitted() -> SequenceClassifier:
    return tiny().fit(*levels())


@dataclass
class Trained:
    """What a classifier had trained."""

    model: Any
    examples: Examples
    spec: Epochs
    validation: Examples | None


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Trained]:
    """Collects what is to be trained, and leaves the initial weights as they are."""
    seen: list[Trained] = []

    def remember(model: Any, examples: Examples, *, spec: Epochs, validation: Examples | None) -> dict:
        seen.append(Trained(model, examples, spec, validation))
        return {"loss": [0.5], "accuracy": [0.5]}

    monkeypatch.setattr("forecast_kit.models.classifier.train_classifier", remember)
    return seen


# ---- what it learns


def test_a_recurrent_network_remembers_the_first_step() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 12, 1))
    y = x[:, 0, 0] > 0
    model = SequenceClassifier("gru", units=8, layers=1, epochs=25, learning_rate=0.03).fit(x[:300], y[:300])
    assert model.score(x[300:], y[300:]) > 0.9
    assert model.history_["loss"][-1] < 0.3 < model.history_["loss"][0]


def test_a_convolution_finds_a_motif_where_it_was_never_trained_to() -> None:
    """The motif lies in the first half in training, in the second in the test."""
    rng = np.random.default_rng(2)
    y = np.arange(300) % 2
    x = rng.normal(scale=0.3, size=(300, 24))
    for k in np.flatnonzero(y):
        at = rng.integers(0, 8) + 12 * (k >= 200)
        x[k, at : at + 4] += [1.5, -1.5, -1.5, 1.5]
    arguments = {"epochs": 20, "learning_rate": 0.03, "options": {"filters": 8, "kernel_size": 4}, "units": 8}
    scores = {}
    for pooling in ("max", "flatten"):
        model = SequenceClassifier("cnn", pooling=pooling, **arguments).fit(x[:200], y[:200])
        scores[pooling] = model.score(x[200:], y[200:])
    assert scores["max"] > 0.95
    assert scores["flatten"] < scores["max"] - 0.2


def test_the_default_is_the_network_of_article_000(trainings: list[Trained]) -> None:
    x = np.random.default_rng(3).normal(size=(12, 5, 1))
    model = SequenceClassifier().fit(x, np.arange(12) % 2)
    first, second, dense = (layer for layer in model.model_.layers if layer.weights)
    assert (type(first.cell).__name__, first.cell.units, second.cell.units) == ("LSTMCell", 64, 64)
    assert (first.return_sequences, second.return_sequences) == (True, False)
    assert (type(dense).__name__, dense.units) == ("Dense", 2)
    assert trainings[0].spec.learning_rate == 0.001


def outline(model: Any) -> list[str]:
    """The kinds of layers, and their shapes."""
    return [f"{type(layer).__name__} {[w.shape for w in layer.weights]}" for layer in model.layers]


@pytest.mark.parametrize(
    "changes",
    [{"units": 5}, {"layers": 2}, {"pooling": "mean"}, {"dropout": 0.5}, {"options": {"filters": 3}}],
    ids=lambda changes: next(iter(changes)),
)
def test_every_argument_of_the_network_changes_it(changes: dict[str, Any], trainings: list[Trained]) -> None:
    x, y = levels(12)
    usual = {"options": {"kernel_size": 2}}
    one, same, other = (tiny(**{**usual, **own}).fit(x, y).model_ for own in ({}, {}, changes))
    assert outline(one) == outline(same) != outline(other)


def test_every_argument_of_the_training_reaches_it(trainings: list[Trained]) -> None:
    x, y = levels(12)
    wanted = {"epochs": 3, "batch_size": 5, "learning_rate": 0.25, "clip_norm": 0.125, "patience": 4, "seed": 6}
    tiny(**wanted, validation_fraction=0.25, standardize=False).fit(x, y)
    tiny(**wanted, validation_fraction=0.25).fit(x, y)
    plain, standardised = trainings
    assert asdict(plain.spec) == wanted
    assert plain.validation is not None
    np.testing.assert_array_equal(plain.examples.x, x[:9].astype(np.float32))
    np.testing.assert_array_equal(plain.validation.x, x[9:].astype(np.float32))
    np.testing.assert_array_equal(plain.validation.y, [1, 2, 0])  # middle is the last of high, low, middle
    mean, deviation = x[:9].mean(axis=(0, 1)), x[:9].std(axis=(0, 1))
    np.testing.assert_allclose(standardised.validation.x, (x[9:] - mean) / deviation, rtol=1e-4)


def test_class_and_sample_weights_are_multiplied_and_average_to_one(trainings: list[Trained]) -> None:
    x, y = levels(9)[0], np.array(["rare"] + ["usual"] * 8)
    own = np.arange(1.0, 10.0)
    tiny(class_weight="balanced").fit(x, y)
    tiny(class_weight={"rare": 6.0}).fit(x, y, own)
    np.testing.assert_allclose(trainings[0].examples.weights, [9 / 2] + [9 / 16] * 8, rtol=1e-6)
    tiny(class_weight={"rare": 6.0}).fit(x, y, own * 4.0)
    np.testing.assert_allclose(trainings[2].examples.weights, trainings[1].examples.weights)
    by_hand = np.array([6.0] + [1.0] * 8) * own
    np.testing.assert_allclose(trainings[1].examples.weights, by_hand / by_hand.mean(), rtol=1e-6)


# ---- probabilities, classes, labels


def test_probabilities_are_in_the_order_of_classes(fitted: SequenceClassifier) -> None:
    x, y = levels(30, seed=4)
    rows = fitted.predict_proba(x)
    assert fitted.classes_.tolist() == ["high", "low", "middle"]
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-12)
    assert (rows >= 0).all()
    np.testing.assert_array_equal(fitted.predict(x), fitted.classes_[rows.argmax(axis=1)])
    assert fitted.score(x, y) == np.mean(fitted.predict(x) == y) > 0.9
    np.testing.assert_allclose(fitted.predict_proba(x[7:8])[0], rows[7], rtol=1e-4)


@pytest.mark.parametrize(
    ("low", "high", "kind"),
    [(3, -7, "i"), (False, True, "b"), ("später", "früher", "U"), (0.0, 1.0, "f")],
)
def test_labels_are_of_any_kind(low: Any, high: Any, kind: str, tmp_path: Path, trainings: list[Trained]) -> None:
    x, names = levels()
    y = pd.Series([high if name == "high" else low for name in names])
    model = tiny(class_weight={low: 0.5, high: 2.0}).fit(x, y)
    assert model.classes_.dtype.kind == kind
    assert model.classes_.tolist() == sorted([low, high])
    np.testing.assert_array_equal(trainings[0].examples.y, (y == max(low, high)).astype(int))
    model.save(tmp_path / "model")
    loaded = SequenceClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert loaded.class_weight == {low: 0.5, high: 2.0}
    assert loaded.classes_.dtype == model.classes_.dtype


def test_sequences_of_numbers_are_sequences_of_one_feature(trainings: list[Trained]) -> None:
    x, y = levels(features=1)
    flat, deep = (tiny().fit(data, y) for data in (x[:, :, 0].tolist(), x))
    assert (flat.n_features_in_, flat.n_steps_in_) == (deep.n_features_in_, deep.n_steps_in_) == (1, 6)
    np.testing.assert_array_equal(flat.predict_proba(x), deep.predict_proba(x[:, :, 0]))


def test_a_feature_may_be_of_any_unit_and_constant(trainings: list[Trained]) -> None:
    x, y = levels()
    other = np.concatenate([x * [1e6, 1e-6] - 3.0, np.full((45, 6, 1), 0.1)], axis=2)
    model = tiny().fit(other, y)
    np.testing.assert_allclose(model.center_, [*(x.mean(axis=(0, 1)) * [1e6, 1e-6] - 3.0), 0.1])
    np.testing.assert_allclose(model.scale_, [*(x.std(axis=(0, 1)) * [1e6, 1e-6]), 1.0], rtol=1e-6)
    assert np.abs(trainings[0].examples.x).max() < 5.0
    np.testing.assert_allclose(trainings[0].examples.x[:, :, 2], 0.0, atol=1e-12)


# ---- the same seed, weights, early stopping


def test_the_same_seed_gives_the_same_probabilities(fitted: SequenceClassifier) -> None:
    x, y = levels()
    again = clone(fitted).fit(x, y)
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))
    assert again.history_ == fitted.history_


def test_a_class_without_weight_is_never_the_answer() -> None:
    x, y = levels()
    model = tiny().fit(x, y, np.where(y == "low", 0.0, 1.0))
    assert set(model.predict(x)) == {"high", "middle"}


def test_the_last_sequences_are_held_out_and_end_the_training() -> None:
    x, y = levels(60)
    y = y.copy()
    y[48:] = np.roll(y[48:], 1)  # wrong labels there: the loss on them rises
    model = tiny(epochs=50, validation_fraction=0.2, patience=2).fit(x, y)
    losses = model.history_["val_loss"]
    assert len(losses) == int(np.argmin(losses)) + 3 < 50
    own = model.predict_proba(x[48:])[np.arange(12), np.searchsorted(model.classes_, y[48:])]
    assert -np.log(own).mean() == pytest.approx(min(losses), rel=1e-4)
    np.testing.assert_allclose(model.center_, x[:48].mean(axis=(0, 1)))


# ---- scikit-learn


def test_arguments_are_read_set_and_cloned(trainings: list[Trained]) -> None:
    model = tiny()
    assert model.set_params(units=6).get_params()["units"] == 6
    copy = clone(model.fit(*levels(12)))
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "classes_")
    assert "network='cnn'" in repr(model)


def test_cross_validation_and_search_work_on_three_axes() -> None:
    x, y = levels()
    assert cross_val_score(tiny(), x, y, cv=TimeSeriesSplit(2)).min() > 0.8
    grid = {"epochs": np.array([1, 30]), "options": [{"filters": 4}]}
    search = GridSearchCV(tiny(), grid, cv=2, error_score="raise").fit(x, y)
    assert search.best_params_["epochs"] == 30
    assert search.best_estimator_.score(x, y) == search.score(x, y) > 0.8


def test_a_pipeline_of_three_axes_works() -> None:
    x, y = levels()
    steps = np.cumsum(x - 14.0, axis=1)  # the level is the slope
    pipeline = make_pipeline(FunctionTransformer(np.diff, kw_args={"axis": 1}), tiny())
    pipeline.fit(steps, y, sequenceclassifier__sample_weight=np.ones(len(y)))
    assert pipeline.score(steps, y) > 0.9
    assert pipeline[-1].n_steps_in_ == 5


def test_a_fitted_classifier_travels_between_processes(fitted: SequenceClassifier) -> None:
    x, _ = levels()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(x), fitted.predict_proba(x))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")  # the checks are about errors, and bring warnings of their own
def test_the_conventions_of_scikit_learn_hold_but_for_these() -> None:
    known = {
        "check_n_features_in": "of sequences [N, T] a step has one feature, not T",
        "check_n_features_in_after_fitting": "the same",
        "check_sample_weight_equivalence_on_dense_data": "batches are drawn from other sequences",
        "check_dtype_object": "of values that are no numbers it is a DataError, which is no TypeError",
    }
    # 1-step convolutions, because the checks have sequences of one step.
    model = tiny(epochs=5, options={"filters": 4, "kernel_size": 1, "pool_size": 1})
    checks = check_estimator(model, expected_failed_checks=known, on_fail=None, on_skip=None)
    failed = [f"{check['check_name']}: {check['exception']!r}" for check in checks if check["status"] == "failed"]
    assert not failed
    assert {check["check_name"] for check in checks if check["status"] == "xfail"} == set(known)


# ---- saved and loaded


def test_a_saved_classifier_says_the_same_in_a_fresh_process(fitted: SequenceClassifier, tmp_path: Path) -> None:
    x, _ = levels()
    fitted.save(tmp_path / "deep" / "model")
    assert sorted(file.name for file in (tmp_path / "deep").rglob("*")) == [
        "arrays.npz", "classifier.json", "model", "network.weights.h5",
    ]  # fmt: skip
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np; from forecast_kit import SequenceClassifier as S; "
        "model = S.load(sys.argv[1]); np.save(sys.argv[3], model.predict_proba(np.load(sys.argv[2]))); "
        "print(model.get_params(), model.classes_.tolist(), model.history_['loss'][-1])"
    )
    paths = [str(tmp_path / name) for name in ("deep/model", "x.npy", "p.npy")]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(paths[2]), fitted.predict_proba(x))
    assert done.stdout.strip() == f"{fitted.get_params()} {fitted.classes_.tolist()} {fitted.history_['loss'][-1]}"


def test_arguments_set_after_the_fit_do_not_break_what_is_saved(tmp_path: Path, trainings: list[Trained]) -> None:
    x, y = levels()
    model = tiny(network="gru", options=None).fit(x, y)
    model.set_params(network="cnn", units=9, seed=np.int64(3)).save(tmp_path / "model")
    loaded = SequenceClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(x), model.predict_proba(x))
    assert (loaded.network, loaded.units, loaded.seed) == ("cnn", 9, 3)


def test_a_folder_that_exists_or_is_damaged_is_refused(fitted: SequenceClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    with pytest.raises(ArtifactError, match="exists; choose another path"):
        fitted.save(tmp_path / "model")
    with pytest.raises(ArtifactError, match="holds no saved classifier: classifier.json is missing"):
        SequenceClassifier.load(tmp_path)
    for name, content in (("arrays.npz", b"no zip"), ("network.weights.h5", b"no h5"), ("classifier.json", b"{}")):
        broken = tmp_path / f"broken-{name}"
        shutil.copytree(tmp_path / "model", broken)
        (broken / name).write_bytes(content)
        with pytest.raises(ArtifactError, match="damaged or foreign"):
            SequenceClassifier.load(broken)
    (tmp_path / "broken-arrays.npz" / "arrays.npz").unlink()
    with pytest.raises(ArtifactError, match="holds no saved classifier: arrays.npz is missing"):
        SequenceClassifier.load(tmp_path / "broken-arrays.npz")
    document = json.loads((tmp_path / "model" / "classifier.json").read_text())
    (tmp_path / "model" / "classifier.json").write_text(json.dumps({**document, "format_version": 99}))
    with pytest.raises(ArtifactError, match="written in format 99, this forecast_kit reads up to 1; upgrade"):
        SequenceClassifier.load(tmp_path / "model")


def test_what_json_cannot_hold_leaves_no_folder(fitted: SequenceClassifier, tmp_path: Path) -> None:
    odd = clone(fitted)
    vars(odd).update(vars(fitted))
    with pytest.raises(ArtifactError, match="cannot be saved without pickle: .* has no form in JSON"):
        odd.set_params(options={"pool": max}).save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


# ---- what is refused


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score", "save"])
def test_nothing_works_before_fit(method: str, tmp_path: Path) -> None:
    x, y = levels(6)
    arguments = {"score": (x, y), "save": (tmp_path / "model",)}.get(method, (x,))
    for kind in (NotFittedError, SklearnNotFittedError):
        with pytest.raises(kind, match=r"SequenceClassifier is not fitted; call fit\(X, y\) first"):
            getattr(tiny(), method)(*arguments)


def with_value(value: float) -> Array:
    x, _ = levels(6)
    x[4, 2, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "complaint"),
    [
        (np.zeros(6), r"sequences \[N, T, F\] or \[N, T\], got an array of shape \(6,\). Reshape your data"),
        (np.zeros((6, 5, 2, 1)), r"got an array of shape \(6, 5, 2, 1\)"),
        (np.zeros((0, 5, 2)), r"0 sample\(s\)"),
        (np.zeros((6, 0, 2)), r"X has shape \(6, 0, 2\); at least one step and one feature"),
        (np.zeros((6, 5, 0)), r"X has shape \(6, 5, 0\); at least one step and one feature"),
        (with_value(np.nan), "1 values are NaN or infinite, the first is nan at sequence 4, step 2, feature 1"),
        (with_value(-np.inf), "the first is -inf at sequence 4, step 2, feature 1"),
        (with_value(1e300), "too large for single precision"),
        ([[1.0, 2.0], [3.0]], "all of one length"),
        ([["a", "b"]] * 6, "X must be an array of sequences"),
        (np.zeros((6, 5), complex), "Complex data not supported"),
        (np.zeros((6, 5), "M8[D]"), "X must hold numbers, got datetime64"),
        ([[{}, 1.0]] * 6, "X must be an array of sequences"),
        (None, "X must be an array of sequences"),
    ],
)
def test_bad_sequences_are_refused(x: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        tiny().fit(x, ["low", "high"] * 3)


@pytest.mark.parametrize(
    ("shape", "complaint"),
    [
        ((3, 5, 2), "sequences of 5 steps, but SequenceClassifier was fitted on 6; cut or pad them"),
        ((3, 6, 3), "3 features, but SequenceClassifier is expecting 2 features as input"),
        ((3, 6), "1 features, but SequenceClassifier is expecting 2"),
        ((6,), "Reshape your data"),
        ((0, 6, 2), r"0 sample\(s\)"),
    ],
)
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_sequences_unlike_those_of_the_fit_are_refused(
    shape: tuple[int, ...], complaint: str, method: str, fitted: SequenceClassifier
) -> None:
    with pytest.raises(DataError, match=complaint):
        getattr(fitted, method)(np.zeros(shape))


def test_nan_is_refused_at_predict_too(fitted: SequenceClassifier) -> None:
    with pytest.raises(DataError, match="the first is nan at sequence 4, step 2, feature 1"):
        fitted.predict(with_value(np.nan))


@pytest.mark.parametrize(
    ("y", "complaint"),
    [
        (["low"] * 6, "y holds one class only, 'low'; a classifier needs two"),
        (["low", "high"], "X holds 6 sequences, y 2 labels"),
        (None, "requires y to be passed, but the target y is None"),
        ([0.5, 1.5] * 3, "y must hold labels, all text, whole numbers or bools: Unknown label type: continuous"),
        (["low", None] * 3, "there are the kinds 'NoneType', 'str'"),
        (["low", float("nan")] * 3, "there are the kinds 'float', 'str'"),
        (["low", 1] * 3, "there are the kinds 'int', 'str'"),
        (np.array([1.0, np.nan] * 3), "some are NaN or infinite"),
        (np.array([b"low", b"high"] * 3), "they are |S4"),
        (np.zeros((6, 2)), "y should be a 1d array"),
    ],
)
def test_bad_labels_are_refused(y: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        tiny().fit(levels(6)[0], y)


@pytest.mark.parametrize(
    ("changes", "weights", "complaint"),
    [
        ({}, [1.0, 2.0], "sample_weight must be one number for each of 6 sequences"),
        ({}, [-1.0] * 6, "sample_weight must be finite and at least 0"),
        ({}, [np.nan] * 6, "sample_weight must be finite and at least 0"),
        ({}, [0.0] * 6, "all weights of the training sequences are zero"),
        ({"validation_fraction": 0.4}, [1.0] * 4 + [0.0] * 2, "all weights of the held-out sequences are zero"),
        ({"validation_fraction": 0.8}, None, "all of class 'high', 'middle'; shuffle X and y together"),
        ({"validation_fraction": 1.0}, None, "validation_fraction must be a number of at least 0 and below 1, got 1.0"),
        ({"class_weight": "balance"}, None, "class_weight must be None, 'balanced' or a mapping"),
        ({"class_weight": {"lo": 2.0}}, None, "class_weight names 'lo', and the classes are 'high', 'low', 'middle'"),
        ({"class_weight": {"low": -2.0}}, None, "class_weight must hold numbers, at least 0"),
        ({"class_weight": {"low": "x"}}, None, "class_weight must hold numbers"),
        ({"network": "lstn"}, None, "network must be one of .* Did you mean 'lstm'"),
        ({"options": "max"}, None, "options must be a mapping"),
        ({"options": {"units": 3}}, None, "units is an argument of its own"),
        ({"epochs": 0}, None, "epochs must be a whole number, at least 1"),
        ({"layers": 9}, None, "6 steps are too few for 9 layers"),
    ],
)
def test_bad_arguments_are_refused_at_fit(changes: dict[str, Any], weights: Any, complaint: str) -> None:
    with pytest.raises((ArgumentError, DataError), match=complaint):
        tiny(**changes).fit(*levels(6), sample_weight=weights)


def test_a_fit_that_fails_leaves_the_last_one_as_it_was(trainings: list[Trained], monkeypatch: Any) -> None:
    x, y = levels(12)
    model = tiny().fit(x, y)
    before = model.predict_proba(x)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise TrainingError("the loss became nan")

    monkeypatch.setattr("forecast_kit.models.classifier.train_classifier", fail)
    with pytest.raises(TrainingError, match="became nan"):
        model.fit(x[:, :4] * 7.0, np.arange(12) % 2)
    np.testing.assert_array_equal(model.predict_proba(x), before)
    assert set(model.predict(x)) <= {"high", "low", "middle"}


# ---- windows of returns


@pytest.mark.parametrize(("window", "horizon"), [(1, 1), (5, 1), (4, 3)])
def test_up_or_down_cuts_windows_of_returns_and_looks_ahead(window: int, horizon: int) -> None:
    y = np.exp(np.cumsum(np.random.default_rng(6).normal(size=20)))
    x, labels = up_or_down(pd.Series(y), window, horizon=horizon)
    assert x.shape == (20 - window - horizon, window, 1)
    for k in range(len(x)):
        end = k + window
        for j in range(window):
            assert x[k, j, 0] == pytest.approx(np.log(y[k + j + 1] / y[k + j]))
        assert labels[k] == ("up" if y[end + horizon] > y[end] else "down")
    assert end + horizon == 19


def test_what_lies_ahead_of_a_window_is_not_in_it() -> None:
    y = np.linspace(1.0, 2.0, 15)
    other = y.copy()
    other[10:] = 5.0
    (one, _), (same, _) = up_or_down(y, 4), up_or_down(other, 4)
    np.testing.assert_array_equal(one[:6], same[:6])  # the window k ends at step k + 4
    assert not np.array_equal(one[6], same[6])


@pytest.mark.parametrize(
    ("y", "arguments", "complaint"),
    [
        ([1.0, 2.0, 3.0], {"window": 2}, "take 4 values, y has 3"),
        ([1.0, 0.0, 3.0, -1.0], {"window": 1}, "y is 0.0 at step 1 .* and 1 more"),
        ([1.0, np.nan, 3.0, 1.0], {"window": 1}, "y is nan at step 1"),
        ([[1.0, 2.0]], {"window": 1}, r"one series \[R\], got an array of shape \(1, 2\)"),
        ([1.0, 2.0, 3.0], {"window": 0}, "window must be a whole number of steps, at least 1; got 0"),
        ([1.0, 2.0, 3.0], {"window": 1, "horizon": 1.5}, "horizon must be a whole number of steps"),
    ],
)
def test_bad_series_and_windows_are_refused(y: Any, arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises((ArgumentError, DataError), match=complaint):
        up_or_down(y, **arguments)
