"""At what rate observations come, by which of the figures at hand, and from where a proof begins."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from controller.rollout.counting.blocks import Sizes
from controller.rollout.evidence import prospects
from controller.rollout.evidence.needs import Needs, needs
from controller.rollout.evidence.proofs import failing_bets, passing_bets
from controller.rollout.evidence.rules import alpha_of, judge
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.plan import Evidence, Plan, Step
from controller.rollout.state import Epoch
from controller.rollout.timeline import Window
from controller.rollout.verdict import LossCounts, Outcome, PairCounts, Proof
from controller.stats.betting import log_threshold
from controller.stats.passage import Passage, Values, growth
from tests.rollout.factories import (
    ACCURACY,
    ESCALATION,
    HOUR,
    NOW,
    at_step,
    look,
    plan,
    proof,
    reading,
)

PLAN = plan()
RATE = replace(ESCALATION, evidence=Evidence.CONFIDENT)
RATES = plan(rules=(RATE,))


def a_minute(found) -> float:
    """What was reckoned with: observations over the minutes they take, to within the rounding of those."""
    assert found is not None
    assert found.observations is not None
    assert found.after is not None
    return found.observations / (found.after / timedelta(minutes=1))


def blocks(*, window: timedelta, samples: int, counts=None, step_samples: int = 0):
    """A loss that nothing is known of but its labels, up to NOW + 10 h."""
    end = NOW + 10 * HOUR
    latest = replace(
        look(0.0, samples=samples),
        window=Window(start=end - window, end=end),
        counts=counts or LossCounts(strata=()),
    )
    tally = {"0": 40}
    bets = passing_bets(PLAN, ACCURACY, "blocks")
    reached = math.log(sum(math.exp(40 * math.log1p(-bet * bets.m)) for bet in bets.lambdas) / 3)
    return judge(
        ACCURACY,
        reading(
            ACCURACY,
            "refund",
            latest=latest,
            worst=None,
            failing=None,
            passing=replace(proof(reached, needs=math.log(20)), tally=tally),
            step_samples=step_samples,
        ),
    )


def test_a_window_within_the_step_says_how_many_labels_come():
    verdict = blocks(window=2 * HOUR, samples=240, step_samples=9_999)

    found = needs(PLAN, at_step(0), verdict)

    assert a_minute(found) == pytest.approx(2, rel=0.01)


def test_a_window_that_began_before_the_step_says_nothing_of_its_share_so_the_step_does():
    verdict = blocks(window=72 * HOUR, samples=9_999, step_samples=600)

    # The step began ten hours before the window's end.
    assert a_minute(needs(PLAN, at_step(0), verdict)) == pytest.approx(1, rel=0.01)
    on_time = at_step(0, step_started_at=NOW - 62 * HOUR)
    assert a_minute(needs(PLAN, on_time, verdict)) == pytest.approx(9_999 / (72 * 60), rel=0.01)


def test_without_a_look_or_before_the_step_nothing_comes():
    verdict = blocks(window=72 * HOUR, samples=9, step_samples=600)
    unseen = replace(verdict, reading=replace(verdict.reading, latest=None))
    later = at_step(0, step_started_at=NOW + 10 * HOUR)

    for state, one in ((at_step(0), unseen), (later, verdict)):
        found = needs(PLAN, state, one)
        assert found is not None
        assert found.observations is not None
        assert found.after is None


def rate(*, since: timedelta, tally: dict[str, int], until: timedelta = 10 * HOUR, needs_=9.0):
    return replace(
        proof(0.1, needs=needs_), window=Window(start=NOW + since, end=NOW + until), tally=tally
    )


def test_episodes_come_as_in_the_longest_proof_of_the_step():
    verdict = judge(
        RATE,
        reading(
            RATE,
            worst=None,
            latest=look(0.0),
            # ten hours of the step, at one a minute; and one hour at five
            passing=rate(since=timedelta(0), tally={"0": 594, str(MICRO): 6}),
            failing=rate(since=9 * HOUR, tally={"0": 297, str(MICRO): 3}),
        ),
    )

    assert a_minute(needs(RATES, at_step(0, RATES), verdict)) == pytest.approx(1, rel=0.01)
    # A step that began an hour ago has only the shorter one.
    later = at_step(0, RATES, step_started_at=NOW + 9 * HOUR)
    assert a_minute(needs(RATES, later, verdict)) == pytest.approx(5, rel=0.01)
    # One that has just begun has none; that of the epoch is the best guess.
    now = at_step(0, RATES, step_started_at=NOW + 10 * HOUR)
    assert a_minute(needs(RATES, now, verdict)) == pytest.approx(1, rel=0.01)


def test_a_rate_goes_on_as_seen_beside_one_episode_at_the_limit():
    """To a pass: 12 in 1,200 seen, so 12.5 in 1,201 expected, from the wealth that is there."""
    tally = {"0": 1_188, str(MICRO): 12}
    verdict = judge(
        RATE,
        reading(
            RATE,
            worst=None,
            latest=look(0.01),
            passing=rate(since=timedelta(0), tally=tally, needs_=math.log(20)),
            failing=None,
        ),
    )

    found = needs(RATES, at_step(0, RATES), verdict)

    bets = passing_bets(RATES, RATE, "episodes")
    p = 12.02 / 1_201
    of = Values(np.array([0.0, -1.0]), np.array([1 - p, p]))
    one, two, three = (
        1_188 * math.log1p(bet * 0.02) + 12 * math.log1p(bet * (0.02 - 1)) for bet in bets.lambdas
    )
    expected = Passage(
        growth=growth(of, bets), log_threshold=math.log(20), held=(one, two, three)
    ).quantile(0.5)
    assert found is not None
    assert found.proof is Outcome.PASS
    assert found.observations == pytest.approx(expected, rel=1e-9)


def test_pairs_come_as_in_the_rules_window():
    counts = PairCounts(both=100, only_baseline=10, only_candidate=10, neither=0)
    of = plan(priors=replace(PLAN.priors, discordance=0.2))
    verdict = blocks(window=2 * HOUR, samples=360, counts=counts, step_samples=1)
    bets = passing_bets(of, ACCURACY, "pairs")
    tally = {"0": 40, str(MICRO): 1, str(-MICRO): 3}
    logs = [
        40 * math.log1p(-bet * bets.m)
        + 3 * math.log1p(bet * (1 - bets.m))  # the opposite of what was seen is bet on
        + math.log1p(bet * (-1 - bets.m))
        for bet in bets.lambdas
    ]
    log_e = math.log(sum(map(math.exp, logs)) / 3)
    passing = replace(proof(log_e, needs=math.log(20)), tally=tally)
    paired = replace(verdict, reading=replace(verdict.reading, passing=passing))

    found = needs(of, at_step(0, of), paired)

    assert found is not None
    assert (found.kind, found.pairs) == ("pairs", None)
    assert a_minute(found) == pytest.approx(3, rel=0.01)
    latest = paired.reading.latest
    assert latest is not None
    first = Window(start=latest.window.end - timedelta(minutes=1), end=latest.window.end)
    one_minute = replace(latest, window=first, samples=7)
    young = replace(paired, reading=replace(paired.reading, latest=one_minute))
    assert a_minute(needs(of, at_step(0, of), young)) == pytest.approx(7, rel=0.02)
    # As the 44 that were seen and a hundred of the priors', of which a tenth each way differ.
    likely = np.array([40 + 80, 1 + 10, 3 + 10]) / 144
    one, two, three = logs
    expected = Passage(
        growth=growth(Values(np.array([0.0, -1.0, 1.0]), likely), bets),
        log_threshold=math.log(20),
        held=(one, two, three),
    ).quantile(0.5)
    assert found.observations == pytest.approx(expected, rel=1e-9)


def test_pairs_too_few_for_the_windows_figure_come_as_in_the_epoch():
    """Labels of the arms come otherwise than pairs do, so the window's loss by labels says nothing of those."""
    of = plan(priors=replace(PLAN.priors, discordance=0.2))
    verdict = blocks(window=2 * HOUR, samples=9_999, step_samples=9_999)
    tally = {"0": 40, str(MICRO): 2, str(-MICRO): 2}
    logs = [
        40 * math.log1p(-bet * bets.m)
        + 2 * math.log1p(bet * (1 - bets.m))
        + 2 * math.log1p(bet * (-1 - bets.m))
        for bets in [passing_bets(of, ACCURACY, "pairs")]
        for bet in bets.lambdas
    ]
    passing = replace(
        proof(math.log(sum(map(math.exp, logs)) / 3), needs=math.log(20)),
        tally=tally,
        window=Window(start=NOW, end=NOW + timedelta(minutes=22)),
    )
    paired = replace(verdict, reading=replace(verdict.reading, passing=passing))

    found = needs(of, at_step(0, of), paired)

    assert found is not None
    assert found.kind == "pairs"
    assert a_minute(found) == pytest.approx(2, rel=0.01)  # 44 in 22 minutes


