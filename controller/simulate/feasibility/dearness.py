"""When what a right answer costs is proven to be over its limit, or within it: the growth of the proof's wealth.

The proof bets on each minute by its own counts and sums (`stats.balanced`), so what a minute adds has no closed form.
Given how many requests and grades a minute has it is linear in what they cost and in how many are right: its mean is
that of minutes whose counts alone are drawn, its variance that of minutes drawn whole, with their own seed.

Of a minute: units arrive as a Poisson stream, the requests of one (a geometric number) are right and escalated all or
none, and each is picked for itself to be graded. What a request costs is log-normal, an escalated one as much more as
the baseline's call costs. Of how much requests scatter about that the store's history tells; without it as much as
their mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.rollout.evidence.prospects import FIRST
from controller.rollout.evidence.rules import alpha_of
from controller.rollout.evidence.spending import policy_of
from controller.rollout.evidence.starts import start_threshold
from controller.rollout.plan import Arm, Rule
from controller.rollout.timeline import minutes
from controller.simulate.expected import Expected
from controller.simulate.picks import Picks
from controller.simulate.usual import SPREAD
from controller.stats.balanced import Balance, log_wealth_nano
from controller.stats.betting import Floats
from controller.stats.matched import NANO
from controller.stats.passage import Growth, Passage, Three, growth_of

MINUTES: Final = 20_000
SEED: Final = 7
_POINTS: Final = 4_000
_NORMAL: Final = NormalDist()


def in_proof(expected: Expected, rule: Rule, intent: str | None, step: int) -> float:
    """The arm's graded requests, a minute."""
    arm = rule.arm or Arm.CANDIDATE
    return expected.requests(arm, intent, step) * expected.graded(arm)


def against(
    expected: Expected, rule: Rule, intent: str | None, step: int, size: float
) -> Passage | None:
    """To the proof that a right answer costs more than the limit, in graded requests of the arm from a fresh start on,
    where it costs `size` US dollars. None where no cost is known.
    """
    needed = start_threshold(
        rule,
        alpha=alpha_of(expected.plan, rule, FIRST),
        horizon_min=minutes(expected.plan.horizon),
    )
    gained = growth(expected, rule, intent, step, size=size, failing=True)
    return None if gained is None else Passage(growth=gained, log_threshold=needed)


def growth(
    expected: Expected,
    rule: Rule,
    intent: str | None,
    step: int,
    *,
    size: float | None,
    failing: bool,
) -> Growth | None:
    """What one graded request adds to the proof against the limit, or for it; of a right answer that costs `size`, or
    what is usual. None where no cost is known, where nothing is graded, or where there is no such proof.
    """
    arm, policy = rule.arm or Arm.CANDIDATE, policy_of(expected.plan, rule)
    balance = policy.failing if failing else policy.passing
    costs = _costs(expected, arm, size)
    a_minute = in_proof(expected, rule, intent, step)
    if balance is None or costs is None or not a_minute:
        return None
    answers = _answers(expected, arm, expected.units(arm, intent, step))
    of_minute = _growth(
        answers,
        costs.times(1 / rule.limit),
        balance,
        1 if failing else -1,
    )
    return replace(
        of_minute,
        mean=_three(gained / a_minute for gained in of_minute.mean),
        variance=_three(gained / a_minute for gained in of_minute.variance),
    )


