"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mstedge.errors import BundleError, MachineError, MissingPackageError, SampleError, first_line
from mstedge.runtime.backends.protocol import Availability, EngineOptions, require_features
from mstedge.runtime.backends.tensors import EngineTensor, require_logits, require_tensor

if TYPE_CHECKING:
    from mstedge.limits import Precision
    from mstedge.manifest import Tensor
    from mstedge.runtime.backends.protocol import Floats, Network

_PROVIDER = "CPUExecutionProvider"
_FLOAT32 = {"tensor(float)": "float32"}
_DEVICES = {_PROVIDER: "CPU"}
_LOG_ERRORS = 3
# A pass of 1.24 to 1.32 after which fp16 graphs with a transpose before a matrix product, as attention has, crash
# (microsoft/onnxruntime#28392).
_CRASHES_ON_FP16 = ["MatmulTransposeFusion"]
_ARITHMETIC = {
    "fp32": "float32",
    "fp16": "float32 where the CPU has no float16 operator",
    "int8": "int8, and float32 where the graph says so",
}
_TOO_OLD = ("Unsupported model IR version", "opset")


@dataclass(frozen=True, slots=True)
class OnnxRuntimeSession:
    """A network in ONNX Runtime.

    Attributes:
        backend: Engine and its version.
        device: Device that is really used.
        precision: Precision that the graph carries.
        arithmetic: What it computes in.
        threads: Threads of one inference.
    """

    backend: str
    device: str
    precision: Precision
    arithmetic: str
    threads: int
    _engine: Any
    _input: Tensor
    _output: Tensor

    def run(self, features: Floats) -> Floats:
        """Compute logits; see the protocol."""
        require_features(features, self._input.shape)
        try:
            (logits,) = self._engine.run([self._output.name], {self._input.name: features})
        except Exception as problem:  # the engine's errors share no base class
            raise SampleError(f"{self.backend} could not run the network: {first_line(problem)}") from problem
        return require_logits(logits, len(features), self._output)


class OnnxRuntimeBackend:
    """ONNX Runtime: what every device with Python can run."""

    name = "onnxruntime"

    def available(self) -> Availability:
        """Find out whether ONNX Runtime can be imported here."""
        try:
            import onnxruntime  # noqa: PLC0415  an engine is loaded when it is needed
        except ImportError as problem:
            missing = problem.name == "onnxruntime"
            reason = "the package 'onnxruntime' is not installed" if missing else f"it cannot be imported: {problem}"
            return Availability(available=False, reason=reason, hint="pip install 'mstedge[onnxruntime]'")
        version = str(onnxruntime.__version__)
        return Availability(available=True, reason=f"onnxruntime {version} is installed", version=version)

    def load(self, network: Network, options: EngineOptions) -> OnnxRuntimeSession:
        """Make a network ready to run; see the protocol."""
        try:
            import onnxruntime  # noqa: PLC0415  an engine is loaded when it is needed
        except ImportError as problem:
            raise MissingPackageError("onnxruntime", purpose="running a bundle", extra="onnxruntime") from problem
        version = str(onnxruntime.__version__)
        engine = _engine_from_network(onnxruntime, network, options)
        require_tensor("input", _tensors_of(engine.get_inputs()), network.input)
        require_tensor("output", _tensors_of(engine.get_outputs()), network.output)
        used = engine.get_providers()[0]
        return OnnxRuntimeSession(
            backend=f"onnxruntime {version}",
            device=_DEVICES.get(used, used),
            precision=network.precision,
            arithmetic=_ARITHMETIC[network.precision],
            threads=options.thread_count,
            _engine=engine,
            _input=network.input,
            _output=network.output,
        )


def _engine_from_network(onnxruntime: Any, network: Network, options: EngineOptions) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.thread_count
    settings.inter_op_num_threads = 1
    # Spinning threads take the cores that the front end and other programs of a small device need.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A graph that names other files for its weights finds none: without this they are taken from the current folder.
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    settings.log_severity_level = _LOG_ERRORS
    unwanted = _CRASHES_ON_FP16 if network.precision == "fp16" else []
    try:
        return onnxruntime.InferenceSession(network.onnx, settings, providers=[_PROVIDER], disabled_optimizers=unwanted)
    except Exception as problem:
        text = first_line(problem)
        if any(sign in text for sign in _TOO_OLD):
            raise MachineError(
                f"onnxruntime {onnxruntime.__version__} is too old for this model: {text}",
                hint="pip install --upgrade onnxruntime",
            ) from problem
        raise BundleError(f"the model cannot be loaded by onnxruntime {onnxruntime.__version__}: {text}") from problem


def _tensors_of(found: list[Any]) -> list[EngineTensor]:
    return [
        EngineTensor(
            name=each.name,
            kind=_FLOAT32.get(each.type, each.type),
            sizes=tuple(size if isinstance(size, int) else None for size in each.shape or ()),
        )
        for each in found
    ]
