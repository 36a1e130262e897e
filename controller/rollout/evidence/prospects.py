"""What the rules of a plan can be expected to prove, and with how many observations: the live bets and thresholds.

Nothing here decides. It says of which kind an observation is (an episode, a block, a pair), and when the e-process that
a rule is judged by would reach what the rule asks of it (`controller.stats.passage`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from controller.rollout.counting.blocks import Sizes
from controller.rollout.evidence import proofs
from controller.rollout.evidence.rules import alpha_of
from controller.rollout.evidence.starts import start_threshold
from controller.rollout.plan import Plan, Rule
from controller.rollout.state import Epoch
from controller.rollout.timeline import EPOCH, minutes
from controller.stats.betting import Floats
from controller.stats.passage import Passage, Values, growth

FIRST = Epoch(number=0, start=EPOCH)


# Kinds of observations


def episodes(rate: float) -> Values:
    """Of a rate, or an accuracy: 1 where an episode has the flag, or is right."""
    return Values(np.array([0.0, 1.0]), np.array([1 - rate, rate]))


def signed(of: Values, sign: int) -> Values:
    """The values themselves (1), or their opposites (−1), for the side that is bet on."""
    return of if sign > 0 else of.negated


def pairs(discordance: float, loss: float) -> Values:
    """The same request on both arms: baseline right minus candidate right. Discordance is at least the loss."""
    both = max(discordance, abs(loss))
    worse, better = (both + loss) / 2, (both - loss) / 2
    return Values(np.array([-1.0, 0.0, 1.0]), np.array([better, 1 - both, worse]))


def blocks(sizes: Sizes, *, baseline_wrong: float, candidate_wrong: float) -> Values:
    """Labels of both arms, each right or wrong: the baseline's mean minus the candidate's."""
    baseline, p = _parts_right(sizes.baseline, baseline_wrong)
    candidate, q = _parts_right(sizes.candidate, candidate_wrong)
    values = np.subtract.outer(baseline, candidate).ravel()
    likely = np.outer(p, q).ravel()
    return Values(values, likely / likely.sum())


def _parts_right(n: int, wrong: float) -> tuple[Floats, Floats]:
    """Parts of n labels that may be right, and the binomial probability of each."""
    count = np.arange(n + 1)
    if wrong in (0, 1):
        return count / n, (count == n * (1 - wrong)).astype(np.float64)
    ways = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1)]
    logs = np.array(ways) + count * math.log1p(-wrong) + (n - count) * math.log(wrong)
    return count / n, np.exp(logs)


# Proofs to come


def catching(plan: Plan, rule: Rule, kind: str, of: Values, *, kinds: int = 1) -> Passage:
    """From a fresh start in the first epoch and in planned time to the proof that fails the rule.

    `kinds`: of evidence that share the rule's alpha (blocks beside pairs: 2).
    """
    needed = start_threshold(
        rule, alpha=alpha_of(plan, rule, FIRST) / kinds, horizon_min=minutes(plan.horizon)
    )
    bets = proofs.failing_bets(plan, rule, kind)
    on = signed(of, proofs.bad_side(rule))
    return Passage(growth=growth(on, bets), log_threshold=needed)


def keeping(
    plan: Plan,
    rule: Rule,
    kind: str,
    of: Values,
    *,
    kinds: int = 1,
    before: Sequence[tuple[float, Values]] = (),
) -> Passage:
    """To the proof that the limit is kept, after so many observations of other kinds `before`."""
    bets, sign = proofs.passing_bets(plan, rule, kind), -proofs.bad_side(rule)
    return Passage(
        growth=growth(signed(of, sign), bets),
        log_threshold=proofs.pass_threshold(plan, kinds),
        before=tuple((n, growth(signed(other, sign), bets)) for n, other in before),
    )
