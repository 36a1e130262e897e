"""Changes of rollup rows as integer deltas, and what each thing that is counted adds to its row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

from controller.rollout.counting.items import MINUTE_US, Block, Episode, Request, rounded
from controller.rollout.metrics import MICRO, capped
from controller.rollout.observation import BOTH_ARMS, QUANTITIES, Cohort, Pair
from controller.rollout.timeline import minute_of
from controller.stats.histogram import buckets_of

RowKey = tuple[str, int, int, str, str, str, str]
"""rollout, minute, version, arm, intent, endpoint, cohort: plain values, for they are hashed for every request."""

T = TypeVar("T")
COMPARED: Final = Cohort.COMPARED.value
NO_CAPS: Final[Mapping[str, Sequence[int]]] = MappingProxyType({})
_COST: Final = QUANTITIES.index("cost_nusd")
_NO_ENDPOINT: Final = ""
_HISTOGRAMS: Final = {"latency_us": "h.latency.", "ttft_us": "h.ttft."}
_QUANTITY_KEYS: Final = [(f"c.{name}", f"s.{name}", _HISTOGRAMS.get(name)) for name in QUANTITIES]


class Tally:
    """Deltas by row. What is taken out and put back unchanged leaves nothing behind."""

    def __init__(self) -> None:
        self._rows: defaultdict[RowKey, defaultdict[str, int]] = defaultdict(_counts)

    def row(self, key: RowKey) -> defaultdict[str, int]:
        return self._rows[key]

    def minutes(self) -> dict[RowKey, dict[str, int]]:
        """The deltas that are not zero, of the rows that have any."""
        kept = (
            (key, {name: count for name, count in row.items() if count})
            for key, row in self._rows.items()
        )
        return {key: row for key, row in kept if row}


def merged(stats: Mapping[str, int], delta: Mapping[str, int]) -> dict[str, int]:
    """A row's statistics after a change; what is zero is absent."""
    total = dict(stats)
    for name, count in delta.items():
        total[name] = total.get(name, 0) + count
        if not total[name]:
            del total[name]
    return total


def count_new_requests(
    tally: Tally, requests: Iterable[Request], caps: Mapping[str, Sequence[int]] = NO_CAPS
) -> None:
    """Count requests: once and for all themselves, their units' assignments and their quantities; and what is known of
    them by now. `caps`, by rollout: up to how much their costs are summed too.
    """
    for key, together in _by_row(requests, _request_key).items():
        row = tally.row(key)
        row["n"] += len(together)
        row["units"] += sum([request.assigned for request in together])
        columns = zip(*[request.quantities for request in together], strict=True)
        for column, (count, total, histogram) in zip(columns, _QUANTITY_KEYS, strict=True):
            values = [value for value in column if value is not None]
            row[count] += len(values)
            row[total] += sum(values)
            if histogram is not None:
                for bucket, times in buckets_of([one / MICRO for one in values]).items():
                    row[f"{histogram}{bucket}"] += times
        for cap in caps.get(key[0], ()):
            row[capped(cap)] += _sum_up_to(cap, together)
        _count_findings(row, together, +1)


def _sum_up_to(cap: int, together: Sequence[Request]) -> int:
    costs = [request.quantities[_COST] for request in together]
    return sum([min(cost, cap) for cost in costs if cost is not None])


def count_findings(tally: Tally, requests: Iterable[Request], sign: int) -> None:
    """Put in (+1) or take out (−1) what is known of requests by now: flags and grades."""
    for key, together in _by_row(requests, _request_key).items():
        _count_findings(tally.row(key), together, sign)


def count_episodes(tally: Tally, episodes: Iterable[Episode], sign: int) -> None:
    """Put in (+1) or take out (−1) episodes with what is known of them by now."""
    for key, together in _by_row(episodes, episode_key).items():
        row = tally.row(key)
        row["e"] += sign * len(together)
        for (flag, value), times in _flags(together).items():
            if value:
                row[f"ef.{flag}"] += sign * times
            row[f"ed.{flag}"] += sign * times
        grades = [grade for one in together if (grade := one.grade_u()) is not None]
        row["e.graded"] += sign * len(grades)
        row["e.correct_u"] += sign * sum(grades)


def _count_findings(row: defaultdict[str, int], together: Sequence[Request], sign: int) -> None:
    for (flag, value), times in _flags(together).items():
        if value:
            row[f"f.{flag}"] += sign * times
        row[f"d.{flag}"] += sign * times
    grades = [grade for one in together if (grade := one.grade_u()) is not None]
    row["graded"] += sign * len(grades)
    row["correct_u"] += sign * sum(grades)
    served = [rounded(one.served_u, one.served_n) for one in together if one.served_n]
    row["served"] += sign * len(served)
    row["served_u"] += sign * sum(served)


def count_block(tally: Tally, block: Block, sign: int) -> None:
    key = (
        block.rollout,
        block.minute,
        block.version,
        BOTH_ARMS,
        block.intent,
        _NO_ENDPOINT,
        COMPARED,
    )
    tally.row(key)[f"b.{block.value_u}"] += sign


def count_pair(tally: Tally, pair: Pair) -> None:
    minute = minute_of(pair.at)
    key = (pair.rollout, minute, pair.version, BOTH_ARMS, pair.intent, _NO_ENDPOINT, COMPARED)
    tally.row(key)[_pair_key(pair.baseline_correct, pair.candidate_correct)] += 1


def _pair_key(baseline: float, candidate: float) -> str:
    if baseline in (0, 1) and candidate in (0, 1):
        return f"p.{int(baseline)}{int(candidate)}"
    return f"pv.{round((baseline - candidate) * MICRO)}"


def _by_row(ones: Iterable[T], key_of: Callable[[T], RowKey]) -> dict[RowKey, list[T]]:
    """Those that share a row together: most of a batch falls into few rows, which are then added up at once."""
    rows: defaultdict[RowKey, list[T]] = defaultdict(list)
    for one in ones:
        rows[key_of(one)].append(one)
    return rows


def _request_key(one: Request) -> RowKey:
    minute = one.at // MINUTE_US
    return one.rollout, minute, one.version, one.arm, one.intent, one.endpoint, one.cohort


def episode_key(one: Episode) -> RowKey:
    """The row that an episode is counted in."""
    minute = one.start // MINUTE_US
    return one.rollout, minute, one.version, one.arm, one.intent, one.endpoint, COMPARED


def _flags(ones: Sequence[Request | Episode]) -> dict[tuple[str, bool], int]:
    """How often each flag has each value. Most share one of few mappings, which is then looked into once."""
    mappings = {id(one.flags): one.flags for one in ones}
    counts: defaultdict[tuple[str, bool], int] = defaultdict(int)
    for name, times in Counter([id(one.flags) for one in ones]).items():
        for item in mappings[name].items():
            counts[item] += times
    return counts


def _counts() -> defaultdict[str, int]:
    return defaultdict(int)
