"""Starts the processes of a run on this machine, and sees to it that they end together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Any, TypeVar

from torch import distributed

from mstedge.errors import CheckFailedError, MstedgeError
from mstedge.training.process_group import LostProcessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from mstedge.training.cells import Progress

    Work = Callable[[Progress], Any]

Result = TypeVar("Result")

_HERE = "127.0.0.1"
_LOOPBACK = "lo"
_SECONDS_FOR_THE_CAUSE = 2.0
_SECONDS_TO_END = 5.0


@dataclass(slots=True)
class _Member:
    """A process and what it has said last.

    Attributes:
        rank: Its number.
        process: The process.
        messages: What it says comes from here; ends with the process.
        done: Whether it has finished its work.
        result: What it made.
        problem: What ended it.
    """

    rank: int
    process: BaseProcess
    messages: Connection
    done: bool = False
    result: Any = None
    problem: Exception | None = None


def run_in_processes(work: Callable[[Progress], Result], processes: int, progress: Progress) -> Result:
    """Do the same work in several new processes, which find each other as if torchrun had started them.

    Args:
        work: What each of them does; importable by name, and given something to report progress to.
        processes: How many.
        progress: Hears what the first process reports.

    Returns:
        What the first process made.

    Raises:
        CheckFailedError: A process was killed; the others have been ended.
        MstedgeError: As the first process that failed; the others have been ended.
    """
    context = multiprocessing.get_context("spawn")
    store = distributed.TCPStore(_HERE, 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    members: list[_Member] = []
    try:
        for rank in range(processes):
            receiver, sender = context.Pipe(duplex=False)
            variables = _variables(rank, processes, store.port)
            process = context.Process(target=_work_in_process, args=(work, variables, sender), daemon=True)
            with _without_ctrl_c():
                process.start()
            sender.close()  # so that the pipe ends with the process
            members.append(_Member(rank, process, receiver))
        _watch(members, progress)
        return members[0].result  # type: ignore[no-any-return]
    finally:
        _end(members)


def end_with_parent() -> None:
    """Leave no orphan that goes on writing into a run which somebody resumes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _watch(members: Sequence[_Member], progress: Progress) -> None:
    """Listen until all have finished or one has failed, and raise what ended it."""
    patience: float | None = None
    while waiting := {each.messages: each for each in members if not each.done and each.problem is None}:
        left = None if patience is None else patience - time.monotonic()
        if left is not None and left <= 0:
            break
        for ready in connection.wait(list(waiting), left):
            _listen(waiting[ready], progress)  # type: ignore[index]
        problems = [each.problem for each in members if each.problem is not None]
        if any(_is_the_cause(each) for each in problems):
            break
        if problems and patience is None:  # a process that met the loss of another may be heard first
            patience = time.monotonic() + _SECONDS_FOR_THE_CAUSE
    problems = [each.problem for each in members if each.problem is not None]
    if problems:
        raise min(problems, key=lambda each: (not _is_the_cause(each), isinstance(each, LostProcessError)))


def _is_the_cause(problem: Exception) -> bool:
    return isinstance(problem, MstedgeError) and not isinstance(problem, LostProcessError)


def _listen(member: _Member, progress: Progress) -> None:
    """Take one message of a process, or note that it is gone."""
    try:
        kind, content = member.messages.recv()
    except (EOFError, OSError):
        member.problem = _death_of(member)
        return
    if kind == "progress":
        progress(*content)
    elif kind == "done":
        member.done, member.result = True, content
    else:
        member.problem = content if isinstance(content, MstedgeError) else RuntimeError(content)


def _death_of(member: _Member) -> CheckFailedError:
    member.process.join(_SECONDS_TO_END)
    code = member.process.exitcode or 0
    how = f"was killed by {signal.Signals(-code).name} (out of memory?)" if code < 0 else f"ended with code {code}"
    return CheckFailedError(f"training process {member.rank} {how}", hint="go on with --resume")


def _end(members: Sequence[_Member]) -> None:
    """End what still runs, by force where it does not listen."""
    finished = bool(members) and all(each.done for each in members)
    for member in members:
        if not finished:
            member.process.terminate()
    deadline = time.monotonic() + _SECONDS_TO_END
    for member in members:
        member.process.join(max(0.0, deadline - time.monotonic()))
        if member.process.is_alive():
            member.process.kill()
            member.process.join()
        member.messages.close()
        member.process.close()


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Let processes that start in the block never hear Ctrl-C, which ends them through their parent."""
    resource_tracker.ensure_running()  # it lets signals through again when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _variables(rank: int, processes: int, port: int) -> dict[str, str]:
    """Give what torchrun would set."""
    variables = {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": _HERE,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": str(True),  # the store is the parent's
    }
    # Without it gloo looks for the machine's own name on the network, which need not be there.
    return variables | {"GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", _LOOPBACK)}


def _work_in_process(work: Work, variables: dict[str, str], sender: Connection) -> None:
    """Work as one of several; what libraries print is no result."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.environ.update(variables)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    first = variables["RANK"] == "0"
    try:
        result = work(partial(_tell, sender) if first else _keep_quiet)
    except MstedgeError as problem:
        sender.send(("failed", problem))
    except Exception:  # noqa: BLE001  a bug must reach the one who can report it
        sender.send(("failed", traceback.format_exc()))
    else:
        sender.send(("done", result if first else None))


def _tell(sender: Connection, what: str, done: int, total: int) -> None:
    sender.send(("progress", (what, done, total)))


def _keep_quiet(_what: str, _done: int, _total: int) -> None:
    """Say nothing: the first process speaks for all."""
