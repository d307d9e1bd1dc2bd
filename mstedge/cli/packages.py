"""Optional packages: a missing one becomes an error that says which extra brings it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from mstedge.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def required(purpose: str, *, extra: str) -> Iterator[None]:
    """Import inside this block what an extra of mstedge brings.

    Args:
        purpose: What needs it, as the subject of a sentence.
        extra: The extra.

    Raises:
        MissingPackageError: A package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as problem:
        name = (problem.name or "").partition(".")[0]
        if name in {"", "mstedge"}:
            raise
        raise MissingPackageError(name, purpose=purpose, extra=extra) from problem
