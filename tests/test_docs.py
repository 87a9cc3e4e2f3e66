"""The site is built without a warning, its links lead somewhere, and what its pages show is what happens.

In a page, what stands in a ```python fence is run, page by page in one namespace; a ```text fence right after it is
what it prints, or the error that it ends with. Code of other libraries stands in ```py fences, which are not run.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import importlib.util
import inspect
import io
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import mlflow
import pandas as pd
import pytest
from filelock import FileLock

import forecast_kit
from forecast_kit import errors
from forecast_kit.core.known import KNOWN
from forecast_kit.evaluation.scoring import METRICS
from forecast_kit.nn.cells import CELLS
from forecast_kit.nn.heads import HEADS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "forecast_kit"
NEEDED = ("mkdocs", "mkdocstrings", "jupytext", "nbformat", "latex2mathml")
ELSEWHERE = {"mlflow.md"}  # its code is run, and what it leaves in the store looked at, in test_readme.py

WITH_STORE = {"serving.md", "StoreError.md"}  # making one takes a second and shows nothing of what the page is about

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
# The modules of the reference, beside `forecast_kit` itself: their public names have an entry there and an example.
MODULES = [
    "nn.cells", "nn.recurrent", "nn.heads", "nn.networks", "nn.blocks", "nn.attention", "nn.classification",
    "nn.training", "data.datasets", "data.transforms", "data.calendar", "data.regularize", "data.windows",
    "data.sequences", "data.future", "core.forecaster", "core.forecast", "core.arguments", "core.splits",
    "models.paths", "evaluation.running", "evaluation.metrics", "evaluation.scoring", "evaluation.comparison",
    "evaluation.resampling", "evaluation.comparable", "evaluation.gate", "evaluation.search", "mlflow",
    "mlflow.spark", "jobs.config", "jobs.sections", "jobs.tasks", "jobs.batch", "jobs.asof", "jobs.reporting",
    "jobs.summary", "jobs.sources", "jobs.sinks", "errors",
]  # fmt: skip


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
    for name in [name for name, kind in KNOWN.items() if kind.__module__ == "page"]:
        del KNOWN[name]  # those of the library stay: a module says its class once
    mlflow.set_tracking_uri(stores[0])
    mlflow.set_registry_uri(stores[1])


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_code_of_a_page_runs_and_does_what_the_page_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: Path
) -> None:
    if page.name in WITH_STORE:
        shutil.copytree(empty_store, tmp_path / ".forecast_kit")
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


def offered(module: str) -> dict[str, Any]:
    """What a module offers by name: what it lists, or else what is defined in it."""
    found = importlib.import_module(f"forecast_kit.{module}")
    own = [name for name, thing in vars(found).items() if getattr(thing, "__module__", "") == found.__name__]
    names = [name for name in getattr(found, "__all__", own) if not name.startswith("_")]
    things = {name: getattr(found, name) for name in names}
    return {name: thing for name, thing in things.items() if inspect.isclass(thing) or inspect.isfunction(thing)}


def public_things() -> list[tuple[str, Any]]:
    top = {name: getattr(forecast_kit, name) for name in forecast_kit.__all__ if name != "__version__"}
    return [
        *top.items(),
        *((f"{module}.{name}", thing) for module in MODULES for name, thing in offered(module).items()),
    ]


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


def hook(name: str) -> ModuleType:
    """A module that MkDocs is told of, where what it needs is installed."""
    if any(importlib.util.find_spec(needed) is None for needed in NEEDED):
        pytest.skip("what builds the site is not installed (pip install 'forecast_kit[docs]')")
    spec = importlib.util.spec_from_file_location(f"site_{name}", DOCS / "_build" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks for its types
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built as `make docs` builds it, once for all workers of a run."""
    hook("hooks")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return built(tmp_path_factory.mktemp("site"))
    folder = tmp_path_factory.getbasetemp().parent / "site"
    with FileLock(f"{folder}.lock"):
        return folder if (folder / "done").exists() else built(folder)


