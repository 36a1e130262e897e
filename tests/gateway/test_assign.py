"""Which arm a request gets: off > pin > live arm > hash. Invariant 8 at a gateway."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.gateway.assign import NO_INTENT, UNKNOWN_INTENT, Placement, place
from controller.gateway.live import LiveUnits
from controller.gateway.message import ChatRequest
from controller.gateway.splits import Claim
from controller.rollout.assignment import assign
from controller.rollout.observation import Cohort
from controller.rollout.plan import FULL_BP, Arm, Unit
from tests.gateway.factories import chat, claim, route, under_way
from tests.traffic.factories import NOW, SECOND

REFUND = {"x-canary-intent": "refund"}
UNITS = [f"unit-{number}" for number in range(40)]

shares_bp = st.integers(0, FULL_BP)
raises = st.lists(shares_bp, min_size=1, max_size=6).map(sorted)
units = st.sampled_from(UNITS)


class Gateway:
    """What a gateway remembers of its units, on a clock that moves a second with each request."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "live.jsonl"
        self._now = NOW
        self._requests = 0
        self._live = LiveUnits(self._file, NOW)

    def __call__(
        self,
        claim: Claim,
        unit: str | None,
        request: ChatRequest | None = None,
        **headers: str,
    ) -> Placement:
        self._now += SECOND
        self._requests += 1
        named = {f"x-canary-{name}": value for name, value in headers.items()}
        keyed = {} if unit is None else {"x-canary-unit": unit}
        return place(
            claim,
            request if request is not None else chat(),
            {**REFUND, **keyed, **named},
            self._live,
            request_id=f"request-{self._requests}",
            now=self._now,
        )

    def rest(self, span: timedelta) -> None:
        self._now += span

    def restart(self) -> None:
        self._live.close()
        self._live = LiveUnits(self._file, self._now)

    def close(self) -> None:
        self._live.close()


@contextmanager
def gateway() -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory() as folder:
        started = Gateway(Path(folder))
        try:
            yield started
        finally:
            started.close()


def outside(placed: Placement) -> bool:
    """Whether it is the baseline's and not compared."""
    return (placed.arm, placed.cohort, placed.assigned) == (Arm.BASELINE, Cohort.OUTSIDE, False)


# (a), (b): raises


@given(shares_bp, shares_bp)
def test_invariant_8_a_raise_moves_new_units_only_from_baseline_to_candidate(one, other):
    low, high = sorted((one, other))
    with gateway() as before, gateway() as after:
        for unit in UNITS:
            arms = before(claim(low), unit).arm, after(claim(high), unit).arm

            assert arms != (Arm.CANDIDATE, Arm.BASELINE)


@given(raises, st.lists(st.tuples(units, st.booleans()), min_size=1, max_size=30))
def test_invariant_8_a_live_unit_keeps_its_arm_and_version_while_the_share_rises(shares, requests):
    first: dict[str, tuple[Arm, int]] = {}
    with gateway() as served:
        for version, share in enumerate(shares, start=1):
            # At 0 the candidate is off; that has a test of its own.
            for unit, restarts in requests:
                if restarts:
                    served.restart()
                asked = under_way() if unit in first else chat()

                placed = served(claim(max(share, 1), version=version), unit, asked)

                known = first.setdefault(unit, (placed.arm, version))
                assert (placed.arm, placed.version) == known
                assert placed.cohort is Cohort.COMPARED
            served.rest(timedelta(minutes=4))


@given(units, st.integers(1, FULL_BP), st.integers(1, FULL_BP))
def test_a_live_unit_keeps_its_arm_when_the_share_is_lowered_but_not_to_0(unit, one, other):
    low, high = sorted((one, other))
    with gateway() as served:
        first = served(claim(high), unit)

        assert served(claim(low, version=2), unit).arm is first.arm


@given(units, shares_bp)
def test_a_unit_is_assigned_once_under_a_split_however_often_it_comes_back(unit, share):
    with gateway() as served:
        placed = [served(claim(share), unit).assigned for _ in range(3)]
        served.rest(timedelta(minutes=31))

        assert placed == [True, False, False]
        assert not served(claim(share), unit).assigned
        served.rest(timedelta(minutes=31))
        assert served(claim(share, version=2), unit).assigned


