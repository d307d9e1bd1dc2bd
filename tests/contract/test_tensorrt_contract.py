"""The TensorRT backend keeps what every backend promises, on a made-up TensorRT and a made-up CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
from backend_contract import BIAS, WEIGHTS, BackendContract, a_model, some_features
from bundle_factory import logits_of
from fake_tensorrt import FakeTensorRt11, FakeTensorRt103
from fake_tensorrt_runtime import FakeDevice

from mstedge.runtime.backends import Backend, EngineOptions, EngineSession

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TensorRtContract(BackendContract):
    name = "tensorrt"
    version: ClassVar[type[FakeTensorRt103 | FakeTensorRt11]]

    @pytest.fixture(autouse=True)
    def device(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDevice]:
        device = FakeDevice(tmp_path, self.version)
        device.install(monkeypatch, tmp_path / "cache")
        return device

    def test_uses_every_usable_core_unless_told_otherwise(self, session: EngineSession) -> None:
        assert session.threads == 1  # the caller's

    @pytest.mark.parametrize("rows", [8, 9, 40])
    def test_batches_larger_than_the_engine_takes_go_in_parts(self, session: EngineSession, rows: int) -> None:
        features = some_features(rows)
        np.testing.assert_allclose(session.run(features), logits_of(features, WEIGHTS, BIAS), atol=1e-5)

    def test_everything_is_given_back(self, backend: Backend, device: FakeDevice) -> None:
        session = self.loaded(backend, a_model(), options=EngineOptions(cuda_graphs=True))
        session.run(some_features(3))
        assert device.cudart.live > 0
        session.close()
        assert device.cudart.live == 0


class TestTensorRt103(TensorRtContract):
    version = FakeTensorRt103


class TestTensorRt11(TensorRtContract):
    version = FakeTensorRt11
