"""`mstedge init`: a first recipe for one's own data."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    manifest: Path = typer.Argument(
        help="A .csv or .jsonl file: a column with a file per modality, `label`, and where wanted `split`, `group`, "
        "`cluster` and `id`."
    ),
    student: str | None = typer.Option(None, "--student", help="Modality that the device has [the first with sound]."),
    output: Path | None = typer.Option(None, "-o", "--output", help="Write the recipe here, not to stdout."),
) -> None:
    """Write a recipe for your own data: it fits the recordings, and `mstedge distill` takes it as it stands."""
    from mstedge.cli.console import note, say
    from mstedge.errors import UsageError
    from mstedge.files import write_atomically
    from mstedge.training.data.manifest_source import manifest_source
    from mstedge.training.recipes.starter import starter_recipe

    if output is not None and output.exists():
        raise UsageError(f"{output}: is there already", hint="choose another file, or remove it first")
    starter = starter_recipe(manifest, student=student, folder=Path.cwd() if output is None else output.parent)
    recipe = starter.recipe
    # What `mstedge distill` would stumble over is said here.
    source = manifest_source(
        manifest,
        recipe.modalities,
        student_modality=recipe.student.modality,
        licence="unstated",
        shareable=False,
        seed=recipe.seed,
    )
    counts = ", ".join(f"{len(index.labels)} {part}" for part, index in source.parts.items())
    left_out = f"; {source.left_out} unlabelled rows left out" if source.left_out else ""
    note(f"{manifest}: {len(source.class_names)} classes; rows: {counts}{left_out}")
    if output is None:
        say(starter.text.rstrip())
        return
    write_atomically(output, starter.text.encode())
    note(f"wrote {output}; next: mstedge distill {output}")
