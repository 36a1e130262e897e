"""How well the rules decide: `python -m benchmarks.decisions [--runs N] [--processes N] [--none]`.

Simulated canaries of 72 hours, judged by the rules of a live rollout, beside figures that were published with the
method, which a program of its own made. Writes docs/decisions.md, and docs/decisions.json with what it tells. `--none`
runs nothing and writes the page anew.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final

from benchmarks.write import FOLDER, table, wrapped
from controller.clock import SystemClock
from controller.rollout.metrics import CATALOGUE
from controller.rollout.plan import (
    Advance,
    Evidence,
    Intent,
    Labels,
    ModelRef,
    Plan,
    Rule,
    Scope,
    Step,
    Then,
    Unit,
)
from controller.simulate.endings import STOPS
from controller.simulate.runs.montecarlo import simulate
from controller.simulate.runs.trials import Setup, Trial
from controller.simulate.scenarios import HEALTHY, Fault, Scenario, Traffic
from controller.stats.proportions import wilson

KEPT: Final = FOLDER / "docs" / "decisions.json"
PAGE: Final = FOLDER / "docs" / "decisions.md"
RUNS: Final = 1_000
SEED: Final = 7
ALPHA: Final = 0.05
PUBLISHED_RUNS: Final = 1_500
ROOM: Final = 0.02  # a complete window may lack a hundredth, and `observed` fails by proof too
LATER: Final = 1.15  # than published, at most
HALF_DIGIT_H: Final = 0.05  # published delays are rounded to a tenth of an hour
CANARY: Final = timedelta(hours=72)
DAY: Final = timedelta(hours=24)
FIRST, SECOND = 1_000, 2_000  # shares in basis points


# What is simulated


def _plan(rule: Rule, *steps: Step, bake: timedelta = timedelta(0)) -> Plan:
    """One rule, so that all of alpha is its; labels come at once; one critical intent and the rest."""
    return Plan(
        name="canary",
        baseline=ModelRef(model="old"),
        candidate=ModelRef(model="new"),
        match_model="old",
        unit=Unit.REQUEST,
        intents=(Intent(name="critical", critical=True), Intent(name="other")),
        steps=steps,
        rules=(rule,),
        labels=Labels(delay=timedelta(0)),
        bake=bake,
        alpha=ALPHA,
    )


def _setup(plan: Plan, per_minute: float, scenario: Scenario, escalation: float = 0.015) -> Setup:
    """At 10% of the units, so that the candidate gets `per_minute` of them."""
    return Setup(
        plan=plan,
        traffic=Traffic(
            units_per_minute=10 * per_minute,
            mix={"critical": 0.2, "other": 0.8},
            accuracy=0.95,
            escalation=escalation,
        ),
        scenario=scenario,
        start=datetime(2026, 1, 5, tzinfo=UTC),
        seed=SEED,
        max_days=CANARY // DAY,
    )


def escalating(
    per_minute: float, rate: float, evidence: Evidence, scenario: Scenario = HEALTHY
) -> Setup:
    """A rule on "escalation above 2% in any 24 hours"."""
    rule = Rule(
        name="escalation",
        metric=CATALOGUE["escalation_rate"],
        limit=0.02,
        window=DAY,
        evidence=evidence,
        then=Then.ROLLBACK,
    )
    plan = _plan(rule, Step(share_bp=FIRST, hold=CANARY))
    return _setup(plan, per_minute, scenario, escalation=rate)


def jump(to: float, after: timedelta = DAY) -> Scenario:
    """The escalation rate of a candidate that goes wrong."""
    return Scenario(text=f"escalation={to:.0%}", escalation=Fault(size=to, since=after))


def _accuracy(then: Then) -> Rule:
    return Rule(
        name="accuracy",
        metric=CATALOGUE["accuracy_delta"],
        limit=0.015,
        window=CANARY,
        evidence=Evidence.CONFIDENT,
        then=then,
        scope=Scope.CRITICAL,
    )


def _loss(loss: float, since: timedelta) -> Scenario:
    if not loss:
        return HEALTHY
    return Scenario(text=f"loss={100 * loss:.1f}pp", loss=Fault(size=loss, since=since))


def losing(per_minute: float, loss: float, then: Then, since: timedelta = timedelta(0)) -> Setup:
    """A rule on "a loss above 1.5 points over 72 hours" on one critical intent with a fifth of the units."""
    plan = _plan(_accuracy(then), Step(share_bp=FIRST, hold=CANARY))
    return _setup(plan, per_minute, _loss(loss, since))


def passing(per_minute: float, loss: float) -> Setup:
    """The same, to be left as soon as the loss is proven to be within the limit. The bake keeps the horizon."""
    steps = (Step(share_bp=FIRST, advance=Advance.PROVEN), Step(share_bp=SECOND))
    plan = _plan(_accuracy(Then.ROLLBACK), *steps, bake=CANARY)
    return _setup(plan, per_minute, _loss(loss, timedelta(0)))


# What is counted


def stopped(trial: Trial) -> int | None:
    """The minute of a stop."""
    return trial.end_min if trial.ending in STOPS else None


def passed(trial: Trial) -> int | None:
    """The minute in which the first step was left."""
    return next((minute for minute, share in trial.path if share == SECOND), None)


class Want(Enum):
    """What a row has to keep."""

    RARE = "at most alpha, plus two standard errors"
    OFTEN = "no less often than published"
    ALIKE = "as often as published"
    SOON = "nearly always, and no later than published"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of canary under one form of a rule, and what was published of it."""

    canary: str
    form: str
    setup: Setup
    want: Want
    told: float | None = None  # the share of canaries
    told_h: float | None = None  # median delay
    counted: Callable[[Trial], int | None] = stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What became of the runs of a row.

    The delay is the median from when the candidate went wrong, in hours, of all runs that got so far: one that is not
    stopped comes after all that are. None where fewer than half are.
    """

    canary: str
    form: str
    want: str
    runs: int
    count: int
    lower: float
    upper: float
    delay_h: float | None
    told: float | None
    told_h: float | None
    holds: bool
    took_s: float

    @property
    def share(self) -> float:
        return self.count / self.runs


ESCALATION: Final = tuple(
    Row(
        canary=f"{per_minute}/min, true {rate:.1%}",
        form=evidence.value,
        setup=escalating(per_minute, rate, evidence),
        want=Want.RARE if evidence is Evidence.CONFIDENT else Want.ALIKE,
        told=told,
    )
    for per_minute, rate, both in (
        (5, 0.015, (0.005, 0.000)),
        (5, 0.019, (0.863, 0.007)),
        (50, 0.019, (0.275, 0.008)),
    )
    for evidence, told in zip((Evidence.OBSERVED, Evidence.CONFIDENT), both, strict=True)
)
"""How many healthy canaries are stopped: columns "raw, complete 24 h" and "confident"."""

DELAY: Final = tuple(
    Row(
        canary=f"{per_minute}/min, to {to:.0%}",
        form=evidence.value,
        setup=escalating(per_minute, 0.015, evidence, jump(to)),
        want=Want.SOON,
        told_h=told_h,
    )
    for per_minute, to, both in (
        (5, 0.03, (7.9, 9.8)),
        (5, 0.05, (3.4, 1.7)),
        (50, 0.03, (8.0, 1.1)),
        (50, 0.05, (3.4, 0.2)),
    )
    for evidence, told_h in zip((Evidence.OBSERVED, Evidence.CONFIDENT), both, strict=True)
)
"""How long after a jump from 1.5%, which comes after 24 hours."""

ACCURACY: Final = tuple(
    row
    for per_minute, loss, wants, told, told_h in (
        (5, 0.0, (Want.RARE, Want.RARE, Want.OFTEN), (0.030, 0.000, 0.949), (None, None)),
        (50, 0.015, (Want.OFTEN, Want.RARE, Want.RARE), (0.937, 0.045, 0.051), (None, None)),
        (5, 0.03, (Want.OFTEN, Want.OFTEN, Want.RARE), (1.000, 0.875, 0.003), (7.1, 28.5)),
    )
    for row in (
        Row(
            canary=f"{per_minute}/min, true loss {100 * loss:.3g} pp",
            form="guarded pause",
            setup=losing(per_minute, loss, Then.PAUSE),
            want=wants[0],
            told=told[0],
            told_h=told_h[0],
        ),
        Row(
            canary=f"{per_minute}/min, true loss {100 * loss:.3g} pp",
            form="confident fail",
            setup=losing(per_minute, loss, Then.ROLLBACK),
            want=wants[1],
            told=told[1],
            told_h=told_h[1],
        ),
        Row(
            canary=f"{per_minute}/min, true loss {100 * loss:.3g} pp",
            form="confident pass",
            setup=passing(per_minute, loss),
            want=wants[2],
            told=told[2],
            counted=passed,
        ),
    )
)
"""One critical intent of 20%, base 0.95: paused, rolled back, or proven to be within the limit, in 72 hours."""


def measured(row: Row, runs: int, *, processes: int) -> Found:
    begun = time.perf_counter()
    (trials,) = simulate([row.setup], runs, processes=processes)
    took_s = time.perf_counter() - begun
    since_min = row.setup.scenario.since_min
    ends = [minute for one in trials if (minute := row.counted(one)) is not None]
    early = sum(minute < since_min for minute in ends)
    late = sorted(minute - since_min for minute in ends if minute >= since_min)
    middle = (runs - early - 1) // 2
    delay_h = late[middle] / 60 if middle < len(late) else None
    interval = wilson(len(ends), runs)
    return Found(
        canary=row.canary,
        form=row.form,
        want=row.want.value,
        runs=runs,
        count=len(ends),
        lower=interval.lower,
        upper=interval.upper,
        delay_h=delay_h,
        told=row.told,
        told_h=row.told_h,
        holds=_holds(row, len(ends) / runs, runs) and _in_time(row, delay_h),
        took_s=took_s,
    )


def _holds(row: Row, share: float, runs: int) -> bool:
    match row.want, row.told:
        case Want.RARE, _:
            return share <= ALPHA + 2 * _error(ALPHA, runs)
        case Want.SOON, _:
            return share >= 0.98
        case Want.OFTEN, float(told):
            return share >= told - 2 * _of_both(told, runs)
        case Want.ALIKE, float(told):
            return abs(share - told) <= ROOM + 2 * _of_both(told, runs)
        case _:
            raise ValueError(f"{row.canary}, {row.form}: nothing was published to compare with")


def _in_time(row: Row, delay_h: float | None) -> bool:
    if row.told_h is None:
        return True
    return delay_h is not None and delay_h <= LATER * (row.told_h + HALF_DIGIT_H)


def _of_both(share: float, runs: int) -> float:
    """Standard error of a difference to a published share: both are of some runs."""
    return math.hypot(_error(share, runs), _error(share, PUBLISHED_RUNS))


def _error(share: float, runs: int) -> float:
    # One run more or less counts, also where the share is 0 or 1.
    inside = min(max(share, 1 / runs), 1 - 1 / runs)
    return math.sqrt(inside * (1 - inside) / runs)


# The page

HEADING: Final = """\
# How well the rules decide

