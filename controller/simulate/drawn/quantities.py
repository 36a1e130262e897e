"""What simulated requests take: how long, what they cost, how many tokens. Drawn for requests that are there already.

A request's figures hang on nothing but its arm and minute: on no other request, and not on its grade. The one exception
is what is known: an escalated answer, which is a wrong one, costs a call of the baseline too. Latencies are `Usual`'s.
What a call costs varies about its mean as a log-normal with a coefficient of variation of `laws.SPREAD`, and so do its
tokens, which are what is paid for.

Generators are their own: what arrives and how it is answered is the same whether anybody asks what it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.counting.sums import Minutes, Table
from controller.rollout.evidence.caps import NUSD, cost_caps
from controller.rollout.metrics import MICRO, Kind, capped
from controller.rollout.plan import Arm, Plan, Rule
from controller.rollout.timeline import MINUTE
from controller.simulate.drawn.dense import Columns
from controller.simulate.drawn.histograms import Buckets
from controller.simulate.drawn.sizes import drawn, relative, shares, sums, told
from controller.simulate.scenarios import Fault, Scenario, Traffic
from controller.simulate.usual import SPREAD, Latencies, Usual

MOST: Final = 1 << 20  # requests that are drawn at a time

OF_TIMES: Final = {Kind.QUANTILE, Kind.QUANTILE_RATIO}
COST: Final = "s.cost_nusd"
TOKENS: Final = "s.output_tokens"
"""Where all tokens of a request are: bills read the sum of both kinds; no rule that is simulated reads one alone."""

Values = NDArray[np.int64]
"""Of each of `sizes.SIZES` equally likely sizes."""


# What is known


def subject_of(rule: Rule) -> str | None:
    """What a rule on how long requests take reads: `latency`, `ttft`; None for any other rule."""
    if rule.metric.kind in OF_TIMES:
        return rule.metric.subject
    if rule.metric.kind is Kind.MEAN and "/" not in rule.metric.subject:
        return rule.metric.subject.removesuffix("_us")
    return None


def arms_of(rule: Rule) -> tuple[Arm, ...]:
    return tuple(Arm) if rule.metric.comparing else (rule.arm or Arm.CANDIDATE,)


def is_known(usual: Usual, rule: Rule) -> bool:
    """Whether there is a law for what a rule reads of latencies, costs or tokens."""
    subject = subject_of(rule)
    if subject is not None:
        return all(usual.of(arm, subject) is not None for arm in arms_of(rule))
    if rule.metric.kind is not Kind.COST:
        return False
    of_tokens = rule.metric.subject == "tokens_per_hour"
    known = usual.request_tokens if of_tokens else usual.request_usd
    return all(arm in known for arm in Arm)


def lacking(rule: Rule) -> str | None:
    """What would have to be told of a rule of which nothing is known; None: nobody can."""
    if rule.metric.kind is Kind.COST:
        return "say what both models cost in the plan (`price`)"
    subject = subject_of(rule)
    return None if subject is None else f"give --{subject} P50,P95"


# Laws


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCosts:
    """Means, in US dollars: of an arm's own call, and of what an escalated answer costs more."""

    own: float
    escalated: float = 0.0


def call_costs(usual: Usual, traffic: Traffic) -> Mapping[Arm, CallCosts]:
    """So that a candidate's request costs on average what is known of it, where as many escalate as usual."""
    old, new = usual.request_usd[Arm.BASELINE], usual.request_usd[Arm.CANDIDATE]
    often = traffic.escalation
    more = min(old, new / often) if often else old
    return {
        Arm.BASELINE: CallCosts(own=old),
        Arm.CANDIDATE: CallCosts(own=max(new - often * more, 0.0), escalated=more),
    }


@dataclass(frozen=True, slots=True, eq=False)
class TimeLaw:
    """Of each size: its bucket, and what that is told as, in microseconds. All buckets lie from `first` on."""

    buckets: NDArray[np.int16]
    us: Values
    first: int
    width: int

    @classmethod
    def of(cls, law: Latencies) -> TimeLaw:
        buckets = np.repeat(law.buckets.astype(np.int16), shares(law))
        first, last = int(law.buckets[0]), int(law.buckets[-1])
        return cls(buckets, np.rint(MICRO * told(law)).astype(np.int64), first, last - first + 1)


@lru_cache(maxsize=16)  # the same in every run
def _time_law(law: Latencies, slower: float | None) -> TimeLaw:
    return TimeLaw.of(law if slower is None else law.slower(slower))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLaw:
    """Means: what an arm's own call costs, what an escalation costs more (nano-USD), and tokens; about which each is
    spread alike.
    """

    own: float
    escalated: float
    tokens: float
    spread: float

    def each(self, mean: float) -> Values:
        return _each(mean, self.spread)


@lru_cache(maxsize=32)
def _each(mean: float, spread: float) -> Values:
    return np.rint(mean * relative(spread)).astype(np.int64)


