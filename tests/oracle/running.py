"""A rollout lived through, and reckoned by hand at every tick."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from controller.ports import Store
from controller.rollout.commands import Promote, Resume
from tests.oracle.comparing import Comparison
from tests.oracle.counting import START_OF_TIME, Ledger, minute
from tests.oracle.judging import Judgement
from tests.oracle.live import Live, Told
from tests.oracle.matching import Frozen
from tests.oracle.rules import Rule, counted, rules_of, sampled, span, subject
from tests.oracle.sums import ByMinute
from tests.oracle.traffic import Nature, Traffic

BEGIN = datetime(2026, 3, 2, 8, 17, 23, tzinfo=UTC)
Plan = dict[str, Any]


def fractional_minute(at: datetime) -> float:
    return (at - START_OF_TIME) / timedelta(minutes=1)


@dataclass
class Auditor:
    """Who hears every line and reads every record, and nothing else."""

    plan: Plan
    size: int
    found: Comparison = field(default_factory=Comparison)
    begun: datetime = BEGIN
    last: Told | None = None
    in_force: list[tuple[float, float]] = field(default_factory=list)
    _before: dict[tuple[str, str | None], ByMinute] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rules = rules_of(self.plan)
        labels = self.plan["spec"].get("labels", {})
        self.delay = timedelta(minutes=1) * _minutes(labels.get("delay", "0s"))
        self.ledger = Ledger(
            of_conversations=self.plan["spec"]["assignment"]["unit"] != "request",
            delay=self.delay,
            horizon=timedelta(minutes=span(labels.get("horizon", "7d"))),
            sampled=sampled(self.plan),
        )

    def audit(self, told: Told) -> None:
        """Every verdict of a tick; the record of one that decided has the same."""
        self._note_in_force(told)
        verdicts = {(one["rule"], one["intent"]): one for one in told.verdicts}
        judged = told.state["step"] >= 0 and told.state["phase"] in JUDGED
        sums = {
            about: counted(*about, self.ledger, minute(BEGIN), self.size)
            for about in {(subject(one), one.intent) for one in self._rules}
        }
        for rule in self._rules if judged else ():
            found = verdicts[rule.told["name"], rule.intent]
            by_hand = self._judgement(rule, sums, told)
            self.found.verdict(found, by_hand, told.state["share_bp"], minute(told.at))
        self._before = sums
        if told.record is not None and judged:
            assert told.record["verdicts"] == told.verdicts
            self.found.seen[f"record {told.record['action']}"] += 1
        self.last = told

    def _judgement(
        self, rule: Rule, sums: dict[tuple[str, str | None], ByMinute], told: Told
    ) -> Judgement:
        about = subject(rule), rule.intent
        epoch = told.state["epochs"].get(rule.told["name"])
        start = told.state["started_at"] if epoch is None else epoch["start"]
        last = self._closes(rule, told.at)
        return Judgement(
            rule=rule,
            sums=sums[about],
            epoch=minute(datetime.fromisoformat(start)),
            epoch_number=0 if epoch is None else epoch["number"],
            begun=minute(datetime.fromisoformat(told.state["started_at"])),
            last=last,
            closed=last if self.last is None else self._closes(rule, self.last.at) + 1,
            changed=sums[about].changed_from(self._before.get(about)),
            in_force=self.in_force,
            frozen=_frozen(told.state["references"], rule),
        )

    def _closes(self, rule: Rule, now: datetime) -> int:
        """The last window that can be judged: to the end of this minute, or of the last one that has its labels."""
        delay = self.delay if rule.labelled else timedelta(0)
        return minute(now - delay) if delay else minute(now) + 1

    def _note_in_force(self, told: Told) -> None:
        """From tick to tick, where the committed split is the one that was put in force."""
        last = self.last
        if last is None or last.version != told.state["version"] or told.state["share_bp"] == 0:
            return
        since, until = (fractional_minute(one) for one in (last.at, told.at))
        if self.in_force and self.in_force[-1][1] == since:
            since = self.in_force.pop()[0]
        self.in_force.append((since, until))


def _frozen(references: dict[str, Any], rule: Rule) -> list[Frozen]:
    """In force from the minute after it was frozen."""
    key = rule.metric if rule.intent is None else f"{rule.metric}/{rule.intent}"
    return [
        Frozen(minute(datetime.fromisoformat(one["since"])) + 1, one["bucket"])
        for one in references.get(key, ())
    ]


JUDGED = ("pending", "progressing", "paused", "baking")


def _minutes(text: str) -> float:
    return int(text[:-1]) * {"s": 1 / 60, "m": 1, "h": 60, "d": 1440}[text[-1]]


def live_through(
    plan: Plan, nature: Nature, store: Store, *, seed: int, hours: float
) -> Comparison:
    """A rollout for so many hours, ticked now and then; every tick is audited."""
    random = np.random.default_rng(seed)
    live = Live(plan, store, BEGIN)
    end = BEGIN + timedelta(hours=hours)
    auditor = Auditor(plan, size=round(hours * 60) + 600)
    traffic = Traffic(nature, BEGIN, live.rollout, random)
    now = BEGIN
    while now < end:
        since, now = now, now + timedelta(seconds=_gap(random))
        state = live.state()
        traffic.flow(since, now, share_bp=state["share_bp"], version=state["version"])
        live.clock.set(now)
        lines = traffic.take(now)
        if lines:
            live.ingest(lines)
            auditor.ledger.receive(lines, now, live.splits())
        _command(live, random)
        if random.uniform() < 0.03:
            live.restart()
        if random.uniform() < 0.8:
            auditor.audit(live.tick())
        if random.uniform() < 0.5:
            auditor.audit(live.tick())
    return auditor.found


def _gap(random: np.random.Generator) -> int:
    """Seconds to the next batch: mostly a quarter of an hour, at times one minute, or a controller away for hours."""
    kind = random.uniform()
    mean = 40 if kind < 0.3 else 900 if kind < 0.97 else 9_000
    return 1 + min(int(random.exponential(mean)), 30_000)


def _command(live: Live, random: np.random.Generator) -> None:
    state = live.state()
    if state["phase"] == "paused" and random.uniform() < 0.2:
        live.command(Resume(actor="ann", reason="looked at"))
    elif state["phase"] == "progressing" and random.uniform() < 0.01:
        live.command(Promote(actor="ann", reason="on with it"))
