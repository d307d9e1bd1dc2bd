"""Charts as inline SVG that follow the page's light or dark colours and repeat byte for byte."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mstedge.errors import MissingPackageError
from mstedge.report.formats import without_paths

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

# matplotlib knows only fixed colours: these stand in for the page's CSS variables and are replaced in the SVG text.
INK = "#010201"
LINE = "#010202"
SERIES = tuple(f"#0103{index:02x}" for index in range(8))
_VARIABLES = {INK: "var(--ink)", LINE: "var(--line)"} | {
    colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)
}
DASHES: tuple[tuple[int, ...], ...] = ((), (5, 2), (1, 2))
WIDTH_INCHES = 5.8
MAX_LABEL = 34
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mstedge",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.5,
    "axes.labelsize": 10.5,
    "axes.labelpad": 8,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_GLOBAL_STYLE = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>\s*", re.DOTALL)
_GROUP_ID = re.compile(r'<g id="[^"]*">')
_ROOT = re.compile(r"<svg\b[^>]*?(viewBox=\"[^\"]*\")[^>]*>")


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend.

    Attributes:
        name: What it stands for.
        colour: CSS colour.
        dashes: Pattern of a line; none for an area.
    """

    name: str
    colour: str
    dashes: str | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with what has to be said beside it.

    Attributes:
        title: What it shows.
        svg: The drawing.
        keys: Its legend.
        caption: What to look at, or what was left out.
    """

    title: str
    svg: str
    keys: tuple[Key, ...] = ()
    caption: str = ""


def line_key(name: str, index: int) -> Key:
    """Describe the line that has this position in a chart."""
    return Key(shown(name), _VARIABLES[colour_of(index)], " ".join(map(str, dashes_of(index))))


def area_key(name: str, index: int) -> Key:
    """Describe the area or bar that has this position in a chart."""
    return Key(shown(name), _VARIABLES[colour_of(index)])


def colour_of(index: int) -> str:
    """Pick the stand-in colour of a series."""
    return SERIES[index % len(SERIES)]


def dashes_of(index: int) -> tuple[int, ...]:
    """Pick the dash pattern of a line, so that neighbours differ in more than colour."""
    return DASHES[index % len(DASHES)]


def shown(label: str) -> str:
    """Shorten a label so that it fits a chart; the middle goes, for names often differ at their ends."""
    return shortened(without_paths(label))


def shortened(label: str) -> str:
    """Cut the middle out of a label that is none of the machine's paths, such as the name of a node."""
    return label if len(label) <= MAX_LABEL else f"{label[:18]}…{label[-15:]}"


def drawn(paint: Callable[[Axes], None], *, title: str, height_inches: float = 2.8) -> str:
    """Draw one pair of axes and return it as SVG text for a page.

    Args:
        paint: Draws into the axes; it sees the page's style.
        title: What a screen reader says.
        height_inches: Height of the figure; the width is the same for all.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415  optional
        from matplotlib.figure import Figure  # noqa: PLC0415  optional
    except ImportError:
        raise MissingPackageError("matplotlib", purpose="a report", extra="report") from None
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        paint(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return _for_page(stream.getvalue(), title)


def _for_page(text: str, title: str) -> str:
    """Strip what belongs to a file of its own, and let colours and type follow the page."""
    from markupsafe import Markup, escape  # noqa: PLC0415  comes with the optional jinja2

    text = text[text.index("<svg") :]
    text = _GLOBAL_STYLE.sub("", _METADATA.sub("", text), count=1)
    text = _GROUP_ID.sub("<g>", text).replace("<use xlink:href=", "<use href=")
    text = text.replace("'DejaVu Sans', sans-serif", "system-ui, sans-serif")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    root = f'<svg class="chart" role="img" aria-label="{escape(title)}" '
    return Markup(_ROOT.sub(lambda match: f"{root}{match[1]}>", text, count=1))  # noqa: S704  matplotlib escapes labels
