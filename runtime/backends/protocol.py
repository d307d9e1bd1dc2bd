"""What an inference engine must offer to run the network of a bundle."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mstedge.engine_recipe import EngineRecipe
from mstedge.errors import MachineError, SampleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from mstedge.limits import Precision
    from mstedge.manifest import Tensor

    Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether an engine can be used on this machine.

    Attributes:
        available: Whether it can.
        reason: Why, or why not, in words.
        hint: What would make it available.
        version: Version of the engine, where it is there.
    """

    available: bool
    reason: str
    hint: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """A network as files, with what the manifest says about it.

    Attributes:
        onnx: Content of the ONNX file.
        input: What goes in.
        output: What comes out.
        precision: Arithmetic that the graph carries.
        ir: Content of OpenVINO's model.xml and model.bin, where the bundle is for that target.
        recipe: How TensorRT builds its engine.
        name: Name of the bundle, for records.
        kept: Layers that the manifest names as staying in float32.
    """

    onnx: bytes
    input: Tensor
    output: Tensor
    precision: Precision
    ir: tuple[bytes, bytes] | None = None
    recipe: EngineRecipe = field(default_factory=EngineRecipe)
    name: str = "network"
    kept: int = 0


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine shall compute.

    What is asked for and cannot be had is a MachineError, unless `allow_fallback` says that the nearest will do.

    Attributes:
        threads: Threads for one inference; none for all cores that this process may use.
        device: Where to compute, in the engine's words; none for the engine's usual device.
        allow_fallback: Whether something else than what was asked for will do; it is noted then.
        affinity: Cores that the engine's own threads shall stay on; none for all.
        spinning: Whether threads without work wait for more by spinning, which is fast and keeps cores busy.
        cuda_graphs: Whether TensorRT records its work once, as a CUDA graph, and replays it.
        note: Told at once what took another way than asked, or will take minutes; in words.
    """

    threads: int | None = None
    device: str | None = None
    allow_fallback: bool = False
    affinity: tuple[int, ...] | None = None
    spinning: bool = False
    cuda_graphs: bool = False
    note: Callable[[str], None] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads is {self.threads}: expected 1 or more")
        if self.device is not None and not self.device.strip():
            raise UsageError("device is empty: expected a name like 'cpu' or 'cuda'")
        if self.affinity is not None and (not self.affinity or min(self.affinity) < 0):
            raise UsageError(f"affinity is {list(self.affinity)}: expected numbers of cores, 0 or more")

    @property
    def thread_count(self) -> int:
        """Threads that will be used: those asked for, or one for each core."""
        if self.threads is not None:
            return self.threads
        return usable_cores() if self.affinity is None else len(set(self.affinity))

    def tell(self, text: str) -> str:
        """Hand a note on at once, to whom wants it, and give it back."""
        if self.note is not None:
            self.note(text)
        return text

    def refuse_or_note(self, problem: str, instead: str, *, hint: str | None = None) -> str:
        """Refuse what cannot be had, or where a fallback is allowed, note what is done instead.

        Args:
            problem: What was asked for and why it cannot be had.
            instead: What is done where that will do.
            hint: The way to what was asked for.

        Returns:
            The note.

        Raises:
            MachineError: No fallback is allowed.
        """
        if self.allow_fallback:
            return self.tell(f"{problem}: {instead}")
        fallback = f"allow a fallback (--allow-fallback): {instead}"
        raise MachineError(problem, hint=fallback if hint is None else f"{hint}; or {fallback}")


class EngineSession(Protocol):
    """A network that is ready to run; `run` may be called from several threads at once."""

    @property
    def backend(self) -> str:
        """Engine and its version."""

    @property
    def device(self) -> str:
        """Device that is really used."""

    @property
    def precision(self) -> Precision:
        """Precision that the graph carries."""

    @property
    def arithmetic(self) -> str:
        """What the engine computes in: in words; what its layers report where it reports it, as `float32 and int8`."""

    @property
    def threads(self) -> int:
        """Threads of one inference, the caller's own included."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Settings that are really in force, in words: what was set, and what the engine reports where it does."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What took another way than asked, and why; empty where nothing did."""

    def run(self, features: Floats) -> Floats:
        """Compute logits.

        Args:
            features: Samples, float32 [batch, *shape].

        Returns:
            Logits, float32 [batch, classes].

        Raises:
            SampleError: The features have another shape or type, or the engine could not compute them.
            UsageError: The session is closed.
        """

    def close(self) -> None:
        """Give back what the engine holds; closing twice does no harm, a run that is under way ends first."""


class Backend(Protocol):
    """An inference engine."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    def available(self) -> Availability:
        """Find out whether it can be used here."""

    def devices(self) -> tuple[str, ...]:
        """Name the devices that can be asked for here, as `EngineOptions.device` takes them; none where it is not."""

    def load(self, network: Network, options: EngineOptions) -> EngineSession:
        """Make a network ready to run.

        Args:
            network: Its files and what the manifest says about them.
            options: How to compute.

        Raises:
            BundleError: The model cannot be read, or is not what the manifest says.
            MachineError: The engine is missing or too old for the model, or does not have what the options ask for.
            UsageError: It knows no such device.
        """


def usable_cores() -> int:
    """Count the cores that this process may use: its affinity where the system tells it."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_features(features: Floats, shape: tuple[int, ...]) -> None:
    """Refuse features that are not float32 [batch, *shape].

    Args:
        features: What shall be run.
        shape: Shape of one sample.

    Raises:
        SampleError: They have another type or shape, or there are none.
    """
    if str(features.dtype) != "float32":
        raise SampleError(f"features are {features.dtype}: expected float32")
    if features.ndim != len(shape) + 1 or features.shape[1:] != shape or len(features) < 1:
        expected = ", ".join(str(size) for size in shape)
        raise SampleError(f"features have shape {list(features.shape)}: expected [batch, {expected}]")


def closed_error(backend: str) -> UsageError:
    """Make the error of a session that is run after it was closed."""
    return UsageError(f"the session of {backend} is closed", hint="load the bundle again")
