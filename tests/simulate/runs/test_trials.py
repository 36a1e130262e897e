"""One simulated rollout, against the same one looked at in every minute, as a controller does."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.rollout.plan import (
    Advance,
    Evidence,
    Freeze,
    Intent,
    Judge,
    Labels,
    Plan,
    Scope,
    Step,
    Then,
)
from controller.rollout.state import Cause
from controller.rollout.timeline import minute_of
from controller.simulate.endings import Ending
from controller.simulate.lateness import Lateness
from controller.simulate.openings import frozen_from, thaw
from controller.simulate.runs.nearness import is_sparse
from controller.simulate.runs.trials import Setup, Trial, trial
from controller.simulate.scenarios import HEALTHY, Fault, Scenario, Traffic
from tests.simulate.factories import plan, rule

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
HOUR = timedelta(hours=1)
ACCURACY = rule(
    "accuracy_delta",
    limit=0.03,
    scope=Scope.CRITICAL,
    evidence=Evidence.CONFIDENT,
    window=12 * HOUR,
)
ESCALATION = rule("escalation_rate", limit=0.02, window=4 * HOUR, then=Then.ROLLBACK)
QUIET = replace(ESCALATION, evidence=Evidence.CONFIDENT)
PINNING = replace(ESCALATION, scope=Scope.EACH, then=Then.PIN, window=HOUR, min_samples=50)
STEPS = (
    Step(share_bp=1_000, hold=4 * HOUR),
    Step(share_bp=2_500, hold=2 * HOUR, advance=Advance.PROVEN),
    Step(share_bp=5_000, hold=HOUR, approval=True),
)


def small(*rules, **changes) -> Plan:
    usual = plan(
        *(rules or (ACCURACY, QUIET)),
        intents=(
            Intent(name="refund", critical=True),
            Intent(name="other"),
            Intent(name="legal", pinned=True),
        ),
        steps=STEPS,
        bake=2 * HOUR,
    )
    return replace(usual, **changes)


def setup(
    of: Plan | None = None,
    scenario: Scenario = HEALTHY,
    *,
    units_per_minute: float = 50.0,
    requests_per_unit: float = 1.0,
    max_days: int = 3,
) -> Setup:
    mix = {"refund": 0.5, "other": 0.3, "legal": 0.2}
    return Setup(
        plan=of or small(),
        traffic=Traffic(
            units_per_minute=units_per_minute, mix=mix, requests_per_unit=requests_per_unit
        ),
        scenario=scenario,
        start=START,
        seed=7,
        reaction=HOUR,
        max_days=max_days,
    )


def faulty(
    *, since: timedelta = 3 * HOUR, loss: float = 0.0, escalation: float = 0.0, error: float = 0.0
) -> Scenario:
    def fault(size: float) -> Fault | None:
        return Fault(size=size, since=since) if size else None

    return Scenario(
        text="faulty", loss=fault(loss), escalation=fault(escalation), error=fault(error)
    )


NIGHTLY = Freeze(cron="30 2,18 * * *", duration=10 * HOUR, reason="night")

# So few units that many a window has none: then nothing can be judged, and nothing fails.
SPARSE = replace(
    ESCALATION, limit=0.3, window=timedelta(minutes=30), min_samples=2, evidence=Evidence.OBSERVED
)


def sampled(scenario: Scenario = HEALTHY) -> Setup:
    """Three in ten answers are graded, as the plan says."""
    given = setup(small(labels=Labels(delay=HOUR, sampled_u=300_000)), scenario)
    return replace(given, traffic=replace(given.traffic, label_rate=0.3))


def by_people(
    scenario: Scenario = HEALTHY, *, share_u: int = 300_000, max_days: int = 2, **changes: float
) -> Setup:
    """People grade three in ten beside the plan's judge."""
    judge = Judge(model="gpt-5", sensitivity=0.95, specificity=0.9)
    of = small(labels=Labels(delay=HOUR, judge=judge, people_u=share_u))
    return setup(of, scenario, max_days=max_days, **changes)


UNSURE = replace(SPARSE, limit=0.9, window=timedelta(minutes=10), min_samples=20)
"""It is mostly unmeasured, and never fails."""


