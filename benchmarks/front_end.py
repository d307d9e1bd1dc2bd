"""Measure log-mel features against the bare Fourier transform of the same frames, interleaved in one run.

    python benchmarks/front_end.py [--rounds 2000]

The bar: `features_from_decoded` of a clip at its own rate costs at most 1.5 times `numpy.fft.rfft` of the same frames,
already cut out, windowed and in memory. Prints one line of JSON; exits 1 where a median ratio is above the bar.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from typing import Any

import numpy as np

from mstedge.runtime.preprocess import decoded_from_array, features_from_decoded
from mstedge.runtime.preprocess.clip import padded_clip
from mstedge.runtime.preprocess.mel_tables import mel_tables
from mstedge.specs import AudioSpec

BAR = 1.5
WARM_UP_ROUNDS = 50
CASES = {
    "16 kHz, 1 s, 40 bands, 25 ms / 10 ms, fft 512": AudioSpec(
        sample_rate_hz=16000, clip_samples=16000, window_samples=400, hop_samples=160, fft_samples=512, mel_bands=40
    ),
    "8 kHz, 1 s, 40 bands, 25 ms / 10 ms, fft 256": AudioSpec(
        sample_rate_hz=8000, clip_samples=8000, window_samples=200, hop_samples=80, fft_samples=256, mel_bands=40
    ),
}


def measure(spec: AudioSpec, rounds: int) -> dict[str, Any]:
    """Time both in turn.

    Args:
        spec: A log-mel front end.
        rounds: How often each is timed.

    Returns:
        Median microseconds of each, their ratio, the tenth percentile of the ratio of neighbouring rounds, and page
        faults per bare transform: above a few, the C library gives memory back and takes it again within every
        transform, which makes the transform slow and the ratio look better than it is.
    """
    samples = (0.1 * np.random.default_rng(0).standard_normal(spec.clip_samples)).astype(np.float32)
    decoded = decoded_from_array(samples, spec)
    padded = padded_clip(decoded.values, spec.sample_rate_hz, spec)
    starts = np.arange(spec.frames) * spec.hop_samples
    frames = padded[starts[:, np.newaxis] + np.arange(spec.fft_samples)] * mel_tables(spec).window[0]
    times_ns = np.empty((rounds, 2))
    faults = 0
    for turn in range(-WARM_UP_ROUNDS, rounds):
        faults -= resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        begin = time.perf_counter_ns()
        np.fft.rfft(frames)
        between = time.perf_counter_ns()
        faults += resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        middle = time.perf_counter_ns()
        features_from_decoded(decoded, spec)
        end = time.perf_counter_ns()
        if turn >= 0:
            times_ns[turn] = between - begin, end - middle
    bare, features = np.median(times_ns, axis=0) / 1e3
    return {
        "rfft_us": round(float(bare), 1),
        "features_us": round(float(features), 1),
        "ratio": round(float(features / bare), 3),
        "faults_per_rfft": round(faults / (rounds + WARM_UP_ROUNDS), 1),
        "ratio_tenth_percentile": round(float(np.quantile(times_ns[:, 1] / times_ns[:, 0], 0.1)), 3),
    }


def main() -> int:
    """Run all cases and compare them with the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000, help="how often each is timed (default: %(default)s)")
    rounds = parser.parse_args().rounds
    results = {name: measure(spec, rounds) for name, spec in CASES.items()}
    passed = all(result["ratio"] <= BAR for result in results.values())
    print(json.dumps({"schema": "mstedge.front-end-bench/1", "bar": BAR, "passed": passed, "cases": results}))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
