"""Plans as documents and natures of traffic in which rules of every kind fail, pass and wait."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.oracle.traffic import Nature

Document = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """`shows` is what must have been compared, or the scenario says nothing."""

    plan: Document
    nature: Nature
    hours: float
    shows: tuple[str, ...]


def plan(*rules: Document, **spec: Any) -> Document:
    usual = {
        "baseline": {"model": "gpt-4.1"},
        "candidate": {"model": "gpt-4.1-mini"},
        "assignment": {"unit": "conversation"},
        "intents": [
            {"name": "refund", "critical": True},
            {"name": "order"},
            {"name": "legal", "pin": "baseline"},
        ],
        "labels": {"delay": "45m", "horizon": "10h"},
        "traffic": {"gateway": {}},
        "steps": [
            {"share": "30%", "hold": "6h", "advance": "clear"},
            {"share": "50%", "hold": "3h", "advance": "clear"},
            {"share": "75%", "hold": "3h", "advance": "clear"},
            {"share": "100%"},
        ],
        "holdback": "5%",
        "bake": "4h",
        "maxBlind": "20d",
        "pauseDeadline": "10d",
        "priors": {"accuracy": "90%"},
    }
    return {
        "apiVersion": "canaryctl.dev/v1alpha1",
        "kind": "RolloutPlan",
        "metadata": {"name": "bot"},
        "spec": {**usual, "rules": list(rules), **spec},
    }


def rule(
    metric: str, window: str, *, name: str = "", then: str = "notify", **fields: Any
) -> Document:
    told = {"name": name or metric.replace("_", "-"), "metric": metric, "window": window}
    return {**told, "then": then, **fields}


SOON: Document = {"minSamples": 30}
CONFIDENT: Document = {"evidence": "confident"}

RATES = plan(
    rule("escalation_rate", "5h", above="6%", **CONFIDENT),
    rule(
        "escalation_rate", "3h", name="whole", above="6%", minWindow="3h", alpha="1%", **CONFIDENT
    ),
    rule("escalation_rate", "2h", name="each", above="12%", intents="each", **SOON),
    rule("error_rate", "2h", above="6%", **{"for": "12m"}, **SOON),
    rule("error_rate", "4h", name="on-baseline", above="4%", arm="baseline", **SOON),
    rule("error_rate", "2h", name="spike", spike={"factor": 2, "over": "8h"}, **SOON),
)
LATENCIES = plan(
    rule("latency_p95", "2h", above="4s", **{"for": "15m"}, **SOON),
    rule("latency_p50", "5h", above="1.4s", minWindow="1h", **CONFIDENT),
    rule("latency_p95", "3h", name="too-quick", below="1.5s", **CONFIDENT),
    rule("escalation_rate", "4h", name="stop", above="8%", then="rollback"),
    labels={},
)
RATIOS = plan(
    rule("latency_p95_ratio", "2h", above=1.5, name="slower", **SOON),
    rule("latency_p95_ratio", "4h", above=1.5, name="proven", **CONFIDENT),
    rule("latency_p95_ratio", "3h", above=2.5, name="refund", intents="critical", **CONFIDENT),
    alpha="20%",
)
LOSSES = plan(
    rule("accuracy_delta", "9h", name="over", above="4pp", intents="critical", **CONFIDENT),
    rule("accuracy_delta", "9h", name="guarded", above="4pp", then="pause", **CONFIDENT),
    rule("accuracy_delta", "5h", name="written", above="4pp", intents="each", **SOON),
    rule("accuracy", "4h", below="85%", **SOON),
    rule("served_accuracy", "4h", name="served", below="85%", arm="baseline", **SOON),
    rule("coverage", "3h", below="85%", **SOON),
    alpha="20%",
)
GRADED = plan(
    rule("accuracy_delta", "6h", above="15pp", name="kept", intents="critical", **CONFIDENT),
    rule("accuracy_delta", "6h", above="15pp", name="all", then="rollback", minSamples=100),
    rule("accuracy", "6h", below="60%", arm="candidate", **CONFIDENT),
    rule("escalation_rate", "6h", above="30%", **CONFIDENT),
    alpha="20%",
)


def scenario(of: Document, nature: Nature, hours: float, *shows: str) -> Scenario:
    return Scenario(of, nature, hours, shows)


def with_spec(of: Document, **spec: Any) -> Document:
    return {**of, "spec": {**of["spec"], **spec}}


WORSE_LATER = Nature(turns_at=480, worse=5.0)
WORSE = Nature(wrong=(0.06, 0.25))
UNEVEN = Nature(wrong=(0.02, 0.02), graded=(0.95, 0.7))

SCENARIOS = {
    "rates": scenario(
        RATES,
        WORSE_LATER,
        16,
        "escalation_rate confident fail",
        "error_rate observed fail",
        "error_rate spike observed fail",
    ),
    "rates of requests": scenario(
        with_spec(RATES, assignment={"unit": "request"}),
        WORSE_LATER,
        14,
        "escalation_rate confident pass",
        "escalation_rate observed fail",
    ),
    "latencies": scenario(
        LATENCIES,
        WORSE_LATER,
        14,
        "latency_p95 observed fail",
        "latency_p95 confident fail",
        "latency_p95 confident pass",
    ),
    "latency ratios": scenario(
        RATIOS,
        Nature(conversations=1.0, turns_at=300, worse=16.0),
        9,
        "latency_p95_ratio observed fail",
        "latency_p95_ratio confident fail",
        "record measure",
    ),
    "losses": scenario(
        LOSSES,
        WORSE,
        18,
        "accuracy_delta confident fail",
        "accuracy_delta observed fail",
        "record pause",
        "epoch 1",
    ),
    "labels after half an hour": scenario(
        with_spec(LOSSES, labels={"delay": "31m", "horizon": "5h"}),
        WORSE,
        14,
        "accuracy_delta observed fail",
    ),
    "all is well": scenario(
        GRADED,
        Nature(wrong=(0.02, 0.02)),
        13,
        "accuracy_delta confident pass",
        "accuracy confident pass",
    ),
    "labels are missing": scenario(GRADED, UNEVEN, 12, "worst cases"),
    "a sample is graded": scenario(
        with_spec(LOSSES, labels={"delay": "45m", "sampled": "50%"}),
        Nature(conversations=0.8, wrong=(0.06, 0.4), graded=(0.5, 0.5), error=0.05, escalated=0.08),
        12,
        "accuracy_delta observed fail",
        "coverage observed pass",
    ),
    "pairs beside blocks": scenario(
        LOSSES,
        replace(WORSE, pairs=0.3),
        14,
        "failing pair",
        "failing block",
        "accuracy_delta observed fail",
    ),
}
