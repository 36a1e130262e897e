"""`simulate`: how a plan fares on simulated traffic, many times over. Nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.context import Context
from controller.cli.learnt import (
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    InputTokens,
    LatencyPair,
    OutputTokens,
    TtftPair,
    call_words,
    latencies_document,
    latency_words,
    usual_of,
)
from controller.cli.options import OutputForm
from controller.cli.output import (
    API_VERSION,
    Document,
    Output,
    console,
    emit,
    grid,
    rough,
    wrapped,
)
from controller.cli.simulated import (
    MINUTE_S,
    Accuracy,
    ApproveAfter,
    Escalation,
    IntentShare,
    LabelRate,
    Processes,
    RequestsPerUnit,
    UnitsPerDay,
    UnitsPerMinute,
    alike_words,
    answers_words,
    cores,
    endings_document,
    per_minute_of,
    pinned_document,
    pinned_words,
    progress,
    requests_per_unit_of,
    span_of,
    spread_document,
    traffic_of,
    traffic_words,
)
from controller.errors import DataError

if TYPE_CHECKING:
    from controller.rollout.plan import Plan
    from controller.simulate.endings import Part
    from controller.simulate.runs.montecarlo import Fitted, Spread, Summary
    from controller.simulate.runs.picture import Picture
    from controller.simulate.runs.trials import Setup, Trial
    from controller.simulate.scenarios import Scenario
    from controller.simulate.usual import Usual


def register(app: typer.Typer) -> None:
    app.command()(simulate)


def simulate(
    ctx: typer.Context,
    plan: Annotated[
        str, typer.Argument(metavar="PLAN", help="A plan file, or - for stdin.", show_default=False)
    ],
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCENARIO",
            help="What the candidate is: healthy, loss=3pp[@24h], escalation=5%[@24h], error=2%[@24h], slow=2x[@24h], "
            "cost=1.5x[@24h], daily-swing[=50%], ramp-mix[=10pp], drift[=3pp@7d], judge-noise[=90%,90%], "
            "judge-favours[=3pp], "
            "late-labels[=6h,24h]; @ says how long after the start it begins, of a drift how long it takes; "
            "late-labels, in which spans half and 90% of the labels come. Several at once: loss=3pp+judge-noise. "
            "Repeatable. Default: healthy.",
            show_default=False,
        ),
    ] = None,
    units_per_day: UnitsPerDay = None,
    units_per_minute: UnitsPerMinute = None,
    requests_per_unit: RequestsPerUnit = None,
    intent_share: IntentShare = None,
    accuracy: Accuracy = "95%",
    escalation: Escalation = "1.5%",
    label_rate: LabelRate = None,
    latency: LatencyPair = None,
    ttft: TtftPair = None,
    input_tokens: InputTokens = None,
    output_tokens: OutputTokens = None,
    approve_after: ApproveAfter = "1h",
    runs: Annotated[
        int, typer.Option(metavar="N", min=1, max=100_000, help="Simulated rollouts a scenario.")
    ] = 1_000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of everything that is drawn.")] = 7,
    start: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE",
            formats=["%Y-%m-%d"],
            help="The first day, for freezes and shutdown dates. Default: today.",
            show_default=False,
        ),
    ] = None,
    max_days: Annotated[
        int, typer.Option(metavar="N", min=1, max=400, help="Give up after so many days.")
    ] = 60,
    processes: Processes = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw shares over time and when runs stopped, as .svg or .png.",
            show_default=False,
        ),
    ] = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Run a plan many times on simulated traffic: how often it completes or stops, and after how long.

    Each run is decided by the rules that decide a live rollout. Exit code 0, whatever became of the runs.
    """
    from controller.simulate.runs.montecarlo import fit, summary
    from controller.simulate.runs.trials import Setup
    from controller.simulate.scenario_words import parse_scenario
    from controller.simulate.scenarios import HEALTHY
    from controller.simulate.usual import Usual

    context = Context.of(ctx)
    day = start or datetime.combine(context.clock.now().date(), time())
    asked = _plan(context, plan, day)
    traffic = traffic_of(
        asked,
        per_minute=per_minute_of(units_per_day, units_per_minute),
        shares=intent_share or [],
        accuracy=accuracy,
        escalation=escalation,
        label_rate=label_rate,
        requests_per_unit=requests_per_unit_of(asked, requests_per_unit),
    )
    tokens = (input_tokens or INPUT_TOKENS, output_tokens or OUTPUT_TOKENS)
    usual = usual_of(asked, traffic, latency=latency, ttft=ttft, tokens=tokens, learnt=Usual())
    fitted = fit(asked, usual)
    _drawable(picture)
    scenarios = [parse_scenario(text, fitted.plan) for text in scenario or [HEALTHY.text]]
    for one in scenarios:
        _drawn(one, usual)
        _begins_within(one, max_days)
    setups = [
        Setup(
            plan=fitted.plan,
            traffic=traffic,
            scenario=one,
            start=day.replace(tzinfo=UTC),
            seed=seed,
            reaction=span_of("--approve-after", approve_after),
            max_days=max_days,
            usual=usual,
        )
        for one in scenarios
    ]
    trials = _run(context, setups, runs, processes)
    found = [summary(one, made) for one, made in zip(scenarios, trials, strict=True)]
    if picture is not None:
        _draw(context, picture, fitted.plan, found, trials)
    emit(
        context,
        output,
        document=lambda: _document(setups, fitted, found, runs, tokens),
        names=lambda: [fitted.plan.name],
        table=lambda: _print(context, setups, fitted, found, runs, tokens),
    )


