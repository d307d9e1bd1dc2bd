"""The manifest of a bundle: what ships beside the model, as one validated value."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mstedge.errors import BundleError
from mstedge.schema import Record
from mstedge.specs import Spec
from mstedge.verdicts import Precision, Scope, Verdict

MANIFEST_NAME = "manifest.json"
SUMS_NAME = "SHA256SUMS"
MODEL_NAME = "model.onnx"
GOLDEN_CASES_NAME = "golden/cases.json"
GOLDEN_FEATURES_NAME = "golden/features.npy"
GOLDEN_LOGITS_NAME = "golden/logits.npy"
PARITY_REPORT_NAME = "parity/report.json"


class Tensor(Record, frozen=True, kw_only=True):
    """An input or output of the network.

    Attributes:
        name: Its name in the graph.
        shape: Sizes without the leading batch dimension.
        dtype: Element type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32"] = "float32"


class Postprocess(Record, frozen=True, kw_only=True):
    """From logits to an answer.

    Attributes:
        temperature: Divides the logits before softmax.
        threshold: Below this probability the answer is `unknown`.
        unknown: Label that is given then.
    """

    temperature: float = 1.0
    threshold: float = 0.0
    unknown: str = "unknown"

    def __post_init__(self) -> None:
        if self.temperature <= 0 or not 0.0 <= self.threshold <= 1.0:
            raise BundleError(f"postprocess has temperature {self.temperature} and threshold {self.threshold}")


class ParitySummary(Record, frozen=True, kw_only=True):
    """The gate's outcome, so that every command can show it."""

    verdict: Verdict
    scope: Scope
    rows: int


class Lineage(Record, frozen=True, kw_only=True):
    """How the student came to be; nothing of the machine or the person that made it.

    Attributes:
        recipe: Name of the recipe.
        recipe_sha256: Digest of the resolved recipe.
        data_sha256: Digest of the training data's features and labels.
        weights_sha256: Digest of student.safetensors.
        seed: Seed of the run.
        network: Name of the student's network.
        parameters: Its number of trainable values.
        git_commit: Commit of mstedge's or the user's checkout, where there was one.
        versions: Versions of the packages that decide results.
        modalities: What the student learnt from.
    """

    recipe: str
    recipe_sha256: str
    data_sha256: str
    weights_sha256: str
    seed: int
    network: str
    parameters: int
    modalities: tuple[str, ...]
    versions: dict[str, str]
    git_commit: str | None = None


class GoldenCase(Record, frozen=True, kw_only=True):
    """One input with everything that must come out of it.

    Attributes:
        id: Row of the dataset that it is.
        index: Row of features.npy and logits.npy.
        label: Index of the answer that the reference gives.
        file: Raw input inside the bundle; none where recordings may not be shared.
        decoded_sha256: Digest of the decoded samples or pixels, for cases with a file.
        licence: Terms of the raw input.
    """

    id: str
    index: int
    label: int
    licence: str
    file: str | None = None
    decoded_sha256: str | None = None


class GoldenCases(Record, frozen=True, kw_only=True):
    """All golden cases of a bundle."""

    schema: Literal["mstedge.golden/1"] = "mstedge.golden/1"
    cases: tuple[GoldenCase, ...]


class Manifest(Record, frozen=True, kw_only=True):
    """What a bundle is and does.

    Attributes:
        schema: Version of this format.
        name: What people call it.
        task: What kind of answer it gives.
        labels: Classes, in the order of the logits.
        modality: What the device senses.
        spec: Its complete front end.
        input: The network's input.
        output: The network's output.
        postprocess: From logits to an answer.
        target: What the model file is for.
        precision: Arithmetic that the graph carries.
        model: The model file.
        parity: The gate's outcome.
        lineage: How it was made.
    """

    schema: Literal["mstedge.manifest/1"] = "mstedge.manifest/1"
    name: str
    labels: tuple[str, ...]
    modality: str
    spec: Spec
    input: Tensor
    output: Tensor
    parity: ParitySummary
    lineage: Lineage
    task: Literal["classification"] = "classification"
    postprocess: Postprocess = Postprocess()
    target: Literal["onnx"] = "onnx"
    precision: Precision = "fp32"
    model: str = MODEL_NAME

    def __post_init__(self) -> None:
        if self.output.shape != (len(self.labels),):
            raise BundleError(f"output has shape {self.output.shape}, but there are {len(self.labels)} labels")


def manifest_json_schema() -> dict[str, Any]:
    """Describe manifests as JSON Schema (draft 2020-12), for editors and other languages."""
    schema = msgspec.json.schema(Manifest)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mstedge.manifest/1", **schema}
