"""What a store's history tells of a plan's traffic and of its answers: counted, never assumed.

What too few answers tell is left out, so that what is told takes its place, or nothing does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from controller.rollout.metrics import FLAGS, MICRO
from controller.rollout.observation import Cohort, RollupRow
from controller.rollout.plan import Arm, Judge, Plan, Unit
from controller.rollout.timeline import minutes, start_of
from controller.simulate.usual import Latencies, Usual
from controller.stats.noise import true_rate

REACH: Final = timedelta(days=28)
"""How far back traffic is taken to be like the next one."""
LEAST: Final = 100
"""Answers from which a figure is learnt."""
LEAST_MIN: Final = 60
"""Minutes from which traffic is learnt."""
_NANO: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was counted of one rollout between two minutes. Rates are of units, shares of answers; None: too few tell.

    `mix` is by the plan's intents and adds up to 1. `input_tokens` and `output_tokens` are means of a request.
    """

    rollout: str
    since: datetime
    until: datetime
    requests: int
    units_per_minute: float
    requests_per_unit: float
    mix: Mapping[str, float]
    accuracy: float | None
    escalation: float | None
    label_rate: float | None
    input_tokens: int | None
    output_tokens: int | None
    usual: Usual
    rolled_back: bool = False


@dataclass(slots=True)
class _Sums:
    """Statistics of one arm, summed; those of labels only of minutes whose labels should be there."""

    stats: Counter[str] = field(default_factory=Counter)
    mature: Counter[str] = field(default_factory=Counter)
    priced: Counter[int] = field(default_factory=Counter)  # by minute, requests of known cost
    spent: Counter[int] = field(default_factory=Counter)

    def add(self, minute: int, stats: Mapping[str, int], *, mature: bool) -> None:
        self.stats.update(stats)
        if mature:
            self.mature.update(stats)
        if stats.get("c.cost_nusd"):
            self.priced[minute] += stats["c.cost_nusd"]
            self.spent[minute] += stats.get("s.cost_nusd", 0)

    def __getitem__(self, key: str) -> int:
        return self.stats[key]

    def mean(self, over: str, under: str) -> float | None:
        return self.stats[over] / self.stats[under] if self.stats[under] >= LEAST else None


def learn(rollout: str, rows: Iterable[RollupRow], plan: Plan) -> History | None:
    """None where there is less than an hour of traffic, or too few units, to learn from."""
    by_arm = [row for row in rows if row.arm in tuple(Arm)]
    if not by_arm:
        return None
    end = max(row.minute for row in by_arm) + 1
    start = max(min(row.minute for row in by_arm), end - minutes(REACH))
    mature = end - minutes(plan.labels.delay)
    known = {intent.name for intent in plan.intents}
    sums: dict[Arm, _Sums] = {arm: _Sums() for arm in Arm}
    units: Counter[str] = Counter()
    requests = 0
    for row in by_arm:
        if row.minute < start or row.intent not in known:
            continue
        units[row.intent] += row.stats.get("e", 0)
        requests += row.stats.get("n", 0)
        if row.cohort is Cohort.COMPARED:
            sums[Arm(row.arm)].add(row.minute, row.stats, mature=row.minute < mature)
    total = units.total()
    if total < LEAST or end - start < LEAST_MIN:
        return None
    both = _Sums(stats=sums[Arm.BASELINE].stats + sums[Arm.CANDIDATE].stats)
    tokens = [both.mean(f"s.{one}_tokens", f"c.{one}_tokens") for one in ("input", "output")]
    told = f"{rollout}, {requests:,} requests"
    return History(
        rollout=rollout,
        since=start_of(start),
        until=start_of(end),
        requests=requests,
        units_per_minute=total / (end - start),
        requests_per_unit=1.0 if plan.unit is Unit.REQUEST else max(requests / total, 1.0),
        mix={intent.name: units[intent.name] / total for intent in plan.intents},
        accuracy=_accuracy(sums[Arm.BASELINE], plan.labels.judge),
        escalation=sums[Arm.CANDIDATE].mean("ef.escalated", "ed.escalated"),
        label_rate=_label_rate(sums[Arm.BASELINE]),
        input_tokens=None if tokens[0] is None else round(tokens[0]),
        output_tokens=None if tokens[1] is None else round(tokens[1]),
        usual=_usual(sums, told),
    )


