"""Every built-in network with what it takes, where it is from and what it costs at a typical input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from mstedge.student_list import ListedStudent, StudentList
from mstedge.training.models.costs import cost_of
from mstedge.training.models.registry import build_network

if TYPE_CHECKING:
    from mstedge.recipe import OptionValue

Shape = tuple[int, ...]

CLASSES = 10
_SOUND, _PICTURE, _ANY = "[1, frames, bands]", "[channels, height, width]", "any shape"
_SECOND_OF_SOUND, _SMALL_PICTURE, _PHOTOGRAPH = (1, 101, 40), (3, 64, 64), (3, 224, 224)
_ROOM, _ROOM_DEPTH = (3, 480, 640), (1, 480, 640)
_MST_DISTILL = "Li et al. 2025, arXiv 2507.07015"
_BC_RESNET = "Kim et al. 2021, arXiv 2106.04140"
_DS_CNN = "Zhang et al. 2017, arXiv 1711.07128"
_MOBILENET = "Howard et al. 2019, arXiv 1905.02244"
_SEGNET = "Badrinarayanan et al. 2017, arXiv 1511.00561"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the catalogue.

    Attributes:
        network: Key of `NETWORKS`.
        takes: Axes of its features.
        inputs: A typical shape for each modality.
        source: Where it was published.
        options: What makes this line differ from others of the same network.
    """

    network: str
    takes: str
    inputs: tuple[Shape, ...]
    source: str | None = None
    options: dict[str, OptionValue] = field(default_factory=dict)


ENTRIES: tuple[Entry, ...] = (
    Entry("attention", f"{_SOUND} or [steps, features]", (_SECOND_OF_SOUND,), "Vaswani et al. 2017, arXiv 1706.03762"),
    Entry("avmnist-fusion", "as lenet5 + three-layer-cnn", ((1, 28, 28), (1, 112, 112)), _MST_DISTILL),
    *(
        Entry("bc-resnet", _SOUND, (_SECOND_OF_SOUND,), _BC_RESNET, {"width": width})
        for width in (1.0, 1.5, 2.0, 3.0, 6.0, 8.0)
    ),
    Entry("cnn", _PICTURE, (_SMALL_PICTURE,)),
    Entry("crisismmd-fusion", "[width] + [width]", ((2048,), (768,)), _MST_DISTILL),
    Entry("crisismmd-image", "[width]", ((2048,),), _MST_DISTILL),
    Entry("crisismmd-text", "[width]", ((768,),), _MST_DISTILL),
    *(Entry("ds-cnn", _SOUND, ((1, 49, 10),), _DS_CNN, {"size": size}) for size in ("S", "M", "L")),
    Entry("fusenet", "as fusenet-rgb + fusenet-depth", (_ROOM, _ROOM_DEPTH), _MST_DISTILL),
    Entry("fusenet-depth", "[1, height, width]", (_ROOM_DEPTH,), _MST_DISTILL),
    Entry("fusenet-rgb", "[3, height, width]", (_ROOM,), _MST_DISTILL),
    Entry("fusion", "several modalities", (_SECOND_OF_SOUND, _SMALL_PICTURE)),
    Entry("lenet5", _PICTURE, ((1, 28, 28),), _MST_DISTILL),
    Entry("mlp", _ANY, ((50, 6),)),
    *(
        Entry("mobilenet-v3-small", _PICTURE, (_PHOTOGRAPH,), _MOBILENET, {"width": width})
        for width in (0.5, 0.75, 1.0)
    ),
    Entry("ravdess-audio", "[coefficients, frames]", ((15, 156),), _MST_DISTILL),
    Entry("ravdess-fusion", "as ravdess-visual + ravdess-audio", ((15, 3, 224, 224), (15, 156)), _MST_DISTILL),
    Entry("ravdess-visual", "[frames, channels, height, width]", ((15, 3, 224, 224),), _MST_DISTILL),
    Entry("segmenter", _PICTURE, (_SMALL_PICTURE,), _SEGNET),
    Entry("temporal", _SOUND, (_SECOND_OF_SOUND,), "Choi et al. 2019, arXiv 1904.03814"),
    Entry("three-layer-cnn", _PICTURE, ((1, 112, 112),), _MST_DISTILL),
    Entry("vggsound-audio", "[seconds, features]", ((10, 128),), _MST_DISTILL),
    Entry("vggsound-fusion", "as vggsound-visual + vggsound-audio", ((10, 7, 7, 512), (10, 128)), _MST_DISTILL),
    Entry("vggsound-visual", "[seconds, height, width, channels]", ((10, 7, 7, 512),), _MST_DISTILL),
    Entry("volume", "[channels, frames, height, width]", ((1, 16, 64, 64),), "Tran et al. 2015, arXiv 1412.0767"),
)


def student_list() -> StudentList:
    """Measure every entry with 10 classes; nothing is computed, and no weight is stored."""
    return StudentList(classes=CLASSES, students=tuple(_listed(entry) for entry in ENTRIES))


def _listed(entry: Entry) -> ListedStudent:
    with torch.device("meta"):
        network = build_network(entry.network, entry.inputs, CLASSES, entry.options)
    cost = cost_of(network, entry.inputs)
    return ListedStudent(
        network=entry.network,
        options=entry.options,
        takes=entry.takes,
        inputs=entry.inputs,
        parameters=cost.parameters,
        multiply_adds=cost.multiply_adds,
        source=entry.source,
    )
