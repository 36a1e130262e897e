"""What an advance waits for, said so that a person can look it up: which rule, which intent, how much of how much."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from controller.rollout.deciding.advance import requirement, retires_during_next_step
from controller.rollout.deciding.decide import decide
from controller.rollout.decision import Action, Wait, Waiting
from controller.rollout.evidence.rules import judge
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Advance, Intent, Scope, Severity, Step, Then
from controller.rollout.state import Cause, Epoch, Phase
from controller.rollout.verdict import (
    Availability,
    Coverage,
    Health,
    InForce,
    Outcome,
    SampleRatio,
)
from tests.rollout.factories import (
    ACCURACY,
    DAY,
    ESCALATION,
    HOUR,
    NOW,
    STEPS,
    at_step,
    bad,
    look,
    plan,
    proof,
    reading,
    seen,
    started,
)

PLAN = plan()
LATER = NOW + 4 * DAY
MISMATCH = SampleRatio(candidate=9, baseline=1, share_bp=1000, log_e=6.9, log_threshold=6.9)
UNEVEN = Coverage(
    baseline_graded=90, baseline_n=100, candidate_graded=10, candidate_n=100, differs=True
)


def waits(state, sight=None, *, of=PLAN, now=LATER) -> tuple[Wait, ...]:
    return decide(of, state, sight if sight is not None else seen(), None, now).waits


def wait(waiting: Waiting, **told) -> Wait:
    return Wait(waiting=waiting, **told)


@pytest.mark.parametrize(
    ("sight", "expected"),
    [
        (seen(held=71 * HOUR), wait(Waiting.HOLD_TIME, have=71 * 3600, need=72 * 3600)),
        (seen(in_force=InForce.EXPIRED), wait(Waiting.IN_FORCE, detail="expired")),
        (seen(samples=499), wait(Waiting.SAMPLES, have=499, need=500)),
        (
            seen(reading(ACCURACY, "refund", step_samples=499)),
            wait(Waiting.SAMPLES, rule="accuracy", intent="refund", have=499, need=500),
        ),
        (
            seen(reading(ESCALATION, availability=Availability.NOT_DUE)),
            wait(Waiting.UNMEASURED, rule="escalation", detail="not_due"),
        ),
        (seen(sample_ratio=MISMATCH), wait(Waiting.SAMPLE_RATIO)),
        (seen(coverage=UNEVEN), wait(Waiting.COVERAGE)),
        (seen(freeze="xmas"), wait(Waiting.FREEZE, detail="xmas")),
        (seen(baseline=Health.UNKNOWN), wait(Waiting.BASELINE, detail="unknown")),
    ],
)
def test_a_wait_says_what_of_which_rule_and_how_much(sight, expected):
    assert expected in waits(at_step(0), sight)


@pytest.mark.parametrize(
    "sight",
    [
        seen(held=72 * HOUR),
        seen(samples=500),
        seen(reading(ACCURACY, "refund", step_samples=500)),
        seen(sample_ratio=replace(MISMATCH, log_e=6.8)),
        seen(coverage=replace(UNEVEN, differs=False)),
    ],
)
def test_exactly_enough_is_enough(sight):
    assert waits(at_step(0), sight) == ()


def test_they_come_in_the_order_in_which_a_person_looks():
    of = plan(
        steps=(replace(STEPS[0], advance=Advance.PROVEN, approval=True), *STEPS[1:]),
        baseline=replace(PLAN.baseline, shutdown=date(2026, 11, 26)),
    )
    sight = seen(
        reading(ACCURACY, "refund", passing=proof(0.0), step_samples=3),
        reading(ESCALATION, availability=Availability.NO_DATA),
        held=HOUR,
        in_force=InForce.UNVERIFIED,
        samples=7,
        sample_ratio=MISMATCH,
        coverage=UNEVEN,
        freeze="xmas",
        baseline=Health.FAILING,
    )

    found = waits(at_step(0, of), sight, of=of)

    assert found == (
        wait(Waiting.IN_FORCE, detail="unverified"),
        wait(Waiting.HOLD_TIME, have=3600, need=72 * 3600),
        wait(Waiting.SAMPLES, have=7, need=500),
        wait(Waiting.SAMPLES, rule="accuracy", intent="refund", have=3, need=500),
        wait(Waiting.UNMEASURED, rule="accuracy", intent="refund", detail="measured"),
        wait(Waiting.UNMEASURED, rule="escalation", detail="no_data"),
        wait(Waiting.SAMPLE_RATIO),
        wait(Waiting.COVERAGE),
        wait(Waiting.PROOF, rule="accuracy", intent="refund"),
        wait(Waiting.APPROVAL),
        wait(Waiting.FREEZE, detail="xmas"),
        wait(Waiting.BASELINE, detail="failing"),
        wait(Waiting.BASELINE, detail="shuts down on 2026-11-26"),
    )


@pytest.mark.parametrize("metric", ["cost_per_hour", "sample_ratio", "coverage"])
def test_accounting_has_no_samples_to_wait_for_and_what_comes_after_it_has(metric):
    cost = replace(ESCALATION, name="cost", metric=CATALOGUE[metric], then=Then.NOTIFY)
    of = plan(rules=(cost, ESCALATION))
    sight = seen(reading(cost, step_samples=0), reading(ESCALATION, step_samples=3))

    found = waits(at_step(0, of), sight, of=of)

    assert [(one.rule, one.have) for one in found] == [("escalation", 3)]


def test_a_rule_without_a_control_is_not_waited_for_and_those_after_it_are():
    of = plan(rules=(ACCURACY, ESCALATION))
    sight = seen(
        reading(ACCURACY, "refund", availability=Availability.NO_CONTROL, step_samples=0),
        reading(ESCALATION, step_samples=3),
    )

    assert [one.rule for one in waits(at_step(0, of), sight, of=of)] == ["escalation"]


def test_a_failed_rule_is_named():
    of = plan(rules=(ACCURACY, replace(ESCALATION, then=Then.NOTIFY)))

    found = waits(at_step(0, of), seen(bad(ESCALATION)), of=of)

    assert found == (wait(Waiting.RULE_FAILED, rule="escalation"),)
    each = replace(ESCALATION, then=Then.NOTIFY, scope=Scope.EACH)
    of = plan(rules=(each,))
    sight = seen(bad(each, "refund"), reading(each, "order-status"))
    assert waits(at_step(0, of), sight, of=of) == (
        wait(Waiting.RULE_FAILED, rule="escalation", intent="refund"),
    )


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (Phase.PAUSED, (wait(Waiting.PAUSED),)),
        (Phase.COMPLETE, ()),
        (Phase.ROLLED_BACK, ()),
        (Phase.RETIRED, ()),
    ],
)
def test_a_rollout_that_stands_waits_for_a_person_or_for_nothing(phase, expected):
    assert waits(at_step(0, phase=phase), seen(held=timedelta(0))) == expected


def test_before_the_first_step_nothing_of_the_candidate_is_waited_for():
    found = waits(started(), seen(held=timedelta(0), samples=0, freeze="xmas"))

    assert found == (wait(Waiting.FREEZE, detail="xmas"),)
    unseen = waits(started(), seen(in_force=InForce.UNVERIFIED))
    assert unseen == (wait(Waiting.IN_FORCE, detail="unverified"),)
    ending = plan(baseline=replace(PLAN.baseline, shutdown=date(2026, 11, 27)))
    assert waits(started(ending), of=ending) == (
        wait(Waiting.BASELINE, detail="shuts down on 2026-11-27"),
    )


def test_the_last_step_and_the_bake_raise_nothing_so_a_freeze_does_not_keep_them():
    frozen = seen(freeze="xmas", baseline=Health.UNKNOWN)

    assert waits(at_step(3), frozen) == ()
    unverified = waits(at_step(3), seen(in_force=InForce.UNVERIFIED))
    assert unverified == (wait(Waiting.IN_FORCE, detail="unverified"),)
    # The step before it does raise the share.
    before = waits(at_step(2, approved=True), seen(freeze="xmas"))
    assert before == (wait(Waiting.FREEZE, detail="xmas"),)
    assert waits(at_step(3, phase=Phase.BAKING), frozen) == ()
    baking = waits(at_step(3, phase=Phase.BAKING), seen(held=DAY, in_force=InForce.UNVERIFIED))
    assert baking == (
        wait(Waiting.IN_FORCE, detail="unverified"),
        wait(Waiting.HOLD_TIME, have=86_400, need=7 * 86_400),
    )
    unread = waits(at_step(3, phase=Phase.BAKING), seen(readings=()))
    assert [(one.waiting, one.rule) for one in unread] == [
        (Waiting.UNMEASURED, "accuracy"),
        (Waiting.UNMEASURED, "escalation"),
    ]


def test_time_that_was_held_before_a_pause_counts():
    assert waits(at_step(0, held=71 * HOUR), seen(held=HOUR)) == ()


# Proof


def proven(*intents: Intent, scope: Scope = Scope.CRITICAL):
    return plan(
        intents=intents,
        rules=(replace(ACCURACY, scope=scope), ESCALATION),
        steps=(replace(STEPS[0], advance=Advance.PROVEN), *STEPS[1:]),
    )


def test_every_critical_intent_must_be_proven_and_only_those():
    of = proven(
        Intent(name="faq"),
        Intent(name="old", critical=True, pinned=True),
        Intent(name="refund", critical=True),
        Intent(name="gone", critical=True),
        Intent(name="billing", critical=True),
    )
    sight = seen(
        reading(ACCURACY, "refund"),
        reading(ACCURACY, "billing", passing=proof(0.0)),
        readings=(
            reading(ACCURACY, "refund"),
            reading(ACCURACY, "billing", passing=proof(0.0)),
            reading(ESCALATION),
        ),
    )

    found = waits(at_step(0, of, pins=("gone",)), sight, of=of)

    assert found == (wait(Waiting.PROOF, rule="accuracy", intent="billing"),)


def test_an_intent_that_no_accuracy_rule_covers_is_named():
    of = replace(proven(Intent(name="refund", critical=True)), rules=(ESCALATION,))

    assert waits(at_step(0, of), of=of) == (
        wait(Waiting.PROOF, intent="refund", detail="no accuracy rule covers it"),
    )


def test_a_proof_of_another_kind_is_none_of_accuracy():
    each = replace(ESCALATION, scope=Scope.EACH, then=Then.PAUSE)
    of = replace(proven(Intent(name="refund", critical=True)), rules=(each,))
    sight = seen(reading(each, "refund"), readings=(reading(each, "refund"),))

    found = waits(at_step(0, of), sight, of=of)

    assert [(one.waiting, one.rule, one.intent) for one in found] == [
        (Waiting.PROOF, None, "refund")
    ]


@pytest.mark.parametrize(
    ("shares", "step", "asked"),
    [
        ((1000, 5000), 0, Advance.CLEAR),  # half of the traffic is not above it
        ((1000, 5001), 0, Advance.PROVEN),
        ((5000, 9000), 1, Advance.CLEAR),  # the last: nothing follows
    ],
)
def test_proof_is_asked_for_where_the_next_share_is_above_half(shares, step, asked):
    of = plan(steps=tuple(Step(share_bp=share) for share in shares), holdback_bp=0)

    assert requirement(of, step) is asked
    plain = replace(of, steps=tuple(replace(one, advance=Advance.CLEAR) for one in of.steps))
    assert requirement(plain, step) is Advance.CLEAR


# The baseline's end


@pytest.mark.parametrize(
    ("step", "day", "retires"),
    [
        # The next step is held for 48 hours: from 25 November, 03:00, to the 27th.
        (0, 27, True),
        (0, 28, False),
        # The last step is followed by the bake of seven days, which ends on 2 December.
        (1, 26, True),  # 24 hours, and no bake yet
        (1, 27, False),
        (2, 32, True),
        (2, 33, False),
        # So is the bake itself.
        (3, 32, True),
        (3, 33, False),
        (-1, 28, True),  # 72 hours
        (-1, 29, False),
    ],
)
def test_a_baseline_must_outlive_the_next_step(step, day, retires):
    ends = date(2026, 11, 1) + timedelta(days=day - 1)
    of = plan(baseline=replace(PLAN.baseline, shutdown=ends))

    assert retires_during_next_step(of, at_step(step, of), LATER) is retires


@pytest.mark.parametrize(("bake", "day", "retires"), [(0, 27, True), (0, 28, False), (7, 34, True)])
def test_the_last_step_is_held_before_it_bakes(bake, day, retires):
    """48 hours at the last share, from 25 November, 03:00, and then the bake: on 27 November, or on 4 December."""
    of = plan(
        steps=(*STEPS[:3], replace(STEPS[3], hold=48 * HOUR)),
        bake=timedelta(days=bake),
        baseline=replace(PLAN.baseline, shutdown=date(2026, 11, 1) + timedelta(days=day - 1)),
    )

    assert retires_during_next_step(of, at_step(2, of), LATER) is retires


def test_a_baseline_without_an_end_is_no_hindrance():
    assert not retires_during_next_step(PLAN, at_step(0), LATER)


# Why it went on


def test_an_advance_is_proven_only_if_every_intent_is():
    each = replace(ACCURACY, scope=Scope.EACH)
    of = plan(rules=(each, ESCALATION))

    def cause(*readings):
        return decide(of, at_step(0, of), seen(*readings), None, LATER).cause

    undecided = reading(each, "order-status", passing=proof(0.0))
    assert cause(reading(each, "order-status")) is Cause.PROVEN
    assert cause(undecided) is Cause.CLEAR
    plain = plan(rules=(ESCALATION,))
    assert decide(plain, at_step(0, plain), seen(), None, LATER).cause is Cause.CLEAR
    assert decide(PLAN, at_step(3, phase=Phase.BAKING), seen(), None, LATER).cause is Cause.BAKED


def test_what_holds_waits_and_records_nothing():
    state = at_step(0)

    held = decide(PLAN, state, seen(samples=3, held=HOUR), None, LATER)

    assert (held.action, held.cause) == (Action.HOLD, Cause.WAITING)
    assert held.state == state
    assert held.held == HOUR
    assert held.notices == ()


def test_what_nobody_looked_at_is_told_by_rule_intent_and_epoch():
    later = Epoch(number=3, start=NOW)
    state = at_step(0, epochs={"accuracy": later})

    found = decide(PLAN, state, seen(readings=()), None, LATER).verdicts

    assert [(one.reading.rule, one.reading.intent, one.reading.epoch) for one in found] == [
        ("accuracy", "refund", 3),
        ("escalation", None, 0),
    ]
    assert {one.reading.availability for one in found} == {Availability.NO_DATA}
    assert {one.outcome for one in found} == {Outcome.UNMEASURED}


def test_a_mismatch_takes_back_what_a_comparison_proved_but_no_failure():
    lost = decide(
        PLAN, at_step(0), seen(bad(ACCURACY, "refund"), sample_ratio=MISMATCH), None, LATER
    )
    kept = decide(PLAN, at_step(0), seen(sample_ratio=MISMATCH), None, LATER)
    none = decide(
        PLAN,
        at_step(0),
        seen(
            reading(ACCURACY, "refund", availability=Availability.NO_CONTROL),
            sample_ratio=MISMATCH,
        ),
        None,
        LATER,
    )

    assert lost.action is Action.PAUSE
    accuracy = kept.verdicts[0]
    assert (accuracy.rule, accuracy.intent, accuracy.outcome) == (
        *("accuracy", "refund"),
        Outcome.UNMEASURED,
    )
    assert accuracy.confident is Outcome.UNMEASURED
    assert accuracy.observed is judge(ACCURACY, reading(ACCURACY, "refund")).observed
    assert accuracy.reading == reading(ACCURACY, "refund")
    assert none.verdicts[0].outcome is Outcome.NOT_APPLICABLE


# What is told once


def test_what_is_told_once_says_which_and_how_loudly():
    deadline = plan(steps=(replace(STEPS[0], deadline=80 * HOUR), *STEPS[1:]))
    mismatch = decide(PLAN, at_step(0), seen(sample_ratio=MISMATCH), None, LATER)
    approval = decide(PLAN, at_step(2), seen(), None, LATER)
    late = decide(deadline, at_step(0, deadline), seen(samples=3), None, NOW + 80 * HOUR)

    told = [
        (one.action, one.cause, one.notices[0].detail, one.notices[0].severity, one.state.told)
        for one in (mismatch, approval, late)
    ]
    assert told == [
        *[(Action.NOTIFY, Cause.MISMATCH, "sample_ratio", Severity.WARNING, ("sample_ratio",))],
        *[(Action.NOTIFY, Cause.WAITING, "approval", Severity.WARNING, ("approval",))],
        *[(Action.NOTIFY, Cause.WAITING, "deadline", Severity.WARNING, ("deadline",))],
    ]


def test_a_deadline_is_past_at_its_moment_and_counts_from_the_steps_begin():
    of = plan(steps=(replace(STEPS[0], deadline=80 * HOUR), *STEPS[1:]))

    def action(at, **changes):
        return decide(of, at_step(0, of, **changes), seen(samples=3), None, at).action

    assert action(NOW + 80 * HOUR - timedelta(seconds=1)) is Action.HOLD
    assert action(NOW + 80 * HOUR) is Action.NOTIFY
    assert action(NOW + 80 * HOUR, step_started_at=NOW + HOUR) is Action.HOLD
    assert action(NOW + 80 * HOUR, phase=Phase.PAUSED) is Action.HOLD


def test_one_thing_is_told_at_a_time_and_what_was_told_is_kept():
    of = plan(steps=(replace(STEPS[0], deadline=80 * HOUR), *STEPS[1:]))
    sight = seen(sample_ratio=MISMATCH)

    first = decide(of, at_step(0, of), sight, None, LATER).state
    second = decide(of, first, sight, None, LATER).state

    assert first.told == ("sample_ratio",)
    assert second.told == ("sample_ratio", "deadline")
    assert decide(of, second, sight, None, LATER).action is Action.HOLD


def test_an_approval_is_asked_for_only_when_it_is_all_that_lacks():
    assert decide(PLAN, at_step(2), seen(samples=50_000, held=HOUR), None, LATER).action is (
        Action.HOLD
    )


def test_a_new_failure_that_only_notifies_is_latched_and_told():
    of = plan(rules=(ACCURACY, replace(ESCALATION, then=Then.NOTIFY)))

    told = decide(of, at_step(0, of), seen(bad(ESCALATION)), None, LATER)

    assert (told.action, told.cause) == (Action.NOTIFY, Cause.RULE)
    (failure,) = told.state.failures
    assert (failure.rule, failure.intent, failure.epoch, failure.at) == (
        *("escalation", None),
        *(0, LATER),
    )
    assert (failure.then, failure.acknowledged, failure.auto_resume) == (Then.NOTIFY, False, False)
    assert told.failures == (failure,)
    assert [one.rule for one in told.notices[0].failures] == ["escalation"]


def test_what_fails_as_a_whole_pauses_as_a_whole_where_its_rule_pins():
    of = plan(rules=(ACCURACY, replace(ESCALATION, then=Then.PIN)))

    decision = decide(of, at_step(0, of), seen(bad(ESCALATION)), None, LATER)

    assert decision.action is Action.PAUSE
    assert [one.then for one in decision.state.failures] == [Then.PAUSE]


# Judging


def test_a_value_on_its_limit_keeps_it_and_one_beyond_does_not():
    def observed(value, *, below=False):
        rule = replace(ESCALATION, below=below)
        return judge(rule, reading(rule, worst=look(value), latest=look(value))).observed

    assert observed(0.02) is Outcome.PASS
    assert observed(0.0201) is Outcome.FAIL
    assert observed(0.02, below=True) is Outcome.PASS
    assert observed(0.0199, below=True) is Outcome.FAIL


@pytest.mark.parametrize(
    ("latest", "outcome"),
    [
        (look(0.01, samples=500), Outcome.PASS),
        (look(0.01, samples=499), Outcome.INSUFFICIENT),
        (look(0.01, complete=False), Outcome.INSUFFICIENT),
        (look(None), Outcome.INSUFFICIENT),
        (None, Outcome.INSUFFICIENT),
    ],
)
def test_only_a_full_look_passes(latest, outcome):
    found = judge(ESCALATION, reading(ESCALATION, latest=latest, worst=None))

    assert found.observed is outcome
    assert found.outcome is outcome


def test_a_loss_that_is_seen_exactly_at_its_limit_does_not_fail_by_a_proof():
    def confident(observed):
        return judge(
            ACCURACY,
            reading(ACCURACY, "refund", failing=proof(9.0, observed=observed), passing=None),
        ).confident

    assert confident(0.015) is Outcome.INSUFFICIENT
    assert confident(0.0151) is Outcome.FAIL
    assert confident(None) is Outcome.INSUFFICIENT


def test_a_pin_latches_its_failure_and_is_told_as_critical():
    of = plan(rules=(replace(ACCURACY, then=Then.PIN, scope=Scope.EACH), ESCALATION))
    sight = seen(bad(of.rules[0], "refund"), reading(of.rules[0], "order-status"))

    pinned = decide(of, at_step(0, of), sight, None, LATER)

    assert (pinned.action, pinned.cause) == (Action.PIN, Cause.RULE)
    assert [(one.rule, one.intent, one.then) for one in pinned.state.failures] == [
        ("accuracy", "refund", Then.PIN)
    ]
    assert pinned.state.pins == ("refund",)
    assert pinned.notices[0].severity is Severity.CRITICAL


def test_a_proof_reaches_its_threshold_at_it():
    found = judge(ACCURACY, reading(ACCURACY, "refund", passing=proof(5.0, needs=5.0)))

    assert found.confident is Outcome.PASS
