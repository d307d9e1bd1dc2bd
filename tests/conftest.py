"""What holds for every test: it leaves no environment variable, no thread and no file in the checkout behind."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parents[1]
CACHES = {
    *(".git", ".venv", ".typing", "__pycache__"),
    *(".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".coverage"),
}
# Set by pytest, and by scikit-learn, OpenCV and Lightning Fabric when they are imported.
SET_BY_OTHERS = {
    *("PYTEST_CURRENT_TEST", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "LD_LIBRARY_PATH"),
    *("PYTORCH_NVML_BASED_CUDA_CHECK", "TORCHINDUCTOR_CACHE_DIR"),
}
SECONDS_TO_END = 2.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--clean-checkout",
        action="store_true",
        help="fail when the tests leave files in the checkout (`make test` says so; not while you edit files)",
    )


@pytest.fixture(scope="session")
def checkout() -> Path:
    return CHECKOUT


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    environment = _environment()
    threads = set(threading.enumerate())
    yield
    changed = sorted({name for name, _ in environment.items() ^ _environment().items()})
    assert not changed, f"the test left environment variables changed: {changed}"
    left = _threads_left(threads)
    assert not left, f"the test left threads running: {left}"


@pytest.fixture(autouse=True, scope="session")
def _leaves_the_checkout_as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    if not request.config.getoption("--clean-checkout"):
        yield
        return
    before = _files()
    yield
    after = _files()
    assert after == before, f"the tests made or removed files: {sorted(after ^ before)}"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in SET_BY_OTHERS}


def _threads_left(before: set[threading.Thread]) -> list[str]:
    deadline = time.monotonic() + SECONDS_TO_END
    while left := [thread for thread in threading.enumerate() if thread not in before]:
        if time.monotonic() > deadline:
            return [thread.name for thread in left]
        time.sleep(0.01)
    return []


def _files() -> set[str]:
    found: set[str] = set()
    for folder, folders, files in os.walk(CHECKOUT):
        folders[:] = [name for name in folders if name not in CACHES and not name.endswith(".egg-info")]
        found.update(str((Path(folder) / name).relative_to(CHECKOUT)) for name in [*folders, *files])
    return found