# Input


def _plan(context: Context, path: str, day: datetime) -> Plan:
    from controller.cli.planfiles import read_plans

    sources = read_plans([path], stdin=context.stdin, today=day.date())
    if len(sources) != 1:
        names = ", ".join(source.plan.name for source in sources)
        raise DataError(f"{path}: found {len(sources)} plans ({names}); wanted a file with one.")
    return sources[0].plan


def _drawn(scenario: Scenario, usual: Usual) -> None:
    """DataError where a scenario is about what nobody has told."""
    if scenario.slow is not None and not usual.sizes:
        raise DataError(
            f"--scenario {scenario.text}: no latencies are known; give --latency P50,P95 (--ttft P50,P95)."
        )
    if scenario.cost is not None and not usual.request_usd:
        raise DataError(
            f"--scenario {scenario.text}: it is not known what both models cost; say it in the plan (`price`)."
        )


def _begins_within(scenario: Scenario, days: int) -> None:
    """DataError where nothing would be wrong in any run: its outcome would be taken for that of a bad candidate."""
    from controller.rollout.units import format_duration

    begins = [one.since for one in scenario.faults if one.since >= timedelta(days=days)]
    if begins:
        raise DataError(
            f"--scenario {scenario.text}: it begins after {format_duration(max(begins))}, and runs are given up after "
            f"{days} day{'s' * (days != 1)}. Begin it sooner, or raise --max-days."
        )


def _drawable(path: Path | None) -> None:
    """Said before the runs, not after them."""
    if path is None:
        return
    if path.suffix.lower() not in (".svg", ".png"):
        raise DataError(
            f"--picture {path}: found {path.suffix or 'no ending'}; wanted a name in .svg or .png."
        )
    if not path.absolute().parent.is_dir():
        raise DataError(f"--picture {path}: there is no folder {path.parent}; make it first.")


# Running


def _run(
    context: Context, setups: Sequence[Setup], runs: int, processes: int | None
) -> list[list[Trial]]:
    from controller.simulate.runs.montecarlo import simulate as run

    with progress(context, runs * len(setups)) as told:
        return run(setups, runs, processes=processes or cores(), told=told)


# Output


def _draw(
    context: Context,
    path: Path,
    plan: Plan,
    found: Sequence[Summary],
    trials: Sequence[Sequence[Trial]],
) -> None:
    from controller.simulate.runs.picture import picture

    drawn = picture(f"{plan.name}, simulated", list(zip(found, trials, strict=True)))
    try:
        path.write_bytes(_written(drawn, path.suffix.lower()))
    except OSError as error:
        raise DataError(f"--picture {path}: {error.strerror}; choose another file.") from error
    context.say(f"picture: {path}")


