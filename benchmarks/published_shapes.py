"""Published configurations for `distill_cost.py` (MST-Distill, arXiv 2507.07015), at batches that a CPU bears."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Teacher:
    """A teacher: the modalities that it sees, its network and its taps."""

    name: str
    modalities: tuple[str, ...]
    network: str
    taps: tuple[str, ...]


@dataclass(frozen=True)
class Bars:
    """How many times less than the oracle; none where nothing is asked.

    Attributes:
        seconds: CPU time of 1/1/100 epochs.
        distill_mib: Extra peak memory of stage 3's epochs.
        table_mib: Extra peak memory of building the table.
        specialise_seconds: CPU time of stage 2.
        specialise_mib: Extra peak memory of stage 2.
        student: Not less than the oracle: how many times the student's own forward and backward stage 3 may cost.
    """

    seconds: float | None = None
    distill_mib: float | None = None
    table_mib: float | None = None
    specialise_seconds: float | None = 2.0
    specialise_mib: float | None = None
    student: float | None = 1.3


@dataclass(frozen=True)
class Published:
    """What a batch costs in the public reference code on one CPU thread of another machine: seconds and extra MiB."""

    specialise: tuple[float, float]
    distill: tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """One line of the table.

    Attributes:
        modalities: Feature shapes.
        classes: Number of labels.
        student: Modality and network.
        teachers: Multimodal, then cross-modal.
        batch_rows: Rows per step.
        learning_rate: As published.
        bars: What must be reached.
        published: What the public reference costs, where it was measured.
        hidden_dim_factor: Of the MaskNets.
        learning_batches: Batches that stages 1 and 2 of the product are measured on.
        table_batches: Batches that the table of the product is measured on.
        distill_batches: Batches of an epoch of the product's stage 3: enough for what it does once to be little.
        repeats: Measurements of which the median counts.
        specialise_only: Whether the other stages are left out.
    """

    modalities: dict[str, tuple[int, ...]]
    classes: int
    student: tuple[str, str]
    teachers: tuple[Teacher, Teacher]
    batch_rows: int
    learning_rate: float
    bars: Bars
    published: Published | None = None
    hidden_dim_factor: int = 2
    learning_batches: int = 3
    table_batches: int = 8
    distill_batches: int = 64
    repeats: int = 3
    specialise_only: bool = False


_AVMNIST = {"image": (1, 28, 28), "audio": (1, 112, 112)}
_AVMNIST_TEACHERS = (
    Teacher("both", ("image", "audio"), "avmnist-fusion", ("fused", "fc1")),
    Teacher("audio", ("audio",), "three-layer-cnn", ("conv2", "conv3")),
)
_RAVDESS = {"video": (15, 3, 224, 224), "audio": (15, 156)}
_RAVDESS_BOTH = Teacher("both", ("video", "audio"), "ravdess-fusion", ("fc1", "fc2"))

SHAPES = {
    "avmnist": Shape(
        modalities=_AVMNIST,
        classes=10,
        student=("image", "lenet5"),
        teachers=_AVMNIST_TEACHERS,
        batch_rows=32,
        learning_rate=1e-4,
        bars=Bars(seconds=50, distill_mib=30, table_mib=15),
        published=Published(specialise=(5.14, 2703), distill=(2.70, 2960)),
    ),
    "avmnist-128": Shape(
        modalities=_AVMNIST,
        classes=10,
        student=("image", "lenet5"),
        teachers=_AVMNIST_TEACHERS,
        batch_rows=128,
        learning_rate=1e-4,
        bars=Bars(specialise_mib=2.0),
        learning_batches=2,
        repeats=1,
        specialise_only=True,
    ),
    "crisismmd": Shape(
        modalities={"image": (2048,), "text": (768,)},
        classes=8,
        student=("image", "crisismmd-image"),
        teachers=(
            Teacher("both", ("image", "text"), "crisismmd-fusion", ("fc1", "fc2")),
            Teacher("text", ("text",), "crisismmd-text", ("fc1", "fc2")),
        ),
        batch_rows=64,
        learning_rate=5e-3,
        hidden_dim_factor=8,
        bars=Bars(seconds=80, distill_mib=50, table_mib=15),
        published=Published(specialise=(9.22, 2921), distill=(8.60, 6457)),
    ),
    "ravdess-visual": Shape(
        modalities=_RAVDESS,
        classes=8,
        student=("video", "ravdess-visual"),
        teachers=(_RAVDESS_BOTH, Teacher("audio", ("audio",), "ravdess-audio", ("fc1", "fc2"))),
        batch_rows=8,
        learning_rate=1e-4,
        table_batches=4,
        distill_batches=8,
        bars=Bars(seconds=2.4, distill_mib=3, table_mib=3),
        published=Published(specialise=(5.15, 1754), distill=(5.39, 2974)),
    ),
    "ravdess-audio": Shape(
        modalities=_RAVDESS,
        classes=8,
        student=("audio", "ravdess-audio"),
        teachers=(_RAVDESS_BOTH, Teacher("video", ("video",), "ravdess-visual", ("fc1", "fc2"))),
        batch_rows=8,
        learning_rate=1e-4,
        bars=Bars(seconds=20, distill_mib=20, table_mib=3),
    ),
}
