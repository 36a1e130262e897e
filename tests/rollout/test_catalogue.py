"""The catalogue of metrics: what each reads, and how it is told."""

from __future__ import annotations

from importlib.util import find_spec, module_from_spec
from types import ModuleType

import pytest

from controller.rollout.metrics import (
    CATALOGUE,
    FLAGS,
    Kind,
    MeasureUnit,
    Metric,
    above,
    capped,
    custom_rate,
)


def made_anew() -> ModuleType:
    """The module with everything that is called while it is imported called again."""
    spec = find_spec("controller.rollout.metrics")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RATES = {
    "escalation_rate": ("escalated", False),
    "error_rate": ("error", False),
    "retry_rate": ("retry", False),
    "schema_failure_rate": ("schema_failure", False),
    "function_selection_error_rate": ("wrong_tool", False),
    "function_argument_error_rate": ("wrong_arguments", False),
    "refusal_rate": ("refusal", False),
    "hallucination_rate": ("grounding_failure", True),
    "safety_failure_rate": ("safety_failure", False),
    "human_reject_rate": ("human_reject", True),
    "complaint_rate": ("complaint", True),
    "cache_hit_rate": ("cache_hit", False),
}
QUANTILES = {
    "latency_p50": ("latency", 0.5),
    "latency_p95": ("latency", 0.95),
    "latency_p99": ("latency", 0.99),
    "ttft_p95": ("ttft", 0.95),
}


def test_each_flag_has_a_rate_and_those_that_come_with_outcomes_are_labelled():
    catalogue = made_anew().CATALOGUE
    found = {
        name: (one.subject, one.labelled)
        for name, one in catalogue.items()
        if one.kind == Kind.RATE and one.unit == MeasureUnit.FRACTION
    }

    assert found == RATES
    assert sorted(flag for flag, _ in RATES.values()) == sorted(FLAGS)
    assert all(catalogue[name].name == name for name in catalogue)


def test_percentiles_are_of_histograms_and_in_seconds():
    found = {
        name: (one.subject, one.quantile)
        for name, one in made_anew().CATALOGUE.items()
        if one.kind == Kind.QUANTILE and one.unit == MeasureUnit.SECONDS
    }

    assert found == QUANTILES
    assert not any(CATALOGUE[name].comparing or CATALOGUE[name].labelled for name in QUANTILES)


def test_a_flag_of_ones_own_is_a_labelled_rate():
    assert custom_rate("tone") == Metric(
        name="custom.tone",
        kind=Kind.RATE,
        unit=MeasureUnit.FRACTION,
        subject="custom.tone",
        labelled=True,
    )


@pytest.mark.parametrize(
    ("metric", "known"),
    [
        (CATALOGUE["error_rate"], ("d.error", "ed.error")),
        (CATALOGUE["complaint_rate"], ("n", "e")),
    ],
    ids=["of those of whom it is known", "of all"],
)
def test_a_rate_is_of_those_of_whom_it_is_known_or_of_all(metric: Metric, known: tuple[str, str]):
    assert metric.known == known


def test_statistics_that_a_rules_limit_asks_for_are_named_by_it():
    assert above("h.latency", 35) == "x.h.latency.35"
    assert capped(20_000_000) == "k.cost.20000000"
