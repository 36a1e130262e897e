"""What a rule as written counts on drawn traffic, and what it makes of the sums of a window: one law for each metric.

Units arrive as a Poisson stream. The requests of a unit, a geometric number, have a flag all or none, and each is
picked for itself to be graded, as in `streams`; how long each takes is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

import numpy as np

from controller.rollout.metrics import SERVED, Kind
from controller.rollout.plan import Arm, Rule
from controller.simulate.expected import Expected, counts_both
from controller.simulate.feasibility.cells import Cells, Table
from controller.simulate.usual import SPREAD, Latencies
from controller.stats.histogram import value_of

Told: TypeAlias = tuple[Table, Table]
"""The figures of windows, and their samples, of the arm with fewer."""

SLOWEST: Final = 40
"""Of the requests beyond a percentile, one in so many is not told apart from the next slower ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """How columns are drawn, what a window's figure is by the sums of each, and what it is held against."""

    draw: Callable[[Cells], Sequence[Table]]
    told: Callable[[Sequence[Table]], Told]
    limit: float


def law(expected: Expected, rule: Rule, size: float | None) -> Law | None:
    """Of a candidate whose figure is `size` where it is bad; None: it never is. None where too little is known."""
    match rule.metric.kind:
        case Kind.RATE:
            return _rate(expected, rule, size)
        case Kind.ACCURACY:
            return _accuracy(expected, rule, size)
        case Kind.LOSS:
            return _loss(expected, rule, size)
        case Kind.COVERAGE:
            return _coverage(expected, rule, size)
        case Kind.QUANTILE:
            return _quantile(expected, rule, size)
        case Kind.QUANTILE_RATIO:
            return _quantile_ratio(expected, rule, size)
        case Kind.MEAN:
            return _mean(expected, rule, size)
        case Kind.COST:
            return _cost(expected, rule, size)
        case Kind.SAMPLE_RATIO:
            return _sample_ratio(rule, size)
        case unreachable:
            assert_never(unreachable)


def _arm(rule: Rule) -> Arm:
    return rule.arm or Arm.CANDIDATE


def _divided(over: Table, under: Table) -> Table:
    found: Table = np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0)
    return found


def _part(over: Table, under: Table) -> Told:
    return _divided(over, under), under


def _share(columns: Sequence[Table]) -> Told:
    """Of the first column in both."""
    hit, other = columns
    return _part(hit, hit + other)


# Shares of requests and of grades


def usual_rate(expected: Expected, rule: Rule) -> float | None:
    """How often the answers of an arm on which nothing is wrong have the rule's flag; None: nobody has said."""
    arm, flag = _arm(rule), rule.metric.subject
    if flag == "escalated":
        return expected.traffic.escalation if arm is Arm.CANDIDATE else 0.0
    known = expected.usual.flagged.get((arm, flag))
    return 0.0 if known is None and flag == "error" else known


def _rate(expected: Expected, rule: Rule, size: float | None) -> Law | None:
    usual = usual_rate(expected, rule)
    if usual is None and size is None:
        return None
    arm, known = _arm(rule), expected.picks(expected.measured(rule, _arm(rule)))
    before = usual or 0.0
    bad = before if size is None else min(_times(rule, size, before), 1.0)

    def draw(cells: Cells) -> Sequence[Table]:
        rate = cells.either(before, bad)
        each = cells.units[arm]
        return cells.picked(each * rate, known), cells.picked(each * (1 - rate), known)

    return Law(draw=draw, told=_share, limit=rule.limit)


def _times(rule: Rule, size: float, usual: float) -> float:
    """A spike's size is how many times the usual; where nothing is usual, the share itself."""
    return size * usual if rule.usual is not None and usual else size


def _accuracy(expected: Expected, rule: Rule, size: float | None) -> Law:
    arm, traffic = _arm(rule), expected.traffic
    served = rule.metric.subject == SERVED
    known = expected.picks(expected.graded(arm))

    def right(accuracy: float) -> float:
        """Of what is graded; an escalated answer is one that the client did not get."""
        if arm is Arm.BASELINE:
            return expected.called_right(accuracy)
        lost = traffic.accuracy - accuracy
        if served:
            return expected.called_right(1 - max(expected.wrong(lost) - traffic.escalation, 0.0))
        return 1 - expected.called_wrong(arm, lost)

    usual = right(traffic.accuracy)
    bad = usual if size is None else right(_times(rule, size, traffic.accuracy))

    def draw(cells: Cells) -> Sequence[Table]:
        part, each = cells.either(usual, bad), cells.units[arm]
        if served:
            return cells.picked(each * part, known), cells.picked(each * (1 - part), known)
        graded = each * expected.graded_units(arm)
        return cells.poisson(graded * part), cells.poisson(graded * (1 - part))

    return Law(draw=draw, told=_share, limit=rule.limit)


