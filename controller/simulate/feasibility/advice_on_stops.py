"""Where a rule as written stops healthy rollouts too often, and changes after which it does not.

Each change was tried on the same kind of draws, at every step; one that leaves the rule to its proof is told only
where that is still enough to catch what the rule should.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from controller.rollout.evidence.rules import is_provable
from controller.rollout.plan import Evidence, Rule, Then
from controller.rollout.units import format_limit, format_share, format_value
from controller.simulate.feasibility.advice import (
    Advice,
    Suggestion,
    advised,
    first_of,
    hardest,
    how_surely,
    longer_windows,
    more_traffic,
    with_rule,
)
from controller.simulate.feasibility.advice_words import in_percent
from controller.simulate.feasibility.figures import is_past
from controller.simulate.feasibility.kept import SURE
from controller.simulate.feasibility.outlook import Outlook
from controller.simulate.feasibility.prospect import Feasibility, Row
from controller.simulate.feasibility.written import stopped
from controller.simulate.scenarios import Scenario

WIDER: Final = (1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""Times the limit, or what is left of it under one that must not be fallen below."""
WINDOWS: Final = 4
"""Longer windows that are tried."""


def stopping(
    outlook: Outlook, found: Feasibility, catches: Sequence[Scenario] = ()
) -> Iterator[Advice]:
    """A warning for each rule that stops more healthy rollouts than the plan's alpha, as surely as its draws say."""
    for index, rule in enumerate(outlook.plan.rules):
        rows = [row for row in found.rows if row.rule is rule and row.stopped is not None]
        worst = max(rows, key=_lower, default=None)
        if (
            worst is not None
            and rule.then is not Then.NOTIFY
            and _lower(worst) > outlook.plan.alpha
        ):
            yield _stopping(outlook, index, worst, catches, found.seed)


def _lower(row: Row) -> float:
    return row.stopped.lower if row.stopped is not None else 0.0


def _stopping(
    outlook: Outlook, index: int, worst: Row, catches: Sequence[Scenario], seed: int
) -> Advice:
    rule = outlook.plan.rules[index]
    tries: list[Suggestion] = []

    def still(changed: Outlook) -> bool:
        return _stops(changed, index, worst, seed)

    tries += first_of(still, _proven(outlook, index, catches))
    if not _is_usually_past(worst):
        tries += first_of(still, islice(longer_windows(outlook, index), WINDOWS))
    tries += first_of(still, _wider(outlook, index, worst))
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
        tries or list(first_of(still, more_traffic(outlook))),
        "a limit beyond what is usual is needed"
        if _is_usually_past(worst)
        else "a limit of more than four times as much, or longer windows in longer steps are needed",
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


def _stops(outlook: Outlook, index: int, worst: Row, seed: int) -> bool:
    """Whether it would still do so at any step, the worst one first; a wider doubt than the warning has."""
    rule, alpha = outlook.plan.rules[index], outlook.plan.alpha
    steps = sorted(range(len(outlook.plan.steps)), key=lambda step: step != worst.step)
    for step in steps:
        if not outlook.has_control(rule, step):
            continue
        if rule.evidence is Evidence.CONFIDENT:
            part = outlook.healthy_by_proof(rule, worst.intent, step)
            if part is None or part > alpha:
                return True
            continue
        drawn = stopped(outlook, rule, worst.intent, step, seed=seed)
        if drawn is None or drawn.share > alpha:
            return True
    return False


def _proven(outlook: Outlook, index: int, catches: Sequence[Scenario]) -> Iterator[Suggestion]:
    """Its proof alone, with a longer window where its own is too short to catch what it should."""
    rule = outlook.plan.rules[index]
    if not is_provable(rule):
        return
    alone = with_rule(outlook, index, replace(rule, evidence=Evidence.CONFIDENT))
    first = Suggestion(text="`evidence: confident`", outlook=alone)
    longer = (
        Suggestion(text=f"{first.text} together with {one.text}", outlook=one.outlook)
        for one in longer_windows(alone, index)
    )
    for one in (first, *longer):
        found = hardest(one.outlook, one.outlook.plan.rules[index], catches)
        if found is not None and how_surely(found[1]) >= SURE:
            yield one


def _wider(outlook: Outlook, index: int, worst: Row) -> Iterator[Suggestion]:
    """A limit further from what is good than it is; or than what is usual, where that is past it."""
    rule = outlook.plan.rules[index]
    usual = worst.figure if _is_usually_past(worst) else None
    since = rule.limit if usual is None else usual
    for limit in _limits(rule, since):
        word = "below" if rule.below else "above"
        changed = replace(rule, limit=limit, alternative=None)
        text = f"{word} {format_limit(rule.metric, limit)}"
        yield Suggestion(text=text, outlook=with_rule(outlook, index, changed))


def _limits(rule: Rule, since: float) -> Iterator[float]:
    """Further from what is good, to two digits."""
    for times in WIDER:
        limit = float(f"{since / times if rule.below else since * times:.2g}")
        if rule.metric.unit == "fraction" and rule.usual is None and limit >= 1:
            return
        if limit != rule.limit:
            yield limit
