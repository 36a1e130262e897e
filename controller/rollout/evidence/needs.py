"""What an undecided rule still needs: how many more observations until a proof comes, if it goes on as seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from controller.rollout.counting.blocks import block_sizes
from controller.rollout.evidence import proofs, prospects
from controller.rollout.evidence.by_minute import HOUR_MIN
from controller.rollout.evidence.powered import (
    as_graded,
    has_people,
    is_by_people,
    loss_of,
    policy_of,
)
from controller.rollout.evidence.proofs import bad_side
from controller.rollout.evidence.rules import alpha_of, is_provable, shown_bound
from controller.rollout.evidence.starts import start_threshold
from controller.rollout.metrics import MICRO, Kind
from controller.rollout.plan import FULL_BP, Plan, Rule
from controller.rollout.state import State
from controller.rollout.timeline import minute_of, minutes
from controller.rollout.verdict import (
    LossCounts,
    Outcome,
    PairCounts,
    PoweredCounts,
    Proof,
    Reading,
    Verdict,
)
from controller.stats.betting import Bets, Floats, log_increments
from controller.stats.passage import NEVER, NOTHING, Passage, Three, Values, growth
from controller.stats.powered import powered_growth

MEDIAN = 0.5
PRIOR_WEIGHT = 100  # observations that the plan's priors count for beside those that were seen
ONE_MORE = 1.0  # at least: what is nearly proven is not proven
EPISODES, LABELS, REQUESTS = "episodes", "labels", "requests"
BLOCKS, PAIRS, PEOPLE = "blocks", "pairs", "people"
_OF_SHARES = {Kind.RATE: EPISODES, Kind.ACCURACY: LABELS, Kind.QUANTILE: REQUESTS}
_LN_2 = math.log(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The nearer of a rule's two proofs, in the median, if it goes on as seen.

    `proof` is PASS or FAIL; INSUFFICIENT where neither would come, and the rest is None. `observations` are more of
    `kind`: episodes of a rate; labels of an accuracy; requests of a percentile; blocks of a loss, which are labels of
    the arm with fewer, or people's grades of that arm, where they grade beside a judge; or pairs. `after` is how long
    that takes at the present rate; None where nothing comes. `pairs`: how many shadow pairs would do instead of blocks.
    """

    proof: Outcome
    kind: str
    observations: float | None = None
    after: timedelta | None = None
    pairs: float | None = None


def needs(plan: Plan, state: State, verdict: Verdict) -> Needs | None:
    """What the confident form of a verdict lacks; None where it lacks nothing, or there is nothing to reckon with."""
    rule = plan.rule(verdict.rule)
    if rule is None or verdict.confident is not Outcome.INSUFFICIENT or not is_provable(rule):
        return None
    if verdict.reading.passing is not None and verdict.reading.passing.reached:
        return None  # it lacks the labels that are missing, which the verdict names, and no more of them
    if rule.metric.kind in (Kind.QUANTILE_RATIO, Kind.COST):
        return None  # what a minute adds depends on how much of each sample there is in it
    if has_people(plan, rule):
        return _of_people(plan, state, rule, verdict.reading)
    reading = verdict.reading
    kind = _kind(plan, rule, reading)
    seen = _as_seen(plan, state, rule, kind, reading)
    if seen is None:
        return None
    a_minute = _a_minute(state, kind, reading)
    passing = _to_pass(plan, rule, kind, reading, seen)
    failing = _to_fail(plan, state, rule, kind, reading, seen, a_minute)
    found = max(min(passing, failing), ONE_MORE)
    if found == NEVER:
        return Needs(proof=Outcome.INSUFFICIENT, kind=kind)
    proof = Outcome.PASS if passing <= failing else Outcome.FAIL
    return Needs(
        proof=proof,
        kind=kind,
        observations=found,
        after=timedelta(minutes=math.ceil(found / a_minute)) if a_minute else None,
        pairs=_instead(plan, state, rule, reading, seen, proof) if kind == BLOCKS else None,
    )


