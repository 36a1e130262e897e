"""What an undecided rule still needs, against what drawn labels then take with the live readings."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from controller.notify.arithmetic import needs_line
from controller.rollout.counting.blocks import Sizes
from controller.rollout.evidence import proofs, prospects
from controller.rollout.evidence.needs import Needs, needs
from controller.rollout.evidence.readings import read
from controller.rollout.evidence.rules import judge
from controller.rollout.metrics import CATALOGUE, MICRO
from controller.rollout.observation import BOTH_ARMS
from controller.rollout.plan import Evidence, Priors, Rule, Then
from controller.rollout.verdict import Coverage, Outcome, Verdict, WorstCase
from controller.stats.betting import log_e
from tests.rollout.factories import ACCURACY, ESCALATION, HOUR, NOW, at_step, plan, proof, reading
from tests.rollout.test_readings import START, requests, row, view

OF = plan()


def labels(minute: int, *, blocks: dict[str, int], graded: int):
    """Of one minute: closed blocks by value in millionths, and the candidate's and the baseline's labels."""
    both = {f"b.{value}": count for value, count in blocks.items()}
    wrong = max(blocks.get(str(MICRO), 0), 0)
    arm = {
        "n": graded,
        "e": graded,
        "graded": graded,
        "e.graded": graded,
        "correct_u": (graded - wrong) * MICRO,
        "e.correct_u": (graded - wrong) * MICRO,
    }
    nine = {key: 9 * value for key, value in arm.items()}
    return [
        row(minute, both, arm=BOTH_ARMS),
        row(minute, arm),
        row(minute, nine, arm="baseline"),
    ]


def accuracy(*, each_minute: dict[str, int], minutes: int, later: int = 0) -> Verdict:
    """After so many minutes of labels, and `later` minutes without; labels are due after six hours."""
    graded = sum(each_minute.values())
    rows = [
        one for i in range(minutes) for one in labels(START + i, blocks=each_minute, graded=graded)
    ]
    seen = read(view(rows, minutes=minutes + 6 * 60 + later), ACCURACY, "refund")
    return judge(ACCURACY, seen)


def test_a_loss_with_few_labels_says_how_many_more_and_when():
    verdict = accuracy(each_minute={"0": 2}, minutes=60)

    found = needs(OF, at_step(0), verdict)

    assert found is not None
    assert (verdict.confident, found.proof, found.kind) == (
        Outcome.INSUFFICIENT,
        Outcome.PASS,
        "blocks",
    )
    assert found.observations is not None
    assert found.after is not None
    # Two labels a minute
    assert found.after / timedelta(minutes=1) == pytest.approx(found.observations / 2, abs=1)
    assert found.pairs is not None


def test_it_is_what_labels_as_those_seen_then_take():
    """Drawn on from where the proof stands: as the epoch's, beside a hundred of a candidate that loses nothing."""
    verdict = accuracy(each_minute={"1000000": 1, "0": 40, "-111111": 5}, minutes=10)
    found = needs(OF, at_step(0), verdict)
    assert found is not None

    proof = verdict.reading.passing
    assert proof is not None
    usual = prospects.blocks(
        Sizes(baseline=9, candidate=1), baseline_wrong=0.05, candidate_wrong=0.05
    )
    values = np.array([*(int(name) / MICRO for name in proof.tally), *usual.values])
    held = np.array([*proof.tally.values(), *np.zeros(len(usual.values), dtype=np.int64)])
    likely = held + np.array([*np.zeros(len(proof.tally)), *(100 * usual.probabilities)])
    random, bets = np.random.default_rng(3), proofs.passing_bets(OF, ACCURACY, "blocks")
    passed = []
    for _ in range(300):
        drawn = random.choice(len(values), size=8_000, p=likely / likely.sum())
        counts = held + np.eye(len(values), dtype=np.int64)[drawn].cumsum(axis=0)
        over = (log_e(counts, -values, bets) >= math.log(20)).nonzero()[0]
        passed.append(over[0] + 1 if over.size else np.inf)

    assert found.observations == pytest.approx(float(np.median(passed)), rel=0.15)


def test_more_labels_of_the_same_kind_leave_less_to_be_seen():
    found = [
        needs(OF, at_step(0), accuracy(each_minute={"0": 2}, minutes=minutes))
        for minutes in (10, 30, 60)
    ]

    left = [one.observations for one in found if one is not None and one.observations is not None]
    assert len(left) == 3
    assert left == sorted(left, reverse=True)


def test_a_loss_over_the_limit_goes_towards_a_failure():
    verdict = accuracy(each_minute={"1000000": 1, "0": 11}, minutes=20)

    found = needs(OF, at_step(0), verdict)

    assert found is not None
    assert found.proof is Outcome.FAIL
    assert 'to disprove "no loss" if it goes on as seen' in needs_line(found, ACCURACY, OF)


def test_a_loss_at_its_limit_is_not_decided_by_more_labels():
    # 1 in 67 is 1.5 points; so many that the priors do not count
    verdict = accuracy(each_minute={"1000000": 3, "0": 198}, minutes=25)

    found = needs(OF, at_step(0), verdict)

    assert found is not None
    if found.observations is None:
        assert found.proof is Outcome.INSUFFICIENT
        assert "no number of labels proves it either way" in needs_line(found, ACCURACY, OF)
    else:
        assert found.observations > 5_000


def test_labels_that_do_not_come_have_no_time():
    verdict = accuracy(each_minute={"0": 2}, minutes=60)
    fresh = at_step(1, step_started_at=NOW + timedelta(days=1))

    silent = replace(verdict, reading=replace(verdict.reading, step_samples=0))
    found = needs(OF, fresh, silent)

    assert found is not None
    assert found.observations is not None
    assert found.after is None


