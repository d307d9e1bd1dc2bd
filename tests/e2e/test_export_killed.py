"""An export that is killed at any moment leaves the old bundle or the new one, whole; the next one works."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mstedge.runtime.bundle import open_bundle

KILLS = 3
# Writes the same bundle for ever, in turns with and without recordings; says so once the first stands.
WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from made_student import made_student
from mstedge.export.bundle_writer import BundleContent, write_bundle
from mstedge.export.candidate import candidate_from_graph, loaded
from mstedge.export.gate_rows import gate_rows
from mstedge.export.golden import golden_rows
from mstedge.export.pipeline import export_student
from mstedge.export.wish import ExportWish

bundle, student = Path(sys.argv[1]), made_student()
report, candidate, _ = export_student(student, bundle, ExportWish(), note=lambda text: None)
rows, golden = gate_rows(student), golden_rows(student, loaded(candidate, student, ExportWish()))
print("written", flush=True)
while True:
    for kind in ("features", "raw"):
        write_bundle(bundle, BundleContent(student, candidate, report, rows, golden, ExportWish(golden=kind)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="folders change places in one step on Linux only")
def test_a_killed_export_leaves_a_whole_bundle(tmp_path: Path) -> None:
    bundle = tmp_path / "x.bundle"
    generator = np.random.default_rng(5)
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(bundle), str(Path(__file__).parents[1])],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        time.sleep(generator.uniform(0.0, 0.2))  # a random moment of a loop that does nothing but write
        process.kill()
        process.wait()
        process.stdout.close()
        assert open_bundle(bundle).manifest.parity.verdict == "pass"


def test_a_killed_first_export_leaves_no_bundle_or_a_whole_one(tmp_path: Path) -> None:
    script = WRITER.replace("bundle, student =", "print('ready', flush=True)\nbundle, student =", 1)
    for delay_seconds in (0.05, 0.6):
        bundle = tmp_path / f"{delay_seconds}.bundle"
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(bundle), str(Path(__file__).parents[1])],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay_seconds)
        process.kill()
        process.wait()
        process.stdout.close()
        if bundle.exists():
            assert open_bundle(bundle).manifest.parity.verdict == "pass"
