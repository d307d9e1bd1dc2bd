"""CrisisMMD-V2: MLP-I, MLP-Vb and MLP-Tb, on stored feature vectors (arXiv 2507.07015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from mstedge.training.models.published.heads import FusedBranches, OneBranch
from mstedge.training.models.published.inputs import Input, checked_shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mstedge.training.models.classifier import Shape

_IMAGE = Input("image features", ("width",), (1,))
_TEXT = Input("text features", ("width",), (1,))
_BRANCH_WIDTHS = (1024, 512)


class CrisismmdImage(OneBranch):
    """MLP-Vb. Taps: `fc1` (1024) and `fc2` (512).

    Args:
        input_shapes: One shape [width], published 2048 (of a ResNet-50).
        classes: Number of logits.

    Raises:
        ConfigError: It does not take this shape.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        (image,) = checked_shapes(input_shapes, "crisismmd-image", _IMAGE)
        super().__init__(nn.Identity(), image[0], _BRANCH_WIDTHS, classes)


class CrisismmdText(OneBranch):
    """MLP-Tb. Taps: `fc1` (1024) and `fc2` (512).

    Args:
        input_shapes: One shape [width], published 768 (of BERTweet).
        classes: Number of logits.

    Raises:
        ConfigError: It does not take this shape.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        (text,) = checked_shapes(input_shapes, "crisismmd-text", _TEXT)
        super().__init__(nn.Identity(), text[0], _BRANCH_WIDTHS, classes)


class CrisismmdFusion(FusedBranches):
    """MLP-I, the multimodal teacher. Taps: `fused` (1024), `fc1` (512) and `fc2` (256).

    Args:
        input_shapes: Those of `CrisismmdImage` and of `CrisismmdText`, in this order.
        classes: Number of logits.

    Raises:
        ConfigError: It does not take these shapes.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        shapes = checked_shapes(input_shapes, "crisismmd-fusion", _IMAGE, _TEXT)
        trunks = [_branch(shape[0]) for shape in shapes]
        super().__init__(trunks, 2 * _BRANCH_WIDTHS[1], (512, 256), classes)


def _branch(features: int) -> nn.Sequential:
    first, second = _BRANCH_WIDTHS
    return nn.Sequential(nn.Linear(features, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU())
