"""How many requests of a unit are graded, where each is picked for itself with the same chance.

A unit has K requests, geometric: P(K = k) = (1 − q) qᵏ⁻¹ with mean m = 1 / (1 − q); N of them are picked, each with
chance r. So E[xᴺ yᴷ⁻ᴺ] = (1 − q) z / (1 − q z) with z = r x + (1 − r) y, of which follows:

- a unit has a grade, N ≥ 1, with chance 1 − E[(1 − r)ᴷ] = r m / (1 + (m − 1) r);
- given that, N is geometric with mean 1 + (m − 1) r: one and so many more;
- given N, a unit with a grade has a negative binomial number of other requests, of order N + 1; one without has one
  and such a number of order 1. Of order 1 it has the mean (m − 1) (1 − r) / (1 + (m − 1) r).

Longer units have a grade more often: one that has one has more than m requests on average, one that has none fewer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """Of units with `mean` requests, of which this `rate` is picked. One request, or all of them picked: nothing is
    left, and a unit is graded whole or not at all.
    """

    mean: float
    rate: float

    @property
    def units(self) -> float:
        """The part of units that have a picked request."""
        return self.rate * self.mean / (1 + self.more)

    @property
    def more(self) -> float:
        """How many more than one of its requests are picked on average, of a unit that has one."""
        return (self.mean - 1) * self.rate

    @property
    def left(self) -> float:
        """How many requests are not picked on average, for each that is and for each unit; a unit without any has one
        besides.
        """
        return (self.mean - 1) * (1 - self.rate) / (1 + self.more)
