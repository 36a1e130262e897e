"""Verbs about plans that change nothing: `check`, `diff`, `explain`, `schema`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.context import Context
from controller.cli.learnt import (
    InputTokens,
    LatencyPair,
    Options,
    OutputTokens,
    TtftPair,
    WithHistory,
    history_of,
    known_of,
    stated_of,
)
from controller.cli.options import OutputForm, PlanFiles
from controller.cli.output import (
    Document,
    Output,
    as_json,
    console,
    emit,
    listing,
    wrapped,
    write_yaml,
)
from controller.cli.simulated import (
    IntentShare,
    LabelRate,
    PriorAccuracy,
    Processes,
    RequestsPerUnit,
    UnitsPerDay,
    UnitsPerMinute,
    UsualEscalation,
)

if TYPE_CHECKING:
    from controller.cli.feasibility import Outcome
    from controller.cli.planfiles import Source
    from controller.plans.diff import Change
    from controller.plans.finding import Finding
    from controller.ports import RolloutStore
    from controller.rollout.plan import Plan

BAD_INPUT = 2
DIFFERENT = 1


def register(app: typer.Typer) -> None:
    for verb in (check, diff, explain, schema):
        app.command()(verb)


def check(
    ctx: typer.Context,
    plans: list[str] = typer.Argument(
        metavar="PLAN", help="Plan files, directories, or - for stdin."
    ),
    units_per_day: UnitsPerDay = None,
    units_per_minute: UnitsPerMinute = None,
    requests_per_unit: RequestsPerUnit = None,
    intent_share: IntentShare = None,
    accuracy: PriorAccuracy = None,
    escalation: UsualEscalation = None,
    label_rate: LabelRate = None,
    latency: LatencyPair = None,
    ttft: TtftPair = None,
    history: WithHistory = None,
    catch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REGRESSION",
            help="What should be caught: loss=3pp, escalation=5%, error=2%, slow=2x (times as slow as usual), "
            "cost=1.3x (times what a request usually costs); repeatable. Default: a rate at the rule's `alternative` "
            "(1.5 times its limit), a loss of twice the limit, anything else 1.5 times it.",
            show_default=False,
        ),
    ] = None,
    pairs: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=1_000_000_000,
            help="Shadow pairs there will be on each critical intent.",
        ),
    ] = 0,
    input_tokens: InputTokens = None,
    output_tokens: OutputTokens = None,
    runs: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=100_000,
            help="Simulated rollouts of a healthy candidate and of each regression; 0 for none.",
        ),
    ] = 40,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the simulation.")] = 7,
    processes: Processes = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Read plans and say what they may not have meant. Exit 2 if one cannot be accepted.

    With --units-per-day or --units-per-minute, or where the store has history of a plan, also whether it can decide on
    that traffic: samples, how often a healthy rollout is stopped, how soon a regression is caught, when promotion is
    proven. What cannot be decided is a warning with changes that help.
    """
    from controller.cli.planfiles import read_plans

    context = Context.of(ctx)
    today = context.clock.now().date()
    sources = read_plans(plans, stdin=context.stdin, today=today)
    options = Options(
        units_per_day=units_per_day,
        units_per_minute=units_per_minute,
        requests_per_unit=requests_per_unit,
        intent_share=intent_share or [],
        accuracy=accuracy,
        escalation=escalation,
        label_rate=label_rate,
        latency=latency,
        ttft=ttft,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )

    stated = stated_of(catch or [])

    def examined(plan: Plan) -> tuple[Outcome | None, str]:
        """What is found on the plan's traffic, and why its history was not read."""
        from controller.cli.feasibility import Asked, examine
        from controller.simulate.scenario_words import parse_regression

        learnt, unread = history_of(context, plan, history)
        if learnt is None and not (options.any or catch or pairs):
            return None, unread
        asked = Asked(
            known=known_of(plan, options, learnt),
            catches=[parse_regression(text, plan) for text in stated.scenarios],
            slower=stated.slower,
            dearer=stated.dearer,
            pairs=pairs,
            runs=runs,
            seed=seed,
            processes=processes,
        )
        return examine(context, plan, asked), unread

    outcomes = [examined(source.plan) for source in sources]
    found = [
        (source, _with_traffic(findings_of(source, context), outcome, unread), outcome)
        for source, (outcome, unread) in zip(sources, outcomes, strict=True)
    ]

    def table() -> None:
        from controller.cli.feasibility import print_outcome

        for source, findings, outcome in found:
            for said in (*findings, f"{source.plan.name}: {_counted(findings)}"):
                _print_hanging(context, f"{source.file}: {said}")
            if outcome is not None:
                print_outcome(context, source.plan, outcome)

    emit(
        context,
        output,
        document=lambda: listing("PlanCheck", [_checked(*one) for one in found]),
        names=lambda: [source.plan.name for source in sources],
        table=table,
    )
    if any(has_error(findings) for _, findings, _ in found):
        raise typer.Exit(BAD_INPUT)


