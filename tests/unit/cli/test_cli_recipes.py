"""`mstedge recipes`: the built-in recipes, and the networks with what they take and cost."""

from __future__ import annotations

import pytest

from mstedge.cli import run
from mstedge.schema import decode_json
from mstedge.student_list import StudentList
from mstedge.training.models.registry import NETWORKS, build_network, parameter_count
from mstedge.training.recipes import built_in_names, built_in_text


def shown_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["recipes", *arguments]) == 0
    return capsys.readouterr().out


def test_recipes_are_listed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    listed = shown_by(capsys)
    assert all(name in listed for name in built_in_names())
    assert shown_by(capsys, "digits-audio") == built_in_text("digits-audio").rstrip() + "\n"


def test_every_registered_network_is_listed_with_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    listed = decode_json(shown_by(capsys, "--students", "--json").encode(), StudentList, source="stdout")
    assert {each.network for each in listed.students} == set(NETWORKS)
    assert list(listed.students) == sorted(listed.students, key=lambda each: each.network)
    assert len({(each.network, tuple(each.options.items())) for each in listed.students}) == len(listed.students)
    assert all(each.multiply_adds > 0 for each in listed.students)
    for each in listed.students:
        if each.parameters < 100_000:  # making the large ones takes memory
            network = build_network(each.network, each.inputs, listed.classes, each.options)
            assert each.parameters == parameter_count(network)


def test_the_table_of_networks_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown_by(capsys, "--students").splitlines()
    assert lines[0].split() == ["network", "parameters", "multiply-adds", "at", "takes", "source"]
    (row,) = [line for line in lines if line.startswith("ds-cnn size=S ")]
    assert row.endswith(" arXiv 1711.07128")
    for words in ("23,050", "2.66 M", "1x49x10", "[1, frames, bands]"):
        assert words in row
    assert "for 10 classes" in lines[-2]
    assert "timm:NAME" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["digits-audio", "--students"], "a recipe ('digits-audio') and --students at once"),
        (["--json"], "add --students"),
        (["digits-sound"], "did you mean 'digits-audio'"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["recipes", *arguments]) == 2
    assert says in capsys.readouterr().err