def test_blocks_beside_a_paired_figure_come_as_the_steps_labels_do():
    counts = PairCounts(both=100, only_baseline=10, only_candidate=10, neither=0)
    verdict = blocks(window=2 * HOUR, samples=9_999, counts=counts, step_samples=600)

    found = needs(PLAN, at_step(0), verdict)

    assert found is not None
    assert found.kind == "blocks"
    assert a_minute(found) == pytest.approx(1, rel=0.01)


def test_the_first_minute_says_how_many_labels_come_in_one():
    verdict = blocks(window=timedelta(minutes=1), samples=7)

    assert a_minute(needs(PLAN, at_step(0), verdict)) == pytest.approx(7, rel=0.05)


def test_before_the_first_label_what_the_priors_expect_is_needed_from_nothing():
    verdict = blocks(window=2 * HOUR, samples=240)
    unseen = replace(verdict, reading=replace(verdict.reading, passing=None))

    found = needs(PLAN, at_step(0), unseen)

    # At a tenth of the traffic: nine labels of the baseline to one of the candidate's, wrong once in twenty.
    usual = prospects.blocks(
        Sizes(baseline=9, candidate=1), baseline_wrong=0.05, candidate_wrong=0.05
    )
    each = growth(usual.negated, passing_bets(PLAN, ACCURACY, "blocks"))
    expected = Passage(growth=each, log_threshold=math.log(20)).quantile(0.5)
    assert found is not None
    assert (found.kind, found.proof) == ("blocks", Outcome.PASS)
    assert found.observations == pytest.approx(expected, rel=1e-9)


