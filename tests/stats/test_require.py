"""What every function of the package demands of its numbers: the bounds themselves, and what is refused beyond them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from controller.errors import StatisticsError
from controller.stats import _require

NAN = math.nan
REFUSED: dict[str, list[Callable[[], object]]] = {
    "any is": [
        lambda: _require.finite("any", math.inf),
        lambda: _require.finite("any", NAN),
        lambda: _require.positive("any", 0),
        lambda: _require.positive("any", NAN),
        lambda: _require.inside("any", 1, 1, 2),
        lambda: _require.inside("any", 2, 1, 2),
        lambda: _require.inside("any", NAN, 1, 2),
        lambda: _require.within("any", 0.99, 1, 2),
        lambda: _require.within("any", 2.01, 1, 2),
        lambda: _require.within("any", NAN, 1, 2),
        lambda: _require.within("any", math.inf, 1, math.inf),
        lambda: _require.whole("any", 1.5, at_least=1),
        lambda: _require.whole("any", 0, at_least=1),
        lambda: _require.whole("any", math.inf, at_least=1),
        lambda: _require.share_of("any", 3, 2),
        lambda: _require.share_of("any", -0.5, 2),
    ],
    "n of any is": [lambda: _require.share_of("any", 0, 0)],
    "any has": [
        lambda: _require.numbers("any", [1.0], at_least=2),
        lambda: _require.numbers("any", np.array([[1.0, 2.0]]), at_least=1),
    ],
    "any contains": [
        lambda: _require.numbers("any", [NAN], at_least=1),
        lambda: _require.numbers("any", [1.0, math.inf], at_least=1),
    ],
}


@pytest.mark.parametrize(
    ("begins", "attempt"),
    [(begins, attempt) for begins, attempts in REFUSED.items() for attempt in attempts],
)
def test_a_refusal_begins_with_the_name_of_what_was_refused(begins, attempt):
    with pytest.raises(StatisticsError) as refused:
        attempt()

    assert str(refused.value).startswith(f"{begins} ")


@pytest.mark.parametrize(
    ("attempt", "value"),
    [
        (lambda: _require.finite("any", -2.5), -2.5),
        (lambda: _require.positive("any", 0.5), 0.5),
        (lambda: _require.inside("any", 1.5, 1, 2), 1.5),
        (lambda: _require.within("any", 1, 1, 2), 1),
        (lambda: _require.within("any", 2, 1, 2), 2),
        (lambda: _require.whole("any", 1, at_least=1), 1),
        (lambda: _require.share_of("any", 0, 1), 0),
        (lambda: _require.share_of("any", 1, 1), 1),
        (lambda: _require.share_of("any", 0.5, 4), 0.125),
    ],
)
def test_what_is_in_range_is_given_back(attempt, value):
    assert attempt() == value


def test_a_whole_number_is_one_whatever_it_was():
    assert type(_require.whole("any", 3.0, at_least=1)) is int


def test_a_row_of_numbers_is_an_array_of_floats():
    found = _require.numbers("any", [1, 2], at_least=2)

    assert (found.tolist(), found.dtype) == ([1.0, 2.0], np.dtype("float64"))
