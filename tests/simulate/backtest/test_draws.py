from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np

from controller.simulate.backtest.draws import Draw, Sampler
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


def test_asked_once_each_item_comes_once_over_all_days_in_an_order_by_seed():
    def asked(seed: int) -> list[str]:
        sampler = Sampler(
            items=RECORDING.items, start=START, seed=seed, label_delay=DELAY, once=True
        )
        first = sampler.day(0, np.array([10.0, 20.0, 30.0]), first=1)
        second = sampler.day(1, np.array([86_410.0, 86_420.0]), first=1 + len(first))
        none = sampler.day(2, np.array([172_810.0]), first=1 + len(first) + len(second))
        assert (len(first), len(second), list(none)) == (3, 1, [])
        return [draw.item.name for draw in (*first, *second)]

    orders = {tuple(asked(seed)) for seed in range(8)}

    assert {tuple(sorted(one)) for one in orders} == {
        tuple(sorted(item.name for item in RECORDING.items))
    }
    assert len(orders) > 1
    assert asked(1) == asked(1)


def test_the_order_of_items_has_numbers_of_its_own():
    items = recording(*graded([1] * 50, [1] * 50)).items
    sampler = Sampler(items=items, start=START, seed=1, label_delay=DELAY, once=True)

    order = [draw.item for draw in sampler.day(0, np.arange(50.0), first=1)]

    # Those of a day's arrivals are the seed's with the day.
    of_days = [np.random.default_rng([1, day]).permutation(50).tolist() for day in range(20)]
    assert [items.index(one) for one in order] not in of_days


def test_an_item_is_graded_by_the_means_of_its_runs():
    several = recording(*graded([1, 1, 0, 1], [1, 0, 0, 0], trials=4)).items[0]
    ungraded = recording("s,a,i,1,old,", "s,a,i,1,new,1").items[0]

    assert (several.grades, ungraded.grades) == ((0.75, 0.25), None)
