"""Building an engine: one routine for TensorRT 10.3 to 11 and TensorRT-RTX, which touches only what a version has.

The precision is in the graph: no precision flag is ever set, and TF32 is cleared, so that fp32 means fp32.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from mstedge.engine_build import BatchProfile
from mstedge.errors import BundleError, MachineError
from mstedge.runtime.backends.tensors import EngineTensor as DescribedTensor
from mstedge.runtime.backends.tensors import require_tensor
from mstedge.runtime.trt.layers import layers_of, tensors_of
from mstedge.runtime.trt.messages import errors_in, logger_of, warnings_in
from mstedge.runtime.trt.precision_proof import prove_precision
from mstedge.runtime.trt.timing_cache import attach_timing_cache, measured_tactics

if TYPE_CHECKING:
    from mstedge.engine_build import EngineTensor
    from mstedge.engine_recipe import EngineRecipe
    from mstedge.manifest import Tensor
    from mstedge.runtime.backends.protocol import Network
    from mstedge.runtime.trt.layers import Layer
    from mstedge.runtime.trt.library import TensorRt
    from mstedge.runtime.trt.precision_proof import PrecisionProof

_ONE_BUILD_AT_A_TIME = threading.Lock()
_MOST_PARSER_ERRORS = 5
_LINES_PER_ERROR = 2


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine as bytes, with what it was made of.

    Attributes:
        plan: The serialised engine.
        library: What built it.
        tensors: Inputs and outputs.
        profile: Shapes that it takes.
        layers: The layers of the network that it was built from.
        proof: What its weighted layers compute in.
        notes: What was done otherwise than the recipe asks, and why.
        warnings: What the library complained about.
        seconds: Time that parsing and building took.
        timing_cache: Measured tactics, for the next build; empty where the library keeps none.
    """

    plan: bytes
    library: TensorRt
    tensors: tuple[EngineTensor, ...]
    profile: BatchProfile
    layers: tuple[Layer, ...]
    proof: PrecisionProof
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float
    timing_cache: bytes = b""


def build_engine(
    library: TensorRt, network: Network, recipe: EngineRecipe, *, timing_cache: bytes = b""
) -> BuiltEngine:
    """Parse a graph, hold it against what is claimed of it, and build.

    Args:
        library: What shall build.
        network: An ONNX file that `check_onnx` has passed, with what the manifest says about it.
        recipe: How to build.
        timing_cache: Tactics that an earlier build measured.

    Raises:
        BundleError: The library cannot parse the graph, or finds other tensors in it than the manifest names.
        CheckFailedError: The graph is not of the precision that is claimed.
        MachineError: The library cannot build here.
    """
    trt = library.module
    with _ONE_BUILD_AT_A_TIME:
        started = perf_counter()
        logger = logger_of(trt)
        logger.heard.clear()
        builder = _made(trt.Builder, logger, library=library, logger=logger)
        definition = _made(builder.create_network, _network_flags(trt), library=library, logger=logger)
        parser = trt.OnnxParser(definition, logger)  # holds the weights: it must live as long as the definition
        if not parser.parse(network.onnx):
            raise BundleError(f"{library.title} cannot parse the model: {_parser_errors(parser)}")
        tensors, layers = tensors_of(definition), layers_of(definition)
        _check_tensors(tensors, network)
        proof = prove_precision(layers, network.precision)
        config = _made(builder.create_builder_config, library=library, logger=logger)
        cache, stale = attach_timing_cache(library, config, recipe, timing_cache)
        notes = (*_configure(library, config, recipe), *stale)
        profile = _profile(network.input, recipe)
        _add_profile(builder, config, profile, library=library, logger=logger)
        plan = _made(builder.build_serialized_network, definition, config, library=library, logger=logger)
        return BuiltEngine(
            plan=bytes(plan),
            library=library,
            tensors=tensors,
            profile=profile,
            layers=layers,
            proof=proof,
            notes=notes,
            warnings=warnings_in(logger),
            seconds=perf_counter() - started,
            timing_cache=measured_tactics(cache),
        )


def _network_flags(trt: Any) -> int:
    """Ask for strong typing; TensorRT 11 knows nothing else and may drop the flag one day."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _configure(library: TensorRt, config: Any, recipe: EngineRecipe) -> list[str]:
    trt, notes = library.module, list[str]()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace_bytes)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # an inspector can tell the types of layers later
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = recipe.optimisation_level
    else:
        notes.append(f"{library.title} has no optimisation level: {recipe.optimisation_level} was not set")
    if recipe.version_compatible:
        # TensorRT-RTX has the flag, but not the lean runtime that it would put into the engine.
        if library.name == "tensorrt" and hasattr(trt.BuilderFlag, "VERSION_COMPATIBLE"):
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        else:
            notes.append(f"{library.title} builds for its own version only: not version compatible")
    return notes


def _profile(tensor: Tensor, recipe: EngineRecipe) -> BatchProfile:
    batches = (recipe.min_batch_rows, recipe.best_batch_rows, recipe.max_batch_rows)
    smallest, best, largest = ((rows, *tensor.shape) for rows in batches)
    return BatchProfile(input=tensor.name, smallest=smallest, best=best, largest=largest)


def _add_profile(builder: Any, config: Any, profile: BatchProfile, *, library: TensorRt, logger: Any) -> None:
    shapes = builder.create_optimization_profile()
    shapes.set_shape(profile.input, profile.smallest, profile.best, profile.largest)
    if config.add_optimization_profile(shapes) < 0:
        raise _cannot_build(library, logger)


def _check_tensors(found: tuple[EngineTensor, ...], network: Network) -> None:
    """Require the one input and the one output that the manifest names, with a free batch."""
    for mode, wanted in (("input", network.input), ("output", network.output)):
        require_tensor(mode, [_described(each) for each in found if each.mode == mode], wanted)


def _described(tensor: EngineTensor) -> DescribedTensor:
    sizes = tuple(None if size < 0 else size for size in tensor.shape)
    return DescribedTensor(name=tensor.name, kind=tensor.dtype, sizes=sizes)


def _made(call: Any, *arguments: Any, library: TensorRt, logger: Any) -> Any:
    """Call the library, which gives none or raises without a word where it fails, and says why to its logger."""
    try:
        result = call(*arguments)
    except (RuntimeError, TypeError) as problem:
        raise _cannot_build(library, logger) from problem
    if result is None:
        raise _cannot_build(library, logger)
    return result


def _cannot_build(library: TensorRt, logger: Any) -> MachineError:
    errors = "; ".join(errors_in(logger)) or "it gave no reason"
    return MachineError(
        f"{library.title} cannot build the engine here: {errors}",
        hint="the workspace, batches and optimisation level come from the bundle: mstedge export sets them",
    )


def _parser_errors(parser: Any) -> str:
    errors = [parser.get_error(number) for number in range(parser.num_errors)]
    shown = [_parser_error(error) for error in errors[:_MOST_PARSER_ERRORS]]
    more = [f"and {len(errors) - len(shown)} more"] if len(errors) > len(shown) else []
    return "; ".join([*shown, *more]) or "it gave no reason"


def _parser_error(error: Any) -> str:
    """Say where and why; what follows the first lines is a trace through the parser's own code."""
    why = " ".join(" ".join(error.desc().splitlines()[:_LINES_PER_ERROR]).split())
    name, operator = error.node_name(), error.node_operator()
    return f"node {error.node()} {name!r} ({operator}): {why}" if operator else why
