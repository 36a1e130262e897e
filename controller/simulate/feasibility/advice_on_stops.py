"""Where a rule as written stops healthy rollouts too often, and changes after which it does not.

Each change was tried on the same draws, at every step; one that leaves the rule to its proof is told only
where that is still enough to catch what the rule should.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from controller.rollout.evidence.rules import is_provable
from controller.rollout.plan import Rule, Then
from controller.rollout.units import format_duration, format_limit, format_share, format_value
from controller.simulate.feasibility.advice import MUCH_TRAFFIC, Advice, advised, nothing
from controller.simulate.feasibility.advice_words import in_percent
from controller.simulate.feasibility.changes import (
    Suggestion,
    longer_windows,
    more_traffic,
    proven_alone,
    with_rule,
)
from controller.simulate.feasibility.figures import is_past
from controller.simulate.feasibility.lacks import catches_by_proof
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.feasibility.prospect import Row
from controller.simulate.feasibility.tried import Ground, lower, stops

WIDER: Final = (1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""Times the limit, or what is left of it under one that must not be fallen below."""


def stopping(ground: Ground) -> Iterator[Advice]:
    """A warning for each rule that stops more healthy rollouts than the plan's alpha, as surely as its draws say."""
    plan = ground.outlook.plan
    for index, rule in enumerate(plan.rules):
        rows = [row for row in ground.found.rows if row.rule is rule and row.stopped is not None]
        if rule.then is not Then.NOTIFY and lower(stops(rows)) > plan.alpha:
            yield _stopping(ground, index, rows)


def _stopping(ground: Ground, index: int, rows: Sequence[Row]) -> Advice:
    worst = max(rows, key=lambda row: lower(stops([row])))
    outlook, rule = ground.outlook, ground.outlook.plan.rules[index]

    def uncaught(changed: Outlook) -> bool:
        return not catches_by_proof(changed, changed.plan.rules[index], ground.catches)

    def first_of(tried: Iterator[Suggestion]) -> Iterator[Suggestion]:
        return ground.first_of(lambda _: False, tried, of_rule=index)

    tries = list(ground.first_of(uncaught, proven_alone(outlook, index), of_rule=index))
    if not _is_usually_past(worst):
        tries += first_of(longer_windows(outlook, index))
    tries += first_of(_wider(outlook, index, rows))
    share = worst.stopped.share if worst.stopped is not None else 0.0
    place = f"step {worst.step + 1} ({format_share(outlook.plan.share_at(worst.step))})"
    on = f" on {worst.intent}" if worst.intent else ""
    does, written = f"stops {in_percent(share)} of", f"as it is written{on}"
    if rule.then is Then.PIN and worst.intent:
        does, written = f"pins {worst.intent} in {in_percent(share)} of", "as it is written"
    return advised(
        "healthy-stopped",
        f"spec.rules[{index}].evidence",
        f"{rule.name}: by itself it {does} rollouts with nothing wrong at {place} {written}{_shown(worst)}",
        tries or list(first_of(more_traffic(outlook))),
        "a limit beyond what is usual is needed"
        if _is_usually_past(worst)
        else nothing(
            f"{'proof alone, ' * is_provable(rule)}longer windows, a limit of up to {WIDER[-1]:g} times as much, "
            f"{MUCH_TRAFFIC}"
        ),
    )


def _is_usually_past(row: Row) -> bool:
    """Whether what a healthy candidate shows is past the rule's limit."""
    rule, usual = row.rule, row.figure
    return usual is not None and rule.usual is None and is_past(rule, usual)


def _shown(row: Row) -> str:
    """`, at a usual 1.5% and a limit of 2%`"""
    rule = row.rule
    if row.figure is None or rule.usual is not None:
        return ""
    past = ", past its limit of " if _is_usually_past(row) else " and a limit of "
    usual = format_value(rule.metric, row.figure)
    return f", at a usual {usual}{past}{format_limit(rule.metric, rule.limit)}"


def _wider(outlook: Outlook, index: int, rows: Sequence[Row]) -> Iterator[Suggestion]:
    """A limit further from what is good than it is; or than what is usual at any step, where that is past it."""
    rule = outlook.plan.rules[index]
    usual = [row.figure for row in rows if row.figure is not None and _is_usually_past(row)]
    since = (min if rule.below else max)([rule.limit, *usual])
    for limit in _limits(rule, since):
        changed = replace(rule, limit=limit, alternative=None)
        yield Suggestion(text=_limited(changed), outlook=with_rule(outlook, index, changed))


def _limited(changed: Rule) -> str:
    """`above 3%`: the field and what to write there."""
    if changed.usual is not None:
        over = format_duration(changed.usual)
        return f"`spike: {{factor: {changed.limit:g}, over: {over}}}`"
    return f"{'below' if changed.below else 'above'} {format_limit(changed.metric, changed.limit)}"


def _limits(rule: Rule, since: float) -> Iterator[float]:
    """Further from what is good, to two digits."""
    for times in WIDER:
        limit = float(f"{since / times if rule.below else since * times:.2g}")
        if rule.metric.unit == "fraction" and rule.usual is None and limit >= 1:
            return
        if limit != rule.limit:
            yield limit
