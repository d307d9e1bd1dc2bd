"""The `stages`, `optimiser`, `engine` and `cache` parts of a recipe: how training goes."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mstedge.errors import ConfigError
from mstedge.schema import Record

Routing: TypeAlias = Literal["gate", "soft", "straight_through", "random", "mean", "unmasked", "correctness"]


def _check_epochs(epochs: int) -> None:
    if epochs < 0:
        raise ConfigError(f"epochs is {epochs}: expected 0 or more")


class Collaborative(Record, frozen=True, kw_only=True):
    """Stage 1: all members learn together.

    Attributes:
        epochs: Passes over the training part; 0 leaves members as they begin.
    """

    epochs: int = 40

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)


class Specialise(Record, frozen=True, kw_only=True):
    """Stage 2: one MaskNet per tap learns to bring its frozen teacher near the student.

    Attributes:
        epochs: Passes over the training part.
        heads: Attention heads of a MaskNet.
        hidden_dim_factor: Divides a MaskNet's hidden width.
        learning_rate: Step size of the MaskNets; none takes the optimiser's. Too large a one drives every mask to 1.
        masks: `isolated` lets each mask act alone, as in the paper. With `cumulative`, as in the reference
            implementation, those of a teacher's earlier taps act as well in stage 3, though each was trained alone.
    """

    epochs: int = 3
    heads: int = 3
    hidden_dim_factor: int = 2
    learning_rate: float | None = None
    masks: Literal["isolated", "cumulative"] = "isolated"

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)
        if self.heads < 1 or self.hidden_dim_factor < 1:
            raise ConfigError(
                f"heads is {self.heads} and hidden_dim_factor {self.hidden_dim_factor}: expected 1 or more of each"
            )


class Distill(Record, frozen=True, kw_only=True):
    """Stage 3: the router picks teachers for each sample while the student learns.

    Attributes:
        epochs: Passes over the training part.
        top_k: Number of specialised teachers per sample.
        kl_weight: Weight mu1 of the distillation term at epoch 0.
        kl_decay: Factor on mu1 after epochs 0, 30, 60, ...
        balance_weight: Weight mu2 of the load-balancing term at epoch 0.
        balance_decay: Factor on mu2 after epochs 0, 10, 20, ...
        learning_rate: Step size of student and router; none takes the optimiser's. The student has learnt already:
            a fresh Adam with large steps throws it back.
        routing: What each teacher counts for a row. `gate`: the router's top k, as in the paper. `soft`: all, by the
            router's probabilities. `straight_through`: the top k, with the gradient of `soft`. `correctness`: all, by
            how right they are about a labelled row. Controls: `random` (k at random), `mean` (all alike), `unmasked`
            (`gate` over the teachers without masks).
        balance: Load-balancing term: `kl` to uniform, or `cv`, the coefficient of variation.
        gate_input: Whether the router's gradient reaches the student's logits (`attached`, as published) or not.
    """

    epochs: int = 40
    top_k: int = 1
    kl_weight: float = 1.0
    kl_decay: float = 0.5
    balance_weight: float = 1.0
    balance_decay: float = 0.9
    learning_rate: float | None = None
    routing: Routing = "gate"
    balance: Literal["kl", "cv"] = "kl"
    gate_input: Literal["attached", "detached"] = "attached"

    def __post_init__(self) -> None:
        _check_epochs(self.epochs)


class Stages(Record, frozen=True, kw_only=True):
    """The three stages of MST-Distill."""

    collaborative: Collaborative = Collaborative()
    specialise: Specialise = Specialise()
    distill: Distill = Distill()


class Optimiser(Record, frozen=True, kw_only=True):
    """Adam, the same in every stage.

    Attributes:
        learning_rate: Step size.
        batch_rows: Rows per step, labelled and unlabelled mixed.
    """

    learning_rate: float = 1e-3
    batch_rows: int = 128

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.batch_rows < 2:
            raise ConfigError("learning_rate must be above 0 and batch_rows at least 2 (BatchNorm needs two rows)")


class Engine(Record, frozen=True, kw_only=True):
    """Where and how training computes.

    Attributes:
        device: `auto` takes a GPU where there is one.
        precision: Arithmetic of forward and backward passes.
        threads: CPU threads of each process; a run repeats bit for bit only with the same number. None: one per core,
            shared out among the processes.
        devices: Processes on this machine, each with a device of its own; a batch is shared out among them.
        nodes: Machines; more than one needs torchrun, which starts the processes.
        fused_adam: One kernel for Adam's whole step. None: where it was measured to be faster.
        compile: Let torch.compile build kernels for the networks; needs a C++ compiler, or Triton on a GPU.
        channels_last: Keep images with their channels last in memory.
        data: Where features are kept: on the `device`, or in `mapped` files that threads read ahead. `auto`: on the
            device if they take less than half of its free memory.
        workers: Threads that read ahead from mapped files.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16-mixed", "fp16-mixed"] = "fp32"
    threads: int | None = None
    devices: int = 1
    nodes: int = 1
    fused_adam: bool | None = None
    compile: bool = False
    channels_last: bool = False
    data: Literal["auto", "device", "mapped"] = "auto"
    workers: int = 2

    def __post_init__(self) -> None:
        for name in ("devices", "nodes", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"engine.{name} is {getattr(self, name)}: expected 1 or more")


class Cache(Record, frozen=True, kw_only=True):
    """What may be kept so that it need not be computed again; results are the same with and without.

    Attributes:
        max_bytes: Most memory for teachers' logits and for features at their taps, in bytes each.
        targets: Where stage 3 has the teachers' logits from: a table in `memory`, one in a `file`, or the `routed`
            teacher runs again for each row. `auto`: memory if the table fits into `max_bytes`, a file while it takes
            no more than sixteen times as much and half of what the disk has free, else routed.
    """

    max_bytes: int = 1 << 30
    targets: Literal["auto", "memory", "file", "routed"] = "auto"

    def __post_init__(self) -> None:
        if self.max_bytes < 0:
            raise ConfigError(f"cache.max_bytes is {self.max_bytes}: expected 0 or more")