def test_a_failure_from_nothing_needs_what_a_first_start_does():
    epoch = Epoch(number=0, start=NOW)
    needed = log_threshold(
        alpha=alpha_of(RATES, RATE, epoch), start_number=1, planned_starts=312, first=0.25
    )
    tally = {"0": 900, str(MICRO): 100}
    without, with_ = (
        needs(
            RATES,
            at_step(0, RATES),
            judge(
                RATE,
                reading(
                    RATE,
                    worst=None,
                    latest=look(0.1),
                    passing=rate(since=timedelta(0), tally=tally, needs_=math.log(20)),
                    failing=failing,
                ),
            ),
        )
        # One that has seen nothing yet, at the same threshold, is as good as none.
        for failing in (None, rate(since=10 * HOUR - timedelta(minutes=1), tally={}, needs_=needed))
    )

    assert without is not None
    assert with_ is not None
    assert without.proof is with_.proof is Outcome.FAIL
    assert without.observations == pytest.approx(with_.observations)


@pytest.mark.parametrize(("begins_min", "starts"), [(0, 3), (17, 4)])
def test_where_few_starts_are_planned_what_the_first_one_needs_goes_by_when_it_began(
    begins_min, starts
):
    of = replace(
        RATES, steps=(Step(share_bp=1_000, hold=HOUR), Step(share_bp=9_000, hold=HOUR)), bake=HOUR
    )
    epoch = Epoch(number=0, start=NOW + timedelta(minutes=begins_min))
    state = at_step(0, of, epochs={RATE.name: epoch})
    tally = {"0": 900, str(MICRO): 100}

    def lacking(failing: Proof | None) -> Needs | None:
        passing = rate(since=timedelta(0), tally=tally, needs_=math.log(20))
        found = reading(RATE, worst=None, latest=look(0.1), passing=passing, failing=failing)
        return needs(of, state, judge(RATE, found))

    needed = math.log(starts / alpha_of(of, RATE, epoch))
    without = lacking(None)
    with_ = lacking(rate(since=10 * HOUR - timedelta(minutes=1), tally={}, needs_=needed))
    assert without is not None
    assert with_ is not None
    assert without.observations == pytest.approx(with_.observations)


