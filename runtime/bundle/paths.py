"""Names of files inside a bundle: what a name may look like, and which names stand in each other's way."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from mstedge.errors import BundleError

MAX_PATH_BYTES = 240
MAX_PATH_PARTS = 6
_UNPRINTABLE = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}


def check_name(name: str, *, source: str) -> None:
    """Refuse a name that could leave the folder, hide, or mean different things to different programs.

    Args:
        name: A path relative to the bundle, parts separated by `/`.
        source: Where the name was found, for the message.

    Raises:
        BundleError: The name is not one that a bundle may hold.
    """
    problem = _problem_with(name)
    if problem:
        raise BundleError(
            f"{source}: {name!r} {problem}", hint="a bundle only holds plain relative names: do not use it"
        )


def check_collisions(names: Iterable[str], *, source: str) -> None:
    """Refuse names that some file systems take for one: other case, or another Unicode form of the same letters.

    Raises:
        BundleError: Two names, or two of the folders they are in, collide.
    """
    spellings: dict[str, str] = {}
    for name in names:
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            known = spellings.setdefault(_folded(path), path)
            if known != path:
                raise BundleError(
                    f"{source}: {path!r} and {known!r} are one file on some systems",
                    hint="names must differ in more than case and Unicode form: export the bundle again",
                )


def _problem_with(name: str) -> str | None:
    parts = name.split("/")
    problems = {
        "holds a control or invisible character": any(unicodedata.category(one) in _UNPRINTABLE for one in name),
        "holds a backslash": "\\" in name,
        "is an absolute path": name.startswith("/"),
        "leaves the folder": ".." in parts,
        "has an empty part": "" in parts or "." in parts,
        "starts with a dash, which programs take for an option": name.startswith("-"),
        f"has more than {MAX_PATH_PARTS} parts": len(parts) > MAX_PATH_PARTS,
        f"is longer than {MAX_PATH_BYTES} bytes": len(name.encode(errors="replace")) > MAX_PATH_BYTES,
    }
    return next((problem for problem, holds in problems.items() if holds), None)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