def _print_hanging(context: Context, text: str) -> None:
    """One line in a pipe; in a terminal as many as it needs, further ones indented."""
    out = console(context)
    first, *rest = wrapped(text, width=out.width - 2, indent="")
    for line in (first, *(f"  {one}" for one in rest)):
        out.print(line)


def _with_traffic(
    findings: Sequence[Finding], outcome: Outcome | None, unread: str
) -> tuple[Finding, ...]:
    """What is found on the traffic as well, by level; else how to ask for it, and why no history was read."""
    from controller.plans.finding import by_level
    from controller.plans.lint import history_not_read, traffic_not_told

    more = outcome.findings if outcome is not None else (traffic_not_told(),)
    return by_level([*findings, *more, *([history_not_read(unread)] if unread else [])])


def findings_of(source: Source, context: Context) -> tuple[Finding, ...]:
    from controller.plans import lint

    return lint.check(source.plan, today=context.clock.now().date())


def has_error(findings: Iterable[Finding]) -> bool:
    from controller.plans.finding import Level

    return any(one.level is Level.ERROR for one in findings)


def _counted(findings: Sequence[Finding]) -> str:
    from controller.plans.finding import Level

    errors, warnings = (
        sum(1 for one in findings if one.level is level) for level in (Level.ERROR, Level.WARNING)
    )
    if not errors and not warnings:
        return "ok"
    return f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"


def _checked(source: Source, findings: Sequence[Finding], outcome: Outcome | None) -> Document:
    from controller.cli.feasibility_document import document

    return {
        "name": source.plan.name,
        "file": source.file,
        "digest": source.plan.digest,
        "accepted": not has_error(findings),
        "findings": [finding_document(one) for one in findings],
        "feasibility": document(source.plan, outcome) if outcome is not None else None,
    }


def finding_document(finding: Finding) -> Document:
    return {
        "level": finding.level.value,
        "code": finding.code,
        "path": finding.path,
        "message": finding.message,
    }


def diff(ctx: typer.Context, files: PlanFiles, output: OutputForm = Output.TABLE) -> None:
    """Show what applying plans would change. Exit 1 if anything.

    Each change is told with what it does to the running rollout.
    """
    from controller.cli.planfiles import read_plans

    context = Context.of(ctx)
    sources = read_plans(files, stdin=context.stdin, today=context.clock.now().date())
    store = context.store_or_empty()
    found = [(source, changes_of(source, store)) for source in sources]

    def table() -> None:
        for source, changes in found:
            print_changes(source.plan.name, changes, context)

    emit(
        context,
        output,
        document=lambda: listing("PlanDiff", [_diffed(*one) for one in found]),
        names=lambda: [source.plan.name for source, changes in found if changes != ()],
        table=table,
    )
    if any(changes is None or changes for _, changes in found):
        raise typer.Exit(DIFFERENT)


def changes_of(source: Source, store: RolloutStore) -> tuple[Change, ...] | None:
    """What differs from the rollout's present revision; None if there is no such rollout."""
    from controller.errors import NotFound
    from controller.plans.diff import diff as compare

    try:
        head = store.head(source.plan.name)
    except NotFound:
        return None
    return compare(head.plan, source.plan)


def print_changes(name: str, changes: Sequence[Change] | None, context: Context) -> None:
    if changes is None:
        print(f"{name}: new; applying it starts a rollout", file=context.stdout)
        return
    if not changes:
        print(f"{name}: unchanged", file=context.stdout)
    for change in changes:
        print(f"{name}: {change.path}", file=context.stdout)
        if change.old is not None:
            print(f"  - {change.old}", file=context.stdout)
        if change.new is not None:
            print(f"  + {change.new}", file=context.stdout)
        print(f"    {change.effect}", file=context.stdout)


def _diffed(source: Source, changes: Sequence[Change] | None) -> Document:
    return {
        "name": source.plan.name,
        "file": source.file,
        "new": changes is None,
        "changes": changes_document(changes or ()),
    }


def changes_document(changes: Sequence[Change]) -> list[Document]:
    return [
        {"path": one.path, "old": one.old, "new": one.new, "effect": one.effect} for one in changes
    ]


def explain(
    ctx: typer.Context,
    path: str = typer.Argument(
        "", metavar="[FIELD]", help="Such as spec.steps.share; default: the whole plan."
    ),
) -> None:
    """Say what a field of a plan is and how it is written."""
    from controller.plans.explain import explain as words

    print(words(path), end="", file=Context.of(ctx).stdout)


def schema(ctx: typer.Context, output: OutputForm = Output.JSON) -> None:
    """Print the JSON Schema of plans, for editors.

    In a plan's first line: `# yaml-language-server: $schema=PATH`.
    """
    from controller.plans.json_schema import json_schema

    context = Context.of(ctx)
    if output is Output.YAML:
        write_yaml(json_schema(), context.stdout)
    else:
        print(as_json(json_schema()), file=context.stdout)
