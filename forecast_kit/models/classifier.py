"""A classifier of sequences with scikit-learn's interface."""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from forecast_kit.data.sequences import as_labels, as_sequences, as_weights
from forecast_kit.data.sources import read_arrays
from forecast_kit.errors import ArgumentError, ArtifactError, DataError, NotFittedError, check_fraction, name_some
from forecast_kit.nn.classification import (
    Encoder,
    Epochs,
    Examples,
    build_classifier,
    make_encoder,
    probabilities,
    read_encoder,
    train_classifier,
)
from forecast_kit.typing import Floats, Ints

FORMAT_VERSION = 1
_FILE, _ARRAYS, _WEIGHTS = "classifier.json", "arrays.npz", "network.weights.h5"


class ClassifierNotFittedError(NotFittedError, SklearnNotFittedError):
    """A fitted classifier was needed, and this one is not; scikit-learn's error of that name too."""


class SequenceClassifier(ClassifierMixin, BaseEstimator):
    """A recurrent or convolutional network that names the class of a sequence, by scikit-learn's conventions.

    `p = softmax(encode(x) @ W + b)`, trained by Adam on the cross-entropy. Sequences are `[N, T, F]`, of one length, or
    `[N, T]` where each step is one number; labels are text, whole numbers or bools. It works in `cross_val_score`,
    `GridSearchCV` and a `Pipeline` whose other steps leave three axes in place. Sequences that are windows of one
    series need a splitter that keeps their order, such as `TimeSeriesSplit`: windows that overlap are near copies.

    The arguments stand side by side, many as they are, because that is how scikit-learn searches them; `fit` refuses
    those that are out of range.

    Args:
        network: a cell of `forecast_kit.nn.cells.CELLS` by name (`"lstm"`, `"gru"`, `"rnn"`, `"min_gru"`, ...),
            `"bidirectional"` (an LSTM in both directions), `"cnn_rnn"` (a convolution in front of a GRU), `"cnn"`
            (convolutions over time, features as channels) or `"cnn2d"` (the sequence as a picture, T x F).
        units: width of a recurrent layer's state; of a convolutional network's dense layer.
        layers: recurrent layers, by default 2; convolutions, each with its pooling, by default 1.
        pooling: how what was computed over the steps becomes one vector: of a recurrent network `"last"` (its
            default), `"mean"`, `"max"` or `"attention"`; of a convolutional one `"flatten"` (its default), `"mean"`,
            `"max"` or `"attention"`.
        dropout: share dropped in training, between layers and before the output.
        options: further arguments of the network by name, such as `{"bidirectional": True}`, `{"segment": 24}`,
            `{"filters": 32}` (a convolution in front of any cell), or `{"pool": "average"}`: see
            `forecast_kit.Recurrent` and `forecast_kit.nn.classification.WindowCNN`.
        epochs: how often each sequence is trained on, at most.
        batch_size: sequences in an optimiser step.
        learning_rate: of Adam.
        clip_norm: gradients whose norm over all weights is larger are shortened to it.
        class_weight: None, `"balanced"` (classes weigh the same in all) or a mapping from label to weight.
        validation_fraction: share of the sequences, the last ones, that is not trained on: after each epoch the loss
            on them is taken, and the weights of the best epoch are kept. 0 for none, which trains for all epochs.
        patience: epochs without a better loss on them after which training stops.
        standardize: whether each feature is shifted and scaled to mean 0 and deviation 1 over the training part.
        seed: of initial weights, dropout and the order of the sequences.

    Attributes:
        classes_: `[C]` the labels, sorted: the order of the columns of `predict_proba`.
        n_features_in_: features of a step, F; 1 for `[N, T]`.
        n_steps_in_: steps of a sequence, T.
        history_: loss and accuracy of each epoch, and where some sequences were held out val_loss and val_accuracy.
        model_: the `keras.Model`, from standardised sequences to logits.

    Source: article 000 of the project's sources, section 4: two LSTM or GRU layers of 64 units, the last step, dense,
    cross-entropy, Adam at 0.001, which is the default; article 001, 2.2 (pooling); article 004, 3.1 and 4.2 (CNN).

    >>> X = np.random.default_rng(0).normal(size=(64, 6))
    >>> y = np.where(X[:, 0] > 0, "up", "down")
    >>> model = SequenceClassifier("cnn", units=8, epochs=40, learning_rate=0.01).fit(X, y)
    >>> model.classes_.tolist(), model.predict_proba(X[:3]).shape, model.score(X, y) > 0.9
    (['down', 'up'], (3, 2), True)
    """

    def __init__(
        self,
        network: str = "lstm",
        *,
        units: int = 64,
        layers: int | None = None,
        pooling: str | None = None,
        dropout: float = 0.0,
        options: Mapping[str, Any] | None = None,
        epochs: int = 50,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        clip_norm: float = 1.0,
        class_weight: str | Mapping[Any, float] | None = None,
        validation_fraction: float = 0.0,
        patience: int = 10,
        standardize: bool = True,
        seed: int = 0,
    ) -> None:
        # Nothing is checked here: scikit-learn sets arguments later too, and `fit` looks at them all.
        self.network = network
        self.units = units
        self.layers = layers
        self.pooling = pooling
        self.dropout = dropout
        self.options = options
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.clip_norm = clip_norm
        self.class_weight = class_weight
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.standardize = standardize
        self.seed = seed

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    # ---- what users call

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """This classifier, fitted.

        Args:
            X: sequences `[N, T, F]` or `[N, T]`, finite. Where some are held out, the last of them are.
            y: `[N]` their labels.
            sample_weight: `[N]` how much each counts, at least 0; by default all the same.

        Raises:
            ArgumentError: an argument of the classifier is out of range.
            DataError: the sequences, labels or weights are not as above, or there is one class only.
            TrainingError: the loss is no longer a number.
        """
        encoder, epochs = self._encoder(), self._epochs()
        x = as_sequences(X)
        classes, codes = np.unique(as_labels(y, len(x)), return_inverse=True)
        if len(classes) < 2:
            raise DataError(f"y holds one class only, {name_some(classes.tolist())}; a classifier needs two or more")
        train = _train_size(self.validation_fraction, classes, codes)
        weights = as_weights(sample_weight, len(x)) * _by_class(self.class_weight, classes, codes[:train])[codes]
        for part, what in ((weights[:train], "training"), (weights[train:], "held-out")):
            if len(part) and not part.sum() > 0:
                raise DataError(f"all weights of the {what} sequences are zero; at least one must count")
        weights = (weights / weights[:train].mean()).astype(np.float32)
        center, scale = _center_and_scale(x[:train], self.standardize)
        every = Examples(_scaled(x, center, scale), codes, weights)
        steps, features = x.shape[1:]
        model = build_classifier(encoder, length=steps, features=features, classes=len(classes), seed=epochs.seed)
        held_out = every.between(train, len(x)) if train < len(x) else None
        self.history_ = train_classifier(model, every.between(0, train), spec=epochs, validation=held_out)
        # All at once, so that a fit that fails leaves what was fitted before as it was.
        self.classes_, self.n_steps_in_, self.n_features_in_ = classes, steps, features
        self.center_, self.scale_ = center, scale
        self.model_, self.encoder_ = model, encoder
        return self

    def predict_proba(self, X: Any) -> Floats:
        """`[N, C]` the probability of each class, in the order of `classes_`.

        Raises:
            ClassifierNotFittedError: before `fit`.
            DataError: the sequences are not finite, or of another length or number of features than at `fit`.
        """
        self._check_fitted()
        x = as_sequences(X)
        name, (_, steps, features) = type(self).__name__, x.shape
        if features != self.n_features_in_:
            raise DataError(f"X has {features} features, but {name} is expecting {self.n_features_in_} features as "
                            f"input: sequences [N, {self.n_steps_in_}, {self.n_features_in_}]")  # fmt: skip
        if steps != self.n_steps_in_:
            raise DataError(f"X has sequences of {steps} steps, but {name} was fitted on {self.n_steps_in_}; cut or "
                            f"pad them to that")  # fmt: skip
        return probabilities(self.model_, _scaled(x, self.center_, self.scale_))

    def predict(self, X: Any) -> np.ndarray:
        """`[N]` the most probable class of each sequence; see `predict_proba` for what is refused."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def save(self, path: str | Path) -> None:
        """Writes the fitted classifier into a folder: JSON, `.npz` and `.h5`, no pickle and no training data.

        Args:
            path: a folder that does not exist yet. It appears whole or not at all.

        Raises:
            ClassifierNotFittedError: before `fit`.
            ArtifactError: the path exists, or an argument has no form in JSON.
        """
        self._check_fitted()
        target = Path(path)
        if target.exists():
            raise ArtifactError(f"{target} exists; choose another path, or remove it first")
        document, arrays = self._state()
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-{uuid.uuid4().hex[:8]}", dir=target.parent))
        try:
            (staging / _FILE).write_text(document)
            with (staging / _ARRAYS).open("wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # the stub takes the names for its own
            self.model_.save_weights(staging / _WEIGHTS)
            staging.chmod(0o755)
            staging.replace(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The classifier that `save` wrote.

        Raises:
            ArtifactError: the folder is no saved classifier, is damaged, or is of a newer version.
        """
        folder = Path(path)
        try:
            document = json.loads((folder / _FILE).read_text())
            if document["format_version"] > FORMAT_VERSION:
                raise ArtifactError(
                    f"{folder} was written in format {document['format_version']}, this forecast_kit reads up to "
                    f"{FORMAT_VERSION}; upgrade forecast_kit"
                )
            return cls()._restore(document, read_arrays(folder / _ARRAYS), folder / _WEIGHTS)
        except FileNotFoundError as error:
            file = Path(error.filename).name if error.filename else "a file"  # h5py tells no name
            raise ArtifactError(f"{folder} holds no saved classifier: {file} is missing") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"cannot read the classifier in {folder}: {error!r}; it is damaged or foreign"
            ) from error

    # ---- shared by the above

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise ClassifierNotFittedError(f"{type(self).__name__} is not fitted; call fit(X, y) first")

    def _encoder(self) -> Encoder:
        """The network that the arguments name."""
        own = {"units": self.units, "layers": self.layers, "pooling": self.pooling, "dropout": self.dropout}
        options = {} if self.options is None else self.options
        if not isinstance(options, Mapping):
            raise ArgumentError(f"options must be a mapping such as {{'bidirectional': True}}, got {options!r}")
        for key in own:
            if key in options:
                raise ArgumentError(f"{key} is an argument of its own, give it there and not in options")
        return make_encoder(self.network, {k: _plain(v) for k, v in own.items() if v is not None} | dict(options))

    def _epochs(self) -> Epochs:
        names = ("epochs", "batch_size", "learning_rate", "clip_norm", "patience", "seed")
        return Epochs(**{name: _plain(getattr(self, name)) for name in names})

    def _state(self) -> tuple[str, dict[str, np.ndarray]]:
        """All but the network's weights, as JSON and arrays."""
        params = self.get_params(deep=False)
        if isinstance(self.class_weight, Mapping):  # JSON would make text of its keys
            params["class_weight"] = [[_plain(label), _plain(weight)] for label, weight in self.class_weight.items()]
        document = {
            "format_version": FORMAT_VERSION, "params": params, "network": self.encoder_.describe(),
            "seed": _plain(self.seed), "steps": self.n_steps_in_, "features": self.n_features_in_,
            "history": self.history_,
        }  # fmt: skip
        try:
            text = json.dumps(document, indent=1, default=_for_json)
        except TypeError as error:
            raise ArtifactError(f"the classifier cannot be saved without pickle: {error}") from error
        return text, {"classes": self.classes_, "center": self.center_, "scale": self.scale_}

    def _restore(self, document: dict[str, Any], arrays: dict[str, np.ndarray], weights: Path) -> Self:
        params = document["params"]
        if isinstance(params["class_weight"], list):
            params["class_weight"] = dict(params["class_weight"])
        self.set_params(**params)
        self.classes_ = arrays["classes"]
        self.center_, self.scale_ = arrays["center"], arrays["scale"]
        self.n_steps_in_, self.n_features_in_ = document["steps"], document["features"]
        self.history_ = document["history"]
        self.encoder_ = read_encoder(document["network"])
        model = build_classifier(
            self.encoder_,
            length=self.n_steps_in_,
            features=self.n_features_in_,
            classes=len(self.classes_),
            seed=document["seed"],
        )
        model.load_weights(weights)
        self.model_ = model
        return self


