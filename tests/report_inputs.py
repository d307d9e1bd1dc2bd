"""Small results for tests of reports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from bundle_factory import change_json, make_bundle

from mstedge.bench_result import BenchResult, Environment, Quantile, Series
from mstedge.engine_build import BatchProfile, EngineBuild, EngineTensor, Gpu
from mstedge.engine_recipe import EngineRecipe
from mstedge.evaluation import ClassScore, Evaluation, FailedFile, Score
from mstedge.explanation import Explanation, TensorDifference
from mstedge.manifest import ParitySummary
from mstedge.measurement import ExportMeasurement, PairedLatency
from mstedge.parity import ClassDrop, Flip, Histogram, ParityReport, TaskResult
from mstedge.run_card import Comparison, MethodResult, Metrics, NetworkCard, RunCard, RunLineage
from mstedge.schema import encode_json
from mstedge.specs import ArraySpec, ImageSpec
from mstedge.verdicts import at_least, at_most, equals

if TYPE_CHECKING:
    from pathlib import Path

TEACHERS = ("both@fused", "picture@body")
MEMBERS = ("student", "both", "picture")


def run_card(**changes: Any) -> RunCard:
    values: dict[str, Any] = {
        "name": "tiny",
        "method": "mst",
        "seed": 3,
        "status": "complete",
        "labels": ("low", "high"),
        "specs": {"motion": ArraySpec(shape=(4,)), "picture": ImageSpec(width=4, height=4)},
        "student": NetworkCard(network="mlp", options={}, modality="motion", parameters=12345),
        "lineage": RunLineage(
            recipe_sha256="a" * 64, data_sha256="b" * 64, versions={"torch": "2.13.0"}, device="cpu", threads=2
        ),
        "metrics": (metrics("validation", 0.95), metrics("test", 0.875)),
        "seconds": {"collaborative": 60.0, "distill": 30.5},
    }
    return RunCard(**(values | changes))


def metrics(part: Any, accuracy: float) -> Metrics:
    return Metrics(
        part=part,
        accuracy=accuracy,
        low=accuracy - 0.05,
        high=accuracy + 0.04,
        rows=480,
        clusters=24,
        cross_entropy=0.4,
    )


def comparison(low: float, high: float, *, seeds: int = 2, conclusion: str = "as measured") -> Comparison:
    return Comparison(
        recipe="tiny",
        seeds=tuple(range(seeds)),
        methods=(
            MethodResult(method="mst", accuracies=(0.9, 0.8)[:seeds], mean=0.85, low=0.2, high=1.0),
            MethodResult(method="labels-only", accuracies=(0.88, 0.79)[:seeds], mean=0.835, low=0.3, high=1.0),
        ),
        difference=(low + high) / 2,
        low=None if seeds == 1 else low,
        high=None if seeds == 1 else high,
        outcome="cannot tell" if seeds == 1 else "gain" if low > 0 else "loss" if high < 0 else "no gain shown",
        conclusion=conclusion,
    )


def epochs() -> list[dict[str, Any]]:
    collaborative = [
        {
            "stage": "collaborative",
            "epoch": epoch,
            "loss": 3.0 - epoch,
            "cross_entropy": dict.fromkeys(MEMBERS, 1.0),
            "kl": 0.2,
            "gradient_flow": {f"{one}<-{two}": 0.1234 for one in MEMBERS for two in MEMBERS if one != two},
            "validation_accuracy": dict.fromkeys(MEMBERS, 0.5 + 0.1 * epoch),
        }
        for epoch in range(2)
    ]
    specialise = [
        {"stage": "specialise", "epoch": epoch, "teacher": name, "validation_kl": 0.4 - 0.067 * epoch}
        for epoch in range(2)
        for name in TEACHERS
    ]
    closing = [
        {"stage": "specialise", "epoch": 2, "teacher": name, "kl_before": 0.777, "kl_after": 0.333} for name in TEACHERS
    ]
    distill: list[dict[str, Any]] = [
        {
            "stage": "distill",
            "epoch": epoch,
            "loss": 1.0,
            "cross_entropy": 0.7,
            "kl": 0.29,
            "balance": 0.01,
            "kl_weight": 1.0,
            "balance_weight": 1.0,
            "routing": {"both@fused": 0.25, "picture@body": 0.75},
            "routing_entropy": 0.56,
            "validation_cross_entropy": 0.6 + 0.1 * epoch,
            "validation_accuracy": 0.8 + 0.02 * epoch,
            "agreement": {"both@fused": 0.654, "picture@body": 0.321},
        }
        for epoch in range(2)
    ]
    distill[0]["teacher_agreement"] = {"both@fused|picture@body": 0.432}
    return [*collaborative, *specialise, *closing, *distill]


def write_run(folder: Path, card: RunCard | None = None, *, rows: list[dict[str, Any]] | None = None) -> Path:
    folder.mkdir()
    (folder / "run.json").write_bytes(encode_json(card or run_card()))
    lines = [json.dumps(row) for row in (epochs() if rows is None else rows)]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def bench_result(samples: tuple[int, ...], **changes: Any) -> BenchResult:
    series = Series(
        name="engine",
        samples_ns=samples,
        warmup_ns=(9_000_000, 700_000),
        quantiles=(
            Quantile(share=0.5, value_ns=512_000, low_ns=500_000, high_ns=530_000),
            Quantile(share=0.99, value_ns=2_340_000, low_ns=None, high_ns=None),
        ),
        mean_ns=600_000.0,
        throughput_hz=1666.7,
    )
    values: dict[str, Any] = {
        "bundle": "tiny",
        "model_sha256": "c" * 64,
        "backend": "onnxruntime 1.32.0",
        "device": "CPU",
        "precision": "fp32",
        "threads": 2,
        "batch": 1,
        "input": "golden features",
        "series": (series,),
        "stages_ms": {"features": 0.25, "engine": 0.5},
        "peak_memory_bytes": 64 << 20,
        "load_ms": 12.5,
        "environment": Environment(
            cpu="A processor",
            cores=2,
            memory_bytes=8 << 30,
            architecture="aarch64",
            kernel="6.1",
            operating_system="Linux",
            python="3.11.7",
            packages={"numpy": "2.4.0"},
        ),
        "notes": ("clocks were not fixed",),
    }
    return BenchResult(**(values | changes))


def task_result(**changes: Any) -> TaskResult:
    values: dict[str, Any] = {
        "metric": "accuracy",
        "method": "cluster-bca",
        "rows": 480,
        "clusters": 24,
        "reference": 0.9625,
        "candidate": 0.9583,
        "difference": -0.0042,
        "low": -0.0085,
        "high": 0.002,
        "confidence": 0.95,
        "margin": 0.01,
        "margin_origin": "default of int8",
        "lost": 4,
        "gained": 2,
        "mcnemar_p": 0.6875,
        "reference_ece": 0.021,
        "candidate_ece": 0.025,
        "classes": (
            ClassDrop(label=2, rows=48, reference_recall=0.98, candidate_recall=0.92, p_value=0.25),
            ClassDrop(label=0, rows=48, reference_recall=1.0, candidate_recall=1.0, p_value=1.0),
        ),
    }
    return TaskResult(**(values | changes))


def parity_report(**changes: Any) -> ParityReport:
    """Give the report of an int8 graph that passes with a warning."""
    values: dict[str, Any] = {
        "verdict": "pass",
        "scope": "engine",
        "target": "openvino",
        "precision": "int8",
        "rows": 512,
        "batches": (1, 2, 7),
        "checks": (
            equals("L0", "outputs that are not finite", 0, 0),
            at_most("L0", "largest |dp| between two runs", 0.0, 1e-3),
            at_least("L1", "median SQNR, dB", 12.34567, 15.0, severity="warn"),
            at_most("L1", "99th percentile of |dp|", 0.0413, 0.15, severity="warn"),
            at_least("L2", "share of rows that keep their label", 0.9902, 0.98, severity="warn"),
        ),
        "reasons": (),
        "notes": ("2 recordings cannot travel",),
        "backend": "openvino 2026.4.1",
        "device": "CPU",
        "arithmetic": "f32 with int8 products",
        "threads": 2,
        "model_sha256": "c" * 64,
        "reference_sha256": "d" * 64,
        "features_sha256": "e" * 64,
        "calibration_rows": 300,
        "task": task_result(),
        "flipped": 3,
        "hard_flips": 1,
        "flips": (
            flip("row-7", hard=True, margin=0.31),
            flip("row-9", margin=0.02, label=None),
            flip("row-8", margin=0.01),
        ),
        "histogram": Histogram(edges=(1e-6, 1e-4, 1e-2, 1.0), counts=(3, 1200, 3200, 717, 0)),
    }
    return ParityReport(**(values | changes))


def failed_parity_report(**changes: Any) -> ParityReport:
    """Give the report of an fp32 graph with a wrong weight."""
    broken = at_most("L1", "largest |dp|", 0.25, 1e-4)
    values: dict[str, Any] = {
        "verdict": "fail",
        "precision": "fp32",
        "checks": (at_most("L0", "largest |dp| between two runs", 0.0, 1e-5), broken),
        "reasons": (
            "L1: largest |dp| is 0.25: expected <= 0.0001",
            "L3: accuracy is 6.00 points worse: the margin is 0.10 points",
        ),
        "calibration_rows": 0,
        "task": task_result(low=-0.09, high=-0.03, difference=-0.06, margin=0.001, margin_origin="default of fp32"),
    }
    return parity_report(**(values | changes))


def flip(name: str, *, label: int | None = 2, hard: bool = False, margin: float = 0.1) -> Flip:
    return Flip(id=name, label=label, reference=2, candidate=0, margin=margin, hard=hard)


def bundle_with_report(folder: Path, kind: Any, report: ParityReport, *, cases: int = 3) -> Path:
    """Write a bundle whose gate said what a report says; the report's rows become those of the bundle."""
    make_bundle(folder, kind, cases=cases)
    fitting = msgspec.structs.replace(report, rows=cases, target="onnx", precision="fp32")
    change_json(folder, "parity/report.json", **msgspec.to_builtins(fitting))
    allowed = report.verdict != "pass"
    summary = ParitySummary(verdict=report.verdict, scope=report.scope, rows=cases, failure_allowed=allowed)
    return change_json(folder, "manifest.json", parity=msgspec.to_builtins(summary))


