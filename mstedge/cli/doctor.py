"""`mstedge doctor`: what this machine has and lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mstedge.runtime.doctor import DoctorReport


def command(as_json: bool = typer.Option(False, "--json", help="Print the result as JSON.")) -> None:
    """Say what is installed, what is missing and how to get it, and what this machine is."""
    from mstedge.cli.console import say_json
    from mstedge.errors import MachineError
    from mstedge.runtime.doctor import examine

    report = examine()
    if as_json:
        say_json(report)
    else:
        say_report(report)
    if not report.healthy:
        raise typer.Exit(MachineError.exit_code)


def say_report(report: DoctorReport) -> None:
    """Print a report on one screen."""
    from mstedge.cli.console import say, say_table

    rows = [
        (each.name, each.version or "missing", each.needed_by, "" if each.version else each.install)
        for each in report.packages
    ]
    say_table(("package", "installed", "needed by", "to install"), rows)
    say()
    for name, value in _machine(report):
        say(f"{name:<9} {value}")
    for backend in report.backends:
        way_out = f": {backend.hint}" if backend.hint and not backend.available else ""
        say(f"backend   {backend.name}: {'usable' if backend.available else 'not usable'}, {backend.reason}{way_out}")
    for problem in report.problems:
        say(f"problem: {problem}")
    say()
    say("the base install works" if report.healthy else "the base install is broken")


def _machine(report: DoctorReport) -> list[tuple[str, str]]:
    machine = report.environment
    system = f"{machine.operating_system} · kernel {machine.kernel}"
    cache = report.cache
    return [
        *([("board", machine.board)] if machine.board else []),
        ("processor", f"{machine.cpu} · {machine.cores} usable cores · {machine.architecture}"),
        ("memory", f"{machine.memory_bytes / 2**30:.1f} GiB"),
        ("system", f"{system} · L4T {machine.l4t}" if machine.l4t else system),
        ("governor", machine.governor or "not told"),
        ("cache", f"{cache.folder}: {'writable' if cache.writable else 'not writable, set MSTEDGE_CACHE'}"),
    ]
