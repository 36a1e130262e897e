"""Committed splits, in SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, select

from controller.ports import SplitVersion
from controller.rollout.accounting_state import moment_of
from controller.store import schema

_SPLITS = (
    select(schema.splits)
    .where(schema.splits.c.rollout == bindparam("rollout"))
    .order_by(schema.splits.c.version)
)


def splits_of(connection: Connection, rollout: str) -> Sequence[SplitVersion]:
    return [
        SplitVersion(version=row.version, shares=json.loads(row.shares), since=moment_of(row.since))
        for row in connection.execute(_SPLITS, {"rollout": rollout}).all()
    ]
