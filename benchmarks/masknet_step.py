"""Measure a MaskNet's training step and its answers, the simple way against the product.

    python benchmarks/masknet_step.py [--masks avmnist-fused ...] [--rows 32 64 128] [--repeats 5]

The simple way is torch's own attention and its Adam over tensor lists (`foreach`); the product is what
`MaskNet.mask` and `make_adam` choose. Both sides take turns in one process with one thread; each figure is the least
of the repeats, in CPU-milliseconds, so that other work on the machine does little to the ratios. Extra memory is the
highest resident size during a step, less that before it: weights and Adam's states are there already.

`floor` is the fused Adam over all weights of the mask with gradients that are there, and nothing else. Prints a table
on stderr and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from distill_cost_child import memory_before, memory_since, timed

from mstedge.training.adam import factored_layers, make_adam
from mstedge.training.method.masknet import MaskNet

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

# Width of the tap and hidden_dim_factor of the published configurations.
MASKS = {
    "avmnist-fused": (596, 2),
    "avmnist-fc1": (298, 2),
    "crisismmd-256": (256, 8),
    "crisismmd-512": (512, 8),
    "crisismmd-1024": (1024, 8),
}
COLUMNS = (
    "simple_ms",
    "product_ms",
    "ratio",
    "floor_ms",
    "over_floor",
    "simple_mib",
    "product_mib",
    "answer_ms_per_row",
    "answer_ratio",
)


@dataclass
class Side:
    """One way to train a mask.

    Attributes:
        mask_net: The mask.
        answer: From features to mask values.
        optimiser: Its Adam.
    """

    mask_net: MaskNet
    answer: Callable[[Tensor], Tensor]
    optimiser: torch.optim.Adam

    def step(self, features: Tensor) -> None:
        """Take one training step."""
        self.optimiser.zero_grad()
        (self.answer(features) * features).square().mean().backward()
        self.optimiser.step()

    @torch.no_grad()
    def answers(self, features: Tensor) -> None:
        """Answer without gradients."""
        self.answer(features)

    def step_mib(self, features: Tensor) -> float:
        """Measure the extra memory of a step."""
        self.optimiser.zero_grad()
        baseline = memory_before()
        self.step(features)
        return memory_since(baseline)


def simple_side(width: int, factor: int) -> Side:
    """Make a mask as torch offers it."""
    mask_net = MaskNet((width,), hidden_dim_factor=factor)
    adam = torch.optim.Adam(mask_net.parameters(), lr=1e-4, foreach=True)
    return Side(mask_net, lambda features: torch.sigmoid(mask_net.plain_scores(features)), adam)


def product_side(width: int, factor: int) -> Side:
    """Make a mask as the product trains it."""
    mask_net = MaskNet((width,), hidden_dim_factor=factor)
    adam = make_adam(mask_net.parameters(), 1e-4, fused=None, layers=factored_layers(mask_net))
    return Side(mask_net, mask_net.mask, adam)


def adam_alone(width: int, factor: int, repeats: int) -> float:
    """Time the floor."""
    parameters = list(MaskNet((width,), hidden_dim_factor=factor).parameters())
    adam = make_adam(parameters, 1e-4, fused=None)
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    adam.step()
    return least(repeats, adam.step)[0]


def least(repeats: int, *works: Callable[[], Any]) -> list[float]:
    """Give the least CPU-milliseconds of each work; they take turns."""
    rounds = [[timed(work) for work in works] for _ in range(repeats)]
    return [1000 * min(times) for times in zip(*rounds, strict=True)]


def measured(name: str, rows: int, repeats: int) -> dict[str, float]:
    """Measure one mask at one number of rows."""
    torch.manual_seed(0)
    width, factor = MASKS[name]
    floor = adam_alone(width, factor, repeats)
    features = torch.randn(rows, width)
    simple, product = simple_side(width, factor), product_side(width, factor)
    for side in (simple, product):
        side.step(features)
    simple_ms, product_ms = least(repeats, lambda: simple.step(features), lambda: product.step(features))
    simple_answer, answer = least(repeats, lambda: simple.answers(features), lambda: product.answers(features))
    figures = (
        simple_ms,
        product_ms,
        simple_ms / product_ms,
        floor,
        product_ms / floor,
        simple.step_mib(features),
        product.step_mib(features),
        answer / rows,
        simple_answer / answer,
    )
    return {name: round(figure, 3) for name, figure in zip(COLUMNS, figures, strict=True)}


def shown(name: str, rows: int, repeats: int) -> dict[str, float]:
    """Measure, and tell people."""
    found = measured(name, rows, repeats)
    print(f"{name:<16}{rows:>5}" + "".join(f"{value:>19.2f}" for value in found.values()), file=sys.stderr)
    return found


def main() -> None:
    """Measure the chosen masks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", nargs="+", choices=MASKS, default=list(MASKS), metavar="MASK")
    parser.add_argument("--rows", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'mask':<16}{'rows':>5}" + "".join(f"{name:>19}" for name in COLUMNS), file=sys.stderr)
    results = {
        name: {str(rows): shown(name, rows, arguments.repeats) for rows in arguments.rows} for name in arguments.masks
    }
    print(json.dumps({"schema": "mstedge.masknet-step/1", "masks": results}))


if __name__ == "__main__":
    main()
