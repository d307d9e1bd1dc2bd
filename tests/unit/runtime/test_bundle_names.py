"""Names inside a bundle: plain relative ones, no two that a file system could take for one."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mstedge.errors import BundleError
from mstedge.runtime.bundle.paths import MAX_PATH_BYTES, check_collisions, check_name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("/etc/passwd", "is an absolute path"),
        ("../model.onnx", "leaves the folder"),
        ("golden/../../x", "leaves the folder"),
        ("..", "leaves the folder"),
        ("", "has an empty part"),
        ("golden//x", "has an empty part"),
        ("golden/", "has an empty part"),
        ("./x", "has an empty part"),
        ("a\\b", "holds a backslash"),
        ("C:\\x", "holds a backslash"),
        ("a\0b", "control or invisible"),
        ("a\nb", "control or invisible"),
        ("a\x7fb", "control or invisible"),
        ("a\u202eb", "control or invisible"),
        ("a\u200bb", "control or invisible"),
        ("a\u2028b", "control or invisible"),
        ("a\ud800b", "control or invisible"),
        ("-", "starts with a dash"),
        ("--help", "starts with a dash"),
        ("a/b/c/d/e/f/g", "has more than 6 parts"),
        ("ä" * 121, "is longer than 240 bytes"),
    ],
)
def test_a_name_that_no_bundle_holds_is_refused(name: str, problem: str):
    with pytest.raises(BundleError) as caught:
        check_name(name, source="SHA256SUMS, line 3")
    assert caught.value.message.startswith("SHA256SUMS, line 3: ")
    assert problem in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "name", ["model.onnx", "golden/raw/case 1 (a).wav", "golden/raw/größe.png", "..a", "a..", "数字.npy", ".hidden"]
)
def test_ordinary_names_pass(name: str):
    check_name(name, source="here")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("model.onnx", "MODEL.onnx"),
        ("golden/x", "Golden/y"),
        ("caf\u00e9", "cafe\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("\ufb01le", "file"),
        ("\u212bngstrom", "\u00e5ngstrom"),
    ],
)
def test_names_that_some_systems_take_for_one_collide(one: str, other: str):
    with pytest.raises(BundleError, match="are one file on some systems"):
        check_collisions([one, other], source="here")


def test_names_that_differ_do_not_collide():
    check_collisions(["golden/a", "golden/b", "a", "b", "golden/a.b"], source="here")


@settings(deadline=None)
@given(st.text(max_size=300))
def test_a_name_that_passes_stays_inside_and_prints(name: str):
    try:
        check_name(name, source="here")
    except BundleError:
        return
    assert not name.startswith(("/", "-"))
    assert not {"", ".", ".."} & set(name.split("/"))
    assert not any(unicodedata.category(character)[0] == "C" for character in name)
    assert len(name.encode()) <= MAX_PATH_BYTES


@settings(deadline=None)
@given(st.text(alphabet="aAäÄß\u017fK\u212a\u0308\u0301ﬁfi", min_size=1, max_size=6))
def test_every_spelling_of_a_name_collides_with_it(name: str):
    for form in ("NFC", "NFD"):
        for other in (unicodedata.normalize(form, name), name.upper(), name.lower()):
            if other != name:
                with pytest.raises(BundleError):
                    check_collisions([name, other], source="here")
