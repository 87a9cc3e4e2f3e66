"""Folders of saved forecasters: sealed, refused when anything about them changed, and never a way to run code."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from forecast_kit import Ensemble, Forecaster, Naive, Panel, SeasonalNaive
from forecast_kit.core.saving import FORMAT_VERSION, MIGRATIONS, folder_digest, migrate, seal
from forecast_kit.errors import ArtifactError

GOLDEN = Path(__file__).parents[1] / "golden"
NEWER = FORMAT_VERSION + 1


@pytest.fixture
def fitted(seasonal_panel: Panel) -> SeasonalNaive:
    return SeasonalNaive(horizon=12).fit(seasonal_panel)


@pytest.fixture
def saved(fitted: SeasonalNaive, tmp_path: Path) -> Path:
    fitted.save(tmp_path / "m", history=True)
    return tmp_path / "m"


@pytest.fixture
def nested(seasonal_panel: Panel, tmp_path: Path) -> Path:
    Ensemble([SeasonalNaive(), Naive()], horizon=12).fit(seasonal_panel).save(tmp_path / "m", history=True)
    return tmp_path / "m"


def document(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "forecaster.json"
        values = json.loads(file.read_text())
        change(values)
        file.write_text(json.dumps(values))

    return damage


def cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def flip(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(bytes(content))

    return damage


def relist(folder: Path, old: str, new: str) -> None:
    file = folder / "digests.json"
    file.write_text(file.read_text().replace(old, new))


def unlist(folder: Path) -> None:
    (folder / "digests.json").unlink()


# ---- what a folder holds, and its digest


def test_a_folder_holds_json_and_arrays_and_no_pickle(saved: Path) -> None:
    assert {file.name for file in saved.iterdir()} == {
        "forecaster.json", "arrays.npz", "history.npz", "digests.json",
    }  # fmt: skip
    for name in ("arrays.npz", "history.npz"):
        with np.load(saved / name, allow_pickle=False) as arrays:
            assert all(arrays[key].dtype.kind != "O" for key in arrays.files)
    assert [path.name for path in saved.parent.iterdir()] == ["m"]


def test_the_digest_of_a_folder_is_that_of_the_list_that_sha256sum_would_print(nested: Path) -> None:
    lines = "".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(nested).as_posix()}\n"
        for file in sorted(nested.rglob("*"), key=lambda path: path.relative_to(nested).as_posix())
        if file.is_file() and file != nested / "digests.json"
    )
    assert lines.count("\n") == 9  # three of its own, three of each member
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert folder_digest(nested) == expected == json.loads((nested / "digests.json").read_text())["digest"]


def test_the_digest_tells_artefacts_apart_and_names_the_same_one_for_a_copy(
    saved: Path, seasonal_panel: Panel, tmp_path: Path
) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    SeasonalNaive(horizon=13).fit(seasonal_panel).save(tmp_path / "other", history=True)
    assert folder_digest(tmp_path / "copy") == folder_digest(saved) != folder_digest(tmp_path / "other")
    assert len(folder_digest(GOLDEN / "format1" / "naive")) == 64  # of formats without a list too
    with pytest.raises(ArtifactError, match="there is no folder"):
        folder_digest(tmp_path / "nowhere")


# ---- damage and tampering

SEALED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a byte of the arrays": (flip("arrays.npz"), r"is damaged: cut or changed .*: arrays\.npz \(\d+ bytes\); fetch it"),
    "a byte of the document": (flip("forecaster.json"), r"changed since it was saved.*forecaster\.json"),
    "a byte of the history": (flip("history.npz"), r"changed since it was saved.*history\.npz"),
    "cut arrays": (cut("arrays.npz"), r"cut or changed.*arrays\.npz"),
    "cut list": (cut("digests.json"), r"damaged: digests\.json cannot be read"),
    "a list that is none": (lambda f: (f / "digests.json").write_text("[]"), r"digests\.json cannot be read"),
    "no history": (lambda f: (f / "history.npz").unlink(), r"damaged: it lacks 'history\.npz', which digests\.json"),
    "no document": (lambda f: (f / "forecaster.json").unlink(), r"it lacks 'forecaster\.json'"),
    "another file": (lambda f: (f / "notes.txt").write_text("hi"), r"does not list 'notes\.txt'; keep your own files"),
    "a hidden file": (lambda f: (f / ".x").write_text("hi"), r"does not list '\.x'"),
    "a file below": (lambda f: ((f / "a").mkdir(), (f / "a" / "b.npz").touch()), r"does not list 'a/b\.npz'"),
    "no list": (unlist, r"damaged: digests\.json is missing, which format 2 has"),
    "no list, and a lower format": (
        lambda f: (unlist(f), document(lambda d: d.update(format_version=1))(f)),
        "says that it is of format 1, but has 'trained_until', 'trained_on', which came with format 2",
    ),
    "a lower format, listed anew": (
        lambda f: (document(lambda d: d.update(format_version=1))(f), seal(f)),
        r"says that it is of format 1, but has digests\.json",
    ),
    "the whole digest of another": (
        lambda f: relist(f, '"digest": "', '"digest": "0'),
        "contradicts itself",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", SEALED)
def test_whatever_changed_since_the_save_is_refused_by_name(saved: Path, damage: str) -> None:
    apply, message = SEALED[damage]
    apply(saved)
    with pytest.raises(ArtifactError, match=message):
        Forecaster.load(saved)


@pytest.mark.parametrize("file", [f"forecaster_{k}" for k in ("1/arrays.npz", "0/forecaster.json", "0/digests.json")])
def test_forecasters_inside_are_covered_by_the_digest_of_the_one_around_them(nested: Path, file: str) -> None:
    flip(file)(nested)
    with pytest.raises(ArtifactError, match=f"changed since it was saved.*{file}"):
        Forecaster.load(nested)


def test_a_forecaster_inside_without_its_list_is_refused_even_under_a_new_list(nested: Path) -> None:
    unlist(nested / "forecaster_0")
    seal(nested)
    with pytest.raises(ArtifactError, match=r"forecaster_0 is damaged: digests\.json is missing"):
        Forecaster.load(nested)


def test_nothing_is_parsed_before_the_digests_are_checked(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flip("history.npz")(saved)
    monkeypatch.setattr("forecast_kit.core.saving.migrate", lambda document: pytest.fail("the document was read"))
    monkeypatch.setattr("forecast_kit.core.forecaster.find_forecaster", lambda name: pytest.fail("a class was sought"))
    with pytest.raises(ArtifactError, match=r"history\.npz"):
        Forecaster.load(saved)


# Whoever can write the list anew gets no further than the checks of what the files say.
LISTED_ANEW: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no arrays": (lambda f: (f / "arrays.npz").unlink(), r"no saved forecaster: arrays\.npz is missing"),
    "no document": (lambda f: (f / "forecaster.json").unlink(), r"no saved forecaster: forecaster\.json is missing"),
    "cut document": (cut("forecaster.json"), "damaged or foreign"),
    "cut arrays": (cut("arrays.npz"), "damaged or foreign"),
    "cut history": (cut("history.npz"), r"history\.npz.*damaged or foreign"),
    "empty arrays": (lambda f: (f / "arrays.npz").write_bytes(b""), "damaged or foreign"),
    "a list": (lambda f: (f / "forecaster.json").write_text("[1, 2]"), "damaged or foreign"),
    "no JSON": (lambda f: (f / "forecaster.json").write_bytes(b"\xff\xfe\x00"), "damaged or foreign"),
    "too deep": (lambda f: (f / "forecaster.json").write_text("[" * 100_000), "damaged or foreign"),
    "newer": (document(lambda d: d.update(format_version=NEWER)), f"in format {NEWER}.* up to {FORMAT_VERSION};"),
    "no format": (document(lambda d: d.update(format_version="2")), "damaged or foreign"),
    "format nought": (document(lambda d: d.update(format_version=0)), "at least 1, got 0"),
    "unknown class": (document(lambda d: d.update(forecaster="Oracle")), "unknown forecaster 'Oracle'"),
    "unknown argument": (document(lambda d: d["params"].update(depth=3)), "depth"),
    "bad argument": (document(lambda d: d["params"].update(season_length=-3)), "season_length must be a whole number"),
    "no schema": (document(lambda d: d.pop("schema")), "schema"),
    "no state": (document(lambda d: d["state"].clear()), "season_length"),
    "a state that is a list": (document(lambda d: d.update(state=[1])), "damaged or foreign"),
}


@pytest.mark.parametrize("damage", LISTED_ANEW)
def test_a_damaged_folder_that_was_listed_anew_is_refused_with_the_reason(saved: Path, damage: str) -> None:
    apply, message = LISTED_ANEW[damage]
    apply(saved)
    seal(saved)
    with pytest.raises(ArtifactError, match=message):
        Forecaster.load(saved)


def test_a_path_without_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for name in ("nowhere", "file"):
        with pytest.raises(ArtifactError, match=name):
            Forecaster.load(tmp_path / name)


# ---- what it was trained on


def test_a_saved_forecaster_tells_what_it_was_trained_on_and_until_when(
    fitted: SeasonalNaive, saved: Path, seasonal_panel: Panel, seasonal_frame: pd.DataFrame
) -> None:
    loaded = Forecaster.load(saved)
    for model in (fitted, loaded):
        assert model.trained_until_ == str(seasonal_frame["ds"].max())
        assert model.trained_on_ == seasonal_panel.digest
    later = seasonal_frame.assign(ds=seasonal_frame["ds"] + pd.Timedelta(days=1))
    loaded.update(later)
    assert loaded.trained_until_ == fitted.trained_until_  # states moved, no parameter was learned again
    numbered = seasonal_frame.assign(ds=seasonal_frame.groupby("unique_id").cumcount())
    assert Naive().fit(Panel.from_frame(numbered, freq=1)).trained_until_ == numbered["ds"].max()
    assert Naive().trained_until_ is None


# ---- migration


def test_a_document_of_format_1_becomes_one_of_today_and_is_left_as_it_was() -> None:
    old = json.loads((GOLDEN / "format1" / "naive" / "forecaster.json").read_text())
    kept = json.loads(json.dumps(old))
    new = migrate(old)
    assert old == kept
    assert len(MIGRATIONS) == FORMAT_VERSION - 1
    assert new == {**old, "format_version": FORMAT_VERSION, "trained_until": None, "trained_on": None}
    assert migrate(new) == new


def test_what_was_saved_in_format_1_is_saved_again_in_todays(tmp_path: Path) -> None:
    first = Forecaster.load(GOLDEN / "format1" / "conformal")
    assert (first.trained_until_, first.trained_on_) == (None, None)
    first.save(tmp_path / "m", history=True)
    assert json.loads((tmp_path / "m" / "forecaster.json").read_text())["format_version"] == FORMAT_VERSION
    np.testing.assert_array_equal(Forecaster.load(tmp_path / "m").predict().mean, first.predict().mean)


# ---- loading runs nothing of an artefact's


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there as soon as the module `planted` is imported, or anything in it called."""
    marker = tmp_path / "marker"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "planted.py").write_text(
        f"from pathlib import Path\nMARK = Path({str(marker)!r})\nMARK.touch()\n"
        "def run(*args, **kwargs):\n    MARK.touch()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    return marker


CALL = {"module": "planted", "class_name": "run", "config": {}, "registered_name": None}
LAMBDA = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}}

