"""Scenarios in words: `healthy`, `loss=3pp`, `escalation=5%@24h+late-labels`, and what each says in a sentence.

What is joined by `+` is true of one candidate at once. Each part says one thing, so their order does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from controller.errors import DataError
from controller.plans.nearest import did_you_mean
from controller.plans.units import UnitError, parse_duration, parse_points, parse_rate
from controller.rollout.plan import Plan
from controller.rollout.units import format_duration, format_percent, format_points
from controller.simulate.lateness import Lateness
from controller.simulate.scenarios import Fault, Judge, Scenario, grader, harder, losing

SWING: Final = 0.5
SHIFT: Final = 0.10
SENSITIVITY: Final = 0.9
SPECIFICITY: Final = 0.9
FAVOURS: Final = 0.03
DRIFT, DRIFT_OVER = 0.03, timedelta(days=7)
TAIL: Final = 4
"""Nine in ten labels come within so many times the span in which half of them do, where it is not said."""
JOINED: Final = "+"

Says = Mapping[str, Any]
"""What a part says of a scenario, by field."""


def parse_scenario(text: str, plan: Plan) -> Scenario:
    """A scenario from its words. DataError says which there are, what a value should have been, or which parts
    contradict one another.
    """
    asked = f"--scenario {text}"
    said: dict[str, tuple[str, Says]] = {}  # by what is said something about
    for part in text.split(JOINED):
        name = part.partition("=")[0]
        topic = _TOPICS.get(name)
        if topic is None:
            where = "" if part == text else f"{part!r}: "
            raise DataError(
                f"{asked}: {where}no such scenario{did_you_mean(name, _TOPICS)}{_known()}"
            )
        if topic in said:
            raise DataError(
                f"{asked}: {said[topic][0]} and {part} both say {_ABOUT[topic]}. Give one of them, or each "
                "as a scenario of its own."
            )
        said[topic] = part, _read(part, plan, asked, FORMS[name])
    if len(said) > 1 and "nothing" in said:
        raise DataError(
            f"{asked}: healthy says that nothing else is so. Leave it out, or give it as a scenario of its own."
        )
    # In one order, so that the same candidate has the same name.
    parts = [said[topic] for topic in _ABOUT if topic in said]
    fields = {field: value for _, says in parts for field, value in says.items()}
    return Scenario(text=JOINED.join(part for part, _ in parts), **fields)


def parse_regression(text: str, plan: Plan) -> Scenario:
    """A regression to be caught, there from the beginning. DataError says what a value should have been, or which
    regressions there are.
    """
    name = text.partition("=")[0]
    if name not in REGRESSIONS or "@" in text or JOINED in text:
        known = ", ".join((*REGRESSIONS.values(), *MULTIPLES.values()))
        raise DataError(
            f"--catch {text}: wanted one of {known}, without a beginning: it is there throughout."
        )
    return Scenario(text=text, **_read(text, plan, f"--catch {text}", REGRESSIONS[name]))


def _read(part: str, plan: Plan, where: str, form: str) -> Says:
    name, sign, value = part.partition("=")
    try:
        return _KINDS[name](value if sign else None, plan)
    except UnitError as error:
        raise DataError(f"{where}: {error}; wanted {form}.") from error


def _known() -> str:
    return ". Known: " + ", ".join(FORMS.values()) + "; joined by + where several are so at once."


def _healthy(value: str | None, _plan: Plan) -> Says:
    if value is not None:
        raise UnitError("it takes no value")
    return {}


def _loss(value: str | None, _plan: Plan) -> Says:
    size, since = _at(value)
    return {"loss": Fault(size=_lost(size), since=since)}


def _escalation(value: str | None, _plan: Plan) -> Says:
    size, since = _at(value)
    return {"escalation": Fault(size=float(parse_rate(size)), since=since)}


def _error(value: str | None, _plan: Plan) -> Says:
    size, since = _at(value)
    return {"error": Fault(size=float(parse_rate(size)), since=since)}


def _slow(value: str | None, _plan: Plan) -> Says:
    return {"slow": _times(value)}


def _cost(value: str | None, _plan: Plan) -> Says:
    return {"cost": _times(value)}


def _times(value: str | None) -> Fault:
    size, since = _at(value)
    return Fault(size=parse_times(size), since=since)


MOST_TIMES: Final = 100


def parse_times(text: str) -> float:
    """How many times as much, such as `2x`; UnitError."""
    plain = re.fullmatch(r"[0-9]+(\.[0-9]+)?x", text)
    if not plain or not 1 < float(text[:-1]) <= MOST_TIMES:
        raise UnitError(
            f"{text!r} is no number of times above 1 and up to {MOST_TIMES}, such as 2x"
        )
    return float(text[:-1])


def _swing(value: str | None, _plan: Plan) -> Says:
    return {"swing": float(parse_rate(value, what="part")) if value is not None else SWING}


def _shift(value: str | None, plan: Plan) -> Says:
    if not harder(plan):
        raise UnitError("the plan has no two intents whose mix could shift")
    shift = float(parse_points(value)) if value is not None else SHIFT
    if not 0 < shift < 1:
        raise UnitError(f"a difference of {format_points(shift)} is none")
    return {"shift": shift}


def _drift(value: str | None, _plan: Plan) -> Says:
    if value is None:
        return {"loss": Fault(size=DRIFT, over=DRIFT_OVER)}
    size, sign, over = value.partition("@")
    loss, span = _lost(size), parse_duration(over) if sign else DRIFT_OVER
    if not span:
        raise UnitError("what takes no time is no drift")
    return {"loss": Fault(size=loss, over=span)}


def _judge(value: str | None, _plan: Plan) -> Says:
    if value is None:
        return {"judge": Judge(sensitivity=SENSITIVITY, specificity=SPECIFICITY)}
    parts = value.split(",")
    if len(parts) != 2:
        raise UnitError(f"found {len(parts)} of two rates")
    right, wrong = (float(parse_rate(part)) for part in parts)
    if right + wrong <= 1:
        raise UnitError("a judge whose rates add up to no more than 100% tells nothing")
    return {"judge": Judge(sensitivity=right, specificity=wrong)}


def _favours(value: str | None, _plan: Plan) -> Says:
    favours = float(parse_points(value)) if value is not None else FAVOURS
    if not 0 < favours < 1:
        raise UnitError(f"a favour of {format_points(favours)} is none")
    return {"favours": favours}


def _late(value: str | None, plan: Plan) -> Says:
    first, sign, second = (value or "").partition(",")
    median = parse_duration(first) if value is not None else plan.labels.delay
    if not median:
        raise UnitError(
            "labels that take no time are not late"
            if value is not None
            else "the plan's labels.delay is 0, so it says nothing of how late they are"
        )
    most = parse_duration(second) if sign else TAIL * median
    if most <= median:
        raise UnitError("nine in ten labels take longer than half of them")
    return {"lateness": Lateness(median=median, most=most)}


def _lost(text: str) -> float:
    loss = float(parse_points(text))
    if not 0 < loss <= 1:
        raise UnitError(f"a loss of {format_points(loss)} is none")
    return loss


def _at(value: str | None) -> tuple[str, timedelta]:
    """A size and when it begins."""
    if value is None:
        raise UnitError("it has no value")
    size, sign, at = value.partition("@")
    return size, parse_duration(at) if sign else timedelta(0)


_KINDS: Final[Mapping[str, Callable[[str | None, Plan], Says]]] = {
    "healthy": _healthy,
    "loss": _loss,
    "escalation": _escalation,
    "error": _error,
    "slow": _slow,
    "cost": _cost,
    "daily-swing": _swing,
    "ramp-mix": _shift,
    "drift": _drift,
    "judge-noise": _judge,
    "judge-favours": _favours,
    "late-labels": _late,
}
_TOPICS: Final[Mapping[str, str]] = {
    **{name: name for name in _KINDS},
    "healthy": "nothing",
    "drift": "loss",
}
"""What each says something about."""
_ABOUT: Final[Mapping[str, str]] = {
    "nothing": "that nothing is wrong",
    "loss": "how much less often the candidate is right",
    "escalation": "how often it escalates",
    "error": "how often its calls fail",
    "slow": "how long its requests take",
    "cost": "what its requests cost",
    "daily-swing": "how its escalations swing",
    "ramp-mix": "how the mix shifts",
    "judge-noise": "how well the judge grades",
    "judge-favours": "how much the judge favours the candidate",
    "late-labels": "when labels come",
}
FORMS: Final[Mapping[str, str]] = {
    "healthy": "healthy",
    "loss": "loss=3pp[@24h]",
    "escalation": "escalation=5%[@24h]",
    "error": "error=2%[@24h]",
    "slow": "slow=2x[@24h]",
    "cost": "cost=1.5x[@24h]",
    "daily-swing": "daily-swing[=50%]",
    "ramp-mix": "ramp-mix[=10pp]",
    "drift": "drift[=3pp@7d]",
    "judge-noise": "judge-noise[=90%,90%]",
    "judge-favours": "judge-favours[=3pp]",
    "late-labels": "late-labels[=6h,24h]",
}
"""How each scenario is written."""
REGRESSIONS: Final[Mapping[str, str]] = {
    name: FORMS[name].partition("[")[0] for name in ("loss", "escalation", "error")
}
"""Those in which a candidate is worse, without when it becomes so."""
MULTIPLES: Final[Mapping[str, str]] = {"slow": "slow=2x", "cost": "cost=1.3x"}
"""Those that are said as so many times the usual, likewise."""


def about(plan: Plan, scenario: Scenario) -> str:
    """The scenario in a sentence."""
    return "; ".join(_told(plan, scenario)) or "nothing is wrong with the candidate"


def _told(plan: Plan, scenario: Scenario) -> Iterator[str]:
    if scenario.loss is not None:
        yield _told_loss(scenario.loss, ", ".join(sorted(losing(plan))))
    if scenario.escalation is not None:
        size, later = format_percent(scenario.escalation.size), _later(scenario.escalation)
        yield f"{size} of the candidate's answers escalate{later}"
    if scenario.error is not None:
        yield f"{format_percent(scenario.error.size)} of the candidate's calls fail{_later(scenario.error)}"
    if scenario.slow is not None:
        yield f"the candidate's requests take {scenario.slow.size:g} times as long{_later(scenario.slow)}"
    if scenario.cost is not None:
        yield f"the candidate's requests cost {scenario.cost.size:g} times as much{_later(scenario.cost)}"
    if scenario.swing:
        yield f"escalations swing over the day by {format_percent(scenario.swing)} of their mean, which stays"
    if scenario.shift:
        names = ", ".join(sorted(harder(plan)))
        yield (
            f"both arms are right {format_points(scenario.shift)} less often on {names}, whose part of the units rises "
            f"with every step{_loses_nothing(scenario)}"
        )
    yield from _told_judge(plan, scenario)
    if scenario.lateness is not None:
        yield _told_lateness(plan, scenario.lateness)


def _told_judge(plan: Plan, scenario: Scenario) -> Iterator[str]:
    judge = grader(plan, scenario)
    if scenario.judge is not None:
        right, wrong = scenario.judge.sensitivity, scenario.judge.specificity
        yield (
            f"grades of both arms are a judge's: {format_percent(right)} of right answers are graded right, "
            f"{format_percent(wrong)} of wrong ones wrong{_loses_nothing(scenario)}"
        )
    if scenario.favours and judge is not None:
        yield (
            "the judge favours the candidate: beside what it misses of both arms, it calls "
            f"{format_points(scenario.favours)} of the candidate's answers right that are wrong"
            f"{_loses_nothing(scenario)}"
        )


def _told_loss(loss: Fault, names: str) -> str:
    size = format_points(loss.size)
    if loss.over:
        return (
            f"the candidate is right less and less often on {names}: {size} less after {format_duration(loss.over)}, "
            "and from then on"
        )
    return f"the candidate is right {size} less often on {names}{_later(loss)}"


def _told_lateness(plan: Plan, lateness: Lateness) -> str:
    half, most = format_duration(lateness.median), format_duration(lateness.most)
    after, never = late_and_never(plan, lateness)
    return (
        f"half of the labels come within {half} and 90% within {most} (log-normal): {_share(after)} after labels.delay "
        f"({format_duration(plan.labels.delay)}), {_share(never)} not within labels.horizon "
        f"({format_duration(plan.labels.horizon)}), which is never"
    )


def late_and_never(plan: Plan, lateness: Lateness) -> tuple[float, float]:
    """The parts of the labels that come after the plan's delay, and after its horizon, where they are refused."""
    return 1 - lateness.within(plan.labels.delay), 1 - lateness.within(plan.labels.horizon)


def _share(part: float) -> str:
    return f"{100 * part:.1f}%"


def _later(fault: Fault) -> str:
    return f" from {format_duration(fault.since)} on" if fault.since else ""


def _loses_nothing(scenario: Scenario) -> str:
    return "" if scenario.loss is not None else "; the candidate loses nothing"
