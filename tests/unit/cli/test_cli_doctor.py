"""`mstedge doctor`: the screen, the document and the exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from made_machine import board

from mstedge.cli import run
from mstedge.cli.doctor import say_report
from mstedge.runtime.doctor import BackendState, CacheState, DoctorReport, PackageState

REPORT = DoctorReport(
    healthy=True,
    packages=(
        PackageState(
            name="numpy", version="1.26.4", needed_by="everything", install="pip install 'mstedge'", base=True
        ),
        PackageState(name="torch", version=None, needed_by="distill", install="pip install 'mstedge[train]'"),
    ),
    problems=("two packages fight",),
    environment=board(board="NVIDIA Jetson Orin Nano Developer Kit", l4t="36.4.7", governor="schedutil"),
    backends=(
        BackendState(name="onnxruntime", available=False, reason="it is not installed", hint="pip install it"),
        BackendState(name="other", available=True, reason="other 1.0 is installed"),
    ),
    cache=CacheState(folder="~/.cache/mstedge", writable=False),
)
SCREEN = """\
package  installed  needed by   to install
───────  ─────────  ──────────  ────────────────────────────
numpy    1.26.4     everything
torch    missing    distill     pip install 'mstedge[train]'

board     NVIDIA Jetson Orin Nano Developer Kit
processor Cortex-A78AE · 6 usable cores · aarch64
memory    8.0 GiB
system    Ubuntu 22.04.5 LTS · kernel 5.15.148-tegra · L4T 36.4.7
governor  schedutil
cache     ~/.cache/mstedge: not writable, set MSTEDGE_CACHE
backend   onnxruntime: not usable, it is not installed: pip install it
backend   other: usable, other 1.0 is installed
problem: two packages fight

the base install works
"""

if TYPE_CHECKING:
    from collections.abc import Callable

    Found = Callable[[DoctorReport], None]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    return lambda report: monkeypatch.setattr("mstedge.runtime.doctor.examine", lambda: report)


def test_one_screen_says_everything(capsys: pytest.CaptureFixture[str]):
    say_report(REPORT)
    assert capsys.readouterr().out == SCREEN


def test_this_machine_can_run_the_command(capsys: pytest.CaptureFixture[str]):
    assert run(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "onnxruntime: usable" in printed
    assert "the base install works" in printed


def test_json_is_the_whole_report(capsys: pytest.CaptureFixture[str]):
    assert run(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "mstedge.doctor/1"
    assert msgspec.convert(document, DoctorReport).healthy


def test_optional_packages_and_problems_do_not_change_the_exit_code(found: Found):
    found(REPORT)
    assert run(["doctor"]) == 0


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"]])
def test_a_broken_base_install_ends_with_3(arguments: list[str], found: Found, capsys: pytest.CaptureFixture[str]):
    found(msgspec.structs.replace(REPORT, healthy=False))
    assert run(arguments) == 3
    printed = capsys.readouterr().out
    assert "the base install is broken" in printed or json.loads(printed)["healthy"] is False
