"""One ingest, the same for every store: load what the batch touches, count, close blocks, write.

A store lends its rows as `Rows`, inside one transaction in which nobody else writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Final, Literal, Protocol, TypeVar

from controller.ports import SplitVersion
from controller.rollout.counting.account import (
    Account,
    Regraded,
    Terms,
    kept,
    request_of,
    require_countable,
)
from controller.rollout.counting.blocks import (
    Sizes,
    Stratum,
    amend,
    block_count,
    block_sizes,
    close_blocks,
    immature_from,
    label_of,
    stratum_of,
)
from controller.rollout.counting.deltas import RowKey, Tally, count_block, merged
from controller.rollout.counting.items import (
    IDLE_US,
    LONGEST_US,
    Block,
    Episode,
    Fate,
    KeptOutcome,
    Label,
    Request,
    moment_of,
)
from controller.rollout.counting.people import ByPeople, Drawn, drawn_units
from controller.rollout.observation import Batch, Ingested, Pair
from controller.rollout.plan import Unit
from controller.store.fit import LARGEST, require_fit

Kind = Literal["observations", "outcomes", "pairs"]
PIECE: Final = 16  # blocks


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a rollout's episodes are looked for: units, starts from `low` to `high`, heard until `active` or later."""

    units: Collection[str]
    low: int
    high: int
    active: int

    def widened(self, units: Collection[str], slack: int) -> Reach:
        """Of these units also what is somewhat earlier, and whatever is later."""
        return Reach(units, self.low - slack, LARGEST, self.active - slack)


@dataclass(slots=True)
class Changes:
    """Rows to write. New requests and episodes are inserted, changed ones updated; the rest is put by its key."""

    new_requests: Collection[Request] = ()
    changed_requests: Collection[Request] = ()
    new_episodes: Collection[Episode] = ()
    changed_episodes: Collection[Episode] = ()
    outcomes: Collection[KeptOutcome] = ()
    pairs: Collection[Pair] = ()
    by_people: Collection[ByPeople] = ()
    labels: Collection[Label] = ()
    blocks: Collection[Block] = ()
    gone_labels: Collection[str] = ()  # ids of rows to delete
    gone_blocks: Collection[str] = ()
    refused: Mapping[str, int] = field(default_factory=dict)  # by rollout, below the floor
    minutes: Mapping[RowKey, Mapping[str, int]] = field(default_factory=dict)


class Rows(Protocol):
    """What ingest reads and writes. What is handed out is the caller's to change."""

    def floor(self) -> int:
        """In microseconds: what is earlier is kept no more (`MetricsStore.prune`), and what is left of it not seen."""
        ...

    def terms(self, rollouts: Collection[str]) -> dict[str, Terms]:
        """Of those rollouts that exist."""
        ...

    def known(self, kind: Kind, ids: Collection[str]) -> set[str]:
        """Which of these ids are stored. Rows that would be refused by their key may say none: `write` fails then."""
        ...

    def requests(self, ids: Collection[str]) -> dict[str, Request]: ...

    def waiting(self, observations: Collection[str]) -> list[KeptOutcome]:
        """Outcomes that wait for these observations, in the order in which they came."""
        ...

    def episodes(self, rollout: str, reach: Reach) -> list[Episode]: ...

    def by_people(self, rollout: str, units: Collection[str]) -> list[ByPeople]:
        """What is kept of people's grades of these units' answers. Asked of rollouts alone in which people grade."""
        ...

    def splits(self, rollouts: Collection[str]) -> Mapping[str, Sequence[SplitVersion]]: ...

    def ready(self, before: Mapping[Stratum, int], sizes: Sizes) -> Collection[Stratum]:
        """Which of these strata have a block's labels in line, of episodes that started before the moment of each.

        Asked for every stratum there ever was, at every batch: the cost must not grow with what is left in line.
        """
        ...

    def in_line(self, stratum: Stratum, arm: str, before: int, limit: int) -> list[Label]:
        """The first labels that are in no block yet, by start and id, of episodes that started before."""
        ...

    def labels(self, ids: Collection[str]) -> list[Label]: ...

    def members(self, blocks: Collection[str]) -> list[Label]: ...

    def blocks(self, ids: Collection[str]) -> list[Block]: ...

    def minutes(self, keys: Collection[RowKey]) -> dict[RowKey, Mapping[str, int]]: ...

    def write(self, changes: Changes) -> None:
        """All of it, what is gone first, for an id may come back. The ingest sequence of every rollout with changed
        minutes rises by one, and stamps its rows.
        """
        ...

    def expire(self, now: datetime) -> None:
        """Give up outcomes that have waited longer than every rollout's horizon."""
        ...


