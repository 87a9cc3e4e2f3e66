"""How pictures look: themes, pens, labels, legends. No picture of its own, and no global setting is touched."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, date2num, num2date
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.legend import Legend
from matplotlib.ticker import Formatter, MaxNLocator

from forecast_kit.errors import ArgumentError, nearest

ThemeName: TypeAlias = Literal["light", "dark"]

_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (4, 1.5, 1, 1.5)), (0, (1, 1.2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "h")


@dataclass(frozen=True)
class Theme:
    """The colours of a picture; `palette` is Okabe and Ito's, less what the paper swallows.

    Attributes:
        paper, ink, faint, grid: background, text, secondary lines, grid lines.
        history, forecast, actual: lines of a series.
        seen, unseen: areas of steps that are learned from, and of those that are not looked at.
        palette: for models, in their order.
        colormap: of the heatmap, from low to high.
    """

    paper: str
    ink: str
    faint: str
    grid: str
    history: str
    forecast: str
    actual: str
    seen: str
    unseen: str
    palette: tuple[str, ...]
    colormap: str

    def pen(self, number: int) -> dict[str, Any]:
        """The line of the model with that number: colour, dashes and marker, together unique for 84 of them."""
        return {
            "color": self.palette[number % len(self.palette)],
            "ls": _DASHES[number % len(_DASHES)],
            "marker": _MARKERS[number % len(_MARKERS)],
        }


_THEMES = {
    "light": Theme(
        paper="#ffffff", ink="#1a1a1a", faint="#6b6b6b", grid="#dcdcdc",
        history="#4d4d4d", forecast="#0072B2", actual="#D55E00", seen="#b4b4b4", unseen="#ececec",
        palette=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"), colormap="cividis_r",
    ),
    "dark": Theme(
        paper="#16181d", ink="#ececec", faint="#9a9da3", grid="#383b42",
        history="#c4c4c4", forecast="#56B4E9", actual="#E69F00", seen="#6a6e76", unseen="#2b2e34",
        palette=("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#ffffff"), colormap="cividis",
    ),
}  # fmt: skip


def theme_of(name: str) -> Theme:
    """The theme of that name.

    Raises:
        ArgumentError: there is none.

    >>> theme_of("dark").paper
    '#16181d'
    """
    if name not in _THEMES:
        raise ArgumentError(f"unknown theme {name!r}; there are {', '.join(_THEMES)}.{nearest(name, _THEMES)}")
    return _THEMES[name]


def short(name: object, limit: int = 28) -> str:
    """A name to write into a picture: a long one without its middle, dollar signs not taken for mathematics.

    >>> short("store_0001/department_grocery/item_4711", 17)
    'store_00…tem_4711'
    >>> short(7)
    '7'
    """
    text = " ".join(str(name).split())
    if len(text) > limit:
        tail = (limit - 1) // 2
        text = text[: limit - 1 - tail] + "…" + text[-tail:]
    return text.replace("$", r"\$")


def brief(value: float) -> str:
    """A number with three significant digits, thousands as k, millions as M: short enough for a cell.

    >>> [brief(x) for x in (0.00012, 0.12345, 0.9996, 12.0, 1234.5, 999_999.0, -3.2e7)]
    ['1e-04', '0.123', '1.00', '12.0', '1.23k', '1.00M', '-32.0M']
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    power = math.floor(math.log10(abs(float(f"{value:.3g}"))))
    third = min(max(power // 3, 0), 4)
    scaled, digits = value / 1000**third, 2 - power + 3 * third
    text = f"{scaled:.{max(digits, 0)}f}" if digits < 5 else f"{scaled:.0e}"
    return text + ("", "k", "M", "G", "T")[third]


class Picture(Figure):
    """A figure that a notebook shows as the result of a cell, also where nobody imported `matplotlib.pyplot`."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


def sheet(theme: Theme, size: tuple[float, float]) -> Figure:
    """An empty figure of that width and height in inches, which finds room for its labels by itself."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06)
    return Picture(figsize=size, layout=layout, facecolor=theme.paper)


def panels(theme: Theme, count: int) -> tuple[Figure, list[Axes]]:
    """A figure with one axes for each of `count` series: large ones for few, small ones for many."""
    columns = 1 if count < 3 else 2 if count < 9 else 3 if count < 19 else 4
    width, height = {1: (7.2, 2.6), 2: (6.0, 2.6), 3: (4.4, 2.3), 4: (3.7, 2.1)}[columns]
    rows = -(-count // columns)
    figure = sheet(theme, (width * columns, height * rows + 0.4))
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def dress(
    axis: Axes,
    theme: Theme,
    *,
    title: str = "",
    x: str = "",
    y: str = "",
    grid: Literal["x", "y", "both", "none"] = "both",
) -> None:
    """Gives an axes its title, labels and colours; `grid` says along which axis there are lines, `"none"` for none."""
    axis.set_facecolor(theme.paper)
    axis.set_title(title, loc="left", fontsize=10, color=theme.ink)
    axis.set_xlabel(x, fontsize=9, color=theme.ink)
    axis.set_ylabel(y, fontsize=9, color=theme.ink)
    axis.tick_params(colors=theme.ink, labelsize=8, which="both")
    for one in (axis.xaxis, axis.yaxis):
        one.get_offset_text().set(color=theme.ink, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(theme.faint)
    axis.set_axisbelow(True)
    if grid != "none":
        axis.grid(axis=grid, color=theme.grid, lw=0.6)


def time_axis(axis: Axes, stamps: np.ndarray, *, narrow: bool = False) -> None:
    """Ticks that do not run into each other, on an x axis that shows those stamps: numbers or `datetime64`."""
    if np.issubdtype(stamps.dtype, np.datetime64):
        axis.xaxis_date()
        # Fewer ticks than these and matplotlib finds no interval for some spans.
        locator = AutoDateLocator(minticks=2, maxticks=5) if narrow else AutoDateLocator(minticks=3, maxticks=7)
        axis.xaxis.set_major_locator(locator)
        axis.xaxis.set_major_formatter(DateLabels())
    else:
        axis.xaxis.set_major_locator(MaxNLocator(nbins=4 if narrow else 8, integer=True))


class DateLabels(Formatter):
    """Dates on two lines: what changes from tick to tick, and below it, where it changes, what that is a part of."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """One date, in full; shown under the pointer."""
        return f"{num2date(x):%Y-%m-%d %H:%M}"

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        r"""The labels of all ticks.

        >>> from matplotlib.figure import Figure
        >>> labels = DateLabels()
        >>> Figure().subplots().xaxis.set_major_formatter(labels)
        >>> labels.axis.set_view_interval(0.0, 30_000.0)
        >>> days = np.array(["2024-12-27", "2024-12-29", "2025-01-01"], "datetime64[us]")
        >>> [label.replace("\n", ", ") for label in labels.format_ticks(as_numbers(days))]
        ['27, Dec 2024', '29', '1, Jan 2025']
        """
        dates = num2date(np.asarray(values)) if len(values) else []
        if any(date.hour or date.minute or date.second for date in dates):
            fine, coarse = "%H:%M:%S" if any(date.second for date in dates) else "%H:%M", "%d %b %Y"
        elif any(date.day > 1 for date in dates):
            fine, coarse = "%d", "%b %Y"
        else:
            fine, coarse = ("%b", "%Y") if any(date.month > 1 for date in dates) else ("%Y", "")
        tops = [f"{date:{fine}}".lstrip("0" if fine == "%d" else "") for date in dates]
        lows = [f"{date:{coarse}}".lstrip("0") if coarse else "" for date in dates]
        low, high = sorted(self.axis.get_view_interval()) if self.axis is not None else (-math.inf, math.inf)
        seen = [k for k, value in enumerate(values) if low <= value <= high]
        told = [k for j, k in enumerate(seen) if j == 0 or lows[k] != lows[seen[j - 1]]]
        if len(told) > 1 and told[1] - told[0] == 1:  # too close for both
            del told[0]
        return [f"{top}\n{lows[k]}" if k in told and coarse else top for k, top in enumerate(tops)]


def as_numbers(stamps: np.ndarray) -> np.ndarray:
    """Stamps as matplotlib places them."""
    return date2num(stamps) if np.issubdtype(stamps.dtype, np.datetime64) else stamps.astype(float)


def legend_below(figure: Figure, theme: Theme, handles: Sequence[Artist], labels: Iterable[str]) -> Legend:
    """A legend under all axes, in as many columns as the figure is wide; the first of equal labels stays."""
    chosen: dict[str, Artist] = {}
    for label, handle in zip(labels, handles, strict=True):
        chosen.setdefault(label, handle)
    widths = [0.62 + 0.078 * len(name) for name in chosen]  # inches: a handle, and letters of 9 points
    room, count = figure.get_figwidth() - 0.3, len(widths)
    while count > 1 and _needed(widths, count) > room:
        count -= 1
    return figure.legend(
        list(chosen.values()), list(chosen), loc="outside lower center", frameon=False, fontsize=9, ncols=count,
        labelcolor=theme.ink, handlelength=2.6, columnspacing=1.4,
    )  # fmt: skip


def _needed(widths: Sequence[float], columns: int) -> float:
    """The width of that many columns, filled one after the other."""
    rows, more = divmod(len(widths), columns)
    ends = np.cumsum([0, *(rows + (k < more) for k in range(columns))])
    return sum(max(widths[a:b]) for a, b in pairwise(ends))


def headline(figure: Figure, theme: Theme, text: str) -> None:
    """A title over all axes of a figure, at its left."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, color=theme.ink)
