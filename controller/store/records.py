"""Records, plans, heads, anchors and the fence in SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, func, select, update

from controller.ports import Commit, Head, Sight
from controller.rollout.anchors import anchor_hour, next_anchor
from controller.rollout.codec import canonical, decode
from controller.rollout.counting.items import micros
from controller.rollout.evidence.caps import cost_caps
from controller.rollout.plan import Plan
from controller.rollout.record import Anchor, Record, Sealed
from controller.rollout.state import State
from controller.store import outbox, rules, schema
from controller.store.direct import asked
from controller.store.engine import Database, add, ignoring_known
from controller.store.lists import listed, values
from controller.store.locks import hold_rollouts
from controller.store.metrics import changed_rows
from controller.store.splits import splits_of

T = TypeVar("T")
_HEAD = (
    schema.rollouts.c.rollout,
    schema.rollouts.c.seq,
    schema.rollouts.c.head_hash,
    schema.rollouts.c.state,
    schema.rollouts.c.plan_digest,
)

_NAMES = select(schema.rollouts.c.rollout)
_TIPS = select(
    schema.rollouts.c.rollout, schema.rollouts.c.head_hash, schema.rollouts.c.ingest_seq
).where(listed(schema.rollouts.c.rollout))
_HEADS = select(*_HEAD).where(listed(schema.rollouts.c.rollout))


def _is_known(known: Sight | None, head_hash: str) -> bool:
    return known is not None and known.head.hash == head_hash


def _seq(known: Sight | None) -> int:
    return known.seq if known is not None else 0


class SqlRecords:
    """Records, plans and heads. Heads and plans are decoded once: a plan never changes, nor a head with its hash."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._plans: dict[str, Sealed[Plan]] = {}
        self._heads: dict[str, Head] = {}

    def heads(self) -> Sequence[Head]:
        order = (schema.rollouts.c.name, schema.rollouts.c.attempt)
        with self._database.reading() as connection:
            rows = connection.execute(select(*_HEAD).order_by(*order)).all()
            return [self._head(connection, row) for row in rows]

    def tips(self) -> Mapping[str, tuple[int, int]]:
        columns = schema.rollouts.c
        with self._database.reading() as connection:
            rows = connection.execute(select(columns.rollout, columns.seq, columns.ingest_seq))
            return {rollout: (seq, ingest_seq) for rollout, seq, ingest_seq in rows}

    def head(self, rollout: str) -> Head:
        with self._database.reading() as connection:
            row = _find(connection, rollout)
            if row is None:
                raise rules.no_rollout(
                    rollout, connection.scalars(select(schema.rollouts.c.rollout)).all()
                )
            return self._head(connection, row)

    def sight(self, rollout: str, *, known: Sight | None = None) -> Sight:
        found = self.sights({rollout: known})
        if rollout not in found:
            with self._database.reading() as connection:
                raise rules.no_rollout(rollout, connection.scalars(_NAMES).all())
        return found[rollout]

    def sights(self, known: Mapping[str, Sight | None]) -> Mapping[str, Sight]:
        if not known:
            return {}
        with self._database.reading() as connection:
            tips: Sequence[Any] = asked(connection, _TIPS, **values(known)).all()
            # The text of a state is most of a row, and a plan's of a head: only what is new is read.
            new = [rollout for rollout, head, _ in tips if not _is_known(known[rollout], head)]
            rows = connection.execute(_HEADS, values(new)).all() if new else ()
            heads = {row[0]: self._head(connection, row) for row in rows}
            splits = splits_of(connection, new)
            grown = {one: _seq(known[one]) for one, _, seq in tips if seq > _seq(known[one])}
            changed = changed_rows(connection, grown)
        sights = {}
        for rollout, _, seq in tips:
            before, changes = known[rollout], changed.get(rollout, ())
            if before is not None and rollout not in heads:
                sights[rollout] = replace(before, rows=changes, seq=seq)
            else:
                head, of_head = heads[rollout], splits[rollout]
                sights[rollout] = Sight(head=head, splits=of_head, rows=changes, seq=seq)
        return sights

    def commit(self, commit: Commit) -> None:
        with self._database.writing() as (connection, fence):
            rollout = commit.record.value.rollout
            hold_rollouts(connection, [rollout])
            rules.admit(commit, _present(connection, rollout), fence)
            versions = select(func.max(schema.splits.c.version)).where(
                schema.splits.c.rollout == rollout
            )
            rules.admit_split(commit, connection.scalar(versions))
            _write(connection, commit)

    def records(self, rollout: str, *, after: int = 0) -> Sequence[Sealed[Record]]:
        table = schema.records
        wanted = (
            select(table.c.text, table.c.hash)
            .where(table.c.rollout == rollout, table.c.seq > after)
            .order_by(table.c.seq)
        )
        with self._database.reading() as connection:
            return [_sealed(Record, *row) for row in connection.execute(wanted)]

    def plan(self, digest: str) -> Sealed[Plan]:
        with self._database.reading() as connection:
            return self._plan(connection, digest)

    def anchor(self, at: datetime) -> Anchor | None:
        if not self._is_anchor_due(at):  # asked all the time, and no writer need wait for that
            return None
        with self._database.fencing() as (connection, _):
            table = schema.anchors
            row = connection.execute(
                select(table.c.text, table.c.hash).order_by(table.c.seq.desc()).limit(1)
            ).one_or_none()
            last = None if row is None else _sealed(Anchor, *row)
            columns = schema.rollouts.c
            heads = connection.execute(select(columns.rollout, columns.seq, columns.head_hash))
            due = next_anchor(last, {rollout: (seq, head) for rollout, seq, head in heads}, at)
            if due is None:
                return None
            add(connection, table, [(due.value.seq, micros(anchor_hour(at)), due.hash, due.text)])
            return due.value

    def _is_anchor_due(self, at: datetime) -> bool:
        with self._database.reading() as connection:
            last = connection.scalar(select(func.max(schema.anchors.c.hour)))
            return last is None or last < micros(anchor_hour(at))

    def anchors(self) -> Sequence[Sealed[Anchor]]:
        table = schema.anchors
        with self._database.reading() as connection:
            rows = connection.execute(select(table.c.text, table.c.hash).order_by(table.c.seq))
            return [_sealed(Anchor, *row) for row in rows]

    def take_fence(self) -> int:
        with self._database.fencing() as (connection, fence):
            connection.execute(update(schema.fence).values(value=fence + 1))
            return fence + 1

    def _head(self, connection: Connection, row: Any) -> Head:
        rollout, seq, head_hash, state, plan_digest = row
        known = self._heads.get(rollout)
        if known is None or known.hash != head_hash:
            known = self._heads[rollout] = Head(
                state=decode(State, json.loads(state)),
                plan=self._plan(connection, plan_digest).value,
                seq=seq,
                hash=head_hash,
            )
        return known

    def _plan(self, connection: Connection, digest: str) -> Sealed[Plan]:
        known = self._plans.get(digest)
        if known is None:
            text = connection.scalar(
                select(schema.plans.c.text).where(schema.plans.c.digest == digest)
            )
            if text is None:
                raise rules.no_plan(digest)
            known = self._plans[digest] = _sealed(Plan, text, digest)
        return known