def ingest(rows: Rows, batch: Batch, now: datetime) -> Ingested:
    """Count a batch. Nothing is written before everything is counted."""
    require_fit(batch)
    fresh = _fresh(rows, batch, now)
    account = _open_account(rows, fresh)
    for request in fresh.requests.values():
        account.observe(request)
    # Whatever waited came before whatever this batch brings.
    outcomes = [*rows.waiting(fresh.requests), *fresh.outcomes.values()]
    for outcome in outcomes:
        _apply(account, outcome, now)
    for pair in fresh.pairs.values():
        account.pair(pair)
    changes = _settle(rows, account, fresh.terms, now)
    changes.outcomes, changes.pairs = outcomes, fresh.pairs.values()
    changes.refused = fresh.refused
    rows.write(changes)
    rows.expire(now)
    return _receipt(batch, fresh, changes)


@dataclass(slots=True, kw_only=True)
class _Fresh:
    """What a batch brings that is not stored, once each.

    `unknown` is how much is for rollouts that do not exist. `refused`, by rollout, is what is below the floor: whether
    it was counted before is not known any more. An outcome's rollout is not known then, and "" stands for it.
    """

    floor: int
    terms: dict[str, Terms]
    requests: dict[str, Request]
    outcomes: dict[str, KeptOutcome]
    pairs: dict[str, Pair]
    unknown: int
    refused: Counter[str]


