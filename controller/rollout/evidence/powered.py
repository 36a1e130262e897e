"""A loss by people's grades of drawn units beside a judge's of all: how it is proven and what it is (docs/adr/025).

In each full hour of a stratum (intent and split version) both arms' episodes that were graded by people and the judge
are bet on together with those that the judge alone graded (`stats.powered`). Hours are the grain: what a proof says
changes when an hour is over, never within, for its bets follow how many answers the hour had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes, Table
from controller.rollout.counting.tallies import About
from controller.rollout.evidence.by_minute import (
    FAILING,
    HOUR_MIN,
    PASSING,
    from_zero,
    full_hours,
    strongest_since,
)
from controller.rollout.evidence.coverage import coverage_of_people, falls_short
from controller.rollout.evidence.proofs import Strongest, claim_of
from controller.rollout.evidence.reader import Reader
from controller.rollout.evidence.rules import bound_of, is_provable
from controller.rollout.metrics import MICRO, Kind
from controller.rollout.observation import MATCHED
from controller.rollout.plan import Arm, Plan, Rule
from controller.rollout.state import Epoch
from controller.rollout.timeline import Window, minute_of
from controller.rollout.verdict import (
    ArmByPeople,
    Coverage,
    Look,
    PoweredCounts,
    PoweredStratum,
    Proof,
)
from controller.stats.betting import Floats
from controller.stats.matched import log_e_of_wealth
from controller.stats.noise import Estimate
from controller.stats.powered import (
    Graded,
    Policy,
    chances,
    corners,
    log_wealth_nano,
    policy,
    powered_accuracies,
    powered_accuracy,
)

PRIOR_WEIGHT: Final = 100
"""Answers that the plan's assumptions count for beside those that people graded, to reckon what is lacking."""
LEAST: Final = 50
"""Drawn episodes that people have graded, of each arm, from which there is a figure."""

KEYS: Final = (
    *("e.graded", "e.correct_u", "drawn", "drawn.judge_u"),
    *("both", "both.judge_u", "both.person_u", "both.product_u"),
)
_GRADED, _CORRECT, _DRAWN, _DRAWN_JUDGE, _BOTH, _BOTH_JUDGE, _BOTH_PERSON, _PRODUCT = range(8)
_IN_MICRO: Final = np.array([MICRO, 1, 1, 1])  # a count beside sums of grades
AT_WORST: Final = slice(6, 9)
COUNTS: Final = slice(9, 17)  # `TOLD`
WIDTH: Final = 17
TOLD: Final = tuple(
    f"{arm.value}{part}"
    for arm in (Arm.CANDIDATE, Arm.BASELINE)
    for part in ("", ".drawn", ".person_u", ".judge_u")
)
"""The names that a proof's tally has: of its hours, how many episodes of each arm both have graded, how
many were drawn, and the sums of people's and of the judge's grades of the former."""


def has_people(plan: Plan, rule: Rule) -> bool:
    """Whether a rule goes by people's grades too: a loss, where they grade beside a judge."""
    by_both = bool(plan.labels.people_u) and plan.labels.judge is not None
    return by_both and rule.metric.kind is Kind.LOSS


def policy_of(plan: Plan) -> Policy:
    """The weight of the judge, and what the bets assume: of the plan's priors, judge and share alone."""
    judge = plan.labels.judge
    if judge is None or not plan.labels.people_u:
        raise LookupError(f"people do not grade beside a judge in {plan.name}")
    return _policy(plan.priors.accuracy, judge.sensitivity, judge.specificity, plan.labels.people_u)


