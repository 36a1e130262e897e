"""A judge's grades corrected by people's: exact for every small stretch, and by simulation in the long run."""

from __future__ import annotations

import math
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import StatisticsError
from controller.stats.noise import ppi_mean
from controller.stats.passage import Growth
from controller.stats.powered import (
    Graded,
    Policy,
    chances,
    corners,
    log_wealth_nano,
    policy,
    powered_accuracies,
    powered_accuracy,
    powered_growth,
)

MARGIN = 0.015
USUAL = policy(accuracy=0.95, sensitivity=0.95, specificity=0.9, share=0.05)


def arm(drawn, others) -> Graded:
    return Graded(np.atleast_2d(np.asarray(drawn, float)), np.atleast_2d(np.asarray(others, float)))


def wealth(candidate, baseline, *, by=USUAL, margin=MARGIN, effect=0.015, sign=-1):
    return log_wealth_nano(candidate, baseline, by, margin=margin, effect=effect, sign=sign)


# What is chosen beforehand


def test_the_weight_is_that_of_the_best_estimate():
    found = policy(accuracy=0.95, sensitivity=0.95, specificity=0.9, share=0.05)

    # cov(h, f) = 0.0475 × 0.85, the judge says "right" in 0.9075, and (1 − 0.05) of that is PPI++'s λ.
    assert found.weight == pytest.approx(0.95 * 0.0475 * 0.85 / (0.9075 * 0.0925))
    assert found.judge == pytest.approx(0.9075)
    assert found.drawn == pytest.approx(0.95 - found.weight * 0.9075)
    # var(h) (1 − ρ² (1 − share)), ρ² = cov² / (var(h) var(f)).
    correlation = 0.0475 * 0.85**2 / (0.9075 * 0.0925)
    assert found.variance == pytest.approx(0.0475 * (1 - 0.95 * correlation))


def test_a_judge_that_in_double_precision_always_says_the_same_weighs_nothing():
    nearly_all = math.nextafter(1.0, 0.0)

    found = policy(accuracy=nearly_all, sensitivity=1.0, specificity=0.25, share=0.5)

    assert (found.judge, found.weight) == (1.0, 0.0)


def test_chances_are_of_what_the_person_and_the_judge_say():
    found = chances(right=0.9, sensitivity=0.95, specificity=0.8)

    # Right by both, the person alone, the judge alone, neither.
    assert found.tolist() == pytest.approx([0.855, 0.045, 0.02, 0.08])


def test_a_judge_that_never_errs_is_worth_a_person_and_one_beside_everybody_nothing():
    sure = policy(accuracy=0.9, sensitivity=1, specificity=1, share=0.1)
    everybody = policy(accuracy=0.9, sensitivity=0.9, specificity=0.9, share=1)

    assert sure.weight == pytest.approx(0.9)
    assert everybody.weight == 0
    assert sure.variance == pytest.approx(0.1 * 0.09)
    assert everybody.variance == pytest.approx(0.09)


# Validity


rates = st.sampled_from([0.0, 0.3, 0.8, 1.0])


@settings(max_examples=150)
@given(
    joint=st.tuples(*[st.tuples(rates, rates, rates)] * 2),
    margin=st.sampled_from([0.0, 0.015, 0.3]),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 2), st.integers(1, 2)),
    sign=st.sampled_from([1, -1]),
    effect=st.sampled_from([0.01, 0.2, 5.0]),
)
def test_the_mean_is_at_most_one_whatever_the_judge_says_if_the_claim_is_true(
    joint, margin, weight, sizes, sign, effect
):
    """Every outcome of a stretch, by its probability: people right, and the judge by what the person says."""
    by = Policy(weight=weight, drawn=0.5, judge=0.7, variance=0.05)
    chances = [_corner_chances(*one) for one in joint]
    loss = sum(chances[1][:2]) - sum(chances[0][:2])
    margin = loss if (sign > 0 and loss > margin) or (sign < 0 and loss < margin) else margin
    if not -1 < margin < 1:
        return
    candidate, baseline = (
        list(_outcomes(p, *of)) for p, of in zip(chances, (sizes[:2], sizes[2:]), strict=True)
    )

    both = [(c, b) for c in candidate for b in baseline]
    logs = wealth(
        arm([c[0] for c, _ in both], [c[1] for c, _ in both]),
        arm([b[0] for _, b in both], [b[1] for _, b in both]),
        by=by,
        margin=margin,
        effect=effect,
        sign=sign,
    )

    likely = np.array([c[2] * b[2] for c, b in both])
    assert likely.sum() == pytest.approx(1)
    assert (likely @ np.exp(logs * 1e-9)).max() <= 1 + 1e-9


