"""`mstedge parity --explain`: where the bundle's graph leaves the student's, node by node."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from mstedge.explanation import Explanation, TensorDifference
    from mstedge.export.explain import NamedGraph
    from mstedge.limits import Precision
    from mstedge.runtime.parity.rows import GateRows
    from mstedge.runtime.predictor import Predictor

_ADVICE: dict[Precision, str] = {
    "fp32": "an fp32 graph should be the student's own: its weights or its operators were changed",
    "fp16": "look for values beyond 65504 or far below 1; fp32 keeps what fp16 cannot",
    "int8": "look at the weights of this node and at the range of what it makes: other calibration rows or another "
    "--calibration-method change the range, --search-mixed-int8 keeps what 8 bits do not suit in fp32",
}


def explained(predictor: Predictor, rows: GateRows, against: Path | None, *, allow_code: bool) -> Explanation:
    """Compare a bundle's graph with its reference on the rows that differ most.

    Args:
        predictor: The bundle, ready to run.
        rows: The gate's rows.
        against: A run, an ONNX file or another bundle; none for the run that the bundle stands in.
        allow_code: Whether the run may name a user's own network.

    Raises:
        UsageError: There is no reference, or no row to compare.
        MissingPackageError: The packages for export are not installed.
    """
    from mstedge.cli.packages import required
    from mstedge.errors import UsageError

    if not len(rows):
        raise UsageError("there is no row to compare", hint="--data DATA reads rows from raw files")
    bundle, manifest = predictor.bundle, predictor.manifest
    with required("--explain", extra="export"):
        from mstedge.export.explain import NamedGraph, explain, worst_rows

        reference = _reference(bundle.folder, against, allow_code=allow_code)
        worst = worst_rows(rows.reference, _answers(predictor, rows))
        return explain(
            reference,
            NamedGraph(str(bundle.folder / manifest.model), bundle.read(manifest.model)),
            rows.features[worst],
            ids=[rows.ids[row] for row in worst],
            precision=manifest.precision,
        )


def say_explanation(explanation: Explanation) -> None:
    """Print the comparison: a line per tensor, in the order of computation, and where to look."""
    from mstedge.cli.console import say, say_table
    from mstedge.cli.text import printable

    say()
    say(f"compared with {printable(explanation.reference)}")
    say(
        f"on the {len(explanation.rows)} rows that differ most, against {explanation.tolerance_db:g} dB for each tensor"
    )
    say()
    first = next((tensor for tensor in explanation.tensors if tensor.beyond), None)
    cells = [(*_cells(tensor), _mark(tensor, first)) for tensor in explanation.tensors]
    say_table(("node", "operator", "SQNR dB", "worst difference", ""), cells, right=(2, 3))
    say()
    if explanation.unmatched:
        say(f"not compared: {explanation.unmatched} tensors that were fused away or renamed")
    if first is None:
        say("all within tolerance: the graph is right; where answers differ, look at the engine or at the features")
    else:
        say(f"first beyond tolerance: {printable(first.node)}: {_ADVICE[explanation.precision]}")


def _cells(tensor: TensorDifference) -> tuple[str, str, str, str]:
    from mstedge.cli.text import printable

    exact = tensor.worst_difference == 0.0
    worst = "not finite" if tensor.worst_difference is None else f"{tensor.worst_difference:.2g} sd"
    sqnr = "exact" if exact else f"{tensor.median_sqnr_db:.1f}"
    return printable(tensor.node, limit=50), tensor.operator, sqnr, "" if exact else worst


def _mark(tensor: TensorDifference, first: TensorDifference | None) -> str:
    if tensor is first:
        return "← first beyond tolerance"
    return "beyond" if tensor.beyond else ""


def _answers(predictor: Predictor, rows: GateRows) -> NDArray[np.float32]:
    import numpy as np

    # One by one: a candidate that takes no other batch is explained too.
    return np.concatenate([predictor.session.run(rows.features[row : row + 1]) for row in range(len(rows))])


def _reference(bundle: Path, against: Path | None, *, allow_code: bool) -> NamedGraph:
    from mstedge.errors import UsageError
    from mstedge.export.explain import NamedGraph
    from mstedge.manifest import MANIFEST_NAME
    from mstedge.run_card import CARD_NAME
    from mstedge.runtime.bundle import check_onnx, open_bundle

    place = bundle.resolve().parent if against is None else against
    if (place / CARD_NAME).is_file():
        from mstedge.export.from_run import student_from_run

        return NamedGraph(f"the student of {place}", student_from_run(place, allow_code=allow_code).graph())
    if against is None:
        raise UsageError(
            f"{bundle} does not stand in a run: there is nothing to compare it with",
            hint="--against RUN, --against MODEL.onnx or --against BUNDLE names the reference",
        )
    if (place / MANIFEST_NAME).is_file():
        other = open_bundle(place)
        return NamedGraph(str(place), other.read(other.manifest.model))
    if not place.is_file():
        raise UsageError(f"--against {place}: expected a run, an ONNX file or a bundle")
    content = place.read_bytes()
    check_onnx(content, source=str(place))
    return NamedGraph(str(place), content)
