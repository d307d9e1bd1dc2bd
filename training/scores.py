"""How good logits are: running sums while training, and all figures of a part of the split at its end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mstedge.bootstrap import LEAST_CLUSTERS
from mstedge.errors import ConfigError, DataError, DivergedError
from mstedge.run_card import Metrics
from mstedge.statistics import Interval, mean_interval, wilson_interval
from mstedge.training.data.source import UNLABELLED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

CALIBRATION_BINS = 15
_BELOW_ONE = 1.0 - 2.0**-24
_NAMED_AT_MOST = 3


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Give the share of labelled rows, or places of maps, whose largest logit is right.

    Args:
        logits: [rows, classes, *places].
        labels: Integers [rows, *places]; `UNLABELLED` does not count.

    Returns:
        Not a number where nothing is labelled.
    """
    labelled = labels != UNLABELLED
    return float((logits.argmax(dim=1) == labels)[labelled].float().mean())


class Scorer:
    """Adds up logits batch by batch, so that maps of a whole part need never be in memory together.

    Only sums are kept, in float64 and on the device of the logits, which is not waited for until a figure is read.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._cross_entropy: Tensor | float = 0.0
        self._right: Tensor | int = 0
        self._labelled: Tensor | int = 0

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch.

        Args:
            logits: [rows, classes, *places]; half precision is widened first.
            labels: Integers [rows, *places] on the same device; `UNLABELLED` does not count.

        Raises:
            ConfigError: The logits are not of that many classes.
        """
        self.count(logits, logits.argmax(dim=1), labels)

    def count(self, logits: Tensor, answers: Tensor, labels: Tensor) -> None:
        """Count a batch whose largest logits are known: as `add`, with their classes [rows, *places]."""
        if logits.shape[1] != self._classes:
            raise ConfigError(
                f"logits have {logits.shape[1]} classes: expected {self._classes}",
                hint="the network's last layer gives one value per class of the data",
            )
        wide = (logits if logits.dtype == torch.float64 else logits.float()).detach()
        each = functional.cross_entropy(wide, labels.long(), ignore_index=UNLABELLED, reduction="none")
        self._cross_entropy = self._cross_entropy + each.sum(dtype=torch.float64)
        # An answer is never negative, so a place without a label is never right.
        self._right = self._right + (answers == labels).sum()
        self._labelled = self._labelled + (labels != UNLABELLED).sum()

    @property
    def labelled(self) -> int:
        """Number of labelled rows or places so far."""
        return int(self._labelled)

    @property
    def cross_entropy(self) -> float:
        """Mean over all labelled rows or places so far, in nats; 0 where there are none."""
        return float(self._cross_entropy) / max(self.labelled, 1)

    @property
    def accuracy(self) -> float:
        """Share of the labelled rows or places so far whose largest logit is right; not a number without any."""
        return int(self._right) / self.labelled if self.labelled else math.nan


def metrics_of(
    batches: Iterable[tuple[Tensor, Tensor]],
    classes: int,
    clusters: tuple[str, ...],
    part: Literal["validation", "test"],
    *,
    dense: bool,
) -> Metrics:
    """Score a part of the split by torchmetrics, with an interval that counts clusters, not rows or places.

    A class without a label in the part counts in no mean, but for the mean IoU: there a class counts that is in the
    labels or in the answers, as in the parity gate and in the published code.

    Args:
        batches: Logits [rows, classes, *places] with integer labels [rows, *places], in the order of the rows.
        classes: Number of classes.
        clusters: The independent unit of each row.
        part: Which part it is.
        dense: Whether each place of a map has a label: gives IoU, and no F1, kappa and calibration error.

    Raises:
        ConfigError: The logits are not of that many classes.
        DataError: No row has a label.
        DivergedError: Logits are not finite.
        ValueError: There are not as many rows as clusters.
    """
    scorer = Scorer(classes)
    figures = _figures(classes, dense=dense)
    by_row: list[NDArray[np.int64]] = []
    for logits, labels in batches:
        _check_finite(logits, clusters[sum(map(len, by_row)) :], part)
        answers = logits.argmax(dim=1)
        scorer.count(logits, answers, labels)
        by_row.append(_right_and_labelled(answers, labels))
        _add_to(figures, logits, answers, labels)
    counts = np.concatenate(by_row) if by_row else np.zeros((0, 2), np.int64)
    by_cluster = _summed(counts, clusters)
    if not len(by_cluster):
        raise DataError(
            f"no row of the {part} part has a label", hint="a student is scored on labelled rows: put classes to some"
        )
    units = len(by_cluster)
    low, high = _dense_interval(by_cluster) if dense else wilson_interval(scorer.accuracy * units, units)
    return Metrics(
        part=part,
        accuracy=scorer.accuracy,
        low=low,
        high=high,
        rows=int((counts[:, 1] > 0).sum()),
        clusters=units,
        cross_entropy=scorer.cross_entropy,
        **_read(figures),
    )


