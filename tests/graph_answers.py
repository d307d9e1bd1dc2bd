"""What a student's graph answers in an engine, on one thread."""

from __future__ import annotations

import numpy as np
from every_student import StudentCase
from numpy.typing import NDArray

from mstedge.limits import Precision
from mstedge.manifest import Tensor
from mstedge.runtime.backends import EngineOptions, Network, backend_named


def tensors_of_case(case: StudentCase) -> tuple[Tensor, Tensor]:
    return Tensor(name="sense", shape=case.input_shape), Tensor(name="logits", shape=case.output_shape)


def answers(
    graph: bytes, case: StudentCase, features: NDArray[np.float32], *, backend: str, precision: Precision
) -> NDArray[np.float32]:
    source, sink = tensors_of_case(case)
    network = Network(graph, source, sink, precision)
    return backend_named(backend).load(network, EngineOptions(threads=1)).run(features)
