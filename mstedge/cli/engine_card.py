"""What building an engine gave, as lines that a person reads at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mstedge.cli.cards import Lines
    from mstedge.engine_build import EngineBuild

_TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
_PROOFS = {
    "fp32": "compute in float32, no layer gives fewer bits",
    "fp16": "compute in float16",
    "int8": "take int8 on both sides",
}


def lines_of_engine(build: EngineBuild) -> Lines:
    """Describe an engine."""
    profile, recipe = build.profile, build.recipe
    device = "none" if build.gpu is None else f"{build.gpu.name}, compute capability {build.gpu.compute_capability}"
    batches = f"{profile.smallest[0]} to {profile.largest[0]} rows, tuned for {profile.best[0]}"
    return [
        ("built by", f"{_TITLES[build.library]} {build.version} in {build.seconds:.1f} s"),
        ("GPU", device),
        ("plan", f"{build.plan_bytes:,} bytes, sha256 {build.plan_sha256[:16]}…"),
        *((each.mode, f"{each.name} {each.dtype} {_shape(each.shape)}") for each in build.tensors),
        ("batches", batches),
        ("layers", _counts(build.layers)),
        ("types", _counts(build.dtypes)),
        ("precision", precision_in_words(build)),
        ("recipe", f"workspace {recipe.workspace_bytes >> 20} MiB, optimisation level {recipe.optimisation_level}"),
        *(("note", text) for text in build.notes),
        *(("warning", text) for text in build.warnings),
    ]


def precision_in_words(build: EngineBuild) -> str:
    """Say what proves the precision."""
    count = f"{build.proved_layers} of {build.weighted_layers} layers with weights"
    return f"{build.precision}: {count} {_PROOFS[build.precision]}"


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join('batch' if size < 0 else str(size) for size in shape)}]"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
