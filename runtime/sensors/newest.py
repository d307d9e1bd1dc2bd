"""What lies between a device, which does not wait, and a reader, which may be late: the oldest makes room."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """A queue from one thread to another that never makes the writer wait.

    Args:
        capacity: Items that are held; one more displaces the oldest.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[Item] = deque()
        self._capacity = capacity
        self._ended = False
        self._problem: Exception | None = None
        # A reentrant lock: a signal handler may end the queue while the same thread stands in `take`.
        self._changed = threading.Condition(threading.RLock())

    def put(self, item: Item) -> Item | None:
        """Add an item; after the end it is not taken any more.

        Returns:
            The item that had to make room, if one had to.
        """
        with self._changed:
            if self._ended:
                return None
            displaced = self._items.popleft() if len(self._items) >= self._capacity else None
            self._items.append(item)
            self._changed.notify()
            return displaced

    def take(self, patience_s: float | None = None) -> Item | None:
        """Take the oldest item that is left, and wait for one where there is none.

        Args:
            patience_s: Longest wait; none waits until the end.

        Returns:
            The item, or none at the end: what was put before the end is handed out first.

        Raises:
            TimeoutError: Nothing came in that time.
            Exception: What the writer ended with.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._ended, patience_s):
                raise TimeoutError
            if self._items:
                return self._items.popleft()
            if self._problem is not None:
                raise self._problem
            return None

    def end(self, problem: Exception | None = None) -> None:
        """Say that nothing more comes; only the first call counts.

        Args:
            problem: Why, where it is an error: the reader meets it after the last item.
        """
        with self._changed:
            if not self._ended:
                self._ended, self._problem = True, problem
            self._changed.notify_all()
