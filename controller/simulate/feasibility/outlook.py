"""Whether a plan can decide on the traffic it will have: samples, regressions caught, promotions proven. Closed form.

Each number is of the very e-process that the live rule is judged by: its bets, its part of alpha, its threshold
(`rollout.evidence.prospects`), on units that arrive evenly and answer independently, whose requests fare alike, with
blocks made of mature labels. Counts of observations are means; what is random is what they say. A proof that a limit
is kept gathers over all steps, each held for its `hold`. A regression is there from the beginning of a step, with a
window that holds nothing else, and is caught by the e-process that starts there: others may only be sooner.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from controller.rollout.deciding.advance import UNSAMPLED
from controller.rollout.evidence import proofs, prospects
from controller.rollout.evidence.comparison import LEAST
from controller.rollout.evidence.powered import has_people
from controller.rollout.evidence.prospects import FIRST
from controller.rollout.evidence.rules import alpha_of, is_provable
from controller.rollout.metrics import SERVED, Kind
from controller.rollout.plan import Arm, Evidence, Rule, Scope
from controller.rollout.timeline import MINUTE
from controller.simulate.feasibility import by_people as people
from controller.simulate.feasibility import dearness
from controller.simulate.feasibility.figures import (
    NO_TIMES,
    figure,
    is_past,
    is_without_usual,
    lacking,
    true_figure,
)
from controller.simulate.feasibility.kept import BLOCKS, MEDIAN, PAIRS, SURE, Kept
from controller.simulate.feasibility.laws import cost_part, slow
from controller.simulate.feasibility.proof_against import ProofAgainst, Shown, Soonest
from controller.simulate.feasibility.prospect import Catch, Feasibility, Row, worse_than
from controller.simulate.feasibility.slowness import against_ratio
from controller.simulate.feasibility.written import RUNS, WrittenCatch, caught, stopped
from controller.simulate.scenarios import Scenario
from controller.stats.histogram import bucket_of
from controller.stats.passage import NEVER, Values

EPISODES, LABELS, REQUESTS = "episodes", "labels", "requests"
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
class Outlook(Kept):
    """When rules prove what they are asked, as expected.

    `slower` are candidates that take so many times as long as usual, and `dearer` those whose requests cost so many
    times as much, for rules on that to catch.
    """

    slower: tuple[float, ...] = ()
    dearer: tuple[float, ...] = ()

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
        of_proof = self._in_proofs(rule, intent, step)
        stated = self._stated(rule, intent, step, catches, shown)
        unasked = is_without_usual(rule, shown) and not stated
        sizes = stated or (worse_than(rule, true_figure(self, rule, intent, step)),)
        return Row(
            step=step,
            rule=rule,
            intent=intent,
            candidate=counted.get(Arm.CANDIDATE),
            baseline=counted.get(Arm.BASELINE),
            episodes=self._in_proof(rule, intent, step) if proven else None,
            figure=shown,
            by_proof=self.healthy_by_proof(rule, intent, step) if proven else None,
            is_past=of_proof is not None and is_past(rule, of_proof),
            stopped=None,
            catches=tuple(self.catch(rule, intent, step, size) for size in sizes),
            lacking=NO_TIMES if unasked else lacking(self, rule, intent, step),
        )

    def drawn(self, row: Row, *, seed: int, runs: int = RUNS) -> Row:
        """With what the rule as written does, on drawn traffic."""
        rule, intent, step = row.rule, row.intent, row.step
        if rule.evidence is Evidence.CONFIDENT:
            return row

        def of(catch: Catch) -> WrittenCatch | None:
            if row.lacking == NO_TIMES:
                return None
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
        proven = self._in_proofs(rule, intent, step)
        if proven is None:
            return None
        if not is_past(rule, proven):
            return alpha_of(self.plan, rule, FIRST)
        size = 0.0 if rule.metric.kind is Kind.LOSS else proven
        return self.catch(rule, intent, step, size).probability

    def _in_proofs(self, rule: Rule, intent: str | None, step: int) -> float | None:
        """What a healthy candidate shows to proofs: those of an arm's grades allow for the judge's errors."""
        of = figure if rule.metric.kind is Kind.LOSS else true_figure
        return of(self, rule, intent, step)

    def _stated(
        self,
        rule: Rule,
        intent: str | None,
        step: int,
        catches: Sequence[Scenario],
        shown: float | None,
    ) -> tuple[float, ...]:
        """How bad the candidates are that this rule should catch, as it is said."""
        stated = [self._size(rule, one) for one in catches]
        if rule.usual is not None:
            once = figure(self, replace(rule, usual=None), intent, step)
            stated = [size / once if size is not None and once else size for size in stated]
        if rule.metric.subject.removesuffix("_us") in TIMES and shown is not None:
            stated += [shown * times for times in self.slower]
        usual = true_figure(self, rule, intent, step)
        if rule.metric.kind is Kind.COST and usual is not None:
            part = cost_part(self, rule, intent, step)
            stated += [usual * (1 + (times - 1) * part) for times in self.dearer if part]
        return tuple(size for size in stated if size is not None)

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
        """The proof against a candidate that is so bad, from a start in the minute of its first answer; where people
        grade beside a judge, the first of two.
        """
        bad = self._bad_served(rule, size)
        a_minute_bad = None if bad is None else self.requests(Arm.CANDIDATE, intent, step) * bad
        without = Catch(size=size, bad_a_minute=a_minute_bad)
        if not is_provable(rule):
            return without
        by_judge = self._proof_against(rule, intent, step, size)
        by_people = self._by_people_against(rule, intent, step, size)
        made = tuple(one for one in (by_judge, by_people) if one is not None)
        if not made:
            return without
        most_min = rule.window / MINUTE
        first = min(made, key=lambda one: Soonest((one,)).quantile(MEDIAN, most_min))
        if not math.isfinite(Soonest((first,)).quantile(MEDIAN, most_min)):
            first = max(made, key=lambda one: one[1].probability(one[0] * most_min))
        together = 0.0
        if by_people is not None:
            together = people.correlation(self.plan, *self.answers(intent, step, size))
        soonest = Soonest(made, together)
        caught = self._caught(rule, intent, step, without, soonest, a_minute=first[0])
        return replace(caught, by_people=first is by_people)

    def _caught(
        self,
        rule: Rule,
        intent: str | None,
        step: int,
        without: Catch,
        proof: Soonest,
        *,
        a_minute: float,
    ) -> Catch:
        most_min = rule.window / MINUTE
        median, sure = (proof.quantile(p, most_min) for p in (MEDIAN, SURE))
        mean = proof.mean(most_min) if math.isfinite(median) else NEVER
        delay = self.plan.labels.delay if rule.metric.labelled else timedelta(0)
        if rule.metric.kind is Kind.QUANTILE_RATIO and not step:
            # The baseline's percentile is frozen before what is judged against it.
            delay += _span(LEAST, self.requests(Arm.BASELINE, intent, step))

        def after(length_min: float) -> timedelta | None:
            if not math.isfinite(length_min):
                return None
            return delay + max(_span(length_min, 1.0), rule.least_window)

        def count(length_min: float) -> float | None:
            return length_min * a_minute if math.isfinite(length_min) else None

        likely = proof.probability(most_min)
        if self.pairs and rule.metric.kind is Kind.LOSS:
            by_pairs = self.against_by_pairs(rule, without.size).probability(self.pairs)
            likely = 1 - (1 - likely) * (1 - by_pairs)
        return replace(
            without,
            needed=(count(median), count(sure)),
            after=(after(median), after(sure)),
            mean=after(mean),
            probability=likely,
        )

    def _by_people_against(
        self, rule: Rule, intent: str | None, step: int, size: float
    ) -> tuple[float, ProofAgainst] | None:
        """How many answers of the arm with fewer people grade a minute, and when they prove it; None if they do not."""
        if not has_people(self.plan, rule):
            return None
        a_minute = self.graded_by_people(intent, step)
        if not a_minute:
            return None
        answers = self.answers(intent, step, size)
        return a_minute, people.against(self.plan, rule, *answers, kinds=self.kinds)

    def _proof_against(
        self, rule: Rule, intent: str | None, step: int, size: float
    ) -> tuple[float, ProofAgainst] | None:
        """How many observations there are a minute, and when they prove it; None where too little is known."""
        if rule.metric.kind is Kind.COST:
            of_costs = dearness.against(self, rule, intent, step, size)
            a_minute = dearness.in_proof(self, rule, intent, step)
            return None if of_costs is None else (a_minute, ProofAgainst(of_costs))
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
        proof = prospects.catching(self.plan, rule, BLOCKS, of, kinds=self.kinds)
        return self.blocks(intent, step), ProofAgainst(proof, _beside(rule, of))

    def _shown_wrong(self, arm: Arm, accuracy: float) -> float:
        """The part of an arm's graded answers that is called wrong, where its accuracy is this."""
        if arm is Arm.BASELINE:
            return 1 - self.called_right(accuracy)
        return self.called_wrong(arm, self.traffic.accuracy - accuracy)

    def against_by_pairs(self, rule: Rule, size: float) -> ProofAgainst:
        """The same by pairs of one window, beside blocks."""
        of = prospects.pairs(self.plan.priors.discordance, size)
        kinds = 2 + self.with_people
        proof = prospects.catching(self.plan, rule, PAIRS, of, kinds=kinds)
        return ProofAgainst(proof, _beside(rule, of))

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


def _beside(rule: Rule, of: Values) -> Shown:
    """The figure that has to be over a loss rule's limit beside its proof."""
    return Shown(mean=of.mean, variance=of.variance, limit=rule.limit)


def _span(observations: float, a_minute: float) -> timedelta:
    return timedelta(minutes=math.ceil(observations / a_minute))
