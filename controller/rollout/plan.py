"""The plan as values: what was asked, parsed and checked, with no string left to interpret.

A `Plan` is immutable and identified by its `digest`, the SHA-256 of its canonical JSON. Bets, alpha, horizon,
priors and limits are part of it, so the statistics of a rollout are frozen before its first step starts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from math import lcm

from controller.rollout.codec import digest
from controller.rollout.metrics import MICRO, Metric
from controller.rollout.timeline import MINUTE

FULL_BP = 10_000


class Arm(StrEnum):
    BASELINE = "baseline"
    CANDIDATE = "candidate"


class Unit(StrEnum):
    """What is assigned to an arm and stays there."""

    CONVERSATION = "conversation"
    USER = "user"
    REQUEST = "request"


class Evidence(StrEnum):
    """How a rule is judged; see `controller.rollout.evidence.rules`."""

    OBSERVED = "observed"
    CONFIDENT = "confident"


class Then(StrEnum):
    """What a failed rule does."""

    NOTIFY = "notify"
    PIN = "pin"
    PAUSE = "pause"
    ROLLBACK = "rollback"


class Advance(StrEnum):
    """What must be true to leave a step."""

    CLEAR = "clear"
    PROVEN = "proven"


class PauseShare(StrEnum):
    """The candidate's share while paused."""

    HOLD = "hold"
    PREVIOUS = "previous"
    ZERO = "0%"


class OnLoss(StrEnum):
    """What a gateway does when its split expires without a word from the controller."""

    BASELINE = "baseline"
    HOLD = "hold"


