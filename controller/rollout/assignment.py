"""Which arm a unit gets: `hash(salt, unit) < share`.

The salt is the rollout's, not the intent's. A raised share therefore only moves units from baseline to candidate
(invariant 8): a unit's point on the circle never moves, only the mark that it is compared with.
"""

from __future__ import annotations

import hashlib

from controller.rollout.plan import FULL_BP, Arm

_SCALE = 1 << 64


def point(salt: str, unit: str) -> int:
    """The unit's place in [0, 2^64): the first eight bytes of SHA-256 over the salt's length, the salt and the unit."""
    material = f"{len(salt)}:{salt}{unit}".encode()
    return int.from_bytes(hashlib.sha256(material).digest()[:8], "big")


def assign(salt: str, unit: str, share_bp: int) -> Arm:
    """The arm of a unit at a share of the candidate in basis points, 0..10000."""
    if not 0 <= share_bp <= FULL_BP:
        raise ValueError(f"share_bp is {share_bp}, not in 0..{FULL_BP}")
    return Arm.CANDIDATE if below(point(salt, unit), share_bp) else Arm.BASELINE


def below(at: int, part: int, *, of: int = FULL_BP) -> bool:
    """Whether a point lies in the first `part` of `of` equal pieces of the circle; for a share: in the candidate's."""
    return at * of < part * _SCALE