# Drawing


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What single requests of some minutes cost, in nano-USD, and which size of the law each has, in order of their
    minutes.
    """

    minutes: slice
    nusd: NDArray[np.int64]
    sizes: NDArray[np.uint16]
    law: CallLaw

    @property
    def tokens(self) -> NDArray[np.int64]:
        return self.law.each(self.law.tokens)[self.sizes]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantities:
    """What is drawn for the rules of a plan. `columns` are those of `Streams` with what is summed of this; `costs` are
    the statistics that a request's cost and tokens go into. `each` names what rules read of single intents; of all else
    (`latency`, `ttft`, costs) what all intents take is drawn as one and told of the first.

    `times` and `calls` are laws of a healthy arm and of one with the scenario's fault, where they are known and asked
    for.
    """

    columns: Columns
    costs: Sequence[str]
    each: frozenset[str]
    times: Mapping[tuple[Arm, str], tuple[TimeLaw, TimeLaw]]
    calls: Mapping[Arm, tuple[CallLaw, CallLaw]]
    slow: Fault | None
    dear: Fault | None

    @classmethod
    def of(
        cls, plan: Plan, traffic: Traffic, usual: Usual, scenario: Scenario, columns: Columns
    ) -> Quantities | None:
        """Beside columns that are counted anyway. None where no rule reads any that is known."""
        rules = [rule for rule in plan.rules if is_known(usual, rule)]
        if not rules:
            return None
        subjects = sorted({one for rule in rules if (one := subject_of(rule)) is not None})
        spent = [rule for rule in rules if rule.metric.kind is Kind.COST]
        costs = _sums_of_costs(plan, spent)
        means = {f"s.{rule.metric.subject}" for rule in rules if rule.metric.kind is Kind.MEAN}
        graded = ["correct_u"] if cost_caps(plan) and "correct_u" not in columns.places else []
        counted = [f"c.{subject}_us" for subject in subjects]
        counted += ["c.cost_nusd", "c.output_tokens"] if spent else []
        return cls(
            columns=columns.with_more([*graded, *costs, *sorted(means)], counted),
            costs=costs,
            each=frozenset(_what(rule) for rule in rules if _is_of_each(plan, rule)),
            times={
                (arm, _what(rule)): _times_of(usual, arm, _what(rule), scenario)
                for rule in rules
                if rule not in spent
                for arm in arms_of(rule)
            },
            calls=_calls_of(usual, traffic, scenario) if spent else {},
            slow=scenario.slow,
            dear=scenario.cost,
        )

    def draw(
        self,
        random: np.random.Generator,
        compared: Mapping[str, Table],
        outside: Table,
        since: Minutes,
    ) -> Mapping[tuple[str, str], Sequence[Buckets]]:
        """Sums into the tables of what came in, (intents, columns, minutes), of minutes `since` the start; and how long
        requests take that are compared, by arm and what, of each intent.
        """
        for arm, tables in ((Arm.BASELINE, outside), *((arm, compared[arm.value]) for arm in Arm)):
            if arm in self.calls and tables[:, self.columns.requests].any():
                self._spend(random, arm, tables, since)
        return {
            (arm.value, subject): self._take_each(random, arm, subject, compared[arm.value], since)
            for arm, subject in self.times
        }

    def _spend(self, random: np.random.Generator, arm: Arm, tables: Table, since: Minutes) -> None:
        if {*self.costs} <= {COST, TOKENS}:
            self._spend_in_sums(random, arm, tables, since)
            return
        for counts in tables:  # what counts up to a cap is told of single requests alone
            for one in self.spent(random, arm, counts, since):
                requests = counts[self.columns.requests, one.minutes]
                for name in self.costs:
                    counts[self.columns.places[name], one.minutes] = _by_minute(
                        _summed(name, one), requests
                    )

    def _spend_in_sums(
        self, random: np.random.Generator, arm: Arm, tables: Table, since: Minutes
    ) -> None:
        places = self.columns.places
        for span, calls in self._calls(arm, since):
            part = tables[:, :, span]
            n, escalated = part[:, self.columns.requests], part[:, places["f.escalated"]]
            if COST not in self.each:
                n, escalated, part = n.sum(axis=0), escalated.sum(axis=0), part[0]
            own, more = (
                sums(random, one.ravel(), calls.spread).reshape(one.shape) for one in (n, escalated)
            )
            for name in self.costs:
                spent = calls.tokens * own
                if name == COST:
                    spent = calls.own * own + calls.escalated * more
                part[..., places[name], :] = np.rint(spent)

    def _calls(self, arm: Arm, since: Minutes) -> Iterator[tuple[slice, CallLaw]]:
        for span, faulty in _spans(self.dear if arm is Arm.CANDIDATE else None, since):
            yield span, self.calls[arm][faulty]

    def spent(
        self, random: np.random.Generator, arm: Arm, counts: Table, since: Minutes
    ) -> Iterator[Spent]:
        """What an arm's requests cost; nothing where no rule asks."""
        if arm not in self.calls:
            return
        n = counts[self.columns.requests]
        if not n.any():
            return
        escalated = counts[self.columns.places["f.escalated"]]
        for span, law in self._calls(arm, since):
            own, more = law.each(law.own), law.each(law.escalated)
            for part in in_parts(n, span):
                sizes = drawn(random, int(n[part].sum()))
                nusd = own[sizes]
                # Which of a minute's requests it is makes no difference.
                twice = _first_of_each(n[part], escalated[part])
                nusd[twice] += more[drawn(random, len(twice))]
                yield Spent(minutes=part, nusd=nusd, sizes=sizes, law=law)

    def _take_each(
        self,
        random: np.random.Generator,
        arm: Arm,
        subject: str,
        tables: Table,
        since: Minutes,
    ) -> Sequence[Buckets]:
        requests = tables[:, self.columns.requests]
        if subject not in self.each:
            requests = np.concatenate([requests.sum(axis=0)[None], np.zeros_like(requests[1:])])
        return [
            self._take(random, arm, subject, n, counts, since)
            for n, counts in zip(requests, tables, strict=True)
        ]

    def _take(
        self,
        random: np.random.Generator,
        arm: Arm,
        subject: str,
        n: NDArray[np.int64],
        counts: Table,
        since: Minutes,
    ) -> Buckets:
        place, found = self.columns.places.get(f"s.{subject}_us"), []
        for span, faulty in _spans(self.slow if arm is Arm.CANDIDATE else None, since):
            law = self.times[arm, subject][faulty]
            for part in in_parts(n, span):
                sizes = drawn(random, int(n[part].sum()))
                found.append(Buckets.counted(n[part], law.buckets[sizes], law.first, law.width))
                if place is not None:
                    counts[place, part] = _by_minute(law.us[sizes], n[part])
        return Buckets.joined(found)


