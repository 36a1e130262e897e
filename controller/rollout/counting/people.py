"""Counting what people say of answers that a judge grades too: `labels.people` of a plan (docs/adr/025).

A unit is drawn or not by a hash of its name, whole and for good, so that a drawn episode is like any other: drawn
answer by answer, long ones would be drawn more often. People's grades are kept apart from all others, in rows of
their own (`ByPeople`), and never enter what is counted of the others. Of each graded episode of a drawn unit the
judge's grade is counted, and if people have graded an answer of it, the mean of theirs and the product of both.

A drawn answer that is escalated or failed is wrong without a person too, as it is without a judge: it has a row at
once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from controller.rollout.counting.deltas import RowKey, Tally, episode_key
from controller.rollout.counting.items import Episode, KeptOutcome, Request, rounded
from controller.rollout.counting.sampling import is_drawn
from controller.rollout.metrics import MICRO
from controller.rollout.observation import PERSON, Grades

_ATTEMPT: Final = Grades.ATTEMPT.value
Added = tuple[RowKey, Mapping[str, int]]
"""What one episode adds to its row."""


@dataclass(slots=True)
class ByPeople:
    """One answer of a drawn unit that has a person's grade, or is wrong without one; `episode` is that one's start."""

    id: str  # the request's
    rollout: str
    unit: str
    arm: str
    intent: str
    version: int
    episode: int
    attempt_n: int = 0
    attempt_u: int = 0
    served_n: int = 0
    served_u: int = 0
    escalated: bool = False
    failed: bool = False

    def grade_u(self) -> int | None:
        """As `Request.grade_u`, by people's grades alone."""
        n, total = self.attempt_n, self.attempt_u
        if not self.escalated:
            n, total = n + self.served_n, total + self.served_u
        if n:
            return rounded(total, n)
        return 0 if self.escalated or self.failed else None

    def is_of(self, episode: Episode) -> bool:
        """Whether it is an answer of this episode of its unit."""
        return (self.episode, self.arm, self.intent, self.version) == (
            episode.start,
            episode.arm,
            episode.intent,
            episode.version,
        )


class Drawn:
    """Answers of drawn units that a batch touches. `shares_u`: in millionths, of the rollouts in which people grade;
    `single`: those of them in which each request is an episode by itself.
    """

    def __init__(
        self, shares_u: Mapping[str, int], kept: Iterable[ByPeople], single: Collection[str]
    ) -> None:
        """`kept` are those stored of all drawn units of the batch."""
        self.changed: dict[str, ByPeople] = {}
        self._shares_u = shares_u
        self._single = single
        self._kept = {one.id: one for one in kept}
        self._of_unit: dict[tuple[str, str], list[ByPeople]] = {}
        self._is_drawn: dict[tuple[str, str], bool] = {}
        self._before: dict[str, Added] = {}  # by episode
        for one in self._kept.values():
            self._of_unit.setdefault((one.rollout, one.unit), []).append(one)

    def has_people(self, rollout: str) -> bool:
        return rollout in self._shares_u

    def open(self, episodes: Iterable[Episode]) -> None:
        """Remember what the stored episodes that the batch may touch are counted as."""
        self._before = self._added(episodes)

    def learn(self, request: Request, outcome: KeptOutcome) -> None:
        """Add a person's grade; of a unit that is not drawn it says nothing that is counted."""
        if outcome.correct_u is None or not self._counts(request):
            return
        one = self._of(request)
        if outcome.grades == _ATTEMPT:
            one.attempt_n += 1
            one.attempt_u += outcome.correct_u
        else:
            one.served_n += 1
            one.served_u += outcome.correct_u

    def settle(
        self, tally: Tally, requests: Iterable[Request], episodes: Iterable[Episode]
    ) -> None:
        """Count what changed. `requests` are those that are new or changed; `episodes` all that were opened, and new
        ones, as they are counted now.
        """
        for request in requests:
            self._take_flags(request)
        after = self._added(episodes)
        for added, sign in ((self._before, -1), (after, +1)):
            for key, stats in added.values():
                row = tally.row(key)
                for name, count in stats.items():
                    row[name] += sign * count

    def _take_flags(self, request: Request) -> None:
        escalated = bool(request.flags.get("escalated"))
        failed = bool(request.flags.get("error"))
        if not (escalated or failed) or not self._counts(request):
            return
        one = self._kept.get(request.id)
        if one is None or (one.escalated, one.failed) != (escalated, failed):
            one = self._of(request)
            one.escalated, one.failed = escalated, failed

    def _of(self, request: Request) -> ByPeople:
        one = self._kept.get(request.id)
        if one is None:
            assert request.episode is not None, "only compared answers are drawn"  # noqa: S101 # see `_counts`
            one = self._kept[request.id] = ByPeople(
                request.id,
                request.rollout,
                request.unit,
                request.arm,
                request.intent,
                request.version,
                request.episode,
            )
            self._of_unit.setdefault((one.rollout, one.unit), []).append(one)
        self.changed[one.id] = one
        return one

    def _counts(self, request: Request) -> bool:
        return request.episode is not None and self.draws(request.rollout, request.unit)

    def draws(self, rollout: str, unit: str) -> bool:
        """Whether people are to grade the answers of this unit."""
        known = self._is_drawn.get((rollout, unit))
        if known is None:
            share_u = self._shares_u.get(rollout)
            known = share_u is not None and is_drawn(rollout, unit, share_u)
            self._is_drawn[rollout, unit] = known
        return known

    def _added(self, episodes: Iterable[Episode]) -> dict[str, Added]:
        added: dict[str, Added] = {}
        for episode in episodes:
            grade_u = episode.grade_u()
            if grade_u is not None and self.draws(episode.rollout, episode.unit):
                by_people = self._grade_u(episode)
                added[episode.id] = (episode_key(episode), _stats(grade_u, by_people))
        return added

    def _grade_u(self, episode: Episode) -> int | None:
        """The mean of people's grades of its answers; None while there is none."""
        if episode.rollout in self._single:
            # Others of its unit may have come at the same moment.
            alone = self._kept.get(episode.id)
            return None if alone is None else alone.grade_u()
        answers = self._of_unit.get((episode.rollout, episode.unit), ())
        grades = [one.grade_u() for one in answers if one.is_of(episode)]
        known = [grade for grade in grades if grade is not None]
        return rounded(sum(known), len(known)) if known else None


def _stats(judge_u: int, person_u: int | None) -> dict[str, int]:
    drawn = {"drawn": 1, "drawn.judge_u": judge_u}
    if person_u is None:
        return drawn
    return {
        **drawn,
        "both": 1,
        "both.judge_u": judge_u,
        "both.person_u": person_u,
        "both.product_u": rounded(judge_u * person_u, MICRO),
    }


def is_by_person(outcome: KeptOutcome) -> bool:
    return outcome.source == PERSON


def drawn_units(
    shares_u: Mapping[str, int], requests: Iterable[Request]
) -> dict[str, Collection[str]]:
    """By rollout whose people grade: the units of these requests that are drawn."""
    units: dict[str, set[str]] = {rollout: set() for rollout in shares_u}
    for one in requests:
        if one.rollout in units:
            units[one.rollout].add(one.unit)
    return {
        rollout: {unit for unit in of if is_drawn(rollout, unit, shares_u[rollout])}
        for rollout, of in units.items()
    }
