"""Whom a notice is owed to, by severity."""

from dataclasses import replace

import pytest

from controller.rollout.destinations import destinations, every_destination, kind_of, place_of
from controller.rollout.plan import Severity, Slack, Webhook
from tests.notify.factories import PLAN, ROLLED_BACK

SLACK = Slack(channel="#ops", critical="#page", info="#feed", least=Severity.INFO)
WEBHOOK = Webhook(name="pager:8443", url="https://pager:8443/x", least=Severity.CRITICAL)


def told(severity: Severity, **changes: object) -> tuple[str, ...]:
    return destinations(replace(PLAN, **changes), replace(ROLLED_BACK, severity=severity))  # type: ignore[arg-type] # any field


@pytest.mark.parametrize("severity", Severity)
def test_the_log_gets_everything(severity):
    assert told(severity) == ("log",)


def test_a_severity_goes_to_its_channel_and_the_others_to_the_usual_one():
    assert [told(one, slack=SLACK)[1] for one in Severity] == [
        "slack:#feed",
        "slack:#ops",
        "slack:#page",
    ]


def test_what_is_less_severe_than_asked_for_is_not_owed():
    quiet = replace(SLACK, least=Severity.WARNING)

    assert [told(one, slack=quiet, webhook=WEBHOOK)[1:] for one in Severity] == [
        (),
        ("slack:#ops",),
        ("slack:#page", "webhook:pager:8443"),
    ]


def test_every_destination_of_a_plan_is_named_once():
    doubled = replace(SLACK, info="#ops")

    assert every_destination(replace(PLAN, slack=doubled, webhook=WEBHOOK)) == (
        "log",
        "slack:#ops",
        "slack:#page",
        "webhook:pager:8443",
    )


def test_a_destination_is_a_kind_and_a_place():
    assert (kind_of("webhook:pager:8443"), place_of("webhook:pager:8443")) == (
        "webhook",
        "pager:8443",
    )
    assert (kind_of("log"), place_of("log")) == ("log", "")
