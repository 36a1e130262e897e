"""Whether a plan can decide on the traffic it will have: samples, regressions caught, promotions proven. Closed form.

Each number is of the very e-process that the live rule is judged by: its bets, its part of alpha, its threshold
(`controller.rollout.prospects`), on units that arrive evenly, have one request each and answer independently, with
blocks made of mature labels. Counts of observations are means; what is random is what they say. A proof that a limit
is kept gathers over all steps, each held for its `hold`. A regression is there from the beginning of a step, with a
window that holds nothing else, and is caught by the e-process that starts there: others may only be sooner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Final

from controller.rollout import proofs, prospects
from controller.rollout.accounting_blocks import block_sizes
from controller.rollout.advance import UNSAMPLED, requirement
from controller.rollout.metrics import Kind
from controller.rollout.plan import FULL_BP, Advance, Arm, Plan, Rule, Scope
from controller.rollout.rules import is_provable
from controller.rollout.timeline import MINUTE
from controller.simulate.proof_against import ProofAgainst
from controller.simulate.scenarios import Scenario, Traffic
from controller.stats.passage import NEVER, Passage, Values

MEDIAN: Final = 0.5
SURE: Final = 0.9
LONGEST_MIN: Final = 400 * 1_440
"""What takes longer than that many minutes is told as never."""
BLOCKS, PAIRS, EPISODES, LABELS = "blocks", "pairs", "episodes", "labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """How long a candidate that is `size` bad (a rate, or a loss) goes on before a rule fails by proof.

    `needed` are observations and `after` spans from its first answer on, in the median and in 90%; None where one
    window is not enough for that. `probability` is that one window is enough, or the shadow pairs, if they fall in
    one. `wrong_served` are the wrong answers it serves meanwhile on what is judged, in the mean; None with `after`.
    """

    size: float
    needed: tuple[float | None, float | None]
    after: tuple[timedelta | None, timedelta | None]
    probability: float
    wrong_served: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One rule on one intent at one step. Samples are expected in one window; None for an arm that it does not need."""

    step: int
    rule: Rule
    intent: str | None
    candidate: float | None
    baseline: float | None
    catches: tuple[Catch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proving:
    """The proof on one critical intent that a candidate as good as the baseline keeps the limit, by the end of a step.

    `within` is how long the step may take: its deadline, or its hold; `have` are the blocks that are there by then, of
    all steps so far. `needed` are blocks and `after` spans since the step began, in the median and in 90%, if the step
    goes on for as long as it takes; None: never. `pairs` is how many shadow pairs would prove it on their own in 90%.
    """

    step: int
    rule: Rule
    intent: str
    asked: bool  # whether leaving the step asks for it
    within: timedelta
    have: float
    probability: float
    needed: tuple[float | None, float | None]
    after: tuple[timedelta | None, timedelta | None]
    pairs: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feasibility:
    """A plan on its traffic, rules and proofs by step. `apparent_loss`: what labels make of a candidate without any."""

    rows: tuple[Row, ...]
    provings: tuple[Proving, ...]
    apparent_loss: float


def feasibility(
    plan: Plan, traffic: Traffic, *, catches: Sequence[Scenario] = (), pairs: int = 0
) -> Feasibility:
    """What the plan can decide. `catches` are regressions (loss, escalation, error) to be caught; a rule that none is
    about is asked for its own. `pairs` are shadow pairs there will be on each critical intent.
    """
    outlook = Outlook(plan=plan, traffic=traffic, pairs=pairs)
    return Feasibility(
        rows=tuple(outlook.rows(catches)),
        provings=tuple(outlook.provings()),
        apparent_loss=outlook.apparent_loss,
    )


def worth_catching(rule: Rule) -> float:
    """The regression that a rule is asked for where none is stated: a rate at its `alternative`, by default 1.5 times
    the limit, or, below one, half as far from it as what is wrong may be; a loss of the limit and the effect worth
    catching, by default twice the limit.
    """
    if rule.metric.kind is Kind.LOSS:
        return min(rule.limit + (rule.alternative or rule.limit), 1.0)
    return proofs.worth_catching(rule)


def is_reckoned(rule: Rule) -> bool:
    """Whether it can be said how soon the rule is proven to fail: of latencies and costs nothing is assumed."""
    unknown = (Kind.QUANTILE, Kind.QUANTILE_RATIO, Kind.COST)
    return is_provable(rule) and rule.metric.kind not in unknown


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A plan, its traffic, and the shadow pairs there will be on each critical intent."""

    plan: Plan
    traffic: Traffic
    pairs: int = 0
    # One law serves every moment that is asked about.
    _passages: dict[object, Passage] = field(default_factory=dict, compare=False, repr=False)

    # What arrives, a minute

    @cached_property
    def _free(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.plan.intents if not one.pinned)

    def names(self, intent: str | None) -> tuple[str, ...]:
        return self._free if intent is None else (intent,)

    def units(self, arm: Arm, intent: str | None, step: int) -> float:
        """Of traffic that is compared."""
        share = self.plan.share_at(step) / FULL_BP
        part = math.fsum(self.traffic.mix[name] for name in self.names(intent))
        return self.traffic.units_per_minute * part * (share if arm is Arm.CANDIDATE else 1 - share)

    def graded(self, arm: Arm) -> float:
        """The part of an arm's answers that counts: of escalated ones, wrong without a grade, what the plan samples."""
        escalated = self.traffic.escalation if arm is Arm.CANDIDATE else 0.0
        return self.plan.labels.sampled * escalated + self.traffic.label_rate * (1 - escalated)

    def wrong(self, loss: float = 0.0) -> float:
        """Of the candidate's answers."""
        return min(max(1 - self.traffic.accuracy + loss, self.traffic.escalation), 1.0)

    def wrong_if_graded(self, arm: Arm, loss: float = 0.0) -> float:
        if arm is Arm.BASELINE:
            return 1 - self.traffic.accuracy
        escalated = self.traffic.escalation
        known = self.plan.labels.sampled * escalated
        seen = known + self.traffic.label_rate * (self.wrong(loss) - escalated)
        return seen / self.graded(arm) if seen else 0.0

    @property
    def apparent_loss(self) -> float:
        """Of a candidate that loses nothing: its escalated answers weigh more than they should where fewer of the
        others are graded than the plan says, and less (a loss below 0) where more are.
        """
        return self.wrong_if_graded(Arm.CANDIDATE) - self.wrong_if_graded(Arm.BASELINE)

    def blocks(self, intent: str | None, step: int) -> float:
        sizes = block_sizes(self.plan.share_at(step))
        if sizes is None:
            return 0.0
        return min(
            self.units(arm, intent, step) * self.graded(arm) / sizes.of(arm.value) for arm in Arm
        )

    def block(self, intent: str | None, step: int, loss: float) -> Values:
        """One of them, where the candidate loses so much."""
        sizes = block_sizes(self.plan.share_at(step))
        if sizes is None:
            raise LookupError(f"step {step + 1} has no two arms, so there are no blocks")
        return prospects.blocks(
            sizes,
            baseline_wrong=self.wrong_if_graded(Arm.BASELINE),
            candidate_wrong=self.wrong_if_graded(Arm.CANDIDATE, loss),
        )

    def samples(self, rule: Rule, intent: str | None, step: int) -> dict[Arm, float]:
        """What the rule counts, a minute, of the arms that it needs. Bills and arm sizes count both as one."""
        kind = rule.metric.kind
        if kind is Kind.SAMPLE_RATIO:
            return {Arm.CANDIDATE: sum(self.units(arm, intent, step) for arm in Arm)}
        if rule.metric.subject in ("per_hour", "tokens_per_hour") and rule.arm is None:
            part = 1.0 if intent is None else self.traffic.mix[intent]
            return {Arm.CANDIDATE: self.traffic.units_per_minute * part}
        arms = tuple(Arm) if rule.metric.comparing else (rule.arm or Arm.CANDIDATE,)
        return {arm: self.units(arm, intent, step) * self._measured(rule, arm) for arm in arms}

    def _measured(self, rule: Rule, arm: Arm) -> float:
        if rule.metric.kind in (Kind.LOSS, Kind.ACCURACY):
            return self.graded(arm)
        of_labels = rule.metric.kind is Kind.RATE and rule.metric.labelled
        return self.traffic.label_rate if of_labels and not rule.metric.of_requests else 1.0

    # Rules

    def rows(self, catches: Sequence[Scenario]) -> Iterator[Row]:
        for step in range(len(self.plan.steps)):
            for rule in self.plan.rules:
                if not self.has_control(rule, step):
                    continue
                for intent in self.plan.judged_intents(rule):
                    yield self.row(rule, intent, step, catches)

    def row(
        self, rule: Rule, intent: str | None, step: int, catches: Sequence[Scenario] = ()
    ) -> Row:
        counted = self.in_window(rule, intent, step)
        sizes = self._sizes(rule, catches) if is_reckoned(rule) else ()
        return Row(
            step=step,
            rule=rule,
            intent=intent,
            candidate=counted.get(Arm.CANDIDATE),
            baseline=counted.get(Arm.BASELINE),
            catches=tuple(self.catch(rule, intent, step, size) for size in sizes),
        )

    def in_window(self, rule: Rule, intent: str | None, step: int) -> dict[Arm, float]:
        """Samples of one window, of the arms that the rule needs."""
        a_minute = self.samples(rule, intent, step)
        return {arm: n * (rule.window / MINUTE) for arm, n in a_minute.items()}

    def has_control(self, rule: Rule, step: int) -> bool:
        """Whether there is a baseline to compare with, where the rule does."""
        return not rule.metric.comparing or self.plan.share_at(step) < FULL_BP

    def _sizes(self, rule: Rule, catches: Sequence[Scenario]) -> tuple[float, ...]:
        """How bad the candidates are that this rule should catch."""
        stated = (self._size(rule, one) for one in catches)
        return tuple(size for size in stated if size is not None) or (worth_catching(rule),)

    def _size(self, rule: Rule, scenario: Scenario) -> float | None:
        match rule.metric.name:
            case "accuracy_delta" if scenario.loss is not None:
                return scenario.loss.size
            # Scenarios lose on critical intents alone.
            case "accuracy" if rule.scope is Scope.CRITICAL and rule.arm is not Arm.BASELINE:
                lost = scenario.loss
                return None if lost is None else max(self.traffic.accuracy - lost.size, 0.0)
            case "escalation_rate" if scenario.escalation is not None:
                return scenario.escalation.size
            case "escalation_rate" if scenario.error is not None:
                return min(scenario.error.size + self.traffic.escalation, 1.0)
            case "error_rate" if scenario.error is not None:
                return scenario.error.size
            case _:
                return None

    def catch(self, rule: Rule, intent: str | None, step: int, size: float) -> Catch:
        """The proof against a candidate that is so bad, from a start in the minute of its first answer."""
        a_minute, proof = self._proof_against(rule, intent, step, size)
        most = a_minute * (rule.window / MINUTE)
        median, sure = (_up_to(most, proof.quantile(p)) for p in (MEDIAN, SURE))
        mean = proof.mean(most) if median is not None else None
        delay = self.plan.labels.delay if rule.metric.labelled else timedelta(0)

        def after(n: float | None) -> timedelta | None:
            return None if n is None else delay + max(_span(n, a_minute), rule.min_window)

        likely = proof.probability(most)
        if self.pairs and rule.metric.kind is Kind.LOSS:
            by_pairs = self.against_by_pairs(rule, size).probability(self.pairs)
            likely = 1 - (1 - likely) * (1 - by_pairs)
        gone_on = after(mean)
        served = self.units(Arm.CANDIDATE, intent, step) * self._served_wrong(rule, size)
        return Catch(
            size=size,
            needed=(median, sure),
            after=(after(median), after(sure)),
            probability=likely,
            wrong_served=None if gone_on is None else served * (gone_on / MINUTE),
        )

    def _proof_against(
        self, rule: Rule, intent: str | None, step: int, size: float
    ) -> tuple[float, ProofAgainst]:
        """How many observations there are a minute, and when they prove it."""
        if rule.metric.kind is Kind.RATE:
            (a_minute,) = self.samples(rule, intent, step).values()
            of = prospects.episodes(size)
            return a_minute, ProofAgainst(prospects.catching(self.plan, rule, EPISODES, of))
        if rule.metric.kind is Kind.ACCURACY:
            ((arm, a_minute),) = self.samples(rule, intent, step).items()
            of = prospects.episodes(1 - self._shown_wrong(arm, size))
            return a_minute, ProofAgainst(prospects.catching(self.plan, rule, LABELS, of))
        of = self.block(intent, step, size)
        proof = prospects.catching(self.plan, rule, BLOCKS, of, kinds=self._kinds)
        return self.blocks(intent, step), ProofAgainst(proof, shown=(of, rule.limit))

    def _shown_wrong(self, arm: Arm, accuracy: float) -> float:
        """The part of an arm's graded answers that is wrong, where its accuracy is this."""
        if arm is Arm.BASELINE:
            return 1 - accuracy
        return self.wrong_if_graded(arm, self.traffic.accuracy - accuracy)

    def against_by_pairs(self, rule: Rule, size: float) -> ProofAgainst:
        """The same by pairs of one window, beside blocks."""
        of = prospects.pairs(self.plan.priors.discordance, size)
        proof = prospects.catching(self.plan, rule, PAIRS, of, kinds=2)
        return ProofAgainst(proof, shown=(of, rule.limit))

    def _served_wrong(self, rule: Rule, size: float) -> float:
        """The part of such a candidate's answers that are wrong and reach a client."""
        escalated = self.traffic.escalation
        match rule.metric.name:
            case "accuracy_delta":
                return self.wrong(size) - escalated
            case "accuracy":
                return max(1 - size - escalated, 0.0)
            case "escalation_rate":
                escalated = size
            case "error_rate":
                escalated = min(size + escalated, 1.0)
        return max(1 - self.traffic.accuracy - escalated, 0.0)

    # Proofs

    def provings(self) -> Iterator[Proving]:
        """Of every step that is left for another one, loss rule and critical intent."""
        critical = [one.name for one in self.plan.intents if one.critical and not one.pinned]
        for step in range(len(self.plan.steps) - 1):
            for rule in self.plan.rules:
                for intent in self.plan.judged_intents(rule):
                    if rule.metric.kind is Kind.LOSS and is_provable(rule) and intent in critical:
                        yield self.proving(rule, intent, step)

    def proving(self, rule: Rule, intent: str, step: int) -> Proving:
        stage = self.plan.steps[step]
        within = stage.deadline or stage.hold
        median, most = (self._proven_after(rule, intent, step, p) for p in (MEDIAN, SURE))

        def there(since: float | None) -> float | None:
            return None if since is None else self._there(intent, step, since)

        return Proving(
            step=step,
            rule=rule,
            intent=intent,
            asked=requirement(self.plan, step) is Advance.PROVEN,
            within=within,
            have=self._there(intent, step, within / MINUTE),
            probability=self.proven_in_time(rule, intent, step),
            needed=(there(median), there(most)),
            after=(_minutes(median), _minutes(most)),
            pairs=_finite(self.by_pairs(rule).quantile(SURE)),
        )

    def proven_in_time(self, rule: Rule, intent: str, step: int) -> float:
        """The same by the end of a step's deadline or hold."""
        stage = self.plan.steps[step]
        return self.proven(rule, intent, step, (stage.deadline or stage.hold) / MINUTE)

    def proven(self, rule: Rule, intent: str, step: int, since_min: float) -> float:
        """P(the proof was there by so many minutes after a step began), for a candidate that loses nothing."""
        by_blocks = self._by_blocks(rule, intent, step, since_min)
        if not self.pairs:
            return by_blocks
        return 1 - (1 - by_blocks) * (1 - self.by_pairs(rule).probability(self.pairs))

    @property
    def _kinds(self) -> int:
        """Of evidence on a loss; they share its alpha."""
        return 2 if self.pairs else 1

    def by_pairs(self, rule: Rule) -> Passage:
        """The proof by pairs, which share alpha with the blocks beside them."""
        of = prospects.pairs(self.plan.priors.discordance, 0.0)
        return prospects.keeping(self.plan, rule, PAIRS, of, kinds=2)

    def _by_blocks(self, rule: Rule, intent: str, step: int, since_min: float) -> float:
        stages = [one for one in self._mature(step, since_min) if self.blocks(intent, one[0])]
        if not stages:
            return 0.0
        *before, (last, last_min) = stages
        asked = (rule.name, intent, last, tuple(before))
        passage = self._passages.get(asked)
        if passage is None:
            passage = self._passages[asked] = self._keeping(rule, intent, last, before)
        return passage.probability(self.blocks(intent, last) * last_min)

    def _keeping(
        self, rule: Rule, intent: str, step: int, before: Sequence[tuple[int, float]]
    ) -> Passage:
        """By the blocks of a step, after so many minutes of others."""
        return prospects.keeping(
            self.plan,
            rule,
            BLOCKS,
            self.block(intent, step, 0.0),
            kinds=self._kinds,
            before=[
                (self.blocks(intent, one) * length, self.block(intent, one, 0.0))
                for one, length in before
            ],
        )

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

    def _there(self, intent: str, step: int, since_min: float) -> float:
        """Blocks of all steps by then."""
        return math.fsum(
            self.blocks(intent, number) * length for number, length in self._mature(step, since_min)
        )

    def _proven_after(self, rule: Rule, intent: str, step: int, p: float) -> float | None:
        """Minutes since the step began; None if it is never so sure."""
        return _least(lambda since: self.proven(rule, intent, step, since) >= p)

    def step_samples(self, step: int) -> Iterator[tuple[Rule | None, str | None, float]]:
        """What a step's `minSamples` asks of, by the end of its deadline or hold: the candidate's requests, and each
        rule's samples, of the arm with fewer.
        """
        stage = self.plan.steps[step]
        within_min = (stage.deadline or stage.hold) / MINUTE
        yield None, None, self.units(Arm.CANDIDATE, None, step) * within_min
        for rule in self.plan.rules:
            if rule.metric.kind in UNSAMPLED or not self.has_control(rule, step):
                continue
            delay = self.plan.labels.delay if rule.metric.labelled else timedelta(0)
            mature_min = max(within_min - delay / MINUTE, 0.0)
            for intent in self.plan.judged_intents(rule):
                yield rule, intent, min(self.samples(rule, intent, step).values()) * mature_min


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


def _span(observations: float, a_minute: float) -> timedelta:
    return timedelta(minutes=math.ceil(observations / a_minute))


def _minutes(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(minutes=math.ceil(number))


def _up_to(most: float, number: float) -> float | None:
    return number if number <= most else None


def _finite(number: float) -> float | None:
    return number if number < NEVER else None
