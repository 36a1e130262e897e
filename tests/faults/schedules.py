"""Schedules of faults, each from a seed, and what must be true after one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Final

from controller.cli.evidence import broken, gather
from controller.rollout.deciding.replay import replay
from controller.rollout.decision import Action
from tests.faults.controller_main import LEASE_S
from tests.faults.team import ENDED, MINUTE, PATIENCE_S, TERM_S, Part, Team

MOST_MINUTES: Final = 200
SKEW: Final = timedelta(minutes=10)
RAISED: Final = [("start", 0), ("advance", 1_000), ("advance", 5_000)]
EXPECTED: Final = {
    # A run without faults says the same: see `test_without_faults`.
    False: [*RAISED, ("advance", 9_500), ("bake", 9_500), ("complete", 9_500)],
    True: [*RAISED, ("rollback", 0)],
}

Fault = Callable[[Team], Awaitable[None]]


async def some_leader(team: Team) -> Part:
    return await team.leader() or team.rng.choice(team.parts)


async def kill_leader(team: Team) -> None:
    part = await some_leader(team)
    team.kill(part)
    await asyncio.sleep(team.rng.choice((0.0, TERM_S)))
    team.start(part)


async def kill_standby(team: Team) -> None:
    leader = await some_leader(team)
    part = next(one for one in team.parts if one is not leader)
    team.kill(part)
    team.start(part)


async def kill_both(team: Team) -> None:
    for part in team.parts:
        team.kill(part)
    for part in team.parts:
        team.start(part)


async def end_leader(team: Team) -> None:
    part = await some_leader(team)
    await asyncio.to_thread(team.end, part)
    team.start(part)


async def halt_leader(team: Team) -> None:
    """For longer than its term; it finds itself in the middle of whatever it was doing."""
    part = await some_leader(team)
    team.halt(part)
    await asyncio.sleep(TERM_S * team.rng.uniform(1.2, 3.0))
    team.go_on(part)


async def halt_leader_briefly(team: Team) -> None:
    part = await some_leader(team)
    team.halt(part)
    await asyncio.sleep(TERM_S * team.rng.uniform(0.1, 1.1))
    team.go_on(part)


async def restart_database(team: Team) -> None:
    await asyncio.to_thread(team.databases.restart)


async def fail_over(team: Team) -> None:
    await asyncio.to_thread(team.databases.fail_over)
    await asyncio.to_thread(team.databases.repair)


async def cut_link(team: Team) -> None:
    """In story time, perhaps for longer than a lease; see `Schedule.run`."""
    team.link.cut = True


COMMON: Final[tuple[Fault, ...]] = (
    kill_leader, kill_standby, kill_both, end_leader, halt_leader, halt_leader_briefly, restart_database, cut_link,
)  # fmt: skip
FAULTS: Final = {one.__name__: one for one in (*COMMON, fail_over)}


@dataclass(frozen=True)
class Schedule:
    """Which faults come in which minute; `bad`: the candidate is, and must be rolled back."""

    number: int
    bad: bool
    faults: tuple[tuple[int, str], ...]

    @classmethod
    def drawn(cls, number: int, rng: Random) -> Schedule:
        names = [one.__name__ for one in COMMON]
        count = rng.choice((1, 1, 2, 3))
        faults = [(rng.randrange(0, 45), rng.choice(names)) for _ in range(count)]
        if number % 10 == 9:
            faults[0] = (faults[0][0], "fail_over")
        return cls(number, rng.random() < 0.4, tuple(sorted(faults)))

    async def run(self, team: Team) -> str:
        """Play a rollout to its end; its name."""
        rollout = await asyncio.to_thread(team.apply, f"r{self.number}")
        mended: int | None = None
        for minute in range(MOST_MINUTES):
            due = [FAULTS[name] for at, name in self.faults if at == minute]
            faults = [self._at_some_moment(one, team) for one in due]
            await asyncio.gather(team.minute(rollout, bad=self.bad), *faults)
            if team.link.cut:
                mended = minute + team.rng.randrange(1, 8) if mended is None else mended
                if minute >= mended:
                    team.link.cut, mended = False, None
            over = minute > max(at for at, _ in self.faults) if self.faults else True
            phase = await asyncio.to_thread(team.phase, rollout)
            if over and phase in ENDED and not team.link.cut:
                break
        await self._told(team, rollout)
        return rollout

    async def _at_some_moment(self, fault: Fault, team: Team) -> None:
        await asyncio.sleep(team.rng.uniform(0.0, 0.12))
        await fault(team)

    async def _told(self, team: Team, rollout: str) -> None:
        """What is owed is sent beside the loop: wait for it. A clock that is behind comes to the time of a retry."""
        async with asyncio.timeout(PATIENCE_S):
            while not all(
                one.delivered for one in team._patiently(lambda: team.store.deliveries(rollout))
            ):
                team.clock.set(team.clock.now() + MINUTE / 6)
                await asyncio.sleep(0.05)


# What must be true


@dataclass
class Findings:
    """Over all schedules."""

    schedules: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    notices: int = 0
    leads: int = 0
    expiries: int = 0


def check(team: Team, schedule: Schedule, rollout: str, findings: Findings) -> None:
    records = [one.value for one in team.store.records(rollout)]
    taken = [
        (one.action.value, one.state.share_bp) for one in records if one.action is not Action.EXPIRE
    ]
    judged = team.store.judged(rollout)
    assert taken == EXPECTED[schedule.bad], (taken, judged.status if judged else None)
    fences = [one.fence for one in records if one.fence is not None]
    assert fences == sorted(fences)
    evidence = gather(team.store, [rollout])
    assert broken(evidence) == []
    assert replay(records, lambda digest: evidence.plans[digest].value) == ()
    findings.schedules += 1
    findings.faults.update(name for _, name in schedule.faults)
    findings.expiries += sum(one.action is Action.EXPIRE for one in records)
    _check_notices(team, schedule, rollout, findings)
    _check_gateway(team, rollout)


def check_world(team: Team, findings: Findings) -> None:
    """Each fence belongs to one holder, and nobody met an error that nobody had thought of."""
    leads = [one for part in team.parts for one in part.lines("leading")]
    assert len({one["fence"] for one in leads}) == len(leads)
    findings.leads += len(leads)
    for part in team.parts:
        for event in ("tick_failed", "send_failed", "anchor_failed", "lead_failed"):
            assert part.lines(event) == []


def _check_notices(team: Team, schedule: Schedule, rollout: str, findings: Findings) -> None:
    """Each was delivered, in its order; twice only where a process or the database was cut off in the midst of it."""
    owed = [one.id for one in team.store.deliveries(rollout)]
    sent = sorted(
        (one for part in team.parts for one in part.notices(rollout)),
        key=lambda one: str(one["timestamp"]),
    )
    order = list(dict.fromkeys(one["notice"] for one in sent))
    assert order == owed
    count = Counter(one["notice"] for one in sent)
    repeated = sum(number - 1 for number in count.values())
    assert repeated <= len(schedule.faults), count
    findings.repeated += repeated
    findings.notices += len(owed)


def _check_gateway(team: Team, rollout: str) -> None:
    """One (fence, version), one set of shares; each of them committed; and no share beyond what could be in force."""
    committed = {one.version: one for one in team.store.splits(rollout)}
    named: dict[tuple[int, int], dict[str, int]] = {}
    for granted in team.link.granted:
        split = granted.split
        if split.rollout != rollout:
            continue
        shares = dict(split.shares)
        assert named.setdefault((split.fence, split.version), shares) == shares
        assert shares == dict(committed[split.version].shares)
        assert granted.term_s <= LEASE_S
    versions = sorted(committed)
    for at, share in team.told[rollout].shares:
        permitted = 0
        for number, version in enumerate(versions):
            later = versions[number + 1 :]
            ended = committed[later[0]].since + timedelta(seconds=LEASE_S) if later else None
            begun = committed[version].since <= at + SKEW
            if begun and (ended is None or at <= ended + SKEW):
                permitted = max(permitted, *committed[version].shares.values())
        assert share <= permitted
