"""The rows that one ingest reads and writes, in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from controller.ports import Head, SplitVersion
from controller.rollout.accounting import Terms
from controller.rollout.accounting_blocks import Stratum, stratum_of
from controller.rollout.accounting_state import (
    Block,
    Episode,
    Fate,
    KeptOutcome,
    Label,
    Request,
    micros,
)
from controller.rollout.accounting_tally import RowKey
from controller.rollout.observation import Pair
from controller.store.ingest import Changes, Kind, Reach

Rollups = dict[RowKey, tuple[int, Mapping[str, int]]]  # with the ingest sequence of the last change


@dataclass(slots=True)
class MemoryRows:
    """`Rows` as dictionaries. What is handed out is a copy, so that a batch that fails changes nothing."""

    heads: dict[str, Head] = field(default_factory=dict)
    split_versions: dict[str, list[SplitVersion]] = field(default_factory=lambda: defaultdict(list))
    ingest_seqs: dict[str, int] = field(default_factory=dict)
    label_counts: dict[str, int] = field(default_factory=dict)
    kept_requests: dict[str, Request] = field(default_factory=dict)
    kept_outcomes: dict[str, KeptOutcome] = field(default_factory=dict)
    kept_pairs: dict[str, Pair] = field(default_factory=dict)
    kept_episodes: dict[tuple[str, str], dict[str, Episode]] = field(
        default_factory=lambda: defaultdict(dict)
    )  # by rollout and unit
    kept_labels: dict[str, Label] = field(default_factory=dict)
    kept_blocks: dict[str, Block] = field(default_factory=dict)
    kept_minutes: Rollups = field(default_factory=dict)
    kept_hours: Rollups = field(default_factory=dict)

    def terms(self, rollouts: Collection[str]) -> dict[str, Terms]:
        plans = {name: self.heads[name].plan for name in rollouts if name in self.heads}
        return {
            name: Terms(unit=plan.unit, horizon=plan.labels.horizon) for name, plan in plans.items()
        }

    def known(self, kind: Kind, ids: Collection[str]) -> set[str]:
        stored: Mapping[Kind, Collection[str]] = {
            "observations": self.kept_requests,
            "outcomes": self.kept_outcomes,
            "pairs": self.kept_pairs,
        }
        return {one for one in ids if one in stored[kind]}

    def requests(self, ids: Collection[str]) -> dict[str, Request]:
        stored = (self.kept_requests[one] for one in ids if one in self.kept_requests)
        return {one.id: replace(one, flags=dict(one.flags)) for one in stored}

    def waiting(self, observations: Collection[str]) -> list[KeptOutcome]:
        if not observations:
            return []
        waiting = (one for one in self._waiting() if one.observation in observations)
        return sorted(map(replace, waiting), key=lambda one: (one.received, one.id))

    def episodes(self, rollout: str, reach: Reach) -> list[Episode]:
        return [
            replace(episode, flags=dict(episode.flags))
            for unit in reach.units
            for episode in self.kept_episodes.get((rollout, unit), {}).values()
            if reach.low <= episode.start <= reach.high
        ]

    def splits(self, rollout: str) -> Sequence[SplitVersion]:
        return list(self.split_versions.get(rollout, ()))

    def labels_in_all(self, rollout: str) -> int:
        return self.label_counts.get(rollout, 0)

    def in_line(self, stratum: Stratum, arm: str, limit: int) -> list[Label]:
        line = (
            label
            for label in self.kept_labels.values()
            if label.block is None and label.arm == arm and stratum_of(label) == stratum
        )
        return [replace(one) for one in sorted(line, key=lambda one: one.position)[:limit]]

    def labels(self, ids: Collection[str]) -> list[Label]:
        return [replace(self.kept_labels[one]) for one in ids if one in self.kept_labels]

    def members(self, blocks: Collection[str]) -> list[Label]:
        return [replace(label) for label in self.kept_labels.values() if label.block in blocks]

    def blocks(self, ids: Collection[str]) -> list[Block]:
        return [replace(self.kept_blocks[one]) for one in ids if one in self.kept_blocks]

    def minutes(self, keys: Collection[RowKey]) -> dict[RowKey, Mapping[str, int]]:
        return {key: self.kept_minutes[key][1] for key in keys if key in self.kept_minutes}

    def hours(self, keys: Collection[RowKey]) -> dict[RowKey, Mapping[str, int]]:
        return {key: self.kept_hours[key][1] for key in keys if key in self.kept_hours}

    def write(self, changes: Changes) -> None:
        self.kept_requests.update((one.id, one) for one in changes.new_requests)
        self.kept_requests.update((one.id, one) for one in changes.changed_requests)
        for episode in changes.episodes:
            self.kept_episodes[episode.rollout, episode.unit][episode.id] = episode
        self.kept_outcomes.update((one.id, one) for one in changes.outcomes)
        self.kept_pairs.update((one.id, one) for one in changes.pairs)
        self.kept_labels.update((one.id, one) for one in changes.labels)
        self.kept_blocks.update((one.id, one) for one in changes.blocks)
        self.label_counts.update(changes.labels_in_all)
        for rollout in {key[0] for key in changes.minutes}:
            self.ingest_seqs[rollout] = self.ingest_seqs.get(rollout, 0) + 1
        for kept, rows in ((self.kept_minutes, changes.minutes), (self.kept_hours, changes.hours)):
            kept.update((key, (self.ingest_seqs[key[0]], stats)) for key, stats in rows.items())

    def expire(self, now: datetime) -> None:
        horizons = [head.plan.labels.horizon for head in self.heads.values()]
        if not horizons:
            return
        oldest = micros(now) - max(horizons) // timedelta(microseconds=1)
        for outcome in self._waiting():
            if outcome.received < oldest:
                outcome.fate = Fate.EXPIRED

    def _waiting(self) -> list[KeptOutcome]:
        return [one for one in self.kept_outcomes.values() if one.fate is Fate.WAITING]
