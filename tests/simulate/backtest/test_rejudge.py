"""A stored history under other rules, against the same world run under those rules from the start."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.rollout.decision import Action
from controller.rollout.plan import Evidence, Freeze, Intent, Judge, Labels, Plan, Scope, Step, Then
from controller.rollout.timeline import MINUTE
from controller.simulate.backtest.arrivals import Poisson
from controller.simulate.backtest.rejudge import rejudge, under, unused
from controller.simulate.backtest.results import Recording
from controller.simulate.backtest.run import START, TICK, Finished, Setup, World, backtest
from controller.simulate.backtest.stand_ins import OnPause
from controller.simulate.endings import Ending
from tests.simulate.backtest.test_backtest import ACCURACY, ALIKE, HOUR, WORSE, world
from tests.simulate.factories import BY_BOTH, graded, graded_by_both, plan, recording, rule

# The judge finds nothing wrong with the candidate; people find three of ten answers wrong.
FAVOURED = recording(
    *graded_by_both([(1, 1)] * 9 + [(0, 0)], [(1, 1)] * 7 + [(1, 0)] * 3), header=BY_BOTH
)
SOME = recording(*graded([1] * 10, [1] * 8 + [0] * 2))
STEPS = (Step(share_bp=1_000, hold=8 * HOUR), Step(share_bp=5_000, hold=8 * HOUR))
AT_ONCE = Labels()  # no label delay: the stored counts are those that were seen


def under_way(
    of: Plan, recording: Recording = WORSE, *, seed: int = 1, **changes: object
) -> tuple[World, Finished]:
    """A history in a store."""
    within = world()
    setup = Setup(
        plan=of,
        recording=recording,
        arrivals=Poisson(units_per_day=4_800, seed=seed),
        seed=seed,
        max_days=3,
    )
    changed = replace(setup, **changes)  # type: ignore[arg-type]  # a factory's keywords are the setup's own
    return within, backtest(changed, within)


def small(*rules, **changes) -> Plan:
    return plan(*rules, **{"steps": STEPS, "labels": AT_ONCE, **changes})


@pytest.mark.parametrize("data", [ALIKE, WORSE, SOME])
@pytest.mark.parametrize(("seed", "labels"), [(1, AT_ONCE), (2, AT_ONCE), (1, Labels(delay=HOUR))])
def test_the_rules_of_the_time_decide_as_they_did(data: Recording, seed: int, labels: Labels):
    of = small(ACCURACY, labels=labels)
    within, finished = under_way(of, data, seed=seed)

    found = rejudge(within.store, "small", of)

    assert found.difference is None
    assert (found.rollout, found.records, found.unused) == ("small/1", len(finished.records), ())


def test_stricter_rules_stop_where_they_would_have_stopped_in_the_same_world():
    strict, loose = small(ACCURACY), small()
    within, slack = under_way(loose, SOME)
    _, stopped = under_way(strict, SOME)

    found = rejudge(within.store, "small", strict).difference

    pause = stopped.records[-1].value
    assert found is not None
    assert (found.decided.action, found.of_the_time.action) == (Action.PAUSE, Action.HOLD)
    # The backtest looks every ten minutes; judged is every minute.
    assert pause.at - TICK <= found.at <= pause.at + MINUTE
    assert found.recorded in [sealed.value for sealed in slack.records]
    assert (found.stop, found.later) == (None, None)


def test_rules_that_would_not_have_stopped_are_followed_as_far_as_traffic_stays_alike():
    strict = small(ACCURACY, steps=STEPS[:1])
    within, stopped = under_way(strict)

    found = rejudge(within.store, "small", small()).difference

    assert found is not None
    assert (found.decided.action, found.of_the_time.action) == (Action.HOLD, Action.PAUSE)
    assert found.stop == stopped.records[-1].value == found.recorded
    assert found.later is None
    assert found.known_until <= stopped.at


def test_slower_rules_tell_how_much_later_they_stop():
    """A pause that holds the share leaves the traffic as it was, so what came after it can be judged."""
    quick = small(ACCURACY, name="small", pause_deadline=30 * HOUR)
    slow = small(replace(ACCURACY, alpha=1e-6))
    within, _ = under_way(quick, SOME, on_pause=OnPause.RESUME, reaction=24 * HOUR)

    found = rejudge(within.store, "small", slow).difference

    assert found is not None
    assert found.later is not None
    assert found.later.decision.action in (Action.PAUSE, Action.ADVANCE)
    assert found.at < found.later.at <= found.known_until


def test_an_advance_is_found_in_the_minutes_before_a_freeze_begins():
    hold = timedelta(
        hours=8, minutes=10
    )  # so that looks an hour apart lie after it within the freeze
    begins = START + hold + 3 * TICK
    freeze = Freeze(start=begins, end=START + 11 * HOUR)
    # Nobody says whether answers are grounded.
    held = small(
        rule("hallucination_rate"),
        steps=(replace(STEPS[0], hold=hold), STEPS[1]),
        freezes=(freeze,),
        max_blind=720 * HOUR,
    )
    within, _ = under_way(held, max_days=1)

    found = rejudge(within.store, "small", small()).difference

    assert found is not None
    assert (found.decided.action, found.of_the_time.action) == (Action.ADVANCE, Action.HOLD)
    assert START + hold <= found.at < begins


def test_what_people_commanded_is_taken_as_given():
    of = small(ACCURACY)
    within, finished = under_way(of, on_pause=OnPause.RESUME, max_days=1)

    assert Action.RESUME in {one.value.action for one in finished.records}
    assert rejudge(within.store, "small/1", of).difference is None


def test_the_same_stop_by_another_rule_is_the_same_decision():
    renamed = replace(ACCURACY, name="quality")
    within, _ = under_way(small(ACCURACY))

    assert rejudge(within.store, "small", small(renamed)).difference is None


def test_nothing_is_written():
    within, _ = under_way(small())
    store = within.store
    before = (store.head("small"), store.records("small/1"), store.judged("small/1"))

    rejudge(store, "small", small(ACCURACY))

    assert (store.head("small"), store.records("small/1"), store.judged("small/1")) == before


def test_the_way_stays_the_recorded_one_and_what_is_not_used_is_named():
    here = small(ACCURACY)
    other = small(
        rule("escalation_rate", scope=Scope.EACH, evidence=Evidence.CONFIDENT, then=Then.ROLLBACK),
        steps=STEPS[:1],
        intents=(Intent(name="refund", critical=False), Intent(name="chat")),
        alpha=0.01,
    )

    judged_by = under(here, other)

    assert (judged_by.steps, judged_by.rules, judged_by.alpha) == (STEPS, other.rules, 0.01)
    assert judged_by.intents == (Intent(name="refund", critical=False),)
    assert unused(here, other) == ("intents (names)", "steps")


def test_costs_are_not_summed_up_to_another_limits_cap_so_that_nothing_is_proven_of_it():
    here, lower, none = (
        small(ACCURACY, *(rule("cost_per_correct", limit=limit) for limit in limits))
        for limits in ([0.002], [0.001], [])
    )

    assert unused(here, lower) == ("rules (proofs of cost_per_correct at another limit)",)
    assert unused(here, here) == unused(here, none) == ()


def test_the_sampled_part_of_labels_stays_for_the_counts_were_made_by_it():
    here = small(ACCURACY)
    other = small(ACCURACY, labels=Labels(delay=HOUR, sampled_u=300_000))

    judged_by = under(here, other)

    assert judged_by.labels == Labels(delay=HOUR)
    assert unused(here, other) == ("labels.sampled",)


def test_the_share_that_people_grade_stays_too():
    here = small(ACCURACY)
    other = small(ACCURACY, labels=Labels(delay=HOUR, people_u=50_000))

    assert under(here, other).labels == Labels(delay=HOUR)
    assert unused(here, other) == ("labels.people",)
    fewer = replace(other, labels=replace(other.labels, people_u=10_000))
    assert under(other, fewer).labels.people_u == 50_000
    assert unused(other, fewer) == ("labels.people",)


def test_what_the_judges_grades_alone_would_have_done_can_be_asked():
    judge = Judge(model="gpt-5", sensitivity=0.95, specificity=0.9)
    alone = small(ACCURACY, labels=Labels(delay=HOUR, judge=judge))
    beside = replace(alone, labels=replace(alone.labels, people_u=500_000))
    within, finished = under_way(beside, FAVOURED)

    same, other = (rejudge(within.store, "small", of) for of in (beside, alone))

    assert finished.ending is Ending.PAUSED  # by people, who see what the judge does not
    assert (same.difference, same.unused) == (None, ())
    assert other.unused == ()
    assert other.difference is not None
    assert other.difference.at >= finished.records[-1].value.at - TICK
    assert other.difference.of_the_time.action is Action.PAUSE
    assert other.difference.decided.action is Action.HOLD