def _of_people(plan: Plan, state: State, rule: Rule, reading: Reading) -> Needs | None:
    """By people's grades beside the judge's: from what is proven so far on, as both grade now, and as the plan assumes
    where people have graded few.
    """
    look = reading.by_people
    if (
        look is None
        or not isinstance(look.counts, PoweredCounts)
        or not 0 < state.share_bp < FULL_BP
    ):
        return None
    candidate, baseline = as_graded(plan, look.counts, state.share_bp / FULL_BP)
    loss = loss_of(plan, candidate, baseline)
    a_minute = look.samples / max(minutes(look.window.span), 1)
    effect = rule.alternative or rule.limit

    def after(margin: float, sign: int, proof: Proof | None, needed: float) -> float:
        of = powered_growth(
            candidate,
            baseline,
            policy_of(plan),
            margin=margin,
            effect=effect,
            sign=sign,
            looks_every=HOUR_MIN * a_minute,
        )
        held = proof.log_e if proof is not None else 0.0
        return Passage(growth=of, log_threshold=needed, held=(held,) * 3).quantile(MEDIAN)

    found, proof = NEVER, Outcome.PASS
    if loss < rule.limit:
        found = after(rule.limit, -1, reading.passing, proofs.pass_threshold(plan, 1))
    elif loss > rule.limit:
        proof = Outcome.FAIL
        by_people = reading.failing if is_by_people(reading.failing) else None
        needed = _fail_threshold(plan, state, rule, by_people)
        found = after(proofs.claim_of(plan, rule), 1, by_people, needed)
        if a_minute and found > a_minute * minutes(rule.window):
            found = NEVER
    found = max(found, ONE_MORE)
    if found == NEVER:
        return Needs(proof=Outcome.INSUFFICIENT, kind=PEOPLE)
    return Needs(
        proof=proof,
        kind=PEOPLE,
        observations=found,
        after=_to_full_hour(look.window.end, found / a_minute) if a_minute else None,
    )


