"""What every function of this package demands of its numbers, said once.

Each check returns its argument or raises StatisticsError with what was found and what was wanted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from controller.errors import StatisticsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


def finite(name: str, value: float) -> float:
    """A number of any kind, numpy's too. A truth value is none, though Python counts with it."""
    if isinstance(value, bool) or not math.isfinite(value):
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


def one_or_two(name: str, sides: Literal[1, 2]) -> Literal[1, 2]:
    """How many tails a test has."""
    if whole(name, sides, at_least=1) > 2:
        raise StatisticsError(f"{name} is {sides}; it must be 1 or 2.")
    return sides


def sign(value: int) -> int:
    """1 for a bet on more, -1 for one on less."""
    if value not in {1, -1}:
        raise StatisticsError(f"sign is {value}; it must be 1 or -1.")
    return value


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


def are_counts(of: NDArray[np.int64] | NDArray[np.float64]) -> bool:
    """Whether all are finite and not negative. NaN compares as false."""
    return bool(((of >= 0) & (of < math.inf)).all())


def minutes(name: str, of: NDArray[np.int64]) -> NDArray[np.int64]:
    """One row of whole minutes; it may be empty."""
    import numpy as np

    rows = np.asarray(of)
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise StatisticsError(
            f"{name} has shape {rows.shape} of {rows.dtype}; one row of whole minutes is needed."
        )
    return rows.astype(np.int64, copy=False)


def windows(starts: NDArray[np.int64], window_min: int, min_window_min: int) -> None:
    """Starts that ascend, and windows of a minute or more, the shortest no longer than the longest."""
    if (starts[1:] <= starts[:-1]).any():
        raise StatisticsError("starts must ascend, each minute once.")
    whole("window_min", window_min, at_least=1)
    whole("min_window_min", min_window_min, at_least=1)
    if min_window_min > window_min:
        raise StatisticsError(
            f"min_window_min is {min_window_min}; it must not be longer than the window, {window_min}."
        )


def per_start(thresholds: float | NDArray[np.float64], starts: int) -> NDArray[np.float64]:
    """A finite number for each start, from one for all or from as many."""
    import numpy as np

    needed = np.asarray(thresholds, dtype=np.float64)
    if needed.shape not in {(), (starts,)} or not np.isfinite(needed).all():
        raise StatisticsError(
            f"thresholds have shape {needed.shape}; one finite number, or {starts}, are needed."
        )
    return needed if needed.shape else np.full(starts, needed)
