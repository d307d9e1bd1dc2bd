"""VGGSound-50k: DSCNN-VGGS-I, VisualBranchNet-VGGS and AudioBranchNet-VGGS, on stored features (arXiv 2507.07015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstedge.training.models.published.branches import branch
from mstedge.training.models.published.heads import FusedBranches, OneBranch
from mstedge.training.models.published.inputs import Input, checked_shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from mstedge.training.models.classifier import Shape

_VIDEO = Input("video features", ("seconds", "height", "width", "channels"), (4, 4, 4, 1))
_AUDIO = Input("audio features", ("seconds", "features"), (1, 27))
_WIDTHS = (320, 160)


class VggsoundVisual(OneBranch):
    """VisualBranchNet-VGGS: convolutions over feature maps of each second. Taps: `fc1` (320) and `fc2` (160).

    Args:
        input_shapes: One shape [seconds, height, width, channels] as it is stored, published 10x7x7x512; the network
            puts the channels first itself.
        classes: Number of logits.

    Raises:
        ConfigError: It does not take this shape.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        (video,) = checked_shapes(input_shapes, "vggsound-visual", _VIDEO)
        super().__init__(*_visual_branch(video), _WIDTHS, classes)


class VggsoundAudio(OneBranch):
    """AudioBranchNet-VGGS: convolutions along the features, the seconds as channels. Taps: `fc1` (320), `fc2` (160).

    Args:
        input_shapes: One shape [seconds, features], published 10x128.
        classes: Number of logits.

    Raises:
        ConfigError: It does not take this shape.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        (audio,) = checked_shapes(input_shapes, "vggsound-audio", _AUDIO)
        super().__init__(*_audio_branch(audio), _WIDTHS, classes)


class VggsoundFusion(FusedBranches):
    """DSCNN-VGGS-I, the multimodal teacher. Taps: `fused` (384), `fc1` (320) and `fc2` (160).

    Args:
        input_shapes: Those of `VggsoundVisual` and of `VggsoundAudio`, in this order.
        classes: Number of logits.

    Raises:
        ConfigError: It does not take these shapes.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        video, audio = checked_shapes(input_shapes, "vggsound-fusion", _VIDEO, _AUDIO)
        visual_branch, visual_features = _visual_branch(video)
        audio_branch, audio_features = _audio_branch(audio)
        super().__init__([visual_branch, audio_branch], visual_features + audio_features, _WIDTHS, classes)


def _visual_branch(shape: Shape) -> tuple[nn.Sequential, int]:
    return branch(shape[3], shape[:3], (256, 128, 64), (2, 2, 1), stored_axis=3)


def _audio_branch(shape: Shape) -> tuple[nn.Sequential, int]:
    return branch(shape[0], shape[1:], (16, 32, 64), (3, 3, 3))
