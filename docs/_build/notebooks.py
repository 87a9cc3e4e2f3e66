"""The pages of the notebooks, and their part of the navigation.

A page is made from the source `notebooks/<name>.py`. Where `notebooks/build.py` has left an executed notebook of the
same cells in `build/notebooks/`, the page has what they showed; an executed notebook of other cells, from before the
source was changed, counts as none.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "notebooks"
EXECUTED = ROOT / "build" / "notebooks"

_FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$\w])\$(?P<inline>[^$\s](?:[^$]*?[^$\s])?)\$(?![$\w])", re.DOTALL)
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"MATHML(\d+)LMTH")
_NAMED = re.compile(r"\*\*(\d\d_\w+)\*\*")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_PICTURES = {"image/png": "png", "image/svg+xml": "svg"}


@dataclass
class Made:
    """The page of a notebook.

    Attributes:
        title, sentence: its first heading, and the first sentence below.
        markdown: of the page.
        files: what lies beside it, by address: pictures, the source, and the executed notebook where there is one.
        executed: whether the page has outputs.
    """

    title: str
    sentence: str
    markdown: str = ""
    files: dict[str, str | bytes] = field(default_factory=dict)
    executed: bool = False


def sources(folder: Path = SOURCES) -> list[Path]:
    """The sources of all notebooks, in their order."""
    return sorted(folder.glob("[0-9]*.py"))


def render(source: Path, executed: Path = EXECUTED, *, known: Iterable[str] = ()) -> Made:
    """The page of one notebook.

    Args:
        source: a jupytext percent script.
        executed: the folder of notebooks with outputs.
        known: names of notebooks that a page may link to, where its text has them in bold letters.

    Raises:
        PluginError: it has no title, a formula that MathML cannot say, or an output of a kind that no page shows.
    """
    cells = [(cell["cell_type"], cell["source"]) for cell in jupytext.read(source).cells]
    file = executed / f"{source.stem}.ipynb"
    notebook = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"cells": []}
    shown = [(cell["cell_type"], _text(cell["source"])) for cell in notebook["cells"]]
    made = _opening(source, cells)
    made.executed = shown == cells
    made.files[f"notebooks/{source.name}"] = source.read_text(encoding="utf-8")
    if made.executed:
        made.files[f"notebooks/{file.name}"] = file.read_bytes()
    outputs = [cell.get("outputs", []) for cell in notebook["cells"]] if made.executed else [[] for _ in cells]
    names = set(known)
    parts = []
    for number, ((kind, text), told) in enumerate(zip(cells, outputs, strict=True), 1):
        if kind == "markdown":
            parts.append(_NAMED.sub(lambda m: f"[{m[1]}]({m[1]}.md)" if m[1] in names else m[0], text))
        elif kind == "code" and text.strip():
            parts.append(_fence("python", text))
            parts += _shown(told, made.files, f"{source.stem}/{number}", source)
    heading, _, rest = "\n\n".join(parts).partition("\n")
    # Code has lines of up to 120 characters: beside a table of contents they would be cut.
    made.markdown = "\n\n".join(["---\nhide: [toc]\n---", heading, _origin(source, made.executed), rest.strip("\n")])
    return made


def _opening(source: Path, cells: list[tuple[str, str]]) -> Made:
    """Title and first sentence."""
    match = re.match(r"# (?P<title>.+)\n+(?P<text>(?:.+\n?)+)", cells[0][1] if cells else "")
    if match is None or cells[0][0] != "markdown":
        raise PluginError(
            f"{source.name} begins with no title and a paragraph below it: a Markdown cell, `# Title`, text"
        )
    text = " ".join(match["text"].split())
    return Made(match["title"], re.split(r"(?<=[.?!:]) (?=[A-Z*`])", text)[0].rstrip(":"))


def _origin(source: Path, executed: bool) -> str:
    """Where the page comes from."""
    if executed:
        return (f'!!! note "Executed"\n    The results below come from running [`{source.name}`]({source.name}); '
                f"[`{source.stem}.ipynb`]({source.stem}.ipynb) is the same as a notebook.")  # fmt: skip
    return (f'!!! warning "Not executed"\n    This page was made from [`{source.name}`]({source.name}) alone and has '
            f"no results. `make notebooks` and then `make docs` makes it with them.")  # fmt: skip


def _text(text: str | list[str]) -> str:
    """What a notebook file may hold as one text or as a list of lines."""
    return text if isinstance(text, str) else "".join(text)


def _fence(language: str, text: str) -> str:
    """The text in a fence that none inside it ends."""
    ticks = max([2, *(len(run) for run in re.findall(r"`{3,}", text))]) + 1
    return f"{'`' * ticks}{language}\n{text.rstrip()}\n{'`' * ticks}"


def _shown(outputs: list[dict[str, Any]], files: dict[str, str | bytes], place: str, source: Path) -> Iterator[str]:
    """What a cell showed, as Markdown; its pictures go to `files`."""
    for number, output in enumerate(outputs, 1):
        kind, data = output["output_type"], output.get("data", {})
        picture = next((form for form in _PICTURES if form in data), None)
        if kind == "stream":
            yield _fence("{ .text .said }", _COLOURS.sub("", _text(output["text"])))
        elif picture is not None:
            content = _text(data[picture])
            address = f"{place}-{number}.{_PICTURES[picture]}"
            files[f"notebooks/{address}"] = base64.b64decode(content) if picture == "image/png" else content
            yield f"![What the code above draws]({address})"
        elif "text/html" in data:
            yield f'<div class="shown">\n{table(_text(data["text/html"]))}\n</div>'
        elif "text/markdown" in data:
            yield _text(data["text/markdown"])
        elif "text/plain" in data:
            yield _fence("{ .text .said }", _COLOURS.sub("", _text(data["text/plain"])))
        else:
            what = ", ".join(data) or "no data"
            raise PluginError(f"cell {place.rpartition('/')[2]} of {source.stem} shows {kind} ({what}), which no page "
                              f"can; mend the notebook and run `make notebooks`")  # fmt: skip


def table(html: str) -> str:
    """A table of pandas as the site's own look: without its style sheet, classes and borders.

    >>> table('<style scoped>td {}</style><table border="1" class="dataframe"><tr><td>1</td></tr></table>')
    '<table><tr><td>1</td></tr></table>'
    """
    html = re.sub(r"<style.*?</style>\s*", "", html, flags=re.DOTALL)
    html = re.sub(r'<table border="1" class="dataframe">', "<table>", html)
    return "\n".join(line for line in html.splitlines() if line.strip())  # Markdown would begin anew at an empty one


def mathml(formula: str, *, block: bool) -> str:
    """The formula as MathML, which browsers draw by themselves.

    Raises:
        PluginError: it has something that the converter does not know.

    >>> mathml("x_t", block=False).count("<msub>")
    1
    """
    # The converter draws lines below one another where they are `split`, and knows `aligned` not.
    drawn = convert(re.sub(r"\{aligned\}", "{split}", formula.strip()), display="block" if block else "inline")
    if "\\" in drawn or "<mi>&</mi>" in drawn:
        raise PluginError(f"this formula of a notebook cannot be written in MathML: {formula.strip()}")
    return drawn


def take_formulas(markdown: str) -> tuple[str, list[str]]:
    """The text with a place in words for each formula outside of code, and the formulas in MathML.

    Markdown would take a formula apart, and would end the paragraph at one that begins a line.
    """
    found: list[str] = []

    def place(match: re.Match[str]) -> str:
        found.append(mathml(match["block"] or match["inline"], block=match["block"] is not None))
        return f"MATHML{len(found) - 1}LMTH"

    parts = _CODE.split(markdown)  # every second part is code
    return "".join(part if k % 2 else _FORMULA.sub(place, part) for k, part in enumerate(parts)), found


@cache
def rendered() -> dict[str, Made]:
    """The pages of all notebooks, by address."""
    names = [source.stem for source in sources()]
    return {f"notebooks/{source.stem}.md": render(source, known=names) for source in sources()}


def index() -> str:
    """The page that lists them."""
    rows = [f"| [{made.title}]({Path(address).name}) | {made.sentence} |" for address, made in rendered().items()]
    lack = [f"[{made.title}]({Path(address).name})" for address, made in rendered().items() if not made.executed]
    parts = ["# Notebooks", "From one series to a nightly job: each tells a story on real data that come with the "
             "package, and each can be run as it stands. `make notebooks` executes them all.",
             "\n".join(["| notebook | what it is about |", "|---|---|", *rows])]  # fmt: skip
    if lack:
        which = "all of them" if len(lack) == len(rendered()) else "; ".join(lack)
        parts.append(f"Here without results, as they were not executed before this site was made: {which}.")
    return "\n\n".join(parts)


def on_config(config: Any) -> Any:
    """Puts the notebooks into the navigation."""
    rendered.cache_clear()
    nav = ["notebooks/index.md", *({made.title: address} for address, made in rendered().items())]
    config["nav"] = [{"Notebooks": nav} if "Notebooks" in entry else entry for entry in config["nav"]]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages, their pictures and sources."""
    content: dict[str, str | bytes] = {"notebooks/index.md": index()}
    for address, made in rendered().items():
        content |= {address: made.markdown, **made.files}
    for address, one in content.items():
        files.append(File.generated(config, address, content=one))
    return files


_formulas: dict[str, list[str]] = {}  # of the page that is being made


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Takes the formulas of a notebook out of Markdown's way."""
    if page.file.src_uri not in rendered():
        return markdown
    text, _formulas[page.file.src_uri] = take_formulas(markdown)
    return text


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Puts them back."""
    found = _formulas.pop(page.file.src_uri, [])
    return _PLACE.sub(lambda match: found[int(match[1])], html) if found else html
