"""`mstedge report`: any result as one HTML file."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    path: Path = typer.Argument(..., help="A run folder, a bundle folder, or a JSON file that a command wrote."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Where the report goes.  [default: report.html in a run, else beside PATH]"
    ),
) -> None:
    """Turn a result into one self-contained HTML file, and print where it stands."""
    from mstedge.cli.console import say
    from mstedge.report import write_report

    say(str(write_report(path, output)))
