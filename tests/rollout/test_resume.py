"""A pause that ends by itself: only where every rule behind it says so, and each passes again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.rollout.commands import PauseNow
from controller.rollout.deciding.amend import amend
from controller.rollout.deciding.decide import decide
from controller.rollout.decision import Action
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import PauseShare, Rule, Severity, Then
from controller.rollout.state import Cause, Epoch, Phase, State
from controller.rollout.verdict import Availability, Health, InForce
from tests.rollout.factories import HOUR, NOW, at_step, bad, look, plan, reading, seen

LATENCY = Rule(
    name="latency",
    metric=CATALOGUE["latency_p95"],
    limit=4.0,
    window=HOUR,
    then=Then.PAUSE,
    auto_resume=True,
)
ERRORS = replace(LATENCY, name="errors", metric=CATALOGUE["error_rate"], limit=0.05)
PLAN = plan(rules=(LATENCY, ERRORS))
MANUAL = plan(rules=(LATENCY, replace(ERRORS, auto_resume=False)))


def quiet(rule: Rule, **changes):
    return reading(rule, failing=None, passing=None, **changes)


def loud(rule: Rule):
    return replace(bad(rule), failing=None, passing=None)


def paused(*failing: Rule, of=PLAN, at=NOW + HOUR) -> State:
    """Paused by these rules, an hour into the first step."""
    sight = seen(*(loud(one) if one in failing else quiet(one) for one in of.rules))
    decision = decide(of, at_step(0, of), sight, None, at)
    assert decision.action is Action.PAUSE
    return decision.state


def later(state: State, sight, of=PLAN, at=NOW + 2 * HOUR):
    return decide(of, state, sight, None, at)


def test_it_ends_once_the_rule_passes_again():
    state = paused(LATENCY)

    decision = later(state, seen(quiet(LATENCY), quiet(ERRORS)))

    assert (decision.action, decision.cause) == (Action.RESUME, Cause.RECOVERED)
    assert decision.state.phase is Phase.PROGRESSING
    assert decision.state.share_bp == 1000
    assert state.paused is not None
    assert decision.state.held == state.paused.held
    assert not decision.state.open_failures
    (failure,) = decision.state.failures
    assert failure.acknowledged
    # It starts on fresh evidence; the other rule keeps its own.
    assert decision.state.epoch("latency").number == 1
    assert decision.state.epoch("errors").number == 0


def test_the_share_that_the_pause_lowered_comes_back():
    of = replace(PLAN, pause_share=PauseShare.PREVIOUS)
    sight = seen(loud(LATENCY), quiet(ERRORS))
    state = decide(of, at_step(1, of), sight, None, NOW + HOUR).state
    assert state.share_bp == 1000

    decision = later(state, seen(quiet(LATENCY), quiet(ERRORS)), of)

    assert decision.state.share_bp == 2500
    assert decision.state.version == state.version + 1


@pytest.mark.parametrize(
    "sight",
    [
        seen(loud(LATENCY), quiet(ERRORS)),
        seen(quiet(LATENCY, latest=look(1.0, complete=False), worst=None), quiet(ERRORS)),
        seen(quiet(LATENCY, latest=look(1.0, samples=3), worst=None), quiet(ERRORS)),
        seen(quiet(LATENCY, availability=Availability.NO_DATA), quiet(ERRORS)),
        seen(quiet(LATENCY, availability=Availability.NO_TRAFFIC), quiet(ERRORS)),
        seen(quiet(ERRORS)),
        seen(quiet(LATENCY), quiet(ERRORS), freeze="a holiday"),
        seen(quiet(LATENCY), quiet(ERRORS), baseline=Health.FAILING),
        seen(quiet(LATENCY), quiet(ERRORS), baseline=Health.UNKNOWN),
        seen(quiet(LATENCY), quiet(ERRORS), in_force=InForce.UNVERIFIED),
    ],
)
def test_without_a_reason_it_goes_on(sight):
    decision = later(paused(LATENCY), sight)

    assert decision.action is Action.HOLD
    assert decision.state.phase is Phase.PAUSED


def test_every_rule_behind_it_has_to_pass():
    both = paused(LATENCY, ERRORS)

    assert later(both, seen(quiet(LATENCY), loud(ERRORS))).action is Action.HOLD
    assert later(both, seen(quiet(LATENCY), quiet(ERRORS))).action is Action.RESUME


def test_one_rule_that_leaves_it_to_a_person_keeps_it():
    state = paused(*MANUAL.rules, of=MANUAL)

    decision = later(state, seen(*map(quiet, MANUAL.rules)), MANUAL)

    assert decision.action is Action.HOLD


def test_a_rule_that_fails_meanwhile_keeps_it():
    first = paused(LATENCY, of=MANUAL)
    further = later(first, seen(quiet(LATENCY), loud(MANUAL.rules[1])), MANUAL)
    assert further.action is Action.PAUSE

    decision = later(further.state, seen(*map(quiet, MANUAL.rules)), MANUAL, at=NOW + 3 * HOUR)

    assert decision.action is Action.HOLD


def test_a_pause_by_a_person_stays_a_persons():
    sight = seen(quiet(LATENCY), quiet(ERRORS))
    asked = PauseNow(actor="ann", reason="incident")
    state = decide(PLAN, at_step(0, PLAN), sight, asked, NOW + HOUR).state

    assert later(state, sight).action is Action.HOLD


def test_a_later_revision_does_not_make_a_pause_end_by_itself():
    manual = plan(rules=(replace(LATENCY, auto_resume=False), ERRORS))
    state = paused(manual.rules[0], of=manual)

    amended = amend(manual, state, PLAN, NOW + HOUR)

    assert isinstance(amended, State)
    assert amended.epochs == state.epochs  # the evidence stays what it was
    assert later(amended, seen(quiet(LATENCY), quiet(ERRORS))).action is Action.HOLD


def test_the_deadline_of_the_pause_stands():
    state = paused(LATENCY)

    decision = later(state, seen(loud(LATENCY), quiet(ERRORS)), at=NOW + 26 * HOUR)

    assert (decision.action, decision.cause) == (Action.ROLLBACK, Cause.PAUSE_DEADLINE)


def test_it_pauses_again_when_it_fails_on_its_fresh_evidence():
    resumed = later(paused(LATENCY), seen(quiet(LATENCY), quiet(ERRORS))).state
    again = seen(replace(loud(LATENCY), epoch=1), quiet(ERRORS))

    decision = later(resumed, again, at=NOW + 4 * HOUR)

    assert (decision.action, decision.cause) == (Action.PAUSE, Cause.RULE)
    assert [one.epoch for one in decision.state.failures] == [0, 1]


def test_it_ends_the_failures_of_the_rules_behind_it_and_starts_their_evidence_now():
    told = replace(ERRORS, then=Then.NOTIFY, auto_resume=False)
    of = plan(rules=(LATENCY, told))
    state = paused(LATENCY, told, of=of)

    decision = later(state, seen(quiet(LATENCY), loud(told)), of)

    assert (decision.action, decision.cause) == (Action.RESUME, Cause.RECOVERED)
    assert decision.notices[0].severity is Severity.INFO
    assert [(one.rule, one.acknowledged) for one in decision.state.failures] == [
        ("latency", True),
        ("errors", False),
    ]
    assert decision.state.epochs == {"latency": Epoch(number=1, start=NOW + 2 * HOUR)}


def test_each_time_it_ends_the_evidence_is_that_of_a_further_epoch():
    sight = seen(quiet(LATENCY), quiet(ERRORS))
    once = later(paused(LATENCY), sight).state
    again = seen(replace(loud(LATENCY), epoch=1), quiet(ERRORS))
    state = later(once, again, at=NOW + 3 * HOUR).state

    twice = later(state, seen(quiet(LATENCY, epoch=1), quiet(ERRORS)), at=NOW + 4 * HOUR).state

    assert twice.epochs["latency"] == Epoch(number=2, start=NOW + 4 * HOUR)


def test_a_rule_that_fails_and_recovers_does_not_end_a_persons_pause():
    asked = PauseNow(actor="ann", reason="incident")
    calm = seen(quiet(LATENCY), quiet(ERRORS))
    state = decide(PLAN, at_step(0, PLAN), calm, asked, NOW + HOUR).state
    further = later(state, seen(loud(LATENCY), quiet(ERRORS)))

    assert (further.action, further.cause) == (Action.PAUSE, Cause.RULE)
    assert further.notices[0].severity is Severity.CRITICAL
    assert further.state.paused == state.paused
    assert later(further.state, calm, at=NOW + 3 * HOUR).action is Action.HOLD


def test_a_pause_with_no_open_failure_behind_it_has_nothing_to_recover_from():
    state = replace(paused(LATENCY), failures=())

    assert later(state, seen(quiet(LATENCY), quiet(ERRORS))).action is Action.HOLD


def test_the_share_comes_back_no_further_than_the_holdback_leaves():
    state = paused(LATENCY)
    assert state.paused is not None
    wide = replace(state, paused=replace(state.paused, share_bp=9_950))

    decision = later(wide, seen(quiet(LATENCY), quiet(ERRORS)))

    assert decision.state.share_bp == 9_900  # a hundredth is held back


def test_a_rule_that_nothing_can_prove_keeps_its_evidence_whatever_alpha_becomes():
    cost = replace(LATENCY, name="cost", metric=CATALOGUE["cost_per_hour"])
    of, other = (plan(rules=(cost, LATENCY), alpha=alpha) for alpha in (0.05, 0.1))

    amended = amend(of, at_step(0, of), other, NOW + HOUR)

    assert isinstance(amended, State)
    assert set(amended.epochs) == {"latency"}
