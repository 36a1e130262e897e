"""Latencies and other positive sizes in logarithmic buckets: the DDSketch mapping.

Bucket i holds (gamma^(i-1), gamma^i], gamma = 1.02, and is told as 2 gamma^i / (gamma + 1): at most
1% (exactly 0.990%) from every value in it. A histogram is a mapping of bucket to count, and merging
two is adding their counts. Source: Masson, Rim & Lee 2019, VLDB 12:2195.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from controller.errors import StatisticsError
from controller.stats import _require as require

GAMMA: Final = 1.02
SMALLEST: Final = 1e-9  # anything smaller counts as zero, whatever the unit
LARGEST: Final = 1e15

_LOG_GAMMA: Final = math.log(GAMMA)
_ROUNDING: Final = 2e-14  # of a power, its logarithm and the quotient: more than they come to
_LAST: Final = math.ceil(math.log(LARGEST) / _LOG_GAMMA)
ZERO_BUCKET: Final = math.ceil(math.log(SMALLEST) / _LOG_GAMMA) - 1


def bucket_of(value: float) -> int:
    """ceil(log_gamma value); ZERO_BUCKET below 1e-9. Raises on negative values and above 1e15."""
    if SMALLEST <= value <= LARGEST:
        return math.ceil(math.log(value) / _LOG_GAMMA)
    require.within("value", value, 0, LARGEST)
    return ZERO_BUCKET


def buckets_of(values: Sequence[float]) -> dict[int, int]:
    """How many of the values lie in each bucket, as `bucket_of` has it for one; raises as it does."""
    # A NaN beside numbers is neither their least nor their largest, but it is their sum.
    if values and SMALLEST <= min(values) <= max(values) <= LARGEST and not math.isnan(sum(values)):
        log, ceil = math.log, math.ceil
        return Counter([ceil(log(value) / _LOG_GAMMA) for value in values])
    return Counter(map(bucket_of, values))


def value_of(bucket: int) -> float:
    """The value told for a bucket, within 1% of every value in it; 0 for ZERO_BUCKET."""
    return 2 * _power(bucket) / (GAMMA + 1)


def upper_edge(bucket: int) -> float:
    """The largest value a bucket holds: gamma^bucket, less what rounding could add. A limit frozen there is exact."""
    return _power(bucket) * (1 - _ROUNDING)


def _power(bucket: int) -> float:
    if not ZERO_BUCKET <= bucket <= _LAST:
        raise StatisticsError(
            f"bucket is {bucket}; buckets run from {ZERO_BUCKET} (zero) to {_LAST}."
        )
    return 0.0 if bucket == ZERO_BUCKET else math.exp(bucket * _LOG_GAMMA)


def quantile(counts: Mapping[int, int], q: float) -> float:
    """The value of rank floor(q (n - 1)), counted from 0, within 1%; 0 <= q <= 1. Needs n >= 1."""
    require.within("q", q, 0, 1)
    rank = q * (_total(counts) - 1)
    below = 0
    for bucket in sorted(counts):
        below += counts[bucket]
        if below > rank:
            return value_of(bucket)
    raise AssertionError("the last bucket holds the last rank")


def count_above(counts: Mapping[int, int], limit: float) -> int:
    """How many values exceed the upper edge of the limit's bucket: `limit` itself or up to 2% more.

    Values in the limit's own bucket are not counted, so exceedances are never overstated; freeze
    the limit as upper_edge(bucket_of(limit)) where a pass must not be flattered either.
    """
    _total(counts)
    last = bucket_of(limit)
    return sum(count for bucket, count in counts.items() if bucket > last)


def merge(*parts: Mapping[int, int]) -> dict[int, int]:
    """The histogram of all values together: counts added by bucket."""
    return {
        bucket: sum(part.get(bucket, 0) for part in parts) for bucket in sorted(set().union(*parts))
    }


def _total(counts: Mapping[int, int]) -> int:
    for bucket, count in counts.items():
        require.whole(f"the count of bucket {bucket}", count, at_least=0)
    return require.whole("n", sum(counts.values()), at_least=1)
