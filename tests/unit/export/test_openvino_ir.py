"""OpenVINO's IR: the same bytes in every process, nothing of the machine, and what the ONNX file computes."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from every_student import STUDENTS, graph_of

from mstedge.errors import CheckFailedError, MissingPackageError
from mstedge.export.openvino_ir import ir_from_onnx
from mstedge.export.quantise.half import half_from_graph
from mstedge.export.quantise.int8 import int8_from_graph, prepared
from mstedge.export.quantise.ranges import ranges_of
from mstedge.limits import PRECISIONS, Precision
from mstedge.manifest import Tensor
from mstedge.runtime.backends import BACKENDS, EngineOptions, EngineSession, Network, backend_named
from mstedge.runtime.bundle import check_ir

AVAILABLE = BACKENDS["openvino"].available()
needs_openvino = pytest.mark.skipif(not AVAILABLE.available, reason=AVAILABLE.reason)
# Between them they use every operator that students use.
NAMES = ("temporal", "attention", "volume", "segmenter")
DIGEST = (
    "import hashlib, pathlib, sys\n"
    "from mstedge.export.openvino_ir import ir_from_onnx\n"
    "ir_from_onnx(pathlib.Path(sys.argv[1]).read_bytes())\n"
    "xml, weights = ir_from_onnx(pathlib.Path(sys.argv[1]).read_bytes())\n"
    "sys.stdout.write(hashlib.sha256(xml + weights).hexdigest())"
)


@cache
def model_of(name: str, precision: Precision) -> bytes:
    if precision == "fp16":
        return half_from_graph(graph_of(name))
    if precision == "int8":
        fp32 = prepared(graph_of(name))
        ranges = ranges_of(fp32, STUDENTS[name].rows(64, seed=800), "minmax", symmetric=True)
        return int8_from_graph(fp32, ranges, form="symmetric")
    return graph_of(name)


@cache
def ir_of(name: str, precision: Precision) -> tuple[bytes, bytes]:
    return ir_from_onnx(model_of(name, precision))


def loaded(name: str, precision: Precision, *, from_ir: bool) -> EngineSession:
    source = Tensor(name="sense", shape=STUDENTS[name].input_shape)
    sink = Tensor(name="logits", shape=STUDENTS[name].output_shape)
    ir = ir_of(name, precision) if from_ir else None
    network = Network(model_of(name, precision), source, sink, precision, ir)
    return backend_named("openvino").load(network, EngineOptions(threads=1))


@needs_openvino
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMES)
def test_ir_computes_what_its_onnx_file_does(name: str, precision: Precision):
    one, other = (loaded(name, precision, from_ir=from_ir) for from_ir in (False, True))
    assert one.arithmetic == other.arithmetic
    for rows in (1, 2, 7):
        features = STUDENTS[name].rows(rows, seed=rows)
        np.testing.assert_array_equal(one.run(features), other.run(features))


@needs_openvino
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_process_writes_the_same_bytes(precision: Precision, tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(model_of("temporal", precision))
    expected = hashlib.sha256(b"".join(ir_of("temporal", precision))).hexdigest()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", DIGEST, str(tmp_path / "model.onnx")]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert done.stdout == expected
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@needs_openvino
@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_machine_or_the_version_is_in_it(name: str):
    xml, _ = ir_of(name, "fp32")
    text = xml.decode()
    private = (platform.node(), getpass.getuser(), tempfile.gettempdir(), str(Path.home()), str(Path.cwd()))
    assert not [word for word in private if len(word) > 3 and word in text]
    assert str(AVAILABLE.version) not in text
    assert not re.search(r"20[0-9]{2}-[01][0-9]|rt_info|Constant_\d", text)


@needs_openvino
def test_document_holds_no_white_space_between_tags():
    xml, weights = ir_of("temporal", "fp32")
    assert not re.search(rb">\s+<|\s+/>", xml)
    check_ir(xml, weights)


@needs_openvino
def test_precision_is_the_graphs_own():
    xml, weights = ir_of("temporal", "fp32")
    assert b'element_type="f16"' not in xml
    half_xml, half_weights = ir_of("temporal", "fp16")
    assert b'element_type="f16"' in half_xml
    assert len(half_weights) < 0.6 * len(weights)
    int8_xml, int8_weights = ir_of("temporal", "int8")
    assert b'element_type="i8"' in int8_xml
    assert len(int8_weights) < 0.4 * len(weights)


@needs_openvino
def test_what_cannot_be_converted_is_told_in_one_line():
    import onnx

    model = onnx.load_from_string(graph_of("temporal"))
    model.graph.node[0].op_type = "StringNormalizer"
    with pytest.raises(CheckFailedError, match=r"OpenVINO cannot convert the graph: .*StringNormalizer"):
        ir_from_onnx(model.SerializeToString())


@needs_openvino
def test_other_files_that_a_graph_names_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import onnx
    from onnx.external_data_helper import set_external_data

    model = onnx.load_from_string(graph_of("temporal"))
    tensor = next(each for each in model.graph.initializer if each.raw_data)
    (tmp_path / "weights.bin").write_bytes(tensor.raw_data)
    monkeypatch.chdir(tmp_path)
    set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")
    with pytest.raises(CheckFailedError, match="external data"):
        ir_from_onnx(model.SerializeToString())


def test_missing_openvino_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPackageError) as caught:
        ir_from_onnx(b"")
    assert caught.value.hint == "pip install 'mstedge[openvino]'"
