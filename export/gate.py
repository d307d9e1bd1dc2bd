"""The parity gate: the converted model against the torch student, through the code that ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mstedge.runtime.postprocess import softmax
from mstedge.verdicts import LIMITS, Check, ParityReport, Precision, at_least, at_most, equals, judged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mstedge.runtime.backends import EngineSession

BATCHES = (1, 2, 7)
_SQNR_CEILING_DB = 200.0


def run_gate(
    session: EngineSession,
    features: NDArray[np.float32],
    reference: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    precision: Precision,
) -> ParityReport:
    """Run every row at every batch size and judge what comes out.

    Args:
        session: The candidate, loaded by a runtime backend.
        features: Held-out rows, float32 [rows, *feature_shape].
        reference: The torch student's logits for them, float32 [rows, classes].
        labels: int64 [rows]; negative for rows without one.
        precision: Which limits apply.
    """
    runs = {batch: logits_in_batches(session, features, batch) for batch in BATCHES}
    candidate = runs[BATCHES[0]]
    checks = contract_checks(runs, reference.shape)
    if candidate.shape == reference.shape:
        checks += number_checks(reference, candidate, precision) + decision_checks(reference, candidate, precision)
    verdict, reasons = judged(tuple(checks))
    labelled = labels >= 0
    return ParityReport(
        verdict=verdict,
        scope="graph",
        precision=precision,
        rows=len(features),
        batches=BATCHES,
        checks=tuple(checks),
        reasons=reasons,
        backend=session.backend,
        reference_accuracy=_accuracy(reference, labels, labelled),
        candidate_accuracy=_accuracy(candidate, labels, labelled),
    )


def logits_in_batches(session: EngineSession, features: NDArray[np.float32], batch: int) -> NDArray[np.float32]:
    """Run all rows, `batch` at a time; the last batch may be smaller.

    Returns:
        float32 [rows, classes].
    """
    return np.concatenate([session.run(features[start : start + batch]) for start in range(0, len(features), batch)])


def contract_checks(runs: dict[int, NDArray[np.float32]], shape: tuple[int, ...]) -> list[Check]:
    """Level 0: shapes, finite values, and the same answer at every batch size.

    Args:
        runs: Logits per batch size.
        shape: Shape of the reference logits.
    """
    first = runs[BATCHES[0]]
    wrong = sum(logits.shape != shape for logits in runs.values())
    unfinite = sum(int((~np.isfinite(logits)).sum()) for logits in runs.values())
    checks = [equals("runs with a wrong shape", wrong, 0), equals("logits that are not finite", unfinite, 0)]
    if not wrong:
        limit = LIMITS["fp32"].max_p99_probability_difference
        spread = max(float(np.abs(softmax(logits) - softmax(first)).max()) for logits in runs.values())
        checks.append(at_most("largest |dp| between batch sizes", spread, limit))
    return checks


def number_checks(reference: NDArray[np.float32], candidate: NDArray[np.float32], precision: Precision) -> list[Check]:
    """Level 1: how far the numbers are apart.

    Args:
        reference: Logits [rows, classes].
        candidate: Logits of the same shape.
        precision: Which limits apply.
    """
    limits = LIMITS[precision]
    difference = np.abs(softmax(candidate) - softmax(reference))
    return [
        at_least(
            "median SQNR of logits in dB", float(np.median(sqnr_db(reference, candidate))), limits.min_median_sqnr_db
        ),
        at_most("99th percentile of |dp|", float(np.percentile(difference, 99)), limits.max_p99_probability_difference),
        at_most("largest |dp|", float(difference.max()), limits.max_probability_difference),
        at_most("mean KL in nats", float(kl_rows(reference, candidate).mean()), limits.max_mean_kl),
    ]


def decision_checks(
    reference: NDArray[np.float32], candidate: NDArray[np.float32], precision: Precision
) -> list[Check]:
    """Level 2: answers that changed although the reference was sure.

    Args:
        reference: Logits [rows, classes].
        candidate: Logits of the same shape.
        precision: Which limits apply.
    """
    ordered = np.sort(softmax(reference), axis=1)
    sure = ordered[:, -1] - ordered[:, -2] > LIMITS[precision].hard_flip_margin
    flipped = reference.argmax(axis=1) != candidate.argmax(axis=1)
    return [equals("hard flips", int((flipped & sure).sum()), 0)]


def sqnr_db(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give -20 log10(||candidate - reference|| / ||reference||) per row, at most 200 dB."""
    signal = np.linalg.norm(reference.astype(np.float64), axis=1)
    noise = np.linalg.norm(candidate.astype(np.float64) - reference, axis=1)
    floor = signal * 10.0 ** (-_SQNR_CEILING_DB / 20.0) + np.finfo(np.float64).tiny
    decibels: NDArray[np.float64] = 20.0 * np.log10(np.maximum(signal, floor) / np.maximum(noise, floor))
    return decibels


def kl_rows(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give KL(reference || candidate) of softmax probabilities per row, in nats."""
    tiny = np.finfo(np.float64).tiny
    p, q = softmax(reference), softmax(candidate)
    kl: NDArray[np.float64] = np.maximum(0.0, (p * (np.log(p + tiny) - np.log(q + tiny))).sum(axis=1))
    return kl


def _accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64], labelled: NDArray[np.bool_]) -> float | None:
    if not labelled.any() or len(logits) != len(labels):
        return None
    return float((logits.argmax(axis=1) == labels)[labelled].mean())
