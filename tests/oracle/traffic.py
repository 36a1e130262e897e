"""Random traffic as documents: conversations of both arms, what is learnt of them, and when each line is delivered."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

Line = dict[str, Any]
PINNED = "legal"  # an intent that never leaves the baseline


def minutes(n: float) -> timedelta:
    return timedelta(microseconds=round(n * 60_000_000))


@dataclass(frozen=True)
class Nature:
    """How the arms answer, and how slowly words of it come in."""

    conversations: float = 0.5  # that begin in a minute
    requests: float = 2.5  # of a conversation, in the mean
    escalated: float = 0.02  # of the candidate's answers
    error: float = 0.02
    wrong: tuple[float, float] = (0.08, 0.08)  # of baseline and candidate
    latency_s: float = 1.0
    graded: tuple[float, float] = (0.9, 0.9)
    label_delay: float = 20.0  # minutes, in the median
    late: float = 0.03  # of all lines: hours later
    twice: float = 0.05
    turns_at: float = (
        1e9  # minutes from the begin: from here on the candidate is `worse` times as bad
    )
    worse: float = 1.0
    pairs: float = 0.0  # in a minute: requests that both arms answered, both answers graded


@dataclass
class Traffic:
    """Conversations begin while the clock goes on, and are delivered when they are due."""

    nature: Nature
    begin: datetime
    rollout: str
    random: np.random.Generator
    due: list[tuple[datetime, int, Line]] = field(default_factory=list)
    _ids: int = 0

    def flow(self, since: datetime, until: datetime, *, share_bp: int, version: int) -> None:
        """What begins in [since, until) under a split."""
        span = (until - since) / timedelta(minutes=1)
        for _ in range(self.random.poisson(self.nature.conversations * span)):
            self._conversation(since + minutes(self.random.uniform(0, span)), share_bp, version)
        for _ in range(self.random.poisson(self.nature.pairs * span)):
            self._pair(since + minutes(self.random.uniform(0, span)))

    def take(self, now: datetime) -> list[Line]:
        """The lines that are due, in the order of their delivery."""
        there = [one for one in self.due if one[0] <= now]
        self.due = [one for one in self.due if one[0] > now]
        return [line for *_, line in sorted(there, key=lambda one: one[:2])]

    def _conversation(self, at: datetime, share_bp: int, version: int) -> None:
        random, intent = self.random, self._intent()
        drawn = random.uniform() * 10_000 < share_bp and intent != PINNED
        arm = "candidate" if drawn else "baseline"
        unit = self._name("unit")
        tells = random.uniform() < 0.3  # of the version
        for number in range(random.geometric(1 / self.nature.requests)):
            line = self._request(at, unit, arm, intent)
            if tells:
                line["version"] = version
            self._deliver(line, at)
            self._learn(line, at)
            at += minutes(random.exponential(9.0) if number % 3 else random.exponential(2.0))

    def _pair(self, at: datetime) -> None:
        right = [float(self.random.uniform() >= wrong) for wrong in self.nature.wrong]
        if self.random.uniform() < 0.1:  # asked several times
            right[1] = float(self.random.choice([0.25, 0.5]))
        line = {
            "kind": "pair",
            "id": self._name("pair"),
            "rollout": self.rollout,
            "at": at.isoformat(),
            "intent": str(self.random.choice(["refund", "order"])),
            "baseline_correct": right[0],
            "candidate_correct": right[1],
        }
        self._deliver(line, at + minutes(1))

    def _intent(self) -> str:
        return str(self.random.choice(["refund", "order", PINNED], p=[0.5, 0.4, 0.1]))

    def _badness(self, at: datetime, arm: str) -> float:
        turned = at - self.begin >= minutes(self.nature.turns_at)
        return self.nature.worse if turned and arm == "candidate" else 1.0

    def _request(self, at: datetime, unit: str, arm: str, intent: str) -> Line:
        random, nature = self.random, self.nature
        bad = self._badness(at, arm)
        flags = {
            "error": self._flag(nature.error * bad),
            "escalated": self._flag(nature.escalated * bad if arm == "candidate" else 0.0),
        }
        latency = nature.latency_s * float(random.lognormal(0.0, 0.7)) * bad**0.5
        quantities = {"latency_us": max(int(latency * 1e6), 1)} if random.uniform() < 0.97 else {}
        return {
            "kind": "observation",
            "id": self._name("request"),
            "rollout": self.rollout,
            "at": at.isoformat(),
            "unit": unit,
            "arm": arm,
            "intent": intent,
            "cohort": "outside" if intent == PINNED else "compared",
            "flags": flags,
            "quantities": quantities,
        }

    def _flag(self, probability: float) -> bool | None:
        return None if self.random.uniform() < 0.01 else bool(self.random.uniform() < probability)

    def _learn(self, line: Line, at: datetime) -> None:
        """Grades of an answer, one or two of them, and that it was escalated after all."""
        random, nature, arm = self.random, self.nature, line["arm"]
        bad, which = self._badness(at, arm), int(arm == "candidate")
        if random.uniform() < nature.graded[which]:
            wrong = random.uniform() < nature.wrong[which] * bad
            correct = (
                [1.0, 0.0][wrong] if random.uniform() < 0.9 else float(random.choice([0.25, 0.7]))
            )
            self._outcome(line, at, correct=correct)
            if random.uniform() < 0.05:  # somebody else says otherwise, later
                self._outcome(line, at + minutes(60), correct=1 - correct)
        if arm == "candidate" and random.uniform() < nature.escalated * bad / 4:
            self._outcome(line, at + minutes(random.exponential(200)), flags={"escalated": True})

    def _outcome(
        self, of: Line, at: datetime, *, correct: float | None = None, flags: Line | None = None
    ) -> None:
        said = at + minutes(self.nature.label_delay * float(self.random.lognormal(0.0, 0.6)))
        line = {
            "kind": "outcome",
            "id": self._name("outcome"),
            "observation": of["id"],
            "at": said.isoformat(),
            "correct": correct,
            "grades": str(self.random.choice(["served", "attempt"], p=[0.7, 0.3])),
            "flags": flags or {},
        }
        self._deliver(line, said)

    def _deliver(self, line: Line, at: datetime) -> None:
        """Mostly within seconds, some hours late, some twice."""
        random = self.random
        slow = random.uniform() < self.nature.late
        on_its_way = random.exponential(150.0) if slow else random.exponential(0.3)
        self._ids += 1
        self.due.append((at + minutes(on_its_way), self._ids, line))
        if random.uniform() < self.nature.twice:
            self._ids += 1
            self.due.append((at + minutes(on_its_way + random.exponential(100.0)), self._ids, line))

    def _name(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}-{self._ids}"
