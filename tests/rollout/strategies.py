"""Random worlds and commands for walks through `decide` and the real tick."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from controller.rollout.commands import (
    Approve,
    PauseNow,
    PinIntent,
    Promote,
    Resume,
    Retire,
    Retry,
    Rollback,
)
from controller.rollout.verdict import Availability, Health, InForce, SampleRatio
from tests.rollout.factories import ACCURACY, ESCALATION, NOW, bad, proof, reading, seen

WHO: dict[str, Any] = {"actor": "ann", "reason": "because"}

COMMANDS = (
    PauseNow(**WHO),
    Resume(**WHO),
    Promote(**WHO),
    Promote(override=("accuracy",), **WHO),
    Promote(override=("accuracy", "escalation"), **WHO),
    Approve(**WHO),
    Rollback(**WHO),
    Retry(**WHO),
    Retire(**WHO),
    PinIntent(intent="refund", **WHO),
    PinIntent(intent="order-status", **WHO),
)


def sights(rule, intent):
    """What a rule may have seen on an intent, in any of the first epochs."""
    usual = [
        reading(rule, intent),
        bad(rule, intent),
        reading(rule, intent, passing=proof(0.0)),
        reading(rule, intent, availability=Availability.NO_DATA, blind=timedelta(minutes=45)),
        reading(rule, intent, availability=Availability.NO_TRAFFIC),
        reading(rule, intent, availability=Availability.NO_CONTROL),
        reading(rule, intent, step_samples=3),
    ]
    return st.builds(
        lambda one, epoch: type(one)(**{**_fields(one), "epoch": epoch}),
        st.sampled_from(usual),
        st.integers(0, 3),
    )


def _fields(one):
    return {name: getattr(one, name) for name in one.__slots__}


MISMATCH = SampleRatio(candidate=9, baseline=1, share_bp=1000, log_e=99.0, log_threshold=6.9)

worlds = st.builds(
    seen,
    sights(ACCURACY, "refund"),
    sights(ESCALATION, None),
    in_force=st.sampled_from([InForce.VERIFIED, InForce.VERIFIED, *InForce]),
    expired_at=st.sampled_from([None, None, None, NOW, NOW + timedelta(days=1)]),
    held=st.sampled_from([timedelta(days=30), timedelta(days=30), timedelta(hours=1)]),
    baseline=st.sampled_from([Health.ANSWERING, Health.ANSWERING, *Health]),
    freeze=st.sampled_from([None, None, None, "frozen"]),
    samples=st.sampled_from([50_000, 50_000, 3]),
    sample_ratio=st.sampled_from([None, None, None, MISMATCH]),
)

commands = st.one_of(st.none(), st.none(), st.sampled_from(COMMANDS))
spans = st.sampled_from([timedelta(0), timedelta(minutes=1), timedelta(hours=5), timedelta(days=2)])
walks = st.lists(st.tuples(worlds, commands, spans), min_size=1, max_size=25)
