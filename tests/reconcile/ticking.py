"""Reconcilers for a loop that do something besides."""

from __future__ import annotations

from collections.abc import Collection

from controller.reconcile.tick import Reconciler
from controller.rollout.decision import Decision


class Passing:
    """Passes everything on; a test overrides what it is about."""

    def __init__(self, to: Reconciler | Passing) -> None:
        self.to = to

    def ahead(self, rollouts: Collection[str]) -> None:
        self.to.ahead(rollouts)

    def judge(self, rollout: str) -> Decision:
        return self.to.judge(rollout)

    def flush(self) -> None:
        self.to.flush()

    def tip(self, rollout: str) -> tuple[int, int] | None:
        return self.to.tip(rollout)

    def forget(self, rollout: str) -> None:
        self.to.forget(rollout)
