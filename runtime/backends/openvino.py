"""OpenVINO, with its execution precision always stated: left alone, it takes bfloat16 or float16 where it can."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mstedge.errors import BundleError, MachineError, MissingPackageError, SampleError
from mstedge.runtime.backends.affinity import watched_threads
from mstedge.runtime.backends.openvino_devices import compiled_on, device_as_given
from mstedge.runtime.backends.openvino_import import import_openvino, openvino_version
from mstedge.runtime.backends.openvino_reports import arithmetic_of, problem_of, settings_of, tensors_of, threads_of
from mstedge.runtime.backends.protocol import Availability, EngineOptions, closed_error, require_features
from mstedge.runtime.backends.tensors import require_logits, require_tensor
from mstedge.runtime.bundle.ir_limits import check_ir
from mstedge.runtime.bundle.onnx_limits import check_onnx

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mstedge.limits import Precision
    from mstedge.manifest import Tensor
    from mstedge.runtime.backends.protocol import Floats, Network

# Said where a newer OpenVINO, or ONNX Runtime, would do.
_LACKS = ("unsupported opset", "No conversion rule found")


@dataclass(slots=True)
class OpenVinoSession:
    """A network in OpenVINO.

    Attributes:
        backend: Engine and its version.
        device: Device that is really used.
        precision: Precision that the graph carries.
        arithmetic: What the engine reports that its layers compute in.
        threads: Threads of one inference.
        settings: Settings that are in force.
        notes: What took another way than asked.
    """

    backend: str
    device: str
    precision: Precision
    arithmetic: str
    threads: int
    settings: Mapping[str, str]
    notes: tuple[str, ...]
    _compiled: Any
    _input: Tensor
    _output: Tensor
    _of_thread: threading.local

    def run(self, features: Floats) -> Floats:
        """Compute logits; see the protocol."""
        require_features(features, self._input.shape)
        compiled, of_thread = self._compiled, self._of_thread  # another thread may close the session meanwhile
        if compiled is None:
            raise closed_error(self.backend)
        try:
            # The request works on the caller's memory and on its own, which the next run overwrites: hence the copy.
            request = _request_of(compiled, of_thread)
            found = request.infer([np.ascontiguousarray(features)], share_inputs=True, share_outputs=True)
            logits = np.array(found[0])
        except Exception as problem:  # the engine's errors share no base class
            raise SampleError(f"{self.backend} could not run the network: {problem_of(problem)}") from problem
        return require_logits(logits, len(features), self._output)

    def close(self) -> None:
        """Give the engine back; see the protocol."""
        self._compiled, self._of_thread = None, threading.local()


def _request_of(compiled: Any, of_thread: threading.local) -> Any:
    """Give this thread its own infer request: one that two threads share is busy for one of them."""
    found = getattr(of_thread, "request", None)
    if found is None:
        found = of_thread.request = compiled.create_infer_request()
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

    def devices(self) -> tuple[str, ...]:
        """Name the devices that OpenVINO finds here."""
        try:
            return tuple(import_openvino().Core().available_devices)
        except ImportError:
            return ()

    def load(self, network: Network, options: EngineOptions) -> OpenVinoSession:
        """Make a network ready to run, from its IR where it has one; see the protocol."""
        try:
            openvino = import_openvino()
        except ImportError as problem:
            raise MissingPackageError("openvino", purpose="running a bundle", extra="openvino") from problem
        engine = f"openvino {openvino_version(openvino)}"
        core, device = openvino.Core(), device_as_given(options.device)
        model = _read(core, network, engine)
        requests = threading.local()
        with watched_threads(options) as watch:
            try:
                compiled, notes = compiled_on(core, model, device, network.precision, options)
            except (BundleError, MachineError):
                raise
            except Exception as problem:
                raise _not_loaded(engine, problem) from problem
            rows = np.zeros((1, *network.input.shape), dtype=np.float32)
            affinity, more = watch.bind(lambda: _request_of(compiled, requests).infer([rows]))
        return OpenVinoSession(
            backend=engine,
            device=" ".join(compiled.get_property("EXECUTION_DEVICES")),
            precision=network.precision,
            arithmetic=arithmetic_of(compiled),
            threads=threads_of(compiled),
            settings={"device asked for": device, **settings_of(compiled), **affinity},
            notes=(*notes, *more, *_left_out(options)),
            _compiled=compiled,
            _input=network.input,
            _output=network.output,
            _of_thread=requests,
        )


def _read(core: Any, network: Network, engine: str) -> Any:
    _check_files(network, engine)
    try:
        model = core.read_model(*(network.ir or (network.onnx, b"")))
    except Exception as problem:
        raise _not_loaded(engine, problem) from problem
    require_tensor("input", tensors_of(model.inputs), network.input)
    require_tensor("output", tensors_of(model.outputs), network.output)
    return model


def _left_out(options: EngineOptions) -> tuple[str, ...]:
    """Refuse or note what OpenVINO has no setting for."""
    wishes = {"spinning threads": options.spinning, "CUDA graphs": options.cuda_graphs}
    return tuple(
        options.refuse_or_note(f"{wish} were asked for: OpenVINO has no such setting", "it runs without")
        for wish, asked in wishes.items()
        if asked
    )


def _check_files(network: Network, engine: str) -> None:
    """Hold the files against the limits first: this engine follows an ONNX file's references to other files."""
    try:
        if network.ir is None:
            check_onnx(network.onnx)
        else:
            check_ir(*network.ir)
    except BundleError as problem:
        raise BundleError(f"the model cannot be loaded by {engine}: {problem.message}", hint=problem.hint) from problem


def _not_loaded(engine: str, problem: Exception) -> BundleError | MachineError:
    text = problem_of(problem)
    if any(sign in text for sign in _LACKS):
        return MachineError(
            f"{engine} cannot do what this model needs: {text}",
            hint="pip install --upgrade openvino, or take the backend onnxruntime",
        )
    return BundleError(f"the model cannot be loaded by {engine}: {text}")