# (c): what is the baseline's whatever the share


@given(units, shares_bp, st.booleans())
def test_invariant_8_a_pinned_intent_is_the_baselines(unit, share, known_before):
    with gateway() as served:
        if known_before:
            served(claim(FULL_BP), unit)

        assert outside(served(claim(share), unit, intent="legal"))


@given(units, shares_bp)
def test_an_intent_that_was_pinned_since_is_the_baselines_also_for_a_live_unit(unit, share):
    pinned = replace(claim(share), route=replace(route(), pinned=("legal", "refund")))
    with gateway() as served:
        served(claim(FULL_BP), unit)

        assert outside(served(pinned, unit))


@given(units, shares_bp, st.text(st.characters(codec="utf-8"), max_size=6))
def test_an_intent_that_the_plan_does_not_have_is_the_baselines_under_one_name(unit, share, name):
    with gateway() as served:
        placed = served(claim(share), unit, intent=f"{name}?")

        assert outside(placed)
        assert placed.intent == UNKNOWN_INTENT


@given(units, shares_bp)
def test_a_request_without_an_intent_is_the_baselines(unit, share):
    with gateway() as served:
        placed = served(claim(share), unit, intent="")

        assert outside(placed)
        assert placed.intent == NO_INTENT


@given(units, st.booleans())
def test_while_nothing_is_in_force_everything_is_the_baselines_and_keeps_its_intent(unit, known):
    with gateway() as served:
        if known:
            served(claim(FULL_BP), unit)

        placed = served(claim(None), unit)

        assert outside(placed)
        assert placed.intent == "refund"


@pytest.mark.parametrize(
    ("limited", "asked"),
    [
        (route(window=10), chat()),
        (route(window=100), chat(max_tokens=90)),
        (route(longest=50), chat(max_completion_tokens=51)),
    ],
)
def test_what_is_over_the_candidates_limits_is_the_baselines(limited, asked, tmp_path):
    served = Gateway(tmp_path)

    assert outside(served(claim(FULL_BP, route=limited), "unit-1", asked))
    served.close()


def test_what_is_just_within_the_candidates_limits_is_not(tmp_path):
    asked = chat(max_tokens=50)
    window = asked.input_tokens + 50
    served = Gateway(tmp_path)

    placed = served(claim(FULL_BP, route=route(window=window, longest=50)), "unit-1", asked)

    assert placed.arm is Arm.CANDIDATE
    served.close()


# (d): off


@given(st.lists(units, max_size=20), st.booleans())
def test_at_share_0_nobody_gets_the_candidate(asked, known):
    with gateway() as served:
        for unit in asked:
            if known:
                served(claim(FULL_BP), unit)

            assert served(claim(0, version=2), unit).arm is Arm.BASELINE


@given(units, st.booleans())
def test_a_unit_that_was_put_off_stays_with_the_baseline_while_it_lives(unit, restarts):
    with gateway() as served:
        assert served(claim(FULL_BP), unit).arm is Arm.CANDIDATE
        off = served(claim(0, version=2), unit)
        if restarts:
            served.restart()

        back = served(claim(FULL_BP, version=3), unit)

        assert (off.arm, off.version) == (back.arm, back.version) == (Arm.BASELINE, 2)
        served.rest(timedelta(minutes=31))
        assert served(claim(FULL_BP, version=3), unit).arm is Arm.CANDIDATE


# (e): conversations that began elsewhere


@given(units, shares_bp, shares_bp)
def test_a_conversation_that_began_elsewhere_is_the_candidates_only_where_that_is_certain(
    unit, share, settled
):
    with gateway() as served:
        placed = served(claim(share, settled={"refund": settled}), unit, under_way())

        certain = min(share, settled)
        below = {bp: assign("salt", unit, bp) is Arm.CANDIDATE for bp in (certain, share)}
        assert (placed.arm is Arm.CANDIDATE) == below[certain]
        assert outside(placed) == (below[share] and not below[certain])
        assert not placed.assigned


@given(units, st.integers(1, FULL_BP))
def test_a_conversation_between_the_shares_stays_with_the_baseline(unit, share):
    with gateway() as served:
        first = served(claim(share, settled={"refund": 0}), unit, under_way())

        again = served(claim(FULL_BP, version=2), unit, under_way())

        assert first.arm is again.arm is Arm.BASELINE


