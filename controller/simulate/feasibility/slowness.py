"""When a ratio of percentiles is proven to be over its limit: the growth of the proof's wealth, a minute at a time.

The proof bets on each minute and intent by its own counts (`stats.matched`), so what a minute adds has no closed form:
its mean and variance are those of minutes that are drawn, with their own seed. Requests count each for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from controller.rollout.evidence.comparison import LEAST
from controller.rollout.evidence.proofs import RATE_ALTERNATIVE
from controller.rollout.evidence.prospects import FIRST
from controller.rollout.evidence.rules import alpha_of, bound_of
from controller.rollout.evidence.starts import start_threshold
from controller.rollout.plan import Arm, Plan, Rule
from controller.rollout.timeline import minutes
from controller.simulate.expected import Expected
from controller.simulate.feasibility.laws import slow
from controller.stats.histogram import bucket_of, upper_edge
from controller.stats.matched import NANO, log_wealth_nano
from controller.stats.passage import Growth, Passage, growth_of

MINUTES: Final = 20_000
SEED: Final = 7


def against_ratio(
    expected: Expected, rule: Rule, intent: str | None, step: int, size: float
) -> Passage | None:
    """In minutes, from a fresh start on. None where no latencies are known, or no percentile is frozen."""
    baseline = expected.usual.of(Arm.BASELINE, rule.metric.subject)
    usual = expected.usual.of(Arm.CANDIDATE, rule.metric.subject)
    q = rule.metric.quantile
    if (
        baseline is None
        or usual is None
        or q is None
        or not is_frozen(expected, rule, intent, step)
    ):
        return None
    bucket = baseline.quantile_bucket(q)
    theirs = baseline.above(bucket)
    worse = slow(usual, rule, size * baseline.quantile(q))
    ours = worse.above(limit_bucket(rule, bucket))
    rates = tuple(
        (expected.requests(Arm.CANDIDATE, one, step), expected.requests(Arm.BASELINE, one, step))
        for one in expected.names(intent)
    )
    return Passage(
        growth=_growth(rates, ours, theirs, bound_of(rule)),
        log_threshold=needed(expected.plan, rule),
    )


def limit_bucket(rule: Rule, frozen: int) -> int:
    """The bucket of the candidate's limit, beside the baseline's frozen one."""
    return bucket_of(rule.limit * upper_edge(frozen))


def needed(plan: Plan, rule: Rule) -> float:
    """What log E of the first start must reach."""
    return start_threshold(
        rule, alpha=alpha_of(plan, rule, FIRST), horizon_min=minutes(plan.horizon)
    )


def is_frozen(expected: Expected, rule: Rule, intent: str | None, step: int) -> bool:
    """Whether by then a window mostly held the baseline's requests from which its percentile is frozen: it stays so."""
    most = max(expected.requests(Arm.BASELINE, intent, one) for one in range(step + 1))
    return most * minutes(rule.window) >= LEAST


@lru_cache(maxsize=4096)
def _growth(
    rates: Sequence[tuple[float, float]], ours: float, theirs: float, level: float
) -> Growth:
    random = np.random.default_rng(SEED)
    gained = np.zeros((MINUTES, 3))
    for candidate, baseline in rates:
        n, k = random.poisson(candidate, MINUTES), random.poisson(baseline, MINUTES)
        wealth = log_wealth_nano(
            n,
            random.binomial(n, ours),
            k,
            random.binomial(k, theirs),
            reference=level,
            effect=(RATE_ALTERNATIVE - 1) * level,
            sign=1,
        )
        gained += wealth * NANO
    return growth_of(gained.T, np.full(MINUTES, 1 / MINUTES))