HOSTILE: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "a function for a class": ("naive", lambda d: d.update(forecaster="os.system")),
    "a module's class": ("naive", lambda d: d.update(forecaster="planted.run")),
    "a class of this package that is no forecaster": ("naive", lambda d: d.update(forecaster="Panel")),
    "a base class": ("naive", lambda d: d.update(forecaster="Forecaster")),
    "a dunder name": ("naive", lambda d: d.update(forecaster="__init__")),
    "a list for a class": ("naive", lambda d: d.update(forecaster=["planted", "run"])),
    "dunder arguments": ("naive", lambda d: d["params"].update(__class__="planted.run", __init__="planted.run")),
    "a foreign base": ("conformal", lambda d: d["params"].update(base={"forecaster": "planted.run"})),
    "a base with a reduction": (
        "conformal", lambda d: d["params"].update(base={"forecaster": "Naive", "__reduce__": ["planted.run"]}),
    ),
    "foreign members": ("mean_of_three", lambda d: d["params"].update(members=[{"py/object": "planted.run"}])),
    "dunder variations": (
        "mean_of_three",
        lambda d: d["params"].update(members=[{"base": "Naive", "vary": {"__class__": ["planted.run"]}}]),
    ),
    "a foreign initialiser": ("lstm", lambda d: d["params"]["network"].update(initializer=CALL)),
    "a Lambda for an initialiser": ("lstm", lambda d: d["params"]["network"].update(initializer=LAMBDA)),
    "a foreign cell": ("lstm", lambda d: d["params"]["network"].update(cell=CALL)),
    "a foreign network": ("lstm", lambda d: d["params"].update(network={"network": "planted.run"})),
    "a Lambda for a head": ("lstm", lambda d: d["params"].update(head=LAMBDA)),
    "a foreign loss": ("lstm", lambda d: d["params"].update(head={"head": "point", "loss": CALL})),
    "a foreign optimiser": ("lstm", lambda d: d["params"]["training"].update(optimizer=CALL)),
    "a foreign transform": ("lstm", lambda d: d["params"].update(transform={"stage": "planted.run"})),
    "a foreign transformer": (
        "lstm", lambda d: d["params"].update(transform={"stage": "sklearn", "transformer": "planted.run"}),
    ),
    "a mapping for a transformer": (
        "lstm", lambda d: d["params"].update(transform={"stage": "sklearn", "transformer": CALL}),
    ),
    "a transformer that calls": (
        "lstm",
        lambda d: d["params"].update(
            transform={"stage": "sklearn", "transformer": "FunctionTransformer", "params": {"func": "planted.run"}}
        ),
    ),
    "a calendar of code": ("naive", lambda d: d["schema"].update(calendar=["planted.run"])),
    "a frequency of code": ("naive", lambda d: d["schema"].update(freq="__import__('planted')")),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_document_that_names_code_is_refused_and_nothing_runs(name: str, planted: Path, tmp_path: Path) -> None:
    golden, change = HOSTILE[name]
    shutil.copytree(GOLDEN / "format2" / golden, tmp_path / "m")
    document(change)(tmp_path / "m")
    seal(tmp_path / "m")  # the worst case: the list is right
    with pytest.raises(ArtifactError):
        Forecaster.load(tmp_path / "m").predict()
    assert not planted.exists()
    assert "planted" not in sys.modules


