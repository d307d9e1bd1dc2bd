"""What OpenVINO's form of a model may be, decided from its bytes before OpenVINO sees it.

The bounds keep the engine from being handed a document that grows while it is read (entities), needs code that is not
the engine's own (extensions), names files, or points outside its weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.parsers import expat

from mstedge.errors import BundleError
from mstedge.runtime.bundle.inventory import DAMAGED, MIB
from mstedge.runtime.bundle.ir_grammar import BODIES, ELEMENT_BITS, IR_GRAMMAR

VERSIONS = frozenset({"10", "11"})
MAX_OPSET = 17
MAX_LAYERS = 20_000
MAX_GRAPH_DEPTH = 4
MAX_XML_BYTES = 64 * MIB
MAX_WEIGHTS_BYTES = 512 * MIB
MAX_TAGS = 1_000_000
MAX_TAG_BYTES = 1 << 16
MAX_ATTRIBUTES = 100
MAX_RANK = 16

_OPSETS = frozenset(f"opset{version}" for version in range(1, MAX_OPSET + 1))
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_WHOLE = re.compile(r"[0-9]{1,18}")
_DIMENSION = re.compile(r"-1|[0-9]{1,18}")
_NAMES_A_FILE = re.compile(r"(?i)(^|[_-])(file|path|dir|folder|uri|url|location|library|plugin|extension)s?([_-]|$)")
_STANDARD_ONLY = "export the model with standard operators only: a device never loads code from a bundle"


def check_ir(xml: bytes, weights: bytes, *, source: str = "model.xml") -> None:
    """Hold a model in OpenVINO's form against the limits.

    Args:
        xml: The bytes of the document.
        weights: The bytes of the file with its constants.
        source: Name of the document, for messages.

    Raises:
        BundleError: It is damaged, or carries what a bundle may not: a document type, extensions, names of files,
            constants outside the weights, or too much of anything.
    """
    try:
        _check_sizes(xml, weights)
        _Document(len(weights)).read(xml)
    except BundleError as problem:
        raise BundleError(f"{source}: {problem.message}", hint=problem.hint or DAMAGED) from None


def _check_sizes(xml: bytes, weights: bytes) -> None:
    """Bound what a parser would have to hold, from the bytes alone: tags, and the longest of them."""
    for size, largest, what in ((len(xml), MAX_XML_BYTES, ""), (len(weights), MAX_WEIGHTS_BYTES, " of weights")):
        if size > largest:
            raise BundleError(f"has {size} bytes{what}: expected at most {largest}", hint="export a smaller model")
    tags = xml.count(b"<")
    if tags > MAX_TAGS:
        raise BundleError(f"has {tags} tags: expected at most {MAX_TAGS}", hint="export a smaller model")
    longest = max(map(len, xml.split(b"<")))
    if longest > MAX_TAG_BYTES:
        raise BundleError(f"has a tag or text of {longest} bytes: expected at most {MAX_TAG_BYTES}")


@dataclass(slots=True)
class _Layer:
    """A layer that is being read: its type, and whether it said what `data` says."""

    kind: str
    has_data: bool = False


@dataclass(slots=True)
class _Document:
    """One pass over one document.

    Attributes:
        weights_bytes: Size of the file with the constants.
        tags: Elements around the present place, outermost first.
        around: Layers among them.
        layers: Layers so far.
    """

    weights_bytes: int
    tags: list[str] = field(default_factory=lambda: [""])
    around: list[_Layer] = field(default_factory=list)
    layers: int = 0

    def read(self, xml: bytes) -> None:
        """Read all of it."""
        # Parsers guess encodings: what is not plain UTF-8 could read differently in OpenVINO's.
        if b"\0" in xml:
            raise BundleError("is not UTF-8 text")
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.XmlDeclHandler = _check_declaration
        parser.StartDoctypeDeclHandler = _refuse("a document type")
        parser.EntityDeclHandler = _refuse("an entity")
        parser.ProcessingInstructionHandler = _refuse("a processing instruction")
        parser.StartCdataSectionHandler = _refuse("a CDATA section")
        parser.CommentHandler = _refuse("a comment")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(xml, True)  # noqa: FBT003  expat's own signature
        except expat.ExpatError as problem:
            raise BundleError(f"is not well-formed XML: {problem}") from None

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        parent = self.tags[-1]
        allowed = IR_GRAMMAR.get(parent, {})
        if tag not in allowed:
            raise BundleError(f"has <{tag[:80]}> inside <{parent}>, which a bundle's IR may not have")
        names = allowed[tag]
        if names is not None and not names >= attributes.keys():
            unknown = min(attributes.keys() - names)
            raise BundleError(f"has the attribute {unknown[:80]!r} on <{tag}>, which a bundle's IR may not have")
        self.tags.append(tag)
        if tag == "net":
            _check_version(attributes)
        elif tag == "layer":
            self._start_layer(attributes)
        elif tag == "data":
            self._check_data(attributes)
        elif tag in BODIES and sum(each in BODIES for each in self.tags) >= MAX_GRAPH_DEPTH:
            raise BundleError(f"has graphs nested deeper than {MAX_GRAPH_DEPTH}", hint="export a simpler model")

    def _end(self, tag: str) -> None:
        self.tags.pop()
        if tag == "layer":
            layer = self.around.pop()
            if layer.kind == "Const" and not layer.has_data:
                raise BundleError("has a constant that does not say where its values are")

    def _text(self, text: str) -> None:
        fits = _DIMENSION.fullmatch(text) if self.tags[-1] == "dim" else not text.strip()
        if not fits:
            raise BundleError(f"has the text {text[:80]!r} inside <{self.tags[-1]}>")

    def _start_layer(self, attributes: dict[str, str]) -> None:
        kind, version = attributes.get("type", ""), attributes.get("version", "")
        if not _WORD.fullmatch(kind) or not _WHOLE.fullmatch(attributes.get("id", "")):
            raise BundleError(f"has a layer of the type {kind[:80]!r} with the id {attributes.get('id', '')[:80]!r}")
        if version not in _OPSETS:
            raise BundleError(
                f"uses the layer {kind!r} of {version[:80]!r}: expected opset1 to opset{MAX_OPSET}",
                hint=_STANDARD_ONLY,
            )
        self.layers += 1
        if self.layers > MAX_LAYERS:
            raise BundleError(f"has more than {MAX_LAYERS} layers", hint="export a smaller model")
        self.around.append(_Layer(kind))

    def _check_data(self, attributes: dict[str, str]) -> None:
        layer = self.around[-1]
        if layer.has_data:
            raise BundleError(f"has a layer {layer.kind!r} with two elements <data>")
        if len(attributes) > MAX_ATTRIBUTES:
            raise BundleError(f"has a layer {layer.kind!r} with {len(attributes)} attributes")
        layer.has_data = True
        for name, value in attributes.items():
            if not _WORD.fullmatch(name) or _NAMES_A_FILE.search(name) or "/" in value or "\\" in value:
                raise BundleError(
                    f"has a layer {layer.kind!r} whose {name[:80]!r} may name a file: {value[:80]!r}",
                    hint=_STANDARD_ONLY,
                )
        if layer.kind == "Const":
            _check_constant(attributes, self.weights_bytes)


def _check_version(attributes: dict[str, str]) -> None:
    version = attributes.get("version", "")
    if version not in VERSIONS:
        raise BundleError(f"has IR version {version[:80]!r}: expected {' or '.join(sorted(VERSIONS))}")


def _check_constant(attributes: dict[str, str], weights_bytes: int) -> None:
    """Require that the values of a constant lie inside the weights and fill its shape exactly."""
    kind, shape, offset, size = (attributes.get(name, "") for name in ("element_type", "shape", "offset", "size"))
    where = f"a constant ({kind[:20]!r}, shape {shape[:80]!r}, offset {offset[:20]!r}, size {size[:20]!r})"
    sizes = [each.strip() for each in shape.split(",")] if shape.strip() else []
    readable = kind in ELEMENT_BITS and len(sizes) <= MAX_RANK
    if not readable or not all(_WHOLE.fullmatch(number) for number in (*sizes, offset, size)):
        raise BundleError(f"has {where} that cannot be read")
    if int(offset) + int(size) > weights_bytes:
        raise BundleError(f"has {where}, but there are {weights_bytes} bytes of weights")
    if int(size) != math.ceil(math.prod(map(int, sizes)) * ELEMENT_BITS[kind] / 8):
        raise BundleError(f"has {where} whose bytes do not fill its shape")


def _check_declaration(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() != "utf-8":
        raise BundleError(f"is encoded as {encoding[:80]!r}: expected utf-8")


def _refuse(what: str) -> Callable[..., None]:
    def refuse(*_seen: object) -> None:
        raise BundleError(f"holds {what}, which a bundle's IR may not have")

    return refuse
