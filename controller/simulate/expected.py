"""What a plan's rules can be expected to see on its traffic: units and requests by arm, intent and step, and grades.

Rules as written count requests, of which a unit has several; their proofs count units: episodes, grades, blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

from controller.rollout.counting.blocks import block_sizes
from controller.rollout.evidence import prospects
from controller.rollout.metrics import MICRO, PER_CORRECT, PER_HOUR, SERVED, Kind
from controller.rollout.plan import FULL_BP, Arm, Plan, Rule
from controller.rollout.timeline import MINUTE
from controller.simulate.picks import Picks
from controller.simulate.scenarios import Traffic
from controller.simulate.usual import Usual
from controller.stats.passage import Values


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A plan, its traffic, what else is known of healthy answers, and the shadow pairs there will be on each critical
    intent.
    """

    plan: Plan
    traffic: Traffic
    pairs: int = 0
    usual: Usual = field(default_factory=Usual)

    @cached_property
    def _free(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.plan.intents if not one.pinned)

    def names(self, intent: str | None) -> tuple[str, ...]:
        return self._free if intent is None else (intent,)

    # What arrives, a minute

    def units(self, arm: Arm, intent: str | None, step: int) -> float:
        """Of traffic that is compared."""
        share = self.plan.share_at(step) / FULL_BP
        part = math.fsum(self.traffic.mix[name] for name in self.names(intent))
        return self.traffic.units_per_minute * part * (share if arm is Arm.CANDIDATE else 1 - share)

    def requests(self, arm: Arm, intent: str | None, step: int) -> float:
        return self.units(arm, intent, step) * self.traffic.requests_per_unit

    def outside(self, intent: str | None) -> float:
        """Requests of pinned intents, on the baseline and never compared."""
        pinned = math.fsum(
            self.traffic.mix[one.name]
            for one in self.plan.intents
            if one.pinned and intent in (None, one.name)
        )
        return self.traffic.units_per_minute * pinned * self.traffic.requests_per_unit

    # How it is answered and graded

    def picks(self, rate: float) -> Picks:
        """Where this part of the answers is picked, each for itself."""
        return Picks(mean=self.traffic.requests_per_unit, rate=rate)

    def graded(self, arm: Arm) -> float:
        """The part of an arm's answers that counts: of escalated ones, wrong without a grade, what the plan samples."""
        escalated = self.escalated(arm)
        return self.plan.labels.sampled * escalated + self.traffic.label_rate * (1 - escalated)

    def graded_units(self, arm: Arm) -> float:
        """The part of an arm's units of which an answer counts."""
        escalated, known = self.escalated(arm), self.escalated_graded(arm)
        return known + self.picks(self.traffic.label_rate).units * (1 - escalated)

    def covered(self, arm: Arm) -> float:
        """An arm's coverage: of a sample, graded answers over those that were to be; else the part of units."""
        sampled = self.plan.labels.sampled
        return self.graded(arm) / sampled if self._is_sample else self.graded_units(arm)

    @property
    def _is_sample(self) -> bool:
        return self.plan.labels.sampled_u < MICRO

    def escalated(self, arm: Arm) -> float:
        """The part of an arm's units."""
        return self.traffic.escalation if arm is Arm.CANDIDATE else 0.0

    def escalated_graded(self, arm: Arm) -> float:
        """The part of an arm's units that is escalated and of which an answer counts as wrong."""
        return self.escalated(arm) * self.picks(self.plan.labels.sampled).units

    def wrong(self, loss: float = 0.0) -> float:
        """Of the candidate's answers."""
        return min(max(1 - self.traffic.accuracy + loss, self.traffic.escalation), 1.0)

    def wrong_if_graded(self, arm: Arm, loss: float = 0.0) -> float:
        """Of units with a grade."""
        if arm is Arm.BASELINE:
            return 1 - self.traffic.accuracy
        ordinary = self.wrong(loss) - self.traffic.escalation
        seen = self.escalated_graded(arm) + self.picks(self.traffic.label_rate).units * ordinary
        return seen / self.graded_units(arm) if seen else 0.0

    def called_wrong(self, arm: Arm, loss: float = 0.0) -> float:
        """The same by who grades: a judge errs as the plan says, and what escalated is wrong without it."""
        judge, true = self.plan.labels.judge, self.wrong_if_graded(arm, loss)
        graded = self.graded_units(arm)
        if judge is None or not graded:
            return true
        known = self.escalated_graded(arm) / graded
        return known + judge.specificity * (true - known) + (1 - judge.sensitivity) * (1 - true)

    def called_right(self, right: float) -> float:
        """Which part of answers whoever grades calls right, where so many are."""
        judge = self.plan.labels.judge
        if judge is None:
            return right
        return right * judge.sensitivity + (1 - right) * (1 - judge.specificity)

    @property
    def apparent_loss(self) -> float:
        """Of a candidate that loses nothing: its escalated answers weigh more than they should where fewer of the
        others are graded than the plan says, and less (a loss below 0) where more are. To 12
        digits: the rest is rounding.
        """
        apparent = self.wrong_if_graded(Arm.CANDIDATE) - self.wrong_if_graded(Arm.BASELINE)
        return round(apparent, 12) + 0.0  # of −0.0 too

    def blocks(self, intent: str | None, step: int) -> float:
        sizes = block_sizes(self.plan.share_at(step))
        if sizes is None:
            return 0.0
        return min(
            self.units(arm, intent, step) * self.graded_units(arm) / sizes.of(arm.value)
            for arm in Arm
        )

    def block(self, intent: str | None, step: int, loss: float) -> Values:
        """One of them, where the candidate loses so much."""
        sizes = block_sizes(self.plan.share_at(step))
        if sizes is None:
            raise LookupError(f"step {step + 1} has no two arms, so there are no blocks")
        return prospects.blocks(
            sizes,
            baseline_wrong=self.called_wrong(Arm.BASELINE),
            candidate_wrong=self.called_wrong(Arm.CANDIDATE, loss),
        )

    # What rules count

    def has_control(self, rule: Rule, step: int) -> bool:
        """Whether there is a baseline to compare with, where the rule does."""
        return not rule.metric.comparing or self.plan.share_at(step) < FULL_BP

    def arms(self, rule: Rule) -> tuple[Arm, ...]:
        """Those that it needs."""
        return tuple(Arm) if rule.metric.comparing else (rule.arm or Arm.CANDIDATE,)

    def samples(self, rule: Rule, intent: str | None, step: int) -> dict[Arm, float]:
        """What the rule as written counts, a minute, of the arms it needs. Bills and arm sizes count both as one."""
        kind = rule.metric.kind
        if kind is Kind.SAMPLE_RATIO:
            return {Arm.CANDIDATE: sum(self.units(arm, intent, step) for arm in Arm)}
        if counts_both(rule):
            part = 1.0 if intent is None else self.traffic.mix[intent]
            each = self.traffic.units_per_minute * self.traffic.requests_per_unit
            return {Arm.CANDIDATE: each * part}
        by_unit = self._by_unit(rule)
        return {arm: self._measured(rule, arm, intent, step, by_unit) for arm in self.arms(rule)}

    def proven_by(self, rule: Rule, intent: str | None, step: int) -> dict[Arm, float]:
        """What the rule's proof counts, a minute: requests for a percentile or a cost, else units, each once."""
        by_unit = rule.metric.kind not in (Kind.QUANTILE, Kind.QUANTILE_RATIO, Kind.COST)
        return {arm: self._measured(rule, arm, intent, step, by_unit) for arm in self.arms(rule)}

    def _measured(
        self, rule: Rule, arm: Arm, intent: str | None, step: int, by_unit: bool
    ) -> float:
        if by_unit:
            return self.units(arm, intent, step) * self.measured_units(rule, arm)
        return self.requests(arm, intent, step) * self.measured(rule, arm)

    def in_step(self, rule: Rule, intent: str | None, step: int) -> dict[Arm, float]:
        """What a step's `minSamples` counts of a rule, a minute: grades of units for a loss, else measured requests."""
        if rule.metric.kind is Kind.LOSS or counts_both(rule):
            return self.samples(rule, intent, step)
        of_grades = rule.metric.kind is Kind.COVERAGE
        return {
            arm: self.requests(arm, intent, step)
            * (self.graded(arm) if of_grades else self.measured(rule, arm))
            for arm in self.arms(rule)
        }

    def in_window(self, rule: Rule, intent: str | None, step: int) -> dict[Arm, float]:
        """Samples of one window, of the arms that the rule needs."""
        a_minute = self.samples(rule, intent, step)
        return {arm: n * (rule.window / MINUTE) for arm, n in a_minute.items()}

    def measured(self, rule: Rule, arm: Arm) -> float:
        """The part of an arm's answers that says something to the rule."""
        if self._is_of_grades(rule):
            return self.graded(arm)
        of_labels = rule.metric.kind is Kind.RATE and rule.metric.labelled
        return self.traffic.label_rate if of_labels and not rule.metric.of_requests else 1.0

    def measured_units(self, rule: Rule, arm: Arm) -> float:
        """The part of an arm's units of which an answer says something to the rule."""
        if self._is_of_grades(rule):
            return self.graded_units(arm)
        return self.picks(self.measured(rule, arm)).units

    def _is_of_grades(self, rule: Rule) -> bool:
        of_accuracy = rule.metric.kind in (Kind.LOSS, Kind.ACCURACY)
        return of_accuracy or rule.metric.subject == PER_CORRECT

    def _by_unit(self, rule: Rule) -> bool:
        match rule.metric.kind:
            case Kind.LOSS:
                return True
            case Kind.ACCURACY:
                return rule.metric.subject != SERVED
            case Kind.COVERAGE:
                return not self._is_sample
            case _:
                return rule.metric.subject == PER_CORRECT


def counts_both(rule: Rule) -> bool:
    """Whether it is about both arms as one: the whole bill."""
    return rule.metric.subject in PER_HOUR and rule.arm is None
