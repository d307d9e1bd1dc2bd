"""A student that was trained elsewhere: its ONNX file, a description, and rows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx

from mstedge.errors import SampleError, UsageError
from mstedge.export.foreign_model import ForeignModel, foreign_model
from mstedge.export.foreign_run import PROBE_BATCHES, Network, proved_reference
from mstedge.export.student import Rows
from mstedge.manifest import Lineage
from mstedge.model_spec import ModelSpec
from mstedge.runtime.labelled_files import read_labelled
from mstedge.runtime.manifest_checks import PARTS
from mstedge.runtime.preprocess import decode_file, features_from_decoded
from mstedge.schema import convert
from mstedge.training.data.source import RawFile
from mstedge.training.yaml_text import mapping_from_yaml, text_of_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from mstedge.manifest import Postprocess
    from mstedge.runtime.labelled_files import LabelledFiles
    from mstedge.specs import Spec

    Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class OnnxStudent:
    """A student that was trained elsewhere.

    Attributes:
        model: Its file, checked.
        described: Its description.
        training: Rows that it learnt from, as far as the data say; calibration takes its rows from here.
        held_out: All other rows.
        paths: File of each held-out row.
        reference: What answers as the given file does.
    """

    model: ForeignModel
    described: ModelSpec
    training: Rows
    held_out: Rows
    paths: tuple[Path, ...]
    reference: Network

    @property
    def name(self) -> str:
        """What the description calls it."""
        return self.described.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes, in the order of the logits."""
        return self.described.labels

    @property
    def modality(self) -> str:
        """What the device senses."""
        return self.described.modality

    @property
    def spec(self) -> Spec:
        """Its complete front end."""
        return self.described.front_end

    @property
    def postprocess(self) -> Postprocess:
        """From logits to an answer."""
        return self.described.postprocess

    @property
    def licence(self) -> str:
        """Terms of the recordings."""
        return self.described.licence

    @property
    def shareable(self) -> bool:
        """Whether recordings may travel in a bundle."""
        return self.described.shareable

    @cached_property
    def lineage(self) -> Lineage:
        """What is known of how it came to be."""
        return Lineage(
            origin="onnx",
            data_sha256=_digest(self.training, self.held_out),
            weights_sha256=hashlib.sha256(self.model.content).hexdigest(),
            network=self.model.network,
            parameters=self.model.parameters,
            modalities=(self.modality,),
            versions={"onnx": onnx.__version__, "producer": self.model.producer},
        )

    def graph(self) -> bytes:
        """Give the graph; see the protocol."""
        return self.model.graph

    def reference_logits(self, features: Floats) -> Floats:
        """Run the given file in fp32, without its final softmax where it has one; see the protocol."""
        return self.reference.run(features)

    def recording(self, row: int) -> RawFile:
        """Give a held-out row as a file; see the protocol."""
        path = self.paths[row]
        try:
            return RawFile(path.suffix.lower(), path.read_bytes())
        except OSError as problem:
            raise SampleError(f"{path}: cannot be read: {problem.strerror}") from problem


def student_from_onnx(model: Path, spec: Path, data: Path, *, note: Callable[[str], None] | None = None) -> OnnxStudent:
    """Make a student of a model that was trained elsewhere.

    Args:
        model: The ONNX file: fp32, one input [batch, *feature_shape], one output [batch, classes].
        spec: Its description, YAML.
        data: Rows: a manifest, whose `train` rows serve calibration and whose other rows the gate, or a folder with
            one sub-folder per label, all of it for the gate.
        note: Told what was changed in the graph.

    Raises:
        UsageError: The model cannot be used, or not as the description says.
        ConfigError: The description does not say something that can be done.
        DataError: The data are broken, or no row is left for the gate.
        SampleError: A file of the data cannot be read.
    """
    described = model_spec_from_file(spec)
    foreign = foreign_model(model, described)
    files = read_labelled(data, described, parts=PARTS)
    features = _features(files, described.front_end)
    training = [row for row, split in enumerate(files.splits) if split == "train"]
    held_out = [row for row, split in enumerate(files.splits) if split != "train"]
    if not held_out:
        raise UsageError(
            f"{data}: all {len(files)} rows are of the split train: none is left for the gate",
            hint="give some rows the split test: rows that the model has not learnt from",
        )
    reference = proved_reference(foreign, features[held_out], len(described.labels))
    if note is not None:
        _note_changes(foreign, note)
    return OnnxStudent(
        model=foreign,
        described=described,
        training=_rows(files, features, training),
        held_out=_rows(files, features, held_out),
        paths=tuple(files.paths[row] for row in held_out),
        reference=reference,
    )


def model_spec_from_file(path: Path) -> ModelSpec:
    """Read the description of a model.

    Raises:
        ConfigError: It cannot be read, or does not say something that can be done.
    """
    return convert(mapping_from_yaml(text_of_file(path), source=str(path)), ModelSpec, source=str(path))


def _note_changes(foreign: ForeignModel, note: Callable[[str], None]) -> None:
    if foreign.fixed_rows is not None:
        note(
            f"{foreign.source}: the batch was fixed to {foreign.fixed_rows} and is free now; "
            f"the answers at {', '.join(map(str, PROBE_BATCHES))} rows are the same"
        )
    if foreign.ending is not None:
        note(f"{foreign.source}: the last {foreign.ending} was taken away: a bundle carries logits")


def _features(files: LabelledFiles, spec: Spec) -> Floats:
    features = np.empty((len(files), *spec.feature_shape), dtype=np.float32)
    for row, path in enumerate(files.paths):
        try:
            features[row] = features_from_decoded(decode_file(path, spec), spec)
        except SampleError as problem:
            raise SampleError(f"row {files.ids[row]}: {problem.message}", hint=problem.hint) from problem
    return features


def _rows(files: LabelledFiles, features: Floats, rows: list[int]) -> Rows:
    return Rows(
        ids=tuple(files.ids[row] for row in rows),
        clusters=tuple(files.clusters[row] for row in rows),
        labels=files.labels[rows],
        features=features[rows],
    )


def _digest(*parts: Rows) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part.features.shape}\n".encode())
        digest.update(part.labels.tobytes())
        digest.update(np.ascontiguousarray(part.features).tobytes())
    return digest.hexdigest()