def _corner_chances(right: float, if_right: float, if_wrong: float) -> tuple[float, ...]:
    return (
        right * if_right,
        right * (1 - if_right),
        (1 - right) * if_wrong,
        (1 - right) * (1 - if_wrong),
    )


def _outcomes(chances, drawn: int, others: int):
    judged = chances[0] + chances[2]
    for seen in product(range(4), repeat=drawn):
        likely = math.prod(chances[one] for one in seen)
        for right in range(others + 1):
            part = comb(others, right) * judged**right * (1 - judged) ** (others - right)
            if likely * part:
                yield [seen.count(n) for n in range(4)], [others - right, right], likely * part


@given(data=st.data(), sign=st.sampled_from([1, -1]), margin=st.sampled_from([0.0, 0.015]))
def test_each_stretch_is_the_product_over_its_answers(data, sign, margin):
    counts = st.integers(0, 3)
    tables = [
        data.draw(st.tuples(counts, counts, counts, st.integers(1, 3), counts, st.integers(1, 3)))
        for _ in range(2)
    ]
    candidate, baseline = (arm(one[:4], one[4:]) for one in tables)

    (found,) = wealth(candidate, baseline, margin=margin, sign=sign).tolist()

    for logs, log in zip(each_answer(*tables, margin=margin, sign=sign), found, strict=True):
        expected = math.fsum(c * one for kind in logs for one, c in kind)
        assert log * 1e-9 == pytest.approx(expected, abs=2e-9)


def each_answer(ours, theirs, *, margin: float, sign: int):
    """Of each bet and kind of answer (drawn and others of each arm): what one adds, and how many there are."""
    w, r, q = USUAL.weight, USUAL.drawn, USUAL.judge
    grades = [(1, 1), (1, 0), (0, 1), (0, 0)]
    n, k = sum(ours[:4]), sum(theirs[:4])
    residuals = [h - w * f - r for h, f in grades]
    kinds = [
        ([sign * (-one - margin) for one in residuals], ours[:4]),
        ([sign * n / k * one for one in residuals], theirs[:4]),
    ]
    for part, side in ((ours[4:], -sign), (theirs[4:], sign)):
        kinds.append(([side * w * n / sum(part) * (f - q) for f in (0, 1)], part))
    deepest = max(-gain for gains, _ in kinds for gain in gains)
    for factor in (0.5, 1, 2):
        a = min(factor * 0.015 / (USUAL.variance * (1 + n / k)), 0.95 / deepest)
        yield [
            [(math.log1p(a * gain), c) for gain, c in zip(gains, counts, strict=True)]
            for gains, counts in kinds
        ]


@pytest.mark.parametrize("sign", [1, -1])
def test_growth_is_the_mean_and_the_variance_of_what_answers_as_often_in_each_corner_add(sign):
    ours, theirs = (0.4, 0.05, 0.02, 0.03, 0.1, 0.8), (5.0, 0.3, 0.2, 0.5, 4.0, 20.0)
    candidate, baseline = (arm(one[:4], one[4:]) for one in (ours, theirs))

    def found(looks_every: float):
        return powered_growth(
            candidate,
            baseline,
            USUAL,
            margin=MARGIN,
            effect=0.015,
            sign=sign,
            looks_every=looks_every,
        )

    each = list(each_answer(ours, theirs, margin=MARGIN, sign=sign))
    means = [math.fsum(c * log for kind in bet for log, c in kind) for bet in each]
    variances = []
    for bet in each:
        kinds = []
        for kind in bet:
            n = math.fsum(c for _, c in kind)
            mean = math.fsum(c * log for log, c in kind) / n
            kinds.append(math.fsum(c * (log - mean) ** 2 for log, c in kind))
        variances.append(math.fsum(kinds))
    assert found(1.0).mean == pytest.approx(means)
    assert found(1.0).variance == pytest.approx(variances)
    beyond = [4 * math.sqrt(one) / (3 * math.sqrt(2 * math.pi)) for one in variances]
    assert found(1.0).overshoot == pytest.approx(beyond)
    assert found(0.25).overshoot == pytest.approx(beyond)  # no oftener than there are answers
    assert found(9.0).overshoot == pytest.approx([3 * one for one in beyond])


