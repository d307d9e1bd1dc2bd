"""The errors that a user can meet, each with the exit code that its command ends with."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class MstedgeError(Exception):
    """An error that the user can act on: what happened, which value, and the way out.

    Args:
        message: What is wrong, with the offending value.
        hint: What fixes it, shown on a line of its own.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Let an error travel between processes, whatever its constructor takes."""
        return (_restored, (type(self), self.message, self.hint))

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


def _restored(kind: type[MstedgeError], message: str, hint: str | None) -> MstedgeError:
    problem = kind.__new__(kind)
    MstedgeError.__init__(problem, message, hint=hint)
    return problem


class CheckFailedError(MstedgeError):
    """A check ran and the answer is no: parity, verification, a sample that could not be read."""

    exit_code = 1


class BundleError(CheckFailedError, ValueError):
    """A bundle is damaged, was tampered with, or breaks a limit."""


class SampleError(CheckFailedError):
    """One input (a file, an array) cannot be turned into features."""


class DivergedError(CheckFailedError):
    """Training met a value that is not finite."""


class UsageError(MstedgeError):
    """A command, path or argument does not make sense."""

    exit_code = 2


class ConfigError(UsageError, ValueError):
    """A recipe, manifest or specification does not say something that can be done."""


class DataError(UsageError):
    """The rows of a dataset cannot be used as asked."""


class MachineError(MstedgeError):
    """This machine lacks something that was asked for."""

    exit_code = 3


class MissingPackageError(MachineError, ImportError):
    """An optional package is needed and not installed.

    Args:
        package: The import name that was not found.
        purpose: What needs it, as the subject of a sentence.
        extra: The extra of mstedge that brings it.
    """

    def __init__(self, package: str, *, purpose: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed here",
            hint=f"pip install 'mstedge[{extra}]'",
        )


class InconclusiveError(MstedgeError):
    """The data cannot tell."""

    exit_code = 4


def nearest(word: str, choices: Iterable[str]) -> str:
    """Name the closest choice and all of them, for the hint of an error.

    Args:
        word: What the user wrote.
        choices: What would have been understood.
    """
    known = sorted(choices)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    listing = "choose from: " + ", ".join(known) if known else "there is nothing to choose from"
    return f"did you mean {close[0]!r}? {listing}" if close else listing


def first_line(problem: Exception) -> str:
    """Take the first line of a library's complaint, which may go on for pages."""
    text = str(problem).strip()
    return text.splitlines()[0] if text else type(problem).__name__
