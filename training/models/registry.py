"""Networks by name: the built-in table, and a user's own `module:Class` where code is allowed."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from mstedge.errors import ConfigError, UsageError, nearest
from mstedge.training.models.attention import AttentionNet
from mstedge.training.models.bc_resnet import BcResNet
from mstedge.training.models.dense import Segmenter
from mstedge.training.models.ds_cnn import DsCnn
from mstedge.training.models.from_timm import PREFIX, network_from_timm
from mstedge.training.models.mobilenet_v3 import MobileNetV3Small
from mstedge.training.models.networks import Cnn, Fusion, Mlp, TemporalCnn
from mstedge.training.models.published.avmnist import AvmnistFusion, LeNet5, ThreeLayerCnn
from mstedge.training.models.published.crisismmd import CrisismmdFusion, CrisismmdImage, CrisismmdText
from mstedge.training.models.published.nyu import DENSE_NETWORKS
from mstedge.training.models.published.ravdess import RavdessAudio, RavdessFusion, RavdessVisual
from mstedge.training.models.published.vggsound import VggsoundAudio, VggsoundFusion, VggsoundVisual
from mstedge.training.models.volume import VolumeCnn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mstedge.recipe import OptionValue

# Those of `DENSE_NETWORKS` and the segmenter answer for every pixel: they fit data whose labels are maps.
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "attention": AttentionNet,
    "avmnist-fusion": AvmnistFusion,
    "bc-resnet": BcResNet,
    "cnn": Cnn,
    "crisismmd-fusion": CrisismmdFusion,
    "crisismmd-image": CrisismmdImage,
    "crisismmd-text": CrisismmdText,
    "ds-cnn": DsCnn,
    **DENSE_NETWORKS,
    "fusion": Fusion,
    "lenet5": LeNet5,
    "mlp": Mlp,
    "mobilenet-v3-small": MobileNetV3Small,
    "ravdess-audio": RavdessAudio,
    "ravdess-fusion": RavdessFusion,
    "ravdess-visual": RavdessVisual,
    "segmenter": Segmenter,
    "temporal": TemporalCnn,
    "three-layer-cnn": ThreeLayerCnn,
    "vggsound-audio": VggsoundAudio,
    "vggsound-fusion": VggsoundFusion,
    "vggsound-visual": VggsoundVisual,
    "volume": VolumeCnn,
}


def build_network(
    name: str,
    input_shapes: Sequence[tuple[int, ...]],
    classes: int,
    options: Mapping[str, OptionValue],
    *,
    allow_code: bool = False,
) -> nn.Module:
    """Make a network.

    Args:
        name: Key of `NETWORKS`, `timm:NAME`, or `module:Class` (found on the path or in the current folder), called as
            `Class(input_shapes, classes, **options)`.
        input_shapes: Feature shape of each modality, in the order of its inputs.
        classes: Number of logits.
        options: Keyword arguments.
        allow_code: Whether a user's own module may be imported.

    Raises:
        ConfigError: There is no such network, or it does not take these options.
        UsageError: The name is a user's own and code is not allowed.
        MissingPackageError: The name is one of timm, which is not installed.
    """
    make = _maker(name, allow_code=allow_code)
    try:
        network = make(list(input_shapes), classes, **options)
    except TypeError as problem:
        raise ConfigError(f"network {name!r} cannot be made with options {dict(options)}: {problem}") from problem
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{name!r} makes a {type(network).__name__}, not a torch.nn.Module")
    return network


def parameter_count(network: nn.Module) -> int:
    """Count trainable values."""
    return sum(parameter.numel() for parameter in network.parameters())


def _maker(name: str, *, allow_code: bool) -> Callable[..., Any]:
    if name.startswith(PREFIX):
        return partial(network_from_timm, name.removeprefix(PREFIX))
    if ":" in name:
        return _user_class(name, allow_code=allow_code)
    if name not in NETWORKS:
        raise ConfigError(f"there is no network {name!r}", hint=nearest(name, [*NETWORKS, "timm:NAME", "module:Class"]))
    return NETWORKS[name]


def _user_class(name: str, *, allow_code: bool) -> Callable[..., Any]:
    if not allow_code:
        raise UsageError(
            f"{name!r} is code of your own, which is not run unasked", hint="add --allow-code if you trust it"
        )
    module_name, _, class_name = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # a console script does not look where the user stands
        sys.path.append(here)
    try:
        return getattr(importlib.import_module(module_name), class_name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as problem:
        raise ConfigError(f"network {name!r} cannot be imported: {problem}") from problem