def _find(connection: Connection, rollout: str) -> Any:
    """A rollout by its own name, or the newest attempt of a bare one."""
    table = schema.rollouts
    own = connection.execute(select(*_HEAD).where(table.c.rollout == rollout)).one_or_none()
    if own is not None:
        return own
    newest = select(*_HEAD).where(table.c.name == rollout).order_by(table.c.attempt.desc()).limit(1)
    return connection.execute(newest).one_or_none()


def _present(connection: Connection, rollout: str) -> tuple[int, str] | None:
    table = schema.rollouts
    row = connection.execute(
        select(table.c.seq, table.c.head_hash).where(table.c.rollout == rollout)
    ).one_or_none()
    return None if row is None else (row.seq, row.head_hash)


def _write(connection: Connection, commit: Commit) -> None:
    record, plan, state = commit.record.value, commit.plan.value, commit.record.value.state
    connection.execute(
        ignoring_known(connection, schema.plans),
        {"digest": commit.plan.hash, "name": plan.name, "text": commit.plan.text},
    )
    _write_head(connection, commit)
    at = micros(record.at)
    row = (
        record.rollout,
        record.seq,
        at,
        record.action.value,
        commit.record.hash,
        commit.record.text,
    )
    add(connection, schema.records, [row])
    if commit.split is not None:
        split = commit.split
        shares = json.dumps(dict(split.shares), sort_keys=True)
        lease = (state.rollout, split.version, micros(split.since), shares)
        add(connection, schema.splits, [lease])
    outbox.owe(connection, record.rollout, plan, commit.notices, record.at)


def _write_head(connection: Connection, commit: Commit) -> None:
    state, plan = commit.record.value.state, commit.plan.value
    values = {
        "phase": state.phase.value,
        "seq": commit.record.value.seq,
        "head_hash": commit.record.hash,
        "state": canonical(state),
        "plan_digest": commit.plan.hash,
        "unit": plan.unit.value,
        "horizon_us": plan.labels.horizon // timedelta(microseconds=1),
        "delay_us": plan.labels.delay // timedelta(microseconds=1),
        "sampled_u": plan.labels.sampled_u,
        "people_u": plan.labels.people_u,
        "cost_caps": ",".join(map(str, cost_caps(plan))),
    }
    table = schema.rollouts
    if commit.expected is None:
        names = {"rollout": state.rollout, "name": state.name, "attempt": state.attempt}
        connection.execute(table.insert(), {**names, **values})
    else:
        connection.execute(update(table).where(table.c.rollout == state.rollout).values(values))


def _sealed(kind: type[T], text: str, digest: str) -> Sealed[T]:
    """The text and its hash as they were written, and the value that this release reads from the text."""
    return Sealed(value=decode(kind, json.loads(text)), text=text, hash=digest)
