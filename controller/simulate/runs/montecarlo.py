"""Many simulated rollouts of a plan, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.errors import DataError
from controller.rollout.evidence.rules import alpha_of, is_provable
from controller.rollout.plan import Plan, Rule
from controller.rollout.state import Epoch
from controller.rollout.timeline import EPOCH
from controller.simulate.drawn.quantities import is_known, lacking
from controller.simulate.endings import STOPS, Ending, Part, part_of, parts_of
from controller.simulate.processes import in_processes
from controller.simulate.runs.trials import Setup, Trial, trial
from controller.simulate.scenarios import Scenario
from controller.simulate.usual import Usual

METRICS: Final = (
    "accuracy",
    "accuracy_delta",
    "coverage",
    "error_rate",
    "escalation_rate",
    "sample_ratio",
)
"""What the simulation has a stream for, whatever is known. What requests take is drawn where that is."""

BATCH: Final = 20
"""Runs that a process makes at a time."""

Told = Callable[[int], object]
"""Told how many runs more have ended."""


# What can be simulated


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The plan that is simulated, and the rules of the plan that was asked for which it lacks."""

    plan: Plan
    left_out: tuple[Rule, ...]


def fit(plan: Plan, usual: Usual | None = None) -> Fitted:
    """The plan without the rules that there is no stream for. DataError if none is left.
    `usual` is what is known of healthy answers; None: nothing.

    The rules that stay keep their alpha: leaving one out must not make the others quicker than they will be.
    """
    known = Usual() if usual is None else usual
    kept = [rule for rule in plan.rules if rule.metric.name in METRICS or is_known(known, rule)]
    left_out = tuple(rule for rule in plan.rules if rule not in kept)
    if not kept:
        found = "; ".join(map(_left_out, left_out)) or "none"
        raise DataError(
            f"{plan.name}: nothing to simulate. Rules found: {found}. Wanted one on "
            f"{', '.join(METRICS)}, or on latencies or costs that are known."
        )
    if any(is_provable(rule) for rule in left_out):
        kept = [_with_its_alpha(plan, rule) if is_provable(rule) else rule for rule in kept]
    return Fitted(plan=replace(plan, rules=tuple(kept)), left_out=left_out)


def _left_out(rule: Rule) -> str:
    wanted = lacking(rule)
    return f"{rule.name} ({rule.metric.name})" + (f": {wanted}" if wanted else "")


def _with_its_alpha(plan: Plan, rule: Rule) -> Rule:
    tests = len(plan.judged_intents(rule))
    first = Epoch(number=0, start=EPOCH)
    return replace(rule, alpha=alpha_of(plan, rule, first) * tests) if tests else rule


# Running


def simulate(
    setups: Sequence[Setup],
    runs: int,
    *,
    processes: int,
    batch: int = BATCH,
    told: Told = lambda _: None,
) -> list[list[Trial]]:
    """The trials of each setup, by number. The same whatever the number of processes."""
    batches = [
        (place, range(first, min(first + batch, runs)))
        for place in range(len(setups))
        for first in range(0, runs, batch)
    ]
    made = in_processes(
        trials_of, [(setups[place], numbers) for place, numbers in batches], processes
    )
    found: list[list[Trial]] = [[] for _ in setups]
    for (place, numbers), trials in zip(batches, made, strict=True):
        found[place] += trials
        told(len(numbers))
    return found


def trials_of(setup: Setup, numbers: range) -> list[Trial]:
    return [trial(setup, number) for number in numbers]


# What became of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median and 90% quantile, each the value of a run."""

    median: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """In how many runs a rule sent an intent back, and how many minutes after the start."""

    intent: str
    part: Part
    after: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What became of the runs of one scenario.

    Times are in minutes. `stop`, `requests` and `wrong_served` are of the runs that stopped, `completion` of those
    that completed; None where there are none. `delay` is from when the candidate went wrong, of the runs that stopped
    after that; `early` is how many had stopped before.
    """

    scenario: Scenario
    runs: int
    endings: Mapping[Ending, Part]
    stop: Spread | None
    completion: Spread | None
    delay: Spread | None
    early: int
    requests: Spread | None
    wrong_served: Spread | None
    stopped_by: Mapping[str, int]
    pinned: tuple[Pinned, ...]  # the most often pinned first


def summary(scenario: Scenario, trials: Sequence[Trial]) -> Summary:
    """Of at least one run."""
    stopped = [one for one in trials if one.ending in STOPS]
    late = [one for one in stopped if one.end_min >= scenario.since_min]
    faulty = scenario.since is not None
    return Summary(
        scenario=scenario,
        runs=len(trials),
        endings=parts_of([one.ending for one in trials]),
        stop=_spread([one.end_min for one in stopped]),
        completion=_spread([one.end_min for one in trials if one.ending is Ending.COMPLETED]),
        delay=_spread([one.end_min - scenario.since_min for one in late]) if faulty else None,
        early=len(stopped) - len(late) if faulty else 0,
        requests=_spread([one.candidate_requests for one in stopped]),
        wrong_served=_spread([one.wrong_served for one in stopped]),
        stopped_by=dict(
            Counter(", ".join(one.rules) or str(one.cause) for one in stopped).most_common()
        ),
        pinned=_pinned(trials),
    )


def _pinned(trials: Sequence[Trial]) -> tuple[Pinned, ...]:
    times: dict[str, list[int]] = {}
    for one in trials:
        for minute, intent in one.pins:
            times.setdefault(intent, []).append(minute)
    found = [
        Pinned(intent=intent, part=part_of(len(after), len(trials)), after=spread)
        for intent, after in times.items()
        if (spread := _spread(after)) is not None
    ]
    return tuple(sorted(found, key=lambda one: (-one.part.count, one.intent)))


def shares_over_time(
    trials: Sequence[Trial], at_min: Sequence[int], quantiles: Sequence[float]
) -> list[list[float]]:
    """Quantiles over the runs of the candidate's share (a fraction), by moment; a run that ended keeps its last."""
    table = np.array([_shares_at(one, at_min) for one in trials]) / 10_000
    found: list[list[float]] = np.quantile(table, quantiles, axis=0, method="inverted_cdf").tolist()
    return found


def _shares_at(one: Trial, at_min: Sequence[int]) -> list[int]:
    since = [minute for minute, _ in one.path]
    places = np.searchsorted(since, at_min, side="right") - 1
    return [one.path[place][1] for place in places.tolist()]


def _spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    median, most = np.quantile(values, [0.5, 0.9], method="inverted_cdf").tolist()
    return Spread(median=float(median), most=float(most))
