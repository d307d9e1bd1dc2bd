"""`mstedge build`: make the TensorRT engine of a bundle on the machine that shall run it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mstedge.runtime.trt.engine import KeptEngine
    from mstedge.runtime.trt.library import LibraryChoice


def command(
    bundle: Path = typer.Argument(..., help="Folder of a bundle for the target trt."),
    library: str = typer.Option("auto", "--library", help="What builds: auto, tensorrt or tensorrt-rtx."),
    output: Path | None = typer.Option(
        None, "--output", "-o", help="Write a copy of the engine here, for trtexec and the like."
    ),
    json: bool = typer.Option(False, "--json", help="Print the record of the build as JSON."),
) -> None:
    """Build the TensorRT engine of a bundle on this machine, and keep it in this machine's cache."""
    from mstedge.cli.bundle_notes import note_parity
    from mstedge.cli.console import say_json
    from mstedge.runtime.bundle import open_bundle
    from mstedge.runtime.environment import l4t_release
    from mstedge.runtime.trt.engine import make_engine, require_engine_target
    from mstedge.runtime.trt.gpu import find_gpu
    from mstedge.runtime.trt.library import find_library

    choice = _checked(library)
    opened = open_bundle(bundle)
    require_engine_target(opened)
    note_parity(opened.manifest.parity)
    kept = make_engine(opened, find_library(choice, find_gpu(), l4t=l4t_release()), output=output)
    if json:
        say_json(kept.record)
    else:
        _show(kept, output)


def _checked(library: str) -> LibraryChoice:
    from mstedge.errors import UsageError, nearest
    from mstedge.runtime.trt.library import LIBRARY_CHOICES

    if library not in LIBRARY_CHOICES:
        raise UsageError(f"--library {library!r} is not known", hint=nearest(library, LIBRARY_CHOICES))
    return library


def _show(kept: KeptEngine, output: Path | None) -> None:
    from mstedge.cli.console import say, say_table
    from mstedge.cli.engine_card import lines_of_engine
    from mstedge.cli.text import printable

    name = printable(kept.record.name, limit=60)
    say_table(("engine", name), [(key, printable(value)) for key, value in lines_of_engine(kept.record)])
    say()
    say(f"kept in {kept.plan}")
    if output is not None:
        say(f"copied to {output}, its record to {output}.json")
    say(f"engine parity {kept.record.parity}: {kept.record.parity_reason}")
