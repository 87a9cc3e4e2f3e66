"""What MkDocs is told besides `mkdocs.yml`: the reference's pages, and files that lie outside of `docs/`.

The reference is made from the public names: those of `forecast_kit.__all__`, one page each, and the public modules
below, one page each. A public name that stands in no theme stops the build, so that none is forgotten.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import griffe
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
_FORECASTER = "forecast_kit.core.forecaster.Forecaster"
_SHARED = ("fit", "predict", "update", "save", "load", "clone", "get_params")
_SOURCE = re.compile(r"^Source: ", re.MULTILINE)

# Themes in the order in which a newcomer meets them; every name of `forecast_kit.__all__` stands in one.
NAMES = {
    "Data": ["load", "Panel", "PanelSchema"],
    "Networks": ["NeuralForecaster", "recommended", "Recurrent", "TrainingSpec", "SequenceClassifier"],
    "What every forecaster has": ["Forecaster", "Forecast"],
    "Repeat and average": ["Naive", "SeasonalNaive", "Drift", "HistoricAverage", "WindowAverage"],
    "Smooth": ["SES", "Theta", "Naive2", "Croston", "CrostonSBA", "TSB"],
    "Estimated for each series": [
        "ETS", "AutoETS", "HoltWinters", "ARIMA", "AutoARIMA", "UnobservedComponents",
    ],
    "Around other forecasters": ["Ensemble", "Conformal", "STL", "SeasonallyAdjusted", "variations", "search"],
    "Backtest and judge": ["RollingOrigin", "backtest", "Backtest", "judge", "find_leaks", "write_report"],
    "Pictures": [
        "plot_forecast", "plot_backtest", "plot_error_by_step", "plot_reliability", "plot_residuals", "plot_heatmap",
        "plot_critical_difference", "plot_folds", "plot_windows",
    ],
}  # fmt: skip

# Modules that are used by their own names, `from forecast_kit.nn.cells import LSTMCell`.
MODULES = {
    "Networks from their parts": [
        "nn.cells", "nn.recurrent", "nn.heads", "nn.networks", "nn.blocks", "nn.attention", "nn.classification",
        "nn.training",
    ],
    "Data, in detail": [
        "data.datasets", "data.transforms", "data.calendar", "data.regularize", "data.windows", "data.sequences",
        "data.future",
    ],
    "Forecasts and forecasters, in detail": ["core.forecaster", "core.forecast", "core.arguments", "core.splits",
                                             "models.paths"],
    "Evaluation, in detail": [
        "evaluation.running", "evaluation.metrics", "evaluation.scoring", "evaluation.comparison",
        "evaluation.resampling", "evaluation.comparable", "evaluation.gate", "evaluation.search",
    ],
    "MLflow": ["mlflow", "mlflow.spark"],
    "Jobs": ["jobs.config", "jobs.sections", "jobs.tasks", "jobs.batch", "jobs.asof", "jobs.reporting",
             "jobs.summary", "jobs.sources", "jobs.sinks"],
    "Errors": ["errors"],
}  # fmt: skip


@cache
def package() -> Any:
    """The package as griffe reads it, without importing anything of it."""
    return griffe.load("forecast_kit", search_paths=[str(ROOT)], resolve_aliases=True)


def homes(module: Any) -> dict[str, str]:
    """Of each public name of a lazy package the module below `forecast_kit` that it comes from."""
    values = module.members["_HOMES"].value
    return {
        str(key).strip("'\""): str(value).strip("'\"") for key, value in zip(values.keys, values.values, strict=True)
    }


def public_names(module: str) -> list[str]:
    """The dotted paths, below `forecast_kit`, of what a module offers, in its own order."""
    found = package()[module]
    if {"_HOMES", "__getattr__"} <= set(found.members):  # names are imported when they are used
        return [f"{home}.{name}" for name, home in homes(found).items() if not name.startswith("_")]
    if found.exports is not None:
        return [f"{module}.{name}" for name in (str(export).strip("'\"") for export in found.exports)]
    things = (member for name, member in found.members.items() if not name.startswith("_"))
    return [f"{module}.{member.name}" for member in things
            if not member.is_alias and not member.is_module and member.docstring is not None]  # fmt: skip


def target(path: str) -> Any:
    """What a dotted path names, through aliases."""
    thing = package()[path]
    return thing.final_target if thing.is_alias else thing


def first_line(path: str) -> str:
    """The first paragraph of a docstring, as one line."""
    docstring = target(path).docstring
    return "" if docstring is None else " ".join(docstring.value.strip().split("\n\n")[0].split()).replace("|", "\\|")


class Reference:
    """The pages of the reference: a folder of names, one of modules, and an index of them all."""

    def __init__(self) -> None:
        """Finds every public name and the page that it gets."""
        self.home = homes(package())
        placed = [name for names in NAMES.values() for name in names]
        if sorted(placed) != sorted(self.home):
            wrong = sorted(set(placed) ^ set(self.home))
            raise PluginError(f"the themes in docs/_build/hooks.py and forecast_kit.__all__ differ in: {wrong}")
        self.page = {target(f"{self.home[name]}.{name}").canonical_path: self.address(name) for name in placed}

    def address(self, name: str) -> str:
        """The page of a top-level name; `Backtest` and `backtest` must differ where case does not count."""
        kind = "classes" if target(f"{self.home[name]}.{name}").is_class else "functions"
        return f"reference/{kind}/{name}.md"

    def pages(self) -> dict[str, str]:
        """Every page's Markdown by its address."""
        made = {self.address(name): self.name_page(name) for names in NAMES.values() for name in names}
        for modules in MODULES.values():
            for module in modules:
                made[f"reference/modules/{module}.md"] = self.module_page(module)
        made["reference/index.md"] = self.index()
        return made

    def name_page(self, name: str) -> str:
        """The page of one top-level name."""
        thing = target(f"{self.home[name]}.{name}")
        parts = [f"---\ntitle: {name}\n---", f"# {name}", f"`from forecast_kit import {name}`"]
        if thing.is_class and _FORECASTER in {base.canonical_path for base in thing.mro()}:
            shared = ", ".join(f"[`{method}`][{_FORECASTER}.{method}]" for method in _SHARED)
            parts.append(f"It is a [`Forecaster`][{_FORECASTER}], and has from there {shared}.")
        return "\n\n".join([*parts, f"::: {thing.canonical_path}\n    options:\n      heading_level: 2\n"])

    def module_page(self, module: str) -> str:
        """The page of a module; what has a page already is linked to."""
        docstring = package()[module].docstring
        parts = [f"# forecast_kit.{module}", "" if docstring is None else docstring_text(docstring.value)]
        address = f"reference/modules/{module}.md"
        for path in public_names(module):
            canonical = target(path).canonical_path
            if self.page.setdefault(canonical, address) == address:
                silent = str(target(path).docstring is None).lower()  # a table such as CELLS speaks for itself
                options = f"      heading_level: 2\n      show_if_no_docstring: {silent}\n"
                parts.append(f"::: {canonical}\n    options:\n{options}")
            else:
                name = path.rpartition(".")[2]
                parts.append(f"## {name}\n\n[`{name}`][{canonical}] has a page of its own, or stands with its module: "
                             f"{first_line(path)}")  # fmt: skip
        return "\n\n".join(parts)

    def index(self) -> str:
        """Every name with its first line, by theme."""
        parts = ["# Reference", "Every public name. `import forecast_kit as fk` has those of the first tables; the "
                 "modules further down are imported by their own names."]  # fmt: skip
        for theme, names in NAMES.items():
            rows = [f"| [`{name}`]({self.address(name).removeprefix('reference/')}) | "
                    f"{first_line(f'{self.home[name]}.{name}')} |" for name in names]  # fmt: skip
            parts.append("\n".join([f"## {theme}", "", "| name | what it is |", "|---|---|", *rows]))
        for theme, modules in MODULES.items():
            rows = [f"| [`{module}`](modules/{module}.md) | {first_line(module)} {self.offered(module)} |"
                    for module in modules]  # fmt: skip
            parts.append("\n".join([f"## {theme}", "", "| module | what it holds |", "|---|---|", *rows]))
        return "\n\n".join(parts)

    def offered(self, module: str) -> str:
        """The names of a module, each a link."""
        names = []
        for path in public_names(module):
            names.append(f"[`{path.rpartition('.')[2]}`][{target(path).canonical_path}]")
        return "<br>" + ", ".join(names)

    def nav(self) -> list[Any]:
        """The reference's part of the navigation."""
        made: list[Any] = ["reference/index.md"]
        made += [{theme: [{name: self.address(name)} for name in names]} for theme, names in NAMES.items()]
        return made + [{theme: [{module: f"reference/modules/{module}.md"} for module in modules]}
                       for theme, modules in MODULES.items()]  # fmt: skip


