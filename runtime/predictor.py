"""A bundle made ready to answer: files or arrays in, predictions out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mstedge.engine_recipe import EngineRecipe
from mstedge.errors import BundleError, SampleError
from mstedge.prediction import Prediction, StageTimes
from mstedge.runtime.backends import BACKEND_OF_TARGET, EngineOptions, EngineSession, Network, backend_named
from mstedge.runtime.bundle import Bundle, open_bundle
from mstedge.runtime.level import level_of_decoded
from mstedge.runtime.postprocess import Answer, answer_from_logits
from mstedge.runtime.preprocess import Decoded, decode_file, decoded_from_array, features_from_decoded
from mstedge.specs import AudioSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from mstedge.manifest import Manifest
    from mstedge.runtime.backends.protocol import Floats

    Source: TypeAlias = str | Path | NDArray[Any]


@dataclass(frozen=True, slots=True)
class Predictor:
    """A network with everything before and after it. It holds nothing that changes: threads may share it.

    Attributes:
        bundle: What is run, proved.
        session: The network in its engine.
        load_ms: Time from opening the bundle to here, in milliseconds.
    """

    bundle: Bundle
    session: EngineSession
    load_ms: float

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self.bundle.manifest

    def __enter__(self) -> Self:
        """Use it and give its memory back."""
        return self

    def __exit__(self, *problem: object) -> None:
        """Give its memory back."""
        self.close()

    def close(self) -> None:
        """Give the engine's memory back; it answers no more, and closing again does nothing."""
        self.session.close()

    def decode(self, source: Source) -> Decoded:
        """Read samples or pixels.

        Args:
            source: A file, or an array as `mstedge.runtime.preprocess.decoded_from_array` takes it.

        Raises:
            SampleError: It cannot be read.
        """
        if isinstance(source, (str, Path)):
            return decode_file(Path(source), self.manifest.spec)
        return decoded_from_array(source, self.manifest.spec)

    def features(self, decoded: Decoded) -> Floats:
        """Compute what the network sees.

        Returns:
            float32 [*feature_shape].

        Raises:
            SampleError: The samples or pixels cannot be used.
        """
        return features_from_decoded(decoded, self.manifest.spec)

    def logits(self, features: Floats) -> Floats:
        """Run the network on one sample.

        Args:
            features: float32 [*feature_shape].

        Returns:
            float32 [classes], all finite.

        Raises:
            SampleError: The shape is another, or the network gave a value that is not finite.
        """
        logits: Floats = self.session.run(features[np.newaxis])[0]
        if not np.isfinite(logits).all():
            raise SampleError("the network gave logits that are not finite")
        return logits

    def answer(self, logits: Floats, level_dbfs: float | None = None) -> Answer:
        """Turn logits [classes] into an answer; below the bundle's level of silence, in dB of full scale, into that."""
        return answer_from_logits(logits, self.manifest.labels, self.manifest.postprocess, level_dbfs)

    def predict(self, source: Source) -> Prediction:
        """Answer for one input.

        Args:
            source: A file, or an array at the rate, colour order or shape of the manifest's spec.

        Raises:
            SampleError: The input cannot be used.
        """
        name = _name_of(source)
        ticks = [perf_counter_ns()]
        try:
            decoded, logits = self._run_stages(source, ticks)
        except SampleError as problem:
            if name in problem.message:
                raise
            raise SampleError(f"{name}: {problem.message}", hint=problem.hint) from problem
        answer = self.answer(logits, level_of_decoded(decoded, self.manifest))
        ticks.append(perf_counter_ns())
        decode_ms, features_ms, engine_ms, after_ms = ((end - start) / 1e6 for start, end in pairwise(ticks))
        is_file = isinstance(source, (str, Path))
        start_seconds, end_seconds = _clip_seconds(decoded, self.manifest) if is_file else (None, None)
        return Prediction(
            source=name,
            label=answer.label,
            index=answer.index,
            probability=answer.probability,
            probabilities=answer.probabilities,
            start_seconds=start_seconds,
            end_seconds=end_seconds,
            times=StageTimes(
                decode_ms=decode_ms if is_file else 0.0,
                features_ms=features_ms,
                engine_ms=engine_ms,
                after_ms=after_ms,
            ),
        )

    def _run_stages(self, source: Source, ticks: list[int]) -> tuple[Decoded, Floats]:
        """Go from a source to logits and note the time after every stage."""
        decoded = self.decode(source)
        ticks.append(perf_counter_ns())
        features = self.features(decoded)
        ticks.append(perf_counter_ns())
        logits = self.logits(features)
        ticks.append(perf_counter_ns())
        return decoded, logits


def load(folder: str | Path, *, backend: str | None = None, threads: int | None = None) -> Predictor:
    """Open a bundle and make it ready to answer.

    Args:
        folder: The bundle.
        backend: Engine that shall run it; none for the one that the bundle is for.
        threads: Threads of one inference; none for all cores that this process may use.

    Raises:
        BundleError: The bundle is damaged or does not fit together.
        UsageError: There is no such backend, or no such number of threads.
        MachineError: The engine cannot be used on this machine.
    """
    predictor = open_predictor(folder, backend=backend, threads=threads)
    require_matching_spec(predictor.manifest)
    return predictor


def open_predictor(folder: str | Path, *, backend: str | None = None, threads: int | None = None) -> Predictor:
    """Do what `load` does, but leave it to `verify` to find out whether the front end fits the network."""
    started = perf_counter_ns()
    options = EngineOptions(threads=threads)
    engine = backend_named(backend) if backend is not None else None
    bundle = open_bundle(Path(folder))
    engine = engine or backend_named(BACKEND_OF_TARGET[bundle.manifest.target])
    session = engine.load(network_of(bundle), options)
    return Predictor(bundle=bundle, session=session, load_ms=(perf_counter_ns() - started) / 1e6)


def network_of(bundle: Bundle) -> Network:
    """Take the network out of a bundle, for a backend."""
    manifest = bundle.manifest
    ir = None if manifest.ir is None else (bundle.read(manifest.ir.model), bundle.read(manifest.ir.weights))
    return Network(
        bundle.read(manifest.model),
        manifest.input,
        manifest.output,
        manifest.precision,
        ir,
        recipe=manifest.engine or EngineRecipe(),
        name=manifest.name,
        kept=len(manifest.kept),
    )


def require_matching_spec(manifest: Manifest) -> None:
    """Refuse a bundle whose front end makes other features than its network takes.

    Raises:
        BundleError: The shapes differ.
    """
    if manifest.input.shape != manifest.spec.feature_shape:
        raise BundleError(
            f"manifest.json: the front end (spec) makes features of shape {list(manifest.spec.feature_shape)}, "
            f"but the network's input {manifest.input.name!r} takes {list(manifest.input.shape)}",
            hint="the spec was changed after export: export the run again",
        )


def _name_of(source: Source) -> str:
    """Name a source in valid Unicode: bytes of a file name that are none are written as escapes."""
    if isinstance(source, (str, Path)):
        return os.fsencode(Path(source)).decode("utf-8", "backslashreplace")
    return "array"


def _clip_seconds(decoded: Decoded, manifest: Manifest) -> tuple[float | None, float | None]:
    """Say which part of a recording was answered for, in seconds."""
    spec = manifest.spec
    if not isinstance(spec, AudioSpec) or not decoded.rate_hz:
        return None, None
    length = len(decoded.values) / decoded.rate_hz
    clip = spec.clip_samples / spec.sample_rate_hz
    start = max(0.0, (length - clip) / 2) if spec.align == "centre" else 0.0
    return start, min(length, start + clip)
