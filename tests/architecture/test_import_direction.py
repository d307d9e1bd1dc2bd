"""Imports run one way, core <- runtime <- training <- export <- report <- cli; a device needs numpy and one engine."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from importlib.util import resolve_name
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "mstedge": "mstedge",
    "runtime": "mstedge.runtime",
    "training": "mstedge.training",
    "export": "mstedge.export",
}
LAYERS = ("core", "runtime", "training", "export", "report", "cli")

# The two places that look upwards, and why.
UPWARDS = {
    ("mstedge", "mstedge.runtime"): "mstedge.load is a lazy name for mstedge.runtime.load",
    ("mstedge.__main__", "mstedge.cli"): "python -m mstedge is the command",
}
STANDARD = sys.stdlib_module_names
MAY_IMPORT = {
    "core": {"msgspec", "numpy"},
    "runtime": {"msgspec", "numpy"},
}
MAY_IMPORT_INSIDE_FUNCTIONS = {
    "core": set(),
    "runtime": {
        *("onnxruntime", "openvino", "tensorrt", "tensorrt_rtx_bindings"),
        *("cv2", "soundfile", "soxr", "sounddevice", "cryptography"),
    },
}
COMMANDS_MAY_IMPORT = {"typer", "click", "msgspec"}


@dataclass(frozen=True)
class Import:
    importer: str
    imported: str
    line: int
    inside: bool
    typing_only: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def module_of(path: Path) -> str:
    folder, *rest = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join([FOLDERS[folder], *(rest[:-1] if rest[-1] == "__init__" else rest)])


def layer_of(module: str) -> str:
    second = module.split(".")[1] if "." in module else ""
    return second if second in LAYERS else "core"


SOURCES = {module_of(path): path for folder in FOLDERS for path in sorted((CHECKOUT / folder).rglob("*.py"))}


class Collector(ast.NodeVisitor):
    """Collects imports with where they stand: in a function, or under TYPE_CHECKING."""

    def __init__(self, module: str, path: Path) -> None:
        self.module, self.found = module, list[Import]()
        self.package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        self.inside = self.typing_only = False

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        before, self.inside = self.inside, True
        self.generic_visit(node)
        self.inside = before

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_If(self, node: ast.If) -> None:
        before = self.typing_only
        self.typing_only = before or "TYPE_CHECKING" in ast.unparse(node.test)
        for each in node.body:
            self.visit(each)
        self.typing_only = before
        for each in node.orelse:
            self.visit(each)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = resolve_name("." * node.level + (node.module or ""), self.package) if node.level else node.module
        for alias in node.names:
            submodule = f"{source}.{alias.name}"
            self.add(submodule if submodule in SOURCES else str(source), node.lineno)

    def add(self, imported: str, line: int) -> None:
        self.found.append(Import(self.module, imported, line, self.inside, self.typing_only))


def imports_of(module: str, path: Path) -> list[Import]:
    collector = Collector(module, path)
    collector.visit(ast.parse(path.read_text(encoding="utf-8")))
    return collector.found


IMPORTS = [each for module, path in SOURCES.items() for each in imports_of(module, path)]
OF_OURS = [each for each in IMPORTS if each.imported.split(".")[0] == "mstedge"]
OF_OTHERS = [
    each
    for each in IMPORTS
    if each.imported.split(".")[0] not in STANDARD | {"mstedge", "__future__"} and not each.typing_only
]


def test_all_four_folders_were_read() -> None:
    assert {layer_of(module) for module in SOURCES} == set(LAYERS)
    assert len(OF_OURS) > 50


def test_imports_run_one_way() -> None:
    wrong = [
        str(each)
        for each in OF_OURS
        if LAYERS.index(layer_of(each.imported)) > LAYERS.index(layer_of(each.importer))
        and (each.importer, each.imported) not in UPWARDS
    ]
    assert not wrong


def test_the_lazy_name_stays_lazy() -> None:
    upwards = [each for each in OF_OURS if (each.importer, each.imported) == ("mstedge", "mstedge.runtime")]
    assert upwards
    assert all(each.inside or each.typing_only for each in upwards)


def test_nothing_imports_the_bare_folder_names() -> None:
    bare = {"runtime", "training", "export"}
    assert [str(each) for each in IMPORTS if each.imported.split(".")[0] in bare] == []


def test_modules_that_are_imported_exist() -> None:
    names = set(SOURCES)
    assert [str(each) for each in OF_OURS if each.imported not in names] == []


@pytest.mark.parametrize("layer", sorted(MAY_IMPORT))
def test_a_device_needs_numpy_and_one_engine(layer: str) -> None:
    wrong = [
        str(each)
        for each in OF_OTHERS
        if layer_of(each.importer) == layer
        and each.imported.split(".")[0]
        not in MAY_IMPORT[layer] | (MAY_IMPORT_INSIDE_FUNCTIONS[layer] if each.inside else set())
    ]
    assert not wrong


def test_openvino_is_imported_in_one_place() -> None:
    # Elsewhere its telemetry would come along.
    found = {each.importer for each in OF_OTHERS if each.imported.split(".")[0] == "openvino"}
    assert found == {"mstedge.runtime.backends.openvino_import"}


def test_commands_import_what_they_need_inside_themselves() -> None:
    in_commands = [each for each in IMPORTS if layer_of(each.importer) == "cli" and not each.inside]
    wrong = [str(each) for each in in_commands if not each.typing_only and not _light(each.imported)]
    assert in_commands
    assert not wrong


def _light(imported: str) -> bool:
    name = imported.split(".", maxsplit=1)[0]
    if name == "mstedge":
        return layer_of(imported) in {"core", "cli"}
    return name in STANDARD | COMMANDS_MAY_IMPORT


def test_what_is_forbidden_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("from __future__ import annotations\ndef f():\n    from mstedge.training import x\nimport torch\n")
    found = imports_of("mstedge.runtime.module", path)
    assert [(each.imported, each.inside) for each in found[1:]] == [("mstedge.training", True), ("torch", False)]
