from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np

from controller.simulate.draws import Draw, Sampler
from tests.simulate.factories import graded, recording

START = datetime(2026, 1, 5, tzinfo=UTC)
DELAY = timedelta(hours=6)
# Three items in intent a, one in b; b's was run four times.
RECORDING = recording(
    *graded([1, 1, 1], [1, 1, 1], intent="a"), *graded([1] * 4, [0] * 4, intent="b", trials=4)
)


def draws(count: int, *, seed: int = 1, day: int = 0, first: int = 1) -> list[Draw]:
    sampler = Sampler(items=RECORDING.items, start=START, seed=seed, label_delay=DELAY)
    arrivals = np.linspace(0, 86_000, count) + day * 86_400
    return list(sampler.day(day, arrivals, first=first))


def test_items_are_drawn_alike_so_intents_come_in_their_proportion_of_items():
    intents = Counter(draw.item.intent for draw in draws(4_000))

    # Binomial(4,000, 1/4): standard deviation 27.
    assert abs(intents["b"] - 1_000) < 5 * 27


def test_every_trial_of_an_item_is_drawn():
    trials = Counter(draw.pair.baseline.trial for draw in draws(4_000) if draw.item.intent == "b")

    assert sorted(trials) == [1, 2, 3, 4]
    assert max(trials.values()) - min(trials.values()) < 150


def test_each_draw_is_a_unit_of_its_own():
    units = {draw.unit for draw in draws(100)} | {draw.unit for draw in draws(100, first=101)}

    assert len(units) == 200


def test_labels_come_after_the_request_and_within_the_delay():
    delays = [draw.labelled_at - draw.at for draw in draws(1_000)]

    assert min(delays) >= timedelta(0)
    assert max(delays) <= DELAY
    assert max(delays) - min(delays) > 0.9 * DELAY


def test_the_same_seed_draws_the_same_units():
    assert draws(50) == draws(50)
    assert draws(50) != draws(50, seed=2)
