"""The invariants as properties of `decide`: any world, any command, any order."""

import json
from dataclasses import replace
from functools import partial

from hypothesis import given, settings

from controller.rollout.codec import canonical, decode
from controller.rollout.commands import Apply
from controller.rollout.deciding.advance import requirement
from controller.rollout.deciding.decide import decide, start
from controller.rollout.deciding.replay import fold, replay
from controller.rollout.decision import Action
from controller.rollout.plan import Advance, PauseShare, Plan, Then
from controller.rollout.record import GENESIS, Record, seal, verify_chain
from controller.rollout.state import Phase, State
from controller.rollout.verdict import InForce, Outcome, Seen
from tests.rollout.factories import ACCURACY, ESCALATION, NOW, STEPS, plan, record
from tests.rollout.strategies import walks

PLANS = (
    plan(),
    plan(pause_share=PauseShare.ZERO),
    plan(pause_share=PauseShare.PREVIOUS, steps=STEPS[:2], bake=STEPS[0].hold * 0),
    plan(rules=(replace(ACCURACY, then=Then.PIN), replace(ESCALATION, then=Then.NOTIFY))),
)
FIRST = Apply(plan=PLANS[0], actor="ann", reason="cheaper")
MAY_RAISE = (Action.ADVANCE, Action.RESUME, Action.RETRY, Action.RETIRE)
brief = settings(max_examples=60, deadline=None)


def walk(of, steps):
    """Every (state before, world, command, now, decision) of a walk, and the records it leaves, by attempt."""
    now = NOW
    state = start(Apply(plan=of, actor="ann", reason=""), now).state
    for world, command, span in steps:
        now += span
        seen = replace(world, through=now)
        decision = decide(of, state, seen, command, now)
        yield state, seen, command, now, decision
        state = decision.state


@brief
@given(walks)
def test_1_the_share_rises_only_by_advance_promote_resume_or_retry(steps):
    for of in PLANS:
        for before, _, _, _, decision in walk(of, steps):
            if decision.state.share_bp > before.share_bp:
                assert decision.action in MAY_RAISE
            if decision.state.phase is not Phase.RETIRED:
                assert decision.state.share_bp <= 10_000 - of.holdback_bp


@brief
@given(walks)
def test_2_after_a_rollback_the_share_is_zero_until_a_new_attempt(steps):
    for of in PLANS:
        for before, _, _, _, decision in walk(of, steps):
            if before.phase is Phase.ROLLED_BACK and decision.state.attempt == before.attempt:
                assert decision.state == before
            if decision.state.phase is Phase.ROLLED_BACK:
                assert decision.state.share_bp == 0


@brief
@given(walks)
def test_3_nothing_advances_by_itself_on_an_unverified_split_or_an_unclear_rule(steps):
    for of in PLANS:
        for before, world, command, _, decision in walk(of, steps):
            if decision.action is not Action.ADVANCE or command is not None:
                continue
            assert world.in_force is InForce.VERIFIED
            if before.phase is Phase.PENDING:
                continue
            outcomes = {one.outcome for one in decision.verdicts}
            assert not outcomes & {Outcome.FAIL, Outcome.UNMEASURED}
            if requirement(of, before.step) is Advance.PROVEN:
                proven = {one.intent for one in decision.verdicts if one.confident is Outcome.PASS}
                assert {"refund"} - set(before.pins) <= proven


@brief
@given(walks)
def test_4_what_is_not_recorded_changes_nothing_and_a_changed_share_is_a_new_version(steps):
    for of in PLANS:
        for before, _, _, _, decision in walk(of, steps):
            if not decision.recorded:
                assert decision.state == before
            if decision.state.share_bp != before.share_bp or decision.state.pins != before.pins:
                new_attempt = decision.state.attempt != before.attempt
                assert new_attempt or decision.state.version > before.version


@brief
@given(walks)
def test_5_records_fold_to_the_state_and_replay_to_the_same_decisions(steps):
    for of in PLANS[:2]:
        records, last = recorded(of, steps)
        read_again = [decode(Record, json.loads(one.text)) for one in records]

        assert verify_chain(records) == records[-1].hash
        assert fold(read_again) == last
        assert replay(read_again, partial(_same, of)) == ()


def _same(of: Plan, _: str) -> Plan:
    return of


def recorded(of: Plan, steps) -> tuple[list, State]:
    """The sealed records of the walk's first attempt, and the state they lead to."""
    first = Apply(plan=of, actor="ann", reason="")
    opening = start(first, NOW)
    records = [seal(record(1, GENESIS, 0, Seen(through=NOW), first, opening, NOW))]
    last = opening.state
    for before, world, command, now, decision in walk(of, steps):
        if decision.state.attempt != 1:
            break
        if decision.recorded:
            at = max(now, decision.state.updated_at)
            previous = records[-1]
            records.append(
                seal(
                    record(
                        previous.value.seq + 1,
                        previous.hash,
                        before.share_bp,
                        world,
                        command,
                        decision,
                        at,
                    )
                )
            )
            last = decision.state
    return records, last


@brief
@given(walks)
def test_every_state_and_world_survives_its_canonical_form(steps):
    for before, world, _, _, decision in walk(PLANS[0], steps):
        for value in (before, world, *decision.verdicts, *decision.notices):
            again = decode(type(value), json.loads(canonical(value)))
            assert again == value


@brief
@given(walks)
def test_every_recorded_decision_owes_a_notice(steps):
    for of in PLANS:
        for _, _, _, _, decision in walk(of, steps):
            assert bool(decision.notices) is decision.recorded
