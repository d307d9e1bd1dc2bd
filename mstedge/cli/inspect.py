"""`mstedge inspect`: what is this folder or file?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mstedge.cli.cards import BundleCard, Lines


def command(
    path: Path = typer.Argument(..., help="A bundle, a run, or a JSON result of mstedge."),
    json: bool = typer.Option(False, "--json", help="Print the card as JSON."),
) -> None:
    """Show what a bundle, a run or a result file is."""
    from mstedge.cli.console import say_json

    value, lines = _read(path)
    if json:
        say_json(value)
    else:
        _say_lines(lines)


def _read(path: Path) -> tuple[object, Lines]:
    from mstedge.cli.cards import lines_of_bundle, lines_of_run
    from mstedge.manifest import MANIFEST_NAME, SUMS_NAME
    from mstedge.run_card import CARD_NAME, RunCard
    from mstedge.schema import read_json

    try:
        names = {each.name for each in path.iterdir()} if path.is_dir() else set()
    except OSError as problem:
        raise _not_ours(path, f"cannot be read: {problem.strerror}") from None
    if names & {MANIFEST_NAME, SUMS_NAME}:
        card = _bundle_card(path)
        return card, lines_of_bundle(card)
    if CARD_NAME in names:
        run = read_json(path / CARD_NAME, RunCard)
        return run, lines_of_run(run)
    if path.is_dir():
        raise _not_ours(path, "holds neither a bundle nor a run")
    return _read_result(path)


def _bundle_card(folder: Path) -> BundleCard:
    from mstedge.cli.cards import bundle_card
    from mstedge.manifest import SIGNATURE_NAME, SUMS_NAME
    from mstedge.runtime.bundle import check_onnx, open_bundle
    from mstedge.runtime.bundle.signature import read_signature

    bundle = open_bundle(folder)
    summary = check_onnx(bundle.read(bundle.manifest.model))
    signature = read_signature(folder)
    names = sorted([*bundle.digests, SUMS_NAME, *([SIGNATURE_NAME] if signature is not None else [])])
    return bundle_card(
        bundle.manifest,
        bundle.golden_cases(),
        bundle.parity_report(),
        {name: (folder / name).stat().st_size for name in names},
        opset=summary.opset,
        nodes=summary.nodes,
        signature=None if signature is None else signature.fingerprint,
    )


def _read_result(path: Path) -> tuple[object, Lines]:
    """Read a JSON file of ours by the schema that it names."""
    import msgspec

    from mstedge.schema import convert

    try:
        document: Any = msgspec.json.decode(path.read_bytes())
    except OSError as problem:
        raise _not_ours(path, f"cannot be read: {problem.strerror}") from None
    except (msgspec.DecodeError, RecursionError) as problem:
        raise _not_ours(path, f"not a JSON document ({problem})") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    kinds = _result_kinds()
    if not isinstance(schema, str) or schema not in kinds:
        raise _not_ours(path, f"its schema is {schema!r}" if schema is not None else "names no schema")
    kind, lines_of = kinds[schema]
    value = convert(document, kind, source=str(path))
    return value, [("schema", schema), *lines_of(value)]


def _result_kinds() -> dict[str, tuple[type[Any], Callable[[Any], Lines]]]:
    from mstedge.bench_result import BenchResult
    from mstedge.cli import cards, result_cards
    from mstedge.engine_build import EngineBuild
    from mstedge.evaluation import Evaluation
    from mstedge.explanation import Explanation
    from mstedge.measurement import ExportMeasurement
    from mstedge.parity import ParityReport
    from mstedge.run_card import Comparison, RunCard
    from mstedge.verification import VerifyReport

    return {
        "mstedge.parity/1": (ParityReport, result_cards.lines_of_parity),
        "mstedge.verify/1": (VerifyReport, result_cards.lines_of_verify),
        "mstedge.bench/1": (BenchResult, result_cards.lines_of_bench),
        "mstedge.comparison/1": (Comparison, result_cards.lines_of_comparison),
        "mstedge.evaluation/1": (Evaluation, result_cards.lines_of_evaluation),
        "mstedge.explanation/1": (Explanation, result_cards.lines_of_explanation),
        "mstedge.engine/1": (EngineBuild, result_cards.lines_of_build),
        "mstedge.export-measurement/1": (ExportMeasurement, result_cards.lines_of_measurement),
        "mstedge.run/1": (RunCard, cards.lines_of_run),
        "mstedge.card/1": (cards.BundleCard, cards.lines_of_bundle),
    }


def _not_ours(path: Path, what: str) -> Exception:
    from mstedge.errors import UsageError

    return UsageError(
        f"{path}: {what}",
        hint=f"inspect takes a bundle, a run, or a JSON file with one of the schemas {', '.join(_result_kinds())}",
    )


def _say_lines(lines: Lines) -> None:
    """Print keys and values in two columns; a key that repeats stands once."""
    from mstedge.cli.console import say
    from mstedge.cli.text import printable

    width = max(len(printable(key, limit=30)) for key, _ in lines)
    previous = ""
    for key, value in lines:
        shown = "" if key == previous else printable(key, limit=30)
        say(f"{shown:<{width}}  {printable(value)}".rstrip())
        previous = key