`python -m benchmarks.decisions` simulates canaries of 72 hours, has the rules of a live rollout judge them, and writes
this page. *Published* are the figures that the method came with: 1,500 canaries each, by a program of its own. *Here*
is what the rules do, with 95% Wilson intervals. Alpha is 5%, traffic Poisson, the candidate has 10% of the units,
labels are complete and come at once; the rule is the only one, so all of alpha is its.
"""


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    intro: str
    rows: Sequence[Row]


SECTIONS: Final[Mapping[str, Section]] = {
    "escalation": Section(
        "Healthy canaries that are stopped",
        "A rule on escalation above 2% in any 24 hours, and canaries whose true rate is below it. `observed` is the "
        "rule as written: near the limit chance passes it, in some window of three days. `confident` stops at most "
        "alpha of them. An `observed` rule is to do as published, give or take two standard errors and two points: "
        "it fails by proof too, and a window counts as complete with a hundredth of it missing.",
        ESCALATION,
    ),
    "delay": Section(
        "How soon a jump is seen",
        "The same rule; after 24 hours the candidate's rate jumps from 1.5%. Median hours from there; to hold, the "
        "stop comes in 98% of the runs, no more than 15% later than published. `observed` is sooner than published "
        "where proof comes before a day's mean passes the limit.",
        DELAY,
    ),
    "accuracy": Section(
        "A loss of accuracy",
        "A rule on a loss above 1.5 points over 72 hours, on one critical intent with a fifth of the units; the "
        "baseline is right in 95%. `guarded pause` is `confident` with `then: pause`: there is a loss, and its "
        "observed size is over the limit. `confident fail` is the same with `then: rollback`: the loss is over the "
        "limit. `confident pass` is a step that asks for proof that it is within the limit, and is left within the "
        "72 hours. Delays are medians of all canaries; one that is not stopped comes last. Where a window slides, "
        "its starts share alpha: see [ADR 024](adr/024-three-quarters-of-alpha-for-a-losses-first-start.md).",
        ACCURACY,
    ),
}


def page(kept: Mapping[str, Any]) -> str:
    lines = [HEADING]
    for name, section in SECTIONS.items():
        found = [Found(**row) for row in kept["found"][name]]
        lines += [f"## {section.title}", "", section.intro, "", *_table(found), ""]
    every = [row for rows in kept["found"].values() for row in rows]
    took_min = sum(row["took_s"] for row in every) / 60
    lines += [
        f"{every[0]['runs']:,} runs a row, seed {kept['seed']}, {took_min:.0f} minutes: {kept['on']}, {kept['at']}.",
        "",
    ]
    return "\n".join(map(wrapped, lines)).rstrip() + "\n"


def _table(found: Sequence[Found]) -> list[str]:
    timed = any(one.told_h is not None for one in found)
    head = ("candidate's units", "form", "published", "here (95% Wilson)")
    delays = ("delay, published", "delay here")
    return table(
        (*head, *(delays if timed else ()), "holds", "took"),
        [
            (
                one.canary,
                one.form,
                "" if one.told is None else f"{one.told:.1%}",
                f"{one.share:.1%} ({one.lower:.1%}..{one.upper:.1%})",
                *((_hours(one.told_h), _hours(one.delay_h)) if timed else ()),
                "yes" if one.holds else "**no**",
                f"{one.took_s:.0f} s",
            )
            for one in found
        ],
    )


def _hours(hours: float | None) -> str:
    return "" if hours is None else f"{hours:.1f} h"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--none", action="store_true", help="run nothing, write the page")
    parser.add_argument("--only", choices=SECTIONS, help="one table; the others stay as they were")
    asked = parser.parse_args()
    if not asked.none:
        told = _told([asked.only] if asked.only else SECTIONS, asked.runs, asked.processes)
        if asked.only:
            found = json.loads(KEPT.read_text())["found"] | told["found"]
            told["found"] = {name: found[name] for name in SECTIONS}
        KEPT.write_text(json.dumps(told, indent=1) + "\n")
    kept = json.loads(KEPT.read_text())
    PAGE.write_text(page(kept))
    sys.exit(not all(one["holds"] for name in SECTIONS for one in kept["found"][name]))


def _told(names: Iterable[str], runs: int, processes: int) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        found[name] = []
        for row in SECTIONS[name].rows:
            one = measured(row, runs, processes=processes)
            found[name].append(asdict(one))
            print(
                f"{row.canary}, {row.form}: {one.share:.1%}, {_hours(one.delay_h) or 'none'}"
                f"{'' if one.holds else '  DOES NOT HOLD'}",
                file=sys.stderr,
                flush=True,
            )
    return {
        "seed": SEED,
        "on": f"{os.cpu_count()} cores, Python {platform.python_version()}",
        "at": f"{SystemClock().now():%-d %B %Y}",
        "found": found,
    }


if __name__ == "__main__":
    main()
