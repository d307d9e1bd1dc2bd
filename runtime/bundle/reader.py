"""Opening a bundle: every check, in an order in which nothing is parsed before it is proved."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mstedge.errors import BundleError, UsageError
from mstedge.manifest import (
    CALIBRATION_NAME,
    GOLDEN_CASES_NAME,
    GOLDEN_FEATURES_NAME,
    GOLDEN_LOGITS_NAME,
    IR_NAME,
    IR_WEIGHTS_NAME,
    MANIFEST_NAME,
    PARITY_FEATURES_NAME,
    PARITY_LOGITS_NAME,
    PARITY_REPORT_NAME,
    PARITY_ROWS_NAME,
    SUMS_NAME,
    GoldenCases,
    Manifest,
)
from mstedge.parity import Calibration, ParityReport, ParityRows
from mstedge.run_card import CARD_NAME
from mstedge.runtime.bundle.agreement import check_graph, check_listed, check_parity, check_words
from mstedge.runtime.bundle.golden import check_cases, check_json_depth, check_rows, floats_from_npy, rows_of_npy
from mstedge.runtime.bundle.inventory import DAMAGED, MAX_FILES, list_files, read_file, read_start
from mstedge.runtime.bundle.ir_limits import check_ir
from mstedge.runtime.bundle.onnx_limits import check_onnx
from mstedge.runtime.bundle.parity_rows import (
    check_calibration,
    check_calibration_listed,
    check_parity_arrays,
    check_parity_rows,
)
from mstedge.runtime.bundle.sums import check_digest, check_sums, read_sums
from mstedge.schema import decode_json

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose every file was proved.

    Attributes:
        folder: Where it stands.
        manifest: What it is and does.
        digests: sha256 by name relative to the folder, of every file but SHA256SUMS and SIGNATURE.
    """

    folder: Path
    manifest: Manifest
    digests: dict[str, str]

    def read(self, name: str) -> bytes:
        """Read a file and prove the very bytes that are returned.

        Args:
            name: Name relative to the folder, as SHA256SUMS lists it.

        Raises:
            BundleError: The file is not listed, or changed since the bundle was opened.
        """
        return _proved(self.folder, self.digests, name)

    def path_of(self, name: str) -> Path:
        """Give the path of a file for a reader that needs one, after its digest was checked again.

        Args:
            name: Name relative to the folder, as SHA256SUMS lists it.

        Raises:
            BundleError: The file is not listed, or changed since the bundle was opened.
        """
        self.read(name)
        return self.folder / name

    def golden_cases(self) -> GoldenCases:
        """Read the golden cases."""
        return _json(self.folder, self.digests, GOLDEN_CASES_NAME, GoldenCases)

    def golden_features(self) -> NDArray[np.float32]:
        """Read the golden features: [rows, *shape of the network's input], read-only."""
        return self._floats(GOLDEN_FEATURES_NAME, self.manifest.input.shape)

    def golden_logits(self) -> NDArray[np.float32]:
        """Read the golden logits: [rows, classes], read-only."""
        return self._floats(GOLDEN_LOGITS_NAME, self.manifest.output.shape)

    def parity_report(self) -> ParityReport:
        """Read the outcome of the gate that the bundle passed."""
        return _json(self.folder, self.digests, PARITY_REPORT_NAME, ParityReport)

    def parity_rows(self) -> ParityRows:
        """Read which rows the gate compared."""
        return _json(self.folder, self.digests, PARITY_ROWS_NAME, ParityRows)

    def parity_features(self) -> NDArray[np.float32]:
        """Read the features of the carried rows, then of the made-up extremes: [carried + edges, *shape], read-only."""
        return self._floats(PARITY_FEATURES_NAME, self.manifest.input.shape)

    def parity_logits(self) -> NDArray[np.float32]:
        """Read the reference's logits of all rows, then of the extremes: [rows + edges, classes], read-only."""
        return self._floats(PARITY_LOGITS_NAME, self.manifest.output.shape)

    def calibration(self) -> Calibration | None:
        """Read which rows int8 ranges were fitted on; none for other precisions."""
        if CALIBRATION_NAME not in self.digests:
            return None
        return _json(self.folder, self.digests, CALIBRATION_NAME, Calibration)

    def _floats(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return floats_from_npy(self.read(name), shape, source=str(self.folder / name))


def open_bundle(folder: Path) -> Bundle:
    """Open a bundle that may come from a stranger.

    Sizes and kinds of files come first (nothing is followed or opened), then digests, then parsing, then whether the
    parts agree with each other.

    Args:
        folder: The bundle.

    Raises:
        UsageError: The path is not a bundle at all.
        BundleError: The bundle is damaged, was changed, breaks a limit or contradicts itself; the message names the
            file.
    """
    check_is_bundle(folder)
    list_files(folder)
    digests = read_sums(folder)
    check_sums(folder, digests)
    check_listed(folder, digests, MANIFEST_NAME)
    manifest = _json(folder, digests, MANIFEST_NAME, Manifest)
    bundle = Bundle(folder=folder, manifest=manifest, digests=digests)
    _check_agreement(bundle)
    return bundle


def _check_agreement(bundle: Bundle) -> None:
    """Check that manifest, model, golden cases and parity report tell the same story."""
    folder, manifest = bundle.folder, bundle.manifest
    for name in (manifest.model, GOLDEN_CASES_NAME, GOLDEN_FEATURES_NAME, GOLDEN_LOGITS_NAME, PARITY_REPORT_NAME):
        check_listed(folder, bundle.digests, name)
    check_words(manifest, source=str(folder / MANIFEST_NAME))
    check_parity(bundle.parity_report(), manifest, source=str(folder / PARITY_REPORT_NAME))
    _check_parity_files(bundle)
    golden = bundle.golden_cases()
    check_cases(golden, manifest, bundle.digests, folder=str(folder))
    check_rows(golden, bundle.golden_features(), bundle.golden_logits(), folder=str(folder))
    source = str(folder / manifest.model)
    check_graph(check_onnx(bundle.read(manifest.model), source=source), manifest, source=source)
    _check_ir_files(bundle)


def _check_ir_files(bundle: Bundle) -> None:
    """Check that OpenVINO's form of the model is there where the manifest says so, nowhere else, and within limits."""
    folder, ir = bundle.folder, bundle.manifest.ir
    if ir is not None:
        for name in (ir.model, ir.weights):
            check_listed(folder, bundle.digests, name)
        check_ir(bundle.read(ir.model), bundle.read(ir.weights), source=str(folder / ir.model))
        return
    for name in (IR_NAME, IR_WEIGHTS_NAME):
        if name in bundle.digests:
            raise BundleError(f"{folder / name}: the manifest does not name this file of OpenVINO's", hint=DAMAGED)


def _check_parity_files(bundle: Bundle) -> None:
    """Check that the gate's rows, their arrays and the calibration rows fit together."""
    folder, manifest = str(bundle.folder), bundle.manifest
    for name in (PARITY_ROWS_NAME, PARITY_FEATURES_NAME, PARITY_LOGITS_NAME):
        check_listed(bundle.folder, bundle.digests, name)
    check_calibration_listed(bundle.digests, manifest, folder=folder)
    rows = bundle.parity_rows()
    check_parity_rows(rows, manifest, folder=folder)
    # Features may be many and are proved again when they are used: here their header and size say how many.
    path = bundle.folder / PARITY_FEATURES_NAME
    start, size_bytes = read_start(bundle.folder, PARITY_FEATURES_NAME), path.stat().st_size
    features = rows_of_npy(start, size_bytes, manifest.input.shape, source=str(path))
    check_parity_arrays(rows, features=features, logits=len(bundle.parity_logits()), folder=folder)
    calibration = bundle.calibration()
    if calibration is not None:
        check_calibration(calibration, manifest, folder=folder)


def check_is_bundle(folder: Path) -> None:
    """Tell a bundle from what people take for one, by names alone.

    Raises:
        UsageError: It is a run, a file, or something else.
        BundleError: It was a bundle, but SHA256SUMS is gone.
    """
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except (OSError, ValueError):
        raise UsageError(
            f"{folder}: there is no such folder, or it may not be entered",
            hint="mstedge export RUN makes a bundle from a run",
        ) from None
    if not is_folder:
        raise UsageError(f"{folder}: is a file: expected the folder of a bundle")
    with os.scandir(folder) as listing:
        present = {entry.name for entry in itertools.islice(listing, MAX_FILES)}
    if SUMS_NAME in present:
        return
    if CARD_NAME in present:
        made = sorted(path.parent for path in folder.glob(f"*/{SUMS_NAME}"))
        hint = f"its bundle is {made[0]}" if made else f"mstedge export {folder} makes a bundle from it"
        raise UsageError(f"{folder}: is a run, not a bundle", hint=hint)
    if MANIFEST_NAME in present:
        raise BundleError(f"{folder / SUMS_NAME}: missing: nothing proves the other files", hint=DAMAGED)
    raise UsageError(
        f"{folder}: is not a bundle: it has neither {MANIFEST_NAME} nor {SUMS_NAME}",
        hint="mstedge export RUN makes a bundle from a run",
    )


def _proved(folder: Path, digests: dict[str, str], name: str) -> bytes:
    check_listed(folder, digests, name)
    content = read_file(folder, name)
    check_digest(folder, name, hashlib.sha256(content).hexdigest(), digests[name])
    return content


def _json(folder: Path, digests: dict[str, str], name: str, kind: type[T]) -> T:
    content = _proved(folder, digests, name)
    source = str(folder / name)
    check_json_depth(content, source=source)
    try:
        return decode_json(content, kind, source=source, error=BundleError)
    except BundleError as problem:
        raise BundleError(problem.message, hint=problem.hint or DAMAGED) from None
