"""How an inference engine shall be built on the device that will run it: the portable part of a TensorRT bundle."""

from __future__ import annotations

from mstedge.errors import ConfigError
from mstedge.schema import Record

MIB = 1 << 20
MAX_BATCH_ROWS = 4096


class EngineRecipe(Record, frozen=True, kw_only=True):
    """How TensorRT builds an engine; the precision is in the graph and nowhere else.

    Attributes:
        min_batch_rows: Smallest batch that the engine takes.
        best_batch_rows: The batch that it is tuned for.
        max_batch_rows: Largest batch that it takes.
        workspace_bytes: Memory that tactics may use while they run.
        optimisation_level: 0 (fastest build) to 5 (longest search), TensorRT's own scale.
        version_compatible: Whether later TensorRT versions of the same kind may load the engine; may be slower.
        timing_cache: Whether measured tactics are kept in this machine's cache for the next build.
    """

    min_batch_rows: int = 1
    best_batch_rows: int = 1
    max_batch_rows: int = 8
    workspace_bytes: int = 1024 * MIB
    optimisation_level: int = 3
    version_compatible: bool = False
    timing_cache: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.min_batch_rows <= self.best_batch_rows <= self.max_batch_rows <= MAX_BATCH_ROWS:
            raise ConfigError(
                f"batches are {self.min_batch_rows}, {self.best_batch_rows}, {self.max_batch_rows}: "
                f"expected smallest <= best <= largest, 1 to {MAX_BATCH_ROWS}"
            )
        if self.workspace_bytes < MIB:
            raise ConfigError(f"workspace_bytes is {self.workspace_bytes}: expected at least {MIB}")
        if not 0 <= self.optimisation_level <= 5:
            raise ConfigError(f"optimisation_level is {self.optimisation_level}: expected 0 to 5")
