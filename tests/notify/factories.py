"""Plans, readings, verdicts and notices that name only what matters to a test."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.notify.figures import estimate
from controller.rollout.decision import Action, Notice, Wait
from controller.rollout.evidence.rules import judge
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.plan import (
    Arm,
    Evidence,
    Intent,
    Labels,
    ModelRef,
    Plan,
    Rule,
    Scope,
    Severity,
    Step,
    Then,
    Unit,
)
from controller.rollout.state import Cause
from controller.rollout.timeline import Window
from controller.rollout.verdict import (
    Amounts,
    Availability,
    Counts,
    Look,
    LossCounts,
    PairCounts,
    Proof,
    RateCounts,
    Reading,
    StratumCounts,
    Verdict,
    WorstCase,
)

NOW = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)
END = datetime(2026, 11, 21, 3, 14, tzinfo=UTC)
ROLLOUT = "support-bot/1"
HOUR = timedelta(hours=1)
FULL_WINDOW = timedelta(hours=24)


# Plans


def rule(
    name: str = "escalation",
    metric: str = "escalation_rate",
    limit: float = 0.02,
    *,
    window: timedelta = 24 * HOUR,
    then: Then = Then.ROLLBACK,
    evidence: Evidence = Evidence.OBSERVED,
    scope: Scope = Scope.ALL,
    below: bool = False,
    sustained: timedelta = timedelta(0),
    arm: Arm | None = None,
) -> Rule:
    return Rule(
        name=name,
        metric=CATALOGUE[metric],
        limit=limit,
        window=window,
        then=then,
        evidence=evidence,
        scope=scope,
        below=below,
        sustained=sustained,
        arm=arm,
    )


ESCALATION = rule()
ACCURACY = rule(
    "accuracy",
    "accuracy_delta",
    0.015,
    window=72 * HOUR,
    then=Then.PAUSE,
    evidence=Evidence.CONFIDENT,
    scope=Scope.CRITICAL,
)
LATENCY = rule(
    "latency",
    "latency_p95_ratio",
    1.25,
    window=HOUR,
    then=Then.PAUSE,
    sustained=timedelta(minutes=15),
)
SPEND = rule("spend", "cost_per_hour", 50, window=HOUR, then=Then.PAUSE)


def plan(*rules: Rule, **changes) -> Plan:
    """The shipped plan, as values."""
    given: dict[str, Any] = {
        "name": "support-bot",
        "baseline": ModelRef(model="gpt-4.1"),
        "candidate": ModelRef(model="gpt-4.1-mini"),
        "match_model": "gpt-4.1",
        "unit": Unit.CONVERSATION,
        "intents": (
            Intent(name="refund", critical=True),
            Intent(name="order-status"),
            Intent(name="legal", pinned=True),
        ),
        "steps": (
            Step(share_bp=1_000, hold=72 * HOUR, min_samples=500),
            Step(share_bp=2_500, hold=48 * HOUR),
            Step(share_bp=5_000, hold=24 * HOUR, approval=True),
            Step(share_bp=10_000),
        ),
        "rules": rules or (ACCURACY, ESCALATION, LATENCY, SPEND),
        "labels": Labels(delay=6 * HOUR, horizon=timedelta(days=7)),
        "holdback_bp": 100,
        "bake": timedelta(days=7),
    }
    return Plan(**(given | changes))


PLAN = plan()


# Evidence


def window(span: timedelta = FULL_WINDOW, *, end: datetime = END) -> Window:
    return Window(start=end - span, end=end)


def rate(count: int, of: int) -> RateCounts:
    return RateCounts(count=count, of=of)


def stratum(
    baseline: tuple[float, int],
    candidate: tuple[float, int],
    *,
    version: int = 3,
    intent: str = "refund",
) -> StratumCounts:
    """Each arm as (accuracy, graded episodes)."""
    return StratumCounts(
        version=version,
        intent=intent,
        baseline_n=baseline[1],
        baseline_correct_u=round(baseline[0] * baseline[1]) * MICRO,
        candidate_n=candidate[1],
        candidate_correct_u=round(candidate[0] * candidate[1]) * MICRO,
    )


def loss(*strata: StratumCounts) -> LossCounts:
    return LossCounts(strata=strata)


def pairs(both: int, only_baseline: int, only_candidate: int, neither: int) -> PairCounts:
    return PairCounts(
        both=both, only_baseline=only_baseline, only_candidate=only_candidate, neither=neither
    )


def amounts(
    candidate: float | None,
    baseline: float | None = None,
    *,
    candidate_n: int = 0,
    baseline_n: int = 0,
) -> Amounts:
    return Amounts(
        candidate=candidate, baseline=baseline, candidate_n=candidate_n, baseline_n=baseline_n
    )


def look(
    value: float | None,
    counts: Counts,
    *,
    samples: int = 5_000,
    complete: bool = True,
    span: timedelta = FULL_WINDOW,
    end: datetime = END,
) -> Look:
    return Look(
        window=window(span, end=end),
        value=value,
        counts=counts,
        samples=samples,
        complete=complete,
    )


def rate_look(count: int, of: int, *, complete: bool = True, span: timedelta = FULL_WINDOW) -> Look:
    return look(count / of, rate(count, of), samples=of, complete=complete, span=span)


def proof(
    e: float,
    of: float,
    counts: Counts,
    *,
    claim: float = 0.0,
    observed: float | None = None,
    span: timedelta = FULL_WINDOW,
) -> Proof:
    """An e-value `e` against the threshold `of`, over `span`. The figure beside it is the counts' own over the same
    window; with `observed` it is that, over the three days of a loss rule.
    """
    whole = estimate(counts) if observed is None else observed
    return Proof(
        window=window(span),
        claim=claim,
        log_e=math.log(e),
        log_threshold=math.log(of),
        tally={},
        look=look(
            whole,
            counts,
            samples=1_000,
            span=span if observed is None else timedelta(hours=72),
        ),
    )


def verdict(
    one: Rule,
    intent: str | None = None,
    *,
    availability: Availability = Availability.MEASURED,
    latest: Look | None = None,
    worst: Look | None = None,
    failing: Proof | None = None,
    passing: Proof | None = None,
    worst_case: WorstCase | None = None,
    blind: timedelta = timedelta(0),
) -> Verdict:
    """What `judge` concludes from such a reading."""
    return judge(
        one,
        Reading(
            rule=one.name,
            intent=intent,
            epoch=0,
            availability=availability,
            latest=latest,
            worst=worst,
            failing=failing,
            passing=passing,
            worst_case=worst_case,
            blind=blind,
        ),
    )


ESCALATED = verdict(ESCALATION, latest=rate_look(187, 7_762), worst=rate_look(187, 7_762))
"""187 of 7,762: an escalation rate of 2.41%."""

REFUND_LOSS = loss(stratum((0.962, 4_120), (0.931, 463)))
LOST_ACCURACY = verdict(
    ACCURACY,
    "refund",
    latest=look(0.031, REFUND_LOSS, samples=463, span=72 * HOUR),
    worst=look(0.031, REFUND_LOSS, samples=463, span=72 * HOUR),
    failing=proof(1_240, 20, REFUND_LOSS, observed=0.031, span=72 * HOUR),
)

SLOW = verdict(
    LATENCY,
    worst=look(
        1.312,
        amounts(2.1, 1.6, candidate_n=4_120, baseline_n=37_080),
        samples=4_120,
        span=HOUR,
    ),
)


# Notices


def notice(
    action: Action,
    cause: Cause = Cause.COMMAND,
    *failures: Verdict,
    before: int = 1_000,
    after: int = 1_000,
    severity: Severity = Severity.INFO,
    deadline: datetime | None = None,
    actor: str = "",
    reason: str = "",
    detail: str = "",
    key: str = "",
    waits: tuple[Wait, ...] = (),
    lacking: tuple[Verdict, ...] = (),
) -> Notice:
    return Notice(
        key=key or action.value,
        action=action,
        cause=cause,
        severity=severity,
        at=NOW,
        share_before_bp=before,
        share_after_bp=after,
        failures=failures,
        deadline=deadline,
        actor=actor,
        reason=reason,
        detail=detail,
        waits=waits,
        lacking=lacking,
    )


ROLLED_BACK = notice(Action.ROLLBACK, Cause.RULE, ESCALATED, after=0, severity=Severity.CRITICAL)
PAUSED = notice(
    Action.PAUSE,
    Cause.RULE,
    LOST_ACCURACY,
    severity=Severity.CRITICAL,
    deadline=NOW + 24 * HOUR,
)
