"""The metrics catalogue: what a rule can be about, and which sufficient statistics it needs.

Statistics are kept per rollout, split version, arm, intent, endpoint and minute, as integers under these keys:

    n, e                  requests, episodes
    units                 units newly assigned by the hash (for the sample-ratio check)
    f.X, d.X              requests whose flag X is true; requests whose flag X is known
    ef.X, ed.X            the same of episodes: any of its requests
    graded, correct_u     requests with a grade, and the sum of their grades in millionths
    e.graded, e.correct_u the same by episode, an episode's grade being the mean of its requests'
    served, served_u      requests whose served answer has a grade, and the sum of those grades in millionths
    c.X, s.X              how often the quantity X is known, and its sum: input_tokens, cached_tokens, output_tokens,
                          cost_nusd (nano-USD), latency_us and ttft_us (microseconds)
    h.X.B                 log-bucket histogram of X (latency, ttft; seconds): count in bucket B
    x.X.B                 how many of it lie in buckets above B: not stored, but summed where it is read, for those B
                          that a rule's limit asks for
    k.cost.K              where a rule on cost_per_correct asks for it: the sum of what each request cost, up to K
                          nano-USD
    b.V                   under the arm `both`: closed accuracy blocks of value V (baseline mean − candidate mean)
    p.XY                  under the arm `both`: pairs; X and Y are 1 or 0, baseline then candidate right
    pv.V                  the same of pairs with a grade between 0 and 1 (prompts run several times): V as of blocks
    drawn, drawn.judge_u  where people grade a share of the units beside a judge: graded episodes of those units, and
                          the sum of the judge's grades in millionths
    both, both.judge_u, both.person_u, both.product_u
                          those of them that people have graded too, the sums of both grades and of their products

Flags: error, escalated, retry, schema_failure, wrong_tool, wrong_arguments, refusal,
grounding_failure, safety_failure, human_reject, complaint, cache_hit; and `custom.NAME`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MICRO = 1_000_000
PER_HOUR = ("per_hour", "tokens_per_hour")  # subjects of what is spent in a time
SERVED = "served"  # subject of the accuracy that grades what the client got
PER_CORRECT = "per_correct"  # subject of the one cost that can be proven
DERIVED = "x."  # statistics that are made of stored ones
FLAGS = (
    "error",
    "escalated",
    "retry",
    "schema_failure",
    "wrong_tool",
    "wrong_arguments",
    "refusal",
    "grounding_failure",
    "safety_failure",
    "human_reject",
    "complaint",
    "cache_hit",
)


class Kind(StrEnum):
    """How a metric is computed and which evidence forms it has."""

    RATE = (
        "rate"  # share of the candidate's (or `arm`'s) requests with a flag: observed and confident
    )
    LOSS = "loss"  # accuracy(baseline) − accuracy(candidate), stratified: observed and confident
    ACCURACY = "accuracy"  # mean grade of one arm: observed and confident; of served answers, a plain threshold
    # a quantile of one arm's histogram, seconds: observed, and confident as the share of requests beyond the limit
    QUANTILE = "quantile"
    # candidate's quantile / baseline's: observed, and confident as how often each arm is above a frozen one
    QUANTILE_RATIO = "quantile_ratio"
    MEAN = "mean"  # sum / count of one arm
    COST = "cost"  # cost accounting: plain threshold; per correct answer, confident too
    SAMPLE_RATIO = "sample_ratio"  # candidate's share of newly assigned units
    COVERAGE = "coverage"  # share of one arm's episodes that have a grade; of a sample, of answers within it


class MeasureUnit(StrEnum):
    """The unit a limit is written in."""

    FRACTION = "fraction"  # shown as %
    POINTS = "points"  # a difference of fractions, shown as pp
    SECONDS = "seconds"
    USD = "usd"
    RATIO = "ratio"
    PER_SECOND = "per_second"
    PER_HOUR = "per_hour"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One entry of the catalogue. `subject` is the flag, quantity or histogram it reads."""

    name: str
    kind: Kind
    unit: MeasureUnit
    subject: str = ""
    quantile: float | None = None
    labelled: bool = False  # needs outcomes: its windows end at now − labels.delay
    comparing: bool = False  # needs a concurrent baseline
    of_requests: bool = False  # a rate of all requests: who has nothing to say of one says nothing, like a complaint

    @property
    def known(self) -> tuple[str, str]:
        """Of a rate: the statistics that count the requests and the episodes it is a rate of."""
        return ("n", "e") if self.of_requests else (f"d.{self.subject}", f"ed.{self.subject}")