def _three(numbers: Iterable[float]) -> Three:
    one, two, three = numbers
    return one, two, three


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Of a request that is not escalated and of one that is, in the mean, and how much they scatter about that."""

    plain: float
    escalated: float
    spread: float

    def times(self, factor: float) -> Costs:
        return Costs(
            plain=self.plain * factor, escalated=self.escalated * factor, spread=self.spread
        )


def _costs(expected: Expected, arm: Arm, size: float | None) -> Costs | None:
    """Of an arm, in US dollars, where a right answer costs `size` or as usual; None where they are not known, or
    nothing is spent. A candidate is dear by its own calls; what it escalates costs the baseline's beside them.
    """
    usual = expected.usual.request_usd.get(arm)
    if not usual:
        return None
    part = expected.traffic.escalation if arm is Arm.CANDIDATE else 0.0
    call = expected.usual.request_usd.get(Arm.BASELINE, 0.0) if part else 0.0
    mean = usual if size is None else size * (1 - expected.wrong_if_graded(arm))
    plain, more = _split(mean, part, call)
    return Costs(plain=plain, escalated=plain + more, spread=_spread(expected, arm, part, call))


def _split(mean: float, part: float, call: float) -> tuple[float, float]:
    """The mean of requests without that part that costs another call, and what that is; as if all cost the same where
    such calls are more than all of them cost.
    """
    more = call if mean > part * call else 0.0
    return mean - part * more, more


def _spread(expected: Expected, arm: Arm, part: float, call: float) -> float:
    """About the mean of their kind, over that: without what both kinds differ by, which was counted with it."""
    counted, mean = expected.usual.request_spread.get(arm), expected.usual.request_usd[arm]
    if counted is None:
        return SPREAD
    _, more = _split(mean, part, call)
    between = part * (1 - part) * more**2
    return math.sqrt(max((counted * mean) ** 2 - between, 0.0) / (mean**2 + between))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Units of an arm, a minute, by what is known of their answers, and which of these are picked: of ordinary units,
    and of escalated ones.
    """

    right: float
    wrong: float
    escalated: float  # graded, and so wrong
    unknown: float
    unknown_escalated: float
    of_ordinary: Picks
    of_escalated: Picks

    @property
    def graded(self) -> float:
        return self.right + self.wrong + self.escalated

    @property
    def right_requests(self) -> float:
        """Graded."""
        return self.right * (1 + self.of_ordinary.more)

    @property
    def graded_requests(self) -> tuple[float, float]:
        """Ordinary and escalated ones."""
        return (
            (self.right + self.wrong) * (1 + self.of_ordinary.more),
            self.escalated * (1 + self.of_escalated.more),
        )

    @property
    def other_requests(self) -> tuple[float, float]:
        """Ordinary and escalated ones."""
        (ordinary, escalated) = self.graded_requests
        return (
            self.unknown
            + self.of_ordinary.left * (self.unknown + self.right + self.wrong + ordinary),
            self.unknown_escalated
            + self.of_escalated.left * (self.unknown_escalated + self.escalated + escalated),
        )


def _answers(expected: Expected, arm: Arm, units: float) -> Answers:
    escalated, known = expected.escalated(arm), expected.escalated_graded(arm)
    graded = expected.graded_units(arm)
    right = graded * (1 - expected.called_wrong(arm))
    return Answers(
        right=units * right,
        wrong=units * max(graded - right - known, 0.0),
        escalated=units * known,
        unknown=units * max(1 - graded - (escalated - known), 0.0),
        unknown_escalated=units * (escalated - known),
        of_ordinary=expected.picks(expected.traffic.label_rate),
        of_escalated=expected.picks(expected.plan.labels.sampled),
    )


