"""The IR scanner: what OpenVINO's converter writes passes, what a stranger may write is refused before OpenVINO."""

from __future__ import annotations

import re
import time
from functools import cache
from typing import TYPE_CHECKING

import msgspec
import pytest
from bundle_factory import change_json, change_manifest, seal
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import MODELS, serialised

from mstedge.errors import BundleError
from mstedge.runtime.backends import BACKENDS, EngineOptions
from mstedge.runtime.bundle import check_ir, ir_limits, open_bundle
from mstedge.runtime.predictor import open_predictor

if TYPE_CHECKING:
    from pathlib import Path

needs_openvino = pytest.mark.skipif(
    not BACKENDS["openvino"].available().available, reason=BACKENDS["openvino"].available().reason
)

WEIGHTS = bytes(24 + 12)
XML = (
    '<?xml version="1.0"?><net name="student" version="11"><layers>'
    '<layer id="0" name="in" type="Parameter" version="opset1"><data shape="?,3" element_type="f32"/>'
    '<output><port id="0" precision="FP32" names="features"><dim>-1</dim><dim>3</dim></port></output></layer>'
    '<layer id="1" name="w" type="Const" version="opset1"><data element_type="f32" shape="2, 3" offset="12" size="24"/>'
    '<output><port id="0" precision="FP32"><dim>2</dim><dim>3</dim></port></output></layer>'
    '<layer id="2" name="mm" type="MatMul" version="opset1"><data transpose_a="false" transpose_b="true"/>'
    '<input><port id="0"/><port id="1"/></input>'
    '<output><port id="2" precision="FP32" names="logits"><dim>-1</dim><dim>2</dim></port></output></layer>'
    '<layer id="3" name="out" type="Result" version="opset1" output_names="logits">'
    '<input><port id="0"/></input></layer></layers><edges><edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>'
    '<edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>'
    '<edge from-layer="2" from-port="2" to-layer="3" to-port="0"/></edges></net>'
)
HEAD, BODY = XML[: XML.index("<net")], XML[XML.index("<net") :]
LAYER = '<layer id="9" name="x" type="ReLU" version="opset1"/>'
MANY = " ".join(f"a{number}='1'" for number in range(200))
LAUGHS = (
    '<!DOCTYPE net [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {name} "{f"&{last};" * 10}">' for last, name in zip("abcdefghi", "bcdefghij", strict=True))
    + "]>"
)


def test_what_is_well_made_is_accepted():
    check_ir(XML.encode(), WEIGHTS)
    check_ir(BODY.encode(), WEIGHTS)
    check_ir(XML.replace("><", ">\n\t<").encode(), WEIGHTS)


@cache
def converted(name: str) -> tuple[bytes, bytes]:
    from mstedge.export.openvino_ir import ir_from_onnx

    return ir_from_onnx(serialised(MODELS[name]))


@needs_openvino
@pytest.mark.parametrize("name", MODELS)
def test_what_the_exporter_writes_is_accepted_and_loads(name: str):
    from mstedge.runtime.backends.openvino_import import import_openvino

    check_ir(*converted(name))
    assert import_openvino().Core().read_model(*converted(name)).outputs


@needs_openvino
def test_what_is_well_made_here_is_so_for_openvino():
    from mstedge.runtime.backends.openvino_import import import_openvino

    model = import_openvino().Core().read_model(XML.encode(), WEIGHTS)
    assert model.inputs[0].any_name == "features"
    assert model.outputs[0].any_name == "logits"


def replaced(old: str, new: str) -> str:
    assert old in XML
    return XML.replace(old, new, 1)


def const(**changes: str) -> str:
    place = {"element_type": "f32", "shape": "2, 3", "offset": "12", "size": "24", **changes}
    return replaced(
        '<data element_type="f32" shape="2, 3" offset="12" size="24"/>',
        f"<data {' '.join(f'{name}={value!r}' for name, value in place.items())}/>",
    )


