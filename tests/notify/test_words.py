from __future__ import annotations

from dataclasses import replace

import pytest

from controller.notify.arithmetic import verdict_line
from controller.notify.words import words
from controller.rollout.decision import Action, Wait, Waiting
from controller.rollout.plan import OnLoss, Severity, Then
from controller.rollout.state import Cause
from tests.notify.factories import (
    ACCURACY,
    ESCALATED,
    ESCALATION,
    HOUR,
    LOST_ACCURACY,
    NOW,
    PAUSED,
    PLAN,
    ROLLED_BACK,
    ROLLOUT,
    SLOW,
    look,
    loss,
    notice,
    plan,
    proof,
    stratum,
    verdict,
)


def title(one, *, of=PLAN, rollout=ROLLOUT) -> str:
    return words(one, of, rollout).title


def body(one, *, of=PLAN, rollout=ROLLOUT) -> str:
    return words(one, of, rollout).body


def test_a_rollback_says_what_why_and_what_to_type():
    message = words(ROLLED_BACK, PLAN, ROLLOUT)

    assert message.severity is Severity.CRITICAL
    assert message.title == ("support-bot: ROLLED BACK to gpt-4.1, escalation_rate 2.41% above 2%")
    assert message.body == (
        "2026-11-21 03:15Z: gpt-4.1-mini is switched off and all traffic goes to gpt-4.1. "
        "Until now it had 10%.\n"
        "\n"
        "Why:\n"
        "  rule escalation: escalation_rate 2.41% (95% CI 2.09..2.77, Wilson) above 2% in "
        "2026-11-20 03:14..2026-11-21 03:14Z; 187 of 7,762 candidate requests\n"
        "\n"
        "It stays off. Only a person starts a new attempt, with fresh evidence.\n"
        "\n"
        '  canaryctl retry support-bot --reason "…"  # start a new attempt\n'
        "  canaryctl describe support-bot            # the whole evidence"
    )


def test_a_pause_says_until_when_and_what_happens_then():
    text = body(PAUSED)

    assert "Decide by 2026-11-22 03:15Z, within 24h. If nobody does, it is rolled back." in text
    assert 'canaryctl resume support-bot --reason "…"' in text
    assert 'canaryctl rollback support-bot --reason "…"' in text


def test_a_pause_that_lowers_the_share_says_from_what():
    lowered = notice(Action.PAUSE, Cause.RULE, SLOW, before=2_500, after=0, deadline=NOW + HOUR)

    assert "gpt-4.1-mini gets no traffic now (before: 25%)." in body(lowered)


def test_each_failed_rule_has_its_own_line_and_the_title_counts_them():
    both = notice(Action.PAUSE, Cause.RULE, LOST_ACCURACY, SLOW, deadline=NOW + HOUR)

    assert title(both).endswith("accuracy_delta 3.1 pp on refund above 1.5 pp (and 1 more)")
    assert "\n  rule accuracy: accuracy_delta 3.1 pp" in body(both)
    assert "\n  rule latency: latency_p95_ratio 1.312" in body(both)


def test_a_blind_pause_says_that_nothing_could_be_seen_and_for_how_long():
    blind = notice(Action.PAUSE, Cause.BLIND, deadline=NOW + HOUR)

    assert title(blind) == "support-bot: PAUSED at 10%, quality cannot be measured"
    assert "for more than 30m (maxBlind)" in body(blind)


def test_a_pause_that_nobody_ended_says_so():
    late = notice(Action.ROLLBACK, Cause.PAUSE_DEADLINE, after=0)

    assert title(late).endswith("nobody ended the pause in time")
    assert "nobody ended the pause within 24h" in body(late)


def test_what_a_person_asked_for_carries_the_name_and_the_reason():
    asked = notice(Action.ROLLBACK, after=0, actor="ana", reason="incident 4711")

    assert title(asked).endswith("ROLLED BACK to gpt-4.1, by ana")
    assert "ana asked for it: “incident 4711”" in body(asked)


def test_a_missing_reason_is_named_as_missing():
    assert "ana asked for it: no reason was given" in body(notice(Action.APPROVE, actor="ana"))


def test_a_pin_names_the_intent_by_rule_or_by_command():
    by_rule = notice(Action.PIN, Cause.RULE, LOST_ACCURACY)
    by_hand = notice(Action.PIN, actor="ana", detail="refund")

    for pinned in (by_rule, by_hand):
        assert "PINNED refund to gpt-4.1" in title(pinned)
        assert "gpt-4.1-mini keeps 10% of them" in body(pinned)


def test_a_rule_that_only_notifies_says_that_nothing_moved():
    told = notice(Action.NOTIFY, Cause.RULE, ESCALATED)

    assert title(told) == "support-bot: warning, escalation_rate 2.41% above 2%"
    assert "No traffic was moved" in body(told)