class Severity(StrEnum):
    """How loudly something is told."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    def reaches(self, least: Severity) -> bool:
        """Whether it is told to somebody who asks for this severity and above."""
        order = tuple(Severity)
        return order.index(self) >= order.index(least)


class Scope(StrEnum):
    """Which intents a rule covers: all of the traffic as one, or some intents each on its own."""

    ALL = "all"
    CRITICAL = "critical"
    EACH = "each"
    NAMED = "named"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """List price in nano-US-dollars per token (USD per million tokens × 1,000), as exact fractions."""

    input: Fraction
    cached_input: Fraction
    output: Fraction

    def cost_nusd(self, *, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
        """Cost of one call in nano-USD, rounded half to even. Cached tokens are a part of input tokens."""
        if not 0 <= cached_tokens <= input_tokens or output_tokens < 0:
            raise ValueError(
                f"tokens must satisfy 0 <= cached ({cached_tokens}) <= input ({input_tokens}) "
                f"and output ({output_tokens}) >= 0"
            )
        parts = (
            (self.input, input_tokens - cached_tokens),
            (self.cached_input, cached_tokens),
            (self.output, output_tokens),
        )
        # In whole numbers over one denominator: for every request, and a sum of fractions takes four times as long.
        scale = lcm(*(price.denominator for price, _ in parts))
        total = sum(price.numerator * (scale // price.denominator) * n for price, n in parts)
        whole, rest = divmod(total, scale)
        return whole + (2 * rest > scale or (2 * rest == scale and whole % 2 == 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model as the plan uses it: its name and the facts that were known when the plan was parsed."""

    model: str
    price: Price | None = None
    context_window: int | None = None
    output_limit: int | None = None
    shutdown: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A stratum of traffic. A pinned intent never leaves the baseline."""

    name: str
    critical: bool = False
    pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A share to hold, for how long, and what must be true to leave it."""

    share_bp: int
    hold: timedelta = timedelta(0)
    min_samples: int = 0
    approval: bool = False
    advance: Advance | None = None  # None: proven where the next share is above 50%, else clear
    deadline: timedelta | None = (
        None  # from its begin: what still holds then is told once; nothing moves
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Metric, limit, window, intents, evidence, what to do.

    `limit` is in the metric's own unit: a fraction for rates and deltas (1.5pp is 0.015), seconds, US dollars, or
    a plain ratio. The rule fails above it (`below` rules fail below it).
    """

    name: str
    metric: Metric
    limit: float
    below: bool = False
    window: timedelta
    then: Then
    evidence: Evidence = Evidence.OBSERVED
    scope: Scope = Scope.ALL
    intents: tuple[str, ...] = ()  # only with Scope.NAMED
    arm: Arm | None = None
    sustained: timedelta = timedelta(0)  # `for:` how long the limit must stay passed
    min_samples: int = 500  # per arm, for the observed form
    min_window: timedelta = MINUTE  # the shortest window that a proof may blame
    # What is worth catching, as what is bet on: a rate, the share of requests above a percentile's limit, or a loss.
    # None: the limit of a loss, 1.5 × that of the others; with `below`, as `proofs.worth_catching` has it.
    alternative: float | None = None
    alpha: float | None = (
        None  # its part of the plan's, over all its intents; None: as those without share the rest
    )
    severity: Severity | None = None  # of the notices that it causes; None: by what it does
    auto_resume: bool = False  # a pause that it causes ends by itself once it passes again
    # `spike:` the limit is how many times the metric may be what it was over so long before the window; None: a figure.
    usual: timedelta | None = None

    @property
    def least_window(self) -> timedelta:
        """The shortest window that a proof may blame: none for which the limit need not have stayed passed yet."""
        return min(max(self.min_window, self.sustained), self.window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """What the bets assume; a wrong guess costs time, never validity."""

    accuracy: float = 0.95
    discordance: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What grades answers in place of people, and how often it is right: of a right answer with probability
    `sensitivity`, of a wrong one with `specificity`. Invariant: together they are more than 1.
    """

    sensitivity: float
    specificity: float
    model: str | None = None  # None: no model, or not told

    @property
    def discrimination(self) -> float:
        """What it shows of a true difference between the arms, above 0 and at most 1."""
        return self.sensitivity + self.specificity - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels are complete after `delay` and refused after `horizon`. `judge` None: they are taken for true.

    Each answer is graded at random with probability `sampled_u` millionths, whatever it is like: above 0, at most 1.
    People grade the answers of `people_u` millionths of the units too, drawn by a hash; 0: nobody does. Invariant:
    beside a judge only.
    """

    delay: timedelta = timedelta(0)
    horizon: timedelta = timedelta(days=7)
    judge: Judge | None = None
    sampled_u: int = MICRO
    people_u: int = 0

    @property
    def people(self) -> float:
        """The part of units that people grade."""
        return self.people_u / MICRO

    @property
    def sampled(self) -> float:
        """The part of all answers that is graded."""
        return self.sampled_u / MICRO


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A stretch in which nothing advances: dates [start, end), or a cron schedule with a duration and a zone."""

    reason: str = ""
    start: datetime | None = None
    end: datetime | None = None
    cron: str | None = None
    duration: timedelta | None = None
    zone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slack:
    """Slack channels: one for everything, or others for some severities. Less than `least` is not told."""

    channel: str
    info: str | None = None
    warning: str | None = None
    critical: str | None = None
    least: Severity = Severity.INFO

    def channel_for(self, severity: Severity) -> str:
        own = {
            Severity.INFO: self.info,
            Severity.WARNING: self.warning,
            Severity.CRITICAL: self.critical,
        }
        return own[severity] or self.channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An address that gets notices as signed JSON. `name` is its host: the address itself may hold a secret."""

    name: str
    url: str
    least: Severity = Severity.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole rollout plan. Steps rise; `holdback_bp` stays on the baseline at "100%"."""

    name: str
    baseline: ModelRef
    candidate: ModelRef
    match_model: str
    unit: Unit
    intents: tuple[Intent, ...]
    steps: tuple[Step, ...]
    rules: tuple[Rule, ...]
    labels: Labels = field(default_factory=Labels)
    target: str = "gateway"
    holdback_bp: int = 0
    bake: timedelta = timedelta(0)
    alpha: float = 0.05
    priors: Priors = field(default_factory=Priors)
    freezes: tuple[Freeze, ...] = ()
    max_blind: timedelta = timedelta(minutes=30)
    pause_share: PauseShare = PauseShare.HOLD
    pause_deadline: timedelta = timedelta(hours=24)
    on_controller_loss: OnLoss = OnLoss.BASELINE
    accept_cost_increase: bool = False
    slack: Slack | None = None
    webhook: Webhook | None = None

    @property
    def digest(self) -> str:
        """The revision's identity: hex SHA-256 of the canonical JSON."""
        return digest(self)

    @property
    def horizon(self) -> timedelta:
        """How long the migration takes if nothing holds it: every hold and the bake. At least one hour."""
        return max(sum((step.hold for step in self.steps), self.bake), timedelta(hours=1))

    def share_at(self, step: int) -> int:
        """The candidate's share in force at a step, in basis points: the holdback stays with the baseline."""
        return 0 if step < 0 else min(self.steps[step].share_bp, FULL_BP - self.holdback_bp)

    def intent(self, name: str) -> Intent | None:
        return next((intent for intent in self.intents if intent.name == name), None)

    def rule(self, name: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.name == name), None)

    def judged_intents(self, rule: Rule) -> tuple[str | None, ...]:
        """The intents that a rule is judged on, each on its own; (None,) for all of the traffic as one.

        A pinned intent has no candidate traffic, so no rule is judged on it.
        """
        if rule.scope is Scope.ALL:
            return (None,)
        free = [intent for intent in self.intents if not intent.pinned]
        match rule.scope:
            case Scope.CRITICAL:
                return tuple(intent.name for intent in free if intent.critical)
            case Scope.EACH:
                return tuple(intent.name for intent in free)
            case Scope.NAMED:
                return tuple(intent.name for intent in free if intent.name in rule.intents)