def _to_full_hour(end: datetime, wait_min: float) -> timedelta:
    """Until the hour is full in which that wait ends: such a proof says nothing sooner."""
    now = minute_of(end)
    return timedelta(minutes=-(-math.ceil(now + wait_min) // HOUR_MIN) * HOUR_MIN - now)


# What was seen


def _kind(plan: Plan, rule: Rule, reading: Reading) -> str:
    """What the proof so far is made of: a proof of pairs is the one that bets for pairs give for its tally."""
    if rule.metric.kind in _OF_SHARES:
        return _OF_SHARES[rule.metric.kind]
    proof = reading.passing
    if proof is None:
        return BLOCKS
    paired = _wealth(proof.tally, proofs.passing_bets(plan, rule, PAIRS), sign=-1)
    alone = _wealth(proof.tally, proofs.passing_bets(plan, rule, BLOCKS), sign=-1)
    far = abs(_merged(paired) - proof.log_e), abs(_merged(alone) - proof.log_e)
    return PAIRS if far[0] < far[1] else BLOCKS


def _as_seen(plan: Plan, state: State, rule: Rule, kind: str, reading: Reading) -> Values | None:
    """What the next observation is like: as those of the epoch; of a loss, as the priors say where few were seen."""
    tally = reading.passing.tally if reading.passing is not None else {}
    if kind in _OF_SHARES.values():
        count, of = float(_values(tally) @ list(tally.values())), sum(tally.values())
        # Beside one at the limit, so that none of the few seen does not say never, nor anything of the other side.
        return prospects.episodes((count + shown_bound(plan, rule)) / (of + 1)) if of else None
    expected = _expected(plan, state, kind)
    if expected is None:
        return None
    weights = PRIOR_WEIGHT * expected.probabilities
    values = np.concatenate([expected.values, _values(tally)])
    counted = np.concatenate([weights, list(tally.values())])
    return Values(values, counted / counted.sum())


def _expected(plan: Plan, state: State, kind: str) -> Values | None:
    """Of a candidate that loses nothing, by the priors; None where there are no two arms."""
    if kind == PAIRS:
        return prospects.pairs(plan.priors.discordance, 0.0)
    sizes, wrong = block_sizes(state.share_bp), 1 - plan.priors.accuracy
    if sizes is None:
        return None
    return prospects.blocks(sizes, baseline_wrong=wrong, candidate_wrong=wrong)


def _values(tally: Mapping[str, int]) -> Floats:
    return np.array([int(name) / MICRO for name in tally], dtype=np.float64)


def _wealth(tally: Mapping[str, int], bets: Bets, *, sign: int) -> Three:
    """The log wealth of each bet after what was seen, or (sign −1) its opposite."""
    if not tally:
        return NOTHING
    one, two, three = (log_increments(sign * _values(tally), bets) @ list(tally.values())).tolist()
    return one, two, three


def _merged(wealth: Three) -> float:
    top = max(wealth)
    return top + math.log(math.fsum(math.exp(one - top) for one in wealth) / len(wealth))


def _a_minute(state: State, kind: str, reading: Reading) -> float:
    """Observations a minute at the present share: of the rule's window where that lies in the step, else of the step so
    far; of pairs that are too few for the window's figure, of the epoch.
    """
    look = reading.latest
    if look is None:
        return 0.0
    if kind in _OF_SHARES.values():
        return _of_proofs(state, reading)
    if kind == PAIRS:
        if isinstance(look.counts, PairCounts) or reading.passing is None:
            return look.samples / max(minutes(look.window.span), 1)
        return _each_minute(reading.passing)
    if isinstance(look.counts, LossCounts) and look.window.start >= state.step_started_at:
        return look.samples / max(minutes(look.window.span), 1)
    since = look.window.end - state.step_started_at
    return reading.step_samples / minutes(since) if since > timedelta(0) else 0.0


def _of_proofs(state: State, reading: Reading) -> float:
    """Observations of a share by the longest proof that lies in the step; else by the epoch's, the longest there is."""
    found = [one for one in (reading.passing, reading.failing) if one is not None]
    recent = [one for one in found if one.window.start >= state.step_started_at]
    return _each_minute(max(recent or found, key=lambda one: one.window.span))


def _each_minute(proof: Proof) -> float:
    return sum(proof.tally.values()) / minutes(proof.window.span)


# Proofs to come


def _to_pass(plan: Plan, rule: Rule, kind: str, reading: Reading, seen: Values) -> float:
    bets, proof, sign = proofs.passing_bets(plan, rule, kind), reading.passing, -bad_side(rule)
    return Passage(
        growth=growth(prospects.signed(seen, sign), bets),
        log_threshold=proof.log_threshold if proof else proofs.pass_threshold(plan, 1),
        held=_wealth(proof.tally, bets, sign=sign) if proof else NOTHING,
    ).quantile(MEDIAN)


def _to_fail(
    plan: Plan,
    state: State,
    rule: Rule,
    kind: str,
    reading: Reading,
    seen: Values,
    a_minute: float,
) -> float:
    """From the strongest window while it lasts, or from a new one. A loss must also be seen over its limit."""
    sign, limit = bad_side(rule), shown_bound(plan, rule)
    if sign * seen.mean <= sign * limit:
        return NEVER
    bets, proof, window_min = (
        proofs.failing_bets(plan, rule, kind),
        reading.failing,
        minutes(rule.window),
    )
    each = growth(prospects.signed(seen, sign), bets)
    fresh = Passage(growth=each, log_threshold=_fail_threshold(plan, state, rule, proof))
    going_on = [(fresh.quantile(MEDIAN), window_min)]
    if proof is not None:
        held = _wealth(proof.tally, bets, sign=sign)
        passage = Passage(growth=each, log_threshold=proof.log_threshold, held=held)
        going_on.append((passage.quantile(MEDIAN), window_min - minutes(proof.window.span)))
    return min((n for n, left in going_on if n <= a_minute * left), default=NEVER)


def _fail_threshold(plan: Plan, state: State, rule: Rule, proof: Proof | None) -> float:
    if proof is not None:
        return proof.log_threshold
    kinds = 2 if has_people(plan, rule) else 1
    epoch = state.epoch(rule.name)
    return start_threshold(
        rule,
        alpha=alpha_of(plan, rule, epoch) / kinds,
        horizon_min=minutes(plan.horizon),
        first=minute_of(epoch.start),
    )


def _instead(
    plan: Plan, state: State, rule: Rule, reading: Reading, seen: Values, proof: Outcome
) -> float | None:
    """Shadow pairs that would prove the same on their own, with the same loss; blocks beside them halve the alpha."""
    of = prospects.pairs(plan.priors.discordance, seen.mean)
    if proof is Outcome.PASS:
        each = growth(of.negated, proofs.passing_bets(plan, rule, PAIRS))
        needed = proofs.pass_threshold(plan, 2)
    else:
        each = growth(of, proofs.failing_bets(plan, rule, PAIRS))
        needed = _fail_threshold(plan, state, rule, reading.failing) + _LN_2
    found = Passage(growth=each, log_threshold=needed).quantile(MEDIAN)
    return found if found < NEVER else None
