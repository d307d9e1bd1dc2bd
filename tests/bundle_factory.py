"""Small valid bundles for tests: a linear network over the features of a small specification, made without torch.

`make_bundle(folder, "audio" | "image" | "array")` writes a complete bundle; `seal(folder)` writes SHA256SUMS again
after a test has changed a file on purpose.
"""

from __future__ import annotations

import io
import shutil
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from mstedge.files import sha256_of_file, write_atomically
from mstedge.manifest import GoldenCase, GoldenCases, Lineage, Manifest, ParitySummary, Postprocess, Tensor
from mstedge.parity import Calibration, Histogram, ParityReport
from mstedge.runtime.bundle import write_sums
from mstedge.runtime.parity.edges import edge_features
from mstedge.runtime.parity.rows import Edges, GateRows, digest_of_array
from mstedge.runtime.parity.stored import write_parity_rows
from mstedge.schema import encode_json
from mstedge.specs import ArraySpec, AudioSpec, ImageSpec, Spec
from mstedge.verdicts import at_most

if TYPE_CHECKING:
    import onnx

Kind: TypeAlias = Literal["audio", "image", "array"]
Floats: TypeAlias = NDArray[np.float32]

LABELS = ("low", "middle", "high")
SPECS: dict[str, Spec] = {
    "audio": AudioSpec(
        sample_rate_hz=8000, clip_samples=2000, window_samples=200, hop_samples=100, fft_samples=256, mel_bands=16
    ),
    "image": ImageSpec(width=12, height=10, colour="rgb"),
    "array": ArraySpec(shape=(4, 6)),
}
SUFFIXES = {"audio": ".wav", "image": ".png", "array": ".npy"}


def make_bundle(
    folder: Path,
    kind: Kind = "array",
    *,
    cases: int = 8,
    raw: bool = True,
    seed: int = 0,
    postprocess: Postprocess | None = None,
    lineage_seed: int = 0,
) -> Path:
    """Write a valid bundle and give its folder back.

    Args:
        folder: Where it shall stand; it does not exist yet.
        kind: Which specification of `SPECS` it has.
        cases: Number of golden cases.
        raw: Whether the cases carry their raw input files (golden/raw/case-0.wav and so on).
        seed: Decides weights and inputs.
        postprocess: From logits to an answer.
        lineage_seed: Seed that the manifest names, to make two bundles that differ in nothing else.
    """
    spec = SPECS[kind]
    weights, bias = network_weights(spec, seed)
    names = [f"golden/raw/case-{number}{SUFFIXES[kind]}" for number in range(cases)]
    (folder / "golden/raw").mkdir(parents=True)
    (folder / "parity").mkdir()
    stacked, digests = write_inputs(folder, names, spec, seed)
    if not raw:
        shutil.rmtree(folder / "golden/raw")
    logits = logits_of(stacked, weights, bias)
    golden = tuple(
        GoldenCase(
            id=f"case-{number}",
            index=number,
            label=int(logits[number].argmax()),
            licence="CC0-1.0",
            file=names[number] if raw else None,
            decoded_sha256=digests[number] if raw else None,
        )
        for number in range(cases)
    )
    manifest = Manifest(
        name=f"factory-{kind}",
        labels=LABELS,
        modality=kind,
        spec=spec,
        input=Tensor(name="features", shape=spec.feature_shape),
        output=Tensor(name="logits", shape=(len(LABELS),)),
        parity=ParitySummary(verdict="pass", scope="graph", rows=cases),
        lineage=_lineage(kind, lineage_seed, weights.size + bias.size),
        postprocess=postprocess or Postprocess(),
    )
    write_atomically(folder / "model.onnx", model_bytes(spec.feature_shape, weights, bias))
    write_atomically(folder / "golden" / "cases.json", encode_json(GoldenCases(cases=golden)))
    write_atomically(folder / "golden" / "features.npy", npy_bytes(stacked))
    write_atomically(folder / "golden" / "logits.npy", npy_bytes(logits))
    rows = _gate_rows(golden, stacked, logits, spec, (weights, bias))
    write_parity_rows(folder, rows)
    write_atomically(folder / "parity" / "report.json", encode_json(_parity(rows, folder / "model.onnx")))
    write_atomically(folder / "manifest.json", encode_json(manifest))
    return seal(folder)


def write_inputs(folder: Path, names: list[str], spec: Spec, seed: int) -> tuple[NDArray[np.float32], list[str]]:
    """Write raw inputs and give their features [cases, *shape] and digests."""
    features, digests = [], []
    for number, name in enumerate(names):
        (folder / name).write_bytes(raw_input(spec, seed, number))
        one, digest = features_of(folder / name, spec)
        features.append(one)
        digests.append(digest)
    return np.stack(features).astype(np.float32), digests


def write_calibration(folder: Path, *, rows: int) -> None:
    """Write calibration.json, as an int8 bundle has it, without sealing the bundle."""
    calibration = Calibration(
        method="minmax",
        ids=tuple(f"training-{row}" for row in range(rows)),
        features_sha256=tuple(f"{row:064x}" for row in range(rows)),
    )
    write_atomically(folder / "parity" / "calibration.json", encode_json(calibration))


