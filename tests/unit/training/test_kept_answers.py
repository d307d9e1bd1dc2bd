"""What frozen networks give is kept where it fits and is met again; whether it is kept changes no loss."""

from __future__ import annotations

import gc
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from oracle_runs import farthest, in_float64, losses_of_product, picture_dataset
from tiny_training import ROWS, table_of, tiny_recipe, whole_batch
from torch import Tensor, nn

from mstedge.errors import ConfigError, MachineError
from mstedge.recipe import Recipe
from mstedge.recipe_stages import Cache
from mstedge.training.data.dataset import Dataset
from mstedge.training.engine import make_engine
from mstedge.training.method import targets as targets_module
from mstedge.training.method.answers import (
    KeptAnswers,
    LiveAnswers,
    all_logits,
    answers_of,
    evaluating,
    logits_bytes,
    pieces,
)
from mstedge.training.method.members import Crossings, Sharing
from mstedge.training.method.setup import Setup, make_setup
from mstedge.training.method.specialise import SpecialisePhase
from mstedge.training.method.tapped import TappedFeatures, tapped_features
from mstedge.training.method.targets import RoutedTargets, TableTargets, targets_of, targets_plan

PICTURE = (1, 12, 10)
CNN = {"channels": [6, 9], "hidden": 12}
TEACHERS = [
    {"name": "both", "modalities": ["picture", "sense"], "network": "fusion", "taps": ["trunks.0.4", "hidden"]},
    {"name": "helper", "modalities": ["picture"], "network": "cnn", "taps": ["trunk.4"]},
]
VARIED = {"sense": {"noise": 0.1}}


def recipe_of(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "modalities": {"sense": {"kind": "array", "shape": [8]}, "picture": {"kind": "array", "shape": list(PICTURE)}},
        "teachers": [each | {"options": CNN} for each in TEACHERS],
        "stages": {"collaborative": {"epochs": 1}, "specialise": {"epochs": 2}, "distill": {"epochs": 2, "top_k": 2}},
    }
    return tiny_recipe(**values | changes)


def dataset_of(recipe: Recipe) -> Dataset:
    return picture_dataset(recipe, PICTURE)


@pytest.fixture(scope="module")
def made() -> Setup:
    """Make networks that are frozen and in evaluation mode, as stage 2 has them."""
    recipe = recipe_of()
    threads = torch.get_num_threads()
    setup = make_setup(recipe, dataset_of(recipe), make_engine(recipe.engine))
    torch.set_num_threads(threads)
    for member in setup.members:
        member.network.eval().requires_grad_(requires_grad=False)
    return setup


def with_cache(setup: Setup, **cache: Any) -> Setup:
    return replace(setup, recipe=msgspec.structs.replace(setup.recipe, cache=msgspec.convert(cache, Cache)))


def varied(setup: Setup) -> Setup:
    return replace(setup, recipe=msgspec.structs.replace(setup.recipe, augment=recipe_of(augment=VARIED).augment))


def bytes_of(crossings: Crossings | None) -> int:
    """Add up what tensors take, those that several taps share once."""
    assert crossings is not None
    each = {values.data_ptr(): values for crossing in crossings.values() for values in crossing}
    return sum(values.nbytes for values in each.values())


@pytest.fixture(scope="module")
def sizes(made: Setup) -> tuple[int, int]:
    """Measure what the features at the taps of both members take for all rows."""
    rows = made.train.take(torch.arange(len(made.train))).features
    one, other = (bytes_of(sharing.crossings(rows)) for sharing in made.sharings)
    assert one != other
    return one, other


# Features at taps.


def test_kept_or_not_every_loss_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[int, dict[str, float]] = {}
    for most in (0, 1 << 30):
        recipe = recipe_of(cache={"max_bytes": most, "targets": "memory"})
        torch.set_default_dtype(torch.float64)
        try:
            with monkeypatch.context() as patched:
                setup = in_float64(recipe, dataset_of(recipe))
                found[most] = losses_of_product(setup, tmp_path, patched)
                kept = [each.kept for each in SpecialisePhase(setup)._tapped]
                assert kept == [most > 0] * 2
        finally:
            torch.set_default_dtype(torch.float32)
    assert len(found[0]) == 4 * (1 + 2 * 3 + 2)
    assert farthest(found[0], found[1 << 30]) < 1e-12


