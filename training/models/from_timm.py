"""Networks of the package timm, where it is installed: `timm:NAME`."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

from mstedge.errors import ConfigError, MissingPackageError, nearest
from mstedge.training.models.classifier import Shape, single_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

PREFIX = "timm:"
_SHOWN = 5  # of more than a thousand names
# They follow from the data, or read weights: from the network, or from files that may hold code.
_NOT_OPTIONS = frozenset(
    ("num_classes", "in_chans", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path")
)


def network_from_timm(name: str, input_shapes: Sequence[Shape], classes: int, **options: Any) -> nn.Module:
    """Make a network of timm (https://github.com/huggingface/pytorch-image-models), with fresh weights.

    Args:
        name: Name in timm's own table, without the prefix. Names that are addresses (`hf-hub:...`) are not in it.
        input_shapes: One shape [channels, height, width]; its channels become timm's `in_chans`.
        classes: Number of logits: timm's `num_classes`.
        options: Other keyword arguments of `timm.create_model`, as `drop_rate` and `img_size`.

    Raises:
        MissingPackageError: timm is not installed.
        ConfigError: It has no such network, the shape does not fit, or an option is not the recipe's to set.
    """
    timm = _imported(name)
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=_SHOWN, cutoff=0.5)
        hint = nearest(name, close) if close else "python -c 'import timm; print(timm.list_models())' lists them"
        raise ConfigError(f"timm has no network {name!r}", hint=hint)
    if refused := sorted(_NOT_OPTIONS & set(options)):
        raise ConfigError(
            f"network '{PREFIX}{name}' does not take the options {refused}",
            hint="classes and channels follow from the data; weights start fresh",
        )
    channels = single_shape(input_shapes, 3, f"{PREFIX}{name}")[0]
    made: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels, **options)
    return made


def _imported(name: str) -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as problem:
        if problem.name != "timm":  # timm is there, and lacks a package of its own
            raise
        missing = MissingPackageError("timm", purpose=f"network '{PREFIX}{name}'", extra="train")
        missing.hint = "pip install timm"  # no extra of mstedge brings it
        raise missing from problem