def _loss(expected: Expected, rule: Rule, size: float | None) -> Law:
    wrong = {
        Arm.BASELINE: (expected.called_wrong(Arm.BASELINE),) * 2,
        Arm.CANDIDATE: tuple(
            expected.called_wrong(Arm.CANDIDATE, lost) for lost in (0.0, size or 0.0)
        ),
    }

    def draw(cells: Cells) -> Sequence[Table]:
        columns = []
        for arm in (Arm.BASELINE, Arm.CANDIDATE):
            each, part = cells.units[arm] * expected.graded_units(arm), cells.either(*wrong[arm])
            columns += [cells.poisson(each * part), cells.poisson(each * (1 - part))]
        return columns

    def told(columns: Sequence[Table]) -> Told:
        (theirs, n), (ours, m) = _share(columns[:2]), _share(columns[2:])
        return ours - theirs, np.minimum(n, m)

    return Law(draw=draw, told=told, limit=rule.limit)


def _coverage(expected: Expected, rule: Rule, size: float | None) -> Law:
    """Of a sample by answers, as if those that count without a grade were picked as often as the others."""
    arm, sampled = _arm(rule), expected.plan.labels.sampled
    usual = expected.covered(arm)
    bad = usual if size is None else min(_times(rule, size, usual), 1 / sampled)
    answers = [expected.picks(part * sampled) for part in (usual, bad)]

    def draw(cells: Cells) -> Sequence[Table]:
        if sampled < 1:
            return cells.split(cells.units[arm], *answers)
        part = cells.either(usual, bad)
        return cells.poisson(cells.units[arm] * part), cells.poisson(cells.units[arm] * (1 - part))

    def told(columns: Sequence[Table]) -> Told:
        share, n = _share(columns)
        return share / sampled, n

    return Law(draw=draw, told=told, limit=rule.limit)


def _sample_ratio(rule: Rule, size: float | None) -> Law:
    def draw(cells: Cells) -> Sequence[Table]:
        both = cells.units[Arm.CANDIDATE] + cells.units[Arm.BASELINE]
        planned = np.divide(
            cells.units[Arm.CANDIDATE], both, out=np.zeros_like(both), where=both > 0
        )
        part = planned
        if size is not None:
            worse = size * planned if rule.usual is not None else np.full_like(planned, size)
            part = np.where(cells.bad, np.minimum(worse, 1.0), planned)
        return cells.poisson(both * part), cells.poisson(both * (1 - part))

    return Law(draw=draw, told=_share, limit=rule.limit)


# How long requests take


def slow(known: Latencies, rule: Rule, size: float | None) -> Latencies:
    """As they are where nothing is wrong, or with the rule's percentile (or mean) at `size`."""
    if size is None:
        return known
    if rule.metric.quantile is None:
        return known.slower(size / known.mean_s)
    return known.with_quantile(rule.metric.quantile, size)


def _quantile(expected: Expected, rule: Rule, size: float | None) -> Law | None:
    """The percentile is past the limit exactly where enough requests lie in buckets that are told as past it."""
    arm, q = _arm(rule), rule.metric.quantile
    known = expected.usual.of(arm, rule.metric.subject)
    if known is None or q is None or rule.usual is not None:
        return None
    parts = [_told_above(one, rule) for one in (known, slow(known, rule, size))]

    def draw(cells: Cells) -> Sequence[Table]:
        n = cells.requests(cells.units[arm])
        hit = cells.random.binomial(n.astype(np.int64), cells.either(*parts))
        return hit.astype(np.float64), n

    def told(columns: Sequence[Table]) -> Told:
        hit, n = columns
        # The value of rank floor(q (n - 1)) is past the limit where no more than so many are not.
        room = q * (n - 1) - (n - hit)
        return np.where(n > 0, room, np.nan), n

    # At 0 the next rank is the first past it: still over, and for `below` the other way round.
    return Law(draw=draw, told=told, limit=0.0 if rule.below else -1e-9)


def _told_above(latencies: Latencies, rule: Rule) -> float:
    """The part in buckets that are told as more than the limit; or, for `below`, as not less."""
    shown = np.array([value_of(bucket) for bucket in latencies.buckets.tolist()])
    past = shown >= rule.limit if rule.below else shown > rule.limit
    return float(latencies.parts[past].sum())


