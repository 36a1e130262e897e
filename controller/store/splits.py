"""Committed splits, in SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, select

from controller.ports import SplitVersion
from controller.rollout.counting.items import moment_of
from controller.store import schema
from controller.store.lists import listed, values

_SPLITS = (
    select(schema.splits)
    .where(listed(schema.splits.c.rollout))
    .order_by(schema.splits.c.rollout, schema.splits.c.version)
)


def splits_of(
    connection: Connection, rollouts: Collection[str]
) -> dict[str, Sequence[SplitVersion]]:
    """By rollout, in their order."""
    found: dict[str, list[SplitVersion]] = {rollout: [] for rollout in rollouts}
    for row in connection.execute(_SPLITS, values(rollouts)).all() if rollouts else ():
        split = SplitVersion(
            version=row.version, shares=json.loads(row.shares), since=moment_of(row.since)
        )
        found[row.rollout].append(split)
    return {**found}
