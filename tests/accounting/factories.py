"""Small factories for what is stored and counted: a test names only what matters to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from controller.ports import Commit, Head, SplitVersion, Store
from controller.rollout.decision import Action, Notice
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.observation import (
    Batch,
    Cohort,
    Grades,
    Ingested,
    Observation,
    Outcome,
    Pair,
    RollupRow,
)
from controller.rollout.plan import (
    Arm,
    Intent,
    Labels,
    ModelRef,
    Plan,
    Rule,
    Severity,
    Step,
    Then,
    Unit,
)
from controller.rollout.record import GENESIS, Record, seal
from controller.rollout.state import Cause, Phase, State
from controller.rollout.timeline import minute_of
from controller.rollout.verdict import Seen

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
ROLLOUT = "support-bot/1"
BASELINE, CANDIDATE = Arm.BASELINE, Arm.CANDIDATE
HALF = {"refund": 5000, "order-status": 5000}


def plan(
    *,
    name: str = "support-bot",
    unit: Unit = Unit.CONVERSATION,
    horizon: timedelta = 7 * DAY,
    delay: timedelta = timedelta(0),
    sampled_u: int = MICRO,
    people_u: int = 0,
    cost_limits: Sequence[float] = (),
) -> Plan:
    """`cost_limits` are those of rules on cost_per_correct, in US dollars."""
    return Plan(
        name=name,
        baseline=ModelRef(model="gpt-4.1"),
        candidate=ModelRef(model="gpt-4.1-mini"),
        match_model="gpt-4.1",
        unit=unit,
        intents=(Intent(name="refund", critical=True), Intent(name="order-status")),
        steps=(Step(share_bp=5000),),
        rules=(
            Rule(
                name="escalation",
                metric=CATALOGUE["escalation_rate"],
                limit=0.02,
                window=DAY,
                then=Then.ROLLBACK,
            ),
            *(
                Rule(
                    name=f"right below {limit} USD",
                    metric=CATALOGUE["cost_per_correct"],
                    limit=limit,
                    window=DAY,
                    then=Then.PAUSE,
                )
                for limit in cost_limits
            ),
        ),
        labels=Labels(delay=delay, horizon=horizon, sampled_u=sampled_u, people_u=people_u),
    )


def notice(key: str, *, at: datetime = NOW) -> Notice:
    return Notice(
        key=key,
        action=Action.ADVANCE,
        cause=Cause.CLEAR,
        severity=Severity.INFO,
        at=at,
        share_before_bp=0,
        share_after_bp=1000,
    )


def commit(
    head: Head | None = None,
    *,
    rollout: str = ROLLOUT,
    of: Plan | None = None,
    at: datetime = NOW,
    notices: tuple[Notice, ...] = (),
    shares: Mapping[str, int] | None = None,
    version: int = 1,
    fence: int | None = None,
) -> Commit:
    """The record that follows a head; a rollout's first one without."""
    name, _, attempt = rollout.rpartition("/")
    asked = of or (plan(name=name) if head is None else head.plan)
    state = State(
        rollout=rollout,
        name=name,
        attempt=int(attempt),
        plan_digest=asked.digest,
        revision=1,
        salt="salt",
        phase=Phase.PROGRESSING,
        step=0,
        share_bp=5000,
        version=version,
        step_version=version,
        started_at=at,
        step_started_at=at,
        hold_from=at,
        updated_at=at,
    )
    record = Record(
        rollout=rollout,
        seq=1 if head is None else head.seq + 1,
        at=at,
        actor="alice",
        reason="because",
        action=Action.START if head is None else Action.ADVANCE,
        cause=Cause.COMMAND,
        plan_digest=asked.digest,
        fence=fence or 0,
        command=None,
        seen=Seen(through=at),
        verdicts=(),
        notices=notices,
        share_before_bp=0,
        state=state,
        prev=GENESIS if head is None else head.hash,
    )
    return Commit(
        record=seal(record),
        plan=seal(asked),
        expected=None if head is None else head.hash,
        notices=notices,
        split=None if shares is None else SplitVersion(version=version, shares=shares, since=at),
        fence=fence,
    )


