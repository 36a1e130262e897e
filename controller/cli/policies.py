"""How several plans on the same recorded data are told, side by side; and one or several plans on many seeds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from controller.cli.backtested import INDENT, fields, print_facts
from controller.cli.context import Context
from controller.cli.deeds import deed
from controller.cli.output import API_VERSION, Document, console, grid, listing, moment, wrapped
from controller.cli.simulated import endings_document

if TYPE_CHECKING:
    from rich.text import Text

    from controller.rollout.plan import Plan
    from controller.rollout.record import Record
    from controller.simulate.backtest.briefing import Briefing
    from controller.simulate.backtest.policies import Parting, Run, Runs, Spread
    from controller.simulate.backtest.run import Finished, Setup

OF_A_PLAN = ("Plan", "Critical")
"""The facts that differ from plan to plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A plan that is compared: what it is called here, its file, and what it is run on."""

    label: str
    file: str
    setup: Setup


def labels(files: Sequence[Path], plans: Sequence[Plan]) -> list[str]:
    """What to call each plan: its name; its file's, where several have the same; the whole path, if need be."""
    for names in (
        [plan.name for plan in plans],
        [file.stem for file in files],
        [str(file) for file in files],
    ):
        if len(set(names)) == len(names):
            return names
    counted = Counter[Path]()
    numbered = []
    for file in files:
        counted[file] += 1
        numbered.append(str(file) if counted[file] == 1 else f"{file} ({counted[file]})")
    return numbered


# Before


def print_briefings(
    context: Context, policies: Sequence[Policy], briefings: Sequence[Briefing], repeat: int
) -> None:
    """Of each plan what is its own, then what all of them have alike."""
    own = [
        (fact if len(policies) == 1 else f"{fact} {policy.label}", sentence)
        for policy, briefing in zip(policies, briefings, strict=True)
        for fact, sentence in briefing.facts
        if fact in OF_A_PLAN
    ]
    alike = [
        (fact, _seeds(policies[0], repeat) if fact == "Seed" and repeat > 1 else sentence)
        for fact, sentence in briefings[0].facts
        if fact not in OF_A_PLAN
    ]
    warnings = [
        warning if len(policies) == 1 else f"{policy.label}: {warning}"
        for policy, briefing in zip(policies, briefings, strict=True)
        for warning in briefing.warnings
    ]
    what = f"Backtest of {len(policies)} plans" if len(policies) > 1 else "Backtest"
    title = f"{what} on {repeat:,} seeds" if repeat > 1 else what
    print_facts(context, title, [*own, *alike], warnings)


def _seeds(policy: Policy, repeat: int) -> str:
    first = policy.setup.seed
    return (
        f"{first} to {first + repeat - 1}, each for arrivals that are made, draws, label delays and assignments; "
        "alike for every plan"
    )


# One seed


def print_comparison(
    context: Context, policies: Sequence[Policy], finished: Sequence[Finished]
) -> None:
    from rich.text import Text

    out = console(context)
    out.print(Text("What became of them", style="bold"))
    for line in _table(policies, finished, width=out.width):
        out.print(line)
    out.print()
    for one in differences(policies, finished):
        for part in wrapped(one, width=out.width, indent=""):
            out.print(part)
    notes = (
        "REQUESTS: the candidate's; WRONG: wrong answers to them that reached a client; MORE: than the baseline's "
        "recorded answers to the same requests; SAVED: US dollars against those."
    )
    for part in wrapped(notes, width=out.width, indent=""):
        out.print(Text(part, style="dim"))


def _table(
    policies: Sequence[Policy], finished: Sequence[Finished], *, width: int
) -> Iterator[Text]:
    from rich.text import Text

    from controller.rollout.units import format_share
    from controller.simulate.backtest.policies import run_of

    runs = [run_of(policy.setup, one) for policy, one in zip(policies, finished, strict=True)]
    rows = [
        [
            policy.label,
            f"{run.ending.value.upper()} at {format_share(one.state.share_bp)}",
            _days(run.took),
            f"{run.candidate_requests:,}",
            f"{run.instead.wrong:,}" if run.instead.graded else "-",
            f"{run.instead.wrong_more:+,}" if run.instead.graded else "-",
            _usd(run),
        ]
        for policy, one, run in zip(policies, finished, runs, strict=True)
    ]
    lines = grid(["PLAN", "ENDING", "AFTER", "REQUESTS", "WRONG", "MORE", "SAVED"], rows)
    yield lines[0]
    for line, policy, one, run in zip(lines[1:], policies, finished, runs, strict=True):
        yield line
        for said in (_path(run), *_stop(policy, one)):
            for part in wrapped(said, width=width, indent=INDENT):
                yield Text(part, style="dim")


def _days(span: timedelta) -> str:
    return f"{span / timedelta(days=1):.1f} d"


def _usd(run: Run) -> str:
    saved = run.instead.saved_nusd
    return "-" if saved is None else f"{saved / 1e9:,.2f}"


