"""When it is proven that a candidate as good as the baseline keeps a limit: over all steps, each held for its `hold`.

A loss by blocks and pairs, or by people's grades where they grade beside a judge; what a right answer costs by requests
and grades. Only losses are asked for by steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Final

from controller.rollout.counting.blocks import block_sizes
from controller.rollout.deciding.advance import requirement
from controller.rollout.evidence import proofs, prospects
from controller.rollout.evidence.powered import has_people
from controller.rollout.evidence.rules import is_provable
from controller.rollout.metrics import Kind
from controller.rollout.plan import Advance, Arm, Rule
from controller.rollout.timeline import MINUTE
from controller.simulate.expected import Expected
from controller.simulate.feasibility import by_people, dearness
from controller.simulate.feasibility.prospect import Proving
from controller.stats.passage import NEVER, Growth, Passage

MEDIAN: Final = 0.5
SURE: Final = 0.9
LONGEST_MIN: Final = 400 * 1_440
"""What takes longer than that many minutes is told as never."""
BLOCKS, PAIRS = "blocks", "pairs"


@dataclass(frozen=True, kw_only=True)
class Kept(Expected):
    """When proofs that limits are kept are there, as expected."""

    # One law serves every moment that is asked about, of this plan on this traffic alone.
    _passages: dict[object, Passage] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    # Proofs

    def provings(self) -> Iterator[Proving]:
        """Of every step that is left for another one: each loss rule on each critical intent, then each cost of a right
        answer, if that can be proven.
        """
        for step in range(len(self.plan.steps) - 1):
            for of_loss, critical in self._of_losses():
                yield self.proving(of_loss, critical, step)
            for rule in self.plan.rules:
                for intent in self.plan.judged_intents(rule):
                    if self._is_kept_in_cost(rule, intent, step):
                        yield self.proving(rule, intent, step)

    def asked(self) -> Iterator[tuple[Rule, str, int]]:
        """The proofs that leaving a step asks for: rule, critical intent and step."""
        for step in range(len(self.plan.steps) - 1):
            if requirement(self.plan, step) is Advance.PROVEN:
                for rule, intent in self._of_losses():
                    yield rule, intent, step

    def _of_losses(self) -> Iterator[tuple[Rule, str]]:
        critical = [one.name for one in self.plan.intents if one.critical and not one.pinned]
        for rule in self.plan.rules:
            for intent in self.plan.judged_intents(rule):
                if rule.metric.kind is Kind.LOSS and is_provable(rule) and intent in critical:
                    yield rule, intent

    def _is_kept_in_cost(self, rule: Rule, intent: str | None, step: int) -> bool:
        if rule.metric.kind is not Kind.COST or not is_provable(rule):
            return False
        return dearness.growth(self, rule, intent, step, size=None, failing=False) is not None

    def proving(self, rule: Rule, intent: str | None, step: int) -> Proving:
        stage = self.plan.steps[step]
        within = stage.deadline or stage.hold
        median, most = (self._proven_after(rule, intent, step, p) for p in (MEDIAN, SURE))
        of_loss = rule.metric.kind is Kind.LOSS

        def there(since: float | None) -> float | None:
            return None if since is None else self._there(rule, intent, step, since)

        return Proving(
            step=step,
            rule=rule,
            intent=intent,
            asked=of_loss and requirement(self.plan, step) is Advance.PROVEN,
            within=within,
            have=self._there(rule, intent, step, within / MINUTE),
            probability=self.proven_in_time(rule, intent, step),
            needed=(there(median), there(most)),
            after=(_minutes(median), _minutes(most)),
            pairs=self._pairs_needed(rule),
            by_people=of_loss and self.with_people,
        )

    def _pairs_needed(self, rule: Rule) -> float | None:
        if self.with_people or rule.metric.kind is not Kind.LOSS:
            return None
        return _finite(self.by_pairs(rule).quantile(SURE))

    def proven_in_time(self, rule: Rule, intent: str | None, step: int) -> float:
        """The same by the end of a step's deadline or hold."""
        stage = self.plan.steps[step]
        return self.proven(rule, intent, step, (stage.deadline or stage.hold) / MINUTE)

    def proven(self, rule: Rule, intent: str | None, step: int, since_min: float) -> float:
        """P(the proof was there by so many minutes after a step began), for a candidate that loses nothing."""
        by_blocks = self._by_labels(rule, intent, step, since_min)
        if not self.pairs or self.with_people or rule.metric.kind is not Kind.LOSS:
            return by_blocks
        return 1 - (1 - by_blocks) * (1 - self.by_pairs(rule).probability(self.pairs))

    @property
    def kinds(self) -> int:
        """Of evidence against a loss; they share its alpha."""
        return 1 + bool(self.pairs) + self.with_people

    @cached_property
    def with_people(self) -> bool:
        """Whether people's grades prove that a loss is kept within its limit, and may prove that it is not."""
        return any(has_people(self.plan, rule) for rule in self.plan.rules)

    def _labels(self, rule: Rule, intent: str | None, step: int) -> float:
        """What such a proof is made of, a minute: blocks, or what people grade of the arm with fewer; of a cost the
        arm's graded requests.
        """
        if rule.metric.kind is Kind.COST:
            return dearness.in_proof(self, rule, intent, step)
        return (
            self.graded_by_people(intent, step) if self.with_people else self.blocks(intent, step)
        )

    def graded_by_people(self, intent: str | None, step: int) -> float:
        """Answers of the arm with fewer, a minute."""
        if block_sizes(self.plan.share_at(step)) is None:
            return 0.0
        return by_people.drawn(self.plan, *self.answers(intent, step))

    def answers(
        self, intent: str | None, step: int, loss: float = 0.0
    ) -> tuple[by_people.Answers, by_people.Answers]:
        """The candidate's and the baseline's graded answers, where the candidate loses so much."""
        return (
            self._answers_of(Arm.CANDIDATE, intent, step, loss),
            self._answers_of(Arm.BASELINE, intent, step, loss),
        )

    def _answers_of(
        self, arm: Arm, intent: str | None, step: int, loss: float
    ) -> by_people.Answers:
        graded, known = self.graded_units(arm), self.escalated_graded(arm)
        return by_people.Answers(
            graded=self.units(arm, intent, step) * graded,
            wrong=self.wrong_if_graded(arm, loss),
            escalated=known / graded if graded else 0.0,
        )

    def by_pairs(self, rule: Rule) -> Passage:
        """The proof by pairs, which share alpha with the blocks beside them."""
        of = prospects.pairs(self.plan.priors.discordance, 0.0)
        return prospects.keeping(self.plan, rule, PAIRS, of, kinds=2)

    def _by_labels(self, rule: Rule, intent: str | None, step: int, since_min: float) -> float:
        stages = [
            one for one in self._mature(step, since_min) if self._labels(rule, intent, one[0])
        ]
        if not stages:
            return 0.0
        *before, (last, last_min) = stages
        asked = (rule.name, intent, last, tuple(before))
        passage = self._passages.get(asked)
        if passage is None:
            passage = self._passages[asked] = self._keeping(rule, intent, last, before)
        return passage.probability(self._labels(rule, intent, last) * last_min)

    def _keeping(
        self, rule: Rule, intent: str | None, step: int, before: Sequence[tuple[int, float]]
    ) -> Passage:
        """By the labels of a step, after so many minutes of others."""
        if self.with_people or rule.metric.kind is Kind.COST:
            return Passage(
                growth=self._gained(rule, intent, step),
                log_threshold=proofs.pass_threshold(self.plan, 1),
                before=tuple(
                    (self._labels(rule, intent, one) * length, self._gained(rule, intent, one))
                    for one, length in before
                ),
            )
        return prospects.keeping(
            self.plan,
            rule,
            BLOCKS,
            self.block(intent, step, 0.0),
            kinds=2 if self.pairs else 1,
            before=[
                (self.blocks(intent, one) * length, self.block(intent, one, 0.0))
                for one, length in before
            ],
        )

    def _gained(self, rule: Rule, intent: str | None, step: int) -> Growth:
        """What one label of a step adds to a proof that has no closed form."""
        if rule.metric.kind is not Kind.COST:
            return by_people.keeping(self.plan, rule, *self.answers(intent, step))
        gained = dearness.growth(self, rule, intent, step, size=None, failing=False)
        if gained is None:
            raise LookupError(f"{rule.name} cannot be proven to be kept")
        return gained

    def _mature(self, step: int, since_min: float) -> Iterator[tuple[int, float]]:
        """The steps with the minutes of each whose labels are there, so many minutes after one of them began."""
        steps = self.plan.steps
        left = since_min + sum(one.hold / MINUTE for one in steps[:step])
        left -= self.plan.labels.delay / MINUTE
        for number in range(step + 1):
            length = left if number == step else min(left, steps[number].hold / MINUTE)
            if length <= 0:
                return
            yield number, length
            left -= length

    def _there(self, rule: Rule, intent: str | None, step: int, since_min: float) -> float:
        """Blocks of all steps by then, or what people grade."""
        return math.fsum(
            self._labels(rule, intent, number) * length
            for number, length in self._mature(step, since_min)
        )

    def _proven_after(self, rule: Rule, intent: str | None, step: int, p: float) -> float | None:
        """Minutes since the step began; None if it is never so sure."""
        return _least(lambda since: self.proven(rule, intent, step, since) >= p)


def _least(holds: Callable[[float], bool]) -> float | None:
    """The least number of minutes at which something holds that goes on holding, to a thousandth of it."""
    if holds(0.0):
        return 0.0
    low, high = 0.0, 60.0
    while not holds(high):
        low, high = high, 2 * high
        if high > 2 * LONGEST_MIN:
            return None
    while high - low > max(1.0, 1e-3 * high):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high if high <= LONGEST_MIN else None


def _minutes(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(minutes=math.ceil(number))


def _finite(number: float) -> float | None:
    return number if number < NEVER else None
