"""The page of a bundle."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mstedge.manifest import GoldenCase
from mstedge.manifest_words import export_words
from mstedge.parity_words import alarm
from mstedge.report.formats import size
from mstedge.report.front_end import front_end_words
from mstedge.report.measured import measured_view
from mstedge.report.page import Page
from mstedge.report.parity_view import drawings_of, parity_view

if TYPE_CHECKING:
    from pathlib import Path

    from mstedge.runtime.bundle import Bundle

MEDIA = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}
MAX_MEDIA_BYTES = 1 << 20
MAX_PAGE_MEDIA_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class ShownCase:
    """A golden case as the page shows it.

    Attributes:
        case: The case.
        label: What the reference answers.
        probability: How sure the reference is.
        sound: Raw input as a data URI, where it is sound.
        picture: The same where it is a picture.
        remark: Why there is neither.
    """

    case: GoldenCase
    label: str
    probability: float
    sound: str | None = None
    picture: str | None = None
    remark: str = ""


def bundle_page(path: Path) -> Page:
    """Show a bundle.

    Args:
        path: Its manifest.

    Raises:
        BundleError: The bundle is damaged, or its SIGNATURE is none.
        ConfigError: The measurement beside it is none of ours.
    """
    from mstedge.runtime.bundle import open_bundle  # noqa: PLC0415  other reports need no runtime
    from mstedge.runtime.bundle.signature import read_signature  # noqa: PLC0415  likewise

    bundle = open_bundle(path.parent)
    manifest, report = bundle.manifest, bundle.parity_report()
    signature = read_signature(bundle.folder)
    values = {
        "manifest": manifest,
        "alarm": alarm(manifest.parity),
        "view": parity_view(report, labels=manifest.labels, drawings=drawings_of(bundle, report)),
        "measured": measured_view(bundle),
        "front_end": front_end_words(manifest.spec),
        "exported": export_words(manifest),
        "cases": shown_cases(bundle),
        "files": sorted(bundle.digests.items()),
        "signature": None if signature is None else signature.fingerprint,
    }
    return Page("bundle", f"Bundle {manifest.name}", values)


def shown_cases(bundle: Bundle) -> tuple[ShownCase, ...]:
    """Prepare the golden cases of a bundle; raw inputs are put into the page while there is room."""
    logits = bundle.golden_logits()
    room = MAX_PAGE_MEDIA_BYTES
    shown: list[ShownCase] = []
    for case in bundle.golden_cases().cases:
        row = [float(value) / bundle.manifest.postprocess.temperature for value in logits[case.index]]
        label = bundle.manifest.labels[case.label]
        probability = math.exp(row[case.label] - max(row)) / math.fsum(math.exp(value - max(row)) for value in row)
        content = bundle.read(case.file) if case.file is not None else None
        one = _shown(case, label, probability, content, room)
        room -= len(content) if content is not None and not one.remark else 0
        shown.append(one)
    return tuple(shown)


def _shown(case: GoldenCase, label: str, probability: float, content: bytes | None, room: int) -> ShownCase:
    from markupsafe import Markup  # noqa: PLC0415  comes with the optional jinja2

    if case.file is None or content is None:
        return ShownCase(case, label, probability, remark="features only: the recording is not in the bundle")
    media = MEDIA.get(PurePosixPath(case.file).suffix.lower())
    if media is None:
        return ShownCase(case, label, probability, remark=f"{case.file}: cannot be shown in a browser")
    if len(content) > min(MAX_MEDIA_BYTES, room):
        return ShownCase(case, label, probability, remark=f"{case.file}: {size(len(content))}, too large for this page")
    # Markup, for what looks like a path in base64 is none.
    address = Markup(f"data:{media};base64,{base64.b64encode(content).decode()}")  # noqa: S704  nothing from the file
    if media.startswith("audio/"):
        return ShownCase(case, label, probability, sound=address)
    return ShownCase(case, label, probability, picture=address)
