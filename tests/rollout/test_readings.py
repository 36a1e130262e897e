"""Readings against brute force: every window at every minute, recounted from the raw minutes."""

import itertools
import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.reconcile.observe import bounds
from controller.rollout.counting.columns import at
from controller.rollout.counting.tallies import Tallies
from controller.rollout.evidence import proofs
from controller.rollout.evidence.force import InForceTime
from controller.rollout.evidence.looks import measure
from controller.rollout.evidence.reader import Windows
from controller.rollout.evidence.readings import read, read_all
from controller.rollout.evidence.rules import alpha_of
from controller.rollout.evidence.view import View
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.observation import BOTH_ARMS, Cohort, RollupRow
from controller.rollout.plan import Arm, Evidence, Scope, Then
from controller.rollout.state import Epoch
from controller.rollout.timeline import minute_of, start_of
from controller.rollout.verdict import Availability, LossCounts, PairCounts, RateCounts
from tests.rollout.factories import ACCURACY, ESCALATION, NOW, at_step, plan

START = minute_of(NOW)
SHORT = replace(ESCALATION, window=timedelta(minutes=30), min_samples=1)
brief = settings(max_examples=60, deadline=None)


def row(minute, stats, *, arm="candidate", intent="refund", version=2, cohort=Cohort.COMPARED):
    return RollupRow(
        rollout="support-bot/1",
        minute=minute,
        version=version,
        arm=arm,
        intent=intent,
        endpoint="chat.completions",
        cohort=cohort,
        seq=1,
        stats=stats,
    )


def view(rows, *, minutes, of=None, judged=None, touched=(), state=None):
    """`minutes` after the step began, with the split in force all the while."""
    of = of or plan()
    now = start_of(START + minutes)
    tallies = Tallies(bounds=bounds(of))
    tallies.feed(rows, 1)
    state = state or at_step(0, of, started_at=NOW)
    return View(
        plan=of,
        state=state,
        tallies=tallies,
        in_force=InForceTime([(NOW, now + timedelta(minutes=1))]),
        now=now,
        judged=judged,
        touched=touched,
        moved=touched,
    )


def requests(minute, n, escalated, **key):
    return row(
        minute,
        {
            "n": n,
            "e": n,
            "d.escalated": n,
            "ed.escalated": n,
            "f.escalated": escalated,
            "ef.escalated": escalated,
        },
        **key,
    )


minute_counts = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 5)).map(lambda t: (max(t), min(t))),
    min_size=40,
    max_size=120,
)


@brief
@given(minute_counts)
def test_after_downtime_the_worst_of_all_windows_is_found(counts):
    of = plan(rules=(SHORT,))
    rows = [requests(START + i, n, x) for i, (n, x) in enumerate(counts)]

    found = read(view(rows, minutes=len(counts) - 1, of=of, judged=START), SHORT, None)

    rates = []
    for end in range(1, len(counts) + 1):
        window = counts[max(0, end - 30) : end]
        n, x = sum(one[0] for one in window), sum(one[1] for one in window)
        if end >= 30 and n:
            rates.append(x / n)
    if rates:
        assert found.worst is not None
        assert found.worst.value == pytest.approx(max(rates), abs=1e-15)
        assert isinstance(found.worst.counts, RateCounts)
        assert found.worst.counts.count / found.worst.counts.of == found.worst.value


def test_normally_only_the_window_that_ends_now_is_judged():
    rows = [requests(START, 100, 100), *(requests(START + i, 100, 0) for i in range(1, 100))]

    found = read(view(rows, minutes=99, judged=START + 99, of=plan(rules=(SHORT,))), SHORT, None)

    assert found.latest == found.worst
    assert found.latest is not None
    assert found.latest.value == 0


def test_a_late_change_has_every_window_that_it_touches_judged_again():
    rows = [requests(START + i, 100, 0) for i in range(200)]
    rows[40] = requests(START + 40, 100, 90)
    late = view(
        rows, minutes=199, of=plan(rules=(SHORT,)), judged=START + 199, touched=[START + 40]
    )

    found = read(late, SHORT, None)

    assert found.worst is not None
    assert found.worst.value == pytest.approx(90 / 3000)
    assert found.worst.window.start <= start_of(START + 40) < found.worst.window.end


