"""OpenVINO keeps what every backend promises, from an ONNX file and from its own IR, and some of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
from backend_contract import BIAS, INPUT, OUTPUT, WEIGHTS, BackendContract, a_model, some_features
from bundle_factory import logits_of

from mstedge.errors import BundleError, CheckFailedError, MachineError, MissingPackageError
from mstedge.runtime.backends import Backend, EngineOptions, EngineSession, Network, backend_named
from mstedge.runtime.backends.openvino import _request_of
from mstedge.runtime.backends.openvino_import import _hidden

if TYPE_CHECKING:
    from pathlib import Path

    from mstedge.manifest import Tensor


WATCHED = """
import sys
seen = []
def watch(event, arguments):
    writing = event == "open" and any(sign in str(arguments[1]) for sign in "wax+")
    if writing or event.split(".")[0] in {"socket", "subprocess"} or event in {"os.mkdir", "os.system", "os.fork"}:
        seen.append((event, str(arguments)))
sys.addaudithook(watch)

import pathlib
import numpy as np
from mstedge.manifest import Tensor
from mstedge.runtime.backends import EngineOptions, Network, backend_named
backend = backend_named("openvino")
content = pathlib.Path(sys.argv[1]).read_bytes()
network = Network(content, Tensor(name="features", shape=(4, 6)), Tensor(name="logits", shape=(3,)), "fp32")
session = backend.load(network, EngineOptions(threads=1))
session.run(np.zeros((2, 4, 6), dtype=np.float32))

import threading
sys.stdout.write(f"{seen} {[each for each in sys.modules if each.startswith('openvino_telemetry')]} ")
sys.stdout.write(str(threading.active_count()))
"""
IMPORTING = """
import sys
asked = []
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "openvino_telemetry":
            asked.append(name)
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Finder())
{importing}
sys.stdout.write(str(bool(asked)))
"""


def ir_of(content: bytes) -> tuple[bytes, bytes]:
    from mstedge.export.openvino_ir import ir_from_onnx

    return ir_from_onnx(content)


class TestOpenVino(BackendContract):
    name = "openvino"

    def test_device_is_the_cpu(self, session: EngineSession) -> None:
        assert session.device == "CPU"

    def test_arithmetic_of_an_fp32_graph_is_float32(self, session: EngineSession) -> None:
        assert session.arithmetic == "float32"

    def test_threads_are_those_that_were_asked_for(self, backend: Backend) -> None:
        assert self.loaded(backend, a_model(), threads=1).threads == 1

    def test_calling_thread_may_use_the_same_cores_afterwards(self, session: EngineSession) -> None:
        before = os.sched_getaffinity(0)
        session.run(some_features(1))
        assert os.sched_getaffinity(0) == before

    def test_every_thread_has_a_request_of_its_own(self, session: EngineSession) -> None:
        def request() -> object:
            return _request_of(session._compiled, session._of_thread)

        requests = [request(), request()]
        other = threading.Thread(target=lambda: requests.append(request()))
        other.start()
        other.join()
        assert requests[0] is requests[1]
        assert requests[2] is not requests[0]

    def test_read_only_features_are_read_where_they_are(self, session: EngineSession) -> None:
        features = some_features(3)
        expected = session.run(features)
        features.setflags(write=False)
        np.testing.assert_array_equal(session.run(features), expected)

    def test_operator_that_it_lacks_is_the_engines_fault(self, backend: Backend) -> None:
        model = a_model()
        model.graph.node[0].op_type = "StringNormalizer"
        with pytest.raises(MachineError, match=r"cannot do what this model needs: .*StringNormalizer") as caught:
            self.loaded(backend, model)
        assert "onnxruntime" in str(caught.value.hint)

    def test_engine_that_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "openvino", None)
        with pytest.raises(MachineError, match=r"'openvino' cannot be used here: .*not installed") as caught:
            backend_named("openvino")
        assert caught.value.hint == "pip install 'mstedge[openvino]'"

    def test_engine_that_vanished_after_it_was_asked_for(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "openvino", None)
        with pytest.raises(MissingPackageError, match="needs the package 'openvino'"):
            backend.load(Network(b"", INPUT, OUTPUT, "fp32"), EngineOptions())

    @pytest.mark.parametrize("form", ["onnx", "ir"])
    def test_computes_the_same_in_both_forms(self, backend: Backend, form: str) -> None:
        content, features = a_model().SerializeToString(), some_features(5)
        network = Network(content, INPUT, OUTPUT, "fp32", ir_of(content) if form == "ir" else None)
        found = backend.load(network, EngineOptions(threads=1)).run(features)
        np.testing.assert_allclose(found, logits_of(features, WEIGHTS, BIAS), atol=1e-5)

    @pytest.mark.usefixtures("backend")
    def test_nothing_is_written_and_nobody_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_bytes(a_model().SerializeToString())
        home = tmp_path / "home"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if name != "CI"}  # telemetry holds back in CI
        places = {name: str(home) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "MSTEDGE_CACHE")}
        command = [sys.executable, "-B", "-c", WATCHED, str(tmp_path / "model.onnx")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=home, env={**kept, **places})
        assert done.stdout == "[] [] 1"
        assert list(home.iterdir()) == []

    @pytest.mark.usefixtures("backend")
    @pytest.mark.parametrize(
        ("importing", "asked"),
        [
            ("import openvino", "True"),
            ("from mstedge.runtime.backends.openvino_import import import_openvino; import_openvino()", "False"),
        ],
        ids=["left alone", "ours"],
    )
    def test_telemetry_is_looked_for_only_when_left_alone(self, importing: str, asked: str) -> None:
        script = IMPORTING.format(importing=importing)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == asked


class TestOpenVinoFromIr(BackendContract):
    """The same promises for its own form of the model; models that are no models have none."""

    name = "openvino"

    def network(self, content: bytes, taken: Tensor, given: Tensor) -> Network:
        try:
            ir = ir_of(content)
        except CheckFailedError:  # what cannot be converted is handed on as it is
            ir = (content, b"")
        return Network(b"not looked at", taken, given, "fp32", ir)

    def test_truncated_weights_are_refused(self, backend: Backend) -> None:
        xml, weights = ir_of(a_model().SerializeToString())
        with pytest.raises(BundleError, match=r"there are .* bytes of weights"):
            backend.load(Network(b"", INPUT, OUTPUT, "fp32", (xml, weights[:-1])), EngineOptions())

    def test_newer_operators_are_the_engines_fault(self, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
        xml, weights = ir_of(a_model().SerializeToString())
        monkeypatch.setattr("mstedge.runtime.bundle.ir_limits._OPSETS", {f"opset{number}" for number in range(99)})
        newer = xml.replace(b'"MatMul" version="opset1"', b'"MatMul" version="opset98"')
        assert newer != xml
        with pytest.raises(MachineError, match="unsupported opset: opset98") as caught:
            backend.load(Network(b"", INPUT, OUTPUT, "fp32", (newer, weights)), EngineOptions())
        assert "pip install --upgrade openvino" in str(caught.value.hint)


def test_telemetry_that_others_brought_stays_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("openvino_telemetry")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", theirs)
    with _hidden("openvino_telemetry"):
        assert sys.modules["openvino_telemetry"] is theirs
    assert sys.modules["openvino_telemetry"] is theirs