def test_after_a_failure_was_acknowledged_a_new_one_needs_more():
    """A rule's second epoch has half the alpha of the first."""
    second = Epoch(number=1, start=NOW)
    state = at_step(0, RATES, epochs={RATE.name: second})
    needed = log_threshold(
        alpha=alpha_of(RATES, RATE, second), start_number=1, planned_starts=312, first=0.25
    )
    bets = failing_bets(RATES, RATE, "episodes")
    p = 100.02 / 1_001  # one at the limit beside those seen
    of = Values(np.array([0.0, 1.0]), np.array([1 - p, p]))

    found = needs(
        RATES,
        state,
        judge(
            RATE,
            reading(
                RATE,
                worst=None,
                latest=look(0.1),
                passing=rate(since=timedelta(0), tally={"0": 900, str(MICRO): 100}),
                failing=None,
            ),
        ),
    )

    assert needed == pytest.approx(math.log(4 / 0.025))  # a quarter of 5%, halved
    assert found is not None
    assert found.proof is Outcome.FAIL
    assert found.observations == pytest.approx(
        Passage(growth=growth(of, bets), log_threshold=needed).quantile(0.5), rel=1e-9
    )


def of_blocks(of: Plan, tally: dict[str, int], *, failing=None, samples: int = 240):
    """A verdict after blocks of such values, with what they are worth to a pass."""
    bets = passing_bets(of, ACCURACY, "blocks")
    logs = [
        sum(n * math.log1p(bet * (-int(name) / MICRO - bets.m)) for name, n in tally.items())
        for bet in bets.lambdas
    ]
    passing = replace(
        proof(math.log(sum(map(math.exp, logs)) / 3), needs=math.log(20)), tally=tally
    )
    verdict = blocks(window=2 * HOUR, samples=samples)
    found = needs(
        of,
        at_step(0, of),
        replace(verdict, reading=replace(verdict.reading, passing=passing, failing=failing)),
    )
    assert found is not None
    assert found.kind == "blocks"
    return found


def pairs_of(loss: float, *, discordance: float, sign: int) -> Values:
    worse, better = (discordance + loss) / 2, (discordance - loss) / 2
    likely = np.array([better, 1 - discordance, worse])
    return Values(sign * np.array([-1.0, 0.0, 1.0]), likely)


def test_pairs_instead_of_blocks_pass_at_half_the_alpha_with_the_loss_that_was_seen():
    of = plan(priors=replace(PLAN.priors, discordance=0.2))  # other bets than a block's

    found = of_blocks(of, {"0": 95, "1000000": 1, "-1000000": 4})

    # 3 in a hundred the other way, beside a hundred that lose nothing (the priors')
    each = growth(pairs_of(-0.015, discordance=0.2, sign=-1), passing_bets(of, ACCURACY, "pairs"))
    expected = Passage(growth=each, log_threshold=math.log(2 / 0.05)).quantile(0.5)
    assert found.proof is Outcome.PASS
    assert found.pairs == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("failing", [None, 7.0])
