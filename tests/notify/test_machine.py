"""Whatever happens to Slack, to the senders and to the lead, each notice arrives once and in order.

A state machine over a real socket: notices are owed, time passes, Slack fails in every way it knows, processes end at
any boundary, two of them take the lead from each other. At the end Slack is mended, and the last leader sends what is
left.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from controller.notify.memory import MemoryNotifier
from controller.notify.sender import Sender
from controller.notify.slack import SlackNotifier
from controller.notify.slack_api import SlackApi
from controller.rollout.decision import Action
from controller.simulate.services.slack import TOKEN, Fault, Trouble
from controller.store.memory import MemoryStore
from tests.notify.factories import ROLLED_BACK, ROLLOUT, notice
from tests.notify.slack_world import OPS_DESTINATION, slack_world
from tests.notify.test_slack import API_EFFECTS, STORE_EFFECTS, Ended, Fused

OTHER = "search/1"
ADVANCED = notice(Action.ADVANCE, before=1_000, after=2_500)


class Process:
    """A controller's sender; it ends at a boundary if it is told to."""

    def __init__(self, world, leads, *, ends_at: int | None = None) -> None:
        fuse = Fused(-1 if ends_at is None else ends_at)
        store = cast(MemoryStore, fuse.wrap(world.store, STORE_EFFECTS))
        api = SlackApi(token=TOKEN, url=f"{world.url}/api/", timeout_s=5)
        notifier = SlackNotifier(store, world.clock, cast(SlackApi, fuse.wrap(api, API_EFFECTS)))
        self.sender = Sender(
            store, {"log": MemoryNotifier(), "slack": notifier}, world.clock, may_send=leads
        )

    def send(self) -> None:
        """Only to Slack: what is left in the log is another test's."""
        if OPS_DESTINATION in self.sender.due():
            self.sender.send_to(OPS_DESTINATION)


class Deliveries(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.owed: dict[str, int] = {ROLLOUT: 0, OTHER: 0}

    @initialize()
    def begin(self) -> None:
        self.world = self.stack.enter_context(slack_world())
        self.leader = 0
        self.processes = [self.process(0), self.process(1)]

    def process(self, number: int, *, ends_at: int | None = None) -> Process:
        return Process(self.world, lambda: self.leader == number, ends_at=ends_at)

    @rule(rollout=st.sampled_from([ROLLOUT, OTHER]), stop=st.booleans())
    def something_happens(self, rollout: str, stop: bool) -> None:
        self.world.owe(ROLLED_BACK if stop else ADVANCED, rollout=rollout)
        self.owed[rollout] += 1

    @rule(seconds=st.sampled_from([1, 3, 21, 400]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.advance(timedelta(seconds=seconds))

    @rule(who=st.sampled_from([0, 1]))
    def somebody_sends(self, who: int) -> None:
        self.processes[who].send()

    @rule(who=st.sampled_from([0, 1]), at=st.integers(0, 12))
    def somebody_ends_while_sending(self, who: int, at: int) -> None:
        with suppress(Ended):
            self.process(who, ends_at=at).send()
        self.processes[who] = self.process(who)

    @rule()
    def the_lead_changes(self) -> None:
        self.leader = 1 - self.leader

    @rule(
        trouble=st.sampled_from(
            [Trouble.CUT, Trouble.LOST, Trouble.ERROR, Trouble.LIMITED, Trouble.REFUSED]
        ),
        times=st.integers(1, 3),
        method=st.sampled_from(["", "chat.postMessage", "conversations.replies"]),
    )
    def slack_fails(self, trouble: Trouble, times: int, method: str) -> None:
        methods = (method,) if method else ()
        self.world.slack.fail(Fault(trouble=trouble, times=times, methods=methods))

    @rule()
    def slack_is_mended(self) -> None:
        self.world.slack.mend()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.slack.mend()
            for _ in range(400):
                self.processes[self.leader].send()
                self.world.clock.advance(timedelta(seconds=20))
                if self.at_rest():
                    break
            self.check()
        finally:
            self.stack.close()

    def at_rest(self) -> bool:
        owing = {one.destination for one in self.world.store.backlog()}
        return OPS_DESTINATION not in owing

    def check(self) -> None:
        assert self.at_rest(), self.world.rows()
        room = self.world.room()
        names = [one.metadata["event_payload"]["id"] for one in room.messages if one.metadata]
        assert len(names) == len(set(names)), names
        for rollout, count in self.owed.items():
            found = [one for one in names if one.startswith(f"{rollout}:")]
            ledger = [
                one
                for one in self.world.store.deliveries(rollout)
                if one.destination == OPS_DESTINATION
            ]
            assert found == [one.id for one in ledger]
            assert len(found) == count
            messages = {f"{room.id}/{one.ts}": one for one in room.messages}
            assert all(one.reference in messages for one in ledger)
        assert len(room.parents) == sum(count > 0 for count in self.owed.values())


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
