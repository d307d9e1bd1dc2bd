"""Keeping an engine's own threads on chosen cores, and reading back where they really are (Linux)."""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mstedge.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mstedge.runtime.backends.protocol import EngineOptions

_TASKS = Path("/proc/self/task")
_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def watched_threads(options: EngineOptions) -> Iterator[ThreadWatch]:
    """Watch which threads an engine starts inside the block; engines that are to be bound start one after the other.

    Raises:
        MachineError: The cores that were asked for are not those of this process, or the system cannot bind.
    """
    with _ONE_AT_A_TIME if options.affinity is not None else nullcontext():
        yield ThreadWatch(options)


class ThreadWatch:
    """Which threads an engine starts, so that they, and no others, can be bound to cores.

    Threads that Python started are never counted: they are the program's own.
    """

    def __init__(self, options: EngineOptions) -> None:
        """Note the threads that are there before the engine starts its own."""
        self._options = options
        if options.affinity is not None:
            require_cores(options.affinity)
        self._before = _foreign_threads()

    def bind(self, warm: Callable[[], object]) -> tuple[dict[str, str], tuple[str, ...]]:
        """Bind what was started since to the cores that were asked for.

        Args:
            warm: Runs the engine once: some start their threads with the first inference only.

        Returns:
            The setting as it is, and notes.

        Raises:
            MachineError: Nothing could be bound, and no fallback is allowed.
        """
        wanted = self._options.affinity
        if wanted is None:
            return {"affinity": "all cores of the process"}, ()
        warm()
        bound = [thread for thread in _foreign_threads() - self._before if _bind(thread, set(wanted))]
        cores = ",".join(str(core) for core in sorted(set(wanted)))
        if bound:
            return {"affinity": f"cores {cores} for {len(bound)} of the engine's threads; the caller's is its own"}, ()
        if self._options.thread_count == 1:
            return {"affinity": "none: the only thread is the caller's"}, ()
        note = self._options.refuse_or_note(
            f"cores {cores} were asked for, but the engine started no thread of its own that could be bound",
            "its threads stay where they are",
            hint="load this bundle first in the process, or start the process with taskset",
        )
        return {"affinity": "all cores of the process"}, (note,)


def require_cores(cores: tuple[int, ...]) -> None:
    """Require that this process may use cores.

    Raises:
        MachineError: It may not, or the system binds no threads.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise MachineError("this system cannot bind threads to cores", hint="leave the affinity away")
    usable = os.sched_getaffinity(0)
    if not set(cores) <= usable:
        raise MachineError(f"cores {sorted(set(cores))} were asked for: this process may use {sorted(usable)}")


def _foreign_threads() -> set[int]:
    """List the threads of this process that Python did not start."""
    ours = {thread.native_id for thread in threading.enumerate()}
    with suppress(OSError):
        return {int(path.name) for path in _TASKS.iterdir() if re.fullmatch("[0-9]+", path.name)} - ours
    return set()


def _bind(thread: int, cores: set[int]) -> bool:
    try:
        os.sched_setaffinity(thread, cores)
        return os.sched_getaffinity(thread) == cores
    except OSError:  # it has ended meanwhile
        return False
