"""Several processes on a CPU: that they train as one does, that the first alone writes, and how they end."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGKILL
from typing import Any

import pytest
import torch
from processes_at_work import ALIKE, PROCESSES, manifest_recipe, train_alike, work, write_rows
from safetensors.torch import load_file

from mstedge.errors import CheckFailedError
from mstedge.training.launcher import run_in_processes
from mstedge.training.recipe_files import recipe_text
from mstedge.training.runs import read_card


@dataclass(frozen=True)
class Job:
    """What two processes did together until one of them was killed."""

    folder: Path
    problem: CheckFailedError
    seconds: float
    left: list[int]

    def found(self, what: str) -> list[Any]:
        """Give what each process found."""
        return [json.loads((self.folder / f"found-{rank}.json").read_text())[what] for rank in range(PROCESSES)]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("job")
    write_rows(folder)
    killed_at: list[float] = []

    def kill_one(what: str, done: int, _total: int) -> None:
        if (folder / "whole/student.safetensors").exists() and (what, done) == ("seed 0 mst: specialise", 1):
            os.kill(int((folder / "pid-1").read_text()), SIGKILL)
            killed_at.append(time.monotonic())

    with pytest.raises(CheckFailedError) as met:
        run_in_processes(partial(work, folder), PROCESSES, kill_one)
    seconds = time.monotonic() - killed_at[0]
    pids = [int((folder / f"pid-{rank}").read_text()) for rank in range(PROCESSES)]
    return Job(folder, met.value, seconds, [pid for pid in pids if Path(f"/proc/{pid}").exists()])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    threads = torch.get_num_threads()
    train_alike(folder, devices=1)
    torch.set_num_threads(threads)
    return folder


def close(one: Any, other: Any) -> bool:
    """Compare all numbers to 1e-6, and everything else for equality."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9) if isinstance(one, float) else bool(one == other)


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_train_as_one_does(job: Job, alone: Path, name: str) -> None:
    expected = json.loads((alone / f"{name}-0.json").read_text())
    first, second = (json.loads((job.folder / f"{name}-{rank}.json").read_text()) for rank in range(PROCESSES))
    assert first == second
    assert len(expected) > 10
    assert close(first, expected)
    student, expected_student = (load_file(each / name / "student.safetensors") for each in (job.folder, alone))
    assert student.keys() == expected_student.keys()
    for key, value in student.items():
        torch.testing.assert_close(value, expected_student[key], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ALIKE)
def test_metrics_do_not_depend_on_the_number_of_processes(job: Job, alone: Path, name: str) -> None:
    rows, expected_rows = ((each / name / "metrics.jsonl").read_text().splitlines() for each in (job.folder, alone))
    assert len(rows) == len(expected_rows) > 0
    for row, expected_row in zip(rows, expected_rows, strict=True):
        assert close(json.loads(row), json.loads(expected_row))
    card, expected = (read_card(each / name) for each in (job.folder, alone))
    assert (card.lineage.processes, expected.lineage.processes) == (2, 1)
    for ours, theirs in zip(card.metrics, expected.metrics, strict=True):
        assert close(ours.cross_entropy, theirs.cross_entropy)
        assert (ours.part, ours.rows, ours.accuracy) == (theirs.part, theirs.rows, theirs.accuracy)


def test_processes_add_up_and_gather(job: Job) -> None:
    for rank, sums in enumerate(job.found("sums")):
        assert sums["total"] == [3.0, 4.0]
        assert sums["gradient"] == [2.0, 10.0]
        assert sums["gathered"] == [0.0, 10.0, 20.0, 30.0, 40.0]
        assert sums["rows"] == [0, 7, 1, 7]
        assert sums["gradients"] == [1.0, 1.0, None], rank


def test_processes_start_from_the_weights_of_the_first(job: Job) -> None:
    assert job.found("first weights") == [0.0, 0.0]


def test_each_process_draws_noise_of_its_own(job: Job) -> None:
    first, second = job.found("noise")
    assert len(first) == len(second) >= 4
    assert not set(first) & set(second)


def test_processes_share_the_cores(job: Job) -> None:
    assert job.found("threads") == [max(1, len(os.sched_getaffinity(0)) // PROCESSES)] * PROCESSES


def test_all_processes_stop_where_one_diverges(job: Job) -> None:
    first, second = job.found("diverged")
    assert first == second
    assert first.startswith("DivergedError: distill epoch 0 step ")
    assert "train7" in first


def test_processes_with_other_data_do_not_train_together(job: Job) -> None:
    first, second = job.found("disagreed")
    assert first == second
    assert first.startswith("DataError: process 1 has another data (digest 1) than process 0 (digest 0)")


def test_the_first_process_alone_writes(job: Job) -> None:
    assert {path.name for path in (job.folder / "diverged").iterdir()} == {"0"}
    names = {path.name for path in (job.folder / "gate").iterdir()}
    assert names == {"recipe.yaml", "run.json", "student.safetensors", "metrics.jsonl", "tensorboard"}
    assert len(list((job.folder / "gate/tensorboard").iterdir())) == 1


def test_a_killed_process_ends_the_others(job: Job) -> None:
    assert job.problem.message == "training process 1 was killed by SIGKILL (out of memory?)"
    assert job.problem.hint == "go on with --resume"
    assert job.seconds < 20
    assert job.left == []
    assert read_card(job.folder / "killed").status == "incomplete"


def test_torchrun_goes_on_with_a_killed_run_bit_for_bit(job: Job) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--local-addr", "localhost"]
    command += ["-m", "mstedge", "distill", "--resume", str(job.folder / "killed"), "--json"]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    card = json.loads(done.stdout)["run"]
    assert (card["status"], card["lineage"]["processes"], card["lineage"]["threads"]) == ("complete", 2, 1)
    assert done.stderr.count("run folder: ") == done.stderr.count("next: mstedge export") + 1 == 1
    for name in ("student.safetensors", "metrics.jsonl"):
        assert (job.folder / "killed" / name).read_bytes() == (job.folder / "whole" / name).read_bytes()


@pytest.mark.slow  # half a minute
def test_ctrl_c_ends_all_processes_of_a_command(tmp_path: Path) -> None:
    write_rows(tmp_path)
    (tmp_path / "long.yaml").write_text(recipe_text(manifest_recipe(tmp_path)))
    command = [sys.executable, "-m", "mstedge", "distill", "long.yaml", "-o", "run"]
    command += ["--set", "stages.collaborative.epochs=100000"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while not (tmp_path / "run/checkpoint.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.1)
        group = os.getpgid(process.pid)
        os.killpg(group, SIGINT)
        _out, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.endswith("stopped; go on with: mstedge distill --resume run\ninterrupted\n")
    assert "Traceback" not in said
    assert has_ended(group)


@pytest.mark.slow  # half a minute
def test_a_killed_command_leaves_no_process_behind(tmp_path: Path) -> None:
    write_rows(tmp_path)
    (tmp_path / "long.yaml").write_text(recipe_text(manifest_recipe(tmp_path)))
    command = [sys.executable, "-m", "mstedge", "distill", "long.yaml", "-o", "run"]
    command += ["--set", "stages.collaborative.epochs=100000"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        group = os.getpgid(process.pid)
        while not (tmp_path / "run/checkpoint.safetensors").exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.kill()
        process.wait()
    assert has_ended(group)


def has_ended(group: int) -> bool:
    """Say whether no process of the group is left, soon."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
