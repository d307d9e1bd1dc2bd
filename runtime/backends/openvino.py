"""OpenVINO on the CPU, with its execution precision always stated: left alone, it takes bfloat16 where it can."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mstedge.errors import BundleError, MachineError, MissingPackageError, SampleError
from mstedge.runtime.backends.openvino_import import import_openvino, openvino_version
from mstedge.runtime.backends.openvino_reports import arithmetic_of, problem_of, tensors_of
from mstedge.runtime.backends.protocol import Availability, EngineOptions, require_features
from mstedge.runtime.backends.tensors import require_logits, require_tensor
from mstedge.runtime.bundle.ir_limits import check_ir
from mstedge.runtime.bundle.onnx_limits import check_onnx

if TYPE_CHECKING:
    from mstedge.limits import Precision
    from mstedge.manifest import Tensor
    from mstedge.runtime.backends.protocol import Floats, Network

_DEVICE = "CPU"
# Said where a newer OpenVINO, or ONNX Runtime, would do.
_LACKS = ("unsupported opset", "No conversion rule found")


@dataclass(frozen=True, slots=True)
class OpenVinoSession:
    """A network in OpenVINO.

    Attributes:
        backend: Engine and its version.
        device: Device that is really used.
        precision: Precision that the graph carries.
        arithmetic: What the engine reports that its layers compute in.
        threads: Threads of one inference.
    """

    backend: str
    device: str
    precision: Precision
    arithmetic: str
    threads: int
    _compiled: Any
    _input: Tensor
    _output: Tensor
    _of_thread: threading.local

    def run(self, features: Floats) -> Floats:
        """Compute logits; see the protocol."""
        require_features(features, self._input.shape)
        try:
            # The request works on the caller's memory and on its own, which the next run overwrites: hence the copy.
            found = self._request().infer([np.ascontiguousarray(features)], share_inputs=True, share_outputs=True)
            logits = np.array(found[0])
        except Exception as problem:  # the engine's errors share no base class
            raise SampleError(f"{self.backend} could not run the network: {problem_of(problem)}") from problem
        return require_logits(logits, len(features), self._output)

    def _request(self) -> Any:
        """Give this thread its own infer request: one that two threads share is busy for one of them."""
        found = getattr(self._of_thread, "request", None)
        if found is None:
            found = self._of_thread.request = self._compiled.create_infer_request()
        return found


class OpenVinoBackend:
    """OpenVINO: Intel's engine, which also runs on ARM."""

    name = "openvino"

    def available(self) -> Availability:
        """Find out whether OpenVINO can be imported here."""
        try:
            version = openvino_version(import_openvino())
        except ImportError as problem:
            missing = problem.name == "openvino"
            reason = "the package 'openvino' is not installed" if missing else f"it cannot be imported: {problem}"
            return Availability(available=False, reason=reason, hint="pip install 'mstedge[openvino]'")
        return Availability(available=True, reason=f"openvino {version} is installed", version=version)

    def load(self, network: Network, options: EngineOptions) -> OpenVinoSession:
        """Make a network ready to run, from its IR where it has one; see the protocol."""
        try:
            openvino = import_openvino()
        except ImportError as problem:
            raise MissingPackageError("openvino", purpose="running a bundle", extra="openvino") from problem
        engine = f"openvino {openvino_version(openvino)}"
        compiled = _compiled(openvino.Core(), network, options, engine)
        return OpenVinoSession(
            backend=engine,
            device=" ".join(compiled.get_property("EXECUTION_DEVICES")),
            precision=network.precision,
            arithmetic=arithmetic_of(compiled),
            threads=int(compiled.get_property("INFERENCE_NUM_THREADS")),
            _compiled=compiled,
            _input=network.input,
            _output=network.output,
            _of_thread=threading.local(),
        )


def _compiled(core: Any, network: Network, options: EngineOptions, engine: str) -> Any:
    _check_files(network, engine)
    try:
        model = core.read_model(*(network.ir or (network.onnx, b"")))
    except Exception as problem:
        raise _not_loaded(engine, problem) from problem
    require_tensor("input", tensors_of(model.inputs), network.input)
    require_tensor("output", tensors_of(model.outputs), network.output)
    try:
        return core.compile_model(model, _DEVICE, _settings(core, network.precision, options))
    except Exception as problem:
        raise _not_loaded(engine, problem) from problem


def _check_files(network: Network, engine: str) -> None:
    """Hold the files against the limits first: this engine follows an ONNX file's references to other files."""
    try:
        if network.ir is None:
            check_onnx(network.onnx)
        else:
            check_ir(*network.ir)
    except BundleError as problem:
        raise BundleError(f"the model cannot be loaded by {engine}: {problem.message}", hint=problem.hint) from problem


def _settings(core: Any, precision: Precision, options: EngineOptions) -> dict[str, Any]:
    return {
        **_precision_settings(core, precision),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": options.thread_count,
        "ENABLE_HYPER_THREADING": True,  # otherwise fewer threads than asked for are taken without a word
        "ENABLE_CPU_PINNING": False,  # a pinned thread waits for its core while others are free
    }


def _precision_settings(core: Any, precision: Precision) -> dict[str, str]:
    """Say what to compute in: float32, or for a float16 graph what each node says, where the CPU has float16.

    A hint of float16 would also take the nodes that the graph keeps in float32; what is not quantised in an int8 graph
    stays float32.
    """
    if precision == "fp16" and "FP16" in core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"):
        return {"EXECUTION_MODE_HINT": "ACCURACY"}
    return {"INFERENCE_PRECISION_HINT": "f32"}


def _not_loaded(engine: str, problem: Exception) -> BundleError | MachineError:
    text = problem_of(problem)
    if any(sign in text for sign in _LACKS):
        return MachineError(
            f"{engine} cannot do what this model needs: {text}",
            hint="pip install --upgrade openvino, or take the backend onnxruntime",
        )
    return BundleError(f"the model cannot be loaded by {engine}: {text}")
