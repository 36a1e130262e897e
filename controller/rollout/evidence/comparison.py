"""A percentile of the candidate against the baseline's, as proofs see it: what lies beyond a frozen limit, by minute.

With each step the baseline's percentile L is frozen, from its own requests before those that are judged by it, on a
bucket's edge (`Reference`). A rule "p95 ratio at most r" then keeps its limit where the candidate is above r L no more
often than the baseline is above L: at the level that L has on the baseline, that says that the candidate's quantile is
at most r times the baseline's. Both shares are of the same minutes, intents and splits, so what slows both arms down
slows both sides (`stats.matched`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, TypeAlias

import numpy as np

from controller.rollout.counting.sums import Minutes, Table
from controller.rollout.counting.tallies import About
from controller.rollout.evidence.by_minute import FAILING, PASSING, ByMinute
from controller.rollout.evidence.proofs import RATE_ALTERNATIVE
from controller.rollout.evidence.reader import Reader
from controller.rollout.evidence.rules import bound_of, is_provable
from controller.rollout.metrics import MICRO, Kind, above
from controller.rollout.plan import Arm, Plan, Rule
from controller.rollout.state import Epoch, Reference
from controller.rollout.timeline import minute_of
from controller.stats.histogram import bucket_of, upper_edge
from controller.stats.matched import log_wealth_nano

LEAST: Final = 100
"""Requests of the baseline in a rule's window from which its percentile is frozen."""
# Candidate requests, those above its limit for certain, those that may be, those that would be if it was as the
# baseline (in millionths); baseline requests, those above its limit.
N, OVER, PERHAPS, EXPECTED_U, K, BASELINE_OVER = range(6, 12)
WIDTH: Final = 12
TOLD: Final = ("candidate", "candidate.above", "candidate.expected_u", "baseline", "baseline.above")
"""The names that a proof's tally has."""


def reference_key(rule: Rule, intent: str | None) -> str:
    """Where a state keeps what is frozen for a rule: by metric and intent, whichever rule asks."""
    return rule.metric.name if intent is None else f"{rule.metric.name}/{intent}"


def compared(plan: Plan) -> list[tuple[Rule, str | None]]:
    """The rules that go by a frozen percentile, with the intents that each is judged on."""
    ratios = [
        rule for rule in plan.rules if rule.metric.kind is Kind.QUANTILE_RATIO and is_provable(rule)
    ]
    return [(rule, intent) for rule in ratios for intent in plan.judged_intents(rule)]


def limit_of(rule: Rule, reference_s: float) -> float:
    """What the candidate is held against, in seconds: the limit times the baseline's percentile."""
    return rule.limit * reference_s


def frozen_by(references: Sequence[Reference], end: int) -> float:
    """The baseline's percentile in seconds that is in force in the minute before `end`; the first one before that."""
    known = [one for one in references if in_force_from(one) < end]
    return upper_edge((known or references[:1])[-1].bucket)


def in_force_from(reference: Reference) -> int:
    # The minute in which it was frozen is in it in part.
    return minute_of(reference.since) + 1


