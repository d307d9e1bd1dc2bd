"""What `mstedge verify` finds: golden cases replayed stage by stage."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mstedge.schema import Record

Stage: TypeAlias = Literal["decode", "features", "logits", "label"]
FEATURE_TOLERANCE = 1e-4


class CaseResult(Record, frozen=True, kw_only=True):
    """One golden case on this machine.

    Attributes:
        id: Row of the dataset that it is.
        first_difference: First stage that does not give what it must; none when all do.
        feature_difference: Largest |difference| of features.
        logit_difference: Largest |difference| of logits.
        label: What this machine answers.
        expected: What it must answer.
        detail: What was seen, in words.
    """

    id: str
    first_difference: Stage | None
    feature_difference: float | None
    logit_difference: float | None
    label: str | None
    expected: str
    detail: str = ""


class VerifyReport(Record, frozen=True, kw_only=True):
    """A bundle on this machine.

    Attributes:
        schema: Version of this format.
        bundle: Name in the manifest.
        passed: Whether every case gives what it must.
        backend: Engine that ran it, with its version.
        files: Number of files whose digest was checked.
        signature: Fingerprint of the key whose signature was checked; none where none was asked for.
        cases: Every golden case.
    """

    schema: Literal["mstedge.verify/1"] = "mstedge.verify/1"
    bundle: str
    passed: bool
    backend: str
    files: int
    signature: str | None = None
    cases: tuple[CaseResult, ...]