def measurement(**changes: Any) -> ExportMeasurement:
    values: dict[str, Any] = {
        "model_sha256": "c" * 64,
        "target": "onnx",
        "precision": "int8",
        "engine": "onnxruntime 1.32.0",
        "candidate_bytes": 300_000,
        "fp32_bytes": 1_050_000,
        "latencies": (
            PairedLatency(
                backend="onnxruntime 1.32.0",
                device="CPU",
                threads=2,
                samples=1500,
                fp32_p50_ns=1_000_000,
                fp32_p99_ns=2_000_000,
                candidate_p50_ns=640_000,
                candidate_p99_ns=1_500_000,
            ),
        ),
        "seconds": 12.5,
        "environment": "A processor, 2 cores, Linux",
    }
    return ExportMeasurement(**(values | changes))


def evaluation(**changes: Any) -> Evaluation:
    labels = ("low", "middle", "high")
    score = Score(
        accuracy=0.9,
        low=0.8,
        high=0.95,
        balanced_accuracy=0.89,
        macro_f1=0.885,
        ece=0.031,
        classes=tuple(
            ClassScore(label=label, rows=20, answered=20, precision=0.9, recall=0.85, f1=0.87, low=0.7, high=0.95)
            for label in labels
        ),
        confusion=((19, 1, 0), (0, 18, 2), (0, 3, 17)),
    )
    values: dict[str, Any] = {
        "bundle": "tiny",
        "model_sha256": "c" * 64,
        "labels": labels,
        "modality": "audio",
        "target": "onnx",
        "precision": "int8",
        "parity": ParitySummary(verdict="pass", scope="engine", rows=512),
        "backend": "onnxruntime 1.32.0",
        "device": "CPU",
        "arithmetic": "uint8",
        "threads": 2,
        "data": "monday.csv",
        "parts": ("validation", "test"),
        "left_out": 120,
        "rows": 62,
        "answered": 61,
        "failed": (FailedFile(id="row-13", reason="cannot be read: it is empty"),),
        "labelled": 60,
        "clusters": 12,
        "unknown": 4,
        "mean_seconds": 0.0042,
        "score": score,
    }
    return Evaluation(**(values | changes))


