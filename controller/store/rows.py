"""The rows that one ingest reads and writes, in SQL: one statement for each kind, however many rows it is about."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    ScalarSelect,
    Select,
    Table,
    Text,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    update,
)

from controller.ports import SplitVersion
from controller.rollout.counting.account import Terms
from controller.rollout.counting.blocks import ARMS, Sizes, Stratum
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
from controller.rollout.metrics import MICRO
from controller.rollout.observation import Pair
from controller.rollout.plan import Unit
from controller.store import schema
from controller.store.bulk import add_many, change_many, put_many
from controller.store.ingest import Changes, Kind, Reach
from controller.store.lists import keyed, listed, listed_rows, seeking, values
from controller.store.live import SLACK_US, Live, Units
from controller.store.locks import hold_rollouts
from controller.store.partitions import Partition, add_missing, week_of
from controller.store.refusals import floor_of, refuse
from controller.store.splits import splits_of

HALF: Final = 0.5
_to_json = json.JSONEncoder(separators=(",", ":")).encode


# The fields of a request and of an episode as columns, in their order; flags, as JSON, come after them.
_LEARNT = ("attempt_n", "attempt_u", "served_n", "served_u")
_REQUEST = (
    *("id", "rollout", "at", "unit", "arm", "intent", "version", "cohort", "assigned", "endpoint"),
    *("episode", *_LEARNT),
)
_GROWN = ("heard", "graded", "grades_u")
_EPISODE = (
    *("id", "rollout", "unit", "arm", "intent", "version", "endpoint", "start"),
    *_GROWN,
)
_request_values = attrgetter(*_REQUEST)
_episode_values = attrgetter(*_EPISODE)
_learnt = attrgetter(*_LEARNT)
_grown = attrgetter(*_GROWN)
_id = attrgetter("id")

_TERMS = select(
    schema.rollouts.c.rollout,
    schema.rollouts.c.unit,
    schema.rollouts.c.horizon_us,
    schema.rollouts.c.delay_us,
    schema.rollouts.c.sampled_u,
    schema.rollouts.c.people_u,
    schema.rollouts.c.cost_caps,
    schema.rollouts.c.ingest_seq,
).where(listed(schema.rollouts.c.rollout))
_KNOWN: Mapping[Kind, Select[Any]] = {
    "observations": select(schema.observations.c.id).where(listed(schema.observations.c.id)),
    "outcomes": select(schema.outcomes.c.id).where(listed(schema.outcomes.c.id)),
    "pairs": select(schema.pairs.c.id).where(listed(schema.pairs.c.id)),
}
_REQUESTS = select(*(schema.observations.c[name] for name in (*_REQUEST, "flags"))).where(
    listed(schema.observations.c.id)
)
_ANY_WAITING = select(schema.outcomes.c.id).where(schema.FATE_WAITING).limit(1)
_WAITING = (
    select(schema.outcomes)
    .where(schema.FATE_WAITING, listed(schema.outcomes.c.observation))
    .order_by(schema.outcomes.c.received, schema.outcomes.c.id)
)
_NEAR = select(*(schema.episodes.c[name] for name in (*_EPISODE, "flags"))).where(
    schema.episodes.c.rollout == bindparam("rollout"),
    schema.episodes.c.start.between(bindparam("low"), bindparam("high")),
    schema.episodes.c.heard >= bindparam("active"),
)
_EPISODES: Mapping[str, Select[Any]] = {
    "sqlite": _NEAR.where(listed(schema.episodes.c.unit)),
    "postgresql": seeking(_NEAR, schema.episodes.c.unit),
}
_BY_PEOPLE = select(schema.by_people).where(
    schema.by_people.c.rollout == bindparam("rollout"), listed(schema.by_people.c.unit)
)
_by_people_values = attrgetter(*schema.by_people.c.keys())
_PLACE = (schema.labels.c.start, schema.labels.c.id)
_IN_LINE = (
    select(schema.labels)
    .where(
        schema.labels.c.rollout == bindparam("rollout"),
        schema.labels.c.version == bindparam("version"),
        schema.labels.c.intent == bindparam("intent"),
        schema.labels.c.arm == bindparam("arm"),
        schema.labels.c.block.is_(None),
        schema.labels.c.start < bindparam("before"),
    )
    .order_by(*_PLACE)
    .limit(bindparam("limit"))
)
_STRATA = listed_rows(Text, Integer, Text, BigInteger)  # rollout, version, intent; and a moment


def _last_of_a_block(arm: str) -> ScalarSelect[int]:
    """The start of the label that completes an arm's part of a stratum's next block: one seek in the index."""
    table, (rollout, version, intent, _) = schema.labels, _STRATA.columns
    return (
        select(table.c.start)
        .where(
            table.c.rollout == rollout,
            table.c.version == version,
            table.c.intent == intent,
            table.c.arm == arm,
            table.c.block.is_(None),
        )
        .order_by(*_PLACE)
        .limit(1)
        .offset(bindparam(f"{arm}_others"))
        .scalar_subquery()
    )


_READY = (
    select(*_STRATA.columns[:-1])
    .select_from(_STRATA.rows)
    .where(*(_last_of_a_block(arm) < _STRATA.columns[-1] for arm in ARMS))
)
_LABELS = select(schema.labels).where(listed(schema.labels.c.id))
_MEMBERS = select(schema.labels).where(listed(schema.labels.c.block))
_BLOCKS = select(schema.blocks).where(listed(schema.blocks.c.id))
_MINUTES = keyed(schema.minutes)
_ADVANCE = (
    update(schema.rollouts)
    .where(listed(schema.rollouts.c.rollout))
    .values(ingest_seq=schema.rollouts.c.ingest_seq + 1)
    .returning(schema.rollouts.c.rollout, schema.rollouts.c.ingest_seq)
)
_EXPIRE = (
    update(schema.outcomes)
    .where(
        schema.FATE_WAITING,
        schema.FATE_REFUSED,
        schema.outcomes.c.received
        < bindparam("now", type_=BigInteger)
        - select(func.max(schema.rollouts.c.horizon_us)).scalar_subquery(),
    )
    .values(fate=literal_column(f"'{Fate.EXPIRED.value}'"))
)
_LEARN = (
    update(schema.observations)
    .where(
        schema.observations.c.id == bindparam("id_"),
        schema.observations.c.at == bindparam("at_"),  # by this PostgreSQL finds the week
    )
    .values({name: bindparam(name) for name in (*_LEARNT, "flags")})
)
_GROW = (
    update(schema.episodes)
    .where(schema.episodes.c.start == bindparam("start_"), schema.episodes.c.id == bindparam("id_"))
    .values({name: bindparam(name) for name in (*_GROWN, "flags")})
)


class SqlRows:
    """`Rows` on one connection, inside its transaction."""

    def __init__(
        self, connection: Connection, weeks: set[Partition], live: Live, *, all_new: bool
    ) -> None:
        """`weeks` are partitions that are known to be there, and become known; `live` is given its episodes back by
        `committed`.

        With `all_new` no request is looked for before it is written: Conflict then if one is there.
        """
        self._connection = connection
        self._weeks = weeks
        self._live = live
        self._all_new = all_new
        self._seqs: dict[str, int] = {}  # ingest sequences, as they were and then as they are
        self._taken: dict[str, Units] = {}  # by rollout
        self._texts: dict[int, tuple[Mapping[str, bool], str]] = {}  # of flags, by identity
        self._none_waits = False  # as far as is known

    def floor(self) -> int:
        return floor_of(self._connection)

    def terms(self, rollouts: Collection[str]) -> dict[str, Terms]:
        terms = {}
        for rollout, unit, horizon, delay, sampled_u, people_u, caps, seq in self._among(
            _TERMS, rollouts
        ):
            self._seqs[rollout] = seq
            terms[rollout] = Terms(
                unit=Unit(unit),
                horizon=timedelta(microseconds=horizon),
                delay=timedelta(microseconds=delay),
                sampled_u=sampled_u,
                people_u=people_u,
                cost_caps=tuple(map(int, caps.split(","))) if caps else (),
            )
        return terms

    def known(self, kind: Kind, ids: Collection[str]) -> set[str]:
        if kind == "observations" and self._all_new:
            return set()
        return {row[0] for row in self._among(_KNOWN[kind], ids)}

    def requests(self, ids: Collection[str]) -> dict[str, Request]:
        return {row[0]: _request(row) for row in self._among(_REQUESTS, ids)}

    def waiting(self, observations: Collection[str]) -> list[KeptOutcome]:
        # Nothing waits, mostly: that is quicker to ask than for each observation.
        if not observations:
            return []
        self._none_waits = self._connection.execute(_ANY_WAITING).first() is None
        if self._none_waits:
            return []
        return [_outcome(row) for row in self._among(_WAITING, observations)]

    def episodes(self, rollout: str, reach: Reach) -> list[Episode]:
        known = self._taken[rollout] = self._live.take(rollout, self._seqs[rollout])
        known.sweep(reach.active)
        missing = known.unknown(reach)
        if missing:
            asked = reach.widened(missing, SLACK_US)
            known.learn(asked, self._stored_episodes(rollout, asked))
        return known.episodes(reach.units)

    def _stored_episodes(self, rollout: str, reach: Reach) -> list[Episode]:
        where = {
            "rollout": rollout,
            "low": reach.low,
            "high": reach.high,
            "active": reach.active,
            **values(reach.units),
        }
        wanted = _EPISODES[self._connection.dialect.name]
        return [_episode(row) for row in self._connection.execute(wanted, where).all()]

    def by_people(self, rollout: str, units: Collection[str]) -> list[ByPeople]:
        where = {"rollout": rollout, **values(units)}
        return [ByPeople(*row) for row in self._connection.execute(_BY_PEOPLE, where).all()]

    def splits(self, rollouts: Collection[str]) -> dict[str, Sequence[SplitVersion]]:
        return splits_of(self._connection, rollouts)

    def ready(self, before: Mapping[Stratum, int], sizes: Sizes) -> list[Stratum]:
        others = {f"{arm}_others": sizes.of(arm) - 1 for arm in ARMS}
        asked = values((*stratum, moment) for stratum, moment in before.items())
        found = self._connection.execute(_READY, {**others, **asked})
        return [(rollout, version, intent) for rollout, version, intent in found]

    def in_line(self, stratum: Stratum, arm: str, before: int, limit: int) -> list[Label]:
        rollout, version, intent = stratum
        where = {
            "rollout": rollout,
            "version": version,
            "intent": intent,
            "arm": arm,
            "before": before,
            "limit": limit,
        }
        return [Label(*row) for row in self._connection.execute(_IN_LINE, where).all()]

    def labels(self, ids: Collection[str]) -> list[Label]:
        return [Label(*row) for row in self._among(_LABELS, ids)]

    def members(self, blocks: Collection[str]) -> list[Label]:
        return [Label(*row) for row in self._among(_MEMBERS, blocks)]

    def blocks(self, ids: Collection[str]) -> list[Block]:
        return [Block(*row) for row in self._among(_BLOCKS, ids)]

    def minutes(self, keys: Collection[RowKey]) -> dict[RowKey, Mapping[str, int]]:
        if not keys:
            return {}
        rows = self._connection.execute(_MINUTES, values(keys)).all()
        return {tuple(row[:7]): json.loads(row.stats) for row in rows}

    def write(self, changes: Changes) -> None:
        connection = self._connection
        if connection.dialect.name == "postgresql":
            add_missing(connection, _partitions(changes), self._weeks)
        # In the order of their keys: what is side by side in an index is written one after the other.
        new_requests = sorted(changes.new_requests, key=_id)
        flags = self._flags
        requests = [request_row(one, flags(one.flags)) for one in new_requests]
        add_many(connection, schema.observations, requests)
        learnt = [
            (*_learnt(one), flags(one.flags), one.id, one.at)
            for one in sorted(changes.changed_requests, key=_id)
        ]
        change_many(
            connection, _LEARN, schema.observations, (*_LEARNT, "flags", "id", "at"), learnt
        )
        episodes = [(*_episode_values(one), flags(one.flags)) for one in changes.new_episodes]
        add_many(connection, schema.episodes, episodes)
        for one in changes.new_episodes:
            self._taken[one.rollout].begin(one)
        grown = [
            (*_grown(one), flags(one.flags), one.start, one.id)
            for one in sorted(changes.changed_episodes, key=attrgetter("start", "id"))
        ]
        change_many(connection, _GROW, schema.episodes, (*_GROWN, "flags", "start", "id"), grown)
        outcomes = sorted(changes.outcomes, key=_id)
        put_many(
            connection, schema.outcomes, [_outcome_row(one, flags(one.flags)) for one in outcomes]
        )
        add_many(connection, schema.pairs, [_pair_row(one) for one in changes.pairs])
        if changes.by_people:
            by_people = sorted(changes.by_people, key=_id)
            put_many(connection, schema.by_people, [_by_people_values(one) for one in by_people])
        self._delete(schema.labels, changes.gone_labels)
        self._delete(schema.blocks, changes.gone_blocks)
        labels = sorted(changes.labels, key=_id)
        put_many(connection, schema.labels, [_label_row(one) for one in labels])
        put_many(connection, schema.blocks, [_block_row(one) for one in changes.blocks])
        refuse(connection, Counter({(one, Fate.TOO_LATE): n for one, n in changes.refused.items()}))
        touched = {key[0] for key in changes.minutes}
        # Also where what one episode has more another has less: who knows a rollout's episodes goes by its sequence.
        touched.update(one.rollout for one in changes.changed_episodes)
        self._seqs.update(self._advance(touched))
        minutes = [
            (*key, self._seqs[key[0]], _to_json(stats)) for key, stats in changes.minutes.items()
        ]
        put_many(connection, schema.minutes, minutes)

    def committed(self) -> None:
        """What was written is there to stay: the next ingest need not read it."""
        for rollout, units in self._taken.items():
            units.seq = self._seqs[rollout]
            self._live.give_back(rollout, units)

    def expire(self, now: datetime) -> None:
        if self._none_waits:
            return  # but for what came with this batch
        self._connection.execute(_EXPIRE, {"now": micros(now)})

    def _flags(self, flags: Mapping[str, bool]) -> str:
        """As JSON. Most share one of few mappings, which is kept here so that its identity is its own."""
        known = self._texts.get(id(flags))
        if known is None:
            known = self._texts[id(flags)] = flags, flags_json(flags)
        return known[1]

    def _delete(self, table: Table, ids: Collection[str]) -> None:
        if ids:
            self._connection.execute(delete(table).where(listed(table.c.id)), values(sorted(ids)))

    def _among(self, wanted: Select[Any], some: Collection[str]) -> Sequence[Any]:
        return self._connection.execute(wanted, values(some)).all() if some else ()

    def _advance(self, rollouts: Collection[str]) -> dict[str, int]:
        """The next ingest sequence of each rollout, from now on its present one."""
        if not rollouts:
            return {}
        if self._connection.dialect.name == "postgresql":
            hold_rollouts(self._connection, rollouts)
        advanced = self._connection.execute(_ADVANCE, values(rollouts))
        return {rollout: seq for rollout, seq in advanced}  # noqa: C416 # rows are no pairs


def _partitions(changes: Changes) -> set[Partition]:
    """Where these rows go."""
    moments = {
        "observations": {week_of(one.at) for one in changes.new_requests},
        "outcomes": {week_of(one.at) for one in changes.outcomes},
        "pairs": {week_of(micros(one.at)) for one in changes.pairs},
        "episodes": {week_of(one.start) for one in changes.new_episodes},
    }
    return {Partition(table=table, week=week) for table in moments for week in moments[table]}


def flags_json(flags: Mapping[str, bool]) -> str:
    return _flags_json(tuple(flags), tuple(flags.values()))


@lru_cache(maxsize=4096)  # there are few combinations
def _flags_json(names: tuple[str, ...], values: tuple[bool, ...]) -> str:
    return _to_json(dict(zip(names, values, strict=True)))


@lru_cache(maxsize=4096)
def _flags_of(text: str) -> Mapping[str, bool]:
    """Shared by all that have the same."""
    flags: Mapping[str, bool] = json.loads(text)
    return flags


def _request(row: Any) -> Request:
    fields = (*row[:-1], _flags_of(row[-1]))
    return Request(*fields)


def request_row(one: Request, flags: str) -> tuple[Any, ...]:
    """As in `schema.observations`, of a new request; its flags as JSON."""
    return (*_request_values(one), flags, *one.quantities)


def _episode(row: Any) -> Episode:
    fields = (*row[:-1], _flags_of(row[-1]))
    return Episode(*fields)


def _outcome(row: Any) -> KeptOutcome:
    return KeptOutcome(
        row.id,
        row.observation,
        row.at,
        row.received,
        row.correct_u,
        row.grades,
        _flags_of(row.flags),
        row.source,
        Fate(row.fate),
        row.rollout,
    )


def _outcome_row(one: KeptOutcome, flags: str) -> tuple[Any, ...]:
    return (
        one.id,
        one.observation,
        one.at,
        one.received,
        one.correct_u,
        one.grades,
        flags,
        one.source,
        one.fate.value,
        one.rollout,
    )


def _pair_row(one: Pair) -> tuple[Any, ...]:
    return (
        one.id,
        one.rollout,
        micros(one.at),
        one.intent,
        one.version,
        one.baseline_correct >= HALF,
        one.candidate_correct >= HALF,
        round(one.baseline_correct * MICRO),
        round(one.candidate_correct * MICRO),
    )


def _label_row(one: Label) -> tuple[Any, ...]:
    return (
        one.id,
        one.rollout,
        one.version,
        one.intent,
        one.arm,
        one.start,
        one.grade_u,
        one.block,
    )


def _block_row(one: Block) -> tuple[Any, ...]:
    return one.id, one.rollout, one.version, one.intent, one.minute, one.value_u
