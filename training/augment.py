"""Features varied anew in every step: noise, shifts and blank stretches, drawn for each row on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

import torch
from torch import Tensor

from mstedge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mstedge.recipe_data import Augmentation

ROWS, COLUMNS = -2, -1


def check_augmentations(
    augmentations: Mapping[str, Augmentation], shapes: Mapping[str, tuple[int, ...]], *, dense: bool
) -> None:
    """Refuse what features of these shapes cannot be varied by.

    Args:
        augmentations: By modality.
        shapes: Shape of one sample, without the rows axis, of each modality.
        dense: Whether every place has a label of its own, which would not move along with a shift.

    Raises:
        ConfigError: A shift or a blank stretch is as long as its axis, or there is no such axis; or a shift is asked
            for where labels have places.
    """
    for modality, augmentation in augmentations.items():
        where = f"augment.{modality}"
        if dense and any(augmentation.shift):
            raise ConfigError(
                f"{where}.shift is {list(augmentation.shift)}: features would move, their labels would not",
                hint="leave shift out for segmentation; noise, mask_rows and mask_columns work",
            )
        shape = shapes[modality]
        for key, amount, axis in (
            ("shift[0]", augmentation.shift[0], ROWS),
            ("shift[1]", augmentation.shift[1], COLUMNS),
            ("mask_rows", augmentation.mask_rows, ROWS),
            ("mask_columns", augmentation.mask_columns, COLUMNS),
        ):
            _check_amount(f"{where}.{key}", amount, shape, axis)


def augmented(
    features: Mapping[str, Tensor], augmentations: Mapping[str, Augmentation], generator: torch.Generator
) -> dict[str, Tensor]:
    """Vary features: shift, then add noise, then blank a stretch of each axis.

    Scaled features have mean 0, so what comes in and what is blanked is the mean. A stretch has a length of 0 to the
    amount and lies anywhere, for all channels alike, as the masks of SpecAugment do (Park et al. 2019, arXiv
    1904.08779, section 2; one mask per axis, no time warping). Features with one axis have columns only.

    Args:
        features: [rows, *feature_shape] per modality, on any device; they stay as they are.
        augmentations: By modality; what `check_augmentations` has let pass. Others are given back untouched.
        generator: On the CPU. What a modality draws depends on its state and the modality's name alone.

    Returns:
        Tensors of the same shapes and types.
    """
    seed = int(torch.randint(1 << 32, (), generator=generator))
    varied = dict(features)
    for modality, augmentation in augmentations.items():
        if modality in features:
            own = torch.Generator().manual_seed(seed ^ crc32(modality.encode()))
            varied[modality] = _varied(features[modality], augmentation, own)
    return varied


def _varied(values: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    for axis, most in zip((ROWS, COLUMNS), augmentation.shift, strict=True):
        if most:
            values = _shifted(values, axis, most, generator)
    if augmentation.noise:
        values = values + augmentation.noise * torch.randn(values.shape, generator=generator).to(values)
    for axis, longest in ((ROWS, augmentation.mask_rows), (COLUMNS, augmentation.mask_columns)):
        if longest:
            values = _blanked(values, axis, longest, generator)
    return values


def _shifted(values: Tensor, axis: int, most: int, generator: torch.Generator) -> Tensor:
    """Move each row by -most to most places along an axis; zeros come in."""
    size = values.shape[axis]
    moved = torch.randint(-most, most + 1, (len(values), 1), generator=generator)
    origin = torch.arange(size) - moved
    outside = _along(axis, (origin < 0) | (origin >= size), values)
    index = _along(axis, origin.clamp(0, size - 1), values).expand_as(values)
    return values.gather(axis, index).masked_fill(outside, 0.0)


def _blanked(values: Tensor, axis: int, longest: int, generator: torch.Generator) -> Tensor:
    """Set one stretch of 0 to longest places of each row to zero."""
    size = values.shape[axis]
    length = torch.randint(longest + 1, (len(values), 1), generator=generator)
    start = (torch.rand((len(values), 1), generator=generator) * (size - length + 1)).long()
    place = torch.arange(size)
    return values.masked_fill(_along(axis, (place >= start) & (place < start + length), values), 0.0)


def _along(axis: int, each: Tensor, values: Tensor) -> Tensor:
    """Bring [rows, size] to the device and the rank of features, the sizes along one of their axes."""
    shape = [1] * values.ndim
    shape[0], shape[axis] = each.shape
    return each.reshape(shape).to(values.device)


def _check_amount(key: str, amount: int, shape: tuple[int, ...], axis: int) -> None:
    if not amount:
        return
    if len(shape) < -axis:
        raise ConfigError(
            f"{key} is {amount}: features of shape {list(shape)} have no second to last axis",
            hint="their one axis is that of columns: shift: [0, N], mask_columns",
        )
    if amount >= shape[axis]:
        raise ConfigError(
            f"{key} is {amount}: expected at most {shape[axis] - 1} for features of shape {list(shape)}, "
            "or a sample could be nothing but zeros"
        )
