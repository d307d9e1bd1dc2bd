"""Stand-ins for TensorRT versions that cannot be had without a GPU: what each has, and nothing else.

They build nothing. They answer with one fixed network (features -> product with constant weights -> logits), write down
what they are asked, and raise AttributeError for every name that their version lacks. The names follow the bindings of
TensorRT 10.3 and 11.4.
"""

from __future__ import annotations

from enum import IntEnum
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

KEPT_FLAGS = ("TF32", "VERSION_COMPATIBLE", "REFIT", "STRIP_PLAN", "SPARSE_WEIGHTS", "GPU_FALLBACK", "DIRECT_IO")
PRECISION_FLAGS = (
    *("FP16", "BF16", "INT8", "FP8", "INT4"),
    *("OBEY_PRECISION_CONSTRAINTS", "PREFER_PRECISION_CONSTRAINTS", "REJECT_EMPTY_ALGORITHMS"),
)
PLAN = b"a plan that no runtime can read"
MEASURED = b"tactics"


class FakeTensorRt(ModuleType):
    """A TensorRT module; `asked` lists what was asked of it, in order."""

    def __init__(
        self,
        version: str,
        *,
        builder_flags: tuple[str, ...],
        network_flags: tuple[str, ...],
        config: type[FakeConfig],
        plan: bytes | None = PLAN,
        shape: tuple[int, ...] = (4,),
    ) -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.__spec__ = ModuleSpec("tensorrt", None, origin="a fake")
        self.asked: list[tuple[Any, ...]] = []
        self.BuilderFlag = IntEnum("BuilderFlag", {name: number for number, name in enumerate(builder_flags)})
        numbered = {name: number for number, name in enumerate(network_flags)}
        self.NetworkDefinitionCreationFlag = (
            IntEnum("NetworkDefinitionCreationFlag", numbered) if numbered else SimpleNamespace()
        )
        self.MemoryPoolType = IntEnum("MemoryPoolType", {"WORKSPACE": 0})
        self.ProfilingVerbosity = IntEnum("ProfilingVerbosity", {"LAYER_NAMES_ONLY": 0, "DETAILED": 2})
        self.ILogger = FakeLogger
        self.Builder = lambda logger: FakeBuilder(self, logger)
        self.OnnxParser = FakeParser
        self.config = config
        self.plan = plan
        self.shape = shape

    def values_of(self, what: str) -> list[Any]:
        """List what was asked under one word."""
        return [entry[1] for entry in self.asked if entry[0] == what]


class FakeTensorRt103(FakeTensorRt):
    def __init__(self, **changes: Any) -> None:
        flags = (*PRECISION_FLAGS, *KEPT_FLAGS)
        network_flags = ("EXPLICIT_BATCH", "STRONGLY_TYPED")
        given = {"builder_flags": flags, "network_flags": network_flags, "config": FakeConfig103, **changes}
        super().__init__("10.3.0", **given)


class FakeTensorRt11(FakeTensorRt):
    def __init__(self, **changes: Any) -> None:
        given = {
            "builder_flags": KEPT_FLAGS,
            "network_flags": ("STRONGLY_TYPED",),
            "config": FakeConfig,
            **changes,
        }
        super().__init__("11.4.0.106", **given)


class FakeTensorRtOfTomorrow(FakeTensorRt):
    """A version that has dropped everything that 11 calls ignored or that a build can do without."""

    def __init__(self) -> None:
        super().__init__("12.0.0", builder_flags=("REFIT",), network_flags=(), config=FakeConfigOfTomorrow)


class FakeLogger:
    def __init__(self) -> None: ...


class FakeConfigOfTomorrow:
    __slots__ = ("_module", "profiling_verbosity")

    def __init__(self, module: FakeTensorRt) -> None:
        self._module = module

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self._module.asked.append(("pool", (pool.name, size)))

    def set_flag(self, flag: Any) -> None:
        self._module.asked.append(("set", flag.name))

    def clear_flag(self, flag: Any) -> None:
        self._module.asked.append(("clear", flag.name))

    def add_optimization_profile(self, profile: FakeProfile) -> int:
        self._module.asked.append(("profile", profile.shapes))
        return 0


class FakeConfig(FakeConfigOfTomorrow):
    __slots__ = ("_level",)

    @property
    def builder_optimization_level(self) -> int:
        return 3

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        self._module.asked.append(("level", level))

    def create_timing_cache(self, known: bytes) -> FakeTimingCache:
        return FakeTimingCache(self._module, known)

    def set_timing_cache(self, cache: FakeTimingCache, *, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self._module.asked.append(("timing cache", cache.known))
        return cache.known in {b"", MEASURED}


class FakeConfig103(FakeConfig):
    __slots__ = ("int8_calibrator", "quantization_flags")


class FakeTimingCache:
    def __init__(self, module: FakeTensorRt, known: bytes) -> None:
        self.module, self.known = module, known

    def serialize(self) -> bytes:
        return MEASURED

    def __del__(self) -> None:
        self.module.asked.append(("timing cache gone", self.known))


class FakeProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, Any, Any]] = {}

    def set_shape(self, name: str, smallest: Any, best: Any, largest: Any) -> None:
        self.shapes[name] = (smallest, best, largest)


class FakeBuilder:
    def __init__(self, module: FakeTensorRt, logger: FakeLogger) -> None:
        self.module, self.logger = module, logger

    def create_network(self, flags: int) -> FakeNetwork:
        self.module.asked.append(("network flags", flags))
        return FakeNetwork(self.module)

    def create_builder_config(self) -> FakeConfigOfTomorrow:
        return self.module.config(self.module)

    def create_optimization_profile(self) -> FakeProfile:
        return FakeProfile()

    def build_serialized_network(self, _network: FakeNetwork, config: FakeConfigOfTomorrow) -> bytes | None:
        self.module.asked.append(("build", config.profiling_verbosity.name))
        if self.module.plan is None:
            severity = SimpleNamespace(name="ERROR")
            self.logger.log(severity, "[defaultAllocator.cpp] out of\nmemory")  # type: ignore[attr-defined]
        return self.module.plan


class FakeParser:
    def __init__(self, network: FakeNetwork, _logger: FakeLogger) -> None:
        self.network = network
        self.num_errors = 0

    def parse(self, model: bytes) -> bool:
        self.network.module.asked.append(("parse", model))
        return True


class FakeNetwork:
    num_inputs = num_outputs = 1
    num_layers = 2

    def __init__(self, module: FakeTensorRt) -> None:
        self.module = module

    def get_input(self, _number: int) -> SimpleNamespace:
        return _tensor("features", (-1, *self.module.shape))

    def get_output(self, _number: int) -> SimpleNamespace:
        return _tensor("logits", (-1, 3))

    def get_layer(self, number: int) -> SimpleNamespace:
        weights, logits = _tensor("weights", (4, 3)), _tensor("logits", (-1, 3))
        if number == 0:
            return _layer("weights", "CONSTANT", [], [weights])
        return _layer("product", "MATRIX_MULTIPLY", [self.get_input(0), weights], [logits])


def _tensor(name: str, shape: tuple[int, ...]) -> SimpleNamespace:
    return SimpleNamespace(name=name, shape=shape, dtype=SimpleNamespace(name="FLOAT"))


def _layer(name: str, kind: str, inputs: list[Any], outputs: list[Any]) -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        type=SimpleNamespace(name=kind),
        num_inputs=len(inputs),
        num_outputs=len(outputs),
        get_input=inputs.__getitem__,
        get_output=outputs.__getitem__,
    )
