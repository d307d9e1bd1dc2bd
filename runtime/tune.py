"""Temperature and threshold of a bundle, fitted on some labelled rows and measured on others."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import numpy as np

from mstedge.errors import DataError, UsageError
from mstedge.runtime.answer_figures import Judge, negatives, positives, top_probability
from mstedge.runtime.false_alarms import clusters_needed, lowest_threshold
from mstedge.runtime.labelled_logits import LabelledLogits, count_perhaps_learnt
from mstedge.runtime.temperature import HIGHEST_TEMPERATURE, LOWEST_TEMPERATURE, fitted_temperature
from mstedge.tuning import Tuning

if TYPE_CHECKING:
    from mstedge.evaluation import FailedFile
    from mstedge.manifest import Manifest, Postprocess
    from mstedge.runtime.labelled_files import LabelledFiles
    from mstedge.runtime.predictor import Predictor

LEAST_CLUSTERS = 10


class Halves(NamedTuple):
    """Labelled rows in two parts that share no cluster.

    Attributes:
        fitted: Rows that values are fitted on.
        measured: Rows that figures are from.
        by: What decided.
    """

    fitted: LabelledLogits
    measured: LabelledLogits
    by: Literal["split", "clusters"]


def tune(
    predictor: Predictor,
    files: LabelledFiles,
    given: LabelledLogits,
    failed: tuple[FailedFile, ...] = (),
    *,
    false_alarms: float | None = None,
) -> Tuning:
    """Fit temperature and threshold on one half of the rows and measure them on the other.

    Args:
        predictor: The bundle.
        files: The rows that were looked at.
        given: Logits of those that could be read.
        failed: The others.
        false_alarms: Rate that the threshold shall keep: the upper 95 % bound on the fitted rows is at most this. None
            to leave the threshold as it is.

    Returns:
        The new rule, and figures with both rules on the same rows.

    Raises:
        UsageError: The rate is not between 0 and 1.
        DataError: There are too few rows to fit on, to measure on or to show the rate, or no threshold keeps it.
    """
    if false_alarms is not None and not 0.0 < false_alarms < 1.0:
        raise UsageError(f"--false-alarms is {false_alarms:g}: expected a share between 0 and 1", hint="0.01 is 1 %")
    manifest = predictor.manifest
    halves = halves_of(given, manifest)
    both_have = all(negatives(half, manifest).any() for half in halves[:2])
    judge = Judge(manifest, "negatives" if both_have else "all")
    for half, what in ((halves.fitted, "fit on"), (halves.measured, "measure on")):
        _require_enough(half, manifest, what)
        if false_alarms is not None:
            _require_shown(judge.judged(half), judge, what, false_alarms)
    rule, notes = _fitted_rule(halves.fitted, judge, false_alarms)
    after = judge.figures(halves.measured, rule)
    labelled = halves.measured.where(halves.measured.labels < len(manifest.labels))
    return Tuning(
        bundle=manifest.name,
        model_sha256=predictor.bundle.digests[manifest.model],
        backend=predictor.session.backend,
        data=files.name,
        parts=files.parts,
        left_out=files.left_out,
        perhaps_learnt=count_perhaps_learnt(predictor, files),
        rows=len(files),
        failed=failed,
        unlabelled=len(files) - len(given) - len(failed),
        negatives=int(negatives(given, manifest).sum()),
        halves=halves.by,
        fitted_rows=len(halves.fitted),
        fitted_clusters=len(set(halves.fitted.clusters)),
        measured_rows=len(halves.measured),
        measured_clusters=len(set(halves.measured.clusters)),
        alarms_over=judge.over,
        asked_rate=false_alarms,
        shown=None if false_alarms is None else after.false_alarms.high <= false_alarms,
        accuracy=float((labelled.logits.argmax(axis=1) == labelled.labels).mean()),
        old_rule=manifest.postprocess,
        new_rule=rule,
        before=judge.figures(halves.measured, manifest.postprocess),
        after=after,
        notes=notes,
    )


def halves_of(given: LabelledLogits, manifest: Manifest) -> Halves:
    """Share rows out: by their split where validation and test rows are there, otherwise by cluster.

    Clusters are ordered by label and then by the digest of their name, and go to either half in turn: each half gets
    as many of each class, and the same data are always shared out in the same way.

    Args:
        given: All rows.
        manifest: The bundle's.
    """
    splits = np.array([each or "" for each in given.splits])
    taught = positives(given, manifest)
    if all((taught & (splits == part)).any() for part in ("validation", "test")):
        return Halves(given.where(splits == "validation"), given.where(splits == "test"), "split")
    label_of: dict[str, int] = {}
    for cluster, label in zip(given.clusters, given.labels.tolist(), strict=True):
        label_of[cluster] = min(label, label_of.get(cluster, label))
    ordered = sorted(label_of, key=lambda name: (label_of[name], hashlib.sha256(name.encode()).digest(), name))
    first = set(ordered[::2])
    fitted = np.array([cluster in first for cluster in given.clusters], dtype=np.bool_)
    return Halves(given.where(fitted), given.where(~fitted), "clusters")


def _fitted_rule(rows: LabelledLogits, judge: Judge, false_alarms: float | None) -> tuple[Postprocess, tuple[str, ...]]:
    old, notes = judge.manifest.postprocess, list[str]()
    of_class = rows.where(rows.labels < len(judge.manifest.labels))
    temperature = fitted_temperature(of_class.logits, of_class.labels)
    if temperature is None:
        notes.append(
            f"no temperature between {LOWEST_TEMPERATURE:g} and {HIGHEST_TEMPERATURE:g} is the most likely one for the "
            f"{len(of_class)} fitted rows (so it is where all of them are right): {old.temperature:g} was kept"
        )
        temperature = old.temperature
    rule = msgspec.structs.replace(old, temperature=temperature)
    if false_alarms is not None:
        rule = _with_threshold(rule, rows, judge, false_alarms)
    elif old.threshold > 0.0 and temperature != old.temperature:
        notes.append(
            f"the threshold of {old.threshold:g} was kept, although probabilities are others now: "
            "--false-alarms RATE fits it"
        )
    if old.stream.release is not None and rule.stream.release is None:
        notes.append(f"stream.release was {old.stream.release:g}, above the new threshold, and was taken away")
    return rule, tuple(notes)


def _with_threshold(rule: Postprocess, rows: LabelledLogits, judge: Judge, false_alarms: float) -> Postprocess:
    judged = judge.judged(rows)
    alarming = top_probability(judged, rule)[judge.alarming(judged)]
    threshold = lowest_threshold(alarming, len(judged), len(set(judged.clusters)), false_alarms)
    if threshold is None:
        raise DataError(
            f"no threshold keeps false alarms at {false_alarms:g}: {len(alarming)} of {len(judged)} fitted rows are "
            f"false alarms without one, the surest of them with a probability of {alarming.max():.7g}",
            hint="ask for a higher rate, or train with rows like these",
        )
    stream = rule.stream
    if stream.release is not None and stream.release > threshold:
        stream = msgspec.structs.replace(stream, release=None)
    return msgspec.structs.replace(rule, threshold=threshold, stream=stream)


def _require_enough(rows: LabelledLogits, manifest: Manifest, what: str) -> None:
    taught = rows.where(positives(rows, manifest))
    clusters = len(set(taught.clusters))
    if clusters < LEAST_CLUSTERS:
        raise DataError(
            f"{len(taught)} rows of the bundle's classes from {clusters} recordings are left to {what}: expected at "
            f"least {LEAST_CLUSTERS} recordings",
            hint=f"what is fitted is measured on other rows: bring {2 * LEAST_CLUSTERS} recordings or more",
        )


def _require_shown(judged: LabelledLogits, judge: Judge, what: str, rate: float) -> None:
    """Refuse to promise what so few rows cannot show, even if all of them were answered well."""
    clusters, needed = len(set(judged.clusters)), clusters_needed(rate)
    if clusters < needed:
        unknown = judge.manifest.postprocess.unknown
        kind = f"rows labelled {unknown!r}" if judge.over == "negatives" else "labelled rows"
        raise DataError(
            f"{len(judged)} {kind} from {clusters} recordings are left to {what}, which cannot show that false alarms "
            f"are at most {rate:g}: {needed} recordings without a single one would",
            hint=f"bring {2 * needed} of them, half to fit on and half to measure on, or ask for a higher rate",
        )
