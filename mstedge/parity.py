"""What a run of the parity gate found: the report that ships in a bundle, and the rows that travel with it."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mstedge.errors import ConfigError
from mstedge.limits import Precision
from mstedge.schema import Record
from mstedge.verdicts import Check, Verdict

Scope: TypeAlias = Literal["graph", "engine"]
Metric: TypeAlias = Literal["accuracy", "mIoU"]
Method: TypeAlias = Literal["tango", "cluster-bca"]
MAX_FLIPS_LISTED = 100


class ClassDrop(Record, frozen=True, kw_only=True):
    """What happened to the rows of one class.

    Attributes:
        label: Index of the class.
        rows: Labelled rows of it.
        reference_recall: Share that the reference answers correctly.
        candidate_recall: The same for the candidate.
        p_value: Exact McNemar test of a difference, adjusted over classes (Holm 1979).
    """

    label: int
    rows: int
    reference_recall: float
    candidate_recall: float
    p_value: float


class TaskResult(Record, frozen=True, kw_only=True):
    """Level 3: what the conversion costs in the unit that users care about.

    Attributes:
        metric: What is compared.
        method: Where the bounds come from: Tango's score interval over independent rows, or a bootstrap over clusters.
        rows: Labelled rows.
        clusters: Independent units among them.
        reference: The metric of the reference, as a share.
        candidate: The same for the candidate.
        difference: Candidate minus reference.
        low: One-sided lower bound of the difference at `confidence`; none where there are too few clusters.
        high: One-sided upper bound.
        confidence: Of each bound.
        margin: How much may be lost, as a share.
        margin_origin: Who set it.
        lost: Rows that only the reference answers correctly.
        gained: Rows that only the candidate answers correctly.
        mcnemar_p: Exact test of a difference; not evidence of equality, and never used as such.
        needed_rows: Rows that would decide, where these do not.
        stands_in: Level 2 stands in for the bound: an fp32 margin needs more rows than anyone has.
        reference_ece: Expected calibration error (15 equal bins) of the reference.
        candidate_ece: The same for the candidate.
        classes: Every class, the largest drop first.
    """

    metric: Metric
    method: Method
    rows: int
    clusters: int
    reference: float
    candidate: float
    difference: float
    low: float | None
    high: float | None
    confidence: float
    margin: float
    margin_origin: str
    lost: int
    gained: int
    mcnemar_p: float
    needed_rows: int | None = None
    stands_in: bool = False
    reference_ece: float
    candidate_ece: float
    classes: tuple[ClassDrop, ...] = ()


class Flip(Record, frozen=True, kw_only=True):
    """A row whose answer changed.

    Attributes:
        id: Name of the row.
        label: Index of its class; none without a label.
        reference: Index of the reference's answer.
        candidate: Index of the candidate's answer.
        margin: Top-1 to top-2 margin of the reference's probabilities.
        hard: Whether the margin exceeds the precision's hard-flip margin.
    """

    id: str
    label: int | None
    reference: int
    candidate: int
    margin: float
    hard: bool


class Histogram(Record, frozen=True, kw_only=True):
    """How often |p - p'| was how large, over rows and classes.

    Attributes:
        edges: Powers of ten that separate the bins, ascending; the first bin is everything below the first edge.
        counts: One more than edges.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.edges or len(self.counts) != len(self.edges) + 1:
            raise ConfigError(f"the histogram has {len(self.edges)} edges and {len(self.counts)} counts")


class Calibration(Record, frozen=True, kw_only=True):
    """The rows that int8 ranges were fitted on.

    Attributes:
        schema: Version of this format.
        method: How ranges follow from what was seen.
        ids: Names of the rows, all of the training part.
        features_sha256: Digest of each row's features.
    """

    schema: Literal["mstedge.calibration/1"] = "mstedge.calibration/1"
    method: Literal["minmax", "entropy", "percentile"]
    ids: tuple[str, ...]
    features_sha256: tuple[str, ...]


class ParityRows(Record, frozen=True, kw_only=True):
    """The gate's rows, as they travel in a bundle beside their reference logits.

    Attributes:
        schema: Version of this format.
        ids: Names of the rows.
        clusters: The independent unit that each comes from.
        labels: Index of the class; none without a label.
        features_sha256: Digest of each row's features.
        carried: The first so many rows travel with their features.
        edges: Names of the made-up extreme inputs that follow the rows in features.npy and logits.npy.
    """

    schema: Literal["mstedge.parity-rows/1"] = "mstedge.parity-rows/1"
    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    labels: tuple[int | None, ...]
    features_sha256: tuple[str, ...]
    carried: int
    edges: tuple[str, ...]


class ParityReport(Record, frozen=True, kw_only=True):
    """Outcome of one gate run.

    Attributes:
        schema: Version of this format.
        verdict: What follows from all checks.
        scope: Whether the portable graph or a device's engine was measured.
        target: What the bundle is for.
        precision: Precision that the candidate claims.
        rows: Number of rows compared.
        batches: Batch sizes at which rows were run.
        checks: All measurements.
        reasons: Why the verdict is not `pass`, in words.
        notes: What else a reader must know.
        backend: Engine that ran the candidate, with its version.
        device: Device that it ran on.
        arithmetic: What the engine says that it computed in.
        threads: Threads of one inference.
        model_sha256: Digest of the candidate's file.
        reference_sha256: Digest of the reference logits.
        features_sha256: Digest of the rows' features.
        calibration_rows: Number of rows that int8 ranges were fitted on; 0 for other precisions.
        task: Level 3; none without labels.
        flipped: Number of rows whose answer changed.
        hard_flips: How many of them although the reference was sure.
        flips: The changed rows, hardest first, at most a hundred.
        histogram: Distribution of |p - p'|.
    """

    schema: Literal["mstedge.parity/1"] = "mstedge.parity/1"
    verdict: Verdict
    scope: Scope
    target: str
    precision: Precision
    rows: int
    batches: tuple[int, ...]
    checks: tuple[Check, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    backend: str
    device: str
    arithmetic: str
    threads: int
    model_sha256: str
    reference_sha256: str
    features_sha256: str
    calibration_rows: int = 0
    task: TaskResult | None = None
    flipped: int = 0
    hard_flips: int = 0
    flips: tuple[Flip, ...] = ()
    histogram: Histogram
