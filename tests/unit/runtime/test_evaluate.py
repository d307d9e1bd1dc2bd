"""Answers held against labels: the figures, what broken files do, and what counts as one unit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from bundle_factory import LABELS, change_manifest, make_bundle
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from mstedge.errors import DataError
from mstedge.evaluation import Evaluation
from mstedge.runtime.evaluate import LabelledAnswers, evaluate, score_of
from mstedge.runtime.labelled_files import read_labelled
from mstedge.runtime.predictor import Predictor, load
from mstedge.schema import encode_json
from mstedge.statistics import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(make_bundle(tmp_path_factory.mktemp("evaluate") / "tones", "audio", cases=6), threads=1)


def answered(predictor: Predictor) -> list[str]:
    return [predictor.predict(path).label for path in inputs(predictor)]


def inputs(predictor: Predictor) -> list[Path]:
    return sorted((predictor.bundle.folder / "golden/raw").iterdir())


def manifest(tmp_path: Path, predictor: Predictor, labels: Sequence[str], clusters: Sequence[str] = ()) -> Path:
    clusters = clusters or [str(path) for path in inputs(predictor)]
    rows = zip(inputs(predictor), labels, clusters, strict=True)
    path = tmp_path / "rows.csv"
    path.write_text("audio,label,cluster\n" + "".join(f"{file},{label},{unit}\n" for file, label, unit in rows))
    return path


def given_answers(labels: Sequence[int], answers: Sequence[int], clusters: Sequence[str] = ()) -> LabelledAnswers:
    return LabelledAnswers(
        labels=np.array(labels),
        answers=np.array(answers),
        probabilities=np.eye(3)[np.array(answers)],
        clusters=tuple(clusters) or tuple(map(str, range(len(labels)))),
    )


def test_right_and_wrong_answers_are_counted(tmp_path: Path, predictor: Predictor) -> None:
    labels = answered(predictor)
    wrong = LABELS[(LABELS.index(labels[0]) + 1) % 3]
    files = read_labelled(manifest(tmp_path, predictor, [wrong, *labels[1:]]), predictor.manifest)
    seen: list[tuple[str, int, int]] = []
    found = evaluate(predictor, files, lambda *step: seen.append(step))
    assert found.score is not None
    assert found.score.accuracy == 5 / 6
    assert found.score.confusion[LABELS.index(wrong)][LABELS.index(labels[0])] >= 1
    assert (found.rows, found.answered, found.labelled, found.clusters, found.failed) == (6, 6, 6, 6, ())
    assert found.model_sha256 == predictor.bundle.digests["model.onnx"]
    assert (found.backend, found.threads) == (predictor.session.backend, 1)
    assert found.mean_seconds is not None
    assert 0 < found.mean_seconds < 5
    assert seen == [("files", row, 6) for row in range(1, 7)]
    assert msgspec.json.decode(encode_json(found), type=Evaluation) == found


def test_files_that_cannot_be_used_are_listed_and_the_others_go_on(tmp_path: Path, predictor: Predictor) -> None:
    labels = answered(predictor)
    path = manifest(tmp_path, predictor, labels)
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    with path.open("a") as stream:
        stream.write("broken.wav,low,x\nmissing.wav,low,y\n")
    found = evaluate(predictor, read_labelled(path, predictor.manifest))
    assert [each.id for each in found.failed] == ["8-broken.wav", "9-missing.wav"]
    assert "missing.wav: cannot be read: No such file or directory" in found.failed[1].reason
    assert all(str(tmp_path) not in each.reason for each in found.failed)
    assert (found.rows, found.answered, found.labelled) == (8, 6, 6)
    assert found.score is not None
    assert found.score.accuracy == 1.0


def test_only_broken_files_give_no_figures(tmp_path: Path, predictor: Predictor) -> None:
    (tmp_path / "low").mkdir()
    (tmp_path / "low/a.wav").write_bytes(b"no sound")
    found = evaluate(predictor, read_labelled(tmp_path, predictor.manifest))
    assert (found.score, found.mean_seconds, found.answered, len(found.failed)) == (None, None, 0, 1)
    assert found.unknown_share == 0


def test_unlabelled_rows_are_answered_but_not_scored(tmp_path: Path, predictor: Predictor) -> None:
    labels = answered(predictor)
    files = read_labelled(manifest(tmp_path, predictor, ["", "", *labels[2:]]), predictor.manifest)
    found = evaluate(predictor, files)
    assert (found.answered, found.labelled, found.clusters) == (6, 4, 4)
    assert found.score is not None
    assert sum(map(sum, found.score.confusion)) == 4


def test_no_label_at_all_is_refused_before_anything_runs(tmp_path: Path, predictor: Predictor) -> None:
    files = read_labelled(manifest(tmp_path, predictor, [""] * 6), predictor.manifest)
    with pytest.raises(DataError, match="none of 6 rows has a label"):
        evaluate(predictor, files, lambda *_: pytest.fail("ran"))


def test_unknown_is_counted_beside_the_class_behind_it(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "strict", "array", cases=4)
    rows = "".join(f"{bundle}/golden/raw/case-{number}.npy,low\n" for number in range(4))
    (tmp_path / "rows.csv").write_text("array,label\n" + rows)
    before = load(bundle)
    lenient = evaluate(before, read_labelled(tmp_path / "rows.csv", before.manifest))
    change_manifest(bundle, postprocess={"threshold": 1.0})
    after = load(bundle)
    strict = evaluate(after, read_labelled(tmp_path / "rows.csv", after.manifest))
    assert (lenient.unknown_share, strict.unknown_share) == (0.0, 1.0)
    assert lenient.score == strict.score


def test_rows_that_may_be_training_rows_are_counted(tmp_path: Path, predictor: Predictor) -> None:
    known = list(predictor.bundle.parity_rows().ids)
    path = tmp_path / "rows.csv"
    ids = [*known[:2], "another", "and another"]
    lines = [f"{file},low,{name}" for file, name in zip(inputs(predictor), ids, strict=False)]
    path.write_text("\n".join(["audio,label,id", *lines]) + "\n")
    assert evaluate(predictor, read_labelled(path, predictor.manifest)).perhaps_learnt == 2
    path.write_text("\n".join(["audio,label,id,split", *(f"{line},test" for line in lines)]) + "\n")
    assert evaluate(predictor, read_labelled(path, predictor.manifest)).perhaps_learnt == 0
    path.write_text("\n".join(["audio,label,id", *lines[2:]]) + "\n")
    assert evaluate(predictor, read_labelled(path, predictor.manifest)).perhaps_learnt == 0, "these are other data"


def test_interval_counts_clusters_not_rows() -> None:
    score = score_of(given_answers([0, 0, 0, 1], [0, 0, 1, 1], ["a", "a", "b", "c"]), LABELS)
    assert score.accuracy == 0.75
    assert (score.low, score.high) == wilson_interval(0.75 * 3, 3)
    first = score.classes[0]
    assert (first.low, first.high) == wilson_interval(2 / 3 * 2, 2)


def test_class_without_rows_has_no_recall() -> None:
    score = score_of(given_answers([0, 1], [2, 1]), LABELS)
    empty = score.classes[2]
    assert (empty.rows, empty.answered, empty.recall, empty.f1, empty.low) == (0, 1, None, None, None)
    assert empty.precision == 0.0
    assert score.classes[0].precision is None
    assert score.balanced_accuracy == 0.5


pairs = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40)


@given(pairs)
def test_figures_are_those_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    truth, answers = (list(column) for column in zip(*rows, strict=True))
    score = score_of(given_answers(truth, answers), LABELS)
    present = sorted(set(truth))
    expected = metrics.f1_score(truth, answers, labels=present, average="macro", zero_division=0)
    recalls = metrics.recall_score(truth, answers, labels=present, average=None, zero_division=0)
    assert score.macro_f1 == pytest.approx(expected)
    assert score.balanced_accuracy == pytest.approx(float(np.mean(recalls)))
    assert score.ece == pytest.approx(1 - score.accuracy), "every answer was given with probability 1"
    assert score.accuracy == pytest.approx(metrics.accuracy_score(truth, answers))
    assert score.confusion == tuple(map(tuple, metrics.confusion_matrix(truth, answers, labels=[0, 1, 2]).tolist()))
    for label in present:
        precision = metrics.precision_score(truth, answers, labels=[label], average=None, zero_division=0)[0]
        assert (score.classes[label].precision or 0.0) == pytest.approx(precision)