def _written(drawn: Picture, ending: str) -> bytes:
    if ending == ".png":
        from controller.simulate.runs.png import png

        return png(drawn)
    from controller.simulate.runs.svg import svg

    return svg(drawn).encode()


def _print(
    context: Context,
    setups: Sequence[Setup],
    fitted: Fitted,
    found: Sequence[Summary],
    runs: int,
    tokens: tuple[int, int],
) -> None:
    from rich.text import Text

    from controller.simulate.scenario_words import about

    out = console(context)
    out.print(Text(f"{fitted.plan.name}, simulated", style="bold"))
    for line in _facts(setups, fitted, runs, tokens):
        for part in wrapped(line, width=out.width, indent=""):
            out.print(part)
    out.print()
    for table in (_endings(found), _times(found)):
        for row in grid(*table):
            out.print(row)
        out.print()
    for one in found:
        said = f"{one.scenario.text}: {about(fitted.plan, one.scenario)}.{_stopped_by(one)}"
        said += "".join(f" {pinned_words(pinned)}." for pinned in one.pinned)
        for part in wrapped(said, width=out.width, indent=""):
            out.print(Text(part, style="dim"))
    notes = (
        "Shares of runs with their 95% Wilson intervals; times are median and 90% quantile. Requests and wrong answers "
        "are the candidate's before a stop; wrong answers are expected ones that reached a client."
    )
    for part in wrapped(notes, width=out.width, indent=""):
        out.print(Text(part, style="dim"))


def _facts(
    setups: Sequence[Setup], fitted: Fitted, runs: int, tokens: tuple[int, int]
) -> Iterator[str]:
    from controller.rollout.metrics import Kind
    from controller.rollout.units import format_duration
    from controller.simulate.drawn.quantities import lacking
    from controller.simulate.runs.nearness import is_judged_again, is_sparse

    setup = setups[0]
    yield (
        f"{runs:,} simulated rollouts a scenario, seed {setup.seed}, from {setup.start:%Y-%m-%d}, at most "
        f"{setup.max_days} days. Nothing was sent anywhere."
    )
    yield f"Traffic: {traffic_words(setup.traffic)}."
    yield (
        f"Answers: {answers_words(setup.plan, setup.traffic)}; approvals after {format_duration(setup.reaction)}."
    )
    yield from _graders(setup.plan)
    yield from latency_words(setup.usual)
    if any(rule.metric.kind is Kind.COST for rule in fitted.plan.rules):
        yield call_words(setup.usual, setup.traffic, tokens)
    if setup.traffic.requests_per_unit > 1:
        yield (f"{alike_words(setup.traffic)} How long each takes, and what it costs, is its own.")
    if any(is_judged_again(one.plan, one.scenario) for one in setups):
        yield (
            "Late labels change what was judged. Rollouts that have them are looked at every hour, so a decision may "
            "come that much later than it would, and one that is gone again within the hour is missed."
        )
    if any(is_sparse(one.plan, one.traffic, one.scenario) for one in setups):
        yield (
            "Few units: a rule's window may have none that it measures. A step that waits for nothing else is looked "
            "at every hour, so it may be left that much later than it would be, or more, where what it waits for comes "
            "and goes."
        )
    for rule in fitted.left_out:
        wanted = lacking(rule)
        told = f": {wanted}" if wanted else ""
        yield (
            f"Not simulated: rule {rule.name} ({rule.metric.name}){told}. It is left out of the runs, so it stops "
            "none; `check` reckons it by itself."
        )


def _graders(plan: Plan) -> Iterator[str]:
    from controller.rollout.units import format_percent

    judge, share = plan.labels.judge, plan.labels.people
    if judge is None:
        return
    people = f", and people's of {format_percent(share)} of the {plan.unit.value}s, who are right"
    yield (
        f"Grades: the judge's, which calls {format_percent(judge.sensitivity)} of right answers right and "
        f"{format_percent(judge.specificity)} of wrong ones wrong where a scenario says nothing else"
        f"{people if share else ''}."
    )