def test_exactly_the_windows_that_a_change_touches_are_judged_again():
    of = plan(rules=(SHORT,))
    changed = view([], minutes=600, of=of, judged=START + 598, touched=[START + 100, START + 110])

    ends = changed.span(SHORT, changed.state.epoch(SHORT.name)).ends

    again = list(range(START + 101, START + 141))
    assert list(ends) == [*again, START + 600, START + 601]


@pytest.mark.parametrize("delay_s", [0, 30, 60, 90, 1_810])
@pytest.mark.parametrize("second", [0, 20, 59])
@pytest.mark.parametrize("later_s", [1, 61, 330])
def test_each_window_is_judged_whatever_part_of_a_minute_labels_take(delay_s, second, later_s):
    rule = replace(ACCURACY, window=timedelta(minutes=30))
    of = plan(rules=(rule,), labels=replace(plan().labels, delay=timedelta(seconds=delay_s)))
    before = NOW + timedelta(hours=2, seconds=second)
    looks = [
        replace(view([], minutes=0, of=of), now=now, judged=minute_of(before))
        for now in (before, before + timedelta(seconds=later_s))
    ]

    closed, ends = (
        looks[0].watermark(rule),
        looks[1].span(rule, looks[1].state.epoch(rule.name)).ends,
    )

    assert set(range(closed + 1, looks[1].watermark(rule) + 1)) <= set(ends.tolist())
    # And none of long ago once more.
    assert ends[0] >= closed


def test_grades_alone_touch_only_the_rules_that_look_at_them():
    tallies = Tallies()
    tallies.feed([row(START, {"n": 5}), row(START + 1, {"n": 5})], 1)

    graded = tallies.feed([row(START, {"n": 5, "graded": 5}), blocks(START, {0: 1})], 2)
    escalated = tallies.feed([row(START + 1, {"n": 5, "f.escalated": 1})], 3)

    assert (graded, escalated) == (set(), {START + 1})
    seen = replace(view([], minutes=600, judged=START + 599, touched=[START + 200]), moved=[])
    epoch = seen.state.epoch(ESCALATION.name)
    assert list(seen.span(ESCALATION, epoch).ends) == [START + 601]
    assert len(seen.span(replace(ACCURACY, window=timedelta(hours=1)), epoch).ends) > 1


