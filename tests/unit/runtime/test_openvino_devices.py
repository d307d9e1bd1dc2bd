"""Where OpenVINO computes, and what it says of its settings."""

from __future__ import annotations

import os

import pytest
from bundle_factory import model_bytes, network_weights

from mstedge.errors import MachineError
from mstedge.manifest import Tensor
from mstedge.runtime.backends import BACKENDS, EngineOptions, EngineSession, Network, backend_named
from mstedge.runtime.backends.openvino_devices import compile_settings, device_as_given
from mstedge.specs import ArraySpec

MODEL = model_bytes((4, 6), *network_weights(ArraySpec(shape=(4, 6)), 0))

pytestmark = pytest.mark.skipif(not BACKENDS["openvino"].available().available, reason="openvino is not installed")


def load(options: EngineOptions) -> EngineSession:
    network = Network(MODEL, Tensor(name="features", shape=(4, 6)), Tensor(name="logits", shape=(3,)), "fp32")
    return backend_named("openvino").load(network, options)


class FakeCore:
    """A machine with an Intel GPU, as far as compiling asks."""

    available_devices = ("CPU", "GPU")

    def get_property(self, device: str, name: str) -> list[str]:
        assert name == "OPTIMIZATION_CAPABILITIES"
        return {"CPU": ["FP32"], "GPU": ["FP32", "FP16"]}[device]


@pytest.mark.parametrize("device", ["AUTO", "auto:cpu", "MULTI:CPU", "HETERO:CPU"])
def test_devices_above_others_compute_in_float32_and_say_so(device: str) -> None:
    session = load(EngineOptions(device=device, threads=1))
    assert session.device == "CPU"
    assert session.settings["device asked for"] == device.upper()
    assert session.settings["inference precision"] == "f32"
    assert (session.threads, session.settings["pinning"], session.notes) == (1, "off", ())


def test_settings_are_what_openvino_reports() -> None:
    settings = load(EngineOptions(threads=2)).settings
    assert (settings["threads"], settings["hint"], settings["inference precision"]) == ("2", "latency", "f32")


def test_device_that_is_not_here_is_refused_with_those_that_are() -> None:
    if any(device.startswith("GPU") for device in backend_named("openvino").devices()):
        pytest.skip("there is a GPU for OpenVINO here")
    with pytest.raises(MachineError, match="'GPU' was asked for, and OpenVINO cannot use it here") as caught:
        load(EngineOptions(device="gpu"))
    assert "OpenVINO finds here: CPU" in str(caught.value.hint)
    assert "intel-opencl-icd" in str(caught.value.hint)
    session = load(EngineOptions(device="GPU", allow_fallback=True))
    assert session.device == "CPU"
    assert "the CPU is used instead" in session.notes[0]


@pytest.mark.parametrize("options", [EngineOptions(spinning=True), EngineOptions(cuda_graphs=True)])
def test_what_it_has_no_setting_for_is_refused(options: EngineOptions) -> None:
    with pytest.raises(MachineError, match="OpenVINO has no such setting"):
        load(options)


def test_affinity_is_bound_or_not_had() -> None:
    """Its threads may be those of an earlier session in this process: then they cannot be told from others."""
    core = min(os.sched_getaffinity(0))
    session = load(EngineOptions(threads=2, affinity=(core,), allow_fallback=True))
    assert session.settings["affinity"].startswith(f"cores {core} for") or "no thread of its own" in session.notes[0]


def test_a_gpu_is_told_nothing_that_is_the_cpus() -> None:
    settings = compile_settings(FakeCore(), "GPU", "fp32", EngineOptions(threads=1))
    assert settings == {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


def test_auto_tells_every_device_its_own_precision() -> None:
    settings = compile_settings(FakeCore(), "AUTO:GPU,CPU", "fp16", EngineOptions(threads=1))
    below = settings["DEVICE_PROPERTIES"]
    assert below["GPU"]["EXECUTION_MODE_HINT"] == "ACCURACY"
    assert below["CPU"]["INFERENCE_PRECISION_HINT"] == "f32"
    assert settings["ENABLE_STARTUP_FALLBACK"] is False


def test_device_is_written_in_capitals() -> None:
    assert device_as_given(" auto:gpu,cpu ") == "AUTO:GPU,CPU"
    assert device_as_given(None) == "CPU"