@lru_cache(maxsize=4096)
def _policy(accuracy: float, sensitivity: float, specificity: float, share_u: int) -> Policy:
    return policy(
        accuracy=accuracy, sensitivity=sensitivity, specificity=specificity, share=share_u / MICRO
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Powered:
    """Both arms of one rule on one intent, from the minute `start` on."""

    plan: Plan
    rule: Rule
    reader: Reader
    intent: str | None
    start: int
    # Beside both proofs of a tick, and beside the figure itself, stands the same look.
    _looks: dict[tuple[int, int], Look] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )

    @classmethod
    def of(
        cls, plan: Plan, rule: Rule, intent: str | None, reader: Reader, epoch: Epoch
    ) -> Powered | None:
        """None where the rule does not go by people's grades, or cannot be proven."""
        if not has_people(plan, rule) or not is_provable(rule):
            return None
        return cls(plan=plan, rule=rule, reader=reader, intent=intent, start=minute_of(epoch.start))

    def failing(self, epoch: Epoch, ends: Minutes, *, alpha: float, horizon_min: int) -> Strongest:
        """As `proofs.failing`: the strongest window of full hours against the rule's claim."""
        return strongest_since(
            self.rule,
            epoch,
            ends,
            before=self._before,
            tally=_told,
            alpha=alpha,
            horizon_min=horizon_min,
        )

    def passing(self, end: int) -> tuple[float, dict[str, int]]:
        """As `proofs.passing`: log E for "the loss is below the limit", and what was seen."""
        row = self._before(np.array([max(end, self.start)]))[0]
        return float(log_e_of_wealth(row[PASSING])), _told(row)

    def passing_by(self, ends: Minutes) -> Floats:
        """log E of `passing` at each of some ends."""
        return log_e_of_wealth(self._before(np.maximum(ends, self.start))[:, PASSING])

    def at_worst(self, end: int) -> float:
        """The same with every drawn episode that nobody has graded against it: right for the baseline, else wrong."""
        row = self._before(np.array([max(end, self.start)]))[0]
        return float(log_e_of_wealth(row[AT_WORST]))

    def at_worst_by(self, ends: Minutes) -> Floats:
        return log_e_of_wealth(self._before(np.maximum(ends, self.start))[:, AT_WORST])

    def coverage(self, end: int) -> Coverage:
        """How many of the drawn episodes people have graded, since the start."""
        counted = (
            self.reader.between(
                self.start, end, ("both", "drawn"), arm=arm.value, intent=self.intent
            )
            for arm in (Arm.BASELINE, Arm.CANDIDATE)
        )
        (graded_b, n_b), (graded_c, n_c) = counted
        return coverage_of_people(graded_b, n_b, graded_c, n_c)

    def fall_short(self, ends: Minutes) -> NDArray[np.bool_]:
        """Whether `coverage` differs, at each of some ends."""
        marks = np.concatenate([[self.start], ends])
        counted = [
            self.reader.tallies.until(marks, ("both", "drawn"), arm=arm.value, intent=self.intent)
            for arm in (Arm.BASELINE, Arm.CANDIDATE)
        ]
        return falls_short(np.concatenate([table[1:] - table[0] for table in counted], axis=1))

    def look(self, start: int, end: int) -> Look:
        """The prediction-powered loss over [start, end), post-stratified; without a value from too few, and while
        people have not graded nearly all that is drawn: escalated answers, wrong without them, would weigh too much.
        """
        known = self._looks.get((start, end))
        if known is None:
            known = self._looks[start, end] = self._look(start, end)
        return known

    def _look(self, start: int, end: int) -> Look:
        counts = PoweredCounts(
            strata=tuple(self._counted(start, end)), weight=policy_of(self.plan).weight
        )
        n = counts.smaller
        told = n >= LEAST and not coverage_in(counts).differs
        estimate = estimate_of(counts) if told else None
        return Look(
            window=Window.of_minutes(start, end),
            value=None if estimate is None else estimate.estimate,
            counts=counts,
            samples=n,
            complete=False,
        )

    def _counted(self, start: int, end: int) -> Iterator[PoweredStratum]:
        edges = np.array([start, max(start, end)])
        for (version, intent), arms in sorted(self._strata(edges).items()):
            yield PoweredStratum(
                version=version,
                intent=intent,
                baseline=_arm(arms[Arm.BASELINE][0]),
                candidate=_arm(arms[Arm.CANDIDATE][0]),
            )

    def figures(self, starts: Minutes, ends: Minutes) -> Floats:
        """The value of `look` over each of some windows; NaN where it has none."""
        weight = policy_of(self.plan).weight
        lost, of_all = np.zeros((2, len(ends)))
        n, covered = (np.zeros((len(ends), width), dtype=np.int64) for width in (2, 4))
        for arms in self._over(starts, ends):
            both = np.stack([one[:, _BOTH] for one in arms], axis=1)
            n += both * (both > 0).all(axis=1, keepdims=True)
            covered += np.concatenate([one[:, (_BOTH, _DRAWN)] for one in arms], axis=1)
            accuracies = (powered_accuracies(_graded(one), weight) for one in arms)
            loss = np.subtract(*accuracies)
            there = ~np.isnan(loss)
            size = np.where(there, np.add(*(one[:, _GRADED] for one in arms)), 0)
            lost += size * np.where(there, loss, 0.0)
            of_all += size
        told = (n.min(axis=1) >= LEAST) & (of_all > 0) & ~falls_short(covered)
        found: Floats = np.divide(lost, of_all, out=np.full(len(ends), np.nan), where=told)
        return found

    def _over(self, starts: Minutes, ends: Minutes) -> Iterator[tuple[Table, Table]]:
        """Of each stratum that has anything the sums of `KEYS` of the baseline and of the candidate; (W, KEYS)."""
        edges = np.unique(np.concatenate([starts, ends]))
        first, last = edges.searchsorted(starts), edges.searchsorted(ends)
        # In order: what is summed over them must not hang on which came first, to the last bit.
        for _, arms in sorted(self._strata(edges).items()):
            before = [from_zero(arms[arm]) for arm in (Arm.BASELINE, Arm.CANDIDATE)]
            baseline, candidate = (one[last] - one[first] for one in before)
            yield baseline, candidate

    # Sums by hour

    def _before(self, asked: Minutes) -> Table:
        """Sums of the full hours since `start` before each minute, none of which lies before it; (M, WIDTH)."""
        hours = full_hours(self.start, int(asked.max()))
        by_hour = self.reader.tallies.at_marks(
            hours, arm=MATCHED, about=self._about(), until=self._of_hours
        )
        table: Table = from_zero(by_hour)[hours.searchsorted(asked, side="right")]
        return table

    def _about(self) -> About:
        # `KEYS` name what it is made of: labels that come late change it. The bets may be another plan's elsewhere.
        rule, by = self.rule, policy_of(self.plan)
        bets = (rule.limit, claim_of(self.plan, rule), rule.alternative, *astuple(by))
        return About((*KEYS, str(self.start), str(bets)), self.intent)

    def _of_hours(self, marks: Minutes) -> Table:
        """What the hour before each full hour adds, no further back than `start`."""
        if not len(marks):
            return np.zeros((0, WIDTH), dtype=np.int64)
        opened = np.maximum(marks - HOUR_MIN, self.start)
        edges = np.unique(np.concatenate([opened, marks]))
        strata = self._strata(edges)
        last = (
            edges.searchsorted(marks) - 1
        )  # the stretch that ends at a mark begins at the edge before
        added = np.zeros((len(marks), WIDTH), dtype=np.int64)
        for arms in strata.values():
            added += self._rows(arms[Arm.CANDIDATE][last], arms[Arm.BASELINE][last])
        return added

    def _strata(self, edges: Minutes) -> Mapping[tuple[int, str], Mapping[Arm, Table]]:
        """Between neighbouring edges, of each intent and split version in which anything was drawn; (E − 1, KEYS)."""
        found: dict[tuple[int, str], dict[Arm, Table]] = {}
        nothing = np.zeros((len(edges) - 1, len(KEYS)), dtype=np.int64)
        for arm in Arm:
            for version, name, sums in self.reader.tallies.strata(
                arm=arm.value, intent=self.intent
            ):
                counts = np.diff(sums.until(edges, KEYS), axis=0)
                if counts.any():
                    arms = found.setdefault((version, name), dict.fromkeys(Arm, nothing))
                    arms[arm] = arms[arm] + counts
        return found

    def _rows(self, candidate: Table, baseline: Table) -> Table:
        """What the stretches of one stratum add: (T, KEYS) of each arm to (T, WIDTH)."""
        rows = np.zeros((len(candidate), WIDTH), dtype=np.int64)
        by, limit = policy_of(self.plan), bound_of(self.rule)
        ours, theirs = _graded(candidate), _graded(baseline)
        effect = self.rule.alternative or self.rule.limit
        claim = claim_of(self.plan, self.rule)
        worst = (
            _with_missing(ours, candidate, right=False),
            _with_missing(theirs, baseline, right=True),
        )
        for columns, arms, margin, sign in (
            (FAILING, (ours, theirs), claim, 1),
            (PASSING, (ours, theirs), limit, -1),
            (AT_WORST, worst, limit, -1),
        ):
            rows[:, columns] = log_wealth_nano(*arms, by, margin=margin, effect=effect, sign=sign)
        told = (_BOTH, _DRAWN, _BOTH_PERSON, _BOTH_JUDGE)
        rows[:, COUNTS] = np.concatenate([candidate[:, told], baseline[:, told]], axis=1)
        return rows