def started(
    store: Store,
    *,
    rollout: str = ROLLOUT,
    unit: Unit = Unit.CONVERSATION,
    horizon: timedelta = 7 * DAY,
    delay: timedelta = timedelta(0),
    sampled_u: int = MICRO,
    people_u: int = 0,
    cost_limits: Sequence[float] = (),
    shares: Mapping[str, int] | None = HALF,
) -> str:
    """A rollout in the store, with split version 1 in force."""
    name = rollout.rpartition("/")[0]
    of = plan(
        name=name,
        unit=unit,
        horizon=horizon,
        delay=delay,
        sampled_u=sampled_u,
        people_u=people_u,
        cost_limits=cost_limits,
    )
    store.commit(commit(rollout=rollout, of=of, shares=shares))
    return rollout


def observation(
    name: str,
    *,
    rollout: str = ROLLOUT,
    at: datetime = NOW,
    unit: str = "",
    arm: Arm = CANDIDATE,
    intent: str = "refund",
    version: int = 1,
    cohort: Cohort = Cohort.COMPARED,
    assigned: bool = False,
    endpoint: str = "chat.completions",
    flags: Mapping[str, bool] | None = None,
    quantities: Mapping[str, int] | None = None,
) -> Observation:
    """One request, of a unit of its own unless one is named."""
    return Observation(
        id=name,
        rollout=rollout,
        at=at,
        unit=unit or f"unit of {name}",
        arm=arm,
        intent=intent,
        version=version,
        cohort=cohort,
        assigned=assigned,
        endpoint=endpoint,
        flags=flags or {},
        quantities=quantities or {},
    )


def outcome(
    observation: str,
    correct: float | None = None,
    *,
    name: str = "",
    at: datetime = NOW,
    grades: Grades = Grades.SERVED,
    flags: Mapping[str, bool] | None = None,
    source: str = "test",
) -> Outcome:
    return Outcome(
        id=name or f"of {observation}",
        observation=observation,
        at=at,
        correct=correct,
        grades=grades,
        flags=flags or {},
        source=source,
    )


def pair(
    name: str, *, baseline: float, candidate: float, rollout: str = ROLLOUT, at: datetime = NOW
) -> Pair:
    return Pair(
        id=name,
        rollout=rollout,
        at=at,
        intent="refund",
        version=1,
        baseline_correct=baseline,
        candidate_correct=candidate,
    )


def send(store: Store, *sent: Observation | Outcome | Pair, now: datetime = NOW) -> Ingested:
    """Everything in one batch."""
    return store.ingest(
        Batch(
            observations=tuple(one for one in sent if isinstance(one, Observation)),
            outcomes=tuple(one for one in sent if isinstance(one, Outcome)),
            pairs=tuple(one for one in sent if isinstance(one, Pair)),
        ),
        now,
    )


def totals(store: Store, rollout: str = ROLLOUT, **where: object) -> dict[str, int]:
    """The sum of all minute rows, or of those with these values; `at` selects a moment's minute."""
    if "at" in where:
        moment = where.pop("at")
        assert isinstance(moment, datetime)
        where["minute"] = minute_of(moment)
    return summed(
        row
        for row in store.rollups(rollout)[0]
        if all(getattr(row, name) == value for name, value in where.items())
    )


def summed(rows: Iterable[RollupRow]) -> dict[str, int]:
    total: dict[str, int] = {}
    for row in rows:
        for key, count in row.stats.items():
            total[key] = total.get(key, 0) + count
    return {key: count for key, count in total.items() if count}


def contents(store: Store) -> tuple[object, ...]:
    """All that a refused write must leave as it was."""
    return (
        store.heads(),
        store.tips(),
        store.records(ROLLOUT),
        store.splits(ROLLOUT),
        store.deliveries(ROLLOUT),
        sorted(map(str, store.rollups(ROLLOUT)[0])),
        store.refused(ROLLOUT),
    )