def unsure(*rules, steps: tuple[Step, ...]) -> Setup:
    return setup(small(*rules, UNSURE, steps=steps), units_per_minute=1.0)


FAVOURED = replace(faulty(loss=0.06), favours=0.06)


@pytest.mark.parametrize(
    "given",
    [
        setup(),
        by_people(),
        by_people(FAVOURED),
        by_people(faulty(loss=0.10), share_u=50_000, max_days=1),
        sampled(),
        sampled(faulty(loss=0.10)),
        setup(small(ACCURACY, ESCALATION)),
        setup(scenario=faulty(loss=0.10)),
        setup(scenario=faulty(loss=0.015)),
        setup(scenario=faulty(escalation=0.05)),
        setup(scenario=faulty(error=0.02), units_per_minute=3.0, max_days=1),
        setup(small(SPARSE), faulty(escalation=0.05), units_per_minute=1.0, max_days=1),
        unsure(steps=(replace(STEPS[0], min_samples=150), STEPS[2])),
        unsure(
            replace(ACCURACY, limit=0.05, window=2 * HOUR),
            steps=(Step(share_bp=5_000, advance=Advance.PROVEN), Step(share_bp=8_000)),
        ),
        setup(small(ACCURACY, ESCALATION), units_per_minute=10.0, requests_per_unit=4.0),
        setup(small(ACCURACY, PINNING), faulty(escalation=0.03), max_days=1),
        setup(small(freezes=(NIGHTLY,))),
        setup(small(freezes=(NIGHTLY,)), faulty(loss=0.06, since=20 * HOUR), max_days=2),
    ],
    ids=[
        *(
            "healthy",
            "by people",
            "by people, favoured",
            "by a few people",
            "of a sample",
            "loss in a sample",
            "as written",
            "loss",
            "slight loss",
        ),
        *(
            "escalation",
            "few",
            "sparse",
            "samples",
            "proof",
            "conversations",
            "pins",
            "frozen",
            "a loss in a freeze",
        ),
    ],
)
def test_rare_looks_decide_what_a_look_in_every_minute_decides(given: Setup):
    for number in (1, 2):
        assert trial(given, number) == trial(given, number, look_min=1)


def sparse(given: Setup) -> bool:
    return is_sparse(given.plan, given.traffic, given.scenario)


def test_units_are_few_where_a_window_of_a_rule_may_have_none_of_an_arm():
    one_a_minute = setup(small(SPARSE), units_per_minute=1.0)  # 0.08 × 30 of the candidate's
    last_of_the_baseline = small(steps=(Step(share_bp=9_990),))  # 0.1% of 25 a minute, for 12 h: 18

    assert sparse(one_a_minute)
    assert not sparse(setup())
    assert not sparse(setup(last_of_the_baseline))
    assert sparse(setup(last_of_the_baseline, units_per_minute=30.0))


def test_units_are_few_where_few_of_those_in_a_window_are_graded():
    hourly = small(replace(ACCURACY, window=HOUR))  # 2.5 of the candidate's on refund: 150
    of_all, of_some = (
        replace(given, traffic=replace(given.traffic, label_rate=rate))
        for given in [setup(hourly)]
        for rate in (1.0, 0.08)
    )

    assert not sparse(of_all)
    assert sparse(of_some)


def test_units_are_few_where_an_intent_has_fewer_of_them_in_the_first_steps():
    given = setup(small(replace(ACCURACY, window=2 * HOUR, scope=Scope.EACH)), units_per_minute=6.0)
    # The candidate gets 22 of `other` in two hours at 10%, and half as many where the mix shifts to it step by step.

    assert not sparse(given)
    assert sparse(replace(given, scenario=Scenario(text="ramp-mix", shift=0.1)))


def test_a_healthy_run_takes_the_holds_the_reaction_and_the_bake():
    found = trial(setup(small(QUIET, ACCURACY, steps=(STEPS[0], STEPS[2]))), 0)

    assert found.ending is Ending.COMPLETED
    # The first share comes one minute after the start, the approval an hour after the hold, the raise a minute later.
    assert found.path == ((0, 0), (1, 1_000), (241, 5_000))
    assert found.end_min == 241 + 60 + 60 + 1 + 120
    assert (found.cause, found.rules) == (None, ())