def _graded(counts: Table) -> Graded:
    """One arm's answers, from its statistics by stretch."""
    both = counts[:, [_BOTH, _BOTH_PERSON, _BOTH_JUDGE, _PRODUCT]] * _IN_MICRO
    others, right = _others(counts)
    # In whole millionths: what is nobody's would else be a rounding error below 0.
    return Graded(corners(*both.T) / MICRO, np.stack([others - right, right], 1))


def _others(counts: Table) -> tuple[Floats, Floats]:
    """Graded episodes that were not drawn, and the sum of the judge's grades."""
    n = counts[:, _GRADED] - counts[:, _DRAWN]
    right = (counts[:, _CORRECT] - counts[:, _DRAWN_JUDGE]) / MICRO
    return n.astype(np.float64), right


def _with_missing(of: Graded, counts: Table, *, right: bool) -> Graded:
    """With the drawn episodes that people have not graded, as if all were right, or all wrong."""
    missing = (counts[:, _DRAWN] - counts[:, _BOTH]) * MICRO
    judged = counts[:, _DRAWN_JUDGE] - counts[:, _BOTH_JUDGE]
    called = missing if right else np.zeros_like(missing)
    added = corners(missing, called, judged, judged if right else called) / MICRO
    return Graded(of.drawn + added, of.others)


