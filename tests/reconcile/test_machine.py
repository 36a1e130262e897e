"""Invariants 1, 2, 4, 5 and 7 over the real tick: time, traffic, commands, lost targets, restarts, an old leader."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controller.errors import Conflict, Unreachable
from controller.rollout.commands import (
    Approve,
    PauseNow,
    PinIntent,
    Promote,
    Resume,
    Retire,
    Retry,
    Rollback,
)
from controller.rollout.deciding.replay import fold, replay
from controller.rollout.decision import Action
from controller.rollout.record import verify_chain
from controller.rollout.state import Phase
from tests.reconcile.world import ERRORS, ESCALATIONS, MINUTE, QUIET, World

WHO: dict[str, Any] = {"actor": "ann", "reason": "because"}
COMMANDS = [
    PauseNow(**WHO),
    Resume(**WHO),
    Promote(**WHO),
    Promote(override=("errors", "escalation"), **WHO),
    Approve(**WHO),
    Rollback(**WHO),
    Retry(**WHO),
    Retire(**WHO),
    PinIntent(intent="chat", **WHO),
]
MAY_RAISE = (Action.ADVANCE, Action.RESUME, Action.RETIRE)


class Controller(RuleBasedStateMachine):
    """A controller over in-memory adapters, and everything that may happen to it."""

    @initialize()
    def begin(self):
        self.world = World()
        self.reachable = True
        self.old = self.world.reconciler

    @rule(span=st.sampled_from([MINUTE, MINUTE, timedelta(minutes=7), timedelta(hours=3)]))
    def time_passes(self, span):
        self.world.clock.advance(span)

    @rule(kind=st.sampled_from([QUIET, QUIET, QUIET, ERRORS, ESCALATIONS]))
    def requests_come(self, kind):
        if self.reachable:
            self.world.traffic(kind)

    @rule(command=st.sampled_from(COMMANDS))
    def somebody_commands(self, command):
        self.world.command(command)

    @rule()
    def it_ticks(self):
        try:
            self.world.reconciler.tick(self.world.head.state.rollout)
        except Unreachable:
            assert not self.reachable
        self.world.sender.send_due()

    @rule()
    def the_target_is_cut_off(self):
        self.world.target.cut()
        self.reachable = False

    @rule()
    def the_target_is_back(self):
        self.world.target.mend()
        self.reachable = True

    @rule()
    def a_new_controller_takes_over(self):
        self.old = self.world.reconciler
        self.world.restart()

    @rule()
    def the_old_controller_wakes_up(self):
        if self.old is self.world.reconciler:
            return
        before = self.world.head
        with suppress(Conflict, Unreachable):
            self.old.tick(before.state.rollout)
        # Invariant 7: an old fence commits nothing and moves nothing.
        assert self.world.head.hash == before.hash

    @invariant()
    def records_are_whole_and_say_what_they_said(self):
        world = self.world
        for head in world.store.heads():
            sealed = world.store.records(head.state.rollout)
            records = [one.value for one in sealed]
            assert verify_chain(sealed) == head.hash
            assert fold(records) == head.state
            assert replay(records, lambda digest: world.store.plan(digest).value) == ()
            for one in records:
                if one.state.share_bp > one.share_before_bp:
                    assert one.action in MAY_RAISE

    @invariant()
    def nothing_is_in_force_that_was_not_committed(self):
        if not self.reachable:
            return
        for head in self.world.store.heads():
            rollout = head.state.rollout
            split = self.world.target.read(rollout).split
            if split is None:
                continue
            committed = {one.version: dict(one.shares) for one in self.world.store.splits(rollout)}
            if any(split.shares.values()):
                assert dict(split.shares) == committed[split.version]
                assert split.version <= head.state.version

    @invariant()
    def a_rollback_comes_into_force_with_the_next_tick(self):
        head = self.world.head
        if head.state.phase is not Phase.ROLLED_BACK or not self.reachable:
            return
        self.world.reconciler.tick(head.state.rollout)
        assert self.world.target.share_bp(head.state.rollout, "chat") == 0
        assert self.world.head.hash == head.hash


TestController = Controller.TestCase
TestController.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


class LongController(Controller):
    """The same, at length."""


TestLongController = pytest.mark.slow(pytest.mark.timeout(1200)(LongController.TestCase))
TestLongController.settings = settings(max_examples=600, stateful_step_count=50, deadline=None)