def built(folder: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stderr
    (folder / "done").touch()
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
    for module in MODULES:
        for name, thing in offered(module).items():
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
    hooks = hook("hooks")
    assert [module for modules in hooks.MODULES.values() for module in modules] == MODULES
    hooks.NAMES["Data"].remove("Panel")
    with pytest.raises(hooks.PluginError, match="Panel"):
        hooks.Reference()
    assert hooks.fence_examples("A.\n\n>>> 1\n1") == "A.\n\n```pycon\n>>> 1\n1\n```"


def test_attributes_that_share_a_description_are_told_together() -> None:
    hooks = hook("hooks")
    text = "Two.\n\nAttributes:\n    low, high: its ends,\n        both.\n    width: their distance.\n\nMore."
    listed = "Two.\n\n**Attributes:**\n\n- `low`, `high`: its ends, both.\n- `width`: their distance.\n\nMore."
    assert hooks.list_joint_attributes(text) == listed
    alone = "Attributes:\n    low: its end."
    assert hooks.list_joint_attributes(alone) == alone


SOURCE = """# %% [markdown]
# # A story: of two
#
# It begins here. And **02_more** goes
# on.

# %%
1 + 1
"""
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def executed(folder: Path, source: Path, *outputs: dict[str, Any]) -> None:
    """Writes the notebook of the source as if it had been run, and its last cell had shown this."""
    import jupytext
    import nbformat

    notebook = jupytext.read(source)
    notebook.cells[-1].outputs = [nbformat.v4.new_output(**output) for output in outputs]
    nbformat.write(notebook, folder / f"{source.stem}.ipynb")


@pytest.fixture
def story(tmp_path: Path) -> Path:
    source = tmp_path / "01_story.py"
    source.write_text(SOURCE, encoding="utf-8")
    return source


def test_the_page_of_an_executed_notebook_has_what_its_cells_showed(story: Path, tmp_path: Path) -> None:
    notebooks = hook("notebooks")
    frame = pd.DataFrame({"a": [1]})
    executed(
        tmp_path, story,
        {"output_type": "stream", "name": "stdout", "text": "plain \x1b[1mbold\x1b[0m\n```\n"},
        {"output_type": "display_data", "data": {"image/png": DOT, "text/plain": "<Figure>"}},
        {"output_type": "execute_result", "execution_count": 1,
         "data": {"text/html": frame._repr_html_(), "text/plain": "   a"}},
    )  # fmt: skip
    made = notebooks.render(story, tmp_path, known=["02_more"])
    assert (made.title, made.sentence, made.executed) == ("A story: of two", "It begins here.", True)
    assert "```python\n1 + 1\n```" in made.markdown
    assert "````{ .text .said }\nplain bold\n```\n````" in made.markdown  # a fence that the text does not end
    assert "[02_more](02_more.md) goes" in made.markdown
    assert made.files["notebooks/01_story/2-2.png"] == base64.b64decode(DOT)
    assert "](01_story/2-2.png)" in made.markdown
    shown = re.search(r'<div class="shown">\n(.*)\n</div>', made.markdown, re.DOTALL)
    assert shown is not None
    assert "<style" not in shown[1]
    assert [cell.text for cell in ElementTree.fromstring(shown[1]).iterfind(".//td")] == ["1"]
    assert {"notebooks/01_story.py", "notebooks/01_story.ipynb"} < set(made.files)


def test_the_page_of_a_notebook_that_was_changed_since_has_no_results(story: Path, tmp_path: Path) -> None:
    notebooks = hook("notebooks")
    executed(tmp_path, story, {"output_type": "stream", "name": "stdout", "text": "2\n"})
    story.write_text(SOURCE.replace("1 + 1", "1 + 2"), encoding="utf-8")
    made = notebooks.render(story, tmp_path)
    assert not made.executed
    assert "```python\n1 + 2\n```" in made.markdown
    assert ".text" not in made.markdown
    assert "Not executed" in made.markdown


def test_a_notebook_without_a_title_or_with_an_error_is_refused(story: Path, tmp_path: Path) -> None:
    notebooks = hook("notebooks")
    executed(tmp_path, story, {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []})
    with pytest.raises(notebooks.PluginError, match="cell 2 of 01_story shows error"):
        notebooks.render(story, tmp_path)
    story.write_text("# %%\n1 + 1\n", encoding="utf-8")
    with pytest.raises(notebooks.PluginError, match="no title"):
        notebooks.render(story, tmp_path)


def test_formulas_become_mathml_and_prices_do_not() -> None:
    notebooks = hook("notebooks")
    lines_of_two = "\\begin{aligned}\na &= b \\\\\nc &= d\n\\end{aligned}"
    text = f"$x_t$ costs $5 and `$HOME`\n\n$${lines_of_two}$$\n\n```sh\necho $a $b\n```"
    left, found = notebooks.take_formulas(text)
    assert left == "MATHML0LMTH costs $5 and `$HOME`\n\nMATHML1LMTH\n\n```sh\necho $a $b\n```"
    one, lines = (ElementTree.fromstring(formula) for formula in found)
    space = "{http://www.w3.org/1998/Math/MathML}"
    assert [part.text for part in one.find(f".//{space}msub")] == ["x", "t"]
    assert ["".join(row.itertext()) for row in lines.iter(f"{space}mtr")] == ["a=b", "c=d"]
    with pytest.raises(notebooks.PluginError, match="nosuchword"):
        notebooks.mathml(r"\nosuchword x", block=False)


def test_every_notebook_has_a_page_and_a_line_in_the_index(site: Path, pages: dict[Path, Page]) -> None:
    sources = {source.stem for source in (ROOT / "notebooks").glob("[0-9]*.py")}
    linked = {Path(link).stem for link in pages[site / "notebooks" / "index.html"].links}
    assert sources
    assert sources <= linked
    for name in sources:
        text = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        assert not re.search(r"MATHML\d|\\begin\{", text), f"{name}: a formula was left as it was"
