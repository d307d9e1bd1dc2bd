"""Who taught the student and who agrees with whom: sections of a run's page, in charts and in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mstedge.report.formats import ABSENT, percent
from mstedge.report.learning_sections import chosen_epoch, section
from mstedge.report.metrics import curves_of
from mstedge.report.monitor_plots import epoch_chart, share_chart
from mstedge.report.plots import Guides, matrix_chart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mstedge.report.learning_sections import Section
    from mstedge.report.metrics import Epoch
    from mstedge.report.svg import Chart


def routing_section(epochs: Sequence[Epoch]) -> Section | None:
    """Show stage 3's routing: what each teacher counted, how even that was, and whether it collapsed."""
    routed = [epoch for epoch in epochs if epoch.routing]
    names = _teachers(epochs)
    alarms = _stretches([epoch.epoch + 1 for epoch in epochs if epoch.alarm])
    shares = {name: [(epoch.routing or {}).get(name) or 0.0 for epoch in routed] for name in names}
    bar = " The bar above marks epochs with an alarm." if alarms else ""
    even = " Dashed: where the borders would lie if all taught alike." if len(names) > 1 else ""
    charts = (
        share_chart(
            "Routing shares",
            [float(epoch.epoch + 1) for epoch in routed],
            shares,
            spans=alarms,
            caption=f"How much of the teaching came from each specialised teacher, stacked from below.{even}{bar}",
        ),
        _entropy_chart(epochs, len(names), alarms, bar) if len(names) > 1 else None,
    )
    return section(
        "Who taught",
        "Stage 3: for each row the router chooses which of the specialised teachers the student listens to.",
        charts,
        _routing_findings(routed, names, alarmed=bool(alarms)),
        _alarm(epochs, alarms),
    )


def _entropy_chart(
    epochs: Sequence[Epoch], teachers: int, alarms: Sequence[tuple[float, float]], bar: str
) -> Chart | None:
    even = math.log(teachers)
    meaning = f"0 would mean that always the same taught, log {teachers} = {even:.2f} that all counted alike."
    return epoch_chart(
        "Routing entropy",
        curves_of(epochs, {"routing_entropy": "entropy of the shares"}),
        y_label="nats",
        guides=Guides(level=(even, f"log {teachers}"), spans=alarms, bottom=0.0),
        caption=f"{meaning}{bar}",
    )


def _routing_findings(routed: Sequence[Epoch], names: Sequence[str], *, alarmed: bool) -> tuple[str, ...]:
    if not routed:
        return ()
    if len(names) == 1:
        return (f"There is one teacher alone, {names[0]}: nothing was to be chosen.",)
    last = {name: (routed[-1].routing or {}).get(name) or 0.0 for name in names}
    most, least = max(last, key=last.__getitem__), min(last, key=last.__getitem__)
    when = f"In epoch {routed[-1].epoch + 1}, the last,"
    if math.isclose(last[most], last[least], rel_tol=1e-6):
        said = f"{when} all {len(names)} teachers counted alike."
    else:
        said = (
            f"{when} {most} had most of the teaching, {percent(last[most])}, and {least} least, {percent(last[least])}"
        )
        said += f"; even would be {percent(1 / len(names))} each."
    return (said, "" if alarmed else "The alarm on a collapse of the router was not raised.")


def _alarm(epochs: Sequence[Epoch], stretches: Sequence[tuple[float, float]]) -> str:
    """Say when the router collapsed and who was left."""
    if not stretches:
        return ""
    alarmed = [epoch for epoch in epochs if epoch.alarm]
    when = ", ".join(f"{first:g}" if first == last else f"{first:g} to {last:g}" for first, last in stretches)
    left = " and ".join(f"{name} ({percent(share)})" for name, share in (alarmed[-1].alarm or {}).items())
    return (
        f"The router collapsed: alarm in {len(alarmed)} of {len(epochs)} epochs ({when}). In epoch "
        f"{alarmed[-1].epoch + 1} nearly everything came from {left}; other teachers taught next to nothing. A larger "
        "stages.distill.balance_weight pushes against it."
    )


def _stretches(numbers: Sequence[int]) -> list[tuple[float, float]]:
    """Join numbers that follow each other to (first, last)."""
    found: list[tuple[float, float]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def agreement_section(epochs: Sequence[Epoch]) -> Section | None:
    """Show how often teachers answer alike, and how often the student answers as each of them does."""
    pairs = _pairs(epochs)
    names = _teachers(epochs)
    charts = (
        _agreement_matrix(pairs, names),
        epoch_chart(
            "Agreement of the student with its teachers",
            curves_of(epochs, {"agreement": ""}),
            y_label="share of equal answers",
            shares=True,
            names=names,
            caption="On validation rows, after each epoch.",
        ),
    )
    return section(
        "Who agrees",
        "Teachers that always agree teach one and the same thing; where they differ, the router has something to "
        "choose from.",
        charts,
        (*_pair_findings(pairs), *_student_findings(epochs)),
    )


def _agreement_matrix(pairs: Mapping[tuple[str, str], float], names: Sequence[str]) -> Chart | None:
    if not pairs:
        return None
    return matrix_chart(
        "Agreement of the teachers",
        {**pairs, **{(other, one): share for (one, other), share in pairs.items()}},
        labels=("", ""),
        caption="Share of the answers on validation rows that two teachers have in common, in per cent. They are "
        "frozen, so one measurement holds for all epochs.",
        written=lambda share: ABSENT if math.isnan(share) else f"{100 * share:.1f}",
        order=names,
    )


def _pairs(epochs: Sequence[Epoch]) -> dict[tuple[str, str], float]:
    told = next((epoch.teacher_agreement for epoch in epochs if epoch.teacher_agreement), None) or {}
    split = {name: name.partition("|") for name in told}
    return {
        (split[name][0], split[name][2]): math.nan if share is None else share
        for name, share in told.items()
        if split[name][1]
    }


def _pair_findings(pairs: Mapping[tuple[str, str], float]) -> tuple[str, ...]:
    known = {pair: share for pair, share in pairs.items() if math.isfinite(share)}
    if not known:
        return ()
    (one, other), most = max(known.items(), key=lambda item: item[1])
    if len(known) == 1:
        return (f"{one} and {other} agree in {percent(most)} of their answers.",)
    (first, second), least = min(known.items(), key=lambda item: item[1])
    return (f"Most alike are {one} and {other} ({percent(most)}), least {first} and {second} ({percent(least)}).",)


def _student_findings(epochs: Sequence[Epoch]) -> tuple[str, ...]:
    chosen = chosen_epoch(epochs)
    shares = {name: share for name, share in ((chosen and chosen.agreement) or {}).items() if share is not None}
    if chosen is None or not shares:
        return ()
    nearest = max(shares, key=shares.__getitem__)
    share = percent(shares[nearest])
    return (f"The student of epoch {chosen.epoch + 1} agrees most with {nearest}: in {share} of its answers.",)


def _teachers(epochs: Sequence[Epoch]) -> list[str]:
    """Name the teachers in the order that gives them their colours."""
    return list(dict.fromkeys(name for epoch in epochs for name in (epoch.routing or epoch.agreement or {})))
