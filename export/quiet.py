"""Converters that say more than a user wants to read."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quiet(logger_name: str, *, level: int = logging.ERROR) -> Iterator[None]:
    """Keep progress, warnings and deprecation chatter of a library away from the user's terminal.

    Args:
        logger_name: The library's logger.
        level: What it may still say.
    """
    logger = logging.getLogger(logger_name)
    before = logger.level
    logger.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
