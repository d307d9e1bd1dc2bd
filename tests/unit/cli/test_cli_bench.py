"""`mstedge bench`: the screen, the file and the refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from bundle_factory import make_bundle
from made_machine import board

from mstedge.bench_result import BenchResult, Quantile, Series
from mstedge.cli import run
from mstedge.cli.bench import duration_text, output_for, quantile_text, say_result, significant_text
from mstedge.errors import UsageError
from mstedge.schema import read_json

PREDICTOR = Series(
    name="predictor",
    samples_ns=(1_200_000,) * 1500,
    warmup_ns=(9_870_000, 1_300_000),
    quantiles=(
        Quantile(share=0.5, value_ns=1_200_000, low_ns=1_190_000, high_ns=1_210_000),
        Quantile(share=0.9, value_ns=1_500_000, low_ns=1_400_000, high_ns=1_600_000),
        Quantile(share=0.99, value_ns=2_000_000, low_ns=None, high_ns=None),
    ),
    mean_ns=1_234_567.0,
    throughput_hz=810.0,
)
ENGINE = msgspec.structs.replace(
    PREDICTOR,
    name="engine",
    samples_ns=(84_100,) * 500,
    quantiles=(Quantile(share=0.5, value_ns=84_100, low_ns=83_900, high_ns=84_400),),
    mean_ns=84_500.0,
    throughput_hz=11_834.3,
)
RESULT = BenchResult(
    bundle="digits-audio",
    model_sha256="0" * 64,
    backend="onnxruntime 1.17.0",
    device="CPU",
    precision="fp32",
    threads=6,
    batch=1,
    input="golden raw",
    series=(PREDICTOR, ENGINE),
    stages_ms={"decode": 0.0313, "features": 1.02, "engine": 0.0841, "after": 0.0119},
    peak_memory_bytes=84 * 2**20,
    load_ms=66.34,
    environment=board(board="NVIDIA Jetson Orin Nano Developer Kit"),
    notes=("engine: 500 samples",),
)
SCREEN = """\
digits-audio · onnxruntime 1.17.0 · CPU · fp32 · 6 threads
NVIDIA Jetson Orin Nano Developer Kit · Cortex-A78AE · Ubuntu 22.04.5 LTS · 6 cores
one input at a time, from the bundle's golden files; intervals are 95 %

series           p50 [interval]        p90 [interval]     p99 [interval]     mean  per second  samples
─────────  ────────────────────  ────────────────────  ─────────────────  ───────  ──────────  ───────
predictor  1.20 ms [1.19, 1.21]  1.50 ms [1.40, 1.60]  2.00 ms [too few]  1.23 ms         810     1500
engine     84.1 µs [83.9, 84.4]                     -                  -  84.5 µs       11800      500

median per stage: decode 31.3 µs · features 1.02 ms · engine 84.1 µs · after 11.9 µs
load 66.3 ms · first answer 9.87 ms · peak memory 84 MiB
note: engine: 500 samples
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("cli-bench") / "tiny-fp32.bundle", "array")


def test_one_screen_says_everything(capsys: pytest.CaptureFixture[str]):
    say_result(RESULT)
    assert capsys.readouterr().out == SCREEN


def test_the_result_is_written_beside_the_bundle_and_the_command_says_where(
    bundle: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(["bench", str(bundle), "--seconds", "0.3"]) == 0
    printed = capsys.readouterr()
    target = bundle.parent / "tiny-fp32.bench.json"
    result = read_json(target, BenchResult)
    page = target.with_name(f"{target.stem}.report.html")
    assert printed.err == f"written to {target}\nreport: {page}\n"
    assert page.is_file()
    assert f"{result.bundle} · {result.backend} · CPU · fp32 · " in printed.out
    assert "predictor" in printed.out
    assert run(["verify", str(bundle)]) == 0


def test_json_on_stdout_is_the_document_of_the_file(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    target = tmp_path / "mine.json"
    assert run(["bench", str(bundle), "--seconds", "0.3", "--threads", "1", "--json", "-o", str(target)]) == 0
    printed = capsys.readouterr()
    assert printed.out == target.read_text()
    document = json.loads(printed.out)
    assert document["schema"] == "mstedge.bench/1"
    assert document["threads"] == 1


def test_a_bundle_named_by_a_dot_has_its_result_beside_it(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(bundle)
    assert output_for(Path(), None) == bundle.parent / "tiny-fp32.bench.json"


@pytest.mark.parametrize("name", ["bench.json", "golden/bench.json"])
def test_nothing_is_written_into_a_bundle(name: str, bundle: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["bench", str(bundle), "-o", str(bundle / name)]) == 2
    printed = capsys.readouterr().err
    assert "lies inside the bundle, and its SHA256SUMS allow no further file" in printed
    assert "hint: leave -o away" in printed


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def never(*_arguments: object, **_options: object) -> None:
        pytest.fail("measured first")

    monkeypatch.setattr("mstedge.runtime.bench.run.run_bench", never)
    assert run(["bench", str(bundle), "-o", str(tmp_path / "missing" / "out.json")]) == 2
    assert run(["bench", str(bundle), "-o", str(tmp_path)]) == 2


def test_a_read_only_folder_asks_for_another(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    with pytest.raises(UsageError, match="cannot be written there") as refused:
        output_for(bundle, None)
    assert refused.value.hint == "name a file in a writable folder with -o FILE"


@pytest.mark.parametrize(
    "arguments", [["--seconds", "0"], ["--seconds", "nan"], ["--threads", "0"], ["--threads", "x"]]
)
def test_numbers_that_make_no_sense_are_usage_errors(arguments: list[str], bundle: Path):
    assert run(["bench", str(bundle), *arguments]) == 2


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["bench", str(tmp_path / "nowhere.bundle")]) in (1, 2)
    assert "nowhere.bundle" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_sees_a_bar_that_is_wiped_at_the_end(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(["bench", str(bundle), "--seconds", "0.3", "-o", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().err
    assert "measuring  [" in printed
    assert "s left" in printed
    assert f"\r\x1b[Kwritten to {tmp_path / 'out.json'}\n" in printed


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (0, "0 µs"),
        (912, "0.912 µs"),
        (84_123, "84.1 µs"),
        (999_499, "999 µs"),
        (999_500, "1.00 ms"),
        (1_234_567, "1.23 ms"),
        (99_960_000, "100 ms"),
        (12_345_678_900, "12.3 s"),
        (1_234_567_890_000, "1230 s"),
    ],
)
def test_durations_have_three_digits_and_the_unit_of_their_size(duration_ns: float, text: str):
    assert duration_text(duration_ns) == text


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (0.0123456, "0.0123"), (9.999, "10.0"), (76_412.3, "76400")])
def test_three_digits_without_an_exponent(value: float, text: str):
    assert significant_text(value) == text


def test_an_interval_stands_in_the_unit_of_its_quantile():
    assert (
        quantile_text(Quantile(share=0.9, value_ns=900_000, low_ns=800_000, high_ns=1_234_000)) == "900 µs [800, 1230]"
    )
