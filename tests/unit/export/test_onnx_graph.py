"""Conversion: named tensors, a dynamic batch, the same bytes each time, nothing of the machine."""

from __future__ import annotations

import getpass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from mstedge.errors import CheckFailedError
from mstedge.export.onnx_graph import OPSET, onnx_from_network
from mstedge.manifest import Tensor as TensorInfo
from mstedge.runtime.backends import EngineOptions, Network, backend_named
from mstedge.runtime.bundle import check_onnx
from mstedge.training.models.networks import Cnn, Mlp, TemporalCnn

STUDENTS = {
    "cnn on log-mel": (Cnn, (1, 21, 24)),
    "cnn on an image": (Cnn, (3, 16, 16)),
    "temporal": (TemporalCnn, (1, 31, 32)),
    "mlp": (Mlp, (5, 7)),
}


def network_and_shape(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    kind, shape = STUDENTS[name]
    torch.manual_seed(1)
    network = kind([shape], 4)
    with torch.no_grad():  # give BatchNorm statistics that matter
        network.train()(torch.randn(64, *shape) * 3 + 1)
    return network.eval(), shape


@pytest.mark.parametrize("name", STUDENTS)
def test_the_graph_answers_as_torch_does_at_every_batch_size(name: str) -> None:
    network, shape = network_and_shape(name)
    model = onnx_from_network(network, shape, input_name="sense")
    session = backend_named("onnxruntime").load(
        Network(model, TensorInfo(name="sense", shape=shape), TensorInfo(name="logits", shape=(4,)), "fp32"),
        EngineOptions(threads=1),
    )
    for batch in (1, 2, 7):
        values = np.random.default_rng(batch).normal(size=(batch, *shape)).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(values)).numpy()
        np.testing.assert_allclose(session.run(values), expected, rtol=1e-5, atol=1e-5)


def test_the_graph_is_named_dynamic_and_within_the_limits_of_bundles() -> None:
    network, shape = network_and_shape("temporal")
    model = onnx_from_network(network, shape, input_name="audio")
    graph = onnx.load_from_string(model).graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["audio", "logits"]
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert check_onnx(model).opset == OPSET


def test_the_same_network_gives_the_same_bytes_and_none_of_the_machine() -> None:
    network, shape = network_and_shape("cnn on log-mel")
    model = onnx_from_network(network, shape, input_name="audio")
    assert onnx_from_network(network, shape, input_name="audio") == model
    for private in (str(Path.home()), str(Path.cwd()), "site-packages", ".py", f"{getpass.getuser()}@"):
        assert private.encode() not in model
    proto = onnx.load_from_string(model)
    assert not proto.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)


def test_what_cannot_be_converted_is_an_error_of_ours() -> None:
    class LeavesTorch(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return torch.from_numpy(np.sort(values.numpy()))

    with pytest.raises(CheckFailedError, match="the network cannot be converted to ONNX"):
        onnx_from_network(LeavesTorch(), (3,), input_name="x")
