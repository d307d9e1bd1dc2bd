"""Temperature and threshold fitted on one half of the rows and measured on the other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from bundle_factory import LABELS, make_bundle

from mstedge.errors import DataError, UsageError
from mstedge.manifest import Postprocess, Stream
from mstedge.runtime.labelled_logits import LabelledLogits, logits_of_files, read_rows_with_negatives
from mstedge.runtime.postprocess import answer_from_logits, softmax
from mstedge.runtime.predictor import Predictor, load
from mstedge.runtime.temperature import fitted_temperature, negative_log_likelihood
from mstedge.runtime.tune import halves_of, tune
from mstedge.schema import encode_json
from mstedge.statistics import wilson_interval
from mstedge.tuning import Tuning

if TYPE_CHECKING:
    from mstedge.runtime.labelled_files import LabelledFiles

NEGATIVE = len(LABELS)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(make_bundle(tmp_path_factory.mktemp("tune") / "numbers.bundle", "array", cases=2), threads=1)


@pytest.fixture(scope="module")
def files(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> LabelledFiles:
    """List rows of no interest, for the fields that only say where rows are from."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "rows.csv").write_text("array,label\na.npy,low\n")
    return read_rows_with_negatives(folder / "rows.csv", predictor.manifest)


def made_up(seed: int = 0, rows: int = 400, negatives: int = 0, **changes: Any) -> LabelledLogits:
    """Draw a network that is three times too sure of itself, and rows of no class about which it is less sure."""
    generator = np.random.default_rng(seed)
    known = generator.normal(size=(rows, 3)) * 2
    labels = [generator.choice(3, p=row) for row in softmax(known)]
    logits = np.concatenate([known * 3, generator.normal(size=(negatives, 3))])
    count = rows + negatives
    given = {
        "logits": logits.astype(np.float32),
        "labels": np.array([*labels, *[NEGATIVE] * negatives]),
        "quiet": np.zeros(count, dtype=np.bool_),
        "clusters": tuple(f"recording {row}" for row in range(count)),
        "splits": (None,) * count,
    }
    return LabelledLogits(**{**given, **changes})


def with_rule(predictor: Predictor, **rule: Any) -> Predictor:
    manifest = msgspec.structs.replace(predictor.manifest, postprocess=Postprocess(**rule))
    return dataclasses.replace(predictor, bundle=dataclasses.replace(predictor.bundle, manifest=manifest))


def test_rule_is_fitted_on_one_half_and_figures_are_of_the_other(predictor: Predictor, files: LabelledFiles) -> None:
    given = made_up()
    halves = halves_of(given, predictor.manifest)
    assert set(halves.fitted.clusters).isdisjoint(halves.measured.clusters)
    assert len(halves.fitted) + len(halves.measured) == len(given)
    found = tune(predictor, files, given, false_alarms=0.1)
    assert found.new_rule.temperature == fitted_temperature(halves.fitted.logits, halves.fitted.labels)
    assert found.new_rule.temperature == pytest.approx(3.0, rel=0.3)
    measured = halves.measured
    for rule, figures in ((found.old_rule, found.before), (found.new_rule, found.after)):
        assert figures.nll == negative_log_likelihood(measured.logits, measured.labels, rule.temperature)
        answers = [answer_from_logits(row, LABELS, rule) for row in measured.logits]
        answered = [answer.label != rule.unknown for answer in answers]
        wrong = [answer.index != label for answer, label in zip(answers, measured.labels, strict=True)]
        assert figures.coverage == np.mean(answered)
        assert figures.false_alarms.alarms == sum(map(all, zip(answered, wrong, strict=True)))
        assert figures.false_alarms.rows == len(measured)
    assert found.after.nll < found.before.nll
    assert found.after.ece < found.before.ece
    assert found.accuracy == np.mean(measured.logits.argmax(axis=1) == measured.labels)
    assert found.shown == (found.after.false_alarms.high <= 0.1)
    assert (found.halves, found.alarms_over, found.negatives) == ("clusters", "all", 0)
    assert msgspec.json.decode(encode_json(found), type=Tuning) == found