def test_a_step_is_measured_in_any_of_its_metrics_alike_for_one_window_and_for_many():
    random = np.random.default_rng(7)

    def stats(*, of_both: bool = False) -> dict[str, int]:
        n = int(random.integers(0, 9))
        if of_both:
            return {
                "b.0": n,
                "b.1000000": n // 3,
                "p.11": n,
                "p.10": n // 2,
                "p.01": n // 4,
                "p.00": 0,
            }
        few = int(random.integers(0, n + 1))
        counted = dict.fromkeys(("n", "e", "d.error", "ed.error", "c.latency_us", "units"), n)
        known = dict.fromkeys(("f.error", "ef.error", "graded", "e.graded", "served"), few)
        grades = dict.fromkeys(("e.correct_u", "served_u"), few * MICRO // 2)
        cost = {"c.cost_nusd": few, "s.cost_nusd": few * 3_600_000, "s.latency_us": n * 700_000}
        tokens = {"c.output_tokens": few, "s.output_tokens": 90 * few, "s.input_tokens": 700 * few}
        return (
            counted | known | grades | cost | tokens | {"h.latency.3": few, "h.latency.40": n - few}
        )

    rows = [
        row(START + i, stats(), arm=arm, version=1 + i // 100, cohort=cohort)
        for i in range(0, 200, 3)
        for arm in ("baseline", "candidate")
        for cohort in Cohort
    ]
    rows += [row(START + i, stats(of_both=True), arm=BOTH_ARMS) for i in range(0, 200, 7)]
    reader = view(rows, minutes=200).reader
    ends = np.arange(START + 1, START + 200)

    for metric, intent, arm in itertools.product(
        CATALOGUE.values(), ("refund", None), (None, *Arm)
    ):
        rule = replace(
            ESCALATION, metric=metric, window=timedelta(minutes=30), arm=arm, min_samples=9
        )
        many = measure(rule, intent, reader, Windows.of(ends - 30, ends))
        for i in (0, 40, 150, 198):
            single = measure(rule, intent, reader, Windows.single(int(ends[i]) - 30, int(ends[i])))
            for one, of_many in ((single.values, many.values), (single.samples, many.samples)):
                assert isinstance(one, int | float)
                assert at(one, 0) == pytest.approx(at(of_many, i), rel=1e-15, nan_ok=True), metric
            assert single.counts(0) == many.counts(i), metric


def test_a_window_is_complete_only_within_the_epoch_and_while_the_split_was_in_force():
    rows = [requests(START + i, 100, 50) for i in range(60)]
    of = plan(rules=(SHORT,))

    early = read(view(rows, minutes=20, of=of), SHORT, None)
    late = read(view(rows, minutes=40, of=of), SHORT, None)
    gap = view(rows, minutes=59, of=of)
    gap = replace(gap, in_force=InForceTime([(NOW, NOW + timedelta(minutes=40))]))

    assert early.worst is None
    assert late.worst is not None
    assert read(gap, SHORT, None).worst is None


@brief
@given(minute_counts)
def test_the_rate_proof_is_the_best_start_by_brute_force(counts):
    of = plan(rules=(ESCALATION,))
    rows = [requests(START + i, n, x) for i, (n, x) in enumerate(counts)]
    found = read(view(rows, minutes=len(counts) - 1, of=of), ESCALATION, None).failing

    state = at_step(0, of, started_at=NOW)
    epoch = state.epoch("escalation")
    horizon_h = 312
    lambdas = [0.5 * b * 0.01 / (0.02 * 0.98) for b in (1, 2, 4)]
    alpha = alpha_of(of, ESCALATION, epoch)
    best = (-math.inf, 0.0, 0.0)
    for start in [s for s in range(len(counts)) if s == 0 or (START + s) % 60 == 0]:
        n = sum(one[0] for one in counts[start:])
        x = sum(one[1] for one in counts[start:])
        e = np.mean(
            [
                math.exp(x * math.log1p(lam * 0.98) + (n - x) * math.log1p(-lam * 0.02))
                for lam in lambdas
            ]
        )
        # A quarter of alpha is the first start's, the other 311 share the rest.
        needed = math.log(4 / alpha) if start == 0 else math.log((horizon_h - 1) / (0.75 * alpha))
        best = max(best, (math.log(e) - needed, math.log(e), needed))
    assert found is not None
    assert found.log_e - found.log_threshold == pytest.approx(best[0], abs=1e-9)
    assert (found.log_e, found.log_threshold) == pytest.approx(best[1:], abs=1e-9)


def test_a_rule_with_its_own_alpha_is_judged_by_it():
    own = replace(ESCALATION, alpha=0.04)
    rows = [requests(START + i, 100, 1) for i in range(60)]

    found = read(view(rows, minutes=59, of=plan(rules=(ACCURACY, own))), own, None).failing

    assert found is not None
    # The rule's own part of 5%, of which a quarter is the first start's
    assert found.log_threshold == pytest.approx(math.log(4 / 0.04))


def best_by_hand(counts, first, end, *, window, least):
    """The log E, furthest over what it needs, of the starts that serve an end, of ESCALATION from START + first on;
    None without a start.
    """
    lambdas = [0.5 * b * 0.01 / (0.02 * 0.98) for b in (1, 2, 4)]
    hours = [s for s in range(first + 1, len(counts)) if (START + s) % 60 == 0]
    found = []
    for start in [first, *hours]:
        if least <= end - start <= window:
            n = sum(one[0] for one in counts[start:end])
            x = sum(one[1] for one in counts[start:end])
            wealths = [
                math.exp(x * math.log1p(lam * 0.98) + (n - x) * math.log1p(-lam * 0.02))
                for lam in lambdas
            ]
            log_e = math.log(np.mean(wealths))
            needed = math.log(4 if start == first else 311 / 0.75)  # and 1 / alpha, of each
            found.append((log_e - needed, log_e))
    return max(found)[1] if found else None


@brief
@given(
    counts=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 3)).map(lambda t: (max(t), min(t))),
        min_size=60,
        max_size=200,
    ),
    first=st.integers(0, 59),
    window=st.integers(2, 150),
    least=st.integers(1, 150),
)
def test_with_a_least_window_the_proof_is_of_the_last_end_that_has_one(
    counts, first, window, least
):
    least = min(least, window)
    longest, shortest = (timedelta(minutes=span) for span in (window, least))
    rule = replace(ESCALATION, window=longest, min_window=shortest)
    of = plan(rules=(rule,))
    rows = [requests(START + i, n, x) for i, (n, x) in enumerate(counts)]
    begun = at_step(0, of, started_at=start_of(START + first))
    last = len(counts) - 1
    found = read(view(rows, minutes=last, of=of, judged=START + last, state=begun), rule, None)

    ends = range(first + 1, len(counts) + 1)
    by_hand = [best_by_hand(counts, first, end, window=window, least=least) for end in ends]
    known = [one for one in by_hand if one is not None]
    if not known:
        assert found.failing is None
        return
    assert found.failing is not None
    assert found.failing.log_e == pytest.approx(known[-1], abs=1e-9)
    assert least <= found.failing.window.span / timedelta(minutes=1) <= window