def test_pairs_instead_of_blocks_fail_at_half_the_alpha_with_the_loss_that_was_seen(failing):
    of = plan(priors=replace(PLAN.priors, discordance=0.2))
    known = None if failing is None else replace(proof(0.0, needs=failing), tally={})

    found = of_blocks(of, {"0": 850, "1000000": 150}, failing=known, samples=24_000)

    # A first start's three quarters of the loss's 2.5% (docs/adr/024), or what its proof asks for.
    needed = (-math.log(0.75 * 0.025) if failing is None else failing) + math.log(2)
    seen = pairs_of(150 / 1_100, discordance=0.2, sign=1)
    each = growth(seen, failing_bets(of, ACCURACY, "pairs"))
    assert found.proof is Outcome.FAIL
    assert found.pairs == pytest.approx(
        Passage(growth=each, log_threshold=needed).quantile(0.5), rel=1e-9
    )


def test_where_no_number_of_pairs_would_do_none_is_told():
    # A loss just under the limit, of blocks that vary less than the priors say; pairs would vary as those say.
    found = of_blocks(PLAN, {"0": 870, "111111": 130})

    assert found.proof is Outcome.PASS
    assert found.observations is not None
    assert found.pairs is None


def test_pairs_that_lose_go_towards_a_failure():
    of = plan(priors=replace(PLAN.priors, discordance=0.2))
    tally = {"0": 80, str(MICRO): 20}
    against = passing_bets(of, ACCURACY, "pairs")
    logs = [
        80 * math.log1p(-bet * against.m) + 20 * math.log1p(bet * (-1 - against.m))
        for bet in against.lambdas
    ]
    log_e = math.log(sum(map(math.exp, logs)) / 3)
    counts = PairCounts(both=80, only_baseline=20, only_candidate=0, neither=0)
    verdict = blocks(window=2 * HOUR, samples=12_000, counts=counts)
    passing = replace(proof(log_e, needs=math.log(20)), tally=tally)
    paired = replace(verdict, reading=replace(verdict.reading, passing=passing))

    found = needs(of, at_step(0, of), paired)

    # Beside the priors' hundred: 160 of 200 alike, 30 to 10 differ. A first start's three quarters of 2.5%.
    seen = Values(np.array([0.0, 1.0, -1.0]), np.array([0.8, 0.15, 0.05]))
    each = growth(seen, failing_bets(of, ACCURACY, "pairs"))
    expected = Passage(growth=each, log_threshold=-math.log(0.75 * 0.025)).quantile(0.5)
    assert found is not None
    assert (found.kind, found.proof) == ("pairs", Outcome.FAIL)
    assert found.observations == pytest.approx(expected, rel=1e-9)


BAD = {"0": 900, str(MICRO): 100}


def failing_rate(failing, *, passing=None, span: timedelta = 10 * HOUR):
    """What a rate of 10% needs to fail; by default 1,000 episodes in ten hours were seen."""
    usual = rate(since=10 * HOUR - span, tally=BAD, needs_=math.log(20))
    verdict = judge(
        RATE,
        reading(RATE, worst=None, latest=look(0.1), passing=passing or usual, failing=failing),
    )
    return needs(RATES, at_step(0, RATES), verdict)


def to_fail(*, threshold: float, held=(0.0, 0.0, 0.0), p: float = 100.02 / 1_001) -> float:
    of = Values(np.array([0.0, 1.0]), np.array([1 - p, p]))
    each = growth(of, failing_bets(RATES, RATE, "episodes"))
    return Passage(growth=each, log_threshold=threshold, held=held).quantile(0.5)


