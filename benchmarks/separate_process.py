"""Measurements of `gpu_acceptance.py`, each in a process of its own, so that none finds memory that another one took.

Processes are forked from a server that has imported everything and touched no GPU: that saves each of them the imports.
Where an import does touch the GPU, its forks cannot: then each process starts from nothing.
"""

from __future__ import annotations

import multiprocessing
import traceback
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

from gpu_acceptance_child import SLOW_IMPORTS, Job, measured

START_METHODS = ("forkserver", "spawn")


def measure(job: Job, *, seconds: float, start: str = START_METHODS[0]) -> dict[str, Any]:
    """Measure once.

    Args:
        job: What.
        seconds: How long it may take; it is ended when they are over.
        start: One of `START_METHODS`.

    Returns:
        What `measured` gives; `skipped` where time is up, `failed` where it came to nothing.
    """
    if seconds <= 0:
        return {"skipped": "time is up"}
    context = _context(start)
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(job, sending))
    process.start()
    sending.close()
    try:
        if receiving.poll(seconds):
            result: dict[str, Any] = receiving.recv()
            return result
        process.kill()
    except EOFError:
        process.join()
        return {"failed": f"its process ended with {process.exitcode} and gave nothing"}
    else:
        return {"skipped": f"it was not done after the {seconds:.0f} s that were left"}
    finally:
        process.join()
        receiving.close()


def _send(job: Job, sending: Connection) -> None:
    try:
        sending.send(measured(job))
    except Exception as problem:  # noqa: BLE001  it is told, and the next measurement goes on
        traceback.print_exc()
        sending.send({"failed": f"{type(problem).__name__}: {problem}"})


@cache
def _context(start: str) -> Any:
    context = multiprocessing.get_context(start)
    if start == "forkserver":
        context.set_forkserver_preload(["gpu_acceptance_child", *SLOW_IMPORTS])
    return context
