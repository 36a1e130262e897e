"""Each suggestion of `check`, followed literally, takes its warning away and brings no other."""

from __future__ import annotations

import io
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cli.suggested_plans import HEAD, WRITTEN
from tests.cli.world import World

YAML_SAFE = YAML(typ="safe")
JSON = ("-o", "json")
GRAVE = ("error", "warning")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A plan as a document, and the options it is checked with."""

    plan: dict[str, Any]
    options: tuple[str, ...]
    traffic: float
    pairs: int = 0
    runs: int = 0

    def checked(self, world: World) -> Any:
        text = io.StringIO()
        YAML().dump(self.plan, text)
        answer = world.cli(
            "check",
            world.plan(text.getvalue()),
            *(*self.options, "--units-per-minute", f"{self.traffic}", "--pairs", f"{self.pairs}"),
            *("--runs", f"{self.runs}", *JSON),
        )
        assert answer.code == 0, answer.err + answer.out
        (item,) = answer.json["items"]
        return item


def generated(seed: int) -> Case:
    """A plan of two or three steps and a few rules of any kind, on some traffic."""
    draw = random.Random(seed)
    shares = sorted(draw.sample([1, 5, 10, 20, 25, 40, 50], draw.choice([1, 2])))
    steps: list[dict[str, Any]] = [
        {
            "share": f"{share}%",
            "hold": f"{draw.choice([6, 24, 72, 168])}h",
            "minSamples": draw.choice([0, 200, 1_000]),
        }
        for share in shares
    ]
    if draw.random() < 0.3:
        steps[-1]["deadline"] = "9d"
    steps.append({"share": "100%"})
    last: list[dict[str, Any]] = [
        {"name": "slow", "metric": "latency_p95", "above": "3500ms"},
        {"name": "slow", "metric": "latency_p95_ratio", "above": 1.2},
        {"name": "spend", "metric": "cost_per_hour", "above": "5 USD"},
        {"name": "mean", "metric": "latency_mean", "above": "1500ms"},
        {
            "name": "right",
            "metric": "cost_per_correct",
            "above": draw.choice(["0.0043 USD", "0.008 USD"]),
            "evidence": draw.choice(["confident", "observed"]),
        },
    ]
    rules = [
        {
            "name": "accuracy",
            "metric": "accuracy_delta",
            "intents": "critical",
            "above": draw.choice(["1.5pp", "3pp"]),
            "window": draw.choice(["24h", "72h"]),
            "evidence": draw.choice(["confident", "observed"]),
            "then": "pause",
        },
        {
            "name": "escalation",
            "metric": "escalation_rate",
            "above": draw.choice(["1.6%", "2%", "4%"]),
            "window": draw.choice(["1h", "24h"]),
            "evidence": draw.choice(["confident", "observed"]),
            "then": "rollback",
        },
        {**draw.choice(last), "window": "1h", "then": "pause"},
    ]
    return Case(
        plan={
            "apiVersion": "canaryctl.dev/v1alpha1",
            "kind": "RolloutPlan",
            "metadata": {"name": "made"},
            "spec": {
                "baseline": {"model": "gpt-4.1"},
                "candidate": {"model": "gpt-4.1-mini"},
                "assignment": {"unit": draw.choice(["conversation", "request"])},
                "intents": [{"name": "refund", "critical": True}, {"name": "other"}],
                "labels": {"delay": draw.choice(["1h", "6h"]), "horizon": "14d"},
                "traffic": {"gateway": {}},
                "steps": steps,
                "holdback": draw.choice(["1%", "5%"]),
                "bake": "3d",
                "rules": rules,
            },
        },
        options=(
            *("--latency", "1.2s,3.2s"),
            *(("--label-rate", "70%") if draw.random() < 0.2 else ()),
        ),
        traffic=draw.choice([0.5, 4.0, 30.0]),
    )


def place(path: str, plan: dict[str, Any]) -> Any:
    """What `spec.rules[1].window` is a field of."""
    here: Any = plan
    for name, index in re.findall(r"([a-zA-Z]+)|\[(\d+)\]", path.rpartition(".")[0]):
        here = here[name] if name else here[int(index)]
    return here


def applied(case: Case, path: str, suggestion: str) -> Case:
    """As a person would do it, reading no more than the words."""
    plan = YAML_SAFE.load(io.StringIO(_dumped(case.plan)))
    for change in suggestion.split(" together with "):
        case = _changed(replace(case, plan=plan), path, change)
    return case


def _dumped(plan: dict[str, Any]) -> str:
    text = io.StringIO()
    YAML().dump(plan, text)
    return text.getvalue()


def _changed(case: Case, path: str, change: str) -> Case:
    spec, field = case.plan["spec"], place(path, case.plan)
    match change.strip("`").split():
        case [("hold" | "deadline" | "window" | "above" | "below") as name, *value]:
            field[name] = " ".join(value)
        case ["minSamples", count]:
            field["minSamples"] = int(count.replace(",", ""))
        case [share, "share", "in", "step", number]:
            spec["steps"][int(number) - 1]["share"] = share
        case ["holdback", share]:
            spec["holdback"] = share
        case ["spike:", "{factor:", factor, "over:", over]:
            field["spike"] = {"factor": float(factor.rstrip(",")), "over": over.rstrip("}")}
        case ["evidence:", "confident"]:
            field["evidence"] = "confident"
        case [count, "shadow", "pairs", *_]:
            return replace(case, pairs=int(count.replace(",", "")))
        case [times, "times", "the", "traffic"]:
            return replace(case, traffic=case.traffic * int(times))
        case ["labels:", "{sampled:", share]:
            spec["labels"]["sampled"] = share.rstrip("}")
        case ["a", "label", "rate", "of", share]:
            kept = [one for one in case.options if one not in ("--label-rate", "70%")]
            return replace(case, options=(*kept, "--label-rate", share))
        case other:
            raise AssertionError(f"nobody knows how to {other}")
    return case


def written(name: str, *, runs: int = 0) -> Case:
    spec, traffic, options = WRITTEN[name]
    plan = YAML_SAFE.load(io.StringIO(HEAD + spec))
    return Case(plan=plan, options=options, traffic=traffic, runs=runs)


def warned(item: Any) -> Counter[tuple[str, str]]:
    return Counter((one["code"], one["path"]) for one in item["findings"] if one["level"] in GRAVE)


def suggested(item: Any) -> Sequence[tuple[str, str, str]]:
    found = item["feasibility"]["suggestions"]
    return [(one["code"], one["path"], use) for one in found for use in one["use"]]


def said(item: Any, code: str, path: str) -> str:
    return " ".join(
        one["message"] for one in item["findings"] if (one["code"], one["path"]) == (code, path)
    )


def follow_each(world: World, case: Case) -> None:
    """Each suggestion by itself: its warning is gone, and no other is there that was not, or was said to be hidden."""
    item = case.checked(world)
    before = warned(item)
    for code, path, use in suggested(item):
        assert before[code, path]
        after = warned(applied(case, path, use).checked(world))
        assert after[code, path] < before[code, path], f"{path}: {use} leaves {code}"
        brought = [one for one, _ in after - before if f"`{one}`" not in said(item, code, path)]
        assert not brought, f"{path}: {use} ({code}) brings {brought}"


@pytest.mark.parametrize("seed", [2, 3, 5])
def test_a_suggestion_for_a_made_plan_takes_its_warning_away_and_brings_none(
    world: World, seed: int
):
    follow_each(world, generated(seed))


@pytest.mark.parametrize("name", ["few-escalations", "observed-accuracy", "minutes-tiny", "weeks"])
def test_a_suggestion_for_a_written_plan_takes_its_warning_away_and_brings_none(
    world: World, name: str
):
    follow_each(world, written(name))


@pytest.mark.slow
@pytest.mark.timeout(300)  # a plan is checked once more for each suggestion
@pytest.mark.parametrize("seed", range(40))
def test_suggestions_of_many_made_plans_hold(world: World, seed: int):
    follow_each(world, generated(seed))


@pytest.mark.slow
@pytest.mark.timeout(300)  # a plan is checked once more for each suggestion
@pytest.mark.parametrize("name", WRITTEN)
def test_suggestions_of_all_written_plans_hold(world: World, name: str):
    follow_each(world, written(name))