def test_nothing_grows_where_nothing_comes():
    none = arm([0, 0, 0, 0], [0, 0])

    found = powered_growth(
        none, none, USUAL, margin=MARGIN, effect=0.015, sign=-1, looks_every=60.0
    )

    assert found == Growth(mean=(0.0,) * 3, variance=(0.0,) * 3, overshoot=(0.0,) * 3)


grade = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(
    st.lists(st.tuples(grade, grade), min_size=1, max_size=4),
    st.lists(st.tuples(grade, grade), min_size=1, max_size=4),
    st.sampled_from([1, -1]),
)
def test_grades_in_between_are_worth_no_more_than_they_say(ours, theirs, sign):
    def table(grades):
        h, f = np.array(grades).T
        return corners(*(np.array([one]) for one in (len(grades), h.sum(), f.sum(), (h * f).sum())))

    n, k = len(ours), len(theirs)
    (found,) = wealth(
        Graded(table(ours), np.array([[1.0, 9.0]])),
        Graded(table(theirs), np.array([[1.0, 9.0]])),
        sign=sign,
    ).tolist()

    w, r, q = USUAL.weight, USUAL.drawn, USUAL.judge
    a = min(0.015 / (USUAL.variance * (1 + n / k)), 0.95 / _deepest(n, k, sign))
    exact = sum(math.log1p(a * sign * (-(h - w * f - r) - MARGIN)) for h, f in ours)
    exact += sum(math.log1p(a * n / k * sign * (h - w * f - r)) for h, f in theirs)
    for side in (-sign, sign):
        exact += 9 * math.log1p(a * side * w * n / 10 * (1 - q)) + math.log1p(
            -a * side * w * n / 10 * q
        )
    assert found[1] * 1e-9 <= exact + 1e-9


def _deepest(n, k, sign):
    w, r, q = USUAL.weight, USUAL.drawn, USUAL.judge
    residuals = [h - w * f - r for h, f in product((0, 1), repeat=2)]
    falls = [-sign * (-one - MARGIN) for one in residuals]
    falls += [-sign * n / k * one for one in residuals]
    falls += [w * n / 10 * one for one in (q, 1 - q)]
    return max(falls)


def test_a_stretch_that_lacks_what_it_is_made_of_says_nothing():
    whole, none = arm([1, 0, 0, 0], [1, 9]), arm([0, 0, 0, 0], [1, 9])
    alone = arm([1, 0, 0, 0], [0, 0])

    assert wealth(whole, whole).any()
    for candidate, baseline in ((whole, none), (none, whole), (whole, alone), (alone, whole)):
        assert not wealth(candidate, baseline).any()
    by_people = policy(accuracy=0.95, sensitivity=0.95, specificity=0.9, share=1)
    assert wealth(alone, alone, by=by_people).any()


def test_counts_that_are_none_are_refused():
    whole = arm([1, 0, 0, 0], [1, 9])
    with pytest.raises(StatisticsError, match=r"drawn has shape \(1, 3\)"):
        wealth(arm([1, 0, 0], [1, 9]), whole)
    for count in (-1, math.nan, math.inf):
        with pytest.raises(StatisticsError, match="others has a negative"):
            wealth(whole, arm([1, 0, 0, 0], [count, 9]))


def test_of_no_stretches_nothing_is_said():
    none = Graded(np.zeros((0, 4)), np.zeros((0, 2)))

    assert wealth(none, none).shape == (0, 3)


# The estimate

STRETCHES = st.tuples(*(st.integers(0, 3) for _ in range(6)))


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=12),
    st.lists(st.integers(0, 1), min_size=2, max_size=12),
    st.floats(0, 1),
)
def test_the_estimate_is_the_prediction_powered_mean_of_the_same_grades(both, rest, weight):
    h, f = np.array(both, dtype=float).T
    sums = (len(both), h.sum(), f.sum(), (h * f).sum())
    table = corners(*(np.array([one], dtype=float) for one in sums)).astype(float)

    found = powered_accuracy(
        Graded(table, np.array([[rest.count(0), rest.count(1)]], float)), weight
    )

    expected = ppi_mean(h.tolist(), f.tolist(), rest, weight=weight)
    assert found is not None
    assert found.estimate == pytest.approx(expected.estimate, abs=1e-12)
    assert found.se == pytest.approx(expected.se, abs=1e-9)


