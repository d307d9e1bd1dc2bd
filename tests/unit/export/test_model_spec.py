"""What is said about a model from elsewhere: what is understood, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from mstedge.errors import ConfigError
from mstedge.export.from_onnx import model_spec_from_file


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["low"]}, "labels are ['low']: expected at least two classes"),
        ({"labels": ["low", "low"]}, "labels holds 'low' twice"),
        ({"labels": ["low", False]}, "labels.1 is False"),
        ({"modality": "split"}, "modality is 'split'"),
        ({"modality": "logits"}, "modality is 'logits'"),
        ({"name": "../walks"}, "name is '../walks'"),
        ({"front_end": {"kind": "array", "shape": [4, 6], "scalling": None}}, "unknown key front_end.scalling"),
        ({"front_end": {"kind": "arrray", "shape": [4, 6]}}, "'arrray'"),
        ({"fronted": {}}, "unknown key fronted"),
    ],
)
def test_description_that_says_nonsense(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    spec = {
        "name": "walks",
        "modality": "inertia",
        "labels": ["low", "high"],
        "front_end": {"kind": "array", "shape": [6]},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump({**spec, **changes}))
    with pytest.raises(ConfigError) as problem:
        model_spec_from_file(tmp_path / "spec.yaml")
    assert message in str(problem.value)


def test_documented_description_is_one(tmp_path: Path, checkout: Path) -> None:
    page = (checkout / "docs/own-model.md").read_text(encoding="utf-8")
    example = re.search(r"^    schema: mstedge.model/1\n(    .*\n)+", page, flags=re.MULTILINE)
    assert example is not None
    (tmp_path / "door.yaml").write_text(dedent(example[0]))
    spec = model_spec_from_file(tmp_path / "door.yaml")
    assert spec.labels == ("closed", "open", "no")
    assert spec.front_end.feature_shape == (1, 101, 40)
    keys = set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
    assert keys == set(type(spec).__struct_fields__) - {"schema"}