def _quantile_ratio(expected: Expected, rule: Rule, size: float | None) -> Law | None:
    q, subject = rule.metric.quantile, rule.metric.subject
    baseline, usual = (expected.usual.of(arm, subject) for arm in (Arm.BASELINE, Arm.CANDIDATE))
    if baseline is None or usual is None or q is None or rule.usual is not None:
        return None
    bad = usual if size is None else usual.with_quantile(q, size * baseline.quantile(q))
    shown, parts = _tails([baseline, usual, bad], q)

    def draw(cells: Cells) -> Sequence[Table]:
        columns = []
        for arm, (before, after) in (
            (Arm.BASELINE, (parts[0], parts[0])),
            (Arm.CANDIDATE, (parts[1], parts[2])),
        ):
            n = cells.requests(cells.units[arm]).astype(np.int64)
            likely = np.where(cells.bad[:, None], after, before)
            drawn = cells.random.multinomial(n, likely)
            columns += list(np.moveaxis(drawn, -1, 0).astype(np.float64))
        return columns

    def told(columns: Sequence[Table]) -> Told:
        half = len(columns) // 2
        theirs, n = _percentile(columns[:half], shown, q)
        ours, m = _percentile(columns[half:], shown, q)
        return ours / theirs, np.minimum(n, m)

    return Law(draw=draw, told=told, limit=rule.limit)


def _tails(of: Sequence[Latencies], q: float) -> tuple[Table, list[Table]]:
    """The values of buckets about a percentile, what is beyond in the outermost ones, and the part of each in them."""
    first = min(one.quantile_bucket(1 - 3 * (1 - q)) for one in of)
    last = max(one.quantile_bucket(1 - (1 - q) / SLOWEST) for one in of)
    buckets = np.arange(first, last + 1)
    parts = []
    for one in of:
        row = np.zeros(len(buckets))
        places = np.clip(one.buckets - first, 0, len(row) - 1)
        np.add.at(row, places, one.parts)
        parts.append(row / row.sum())
    return np.array([value_of(bucket) for bucket in buckets.tolist()]), parts


def _percentile(columns: Sequence[Table], shown: Table, q: float) -> Told:
    """As rules tell it: the value of rank floor(q (n - 1))."""
    below = np.cumsum(np.stack(columns), axis=0)
    n = below[-1]
    place = (below <= q * (n - 1)).sum(axis=0)
    return np.where(n > 0, shown[np.minimum(place, len(shown) - 1)], np.nan), n


def _mean(expected: Expected, rule: Rule, size: float | None) -> Law | None:
    """The mean time of a request; or tokens a second, of which the mean alone is known."""
    arm = _arm(rule)
    if "/" in rule.metric.subject:
        mean: float | None = expected.usual.tokens_per_second.get(arm)
        deviation = 0.0
    else:
        known = expected.usual.of(arm, "latency")
        mean = known.mean_s if known is not None else None
        deviation = known.deviation_s if known is not None else 0.0
    if mean is None:
        return None
    before = mean
    bad = before if size is None else _times(rule, size, before)

    def draw(cells: Cells) -> Sequence[Table]:
        n, times = cells.requests(cells.units[arm]), cells.either(1.0, bad / before)
        noise = deviation * np.sqrt(n) * cells.random.standard_normal(n.shape)
        return (n * before + noise) * times, n

    def told(columns: Sequence[Table]) -> Told:
        return _part(*columns)

    return Law(draw=draw, told=told, limit=rule.limit)


# What requests cost


def cost_figure(expected: Expected, rule: Rule, intent: str | None, step: int) -> float | None:
    """What a rule on cost shows at a step, as expected, where nothing is wrong; None where a price is not known."""
    each = _each_costs(expected, rule)
    if each is None:
        return None
    arm = _arm(rule)
    match rule.metric.subject:
        case "ratio":
            return each[Arm.CANDIDATE] / each[Arm.BASELINE] if each[Arm.BASELINE] else None
        case "per_1k":
            return 1_000 * each[arm]
        case "per_correct":
            right = 1 - expected.called_wrong(arm)
            return each[arm] / right if right else None
        case _:
            a_minute = {one: expected.requests(one, intent, step) for one in Arm}
            if counts_both(rule):
                a_minute[Arm.BASELINE] += expected.outside(intent)
                return 60 * sum(a_minute[one] * each[one] for one in Arm)
            return 60 * a_minute[arm] * each[arm]


def cost_part(expected: Expected, rule: Rule, intent: str | None, step: int) -> float:
    """Which part of what a rule on cost shows is what the candidate's requests cost; tokens are none of it."""
    each = _each_costs(expected, rule)
    if each is None or rule.metric.subject == "tokens_per_hour" or rule.arm is Arm.BASELINE:
        return 0.0
    if not counts_both(rule):
        return 1.0
    ours = expected.requests(Arm.CANDIDATE, intent, step) * each[Arm.CANDIDATE]
    theirs = expected.requests(Arm.BASELINE, intent, step) + expected.outside(intent)
    whole = ours + theirs * each[Arm.BASELINE]
    return ours / whole if whole else 0.0


