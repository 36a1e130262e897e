from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from controller.ports import LEASE, Split
from controller.rollout.plan import ModelRef, OnLoss, Unit
from controller.rollout.route import Route

NOW = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)
ROLLOUT = "support-bot/1"
SECOND = timedelta(seconds=1)


ROUTE = Route(
    match_model="gpt-4.1",
    baseline=ModelRef(model="gpt-4.1"),
    candidate=ModelRef(model="gpt-4.1-mini"),
    unit=Unit.CONVERSATION,
    pinned=("legal",),
    claimed_at=NOW,
)


def split(
    share_bp: int = 1_000,
    *,
    version: int = 1,
    fence: int = 1,
    shares: Mapping[str, int] | None = None,
    expires: datetime = NOW + LEASE,
    on_expiry: OnLoss = OnLoss.BASELINE,
    rollout: str = ROLLOUT,
    salt: str = "salt",
    settled: Mapping[str, int] | None = None,
    route: Route = ROUTE,
) -> Split:
    shares = {"refund": share_bp, "legal": 0} if shares is None else shares
    return Split(
        rollout=rollout,
        fence=fence,
        version=version,
        shares=shares,
        settled=shares if settled is None else settled,
        salt=salt,
        expires=expires,
        route=route,
        on_expiry=on_expiry,
    )
