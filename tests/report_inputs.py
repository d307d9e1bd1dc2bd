"""Small results for tests of reports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mstedge.bench_result import BenchResult, Environment, Quantile, Series
from mstedge.run_card import Comparison, MethodResult, Metrics, NetworkCard, RunCard, RunLineage
from mstedge.schema import encode_json
from mstedge.specs import ArraySpec, ImageSpec

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
    specialise = [{"stage": "specialise", "epoch": 0, "teacher": name, "validation_kl": 0.4} for name in TEACHERS]
    closing = [
        {"stage": "specialise", "epoch": 1, "teacher": name, "kl_before": 0.777, "kl_after": 0.333} for name in TEACHERS
    ]
    distill = [
        {
            "stage": "distill",
            "epoch": epoch,
            "loss": 1.0,
            "routing": {"both@fused": 0.25, "picture@body": 0.75},
            "routing_entropy": 0.56,
            "validation_accuracy": 0.8,
        }
        for epoch in range(2)
    ]
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