class _Named(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def at(self) -> datetime: ...


S = TypeVar("S", bound=_Named)


def _fresh(rows: Rows, batch: Batch, now: datetime) -> _Fresh:
    terms = rows.terms(
        {one.rollout for one in batch.observations} | {one.rollout for one in batch.pairs}
    )
    observations = [one for one in batch.observations if one.rollout in terms]
    pairs = [one for one in batch.pairs if one.rollout in terms]
    sent = len(batch.observations) + len(batch.pairs)
    floor, refused = rows.floor(), Counter[str]()
    kept_from = moment_of(floor)
    requests = _not_stored(rows, "observations", _above(kept_from, observations, refused))
    outcomes = _not_stored(rows, "outcomes", _above(kept_from, batch.outcomes, refused))
    require_countable(requests.values(), outcomes.values())
    return _Fresh(
        floor=floor,
        terms=terms,
        requests={one.id: request_of(one) for one in requests.values()},
        outcomes={one.id: kept(one, now) for one in outcomes.values()},
        pairs=_not_stored(rows, "pairs", _above(kept_from, pairs, refused)),
        unknown=sent - len(observations) - len(pairs),
        refused=refused,
    )


def _above(kept_from: datetime, sent: Sequence[S], refused: Counter[str]) -> Sequence[S]:
    """What is not below the floor. Asked before what is known: the answer must not hang on what was deleted already."""
    above = [one for one in sent if one.at >= kept_from]
    if len(above) < len(sent):
        refused.update(getattr(one, "rollout", "") for one in sent if one.at < kept_from)
    return above


def _not_stored(rows: Rows, kind: Kind, sent: Iterable[S]) -> dict[str, S]:
    """By id, each once: the first of those with one id stands."""
    by_id: dict[str, S] = {}
    for one in sent:
        by_id.setdefault(one.id, one)
    for known in rows.known(kind, by_id):
        del by_id[known]
    return by_id


def _open_account(rows: Rows, fresh: _Fresh) -> Account:
    """An account of everything stored that the batch touches."""
    stored = rows.requests(
        {one.observation for one in fresh.outcomes.values()} - fresh.requests.keys()
    )
    stored = {name: one for name, one in stored.items() if one.at >= fresh.floor}
    fresh.terms.update(rows.terms({one.rollout for one in stored.values()} - fresh.terms.keys()))
    reaches = _reaches(fresh, list(stored.values()))
    episodes = [one for rollout, reach in reaches.items() for one in rows.episodes(rollout, reach)]
    return Account(fresh.terms, stored, episodes, _drawn(rows, fresh, stored.values()))


def _drawn(rows: Rows, fresh: _Fresh, stored: Collection[Request]) -> Drawn | None:
    """People's grades of the batch's units; None where people grade none of its rollouts."""
    shares_u = {name: one.people_u for name, one in fresh.terms.items() if one.people_u}
    if not shares_u:
        return None
    units = drawn_units(shares_u, chain(fresh.requests.values(), stored))
    kept = [one for rollout, of in units.items() if of for one in rows.by_people(rollout, of)]
    single = {name for name in shares_u if fresh.terms[name].unit is Unit.REQUEST}
    return Drawn(shares_u, kept, single)


def _reaches(fresh: _Fresh, stored: Sequence[Request]) -> dict[str, Reach]:
    """Where a new request's episode can have started, and where a stored one's did."""
    reaches: dict[str, Reach] = {}
    for rollout, terms in fresh.terms.items():
        if terms.unit is Unit.REQUEST:
            continue
        new = [one for one in fresh.requests.values() if one.rollout == rollout]
        old = [one for one in stored if one.rollout == rollout]
        starts = [one.episode for one in old if one.episode is not None]
        active = list(starts)
        if new:
            moments = [one.at for one in new]
            starts += [min(moments) - LONGEST_US, max(moments) + IDLE_US]
            active.append(min(moments) - IDLE_US)
        if starts:
            units = {one.unit for one in (*new, *old)}
            reaches[rollout] = Reach(units, min(starts), max(starts), min(active))
    return reaches


def _apply(account: Account, outcome: KeptOutcome, now: datetime) -> None:
    request = account.request(outcome.observation)
    if request is None:
        return
    outcome.rollout = request.rollout
    if account.too_late(request, now):
        outcome.fate = Fate.TOO_LATE
        return
    outcome.fate = Fate.COUNTED
    account.learn(request, outcome)


def _settle(rows: Rows, account: Account, terms: Mapping[str, Terms], now: datetime) -> Changes:
    changes = Changes()
    immature = {rollout: immature_from(now, one.delay) for rollout, one in terms.items()}
    _settle_blocks(rows, account.tally, account.settle(), immature, changes)
    changes.new_requests = account.new_requests.values()
    changes.changed_requests = account.changed_requests.values()
    changes.new_episodes = account.new_episodes()
    changes.changed_episodes = account.changed_episodes()
    changes.by_people = account.by_people()
    delta = account.tally.minutes()
    before = rows.minutes(delta.keys())
    changes.minutes = {key: merged(before.get(key, {}), delta[key]) for key in delta}
    return changes


def _settle_blocks(
    rows: Rows, tally: Tally, regraded: Regraded, immature: Mapping[str, int], changes: Changes
) -> None:
    """Open the blocks of labels that are none any more, amend those whose labels were graded again, then close those
    that mature labels are enough for.

    Labels are handed around by identity: one that is graded again may be used by a block in the same batch.
    """
    labels = _grade_again(rows, regraded.again)
    opened = _open_blocks(rows, tally, regraded.no_more, labels)
    blocks = _amend(rows, tally, labels)
    by_stratum = _by_stratum(regraded.first)
    strata = _strata(rows.splits(immature.keys()))
    fresh = {one: [label_of(each) for each in by_stratum.get(one, ())] for one in strata}
    for label in opened.freed:
        fresh[stratum_of(label)].append(label)
    for label in chain.from_iterable(fresh.values()):
        labels[label.id] = label
    for stratum in _ready(rows, strata, fresh, immature):
        before, sizes = immature[stratum[0]], strata[stratum]
        line = _line(rows, stratum, sizes, before, fresh[stratum], opened.gone)
        line = [labels.get(label.id, label) for label in line]
        for block, members in close_blocks(line, sizes):
            blocks.append(block)
            count_block(tally, block, +1)
            labels.update((label.id, label) for label in members)
    changes.labels, changes.blocks = labels.values(), blocks
    changes.gone_labels = opened.gone
    changes.gone_blocks = opened.blocks - {block.id for block in blocks}


@dataclass(frozen=True, slots=True)
class _Opened:
    """Closed blocks that are none any more. `gone` are labels without a grade, `freed` the others that they held."""

    gone: frozenset[str] = frozenset()
    blocks: frozenset[str] = frozenset()
    freed: Sequence[Label] = ()


def _open_blocks(
    rows: Rows, tally: Tally, ungraded: Collection[Episode], labels: Mapping[str, Label]
) -> _Opened:
    """Take the labels of these episodes out of their line or block; a block's other members go back in line."""
    if not ungraded:
        return _Opened()
    gone = {label.id: label for label in rows.labels([episode.id for episode in ungraded])}
    ids = {label.block for label in gone.values() if label.block is not None}
    for block in rows.blocks(ids):
        count_block(tally, block, -1)
    freed = [labels.get(label.id, label) for label in rows.members(ids) if label.id not in gone]
    for label in freed:
        label.block = None
    return _Opened(frozenset(gone), frozenset(ids), freed)


def _grade_again(rows: Rows, episodes: Iterable[Episode]) -> dict[str, Label]:
    """The labels of these graded episodes with their present grades; episodes outside every line have none."""
    grades = {episode.id: label_of(episode).grade_u for episode in episodes}
    labels = {label.id: label for label in rows.labels(grades.keys())} if grades else {}
    for label in labels.values():
        label.grade_u = grades[label.id]
    return labels


def _amend(rows: Rows, tally: Tally, labels: Mapping[str, Label]) -> list[Block]:
    ids = {label.block for label in labels.values() if label.block is not None}
    if not ids:
        return []
    members: dict[str, list[Label]] = {}
    for member in rows.members(ids):
        members.setdefault(member.block or "", []).append(labels.get(member.id, member))
    return [block for block in rows.blocks(ids) if amend(block, members[block.id], tally)]


def _by_stratum(episodes: Iterable[Episode]) -> dict[Stratum, list[Episode]]:
    strata: dict[Stratum, list[Episode]] = {}
    for episode in episodes:
        strata.setdefault(stratum_of(episode), []).append(episode)
    return strata


def _strata(splits: Mapping[str, Sequence[SplitVersion]]) -> dict[Stratum, Sizes]:
    """Those in which both arms are served; none for a split that was never committed, or an intent it does not know."""
    sizes = {
        (rollout, split.version, intent): block_sizes(share_bp)
        for rollout, versions in splits.items()
        for split in versions
        for intent, share_bp in split.shares.items()
    }
    return {stratum: one for stratum, one in sizes.items() if one is not None}


def _ready(
    rows: Rows,
    strata: Mapping[Stratum, Sizes],
    fresh: Mapping[Stratum, Sequence[Label]],
    immature: Mapping[str, int],
) -> set[Stratum]:
    """Strata in which a block can close, and those in which it may by the help of new labels."""
    by_sizes: dict[Sizes, dict[Stratum, int]] = {}
    for stratum, sizes in strata.items():
        by_sizes.setdefault(sizes, {})[stratum] = immature[stratum[0]]
    helped = {
        stratum
        for stratum, labels in fresh.items()
        if any(each.start < immature[stratum[0]] for each in labels)
    }
    return helped.union(*(rows.ready(before, sizes) for sizes, before in by_sizes.items()))


def _line(
    rows: Rows,
    stratum: Stratum,
    sizes: Sizes,
    before: int,
    fresh: Sequence[Label],
    gone: Collection[str],
) -> list[Label]:
    """Of a stratum's mature labels in line all that its blocks need, and little more.

    One arm's surplus may be long, so the line is read in pieces, until an arm is short of a block within one. Those
    that are `gone` may still stand in it.
    """

    def in_line(arm: str, count: int) -> list[Label]:
        first = rows.in_line(stratum, arm, before, count + len(gone))
        return [label for label in first if label.id not in gone][:count]

    few, many = sizes.smaller_first()
    blocks = PIECE
    while True:
        line = [label for label in fresh if label.start < before]
        line += in_line(few, blocks)
        most = min(blocks, sum(label.arm == few for label in line))
        if most:
            line += in_line(many, most * sizes.of(many))
        if block_count(line, sizes) < blocks:
            return line
        blocks *= 4


def _receipt(batch: Batch, fresh: _Fresh, changes: Changes) -> Ingested:
    fates = Counter(outcome.fate for outcome in fresh.outcomes.values())
    new = len(fresh.requests) + len(fresh.outcomes) + len(fresh.pairs)
    sent = len(batch.observations) + len(batch.outcomes) + len(batch.pairs)
    refused = fresh.refused.total()
    return Ingested(
        accepted=len(fresh.requests) + len(fresh.pairs) + fates[Fate.COUNTED],
        duplicate=sent - new - fresh.unknown - refused,
        waiting=fates[Fate.WAITING],
        too_late=fates[Fate.TOO_LATE] + refused,
        unknown=fresh.unknown,
        touched=tuple(sorted({key[0] for key in changes.minutes})),
    )
