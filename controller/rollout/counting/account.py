"""Counting: what a batch changes in requests, episodes and rollups. Pure, and the same for every store.

Conservation (invariant 9) rests on one device. Whatever a batch changes is taken out of its rollup row with what it
counts, changed, and put back with what it counts then. So a row is always the sum of what is stored, in whatever order
and however often things are sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Final

from controller.errors import DataError
from controller.rollout.counting.deltas import (
    COMPARED,
    Tally,
    count_episodes,
    count_findings,
    count_new_requests,
    count_pair,
)
from controller.rollout.counting.items import (
    Episode,
    KeptOutcome,
    Request,
    heard_until,
    micros,
)
from controller.rollout.counting.people import ByPeople, Drawn, is_by_person
from controller.rollout.metrics import FLAGS, MICRO
from controller.rollout.observation import QUANTITIES, Grades, Observation, Outcome, Pair
from controller.rollout.plan import Unit

_FLAGS: Final = frozenset(FLAGS)
_QUANTITIES: Final = frozenset(QUANTITIES)
_all_quantities = itemgetter(*QUANTITIES)
_ATTEMPT: Final = Grades.ATTEMPT.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a rollout's plan says about counting."""

    unit: Unit
    horizon: timedelta
    delay: timedelta  # until a label may be used for a block
    sampled_u: int  # the part of answers that is graded, in millionths
    people_u: int = 0  # the part of units that people grade beside the judge; 0: nobody does
    cost_caps: tuple[int, ...] = ()  # nano-USD up to which each request's cost is summed too


@dataclass(slots=True)
class Regraded:
    """Episodes whose grade a batch made, changed or took away.

    A grade goes where an answer turns out to be escalated or failed after it was graded, and lies outside the sample.
    """

    first: list[Episode] = field(default_factory=list)
    again: list[Episode] = field(default_factory=list)
    no_more: list[Episode] = field(default_factory=list)


