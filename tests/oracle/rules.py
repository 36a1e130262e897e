"""A rule as the plan's file has it, and what it counts in each minute."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from tests.oracle.betting import (
    Bets,
    against_a_loss,
    against_a_share,
    for_a_loss,
    for_a_share,
    variance_of_a_block,
)
from tests.oracle.counting import MICRO, Episode, Ledger, Request, minute
from tests.oracle.sums import ByMinute, Key

FLAGS = {"escalation_rate": "escalated", "error_rate": "error"}
LABELLED = ("accuracy_delta", "accuracy", "served_accuracy", "coverage")
QUANTILES = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p95_ratio": 0.95}
PROVABLE = (*FLAGS, *QUANTILES, "accuracy_delta", "accuracy")
UNITS = {"%": Fraction(1, 100), "pp": Fraction(1, 100), "s": Fraction(1)}
SPANS = {"s": Fraction(1, 60), "m": Fraction(1), "h": Fraction(60), "d": Fraction(1440)}
Plan = dict[str, Any]


def number(text: str | float) -> float:
    if not isinstance(text, str):
        return float(text)
    unit = next(one for one in ("pp", "%", "s") if text.endswith(one))
    return float(Fraction(text.removesuffix(unit)) * UNITS[unit])


def span(text: str) -> int:
    """Whole minutes, rounded up."""
    return math.ceil(Fraction(text[:-1]) * SPANS[text[-1]])


def bucket(seconds: float) -> int:
    """Of latencies: each is 2% wider than the one before it and holds its upper edge."""
    return math.ceil(math.log(seconds) / math.log(1.02))


@dataclass(frozen=True, eq=False)
class Rule:
    """One rule of a plan on one intent (None: all traffic)."""

    told: dict[str, Any]
    plan: Plan
    intent: str | None

    @property
    def metric(self) -> str:
        return self.told["metric"]

    @property
    def below(self) -> bool:
        return "below" in self.told

    @cached_property
    def limit(self) -> float:
        if "spike" in self.told:
            return float(self.told["spike"]["factor"])
        return number(self.told["below" if self.below else "above"])

    @cached_property
    def window(self) -> int:
        return span(self.told["window"])

    @cached_property
    def sustained(self) -> int:
        return span(self.told.get("for", "0s"))

    @cached_property
    def shortest(self) -> int:
        """What a proof may blame."""
        return min(max(span(self.told.get("minWindow", "1m")), self.sustained), self.window)

    @cached_property
    def usual(self) -> int:
        return span(self.told["spike"].get("over", "7d"))

    @property
    def min_samples(self) -> int:
        return self.told.get("minSamples", 500)

    @property
    def labelled(self) -> bool:
        return self.metric in LABELLED

    @property
    def loss(self) -> bool:
        return self.metric == "accuracy_delta"

    @property
    def ratio(self) -> bool:
        return self.metric == "latency_p95_ratio"

    @property
    def comparing(self) -> bool:
        return self.loss or self.ratio

    @property
    def guarded(self) -> bool:
        return self.loss and self.told["then"] == "pause"

    @cached_property
    def provable(self) -> bool:
        return self.metric in PROVABLE and "spike" not in self.told

    @property
    def arm(self) -> str:
        return self.told.get("arm", "candidate")

    @property
    def arms(self) -> tuple[str, ...]:
        return ("baseline", "candidate") if self.comparing else (self.arm,)

    @cached_property
    def bound(self) -> float:
        """What a proof holds the mean against."""
        return round(1 - QUANTILES[self.metric], 9) if self.metric in QUANTILES else self.limit

    @property
    def claim(self) -> float:
        return 0.0 if self.guarded else self.bound

    def _variance(self, kind: str) -> float:
        spec = self.plan["spec"]
        if kind == "pair":
            return number(spec.get("priors", {}).get("discordance", "5%"))
        accuracy = number(spec.get("priors", {}).get("accuracy", "95%"))
        return variance_of_a_block(accuracy, number(spec["steps"][0]["share"]))

    def failing_bets(self, kind: str) -> Bets:
        if self.loss:
            return against_a_loss(self.limit, self._variance(kind), guarded=self.guarded)
        return against_a_share(self.bound, below=self.below)

    def passing_bets(self, kind: str) -> Bets:
        if self.loss:
            return for_a_loss(self.limit, self._variance(kind))
        return for_a_share(self.bound, below=self.below)


def intents_of(plan: Plan, told: dict[str, Any]) -> list[str | None]:
    free = [one for one in plan["spec"]["intents"] if "pin" not in one]
    match told.get("intents", "all"):
        case "all":
            return [None]
        case "critical":
            return [one["name"] for one in free if one.get("critical")]
        case "each":
            return [one["name"] for one in free]
        case named:
            return [one["name"] for one in free if one["name"] in named]


def rules_of(plan: Plan) -> list[Rule]:
    return [
        Rule(told, plan, intent)
        for told in plan["spec"]["rules"]
        for intent in intents_of(plan, told)
    ]


def alpha(rule: Rule, epoch: int) -> float:
    """The rule's part on its intent: its own, or an equal one of what rules with an own one leave."""
    spec = rule.plan["spec"]
    provable = [one for one in rules_of(rule.plan) if one.provable]
    if "alpha" in rule.told:
        whole = number(rule.told["alpha"])
        alike = [one for one in provable if one.told is rule.told]
    else:
        own = {
            one.told["name"]: number(one.told["alpha"]) for one in provable if "alpha" in one.told
        }
        whole = number(spec.get("alpha", "5%")) - sum(own.values())
        alike = [one for one in provable if "alpha" not in one.told]
    return whole / len(alike) / 2**epoch


