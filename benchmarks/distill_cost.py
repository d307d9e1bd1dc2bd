"""Measure the oracle (tests/oracle_training.py, as the public reference does it) against the product.

    python benchmarks/distill_cost.py [--shapes avmnist crisismmd ...] [--engine '{"precision": "bf16-mixed"}']

Every side and stage runs in a process of its own with one thread, on a few batches of random rows of the published
shapes; each figure is the median of three. From the CPU-seconds of a batch, 1/1/100 epochs are extrapolated: for the
oracle S1 + S2 + 100 S3 a batch, for the product S1 + S2 + table + 100 S3, the table being built once. The number of
rows cancels out. Validation is left out on both sides (in stage 3 it is the student alone on either). The oracle leaves
masks of earlier taps in place (`cumulative`), as the public code does; the product runs its default, `isolated`.

Extra peak memory is what `distill_cost_child.py` says; to that of stage 3's epochs the table of AV-MNIST's 42,000 rows
is added for every shape. Prints one line of JSON, and a table on stderr; exits 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from published_shapes import SHAPES, Shape

CHILD = Path(__file__).with_name("distill_cost_child.py")
DISTILL_EPOCHS = 100
TABLE_ROWS = 42_000
GROWTH_THAT_COUNTS = 1.25
WORDS = {
    "seconds": "time of 1/1/100 epochs, oracle / product",
    "distill_mib": "memory of stage 3's epochs, oracle / product",
    "table_mib": "memory of stage 3, oracle / building the table",
    "specialise_seconds": "time of stage 2, oracle / product",
    "specialise_mib": "memory of stage 2, oracle / product",
    "student": "stage 3 / student's forward and backward",
}


def child(shape: str, side: str, stage: str, changes: dict[str, Any]) -> dict[str, float]:
    """Measure one side of one stage in a process of its own."""
    command = [sys.executable, str(CHILD), shape, side, stage, json.dumps(changes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {shape} {side} {stage}: {figures['seconds']:.4f} s, {figures['mib']:.0f} MiB", file=sys.stderr)
    return figures


def measured(name: str, engine: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Measure every stage of one shape, the sides in turn."""
    oracle = {"stages": {"specialise": {"masks": "cumulative"}}}
    product = {"engine": engine} if engine else {}
    stages = ["specialise"] if SHAPES[name].specialise_only else ["collaborative", "specialise", "distill"]
    figures: dict[str, dict[str, dict[str, float]]] = {"oracle": {}, "product": {}}
    for stage in stages:
        figures["oracle"][stage] = child(name, "oracle", stage, oracle)
        figures["product"][stage] = child(name, "product", stage, product)
    figures["product"]["adam"] = child(name, "product", "adam", product)
    if not SHAPES[name].specialise_only:
        figures["product"]["table"] = child(name, "product", "table", product)
    return figures


def ratios(figures: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Compare: what each bar is about, and how near each floor is."""
    oracle, product = figures["oracle"], figures["product"]
    found = {
        "specialise_seconds": oracle["specialise"]["seconds"] / product["specialise"]["seconds"],
        "specialise_mib": oracle["specialise"]["mib"] / product["specialise"]["mib"],
        "specialise_over_adam": product["specialise"]["seconds"] / product["adam"]["seconds"],
    }
    if "distill" not in product:
        return found
    table_mib = product["distill"]["table_bytes_per_row"] * TABLE_ROWS / 2**20
    once = product["collaborative"]["seconds"] + product["specialise"]["seconds"] + product["table"]["seconds"]
    whole = once + DISTILL_EPOCHS * product["distill"]["seconds"]
    straight = oracle["collaborative"]["seconds"] + oracle["specialise"]["seconds"]
    return found | {
        "seconds": (straight + DISTILL_EPOCHS * oracle["distill"]["seconds"]) / whole,
        "distill_mib": oracle["distill"]["mib"] / (product["distill"]["mib"] + table_mib),
        "table_mib": oracle["distill"]["mib"] / product["table"]["mib"],
        "table_growth": product["table"]["mib"] / product["table"]["mib_of_half"],
        "student": product["distill"]["seconds"] / product["distill"]["student_seconds"],
        "student_share": product["distill"]["student_seconds"] / product["distill"]["seconds"],
    }


def missed(shape: Shape, found: dict[str, float]) -> list[str]:
    """Say which bars are missed."""
    texts = []
    for name, words in WORDS.items():
        bar = getattr(shape.bars, name)
        if bar is None or name not in found:
            continue
        if found[name] > bar if name == "student" else found[name] < bar:
            texts.append(f"{words}: {found[name]:.2f}, the bar is {bar:g}")
    if found.get("table_growth", 1.0) > GROWTH_THAT_COUNTS:
        texts.append(
            f"building the table takes {found['table_growth']:.2f} times the memory for twice the rows: "
            "its peak was not reached"
        )
    return texts


def beside_published(shape: Shape, oracle: dict[str, dict[str, float]]) -> dict[str, float]:
    """Compare the oracle with what the public reference was measured to cost on another machine."""
    if shape.published is None:
        return {}
    found: dict[str, float] = {}
    for stage in ("specialise", "distill"):
        seconds, mib = getattr(shape.published, stage)
        found[f"{stage}_seconds"] = oracle[stage]["seconds"] / seconds
        found[f"{stage}_mib"] = oracle[stage]["mib"] / mib
    return found


def result_of(name: str, engine: dict[str, Any]) -> dict[str, Any]:
    """Measure a shape, compare, and tell people."""
    figures = measured(name, engine)
    found = ratios(figures)
    result = {
        "batch_rows": SHAPES[name].batch_rows,
        "figures": figures,
        "ratios": {key: round(value, 3) for key, value in found.items()},
        "oracle_over_published": {
            key: round(value, 3) for key, value in beside_published(SHAPES[name], figures["oracle"]).items()
        },
        "missed": missed(SHAPES[name], found),
    }
    print("\n".join(table(name, result)), file=sys.stderr)
    return result


def table(name: str, result: dict[str, Any]) -> list[str]:
    """Lay out one shape for people."""
    lines = [f"\n{name}, B = {result['batch_rows']}"]
    for key, value in result["ratios"].items():
        bar = getattr(SHAPES[name].bars, key, None)
        lines.append(f"  {WORDS.get(key, key):<50}{value:9.2f}" + (f"   bar {bar:g}" if bar is not None else ""))
    for key, value in result["oracle_over_published"].items():
        lines.append(f"  {'oracle / published, ' + key:<50}{value:9.2f}")
    return lines + [f"  missed: {text}" for text in result["missed"]]


def main() -> int:
    """Measure the chosen shapes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="SHAPE")
    parser.add_argument("--engine", type=json.loads, default={}, help="the recipe's engine settings for the product")
    arguments = parser.parse_args()
    results = {name: result_of(name, arguments.engine) for name in arguments.shapes}
    passed = not any(result["missed"] for result in results.values())
    print(
        json.dumps(
            {"schema": "mstedge.distill-cost/1", "passed": passed, "engine": arguments.engine, "shapes": results}
        )
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
