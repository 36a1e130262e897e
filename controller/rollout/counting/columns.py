"""Arithmetic over windows: a column holds a figure for each of them, or is the plain number of a single one.

Normally one window closes per tick. Numbers are then many times quicker than arrays of one, and ten thousand
rollouts are judged every minute; after downtime thousands of windows are judged at once, and arrays are. Both read
the same here, so a formula is written once. A figure that there is not is NaN in either.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Column: TypeAlias = NDArray[Any] | int | float  # of integers or floats
TRILLION = 1e12


def at(column: Column, i: int) -> int | float:
    """The figure of window `i`."""
    if isinstance(column, np.ndarray):
        number: int | float = column[i].item()
        return number
    return column


def divided(numerator: Column, denominator: Column) -> Column:
    """The quotient; NaN where the denominator is 0, or is NaN itself."""
    if isinstance(numerator, np.ndarray) or isinstance(denominator, np.ndarray):
        quotient = np.full(np.broadcast(numerator, denominator).shape, np.nan)
        np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) > 0)
        return quotient
    return numerator / denominator if denominator > 0 else math.nan


def lesser(one: Column, other: Column) -> Column:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.minimum(one, other)
    return min(one, other)


def where(holds: object, one: Column, other: Column) -> Column:
    """`one` where a condition (of the columns' shape) holds, else `other`."""
    if isinstance(holds, np.ndarray):
        chosen: NDArray[Any] = np.where(holds, one, other)
        return chosen
    return one if holds else other


def zero_if_nan(column: Column) -> Column:
    if isinstance(column, np.ndarray):
        return np.where(np.isnan(column), 0.0, column)
    return 0.0 if math.isnan(column) else column


def to_the_trillionth(column: Column) -> Column:
    """Rounded to twelve digits after the point, by the same arithmetic in numbers and in arrays.

    A difference or a quotient of quotients is off by less, so what is exactly a limit is that limit's float: 90% less
    86% are 4 points, and not a little more.
    """
    if isinstance(column, np.ndarray):
        digits: NDArray[Any] = np.rint(column * TRILLION) / TRILLION
        return digits
    return column if math.isnan(column) else round(column * TRILLION) / TRILLION
