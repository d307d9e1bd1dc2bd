"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mstedge.errors import BundleError, MachineError, MissingPackageError, SampleError
from mstedge.runtime.backends.protocol import Availability, EngineOptions, require_features

if TYPE_CHECKING:
    from mstedge.manifest import Tensor
    from mstedge.runtime.backends.protocol import Floats
    from mstedge.verdicts import Precision

_PROVIDER = "CPUExecutionProvider"
_DEVICES = {_PROVIDER: "CPU"}
_LOG_ERRORS = 3
_TOO_OLD = ("Unsupported model IR version", "opset")


@dataclass(frozen=True, slots=True)
class OnnxRuntimeSession:
    """A network in ONNX Runtime.

    Attributes:
        backend: Engine and its version.
        device: Device that is really used.
        precision: Arithmetic that is really used.
        threads: Threads of one inference.
    """

    backend: str
    device: str
    precision: Precision
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
            raise SampleError(f"{self.backend} could not run the network: {_first_line(problem)}") from problem
        if logits.shape != (len(features), *self._output.shape):
            raise SampleError(
                f"the network's output {self._output.name!r} has shape {list(logits.shape)}: "
                f"expected {[len(features), *self._output.shape]}"
            )
        return np.asarray(logits, dtype=np.float32)


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

    def load(
        self,
        model: bytes,
        *,
        input: Tensor,  # noqa: A002  the protocol's word
        output: Tensor,
        precision: Precision,
        options: EngineOptions,
    ) -> OnnxRuntimeSession:
        """Make a network ready to run; see the protocol."""
        try:
            import onnxruntime  # noqa: PLC0415  an engine is loaded when it is needed
        except ImportError as problem:
            raise MissingPackageError("onnxruntime", purpose="running a bundle", extra="onnxruntime") from problem
        version = str(onnxruntime.__version__)
        engine = _engine_from_model(onnxruntime, model, options)
        _require_tensor("input", engine.get_inputs(), input)
        _require_tensor("output", engine.get_outputs(), output)
        used = engine.get_providers()[0]
        return OnnxRuntimeSession(
            backend=f"onnxruntime {version}",
            device=_DEVICES.get(used, used),
            precision=precision,
            threads=options.thread_count,
            _engine=engine,
            _input=input,
            _output=output,
        )


def _engine_from_model(onnxruntime: Any, model: bytes, options: EngineOptions) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.thread_count
    settings.inter_op_num_threads = 1
    # Spinning threads take the cores that the front end and other programs of a small device need.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A graph that names other files for its weights finds none: without this they are taken from the current folder.
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    settings.log_severity_level = _LOG_ERRORS
    try:
        return onnxruntime.InferenceSession(model, settings, providers=[_PROVIDER])
    except Exception as problem:
        text = _first_line(problem)
        if any(sign in text for sign in _TOO_OLD):
            raise MachineError(
                f"onnxruntime {onnxruntime.__version__} is too old for this model: {text}",
                hint="pip install --upgrade onnxruntime",
            ) from problem
        raise BundleError(f"the model cannot be loaded by onnxruntime {onnxruntime.__version__}: {text}") from problem


def _require_tensor(role: str, found: list[Any], wanted: Tensor) -> None:
    names = [each.name for each in found]
    if names != [wanted.name]:
        raise BundleError(f"the model has the {role}s {names}: the manifest says {[wanted.name]}")
    (tensor,) = found
    if tensor.type != "tensor(float)":
        raise BundleError(f"the model's {role} {wanted.name!r} is a {tensor.type}: the manifest says {wanted.dtype}")
    batch, *sizes = tensor.shape or [None]
    fits = len(sizes) == len(wanted.shape) and all(
        size == expected or not isinstance(size, int) for size, expected in zip(sizes, wanted.shape, strict=False)
    )
    if isinstance(batch, int) or not fits:
        expected = ", ".join(["batch", *(str(size) for size in wanted.shape)])
        raise BundleError(
            f"the model's {role} {wanted.name!r} has shape {tensor.shape}: expected [{expected}], batch of any size"
        )


def _first_line(problem: Exception) -> str:
    text = str(problem).strip()
    return text.splitlines()[0] if text else type(problem).__name__