def test_a_rule_that_blames_whole_days_alone_does_not_blame_a_bad_hour():
    whole = replace(ESCALATION, min_window=timedelta(hours=24))
    short = replace(ESCALATION, min_window=timedelta(hours=1))
    # A quiet day but for one hour at three times the limit: 1.125% over 24 h, 6% over the hour.
    rows = [requests(START + i, 100, 6 if 1380 <= i < 1440 else 1) for i in range(1440)]

    def failing(rule):
        of = plan(rules=(rule,))
        found = read(view(rows, minutes=1439, of=of, judged=START + 1438), rule, None).failing
        assert found is not None
        return found

    assert failing(short).reached
    assert failing(short).window.span == timedelta(hours=1)
    assert not failing(whole).reached
    assert failing(whole).window.span == timedelta(hours=24)


def test_what_a_whole_day_proved_holds_until_the_next_one_is_over():
    whole = replace(ESCALATION, min_window=timedelta(hours=24))
    of = plan(rules=(whole,))
    rows = [requests(START + i, 100, 4) for i in range(1500)]

    at_the_hour, later, next_hour = (
        read(view(rows, minutes=minute - 1, of=of, judged=START + minute - 1), whole, None).failing
        for minute in (1440, 1499, 1500)
    )

    assert at_the_hour is not None
    assert at_the_hour.reached
    assert later == at_the_hour
    assert next_hour is not None
    assert next_hour.window.start == at_the_hour.window.start + timedelta(hours=1)


def test_no_day_is_blamed_before_there_was_a_whole_one():
    whole = replace(ESCALATION, min_window=timedelta(hours=24))
    of = plan(rules=(whole,))
    rows = [requests(START + i, 100, 100) for i in range(1439)]

    assert read(view(rows, minutes=1438, of=of), whole, None).failing is None


def labels(minute, n, right, *, arm, version=2, intent="refund"):
    return row(
        minute,
        {"n": n, "graded": n, "e": n, "e.graded": n, "e.correct_u": right * MICRO},
        arm=arm,
        version=version,
        intent=intent,
    )


LOSS = replace(ACCURACY, window=timedelta(hours=2), evidence=Evidence.OBSERVED, min_samples=1)
PROMPT = plan(rules=(LOSS,), labels=replace(plan().labels, delay=timedelta(0)))


def test_a_change_of_share_cannot_fake_a_loss():
    # Simpson: both arms lose accuracy equally when the share is raised; the candidate weighs more in the worse part.
    rows = [
        labels(START + 1, 900, 900, arm="baseline", version=2),
        labels(START + 1, 100, 100, arm="candidate", version=2),
        labels(START + 9, 500, 400, arm="baseline", version=3),
        labels(START + 9, 500, 400, arm="candidate", version=3),
    ]
    found = read(view(rows, minutes=119, of=PROMPT), LOSS, "refund").latest

    assert found is not None
    assert found.value == 0
    assert isinstance(found.counts, LossCounts)
    assert [one.version for one in found.counts.strata] == [2, 3]


def test_the_loss_is_weighted_by_the_strata_and_an_empty_arm_is_left_out():
    rows = [
        labels(START + 1, 90, 81, arm="baseline", version=2),
        labels(START + 1, 10, 8, arm="candidate", version=2),
        labels(START + 9, 300, 0, arm="baseline", version=3),
    ]
    found = read(view(rows, minutes=119, of=PROMPT), LOSS, "refund").latest

    assert found is not None
    assert found.value == pytest.approx(0.1)
    assert found.samples == 10


