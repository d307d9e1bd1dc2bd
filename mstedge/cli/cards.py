"""What a bundle or a run is, as lines that a person reads at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from mstedge.manifest import GoldenCases, Manifest, Postprocess
from mstedge.manifest_words import export_words, origin_in_words
from mstedge.parity import ParityReport, TaskResult
from mstedge.parity_words import alarm, basis, pending
from mstedge.schema import Record
from mstedge.specs import AudioSpec, ImageSpec

if TYPE_CHECKING:
    from mstedge.run_card import Metrics, RunCard
    from mstedge.specs import Scaling, Spec

Lines: TypeAlias = "list[tuple[str, str]]"
_LABELS_SHOWN = 12


class BundleCard(Record, frozen=True, kw_only=True):
    """A bundle at a glance.

    Attributes:
        schema: Version of this format.
        manifest: What the bundle says about itself.
        opset: ONNX operator set of the model.
        nodes: Number of operations of the model.
        golden_cases: Number of golden cases.
        golden_files: How many of them carry their raw input.
        golden_licences: Terms of the raw inputs.
        task: What the conversion costs, as the gate measured it; none without labels.
        reasons: Why the gate's verdict is not `pass`.
        signature: Fingerprint of the key that SIGNATURE names, which nobody has checked; none without one.
        files: Sizes in bytes.
    """

    schema: Literal["mstedge.card/1"] = "mstedge.card/1"
    manifest: Manifest
    opset: int
    nodes: int
    golden_cases: int
    golden_files: int
    golden_licences: tuple[str, ...]
    task: TaskResult | None = None
    reasons: tuple[str, ...] = ()
    signature: str | None = None
    files: dict[str, int]


def bundle_card(
    manifest: Manifest,
    golden: GoldenCases,
    report: ParityReport,
    files: dict[str, int],
    *,
    opset: int,
    nodes: int,
    signature: str | None,
) -> BundleCard:
    """Sum up a bundle.

    Args:
        manifest: What it says about itself.
        golden: Its golden cases.
        report: What its gate found.
        files: Sizes in bytes.
        opset: ONNX operator set of the model.
        nodes: Number of operations of the model.
        signature: Fingerprint of the key that SIGNATURE names, if there is one.
    """
    return BundleCard(
        manifest=manifest,
        opset=opset,
        nodes=nodes,
        golden_cases=len(golden.cases),
        golden_files=sum(case.file is not None for case in golden.cases),
        golden_licences=tuple(sorted({case.licence for case in golden.cases})),
        task=report.task,
        reasons=report.reasons,
        signature=signature,
        files=files,
    )


def lines_of_bundle(card: BundleCard) -> Lines:
    """Describe a bundle."""
    manifest = card.manifest
    lineage = manifest.lineage
    versions = ", ".join(f"{name} {version}" for name, version in lineage.versions.items())
    return [
        ("name", manifest.name),
        *_parity_lines(card),
        ("task", f"{manifest.task} of {manifest.modality}"),
        ("front end", front_end_in_words(manifest.spec)),
        ("labels", _listed(manifest.labels)),
        ("answer", _answer_rule(manifest.postprocess)),
        *export_words(manifest),
        ("model", f"{manifest.model}, {card.files[manifest.model]:,} bytes, {card.nodes} operations"),
        ("parameters", f"{lineage.parameters:,}"),
        ("opset", str(card.opset)),
        ("recipe" if lineage.origin == "run" else "origin", origin_in_words(lineage)),
        ("learnt from", ", ".join(lineage.modalities)),
        ("made with", versions),
        ("commit", lineage.git_commit or "not recorded"),
        ("golden", _golden_in_words(card)),
        ("signature", _signature_in_words(card.signature)),
        ("size", f"{sum(card.files.values()):,} bytes"),
        *(("file", f"{name}, {size:,} bytes") for name, size in card.files.items()),
    ]


def _parity_lines(card: BundleCard) -> Lines:
    """Say what the gate said; a bundle that did not pass says so in words of its own."""
    summary, task = card.manifest.parity, card.task
    warning = alarm(summary)
    lines = [("WARNING", warning)] if warning else []
    lines.append(("parity", f"{summary.verdict.upper()} ({summary.scope}, {summary.rows:,} rows)"))
    lines += [("", text) for text in (basis(summary.rows, task), pending(summary.scope), *card.reasons) if text]
    if task is not None:
        lines.append((task.metric, f"{task.candidate:.2%}, reference {task.reference:.2%}"))
    return lines


def lines_of_run(card: RunCard) -> Lines:
    """Describe a training run."""
    versions = ", ".join(f"{name} {version}" for name, version in card.lineage.versions.items())
    seconds = ", ".join(f"{stage} {value:.0f} s" for stage, value in card.seconds.items())
    return [
        ("name", card.name),
        (
            "status",
            card.status if card.status == "complete" else "incomplete: `mstedge distill --resume` goes on with it",
        ),
        ("method", f"{card.method}, seed {card.seed}"),
        ("labels", _listed(card.labels)),
        ("student", f"{card.student.network}, {card.student.parameters:,} parameters, sees {card.student.modality}"),
        *((f"sees {name}", front_end_in_words(spec)) for name, spec in card.specs.items()),
        *((each.part, words) for each in card.metrics for words in _metrics_in_words(each)),
        ("time", seconds or "not recorded"),
        ("trained on", f"{card.lineage.device}, {card.lineage.threads} threads"),
        ("made with", versions),
        ("commit", card.lineage.git_commit or "not recorded"),
    ]


def front_end_in_words(spec: Spec) -> str:
    """Say what happens to an input before the network sees it."""
    if isinstance(spec, AudioSpec):
        bands = f"{spec.mel_bands} {spec.mel_scale} bands {spec.low_hz:g} to {spec.upper_hz:g} Hz"
        kept = f"{spec.mfcc_count} MFCC of {bands}" if spec.features == "mfcc" else f"log-mel, {bands}"
        return (
            f"sound at {spec.sample_rate_hz} Hz, clips of {spec.clip_samples / spec.sample_rate_hz:g} s aligned at the "
            f"{spec.align}; {kept}; window {spec.window_samples}, hop {spec.hop_samples}, FFT {spec.fft_samples} "
            f"samples, edges {spec.edges}; {_scaling_in_words(spec.scaling)}"
        )
    if isinstance(spec, ImageSpec):
        return (
            f"picture of {spec.width} x {spec.height} pixels, {spec.colour}, {spec.resize}, {spec.interpolation}; "
            f"times {spec.scale:.6g}; {_scaling_in_words(spec.scaling)}"
        )
    return f"array of {' x '.join(str(size) for size in spec.shape)}; {_scaling_in_words(spec.scaling)}"


def _scaling_in_words(scaling: Scaling | None) -> str:
    if scaling is None:
        return "not scaled"
    return "scaled as a whole" if len(scaling.mean) == 1 else f"scaled per feature ({len(scaling.mean)})"


def _metrics_in_words(metrics: Metrics) -> tuple[str, ...]:
    accuracy = f"accuracy {metrics.accuracy:.4f} (95 %: {metrics.low:.4f} to {metrics.high:.4f})"
    taken = {
        "balanced": metrics.average_accuracy,
        "macro F1": metrics.macro_f1,
        "weighted F1": metrics.weighted_f1,
        "kappa": metrics.kappa,
        "mIoU": metrics.mean_iou,
        "calibration error": metrics.calibration_error,
    }
    others = ", ".join(f"{name} {value:.4f}" for name, value in taken.items() if value is not None)
    rows = f"cross entropy {metrics.cross_entropy:.4f}, {metrics.rows} rows, {metrics.clusters} recordings"
    return (f"{accuracy}, {rows}", *([others] if others else []))


def _golden_in_words(card: BundleCard) -> str:
    kind = f"{card.golden_files} with raw input" if card.golden_files else "features only"
    return f"{card.golden_cases} cases, {kind}, licence {', '.join(card.golden_licences) or 'none'}"


def _signature_in_words(fingerprint: str | None) -> str:
    if fingerprint is None:
        return "none"
    return f"by the key {fingerprint}; not verified: `mstedge verify --key` does that"


def _listed(labels: tuple[str, ...]) -> str:
    more = f", … ({len(labels)} in all)" if len(labels) > _LABELS_SHOWN else ""
    return ", ".join(labels[:_LABELS_SHOWN]) + more


def _answer_rule(rule: Postprocess) -> str:
    """Say how logits become an answer."""
    softened = f"softmax at temperature {rule.temperature:g}"
    return softened if rule.threshold == 0.0 else f"{softened}; below {rule.threshold:g} it is {rule.unknown!r}"
