"""Students for the edge as ONNX: the answers of torch at every batch size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mstedge.export.onnx_graph import onnx_from_network
from mstedge.manifest import Tensor
from mstedge.runtime.backends import EngineOptions, Network, backend_named
from mstedge.runtime.bundle import check_onnx
from mstedge.training.models.registry import build_network


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("ds-cnn", (1, 25, 10), {}),
        ("bc-resnet", (1, 21, 32), {"sub_bands": 4}),
        ("mobilenet-v3-small", (1, 28, 28), {"width": 0.25}),
    ],
)
def test_the_graph_answers_as_torch_does_at_every_batch_size(
    name: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    torch.manual_seed(1)
    network = build_network(name, [shape], 4, options)
    with torch.no_grad():  # give BatchNorm statistics that matter
        for _ in range(10):
            network.train()(torch.randn(32, *shape) * 3 + 1)
    model = onnx_from_network(network.eval(), shape, input_name="sense")
    assert not {"Shape", "Loop", "If", "Pad"} & set(check_onnx(model).operators)  # sizes are settled, padding is folded
    session = backend_named("onnxruntime").load(
        Network(model, Tensor(name="sense", shape=shape), Tensor(name="logits", shape=(4,)), "fp32"),
        EngineOptions(threads=1),
    )
    for batch in (1, 2, 7):
        values = np.random.default_rng(batch).normal(1, 3, size=(batch, *shape)).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(values)).numpy()
        np.testing.assert_allclose(session.run(values), expected, rtol=1e-5, atol=1e-5)
