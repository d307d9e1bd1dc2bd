"""What every sink is: answers in, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mstedge.prediction import Prediction


class Sink(Protocol):
    """Takes answers in order. One thread calls it."""

    def write(self, prediction: Prediction) -> None:
        """Take one answer; it is out (printed, written, handed over) when this returns."""
        ...

    def close(self) -> None:
        """Take no more; a second call does nothing. A stream that was given stays open."""
        ...


class CallbackSink:
    """Hands every answer to a function; what that raises goes to whoever writes.

    Args:
        function: Takes the answer.
    """

    def __init__(self, function: Callable[[Prediction], object]) -> None:
        self._function = function

    def write(self, prediction: Prediction) -> None:
        """Call the function."""
        self._function(prediction)

    def close(self) -> None:
        """Do nothing: there is nothing to let go of."""