def frozen_buckets(rule: Rule, reference: Reference) -> tuple[int, int]:
    """The bucket above whose upper edge the baseline is slow, and the one that the candidate's limit lies in."""
    return reference.bucket, bucket_of(limit_of(rule, upper_edge(reference.bucket)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(ByMinute):
    """Both arms of one rule on one intent, from the minute `start` on."""

    width: ClassVar[int] = WIDTH
    references: tuple[Reference, ...]

    @classmethod
    def of(
        cls,
        rule: Rule,
        intent: str | None,
        reader: Reader,
        epoch: Epoch,
        references: tuple[Reference, ...],
    ) -> Comparison:
        """Of the requests since the epoch began and a percentile was frozen, each by the one in force in its minute."""
        start = max(minute_of(epoch.start), in_force_from(references[0]))
        return cls(rule=rule, reader=reader, intent=intent, references=references, start=start)

    def _tally(self, row: Table, *, failing: bool) -> dict[str, int]:
        return _told(row, OVER if failing else PERHAPS)

    def _about(self) -> About:
        rule = self.rule
        frozen = tuple((in_force_from(one), frozen_buckets(rule, one)) for one in self.references)
        return About((rule.metric.name, str(self.start)), self.intent, frozen)

    def _spans(self, first: int, end: int) -> Iterator[tuple[Reference, int, int]]:
        """The minutes of [first, end) by the percentile in force."""
        until = [in_force_from(one) for one in self.references[1:]] + [end]
        for reference, last in zip(self.references, until, strict=True):
            opened, closed = max(first, in_force_from(reference)), min(end, last)
            if opened < closed:
                yield reference, opened, closed

    def _keys(self, reference: Reference) -> Mapping[Arm, tuple[str, ...]]:
        subject = self.rule.metric.subject
        bucket, limit = frozen_buckets(self.rule, reference)
        known = f"c.{subject}_us"
        return {
            Arm.CANDIDATE: (known, above(subject, limit), above(subject, limit - 1)),
            Arm.BASELINE: (known, above(subject, bucket)),
        }

    def _in_minutes(self, first: int, end: int) -> Table:
        added = np.zeros((end - first, WIDTH), dtype=np.int64)
        for reference, opened, closed in self._spans(first, end):
            added[opened - first : closed - first] = self._minutes(reference, opened, closed)
        return added

    def _minutes(self, reference: Reference, first: int, end: int) -> Table:
        """What each minute of [first, end) adds; (end − first, WIDTH)."""
        strata = self._strata(reference, np.arange(first, end + 1, dtype=np.int64))
        if not strata:
            return np.zeros((end - first, WIDTH), dtype=np.int64)
        # All strata in one row of minutes: they are many and short.
        candidate, baseline = (np.concatenate(arm) for arm in zip(*strata, strict=True))
        rows = _rows(candidate, baseline, level=bound_of(self.rule))
        together: Table = rows.reshape(len(strata), end - first, WIDTH).sum(axis=0)
        return together

    def _strata(self, reference: Reference, at: Minutes) -> list[tuple[Table, Table]]:
        """By minute, of each intent and split version in which both arms had requests."""
        found: dict[tuple[int, str], dict[Arm, Table]] = {}
        for arm, keys in self._keys(reference).items():
            for version, name, sums in self.reader.tallies.strata(
                arm=arm.value, intent=self.intent
            ):
                counts = np.diff(sums.until(at, keys), axis=0)
                if counts.any():
                    arms = found.setdefault((version, name), {})
                    arms[arm] = arms[arm] + counts if arm in arms else counts
        both = (arms for arms in found.values() if len(arms) == len(Arm))
        return [(arms[Arm.CANDIDATE], arms[Arm.BASELINE]) for arms in both]


def _rows(candidate: Table, baseline: Table, *, level: float) -> Table:
    """What the minutes of one stratum add: (T, 3) and (T, 2) counts to (T, WIDTH)."""
    n, over, perhaps = candidate.T
    k, beyond = baseline.T
    rows = np.zeros((len(n), WIDTH), dtype=np.int64)
    against = {"n": n, "k": k, "y": beyond, "reference": level}
    rows[:, FAILING] = log_wealth_nano(
        x=over, effect=(RATE_ALTERNATIVE - 1) * level, sign=1, **against
    )
    rows[:, PASSING] = log_wealth_nano(
        x=perhaps, effect=(1 - 1 / RATE_ALTERNATIVE) * level, sign=-1, **against
    )
    both = (n > 0) & (k > 0)
    expected = MICRO * n * beyond // np.maximum(k, 1)
    rows[:, N:] = np.stack([n, over, perhaps, expected, k, beyond], axis=1) * both[:, None]
    return rows


def _told(row: Table, above_at: int) -> dict[str, int]:
    places = (N, above_at, EXPECTED_U, K, BASELINE_OVER)
    return {name: int(row[place]) for name, place in zip(TOLD, places, strict=True) if row[place]}


def shares(tally: Mapping[str, int]) -> tuple[float, float] | None:
    """What part of its requests the candidate has above its limit, and what part it would have as the baseline."""
    n = tally.get("candidate", 0)
    if not n:
        return None
    expected = tally.get("candidate.expected_u", 0) / MICRO
    return tally.get("candidate.above", 0) / n, expected / n


Frozen: TypeAlias = Mapping[str, tuple[Reference, ...]]


def renewed(references: Frozen, seen: Mapping[str, int], now: datetime, *, anew: bool) -> Frozen:
    """What is frozen after a decision: what was not before, and `anew`, at a new step, what has moved since."""
    fresh = {}
    for key, bucket in seen.items():
        known = references.get(key, ())
        if not known or (anew and known[-1].bucket != bucket):
            fresh[key] = (*known, Reference(bucket=bucket, since=now))
    return {**references, **fresh}
