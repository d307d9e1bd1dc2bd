"""The product against the straightforward way of training: in float64 the loss of every step of every stage is equal.

Same first weights, same batches; the oracle has hooks, full attention weights, no freezing and nothing kept, the
product whatever saves time. 1e-9 relative is far above what rounding does (2e-14 was seen), and far below what a slip
does: a temperature that is wrong by one part in four thousand moves a loss by 8e-6.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle_runs import check, farthest, in_float64, losses_of_product, map_dataset, oracle_of, picture_dataset
from tiny_training import tiny_dataset, tiny_recipe

from mstedge.recipe import Recipe

PICTURE = (1, 12, 10)
SIDES = (32, 64)


@pytest.fixture
def _float64() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)


pytestmark = pytest.mark.usefixtures("_float64")


def stages(masks: str = "isolated", **distill: Any) -> dict[str, Any]:
    """Give short stages; `distill` changes the third."""
    return {
        "collaborative": {"epochs": 2},
        "specialise": {"epochs": 2, "masks": masks},
        "distill": {"epochs": 3} | distill,
    }


@pytest.mark.parametrize("masks", ["isolated", "cumulative"])
@pytest.mark.parametrize("top_k", [1, 2])
def test_vector_taps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: str, top_k: int) -> None:
    recipe = tiny_recipe(stages=stages(masks, top_k=top_k))
    check(recipe, tiny_dataset(recipe), tmp_path, monkeypatch)


@pytest.mark.parametrize("masks", ["isolated", "cumulative"])
@pytest.mark.parametrize("top_k", [1, 2])
def test_map_taps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: str, top_k: int) -> None:
    recipe = picture_recipe(stages(masks, top_k=top_k))
    check(recipe, picture_dataset(recipe, PICTURE), tmp_path, monkeypatch)


def test_schedules_over_many_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(stages=stages(epochs=32, kl_weight=0.7, balance_weight=2.0, learning_rate=1e-3))
    check(recipe, tiny_dataset(recipe), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "distill",
    [
        {"routing": "soft"},
        {"routing": "straight_through", "top_k": 2},
        {"routing": "mean", "balance": "cv"},
        {"routing": "unmasked"},
        {"routing": "correctness", "gate_input": "detached"},
        {"routing": "gate", "gate_input": "detached", "balance": "cv"},
    ],
    ids=str,
)
def test_other_ways_to_route(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distill: dict[str, Any]) -> None:
    recipe = tiny_recipe(stages=stages(**distill))
    check(recipe, tiny_dataset(recipe, unlabelled=True), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "change", [{"temperature": 3.999}, {"optimiser": {"learning_rate": 0.01001, "batch_rows": 16}}]
)
def test_a_slip_of_a_thousandth_would_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    recipe = tiny_recipe(stages=stages())
    setup = in_float64(recipe, tiny_dataset(recipe))
    expected = dict(oracle_of(setup).steps())
    changed = in_float64(tiny_recipe(stages=stages(), **change), tiny_dataset(recipe))
    assert farthest(losses_of_product(changed, tmp_path, monkeypatch), expected) > 1e-6


@pytest.mark.parametrize("targets", ["memory", "file", "routed"])
@pytest.mark.parametrize("distill", [{"top_k": 2}, {"routing": "correctness"}, {"routing": "unmasked"}], ids=str)
def test_wherever_targets_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, targets: str, distill: dict[str, Any]
) -> None:
    recipe = tiny_recipe(stages=stages(**distill), cache={"targets": targets, "max_bytes": 0})
    check(recipe, tiny_dataset(recipe, unlabelled=True), tmp_path, monkeypatch)


@pytest.mark.parametrize("masks", ["isolated", "cumulative"])
def test_augmented_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: str) -> None:
    varied = {"sense": {"noise": 0.3}, "picture": {"noise": 0.1, "shift": [2, 1], "mask_rows": 3}}
    recipe = picture_recipe(stages(masks), augment=varied)
    check(recipe, picture_dataset(recipe, PICTURE), tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("masks", "targets", "distill"),
    [
        ("isolated", "memory", {"top_k": 2}),
        ("cumulative", "routed", {"top_k": 2}),
        ("isolated", "routed", {"routing": "correctness"}),
        ("isolated", "memory", {"routing": "soft", "balance": "cv"}),
    ],
    ids=str,
)
def test_maps_as_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: str, targets: str, distill: dict[str, Any]
) -> None:
    short = {"collaborative": {"epochs": 1}, "specialise": {"epochs": 1, "masks": masks}}
    recipe = map_recipe(short | {"distill": {"epochs": 2} | distill}, cache={"targets": targets})
    check(recipe, map_dataset(recipe, SIDES, {"train": 8, "validation": 3, "test": 2}), tmp_path, monkeypatch)


def picture_recipe(three: dict[str, Any], **changes: Any) -> Recipe:
    """A vector student beside teachers that are tapped at maps: two in the helper, as published for AV-MNIST."""
    cnn = {"channels": [6, 9], "hidden": 12}
    teachers = [
        {"name": "both", "modalities": ["picture", "sense"], "network": "fusion", "taps": ["trunks.0.4", "hidden"]},
        {"name": "helper", "modalities": ["picture"], "network": "cnn", "taps": ["trunk.0", "trunk.4"], "options": cnn},
    ]
    teachers[0]["options"] = cnn
    return tiny_recipe(
        modalities={"sense": {"kind": "array", "shape": [8]}, "picture": {"kind": "array", "shape": list(PICTURE)}},
        teachers=teachers,
        stages=three,
        **changes,
    )


def map_recipe(three: dict[str, Any], **changes: Any) -> Recipe:
    """FuseNet at a tiny width, tapped as published for NYU-Depth-V2; without dropout, which draws for itself."""
    narrow = {"channels": [3, 3, 6, 6, 6], "dropout": 0.0}
    names = ("rgb", "depth")
    teachers = [
        {"name": "both", "modalities": names, "network": "fusenet", "taps": ["fused", "decoder.block5"]},
        {"name": "depth", "modalities": ["depth"], "network": "fusenet-depth", "taps": ["encoder.block5"]},
    ]
    return tiny_recipe(
        modalities={name: {"kind": "array", "shape": [size, *SIDES]} for name, size in zip(names, (3, 1), strict=True)},
        student={"modality": "rgb", "network": "fusenet-rgb", "options": narrow},
        teachers=[each | {"options": narrow} for each in teachers],
        optimiser={"learning_rate": 0.003, "batch_rows": 3},
        labels={"fraction": 1.0},
        stages=three,
        **changes,
    )
