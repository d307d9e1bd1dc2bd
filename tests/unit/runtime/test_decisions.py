"""Events from hops: laws that hold for every stream, and the rules of docs/bundle.md written a second time."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from decisions_written_again import Hop, WrittenAgain
from hypothesis import given
from hypothesis import strategies as st

from mstedge.manifest import Postprocess, Stream
from mstedge.runtime.decisions import Decisions, Event
from mstedge.runtime.postprocess import Answer, answer_from_logits, softmax

if TYPE_CHECKING:
    from collections.abc import Callable

LABELS = ("a", "b", "c", "unknown")
HOP, CLIP = 100, 400


def hops_of(rows: list[list[float]], levels: list[float | None] | None = None) -> list[Hop]:
    levels = levels or [None] * len(rows)
    return [
        Hop(np.array(row, np.float32), number * HOP, number * HOP + CLIP, level)
        for number, (row, level) in enumerate(zip(rows, levels, strict=True))
    ]


def decided(hops: list[Hop], rule: Postprocess, labels: tuple[str, ...] = LABELS) -> tuple[list[Answer], list[Event]]:
    decisions = Decisions(labels, rule)
    answers, events = [], []
    for hop in hops:
        events += decisions.push(hop.logits, hop.start, hop.end, hop.level)
        assert decisions.answer is not None
        answers.append(decisions.answer)
    return answers, events + decisions.flush()


# A few values only, so that ties, thresholds that are just met and labels that come again are frequent.
LOGIT = st.sampled_from([0.0, 1.0, 2.0, 4.0, 30.0])
ROW = st.one_of(st.sampled_from([[4.0, 0.0, 0.0, 0.0], [0.0] * 4]), st.lists(LOGIT, min_size=4, max_size=4))
STREAM_HOPS = st.lists(st.tuples(ROW, st.sampled_from([None, -60.0, -10.0])), max_size=40).map(
    lambda pairs: hops_of([row for row, _ in pairs], [level for _, level in pairs])
)


@st.composite
def rules(draw: st.DrawFn) -> Postprocess:
    threshold = draw(st.sampled_from([0.0, 0.3, 0.5, 0.9]))
    return Postprocess(
        temperature=draw(st.sampled_from([0.5, 1.0, 3.0])),
        threshold=threshold,
        silence_dbfs=draw(st.sampled_from([None, -30.0])),
        stream=Stream(
            smoothing_hops=draw(st.integers(1, 5)),
            release=draw(st.sampled_from([None, 0.0, threshold / 2])),
            minimum_hops=draw(st.integers(1, 4)),
            refractory_hops=draw(st.integers(0, 6)),
        ),
    )


@given(STREAM_HOPS, st.sampled_from([0.0, 0.4, 0.8]), st.sampled_from([None, -30.0]))
def test_with_all_else_off_each_hop_is_answered_as_if_alone(
    hops: list[Hop], threshold: float, silence: float | None
) -> None:
    rule = Postprocess(threshold=threshold, silence_dbfs=silence)
    answers, events = decided(hops, rule)
    alone = [answer_from_logits(hop.logits, LABELS, rule, hop.level) for hop in hops]
    assert answers == alone
    runs: list[tuple[str, int, int]] = []
    for hop, answer, before in zip(hops, alone, [None, *alone], strict=False):
        if answer.label in {"unknown", "silence"}:
            continue
        if before is not None and before.label == answer.label:
            runs[-1] = (answer.label, runs[-1][1], hop.end)
        else:
            covered = max((end for label, _, end in runs if label == answer.label), default=hop.start)
            runs.append((answer.label, max(hop.start, covered), hop.end))
    assert [(event.label, event.start, event.end) for event in events if event.kind == "end"] == runs


@given(STREAM_HOPS, rules())
def test_rules_written_a_second_time_give_the_same(hops: list[Hop], rule: Postprocess) -> None:
    answers, events = decided(hops, rule)
    expected = WrittenAgain(LABELS, rule, hops)
    assert [(each.label, each.index) for each in answers] == expected.answers
    assert [(each.kind, each.label, each.start, each.end, each.hops) for each in events] == expected.events


@given(STREAM_HOPS, rules())
def test_events_never_overlap_for_one_label_and_only_one_runs(hops: list[Hop], rule: Postprocess) -> None:
    _, events = decided(hops, rule)
    assert [event.kind for event in events] == ["begin", "end"] * (len(events) // 2)
    ends = events[1::2]
    for begin, end in zip(events[::2], ends, strict=True):
        assert (begin.label, begin.start) == (end.label, end.start)
        assert begin.start < begin.end <= end.end
        assert begin.hops <= end.hops
    for label in LABELS:
        own = [event for event in ends if event.label == label]
        assert all(one.end <= other.start for one, other in pairwise(own))
    assert not {event.label for event in events} & {"unknown", "silence"}


@given(STREAM_HOPS, rules())
def test_least_duration_and_refractory_time_hold(hops: list[Hop], rule: Postprocess) -> None:
    decisions = Decisions(LABELS, rule)
    running: list[str | None] = []
    for number, hop in enumerate(hops):
        for event in decisions.push(hop.logits, hop.start, hop.end, hop.level):
            if event.kind == "end":
                assert event.hops >= rule.stream.minimum_hops
                continue
            assert event.hops == rule.stream.minimum_hops
            first = number - rule.stream.minimum_hops + 1
            held = [earlier for earlier, label in enumerate(running) if label == event.label]
            assert not held or first - held[-1] - 1 >= rule.stream.refractory_hops
            assert hops[first].start <= event.start < hops[first].end
        running.append(decisions.running)


@given(STREAM_HOPS, rules(), st.integers(-(10**12), 10**12))
def test_only_order_matters_not_where_the_counter_stands(hops: list[Hop], rule: Postprocess, offset: int) -> None:
    moved = [Hop(hop.logits, hop.start + offset, hop.end + offset, hop.level) for hop in hops]
    answers, events = decided(hops, rule)
    answers_moved, events_moved = decided(moved, rule)
    assert answers_moved == answers
    assert [(event.start - offset, event.end - offset) for event in events_moved] == [
        (event.start, event.end) for event in events
    ]


@given(STREAM_HOPS, STREAM_HOPS, rules(), st.sampled_from([Decisions.flush, Decisions.reset]))
def test_nothing_is_left_of_a_stream_that_ended(
    before: list[Hop], hops: list[Hop], rule: Postprocess, end: Callable[[Decisions], object]
) -> None:
    decisions = Decisions(LABELS, rule)
    for hop in before:
        decisions.push(hop.logits, hop.start, hop.end, hop.level)
    end(decisions)
    assert (decisions.answer, decisions.running) == (None, None)
    events = [event for hop in hops for event in decisions.push(hop.logits, hop.start, hop.end, hop.level)]
    assert events + decisions.flush() == decided(hops, rule)[1]


def test_probabilities_of_an_event_are_the_smoothed_ones() -> None:
    rows = [[2.0, 0, 0, 0], [0, 0, 0, 0], [4.0, 0, 0, 0], [0, 9.0, 0, 0]]
    rule = Postprocess(threshold=0.3, stream=Stream(smoothing_hops=2))
    _, events = decided(hops_of(rows), rule)
    single = [softmax(np.array(row, np.float32))[0] for row in rows]
    smoothed = [single[0], (single[0] + single[1]) / 2, (single[1] + single[2]) / 2]
    first = events[1]
    assert (first.label, first.hops, first.start, first.end) == ("a", 3, 0, 2 * HOP + CLIP)
    assert first.peak_probability == pytest.approx(max(smoothed), rel=1e-12)
    assert first.mean_probability == pytest.approx(sum(smoothed) / 3, rel=1e-12)


def test_hysteresis_keeps_a_label_that_hovers_about_the_threshold() -> None:
    sure, half, gone = [3.0, 0, 0, 0], [1.0, 0, 0, 0], [0.0, 0, 0, 0]
    rows = [sure, half, sure, half, gone, sure]
    assert softmax(np.array(half, np.float32))[0] == pytest.approx(0.475, abs=1e-3)

    def count(release: float | None) -> int:
        return len(decided(hops_of(rows), Postprocess(threshold=0.6, stream=Stream(release=release)))[1]) // 2

    assert count(None) == 3
    assert count(0.4) == 2
    assert count(0.2) == 1


def test_release_is_where_a_label_still_holds() -> None:
    sure, exact = np.array([3.0, 0, 0, 0], np.float32), np.array([1.0, 0, 0, 0], np.float32)
    release = float(softmax(exact)[0])

    def kinds(level: float) -> list[str]:
        decisions = Decisions(LABELS, Postprocess(threshold=0.6, stream=Stream(release=level)))
        events = [*decisions.push(sure, 0, 4), *decisions.push(exact, 1, 5)]
        return [event.kind for event in events]

    assert kinds(release) == ["begin"]
    assert kinds(float(np.nextafter(release, 1))) == ["begin", "end"]


@pytest.mark.parametrize("refractory", [0, 1, 2, 5])
def test_refractory_time_is_counted_from_the_last_hop_that_held(refractory: int) -> None:
    sure, nothing = [9.0, 0, 0, 0], [0.0, 0, 0, 0]
    rule = Postprocess(threshold=0.6, stream=Stream(minimum_hops=2, refractory_hops=refractory))
    _, events = decided(hops_of([sure, sure, sure, nothing, *[sure] * 10]), rule)
    again = max(4, 3 + refractory)
    assert [(event.kind, event.start, event.end, event.hops) for event in events[1:3]] == [
        ("end", 0, 2 * HOP + CLIP, 3),
        ("begin", max(again * HOP, 2 * HOP + CLIP), (again + 1) * HOP + CLIP, 2),
    ]


def test_silence_ends_an_event_and_forgets_what_was_smoothed() -> None:
    rule = Postprocess(silence_dbfs=-30, threshold=0.5, stream=Stream(smoothing_hops=4))
    hops = hops_of([[9.0, 0, 0, 0]] * 3 + [[9.0, 0, 0, 0], [0, 9.0, 0, 0]], [-10, -10, -10, -90, -10])
    answers, events = decided(hops, rule)
    assert [answer.label for answer in answers] == ["a", "a", "a", "silence", "b"]
    assert [(event.kind, event.label, event.end) for event in events] == [
        *(("begin", "a", CLIP), ("end", "a", 2 * HOP + CLIP)),
        *(("begin", "b", 4 * HOP + CLIP), ("end", "b", 4 * HOP + CLIP)),
    ]


def test_silence_interrupts_a_label_that_leads() -> None:
    rule = Postprocess(silence_dbfs=-30, threshold=0.5, stream=Stream(minimum_hops=2))
    rows = [[9.0, 0, 0, 0]] * 4
    assert [event.hops for event in decided(hops_of(rows, [-10, -90, -10, -10]), rule)[1]] == [2, 2]
    assert decided(hops_of(rows, [-10, -90, -10, -90]), rule)[1] == []


def test_newest_logits_decide_between_equals_then_the_order_of_labels() -> None:
    rule = Postprocess(stream=Stream(smoothing_hops=2))
    answers, _ = decided(hops_of([[2.0, 0, 0, 0], [0, 2.0, 0, 0], [2.0, 0, 0, 0]]), rule)
    assert [answer.label for answer in answers] == ["a", "b", "a"]
    assert answers[1].probabilities[0] == answers[1].probabilities[1]
    close = hops_of([[0.0, 1e-30, 0, 0], [1.0, 1.0, 0, 0]])
    assert [answer.label for answer in decided(close, Postprocess(temperature=10))[0]] == ["b", "a"]


def test_hops_come_in_order() -> None:
    decisions = Decisions(LABELS, Postprocess())
    logits = np.zeros(4, np.float32)
    decisions.push(logits, 0, 400)
    for start, end in ((0, 500), (-1, 500), (100, 400), (600, 600)):
        with pytest.raises(ValueError, match=f"the clip {start} to {end} came after 0 to 400"):
            decisions.push(logits, start, end)
    assert [event.kind for event in decisions.flush()] == ["end"]


def test_work_per_hop_does_not_grow() -> None:
    decisions = Decisions(LABELS, Postprocess(threshold=0.5, stream=Stream(smoothing_hops=7, minimum_hops=2)))
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(3000, 4)) * 4).astype(np.float32)
    calls: list[int] = []
    for number, row in enumerate(rows):
        count = 0

        def counted(*_: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(counted)
        decisions.push(row, number * HOP, number * HOP + CLIP)
        sys.setprofile(None)
        calls.append(count)
    assert max(calls[2000:]) <= max(calls[100:1100])
