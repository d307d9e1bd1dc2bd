"""What must be said about a model that was trained elsewhere: an ONNX file knows no front end and no classes."""

from __future__ import annotations

import re
from typing import Literal

from mstedge.errors import ConfigError
from mstedge.manifest import Postprocess
from mstedge.schema import Record
from mstedge.specs import Spec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TAKEN = ("label", "split", "group", "cluster", "id", "logits")


class ModelSpec(Record, frozen=True, kw_only=True):
    """A model that was trained elsewhere.

    Attributes:
        schema: Version of this format.
        name: Names the bundle: letters, digits, `.`, `_` and `-`.
        modality: What the device senses; also the column of its files in a manifest.
        labels: Classes, in the order of the model's outputs.
        front_end: The complete front end that the model was trained with. Scaling is taken as it stands here; none
            scales nothing.
        postprocess: From logits to an answer.
        licence: Licence of the recordings, carried into golden cases.
        shareable: Whether raw recordings may leave in a bundle.
    """

    schema: Literal["mstedge.model/1"] = "mstedge.model/1"
    name: str
    modality: str
    labels: tuple[str, ...]
    front_end: Spec
    postprocess: Postprocess = Postprocess()
    licence: str = "unstated"
    shareable: bool = False

    def __post_init__(self) -> None:
        for key, word in {"name": self.name, "modality": self.modality}.items():
            if _NAME.fullmatch(word) is None:
                raise ConfigError(
                    f"{key} is {word!r}: expected letters, digits, '.', '_' and '-', a letter or digit first"
                )
        if self.modality in _TAKEN:
            raise ConfigError(f"modality is {self.modality!r}: that word has a meaning of its own")
        if len(self.labels) < 2:
            raise ConfigError(f"labels are {list(self.labels)}: expected at least two classes")
        for label in self.labels:
            if not label or not label.isprintable():
                raise ConfigError(f"labels holds {label!r}: expected printable text")
            if self.labels.count(label) > 1:
                raise ConfigError(f"labels holds {label!r} twice: expected each class once")

    @property
    def spec(self) -> Spec:
        """The front end, as a bundle's manifest calls it."""
        return self.front_end