def _endings(found: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    from controller.simulate.endings import Ending

    return (
        ["SCENARIO", "COMPLETED", "PAUSED", "ROLLED BACK", "UNFINISHED"],
        [[one.scenario.text, *(_part(one.endings[ending]) for ending in Ending)] for one in found],
    )


def _times(found: Sequence[Summary]) -> tuple[list[str], list[list[str]]]:
    return (
        [
            "SCENARIO",
            "UNTIL STOP",
            "SINCE IT WENT WRONG",
            "UNTIL COMPLETION",
            "REQUESTS",
            "WRONG ANSWERS",
        ],
        [
            [
                one.scenario.text,
                _spread(one.stop),
                _spread(one.delay) + (f", {one.early} before" if one.early else ""),
                _spread(one.completion),
                _number(one.requests),
                _number(one.wrong_served),
            ]
            for one in found
        ],
    )


def _part(part: Part) -> str:
    low, high = part.interval.lower, part.interval.upper
    return f"{100 * part.share:.1f}% ({100 * low:.1f}..{100 * high:.1f})"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return " · ".join(rough(timedelta(minutes=one)) for one in (spread.median, spread.most))


def _number(spread: Spread | None) -> str:
    return "-" if spread is None else f"{spread.median:,.0f}"


def _stopped_by(one: Summary) -> str:
    if not one.stopped_by:
        return ""
    return " Stopped by " + "; ".join(f"{by}: {n:,}" for by, n in one.stopped_by.items()) + "."


def _document(
    setups: Sequence[Setup],
    fitted: Fitted,
    found: Sequence[Summary],
    runs: int,
    tokens: tuple[int, int],
) -> Document:
    from controller.simulate.runs.nearness import is_sparse
    from controller.simulate.usual import SPREAD

    setup, traffic = setups[0], setups[0].traffic
    return {
        "apiVersion": API_VERSION,
        "kind": "Simulation",
        "name": fitted.plan.name,
        "simulated": True,
        "runs": runs,
        "seed": setup.seed,
        "start": f"{setup.start:%Y-%m-%d}",
        "max_days": setup.max_days,
        "units_per_minute": traffic.units_per_minute,
        "requests_per_unit": traffic.requests_per_unit,
        "intents": dict(traffic.mix),
        "accuracy": traffic.accuracy,
        "escalation": traffic.escalation,
        "label_rate": traffic.label_rate,
        "people_share": setup.plan.labels.people or None,
        "latencies": latencies_document(setup.usual),
        "input_tokens": tokens[0],
        "output_tokens": tokens[1],
        "request_usd": {arm.value: usd for arm, usd in setup.usual.request_usd.items()} or None,
        "cost_cv": SPREAD,
        "approve_after_s": setup.reaction.total_seconds(),
        "sparse": any(is_sparse(one.plan, one.traffic, one.scenario) for one in setups),
        "not_simulated": [
            {"rule": rule.name, "metric": rule.metric.name} for rule in fitted.left_out
        ],
        "scenarios": [_scenario(fitted.plan, one) for one in found],
    }


def _scenario(plan: Plan, one: Summary) -> Document:
    from controller.simulate.scenario_words import about

    return {
        "scenario": one.scenario.text,
        "about": about(plan, one.scenario),
        "late_labels": _late_labels(plan, one),
        "endings": endings_document(one.endings),
        "stopped_before_it_went_wrong": one.early,
        "stopped_by": dict(one.stopped_by),
        "pinned": pinned_document(one.pinned),
        "until_stop_s": spread_document(one.stop, times=MINUTE_S),
        "since_it_went_wrong_s": spread_document(one.delay, times=MINUTE_S),
        "until_completion_s": spread_document(one.completion, times=MINUTE_S),
        "candidate_requests": spread_document(one.requests),
        "wrong_answers_served": spread_document(one.wrong_served),
    }


def _late_labels(plan: Plan, one: Summary) -> Document | None:
    from controller.simulate.scenario_words import late_and_never

    lateness = one.scenario.lateness
    if lateness is None:
        return None
    after, never = late_and_never(plan, lateness)
    return {
        "median_s": lateness.median.total_seconds(),
        "p90_s": lateness.most.total_seconds(),
        "after_delay": after,
        "never": never,
    }
