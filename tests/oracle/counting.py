"""What arrived, counted once more from the documents: conversations, grades, labels and blocks.

Written from the pages in docs/, on the fields that `canaryctl ingest` takes. Nothing of the product is called here.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

START_OF_TIME = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE, FIVE, HALF_AN_HOUR, DAY = (timedelta(minutes=n) for n in (1, 5, 30, 1440))
MICRO = 1_000_000
Line = dict[str, Any]


def minute(at: datetime) -> int:
    return (at - START_OF_TIME) // MINUTE


def place(salt: str, name: str) -> Fraction:
    """On a circle, from 0 to 1."""
    digest = hashlib.sha256(f"{len(salt)}:{salt}{name}".encode()).digest()
    return Fraction(int.from_bytes(digest[:8], "big"), 2**64)


@dataclass(eq=False)
class Request:
    """One answered request, with all that was learnt of it."""

    line: Line
    at: datetime
    version: int
    sampled: bool = True  # in the part of answers that counts if it is wrong without a grade
    outcomes: list[Line] = field(default_factory=list)
    _known: dict[str, Any] = field(default_factory=dict)  # until something more is learnt

    def learn(self, outcome: Line) -> None:
        self.outcomes.append(outcome)
        self._known.clear()

    @property
    def stratum(self) -> tuple[int, str]:
        return self.version, self.line["intent"]

    @property
    def arm(self) -> str:
        return self.line["arm"]

    def flag(self, name: str) -> bool | None:
        """True if anybody ever said so, None if nobody looked."""
        return self._once(name, lambda: self._flag(name))

    def grade(self) -> int | None:
        """Of the arm's own answer: escalated or failed it is wrong unless that very attempt was graded."""
        return self._once("grade", self._grade)

    def served(self) -> int | None:
        """Of what the client got."""
        return self._once("served", lambda: _mean(self._graded("served")))

    def _once(self, name: str, find: Callable[[], Any]) -> Any:
        if name not in self._known:
            self._known[name] = find()
        return self._known[name]

    def _flag(self, name: str) -> bool | None:
        said = [one["flags"][name] for one in [self.line, *self.outcomes] if name in one["flags"]]
        known = [one for one in said if one is not None]
        return any(known) if known else None

    def _graded(self, *about: str) -> list[int]:
        return [
            round(Fraction(one["correct"]) * MICRO)
            for one in self.outcomes
            if one["correct"] is not None and one["grades"] in about
        ]

    def _grade(self) -> int | None:
        escalated = bool(self.flag("escalated"))
        wrong_without = escalated or bool(self.flag("error"))
        if wrong_without and not self.sampled:
            return None
        mean = _mean(self._graded("attempt") if escalated else self._graded("attempt", "served"))
        return 0 if mean is None and wrong_without else mean


def _mean(grades: Sequence[int]) -> int | None:
    """To the nearest millionth, halves to even."""
    return round(Fraction(sum(grades), len(grades))) if grades else None


@dataclass(eq=False)
class Episode:
    """One unit on one arm, in one intent, under one split; it counts where the request lies that came in first."""

    requests: list[Request]

    @property
    def anchor(self) -> Request:
        return self.requests[0]

    def takes(self, at: datetime) -> bool:
        last = max(one.at for one in self.requests)
        heard = last - (last - START_OF_TIME) % FIVE + FIVE
        begun = self.anchor.at
        return begun - HALF_AN_HOUR < at < min(heard + HALF_AN_HOUR, begun + DAY)

    def flag(self, name: str) -> bool | None:
        known = [one.flag(name) for one in self.requests if one.flag(name) is not None]
        return any(known) if known else None

    def grade(self) -> int | None:
        return _mean([grade for one in self.requests if (grade := one.grade()) is not None])


@dataclass(eq=False)
class Block:
    """Labels of both arms that were matched once: what is lost is the baseline's mean less the candidate's."""

    baseline: list[Episode]
    candidate: list[Episode]

    @property
    def stratum(self) -> tuple[int, str]:
        return self.candidate[0].anchor.stratum

    @property
    def minute(self) -> int:
        return max(minute(one.anchor.at) for one in self.baseline + self.candidate)

    def loss(self) -> int:
        left, right = (
            Fraction(sum(one.grade() or 0 for one in arm), len(arm))
            for arm in (self.baseline, self.candidate)
        )
        return round(left - right)


