"""New revisions and new starts: what an amendment leaves as it was, and what begins anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.rollout.commands import Apply, PauseNow, Resume, Retry
from controller.rollout.deciding.amend import judged_anew
from controller.rollout.deciding.decide import start
from controller.rollout.decision import Action, Refusal
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import Intent, Judge, PauseShare, Priors, Severity, Then
from controller.rollout.state import Cause, Phase
from tests.rollout.factories import (
    ACCURACY,
    ESCALATION,
    HOUR,
    NOW,
    STEPS,
    at_step,
    plan,
)
from tests.rollout.test_commands import ANN, LATER, PLAN, RETIRED, STOPPED, on


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"name": "other"}, "name was support-bot, would be other"),
        ({"target": "istio"}, "target was gateway, would be istio"),
        (
            {"baseline": replace(PLAN.baseline, model="gpt-4o")},
            "baseline was gpt-4.1, would be gpt-4o",
        ),
        (
            {"candidate": replace(PLAN.candidate, model="gpt-5")},
            "candidate was gpt-4.1-mini, would be gpt-5",
        ),
        (
            {"intents": (*PLAN.intents, Intent(name="b"), Intent(name="a"))},
            "intents a, b would get candidate traffic without a step",
        ),
        ({"steps": STEPS[:1]}, "the rollout stands at step 2, the new plan has 1"),
    ],
)
def test_what_cannot_be_amended_says_what_it_was_and_would_be(changes, detail):
    decision = on(at_step(1), Apply(plan=plan(**changes), **ANN))

    assert (decision.refusal, decision.refusal_detail) == (Refusal.IMMUTABLE, detail)


def test_an_amended_plan_is_a_revision_in_force_from_now_for_the_rules_it_changes():
    amended = plan(rules=(replace(ACCURACY, limit=0.02), ESCALATION))

    state = on(at_step(1), Apply(plan=amended, **ANN)).state

    assert (state.plan_digest, state.revision) == (amended.digest, 2)
    assert (state.epochs["accuracy"].number, state.epochs["accuracy"].start) == (1, LATER)
    again = on(state, Apply(plan=plan(), **ANN), of=amended, now=LATER + HOUR).state
    assert (again.epochs["accuracy"].number, again.revision) == (2, 3)


def test_a_rule_that_is_new_begins_at_the_amendment():
    state = on(at_step(1), Apply(plan=plan(rules=(ACCURACY,)), **ANN)).state
    back = on(state, Apply(plan=PLAN, **ANN), of=plan(rules=(ACCURACY,)), now=LATER + HOUR).state

    assert back.epochs["escalation"].number == 1
    assert back.epochs["escalation"].start == LATER + HOUR


def test_a_split_that_does_not_change_keeps_its_version_and_one_that_does_gets_a_new_one():
    running = at_step(1)

    def version(**changes) -> int:
        return on(running, Apply(plan=plan(**changes), **ANN)).state.version

    assert version(alpha=0.01) == running.version
    assert version(holdback_bp=9000) == running.version + 1
    pinned = (Intent(name="refund", critical=True), Intent(name="order-status", pinned=True))
    assert version(intents=(*pinned, PLAN.intents[2])) == running.version + 1


def test_a_larger_holdback_caps_what_a_pause_will_go_back_to():
    lowered = plan(pause_share=PauseShare.ZERO)
    paused = on(at_step(1, lowered), PauseNow(**ANN), of=lowered).state
    wide = plan(pause_share=PauseShare.ZERO, holdback_bp=9000)

    amended = on(paused, Apply(plan=wide, **ANN), of=lowered).state
    resumed = on(amended, Resume(**ANN), of=wide).state

    assert paused.paused is not None
    assert amended.paused == replace(paused.paused, share_bp=1000)
    assert resumed.share_bp == 1000


# Starting anew


def test_a_rollout_that_starts_says_so_at_info():
    decision = start(Apply(plan=PLAN, **ANN), NOW)

    (notice,) = decision.notices
    assert (decision.action, decision.cause) == (Action.START, Cause.COMMAND)
    assert (notice.key, notice.action, notice.cause) == ("start", Action.START, Cause.COMMAND)
    assert (notice.severity, notice.at) == (Severity.INFO, NOW)
    assert (notice.share_before_bp, notice.share_after_bp) == (0, 0)
    assert (notice.actor, notice.reason) == ("ann", "looked at it")
    assert (decision.state.attempt, decision.state.revision) == (1, 1)
    assert (decision.state.name, decision.state.rollout) == ("support-bot", "support-bot/1")
    assert decision.state.plan_digest == PLAN.digest
    moments = (
        decision.state.started_at,
        decision.state.step_started_at,
        decision.state.hold_from,
        decision.state.updated_at,
    )
    assert moments == (NOW, NOW, NOW, NOW)
    assert (decision.state.version, decision.state.step_version) == (1, 1)
    assert start(Apply(plan=PLAN, **ANN), NOW, attempt=7).state.rollout == "support-bot/7"


def test_each_start_assigns_by_a_salt_of_its_own():
    salts = {
        start(Apply(plan=of, **ANN), at, attempt=attempt).state.salt
        for of, at, attempt in (
            (PLAN, NOW, 1),
            (PLAN, NOW, 2),
            (PLAN, LATER, 1),
            (plan(alpha=0.01), NOW, 1),
        )
    }

    assert len(salts) == 4
    assert {len(salt) for salt in salts} == {16}


def test_a_retired_rollout_is_followed_by_one_of_the_plan_that_is_applied():
    fresh = plan(alpha=0.01)

    state = on(RETIRED, Apply(plan=fresh, **ANN)).state

    assert (state.attempt, state.phase, state.step) == (2, Phase.PENDING, -1)
    assert state.plan_digest == fresh.digest
    assert state.started_at == LATER


def test_a_retry_goes_by_the_plan_as_it_is_on_record():
    # The digest of an older release may differ from today's for the same plan.
    stopped = replace(STOPPED, plan_digest="as it was recorded")

    assert on(stopped, Retry(**ANN)).state.plan_digest == "as it was recorded"


def test_another_first_share_is_another_size_of_blocks_and_so_other_bets():
    def renewed(*shares):
        steps = tuple(
            replace(one, share_bp=share) for one, share in zip(STEPS, shares, strict=True)
        )
        return set(on(at_step(1), Apply(plan=plan(steps=steps), **ANN)).state.epochs)

    assert renewed(500, 2500, 5000, 10_000) == {"accuracy"}
    assert renewed(1000, 2000, 5000, 10_000) == set()


RIGHT = replace(
    ESCALATION, name="right", metric=CATALOGUE["accuracy"], limit=0.9, below=True, then=Then.PAUSE
)
COST = replace(
    ESCALATION, name="cost", metric=CATALOGUE["cost_per_correct"], limit=0.002, then=Then.PAUSE
)
EVERY = plan(rules=(ACCURACY, ESCALATION, RIGHT, COST))


@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        (
            {"labels": replace(EVERY.labels, judge=Judge(sensitivity=0.9, specificity=0.9))},
            ("accuracy", "right", "cost"),
        ),
        ({"priors": Priors(accuracy=0.8)}, ("accuracy", "cost")),
        ({"priors": Priors(discordance=0.1)}, ("accuracy",)),
        ({"bake": EVERY.bake + HOUR}, ("accuracy", "escalation", "right", "cost")),
        ({"labels": replace(EVERY.labels, delay=HOUR)}, ("accuracy", "right", "cost")),
        ({"max_blind": HOUR}, ()),
        # A rule that changes itself is not among those that others' changes begin anew.
        ({"rules": (replace(ACCURACY, limit=0.03), *EVERY.rules[1:])}, ()),
        ({"rules": (*EVERY.rules, replace(RIGHT, name="more"))}, ()),
    ],
    ids=["judge", "accuracy", "discordance", "horizon", "delay", "blind", "itself", "one more"],
)
def test_a_rule_begins_anew_where_what_it_is_proven_on_changes(changes, anew):
    amended = replace(EVERY, **changes)

    assert judged_anew(EVERY, amended) == anew
    epochs = on(at_step(1, EVERY), Apply(plan=amended, **ANN), of=EVERY).state.epochs
    changed = {rule.name for rule in amended.rules if EVERY.rule(rule.name) != rule}
    assert {name for name, epoch in epochs.items() if epoch.start == LATER} == {*anew, *changed}
