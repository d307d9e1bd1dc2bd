"""What an inference engine must offer to run the network of a bundle."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mstedge.errors import SampleError, UsageError

if TYPE_CHECKING:
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
    """

    onnx: bytes
    input: Tensor
    output: Tensor
    precision: Precision
    ir: tuple[bytes, bytes] | None = None


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine shall compute.

    Attributes:
        threads: Threads for one inference; none for all cores that this process may use.
    """

    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads is {self.threads}: expected 1 or more")

    @property
    def thread_count(self) -> int:
        """Threads that will be used."""
        return usable_cores() if self.threads is None else self.threads


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
        """Threads of one inference."""

    def run(self, features: Floats) -> Floats:
        """Compute logits.

        Args:
            features: Samples, float32 [batch, *shape].

        Returns:
            Logits, float32 [batch, classes].

        Raises:
            SampleError: The features have another shape or type, or the engine could not compute them.
        """


class Backend(Protocol):
    """An inference engine."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    def available(self) -> Availability:
        """Find out whether it can be used here."""

    def load(self, network: Network, options: EngineOptions) -> EngineSession:
        """Make a network ready to run.

        Args:
            network: Its files and what the manifest says about them.
            options: How to compute.

        Raises:
            BundleError: The model cannot be read, or is not what the manifest says.
            MachineError: The engine is missing, or too old for the model.
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
