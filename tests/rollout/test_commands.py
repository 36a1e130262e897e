"""What each command does and leaves on record, and why it is refused where it makes no sense."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.rollout.commands import (
    AnyCommand,
    Apply,
    Approve,
    PauseNow,
    PinIntent,
    Promote,
    Resume,
    Retire,
    Retry,
    Rollback,
)
from controller.rollout.deciding.decide import decide
from controller.rollout.decision import Action, Decision, Refusal
from controller.rollout.plan import PauseShare, Severity, Then
from controller.rollout.state import Cause, Epoch, Failure, Phase, State
from controller.rollout.verdict import Health, InForce
from tests.rollout.factories import (
    ACCURACY,
    DAY,
    ESCALATION,
    HOUR,
    NOW,
    STEPS,
    at_step,
    bad,
    plan,
    seen,
    started,
)

PLAN = plan()
LATER = NOW + 4 * DAY
ANN: dict[str, Any] = {"actor": "ann", "reason": "looked at it"}
COMPLETE = at_step(3, phase=Phase.COMPLETE)
RETIRED = at_step(3, phase=Phase.RETIRED)
BAKING = at_step(3, phase=Phase.BAKING)


def on(state: State, command: AnyCommand | None, sight=None, *, of=PLAN, now=LATER) -> Decision:
    return decide(of, state, sight if sight is not None else seen(), command, now)


PAUSED = on(at_step(1), PauseNow(**ANN)).state
STOPPED = on(at_step(1), Rollback(**ANN)).state


@pytest.mark.parametrize(
    ("state", "command", "action", "severity", "share", "detail"),
    [
        (at_step(1), PauseNow(**ANN), Action.PAUSE, Severity.INFO, 2500, ""),
        (at_step(1), Rollback(**ANN), Action.ROLLBACK, Severity.CRITICAL, 0, ""),
        (COMPLETE, Rollback(**ANN), Action.ROLLBACK, Severity.CRITICAL, 0, ""),
        (PAUSED, Resume(**ANN), Action.RESUME, Severity.INFO, 2500, ""),
        (at_step(0), Promote(**ANN), Action.ADVANCE, Severity.INFO, 2500, ""),
        (at_step(3), Promote(**ANN), Action.BAKE, Severity.INFO, 9900, ""),
        (BAKING, Promote(**ANN), Action.COMPLETE, Severity.INFO, 9900, ""),
        (at_step(2), Approve(**ANN), Action.APPROVE, Severity.INFO, 5000, ""),
        (STOPPED, Retry(**ANN), Action.RETRY, Severity.INFO, 0, ""),
        (at_step(1), PinIntent(intent="refund", **ANN), Action.PIN, Severity.INFO, 2500, "refund"),
        (COMPLETE, Retire(**ANN), Action.RETIRE, Severity.INFO, 10_000, ""),
        (at_step(1), Apply(plan=plan(alpha=0.01), **ANN), Action.AMEND, Severity.INFO, 2500, ""),
        (RETIRED, Apply(plan=plan(alpha=0.01), **ANN), Action.START, Severity.INFO, 0, ""),
    ],
)
def test_what_a_person_did_is_on_record_with_who_and_why(
    state, command, action, severity, share, detail
):
    decision = on(state, command)

    assert (decision.action, decision.cause) == (action, Cause.COMMAND)
    assert decision.refusal is None
    assert decision.refusal_detail == ""
    assert decision.state.share_bp == share
    assert decision.state.updated_at == LATER
    (notice,) = decision.notices
    assert (notice.key, notice.action, notice.cause) == (action.value, action, Cause.COMMAND)
    assert (notice.severity, notice.at, notice.detail) == (severity, LATER, detail)
    assert (notice.actor, notice.reason) == ("ann", "looked at it")
    assert (notice.share_before_bp, notice.share_after_bp) == (state.share_bp, share)
    assert (notice.failures, notice.waits, notice.lacking) == ((), (), ())


@pytest.mark.parametrize(
    ("state", "command", "refusal", "detail"),
    [
        (PAUSED, PauseNow(**ANN), Refusal.ALREADY_PAUSED, ""),
        (STOPPED, PauseNow(**ANN), Refusal.NOT_RUNNING, ""),
        (COMPLETE, PauseNow(**ANN), Refusal.NOT_RUNNING, ""),
        (STOPPED, Rollback(**ANN), Refusal.NOT_RUNNING, "rolled_back"),
        (RETIRED, Rollback(**ANN), Refusal.NOT_RUNNING, "retired"),
        (at_step(1), Resume(**ANN), Refusal.NOT_PAUSED, "progressing"),
        (PAUSED, Resume(actor="ann"), Refusal.NEEDS_REASON, ""),
        (at_step(1), Promote(override=("spam", "ham"), **ANN), Refusal.UNKNOWN_RULE, "spam, ham"),
        (
            at_step(1),
            Promote(override=("accuracy", "spam"), **ANN),
            Refusal.UNKNOWN_RULE,
            "spam",
        ),
        (at_step(1), Promote(actor="ann", override=("accuracy",)), Refusal.NEEDS_REASON, ""),
        (COMPLETE, Promote(**ANN), Refusal.NOT_RUNNING, "complete"),
        (at_step(0), Approve(**ANN), Refusal.NO_APPROVAL_ASKED, ""),
        (at_step(2, approved=True), Approve(**ANN), Refusal.NO_APPROVAL_ASKED, ""),
        (started(), Approve(**ANN), Refusal.NO_APPROVAL_ASKED, ""),
        (at_step(2, phase=Phase.BAKING), Approve(**ANN), Refusal.NO_APPROVAL_ASKED, ""),
        (at_step(1), Retry(**ANN), Refusal.NOT_ROLLED_BACK, "progressing"),
        (STOPPED, Retry(actor="ann"), Refusal.NEEDS_REASON, ""),
        (STOPPED, PinIntent(intent="refund", **ANN), Refusal.NOT_RUNNING, "rolled_back"),
        (RETIRED, PinIntent(intent="refund", **ANN), Refusal.NOT_RUNNING, "retired"),
        (at_step(1), PinIntent(intent="spam", **ANN), Refusal.UNKNOWN_INTENT, "spam"),
        (at_step(1), PinIntent(intent="legal", **ANN), Refusal.ALREADY_PINNED, "legal"),
        (
            at_step(1, pins=("refund",)),
            PinIntent(intent="refund", **ANN),
            Refusal.ALREADY_PINNED,
            "refund",
        ),
        (at_step(1), Retire(**ANN), Refusal.NOT_COMPLETE, "progressing"),
        (
            STOPPED,
            Apply(plan=plan(alpha=0.01), **ANN),
            Refusal.STOPPED,
            "rolled back: use retry for a new attempt",
        ),
        (
            COMPLETE,
            Apply(plan=plan(alpha=0.01), **ANN),
            Refusal.NOT_RUNNING,
            "complete: retire it first",
        ),
        (at_step(1), Apply(plan=PLAN, **ANN), Refusal.EXISTS, "revision 1"),
        (
            at_step(1),
            Apply(plan=plan(match_model="gpt-4o"), **ANN),
            Refusal.IMMUTABLE,
            "match_model was gpt-4.1, would be gpt-4o",
        ),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_with_its_reason_and_changes_nothing(
    state, command, refusal, detail
):
    decision = on(state, command)

    assert (decision.action, decision.cause) == (Action.REFUSE, Cause.COMMAND)
    assert (decision.refusal, decision.refusal_detail) == (refusal, detail)
    assert decision.state == state
    assert decision.notices == ()


# Pausing and going on


def test_a_pause_keeps_what_it_froze():
    paused = on(at_step(1, held=2 * HOUR), PauseNow(**ANN), seen(held=3 * HOUR))

    frozen = paused.state.paused
    assert frozen is not None
    assert (frozen.since, frozen.deadline, frozen.cause) == (LATER, LATER + DAY, Cause.COMMAND)
    assert (frozen.phase, frozen.share_bp, frozen.held) == (Phase.PROGRESSING, 2500, 5 * HOUR)
    assert paused.notices[0].deadline == LATER + DAY
    assert paused.held == 5 * HOUR
    assert on(paused.state, None, seen(held=HOUR)).held == 5 * HOUR  # the clock stands still


@pytest.mark.parametrize("step", [0, 2])
def test_the_share_before_is_that_of_the_step_before(step):
    of = plan(pause_share=PauseShare.PREVIOUS)

    paused = on(at_step(step, of), PauseNow(**ANN), of=of).state

    assert paused.share_bp == (2500 if step else 0)
    assert paused.version == at_step(step, of).version + 1


def test_a_pause_never_raises_the_share_to_that_of_the_step_before():
    of = plan(pause_share=PauseShare.PREVIOUS)
    capped = at_step(2, of, share_bp=500)

    assert on(capped, PauseNow(**ANN), of=of).state.share_bp == 500


def test_a_resume_starts_the_clock_where_it_stood():
    resumed = on(PAUSED, Resume(**ANN)).state

    assert PAUSED.paused is not None
    assert (resumed.phase, resumed.paused) == (Phase.PROGRESSING, None)
    assert (resumed.hold_from, resumed.held) == (LATER, PAUSED.paused.held)
    assert resumed.version == PAUSED.version  # the share had stayed


def test_a_resume_restarts_each_rule_that_failed_and_no_other():
    of = plan(rules=(ACCURACY, replace(ESCALATION, then=Then.PAUSE)))
    paused = on(at_step(0, of), None, seen(bad(ACCURACY, "refund")), of=of).state

    resumed = on(paused, Resume(**ANN), of=of, now=LATER + HOUR).state

    assert set(resumed.epochs) == {"accuracy"}
    assert (resumed.epochs["accuracy"].number, resumed.epochs["accuracy"].start) == (
        1,
        LATER + HOUR,
    )


def test_what_is_promoted_out_of_a_pause_is_told_from_where_it_stood():
    of = plan(pause_share=PauseShare.ZERO)
    paused = on(at_step(1, of), PauseNow(**ANN), of=of).state

    decision = on(paused, Promote(**ANN), of=of)

    assert (decision.state.phase, decision.state.share_bp) == (Phase.PROGRESSING, 5000)
    (notice,) = decision.notices
    assert (notice.share_before_bp, notice.share_after_bp) == (0, 5000)


def test_an_override_is_of_the_rules_it_names_alone():
    of = plan(rules=(ACCURACY, replace(ESCALATION, then=Then.NOTIFY)))
    sight = seen(bad(ACCURACY, "refund"), bad(ESCALATION))
    paused = on(at_step(0, of), None, sight, of=of).state

    one = on(paused, Promote(override=("accuracy",), **ANN), sight, of=of)
    none = on(paused, Promote(**ANN), sight, of=of)
    both = on(paused, Promote(override=("accuracy", "escalation"), **ANN), sight, of=of)

    assert (one.refusal, one.refusal_detail) == (Refusal.RULE_FAILED, "escalation")
    assert none.refusal_detail == "accuracy, escalation"
    assert both.action is Action.ADVANCE
    assert [one.acknowledged for one in both.state.failures] == [True, True]
    assert set(both.state.epochs) == {"accuracy", "escalation"}


def test_a_failure_that_was_latched_keeps_a_promotion_though_its_rule_is_quiet_again():
    paused = on(at_step(0), None, seen(bad(ACCURACY, "refund"))).state

    assert on(paused, Promote(**ANN)).refusal is Refusal.RULE_FAILED


def test_an_intent_that_was_pinned_for_its_failure_does_not_keep_the_rest():
    failure = Failure(rule="accuracy", intent="refund", epoch=0, at=NOW, then=Then.PIN)
    state = at_step(0, pins=("refund",), failures=(failure,))

    assert on(state, Promote(**ANN)).action is Action.ADVANCE


def test_a_promotion_tells_what_forbids_it():
    assert on(at_step(0), Promote(**ANN), seen(freeze="xmas")).refusal_detail == "xmas"
    failing = on(at_step(0), Promote(**ANN), seen(baseline=Health.FAILING))
    assert failing.refusal_detail == "failing"
    # Nobody has asked the baseline lately: a person may know better.
    assert on(at_step(0), Promote(**ANN), seen(baseline=Health.UNKNOWN)).action is Action.ADVANCE


def test_a_step_begins_with_its_own_clock_approval_and_stratum():
    before = at_step(2, held=HOUR, approved=True, told=("deadline",))

    after = on(before, Promote(**ANN)).state

    assert (after.step, after.approved, after.told) == (3, False, ())
    assert (after.hold_from, after.held) == (LATER, timedelta(0))
    assert (after.step_started_at, after.step_version) == (LATER, after.version)
    assert after.version == before.version + 1


def test_a_step_with_the_same_share_is_a_stratum_of_its_own_all_the_same():
    of = plan(steps=(STEPS[0], replace(STEPS[0]), *STEPS[1:]))
    before = at_step(0, of)

    assert on(before, Promote(**ANN), of=of).state.version == before.version + 1


def test_a_bake_restarts_the_clock_and_a_plan_without_one_is_complete_at_once():
    baking = on(at_step(3, held=HOUR, told=("deadline",)), Promote(**ANN)).state
    hasty = plan(bake=timedelta(0))

    assert (baking.phase, baking.held, baking.hold_from, baking.told) == (
        *(Phase.BAKING, timedelta(0), LATER),
        (),
    )
    done = on(at_step(3, hasty), Promote(**ANN), of=hasty)
    assert (done.action, done.state.phase) == (Action.COMPLETE, Phase.COMPLETE)


def test_pins_are_kept_in_order_and_move_the_split():
    pinned = on(at_step(1, pins=("refund",)), PinIntent(intent="order-status", **ANN)).state

    assert pinned.pins == ("order-status", "refund")
    assert pinned.version == at_step(1).version + 1


# Stops and commands


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (Rollback(**ANN), None),
        (Promote(**ANN), Refusal.SUPERSEDED),
        (PauseNow(**ANN), Refusal.SUPERSEDED),
        (None, None),
    ],
)
def test_a_rollback_in_the_same_tick_answers_whoever_asked_for_it(command, refusal):
    decision = on(at_step(0), command, seen(bad(ESCALATION)))

    assert (decision.action, decision.cause) == (Action.ROLLBACK, Cause.RULE)
    assert decision.refusal is refusal
    assert decision.refusal_detail == ("rollback" if refusal else "")


@pytest.mark.parametrize(
    ("command", "refusal"),
    [(PauseNow(**ANN), None), (Promote(**ANN), Refusal.SUPERSEDED)],
)
def test_a_pause_in_the_same_tick_answers_whoever_asked_for_it(command, refusal):
    decision = on(at_step(0), command, seen(bad(ACCURACY, "refund")))

    assert (decision.action, decision.cause) == (Action.PAUSE, Cause.RULE)
    assert decision.refusal is refusal


def test_a_rollback_that_a_rule_causes_names_nobody():
    (notice,) = on(at_step(0), Promote(**ANN), seen(bad(ESCALATION))).notices

    assert (notice.actor, notice.reason, notice.detail) == ("", "", "")
    assert notice.severity is Severity.CRITICAL
    assert [one.rule for one in notice.failures] == ["escalation"]


def test_a_rollback_ends_a_pause_and_is_always_a_split_of_its_own():
    lowered = plan(pause_share=PauseShare.ZERO)
    paused = on(at_step(1, lowered), PauseNow(**ANN), of=lowered).state

    stopped = on(paused, Rollback(**ANN), of=lowered).state

    assert (stopped.phase, stopped.paused, stopped.share_bp) == (Phase.ROLLED_BACK, None, 0)
    assert stopped.version == paused.version + 1


def test_the_lease_of_a_complete_split_is_told_at_warning():
    expired = seen(in_force=InForce.EXPIRED, expired_at=NOW, expired_fence=3)

    decision = on(COMPLETE, None, expired)

    assert (decision.action, decision.cause) == (Action.EXPIRE, Cause.LEASE)
    assert (decision.state.expired_at, decision.state.expired_fence) == (NOW, 3)
    assert decision.notices[0].severity is Severity.WARNING
    assert on(STOPPED, None, expired).action is Action.HOLD  # nothing of it is in force any more


def test_the_first_step_may_ask_for_approval_too():
    of = plan(steps=(replace(STEPS[0], approval=True), *STEPS[1:]))

    approved = on(at_step(0, of), Approve(**ANN), of=of)
    paused = on(at_step(0, of), PauseNow(**ANN), of=of).state

    assert (approved.action, approved.state.approved) == (Action.APPROVE, True)
    assert on(paused, Approve(**ANN), of=of).action is Action.APPROVE


def test_the_first_advance_is_into_progress():
    state = on(started(), None).state

    assert (state.phase, state.step) == (Phase.PROGRESSING, 0)


def test_an_override_latches_what_fails_in_the_same_tick_and_leaves_other_failures_open():
    pinned = Failure(rule="accuracy", intent="refund", epoch=0, at=NOW, then=Then.PIN)
    of = plan(rules=(ACCURACY, replace(ESCALATION, then=Then.NOTIFY)))
    state = at_step(0, of, pins=("refund",), failures=(pinned,))

    bold = on(state, Promote(override=("escalation",), **ANN), seen(bad(ESCALATION)), of=of)

    assert bold.action is Action.ADVANCE
    assert [(one.rule, one.acknowledged) for one in bold.state.failures] == [
        ("accuracy", False),
        ("escalation", True),
    ]
    assert bold.state.epochs == {"escalation": Epoch(number=1, start=LATER)}


def test_a_rule_that_fails_in_the_same_tick_forbids_a_promotion_though_nothing_was_latched():
    of = plan(rules=(ACCURACY, replace(ESCALATION, then=Then.NOTIFY)))

    decision = on(at_step(0, of), Promote(**ANN), seen(bad(ESCALATION)), of=of)

    assert (decision.refusal, decision.refusal_detail) == (Refusal.RULE_FAILED, "escalation")


def test_an_advance_by_itself_is_told_at_info():
    decision = on(at_step(0), None)

    assert (decision.action, decision.notices[0].severity) == (Action.ADVANCE, Severity.INFO)


def test_what_is_complete_is_judged_no_more():
    for state in (COMPLETE, STOPPED, RETIRED):
        assert on(state, None, seen(bad(ESCALATION))).verdicts == ()
