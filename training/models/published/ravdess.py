"""RAVDESS: DSCNN-I, VisualBranchNet and AudioBranchNet (arXiv 2507.07015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstedge.training.models.published.branches import branch
from mstedge.training.models.published.heads import FusedBranches, OneBranch
from mstedge.training.models.published.inputs import Input, checked_shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from mstedge.training.models.classifier import Shape

_VIDEO = Input("video", ("frames", "channels", "height", "width"), (8, 1, 8, 8))
_AUDIO = Input("sound", ("coefficients", "frames"), (1, 27))
_WIDTHS = (320, 160)


class RavdessVisual(OneBranch):
    """VisualBranchNet: convolutions over the faces in a clip. Taps: `fc1` (320) and `fc2` (160).

    Args:
        input_shapes: One shape [frames, channels, height, width] as it is stored, published 15x3x224x224; the network
            puts the channels first itself.
        classes: Number of logits.

    Raises:
        ConfigError: It does not take this shape.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        (video,) = checked_shapes(input_shapes, "ravdess-visual", _VIDEO)
        super().__init__(*_visual_branch(video), _WIDTHS, classes)


class RavdessAudio(OneBranch):
    """AudioBranchNet: convolutions over time with the coefficients as channels. Taps: `fc1` (320) and `fc2` (160).

    Args:
        input_shapes: One shape [coefficients, frames], published 15x156 (MFCC).
        classes: Number of logits.

    Raises:
        ConfigError: It does not take this shape.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        (audio,) = checked_shapes(input_shapes, "ravdess-audio", _AUDIO)
        super().__init__(*_audio_branch(audio), _WIDTHS, classes)


class RavdessFusion(FusedBranches):
    """DSCNN-I, the multimodal teacher. Taps: `fused` (20096), `fc1` (320) and `fc2` (160).

    Args:
        input_shapes: Those of `RavdessVisual` and of `RavdessAudio`, in this order.
        classes: Number of logits.

    Raises:
        ConfigError: It does not take these shapes.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        video, audio = checked_shapes(input_shapes, "ravdess-fusion", _VIDEO, _AUDIO)
        visual_branch, visual_features = _visual_branch(video)
        audio_branch, audio_features = _audio_branch(audio)
        super().__init__([visual_branch, audio_branch], visual_features + audio_features, _WIDTHS, classes)


def _visual_branch(shape: Shape) -> tuple[nn.Sequential, int]:
    frames, channels, height, width = shape
    return branch(channels, (frames, height, width), (6, 12, 24), (2, 2, 2), stored_axis=1)


def _audio_branch(shape: Shape) -> tuple[nn.Sequential, int]:
    return branch(shape[0], shape[1:], (32, 128, 256), (3, 3, 3))
