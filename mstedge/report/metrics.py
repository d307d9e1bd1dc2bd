"""What a run wrote down while it trained: `metrics.jsonl`, one line per stage and epoch."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from mstedge.errors import ConfigError
from mstedge.schema import decode_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Value: TypeAlias = float | None
PerMember: TypeAlias = dict[str, float | None]


class Epoch(msgspec.Struct, frozen=True):
    """One epoch of one stage; which keys are there depends on the stage, and unknown ones are left alone.

    Attributes:
        stage: Which stage.
        epoch: Which epoch of it, from 0.
        teacher: Which teacher is specialised, as `name@tap`.
        loss: What was minimised.
        cross_entropy: Against the labels, of the student or of every member.
        kl: Divergence to the other members or to the routed teachers.
        balance: Load-balance term of the router.
        kl_weight: Weight mu1 of the divergence to the routed teachers.
        balance_weight: Weight mu2 of the load-balance term.
        gradient_flow: Norm of the gradient that reaches a member, by `learner<-from`.
        routing: Share of the routing weight that each teacher got.
        routing_entropy: Entropy of these shares, in nats.
        alarm: Teachers that got nearly everything for several epochs, with their shares.
        agreement: Share of validation rows on which the student answers what a teacher does, by teacher.
        teacher_agreement: The same for two teachers, by `one|other`; frozen, they say it once.
        validation_kl: Divergence on validation rows.
        validation_cross_entropy: Cross-entropy on validation rows.
        validation_accuracy: Accuracy on validation rows, of the student or of every member.
        kl_before: Divergence to the student without a mask.
        kl_after: The same with the best mask.
    """

    stage: str
    epoch: int
    teacher: str | None = None
    loss: Value = None
    cross_entropy: Value | PerMember = None
    kl: Value = None
    balance: Value = None
    kl_weight: Value = None
    balance_weight: Value = None
    gradient_flow: PerMember | None = None
    routing: PerMember | None = None
    routing_entropy: Value = None
    alarm: PerMember | None = None
    agreement: PerMember | None = None
    teacher_agreement: PerMember | None = None
    validation_kl: Value = None
    validation_cross_entropy: Value | PerMember = None
    validation_accuracy: Value | PerMember = None
    kl_before: Value = None
    kl_after: Value = None


def read_metrics(path: Path) -> tuple[Epoch, ...]:
    """Read the epochs of a run; an epoch that has several lines has the keys of all, the later ones counting.

    Args:
        path: The file; one that is not there holds nothing.

    Raises:
        ConfigError: A line is not what a trainer writes; the last one may be torn by a crash.
    """
    if not path.is_file():
        return ()
    *lines, torn = path.read_bytes().split(b"\n")
    epochs: dict[tuple[Any, ...], dict[str, Any]] = {}
    for position, line in enumerate(lines, start=1):
        if line.strip():
            row = _row(line, source=f"{path.name}: line {position}")
            epochs.setdefault((row.get("stage"), row.get("teacher"), row.get("epoch")), {}).update(row)
    if torn.strip():
        with suppress(ConfigError):
            row = _row(torn, source=path.name)
            epochs.setdefault((row.get("stage"), row.get("teacher"), row.get("epoch")), {}).update(row)
    return tuple(msgspec.convert(row, Epoch) for row in epochs.values())


def _row(line: bytes, *, source: str) -> dict[str, Any]:
    """Parse a line, which is checked here and kept plain to be merged."""
    epoch = decode_json(line, Epoch, source=source)
    given = msgspec.to_builtins(epoch)
    return {key: value for key, value in given.items() if value is not None}


def of_stage(epochs: Iterable[Epoch], *stages: str) -> tuple[Epoch, ...]:
    """Pick the epochs of some stages."""
    return tuple(epoch for epoch in epochs if epoch.stage in stages)


def curves_of(epochs: Iterable[Epoch], keys: dict[str, str]) -> dict[str, list[tuple[float, float]]]:
    """Collect points (epoch from 1, value) for every line of a chart.

    Args:
        epochs: Epochs of one stage, in order.
        keys: Attribute to the name of its line; a mapping per member makes one line each, named `name member`.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for epoch in epochs:
        for key, title in keys.items():
            value = getattr(epoch, key)
            members = value if isinstance(value, dict) else {"": value}
            for member, single in members.items():
                if single is not None:
                    curves.setdefault(f"{title} {member}".strip(), []).append((epoch.epoch + 1, single))
    return curves
