"""How a bundle was exported, in words that the card and the report share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mstedge.engine_recipe import MIB, EngineRecipe

if TYPE_CHECKING:
    from mstedge.manifest import Lineage, Manifest, Quantisation

MAX_NODES_NAMED = 12
_FORMS = {
    "uint8": "uint8 activations with int32 biases, the form that ONNX Runtime computes fastest on x86",
    "symmetric": "symmetric int8 with float biases, the form that TensorRT and OpenVINO take",
}


def export_words(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Describe what a bundle is for and how its graph was made, as pairs of a word and what it means here."""
    words: list[tuple[str, str]] = [("target", manifest.target), ("precision", manifest.precision)]
    if manifest.quantisation is not None:
        words.append(("quantised", _quantised(manifest.quantisation)))
    if manifest.precision != "fp32":
        words.append(("kept in fp32", nodes_in_words(manifest.kept)))
    if manifest.ir is not None:
        words.append(("OpenVINO IR", f"{manifest.ir.model} and {manifest.ir.weights}, from {manifest.model}"))
    if manifest.engine is not None:
        words.append(("engine recipe", engine_in_words(manifest.engine)))
    return tuple(words)


def engine_in_words(recipe: EngineRecipe) -> str:
    """Describe how an engine shall be built."""
    batches = f"batch {recipe.min_batch_rows} to {recipe.max_batch_rows}, tuned for {recipe.best_batch_rows}"
    version = "later TensorRT may load it" if recipe.version_compatible else "for one version of TensorRT"
    cache = "with" if recipe.timing_cache else "without"
    return (
        f"{batches}; workspace {recipe.workspace_bytes / MIB:g} MiB; optimisation level {recipe.optimisation_level}; "
        f"{version}; {cache} a timing cache"
    )


def origin_in_words(lineage: Lineage) -> str:
    """Say where a student comes from."""
    if lineage.origin == "onnx":
        return f"trained elsewhere, given as ONNX, network {lineage.network}"
    return f"{lineage.recipe}, seed {lineage.seed}, network {lineage.network}"


def nodes_in_words(names: tuple[str, ...]) -> str:
    """Name the nodes that stay in fp32, the first of many."""
    if not names:
        return "no node"
    more = f", … ({len(names)} in all)" if len(names) > MAX_NODES_NAMED else ""
    return ", ".join(names[:MAX_NODES_NAMED]) + more


def _quantised(quantisation: Quantisation) -> str:
    how = f"ranges by {quantisation.method} over {quantisation.rows:,} rows of the training part"
    return f"{_FORMS[quantisation.form]}; {how}"
