"""Committed splits, in SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, select

from controller.ports import SplitVersion
from controller.rollout.accounting_state import moment_of
from controller.store import schema


def splits_of(connection: Connection, rollout: str) -> Sequence[SplitVersion]:
    table = schema.splits
    every = select(table).where(table.c.rollout == rollout).order_by(table.c.version)
    return [
        SplitVersion(version=row.version, shares=json.loads(row.shares), since=moment_of(row.since))
        for row in connection.execute(every)
    ]
