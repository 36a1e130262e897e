"""Records together with the plan revisions they were decided under."""

from __future__ import annotations

from dataclasses import dataclass

from controller.ports import RolloutStore
from controller.rollout.plan import Plan
from controller.rollout.record import Record, Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    sealed: Sealed[Record]
    plan: Plan

    @property
    def record(self) -> Record:
        return self.sealed.value


def entries_of(store: RolloutStore, rollout: str, *, after: int = 0) -> list[Entry]:
    """A rollout's records with seq > after, oldest first; each revision is read once."""
    plans: dict[str, Plan] = {}
    entries = []
    for sealed in store.records(rollout, after=after):
        digest = sealed.value.plan_digest
        if digest not in plans:
            plans[digest] = store.plan(digest).value
        entries.append(Entry(sealed=sealed, plan=plans[digest]))
    return entries
