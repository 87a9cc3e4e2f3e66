"""The site is built without a warning, its links lead somewhere, and what its pages show is what happens.

In a page, what stands in a ```python fence is run, page by page in one namespace; a ```text fence right after it is
what it prints, or the error that it ends with. Code of other libraries stands in ```py fences, which are not run.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import io
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import mlflow
import pytest

import forecast_kit
from forecast_kit import Forecaster, errors
from forecast_kit.evaluation.scoring import METRICS
from forecast_kit.nn.cells import CELLS
from forecast_kit.nn.heads import HEADS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "forecast_kit"
ELSEWHERE = {"mlflow.md"}  # its code is run, and what it leaves in the store looked at, in test_readme.py

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
# Packages and modules whose public names have a page or an entry in the reference, beside `forecast_kit` itself.
LISTED = [
    "data.transforms", "jobs.sinks", "mlflow", "nn.cells", "nn.heads", "nn.networks", "nn.training",
]  # fmt: skip
EXEMPLARY = ["nn.cells", "nn.heads", "data.transforms"]


def examples(page: Path) -> list[tuple[str, str | None]]:
    """The code that a page runs, each with what it shows below, if anything."""
    text = page.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(text))
    found = []
    for fence, after in zip_longest(fences, fences[1:]):
        if fence["language"] != "python":
            continue
        shown = None
        if after is not None and after["language"] == "text" and not text[fence.end() : after.start()].strip():
            shown = textwrap.dedent(after["code"])
        found.append((textwrap.dedent(fence["code"]), shown))
    return found


def plain(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def outcome(code: str, space: dict[str, Any]) -> str:
    """What the code prints, and the exception of forecast_kit that it ends with, if it does."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            exec(compile(code, "page", "exec"), space)
        except errors.ForecastKitError as error:
            kind = type(error)
            said.write(f"{kind.__module__}.{kind.__qualname__}: {error}\n")
    return said.getvalue()


PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page.name not in ELSEWHERE and examples(page)]


@pytest.fixture
def as_before() -> Iterator[None]:
    """What pages add (cells, heads, metrics, forecasters) and set (environment, MLflow's store) is gone after them."""
    kept = [(held, dict(held)) for held in (CELLS, HEADS, METRICS, os.environ)]
    stores = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield
    for held, before in kept:
        for name in set(held) - set(before):
            del held[name]
        held.update(before)
    for name in [name for name, kind in Forecaster._known.items() if kind.__module__ == "page"]:
        del Forecaster._known[name]  # those of the library stay: a module says its class once
    mlflow.set_tracking_uri(stores[0])
    mlflow.set_registry_uri(stores[1])


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_code_of_a_page_runs_and_does_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    space: dict[str, Any] = {"__name__": "page"}
    for code, shown in examples(page):
        happened = outcome(code, space)
        if shown is None:
            assert "forecast_kit.errors." not in happened, f"{code}\n{happened}"
        else:
            assert plain(happened) == plain(shown), code


def kinds_of_errors() -> list[str]:
    return [name for name, thing in vars(errors).items()
            if isinstance(thing, type) and issubclass(thing, errors.ForecastKitError)]  # fmt: skip


@pytest.mark.parametrize("name", kinds_of_errors())
def test_every_error_has_a_page_that_shows_its_messages(name: str) -> None:
    page = DOCS / "errors" / f"{name}.md"
    assert page.exists(), f"write docs/errors/{name}.md"
    messages = [shown for _, shown in examples(page) if shown is not None]
    own = [shown for shown in messages if f"forecast_kit.errors.{name}: " in shown]
    raised = sum(file.read_text(encoding="utf-8").count(f"raise {name}(") for file in PACKAGE.rglob("*.py"))
    assert messages
    if name != "ForecastKitError":  # which shows its children's
        assert len(own) >= min(2, raised), f"{page.name} shows {len(own)} messages of {name}"
    assert "## What to do" in page.read_text(encoding="utf-8")


def test_there_is_no_page_of_an_error_that_is_gone() -> None:
    pages = {page.stem for page in (DOCS / "errors").glob("*.md")} - {"index"}
    assert pages == set(kinds_of_errors())


