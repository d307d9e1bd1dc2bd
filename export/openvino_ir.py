"""From ONNX to OpenVINO's own form: an XML document and its weights, the same bytes every time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from mstedge.errors import CheckFailedError, MissingPackageError
from mstedge.manifest import IR_NAME, IR_WEIGHTS_NAME
from mstedge.runtime.backends.openvino_import import import_openvino
from mstedge.runtime.backends.openvino_reports import problem_of
from mstedge.runtime.bundle.ir_limits import check_ir
from mstedge.runtime.bundle.onnx_limits import check_onnx

_HEAD = '<?xml version="1.0"?>'


def ir_from_onnx(onnx: bytes) -> tuple[bytes, bytes]:
    """Convert a graph to OpenVINO's IR; the precision is the graph's own.

    Nothing of the machine, of the version of OpenVINO or of earlier conversions is in it.

    Args:
        onnx: The graph, in one file.

    Returns:
        The XML document and the weights.

    Raises:
        MissingPackageError: OpenVINO is not installed.
        CheckFailedError: OpenVINO cannot convert the graph, or graph or result are what no bundle may carry.
    """
    try:
        openvino = import_openvino()
    except ImportError as problem:
        raise MissingPackageError("openvino", purpose="export --target openvino", extra="openvino") from problem
    check_onnx(onnx)  # OpenVINO follows a graph's references to other files
    try:
        model = openvino.Core().read_model(onnx, b"")
        xml, weights = _files_of(openvino, model)
    except Exception as problem:  # its errors share no base class
        raise CheckFailedError(f"OpenVINO cannot convert the graph: {problem_of(problem)}") from problem
    xml = _shortened(xml)
    check_ir(xml, weights)
    return xml, weights


def _files_of(openvino: Any, model: Any) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory(prefix="mstedge-") as folder:
        document = Path(folder) / IR_NAME
        openvino.save_model(model, str(document), compress_to_fp16=False)
        return document.read_bytes(), (Path(folder) / IR_WEIGHTS_NAME).read_bytes()


def _shortened(xml: bytes) -> bytes:
    """Leave out what no engine reads: white space, versions, and shapes of inputs, which are those of outputs.

    Layers are named after their type and number: OpenVINO's own names count all that a process has ever made.
    """
    root = ET.fromstring(xml)  # noqa: S314  OpenVINO has just written it
    for element in root.iter():
        element.text = (element.text or "").strip() or None
        element.tail = None
        for noise in element.findall("rt_info"):
            element.remove(noise)
    for layer in root.iter("layer"):
        layer.set("name", f"{layer.get('type')}_{layer.get('id')}")
        for port in layer.findall("input/port"):
            port.attrib.pop("precision", None)
            for size in list(port):
                port.remove(size)
    # A ">" inside a value is written as "&gt;", so that " />" only ends tags.
    return (_HEAD + ET.tostring(root, encoding="unicode").replace(" />", "/>")).encode()
