"""What a backtest says before it runs: what is recorded, what is made, and what it cannot tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controller.errors import DataError
from controller.rollout.metrics import Kind
from controller.rollout.plan import Arm, Plan
from controller.rollout.units import format_duration, format_percent
from controller.simulate.backtest.measured import Gap, gaps
from controller.simulate.backtest.results import Recording
from controller.simulate.backtest.run import TICK, Setup, picked
from controller.simulate.backtest.stand_ins import OnPause


@dataclass(frozen=True, slots=True, kw_only=True)
class Strangers:
    """Intents that only the plan or only the recording knows, and those that both know but the plan pins."""

    only_plan: tuple[str, ...]
    only_recording: Mapping[str, int]  # items of each
    pinned: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """`facts` are pairs of a word and a sentence; `warnings` are sentences, the weightiest first."""

    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    gaps: tuple[Gap, ...]
    strangers: Strangers


def brief(setup: Setup) -> Briefing:
    """What to know of a setup; DataError if it cannot be judged honestly, or no intent would be compared."""
    found, strangers = gaps(setup.plan, setup.recording), strangers_of(setup.plan, setup.recording)
    compared = set(setup.recording.intents) - set(strangers.only_recording) - set(strangers.pinned)
    if not compared:
        raise DataError(
            f"{setup.recording.file}: none of its intents ({', '.join(setup.recording.intents)}) gets candidate "
            f"traffic by the plan, whose intents are {', '.join(one.name for one in setup.plan.intents)}."
        )
    return Briefing(
        facts=tuple(_facts(setup)),
        warnings=(
            *_repeat_warnings(setup),
            *_gap_warnings(setup.plan, found),
            *_intent_warnings(setup.plan, strangers),
        ),
        gaps=found,
        strangers=strangers,
    )


def strangers_of(plan: Plan, recording: Recording) -> Strangers:
    items = Counter(item.intent for item in recording.items)
    return Strangers(
        only_plan=tuple(one.name for one in plan.intents if one.name not in items),
        only_recording={name: n for name, n in items.items() if plan.intent(name) is None},
        pinned=tuple(one.name for one in plan.intents if one.pinned and one.name in items),
    )


def _facts(setup: Setup) -> Iterator[tuple[str, str]]:
    plan, recording = setup.plan, setup.recording
    critical = [one.name for one in plan.intents if one.critical and not one.pinned]
    yield (
        "Plan",
        f"{plan.name} {plan.digest[:12]}: {_model(plan.baseline.model, recording.baseline)} → "
        + _model(plan.candidate.model, recording.candidate),
    )
    yield "Critical", ", ".join(critical) or "no intent"
    yield "Recorded", _recorded(recording)
    if plan.labels.people_u:
        yield "Grades", _grades(plan, recording)
    yield (
        "Made",
        _once(setup)
        if setup.once
        else (
            "which item is asked when: drawn with replacement, each draw a unit of its own with one request; only the "
            f"served arm's answer counts, its grade comes {_delay(setup)}"
        ),
    )
    yield "Arrivals", setup.arrivals.describe()
    yield "Seed", f"{setup.seed} for arrivals, draws, label delays and assignments"
    yield (
        "Clock",
        (
            f"moved by hand, a tick every {format_duration(TICK)}; every window is judged; "
            f"at most {setup.max_days} day{'s' * (setup.max_days != 1)}"
        ),
    )
    yield (
        "Person",
        f"approves automatically after {format_duration(setup.reaction)}; " + _on_pause(setup),
    )


def _model(planned: str, recorded: str) -> str:
    return planned if planned == recorded else f"{planned} (recorded as {recorded})"


def _recorded(recording: Recording) -> str:
    pairs = len(recording.pairs)
    alone = (
        f"; {recording.unpaired:,} rows without a partner are left out"
        if recording.unpaired
        else ""
    )
    return (
        f"both models' graded answers to {len(recording.items):,} items ({pairs:,} pairs) of "
        f"{', '.join(recording.intents)}, from {recording.file}{alone}"
    )


def _grades(plan: Plan, recording: Recording) -> str:
    judge = plan.labels.judge
    stated = "" if judge is None else f" (stated: {_rates(judge.sensitivity, judge.specificity)})"
    told = "; ".join(
        f"on the {arm.value} {_rates(*agreement(recording, arm))}"
        for arm in (Arm.BASELINE, Arm.CANDIDATE)
    )
    left_out = (
        f"; {recording.left_out:,} pairs of which they have not graded both answers are left out"
        if recording.left_out
        else ""
    )
    return (
        f"the judge's (correct), and people's (correct_by_person) of the {format_percent(plan.labels.people)} of the "
        f"units that they are asked about{left_out}. Of what people find right the judge finds right, and of what they "
        f"find wrong wrong: {told}{stated}"
    )


def _rates(sensitivity: float | None, specificity: float | None) -> str:
    return " and ".join(
        "none" if one is None else format_percent(round(one, 3))
        for one in (sensitivity, specificity)
    )


def agreement(recording: Recording, arm: Arm) -> tuple[float | None, float | None]:
    """Of one arm's answers that people find right, and of those that they find wrong, the part that the judge does;
    None of none.
    """
    answers = [pair.of(arm) for pair in recording.pairs]
    found: list[float | None] = []
    for right in (True, False):
        judged = [
            one.correct is right
            for one in answers
            if one.by_person is right and one.correct is not None
        ]
        found.append(sum(judged) / len(judged) if judged else None)
    return found[0], found[1]


def _once(setup: Setup) -> str:
    return (
        "the order of the items, each asked once, a unit of its own with one request; both models' answers to it are "
        f"one pair, graded by the mean of its runs; grades come {_delay(setup)}. --again draws items as traffic instead"
    )


def _delay(setup: Setup) -> str:
    delay, part = setup.labels_within, picked(setup.plan, setup.recording)
    after = f"after 0 to {format_duration(delay)}, uniformly" if delay else "at once"
    if part >= 1:
        return after
    return f"{after}, of {format_percent(round(part, 4))} of the recorded ones, picked at random"


def _on_pause(setup: Setup) -> str:
    return (
        "a pause ends the run"
        if setup.on_pause is OnPause.STOP
        else "resumes after a pause likewise"
    )


def _repeat_warnings(setup: Setup) -> Iterator[str]:
    """A drawn item says nothing new of the models when it is drawn again; several runs of it show that best."""
    items = setup.recording.items
    repeated = sum(len(item.pairs) > 1 for item in items)
    judged = any(rule.metric.kind is Kind.LOSS for rule in setup.plan.rules)
    if repeated and judged and not setup.once:
        yield (
            f"{repeated:,} of {len(items):,} items were run several times, and every item is drawn again and again. "
            "What stops the run below shows how soon a rule catches a loss of this size, not that there is one: that "
            "is for --once, which asks each item once, its runs as one pair."
        )


def _gap_warnings(plan: Plan, found: tuple[Gap, ...]) -> Iterator[str]:
    for gap in found:
        subject = f"rule {gap.rule} ({gap.metric})"
        if gap.known:
            yield f"{subject} sees only a part: {gap.why}."
        else:
            yield (
                f"{subject} is UNMEASURED: {gap.why}. Nothing advances while the candidate has traffic that it cannot "
                f"see, and {format_duration(plan.max_blind)} of that (maxBlind) pause the rollout."
            )


def _intent_warnings(plan: Plan, strangers: Strangers) -> Iterator[str]:
    for name in strangers.only_plan:
        critical = plan.intent(name) is not None and name in _critical(plan)
        consequence = (
            " It is critical, so whatever asks for it stays unmeasured." if critical else ""
        )
        yield f"intent {name} of the plan has no recorded item: it gets no requests.{consequence}"
    for name, count in strangers.only_recording.items():
        yield (
            f"intent {name} of the recording ({count:,} items) is not in the plan: baseline, counted, never compared."
        )
    for name in strangers.pinned:
        yield f"intent {name} is pinned: baseline, counted, never compared."


def _critical(plan: Plan) -> set[str]:
    return {one.name for one in plan.intents if one.critical and not one.pinned}
