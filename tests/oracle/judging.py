"""One rule on one intent at one moment: every window, looked at and bet on, by docs/evidence.md.

A tick has to judge the windows that closed since the last one and those in which its own counts changed (`owed`). It
may judge any other of the epoch again. So what it finds is at least what is owed and at most what is `possible`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from statistics import NormalDist

import numpy as np

from tests.oracle.betting import Bets, log_e, newcombe, starts, threshold, wilson
from tests.oracle.counting import MICRO
from tests.oracle.matching import BILLION, TOLD, Frozen, matched
from tests.oracle.rules import QUANTILES, Rule, alpha, horizon, kinds, number, sampled, tally
from tests.oracle.sums import ByMinute

RATE_START, LOSS_START = 60, 360
RATE_FIRST, LOSS_FIRST = 0.25, 0.75
ROUNDING = 1e-12  # of these figures: what is exactly on its limit is not past it
Stretch = tuple[float, float]  # in minutes


@dataclass(frozen=True)
class Looks:
    """What windows showed; NaN where they showed nothing."""

    values: np.ndarray
    samples: np.ndarray
    limits: np.ndarray
    complete: np.ndarray


@dataclass(frozen=True)
class Bound:
    """The best of some windows: how far log E lies over what it must reach, and whether one of them fails the rule."""

    margin: float
    fails: bool


@dataclass(frozen=True)
class Judgement:
    """`last` is where the last window closes, `closed` where the first does that closed since the last tick."""

    rule: Rule
    sums: ByMinute
    epoch: int
    epoch_number: int
    begun: int  # the rollout's first minute
    last: int
    closed: int
    changed: Sequence[int]
    in_force: Sequence[Stretch]
    frozen: Sequence[Frozen] = ()  # percentiles of the baseline
    kind: str = "share"  # of evidence

    @cached_property
    def by_kind(self) -> list[Judgement]:
        """The same on each kind of evidence that there is."""
        return [replace(self, kind=one) for one in self._kinds]

    @cached_property
    def _kinds(self) -> list[str]:
        if self.rule.ratio:
            return ["matched"] if self.frozen else []
        return kinds(self.rule, self.sums)

    @cached_property
    def _matched(self) -> ByMinute:
        return matched(self.sums, self.frozen, limit=self.rule.limit, level=self.rule.bound)

    @property
    def proven_from(self) -> int:
        return max(self.epoch, self.frozen[0].since) if self.frozen else self.epoch

    def claim_until(self, end: int) -> float:
        """What a proof says: of a ratio the percentile that was frozen before its end, in seconds."""
        if not self.rule.ratio:
            return self.rule.claim
        return (
            1.02
            ** [one for one in self.frozen if one.since < end or one is self.frozen[0]][-1].bucket
        )

    # Windows

    @cached_property
    def owed(self) -> np.ndarray:
        reach = self.rule.window + self.rule.sustained
        ends = {self.last, *range(max(self.closed, self.epoch + 1), self.last + 1)}
        for one in self.changed:
            ends.update(range(max(one, self.epoch) + 1, min(one + reach, self.last) + 1))
        return np.array(sorted(ends))

    @cached_property
    def possible(self) -> np.ndarray:
        return np.arange(min(self.epoch + 1, self.last), self.last + 1)

    def looks(self, ends: np.ndarray) -> Looks:
        opens = np.minimum(np.maximum(ends - self.rule.window, self.epoch), ends)
        values, samples = self._measured(opens, ends)
        limits = np.full(len(ends), self.rule.limit)
        if "spike" in self.rule.told:
            limits = limits * self._usual(opens, ends)
        return Looks(values, samples, limits, self._complete(ends))

    def _usual(self, opens: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The figure before each window, as far back as the rollout goes, once it has as many minutes and samples."""
        before = np.minimum(np.maximum(opens - self.rule.usual, self.begun), opens)
        values, samples = self._measured(before, opens)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(values == 0, 1 / samples, values)
        enough = (opens - before >= ends - opens) & (samples >= self.rule.min_samples)
        return np.where(enough & (opens > before), values, np.nan)

    def _complete(self, ends: np.ndarray) -> np.ndarray:
        """Within the epoch, and in force but for two minutes or a hundredth of the window."""
        width = self.rule.window
        opens = ends - width
        held = sum(
            np.maximum(np.minimum(ends, until) - np.maximum(opens, since), 0)
            for since, until in self.in_force
        ) + np.zeros(len(ends))
        return (opens >= self.epoch) & (held >= width - max(2.0, width / 100) - 1e-9)

    def _measured(self, opens: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rule, arm = self.rule, self.rule.arm
        if rule.loss:
            return self._loss(opens, ends)
        if rule.ratio:
            (ours, n), (theirs, k) = (
                self._quantile(one, opens, ends) for one in ("candidate", "baseline")
            )
            return ours / theirs, np.minimum(n, k)
        if rule.metric in QUANTILES:
            return self._quantile(arm, opens, ends)
        over, under, scale = {
            "accuracy": ("episodes right", "episodes graded", MICRO),
            "served_accuracy": ("served right", "served", MICRO),
            "coverage": self._of_coverage,
        }.get(rule.metric, ("flagged", "known", 1))
        top, bottom = (self.sums.over((arm, one), opens, ends) for one in (over, under))
        return _share(top / float(scale), bottom), bottom

    def _loss(self, opens: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By intent and split, weighed by how many labels both arms have together."""
        lost, weight = np.zeros(len(ends)), np.zeros(len(ends))
        fewer = {arm: np.zeros(len(ends), dtype=np.int64) for arm in self.rule.arms}
        for stratum in self._strata_of("graded"):
            n, right = (
                {arm: self.sums.over((arm, key, stratum), opens, ends) for arm in self.rule.arms}
                for key in ("graded", "right")
            )
            both = (n["baseline"] > 0) & (n["candidate"] > 0)
            loss = _share(right["baseline"] / MICRO, n["baseline"]) - _share(
                right["candidate"] / MICRO, n["candidate"]
            )
            size = np.where(both, n["baseline"] + n["candidate"], 0)
            lost += size * np.where(both, loss, 0.0)
            weight += size
            for arm in fewer:
                fewer[arm] += np.where(both, n[arm], 0)
        values, samples = _share(lost, weight), np.minimum(fewer["baseline"], fewer["candidate"])
        pairs, of_pairs = self._paired(opens, ends)
        enough = pairs >= max(self.rule.min_samples, 1)
        return np.where(enough, of_pairs, values), np.where(enough, pairs, samples)

    def _paired(self, opens: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many pairs, and the mean of baseline less candidate."""
        keys = [key for key in self.sums.keys if key[0] == "pair"]
        each = [(key[1] / MICRO, self.sums.over(key, opens, ends)) for key in keys]
        n = sum((count for _, count in each), start=np.zeros(len(ends), dtype=np.int64))
        lost = sum((value * count for value, count in each), start=np.zeros(len(ends)))
        return n, _share(lost, n)

    def _strata_of(self, name: str) -> list[tuple[int, str]]:
        return sorted({key[2] for key in self.sums.keys if key[1] == name and len(key) == 3})

    def _quantile(
        self, arm: str, opens: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        buckets = sorted(key[2] for key in self.sums.keys if key[:2] == (arm, "bucket"))
        n = self.sums.over((arm, "known"), opens, ends)
        rank = np.floor(QUANTILES[self.rule.metric] * (n - 1) + 1e-12)
        values, below = np.full(len(ends), np.nan), np.zeros(len(ends), dtype=np.int64)
        for one in buckets:
            here = self.sums.over((arm, "bucket", one), opens, ends)
            found = (below <= rank) & (rank < below + here) & (n > 0)
            values[found] = 2 * 1.02**one / 2.02
            below = below + here
        return values, n

    # As written

    def past(self, looks: Looks) -> np.ndarray:
        """By how much each is past its limit, −∞ for one that does not count."""
        by = looks.values - looks.limits
        by = np.where(np.abs(by) < ROUNDING, 0.0, by)
        counts = looks.complete & (looks.samples >= self.rule.min_samples) & ~np.isnan(by)
        return np.where(counts, -by if self.rule.below else by, -np.inf)

    def worst(self, ends: np.ndarray) -> float:
        """By how much the limit stayed passed for as long as it must, in the worst of these windows."""
        before = np.arange(self.rule.sustained + 1)
        every = np.unique((ends[:, None] - before).ravel())
        by_end = dict(zip(every.tolist(), self.past(self.looks(every)).tolist(), strict=True))
        back = before.tolist()
        return max(min(by_end[end - one] for one in back) for end in ends.tolist())

    # By proof

    @cached_property
    def _every(self) -> int:
        return LOSS_START if self.rule.loss else RATE_START

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.array(starts(self.epoch, self.last, self._every))

    @cached_property
    def _thresholds(self) -> np.ndarray:
        part = LOSS_FIRST if self.rule.loss else RATE_FIRST
        spent = alpha(self.rule, self.epoch_number) / max(len(self._kinds), 1)
        begun = self.epoch % self._every
        planned = math.ceil((begun + horizon(self.rule.plan)) / self._every)
        return np.array(
            [
                threshold(number, alpha=spent, planned=planned, first=part)
                for number in range(1, len(self._starts) + 1)
            ]
        )

    def threshold_of(self, start: int) -> float:
        (place,) = (self._starts == start).nonzero()[0]
        return float(self._thresholds[place])

    def _wealth(self, opens: np.ndarray, ends: np.ndarray, bets: Bets, *, failing: bool):
        if self.rule.ratio:
            logs = [self._matched.over(("log", failing, j), opens, ends) for j in range(3)]
            return np.stack(logs, axis=1) / BILLION
        seen = tally(self.rule, self.sums, self.kind, opens, ends, failing=failing)
        wealth = np.zeros((len(ends), 3))
        for value, count in seen:
            wealth += count[:, None] * bets.gains(value)
        return wealth

    def against(self, start: int, end: int) -> float:
        """log E of the start against the rule's claim."""
        at = np.array([start]), np.array([end])
        return float(log_e(self._wealth(*at, self.rule.failing_bets(self.kind), failing=True))[0])

    def tally(self, start: int, end: int, *, failing: bool) -> dict[str, float]:
        at = np.array([start]), np.array([end])
        if self.rule.ratio:
            told = {name: self._matched.over((name, failing), *at)[0] for name in TOLD}
            return {name: float(n) for name, n in told.items() if n}
        seen = tally(self.rule, self.sums, self.kind, *at, failing=failing)
        return {str(round(value * MICRO)): float(count[0]) for value, count in seen if count[0]}

    def _served(self, ends: np.ndarray) -> np.ndarray:
        """Each end, or the last before it that a start serves."""
        every = np.arange(self.epoch + 1, self.last + 1)
        opened = self._starts[:, None]
        served = (opened <= every - self.rule.shortest) & (opened >= every - self.rule.window)
        good = every[served.any(axis=0)]
        places = np.searchsorted(good, ends, side="right") - 1
        return np.unique(good[places[places >= 0]])

    def proofs(self, ends: np.ndarray) -> Bound:
        """The best start of the best end, and whether any fails the rule with the figure beside it."""
        best, fails, bets = -math.inf, False, self.rule.failing_bets(self.kind)
        ends = self._served(ends)
        figures = self.looks(ends).values if self.rule.loss else None
        for start, needed in zip(self._starts.tolist(), self._thresholds.tolist(), strict=True):
            of = (ends - start >= self.rule.shortest) & (ends - start <= self.rule.window)
            if not of.any():
                continue
            opens = np.full(int(of.sum()), start)
            margins = log_e(self._wealth(opens, ends[of], bets, failing=True)) - needed
            beside = figures[of] if figures is not None else self._beside(opens, ends[of])
            limit = (
                self.rule.limit if self.rule.loss else 0.0 if self.rule.ratio else self.rule.bound
            )
            past = beside < limit - ROUNDING if self.rule.below else beside > limit + ROUNDING
            best = max(best, float(margins.max()))
            fails = fails or bool(((margins >= 0) & past).any())
        return Bound(best, fails)

    @cached_property
    def owed_proofs(self) -> Bound:
        return self.proofs(self.owed)

    @cached_property
    def owed_worst(self) -> float:
        return self.worst(self.owed)

    def _beside(self, opens: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The mean of what was bet on; of a ratio, what the candidate has more of than as the baseline."""
        if self.rule.ratio:
            n, above, expected = (
                self._matched.over((name, True), opens, ends) for name in TOLD[:3]
            )
            return _share(above - expected / MICRO, n)
        seen = tally(self.rule, self.sums, self.kind, opens, ends, failing=True)
        nothing = np.zeros(len(ends))
        of = sum((count for _, count in seen), start=nothing)
        return _share(sum((value * count for value, count in seen), start=nothing), of)

    def in_favour(self, *, missing: int = 0) -> float:
        """log E for "within the limit" over the whole epoch; so many blocks more are the worst there is."""
        at, bets = (
            (np.array([self.epoch]), np.array([self.last])),
            self.rule.passing_bets(self.kind),
        )
        wealth = self._wealth(*at, bets, failing=False)[0]
        if missing and self.kind == "block":
            wealth = wealth + missing * bets.gains(1.0)
        return float(log_e(wealth))

    @property
    def pass_threshold(self) -> float:
        return math.log(len(self._kinds) / number(self.rule.plan["spec"].get("alpha", "5%")))

    # Labels that are missing

    @cached_property
    def _of_coverage(self) -> tuple[str, str, Fraction]:
        """Of a sample each answer is graded for itself, relative to the part that is to be."""
        part = sampled(self.rule.plan)
        return ("known", "requests", part) if part < 1 else ("episodes graded", "episodes", part)

    def coverage(self) -> dict[str, tuple[int, int]]:
        """By arm, what is graded and all of it, in the epoch."""
        at = np.array([self.epoch]), np.array([self.last])
        return {
            arm: (
                int(self.sums.over((arm, self._of_coverage[0]), *at)[0]),
                int(self.sums.over((arm, self._of_coverage[1]), *at)[0]),
            )
            for arm in ("baseline", "candidate")
        }

    def is_doubtful(self) -> bool:
        """Clearly more than two hundredths of the part apart, or the candidate's clearly more: 99.9% intervals."""
        arms, part = self.coverage(), float(sampled(self.rule.plan))
        graded, of = arms["candidate"]
        if of and wilson(graded, of, Z)[0] > 1.02 * part:
            return True
        if not all(of for _, of in arms.values()):
            return False
        lower, upper = newcombe(arms["baseline"], arms["candidate"], Z)
        return lower > 0.02 * part or upper < -0.02 * part

    def missing_blocks(self) -> int:
        """Of each split and intent: what each arm lacks, in as many blocks as its known labels make there."""
        at = np.array([self.epoch]), np.array([self.last])
        return sum(self._missing_of(stratum, *at) for stratum in self._strata_of("of"))

    def _missing_of(self, stratum: tuple[int, str], start: np.ndarray, end: np.ndarray) -> int:
        all_of, known = (
            [int(self.sums.over((arm, key, stratum), start, end)[0]) for arm in self.rule.arms]
            for key in ("of", "graded")
        )
        closed = int(self.sums.over(("both", "closed", stratum), start, end)[0])
        lost = [of - graded for of, graded in zip(all_of, known, strict=True)]
        if not closed:
            return min(all_of) if any(lost) else 0
        return sum(
            math.ceil(Fraction(closed * gone, max(of, 1)))
            for gone, of in zip(lost, known, strict=True)
        )

    # What there is

    def availability(self, share_bp: int, now: int) -> str:
        """Of the last window: whether the arms that the rule needs had traffic, and something was learnt of it."""
        if self.rule.comparing and share_bp >= 10_000:
            return "no_control"
        opens = np.array([min(max(self.last - self.rule.window, self.epoch), self.last)])
        end = np.array([self.last])
        had = {arm: self.sums.over((arm, "requests"), opens, end)[0] for arm in self.rule.arms}
        later = [self.sums.over((arm, "requests"), end, np.array([now + 1]))[0] for arm in had]
        told = "served" if self.rule.metric == "served_accuracy" else "known"
        known = [self.sums.over((arm, told), opens, end)[0] for arm in had]
        if min(had.values()) <= 0:
            return "not_due" if min(later) > 0 else "no_traffic"
        return "measured" if min(known) > 0 else "no_data"


Z = NormalDist().inv_cdf(1 - 0.001 / 2)


def _share(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom > 0, top / bottom, np.nan)
