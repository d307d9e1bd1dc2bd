"""A stand-in for TensorRT that builds plans and runs them: onnx's reference computes, on the stand-in for CUDA.

It answers for names, shapes, memory, streams and the order of calls; it proves nothing about a GPU. Names follow the
bindings of TensorRT 10.3 and 11.4.
"""

from __future__ import annotations

import ctypes
import json
import math
import sys
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from fake_cudart import FakeCudart
from fake_tensorrt import FakeBuilder, FakeTensorRt11, FakeTensorRt103
from onnx.reference import ReferenceEvaluator

from mstedge.engine_build import Gpu
from mstedge.runtime.trt.gpu import GpuState

MAGIC = b"plan of a fake\n"
ORIN = GpuState(Gpu(name="Orin", compute_capability="8.7"), "")
TYPES = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.FLOAT16: "HALF", onnx.TensorProto.INT64: "INT64"}
PRODUCTS = {"Gemm", "MatMul"}


class FakeDevice:
    """A made-up machine: its CUDA, its TensorRT, and what was asked of them."""

    def __init__(self, folder: Path, version: type[FakeTensorRt103 | FakeTensorRt11]) -> None:
        self.cudart = FakeCudart(folder)
        self.module = running(version(), self.cudart)

    def install(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        """Let mstedge find this machine instead of the one that it runs on."""
        monkeypatch.setenv("MSTEDGE_CACHE", str(cache))
        monkeypatch.setitem(sys.modules, "tensorrt", self.module)
        monkeypatch.setattr("mstedge.runtime.trt.gpu.find_gpu", lambda **_: ORIN)
        monkeypatch.setattr("mstedge.runtime.trt.cudart_library.load_cudart", lambda: self.cudart.library)

    @property
    def builds(self) -> int:
        """Engines that were built."""
        return len(self.module.values_of("build"))


def running(module: Any, cudart: FakeCudart) -> Any:
    """Give a fake that builds the means to parse real graphs and to run what it builds."""
    module.cudart = cudart
    module.contexts = []
    module.refuses_plans = 0
    module.TensorIOMode = IntEnum("TensorIOMode", {"NONE": 0, "INPUT": 1, "OUTPUT": 2})
    module.OnnxParser = GraphParser
    module.Builder = lambda logger: GraphBuilder(module, logger)
    module.Runtime = lambda logger: GraphRuntime(module, logger)
    return module


class GraphBuilder(FakeBuilder):
    def create_network(self, flags: int) -> GraphNetwork:
        self.module.asked.append(("network flags", flags))
        return GraphNetwork(self.module)

    def build_serialized_network(self, network: Any, config: Any) -> bytes:
        self.module.asked.append(("build", config.profiling_verbosity.name))
        ((_, shapes),) = self.module.values_of("profile")[-1].items()
        header = {"version": self.module.__version__, "profile": shapes}
        return MAGIC + json.dumps(header).encode() + b"\n" + network.model


class GraphParser:
    def __init__(self, network: GraphNetwork, _logger: Any) -> None:
        self.network, self.num_errors = network, 0

    def parse(self, model: bytes) -> bool:
        self.network.model = model
        self.network.graph = onnx.load_from_string(model).graph
        return True


class GraphNetwork:
    def __init__(self, module: Any) -> None:
        self.module, self.model, self.graph = module, b"", onnx.GraphProto()

    num_inputs = property(lambda self: len(self.graph.input))
    num_outputs = property(lambda self: len(self.graph.output))
    num_layers = property(lambda self: len(self.graph.initializer) + len(self.graph.node))

    def get_input(self, number: int) -> SimpleNamespace:
        return tensor_of(self.graph.input[number])

    def get_output(self, number: int) -> SimpleNamespace:
        return tensor_of(self.graph.output[number])

    def get_layer(self, number: int) -> SimpleNamespace:
        constants = self.graph.initializer
        if number < len(constants):
            return layer(constants[number].name, "CONSTANT", [], [constants[number].name])
        node = self.graph.node[number - len(constants)]
        kind = "MATRIX_MULTIPLY" if node.op_type in PRODUCTS else "SHUFFLE"
        return layer(node.name or node.op_type, kind, list(node.input), list(node.output))


class GraphRuntime:
    def __init__(self, module: Any, logger: Any) -> None:
        self.module, self.logger, self.engine_host_code_allowed = module, logger, False

    def deserialize_cuda_engine(self, plan: bytes) -> GraphEngine | None:
        self.module.asked.append(("deserialise", len(plan)))
        header, _, model = plan.removeprefix(MAGIC).partition(b"\n")
        if not plan.startswith(MAGIC) or self.module.refuses_plans:
            self.module.refuses_plans = max(0, self.module.refuses_plans - 1)
            self.logger.log(SimpleNamespace(name="ERROR"), "the plan is from somewhere else")
            return None
        return GraphEngine(self.module, json.loads(header)["profile"], model)


class GraphEngine:
    def __init__(self, module: Any, profile: list[list[int]], model: bytes) -> None:
        self.module, self.profile = module, profile
        graph = onnx.load_from_string(model).graph
        self.evaluator = ReferenceEvaluator(onnx.load_from_string(model))
        self.inputs = [tensor_of(each) for each in graph.input]
        self.outputs = [tensor_of(each) for each in graph.output]

    num_io_tensors = property(lambda self: len(self.inputs) + len(self.outputs))

    def get_tensor_name(self, number: int) -> str:
        return str((self.inputs + self.outputs)[number].name)

    def get_tensor_mode(self, name: str) -> IntEnum:
        mode = self.module.TensorIOMode
        return mode.INPUT if name in {each.name for each in self.inputs} else mode.OUTPUT  # type: ignore[no-any-return]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensor(name).shape)

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return self._tensor(name).dtype  # type: ignore[no-any-return]

    def get_tensor_profile_shape(self, _name: str, number: int) -> list[list[int]]:
        assert number == 0
        return self.profile

    def create_execution_context(self) -> GraphContext:
        context = GraphContext(self)
        self.module.contexts.append(context)
        return context

    def _tensor(self, name: str) -> Any:
        return next(each for each in self.inputs + self.outputs if each.name == name)


class GraphContext:
    def __init__(self, engine: GraphEngine) -> None:
        self.engine = engine
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.shapes_set = self.runs = 0

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        self.shapes_set += 1
        smallest, _, largest = self.engine.profile
        self.shape = shape
        return smallest[0] <= shape[0] <= largest[0]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if not self.shape or len(self.addresses) != self.engine.num_io_tensors:
            return False
        shape, addresses = self.shape, dict(self.addresses)
        (taken,), (given,) = self.engine.inputs, self.engine.outputs

        def work() -> None:
            self.runs += 1
            features = floats_at(addresses[taken.name], shape).copy()
            (logits,) = self.engine.evaluator.run(None, {taken.name: features})
            floats_at(addresses[given.name], logits.shape)[...] = logits

        self.engine.module.cudart.enqueue(stream, work)
        return True


def floats_at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """Look at memory that C has taken."""
    return np.ctypeslib.as_array((ctypes.c_float * math.prod(shape)).from_address(address)).reshape(shape)


def tensor_of(value: onnx.ValueInfoProto) -> SimpleNamespace:
    kind = value.type.tensor_type
    shape = tuple(-1 if size.dim_param else size.dim_value for size in kind.shape.dim)
    return SimpleNamespace(name=value.name, shape=shape, dtype=SimpleNamespace(name=TYPES[kind.elem_type]))


def layer(name: str, kind: str, inputs: list[str], outputs: list[str]) -> SimpleNamespace:
    def named(names: list[str]) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=each, dtype=SimpleNamespace(name="FLOAT")) for each in names]

    return SimpleNamespace(
        name=name,
        type=SimpleNamespace(name=kind),
        num_inputs=len(inputs),
        num_outputs=len(outputs),
        get_input=named(inputs).__getitem__,
        get_output=named(outputs).__getitem__,
    )
