"""The command line: one file per command, errors turned into exit codes in one place."""

from __future__ import annotations

import sys
import traceback
from typing import NoReturn

import typer

from mstedge import __version__
from mstedge.cli import (
    bench,
    build,
    distill,
    doctor,
    evaluate,
    export,
    init,
    inspect,
    parity,
    predict,
    recipes,
    report,
    sign,
    tune,
    verify,
)
from mstedge.cli.text import printable
from mstedge.errors import MstedgeError

EXIT_BUG = 70
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="mstedge",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, module in {
    "distill": distill,
    "export": export,
    "parity": parity,
    "build": build,
    "verify": verify,
    "sign": sign,
    "predict": predict,
    "evaluate": evaluate,
    "tune": tune,
    "bench": bench,
    "inspect": inspect,
    "report": report,
    "recipes": recipes,
    "init": init,
    "doctor": doctor,
}.items():
    app.command(name)(module.command)


def _print_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"mstedge {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    _version: bool = typer.Option(
        False, "--version", help="Print the version.", is_eager=True, callback=_print_version
    ),
) -> None:
    """Train a single-sensor student with the help of other sensors, and take it to the device."""


def main() -> NoReturn:
    """Run the command line and end the process with the exit code that the design promises."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command.

    Args:
        arguments: What stands behind `mstedge` on the command line.

    Returns:
        0 done, 1 a check failed, 2 usage, 3 this machine lacks something, 4 cannot tell, 70 a bug, 130 interrupted.
    """
    try:
        code = app(arguments, standalone_mode=False)
    except MstedgeError as problem:
        lines = [printable(line) for line in f"error: {problem}".splitlines()]
        sys.stderr.write("\n".join(lines) + "\n")
        return problem.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Exception as problem:  # noqa: BLE001  the last line of defence: a bug must say so and end with its own code
        return _ended_by(problem)
    if code == EXIT_INTERRUPTED:  # Typer turns Ctrl-C into this code and says nothing
        sys.stderr.write("interrupted\n")
    return code if isinstance(code, int) else 0


def _ended_by(problem: Exception) -> int:
    """Tell a mistake on the command line from a bug of ours."""
    show = getattr(problem, "show", None)
    if callable(show):
        show()
        return int(getattr(problem, "exit_code", 2))
    traceback.print_exc()
    sys.stderr.write(
        f"\nThis is a bug in mstedge {__version__}, not your mistake. Please report it with the lines above.\n"
    )
    return EXIT_BUG
