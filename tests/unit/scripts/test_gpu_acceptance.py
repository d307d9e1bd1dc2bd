"""The acceptance run for GPUs, tried without one: every measurement is taken, and the file says what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts/gpu_acceptance.sh"
MIB = 1 << 20
TRIAL = ["--device", "cpu", "--cases", "tiny", "--epochs", "1/1/2", "--options", "fp32", "--rounds", "2"]


def accept(folder: Path, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": python, "HOME": str(folder), "WHEELS": str(folder)}
    command = ["sh", str(SCRIPT), *arguments, "--out", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("acceptance")
    done = accept(folder, *TRIAL)
    assert done.returncode == 0, done.stderr
    assert str(folder / "gpu-trial.json") in done.stdout
    return json.loads((folder / "gpu-trial.json").read_text())  # type: ignore[no-any-return]


def test_product_is_measured_stage_by_stage(trial: dict[str, Any]) -> None:
    product = trial["cases"]["tiny"]["product"]
    laps = product["laps"]
    for stage in ("collaborative", "specialise", "distill"):
        assert laps[f"{stage} epochs"]["seconds"] > 0
        assert laps[f"{stage} preparation"]["allocated_bytes"] > 100 * MIB
    together = product["together"]
    assert together["seconds"] == pytest.approx(sum(lap["seconds"] for lap in laps.values()), abs=0.01)
    assert together["allocated_bytes"] == max(lap["allocated_bytes"] for lap in laps.values())
    assert product["steps"] == {"collaborative": 4, "specialise": 4, "distill": 8}
    assert product["table"] == product["table"] | {"kept": "memory", "bytes": 64 * 3 * 4 * 4}
    assert trial["cases"]["tiny"]["product_faster"]["engine"] == {"precision": "bf16-mixed"}


def test_made_rows_can_be_learnt(trial: dict[str, Any]) -> None:
    assert trial["cases"]["tiny"]["product"]["accuracy"]["test"] > 0.5  # one in four by chance


def test_oracle_is_extrapolated_from_its_batches(trial: dict[str, Any]) -> None:
    case = trial["cases"]["tiny"]
    batch = {stage: each["seconds_per_batch"] for stage, each in case["oracle"].items()}
    assert [each["batches"] for each in case["oracle"].values()] == [3, 3, 3]
    expected = 4 * (batch["collaborative"] + batch["specialise"] + 2 * batch["distill"])
    assert case["oracle_extrapolated"]["seconds"] == pytest.approx(expected, abs=0.01)
    ratio = expected / case["product"]["together"]["seconds"]
    assert case["product_against"]["oracle"]["seconds"] == pytest.approx(ratio, abs=0.02)


def test_options_begin_with_the_same_weights_and_take_turns(trial: dict[str, Any]) -> None:
    first, second = trial["options"]["fp32"]
    assert first["epoch_seconds"] > 0
    assert first["validation_cross_entropy"] == second["validation_cross_entropy"]


def test_trial_claims_nothing_about_targets(trial: dict[str, Any]) -> None:
    assert trial["passed"] is None
    assert set(trial["cases"]["tiny"]["product_against"]) == {"oracle"}
    assert trial["machine"]["device"] == "cpu"
    assert trial["machine"]["torch"]
    assert trial["date"]


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module("acceptance_comparison")


def found(seconds: float, size_bytes: float, distill: dict[str, Any]) -> dict[str, Any]:
    batch = {"seconds_per_batch": 0.5, "memory": {"reserved_bytes": 1e9}}
    return {
        "product": {"together": {"seconds": seconds, "reserved_bytes": size_bytes}, "laps": {}},
        "product_faster": {"skipped": "time is up"},
        "oracle": {"collaborative": batch, "specialise": batch, "distill": distill},
    }


EPOCHS = {"collaborative": 1, "specialise": 1, "distill": 100}


@pytest.mark.parametrize(
    ("seconds", "gigabytes", "met"), [(19.9, 5.9, (True, True)), (20.1, 5.9, (False, True)), (19.9, 6.1, (True, False))]
)
def test_targets_are_seconds_and_bytes(*, seconds: float, gigabytes: float, met: Any, comparison: Any) -> None:
    distill = {"seconds_per_batch": 1.0, "memory": {"reserved_bytes": 46e9}}
    case = comparison.compared(found(seconds, gigabytes * 1e9, distill), steps=83, epochs=EPOCHS, judged=True)
    against = case["product_against"]
    assert tuple(against["targets_met"].values()) == met
    assert comparison.all_met({"avmnist": case}) is all(met)
    assert case["oracle_extrapolated"] == {"seconds": 83 * 101.0, "bytes": 46e9}
    assert against["published"]["seconds"] == pytest.approx(1942 / seconds, abs=0.01)


def test_oracle_that_does_not_fit_is_said_and_not_extrapolated(comparison: Any) -> None:
    case = found(10.0, 4e9, {"out_of_memory": "CUDA out of memory. Tried to allocate 2 GiB"}) | {
        "batch_rows": 512,
        "rows": {"train": 42_000},
    }
    case |= comparison.compared(case, steps=83, epochs=EPOCHS, judged=True)
    assert "oracle_extrapolated" not in case
    assert "oracle" not in case["product_against"]
    text = "\n".join(comparison.lines_for_people({"avmnist": case}, {}))
    assert "CUDA out of memory" in text
    assert "product_faster: skipped: time is up" in text


def test_case_without_a_product_does_not_pass(comparison: Any) -> None:
    case = found(1.0, 1.0, {}) | {"product": {"out_of_memory": "CUDA out of memory"}}
    assert not comparison.all_met({"avmnist": comparison.compared(case, steps=83, epochs=EPOCHS, judged=True)})


def test_machine_without_packages_hears_which(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    done = accept(tmp_path, *TRIAL, python=str(bare))
    assert done.returncode == 2
    assert "msgspec" in done.stderr
    assert "torch" in done.stderr
    assert not list(tmp_path.glob("*.json"))
