"""The search for layers that must stay in fp32: it finds the guilty one, names it, and gives up in words."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import onnx
import pytest
import torch
from every_student import STUDENTS, graph_of
from graph_answers import answers, tensors_of_case

from mstedge.errors import CheckFailedError
from mstedge.export.onnx_graph import onnx_from_network
from mstedge.export.quantise.int8 import Form, int8_from_graph, prepared, quantisable_nodes
from mstedge.export.quantise.ranges import ranges_of
from mstedge.export.quantise.search import MixedInt8, _counts, mixed_int8
from mstedge.limits import LIMITS
from mstedge.runtime.parity.levels import number_checks

CASE = STUDENTS["mlp"]
FORMS: tuple[Form, ...] = ("uint8", "symmetric")


@cache
def uneven_graph() -> bytes:
    """Give a student that answers as before, with one hidden unit a hundred thousand times as loud as the others."""
    network = CASE.make()
    first = next(module for module in network.trunk if isinstance(module, torch.nn.Linear))
    with torch.no_grad():
        first.weight[0] *= 1e5
        first.bias[0] *= 1e5
        network.hidden.weight[:, 0] *= 1e-5
    return onnx_from_network(network, CASE.input_shape, input_name="sense")


def searched(graph: bytes, form: Form, notes: list[str], *, rows: int = 200) -> MixedInt8:
    ready = prepared(graph)
    ranges = ranges_of(ready, CASE.rows(100, seed=2), "minmax", symmetric=form == "symmetric")
    features = CASE.rows(rows, seed=5)
    source, sink = tensors_of_case(CASE)
    return mixed_int8(
        ready,
        ranges,
        form=form,
        input=source,
        output=sink,
        features=features,
        reference=answers(graph, CASE, features, backend="onnxruntime", precision="fp32"),
        note=notes.append,
    )


def guilty_layer() -> str:
    ready = onnx.load_from_string(prepared(uneven_graph())).graph
    return next(node.name for node in ready.node if "hidden.weight" in node.input)


@pytest.mark.parametrize("form", FORMS)
def test_one_layer_with_an_outlier_breaks_int8_and_the_search_names_it(form: Form) -> None:
    graph, notes = uneven_graph(), []
    features = CASE.rows(200, seed=8)
    expected = answers(graph, CASE, features, backend="onnxruntime", precision="fp32")
    ready = prepared(graph)
    plain = int8_from_graph(
        ready, ranges_of(ready, CASE.rows(100, seed=2), "minmax", symmetric=form == "symmetric"), form=form
    )
    spoilt = answers(plain, CASE, features, backend="onnxruntime", precision="int8")
    assert not all(check.passed for check in number_checks(expected, spoilt, LIMITS["int8"]))

    found = searched(graph, form, notes)
    assert found.kept == (guilty_layer(),)
    assert guilty_layer() in notes[-1]
    assert "with 0 of 3 layers in fp32: L1" in notes[0]
    for backend in ("onnxruntime", "openvino"):
        mixed = answers(found.graph, CASE, features, backend=backend, precision="int8")
        assert all(check.passed for check in number_checks(expected, mixed, LIMITS["int8"]))


def test_layers_are_ranked_by_what_they_cost() -> None:
    found = searched(uneven_graph(), "symmetric", [])
    assert sorted(name for name, _ in found.sensitivities) == sorted(quantisable_nodes(prepared(uneven_graph())))
    assert all(first >= second for (_, first), (_, second) in pairwise(found.sensitivities))
    assert found.sensitivities[0][0] == guilty_layer()
    assert found.sensitivities[0][1] > 10 * found.sensitivities[1][1]


def test_a_student_that_passes_keeps_nothing_and_the_bytes_are_the_same_each_time() -> None:
    first, again = (searched(graph_of("mlp"), "uint8", []) for _ in range(2))
    assert first == again
    assert first.kept == ()


def test_the_search_gives_up_in_words() -> None:
    ready = prepared(graph_of("mlp"))
    ranges = ranges_of(ready, CASE.rows(100, seed=2), "minmax", symmetric=False)
    features = CASE.rows(50, seed=5)
    another = np.roll(answers(graph_of("mlp"), CASE, features, backend="onnxruntime", precision="fp32"), 1, axis=1)
    source, sink = tensors_of_case(CASE)
    with pytest.raises(CheckFailedError, match="not even with all but one of 3 layers in fp32: L1: ") as problem:
        mixed_int8(
            ready,
            ranges,
            form="uint8",
            input=source,
            output=sink,
            features=features,
            reference=another,
            note=lambda _: None,
        )
    assert "--precision fp16" in str(problem.value.hint)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (0, []),
        (1, [0]),
        (2, [0, 1]),
        (5, [0, 1, 2, 3, 4]),
        (12, [0, 1, 2, 3, 4, 6, 8, 11]),
        (14, [0, 1, 2, 3, 4, 6, 8, 12, 13]),
    ],
)
def test_ever_more_layers_are_kept_but_never_all(layers: int, expected: list[int]) -> None:
    assert list(_counts(layers)) == expected
