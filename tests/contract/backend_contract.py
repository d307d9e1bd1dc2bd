"""What every backend promises, written once: subclass it, name the backend, and every promise is a test."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
from bundle_factory import LABELS, logits_of, model_of, network_weights

from mstedge.errors import BundleError, MachineError, SampleError, UsageError
from mstedge.manifest import Tensor
from mstedge.runtime.backends import BACKENDS, EngineOptions, Network, backend_named, usable_cores
from mstedge.specs import ArraySpec

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from mstedge.runtime.backends import Backend, EngineSession

SHAPE = (4, 6)
INPUT = Tensor(name="features", shape=SHAPE)
OUTPUT = Tensor(name="logits", shape=(len(LABELS),))
WEIGHTS, BIAS = network_weights(ArraySpec(shape=SHAPE), 0)


def a_model() -> onnx.ModelProto:
    return model_of(SHAPE, WEIGHTS, BIAS)


def some_features(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, *SHAPE)).astype(np.float32)


class BackendContract:
    """The promises; `name` is what the backend is called."""

    refuses_absolute_paths = True

    name: ClassVar[str]

    @pytest.fixture
    def backend(self) -> Backend:
        if not BACKENDS[self.name].available().available:
            pytest.skip(f"{self.name}: {BACKENDS[self.name].available().reason}")
        return backend_named(self.name)

    @pytest.fixture
    def session(self, backend: Backend) -> EngineSession:
        return self.loaded(backend, a_model())

    def loaded(
        self,
        backend: Backend,
        model: onnx.ModelProto | bytes,
        *,
        threads: int | None = None,
        options: EngineOptions | None = None,
        **tensors: Tensor,
    ) -> EngineSession:
        content = model if isinstance(model, bytes) else model.SerializeToString()
        network = self.network(content, tensors.get("input", INPUT), tensors.get("output", OUTPUT))
        return backend.load(network, options or EngineOptions(threads=threads))

    def network(self, content: bytes, taken: Tensor, given: Tensor) -> Network:
        """Wrap a model for the backend; a backend that runs another form than ONNX overrides this."""
        return Network(content, taken, given, "fp32")

    def test_says_which_version_it_is(self, backend: Backend) -> None:
        found = backend.available()
        assert found.version
        assert found.version in found.reason
        assert backend.name == self.name

    @pytest.mark.parametrize("rows", [1, 2, 7])
    def test_computes_what_the_graph_says_at_every_batch_size(self, session: EngineSession, rows: int) -> None:
        features = some_features(rows)
        logits = session.run(features)
        assert logits.dtype == np.float32
        assert logits.shape == (rows, len(LABELS))
        np.testing.assert_allclose(logits, logits_of(features, WEIGHTS, BIAS), atol=1e-5)

    def test_leaves_the_features_alone_and_takes_them_read_only(self, session: EngineSession) -> None:
        features = some_features(2)
        before = features.copy()
        features.setflags(write=False)
        session.run(features)
        np.testing.assert_array_equal(features, before)

    def test_takes_features_that_are_not_contiguous(self, session: EngineSession) -> None:
        features = some_features(6)
        np.testing.assert_allclose(session.run(features[::2]), session.run(features)[::2], atol=1e-5)

    def test_results_do_not_share_memory(self, session: EngineSession) -> None:
        first = session.run(some_features(1, seed=1))
        kept = first.copy()
        session.run(some_features(1, seed=2))
        np.testing.assert_array_equal(first, kept)

    def test_threads_may_share_a_session(self, session: EngineSession) -> None:
        inputs = [some_features(1, seed=seed) for seed in range(64)]
        expected = [session.run(one) for one in inputs]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(session.run, inputs))
        np.testing.assert_array_equal(np.stack(found), np.stack(expected))

    def test_reports_what_was_really_used(self, backend: Backend) -> None:
        session = self.loaded(backend, a_model(), threads=1)
        assert session.backend == f"{self.name} {backend.available().version}"
        assert session.device
        assert session.precision == "fp32"
        assert session.arithmetic
        assert session.threads == 1

    def test_uses_every_usable_core_unless_told_otherwise(self, session: EngineSession) -> None:
        assert session.threads == usable_cores()

    def test_settings_in_force_are_told_in_words(self, session: EngineSession) -> None:
        assert all(isinstance(key, str) and isinstance(value, str) and value for key, value in session.settings.items())
        assert "affinity" in session.settings
        assert len(session.settings) > 3

    def test_nothing_is_noted_where_all_is_as_asked(self, backend: Backend) -> None:
        again = [self.loaded(backend, a_model(), threads=1) for _ in range(2)]
        assert again[-1].notes == ()

    def test_closed_session_refuses_and_closing_twice_does_no_harm(self, session: EngineSession) -> None:
        session.run(some_features(1))
        session.close()
        session.close()
        with pytest.raises(UsageError, match=rf"the session of {self.name} \S+ is closed"):
            session.run(some_features(1))

    def test_closing_waits_for_nobody_and_harms_nobody(self, session: EngineSession) -> None:
        features = some_features(1)
        expected, wrong = session.run(features), []

        def run_until_closed() -> None:
            try:
                while True:
                    wrong.extend([found for found in [session.run(features)] if not np.array_equal(found, expected)])
            except UsageError:
                return

        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(run_until_closed) for _ in range(4)]
            time.sleep(0.05)
            session.close()
        assert all(run.exception() is None for run in runs)
        assert wrong == []

    def test_devices_that_can_be_asked_for_can_be_had(self, backend: Backend) -> None:
        assert backend.devices()
        for device in backend.devices():
            session = self.loaded(backend, a_model(), options=EngineOptions(device=device))
            assert session.device.upper().startswith(device.upper())

    def test_device_that_is_not_known_is_refused(self, backend: Backend) -> None:
        with pytest.raises((UsageError, MachineError), match=r"(?i)no-such-device"):
            self.loaded(backend, a_model(), options=EngineOptions(device="no-such-device"))

    def test_cores_that_are_not_there_are_refused(self, backend: Backend) -> None:
        with pytest.raises(MachineError, match=r"cores \[4095\] were asked for: this process may use"):
            self.loaded(backend, a_model(), options=EngineOptions(affinity=(4095,)))

    def test_refuses_no_threads(self) -> None:
        with pytest.raises(UsageError, match="threads is 0: expected 1 or more"):
            EngineOptions(threads=0)

    @pytest.mark.parametrize(
        ("features", "message"),
        [
            (some_features(2).astype(np.float64), "features are float64: expected float32"),
            (some_features(2).astype(np.float16), "features are float16: expected float32"),
            (some_features(2)[0], r"features have shape \[4, 6\]: expected \[batch, 4, 6\]"),
            (some_features(2)[:, :, :5], r"features have shape \[2, 4, 5\]: expected \[batch, 4, 6\]"),
            (some_features(2)[:0], r"features have shape \[0, 4, 6\]: expected \[batch, 4, 6\]"),
        ],
        ids=["float64", "float16", "no batch", "other shape", "no row"],
    )
    def test_refuses_other_features(self, session: EngineSession, features: np.ndarray, message: str) -> None:
        with pytest.raises(SampleError, match=message):
            session.run(features)

    @pytest.mark.parametrize("content", [b"", b"not a model", a_model().SerializeToString()[:-40]])
    def test_refuses_what_is_no_model(self, backend: Backend, content: bytes) -> None:
        with pytest.raises(BundleError, match=r"cannot be (loaded|read|run) by"):
            self.loaded(backend, content)

    @pytest.mark.parametrize(
        ("role", "tensor", "message"),
        [
            ("input", Tensor(name="sound", shape=SHAPE), r"inputs \['features'\]: the manifest says \['sound'\]"),
            ("output", Tensor(name="classes", shape=(3,)), r"outputs \['logits'\]: the manifest says \['classes'\]"),
            ("input", Tensor(name="features", shape=(4, 7)), r"input 'features' .*expected \[batch, 4, 7\]"),
            ("input", Tensor(name="features", shape=(4, 6, 1)), r"input 'features' .*expected \[batch, 4, 6, 1\]"),
            ("output", Tensor(name="logits", shape=(5,)), r"output 'logits' .*expected \[batch, 5\]"),
        ],
        ids=["input name", "output name", "input shape", "input rank", "output shape"],
    )
    def test_refuses_a_model_that_is_not_what_the_manifest_says(
        self, backend: Backend, role: str, tensor: Tensor, message: str
    ) -> None:
        with pytest.raises(BundleError, match=message):
            self.loaded(backend, a_model(), **{role: tensor})

    def test_refuses_a_frozen_batch(self, backend: Backend) -> None:
        model = a_model()
        for tensor in (*model.graph.input, *model.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_value = 1
        with pytest.raises(BundleError, match="batch of any size"):
            self.loaded(backend, model)

    @pytest.mark.parametrize("where", ["beside", "absolute", "above"])
    def test_refuses_weights_in_other_files(
        self, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
    ) -> None:
        from onnx.external_data_helper import set_external_data

        if where == "absolute" and not self.refuses_absolute_paths:
            pytest.skip("this version reads absolute paths; open_bundle refuses such a model before any engine sees it")
        (tmp_path / "below").mkdir()
        (tmp_path / "weights.bin").write_bytes(WEIGHTS.tobytes())
        monkeypatch.chdir(tmp_path / "below" if where == "above" else tmp_path)
        names = {"beside": "weights.bin", "absolute": str(tmp_path / "weights.bin"), "above": "../weights.bin"}
        model = a_model()
        set_external_data(model.graph.initializer[0], names[where])
        model.graph.initializer[0].ClearField("raw_data")
        with pytest.raises(BundleError, match=r"cannot be (loaded|read|run) by"):
            self.loaded(backend, model)
