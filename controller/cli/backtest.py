"""`backtest`: a plan on recorded results, decided by the product itself. Nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.context import Context
from controller.cli.options import OutputForm
from controller.cli.output import (
    API_VERSION,
    Document,
    Output,
    console,
    emit,
    grid,
    moment,
    wrapped,
)
from controller.errors import DataError

if TYPE_CHECKING:
    from rich.text import Text

    from controller.rollout.plan import Plan
    from controller.simulate.arrivals import Arrivals
    from controller.simulate.backtest import Finished, Setup, Watcher
    from controller.simulate.briefing import Briefing
    from controller.simulate.paired_report import PairedLine, PairedReport
    from controller.simulate.stand_ins import OnPause

NOT_COMPLETED = 3
"""Exit code of a rollout that paused, was rolled back or did not end in time."""

INDENT = "  "


def register(app: typer.Typer) -> None:
    app.command()(backtest)


def backtest(
    ctx: typer.Context,
    plan: Annotated[
        Path,
        typer.Option("--plan", "-p", metavar="FILE", help="The plan.", show_default=False),
    ],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Recorded results of both models, CSV or CSV.gz: source, intent, item_id, trial, model, correct; "
            "where known prompt_tokens, completion_tokens, cost_usd, latency_s, refused, error.",
            show_default=False,
        ),
    ],
    arrivals: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A recorded arrival pattern (workload, t_s), stretched to --units-per-day and repeated. "
            "Default: Poisson arrivals.",
            show_default=False,
        ),
    ] = None,
    workload: Annotated[
        str, typer.Option(metavar="NAME", help="Which workload of the arrival pattern.")
    ] = "conv",
    units_per_day: Annotated[
        float, typer.Option(metavar="N", min=1, max=1_000_000, help="Mean number of units a day.")
    ] = 5_000,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of arrivals, draws and label delays.")
    ] = 1,
    critical: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INTENT",
            help="Critical instead of the plan's critical intents; repeatable.",
            show_default=False,
        ),
    ] = None,
    approve_after: Annotated[
        str, typer.Option(metavar="SPAN", help="How long the automatic approver takes.")
    ] = "1h",
    on_pause: Annotated[
        str,
        typer.Option(
            metavar="stop|resume", help="End the run at a pause, or resume after --approve-after."
        ),
    ] = "stop",
    max_days: Annotated[
        int, typer.Option(metavar="N", min=1, max=3_650, help="Give up after so many days.")
    ] = 60,
    export_draws: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write every draw to this CSV or CSV.gz.", show_default=False
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Keep the records there, for history, audit and replay. Default: in memory only.",
            show_default=False,
        ),
    ] = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Run a plan on recorded results: the live ingest, windows and decisions, with a clock moved by hand.

    Exit code: 0 completed; 3 paused, rolled back or not finished; 2 input that cannot be used.
    """
    from controller.simulate.backtest import Setup
    from controller.simulate.briefing import brief
    from controller.simulate.paired_report import paired_report
    from controller.simulate.results import pair_up, read_results

    context = Context.of(ctx)
    parsed = _plan(plan, critical or [])
    setup = Setup(
        plan=parsed,
        recording=pair_up(
            read_results(data), baseline=parsed.baseline.model, candidate=parsed.candidate.model
        ),
        arrivals=_arrivals(arrivals, workload, units_per_day, seed),
        seed=seed,
        reaction=_span("--approve-after", approve_after),
        on_pause=_on_pause(on_pause),
        max_days=max_days,
    )
    shown = output in (Output.TABLE, Output.WIDE)
    paired = paired_report(setup.recording)
    if shown:
        # First: it holds whatever comes of the plan.
        _print_paired(context, setup, paired, wide=output is Output.WIDE)
    briefing = brief(setup)
    if shown:
        _print_briefing(context, briefing, database)
    finished = _run(context, setup, database=database, draws=export_draws)
    emit(
        context,
        output,
        document=lambda: _document(setup, briefing, paired, finished),
        names=lambda: [finished.state.rollout],
        table=lambda: _print_result(context, setup, finished),
    )
    if not finished.completed:
        raise typer.Exit(NOT_COMPLETED)


# Input


def _plan(path: Path, critical: list[str]) -> Plan:
    from controller.plans.load import load_file
    from controller.plans.models import bundled_models
    from controller.simulate.backtest import START, with_critical

    # As of the simulated day: a recording outlives the models that it was made with.
    plan = load_file(path, today=START.date(), models=bundled_models())
    return with_critical(plan, critical) if critical else plan


def _arrivals(trace: Path | None, workload: str, units_per_day: float, seed: int) -> Arrivals:
    from controller.simulate.arrivals import Poisson, read_trace

    if trace is None:
        return Poisson(units_per_day=units_per_day, seed=seed)
    return read_trace(trace, units_per_day=units_per_day, workload=workload)


def _span(option: str, text: str) -> timedelta:
    from controller.plans.units import UnitError, parse_duration

    try:
        return parse_duration(text)
    except UnitError as error:
        raise DataError(f"{option}: {error}") from error


def _on_pause(text: str) -> OnPause:
    from controller.simulate.stand_ins import OnPause

    try:
        return OnPause(text)
    except ValueError as error:
        raise DataError(f"--on-pause: {text!r} is neither stop nor resume.") from error


# Running


