"""`mstedge recipes`: the built-in recipes."""

from __future__ import annotations

import typer


def command(name: str | None = typer.Argument(None, help="Print this recipe.")) -> None:
    """List the built-in recipes, or print one as a start for your own."""
    from mstedge.cli.console import say, say_table
    from mstedge.training.recipes import built_in_names, built_in_text

    if name is not None:
        say(built_in_text(name).rstrip())
        return
    rows = [(each, built_in_text(each).splitlines()[0].lstrip("# ")) for each in built_in_names()]
    say_table(("recipe", "what it trains"), rows)
