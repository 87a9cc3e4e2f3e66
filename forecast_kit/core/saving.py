"""Folders of saved forecasters: written whole, sealed by digests, read back in every format that there ever was.

A folder holds `forecaster.json` (class, arguments, schema, state), `arrays.npz` (what was learned), `history.npz`
(rows, if asked), whatever files and sub-folders the forecaster adds, and since format 2 `digests.json`: the SHA-256 of
every other file. The digests are checked before anything is parsed. They tell damage and carelessness; against one who
can also write the digests anew, compare `folder_digest` with a copy kept elsewhere, as the model registry does.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from forecast_kit.core.extensions import IMPORTS
from forecast_kit.errors import ArgumentError, ArtifactError, name_some

FORMAT_VERSION = 2
DOCUMENT, ARRAYS, HISTORY, DIGESTS = "forecaster.json", "arrays.npz", "history.npz", "digests.json"
_UNKNOWN = re.compile(r"unknown (network|stage|forecaster) |\b(cell|head) must be one of ")  # to this process
_CURE = "fetch it again from where it came, or save the forecaster anew"


# ---- migration: one pure function a step, in order


def _from_1_to_2(document: Mapping[str, Any]) -> dict[str, Any]:
    """Format 2 tells what was trained on and until when, which nobody wrote down before."""
    return {**document, "format_version": 2, "trained_until": None, "trained_on": None}


MIGRATIONS: tuple[Callable[[Mapping[str, Any]], dict[str, Any]], ...] = (_from_1_to_2,)
_SINCE_FORMAT_2 = ("trained_until", "trained_on")


def migrate(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document of any format in that of today.

    Raises:
        ArtifactError: it is of a newer format than this version knows.
        ValueError, KeyError, TypeError: it is no document.

    >>> migrate({"format_version": 1, "forecaster": "Naive"})["format_version"] == FORMAT_VERSION
    True
    """
    version = document["format_version"]
    if type(version) is not int or version < 1:
        raise ValueError(f"format_version must be a whole number of at least 1, got {version!r}")
    if version > FORMAT_VERSION:
        raise ArtifactError(f"it was written in format {version}, this forecast_kit reads up to {FORMAT_VERSION}; "
                            f"upgrade forecast_kit")  # fmt: skip
    for step in MIGRATIONS[version - 1 :]:
        document = step(document)
    return dict(document)


# ---- writing


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder to write into, which becomes `path`, sealed, when the block is done; on an error nothing is left.

    Raises:
        ArtifactError: the path exists.
    """
    target = Path(path)
    if target.exists():
        raise ArtifactError(f"{target} exists; choose another path, or remove it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-{uuid.uuid4().hex[:8]}", dir=target.parent))
    try:
        yield staging
        seal(staging)
        staging.chmod(0o755)
        staging.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_document(folder: Path, document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a forecaster's document and its arrays, as `read_document` reads them.

    Raises:
        TypeError: the document holds what JSON cannot.
    """
    text = json.dumps({"format_version": FORMAT_VERSION, **document}, indent=1)
    (folder / DOCUMENT).write_text(text, encoding="utf-8")
    with (folder / ARRAYS).open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # NumPy's stubs take the flag for an array


def seal(folder: Path) -> str:
    """The digest of the folder, whose `digests.json` lists every file from now on."""
    files = _digests(folder, _files(folder))
    whole = _whole(files)
    (folder / DIGESTS).write_text(json.dumps({"digest": whole, "files": files}, indent=1), encoding="utf-8")
    return whole


# ---- reading


def folder_digest(path: str | Path) -> str:
    """64 hexadecimal digits that change with any file of a saved forecaster, of whatever format: one to quote.

    It is the SHA-256 of the lines `<SHA-256 of the file>  <its path in the folder>`, sorted by path, for all files but
    `digests.json`.

    Raises:
        ArtifactError: there is no such folder.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ArtifactError(f"there is no folder {folder}; name the one that a forecaster was saved to")
    return _whole(_digests(folder, _files(folder)))


def read_document(folder: Path) -> dict[str, Any]:
    """The document of a saved forecaster in today's format, after its digests were checked.

    Raises:
        ArtifactError: a file was changed, removed or added since the save, or the format is a newer one.
        OSError, ValueError, KeyError, TypeError: it is no saved forecaster, or is damaged.
    """
    sealed = (folder / DIGESTS).exists()
    if sealed:
        _check_seal(folder)
    document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
    version = document["format_version"]
    if not sealed and version != 1:
        raise ArtifactError(f"{folder} is damaged: {DIGESTS} is missing, which format {version} has; {_CURE}")
    added = [key for key in _SINCE_FORMAT_2 if key in document]
    if version == 1 and (sealed or added):
        has = DIGESTS if sealed else name_some(added)
        raise ArtifactError(f"{folder} is damaged: it says that it is of format 1, but has {has}, which came with "
                            f"format 2; {_CURE}")  # fmt: skip
    try:
        return migrate(document)
    except ArtifactError as error:
        raise ArtifactError(f"{folder}: {error}") from error


@contextmanager
def damage_told(folder: Path) -> Iterator[None]:
    """Whatever a damaged or foreign folder makes go wrong inside is told as an `ArtifactError`."""
    try:
        yield
    except FileNotFoundError as error:
        file = Path(error.filename).name if error.filename else "a file"  # h5py tells no name
        raise ArtifactError(f"{folder} holds no saved forecaster: {file} is missing") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        if isinstance(error, ArgumentError) and _UNKNOWN.search(str(error)):
            told = str(error).rstrip(".")  # the folder may be whole, and this process not know what it asks for
            first = "" if IMPORTS in told else f". A class of your own must be imported first, see {IMPORTS}"
            raise ArtifactError(f"cannot read the forecaster in {folder}: {told}{first}") from error
        raise ArtifactError(f"cannot read the forecaster in {folder}: {error!r}; it is damaged or foreign") from error


def _check_seal(folder: Path) -> None:
    """Refuses a folder whose files are not, byte by byte, those that its digests list."""
    try:
        text = json.loads((folder / DIGESTS).read_text(encoding="utf-8"))
        listed, whole = dict(text["files"]), text["digest"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{folder} is damaged: {DIGESTS} cannot be read ({error!r}); {_CURE}") from error
    found = _files(folder)
    missing, added = sorted(listed.keys() - set(found)), sorted(set(found) - listed.keys())
    if missing:
        raise ArtifactError(f"{folder} is damaged: it lacks {name_some(missing)}, which {DIGESTS} lists; {_CURE}")
    if added:
        raise ArtifactError(f"{folder} was tampered with: {DIGESTS} does not list {name_some(added)}; keep your own "
                            f"files elsewhere, and {_CURE}")  # fmt: skip
    now = _digests(folder, found)
    changed = [name for name in found if now[name] != listed[name]]
    if changed:
        sizes = ", ".join(f"{name} ({(folder / name).stat().st_size} bytes)" for name in changed[:5])
        raise ArtifactError(f"{folder} is damaged: cut or changed since it was saved, by their SHA-256: {sizes}; "
                            f"{_CURE}")  # fmt: skip
    if _whole(now) != whole:
        raise ArtifactError(f"{folder} is damaged: {DIGESTS} contradicts itself; {_CURE}")


def _files(folder: Path) -> list[str]:
    """The paths, with slashes, of all files in the folder and in those below, but for the folder's own digests."""
    paths = (file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir())
    return sorted(path for path in paths if path != DIGESTS)


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    digests = {}
    for name in names:
        with (folder / name).open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _whole(files: Mapping[str, str]) -> str:
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
