"""How a demonstration looks: live in a terminal, a line for each decision in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from controller.cli import style
from controller.cli.entries import Entry, entries_of
from controller.cli.output import rough
from controller.cli.portrait import wrapped
from controller.cli.view import View, limit_text, look, rule_of, share_change, value_text
from controller.cli.why import why
from controller.clock import elapsed
from controller.rollout.decision import Action
from controller.rollout.plan import FULL_BP
from controller.rollout.state import Phase
from controller.rollout.units import format_duration, format_share
from controller.rollout.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from controller.demo.director import Moment
    from controller.ports import Store

FRAME_S: Final = 0.2
GAUGE: Final = 16
INDENT: Final = " " * 11
DECISIONS: Final = 9

ACTIONS: Final = {
    Action.PAUSE: "bold yellow",
    Action.ROLLBACK: "bold red",
    Action.COMPLETE: "bold green",
    Action.ADVANCE: "cyan",
    Action.BAKE: "cyan",
}


class Stage(Protocol):
    """Shown each minute; a context, so that the terminal is left as it was."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, moment: Moment) -> None: ...


class Lines:
    """Every record, as it falls; for pipes and logs."""

    def __init__(self, out: TextIO, store: Store) -> None:
        self._out = out
        self._store = store
        self._seen: dict[str, int] = {}

    def __enter__(self) -> Self:
        print("Simulated models and time; real gateway, controller and database.", file=self._out)
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def show(self, moment: Moment) -> None:
        if moment.said is not None:
            print(f"{moment.now:%a %H:%M}  {moment.said}", file=self._out, flush=True)
        for head in self._store.heads():
            rollout = head.state.rollout
            for entry in entries_of(self._store, rollout, after=self._seen.get(rollout, 0)):
                record = entry.record
                self._seen[rollout] = record.seq
                change = share_change(record.share_before_bp, record.state.share_bp)
                print(
                    f"{record.at:%a %H:%M}  {record.rollout} {record.action.value}: {change}; "
                    f"{'; '.join(why(record, entry.plan))}",
                    file=self._out,
                    flush=True,
                )


class Screen:
    """The whole picture, a few times a second."""

    def __init__(self, out: Console, store: Store) -> None:
        self._out = out
        self._store = store
        self._live = Live(console=out, auto_refresh=False, vertical_overflow="crop")
        self._shown = 0.0
        self._last: Moment | None = None
        self._said: str | None = None

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._last is not None:
            self._live.update(self._picture(self._last), refresh=True)
        self._live.__exit__(kind, error, trace)

    def show(self, moment: Moment) -> None:
        self._last = moment
        self._said = moment.said or self._said
        # How often the screen is drawn is a matter of the eye, not of the demonstration's time.
        if elapsed() - self._shown < FRAME_S:
            return
        self._shown = elapsed()
        self._live.update(self._picture(moment), refresh=True)

    def _picture(self, moment: Moment) -> RenderableType:
        heads = sorted(self._store.heads(), key=lambda one: one.state.started_at)
        views = [look(self._store, head.state.rollout, moment.now) for head in heads]
        return Group(
            _title(moment),
            *([Text(f" {self._said}", style="yellow")] if self._said else []),
            *(_rollout(view) for view in views),
            Panel(
                Group(*self._decisions(views)),
                title="decisions",
                title_align="left",
                border_style="dim",
            ),
        )

    def _decisions(self, views: list[View]) -> Iterator[Text]:
        entries = [
            entry
            for view in views
            for entry in entries_of(
                self._store, view.state.rollout, after=max(0, view.head.seq - DECISIONS)
            )
        ]
        entries.sort(key=lambda one: one.record.at)
        width = self._out.width - 4
        for number, entry in enumerate(entries[-DECISIONS:], start=1):
            yield from _decision(entry, width, in_full=number > len(entries[-DECISIONS:]) - 2)


def _title(moment: Moment) -> Text:
    counts = moment.counts
    answered = sum(counts.answered.values())
    line = Text.assemble(
        (f" {moment.now:%a %H:%M} ", "bold reverse"),
        ("  simulated models and time, the rest is real", "magenta"),
        "   ",
        (f"{answered:,} requests answered", "green"),
        f", {counts.escalated:,} escalated",
    )
    if moment.restarts:
        line.append(f"   {moment.restarts} restarts", style="yellow")
    return line


def _rollout(view: View) -> Panel:
    state = view.state
    body: list[RenderableType] = [_share(view)]
    if view.verdicts and state.phase.judged:
        body.append(_rules(view))
    title = Text.assemble(
        (state.name, "bold"), f"  {view.plan.baseline.model} → {view.plan.candidate.model}  "
    )
    return Panel(
        Group(*body), title=title, title_align="left", border_style=style.PHASES[state.phase]
    )


def _share(view: View) -> Text:
    state = view.state
    line = Text.assemble(f"{format_share(state.share_bp):>5} ")
    line.append_text(style.bar(state.share_bp, width=40)).append("  ")
    line.append_text(style.phase(state.phase))
    if state.phase in (Phase.PROGRESSING, Phase.BAKING) and view.hold is not None:
        doing = "baked" if state.phase is Phase.BAKING else "held"
        line.append(f", {doing} {rough(view.held)} of {format_duration(view.hold)}", style="dim")
    if state.phase is Phase.PROGRESSING:
        line.append(f", step {view.step}", style="dim")
    if view.plan.holdback_bp and view.plan.share_at(state.step) + view.plan.holdback_bp == FULL_BP:
        held_back = format_share(view.plan.holdback_bp)
        line.append(f", 100% less {held_back} held back as control", style="dim")
    return line


def _rules(view: View) -> Table:
    table = Table.grid(padding=(0, 2))
    for verdict in view.verdicts:
        rule = rule_of(view.plan, verdict)
        table.add_row(
            Text(rule.name, style="bold"),
            Text(verdict.intent or "all", style="dim"),
            _gauge(view, verdict),
            Text(value_text(view.plan, verdict), justify="right"),
            Text(limit_text(rule), style="dim"),
            style.outcome(verdict.outcome),
            Text("proven" if verdict.confident is Outcome.PASS else "", style="green dim"),
        )
    return table


def _gauge(view: View, verdict: Verdict) -> Text:
    """How near to its limit a value is; the mark at the end is the limit."""
    latest, limit = verdict.reading.latest, rule_of(view.plan, verdict).limit
    if latest is None or latest.value is None or limit <= 0:
        return Text("·" * GAUGE + "|", style="dim")
    part = min(1.0, max(0.0, latest.value / limit))
    cells = round(part * GAUGE)
    colour = style.OUTCOMES[verdict.outcome]
    return Text("━" * cells, style=colour).append("─" * (GAUGE - cells) + "|", style="dim")


def _decision(entry: Entry, width: int, *, in_full: bool) -> Iterator[Text]:
    record = entry.record
    change = share_change(record.share_before_bp, record.state.share_bp)
    who = record.actor if record.command is not None else "by itself"
    line = Text.assemble(
        f"{record.at:%a %H:%M}  ",
        (f"{record.state.name:<15}", "bold"),
        (f"{record.action.value:<9}", ACTIONS.get(record.action, "")),
        f"{change:<11} ",
        (who, "dim"),
    )
    reasons = why(record, entry.plan)
    if not in_full and reasons:
        line.append(f"  {reasons[0]}", style="dim")
        line.truncate(width, overflow="ellipsis")
        yield line
        return
    yield line
    for reason in reasons:
        yield from wrapped(reason, indent=INDENT, width=width)
