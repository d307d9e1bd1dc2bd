"""What TensorRT says while it works, collected: warnings and errors, each once."""

from __future__ import annotations

import functools
from collections import deque
from typing import Any

_HEARD = frozenset({"INTERNAL_ERROR", "ERROR", "WARNING"})
_MOST_MESSAGES = 50
_MOST_KEPT = 500  # a device that complains with every answer does so for years
_LONGEST_MESSAGE = 400


@functools.cache
def logger_of(module: Any) -> Any:
    """Give the one logger of a library: TensorRT keeps the first that it is given for the whole process.

    Args:
        module: The library.

    Returns:
        An ILogger whose `heard` lists (severity, text) since it was last cleared.
    """

    class CollectingLogger(module.ILogger):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.heard: deque[tuple[str, str]] = deque(maxlen=_MOST_KEPT)

        def log(self, severity: Any, text: str) -> None:
            if severity.name in _HEARD:
                self.heard.append((severity.name, text))

    return CollectingLogger()


def warnings_in(logger: Any) -> tuple[str, ...]:
    """List warnings, each once."""
    return _texts(text for severity, text in logger.heard if severity == "WARNING")


def errors_in(logger: Any) -> tuple[str, ...]:
    """List errors, each once."""
    return _texts(text for severity, text in logger.heard if severity != "WARNING")


def _texts(found: Any) -> tuple[str, ...]:
    shortened = (" ".join(text.split())[:_LONGEST_MESSAGE] for text in found)
    return tuple(dict.fromkeys(shortened))[:_MOST_MESSAGES]
