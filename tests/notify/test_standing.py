"""The message above a thread, of a real rollout through its life: what a person reads who comes to it at night."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.notify.memory import MemoryNotifier
from controller.notify.sender import Sender
from controller.notify.slack import SlackNotifier
from controller.notify.slack_api import SlackApi
from controller.rollout.commands import AnyCommand, Approve, PauseNow, Resume
from controller.rollout.plan import Slack
from controller.simulate.services.slack import TOKEN, SimulatedSlack
from controller.simulate.services.slack_rooms import Posted
from tests.notify.slack_world import header, served, shown
from tests.reconcile.world import ERRORS, ESCALATIONS, MINUTE, QUICK, QUIET, World

WHO: dict[str, Any] = {"actor": "ann", "reason": "looked at it"}


class Life:
    """A rollout that is ticked, and the channel that is told of it."""

    def __init__(self) -> None:
        self.world = World(of=replace(QUICK, slack=Slack(channel="#ops")))
        self.slack = SimulatedSlack(self.world.clock, ["#ops"])

    def start(self, url: str) -> None:
        api = SlackApi(token=TOKEN, url=f"{url}/api/")
        notifier = SlackNotifier(self.world.store, self.world.clock, api)
        self.sender = Sender(
            self.world.store, {"log": MemoryNotifier(), "slack": notifier}, self.world.clock
        )

        self.world.reconciler.tick(self.world.head.state.rollout)

    def minute(self, kind: str = QUIET, command: AnyCommand | None = None) -> None:
        self.world.clock.advance(MINUTE)
        if command is not None:
            assert self.world.command(command)
        self.world.traffic(kind)
        for _ in range(4):
            self.world.reconciler.tick(self.world.head.state.rollout)
        for _ in range(8):
            self.sender.send_due()
            self.world.clock.advance(timedelta(seconds=3))

    @property
    def parent(self) -> Posted:
        (found,) = self.slack.room("#ops").parents
        return found

    @property
    def last(self) -> Posted:
        return self.slack.room("#ops").messages[-1]


@pytest.fixture
def life() -> Iterator[Life]:
    made = Life()
    with served(made.slack.app) as url:
        made.start(url)
        yield made


def test_it_says_where_the_traffic_is_and_what_the_step_waits_for(life):
    life.sender.send_due()
    assert header(life.parent) == ":hourglass_flowing_sand: quick starts, all traffic on gpt-4.1"
    assert "gpt-4.1 has not answered a request lately" in shown(life.parent)

    life.minute()

    assert header(life.parent) == ":arrow_forward: quick runs, 10% on gpt-4.1-mini"
    text = shown(life.parent)
    assert "*Share*\n10%" in text
    assert "*Step*\n1 of 3" in text
    assert "*Waits for*\n• " in text


def test_a_step_that_waits_for_approval_says_how_to_give_it(life):
    for _ in range(4):
        life.minute()

    text = shown(life.parent)
    assert header(life.parent) == ":arrow_forward: quick runs, 50% on gpt-4.1-mini"
    assert '`canaryctl approve quick --reason "…"`  permit leaving this step' in text
    assert "*Worst rule: " in text
    assert "waits for approval to leave 50%" in header(life.last)


def test_a_pause_shows_why_with_its_arithmetic_and_until_when_to_decide(life):
    life.minute()
    life.minute(ERRORS)

    text = shown(life.parent)
    assert header(life.parent) == ":double_vertical_bar: quick PAUSED, 10% on gpt-4.1-mini"
    assert "*Rolled back if nobody decides by*\n2026-03-02 10:0" in text
    assert "*Why*\n• rule errors: error_rate " in text
    assert "candidate episodes; e-value" in text
    assert '`canaryctl resume quick --reason "…"`' in text
    assert life.last.broadcast


def test_a_persons_pause_names_the_person_and_wakes_nobody(life):
    life.minute()
    life.minute(command=PauseNow(**WHO))

    assert "• ann asked for it: “looked at it”" in shown(life.parent)
    assert not life.last.broadcast


def test_a_rollback_shows_why_and_that_all_traffic_is_back(life):
    life.minute()
    life.minute(ERRORS)
    life.minute(command=Resume(**WHO))
    life.minute(ESCALATIONS)

    text = shown(life.parent)
    assert header(life.parent) == ":rewind: quick ROLLED BACK, all traffic on gpt-4.1"
    assert "*Why*\n• rule escalation: escalation_rate " in text
    assert '`canaryctl retry quick --reason "…"`  start a new attempt' in text


def test_a_whole_life_is_one_message_and_a_thread(life):
    for _ in range(4):
        life.minute()
    life.minute(command=Approve(**WHO))
    for _ in range(6):
        life.minute()

    assert header(life.parent) == ":white_check_mark: quick COMPLETE, 99% on gpt-4.1-mini"
    events = [one for one in life.slack.room("#ops").messages if one.thread_ts]
    assert len(events) == sum(len(one.value.notices) for one in life.world.store.records("quick/1"))
    assert not any(one.broadcast for one in events)
