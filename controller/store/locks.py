"""What writers lock, and in which order. Whoever takes these top down never waits in a circle.

1. Migration, an advisory lock, by whoever changes the schema: of two processes that start together one does it.
2. The fence's row. FOR SHARE by whatever is written under a fence: many at once, each under the present one. FOR UPDATE
   by `take_fence`, `take_lead` and `anchor`: they wait for the commits in flight, and later ones wait for them.
3. Ingest, an advisory lock: an outcome and its observation that come by two controllers at once must meet.
4. Rollouts' rows, by name. By a commit and the notes of a tick, because what they read there they change; by an ingest
   only when it writes its rollups, last of all, so a decision hardly waits for it.
5. The rows themselves. To note a delivery, or to renew the lead, takes no more than its row.

All of them end with their transaction, also when its connection is lost. In PostgreSQL each statement of a writer sees
what was committed before it began (READ COMMITTED), so what is read after a lock is the present. SQLite has one lock
for all writers, which they take when they begin (BEGIN IMMEDIATE); there these are plain reads.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from typing import Final

from sqlalchemy import Connection, func, select

from controller.store import schema
from controller.store.direct import asked
from controller.store.lists import listed, values

_SPACE: Final = 0x63616E61  # "cana": the first half of our advisory locks' keys, others' may be in the same database


class Advisory(IntEnum):
    """Locks on no row: the second half of their keys, which releases that run side by side share."""

    MIGRATION = 1
    INGEST = 2


_FENCE: Final = {
    alone: select(schema.fence.c.value).with_for_update(read=not alone) for alone in (False, True)
}
# A foreign key only asks that the rollout stays: it does not wait for these.
_ROLLOUTS: Final = (
    select(schema.rollouts.c.rollout)
    .where(listed(schema.rollouts.c.rollout))
    .order_by(schema.rollouts.c.rollout)
    .with_for_update(key_share=True)
)


def hold(connection: Connection, lock: Advisory) -> None:
    """Wait for an advisory lock; held until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_SPACE, int(lock))))


def hold_fence(connection: Connection, *, alone: bool) -> int:
    """The present fence, which stays the present one until the transaction ends; `alone`: to change it."""
    return asked(connection, _FENCE[alone]).scalar() or 0


def hold_rollouts(connection: Connection, rollouts: Collection[str]) -> set[str]:
    """Wait for these rollouts' rows; those of them that exist."""
    return set(asked(connection, _ROLLOUTS, **values(rollouts)).scalars())
