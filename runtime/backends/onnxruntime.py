"""ONNX Runtime: on the CPU, and where its build has them, CUDA and TensorRT."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mstedge.errors import BundleError, MachineError, MissingPackageError, SampleError, first_line
from mstedge.runtime.backends.affinity import watched_threads
from mstedge.runtime.backends.onnxruntime_providers import (
    CPU_PROVIDER,
    Placement,
    arithmetic_on,
    devices_of,
    install_hint,
    nodes_by_provider,
    placement_of,
    preload_libraries,
    provider_options,
)
from mstedge.runtime.backends.protocol import Availability, EngineOptions, closed_error, require_features
from mstedge.runtime.backends.tensors import EngineTensor, require_logits, require_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mstedge.limits import Precision
    from mstedge.manifest import Tensor
    from mstedge.runtime.backends.protocol import Floats, Network

_FLOAT32 = {"tensor(float)": "float32"}
_LOG_ERRORS = 3
# A pass of 1.24 to 1.32 after which fp16 graphs with a transpose before a matrix product, as attention has, crash
# (microsoft/onnxruntime#28392).
_CRASHES_ON_FP16 = ["MatmulTransposeFusion"]
_TOO_OLD = ("Unsupported model IR version", "opset")


@dataclass(slots=True)
class OnnxRuntimeSession:
    """A network in ONNX Runtime.

    Attributes:
        backend: Engine and its version.
        device: Device that is really used.
        precision: Precision that the graph carries.
        arithmetic: What it computes in.
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
    _engine: Any
    _input: Tensor
    _output: Tensor

    def run(self, features: Floats) -> Floats:
        """Compute logits; see the protocol."""
        require_features(features, self._input.shape)
        engine = self._engine  # another thread may close the session meanwhile
        if engine is None:
            raise closed_error(self.backend)
        try:
            (logits,) = engine.run([self._output.name], {self._input.name: features})
        except Exception as problem:  # the engine's errors share no base class
            raise SampleError(f"{self.backend} could not run the network: {first_line(problem)}") from problem
        return require_logits(logits, len(features), self._output)

    def close(self) -> None:
        """Give the engine back; see the protocol."""
        self._engine = None


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

    def devices(self) -> tuple[str, ...]:
        """Name the devices that the installed build was made for."""
        try:
            import onnxruntime  # noqa: PLC0415  an engine is loaded when it is needed
        except ImportError:
            return ()
        return devices_of(onnxruntime.get_available_providers())

    def load(self, network: Network, options: EngineOptions) -> OnnxRuntimeSession:
        """Make a network ready to run; see the protocol."""
        try:
            import onnxruntime  # noqa: PLC0415  an engine is loaded when it is needed
        except ImportError as problem:
            raise MissingPackageError("onnxruntime", purpose="running a bundle", extra="onnxruntime") from problem
        wanted = placement_of(options.device)
        with watched_threads(options) as watch:
            engine, placement, notes = _placed(onnxruntime, network, options, wanted)
            require_tensor("input", _tensors_of(engine.get_inputs()), network.input)
            require_tensor("output", _tensors_of(engine.get_outputs()), network.output)
            affinity, more = watch.bind(lambda: None)  # its threads are there from the start
        device, nodes, elsewhere = _nodes_of(engine, placement, options)
        return OnnxRuntimeSession(
            backend=f"onnxruntime {onnxruntime.__version__}",
            device=device,
            precision=network.precision,
            arithmetic=arithmetic_on(Placement("cpu") if device == "CPU" else placement, network.precision),
            threads=options.thread_count,
            settings={**_settings_of(engine, options), **affinity, **nodes},
            notes=(*notes, *more, *elsewhere, *_graph_notes(options)),
            _engine=engine,
            _input=network.input,
            _output=network.output,
        )


def _placed(
    onnxruntime: Any, network: Network, options: EngineOptions, wanted: Placement
) -> tuple[Any, Placement, tuple[str, ...]]:
    """Load a network where it was asked for, or where a fallback is allowed, on the CPU.

    ONNX Runtime itself goes on with the CPU, without an error, where a provider is missing or cannot start.
    """
    cpu = Placement("cpu")
    if wanted.kind == "cpu":
        return _engine_from_network(onnxruntime, network, options, cpu), cpu, ()
    why = f"this build of onnxruntime {onnxruntime.__version__} has no {wanted.provider}"
    if wanted.provider in onnxruntime.get_available_providers():
        preload_libraries(onnxruntime)
        try:
            engine = _engine_from_network(onnxruntime, network, options, wanted)
        except MachineError as problem:
            why = problem.message
        else:
            if engine.get_providers()[0] == wanted.provider:
                return engine, wanted, ()
            why = f"onnxruntime {onnxruntime.__version__} could not start its {wanted.provider}"
    from mstedge.runtime.environment import l4t_release  # noqa: PLC0415  seldom needed

    note = options.refuse_or_note(
        f"the device {options.device!r} was asked for: {why}",
        "the CPU is used instead",
        hint=install_hint(wanted, l4t_release()),
    )
    return _engine_from_network(onnxruntime, network, options, cpu), cpu, (note,)