def seal(folder: Path) -> Path:
    """Write SHA256SUMS for what the folder holds now."""
    write_sums(folder)
    return folder


def change_manifest(folder: Path, /, **changes: Any) -> Path:
    """Set top-level keys of manifest.json to plain values, unvalidated, and seal the bundle again."""
    return change_json(folder, "manifest.json", **changes)


def change_json(folder: Path, name: str, /, **changes: Any) -> Path:
    """Set top-level keys of a JSON file of the bundle to plain values, unvalidated, and seal the bundle again."""
    path = folder / name
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), **changes}))
    return seal(folder)


def network_weights(spec: Spec, seed: int) -> tuple[Floats, Floats]:
    """Draw the weights [classes, elements] and bias [classes] of a linear network."""
    elements = int(np.prod(spec.feature_shape))
    generator = np.random.default_rng([seed, 1])
    weights = generator.normal(size=(len(LABELS), elements)) / np.sqrt(elements)
    weights -= weights.mean(axis=1, keepdims=True)  # so that a common offset of the features decides nothing
    return weights.astype(np.float32), generator.normal(size=len(LABELS)).astype(np.float32) * np.float32(0.1)


def logits_of(features: Floats, weights: Floats, bias: Floats) -> Floats:
    """Compute logits [rows, classes] of the linear network for features [rows, ...]."""
    flat = features.reshape(len(features), -1).astype(np.float64)
    return (flat @ weights.T.astype(np.float64) + bias).astype(np.float32)


def model_of(shape: tuple[int, ...], weights: Floats, bias: Floats) -> onnx.ModelProto:
    """Build the linear network as an ONNX graph: features [batch, *shape] to logits [batch, classes]."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["features"], ["flat"], axis=1),
            helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"], transB=1),
        ],
        "factory",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(bias)])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def model_bytes(shape: tuple[int, ...], weights: Floats, bias: Floats) -> bytes:
    """Serialise the linear network."""
    return bytes(model_of(shape, weights, bias).SerializeToString(deterministic=True))


def npy_bytes(array: NDArray[Any]) -> bytes:
    """Write an array as the bytes of an .npy file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def raw_input(spec: Spec, seed: int, number: int) -> bytes:
    """Make one raw input as the bytes of a .wav, .png or .npy file."""
    generator = np.random.default_rng([seed, 2, number])
    if isinstance(spec, AudioSpec):
        seconds = np.arange(spec.clip_samples) / spec.sample_rate_hz
        tone = 0.5 * np.sin(2 * np.pi * (300 + 400 * number) * seconds)
        return wav_bytes(tone + 0.05 * generator.normal(size=seconds.size), spec.sample_rate_hz)
    if isinstance(spec, ImageSpec):
        pixels = generator.integers(0, 256, size=(spec.height, spec.width, 3), dtype=np.uint8)
        return png_bytes(pixels)
    return npy_bytes(generator.normal(size=spec.shape).astype(np.float32))


def wav_bytes(samples: NDArray[np.float64], rate_hz: int) -> bytes:
    """Write mono samples in -1..1 as 16-bit PCM."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate_hz)
        sound.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
    return stream.getvalue()


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Write pixels [height, width, 3] (blue, green, red) as PNG."""
    import cv2

    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def features_of(path: Path, spec: Spec) -> tuple[Floats, str]:
    """Run the shipped front end over a file: features and the digest of what was decoded."""
    from mstedge.runtime.preprocess import decode_file, digest_of_decoded, features_from_decoded

    decoded = decode_file(path, spec)
    return features_from_decoded(decoded, spec), digest_of_decoded(decoded)


def _lineage(kind: str, seed: int, parameters: int) -> Lineage:
    return Lineage(
        recipe="factory",
        recipe_sha256="0" * 64,
        data_sha256="1" * 64,
        weights_sha256="2" * 64,
        seed=seed,
        network="linear",
        parameters=parameters,
        modalities=(kind,),
        versions={"numpy": "any"},
    )


def _gate_rows(
    golden: tuple[GoldenCase, ...], features: Floats, logits: Floats, spec: Spec, network: tuple[Floats, Floats]
) -> GateRows:
    names, extremes = edge_features(spec)
    ids = tuple(case.id for case in golden)
    return GateRows(
        ids=ids,
        clusters=ids,
        labels=logits.argmax(axis=1),
        features=features,
        reference=logits,
        edges=Edges(names, extremes, logits_of(extremes, *network)),
    )


def _parity(rows: GateRows, model: Path) -> ParityReport:
    return ParityReport(
        verdict="pass",
        scope="graph",
        target="onnx",
        precision="fp32",
        rows=len(rows),
        batches=(1, len(rows)),
        checks=(at_most("L1", "largest |dp|", 0.0, 1e-4),),
        reasons=(),
        backend="numpy",
        device="CPU",
        arithmetic="float64",
        threads=1,
        model_sha256=sha256_of_file(model),
        reference_sha256=digest_of_array(rows.reference),
        features_sha256=digest_of_array(rows.features),
        histogram=Histogram(edges=(1e-8, 1.0), counts=(rows.reference.size, 0, 0)),
    )