def _run(context: Context, setup: Setup, *, database: str | None, draws: Path | None) -> Finished:
    from controller.clock import ManualClock
    from controller.simulate.backtest import START, World, backtest
    from controller.simulate.export import draws_file
    from controller.wiring import memory_store, memory_target, open_store

    clock = ManualClock(START)
    store = memory_store() if database is None else open_store(database)
    world = World(store=store, target=memory_target(clock), clock=clock)
    with ExitStack() as files:
        sink = files.enter_context(draws_file(draws)) if draws is not None else None
        watch = files.enter_context(_progress(context, setup))
        return backtest(setup, world, sink=sink, watch=watch)


@contextmanager
def _progress(context: Context, setup: Setup) -> Iterator[Watcher | None]:
    """A bar on stderr for a person at a terminal; nothing for anybody else."""
    if not context.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from controller.rollout.state import State
    from controller.rollout.units import format_share
    from controller.simulate.backtest import START

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    expected = setup.plan.horizon / timedelta(hours=1)
    with Progress(*columns, console=console(context, stderr=True), transient=True) as bar:
        task = bar.add_task("day 1", total=expected)

        def watch(now: datetime, state: State) -> None:
            said = (
                f"day {(now - START).days + 1}, {state.phase.value}, {format_share(state.share_bp)}"
            )
            bar.update(task, completed=(now - START) / timedelta(hours=1), description=said)

        yield watch


# Output


def _print_paired(context: Context, setup: Setup, paired: PairedReport, *, wide: bool) -> None:
    out = console(context)
    for line in _paired(setup, paired, wide=wide, width=out.width):
        out.print(line)
    out.print()


def _print_briefing(context: Context, briefing: Briefing, database: str | None) -> None:
    from rich.text import Text

    out = console(context)
    records = "in memory only; --database keeps them" if database is None else "in the database"
    facts = (*briefing.facts, ("Records", records))
    label = max(len(word) for word, _ in facts) + 3
    out.print(Text("Backtest", style="bold"))
    for word, sentence in facts:
        lines = wrapped(sentence, width=out.width, indent=" " * label)
        first = Text(f"{word}:".ljust(label), style="bold")
        out.print(first.append_text(Text(lines[0].lstrip(), style="not bold")))
        for line in lines[1:]:
            out.print(line)
    for warning in briefing.warnings:
        for line in wrapped(f"Note: {warning}", width=out.width, indent=INDENT):
            out.print(Text(line.removeprefix(INDENT) if "Note:" in line else line, style="yellow"))
    out.print()


def _print_result(context: Context, setup: Setup, finished: Finished) -> None:
    from rich.text import Text

    out = console(context)
    out.print(Text("Decisions", style="bold"))
    for line in _timeline(setup, finished, width=out.width):
        out.print(line)
    out.print()
    for line in _summary(finished):
        out.print(line)


def _timeline(setup: Setup, finished: Finished, *, width: int) -> Iterator[Text]:
    from rich.text import Text

    from controller.cli.view import share_change
    from controller.simulate.timeline import timeline

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


def _paired(setup: Setup, paired: PairedReport, *, wide: bool, width: int) -> Iterator[Text]:
    from rich.text import Text

    recording = setup.recording
    yield Text("The recording itself, by pairs", style="bold").append(
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
            "Items were run several times, and runs of one item are not independent: p is too sure. p item flips the "
            f"signs of whole items ({paired.draws:,} draws, seed {paired.seed})."
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
        f"{100 * line.delta:+.1f}",
        _p(line.p),
    ]
    row += [_p(line.p_item)] if paired.repeats else []
    if wide:
        low, high = line.interval
        row += [_p(line.p_midp), f"{100 * low:+.1f}..{100 * high:+.1f}"]
    row += (
        [_ratio(line.cost_ratio)] if any(one.cost_ratio is not None for one in paired.lines) else []
    )
    if any(one.latency_p50_ratio is not None for one in paired.lines):
        row += [_ratio(line.latency_p50_ratio), _ratio(line.latency_p95_ratio)]
    return row


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
    for intent, count in finished.outside.items():
        yield Text(f"{INDENT}never compared: {count:,} requests of {intent}, on the baseline")


def _document(
    setup: Setup, briefing: Briefing, paired: PairedReport, finished: Finished
) -> Document:
    from controller.rollout.codec import encode
    from controller.simulate.timeline import timeline

    return {
        "apiVersion": API_VERSION,
        "kind": "Backtest",
        "rollout": finished.state.rollout,
        "facts": dict(briefing.facts),
        "warnings": list(briefing.warnings),
        "unmeasured": [one.rule for one in briefing.gaps if not one.known],
        "seed": setup.seed,
        "units_per_day": setup.arrivals.units_per_day,
        "decisions": [_fields(one) for one in timeline(finished.records, setup.plan)],
        "paired": {"draws": paired.draws, "seed": paired.seed, "ungraded": paired.ungraded}
        | {"lines": [_paired_document(one) for one in paired.lines]},
        "ending": finished.ending.value,
        "share_bp": finished.state.share_bp,
        "started_at": encode(finished.state.started_at),
        "ended_at": encode(finished.at),
        "arms": {arm.value: _fields(tally) for arm, tally in finished.tallies.items()},
        "never_compared": dict(finished.outside),
    }


def _paired_document(line: PairedLine) -> Document:
    return {**_fields(line), "table": _fields(line.table), "delta": line.delta}


def _fields(value: object) -> dict[str, object]:
    """A dataclass as JSON, without the name of its type."""
    from controller.rollout.codec import encode

    return {name: one for name, one in encode(value).items() if name != "type"}
