"""Decoding with errors that carry the file, the key, the value and the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mstedge.errors import BundleError, ConfigError
from mstedge.schema import Record, convert, decode_json, encode_json, read_json


class Circle(Record, frozen=True, kw_only=True, tag_field="kind", tag="circle"):
    radius: float


class Square(Record, frozen=True, kw_only=True, tag_field="kind", tag="square"):
    side: float


class Drawing(Record, frozen=True, kw_only=True):
    title: str
    shapes: dict[str, Circle | Square]
    order: list[Circle | Square] = []
    colour: Literal["red", "green"] = "red"
    limits: tuple[int, int] | None = None


GOOD = {"title": "t", "shapes": {"a": {"kind": "circle", "radius": 1.0}}}


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"titel": 1}, "d.json: unknown key titel", "did you mean 'title'?"),
        ({"title": 3}, "d.json: title is 3: expected `str`, got `int`", None),
        ({"colour": "gren"}, "d.json: colour is 'gren'", "did you mean 'green'? choose from: green, red"),
        ({"shapes": {"a": {"kind": "circle"}}}, "d.json: shapes.a lacks the key 'radius'", None),
        (
            {"shapes": {"a": {"kind": "cirle", "radius": 1}}},
            "d.json: shapes.a.kind is 'cirle'",
            "did you mean 'circle'?",
        ),
        (
            {"shapes": {"ok": {"kind": "square", "side": 1}, "bad": {"kind": "square", "sid": 1}}},
            "d.json: unknown key shapes.bad.sid",
            "did you mean 'side'?",
        ),
        ({"order": [{"kind": "square", "side": "wide"}]}, "d.json: order.0.side is 'wide': expected `float`", None),
        ({"limits": [1]}, "d.json: limits: expected `array` of length 2", None),
        ({"title": "x" * 500, "colour": "y" * 500}, "d.json: colour is 'yyyy", "choose from: green, red"),
    ],
)
def test_errors_name_place_value_and_way_out(change: dict[str, object], message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        convert(GOOD | change, Drawing, source="d.json")
    assert caught.value.message.startswith(message)
    assert len(caught.value.message) < 200
    assert (caught.value.hint or "").startswith(hint or "")


def test_a_missing_key_of_the_document_is_named() -> None:
    with pytest.raises(ConfigError, match=r"d\.json: the document lacks the key 'title'"):
        convert({}, Drawing, source="d.json")


def test_the_error_class_is_the_callers() -> None:
    with pytest.raises(BundleError, match=r"x: not a JSON document"):
        decode_json(b"{", Drawing, source="x", error=BundleError)
    with pytest.raises(BundleError, match="x: unknown key more"):
        decode_json(encode_json(GOOD | {"more": 1}), Drawing, source="x", error=BundleError)


def test_files_are_read_or_named(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    with pytest.raises(ConfigError, match=r"d\.json: cannot be read: No such file"):
        read_json(path, Drawing)
    path.write_bytes(encode_json(GOOD))
    assert read_json(path, Drawing).title == "t"
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(ConfigError, match="not a JSON document"):
        read_json(path, Drawing)


@given(st.binary(max_size=60))
def test_bytes_from_anywhere_give_our_error_or_a_value(text: bytes) -> None:
    try:
        decode_json(text, Drawing, source="fuzz")
    except ConfigError as problem:
        assert problem.message.startswith("fuzz: ")  # noqa: PT017  both ways out are right


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["title", "shapes", "kind", "x"]), inner)
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # nested values take their time to draw
@given(st.dictionaries(st.sampled_from(["title", "shapes", "order", "colour", "limits", "q"]), json_values))
def test_values_of_any_shape_give_our_error_or_a_value(value: dict[str, object]) -> None:
    try:
        convert(value, Drawing, source="fuzz")
    except ConfigError as problem:
        assert problem.message.startswith("fuzz: ")  # noqa: PT017  both ways out are right