def test_there_is_no_estimate_of_too_few():
    assert powered_accuracy(arm([1, 0, 0, 0], [5, 5]), 0.5) is None
    assert powered_accuracy(arm([2, 0, 0, 0], [0, 1]), 0.5) is None
    assert powered_accuracy(arm([2, 0, 0, 0], [0, 1]), 0.0) is not None


@given(st.lists(STRETCHES, max_size=8), st.sampled_from([0.0, 0.3, 1.0]))
def test_the_estimates_of_many_stretches_are_those_of_each(stretches, weight):
    drawn = np.array([one[:4] for one in stretches], float).reshape(-1, 4)
    others = np.array([one[4:] for one in stretches], float).reshape(-1, 2)

    found = powered_accuracies(Graded(drawn, others), weight)

    alone = [
        powered_accuracy(Graded(drawn[[t]], others[[t]]), weight) for t in range(len(stretches))
    ]
    expected = [one.estimate if one is not None else np.nan for one in alone]
    assert found == pytest.approx(np.array(expected), abs=1e-12, nan_ok=True)
    assert found.shape == (len(stretches),)


# In the long run


def _passes(
    runs: int,
    *,
    lost: float,
    judged_right: tuple[float, float],
    judged_wrong: tuple[float, float],
    hours: int = 240,
    share: float = 0.2,
    per_hour: tuple[int, int] = (30, 90),
    accuracy: float = 0.95,
    seed: int = 7,
) -> tuple[float, float]:
    """The part of runs that pass by people's grades, and by the judge's alone against the same limit shown by it.

    Rates of the judge: of right and of wrong answers the part that it calls right, of the candidate and the baseline.
    """
    random = np.random.default_rng(seed)
    by = policy(accuracy=accuracy, sensitivity=0.95, specificity=0.9, share=share)
    limit = MARGIN
    arms = []
    for n, right, if_right, if_wrong in zip(
        per_hour, (accuracy - lost, accuracy), judged_right, judged_wrong, strict=True
    ):
        drawn = random.binomial(n, share, (runs, hours))
        chances = _corner_chances(right, if_right, if_wrong)
        table = random.multinomial(drawn.ravel(), chances).astype(float)
        others = n - drawn.ravel()
        called = random.binomial(others, chances[0] + chances[2])
        arms.append(
            (Graded(table, np.stack([others - called, called], 1).astype(float)), others, called)
        )
    (candidate, others_c, called_c), (baseline, others_b, called_b) = arms
    logs = log_wealth_nano(candidate, baseline, by, margin=limit, effect=limit, sign=-1) * 1e-9
    walked = logs.reshape(runs, hours, 3).cumsum(axis=1)
    reached = np.log(np.exp(walked).mean(axis=2)).max(axis=1) >= math.log(20)
    # The judge's alone: one difference of means an hour, against 0.85 of the limit, as it would show it.
    v = (called_b / others_b - called_c / others_c).reshape(runs, hours)
    spread = 0.9075 * 0.0925 * (1 / (per_hour[0] * (1 - share)) + 1 / (per_hour[1] * (1 - share)))
    shown = 0.85 * limit
    bets = np.minimum(np.array([0.5, 1, 2]) * shown / spread, 0.95 / (1 - shown))
    alone = np.log1p(bets * (shown - v)[:, :, None]).cumsum(axis=1)
    by_judge = np.log(np.exp(alone).mean(axis=2)).max(axis=1) >= math.log(20)
    return float(reached.mean()), float(by_judge.mean())


RUNS = 2_000


def test_a_loss_of_the_limit_passes_in_few_however_much_the_judge_favours_the_candidate():
    """Alpha and two standard errors, at every hour of ten days; the judge takes its errors for right."""
    by_people, by_judge = _passes(
        RUNS, lost=MARGIN, judged_right=(0.99, 0.95), judged_wrong=(0.6, 0.1)
    )

    assert by_people <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / RUNS)
    assert by_judge >= 0.9


def test_no_loss_passes_by_a_fair_judge_and_by_an_unfair_one_alike():
    fair, _ = _passes(300, lost=0, judged_right=(0.95, 0.95), judged_wrong=(0.1, 0.1), hours=600)
    unfair, by_judge = _passes(
        300, lost=0, judged_right=(0.9, 0.95), judged_wrong=(0.05, 0.1), hours=600
    )

    assert fair >= 0.9
    assert unfair >= 0.7
    assert by_judge <= 0.01
