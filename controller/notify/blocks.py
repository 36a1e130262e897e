"""Slack messages as blocks, with a plain text for where blocks are not shown. Pure.

Slack's limits are kept with room to spare. What is cut says so, and where the rest is. Nothing that a person wrote can
mention anybody: `&`, `<` and `>` are escaped, and Slack is told to take the texts as they are (`verbatim`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from controller.notify.arithmetic import verdict_line
from controller.notify.figures import listed, moment
from controller.notify.waits import wait_line
from controller.notify.words import Message, name_of, titled
from controller.ports import Head, Owed
from controller.rollout.decision import Action
from controller.rollout.evidence.rules import limit_in
from controller.rollout.plan import Plan, Severity
from controller.rollout.record import Record
from controller.rollout.state import Phase, State
from controller.rollout.status import Status
from controller.rollout.units import format_duration, format_share
from controller.rollout.verdict import Outcome, Verdict

Block = dict[str, Any]

LATE: Final = timedelta(minutes=5)
LONGEST_HEADER: Final = 150
LONGEST_SECTION: Final = 2_500  # of 3,000
LONGEST_FIELD: Final = 400  # of 2,000
LONGEST_TEXT: Final = 1_000  # of 40,000; it is for a push message and for screen readers
MOST_LISTED: Final = 5

_SIGNS: Final = {
    Severity.INFO: ":large_blue_circle:",
    Severity.WARNING: ":warning:",
    Severity.CRITICAL: ":rotating_light:",
}
_PHASES: Final = {
    Phase.PENDING: (":hourglass_flowing_sand:", "starts"),
    Phase.PROGRESSING: (":arrow_forward:", "runs"),
    Phase.PAUSED: (":double_vertical_bar:", "PAUSED"),
    Phase.BAKING: (":arrow_forward:", "bakes"),
    Phase.COMPLETE: (":white_check_mark:", "COMPLETE"),
    Phase.ROLLED_BACK: (":rewind:", "ROLLED BACK"),
    Phase.RETIRED: (":checkered_flag:", "retired"),
}
_DONE: Final = {
    Action.START: "started",
    Action.AMEND: "new revision",
    Action.ADVANCE: "advanced",
    Action.APPROVE: "approved",
    Action.BAKE: "bakes",
    Action.COMPLETE: "complete",
    Action.PAUSE: "paused",
    Action.RESUME: "resumed",
    Action.PIN: "pinned",
    Action.ROLLBACK: "rolled back",
    Action.RETRY: "tried again",
    Action.RETIRE: "retired",
    Action.EXPIRE: "lease ran out",
    Action.NOTIFY: "warned",
    Action.MEASURE: "measured",
    Action.HOLD: "held",
    Action.REFUSE: "refused",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackMessage:
    """`text` stands alone where blocks are not shown: in a push message, for a screen reader, in a search."""

    text: str
    blocks: Sequence[Block]

    @property
    def plain(self) -> SlackMessage:
        """Without blocks, for a Slack that refuses them."""
        return SlackMessage(text=self.text, blocks=())


# Events


def event(
    owed: Owed, message: Message, *, now: datetime, since: Sequence[Record], repeated: bool = False
) -> SlackMessage:
    """A notice in its thread. `since` are the records after its own, for one that comes late."""
    name = name_of(owed.rollout)
    late = _late(owed, now, since) if now - message.at > LATE else ""
    # What was to be done then may be wrong by now; the last hint is always to look.
    hints = message.hints[-1:] if late else message.hints
    asked = "\n".join(f"`{command}`  {escaped(what)}" for command, what in hints)
    blocks = [
        *_section(late, name),
        _header(f"{_SIGNS[message.severity]} {message.title}"),
        *_section(escaped(message.now), name),
        *_section(_bullets("*Why*", map(escaped, message.why)), name),
        *_section("\n".join(map(escaped, message.then)), name),
        *_section(f"*What to do*\n{asked}", name),
        _context(_small_print(owed, message, repeated=repeated)),
    ]
    lead = f"{late.replace('*', '')} " if late else ""
    text = f"{lead}{escaped(message.title)}. {escaped(message.now)}"
    return SlackMessage(text=cut(text, LONGEST_TEXT, name), blocks=blocks)


def _small_print(owed: Owed, message: Message, *, repeated: bool) -> str:
    said = [
        f"{moment(message.at)}",
        message.severity.value,
        f"{owed.rollout}, record {record_of(owed)}",
    ]
    if repeated:
        said.append("may be a repeat: whether an earlier attempt arrived could not be looked up")
    return " · ".join(map(escaped, said))


def _late(owed: Owed, now: datetime, since: Sequence[Record]) -> str:
    """`Delivered late: this happened 14:02 UTC, 58 min ago …; since then: 14:40 UTC rolled back.`"""
    ago = format_duration(_minutes(now - owed.notice.at))
    why = "Slack could not be reached" if owed.attempts else "nothing could send it before"
    happened = [f"{_clock(one.at, now)} {_done(one)}" for one in since if one.action in _DONE]
    shown, more = happened[-MOST_LISTED:], len(happened) - MOST_LISTED
    rest = f"{more} more, then " if more > 0 else ""
    then = f"{rest}{listed(shown)}" if shown else "nothing else"
    return (
        f"*Delivered late.* This happened {_clock(owed.notice.at, now)}, {ago} ago; {why}. "
        f"Since then: {escaped(then)}."
    )


def _done(record: Record) -> str:
    share = format_share(record.state.share_bp)
    moved = record.state.share_bp != record.share_before_bp
    return f"{_DONE[record.action]}{f' to {share}' if moved and record.state.share_bp else ''}"


def _clock(at: datetime, now: datetime) -> str:
    return f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M} UTC"


def record_of(owed: Owed) -> int:
    """The number of the record that owes a notice: its key begins with it."""
    number = owed.notice.key.partition("/")[0]
    return int(number) if number.isdecimal() else 0


# The message above a thread


def standing(
    head: Head,
    status: Status | None,
    *,
    now: datetime,
    why: Sequence[str] = (),
    number: int = 1,
) -> SlackMessage:
    """Where a rollout stands, as its head and its last judgement say; `why` it was stopped, if it was."""
    state, plan = head.state, head.plan
    name = state.name
    sign, word = _PHASES[state.phase]
    title = f"{titled(state.rollout)} {word}, {_share_words(state, plan)}"
    blocks = [
        _header(f"{sign} {title}"),
        _fields(_facts(state, plan), name),
        *_section(_bullets("*Why*", map(escaped, why)), name),
        *_section(_bullets("*Waits for*", _waits(head, status)), name),
        *_section("" if why else _worst(status, plan), name),
        *_section(_bullets("*Failed, and nobody acknowledged it*", _failed(state)), name),
        *_section(_next(state, plan), name),
        _context(_as_of(head, status, now, number)),
    ]
    return SlackMessage(text=cut(escaped(title), LONGEST_TEXT, name), blocks=blocks)


def _share_words(state: State, plan: Plan) -> str:
    if not state.share_bp:
        return f"all traffic on {plan.baseline.model}"
    return f"{format_share(state.share_bp)} on {plan.candidate.model}"


def _facts(state: State, plan: Plan) -> list[tuple[str, str]]:
    step = f"{state.step + 1} of {len(plan.steps)}" if state.step >= 0 else "before the first"
    facts = [
        ("Share", format_share(state.share_bp)),
        ("Step", step),
        ("From", plan.baseline.model),
        ("To", plan.candidate.model),
        ("Since", moment(state.paused.since if state.paused else _since(state))),
    ]
    if state.paused is not None:
        facts.append(("Rolled back if nobody decides by", moment(state.paused.deadline)))
    if state.pins:
        facts.append(("Pinned to the baseline", ", ".join(state.pins)))
    facts.append(("Plan", f"revision {state.revision}, {state.plan_digest[:12]}"))
    return facts


def _since(state: State) -> datetime:
    return state.step_started_at if state.phase is Phase.PROGRESSING else state.updated_at


def _waits(head: Head, status: Status | None) -> list[str]:
    """What the step waits for, as the last judgement of the present state saw it."""
    if status is None or not head.state.phase.judged or status.at < head.state.updated_at:
        return []
    return [escaped(wait_line(one, head.plan)) for one in status.waits]


def _worst(status: Status | None, plan: Plan) -> str:
    known = {rule.name for rule in plan.rules}
    verdicts = [one for one in status.verdicts if one.rule in known] if status else []
    if not verdicts:
        return ""
    worst = max(verdicts, key=lambda one: _weight(one, plan))
    word = worst.outcome.value.replace("_", " ").upper()
    title = "Worst rule" if len(verdicts) > 1 else "Rule"
    return f"*{title}: {escaped(worst.rule)}, {word}*\n{escaped(verdict_line(worst, plan))}"


def _weight(verdict: Verdict, plan: Plan) -> tuple[int, float]:
    """How near to trouble: first by verdict, then by how much of its limit is used up."""
    order = (
        Outcome.NOT_APPLICABLE,
        Outcome.PASS,
        Outcome.INSUFFICIENT,
        Outcome.UNMEASURED,
        Outcome.FAIL,
    )
    rule, look = plan.rule(verdict.rule), verdict.reading.latest
    limit = limit_in(rule, look) if rule else None
    if rule is None or look is None or look.value is None or not limit:
        return order.index(verdict.outcome), 0.0
    used = limit / look.value if rule.below and look.value else look.value / limit
    return order.index(verdict.outcome), used


def _failed(state: State) -> list[str]:
    return [
        escaped(f"{one.rule}{f' on {one.intent}' if one.intent else ''}, {moment(one.at)}")
        for one in state.open_failures
    ]


def _next(state: State, plan: Plan) -> str:
    commands = "\n".join(f"`{one}`  {escaped(what)}" for one, what in _commands(state, plan))
    return f"*What to do*\n{commands}"


def _commands(state: State, plan: Plan) -> list[tuple[str, str]]:
    name = state.name
    rollback = (f'canaryctl rollback {name} --reason "…"', f"all traffic to {plan.baseline.model}")
    look = (f"canaryctl describe {name}", "the whole evidence")
    match state.phase:
        case Phase.PENDING | Phase.PROGRESSING:
            step = plan.steps[state.step] if state.step >= 0 else None
            asks = step is not None and step.approval and not state.approved
            approve = (f'canaryctl approve {name} --reason "…"', "permit leaving this step")
            pause = (f'canaryctl pause {name} --reason "…"', "freeze the share")
            return [*([approve] if asks else []), pause, rollback, look]
        case Phase.PAUSED:
            resume = (f'canaryctl resume {name} --reason "…"', "go on")
            return [look, resume, rollback]
        case Phase.BAKING:
            return [rollback, look]
        case Phase.COMPLETE:
            return [(f'canaryctl retire {name} --reason "…"', "sign it off"), rollback, look]
        case Phase.ROLLED_BACK:
            return [look, (f'canaryctl retry {name} --reason "…"', "start a new attempt")]
        case Phase.RETIRED:
            return [(f"canaryctl history {name}", "what happened")]
        case unknown:
            assert_never(unknown)


def _as_of(head: Head, status: Status | None, now: datetime, number: int) -> str:
    said = [
        f"as of {moment(now)}, record {head.seq}",
        f"judged {moment(status.at)}" if status is not None else "not judged yet",
        "what happened is in the thread",
    ]
    if number > 1:
        said.append(f"message {number} of this rollout: the one before was deleted")
    return escaped(" · ".join(said))


# A message to see whether messages arrive


def trial(place: str, now: datetime) -> SlackMessage:
    """What `notify test` sends."""
    said = (
        f"A test of notices to {escaped(place)}, sent {moment(now)} by `canaryctl notify test`. "
        "No rollout is concerned."
    )
    blocks = [_header(":test_tube: canaryctl test message"), *_section(said, "")]
    return SlackMessage(text=f"TEST: {said}", blocks=blocks)


# Parts


def escaped(text: str) -> str:
    """Text as Slack's markup shows it letter by letter; what could mention somebody is not markup any more."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, longest: int, name: str) -> str:
    """At most so long, whole lines if that leaves one; what is missing is counted."""
    if len(text) <= longest:
        return text
    lines = text.split("\n")
    kept: list[str] = []
    room = longest - 80  # for what is said of the rest
    for line in lines:
        if sum(map(len, kept)) + len(kept) + len(line) > room:
            break
        kept.append(line)
    where = f"`canaryctl history {name}`" if name else "the log"
    if kept:
        return "\n".join((*kept, f"… {len(lines) - len(kept)} more; {where}"))
    whole = _unsplit(text[:room])
    return f"{whole}… {len(text) - len(whole):,} more characters; {where}"