def _each_costs(expected: Expected, rule: Rule) -> dict[Arm, float] | None:
    """Of a request of each arm: US dollars, or tokens."""
    of_tokens = rule.metric.subject == "tokens_per_hour"
    known = expected.usual.request_tokens if of_tokens else expected.usual.request_usd
    return dict(known) if all(arm in known for arm in Arm) else None


def _cost(expected: Expected, rule: Rule, size: float | None) -> Law | None:
    each = _each_costs(expected, rule)
    if each is None or (rule.metric.subject == "ratio" and not each[Arm.BASELINE]):
        return None
    match rule.metric.subject:
        case "per_hour" | "tokens_per_hour":
            return _bill(expected, rule, each, size)
        case "per_correct":
            return _per_correct(expected, rule, each, size)
        case _:
            figure = cost_figure(expected, rule, None, 0)
            return None if figure is None else _each(expected, rule, figure, size)


def _bill(expected: Expected, rule: Rule, each: dict[Arm, float], size: float | None) -> Law:
    """A bad candidate costs so much more that the whole is `size`, whatever it would be."""
    arms = tuple(Arm) if counts_both(rule) else (_arm(rule),)

    def draw(cells: Cells) -> Sequence[Table]:
        spent, requests = np.zeros((2, cells.runs, len(cells.bad)))
        usual = np.zeros(len(cells.bad))
        for arm in arms:
            units = cells.units[arm]
            if arm is Arm.BASELINE and counts_both(rule):
                units = units + cells.outside
            n = cells.requests(units)
            cost = cells.scattered(n, spread_of(expected, arm) ** 2) * each[arm]
            spent, requests = spent + cost, requests + n
            usual = usual + units * cells.requests_per_unit * each[arm]
        hours = np.full((cells.runs, len(cells.bad)), cells.length_min / 60)
        if size is not None:
            of = usual if rule.usual is not None else cells.length_min / 60
            wanted = np.divide(size * of, usual, out=np.ones_like(usual), where=usual > 0)
            spent = spent * np.where(cells.bad, wanted, 1.0)
        return spent, hours, requests

    def told(columns: Sequence[Table]) -> Told:
        spent, hours, requests = columns
        return _divided(spent, hours), requests

    return Law(draw=draw, told=told, limit=rule.limit)


def _per_correct(expected: Expected, rule: Rule, each: dict[Arm, float], size: float | None) -> Law:
    arm, traffic = _arm(rule), expected.traffic
    right, known = 1 - expected.called_wrong(arm), expected.graded_units(arm)
    usual = each[arm]
    # Of the mean of all requests, which stands for each graded unit.
    variance = spread_of(expected, arm) ** 2 * known / traffic.requests_per_unit
    true = 1 - expected.wrong_if_graded(arm)
    bad = usual if size is None else size * (usual if rule.usual is not None else true)

    def draw(cells: Cells) -> Sequence[Table]:
        graded = cells.units[arm] * known
        good, wrong = cells.poisson(graded * right), cells.poisson(graded * (1 - right))
        n = good + wrong
        return cells.scattered(n, variance) * cells.either(usual, bad), good, n

    def told(columns: Sequence[Table]) -> Told:
        spent, good, n = columns
        return _divided(spent, good), n

    return Law(draw=draw, told=told, limit=rule.limit)


def _each(expected: Expected, rule: Rule, figure: float, size: float | None) -> Law:
    """The mean cost of requests, over that of the baseline's where it compares, in units of the figure."""
    arms = tuple(Arm) if rule.metric.comparing else (_arm(rule),)
    bad = figure if size is None else _times(rule, size, figure)

    def draw(cells: Cells) -> Sequence[Table]:
        columns: list[Table] = []
        for arm in sorted(arms, key=lambda one: one is Arm.BASELINE):
            n = cells.requests(cells.units[arm])
            is_worse = arm is Arm.CANDIDATE or not rule.metric.comparing
            times = cells.either(figure, bad) if is_worse else 1.0
            columns += [cells.scattered(n, spread_of(expected, arm) ** 2) * times, n]
        return columns

    def told(columns: Sequence[Table]) -> Told:
        ours, n = _part(*columns[:2])
        if len(arms) == 1:
            return ours, n
        theirs, m = _part(*columns[2:])
        return _divided(ours, theirs), np.minimum(n, m)

    return Law(draw=draw, told=told, limit=rule.limit)


def spread_of(expected: Expected, arm: Arm) -> float:
    """How much what an arm's requests cost scatters, as so many times its mean."""
    return expected.usual.request_spread.get(arm, SPREAD)
