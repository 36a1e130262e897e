"""The rows that one ingest reads and writes, in memory."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import takewhile
from operator import attrgetter
from typing import Any, TypeVar

from controller.ports import Head, SplitVersion
from controller.rollout.counting.account import Terms
from controller.rollout.counting.blocks import ARMS, Sizes, Stratum, place_of, stratum_of
from controller.rollout.counting.deltas import RowKey
from controller.rollout.counting.items import (
    Block,
    Episode,
    Fate,
    KeptOutcome,
    Label,
    Request,
    micros,
)
from controller.rollout.counting.people import ByPeople
from controller.rollout.evidence.caps import cost_caps
from controller.rollout.observation import Pair
from controller.store import rules
from controller.store.ingest import Changes, Kind, Reach

Rollups = dict[RowKey, tuple[int, Mapping[str, int]]]
"""With the ingest sequence of the last change, in whose order they are: a row that changes goes to the end."""


@dataclass(slots=True)
class _Outcomes:
    """Outcomes by id; those that wait by observation and by age; how many there are of each rollout and fate."""

    kept: dict[str, KeptOutcome] = field(default_factory=dict)
    waiting: dict[str, list[str]] = field(default_factory=dict)
    # By rollout, "" where it is not known; those that are kept no more too.
    counts: Counter[tuple[str, Fate]] = field(default_factory=Counter)
    _by_age: list[tuple[int, str]] = field(
        default_factory=list
    )  # a heap; may name some that wait no more

    def put(self, outcomes: Iterable[KeptOutcome]) -> None:
        for one in outcomes:
            before = self.kept.get(one.id)
            if before is not None:
                self._forget(before)
            self.kept[one.id] = one
            self.counts[one.rollout or "", one.fate] += 1
            if one.fate is Fate.WAITING:
                self.waiting.setdefault(one.observation, []).append(one.id)
                heappush(self._by_age, (one.received, one.id))

    def _forget(self, before: KeptOutcome) -> None:
        self.counts[before.rollout or "", before.fate] -= 1
        if before.fate is Fate.WAITING:
            others = [name for name in self.waiting.pop(before.observation) if name != before.id]
            if others:
                self.waiting[before.observation] = others

    def prune(self, kept_from: int) -> int:
        """Those that are earlier; none of them waits any more."""
        gone = [one for one in self.kept.values() if one.at < kept_from]
        self.put(replace(one, fate=Fate.EXPIRED) for one in gone if one.fate is Fate.WAITING)
        for one in gone:
            del self.kept[one.id]
        return len(gone)

    def waiting_for(self, observations: Collection[str]) -> Iterable[KeptOutcome]:
        if not self.waiting:
            return
        for observation in observations:
            for name in self.waiting.get(observation, ()):
                yield self.kept[name]

    def expire(self, before: int) -> None:
        """Those received earlier stop waiting."""
        while self._by_age and self._by_age[0][0] < before:
            one = self.kept.get(heappop(self._by_age)[1])
            if one is not None and one.fate is Fate.WAITING:
                self.put([replace(one, fate=Fate.EXPIRED)])


@dataclass(slots=True)
class _Labels:
    """Labels by id; those in no block yet in line by stratum and arm; the others by block."""

    kept: dict[str, Label] = field(default_factory=dict)
    _lines: dict[tuple[Stratum, str], list[tuple[int, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _members: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def put(self, labels: Iterable[Label]) -> None:
        for one in labels:
            before = self.kept.get(one.id)
            if before is None or before.block != one.block:
                self._move(before, one)
            self.kept[one.id] = one

    def delete(self, ids: Iterable[str]) -> None:
        for one in ids:
            self._take_out(self.kept.pop(one))

    def has(self, stratum: Stratum, arm: str, before: int, count: int) -> bool:
        line = self._lines.get((stratum, arm), ())
        return len(line) >= count and line[count - 1][0] < before

    def in_line(self, stratum: Stratum, arm: str, before: int, limit: int) -> list[Label]:
        first = self._lines.get((stratum, arm), ())[:limit]
        return [self.kept[name] for start, name in first if start < before]

    def members(self, block: str) -> list[Label]:
        return [self.kept[name] for name in self._members.get(block, ())]

    def prune(self, kept_from: int) -> int:
        """Those of blocks all of whose members are earlier."""
        old = [
            block
            for block, names in self._members.items()
            if all(self.kept[name].start < kept_from for name in names)
        ]
        gone = [name for block in old for name in self._members.pop(block)]
        for name in gone:
            del self.kept[name]
        return len(gone)

    def _move(self, before: Label | None, now: Label) -> None:
        if before is not None:
            self._take_out(before)
        if now.block is None:
            insort(self._line_of(now), place_of(now))
        else:
            self._members[now.block].append(now.id)

    def _take_out(self, label: Label) -> None:
        """Of its line or block."""
        if label.block is None:
            line = self._line_of(label)
            del line[bisect_left(line, place_of(label))]
            return
        others = [name for name in self._members.pop(label.block) if name != label.id]
        if others:
            self._members[label.block] = others

    def _line_of(self, label: Label) -> list[tuple[int, str]]:
        return self._lines[stratum_of(label), label.arm]


@dataclass(slots=True)
class MemoryRows:
    """`Rows` as dictionaries. What is handed out is a copy, so that a batch that fails changes nothing.

    Beside each kind is what it is looked up by, so that a call costs what it returns and not what is kept.
    """

    kept_floor: int = micros(datetime.min.replace(tzinfo=UTC))
    heads: dict[str, Head] = field(default_factory=dict)
    split_versions: dict[str, list[SplitVersion]] = field(default_factory=lambda: defaultdict(list))
    ingest_seqs: dict[str, int] = field(default_factory=dict)
    kept_requests: dict[str, Request] = field(default_factory=dict)
    kept_pairs: dict[str, Pair] = field(default_factory=dict)
    kept_episodes: dict[tuple[str, str], dict[str, Episode]] = field(
        default_factory=lambda: defaultdict(dict)
    )  # by rollout and unit
    kept_by_people: dict[tuple[str, str], dict[str, ByPeople]] = field(
        default_factory=lambda: defaultdict(dict)
    )  # by rollout and unit
    kept_blocks: dict[str, Block] = field(default_factory=dict)
    kept_minutes: dict[str, Rollups] = field(default_factory=lambda: defaultdict(dict))
    _outcomes: _Outcomes = field(default_factory=_Outcomes)
    _labels: _Labels = field(default_factory=_Labels)

    def floor(self) -> int:
        return self.kept_floor

    def prune(self, before: int, now: int) -> tuple[int, dict[str, int]]:
        """The new floor, and how many rows went of each kind."""
        longest = max(
            (head.plan.labels.horizon for head in self.heads.values()), default=timedelta(0)
        )
        floor = rules.floor_for(before, now, longest // timedelta(microseconds=1), self.kept_floor)
        self.kept_floor = floor
        return floor, {
            "observations": _prune(self.kept_requests, lambda one: one.at < floor),
            "outcomes": self._outcomes.prune(floor),
            "pairs": _prune(self.kept_pairs, lambda one: micros(one.at) < floor),
            "episodes": _prune_by_unit(
                self.kept_episodes, lambda one: one.start < rules.kept_from("episodes", floor)
            ),
            "labels": self._labels.prune(rules.kept_from("labels", floor)),
            "by_people": _prune_by_unit(
                self.kept_by_people, lambda one: one.episode < rules.kept_from("by_people", floor)
            ),
        }

    def terms(self, rollouts: Collection[str]) -> dict[str, Terms]:
        plans = {name: self.heads[name].plan for name in rollouts if name in self.heads}
        return {
            name: Terms(
                unit=plan.unit,
                horizon=plan.labels.horizon,
                delay=plan.labels.delay,
                sampled_u=plan.labels.sampled_u,
                people_u=plan.labels.people_u,
                cost_caps=cost_caps(plan),
            )
            for name, plan in plans.items()
        }

    def known(self, kind: Kind, ids: Collection[str]) -> set[str]:
        stored: Mapping[Kind, Collection[str]] = {
            "observations": self.kept_requests,
            "outcomes": self._outcomes.kept,
            "pairs": self.kept_pairs,
        }
        return {one for one in ids if one in stored[kind]}

    def requests(self, ids: Collection[str]) -> dict[str, Request]:
        stored = (self.kept_requests[one] for one in ids if one in self.kept_requests)
        return {one.id: _copy(one) for one in stored}

    def waiting(self, observations: Collection[str]) -> list[KeptOutcome]:
        waiting = map(_copy, self._outcomes.waiting_for(observations))
        return sorted(waiting, key=lambda one: (one.received, one.id))

    def refused(self, rollout: str, fate: Fate) -> int:
        """How many outcomes had this fate, of a rollout or ("") of those whose rollout is not known."""
        return self._outcomes.counts[rollout, fate]

    def episodes(self, rollout: str, reach: Reach) -> list[Episode]:
        return [
            _copy(episode)
            for unit in reach.units
            for episode in self.kept_episodes.get((rollout, unit), {}).values()
            if reach.low <= episode.start <= reach.high and episode.heard >= reach.active
        ]

    def by_people(self, rollout: str, units: Collection[str]) -> list[ByPeople]:
        return [
            _copy(one)
            for unit in units
            for one in self.kept_by_people.get((rollout, unit), {}).values()
        ]

    def splits(self, rollouts: Collection[str]) -> dict[str, Sequence[SplitVersion]]:
        return {one: list(self.split_versions.get(one, ())) for one in rollouts}

    def ready(self, before: Mapping[Stratum, int], sizes: Sizes) -> list[Stratum]:
        return [
            stratum
            for stratum, moment in before.items()
            if all(self._labels.has(stratum, arm, moment, sizes.of(arm)) for arm in ARMS)
        ]

    def in_line(self, stratum: Stratum, arm: str, before: int, limit: int) -> list[Label]:
        return [_copy(one) for one in self._labels.in_line(stratum, arm, before, limit)]

    def labels(self, ids: Collection[str]) -> list[Label]:
        return [_copy(self._labels.kept[one]) for one in ids if one in self._labels.kept]

    def members(self, blocks: Collection[str]) -> list[Label]:
        return [_copy(one) for block in blocks for one in self._labels.members(block)]

    def blocks(self, ids: Collection[str]) -> list[Block]:
        return [_copy(self.kept_blocks[one]) for one in ids if one in self.kept_blocks]

    def minutes(self, keys: Collection[RowKey]) -> dict[RowKey, Mapping[str, int]]:
        found = ((key, self.kept_minutes.get(key[0], {}).get(key)) for key in keys)
        return {key: row[1] for key, row in found if row is not None}

    def write(self, changes: Changes) -> None:
        self.kept_requests.update((one.id, one) for one in changes.new_requests)
        self.kept_requests.update((one.id, one) for one in changes.changed_requests)
        for episode in (*changes.new_episodes, *changes.changed_episodes):
            self.kept_episodes[episode.rollout, episode.unit][episode.id] = episode
        for by_people in changes.by_people:
            self.kept_by_people[by_people.rollout, by_people.unit][by_people.id] = by_people
        self._outcomes.put(changes.outcomes)
        self.kept_pairs.update((one.id, one) for one in changes.pairs)
        self._labels.delete(changes.gone_labels)
        self._labels.put(changes.labels)
        for one in changes.gone_blocks:
            del self.kept_blocks[one]
        self.kept_blocks.update((one.id, one) for one in changes.blocks)
        for rollout, number in changes.refused.items():
            self._outcomes.counts[rollout, Fate.TOO_LATE] += number
        for rollout in {key[0] for key in changes.minutes}:
            self.ingest_seqs[rollout] = self.ingest_seqs.get(rollout, 0) + 1
        for key, stats in changes.minutes.items():
            rollups = self.kept_minutes[key[0]]
            rollups.pop(key, None)  # so that it goes to the end
            rollups[key] = (self.ingest_seqs[key[0]], stats)

    def expire(self, now: datetime) -> None:
        if self._outcomes.waiting:
            longest = max(
                (head.plan.labels.horizon for head in self.heads.values()), default=timedelta.max
            )
            self._outcomes.expire(micros(now) - longest // timedelta(microseconds=1))


def newer(rollups: Rollups, seq: int) -> list[tuple[RowKey, int, Mapping[str, int]]]:
    """Rows that changed after this ingest sequence, in the order of their changes."""
    newest = takewhile(lambda item: item[1][0] > seq, reversed(rollups.items()))
    return [(key, changed, stats) for key, (changed, stats) in newest][::-1]


K = TypeVar("K")


def _prune(kept: dict[str, K], is_old: Callable[[K], bool]) -> int:
    gone = [name for name, one in kept.items() if is_old(one)]
    for name in gone:
        del kept[name]
    return len(gone)


def _prune_by_unit(kept: dict[tuple[str, str], dict[str, K]], is_old: Callable[[K], bool]) -> int:
    gone = 0
    for key, of_unit in list(kept.items()):
        gone += _prune(of_unit, is_old)
        if not of_unit:
            del kept[key]
    return gone


T = TypeVar("T", Request, Episode, Label, Block, ByPeople, KeptOutcome)


def _copy(one: T) -> T:
    """As `dataclasses.replace` without changes, in a fifth of its time."""
    values = _values_of[type(one)]
    return type(one)(*values(one))


_values_of: Mapping[type, attrgetter[tuple[Any, ...]]] = {
    kind: attrgetter(*(one.name for one in fields(kind)))
    for kind in (Request, Episode, Label, Block, ByPeople, KeptOutcome)
}
