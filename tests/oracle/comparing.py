"""A verdict that was stored, against the same one by hand."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from tests.oracle.counting import minute
from tests.oracle.judging import Judgement
from tests.oracle.rules import sampled

Document = dict[str, Any]
CLOSE = 1e-9


def close(value: float) -> Any:
    return pytest.approx(value, rel=CLOSE, abs=1e-10)


def of(moment: str) -> int:
    return minute(datetime.fromisoformat(moment))


@dataclass
class Comparison:
    """What was compared, so that a test can say that it compared something."""

    seen: Counter[str] = field(default_factory=Counter)

    def verdict(self, found: Document, by_hand: Judgement, share_bp: int, now: int) -> None:
        reading = found["reading"]
        available = by_hand.availability(share_bp, now)
        assert reading["availability"] == available
        assert reading["epoch"] == by_hand.epoch_number
        self.seen[f"epoch {reading['epoch']}"] += 1
        self._latest(reading, by_hand)
        self._worst(reading, by_hand)
        observed = self._observed(found, by_hand)
        goes_by_proof = by_hand.rule.told.get("evidence") == "confident"
        confident = self._confident(found, by_hand)
        # An observed rule on a ratio has no other form before a percentile is frozen.
        if not by_hand.rule.provable or not (by_hand.by_kind or by_hand.rule.loss or goes_by_proof):
            confident = "not_applicable"
        if available != "measured":
            missing = "not_applicable" if available == "no_control" else "unmeasured"
            observed, confident = (
                one if one in ("fail", None) and missing == "unmeasured" else missing
                for one in (observed, confident)
            )
        assert observed in (None, found["observed"])
        assert confident in (None, found["confident"])
        by_either = "fail" if found["confident"] == "fail" else found["observed"]
        assert found["outcome"] == (found["confident"] if goes_by_proof else by_either)
        kind = by_hand.rule.metric + (" spike" if "spike" in by_hand.rule.told else "")
        self.seen[f"{kind} observed {found['observed']}"] += 1
        self.seen[f"{kind} confident {found['confident']}"] += 1
        self.seen["exact"] += observed is not None and confident is not None
        self.seen["bounded"] += observed is None or confident is None

    # As written

    def _latest(self, reading: Document, by_hand: Judgement) -> None:
        self._look(reading["latest"], by_hand, by_hand.last)

    def _look(self, found: Document, by_hand: Judgement, end: int) -> None:
        looks = by_hand.looks(np.array([end]))
        opens = min(max(end - by_hand.rule.window, by_hand.epoch), end)
        assert (of(found["window"]["start"]), of(found["window"]["end"])) == (opens, end)
        assert found["samples"] == looks.samples[0]
        assert found["complete"] == looks.complete[0]
        value = float(looks.values[0])
        assert found["value"] == (None if math.isnan(value) else close(value))
        if "spike" in by_hand.rule.told:
            usual = float(looks.limits[0]) / by_hand.rule.limit
            assert found["usual"] == (None if math.isnan(usual) else close(usual))

    def _worst(self, reading: Document, by_hand: Judgement) -> None:
        least = by_hand.owed_worst
        found = reading["worst"]
        if found is None:
            assert least == -math.inf
            return
        end = of(found["window"]["end"])
        assert by_hand.epoch < end <= by_hand.last
        self._look(found, by_hand, end)
        (past,) = by_hand.past(by_hand.looks(np.array([end])))
        assert past >= least - CLOSE
        self.seen["worst"] += 1

    def _observed(self, found: Document, by_hand: Judgement) -> str | None:
        """What it must be; None where windows that need not be judged again would say otherwise."""
        if by_hand.owed_worst > 0:
            return "fail"
        if found["observed"] == "fail":
            assert by_hand.worst(by_hand.possible) > 0, found["reading"]["worst"]
            return None
        latest = by_hand.past(by_hand.looks(np.array([by_hand.last])))
        return "pass" if latest[0] > -math.inf else "insufficient"

    # By proof

    def _confident(self, found: Document, by_hand: Judgement) -> str | None:
        reading = found["reading"]
        if not by_hand.rule.provable:
            assert (reading["failing"], reading["passing"]) == (None, None)
            return None
        self._failing(reading["failing"], by_hand)
        self._passing(reading, by_hand)
        if any(one.owed_proofs.fails for one in by_hand.by_kind):
            return "fail"
        if found["confident"] == "fail":
            assert any(one.proofs(one.possible).fails for one in by_hand.by_kind)
            return None
        holds = [one for one in (reading["passing"], _proof_of(reading["worst_case"])) if one]
        passes = bool(holds) and all(one["log_e"] >= one["log_threshold"] for one in holds)
        return "pass" if passes else "insufficient"

    def _failing(self, found: Document | None, by_hand: Judgement) -> None:
        least = max((one.owed_proofs.margin for one in by_hand.by_kind), default=-math.inf)
        if found is None:
            assert least == -math.inf
            return
        window = of(found["window"]["start"]), of(found["window"]["end"])
        assert by_hand.rule.shortest <= window[1] - window[0] <= by_hand.rule.window
        assert found["claim"] == close(by_hand.claim_until(window[1]))
        used = self._kind_of(found, by_hand, window, failing=True)
        assert found["log_e"] == close(used.against(*window))
        assert found["log_threshold"] == close(used.threshold_of(window[0]))
        margin = found["log_e"] - found["log_threshold"]
        # Of losses that fire, one whose figure is past the limit too comes first.
        assert margin >= (min(least, 0) if by_hand.rule.loss else least) - 1e-8
        self.seen["failing proofs"] += 1
        self.seen[f"failing {used.kind}"] += 1

    def _passing(self, reading: Document, by_hand: Judgement) -> None:
        found, worst = reading["passing"], reading["worst_case"]
        if not by_hand.by_kind or by_hand.last <= by_hand.proven_from:
            assert found is None
            return
        assert found["log_e"] == close(max(one.in_favour() for one in by_hand.by_kind))
        assert found["log_threshold"] == close(by_hand.pass_threshold)
        window = of(found["window"]["start"]), of(found["window"]["end"])
        assert window == (by_hand.proven_from, by_hand.last)
        used = self._kind_of(found, by_hand, window, failing=False)
        assert found["log_e"] == close(used.in_favour())
        assert (worst is not None) == (by_hand.rule.loss and by_hand.is_doubtful())
        if worst is not None and sampled(by_hand.rule.plan) == 1:
            missing = by_hand.missing_blocks()
            at_worst = max(one.in_favour(missing=missing) for one in by_hand.by_kind)
            assert worst["proof"]["log_e"] == close(at_worst)
            self.seen["worst cases"] += 1
        self.seen["passing proofs"] += 1

    def _kind_of(
        self, found: Document, by_hand: Judgement, window: tuple[int, int], *, failing: bool
    ) -> Judgement:
        """The kind of evidence whose tally the proof has."""
        alike = [
            one
            for one in by_hand.by_kind
            if _is_tally(found["tally"], one, window, failing=failing)
        ]
        assert alike, f"{found['tally']} is not what was seen in {window}"
        log_e = [one.against(*window) if failing else one.in_favour() for one in alike]
        return min(zip(log_e, alike, strict=True), key=lambda pair: abs(pair[0] - found["log_e"]))[
            1
        ]


def _is_tally(found: Document, one: Judgement, window: tuple[int, int], *, failing: bool) -> bool:
    expected = one.tally(*window, failing=failing)
    if one.rule.metric != "accuracy":
        return found == {name: close(n) for name, n in expected.items()}
    # Told as whole answers, and one that makes up the sum.
    right = sum(int(name) / 1e6 * n for name, n in found.items())
    return right == close(expected.get("1000000", 0.0)) and sum(found.values()) == close(
        sum(expected.values())
    )


def _proof_of(worst: Document | None) -> Document | None:
    return worst["proof"] if worst is not None else None