def _path(run: Run) -> str:
    from controller.rollout.units import format_share

    if not run.path:
        return "never left the baseline"
    return ", ".join(f"{format_share(share)} on day {since.days + 1}" for since, share in run.path)


def _stop(policy: Policy, finished: Finished) -> Iterator[str]:
    """The arithmetic of what stopped a run."""
    from controller.notify.arithmetic import verdict_line
    from controller.simulate.backtest.policies import named, stop_of

    stop = stop_of(finished)
    if stop is None:
        return
    record, failed = stop
    if not failed:
        yield f"stopped: {record.cause.value.replace('_', ' ')}"
    for verdict in failed:
        yield f"{named(verdict)}: {verdict_line(verdict, policy.setup.plan)}"


def differences(policies: Sequence[Policy], finished: Sequence[Finished]) -> list[str]:
    """How each plan's run differs from the first one's, one sentence or several each."""
    from controller.simulate.backtest.policies import parting, run_of

    runs = [run_of(policy.setup, one) for policy, one in zip(policies, finished, strict=True)]
    said = []
    for place in range(1, len(policies)):
        names = (policies[0].label, policies[place].label)
        found = parting(finished[0], finished[place])
        if found is None:
            said.append(f"{names[0]} and {names[1]} decide alike to the end.")
            continue
        started = finished[0].state.started_at
        deeds = (
            _deed(found.one, finished[0], found.at),
            _deed(found.other, finished[place], found.at),
        )
        said.append(
            f"{names[0]} and {names[1]} decide alike until {moment(found.at)}, day {_day(found, started)}: "
            f"{names[0]} {deeds[0]}, {names[1]} {deeds[1]}. {_come_to(names, runs[0], runs[place])}"
        )
    return said


def _day(found: Parting, started: datetime) -> int:
    return (found.at - started).days + 1


def _deed(record: Record | None, finished: Finished, at: datetime) -> str:
    """What a run does at a moment."""
    if record is not None:
        return deed(record)
    return "has ended" if finished.at < at else "goes on"


def _come_to(names: tuple[str, str], one: Run, other: Run) -> str:
    """What the second plan's run came to beyond the first's."""
    requests = other.candidate_requests - one.candidate_requests
    said = [f"Against {names[0]}, {names[1]} has {_more(requests)} requests on the candidate"]
    if one.instead.graded and other.instead.graded:
        wrong = other.instead.wrong_more - one.instead.wrong_more
        said.append(f"{_more(wrong)} wrong answers that the baseline would not have given")
    saved = (one.instead.saved_nusd, other.instead.saved_nusd)
    if saved[0] is not None and saved[1] is not None:
        usd = (saved[1] - saved[0]) / 1e9
        said.append(f"{abs(usd):,.2f} USD {'more' if usd >= 0 else 'less'} saved")
    return f"{', '.join(said[:-1])} and {said[-1]}." if len(said) > 1 else f"{said[0]}."


def _more(count: int) -> str:
    return f"{abs(count):,} {'more' if count >= 0 else 'fewer'}"


def comparison(
    policies: Sequence[Policy], briefings: Sequence[Briefing], finished: Sequence[Finished]
) -> Document:
    from controller.cli.backtested import document
    from controller.simulate.backtest.paired_report import paired_report

    items = [
        {
            "plan": policy.label,
            "file": policy.file,
            **document(policy.setup, briefing, paired_report(policy.setup.recording), one),
        }
        for policy, briefing, one in zip(policies, briefings, finished, strict=True)
    ]
    return {**listing("Backtest", items), "differences": differences(policies, finished)}


# Many seeds


def print_runs(context: Context, policies: Sequence[Policy], runs: Sequence[Sequence[Run]]) -> None:
    from rich.text import Text

    from controller.simulate.backtest.policies import runs_of

    out = console(context)
    found = [runs_of(of_plan) for of_plan in runs]
    for table in (_endings(policies, found), _times(policies, found), _harm(policies, found)):
        for line in grid(*table):
            out.print(line)
        out.print()
    for said in (*_stoppers(policies, found), *_seed_by_seed(policies, runs)):
        for part in wrapped(said, width=out.width, indent=""):
            out.print(part)
    notes = (
        "Shares of runs with 95% Wilson intervals. Of times and amounts the median over all runs, its 95% interval "
        "from order statistics, and the 90% quantile; a run that never got there counts as later than every other. "
        "WRONG: wrong answers of the candidate's traffic that reached a client; MORE: than the baseline's recorded "
        "answers to the same requests. The intervals are over draws from this recording, its items taken as they are."
    )
    for part in wrapped(notes, width=out.width, indent=""):
        out.print(Text(part, style="dim"))


def _endings(
    policies: Sequence[Policy], found: Sequence[Runs]
) -> tuple[list[str], list[list[str]]]:
    from controller.simulate.endings import Ending

    rows = []
    for policy, one in zip(policies, found, strict=True):
        parts = [one.endings[ending] for ending in Ending]
        cells = [
            f"{100 * part.share:.0f}% ({100 * part.interval.lower:.0f}..{100 * part.interval.upper:.0f})"
            for part in parts
        ]
        rows.append([policy.label, *cells])
    return ["PLAN", *(ending.value.upper() for ending in Ending)], rows