def test_a_stop_names_its_rule_and_is_later_than_the_fault():
    found = trial(setup(scenario=faulty(escalation=0.10)), 0)

    assert (found.ending, found.cause, found.rules) == (
        Ending.ROLLED_BACK,
        Cause.RULE,
        ("escalation_rate",),
    )
    assert (
        180 < found.end_min < 250
    )  # five times the limit is seen in about an hour, some 240 answers
    assert found.path[-1] == (found.end_min, 0)


def test_requests_and_wrong_answers_are_those_before_the_stop():
    found = trial(setup(scenario=faulty(escalation=0.10)), 0)

    # 10% of the 80% of 50 units a minute that are not pinned; of them 3.5% wrong and not escalated, then none
    assert found.candidate_requests == pytest.approx(4 * found.end_min, rel=0.15)
    assert found.wrong_served == pytest.approx(0.035 * 4 * 180, rel=0.15)


def test_a_rollout_that_waits_for_ever_is_not_finished():
    never = small(
        replace(ACCURACY, limit=0.001),
        steps=(Step(share_bp=1_000, advance=Advance.PROVEN), STEPS[2]),
    )

    found = trial(setup(never, units_per_minute=2.0, max_days=1), 0)

    assert (found.ending, found.end_min) == (Ending.UNFINISHED, 1_440)


def test_a_freeze_holds_an_advance_and_stops_no_rollback():
    frozen = small(freezes=(Freeze(start=START + 2 * HOUR, end=START + 30 * HOUR, reason="fair"),))

    healthy = trial(setup(frozen), 0)
    worse = trial(setup(frozen, faulty(escalation=0.10)), 0)

    assert healthy.path[2] == (30 * 60, 2_500)
    assert worse.end_min < 30 * 60


def test_an_advance_waits_for_the_next_opening_between_nightly_freezes():
    nightly = Freeze(cron="0 18 * * *", duration=14 * HOUR, reason="night")
    long_hold = (Step(share_bp=1_000, hold=12 * HOUR), STEPS[2])

    found = trial(setup(small(QUIET, steps=long_hold, freezes=(nightly,))), 0)

    # Free from 8:00 to 18:00: the first share at 8:00, twelve hours until 20:00, the next one at 8:00 on the second day
    assert found.path == ((0, 0), (480, 1_000), (1_920, 5_000))


def test_a_freeze_is_over_in_the_first_minute_that_nothing_freezes():
    first, at_six = minute_of(START), START + 6 * HOUR
    dated = Freeze(start=START, end=at_six + timedelta(minutes=7), reason="fair")
    overlapping = (dated, Freeze(cron="0 6 * * *", duration=3 * HOUR, reason="morning"))

    end = first + 1_440
    assert thaw((dated,), first, end) == first + 367
    assert thaw((dated,), first + 366, end) == first + 367
    assert thaw(overlapping, first + 1, end) == first + 540
    assert thaw(overlapping, first + 1, first + 480) == first + 480


def test_an_opening_of_some_minutes_between_two_freezes_is_one():
    first = minute_of(START)
    freezes = (
        Freeze(start=START, end=START + timedelta(minutes=70)),
        Freeze(start=START + timedelta(minutes=80), end=START + timedelta(hours=5, seconds=5)),
        Freeze(start=START + timedelta(hours=5, seconds=10), end=START + 6 * HOUR),
    )

    assert thaw(freezes, first, first + 1_440) == first + 70
    # One that is over before the next full minute is none.
    assert thaw(freezes, first + 90, first + 1_440) == first + 360
    begins = [frozen_from(freezes, first + minute) for minute in (-1, 0, 79, 80, 301)]
    assert begins == [first, first + 80, first + 80, first + 301, None]


LATE_SAMPLES = (Step(share_bp=1_000, min_samples=5_000), STEPS[2])  # 21 hours at 4 a minute


def ends_on(day: datetime) -> Plan:
    of = small(QUIET, steps=LATE_SAMPLES)
    return replace(of, baseline=replace(of.baseline, shutdown=day.date()))


