"""What holds for every report: self-contained, repeatable, escaped, without paths, and in the right place."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from bundle_factory import make_bundle
from hypothesis import given
from hypothesis import strategies as st
from report_inputs import bench_result, comparison, epochs, run_card, write_run

from mstedge.errors import MissingPackageError, UsageError
from mstedge.report import write_report
from mstedge.report.formats import without_paths
from mstedge.schema import encode_json

if TYPE_CHECKING:
    from pathlib import Path

VOID = {"meta", "img", "link", "br", "hr", "input"}
SCRIPT = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """Checks that elements close in order, and collects what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.references += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "srcset"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def full_run(folder: Path) -> Path:
    write_run(folder)
    (folder / "comparison.json").write_bytes(encode_json(comparison(-0.01, 0.02)))
    (folder / "recipe.yaml").write_text("name: tiny\n", encoding="utf-8")
    return folder


@pytest.fixture(params=["run", "bundle", "bench"])
def result(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "run":
        return full_run(tmp_path / "run")
    if request.param == "bundle":
        return make_bundle(tmp_path / "tiny.bundle", "image", cases=3)
    path = tmp_path / "bench.json"
    path.write_bytes(encode_json(bench_result(tuple(range(400_000, 500_000, 50)))))
    return path


def test_same_input_gives_the_same_bytes(result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_report(result, tmp_path / "one.html").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert write_report(result, tmp_path / "two.html").read_bytes() == first


def test_own_matplotlib_settings_change_nothing(tmp_path: Path) -> None:
    import matplotlib as mpl

    path = tmp_path / "comparison.json"
    path.write_bytes(encode_json(comparison(-0.01, 0.02)))
    first = write_report(path).read_bytes()
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30}):
        assert write_report(path).read_bytes() == first
        assert mpl.rcParams["font.size"] == 30


def test_page_is_well_formed_and_refers_to_nothing_outside(result: Path, tmp_path: Path) -> None:
    page = write_report(result, tmp_path / "page.html").read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(page)
    assert elements.open == []
    assert elements.seen.isdisjoint({"script", "link", "iframe", "object", "embed", "base"})
    assert all(reference.startswith(("data:", "#")) for reference in elements.references)
    assert "http" not in page.replace("http-equiv", "")
    assert "@import" not in page
    assert re.search(r"url\((?!#)", page) is None


def test_charts_follow_light_and_dark(tmp_path: Path) -> None:
    page = write_report(full_run(tmp_path / "run")).read_text(encoding="utf-8")
    charts = re.findall(r'<svg class="chart".*?</svg>', page, re.DOTALL)
    assert len(charts) == 15
    for chart in charts:
        ET.fromstring(chart)  # noqa: S314  our own
        assert re.findall(r"#[0-9a-fA-F]{6}\b", chart) == []
        assert "var(--ink)" in chart
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", page))
    light, dark = page.split("prefers-color-scheme: dark")[:2]
    for variable in used:
        assert f"{variable}:" in light
        assert f"{variable}:" in dark[: dark.index("* {")]


def test_script_in_a_run_is_text_everywhere(tmp_path: Path) -> None:
    rows = [
        row | {"validation_accuracy": {SCRIPT: 0.5, "b": 0.4}} | {"gradient_flow": {f"$b$<-{SCRIPT}": 0.1}}
        for row in epochs()
        if row["stage"] == "collaborative"
    ]
    folder = write_run(tmp_path / "run", run_card(name=SCRIPT, labels=(SCRIPT, "b")), rows=rows)
    (folder / "recipe.yaml").write_text(f"about: {SCRIPT}\n", encoding="utf-8")
    (folder / "comparison.json").write_bytes(encode_json(comparison(-0.01, 0.02, conclusion=SCRIPT)))
    page = write_report(folder).read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 6
    assert ">$b$ learns</text>" in page


def test_paths_and_user_names_stay_at_home(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rows=[])
    recipe = (
        "path: /home/jane doe/data/rows.csv\nother: C:\\Users\\jane\\rows.csv\nthird: ~/jane/rows.csv\nratio: 1/2\n"
    )
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    page = write_report(folder).read_text(encoding="utf-8")
    assert "jane" not in page
    assert str(tmp_path) not in page
    assert page.count("…/rows.csv") == 3
    assert "ratio: 1/2" in page


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/jane/a.wav: cannot be read", "…/a.wav: cannot be read"),
        ("/home/jane/", "…/"),
        ('"/srv/x/y z.bin"', '"…/y z.bin"'),
        ("file:///home/jane/a.wav", "…/a.wav"),
        ("golden/raw/case-0.wav", "golden/raw/case-0.wav"),
        ("1/2 and/or GNU/Linux", "1/2 and/or GNU/Linux"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_absolute_paths_are_cut_down_to_names(text: str, expected: str) -> None:
    assert without_paths(text) == expected


@given(st.lists(st.text("abc XYZ.-_", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=5))
def test_no_folder_of_a_path_is_left(names: list[str]) -> None:
    assert without_paths("/" + "/".join(names)) == f"…/{names[-1]}"


def test_run_gets_its_report_inside(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rows=[])
    assert write_report(folder) == folder / "report.html"


def test_document_gets_its_report_beside(tmp_path: Path) -> None:
    path = tmp_path / "monday.json"
    path.write_bytes(encode_json(comparison(0.01, 0.02)))
    assert write_report(path) == tmp_path / "monday.report.html"


def test_bundle_named_by_a_dot_gets_its_report_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path as RealPath

    monkeypatch.chdir(make_bundle(tmp_path / "tiny.bundle", "array", cases=1))
    assert write_report(RealPath()) == tmp_path / "tiny.bundle.report.html"


def test_places_that_would_do_harm_are_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "tiny.bundle", "array", cases=1)
    with pytest.raises(UsageError, match=r"inside the bundle tiny\.bundle"):
        write_report(bundle, bundle / "golden" / "page.html")
    path = tmp_path / "comparison.json"
    path.write_bytes(encode_json(comparison(0.01, 0.02)))
    with pytest.raises(UsageError, match="the input itself"):
        write_report(path, path)
    with pytest.raises(UsageError, match="is a folder"):
        write_report(path, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.json", None, "does not exist"),
        ("text.json", b"hello", "is not a JSON document"),
        ("list.json", b"[1]", "has no schema"),
        ("other.json", b'{"schema": "mstedge.bensh/1"}', r"has the schema 'mstedge\.bensh/1'"),
    ],
)
def test_what_cannot_be_reported_on_is_said(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"{name}: {message}.*expected a run folder .* a bundle folder .* JSON file"):
        write_report(path)


def test_unknown_schema_gets_the_nearest_spelling(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(b'{"schema": "mstedge.bensh/1"}')
    with pytest.raises(UsageError) as problem:
        write_report(path)
    assert problem.value.hint is not None
    assert problem.value.hint.startswith("did you mean 'mstedge.bench/1'?")


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"without run\.json or manifest\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    folder = write_run(tmp_path / "run", rows=[])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=package) as problem:
        write_report(folder)
    assert problem.value.exit_code == 3
    assert problem.value.hint == "pip install 'mstedge[report]'"
    assert not (folder / "report.html").exists()