class Account:
    """The requests and episodes that one batch touches: loaded, changed, then settled once.

    Loaded requests are out of the rollups until `settle` puts them back; of the loaded episodes it takes out those that
    change. With `unit: request` a request is its own episode, which is made from it and not stored.
    """

    def __init__(
        self,
        terms: Mapping[str, Terms],
        requests: Mapping[str, Request],
        episodes: Iterable[Episode],
        drawn: Drawn | None = None,
    ) -> None:
        """`requests` and `episodes` are those stored that the batch may touch; more than needed does no harm. `drawn`:
        None where people grade nothing of it.
        """
        self.tally = Tally()
        self._drawn = drawn
        self.new_requests: dict[str, Request] = {}
        self.changed_requests: dict[str, Request] = {}
        self._terms = terms
        self._stored = requests
        self._episodes: dict[tuple[str, str], list[Episode]] = {}  # by rollout and unit
        self._new_episodes: dict[str, Episode] = {}
        self._changed: dict[str, Episode] = {}  # of those loaded
        for episode in episodes:
            self._episodes.setdefault((episode.rollout, episode.unit), []).append(episode)
        for one in requests.values():
            one.sampled_u = terms[one.rollout].sampled_u
        self._episode_of = {  # by request id
            one.id: self._stored_episode(one)
            for one in requests.values()
            if one.episode is not None
        }
        self._grades = {one.id: one.grade_u() for one in requests.values()}  # as loaded
        count_findings(self.tally, requests.values(), -1)
        if drawn is not None:
            drawn.open(self._every_episode())

    def request(self, observation_id: str) -> Request | None:
        """The request that an outcome is about, new or stored."""
        return self.new_requests.get(observation_id) or self._stored.get(observation_id)

    def observe(self, request: Request) -> None:
        """Take in a new request of a known rollout."""
        request.sampled_u = self._terms[request.rollout].sampled_u
        self.new_requests[request.id] = request
        if request.cohort == COMPARED:
            self._join_episode(request)

    def too_late(self, request: Request, now: datetime) -> bool:
        """Whether an outcome of this request comes beyond the horizon of its episode (its own, if it has none)."""
        start = request.at if request.episode is None else request.episode
        return micros(now - self._terms[request.rollout].horizon) > start

    def learn(self, request: Request, outcome: KeptOutcome) -> None:
        """Add what an outcome says to its request."""
        if request.id not in self.new_requests:
            self.changed_requests[request.id] = request
        request.flags = joined(request.flags, outcome.flags)
        if outcome.correct_u is None:
            return
        if (
            self._drawn is not None
            and self._drawn.has_people(request.rollout)
            and is_by_person(outcome)
        ):
            self._drawn.learn(request, outcome)
            return
        if outcome.grades == _ATTEMPT:
            request.attempt_n += 1
            request.attempt_u += outcome.correct_u
        else:
            request.served_n += 1
            request.served_u += outcome.correct_u

    def pair(self, pair: Pair) -> None:
        """Count a new pair of a known rollout."""
        count_pair(self.tally, pair)

    def settle(self) -> Regraded:
        """Put everything back, with what it counts now. Called once, at the end."""
        caps = {name: one.cost_caps for name, one in self._terms.items() if one.cost_caps}
        count_new_requests(self.tally, self.new_requests.values(), caps)
        count_findings(self.tally, self._stored.values(), +1)
        news = self._news()
        changed = {one.id: one for one, _ in news if one.id not in self._new_episodes}
        counted = {**changed, **self._new_episodes}
        before = {one.id: one.grade_u() for one in changed.values()}
        self._changed.update(changed)
        count_episodes(self.tally, changed.values(), -1)
        for episode, request in news:
            self._tell(episode, request)
        count_episodes(self.tally, counted.values(), +1)
        if self._drawn is not None:
            touched = chain(self.new_requests.values(), self.changed_requests.values())
            self._drawn.settle(self.tally, touched, self._every_episode())
        return _regraded(counted.values(), before)

    def by_people(self) -> Collection[ByPeople]:
        """What is new or changed of people's grades, to be stored; known once all is settled."""
        return () if self._drawn is None else self._drawn.changed.values()

    def _every_episode(self) -> Iterable[Episode]:
        """Loaded and new, each once."""
        loaded = chain.from_iterable(self._episodes.values())
        episodes = chain(loaded, self._episode_of.values())
        return {one.id: one for one in episodes}.values()

    def new_episodes(self) -> list[Episode]:
        """The episodes to be stored that are new."""
        return self._to_store(self._new_episodes)

    def changed_episodes(self) -> list[Episode]:
        """The stored episodes that are not what they were, to be stored again; known once all is settled."""
        return self._to_store(self._changed)

    def _to_store(self, episodes: Mapping[str, Episode]) -> list[Episode]:
        return [
            episode
            for episode in episodes.values()
            if self._terms[episode.rollout].unit is not Unit.REQUEST
        ]

    def _stored_episode(self, request: Request) -> Episode:
        if self._terms[request.rollout].unit is Unit.REQUEST:
            return _own_episode(request)
        of_unit = self._episodes[request.rollout, request.unit]
        return next(
            one for one in of_unit if one.start == request.episode and _are_alike(one, request)
        )

    def _join_episode(self, request: Request) -> None:
        episode = self._admitting(request)
        request.episode = episode.start
        self._episode_of[request.id] = episode
        heard = heard_until(request.at)
        if heard > episode.heard:
            episode.heard = heard
            self._change(episode)

    def _change(self, episode: Episode) -> None:
        if episode.id not in self._new_episodes:
            self._changed[episode.id] = episode

    def _admitting(self, request: Request) -> Episode:
        """The latest episode that the request is part of, else a new one."""
        if self._terms[request.rollout].unit is Unit.REQUEST:
            return self._begin(request)
        unit = request.rollout, request.unit
        found = None
        for one in self._episodes.get(unit, ()):
            if (
                one.admits(request.at)
                and _are_alike(one, request)
                and (found is None or one.start > found.start)
            ):
                found = one
        if found is None:
            found = self._begin(request)
            self._episodes.setdefault(unit, []).append(found)
        return found

    def _begin(self, anchor: Request) -> Episode:
        episode = self._new_episodes[anchor.id] = _episode_from(anchor)
        return episode

    def _news(self) -> list[tuple[Episode, Request]]:
        """What may say something new to its episode. Most requests of a long conversation say what is known."""
        episode_of, grades = self._episode_of.get, self._grades.get
        news = []
        for request in chain(self.new_requests.values(), self.changed_requests.values()):
            episode = episode_of(request.id)
            if episode is None:
                continue
            # Flags are shared mostly, and so quickly seen to be the same.
            if (request.flags is not episode.flags and request.flags != episode.flags) or (
                grades(request.id) != request.grade_u()
            ):
                news.append((episode, request))
        return news

    def _tell(self, episode: Episode, request: Request) -> None:
        """Carry a request's flags and its change of grade over to its episode."""
        episode.flags = joined(episode.flags, request.flags)
        before, now = self._grades.get(request.id), request.grade_u()
        if before != now:
            episode.graded += (now is not None) - (before is not None)
            episode.grades_u += (now or 0) - (before or 0)


