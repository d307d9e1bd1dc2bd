"""Adam as this machine runs it fastest, and a linear layer whose weight's gradient is never written out whole.

The gradient of a linear layer's weight is an outer product of two factors, dY^T X, one row of each per sample: for the
widest MaskNet of AV-MNIST 24 MB instead of 420 MB at 32 samples. `FactoredLinear` keeps the factors and `FactoredAdam`
multiplies them out for some rows of the weight at a time, as its step comes to these rows. The step is Adam's but for
rounding; states, and with them checkpoints, are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.optim.adam import adam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_GRADIENT_BYTES = 8 << 20  # gradient multiplied out at a time
_FACTORED_FROM_BYTES = 8 << 20


def make_adam(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    *,
    fused: bool | None,
    layers: Sequence[FactoredLinear] = (),
) -> torch.optim.Adam:
    """Make an Adam, with one fused kernel where that is faster.

    CPU-milliseconds of one thread for a step in float32 (torch 2.13, x86-64 with AVX-512, least of 5 to 50); in float64
    200 steps of both agree to 2e-16:

    | parameters | loop (torch's own choice) | foreach | fused |
    |---|---|---|---|
    | 10 x 256 | 0.20 | 0.14 | 0.05 |
    | 60 thousand in 6 (LeNet-5) | 0.21 | 0.19 | 0.08 |
    | 1.8 million in 2 | 4.4 | 3.7 | 1.2 |
    | 13 million in 1 | 72 | 58 | 15 |
    | 105 million in 1 | 564 | 442 | 114 |

    On a GPU torch's own documentation calls the fused one the fastest; elsewhere torch chooses.

    Args:
        parameters: What learns.
        learning_rate: Step size.
        fused: Whether to fuse. None: where it is faster.
        layers: Layers among whose weights the parameters are, and whose gradient stays in factors; from
            `factored_layers`. Not where something else wants to see every gradient, as the sum over several processes.
    """
    listed = list(parameters)
    if fused is None:
        fused = all(each.device.type in {"cpu", "cuda"} for each in listed)
    if layers:
        return FactoredAdam(listed, learning_rate, fused=fused, layers=layers)
    return torch.optim.Adam(listed, lr=learning_rate, fused=fused)


def factored_layers(network: nn.Module) -> list[FactoredLinear]:
    """List the layers whose gradient is better kept in factors: on a CPU, and so large that it leaves the cache.

    CPU-milliseconds of one thread for making the gradient and Adam's step over it, float32 (machine as above):

    | weight | MiB | samples | loop | fused | factored and fused |
    |---|---|---|---|---|---|
    | 8064 x 128 | 4 | 32 | 3.5 | 1.4 | 2.0 |
    | 7680 x 256 | 8 | 64 | 8.0 | 3.7 | 4.0 |
    | 43806 x 298 | 50 | 32 | 124 | 49 | 23 |
    | 32256 x 512 | 63 | 64 | 148 | 66 | 42 |
    | 177012 x 596 | 402 | 32 | 946 | 372 | 160 |
    | 177012 x 596 | 402 | 128 | 997 | 555 | 326 |
    | 129024 x 1024 | 504 | 64 | 1256 | 463 | 305 |
    """
    layers = (each for each in network.modules() if isinstance(each, FactoredLinear))
    return [each for each in layers if each.weight.device.type == "cpu" and each.weight.nbytes >= _FACTORED_FROM_BYTES]


class FactoredLinear(nn.Linear):
    """A linear layer [rows, in] -> [rows, out] that can keep its weight's gradient as pairs of factors.

    Attributes:
        factors: Gradients of answers [rows, out] with inputs [rows, in], one pair for each backward pass; the weight's
            gradient is the sum of their outer products. None: it is an ordinary layer, as it is under autocast.
    """

    factors: list[tuple[Tensor, Tensor]] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Answer as `nn.Linear` does."""
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        if self.factors is None or not learns or torch.is_autocast_enabled(inputs.device.type):
            return super().forward(inputs)
        answers: Tensor = _Factored.apply(inputs, self.weight, self.bias, self.factors)  # type: ignore[no-untyped-call]
        return answers


class FactoredAdam(torch.optim.Adam):
    """Adam that takes the gradients of some layers' weights in factors; a step uses them up.

    Args:
        parameters: What learns.
        learning_rate: Step size.
        fused: Whether to fuse.
        layers: The layers; from now on they keep factors.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        learning_rate: float,
        *,
        fused: bool,
        layers: Sequence[FactoredLinear],
    ) -> None:
        super().__init__(parameters, lr=learning_rate, fused=fused)
        self._layers = tuple(layers)
        for layer in self._layers:
            layer.factors = []

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: FBT001, FBT002  torch's own signature
        """Forget all gradients."""
        super().zero_grad(set_to_none)
        for layer in self._layers:
            _kept(layer).clear()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step."""
        loss = super().step(closure)
        for layer in self._layers:
            if factors := _kept(layer):
                self._step_of_weight(layer.weight, factors)
                factors.clear()
        return loss

    def _step_of_weight(self, weight: Tensor, factors: Sequence[tuple[Tensor, Tensor]]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        rows, columns = weight.shape
        together = max(1, _GRADIENT_BYTES // (columns * weight.element_size()))
        scratch = weight.new_empty(min(rows, together), columns)
        for start in range(0, rows, together):
            some = slice(start, start + together)
            gradient = scratch[: len(weight[some])]
            for number, (outgoing, inputs) in enumerate(factors):
                torch.addmm(gradient, outgoing[:, some].T, inputs, beta=min(number, 1), out=gradient)
            averages = (state["exp_avg"][some], state["exp_avg_sq"][some])
            self._step_of_rows(weight[some], gradient, averages, state["step"].clone())
        state["step"] += 1

    def _step_of_rows(self, weight: Tensor, gradient: Tensor, averages: tuple[Tensor, Tensor], step: Tensor) -> None:
        settings = self.param_groups[0]
        adam(
            [weight],
            [gradient],
            [averages[0]],
            [averages[1]],
            [],
            [step],
            fused=settings["fused"],
            foreach=False,
            amsgrad=False,
            beta1=settings["betas"][0],
            beta2=settings["betas"][1],
            lr=settings["lr"],
            weight_decay=0.0,
            eps=settings["eps"],
            maximize=False,
        )


def _kept(layer: FactoredLinear) -> list[tuple[Tensor, Tensor]]:
    """Give the list that forward passes still under way will add to: it is emptied, never replaced."""
    return [] if layer.factors is None else layer.factors


class _Factored(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, factors: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.factors = factors
        return functional.linear(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor, None]:
        inputs, weight = ctx.saved_tensors
        ctx.factors.append((gradient, inputs))
        return gradient @ weight if ctx.needs_input_grad[0] else None, None, gradient.sum(dim=0), None
