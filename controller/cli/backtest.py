"""`backtest`: plans on recorded results, decided by the product itself. Nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from controller.cli.context import Context
from controller.cli.options import OutputForm
from controller.cli.output import Output, console, emit
from controller.cli.simulated import ApproveAfter, Processes, cores, progress, span_of
from controller.errors import DataError

if TYPE_CHECKING:
    from controller.cli.policies import Policy
    from controller.rollout.plan import Plan
    from controller.simulate.backtest.arrivals import Arrivals
    from controller.simulate.backtest.policies import Run
    from controller.simulate.backtest.run import Finished, Setup, Watcher
    from controller.simulate.backtest.stand_ins import OnPause

T = TypeVar("T")
UNITS_PER_DAY = 5_000
NOT_COMPLETED = 3
"""Exit code if a rollout paused, was rolled back or did not end in time: any of them, where there are several."""


def register(app: typer.Typer) -> None:
    app.command()(backtest)


def backtest(
    ctx: typer.Context,
    plan: Annotated[
        list[Path],
        typer.Option(
            "--plan",
            "-p",
            metavar="FILE",
            help="The plan; repeatable, to compare several on the same draws.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Recorded results of both models, CSV or CSV.gz: source, intent, item_id, trial, model, correct; "
            "where known prompt_tokens, completion_tokens, cost_usd, latency_s, refused, error, correct_by_person.",
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
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which workload of the arrival pattern. Default: conv.",
            show_default=False,
        ),
    ] = None,
    units_per_day: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=1,
            max=1_000_000,
            help="Mean number of units a day. Default: 5000; where items are asked once, as many as there are.",
            show_default=False,
        ),
    ] = None,
    once: Annotated[
        bool | None,
        typer.Option(
            "--once/--again",
            help="Ask each item once, of both models, its runs as one pair: what the recording by itself proves. "
            "Or draw items again and again, as traffic. Default: once where items were run several times.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Of arrivals, draws, label delays and assignments."),
    ] = 1,
    repeat: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=10_000,
            help="Run this many seeds, from --seed on, and tell shares of endings and times with intervals.",
        ),
    ] = 1,
    processes: Processes = None,
    critical: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INTENT",
            help="Critical instead of the plan's critical intents; repeatable.",
            show_default=False,
        ),
    ] = None,
    approve_after: ApproveAfter = "1h",
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
    """Run plans on recorded results: the live ingest, windows and decisions, with a clock moved by hand.

    Exit code: 0 every rollout completed; 3 one paused, rolled back or did not finish; 2 input that cannot be used.
    """
    from controller.cli.policies import Policy, labels
    from controller.simulate.backtest.results import graded_as_planned, pair_up, read_results
    from controller.simulate.backtest.run import Setup

    context = Context.of(ctx)
    plans = [_plan(file, critical or []) for file in plan]
    _one_run_only(plans, repeat, database=database, draws=export_draws)
    results = read_results(data)
    recordings = [
        graded_as_planned(
            pair_up(results, baseline=one.baseline.model, candidate=one.candidate.model), one
        )
        for one in plans
    ]
    if once is None:
        once = any(one.repeats for one in recordings)
    mean = units_per_day or (len(recordings[0].items) if once else UNITS_PER_DAY)
    arriving = _arrivals(arrivals, workload, mean, seed)
    policies = [
        Policy(
            label=label,
            file=str(file),
            setup=Setup(
                plan=one,
                recording=recording,
                arrivals=arriving,
                seed=seed,
                reaction=span_of("--approve-after", approve_after),
                on_pause=_on_pause(on_pause),
                max_days=max_days,
                once=once,
            ),
        )
        for label, file, one, recording in zip(
            labels(plan, plans), plan, plans, recordings, strict=True
        )
    ]
    if len(policies) == 1 and repeat == 1:
        completed = _single(context, policies[0].setup, output, database, export_draws)
    else:
        completed = _several(context, _in_one_world(policies), output, repeat, processes)
    if not completed:
        raise typer.Exit(NOT_COMPLETED)


def _single(
    context: Context, setup: Setup, output: Output, database: str | None, draws: Path | None
) -> bool:
    """One plan, once: every decision. Whether it completed."""
    from controller.cli.backtested import document, print_briefing, print_paired, print_result
    from controller.simulate.backtest.briefing import brief
    from controller.simulate.backtest.paired_report import paired_report

    shown = output in (Output.TABLE, Output.WIDE)
    paired = paired_report(setup.recording)
    if shown:
        # First: it holds whatever comes of the plan.
        print_paired(context, setup.recording, paired, wide=output is Output.WIDE)
    briefing = brief(setup)
    if shown:
        print_briefing(context, briefing, database)
    finished = _run(context, setup, database=database, draws=draws)
    emit(
        context,
        output,
        document=lambda: document(setup, briefing, paired, finished),
        names=lambda: [finished.state.rollout],
        table=lambda: print_result(context, setup, finished),
    )
    return finished.completed


def _several(
    context: Context,
    policies: Sequence[Policy],
    output: Output,
    repeat: int,
    processes: int | None,
) -> bool:
    """Several plans, or one on several seeds: what became of them, side by side. Whether all completed."""
    from controller.cli import policies as told
    from controller.cli.backtested import print_paired
    from controller.simulate.backtest.briefing import brief
    from controller.simulate.backtest.paired_report import paired_report

    paired = {
        (one.baseline, one.candidate): (one, paired_report(one))
        for one in (policy.setup.recording for policy in policies)
    }
    briefings = [brief(one.setup) for one in policies]
    if output in (Output.TABLE, Output.WIDE):
        for recording, report in paired.values():
            print_paired(context, recording, report, wide=output is Output.WIDE)
        told.print_briefings(context, policies, briefings, repeat)
    if repeat == 1:
        finished = _side_by_side(context, policies, processes)
        emit(
            context,
            output,
            document=lambda: told.comparison(policies, briefings, finished),
            names=lambda: [one.label for one in policies],
            table=lambda: told.print_comparison(context, policies, finished),
        )
        return all(one.completed for one in finished)
    runs = _repeated(context, policies, repeat, processes)
    emit(
        context,
        output,
        document=lambda: told.runs_document(policies, briefings, runs),
        names=lambda: [one.label for one in policies],
        table=lambda: told.print_runs(context, policies, runs),
    )
    return all(run.completed for of_plan in runs for run in of_plan)


# Input


def _plan(path: Path, critical: list[str]) -> Plan:
    from controller.plans.load import load_file
    from controller.plans.models import bundled_models
    from controller.simulate.backtest.run import START, with_critical

    # As of the simulated day: a recording outlives the models that it was made with.
    plan = load_file(path, today=START.date(), models=bundled_models())
    return with_critical(plan, critical) if critical else plan


def _one_run_only(
    plans: Sequence[Plan], repeat: int, *, database: str | None, draws: Path | None
) -> None:
    given = [name for name, value in (("--database", database), ("--export-draws", draws)) if value]
    if given and (len(plans) > 1 or repeat > 1):
        raise DataError(
            f"{given[0]}: found {repeat * len(plans):,} runs (plans × seeds); it keeps one of them. Give it "
            "with one --plan and without --repeat."
        )


def _in_one_world(policies: Sequence[Policy]) -> list[Policy]:
    from dataclasses import replace

    from controller.simulate.backtest.policies import in_one_world

    setups = in_one_world([one.setup for one in policies])
    return [replace(one, setup=setup) for one, setup in zip(policies, setups, strict=True)]


def _arrivals(
    trace: Path | None, workload: str | None, units_per_day: float, seed: int
) -> Arrivals:
    from controller.simulate.backtest.arrivals import Poisson, read_trace

    if trace is None:
        if workload is not None:
            raise DataError(
                f"--workload {workload}: wanted --arrivals FILE beside it, whose workload it is; without, arrivals are "
                "Poisson."
            )
        return Poisson(units_per_day=units_per_day, seed=seed)
    return read_trace(trace, units_per_day=units_per_day, workload=workload or "conv")


def _on_pause(text: str) -> OnPause:
    from controller.simulate.backtest.stand_ins import OnPause

    try:
        return OnPause(text)
    except ValueError as error:
        raise DataError(f"--on-pause: {text!r} is neither stop nor resume.") from error


# Running


def _run(context: Context, setup: Setup, *, database: str | None, draws: Path | None) -> Finished:
    from controller.cli.backtest_runs import world
    from controller.simulate.backtest.export import draws_file
    from controller.simulate.backtest.run import backtest

    within = world(database)
    with ExitStack() as files:
        sink = files.enter_context(draws_file(draws)) if draws is not None else None
        watch = files.enter_context(_progress(context, setup))
        return backtest(setup, within, sink=sink, watch=watch)


def _side_by_side(
    context: Context, policies: Sequence[Policy], processes: int | None
) -> list[Finished]:
    """One run of each plan."""
    from controller.cli.backtest_runs import finish
    from controller.simulate.processes import in_processes

    tasks = [(one.setup,) for one in policies]
    made = in_processes(finish, tasks, processes or cores())
    return list(_counted(context, "plans", len(tasks), made))


def _repeated(
    context: Context, policies: Sequence[Policy], repeat: int, processes: int | None
) -> list[list[Run]]:
    """Of each plan its runs, by seed."""
    from controller.cli.backtest_runs import run
    from controller.simulate.processes import in_processes

    tasks = [
        (one.setup.with_seed(one.setup.seed + number),)
        for number in range(repeat)
        for one in policies
    ]
    made = in_processes(run, tasks, processes or cores())
    runs = list(_counted(context, "runs", len(tasks), made))
    return [runs[place :: len(policies)] for place in range(len(policies))]


def _counted(context: Context, what: str, total: int, made: Iterator[T]) -> Iterator[T]:
    """With a bar on stderr for a person at a terminal."""
    with progress(context, total, what) as told:
        for one in made:
            told(1)
            yield one


@contextmanager
def _progress(context: Context, setup: Setup) -> Iterator[Watcher | None]:
    """A bar on stderr for a person at a terminal; nothing for anybody else."""
    if not context.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from controller.rollout.state import State
    from controller.rollout.units import format_share
    from controller.simulate.backtest.run import START

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
