"""Every metric that is exported: name, kind, labels, meaning. The documentation's table is held to this list.

Labels are bounded: a plan's name, its intents and rules, closed sets of words, and at most `REPLICAS` gateways; never
an attempt, unit, request, user or text. What is not known is absent, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Family:
    """One metric, equal to itself alone. A counter ends in `_total`; a histogram is `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def _gauge(name: str, meaning: str, *labels: str) -> Family:
    return Family(name=name, kind=Kind.GAUGE, meaning=meaning, labels=labels)


def _counter(name: str, meaning: str, *labels: str) -> Family:
    return Family(name=name, kind=Kind.COUNTER, meaning=meaning, labels=labels)


def _histogram(name: str, meaning: str, *buckets: float) -> Family:
    return Family(name=name, kind=Kind.HISTOGRAM, meaning=meaning, buckets=buckets)


REPLICAS: Final = 100
"""Gateways that are named in labels: those not heard for longest first; `canary_gateways` counts all."""

_TICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_REACTION = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# Of the process

BUILD_INFO = _gauge("canary_build_info", "1, labelled with the release.", "version", "python")
TICK_SECONDS = _histogram("canary_tick_seconds", "How long one tick of one rollout took.", *_TICK)
DECISION_SECONDS = _histogram(
    "canary_decision_seconds", "From a tick's begin to the commit of its decision.", *_TICK
)
REACTION_SECONDS = _histogram(
    "canary_reaction_seconds",
    "From the wake by an accepted outcome or a committed command to the end of the tick that answered it.",
    *_REACTION,
)
TICKS = _counter("canary_ticks_total", "Ticks, by how they ended.", "result")
DECISIONS = _counter("canary_decisions_total", "Committed decisions.", "action", "cause")
TICK_LAG = _gauge(
    "canary_tick_lag_seconds",
    "For how long the oldest rollout that is due has waited to be judged.",
)
TURN_AGE = _gauge("canary_worker_turn_age_seconds", "Since the worker of the loop last came round.")
CHECK = _gauge("canary_ready_check", "1 if a check of /readyz holds, 0 if it fails.", "check")
LEADER = _gauge("canary_leader", "1 if this process is the leader, 0 if it is a standby.")
FENCE = _gauge("canary_fence", "The fence under which this process leads; absent for a standby.")
RENEWAL_AGE = _gauge(
    "canary_leader_renewal_age_seconds", "Since this process last renewed its leadership."
)
DATABASE_ERRORS = _counter(
    "canary_database_errors_total", "Calls of the database that did not get an answer."
)
INGESTED = _counter(
    "canary_ingested_total",
    "Observations, outcomes and pairs that were sent, by what became of them; refused counts lines.",
    "result",
)
GATEWAYS = _gauge("canary_gateways", "Gateways that this controller counts on.")
GATEWAY_AGE = _gauge(
    "canary_gateway_heard_age_seconds", "Since a gateway was last heard.", "replica"
)
GATEWAY_LOST = _counter(
    "canary_gateway_lost_lines_total",
    "Lines that a gateway lost since it started: its spool was full, or they were refused.",
    "replica",
)
OUTBOX = _gauge("canary_outbox_undelivered", "Notices owed to a destination.", "destination")
OUTBOX_AGE = _gauge(
    "canary_outbox_oldest_age_seconds",
    "Since the oldest notice that is owed to a destination was committed; absent if none is owed.",
    "destination",
)
DELIVERIES = _counter(
    "canary_deliveries_total", "Attempts to deliver a notice.", "destination", "result"
)
SCHEDULER = _counter(
    "canary_scheduler_troubles_total",
    "Jobs of the scheduler that were missed, overrun or failed.",
    "task",  # `job` is Prometheus's own label
    "what",
)
RENDER_SECONDS = _gauge(
    "canary_metrics_render_seconds", "How long the rollouts' part of the last answer took to write."
)

PROCESS: Final = (
    BUILD_INFO,
    TICK_SECONDS,
    DECISION_SECONDS,
    REACTION_SECONDS,
    TICKS,
    DECISIONS,
    TICK_LAG,
    TURN_AGE,
    CHECK,
    LEADER,
    FENCE,
    RENEWAL_AGE,
    DATABASE_ERRORS,
    INGESTED,
    GATEWAYS,
    GATEWAY_AGE,
    GATEWAY_LOST,
    OUTBOX,
    OUTBOX_AGE,
    DELIVERIES,
    SCHEDULER,
    RENDER_SECONDS,
)

# Of each rollout: the newest attempt of each plan, as its last tick saw it. Exported by the leader alone.

ROLLOUT_INFO = _gauge(
    "canary_rollout_info", "1, labelled with the arms' models.", "plan", "baseline", "candidate"
)
ATTEMPT = _gauge("canary_attempt", "The number of the plan's newest attempt.", "plan")
PHASE = _gauge("canary_phase", "1 for the phase that the rollout is in.", "plan", "phase")
STEP = _gauge("canary_step", "The present step, from 1; 0 before the first.", "plan")
STEPS = _gauge("canary_steps", "How many steps the plan has.", "plan")
PLANNED = _gauge(
    "canary_share_planned_ratio", "The candidate's committed share of an intent.", "plan", "intent"
)
IN_FORCE = _gauge(
    "canary_share_in_force_ratio",
    "The candidate's share of an intent that is in force, the lowest of any gateway's.",
    "plan",
    "intent",
)
REALISED = _gauge(
    "canary_share_realised_ratio",
    "The candidate's part of the units newly assigned since the step began.",
    "plan",
)
SPLIT = _gauge(
    "canary_split_standing",
    "1 for what the targets say of the committed split.",
    "plan",
    "standing",
)
BASELINE = _gauge("canary_baseline_health", "1 for how the baseline answers.", "plan", "health")
BLIND = _gauge(
    "canary_blind_seconds",
    "Time with candidate traffic that a rule could not see, of the blindest rule.",
    "plan",
)
JUDGED_AT = _gauge(
    "canary_judged_timestamp_seconds", "When the rollout was last judged, since 1970.", "plan"
)
PAUSE_DEADLINE = _gauge(
    "canary_pause_deadline_timestamp_seconds",
    "When a pause becomes a rollback, since 1970; absent unless it is paused.",
    "plan",
)
RULE_VALUE = _gauge(
    "canary_rule_value",
    "What a rule measured in its last window, in the metric's unit; absent if nothing was measured.",
    "plan",
    "rule",
    "intent",
)
RULE_LIMIT = _gauge(
    "canary_rule_limit",
    "A rule's limit, in the metric's unit; a `spike` has none.",
    "plan",
    "rule",
)
RULE_VERDICT = _gauge(
    "canary_rule_verdict", "1 for a rule's verdict.", "plan", "rule", "intent", "verdict"
)
RULE_LOG_E = _gauge(
    "canary_rule_log_e",
    "Natural logarithm of the e-value against a rule being kept; absent where there is none.",
    "plan",
    "rule",
    "intent",
)
RULE_LOG_THRESHOLD = _gauge(
    "canary_rule_log_threshold",
    "What canary_rule_log_e must reach to prove a failure.",
    "plan",
    "rule",
    "intent",
)

ROLLOUT: Final = (
    ROLLOUT_INFO,
    ATTEMPT,
    PHASE,
    STEP,
    STEPS,
    PLANNED,
    IN_FORCE,
    REALISED,
    SPLIT,
    BASELINE,
    BLIND,
    JUDGED_AT,
    PAUSE_DEADLINE,
    RULE_VALUE,
    RULE_LIMIT,
    RULE_VERDICT,
    RULE_LOG_E,
    RULE_LOG_THRESHOLD,
)
