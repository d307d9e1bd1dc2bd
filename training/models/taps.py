"""Taps: module paths inside a network whose output is read or replaced."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mstedge.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def tapped_module(network: nn.Module, path: str, *, owner: str) -> nn.Module:
    """Find the module at a tap.

    Args:
        network: Where to look.
        path: Module path, as in `named_modules`.
        owner: What the network is called, for the message.

    Raises:
        ConfigError: There is no such module; the hint lists those near it.
    """
    modules = {name: module for name, module in network.named_modules() if name}
    if path not in modules:
        raise ConfigError(f"{owner} has no tap {path!r}", hint=nearest(path, modules))
    found: nn.Module = modules[path]
    return found


@contextmanager
def output_passed_through(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace a module's output while the block runs.

    Args:
        module: The tapped module.
        change: Gets the output, gives what goes on.
    """

    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def tap_shape(network: nn.Module, path: str, inputs: Sequence[Tensor], *, owner: str) -> tuple[int, ...]:
    """Measure the output at a tap: [width] of a vector, or [channels, height, width] of a map.

    Raises:
        ConfigError: There is no such tap, it is not reached, or its output is neither a vector nor a map.
    """
    seen: list[tuple[int, ...]] = []

    def look(output: Tensor) -> Tensor:
        seen.append(tuple(output.shape[1:]))
        return output

    was_training = network.training
    network.eval()
    with torch.no_grad(), output_passed_through(tapped_module(network, path, owner=owner), look):
        network(*inputs)
    network.train(was_training)
    if len(seen) != 1 or len(seen[0]) not in {1, 3}:
        raise ConfigError(f"{owner} tap {path!r} gives {seen}: expected one vector or one map per sample")
    return seen[0]
