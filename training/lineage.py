"""How a run came to be: versions, digests, commit; nothing that names the machine or the person."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata

_PACKAGES = (
    "mstedge",
    "torch",
    "numpy",
    "lightning-fabric",
    "lightning",
    "torchmetrics",
    "opencv-python-headless",
    "opencv-python",
    "soxr",
)


def package_versions() -> dict[str, str]:
    """List the versions of the packages that decide results, as far as they are installed."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit() -> str | None:
    """Give the commit of the checkout that the command runs in, or none outside of one."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
