"""What `check` reckons with: what its options say, else what the store's history tells, else what is usual."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Final

import typer

from controller.cli.context import Context
from controller.cli.output import Document, moment
from controller.cli.simulated import per_minute_of, requests_per_unit_of, traffic_of
from controller.errors import CanaryError, DataError, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.ports import Store
    from controller.rollout.plan import Arm, Plan
    from controller.simulate.feasibility.history import History
    from controller.simulate.scenarios import Traffic
    from controller.simulate.usual import Latencies, Usual

ESCALATION = "1.5%"
INPUT_TOKENS, OUTPUT_TOKENS = 5_000, 1_000

WithHistory = Annotated[
    bool | None,
    typer.Option(
        "--history/--no-history",
        help="Learn what no option says from the plan's newest rollout in the store. Default: where there is one.",
        show_default=False,
    ),
]
MOST_TOKENS: Final = 1_000_000_000
LatencyPair = Annotated[
    str | None,
    typer.Option(
        "--latency",
        metavar="P50,P95",
        help="How long requests take on both arms, median and 95% quantile, such as 1.2s,3s; log-normal.",
        show_default=False,
    ),
]
InputTokens = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=MOST_TOKENS,
        help="Of a request, to reckon what it costs. Default: 5000.",
        show_default=False,
    ),
]
OutputTokens = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=MOST_TOKENS, help="The same. Default: 1000.", show_default=False
    ),
]
TtftPair = Annotated[
    str | None,
    typer.Option(
        "--ttft", metavar="P50,P95", help="The same until the first token.", show_default=False
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was said; None where it was not."""

    units_per_day: float | None
    units_per_minute: float | None
    requests_per_unit: float | None
    intent_share: Sequence[str]
    accuracy: str | None
    escalation: str | None
    label_rate: str | None
    latency: str | None
    ttft: str | None
    input_tokens: int | None
    output_tokens: int | None

    @property
    def any(self) -> bool:
        """Whether an option is there that only traffic gives a meaning to."""
        told = (
            self.units_per_day,
            self.units_per_minute,
            self.requests_per_unit,
            self.intent_share or None,
            self.latency,
            self.ttft,
        )
        return any(one is not None for one in told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Traffic and answers to reckon with. `history` None: nothing was learnt."""

    traffic: Traffic
    usual: Usual
    input_tokens: int
    output_tokens: int
    history: History | None


def history_of(context: Context, plan: Plan, wanted: bool | None) -> tuple[History | None, str]:
    """The plan's, and why there is none though it was looked for. Asked for by name (`--history`), that is an error."""
    if wanted is False:
        return None, ""
    try:
        return _read(context.store(), plan), ""
    except NotFound as error:
        if wanted:
            raise DataError(f"--history: {error} Say --units-per-day instead.") from error
        return None, ""
    except CanaryError as error:
        if wanted:
            raise
        return None, str(error)


def _read(store: Store, plan: Plan) -> History:
    """Of the newest attempt that has enough to learn from. NotFound."""
    from controller.rollout.state import Phase
    from controller.simulate.feasibility.history import LEAST, LEAST_MIN, learn

    newest = store.head(plan.name).state
    for attempt in range(newest.attempt, 0, -1):
        rollout = f"{plan.name}/{attempt}"
        rows, _ = store.rollups(rollout)
        found = learn(rollout, rows, plan)
        if found is not None:
            # Only what was rolled back is tried again.
            gone = attempt < newest.attempt or newest.phase is Phase.ROLLED_BACK
            return replace(found, rolled_back=gone)
    raise NotFound(
        f"No rollout of {plan.name} has had {LEAST} units of the plan's intents in {LEAST_MIN} minutes or more."
    )


def known_of(plan: Plan, options: Options, history: History | None) -> Known:
    """DataError says which option is wrong, or that traffic is told by nobody."""
    traffic = traffic_of(
        plan,
        per_minute=_per_minute(options, history),
        shares=options.intent_share,
        accuracy=options.accuracy,
        escalation=options.escalation or ESCALATION,
        label_rate=options.label_rate,
        requests_per_unit=requests_per_unit_of(plan, options.requests_per_unit),
    )
    if history is not None:
        traffic = _filled(traffic, options, history)
    tokens = (
        options.input_tokens or (history and history.input_tokens) or INPUT_TOKENS,
        options.output_tokens or (history and history.output_tokens) or OUTPUT_TOKENS,
    )
    return Known(
        traffic=traffic,
        usual=_usual(plan, options, history, traffic, tokens),
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        history=history,
    )


def _per_minute(options: Options, history: History | None) -> float:
    if options.units_per_day is None and options.units_per_minute is None and history is not None:
        return history.units_per_minute
    return per_minute_of(options.units_per_day, options.units_per_minute)


def _filled(traffic: Traffic, options: Options, history: History) -> Traffic:
    """With what history tells and no option says."""
    return replace(
        traffic,
        mix=traffic.mix if options.intent_share else history.mix,
        requests_per_unit=(
            traffic.requests_per_unit
            if options.requests_per_unit is not None
            else history.requests_per_unit
        ),
        accuracy=_first(options.accuracy, history.accuracy, traffic.accuracy),
        escalation=_first(options.escalation, history.escalation, traffic.escalation),
        label_rate=_first(options.label_rate, history.label_rate, traffic.label_rate),
    )


def _first(told: str | None, learnt: float | None, otherwise: float) -> float:
    return otherwise if told is not None or learnt is None else learnt


def _usual(
    plan: Plan,
    options: Options,
    history: History | None,
    traffic: Traffic,
    tokens: tuple[int, int],
) -> Usual:
    """What was learnt of what requests cost is of the requests that there were, not of others that an option states."""
    from controller.simulate.usual import Usual

    learnt = history.usual if history is not None else Usual()
    of_other_sizes = options.input_tokens is not None or options.output_tokens is not None
    if of_other_sizes or not learnt.request_usd:
        learnt = replace(learnt, request_usd={}, request_spread={}, request_tokens={})
    return usual_of(
        plan, traffic, latency=options.latency, ttft=options.ttft, tokens=tokens, learnt=learnt
    )


def usual_of(
    plan: Plan,
    traffic: Traffic,
    *,
    latency: str | None,
    ttft: str | None,
    tokens: tuple[int, int],
    learnt: Usual,
) -> Usual:
    """What a person says of latencies is of both arms; prices are the plan's where no cost of a request was learnt.
    DataError says which option is wrong.
    """
    from controller.rollout.plan import Arm

    sizes = dict(learnt.sizes)
    for subject, text in (("latency", latency), ("ttft", ttft)):
        if text is not None:
            told = _latencies(f"--{subject}", text)
            sizes.update({(arm, subject): told for arm in Arm})
    return replace(
        learnt,
        sizes=sizes,
        request_usd={**_priced(plan, traffic, tokens), **learnt.request_usd},
        request_tokens={**dict.fromkeys(Arm, float(sum(tokens))), **learnt.request_tokens},
    )


def _priced(plan: Plan, traffic: Traffic, tokens: tuple[int, int]) -> dict[Arm, float]:
    """Of a request by the plan's prices; an escalated one costs both calls. Empty where one is not known."""
    from controller.plans.cost import request_usd
    from controller.rollout.plan import Arm

    if plan.baseline.price is None or plan.candidate.price is None:
        return {}
    old, new = (
        request_usd(price, input_tokens=tokens[0], output_tokens=tokens[1])
        for price in (plan.baseline.price, plan.candidate.price)
    )
    return {
        Arm.BASELINE: float(old),
        Arm.CANDIDATE: float(new + Fraction(traffic.escalation) * old),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What `--catch` says should be caught: scenarios in words, and how many times as slow or as dear as usual."""

    scenarios: tuple[str, ...]
    slower: tuple[float, ...]
    dearer: tuple[float, ...]


def stated_of(catches: Sequence[str]) -> Stated:
    """DataError where something is said as no number of times."""
    from controller.simulate.scenario_words import MULTIPLES

    said: dict[str, list[float]] = {name: [] for name in MULTIPLES}
    scenarios = []
    for text in catches:
        name, _, times = text.partition("=")
        if name not in MULTIPLES:
            scenarios.append(text)
        else:
            said[name].append(_times(name, text, times))
    return Stated(
        scenarios=tuple(scenarios), slower=tuple(said["slow"]), dearer=tuple(said["cost"])
    )


def _times(name: str, text: str, times: str) -> float:
    from controller.plans.units import UnitError
    from controller.simulate.scenario_words import MOST_TIMES, MULTIPLES, parse_times

    try:
        return parse_times(times)
    except UnitError as error:
        usual = "as slow as usual" if name == "slow" else "the usual cost"
        raise DataError(
            f"--catch {text}: wanted how many times {usual}, above 1 and up to {MOST_TIMES}: {MULTIPLES[name]}."
        ) from error


def _latencies(option: str, text: str) -> Latencies:
    from controller.plans.units import UnitError, parse_duration
    from controller.simulate.usual import Latencies

    parts = text.split(",")
    if len(parts) != 2:
        raise DataError(f"{option} {text}: wanted P50,P95, such as {option} 1.2s,3s.")
    try:
        median, p95 = (parse_duration(one, sub_second=True).total_seconds() for one in parts)
    except UnitError as error:
        raise DataError(f"{option}: {error}.") from error
    if not 0 < median < p95:
        raise DataError(f"{option} {text}: the median must be above 0 and below the 95% quantile.")
    if p95 > _DAY_S:
        raise DataError(f"{option} {text}: wanted at most 24h as the 95% quantile.")
    if p95 > _WIDEST * median:
        raise DataError(
            f"{option} {text}: the 95% quantile is {p95 / median:,.0f} times the median; wanted at most {_WIDEST:,} "
            "times."
        )
    return Latencies.log_normal(median, p95)


_DAY_S: Final = 86_400
_WIDEST: Final = 1_000


def call_words(usual: Usual, traffic: Traffic, tokens: tuple[int, int]) -> str:
    """What simulated calls cost, and by how much they vary."""
    from controller.rollout.plan import Arm
    from controller.simulate.drawn.quantities import call_costs
    from controller.simulate.usual import SPREAD

    spread = f"log-normal with a coefficient of variation of {SPREAD:g}, whatever the grade"
    of_tokens = f"{tokens[0]:,} input and {tokens[1]:,} output tokens on average"
    if not usual.request_usd:
        return f"Requests have {of_tokens}, {spread}."
    costs = call_costs(usual, traffic)
    old, new = costs[Arm.BASELINE], costs[Arm.CANDIDATE]
    return (
        f"Costs: a call of the baseline {old.own:.4g} USD, of the candidate {new.own:.4g} USD, an escalated answer "
        f"{new.escalated:.4g} USD more. By the plan's prices for {of_tokens}; {spread}."
    )


def history_words(history: History) -> str:
    """`Learnt from support-bot/1, 2026-11-01 10:00Z to 2026-11-08 09:00Z, 36,120 requests; …`"""
    gone = "It was rolled back: what its candidate did is taken for what is usual."
    return (
        f"Learnt from {history.rollout}, {moment(history.since)} to {moment(history.until)}, "
        f"{history.requests:,} requests; what options say comes before it.{f' {gone}' * history.rolled_back}"
    )


def latency_words(usual: Usual) -> list[str]:
    """`Latency: baseline p50 1.2 s, p95 3.1 s (log-normal …)`, by what is known."""
    from controller.rollout.plan import Arm

    lines = []
    for subject, name in (("latency", "Latency"), ("ttft", "Time to the first token")):
        known = [(arm, usual.sizes.get((arm, subject))) for arm in Arm]
        told = [(arm, one) for arm, one in known if one is not None]
        if not told:
            continue
        if len({id(one) for _, one in told}) == 1 and len(told) > 1:
            lines.append(f"{name}: both arms {_percentiles(told[0][1])} ({told[0][1].source}).")
        else:
            each = "; ".join(f"{arm} {_percentiles(one)}" for arm, one in told)
            lines.append(f"{name}: {each} ({told[0][1].source}).")
    return lines


def latencies_document(usual: Usual) -> list[Document]:
    return [
        {
            "arm": arm.value,
            "of": subject,
            **{f"p{round(100 * q)}_s": told.quantile(q) for q in (0.5, 0.95, 0.99)},
            "source": told.source,
        }
        for (arm, subject), told in sorted(usual.sizes.items())
    ]


def cost_words(plan: Plan, usual: Usual) -> list[str]:
    """`Requests cost 0.0039 USD on the candidate, …`, where a rule is about that."""
    from controller.rollout.metrics import Kind
    from controller.rollout.plan import Arm
    from controller.rollout.units import format_percent
    from controller.simulate.usual import SPREAD

    in_usd = any(
        rule.metric.kind is Kind.COST and rule.metric.subject != "tokens_per_hour"
        for rule in plan.rules
    )
    if not in_usd or not usual.request_usd:
        return []
    each, spread = [], []
    for arm in (one for one in Arm if one in usual.request_usd):
        each.append(f"{usd_each(usual.request_usd[arm])} on the {arm.value}")
        counted = usual.request_spread.get(arm)
        told = "assumed" if counted is None else "counted"
        spread.append(f"{format_percent(round(counted or SPREAD, 2))} ({told})")
    scatter = spread[0] if len(set(spread)) == 1 else ", ".join(spread)
    return [f"A request costs {', '.join(each)}, and scatters by {scatter} of that."]


def usd_each(amount: float) -> str:
    """`0.00003098 USD`"""
    return f"{Decimal(f'{amount:.4g}'):f} USD"


def _percentiles(one: Latencies) -> str:
    from controller.rollout.units import format_seconds

    return ", ".join(
        f"p{100 * q:g} {format_seconds(float(f'{one.quantile(q):.3g}'))}" for q in (0.5, 0.95, 0.99)
    )
