"""Golden cases replayed on this machine: which stage is the first that does not give what it must?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mstedge.errors import CheckFailedError, ConfigError
from mstedge.limits import LIMITS
from mstedge.runtime.postprocess import softmax, top_margin
from mstedge.runtime.preprocess import digest_of_decoded
from mstedge.verification import FEATURE_TOLERANCE, CaseResult, Stage, VerifyReport

if TYPE_CHECKING:
    from mstedge.manifest import GoldenCase, Manifest
    from mstedge.runtime.backends.protocol import Floats
    from mstedge.runtime.predictor import Predictor


@dataclass(slots=True)
class _Replay:
    """What is known of one case so far.

    Attributes:
        stage: First stage that differed.
        details: What was seen.
        feature_difference: Largest |difference| of features.
        logit_difference: Largest |difference| of logits.
        label: What this machine answers.
    """

    stage: Stage | None = None
    details: list[str] | None = None
    feature_difference: float | None = None
    logit_difference: float | None = None
    label: str | None = None

    def saw(self, detail: str, *, differs: Stage | None = None) -> None:
        """Note what was seen; the first stage that differs is the one that counts."""
        self.details = [*(self.details or []), f"{differs}: {detail}" if differs else detail]
        self.stage = self.stage or differs


def verify(predictor: Predictor, *, signature: str | None = None) -> VerifyReport:
    """Replay every golden case of a bundle from its first recorded stage.

    A bundle without golden cases does not pass: nothing was compared.

    Args:
        predictor: From `open_predictor`, so that a front end that does not fit is found here, as a stage.
        signature: Fingerprint of the key whose signature was checked, if one was.

    Raises:
        BundleError: A file of the bundle changed since it was opened.
        MachineError: This machine lacks what is needed to read the raw inputs.
    """
    bundle = predictor.bundle
    cases = bundle.golden_cases().cases
    features, logits = bundle.golden_features(), bundle.golden_logits()
    results = tuple(_replayed(predictor, case, features[case.index], logits[case.index]) for case in cases)
    return VerifyReport(
        bundle=predictor.manifest.name,
        passed=bool(results) and all(result.first_difference is None for result in results),
        backend=predictor.session.backend,
        files=len(bundle.digests),
        signature=signature,
        cases=results,
    )


def _replayed(predictor: Predictor, case: GoldenCase, golden_features: Floats, golden_logits: Floats) -> CaseResult:
    replay = _Replay()
    if case.file is None:
        replay.saw("no raw input: starts from the golden features")
        features: Floats | None = golden_features
    else:
        features = _replayed_features(predictor, case, golden_features, replay)
    if features is not None:
        _replay_network(predictor, case, features, golden_logits, replay)
    return CaseResult(
        id=case.id,
        first_difference=replay.stage,
        feature_difference=replay.feature_difference,
        logit_difference=replay.logit_difference,
        label=replay.label,
        expected=predictor.manifest.labels[case.label],
        detail="; ".join(replay.details or []),
    )


def _replayed_features(predictor: Predictor, case: GoldenCase, golden: Floats, replay: _Replay) -> Floats | None:
    """Decode and compute the features of a case; none where the network cannot take them."""
    path = predictor.bundle.path_of(case.file or "")
    try:
        decoded = predictor.decode(path)
    except CheckFailedError as problem:
        replay.saw(problem.message, differs="decode")
        return None
    digest = digest_of_decoded(decoded)
    if digest != case.decoded_sha256:
        replay.saw(f"{case.file} has the digest {digest[:12]}, not {str(case.decoded_sha256)[:12]}", differs="decode")
    try:
        features = predictor.features(decoded)
    except (CheckFailedError, ConfigError) as problem:
        replay.saw(problem.message, differs="features")
        return None
    if features.shape != golden.shape:
        replay.saw(
            f"the front end makes shape {list(features.shape)}, golden is {list(golden.shape)}", differs="features"
        )
        return None
    _judge_features(features, golden, replay)
    return features


def _judge_features(features: Floats, golden: Floats, replay: _Replay) -> None:
    difference = _largest_difference(features, golden)
    replay.feature_difference = difference
    if np.array_equal(features, golden):
        replay.saw("features are bit-equal")
    elif not difference <= FEATURE_TOLERANCE:
        replay.saw(f"largest |difference| is {difference:.3g}, allowed {FEATURE_TOLERANCE:g}", differs="features")


def _replay_network(
    predictor: Predictor, case: GoldenCase, features: Floats, golden_logits: Floats, replay: _Replay
) -> None:
    """Run the network on this machine's own features and judge logits and label."""
    allowed = _allowed_difference(predictor.manifest)
    try:
        logits = predictor.logits(features)
    except CheckFailedError as problem:
        replay.saw(problem.message, differs="logits")
        return
    replay.logit_difference = _largest_difference(logits, golden_logits)
    difference = _largest_difference(softmax(logits), softmax(golden_logits))
    if not difference <= allowed:
        replay.saw(f"largest |difference| of probabilities is {difference:.3g}, allowed {allowed:g}", differs="logits")
    _judge_label(predictor.manifest, case, int(logits.argmax()), top_margin(golden_logits), replay)


def _allowed_difference(manifest: Manifest) -> float:
    """Say how far probabilities may be from the golden ones, which the exported model itself gave."""
    limits = LIMITS[manifest.precision]
    largest = limits.max_probability_difference
    return limits.max_p99_probability_difference if largest is None else largest


def _judge_label(manifest: Manifest, case: GoldenCase, index: int, margin: float, replay: _Replay) -> None:
    labels, allowed = manifest.labels, LIMITS[manifest.precision].hard_flip_margin
    replay.label = labels[index]
    if index == case.label:
        return
    seen = f"{labels[index]!r} instead of {labels[case.label]!r}, reference margin {margin:.3g}"
    if margin < allowed:
        replay.saw(f"{seen}: below {allowed:g}, a tie")
    else:
        replay.saw(seen, differs="label")


def _largest_difference(one: object, other: object) -> float:
    """Measure max |one - other|; not-a-number stays what it is, and passes no limit."""
    difference = np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64))
    return float(difference.max(initial=0.0))
