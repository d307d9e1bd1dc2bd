"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SHIPPED = ("mstedge", "runtime", "training", "export")
LONGEST_FILE_LINES = 400
LONGEST_FUNCTION_LINES = 60
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((CHECKOUT / folder).rglob("*.py"))]


EVERYTHING = sources(*SHIPPED, "scripts", "tests", *(["benchmarks"] if (CHECKOUT / "benchmarks").is_dir() else []))


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(CHECKOUT)}:{line}"


def test_files_are_short() -> None:
    lengths = {
        str(path.relative_to(CHECKOUT)): len(path.read_text(encoding="utf-8").splitlines()) for path in EVERYTHING
    }
    assert len(lengths) > 40
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE_LINES} == {}


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Length of a function without its docstring: explaining more is no offence."""
    first = node.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def test_functions_are_short() -> None:
    long = [
        f"{place(path, node.lineno)} {node.name}"
        for path in EVERYTHING
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) > LONGEST_FUNCTION_LINES
    ]
    assert not long


def test_shipped_code_neither_asserts_nor_prints() -> None:
    wrong = [
        place(path, node.lineno)
        for path in sources(*SHIPPED)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print")
    ]
    assert not wrong


def test_names_say_what_is_inside() -> None:
    assert [str(path) for path in EVERYTHING if VAGUE_NAMES & {path.stem, path.parent.name}] == []


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in sources("tests") if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_shipped_code_reads_no_pickle() -> None:
    wrong = [
        place(path, node.lineno)
        for path in sources(*SHIPPED)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
        & {name.split(".")[0] for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]}
    ]
    wrong += [
        place(path, number)
        for path in sources(*SHIPPED)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if "torch.load(" in line or "allow_pickle=True" in line
    ]
    assert not wrong
