"""The splits of one gateway: leases on its own monotonic clock, across restarts, whatever its wall clock says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from controller.clock import ManualClock
from controller.gateway.splits import SplitBook
from controller.ports import LEASE, Held, Split
from controller.rollout.plan import OnLoss
from tests.gateway.factories import word
from tests.traffic.factories import NOW, ROLLOUT, ROUTE, SECOND, split

MODEL = ROUTE.match_model
LEASE_S = LEASE.total_seconds()


@dataclass
class Host:
    """A gateway's host. `restart` starts another process, on a monotonic clock with another origin."""

    file: Path
    clock: ManualClock
    book: SplitBook

    def restart(self, at: datetime) -> None:
        self.clock = ManualClock(at)
        self.book = SplitBook(self.clock, self.file)

    def take(self, *splits: Split, term_s: float = LEASE_S, waited_s: float = 0.0) -> list[str]:
        """Take in splits in answer to a report that was sent this moment."""
        asked = self.clock.monotonic()
        return self.book.receive(word(*splits, term_s=term_s, waited_s=waited_s), asked=asked)

    def share_bp(self) -> int | None:
        claim = self.book.claim(MODEL)
        assert claim is not None
        return claim.shares["refund"] if claim.shares is not None else None

    def held(self, rollout: str = ROLLOUT) -> Held:
        return next(one for one in self.book.held() if one.rollout == rollout)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    clock, file = ManualClock(NOW), tmp_path / "splits.json"
    return Host(file, clock, SplitBook(clock, file))


def test_a_gateway_that_was_told_nothing_claims_nothing_and_holds_nothing(host):
    assert host.book.claim(MODEL) is None
    assert host.book.held() == ()


def test_what_was_granted_is_in_force_and_reported_by_the_controllers_own_expiry(host):
    assert host.take(split()) == []
    host.clock.advance(SECOND)

    assert host.share_bp() == 1_000
    assert host.held() == Held(
        rollout=ROLLOUT,
        fence=1,
        version=1,
        shares={"refund": 1_000, "legal": 0},
        salt="salt",
        expires=NOW + LEASE,
        left_s=LEASE.total_seconds() - 1.0,
        on_expiry=OnLoss.BASELINE,
        age_s=1.0,
    )


@pytest.mark.parametrize("apart", [timedelta(minutes=-10), timedelta(minutes=10)])
def test_hosts_need_not_agree_on_the_time(host, apart):
    host.restart(NOW + apart)
    host.take(split(expires=NOW + LEASE))
    host.clock.advance(LEASE - SECOND)
    assert host.share_bp() == 1_000

    host.clock.advance(SECOND)

    assert host.share_bp() is None
    assert host.held().expired_at == NOW + LEASE


def test_a_term_starts_when_the_report_was_sent_plus_the_time_it_was_held_back(host):
    asked = host.clock.monotonic()
    host.clock.advance(25 * SECOND)  # 20 s held back, 5 s on the way
    host.book.receive(word(split(), term_s=60.0, waited_s=20.0), asked=asked)

    host.clock.advance(54 * SECOND)
    assert host.share_bp() == 1_000
    host.clock.advance(SECOND)
    assert host.share_bp() is None


def test_a_grant_that_was_on_the_way_for_longer_than_its_term_is_refused(host):
    asked = host.clock.monotonic()
    host.clock.advance(60 * SECOND)

    refused = host.book.receive(word(split(), term_s=60.0), asked=asked)

    assert "after its lease had run out" in refused[0]
    assert host.book.held() == ()


def test_a_renewal_keeps_the_age_and_takes_the_new_expiry(host):
    host.take(split())
    host.clock.advance(60 * SECOND)
    host.take(split(expires=NOW + LEASE + 60 * SECOND))

    assert host.held().age_s == 60.0
    assert host.held().expires == NOW + LEASE + 60 * SECOND
    host.clock.advance(LEASE - SECOND)
    assert host.share_bp() == 1_000


def test_a_renewal_brings_the_route_and_what_has_settled_since(host):
    host.take(split(settled={"refund": 0}))
    pinned = replace(ROUTE, pinned=("legal", "refund"))

    host.take(split(settled={"refund": 1_000}, route=pinned, expires=NOW + 2 * LEASE))

    claim = host.book.claim(MODEL)
    assert claim.settled == {"refund": 1_000}
    assert claim.route == pinned


def test_a_renewal_that_came_late_never_shortens_the_lease(host):
    host.take(split(expires=NOW + 2 * LEASE), term_s=2 * LEASE_S)
    host.take(split())

    assert host.held().expires == NOW + 2 * LEASE
    host.clock.advance(2 * LEASE - SECOND)
    assert host.share_bp() == 1_000


def test_what_is_refused_is_told_and_what_came_with_it_is_taken(host):
    host.take(split(version=2))

    refused = host.take(split(version=1), split(rollout="search/1"))

    assert len(refused) == 1
    assert "lower than the present" in refused[0]
    assert host.held().version == 2
    assert host.held("search/1").version == 1


# A lease that runs out


def test_an_expiry_is_reported_even_if_nobody_looked_before_the_renewal(host):
    host.take(split())
    host.clock.advance(LEASE + SECOND)

    host.take(split(expires=NOW + 3 * LEASE))

    assert host.held().expired_at == NOW + LEASE
    assert host.held().age_s == 0.0
    assert host.share_bp() == 1_000


def test_a_lease_that_runs_out_has_no_age_and_names_itself(host):
    host.take(split())
    host.clock.advance(2 * LEASE)

    assert (host.held().age_s, host.held().expired_at) == (None, NOW + LEASE)


