"""The floor below which nothing is kept, and how many outcomes were refused, in SQL."""

from __future__ import annotations

from collections import Counter
from typing import Final

from sqlalchemy import Connection, func, select

from controller.rollout.counting.items import Fate
from controller.store import schema
from controller.store.engine import adding

_FLOOR: Final = select(schema.retention.c.floor)


def floor_of(connection: Connection) -> int:
    """In microseconds; rises only by `prune`, which holds the ingest lock."""
    return int(connection.execute(_FLOOR).scalar_one())


def refuse(connection: Connection, counts: Counter[tuple[str, Fate]]) -> None:
    """Count refusals that leave nothing else behind; in the order of their rows, as every writer of them."""
    rows = [(rollout, fate.value, number) for (rollout, fate), number in sorted(counts.items())]
    adding(connection, schema.refusals, rows)


def refused(connection: Connection, rollout: str) -> Counter[Fate]:
    """Outcomes of this rollout, and of those whose rollout is not known, by what became of them."""
    outcomes, refusals = schema.outcomes, schema.refusals
    # Whose the waiting and the expired are is not known; only what came too late was matched.
    kept = (
        select(outcomes.c.fate, func.count())
        .where(schema.FATE_REFUSED, func.coalesce(outcomes.c.rollout, "").in_(("", rollout)))
        .group_by(outcomes.c.fate)
    )
    gone = select(refusals.c.fate, refusals.c.count).where(refusals.c.rollout.in_(("", rollout)))
    counts = Counter[Fate]()
    for statement in (kept, gone):
        for fate, number in connection.execute(statement):
            counts[Fate(fate)] += int(number)
    return counts