def explanation(**changes: Any) -> Explanation:
    def tensor(number: int, decibels: float) -> TensorDifference:
        return TensorDifference(
            tensor=f"tensor_{number}",
            node=f"/body/{number}/Conv",
            operator="Conv",
            median_sqnr_db=decibels,
            worst_difference=0.1 * number,
            cosine=0.999,
            beyond=decibels < 15,
        )

    values: dict[str, Any] = {
        "reference": "fp32",
        "candidate": "int8",
        "precision": "int8",
        "tolerance_db": 15.0,
        "rows": ("row-1", "row-2"),
        "first_beyond": "/body/3/Conv",
        "tensors": tuple(tensor(number, value) for number, value in enumerate((200.0, 41.0, 22.5, 9.5, 8.0))),
        "unmatched": 2,
    }
    return Explanation(**(values | changes))


def engine_build(**changes: Any) -> EngineBuild:
    values: dict[str, Any] = {
        "name": "tiny",
        "library": "tensorrt-rtx",
        "version": "1.7.1",
        "gpu": Gpu(name="A GPU", compute_capability="8.7"),
        "model_sha256": "c" * 64,
        "precision": "fp16",
        "recipe": EngineRecipe(),
        "plan_sha256": "f" * 64,
        "plan_bytes": 512_000,
        "tensors": (
            EngineTensor(name="audio", mode="input", dtype="float32", shape=(-1, 1, 98, 40)),
            EngineTensor(name="logits", mode="output", dtype="float32", shape=(-1, 10)),
        ),
        "profile": BatchProfile(input="audio", smallest=(1, 1, 98, 40), best=(1, 1, 98, 40), largest=(8, 1, 98, 40)),
        "layers": {"CONVOLUTION": 4, "MATRIX_MULTIPLY": 1},
        "dtypes": {"HALF": 12, "FLOAT": 3},
        "weighted_layers": 5,
        "proved_layers": 5,
        "notes": ("the timing cache was left out: this library has none",),
        "warnings": ("[W] something",),
        "seconds": 4.2,
        "parity_reason": "an engine runs only where there is a GPU",
    }
    return EngineBuild(**(values | changes))
