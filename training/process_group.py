"""Which processes share out each batch: those that torchrun, or `launcher` on this machine, started together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from mstedge.errors import CheckFailedError, ConfigError, UsageError

if TYPE_CHECKING:
    from mstedge.recipe_stages import Engine as EngineConfig

_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class LostProcessError(CheckFailedError):
    """Another process of the same run has ended: the cause is its, not ours."""


@dataclass(frozen=True, slots=True)
class StartedWith:
    """What this process was told about those that were started with it.

    Attributes:
        rank: Which of all processes this is; the first one, 0, writes.
        devices: Processes on this machine.
        nodes: Machines.
    """

    rank: int
    devices: int
    nodes: int


def started_with() -> StartedWith | None:
    """Read from the environment whether torchrun or `launcher` started this process with others; none if alone.

    Raises:
        UsageError: The variables cannot be, or machines have different numbers of processes.
    """
    if any(name not in os.environ for name in _VARIABLES) or os.environ["WORLD_SIZE"] == "1":
        return None
    rank, processes = _number("RANK"), _number("WORLD_SIZE")
    devices = _number("LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in os.environ else processes
    if rank >= processes or devices < 1 or processes % devices:
        raise UsageError(
            f"RANK is {rank}, WORLD_SIZE {processes} and LOCAL_WORLD_SIZE {devices}: "
            "expected as many processes on every machine",
            hint="start every machine with the same --nproc-per-node",
        )
    return StartedWith(rank, devices, processes // devices)


def is_first_process() -> bool:
    """Say whether this process is the one that writes and prints."""
    started = started_with()
    return started is None or started.rank == 0


def engine_as_started(config: EngineConfig) -> EngineConfig:
    """Put into a recipe's engine how many processes torchrun has started, where the recipe leaves it open.

    Args:
        config: The recipe's engine.

    Returns:
        The same with `devices` and `nodes` of the processes that are there, or that shall be started here.

    Raises:
        ConfigError: The recipe asks for other numbers than torchrun has started.
        UsageError: It asks for several machines, and torchrun has started nothing.
    """
    started = started_with()
    if started is None:
        if config.nodes > 1:
            raise UsageError(
                f"engine.nodes is {config.nodes}: the processes of several machines have to be started by torchrun",
                hint=f"on each of them: {torchrun_command(config)}",
            )
        return config
    for name, wanted, found in (
        ("devices", config.devices, started.devices),
        ("nodes", config.nodes, started.nodes),
    ):
        if wanted not in {1, found}:
            raise ConfigError(
                f"engine.{name} is {wanted}: torchrun has started {started.devices} processes on each of "
                f"{started.nodes} machines",
                hint=f"{torchrun_command(config)}, or leave engine.{name} at 1: torchrun's number is then taken",
            )
    return msgspec.structs.replace(config, devices=started.devices, nodes=started.nodes)


def torchrun_command(config: EngineConfig) -> str:
    """Give the command that starts as many processes as a recipe asks for."""
    several = f"--nnodes {config.nodes} --rdzv-backend c10d --rdzv-endpoint FIRST_MACHINE:29500"
    where = several if config.nodes > 1 else "--standalone"
    return f"torchrun {where} --nproc-per-node {config.devices} -m mstedge distill RECIPE -o RUN"


@contextmanager
def losses_of_processes_told() -> Iterator[None]:
    """Tell of a process that is gone in one sentence, whatever the library between us says.

    Raises:
        LostProcessError: A message to another process could not be delivered.
    """
    try:
        yield
    except RuntimeError as problem:
        if not _is_of_the_connection(problem):
            raise
        raise LostProcessError(
            "another process of this run has ended or cannot be reached",
            hint="look for its own message; go on with --resume",
        ) from problem


def _is_of_the_connection(problem: RuntimeError) -> bool:
    from torch.distributed import DistError  # noqa: PLC0415  commands ask this module before they need torch

    return isinstance(problem, DistError) or "/gloo/" in str(problem) or "NCCL" in str(problem)


def _number(name: str) -> int:
    text = os.environ[name]
    if not text.isdecimal():
        raise UsageError(f"the environment variable {name} is {text!r}: expected a number, as torchrun sets it")
    return int(text)