def test_a_failure_goes_on_from_the_strongest_window_at_what_that_needs():
    tally = {"0": 90, str(MICRO): 6}
    begun = rate(since=9 * HOUR, tally=tally, needs_=12.0)
    one, two, three = (
        90 * math.log1p(-bet * 0.02) + 6 * math.log1p(bet * 0.98)
        for bet in failing_bets(RATES, RATE, "episodes").lambdas
    )

    found = failing_rate(begun)

    assert found is not None
    assert found.proof is Outcome.FAIL
    expected = to_fail(threshold=12.0, held=(one, two, three))
    assert found.observations == pytest.approx(expected, rel=1e-9)
    assert expected < 0.9 * to_fail(threshold=12.0)


def test_a_new_window_needs_as_much_as_the_strongest_one():
    nothing_yet = rate(since=9 * HOUR, tally={}, needs_=12.0)

    found = failing_rate(nothing_yet)

    assert found is not None
    assert found.observations == pytest.approx(to_fail(threshold=12.0), rel=1e-9)


def test_a_window_that_is_about_to_end_counts_for_nothing_and_a_new_one_does():
    # Nearly proven, but of the 24 hours only a minute is left, in which one or two episodes come.
    nearly = replace(
        rate(since=timedelta(0), tally={"0": 90, str(MICRO): 6}, needs_=12.0),
        window=Window(start=NOW - 14 * HOUR + timedelta(minutes=1), end=NOW + 10 * HOUR),
    )

    found = failing_rate(nearly)

    assert found is not None
    assert found.observations == pytest.approx(to_fail(threshold=12.0), rel=1e-9)


def test_what_does_not_come_within_any_window_is_never_proven():
    # Eleven episodes in ten hours: 26 in a window of 24 hours, of which some forty would be needed.
    rare = rate(since=timedelta(0), tally={"0": 10, str(MICRO): 1}, needs_=math.log(20))
    assert to_fail(threshold=math.log(4 / 0.05), p=1.02 / 12) > 26.4

    found = failing_rate(None, passing=rare)

    assert found is not None
    assert (found.proof, found.observations, found.after) == (Outcome.INSUFFICIENT, None, None)


def test_a_pass_of_one_kind_of_two_needs_what_its_proof_says():
    tally = {"0": 1_188, str(MICRO): 12}
    one, two = (
        needs(
            RATES,
            at_step(0, RATES),
            judge(
                RATE,
                reading(
                    RATE,
                    worst=None,
                    latest=look(0.01),
                    passing=rate(since=timedelta(0), tally=tally, needs_=math.log(kinds / 0.05)),
                    failing=None,
                ),
            ),
        )
        for kinds in (1, 2)
    )

    assert one is not None
    assert two is not None
    assert one.observations is not None
    assert two.observations is not None
    assert two.observations > one.observations + 20


def test_a_share_of_nothing_that_was_seen_is_not_reckoned_with():
    empty = rate(since=timedelta(0), tally={})
    for passing in (None, empty):
        seen = reading(RATE, worst=None, latest=look(None), passing=passing, failing=None)
        verdict = replace(judge(RATE, seen), confident=Outcome.INSUFFICIENT)
        assert needs(RATES, at_step(0, RATES), verdict) is None


def test_a_loss_of_which_nothing_was_seen_is_reckoned_in_blocks():
    verdict = blocks(window=2 * HOUR, samples=240)
    nothing = replace(proof(0.0, needs=math.log(20)), tally={})

    found = needs(
        PLAN, at_step(0), replace(verdict, reading=replace(verdict.reading, passing=nothing))
    )

    assert found is not None
    assert found.kind == "blocks"


def test_only_rules_that_can_be_proven_and_are_open_need_anything():
    ratio = replace(RATE, metric=CATALOGUE["latency_p95_ratio"])
    of = plan(rules=(ratio,))
    open_ = judge(RATE, reading(RATE, passing=proof(0.0), failing=None, worst=None))

    assert open_.confident is Outcome.INSUFFICIENT
    assert needs(of, at_step(0, of), replace(open_, rule=ratio.name)) is None
    assert needs(plan(rules=(ACCURACY,)), at_step(0), open_) is None  # no such rule any more
    assert needs(RATES, at_step(0, RATES), replace(open_, confident=Outcome.PASS)) is None
