"""`mstedge recipes`: the built-in recipes, and the networks that recipes can name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mstedge.student_list import ListedStudent, StudentList


def command(
    name: str | None = typer.Argument(None, help="Print this recipe."),
    students: bool = typer.Option(False, "--students", help="List the networks instead: what each takes and costs."),
    as_json: bool = typer.Option(False, "--json", help="Print the list of networks as JSON; with --students."),
) -> None:
    """List the built-in recipes, or print one as a start for your own; or list the networks."""
    from mstedge.errors import UsageError

    if name is not None and students:
        raise UsageError(f"a recipe ({name!r}) and --students at once", hint="leave one of them out")
    if as_json and not students:
        raise UsageError("--json is for the list of networks", hint="add --students; recipes are YAML")
    if students:
        _say_students(as_json=as_json)
    else:
        _say_recipes(name)


def _say_recipes(name: str | None) -> None:
    from mstedge.cli.console import say, say_table
    from mstedge.training.recipes import built_in_names, built_in_text

    if name is not None:
        say(built_in_text(name).rstrip())
        return
    rows = [(each, built_in_text(each).splitlines()[0].lstrip("# ")) for each in built_in_names()]
    say_table(("recipe", "what it trains"), rows)


def _say_students(*, as_json: bool) -> None:
    from mstedge.cli.console import say_json
    from mstedge.cli.packages import required

    with required("the list of networks", extra="train"):
        from mstedge.training.models.catalogue import student_list
    found = student_list()
    if as_json:
        say_json(found)
    else:
        _say_student_table(found)


def _say_student_table(found: StudentList) -> None:
    from mstedge.cli.console import say, say_table

    header = ("network", "parameters", "multiply-adds", "at", "takes", "source")
    say_table(header, [_row(each) for each in found.students], right=(1, 2))
    say()
    say(f"for {found.classes} classes and one sample; multiply-adds of convolutions and matrix products")
    say("also: timm:NAME where timm is installed, and module:Class of your own (--allow-code)")


def _row(student: ListedStudent) -> tuple[str, ...]:
    options = [
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in student.options.items()
    ]
    sizes = " + ".join("x".join(map(str, shape)) for shape in student.inputs)
    return (
        " ".join([student.network, *options]),
        f"{student.parameters:,}",
        f"{student.multiply_adds / 1e6:,.2f} M",
        sizes,
        student.takes,
        (student.source or "mstedge").rpartition(", ")[2],
    )
