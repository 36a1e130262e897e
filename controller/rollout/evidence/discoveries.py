"""Which rules have failed on which non-critical intents, over all of them together: for reports, stops nothing.

A stop is proven against every rule and intent at once, so that hardly any is false. Who reads of twenty intents
accepts that some of those named may be false, if few are: e-BH holds their expected part below `RATE`, whatever
depends on what.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controller.rollout.evidence.rules import alpha_of, is_provable
from controller.rollout.plan import Plan, Rule
from controller.rollout.state import Epoch
from controller.rollout.timeline import EPOCH
from controller.rollout.verdict import Outcome, Verdict
from controller.stats.multiple import e_bh

RATE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """One rule on one non-critical intent: the logarithm of its e-value (−inf: not judged), and whether it is named."""

    rule: str
    intent: str
    log_e: float
    named: bool


def discoveries(plan: Plan, verdicts: Sequence[Verdict]) -> tuple[Tested, ...]:
    """Every provable rule on every non-critical intent that it is judged on by itself, in the plan's order."""
    asked = list(_asked(plan))
    if not asked:
        return ()
    found = {(one.rule, one.intent): one for one in verdicts}
    log_es = [_log_e_value(plan, rule, found.get((rule.name, intent))) for rule, intent in asked]
    named = set(e_bh(log_es, q=RATE))
    return tuple(
        Tested(rule=rule.name, intent=intent, log_e=log_e, named=place in named)
        for place, ((rule, intent), log_e) in enumerate(zip(asked, log_es, strict=True))
    )


def _asked(plan: Plan) -> Iterator[tuple[Rule, str]]:
    critical = {intent.name for intent in plan.intents if intent.critical}
    for rule in plan.rules:
        for intent in plan.judged_intents(rule):
            if intent is not None and intent not in critical and is_provable(rule):
                yield rule, intent


def _log_e_value(plan: Plan, rule: Rule, verdict: Verdict | None) -> float:
    """The e-value behind a proof: E of its start, times the part of alpha that this start and kind of evidence have.

    The threshold is the negative logarithm of that part of alpha. Parts sum to one, so the largest of E-processes times
    their parts is at most a mean of them, and so an e-value; with the overtime of ADR 004, at most twice one.
    """
    # What could not be judged still counts as a test: leaving it out would depend on the data.
    if verdict is None or verdict.reading.failing is None or verdict.outcome not in _JUDGED:
        return -math.inf
    proof, epoch = verdict.reading.failing, Epoch(number=verdict.reading.epoch, start=EPOCH)
    return proof.log_e - proof.log_threshold - math.log(alpha_of(plan, rule, epoch))


_JUDGED = (Outcome.PASS, Outcome.FAIL, Outcome.INSUFFICIENT)