def _unsplit(text: str) -> str:
    """Without an escape at its end that was cut in two."""
    start = text.rfind("&", max(len(text) - 5, 0))
    return text if start < 0 or ";" in text[start:] else text[:start]


def _header(text: str) -> Block:
    short = text if len(text) <= LONGEST_HEADER else f"{text[: LONGEST_HEADER - 1]}…"
    return {"type": "header", "text": {"type": "plain_text", "text": short, "emoji": True}}


def _section(text: str, name: str) -> list[Block]:
    """None where there is nothing to say: Slack refuses an empty one."""
    if not text.strip():
        return []
    return [{"type": "section", "text": _markup(cut(text, LONGEST_SECTION, name))}]


def _fields(facts: Iterable[tuple[str, str]], name: str) -> Block:
    shown = (f"*{title}*\n{escaped(value)}" for title, value in facts)
    return {"type": "section", "fields": [_markup(cut(one, LONGEST_FIELD, name)) for one in shown]}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [_markup(cut(text, LONGEST_FIELD, ""))]}


def _markup(text: str) -> Mapping[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _bullets(title: str, lines: Iterable[str]) -> str:
    found = [f"• {line}" for line in lines]
    return "\n".join((title, *found)) if found else ""


def _minutes(span: timedelta) -> timedelta:
    return span - span % timedelta(minutes=1)
