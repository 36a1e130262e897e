"""Whether a plan can decide on its traffic, as `check` shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from rich.text import Text

from controller.cli.context import Context
from controller.cli.output import Document, console, grid, rough, wrapped
from controller.cli.simulated import answers_words, part_document, progress, traffic_words
from controller.rollout.units import format_duration, format_limit, format_percent, format_share

if TYPE_CHECKING:
    from controller.plans.finding import Finding
    from controller.rollout.plan import Plan, Rule
    from controller.simulate.advice import Advice
    from controller.simulate.bill import Bill
    from controller.simulate.montecarlo import Part, Spread, Summary
    from controller.simulate.prospect import Catch, Feasibility, Proving, Row
    from controller.simulate.rehearsal import Rehearsal
    from controller.simulate.scenarios import Scenario, Traffic

NOTES = (
    "CANDIDATE and BASELINE are the samples of one window, as expected. A candidate that is so bad (IF AT) from a "
    "step's beginning on is caught by proof after so long, in the median and in 90%; WRONG are the wrong answers that "
    "clients get from it until then, in the mean, on what is judged. A rule as written (`evidence: observed`) fails by "
    "that proof, or by a complete window over its limit. A dash: not computed, for nothing is assumed beforehand of "
    "latencies, means and costs.",
    "PROVEN: that a candidate as good as the baseline keeps the limit, with the labels of all steps so far, each held "
    "for its `hold`; IN TIME: by the end of the step's hold or deadline; PAIRS: how many shadow pairs would prove it "
    "on their own in 90%. Leaving a step with * asks for it. All but what is simulated is computed from the bets and "
    "thresholds of the live rules.",
)


NO_TIME = timedelta(0)
BATCH = 5
"""Runs that a process makes at a time: few, for there are few in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a plan was checked with."""

    traffic: Traffic
    catches: Sequence[Scenario]
    pairs: int
    input_tokens: int
    output_tokens: int
    runs: int
    seed: int
    processes: int | None


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
        return (*(one.finding for one in self.advice), *self.stopped)


def examine(context: Context, plan: Plan, asked: Asked) -> Outcome:
    from controller.simulate.advice import advice
    from controller.simulate.bill import bill
    from controller.simulate.feasibility import Outlook, feasibility
    from controller.simulate.rehearsal import can_rehearse, healthy_stopped

    outlook = Outlook(plan=plan, traffic=asked.traffic, pairs=asked.pairs)
    rehearsal = _rehearse(context, plan, asked) if asked.runs and can_rehearse(plan) else None
    return Outcome(
        asked=asked,
        found=feasibility(plan, asked.traffic, catches=asked.catches, pairs=asked.pairs),
        advice=advice(outlook, asked.catches),
        bill=bill(
            plan,
            asked.traffic,
            input_tokens=asked.input_tokens,
            output_tokens=asked.output_tokens,
        ),
        rehearsal=rehearsal,
        stopped=healthy_stopped(plan, asked.traffic, rehearsal) if rehearsal is not None else (),
    )


def _rehearse(context: Context, plan: Plan, asked: Asked) -> Rehearsal:
    import os

    from controller.simulate.montecarlo import simulate
    from controller.simulate.rehearsal import rehearsal, rehearsed

    start = datetime.combine(context.clock.now().date(), time(), tzinfo=UTC)
    setups = rehearsed(plan, asked.traffic, asked.catches, start=start, seed=asked.seed)
    with progress(context, asked.runs * len(setups)) as told:
        trials = simulate(
            setups,
            asked.runs,
            processes=asked.processes or os.cpu_count() or 1,
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
    for text in _rules(plan, outcome.found.rows):
        out.print(text)
    if outcome.found.provings:
        out.print()
        for text in grid(*_proofs(plan, outcome.found.provings)):
            out.print(text)
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
    yield f"Traffic: {traffic_words(asked.traffic)}."
    yield f"Answers: {answers_words(plan, asked.traffic)}."
    if plan.labels.people_u:
        yield (
            f"People grade {format_percent(plan.labels.people)} of the {plan.unit.value}s beside the judge, which errs "
            "as the plan says, on both arms alike; LABELS and NEEDED of proofs are theirs. Nothing is simulated: "
            "simulated answers have one grade."
        )
    if asked.pairs:
        yield f"Shadow pairs: {asked.pairs:,} on each critical intent."


RULES = ("RULE", "INTENT", "WINDOW", "CANDIDATE", "BASELINE", "IF AT", "CAUGHT AFTER", "WRONG")
PROOFS = ("STEP", "INTENT", "LABELS", "NEEDED", "PROVEN AFTER", "IN TIME", "PAIRS")
ASKED = "*"


def _rules(plan: Plan, rows: Sequence[Row]) -> Iterator[Text]:
    """By step, with its share and hold above its rules; a rule that should catch several has a line for each."""
    told: list[tuple[int, list[str]]] = []
    for row in rows:
        told += [(row.step, _rule_cells(row, catch)) for catch in row.catches or (None,)]
    head, *lines = grid(RULES, [cells for _, cells in told])
    yield head
    shown = -1
    for line, (step, _) in zip(lines, told, strict=True):
        if step != shown:
            yield Text(step_words(plan, step), style="bold")
            shown = step
        yield line


def step_words(plan: Plan, step: int) -> str:
    share, last = format_share(plan.share_at(step)), step + 1 == len(plan.steps)
    if last:
        held = f", then {format_duration(plan.bake)} of bake" if plan.bake else ""
        return f"step {step + 1}: {share}{held}"
    return f"step {step + 1}: {share} for {format_duration(plan.steps[step].hold)}"


def _rule_cells(row: Row, catch: Catch | None) -> list[str]:
    rule = row.rule
    cells = [
        rule.name,
        row.intent or "all",
        format_duration(rule.window),
        _count(row.candidate),
        _count(row.baseline),
    ]
    if catch is None:
        return [*cells, "-", "-", "-"]
    return [
        *cells,
        format_limit(rule.metric, round(catch.size, 6)),
        _caught(catch, rule),
        _count(catch.wrong_served),
    ]


def _proofs(plan: Plan, provings: Sequence[Proving]) -> tuple[Sequence[str], list[list[str]]]:
    """The rule is named where there are several."""
    several = len({one.rule.name for one in provings}) > 1
    rows = []
    for one in provings:
        about = f"{one.intent} ({one.rule.name})" if several else one.intent
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


def _caught(catch: Catch, rule: Rule) -> str:
    """How soon; or how surely, where a window is mostly too short."""
    window = format_duration(rule.window)
    if catch.after[0] is None:
        return f"{100 * catch.probability:.0f}% in {window}"
    return _spans(catch.after, beyond=f">{window}")


def _two(median: str, most: str) -> str:
    return median if median == most else f"{median} · {most}"


def _spans(spans: tuple[timedelta | None, timedelta | None], *, beyond: str) -> str:
    return _two(*(beyond if one is None else rough(one) if one else "at once" for one in spans))


# Simulated rollouts and money


def _simulated(context: Context, plan: Plan, found: Rehearsal) -> Iterator[Text]:
    days = found.setups[0].max_days
    head = (
        f"Simulated: {found.runs:,} rollouts each, seed {found.setups[0].seed}, at most {days} days, decided by all "
        "rules together. Shares with 95% Wilson intervals, times and wrong answers median · 90%."
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
    for stop in found.healthy_stops:
        where = step_words(plan, stop.step)
        yield Text(f"healthy, stopped at {where}: {_part(stop.part)} by {', '.join(stop.rules)}")
    for rule in found.fitted.left_out:
        yield Text(f"not simulated: {rule.name} ({rule.metric.name})", style="dim")


def _ended(one: Summary, runs: int) -> list[str]:
    from controller.simulate.backtest import Ending
    from controller.simulate.montecarlo import STOPS
    from controller.simulate.rehearsal import part_of

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
        f"stay on {plan.baseline.model}. A shadow pair costs the candidate's call, {bill.pair_usd:.4g} USD"
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


# Document


def document(plan: Plan, outcome: Outcome) -> Document:
    asked = outcome.asked
    return {
        "units_per_minute": asked.traffic.units_per_minute,
        "intents": dict(asked.traffic.mix),
        "accuracy": asked.traffic.accuracy,
        "escalation": asked.traffic.escalation,
        "label_rate": asked.traffic.label_rate,
        "shadow_pairs": asked.pairs,
        "apparent_loss": outcome.found.apparent_loss,
        "rules": [_row(plan, one) for one in outcome.found.rows],
        "proofs": [_proving(plan, one) for one in outcome.found.provings],
        "simulated": _rehearsal(outcome.rehearsal) if outcome.rehearsal is not None else None,
        "cost": _bill(outcome.bill) if outcome.bill is not None else None,
        "suggestions": [
            {
                "code": one.finding.code,
                "path": one.finding.path,
                "use": [s.text for s in one.suggestions],
            }
            for one in outcome.advice
        ],
    }


def _row(plan: Plan, row: Row) -> Document:
    return {
        **_place(plan, row.step, row.rule, row.intent),
        "window_s": row.rule.window.total_seconds(),
        "candidate_samples": row.candidate,
        "baseline_samples": row.baseline,
        "catches": [
            {
                "size": one.size,
                "observations": _quantiles(one.needed),
                "after_s": _seconds(one.after),
                "probability": one.probability,
                "wrong_answers_served": one.wrong_served,
            }
            for one in row.catches
        ],
    }


def _proving(plan: Plan, one: Proving) -> Document:
    return {
        **_place(plan, one.step, one.rule, one.intent),
        "asked": one.asked,
        "within_s": one.within.total_seconds(),
        "labels": one.have,
        "by_people": one.by_people,
        "probability": one.probability,
        "labels_needed": _quantiles(one.needed),
        "after_s": _seconds(one.after),
        "shadow_pairs_needed": one.pairs,
    }


def _rehearsal(found: Rehearsal) -> Document:
    from controller.simulate.backtest import Ending
    from controller.simulate.montecarlo import STOPS
    from controller.simulate.rehearsal import part_of

    return {
        "runs": found.runs,
        "seed": found.setups[0].seed,
        "max_days": found.setups[0].max_days,
        "not_simulated": [
            {"rule": rule.name, "metric": rule.metric.name} for rule in found.fitted.left_out
        ],
        "scenarios": [
            {
                "scenario": one.scenario.text,
                "completed": part_document(one.endings[Ending.COMPLETED]),
                "stopped": part_document(
                    part_of(sum(one.endings[ending].count for ending in STOPS), found.runs)
                ),
                "stopped_by": dict(one.stopped_by),
                "until_stop_s": _spread_document(one.stop, times=60),
                "wrong_answers_served": _spread_document(one.wrong_served),
            }
            for one in found.summaries
        ],
        "healthy_stops": [
            {"step": one.step + 1, "rules": list(one.rules), **part_document(one.part)}
            for one in found.healthy_stops
        ],
    }


def _spread_document(spread: Spread | None, *, times: float = 1) -> Document | None:
    if spread is None:
        return None
    return {"median": spread.median * times, "p90": spread.most * times}


def _bill(bill: Bill) -> Document:
    return {
        "span_s": bill.span.total_seconds(),
        "requests": bill.requests,
        "input_tokens": bill.input_tokens,
        "output_tokens": bill.output_tokens,
        "rollout_usd": bill.rollout_usd,
        "baseline_usd": bill.baseline_usd,
        "steps_usd": list(bill.steps_usd),
        "shadow_pair_usd": bill.pair_usd,
    }


def _place(plan: Plan, step: int, rule: Rule, intent: str | None) -> Document:
    return {
        "step": step + 1,
        "share_bp": plan.share_at(step),
        "rule": rule.name,
        "intent": intent,
    }


def _quantiles(two: tuple[float | None, float | None]) -> Document:
    median, most = two
    return {"median": median, "p90": most}


def _seconds(spans: tuple[timedelta | None, timedelta | None]) -> Document:
    median, most = (None if one is None else one.total_seconds() for one in spans)
    return {"median": median, "p90": most}
