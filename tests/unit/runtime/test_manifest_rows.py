"""Manifest files as users bring them: what is read, and what each kind of damage says."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mstedge.errors import DataError
from mstedge.runtime.manifest_rows import ManifestRow, read_rows, records

MODALITIES = ["sound", "picture"]


def written(tmp_path: Path, text: str | bytes, name: str = "rows.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path) -> list[ManifestRow]:
    return read_rows(path, MODALITIES, "sound")


def test_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    table = written(tmp_path, "sound,picture,label\na.wav,a.png,7\nb.wav,b.png,\n")
    lines = (
        '{"sound": "a.wav", "picture": "a.png", "label": 7}\n{"sound": "b.wav", "picture": "b.png", "label": null}\n'
    )
    documents = written(tmp_path, lines, "rows.jsonl")
    from_table, from_documents = read(table), read(documents)
    assert [(row.files, row.label) for row in from_table] == [(row.files, row.label) for row in from_documents]
    assert [row.label for row in from_table] == ["7", ""]
    assert [row.line for row in from_table] == [2, 3]
    assert [row.line for row in from_documents] == [1, 2]


def test_what_a_row_leaves_open_follows_from_the_students_file(tmp_path: Path) -> None:
    row = read(written(tmp_path, "picture,sound,label\np.png,./clips/../clips/a.wav,x\n"))[0]
    assert row.files == ("./clips/../clips/a.wav", "p.png")
    assert (row.recording, row.cluster, row.group, row.id) == ("clips/a.wav", "clips/a.wav", "clips/a.wav", "2-a.wav")


def test_group_follows_the_cluster(tmp_path: Path) -> None:
    row = read(written(tmp_path, "sound,picture,cluster\na.wav,p.png,walk 1\n"))[0]
    assert (row.cluster, row.group) == ("walk 1", "walk 1")


def test_spreadsheets_are_understood(tmp_path: Path) -> None:
    text = '\ufeffsound , picture,label\r\n"a, b.wav", p.png , seven \r\n\r\nc.wav,q.png,eight\r\n'
    rows = read(written(tmp_path, text))
    assert [(row.line, row.files, row.label) for row in rows] == [
        (2, ("a, b.wav", "p.png"), "seven"),
        (4, ("c.wav", "q.png"), "eight"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.txt", "", "ends in .csv or .jsonl, not '.txt'"),
        ("rows.csv", "", "holds no rows"),
        ("rows.csv", "sound,picture\n", "holds no rows"),
        ("rows.csv", "sound,picture\na,b\na,b,c\n", "rows.csv:3: has 3 values, but there are 2 columns"),
        ("rows.csv", 'sound,picture\na,"b\n', "rows.csv:2: not CSV: unexpected end of data"),
        ("rows.csv", "sound,sound\na,b\n", "there are 2 columns 'sound'"),
        ("rows.csv", "sound,,picture\na,b,c\n", "column 2 has no name"),
        ("rows.csv", "sound;picture\na;b\n", "expected commas between them"),
        ("rows.csv", "sound,picture\na,b\0\n", "rows.csv:2: holds a NUL byte"),
        ("rows.csv", b"sound,picture\na,\xe4.png\n", "rows.csv:2: the byte 0xe4 is not UTF-8"),
        ("rows.csv", b"a" * (1 << 21), "rows.csv:1: a line longer than 1048576 bytes"),
        ("rows.csv", "sound,picture\na,\n", "rows.csv:2: no file for 'picture'"),
        ("rows.csv", "sound,pictur\na,b\n", "has no column 'picture'"),
        ("rows.csv", "sound,picture,lable\na,b,c\n", "rows.csv:2: column 'lable' is neither"),
        ("rows.csv", "sound,picture,group\na,b,anna\nc,d,\n", "column 'group' is empty on line 3"),
        ("rows.jsonl", '{"sound": "a"\n', "rows.jsonl:1: not JSON"),
        ("rows.jsonl", "[" * 100_000, "rows.jsonl:1: not JSON"),
        ("rows.jsonl", '\n["a"]\n', "rows.jsonl:2: is not an object"),
        ("rows.jsonl", '{"sound": "a\\u0000", "picture": "b"}\n', "rows.jsonl:1: sound holds a NUL byte"),
        (
            "rows.jsonl",
            '{"sound": "a", "picture": "b", "label": 0.5}\n',
            "label is 0.5: expected text or a whole number",
        ),
        ("rows.jsonl", '{"sound": "a", "picture": "b", "label": true}\n', "label is True"),
    ],
)
def test_damage_is_named(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as problem:
        read(written(tmp_path, text, name))
    assert message in str(problem.value)


def test_misspelt_column_has_a_hint(tmp_path: Path) -> None:
    with pytest.raises(DataError) as problem:
        read(written(tmp_path, "sound,picture,lable\na,b,c\n"))
    assert "did you mean 'label'?" in (problem.value.hint or "")


def test_many_lines_are_not_all_listed(tmp_path: Path) -> None:
    rows = "".join(f"{number}.wav,p.png,{'x' if number == 0 else ''}\n" for number in range(9))
    with pytest.raises(DataError, match=r"is empty on lines 3, 4, 5, 6, 7 and 3 more"):
        read(written(tmp_path, "sound,picture,id\n" + rows))


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read(tmp_path / "none.csv")


def test_columns_of_other_sensors_are_ignored_where_they_may_stand(tmp_path: Path) -> None:
    path = written(tmp_path, "sound,picture,label\na.wav,,x\n./b.wav,p.png,y\n")
    rows = read_rows(path, ["sound"], "sound", others_allowed=True)
    assert [(row.files, row.label, row.id) for row in rows] == [
        (("a.wav",), "x", "2-a.wav"),
        (("./b.wav",), "y", "3-b.wav"),
    ]
    with pytest.raises(DataError, match="column 'picture' is neither"):
        read_rows(path, ["sound"], "sound")


@pytest.mark.parametrize("column", ["lable", "Label", "splits", "clusters"])
def test_misspelt_column_is_not_taken_for_another_sensor(tmp_path: Path, column: str) -> None:
    with pytest.raises(DataError, match=f"column '{column}' is neither"):
        read_rows(written(tmp_path, f"sound,{column}\na,b\n"), ["sound"], "sound", others_allowed=True)


def test_modality_cannot_take_a_known_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'label' cannot be the name of a modality"):
        read_rows(written(tmp_path, "sound,label\na,b\n"), ["sound", "label"], "sound")


cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12).map(str.strip)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=5))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("any")
    table = io.StringIO()
    csv.writer(table, quoting=csv.QUOTE_ALL).writerows([("sound", "label"), *rows])
    lines = "".join(json.dumps({"sound": sound, "label": label}) + "\n" for sound, label in rows)
    expected = [{"sound": sound, "label": label} for sound, label in rows]
    assert [each.values for each in records(written(folder, table.getvalue()))] == expected
    assert [each.values for each in records(written(folder, lines, "rows.jsonl"))] == expected