def _figures(classes: int, *, dense: bool) -> dict[str, Any]:
    """Make the counters of torchmetrics; its checks of labels, slow on maps, are left out."""
    # torchmetrics takes longer to import than torch: 1.7 s, which only the end of a run has to spend.
    from torchmetrics import Metric, MetricCollection  # noqa: PLC0415
    from torchmetrics import classification as given  # noqa: PLC0415

    taken: dict[str, Any] = {"num_classes": classes, "validate_args": False}
    counted: dict[str, Metric | MetricCollection] = {
        "counts": given.MulticlassStatScores(average="none", **taken),
        "recall": given.MulticlassRecall(average="none", **taken),
    }
    if dense:
        counted["mean_iou"] = given.MulticlassJaccardIndex(**taken)
        return {"counted": MetricCollection(counted)}
    counted |= {
        "f1": given.MulticlassF1Score(average="none", **taken),
        "weighted_f1": given.MulticlassF1Score(average="weighted", **taken),
        "kappa": given.MulticlassCohenKappa(**taken),
    }
    calibration = given.MulticlassCalibrationError(n_bins=CALIBRATION_BINS, **taken)
    return {"counted": MetricCollection(counted), "calibration": calibration}


def _add_to(figures: dict[str, Any], logits: Tensor, answers: Tensor, labels: Tensor) -> None:
    labelled = labels != UNLABELLED
    known = labels[labelled].long().cpu()
    if not len(known):
        return  # torchmetrics cannot count nothing
    figures["counted"].update(answers[labelled].cpu(), known)
    if "calibration" in figures:
        # Probabilities, since torchmetrics takes logits for such where all lie between 0 and 1. Below 1, since a
        # confidence of exactly 1 has a bin of its own there, against Guo et al. 2017.
        probabilities = functional.softmax(logits[labelled].cpu().double(), dim=1).float().clamp(max=_BELOW_ONE)
        figures["calibration"].update(probabilities, known)


def _read(figures: dict[str, Any]) -> dict[str, float | None]:
    """Give the figures by their names in the card."""
    found = figures["counted"].compute()
    occurs = found["counts"][:, -1] > 0
    values = {"average_accuracy": found["recall"][occurs].double().mean()}
    if "mean_iou" in found:
        values["mean_iou"] = found["mean_iou"]
    else:
        values["macro_f1"] = found["f1"][occurs].double().mean()
        values["weighted_f1"] = found["weighted_f1"]
        values["kappa"] = found["kappa"]
        values["calibration_error"] = figures["calibration"].compute()
    return {name: float(value) if torch.isfinite(value) else None for name, value in values.items()}


def _check_finite(logits: Tensor, clusters: tuple[str, ...], part: str) -> None:
    # A sum is finite where all its terms are, in half the time of looking at each.
    finite = torch.isfinite(logits.flatten(1).sum(dim=1, dtype=torch.float64)).tolist()
    broken = [cluster for cluster, fine in zip(clusters, finite, strict=False) if not fine]
    if broken:
        named = ", ".join(broken[:_NAMED_AT_MOST])
        raise DivergedError(
            f"logits of {len(broken)} rows of the {part} part are not finite: {named}",
            hint="look for values in these rows that are not numbers, or far outside the range of the training part",
        )


def _right_and_labelled(answers: Tensor, labels: Tensor) -> NDArray[np.int64]:
    """Count right and labelled places of each row: [rows, 2]."""
    right = (answers == labels)[..., None].flatten(1).sum(dim=1)
    labelled = (labels != UNLABELLED)[..., None].flatten(1).sum(dim=1)
    return torch.stack([right, labelled], dim=1).cpu().numpy()


def _summed(counts: NDArray[np.int64], clusters: tuple[str, ...]) -> NDArray[np.float64]:
    """Add up the counts of each cluster, those without a label left out: [clusters, 2]."""
    sums: dict[str, NDArray[np.int64]] = {}
    for cluster, of_row in zip(clusters, counts, strict=True):
        if of_row[1]:
            sums[cluster] = sums[cluster] + of_row if cluster in sums else of_row
    return np.array(list(sums.values()), dtype=np.float64)


def _dense_interval(by_cluster: NDArray[np.float64]) -> Interval:
    """Bound a share of places of which those of one cluster are alike.

    The ratio of two sums, linearised at its value (Cochran 1977, section 6.4): a t-interval over clusters. Where that
    knows too little, below 20 clusters or when all are alike, Wilson's interval, the clusters weighted by their places
    (Kish 1965) as its sample size. It is the wider one: shares vary no more than yes or no of the same mean would.
    """
    right, places = by_cluster.T
    share = float(right.sum() / places.sum())
    reached = mean_interval((share + (right - share * places) / places.mean()).tolist())
    if reached is None or len(by_cluster) < LEAST_CLUSTERS or reached.low == reached.high:
        units = float(places.sum() ** 2 / (places**2).sum())
        return wilson_interval(share * units, units)
    return Interval(max(0.0, reached.low), min(1.0, reached.high))
