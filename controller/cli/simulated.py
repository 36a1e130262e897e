"""What commands that reckon with simulated traffic share: its options, how they are read, a bar of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from controller.cli.context import Context
from controller.cli.output import Document, console, rough
from controller.errors import DataError

if TYPE_CHECKING:
    from controller.rollout.plan import Plan
    from controller.simulate.endings import Ending, Part
    from controller.simulate.runs.montecarlo import Pinned, Spread, Told
    from controller.simulate.scenarios import Traffic

DAY_MIN = 1_440
MINUTE_S = 60
REQUESTS_PER_UNIT = 4.0
"""Of a conversation, where it is not said."""

UnitsPerDay = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        min=1,
        max=10_000_000,
        help="Mean number of units a day.",
        show_default=False,
    ),
]
UnitsPerMinute = Annotated[
    float | None,
    typer.Option(metavar="N", min=0.001, max=6_000, help="The same, a minute.", show_default=False),
]
IntentShare = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PERCENT",
        help="An intent's part of the units; repeatable. Default: what is left, in equal parts.",
        show_default=False,
    ),
]
Accuracy = Annotated[str, typer.Option(metavar="PERCENT", help="Right answers of both arms.")]
PriorAccuracy = Annotated[
    str | None,
    typer.Option(
        metavar="PERCENT",
        help="Right answers of both arms. Default: what the plan's priors say.",
        show_default=False,
    ),
]
Escalation = Annotated[
    str, typer.Option(metavar="PERCENT", help="Answers of the candidate that escalate.")
]
UsualEscalation = Annotated[
    str | None,
    typer.Option(
        metavar="PERCENT",
        help="Answers of the candidate that escalate. Default: 1.5%.",
        show_default=False,
    ),
]
LabelRate = Annotated[
    str | None,
    typer.Option(
        metavar="PERCENT",
        help="Answers that are graded, each picked for itself. Default: the plan's `labels.sampled`.",
        show_default=False,
    ),
]
RequestsPerUnit = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        min=1,
        max=1_000,
        help="Mean number of requests of a conversation (or user), geometric; they fare alike. Default: 4; 1 where the "
        "plan's unit is a request.",
        show_default=False,
    ),
]
ApproveAfter = Annotated[
    str, typer.Option(metavar="SPAN", help="How long the simulated approver takes.")
]
Processes = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=256,
        help="Processes that run beside each other; the result is the same. Default: one a core.",
        show_default=False,
    ),
]


def per_minute_of(per_day: float | None, per_minute: float | None) -> float:
    match per_day, per_minute:
        case (None, float()):
            return per_minute
        case (float(), None):
            return per_day / DAY_MIN
        case _:
            found = "neither" if per_day is None else "both"
            raise DataError(
                f"--units-per-day, --units-per-minute: found {found}; wanted one: the plan's traffic decides how quick "
                "its rules are."
            )


def traffic_of(
    plan: Plan,
    *,
    per_minute: float,
    shares: Sequence[str],
    accuracy: str | None,
    escalation: str,
    label_rate: str | None,
    requests_per_unit: float = 1.0,
) -> Traffic:
    """DataError says which option is wrong. Without `accuracy` it is what the plan's priors say; without
    `label_rate` the part of answers that the plan says is sampled.
    """
    from controller.simulate.scenarios import Traffic, intent_mix

    given: dict[str, float] = {}
    for text in shares:
        name, sign, part = text.partition("=")
        if not sign:
            raise DataError(f"--intent-share {text}: wanted NAME=PERCENT, such as refund=20%.")
        if name in given:
            raise DataError(f"--intent-share {text}: {name} has a part already; give it once.")
        given[name] = rate_of(f"--intent-share {text}", part)
    return Traffic(
        units_per_minute=per_minute,
        mix=intent_mix(plan, given),
        accuracy=rate_of("--accuracy", accuracy) if accuracy else plan.priors.accuracy,
        escalation=rate_of("--escalation", escalation),
        label_rate=rate_of("--label-rate", label_rate) if label_rate else plan.labels.sampled,
        requests_per_unit=requests_per_unit,
    )


def requests_per_unit_of(plan: Plan, given: float | None) -> float:
    """DataError where the plan's unit is a request and several are asked for."""
    from controller.rollout.plan import Unit

    if plan.unit is not Unit.REQUEST:
        return REQUESTS_PER_UNIT if given is None else given
    if given is not None and given > 1:
        raise DataError(
            f"--requests-per-unit {given:g}: the plan's unit is a request, which is one. Leave it out, or simulate a "
            "plan with assignment.unit: conversation."
        )
    return 1.0


