"""What `decide` concludes, one sentence a case. Precedence, advance, pause, pin, bake."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from controller.rollout.commands import (
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
from controller.rollout.decision import Action, Refusal, Waiting
from controller.rollout.plan import Advance, Intent, PauseShare, Scope, Severity, Then
from controller.rollout.state import Cause, Phase, Reference, shares
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
ANN: dict[str, Any] = {"actor": "ann", "reason": "looked at it"}


def on(state, sight=None, command=None, *, of=PLAN, now=LATER):
    return decide(of, state, sight if sight is not None else seen(), command, now)


def waiting(decision):
    return {wait.waiting for wait in decision.waits}


# Starting and advancing


def test_a_rollout_starts_with_everything_on_the_baseline():
    state = started()

    assert (state.phase, state.step, state.share_bp) == (Phase.PENDING, -1, 0)


def test_the_first_step_needs_a_verified_split_and_a_baseline_that_answers():
    blind = on(started(), seen(in_force=InForce.UNVERIFIED, baseline=Health.UNKNOWN))

    assert blind.action is Action.HOLD
    assert waiting(blind) == {Waiting.IN_FORCE, Waiting.BASELINE}


def test_the_first_step_is_taken_when_both_are_there():
    decision = on(started())

    assert decision.action is Action.ADVANCE
    assert (decision.state.step, decision.state.share_bp) == (0, 1000)
    assert decision.state.version > started().version


@pytest.mark.parametrize(
    ("sight", "reason"),
    [
        (seen(held=timedelta(hours=71)), Waiting.HOLD_TIME),
        (seen(in_force=InForce.EXPIRED), Waiting.IN_FORCE),
        (seen(samples=499), Waiting.SAMPLES),
        (seen(reading(ACCURACY, "refund", step_samples=499)), Waiting.SAMPLES),
        (seen(reading(ESCALATION, availability=Availability.NO_DATA)), Waiting.UNMEASURED),
        (seen(reading(ESCALATION, availability=Availability.NO_TRAFFIC)), Waiting.UNMEASURED),
        (seen(readings=()), Waiting.UNMEASURED),
        (seen(freeze="black friday"), Waiting.FREEZE),
        (seen(baseline=Health.FAILING), Waiting.BASELINE),
        (seen(baseline=Health.UNKNOWN), Waiting.BASELINE),
        (
            seen(
                sample_ratio=SampleRatio(
                    candidate=900, baseline=100, share_bp=1000, log_e=99.0, log_threshold=6.9
                )
            ),
            Waiting.SAMPLE_RATIO,
        ),
        (
            seen(
                coverage=Coverage(
                    baseline_graded=90,
                    baseline_n=100,
                    candidate_graded=10,
                    candidate_n=100,
                    differs=True,
                )
            ),
            Waiting.COVERAGE,
        ),
    ],
)
def test_a_step_is_not_left_while(sight, reason):
    decision = on(at_step(0), sight)

    assert decision.action in (Action.HOLD, Action.NOTIFY)
    assert decision.state.share_bp == 1000
    assert reason in waiting(decision)


def test_a_step_is_left_when_nothing_is_waited_for():
    decision = on(at_step(0))

    assert decision.action is Action.ADVANCE
    assert decision.state.share_bp == 2500
    assert decision.waits == ()


def test_too_little_evidence_alone_does_not_keep_a_step_up_to_half_the_traffic():
    undecided = reading(ACCURACY, "refund", passing=proof(0.0))

    assert on(at_step(1), seen(undecided)).action is Action.ADVANCE


def test_going_above_half_needs_proof_on_every_critical_intent():
    state = at_step(2, approved=True)
    unproven = on(state, seen(reading(ACCURACY, "refund", passing=proof(0.0))))
    proven = on(state)

    assert waiting(unproven) == {Waiting.PROOF}
    assert (proven.action, proven.cause) == (Action.ADVANCE, Cause.PROVEN)


def test_a_critical_intent_that_no_accuracy_rule_covers_is_never_proven():
    of = plan(rules=(ESCALATION,))

    assert waiting(on(at_step(2, of, approved=True), of=of)) == {Waiting.PROOF}


def test_a_step_can_ask_for_proof_sooner():
    of = plan(steps=(replace(STEPS[0], advance=Advance.PROVEN), *STEPS[1:]))
    undecided = seen(reading(ACCURACY, "refund", passing=proof(0.0)))

    assert waiting(on(at_step(0, of), undecided, of=of)) == {Waiting.PROOF}


def test_approval_guards_leaving_the_step_and_is_asked_for_once():
    asked = on(at_step(2))
    again = on(asked.state)

    assert (asked.action, waiting(asked)) == (Action.NOTIFY, {Waiting.APPROVAL})
    assert again.action is Action.HOLD


def test_approval_lets_it_go_on():
    approved = on(at_step(2), None, Approve(**ANN))

    assert approved.action is Action.APPROVE
    assert on(approved.state).action is Action.ADVANCE


def test_a_holdback_stays_with_the_baseline_at_a_hundred_percent():
    assert on(at_step(2, approved=True)).state.share_bp == 9900


def test_the_last_step_leads_into_the_bake_and_the_bake_to_completion():
    baking = on(at_step(3))
    soon = on(baking.state, seen(held=timedelta(days=6)))
    done = on(baking.state, seen(held=timedelta(days=7)))

    assert (baking.action, baking.state.phase) == (Action.BAKE, Phase.BAKING)
    assert (soon.action, waiting(soon)) == (Action.HOLD, {Waiting.HOLD_TIME})
    assert (done.action, done.state.phase) == (Action.COMPLETE, Phase.COMPLETE)
    assert done.state.share_bp == 9900


def test_a_baseline_that_retires_during_the_next_step_blocks_the_raise():
    of = plan(baseline=replace(PLAN.baseline, shutdown=date(2026, 11, 26)))

    assert waiting(on(at_step(0, of), of=of)) == {Waiting.BASELINE}


def test_the_deadline_of_a_step_is_told_once():
    of = plan(steps=(replace(STEPS[0], deadline=timedelta(hours=80)), *STEPS[1:]))
    sight = seen(reading(ACCURACY, "refund", step_samples=3))
    late = on(at_step(0, of), sight, of=of)

    assert late.action is Action.NOTIFY
    assert on(late.state, sight, of=of).action is Action.HOLD
    (told,) = late.notices
    assert told.waits == late.waits
    assert [(one.waiting, one.have, one.need) for one in told.waits] == [(Waiting.SAMPLES, 3, 500)]
    assert [(one.rule, one.intent) for one in told.lacking] == [("accuracy", "refund")]


def test_other_notices_do_not_list_what_is_missing():
    asked = on(at_step(2), seen())

    assert asked.action is Action.NOTIFY
    assert (asked.notices[0].detail, asked.notices[0].waits) == ("approval", ())


# Stops


def test_a_proven_loss_pauses_with_a_deadline():
    decision = on(at_step(0), seen(bad(ACCURACY, "refund")))

    assert (decision.action, decision.cause) == (Action.PAUSE, Cause.RULE)
    assert decision.state.share_bp == 1000
    assert decision.state.paused is not None
    assert decision.state.paused.deadline == LATER + DAY
    assert decision.notices[0].failures[0].outcome is Outcome.FAIL


def test_a_proven_loss_under_the_limit_does_not_pause():
    small = reading(ACCURACY, "refund", failing=proof(9.0, observed=0.010))

    assert on(at_step(0), seen(small)).action is not Action.PAUSE


def test_escalation_over_a_complete_window_rolls_back():
    observed = reading(ESCALATION, latest=look(0.019), worst=look(0.0241))
    decision = on(at_step(0), seen(observed))

    assert (decision.action, decision.state.share_bp) == (Action.ROLLBACK, 0)
    assert decision.state.phase is Phase.ROLLED_BACK


def test_exactly_the_limit_is_not_above_it():
    assert on(at_step(0), seen(reading(ESCALATION, worst=look(0.02)))).action is Action.ADVANCE


def test_rollback_comes_before_pause():
    decision = on(at_step(0), seen(bad(ACCURACY, "refund"), bad(ESCALATION)))

    assert decision.action is Action.ROLLBACK
    assert len(decision.state.failures) == 2


@pytest.mark.parametrize(
    "state",
    [
        at_step(0),
        at_step(2),
        at_step(3, phase=Phase.BAKING),
        on(at_step(1), None, PauseNow(**ANN)).state,
    ],
    ids=["holding", "awaiting approval", "baking", "paused"],
)
def test_rules_are_judged_in_every_state_that_can_change(state):
    assert on(state, seen(bad(ESCALATION), freeze="frozen"), now=NOW).action is Action.ROLLBACK


def test_a_rollback_is_sticky():
    stopped = on(at_step(0), seen(bad(ESCALATION))).state

    for sight in (seen(), seen(bad(ESCALATION))):
        assert on(stopped, sight).action is Action.HOLD
    for command in (
        Promote(**ANN),
        Resume(**ANN),
        Approve(**ANN),
        PauseNow(**ANN),
        Apply(plan=plan(alpha=0.01), **ANN),
    ):
        refused = on(stopped, None, command)
        assert (refused.action, refused.state) == (Action.REFUSE, stopped)


def test_retry_is_a_new_attempt_with_fresh_evidence():
    stopped = on(at_step(0), seen(bad(ESCALATION))).state
    again = on(stopped, None, Retry(**ANN)).state

    assert (again.attempt, again.phase, again.share_bp) == (2, Phase.PENDING, 0)
    assert again.rollout == "support-bot/2"
    assert again.salt != stopped.salt
    assert again.failures == ()


def test_a_pause_that_nobody_ends_becomes_a_rollback():
    paused = on(at_step(0), None, PauseNow(**ANN)).state

    assert on(paused, now=LATER + DAY - HOUR).action is Action.HOLD
    late = on(paused, now=LATER + DAY)
    assert (late.action, late.cause) == (Action.ROLLBACK, Cause.PAUSE_DEADLINE)


def test_resume_acknowledges_the_failure_and_starts_a_new_epoch_for_its_rule_alone():
    paused = on(at_step(0), seen(bad(ACCURACY, "refund"), held=HOUR)).state
    resumed = on(paused, seen(bad(ACCURACY, "refund")), Resume(**ANN)).state

    assert (resumed.phase, resumed.share_bp, resumed.held) == (Phase.PROGRESSING, 1000, HOUR)
    assert resumed.epochs["accuracy"].number == 1
    assert "escalation" not in resumed.epochs
    assert [one.acknowledged for one in resumed.failures] == [True]


def test_a_resume_needs_a_reason():
    paused = on(at_step(0), None, PauseNow(**ANN)).state

    assert on(paused, None, Resume(actor="ann")).refusal is Refusal.NEEDS_REASON


def test_the_same_failure_in_a_new_epoch_pauses_again():
    paused = on(at_step(0), seen(bad(ACCURACY, "refund"))).state
    resumed = on(paused, None, Resume(**ANN)).state

    old = on(resumed, seen(bad(ACCURACY, "refund", epoch=0)))
    new = on(resumed, seen(bad(ACCURACY, "refund", epoch=1)))

    assert old.action is not Action.PAUSE
    assert new.action is Action.PAUSE


@pytest.mark.parametrize(
    ("policy", "share"),
    [(PauseShare.HOLD, 2500), (PauseShare.PREVIOUS, 1000), (PauseShare.ZERO, 0)],
)
def test_a_pause_freezes_the_share_as_the_plan_says_and_resume_restores_it(policy, share):
    of = plan(pause_share=policy)
    paused = on(at_step(1, of), None, PauseNow(**ANN), of=of).state
    resumed = on(paused, None, Resume(**ANN), of=of).state

    assert paused.share_bp == share
    assert resumed.share_bp == 2500
    assert (paused.version != at_step(1).version) is (share != 2500)


def test_a_second_failure_while_paused_is_latched_and_told_without_a_new_deadline():
    of = plan(rules=(ACCURACY, replace(ESCALATION, then=Then.PAUSE)))
    paused = on(at_step(0, of), seen(bad(ACCURACY, "refund")), of=of).state
    more = on(paused, seen(bad(ACCURACY, "refund"), bad(ESCALATION)), of=of, now=LATER + HOUR)

    assert more.action is Action.PAUSE
    assert more.state.paused == paused.paused
    assert len(more.notices[0].failures) == 1


def test_being_blind_for_too_long_pauses():
    dark = reading(
        ACCURACY, "refund", availability=Availability.NO_DATA, blind=timedelta(minutes=31)
    )
    dusk = replace(dark, blind=timedelta(minutes=30))

    assert on(at_step(0), seen(dark)).cause is Cause.BLIND
    assert on(at_step(0), seen(dusk)).action is Action.HOLD


def test_a_failing_intent_is_pinned_and_the_rest_goes_on():
    of = plan(rules=(replace(ACCURACY, then=Then.PIN, scope=Scope.EACH), ESCALATION))
    sight = seen(bad(ACCURACY, "refund"), reading(ACCURACY, "order-status"))
    pinned = on(at_step(0, of), sight, of=of)

    assert pinned.action is Action.PIN
    assert shares(of, pinned.state) == {"refund": 0, "order-status": 1000, "legal": 0}
    assert on(pinned.state, sight, of=of).action is Action.ADVANCE


def test_a_mismatched_sample_ratio_is_told_and_takes_back_a_pass():
    ratio = SampleRatio(candidate=900, baseline=100, share_bp=1000, log_e=99.0, log_threshold=6.9)
    decision = on(at_step(0), seen(sample_ratio=ratio))

    assert (decision.action, decision.cause) == (Action.NOTIFY, Cause.MISMATCH)
    assert [one.outcome for one in decision.verdicts] == [Outcome.UNMEASURED, Outcome.PASS]


def test_an_expired_lease_is_recorded_and_told_once():
    told = on(at_step(0), seen(in_force=InForce.EXPIRED, expired_at=NOW))

    assert told.action is Action.EXPIRE
    assert told.state.share_bp == 1000
    assert on(told.state, seen(in_force=InForce.EXPIRED, expired_at=NOW)).action is Action.HOLD


def test_an_advisory_rule_is_told_once_and_blocks_while_it_fails():
    of = plan(rules=(ACCURACY, replace(ESCALATION, then=Then.NOTIFY)))
    told = on(at_step(0, of), seen(bad(ESCALATION)), of=of)
    still = on(told.state, seen(bad(ESCALATION)), of=of)

    assert told.action is Action.NOTIFY
    assert (still.action, waiting(still)) == (Action.HOLD, {Waiting.RULE_FAILED})
    assert on(told.state, of=of).action is Action.ADVANCE


# Commands


def test_a_stop_overtakes_a_command_and_says_so():
    decision = on(at_step(0), seen(bad(ESCALATION)), Promote(**ANN))

    assert (decision.action, decision.refusal) == (Action.ROLLBACK, Refusal.SUPERSEDED)


def test_promote_skips_time_samples_and_proof():
    bare = seen(held=timedelta(0), samples=0, in_force=InForce.UNVERIFIED)

    assert on(at_step(2), bare, Promote(**ANN)).state.share_bp == 9900


def test_promote_never_skips_a_failure_unless_its_rule_is_overridden():
    paused = on(at_step(0), seen(bad(ACCURACY, "refund"))).state
    sight = seen(bad(ACCURACY, "refund"))

    plain = on(paused, sight, Promote(**ANN))
    mute = on(paused, sight, Promote(actor="ann", override=("accuracy",)))
    bold = on(paused, sight, Promote(override=("accuracy",), **ANN))

    assert plain.refusal is Refusal.RULE_FAILED
    assert mute.refusal is Refusal.NEEDS_REASON
    assert (bold.action, bold.state.share_bp) == (Action.ADVANCE, 2500)
    assert bold.state.epochs["accuracy"].number == 1


@pytest.mark.parametrize(
    ("sight", "refusal"),
    [(seen(freeze="xmas"), Refusal.FROZEN), (seen(baseline=Health.FAILING), Refusal.BASELINE)],
)
def test_promote_is_refused_in_a_freeze_and_without_a_baseline(sight, refusal):
    assert on(at_step(0), sight, Promote(**ANN)).refusal is refusal


def test_rollback_works_in_a_freeze_when_paused_and_after_completion():
    paused = on(at_step(1), None, PauseNow(**ANN)).state
    complete = at_step(3, phase=Phase.COMPLETE)

    for state in (paused, complete):
        assert on(state, seen(freeze="xmas"), Rollback(**ANN)).state.phase is Phase.ROLLED_BACK


def test_a_complete_rollout_is_retired_once_and_its_holdback_ends():
    retired = on(at_step(3, phase=Phase.COMPLETE), None, Retire(**ANN))

    assert (retired.state.phase, retired.state.share_bp) == (Phase.RETIRED, 10_000)
    assert shares(PLAN, retired.state)["legal"] == 0
    assert on(retired.state, None, Retire(**ANN)).refusal is Refusal.NOT_COMPLETE


def test_a_command_on_a_complete_rollout_is_not_lost_behind_an_expired_lease():
    expired = seen(in_force=InForce.EXPIRED, expired_at=NOW)
    complete = at_step(3, phase=Phase.COMPLETE)

    assert on(complete, expired, Retire(**ANN)).action is Action.RETIRE
    assert on(complete, expired).action is Action.EXPIRE


def test_an_intent_is_pinned_by_command_once():
    pinned = on(at_step(0), None, PinIntent(intent="refund", **ANN))

    assert shares(PLAN, pinned.state)["refund"] == 0
    assert (
        on(pinned.state, None, PinIntent(intent="refund", **ANN)).refusal is Refusal.ALREADY_PINNED
    )
    assert (
        on(at_step(0), None, PinIntent(intent="refunds", **ANN)).refusal is Refusal.UNKNOWN_INTENT
    )


# Revisions


def test_a_new_revision_keeps_salt_share_and_pause_and_renews_the_changed_rules():
    paused = on(at_step(1), seen(bad(ACCURACY, "refund"))).state
    stricter = plan(rules=(ACCURACY, replace(ESCALATION, limit=0.01)))
    amended = on(paused, None, Apply(plan=stricter, **ANN))

    assert amended.action is Action.AMEND
    assert (amended.state.salt, amended.state.share_bp) == (paused.salt, 2500)
    assert (amended.state.paused, amended.state.phase) == (paused.paused, Phase.PAUSED)
    assert amended.state.epochs["escalation"].number == 1
    assert "accuracy" not in amended.state.epochs
    assert amended.state.revision == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"candidate": replace(PLAN.candidate, model="gpt-4.1-nano")},
        {"match_model": "gpt-4o"},
        {"steps": STEPS[:1]},
        {"intents": (*PLAN.intents, Intent(name="new"))},
        {"intents": (PLAN.intents[0], PLAN.intents[1], Intent(name="legal"))},
    ],
    ids=["candidate", "match", "steps", "a new intent", "an unpinned intent"],
)
def test_what_would_move_traffic_without_a_step_cannot_be_amended(changes):
    assert on(at_step(1), None, Apply(plan=plan(**changes), **ANN)).refusal is Refusal.IMMUTABLE


def test_the_sampled_part_of_labels_cannot_be_amended():
    sampled = plan(labels=replace(PLAN.labels, sampled_u=300_000))

    refused = on(at_step(1), None, Apply(plan=sampled, **ANN))

    assert refused.refusal is Refusal.IMMUTABLE
    assert refused.refusal_detail == (
        "labels.sampled was 100%, would be 30%: answers are counted by it already"
    )


def test_a_larger_holdback_lowers_the_share_and_never_raises_it():
    wide = plan(holdback_bp=6000)

    assert on(at_step(2), None, Apply(plan=wide, **ANN)).state.share_bp == 4000
    assert on(at_step(0), None, Apply(plan=wide, **ANN)).state.share_bp == 1000


def test_other_bets_start_a_new_epoch_for_every_rule_that_they_judge():
    def renewed(**changes):
        amended = on(at_step(1), None, Apply(plan=plan(**changes), **ANN))
        return set(amended.state.epochs)

    assert renewed(priors=replace(PLAN.priors, accuracy=0.9)) == {"accuracy"}
    assert renewed(alpha=0.1) == {"accuracy", "escalation"}
    assert renewed(alpha=0.01) == set()
    assert renewed(bake=timedelta(days=9)) == {"accuracy", "escalation"}
    assert renewed(labels=replace(PLAN.labels, delay=HOUR)) == {"accuracy"}
    assert renewed(max_blind=HOUR) == set()
    assert renewed(rules=(ACCURACY, replace(ESCALATION, min_window=HOUR))) == {"escalation"}


def test_a_larger_part_of_alpha_starts_a_new_epoch_for_whichever_rule_gets_it():
    def renewed(before, after):
        old, new = (
            plan(rules=(replace(ACCURACY, alpha=alpha), ESCALATION)) for alpha in (before, after)
        )
        return set(on(at_step(1, old), None, Apply(plan=new, **ANN), of=old).state.epochs)

    # Without a part of its own accuracy has half of 5%; escalation has what is left.
    assert renewed(None, 0.03) == {"accuracy"}
    assert renewed(None, 0.02) == {"escalation"}
    assert renewed(None, 0.025) == set()
    assert renewed(0.03, 0.01) == {"escalation"}


def test_the_same_plan_again_changes_nothing():
    assert on(at_step(0), None, Apply(plan=plan(), **ANN)).refusal is Refusal.EXISTS


def test_time_does_not_go_back_behind_the_last_record():
    state = at_step(0, updated_at=LATER + DAY)

    assert on(state).state.updated_at == LATER + DAY


# How loudly it is told


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((None, None), Severity.CRITICAL),
        ((Severity.WARNING, None), Severity.CRITICAL),
        ((Severity.INFO, Severity.WARNING), Severity.WARNING),
    ],
)
def test_a_notice_is_as_loud_as_the_loudest_rule_behind_it_asks(asked, told):
    rules = tuple(
        replace(one, severity=severity, then=Then.PAUSE)
        for one, severity in zip((ACCURACY, ESCALATION), asked, strict=True)
    )
    of = plan(rules=rules)
    sight = seen(bad(rules[0], "refund"), bad(rules[1]))

    decision = on(at_step(0, of), sight, of=of)

    assert decision.action is Action.PAUSE
    assert [one.severity for one in decision.notices] == [told]


def test_a_rule_that_only_notifies_is_a_warning_unless_it_says_otherwise():
    quiet = replace(ESCALATION, then=Then.NOTIFY)
    loud = replace(quiet, severity=Severity.CRITICAL)

    told = [
        on(at_step(0, of), seen(bad(of.rules[0])), of=of).notices[0].severity
        for of in (plan(rules=(quiet,)), plan(rules=(loud,)))
    ]

    assert told == [Severity.WARNING, Severity.CRITICAL]


def test_what_a_person_asks_for_is_told_as_usual_whatever_rules_say():
    of = plan(rules=(replace(ESCALATION, severity=Severity.INFO),))

    decision = on(at_step(0, of), None, Rollback(**ANN), of=of)

    assert decision.notices[0].severity is Severity.CRITICAL


def test_a_change_of_how_loudly_a_rule_is_told_keeps_its_evidence():
    running = at_step(1)
    louder = plan(rules=tuple(replace(one, severity=Severity.INFO) for one in PLAN.rules))

    amended = on(running, None, Apply(plan=louder, **ANN))

    assert amended.action is Action.AMEND
    assert amended.state.epochs == running.epochs


def test_an_expiry_under_a_later_fence_is_recorded_though_its_leaders_clock_is_behind():
    first = on(at_step(0), seen(in_force=InForce.EXPIRED, expired_at=NOW, expired_fence=1))
    behind = NOW - timedelta(minutes=10)

    again = on(first.state, seen(in_force=InForce.EXPIRED, expired_at=NOW, expired_fence=1))
    later = on(first.state, seen(in_force=InForce.EXPIRED, expired_at=behind, expired_fence=2))
    once = on(later.state, seen(in_force=InForce.EXPIRED, expired_at=NOW, expired_fence=1))

    assert [one.action for one in (first, again, later, once)] == [
        *(Action.EXPIRE, Action.HOLD, Action.EXPIRE, Action.HOLD)
    ]


FROZEN = {"latency_p95_ratio": (Reference(bucket=35, since=NOW),)}


@pytest.mark.parametrize("step", [0, 1])
def test_a_percentile_that_is_known_within_a_step_is_frozen_and_told_to_nobody(step):
    known = replace(seen(), held=timedelta(0), references={"latency_p95_ratio": 35})

    measured = decide(plan(), at_step(step), known, None, NOW)

    assert (measured.action, measured.cause, measured.notices) == (
        Action.MEASURE,
        Cause.WAITING,
        (),
    )
    assert measured.state.references == FROZEN
    assert measured.state.share_bp == at_step(step).share_bp
    # It stands while the step lasts.
    held = replace(known, references={"latency_p95_ratio": 40})
    again = decide(plan(), measured.state, held, None, NOW + DAY)
    assert (again.action, again.state.references) == (Action.HOLD, FROZEN)


def test_before_the_first_step_there_is_nothing_to_hold_against_a_percentile():
    known = replace(seen(), in_force=InForce.UNVERIFIED, references={"latency_p95_ratio": 35})

    assert decide(plan(), started(), known, None, NOW).action is Action.HOLD


def test_a_step_goes_by_the_percentile_that_is_known_when_it_begins():
    later = NOW + 5 * DAY
    go = replace(seen(), held=4 * DAY, references={"latency_p95_ratio": 40})

    stepped = decide(plan(), at_step(0, references=FROZEN), go, None, later)

    assert stepped.action is Action.ADVANCE
    assert stepped.state.references == {
        "latency_p95_ratio": (
            *FROZEN["latency_p95_ratio"],
            Reference(bucket=40, since=later),
        )
    }