def test_each_rule_is_read_on_each_intent_that_it_is_judged_on_and_that_is_not_pinned():
    each = replace(ESCALATION, name="each", scope=Scope.EACH)
    of = plan(rules=(ACCURACY, ESCALATION, each))
    rows = [requests(START, 10, 1), requests(START, 20, 6, intent="order-status")]

    def asked(**changes):
        seen = view(rows, minutes=9, of=of, state=at_step(0, of, started_at=NOW, **changes))
        return [(one.rule, one.intent) for one in read_all(seen)]

    whole = [("accuracy", "refund"), ("escalation", None)]
    assert asked() == [*whole, ("each", "refund"), ("each", "order-status")]
    assert asked(pins=("order-status",)) == [*whole, ("each", "refund")]
    told = list(read_all(view(rows, minutes=9, of=of)))
    assert [one.latest.value for one in told if one.latest is not None][1:] == [7 / 30, 0.1, 0.3]


def test_another_intent_does_not_count():
    rows = [
        labels(START + 1, 90, 0, arm="baseline", intent="order-status"),
        labels(START + 1, 10, 10, arm="candidate", intent="order-status"),
    ]

    assert (
        read(view(rows, minutes=119, of=PROMPT), LOSS, "refund").availability
        is Availability.NO_TRAFFIC
    )


def blocks(minute, counts, version=2):
    return row(minute, {f"b.{v}": n for v, n in counts.items()}, arm=BOTH_ARMS, version=version)


def test_the_guarded_proof_multiplies_blocks_of_all_steps():
    rows = [
        blocks(START + 1, {0: 50, 888_889: 9}, version=2),
        blocks(START + 30, {0: 80, 1_000_000: 7, -1_000_000: 2}, version=3),
    ]
    found = read(view(rows, minutes=119, of=PROMPT), LOSS, "refund").failing
    variance = 0.05 * 0.95 * (1 + 1 / 9)

    logs = []
    for factor in (0.5, 1, 2):
        lam = min(factor * 0.015 / variance, 0.95)
        logs.append(9 * math.log1p(lam * 0.888889) + 7 * math.log1p(lam) + 2 * math.log1p(-lam))
    expected = math.log(sum(math.exp(one) for one in logs) / 3)

    assert found is not None
    assert found.claim == 0
    assert found.log_e == pytest.approx(expected, abs=1e-9)
    assert found.tally == {"0": 130, "888889": 9, "1000000": 7, "-1000000": 2}


def lost(last: int, *, candidate_right: int, more: int):
    """A loss that is proven from minute 5 on, and further at the `last`, where labels say that it is small."""
    return [
        blocks(START + 5, {0: 20, 1_000_000: 10}),
        labels(START + 5, 90, 90, arm="baseline"),
        labels(START + 5, 10, candidate_right, arm="candidate"),
        blocks(START + last, {1_000_000: more}),
        labels(START + last, 900, 900, arm="baseline", version=3),
        labels(START + last, 1_000, 1_000, arm="candidate", version=3),
        # On another intent nothing is lost.
        labels(START + 5, 90_000, 90_000, arm="baseline", intent="order-status"),
        labels(START + 5, 10_000, 10_000, arm="candidate", intent="order-status"),
    ]


@pytest.mark.parametrize("more", [1, 12], ids=["a little", "a lot"])
@pytest.mark.parametrize("judged", [58, -1], ids=["two ends", "many"])
def test_after_downtime_a_loss_is_told_where_it_is_proven_and_seen_over_the_limit(judged, more):
    half = replace(LOSS, limit=0.5)

    def failing(right: int, rule=LOSS):
        rows = lost(60, candidate_right=right, more=more)
        of = replace(PROMPT, rules=(rule,))
        proof = read(view(rows, minutes=60, of=of, judged=START + judged), rule, "refund").failing
        assert proof is not None
        assert proof.reached
        return proof

    over, under, at = failing(8), failing(10), failing(5, half)

    # Of one and the same proof: where two of ten were wrong it is told before they drown in a thousand,
    assert over.look.value == pytest.approx(0.2)
    assert start_of(START + 6) <= over.window.end <= start_of(START + 60)
    # and where nothing was ever seen over the limit, but at most on it, where it is strongest.
    assert under.look.value == 0
    assert under.window.end == at.window.end == start_of(START + 61)
    assert under.log_e > over.log_e


def test_after_downtime_a_rate_is_told_where_it_is_proven_most_whatever_its_whole_window_says():
    of = plan(rules=(ESCALATION,))
    rows = [requests(START, 9, 9), requests(START + 1, 5_000, 0), requests(START + 60, 200, 40)]

    found = read(view(rows, minutes=60, of=of, judged=START - 1), ESCALATION, None).failing

    # Over 24 hours 49 of 5,209 are under 2%; nine of the first nine were not, and are a weaker proof.
    assert found is not None
    assert found.window.start == start_of(START + 60)
    assert found.tally == {"0": 160, str(MICRO): 40}


