"""`watch`: a rollout, live. In a terminal the picture renews itself; in a pipe every change is one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from controller.cli.context import Context
from controller.cli.options import Name
from controller.cli.output import console

if TYPE_CHECKING:
    from rich.console import Group

    from controller.cli.entries import Entry
    from controller.cli.view import View
    from controller.ports import Store

REFRESH_S = 1.0
LAST_RECORDS = 3
FAILED = 3
TIMED_OUT = 124
PHASES = (
    "pending",
    "progressing",
    "paused",
    "baking",
    "complete",
    "rolled_back",
    "retired",
)
ENDED = frozenset({"complete", "rolled_back", "retired"})


def register(app: typer.Typer) -> None:
    app.command()(watch)


def watch(
    ctx: typer.Context,
    name: Name,
    until: str | None = typer.Option(
        None,
        "--until",
        metavar="PHASE",
        help="End with 0 as soon as the rollout is in this phase; with 3 if it ends in another one.",
        show_default=False,
    ),
    timeout: str | None = typer.Option(
        None,
        "--timeout",
        metavar="TIME",
        help="Give up after this long, such as 30m; exit 124.",
        show_default=False,
    ),
) -> None:
    """Follow a rollout, live, until it has ended.

    Share, rules against their limits, what it waits for and what happened. In a pipe every change is one line.
    """
    context = Context.of(ctx)
    wanted = _phase(until)
    limit = _span(timeout)
    store = context.store()
    views = _views(store, context, name, limit)
    show = _show_live if context.stdout.isatty() else _show_lines
    raise typer.Exit(_code(show(store, context, views, wanted), wanted))


def _phase(text: str | None) -> str | None:
    if text is None or text in PHASES:
        return text
    raise typer.BadParameter(f"{text!r} is not a phase: {', '.join(PHASES)}", param_hint="--until")


def _span(text: str | None) -> timedelta | None:
    from controller.plans.units import UnitError, parse_duration

    try:
        return parse_duration(text) if text is not None else None
    except UnitError as error:
        raise typer.BadParameter(re.sub("`", "", str(error)), param_hint="--timeout") from error


def _views(
    store: Store, context: Context, name: str, limit: timedelta | None
) -> Iterator[View | None]:
    """The rollout as it stands, once a second; None when the time is over."""
    from controller.cli.view import look

    start = context.clock.monotonic()
    # A new attempt is another rollout: the one that was named is followed to its end.
    rollout = store.head(name).state.rollout
    while True:
        yield look(store, rollout, context.clock.now())
        if limit is not None and context.clock.monotonic() - start >= limit.total_seconds():
            yield None
            return
        context.wait(REFRESH_S)


def _over(view: View, wanted: str | None) -> bool:
    return view.state.phase.value == wanted or view.state.phase.value in ENDED


def _code(last: View | None, wanted: str | None) -> int:
    if last is None:
        return TIMED_OUT
    phase = last.state.phase.value
    good = phase == wanted if wanted is not None else phase != "rolled_back"
    return 0 if good else FAILED


def _show_live(
    store: Store, context: Context, views: Iterator[View | None], wanted: str | None
) -> View | None:
    from rich.live import Live

    out = console(context)
    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        for view in views:
            if view is None:
                return None
            live.update(_picture(store, view, width=out.width), refresh=True)
            if _over(view, wanted):
                return view
    return None


def _picture(store: Store, view: View, *, width: int) -> Group:
    from rich.console import Group

    from controller.cli.portrait import brief

    return Group(*brief(view, _last_records(store, view), width=width))


def _last_records(store: Store, view: View) -> list[Entry]:
    from controller.cli.entries import entries_of

    after = max(0, view.head.seq - LAST_RECORDS)
    return entries_of(store, view.state.rollout, after=after)


def _show_lines(
    store: Store, context: Context, views: Iterator[View | None], wanted: str | None
) -> View | None:
    """Every record that is new, and every change of a verdict."""
    from controller.cli.entries import entries_of

    seq, verdicts = 0, ""
    for view in views:
        if view is None:
            return None
        for entry in entries_of(store, view.state.rollout, after=seq):
            print(_record_line(entry), file=context.stdout, flush=True)
        seq = view.head.seq
        now = _verdicts(view)
        if now and now != verdicts:
            print(
                f"{_judged_at(view)}  {view.state.rollout} {now}", file=context.stdout, flush=True
            )
            verdicts = now
        if _over(view, wanted):
            return view
    return None


def _record_line(entry: Entry) -> str:
    from controller.cli.output import precise
    from controller.cli.view import share_change
    from controller.cli.why import why

    record = entry.record
    change = share_change(record.share_before_bp, record.state.share_bp)
    what = f"{record.rollout} {record.action.value}: {record.state.phase.value}, {change}"
    return f"{precise(record.at)}  {'; '.join((what, *why(record, entry.plan)))}"


def _verdicts(view: View) -> str:
    """All verdicts in a line; without the moment of the tick, or every tick would be a change."""
    each = (
        f"{one.rule}{f'/{one.intent}' if one.intent else ''} {one.outcome.value}"
        for one in view.verdicts
    )
    return f"verdicts: {', '.join(each)}" if view.verdicts and view.state.phase.judged else ""


def _judged_at(view: View) -> str:
    from controller.cli.output import precise

    return precise(view.status.at if view.status is not None else view.now)
