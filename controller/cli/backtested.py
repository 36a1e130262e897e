"""How a backtest is told: what holds before it, what was decided and why, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from controller.cli.context import Context
from controller.cli.output import API_VERSION, Document, console, grid, moment, wrapped

if TYPE_CHECKING:
    from rich.text import Text

    from controller.simulate.backtest.briefing import Briefing
    from controller.simulate.backtest.paired_report import PairedLine, PairedReport
    from controller.simulate.backtest.results import Recording
    from controller.simulate.backtest.run import Finished, Setup
    from controller.simulate.backtest.stand_ins import Instead

INDENT = "  "


def print_paired(
    context: Context, recording: Recording, paired: PairedReport, *, wide: bool
) -> None:
    """The paired table; where people have graded what the judge has, another one by their grades."""
    from controller.simulate.backtest.paired_report import paired_report

    out = console(context)
    tables = [("", recording, paired)]
    if recording.has_people:
        of_people = recording.by_people
        tables = [
            (", by the judge's grades", recording, paired),
            (", by people's grades", of_people, paired_report(of_people)),
        ]
    for whose, graded, report in tables:
        for line in _paired(graded, report, whose, wide=wide, width=out.width):
            out.print(line)
        out.print()


def print_briefing(context: Context, briefing: Briefing, database: str | None) -> None:
    records = "in memory only; --database keeps them" if database is None else "in the database"
    print_facts(context, "Backtest", (*briefing.facts, ("Records", records)), briefing.warnings)


def print_facts(
    context: Context, title: str, facts: Sequence[tuple[str, str]], warnings: Sequence[str]
) -> None:
    """A word and a sentence on each line, then what is to be known before anything is read."""
    from rich.text import Text

    out = console(context)
    label = max(len(word) for word, _ in facts) + 3
    out.print(Text(title, style="bold"))
    for word, sentence in facts:
        lines = wrapped(sentence, width=out.width, indent=" " * label)
        first = Text(f"{word}:".ljust(label), style="bold")
        out.print(first.append_text(Text(lines[0].lstrip(), style="not bold")))
        for line in lines[1:]:
            out.print(line)
    for warning in warnings:
        for line in wrapped(f"Note: {warning}", width=out.width, indent=INDENT):
            out.print(Text(line.removeprefix(INDENT) if "Note:" in line else line, style="yellow"))
    out.print()


def print_result(context: Context, setup: Setup, finished: Finished) -> None:
    from rich.text import Text

    from controller.simulate.endings import Ending

    out = console(context)
    out.print(Text("Decisions", style="bold"))
    for line in _timeline(setup, finished, width=out.width):
        out.print(line)
    out.print()
    if finished.ending is Ending.UNFINISHED:
        for line in _verdicts(setup, finished, width=out.width):
            out.print(line)
        out.print()
    for line in _summary(finished):
        out.print(line)


def _timeline(setup: Setup, finished: Finished, *, width: int) -> Iterator[Text]:
    from rich.text import Text

    from controller.cli.view import share_change
    from controller.simulate.backtest.timeline import timeline

    entries = timeline(finished.records, setup.plan)
    rows = [
        [
            moment(one.at),
            str(one.day),
            one.action.value,
            share_change(one.before_bp, one.after_bp),
            one.cause.value.replace("_", " "),
        ]
        for one in entries
    ]
    lines = grid(["TIME", "DAY", "ACTION", "SHARE", "CAUSE"], rows)
    yield lines[0]
    for line, one in zip(lines[1:], entries, strict=True):
        yield line
        for why in one.why:
            for part in wrapped(why, width=width, indent=INDENT):
                yield Text(part, style="dim")


def _verdicts(setup: Setup, finished: Finished, *, width: int) -> Iterator[Text]:
    """What every rule says where nothing ended the rollout."""
    from rich.text import Text

    from controller.notify.arithmetic import verdict_line

    yield Text("At the end", style="bold")
    for verdict in finished.verdicts:
        said = f"{verdict.outcome.value}: {verdict_line(verdict, setup.plan)}"
        for part in wrapped(said, width=width, indent=INDENT):
            yield Text(part)


def _paired(
    recording: Recording, paired: PairedReport, whose: str, *, wide: bool, width: int
) -> Iterator[Text]:
    from rich.text import Text

    yield Text(f"The recording itself, by pairs{whose}", style="bold").append(
        f" ({recording.baseline} → {recording.candidate}; no rollout)", style="not bold"
    )
    yield from grid(
        _paired_header(paired, wide=wide),
        [_paired_row(one, paired, wide=wide) for one in paired.lines],
    )
    notes = [
        "b: only the baseline right, c: only the candidate; delta: candidate − baseline; p: McNemar, exact."
    ]
    if paired.repeats:
        notes.append(
            "Items were run several times, and runs of one item are not independent: p, which counts each run, is too "
            "sure. What counts is p item: it flips the signs of whole items "
            f"({paired.draws:,} draws, seed {paired.seed})."
        )
    if paired.ungraded:
        notes.append(f"{paired.ungraded:,} pairs without both grades are left out.")
    for note in notes:
        for part in wrapped(note, width=width, indent=""):
            yield Text(part, style="dim")


def _paired_header(paired: PairedReport, *, wide: bool) -> list[str]:
    header = ["INTENT", "PAIRS", "BOTH", "b", "c", "NONE", "DELTA PP", "p"]
    header += ["p ITEM"] if paired.repeats else []
    header += ["MID-P", "95% CI (TANGO)"] if wide else []
    header += ["COST"] if any(one.cost_ratio is not None for one in paired.lines) else []
    if any(one.latency_p50_ratio is not None for one in paired.lines):
        header += ["p50", "p95"]
    return header


def _paired_row(line: PairedLine, paired: PairedReport, *, wide: bool) -> list[str]:
    table = line.table
    row = [
        line.intent,
        f"{table.pairs:,}",
        f"{table.both:,}",
        f"{table.only_baseline:,}",
        f"{table.only_candidate:,}",
        f"{table.neither:,}",
        points(line.delta),
        _p(line.p),
    ]
    row += [_p(line.p_item)] if paired.repeats else []
    if wide:
        low, high = line.interval
        row += [_p(line.p_midp), f"{points(low)}..{points(high)}"]
    row += (
        [_ratio(line.cost_ratio)] if any(one.cost_ratio is not None for one in paired.lines) else []
    )
    if any(one.latency_p50_ratio is not None for one in paired.lines):
        row += [_ratio(line.latency_p50_ratio), _ratio(line.latency_p95_ratio)]
    return row


def points(fraction: float) -> str:
    """A difference in percentage points, with its sign; nothing is never less than nothing: `+0.0`."""
    return f"{round(100 * fraction, 1) + 0.0:+.1f}"


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _summary(finished: Finished) -> Iterator[Text]:
    from rich.text import Text

    from controller.rollout.units import format_share

    days = finished.elapsed / timedelta(days=1)
    good = finished.completed
    units = sum(tally.requests for tally in finished.tallies.values())
    yield Text(finished.ending.value.upper(), style="bold green" if good else "bold red").append(
        f" at {format_share(finished.state.share_bp)} after {days:.1f} days; {units:,} units",
        style="not bold",
    )
    for arm, tally in finished.tallies.items():
        cost = (
            f", {tally.cost_nusd / 1e9:,.2f} USD"
            + (f" for {tally.costed:,} of them" if tally.costed < tally.requests else "")
            if tally.costed
            else ", cost unknown"
        )
        yield Text(f"{INDENT}{arm.value}: {tally.requests:,} requests{cost}")
    for said in instead_words(finished.instead):
        yield Text(f"{INDENT}{said}")
    for intent, count in finished.outside.items():
        yield Text(f"{INDENT}never compared: {count:,} requests of {intent}, on the baseline")


def instead_words(instead: Instead) -> Iterator[str]:
    """What the candidate's requests came to, against the baseline's answers; nothing where nothing is known."""
    if instead.graded:
        yield (
            f"wrong answers that reached a client: {instead.wrong:,}, by the baseline {instead.wrong_instead:,} "
            f"(of {instead.graded:,})"
        )
    if instead.saved_nusd is not None:
        usd = instead.saved_nusd / 1e9
        yield f"{'saved' if usd >= 0 else 'cost more'}: {abs(usd):,.2f} USD on {instead.costed:,} requests"


def document(
    setup: Setup, briefing: Briefing, paired: PairedReport, finished: Finished
) -> Document:
    from controller.notify.arithmetic import verdict_line
    from controller.rollout.codec import encode
    from controller.simulate.backtest.paired_report import paired_report
    from controller.simulate.backtest.timeline import timeline

    return {
        "apiVersion": API_VERSION,
        "kind": "Backtest",
        "rollout": finished.state.rollout,
        "facts": dict(briefing.facts),
        "warnings": list(briefing.warnings),
        "unmeasured": [one.rule for one in briefing.gaps if not one.known],
        "seed": setup.seed,
        "units_per_day": setup.arrivals.units_per_day,
        "decisions": [fields(one) for one in timeline(finished.records, setup.plan)],
        "paired": _report_document(paired),
        "paired_by_people": _report_document(paired_report(setup.recording.by_people))
        if setup.recording.has_people
        else None,
        "ending": finished.ending.value,
        "verdicts": [
            {"outcome": one.outcome.value, "why": verdict_line(one, setup.plan)}
            for one in finished.verdicts
        ],
        "share_bp": finished.state.share_bp,
        "started_at": encode(finished.state.started_at),
        "ended_at": encode(finished.at),
        "arms": {arm.value: fields(tally) for arm, tally in finished.tallies.items()},
        "instead": fields(finished.instead),
        "never_compared": dict(finished.outside),
    }


def _report_document(paired: PairedReport) -> Document:
    return {
        "draws": paired.draws,
        "seed": paired.seed,
        "ungraded": paired.ungraded,
        "lines": [_paired_document(one) for one in paired.lines],
    }


def _paired_document(line: PairedLine) -> Document:
    return {**fields(line), "table": fields(line.table), "delta": line.delta}


def fields(value: object) -> dict[str, object]:
    """A dataclass as JSON, without the name of its type."""
    from controller.rollout.codec import encode

    return {name: one for name, one in encode(value).items() if name != "type"}
