"""What `mstedge tune` fitted on labelled rows, and what that changed on other rows: the record that it prints."""

from __future__ import annotations

from typing import Literal

from mstedge.evaluation import FailedFile
from mstedge.manifest import Postprocess
from mstedge.schema import Record


class AlarmRate(Record, frozen=True, kw_only=True):
    """How often a label was given that should not have been.

    Attributes:
        alarms: Rows that were.
        rows: Rows that could have been.
        clusters: Independent units among these.
        rate: Share of the rows.
        low: Lower end of its 95 % interval (Wilson 1927); clusters, not rows, are its sample size.
        high: Upper end.
    """

    alarms: int
    rows: int
    clusters: int
    rate: float
    low: float
    high: float


class RuleFigures(Record, frozen=True, kw_only=True):
    """What one temperature and one threshold give on the measured rows.

    Attributes:
        nll: Mean negative log likelihood of the true class, in nats, over rows of the bundle's classes.
        ece: Expected calibration error of the most probable class, 15 equal bins (Guo et al. 2017), over the same rows.
        coverage: Share of the same rows that are answered with a class, not with unknown or silence.
        false_alarms: Over negatives where there are any, over all rows otherwise.
    """

    nll: float
    ece: float
    coverage: float
    false_alarms: AlarmRate


class Tuning(Record, frozen=True, kw_only=True):
    """What was fitted on some rows, and measured on others.

    Attributes:
        schema: Version of this format.
        bundle: Name of the bundle.
        model_sha256: Digest of its ONNX file, which the new bundle shares.
        backend: Engine that ran it, with its version.
        data: Name of the file or folder with the rows, without the folders above it.
        parts: Parts of the split that the rows are from; empty where the data have no split.
        left_out: Rows of other parts, which were not looked at.
        perhaps_learnt: Rows that the student may have learnt from, as `mstedge evaluate` counts them; not negatives.
        rows: Rows that were looked at.
        failed: Those that could not be read, with reasons.
        unlabelled: Those without a label, which say nothing here.
        negatives: Labelled rows of none of the classes.
        halves: `split`: fitted on validation rows, measured on test rows; `clusters`: on one half of the clusters each.
        fitted_rows: Labelled rows that temperature and threshold were fitted on.
        fitted_clusters: Independent units among them.
        measured_rows: Labelled rows that every figure is from.
        measured_clusters: Independent units among them.
        alarms_over: What false alarms are a share of: `negatives` answered with a class, or `all` rows of which those
            answered with a wrong class count.
        asked_rate: Rate of false alarms that was asked for.
        shown: Whether the upper bound of the measured rate is at most that; none where none was asked for.
        accuracy: Share of measured rows of the bundle's classes whose most probable class is right; tuning leaves it.
        old_rule: From logits to an answer, before.
        new_rule: The same, after.
        before: Figures with the old rule.
        after: Figures with the new rule.
        notes: What a reader should know besides.
    """

    schema: Literal["mstedge.tuning/1"] = "mstedge.tuning/1"
    bundle: str
    model_sha256: str
    backend: str
    data: str
    parts: tuple[str, ...] = ()
    left_out: int = 0
    perhaps_learnt: int = 0
    rows: int
    failed: tuple[FailedFile, ...] = ()
    unlabelled: int = 0
    negatives: int
    halves: Literal["split", "clusters"]
    fitted_rows: int
    fitted_clusters: int
    measured_rows: int
    measured_clusters: int
    alarms_over: Literal["negatives", "all"]
    asked_rate: float | None = None
    shown: bool | None = None
    accuracy: float
    old_rule: Postprocess
    new_rule: Postprocess
    before: RuleFigures
    after: RuleFigures
    notes: tuple[str, ...] = ()