def test_an_approval_says_what_it_permits():
    asked = notice(Action.NOTIFY, Cause.WAITING, before=5_000, after=5_000, detail="approval")

    assert title(asked) == "support-bot: waits for approval to leave 50%"
    assert "it goes on by itself: step 4 of 4, 99%." in body(asked)
    assert 'canaryctl approve support-bot --reason "…"' in body(asked)


def test_a_deadline_says_what_is_missing_with_the_arithmetic():
    unproven = verdict(
        ACCURACY,
        "refund",
        latest=look(
            0.001, loss(stratum((0.962, 4_120), (0.961, 463))), samples=463, span=72 * HOUR
        ),
        passing=proof(3.2, 20, loss(stratum((0.962, 4_120), (0.961, 463)))),
    )
    late = notice(
        Action.NOTIFY,
        Cause.WAITING,
        detail="deadline",
        waits=(
            Wait(waiting=Waiting.SAMPLES, rule="accuracy", intent="refund", have=463, need=500),
            Wait(waiting=Waiting.PROOF, rule="accuracy", intent="refund"),
        ),
        lacking=(unproven,),
    )

    message = words(late, PLAN, ROLLOUT)

    assert message.title == "support-bot: is past the deadline of its step at 10%"
    samples, unproved = message.why
    assert samples == "samples: 463 of 500 for accuracy_delta on refund"
    assert unproved.startswith("proof: accuracy_delta on refund is not proven to keep its limit; ")
    assert verdict_line(unproven, PLAN) in unproved
    assert "nothing is skipped because it is late" in message.body


@pytest.mark.parametrize(
    ("on_loss", "meanwhile"),
    [
        (OnLoss.BASELINE, "Until now all traffic went to gpt-4.1"),
        (OnLoss.HOLD, "The split stayed as it was"),
    ],
)
def test_an_expiry_says_where_the_traffic_was_meanwhile(on_loss, meanwhile):
    expired = notice(Action.EXPIRE, Cause.LEASE)
    text = body(expired, of=plan(on_controller_loss=on_loss))

    assert meanwhile in text
    assert "gpt-4.1-mini gets its 10% back now" in text


def test_an_advance_says_from_where_to_where_and_for_how_long():
    raised = notice(Action.ADVANCE, Cause.CLEAR, before=1_000, after=2_500)

    assert title(raised) == "support-bot: 10% to 25% on gpt-4.1-mini"
    assert "Step 2 of 4, held for at least 48h." in body(raised)


def test_the_first_advance_does_not_speak_of_a_step_before_it():
    first = notice(Action.ADVANCE, Cause.CLEAR, before=0, after=1_000)

    assert "the target has acknowledged the split and the baseline answers" in body(first)


def test_the_last_step_shows_the_share_that_the_holdback_leaves():
    last = notice(Action.ADVANCE, Cause.PROVEN, before=5_000, after=9_900)

    assert "gpt-4.1-mini gets 99% of the traffic (before: 50%)" in body(last)
    assert "every critical intent is proven" in body(last)


def test_a_complete_rollout_says_what_stays_on_the_baseline():
    done = notice(Action.COMPLETE, Cause.BAKED, before=9_900, after=9_900)

    assert "1% stays on gpt-4.1 until it is retired." in body(done)
    assert "canaryctl retire support-bot" in body(done)


def test_what_is_done_to_a_paused_rollout_reminds_of_the_pause():
    amended = notice(Action.AMEND, actor="ana", deadline=NOW + HOUR)

    assert "It is still paused. If nobody ends the pause by 2026-11-21 04:15Z" in body(amended)


def test_a_pause_that_may_end_by_itself_says_so_and_how_it_ended():
    by_itself = plan(rules=(replace(ESCALATION, then=Then.PAUSE, auto_resume=True),))
    paused = notice(Action.PAUSE, Cause.RULE, ESCALATED, deadline=NOW + HOUR)
    resumed = notice(Action.RESUME, Cause.RECOVERED)

    assert "goes on by itself" in body(paused, of=by_itself)
    assert "goes on by itself" not in body(paused)
    assert "`resume: auto` and passes again" in body(resumed, of=by_itself)


def test_a_later_attempt_is_told_by_its_number_and_commanded_by_its_name():
    again = notice(Action.RETRY, before=0, after=0, actor="ana", reason="prompt tuned")

    assert title(again, rollout="support-bot/2").startswith("support-bot (attempt 2): ")
    assert "canaryctl watch support-bot " in body(again, rollout="support-bot/2")


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("action", Action)
def test_every_action_and_cause_has_words(action, cause):
    message = words(notice(action, cause), PLAN, ROLLOUT)

    assert message.title.startswith("support-bot: ")
    assert "\n" not in message.title
    assert message.body.startswith("2026-11-21 03:15Z: ")
    assert message.body.endswith("# the whole evidence")
    assert "\n\n\n" not in message.body