def nested(bodies: int) -> str:
    inside = LAYER
    for number in range(bodies):
        inside = (
            f'<layer id="{number}" name="if" type="If" version="opset8">'
            f"<then_body><layers>{inside}</layers></then_body></layer>"
        )
    return replaced("</layers>", f"{inside}</layers>")


HOSTILE = {
    "billion laughs": (HEAD + LAUGHS + BODY.replace('name="in"', 'name="&j;"'), "holds a document type"),
    "external entity": (
        f'{HEAD}<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]>{BODY}',
        "holds a document type",
    ),
    "external document type": (f'{HEAD}<!DOCTYPE net SYSTEM "http://example.com/x.dtd">{BODY}', "a document type"),
    "unknown entity": (replaced('name="in"', 'name="&x;"'), "is not well-formed XML: undefined entity"),
    "processing instruction": (f'{HEAD}<?xml-stylesheet href="http://example.com"?>{BODY}', "a processing instruction"),
    "comment": (replaced("<dim>3</dim>", "<dim>3<!-- -->4</dim>"), "holds a comment"),
    "cdata": (replaced("<dim>3</dim>", "<dim><![CDATA[3]]></dim>"), "holds a CDATA section"),
    "inclusion": (replaced("<layers>", '<layers><include href="/etc/passwd"/>'), "has <include> inside <layers>"),
    "other encoding": (XML.replace('"1.0"', '"1.0" encoding="latin-1"'), "is encoded as 'latin-1'"),
    "a million deep": ('<net name="s" version="11">' + "<layers>" * 900_000, "has <layers> inside <layers>"),
    "deep bodies": (nested(4), "graphs nested deeper than 4"),
    "too many tags": (replaced("<dim>3</dim>", "<dim/>" * 1_000_000), "tags: expected at most 1000000"),
    "too many layers": (replaced("</layers>", LAYER * 20_000 + "</layers>"), "has more than 20000 layers"),
    "too many attributes": (
        replaced("<data transpose_a", f"<data {MANY} transpose_a"),
        "has a layer 'MatMul' with 202 attributes",
    ),
    "long tag": (replaced('name="in"', f'name="{"x" * 70_000}"'), "has a tag or text of 70"),
    "attribute twice": (replaced('offset="12"', 'offset="12" offset="0"'), "not well-formed XML: duplicate attribute"),
    "two documents": (XML + BODY, "not well-formed XML: junk after document element"),
    "nothing": ("", "not well-formed XML: no element found"),
    "not xml": ("not a model", "is not well-formed XML"),
    "another format": ("\x08\x0a\x12\x07pytorch", "is not well-formed XML"),
    "other document": ("<html/>", "has <html> inside <>"),
    "old version": (replaced('version="11"', 'version="7"'), "has IR version '7': expected 10 or 11"),
    "future version": (replaced('version="11"', 'version="12"'), "has IR version '12'"),
    "no version": (replaced(' version="11"', ""), "has IR version ''"),
    "extension": (replaced('"MatMul" version="opset1"', '"MatMul" version="extension"'), "'MatMul' of 'extension'"),
    "custom opset": (
        replaced('"MatMul" version="opset1"', '"Mine" version="custom_opset"'),
        "'Mine' of 'custom_opset'",
    ),
    "future opset": (replaced('"MatMul" version="opset1"', '"MatMul" version="opset18"'), "'MatMul' of 'opset18'"),
    "opset with a zero": (replaced('"MatMul" version="opset1"', '"MatMul" version="opset01"'), "'MatMul' of 'opset01'"),
    "no opset": (replaced('"MatMul" version="opset1"', '"MatMul"'), "'MatMul' of ''"),
    "odd type": (replaced('type="MatMul"', 'type="../MatMul"'), "a layer of the type '../MatMul'"),
    "odd id": (replaced('layer id="2"', 'layer id="-2"'), "with the id '-2'"),
    "attribute of a layer": (replaced('type="MatMul"', 'type="MatMul" library="x.so"'), "'library' on <layer>"),
    "attribute of the net": (replaced("<net", '<net extension="x.so"'), "the attribute 'extension' on <net>"),
    "named file": (replaced('transpose_a="false"', 'weights_path="x"'), "'weights_path' may name a file: 'x'"),
    "absolute path": (replaced('transpose_a="false"', 'mode="/etc/passwd"'), "'mode' may name a file: '/etc/passwd'"),
    "other system's path": (replaced('transpose_a="false"', 'mode="C:\\x.dll"'), "'mode' may name a file"),
    "runtime attributes": (replaced("</layers>", "</layers><rt_info/>"), "has <rt_info> inside <net>"),
    "blobs": (replaced('<data transpose_a="false"', '<blobs/><data transpose_a="false"'), "has <blobs> inside <layer>"),
    "text": (replaced("<layers>", "<layers>&#47;etc"), "has the text '/etc' inside <layers>"),
    "odd dimension": (replaced("<dim>3</dim>", "<dim>three</dim>"), "has the text 'three' inside <dim>"),
    "offset beyond": (const(offset="13"), "but there are 36 bytes of weights"),
    "offset of 2**64 - 12": (const(offset=str(2**64 - 12)), "that cannot be read"),
    "offset near 10**18": (const(offset="9" * 18), "but there are 36 bytes of weights"),
    "negative offset": (const(offset="-12"), "that cannot be read"),
    "signed offset": (const(offset="+12"), "that cannot be read"),
    "hexadecimal offset": (const(offset="0xc"), "that cannot be read"),
    "negative size": (const(size="-24"), "that cannot be read"),
    "size of less": (const(size="20"), "whose bytes do not fill its shape"),
    "shape of more": (const(shape="2, 4"), "whose bytes do not fill its shape"),
    "shape that overflows": (const(shape="4294967296, 4294967296, 2, 3"), "whose bytes do not fill its shape"),
    "negative shape": (const(shape="-2, -3"), "that cannot be read"),
    "many dimensions": (const(shape=", ".join(["1"] * 15 + ["2", "3"])), "that cannot be read"),
    "strings": (const(element_type="string"), "that cannot be read"),
    "unknown type": (const(element_type="f31"), "that cannot be read"),
    "constant without a place": (
        replaced('<data element_type="f32" shape="2, 3" offset="12" size="24"/>', ""),
        "has a constant that does not say where its values are",
    ),
    "constant with two places": (
        replaced("<data element_type", '<data element_type="f32" shape="3" offset="0" size="12"/><data element_type'),
        "with two elements <data>",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_stranger_may_write_is_refused_soon_with_the_reason(name: str):
    xml, message = HOSTILE[name]
    start = time.perf_counter()
    with pytest.raises(BundleError) as caught:
        check_ir(xml.encode(), WEIGHTS, source="b/model.xml")
    assert time.perf_counter() - start < 5.0
    assert message in caught.value.message
    assert caught.value.message.startswith("b/model.xml: ")
    assert len(caught.value.message) < 500
    assert caught.value.hint


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_encodings_that_engines_guess_are_refused(encoding: str):
    with pytest.raises(BundleError, match="is not UTF-8 text"):
        check_ir(XML.encode(encoding), WEIGHTS)


def test_files_that_are_too_large_are_refused_unread(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(BundleError, match=f"has {64 * 2**20 + 1} bytes: expected at most"):
        check_ir(bytes(64 * 2**20 + 1), b"")
    monkeypatch.setattr(ir_limits, "MAX_WEIGHTS_BYTES", 35)
    with pytest.raises(BundleError, match="has 36 bytes of weights: expected at most 35"):
        check_ir(XML.encode(), WEIGHTS)


def test_three_bodies_inside_each_other_are_accepted():
    check_ir(nested(3).encode(), WEIGHTS)


@pytest.mark.parametrize(("kind", "shape", "size"), [("u1", "9", 2), ("i4", "3", 2), ("f64", "", 8), ("i8", "0", 0)])
def test_constants_of_every_width_fill_their_shape(kind: str, shape: str, size: int):
    check_ir(const(element_type=kind, shape=shape, size=str(size)).encode(), WEIGHTS)
    with pytest.raises(BundleError, match="do not fill its shape"):
        check_ir(const(element_type=kind, shape=shape, size=str(size + 1)).encode(), WEIGHTS)


def test_every_truncation_is_refused():
    content = XML.encode()
    for end in range(len(content)):
        with pytest.raises(BundleError):
            check_ir(content[:end], WEIGHTS)


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, len(XML) - 1), octets=st.binary(max_size=3))
def test_changed_bytes_are_accepted_or_refused_and_nothing_else(position: int, octets: bytes):
    content = XML.encode()
    try:
        check_ir(content[:position] + octets + content[position + 1 :], WEIGHTS)
    except BundleError as problem:
        assert problem.hint  # noqa: PT017  both outcomes are fine


@needs_openvino
@pytest.mark.parametrize("name", ["linear"])
def test_a_constant_is_never_read_outside_the_weights(name: str):
    xml, weights = converted(name)
    for match in re.finditer(rb'offset="(\d+)"', xml):
        moved = xml[: match.start(1)] + str(len(weights)).encode() + xml[match.end(1) :]
        with pytest.raises(BundleError, match="bytes of weights"):
            check_ir(moved, weights)


def with_ir(bundle: Path) -> Path:
    """Turn a bundle into one for OpenVINO."""
    from mstedge.export.openvino_ir import ir_from_onnx

    xml, weights = ir_from_onnx((bundle / "model.onnx").read_bytes())
    (bundle / "model.xml").write_bytes(xml)
    (bundle / "model.bin").write_bytes(weights)
    change_json(bundle, "parity/report.json", target="openvino")
    return change_manifest(bundle, target="openvino", ir={"model": "model.xml", "weights": "model.bin"})


@needs_openvino
def test_a_bundle_for_openvino_opens_and_runs_its_ir(bundle: Path):
    opened = open_bundle(with_ir(bundle))
    assert opened.manifest.ir is not None
    predictor = open_predictor(bundle, backend=None, threads=EngineOptions(threads=1).threads)
    assert predictor.session.backend.startswith("openvino ")
    logits = predictor.session.run(opened.golden_features())
    assert abs(logits - opened.golden_logits()).max() < 1e-4


@needs_openvino
@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_a_bundle_for_openvino_that_lacks_a_file_is_refused(bundle: Path, name: str):
    (with_ir(bundle) / name).unlink()
    with pytest.raises(BundleError, match=f"lacks '{name}'"):
        open_bundle(seal(bundle))


@needs_openvino
def test_a_bundle_whose_ir_breaks_a_limit_is_refused(bundle: Path):
    path = with_ir(bundle) / "model.xml"
    path.write_bytes(path.read_bytes().replace(b'version="opset1"', b'version="extension"'))
    with pytest.raises(BundleError, match=r"model\.xml: uses the layer 'Parameter' of 'extension'"):
        open_bundle(seal(bundle))


@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_an_ir_that_the_manifest_does_not_name_is_refused(bundle: Path, name: str):
    (bundle / name).write_bytes(b"<net/>")
    with pytest.raises(BundleError, match=f"{re.escape(name)}: the manifest does not name this file of OpenVINO's"):
        open_bundle(seal(bundle))


def test_a_manifest_that_names_an_ir_without_its_target_is_refused(bundle: Path):
    manifest = msgspec.json.decode((bundle / "manifest.json").read_bytes())
    assert manifest["target"] == "onnx"
    with pytest.raises(BundleError, match="the files are those of another"):
        open_bundle(change_manifest(bundle, ir={"model": "model.xml", "weights": "model.bin"}))
