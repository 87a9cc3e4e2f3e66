"""Networks that classify sequences, against naive NumPy, and their training."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from forecast_kit.errors import ArgumentError, TrainingError
from forecast_kit.nn.cells import CELLS
from forecast_kit.nn.classification import (
    ENCODERS,
    Epochs,
    Examples,
    WindowCNN,
    build_classifier,
    evaluate,
    make_encoder,
    probabilities,
    read_encoder,
    shuffled,
    train_classifier,
)

Array = np.ndarray
SMALL = {"units": 4}


def sequences(count: int = 5, steps: int = 10, features: int = 2) -> Array:
    return np.random.default_rng(1).normal(size=(count, steps, features)).astype(np.float32)


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


# ---- what the networks compute


def convolve(picture: Array, kernel: Array, bias: Array) -> Array:
    """Article 004, 3.1.1, over places where the kernel lies inside; picture `[A, B, C]`, kernel `[a, b, C, D]`."""
    a, b = kernel.shape[:2]
    out = np.zeros((picture.shape[0] - a + 1, picture.shape[1] - b + 1, kernel.shape[-1]))
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = bias
            for m in range(a):
                for n in range(b):
                    out[i, j] += picture[i + m, j + n] @ kernel[m, n]
    return np.maximum(out, 0.0)


def pool(picture: Array, across: int, down: int, how: str) -> Array:
    """Article 004, 3.1.2; what is left over at an edge is pooled too."""
    rows, columns = -(-picture.shape[0] // across), -(-picture.shape[1] // down)
    out = np.zeros((rows, columns, picture.shape[2]))
    for i in range(rows):
        for j in range(columns):
            block = picture[i * across : (i + 1) * across, j * down : (j + 1) * down]
            out[i, j] = {"max": np.max, "average": np.mean}[how](block, axis=(0, 1))
    return out


@pytest.mark.parametrize("how", ["max", "average"])
@pytest.mark.parametrize(("steps", "image"), [(10, True), (9, True), (10, False), (9, False)])
def test_the_window_cnn_is_convolution_pooling_and_dense(how: str, steps: int, image: bool) -> None:
    features = 10 if image else 2
    encoder = WindowCNN(filters=3, pool=how, units=4, image=image)
    model = build_classifier(encoder, length=steps, features=features, classes=3, seed=0)
    rng = np.random.default_rng(2)
    model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    kernel, bias, w1, b1, w2, b2 = (w.astype(np.float64) for w in model.get_weights())
    x = sequences(4, steps, features)
    got = probabilities(model, x)
    for k in range(4):
        if image:
            maps = pool(convolve(x[k][:, :, np.newaxis], kernel, bias), 2, 2, how)
        else:
            maps = pool(convolve(x[k][:, np.newaxis], kernel[:, np.newaxis], bias), 2, 1, how)
        hidden = np.maximum(maps.ravel() @ w1 + b1, 0.0)
        np.testing.assert_allclose(got[k], softmax(hidden @ w2 + b2), atol=1e-5)


@pytest.mark.parametrize(("pooling", "pooled"), [("mean", np.mean), ("max", np.max)])
def test_maps_are_pooled_over_all_places(pooling: str, pooled: Callable[..., Array]) -> None:
    encoder = WindowCNN(filters=3, pool_size=1, pooling=pooling, units=0, image=True)
    model = build_classifier(encoder, length=6, features=5, classes=2, seed=0)
    kernel, bias, w, b = (weights.astype(np.float64) for weights in model.get_weights())
    x = sequences(3, 6, 5)
    for k, got in enumerate(probabilities(model, x)):
        maps = convolve(x[k][:, :, np.newaxis], kernel, bias)
        np.testing.assert_allclose(got, softmax(pooled(maps, axis=(0, 1)) @ w + b), atol=1e-6)


def lstm(x: Array, kernel: Array, recurrent: Array, bias: Array) -> Array:
    """Article 000, 3.1, `[T, U]` the outputs of all steps; gates in Keras's order i, f, g, o."""

    def s(v: Array) -> Array:
        return 1.0 / (1.0 + np.exp(-v))

    h = c = np.zeros(recurrent.shape[0])
    outputs = []
    for x_t in x:
        i, f, g, o = np.split(x_t @ kernel + h @ recurrent + bias, 4)
        c = s(f) * c + s(i) * np.tanh(g)
        h = s(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


@pytest.mark.parametrize(("pooling", "pooled"), [("last", lambda h: h[-1]), ("mean", lambda h: h.mean(axis=0))])
def test_the_lstm_of_articles_000_and_001(pooling: str, pooled: Callable[[Array], Array]) -> None:
    model = build_classifier(make_encoder("lstm", {"pooling": pooling}), length=8, features=1, classes=2, seed=3)
    *cells, w, b = (weights.astype(np.float64) for weights in model.get_weights())
    x = sequences(3, 8, 1)
    for k, got in enumerate(probabilities(model, x)):
        states = lstm(lstm(x[k], *cells[:3]), *cells[3:])
        np.testing.assert_allclose(got, softmax(pooled(states) @ w + b), atol=1e-5)


def test_the_sizes_are_those_of_the_articles() -> None:
    lstm = build_classifier(make_encoder("lstm", {}), length=30, features=1, classes=2, seed=0)
    assert lstm.count_params() == 4 * (64 * (1 + 64) + 64) + 4 * (64 * (64 + 64) + 64) + 64 * 2 + 2
    cnn = build_classifier(make_encoder("cnn2d", {}), length=10, features=10, classes=2, seed=0)
    assert cnn.count_params() == (32 * 3 * 3 + 32) + (4 * 4 * 32 * 64 + 64) + (64 * 2 + 2)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_network_by_name_reads_every_step(name: str) -> None:
    model = build_classifier(make_encoder(name, SMALL), length=9, features=4, classes=3, seed=0)
    x = sequences(2, 9, 4)
    changed = np.repeat(x[:1], 9, axis=0)
    changed[np.arange(9), np.arange(9)] += 3.0  # another step in each
    rows = probabilities(model, np.concatenate([x[:1], changed]))
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-12)
    assert (np.abs(rows[1:] - rows[0]).max(axis=1) > 1e-7).all()