@pytest.mark.parametrize(
    "of",
    [
        small(
            QUIET,
            steps=LATE_SAMPLES,
            freezes=(Freeze(start=START + 24 * HOUR, end=START + 40 * HOUR),),
        ),
        ends_on(START + timedelta(days=2)),
    ],
    ids=["a freeze", "the baseline's end"],
)
def test_an_advance_comes_before_what_forbids_it_later(of: Plan):
    found = trial(setup(of, max_days=2), 0)

    assert found == trial(setup(of, max_days=2), 0, look_min=1)
    assert found.path[2][0] < 24 * 60


def test_a_proof_that_is_there_when_a_freeze_ends_is_found_though_it_goes_again():
    freeze = Freeze(cron="37 2,14 * * *", duration=timedelta(minutes=90), reason="night")
    judge = Judge(model="gpt-5", sensitivity=0.95, specificity=0.9)
    of = small(
        replace(ACCURACY, window=HOUR, limit=0.05),
        QUIET,
        steps=(
            Step(share_bp=5_000, hold=timedelta(minutes=10), advance=Advance.PROVEN),
            Step(share_bp=8_000),
        ),
        freezes=(freeze,),
        bake=timedelta(0),
        labels=Labels(judge=judge, people_u=300_000),
    )
    given = setup(of, units_per_minute=30.0, max_days=1)
    given = replace(given, seed=32, traffic=replace(given.traffic, accuracy=0.8))

    found = trial(given, 0)

    # The freeze ends at 4:07.
    assert found.path == ((0, 0), (1, 5_000), (247, 8_000))
    assert found == trial(given, 0, look_min=1)


@pytest.mark.parametrize("steps", [1, 2])
def test_an_approval_that_is_due_as_a_deadline_passes_comes_in_the_next_minute(steps):
    # It was taken for one that was given long ago, and nobody looked for two days.
    first = Step(share_bp=1_000, hold=HOUR, approval=True, deadline=2 * HOUR)
    given = setup(small(QUIET, steps=(first, STEPS[2])[:steps], bake=timedelta(0)))

    found = trial(given, 0)

    assert found == trial(given, 0, look_min=1)
    # Held from 0:01 on; asked at 1:01, late at 2:01, approved at 2:02.
    assert 123 in (found.end_min, found.path[-1][0])


def test_a_deadline_that_passes_while_an_approval_is_waited_for_does_not_put_it_off():
    first = Step(share_bp=1_000, hold=HOUR, approval=True, deadline=HOUR + timedelta(minutes=30))
    given = setup(small(QUIET, steps=(first, STEPS[2])), max_days=1)

    found = trial(given, 0)

    # Held from 0:01 on; asked at 1:01, late at 1:31, approved at 2:01.
    assert found.path[2] == (122, 5_000)
    assert found == trial(given, 0, look_min=1)


def test_who_approves_in_a_freeze_is_not_asked_to_wait_for_its_end():
    freeze = Freeze(start=START + timedelta(minutes=90), end=START + 5 * HOUR)
    first = Step(share_bp=1_000, hold=HOUR, approval=True)
    given = setup(small(QUIET, steps=(first, STEPS[2]), freezes=(freeze,)), max_days=1)

    found = trial(given, 0)

    assert found.path[2] == (300, 5_000)
    assert found == trial(given, 0, look_min=1)


def test_a_rollout_that_is_frozen_for_ever_is_not_finished():
    always = Freeze(cron="0 * * * *", duration=HOUR, reason="always")

    found = trial(setup(small(QUIET, freezes=(always,)), max_days=1), 0)

    assert (found.ending, found.path) == (Ending.UNFINISHED, ((0, 0),))


@pytest.mark.parametrize(("days", "shares"), [(0, [0]), (1, [0, 1_000])], ids=["first", "next"])
def test_a_step_that_the_baseline_would_not_outlive_never_begins(days: int, shares: list[int]):
    of = small(QUIET, UNSURE, steps=(STEPS[0], Step(share_bp=5_000, hold=48 * HOUR)))
    arm = replace(of.baseline, shutdown=START.date() + timedelta(days=days))
    given = setup(replace(of, baseline=arm), units_per_minute=1.0, max_days=2)

    found = trial(given, 0)

    assert found == trial(given, 0, look_min=1)
    assert (found.ending, [share for _, share in found.path]) == (Ending.UNFINISHED, shares)


