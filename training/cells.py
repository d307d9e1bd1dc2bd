"""The cells of a campaign, one run each, as many at a time as the machine has cores for."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch

from mstedge.errors import CheckFailedError
from mstedge.training.engine import accelerator_of
from mstedge.training.launcher import end_with_parent, run_in_processes
from mstedge.training.process_group import losses_of_processes_told, started_with
from mstedge.training.runs import Method, train_run
from mstedge.training.sources import load_dataset

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mstedge.recipe import Recipe
    from mstedge.recipe_stages import Engine
    from mstedge.run_card import RunCard

_POLL_SECONDS = 0.2
_messages: Any = None


class Progress(Protocol):
    """Shows how far the work has come."""

    def __call__(self, what: str, done: int, total: int, /) -> None:
        """Take note.

        Args:
            what: The piece of work.
            done: How much of it is done.
            total: How much there is.
        """


@dataclass(frozen=True, slots=True)
class Cell:
    """One run.

    Attributes:
        recipe: The recipe, its seed included.
        method: What to train with.
        folder: The run folder.
        allow_code: Whether a recipe may name a user's own network.
    """

    recipe: Recipe
    method: Method
    folder: Path
    allow_code: bool


def usable_workers(engine: Engine) -> int:
    """Say how many runs fit side by side: one on GPUs or of several processes, else one per `engine.threads` cores.

    Args:
        engine: The recipe's engine.
    """
    cores = len(os.sched_getaffinity(0))
    on_gpu = engine.device != "cpu" and torch.cuda.is_available()
    return 1 if on_gpu or engine.devices * engine.nodes > 1 else max(1, cores // (engine.threads or cores))


def run_cells(cells: Sequence[Cell], *, workers: int, progress: Progress) -> list[RunCard]:
    """Run all cells; what is finished in its folder is not done again.

    Args:
        cells: The runs.
        workers: How many run at a time, each in a process of its own; 1 runs them one after the other, here or in
            `engine.devices` processes.
        progress: Shows how far the work has come.

    Returns:
        Their cards, in the same order.

    Raises:
        MstedgeError: As the first cell that failed; cells that had not started are not run.
    """
    engine = cells[0].recipe.engine
    if engine.devices > 1 and started_with() is None:
        accelerator_of(engine)
        return run_in_processes(partial(run_one_by_one, cells), engine.devices, progress)
    workers = min(workers, len(cells))
    if workers <= 1:
        return run_one_by_one(cells, progress)
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(messages,))
    try:
        futures = [pool.submit(_run_in_worker, cell) for cell in cells]
        _watch(futures, messages, progress)
        return [future.result() for future in futures]
    except BrokenProcessPool as problem:
        raise CheckFailedError(
            "a training process was killed from outside (out of memory?)", hint="go on with --resume"
        ) from problem
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        messages.close()
        messages.join_thread()


def run_one_by_one(cells: Sequence[Cell], progress: Progress) -> list[RunCard]:
    """Run all cells in this process, alone or as one of those that were started together."""
    return [run_cell(cell, progress) for cell in cells]


def run_cell(cell: Cell, progress: Progress) -> RunCard:
    """Build the data of one cell and train in its folder."""
    name = f"seed {cell.recipe.seed} {cell.method}"
    dataset = load_dataset(cell.recipe, lambda done, total: progress(f"{name}: reading", done, total))
    with losses_of_processes_told():
        return train_run(
            cell.recipe,
            dataset,
            cell.folder,
            method=cell.method,
            listener=lambda stage, done, epochs: progress(f"{name}: {stage}", done, epochs),
            allow_code=cell.allow_code,
        )


def _watch(futures: list[Future[RunCard]], messages: Any, progress: Progress) -> None:
    """Pass on progress until all cells are done or one has failed."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        _pass_on(messages, progress)
        for future in done:
            future.result()


def _pass_on(messages: Any, progress: Progress) -> None:
    while True:
        try:
            progress(*messages.get_nowait())
        except queue.Empty:
            return


def _start_worker(messages: Any) -> None:
    """Let a worker end in silence with Ctrl-C or with its parent: what it has done is in its checkpoint."""
    global _messages  # noqa: PLW0603  a worker has one queue
    _messages = messages
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()


def _run_in_worker(cell: Cell) -> RunCard:
    return run_cell(cell, lambda what, done, total: _messages.put((what, done, total)))