def test_without_two_arms_there_are_no_blocks_to_count():
    verdict = accuracy(each_minute={"0": 2}, minutes=60)

    assert needs(OF, at_step(3, share_bp=10_000), verdict) is None


@pytest.mark.parametrize(
    ("each_minute", "proof"), [(0, Outcome.PASS), (1, Outcome.FAIL)], ids=["quiet", "bad"]
)
def test_a_few_episodes_point_to_the_proof_on_their_side_of_the_limit(each_minute, proof):
    """Three without an escalation are no sign of a rate above 2%, however few they are."""
    confident = replace(ESCALATION, evidence=Evidence.CONFIDENT)
    of = plan(rules=(confident,))
    rows = [requests(START + i, 1, each_minute) for i in range(3)]

    found = needs(
        of, at_step(0, of), judge(confident, read(view(rows, minutes=2, of=of), confident, None))
    )

    assert found is not None
    assert found.proof is proof


def test_a_rate_counts_episodes():
    confident = replace(ESCALATION, evidence=Evidence.CONFIDENT)
    of = plan(rules=(confident,))
    rows = [requests(START + i, 10, int(i % 10 == 0)) for i in range(40)]  # 1% of 10 a minute

    verdict = judge(confident, read(view(rows, minutes=39, of=of), confident, None))
    found = needs(of, at_step(0, of), verdict)

    assert found is not None
    assert (found.kind, found.proof, found.pairs) == ("episodes", Outcome.PASS, None)
    assert found.observations is not None
    assert found.after is not None
    assert found.after / timedelta(minutes=1) == pytest.approx(found.observations / 10, abs=1)
    assert needs_line(found, confident, of).startswith("needs about ")


def test_pairs_go_on_as_pairs():
    of = plan(priors=Priors(discordance=0.2))  # other bets than for blocks
    rows = [row(START + i, {"p.11": 18, "p.10": 1, "p.01": 1}, arm=BOTH_ARMS) for i in range(30)]
    arms = [
        row(START + i, {"n": 20, "e": 20, "graded": 20, "e.graded": 20}, arm=arm)
        for i in range(30)
        for arm in ("candidate", "baseline")
    ]
    reading = read(view([*rows, *arms], minutes=30 + 6 * 60, of=of), ACCURACY, "refund")

    found = needs(of, at_step(0, of), judge(ACCURACY, reading))

    assert found is not None
    assert (found.kind, found.pairs) == ("pairs", None)


def test_what_is_decided_needs_nothing():
    verdict = accuracy(each_minute={"0": 50}, minutes=60)

    assert verdict.confident is Outcome.PASS
    assert needs(OF, at_step(0), verdict) is None


def test_what_is_nearly_proven_needs_one_more():
    verdict = accuracy(each_minute={"0": 50}, minutes=60)
    passing = verdict.reading.passing
    assert passing is not None
    nearly = replace(passing, log_threshold=passing.log_e + 0.001)

    found = needs(OF, at_step(0), judge(ACCURACY, replace(verdict.reading, passing=nearly)))

    assert found is not None
    assert found.observations == 1.0
    assert "needs about 1 more label ≈ 1 min" in needs_line(found, ACCURACY, OF)


def test_what_is_proven_but_for_labels_that_are_missing_needs_no_more_of_them():
    """It needs those, and the verdict says how many."""
    verdict = accuracy(each_minute={"0": 50}, minutes=60)
    passing = verdict.reading.passing
    assert passing is not None
    one_sided = Coverage(
        baseline_graded=27_000,
        baseline_n=27_000,
        candidate_graded=3_000,
        candidate_n=9_000,
        differs=True,
    )
    worst = WorstCase(coverage=one_sided, proof=replace(passing, log_e=-3.0))

    found = judge(ACCURACY, replace(verdict.reading, worst_case=worst))

    assert found.confident is Outcome.INSUFFICIENT
    assert needs(OF, at_step(0), found) is None


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (
            Needs(
                proof=Outcome.PASS,
                kind="blocks",
                observations=1_361,
                after=timedelta(hours=22, minutes=40),
                pairs=596,
            ),
            'needs about 1,400 more labels ≈ 23 h at the present rate, or 600 shadow pairs, to disprove "a loss of '
            '1.5 pp or more" if it goes on as seen',
        ),
        (
            Needs(proof=Outcome.FAIL, kind="pairs", observations=70, after=timedelta(minutes=12)),
            'needs about 70 more pairs ≈ 12 min at the present rate, to disprove "no loss" if it goes on as seen',
        ),
        (
            Needs(proof=Outcome.INSUFFICIENT, kind="blocks"),
            "as it goes, no number of labels proves it either way: what is seen is too near the limit",
        ),
    ],
)
def test_words(lacking: Needs, words: str):
    assert needs_line(lacking, ACCURACY, OF) == words


def test_a_percentile_needs_requests_above_or_within_its_limit():
    rule = Rule(
        name="latency",
        metric=CATALOGUE["latency_p95"],
        limit=4.0,
        window=HOUR,
        then=Then.PAUSE,
    )
    of = plan(rules=(rule,))
    slow, quick = ({"0": 8_000, "1000000": 2_000}, {"0": 9_900, "1000000": 100})

    for tally, expected in ((slow, Outcome.FAIL), (quick, Outcome.PASS)):
        begun = replace(proof(1.0), tally=tally)
        verdict = judge(rule, reading(rule, failing=None, passing=begun))
        found = needs(of, at_step(0, of), verdict)

        assert found is not None
        assert (found.proof, found.kind) == (expected, "requests")
        assert " more request" in needs_line(found, rule, of)
        assert "above 4s" in needs_line(found, rule, of)