def _train_size(share: Any, classes: np.ndarray, codes: Ints) -> int:
    """How many of the sequences, the first ones, are trained on; `share` of them, the last, are not."""
    count = len(codes)
    check_fraction("validation_fraction", share)
    train = count - max(1, round(count * share)) if share else count
    missing = np.setdiff1d(codes, codes[:train])
    if len(missing):
        raise DataError(
            f"validation_fraction={share} holds out the last {count - train} of {count} sequences, and with them all "
            f"of class {name_some(classes[missing].tolist())}; shuffle X and y together if their order is not that of "
            f"time, or hold out fewer"
        )
    return train


def _by_class(weight: Any, classes: np.ndarray, codes: Ints) -> Floats:
    """`[C]` the weight of each class, `weight` being the argument `class_weight`, the codes those trained on."""
    wanted = dict(weight) if isinstance(weight, Mapping) else weight
    if not (wanted is None or isinstance(wanted, dict) or wanted == "balanced"):
        raise ArgumentError(f"class_weight must be None, 'balanced' or a mapping from label to weight, got {weight!r}")
    for label in wanted if isinstance(wanted, dict) else ():
        if label not in classes.tolist():
            raise ArgumentError(f"class_weight names {label!r}, and the classes are {name_some(classes.tolist())}")
    try:
        by_class = compute_class_weight(wanted, classes=classes, y=classes[codes])
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"class_weight must hold numbers, got {weight!r}") from error
    if not (np.isfinite(by_class).all() and (by_class >= 0).all()):
        raise ArgumentError(f"class_weight must hold numbers, at least 0; got {weight!r}")
    return by_class


def _center_and_scale(x: Floats, standardize: bool) -> tuple[Floats, Floats]:
    """`[F]` mean and deviation of each feature over all steps, deviation 1 where it does not change; or 0 and 1."""
    features = x.shape[-1]
    if not standardize:
        return np.zeros(features), np.ones(features)
    with np.errstate(over="ignore", invalid="ignore"):
        scaler = StandardScaler().fit(x.reshape(-1, features))
    return scaler.mean_, scaler.scale_


def _scaled(x: Floats, center: Floats, scale: Floats) -> Floats:
    """The sequences as the network reads them."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = ((x - center) / scale).astype(np.float32)
    if not np.isfinite(scaled).all():
        raise DataError("X holds values too large for single precision; divide them, or take their logarithm")
    return scaled


def _plain(value: Any) -> Any:
    """NumPy's numbers, which a search over an array gives, as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _for_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} has no form in JSON")
