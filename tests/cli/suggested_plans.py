"""Plans of many kinds as a person would write them, on traffic that is too small or too large for them."""

from __future__ import annotations

from typing import Final, TypeAlias

Written: TypeAlias = tuple[str, float, tuple[str, ...]]
"""A plan's `spec`, units a minute, and options of `check`."""

HEAD: Final = """\
apiVersion: canaryctl.dev/v1alpha1
kind: RolloutPlan
metadata: {name: made}
spec:
  baseline: {model: gpt-4.1}
  candidate: {model: gpt-4.1-mini}
  traffic: {gateway: {}}
"""
LATENCY: Final = ("--latency", "1.2s,3.2s")

FEW_ESCALATIONS = """\
  assignment: {unit: request}
  intents: [{name: refund, critical: true}, {name: other}]
  steps: [{share: 10%, hold: 3d}, {share: 50%, hold: 3d}, {share: 100%}]
  holdback: 5%
  bake: 3d
  rules:
    - {name: escalation, metric: escalation_rate, above: 2%, window: 12h, then: rollback}
"""
OBSERVED_ACCURACY = """\
  assignment: {unit: conversation}
  intents: [{name: refund, critical: true}, {name: other}]
  labels: {delay: 1h, horizon: 14d}
  steps: [{share: 20%, hold: 2d}, {share: 50%, hold: 2d}, {share: 100%}]
  holdback: 10%
  bake: 2d
  rules:
    - {name: acc, metric: accuracy_delta, intents: critical, above: 1.5pp, window: 12h, then: pause}
"""
SLOW_ANSWERS = """\
  assignment: {unit: request}
  intents: [{name: refund, critical: true}, {name: other}]
  steps: [{share: 5%, hold: 12h}, {share: 25%, hold: 24h}, {share: 100%}]
  holdback: 5%
  bake: 1d
  rules:
    - {name: slow, metric: latency_p95_ratio, above: 1.25, window: 1h, then: pause}
    - {name: slowest, metric: latency_p99, above: 6s, window: 1h, then: pause}
    - {name: mean, metric: latency_mean, above: 1500ms, window: 1h, then: pause}
"""
MINUTES = """\
  assignment: {unit: request}
  intents: [{name: any}]
  steps: [{share: 10%, hold: 30m}, {share: 50%, hold: 30m, advance: clear}, {share: 100%}]
  bake: 3h
  rules:
    - {name: errors, metric: error_rate, above: 2%, window: 20m, then: rollback}
    - {name: slow, metric: latency_p95, above: 3500ms, window: 10m, for: 5m, then: pause}
"""
CONFIDENT = """\
  assignment: {unit: conversation}
  intents: [{name: refund, critical: true}, {name: other}]
  labels: {delay: 6h, horizon: 7d}
  steps: [{share: 10%, hold: 72h, minSamples: 500}, {share: 50%, hold: 24h}, {share: 100%}]
  holdback: 1%
  bake: 7d
  rules:
    - {name: acc, metric: accuracy_delta, intents: critical, above: 1.5pp, window: 72h, evidence: confident,
       then: pause}
    - {name: esc, metric: escalation_rate, above: 2%, window: 24h, evidence: confident, then: rollback}
"""
MANY_INTENTS = """\
  assignment: {unit: user}
  intents:
    - {name: refund, critical: true}
    - {name: billing, critical: true}
    - {name: delivery, critical: true}
    - {name: returns}
    - {name: other}
    - {name: legal, pin: baseline}
  labels: {delay: 2h, horizon: 14d}
  steps:
    - {share: 5%, hold: 48h, minSamples: 200}
    - {share: 25%, hold: 48h, minSamples: 200}
    - {share: 50%, hold: 72h, deadline: 9d}
    - {share: 100%}
  holdback: 2%
  bake: 3d
  rules:
    - {name: acc, metric: accuracy_delta, intents: critical, above: 3pp, window: 48h, evidence: confident, then: pause}
    - {name: esc, metric: escalation_rate, intents: each, above: 3%, window: 6h, then: pin}
    - {name: right, metric: accuracy, intents: critical, below: 92%, window: 24h, then: pause}
"""
WEEKS = """\
  assignment: {unit: conversation}
  intents: [{name: refund, critical: true}, {name: other}]
  labels: {delay: 24h, horizon: 21d}
  steps: [{share: 20%, hold: 14d, minSamples: 2000}, {share: 50%, hold: 7d, advance: proven}, {share: 100%}]
  holdback: 2%
  bake: 7d
  rules:
    - {name: acc, metric: accuracy_delta, intents: critical, above: 1pp, window: 7d, evidence: confident, then: pause}
    - {name: esc, metric: escalation_rate, above: 2%, window: 3d, then: rollback}
"""
MONEY = """\
  assignment: {unit: request}
  intents: [{name: refund, critical: true}, {name: other}]
  labels: {delay: 1h, horizon: 14d}
  steps: [{share: 10%, hold: 24h}, {share: 50%, hold: 24h}, {share: 100%}]
  holdback: 5%
  bake: 2d
  rules:
    - {name: spend, metric: cost_per_hour, above: 5 USD, window: 1h, then: pause}
    - {name: right, metric: cost_per_correct, above: 0.0043 USD, window: 6h, then: pause}
    - {name: dearer, metric: cost_ratio, above: 0.5, window: 2h, then: pause}
    - {name: acc, metric: accuracy_delta, intents: critical, above: 2pp, window: 24h, evidence: confident, then: pause}
"""
SPIKES = """\
  assignment: {unit: request}
  intents: [{name: any}]
  steps: [{share: 10%, hold: 36h}, {share: 50%, hold: 24h, advance: clear}, {share: 100%}]
  bake: 3d
  rules:
    - {name: errors, metric: error_rate, spike: {factor: 3, over: 24h}, window: 1h, then: pause}
    - {name: esc, metric: escalation_rate, spike: {factor: 2, over: 24h}, window: 3h, then: pause}
"""
SAMPLED = """\
  assignment: {unit: conversation}
  intents: [{name: refund, critical: true}, {name: other}]
  labels: {delay: 6h, horizon: 14d, sampled: 20%}
  steps: [{share: 10%, hold: 72h}, {share: 50%, hold: 72h}, {share: 100%}]
  holdback: 5%
  bake: 3d
  rules:
    - {name: acc, metric: accuracy_delta, intents: critical, above: 2pp, window: 72h, evidence: confident, then: pause}
    - {name: right, metric: accuracy, below: 90%, window: 24h, then: pause}
"""
HASTY = """\
  assignment: {unit: request}
  intents: [{name: refund, critical: true}, {name: other}]
  labels: {delay: 10m, horizon: 1d}
  steps: [{share: 20%, hold: 1h}, {share: 50%, hold: 1h}, {share: 100%}]
  holdback: 5%
  bake: 6h
  rules:
    - {name: acc, metric: accuracy_delta, intents: critical, above: 3pp, window: 30m, then: pause}
    - {name: esc, metric: escalation_rate, above: 3%, window: 45m, then: rollback}
"""
COVERED = """\
  assignment: {unit: conversation}
  intents: [{name: refund, critical: true}, {name: other}]
  labels: {delay: 3h, horizon: 7d}
  steps: [{share: 10%, hold: 48h}, {share: 50%, hold: 48h, advance: clear}, {share: 100%}]
  holdback: 2%
  bake: 2d
  rules:
    - {name: labels, metric: coverage, below: 60%, window: 12h, then: pause}
    - {name: sizes, metric: sample_ratio, above: 55%, window: 12h, then: notify}
    - {name: retried, metric: retry_rate, above: 4%, window: 2h, then: pause}
"""

WRITTEN: Final[dict[str, Written]] = {
    "few-escalations": (FEW_ESCALATIONS, 5.0, ()),
    "few-escalations-tiny": (FEW_ESCALATIONS, 0.3, ()),
    "observed-accuracy": (OBSERVED_ACCURACY, 4.0, ()),
    "observed-accuracy-large": (OBSERVED_ACCURACY, 80.0, ()),
    "slow-answers": (SLOW_ANSWERS, 4.0, LATENCY),
    "minutes": (MINUTES, 40.0, LATENCY),
    "minutes-tiny": (MINUTES, 3.0, LATENCY),
    "confident": (CONFIDENT, 1.0, ()),
    "confident-large": (CONFIDENT, 300.0, ()),
    "many-intents": (MANY_INTENTS, 10.0, ()),
    "weeks": (WEEKS, 1.5, ()),
    "weeks-tiny": (WEEKS, 0.4, ()),
    "money": (MONEY, 20.0, ()),
    "spikes": (SPIKES, 5.0, ()),
    "sampled": (SAMPLED, 20.0, ("--label-rate", "30%")),
    "hasty": (HASTY, 30.0, ()),
    "covered": (COVERED, 3.0, ("--label-rate", "70%")),
}