def test_every_cell_has_a_name() -> None:
    assert set(CELLS) < set(ENCODERS)
    assert make_encoder("gru", {}).describe()["cell"] == "gru"


@pytest.mark.parametrize("name", ENCODERS)
def test_a_network_is_what_its_description_says(name: str) -> None:
    encoder = make_encoder(name, SMALL)
    assert read_encoder(json.loads(json.dumps(encoder.describe()))) == encoder


@pytest.mark.parametrize("name", ["gru", "cnn"])
def test_the_seed_decides_the_initial_weights(name: str) -> None:
    encoder = make_encoder(name, {**SMALL, "pooling": "attention"})
    one, same, other = (
        build_classifier(encoder, length=6, features=1, classes=2, seed=seed).get_weights() for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# ---- training


def examples(count: int = 24, *, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6, 1)).astype(np.float32)
    return Examples(x, (x[:, 2, 0] > 0).astype(np.int64), np.ones(count, np.float32))


def tiny(classes: int = 2) -> Any:
    return build_classifier(WindowCNN(filters=4, units=4), length=6, features=1, classes=classes, seed=0)


def trained(data: Examples, **changes: Any) -> list[Array]:
    model = tiny()
    train_classifier(model, data, spec=Epochs(**{"epochs": 3, "learning_rate": 0.01, **changes}))
    return model.get_weights()