@pytest.mark.parametrize(
    ("most", "passes", "kept"),
    [
        (lambda one, other: one + other, 2, [True, True]),
        (lambda one, other: one + other, 1, [False, False]),
        (lambda one, other: one + other - 1, 2, [True, False]),
        (lambda one, _other: one, 9, [True, False]),
        (lambda one, _other: one - 1, 2, [False, True]),
        (lambda _one, other: other - 1, 2, [False, False]),
        (lambda _one, _other: 0, 2, [False, False]),
    ],
)
def test_no_more_is_kept_than_the_recipe_allows(
    made: Setup, sizes: tuple[int, int], most: Any, passes: int, kept: list[bool]
) -> None:
    assert sizes[1] < sizes[0], "the cases above are written for this"
    limit = most(*sizes)
    found = tapped_features(with_cache(made, max_bytes=limit), made.sharings, passes)
    assert [each.kept for each in found] == kept
    assert sum(bytes_of(each._kept) for each in found if each.kept) <= limit
    for size, each in zip(sizes, found, strict=True):
        assert not each.kept or bytes_of(each._kept) == size


def test_varied_features_are_never_kept(made: Setup) -> None:
    setup = varied(with_cache(made, max_bytes=1 << 30))
    assert [each.kept for each in tapped_features(setup, made.sharings, 5)] == [False, False]


def test_a_member_that_cannot_be_cut_keeps_nothing(made: Setup) -> None:
    whole = [Sharing(each.member, each.teachers, None) for each in made.sharings]
    found = tapped_features(with_cache(made, max_bytes=1 << 30), whole, 5)
    assert [each.kept for each in found] == [False, False]
    assert found[0].at(whole_batch(made)) is None


