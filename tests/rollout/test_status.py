"""What a tick saw, as it is kept: each reading once, and all of it back."""

import json
from datetime import timedelta

from controller.rollout.decision import Action
from controller.rollout.evidence.readings import read_all
from controller.rollout.evidence.rules import judge_all
from controller.rollout.status import Status, status_of, status_text
from controller.rollout.timeline import start_of
from controller.rollout.verdict import Seen
from tests.rollout.test_readings import START, requests, view


def test_a_status_comes_back_as_it_was_and_holds_each_reading_once():
    seen_by = view([requests(START + i, 100, 5) for i in range(90)], minutes=90)
    seen = Seen(through=start_of(START + 90), readings=tuple(read_all(seen_by)))
    verdicts = judge_all(seen_by.plan, seen_by.state, seen)
    status = Status(at=seen.through, action=Action.HOLD, seen=seen, verdicts=verdicts, waits=())

    text = status_text(status)

    assert status_of(json.loads(text)) == status
    assert text.count('"type":"Reading"') == len(verdicts) > 0
    assert status.at - seen_by.now == timedelta(0)
