"""What sums before full hours are remembered by: whatever another reading asked for before, each reads its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.reconcile.observe import bounds
from controller.rollout.counting.tallies import Tallies
from controller.rollout.evidence.comparison import reference_key
from controller.rollout.evidence.readings import read
from controller.rollout.evidence.view import View
from controller.rollout.plan import Scope
from controller.rollout.state import Reference
from tests.rollout.factories import NOW, at_step, plan
from tests.rollout.test_powered import BASELINE, FAIR, OF, UNDONE, elsewhere, hours
from tests.rollout.test_proofs import EACH, INTENTS
from tests.rollout.test_ratio_proofs import BUCKET, SLOWER, both
from tests.rollout.test_readings import START, requests, view

HOURS = 6
MINUTES = 60 * HOURS


def fresh(seen: View, rows) -> View:
    """The same, with nothing remembered."""
    tallies = Tallies(bounds=bounds(seen.plan, references=[seen.state.references]))
    tallies.feed(rows, 1)
    return replace(seen, tallies=tallies)


@pytest.mark.parametrize("first", [0, 1])
def test_one_intents_rate_is_not_anothers(first):
    rows = [
        requests(START + 30 * i, 100, escalated, intent=intent)
        for i in range(2 * HOURS)
        for intent, escalated in zip(INTENTS, (1, 1 + 2 * (i > 6)), strict=True)
    ]
    seen = view(rows, minutes=MINUTES, of=plan(rules=(EACH,)))

    for intent in (INTENTS[first], INTENTS[1 - first]):
        found, alone = read(seen, EACH, intent), read(fresh(seen, rows), EACH, intent)
        assert found.failing is not None
        assert (found.failing, found.passing) == (alone.failing, alone.passing)


@pytest.mark.parametrize("first", [0, 1])
def test_one_intents_grades_by_people_are_not_anothers(first):
    rows = [*hours(20, UNDONE, BASELINE), *elsewhere(hours(20, FAIR, BASELINE))]
    each = replace(OF.rules[0], scope=Scope.EACH)
    seen = view(rows, minutes=20 * 60, of=replace(OF, rules=(each,)))

    told = []
    for intent in (INTENTS[first], INTENTS[1 - first]):
        found, alone = read(seen, each, intent), read(fresh(seen, rows), each, intent)
        assert (found.failing, found.passing) == (alone.failing, alone.passing)
        told.append(found.passing)
    assert told[0] != told[1]


def test_what_went_by_one_percentile_is_not_taken_for_what_goes_by_the_next():
    """As a step freezes it anew: minutes from then on are compared by it, and those before as they were."""
    of = plan(rules=(SLOWER,))
    key = reference_key(SLOWER, None)
    one = Reference(bucket=BUCKET, since=NOW - timedelta(minutes=1))
    other = Reference(bucket=BUCKET - 30, since=NOW + timedelta(minutes=200))
    rows = [
        each
        for i in range(MINUTES)
        for each in both(START + i, [9.0] * (1 + i // 120) + [1.8] * 20, [9.0] + [1.8] * 20)
    ]
    early, late = (
        at_step(0, of, started_at=NOW, references={key: known}) for known in ((one,), (one, other))
    )
    tallies = Tallies(bounds=bounds(of, references=[late.references]))
    tallies.feed(rows, 1)

    told = []
    for state in (early, late, early):
        seen = replace(view([], minutes=MINUTES, of=of, state=state), tallies=tallies)
        found, alone = read(seen, SLOWER, None), read(fresh(seen, rows), SLOWER, None)
        assert found.failing is not None
        assert (found.failing, found.passing) == (alone.failing, alone.passing)
        told.append(found)
    assert told[0].failing != told[1].failing
    assert told[0].failing == told[2].failing
