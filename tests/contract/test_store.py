"""The contract of `controller.ports.Store`, at its boundaries, for every store there is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controller.errors import ChainBroken, Conflict, NotFound
from controller.ports import Backlog, Judged, Note, Store, Thread, VerifiedStretch
from controller.rollout.anchors import verify_anchors
from controller.rollout.plan import Severity, Slack, Webhook
from controller.rollout.record import seal, verify_chain
from controller.rollout.timeline import minute_of
from tests.accounting.factories import (
    HALF,
    HOUR,
    MICROSECOND,
    MINUTE,
    NOW,
    ROLLOUT,
    SECOND,
    commit,
    contents,
    notice,
    observation,
    plan,
    send,
    started,
)

# The database


def test_a_store_at_this_releases_schema_is_fit_for_use(store: Store):
    store.check()


# Commits


def test_a_commit_is_read_back_letter_by_letter(store: Store):
    given = commit(notices=(notice("start"),), shares=HALF)

    store.commit(given)

    head = store.head(ROLLOUT)
    assert (head.state, head.plan, head.seq, head.hash) == (
        given.record.value.state,
        given.plan.value,
        1,
        given.record.hash,
    )
    assert list(store.records(ROLLOUT)) == [given.record]
    assert store.plan(given.plan.hash) == given.plan
    assert list(store.splits(ROLLOUT)) == [given.split]
    assert [owed.notice for owed in store.deliveries(ROLLOUT)] == [notice("start")]


def test_a_record_keeps_the_text_that_was_hashed(store: Store):
    given = commit()
    later_release = replace(
        given.record, text=given.record.text + " "
    )  # a text this release would not write

    store.commit(replace(given, record=later_release))

    assert store.records(ROLLOUT)[0].text == given.record.text + " "


def test_records_form_a_chain_that_ends_in_the_head(store: Store):
    store.commit(commit())
    store.commit(commit(store.head(ROLLOUT)))
    store.commit(commit(store.head(ROLLOUT)))

    assert verify_chain(store.records(ROLLOUT)) == store.head(ROLLOUT).hash
    assert [sealed.value.seq for sealed in store.records(ROLLOUT, after=1)] == [2, 3]
    assert store.records(ROLLOUT, after=3) == []


def test_the_second_of_two_commits_on_one_head_is_refused_and_writes_nothing(store: Store):
    store.commit(commit())
    head = store.head(ROLLOUT)
    store.commit(commit(head))
    before = contents(store)

    with pytest.raises(Conflict, match="Read it again"):
        store.commit(commit(head, notices=(notice("late"),), shares=HALF, at=NOW + SECOND))

    assert contents(store) == before


def test_a_first_record_is_refused_where_the_rollout_exists(store: Store):
    store.commit(commit())

    with pytest.raises(Conflict):
        store.commit(commit(at=NOW + SECOND))


def test_a_later_record_is_refused_where_there_is_no_rollout(store: Store):
    store.commit(commit())
    head = store.head(ROLLOUT)

    with pytest.raises(Conflict, match="no record"):
        store.commit(commit(head, rollout="other/1"))

    assert [head.state.rollout for head in store.heads()] == [ROLLOUT]


def test_a_record_that_does_not_follow_from_its_head_is_refused(store: Store):
    store.commit(commit())
    given = commit(store.head(ROLLOUT))
    skipping = replace(given, record=seal(replace(given.record.value, seq=3)))

    with pytest.raises(ChainBroken, match="record 3 does not follow record 1"):
        store.commit(skipping)


def test_a_lower_fence_is_refused_and_the_same_one_is_not(store: Store):
    first, second = store.take_fence(), store.take_fence()
    store.commit(commit(fence=second))
    before = contents(store)

    with pytest.raises(Conflict, match=f"fence {first}.*fence {second} was taken"):
        store.commit(commit(store.head(ROLLOUT), fence=first))

    assert contents(store) == before
    store.commit(commit(store.head(ROLLOUT), fence=second))


def test_a_command_commits_without_a_fence(store: Store):
    store.take_fence()

    store.commit(commit(fence=None))

    assert store.head(ROLLOUT).seq == 1


def test_fences_rise(store: Store):
    assert store.take_fence() < store.take_fence() < store.take_fence()


def test_a_split_version_is_committed_once(store: Store):
    store.commit(commit(shares=HALF, version=2))

    with pytest.raises(Conflict, match="version 2 is not above version 2"):
        store.commit(commit(store.head(ROLLOUT), shares=HALF, version=2))

    store.commit(commit(store.head(ROLLOUT), shares={"refund": 0}, version=3))
    assert [(split.version, dict(split.shares)) for split in store.splits(ROLLOUT)] == [
        (2, HALF),
        (3, {"refund": 0}),
    ]


# Heads


def test_heads_come_by_name_and_attempt(store: Store):
    for rollout in ("b/2", "a/10", "a/9", "b/1"):
        store.commit(commit(rollout=rollout))

    assert [head.state.rollout for head in store.heads()] == ["a/9", "a/10", "b/1", "b/2"]


def test_a_bare_name_is_its_newest_attempt(store: Store):
    for rollout in ("a/9", "a/10"):
        store.commit(commit(rollout=rollout))

    assert store.head("a").state.rollout == "a/10"
    assert store.head("a/9").state.rollout == "a/9"


def test_an_unknown_rollout_is_not_found_with_similar_names(store: Store):
    started(store)

    with pytest.raises(NotFound, match="Did you mean support-bot"):
        store.head("suport-bot")
    with pytest.raises(NotFound, match="nor one with a similar name"):
        store.head("xyz")


def test_an_unknown_plan_is_not_found(store: Store):
    with pytest.raises(NotFound):
        store.plan("0" * 64)


def test_tips_change_with_every_record_and_every_count(store: Store):
    started(store)
    assert store.tips() == {ROLLOUT: (1, 0)}

    send(store, observation("a"))
    store.commit(commit(store.head(ROLLOUT)))

    assert store.tips() == {ROLLOUT: (2, 1)}


# Outbox


def due(store: Store, *, at: timedelta = timedelta(0), limit: int = 100) -> list[str]:
    return [owed.id for owed in store.owed(NOW + at, limit=limit)]


def test_a_notice_is_handed_out_once_the_earlier_ones_of_its_rollout_are_delivered(store: Store):
    store.commit(commit(notices=(notice("one"), notice("two"))))

    assert due(store) == [f"{ROLLOUT}:one@log"]
    store.delivered(f"{ROLLOUT}:one@log", NOW)
    assert due(store) == [f"{ROLLOUT}:two@log"]
    store.delivered(f"{ROLLOUT}:two@log", NOW)
    assert due(store) == []


def test_a_notice_put_off_holds_up_its_own_rollout_only(store: Store):
    store.commit(commit(notices=(notice("one"), notice("two"))))
    store.commit(commit(rollout="other/1", notices=(notice("three"),)))

    store.undelivered(f"{ROLLOUT}:one@log", error="timeout", next_attempt=NOW + MINUTE)

    assert due(store) == ["other/1:three@log"]
    assert due(store, at=MINUTE - MICROSECOND) == ["other/1:three@log"]
    assert due(store, at=MINUTE) == [f"{ROLLOUT}:one@log", "other/1:three@log"]
    assert due(store, at=MINUTE, limit=1) == [f"{ROLLOUT}:one@log"]
    tried = store.deliveries(ROLLOUT)[0]
    assert (tried.attempts, tried.last_error, tried.next_attempt) == (1, "timeout", NOW + MINUTE)


def test_what_is_owed_twice_under_one_key_is_owed_once(store: Store):
    store.commit(commit(notices=(notice("one"),)))
    store.delivered(f"{ROLLOUT}:one@log", NOW)

    store.commit(commit(store.head(ROLLOUT), notices=(notice("one"), notice("two"))))

    assert due(store) == [f"{ROLLOUT}:two@log"]
    assert [owed.id for owed in store.deliveries(ROLLOUT)] == [
        f"{ROLLOUT}:one@log",
        f"{ROLLOUT}:two@log",
    ]


def test_a_delivered_notice_stays_as_it_was(store: Store):
    store.commit(commit(notices=(notice("one"),)))
    store.delivered(f"{ROLLOUT}:one@log", NOW)
    before = store.deliveries(ROLLOUT)

    store.delivered(f"{ROLLOUT}:one@log", NOW + HOUR)
    store.undelivered(f"{ROLLOUT}:one@log", error="late", next_attempt=NOW + HOUR)

    assert store.deliveries(ROLLOUT) == before
    assert before[0].delivered == NOW


def test_an_unknown_notice_is_not_found(store: Store):
    with pytest.raises(NotFound):
        store.delivered("nobody's", NOW)
    with pytest.raises(NotFound):
        store.undelivered("nobody's", error="", next_attempt=NOW)


TOLD = replace(
    plan(),
    slack=Slack(channel="#ops", critical="#page"),
    webhook=Webhook(name="pager", url="https://pager/x", least=Severity.WARNING),
)


def owing(store: Store, *severities: Severity) -> None:
    """A rollout that owes a notice of each severity, under a plan that tells a channel and a pager."""
    notices = (replace(notice(one.value), severity=one) for one in severities)
    store.commit(commit(of=TOLD, notices=tuple(notices)))


def test_a_notice_is_owed_to_each_of_its_destinations(store: Store):
    owing(store, Severity.INFO, Severity.CRITICAL)

    assert [(owed.notice.key, owed.destination) for owed in store.deliveries(ROLLOUT)] == [
        ("info", "log"),
        ("info", "slack:#ops"),
        ("critical", "log"),
        ("critical", "slack:#page"),
        ("critical", "webhook:pager"),
    ]


def test_a_destination_that_is_put_off_holds_up_no_other(store: Store):
    owing(store, Severity.INFO, Severity.WARNING)
    store.undelivered(f"{ROLLOUT}:info@slack:#ops", error="down", next_attempt=NOW + MINUTE)
    store.delivered(f"{ROLLOUT}:info@log", NOW)

    assert due(store) == [f"{ROLLOUT}:warning@log", f"{ROLLOUT}:warning@webhook:pager"]
    later = store.owed(NOW + MINUTE, destination="slack:#ops")
    assert [one.notice.key for one in later] == ["info"]


def test_an_attempt_is_noted_by_one_of_those_who_read_the_same(store: Store):
    owing(store, Severity.INFO)
    (first,) = store.owed(NOW, destination="slack:#ops")

    assert store.sending(first, NOW, until=NOW + MINUTE)

    assert not store.sending(first, NOW + SECOND, until=NOW + HOUR)
    assert store.owed(NOW, destination="slack:#ops") == []
    (again,) = store.owed(NOW + MINUTE, destination="slack:#ops")
    assert (again.sending, again.attempts) == (NOW, 0)
    assert store.sending(again, NOW + MINUTE, until=NOW + HOUR)


def test_doubt_ends_with_the_delivery_or_with_a_failure_that_leaves_none(store: Store):
    owing(store, Severity.INFO)
    (one,) = store.owed(NOW, destination="slack:#ops")
    assert store.sending(one, NOW, until=NOW + MINUTE)

    store.undelivered(one.id, error="timeout", next_attempt=NOW, doubtful=True)
    (doubted,) = store.owed(NOW, destination="slack:#ops")
    assert (doubted.sending, doubted.attempts, doubted.last_error) == (NOW, 1, "timeout")
    store.undelivered(one.id, error="refused", next_attempt=NOW)
    (clear,) = store.owed(NOW, destination="slack:#ops")
    assert (clear.sending, clear.attempts) == (None, 2)
    assert store.sending(clear, NOW, until=NOW + MINUTE)
    store.delivered(one.id, NOW, reference="1763.7")

    (kept,) = (row for row in store.deliveries(ROLLOUT) if row.id == one.id)
    assert (kept.delivered, kept.sending, kept.reference, kept.attempts) == (NOW, None, "1763.7", 2)
    assert not store.sending(kept, NOW, until=NOW + HOUR)


def test_what_is_told_late_of_an_attempt_leaves_the_doubt_about_a_later_one(store: Store):
    owing(store, Severity.INFO)
    (one,) = store.owed(NOW, destination="slack:#ops")
    assert store.sending(one, NOW, until=NOW)
    (again,) = store.owed(NOW, destination="slack:#ops")
    assert store.sending(again, NOW + MINUTE, until=NOW)  # another sender's

    store.undelivered(one.id, error="refused", next_attempt=NOW, begun=NOW)

    (kept,) = store.owed(NOW, destination="slack:#ops")
    assert (kept.sending, kept.attempts, kept.last_error) == (NOW + MINUTE, 0, "")


def test_the_backlog_counts_what_is_not_delivered_by_destination(store: Store):
    assert store.backlog() == []
    owing(store, Severity.INFO, Severity.WARNING)
    store.commit(commit(rollout="other/1", notices=(notice("one"),), at=NOW + HOUR))
    store.delivered(f"{ROLLOUT}:info@log", NOW)
    store.delivered(f"{ROLLOUT}:warning@log", NOW)

    assert store.backlog() == [
        Backlog(destination="log", count=1, oldest=NOW + HOUR),
        Backlog(destination="slack:#ops", count=2, oldest=NOW),
        Backlog(destination="webhook:pager", count=1, oldest=NOW),
    ]


# Threads


def test_a_thread_is_kept_by_rollout_and_destination(store: Store):
    started(store)
    one = Thread(rollout=ROLLOUT, destination="slack:#ops", number=1, sending=NOW)
    other = replace(one, destination="slack:#page", sending=None)
    store.note_thread(other)
    store.note_thread(one)
    placed = replace(one, channel="C1", ts="1.5", seq=1, sending=None)
    store.note_thread(placed)

    assert store.threads() == [placed, other]
    assert store.threads(destination="slack:#page") == [other]
    assert store.threads(rollout="nobody/1") == []


def test_a_thread_is_behind_when_it_shows_an_older_record(store: Store):
    started(store)
    absent = Thread(rollout=ROLLOUT, destination="slack:#page", number=1)
    shown = Thread(
        rollout=ROLLOUT,
        destination="slack:#ops",
        number=1,
        channel="C1",
        ts="1.5",
        seq=1,
        shown=NOW,
    )
    store.note_thread(absent)
    store.note_thread(shown)
    assert store.threads(stale=NOW) == []

    store.commit(commit(store.head(ROLLOUT)))

    assert store.threads(stale=NOW) == [shown]
    assert store.behind(NOW) == ["slack:#ops"]
    assert store.threads(destination="slack:#page", stale=NOW) == []


def test_a_thread_of_a_rollout_that_is_judged_is_behind_after_a_while(store: Store):
    started(store)
    for number, at in enumerate((NOW + SECOND, NOW)):
        thread = Thread(
            rollout=ROLLOUT,
            destination=f"slack:#{number}",
            number=1,
            channel="C1",
            ts="1.5",
            seq=1,
            shown=at,
        )
        store.note_thread(thread)

    behind = store.threads(stale=NOW + MINUTE)

    assert [one.destination for one in behind] == ["slack:#1", "slack:#0"]
    assert store.threads(stale=NOW + MINUTE, limit=1) == behind[:1]
    assert store.behind(NOW + MINUTE) == ["slack:#0", "slack:#1"]
    assert store.threads(stale=NOW) == []
    assert store.behind(NOW) == []


def test_what_shows_an_older_record_comes_before_what_is_merely_old(store: Store):
    started(store)
    store.commit(commit(rollout="other/1"))
    old = Thread(
        rollout="other/1",
        destination="slack:#ops",
        number=1,
        channel="C1",
        ts="1.5",
        seq=1,
        shown=NOW,
    )
    store.note_thread(old)
    store.note_thread(replace(old, rollout=ROLLOUT, shown=NOW + SECOND))
    store.commit(commit(store.head(ROLLOUT)))

    behind = store.threads(destination="slack:#ops", stale=NOW + MINUTE)

    assert [one.rollout for one in behind] == [ROLLOUT, "other/1"]


# Anchors


def test_there_is_one_anchor_an_hour(store: Store):
    assert store.anchor(NOW) is None, "there is no rollout yet"
    started(store)

    first = store.anchor(NOW)

    assert first is not None
    assert first.heads == {ROLLOUT: f"1:{store.head(ROLLOUT).hash}"}
    assert store.anchor(NOW + HOUR - MICROSECOND) is None
    assert store.anchor(NOW - HOUR) is None, "time does not go back"
    second = store.anchor(NOW + HOUR)
    assert second is not None
    assert [sealed.value for sealed in store.anchors()] == [first, second]


def test_anchors_hold_the_chains_together(store: Store):
    started(store)
    store.anchor(NOW)
    store.commit(commit(store.head(ROLLOUT)))
    store.anchor(NOW + HOUR)
    hashes = {(ROLLOUT, sealed.value.seq): sealed.hash for sealed in store.records(ROLLOUT)}

    verify_anchors(store.anchors(), lambda rollout, seq: hashes.get((rollout, seq)))

    with pytest.raises(ChainBroken, match="its chain was rewritten"):
        verify_anchors(store.anchors(), lambda *_: "f" * 64)
    with pytest.raises(ChainBroken, match="its chain was cut"):
        verify_anchors(store.anchors(), lambda *_: None)
    with pytest.raises(ChainBroken, match="anchor 1 is missing"):
        verify_anchors(store.anchors()[1:], lambda rollout, seq: hashes.get((rollout, seq)))


# Reads


def test_rollups_are_those_changed_after_a_sequence(store: Store):
    started(store)
    send(store, observation("a"))
    send(store, observation("b", at=NOW + MINUTE))

    assert [row.minute for row in store.rollups(ROLLOUT, changed_after=1)[0]] == [
        minute_of(NOW) + 1
    ]
    assert store.rollups(ROLLOUT, changed_after=2) == ([], 2)
    send(store, observation("c"))
    changed = store.rollups(ROLLOUT, changed_after=1)[0]
    assert sorted((row.seq, row.minute) for row in changed) == [
        (2, minute_of(NOW) + 1),
        (3, minute_of(NOW)),
    ]
    assert store.rollups("other/1") == ([], 0)


def test_stretches_of_one_version_that_touch_are_joined(store: Store):
    started(store)

    def verify(version: int, start: int, end: int) -> None:
        stretch = VerifiedStretch(
            version=version, start=NOW + start * MINUTE, end=NOW + end * MINUTE
        )
        store.note([Note(rollout=ROLLOUT, verified=(stretch,))])

    for version, start, end in [(1, 0, 1), (1, 1, 2), (1, 4, 5), (2, 2, 3), (1, 0, 1), (1, 6, 6)]:
        verify(version, start, end)

    def stretches() -> list[tuple[int, int, int]]:
        return [
            (one.version, (one.start - NOW) // MINUTE, (one.end - NOW) // MINUTE)
            for one in store.verified(ROLLOUT)
        ]

    assert stretches() == [(1, 0, 2), (2, 2, 3), (1, 4, 5)]
    verify(1, 2, 4)
    assert stretches() == [(1, 0, 5), (2, 2, 3)]


def test_how_far_was_judged_is_replaced(store: Store):
    started(store)
    assert store.judged(ROLLOUT) is None

    note = Note(rollout=ROLLOUT, through=NOW, seq=1, status='{"waits":["hold_time"]}')
    store.note([note])
    store.note([replace(note, through=NOW + MINUTE, seq=2, status='{"samples":3}')])

    assert store.judged(ROLLOUT) == Judged(through=NOW + MINUTE, seq=2, status={"samples": 3})


def test_nothing_is_noted_of_an_unknown_rollout(store: Store):
    with pytest.raises(NotFound):
        store.note([Note(rollout=ROLLOUT, through=NOW)])
    with pytest.raises(NotFound):
        store.sight(ROLLOUT)


def test_notes_under_a_fence_that_was_passed_are_refused_whole(store: Store):
    started(store)
    mine = store.take_fence()
    store.note([Note(rollout=ROLLOUT, through=NOW)], fence=mine)
    store.take_fence()
    stretch = VerifiedStretch(version=1, start=NOW, end=NOW + MINUTE)

    with pytest.raises(Conflict):
        store.note([Note(rollout=ROLLOUT, through=NOW + MINUTE, verified=(stretch,))], fence=mine)

    judged = store.judged(ROLLOUT)
    assert judged is not None
    assert judged.through == NOW
    assert store.verified(ROLLOUT) == []


def test_notes_of_many_rollouts_are_written_together_or_not_at_all(store: Store):
    store.commit(commit())
    store.commit(commit(rollout="other/1"))
    stretches = tuple(
        VerifiedStretch(version=1, start=NOW + i * MINUTE, end=NOW + (i + 1) * MINUTE)
        for i in (0, 2, 1)
    )
    both = [
        Note(rollout=ROLLOUT, verified=stretches, through=NOW),
        Note(rollout="other/1", verified=stretches[:2]),
    ]

    with pytest.raises(NotFound):
        store.note([*both, Note(rollout="nobody/1", through=NOW)])
    assert store.judged(ROLLOUT) is None
    assert store.verified(ROLLOUT) == []
    store.note(both)

    assert store.judged(ROLLOUT) == Judged(through=NOW, seq=0)
    assert store.judged("other/1") is None
    assert len(store.verified(ROLLOUT)) == 1
    assert len(store.verified("other/1")) == 2


# Sights


def test_a_sight_holds_what_changed_since_the_known_one(store: Store):
    started(store)
    send(store, observation("a"))

    first = store.sight(ROLLOUT)
    everything = store.rollups(ROLLOUT)
    send(store, observation("b", at=NOW + MINUTE))
    second = store.sight(ROLLOUT, known=first)

    assert first.head == store.head(ROLLOUT)
    assert list(first.splits) == list(store.splits(ROLLOUT))
    assert (first.rows, first.seq) == everything
    assert (second.rows, second.seq) == store.rollups(ROLLOUT, changed_after=first.seq)
    assert [row.minute for row in second.rows] == [minute_of(NOW) + 1]
    assert second.head == first.head
    assert list(store.sight(ROLLOUT, known=second).rows) == []


def test_sights_of_many_are_what_each_would_be(store: Store):
    started(store)
    store.commit(commit(rollout="other/1"))
    store.commit(commit(rollout="third/1"))
    send(store, observation("a"))
    known = store.sight(ROLLOUT)
    other = store.sight("other/1")
    send(store, observation("b", at=NOW + MINUTE), observation("c", at=NOW + 2 * MINUTE))
    store.commit(commit(store.head("other/1"), rollout="other/1", shares=HALF, version=2))

    asked = {ROLLOUT: known, "other/1": other, "third/1": None, "nobody/1": None}
    found = store.sights(asked)

    assert found.keys() == {ROLLOUT, "other/1", "third/1"}
    for rollout, sight in found.items():
        alone = store.sight(rollout, known=asked[rollout])
        assert (sight.head, sight.seq) == (alone.head, alone.seq)
        assert list(sight.splits) == list(alone.splits)
        assert list(sight.rows) == list(alone.rows)
    assert [row.minute for row in found[ROLLOUT].rows] == [minute_of(NOW) + i for i in (1, 2)]
    assert store.sights({}) == {}


def test_a_sight_shows_a_commit_and_its_split(store: Store):
    started(store)
    first = store.sight(ROLLOUT)

    store.commit(commit(store.head(ROLLOUT), shares=HALF, version=2))
    second = store.sight(ROLLOUT, known=first)

    assert second.head == store.head(ROLLOUT) != first.head
    assert list(second.splits) == list(store.splits(ROLLOUT))
    assert len(second.splits) == len(first.splits) + 1
