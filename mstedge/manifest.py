"""The manifest of a bundle: what ships beside the model, as one validated value."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

import msgspec

from mstedge.engine_recipe import EngineRecipe
from mstedge.errors import BundleError
from mstedge.limits import Precision
from mstedge.parity import Scope
from mstedge.schema import Record
from mstedge.specs import MAX_CLIP_SAMPLES, AudioSpec, Spec
from mstedge.verdicts import Verdict

MANIFEST_NAME = "manifest.json"
SUMS_NAME = "SHA256SUMS"
MODEL_NAME = "model.onnx"
GOLDEN_CASES_NAME = "golden/cases.json"
GOLDEN_FEATURES_NAME = "golden/features.npy"
GOLDEN_LOGITS_NAME = "golden/logits.npy"
PARITY_REPORT_NAME = "parity/report.json"
PARITY_ROWS_NAME = "parity/rows.json"
PARITY_FEATURES_NAME = "parity/features.npy"
PARITY_LOGITS_NAME = "parity/logits.npy"
CALIBRATION_NAME = "parity/calibration.json"
IR_NAME = "model.xml"
IR_WEIGHTS_NAME = "model.bin"
SIGNATURE_NAME = "SIGNATURE"

Target: TypeAlias = Literal["onnx", "openvino", "trt"]
TARGETS: tuple[Target, ...] = ("onnx", "openvino", "trt")
# Whoever wrote a manifest must not decide how much memory a device spends on the past.
MAX_STREAM_HOPS = 10_000
LOWEST_SILENCE_DBFS = -200.0


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


def _require_hops(key: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise BundleError(f"postprocess.{key} is {value}: expected {least} to {most}")


class Stream(Record, frozen=True, kw_only=True):
    """From the answers for one clip after another to events that begin and end.

    docs/bundle.md gives the formulas and their order. A hop is one clip that was answered for; for pictures, one frame.

    Attributes:
        hop_samples: Samples, at the front end's rate, from the start of a clip to that of the next; none for a quarter
            of the clip, in whole hops of the front end. Sound only.
        smoothing_hops: The mean of the probabilities of so many last hops decides.
        release: A running label ends where its smoothed probability falls below this; none for the threshold. At most
            the threshold, so that a label which hovers about it does not begin and end again and again.
        minimum_hops: A label is reported once it has led for so many hops on end.
        refractory_hops: For so many hops after an event ended, none of the same label begins.
    """

    hop_samples: int | None = None
    smoothing_hops: int = 1
    release: float | None = None
    minimum_hops: int = 1
    refractory_hops: int = 0

    def __post_init__(self) -> None:
        if self.hop_samples is not None:
            _require_hops("stream.hop_samples", self.hop_samples, 1, MAX_CLIP_SAMPLES)
        _require_hops("stream.smoothing_hops", self.smoothing_hops, 1, MAX_STREAM_HOPS)
        _require_hops("stream.minimum_hops", self.minimum_hops, 1, MAX_STREAM_HOPS)
        _require_hops("stream.refractory_hops", self.refractory_hops, 0, MAX_STREAM_HOPS)

    def hop_samples_for(self, spec: AudioSpec) -> int:
        """Give the step from one clip to the next, in samples at the front end's rate."""
        if self.hop_samples is not None:
            return self.hop_samples
        quarter = max(1, spec.clip_samples // 4 // spec.hop_samples) * spec.hop_samples
        return min(quarter, spec.clip_samples)


class Postprocess(Record, frozen=True, kw_only=True):
    """From logits to an answer.

    Attributes:
        temperature: Divides the logits before softmax.
        threshold: Below this probability the answer is `unknown`.
        unknown: Label that is given then.
        silence: Label that is given for a clip of sound below `silence_dbfs`, whatever the network says.
        silence_dbfs: Level (root of the mean square) of the clip in dB, where a full-scale square wave has 0; none to
            look at no level. Sound only.
        stream: From the answers for one clip after another to events.
    """

    temperature: float = 1.0
    threshold: float = 0.0
    unknown: str = "unknown"
    silence: str = "silence"
    silence_dbfs: float | None = None
    stream: Stream = Stream()

    def __post_init__(self) -> None:
        if not (0.0 < self.temperature < math.inf and 0.0 <= self.threshold <= 1.0):
            raise BundleError(f"postprocess has temperature {self.temperature} and threshold {self.threshold}")
        if not self.silence or not self.silence.isprintable():
            raise BundleError(f"postprocess.silence is {self.silence[:80]!r}: expected printable text")
        level = self.silence_dbfs
        if level is not None and not LOWEST_SILENCE_DBFS <= level <= 0.0:
            raise BundleError(f"postprocess.silence_dbfs is {level}: expected {LOWEST_SILENCE_DBFS:g} to 0")
        release = self.stream.release
        if release is not None and not 0.0 <= release <= self.threshold:
            raise BundleError(
                f"postprocess.stream.release is {release}: expected 0 to the threshold, which is {self.threshold}"
            )


class ParitySummary(Record, frozen=True, kw_only=True):
    """The gate's outcome, so that every command can show it.

    Attributes:
        verdict: What the gate said.
        scope: Whether the portable graph or an engine was measured.
        rows: Number of rows compared.
        failure_allowed: The verdict is not `pass`, and whoever exported the bundle wanted it all the same.
    """

    verdict: Verdict
    scope: Scope
    rows: int
    failure_allowed: bool = False


class Quantisation(Record, frozen=True, kw_only=True):
    """How an int8 graph came to be.

    Attributes:
        form: `uint8` activations with int32 biases, which ONNX Runtime computes fastest on x86; or `symmetric` int8
            throughout with float biases, which TensorRT and OpenVINO take. Weights are int8 per channel in both.
        method: How activation ranges follow from what was seen.
        rows: Number of calibration rows; parity/calibration.json names them.
    """

    form: Literal["uint8", "symmetric"]
    method: Literal["minmax", "entropy", "percentile"]
    rows: int


class IrFiles(Record, frozen=True, kw_only=True):
    """OpenVINO's form of the model; it was converted from the ONNX file beside it."""

    model: str = IR_NAME
    weights: str = IR_WEIGHTS_NAME


class Lineage(Record, frozen=True, kw_only=True):
    """How the student came to be; nothing of the machine or the person that made it.

    Attributes:
        origin: `run`, or `onnx` for a student that was trained elsewhere and of which less is known.
        recipe: Name of the recipe.
        recipe_sha256: Digest of the resolved recipe.
        data_sha256: Digest of the training data's features and labels; for `onnx` of the rows that were given.
        weights_sha256: Digest of student.safetensors; for `onnx` of the file that was given.
        seed: Seed of the run.
        network: Name of the student's network.
        parameters: Its number of trainable values.
        git_commit: Commit of mstedge's or the user's checkout, where there was one.
        versions: Versions of the packages that decide results.
        modalities: What the student learnt from.
    """

    data_sha256: str
    weights_sha256: str
    network: str
    parameters: int
    modalities: tuple[str, ...]
    versions: dict[str, str]
    origin: Literal["run", "onnx"] = "run"
    recipe: str | None = None
    recipe_sha256: str | None = None
    seed: int | None = None
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
        target: What the bundle is for.
        precision: Arithmetic that the graph carries.
        model: The ONNX file.
        ir: OpenVINO's form of it, for that target.
        engine: How TensorRT shall build an engine from the ONNX file, for that target.
        quantisation: How an int8 graph came to be.
        kept: Nodes that stay in fp32 although the precision is another.
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
    target: Target = "onnx"
    precision: Precision = "fp32"
    model: str = MODEL_NAME
    ir: IrFiles | None = None
    engine: EngineRecipe | None = None
    quantisation: Quantisation | None = None
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.ir is not None) != (self.target == "openvino") or (self.engine is not None) != (self.target == "trt"):
            raise BundleError(f"the target is {self.target!r}, but the files are those of another")
        if (self.quantisation is not None) != (self.precision == "int8"):
            raise BundleError(f"the precision is {self.precision!r}, but how it was quantised says otherwise")
        if self.output.shape != (len(self.labels),):
            raise BundleError(f"output has shape {self.output.shape}, but there are {len(self.labels)} labels")
        _check_sound(self.postprocess, self.spec)


def manifest_json_schema() -> dict[str, Any]:
    """Describe manifests as JSON Schema (draft 2020-12), for editors and other languages."""
    schema = msgspec.json.schema(Manifest)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mstedge.manifest/1", **schema}


def _check_sound(rule: Postprocess, spec: Spec) -> None:
    """Refuse what only sound has where there is none, and hops that would leave sound between clips unheard."""
    hop = rule.stream.hop_samples
    if isinstance(spec, AudioSpec):
        if hop is not None and hop > spec.clip_samples:
            raise BundleError(
                f"postprocess.stream.hop_samples is {hop}: expected at most the clip, {spec.clip_samples}, or sound"
                " between two clips is never heard"
            )
        return
    for key, value in {"silence_dbfs": rule.silence_dbfs, "stream.hop_samples": hop}.items():
        if value is not None:
            raise BundleError(f"postprocess.{key} is {value}, but the front end is not one of sound")
