"""A naive recount: everything that was sent is replayed in plain lists, and every row is added up from scratch.

Written from the words of the design, not from the accounting's code: no deltas, no taking out and putting back.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from controller.rollout.observation import Batch, Cohort, Grades, Observation, Outcome, Pair
from controller.rollout.plan import Arm, Unit
from controller.rollout.timeline import minute_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIVE_MINUTES = timedelta(minutes=5)
Row = tuple[int, int, str, str, str, str]  # minute, version, arm, intent, endpoint, cohort


@dataclass
class Conversation:
    """An episode as it grew."""

    members: list[Observation]
    anchor: Observation = field(init=False)

    def __post_init__(self) -> None:
        self.anchor = self.members[0]

    def takes(self, one: Observation) -> bool:
        same = all(
            getattr(one, name) == getattr(self.anchor, name)
            for name in ("unit", "arm", "intent", "version")
        )
        if not same:
            return False
        since_start = one.at - self.anchor.at
        # It is heard until the end of the five minutes, by the clock, of its last request.
        last = max(member.at for member in self.members)
        idle = one.at - (last - (last - EPOCH) % FIVE_MINUTES + FIVE_MINUTES)
        half_hour = timedelta(minutes=30)
        return -half_hour < since_start < timedelta(hours=24) and idle < half_hour


@dataclass
class Recount:
    """Of one rollout. `feed` takes the batches as they come; `rows` adds everything up."""

    unit: Unit
    horizon: timedelta
    delay: timedelta
    shares: dict[int, dict[str, int]]
    sampled: Fraction = Fraction(1)
    people: Fraction = Fraction(0)  # what is graded by them beside all others
    cost_caps: tuple[int, ...] = ()
    observations: dict[str, Observation] = field(default_factory=dict)
    counted: dict[str, list[Outcome]] = field(default_factory=dict)
    waiting: list[Outcome] = field(default_factory=list)
    outcome_ids: set[str] = field(default_factory=set)
    too_late: int = 0
    floor: datetime | None = None  # what is earlier was let go of
    pairs: dict[str, Pair] = field(default_factory=dict)
    episodes: list[Conversation] = field(default_factory=list)
    blocks: list[tuple[list[Conversation], list[Conversation]]] = field(
        default_factory=list
    )  # by arm

    def feed(self, batch: Batch, now: datetime) -> None:
        news = [outcome for outcome in batch.outcomes if outcome.id not in self.outcome_ids]
        for one in batch.observations:
            if one.id not in self.observations:
                self._observe(one, now)
        for outcome in batch.outcomes:
            if outcome.id not in self.outcome_ids:
                self.outcome_ids.add(outcome.id)
                self._match(outcome, now)
        for pair in batch.pairs:
            self.pairs.setdefault(pair.id, pair)
        about_ours = any(self._is_kept(outcome.observation) for outcome in news)
        if batch.observations or batch.pairs or about_ours:
            self.close_blocks(now)

    def _is_kept(self, name: str) -> bool:
        """Whether an outcome about it is about this rollout: of what was let go of nobody knows whose it was."""
        one = self.observations.get(name)
        return one is not None and (self.floor is None or one.at >= self.floor)

    def _observe(self, one: Observation, now: datetime) -> None:
        self.observations[one.id] = one
        if one.cohort is Cohort.COMPARED:
            fitting = (
                [] if self.unit is Unit.REQUEST else [e for e in self.episodes if e.takes(one)]
            )
            if fitting:
                episode = max(fitting, key=lambda e: e.anchor.at)
                episode.members.append(one)
            else:
                episode = Conversation([one])
                self.episodes.append(episode)
        mine = [outcome for outcome in self.waiting if outcome.observation == one.id]
        self.waiting = [outcome for outcome in self.waiting if outcome.observation != one.id]
        for outcome in mine:
            self._match(outcome, now)

    def _match(self, outcome: Outcome, now: datetime) -> None:
        if outcome.observation not in self.observations:
            self.waiting.append(outcome)
            return
        one = self.observations[outcome.observation]
        episode = self._episode(one)
        if now - (one if episode is None else episode.anchor).at > self.horizon:
            self.too_late += 1
            return
        self.counted.setdefault(one.id, []).append(outcome)

    def _episode(self, one: Observation) -> Conversation | None:
        return next((e for e in self.episodes if one in e.members), None)

    def _flags(self, ids: Iterable[str]) -> dict[str, bool]:
        flags: dict[str, bool] = {}
        for name in ids:
            said = [one.flags for one in self.counted.get(name, [])]
            for known in (self.observations[name].flags, *said):
                for flag, value in known.items():
                    flags[flag] = flags.get(flag, False) or value
        return flags

    def _grade(self, name: str, *, by_person: bool = False) -> int | None:
        flags = self._flags([name])
        wrong = bool(flags.get("escalated") or flags.get("error"))
        if wrong and not by_person and not self._is_sampled(name):
            return None
        about = {Grades.ATTEMPT} if flags.get("escalated") else {Grades.ATTEMPT, Grades.SERVED}
        grades = [
            round(outcome.correct * 1_000_000)
            for outcome in self.counted.get(name, [])
            if outcome.correct is not None
            and outcome.grades in about
            and self._is_by_person(outcome) is by_person
        ]
        if grades:
            return round(Fraction(sum(grades), len(grades)))
        return 0 if wrong else None

    def _is_by_person(self, outcome: Outcome) -> bool:
        return self.people > 0 and outcome.source == "person"

    def _is_sampled(self, name: str) -> bool:
        """Its place on a circle, by SHA-256 of the salt's length, the salt and the id, lies in the sampled part."""
        return _place(f"labels of {self.observations[name].rollout}", name) < self.sampled

    def _is_drawn(self, episode: Conversation) -> bool:
        anchor = episode.anchor
        return _place(f"people of {anchor.rollout}", anchor.unit) < self.people

    def _mean(self, episode: Conversation, *, by_person: bool = False) -> int | None:
        grades = [self._grade(member.id, by_person=by_person) for member in episode.members]
        known = [grade for grade in grades if grade is not None]
        return round(Fraction(sum(known), len(known))) if known else None

    def rows(self) -> dict[Row, dict[str, int]]:
        rows: dict[Row, Counter[str]] = {}
        for one in self.observations.values():
            rows.setdefault(_row(one, one.at), Counter()).update(self._of_request(one))
        for episode in self.episodes:
            rows.setdefault(_row(episode.anchor, episode.anchor.at), Counter()).update(
                self._of_episode(episode)
            )
        for pair in self.pairs.values():
            key = (minute_of(pair.at), pair.version, "both", pair.intent, "", "compared")
            rows.setdefault(key, Counter())[_pair_key(pair)] += 1
        for left, right in self.blocks:
            closing = max(minute_of(e.anchor.at) for e in (*left, *right))
            anchor = left[0].anchor
            key = (closing, anchor.version, "both", anchor.intent, "", "compared")
            loss = self._mean_of(left) - self._mean_of(right)
            rows.setdefault(key, Counter())[f"b.{round(loss)}"] += 1
        return {key: {name: n for name, n in row.items() if n} for key, row in rows.items()}

    def _of_request(self, one: Observation) -> Counter[str]:
        row = Counter({"n": 1, "units": int(one.assigned)})
        for name, value in one.quantities.items():
            row.update({f"c.{name}": 1, f"s.{name}": value})
            if name in ("latency_us", "ttft_us"):
                bucket = math.ceil(math.log(value / 1e6) / math.log(1.02))
                row[f"h.{name.removesuffix('_us')}.{bucket}"] += 1
        for cap in self.cost_caps if "cost_nusd" in one.quantities else ():
            row[f"k.cost.{cap}"] += min(one.quantities["cost_nusd"], cap)
        row.update(_of_flags(self._flags([one.id]), ""))
        grade = self._grade(one.id)
        if grade is not None:
            row.update({"graded": 1, "correct_u": grade})
        served = [
            round(outcome.correct * 1_000_000)
            for outcome in self.counted.get(one.id, [])
            if outcome.correct is not None
            and outcome.grades is Grades.SERVED
            and not self._is_by_person(outcome)
        ]
        if served:
            row.update({"served": 1, "served_u": round(Fraction(sum(served), len(served)))})
        return row

    def _of_episode(self, episode: Conversation) -> Counter[str]:
        row = Counter({"e": 1})
        row.update(_of_flags(self._flags(member.id for member in episode.members), "e"))
        mean = self._mean(episode)
        if mean is not None:
            row.update({"e.graded": 1, "e.correct_u": mean})
        if mean is None or not self._is_drawn(episode):
            return row
        row.update({"drawn": 1, "drawn.judge_u": mean})
        person = self._mean(episode, by_person=True)
        if person is not None:
            product = round(Fraction(mean * person, 1_000_000))
            both = {"judge_u": mean, "person_u": person, "product_u": product}
            row.update({"both": 1} | {f"both.{name}": value for name, value in both.items()})
        return row

    def close_blocks(self, now: datetime) -> None:
        """Of the graded episodes that started long enough ago, the earliest first; each is used once.

        A block with a member that has no grade any more is none; its other members wait again.
        """
        self.blocks = [
            block
            for block in self.blocks
            if None not in [self._mean(e) for arm in block for e in arm]
        ]
        used = [e for block in self.blocks for arm in block for e in arm]
        usable = [
            e
            for e in self.episodes
            if e not in used
            and self._mean(e) is not None
            and minute_of(e.anchor.at) <= minute_of(now - self.delay)
        ]
        usable.sort(key=lambda e: (e.anchor.at, e.anchor.id))
        for stratum in {(e.anchor.version, e.anchor.intent) for e in usable}:
            bp = self.shares.get(stratum[0], {}).get(stratum[1], 0)
            if bp in (0, 10_000):
                continue
            share = Fraction(bp, 10_000)
            baselines = max(1, round((1 - share) / share)) if share <= Fraction(1, 2) else 1
            candidates = 1 if share <= Fraction(1, 2) else round(share / (1 - share))
            line = [e for e in usable if (e.anchor.version, e.anchor.intent) == stratum]
            left = [e for e in line if e.anchor.arm is Arm.BASELINE]
            right = [e for e in line if e.anchor.arm is Arm.CANDIDATE]
            while len(left) >= baselines and len(right) >= candidates:
                self.blocks.append((left[:baselines], right[:candidates]))
                left, right = left[baselines:], right[candidates:]

    def _mean_of(self, arm: list[Conversation]) -> Fraction:
        means = [self._mean(e) for e in arm]
        return Fraction(sum(mean for mean in means if mean is not None), len(arm))


def _place(salt: str, name: str) -> Fraction:
    hashed = hashlib.sha256(f"{len(salt)}:{salt}{name}".encode()).hexdigest()
    return Fraction(int(hashed[:16], 16), 2**64)


def _row(one: Observation, at: datetime) -> Row:
    return minute_of(at), one.version, one.arm.value, one.intent, one.endpoint, one.cohort.value


def _of_flags(flags: dict[str, bool], prefix: str) -> Counter[str]:
    row: Counter[str] = Counter()
    for flag, value in flags.items():
        row[f"{prefix}f.{flag}"] += value
        row[f"{prefix}d.{flag}"] += 1
    return row


def _pair_key(pair: Pair) -> str:
    grades = (pair.baseline_correct, pair.candidate_correct)
    if {0, 1}.issuperset(grades):
        return "p." + "".join(str(int(one)) for one in grades)
    return f"pv.{round(1_000_000 * grades[0] - 1_000_000 * grades[1])}"