class Bomb:
    """What unpickling would run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("file", ["arrays.npz", "history.npz"])
def test_pickled_objects_among_arrays_are_not_unpickled(file: str, planted: Path, tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "format2" / "naive", tmp_path / "m")
    with np.load(tmp_path / "m" / file) as content:
        arrays = dict(content)
    arrays["ids"] = np.array([Bomb(planted), Bomb(planted)], dtype=object)
    np.savez(tmp_path / "m" / file, **arrays)
    seal(tmp_path / "m")
    with pytest.raises(ArtifactError, match="allow_pickle"):
        Forecaster.load(tmp_path / "m")
    plain = io.BytesIO()
    np.save(plain, arrays["ids"], allow_pickle=True)
    (tmp_path / "m" / file).write_bytes(plain.getvalue())  # a bare array in place of the archive
    seal(tmp_path / "m")
    with pytest.raises(ArtifactError):
        Forecaster.load(tmp_path / "m")
    assert not planted.exists()


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras's own words before it refuses the file
def test_a_whole_keras_model_with_a_lambda_in_place_of_the_weights_is_not_built(planted: Path, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    shutil.copytree(GOLDEN / "format2" / "lstm", tmp_path / "m")
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [LAMBDA, CALL]}}
    with h5py.File(tmp_path / "m" / "network.weights.h5", "w") as file:  # as Keras's older format keeps a whole model
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config), "2.15.0"
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = np.array([b"lambda"])
    seal(tmp_path / "m")
    with pytest.raises(ArtifactError, match="damaged"):
        Forecaster.load(tmp_path / "m")
    assert not planted.exists()