def public_things() -> list[tuple[str, Any]]:
    things = [(name, getattr(forecast_kit, name)) for name in forecast_kit.__all__ if name != "__version__"]
    for module in EXEMPLARY:
        found = importlib.import_module(f"forecast_kit.{module}")
        things += [(f"{module}.{name}", getattr(found, name)) for name in found.__all__]
    return [(name, thing) for name, thing in things if inspect.isclass(thing) or inspect.isfunction(thing)]


@pytest.mark.parametrize(("name", "thing"), public_things(), ids=[name for name, _ in public_things()])
def test_every_public_docstring_has_an_example(name: str, thing: Any) -> None:
    assert ">>> " in (thing.__doc__ or ""), f"{name} needs an example, or names of it that one can look up"


class Page(HTMLParser):
    """What a page of the site offers to link to, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value for key, value in attrs if value is not None}
        self.ids |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") != "canonical" and "href" in values:
            self.loads.append(values["href"])
        elif "src" in values:
            self.loads.append(values["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built as `make docs` builds it."""
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip("MkDocs is not installed (pip install 'forecast_kit[docs]')")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}


def test_every_internal_link_and_anchor_of_the_site_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    checked = 0
    for file, page in pages.items():
        if file.name == "404.html":  # its links begin at the root of wherever the site will be
            continue
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            checked += 1
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            missing = not target.exists()
            anchor = unquote(parts.fragment)
            if missing or (anchor and target in pages and anchor not in pages[target].ids):
                broken.append(f"{file.relative_to(site)}: {link}")
    assert checked > 1000
    assert not broken, broken[:20]


def test_no_page_of_the_site_asks_another_host(site: Path, pages: dict[Path, Page]) -> None:
    foreign = {load for page in pages.values() for load in page.loads if urlsplit(load).netloc}
    assert not foreign
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def test_every_public_name_has_an_entry_in_the_reference(pages: dict[Path, Page]) -> None:
    ids = {one for page in pages.values() for one in page.ids}
    for name in forecast_kit.__all__:
        if name != "__version__":
            thing = getattr(forecast_kit, name)
            assert f"{thing.__module__}.{thing.__qualname__}" in ids, name
    for module in LISTED:
        found = importlib.import_module(f"forecast_kit.{module}")
        for name in found.__all__:
            thing = getattr(found, name)
            if not name.startswith("_") and (inspect.isclass(thing) or inspect.isfunction(thing)):
                assert f"{thing.__module__}.{thing.__qualname__}" in ids, f"{module}.{name}"


def test_the_api_of_a_class_is_two_clicks_from_the_start(site: Path, pages: dict[Path, Page]) -> None:
    first = {(site / link.partition("#")[0]).resolve() for link in pages[site / "index.html"].links if "//" not in link}
    second = {(file.parent / link.partition("#")[0]).resolve() for file in first & set(pages)
              for link in pages[file].links if "//" not in link}  # fmt: skip
    for name in forecast_kit.__all__:
        if inspect.isclass(getattr(forecast_kit, name)):
            assert site / "reference" / "classes" / f"{name}.html" in second, name


def test_the_pictures_of_the_site_are_those_of_their_script(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    drawn = {file.name: file for file in pictures.draw(tmp_path)}
    assert set(drawn) == {file.name for file in (DOCS / "assets").glob("*.svg")}
    text = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    for name, file in drawn.items():
        kept = (DOCS / "assets" / name).stat().st_size
        # Not byte by byte: digits after the sixth depend on the processor.
        assert abs(file.stat().st_size - kept) < 0.05 * kept, f"draw it anew: python docs/pictures.py ({name})"
        assert f"assets/{name}" in text, f"no page shows {name}"


def test_the_hook_refuses_a_public_name_without_a_theme() -> None:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("MkDocs is not installed (pip install 'forecast_kit[docs]')")
    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "_build" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    hooks.NAMES["Data"].remove("Panel")
    with pytest.raises(hooks.PluginError, match="Panel"):
        hooks.Reference()
    assert hooks.fence_examples("A.\n\n>>> 1\n1") == "A.\n\n```pycon\n>>> 1\n1\n```"
