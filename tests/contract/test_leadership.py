"""The lease by which one controller leads, on every store. Invariant 7."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from controller.errors import Conflict, Fenced
from controller.ports import Leadership, Note, Store, VerifiedStretch
from tests.accounting.factories import MINUTE, NOW, ROLLOUT, commit

TERM = timedelta(seconds=15)
NOTE = Note(
    rollout=ROLLOUT,
    verified=(VerifiedStretch(version=1, start=NOW, end=NOW + MINUTE),),
    through=NOW,
    status="{}",
)


def led(store: Store, holder: str = "one", term: timedelta = TERM) -> Leadership:
    return store.take_lead(store.leadership(), holder=holder, term=term)


def test_nobody_leads_a_fresh_database(store: Store):
    assert store.leadership().holder == ""


def test_who_takes_the_lead_has_a_fence_above_every_one_before(store: Store):
    before = store.take_fence()

    held = led(store)

    assert (held.holder, held.term, held.fence) == ("one", TERM, before + 1)
    assert store.leadership() == held
    assert store.take_fence() == before + 2


def test_a_renewal_is_seen_by_others(store: Store):
    held = led(store)

    renewed = store.renew_lead(held)

    assert renewed.beat > held.beat
    assert (renewed.holder, renewed.fence, renewed.term) == (held.holder, held.fence, held.term)
    assert store.leadership() == renewed


def test_what_was_renewed_after_it_was_seen_is_not_taken(store: Store):
    held = led(store)
    seen = store.leadership()
    store.renew_lead(held)
    before = store.leadership()

    with pytest.raises(Conflict, match="Look again"):
        store.take_lead(seen, holder="two", term=TERM)

    assert store.leadership() == before
    assert store.take_fence() == held.fence + 1  # none was used up


def test_who_was_overtaken_renews_no_more_and_writes_no_more(store: Store):
    store.commit(commit(None))
    first = led(store)
    second = led(store, "two", timedelta(seconds=3))

    with pytest.raises(Fenced, match="another controller leads"):
        store.renew_lead(first)
    with pytest.raises(Fenced, match="another controller leads"):
        store.commit(commit(store.head(ROLLOUT), fence=first.fence))
    with pytest.raises(Fenced, match="another controller leads"):
        store.note([NOTE], fence=first.fence)

    assert (store.leadership(), store.verified(ROLLOUT), store.judged(ROLLOUT)) == (
        second,
        [],
        None,
    )
    store.commit(commit(store.head(ROLLOUT), fence=second.fence))
    store.note([NOTE], fence=second.fence)
    assert store.judged(ROLLOUT) is not None


def test_a_lead_that_is_resigned_is_nobodys_and_its_fence_stays_used(store: Store):
    held = led(store)

    store.resign_lead(held)

    assert store.leadership().holder == ""
    with pytest.raises(Fenced):
        store.renew_lead(held)
    assert led(store, "two").fence == held.fence + 1


def test_resigning_what_was_taken_by_another_changes_nothing(store: Store):
    first = led(store)
    second = led(store, "two")

    store.resign_lead(first)

    assert store.leadership() == second


def test_of_many_who_saw_the_same_one_takes_it(store: Store):
    seen = led(store)

    def take(name: int) -> Leadership | None:
        try:
            return store.take_lead(seen, holder=f"c{name}", term=TERM)
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        taken = [one for one in pool.map(take, range(24)) if one is not None]

    assert taken == [store.leadership()]
    assert taken[0].fence == seen.fence + 1