def test_a_rule_that_rolls_back_must_disprove_the_limit_itself():
    harder = replace(LOSS, then=Then.ROLLBACK)

    assert proofs.claim_of(PROMPT, LOSS) == 0
    assert proofs.claim_of(PROMPT, harder) == 0.015


def test_pairs_are_used_where_there_are_enough():
    rows = [
        labels(START + 1, 90, 90, arm="baseline"),
        labels(START + 1, 10, 10, arm="candidate"),
        row(START + 2, {"p.11": 90, "p.10": 8, "p.01": 2}, arm=BOTH_ARMS),
    ]
    rule = replace(LOSS, min_samples=50)
    few = replace(LOSS, min_samples=500)

    paired = read(view(rows, minutes=119, of=replace(PROMPT, rules=(rule,))), rule, "refund")
    unpaired = read(view(rows, minutes=119, of=PROMPT), few, "refund")

    assert paired.latest is not None
    assert unpaired.latest is not None
    assert isinstance(paired.latest.counts, PairCounts)
    assert paired.latest.value == pytest.approx(0.06)
    assert isinstance(unpaired.latest.counts, LossCounts)


def test_a_pair_of_several_runs_is_one_value_between_the_others():
    rows = [
        labels(START + 1, 90, 90, arm="baseline"),
        labels(START + 1, 10, 10, arm="candidate"),
        row(START + 2, {"p.11": 5, "p.00": 1, "pv.500000": 2, "pv.-250000": 1}, arm=BOTH_ARMS),
        row(START + 3, {"p.10": 1, "pv.0": 3}, arm=BOTH_ARMS),
    ]
    rule = replace(LOSS, min_samples=1)

    found = read(view(rows, minutes=119, of=replace(PROMPT, rules=(rule,))), rule, "refund")

    assert found.latest is not None
    assert isinstance(found.latest.counts, PairCounts)
    assert found.latest.samples == found.latest.counts.total == 13
    assert found.latest.value == pytest.approx((1 + 2 * 0.5 - 0.25) / 13)
    assert found.latest.counts.loss == pytest.approx(found.latest.value)
    assert found.failing is not None
    assert found.failing.tally == {"0": 9, "500000": 2, "-250000": 1, "1000000": 1}
    # Bets of the pairs' variance, the priors' discordance 0.05, on a margin of 0: STATISTICS §1.
    bets = [factor * rule.limit / 0.05 for factor in (0.5, 1, 2)]
    wealth = [(1 + one) * (1 + 0.5 * one) ** 2 * (1 - 0.25 * one) for one in bets]
    assert found.failing.log_e == pytest.approx(math.log(sum(wealth) / 3))


def test_a_limit_with_for_must_stay_passed_throughout():
    rule = replace(
        SHORT, window=timedelta(minutes=10), sustained=timedelta(minutes=15), min_samples=1
    )
    of = plan(rules=(rule,))

    def after(bad_minutes):
        rows = [requests(START + i, 100, 50 if i >= 60 - bad_minutes else 0) for i in range(60)]
        return read(view(rows, minutes=59, of=of), rule, None).worst

    short, long = after(5), after(40)
    assert short is not None
    assert long is not None
    assert short.value == 0
    assert long.value == pytest.approx(0.5)


def test_latency_ratio_compares_the_arms_quantiles():
    from controller.stats.histogram import bucket_of

    rule = replace(
        SHORT,
        name="latency",
        metric=CATALOGUE["latency_p95_ratio"],
        limit=1.25,
        then=Then.PAUSE,
    )
    of = plan(rules=(rule,))
    rows = [
        row(START + i, {"n": 10, "c.latency_us": 10, f"h.latency.{bucket_of(s)}": 10}, arm=arm)
        for i in range(60)
        for arm, s in (("baseline", 1.0), ("candidate", 1.5))
    ]
    found = read(view(rows, minutes=59, of=of), rule, None).latest

    assert found is not None
    assert found.value == pytest.approx(1.5, rel=0.025)
    assert found.samples == 300


