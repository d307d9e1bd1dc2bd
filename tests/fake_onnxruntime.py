"""A stand-in for ONNX Runtime with CUDA: the real one computes on the CPU, and says what it is told to say."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import onnxruntime


class FakeGpuBuild(ModuleType):
    """The module; `asked` keeps the providers and the settings of every session.

    Args:
        starts: Whether its CUDA provider starts; otherwise the session runs on the CPU without a word, as the real one.
        nodes: Number of nodes by provider that sessions tell of; none for a version that does not tell.
        fails: What a session on a GPU complains of, if anything.
    """

    def __init__(self, *, starts: bool = True, nodes: dict[str, int] | None = None, fails: str = "") -> None:
        super().__init__("onnxruntime")
        self.__version__ = "1.31.1"
        self.SessionOptions = onnxruntime.SessionOptions
        self.asked: list[SimpleNamespace] = []
        self.starts, self.nodes, self.fails = starts, nodes, fails
        self.InferenceSession = self._session

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        print("Failed to load libcudnn.so.9")  # noqa: T201  the real one does

    def _session(self, model: bytes, settings: Any, **options: Any) -> Any:
        ((provider, told),) = options["providers"]
        self.asked.append(SimpleNamespace(provider=provider, told=told, settings=settings, **options))
        on_gpu = provider != "CPUExecutionProvider"
        if on_gpu and self.fails:
            raise RuntimeError(self.fails)
        real = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        return FakeGpuSession(real, {provider: told} if on_gpu and self.starts else {}, self.nodes)


class FakeGpuSession:
    def __init__(self, real: Any, first: dict[str, dict[str, str]], nodes: dict[str, int] | None) -> None:
        self._real, self._providers = real, {**first, "CPUExecutionProvider": {}}
        if nodes is not None:
            self.get_provider_graph_assignment_info = lambda: [
                SimpleNamespace(ep_name=f"{name}ExecutionProvider", get_nodes=lambda count=count: [None] * count)
                for name, count in nodes.items()
            ]

    def get_providers(self) -> list[str]:
        return list(self._providers)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return self._providers

    def __getattr__(self, name: str) -> Any:
        if name == "get_provider_graph_assignment_info":
            raise AttributeError(name)
        return getattr(self._real, name)
