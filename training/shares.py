"""What the processes of a run tell each other: sums of their shares, first weights, and that they hold the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mstedge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class SumOfShares(torch.autograd.Function):
    """Adds up what each process has; each share gets the gradient of what every process makes of the sum."""

    @staticmethod
    def forward(_context: Any, share: Tensor) -> Tensor:
        """Add up."""
        total = share.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        """Add up the gradients as well."""
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        return total


def add_up_gradients(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Replace gradients by their sum over all processes, in one message together with the loss.

    Args:
        loss: This process's share, a scalar.
        parameters: Those with gradients; one that no process used keeps none.

    Returns:
        The loss of all.
    """
    unused = [position for position, each in enumerate(parameters) if each.grad is None]
    gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    used = torch.ones(len(parameters), dtype=loss.dtype)
    used[unused] = 0
    head = [loss.detach().reshape(1), used.to(loss.device)]
    message = torch.cat([*head, *(each.reshape(-1) for each in gradients)])
    torch.distributed.all_reduce(message)
    total, users, *sums = torch.split(message, [1, len(used), *(each.numel() for each in gradients)])
    for parameter, gradient, summed in zip(parameters, gradients, sums, strict=True):
        parameter.grad = gradient.copy_(summed.view_as(gradient))
    for position in unused:
        if users[position] == 0:  # Adam leaves alone what has no gradient
            parameters[position].grad = None
    return total[0]


def gathered(share: Tensor, processes: int) -> Tensor:
    """Put the rows of all processes one after the other, as many from each: [processes * rows, ...], detached."""
    room = share.new_empty((processes, *share.shape))
    torch.distributed.all_gather(list(room), share.detach().contiguous())
    return room.flatten(0, 1)


def lists_of_all(own: list[int], processes: int) -> list[int]:
    """Put the lists of all processes one after the other."""
    everybody: list[list[int]] = [[]] * processes
    torch.distributed.all_gather_object(everybody, own)
    return [each for theirs in everybody for each in theirs]


@torch.no_grad()
def make_equal(modules: Iterable[nn.Module]) -> None:
    """Give every process the weights and buffers of the first one."""
    for value in (each for module in modules for each in module.state_dict().values()):
        message = value.contiguous()
        torch.distributed.broadcast(message, src=0)
        value.copy_(message)


def check_agreement(facts: Mapping[str, str], processes: int) -> None:
    """Check that all processes hold the same, and wait until all have come this far.

    Args:
        facts: What shall be equal, by its name.
        processes: How many there are.

    Raises:
        DataError: Something differs; every process raises it.
    """
    everybody: list[dict[str, str]] = [{}] * processes
    torch.distributed.all_gather_object(everybody, dict(facts))
    for rank, theirs in enumerate(everybody):
        for what, value in everybody[0].items():
            if theirs[what] != value:
                raise DataError(
                    f"process {rank} has another {what} ({theirs[what][:12]}) than process 0 ({value[:12]})",
                    hint="every machine needs the same recipe, the same data and the same run folder",
                )