def sampled(plan: Plan) -> Fraction:
    """Which part of the answers is graded."""
    told = plan["spec"].get("labels", {}).get("sampled", "100%")
    return Fraction(told.removesuffix("%")) / 100


def horizon(plan: Plan) -> int:
    """Minutes of the planned migration."""
    spec = plan["spec"]
    held = sum(span(one.get("hold", "0s")) for one in spec["steps"])
    return max(held + span(spec.get("bake", "0s")), 60)


def subject(rule: Rule) -> str:
    """What is counted for it: rules of one subject and intent need the same numbers."""
    return FLAGS.get(rule.metric) or ("latency" if rule.metric in QUANTILES else "labels")


def counted(about: str, intent: str | None, ledger: Ledger, first: int, size: int) -> ByMinute:
    """What rules on a subject need of each minute, under keys that begin with the arm."""
    sums = ByMinute(first, size)
    for one in ledger.requests.values():
        if one.line["cohort"] == "compared" and intent in (None, one.line["intent"]):
            _count_request(about, one, sums)
    for episode in ledger.episodes if about != "latency" else ():
        if intent in (None, episode.anchor.line["intent"]):
            _count_episode(about, episode, sums)
    for block in ledger.blocks if about == "labels" else ():
        if intent in (None, block.stratum[1]):
            sums.add(("block", block.loss()), block.minute)
            sums.add(("both", "closed", block.stratum), block.minute)
    for pair in ledger.pairs if about == "labels" else ():
        if intent in (None, pair["intent"]):
            lost = Fraction(pair["baseline_correct"]) - Fraction(pair["candidate_correct"])
            at = minute(datetime.fromisoformat(pair["at"]))
            sums.add(("pair", round(lost * MICRO)), at)
    return sums


def _count_request(about: str, one: Request, sums: ByMinute) -> None:
    at, arm = minute(one.at), one.arm
    sums.add((arm, "requests"), at)
    if about == "latency":
        latency = one.line["quantities"].get("latency_us")
        if latency is not None:
            sums.add((arm, "known"), at)
            sums.add((arm, "bucket", bucket(latency / MICRO)), at)
            sums.add((arm, "bucket of", one.stratum, bucket(latency / MICRO)), at)
    elif about == "labels":
        for name, grade in (("known", one.grade()), ("served", one.served())):
            if grade is not None:
                sums.add((arm, name), at)
                sums.add((arm, f"{name} right"), at, grade)
    else:
        flag = one.flag(about)
        if flag is not None:
            sums.add((arm, "known"), at)
            sums.add((arm, "flagged"), at, int(flag))


def _count_episode(about: str, episode: Episode, sums: ByMinute) -> None:
    at, arm = minute(episode.anchor.at), episode.anchor.arm
    if about != "labels":
        flag = episode.flag(about)
        if flag is not None:
            sums.add((arm, "episodes known"), at)
            sums.add((arm, "episodes flagged"), at, int(flag))
        return
    stratum = episode.anchor.stratum
    sums.add((arm, "episodes"), at)
    sums.add((arm, "of", stratum), at)
    grade = episode.grade()
    if grade is not None:
        sums.add((arm, "episodes graded"), at)
        sums.add((arm, "episodes right"), at, grade)
        sums.add((arm, "graded", stratum), at)
        sums.add((arm, "right", stratum), at, grade)


def kinds(rule: Rule, sums: ByMinute) -> list[str]:
    """Of a loss: what there is to bet on. Of all else: the one thing."""
    if not rule.loss:
        return ["share"]
    return [kind for kind in ("block", "pair") if any(key[0] == kind for key in sums.keys)]


def evidence(
    rule: Rule, sums: ByMinute, kind: str, *, failing: bool
) -> list[tuple[float, Key, float]]:
    """What is bet on: values, under which key they are counted, and how many of one the number there says."""
    arm = rule.arm
    if rule.loss:
        values = [key for key in sums.keys if key[0] == kind]
        return [(key[1] / MICRO, key, 1.0) for key in sorted(values)]
    if rule.metric in FLAGS:
        return [(0.0, (arm, "episodes known"), 1.0), (1.0, (arm, "episodes flagged"), 1.0)]
    if rule.metric == "accuracy":
        return [(0.0, (arm, "episodes graded"), 1.0), (1.0, (arm, "episodes right"), 1 / MICRO)]
    # What lies in the limit's own bucket is held against the proof that is made.
    doubtful_counts = failing == rule.below
    least = bucket(rule.limit) + (0 if doubtful_counts else 1)
    above = [key for key in sums.keys if key[:2] == (arm, "bucket") and key[2] >= least]
    return [(0.0, (arm, "known"), 1.0), *((1.0, key, 1.0) for key in above)]


def tally(
    rule: Rule, sums: ByMinute, kind: str, start: np.ndarray, end: np.ndarray, *, failing: bool
) -> list[tuple[float, np.ndarray]]:
    """How often each value was seen in windows; of shares, what is not a 1 is a 0."""
    found = [
        (value, sums.over(key, start, end) * part)
        for value, key, part in evidence(rule, sums, kind, failing=failing)
    ]
    if rule.loss:
        return found
    (_, of), *ones = found
    right = sum((count for _, count in ones), start=np.zeros(len(start)))
    return [(0.0, of - right), (1.0, right)]
