"""Which arm a request gets: off > pin > live arm > hash.

A request is only ever moved from candidate to baseline by what is not known: an intent that the plan does not have, a
split that ran out, a conversation that is under way and new to this gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controller.gateway.live import LiveUnits
from controller.gateway.message import ChatRequest
from controller.gateway.splits import Claim
from controller.rollout.assignment import assign, below, point
from controller.rollout.observation import Cohort
from controller.rollout.plan import Arm, Unit
from controller.rollout.route import over_limits
from controller.sources.feed import is_unicode

NO_INTENT: Final = "(none)"
UNKNOWN_INTENT: Final = "(unknown)"
"""What a request is counted under that names an intent which the plan does not have: clients' words are no labels."""

UNIT_HEADER: Final = "x-canary-unit"
INTENT_HEADER: Final = "x-canary-intent"


@dataclass(frozen=True, slots=True)
class Placement:
    """How one request is served and counted."""

    arm: Arm
    cohort: Cohort
    version: int
    assigned: bool
    unit: str
    keyed: bool  # the request named its unit; else it is its own
    intent: str


@dataclass(frozen=True, slots=True)
class _Asked:
    unit: str
    keyed: bool
    intent: str
    kind: Unit


def place(
    claim: Claim,
    request: ChatRequest,
    headers: Mapping[str, str],
    live: LiveUnits,
    *,
    request_id: str,
    now: datetime,
) -> Placement:
    """Place a request, and remember its unit."""
    asked = _asked(claim, request, headers, request_id)
    share_bp = _share_bp(claim, request, asked.intent)
    if share_bp is None:
        return _placed(asked, claim.version, Arm.BASELINE, outside=True)
    if asked.kind is Unit.REQUEST or not asked.keyed:
        # It lives for one request: nothing to remember.
        arm = assign(claim.salt, asked.unit, share_bp)
        return _placed(asked, claim.version, arm, assigned=True)
    return _of_unit(claim, asked, share_bp, live, now, under_way=request.under_way)


def _of_unit(
    claim: Claim, asked: _Asked, share_bp: int, live: LiveUnits, now: datetime, *, under_way: bool
) -> Placement:
    at = point(claim.salt, asked.unit)
    unit = live.find(at, now)
    if unit is not None and (share_bp > 0 or unit.arm is Arm.BASELINE):
        live.touch(at, unit, now)
        return _placed(asked, unit.version, unit.arm)
    if unit is not None:
        # Off: from now on it is the baseline's, also when the share comes back while it lives.
        live.put(at, Arm.BASELINE, claim.version, now)
        return _placed(asked, claim.version, Arm.BASELINE)
    arm = Arm.CANDIDATE if below(at, share_bp) else Arm.BASELINE
    settled = min(share_bp, claim.settled.get(asked.intent, 0))
    if asked.kind is Unit.CONVERSATION and under_way and below(at, share_bp) != below(at, settled):
        # It began elsewhere, and perhaps before the raise that would make it the candidate's.
        live.put(at, Arm.BASELINE, claim.version, now)
        return _placed(asked, claim.version, Arm.BASELINE, outside=True)
    # A unit that comes back after it had ended gets the same arm: it says nothing new about the split.
    fresh = not under_way and not live.is_known(at, claim.version)
    live.put(at, arm, claim.version, now)
    return _placed(asked, claim.version, arm, assigned=fresh)


def _share_bp(claim: Claim, request: ChatRequest, intent: str) -> int | None:
    """The candidate's share of a request; None if it is the baseline's whatever the share, and not compared."""
    if claim.shares is None or intent not in claim.shares or intent in claim.route.pinned:
        return None
    limits = over_limits(
        claim.route, input_tokens=request.input_tokens, output_tokens=request.output_tokens
    )
    return None if limits else claim.shares[intent]


def _placed(
    asked: _Asked, version: int, arm: Arm, *, outside: bool = False, assigned: bool = False
) -> Placement:
    return Placement(
        arm=arm,
        cohort=Cohort.OUTSIDE if outside else Cohort.COMPARED,
        version=version,
        assigned=assigned,
        unit=asked.unit,
        keyed=asked.keyed,
        intent=asked.intent,
    )


def _asked(
    claim: Claim, request: ChatRequest, headers: Mapping[str, str], request_id: str
) -> _Asked:
    kind = claim.route.unit
    key = None if kind is Unit.REQUEST else _key(kind, request, headers)
    return _Asked(
        unit=key or request_id,
        keyed=key is not None,
        intent=_intent(claim, request, headers),
        kind=kind,
    )


def _key(kind: Unit, request: ChatRequest, headers: Mapping[str, str]) -> str | None:
    """The unit's key, of the type that the plan declares; never `prompt_cache_key`, which is about prompts."""
    header = headers.get(UNIT_HEADER)
    if header and is_unicode(header):
        return header
    if kind is Unit.USER:
        return request.text("safety_identifier", "user") or request.metadata("user_id", "user")
    return request.metadata("conversation_id", "conversation")


def _intent(claim: Claim, request: ChatRequest, headers: Mapping[str, str]) -> str:
    named = headers.get(INTENT_HEADER) or request.metadata("intent")
    if not named:
        return NO_INTENT
    known = named in (claim.shares or claim.settled) or named in claim.route.pinned
    return named if known else UNKNOWN_INTENT
