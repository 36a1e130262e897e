"""Notices in Slack: one message per rollout and channel that shows the present, and events in its thread.

What is sent carries its `Owed.id` as metadata, by which it is found again after an attempt of unknown fate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from controller.clock import Clock
from controller.notify.blocks import LATE, SlackMessage, event, record_of, standing, trial
from controller.notify.failure import Undelivered
from controller.notify.slack_api import TIMEOUT_S, Blind, Gone, SlackApi
from controller.notify.words import words
from controller.ports import Head, Owed, Store, Thread
from controller.rollout.decision import Action
from controller.rollout.destinations import place_of
from controller.rollout.plan import Plan, Severity
from controller.rollout.record import Record
from controller.rollout.status import status_of

EVENT_TYPE: Final = "canaryctl_notice"
_STOPS: Final = (Action.PAUSE, Action.PIN, Action.ROLLBACK)
SKEW: Final = timedelta(minutes=10)  # by how much Slack's clock may differ from ours

_log = structlog.get_logger(__name__)


class SlackNotifier:
    """Slack as the destinations `slack:#channel`. Without a token everything is undelivered, and says so."""

    pace = timedelta(seconds=1)  # Slack asks for about one message a second in a channel
    settle = timedelta(seconds=2 * TIMEOUT_S)

    def __init__(self, store: Store, clock: Clock, api: SlackApi) -> None:
        self._store = store
        self._clock = clock
        self._api = api
        self._unread: set[str] = set()  # ids that could not be looked up: the app may not read

    def send(self, owed: Owed, plan: Plan) -> str:
        now = self._clock.now()
        late = now - owed.notice.at > LATE
        thread = self._thread(owed)
        try:
            if late and thread.seq < self._store.head(owed.rollout).seq:
                self._show(thread)  # what is shown of the present comes before news of the past
            message = event(
                owed,
                words(owed.notice, plan, owed.rollout),
                now=now,
                since=self._since(owed) if late else (),
                repeated=owed.id in self._unread,
            )
            channel, ts = self._api.post(
                thread.channel,
                message,
                _metadata(owed.id, owed.rollout, record_of(owed)),
                thread_ts=thread.ts,
                broadcast=owed.notice.severity is Severity.CRITICAL and not late,
            )
        except Gone as error:
            raise self._begin_anew(thread) from error
        self._unread.discard(owed.id)
        return f"{channel}/{ts}"

    def find(self, owed: Owed, plan: Plan) -> str | None:
        thread = self._kept(owed)
        if thread is None or not thread.ts or owed.sending is None:
            return None  # an event is only ever sent below a message that is there
        try:
            ts = _found(self._api.thread(thread.channel, thread.ts, owed.sending - SKEW), owed.id)
        except Gone:
            return None
        except Blind as error:
            self._unread.add(owed.id)
            _log.warning("slack_not_looked_up", notice=owed.id, error=str(error))
            return None
        return None if ts is None else f"{thread.channel}/{ts}"

    def refresh(self, destination: str, stale: datetime) -> None:
        """A message that was deleted is replaced with the next event."""
        behind = self._store.threads(destination=destination, stale=stale, limit=1)
        if not behind:
            return
        try:
            self._show(behind[0])
        except Gone:
            _log.warning("slack_message_deleted", what=str(self._begin_anew(behind[0])))

    def test(self, channel: str) -> str:
        """Send a test message and look it up; what came of it, in words. Undelivered, with what to do."""
        who = self._api.whoami()
        now = self._clock.now()
        place, ts = self._api.post(channel, trial(channel, now), _metadata("test", "", 0))
        try:
            next(self._api.thread(place, ts, now - SKEW), None)
        except Blind as error:
            said = f"delivered, but what is in doubt cannot be looked up and may be told twice: {error}"
            raise Undelivered(said, lasting=True) from error
        return f"delivered to {channel} of {who.get('team')}, as {who.get('user')}"

    # The message above a thread

    def _kept(self, owed: Owed) -> Thread | None:
        found = self._store.threads(destination=owed.destination, rollout=owed.rollout)
        return found[0] if found else None

    def _thread(self, owed: Owed) -> Thread:
        """The thread of a rollout in a channel; made if it is not there."""
        thread = self._kept(owed) or Thread(
            rollout=owed.rollout, destination=owed.destination, number=1
        )
        if thread.ts:
            return thread
        if thread.sending is not None:
            found = self._look_for(thread, thread.sending)
            if found is not None:
                self._store.note_thread(found)
                return found
        return self._make(thread)

    def _make(self, thread: Thread) -> Thread:
        now = self._clock.now()
        # Noted before it is sent, as a notice is: without an answer it is in doubt, and looked for.
        self._store.note_thread(replace(thread, sending=now))
        seq, message = self._standing(thread, now)
        try:
            channel, ts = self._api.post(
                place_of(thread.destination),
                message,
                _metadata(_parent_id(thread), thread.rollout, seq),
            )
        except Undelivered as error:
            if not error.doubtful:
                self._store.note_thread(replace(thread, sending=None))
            raise
        made = replace(thread, channel=channel, ts=ts, seq=seq, shown=now, sending=None)
        self._store.note_thread(made)
        return made

    def _look_for(self, thread: Thread, sending: datetime) -> Thread | None:
        """A message that may have arrived. It shows what was so when it was sent, so it is behind."""
        wanted = _parent_id(thread)
        try:
            channel = self._channel(thread)
            ts = _found(self._api.history(channel, sending - SKEW), wanted) if channel else None
        except Blind as error:
            _log.warning("slack_not_looked_up", notice=wanted, error=str(error))
            return None
        if channel is None or ts is None:
            return None
        return replace(thread, channel=channel, ts=ts, seq=0, shown=sending, sending=None)

    def _channel(self, thread: Thread) -> str | None:
        """Its id: other rollouts' threads know it, else Slack does."""
        others = self._store.threads(destination=thread.destination)
        known = next((one.channel for one in others if one.channel), None)
        return known or self._api.channel_id(place_of(thread.destination))

    def _show(self, thread: Thread) -> None:
        """Bring the message up to date. Gone."""
        now = self._clock.now()
        seq, message = self._standing(thread, now)
        metadata = _metadata(_parent_id(thread), thread.rollout, seq)
        self._api.update(thread.channel, thread.ts, message, metadata)
        self._store.note_thread(replace(thread, seq=seq, shown=now))

    def _standing(self, thread: Thread, now: datetime) -> tuple[int, SlackMessage]:
        head, judged = self._store.head(thread.rollout), self._store.judged(thread.rollout)
        status = status_of(judged.status) if judged is not None and judged.status else None
        why = self._why(head)
        return head.seq, standing(head, status, now=now, why=why, number=thread.number)

    def _why(self, head: Head) -> tuple[str, ...]:
        """Why it was stopped, where that is the last thing that happened to it."""
        last = self._store.records(head.state.rollout, after=head.seq - 1)
        notices = [one for sealed in last for one in sealed.value.notices if one.action in _STOPS]
        return words(notices[-1], head.plan, head.state.rollout).why if notices else ()

    def _begin_anew(self, thread: Thread) -> Undelivered:
        """The message of a thread is not there any more: the next event gets a new one."""
        number = thread.number + 1
        self._store.note_thread(
            Thread(rollout=thread.rollout, destination=thread.destination, number=number)
        )
        return Undelivered(
            f"somebody deleted the message of {thread.rollout} in {place_of(thread.destination)}; "
            f"a new one (number {number}) takes its place",
            alone=True,
            wait=timedelta(0),
        )

    def _since(self, owed: Owed) -> Sequence[Record]:
        after = self._store.records(owed.rollout, after=record_of(owed))
        return [sealed.value for sealed in after]


def _parent_id(thread: Thread) -> str:
    return f"{thread.rollout}#{thread.number}@{thread.destination}"


def _metadata(name: str, rollout: str, record: int) -> Mapping[str, Any]:
    return {
        "event_type": EVENT_TYPE,
        "event_payload": {"id": name, "rollout": rollout, "record": record},
    }


def _found(messages: Iterable[Mapping[str, Any]], wanted: str) -> str | None:
    """The `ts` of the message with this id."""
    return next((str(one["ts"]) for one in messages if _id_of(one) == wanted), None)


def _id_of(message: Mapping[str, Any]) -> str | None:
    metadata = message.get("metadata") or {}
    if metadata.get("event_type") != EVENT_TYPE:
        return None
    found: str | None = (metadata.get("event_payload") or {}).get("id")
    return found
