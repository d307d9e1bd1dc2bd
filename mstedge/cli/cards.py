"""What a bundle, a run or a result file is, as lines that a person reads at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from mstedge.cli.text import interval_text, measured_text
from mstedge.manifest import GoldenCases, Manifest, Postprocess
from mstedge.schema import Record
from mstedge.specs import AudioSpec, ImageSpec

if TYPE_CHECKING:
    from mstedge.bench_result import BenchResult
    from mstedge.run_card import Comparison, Metrics, RunCard
    from mstedge.specs import Scaling, Spec
    from mstedge.verdicts import ParityReport
    from mstedge.verification import VerifyReport

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
        files: Sizes in bytes.
    """

    schema: Literal["mstedge.card/1"] = "mstedge.card/1"
    manifest: Manifest
    opset: int
    nodes: int
    golden_cases: int
    golden_files: int
    golden_licences: tuple[str, ...]
    files: dict[str, int]


def bundle_card(
    manifest: Manifest, golden: GoldenCases, files: dict[str, int], *, opset: int, nodes: int
) -> BundleCard:
    """Sum up a bundle.

    Args:
        manifest: What it says about itself.
        golden: Its golden cases.
        files: Sizes in bytes.
        opset: ONNX operator set of the model.
        nodes: Number of operations of the model.
    """
    return BundleCard(
        manifest=manifest,
        opset=opset,
        nodes=nodes,
        golden_cases=len(golden.cases),
        golden_files=sum(case.file is not None for case in golden.cases),
        golden_licences=tuple(sorted({case.licence for case in golden.cases})),
        files=files,
    )


def lines_of_bundle(card: BundleCard) -> Lines:
    """Describe a bundle."""
    manifest = card.manifest
    lineage = manifest.lineage
    rule = manifest.postprocess
    versions = ", ".join(f"{name} {version}" for name, version in lineage.versions.items())
    return [
        ("name", manifest.name),
        ("task", f"{manifest.task} of {manifest.modality}"),
        ("front end", front_end_in_words(manifest.spec)),
        ("labels", _listed(manifest.labels)),
        ("answer", _answer_rule(rule)),
        ("model", f"{manifest.model}, {card.files[manifest.model]:,} bytes, {card.nodes} operations"),
        ("parameters", f"{lineage.parameters:,}"),
        ("opset", str(card.opset)),
        ("precision", manifest.precision),
        ("target", manifest.target),
        ("parity", f"{manifest.parity.verdict} ({manifest.parity.scope}, {manifest.parity.rows} rows)"),
        ("recipe", f"{lineage.recipe}, seed {lineage.seed}, network {lineage.network}"),
        ("learnt from", ", ".join(lineage.modalities)),
        ("made with", versions),
        ("commit", lineage.git_commit or "not recorded"),
        ("golden", _golden_in_words(card)),
        *(("file", f"{name}, {size:,} bytes") for name, size in card.files.items()),
    ]


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
        *((each.part, _metrics_in_words(each)) for each in card.metrics),
        ("time", seconds or "not recorded"),
        ("trained on", f"{card.lineage.device}, {card.lineage.threads} threads"),
        ("made with", versions),
        ("commit", card.lineage.git_commit or "not recorded"),
    ]


def lines_of_parity(report: ParityReport) -> Lines:
    """Describe what the parity gate found."""
    return [
        ("parity", f"{report.verdict} ({report.scope}, {report.precision}, {report.rows} rows, {report.backend})"),
        *(
            (
                "ok" if check.passed else "FAIL",
                f"{check.name}: {measured_text(check.value)} {check.relation} {check.limit:.3g}",
            )
            for check in report.checks
        ),
        *(("reason", reason) for reason in report.reasons),
    ]


def lines_of_verify(report: VerifyReport) -> Lines:
    """Describe what replaying golden cases found."""
    wrong = [case for case in report.cases if case.first_difference is not None]
    return [
        ("verify", f"{'pass' if report.passed else 'fail'}: {report.bundle}, {report.backend}"),
        ("cases", f"{len(report.cases)}, of which {len(wrong)} differ"),
        *((case.id, f"differs at {case.first_difference}: {case.detail}") for case in wrong),
    ]


def lines_of_bench(result: BenchResult) -> Lines:
    """Describe a benchmark."""
    median = [
        (series.name, f"{quantile.value_ns / 1e6:.3f} ms median of {len(series.samples_ns)}")
        for series in result.series
        for quantile in series.quantiles
        if quantile.share == 0.5
    ]
    return [
        ("bench", f"{result.bundle} on {result.environment.cpu}"),
        ("engine", f"{result.backend}, {result.device}, {result.precision}, {result.threads} threads"),
        *median,
        *(("note", text) for text in result.notes),
    ]


def lines_of_comparison(comparison: Comparison) -> Lines:
    """Describe a comparison of methods."""
    return [
        ("recipe", f"{comparison.recipe}, {len(comparison.seeds)} seeds"),
        *(
            (each.method, f"mean accuracy {each.mean:.1%} (95 %: {interval_text(each.low, each.high)})")
            for each in comparison.methods
        ),
        ("conclusion", comparison.conclusion),
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


def _metrics_in_words(metrics: Metrics) -> str:
    accuracy = f"accuracy {metrics.accuracy:.4f} (95 %: {metrics.low:.4f} to {metrics.high:.4f})"
    return f"{accuracy}, cross entropy {metrics.cross_entropy:.4f}, {metrics.rows} rows, {metrics.clusters} recordings"


def _golden_in_words(card: BundleCard) -> str:
    kind = f"{card.golden_files} with raw input" if card.golden_files else "features only"
    return f"{card.golden_cases} cases, {kind}, licence {', '.join(card.golden_licences) or 'none'}"


def _listed(labels: tuple[str, ...]) -> str:
    more = f", … ({len(labels)} in all)" if len(labels) > _LABELS_SHOWN else ""
    return ", ".join(labels[:_LABELS_SHOWN]) + more


def _answer_rule(rule: Postprocess) -> str:
    """Say how logits become an answer."""
    softened = f"softmax at temperature {rule.temperature:g}"
    return softened if rule.threshold == 0.0 else f"{softened}; below {rule.threshold:g} it is {rule.unknown!r}"
