"""How much of the arms' answers is graded, as it stands in a sentence. Pure."""

from __future__ import annotations

from controller.notify.figures import percent
from controller.rollout.evidence.coverage import Straying, straying
from controller.rollout.metrics import MICRO
from controller.rollout.plan import Arm
from controller.rollout.units import format_percent
from controller.rollout.verdict import Coverage


def coverage_words(coverage: Coverage) -> str:
    """`baseline 3,900 of 4,120 episodes, candidate 300 of 463`; of answers where a sample of them is graded."""
    noun = "episodes" if coverage.sampled_u >= MICRO else "answers"
    noun = "drawn episodes" if coverage.by_people else noun
    return (
        f"baseline {coverage.baseline_graded:,} of {coverage.baseline_n:,} {noun}, "
        f"candidate {coverage.candidate_graded:,} of {coverage.candidate_n:,}"
    )


def straying_words(coverage: Coverage) -> str:
    """What is wrong where clearly fewer or more answers are graded than the plan says; empty where that is not so."""
    found = straying(coverage)
    counts = {
        Arm.BASELINE: (coverage.baseline_graded, coverage.baseline_n),
        Arm.CANDIDATE: (coverage.candidate_graded, coverage.candidate_n),
    }
    sampled = format_percent(coverage.sampled_u / MICRO)
    return "; ".join(
        f"{percent(counts[arm][0] / counts[arm][1])} of the {arm.value}'s are graded, {how.value} than the {sampled} "
        f"of labels.sampled: escalated and failed ones, wrong without a grade, weigh too "
        f"{'much' if how is Straying.FEWER else 'little'}"
        for arm, how in found.items()
    )