def docstring_text(text: str) -> str:
    """A module's docstring as Markdown."""
    text = re.sub(
        r"^Raises:\n((?: +.*\n?)+)", lambda m: "**Raises:** " + " ".join(m[1].split()), text, flags=re.MULTILINE
    )
    return fence_examples(text)


def fence_examples(text: str) -> str:
    r"""The text with its doctests in fences, which Markdown would take for nested quotations.

    >>> print(fence_examples("Adds.\n\n>>> 1 + 1\n2\n\nMore."))
    Adds.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    More.
    """
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if not inside and line.startswith(">>> "):
            lines.append("```pycon")
            inside = True
        elif inside and not line.strip():
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join([*lines, "```"] if inside else lines)


def list_joint_attributes(text: str) -> str:
    """The text with attributes that share a description as a list; the parser takes the second name for a type."""

    def listed(section: re.Match[str]) -> str:
        entries = re.findall(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", section[1], re.MULTILINE)
        if not any("," in names for names, _ in entries):
            return section[0]
        lines = [f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {' '.join(told.split())}"
                 for names, told in entries]  # fmt: skip
        return "\n".join(["**Attributes:**", "", *lines, ""])

    return re.sub(r"^Attributes:\n((?: {4}.*\n?)+)", listed, text, flags=re.MULTILINE)


class Docstrings(griffe.Extension):
    """Fences the examples, sets the sources off and lists attributes that share a description."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of one object."""
        if obj.docstring is not None:
            text = list_joint_attributes(fence_examples(obj.docstring.value))
            obj.docstring.value = _SOURCE.sub("**Source:** ", text)


_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_OUTSIDE = re.compile(r"\]\((\.\./[^)#]+)\)")
_NAMED = re.compile(r"(?<!\[)`fk\.(\w+)(\(\))?`")


def on_config(config: Any) -> Any:
    """Puts the reference's pages into the navigation."""
    config["nav"] = [{"Reference": Reference().nav()} if "Reference" in entry else entry for entry in config["nav"]]
    return config


def lies_outside(path: Path) -> bool:
    """Whether a file is no page or picture of `docs/`."""
    return not path.is_relative_to(ROOT / "docs") or path.suffix == ".py"


def outside_files() -> dict[str, str]:
    """Files of the project that pages link to: their address in the site, and what a page calls them."""
    found = {}
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for link in _OUTSIDE.findall(page.read_text(encoding="utf-8")):
            path = (page.parent / link).resolve()
            if lies_outside(path):
                found[f"files/{path.relative_to(ROOT).as_posix()}"] = path.read_text(encoding="utf-8")
    return found


def on_files(files: Files, config: Any) -> Files:
    """Adds the reference, the changelog, the guide for contributors, and files that pages link to."""
    made = Reference().pages() | outside_files()
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):  # they lie where people look for them, and link from there
        made[name.lower()] = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
    for address, content in made.items():
        files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links `fk.name` to its page, and what lies outside of `docs/` to its copy in the site."""
    known = homes(package())
    up = "../" * page.file.src_uri.count("/")

    def name_link(match: re.Match[str]) -> str:
        name = match[1]
        if name not in known:
            return match[0]
        return f"[{match[0]}][{target(f'{known[name]}.{name}').canonical_path}]"

    def outside_link(match: re.Match[str]) -> str:
        path = (ROOT / "docs" / page.file.src_uri).parent / match[1]
        path = path.resolve()
        if not lies_outside(path):
            return match[0]
        return f"]({up}files/{path.relative_to(ROOT).as_posix()})"

    def outside_fences(text: str) -> str:
        return _OUTSIDE.sub(outside_link, _NAMED.sub(name_link, text))

    parts: list[str] = []
    end = 0
    for fenced in _FENCED.finditer(markdown):
        parts += [outside_fences(markdown[end : fenced.start()]), fenced[0]]
        end = fenced.end()
    return "".join([*parts, outside_fences(markdown[end:])])
