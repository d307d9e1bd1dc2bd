"""Recipes from YAML: what is understood, what is refused and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from mstedge.errors import ConfigError, UsageError
from mstedge.recipe import recipe_hash
from mstedge.recipe_data import ManifestData
from mstedge.training.recipe_files import load_recipe, recipe_from_text, recipe_text
from mstedge.training.recipes import built_in_names, built_in_text


@pytest.mark.parametrize("name", built_in_names())
def test_built_in_recipes_are_valid_and_survive_being_written(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe_from_text(recipe_text(recipe), source="again") == recipe
    assert built_in_text(name).startswith("# ")


def test_overrides_reach_every_depth() -> None:
    changed = load_recipe(
        "digits-audio",
        ["stages.distill.epochs=7", "optimiser.learning_rate=1e-3", "teachers.1.taps=[hidden]", "data.snr_db=null"],
    )
    assert changed.stages.distill.epochs == 7
    assert changed.optimiser.learning_rate == 0.001
    assert changed.data.snr_db is None  # type: ignore[union-attr]
    assert recipe_hash(changed) != recipe_hash(load_recipe("digits-audio"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.distil.epochs=7", r"unknown key stages\.distil[\s\S]*did you mean 'distill'"),
        ("stages.distill.epochs=many", r"stages\.distill\.epochs is 'many': expected `int`"),
        ("labels.fraction=0", r"labels: labels\.fraction is 0\.0: expected above 0 and at most 1"),
        ("student.modality=adio", r"student\.modality names the modality 'adio'[\s\S]*did you mean 'audio'"),
        ("stages.distill.top_k=9", r"top_k is 9: there are 3 specialised teachers"),
        ("data.kind=digit", r"data\.kind is 'digit'[\s\S]*did you mean 'digits'"),
        ("modalities.audio.edges=reflet", r"modalities\.audio\.edges is 'reflet'[\s\S]*did you mean 'reflect'"),
        ("modalities.audio.high_hz=9000", r"high_hz is 9000\.0: expected low_hz < high_hz <= rate / 2"),
        ("engine.device=tpu", r"engine\.device is 'tpu'[\s\S]*choose from: auto, cpu, cuda"),
        ("teachers=[]", "teachers is empty"),
        ("name=../../elsewhere", r"name is '\.\./\.\./elsewhere': expected letters, digits"),
        ("teachers.0.name=a|b", r"a teacher's name is 'a\|b': expected letters, digits"),
    ],
)
def test_a_wrong_value_is_named_with_its_place_and_the_way_out(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe("digits-audio", [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages", "'stages': expected key=value"),
        ("=3", "'=3': expected key=value"),
        ("name.first=x", "'name' holds a value, not further keys"),
        ("teachers.9.name=x", "'9' is not a position in a list of 2"),
        ("teachers.one.name=x", "'one' is not a position in a list of 2"),
        ("teachers.7=x", "'7' is not a position in a list of 2"),
    ],
)
def test_an_override_that_has_no_place_is_a_usage_error(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("digits-audio", [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not valid YAML"),
        ("- a list", "expected keys and values, found list"),
        ("name: a\nname: b", "the key 'name' stands twice"),
        ("name: !!python/object:os.system x", "not valid YAML"),
        ("&a [*a]", "expected keys and values"),
        ("name: x", "the document lacks the key 'data'"),
        ("? [a]\n: b", "a key is not a plain word"),
    ],
)
def test_what_is_not_a_recipe_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_from_text(text, source="mine.yaml")


def test_unknown_names_and_huge_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no recipe or file 'digits-adio'[\s\S]*did you mean 'digits-audio'"):
        load_recipe("digits-adio")
    huge = tmp_path / "huge.yaml"
    huge.write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match="has 2097152 bytes: expected at most 1048576"):
        load_recipe(str(huge))


def test_a_manifest_starts_at_the_folder_of_its_recipe(tmp_path: Path) -> None:
    text = recipe_text(load_recipe("digits-audio")).replace("kind: digits", "kind: manifest\n  path: rows.csv")
    text = "\n".join(line for line in text.splitlines() if "partners" not in line and "snr_db" not in line)
    text = text.replace("  - 0.0\n  - 20.0\n", "")
    (tmp_path / "mine.yaml").write_text(text)
    recipe = load_recipe(str(tmp_path / "mine.yaml"))
    assert isinstance(recipe.data, ManifestData)
    assert Path(recipe.data.path) == tmp_path / "rows.csv"
