"""What a result file says, as lines that a person reads at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstedge.cli.engine_card import lines_of_engine
from mstedge.cli.text import interval_text, measured_text
from mstedge.parity_words import advice, alarm, basis, outcome, pending, points, task_advice, task_outcome
from mstedge.verdicts import LEVELS

if TYPE_CHECKING:
    from mstedge.bench_result import BenchResult
    from mstedge.cli.cards import Lines
    from mstedge.engine_build import EngineBuild
    from mstedge.evaluation import Evaluation
    from mstedge.explanation import Explanation
    from mstedge.measurement import ExportMeasurement, PairedLatency
    from mstedge.parity import ParityReport, TaskResult
    from mstedge.run_card import Comparison
    from mstedge.verdicts import Check
    from mstedge.verification import VerifyReport

_NODES_SHOWN = 10
_WORD_WIDTH = len("cannot tell")


def lines_of_parity(report: ParityReport) -> Lines:
    """Describe what the parity gate found, level by level."""
    threads = f"{report.threads} thread{'' if report.threads == 1 else 's'}"
    where = f"{report.backend}, {report.device}, {report.arithmetic}, {threads}"
    checks = [(f"{check.level} {LEVELS[check.level]}", _check_in_words(check)) for check in report.checks]
    left = pending(report.scope)
    return [
        ("parity", f"{report.verdict.upper()} ({report.scope}, {report.target}, {report.precision})"),
        ("", basis(report.rows, report.task)),
        *([("", left)] if left else []),
        *(("reason", reason) for reason in report.reasons),
        ("engine", where),
        ("rows", f"{report.rows:,}, at batch {', '.join(map(str, report.batches))}"),
        *(line for line in checks if not line[0].startswith("L3")),
        *(_task_lines(report, report.task) if report.task is not None else []),
        *(line for line in checks if line[0].startswith("L3")),
        ("answers", f"{report.flipped:,} changed, {report.hard_flips:,} of them hard"),
        *(("note", note) for note in report.notes),
    ]


def lines_of_verify(report: VerifyReport) -> Lines:
    """Describe what replaying golden cases found."""
    wrong = [case for case in report.cases if case.first_difference is not None]
    return [
        ("verify", f"{'pass' if report.passed else 'fail'}: {report.bundle}, {report.backend}"),
        ("signature", f"checked, by the key {report.signature}" if report.signature else "not checked"),
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


def lines_of_evaluation(found: Evaluation) -> Lines:
    """Describe how good a bundle's answers are."""
    warning = alarm(found.parity)
    score = found.score
    figures = [("accuracy", "no labelled row could be answered for")]
    if score is not None:
        figures = [
            ("accuracy", f"{score.accuracy:.2%} (95 %: {interval_text(score.low, score.high)})"),
            ("balanced", f"{score.balanced_accuracy:.2%}"),
            ("macro F1", f"{score.macro_f1:.4f}"),
        ]
    return [
        ("evaluation", f"{found.bundle} on {found.data}"),
        *([("WARNING", warning)] if warning else []),
        ("engine", f"{found.backend}, {found.device}, {found.arithmetic}"),
        ("rows", f"{found.labelled:,} labelled, {found.clusters:,} recordings; {len(found.failed):,} not answered for"),
        *figures,
    ]


def lines_of_explanation(found: Explanation) -> Lines:
    """Describe where a candidate leaves its reference."""
    beyond = [one for one in found.tensors if one.beyond]
    return [
        ("explanation", f"{found.candidate} against {found.reference}, {found.precision}"),
        ("rows", ", ".join(found.rows)),
        ("tolerance", f"{found.tolerance_db:g} dB"),
        ("first beyond", found.first_beyond or "none: every tensor is within tolerance"),
        ("beyond", f"{len(beyond)} of {len(found.tensors)} tensors"),
        *((one.node, f"{one.operator or 'input'}, {one.median_sqnr_db:.1f} dB") for one in beyond[:_NODES_SHOWN]),
    ]


def lines_of_build(build: EngineBuild) -> Lines:
    """Describe an engine that was built on a device, and what is not yet known of it."""
    return [("engine", build.name), ("parity", f"{build.parity}: {build.parity_reason}"), *lines_of_engine(build)]


def lines_of_measurement(found: ExportMeasurement) -> Lines:
    """Describe size and latency beside fp32."""
    sizes = f"{found.candidate_bytes:,} bytes, fp32 {found.fp32_bytes:,}: {found.shrinkage:.2f} times smaller"
    return [
        ("export", f"{found.precision} for {found.target}, {found.engine}, {found.seconds:.1f} s"),
        ("size", sizes),
        *(("median", _latency_in_words(one)) for one in found.latencies),
        *([] if found.latencies else [("median", "not measured")]),
        ("machine", found.environment),
    ]


def _latency_in_words(one: PairedLatency) -> str:
    return (
        f"{one.candidate_p50_ns / 1e6:.3f} ms, fp32 {one.fp32_p50_ns / 1e6:.3f} ms: {one.ratio:.2f} of it "
        f"({one.backend}, {one.threads} threads)"
    )


def _check_in_words(check: Check) -> str:
    found = f"{check.name}: {measured_text(check.value)}, allowed {check.relation} {check.limit:.3g}"
    hint = advice(check)
    return f"{outcome(check):<{_WORD_WIDTH}}  {found}{f'; {hint}' if hint else ''}"


def _task_lines(report: ParityReport, task: TaskResult) -> Lines:
    level = f"L3 {LEVELS['L3']}"
    bound = "no bound" if task.low is None else f"{100 * task.low:+.2f}"
    word, hint = f"{task_outcome(report, task):<{_WORD_WIDTH}}", task_advice(task)
    found = f"{task.metric}, lower bound of the difference: {bound}, allowed > -{points(task.margin)} points"
    return [
        (level, f"{word}  {found}{f'; {hint}' if hint else ''}"),
        (level, f"{'':<{_WORD_WIDTH}}  {task.metric} {task.candidate:.2%}, reference {task.reference:.2%}"),
    ]