@dataclass
class Ledger:
    """Everything that came in so far."""

    of_conversations: bool
    delay: timedelta
    horizon: timedelta
    sampled: Fraction = Fraction(1)
    requests: dict[str, Request] = field(default_factory=dict)
    episodes: list[Episode] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    pairs: list[Line] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _waiting: dict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))
    _episode_of: dict[str, Episode] = field(default_factory=dict)
    _of_unit: dict[tuple[object, ...], list[Episode]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _in_block: set[int] = field(default_factory=set)

    def receive(
        self, lines: Iterable[Line], now: datetime, splits: list[tuple[datetime, int, int]]
    ) -> None:
        """Take in a batch. `splits` are since when, under which version, the candidate had which share (in bp)."""
        for line in lines:
            if line["id"] in self._seen:
                continue
            self._seen.add(line["id"])
            if line["kind"] == "observation":
                self._request(line, now, splits)
            elif line["kind"] == "pair":
                self.pairs.append(line)
            elif line["observation"] in self.requests:
                self._outcome(line, now)
            else:
                self._waiting[line["observation"]].append(line)
        self._close_blocks(now, {version: share for _, version, share in splits})

    def _request(self, line: Line, now: datetime, splits: list[tuple[datetime, int, int]]) -> None:
        at = datetime.fromisoformat(line["at"])
        committed = [version for since, version, _ in splits if since <= at][-1]
        salt = f"labels of {line['rollout']}"
        sampled = place(salt, line["id"]) < self.sampled
        one = Request(line, at, line.get("version", committed), sampled)
        self.requests[line["id"]] = one
        if line["cohort"] == "compared":
            self._episode_of[line["id"]] = self._join(one)
        for waiting in self._waiting.pop(line["id"], []):
            self._outcome(waiting, now)

    def _join(self, one: Request) -> Episode:
        key = (one.line["unit"], one.arm, one.stratum)
        open_ones = [e for e in self._of_unit[key] if self.of_conversations and e.takes(one.at)]
        if open_ones:
            episode = max(open_ones, key=lambda e: e.anchor.at)
            episode.requests.append(one)
        else:
            episode = Episode([one])
            self.episodes.append(episode)
            self._of_unit[key].append(episode)
        return episode

    def _outcome(self, line: Line, now: datetime) -> None:
        one = self.requests[line["observation"]]
        episode = self._episode_of.get(line["observation"])
        counts_at = one.at if episode is None else episode.anchor.at
        if now - counts_at <= self.horizon:
            one.learn(line)

    def _close_blocks(self, now: datetime, shares: dict[int, int]) -> None:
        """Labels that are old enough, in order of their conversations' begin, each used once.

        A block of which a label has no grade any more is none, and its other labels wait again.
        """
        for block in list(self.blocks):
            members = block.baseline + block.candidate
            if any(one.grade() is None for one in members):
                self.blocks.remove(block)
                self._in_block -= {id(one) for one in members}
        mature = minute(now - self.delay)
        lines: dict[tuple[int, str], dict[str, list[Episode]]] = defaultdict(
            lambda: {"baseline": [], "candidate": []}
        )
        for one in sorted(self.episodes, key=lambda e: (e.anchor.at, e.anchor.line["id"])):
            waits = id(one) not in self._in_block and one.grade() is not None
            if waits and minute(one.anchor.at) <= mature:
                lines[one.anchor.stratum][one.anchor.arm].append(one)
        for (version, _), line in lines.items():
            self._match(line["baseline"], line["candidate"], shares.get(version, 0))

    def _match(self, baseline: list[Episode], candidate: list[Episode], share: int) -> None:
        if not 0 < share < 10_000:
            return
        odds = Fraction(10_000 - share, share)
        b, c = (max(1, round(odds)), 1) if share <= 5_000 else (1, max(1, round(1 / odds)))
        while len(baseline) >= b and len(candidate) >= c:
            block = Block(baseline[:b], candidate[:c])
            self.blocks.append(block)
            self._in_block.update(id(one) for one in block.baseline + block.candidate)
            baseline, candidate = baseline[b:], candidate[c:]