def test_threshold_is_the_lowest_that_keeps_the_bound_on_the_fitted_rows(
    predictor: Predictor, files: LabelledFiles
) -> None:
    given = made_up()
    fitted = halves_of(given, predictor.manifest).fitted
    rule = tune(predictor, files, given, false_alarms=0.1).new_rule

    def bound(threshold: float) -> float:
        probabilities = softmax(fitted.logits, rule.temperature)
        alarms = (probabilities.max(axis=1) >= threshold) & (probabilities.argmax(axis=1) != fitted.labels)
        return wilson_interval(int(alarms.sum()), len(fitted)).high

    assert bound(rule.threshold) <= 0.1 < bound(rule.threshold - 1e-6)


def test_negatives_decide_where_there_are_some(predictor: Predictor, files: LabelledFiles) -> None:
    found = tune(predictor, files, made_up(negatives=300), false_alarms=0.05)
    assert (found.alarms_over, found.negatives) == ("negatives", 300)
    assert found.before.false_alarms.alarms == found.before.false_alarms.rows == 150
    assert found.after.false_alarms.rate <= 0.1
    without = tune(predictor, files, made_up(), false_alarms=None)
    assert found.before.nll == pytest.approx(without.before.nll, rel=0.2), "negatives have no true class"
    assert found.before.coverage == 1.0


def test_split_decides_the_halves_where_there_is_one(predictor: Predictor, files: LabelledFiles) -> None:
    parts = tuple("validation" if row % 4 else "test" for row in range(400))
    halves = halves_of(made_up(splits=parts), predictor.manifest)
    assert halves.by == "split"
    assert (len(halves.fitted), len(halves.measured)) == (300, 100)
    assert set(halves.fitted.splits) == {"validation"}
    assert tune(predictor, files, made_up(splits=parts)).halves == "split"
    only_test = halves_of(made_up(splits=("test",) * 400), predictor.manifest)
    assert (only_test.by, len(only_test.fitted)) == ("clusters", 200)


def test_halves_share_no_cluster_and_have_as_much_of_each_class(predictor: Predictor) -> None:
    given = made_up(rows=300, negatives=60)
    clusters = tuple(f"{label}-{row // 3}" for row, label in enumerate(given.labels))
    given = made_up(rows=300, negatives=60, clusters=clusters)
    halves = halves_of(given, predictor.manifest)
    assert set(halves.fitted.clusters).isdisjoint(halves.measured.clusters)
    for label in range(4):
        one, other = (
            len({name for name, each in zip(half.clusters, half.labels, strict=True) if each == label})
            for half in (halves.fitted, halves.measured)
        )
        assert abs(one - other) <= 1
    order = np.random.default_rng(0).permutation(len(given))
    shuffled = LabelledLogits(
        given.logits[order],
        given.labels[order],
        given.quiet,
        tuple(given.clusters[row] for row in order),
        given.splits,
    )
    again = halves_of(shuffled, predictor.manifest)
    assert set(again.fitted.clusters) == set(halves.fitted.clusters), "the order of the rows decides nothing"


def test_too_few_rows_are_refused_with_the_number_that_would_do(predictor: Predictor, files: LabelledFiles) -> None:
    with pytest.raises(DataError, match="9 rows of the bundle's classes from 9 recordings are left to fit on"):
        tune(predictor, files, made_up(rows=18))
    with pytest.raises(DataError) as problem:
        tune(predictor, files, made_up(rows=400), false_alarms=0.01)
    assert "200 labelled rows from 200 recordings are left to fit on" in problem.value.message
    assert "at most 0.01: 381 recordings without a single one would" in problem.value.message
    assert "bring 762 of them" in str(problem.value.hint)
    with pytest.raises(DataError, match="20 rows labelled 'unknown' from 20 recordings"):
        tune(predictor, files, made_up(negatives=40), false_alarms=0.05)
    same = tuple(f"speaker {row % 40}" for row in range(400))
    with pytest.raises(DataError, match=r"from 20 recordings .* 73 recordings"):
        tune(predictor, files, made_up(clusters=same), false_alarms=0.05)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 5.0, float("nan")])
def test_rate_that_is_none_is_refused(predictor: Predictor, files: LabelledFiles, rate: float) -> None:
    with pytest.raises(UsageError, match="expected a share between 0 and 1"):
        tune(predictor, files, made_up(), false_alarms=rate)


