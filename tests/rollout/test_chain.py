"""The chains of records and anchors, and reading them again: what was changed, cut or left out is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.errors import ChainBroken
from controller.rollout.anchors import anchor_hour, next_anchor, verify_anchors
from controller.rollout.codec import text_digest
from controller.rollout.commands import Apply, PauseNow
from controller.rollout.deciding.decide import decide, start
from controller.rollout.deciding.replay import Disagreement, fold, replay
from controller.rollout.decision import Action
from controller.rollout.plan import Plan
from controller.rollout.record import GENESIS, Anchor, Record, Sealed, seal, verify_chain
from controller.rollout.state import Cause
from controller.rollout.verdict import Seen
from tests.rollout.factories import HOUR, NOW, plan, record, seen

OF = plan()
BY: dict[str, Any] = {"actor": "ann", "reason": "cheaper"}
MOVED = plan(bake=timedelta(days=8))


def recorded() -> list[Sealed[Record]]:
    """A start, an advance to the first step, a pause, and a change of the plan."""
    first = Apply(plan=OF, **BY)
    records = [seal(record(1, GENESIS, 0, Seen(through=NOW), first, start(first, NOW), NOW))]
    state = records[0].value.state
    for command in (None, PauseNow(**BY), Apply(plan=MOVED, **BY)):
        seq = records[-1].value.seq + 1
        at = NOW + (seq - 1) * HOUR
        world = replace(seen(), through=at)
        decision = decide(OF, state, world, command, at)
        assert decision.recorded
        one = record(seq, records[-1].hash, state.share_bp, world, command, decision, at)
        records.append(seal(one))
        state = decision.state
    return records


RECORDS = recorded()
PLANS = {one.digest: one for one in (OF, MOVED)}


def chained(records: list[Sealed[Record]], at: int, **changes) -> list[Sealed[Record]]:
    """With one record otherwise, sealed, and all after it bound to what it is now."""
    found: list[Sealed[Record]] = []
    for place, one in enumerate(records):
        bound = replace(one.value, prev=found[-1].hash if found else GENESIS)
        found.append(seal(replace(bound, **changes) if place == at else bound))
    return found


# Records


def test_records_that_follow_one_another_end_in_the_heads_hash():
    assert [one.value.action for one in RECORDS] == [
        Action.START,
        Action.ADVANCE,
        Action.PAUSE,
        Action.AMEND,
    ]
    assert verify_chain(RECORDS) == RECORDS[-1].hash
    assert verify_chain(RECORDS[:1]) == RECORDS[0].hash
    assert verify_chain([]) == GENESIS


def test_a_seal_is_the_hash_of_the_very_text():
    sealed = seal(RECORDS[0].value)

    assert sealed.hash == text_digest(sealed.text)
    assert sealed.value == RECORDS[0].value


def test_a_record_that_was_changed_after_it_was_written_is_named():
    changed = [*RECORDS]
    changed[1] = replace(RECORDS[1], text=RECORDS[1].text.replace("ann", "bob"))

    with pytest.raises(ChainBroken, match=r"record 2 does not hash to .*…: it was changed"):
        verify_chain(changed)


def test_a_record_that_is_missing_is_named():
    with pytest.raises(ChainBroken, match="record 3 follows record 1; record 2 is missing"):
        verify_chain([RECORDS[0], *RECORDS[2:]])
    with pytest.raises(ChainBroken, match="record 2 follows record 0; record 1 is missing"):
        verify_chain(RECORDS[1:])


def test_a_record_that_was_replaced_is_named_by_the_one_after_it():
    replaced = [*RECORDS]
    replaced[1] = seal(replace(RECORDS[1].value, reason="another"))

    with pytest.raises(ChainBroken, match=r"record 3 says .* but record 2 hashes to"):
        verify_chain(replaced)
    elsewhere = [seal(replace(RECORDS[0].value, prev="f" * 64))]
    with pytest.raises(ChainBroken, match=r"record 1 says .* but record 0 hashes to 000000000000…"):
        verify_chain(elsewhere)


# Anchors

HEADS = {"a/1": (3, "a" * 64), "b/1": (1, "b" * 64)}


def anchors() -> list[Sealed[Anchor]]:
    first = next_anchor(None, {"a/1": (2, "9" * 64)}, NOW + timedelta(minutes=59, seconds=59))
    assert first is not None
    second = next_anchor(first, HEADS, NOW + HOUR)
    assert second is not None
    return [first, second]


def known(rollout: str, seq: int) -> str | None:
    return {("a/1", 2): "9" * 64, ("a/1", 3): "a" * 64, ("b/1", 1): "b" * 64}.get((rollout, seq))


def test_an_anchor_stands_for_its_hour_and_holds_every_head():
    first, second = anchors()

    assert anchor_hour(NOW + timedelta(minutes=59, seconds=59, microseconds=9)) == NOW
    assert first.value == Anchor(
        seq=1,
        at=NOW + timedelta(minutes=59, seconds=59),
        heads={"a/1": f"2:{'9' * 64}"},
        prev=GENESIS,
    )
    assert second.value == Anchor(
        seq=2,
        at=NOW + HOUR,
        heads={"a/1": f"3:{'a' * 64}", "b/1": f"1:{'b' * 64}"},
        prev=first.hash,
    )


def test_no_anchor_is_due_without_a_rollout_or_twice_in_an_hour_or_before_the_last():
    first, second = anchors()

    assert next_anchor(None, {}, NOW) is None
    assert next_anchor(first, {}, NOW + HOUR) is None
    assert next_anchor(first, HEADS, NOW) is None
    assert next_anchor(second, HEADS, NOW + HOUR + timedelta(minutes=59)) is None
    assert next_anchor(second, HEADS, NOW) is None


def test_anchors_that_follow_one_another_and_agree_with_the_records_are_whole():
    verify_anchors(anchors(), known)
    verify_anchors([], known)


def test_an_anchor_that_was_changed_is_missing_or_was_replaced_is_named():
    first, second = anchors()

    with pytest.raises(ChainBroken, match=r"anchor 2 of 2026-11-21 04:00Z does not hash to"):
        verify_anchors([first, replace(second, text=second.text + " ")], known)
    with pytest.raises(ChainBroken, match="anchor 2 follows anchor 0; anchor 1 is missing"):
        verify_anchors([second], known)
    other = seal(replace(first.value, heads={}))
    with pytest.raises(ChainBroken, match=r"anchor 2 says .* but anchor 1 hashes to"):
        verify_anchors([other, second], known)


def test_a_record_that_an_anchor_holds_is_there_and_as_it_was():
    cut = {("b/1", 1): None}
    rewritten = {("a/1", 3): "f" * 64}

    def instead(other):
        return lambda rollout, seq: other.get((rollout, seq), known(rollout, seq))

    with pytest.raises(ChainBroken, match=r"anchor 2 of .* holds record 1 of b/1, .* was cut"):
        verify_anchors(anchors(), instead(cut))
    with pytest.raises(
        ChainBroken, match=r"holds record 3 of a/1 as aaaaaaaaaaaa…, .* ffffffffffff…: .* rewritten"
    ):
        verify_anchors(anchors(), instead(rewritten))


# Reading them again


def plan_of(digest: str) -> Plan:
    return PLANS[digest]


def values(records=RECORDS) -> list[Record]:
    return [one.value for one in records]


def test_records_fold_to_the_state_of_the_last():
    assert fold(values()) == RECORDS[-1].value.state
    assert RECORDS[-1].value.state.share_bp == OF.share_at(0)


def test_without_records_there_is_no_state():
    with pytest.raises(ChainBroken, match="no records"):
        fold([])


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_share_that_changed_between_two_records_is_named(at: int):
    moved = values()
    moved[at] = replace(moved[at], share_before_bp=moved[at].share_before_bp + 1)

    with pytest.raises(ChainBroken, match=f"record {at + 1} starts at .* has no record"):
        fold(moved)


def test_what_was_decided_is_decided_again():
    assert replay(values(), plan_of) == ()
    without = [replace(values()[0], command=None), *values()[1:]]
    assert replay(without, plan_of) == ()  # the first plan is known by its digest too
    unknown: dict[str, Plan] = {}
    assert replay(values()[:1], unknown.__getitem__) == ()  # and by the command that applied it


@pytest.mark.parametrize(
    ("at", "field", "changes"),
    [
        (1, "action", {"action": Action.HOLD}),
        (2, "cause", {"cause": Cause.WAITING}),
        (2, "notices", {"notices": ()}),
        (0, "state", {"state": replace(RECORDS[0].value.state, salt="another")}),
    ],
)
def test_what_comes_out_differently_is_told_with_both_sides(at, field, changes):
    told = values(chained(RECORDS, at, **changes))

    found = replay(told, plan_of)

    assert [(one.seq, one.field) for one in found][:1] == [(at + 1, field)]
    assert found[0].at == told[at].at
    assert found[0].recorded != found[0].replayed


def test_both_sides_are_told_in_their_canonical_form():
    (found,) = replay(values(chained(RECORDS, 1, action=Action.HOLD)), plan_of)

    assert (found.recorded, found.replayed) == ('"hold"', '"advance"')


def test_a_state_or_a_verdict_that_comes_out_differently_is_told():
    last = RECORDS[-1].value
    other = [*values()[:-1], replace(last, state=replace(last.state, hold_from=NOW + 9 * HOUR))]
    (state,) = replay(other, plan_of)
    assert (state.seq, state.field) == (4, "state")
    (verdicts,) = replay([*values()[:-1], replace(last, verdicts=last.verdicts[:-1])], plan_of)
    assert isinstance(verdicts, Disagreement)
    assert (verdicts.seq, verdicts.field) == (4, "verdicts")


def test_a_plan_whose_text_a_later_release_writes_otherwise_is_the_same_plan():
    """An amended plan's digest is of the text that was stored; any other change of it is told."""
    amended = RECORDS[-1].value
    older = replace(amended, state=replace(amended.state, plan_digest="0" * 64))
    assert replay([*values()[:-1], older], plan_of) == ()

    advanced = RECORDS[1].value
    other = replace(advanced, state=replace(advanced.state, plan_digest=MOVED.digest))
    (found,) = replay([values()[0], other], plan_of)
    assert (found.seq, found.field) == (2, "state")
