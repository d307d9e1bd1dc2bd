"""Train at the published sizes on a GPU, and compare with the straightforward way: seconds and peak memory per stage.

    sh scripts/gpu_acceptance.sh [--cases avmnist ravdess-visual] [--seconds 450]
    sh scripts/gpu_acceptance.sh --device cpu --cases tiny --epochs 1/1/2      # a trial without a GPU

Rows are made up (`made_task.py`). Every measurement has a process of its own:

* `product`: `mstedge.training` from rows in this machine's memory to the scored student, 1/1/100 epochs, checkpoints
  and metrics written. `product_faster` is the same with the recipe's `engine` as `FASTER` has it.
* `oracle`: tests/oracle_training.py, a few batches of each stage. From the seconds of a batch its epochs are
  extrapolated; validation is left out. Its memory is that of these batches; where the card is too small, that is said.
* `options`: epochs of stage 3 with other settings, from the weights that stage 2 of the first case left, in turns.

Before the clock starts, packages are imported, the CUDA context is made and one small matrix product computed.
Everything else that a first time costs, such as loading kernels and choosing algorithms, is in the figures; in
`options` the first epoch is told apart.

Targets and published figures are for a GPU and the published sizes: there the file goes below docs/results, else below
build/. Exits 1 where a target is missed or the product could not be measured, 2 where nothing can be. What would take
longer than `--seconds` in all is left out and named.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from acceptance_comparison import PUBLISHED, TARGETS, all_met, brief, compared, lines_for_people
from acceptance_machine import machine, slug
from gpu_acceptance_child import Job
from made_task import CASES, STAGES, Case, sized
from separate_process import START_METHODS, measure

from mstedge.training.lineage import git_commit

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = "packages imported, the CUDA context made, one matrix product of 64 x 64; nothing else"
EPOCHS = (1, 1, 100)  # as published
FASTER = {"precision": "bf16-mixed"}
OPTION_EPOCHS = 20
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "fp32": {},
    "fp32-without-tf32": {"torch_settings": {"tf32_in_convolutions": False}},
    "tf32": {"torch_settings": {"float32_matmul_precision": "high"}},
    "bf16-mixed": {"engine": {"precision": "bf16-mixed"}},
    "adam-not-fused": {"engine": {"fused_adam": False}},
    "channels-last": {"engine": {"channels_last": True}},
    "compile": {"engine": {"compile": True}},
}


@dataclass
class Acceptance:
    """One call.

    Attributes:
        arguments: From the command line.
        weights: Where the first case leaves the weights that stage 3 begins with.
        ends: When time is up, on `time.monotonic`.
        start: How processes are started.
        cases: What was found, by case.
        options: What was found, one entry for each round, by option.
    """

    arguments: argparse.Namespace
    weights: Path
    ends: float
    start: str
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    options: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def run(self) -> None:
        """Measure what matters most first, in case that time runs out."""
        for name in self.arguments.cases:
            keep = {"weights": self.weights} if name == self.arguments.cases[0] else {}
            self.cases[name] = {
                "batch_rows": self.case(name).shape.batch_rows,
                "rows": self.case(name).rows(),
                "product": self.measured("product", name, **keep),
                "oracle": {stage: self.measured("oracle", name, stage=stage) for stage in STAGES},
            }
        for _round in range(self.arguments.rounds):
            for name in self.arguments.options:
                self.options.setdefault(name, []).append(self.option(name))
        for name, case in self.cases.items():
            case["product_faster"] = self.measured("product", name, engine=FASTER) | {"engine": FASTER}
            steps = -(-case["rows"]["train"] // case["batch_rows"])
            epochs = dict(zip(STAGES, self.arguments.epochs, strict=True))
            case.update(compared(case, steps=steps, epochs=epochs, judged=judged(self.arguments)))

    def option(self, name: str) -> dict[str, Any]:
        """Measure one setting of stage 3."""
        epochs = (1, 1, min(OPTION_EPOCHS, self.arguments.epochs[2]))
        return self.measured(
            "option", self.arguments.cases[0], weights=self.weights, **({"epochs": epochs} | OPTIONS[name])
        )

    def measured(self, kind: str, case: str, **more: Any) -> dict[str, Any]:
        """Measure once in a process of its own, if time is left; tell people on stderr."""
        given = self.arguments
        job = Job(kind, given.device, self.case(case), **({"epochs": given.epochs} | more))
        result = measure(job, seconds=self.ends - time.monotonic(), start=self.start)
        settings = {**job.engine, **job.torch_settings}
        print(f"{case} {kind} {job.stage or settings or ''}: {brief(result)}", file=sys.stderr, flush=True)
        return result

    def case(self, name: str) -> Case:
        """Give a case in the size that was asked for."""
        return sized(CASES[name], self.arguments.rows, self.arguments.batch)


def main() -> int:
    """Measure, write the file and say what was missed."""
    arguments = parsed()
    started = time.monotonic()
    for start in START_METHODS:
        facts = measure(Job("facts", arguments.device, CASES["tiny"]), seconds=arguments.seconds, start=start)
        if "device" in facts:
            break
    else:
        print(f"nothing can be measured on {arguments.device!r}: {brief(facts)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="mstedge-acceptance-") as folder:
        acceptance = Acceptance(arguments, Path(folder) / "stage2.safetensors", started + arguments.seconds, start)
        acceptance.run()
    name = arguments.name or slug(facts.get("name", "trial"))
    passed = all_met(acceptance.cases)
    result = {
        "schema": "mstedge.gpu-acceptance/1",
        "name": name,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git_commit": git_commit() or arguments.commit,
        "machine": machine(facts),
        "epochs": list(arguments.epochs),
        "warm_up": WARM_UP,
        "published": PUBLISHED,
        "targets": TARGETS,
        "passed": passed if judged(arguments) else None,
        "cases": acceptance.cases,
        "options": acceptance.options,
        "seconds": round(time.monotonic() - started, 1),
    }
    path = (arguments.out or ROOT / ("docs/results" if judged(arguments) else "build")) / f"gpu-{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines_for_people(acceptance.cases, acceptance.options)))
    print(path)
    return 0 if passed else 1


def judged(arguments: argparse.Namespace) -> bool:
    """Say whether targets and published figures are for what is measured."""
    as_published = (arguments.rows, arguments.batch, arguments.epochs) == (None, None, EPOCHS)
    return bool(arguments.device == "cuda" and as_published)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["avmnist", "ravdess-visual"], metavar="CASE")
    parser.add_argument("--options", nargs="*", choices=OPTIONS, default=list(OPTIONS), metavar="OPTION")
    parser.add_argument("--rounds", type=int, default=2, help="how often the options take their turns")
    parser.add_argument("--rows", type=int, help="training rows; none takes the published number")
    parser.add_argument("--batch", type=int, help="rows of a step; none takes the published number")
    parser.add_argument("--epochs", type=_epochs, default=EPOCHS, help="of the three stages, as 1/1/100")
    parser.add_argument("--seconds", type=float, default=450.0, help="how long all of it may take")
    parser.add_argument("--out", type=Path, help="folder for the file; none takes docs/results, or build on a CPU")
    parser.add_argument("--name", help="in the file's name; none takes that of the GPU")
    parser.add_argument("--commit", help="where git cannot say it")
    return parser.parse_args()


def _epochs(text: str) -> tuple[int, int, int]:
    first, second, third = (int(each) for each in text.split("/"))
    return first, second, third


if __name__ == "__main__":
    sys.exit(main())
