"""Members that exist already: weights from a safetensors file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from mstedge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

_LISTED = 5
_VGG16_KEY = "features.0.weight"


def load_weights(network: nn.Module, path: str, *, owner: str) -> str:
    """Let a network start from weights that were trained before.

    Args:
        network: Takes them; types are converted to its own.
        path: A safetensors file with the keys of its `state_dict`, such as the `student.safetensors` of a run; for a
            network with VGG-16 encoders also one with torchvision's names of a VGG-16 (`features.0.weight`, ...).
        owner: What the network is called, for messages.

    Returns:
        Digest of the file: sha256.

    Raises:
        ConfigError: The file cannot be read, or its tensors are not those of the network.
    """
    try:
        content = Path(path).read_bytes()
        tensors = load(content)
    except OSError as problem:
        raise ConfigError(f"weights of {owner}: {path} cannot be read: {problem.strerror}") from None
    except SafetensorError as problem:
        raise ConfigError(f"weights of {owner}: {path} is not a safetensors file: {problem}") from None
    start_from_imagenet = getattr(network, "start_from_imagenet", None)
    if start_from_imagenet is not None and _VGG16_KEY in tensors:
        start_from_imagenet(Path(path))
        return hashlib.sha256(content).hexdigest()
    problems = _differences(network.state_dict(), tensors)
    if problems:
        raise ConfigError(
            f"weights of {owner}: {path} does not fit its network: {'; '.join(problems)}",
            hint="were they made with other options of the network?",
        )
    network.load_state_dict(tensors)
    return hashlib.sha256(content).hexdigest()


def _differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    problems = []
    if missing := [key for key in wanted if key not in given]:
        problems.append(f"it lacks {_listed(missing)}")
    if unknown := [key for key in given if key not in wanted]:
        problems.append(f"the network has no {_listed(unknown)}")
    common = [key for key in wanted if key in given]
    if shapes := [key for key in common if wanted[key].shape != given[key].shape]:
        problems.append(
            _listed([f"{key} is {list(given[key].shape)}, expected {list(wanted[key].shape)}" for key in shapes])
        )
    if bad := [key for key in common if not bool(torch.isfinite(given[key]).all())]:
        problems.append(f"values are not finite in {_listed(bad)}")
    return problems


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