def test_a_lease_that_holds_stays_in_force_and_says_that_it_ran_out(host):
    host.take(split(on_expiry=OnLoss.HOLD))
    host.clock.advance(2 * LEASE)

    assert host.share_bp() == 1_000
    assert (host.held().age_s, host.held().expired_at) == (2 * LEASE_S, NOW + LEASE)


def test_a_split_of_zeros_does_not_run_out(host):
    host.take(split(0))
    host.clock.advance(2 * LEASE)

    assert host.share_bp() == 0
    assert host.held().expired_at is None


# Restarts


def test_a_lease_runs_on_while_the_process_is_down(host):
    host.take(split())
    host.restart(NOW + LEASE - SECOND)
    assert host.share_bp() == 1_000
    assert host.held().age_s == 0.0  # not in force meanwhile, so not since before

    host.clock.advance(SECOND)

    assert host.share_bp() is None
    assert host.held().expired_at == NOW + LEASE


def test_a_lease_that_ran_out_while_the_process_was_down_is_reported(host):
    host.take(split())
    host.restart(NOW + 2 * LEASE)

    assert host.share_bp() is None
    assert host.held().expired_at == NOW + LEASE


def test_an_expiry_that_was_not_reported_yet_survives_a_restart(host):
    host.take(split())
    host.clock.advance(LEASE)
    host.take(split(expires=NOW + 2 * LEASE))
    host.restart(host.clock.now())

    assert host.held().expired_at == NOW + LEASE


@pytest.mark.parametrize("lower", [split(fence=1, version=9), split(fence=2, version=1)])
def test_a_lower_split_is_refused_after_a_restart_too(host, lower):
    host.take(split(fence=2, version=2))
    host.restart(NOW + 2 * LEASE)

    refused = host.take(replace(lower, expires=NOW + 4 * LEASE))

    assert "lower than the present" in refused[0]
    assert host.share_bp() is None


def test_off_stands_after_a_restart(host):
    host.take(split())
    host.take(split(0))
    host.restart(NOW + SECOND)

    assert host.take(split(expires=NOW + 2 * LEASE)) != []
    assert host.share_bp() == 0


def test_a_clock_that_was_set_back_leaves_nothing_of_a_lease(host):
    host.take(split())
    host.restart(NOW - SECOND)

    assert host.share_bp() is None
    assert host.held().expired_at == NOW + LEASE


def test_restarting_never_lengthens_a_lease(host):
    host.take(split())
    for seconds in range(30, 300, 30):
        host.restart(NOW + seconds * SECOND)
        host.book.save()
    assert host.share_bp() == 1_000

    host.restart(NOW + LEASE)

    assert host.share_bp() is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"saved_at": "2026-11-21T03:15:00", "entries": []}',
        b'{"saved_at": "2026-11-21T03:15:00+00:00", "entries": [{"left_s": 1}]}',
        b'{"saved_at": "2026-11-21T03:15:00+00:00", "entries": {"a": 1}}',
    ],
)
def test_a_file_that_cannot_be_read_is_kept_aside_and_the_gateway_starts(host, content):
    host.file.write_bytes(content)

    host.restart(NOW)

    assert host.book.held() == ()
    assert host.file.with_suffix(".unreadable").read_bytes() == content
    assert host.take(split()) == []


@pytest.mark.parametrize("left_s", ["Infinity", "NaN", "1e300"])
def test_a_file_with_a_term_that_cannot_be_is_kept_aside(host, left_s):
    host.take(split())
    text = host.file.read_text().replace('"left_s":300.0', f'"left_s":{left_s}')
    host.file.write_text(text)

    host.restart(NOW)

    assert host.book.held() == ()
    assert host.file.with_suffix(".unreadable").read_text() == text


def test_where_the_disk_takes_nothing_the_split_is_in_force_and_the_trouble_is_told(host):
    host.file.with_suffix(".new").mkdir()

    told = host.take(split())

    assert "not kept" in told[0]
    assert host.share_bp() == 1_000


# Several rollouts


def test_of_two_claims_on_one_model_the_newest_has_it(host):
    later = replace(ROUTE, claimed_at=NOW + SECOND)
    host.take(split(rollout="support-bot/2", route=later), split())

    assert host.book.claim(MODEL).rollout == "support-bot/2"


def test_the_newest_claim_has_the_model_also_when_nothing_of_it_is_in_force(host):
    later = replace(ROUTE, claimed_at=NOW + SECOND)
    host.take(split(rollout="support-bot/2", route=later), term_s=60.0)
    host.take(split())
    host.clock.advance(60 * SECOND)

    claim = host.book.claim(MODEL)

    assert (claim.rollout, claim.shares) == ("support-bot/2", None)


def test_rollouts_of_other_models_do_not_know_each_other(host):
    other = replace(ROUTE, match_model="gpt-4o")
    host.take(split(), split(rollout="search/1", route=other, version=7))
    host.restart(NOW)

    assert host.book.claim("gpt-4o").version == 7
    assert host.book.claim(MODEL).version == 1
    assert host.book.claim("o3") is None


def test_what_nobody_has_spoken_of_for_a_day_is_forgotten_unless_it_serves(host):
    off, ran_out, holds = "support-bot/1", "support-bot/2", "support-bot/3"
    host.take(split(0, rollout=off), split(rollout=ran_out))
    host.take(split(rollout=holds, on_expiry=OnLoss.HOLD))
    host.clock.advance(LEASE + timedelta(hours=24))
    still = split(rollout="support-bot/4", expires=host.clock.now() + LEASE)
    host.take(still)
    assert {one.rollout for one in host.book.held()} == {off, ran_out, holds, still.rollout}

    host.clock.advance(2 * SECOND)
    host.take(replace(still, expires=host.clock.now() + LEASE))

    assert {one.rollout for one in host.book.held()} == {holds, still.rollout}
