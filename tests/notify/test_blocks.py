"""Whatever people write, Slack takes the message: limits are kept, nothing is markup, what is cut is counted."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.notify.blocks import LONGEST_SECTION, LONGEST_TEXT, cut, escaped, event
from controller.notify.words import words
from controller.ports import Owed
from controller.rollout.decision import Notice
from controller.simulate.services.slack_blocks import check_blocks, check_text
from tests.notify.factories import ESCALATED, LOST_ACCURACY, NOW, PAUSED, PLAN, ROLLED_BACK, ROLLOUT

WILD = st.one_of(
    st.text(max_size=200),
    st.text(alphabet="<>&!@#|*_`\n ", max_size=4_000),
    st.text(min_size=1, max_size=20).map(lambda part: part * 800),
)


def owed(notice: Notice) -> Owed:
    return Owed(
        id=f"{ROLLOUT}:7/{notice.key}@slack:#ops",
        rollout=ROLLOUT,
        notice=replace(notice, key=f"7/{notice.key}"),
        destination="slack:#ops",
        created=NOW,
        attempts=1,
        next_attempt=NOW,
    )


@given(actor=WILD, reason=WILD, detail=WILD, failures=st.integers(0, 40), late=st.booleans())
def test_every_message_is_one_that_slack_takes(actor, reason, detail, failures, late):
    verdicts = (ESCALATED, LOST_ACCURACY) * failures
    notice = replace(PAUSED, actor=actor, reason=reason, detail=detail, failures=verdicts)
    given_notice = owed(notice)
    now = NOW + timedelta(hours=late)

    message = event(given_notice, words(notice, PLAN, ROLLOUT), now=now, since=())

    blocks = check_blocks(list(message.blocks))
    check_text(message.text, has_blocks=True)
    assert len(message.text) <= LONGEST_TEXT
    assert sum(len(str(one)) for one in blocks) < 20_000
    texts = [text for text in _markup(blocks) if text] + [message.text]
    assert not any("<" in text for text in texts)
    assert all(re.fullmatch(r"(?:[^&]|&(?:amp|lt|gt);)*", text, re.DOTALL) for text in texts)


def _markup(node: object) -> list[str]:
    if isinstance(node, list):
        return [text for one in node for text in _markup(one)]
    if isinstance(node, dict):
        own = [node["text"]] if node.get("type") == "mrkdwn" else []
        return own + [text for value in node.values() for text in _markup(value)]
    return []


def test_all_markup_is_taken_as_it_is():
    message = event(owed(ROLLED_BACK), words(ROLLED_BACK, PLAN, ROLLOUT), now=NOW, since=())

    texts = [
        one["text"]
        for one in message.blocks
        if one["type"] == "section" and one["text"]["type"] == "mrkdwn"
    ]
    assert texts
    assert all(one["verbatim"] is True for one in texts)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short", "short"),
        (
            "\n".join(["a" * 40] * 10),
            "\n".join(["a" * 40] * 2) + "\n… 8 more; `canaryctl history x`",
        ),
        ("b" * 200, "b" * 100 + "… 100 more characters; `canaryctl history x`"),
    ],
)
def test_what_is_cut_is_counted_by_lines_or_by_characters(text, shown):
    assert cut(text, 180, "x") == shown


@given(st.text(alphabet="<>&a\n", max_size=400), st.integers(100, 300))
def test_no_escape_is_cut_in_two(text, longest):
    shown = cut(escaped(text), longest, "x")

    assert len(shown) <= max(longest, 100)
    assert re.fullmatch(r"(?:[^&]|&(?:amp|lt|gt);)*", shown, re.DOTALL)


def test_sections_leave_room_below_slacks_limit():
    assert LONGEST_SECTION < 3_000