@lru_cache(maxsize=4096)
def _growth(answers: Answers, costs: Costs, balance: Balance, sign: int) -> Growth:
    """Of a minute. Minutes without a grade add nothing, so only others are drawn."""
    random = np.random.default_rng(SEED)
    some = -math.expm1(-answers.graded)
    units = dict(zip(("right", "wrong", "escalated"), _graded(answers, random), strict=True))
    for name in ("unknown", "unknown_escalated"):
        units[name] = random.poisson(getattr(answers, name), MINUTES)
    n = _requests(units, answers, random)
    graded = n["right"] + n["wrong"] + n["escalated"]
    every = graded + n["unknown"] + n["unknown_escalated"]

    plain, dear = (
        _up_to(one, costs.spread, balance.most) for one in (costs.plain, costs.escalated)
    )
    requests = (
        (n["right"] + n["wrong"] + n["unknown"], plain),
        (n["escalated"] + n["unknown_escalated"], dear),
    )
    drawn: Floats = np.sum([_spent(count, of, random) for count, of in requests], axis=0)
    of_graded = _mixed(*answers.graded_requests, plain.mean, dear.mean)
    of_others = _mixed(*answers.other_requests, plain.mean, dear.mean)
    expected: Floats = graded * of_graded + (every - graded) * of_others

    def gained(spent: Floats, right: Floats) -> Floats:
        parts = np.minimum(spent / balance.most, every)
        wealth = log_wealth_nano(every, parts, graded, right, balance=balance, sign=sign)
        return NANO * wealth.astype(np.float64)

    likely = answers.right_requests / math.fsum(answers.graded_requests)
    right = graded.astype(np.float64) * likely
    mean = (some * gained(expected, right).mean(axis=0)).tolist()
    whole = gained(drawn, n["right"].astype(np.float64))
    found = growth_of(whole.T, np.full(MINUTES, 1 / MINUTES))
    # Of all minutes, with those that add nothing.
    squares = zip(found.variance, found.mean, mean, strict=True)
    variance = [max(some * (var + each**2) - true**2, 0.0) for var, each, true in squares]
    return replace(found, mean=_three(mean), variance=_three(variance))


def _graded(answers: Answers, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Right, wrong and escalated units of minutes that have one at least."""
    # When the first one comes, if one does; after it they come as before.
    first = -np.log1p(random.random(MINUTES) * math.expm1(-answers.graded))
    left = 1 + random.poisson(np.maximum(answers.graded - first, 0.0))
    rest = answers.graded
    for part in (answers.right, answers.wrong):
        likely = min(part / rest, 1.0) if rest > 0 else 0.0
        found = random.binomial(left, likely)
        yield found
        left, rest = left - found, rest - part
    yield left


def _requests(
    units: Mapping[str, NDArray[np.int64]], answers: Answers, random: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Of so many units: those with a grade, by what it says, and the others, which graded units have too."""
    ordinary, escalated = answers.of_ordinary, answers.of_escalated
    of_each = {"right": ordinary, "wrong": ordinary, "escalated": escalated}
    n = {name: units[name] + _more(units[name], of.more, random) for name, of in of_each.items()}
    for name, of, graded in (
        ("unknown", ordinary, ("right", "wrong")),
        ("unknown_escalated", escalated, ("escalated",)),
    ):
        order = units[name] + sum(units[one] + n[one] for one in graded)
        n[name] = units[name] + _more(order, of.left, random)
    return n


def _more(order: NDArray[np.int64], mean: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Sums of so many geometric numbers from 0 on, each `mean` on average."""
    if not mean:
        return np.zeros_like(order)
    found: NDArray[np.int64] = random.poisson(mean * random.standard_gamma(order))
    return found


@dataclass(frozen=True, slots=True)
class _Moments:
    mean: float
    variance: float


@lru_cache(maxsize=4096)
def _up_to(mean: float, spread: float, most: float) -> _Moments:
    """Of a log-normal cost that counts up to `most`."""
    if not spread:
        return _Moments(min(mean, most), 0.0)
    sigma = math.sqrt(math.log1p(spread**2))
    at = ((i + 0.5) / _POINTS for i in range(_POINTS))
    costs = np.array([math.exp(sigma * _NORMAL.inv_cdf(p)) for p in at])
    capped = np.minimum(mean * costs / costs.mean(), most)
    return _Moments(float(capped.mean()), float(capped.var()))


def _spent(n: NDArray[np.int64], of: _Moments, random: np.random.Generator) -> Floats:
    """The sum of so many costs, taken for a gamma variable of their mean and variance."""
    if not of.variance:
        return of.mean * n.astype(np.float64)
    scale = of.variance / of.mean
    found: Floats = scale * random.standard_gamma(n * of.mean / scale)
    return found


def _mixed(plain: float, escalated: float, of_plain: float, of_escalated: float) -> float:
    both = plain + escalated
    return (plain * of_plain + escalated * of_escalated) / both if both else 0.0
