"""Where answers go: table, JSON lines, CSV, a function."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from mstedge.errors import ConfigError
from mstedge.prediction import Prediction, StageTimes
from mstedge.runtime.sinks.rows import CsvSink, JsonLinesSink
from mstedge.runtime.sinks.sink_types import CallbackSink, Sink
from mstedge.runtime.sinks.table import TableSink, second_best

LABELS = ("yes", "no", 'a, "quoted" label')


def answer(index: int = 0, **changes: Any) -> Prediction:
    probabilities = [0.1, 0.1, 0.1]
    probabilities[index], probabilities[(index + 1) % 3] = 0.7, 0.2
    values: dict[str, Any] = {
        "source": "rooms/kitchen.wav",
        "label": LABELS[index],
        "index": index,
        "probability": 0.7,
        "probabilities": tuple(probabilities),
        "times": StageTimes(decode_ms=1.0, features_ms=2.0, engine_ms=3.25, after_ms=0.5),
        **changes,
    }
    return Prediction(**values)


class Flushed(io.StringIO):
    """Knows how much of it a reader of the pipe could see."""

    seen = 0

    def flush(self) -> None:
        self.seen = self.tell()


def everything(stream: Flushed) -> str:
    assert stream.seen == stream.tell(), "something waits for the next answer"
    return stream.getvalue()


def test_json_lines_are_whole_documents_at_once() -> None:
    stream = Flushed()
    sink = JsonLinesSink(stream)
    for count in (1, 2):
        sink.write(answer(2, start_seconds=0.25, source="line\nbreak"))
        lines = everything(stream).splitlines()
        assert len(lines) == count
    document = json.loads(lines[1])
    assert document["schema"] == "mstedge.prediction/1"
    assert (document["source"], document["label"], document["start_seconds"]) == ("line\nbreak", LABELS[2], 0.25)


def test_csv_has_its_header_once_and_reads_back() -> None:
    stream = Flushed(newline="")
    sink = CsvSink(stream, labels=LABELS)
    sink.write(answer(2, start_seconds=0.5, end_seconds=1.5))
    sink.write(answer(1, source="b\nc.wav"))
    first, second = csv.DictReader(io.StringIO(everything(stream), newline=""))
    assert (first["label"], first["index"], first["total_ms"]) == (LABELS[2], "2", "6.75")
    assert (first["start_seconds"], first["end_seconds"]) == ("0.5", "1.5")
    assert (second["source"], second["start_seconds"]) == ("b\nc.wav", "")
    assert [float(first[f"probability of {label}"]) for label in LABELS] == list(answer(2).probabilities)


def test_csv_without_labels_has_no_columns_for_them_and_a_header_without_answers() -> None:
    stream = Flushed()
    CsvSink(stream).close()
    assert everything(stream) == "source,label,index,probability,start_seconds,end_seconds,total_ms\n"


def test_csv_refuses_an_answer_of_another_network() -> None:
    with pytest.raises(ConfigError, match="3 probabilities: expected 2"):
        CsvSink(io.StringIO(), labels=("yes", "no")).write(answer())


def test_a_function_gets_every_answer_and_its_error_is_not_swallowed() -> None:
    found: list[Prediction] = []
    sink: Sink = CallbackSink(found.append)
    sink.write(answer(0))
    sink.write(answer(1))
    sink.close()
    assert [each.index for each in found] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        CallbackSink(lambda _: 1 // 0).write(answer())


def columns_of(text: str) -> list[tuple[int, int]]:
    """Where columns begin and end, by the line below the header."""
    rule = text.splitlines()[1]
    starts = [at for at, sign in enumerate(rule) if sign == "─" and (at == 0 or rule[at - 1] == " ")]
    return [(start, start + len(rule[start:].split(" ")[0])) for start in starts]


@pytest.mark.parametrize("place", ["source", "seconds", "both"])
def test_lines_come_one_by_one_and_stay_aligned(place: Any) -> None:
    stream = Flushed()
    sink = TableSink(
        stream, labels=LABELS, other_labels=("not sure at all, by far",), sources=["rooms/kitchen.wav"], place=place
    )
    sink.write(answer(0, start_seconds=0.0, end_seconds=1.0))
    assert len(everything(stream).splitlines()) == 3
    sink.write(answer(2, label="not sure at all, by far", start_seconds=86399.75, end_seconds=86400.75))
    sink.close()
    text = everything(stream)
    title, _, first, last = text.splitlines()
    columns = columns_of(text)
    cells = [[line[start:end].strip() for start, end in columns] for line in (title, first, last)]
    between = [line[end : end + 2] for line in (title, first, last) for _, end in columns[:-1]]
    assert set(between) <= {"  "}
    kitchen = {"source": "rooms/kitchen.wav"}
    seconds = {"from s": "86399.75", "to s": "86400.75"}
    expected = {
        **(kitchen if place != "seconds" else {}),
        **(seconds if place != "source" else {}),
        "label": "not sure at all, by far",
        "probability": "0.7000",
        "second best": 'a, "quoted" label 0.7000',
        "ms": "6.8",
    }
    assert dict(zip(cells[0], cells[2], strict=True)) == expected
    assert dict(zip(cells[0], cells[1], strict=True))["second best"] == "no 0.2000"


def test_names_cannot_speak_to_the_terminal_nor_break_the_lines() -> None:
    stream = Flushed()
    sink = TableSink(stream, labels=LABELS, sources=["a" * 200])
    sink.write(answer(0, source="\x1b[31m\nred" + "x" * 100))
    line = everything(stream).splitlines()[2]
    assert line.startswith("\\x1b[31m\\nred")
    assert line.index("  ") == 60
    assert "…" in line


def test_no_answers_make_no_header() -> None:
    stream = Flushed()
    TableSink(stream, labels=LABELS).close()
    assert not everything(stream)


def test_second_best_of_one_class_is_none() -> None:
    only = answer(0, probabilities=(1.0,), label="yes")
    assert second_best(only, ("yes",)) == "-"
    assert second_best(answer(0, probabilities=(1.0,), label="unknown"), ("yes",)) == "yes 1.0000"
