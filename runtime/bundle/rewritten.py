"""A bundle with another rule for answers: the same network, front end, golden cases and parity, byte for byte."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from mstedge.errors import BundleError, UsageError
from mstedge.files import folder_written_atomically
from mstedge.manifest import MANIFEST_NAME
from mstedge.runtime.bundle.inventory import DAMAGED
from mstedge.runtime.bundle.reader import Bundle, open_bundle
from mstedge.runtime.bundle.sums import write_sums
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mstedge.manifest import Postprocess


def check_new_place(source: Path, target: Path) -> None:
    """Replace an older bundle, never the one that is read, and never anything else.

    Args:
        source: The bundle that is read.
        target: Where the new one shall stand.

    Raises:
        UsageError: Something else stands there, or one of the two would lie inside the other.
    """
    old, new = source.resolve(), target.resolve()
    if old == new or old in new.parents or new in old.parents:
        raise UsageError(f"{target}: is or holds the bundle that is read, or lies inside it", hint="name another -o")
    if not target.exists() or (target / MANIFEST_NAME).is_file():
        return
    if not target.is_dir() or any(target.iterdir()):
        raise UsageError(f"{target} exists and is not a bundle", hint="choose another place with -o")


def write_with_postprocess(bundle: Bundle, target: Path, rule: Postprocess) -> None:
    """Write a bundle that differs in `postprocess` of its manifest, whole or not at all. It is not signed.

    Args:
        bundle: The bundle that is read, proved.
        target: Where the new one shall stand; an older bundle there is kept until the new one stands.
        rule: From logits to an answer.

    Raises:
        UsageError: The place is taken by something else, or cannot be written.
        BundleError: A file of the old bundle changed since it was opened.
    """
    check_new_place(bundle.folder, target)
    with _files_for_all(), folder_written_atomically(target) as folder:
        for name in bundle.digests:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(bundle.folder / name, folder / name)
            except OSError as problem:
                raise UsageError(f"{target / name}: cannot be written: {problem.strerror}") from None
        # Keys that this version would write otherwise, or not know, stay as they were written.
        document: dict[str, Any] = msgspec.json.decode(bundle.read(MANIFEST_NAME))
        document["postprocess"] = msgspec.to_builtins(rule)
        (folder / MANIFEST_NAME).write_bytes(encode_json(document))
        write_sums(folder)
        _require_same_files(bundle, open_bundle(folder))


def _require_same_files(old: Bundle, new: Bundle) -> None:
    changed = [name for name in old.digests if name != MANIFEST_NAME and new.digests.get(name) != old.digests[name]]
    if changed:
        raise BundleError(f"{old.folder / changed[0]}: changed since the bundle was opened", hint=DAMAGED)


@contextmanager
def _files_for_all() -> Iterator[None]:
    """Make files with the same rights everywhere, whatever the user's mask says."""
    old = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(old)
