"""ONNX Runtime keeps what every backend promises, and some of its own."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest
from backend_contract import INPUT, OUTPUT, BackendContract, a_model

from mstedge.errors import MachineError, UsageError
from mstedge.runtime.backends import Backend, EngineOptions, Network, backend_named


class TestOnnxRuntime(BackendContract):
    name = "onnxruntime"
    # Seen: 1.23.2 reads them, 1.32.0 does not.
    refuses_absolute_paths = tuple(map(int, metadata.version("onnxruntime").split(".")[:2])) >= (1, 32)

    def test_device_is_the_cpu(self, backend: Backend) -> None:
        assert self.loaded(backend, a_model()).device == "CPU"

    def test_threads_do_not_spin(self, backend: Backend) -> None:
        engine = self.loaded(backend, a_model())._engine
        assert engine.get_session_options().get_session_config_entry("session.intra_op.allow_spinning") == "0"

    def test_model_from_the_future_is_the_engines_fault(self, backend: Backend) -> None:
        model = a_model()
        model.ir_version = 99
        with pytest.raises(MachineError, match="too old for this model") as caught:
            self.loaded(backend, model)
        assert caught.value.hint == "pip install --upgrade onnxruntime"

    def test_engine_that_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MachineError, match=r"'onnxruntime' cannot be used here: .*not installed") as caught:
            backend_named("onnxruntime")
        assert caught.value.exit_code == 3
        assert caught.value.hint == "pip install 'mstedge[onnxruntime]'"

    def test_engine_that_vanished_after_it_was_asked_for(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MachineError, match="needs the package 'onnxruntime'"):
            backend.load(Network(b"", INPUT, OUTPUT, "fp32"), EngineOptions())


def test_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no backend 'onxruntime'") as caught:
        backend_named("onxruntime")
    assert "did you mean 'onnxruntime'?" in str(caught.value)
