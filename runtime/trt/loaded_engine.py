"""A plan brought to life: TensorRT's objects in the order that they need each other, and what the engine says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mstedge.errors import MachineError
from mstedge.runtime.backends.tensors import EngineTensor, require_tensor
from mstedge.runtime.trt.layers import dtype_word
from mstedge.runtime.trt.messages import errors_in, logger_of

if TYPE_CHECKING:
    from mstedge.engine_recipe import EngineRecipe
    from mstedge.runtime.backends.protocol import Network
    from mstedge.runtime.trt.library import TensorRt


class LoadedEngine:
    """An engine in memory.

    Attributes:
        smallest: Fewest rows of a batch, as the engine says.
        best: Rows that it is tuned for.
        largest: Most rows of a batch.
        logger: Hears what TensorRT says.

    Args:
        library: What built it.
        plan: The serialised engine, from this machine's own cache.
        recipe: How it was built.

    Raises:
        UnreadablePlanError: TensorRT cannot read it.
    """

    def __init__(self, library: TensorRt, plan: bytes, recipe: EngineRecipe) -> None:
        trt = library.module
        self._module, self._title = trt, library.title
        self.logger = logger_of(trt)
        self.logger.heard.clear()
        self._runtime = trt.Runtime(self.logger)
        if recipe.version_compatible and hasattr(self._runtime, "engine_host_code_allowed"):
            # Such a plan holds a small runtime as code of the host; it is our own, from a folder of ours.
            self._runtime.engine_host_code_allowed = True
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            reasons = "; ".join(errors_in(self.logger)) or "it gave no reason"
            raise UnreadablePlanError(f"{library.title} cannot read the engine in this machine's cache: {reasons}")
        self._contexts: list[Any] = []
        self.smallest = self.best = self.largest = 1

    def check(self, network: Network) -> None:
        """Hold the engine's own names, types and shapes against the manifest, and read its batches.

        Raises:
            BundleError: They differ.
        """
        for mode, wanted in (("input", network.input), ("output", network.output)):
            require_tensor(mode, [each for each in self._tensors() if self._mode(each.name) == mode], wanted)
        shapes = self._engine.get_tensor_profile_shape(network.input.name, 0)
        self.smallest, self.best, self.largest = (int(shape[0]) for shape in shapes)

    def new_context(self) -> Any:
        """Make an execution context, which lives as long as the engine.

        Raises:
            MachineError: The device has no room for it.
        """
        context = self._engine.create_execution_context()
        if context is None:
            reasons = "; ".join(errors_in(self.logger)) or "it gave no reason"
            raise MachineError(f"{self._title} cannot make room for the engine on the device: {reasons}")
        self._contexts.append(context)
        return context

    def close(self) -> None:
        """Give the device's memory back: contexts before their engine, the engine before its runtime."""
        self._contexts.clear()
        self._engine = None
        self._runtime = None

    def _tensors(self) -> list[EngineTensor]:
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        return [
            EngineTensor(
                name=name,
                kind=dtype_word(self._engine.get_tensor_dtype(name)),
                sizes=tuple(None if size < 0 else size for size in self._engine.get_tensor_shape(name)),
            )
            for name in names
        ]

    def _mode(self, name: str) -> str:
        return "input" if self._engine.get_tensor_mode(name) == self._module.TensorIOMode.INPUT else "output"


class UnreadablePlanError(MachineError):
    """The plan cannot be brought to life: it has to be built again."""
