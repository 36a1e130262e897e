"""What every function of this package demands of its numbers, said once.

Each check returns its argument or raises StatisticsError with what was found and what was wanted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from controller.errors import StatisticsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


def finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise StatisticsError(f"{name} is {value}; a finite number is needed.")
    return value


def positive(name: str, value: float) -> float:
    if finite(name, value) <= 0:
        raise StatisticsError(f"{name} is {value}; it must be above 0.")
    return value


def inside(name: str, value: float, low: float, high: float) -> float:
    """An open interval: neither bound is allowed."""
    if not low < finite(name, value) < high:
        raise StatisticsError(f"{name} is {value}; it must lie strictly between {low} and {high}.")
    return value


def within(name: str, value: float, low: float, high: float) -> float:
    """A closed interval: both bounds are allowed."""
    if not low <= finite(name, value) <= high:
        raise StatisticsError(f"{name} is {value}; it must lie from {low} to {high}.")
    return value


def whole(name: str, value: float, *, at_least: int) -> int:
    if finite(name, value) != int(value) or value < at_least:
        raise StatisticsError(f"{name} is {value}; a whole number from {at_least} up is needed.")
    return int(value)


def share_of(name: str, count: float, n: int) -> float:
    """count / n, with 0 <= count <= n and n >= 1. The count may be fractional (a sum of means)."""
    whole(f"n of {name}", n, at_least=1)
    return within(name, count, 0, n) / n


def numbers(
    name: str, values: Sequence[float] | NDArray[np.float64], *, at_least: int
) -> NDArray[np.float64]:
    """A one-dimensional array of finite numbers, with a minimum length."""
    import numpy as np  # the store needs the histogram's mapping, and starts faster without

    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < at_least:
        raise StatisticsError(
            f"{name} has shape {array.shape}; at least {at_least} numbers in one row are needed."
        )
    if not np.isfinite(array).all():
        raise StatisticsError(
            f"{name} contains NaN or infinity; leave unknown values out and count them."
        )
    return array