@pytest.mark.parametrize("size", [1, 7, 24])
def test_every_example_comes_once_in_each_permutation(size: int) -> None:
    data = examples()
    draw = shuffled(data, size=size, seed=5)
    stream = np.concatenate([draw(k)[0]["sequence"][:, 0, 0] for k in range(72 // size)])
    orders = stream[: len(stream) // 24 * 24].reshape(-1, 24)
    for order in orders:
        assert sorted(order) == sorted(data.x[:, 0, 0])
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(draw(1)[0]["sequence"], shuffled(data, size=size, seed=5)(1)[0]["sequence"])
    if size < 24:
        assert all(len(array) == size for array in (draw(3)[0]["sequence"], *draw(3)[1:]))


def test_an_example_without_weight_has_no_influence() -> None:
    data, ignored = examples(), np.arange(24) % 3 == 0
    weights = np.where(ignored, 0.0, 1.5).astype(np.float32)
    other_x = np.where(ignored[:, np.newaxis, np.newaxis], np.float32(7.0), data.x)
    other_y = np.where(ignored, 1 - data.y, data.y)
    one, same = (trained(Examples(x, y, weights)) for x, y in ((data.x, data.y), (other_x, other_y)))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_weight_of_two_counts_as_twice_the_example() -> None:
    data = examples(12)
    twice = np.r_[np.arange(12), 3, 4]
    weights = np.bincount(twice).astype(np.float32)
    repeated = Examples(data.x[twice], data.y[twice], np.ones(14, np.float32))
    weighted = Examples(data.x, data.y, weights / weights.mean())
    for one, same in zip(trained(repeated), trained(weighted), strict=True):
        np.testing.assert_allclose(one, same, atol=1e-5)


def test_the_loss_is_the_weighted_cross_entropy() -> None:
    data = examples(7)
    weighted = Examples(data.x, data.y, np.arange(7, dtype=np.float32))
    model = tiny()
    rows = probabilities(model, data.x)
    loss, accuracy = evaluate(model, weighted)
    assert loss == pytest.approx(sum(-k * np.log(rows[k, data.y[k]]) for k in range(7)) / sum(range(7)))
    assert accuracy == pytest.approx(np.mean([rows[k].argmax() == data.y[k] for k in range(7)]))


def test_the_best_epoch_on_the_validation_part_is_kept() -> None:
    """What is learned is wrong there: its loss rises from some epoch on."""
    data, held_out = examples(32), examples(16, seed=1)
    wrong = Examples(held_out.x, 1 - held_out.y, held_out.weights)
    model = tiny()
    spec = Epochs(epochs=60, learning_rate=0.05, clip_norm=0.7, patience=3)
    history = train_classifier(model, data, spec=spec, validation=wrong)
    losses = history["val_loss"]
    assert {len(values) for values in history.values()} == {int(np.argmin(losses)) + 1 + 3}
    assert len(losses) < 60
    assert evaluate(model, wrong)[0] == pytest.approx(min(losses), rel=1e-6)
    assert history["loss"][-1] < history["loss"][0]
    assert model.optimizer.learning_rate.numpy() == pytest.approx(0.05)
    assert model.optimizer.global_clipnorm == 0.7


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    data = examples()
    broken = Examples(np.where(data.x > 1, np.float32(np.inf), data.x), data.y, data.weights)
    with pytest.raises(TrainingError, match="the loss became nan in epoch 1; lower learning_rate"):
        trained(broken)


# ---- what is refused


@pytest.mark.parametrize(
    ("network", "options", "complaint"),
    [
        ("lsmt", {}, "network must be one of rnn, lstm, .*; got 'lsmt'. Did you mean 'lstm'"),
        (3, {}, "network must be one of .*; got 3"),
        ("gru", {"unit": 3}, "unknown option 'unit' of the network 'gru'; it takes .* Did you mean 'units'"),
        ("gru", {"lookback": True}, "unknown option 'lookback' of the network 'gru'"),
        ("gru", {"units": 0}, "units must be a whole number, at least 1"),
        ("gru", {"units": "8"}, "units must be a whole number, at least 1; got '8'"),
        ("cnn", {"cell": "gru"}, "unknown option 'cell' of the network 'cnn'"),
        ("cnn", {"filters": 0}, "filters must be a whole number, at least 1; got 0"),
        ("cnn", {"kernel_size": 1.5}, "kernel_size must be a whole number"),
        ("cnn", {"layers": True}, "layers must be a whole number"),
        ("cnn", {"units": -1}, "units must be a whole number, at least 0"),
        ("cnn", {"pool": "min"}, "pool must be 'max' or 'average', got 'min'"),
        ("cnn", {"pooling": "last"}, "pooling of a convolutional network must be one of flatten, mean, max"),
        ("cnn", {"dropout": 1.0}, "dropout must be a number of at least 0 and below 1"),
        ("cnn", {"dropout": None}, "dropout must be a number of at least 0 and below 1, got None"),
        ("cnn", {"initializer": "nothing"}, "initializer must be one that Keras knows by name"),
    ],
)
def test_bad_networks_are_refused(network: Any, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        make_encoder(network, options)


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("cnn", {"layers": 3}, "9 steps are too few for 3 layers of convolution over 3"),
        ("cnn2d", {}, "2 features are too few for 1 layers of convolution over 3"),
        ("gru", {"segment": 4}, "input_length must be a multiple of segment, got 9 and 4"),
    ],
)
def test_sequences_that_do_not_fit_the_network_are_refused(name: str, options: dict, complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        build_classifier(make_encoder(name, options), length=9, features=2, classes=2, seed=0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"epochs": 0}, "epochs must be a whole number, at least 1; got 0"),
        ({"batch_size": 2.0}, "batch_size must be a whole number"),
        ({"patience": True}, "patience must be a whole number"),
        ({"seed": -1}, "seed must be a whole number, at least 0; got -1"),
        ({"learning_rate": 0}, "learning_rate must be a positive number, got 0"),
        ({"clip_norm": float("inf")}, "clip_norm must be a positive number"),
        ({"clip_norm": None}, "clip_norm must be a positive number"),
    ],
)
def test_bad_training_is_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        Epochs(**arguments)
