"""Golden arrays and small JSON files from a bundle, parsed without trusting what they say about themselves."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from mstedge.errors import BundleError
from mstedge.manifest import GOLDEN_CASES_NAME, GOLDEN_FEATURES_NAME, GOLDEN_LOGITS_NAME, GoldenCases, Manifest
from mstedge.runtime.bundle.inventory import DAMAGED

MAX_JSON_DEPTH = 32
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_SHAPE = rb"\((\d{1,10}(?:, \d{1,10}){0,7},?)\)"
_NPY_HEADER = re.compile(rb"\{'descr': '<f4', 'fortran_order': False, 'shape': " + _NPY_SHAPE + rb", \} *\n")
_JSON_TOKEN = re.compile(rb'["\\\[\]{}]')
_SHA256 = re.compile(r"[0-9a-f]{64}")


def floats_from_npy(content: bytes, shape: tuple[int, ...], *, source: str) -> NDArray[np.float32]:
    """Parse an .npy file of float32 rows: no pickle, nothing evaluated, nothing allocated on the header's word.

    Args:
        content: The file's bytes.
        shape: Shape of one row; the number of rows is what the header says.
        source: Where the bytes came from, for the message.

    Returns:
        Read-only array [rows, *shape].

    Raises:
        BundleError: Another type, order, version or shape, bytes missing or left over, or a value that is not finite.
    """
    rows, offset = _header(content, len(content), shape, source)
    values = np.frombuffer(content, dtype="<f4", offset=offset).reshape(rows, *shape)
    if not np.isfinite(values).all():
        raise BundleError(f"{source}: holds a value that is not finite", hint=DAMAGED)
    return values


def rows_of_npy(start: bytes, size_bytes: int, shape: tuple[int, ...], *, source: str) -> int:
    """Count the rows of an .npy file of float32 rows from its header and its size; the values are not looked at.

    Args:
        start: The file's first bytes, at least the header.
        size_bytes: Size of the whole file.
        shape: Shape of one row.
        source: Where the bytes came from, for the message.

    Raises:
        BundleError: Another type, order, version or shape, or bytes missing or left over.
    """
    return _header(start, size_bytes, shape, source)[0]


def _header(start: bytes, size_bytes: int, shape: tuple[int, ...], source: str) -> tuple[int, int]:
    """Give the number of rows, and where the values begin."""
    expected = f"expected float32 rows of shape {list(shape)}, as numpy.save writes them"
    offset = 10 + int.from_bytes(start[8:10], "little")
    match = _NPY_HEADER.fullmatch(start[10:offset])
    if start[:8] != _NPY_MAGIC or match is None:
        raise BundleError(f"{source}: not an .npy file of float32 in C order: {expected}", hint=DAMAGED)
    found = tuple(int(size) for size in match[1].replace(b",", b" ").split())
    if found[1:] != shape or found[0] < 1 or size_bytes - offset != 4 * math.prod(found):
        data_bytes = size_bytes - offset
        raise BundleError(f"{source}: has shape {list(found)} and {data_bytes} bytes of data: {expected}", hint=DAMAGED)
    return found[0], offset


def check_json_depth(text: bytes, *, source: str) -> None:
    """Refuse JSON that is nested deeper than any of ours, before a parser sees it.

    Raises:
        BundleError: Brackets outside strings are nested too deep.
    """
    depth, in_string, skip_at = 0, False, -1
    for token in _JSON_TOKEN.finditer(text):
        character = token.group()
        if token.start() == skip_at:
            continue
        if character == b"\\":
            skip_at = token.end()
        elif character == b'"':
            in_string = not in_string
        elif not in_string:
            depth += 1 if character in b"[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise BundleError(f"{source}: nested deeper than {MAX_JSON_DEPTH} levels", hint=DAMAGED)


def check_cases(golden: GoldenCases, manifest: Manifest, digests: dict[str, str], *, folder: str) -> None:
    """Hold golden cases against the rest of the bundle.

    Args:
        golden: The cases.
        manifest: The bundle's manifest.
        digests: What SHA256SUMS lists.
        folder: The bundle, for messages.

    Raises:
        BundleError: No case, an id or index that stands twice, a label that is none, or a file that is not listed.
    """
    source = f"{folder}/{GOLDEN_CASES_NAME}"
    if not golden.cases:
        raise BundleError(f"{source}: holds no case: nothing could be verified", hint="export the bundle again")
    if len({case.id for case in golden.cases}) != len(golden.cases):
        raise BundleError(f"{source}: two cases have the same id", hint=DAMAGED)
    if len({case.index for case in golden.cases}) != len(golden.cases):
        raise BundleError(f"{source}: two cases have the same index", hint=DAMAGED)
    for case in golden.cases:
        where = f"{source}: case {case.id!r}"
        if not (case.id and (case.id + case.licence).isprintable()):
            raise BundleError(f"{where} has an id or licence that is not printable text", hint=DAMAGED)
        if not 0 <= case.label < len(manifest.labels):
            raise BundleError(f"{where} has label {case.label}: there are {len(manifest.labels)} labels", hint=DAMAGED)
        if (case.file is None) != (case.decoded_sha256 is None):
            raise BundleError(f"{where} has one of file and decoded_sha256: expected both or none", hint=DAMAGED)
        if case.file is not None and (case.file not in digests or not case.file.startswith("golden/")):
            raise BundleError(f"{where} names {case.file!r}, which is not a golden file of the bundle", hint=DAMAGED)
        if case.decoded_sha256 is not None and not _SHA256.fullmatch(case.decoded_sha256):
            raise BundleError(f"{where} has decoded_sha256 {case.decoded_sha256[:80]!r}: not a sha256", hint=DAMAGED)


def check_rows(golden: GoldenCases, features: NDArray[np.float32], logits: NDArray[np.float32], *, folder: str) -> None:
    """Hold golden cases against the golden arrays.

    Args:
        golden: The cases.
        features: [rows, *shape].
        logits: [rows, classes].
        folder: The bundle, for messages.

    Raises:
        BundleError: Other numbers of rows, an index beyond them, or a label that its logits contradict.
    """
    if len(features) != len(logits):
        raise BundleError(
            f"{folder}/{GOLDEN_LOGITS_NAME}: has {len(logits)} rows, but {GOLDEN_FEATURES_NAME} has {len(features)}",
            hint=DAMAGED,
        )
    for case in golden.cases:
        where = f"{folder}/{GOLDEN_CASES_NAME}: case {case.id!r}"
        if not 0 <= case.index < len(logits):
            raise BundleError(f"{where} has index {case.index}: there are {len(logits)} rows", hint=DAMAGED)
        row = logits[case.index]
        if row[case.label] < row.max():
            raise BundleError(
                f"{where} has label {case.label}, but its logits are highest at {int(row.argmax())}", hint=DAMAGED
            )
