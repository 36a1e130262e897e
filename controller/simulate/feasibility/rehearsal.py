"""What became of simulated rollouts of a plan, for `check`: healthy ones, and those that it should stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from controller.plans.finding import Finding, Level
from controller.rollout.plan import Evidence, Plan, Rule
from controller.rollout.units import format_duration, format_percent
from controller.simulate.endings import STOPS, Part, part_of
from controller.simulate.feasibility.prospect import is_reckoned, worse_than
from controller.simulate.runs.montecarlo import METRICS, Fitted, Summary, fit, summary
from controller.simulate.runs.trials import Setup, Trial
from controller.simulate.scenarios import HEALTHY, Fault, Scenario, Traffic

PATIENCE: Final = 2  # times its planned time, after which a simulated rollout is given up
_NAMED: Final = {"accuracy_delta": "loss", "escalation_rate": "escalation", "error_rate": "error"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Healthy rollouts that some rules stopped at one step."""

    step: int
    rules: tuple[str, ...]
    part: Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """`summaries` are by scenario, the healthy one first."""

    fitted: Fitted
    setups: tuple[Setup, ...]
    runs: int
    summaries: tuple[Summary, ...]
    healthy_stops: tuple[Stop, ...]

    @property
    def healthy_stopped(self) -> Part:
        return part_of(sum(one.part.count for one in self.healthy_stops), self.runs)


def can_rehearse(plan: Plan) -> bool:
    """Whether there is a rule that can be simulated."""
    return any(rule.metric.name in METRICS for rule in plan.rules)


def rehearsed(
    plan: Plan, traffic: Traffic, catches: Sequence[Scenario], *, start: datetime, seed: int
) -> tuple[Setup, ...]:
    """A healthy candidate, and one for each regression: those stated, else what each rule bets on."""
    fitted = fit(plan).plan
    return tuple(
        Setup(
            plan=fitted,
            traffic=traffic,
            scenario=scenario,
            start=start,
            seed=seed,
            max_days=max(PATIENCE * ceil(plan.horizon / timedelta(days=1)), 2),
        )
        for scenario in (HEALTHY, *(catches or _worth_catching(fitted, traffic)))
    )


def rehearsal(plan: Plan, setups: Sequence[Setup], trials: Sequence[Sequence[Trial]]) -> Rehearsal:
    """What became of at least one trial of each setup, the healthy one first."""
    healthy = trials[0]
    stops = Counter(
        (_step_of(plan, one), one.rules or (str(one.cause),))
        for one in healthy
        if one.ending in STOPS
    )
    return Rehearsal(
        fitted=fit(plan),
        setups=tuple(setups),
        runs=len(healthy),
        summaries=tuple(
            summary(setup.scenario, made) for setup, made in zip(setups, trials, strict=True)
        ),
        healthy_stops=tuple(
            Stop(step=step, rules=rules, part=part_of(count, len(healthy)))
            for (step, rules), count in sorted(stops.items())
        ),
    )


def healthy_stopped(plan: Plan, traffic: Traffic, found: Rehearsal) -> tuple[Finding, ...]:
    """A warning where more healthy rollouts are stopped than the plan's alpha, as surely as the interval says."""
    part = found.healthy_stopped
    if part.interval.lower <= plan.alpha:
        return ()
    by = Counter[str]()
    for stop in found.healthy_stops:
        by.update({", ".join(stop.rules): stop.part.count})
    (first, _), *_ = by.most_common()
    path, helps = _what_helps(plan, first.split(", "))
    rules = "; ".join(f"{name}: {count}" for name, count in by.most_common())
    return (
        Finding(
            level=Level.WARNING,
            code="healthy-stopped",
            path=path,
            message=f"{part.count} of {found.runs} simulated rollouts with nothing wrong were stopped ({rules}), at "
            f"{format_percent(round(traffic.escalation, 6))} of escalations; {helps}",
        ),
    )


def _what_helps(plan: Plan, stopped_by: Sequence[str]) -> tuple[str, str]:
    """The field that a stop of a healthy rollout is about, and what to do with it."""
    for index, rule in enumerate(plan.rules):
        if rule.name in stopped_by:
            path = f"spec.rules[{index}].evidence"
            if rule.evidence is Evidence.OBSERVED:
                most = format_percent(plan.alpha)
                return path, f"with `evidence: confident` proofs stop at most {most} of them"
            return path, (
                "on this traffic its proofs see more than the limit: see `biased-labels`, the limit and `--escalation`"
            )
    return (
        "spec.maxBlind",
        f"traffic without what rules measure for {format_duration(plan.max_blind)} pauses: "
        "grade more of it, or lengthen `maxBlind`",
    )


def _worth_catching(plan: Plan, traffic: Traffic) -> list[Scenario]:
    """One for each regression that rules bet on, in the plan's order."""
    found: Mapping[str, Scenario] = {
        one.text: one
        for rule in plan.rules
        if is_reckoned(rule) and not rule.below
        for one in _scenarios(rule.metric.name, worse_than(rule, _usual(rule, traffic)))
    }
    return list(found.values())


def _usual(rule: Rule, traffic: Traffic) -> float | None:
    return traffic.escalation if rule.metric.name == "escalation_rate" else None


def _scenarios(metric: str, size: float) -> tuple[Scenario, ...]:
    percent = f"{round(100 * size, 6):g}"
    match _NAMED.get(metric):
        case "loss":
            return (Scenario(text=f"loss={percent}pp", loss=Fault(size=size)),)
        case "escalation":
            return (Scenario(text=f"escalation={percent}%", escalation=Fault(size=size)),)
        case "error":
            return (Scenario(text=f"error={percent}%", error=Fault(size=size)),)
        case _:
            return ()


def _step_of(plan: Plan, one: Trial) -> int:
    """Where a run stopped: by the share it had before."""
    before = [share_bp for minute, share_bp in one.path if minute < one.end_min or not minute]
    return max((i for i in range(len(plan.steps)) if plan.share_at(i) <= before[-1]), default=0)