def test_cost_per_hour_takes_unknown_costs_at_the_mean_of_the_known():
    rule = replace(
        SHORT,
        name="spend",
        metric=CATALOGUE["cost_per_hour"],
        limit=50.0,
        window=timedelta(hours=1),
        then=Then.PAUSE,
    )
    of = plan(rules=(rule,))
    rows = [
        row(START + 1, {"n": 4, "c.cost_nusd": 2, "s.cost_nusd": 10_000_000_000}),
        row(
            START + 1,
            {"n": 1, "c.cost_nusd": 1, "s.cost_nusd": 3_000_000_000},
            arm="baseline",
            cohort=Cohort.OUTSIDE,
        ),
    ]
    found = read(view(rows, minutes=59, of=of), rule, None).latest

    assert found is not None
    assert found.value == pytest.approx(5 * (13 / 3))


def test_labels_that_stop_coming_make_the_rule_blind_and_sparse_ones_do_not():
    of = plan(labels=replace(plan().labels, delay=timedelta(minutes=60)))
    traffic = [row(START + i, {"n": 5, "e": 5}) for i in range(300)]
    graded = [
        row(START + i, {"n": 5, "e": 5, "graded": 5, "e.graded": 5, "e.correct_u": 0})
        for i in range(100)
    ]
    sparse = [
        row(START + i, {"n": 5, "e": 5, "graded": int(i % 60 == 0), "e.graded": int(i % 60 == 0)})
        for i in range(200)
    ]

    def blind(rows, at):
        return read(view(rows, minutes=at, of=of), ACCURACY, "refund").blind

    assert blind(traffic, 30) == timedelta(0)
    assert blind(traffic, 100) == timedelta(minutes=40)
    assert blind([*traffic[100:], *graded], 100) == timedelta(0)
    assert blind([*traffic[100:], *graded], 250) == timedelta(minutes=90)
    assert blind([*traffic[200:], *sparse], 250) == timedelta(0)


def test_no_traffic_labels_not_due_and_no_data_are_told_apart():
    of = plan()
    silent = read(view([], minutes=59, of=of), ESCALATION, None)
    unlabelled = read(
        view(
            [row(START, {"n": 5, "e": 5}), row(START, {"n": 5, "e": 5}, arm="baseline")],
            minutes=600,
            of=of,
        ),
        ACCURACY,
        "refund",
    )

    young = read(
        view([row(START, {"n": 5}), row(START, {"n": 5}, arm="baseline")], minutes=10, of=of),
        ACCURACY,
        "refund",
    )

    assert young.availability is Availability.NOT_DUE
    assert silent.availability is Availability.NO_TRAFFIC
    assert unlabelled.availability is Availability.NO_DATA


def test_at_a_full_share_a_comparing_rule_has_no_control():
    of = plan(holdback_bp=0)
    found = read(
        view([], minutes=9, of=of, state=at_step(3, of)),
        replace(ACCURACY, scope=Scope.EACH),
        "refund",
    )

    assert found.availability is Availability.NO_CONTROL


def test_a_new_epoch_forgets_what_was_before_it():
    state = at_step(0, plan(rules=(SHORT,)), started_at=NOW)
    state = replace(state, epochs={"escalation": Epoch(number=1, start=start_of(START + 50))})
    rows = [requests(START + i, 100, 90 if i < 50 else 0) for i in range(100)]
    found = read(
        view(
            rows,
            minutes=99,
            of=plan(rules=(SHORT,)),
            state=state,
            touched=range(START, START + 100),
        ),
        SHORT,
        None,
    )

    assert found.epoch == 1
    assert found.worst is not None
    assert found.worst.value == 0
    assert found.failing is not None
    assert found.failing.window.start >= start_of(START + 50)


def test_a_new_epoch_younger_than_the_labels_has_seen_nothing_yet():
    of = plan()
    rows = [
        labels(START + 1, 90, 90, arm="baseline"),
        labels(START + 1, 10, 5, arm="candidate"),
        row(START + 590, {"n": 5, "e": 5}),
        row(START + 590, {"n": 5, "e": 5}, arm="baseline"),
    ]
    resumed = replace(
        at_step(0, of, started_at=NOW),
        epochs={"accuracy": Epoch(number=1, start=start_of(START + 590))},
    )

    found = read(view(rows, minutes=600, of=of, state=resumed, touched=[START]), ACCURACY, "refund")

    assert found.availability is Availability.NOT_DUE
    assert found.latest is not None
    assert (found.latest.value, found.latest.samples) == (None, 0)
    assert found.latest.counts == LossCounts(strata=())
    assert (found.worst, found.failing, found.passing) == (None, None, None)
