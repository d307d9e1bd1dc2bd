"""AV-MNIST: CNN-I, LeNet5 and ThreeLayerCNN-A (arXiv 2507.07015; LeNet5: LeCun et al. 1998, with ReLU)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from mstedge.training.models.published.inputs import Input, checked_shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mstedge.training.models.classifier import Shape

_AXES = ("channels", "height", "width")
_IMAGE = Input("an image", _AXES, (1, 28, 28))


class LeNetTrunk(nn.Module):
    """LeNet5 up to its layer of 84, activated."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        height, width = (((side // 2) - 4) // 2 - 4 for side in shape[1:])
        self.conv1 = nn.Conv2d(shape[0], 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.conv3 = nn.Conv2d(16, 120, 5)
        self.fc1 = nn.Linear(120 * height * width, 84)

    def forward(self, values: Tensor) -> Tensor:
        """Give [batch, 84] for [batch, channels, height, width]."""
        values = functional.avg_pool2d(torch.relu(self.conv1(values)), 2)
        values = functional.avg_pool2d(torch.relu(self.conv2(values)), 2)
        values = torch.relu(self.conv3(values)).flatten(1)
        return torch.relu(self.fc1(values))


class LeNet5(LeNetTrunk):
    """LeNet5, the image network. Taps: `conv3` (120 maps, 1x1 at the published size) and `fc1` (84).

    Args:
        input_shapes: One shape [channels, height, width]; published 1x28x28, which is also the least.
        classes: Number of logits.

    Raises:
        ConfigError: It does not take this shape.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        super().__init__(checked_shapes(input_shapes, "lenet5", _IMAGE)[0])
        self.fc2 = nn.Linear(84, classes)

    def forward(self, values: Tensor) -> Tensor:
        """Give logits [batch, classes] for [batch, channels, height, width]."""
        return self.fc2(super().forward(values))  # type: ignore[no-any-return]


class ThreeLayerCnn(nn.Module):
    """ThreeLayerCNN-A, the audio network. Taps: `conv2` (64 maps) and `conv3` (128 maps).

    Args:
        input_shapes: One shape [channels, height, width]; published 1x112x112.
        classes: Number of logits.

    Raises:
        ConfigError: It does not take this shape.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        super().__init__()
        spectrogram = Input("a spectrogram", _AXES, (1, 8, 8))
        ((channels, height, width),) = checked_shapes(input_shapes, "three-layer-cnn", spectrogram)
        self.conv1 = _convolution(channels, 32)
        self.conv2 = _convolution(32, 64)
        self.conv3 = _convolution(64, 128)
        self.fc1 = nn.Linear(128 * (height // 8) * (width // 8), classes)

    def forward(self, values: Tensor) -> Tensor:
        """Give logits [batch, classes] for [batch, channels, height, width]."""
        for layer in (self.conv1, self.conv2, self.conv3):
            values = functional.max_pool2d(torch.relu(layer(values)), 2)
        return self.fc1(values.flatten(1))  # type: ignore[no-any-return]


class FiveLayerTrunk(nn.Module):
    """The audio trunk of CNN-I: five convolutions, the mean over places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(channels, 32)
        self.conv2 = _convolution(32, 64)
        self.conv3 = _convolution(64, 128)
        self.conv4 = _convolution(128, 256)
        self.conv5 = _convolution(256, 512)

    def forward(self, values: Tensor) -> Tensor:
        """Give [batch, 512] for [batch, channels, height, width]."""
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            values = functional.max_pool2d(torch.relu(layer(values)), 2)
        return torch.relu(self.conv5(values)).flatten(2).mean(dim=2)


class AvmnistFusion(nn.Module):
    """CNN-I, the multimodal teacher: two linear layers, with nothing between them, on both trunks.

    Taps: `fused` (the concatenation, 596) and `fc1` (298).

    Args:
        input_shapes: Image and spectrogram, each [channels, height, width]; published 1x28x28 and 1x112x112.
        classes: Number of logits.

    Raises:
        ConfigError: It does not take these shapes.
    """

    def __init__(self, input_shapes: Sequence[Shape], classes: int) -> None:
        super().__init__()
        spectrogram = Input("a spectrogram", _AXES, (1, 16, 16))
        image, audio = checked_shapes(input_shapes, "avmnist-fusion", _IMAGE, spectrogram)
        self.image = LeNetTrunk(image)
        self.audio = FiveLayerTrunk(audio[0])
        self.fused = nn.Identity()
        self.fc1 = nn.Linear(84 + 512, 298)
        self.fc2 = nn.Linear(298, classes)

    def forward(self, image: Tensor, audio: Tensor) -> Tensor:
        """Give logits [batch, classes] for both, each [batch, channels, height, width]."""
        fused = self.fused(torch.cat([self.image(image), self.audio(audio)], dim=1))
        return self.fc2(self.fc1(fused))  # type: ignore[no-any-return]


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)
