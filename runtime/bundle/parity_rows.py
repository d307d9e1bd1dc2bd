"""Whether the gate's rows that a bundle carries fit together, and fit the rest of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mstedge.errors import BundleError
from mstedge.manifest import (
    CALIBRATION_NAME,
    PARITY_FEATURES_NAME,
    PARITY_LOGITS_NAME,
    PARITY_REPORT_NAME,
    PARITY_ROWS_NAME,
)
from mstedge.runtime.bundle.inventory import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mstedge.manifest import Manifest
    from mstedge.parity import Calibration, ParityRows

_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_parity_rows(rows: ParityRows, manifest: Manifest, *, folder: str) -> None:
    """Hold the gate's rows against themselves and the manifest.

    Args:
        rows: What rows.json says.
        manifest: The bundle's manifest.
        folder: The bundle, for messages.

    Raises:
        BundleError: Lists of other lengths, a name twice or unprintable, a label that is none, or more rows carried
            than there are.
    """
    source = f"{folder}/{PARITY_ROWS_NAME}"
    count = len(rows.ids)
    if count != manifest.parity.rows:
        raise BundleError(
            f"{source}: has {count} rows, but {PARITY_REPORT_NAME} compared {manifest.parity.rows}", hint=DAMAGED
        )
    _check_lengths(source, count, {"clusters": rows.clusters, "labels": rows.labels, "sha256": rows.features_sha256})
    _check_names(source, rows.ids)
    _check_names(source, rows.edges)
    _check_digests(source, rows.features_sha256)
    if not all(cluster.isprintable() for cluster in rows.clusters):
        raise BundleError(f"{source}: has a cluster that is not printable text", hint=DAMAGED)
    classes = len(manifest.labels)
    for label in rows.labels:
        if label is not None and not 0 <= label < classes:
            raise BundleError(f"{source}: has the label {label}: there are {classes} labels", hint=DAMAGED)
    if not 0 <= rows.carried <= count:
        raise BundleError(f"{source}: carries {rows.carried} of {count} rows", hint=DAMAGED)


def check_parity_arrays(rows: ParityRows, *, features: int, logits: int, folder: str) -> None:
    """Hold the gate's rows against the number of features and logits that travel with them.

    Args:
        rows: What rows.json says.
        features: Rows of features.npy.
        logits: Rows of logits.npy.
        folder: The bundle, for messages.

    Raises:
        BundleError: There are more or fewer.
    """
    made_up = len(rows.edges)
    for name, found, wanted in (
        (PARITY_FEATURES_NAME, features, rows.carried + made_up),
        (PARITY_LOGITS_NAME, logits, len(rows.ids) + made_up),
    ):
        if found != wanted:
            raise BundleError(
                f"{folder}/{name}: has {found} rows: expected {wanted}, as {PARITY_ROWS_NAME} says", hint=DAMAGED
            )


def check_calibration(calibration: Calibration, manifest: Manifest, *, folder: str) -> None:
    """Hold the calibration rows against the manifest.

    Args:
        calibration: What calibration.json says.
        manifest: The bundle's manifest, of an int8 bundle.
        folder: The bundle, for messages.

    Raises:
        BundleError: Another method or number of rows, or lists of other lengths.
    """
    source = f"{folder}/{CALIBRATION_NAME}"
    wanted = manifest.quantisation
    found = (calibration.method, len(calibration.ids))
    if wanted is None or found != (wanted.method, wanted.rows):
        said = "none" if wanted is None else f"{wanted.method} over {wanted.rows} rows"
        raise BundleError(f"{source}: says {found[0]} over {found[1]} rows, but the manifest says {said}", hint=DAMAGED)
    _check_lengths(source, len(calibration.ids), {"sha256": calibration.features_sha256})
    _check_names(source, calibration.ids)
    _check_digests(source, calibration.features_sha256)


def check_calibration_listed(digests: Mapping[str, str], manifest: Manifest, *, folder: str) -> None:
    """Require calibration rows exactly where the precision needs them.

    Raises:
        BundleError: They are missing, or there for another precision than int8.
    """
    if (CALIBRATION_NAME in digests) == (manifest.precision == "int8"):
        return
    said = "is there" if CALIBRATION_NAME in digests else "is missing"
    raise BundleError(f"{folder}/{CALIBRATION_NAME}: {said}, but the precision is {manifest.precision}", hint=DAMAGED)


def _check_lengths(source: str, count: int, columns: Mapping[str, Sequence[object]]) -> None:
    for name, values in columns.items():
        if len(values) != count:
            raise BundleError(f"{source}: has {count} ids, but {len(values)} {name}", hint=DAMAGED)


def _check_names(source: str, names: Sequence[str]) -> None:
    for name in names:
        if not name or not name.isprintable():
            raise BundleError(f"{source}: has the name {name[:80]!r}: expected printable text", hint=DAMAGED)
    if len(set(names)) != len(names):
        raise BundleError(f"{source}: has one name twice", hint=DAMAGED)


def _check_digests(source: str, digests: Sequence[str]) -> None:
    for digest in digests:
        if not _SHA256.fullmatch(digest):
            raise BundleError(f"{source}: has {digest[:80]!r}: not a sha256", hint=DAMAGED)
