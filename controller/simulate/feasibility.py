"""Whether a plan can decide on the traffic it will have: samples, regressions caught, promotions proven. Closed form.

Each number is of the very e-process that the live rule is judged by: its bets, its part of alpha, its threshold
(`controller.rollout.prospects`), on units that arrive evenly and answer independently, whose requests fare alike, with
blocks made of mature labels. Counts of observations are means; what is random is what they say. A proof that a limit
is kept gathers over all steps, each held for its `hold`. A regression is there from the beginning of a step, with a
window that holds nothing else, and is caught by the e-process that starts there: others may only be sooner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Final

from controller.rollout import proofs, prospects
from controller.rollout.accounting_blocks import block_sizes
from controller.rollout.advance import UNSAMPLED, requirement
from controller.rollout.comparison import LEAST
from controller.rollout.metrics import SERVED, Kind
from controller.rollout.plan import Advance, Arm, Evidence, Rule, Scope
from controller.rollout.powered import has_people
from controller.rollout.prospects import FIRST
from controller.rollout.rules import alpha_of, is_provable
from controller.rollout.timeline import MINUTE
from controller.simulate import by_people
from controller.simulate.expected import Expected
from controller.simulate.figures import figure, is_past, lacking
from controller.simulate.laws import slow
from controller.simulate.proof_against import ProofAgainst
from controller.simulate.prospect import Catch, Feasibility, Proving, Row, worth_catching
from controller.simulate.scenarios import Scenario
from controller.simulate.slowness import against_ratio
from controller.simulate.written import RUNS, WrittenCatch, caught, stopped
from controller.stats.histogram import bucket_of
from controller.stats.passage import NEVER, Growth, Passage

MEDIAN: Final = 0.5
SURE: Final = 0.9
LONGEST_MIN: Final = 400 * 1_440
"""What takes longer than that many minutes is told as never."""
BLOCKS, PAIRS, EPISODES, LABELS, REQUESTS = "blocks", "pairs", "episodes", "labels", "requests"
TIMES: Final = ("latency", "ttft")
HARMLESS: Final = ("cache_hit", "retry")
"""Flags of answers that are not bad for it."""


def feasibility(
    outlook: Outlook, *, catches: Sequence[Scenario] = (), seed: int = 7, runs: int = RUNS
) -> Feasibility:
    """What the plan can decide. `catches` are regressions (loss, escalation, error) to be caught; a rule that none is
    about is asked for its own. What rules as written do is drawn, `runs` times each.
    """
    rows = [outlook.drawn(row, seed=seed, runs=runs) for row in outlook.rows(catches)]
    return Feasibility(
        rows=tuple(rows),
        provings=tuple(outlook.provings()),
        apparent_loss=outlook.apparent_loss,
        runs=runs,
        seed=seed,
    )


@dataclass(frozen=True, kw_only=True)
class Outlook(Expected):
    """When rules prove what they are asked, as expected.

    `slower` are candidates that take so many times as long as usual, for rules on that to catch.
    """

    slower: tuple[float, ...] = ()
    # One law serves every moment that is asked about, of this plan on this traffic alone.
    _passages: dict[object, Passage] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

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
        """By the closed form; what a rule as written does is `drawn`."""
        counted = self.in_window(rule, intent, step)
        proven, shown = is_provable(rule), figure(self, rule, intent, step)
        return Row(
            step=step,
            rule=rule,
            intent=intent,
            candidate=counted.get(Arm.CANDIDATE),
            baseline=counted.get(Arm.BASELINE),
            episodes=self._in_proof(rule, intent, step) if proven else None,
            figure=shown,
            by_proof=self.healthy_by_proof(rule, intent, step) if proven else None,
            stopped=None,
            catches=tuple(
                self.catch(rule, intent, step, size) for size in self._sizes(rule, catches, shown)
            ),
            lacking=lacking(self, rule, intent, step),
        )

    def drawn(self, row: Row, *, seed: int, runs: int = RUNS) -> Row:
        """With what the rule as written does, on drawn traffic."""
        rule, intent, step = row.rule, row.intent, row.step
        if rule.evidence is Evidence.CONFIDENT:
            return row

        def of(catch: Catch) -> WrittenCatch | None:
            return caught(self, rule, intent, step, catch.size, seed=seed, runs=runs)

        return replace(
            row,
            stopped=stopped(self, rule, intent, step, seed=seed, runs=runs),
            catches=tuple(replace(one, written=of(one)) for one in row.catches),
        )

    def _in_proof(self, rule: Rule, intent: str | None, step: int) -> float:
        a_minute = self.proven_by(rule, intent, step)
        return a_minute[rule.arm or Arm.CANDIDATE] * (rule.window / MINUTE)

    def healthy_by_proof(self, rule: Rule, intent: str | None, step: int) -> float | None:
        """In how many rollouts a healthy candidate is stopped by proof: at most the rule's part of alpha (Ville); where
        what it shows is past the limit, as often as a window proves that.
        """
        shown = figure(self, rule, intent, step)
        if shown is None:
            return None
        if not is_past(rule, shown):
            return alpha_of(self.plan, rule, FIRST)
        size = 0.0 if rule.metric.kind is Kind.LOSS else shown
        return self.catch(rule, intent, step, size).probability

    def _sizes(
        self, rule: Rule, catches: Sequence[Scenario], shown: float | None
    ) -> tuple[float, ...]:
        """How bad the candidates are that this rule should catch."""
        stated = [self._size(rule, one) for one in catches]
        if rule.metric.subject.removesuffix("_us") in TIMES and shown is not None:
            stated += [shown * times for times in self.slower]
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
        bad = self._bad_served(rule, size)
        a_minute_bad = None if bad is None else self.requests(Arm.CANDIDATE, intent, step) * bad
        found = self._proof_against(rule, intent, step, size) if is_provable(rule) else None
        if found is None:
            return Catch(size=size, bad_a_minute=a_minute_bad)
        a_minute, proof = found
        most = a_minute * (rule.window / MINUTE)
        median, sure = (_up_to(most, proof.quantile(p)) for p in (MEDIAN, SURE))
        mean = proof.mean(most) if median is not None else None
        delay = self.plan.labels.delay if rule.metric.labelled else timedelta(0)
        if rule.metric.kind is Kind.QUANTILE_RATIO and not step:
            # The baseline's percentile is frozen before what is judged against it.
            delay += _span(LEAST, self.requests(Arm.BASELINE, intent, step))

        def after(n: float | None) -> timedelta | None:
            return None if n is None else delay + max(_span(n, a_minute), rule.least_window)

        likely = proof.probability(most)
        if self.pairs and rule.metric.kind is Kind.LOSS:
            by_pairs = self.against_by_pairs(rule, size).probability(self.pairs)
            likely = 1 - (1 - likely) * (1 - by_pairs)
        return Catch(
            size=size,
            needed=(median, sure),
            after=(after(median), after(sure)),
            mean=after(mean),
            probability=likely,
            bad_a_minute=a_minute_bad,
        )

    def _proof_against(
        self, rule: Rule, intent: str | None, step: int, size: float
    ) -> tuple[float, ProofAgainst] | None:
        """How many observations there are a minute, and when they prove it; None where too little is known: of bills,
        how much they scatter.
        """
        if rule.metric.kind is Kind.COST:
            return None
        if rule.metric.kind is Kind.QUANTILE:
            arm = rule.arm or Arm.CANDIDATE
            known = self.usual.of(arm, rule.metric.subject)
            if known is None:
                return None
            share = slow(known, rule, size).above(proofs.limit_bucket(rule) - rule.below)
            of = prospects.episodes(share)
            a_minute = self.proven_by(rule, intent, step)[arm]
            return a_minute, ProofAgainst(prospects.catching(self.plan, rule, REQUESTS, of))
        if rule.metric.kind is Kind.QUANTILE_RATIO:
            by_minute = against_ratio(self, rule, intent, step, size)
            return None if by_minute is None else (1.0, ProofAgainst(by_minute))
        if rule.metric.kind is Kind.RATE:
            (a_minute,) = self.proven_by(rule, intent, step).values()
            of = prospects.episodes(size)
            return a_minute, ProofAgainst(prospects.catching(self.plan, rule, EPISODES, of))
        if rule.metric.kind is Kind.ACCURACY:
            ((arm, a_minute),) = self.proven_by(rule, intent, step).items()
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

    def _bad_served(self, rule: Rule, size: float) -> float | None:
        """The part of such a candidate's answers that are bad to the client who gets them: wrong ones, those with the
        flag of a rule on another one, those that are too slow. None where a rule says nothing of answers.
        """
        escalated, metric = self.traffic.escalation, rule.metric
        if rule.arm is Arm.BASELINE or rule.usual is not None:
            return None
        match metric.kind:
            case Kind.LOSS:
                return self.wrong(size) - escalated
            case Kind.ACCURACY:
                return max(1 - size - escalated * (metric.subject != SERVED), 0.0)
            case Kind.RATE if metric.subject in ("escalated", "error"):
                escalated = size + escalated * (metric.subject == "error")
                return max(1 - self.traffic.accuracy - escalated, 0.0)
            case Kind.RATE if not rule.below and metric.subject not in HARMLESS:
                return size
            case Kind.QUANTILE | Kind.QUANTILE_RATIO if not rule.below:
                return self._too_slow(rule, size)
            case _:
                return None

    def _too_slow(self, rule: Rule, size: float) -> float | None:
        """The part that takes longer than the rule allows."""
        arms = (self.usual.of(arm, rule.metric.subject) for arm in (Arm.CANDIDATE, Arm.BASELINE))
        ours, theirs = arms
        if ours is None or theirs is None:
            return None
        if rule.metric.kind is Kind.QUANTILE:
            return slow(ours, rule, size).above(proofs.limit_bucket(rule))
        usual = theirs.quantile(rule.metric.quantile or 0.0)
        return slow(ours, rule, size * usual).above(bucket_of(rule.limit * usual))

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
            pairs=None if self._by_people else _finite(self.by_pairs(rule).quantile(SURE)),
            by_people=self._by_people,
        )

    def proven_in_time(self, rule: Rule, intent: str, step: int) -> float:
        """The same by the end of a step's deadline or hold."""
        stage = self.plan.steps[step]
        return self.proven(rule, intent, step, (stage.deadline or stage.hold) / MINUTE)

    def proven(self, rule: Rule, intent: str, step: int, since_min: float) -> float:
        """P(the proof was there by so many minutes after a step began), for a candidate that loses nothing."""
        by_blocks = self._by_labels(rule, intent, step, since_min)
        if not self.pairs or self._by_people:
            return by_blocks
        return 1 - (1 - by_blocks) * (1 - self.by_pairs(rule).probability(self.pairs))

    @property
    def _kinds(self) -> int:
        """Of evidence against a loss; they share its alpha."""
        return 1 + bool(self.pairs) + self._by_people

    @cached_property
    def _by_people(self) -> bool:
        """Whether people's grades prove that a loss is kept within its limit."""
        return any(has_people(self.plan, rule) for rule in self.plan.rules)

    def _labels(self, intent: str, step: int) -> float:
        """What such a proof is made of, a minute: blocks, or what people grade of the arm with fewer."""
        if not self._by_people:
            return self.blocks(intent, step)
        if block_sizes(self.plan.share_at(step)) is None:
            return 0.0
        return by_people.drawn(self.plan, *self._answers(intent, step))

    def _answers(self, intent: str, step: int) -> tuple[by_people.Answers, by_people.Answers]:
        """Both arms' graded answers, of a candidate that loses nothing."""
        return (
            self._answers_of(Arm.CANDIDATE, intent, step),
            self._answers_of(Arm.BASELINE, intent, step),
        )

    def _answers_of(self, arm: Arm, intent: str, step: int) -> by_people.Answers:
        graded = self.graded(arm)
        escalated = self.traffic.escalation if arm is Arm.CANDIDATE else 0.0
        known = self.plan.labels.sampled * escalated
        return by_people.Answers(
            graded=self.units(arm, intent, step) * graded,
            wrong=self.wrong_if_graded(arm),
            escalated=known / graded if graded else 0.0,
        )

    def by_pairs(self, rule: Rule) -> Passage:
        """The proof by pairs, which share alpha with the blocks beside them."""
        of = prospects.pairs(self.plan.priors.discordance, 0.0)
        return prospects.keeping(self.plan, rule, PAIRS, of, kinds=2)

    def _by_labels(self, rule: Rule, intent: str, step: int, since_min: float) -> float:
        stages = [one for one in self._mature(step, since_min) if self._labels(intent, one[0])]
        if not stages:
            return 0.0
        *before, (last, last_min) = stages
        asked = (rule.name, intent, last, tuple(before))
        passage = self._passages.get(asked)
        if passage is None:
            passage = self._passages[asked] = self._keeping(rule, intent, last, before)
        return passage.probability(self._labels(intent, last) * last_min)

    def _keeping(
        self, rule: Rule, intent: str, step: int, before: Sequence[tuple[int, float]]
    ) -> Passage:
        """By the labels of a step, after so many minutes of others."""
        if self._by_people:

            def growth(stage: int) -> Growth:
                return by_people.keeping(self.plan, rule, *self._answers(intent, stage))

            return Passage(
                growth=growth(step),
                log_threshold=proofs.pass_threshold(self.plan, 1),
                before=tuple(
                    (self._labels(intent, one) * length, growth(one)) for one, length in before
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
        """Blocks of all steps by then, or what people grade."""
        return math.fsum(
            self._labels(intent, number) * length
            for number, length in self._mature(step, since_min)
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
        yield None, None, self.requests(Arm.CANDIDATE, None, step) * within_min
        for rule in self.plan.rules:
            if rule.metric.kind in UNSAMPLED or not self.has_control(rule, step):
                continue
            delay = self.plan.labels.delay if rule.metric.labelled else timedelta(0)
            mature_min = max(within_min - delay / MINUTE, 0.0)
            for intent in self.plan.judged_intents(rule):
                yield rule, intent, min(self.in_step(rule, intent, step).values()) * mature_min


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
