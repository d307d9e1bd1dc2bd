"""Where this machine keeps what can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Find the folder for what can be made again: `MSTEDGE_CACHE`, or `mstedge` in the user's cache folder."""
    if chosen := os.environ.get("MSTEDGE_CACHE"):
        return Path(chosen)
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path("~/.cache")) / "mstedge"