@given(units, st.integers(1, FULL_BP))
def test_an_intent_that_nothing_is_known_of_has_settled_at_0(unit, share):
    with gateway() as served:
        placed = served(claim(share, settled={}), unit, under_way())

        assert placed.arm is Arm.BASELINE


@given(units, shares_bp)
def test_a_user_keeps_its_arm_whichever_conversation_is_under_way(unit, share):
    told = claim(share, settled={"refund": 0}, route=route(Unit.USER))
    with gateway() as served:
        assert served(told, unit, under_way()).arm is assign("salt", unit, share)


# (f): keys


@given(shares_bp, st.lists(st.tuples(units, st.booleans()), max_size=30))
def test_two_gateways_agree_on_every_new_unit(share, requests):
    with gateway() as one, gateway() as other:
        for unit, goes_on in requests:
            asked = under_way() if goes_on else chat()
            told = claim(share, settled={"refund": share // 2})
            first, second = one(told, unit, asked), other(told, unit, asked)

            assert (first.arm, first.cohort) == (second.arm, second.cohort)


@pytest.mark.parametrize(
    ("kind", "fields", "unit"),
    [
        (Unit.CONVERSATION, {"metadata": {"conversation_id": "c-1"}}, "c-1"),
        (Unit.CONVERSATION, {"metadata": {"conversation": "c-1"}}, "c-1"),
        (Unit.CONVERSATION, {"user": "ada"}, None),
        (Unit.CONVERSATION, {"metadata": {"conversation_id": 5}}, None),
        (Unit.CONVERSATION, {"metadata": {"conversation_id": ""}}, None),
        (Unit.CONVERSATION, {"metadata": {"conversation_id": "\ud800"}}, None),
        (Unit.USER, {"user": "ada"}, "ada"),
        (Unit.USER, {"safety_identifier": "s-1", "user": "ada"}, "s-1"),
        (Unit.USER, {"metadata": {"user_id": "ada"}}, "ada"),
        (Unit.USER, {"metadata": {"conversation_id": "c-1"}}, None),
        (Unit.USER, {"prompt_cache_key": "p-1"}, None),
        (Unit.CONVERSATION, {"prompt_cache_key": "p-1"}, None),
        (Unit.REQUEST, {"user": "ada", "metadata": {"conversation_id": "c-1"}}, None),
    ],
)
def test_a_unit_is_named_by_what_the_plan_says_it_is(kind, fields, unit, tmp_path):
    served = Gateway(tmp_path)

    placed = served(claim(route=route(kind)), None, chat(**fields))

    assert placed.keyed == (unit is not None)
    assert placed.unit == (unit or "request-1")
    served.close()


@pytest.mark.parametrize("kind", [Unit.CONVERSATION, Unit.USER])
def test_the_header_goes_before_the_body(kind, tmp_path):
    served = Gateway(tmp_path)
    fields = {"user": "ada", "metadata": {"conversation_id": "c-1"}}

    assert served(claim(route=route(kind)), "h-1", chat(**fields)).unit == "h-1"
    served.close()


def test_a_header_in_no_encoding_names_no_unit(tmp_path):
    served = Gateway(tmp_path)

    placed = served(claim(FULL_BP), "\udcff")

    assert (placed.keyed, placed.arm) == (False, Arm.CANDIDATE)
    served.close()


@given(units, st.integers(1, FULL_BP - 1))
@settings(max_examples=30)
def test_requests_are_assigned_each_on_its_own(unit, share):
    told = claim(share, route=route(Unit.REQUEST))
    with gateway() as served:
        placed = [served(told, unit) for _ in range(20)]

        assert all(one.assigned and not one.keyed for one in placed)
        assert [one.arm for one in placed] == [
            assign("salt", f"request-{number}", share) for number in range(1, 21)
        ]


def test_the_intent_may_be_in_the_metadata_and_the_header_goes_first(tmp_path):
    served = Gateway(tmp_path)
    asked = chat(metadata={"intent": "legal"})

    assert served(claim(), "unit-1", asked, intent="").intent == "legal"
    assert served(claim(), "unit-1", asked).intent == "refund"
    served.close()