def _accuracy(of: _Sums, judge: Judge | None) -> float | None:
    """Of the arm that has nobody to escalate to, whose grades are of all its answers alike; a judge's, without its
    errors.
    """
    graded = of.mature["e.graded"]
    if graded < LEAST:
        return None
    shown = of.mature["e.correct_u"] / MICRO / graded
    if judge is None:
        return shown
    true = true_rate(shown, sensitivity=judge.sensitivity, specificity=judge.specificity)
    return min(max(true, 0.0), 1.0)


def _label_rate(of: _Sums) -> float | None:
    """Of answers whose labels should be there, as `Traffic` has it, not of units: a conversation with a grade need not
    have one of each answer. Above 0, for nothing could be learnt of a plan without labels.
    """
    answers = of.mature["n"]
    if answers < LEAST or not of.mature["graded"]:
        return None
    return min(of.mature["graded"] / answers, 1.0)


def _usual(sums: Mapping[Arm, _Sums], told: str) -> Usual:
    sizes, flagged = {}, {}
    for arm, of in sums.items():
        for subject in ("latency", "ttft"):
            counts = _histogram(of.stats, f"h.{subject}.")
            if sum(counts.values()) >= LEAST:
                sizes[arm, subject] = Latencies.counted(counts, told)
        for flag in _flags(of.stats):
            part = of.mean(f"f.{flag}", "n" if flag == "complaint" else f"d.{flag}")
            if part is not None:
                flagged[arm, flag] = part
    usd = {arm: of.mean("s.cost_nusd", "c.cost_nusd") for arm, of in sums.items()}
    spread = {arm: _spread(of) for arm, of in sums.items()}
    tokens = {arm: _tokens(of) for arm, of in sums.items()}
    speed = {arm: _speed(of) for arm, of in sums.items()}
    return Usual(
        sizes=sizes,
        flagged=flagged,
        request_usd={arm: mean * _NANO for arm, mean in usd.items() if mean is not None},
        request_spread={arm: part for arm, part in spread.items() if part is not None},
        request_tokens={arm: mean for arm, mean in tokens.items() if mean is not None},
        tokens_per_second={arm: mean for arm, mean in speed.items() if mean is not None},
        source=told,
    )


def _flags(stats: Mapping[str, int]) -> Iterable[str]:
    """Those of which it is known of some requests whether they have it."""
    custom = [key[2:] for key in stats if key.startswith("d.custom.")]
    return (*FLAGS, *custom)


def _histogram(stats: Mapping[str, int], prefix: str) -> dict[int, int]:
    return {int(key.removeprefix(prefix)): n for key, n in stats.items() if key.startswith(prefix)}


def _spread(of: _Sums) -> float | None:
    """Of what requests cost, over their mean, by how far the sums of minutes lie from what as many cost on average."""
    n, spent = of["c.cost_nusd"], of["s.cost_nusd"]
    if n < LEAST or not spent or len(of.priced) < LEAST_MIN:
        return None
    mean = spent / n
    squares = math.fsum(
        (of.spent[minute] - count * mean) ** 2 for minute, count in of.priced.items()
    )
    # All but one of the minutes are free to lie anywhere: the mean is of them.
    return math.sqrt(squares / n * len(of.priced) / (len(of.priced) - 1)) / mean


def _tokens(of: _Sums) -> float | None:
    known = of["c.output_tokens"]
    return (of["s.input_tokens"] + of["s.output_tokens"]) / known if known >= LEAST else None


def _speed(of: _Sums) -> float | None:
    """Output tokens a second of latency, a ratio of sums."""
    if of["c.latency_us"] < LEAST or of["c.output_tokens"] < LEAST or not of["s.latency_us"]:
        return None
    found = of["s.output_tokens"] * MICRO / of["s.latency_us"]
    return found if math.isfinite(found) else None
