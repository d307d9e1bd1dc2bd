"""What building an inference engine on a device gave: the record that stands beside every engine."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mstedge.engine_recipe import EngineRecipe
from mstedge.limits import Precision
from mstedge.schema import Record

LibraryName: TypeAlias = Literal["tensorrt", "tensorrt-rtx"]


class Gpu(Record, frozen=True, kw_only=True):
    """The device that an engine is for.

    Attributes:
        name: What its driver calls it.
        compute_capability: Its architecture, as `8.7`.
    """

    name: str
    compute_capability: str


class EngineTensor(Record, frozen=True, kw_only=True):
    """An input or output of an engine.

    Attributes:
        name: Its name in the graph.
        mode: Which of the two it is.
        dtype: Element type.
        shape: All sizes; -1 for the batch, which is free.
    """

    name: str
    mode: Literal["input", "output"]
    dtype: str
    shape: tuple[int, ...]


class BatchProfile(Record, frozen=True, kw_only=True):
    """The shapes of the input that an engine takes.

    Attributes:
        input: Name of the input.
        smallest: Its shape at the smallest batch.
        best: Its shape at the batch that the engine is tuned for.
        largest: Its shape at the largest batch.
    """

    input: str
    smallest: tuple[int, ...]
    best: tuple[int, ...]
    largest: tuple[int, ...]


class EngineBuild(Record, frozen=True, kw_only=True):
    """One engine that was built on this machine.

    Tensors and layers are those of the network that the library's parser made from the graph: typed strongly, so the
    types of the engine are these; fusing layers changes their number, never their types.

    Attributes:
        schema: Version of this format.
        name: Name of the bundle.
        library: What built it; an engine of one cannot be read by the other.
        version: Version of that.
        gpu: The device that it is for; none where it was built without one.
        model_sha256: Digest of the ONNX file.
        precision: Arithmetic that the graph carries.
        recipe: How it was to be built.
        plan_sha256: Digest of the serialised engine.
        plan_bytes: Its size.
        tensors: Inputs and outputs.
        profile: Shapes that it takes.
        layers: Number of layers by kind.
        dtypes: Number of layers by the type that they give; constants do not count.
        weighted_layers: Layers that multiply with weights.
        proved_layers: How many of them compute in the precision.
        notes: What was done otherwise than the recipe or the user asked, and why.
        warnings: What the library complained about.
        seconds: Time that parsing and building took.
        parity: Whether the engine itself was compared with the reference.
        parity_reason: Why not.
    """

    schema: Literal["mstedge.engine/1"] = "mstedge.engine/1"
    name: str
    library: LibraryName
    version: str
    gpu: Gpu | None
    model_sha256: str
    precision: Precision
    recipe: EngineRecipe
    plan_sha256: str
    plan_bytes: int
    tensors: tuple[EngineTensor, ...]
    profile: BatchProfile
    layers: dict[str, int]
    dtypes: dict[str, int]
    weighted_layers: int
    proved_layers: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float
    parity: Literal["pending"] = "pending"
    parity_reason: str
