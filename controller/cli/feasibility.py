"""Whether a plan can decide on its traffic, as `check` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from rich.text import Text

from controller.cli.context import Context
from controller.cli.learnt import cost_words, history_words, latency_words, usd_each
from controller.cli.output import console, grid, rough, wrapped
from controller.cli.simulated import (
    alike_words,
    answers_words,
    cores,
    pinned_words,
    progress,
    traffic_words,
)
from controller.rollout.metrics import Kind
from controller.rollout.plan import Evidence, Then
from controller.rollout.units import (
    format_duration,
    format_number,
    format_percent,
    format_share,
    format_value,
)
from controller.simulate.feasibility.written import PATIENCE

if TYPE_CHECKING:
    from controller.cli.learnt import Known
    from controller.plans.finding import Finding
    from controller.rollout.plan import Plan
    from controller.simulate.endings import Part
    from controller.simulate.feasibility.advice import Advice
    from controller.simulate.feasibility.bill import Bill
    from controller.simulate.feasibility.prospect import Catch, Feasibility, Proving, Row
    from controller.simulate.feasibility.rehearsal import Rehearsal
    from controller.simulate.runs.montecarlo import Spread, Summary
    from controller.simulate.scenarios import Scenario, Traffic

NOTES = (
    "SAMPLES of one window, as expected: the candidate's, and the baseline's where both are needed; in brackets what "
    "the rule's proof counts where that is another number: units, or requests for a percentile or a cost. HEALTHY: in "
    "how many rollouts with nothing wrong the rule fails at this step, as written (drawn, by itself); with <=, by "
    "proof, at most and in the whole rollout. A candidate that is so bad (IF AT) from a step's beginning on is caught "
    "after so long, in the median and in 90%: by proof or, with `evidence: observed`, as written, whichever is sooner. "
    "BAD are the bad answers that clients get from it until then, in the mean, on what is judged: wrong ones, or those "
    "with the rule's flag or over its limit.",
    "PROVEN: that a candidate as good as the baseline keeps the limit, with the labels of all steps so far, each held "
    "for its `hold`; of a cost per correct answer, with the graded requests. IN TIME: by the end of the step's hold or "
    "deadline; PAIRS: how many shadow pairs would prove it on their own in 90%. Leaving a step with * asks for it. "
    "What is not drawn or simulated is computed from the bets and thresholds of the live rules. A dash: does not "
    "apply; ?: not known.",
)


NO_TIME = timedelta(0)
BATCH = 5
"""Runs that a process makes at a time: few, for there are few in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a plan was checked with."""

    known: Known
    catches: Sequence[Scenario]
    slower: tuple[float, ...]
    dearer: tuple[float, ...]
    pairs: int
    runs: int
    seed: int
    processes: int | None

    @property
    def traffic(self) -> Traffic:
        return self.known.traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What it can decide, what it costs (None without prices), and simulated rollouts of it (None without any)."""

    asked: Asked
    found: Feasibility
    advice: tuple[Advice, ...]
    bill: Bill | None
    rehearsal: Rehearsal | None
    stopped: tuple[Finding, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """A field that is warned about by itself needs no second warning by the rollouts that it stops."""
        told = [one.finding for one in self.advice]
        paths = {one.path for one in told}
        return (*told, *(one for one in self.stopped if one.path not in paths))


def examine(context: Context, plan: Plan, asked: Asked) -> Outcome:
    from controller.simulate.feasibility.advice import advice
    from controller.simulate.feasibility.advice_on_stops import stopping
    from controller.simulate.feasibility.bill import bill
    from controller.simulate.feasibility.outlook import Outlook, feasibility
    from controller.simulate.feasibility.rehearsal import can_rehearse, healthy_stopped
    from controller.simulate.feasibility.tried import Ground

    known = asked.known
    outlook = Outlook(
        plan=plan,
        traffic=known.traffic,
        pairs=asked.pairs,
        usual=known.usual,
        slower=asked.slower,
        dearer=asked.dearer,
    )
    found = feasibility(outlook, catches=asked.catches, seed=asked.seed)
    ground = Ground(
        outlook=outlook,
        found=found,
        catches=tuple(asked.catches),
        today=context.clock.now().date(),
    )
    rehearsal = _rehearse(context, plan, asked) if asked.runs and can_rehearse(plan) else None
    return Outcome(
        asked=asked,
        found=found,
        advice=(*advice(ground), *stopping(ground)),
        bill=bill(
            plan,
            known.traffic,
            input_tokens=known.input_tokens,
            output_tokens=known.output_tokens,
        ),
        rehearsal=rehearsal,
        stopped=healthy_stopped(plan, known.traffic, rehearsal) if rehearsal is not None else (),
    )


def _rehearse(context: Context, plan: Plan, asked: Asked) -> Rehearsal:
    from controller.simulate.feasibility.rehearsal import rehearsal, rehearsed
    from controller.simulate.runs.montecarlo import simulate

    start = datetime.combine(context.clock.now().date(), time(), tzinfo=UTC)
    setups = rehearsed(plan, asked.traffic, asked.catches, start=start, seed=asked.seed)
    with progress(context, asked.runs * len(setups)) as told:
        trials = simulate(
            setups,
            asked.runs,
            processes=asked.processes or cores(),
            batch=BATCH,
            told=told,
        )
    return rehearsal(plan, setups, trials)


# Text


def print_outcome(context: Context, plan: Plan, outcome: Outcome) -> None:
    out = console(context)
    out.print()
    out.print(Text(f"{plan.name}: can it decide?", style="bold"))
    for line in _facts(plan, outcome.asked):
        _print_wrapped(context, line)
    out.print()
    for text in _rules(plan, outcome.found):
        out.print(text, soft_wrap=True)
    for line in _lacking(outcome.found.rows):
        _print_wrapped(context, line)
    if outcome.found.provings:
        out.print()
        for text in grid(*_proofs(plan, outcome.found.provings)):
            out.print(text, soft_wrap=True)
    if outcome.rehearsal is not None:
        out.print()
        for text in _simulated(context, plan, outcome.rehearsal):
            out.print(text)
    out.print()
    for line in _money(plan, outcome):
        _print_wrapped(context, line)
    for line in NOTES:
        _print_wrapped(context, line, style="dim")


def _print_wrapped(context: Context, text: str, *, style: str = "") -> None:
    out = console(context)
    for part in wrapped(text, width=out.width, indent=""):
        out.print(Text(part, style=style))


def _facts(plan: Plan, asked: Asked) -> Iterator[str]:
    if asked.known.history is not None:
        yield history_words(asked.known.history)
    yield f"Traffic: {traffic_words(asked.traffic)}."
    if asked.traffic.requests_per_unit > 1:
        yield f"{alike_words(asked.traffic)} How long each takes is its own."
    yield f"Answers: {answers_words(plan, asked.traffic)}."
    yield from _judge_words(plan)
    yield from latency_words(asked.known.usual)
    yield from cost_words(plan, asked.known.usual)
    if plan.labels.people_u:
        yield (
            f"People grade {format_percent(plan.labels.people)} of the {plan.unit.value}s beside the judge; LABELS and "
            "NEEDED of proofs are theirs. A loss is caught by their proof or by the judge's, whichever is there first; "
            "as written, and on one arm, rules go by the judge's grades."
        )
    if asked.pairs:
        yield f"Shadow pairs: {asked.pairs:,} on each critical intent."


def _judge_words(plan: Plan) -> Iterator[str]:
    judge = plan.labels.judge
    if judge is not None:
        right, wrong = format_percent(judge.sensitivity), format_percent(judge.specificity)
        yield (
            f"Grades are a judge's, which errs as the plan says, on both arms alike: of right answers it calls {right} "
            f"right, of wrong ones {wrong} wrong. Accuracies and losses here are true ones, and what rules make of "
            "them allows for its errors."
        )


RULES = ("RULE", "WINDOW", "SAMPLES", "HEALTHY", "IF AT", "CAUGHT AFTER", "BAD")
PROOFS = ("STEP", "INTENT", "LABELS", "NEEDED", "PROVEN AFTER", "IN TIME", "PAIRS")
ASKED, EVERY = "*", "all"
UNKNOWN, NOTHING = "?", "-"


def _rules(plan: Plan, found: Feasibility) -> Iterator[Text]:
    """By step, with its share and hold above its rules; a rule that should catch several has a line for each."""
    told: list[tuple[int, list[str]]] = []
    for row in found.rows:
        told += [(row.step, _rule_cells(plan, row, catch)) for catch in row.catches]
    head, *lines = grid(RULES, [cells for _, cells in told])
    yield head
    shown = -1
    for line, (step, _) in zip(lines, told, strict=True):
        if step != shown:
            yield Text(step_words(plan, step), style="bold")
            shown = step
        yield line
    if any(row.stopped is not None for row in found.rows):
        yield Text(
            f"As written: {found.runs} draws of each rule and step, seed {found.seed}.", style="dim"
        )


def _lacking(rows: Sequence[Row]) -> Iterator[str]:
    """What would have to be known, once for each rule, with the first step that lacks it where others do not."""
    told: dict[str, str] = {}
    for row in rows:
        if row.lacking is not None:
            told.setdefault(row.rule.name, row.lacking)
    yield from (f"{name}: {why}." for name, why in told.items())


def step_words(plan: Plan, step: int) -> str:
    share, last = format_share(plan.share_at(step)), step + 1 == len(plan.steps)
    if last:
        held = f", then {format_duration(plan.bake)} of bake" if plan.bake else ""
        return f"step {step + 1}: {share}{held}"
    return f"step {step + 1}: {share} for {format_duration(plan.steps[step].hold)}"


def _rule_cells(plan: Plan, row: Row, catch: Catch) -> list[str]:
    rule = row.rule
    of_usual = rule.usual is not None and (row.figure != 0 or row.lacking is not None)
    return [
        f"{rule.name}/{row.intent}" if row.intent else rule.name,
        format_duration(rule.window),
        _samples(row),
        _healthy(row),
        _times_usual(catch.size) if of_usual else format_value(rule.metric, catch.size),
        f"{_caught(catch, row)}{_by(plan, catch, row)}",
        _count(catch.bad_served),
    ]


def _times_usual(times: float) -> str:
    """`2.5x usual`"""
    return f"{format_number(float(f'{times:.3g}'))}x usual"


def _samples(row: Row) -> str:
    """`1,333 (333)`, `500 + 4,500`"""
    counted = [row.candidate, row.baseline]
    told = " + ".join(_count(one) for one in counted if one is not None)
    several = row.episodes is not None and row.candidate is not None
    if several and abs((row.episodes or 0.0) - (row.candidate or 0.0)) > 1e-6 * (
        row.candidate or 0
    ):
        return f"{told} ({_count(row.episodes)})"
    return told


def _healthy(row: Row) -> str:
    if row.rule.evidence is Evidence.OBSERVED:
        return UNKNOWN if row.stopped is None else _percent(row.stopped.share)
    if row.by_proof is None:
        return UNKNOWN
    return _percent(row.by_proof) if row.is_past else f"<={_percent(row.by_proof)}"


def _percent(part: float) -> str:
    """With a decimal below ten percent: `1.7%`, `48%`."""
    whole = part >= 0.095 or part < 0.0005
    return f"{100 * part:.0f}%" if whole else f"{100 * part:.1f}%"


def _proofs(plan: Plan, provings: Sequence[Proving]) -> tuple[Sequence[str], list[list[str]]]:
    """The rule is named where there are several."""
    several = len({one.rule.name for one in provings}) > 1
    rows = []
    for one in provings:
        intent = one.intent or EVERY
        about = f"{intent} ({one.rule.name})" if several else intent
        rows.append(
            [
                f"{one.step + 1}: {format_share(plan.share_at(one.step))}{ASKED if one.asked else ''}",
                about,
                f"{one.have:,.0f}{' by people' if one.by_people else ''} in {format_duration(one.within)}",
                _two(*(_count(n) for n in one.needed)) if one.after[1] != NO_TIME else "-",
                _spans(one.after, beyond="never"),
                f"{100 * one.probability:.0f}%",
                _count(one.pairs),
            ]
        )
    return PROOFS, rows


def _count(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _caught(catch: Catch, row: Row) -> str:
    """How soon; or how surely, where a window is mostly too short for a proof."""
    window, written = row.rule.window, catch.written
    if catch.sooner[0] is not None:
        beyond = window if written is None or written.after[0] is None else PATIENCE * window
        return _spans(catch.sooner, beyond=f">{format_duration(beyond)}")
    if catch.probability is not None:
        return f"{_percent(catch.probability)} in {format_duration(window)}"
    if written is not None:
        return f">{format_duration(PATIENCE * window)}"
    return UNKNOWN if row.lacking is not None else NOTHING


def _by(plan: Plan, catch: Catch, row: Row) -> str:
    """Whose grades are behind it, where people grade beside a judge."""
    if row.rule.metric.kind is not Kind.LOSS or not plan.labels.people_u:
        return ""
    people = catch.by_people and not catch.is_written_sooner
    return " by people" if people else " by the judge"


def _two(median: str, most: str) -> str:
    return median if median == most else f"{median} · {most}"


def _spans(spans: tuple[timedelta | None, timedelta | None], *, beyond: str) -> str:
    return _two(*(beyond if one is None else rough(one) if one else "at once" for one in spans))


# Simulated rollouts and money


def _simulated(context: Context, plan: Plan, found: Rehearsal) -> Iterator[Text]:
    days = found.setups[0].max_days
    rollouts = f"{found.runs:,} rollout{'s' * (found.runs != 1)}"
    head = (
        f"Simulated: {rollouts} each, seed {found.setups[0].seed}, at most {days} days, decided by all rules "
        "together. Shares with 95% Wilson intervals, times and wrong answers median · 90%."
    )
    for part in wrapped(head, width=console(context).width, indent=""):
        yield Text(part)
    yield from grid(
        ["CANDIDATE", "COMPLETED", "STOPPED", "UNFINISHED", "AFTER", "WRONG"],
        [_ended(one, found.runs) for one in found.summaries],
    )
    for one in found.summaries[1:]:
        if one.stopped_by:
            by = ", ".join(f"{name} {count}" for name, count in one.stopped_by.items())
            yield Text(f"{one.scenario.text}, stopped by: {by}")
    for one in found.summaries:
        for pinned in one.pinned:
            yield Text(f"{one.scenario.text}, {pinned_words(pinned)}")
    for stop in found.healthy_stops:
        where = step_words(plan, stop.step)
        yield Text(f"healthy, stopped at {where}: {_part(stop.part)} by {', '.join(stop.rules)}")
    if any(rule.then is Then.PIN for rule in plan.rules):
        yield Text("a rule that pins an intent stops no rollout: it goes on without it, or waits")
    for rule in found.fitted.left_out:
        yield Text(
            f"not simulated: {rule.name} ({rule.metric.name}), reckoned by itself above",
            style="dim",
        )


def _ended(one: Summary, runs: int) -> list[str]:
    from controller.simulate.endings import STOPS, Ending, part_of

    return [
        one.scenario.text,
        _part(one.endings[Ending.COMPLETED]),
        _part(part_of(sum(one.endings[ending].count for ending in STOPS), runs)),
        f"{100 * one.endings[Ending.UNFINISHED].share:.0f}%",
        _after(one.stop),
        "-" if one.wrong_served is None else _two(*_counts(one.wrong_served)),
    ]


def _part(part: Part) -> str:
    low, high = part.interval.lower, part.interval.upper
    return f"{100 * part.share:.0f}% ({100 * low:.0f}..{100 * high:.0f})"


def _after(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return _two(*(rough(timedelta(minutes=one)) for one in (spread.median, spread.most)))


def _counts(spread: Spread) -> tuple[str, str]:
    return _count(spread.median), _count(spread.most)


def _money(plan: Plan, outcome: Outcome) -> Iterator[str]:
    bill = outcome.bill
    if bill is None:
        yield "Cost: not known, for a model has no price."
        return
    yield (
        f"Cost: {format_duration(bill.span)} as planned, {bill.requests:,.0f} requests of {bill.input_tokens:,} input "
        f"and {bill.output_tokens:,} output tokens: {_usd(bill.rollout_usd)}, against {_usd(bill.baseline_usd)} if all "
        f"stay on {plan.baseline.model}. A shadow pair costs the candidate's call, {usd_each(bill.pair_usd)}"
        f"{_shadowing(outcome, bill)}."
    )


def _shadowing(outcome: Outcome, bill: Bill) -> str:
    """What the pairs would cost that are asked about, or else that would prove what is asked for."""
    wanted = outcome.asked.pairs or max(
        (one.pairs or 0 for one in outcome.found.provings), default=0
    )
    return f"; {wanted:,.0f} of them {_usd(wanted * bill.pair_usd)}" if wanted else ""


def _usd(amount: float) -> str:
    return f"{amount:,.2f} USD"