def _engine_from_network(onnxruntime: Any, network: Network, options: EngineOptions, placement: Placement) -> Any:
    cache = _tensorrt_cache() if placement.kind == "tensorrt" else ""
    told = (placement.provider, provider_options(placement, network.precision, cache))
    unwanted = _CRASHES_ON_FP16 if network.precision == "fp16" else []
    try:
        return onnxruntime.InferenceSession(
            network.onnx,
            _session_options(onnxruntime, options, placement),
            providers=[told],
            disabled_optimizers=unwanted,
            enable_fallback=0,
        )
    except Exception as problem:
        text = first_line(problem)
        if any(sign in text for sign in _TOO_OLD):
            raise MachineError(
                f"onnxruntime {onnxruntime.__version__} is too old for this model: {text}",
                hint="pip install --upgrade onnxruntime",
            ) from problem
        if placement.kind != "cpu":
            raise MachineError(f"onnxruntime {onnxruntime.__version__} on {placement.title}: {text}") from problem
        raise BundleError(f"the model cannot be loaded by onnxruntime {onnxruntime.__version__}: {text}") from problem


def _session_options(onnxruntime: Any, options: EngineOptions, placement: Placement) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.thread_count
    settings.inter_op_num_threads = 1
    settings.enable_cpu_mem_arena = True
    # Spinning threads take the cores that the front end and other programs of a small device need.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    # A graph that names other files for its weights finds none: without this they are taken from the current folder.
    settings.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    if placement.kind != "cpu":
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    settings.log_severity_level = _LOG_ERRORS
    return settings


def _tensorrt_cache() -> str:
    """Find the folder for the engines of the TensorRT provider: this machine's own, never the bundle's."""
    from mstedge.runtime.trt.private_files import private_folder  # noqa: PLC0415  seldom needed
    from mstedge.runtime.trt.store import engine_folder  # noqa: PLC0415  likewise

    return str(private_folder(engine_folder() / "onnxruntime"))


def _settings_of(engine: Any, options: EngineOptions) -> dict[str, str]:
    """Read back what the session runs with."""
    said = engine.get_session_options()
    return {
        "threads": f"{options.thread_count} in an operator, 1 operator at a time",
        "spinning": {"0": "off", "1": "on"}[said.get_session_config_entry("session.intra_op.allow_spinning")],
        "memory arena": "on" if said.enable_cpu_mem_arena else "off",
        **{
            provider.removesuffix("ExecutionProvider"): " ".join(f"{key}={value}" for key, value in told.items())
            for provider, told in engine.get_provider_options().items()
            if provider != CPU_PROVIDER
        },
    }


def _nodes_of(engine: Any, placement: Placement, options: EngineOptions) -> tuple[str, dict[str, str], tuple[str, ...]]:
    """Name the device with what stays on the CPU: providers leave there what they lack, without a word."""
    if placement.kind == "cpu":
        return placement.title, {}, ()
    counts = nodes_by_provider(engine)
    if not counts:
        return placement.title, {"nodes": "this version does not tell which provider runs them"}, ()
    shown = {"nodes": ", ".join(f"{count} {provider}" for provider, count in counts.items())}
    left, all_of_them = counts.get("CPU", 0), sum(counts.values())
    if not left:
        return placement.title, shown, ()
    if left == all_of_them:
        why = f"the device {options.device!r} was asked for: {placement.provider} takes none of the model's nodes"
        return "CPU", shown, (options.refuse_or_note(why, "all of them run on the CPU"),)
    note = options.tell(f"{left} of {all_of_them} nodes run on the CPU: {placement.provider} does not take them")
    return f"{placement.title} and CPU", shown, (note,)


def _graph_notes(options: EngineOptions) -> tuple[str, ...]:
    if not options.cuda_graphs:
        return ()
    why = "CUDA graphs were asked for: only the backend tensorrt records them here"
    return (options.refuse_or_note(why, "the network runs without"),)


def _tensors_of(found: list[Any]) -> list[EngineTensor]:
    return [
        EngineTensor(
            name=each.name,
            kind=_FLOAT32.get(each.type, each.type),
            sizes=tuple(size if isinstance(size, int) else None for size in each.shape or ()),
        )
        for each in found
    ]
