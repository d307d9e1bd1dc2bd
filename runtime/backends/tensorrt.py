"""TensorRT 10.3 to 11 on an NVIDIA GPU, with engines from this machine's own cache and from nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mstedge.errors import BundleError, MachineError, UsageError, nearest
from mstedge.runtime.backends.affinity import require_cores
from mstedge.runtime.backends.protocol import Availability, EngineOptions

if TYPE_CHECKING:
    from mstedge.engine_build import EngineBuild
    from mstedge.runtime.backends.protocol import Network
    from mstedge.runtime.trt.cudart import Cuda
    from mstedge.runtime.trt.library import TensorRt
    from mstedge.runtime.trt.making import ReadyEngine
    from mstedge.runtime.trt.session import TensorRtSession

_COUNTING_TYPES = {"int32", "int64", "bool"}


class TensorRtBackend:
    """TensorRT: the fastest engine where its GPU is."""

    name = "tensorrt"

    def available(self) -> Availability:
        """Find out whether there is a GPU, a TensorRT that is new enough for our graphs, and CUDA's runtime."""
        try:
            library, _ = _found(0)
        except MachineError as problem:
            return Availability(available=False, reason=problem.message, hint=problem.hint)
        gpu = library.gpu.name if library.gpu else ""
        reason = f"tensorrt {library.version} is installed, the GPU is {gpu}"
        return Availability(available=True, reason=reason, version=library.version)

    def devices(self) -> tuple[str, ...]:
        """Name the devices that can be asked for here."""
        return ("cuda",) if self.available().available else ()

    def load(self, network: Network, options: EngineOptions) -> TensorRtSession:
        """Make a network ready to run, and build its engine first where the cache has none that fits; see the protocol.

        Raises:
            CheckFailedError: The graph is not of the precision that the manifest claims.
        """
        number = _number_of(options.device)
        library, cuda = _found(number)
        if options.affinity is not None:
            require_cores(options.affinity)
        _check_file(network, library)
        session = _Loading(network, options, library, cuda).session()
        if options.cuda_graphs:
            try:
                session.record_graph()
            except BaseException:
                session.close()
                raise
        return session


@dataclass(slots=True)
class _Loading:
    """One network on its way to the device.

    Attributes:
        network: What shall run.
        options: How.
        library: TensorRT.
        cuda: The device.
        told: What was noted on the way.
    """

    network: Network
    options: EngineOptions
    library: TensorRt
    cuda: Cuda
    told: list[str] = field(default_factory=list)

    def session(self) -> TensorRtSession:
        """Bring the engine to life; one that the cache has, and TensorRT cannot read, is built again, once."""
        from mstedge.runtime.trt.loaded_engine import UnreadablePlanError  # noqa: PLC0415  heavy, and seldom needed

        ready = self._ready("")
        try:
            return self._opened(ready)
        except UnreadablePlanError as problem:
            if ready.built_because:
                raise
            return self._opened(self._ready(problem.message))

    def _ready(self, distrusted: str) -> ReadyEngine:
        from mstedge.runtime.trt.making import ready_engine  # noqa: PLC0415  heavy, and seldom needed

        try:
            return ready_engine(self.network, self.library, self._tell, distrusted=distrusted)
        except BundleError as problem:
            raise _not_loaded(self.library, problem) from problem

    def _opened(self, ready: ReadyEngine) -> TensorRtSession:
        from mstedge.runtime.trt.loaded_engine import LoadedEngine  # noqa: PLC0415  heavy, and seldom needed
        from mstedge.runtime.trt.session import SessionFacts, TensorRtSession  # noqa: PLC0415  likewise

        self.cuda.use_device()
        engine = LoadedEngine(self.library, ready.plan, self.network.recipe)
        try:
            engine.check(self.network)
        except BundleError as problem:
            engine.close()
            raise _not_loaded(self.library, problem) from problem
        facts = SessionFacts(
            backend=f"tensorrt {self.library.version}",
            device=f"CUDA:{self.cuda.number} {self.library.gpu.name if self.library.gpu else ''}".strip(),
            precision=self.network.precision,
            arithmetic=_arithmetic(ready.record),
            settings=self._settings(ready),
            notes=(*self.told, *ready.record.notes),
        )
        return TensorRtSession(engine, self.cuda, self.network, facts, spinning=self.options.spinning)

    def _settings(self, ready: ReadyEngine) -> dict[str, str]:
        profile = ready.record.profile
        smallest, best, largest = (shape[0] for shape in (profile.smallest, profile.best, profile.largest))
        return {
            "engine": f"built now: {ready.built_because}" if ready.built_because else "from this machine's cache",
            "batches": f"{smallest} to {largest} rows at once, tuned for {best}",
            "TF32": "off",
            "CUDA": self.cuda.version,
            "driver": self.library.driver,
            "memory": "pinned on the host, 1 stream",
            "spinning": "as CUDA decides" if self.options.spinning else "off",
            "affinity": "none: there are no threads but the caller's",
        }

    def _tell(self, text: str) -> None:
        self.told.append(self.options.tell(text))


def _found(number: int) -> tuple[TensorRt, Cuda]:
    """Find a GPU, TensorRT and CUDA's runtime, in this order: without the first, the second may crash on import.

    Raises:
        MachineError: One of them is missing, or too old.
    """
    from mstedge.runtime.environment import l4t_release  # noqa: PLC0415  what follows starts a process
    from mstedge.runtime.trt import cudart_library, gpu, library  # noqa: PLC0415  likewise
    from mstedge.runtime.trt.cudart import Cuda  # noqa: PLC0415  likewise

    state = gpu.find_gpu(number=number)
    try:
        found = library.find_library("tensorrt", state, l4t=l4t_release())
    except MachineError as problem:
        why = problem.message if state.gpu or state.reason in problem.message else f"{problem.message}; {state.reason}"
        raise MachineError(why, hint=problem.hint) from None
    return found, Cuda(cudart_library.load_cudart(), number)


def _number_of(device: str | None) -> int:
    """Read a device: `cuda`, `cuda:1`; none is the first GPU.

    Raises:
        UsageError: It is another kind of device.
    """
    found = re.fullmatch(r"(?:cuda|gpu)(?::([0-9]{1,2}))?", (device or "cuda").strip().lower())
    if found is None:
        raise UsageError(f"tensorrt knows no device {device!r}", hint=nearest(str(device), ["cuda", "cuda:1"]))
    return int(found[1] or 0)


def _check_file(network: Network, library: TensorRt) -> None:
    """Hold the file against the limits first: a parser of C++ should not be the first to read it."""
    from mstedge.runtime.bundle.onnx_limits import check_onnx  # noqa: PLC0415  likewise

    try:
        check_onnx(network.onnx)
    except BundleError as problem:
        raise _not_loaded(library, problem) from problem


def _not_loaded(library: TensorRt, problem: BundleError) -> BundleError:
    return BundleError(f"the model cannot be loaded by {library.title}: {problem.message}", hint=problem.hint)


def _arithmetic(record: EngineBuild) -> str:
    """Say what the network's layers give, like `float16 and float32`; shapes and indices do not count."""
    return " and ".join(sorted(set(record.dtypes) - _COUNTING_TYPES)) or "nothing"
