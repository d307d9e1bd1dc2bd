"""MST-Distill the straightforward way (Li et al., arXiv 2507.07015): what the product must equal, and must beat.

Every specialised teacher answers for every batch through hooks, attention weights stand in memory, nothing is kept for
another step, and nothing that is frozen is told so: stage 2 sends gradients into teachers that nobody updates and holds
the student's graph, stage 3 builds graphs of all teachers that nobody uses, those of the last step alive while the next
are built. All formulas are written out here; only networks come from the product.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from mstedge.recipe import Recipe
from mstedge.training.data.source import UNLABELLED

Stage: TypeAlias = Literal["collaborative", "specialise", "distill"]
# Row indices of each step, from stage, epoch and (stage 2 only) the specialised teacher's position.
Batches: TypeAlias = Callable[[Stage, int, int], Sequence[Tensor]]
# What was computed (`distill epoch 0 step 3`) and its loss before the step.
Steps: TypeAlias = Iterator[tuple[str, float]]


class FullAttentionMask(nn.Module):
    """MaskNet in matrix algebra, from the product's state dict; attention weights [B, heads, D, D] are all there."""

    def __init__(self, state: Mapping[str, Tensor], heads: int) -> None:
        super().__init__()
        width = state["project.weight"].shape[1]
        hidden = state["project.weight"].shape[0] // width
        self.heads, self.width, self.hidden = heads, width, hidden
        self.reduce: nn.Module | None = None
        if "reduce.0.weight" in state:
            self.reduce = nn.Sequential(
                nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width),
                nn.Conv2d(width, width, 1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
        self.project = nn.Linear(width, width * hidden)
        self.enter = nn.Linear(hidden, 3 * hidden)
        self.leave = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, 1)
        names = {"attention.in_proj_": "enter.", "attention.out_proj.": "leave."}
        renamed = {_renamed(name, names): value for name, value in state.items()}
        self.load_state_dict(renamed)

    def forward(self, features: Tensor) -> Tensor:
        seen = features if self.reduce is None else self.reduce(features).mean(dim=(2, 3))
        tokens = self.project(seen).reshape(len(seen), self.width, self.hidden)
        mixed, _weights = self.attend(tokens)
        mask = torch.sigmoid(self.score(mixed).squeeze(2))
        return features * mask.reshape(*mask.shape, *[1] * (features.ndim - 2))

    def attend(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Give what torch's multi-head attention gives unless told otherwise: the weights too, averaged over heads."""
        query, key, value = (self._heads(part) for part in self.enter(tokens).chunk(3, dim=2))
        query = query / math.sqrt(self.hidden / self.heads)
        weights = torch.softmax(query @ key.transpose(2, 3), dim=3)
        mixed = (weights @ value).transpose(1, 2).reshape(tokens.shape)
        return self.leave(mixed), weights.mean(dim=1)

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.reshape(len(tokens), self.width, self.heads, -1).transpose(1, 2)


class PlainRouter(nn.Module):
    """C = softmax(Linear(Linear(student logits)))."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        between, classes = state["layers.0.weight"].shape
        self.layers = nn.Sequential(nn.Linear(classes, between), nn.Linear(between, len(state["layers.1.weight"])))
        self.load_state_dict(state)

    def forward(self, logits: Tensor) -> Tensor:
        return torch.softmax(self.layers(logits), dim=1)


class PlainMapRouter(nn.Module):
    """1x1 convolution, ReLU, depthwise 3x3 of stride 2, ReLU, mean over places, linear, softmax."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        named = {name.replace(".", "_"): nn.Parameter(each.clone()) for name, each in state.items()}
        self.weights = nn.ParameterDict(named)

    def forward(self, logits: Tensor) -> Tensor:
        w = self.weights
        seen = conv2d(logits, w["convolutions_0_weight"], w["convolutions_0_bias"]).clamp(min=0)
        depthwise, bias = w["convolutions_2_weight"], w["convolutions_2_bias"]
        seen = conv2d(seen, depthwise, bias, stride=2, padding=1, groups=len(depthwise)).clamp(min=0)
        scores = seen.mean(dim=(2, 3)) @ w["score_weight"].T + w["score_bias"]
        return torch.softmax(scores, dim=1)


@dataclass(frozen=True)
class Rows:
    features: Mapping[str, Tensor]
    labels: Tensor

    def at(self, index: Tensor) -> Rows:
        return Rows({name: values[index] for name, values in self.features.items()}, self.labels[index])


@dataclass(frozen=True)
class Member:
    name: str
    network: nn.Module
    modalities: Sequence[str]

    def answer(self, rows: Rows) -> Tensor:
        return self.network(*(rows.features[name] for name in self.modalities))


@dataclass(frozen=True)
class Specialised:
    name: str
    member: Member
    tap: str
    mask: nn.Module

    @contextmanager
    def hooked(self) -> Iterator[None]:
        handle = self.member.network.get_submodule(self.tap).register_forward_hook(
            lambda _module, _inputs, output: self.mask(output)
        )
        try:
            yield
        finally:
            handle.remove()


def cross_entropy(logits: Tensor, labels: Tensor, ignored: int = UNLABELLED) -> Tensor:
    """Mean over labelled places of -log p(label); 0 where nothing is labelled. Classes stand on axis 1."""
    labelled = labels != ignored
    if not labelled.any():
        return 0 * logits.sum()
    log_p = logits.log_softmax(dim=1).movedim(1, -1)[labelled]
    return -log_p[torch.arange(len(log_p)), labels[labelled]].mean()


def kl_rows(learner: Tensor, target: Tensor, temperature: float) -> Tensor:
    """T^2 sum_c q (log q - log p) for each row, mean over the places of a map."""
    p, q = (logits.div(temperature).log_softmax(dim=1) for logits in (learner, target))
    each = temperature**2 * (q.exp() * (q - p)).sum(dim=1)
    return each.reshape(len(each), -1).mean(dim=1)


def kl(learner: Tensor, target: Tensor, temperature: float) -> Tensor:
    return kl_rows(learner, target, temperature).mean()


def routing_weights(routing: str, top_k: int, gate: Tensor, answers: Tensor, labels: Tensor) -> Tensor:
    """What each teacher counts for each row [rows, K]; the paper's is `gate`: 1/k for each of the k preferred ones."""
    hard = torch.zeros_like(gate).scatter(1, gate.topk(top_k, dim=1).indices, 1 / top_k)
    if routing in {"gate", "unmasked"}:
        return hard
    if routing == "straight_through":
        return hard + gate - gate.detach()
    if routing == "soft":
        return gate
    even = torch.full_like(gate, 1 / gate.shape[1])
    if routing == "mean":
        return even
    if routing == "correctness":
        return torch.stack([_by_correctness(*row) for row in zip(answers, labels, even, strict=True)])
    raise NotImplementedError(routing)


def _by_correctness(answers: Tensor, labels: Tensor, even: Tensor) -> Tensor:
    """Weigh the teachers of one row by the geometric mean over its labelled places of p(true class)."""
    places, labels = answers.flatten(2) if answers.ndim > 2 else answers[:, :, None], labels.flatten()
    known = torch.nonzero(labels != UNLABELLED).flatten()
    if not len(known):
        return even
    right = torch.stack([places[:, labels[place], place] - places[:, :, place].logsumexp(dim=1) for place in known])
    mean = right.mean(dim=0).exp()
    return mean / mean.sum()


def balance_loss(gate: Tensor, kind: str) -> Tensor:
    """(1/K) KL(u || mean C), or the coefficient of variation of the summed probabilities."""
    if kind == "cv":
        total = gate.sum(dim=0)
        return total.std() / total.mean()
    teachers = gate.shape[1]
    uniform = torch.full_like(gate[0], 1 / teachers)
    return (uniform * (uniform.log() - gate.mean(dim=0).log())).sum() / teachers


@dataclass
class Oracle:
    """All three stages, on copies of a product's first weights.

    `steps` yields the loss of every step; `collaborative`, `specialise` and `distill` are the stages alone.
    """

    recipe: Recipe
    members: Sequence[Member]
    specialised: Sequence[Specialised]
    router: nn.Module
    train: Rows
    validation: Rows
    batches: Batches
    # Features of a step as they are varied, from stage, epoch and step; as they are where there is nothing to vary.
    vary: Callable[[Stage, int, int, Rows], Rows] = lambda _stage, _epoch, _step, rows: rows

    @classmethod
    def copied_from(cls, setup: Any, batches: Batches) -> Oracle:
        """Take first weights and rows from the product's setup, before it has learnt."""
        members = [Member(each.name, copy.deepcopy(each.network), each.modalities) for each in setup.members]
        named = {each.name: each for each in members}
        heads = setup.recipe.stages.specialise.heads
        specialised = [
            Specialised(each.name, named[each.member.name], each.tap, FullAttentionMask(each.mask.state_dict(), heads))
            for each in setup.specialised
        ]
        parts = [each.take(torch.arange(len(each))) for each in (setup.train, setup.validation)]
        parts = [Rows(dict(part.features), part.labels) for part in parts]
        return cls(setup.recipe, members, specialised, _router(setup.router.state_dict()), *parts, batches)

    @property
    def student(self) -> Member:
        return self.members[0]

    def steps(self) -> Steps:
        """Train from start to end."""
        yield from self.collaborative()
        if self.recipe.stages.distill.routing != "unmasked":
            yield from self.specialise()
        yield from self.distill()

    def collaborative(self) -> Steps:
        """Stage 1: sum of CE_i + sum over pairs of both KLs, nothing detached."""
        together = nn.ModuleList(member.network for member in self.members)
        adam = torch.optim.Adam(together.parameters(), lr=self.recipe.optimiser.learning_rate)
        for epoch in range(self.recipe.stages.collaborative.epochs):
            together.train()
            for step, index in enumerate(self.batches("collaborative", epoch, 0)):
                rows = self.vary("collaborative", epoch, step, self.train.at(index))
                answers = [member.answer(rows) for member in self.members]
                loss = sum(cross_entropy(answer, rows.labels) for answer in answers)
                for one in range(len(answers)):
                    for other in range(one + 1, len(answers)):
                        loss = loss + kl(answers[one], answers[other], self.recipe.temperature)
                        loss = loss + kl(answers[other], answers[one], self.recipe.temperature)
                _learn(adam, loss)
                yield f"collaborative epoch {epoch} step {step}", loss.item()

    def specialise(self) -> Steps:
        """Stage 2: one mask at a time in place, KL(masked teacher || S); masks of the best mean validation KL stay."""
        stage = self.recipe.stages.specialise
        adams = [torch.optim.Adam(each.mask.parameters(), lr=self._rate(stage)) for each in self.specialised]
        for member in self.members:
            member.network.eval()
        masks = nn.ModuleList(each.mask for each in self.specialised)
        best: tuple[float, dict[str, Tensor]] = math.inf, {}
        for epoch in range(stage.epochs):
            masks.train()
            orders = [self.batches("specialise", epoch, position) for position in range(len(masks))]
            for step, together in enumerate(zip(*orders, strict=True)):
                for position, (teacher, index) in enumerate(zip(self.specialised, together, strict=True)):
                    if position == 0 or not torch.equal(index, together[position - 1]):
                        rows = self.vary("specialise", epoch, step, self.train.at(index))
                        target = self.student.answer(rows)
                    with teacher.hooked():
                        loss = kl(teacher.member.answer(rows), target.detach(), self.recipe.temperature)
                    _learn(adams[position], loss)
                    yield f"specialise {teacher.name} epoch {epoch} step {step}", loss.item()
            best = _better(best, self._masks_score(masks), masks)
        masks.load_state_dict(best[1])

    def distill(self) -> Steps:
        """Stage 3: CE + mu1 KL to the k preferred teachers + mu2 balance; the student of the best validation CE."""
        stage = self.recipe.stages.distill
        learning = nn.ModuleList([self.student.network, self.router])
        adam = torch.optim.Adam(learning.parameters(), lr=self._rate(stage))
        for module in [*(each.mask for each in self.specialised), *(each.network for each in self.members[1:])]:
            module.eval()
        best: tuple[float, dict[str, Tensor]] = math.inf, {}
        mu1, mu2 = stage.kl_weight, stage.balance_weight
        for epoch in range(stage.epochs):
            learning.train()
            for step, index in enumerate(self.batches("distill", epoch, 0)):
                rows = self.vary("distill", epoch, step, self.train.at(index))
                answers = self._specialised_answers(rows)
                logits = self.student.answer(rows)
                gate = self.router(logits if stage.gate_input == "attached" else logits.detach())
                loss = cross_entropy(logits, rows.labels) + mu1 * self._routed_kl(logits, answers, gate, rows.labels)
                loss = loss + mu2 * balance_loss(gate, stage.balance)
                _learn(adam, loss)
                yield f"distill epoch {epoch} step {step}", loss.item()
            best = _better(best, self._student_score(), learning)
            mu2 *= stage.balance_decay if epoch % 10 == 0 else 1
            mu1 *= stage.kl_decay if epoch % 30 == 0 else 1
        learning.load_state_dict(best[1])

    def _specialised_answers(self, rows: Rows) -> list[Tensor]:
        """Run every specialised teacher: with its own mask, or with those of earlier taps still in place."""
        if self.recipe.stages.distill.routing == "unmasked":
            return [member.answer(rows) for member in self.members[1:]]
        answers = []
        for position, teacher in enumerate(self.specialised):
            earlier = self.specialised[:position] if self.recipe.stages.specialise.masks == "cumulative" else []
            with ExitStack() as hooks:
                for each in [*(one for one in earlier if one.member is teacher.member), teacher]:
                    hooks.enter_context(each.hooked())
                answers.append(teacher.member.answer(rows))
        return answers

    def _routed_kl(self, logits: Tensor, answers: list[Tensor], gate: Tensor, labels: Tensor) -> Tensor:
        stage = self.recipe.stages.distill
        fixed = [answer.detach() for answer in answers]
        weights = routing_weights(stage.routing, stage.top_k, gate, torch.stack(fixed, dim=1), labels)
        every = torch.stack([kl_rows(logits, answer, self.recipe.temperature) for answer in fixed], dim=1)
        return (weights * every).sum(dim=1).mean()

    @torch.no_grad()
    def _masks_score(self, masks: nn.ModuleList) -> float:
        masks.eval()
        target = self.student.answer(self.validation)
        scores = []
        for teacher in self.specialised:
            with teacher.hooked():
                scores.append(kl(teacher.member.answer(self.validation), target, self.recipe.temperature).item())
        return sum(scores) / len(scores)

    @torch.no_grad()
    def _student_score(self) -> float:
        self.student.network.eval()
        return cross_entropy(self.student.answer(self.validation), self.validation.labels).item()

    def _rate(self, stage: Any) -> float:
        rate: float = stage.learning_rate or self.recipe.optimiser.learning_rate
        return rate


def _router(state: Mapping[str, Tensor]) -> nn.Module:
    return PlainRouter(state) if "layers.0.weight" in state else PlainMapRouter(state)


def _learn(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


def _better(
    best: tuple[float, dict[str, Tensor]], score: float, learning: nn.Module
) -> tuple[float, dict[str, Tensor]]:
    return (score, copy.deepcopy(learning.state_dict())) if score < best[0] else best


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        name = name.replace(old, new)
    return name
