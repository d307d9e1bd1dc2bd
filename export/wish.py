"""What shall be exported: the answer to every question that `mstedge export` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from mstedge.engine_recipe import EngineRecipe
from mstedge.errors import UsageError
from mstedge.export.quantise.calibration import CalibrationWish
from mstedge.limits import Precision
from mstedge.manifest import Quantisation, Target

Golden: TypeAlias = Literal["auto", "raw", "features"]


@dataclass(frozen=True, slots=True)
class ExportWish:
    """What shall be exported.

    Attributes:
        target: What the bundle is for.
        precision: Arithmetic that the graph shall carry.
        golden: Whether golden cases carry recordings; `auto` follows what the data declare.
        margin: How much accuracy may be lost, as a share; none for the precision's own.
        calibration: Which rows int8 ranges are fitted on, and how.
        search_mixed: Keep the most sensitive nodes of an int8 graph in fp32 until the gate's limits hold.
        allow_failure: Write the bundle although the gate did not pass; the manifest says so.
        engine: How TensorRT shall build, for that target.
    """

    target: Target = "onnx"
    precision: Precision = "fp32"
    golden: Golden = "auto"
    margin: float | None = None
    calibration: CalibrationWish = field(default_factory=CalibrationWish)
    search_mixed: bool = False
    allow_failure: bool = False
    engine: EngineRecipe = field(default_factory=EngineRecipe)

    def __post_init__(self) -> None:
        if self.margin is not None and not 0.0 < self.margin < 1.0:
            raise UsageError(
                f"the margin is {100 * self.margin:g} points: expected more than 0 and less than 100",
                hint="--margin 1.5 lets the candidate lose up to 1.5 percentage points",
            )
        if self.search_mixed and self.precision != "int8":
            raise UsageError(
                f"a search for mixed int8 was asked for, but the precision is {self.precision}",
                hint="add --precision int8",
            )

    @property
    def form(self) -> Literal["uint8", "symmetric"]:
        """Form of an int8 graph that the target runs best, or at all."""
        return "uint8" if self.target == "onnx" else "symmetric"

    def quantisation(self) -> Quantisation | None:
        """Describe how the graph is quantised, where it is."""
        if self.precision != "int8":
            return None
        return Quantisation(form=self.form, method=self.calibration.method, rows=self.calibration.rows)
