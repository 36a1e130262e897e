"""The rollouts' part of `/metrics`, in the text format 0.0.4.

What a tick saw is kept as it was handed over, which costs the tick nothing; it becomes text when somebody asks, once
for each tick. So a scrape writes what changed since the last one and joins the rest: with 10,000 rollouts it neither
reads the database nor computes anything again.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cache
from threading import Lock
from typing import Final

from controller.ports import Head, Standing
from controller.rollout.plan import FULL_BP, Plan
from controller.rollout.state import Phase, shares
from controller.rollout.status import Status
from controller.rollout.verdict import Health, InForce, Outcome, SampleRatio, Verdict
from controller.telemetry import catalogue
from controller.telemetry.catalogue import Family

Samples = dict[Family, list[str]]
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fresh:
    """A rollout as its last tick saw it; nobody has asked since."""

    attempt: int
    head: Head
    status: Status
    standing: Standing | None

    def written(self) -> _Written:
        samples = samples_of(self.head, self.status, self.standing)
        text = tuple("".join(samples.get(one, ())) for one in catalogue.ROLLOUT)
        return _Written(attempt=self.attempt, text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """The same as text, by family. What it was made of is let go: it is larger."""

    attempt: int
    text: tuple[str, ...]


class RolloutMetrics:
    """What is exported of each rollout: the newest attempt of each plan. From any thread."""

    def __init__(self) -> None:
        self._known: dict[str, _Fresh | _Written] = {}
        self._lock = Lock()

    def judged(self, head: Head, status: Status, standing: Standing | None) -> None:
        name, attempt = head.state.name, head.state.attempt
        with self._lock:
            known = self._known.get(name)
            if known is not None and known.attempt > attempt:
                return
            if head.state.phase is Phase.RETIRED:
                self._known.pop(name, None)
                return
            self._known[name] = _Fresh(attempt=attempt, head=head, status=status, standing=standing)

    def keep(self, names: Iterable[str]) -> None:
        """Forget every plan but these."""
        wanted = set(names)
        with self._lock:
            for name in self._known.keys() - wanted:
                del self._known[name]

    def text(self) -> str:
        """Every family with its samples; a family without samples is left out."""
        with self._lock:
            known = list(self._known.items())
        return "".join(_written([self._text(name, one) for name, one in known]))

    def _text(self, name: str, known: _Fresh | _Written) -> tuple[str, ...]:
        if isinstance(known, _Written):
            return known.text
        # Outside the lock: a tick must not wait for a scrape.
        written = known.written()
        with self._lock:
            if self._known.get(name) is known:
                self._known[name] = written
        return written.text


def _written(texts: list[tuple[str, ...]]) -> Iterator[str]:
    for place, family in enumerate(catalogue.ROLLOUT):
        samples = [text[place] for text in texts if text[place]]
        if samples:
            yield f"# HELP {family.name} {family.meaning}\n# TYPE {family.name} {family.kind}\n"
            yield from samples


def samples_of(head: Head, status: Status, standing: Standing | None) -> Samples:
    """The lines of one rollout, by family."""
    out = _Lines(plan=head.plan.name)
    _position(out, head)
    _traffic(out, head, status, standing)
    for verdict in status.verdicts:
        _verdict(out, verdict)
    for rule in head.plan.rules:
        if rule.usual is None:  # a spike's is another one for each intent and minute
            out.add(catalogue.RULE_LIMIT, rule.limit, rule.name)
    return out.samples


def _position(out: _Lines, head: Head) -> None:
    plan, state = head.plan, head.state
    out.add(catalogue.ROLLOUT_INFO, 1, plan.baseline.model, plan.candidate.model)
    out.add(catalogue.ATTEMPT, state.attempt)
    out.set(catalogue.PHASE, state.phase, Phase)
    out.add(catalogue.STEP, state.step + 1)
    out.add(catalogue.STEPS, len(plan.steps))
    if state.paused is not None:
        out.add(catalogue.PAUSE_DEADLINE, state.paused.deadline.timestamp())


def _traffic(out: _Lines, head: Head, status: Status, standing: Standing | None) -> None:
    out.shares(catalogue.PLANNED, shares(head.plan, head.state))
    if standing is not None and standing.split is not None:
        out.shares(catalogue.IN_FORCE, _known(standing.split.shares, head.plan))
    out.add(catalogue.REALISED, _realised(status.seen.sample_ratio))
    out.set(catalogue.SPLIT, status.seen.in_force, InForce)
    out.set(catalogue.BASELINE, status.seen.baseline, Health)
    out.add(catalogue.JUDGED_AT, status.at.timestamp())
    readings = status.seen.readings
    if readings:
        blind = max((one.blind for one in readings), default=timedelta(0))
        out.add(catalogue.BLIND, blind.total_seconds())


def _known(split: Mapping[str, int], plan: Plan) -> Mapping[str, int]:
    """The shares of the plan's own intents: labels are the plan's words."""
    return {one.name: split[one.name] for one in plan.intents if one.name in split}


def _realised(ratio: SampleRatio | None) -> float | None:
    if ratio is None or ratio.candidate + ratio.baseline == 0:
        return None
    return ratio.candidate / (ratio.candidate + ratio.baseline)


def _verdict(out: _Lines, verdict: Verdict) -> None:
    about = (verdict.rule, verdict.intent or "")
    out.set(catalogue.RULE_VERDICT, verdict.outcome, Outcome, *about)
    reading = verdict.reading
    if reading.latest is not None:
        out.add(catalogue.RULE_VALUE, reading.latest.value, *about)
    if reading.failing is not None:
        out.add(catalogue.RULE_LOG_E, reading.failing.log_e, *about)
        out.add(catalogue.RULE_LOG_THRESHOLD, reading.failing.log_threshold, *about)


class _Lines:
    """Collects one plan's samples; a value that is not known makes none.

    Written for speed: with many rollouts, this is what a scrape costs.
    """

    def __init__(self, *, plan: str) -> None:
        self._plan = f'{{plan="{_escaped(plan)}"'
        self.samples: Samples = {}

    def add(self, family: Family, value: float | None, *labels: str) -> None:
        if value is not None and not math.isnan(value):
            named = self._named(family, labels)
            self._lines(family).append(f"{family.name}{named}}} {_number(value)}\n")

    def set(self, family: Family, present: StrEnum, states: type[StrEnum], *labels: str) -> None:
        """One sample for each state: 1 for the present one, 0 for the others."""
        begin = f'{family.name}{self._named(family, labels)},{family.labels[-1]}="'
        now = present.value
        self._lines(family).extend(
            [f'{begin}{state}"}} {1 if state == now else 0}\n' for state in _values(states)]
        )

    def shares(self, family: Family, by_intent: Mapping[str, int]) -> None:
        for intent, share_bp in by_intent.items():
            self.add(family, share_bp / FULL_BP, intent)

    def _named(self, family: Family, labels: tuple[str, ...]) -> str:
        """The labels up to these, without the closing brace. An empty label is the same as none."""
        text = self._plan
        for name, label in zip(family.labels[1:], labels, strict=False):
            if label:
                text += f',{name}="{_escaped(label)}"'
        return text

    def _lines(self, family: Family) -> list[str]:
        return self.samples.setdefault(family, [])


@cache
def _values(states: type[StrEnum]) -> tuple[str, ...]:
    return tuple(one.value for one in states)


def _escaped(label: str) -> str:
    plain = '"' not in label and "\\" not in label and "\n" not in label
    return label if plain else label.translate(_ESCAPES)


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