def _what(rule: Rule) -> str:
    """What a rule reads: how long something takes, or what it costs."""
    return subject_of(rule) or COST


def _is_of_each(plan: Plan, rule: Rule) -> bool:
    """Whether a rule reads intents by themselves; a ratio's proof bets on each."""
    return rule.metric.kind is Kind.QUANTILE_RATIO or plan.judged_intents(rule) != (None,)


def _sums_of_costs(plan: Plan, rules: Sequence[Rule]) -> list[str]:
    of_tokens = {rule.metric.subject == "tokens_per_hour" for rule in rules}
    usd = [COST, *(capped(cap) for cap in cost_caps(plan))] if False in of_tokens else []
    return [*usd, *([TOKENS] if True in of_tokens else [])]


def _times_of(usual: Usual, arm: Arm, subject: str, scenario: Scenario) -> tuple[TimeLaw, TimeLaw]:
    law = usual.of(arm, subject)
    if law is None:
        raise LookupError(f"nothing is known of the {arm.value}'s {subject}")
    healthy = _time_law(law, None)
    if scenario.slow is None or arm is Arm.BASELINE:
        return healthy, healthy
    return healthy, _time_law(law, scenario.slow.size)


def _calls_of(
    usual: Usual, traffic: Traffic, scenario: Scenario
) -> Mapping[Arm, tuple[CallLaw, CallLaw]]:
    costs = call_costs(usual, traffic) if all(arm in usual.request_usd for arm in Arm) else {}
    times = 1.0 if scenario.cost is None else scenario.cost.size
    found = {}
    for arm in Arm:
        of, tokens = costs.get(arm, CallCosts(own=0.0)), usual.request_tokens.get(arm, 0.0)
        healthy, worse = (
            CallLaw(
                own=each * of.own * NUSD,
                escalated=each * of.escalated * NUSD,
                tokens=each * tokens,
                spread=usual.request_spread.get(arm, SPREAD),
            )
            for each in (1.0, times)
        )
        found[arm] = healthy, worse
    return found


def _summed(name: str, spent: Spent) -> NDArray[np.int64]:
    """What is summed under a statistic, of each request."""
    if name == TOKENS:
        return spent.tokens
    if name == COST:
        return spent.nusd
    return np.minimum(spent.nusd, int(name.rpartition(".")[2]))


def _spans(fault: Fault | None, since: Minutes) -> Iterator[tuple[slice, bool]]:
    """The minutes before a fault begins and those from then on, and whether it is there."""
    begins = len(since) if fault is None else int(since.searchsorted(fault.since // MINUTE))
    if begins:
        yield slice(0, begins), False
    if begins < len(since):
        yield slice(begins, len(since)), True


def in_parts(n: NDArray[np.int64], span: slice) -> Iterator[slice]:
    """The minutes of a span, as many at a time as have `MOST` requests, one at least."""
    before = np.concatenate([[0], n.cumsum()])
    first = span.start
    while first < span.stop:
        end = int(before.searchsorted(before[first] + MOST, side="right")) - 1
        end = min(max(end, first + 1), span.stop)
        yield slice(first, end)
        first = end


def _by_minute(values: NDArray[np.int64], requests: NDArray[np.int64]) -> NDArray[np.int64]:
    before = np.concatenate([[0], values.cumsum()])
    found: NDArray[np.int64] = np.diff(before[requests.cumsum()], prepend=0)
    return found


def _first_of_each(n: NDArray[np.int64], some: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of the first so many requests of each minute."""
    apart = np.cumsum(n) - n - (np.cumsum(some) - some)
    places: NDArray[np.int64] = np.repeat(apart, some) + np.arange(int(some.sum()))
    return places
