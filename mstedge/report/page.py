"""From a page's values to one HTML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mstedge import __version__
from mstedge.errors import MissingPackageError
from mstedge.report import formats

if TYPE_CHECKING:
    from jinja2 import Environment

_FILTERS = {
    "number": formats.number,
    "count": formats.count,
    "percent": formats.percent,
    "points": formats.points,
    "duration": formats.duration,
    "latency": formats.latency,
    "rate": formats.rate,
    "size": formats.size,
}


@dataclass(frozen=True, slots=True)
class Page:
    """What one report shows.

    Attributes:
        template: Which template shows it, without `.html.j2`.
        title: Title of the page.
        values: What the template reads.
    """

    template: str
    title: str
    values: dict[str, Any] = field(default_factory=dict)


def html_from_page(page: Page) -> str:
    """Fill a template; all text is escaped, and absolute paths are cut down to names.

    Raises:
        MissingPackageError: jinja2 is not installed.
    """
    template = _environment().get_template(f"{page.template}.html.j2")
    return template.render(title=page.title, version=__version__, **page.values)


def require_packages() -> None:
    """Check that reports can be made here, before any work is done for one.

    Raises:
        MissingPackageError: jinja2 or matplotlib is not installed.
    """
    for package in ("jinja2", "matplotlib"):
        try:
            __import__(package)
        except ImportError:
            raise MissingPackageError(package, purpose="a report", extra="report") from None


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  optional

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_without_paths,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    environment.globals["percent_range"] = formats.percent_range
    return environment


def _without_paths(value: object) -> object:
    """Clean what stands in a template; markup (charts, macros) has been cleaned where it was made."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else formats.without_paths(value)