def test_network_that_is_sure_of_wrong_answers_is_refused(predictor: Predictor, files: LabelledFiles) -> None:
    given = made_up(negatives=200)
    sure = given.logits.copy()
    sure[400:, 0] = 1000
    with pytest.raises(DataError, match=r"no threshold keeps false alarms at 0\.1: 100 of 100 fitted rows"):
        tune(predictor, files, made_up(negatives=200, logits=sure), false_alarms=0.1)


def test_rows_that_are_all_right_keep_the_temperature(predictor: Predictor, files: LabelledFiles) -> None:
    given = made_up()
    right = made_up(labels=given.logits.argmax(axis=1))
    found = tune(with_rule(predictor, temperature=1.7), files, right)
    assert found.new_rule.temperature == 1.7
    assert any("so it is where all of them are right" in note for note in found.notes)


def test_silent_rows_are_no_alarms(predictor: Predictor, files: LabelledFiles) -> None:
    loud = tune(predictor, files, made_up(negatives=200))
    silent = tune(predictor, files, made_up(negatives=200, quiet=np.arange(600) >= 300))
    assert loud.after.false_alarms.alarms == 100
    assert silent.after.false_alarms.alarms == 0
    assert silent.after.coverage == pytest.approx(0.75, abs=0.1)


def test_class_called_unknown_is_no_alarm_and_its_rows_are_negatives(
    predictor: Predictor, files: LabelledFiles
) -> None:
    named = with_rule(predictor, unknown="high")
    found = tune(named, files, made_up())
    measured = halves_of(made_up(), named.manifest).measured
    negative = measured.labels == LABELS.index("high")
    assert found.alarms_over == "negatives"
    assert found.after.false_alarms.rows == negative.sum()
    expected = (measured.logits.argmax(axis=1) != LABELS.index("high")) & negative
    assert found.after.false_alarms.alarms == expected.sum()


def test_threshold_that_stays_and_release_that_cannot_are_said(predictor: Predictor, files: LabelledFiles) -> None:
    strict = with_rule(predictor, threshold=0.99, stream=Stream(release=0.98))
    kept = tune(strict, files, made_up())
    assert (kept.new_rule.threshold, kept.new_rule.stream.release) == (0.99, 0.98)
    assert any("the threshold of 0.99 was kept" in note for note in kept.notes)
    lowered = tune(strict, files, made_up(), false_alarms=0.5)
    assert lowered.new_rule.threshold < 0.98
    assert lowered.new_rule.stream.release is None
    assert any("stream.release was 0.98" in note for note in lowered.notes)


def test_files_are_read_with_negatives_and_without_labels(predictor: Predictor, tmp_path: Path) -> None:
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.full((4, 6), number, np.float32))
    (tmp_path / "broken.npy").write_bytes(b"nothing")
    rows = "0.npy,low\n1.npy,unknown\n2.npy,\nbroken.npy,high\n"
    (tmp_path / "rows.csv").write_text("array,label\n" + rows)
    files = read_rows_with_negatives(tmp_path / "rows.csv", predictor.manifest)
    seen: list[tuple[str, int, int]] = []
    given, failed = logits_of_files(predictor, files, lambda *step: seen.append(step))
    assert given.labels.tolist() == [0, NEGATIVE]
    np.testing.assert_array_equal(given.logits[1], predictor.logits(np.full((4, 6), 1, np.float32)))
    assert [each.id for each in failed] == ["5-broken.npy"]
    assert str(tmp_path) not in failed[0].reason
    assert seen == [("files", done, 3) for done in (1, 2, 3)]
    (tmp_path / "rows.csv").write_text("array,label\n0.npy,unknwon\n")
    with pytest.raises(DataError, match="'unknwon'") as problem:
        read_rows_with_negatives(tmp_path / "rows.csv", predictor.manifest)
    assert "did you mean 'unknown'?" in str(problem.value.hint)
    (tmp_path / "rows.csv").write_text("array,label\n0.npy,\n")
    with pytest.raises(DataError, match="none of 1 rows has a label"):
        read_rows_with_negatives(tmp_path / "rows.csv", predictor.manifest)
