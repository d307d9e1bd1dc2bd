"""Whether the parts of a bundle tell the same story: manifest, graph and parity report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mstedge.errors import BundleError
from mstedge.manifest import SUMS_NAME, Manifest, Tensor
from mstedge.parity import ParityReport
from mstedge.runtime.bundle.inventory import DAMAGED
from mstedge.runtime.bundle.onnx_limits import OnnxSummary, TensorType


def check_listed(folder: Path, digests: Mapping[str, str], name: str) -> None:
    """Require that SHA256SUMS lists a file.

    Raises:
        BundleError: It does not.
    """
    if name not in digests:
        raise BundleError(f"{folder}: lacks {name!r}: {SUMS_NAME} does not list it", hint=DAMAGED)


def check_words(manifest: Manifest, *, source: str) -> None:
    """Refuse labels that are empty, stand twice or would steer a terminal.

    Raises:
        BundleError: A name or label cannot be shown, or two labels are one.
    """
    words = {"name": manifest.name, "modality": manifest.modality, "postprocess.unknown": manifest.postprocess.unknown}
    words.update({f"labels.{position}": label for position, label in enumerate(manifest.labels)})
    for key, word in words.items():
        if not word or not word.isprintable():
            raise BundleError(f"{source}: {key} is {word[:80]!r}: expected printable text", hint=DAMAGED)
    if len(set(manifest.labels)) != len(manifest.labels):
        raise BundleError(f"{source}: labels holds one label twice: {list(manifest.labels)}", hint=DAMAGED)


def check_parity(report: ParityReport, manifest: Manifest, *, source: str) -> None:
    """Require that the manifest sums up the parity report that the bundle carries.

    Raises:
        BundleError: Verdict, scope, rows, precision or target differ.
    """
    parity = manifest.parity
    found = (report.verdict, report.scope, f"{report.rows} rows", report.precision, report.target)
    said = (parity.verdict, parity.scope, f"{parity.rows} rows", manifest.precision, manifest.target)
    if found != said:
        raise BundleError(f"{source}: says {', '.join(found)}, but the manifest says {', '.join(said)}", hint=DAMAGED)


def check_graph(summary: OnnxSummary, manifest: Manifest, *, source: str) -> None:
    """Require that the graph has the one input and the one output that the manifest names.

    Raises:
        BundleError: Names, types or shapes differ, or the batch dimension is fixed.
    """
    _check_tensor(summary.inputs, manifest.input, "input", source)
    _check_tensor(summary.outputs, manifest.output, "output", source)


def _check_tensor(found: Mapping[str, TensorType], wanted: Tensor, role: str, source: str) -> None:
    dtype, dims = found.get(wanted.name, ("", ()))
    batch_is_free = bool(dims) and isinstance(dims[0], str)
    if len(found) == 1 and dtype == wanted.dtype and batch_is_free and dims[1:] == wanted.shape:
        return
    shown = "; ".join(f"{name} {kind} {list(sizes)}" for name, (kind, sizes) in found.items()) or "none"
    raise BundleError(
        f"{source}: its {role}s are {shown}: expected {wanted.name} {wanted.dtype} {['batch', *wanted.shape]}",
        hint=DAMAGED,
    )