def request_of(sent: Observation) -> Request:
    """A new observation as it is counted. What it says is countable: see `require_countable`."""
    return Request(
        sent.id,
        sent.rollout,
        micros(sent.at),
        sent.unit,
        sent.arm._value_,  # not `.value`, which is a call
        sent.intent,
        sent.version,
        sent.cohort._value_,
        sent.assigned,
        sent.endpoint,
        None,
        0,
        0,
        0,
        0,
        _shared(tuple(sent.flags), tuple(sent.flags.values())),
        _in_order(sent.quantities),
    )


def require_countable(observations: Collection[Observation], outcomes: Collection[Outcome]) -> None:
    """DataError for what no metric reads or no sum may hold."""
    # All at once: looking for the one that cannot be counted is for when there is one.
    _require_known_flags(observations)
    _require_known_flags(outcomes)
    quantities = [one.quantities for one in observations]
    values = chain.from_iterable([one.values() for one in quantities])
    if set[str]().union(*quantities) <= _QUANTITIES and min(values, default=0) >= 0:
        return
    for sent in observations:
        if not sent.quantities.keys() <= _QUANTITIES:
            unknown = ", ".join(sorted(sent.quantities.keys() - _QUANTITIES))
            raise DataError(
                f"observation {sent.id}: no quantity is called {unknown}. Known are {', '.join(QUANTITIES)}."
            )
        if min(sent.quantities.values(), default=0) < 0:
            raise DataError(
                f"observation {sent.id}: {dict(sent.quantities)} has a negative quantity. Leave out what is not known."
            )


def _require_known_flags(sent: Collection[Observation | Outcome]) -> None:
    """DataError for a flag that no metric reads."""
    if set[str]().union(*[one.flags for one in sent]) <= _FLAGS:
        return
    for one in sent:
        unknown = [
            name for name in one.flags if name not in _FLAGS and not name.startswith("custom.")
        ]
        if unknown:
            raise DataError(
                f"{type(one).__name__.lower()} {one.id}: no flag is called {', '.join(unknown)}. "
                f"Known are {', '.join(FLAGS)}, and custom.NAME for your own."
            )


@lru_cache(maxsize=4096)
def _shared(names: tuple[str, ...], values: tuple[bool, ...]) -> Mapping[str, bool]:
    """One mapping for all that have the same flags: there are few combinations."""
    return dict(zip(names, values, strict=True))


def _in_order(quantities: Mapping[str, int]) -> tuple[int | None, ...]:
    if len(quantities) == len(QUANTITIES):
        every: tuple[int, ...] = _all_quantities(quantities)
        return every
    return tuple(map(quantities.get, QUANTITIES))


def kept(outcome: Outcome, received: datetime) -> KeptOutcome:
    """The outcome as it is kept; DataError for what is no grade. Its flags are known: see `require_countable`."""
    correct = outcome.correct
    if correct is not None and not 0 <= correct <= 1:  # NaN is neither
        raise DataError(
            f"outcome {outcome.id}: correct is {correct}; a grade lies from 0 to 1. Leave it out if there is none."
        )
    return KeptOutcome(
        outcome.id,
        outcome.observation,
        micros(outcome.at),
        micros(received),
        None if correct is None else round(correct * MICRO),
        outcome.grades._value_,
        _shared(tuple(outcome.flags), tuple(outcome.flags.values())),
        outcome.source,
    )


def joined(flags: Mapping[str, bool], more: Mapping[str, bool]) -> Mapping[str, bool]:
    """What both say: a flag that is true in either is true."""
    return {
        **flags,
        **{flag: value for flag, value in more.items() if value or flag not in flags},
    }


def _regraded(episodes: Iterable[Episode], graded: Mapping[str, int | None]) -> Regraded:
    """`graded` are the grades before, by id; a new episode had none."""
    regraded = Regraded()
    for episode in episodes:
        before, now = graded.get(episode.id), episode.grade_u()
        if before == now:
            continue
        if before is None:
            regraded.first.append(episode)
        elif now is None:
            regraded.no_more.append(episode)
        else:
            regraded.again.append(episode)
    return regraded


def _are_alike(episode: Episode, request: Request) -> bool:
    """Whether a request of its unit, at a fitting time, is part of it."""
    return (
        episode.arm == request.arm
        and episode.intent == request.intent
        and episode.version == request.version
    )


def _episode_from(anchor: Request) -> Episode:
    """A new episode, with nothing told to it yet."""
    return Episode(
        anchor.id,
        anchor.rollout,
        anchor.unit,
        anchor.arm,
        anchor.intent,
        anchor.version,
        anchor.endpoint,
        anchor.at,
        heard_until(anchor.at),
    )


def _own_episode(request: Request) -> Episode:
    """The episode that a stored request is by itself, with what is known of it."""
    episode = _episode_from(request)
    episode.flags = request.flags
    grade_u = request.grade_u()
    if grade_u is not None:
        episode.graded, episode.grades_u = 1, grade_u
    return episode