def _times(policies: Sequence[Policy], found: Sequence[Runs]) -> tuple[list[str], list[list[str]]]:
    rows = [
        [policy.label, *_span_cells(one.until_stop), *_span_cells(one.until_completion)]
        for policy, one in zip(policies, found, strict=True)
    ]
    return ["PLAN", "UNTIL STOP", "95% CI", "90%", "UNTIL COMPLETION", "95% CI", "90%"], rows


def _span_cells(spread: Spread) -> list[str]:
    known = spread.interval is not None and not math.isinf(spread.interval[0])
    interval = "..".join(_hours(one) for one in spread.interval or ()) if known else "-"
    return [_hours(spread.median), interval, _hours(spread.most)]


def _hours(value: float) -> str:
    if math.isinf(value):
        return "never"
    return f"{value:.1f} h" if value < 100 else f"{value / 24:.1f} d"


def _harm(policies: Sequence[Policy], found: Sequence[Runs]) -> tuple[list[str], list[list[str]]]:
    rows = [
        [
            policy.label,
            *_amount(one.candidate_requests, ",.0f"),
            *_amount(one.wrong, ",.0f"),
            *_amount(one.wrong_more, "+,.0f"),
            *(_amount(one.saved_usd, ",.2f") if one.saved_usd is not None else ["-", "-"]),
        ]
        for policy, one in zip(policies, found, strict=True)
    ]
    columns = [("REQUESTS", "90%"), ("WRONG", "90%"), ("MORE", "90%"), ("SAVED USD", "90%")]
    return ["PLAN", *(name for pair in columns for name in pair)], rows


def _amount(spread: Spread, form: str) -> list[str]:
    return [f"{spread.median:{form}}", f"{spread.most:{form}}"]


def _stoppers(policies: Sequence[Policy], found: Sequence[Runs]) -> Iterator[str]:
    for policy, one in zip(policies, found, strict=True):
        if one.stopped_by:
            by = "; ".join(f"{rules}: {count:,}" for rules, count in one.stopped_by.items())
            yield f"{policy.label} was stopped by {by}."


def _seed_by_seed(policies: Sequence[Policy], runs: Sequence[Sequence[Run]]) -> Iterator[str]:
    from controller.simulate.backtest.policies import against

    for one, other in combinations(range(len(policies)), 2):
        found = against(runs[one], runs[other])
        yield (
            f"Seed by seed: {policies[one].label} is stopped sooner than {policies[other].label} on {found.sooner:,}, "
            f"alike on {found.alike:,}, later on {found.later:,}."
        )


def runs_document(
    policies: Sequence[Policy], briefings: Sequence[Briefing], runs: Sequence[Sequence[Run]]
) -> Document:
    from controller.simulate.backtest.policies import against, runs_of

    return {
        "apiVersion": API_VERSION,
        "kind": "BacktestRuns",
        "seeds": [one.seed for one in runs[0]],
        "plans": [
            {
                "plan": policy.label,
                "file": policy.file,
                "digest": policy.setup.plan.digest,
                "facts": dict(briefing.facts),
                "warnings": list(briefing.warnings),
                **_summary_document(runs_of(of_plan)),
            }
            for policy, briefing, of_plan in zip(policies, briefings, runs, strict=True)
        ],
        "seed_by_seed": [
            {
                "plan": policies[one].label,
                "other": policies[other].label,
                **fields(against(runs[one], runs[other])),
            }
            for one, other in combinations(range(len(policies)), 2)
        ],
    }


def _summary_document(found: Runs) -> Document:
    return {
        "endings": endings_document(found.endings),
        "until_stop_s": _spread_document(found.until_stop, 3_600),
        "until_completion_s": _spread_document(found.until_completion, 3_600),
        "candidate_requests": _spread_document(found.candidate_requests),
        "wrong_answers": _spread_document(found.wrong),
        "wrong_answers_more": _spread_document(found.wrong_more),
        "saved_usd": _spread_document(found.saved_usd) if found.saved_usd is not None else None,
        "stopped_by": dict(found.stopped_by),
        "runs": [_run_document(one) for one in found.runs],
    }


def _spread_document(spread: Spread, scale: float = 1) -> Document:
    """A median or quantile that is never reached, and an interval that there are too few runs for, is null."""
    lower, upper = spread.interval or (math.inf, math.inf)
    values = {"median": spread.median, "lower": lower, "upper": upper, "p90": spread.most}
    return {name: None if math.isinf(one) else one * scale for name, one in values.items()}


def _run_document(run: Run) -> Document:
    return {
        "seed": run.seed,
        "ending": run.ending.value,
        "took_s": run.took.total_seconds(),
        "path": [
            {"after_s": since.total_seconds(), "share_bp": share} for since, share in run.path
        ],
        "stopped_by": list(run.stopped_by),
        "candidate_requests": run.candidate_requests,
        "instead": fields(run.instead),
    }
