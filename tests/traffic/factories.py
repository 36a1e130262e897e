from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from controller.ports import LEASE, Split
from controller.rollout.plan import OnLoss

NOW = datetime(2026, 11, 21, 3, 15, tzinfo=UTC)
ROLLOUT = "support-bot/1"
SECOND = timedelta(seconds=1)


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
) -> Split:
    return Split(
        rollout=rollout,
        fence=fence,
        version=version,
        shares={"refund": share_bp, "legal": 0} if shares is None else shares,
        salt=salt,
        expires=expires,
        on_expiry=on_expiry,
    )
