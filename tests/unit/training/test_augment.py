"""Augmented features: each row varied on its own, by no more than was asked for, the same for the same generator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mstedge.errors import ConfigError
from mstedge.recipe_data import Augmentation
from mstedge.training.augment import augmented, check_augmentations

ROWS = 200


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def varied(values: Tensor, seed: int = 0, **amounts: object) -> Tensor:
    return augmented({"x": values}, {"x": Augmentation(**amounts)}, generator(seed))["x"]  # type: ignore[arg-type]


def ramp(*shape: int) -> Tensor:
    """Give features without a zero and without two equal places in a row."""
    one = torch.arange(1.0, 1 + torch.Size(shape).numel()).reshape(shape)
    return one.expand(ROWS, *shape).clone()


def by_hand(row: Tensor, down: int, right: int) -> Tensor:
    moved = torch.zeros_like(row)
    height, width = row.shape[-2:]
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                moved[..., y, x] = row[..., y - down, x - right]
    return moved


def test_shifts_move_every_channel_by_whole_places_and_let_zeros_in() -> None:
    values = ramp(2, 5, 7)
    shifted = varied(values, shift=(2, 3))
    choices = {(down, right): by_hand(values[0], down, right) for down in range(-2, 3) for right in range(-3, 4)}
    found = [next((key for key, wanted in choices.items() if torch.equal(row, wanted)), None) for row in shifted]
    assert None not in found
    assert {key[0] for key in found if key} == set(range(-2, 3))
    assert {key[1] for key in found if key} == set(range(-3, 4))


@pytest.mark.parametrize("shape", [(9,), (3, 9), (2, 3, 9), (1, 2, 3, 9)])
def test_vectors_sequences_pictures_and_volumes_have_columns(shape: tuple[int, ...]) -> None:
    values = ramp(*shape)
    moved = varied(values, shift=(0, 4))
    assert {int((row.reshape(-1, 9)[0] == 0).sum()) for row in moved} == set(range(5))
    blank = varied(values, mask_columns=4) == 0
    columns = blank.reshape(ROWS, -1, 9)
    assert (columns == columns[:, :1]).all()
    assert set(columns[:, 0].sum(1).tolist()) == set(range(5))
    # one stretch: it begins once at most
    begins = torch.diff(columns[:, 0].int(), dim=1, prepend=torch.zeros(ROWS, 1, dtype=torch.int)) == 1
    assert begins.sum(1).max() == 1
    assert columns[:, 0].any(0).all()


def test_rows_are_blanked_for_all_channels_and_columns_alike() -> None:
    values = ramp(2, 6, 5)
    blank = varied(values, mask_rows=3) == 0
    rows = blank[:, 0, :, 0]
    assert (blank == rows[:, None, :, None]).all()
    assert set(rows.sum(1).tolist()) == {0, 1, 2, 3}
    both = varied(values, mask_rows=3, mask_columns=2)
    assert torch.equal(both[both != 0], values[both != 0])
    assert (both[:, 0, 0] == 0).all(1).any()
    assert (both[:, 0, :, 0] == 0).all(1).any()


def test_noise_has_the_asked_spread_and_blank_places_have_none() -> None:
    values = torch.zeros(ROWS, 1, 20, 30)
    noisy = varied(values, noise=0.3)
    assert noisy.std().item() == pytest.approx(0.3, rel=0.01)
    assert abs(noisy.mean().item()) < 0.005
    assert (varied(values, noise=0.3, mask_rows=5) == 0).any()
    assert not (noisy == 0).any()


def test_rows_draw_on_their_own_and_a_generator_gives_the_same_again() -> None:
    values = ramp(4, 6)
    amounts = {"noise": 0.1, "shift": (1, 2), "mask_rows": 1, "mask_columns": 2}
    one = varied(values, **amounts)
    assert len({tuple(row.flatten().tolist()) for row in one}) == ROWS
    assert torch.equal(one, varied(values, **amounts))
    assert not torch.equal(one, varied(values, seed=1, **amounts))
    shared = generator()
    twice = [augmented({"x": values}, {"x": Augmentation(noise=0.1)}, shared)["x"] for _ in range(2)]
    assert not torch.equal(*twice)


def test_what_a_modality_draws_does_not_depend_on_the_others() -> None:
    features = {"sound": ramp(4, 6), "sight": ramp(8), "third": ramp(3)}
    how = {"sound": Augmentation(noise=0.1, mask_rows=2), "sight": Augmentation(noise=0.2)}
    together = augmented(features, how, generator())
    turned = augmented(dict(reversed(features.items())), dict(reversed(how.items())), generator())
    alone = augmented({"sight": features["sight"]}, how, generator())
    assert torch.equal(together["sight"], turned["sight"])
    assert torch.equal(together["sound"], turned["sound"])
    assert torch.equal(together["sight"], alone["sight"])
    assert set(alone) == {"sight"}
    noise = [(together[name] - features[name]).flatten()[:8] for name in ("sound", "sight")]
    assert not torch.allclose(noise[0] / 0.1, noise[1] / 0.2, atol=1e-3)


def test_inputs_stay_as_they_are_and_types_are_kept() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        values = ramp(4, 6).to(dtype)
        before = values.clone()
        result = varied(values, noise=0.5, shift=(1, 1), mask_rows=1, mask_columns=1)
        assert result.dtype == dtype
        assert torch.equal(values, before)
        assert not torch.equal(result, before)
    features = {"x": ramp(3), "y": ramp(3)}
    result_of_two = augmented(features, {"x": Augmentation(noise=1.0)}, generator())
    assert result_of_two["y"] is features["y"]
    assert augmented(features, {"x": Augmentation()}, generator())["x"] is features["x"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    values = ramp(2, 6, 5)
    amounts = {"noise": 0.1, "shift": (1, 2), "mask_rows": 2, "mask_columns": 2}
    torch.testing.assert_close(varied(values.cuda(), **amounts).cpu(), varied(values, **amounts))


@pytest.mark.parametrize(
    ("amounts", "shape", "message"),
    [
        ({"shift": (6, 0)}, (1, 6, 5), r"augment\.x\.shift\[0\] is 6: expected at most 5 for features of shape"),
        ({"shift": (0, 5)}, (1, 6, 5), r"augment\.x\.shift\[1\] is 5: expected at most 4"),
        ({"mask_rows": 6}, (1, 6, 5), r"augment\.x\.mask_rows is 6: expected at most 5"),
        ({"mask_columns": 9}, (8,), r"augment\.x\.mask_columns is 9: expected at most 7"),
        ({"shift": (1, 0)}, (8,), r"shift\[0\] is 1: features of shape \[8\] have no second[\s\S]*shift: \[0, N\]"),
        ({"mask_rows": 1}, (8,), r"mask_rows is 1: features of shape \[8\] have no second to last axis"),
    ],
)
def test_amounts_that_do_not_fit_are_named(amounts: dict[str, object], shape: tuple[int, ...], message: str) -> None:
    how = {"x": Augmentation(**amounts)}  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        check_augmentations(how, {"x": shape, "y": (3,)}, dense=False)


def test_shifts_are_refused_where_every_place_has_a_label() -> None:
    how = {"x": Augmentation(shift=(0, 1))}
    check_augmentations(how, {"x": (3, 8, 8)}, dense=False)
    with pytest.raises(ConfigError, match=r"augment\.x\.shift is \[0, 1\][\s\S]*segmentation"):
        check_augmentations(how, {"x": (3, 8, 8)}, dense=True)
    check_augmentations({"x": Augmentation(noise=1, mask_rows=7, mask_columns=7)}, {"x": (3, 8, 8)}, dense=True)
