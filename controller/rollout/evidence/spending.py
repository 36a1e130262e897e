"""What a right answer costs, as proofs see it: what requests cost and how many answers are right, by minute.

"At most L for each right answer" says that the mean cost is at most L times the mean grade. Both means are of the same
minutes; no request's cost is joined with its own grade (`stats.balanced`). The arm's requests and their graded answers
count, each for itself.

To fail, a request counts with what it cost up to `caps.CAP` times the limit, and with 0 where that is not known: it
cost no less. The sum of that is counted when requests come, for the limits that a rollout's plan has
(`caps.cost_caps`); a minute in which it was not counted says nothing. To pass, a request counts with what it cost, and
with as much as it can have cost where that is not known. Where that has no bound there is no such proof.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from controller.rollout.counting.sums import Table
from controller.rollout.counting.tallies import About
from controller.rollout.evidence.by_minute import FAILING, PASSING, ByMinute
from controller.rollout.evidence.caps import NUSD, cap_nusd, most_nusd
from controller.rollout.evidence.proofs import RATE_ALTERNATIVE
from controller.rollout.evidence.reader import Reader
from controller.rollout.metrics import MICRO, capped
from controller.rollout.plan import Arm, Judge, Plan, Rule
from controller.rollout.state import Epoch
from controller.rollout.timeline import Window, minute_of
from controller.rollout.verdict import Amounts, Look
from controller.stats.balanced import Balance, log_wealth_nano

_LEAST_MOST: Final = (
    2.0  # times the limit: a bound for costs has to lie above the mean that is bet around
)

TOLD: Final = (
    "requests",
    "cost_nusd",
    "unknown",
    "graded",
    "correct_u",
    "correct.expected_u",
)
"""The names that a proof's tally has: of minutes that have both, the requests, what they cost as the proof counts it,
how many of them of unknown cost; the graded answers, the sum of their grades, and how many of the requests would be
right (as a judge's errors leave it) if each minute's were as its graded ones, in millionths.
"""
_OF_FAILING, _OF_PASSING = slice(6, 12), slice(12, 18)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is bet for one rule, frozen for an epoch. `most_nusd`: what a request can cost; None where nobody knows."""

    cap_nusd: int
    most_nusd: int | None
    failing: Balance
    passing: Balance | None


def policy_of(plan: Plan, rule: Rule) -> Policy:
    """What a provable rule on a cost per correct answer is bet on."""
    reference = min(max(plan.priors.accuracy, 0.01), 0.99)
    low, high = _grades(plan.labels.judge)
    limit, cap = rule.limit * NUSD, cap_nusd(rule)
    most = most_nusd(plan, rule.arm or Arm.CANDIDATE)
    if most is not None:
        most = max(most, math.ceil(_LEAST_MOST * limit))
    bounds = {"reference": reference, "low": low, "high": high}
    failing = Balance(most=cap / limit, effect=(RATE_ALTERNATIVE - 1) * reference, **bounds)
    passing = None
    if most is not None:
        effect = (1 - 1 / RATE_ALTERNATIVE) * reference
        passing = Balance(most=most / limit, effect=effect, **bounds)
    return Policy(cap_nusd=cap, most_nusd=most, failing=failing, passing=passing)


def _grades(judge: Judge | None) -> tuple[float, float]:
    """What a grade of 0 and one of 1 stand for. Those of a judge that errs lie beyond 0 and 1, so that their mean is
    the true accuracy (Rogan and Gladen 1978).
    """
    if judge is None:
        return 0.0, 1.0
    false_alarms = 1 - judge.specificity
    return -false_alarms / judge.discrimination, judge.specificity / judge.discrimination


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending(ByMinute):
    """What one arm of one rule spends on one intent for its right answers, from the minute `start` on."""

    width: ClassVar[int] = 18
    arm: Arm
    policy: Policy

    @classmethod
    def of(
        cls, plan: Plan, rule: Rule, intent: str | None, reader: Reader, epoch: Epoch
    ) -> Spending:
        """Of the requests since the epoch began."""
        return cls(
            rule=rule,
            reader=reader,
            intent=intent,
            start=minute_of(epoch.start),
            arm=rule.arm or Arm.CANDIDATE,
            policy=policy_of(plan, rule),
        )

    @property
    def can_pass(self) -> bool:
        """Whether it can be proven that the limit is kept: what a request can cost at most is known."""
        return self.policy.passing is not None

    def look(self, start: int, end: int, tally: Mapping[str, int]) -> Look:
        """What a right answer costs, as the proof of this tally counts it; no value where none is right."""
        n, right = tally.get("requests", 0), tally.get("correct.expected_u", 0) / MICRO
        cost = tally.get("cost_nusd", 0) / NUSD / right if right > 0 else None
        return Look(
            window=Window.of_minutes(start, end),
            value=cost,
            counts=Amounts(candidate=cost, baseline=None, candidate_n=n, baseline_n=0),
            samples=min(n, tally.get("graded", 0)),
            complete=False,
        )

    def _tally(self, row: Table, *, failing: bool) -> dict[str, int]:
        told = row[_OF_FAILING if failing else _OF_PASSING].tolist()
        return {name: count for name, count in zip(TOLD, told, strict=True) if count}

    def _about(self) -> About:
        # Grades that come late change it, and `correct_u` says so.
        names = ("correct_u", self.rule.name, self.arm.value, str(self.start), repr(self.policy))
        return About(names, self.intent)

    def _in_minutes(self, first: int, end: int) -> Table:
        policy = self.policy
        keys = ("n", "c.cost_nusd", "s.cost_nusd", capped(policy.cap_nusd), "graded", "correct_u")
        at = np.arange(first, end + 1, dtype=np.int64)
        sums = self.reader.tallies.until(at, keys, arm=self.arm.value, intent=self.intent)
        n, known, spent, up_to_cap, graded, correct_u = np.diff(sums, axis=0).T
        seen = {"n": n, "unknown": n - known, "graded": graded, "correct_u": correct_u}
        rows = np.zeros((end - first, self.width), dtype=np.int64)
        # Something was spent, and nothing of it was counted up to the cap: it was not asked for then.
        counted = (up_to_cap > 0) | (spent == 0)
        rows[:, FAILING], rows[:, _OF_FAILING] = _added(
            seen, up_to_cap, counted, policy.cap_nusd, policy.failing, sign=1
        )
        if policy.passing is not None and policy.most_nusd is not None:
            # A request that cost more than one can is against the pass as several that cost as much.
            at_most = np.minimum(spent + (n - known) * policy.most_nusd, n * policy.most_nusd)
            rows[:, PASSING], rows[:, _OF_PASSING] = _added(
                seen, at_most, n > 0, policy.most_nusd, policy.passing, sign=-1
            )
        return rows


def _added(
    seen: Mapping[str, Table],
    cost_nusd: Table,
    counted: Table,
    most: int,
    balance: Balance,
    *,
    sign: int,
) -> tuple[Table, Table]:
    """The wealth and the tally of each minute; nothing of those without requests or grades, or not `counted`."""
    n, graded = seen["n"] * counted, seen["graded"] * counted
    right = seen["correct_u"] * counted / MICRO
    wealth = log_wealth_nano(
        n, cost_nusd * counted / most, graded, right, balance=balance, sign=sign
    )
    both = (n > 0) & (graded > 0)
    true = balance.low * graded + (balance.high - balance.low) * right
    expected_u = np.rint(MICRO * n * true / np.maximum(graded, 1)).astype(np.int64)
    told = [n, cost_nusd, seen["unknown"], graded, seen["correct_u"], expected_u]
    return wealth, np.stack(told, axis=1) * both[:, None]
