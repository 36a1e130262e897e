"""Which answers a sample of labels holds without a grader: those that are wrong as they stand, escalated or failed; and
which units people grade.

Where graders pick answers at random, an ordinary answer counts with the probability that it is picked. An escalated or
failed one is known to be wrong without them; counted always, it would weigh 1/sampled as much as any other. So it
counts with the same probability, by a hash of its request: the same for every store and release, in whatever order and
however often things are sent, and independent of the arm's hash, of the graders and of what was answered.
"""

from __future__ import annotations

from controller.rollout.assignment import below, point
from controller.rollout.metrics import MICRO


def is_sampled(rollout: str, request: str, sampled_u: int) -> bool:
    """Whether a request lies in the rollout's sample of `sampled_u` millionths. A larger sample holds a smaller one."""
    return below(point(f"labels of {rollout}", request), sampled_u, of=MICRO)


def is_drawn(rollout: str, unit: str, share_u: int) -> bool:
    """Whether people are to grade the answers of a unit, where they grade `share_u` millionths. A larger share holds a
    smaller one.
    """
    return below(point(f"people of {rollout}", unit), share_u, of=MICRO)
