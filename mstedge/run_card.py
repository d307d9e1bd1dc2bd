"""The card of a training run: what `mstedge distill` leaves for export, inspection and reports."""

from __future__ import annotations

from typing import Literal

from mstedge.schema import Record
from mstedge.specs import Spec

CARD_NAME = "run.json"
RECIPE_NAME = "recipe.yaml"
WEIGHTS_NAME = "student.safetensors"
METRICS_NAME = "metrics.jsonl"
COMPARISON_NAME = "comparison.json"


class NetworkCard(Record, frozen=True, kw_only=True):
    """What is needed to build the student again.

    Attributes:
        network: Name in the registry, or `module:Class`.
        options: Keyword arguments of the network.
        modality: What it sees.
        parameters: Its number of trainable values.
    """

    network: str
    options: dict[str, bool | int | float | str | list[int | str]]
    modality: str
    parameters: int


class RunLineage(Record, frozen=True, kw_only=True):
    """How a run came to be.

    Attributes:
        recipe_sha256: Digest of the resolved recipe.
        data_sha256: Digest of features and labels.
        versions: Versions of the packages that decide results.
        git_commit: Commit of the checkout that it ran in, where there was one.
        device: Where it computed.
        threads: CPU threads that each process computed with.
        weights_sha256: Digest of the file that a member started from, by its name, where one did.
        processes: How many shared out each batch.
    """

    recipe_sha256: str
    data_sha256: str
    versions: dict[str, str]
    device: str
    threads: int
    git_commit: str | None = None
    weights_sha256: dict[str, str] = {}
    processes: int = 1


class Metrics(Record, frozen=True, kw_only=True):
    """How good the student is on rows it did not learn from; of maps, on their places.

    Rows and places without a label count nowhere. A figure that was not taken, or that is not defined, is none.

    Attributes:
        part: Which part of the split.
        accuracy: Share of right answers (OA).
        low: Lower end of its 95 % interval over clusters.
        high: Upper end.
        rows: Number of rows.
        clusters: Number of independent units (recordings) that the rows come from.
        cross_entropy: Mean, in nats.
        average_accuracy: Mean recall over the classes that occur in the labels (AA, balanced accuracy).
        macro_f1: Mean F1 over the same classes; none for maps.
        weighted_f1: Mean F1 weighted by the rows of each class; none for maps.
        kappa: Agreement beyond chance (Cohen 1960); none for maps, and where one class is all labels and answers.
        calibration_error: Expected calibration error of the most probable class, 15 equal bins (Guo et al. 2017); none
            for maps.
        mean_iou: Mean intersection over union over the classes that occur in labels or answers; none but for maps.
    """

    part: Literal["validation", "test"]
    accuracy: float
    low: float
    high: float
    rows: int
    clusters: int
    cross_entropy: float
    average_accuracy: float | None = None
    macro_f1: float | None = None
    weighted_f1: float | None = None
    kappa: float | None = None
    calibration_error: float | None = None
    mean_iou: float | None = None


class RunCard(Record, frozen=True, kw_only=True):
    """A run in one file.

    Attributes:
        schema: Version of this format.
        name: Name of the recipe.
        method: `mst`, or the baseline that ran instead.
        seed: Seed of the run.
        status: `complete`, or `incomplete`: `--resume` goes on with it.
        labels: Classes, in the order of the logits.
        specs: Front end of every modality, scaling fitted.
        student: How to build the student.
        lineage: How the run came to be.
        metrics: Validation and test results, once complete.
        seconds: Time spent per stage, in seconds.
    """

    schema: Literal["mstedge.run/1"] = "mstedge.run/1"
    name: str
    method: str
    seed: int
    status: Literal["incomplete", "complete"]
    labels: tuple[str, ...]
    specs: dict[str, Spec]
    student: NetworkCard
    lineage: RunLineage
    metrics: tuple[Metrics, ...] = ()
    seconds: dict[str, float] = {}

    @property
    def dense(self) -> bool:
        """Whether the student of a complete run answers for every place of a map."""
        return any(each.mean_iou is not None for each in self.metrics)


class MethodResult(Record, frozen=True, kw_only=True):
    """Test accuracy of one method over seeds.

    Attributes:
        method: Its name.
        accuracies: One per seed.
        mean: Their mean.
        low: Lower end of the mean's 95 % t-interval over seeds; none for a single seed, which bounds nothing.
        high: Upper end.
    """

    method: str
    accuracies: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None


class Comparison(Record, frozen=True, kw_only=True):
    """The student against a baseline, same seeds and splits.

    Attributes:
        schema: Version of this format.
        recipe: Name of the recipe.
        seeds: Seeds, in the order of every tuple.
        methods: `mst` first.
        difference: Mean paired difference to the baseline, in accuracy.
        low: Lower end of its 95 % paired t-interval; none for a single seed.
        high: Upper end.
        outcome: What the interval says.
        conclusion: The same in words.
    """

    schema: Literal["mstedge.comparison/1"] = "mstedge.comparison/1"
    recipe: str
    seeds: tuple[int, ...]
    methods: tuple[MethodResult, MethodResult]
    difference: float
    low: float | None
    high: float | None
    outcome: Literal["gain", "no gain shown", "loss", "cannot tell"]
    conclusion: str