def test_what_a_rule_pins_gets_no_candidate_any_more_and_the_rollout_goes_on():
    found = trial(setup(small(ACCURACY, PINNING), faulty(escalation=0.30, since=HOUR)), 0)

    # Both intents are pinned within half an hour of the fault; nothing is left to compare, so nothing goes further.
    assert found.ending is Ending.UNFINISHED
    assert found.candidate_requests == pytest.approx(4 * 75, rel=0.25)
    assert {intent for _, intent in found.pins} == {"refund", "other"}
    assert all(minute <= 60 + 30 for minute, _ in found.pins)


def test_the_same_number_is_the_same_run_and_another_is_not():
    found: list[Trial] = [trial(setup(), number) for number in (3, 3, 4)]

    assert found[0] == found[1]
    assert found[0] != found[2]


# Labels that come late

IN_TIME = Lateness(median=timedelta(minutes=10), most=timedelta(minutes=16))  # 99.9% within 31 min
TOO_LATE = Lateness(median=HOUR, most=4 * HOUR)  # half of them after the plan's delay


def late(lateness: Lateness, *, loss: float = 0.0, escalation: float = 0.0) -> Scenario:
    return replace(faulty(loss=loss, escalation=escalation), lateness=lateness)


@pytest.mark.parametrize(
    "given",
    [
        setup(scenario=late(IN_TIME), max_days=2),
        setup(scenario=late(IN_TIME, loss=0.06), max_days=2),
        setup(scenario=late(TOO_LATE, escalation=0.04), max_days=2),
        by_people(late(IN_TIME, loss=0.06), max_days=1),
    ],
    ids=["in time", "in time, a loss", "too late, escalations", "in time, by people"],
)
def test_hourly_looks_decide_the_same_where_late_labels_change_no_decision(given: Setup):
    for number in (1, 2):
        assert trial(given, number) == trial(given, number, look_min=1)


def test_with_labels_that_are_too_late_a_stop_is_found_within_an_hour():
    given = setup(scenario=late(TOO_LATE, loss=0.06), max_days=2)

    for number in (2, 3, 4):
        rare, every = trial(given, number), trial(given, number, look_min=1)
        assert (rare.ending, rare.rules) == (every.ending, every.rules)
        assert 0 <= rare.end_min - every.end_min <= 60


def stops(given: Setup, runs: int) -> int:
    endings = [trial(given, number).ending for number in range(runs)]
    return sum(ending is not Ending.COMPLETED for ending in endings)


def test_a_plan_that_waits_long_enough_for_its_labels_stops_no_more_healthy_rollouts_than_alpha():
    given = setup(small(ACCURACY), late(IN_TIME))

    # Alpha is 5%, and two standard errors of 60 runs are 5.6 points.
    assert stops(given, 60) / 60 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 60)


def test_labels_that_are_too_late_stop_a_healthy_candidate_and_a_longer_delay_does_not():
    """Escalated answers are known to be wrong at once; of the others, 15.5% are graded when they are judged first. So
    where 4% escalate the candidate seems right in 78% then, (0.155 × 0.95) / (0.04 + 0.155 × 0.96), and the baseline
    in 95%, until the labels of the first hours have come.
    """
    hasty = small(ACCURACY, labels=Labels(delay=HOUR))
    patient = replace(hasty, labels=Labels(delay=24 * HOUR))
    given = setup(hasty, late(Lateness(median=3 * HOUR, most=12 * HOUR)), max_days=4)
    given = replace(given, traffic=replace(given.traffic, escalation=0.04, units_per_minute=80.0))

    assert stops(given, 12) >= 9
    # Alpha is 5%, and two standard errors of 12 runs are 12.6 points.
    assert stops(replace(given, plan=patient), 12) / 12 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 12)


def test_labels_that_are_too_late_make_a_proof_come_later():
    """The arms' coverage differs, so the missing labels count against the candidate until enough have come."""

    def proven(lateness: Lateness) -> list[int]:
        given = setup(small(ACCURACY), late(lateness))
        paths = [{share: at for at, share in trial(given, n).path} for n in range(2, 18)]
        return sorted(path.get(5_000, 99_999) for path in paths)

    in_time, too_late = proven(IN_TIME), proven(TOO_LATE)

    # Three quarters, and seven eighths
    assert too_late[14] > in_time[14]
    assert too_late[12] > in_time[12]