def test_kept_features_are_those_of_the_rows_of_a_batch(made: Setup) -> None:
    batch = whole_batch(made)
    order = torch.tensor([7, 3, 59, 3, 0])
    some = replace(batch, index=order, features=made.train.take(order).features, labels=batch.labels[order])
    for sharing, each in zip(made.sharings, tapped_features(made, made.sharings, 2), strict=True):
        found, expected = each.at(some), TappedFeatures(sharing, None).at(some)
        assert found is not None
        assert expected is not None
        assert found.keys() == expected.keys()
        for tap, crossing in expected.items():
            for one, other in zip(found[tap], crossing, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
                assert not one.requires_grad
        several = [values for crossing in found.values() for values in crossing]
        alone = [values for crossing in expected.values() for values in crossing]
        assert len({each.data_ptr() for each in several}) == len({each.data_ptr() for each in alone}), "taken once"


# Logits.


def test_logits_are_kept_where_they_fit(made: Setup) -> None:
    needed = logits_bytes(made, made.validation)
    assert needed == ROWS["validation"] * 3 * 4
    index = torch.tensor([5, 2, 23])
    features = made.validation.take(index).features
    answers = {}
    for most, vary, kind in (
        (needed, False, KeptAnswers),
        (needed - 1, False, LiveAnswers),
        (needed, True, LiveAnswers),
    ):
        found = answers_of(with_cache(made, max_bytes=most), made.student, made.validation, varied=vary)
        assert type(found) is kind
        answers[most, vary] = found.at(index, features)
        assert not answers[most, vary].requires_grad
    kept, *live = answers.values()
    assert torch.equal(kept, all_logits(made, made.student, made.validation)[index])
    for each in live:
        torch.testing.assert_close(each, kept, rtol=1e-5, atol=1e-6)


def test_live_answers_see_the_features_that_they_are_given(made: Setup) -> None:
    index = torch.tensor([1, 2])
    features = {name: values + 1 for name, values in made.train.take(index).features.items()}
    live = answers_of(with_cache(made, max_bytes=0), made.student, made.train, varied=True)
    assert not torch.allclose(live.at(index, features), live.at(index, made.train.take(index).features), rtol=1e-2)


def test_evaluating_puts_modes_back_even_after_an_error() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    still = nn.Linear(2, 2).eval()

    def fail() -> None:
        with evaluating(network, still):
            assert not network.training
            assert not torch.is_grad_enabled()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (network.training, still.training) == (True, False)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("own", [None, range(3, 50), range(4, 4)])
def test_pieces_hold_every_row_once(made: Setup, monkeypatch: pytest.MonkeyPatch, own: range | None) -> None:
    monkeypatch.setattr("mstedge.training.method.answers._PIECE_BYTES", 9 * made.train.row_bytes)
    cut = pieces(made.train, 4, own)
    rows = range(len(made.train)) if own is None else own
    assert [each for piece in cut for each in piece.tolist()] == list(rows)
    assert all(len(each) == 9 for each in cut[:-1])
    assert all(len(each) <= 16 for each in pieces(made.train, 16, own))


# Where stage 3 has its targets from.

PLAN_MIB = 100


@pytest.mark.parametrize(
    ("targets", "augment", "most_mib", "free_mib", "kept", "reason"),
    [
        ("auto", False, PLAN_MIB, 0, "memory", "100 MiB: within cache.max_bytes"),
        ("auto", False, PLAN_MIB - 1, 1 << 20, "file", "more than cache.max_bytes, little enough for a file"),
        ("auto", False, PLAN_MIB / 16, 2 * PLAN_MIB, "file", "little enough for a file"),
        ("auto", False, PLAN_MIB / 16 - 1, 1 << 20, "routed", "too much to keep"),
        ("auto", False, PLAN_MIB - 1, 2 * PLAN_MIB - 1, "routed", "too much to keep"),
        ("auto", False, 0, 1 << 20, "routed", "too much to keep"),
        ("auto", True, PLAN_MIB, 1 << 20, "routed", "features are augmented"),
        ("routed", True, PLAN_MIB, 1 << 20, "routed", "features are augmented"),
        ("routed", False, PLAN_MIB, 1 << 20, "routed", "cache.targets says so"),
        ("memory", False, 0, 1 << 20, "memory", "cache.targets says so"),
        ("file", False, PLAN_MIB, 1 << 20, "file", "cache.targets says so"),
        ("memory", True, PLAN_MIB, 1 << 20, None, "cache.targets is 'memory'.*teachers answer anew[\\s\\S]*at auto"),
        ("file", True, PLAN_MIB, 1 << 20, None, "cache.targets is 'file'.*teachers answer anew[\\s\\S]*remove augment"),
    ],
)
def test_where_targets_are_kept(
    made: Setup,
    monkeypatch: pytest.MonkeyPatch,
    targets: str,
    *,
    augment: bool,
    most_mib: float,
    free_mib: int,
    kept: str | None,
    reason: str,
) -> None:
    monkeypatch.setattr(targets_module, "logits_bytes", lambda _setup, _rows: (PLAN_MIB << 20) // 3)
    usage = shutil.disk_usage("/")._replace(free=free_mib << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    setup = with_cache(made, targets=targets, max_bytes=int(most_mib * (1 << 20)))
    setup = varied(setup) if augment else setup
    if kept is None:
        with pytest.raises(ConfigError, match=reason):
            targets_plan(setup)
        return
    plan = targets_plan(setup)
    assert plan.kept == kept
    assert reason in plan.reason
    assert plan.table_bytes == (PLAN_MIB << 20) // 3 * 3
    assert abs(plan.table_bytes - (PLAN_MIB << 20)) < 3


def test_a_table_takes_what_the_plan_says(made: Setup) -> None:
    targets, plan = targets_of(with_cache(made, targets="memory"))
    assert isinstance(targets, TableTargets)
    assert targets._table.shape == (60, 3, 3)
    assert plan.table_bytes == targets._table.nbytes == 60 * 3 * 3 * 4


def mapped_below(folder: Path) -> int:
    """Count the files below a folder that this process maps."""
    return sum(f" {folder}/" in line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines())


def test_the_file_of_a_table_is_seen_by_nobody_and_freed(
    made: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = table_of(with_cache(made, targets="memory"))
    targets, _plan = targets_of(with_cache(made, targets="file"))
    assert mapped_below(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(targets.of_all(whole_batch(made)), table)
    del targets
    gc.collect()
    assert mapped_below(tmp_path) == 0


@pytest.mark.xfail(strict=True, reason="a table in a file that the disk cannot hold ends the process with SIGBUS")
def test_a_file_that_no_disk_holds_is_refused(made: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(MachineError, match="TMPDIR"):
        targets_of(with_cache(made, targets="file"))


def test_tables_and_routed_teachers_give_the_same_logits(made: Setup) -> None:
    table, _ = targets_of(with_cache(made, targets="memory"))
    routed, _ = targets_of(with_cache(made, targets="routed"))
    assert isinstance(routed, RoutedTargets)
    order = torch.tensor([4, 0, 33, 4])
    batch = replace(whole_batch(made), index=order, features=made.train.take(order).features)
    teachers = torch.tensor([[2, 0], [1, 2], [0, 1], [2, 2]])
    torch.testing.assert_close(routed.of_all(batch), table.of_all(batch), rtol=1e-5, atol=1e-6)
    chosen = table.of_chosen(batch, teachers)
    torch.testing.assert_close(routed.of_chosen(batch, teachers), chosen, rtol=1e-5, atol=1e-6)
    by_hand = torch.stack([table.of_all(batch)[row, teachers[row]] for row in range(4)])
    assert torch.equal(chosen, by_hand)


def test_a_routed_teacher_runs_for_its_own_rows_alone(made: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    logits = type(made.specialised[0]).logits

    def counted(teacher: Any, features: dict[str, Tensor]) -> Tensor:
        seen.append(len(next(iter(features.values()))))
        return logits(teacher, features)

    monkeypatch.setattr(type(made.specialised[0]), "logits", counted)
    batch = whole_batch(made)
    teachers = torch.from_numpy(np.repeat([0, 2], [25, 35]))[:, None]
    RoutedTargets(made).of_chosen(batch, teachers)
    assert seen == [25, 35]