def above(histogram: str, bucket: int) -> str:
    """The statistic that counts what lies in buckets above one."""
    return f"{DERIVED}{histogram}.{bucket}"


def capped(cap_nusd: int) -> str:
    """The statistic that sums what requests cost, each up to a cap."""
    return f"k.cost.{cap_nusd}"


def _rate(name: str, flag: str, *, labelled: bool = False) -> Metric:
    return Metric(
        name=name, kind=Kind.RATE, unit=MeasureUnit.FRACTION, subject=flag, labelled=labelled
    )


def _quantile(name: str, histogram: str, q: float) -> Metric:
    return Metric(
        name=name, kind=Kind.QUANTILE, unit=MeasureUnit.SECONDS, subject=histogram, quantile=q
    )


CATALOGUE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="accuracy_delta",
            kind=Kind.LOSS,
            unit=MeasureUnit.POINTS,
            labelled=True,
            comparing=True,
        ),
        Metric(name="accuracy", kind=Kind.ACCURACY, unit=MeasureUnit.FRACTION, labelled=True),
        Metric(
            name="served_accuracy",
            kind=Kind.ACCURACY,
            unit=MeasureUnit.FRACTION,
            subject=SERVED,
            labelled=True,
        ),
        _rate("escalation_rate", "escalated"),
        _rate("error_rate", "error"),
        _rate("retry_rate", "retry"),
        _rate("schema_failure_rate", "schema_failure"),
        _rate("function_selection_error_rate", "wrong_tool"),
        _rate("function_argument_error_rate", "wrong_arguments"),
        _rate("refusal_rate", "refusal"),
        _rate("hallucination_rate", "grounding_failure", labelled=True),
        _rate("safety_failure_rate", "safety_failure"),
        _rate("human_reject_rate", "human_reject", labelled=True),
        Metric(
            name="complaint_rate",
            kind=Kind.RATE,
            unit=MeasureUnit.FRACTION,
            subject="complaint",
            labelled=True,
            of_requests=True,
        ),
        _rate("cache_hit_rate", "cache_hit"),
        Metric(name="latency_mean", kind=Kind.MEAN, unit=MeasureUnit.SECONDS, subject="latency_us"),
        _quantile("latency_p50", "latency", 0.50),
        _quantile("latency_p95", "latency", 0.95),
        _quantile("latency_p99", "latency", 0.99),
        _quantile("ttft_p95", "ttft", 0.95),
        Metric(
            name="latency_p95_ratio",
            kind=Kind.QUANTILE_RATIO,
            unit=MeasureUnit.RATIO,
            subject="latency",
            quantile=0.95,
            comparing=True,
        ),
        Metric(
            name="tokens_per_second",
            kind=Kind.MEAN,
            unit=MeasureUnit.PER_SECOND,
            subject="output_tokens/latency_us",
        ),
        Metric(name="cost_per_hour", kind=Kind.COST, unit=MeasureUnit.USD, subject="per_hour"),
        Metric(name="cost_per_1k", kind=Kind.COST, unit=MeasureUnit.USD, subject="per_1k"),
        Metric(
            name="cost_per_correct",
            kind=Kind.COST,
            unit=MeasureUnit.USD,
            subject=PER_CORRECT,
            labelled=True,
        ),
        Metric(
            name="cost_ratio",
            kind=Kind.COST,
            unit=MeasureUnit.RATIO,
            subject="ratio",
            comparing=True,
        ),
        Metric(
            name="token_burn_rate",
            kind=Kind.COST,
            unit=MeasureUnit.PER_HOUR,
            subject="tokens_per_hour",
        ),
        Metric(name="coverage", kind=Kind.COVERAGE, unit=MeasureUnit.FRACTION, labelled=True),
        Metric(
            name="sample_ratio",
            kind=Kind.SAMPLE_RATIO,
            unit=MeasureUnit.FRACTION,
            subject="units",
            comparing=True,
        ),
    )
}


def custom_rate(name: str) -> Metric:
    """The rate of a custom flag that outcomes or observations carry as `custom.NAME`."""
    return _rate(f"custom.{name}", f"custom.{name}", labelled=True)
