"""Measure the CPU time of streaming 16 kHz sound with a hop of 100 ms against its own parts, interleaved in one run.

    python benchmarks/streaming_cost.py [--rounds 200]

The bar: a second of sound, pushed in chunks of 100 ms, with an inference for each of its 10 windows of 1 s, costs at
most 1.5 times 10 calls of `features_from_decoded` on 100 ms of sound and 10 inferences. Windows of 1 s, computed whole,
and pushes of 10 ms, as a microphone may give them, stand beside it without a bar. The engine is ONNX Runtime with one
thread; weights are random, as they do not matter here. Times are those of the process, all threads together, so that
other work on the machine does little to the ratios.

Prints a table on stderr and one line of JSON; exits 1 where a median ratio is above the bar.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch

from mstedge.export.onnx_graph import onnx_from_network
from mstedge.runtime.preprocess import Decoded, features_from_decoded
from mstedge.runtime.stream import SoundChunk, SoundStream
from mstedge.specs import AudioSpec
from mstedge.training.models.networks import Cnn, TemporalCnn

if TYPE_CHECKING:
    from collections.abc import Callable

BAR = 1.5
WARM_UP_ROUNDS = 10
RATE_HZ = 16000
HOP_SAMPLES = RATE_HZ // 10
SPEC = AudioSpec(
    sample_rate_hz=RATE_HZ, clip_samples=RATE_HZ, window_samples=400, hop_samples=160, fft_samples=512, mel_bands=40
)
# The student of the recipe digits-audio, quicker than any other for sound, and a larger one.
STUDENTS: dict[str, Callable[[], torch.nn.Module]] = {
    "temporal": lambda: TemporalCnn([SPEC.feature_shape], 10, channels=(32, 48, 64), hidden=64),
    "cnn": lambda: Cnn([SPEC.feature_shape], 10),
}
COLUMNS = ("parts_us", "stream_us", "ratio", "small_pushes_us", "small_pushes_ratio", "whole_us", "whole_ratio")


def engine_of(network: torch.nn.Module) -> Callable[[np.ndarray], Any]:
    """Make a network ready to answer for one window at a time, on one thread."""
    import onnxruntime  # noqa: PLC0415  after torch, whose threads are set first

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graph = onnx_from_network(network.eval(), SPEC.feature_shape, input_name="sound")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda features: session.run(None, {"sound": features[np.newaxis]})


def sides_of(engine: Callable[[np.ndarray], Any]) -> dict[str, Callable[[], None]]:
    """Give what is compared: each call works on one second of sound."""
    sound = (0.1 * np.random.default_rng(0).standard_normal((2 * RATE_HZ, 1))).astype(np.float32)
    hops = [sound[first : first + HOP_SAMPLES] for first in range(0, RATE_HZ, HOP_SAMPLES)]
    clips = [sound[first : first + RATE_HZ] for first in range(0, RATE_HZ, HOP_SAMPLES)]
    short_spec = msgspec.structs.replace(SPEC, clip_samples=HOP_SAMPLES)
    window = features_from_decoded(Decoded(clips[0], rate_hz=RATE_HZ), SPEC)

    def parts() -> None:
        for hop in hops:
            features_from_decoded(Decoded(hop, rate_hz=RATE_HZ), short_spec)
            engine(window)

    def whole() -> None:
        for clip in clips:
            engine(features_from_decoded(Decoded(clip, rate_hz=RATE_HZ), SPEC))

    return {
        "parts": parts,
        "stream": streaming(engine, sound, HOP_SAMPLES),
        "small_pushes": streaming(engine, sound, HOP_SAMPLES // 10),
        "whole": whole,
    }


def streaming(engine: Callable[[np.ndarray], Any], sound: np.ndarray, chunk_samples: int) -> Callable[[], None]:
    """Give a stream whose windows are complete from its second second on: one second of sound for every call."""
    stream = SoundStream(SPEC, HOP_SAMPLES)
    stream.push(SoundChunk(sound[:RATE_HZ], RATE_HZ, 0))
    chunks = [sound[first : first + chunk_samples] for first in range(0, RATE_HZ, chunk_samples)]
    second = 0

    def one_second() -> None:
        nonlocal second
        second += 1
        windows = 0
        for number, chunk in enumerate(chunks):
            for window in stream.push(SoundChunk(chunk, RATE_HZ, second * RATE_HZ + number * chunk_samples)):
                engine(window.features)
                windows += 1
        if windows != len(sound) // RATE_HZ * 5:
            sys.exit(f"{windows} windows of a second of sound: expected 10")

    return one_second


def measure(network: torch.nn.Module, rounds: int) -> dict[str, float]:
    """Time all sides in turn.

    Args:
        network: The student.
        rounds: How often each side works on a second of sound.

    Returns:
        Median CPU-microseconds per second of sound of each side, and the median of their ratios to the parts.
    """
    sides = sides_of(engine_of(network))
    times_ns = np.empty((rounds, len(sides)))
    for turn in range(-WARM_UP_ROUNDS, rounds):
        for column, work in enumerate(sides.values()):
            begin = time.process_time_ns()
            work()
            if turn >= 0:
                times_ns[turn, column] = time.process_time_ns() - begin
    medians = dict(zip(sides, np.median(times_ns, axis=0) / 1e3, strict=True))
    ratios = dict(zip(sides, np.median(times_ns / times_ns[:, :1], axis=0), strict=True))
    figures = {f"{name}_us": round(float(value), 1) for name, value in medians.items()}
    figures |= {f"{name}_ratio": round(float(ratios[name]), 3) for name in ("small_pushes", "whole")}
    return figures | {"ratio": round(float(ratios["stream"]), 3)}


def main() -> int:
    """Run all students and compare them with the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="seconds of sound per side (default: %(default)s)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    results = {name: measure(make(), rounds) for name, make in STUDENTS.items()}
    print(f"{'student':<12}" + "".join(f"{column:>20}" for column in COLUMNS), file=sys.stderr)
    for name, figures in results.items():
        print(f"{name:<12}" + "".join(f"{figures[column]:>20}" for column in COLUMNS), file=sys.stderr)
    passed = all(figures["ratio"] <= BAR for figures in results.values())
    print(json.dumps({"schema": "mstedge.streaming-bench/1", "bar": BAR, "passed": passed, "students": results}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