def coverage_in(counts: PoweredCounts) -> Coverage:
    """How many of the drawn episodes people have graded."""
    arms = [[one.baseline for one in counts.strata], [one.candidate for one in counts.strata]]
    (graded_b, n_b), (graded_c, n_c) = (
        (sum(one.both for one in arm), sum(one.drawn for one in arm)) for arm in arms
    )
    return coverage_of_people(graded_b, n_b, graded_c, n_c)


def estimate_of(counts: PoweredCounts) -> Estimate | None:
    """The prediction-powered loss, post-stratified by how much was graded at all; None where no stratum tells."""
    weighted = weight = variance = 0.0
    for one in counts.strata:
        baseline, candidate = (
            powered_accuracy(_of_arm(arm), counts.weight) for arm in (one.baseline, one.candidate)
        )
        if baseline is None or candidate is None:
            continue
        size = sum(arm.drawn + arm.others for arm in (one.baseline, one.candidate))
        weight += size
        weighted += size * (baseline.estimate - candidate.estimate)
        variance += size**2 * (baseline.se**2 + candidate.se**2)
    return Estimate(estimate=weighted / weight, se=variance**0.5 / weight) if weight else None


def _of_arm(one: ArmByPeople) -> Graded:
    both = np.array([[one.both * MICRO], [one.person_u], [one.judge_u], [one.product_u]])
    right = one.others_u / MICRO
    return Graded(corners(*both) / MICRO, np.array([[one.others - right, right]]))


def as_graded(plan: Plan, counts: PoweredCounts, share: float) -> tuple[Graded, Graded]:
    """What comes with one answer that people grade of the arm with fewer, candidate then baseline, if it goes on as
    seen: as often in each corner as so far, and as the plan assumes where few are graded.
    """
    judge = plan.labels.judge
    if judge is None:
        raise LookupError(f"people do not grade beside a judge in {plan.name}")
    by_share = (share, 1 - share)
    expected = chances(
        right=plan.priors.accuracy, sensitivity=judge.sensitivity, specificity=judge.specificity
    )
    called = expected[0] + expected[2]
    found = []
    for place in range(len(by_share)):
        arms = [(one.candidate, one.baseline)[place] for one in counts.strata]
        seen = [_of_arm(one) for one in arms]
        drawn = np.sum([one.drawn[0] for one in seen], axis=0) + PRIOR_WEIGHT * expected
        others = np.sum([one.others[0] for one in seen], axis=0)
        others = others + PRIOR_WEIGHT * np.array([1 - called, called])
        n = by_share[place] / min(by_share)
        beside = n * (1 - plan.labels.people) / plan.labels.people
        found.append(
            Graded((n * drawn / drawn.sum())[None, :], (beside * others / others.sum())[None, :])
        )
    return found[0], found[1]


def loss_of(plan: Plan, candidate: Graded, baseline: Graded) -> float:
    """The prediction-powered loss of these answers, in expectation."""
    weight = policy_of(plan).weight
    return _mean_of(baseline, weight) - _mean_of(candidate, weight)


def _mean_of(one: Graded, weight: float) -> float:
    (drawn,), (others,) = one.drawn, one.others
    both, person, judge, _ = drawn / drawn.sum()
    judged = others[1] / others.sum() if weight else 0.0
    return float(both + person - weight * (both + judge) + weight * judged)


def is_by_people(proof: Proof | None) -> bool:
    """Whether a proof against a loss, or for its limit, was made by people's grades."""
    return proof is not None and isinstance(proof.look.counts, PoweredCounts)


def _arm(counts: Table) -> ArmByPeople:
    graded, correct, drawn, drawn_judge, both, judge, person, product = counts.tolist()
    return ArmByPeople(
        drawn=drawn,
        both=both,
        judge_u=judge,
        person_u=person,
        product_u=product,
        others=graded - drawn,
        others_u=correct - drawn_judge,
    )


def _told(row: Table) -> dict[str, int]:
    return {name: int(n) for name, n in zip(TOLD, row[COUNTS].tolist(), strict=True) if n}