def rate_of(option: str, text: str) -> float:
    from controller.plans.units import UnitError, parse_rate

    try:
        return float(parse_rate(text))
    except UnitError as error:
        raise DataError(f"{option}: {error}.") from error


def span_of(option: str, text: str) -> timedelta:
    from controller.plans.units import UnitError, parse_duration

    try:
        return parse_duration(text)
    except UnitError as error:
        raise DataError(f"{option}: {error}.") from error


def traffic_words(traffic: Traffic) -> str:
    """`50 units a minute, one request each, Poisson; refund 20%, order-status 80%`"""
    from controller.rollout.units import format_number, format_percent

    mix = ", ".join(
        f"{name} {format_percent(round(part, 4))}" for name, part in traffic.mix.items()
    )
    units = format_number(round(traffic.units_per_minute, 3))
    mean = format_number(round(traffic.requests_per_unit, 3))
    each = "one request each" if mean == "1" else f"{mean} requests each on average (geometric)"
    return f"{units} units a minute, {each}, Poisson; {mix}"


def answers_words(plan: Plan, traffic: Traffic) -> str:
    from controller.rollout.units import format_duration, format_percent

    return (
        f"accuracy {format_percent(round(traffic.accuracy, 4))}, "
        f"escalation {format_percent(round(traffic.escalation, 5))}, "
        f"{format_percent(round(traffic.label_rate, 4))} graded, labels after {format_duration(plan.labels.delay)}"
    )


def part_document(part: Part) -> Document:
    """How many of the runs, with the interval of their share."""
    return {
        "runs": part.count,
        "share": part.share,
        "lower": part.interval.lower,
        "upper": part.interval.upper,
    }


def spread_document(spread: Spread | None, *, times: float = 1) -> Document | None:
    """Median and 90% quantile, in a unit of which there are so many in one; None of no runs."""
    if spread is None:
        return None
    return {"median": spread.median * times, "p90": spread.most * times}


def alike_words(traffic: Traffic) -> str:
    """What is taken of the requests of a conversation or user; those of one alone are independent."""
    from controller.rollout.units import format_percent
    from controller.simulate.picks import Picks

    said = (
        "The requests of a unit fare alike: it escalates, fails, and is right or wrong as a whole"
    )
    if traffic.label_rate < 1:
        graded = Picks(mean=traffic.requests_per_unit, rate=traffic.label_rate).units
        return (
            f"{said}. Each is graded or not for itself, so {format_percent(round(graded, 4))} of the units have a "
            "grade."
        )
    return f"{said}."


def pinned_words(one: Pinned) -> str:
    """Of the runs of one scenario; times since the start."""
    median, most = (rough(timedelta(minutes=at)) for at in (one.after.median, one.after.most))
    times = f"{one.part.count:,} run{'s' * (one.part.count != 1)}"
    return f"{one.intent} pinned in {times}, after {median} · {most}"


def pinned_document(pinned: Sequence[Pinned]) -> list[Document]:
    return [
        {
            "intent": one.intent,
            **part_document(one.part),
            "after_s": spread_document(one.after, times=MINUTE_S),
        }
        for one in pinned
    ]


def endings_document(endings: Mapping[Ending, Part]) -> Document:
    return {ending.value.replace(" ", "_"): part_document(part) for ending, part in endings.items()}


def cores() -> int:
    """How many processes run beside each other where it is not said."""
    import os

    return os.cpu_count() or 1


@contextmanager
def progress(context: Context, total: int, what: str = "runs") -> Iterator[Told]:
    """A bar on stderr for a person at a terminal; nothing for anybody else."""
    if not context.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(context, stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda ended: bar.advance(task, ended)
